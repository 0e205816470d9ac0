/* fp8, mxfp8, mxfp4 and nvfp4 in the layouts compressed-tensors and fp8: written and read back, the JSON's bytes, files
 * that are wrong; scales of inputs, of the key-value cache, and groups that are no runs of columns. */
#include "tests/unit/layout_help.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/rng.h"
#include "formats/layout_internal.h"
#include "formats/store.h"

#define ROWS 166 /* five whole tiles and a short one; blocks of 128 end within a tile */
#define COLS 192

static void *encoded(const vise_spelling *weight, vise_dtype scale_dtype, vise_qweight *q)
{
    vise_rng rng;
    const size_t n = (size_t)(weight->rows * weight->cols);
    float *values = malloc(n * sizeof *values), low = 0, high = 0;
    void *block = malloc(vise_qweight_bytes(&weight->scheme, weight->rows, weight->cols));
    assert_true(values && block);
    vise_rng_init(&rng, 3, "weights");
    for (size_t i = 0; i < n; i++)
        values[i] = (float)vise_rng_normal(&rng);
    vise_range(values, n, &low, &high);
    vise_qweight_carve(q, &weight->scheme, scale_dtype, weight->rows, weight->cols, block);
    vise_encode(values, VISE_CLIP_NONE, low, high, q);
    if (vise_scheme_needs_calibration(&weight->scheme))
        q->input_scale = 0.25f;
    free(values);
    return block;
}

static void check_factors(const char *folder, const vise_qweight *q, vise_pool *pool)
{
    vise_store *store;
    vise_qweight read;
    OK(vise_store_open(help_path(folder, "m"), &store, &help_error));
    const vise_logical *entry = vise_store_tensor(store, 0);
    void *block = malloc(vise_qweight_bytes(&entry->scheme, 32, q->cols));
    assert_non_null(block);
    vise_qweight_carve(&read, &entry->scheme, entry->dtype, 32, q->cols, block);
    OK(vise_store_read_codes(store, 0, 0, &read, pool, &help_error));
    assert_true(read.global == q->global && read.input_scale == q->input_scale);
    free(block);
    vise_store_close(store);
}

static void test_every_scheme(void **state)
{
    (void)state;
    static const struct {
        const char *layout, *scheme;
        int64_t rows;
    } rows[] = {
        {"compressed-tensors", "fp8-e4m3-tensor", ROWS},
        {"compressed-tensors", "fp8-e4m3-channel", ROWS},
        {"compressed-tensors", "fp8-e4m3-g64", ROWS},
        {"compressed-tensors", "fp8-e4m3-128x128", ROWS},
        {"compressed-tensors", "fp8-e4m3-48x80", ROWS},
        {"compressed-tensors", "fp8-e4m3-128x128+fp8-e4m3-g128", ROWS},
        {"compressed-tensors", "fp8-e4m3-channel+fp8-e4m3-token", ROWS},
        {"compressed-tensors", "fp8-e4m3-tensor+fp8-e4m3-tensor", ROWS},
        {"compressed-tensors", "mxfp8", ROWS},
        {"compressed-tensors", "mxfp8+mxfp8-g32", ROWS},
        {"compressed-tensors", "mxfp4", ROWS},
        {"compressed-tensors", "mxfp4+mxfp4-g32", ROWS},
        {"compressed-tensors", "nvfp4", ROWS},
        {"compressed-tensors", "nvfp4+nvfp4-g16", ROWS},
        {"compressed-tensors", "int8-channel+int8-tensor", ROWS},
        {"compressed-tensors", "int4-g32-asym+int8-token", ROWS},
        {"compressed-tensors", "int4-g32+fp8-e4m3-token", ROWS},
        {"compressed-tensors", "int3-channel+int4-token", ROWS},
        {"fp8", "fp8-e4m3-tensor+fp8-e4m3-token", ROWS},
        {"fp8", "fp8-e4m3-tensor+fp8-e4m3-tensor", ROWS},
        {"fp8", "fp8-e4m3-64x48", 192},
        {"fp8", "fp8-e4m3-256x32", 200},
    };
    vise_pool *pool;
    OK(vise_pool_new(0, &pool, &help_error));
    const char *folder = help_folder();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const vise_layout *layout = vise_layout_find(rows[i].layout);
        vise_spelling weight = help_spelling(rows[i].scheme, rows[i].rows, COLS, VISE_DTYPE_BF16);
        if (i % 2 == 0 && layout->scale_dtype == VISE_DTYPE_COUNT && (!weight.scheme.type->codebook ||
                                                                      !weight.scheme.type->codebook->scale_bits))
            weight.dtype = VISE_DTYPE_F32; /* elsewhere config.json says the dtype, and bfloat16 where it says none */
        const vise_dtype dtype = weight.dtype;
        vise_qweight q;
        void *block = encoded(&weight, layout->scale_dtype == VISE_DTYPE_COUNT ? dtype : layout->scale_dtype, &q);
        help_write_model(layout, folder, &weight, &q, i % 3 == 0, i % 4 < 2 ? 32 : 64);
        help_check_model(layout, folder, &weight, &q, pool);
        check_factors(folder, &q, pool);
        free(block);
    }
    assert_int_equal(vise_pool_used(pool), 0);
    vise_pool_free(pool);
    help_remove(folder);
}

