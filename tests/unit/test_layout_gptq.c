/* formats/layout_gptq*.c and layout_awq.c: every scheme written and read back, the words of the formats, act-order,
 * zero points of 0, configs, what is refused. */
#include "tests/unit/layout_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/file.h"
#include "formats/layout_internal.h"
#include "formats/store.h"
#include "tensor/pack.h"

#define ROWS 96
#define COLS 128

static const struct {
    const char *layout, *scheme;
} held[] = {
    {"gptq", "int2-g32"},         {"gptq", "int3-g64"},         {"gptq", "int4-g32"},
    {"gptq", "int8-channel"},     {"gptq", "int2-g32-asym"},    {"gptq", "int3-channel-asym"},
    {"gptq", "int4-g128-asym"},   {"gptq", "int8-g16-asym"},    {"gptq-v2", "int2-g32"},
    {"gptq-v2", "int3-g32-asym"}, {"gptq-v2", "int4-g64"},      {"gptq-v2", "int4-g8-asym"},
    {"gptq-v2", "int8-g32"},      {"gptq-v2", "int2-channel"},  {"awq", "int4-g32-asym"},
    {"awq", "int4-g128-asym"},    {"awq", "int4-channel-asym"},
};

static void test_every_scheme(void **state)
{
    (void)state;
    vise_pool *pool;
    OK(vise_pool_new(0, &pool, &help_error));
    const char *folder = help_folder();
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        for (int pack = 0; pack < 2; pack++) {
            vise_spelling weight;
            vise_qweight q;
            const vise_layout *layout = vise_layout_find(held[i].layout);
            weight = help_spelling(held[i].scheme, ROWS, COLS, VISE_DTYPE_F16);
            void *block = help_weight(&weight, VISE_DTYPE_F16, &q);
            for (int64_t z = 0; q.zeros && z < ROWS * q.groups; z++)
                q.zeros[z] = q.zeros[z] == 0 ? 1 : q.zeros[z]; /* version 1 has none of 0 */
            help_write_model(layout, folder, &weight, &q, pack, i % 2 ? 32 : i % 3 ? 64 : 96);
            help_check_model(layout, folder, &weight, &q, pool);
            free(block);
        }
    assert_int_equal(vise_pool_used(pool), 0);
    vise_pool_free(pool);
    help_remove(folder);
}

/* Groups that are no runs of columns: read as such, kept by gptq, refused by the others. */
static void test_act_order(void **state)
{
    (void)state;
    static const char *const layouts[] = {"gptq", "gptq-v2"};
    int32_t group_of[COLS];
    vise_pool *pool;
    vise_spelling weight;
    vise_qweight q;
    vise_part parts[VISE_PARTS_MAX];
    int n;
    const char *folder = help_folder();
    OK(vise_pool_new(0, &pool, &help_error));
    weight = help_spelling("int4-g32-asym", ROWS, COLS, VISE_DTYPE_F16);
    void *block = help_weight(&weight, VISE_DTYPE_F16, &q);
    for (int64_t z = 0; z < ROWS * q.groups; z++)
        q.zeros[z] = q.zeros[z] == 0 ? 1 : q.zeros[z];
    for (int c = 0; c < COLS; c++)
        group_of[c] = c * 5 % 4;
    q.group_of = weight.group_of = group_of;
    for (size_t i = 0; i < 2; i++) {
        const vise_layout *layout = vise_layout_find(layouts[i]);
        help_write_model(layout, folder, &weight, &q, false, 32);
        help_check_model(layout, folder, &weight, &q, pool);
        size_t length;
        char *config = help_read(help_path(folder, "m/config.json"), &length);
        assert_non_null(strstr(config, "\"desc_act\":true"));
        vise_free(config);
        vise_store *store;
        OK(vise_store_open(help_path(folder, "m"), &store, &help_error));
        assert_memory_equal(vise_store_tensor(store, 0)->found->group_of, group_of, sizeof group_of);
        float values[2 * COLS];
        OK(vise_store_read_f32(store, 0, 0, 2, values, pool, &help_error));
        for (int64_t r = 0; r < 2; r++)
            for (int64_t c = 0; c < COLS; c++) {
                int64_t s = r * q.groups + group_of[c];
                assert_true(values[r * COLS + c] ==
                            (float)(q.codes[r * COLS + c] - q.zeros[s]) * q.scales[s]);
            }
        vise_store_close(store);
    }
    FAILS(VISE_EUNSUPPORTED, "act-order", vise_layout_find("awq")->spell(&weight, parts, &n, &help_error));
    FAILS(VISE_EUNSUPPORTED, "act-order",
          vise_layout_find("compressed-tensors")->spell(&weight, parts, &n, &help_error));
    free(block);
    vise_pool_free(pool);
    help_remove(folder);
}

