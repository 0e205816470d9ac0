/* Tokenizers out of GGUF metadata: llama.cpp's vectors of its vocabularies, small ones whose ids follow from their
 * definitions, and every way in which metadata can be damaged. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "formats/gguf_write.h"
#include "pipeline/gguf_tokenizer.h"
#include "tests/unit/formats_help.h"

#define MARK    "\xe2\x96\x81"
#define SPACE   "\xc4\xa0"
#define VECTORS "../shared/models/gguf-vocab/ggml-vocab-"

/* ---- metadata in memory ---------------------------------------------------------------------------------- */

/* What the metadata become; texts are freed by the caller. */
typedef struct made {
    vise_buf tokenizer, config;
    const char *why;
} made;

static vise_status make(const char *bytes, size_t n, made *out, vise_error *err)
{
    const help_memory file = {bytes, n};
    const vise_st_input input = help_input(&file, "m.gguf");
    vise_arena *arena = NULL;
    vise_gguf gguf;
    vise_buf_init(&out->tokenizer, (size_t)64 << 20);
    vise_buf_init(&out->config, (size_t)1 << 20);
    vise_status status = vise_arena_new(&arena, err);
    if (status == VISE_OK)
        status = vise_gguf_parse(&input, arena, &gguf, err);
    if (status == VISE_OK)
        status = vise_gguf_tokenizer_write(&gguf, &out->tokenizer, &out->config, &out->why, err);
    vise_arena_free(arena);
    return status;
}

static void drop(made *m)
{
    vise_buf_deinit(&m->config);
    vise_buf_deinit(&m->tokenizer);
}

/* ids of text, as "1 2 3 "; with what is put around it. */
static const char *ids_of(const vise_tokenizer *tokenizer, const char *text)
{
    static char line[8192];
    vise_encoding encoding = {0};
    size_t at = 0;
    OK(vise_tokenize_pair(tokenizer, text, NULL, 0, &encoding, &help_error));
    line[0] = '\0';
    for (size_t i = 0; i < encoding.ids.count && at + 16 < sizeof line; i++)
        at += (size_t)snprintf(line + at, sizeof line - at, "%d ", (int)encoding.ids.ids[i]);
    vise_encoding_deinit(&encoding);
    return line;
}

/* ---- llama.cpp's vocabularies ---------------------------------------------------------------------------- */

static void check_vectors(const char *name)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[200], *file, *texts, *ids, *line;
    size_t length, n = 0;
    vise_tokenizer *tokenizer;
    made m;
    snprintf(path, sizeof path, VECTORS "%s.gguf", name);
    if (!vise_path_exists(path)) {
        print_message("SKIP: no %s\n", path);
        skip();
    }
    OK(vise_file_read_all(path, (size_t)16 << 20, &file, &length, &help_error));
    OK(make(file, length, &m, &help_error));
    assert_null(m.why);
    vise_free(file);
    OK(vise_tokenizer_from_text(name, m.tokenizer.data, m.tokenizer.length, &tokenizer, &help_error));
    drop(&m);
    snprintf(path, sizeof path, VECTORS "%s.gguf.inp", name);
    OK(vise_file_read_all(path, 1 << 20, &texts, &length, &help_error));
    snprintf(path, sizeof path, VECTORS "%s.gguf.out", name);
    OK(vise_file_read_all(path, 1 << 20, &ids, &length, &help_error));
    line = ids;
    for (char *text = texts, *stop; text != NULL; text = stop, n++) {
        vise_ids got = {0};
        size_t count = 0;
        stop = strstr(text, separator);
        if (stop != NULL) {
            *stop = '\0';
            stop += sizeof separator - 1;
        }
        OK(vise_tokenize(tokenizer, text, strlen(text), &got, &help_error));
        for (; *line != '\n' && *line != '\0'; line += strspn(line, " "), count++) {
            const long want = strtol(line, &line, 10);
            if (count >= got.count || got.ids[count] != want)
                fail_msg("%s, text %zu: id %zu is not %ld", name, n, count, want);
        }
        assert_int_equal(got.count, count);
        line += *line == '\n';
        vise_ids_deinit(&got);
    }
    assert_int_equal(n, 47);
    vise_tokenizer_close(tokenizer);
    vise_free(texts);
    vise_free(ids);
}

static void test_sentencepiece(void **state)
{
    (void)state;
    check_vectors("llama-spm");
}

