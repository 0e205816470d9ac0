/* Grids and codecs: properties that make them right on the reference, then the same bits on every CPU level
 * and through the fused path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/codec.h"
#include "tensor/pack.h"
#include "tensor/scheme.h"
#include "tests/unit/tensor_data.h"

static const vise_dtype scale_dtypes[] = {VISE_DTYPE_BF16, VISE_DTYPE_F16, VISE_DTYPE_F32};
enum { SCALE_DTYPES = sizeof scale_dtypes / sizeof *scale_dtypes };

static vise_scheme scheme_of(int bits, vise_granularity granularity, int64_t group, bool asym)
{
    size_t count;
    const vise_weight_type *types = vise_weight_types(&count);
    assert_true(bits >= 2 && (size_t)bits - 2 < count && types[bits - 2].bits == bits);
    return (vise_scheme){.type = &types[bits - 2], .granularity = granularity, .group = group, .asym = asym};
}

/* ---- grids --------------------------------------------------------------------------------------------- */

static float smallest_of(vise_dtype dtype)
{
    return dtype == VISE_DTYPE_BF16 ? 0x1p-133f : dtype == VISE_DTYPE_F16 ? 0x1p-24f : FLT_TRUE_MIN;
}

/* The rules of tensor/scheme.h, spelled with the dtype table and rintf. */
static void expect_grid(const vise_scheme *scheme, vise_dtype dtype, float min, float max)
{
    float scale = -1.0f, want = 0.0f;
    uint8_t zero = 99, want_zero = 0;
    float steps = (float)((1 << scheme->type->bits) - 1);
    vise_grid_from_range(scheme, dtype, min, max, &scale, &zero);
    if (!scheme->asym)
        want_zero = (uint8_t)(1 << (scheme->type->bits - 1));
    if (min != 0.0f || max != 0.0f) {
        float raw = scheme->asym ? (max - min) / steps : fmaxf(-min, max) / (steps / 2.0f);
        want = vise_round_to(dtype, raw);
        if (want == 0.0f)
            want = smallest_of(dtype);
        if (!isfinite(want))
            want = (float)vise_dtype_of(dtype)->max;
        if (scheme->asym)
            want_zero = (uint8_t)fminf(fmaxf(rintf(-min / want), 0.0f), steps);
    }
    assert_int_equal(float_bits(scale), float_bits(want));
    assert_int_equal(zero, want_zero);
}

static void test_grid(void **state)
{
    (void)state;
    static const float ends[] = {0.0f,    FLT_TRUE_MIN, 3e-45f, 1e-40f,   0x1p-126f, 1e-8f, 4.4e-7f, 1e-3f,
                                 0.0234f, 1.0f,         7.5f,   65504.0f, 491280.0f, 5e5f,  1e30f,   FLT_MAX};
    enum { ENDS = sizeof ends / sizeof *ends };
    vise_rng rng;
    vise_rng_init(&rng, 4, "grid");
    for (int bits = 2; bits <= 8; bits++) {
        for (int asym = 0; asym <= 1; asym++) {
            vise_scheme scheme = scheme_of(bits, VISE_PER_GROUP, 32, asym != 0);
            for (int d = 0; d < SCALE_DTYPES; d++) {
                for (int i = 0; i < ENDS; i++)
                    for (int j = 0; j < ENDS; j++)
                        expect_grid(&scheme, scale_dtypes[d], -ends[i], ends[j]);
                for (int i = 0; i < 2000; i++) {
                    float min = float_from_bits((uint32_t)vise_rng_next(&rng)), max = min;
                    if (!isfinite(min))
                        continue;
                    max *= (float)vise_rng_uniform(&rng);
                    expect_grid(&scheme, scale_dtypes[d], -fabsf(min), fabsf(max));
                    expect_grid(&scheme, scale_dtypes[d], -fabsf(max), fabsf(min));
                }
            }
        }
    }
}

