/* tensor/codebook.c: the golden vectors of bitsandbytes' types, flat blocks across rows and in parts, double
 * quantization. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "tensor/scheme.h"
#include "tests/unit/tensor_data.h"

static vise_scheme parsed(const char *text)
{
    vise_scheme scheme;
    vise_error err = {0};
    if (vise_scheme_parse(text, &scheme, &err) != VISE_OK)
        fail_msg("%s: %s", text, err.message);
    return scheme;
}

static void *carved(vise_qweight *q, const char *text, int64_t rows, int64_t cols)
{
    vise_scheme scheme = parsed(text);
    void *block = malloc(vise_qweight_bytes(&scheme, rows, cols));
    assert_non_null(block);
    vise_qweight_carve(q, &scheme, VISE_DTYPE_F32, rows, cols, block);
    return block;
}

static void test_golden_codes(void **state)
{
    (void)state;
    static const struct {
        const char *scheme, *codes;
    } rows[] = {
        {"nf4", "00000111111112222233344445556667788899AAABBBCCCCDDDDEEEEEEEFFFFF"},
        {"fp4", "BBBBBBAAAAAAAADDDDDCCCCFFEEEE99911166667744445555522222222333333"},
    };
    float values[64], decoded[64];
    for (int i = 0; i < 64; i++)
        values[i] = ((float)i - 31.5f) / 32.0f;
    for (size_t r = 0; r < 2; r++) {
        vise_qweight q;
        void *block = carved(&q, rows[r].scheme, 4, 16);
        vise_encode(values, VISE_CLIP_NONE, 0, 0, &q);
        assert_true(q.scales[0] == 0.984375f);
        for (int i = 0; i < 64; i++)
            assert_int_equal("0123456789ABCDEF"[q.codes[i]], rows[r].codes[i]);
        vise_decode(&q, decoded);
        for (int i = 0; i < 64; i++) /* no value is nearer than the one chosen, but for fp4's odd smallest */
            assert_true(fabsf(decoded[i] - values[i]) <= 0.17f * 0.984375f);
        free(block);
    }
}

static void test_golden_int8(void **state)
{
    (void)state;
    static const float values[8] = {1, -0.5f, 0.25f, -2, 0.0078125f, 1.5f, -1.984375f, 0};
    static const int wanted[8] = {64, -32, 16, -127, 0, 95, -126, 0};
    float decoded[8];
    vise_qweight q;
    void *block = carved(&q, "llm-int8", 1, 8);
    vise_encode(values, VISE_CLIP_NONE, 0, 0, &q);
    vise_decode(&q, decoded);
    assert_true(q.scales[0] == 2.0f);
    for (int i = 0; i < 8; i++) {
        assert_int_equal((int)q.codes[i] - 128, wanted[i]);
        assert_true(decoded[i] == (float)wanted[i] * 2.0f / 127.0f);
    }
    free(block);
}

static uint32_t crc_of(const void *bytes, size_t n)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        crc ^= ((const uint8_t *)bytes)[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* bitsandbytes' create_dynamic_map with torch's linspace; the table that is kept is the signed one. The other has a
 * published checksum, which holds the derivation. */
static void test_dynamic_maps(void **state)
{
    (void)state;
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        float map[256] = {0, 1};
        size_t n = 2;
        for (int i = 0; i < 7; i++) {
            const int points = (1 << (i + !is_signed)) + 1;
            const float step = (1.0f - 0.1f) / (float)(points - 1), scale = (float)pow(10.0, i - 6);
            float before = 0.1f;
            for (int j = 1; j < points; j++) {
                const float at = j < points / 2 ? fmaf(step, (float)j, 0.1f)
                                                : fmaf(-step, (float)(points - 1 - j), 1.0f);
                map[n++] = scale * ((before + at) / 2.0f);
                if (is_signed) {
                    map[n] = -map[n - 1];
                    n++;
                }
                before = at;
            }
        }
        assert_int_equal(n, 256);
        qsort(map, n, sizeof *map, by_value);
        assert_int_equal(crc_of(map, sizeof map), is_signed ? 0x1b137aeb : 0xe871278f);
        if (is_signed)
            assert_memory_equal(map, vise_nested_map, sizeof map);
    }
}