static void test_bytes(void **state)
{
    (void)state;
    check_vectors("gpt-2");
}

static void test_words(void **state)
{
    (void)state;
    check_vectors("bert-bge");
}

/* ---- small ones, and damage ------------------------------------------------------------------------------ */

/* What a case has in place of, or beside, the small vocabulary of its kind; texts are ended by NULL. */
typedef struct change {
    const char *model, *pre;
    const char *tokens[16], *merges[8];
    int32_t types[16];
    float scores[16];
    size_t n_types, n_scores; /* 0: as many as tokens */
    bool no_scores, no_merges, ints; /* ints: types as u32, scores as i32 */
    int64_t bos, eos, unk;           /* 0: none */
    int add_bos;                     /* 0: not said, 1: false, 2: true */
    bool bos_text;                   /* the id is a text */
    const char *map;                 /* of characters, compiled */
    const char *architecture;
} change;

static size_t count_texts(const char *const *texts)
{
    size_t n = 0;
    while (texts[n] != NULL)
        n++;
    return n;
}

static void put_texts(vise_gguf_values *values, const char *key, const char *const *texts)
{
    vise_gguf_put_array(values, key, VISE_GGUF_KIND_TEXT, count_texts(texts), NULL);
    for (size_t i = 0; texts[i] != NULL; i++)
        vise_gguf_add_text(values, texts[i], strlen(texts[i]));
}

static void put_change(vise_gguf_values *values, const change *c)
{
    const size_t n = count_texts(c->tokens);
    vise_gguf_put_text(values, "general.architecture", c->architecture != NULL ? c->architecture : "llama");
    if (c->model != NULL)
        vise_gguf_put_text(values, "tokenizer.ggml.model", c->model);
    if (c->pre != NULL)
        vise_gguf_put_text(values, "tokenizer.ggml.pre", c->pre);
    if (n > 0)
        put_texts(values, "tokenizer.ggml.tokens", c->tokens);
    if (!c->no_scores)
        vise_gguf_put_array(values, "tokenizer.ggml.scores", c->ints ? VISE_GGUF_KIND_I32 : VISE_GGUF_KIND_F32,
                            c->n_scores > 0 ? c->n_scores : n, c->scores);
    vise_gguf_put_array(values, "tokenizer.ggml.token_type", c->ints ? VISE_GGUF_KIND_U32 : VISE_GGUF_KIND_I32,
                        c->n_types > 0 ? c->n_types : n, c->types);
    if (!c->no_merges)
        put_texts(values, "tokenizer.ggml.merges", c->merges);
    if (c->bos_text)
        vise_gguf_put_text(values, "tokenizer.ggml.bos_token_id", "1");
    else if (c->bos > 0)
        vise_gguf_put_u32(values, "tokenizer.ggml.bos_token_id", (uint32_t)c->bos);
    if (c->eos > 0)
        vise_gguf_put_u32(values, "tokenizer.ggml.eos_token_id", (uint32_t)c->eos);
    if (c->unk > 0)
        vise_gguf_put_u32(values, "tokenizer.ggml.unknown_token_id", (uint32_t)c->unk);
    if (c->map != NULL)
        vise_gguf_put_array(values, "tokenizer.ggml.precompiled_charsmap", VISE_GGUF_KIND_U8, strlen(c->map), c->map);
    if (c->add_bos > 0)
        vise_gguf_put_bool(values, "tokenizer.ggml.add_bos_token", c->add_bos == 2);
    vise_gguf_put_u32(values, "llama.context_length", 77);
    vise_gguf_put_text(values, "tokenizer.chat_template", "{{ \"x\" }}");
}

static vise_status make_change(const change *c, made *m)
{
    static const vise_gguf_split whole = {.number = 0, .count = 1};
    vise_gguf_values values;
    vise_buf file;
    help_error = (vise_error){0};
    vise_gguf_values_init(&values);
    vise_buf_init(&file, 1 << 16);
    put_change(&values, c);
    OK(vise_gguf_write_header(&values, &whole, NULL, 0, &file, &help_error));
    const vise_status status = make(file.data, file.length, m, &help_error);
    vise_buf_deinit(&file);
    vise_gguf_values_deinit(&values);
    return status;
}

enum kind { NONE, SPM, BPE, BERT, UNIGRAM };

