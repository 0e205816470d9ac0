/* GGUF files: every kind of value, every rule of the format broken once, the order of rows, shards; and
 * the files that llama.cpp made, where they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/gguf.h"
#include "formats/gguf_names.h"
#include "formats/store.h"
#include "tests/unit/formats_help.h"
#include "tests/unit/tensor_data.h"

#define GOLDEN "../shared/golden/gguf/"

/* ---- a small file, piece by piece ---------------------------------------------------------------------- */

static void put(vise_buf *buf, const void *bytes, size_t n)
{
    vise_buf_add(buf, bytes, n);
}

static void put_u32(vise_buf *buf, uint32_t value)
{
    put(buf, &value, sizeof value);
}

static void put_u64(vise_buf *buf, uint64_t value)
{
    put(buf, &value, sizeof value);
}

static void put_text(vise_buf *buf, const char *text)
{
    put_u64(buf, strlen(text));
    put(buf, text, strlen(text));
}

static void put_head(vise_buf *buf, uint64_t tensors, uint64_t values)
{
    put(buf, "GGUF", 4);
    put_u32(buf, 3);
    put_u64(buf, tensors);
    put_u64(buf, values);
}

static void put_tensor(vise_buf *buf, const char *name, uint64_t cols, uint64_t rows, uint32_t type,
                       uint64_t offset)
{
    put_text(buf, name);
    put_u32(buf, 2);
    put_u64(buf, cols);
    put_u64(buf, rows);
    put_u32(buf, type);
    put_u64(buf, offset);
}

static void put_padding(vise_buf *buf, size_t alignment)
{
    while (buf->length % alignment != 0)
        vise_buf_add_char(buf, 0);
}

/* Two values and two tensors; fields at the offsets that the cases below change. */
enum {
    AT_VERSION = 4,
    AT_TENSORS = 8,
    AT_VALUES = 16,
    AT_KEY = 24, /* length, "general.alignment" */
    AT_KIND = AT_KEY + 8 + 17,
    AT_ALIGNMENT = AT_KIND + 4,
    AT_KEY2 = AT_ALIGNMENT + 4, /* length, "k" */
    AT_KIND2 = AT_KEY2 + 9,
    AT_ELEMENT = AT_KIND2 + 4,
    AT_COUNT = AT_ELEMENT + 4,
    AT_NAME = AT_COUNT + 8 + 3, /* three bools; length, "a" */
    AT_NDIM = AT_NAME + 9,
    AT_DIM0 = AT_NDIM + 4,
    AT_DIM1 = AT_DIM0 + 8,
    AT_TYPE = AT_DIM1 + 8,
    AT_OFFSET = AT_TYPE + 4,
    AT_NAME2 = AT_OFFSET + 8,
    AT_OFFSET2 = AT_NAME2 + 9 + 4 + 16 + 4,
};

static void small_file(vise_buf *buf)
{
    put_head(buf, 2, 2);
    put_text(buf, "general.alignment");
    put_u32(buf, VISE_GGUF_KIND_U32);
    put_u32(buf, 32);
    put_text(buf, "k");
    put_u32(buf, VISE_GGUF_KIND_ARRAY);
    put_u32(buf, VISE_GGUF_KIND_BOOL);
    put_u64(buf, 3);
    put(buf, "\1\0\1", 3);
    assert_int_equal(buf->length, AT_NAME);
    put_tensor(buf, "a", 32, 2, 8, 0); /* q8_0: 68 bytes, padded to 96 */
    put_tensor(buf, "b", 3, 1, 0, 96);
    put_padding(buf, 32);
    for (int i = 0; i < 96 + 12; i++)
        vise_buf_add_char(buf, (char)i);
}

static vise_status parse(const char *bytes, size_t n, vise_arena *arena, vise_gguf *gguf)
{
    help_memory file = {bytes, n};
    vise_st_input input = help_input(&file, "m.gguf");
    help_error = (vise_error){0};
    return vise_gguf_parse(&input, arena, gguf, &help_error);
}

