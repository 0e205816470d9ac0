/* formats/layout_bnb*.c: every kind of weight written and read back, blocks across rows too; the JSON; tables
 * of a file's own; configs; what is broken or refused. */
#include "tests/unit/layout_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/file.h"
#include "core/rng.h"
#include "formats/layout_internal.h"
#include "formats/store.h"

static void *encoded(const vise_spelling *weight, vise_qweight *q)
{
    const size_t n = (size_t)(weight->rows * weight->cols);
    float *values = malloc(n * sizeof *values);
    void *block = malloc(vise_qweight_bytes(&weight->scheme, weight->rows, weight->cols));
    assert_true(values && block);
    vise_rng rng;
    vise_rng_init(&rng, 3, "bnb");
    for (size_t i = 0; i < n; i++)
        values[i] = (float)vise_rng_normal(&rng) * (i / 40 % 3 ? 1.0f : 0.02f);
    vise_qweight_carve(q, &weight->scheme, VISE_DTYPE_F32, weight->rows, weight->cols, block);
    q->offset = 2.1f;
    vise_encode(values, VISE_CLIP_NONE, 0, 0, q);
    free(values);
    return block;
}

static void test_every_scheme(void **state)
{
    (void)state;
    static const struct {
        const char *scheme;
        int64_t rows, cols, step;
    } rows[] = {
        {"nf4", 96, 64, 32},     {"nf4-b128", 70, 128, 64}, {"nf4", 70, 50, 32},
        {"fp4-b32", 65, 33, 64}, {"nf4-dq", 512, 64, 256},  {"nf4-b64-dq", 300, 96, 512},
        {"fp4-dq", 70, 33, 128}, {"llm-int8", 70, 50, 32},  {"nf4-b4096", 64, 64, 64},
        {"fp4", 1, 1, 32},       {"nf4-dq", 1, 5, 32},
    };
    const vise_layout *layout = vise_layout_find("bitsandbytes");
    vise_pool *pool;
    OK(vise_pool_new(0, &pool, &help_error));
    const char *folder = help_folder();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int pack = 0; pack < 2; pack++) {
            vise_spelling weight = help_spelling(rows[i].scheme, rows[i].rows, rows[i].cols, VISE_DTYPE_F16);
            vise_qweight q;
            void *block = encoded(&weight, &q);
            help_write_model(layout, folder, &weight, &q, pack, rows[i].step);
            help_check_model(layout, folder, &weight, &q, pool);
            free(block);
        }
    assert_int_equal(vise_pool_used(pool), 0);
    vise_pool_free(pool);
    help_remove(folder);
}

/* A table that is not ours is read, and written again. */
static void test_tables(void **state)
{
    (void)state;
    const vise_layout *layout = vise_layout_find("bitsandbytes");
    float table[16], nested[256];
    vise_spelling weight = help_spelling("nf4-dq", 256, 64, VISE_DTYPE_F16);
    vise_qweight q;
    vise_pool *pool;
    const char *folder = help_folder();
    OK(vise_pool_new(0, &pool, &help_error));
    void *block = encoded(&weight, &q);
    for (int i = 0; i < 16; i++)
        table[i] = (float)(i - 8) / 8.0f;
    for (int i = 0; i < 256; i++)
        nested[i] = (float)(i - 128) / 128.0f;
    q.table = table;
    q.nested_map = nested;
    vise_nested_restore(&q);
    help_write_model(layout, folder, &weight, &q, false, 256);
    help_check_model(layout, folder, &weight, &q, pool);
    vise_store *store;
    OK(vise_store_open(help_path(folder, "m"), &store, &help_error));
    const vise_found *found = vise_store_tensor(store, 0)->found;
    assert_memory_equal(found->table, table, sizeof table);
    assert_memory_equal(found->nested_map, nested, sizeof nested);
    vise_store_close(store);
    free(block);
    vise_pool_free(pool);
    help_remove(folder);
}

/* ---- words --------------------------------------------------------------------------------------------- */