/* ---- words --------------------------------------------------------------------------------------------- */

/* Rows of 32 in features, 32 out features, one group: codes[c] for every row, zero points zeros[r]. */
static vise_status store_words(const char *layout_name, const char *scheme, const uint8_t *codes,
                               const uint8_t *zeros, help_parts *out)
{
    enum { N = 32 };
    const vise_layout *layout = vise_layout_find(layout_name);
    const vise_spelling weight = help_spelling(scheme, N, N, VISE_DTYPE_F16);
    vise_qweight q;
    void *block = help_weight(&weight, VISE_DTYPE_F16, &q),
         *scratch = malloc(layout->store_scratch(&weight, N));
    assert_non_null(scratch);
    for (int r = 0; r < N; r++) {
        memcpy(q.codes + r * N, codes, N);
        if (q.zeros)
            q.zeros[r] = zeros[r];
    }
    vise_part_writer writer = help_keep(out);
    vise_status status = layout->store(&weight, 0, &q, scratch, &writer, &help_error);
    free(scratch);
    free(block);
    return status;
}

static uint32_t word(const help_parts *w, int part, int index)
{
    uint32_t value;
    memcpy(&value, w->part[part] + index * 4, 4);
    return value;
}

static void test_golden_words(void **state)
{
    (void)state;
    static const struct {
        const char *layout, *scheme;
        int factor, n_words;
        uint32_t codes[8], zeros[3];
    } rows[] = {
        {"gptq-v2", "int4", 1, 4, {0x76543210, 0xfedcba98, 0x76543210, 0xfedcba98}, {0x88888888}},
        {"gptq", "int4", 1, 4, {0x76543210, 0xfedcba98, 0x76543210, 0xfedcba98}, {0x77777777}},
        {"gptq-v2", "int3", 5, 3, {0xa878cea8, 0xcea878ce, 0x78cea878}, {0x24924924, 0x49249249, 0x92492492}},
        {"gptq", "int3", 5, 3, {0xa878cea8, 0xcea878ce, 0x78cea878}, {0xdb6db6db, 0xb6db6db6, 0x6db6db6d}},
        {"gptq-v2", "int2", 1, 2, {0xe4e4e4e4, 0xe4e4e4e4}, {0xaaaaaaaa, 0xaaaaaaaa}},
        {"gptq", "int2", 1, 2, {0xe4e4e4e4, 0xe4e4e4e4}, {0x55555555, 0x55555555}},
        {"gptq-v2", "int8", 1, 8, {0x03020100, 0x07060504, 0x0b0a0908}, {0x80808080, 0x80808080, 0x80808080}},
        {"gptq", "int8", 1, 8, {0x03020100, 0x07060504, 0x0b0a0908}, {0x7f7f7f7f, 0x7f7f7f7f, 0x7f7f7f7f}},
    };
    help_parts got;
    uint8_t codes[32], zeros[32];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int bits = rows[i].scheme[3] - '0';
        for (int c = 0; c < 32; c++)
            codes[c] = (uint8_t)(rows[i].factor * c % (1 << bits));
        OK(store_words(rows[i].layout, rows[i].scheme, codes, NULL, &got));
        for (int w = 0; w < rows[i].n_words && (w == 0 || rows[i].codes[w]); w++)
            assert_int_equal(word(&got, VISE_GPTQ_WEIGHT, w * 32 + 17), rows[i].codes[w]); /* any column */
        for (int w = 0; w < 3 && rows[i].zeros[w]; w++)
            assert_int_equal(word(&got, VISE_GPTQ_ZERO, w), rows[i].zeros[w]);
        for (int c = 0; c < 32; c++)
            assert_int_equal(word(&got, VISE_GPTQ_G_IDX, c), 0);
    }
    /* Zero points as they are, and less one; and AWQ's order of nibbles. */
    static const uint8_t eight[8] = {1, 8, 15, 2, 1, 3, 2, 4};
    memset(codes, 3, sizeof codes);
    for (int r = 0; r < 32; r++)
        zeros[r] = eight[r % 8];
    OK(store_words("gptq-v2", "int4-g32-asym", codes, zeros, &got));
    assert_int_equal(word(&got, VISE_GPTQ_ZERO, 0), 0x42312f81);
    OK(store_words("gptq", "int4-g32-asym", codes, zeros, &got));
    assert_int_equal(word(&got, VISE_GPTQ_ZERO, 0), 0x31201e70);
    for (int r = 0; r < 32; r++)
        zeros[r] = (uint8_t)(r % 16 < 8 ? r % 8 : 15 - r % 8);
    OK(store_words("awq", "int4-g32-asym", codes, zeros, &got));
    assert_int_equal(word(&got, VISE_AWQ_ZERO, 0), 0x75316420);
    assert_int_equal(word(&got, VISE_AWQ_ZERO, 1), 0x8ace9bdf);
    assert_int_equal(word(&got, VISE_AWQ_WEIGHT, 7), 0x33333333);
    OK(store_words("awq", "int4-g32", codes, NULL, &got));
    assert_int_equal(word(&got, VISE_AWQ_ZERO, 3), 0x88888888);
}