/* The table against its published checksum (CRC-32 of its bytes), and the golden scales. */
static void test_golden_nested(void **state)
{
    (void)state;
    static const float absmax[8] = {0.5f, 0.25f, 0.125f, 0.0625f, 0.75f, 0.375f, 0.9375f, 1};
    static const uint8_t codes[8] = {127, 35, 17, 8, 219, 53, 246, 255};
    static const uint32_t restored[8] = {0x3F000000, 0x3E7F999A, 0x3DFC0000, 0x3D74CCD0,
                                         0x3F40199A, 0x3EC0999A, 0x3F70B333, 0x3F800000};
    assert_int_equal(crc_of(vise_nested_map, sizeof vise_nested_map), 0x1b137aeb);
    float values[8 * 64] = {0};
    for (int b = 0; b < 8; b++)
        values[b * 64 + b] = b % 2 ? -absmax[b] : absmax[b];
    vise_qweight q;
    void *block = carved(&q, "nf4-dq", 8, 64);
    q.offset = (float)(vise_flat_scale_sum(&vise_codebook_nf4, values, 8 * 64, 64) / 8);
    assert_true(q.offset == 0.5f);
    vise_encode(values, VISE_CLIP_NONE, 0, 0, &q);
    assert_true(q.nested[0] == 0.5f);
    assert_memory_equal(q.scale_codes, codes, sizeof codes);
    assert_memory_equal(q.scales, restored, sizeof restored);
    for (int b = 0; b < 8; b++)
        assert_int_equal(q.codes[b * 64 + b], b % 2 ? 0 : 15); /* by the scale before it was rounded */
    free(block);
}

/* Scales that are all equal, and zeros: no quotient of zeros. */
static void test_nothing(void **state)
{
    (void)state;
    static const char *const schemes[] = {"nf4", "fp4", "nf4-dq", "llm-int8", "fp4-b32-dq"};
    for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++)
        for (int one = 0; one < 2; one++) {
            float values[4 * 64] = {0}, decoded[4 * 64];
            vise_qweight q;
            void *block = carved(&q, schemes[s], 4, 64);
            for (int i = 0; i < 4 * 64 && one; i++)
                values[i] = i % 2 ? 1.0f : -1.0f;
            q.offset = (float)one;
            vise_encode(values, VISE_CLIP_NONE, 0, 0, &q);
            vise_decode(&q, decoded);
            for (int i = 0; i < 4 * 64; i++)
                assert_true(fabsf(decoded[i] - values[i]) < 1e-6f);
            if (q.scheme.dq)
                assert_true(q.nested[0] == 0.0f && q.scale_codes[0] == 127);
            if (!one && q.scheme.type->codebook == &vise_codebook_nf4)
                assert_int_equal(q.codes[0], 7);
            free(block);
        }
}

/* A weight encoded as a whole equals one encoded in tiles of vise_scheme_tile_rows, and decodes the same from any row
 * on. */
static void test_tiles(void **state)
{
    (void)state;
    static const struct {
        const char *scheme;
        int64_t rows, cols;
    } rows[] = {
        {"nf4", 96, 64},     {"nf4", 70, 48},      {"nf4-b128", 64, 33},  {"fp4-b32", 40, 100},
        {"nf4-dq", 256, 96}, {"fp4-dq", 512, 160}, {"llm-int8", 64, 100},
    };
    for (size_t s = 0; s < sizeof rows / sizeof *rows; s++) {
        const int64_t n = rows[s].rows, cols = rows[s].cols;
        const size_t count = (size_t)(n * cols);
        float *values = malloc(count * 4), *decoded = malloc(count * 4), *again = malloc(count * 4);
        vise_qweight whole, tiles;
        void *a = carved(&whole, rows[s].scheme, n, cols), *b = carved(&tiles, rows[s].scheme, n, cols);
        assert_true(values && decoded && again);
        vise_rng rng;
        vise_rng_init(&rng, 5, rows[s].scheme);
        for (size_t i = 0; i < count; i++)
            values[i] = (float)vise_rng_normal(&rng);
        whole.offset = tiles.offset = 2.5f;
        vise_encode(values, VISE_CLIP_NONE, 0, 0, &whole);
        vise_decode(&whole, decoded);
        int64_t step = vise_scheme_tile_rows(&whole.scheme, cols);
        for (int64_t r = 0; r < n; r += step) {
            vise_qweight tile = vise_qweight_rows(&tiles, r, n - r < step ? n - r : step);
            assert_int_equal(tile.flat, whole.scheme.granularity == VISE_PER_FLAT ? r * cols : 0);
            vise_encode(values + r * cols, VISE_CLIP_NONE, 0, 0, &tile);
        }
        assert_memory_equal(whole.codes, tiles.codes, count);
        vise_decode(&tiles, again);
        assert_memory_equal(decoded, again, count * 4);
        for (int64_t r = 0; r < n; r++) {
            vise_qweight tile = vise_qweight_rows(&whole, r, n - r < 3 ? n - r : 3);
            vise_decode(&tile, again);
            assert_memory_equal(again, decoded + r * cols, (size_t)(tile.rows * cols) * 4);
        }
        double error = 0, signal = 0;
        for (size_t i = 0; i < count; i++) {
            error += pow(decoded[i] - values[i], 2);
            signal += pow(values[i], 2);
        }
        assert_true(error < 0.03 * signal);
        free(values);
        free(decoded);
        free(again);
        free(a);
        free(b);
    }
}