static void test_small_file(void **state)
{
    (void)state;
    vise_buf buf;
    vise_arena *arena;
    vise_gguf gguf;
    vise_buf_init(&buf, 1 << 16);
    small_file(&buf);
    OK(vise_arena_new(&arena, &help_error));
    OK(parse(buf.data, buf.length, arena, &gguf));
    assert_int_equal(gguf.n_values, 2);
    assert_int_equal(gguf.n_tensors, 2);
    assert_int_equal(gguf.alignment, 32);
    assert_int_equal(gguf.data_start % 32, 0);
    assert_string_equal(gguf.tensors[0].name, "a");
    assert_int_equal(gguf.tensors[0].bytes, 68);
    assert_int_equal(gguf.tensors[1].offset, gguf.data_start + 96);
    assert_int_equal(gguf.tensors[1].elements, 3);
    const void *elements;
    uint64_t count;
    OK(vise_gguf_get_array(&gguf, "k", true, VISE_GGUF_KIND_BOOL, &elements, &count, &help_error));
    assert_int_equal(count, 3);
    assert_memory_equal(elements, "\1\0\1", 3);
    int64_t number = 7;
    OK(vise_gguf_get_int(&gguf, "missing", false, 0, 9, &number, &help_error));
    assert_int_equal(number, 7);
    FAILS(VISE_EFORMAT, "missing", vise_gguf_get_int(&gguf, "missing", true, 0, 9, &number, &help_error));
    FAILS(VISE_EFORMAT, "outside",
          vise_gguf_get_int(&gguf, "general.alignment", true, 0, 9, &number, &help_error));
    FAILS(VISE_EFORMAT, "array", vise_gguf_get_int(&gguf, "k", true, 0, 9, &number, &help_error));
    /* Bytes behind the data are tolerated; a file cut anywhere is not. */
    vise_buf_add_text(&buf, "garbage");
    OK(parse(buf.data, buf.length, arena, &gguf));
    for (size_t n = 0; n < buf.length - 7; n++)
        assert_int_equal(parse(buf.data, n, arena, &gguf), VISE_EFORMAT);
    vise_arena_free(arena);
    vise_buf_deinit(&buf);
}