/* Version 1 has no zero point of 0: codes and zero point go up by one where there is room. */
static void test_zero_of_zero(void **state)
{
    (void)state;
    help_parts got;
    uint8_t codes[32], zeros[32] = {0};
    for (int c = 0; c < 32; c++)
        codes[c] = (uint8_t)(c % 15);
    OK(store_words("gptq", "int4-g32-asym", codes, zeros, &got));
    assert_int_equal(word(&got, VISE_GPTQ_WEIGHT, 0), 0x87654321);
    assert_int_equal(word(&got, VISE_GPTQ_ZERO, 0), 0);
    codes[31] = 15;
    FAILS(VISE_EUNSUPPORTED, "gptq-v2", store_words("gptq", "int4-g32-asym", codes, zeros, &got));
    OK(store_words("gptq-v2", "int4-g32-asym", codes, zeros, &got));
    OK(store_words("awq", "int4-g32-asym", codes, zeros, &got));
}

/* ---- what tools of others write ------------------------------------------------------------------------ */

#define CONFIG(more)                                                                                         \
    "{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32" more "}}"
#define AWQ(more)                                                                                            \
    "{\"quantization_config\": {\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32" more "}}"

#define AUTO_ROUND(packing, type)                                                                            \
    "{\"quantization_config\": {\"quant_method\": \"auto-round\", \"packing_format\": \"" packing                \
    "\", \"data_type\": \"" type "\", \"bits\": 4, \"group_size\": 32, \"sym\": false}}"

/* A zero point of 0 in version 1, as a subtraction of whole words leaves it; and auto-round's packings. */
static void test_borrowed_zero(void **state)
{
    (void)state;
    static const struct {
        const char *config, *layout;
        uint8_t zeros[8];
    } rows[] = {
        {CONFIG(", \"sym\": false"), "gptq", {0, 8, 15, 1, 0, 0, 2, 3}},
        {AUTO_ROUND("auto_round:auto_gptq", "int"), "gptq", {0, 8, 15, 1, 0, 0, 2, 3}},
        {AUTO_ROUND("auto_round", "int"), "gptq-v2", {15, 6, 14, 0, 15, 14, 0, 2}},
    };
    static uint32_t qweight[4 * 8], qzeros[] = {0x20ef0e6f};
    static uint16_t scales[8];
    for (int i = 0; i < 8; i++)
        scales[i] = 0x3c00;
    help_tensor tensors[] = {
        {"m.qweight", VISE_DTYPE_I32, 2, {4, 8}, qweight},
        {"m.qzeros", VISE_DTYPE_I32, 2, {1, 1}, qzeros},
        {"m.scales", VISE_DTYPE_F16, 2, {1, 8}, scales},
    };
    const char *folder = help_folder();
    vise_store *store;
    vise_pool *pool;
    float values[8 * 32];
    OK(vise_pool_new(0, &pool, &help_error));
    help_safetensors(folder, "model.safetensors", NULL, tensors, 3);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        help_write_text(folder, "config.json", rows[r].config);
        OK(vise_store_open(folder, &store, &help_error));
        assert_string_equal(vise_store_layout(store)->name, rows[r].layout);
        OK(vise_store_read_f32(store, 0, 0, 8, values, pool, &help_error));
        for (int i = 0; i < 8 * 32; i++)
            assert_int_equal((int)values[i], -rows[r].zeros[i / 32]);
        vise_store_close(store);
    }
    help_write_text(folder, "config.json", AUTO_ROUND("auto_round", "mx_fp"));
    FAILS(VISE_EUNSUPPORTED, "auto-round", vise_store_open(folder, &store, &help_error));
    help_write_text(folder, "config.json", CONFIG(", \"sym\": true")); /* which it is not */
    OK(vise_store_open(folder, &store, &help_error));
    FAILS(VISE_EFORMAT, "symmetric", vise_store_read_f32(store, 0, 0, 8, values, pool, &help_error));
    vise_store_close(store);
    vise_pool_free(pool);
    help_remove(folder);
}

