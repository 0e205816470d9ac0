/* GGUF files that parse and are no models: metadata that are missing, of a wrong type or out of range, shapes that
 * do not match them, weights that are no numbers. Each has a message of its own. What does not even parse, and
 * shards that are not what they say, are in test_gguf.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/workers.h"
#include "formats/gguf_write.h"
#include "model/forward.h"
#include "model/model.h"
#include "tests/unit/formats_help.h"

enum { HIDDEN = 8, FFN = 16, VOCAB = 10, VALUES_MAX = 12, TENSORS = 12 };

typedef struct value {
    const char *key;
    vise_gguf_kind kind; /* U32, F32, TEXT */
    uint32_t number;
    float real;
    const char *text;
} value;

#define INT(name, n)                                                                                         \
    {                                                                                                        \
        .key = name, .kind = VISE_GGUF_KIND_U32, .number = n                                                 \
    }
#define REAL(name, x)                                                                                        \
    {                                                                                                        \
        .key = name, .kind = VISE_GGUF_KIND_F32, .real = x                                                   \
    }
#define TEXT(name, s)                                                                                        \
    {                                                                                                        \
        .key = name, .kind = VISE_GGUF_KIND_TEXT, .text = s                                                  \
    }

static const value fine[] = {
    TEXT("general.architecture", "llama"),   INT("llama.embedding_length", HIDDEN),
    INT("llama.feed_forward_length", FFN),   INT("llama.block_count", 1),
    INT("llama.context_length", 32),         INT("llama.attention.head_count", 2),
    INT("llama.attention.head_count_kv", 2), REAL("llama.attention.layer_norm_rms_epsilon", 1e-5f),
};
enum { FINE = sizeof fine / sizeof *fine };

static const struct {
    const char *name;
    int64_t cols, rows;
} tensors[TENSORS] = {
    {"token_embd.weight", HIDDEN, VOCAB},    {"output_norm.weight", HIDDEN, 1},
    {"output.weight", HIDDEN, VOCAB},        {"blk.0.attn_norm.weight", HIDDEN, 1},
    {"blk.0.attn_q.weight", HIDDEN, HIDDEN}, {"blk.0.attn_k.weight", HIDDEN, HIDDEN},
    {"blk.0.attn_v.weight", HIDDEN, HIDDEN}, {"blk.0.attn_output.weight", HIDDEN, HIDDEN},
    {"blk.0.ffn_norm.weight", HIDDEN, 1},    {"blk.0.ffn_gate.weight", HIDDEN, FFN},
    {"blk.0.ffn_up.weight", HIDDEN, FFN},    {"blk.0.ffn_down.weight", FFN, HIDDEN},
};

/* What a case changes. */
typedef struct change {
    value value;         /* in place of the one with its key, or more */
    const char *without; /* a key or a tensor that is left out */
    const char *tensor;  /* gets what follows */
    vise_gguf_row type;  /* 0: f32 */
    int64_t cols, rows;  /* 0: as they are */
    uint32_t bits;       /* of its third value */
    bool sets_bits;
    size_t tensors; /* 0: all; else so many less one */
} change;

static void put_value(vise_gguf_values *values, const value *v)
{
    if (v->kind == VISE_GGUF_KIND_TEXT)
        vise_gguf_put_text(values, v->key, v->text);
    else if (v->kind == VISE_GGUF_KIND_F32)
        vise_gguf_put_f32(values, v->key, v->real);
    else
        vise_gguf_put_u32(values, v->key, v->number);
}

static void put_values(vise_gguf_values *values, const change *c)
{
    bool replaced = c->value.key == NULL;
    for (size_t i = 0; i < FINE; i++) {
        const bool same = c->value.key != NULL && strcmp(fine[i].key, c->value.key) == 0;
        if (c->without != NULL && strcmp(fine[i].key, c->without) == 0)
            continue;
        put_value(values, same ? &c->value : &fine[i]);
        replaced = replaced || same;
    }
    if (!replaced)
        put_value(values, &c->value);
}

