/* formats/layout_*: every scheme written and read back, the words of the format, configs good and bad. */
#include "tests/unit/layout_help.h"

#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/file.h"
#include "formats/layout_internal.h"
#include "formats/store.h"

#define ROWS 70 /* two whole tiles and a short one */
#define COLS 96

static void test_every_scheme(void **state)
{
    (void)state;
    static const char *const grains[] = {"tensor", "channel", "g32"};
    static const vise_dtype dtypes[] = {VISE_DTYPE_BF16, VISE_DTYPE_F16, VISE_DTYPE_F32};
    const vise_layout *ct = vise_layout_find("compressed-tensors");
    vise_pool *pool;
    OK(vise_pool_new(0, &pool, &help_error));
    const char *folder = help_folder();
    int count = 0;
    for (int bits = 2; bits <= 9; bits++) /* 9: int8 with activations */
        for (int grain = 0; grain < 3; grain++)
            for (int asym = 0; asym < 2; asym++, count++) {
                char text[64];
                (void)snprintf(text, sizeof text, "int%d-%s%s", bits == 9 ? 8 : bits, grains[grain],
                               asym ? "-asym" : "");
                vise_spelling weight = {.module = "blk.q",
                                        .name = "blk.q.weight",
                                        .rows = ROWS,
                                        .cols = COLS,
                                        .dtype = dtypes[count % 3],
                                        .is_linear = true};
                vise_qweight q;
                OK(vise_scheme_parse(text, &weight.scheme, &help_error));
                if (bits == 9)
                    weight.scheme.activation = "int8-token";
                void *block = help_weight(&weight, weight.dtype, &q);
                help_write_model(ct, folder, &weight, &q, count % 2, count % 4 < 2 ? 32 : 64);
                help_check_model(ct, folder, &weight, &q, pool);
                free(block);
            }
    assert_int_equal(vise_pool_used(pool), 0);
    vise_pool_free(pool);
    help_remove(folder);
}

/* ---- the words of the format ------------------------------------------------------------------ */

#define CONFIG(bits, more)                                                                                   \
    "{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\","   \
    "\"config_groups\": {\"g\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": " bits               \
    ", \"type\": \"int\", \"strategy\": \"channel\"" more "}}}}}"

static const struct {
    int bits, factor, n; /* u[i] = factor * i mod 2^bits; factor 0: the codes given */
    const char *codes;
    const char *config;
    int n_words;
    uint32_t words[8];
} goldens[] = {
    {4, 1, 16, NULL, CONFIG("4", ""), 2, {0x76543210, 0xfedcba98}},
    {4, 1, 10, NULL, CONFIG("4", ""), 2, {0x76543210, 0x00000098}},
    {8, 0, 8, "\x00\x7f\x80\x81\xff\x85\x7b\xc0", CONFIG("8", ""), 2, {0x81807f00, 0xc07b85ff}},
    {2, 1, 16, NULL, CONFIG("2", ""), 1, {0xe4e4e4e4}},
    {3, 5, 32, NULL, CONFIG("3", ""), 3, {0xa878cea8, 0xcea878ce, 0x78cea878}},
    {3,
     5,
     32,
     NULL,
     CONFIG("3", ""),
     4,
     {0x2878cea8, 0x3aa1e33a, 0x0cea878c, 0x0000001e}}, /* before May 2026 */
    {5, 7, 32, NULL, CONFIG("5", ""), 5, {0x87cab8e0, 0x469bf88a, 0xfaf048b7, 0xe80ea6c2, 0xcc964ed9}},
    {6,
     11,
     32,
     NULL,
     CONFIG("6", ""),
     6,
     {0xec8562c0, 0xe8d8342d, 0x95a3c4e6, 0xdc446ef0, 0xe4c8f729, 0x54aff4a5}},
};

