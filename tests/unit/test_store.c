/* formats/store: plain tensors of every dtype, packed or not, and a file that llm-compressor wrote. */
#include "tests/unit/formats_help.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "formats/sink.h"
#include "formats/store.h"

#define FIXTURE "tests/data/llmcompressor-int"

/* What compressed-tensors decodes each weight to, as bfloat16; ours in float32 rounds to the same. */
static void test_file_of_llm_compressor(void **state)
{
    (void)state;
    vise_store *store;
    vise_pool *pool;
    OK(vise_pool_new(0, &pool, &help_error));
    OK(vise_store_open(FIXTURE, &store, &help_error));
    assert_string_equal(vise_store_layout(store)->name, "compressed-tensors");
    assert_int_equal(vise_store_count(store), 7 + 4);
    char *lines = help_read(FIXTURE "/decoded.txt", NULL), module[100], sha256[65],
         text[VISE_SCHEME_TEXT_MAX];
    int rows, cols, used, weights = 0;
    for (const char *at = lines; sscanf(at, "%99s %d %d %64s\n%n", module, &rows, &cols, sha256, &used) == 4;
         at += used) {
        char name[120], hex[VISE_SHA256_HEX_MAX];
        (void)snprintf(name, sizeof name, "%s.weight", module);
        size_t index = vise_store_find(store, name), n = (size_t)rows * (size_t)cols;
        assert_int_not_equal(index, SIZE_MAX);
        const vise_logical *entry = vise_store_tensor(store, index);
        assert_int_equal(entry->rows, rows);
        assert_int_equal(entry->cols, cols);
        assert_string_equal(entry->module, module);
        assert_string_equal(vise_scheme_text(&entry->scheme, text),
                            strstr(module, "mlp") ? "int4-g32-asym" : "int3-channel");
        float *values = malloc(n * sizeof *values);
        uint16_t *rounded = malloc(n * sizeof *rounded);
        assert_true(values && rounded);
        OK(vise_store_read_f32(store, index, 0, rows, values, pool, &help_error));
        vise_from_f32(VISE_DTYPE_BF16, values, rounded, n);
        vise_sha256 hash;
        vise_sha256_init(&hash);
        vise_sha256_add(&hash, rounded, n * 2);
        vise_sha256_hex(&hash, hex);
        assert_string_equal(hex, sha256);
        free(values);
        free(rounded);
        weights++;
    }
    assert_int_equal(weights, 7);
    vise_free(lines);
    vise_store_close(store);
    assert_int_equal(vise_pool_used(pool), 0);
    vise_pool_free(pool);
}