static void write_model(const char *path, const change *c)
{
    static const vise_gguf_split whole = {.number = 0, .count = 1};
    vise_gguf_tensor table[TENSORS];
    vise_gguf_values values;
    vise_buf file;
    uint64_t end = 0;
    size_t n = 0;
    vise_gguf_values_init(&values);
    vise_buf_init(&file, 1 << 20);
    put_values(&values, c);
    for (size_t i = 0; i < (c->tensors > 0 ? c->tensors - 1 : TENSORS); i++) {
        const bool it = c->tensor != NULL && strcmp(c->tensor, tensors[i].name) == 0;
        const int64_t cols = it && c->cols > 0 ? c->cols : tensors[i].cols;
        const int64_t rows = it && c->rows > 0 ? c->rows : tensors[i].rows;
        if (c->without != NULL && strcmp(tensors[i].name, c->without) == 0)
            continue;
        table[n++] = (vise_gguf_tensor){.name = tensors[i].name,
                                        .ndim = rows > 1 ? 2 : 1,
                                        .dims = {cols, rows},
                                        .type = &vise_gguf_table[it ? c->type : VISE_GGUF_F32],
                                        .bytes = 4 * (uint64_t)(cols * rows),
                                        .offset = end};
        end += (table[n - 1].bytes + 31) / 32 * 32;
    }
    OK(vise_gguf_write_header(&values, &whole, table, n, &file, &help_error));
    for (size_t i = 0; i < n; i++) {
        for (uint64_t k = 0; k < table[i].bytes / 4; k++) {
            const float x = 0.01f * (float)((k * 7 + i) % 13) - 0.05f;
            const bool it = c->sets_bits && k == 2 && strcmp(c->tensor, table[i].name) == 0;
            vise_buf_add(&file, it ? (const void *)&c->bits : (const void *)&x, sizeof x);
        }
        while (file.length % 32 != 0)
            vise_buf_add_char(&file, 0);
    }
    OK(vise_file_write_atomic(path, file.data, file.length, &help_error));
    vise_buf_deinit(&file);
    vise_gguf_values_deinit(&values);
}

/* Opens the model and loads its only block, embedding and head left alone. */
static vise_status load(const char *path)
{
    vise_model *model;
    vise_workers *workers;
    vise_pool *pool;
    vise_block block = {0};
    help_error = (vise_error){0};
    VISE_TRY(vise_model_open(path, &model, &help_error));
    vise_error err = {0};
    assert_int_equal(vise_pool_new(0, &pool, &err), VISE_OK);
    assert_int_equal(vise_workers_new(1, &workers, &err), VISE_OK);
    vise_status status = vise_model_need_forward(model, "a test", &help_error);
    if (status == VISE_OK)
        status = vise_block_load(model, 0, workers, pool, &block, &help_error);
    vise_block_unload(&block);
    vise_model_close(model);
    vise_workers_free(workers);
    vise_pool_free(pool);
    return status;
}

static const struct {
    const char *what;
    change change;
    vise_status status;
    const char *message;
} cases[] = {
    {"as it is", {.tensors = 0}, VISE_OK, ""},
    {"no architecture",
     {.without = "general.architecture"},
     VISE_EFORMAT,
     "\"general.architecture\" is missing"},
    {"architecture a number",
     {.value = INT("general.architecture", 7)},
     VISE_EFORMAT,
     "\"general.architecture\" is of type u32 where a text is expected"},
    {"unknown architecture", {.value = TEXT("general.architecture", "llamb")}, VISE_EUNSUPPORTED, "a test"},
    {"no blocks", {.value = INT("llama.block_count", 0)}, VISE_EFORMAT, "\"llama.block_count\" is 0"},
    {"2^31 blocks",
     {.value = INT("llama.block_count", 1u << 31)},
     VISE_EFORMAT,
     "\"llama.block_count\" is 2147483648, outside"},
    {"blocks a text",
     {.value = TEXT("llama.block_count", "1")},
     VISE_EFORMAT,
     "\"llama.block_count\" is of type text where an integer is expected"},
    {"blocks that are not there", {.value = INT("llama.block_count", 2)}, VISE_EFORMAT, "model.layers.1."},
    {"count of blocks missing",
     {.without = "llama.block_count"},
     VISE_EFORMAT,
     "\"llama.block_count\" is missing"},
    {"no heads",
     {.value = INT("llama.attention.head_count", 0)},
     VISE_EFORMAT,
     "\"llama.attention.head_count\" is 0, outside"},
    {"heads that do not divide rows",
     {.value = INT("llama.attention.head_count", 3)},
     VISE_EFORMAT,
     "3 heads"},
    {"more heads than rows", {.value = INT("llama.attention.head_count", 1 << 20)}, VISE_EFORMAT, "heads"},
    {"width of another model", {.value = INT("llama.embedding_length", 16)}, VISE_EFORMAT, "16"},
    {"no epsilon",
     {.without = "llama.attention.layer_norm_rms_epsilon"},
     VISE_EFORMAT,
     "\"llama.attention.layer_norm_rms_epsilon\" is missing"},
    {"epsilon NaN",
     {.value = REAL("llama.attention.layer_norm_rms_epsilon", NAN)},
     VISE_EFORMAT,
     "\"llama.attention.layer_norm_rms_epsilon\" is no finite number"},
    {"epsilon an integer",
     {.value = INT("llama.attention.layer_norm_rms_epsilon", 1)},
     VISE_EFORMAT,
     "\"llama.attention.layer_norm_rms_epsilon\" is of type u32 where a float is expected"},
    {"65535 shards", {.value = INT("split.count", 65535)}, VISE_EFORMAT, "\"split.no\" is missing"},
    {"no tensors", {.tensors = 1}, VISE_EFORMAT, "\"vocab_size\" is missing"},
    {"a tensor less", {.without = "blk.0.ffn_up.weight"}, VISE_EFORMAT, "up_proj"},
    {"a weight of integers",
     {.tensor = "blk.0.ffn_up.weight", .type = VISE_GGUF_I32},
     VISE_EFORMAT,
     "up_proj"},
    {"too few rows", {.tensor = "blk.0.ffn_up.weight", .rows = FFN - 1}, VISE_EFORMAT, "up_proj"},
    {"too many columns", {.tensor = "blk.0.ffn_up.weight", .cols = HIDDEN + 1}, VISE_EFORMAT, "up_proj"},
    {"a matrix as a vector", {.tensor = "blk.0.ffn_up.weight", .rows = 1}, VISE_EFORMAT, "up_proj"},
    {"NaN",
     {.tensor = "blk.0.ffn_up.weight", .bits = 0x7fc00000, .sets_bits = true},
     VISE_EFORMAT,
     "up_proj"},
    {"infinity",
     {.tensor = "blk.0.ffn_up.weight", .bits = 0xff800000, .sets_bits = true},
     VISE_EFORMAT,
     "up_proj"},
    {"a denormal", {.tensor = "blk.0.ffn_up.weight", .bits = 1, .sets_bits = true}, VISE_OK, ""},
    {"65504", {.tensor = "blk.0.ffn_up.weight", .bits = 0x477fe000, .sets_bits = true}, VISE_OK, ""},
};