static void test_golden_words(void **state)
{
    (void)state;
    const char *folder = help_folder();
    vise_pool *pool;
    OK(vise_pool_new(0, &pool, &help_error));
    for (size_t g = 0; g < sizeof goldens / sizeof *goldens; g++) {
        int64_t shape[2] = {1, goldens[g].n};
        uint16_t scale = 0x3F80;
        help_tensor tensors[] = {
            {"m.weight_packed", VISE_DTYPE_I32, 2, {1, goldens[g].n_words}, goldens[g].words},
            {"m.weight_scale", VISE_DTYPE_BF16, 2, {1, 1}, &scale},
            {"m.weight_shape", VISE_DTYPE_I64, 1, {2}, shape},
        };
        help_safetensors(folder, "model.safetensors", NULL, tensors, 3);
        help_write_text(folder, "config.json", goldens[g].config);
        vise_store *store;
        OK(vise_store_open(folder, &store, &help_error));
        float values[64];
        OK(vise_store_read_f32(store, 0, 0, 1, values, pool, &help_error));
        int middle = 1 << (goldens[g].bits - 1);
        for (int i = 0; i < goldens[g].n; i++) {
            int u = goldens[g].codes ? (uint8_t)goldens[g].codes[i]
                                     : goldens[g].factor * i % (1 << goldens[g].bits);
            assert_int_equal((int)values[i], u - middle);
        }
        vise_store_close(store);
    }
    vise_pool_free(pool);
    help_remove(folder);
}

/* Old packing of zero points, down the columns, ten 3-bit codes to a word: tiles do not begin at words. */
static void test_old_zero_points(void **state)
{
    (void)state;
    enum { N = 70, K = 64, G = 2 };
    static uint32_t packed[N * 7], zeros[7 * G];
    static uint16_t scales[N * G];
    for (int r = 0; r < N; r++)
        for (int k = 0; k < K; k++)
            packed[r * 7 + k / 10] |= (uint32_t)((r + k) % 8) << (k % 10 * 3);
    for (int r = 0; r < N; r++)
        for (int g = 0; g < G; g++) {
            zeros[r / 10 * G + g] |= (uint32_t)((r * 3 + g) % 8) << (r % 10 * 3);
            scales[r * G + g] = 0x3F80;
        }
    int64_t shape[2] = {N, K};
    help_tensor tensors[] = {
        {"m.weight_packed", VISE_DTYPE_I32, 2, {N, 7}, packed},
        {"m.weight_scale", VISE_DTYPE_BF16, 2, {N, G}, scales},
        {"m.weight_shape", VISE_DTYPE_I64, 1, {2}, shape},
        {"m.weight_zero_point", VISE_DTYPE_I32, 2, {7, G}, zeros},
    };
    const char *folder = help_folder();
    help_safetensors(folder, "model.safetensors", NULL, tensors, 4);
    help_write_text(
        folder, "config.json",
        "{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"g\": {"
        "\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 3, \"symmetric\": false, \"group_size\": "
        "32}}}}}");
    vise_store *store;
    vise_pool *pool;
    OK(vise_pool_new(0, &pool, &help_error));
    OK(vise_store_open(folder, &store, &help_error));
    static float values[N * K];
    OK(vise_store_read_f32(store, 0, 0, 32, values, pool, &help_error));
    OK(vise_store_read_f32(store, 0, 32, N - 32, values + 32 * K, pool, &help_error));
    for (int r = 0; r < N; r++)
        for (int k = 0; k < K; k++)
            assert_int_equal((int)values[r * K + k], (r + k) % 8 - (r * 3 + k / 32) % 8);
    vise_store_close(store);
    vise_pool_free(pool);
    help_remove(folder);
}

/* ---- spelling --------------------------------------------------------------------------------- */