static void test_words(void **state)
{
    (void)state;
    const vise_layout *layout = vise_layout_find("bitsandbytes");
    static const struct {
        const char *scheme, *json;
        float offset;
    } rows[] = {
        {"nf4", "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float16\", \"shape\": [3, 5]}", 0},
        {"fp4-b128-dq",
         "{\"quant_type\": \"fp4\", \"blocksize\": 128, \"dtype\": \"float16\", \"shape\": [3, 5], "
         "\"nested_blocksize\": "
         "256, \"nested_dtype\": \"float32\", \"nested_offset\": 0.031807661056518555}",
         0.031807661056518555f},
        {"nf4-dq",
         "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float16\", \"shape\": [3, 5], "
         "\"nested_blocksize\": "
         "256, \"nested_dtype\": \"float32\", \"nested_offset\": 2.0}",
         2.0f},
        {"nf4-dq",
         "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float16\", \"shape\": [3, 5], "
         "\"nested_blocksize\": "
         "256, \"nested_dtype\": \"float32\", \"nested_offset\": 9.9999996826552254e-21}",
         1e-20f},
    };
    static help_parts got;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_spelling weight = help_spelling(rows[i].scheme, 3, 5, VISE_DTYPE_F16);
        vise_part parts[VISE_PARTS_MAX];
        vise_qweight q;
        int n;
        void *block = encoded(&weight, &q), *scratch = malloc(layout->store_scratch(&weight, 3));
        for (int c = 0; c < 15; c++)
            q.codes[c] = (uint8_t)c;
        q.offset = rows[i].offset;
        vise_part_writer writer = help_keep(&got);
        OK(layout->spell(&weight, parts, &n, &help_error));
        OK(layout->store(&weight, 0, &q, scratch, &writer, &help_error));
        const char *text = (const char *)got.part[VISE_BNB_STATE];
        const size_t length = strlen(rows[i].json), room = (size_t)parts[VISE_BNB_STATE].shape[0];
        if (strncmp(text, rows[i].json, length) != 0)
            fail_msg("%s", text);
        assert_int_equal(strlen(text), room);
        assert_int_equal(strspn(text + length, " "), room - length);
        assert_memory_equal(got.part[VISE_BNB_WEIGHT], "\x01\x23\x45\x67\x89\xab\xcd", 7);
        assert_int_equal(got.part[VISE_BNB_WEIGHT][7], 0xe0 | weight.scheme.type->codebook->zero);
        assert_memory_equal(got.part[VISE_BNB_MAP], weight.scheme.type->codebook->values, 64);
        free(scratch);
        free(block);
    }
}

/* ---- refusals and configs ------------------------------------------------------------------------------ */

static void test_spell_refuses(void **state)
{
    (void)state;
    static const help_refusal rows[] = {
        {"bitsandbytes", "int8-channel", 32, 64, VISE_EUNSUPPORTED, "not int8-channel"},
        {"bitsandbytes", "q4_k", 32, 256, VISE_EUNSUPPORTED, "not q4_k"},
        {"compressed-tensors", "nf4", 32, 64, VISE_EUNSUPPORTED, "not nf4"},
        {"gptq", "nf4", 32, 64, VISE_EUNSUPPORTED, "not nf4"},
        {"awq", "nf4", 32, 64, VISE_EUNSUPPORTED, "not nf4"},
    };
    help_spell_refuses(rows, sizeof rows / sizeof *rows);
    const vise_layout *layout = vise_layout_find("bitsandbytes");
    vise_part parts[VISE_PARTS_MAX];
    int n;
    vise_spelling weight = help_spelling("nf4", 32, 64, VISE_DTYPE_F16);
    weight.is_linear = false;
    FAILS(VISE_EUNSUPPORTED, "no linear", layout->spell(&weight, parts, &n, &help_error));
    weight.is_linear = true;
    weight.dtype = VISE_DTYPE_F64;
    FAILS(VISE_EUNSUPPORTED, "dtype F64", layout->spell(&weight, parts, &n, &help_error));
}

