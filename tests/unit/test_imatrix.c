/* Importance matrices: made of a random Llama they hold the sums of a naive forward pass, both forms of file are read,
 * and what is damaged or of another model is refused with its own words. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "formats/gguf_write.h"
#include "quant/imatrix.h"
#include "quant/imatrix_file.h"
#include "tests/unit/formats_help.h"
#include "tests/unit/tiny_llama.h"

#define GOLDEN "../shared/golden/gguf/"

static const tiny_llama small = {.hidden = 32,
                                 .ffn = 48,
                                 .layers = 2,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 8,
                                 .vocab = 40,
                                 .positions = 32};

/* ---- files ---------------------------------------------------- */

typedef struct tensor {
    const char *name;
    int64_t dims[2];
    float value;
    vise_gguf_row type;
} tensor;

enum { TENSORS_MAX = 4 };

/* A GGUF file of tensors that hold one value each; `odd` replaces the last element of the first. */
static void write_gguf(const char *path, const char *kind, const tensor *tensors, size_t n, float odd)
{
    static const vise_gguf_split whole = {.number = 0, .count = 1};
    vise_gguf_tensor table[TENSORS_MAX];
    vise_gguf_values values;
    vise_buf file;
    uint64_t end = 0;
    vise_gguf_values_init(&values);
    vise_buf_init(&file, 1 << 20);
    vise_gguf_put_text(&values, "general.type", kind);
    vise_gguf_put_array(&values, "imatrix.datasets", VISE_GGUF_KIND_TEXT, 2, NULL);
    vise_gguf_add_text(&values, "a.txt", 5);
    vise_gguf_add_text(&values, "b.txt", 5);
    vise_gguf_put_u32(&values, "imatrix.chunk_count", 9);
    for (size_t i = 0; i < n; i++) {
        const uint64_t elements = (uint64_t)(tensors[i].dims[0] * tensors[i].dims[1]);
        table[i] = (vise_gguf_tensor){.name = tensors[i].name,
                                      .ndim = 2,
                                      .dims = {tensors[i].dims[0], tensors[i].dims[1]},
                                      .type = &vise_gguf_table[tensors[i].type],
                                      .elements = elements,
                                      .bytes = 4 * elements,
                                      .offset = end};
        end += (4 * elements + 31) / 32 * 32;
    }
    OK(vise_gguf_write_header(&values, &whole, table, n, &file, &help_error));
    for (size_t i = 0; i < n; i++) {
        for (uint64_t k = 0; k < table[i].elements; k++)
            vise_buf_add(&file, i == 0 && k + 1 == table[i].elements ? &odd : &tensors[i].value,
                         sizeof(float));
        while (file.length % 32 != 0)
            vise_buf_add_char(&file, 0);
    }
    OK(vise_file_write_atomic(path, file.data, file.length, &help_error));
    vise_buf_deinit(&file);
    vise_gguf_values_deinit(&values);
}

static vise_gguf_importance about; /* of the file that was read last */

static vise_status read_file(const char *path, vise_arena **arena, vise_imatrix_entry **entries,
                             size_t *count)
{
    help_error = (vise_error){0};
    OK(vise_arena_new(arena, &help_error));
    return vise_imatrix_read(path, *arena, entries, count, &about, &help_error);
}