static void test_range(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 100; n++) {
        float *values = exact(n * sizeof *values);
        for (int kind = 0; kind < DATA_KINDS; kind++) {
            fill_data((data_kind)kind, values, n, n);
            float want_min = 0.0f, want_max = 0.0f;
            for (size_t i = 0; i < n; i++) {
                want_min = values[i] < want_min ? values[i] : want_min;
                want_max = values[i] > want_max ? values[i] : want_max;
            }
            FOR_EACH_LEVEL(level)
            {
                float min, max;
                use_level(level);
                vise_range(values, n, &min, &max);
                assert_int_equal(float_bits(min), float_bits(want_min));
                assert_int_equal(float_bits(max), float_bits(want_max));
            }
        }
        free(values);
    }
}

/* ---- the reference is right ---------------------------------------------------------------------------- */

/* No other code is nearer, zeros come back as zeros, and the error is at most half a step inside the range.
 */
static void check_nearest(const float *values, const vise_qweight *q, const float *decoded)
{
    int max_code = (1 << q->scheme.type->bits) - 1;
    int64_t width = q->cols / q->groups;
    for (int64_t r = 0; r < q->rows; r++) {
        for (int64_t c = 0; c < q->cols; c++) {
            int64_t i = r * q->cols + c,
                    s = q->scheme.granularity == VISE_PER_TENSOR ? 0 : r * q->groups + c / width;
            int zero = q->zeros ? q->zeros[s] : (max_code + 1) / 2;
            double scale = q->scales[s],
                   error = fabs((double)(q->codes[i] - zero) * scale - (double)values[i]);
            if (values[i] == 0.0f)
                assert_true(q->codes[i] == zero && decoded[i] == 0.0f);
            assert_true(q->codes[i] <= max_code);
            assert_true(decoded[i] == (float)(q->codes[i] - zero) * q->scales[s]);
            for (int u = 0; u <= max_code; u++) {
                double other = fabs((double)(u - zero) * scale - (double)values[i]);
                /* The float32 quotient may fall on the other side of a tie, by its own last place. */
                if (other < error - 1e-6 * fabs((double)values[i]) - 1e-6 * scale)
                    fail_msg("%a: code %d, but %d is nearer", (double)values[i], q->codes[i], u);
            }
        }
    }
}

static void test_reference(void **state)
{
    (void)state;
    enum { ROWS = 2, COLS = 128 };
    float values[ROWS * COLS], decoded[ROWS * COLS];
    for (int bits = 2; bits <= 8; bits++) {
        for (int asym = 0; asym <= 1; asym++) {
            for (int kind = 0; kind < DATA_KINDS; kind++) {
                for (int d = 0; d < SCALE_DTYPES; d++) {
                    for (int granularity = VISE_PER_TENSOR; granularity <= VISE_PER_GROUP; granularity++) {
                        bool grouped = granularity == VISE_PER_GROUP;
                        vise_scheme scheme =
                            scheme_of(bits, (vise_granularity)granularity, grouped ? 32 : 0, asym != 0);
                        void *block = exact(vise_qweight_bytes(&scheme, ROWS, COLS));
                        vise_qweight q;
                        float min, max;
                        fill_data((data_kind)kind, values, ROWS * COLS, (uint64_t)bits);
                        vise_qweight_carve(&q, &scheme, scale_dtypes[d], ROWS, COLS, block);
                        vise_range(values, ROWS * COLS, &min, &max);
                        vise_encode_ref(values, VISE_CLIP_NONE, min, max, &q);
                        vise_decode_ref(&q, decoded);
                        check_nearest(values, &q, decoded);
                        free(block);
                    }
                }
            }
        }
    }
}