static void test_config_text(void **state)
{
    (void)state;
    const vise_layout *layout = vise_layout_find("bitsandbytes");
    vise_spelling weights[] = {{.module = "embed", .dtype = VISE_DTYPE_BF16},
                               {.module = "a.b", .dtype = VISE_DTYPE_BF16, .is_linear = true},
                               {.module = "a.c", .dtype = VISE_DTYPE_BF16, .is_linear = true},
                               {.module = "lm_head", .dtype = VISE_DTYPE_BF16, .is_linear = true}};
    vise_buf text;
    vise_buf_init(&text, 1 << 20);
    OK(layout->config(weights, 4, &text, &help_error));
    assert_string_equal(text.data, "null");
    OK(vise_scheme_parse("nf4-dq", &weights[1].scheme, &help_error));
    OK(vise_scheme_parse("nf4-b128-dq", &weights[2].scheme, &help_error));
    vise_buf_clear(&text);
    OK(layout->config(weights, 4, &text, &help_error));
    assert_string_equal(text.data,
                        "{\"quant_method\":\"bitsandbytes\",\"_load_in_4bit\":true,\"_load_in_8bit\":false,"
                        "\"load_in_4bit\":true,\"load_in_8bit\":false,\"bnb_4bit_use_double_quant\":true,"
                        "\"llm_int8_enable_fp32_cpu_offload\":false,\"llm_int8_has_fp16_weight\":false,"
                        "\"bnb_4bit_compute_dtype\":\"bfloat16\",\"bnb_4bit_quant_storage\":\"uint8\","
                        "\"bnb_4bit_quant_type\":\"nf4\",\"llm_int8_threshold\":6.0,"
                        "\"llm_int8_skip_modules\":[\"lm_head\"]}");
    OK(vise_scheme_parse("nf4", &weights[2].scheme, &help_error));
    FAILS(VISE_EUNSUPPORTED, "one kind", layout->config(weights, 4, &text, &help_error));
    OK(vise_scheme_parse("fp4-dq", &weights[2].scheme, &help_error));
    FAILS(VISE_EUNSUPPORTED, "one kind", layout->config(weights, 4, &text, &help_error));
    weights[2].scheme = (vise_scheme){0};
    weights[2].module = "b";
    FAILS(VISE_EUNSUPPORTED, "tell them apart", layout->config(weights, 4, &text, &help_error));
    vise_buf_deinit(&text);
}

/* ---- broken files -------------------------------------------------------------------------------------- */

#define NF4    ".weight.quant_state.bitsandbytes__nf4"
#define STATE  "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float16\", \"shape\": [4, 64]}"
#define NESTED ", \"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": 0.5}"
#define WITH(shape, block, dtype, more)                                                                      \
    "{\"quant_type\": \"nf4\", \"blocksize\": " block ", \"dtype\": \"" dtype "\", \"shape\": " shape more

static const struct {
    const char *state; /* NULL: a good one */
    const char *tensor;
    vise_dtype dtype; /* COUNT: dropped */
    int ndim;
    int64_t shape[3];
    vise_status status;
    const char *say;
} bads[] = {
    {NULL, .status = VISE_OK},
    {STATE "   \n", .status = VISE_OK},
    {"no JSON", .status = VISE_EFORMAT, .say = "nf4"},
    {"[]", .status = VISE_EFORMAT, .say = "blocksize"},
    {WITH("[4]", "64", "float16", "}"), .status = VISE_EUNSUPPORTED, .say = "two dimensions"},
    {WITH("[4, 64, 1]", "64", "float16", "}"), .status = VISE_EUNSUPPORTED, .say = "two dimensions"},
    {WITH("[4, -64]", "64", "float16", "}"), .status = VISE_EFORMAT, .say = "no valid shape"},
    {WITH("[4, \"64\"]", "64", "float16", "}"), .status = VISE_EFORMAT, .say = "no valid shape"},
    {WITH("[4, 1e300]", "64", "float16", "}"), .status = VISE_EFORMAT, .say = "no valid shape"},
    {WITH("[4, 6.5]", "64", "float16", "}"), .status = VISE_EFORMAT, .say = "no valid shape"},
    {WITH("[2147483647, 2147483647]", "64", "float16", "}"), .status = VISE_EFORMAT,
     .say = "does not fit the shape"},
    {WITH("[4, 128]", "64", "float16", "}"), .status = VISE_EFORMAT, .say = "does not fit the shape"},
    {WITH("[4, 64]", "63", "float16", "}"), .status = VISE_EUNSUPPORTED, .say = "63 weights"},
    {WITH("[4, 64]", "0", "float16", "}"), .status = VISE_EFORMAT, .say = "blocksize"},
    {WITH("[4, 64]", "128", "float16", "}"), .status = VISE_EFORMAT, .say = "absmax"},
    {WITH("[4, 64]", "64", "float64", "}"), .status = VISE_EFORMAT, .say = "float64"},
    {WITH("[4, 64]", "64", "float16", NESTED), .status = VISE_EFORMAT, .say = "absmax"},
    {NULL, "m.weight", VISE_DTYPE_COUNT, .status = VISE_EFORMAT, .say = "m.weight\": is missing"},
    {NULL, "m.weight", VISE_DTYPE_U8, 2, {127, 1}, VISE_EFORMAT, "does not fit the shape"},
    {NULL, "m.weight", VISE_DTYPE_BF16, 2, {64, 1}, VISE_OK, NULL},
    {NULL, "m.weight.absmax", VISE_DTYPE_COUNT, .status = VISE_EFORMAT, .say = "absmax\": is missing"},
    {NULL, "m.weight.absmax", VISE_DTYPE_U8, 1, {4}, VISE_EFORMAT, "absmax"},
    {NULL, "m.weight.absmax", VISE_DTYPE_F32, 1, {3}, VISE_EFORMAT, "absmax"},
    {NULL, "m.weight.quant_map", VISE_DTYPE_COUNT, .status = VISE_EFORMAT, .say = "quant_map\": is missing"},
    {NULL, "m.weight.quant_map", VISE_DTYPE_F32, 1, {15}, VISE_EFORMAT, "F32 [16]"},
    {NULL, "m.weight.quant_map", VISE_DTYPE_F16, 1, {16}, VISE_EFORMAT, "F32 [16]"},
    {NULL, "i.SCB", VISE_DTYPE_F32, 1, {4}, VISE_EFORMAT, "i.weight\": is missing"},
};