static void test_gguf(void **state)
{
    (void)state;
    static const struct {
        tensor tensors[TENSORS_MAX];
        size_t n;
        float odd;
        const char *message; /* NULL: fine */
    } cases[] = {
        {{{"a.in_sum2", {4, 1}, 6, 0}, {"a.counts", {1, 1}, 2, 0}}, 2, 6, NULL},
        {{{"a.in_sum2", {4, 3}, 6, 0}, {"a.counts", {1, 3}, 2, 0}}, 2, 6, NULL},
        {{{"a.in_sum2", {4, 1}, 6, 0}, {"a.counts", {1, 1}, 2, 0}}, 2, NAN, "a.in_sum2 holds NaN at 3"},
        {{{"a.in_sum2", {4, 1}, 6, 0}, {"a.counts", {1, 1}, 2, 0}},
         2,
         INFINITY,
         "a.in_sum2 holds an infinity at 3"},
        {{{"a.in_sum2", {4, 1}, 6, 0}, {"a.counts", {1, 1}, 2, 0}},
         2,
         -1,
         "a.in_sum2 holds a negative number at 3"},
        {{{"a.counts", {1, 1}, 2, 0}, {"a.in_sum2", {4, 1}, 6, 0}}, 2, NAN, "a.counts holds NaN at 0"},
        {{{"a.in_sum2", {4, 1}, 6, 0}, {"a.counts", {1, 1}, 0.5f, 0}}, 2, 6, "counts no rows"},
        {{{"a.in_sum2", {4, 1}, 6, 0}}, 1, 6, "a.in_sum2 has no counts"},
        {{{"a.counts", {1, 1}, 2, 0}}, 1, 2, "a.counts has no sums"},
        {{{"a.in_sum2", {4, 3}, 6, 0}, {"a.counts", {1, 2}, 2, 0}},
         2,
         6,
         "12 sums in rows of 4, but 2 counts"},
        {{{"a.in_sum2", {4, 3}, 6, 0}, {"a.counts", {1, 5}, 2, 0}}, 2, 6, "but 5 counts"},
        {{{"a.in_sum2", {4, 1}, 6, VISE_GGUF_I32}, {"a.counts", {1, 1}, 2, 0}}, 2, 6, "of type i32"},
        {{{"a.weight", {4, 1}, 6, 0}}, 1, 6, "neither a sum"},
        {{{"", {0}, 0, 0}}, 0, 0, "is empty"},
    };
    const char *folder = help_folder(), *path = help_path(folder, "m.gguf");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vise_arena *arena;
        vise_imatrix_entry *entries;
        size_t count;
        write_gguf(path, "imatrix", cases[i].tensors, cases[i].n, cases[i].odd);
        const vise_status status = read_file(path, &arena, &entries, &count);
        if (status != (cases[i].message ? VISE_EFORMAT : VISE_OK) ||
            (cases[i].message && !strstr(help_error.message, cases[i].message)))
            fail_msg("case %zu: %d, \"%s\"; expected \"%s\"", i, (int)status, help_error.message,
                     cases[i].message);
        if (status == VISE_OK) {
            assert_int_equal(count, 1);
            assert_int_equal(about.entries, 1);
            assert_int_equal(about.chunks, 9);
            assert_string_equal(about.dataset, "a.txt");
            assert_string_equal(about.file, path);
            assert_string_equal(entries[0].name, "a");
            assert_int_equal(entries[0].values, 4 * entries[0].matrices);
            assert_true(entries[0].means[0] == 3.0f && entries[0].unseen == 0);
        }
        vise_arena_free(arena);
    }
    vise_arena *arena;
    vise_imatrix_entry *entries;
    size_t count;
    static const tensor seldom[] = {{"e.counts", {1, 3}, 5, 0}, {"e.in_sum2", {2, 3}, 10, 0}};
    write_gguf(path, "imatrix", seldom, 2,
               0.0f); /* no token reached the last expert: its columns count alike */
    OK(read_file(path, &arena, &entries, &count));
    assert_true(entries[0].unseen == 1 && entries[0].means[0] == 2.0f && entries[0].means[5] == 1.0f);
    vise_arena_free(arena);
    write_gguf(path, "model", seldom, 2, 0.0f);
    FAILS(VISE_EFORMAT, "general.type is \"model\"", read_file(path, &arena, &entries, &count));
    vise_arena_free(arena);
    help_remove(folder);
}

/* ---- the form before GGUF ---------------------------------------------------- */

static void put_int(vise_buf *buf, int32_t value)
{
    vise_buf_add(buf, &value, sizeof value);
}

static void put_entry(vise_buf *buf, const char *name, int32_t calls, int32_t n, float value)
{
    put_int(buf, (int32_t)strlen(name));
    vise_buf_add_text(buf, name);
    put_int(buf, calls);
    put_int(buf, n);
    for (int32_t i = 0; i < n; i++)
        vise_buf_add(buf, &value, sizeof value);
}

enum { AT_LENGTH = 4, AT_NAME = 8, AT_CALLS = 9, AT_COUNT = 13, AT_VALUES = 17 };