static void test_spell_refuses(void **state)
{
    (void)state;
    const vise_layout *ct = vise_layout_find("compressed-tensors"), *plain = vise_layout_find("safetensors");
    vise_part parts[VISE_PARTS_MAX];
    int n;
    vise_spelling weight = {
        .module = "m", .name = "m.weight", .rows = 4, .cols = 100, .dtype = VISE_DTYPE_BF16};
    OK(vise_scheme_parse("int4-g32", &weight.scheme, &help_error));
    FAILS(VISE_EUSAGE, "do not divide", ct->spell(&weight, parts, &n, &help_error));
    FAILS(VISE_EUNSUPPORTED, "tensors only, not int4-g32", plain->spell(&weight, parts, &n, &help_error));
    weight.cols = 96;
    OK(ct->spell(&weight, parts, &n, &help_error));
    assert_int_equal(n, 3);
    weight.dtype = VISE_DTYPE_F8_E4M3;
    FAILS(VISE_EUNSUPPORTED, "no scales of dtype F8_E4M3", ct->spell(&weight, parts, &n, &help_error));
    weight.dtype = VISE_DTYPE_BF16;
    OK(vise_scheme_parse("nf4", &weight.scheme, &help_error));
    FAILS(VISE_EUNSUPPORTED, "nvfp4, not ", ct->spell(&weight, parts, &n, &help_error));
    weight.scheme = (vise_scheme){0};
    for (int i = 0; i < 2; i++) {
        OK((i ? ct : plain)->spell(&weight, parts, &n, &help_error));
        assert_int_equal(n, 1);
        assert_string_equal(parts[0].suffix, ".weight");
        assert_int_equal(parts[0].bytes, 768);
    }
    size_t count;
    assert_ptr_equal(vise_layouts(&count)[0], plain);
    assert_true(count >= 5);
    assert_null(vise_layout_find("gptq-v3"));
}

static void test_config_text(void **state)
{
    (void)state;
    const vise_layout *ct = vise_layout_find("compressed-tensors");
    vise_spelling weights[] = {{.module = "embed"},
                               {.module = "a", .is_linear = true},
                               {.module = "b", .is_linear = true},
                               {.module = "lm_head", .is_linear = true}};
    static const char prefix[] =
        "{\"quant_method\":\"compressed-tensors\",\"version\":\"0.19.0\",\"format\":\"";
    static const char middle[] = "\",\"quantization_status\":\"compressed\",\"global_compression_ratio\":"
                                 "null,\"kv_cache_scheme\":null,\"ignore\":";
    struct {
        const char *schemes[4], *format, *rest;
    } rows[] = {
        {{NULL, "int4-g32", "int4-g32", NULL},
         "pack-quantized",
         "[\"lm_head\"],\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":4,"
         "\"type\":\"int\","
         "\"symmetric\":true,\"strategy\":\"group\",\"group_size\":32,\"dynamic\":false},\"input_"
         "activations\":null,"
         "\"output_activations\":null}}}"},
        {{"int8-channel-asym", NULL, "int8-channel-asym", NULL},
         "pack-quantized",
         "[\"a\",\"lm_head\"],\"config_groups\":{\"group_0\":{\"targets\":[\"embed\",\"b\"],\"weights\":{"
         "\"num_bits\":8,"
         "\"type\":\"int\",\"symmetric\":false,\"strategy\":\"channel\",\"dynamic\":false},\"input_"
         "activations\":null,"
         "\"output_activations\":null}}}"},
        {{NULL, "int3-tensor", "int8-channel+int8-token", "int3-tensor"},
         "mixed-precision",
         "[],\"config_groups\":{\"group_0\":{\"targets\":[\"a\",\"lm_head\"],\"weights\":{\"num_bits\":3,"
         "\"type\":\"int\","
         "\"symmetric\":true,\"strategy\":\"tensor\",\"dynamic\":false},\"input_activations\":null,"
         "\"output_activations\":null,\"format\":\"pack-quantized\"},\"group_1\":{\"targets\":[\"b\"],"
         "\"weights\":{"
         "\"num_bits\":8,\"type\":\"int\",\"symmetric\":true,\"strategy\":\"channel\",\"dynamic\":false},"
         "\"input_activations\":{\"num_bits\":8,\"type\":\"int\",\"symmetric\":true,\"strategy\":\"token\","
         "\"dynamic\":true},\"output_activations\":null,\"format\":\"int-quantized\"}}}"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        for (int i = 0; i < 4; i++) {
            weights[i].scheme = (vise_scheme){0};
            if (rows[r].schemes[i])
                OK(vise_scheme_parse(rows[r].schemes[i], &weights[i].scheme, &help_error));
        }
        vise_buf text;
        char want[2048];
        vise_buf_init(&text, 1 << 20);
        OK(ct->config(weights, 4, &text, &help_error));
        (void)snprintf(want, sizeof want, "%s%s%s%s", prefix, rows[r].format, middle, rows[r].rest);
        assert_string_equal(text.data, want);
        vise_buf_deinit(&text);
    }
    for (int i = 0; i < 4; i++)
        weights[i].scheme = (vise_scheme){0};
    vise_buf text;
    vise_buf_init(&text, 1 << 20);
    OK(ct->config(weights, 4, &text, &help_error));
    assert_string_equal(text.data, "null");
    vise_buf_deinit(&text);
}

/* GPT-NeoX's head, by both of its names. */
static void test_head_names(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"compressed-tensors", "int4-g32"},
                                          {"awq", "int4-g32"},
                                          {"bitsandbytes", "nf4"},
                                          {"fp8", "fp8-e4m3-128x128"}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        vise_spelling weights[] = {{.module = "a", .dtype = VISE_DTYPE_BF16, .is_linear = true},
                                   {.module = "embed_out", .dtype = VISE_DTYPE_BF16, .is_linear = true}};
        vise_buf text;
        vise_buf_init(&text, 1 << 20);
        OK(vise_scheme_parse(rows[r][1], &weights[0].scheme, &help_error));
        OK(vise_layout_find(rows[r][0])->config(weights, 2, &text, &help_error));
        assert_non_null(strstr(text.data, ":[\"embed_out\",\"lm_head\"]"));
        vise_buf_deinit(&text);
    }
}