static const int32_t index_good[64] = {[32] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                       1,        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
static const int32_t index_beyond[64] = {[5] = 2}, index_negative[64] = {[5] = -1};

/* One int4-g32 weight [8, 64] in gptq's form, and which tensor is changed how. */
static const struct {
    const char *config;
    const char *tensor; /* changed, or dropped (dtype COUNT); NULL: none */
    vise_dtype dtype;
    int ndim;
    int64_t shape[3];
    const void *bytes;
    vise_status status;
    const char *say;
} bads[] = {
    {CONFIG(""), .status = VISE_OK},
    {CONFIG(", \"checkpoint_format\": \"gptq_v2\", \"desc_act\": false"), .status = VISE_OK},
    {CONFIG(", \"pack_dtype\": \"int32\", \"dynamic\": {\"-:lm_head\": {}, \"+:^m$\": {\"sym\": false}}"),
     .status = VISE_OK},
    {CONFIG(", \"dynamic\": {\"a(?=b)\": {\"sym\": false}}"), .status = VISE_EUNSUPPORTED, .say = "dynamic"},
    {CONFIG(""), "m.g_idx", VISE_DTYPE_COUNT, .status = VISE_OK},
    {CONFIG(", \"checkpoint_format\": \"marlin\""), .status = VISE_EUNSUPPORTED, .say = "marlin"},
    {CONFIG(", \"pack_dtype\": \"int16\""), .status = VISE_EUNSUPPORTED, .say = "int16"},
    {CONFIG(", \"sym\": 3"), .status = VISE_EFORMAT, .say = "sym"},
    {"{\"quantization_config\": {\"quant_method\": \"gptq\"}}", .status = VISE_EFORMAT, .say = "bits"},
    {CONFIG(""), "m.scales", VISE_DTYPE_COUNT, .status = VISE_EFORMAT, .say = "m.scales\": is missing"},
    {CONFIG(""), "m.qzeros", VISE_DTYPE_COUNT, .status = VISE_EFORMAT, .say = "m.qzeros\": is missing"},
    {CONFIG(""), "m.scales", VISE_DTYPE_I16, 2, {2, 8}, NULL, VISE_EFORMAT, "no floats"},
    {CONFIG(""), "m.scales", VISE_DTYPE_F16, 2, {2, 4}, NULL, VISE_EFORMAT, "no floats"},
    {CONFIG(""), "m.scales", VISE_DTYPE_F16, 2, {3, 8}, NULL, VISE_EFORMAT, "no floats"},
    {CONFIG(""), "m.scales", VISE_DTYPE_F16, 2, {0, 8}, NULL, VISE_EFORMAT, "no floats"},
    {CONFIG(""), "m.scales", VISE_DTYPE_F16, 1, {16}, NULL, VISE_EFORMAT, "no floats"},
    {CONFIG(""), "m.qzeros", VISE_DTYPE_I32, 2, {1, 1}, NULL, VISE_EFORMAT, "groups, words"},
    {CONFIG(""), "m.qzeros", VISE_DTYPE_I32, 2, {2, 2}, NULL, VISE_EFORMAT, "groups, words"},
    {CONFIG(""), "m.qzeros", VISE_DTYPE_U8, 2, {2, 1}, NULL, VISE_EFORMAT, "groups, words"},
    {CONFIG(""), "m.qweight", VISE_DTYPE_F32, 2, {8, 8}, NULL, VISE_EFORMAT, "words, rows"},
    {CONFIG(""), "m.qweight", VISE_DTYPE_I32, 1, {64}, NULL, VISE_EFORMAT, "words, rows"},
    {CONFIG(""), "m.qweight", VISE_DTYPE_I32, 2, {0, 8}, NULL, VISE_EFORMAT, "words, rows"},
    {CONFIG(""), "m.qweight", VISE_DTYPE_I32, 2, {8, 7}, NULL, VISE_EFORMAT, "does not fit the bits"},
    {CONFIG(""), "m.g_idx", VISE_DTYPE_I32, 1, {64}, index_beyond, VISE_EFORMAT, "that there is not"},
    {CONFIG(""), "m.g_idx", VISE_DTYPE_I32, 1, {64}, index_negative, VISE_EFORMAT, "that there is not"},
    {CONFIG(""), "m.g_idx", VISE_DTYPE_I64, 1, {64}, NULL, VISE_EFORMAT, "is not I32"},
    {CONFIG(""), "m.g_idx", VISE_DTYPE_I32, 1, {60}, NULL, VISE_EFORMAT, "number of words"},
    {CONFIG(""), "m.g_idx", VISE_DTYPE_I32, 1, {0}, NULL, VISE_EFORMAT, "number of words"},
    {CONFIG(""), "m.g_idx", VISE_DTYPE_I32, 1, {256}, NULL, VISE_EUNSUPPORTED, "weights of 1 bits"},
    /* The same tensors taken for AWQ's: qweight [8, 8] is 8 columns of 64 rows. */
    {AWQ(""), .status = VISE_EFORMAT, .say = "no floats"},
    {AWQ(""), "m.scales", VISE_DTYPE_F16, 2, {2, 64}, NULL, VISE_EFORMAT, "rows / 8"},
    {AWQ(", \"version\": \"gemv\""), .status = VISE_EUNSUPPORTED, .say = "gemv"},
    {AWQ(""), "m.qzeros", VISE_DTYPE_COUNT, .status = VISE_EFORMAT, .say = "is missing"},
    {AWQ(""), "m.qweight", VISE_DTYPE_I32, 1, {64}, NULL, VISE_EFORMAT, "columns, rows / 8"},
};

static void test_bad_files(void **state)
{
    (void)state;
    static const help_tensor good[] = {
        {"m.qweight", VISE_DTYPE_I32, 2, {8, 8}, NULL},
        {"m.qzeros", VISE_DTYPE_I32, 2, {2, 1}, NULL},
        {"m.scales", VISE_DTYPE_F16, 2, {2, 8}, NULL},
        {"m.g_idx", VISE_DTYPE_I32, 1, {64}, index_good},
    };
    const char *folder = help_folder();
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        help_tensor tensors[4];
        memcpy(tensors, good, sizeof good);
        const size_t n =
            help_replace(tensors, 4, bads[i].tensor, bads[i].dtype, bads[i].ndim, bads[i].shape, bads[i].bytes);
        help_opens(folder, tensors, n, bads[i].config, i, bads[i].status, bads[i].say);
    }
    help_remove(folder);
}

