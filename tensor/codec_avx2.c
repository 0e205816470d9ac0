/* The codecs with AVX2. Bits as the groups of codec.c: the same quotient (vdivps), the same order of clamping
 * and rounding, the same 16 partial sums, no fused products. Rounding is that of MXCSR, to nearest even, as
 * lrintf's. */
#include <immintrin.h>
#include <string.h>

#include "tensor/grid.h"
#include "tensor/kernels.h"
#include "tensor/pack.h"

typedef struct range256 {
    __m256 low, high;
} range256;

/* max(value, bound) keeps the bound where value is NaN, as the reference's comparison does. */
VISE_INLINE VISE_TARGET_AVX2 void range_add(range256 *range, __m256 values)
{
    range->low = _mm256_min_ps(values, range->low);
    range->high = _mm256_max_ps(values, range->high);
}

VISE_INLINE VISE_TARGET_AVX2 float reduce_max(__m256 v)
{
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

VISE_INLINE VISE_TARGET_AVX2 float reduce_min(__m256 v)
{
    __m128 b = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    b = _mm_min_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_min_ss(b, _mm_movehdup_ps(b)));
}

VISE_TARGET_AVX2 void vise_range_avx2(const float *values, size_t n, float *min, float *max)
{
    range256 a = {_mm256_setzero_ps(), _mm256_setzero_ps()}, b = a;
    float low, high;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        range_add(&a, _mm256_loadu_ps(values + i));
        range_add(&b, _mm256_loadu_ps(values + i + 8));
    }
    vise_range_ref(values + i, n - i, &low, &high);
    range_add(&a, _mm256_set1_ps(low));
    range_add(&b, _mm256_set1_ps(high));
    *min = reduce_min(_mm256_min_ps(a.low, b.low)) + 0.0f;
    *max = reduce_max(_mm256_max_ps(a.high, b.high)) + 0.0f;
}

/* Grid constants of a group in registers. */
typedef struct grid256 {
    __m256 scale, low, high;
    __m256i zero16; /* the zero point in 16-bit lanes */
} grid256;

VISE_INLINE VISE_TARGET_AVX2 grid256 grid_of(float scale, int zero, int max_code)
{
    return (grid256){_mm256_set1_ps(scale), _mm256_set1_ps((float)-zero),
                     _mm256_set1_ps((float)(max_code - zero)), _mm256_set1_epi16((short)zero)};
}

/* Signed codes u - z in 32-bit lanes. */
VISE_INLINE VISE_TARGET_AVX2 __m256i steps_of(const grid256 *grid, __m256 values)
{
    __m256 q = _mm256_min_ps(_mm256_max_ps(_mm256_div_ps(values, grid->scale), grid->low), grid->high);
    return _mm256_cvtps_epi32(q);
}

/* 32 codes in order, from four vectors: packs work inside 128-bit lanes, one permutation puts them right. */
VISE_INLINE VISE_TARGET_AVX2 __m256i codes_of(const grid256 *grid, __m256 a, __m256 b, __m256 c, __m256 d)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i ab = _mm256_packs_epi32(steps_of(grid, a), steps_of(grid, b));
    __m256i cd = _mm256_packs_epi32(steps_of(grid, c), steps_of(grid, d));
    ab = _mm256_add_epi16(ab, grid->zero16);
    cd = _mm256_add_epi16(cd, grid->zero16);
    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(ab, cd), order);
}

VISE_TARGET_AVX2 void vise_encode_group_avx2(const float *values, size_t n, float scale, int zero,
                                             int max_code, uint8_t *codes)
{
    if (!(scale > 0.0f)) {
        memset(codes, zero, n);
        return;
    }
    grid256 grid = grid_of(scale, zero, max_code);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        const float *v = values + i;
        __m256i u = codes_of(&grid, _mm256_loadu_ps(v), _mm256_loadu_ps(v + 8), _mm256_loadu_ps(v + 16),
                             _mm256_loadu_ps(v + 24));
        _mm256_storeu_si256((__m256i *)(codes + i), u);
    }
    vise_encode_group_ref(values + i, n - i, scale, zero, max_code, codes + i);
}