/* ---- reading ---------------------------------------------------------------------------------- */

static const struct {
    const char *python, *name;
    bool matches, refused;
} patterns[] = {
    {".*self_attn\\.(q|k|v|o)_proj$", "model.layers.0.self_attn.q_proj", true, false},
    {".*self_attn\\.(q|k|v|o)_proj$", "model.layers.0.self_attn.q_projx", false, false},
    {"layers\\.0", "model.layers.0", false, false}, /* match is anchored at the start */
    {"model\\.layers\\.\\d+\\.mlp.*", "model.layers.12.mlp.up_proj", true, false},
    {"model\\.layers\\.\\d+\\.mlp.*", "model.layers.x.mlp.up_proj", false, false},
    {"(?:a|b)c", "bcd", true, false},
    {".*?\\.w[13]$", "x.w3", true, false},
    {"[\\w.]+\\.[^a-c]$", "x_1.y.d", true, false},
    {"[\\w.]+\\.[^a-c]$", "x_1.y.b", false, false},
    {"a\\.b|c", "c", true, false},
    {"a\\.b|c", "xc", false, false}, /* the anchor holds for every branch */
    {"^model", "model.x", true, false},
    {"a(?!b)", "", false, true},
    {"a(?=b)", "", false, true},
    {"(?i)a", "", false, true},
    {"a{2}", "", false, true},
    {"(a)\\1", "", false, true},
    {"\\bmodel", "", false, true},
    {"a**", "", false, true},
    {"[[:alpha:]]", "", false, true},
    {"[a", "", false, true},
    {"a\\", "", false, true},
};

static void test_patterns(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        vise_buf posix;
        regex_t regex;
        vise_buf_init(&posix, 10000);
        bool known = vise_ct_translate(patterns[i].python, &posix);
        if (known == patterns[i].refused)
            fail_msg("%s: %s", patterns[i].python, known ? "translated" : "refused");
        if (known) {
            assert_int_equal(regcomp(&regex, posix.data, REG_EXTENDED | REG_NOSUB), 0);
            if ((regexec(&regex, patterns[i].name, 0, NULL, 0) == 0) != patterns[i].matches)
                fail_msg("%s as %s on %s", patterns[i].python, posix.data, patterns[i].name);
            regfree(&regex);
        }
        vise_buf_deinit(&posix);
    }
}

#define Q(body) "{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", " body "}}"
#define G(targets, weights, more)                                                                            \
    Q("\"config_groups\": {\"g\": {\"targets\": " targets ", \"weights\": {" weights "}" more "}}")