/* ---- refusals and configs ------------------------------------------------------------------------------ */

static void test_spell_refuses(void **state)
{
    (void)state;
    static const help_refusal rows[] = {
        {"gptq", "int5-g32", 32, 64, VISE_EUNSUPPORTED, "weights alone, not "},
        {"gptq", "int4-tensor", 32, 64, VISE_EUNSUPPORTED, "weights alone, not "},
        {"gptq-v2", "int8-channel+int8-token", 32, 64, VISE_EUNSUPPORTED, "weights alone, not "},
        {"gptq", "int4-g48", 32, 64, VISE_EUSAGE, "do not divide"},
        {"gptq", "int4-g32", 36, 64, VISE_EUNSUPPORTED, "multiples of 8"},
        {"gptq", "int3-g8", 32, 72, VISE_EUNSUPPORTED, "multiples of 32"},
        {"gptq", "int2-g4", 32, 68, VISE_EUNSUPPORTED, "multiples of 16"},
        {"awq", "int3-g32", 32, 64, VISE_EUNSUPPORTED, "holds int4 per channel or group"},
        {"awq", "int8-channel", 32, 64, VISE_EUNSUPPORTED, "holds int4 per channel or group"},
        {"awq", "int8-channel+int8-token", 32, 64, VISE_EUNSUPPORTED, "not int8-channel+int8-token"},
        {"awq", "int4-g32", 36, 64, VISE_EUNSUPPORTED, "by eight"},
        {"awq", "int4-g48", 32, 64, VISE_EUSAGE, "do not divide"},
    };
    help_spell_refuses(rows, sizeof rows / sizeof *rows);
    vise_part parts[VISE_PARTS_MAX];
    int n;
    vise_spelling weight = help_spelling("int4-g32", 32, 64, VISE_DTYPE_F16);
    weight.is_linear = false;
    FAILS(VISE_EUNSUPPORTED, "no linear", vise_layout_find("gptq")->spell(&weight, parts, &n, &help_error));
    FAILS(VISE_EUNSUPPORTED, "no linear", vise_layout_find("awq")->spell(&weight, parts, &n, &help_error));
}

