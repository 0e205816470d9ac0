/* Block types of GGUF: golden blocks of llama-quantize, values that the gguf package decodes, every type
 * over every kind of data on every CPU level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/mem.h"
#include "tensor/gguf.h"
#include "tests/unit/tensor_data.h"

#define VECTORS "tests/data/gguf-blocks.txt"
enum { COLS = 512 };

static char *vectors; /* the file; lines "KEY HEX" or "TYPE WHICH HEX" */

static int load_vectors(void **state)
{
    (void)state;
    vise_error err = {0};
    size_t length;
    return vise_file_read_all(VECTORS, 1 << 20, &vectors, &length, &err) == VISE_OK ? 0 : -1;
}

static int free_vectors(void **state)
{
    (void)state;
    vise_free(vectors);
    return 0;
}

/* Bytes of the line that begins with key; 0: there is none. */
static size_t vector_of(const char *key, uint8_t *bytes, size_t max)
{
    size_t n = 0;
    char start[64];
    snprintf(start, sizeof start, "\n%s ", key);
    const char *line = strstr(vectors, start);
    if (line == NULL)
        return 0;
    for (line += strlen(start); line[0] != '\n' && n < max; line += 2, n++) {
        unsigned byte;
        assert_int_equal(sscanf(line, "%2x", &byte), 1);
        bytes[n] = (uint8_t)byte;
    }
    return n;
}

static void test_goldens(void **state)
{
    (void)state;
    uint16_t halves[COLS];
    float values[COLS], importance[COLS], decoded[COLS], expected[COLS];
    _Alignas(64) uint8_t golden[COLS * 2], blocks[COLS * 2];
    size_t count = VISE_GGUF_TYPES, compared = 0;
    assert_int_equal(vector_of("values", (uint8_t *)halves, sizeof halves), sizeof halves);
    assert_int_equal(vector_of("importance", (uint8_t *)importance, sizeof importance), sizeof importance);
    vise_to_f32(VISE_DTYPE_F16, halves, values, COLS);
    const vise_gguf_type *types = vise_gguf_table;
    for (size_t i = 0; i < count; i++) {
        const vise_gguf_type *type = &types[i];
        if (type->encode_row == NULL)
            continue;
        size_t bytes = (size_t)vise_gguf_row_bytes(type, COLS), n;
        for (int weighted = 0; weighted < 2; weighted++) {
            char key[64];
            snprintf(key, sizeof key, "%s %s", type->name, weighted ? "weighted" : "plain");
            n = vector_of(key, golden, sizeof golden);
            assert_true(n == bytes || (weighted && n == 0));
            if (n == 0)
                continue;
            compared++;
            FOR_EACH_LEVEL(level)
            {
                use_level(level);
                memset(blocks, 0x5a, sizeof blocks);
                vise_gguf_encode(type, values, weighted ? importance : NULL, 1, COLS, blocks);
                if (memcmp(blocks, golden, bytes) != 0)
                    fail_msg("%s differs at CPU level %d", key, level);
                assert_int_equal(blocks[bytes], 0x5a);
            }
        }
        char key[64];
        snprintf(key, sizeof key, "%s decoded", type->name);
        n = vector_of(key, (uint8_t *)expected, sizeof expected) / sizeof *expected;
        snprintf(key, sizeof key, "%s plain", type->name);
        assert_int_equal(vector_of(key, golden, sizeof golden), bytes);
        vise_gguf_decode(type, golden, 1, COLS, decoded);
        for (size_t v = 0; v < n; v++)
            if (decoded[v] != expected[v])
                fail_msg("%s: value %zu decodes to %a, not %a", type->name, v, (double)decoded[v],
                         (double)expected[v]);
    }
    assert_int_equal(compared, 16 + 11); /* types; those that use importance */
}

/* q1_0 has no golden decoding: +-d by the sign. */
static void test_signs(void **state)
{
    (void)state;
    float values[128], decoded[128];
    uint8_t block[18];
    for (int i = 0; i < 128; i++)
        values[i] = i % 3 == 0 ? -0.5f : 0.5f;
    vise_gguf_encode(vise_gguf_type_named("q1_0"), values, NULL, 1, 128, block);
    vise_gguf_decode(vise_gguf_type_named("q1_0"), block, 1, 128, decoded);
    assert_memory_equal(decoded, values, sizeof values);
}