/* ---- small floats -------------------------------------------------------------------------------------- */

static void test_golden_floats(void **state)
{
    (void)state;
    static const float x[16] = {0,    0.25f, 0.26f, 0.75f, 1.25f, 1.3f,  1.75f, 2.5f,
                                2.6f, 3.5f,  5,     5.1f,  -0.1f, -0.6f, -6,    -1.75f};
    static const uint8_t e2m1[16] = {0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 9, 15, 12};
    static const struct {
        float value;
        uint8_t code;
    } e4m3[] = {{1, 0x38},         {448, 0x7e},        {500, 0x7e},     {17, 0x58}, {19, 0x5a},
                {0x1p-9f, 0x01}, {0x1p-10f, 0x00}, {-0.3f, 0xaa}, {240, 0x77}};
    static const struct {
        float largest;
        uint8_t fp4, fp8;
    } scales[] = {{1, 125, 119}, {1.74f, 125, 119}, {1.75f, 126, 120}, {2, 126, 120}, {6, 127, 121}, {448, 134, 128}};
    uint8_t codes[16];
    vise_codebook_mxfp4.encode(x, 16, 1.0f, codes);
    assert_memory_equal(codes, e2m1, 16);
    for (size_t i = 0; i < sizeof e4m3 / sizeof *e4m3; i++) {
        vise_codebook_fp8_e4m3.encode(&e4m3[i].value, 1, 1.0f, codes);
        assert_int_equal(codes[0], e4m3[i].code);
    }
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        const float four = vise_codebook_scale(&vise_codebook_mxfp4, VISE_DTYPE_F32, scales[i].largest, 0),
                    eight = vise_codebook_scale(&vise_codebook_mxfp8, VISE_DTYPE_F32, scales[i].largest, 0);
        assert_int_equal(vise_e8m0_code(four), scales[i].fp4);
        assert_int_equal(vise_e8m0_code(eight), scales[i].fp8);
        assert_true(vise_e8m0_value(scales[i].fp4) == four && four == exp2f((float)scales[i].fp4 - 127));
    }
    for (int code = 0; code < 255; code++)
        assert_int_equal(vise_e8m0_code(vise_e8m0_value((uint8_t)code)), code);
    assert_true(isnan(vise_e8m0_value(255)));
}