static void test_before(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        int32_t value;
        const char *message;
    } broken[] = {
        {0, 0, "is no importance matrix"},
        {0, -1, "is no importance matrix"},
        {0, 1 << 30, "is no importance matrix"},
        {0, 3, "entry 3"}, /* what follows is no name */
        {AT_LENGTH, 0, "said to have 0 bytes"},
        {AT_LENGTH, 900, "said to have 900 bytes"},
        {AT_LENGTH, -4, "said to have -4 bytes"},
        {AT_NAME, 1, "no name of a weight"},
        {AT_CALLS, -1, "of -1 calls"},
        {AT_COUNT, 0, "said to have 0 values"},
        {AT_COUNT, 1 << 30, "ends within the 1073741824 values of a"},
        {AT_VALUES, 0x7fc00000, "a holds NaN at 0"},
        {AT_VALUES, 0x7f800000, "a holds an infinity at 0"},
        {AT_VALUES, (int32_t)0xbf800000, "a holds a negative number at 0"},
    };
    const char *folder = help_folder(), *path = help_path(folder, "m.dat");
    vise_arena *arena;
    vise_imatrix_entry *entries;
    size_t count;
    vise_buf buf;
    vise_buf_init(&buf, 1 << 16);
    put_int(&buf, 2);
    put_entry(&buf, "a", 4, 3, 8.0f);
    put_entry(&buf, "b", 0, 2, 5.0f);
    const size_t behind = buf.length; /* what llama.cpp's own reader does without */
    put_int(&buf, 7);
    put_int(&buf, 5);
    vise_buf_add_text(&buf, "x.txt");
    OK(vise_file_write_atomic(path, buf.data, buf.length, &help_error));
    OK(read_file(path, &arena, &entries, &count));
    assert_int_equal(count, 2);
    assert_true(entries[0].values == 3 && entries[0].means[2] == 2.0f && entries[0].matrices == 0);
    assert_true(entries[1].values == 2 && entries[1].means[0] == 5.0f);
    assert_true(about.entries == 2 && about.chunks == 7 && strcmp(about.dataset, "x.txt") == 0);
    vise_arena_free(arena);
    for (size_t n = behind; n < buf.length; n++) { /* a tail that is not whole tells nothing */
        OK(vise_file_write_atomic(path, buf.data, n, &help_error));
        OK(read_file(path, &arena, &entries, &count));
        assert_true(about.entries == 2 && about.chunks == 0 && about.dataset[0] == '\0');
        vise_arena_free(arena);
    }
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        int32_t kept;
        memcpy(&kept, buf.data + broken[i].at, sizeof kept);
        memcpy(buf.data + broken[i].at, &broken[i].value, sizeof kept);
        OK(vise_file_write_atomic(path, buf.data, buf.length, &help_error));
        memcpy(buf.data + broken[i].at, &kept, sizeof kept);
        const vise_status status = read_file(path, &arena, &entries, &count);
        if (status != VISE_EFORMAT || !strstr(help_error.message, broken[i].message))
            fail_msg("case %zu: %d, \"%s\"; expected \"%s\"", i, (int)status, help_error.message,
                     broken[i].message);
        vise_arena_free(arena);
    }
    for (size_t n = 0; n < behind; n++) { /* cut anywhere */
        OK(vise_file_write_atomic(path, buf.data, n, &help_error));
        assert_int_equal(read_file(path, &arena, &entries, &count), VISE_EFORMAT);
        vise_arena_free(arena);
    }
    buf.length = 0;
    put_int(&buf, 2);
    put_entry(&buf, "a", 4, 3, 8.0f);
    put_entry(&buf, "a", 4, 3, 8.0f);
    OK(vise_file_write_atomic(path, buf.data, buf.length, &help_error));
    FAILS(VISE_EFORMAT, "a is there twice", read_file(path, &arena, &entries, &count));
    vise_arena_free(arena);
    vise_buf_deinit(&buf);
    help_remove(folder);
}

/* ---- of a model ---------------------------------------------------- */

static void test_of_model(void **state)
{
    (void)state;
    static const struct {
        tensor tensors[2];
        vise_status status;
        const char *message;
    } cases[] = {
        {{{"blk.0.attn_q.weight.in_sum2", {32, 1}, 6, 0}, {"blk.0.attn_q.weight.counts", {1, 1}, 2, 0}},
         VISE_OK,
         ""},
        {{{"blk.0.attn_q.weight.in_sum2", {31, 1}, 6, 0}, {"blk.0.attn_q.weight.counts", {1, 1}, 2, 0}},
         VISE_EFORMAT,
         "blk.0.attn_q.weight has 31 values"},
        {{{"blk.0.attn_q.weight.in_sum2", {16, 2}, 6, 0}, {"blk.0.attn_q.weight.counts", {1, 2}, 2, 0}},
         VISE_EFORMAT,
         "made for another"},
        {{{"blk.9.attn_q.weight.in_sum2", {32, 1}, 6, 0}, {"blk.9.attn_q.weight.counts", {1, 1}, 2, 0}},
         VISE_EUSAGE,
         "has no weight of this model"},
    };
    tiny_llama llama = small;
    vise_model *model;
    tiny_llama_make(&llama, 1);
    OK(vise_model_open(llama.folder, &model, &help_error));
    const char *folder = help_folder(), *path = help_path(folder, "m.gguf");
    const size_t q = vise_model_role(model, VISE_ROLE_Q, 0), k = vise_model_role(model, VISE_ROLE_K, 0);
    vise_imatrix *imatrix;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_gguf(path, "imatrix", cases[i].tensors, 2, 6);
        help_error = (vise_error){0};
        const vise_status status = vise_imatrix_open(path, model, &imatrix, &help_error);
        if (status != cases[i].status || !strstr(help_error.message, cases[i].message))
            fail_msg("case %zu: %d, \"%s\"", i, (int)status, help_error.message);
        if (status == VISE_OK) {
            assert_true(vise_imatrix_of(imatrix, q)[31] == 3.0f);
            assert_null(vise_imatrix_of(imatrix, k));
        }
        vise_imatrix_close(imatrix);
    }
    static const tensor zeros[] = {{"blk.0.attn_q.weight.in_sum2", {32, 1}, 0, 0},
                                   {"blk.0.attn_q.weight.counts", {1, 1}, 2, 0}};
    write_gguf(path, "imatrix", zeros, 2, 0.0f); /* nothing to weigh by */
    OK(vise_imatrix_open(path, model, &imatrix, &help_error));
    assert_null(vise_imatrix_of(imatrix, q));
    vise_imatrix_close(imatrix);
    vise_model_close(model);
    tiny_llama_drop(&llama);
    help_remove(folder);
}