/* ---- configurations ------------------------------------------------------------------------------------ */

#define ARGS(bits, type, strategy, more)                                                                               \
    "{\"num_bits\":" bits ",\"type\":\"" type "\",\"symmetric\":true,\"strategy\":\"" strategy "\"" more "}"
#define E8M0 ",\"scale_dtype\":\"torch.uint8\",\"zp_dtype\":\"torch.uint8\""
#define E4M3 ",\"scale_dtype\":\"torch.float8_e4m3fn\",\"zp_dtype\":\"torch.float8_e4m3fn\""
#define STATIC ",\"dynamic\":false"
#define DYNAMIC ",\"dynamic\":true"

static void test_config_text(void **state)
{
    (void)state;
    static const struct {
        const char *scheme, *format, *weights, *inputs, *more;
    } rows[] = {
        {"fp8-e4m3-tensor", "naive-quantized", ARGS("8", "float", "tensor", STATIC), "null", ""},
        {"fp8-e4m3-g64", "naive-quantized", ARGS("8", "float", "group", ",\"group_size\":64" STATIC), "null", ""},
        {"fp8-e4m3+fp8-e4m3-token", "float-quantized", ARGS("8", "float", "channel", STATIC),
         ARGS("8", "float", "token", DYNAMIC), ""},
        {"fp8-e4m3-tensor+fp8-e4m3-tensor", "float-quantized", ARGS("8", "float", "tensor", STATIC),
         ARGS("8", "float", "tensor", STATIC), ""},
        {"fp8-e4m3-128x64+fp8-e4m3-g128", "float-quantized",
         ARGS("8", "float", "block", ",\"block_structure\":[128,64]" STATIC),
         ARGS("8", "float", "group", ",\"group_size\":128" DYNAMIC), ""},
        {"mxfp8+mxfp8-g32", "mxfp8-quantized", ARGS("8", "float", "group", ",\"group_size\":32" E8M0 STATIC),
         ARGS("8", "float", "group", ",\"group_size\":32" E8M0 DYNAMIC), ""},
        {"mxfp4", "mxfp4-pack-quantized", ARGS("4", "float", "group", ",\"group_size\":32" E8M0 STATIC), "null", ""},
        {"nvfp4+nvfp4-g16", "nvfp4-pack-quantized",
         ARGS("4", "float", "tensor_group", ",\"group_size\":16" E4M3 STATIC),
         ARGS("4", "float", "tensor_group", ",\"group_size\":16" E4M3 ",\"dynamic\":\"local\""), ""},
        {"int4+fp8-e4m3-token", "pack-quantized", ARGS("4", "int", "channel", STATIC),
         ARGS("8", "float", "token", DYNAMIC), ",\"format\":\"pack-quantized\""},
        {"int4+int4-token", "int-quantized", ARGS("4", "int", "channel", STATIC),
         ARGS("4", "int", "token", DYNAMIC), ""},
    };
    const vise_layout *ct = vise_layout_find("compressed-tensors");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_spelling weight = help_spelling(rows[i].scheme, 64, 64, VISE_DTYPE_BF16);
        vise_buf text;
        char want[2048];
        vise_buf_init(&text, 1 << 20);
        OK(ct->config(&weight, 1, &text, &help_error));
        (void)snprintf(want, sizeof want,
                       "{\"quant_method\":\"compressed-tensors\",\"version\":\"0.19.0\",\"format\":\"%s\","
                       "\"quantization_status\":\"compressed\",\"global_compression_ratio\":null,"
                       "\"kv_cache_scheme\":null,\"ignore\":[],\"config_groups\":{\"group_0\":{"
                       "\"targets\":[\"Linear\"],\"weights\":%s,"
                       "\"input_activations\":%s,\"output_activations\":null%s}}}",
                       rows[i].format, rows[i].weights, rows[i].inputs, rows[i].more);
        assert_string_equal(text.data, want);
        vise_buf_deinit(&text);
    }
    /* Scales of the key-value cache are plain tensors; the configuration follows from them. */
    static const struct {
        const char *cache, *wanted;
    } caches[] = {{"fp8-e4m3-tensor", "\"kv_cache_scheme\":" ARGS("8", "float", "tensor", STATIC)},
                  {"fp8-e4m3-head", "\"kv_cache_scheme\":" ARGS("8", "float", "attn_head", STATIC)},
                  {"int8-tensor", "\"kv_cache_scheme\":" ARGS("8", "int", "tensor", STATIC)},
                  {"int8-head", "\"kv_cache_scheme\":" ARGS("8", "int", "attn_head", STATIC)}};
    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++) {
        vise_spelling weights[2] = {help_spelling("fp8-e4m3", 64, 64, VISE_DTYPE_BF16),
                                    {.module = "k_scale", .name = "k_scale", .rows = 1, .cols = 1}};
        weights[1].cache = vise_cache_type_find(caches[i].cache);
        for (size_t first = 0; first < 2; first++) { /* with weights, and alone */
            vise_buf text;
            vise_buf_init(&text, 1 << 20);
            OK(ct->config(weights + first, 2 - first, &text, &help_error));
            assert_non_null(strstr(text.data, caches[i].wanted));
            assert_true((strstr(text.data, "\"format\":\"dense\"") != NULL) == (first == 1));
            vise_buf_deinit(&text);
        }
    }
}

