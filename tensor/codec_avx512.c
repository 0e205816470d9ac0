/* The codecs with AVX-512. Bits as the groups of codec.c: the same quotient (vdivps), the same order of
 * clamping and rounding, the same 16 partial sums, no fused products. */
#include <immintrin.h>
#include <string.h>

#include "tensor/grid.h"
#include "tensor/kernels.h"
#include "tensor/pack.h"

#define NEAREST (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

VISE_INLINE __mmask16 first_lanes(size_t n)
{
    return (__mmask16)(n < 16 ? (1u << n) - 1u : 0xffffu);
}

typedef struct range512 {
    __m512 low, high;
} range512;

/* max(value, bound) keeps the bound where value is NaN, as the reference's comparison does. */
VISE_INLINE VISE_TARGET_AVX512 void range_add(range512 *range, __m512 values)
{
    range->low = _mm512_min_ps(values, range->low);
    range->high = _mm512_max_ps(values, range->high);
}

VISE_INLINE VISE_TARGET_AVX512 float reduce_max(__m512 v)
{
    __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

VISE_INLINE VISE_TARGET_AVX512 float reduce_min(__m512 v)
{
    __m256 a = _mm256_min_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_min_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_min_ss(b, _mm_movehdup_ps(b)));
}

VISE_TARGET_AVX512 void vise_range_avx512(const float *values, size_t n, float *min, float *max)
{
    range512 a = {_mm512_setzero_ps(), _mm512_setzero_ps()}, b = a;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        range_add(&a, _mm512_loadu_ps(values + i));
        range_add(&b, _mm512_loadu_ps(values + i + 16));
    }
    for (; i < n; i += 16) {
        __mmask16 lanes = first_lanes(n - i);
        range_add(&a, _mm512_maskz_loadu_ps(lanes, values + i));
    }
    *min = reduce_min(_mm512_min_ps(a.low, b.low)) + 0.0f;
    *max = reduce_max(_mm512_max_ps(a.high, b.high)) + 0.0f;
}

/* Grid constants of a group in registers. */
typedef struct grid512 {
    __m512 scale, low, high;
    __m512i zero16; /* the zero point in 16-bit lanes */
} grid512;

VISE_INLINE VISE_TARGET_AVX512 grid512 grid_of(float scale, int zero, int max_code)
{
    return (grid512){_mm512_set1_ps(scale), _mm512_set1_ps((float)-zero),
                     _mm512_set1_ps((float)(max_code - zero)), _mm512_set1_epi16((short)zero)};
}

/* Signed codes u - z in 32-bit lanes. */
VISE_INLINE VISE_TARGET_AVX512 __m512i steps_of(const grid512 *grid, __m512 values)
{
    __m512 q = _mm512_min_ps(_mm512_max_ps(_mm512_div_ps(values, grid->scale), grid->low), grid->high);
    return _mm512_cvt_roundps_epi32(q, NEAREST);
}

/* 64 codes in order, from four vectors: packs work inside 128-bit lanes, one permutation puts them right. */
VISE_INLINE VISE_TARGET_AVX512 __m512i codes_of(const grid512 *grid, __m512 a, __m512 b, __m512 c, __m512 d)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i ab = _mm512_packs_epi32(steps_of(grid, a), steps_of(grid, b));
    __m512i cd = _mm512_packs_epi32(steps_of(grid, c), steps_of(grid, d));
    ab = _mm512_add_epi16(ab, grid->zero16);
    cd = _mm512_add_epi16(cd, grid->zero16);
    return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(ab, cd));
}

VISE_TARGET_AVX512 void vise_encode_group_avx512(const float *values, size_t n, float scale, int zero,
                                                 int max_code, uint8_t *codes)
{
    if (!(scale > 0.0f)) {
        memset(codes, zero, n);
        return;
    }
    grid512 grid = grid_of(scale, zero, max_code);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        const float *v = values + i;
        _mm512_storeu_si512(codes + i, codes_of(&grid, _mm512_loadu_ps(v), _mm512_loadu_ps(v + 16),
                                                _mm512_loadu_ps(v + 32), _mm512_loadu_ps(v + 48)));
    }
    const __m512i zero32 = _mm512_set1_epi32(zero);
    for (; i < n; i += 16) {
        __mmask16 lanes = first_lanes(n - i);
        __m512i steps = steps_of(&grid, _mm512_maskz_loadu_ps(lanes, values + i));
        _mm_mask_storeu_epi8(codes + i, lanes, _mm512_cvtepi32_epi8(_mm512_add_epi32(steps, zero32)));
    }
}

VISE_TARGET_AVX512 void vise_decode_group_avx512(const uint8_t *codes, size_t n, float scale, int zero,
                                                 float *values)
{
    const __m512 scales = _mm512_set1_ps(scale);
    const __m512i zeros = _mm512_set1_epi32(zero);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i u = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(codes + i)));
        _mm512_storeu_ps(values + i, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(u, zeros)), scales));
    }
    vise_decode_group_ref(codes + i, n - i, scale, zero, values + i);
}