static void test_bad_files(void **state)
{
    (void)state;
    static float absmax[4] = {1, 2, 3, 4};
    const char *folder = help_folder();
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        const char *json = bads[i].state ? bads[i].state : STATE;
        help_tensor tensors[5] = {
            {"m.weight", VISE_DTYPE_U8, 2, {128, 1}, NULL},
            {"m.weight.absmax", VISE_DTYPE_F32, 1, {4}, absmax},
            {"m.weight.quant_map", VISE_DTYPE_F32, 1, {16}, vise_codebook_nf4.values},
            {"m" NF4, VISE_DTYPE_U8, 1, {(int64_t)strlen(json)}, json},
        };
        const size_t n = help_replace(tensors, 4, bads[i].tensor, bads[i].dtype, bads[i].ndim, bads[i].shape, NULL);
        help_opens(folder, tensors, n, "{\"quantization_config\": {\"load_in_4bit\": true}}", i, bads[i].status,
                   bads[i].say);
    }
    help_remove(folder);
}

static void test_bad_int8(void **state)
{
    (void)state;
    static const uint8_t zero = 0, one = 1;
    static const struct {
        help_tensor tensors[3];
        vise_status status;
        const char *say;
    } rows[] = {
        {{{"m.weight", VISE_DTYPE_I8, 2, {4, 8}, NULL},
          {"m.SCB", VISE_DTYPE_F32, 1, {4}, NULL},
          {"m.weight_format", VISE_DTYPE_U8, 0, {0}, &zero}},
         VISE_OK,
         NULL},
        {{{"m.weight", VISE_DTYPE_I8, 2, {4, 8}, NULL},
          {"m.SCB", VISE_DTYPE_F32, 1, {4}, NULL},
          {"m.weight_format", VISE_DTYPE_U8, 0, {0}, &one}},
         VISE_EUNSUPPORTED,
         "weight_format 1"},
        {{{"m.weight", VISE_DTYPE_I8, 2, {4, 8}, NULL},
          {"m.SCB", VISE_DTYPE_F32, 1, {4}, NULL},
          {"m.weight_format", VISE_DTYPE_U8, 1, {2}, NULL}},
         VISE_EFORMAT,
         "one U8"},
        {{{"m.weight", VISE_DTYPE_I8, 2, {4, 8}, NULL},
          {"m.SCB", VISE_DTYPE_F32, 1, {5}, NULL},
          {"x", VISE_DTYPE_U8, 1, {1}, NULL}},
         VISE_EFORMAT,
         "F32 [rows]"},
        {{{"m.weight", VISE_DTYPE_U8, 2, {4, 8}, NULL},
          {"m.SCB", VISE_DTYPE_F32, 1, {4}, NULL},
          {"x", VISE_DTYPE_U8, 1, {1}, NULL}},
         VISE_EFORMAT,
         "I8 [rows, columns]"},
    };
    const char *folder = help_folder();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_store *store;
        help_safetensors(folder, "model.safetensors", NULL, rows[i].tensors, 3);
        help_write_text(
            folder, "config.json",
            "{\"dtype\": \"bfloat16\", \"quantization_config\": {\"quant_method\": \"bitsandbytes\"}}");
        if (rows[i].status != VISE_OK) {
            FAILS(rows[i].status, rows[i].say, vise_store_open(folder, &store, &help_error));
            continue;
        }
        OK(vise_store_open(folder, &store, &help_error));
        assert_int_equal(vise_store_tensor(store, 0)->dtype, VISE_DTYPE_BF16);
        vise_store_close(store);
    }
    help_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_scheme), cmocka_unit_test(test_tables),
        cmocka_unit_test(test_words),        cmocka_unit_test(test_spell_refuses),
        cmocka_unit_test(test_config_text),  cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_bad_int8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