static const change small[] = {
    [NONE] = {.no_scores = true},
    [SPM] = {.model = "llama",
             .tokens = {"<unk>", "<s>", "<0x41>", MARK, "a", "b", "ab", MARK "a", "<x>", "[PAD9]"},
             .types = {2, 3, 6, 1, 1, 1, 1, 1, 4, 5},
             .scores = {0, 0, 0, -5, -6, -7, -2, -1, 0, 0},
             .bos = 1},
    [BPE] = {.model = "gpt2",
             .pre = "gpt-2",
             .tokens = {"a", "b", "ab", SPACE, SPACE "ab", "<e>"},
             .types = {1, 1, 1, 1, 1, 3},
             .merges = {"a b", SPACE " ab"},
             .bos = 5,
             .no_scores = true},
    [BERT] = {.model = "bert",
              .architecture = "bert",
              .types = {3, 3, 3, 1, 1, 1},
              .no_scores = true,
              .no_merges = true,
              .tokens = {"[UNK]", "[CLS]", "[SEP]", MARK "un", "do", MARK "#"}},
    [UNIGRAM] = {.model = "t5",
                 .architecture = "bert",
                 .tokens = {"<pad>", "<s>", "</s>", "<unk>", "[PAD4]", MARK "a", "b", "<mask>", "[PAD8]"},
                 .types = {3, 3, 3, 2, 5, 1, 1, 3, 5},
                 .scores = {0, 0, 0, 0, -10000, -1.5f, -2, 0, -10000},
                 .map = "ab\xffz",
                 .bos = 1,
                 .eos = 2,
                 .no_merges = true},
};

/* The small vocabulary of the kind with what `with` has. */
static change changed(enum kind kind, const change *with)
{
    change c = small[kind];
    c.model = with->model != NULL ? with->model : c.model;
    c.pre = with->pre != NULL ? with->pre : c.pre;
    c.architecture = with->architecture != NULL ? with->architecture : c.architecture;
    if (with->tokens[0] != NULL)
        memcpy(c.tokens, with->tokens, sizeof c.tokens);
    if (with->merges[0] != NULL)
        memcpy(c.merges, with->merges, sizeof c.merges);
    if (with->types[0] != 0)
        memcpy(c.types, with->types, sizeof c.types);
    if (with->scores[3] != 0.0f)
        memcpy(c.scores, with->scores, sizeof c.scores);
    c.n_types = with->n_types;
    c.n_scores = with->n_scores;
    c.no_scores = c.no_scores || with->no_scores;
    c.no_merges = c.no_merges || with->no_merges;
    c.ints = with->ints;
    c.bos = with->bos != 0 ? with->bos : c.bos;
    c.eos = with->eos;
    c.unk = with->unk;
    c.add_bos = with->add_bos;
    c.bos_text = with->bos_text;
    return c;
}