#define W4 "\"num_bits\": 4, \"strategy\": \"group\", \"group_size\": 32"

/* One int4-g32 weight "m" [2, 64] and one row of the table: its config, and which tensor is changed how. */
static const struct {
    const char *config;
    const char *tensor; /* changed or dropped (dtype COUNT); NULL: none */
    vise_dtype dtype;
    int ndim;
    int64_t shape[3];
    vise_status status;
    const char *say;
} bads[] = {
    {G("[\"Linear\"]", W4, ""), .status = VISE_OK},
    {G("[\"m\"]", W4 ", \"symmetric\": true, \"observer\": null, \"actorder\": null", ""), .status = VISE_OK},
    {Q("\"config_groups\": {\"a\": {\"targets\": [\"re:x.*\"], \"weights\": {\"num_bits\": 8}},"
       "\"b\": {\"targets\": [\"m\"], \"weights\": {" W4 "}}}"),
     .status = VISE_OK},
    {Q("\"config_groups\": {\"a\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 8}},"
       "\"b\": {\"targets\": [\"re:^m$\"], \"weights\": {" W4 "}}}"),
     .status = VISE_OK},
    {Q("\"config_groups\": {\"a\": {\"targets\": [\"x\"], \"weights\": {\"num_bits\": 8}},"
       "\"b\": {\"targets\": [\"y\"], \"weights\": {" W4 "}}}"),
     .status = VISE_EFORMAT, .say = "no group has m"},
    {"{\"quantization_config\": {\"quant_method\": \"hqq\"}}", .status = VISE_EUNSUPPORTED,
     .say = "\"hqq\""},
    {"{\"quantization_config\": {\"bits\": 4}}", .status = VISE_EUNSUPPORTED, .say = "(none named)"},
    {Q("\"config_groups\": {}"), .status = VISE_EFORMAT, .say = "config_groups"},
    {Q("\"x\": 1"), .status = VISE_EFORMAT, .say = "config_groups"},
    {Q("\"config_groups\": {\"W4A16\": [\"Linear\"]}"), .status = VISE_EUNSUPPORTED, .say = "preset"},
    {Q("\"config_groups\": {\"g\": {\"targets\": [\"Linear\"]}}"), .status = VISE_EUNSUPPORTED,
     .say = "no quantized weights"},
    {G("\"Linear\"", W4, ""), .status = VISE_EFORMAT, .say = "no list of targets"},
    {G("[1]", W4, ""), .status = VISE_EFORMAT, .say = "is no text"},
    {G("[\"re:a(?!b)\"]", W4, ""), .status = VISE_EUNSUPPORTED, .say = "regular expressions"},
    {G("[\"re:a(\"]", W4, ""), .status = VISE_EFORMAT, .say = "no valid regular expression"},
    {G("[\"Linear\"]", "\"num_bits\": 4, \"type\": \"float\"", ""), .status = VISE_EUNSUPPORTED,
     .say = "only integers"},
    {G("[\"Linear\"]", "\"num_bits\": 1", ""), .status = VISE_EUNSUPPORTED, .say = "2 to 8 bits"},
    {G("[\"Linear\"]", "\"num_bits\": 4.5", ""), .status = VISE_EFORMAT, .say = "num_bits"},
    {G("[\"Linear\"]", "\"num_bits\": -4", ""), .status = VISE_EFORMAT, .say = "num_bits"},
    {G("[\"Linear\"]", "\"num_bits\": 4, \"strategy\": \"block\"", ""), .status = VISE_EUNSUPPORTED,
     .say = "strategy"},
    {G("[\"Linear\"]", "\"num_bits\": 4, \"strategy\": \"group\"", ""), .status = VISE_EFORMAT,
     .say = "group_size"},
    {G("[\"Linear\"]", "\"num_bits\": 4, \"strategy\": \"channel\"", ""), .status = VISE_EFORMAT,
     .say = "weight_scale"},
    {G("[\"Linear\"]", "\"num_bits\": 4, \"strategy\": \"group\", \"group_size\": 48", ""),
     .status = VISE_EFORMAT, .say = "does not divide"},
    {G("[\"Linear\"]", "\"num_bits\": 8, \"group_size\": 32", ""), .status = VISE_EFORMAT, .say = "num_bits"},
    {G("[\"Linear\"]", W4 ", \"symmetric\": false", ""), .status = VISE_EFORMAT, .say = "says asymmetric"},
    {G("[\"Linear\"]", W4,
       ", \"input_activations\": {\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"tensor\","
       "\"dynamic\": true}"),
     .status = VISE_EUNSUPPORTED, .say = "activations"},
    {G("[\"Linear\"]", W4,
       ", \"input_activations\": {\"num_bits\": 8, \"strategy\": \"tensor\", \"dynamic\": false}"),
     .status = VISE_EFORMAT, .say = "input_scale\": is missing"},
    {G("[\"Linear\"]", W4, ", \"output_activations\": {}"), .status = VISE_EUNSUPPORTED, .say = "output"},
    {Q("\"quantization_status\": \"frozen\", \"config_groups\": {}"), .status = VISE_EUNSUPPORTED,
     .say = "frozen"},
    {Q("\"sparsity_config\": {\"format\": \"sparse-24-bitmask\"}"), .status = VISE_EUNSUPPORTED,
     .say = "sparse-24-bitmask"},
    {Q("\"transform_config\": {\"config_groups\": {\"r\": {}}}"), .status = VISE_EUNSUPPORTED,
     .say = "transforms"},
    /* tensors */
    {G("[\"Linear\"]", W4, ""),
     "m.weight_scale",
     VISE_DTYPE_COUNT,
     0,
     {0},
     VISE_EFORMAT,
     "weight_scale\": is missing"},
    {G("[\"Linear\"]", W4, ""),
     "m.weight_shape",
     VISE_DTYPE_COUNT,
     0,
     {0},
     VISE_EFORMAT,
     "weight_shape\": is missing"},
    {G("[\"Linear\"]", W4, ""), "m.weight_packed", VISE_DTYPE_U8, 2, {2, 32}, VISE_EFORMAT, "its config says int4"},
    {G("[\"Linear\"]", W4, ""), "m.weight_packed", VISE_DTYPE_I32, 3, {1, 2, 8}, VISE_EFORMAT, "not I32"},
    {G("[\"Linear\"]", W4, ""),
     "m.weight_packed",
     VISE_DTYPE_I32,
     2,
     {2, 9},
     VISE_EFORMAT,
     "does not fit weight_shape"},
    {G("[\"Linear\"]", W4, ""),
     "m.weight_packed",
     VISE_DTYPE_I32,
     2,
     {3, 8},
     VISE_EFORMAT,
     "does not fit weight_shape"},
    {G("[\"Linear\"]", W4, ""), "m.weight_shape", VISE_DTYPE_I64, 1, {3}, VISE_EFORMAT, "not I64 [2]"},
    {G("[\"Linear\"]", W4, ""), "m.weight_shape", VISE_DTYPE_F32, 1, {2}, VISE_EFORMAT, "not I64 [2]"},
    {G("[\"Linear\"]", W4, ""), "m.weight_scale", VISE_DTYPE_BF16, 2, {2, 3}, VISE_EFORMAT, "its shape"},
    {G("[\"Linear\"]", W4, ""), "m.weight_scale", VISE_DTYPE_I32, 2, {2, 2}, VISE_EFORMAT, "no scale's"},
    {G("[\"Linear\"]", W4, ""), "m.weight_g_idx", VISE_DTYPE_I32, 1, {63}, VISE_EFORMAT, "not I32 [columns]"},
    {G("[\"Linear\"]", W4, ""), "m.weight_g_idx", VISE_DTYPE_I32, 1, {64}, VISE_EFORMAT, "names a group"},
    {G("[\"Linear\"]", W4, ""),
     "m.weight_zero_point",
     VISE_DTYPE_I32,
     2,
     {1, 2},
     VISE_EFORMAT,
     "says symmetric"},
    {G("[\"Linear\"]", W4 ", \"symmetric\": false", ""),
     "m.weight_zero_point",
     VISE_DTYPE_I32,
     2,
     {1, 2},
     VISE_OK,
     NULL},
    {G("[\"Linear\"]", W4 ", \"symmetric\": false", ""),
     "m.weight_zero_point",
     VISE_DTYPE_I32,
     2,
     {2, 2},
     VISE_EFORMAT,
     "does not fit the weight"},
    {G("[\"Linear\"]", W4 ", \"symmetric\": false", ""),
     "m.weight_zero_point",
     VISE_DTYPE_I8,
     2,
     {2, 2},
     VISE_EFORMAT,
     "does not fit the weight"},
    {G("[\"Linear\"]", W4, ""), "m.weight", VISE_DTYPE_F32, 1, {1}, VISE_EFORMAT, "there twice"},
    {G("[\"Linear\"]", W4, ""), "f.weight", VISE_DTYPE_F8_E4M3, 1, {1}, VISE_EFORMAT, "weight_scale\": is missing"},
    {G("[\"Linear\"]", W4, ""),
     "i.weight",
     VISE_DTYPE_I8,
     2,
     {2, 2},
     VISE_EFORMAT,
     "i.weight_scale\": is missing"},
};