/* A scale that float16 does not hold is not rounded in silence. */
static void test_scale_beyond_f16(void **state)
{
    (void)state;
    static const char *const layouts[] = {"gptq", "gptq-v2", "awq"};
    for (size_t i = 0; i < 3; i++) {
        const vise_layout *layout = vise_layout_find(layouts[i]);
        help_parts got;
        vise_part_writer writer = help_keep(&got);
        const vise_spelling weight = help_spelling("int4-g32", 32, 32, VISE_DTYPE_F16);
        vise_qweight q;
        void *block = help_weight(&weight, VISE_DTYPE_F16, &q),
             *scratch = malloc(layout->store_scratch(&weight, 32));
        assert_non_null(scratch);
        OK(layout->store(&weight, 0, &q, scratch, &writer, &help_error));
        q.scales[7] = 1.0e-7f;
        FAILS(VISE_EUNSUPPORTED, "no float16", layout->store(&weight, 0, &q, scratch, &writer, &help_error));
        free(scratch);
        free(block);
    }
}

static void test_config_text(void **state)
{
    (void)state;
    vise_spelling weights[] = {{.module = "embed"},
                               {.module = "a.b", .is_linear = true},
                               {.module = "a.c", .is_linear = true},
                               {.module = "a.d", .is_linear = true},
                               {.module = "lm_head", .is_linear = true}};
    static const struct {
        const char *layout, *schemes[5], *text;
    } rows[] = {
        {"gptq",
         {NULL, "int4-g32", "int4-g32", "int8-channel-asym", NULL},
         "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32,\"sym\":true,\"desc_act\":false,\"lm_"
         "head\":false,"
         "\"checkpoint_format\":\"gptq\",\"format\":\"gptq\",\"pack_dtype\":\"int32\",\"dynamic\":{\"+:^"
         "a\\\\.d$\":{"
         "\"bits\":8,\"group_size\":-1,\"sym\":false}},"},
        {"gptq-v2",
         {NULL, "int4-g32-asym", NULL, "int4-g32-asym", "int4-g32-asym"},
         "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32,\"sym\":false,\"desc_act\":false,\"lm_"
         "head\":true,"
         "\"checkpoint_format\":\"gptq_v2\",\"format\":\"gptq_v2\",\"pack_dtype\":\"int32\",\"dynamic\":{"
         "\"-:^a\\\\.c$\":{}},"},
        {"awq",
         {NULL, "int4-g32", NULL, "int4-g32-asym", NULL},
         "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":32,\"zero_point\":true,\"version\":\"gemm\","
         "\"modules_to_not_convert\":[\"a.c\",\"lm_head\"]}"},
        {"gptq", {NULL}, "null"},
        {"awq", {NULL}, "null"},
    };
    vise_buf text;
    vise_buf_init(&text, 1 << 20);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        for (int i = 0; i < 5; i++) {
            weights[i].scheme = (vise_scheme){0};
            if (rows[r].schemes[i])
                OK(vise_scheme_parse(rows[r].schemes[i], &weights[i].scheme, &help_error));
        }
        vise_buf_clear(&text);
        OK(vise_layout_find(rows[r].layout)->config(weights, 5, &text, &help_error));
        if (strncmp(text.data, rows[r].text, strlen(rows[r].text)) != 0)
            fail_msg("row %zu: %s", r, text.data);
    }
    OK(vise_scheme_parse("int4-g32", &weights[1].scheme, &help_error));
    OK(vise_scheme_parse("int4-g64", &weights[2].scheme, &help_error));
    FAILS(VISE_EUNSUPPORTED, "one size of groups",
          vise_layout_find("awq")->config(weights, 5, &text, &help_error));
    weights[2].scheme = (vise_scheme){0};
    weights[2].module = "a.";
    FAILS(VISE_EUNSUPPORTED, "part of", vise_layout_find("awq")->config(weights, 5, &text, &help_error));
    vise_buf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_scheme),  cmocka_unit_test(test_act_order),
        cmocka_unit_test(test_golden_words),  cmocka_unit_test(test_zero_of_zero),
        cmocka_unit_test(test_borrowed_zero), cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_spell_refuses), cmocka_unit_test(test_scale_beyond_f16),
        cmocka_unit_test(test_config_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
