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
    if (scale == 0.0f) {
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

/* Three sweeps over a batch of groups that stays in the first-level cache: their ranges, their grids, their codes, 32
 * at a time. A batch, because a grid is a chain of dependent operations and those of several groups overlap. The
 * functions below are inlined once per stored type and width; `dtype` and, for 4 and 8, `bits` are constants there. */

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

/* ends[0] = max, ends[1] = -min. */
VISE_INLINE VISE_TARGET_AVX2 void stored_range(vise_dtype dtype, const uint8_t *source, size_t n,
                                               float ends[2])
{
    range256 a = {_mm256_setzero_ps(), _mm256_setzero_ps()}, b = a;
    for (size_t i = 0; i < n; i += 16) {
        range_add(&a, load_stored(dtype, source, i));
        range_add(&b, load_stored(dtype, source, i + 8));
    }
    /* Both reductions in one: maxima in the even lanes, negated minima in the odd ones. */
    __m256 high = _mm256_max_ps(a.high, b.high), low = _mm256_min_ps(a.low, b.low);
    low = _mm256_sub_ps(_mm256_setzero_ps(), low);
    __m256 both = _mm256_max_ps(_mm256_unpacklo_ps(high, low), _mm256_unpackhi_ps(high, low));
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1));
    _mm_storel_pi((__m64 *)(void *)ends, _mm_max_ps(half, _mm_movehl_ps(half, half)));
}

/* 32 codes. Widths other than 4 and 8 go through pext, eight codes at a time; it stores eight bytes where `bits` are
 * meant, so the last codes before `end` take a detour. */
VISE_INLINE VISE_TARGET_AVX2 void store_codes(int bits, __m256i codes, uint8_t *target, const uint8_t *end)
{
    if (bits == 4) {
        __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x1001)); /* low + 16 * high */
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi16(pairs, pairs), 0x08);
        _mm_storeu_si128((__m128i *)target, _mm256_castsi256_si128(packed));
    } else if (bits == 8) {
        _mm256_storeu_si256((__m256i *)target, codes);
    } else {
        const size_t width = (size_t)bits;
        const uint64_t mask = ((1u << bits) - 1u) * 0x0101010101010101u;
        uint8_t detour[32 + 8];
        uint64_t eights[4];
        bool near_end = (size_t)(end - target) < 4 * width + 8;
        uint8_t *out = near_end ? detour : target;
        _mm256_storeu_si256((__m256i *)eights, codes);
        for (size_t k = 0; k < 4; k++) {
            uint64_t packed = _pext_u64(eights[k], mask);
            memcpy(out + k * width, &packed, sizeof packed);
        }
        if (near_end)
            memcpy(target, detour, 4 * width);
    }
}

VISE_INLINE VISE_TARGET_AVX2 void encode_stored(vise_dtype dtype, int bits, const uint8_t *source, size_t n,
                                                float scale, int zero, int max_code, uint8_t *target,
                                                const uint8_t *end)
{
    const size_t width = (size_t)bits;
    const bool empty = !(scale > 0.0f);
    const grid256 grid = grid_of(scale, zero, max_code);
    const __m256i zeros = _mm256_set1_epi8((char)zero);
    for (size_t i = 0; i < n; i += 32) {
        __m256 a = load_stored(dtype, source, i), b = load_stored(dtype, source, i + 8);
        __m256 c = load_stored(dtype, source, i + 16), d = load_stored(dtype, source, i + 24);
        store_codes(bits, empty ? zeros : codes_of(&grid, a, b, c, d), target + i / 8 * width, end);
    }
}

VISE_INLINE VISE_TARGET_AVX2 void encode_rows(vise_dtype dtype, int bits, const uint8_t *source,
                                              const vise_grid_rule *given, vise_packed *out)
{
    enum { BATCH = 16, BATCH_VALUES = 2048 };
    const vise_grid_rule rule = *given;
    const bool one_scale = out->scheme.granularity == VISE_PER_TENSOR;
    const size_t width = (size_t)(out->cols / out->groups), groups = (size_t)(out->rows * out->groups);
    const size_t source_step = width * (dtype == VISE_DTYPE_F32 ? 4 : 2),
                 target_step = width / 8 * (size_t)bits;
    const size_t fits = BATCH_VALUES / width, batch = fits < 1 ? 1 : fits < BATCH ? fits : BATCH;
    uint8_t *target = (uint8_t *)out->words;
    const uint8_t *end = target + groups * target_step;
    for (size_t s = 0; s < groups; s += batch) {
        const size_t count = groups - s < batch ? groups - s : batch;
        float ends[BATCH][2], scales[BATCH];
        int zeros[BATCH];
        for (size_t k = 0; k < count && !one_scale; k++)
            stored_range(dtype, source + k * source_step, width, ends[k]);
        for (size_t k = 0; k < count; k++) {
            if (one_scale) {
                scales[k] = out->scales[0];
                zeros[k] = out->zeros ? out->zeros[0] : rule.middle;
            } else {
                vise_grid_solve(&rule, -ends[k][1], ends[k][0], &scales[k], &zeros[k]);
                out->scales[s + k] = scales[k];
                if (out->zeros)
                    out->zeros[s + k] = (uint8_t)zeros[k];
            }
        }
        for (size_t k = 0; k < count; k++) {
            encode_stored(dtype, bits, source, width, scales[k], zeros[k], rule.max_code, target, end);
            source += source_step;
            target += target_step;
        }
    }
}

VISE_INLINE VISE_TARGET_AVX2 void encode_rows_of(vise_dtype dtype, const uint8_t *source,
                                                 const vise_grid_rule *rule, vise_packed *out)
{
    int bits = out->scheme.type->bits;
    if (bits == 4)
        encode_rows(dtype, 4, source, rule, out);
    else if (bits == 8)
        encode_rows(dtype, 8, source, rule, out);
    else
        encode_rows(dtype, bits, source, rule, out);
}

VISE_TARGET_AVX2 bool vise_encode_packed_avx2(vise_dtype dtype, const void *source,
                                              const vise_grid_rule *rule, vise_packed *out)
{
    if (out->groups == 0 || out->cols / out->groups % 32 != 0)
        return false;
    if (dtype == VISE_DTYPE_BF16)
        encode_rows_of(VISE_DTYPE_BF16, source, rule, out);
    else if (dtype == VISE_DTYPE_F16)
        encode_rows_of(VISE_DTYPE_F16, source, rule, out);
    else if (dtype == VISE_DTYPE_F32)
        encode_rows_of(VISE_DTYPE_F32, source, rule, out);
    else
        return false;
    return true;
}