/* The global scale maps the largest of all to the largest stored scale; a stored scale comes back from its value. */
static void test_nvfp4_scales(void **state)
{
    (void)state;
    assert_true(vise_nvfp4_global(6.0f) == 448.0f);
    assert_true(vise_nvfp4_global(0.0f) == 1.0f);
    assert_true(vise_codebook_scale(&vise_codebook_nvfp4, VISE_DTYPE_BF16, 6.0f, 448.0f) == 1.0f);
    assert_true(vise_codebook_scale(&vise_codebook_nvfp4, VISE_DTYPE_BF16, 0.0f, 448.0f) == 0.125f / 448.0f);
    vise_rng rng;
    vise_rng_init(&rng, 5, "nvfp4");
    for (int i = 0; i < 2000; i++) {
        const float global = ldexpf(1.0f + (float)vise_rng_uniform(&rng), (int)vise_rng_below(&rng, 40) - 10);
        const uint8_t code = (uint8_t)(1 + vise_rng_below(&rng, 126));
        float stored;
        vise_to_f32(VISE_DTYPE_F8_E4M3, &code, &stored, 1);
        assert_int_equal(vise_nvfp4_scale_code(stored / global, global), code);
    }
    float values[32], decoded[32];
    vise_qweight q;
    void *block = carved(&q, "nvfp4", 1, 32);
    for (int i = 0; i < 32; i++)
        values[i] = (float)(i - 16) / (i < 16 ? 1.0f : 100.0f);
    vise_encode(values, VISE_CLIP_NONE, -16.0f, 0.15f, &q);
    vise_decode(&q, decoded);
    assert_true(q.global == vise_nvfp4_global(16.0f));
    for (int i = 0; i < 32; i++)
        assert_true(fabsf(decoded[i] - values[i]) <= (i < 16 ? 16.0f : 0.15f) / 6.0f);
    free(block);
}

/* Rows of a block have its scale, at the edges too. */
static void test_blocks(void **state)
{
    (void)state;
    enum { N = 37, K = 50 };
    static float values[N * K], decoded[N * K];
    vise_qweight q;
    vise_rng rng;
    vise_rng_init(&rng, 6, "blocks");
    for (int i = 0; i < N * K; i++)
        values[i] = (float)vise_rng_normal(&rng) * (float)(1 + i / K / 16);
    void *block = carved(&q, "fp8-e4m3-16x24", N, K);
    vise_encode(values, VISE_CLIP_NONE, 0, 0, &q);
    vise_decode(&q, decoded);
    assert_int_equal(q.groups, 3);
    for (int r = 0; r < N; r++)
        for (int c = 0; c < K; c++) {
            float largest = 0.0f;
            for (int i = r / 16 * 16; i < N && i < r / 16 * 16 + 16; i++)
                for (int j = c / 24 * 24; j < K && j < c / 24 * 24 + 24; j++)
                    largest = fmaxf(largest, fabsf(values[i * K + j]));
            assert_true(q.scales[r * 3 + c / 24] == largest / 448.0f);
            const float value = values[r * K + c], error = fabsf(decoded[r * K + c] - value);
            assert_true(error <= fabsf(value) / 16.0f + largest / 448.0f);
        }
    free(block);
}

/* Every CPU level gives the reference's codes, scales and values, whatever is left behind whole vectors. */
static void test_levels(void **state)
{
    (void)state;
    static const char *const schemes[] = {"nf4", "nf4-b32", "nf4-dq", "fp4", "llm-int8", "fp8-e4m3", "nvfp4"};
    enum { ROWS = 5, COLS = 208, N = ROWS * COLS };
    static float values[N], expected[N], decoded[N];
    for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++)
        for (int kind = 0; kind < DATA_KINDS; kind++) {
            vise_qweight reference, q;
            void *a = carved(&reference, schemes[s], ROWS, COLS), *b = carved(&q, schemes[s], ROWS, COLS);
            fill_data((data_kind)kind, values, N, 3);
            values[N / 2] = -0x1.b239b2p-1f * values[N / 2 - 1]; /* perhaps a threshold */
            use_level(VISE_CPU_REF);
            vise_encode(values, VISE_CLIP_NONE, -1.0f, 1.0f, &reference);
            vise_decode(&reference, expected);
            FOR_EACH_LEVEL(level)
            {
                use_level(level);
                vise_encode(values, VISE_CLIP_NONE, -1.0f, 1.0f, &q);
                vise_decode(&q, decoded);
                assert_memory_equal(q.codes, reference.codes, N);
                assert_memory_equal(decoded, expected, sizeof decoded);
            }
            free(a);
            free(b);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_floats), cmocka_unit_test(test_nvfp4_scales), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_golden_codes),  cmocka_unit_test(test_golden_int8),
        cmocka_unit_test(test_dynamic_maps), cmocka_unit_test(test_golden_nested), cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_levels), cmocka_unit_test(test_tiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