/* By hand: amax 7.5 gives scale 1; ties go to even; +7.5 is beyond the last code. */
static void test_by_hand(void **state)
{
    (void)state;
    const float values[8] = {-7.5f, -0.5f, 0.5f, 1.5f, 2.5f, 7.5f, -6.5f, 0.0f};
    const uint8_t codes[8] = {0, 8, 8, 10, 10, 15, 2, 8};
    const float positive[8] = {0.0f, 1.0f, 2.0f, 15.0f, 7.5f, 8.5f, 14.9f, 0.4f};
    const uint8_t positive_codes[8] = {0, 1, 2, 15, 8, 8, 15, 0};
    FOR_EACH_LEVEL(level)
    {
        uint8_t block[512] __attribute__((aligned(64)));
        vise_qweight q;
        vise_scheme sym = scheme_of(4, VISE_PER_GROUP, 8, false),
                    asym = scheme_of(4, VISE_PER_CHANNEL, 0, true);
        use_level(level);
        vise_qweight_carve(&q, &sym, VISE_DTYPE_BF16, 1, 8, block);
        vise_encode(values, VISE_CLIP_NONE, 0, 0, &q);
        assert_true(q.scales[0] == 1.0f);
        assert_memory_equal(q.codes, codes, 8);
        vise_qweight_carve(&q, &asym, VISE_DTYPE_BF16, 1, 8, block);
        vise_encode(positive, VISE_CLIP_NONE, 0, 0, &q);
        assert_true(q.scales[0] == 1.0f);
        assert_int_equal(q.zeros[0], 0);
        assert_memory_equal(q.codes, positive_codes, 8);
    }
}

/* ---- every level gives the bits of the reference ------------------------------------------------------- */

typedef struct shape {
    int64_t rows, cols, group; /* group 0: per channel; -1: per tensor */
} shape;

static const shape shapes[] = {
    {2, 128, 32},  {2, 192, 64}, {2, 256, 128}, {1, 172, 0},  {3, 352, 0},    {1, 64, 0},
    {2, 160, 160}, {2, 96, 96},  {2, 100, 20},  {2, 45, 5},   {3, 100, -1},   {2, 128, -1},
    {1, 1, 0},     {1, 1, 1},    {1, 2300, 0},  {1, 2112, 0}, {2, 1300, 650}, {1, 1600, 1600},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static vise_scheme scheme_for(const shape *s, int bits, bool asym)
{
    return scheme_of(bits,
                     s->group > 0    ? VISE_PER_GROUP
                     : s->group == 0 ? VISE_PER_CHANNEL
                                     : VISE_PER_TENSOR,
                     s->group > 0 ? s->group : 0, asym);
}

static size_t scale_count(const vise_qweight *q)
{
    return q->scheme.granularity == VISE_PER_TENSOR ? 1 : (size_t)(q->rows * q->groups);
}

static void expect_same(const vise_qweight *got, const vise_qweight *want)
{
    assert_memory_equal(got->scales, want->scales, scale_count(want) * sizeof(float));
    if (want->zeros)
        assert_memory_equal(got->zeros, want->zeros, scale_count(want));
    assert_memory_equal(got->codes, want->codes, (size_t)(want->rows * want->cols));
}

static void compare_levels(const shape *s, int bits, bool asym, vise_dtype scale_dtype, data_kind kind,
                           vise_clip clip)
{
    vise_scheme scheme = scheme_for(s, bits, asym);
    size_t n = (size_t)(s->rows * s->cols), bytes = vise_qweight_bytes(&scheme, s->rows, s->cols);
    float *values = exact(n * sizeof *values), *want_values = exact(n * sizeof *values),
          *got_values = exact(n * sizeof *values);
    void *want_block = exact(bytes), *got_block = exact(bytes);
    float min, max;
    vise_qweight want, got;
    fill_data(kind, values, n, (uint64_t)(s->cols + bits));
    vise_range(values, n, &min, &max);
    vise_qweight_carve(&want, &scheme, scale_dtype, s->rows, s->cols, want_block);
    vise_encode_ref(values, clip, min, max, &want);
    vise_decode_ref(&want, want_values);
    FOR_EACH_LEVEL(level)
    {
        use_level(level);
        memset(got_block, 0x5a, bytes);
        vise_qweight_carve(&got, &scheme, scale_dtype, s->rows, s->cols, got_block);
        vise_encode(values, clip, min, max, &got);
        expect_same(&got, &want);
        memset(got.codes, 0x5a, n);
        vise_encode_on_grid(values, &got);
        expect_same(&got, &want);
        memset(got.codes, 0x5a, n);
        vise_encode_on_grid_ref(values, &got);
        expect_same(&got, &want);
        vise_decode(&got, got_values);
        assert_memory_equal(got_values, want_values, n * sizeof *values);
    }
    free(values);
    free(want_values);
    free(got_values);
    free(want_block);
    free(got_block);
}

static void test_levels_agree(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++)
        for (int bits = 2; bits <= 8; bits++)
            for (int asym = 0; asym <= 1; asym++)
                for (int kind = 0; kind < DATA_KINDS; kind++)
                    for (int d = 0; d < SCALE_DTYPES; d++)
                        compare_levels(&shapes[s], bits, asym != 0, scale_dtypes[d], (data_kind)kind,
                                       VISE_CLIP_NONE);
}