static void expect_means(const vise_imatrix *imatrix, const vise_model *model, vise_role role, int layer,
                         const double *input, int64_t tokens, int64_t width)
{
    const float *means = vise_imatrix_of(imatrix, vise_model_role(model, role, layer));
    assert_non_null(means);
    for (int64_t c = 0; c < width; c++) {
        double sum = 0.0;
        for (int64_t t = 0; t < tokens; t++)
            sum += input[t * width + c] * input[t * width + c];
        const double mean = sum / (double)tokens;
        if (fabs((double)means[c] - mean) > 1e-4 * mean)
            fail_msg("%s %d, column %d: %g, not %g", vise_role_name(role), layer, (int)c, (double)means[c],
                     mean);
    }
}

static void test_made(void **state)
{
    (void)state;
    enum { TOKENS = 12 };
    int32_t ids[TOKENS];
    tiny_llama llama = small;
    vise_model *model;
    vise_session session;
    vise_imatrix *imatrix;
    vise_windows windows = {.ids = ids, .count = 1, .length = TOKENS};
    for (int i = 0; i < TOKENS; i++)
        ids[i] = (i * 7 + 3) % 40;
    tiny_llama_make(&llama, 2);
    const char *folder = help_folder(), *path = help_path(folder, "i.gguf");
    OK(vise_model_open(llama.folder, &model, &help_error));
    OK(vise_session_open("cpu", 2, 0, vise_imatrix_bytes(model, 1, TOKENS, 2), true, &session, &help_error));
    OK(vise_imatrix_make(model, &windows, 1, "a text", &session, path, &help_error));
    OK(vise_imatrix_open(path, model, &imatrix, &help_error));
    for (int layer = 0; layer < 2; layer++) {
        tiny_result result;
        tiny_llama_run(&llama, ids, TOKENS, layer, &result);
        expect_means(imatrix, model, VISE_ROLE_Q, layer, result.input[VISE_INPUT_ATTENTION], TOKENS, 32);
        expect_means(imatrix, model, VISE_ROLE_O, layer, result.input[VISE_INPUT_O], TOKENS, 32);
        expect_means(imatrix, model, VISE_ROLE_UP, layer, result.input[VISE_INPUT_MLP], TOKENS, 32);
        expect_means(imatrix, model, VISE_ROLE_DOWN, layer, result.input[VISE_INPUT_DOWN], TOKENS, 48);
        tiny_result_free(&result);
    }
    assert_null(vise_imatrix_of(imatrix, vise_model_role(model, VISE_ROLE_EMBEDDING, -1)));
    vise_imatrix_close(imatrix);
    vise_model_close(model);
    vise_session_close(&session);
    tiny_llama_drop(&llama);
    help_remove(folder);
}

/* llama-imatrix's own file of the golden model: every weight of the blocks is found. */
static void test_golden(void **state)
{
    (void)state;
    if (access(GOLDEN "imatrix.gguf", R_OK) != 0) {
        print_message("SKIP: no " GOLDEN "imatrix.gguf\n");
        skip();
    }
    vise_model *model;
    vise_imatrix *imatrix;
    size_t found = 0;
    OK(vise_model_open(GOLDEN "hf", &model, &help_error));
    OK(vise_imatrix_open(GOLDEN "imatrix.gguf", model, &imatrix, &help_error));
    for (size_t i = 0; i < model->count; i++)
        found += vise_imatrix_of(imatrix, i) != NULL;
    assert_int_equal(found, 7 * model->config.layers);
    vise_imatrix_close(imatrix);
    vise_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gguf), cmocka_unit_test(test_before),
                                       cmocka_unit_test(test_of_model), cmocka_unit_test(test_made),
                                       cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
