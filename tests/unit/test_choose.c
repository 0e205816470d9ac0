/* Multiple choice: what becomes of contexts and endings, likelihoods against float64, and what is chosen. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "eval/choices.h"
#include "formats_help.h"
#include "tiny_llama.h"

#define STORIES "examples/stories260K"

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

static vise_status encode(const char *folder, const vise_choice_row *row, size_t max_length,
                          vise_choice_tokens *tokens)
{
    vise_tokenizer *tokenizer = NULL;

    OK(vise_tokenizer_open(folder, &tokenizer, &help_error));
    vise_status status = vise_choices_encode("x.jsonl", row, 1, tokenizer, max_length, 512, tokens, &help_error);
    vise_tokenizer_close(tokenizer);
    return status;
}

/* Ids of text behind BOS. */
static vise_ids ids_of(const char *text)
{
    vise_tokenizer *tokenizer = NULL;
    vise_ids ids = {0};

    OK(vise_tokenizer_open(STORIES, &tokenizer, &help_error));
    OK(vise_ids_add(&ids, vise_tokenizer_bos(tokenizer), &help_error));
    OK(vise_tokenize(tokenizer, text, strlen(text), &ids, &help_error));
    vise_tokenizer_close(tokenizer);
    return ids;
}

/* A space joins the two unless one of them has it, and it belongs to the ending. */
static void test_joined(void **state)
{
    static const struct {
        const char *context, *ending;
    } cases[] = {{"Once upon a time", "there was a dog."},
                 {"Once upon a time ", "there was a dog."},
                 {"Once upon a time", " there was a dog."}};
    vise_ids whole = ids_of("Once upon a time there was a dog."), context = ids_of("Once upon a time");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *endings[2] = {cases[i].ending, "\xc3\xa9!"};
        const vise_choice_row row = {cases[i].context, endings, 2, 0, 1};
        vise_choice_tokens tokens;
        OK(encode(STORIES, &row, 512, &tokens));
        assert_int_equal(tokens.rows.count, 2);
        assert_int_equal(tokens.rows.truncated, 0);
        assert_int_equal(tokens.rows.sets[0].length, whole.count - 1);
        assert_memory_equal(tokens.rows.sets[0].ids, whole.ids, (whole.count - 1) * sizeof *whole.ids);
        assert_int_equal(tokens.last[0], whole.ids[whole.count - 1]);
        assert_int_equal(tokens.ending[0], context.count);
        assert_int_equal(tokens.characters[0], strlen(cases[i].ending));
        assert_int_equal(tokens.characters[1], 2); /* code points, not bytes */
        vise_choice_tokens_deinit(&tokens);
    }
    vise_ids_deinit(&whole);
    vise_ids_deinit(&context);
}

/* What is too long loses its front; the ending stays whole. */
static void test_cut(void **state)
{
    const char *endings[2] = {"there was a dog.", "it was."};
    const vise_choice_row row = {"Once upon a time", endings, 2, 0, 3};
    vise_ids whole = ids_of("Once upon a time there was a dog."), context = ids_of("Once upon a time");
    const size_t ending = whole.count - context.count;
    vise_choice_tokens tokens;

    (void)state;
    OK(encode(STORIES, &row, ending + 1, &tokens));
    assert_int_equal(tokens.rows.sets[0].length, ending + 1);
    assert_int_equal(tokens.ending[0], 2);
    assert_memory_equal(tokens.rows.sets[0].ids, whole.ids + context.count - 2,
                        (ending + 1) * sizeof *whole.ids);
    assert_int_equal(tokens.last[0], whole.ids[whole.count - 1]);
    assert_in_range(tokens.rows.truncated, 1, 2);
    assert_in_range(tokens.rows.longest, 1, ending + 1);
    vise_choice_tokens_deinit(&tokens);
    OK(encode(STORIES, &row, ending, &tokens));
    assert_int_equal(tokens.ending[0], 1);
    vise_choice_tokens_deinit(&tokens);
    FAILS(VISE_EUSAGE, "x.jsonl line 3: ending 0 takes", encode(STORIES, &row, ending - 1, &tokens));
    vise_ids_deinit(&whole);
    vise_ids_deinit(&context);
}

static void test_empty_context(void **state)
{
    const char *endings[2] = {"good", "bad"};
    const vise_choice_row row = {"", endings, 2, 0, 4};
    vise_choice_tokens tokens;

    (void)state;
    OK(encode(STORIES, &row, 512, &tokens)); /* BOS stands in front */
    assert_int_equal(tokens.ending[0], 1);
    vise_choice_tokens_deinit(&tokens);

    const char *folder = help_folder(); /* of a tokenizer that puts nothing in front */
    help_write_text(
        folder, "tokenizer.json",
        "{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"g\":0,\"o\":1,\"d\":2,\"b\":3,\"a\":4}}}");
    FAILS(VISE_EUSAGE, "x.jsonl line 4: nothing stands in front of ending 0",
          encode(folder, &row, 16, &tokens));
    help_remove(folder);
}

/* ---- likelihoods ------------------------------------------------------------------------------------------------- */

enum { ROWS = 7 };