static void test_cases(void **state)
{
    (void)state;
    const char *folder = help_folder(), *path = help_path(folder, "m.gguf");
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_model(path, &cases[i].change);
        const vise_status status = load(path);
        if (status == cases[i].status && strstr(help_error.message, cases[i].message))
            continue;
        print_message("         %s: %d, \"%s\"; expected %d, \"%s\"\n", cases[i].what, (int)status,
                      help_error.message, (int)cases[i].status, cases[i].message);
        wrong++;
    }
    help_remove(folder);
    assert_int_equal(wrong, 0);
}

/* Blocks whose scales are no numbers, in every type that has them: found, by place. */
static void test_scales(void **state)
{
    (void)state;
    for (size_t t = 0; t < VISE_GGUF_TYPES; t++) {
        const vise_gguf_type *type = &vise_gguf_table[t];
        uint8_t blocks[4 * 512] = {0};
        assert_true(type->bytes <= 512);
        assert_int_equal(vise_gguf_first_bad(type, blocks, 4), 4);
        for (int k = 0; k < 2 && type->halves[k] >= 0 && type->encode_row != NULL; k++) {
            uint8_t *half = blocks + 2 * type->bytes + type->halves[k];
            half[1] = 0x7c; /* infinity */
            assert_int_equal(vise_gguf_first_bad(type, blocks, 4), 2);
            half[0] = 1; /* NaN */
            assert_int_equal(vise_gguf_first_bad(type, blocks, 4), 2);
            half[0] = half[1] = 0;
        }
    }
}

/* Shapes whose product of elements wraps to something small. */
static void test_products(void **state)
{
    (void)state;
    static const struct {
        int ndim;
        int64_t dims[4];
    } shapes[] = {{2, {(int64_t)1 << 62, 4}},
                  {3, {(int64_t)1 << 32, (int64_t)1 << 32, 16}},
                  {4, {(int64_t)1 << 16, (int64_t)1 << 16, (int64_t)1 << 16, (int64_t)1 << 16}},
                  {2, {INT64_MAX, 2}}};
    static const vise_gguf_split whole = {.number = 0, .count = 1};
    const char *folder = help_folder(), *path = help_path(folder, "m.gguf");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        vise_gguf_tensor tensor = {
            .name = "a.weight", .ndim = shapes[i].ndim, .type = &vise_gguf_table[VISE_GGUF_F32]};
        vise_gguf_values values;
        vise_buf file;
        vise_source *source;
        memcpy(tensor.dims, shapes[i].dims, sizeof tensor.dims);
        vise_gguf_values_init(&values);
        vise_buf_init(&file, 1 << 16);
        vise_gguf_put_text(&values, "general.architecture", "other");
        OK(vise_gguf_write_header(&values, &whole, &tensor, 1, &file, &help_error));
        OK(vise_file_write_atomic(path, file.data, file.length, &help_error));
        FAILS(VISE_EFORMAT, "more elements than can be counted",
              vise_source_open(path, &source, &help_error));
        vise_buf_deinit(&file);
        vise_gguf_values_deinit(&values);
    }
    help_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_scales),
                                       cmocka_unit_test(test_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