/* One field of the small file changed. */
static const struct {
    size_t at, bytes; /* bytes 1, 4 or 8 */
    uint64_t value;
    vise_status status;
    const char *message;
} broken[] = {
    {0, 1, 'g', VISE_EFORMAT, "GGUF"},
    {AT_VERSION, 4, 0, VISE_EFORMAT, "version 0"},
    {AT_VERSION, 4, 1, VISE_EFORMAT, "version 1"},
    {AT_VERSION, 4, 99, VISE_EFORMAT, "version 99"},
    {AT_VERSION, 4, 0x03000000, VISE_EUNSUPPORTED, "big-endian"},
    {AT_TENSORS, 8, (uint64_t)1 << 60, VISE_EFORMAT, "more than the file has room for"},
    {AT_TENSORS, 8, UINT64_MAX, VISE_EFORMAT, "more than the file has room for"},
    {AT_TENSORS, 8, 3, VISE_EFORMAT, ""},
    {AT_VALUES, 8, (uint64_t)1 << 62, VISE_EFORMAT, "more than the file has room for"},
    {AT_VALUES, 8, 1, VISE_EFORMAT, ""},
    {AT_VALUES, 8, 3, VISE_EFORMAT, ""},
    {AT_KEY, 8, (uint64_t)1 << 63, VISE_EFORMAT, "left"},
    {AT_KEY, 8, 900000000, VISE_EFORMAT, "left"},
    {AT_KEY, 8, 0, VISE_EFORMAT, "empty"},
    {AT_KEY + 8, 1, 0, VISE_EFORMAT, "printable"},
    {AT_KEY + 8, 1, 0xff, VISE_EFORMAT, "printable"},
    {AT_KIND, 4, 13, VISE_EFORMAT, "type"},
    {AT_KIND, 4, VISE_GGUF_KIND_I32, VISE_EFORMAT, "no u32"},
    {AT_ALIGNMENT, 4, 0, VISE_EFORMAT, "power of two"},
    {AT_ALIGNMENT, 4, 3, VISE_EFORMAT, "power of two"},
    {AT_ALIGNMENT, 4, 1, VISE_EFORMAT, "begin where"},
    {AT_ALIGNMENT, 4, 64, VISE_EFORMAT, "begin where"},
    {AT_ALIGNMENT, 4, (uint64_t)1 << 31, VISE_EFORMAT, "begin where"},
    {AT_KIND2, 4, VISE_GGUF_KIND_U32, VISE_EFORMAT, ""},
    {AT_ELEMENT, 4, VISE_GGUF_KIND_ARRAY, VISE_EFORMAT, "array of arrays"},
    {AT_ELEMENT, 4, 13, VISE_EFORMAT, "type"},
    {AT_COUNT, 8, (uint64_t)1 << 61, VISE_EFORMAT, "more elements"},
    {AT_COUNT, 8, (uint64_t)1 << 63, VISE_EFORMAT, "more elements"},
    {AT_COUNT, 8, 1000000000, VISE_EFORMAT, "more elements"},
    {AT_COUNT + 8, 1, 7, VISE_EFORMAT, "neither 0 nor 1"},
    {AT_NAME, 8, 65, VISE_EFORMAT, "at most 63"},
    {AT_NAME, 8, 0, VISE_EFORMAT, "empty"},
    {AT_NAME + 8, 1, 0, VISE_EFORMAT, "printable"},
    {AT_NAME + 8, 1, 'b', VISE_EFORMAT, "there twice"},
    {AT_NDIM, 4, 0, VISE_EFORMAT, "dimensions"},
    {AT_NDIM, 4, 5, VISE_EFORMAT, "dimensions"},
    {AT_NDIM, 4, UINT32_MAX, VISE_EFORMAT, "dimensions"},
    {AT_DIM0, 8, 0, VISE_EFORMAT, "below 1"},
    {AT_DIM0, 8, UINT64_MAX, VISE_EFORMAT, "below 1"},
    {AT_DIM0, 8, (uint64_t)1 << 62, VISE_EFORMAT, "counted"},
    {AT_DIM0, 8, ((uint64_t)1 << 42) + 1, VISE_EFORMAT, "whole blocks"},
    {AT_DIM0, 8, 33, VISE_EFORMAT, "whole blocks"},
    {AT_DIM0, 8, (uint64_t)1 << 42, VISE_EFORMAT, "begin where"},
    {AT_DIM1, 8, (uint64_t)1 << 59, VISE_EFORMAT, "counted"},
    {AT_DIM1, 8, 1, VISE_EFORMAT, "begin where"},
    {AT_TYPE, 4, 4, VISE_EFORMAT, "does not know"},
    {AT_TYPE, 4, UINT32_MAX, VISE_EFORMAT, "does not know"},
    {AT_TYPE, 4, 9999, VISE_EFORMAT, "does not know"},
    {AT_OFFSET, 8, 8, VISE_EFORMAT, "begin where"},
    {AT_OFFSET, 8, 32, VISE_EFORMAT, "begin where"},
    {AT_OFFSET, 8, UINT64_MAX - 31, VISE_EFORMAT, "begin where"},
    {AT_OFFSET2, 8, 0, VISE_EFORMAT, "begin where"},
    {AT_OFFSET2, 8, 64, VISE_EFORMAT, "begin where"},
    {AT_OFFSET2, 8, 128, VISE_EFORMAT, "begin where"},
};

static void test_broken(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        vise_buf buf;
        vise_arena *arena;
        vise_gguf gguf;
        vise_buf_init(&buf, 1 << 16);
        small_file(&buf);
        memcpy(buf.data + broken[i].at, &broken[i].value, broken[i].bytes);
        OK(vise_arena_new(&arena, &help_error));
        vise_status status = parse(buf.data, buf.length, arena, &gguf);
        if (status != broken[i].status || !strstr(help_error.message, broken[i].message))
            fail_msg("case %zu: status %d, \"%s\"; expected %d, \"%s\"", i, (int)status, help_error.message,
                     (int)broken[i].status, broken[i].message);
        vise_arena_free(arena);
        vise_buf_deinit(&buf);
    }
}

static void test_twice(void **state)
{
    (void)state;
    vise_buf buf;
    vise_arena *arena;
    vise_gguf gguf;
    vise_buf_init(&buf, 1 << 16);
    put_head(&buf, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_text(&buf, "key");
        put_u32(&buf, VISE_GGUF_KIND_TEXT);
        put_text(&buf, "value");
    }
    OK(vise_arena_new(&arena, &help_error));
    FAILS(VISE_EFORMAT, "\"key\" is there twice", parse(buf.data, buf.length, arena, &gguf));
    vise_arena_free(arena);
    vise_buf_deinit(&buf);
}

/* ---- as a source --------------------------------------------------------------------------------------- */

static void put_int(vise_buf *buf, const char *key, uint32_t value)
{
    put_text(buf, key);
    put_u32(buf, VISE_GGUF_KIND_U32);
    put_u32(buf, value);
}