VISE_TARGET_AVX2 void vise_decode_group_avx2(const uint8_t *codes, size_t n, float scale, int zero,
                                             float *values)
{
    const __m256 scales = _mm256_set1_ps(scale);
    const __m256i zeros = _mm256_set1_epi32(zero);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i u = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(codes + i)));
        _mm256_storeu_ps(values + i, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(u, zeros)), scales));
    }
    vise_decode_group_ref(codes + i, n - i, scale, zero, values + i);
}

VISE_INLINE VISE_TARGET_AVX2 __m256 loss_of(const grid256 *grid, __m256 v)
{
    __m256 decoded = _mm256_mul_ps(_mm256_cvtepi32_ps(steps_of(grid, v)), grid->scale);
    __m256 error = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_sub_ps(decoded, v));
    return _mm256_mul_ps(_mm256_mul_ps(error, error), _mm256_sqrt_ps(error));
}

VISE_TARGET_AVX2 float vise_grid_error_avx2(const float *values, const float *weights, size_t n, float scale,
                                            int zero, int max_code)
{
    grid256 grid = grid_of(scale, zero, max_code);
    __m256 low = _mm256_setzero_ps(), high = low; /* partial sums 0-7 and 8-15 */
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256 a = loss_of(&grid, _mm256_loadu_ps(values + i)),
               b = loss_of(&grid, _mm256_loadu_ps(values + i + 8));
        if (weights) {
            a = _mm256_mul_ps(a, _mm256_loadu_ps(weights + i));
            b = _mm256_mul_ps(b, _mm256_loadu_ps(weights + i + 8));
        }
        low = _mm256_add_ps(low, a);
        high = _mm256_add_ps(high, b);
    }
    if (i < n) {
        /* Values of 0 add nothing: a sum never is -0. */
        float last[16] = {0}, last_weights[16] = {0};
        memcpy(last, values + i, (n - i) * sizeof *last);
        __m256 a = loss_of(&grid, _mm256_loadu_ps(last)), b = loss_of(&grid, _mm256_loadu_ps(last + 8));
        if (weights) {
            memcpy(last_weights, weights + i, (n - i) * sizeof *last);
            a = _mm256_mul_ps(a, _mm256_loadu_ps(last_weights));
            b = _mm256_mul_ps(b, _mm256_loadu_ps(last_weights + 8));
        }
        low = _mm256_add_ps(low, a);
        high = _mm256_add_ps(high, b);
    }
    __m256 eight = _mm256_add_ps(low, high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* ---- fused: stored floats to packed words -------------------------------------------------------------- */

/* Two sweeps over each group while it is in the first-level cache: its range, then its codes, 32 at a time. The
 * functions below are inlined once per stored type and width; `dtype` and `bits` are constants there. */

VISE_INLINE VISE_TARGET_AVX2 __m256 load_stored(vise_dtype dtype, const uint8_t *source, size_t i)
{
    if (dtype == VISE_DTYPE_BF16) {
        __m128i half = _mm_loadu_si128((const __m128i *)(source + 2 * i));
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
    }
    if (dtype == VISE_DTYPE_F16)
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(source + 2 * i)));
    return _mm256_loadu_ps((const float *)(const void *)(source + 4 * i));
}

VISE_INLINE VISE_TARGET_AVX2 void stored_range(vise_dtype dtype, const uint8_t *source, size_t n, float *min,
                                               float *max)
{
    range256 a = {_mm256_setzero_ps(), _mm256_setzero_ps()}, b = a;
    for (size_t i = 0; i < n; i += 16) {
        range_add(&a, load_stored(dtype, source, i));
        range_add(&b, load_stored(dtype, source, i + 8));
    }
    *min = reduce_min(_mm256_min_ps(a.low, b.low));
    *max = reduce_max(_mm256_max_ps(a.high, b.high));
}