/* Rows of drawn ids, whose endings take one token, several, or all but the first. */
static void draw_tokens(vise_choice_tokens *tokens, int64_t vocab)
{
    static const size_t lengths[ROWS] = {1, 2, 9, 30, 30, 30, 64}, endings[ROWS] = {1, 2, 3, 1, 30, 15, 60};
    int32_t ids[64];
    vise_rng rng;

    vise_rng_init(&rng, 11, "choices");
    *tokens = (vise_choice_tokens){.last = calloc(ROWS, sizeof *tokens->last),
                                   .ending = calloc(ROWS, sizeof *tokens->ending),
                                   .characters = calloc(ROWS, sizeof *tokens->characters)};
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t t = 0; t < lengths[i]; t++)
            ids[t] = (int32_t)vise_rng_below(&rng, (uint64_t)vocab);
        tokens->last[i] = (int32_t)vise_rng_below(&rng, (uint64_t)vocab);
        tokens->ending[i] = endings[i];
        OK(vise_encoded_add(&tokens->rows, ids, NULL, lengths[i], &help_error));
    }
    vise_encoded_finish(&tokens->rows);
}

static double naive_nll(const tiny_llama *llama, const vise_choice_tokens *tokens, size_t row)
{
    const vise_windows *set = &tokens->rows.sets[row];
    tiny_result result;
    double nll = 0.0;

    tiny_llama_run(llama, set->ids, (int64_t)set->length, 0, &result);
    for (size_t t = tokens->ending[row]; t <= set->length; t++) {
        const double *logits = result.logits + (int64_t)(t - 1) * llama->vocab;
        double sum = 0.0;
        for (int64_t v = 0; v < llama->vocab; v++)
            sum += exp(logits[v]);
        nll += log(sum) - logits[t < set->length ? set->ids[t] : tokens->last[row]];
    }
    tiny_result_free(&result);
    return nll;
}

/* With room and with the least of it, on one thread and on two. */
static void test_likelihoods(void **state)
{
    tiny_llama llama = {.hidden = 16,
                        .ffn = 24,
                        .layers = 2,
                        .heads = 4,
                        .kv_heads = 2,
                        .head_dim = 4,
                        .vocab = 50,
                        .positions = 64,
                        .tied = true};
    double nll[2][ROWS];
    vise_choice_tokens tokens;

    (void)state;
    tiny_llama_make(&llama, 8);
    draw_tokens(&tokens, llama.vocab);
    for (int tight = 0; tight < 2; tight++) {
        vise_workers *workers = NULL;
        vise_pool *pool = NULL;
        vise_backend *backend = NULL;
        vise_model *model = NULL;
        double done = 0.0;
        OK(vise_model_open(llama.folder, &model, &help_error));
        OK(vise_workers_new(1 + tight, &workers, &help_error));
        OK(vise_pool_new(tight ? vise_eval_bytes(model, NULL, tokens.rows.longest, 2) : 0, &pool,
                         &help_error));
        OK(vise_backend_open("cpu", workers, &backend, &help_error));
        const vise_eval_options options = {.windows = tokens.rows.sets,
                                           .sets = ROWS,
                                           .stream_ram_bytes = tight ? 0 : UINT64_MAX,
                                           .pool = pool,
                                           .workers = workers,
                                           .backend = backend};
        const double total = vise_choices_operations(model, &tokens, &options);
        OK(vise_choices_score(model, &tokens, &options, &done, total, nll[tight], &help_error));
        assert_true(fabs(done - total) < 1e-6 * total);
        for (size_t i = 0; i < ROWS; i++) {
            double expected = naive_nll(&llama, &tokens, i);
            if (!(fabs(nll[tight][i] - expected) < 1e-4 * (1.0 + expected)))
                fail_msg("row %zu: %.9g is not %.9g", i, nll[tight][i], expected);
        }
        vise_model_close(model);
        vise_backend_close(backend);
        assert_int_equal(vise_pool_used(pool), 0);
        vise_pool_free(pool);
        vise_workers_free(workers);
    }
    tiny_llama_drop(&llama);
    free(tokens.last);
    free(tokens.ending);
    free(tokens.characters);
    tokens.last = NULL;
    tokens.ending = tokens.characters = NULL;
    vise_choice_tokens_deinit(&tokens);
}

/* ---- the choice -------------------------------------------------------------------------------------------------- */

static void test_chosen(void **state)
{
    static const double nll[] = {3.0, 2.0, 8.0, /* second */ 1.0, 1.0};
    static size_t characters[] = {6, 2, 32, /* second */ 4, 4};
    const vise_choice_row rows[] = {{.n_endings = 3}, {.n_endings = 2}};
    const vise_choice_tokens tokens = {.characters = characters};
    int32_t chosen[2];

    (void)state;
    vise_choices_choose(rows, 2, &tokens, nll, false, chosen);
    assert_int_equal(chosen[0], 1);
    assert_int_equal(chosen[1], 0); /* the first of equals */
    vise_choices_choose(rows, 2, &tokens, nll, true, chosen);
    assert_int_equal(chosen[0], 2);
    assert_int_equal(chosen[1], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joined),        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_empty_context), cmocka_unit_test(test_likelihoods),
        cmocka_unit_test(test_chosen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