static void test_levels_agree_clipped(void **state)
{
    (void)state;
    static const shape few[] = {{2, 128, 32}, {1, 172, 0}, {2, 100, 20}, {1, 1, 1}};
    for (size_t s = 0; s < sizeof few / sizeof *few; s++)
        for (int bits = 2; bits <= 8; bits += 2)
            for (int asym = 0; asym <= 1; asym++)
                for (int kind = 0; kind < DATA_KINDS; kind++) {
                    compare_levels(&few[s], bits, asym != 0, VISE_DTYPE_BF16, (data_kind)kind, VISE_CLIP_MSE);
                    compare_levels(&few[s], bits, asym != 0, VISE_DTYPE_BF16, (data_kind)kind, VISE_CLIP_SIGNED);
                }
}

/* A grid that does not fit its values (as the solvers use it): codes are clamped, a scale of 0 gives the zero
 * point. */
static void test_foreign_grid(void **state)
{
    (void)state;
    enum { N = 97 };
    float values[N];
    uint8_t want_block[1024] __attribute__((aligned(64))), got_block[1024] __attribute__((aligned(64)));
    static const float scales[] = {0.0f, FLT_TRUE_MIN, 0x1p-133f, 1e-3f, 1.0f, FLT_MAX};
    for (int kind = 0; kind < DATA_KINDS; kind++) {
        fill_data((data_kind)kind, values, N, 21);
        for (size_t k = 0; k < sizeof scales / sizeof *scales; k++) {
            for (int zero = 0; zero <= 255; zero += 51) {
                vise_scheme scheme = scheme_of(8, VISE_PER_CHANNEL, 0, true);
                vise_qweight want, got;
                vise_qweight_carve(&want, &scheme, VISE_DTYPE_F32, 1, N, want_block);
                vise_qweight_carve(&got, &scheme, VISE_DTYPE_F32, 1, N, got_block);
                want.scales[0] = got.scales[0] = scales[k];
                want.zeros[0] = got.zeros[0] = (uint8_t)zero;
                vise_encode_on_grid_ref(values, &want);
                for (int i = 0; i < N; i++) {
                    double q = scales[k] > 0.0f ? (double)(values[i] / scales[k]) : 0.0;
                    double u = fmin(fmax(rint(q) + zero, 0.0), 255.0);
                    assert_int_equal(want.codes[i], (int)u);
                }
                FOR_EACH_LEVEL(level)
                {
                    use_level(level);
                    memset(got.codes, 0x5a, N);
                    vise_encode_on_grid(values, &got);
                    expect_same(&got, &want);
                }
            }
        }
    }
}

/* ---- the search for a range ---------------------------------------------------------------------------- */

static double loss_of(const vise_scheme *scheme, const float *values, const float *weights, int n,
                      float scale, int zero)
{
    double sum = 0.0;
    int max_code = (1 << scheme->type->bits) - 1;
    for (int i = 0; i < n; i++) {
        double u = fmin(fmax(rint((double)(values[i] / scale)) + zero, 0.0), max_code);
        sum += pow(fabs((u - zero) * (double)scale - (double)values[i]), 2.5) *
               (weights ? (double)weights[i] : 1.0);
    }
    return sum;
}