static void test_plain_tensors(void **state)
{
    (void)state;
    static const help_tensor tensors[] = {
        {"layer.weight", VISE_DTYPE_BF16, 2, {37, 29}, NULL},
        {"layer.bias", VISE_DTYPE_F16, 1, {37}, NULL},
        {"norm.weight", VISE_DTYPE_F32, 1, {5}, NULL},
        {"conv", VISE_DTYPE_F32, 3, {2, 3, 4}, NULL},
        {"scalar", VISE_DTYPE_BF16, 0, {0}, NULL},
        {"none", VISE_DTYPE_F32, 2, {0, 4}, NULL},
        {"mask", VISE_DTYPE_F4, 1, {4}, NULL},
    };
    static const struct {
        const char *module;
        int64_t rows, cols;
    } views[] = {{"layer", 37, 29}, {"layer.bias", 1, 37}, {"norm", 1, 5}, {"conv", 2, 12},
                 {"scalar", 1, 1},  {"none", 0, 0},        {"mask", 1, 4}};
    const char *folder = help_folder();
    vise_store *store;
    vise_pool *pool;
    OK(vise_pool_new(0, &pool, &help_error));
    help_safetensors(folder, "model.safetensors", NULL, tensors, 7);
    OK(vise_store_open(folder, &store, &help_error));
    assert_string_equal(vise_store_layout(store)->name, "safetensors");
    assert_int_equal(vise_store_count(store), 7);
    assert_int_equal(vise_store_find(store, "layer"), SIZE_MAX);
    for (size_t i = 0; i < 7; i++) {
        const vise_logical *entry = vise_store_tensor(store, i);
        assert_string_equal(entry->name, tensors[i].name);
        assert_string_equal(entry->module, views[i].module);
        assert_int_equal(entry->rows, views[i].rows);
        assert_int_equal(entry->cols, views[i].cols);
        assert_int_equal(entry->stored_bytes, help_bytes(&tensors[i]));
        assert_null(entry->scheme.type);
        assert_null(entry->found);
        assert_int_equal(vise_store_find(store, tensors[i].name), i);
    }
    float values[37 * 29], one;
    OK(vise_store_read_f32(store, 5, 0, 0, values, pool, &help_error));
    OK(vise_store_read_f32(store, 4, 0, 1, &one, pool, &help_error));
    FAILS(VISE_EUNSUPPORTED, "mask: F4", vise_store_read_f32(store, 6, 0, 1, values, pool, &help_error));
    FAILS(VISE_EINTERNAL, "layer.weight", vise_store_read_f32(store, 0, 30, 8, values, pool, &help_error));
    FAILS(VISE_EINTERNAL, "layer.weight", vise_store_read_f32(store, 0, -1, 2, values, pool, &help_error));
    vise_qweight q = {.rows = 1};
    FAILS(VISE_EINTERNAL, "not quantized", vise_store_read_codes(store, 0, 0, &q, pool, &help_error));
    uint8_t raw[10], want[37 * 29 * 2];
    help_pattern("layer.weight", want, sizeof want);
    OK(vise_store_read_raw(store, 0, 100, 10, raw, pool, &help_error));
    assert_memory_equal(raw, want + 100, 10);
    vise_store_close(store);
    vise_pool_free(pool);
    help_remove(folder);
}

/* A matrix that is stored transposed, as a whole and by tiles, plain and packed. */
static void test_transposed(void **state)
{
    (void)state;
    enum { ROWS = 700, COLS = 611, TILE = 96 }; /* stored [COLS, ROWS] */
    const char *folder = help_folder();
    const help_tensor tensor = {"w", VISE_DTYPE_BF16, 2, {COLS, ROWS}, NULL};
    size_t n = help_bytes(&tensor);
    char *bytes = malloc(n);
    float *stored = malloc(sizeof(float) * ROWS * COLS), *got = malloc(sizeof(float) * ROWS * COLS);
    vise_pool *pool;
    assert_true(bytes && stored && got);
    OK(vise_pool_new(0, &pool, &help_error));
    help_pattern("w", bytes, n);
    vise_to_f32(VISE_DTYPE_BF16, bytes, stored, ROWS * COLS);
    for (int pack = 0; pack < 2; pack++) {
        vise_sink_options options = {.path = help_path(folder, "m"), .pack = pack, .identity = "", .replace = true};
        vise_sink *sink;
        vise_store *store;
        size_t id;
        OK(vise_sink_open(&options, &sink, &help_error));
        OK(vise_sink_declare(sink, "w", tensor.dtype, 2, tensor.shape, 0, &id, &help_error));
        OK(vise_sink_seal(sink, &help_error));
        OK(vise_sink_write(sink, id, 0, bytes, n, &help_error));
        OK(vise_sink_finish(sink, &help_error));
        OK(vise_sink_publish(sink, &help_error));
        vise_sink_close(sink, false);
        OK(vise_store_open(help_path(folder, "m"), &store, &help_error));
        OK(vise_store_transpose(store, 0, &help_error));
        FAILS(VISE_EFORMAT, "w", vise_store_transpose(store, 0, &help_error)); /* once is enough */
        assert_int_equal(vise_store_tensor(store, 0)->rows, ROWS);
        assert_int_equal(vise_store_tensor(store, 0)->cols, COLS);
        assert_int_equal(vise_store_tensor(store, 0)->shape[0], COLS);
        for (int64_t row = 0; row < ROWS; row += TILE) {
            int64_t rows = ROWS - row < TILE ? ROWS - row : TILE;
            OK(vise_store_read_f32(store, 0, row, rows, got + row * COLS, pool, &help_error));
        }
        for (int64_t r = 0; r < ROWS; r++)
            for (int64_t c = 0; c < COLS; c++)
                assert_memory_equal(&got[r * COLS + c], &stored[c * ROWS + r], sizeof(float));
        vise_store_close(store);
    }
    assert_int_equal(vise_pool_used(pool), 0);
    vise_pool_free(pool);
    free(bytes);
    free(stored);
    free(got);
    help_remove(folder);
}