static void put_string(vise_buf *buf, const char *key, const char *value)
{
    put_text(buf, key);
    put_u32(buf, VISE_GGUF_KIND_TEXT);
    put_text(buf, value);
}

static void test_rows_in_order(void **state)
{
    (void)state;
    const char *folder = help_folder();
    vise_buf buf;
    vise_buf_init(&buf, 1 << 16);
    put_head(&buf, 1, 8);
    put_string(&buf, "general.architecture", "llama");
    put_int(&buf, "llama.embedding_length", 2);
    put_int(&buf, "llama.feed_forward_length", 2);
    put_int(&buf, "llama.block_count", 1);
    put_int(&buf, "llama.context_length", 8);
    put_int(&buf, "llama.attention.head_count", 2);
    put_text(&buf, "llama.attention.layer_norm_rms_epsilon");
    put_u32(&buf, VISE_GGUF_KIND_F32);
    const float eps = 1e-5f;
    put(&buf, &eps, sizeof eps);
    put_int(&buf, "tokenizer.ggml.bos_token_id", 1);
    put_tensor(&buf, "blk.0.attn_q.weight", 1, 8, 0, 0); /* two heads of four rows: 0 2 1 3 | 4 6 5 7 */
    put_padding(&buf, 32);
    static const float stored[8] = {0, 2, 1, 3, 4, 6, 5, 7};
    put(&buf, stored, sizeof stored);
    const char *path = help_path(folder, "m.gguf");
    OK(vise_file_write_atomic(path, buf.data, buf.length, &help_error));
    vise_source *source;
    OK(vise_source_open(path, &source, &help_error));
    assert_string_equal(vise_source_format(source), "gguf");
    assert_int_equal(vise_source_count(source), 1);
    assert_string_equal(vise_source_tensor(source, 0)->name, "model.layers.0.self_attn.q_proj.weight");
    float values[8];
    OK(vise_source_read(source, 0, 0, sizeof values, values, NULL, &help_error));
    for (int i = 0; i < 8; i++)
        assert_true(values[i] == (float)i);
    OK(vise_source_read(source, 0, 6, 9, values, NULL, &help_error)); /* bytes from within a row */
    float third;
    memcpy(&third, (char *)values + 2, sizeof third);
    assert_true(third == 2.0f);
    const cJSON *config = vise_source_config(source);
    assert_int_equal(cJSON_GetObjectItem(config, "bos_token_id")->valueint, 1);
    assert_true(cJSON_GetObjectItem(config, "rms_norm_eps")->valuedouble == 1e-5);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(config, "tie_word_embeddings")));
    vise_source_close(source);
    vise_buf_deinit(&buf);
    help_remove(folder);
}