static void test_clip(void **state)
{
    (void)state;
    enum { N = 128 };
    float values[N], weights[N];
    for (int bits = 2; bits <= 4; bits++) {
        for (int asym = 0; asym <= 1; asym++) {
            for (int weighted = 0; weighted <= 1; weighted++) {
                vise_scheme scheme = scheme_of(bits, VISE_PER_GROUP, N, asym != 0);
                const float *importance = weighted ? weights : NULL;
                float scale, min, max;
                uint8_t zero;
                fill_data(DATA_POSITIVE, values, N, (uint64_t)bits);
                for (int i = 0; i < N; i += 2)
                    values[i] = -values[i];
                fill_data(DATA_POSITIVE, weights, N, 5);
                values[7] = 0.1f; /* an outlier worth clipping */
                vise_grid_fit(&scheme, VISE_DTYPE_F32, VISE_CLIP_MSE, values, importance, N, &scale, &zero);
                vise_range(values, N, &min, &max);
                /* No shrunken range does better; the search did find something better than the range as it
                 * is. */
                double found = loss_of(&scheme, values, importance, N, scale, zero), whole = 0.0;
                for (int step = 0; step < 80; step++) {
                    float share = (float)(100 - step) / 100.0f, tried_scale;
                    uint8_t tried_zero;
                    vise_grid_from_range(&scheme, VISE_DTYPE_F32, min * share, max * share, &tried_scale,
                                         &tried_zero);
                    double loss = loss_of(&scheme, values, importance, N, tried_scale, tried_zero);
                    assert_true(found <= loss * (1.0 + 1e-4));
                    whole = step == 0 ? loss : whole;
                }
                assert_true(found < whole);
                FOR_EACH_LEVEL(level)
                {
                    float level_scale;
                    uint8_t level_zero;
                    use_level(level);
                    vise_grid_fit(&scheme, VISE_DTYPE_F32, VISE_CLIP_MSE, values, importance, N, &level_scale,
                                  &level_zero);
                    assert_int_equal(float_bits(level_scale), float_bits(scale));
                    assert_int_equal(level_zero, zero);
                }
            }
        }
    }
}

/* Weights whose greater side is positive: a negative scale gives it the code more. */
static void test_signed_clip(void **state)
{
    (void)state;
    enum { N = 64 };
    for (int bits = 2; bits <= 4; bits++) {
        vise_scheme scheme = scheme_of(bits, VISE_PER_GROUP, N, false);
        const float top = (float)(1 << (bits - 1));
        float values[N], back[N], scale, mse;
        uint8_t codes[N + 64];
        for (int i = 0; i < N; i++) /* just the grid of a negative scale */
            values[i] = 0.5f * (float)(i % (1 << bits) + 1 - (1 << (bits - 1)));
        vise_grid_fit(&scheme, VISE_DTYPE_F32, VISE_CLIP_MSE, values, NULL, N, &mse, NULL);
        assert_true(mse > 0.0f);
        FOR_EACH_LEVEL(level)
        {
            use_level(level);
            vise_grid_fit(&scheme, VISE_DTYPE_F32, VISE_CLIP_SIGNED, values, NULL, N, &scale, NULL);
            assert_true(scale < 0.0f && fabsf(scale + 0.5f) < 0.02f * top);
            scale = -0.5f;
            vise_qweight q = {.scheme = scheme, .scale_dtype = VISE_DTYPE_F32, .rows = 1, .cols = N, .groups = 1,
                              .codes = codes, .scales = &scale};
            vise_encode_on_grid(values, &q);
            vise_decode(&q, back);
            for (int i = 0; i < N; i++)
                assert_true(values[i] == back[i]); /* zeros of either sign */
        }
        for (int i = 0; i < N; i++) /* the greater side is negative: the scale stays positive */
            values[i] = -values[i];
        vise_grid_fit(&scheme, VISE_DTYPE_F32, VISE_CLIP_SIGNED, values, NULL, N, &scale, NULL);
        assert_true(scale > 0.0f);
    }
}