VISE_INLINE VISE_TARGET_AVX2 void store_codes(int bits, __m256i codes, uint8_t *target)
{
    if (bits == 4) {
        __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x1001)); /* low + 16 * high */
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi16(pairs, pairs), 0x08);
        _mm_storeu_si128((__m128i *)target, _mm256_castsi256_si128(packed));
    } else {
        _mm256_storeu_si256((__m256i *)target, codes);
    }
}

VISE_INLINE VISE_TARGET_AVX2 void encode_stored(vise_dtype dtype, int bits, const uint8_t *source, size_t n,
                                                float scale, int zero, int max_code, uint8_t *target)
{
    size_t width = (size_t)bits;
    if (!(scale > 0.0f)) {
        memset(target, bits == 4 ? zero * 17 : zero, n * width / 8);
        return;
    }
    grid256 grid = grid_of(scale, zero, max_code);
    for (size_t i = 0; i < n; i += 32) {
        __m256 a = load_stored(dtype, source, i), b = load_stored(dtype, source, i + 8);
        __m256 c = load_stored(dtype, source, i + 16), d = load_stored(dtype, source, i + 24);
        store_codes(bits, codes_of(&grid, a, b, c, d), target + i * width / 8);
    }
}

VISE_INLINE VISE_TARGET_AVX2 void encode_rows(vise_dtype dtype, int bits, size_t element_bytes,
                                              const uint8_t *source, const vise_grid_rule *given,
                                              vise_packed *out)
{
    const vise_grid_rule rule = *given;
    const bool one_scale = out->scheme.granularity == VISE_PER_TENSOR;
    const size_t width = (size_t)(out->cols / out->groups), groups = (size_t)(out->rows * out->groups);
    uint8_t *target = (uint8_t *)out->words;
    for (size_t s = 0; s < groups; s++) {
        float scale = one_scale ? out->scales[0] : 0.0f, min, max;
        int zero = rule.middle;
        if (one_scale) {
            zero = out->zeros ? out->zeros[0] : zero;
        } else {
            stored_range(dtype, source, width, &min, &max);
            vise_grid_solve(&rule, min, max, &scale, &zero);
            out->scales[s] = scale;
            if (out->zeros)
                out->zeros[s] = (uint8_t)zero;
        }
        encode_stored(dtype, bits, source, width, scale, zero, rule.max_code, target);
        source += width * element_bytes;
        target += width * (size_t)bits / 8;
    }
}

VISE_TARGET_AVX2 bool vise_encode_packed_avx2(vise_dtype dtype, const void *source,
                                              const vise_grid_rule *rule, vise_packed *out)
{
    int bits = out->scheme.type->bits;
    if (out->groups == 0 || out->cols / out->groups % 32 != 0 || (bits != 4 && bits != 8))
        return false;
    if (dtype == VISE_DTYPE_BF16 && bits == 4)
        encode_rows(VISE_DTYPE_BF16, 4, 2, source, rule, out);
    else if (dtype == VISE_DTYPE_BF16)
        encode_rows(VISE_DTYPE_BF16, 8, 2, source, rule, out);
    else if (dtype == VISE_DTYPE_F16 && bits == 4)
        encode_rows(VISE_DTYPE_F16, 4, 2, source, rule, out);
    else if (dtype == VISE_DTYPE_F16)
        encode_rows(VISE_DTYPE_F16, 8, 2, source, rule, out);
    else if (dtype == VISE_DTYPE_F32 && bits == 4)
        encode_rows(VISE_DTYPE_F32, 4, 4, source, rule, out);
    else if (dtype == VISE_DTYPE_F32)
        encode_rows(VISE_DTYPE_F32, 8, 4, source, rule, out);
    else
        return false;
    return true;
}