static void test_fp8_config_text(void **state)
{
    (void)state;
    static const struct {
        const char *scheme, *activation, *block;
    } rows[] = {{"fp8-e4m3-128x128", "dynamic", "[128,128]"},
                {"fp8-e4m3-tensor", "dynamic", "null"},
                {"fp8-e4m3-tensor+fp8-e4m3-tensor", "static", "null"}};
    const vise_layout *fp8 = vise_layout_find("fp8");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_spelling weights[2] = {help_spelling(rows[i].scheme, 256, 128, VISE_DTYPE_BF16),
                                    {.module = "lm_head", .name = "lm_head.weight", .is_linear = true}};
        vise_buf text;
        char want[512];
        vise_buf_init(&text, 1 << 20);
        OK(fp8->config(weights, 2, &text, &help_error));
        (void)snprintf(want, sizeof want,
                       "{\"quant_method\":\"fp8\",\"activation_scheme\":\"%s\",\"weight_block_size\":%s,"
                       "\"modules_to_not_convert\":[\"lm_head\"]}",
                       rows[i].activation, rows[i].block);
        assert_string_equal(text.data, want);
        vise_buf_deinit(&text);
    }
    vise_spelling mixed[2] = {help_spelling("fp8-e4m3-128x128", 256, 128, VISE_DTYPE_BF16),
                              help_spelling("fp8-e4m3-64x64", 256, 128, VISE_DTYPE_BF16)};
    vise_buf text;
    vise_buf_init(&text, 1 << 20);
    FAILS(VISE_EUNSUPPORTED, "one kind", fp8->config(mixed, 2, &text, &help_error));
    vise_buf_deinit(&text);
}

static void test_spell_refuses(void **state)
{
    (void)state;
    static const help_refusal rows[] = {
        {"fp8", "fp8-e4m3-128x128", 192, 128, VISE_EUNSUPPORTED, "would decode the last ones wrongly"},
        {"fp8", "fp8-e4m3-128x128", 128, 192, VISE_EUNSUPPORTED, "would decode the last ones wrongly"},
        {"fp8", "fp8-e4m3-channel", 128, 128, VISE_EUNSUPPORTED, "not fp8-e4m3-channel"},
        {"fp8", "int8", 128, 128, VISE_EUNSUPPORTED, "not int8-channel"},
        {"compressed-tensors", "mxfp4", 32, 48, VISE_EUSAGE, "do not divide"},
        {"compressed-tensors", "q4_0", 32, 64, VISE_EUNSUPPORTED, "not q4_0"},
        {"gptq", "fp8-e4m3", 32, 64, VISE_EUNSUPPORTED, "not fp8-e4m3"},
        {"awq", "nvfp4", 32, 64, VISE_EUNSUPPORTED, "not nvfp4"},
        {"bitsandbytes", "fp8-e4m3", 32, 64, VISE_EUNSUPPORTED, "not fp8-e4m3"},
        {"safetensors", "mxfp8", 32, 64, VISE_EUNSUPPORTED, "not mxfp8-g32"},
    };
    help_spell_refuses(rows, sizeof rows / sizeof *rows);
}