/* ---- from stored floats to packed words ---------------------------------------------------------------- */

static void compare_packed(const shape *s, int bits, bool asym, vise_dtype scale_dtype,
                           vise_dtype source_dtype, data_kind kind)
{
    vise_scheme scheme = scheme_for(s, bits, asym);
    size_t n = (size_t)(s->rows * s->cols), row_words = vise_pack_words((size_t)s->cols, bits);
    size_t source_bytes = n * (size_t)vise_dtype_of(source_dtype)->bits / 8;
    size_t word_bytes = (size_t)s->rows * row_words * sizeof(uint32_t);
    float *values = exact(n * sizeof *values), min, max;
    uint8_t *source = exact(source_bytes);
    uint32_t *want_words = exact(word_bytes), *got_words = exact(word_bytes);
    void *block = exact(vise_qweight_bytes(&scheme, s->rows, s->cols));
    vise_qweight want;

    fill_data(kind, values, n, (uint64_t)(s->cols + bits));
    for (size_t i = 0; i < n; i++) /* stored values must be finite */
        values[i] = isfinite(vise_round_to(source_dtype, values[i])) ? values[i] : 1.0f;
    vise_dtype_of(source_dtype)->from_f32(values, source, n);
    vise_dtype_of(source_dtype)->to_f32(source, values, n);
    vise_range(values, n, &min, &max);
    vise_qweight_carve(&want, &scheme, scale_dtype, s->rows, s->cols, block);
    vise_encode_ref(values, VISE_CLIP_NONE, min, max, &want);
    for (int64_t r = 0; r < s->rows; r++)
        vise_pack_ref(want.codes + r * s->cols, (size_t)s->cols, bits, want_words + (size_t)r * row_words);

    size_t scales = scale_count(&want);
    float *got_scales = exact(scales * sizeof(float));
    uint8_t *got_zeros = exact(scales);
    FOR_EACH_LEVEL(level)
    {
        use_level(level);
        memset(got_words, 0x5a, word_bytes);
        vise_packed got = {.scheme = scheme,
                           .scale_dtype = scale_dtype,
                           .rows = s->rows,
                           .cols = s->cols,
                           .groups = want.groups,
                           .words = got_words,
                           .scales = got_scales,
                           .zeros = asym ? got_zeros : NULL};
        vise_encode_packed(source_dtype, source, min, max, &got);
        assert_memory_equal(got_scales, want.scales, scales * sizeof(float));
        if (asym)
            assert_memory_equal(got_zeros, want.zeros, scales);
        assert_memory_equal(got_words, want_words, word_bytes);
    }
    free(values);
    free(source);
    free(want_words);
    free(got_words);
    free(block);
    free(got_scales);
    free(got_zeros);
}

static void test_packed(void **state)
{
    (void)state;
    static const vise_dtype sources[] = {VISE_DTYPE_BF16, VISE_DTYPE_F16, VISE_DTYPE_F32, VISE_DTYPE_F8_E4M3};
    for (int s = 0; s < SHAPES; s++)
        for (int bits = 2; bits <= 8; bits++)
            for (int asym = 0; asym <= 1; asym++)
                for (int kind = 0; kind < DATA_KINDS; kind++)
                    for (size_t f = 0; f < sizeof sources / sizeof *sources; f++)
                        compare_packed(&shapes[s], bits, asym != 0,
                                       scale_dtypes[(bits + kind) % SCALE_DTYPES], sources[f],
                                       (data_kind)kind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid),         cmocka_unit_test(test_range),
        cmocka_unit_test(test_reference),    cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_levels_agree), cmocka_unit_test(test_levels_agree_clipped),
        cmocka_unit_test(test_foreign_grid), cmocka_unit_test(test_clip),
        cmocka_unit_test(test_signed_clip),
        cmocka_unit_test(test_packed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