static void test_small(void **state)
{
    (void)state;
    static const struct {
        enum kind kind;
        change with;
        const char *text, *ids;
    } rows[] = {
        {SPM, {.eos = 0}, "ab", "1 7 5 "},              /* the score of the first beats that of ab */
        {SPM, {.eos = 0}, "b<x>A", "1 3 5 8 3 2 "},     /* a byte, and a token that was added */
        {SPM, {.add_bos = 1}, "ab", "7 5 "},
        {SPM, {.eos = 0}, "a<x> b", "1 7 8 3 3 5 "},
        {SPM, {.architecture = "phi3"}, "a<x> b", "1 7 8 3 5 "}, /* whose tokens take the space behind them */
        /* a byte that is none stands for itself */
        {SPM, {.tokens = {"<unk>", "<s>", "<0x-1>", MARK, "a", "b", "ab", MARK "a", "<x>", "y"}}, "A", "1 3 0 "},
        {BPE, {.eos = 0}, "ab ab<e>", "2 4 5 "},
        {BPE, {.add_bos = 2}, "ab", "5 2 "},
        {BPE, {.pre = "llama-bpe"}, "ab", "5 2 "}, /* which puts BOS there unless it is told not to */
        {BPE, {.pre = "llama-bpe", .add_bos = 1}, "ab ab", "2 4 "},
        {BPE, {.pre = "smollm"}, "ab", "2 "},
        {BPE, {.architecture = "bert", .eos = 2}, "a", "5 0 2 "},
        {BERT, {.eos = 0}, "undo", "1 3 4 2 "},
        {BERT, {.eos = 0}, "UNDO # x", "1 3 4 5 0 2 "},
        {BERT, {.tokens = {"[UNK]", "[CLS]", "[SEP]", MARK "un", MARK "UN", "do"}}, "UNdo undo", "1 4 5 3 5 2 "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const change c = changed(rows[i].kind, &rows[i].with);
        made m;
        vise_tokenizer *tokenizer;
        OK(make_change(&c, &m));
        assert_null(m.why);
        OK(vise_tokenizer_from_text("small", m.tokenizer.data, m.tokenizer.length, &tokenizer, &help_error));
        if (strcmp(ids_of(tokenizer, rows[i].text), rows[i].ids) != 0)
            fail_msg("row %zu: \"%s\" is %s, expected %s", i, rows[i].text, ids_of(tokenizer, rows[i].text),
                     rows[i].ids);
        assert_non_null(strstr(m.config.data, "\"chat_template\": \"{{ \\\"x\\\" }}\""));
        vise_tokenizer_close(tokenizer);
        drop(&m);
    }
}

static void test_damaged(void **state)
{
    (void)state;
    static const struct {
        enum kind kind;
        change with;
        const char *message;
    } rows[] = {
        {NONE, {.model = "llama", .no_scores = true}, "\"tokenizer.ggml.tokens\" is missing"},
        {SPM, {.n_types = 9}, "\"tokenizer.ggml.token_type\" has 9 elements for 10 tokens"},
        {SPM, {.n_scores = 1}, "\"tokenizer.ggml.scores\" has 1 elements for 10 tokens"},
        {SPM, {.ints = true}, "token_type"},
        {SPM, {.types = {2, 3, 6, 1, 7, 1, 1, 1, 4, 5}}, "token 4 is of type 7"},
        {SPM, {.types = {2, 3, 6, 1, -1, 1, 1, 1, 4, 5}}, "token 4 is of type -1"},
        {SPM, {.types = {2, 3, 6, 1, 0, 1, 1, 1, 4, 5}}, "token 4 is of type 0"},
        {SPM, {.scores = {0, 0, 0, -5, NAN, -7, -2, -1, 0, 0}}, "the score of token 4"},
        {SPM, {.bos = 10}, "bos_token_id\" is 10, outside"},
        {SPM, {.bos = UINT32_MAX}, "bos_token_id\" is 4294967295, outside"},
        {SPM, {.unk = 10}, "unknown_token_id\" is 10, outside"},
        {SPM, {.bos_text = true}, "bos_token_id"},
        {SPM, {.tokens = {"<unk>", "<s>", "<0x41>", MARK, "a", "a", "ab", MARK "a", "<x>", "[PAD9]"}}, "\"a\""},
        {SPM, {.tokens = {"<unk>", "<s>", "<0x41>", MARK, "\xff", "a", "ab", MARK "a", "<x>", "[PAD9]"}},
         "token 4 is no text in UTF-8"},
        {BPE, {.no_merges = true}, "\"tokenizer.ggml.merges\" is missing"},
        {BPE, {.merges = {"a b", "ab"}}, "merge 1 is not of two tokens"},
        {BPE, {.merges = {"a  b"}}, "merge 0 is not of two tokens"},
        {BPE, {.merges = {" b"}}, "merge 0 is not of two tokens"},
        {BPE, {.merges = {"a c"}}, "merge 0 is not of two tokens"},
        {BERT, {.tokens = {"[UNK]", "[CLS]", "[SEQ]", MARK "a", "b", "c"}}, "lacks the token that stands behind"},
        {BERT, {.tokens = {"[UNK]", "[CLX]", "[SEP]", MARK "a", "b", "c"}}, "lacks the token that stands in front"},
        {BERT, {.tokens = {"[UNX]", "[CLS]", "[SEP]", MARK "a", "b", "c"}}, "lacks the token that stands for"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const change c = changed(rows[i].kind, &rows[i].with);
        made m;
        const vise_status status = make_change(&c, &m);
        if (status != VISE_EFORMAT || strstr(help_error.message, rows[i].message) == NULL)
            fail_msg("row %zu: %d, \"%s\"; expected \"%s\"", i, (int)status, help_error.message, rows[i].message);
        drop(&m);
    }
}

/* What is not told is not guessed. */
static void test_not_held(void **state)
{
    (void)state;
    static const struct {
        enum kind kind;
        change with;
        const char *why;
    } rows[] = {
        {NONE, {.no_scores = true}, "has none"},
        {NONE, {.model = "none", .no_scores = true}, "has none"},
        {NONE, {.model = "no_vocab", .no_scores = true}, "has none"},
        {NONE, {.model = "rwkv", .no_scores = true}, "of a kind that is not held"},
        {UNIGRAM, {.no_scores = true}, "lacks scores"},
        {UNIGRAM, {.types = {3, 3, 3, 1, 5, 1, 1, 3, 5}}, "lacks scores, or a token for what is unknown"},
        {BPE, {.pre = "default"}, "way of cutting words"},
        {BPE, {.pre = "deepseek-llm"}, "way of cutting words"},
        {BPE, {.pre = "gpt-2 olmo"}, "way of cutting words"},
        {SPM, {.no_scores = true}, "no scores"},
        {SPM, {.scores = {0, 0, 0, -5, -6, -7, -1, -1, 0, 0}}, "one score"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const change c = changed(rows[i].kind, &rows[i].with);
        made m;
        OK(make_change(&c, &m));
        if (m.why == NULL || strstr(m.why, rows[i].why) == NULL)
            fail_msg("row %zu: \"%s\", expected \"%s\"", i, m.why != NULL ? m.why : "", rows[i].why);
        drop(&m);
    }
}

/* Files alone: texts are not cut by unigrams here. */
static void test_unigrams(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "\"precompiled_charsmap\":\"YWL/eg==\"",
        "\"prepend_scheme\":\"never\"",
        "\"unk_id\":3,\"vocab\":[[\"<pad>\",0],[\"<s>\",0],[\"</s>\",0],[\"<unk>\",0],[\"[PAD4]\",-10000],[\"" MARK
        "a\",-1.5],[\"b\",-2],[\"<mask>\",0]]",
        "{\"SpecialToken\":{\"id\":\"</s>\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"</s>\",\"type_id\":1}},"
        "{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}",
    };
    static const struct {
        const char *map, *text;
    } maps[] = {{"abc", "\"YWJj\""}, {"abcd", "\"YWJjZA==\""}, {"abcde", "\"YWJjZGU=\""}, {"", "\"normalizer\":null"}};
    change c = small[UNIGRAM];
    made m;
    OK(make_change(&c, &m));
    assert_null(m.why);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(m.tokenizer.data, parts[i]) == NULL)
            fail_msg("lacks %s:\n%s", parts[i], m.tokenizer.data);
    assert_non_null(strstr(m.config.data, "\"cls_token\": \"<s>\""));
    assert_non_null(strstr(m.config.data, "\"unk_token\": \"<unk>\""));
    assert_non_null(strstr(m.config.data, "\"add_prefix_space\": false"));
    drop(&m);
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        c.map = maps[i].map;
        OK(make_change(&c, &m));
        assert_non_null(strstr(m.tokenizer.data, maps[i].text));
        drop(&m);
    }
    c.scores[6] = NAN;
    assert_int_equal(make_change(&c, &m), VISE_EFORMAT);
    drop(&m);
}

static void test_no_memory(void **state)
{
    (void)state;
    static const vise_gguf_split whole = {.number = 0, .count = 1};
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        vise_gguf_values values;
        vise_buf file;
        vise_status status = VISE_ERESOURCE;
        vise_gguf_values_init(&values);
        vise_buf_init(&file, 1 << 16);
        put_change(&values, &small[i]);
        OK(vise_gguf_write_header(&values, &whole, NULL, 0, &file, &help_error));
        for (uint64_t n = 1; status != VISE_OK; n++) {
            made m;
            assert_true(n < 10000);
            vise_alloc_fail_after(n);
            status = make(file.data, file.length, &m, NULL);
            vise_alloc_fail_after(0);
            assert_true(status == VISE_OK || status == VISE_ERESOURCE);
            drop(&m);
        }
        vise_buf_deinit(&file);
        vise_gguf_values_deinit(&values);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentencepiece), cmocka_unit_test(test_bytes),    cmocka_unit_test(test_words),
        cmocka_unit_test(test_small),         cmocka_unit_test(test_damaged),  cmocka_unit_test(test_not_held),
        cmocka_unit_test(test_unigrams),      cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