/* ---- files that are wrong ------------------------------------------------------------------------------ */

#define CT(weights, more)                                                                                              \
    "{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"g\": {\"targets\": "   \
    "[\"Linear\"], \"weights\": " weights more "}}}}"
#define FP8(more) "{\"quantization_config\": {\"quant_method\": \"fp8\"" more "}}"
#define INPUT(args) ", \"input_activations\": " args
#define NV ARGS("4", "float", "tensor_group", ",\"group_size\":16")
#define MX4 ARGS("4", "float", "group", ",\"group_size\":32")

/* At most three tensors of module m. */
static const struct {
    const char *config;
    struct {
        const char *name;
        vise_dtype dtype;
        int ndim;
        int64_t shape[3];
    } tensors[3];
    vise_status status;
    const char *say;
} bads[] = {
    {CT(ARGS("8", "float", "tensor", ""), ""),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {4, 32}}, {"m.weight_scale", VISE_DTYPE_BF16, 1, {1}}},
     VISE_OK,
     NULL},
    {CT(ARGS("8", "float", "tensor", ""), ""),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {4, 32}}, {"m.weight_scale", VISE_DTYPE_BF16, 1, {4}}},
     VISE_EFORMAT,
     "its shape"},
    {CT(ARGS("8", "float", "tensor", ""), ""),
     {{"m.weight", VISE_DTYPE_F8_E5M2, 2, {4, 32}}, {"m.weight_scale", VISE_DTYPE_BF16, 1, {1}}},
     VISE_EFORMAT,
     "is F8_E5M2, but its config says fp8-e4m3-tensor"},
    {CT(ARGS("8", "float", "tensor", ""), ""),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 3, {2, 2, 32}}, {"m.weight_scale", VISE_DTYPE_BF16, 1, {1}}},
     VISE_EFORMAT,
     "is not F8_E4M3 [rows, columns]"},
    {CT(ARGS("8", "float", "tensor", ""), ""),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {4, 32}}, {"m.weight_scale", VISE_DTYPE_F8_E4M3, 1, {1}}},
     VISE_EFORMAT,
     "no scale's"},
    {CT("{\"num_bits\": 8, \"type\": \"float\", \"symmetric\": false}", ""),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {4, 32}}},
     VISE_EUNSUPPORTED,
     "only integers"},
    {CT(ARGS("4", "float", "group", ",\"group_size\":64"), ""), {{0}}, VISE_EUNSUPPORTED, "only integers"},
    {CT(ARGS("8", "float", "block", ""), ""), {{0}}, VISE_EFORMAT, "block_structure"},
    {CT(ARGS("8", "float", "block", ",\"block_structure\":[0,4]"), ""), {{0}}, VISE_EFORMAT, "block_structure"},
    {CT(ARGS("8", "float", "block", ",\"block_structure\":[1.5,4]"), ""), {{0}}, VISE_EFORMAT, "block_structure"},
    {CT(ARGS("8", "float", "block", ",\"block_structure\":\"128,4\""), ""), {{0}}, VISE_EFORMAT, "block_structure"},
    {CT(ARGS("8", "float", "block", ",\"block_structure\":\"3x20\""), ""), /* as older files spell it */
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {4, 32}}, {"m.weight_scale", VISE_DTYPE_F32, 2, {2, 2}}},
     VISE_OK,
     NULL},
    {CT(ARGS("8", "float", "block", ",\"block_structure\":[3,20]"), ""),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {4, 32}}, {"m.weight_scale", VISE_DTYPE_F32, 2, {4, 2}}},
     VISE_EFORMAT,
     "its shape"},
    {CT(ARGS("8", "float", "tensor", ""), INPUT(ARGS("8", "float", "tensor", STATIC))),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {4, 32}}, {"m.weight_scale", VISE_DTYPE_BF16, 1, {1}}},
     VISE_EFORMAT,
     "input_scale\": is missing"},
    {CT(ARGS("8", "float", "tensor", ""), INPUT(ARGS("8", "float", "tensor", STATIC))),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {4, 32}},
      {"m.weight_scale", VISE_DTYPE_BF16, 1, {1}},
      {"m.input_scale", VISE_DTYPE_F32, 1, {2}}},
     VISE_EFORMAT,
     "is not one float"},
    {CT(ARGS("8", "float", "tensor", ""), INPUT(ARGS("8", "float", "tensor", DYNAMIC))),
     {{0}},
     VISE_EUNSUPPORTED,
     "only fp8-e4m3-token, fp8-e4m3-tensor, fp8-e4m3-g128"},
    {CT(ARGS("8", "float", "tensor", ""), INPUT(ARGS("8", "int", "token", DYNAMIC))),
     {{0}},
     VISE_EUNSUPPORTED,
     "only fp8"},
    {CT(NV, ""),
     {{"m.weight_packed", VISE_DTYPE_U8, 2, {4, 16}}, {"m.weight_scale", VISE_DTYPE_F8_E4M3, 2, {4, 2}}},
     VISE_EFORMAT,
     "weight_global_scale\": is missing"},
    {CT(NV, ""),
     {{"m.weight_packed", VISE_DTYPE_U8, 2, {4, 16}},
      {"m.weight_scale", VISE_DTYPE_BF16, 2, {4, 2}},
      {"m.weight_global_scale", VISE_DTYPE_F32, 1, {1}}},
     VISE_EFORMAT,
     "not that of the type's scales"},
    {CT(NV, ""),
     {{"m.weight_packed", VISE_DTYPE_U8, 2, {4, 12}},
      {"m.weight_scale", VISE_DTYPE_F8_E4M3, 2, {4, 1}},
      {"m.weight_global_scale", VISE_DTYPE_F32, 1, {1}}},
     VISE_EFORMAT,
     "does not divide"},
    {CT(NV, ""), {{"m.weight_packed", VISE_DTYPE_I32, 2, {4, 16}}, {"m.weight_scale", VISE_DTYPE_F8_E4M3, 2, {4, 2}}},
     VISE_EFORMAT, "its config says nvfp4"},
    {CT(MX4, ""),
     {{"m.weight_packed", VISE_DTYPE_U8, 2, {4, 16}}, {"m.weight_scale", VISE_DTYPE_U8, 2, {4, 1}}},
     VISE_OK,
     NULL},
    {CT(MX4, ""),
     {{"m.weight_packed", VISE_DTYPE_U8, 1, {64}}, {"m.weight_scale", VISE_DTYPE_U8, 2, {4, 1}}},
     VISE_EFORMAT,
     "half of the columns"},
    {FP8(""),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {130, 32}}, {"m.weight_scale_inv", VISE_DTYPE_F32, 2, {2, 1}}},
     VISE_OK,
     NULL},
    {FP8(", \"weight_block_size\": [64, 16]"),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {130, 32}}, {"m.weight_scale_inv", VISE_DTYPE_U8, 2, {3, 2}}},
     VISE_OK,
     NULL},
    {FP8(", \"weight_block_size\": [64, 16]"),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {130, 32}}, {"m.weight_scale_inv", VISE_DTYPE_F32, 2, {2, 1}}},
     VISE_EFORMAT,
     "weight_block_size"},
    {FP8(", \"weight_block_size\": [64]"), {{0}}, VISE_EFORMAT, "not two sizes"},
    {FP8(", \"weight_block_size\": [64, -1]"), {{0}}, VISE_EFORMAT, "not two sizes"},
    {FP8(", \"activation_scheme\": \"moon\""), {{0}}, VISE_EFORMAT, "not dynamic or static"},
    {FP8(", \"weight_block_size\": null, \"activation_scheme\": \"static\""),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {4, 32}}, {"m.weight_scale_inv", VISE_DTYPE_F32, 0, {0}}},
     VISE_EFORMAT,
     "activation_scale\": is missing"},
    {FP8(", \"weight_block_size\": null"),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {4, 32}}, {"m.weight_scale_inv", VISE_DTYPE_I32, 0, {0}}},
     VISE_EFORMAT,
     "no scale's"},
    {FP8(""), {{"m.weight", VISE_DTYPE_F8_E4M3, 2, {4, 32}}}, VISE_EFORMAT, "weight_scale_inv\": is missing"},
    {FP8(""),
     {{"m.weight", VISE_DTYPE_F8_E4M3, 3, {4, 4, 8}}, {"m.weight_scale_inv", VISE_DTYPE_F32, 2, {1, 1}}},
     VISE_EFORMAT,
     "fused experts"},
};