static void test_bad_configs(void **state)
{
    (void)state;
    static const int64_t shape[2] = {2, 64};
    static const help_tensor good[] = {
        {"m.weight_packed", VISE_DTYPE_I32, 2, {2, 8}, NULL},
        {"m.weight_scale", VISE_DTYPE_BF16, 2, {2, 2}, NULL},
        {"m.weight_shape", VISE_DTYPE_I64, 1, {2}, shape},
    };
    const char *folder = help_folder();
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        help_tensor tensors[4];
        memcpy(tensors, good, sizeof good);
        const size_t n = help_replace(tensors, 3, bads[i].tensor, bads[i].dtype, bads[i].ndim, bads[i].shape, NULL);
        help_opens(folder, tensors, n, bads[i].config, i, bads[i].status, bads[i].say);
    }
    help_remove(folder);
}

/* Weight-only int8 as plain I8, and values that do not have the config's bits. */
static void test_int_quantized(void **state)
{
    (void)state;
    static const int8_t codes[] = {-8, 7, 0, -1, 3, 1, 2, -3};
    static const float scales[] = {0.5f, 2};
    help_tensor tensors[] = {
        {"m.weight", VISE_DTYPE_I8, 2, {2, 4}, codes},
        {"m.weight_scale", VISE_DTYPE_F32, 2, {2, 1}, scales},
    };
    const char *folder = help_folder();
    vise_pool *pool;
    vise_store *store;
    float values[8];
    OK(vise_pool_new(0, &pool, &help_error));
    help_safetensors(folder, "model.safetensors", NULL, tensors, 2);
    for (int bits = 3; bits <= 8; bits++) {
        char config[512];
        (void)snprintf(config, sizeof config,
                       G("[\"Linear\"]", "\"num_bits\": %d, \"strategy\": \"channel\"", ""), bits);
        help_write_text(folder, "config.json", config);
        OK(vise_store_open(folder, &store, &help_error));
        if (bits == 3) {
            FAILS(VISE_EFORMAT, "beyond 3 bits",
                  vise_store_read_f32(store, 0, 0, 2, values, pool, &help_error));
        } else {
            OK(vise_store_read_f32(store, 0, 0, 2, values, pool, &help_error));
            for (int i = 0; i < 8; i++)
                assert_true(values[i] == (float)codes[i] * scales[i / 4]);
        }
        vise_store_close(store);
    }
    assert_int_equal(vise_pool_used(pool), 0);
    vise_pool_free(pool);
    help_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_scheme),    cmocka_unit_test(test_golden_words),
        cmocka_unit_test(test_old_zero_points), cmocka_unit_test(test_spell_refuses),
        cmocka_unit_test(test_config_text),     cmocka_unit_test(test_head_names),
        cmocka_unit_test(test_patterns),        cmocka_unit_test(test_bad_configs),
        cmocka_unit_test(test_int_quantized),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