static void test_shards(void **state)
{
    (void)state;
    const char *folder = help_folder();
    static const struct {
        uint32_t no, count, tensors;
        vise_status status;
        const char *message;
    } cases[] = {
        {1, 2, 2, VISE_OK, ""},
        {0, 2, 2, VISE_EFORMAT, "says that it is shard 1 of 2"},
        {1, 3, 2, VISE_EFORMAT, "says that it is shard 2 of 3"},
        {1, 2, 3, VISE_EFORMAT, "not 3"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (uint32_t shard = 0; shard < 2; shard++) {
            vise_buf buf;
            vise_buf_init(&buf, 1 << 16);
            put_head(&buf, 1, shard == 0 ? 4 : 2);
            if (shard == 0) {
                put_string(&buf, "general.architecture", "other");
                put_int(&buf, "split.tensors.count", cases[c].tensors);
            }
            put_int(&buf, "split.no", shard == 0 ? 0 : cases[c].no);
            put_int(&buf, "split.count", shard == 0 ? 2 : cases[c].count);
            put_tensor(&buf, shard == 0 ? "a.weight" : "b.weight", 1, 1, 0, 0);
            put_padding(&buf, 32);
            const float value = (float)shard;
            put(&buf, &value, sizeof value);
            OK(vise_file_write_atomic(
                help_path(folder, shard == 0 ? "m-00001-of-00002.gguf" : "m-00002-of-00002.gguf"), buf.data,
                buf.length, &help_error));
            vise_buf_deinit(&buf);
        }
        vise_source *source;
        const char *path = help_path(folder, "m-00001-of-00002.gguf");
        if (cases[c].status != VISE_OK) {
            FAILS(cases[c].status, cases[c].message, vise_source_open(path, &source, &help_error));
            continue;
        }
        OK(vise_source_open(path, &source, &help_error));
        assert_int_equal(vise_source_count(source), 2);
        assert_null(vise_source_config(source));
        float value;
        OK(vise_source_read(source, vise_source_find(source, "b.weight"), 0, 4, &value, NULL, &help_error));
        assert_true(value == 1.0f);
        vise_source_close(source);
    }
    vise_source *source;
    FAILS(VISE_EUSAGE, "give the first",
          vise_source_open(help_path(folder, "m-00002-of-00002.gguf"), &source, &help_error));
    assert_int_equal(unlink(help_path(folder, "m-00002-of-00002.gguf")), 0);
    FAILS(VISE_EFORMAT, "m-00002-of-00002.gguf",
          vise_source_open(help_path(folder, "m-00001-of-00002.gguf"), &source, &help_error));
    help_remove(folder);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"token_embd.weight", "model.embed_tokens.weight"},
        {"blk.0.attn_q.bias", "model.layers.0.self_attn.q_proj.bias"},
        {"blk.127.ffn_down.weight", "model.layers.127.mlp.down_proj.weight"},
        {"output.weight", "lm_head.weight"},
    };
    static const char *const strange[] = {"blk.x.attn_q.weight", "blk.01.attn_q.weight",
                                          "blk..attn_q.weight",  "blk.0.attn_q",
                                          "blk.0.other.weight",  "blk.1234567.attn_q.weight"};
    char name[VISE_GGUF_MODULE_MAX];
    const vise_gguf_family *family = vise_gguf_family_of("llama");
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_non_null(vise_gguf_name_to_hf(family, pairs[i][0], -1, name));
        assert_string_equal(name, pairs[i][1]);
        assert_non_null(vise_gguf_name_from_hf(family, pairs[i][1], name).module);
        assert_string_equal(name, pairs[i][0]);
    }
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        assert_null(vise_gguf_name_to_hf(family, strange[i], -1, name));
    assert_null(vise_gguf_family_of("no such"));
}

/* ---- files of llama.cpp -------------------------------------------------------------------------------- */

/* A GGUF file as it is, without the eyes of a source. */
typedef struct golden_file {
    vise_arena *arena;
    vise_gguf gguf;
    vise_file file;
} golden_file;

static void golden_open(const char *path, golden_file *golden)
{
    OK(vise_arena_new(&golden->arena, &help_error));
    OK(vise_file_open(path, &golden->file, &help_error));
    vise_st_input input = vise_st_input_file(&golden->file);
    OK(vise_gguf_parse(&input, golden->arena, &golden->gguf, &help_error));
}

static void golden_close(golden_file *golden)
{
    vise_file_close(&golden->file);
    vise_arena_free(golden->arena);
}

/* A tensor's bytes, malloc'd; NULL: there is none. */
static void *golden_read(const golden_file *golden, const char *name, const vise_gguf_tensor **tensor)
{
    for (size_t i = 0; i < golden->gguf.n_tensors; i++) {
        *tensor = &golden->gguf.tensors[i];
        if (strcmp((*tensor)->name, name) != 0)
            continue;
        void *bytes = malloc((size_t)(*tensor)->bytes);
        OK(vise_file_read_at(&golden->file, (*tensor)->offset, bytes, (size_t)(*tensor)->bytes, &help_error));
        return bytes;
    }
    return NULL;
}

static float *golden_importance(const golden_file *imatrix, const char *name)
{
    char key[96];
    const vise_gguf_tensor *tensor, *counts;
    snprintf(key, sizeof key, "%s.in_sum2", name);
    float *sums = golden_read(imatrix, key, &tensor);
    if (sums == NULL)
        return NULL;
    snprintf(key, sizeof key, "%s.counts", name);
    float *count = golden_read(imatrix, key, &counts);
    assert_non_null(count);
    for (uint64_t i = 0; i < tensor->elements; i++)
        sums[i] /= *count;
    free(count);
    return sums;
}