static void test_bad_files(void **state)
{
    (void)state;
    const char *folder = help_folder();
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        help_tensor tensors[3];
        static const float one = 1.0f;
        size_t n = 0;
        while (n < 3 && bads[i].tensors[n].name) {
            const int64_t *shape = bads[i].tensors[n].shape;
            const int ndim = bads[i].tensors[n].ndim;
            const bool number = bads[i].tensors[n].dtype == VISE_DTYPE_F32 && shape[0] <= 1 && ndim <= 1;
            tensors[n] =
                (help_tensor){bads[i].tensors[n].name, bads[i].tensors[n].dtype, ndim, {0}, number ? &one : NULL};
            memcpy(tensors[n++].shape, shape, sizeof bads[i].tensors[0].shape);
        }
        help_opens(folder, tensors, n, bads[i].config, i, bads[i].status, bads[i].say);
    }
    help_remove(folder);
}

/* Factors that are no positive numbers. */
static void test_bad_factors(void **state)
{
    (void)state;
    static const float wrong[] = {0.0f, -1.0f, (float)INFINITY, (float)NAN};
    const char *folder = help_folder();
    for (size_t i = 0; i < 4; i++) {
        help_tensor tensors[] = {{"m.weight_packed", VISE_DTYPE_U8, 2, {4, 16}, NULL},
                                 {"m.weight_scale", VISE_DTYPE_F8_E4M3, 2, {4, 2}, NULL},
                                 {"m.weight_global_scale", VISE_DTYPE_F32, 1, {1}, &wrong[i]}};
        help_safetensors(folder, "model.safetensors", NULL, tensors, 3);
        help_write_text(folder, "config.json", CT(NV, ""));
        vise_store *store;
        FAILS(VISE_EFORMAT, "not a positive number", vise_store_open(folder, &store, &help_error));
    }
    help_remove(folder);
}

