/* Families beyond the plain Llama, each against the same network told another way. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/backend.h"
#include "core/file.h"
#include "formats_help.h"
#include "model/forward.h"
#include "tiny_llama.h"

/* ---- running ------------------------------------------------------------------------------------------------- */

typedef struct machine {
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
} machine;

static void start(machine *m)
{
    OK(vise_workers_new(2, &m->workers, &help_error));
    OK(vise_pool_new(0, &m->pool, &help_error));
    OK(vise_backend_open("cpu", m->workers, &m->backend, &help_error));
}

static void stop(machine *m)
{
    vise_backend_close(m->backend);
    assert_int_equal(vise_pool_used(m->pool), 0);
    vise_pool_free(m->pool);
    vise_workers_free(m->workers);
}

/* What the head gives: [tokens of all windows, vocab], or [windows, labels]. Free it with free. */
static float *run(const char *folder, const vise_windows *windows)
{
    machine m;
    vise_model *model = NULL;
    vise_stream *stream = NULL;
    vise_head *head = NULL;

    start(&m);
    OK(vise_model_open(folder, &model, &help_error));
    OK(vise_stream_open(model, windows, UINT64_MAX, m.workers, m.pool, &stream, &help_error));
    for (int layer = 0; layer < (int)model->config.layers; layer++) {
        vise_block block;
        OK(vise_block_load(model, layer, m.workers, m.pool, &block, &help_error));
        OK(vise_block_forward(model, &block, stream, m.backend, &help_error));
        vise_block_unload(&block);
    }
    OK(vise_head_open(model, UINT64_MAX, false, m.workers, m.pool, &head, &help_error));
    bool tokens = model->config.head == VISE_HEAD_LM;
    size_t rows = tokens ? windows->count * windows->length : windows->count;
    float *out = malloc(rows * (size_t)vise_head_width(model) * sizeof *out);
    if (tokens)
        OK(vise_head_logits(head, stream, m.backend, 0, rows, out, &help_error));
    else
        OK(vise_head_windows(head, stream, m.backend, 0, rows, false, out, &help_error));
    vise_head_close(head);
    vise_stream_close(stream);
    vise_model_close(model);
    stop(&m);
    return out;
}

static void put_config(const char *folder, const char *text)
{
    help_write_text(folder, "config.json", text);
}

/* ---- decoders that classify ---------------------------------------------------------------------------------- */

/* A Llama whose head's rows are labels: the logits of a window are those that its last token that is no padding would
 * have in a language model. */
static void test_decoder_classifies(void **state)
{
    enum { LENGTH = 6, WINDOWS = 4, LABELS = 20, PAD = 7 };
    static int32_t ids[WINDOWS * LENGTH] = {1, 5,   9,   3,   8,   2,   /* */
                                            4, PAD, 11,  PAD, PAD, PAD, /* the padding within is a token like others */
                                            3, 6,   2,   9,   1,   PAD, /* */
                                            PAD, PAD, PAD, PAD, PAD, PAD};
    static const struct {
        const char *pad;
        size_t last[WINDOWS];
    } cases[] = {{"7", {5, 2, 4, 0}}, {"null", {5, 5, 5, 5}}, {"-1", {5, 5, 5, 5}}, {"300000", {5, 5, 5, 5}}};
    const vise_windows windows = {.ids = ids, .count = WINDOWS, .length = LENGTH};
    tiny_llama llama = {.hidden = 16, .ffn = 24, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 4, .vocab = LABELS,
                        .positions = 32};
    char config[1024];

    (void)state;
    tiny_llama_make(&llama, 3);
    tiny_tensor *head = &llama.tensors[llama.n_tensors - 1];
    assert_string_equal(head->name, "lm_head.weight");
    snprintf(head->name, sizeof head->name, "score.weight");
    tiny_llama_write(&llama);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        snprintf(config, sizeof config,
                 "{\"architectures\":[\"LlamaForSequenceClassification\"],\"model_type\":\"llama\",\"hidden_size\":16,"
                 "\"intermediate_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
                 "\"head_dim\":4,\"vocab_size\":20,\"num_labels\":20,\"rms_norm_eps\":1e-5,"
                 "\"tie_word_embeddings\":true,\"pad_token_id\":%s}",
                 cases[c].pad);
        put_config(llama.folder, config);
        float *got = run(llama.folder, &windows);
        snprintf(head->name, sizeof head->name, "lm_head.weight"); /* what the naive pass calls it */
        for (size_t w = 0; w < WINDOWS; w++) {
            tiny_result result;
            tiny_llama_run(&llama, ids + w * LENGTH, LENGTH, 0, &result);
            const double *wanted = result.logits + cases[c].last[w] * LABELS;
            for (size_t j = 0; j < LABELS; j++)
                if (!(fabs((double)got[w * LABELS + j] - wanted[j]) <= 1e-4))
                    fail_msg("pad %s, window %zu, label %zu: %g is not %g", cases[c].pad, w, j,
                             (double)got[w * LABELS + j], wanted[j]);
            tiny_result_free(&result);
        }
        free(got);
    }
    tiny_llama_drop(&llama);
}

/* The head of a classifier is a Linear behind the blocks; the language model's is not there, tied or not. */
static void test_decoder_classes(void **state)
{
    size_t n;
    const vise_arch *families = vise_architectures(&n);

    (void)state;
    for (size_t f = 0; f < n; f++) {
        const vise_arch_class *of = &families[f].classes[1];
        size_t heads = 0;
        assert_int_equal(of->head, VISE_HEAD_CLASSIFIER);
        assert_non_null(strstr(of->name, "ForSequenceClassification"));
        vise_config config = {.traits = VISE_TRAIT_CLASSIFIER};
        for (size_t r = 0; r < families[f].n_rows; r++) {
            const vise_arch_row *row = &families[f].rows[r];
            if (row->role != VISE_ROLE_HEAD || !vise_arch_row_applies(row, &config, -1))
                continue;
            heads++;
            assert_int_equal(row->rows, VISE_DIM_LABELS);
            assert_true(row->linear && !vise_arch_row_in_block(row));
        }
        assert_int_equal(heads, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoder_classifies),
        cmocka_unit_test(test_decoder_classes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