static size_t compare_file(const golden_file *model, const golden_file *imatrix, const char *name,
                           bool weighted)
{
    golden_file golden;
    size_t compared = 0;
    golden_open(help_path(GOLDEN, name), &golden);
    for (size_t i = 0; i < golden.gguf.n_tensors; i++) {
        const vise_gguf_tensor *tensor = &golden.gguf.tensors[i], *source, *same;
        const bool bf16 = tensor->type->dtype == VISE_DTYPE_BF16;
        if (tensor->type->encode_row == NULL && !bf16)
            continue;
        void *expected = golden_read(&golden, tensor->name, &same);
        void *halves = golden_read(model, tensor->name, &source);
        float *importance = weighted ? golden_importance(imatrix, tensor->name) : NULL;
        float *values = malloc((size_t)tensor->elements * sizeof *values);
        void *blocks = malloc((size_t)tensor->bytes);
        assert_int_equal(source->elements, tensor->elements);
        vise_to_f32(source->type->dtype, halves, values, (size_t)source->elements);
        if (bf16)
            vise_from_f32(VISE_DTYPE_BF16, values, blocks, (size_t)tensor->elements);
        else
            vise_gguf_encode(tensor->type, values, importance, tensor->dims[1], tensor->dims[0], blocks);
        if (memcmp(blocks, expected, (size_t)tensor->bytes) != 0)
            fail_msg("%s: %s differs", name, tensor->name);
        compared++;
        free(blocks);
        free(values);
        free(importance);
        free(halves);
        free(expected);
    }
    golden_close(&golden);
    return compared;
}

static void test_golden_files(void **state)
{
    (void)state;
    static const char *const names[] = {"Q8_0",   "Q4_0",   "Q4_1",      "Q5_0", "Q5_1",   "Q2_K",
                                        "Q3_K_M", "Q4_K_M", "Q5_K_M",    "Q6_K", "IQ4_NL", "IQ4_XS",
                                        "TQ1_0",  "TQ2_0",  "MXFP4_MOE", "Q1_0", "BF16"};
    if (access(GOLDEN "model-f16.gguf", R_OK) != 0) {
        print_message("SKIP: no " GOLDEN "\n");
        skip();
    }
    golden_file model, imatrix;
    golden_open(GOLDEN "model-f16.gguf", &model);
    golden_open(GOLDEN "imatrix.gguf", &imatrix);
    use_level((int)vise_cpu_highest());
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char file[32];
        snprintf(file, sizeof file, "%s.gguf", names[i]);
        assert_int_equal(compare_file(&model, &imatrix, file, false), 9);
        snprintf(file, sizeof file, "%s-im.gguf", names[i]);
        if (access(help_path(GOLDEN, file), R_OK) == 0)
            assert_int_equal(compare_file(&model, &imatrix, file, true), 9);
    }
    golden_close(&imatrix);
    golden_close(&model);
}

/* The f16 file and the folder that it was made of hold one model. */
static void test_golden_folder(void **state)
{
    (void)state;
    if (access(GOLDEN "hf", R_OK) != 0) {
        print_message("SKIP: no " GOLDEN "hf\n");
        skip();
    }
    vise_store *file, *folder;
    vise_pool *pool;
    OK(vise_pool_new(0, &pool, &help_error));
    OK(vise_store_open(GOLDEN "model-f16.gguf", &file, &help_error));
    OK(vise_store_open(GOLDEN "hf", &folder, &help_error));
    assert_string_equal(vise_store_layout(file)->name, "gguf");
    assert_int_equal(vise_store_count(file), vise_store_count(folder));
    for (size_t i = 0; i < vise_store_count(folder); i++) {
        const vise_logical *tensor = vise_store_tensor(folder, i);
        size_t other = vise_store_find(file, tensor->name);
        assert_true(other != SIZE_MAX);
        float *a = malloc(tensor->elements * sizeof *a), *b = malloc(tensor->elements * sizeof *b);
        OK(vise_store_read_f32(folder, i, 0, tensor->rows, a, pool, &help_error));
        OK(vise_store_read_f32(file, other, 0, tensor->rows, b, pool, &help_error));
        if (memcmp(a, b, tensor->elements * sizeof *a) != 0)
            fail_msg("%s differs", tensor->name);
        free(a);
        free(b);
    }
    vise_store_close(folder);
    vise_store_close(file);
    vise_pool_free(pool);
    vise_source *source;
    FAILS(VISE_EUSAGE, "importance matrix", vise_source_open(GOLDEN "imatrix.gguf", &source, &help_error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_file),   cmocka_unit_test(test_broken),
        cmocka_unit_test(test_twice),        cmocka_unit_test(test_rows_in_order),
        cmocka_unit_test(test_shards),       cmocka_unit_test(test_names),
        cmocka_unit_test(test_golden_files), cmocka_unit_test(test_golden_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