/* actorder "group" of older files: the group of each column is given. */
static void test_act_order(void **state)
{
    (void)state;
    enum { K = 16 };
    static const uint32_t words[2] = {0xfedcba98, 0xfedcba98};
    static const float scales[4] = {1, 10, 100, 1000};
    static const int64_t shape[2] = {1, K};
    static const int32_t index[K] = {3, 0, 1, 2, 0, 1, 2, 3, 1, 2, 3, 0, 2, 3, 0, 1};
    help_tensor tensors[] = {{"m.weight_packed", VISE_DTYPE_I32, 2, {1, 2}, words},
                             {"m.weight_scale", VISE_DTYPE_F32, 2, {1, 4}, scales},
                             {"m.weight_shape", VISE_DTYPE_I64, 1, {2}, shape},
                             {"m.weight_g_idx", VISE_DTYPE_I32, 1, {K}, index}};
    const char *folder = help_folder();
    help_safetensors(folder, "model.safetensors", NULL, tensors, 4);
    help_write_text(folder, "config.json",
                    CT(ARGS("4", "int", "group", ",\"group_size\":4,\"actorder\":\"group\""), ""));
    vise_store *store;
    vise_pool *pool;
    float values[K];
    OK(vise_pool_new(0, &pool, &help_error));
    OK(vise_store_open(folder, &store, &help_error));
    OK(vise_store_read_f32(store, 0, 0, 1, values, pool, &help_error));
    for (int k = 0; k < K; k++)
        assert_true(values[k] == (float)(k % 8) * scales[index[k]]);
    vise_store_close(store);
    vise_pool_free(pool);
    help_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_scheme),    cmocka_unit_test(test_config_text),
        cmocka_unit_test(test_fp8_config_text), cmocka_unit_test(test_spell_refuses),
        cmocka_unit_test(test_bad_files),       cmocka_unit_test(test_bad_factors),
        cmocka_unit_test(test_act_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
