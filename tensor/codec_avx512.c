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
    if (scale == 0.0f) {
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

/* Three sweeps over a batch of groups that stays in the first-level cache: their ranges, their grids, their codes, 64
 * at a time. A batch, because a grid is a chain of dependent operations and those of several groups overlap. The
 * functions below are inlined once per stored type and width; `dtype` and, for 4 and 8, `bits` are constants there. */

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

/* ends[0] = max, ends[1] = -min; the largest magnitude is all that a symmetric grid asks for. */
VISE_INLINE VISE_TARGET_AVX512 void stored_range(vise_dtype dtype, bool asym, const uint8_t *source, size_t n,
                                                 float ends[2])
{
    __m512 high0 = _mm512_setzero_ps(), high1 = high0, low0 = high0, low1 = high0;
    for (size_t i = 0; i < n; i += 32) {
        __m512 a = load_stored(dtype, source, i), b = load_stored(dtype, source, i + 16);
        high0 = _mm512_max_ps(asym ? a : _mm512_abs_ps(a), high0);
        high1 = _mm512_max_ps(asym ? b : _mm512_abs_ps(b), high1);
        if (asym) {
            low0 = _mm512_min_ps(a, low0);
            low1 = _mm512_min_ps(b, low1);
        }
    }
    __m512 high = _mm512_max_ps(high0, high1);
    if (!asym) {
        ends[0] = ends[1] = reduce_max(high);
        return;
    }
    /* Both reductions in one: maxima in the even lanes, negated minima in the odd ones. */
    __m512 low = _mm512_sub_ps(_mm512_setzero_ps(), _mm512_min_ps(low0, low1));
    __m512 even = _mm512_unpacklo_ps(high, low), odd = _mm512_unpackhi_ps(high, low);
    __m512 both = _mm512_max_ps(even, odd);
    __m256 half = _mm256_max_ps(_mm512_castps512_ps256(both), _mm512_extractf32x8_ps(both, 1));
    __m128 quarter = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    _mm_storel_pi((__m64 *)(void *)ends, _mm_max_ps(quarter, _mm_movehl_ps(quarter, quarter)));
}

/* The first n (32 or 64) of 64 codes. Widths other than 4 and 8 go through pext, eight codes at a time; it stores eight
 * bytes where `bits` are meant, so the last codes before `end` take a detour. */
VISE_INLINE VISE_TARGET_AVX512 void store_codes(int bits, __m512i codes, size_t n, uint8_t *target,
                                                const uint8_t *end)
{
    if (bits == 4) {
        __m512i pairs = _mm512_maddubs_epi16(codes, _mm512_set1_epi16(0x1001)); /* low + 16 * high */
        __m256i bytes = _mm512_cvtepi16_epi8(pairs);
        if (n == 64)
            _mm256_storeu_si256((__m256i *)target, bytes);
        else
            _mm_storeu_si128((__m128i *)target, _mm256_castsi256_si128(bytes));
    } else if (bits == 8) {
        if (n == 64)
            _mm512_storeu_si512(target, codes);
        else
            _mm256_storeu_si256((__m256i *)target, _mm512_castsi512_si256(codes));
    } else {
        const size_t width = (size_t)bits;
        const uint64_t mask = ((1u << bits) - 1u) * 0x0101010101010101u;
        uint8_t detour[64 + 8];
        uint64_t eights[8];
        bool near_end = (size_t)(end - target) < n / 8 * width + 8;
        uint8_t *out = near_end ? detour : target;
        _mm512_storeu_si512(eights, codes);
        for (size_t k = 0; k < n / 8; k++) {
            uint64_t packed = _pext_u64(eights[k], mask);
            memcpy(out + k * width, &packed, sizeof packed);
        }
        if (near_end)
            memcpy(target, detour, n / 8 * width);
    }
}

VISE_INLINE VISE_TARGET_AVX512 void encode_stored(vise_dtype dtype, int bits, const uint8_t *source, size_t n,
                                                  float scale, int zero, int max_code, uint8_t *target,
                                                  const uint8_t *end)
{
    const size_t width = (size_t)bits;
    const bool empty = !(scale > 0.0f);
    const grid512 grid = grid_of(scale, zero, max_code);
    const __m512i zeros = _mm512_set1_epi8((char)zero);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512 a = load_stored(dtype, source, i), b = load_stored(dtype, source, i + 16);
        __m512 c = load_stored(dtype, source, i + 32), d = load_stored(dtype, source, i + 48);
        __m512i codes = empty ? zeros : codes_of(&grid, a, b, c, d);
        store_codes(bits, codes, 64, target + i / 8 * width, end);
    }
    if (i < n) { /* 32 are left */
        const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 4, 8, 12, 1, 5, 9, 13);
        __m512 a = load_stored(dtype, source, i), b = load_stored(dtype, source, i + 16);
        __m512i ab = _mm512_packs_epi32(steps_of(&grid, a), steps_of(&grid, b));
        ab = _mm512_add_epi16(ab, grid.zero16);
        ab = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(ab, ab));
        store_codes(bits, empty ? zeros : ab, 32, target + i / 8 * width, end);
    }
}

VISE_INLINE VISE_TARGET_AVX512 void encode_rows(vise_dtype dtype, int bits, const uint8_t *source,
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
        for (size_t k = 0; k < count && !one_scale; k++) {
            if (rule.asym)
                stored_range(dtype, true, source + k * source_step, width, ends[k]);
            else
                stored_range(dtype, false, source + k * source_step, width, ends[k]);
        }
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

VISE_INLINE VISE_TARGET_AVX512 void encode_rows_of(vise_dtype dtype, const uint8_t *source,
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

VISE_TARGET_AVX512 bool vise_encode_packed_avx512(vise_dtype dtype, const void *source,
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