/* Every level gives the reference's bytes; what is encoded again from its own decoding does not grow. */
static void test_all_data(void **state)
{
    (void)state;
    enum { ROWS = 3, COLS = 768 }; /* whole batches of the widest vectors, and what is left */
    static float values[ROWS * COLS], original[ROWS * COLS], decoded[ROWS * COLS], importance[COLS];
    _Alignas(64) static uint8_t expected[ROWS * COLS * 2], blocks[ROWS * COLS * 2];
    size_t count = VISE_GGUF_TYPES;
    const vise_gguf_type *types = vise_gguf_table;
    for (int kind = 0; kind < DATA_KINDS; kind++) {
        fill_data((data_kind)kind, values, ROWS * COLS, 5);
        fill_data(DATA_POSITIVE, importance, COLS, 6);
        for (size_t i = 0; i < 2 * count; i++) {
            const vise_gguf_type *type = &types[i / 2];
            const float *weights = i % 2 ? importance : NULL;
            if (type->encode_row == NULL)
                continue;
            size_t bytes = ROWS * (size_t)vise_gguf_row_bytes(type, COLS);
            use_level(VISE_CPU_REF);
            vise_gguf_encode(type, values, weights, ROWS, COLS, expected);
            FOR_EACH_LEVEL(level)
            {
                use_level(level);
                memset(blocks, 0x5a, sizeof blocks);
                vise_gguf_encode(type, values, weights, ROWS, COLS, blocks);
                if (memcmp(blocks, expected, bytes) != 0)
                    fail_msg("%s, data %d, importance %d: level %d differs", type->name, kind, (int)i % 2,
                             level);
            }
            size_t n = bytes / (size_t)type->bytes, bad = vise_gguf_first_bad(type, blocks, n);
            if (kind != DATA_HUGE && kind != DATA_WIDE)
                assert_int_equal(bad, n);
            use_level(VISE_CPU_REF);
            vise_gguf_decode(type, blocks, ROWS, COLS, original);
            FOR_EACH_LEVEL(level)
            {
                use_level(level);
                memset(decoded, 0x5a, sizeof decoded);
                vise_gguf_decode(type, blocks, ROWS, COLS, decoded);
                if (memcmp(decoded, original, sizeof decoded) != 0)
                    fail_msg("%s, data %d: values of level %d differ", type->name, kind, level);
            }
            if (kind == DATA_ZERO)
                for (size_t v = 0; v < ROWS * COLS; v++)
                    assert_true(decoded[v] == 0.0f);
        }
    }
}

/* Mean square error over mean square of normal weights: more bits, less error, about as theory has it. */
static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double most;
    } bounds[] = {{"q8_0", 3e-5}, {"q6_k", 6e-4}, {"q5_k", 2e-3},   {"q5_0", 3e-3},   {"q5_1", 3e-3},
                  {"q4_k", 7e-3}, {"q4_0", 1e-2}, {"q4_1", 1e-2},   {"iq4_nl", 8e-3}, {"iq4_xs", 8e-3},
                  {"q3_k", 3e-2}, {"q2_k", 1e-1}, {"mxfp4", 1.6e-2}};
    enum { N = 4096 };
    static float values[N], decoded[N];
    _Alignas(64) static uint8_t blocks[2 * N];
    vise_rng rng;
    vise_rng_init(&rng, 1, "normal");
    for (int i = 0; i < N; i++)
        values[i] = (float)vise_rng_normal(&rng);
    use_level((int)vise_cpu_highest());
    for (size_t k = 0; k < sizeof bounds / sizeof *bounds; k++) {
        const vise_gguf_type *type = vise_gguf_type_named(bounds[k].name);
        double error = 0.0, signal = 0.0;
        vise_gguf_encode(type, values, NULL, 1, N, blocks);
        vise_gguf_decode(type, blocks, 1, N, decoded);
        for (int i = 0; i < N; i++) {
            error += ((double)values[i] - (double)decoded[i]) * ((double)values[i] - (double)decoded[i]);
            signal += (double)values[i] * (double)values[i];
        }
        if (!(error / signal < bounds[k].most))
            fail_msg("%s: relative error %g, at most %g", type->name, error / signal, bounds[k].most);
    }
}

static void test_table(void **state)
{
    (void)state;
    size_t count = VISE_GGUF_TYPES;
    const vise_gguf_type *types = vise_gguf_table;
    for (size_t i = 0; i < count; i++) {
        const vise_gguf_type *type = &types[i];
        assert_ptr_equal(vise_gguf_type_of(type->id), type);
        assert_ptr_equal(vise_gguf_type_named(type->name), type);
        assert_true((type->encode_row == NULL) == (type->decode_row == NULL));
        assert_int_equal(vise_gguf_row_bytes(type, 2 * type->values), 2 * type->bytes);
        if (type->values > 1)
            assert_int_equal(vise_gguf_row_bytes(type, type->values + 1), 0);
        else
            assert_int_equal(type->bytes * 8, vise_dtype_of(type->dtype)->bits);
    }
    assert_null(vise_gguf_type_of(4)); /* removed from the format */
    assert_null(vise_gguf_type_of(0xffffffffu));
    assert_int_equal(vise_gguf_type_plain(VISE_DTYPE_BF16)->id, 30);
    assert_null(vise_gguf_type_plain(VISE_DTYPE_F8_E4M3));
}

static void test_bad_scales(void **state)
{
    (void)state;
    float values[64];
    uint8_t blocks[68];
    const vise_gguf_type *type = vise_gguf_type_named("q8_0");
    for (int i = 0; i < 64; i++)
        values[i] = i < 32 ? 1.0f : 1e9f; /* 1e9 / 127 is beyond float16 */
    vise_gguf_encode(type, values, NULL, 1, 64, blocks);
    assert_int_equal(vise_gguf_first_bad(type, blocks, 2), 1);
    assert_int_equal(vise_gguf_first_bad(type, blocks, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens), cmocka_unit_test(test_signs), cmocka_unit_test(test_all_data),
        cmocka_unit_test(test_errors),  cmocka_unit_test(test_table), cmocka_unit_test(test_bad_scales),
    };
    return cmocka_run_group_tests(tests, load_vectors, free_vectors);
}