VISE_TARGET_AVX512 float vise_grid_error_avx512(const float *values, const float *weights, size_t n,
                                                float scale, int zero, int max_code)
{
    grid512 grid = grid_of(scale, zero, max_code);
    __m512 sums = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = first_lanes(n - i);
        __m512 v = _mm512_maskz_loadu_ps(lanes, values + i);
        __m512 decoded = _mm512_mul_ps(_mm512_cvtepi32_ps(steps_of(&grid, v)), grid.scale);
        __m512 error = _mm512_abs_ps(_mm512_sub_ps(decoded, v));
        __m512 loss = _mm512_mul_ps(_mm512_mul_ps(error, error), _mm512_sqrt_ps(error));
        if (weights)
            loss = _mm512_mul_ps(loss, _mm512_maskz_loadu_ps(lanes, weights + i));
        sums = _mm512_mask_add_ps(sums, lanes, sums, loss);
    }
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(sums), _mm512_extractf32x8_ps(sums, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* ---- fused: stored floats to packed words -------------------------------------------------------------- */

/* Two sweeps over each group while it is in the first-level cache: its range, then its codes, 64 at a time. The
 * functions below are inlined once per stored type and width; `dtype` and `bits` are constants there. */

VISE_INLINE VISE_TARGET_AVX512 __m512 load_stored(vise_dtype dtype, const uint8_t *source, size_t i)
{
    if (dtype == VISE_DTYPE_BF16) {
        __m256i half = _mm256_loadu_si256((const __m256i *)(source + 2 * i));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }
    if (dtype == VISE_DTYPE_F16)
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(source + 2 * i)));
    return _mm512_loadu_ps(source + 4 * i);
}

VISE_INLINE VISE_TARGET_AVX512 void stored_range(vise_dtype dtype, const uint8_t *source, size_t n,
                                                 float *min, float *max)
{
    range512 a = {_mm512_setzero_ps(), _mm512_setzero_ps()}, b = a;
    for (size_t i = 0; i < n; i += 32) {
        range_add(&a, load_stored(dtype, source, i));
        range_add(&b, load_stored(dtype, source, i + 16));
    }
    *min = reduce_min(_mm512_min_ps(a.low, b.low));
    *max = reduce_max(_mm512_max_ps(a.high, b.high));
}

/* Symmetric grids ask for the largest magnitude alone. */
VISE_INLINE VISE_TARGET_AVX512 float stored_top(vise_dtype dtype, const uint8_t *source, size_t n)
{
    __m512 a = _mm512_setzero_ps(), b = a;
    for (size_t i = 0; i < n; i += 32) {
        a = _mm512_max_ps(_mm512_abs_ps(load_stored(dtype, source, i)), a);
        b = _mm512_max_ps(_mm512_abs_ps(load_stored(dtype, source, i + 16)), b);
    }
    return reduce_max(_mm512_max_ps(a, b));
}

VISE_INLINE VISE_TARGET_AVX512 void store_codes(int bits, __m512i codes, uint8_t *target)
{
    if (bits == 4) {
        __m512i pairs = _mm512_maddubs_epi16(codes, _mm512_set1_epi16(0x1001)); /* low + 16 * high */
        _mm256_storeu_si256((__m256i *)target, _mm512_cvtepi16_epi8(pairs));
    } else {
        _mm512_storeu_si512(target, codes);
    }
}

VISE_INLINE VISE_TARGET_AVX512 void encode_stored(vise_dtype dtype, int bits, const uint8_t *source, size_t n,
                                                  float scale, int zero, int max_code, uint8_t *target)
{
    size_t width = (size_t)bits, i = 0;
    if (!(scale > 0.0f)) {
        memset(target, bits == 4 ? zero * 17 : zero, n * width / 8);
        return;
    }
    grid512 grid = grid_of(scale, zero, max_code);
    for (; i + 64 <= n; i += 64) {
        __m512 a = load_stored(dtype, source, i), b = load_stored(dtype, source, i + 16);
        __m512 c = load_stored(dtype, source, i + 32), d = load_stored(dtype, source, i + 48);
        store_codes(bits, codes_of(&grid, a, b, c, d), target + i * width / 8);
    }
    if (i < n) { /* 32 are left */
        uint8_t last[64];
        __m512 a = load_stored(dtype, source, i), b = load_stored(dtype, source, i + 16);
        store_codes(bits, codes_of(&grid, a, b, a, b), last);
        memcpy(target + i * width / 8, last, 4 * width);
    }
}

VISE_INLINE VISE_TARGET_AVX512 void encode_rows(vise_dtype dtype, int bits, size_t element_bytes,
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
        } else if (rule.asym) {
            stored_range(dtype, source, width, &min, &max);
            vise_grid_solve(&rule, min, max, &scale, &zero);
            out->zeros[s] = (uint8_t)zero;
            out->scales[s] = scale;
        } else {
            vise_grid_solve(&rule, 0.0f, stored_top(dtype, source, width), &scale, &zero);
            out->scales[s] = scale;
        }
        encode_stored(dtype, bits, source, width, scale, zero, rule.max_code, target);
        source += width * element_bytes;
        target += width * (size_t)bits / 8;
    }
}

VISE_TARGET_AVX512 bool vise_encode_packed_avx512(vise_dtype dtype, const void *source,
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