/* Every dtype that decodes, larger than a reading step, whole and by rows, plain and packed. */
static void test_every_dtype(void **state)
{
    (void)state;
    enum { R = 611, C = 1021 };
    const char *folder = help_folder();
    vise_pool *pool;
    OK(vise_pool_new(0, &pool, &help_error));
    float *want = malloc(sizeof(float) * R * C), *got = malloc(sizeof(float) * R * C);
    assert_true(want && got);
    for (int dtype = 0; dtype < VISE_DTYPE_COUNT; dtype++) {
        const vise_dtype_traits *traits = vise_dtype_of((vise_dtype)dtype);
        if (!traits->to_f32)
            continue;
        help_tensor tensor = {"w", (vise_dtype)dtype, 2, {R, C}, NULL};
        size_t n = help_bytes(&tensor);
        char *bytes = malloc(n);
        assert_non_null(bytes);
        help_pattern("w", bytes, n);
        traits->to_f32(bytes, want, R * C);
        for (int pack = 0; pack < 2; pack++) {
            vise_sink_options options = {
                .path = help_path(folder, "m"), .pack = pack, .identity = "", .replace = true};
            vise_sink *sink;
            vise_store *store;
            size_t id;
            OK(vise_sink_open(&options, &sink, &help_error));
            OK(vise_sink_declare(sink, "w", tensor.dtype, 2, tensor.shape, 0, &id, &help_error));
            OK(vise_sink_seal(sink, &help_error));
            OK(vise_sink_write(sink, id, 0, bytes, n, &help_error));
            OK(vise_sink_finish(sink, &help_error));
            OK(vise_sink_publish(sink, &help_error));
            vise_sink_close(sink, false);
            OK(vise_store_open(help_path(folder, "m"), &store, &help_error));
            assert_int_equal(vise_source_is_packed(vise_store_source(store)), pack);
            OK(vise_store_read_f32(store, 0, 0, R, got, pool, &help_error));
            assert_memory_equal(got, want, sizeof(float) * R * C);
            OK(vise_store_read_f32(store, 0, 300, 11, got, pool, &help_error));
            assert_memory_equal(got, want + 300 * C, sizeof(float) * 11 * C);
            vise_store_close(store);
            assert_int_equal(vise_pool_used(pool), 0);
        }
        free(bytes);
    }
    free(want);
    free(got);
    vise_pool_free(pool);
    help_remove(folder);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    vise_status status = VISE_ERESOURCE;
    for (uint64_t n = 1; status != VISE_OK; n++) {
        vise_store *store;
        vise_error err = {0};
        assert_true(n < 100000);
        vise_alloc_fail_after(n);
        status = vise_store_open(FIXTURE, &store, &err);
        vise_alloc_fail_after(0);
        if (status != VISE_OK && (status != VISE_ERESOURCE || store))
            fail_msg("allocation %d: status %d: %s", (int)n, status, err.message);
        vise_store_close(store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_of_llm_compressor),
        cmocka_unit_test(test_plain_tensors),
        cmocka_unit_test(test_transposed),
        cmocka_unit_test(test_every_dtype),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
