/* Selection with AVX2 and AVX-512. Comparisons are ordered: -0 equals +0, as in the references. Mask bits
 * come out of compare masks directly; remainders of a row go through the references, whole bytes at a time.
 */
#include <immintrin.h>
#include <string.h>

#include "tensor/kernels.h"

/* Of the scores that equal the threshold, the first *ties are pruned. equal has one bit per lane. */
VISE_INLINE VISE_TARGET_AVX2 unsigned keep_late_ties(unsigned equal, size_t *ties)
{
    for (; equal && *ties > 0; (*ties)--)
        equal = _blsr_u32(equal);
    return equal;
}

/* ---- AVX2 ---------------------------------------------------------------------------------------------- */

VISE_TARGET_AVX2 size_t vise_count_below_avx2(const float *score, size_t n, float threshold)
{
    const __m256 bound = _mm256_set1_ps(threshold);
    size_t i = 0, count = 0;
    while (i + 32 <= n) {
        /* Lanes count down from 0 in 32 bits; a stretch is short enough for their sum as well. */
        size_t end = n - i > 1u << 24 ? i + (1u << 24) : n;
        __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
        for (; i + 32 <= end; i += 32) {
            a = _mm256_add_epi32(
                a, _mm256_castps_si256(_mm256_cmp_ps(_mm256_loadu_ps(score + i), bound, _CMP_LT_OQ)));
            b = _mm256_add_epi32(
                b, _mm256_castps_si256(_mm256_cmp_ps(_mm256_loadu_ps(score + i + 8), bound, _CMP_LT_OQ)));
            c = _mm256_add_epi32(
                c, _mm256_castps_si256(_mm256_cmp_ps(_mm256_loadu_ps(score + i + 16), bound, _CMP_LT_OQ)));
            d = _mm256_add_epi32(
                d, _mm256_castps_si256(_mm256_cmp_ps(_mm256_loadu_ps(score + i + 24), bound, _CMP_LT_OQ)));
        }
        a = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
        __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
        count += (size_t) - (int64_t)_mm_cvtsi128_si32(s);
    }
    return count + vise_count_below_ref(score + i, n - i, threshold);
}

VISE_TARGET_AVX2 void vise_mask_above_avx2(const float *score, size_t n, float threshold, size_t ties,
                                           uint8_t *mask)
{
    const __m256 bound = _mm256_set1_ps(threshold);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(score + i);
        unsigned keep = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v, bound, _CMP_GT_OQ));
        unsigned equal = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v, bound, _CMP_EQ_OQ));
        if (equal)
            keep |= keep_late_ties(equal, &ties);
        mask[i / 8] = (uint8_t)keep;
    }
    vise_mask_above_ref(score + i, n - i, threshold, ties, mask + i / 8);
}

/* Does the lane at distance `turn` (cyclic in its group of four) go before each lane? Equal ones go by index.
 */
#define GOES_BEFORE_AVX2(v, order, earlier)                                                                  \
    _mm256_or_ps(_mm256_cmp_ps(_mm256_permute_ps(v, order), v, _CMP_LT_OQ),                                  \
                 _mm256_and_ps(_mm256_cmp_ps(_mm256_permute_ps(v, order), v, _CMP_EQ_OQ), earlier))

VISE_TARGET_AVX2 void vise_mask_pattern_row_avx2(const float *score, size_t n, vise_pattern pattern,
                                                 uint8_t *mask)
{
    if (pattern.group != 4) {
        vise_mask_pattern_row_ref(score, n, pattern, mask);
        return;
    }
    const __m256 earlier1 = _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, 0, -1, 0, 0, 0, -1));
    const __m256 earlier2 = _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, -1, -1, 0, 0, -1, -1));
    const __m256 earlier3 = _mm256_castsi256_ps(_mm256_setr_epi32(0, -1, -1, -1, 0, -1, -1, -1));
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(score + i);
        __m256 a = GOES_BEFORE_AVX2(v, 0x39, earlier1); /* lanes 1 2 3 0 */
        __m256 b = GOES_BEFORE_AVX2(v, 0x4e, earlier2); /* lanes 2 3 0 1 */
        __m256 c = GOES_BEFORE_AVX2(v, 0x93, earlier3); /* lanes 3 0 1 2 */
        /* Kept is what at least 4 - keep others go before. */
        __m256 keep = pattern.keep == 1 ? _mm256_and_ps(_mm256_and_ps(a, b), c)
                      : pattern.keep == 3
                          ? _mm256_or_ps(_mm256_or_ps(a, b), c)
                          : _mm256_or_ps(_mm256_and_ps(a, b), _mm256_and_ps(_mm256_or_ps(a, b), c));
        mask[i / 8] = (uint8_t)_mm256_movemask_ps(keep);
    }
    vise_mask_pattern_row_ref(score + i, n - i, pattern, mask + i / 8);
}

VISE_TARGET_AVX2 void vise_mask_apply_row_avx2(const uint8_t *mask, size_t n, float *values)
{
    const __m256i lane_bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i set = _mm256_and_si256(_mm256_set1_epi32(mask[i / 8]), lane_bits);
        __m256 keep = _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane_bits));
        _mm256_storeu_ps(values + i, _mm256_and_ps(_mm256_loadu_ps(values + i), keep));
    }
    vise_mask_apply_row_ref(mask + i / 8, n - i, values + i);
}

VISE_TARGET_AVX2 size_t vise_count_zeros_avx2(const float *values, size_t n)
{
    size_t i = 0, count = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 zero = _mm256_cmp_ps(_mm256_loadu_ps(values + i), _mm256_setzero_ps(), _CMP_EQ_OQ);
        count += (unsigned)__builtin_popcount((unsigned)_mm256_movemask_ps(zero));
    }
    return count + vise_count_zeros_ref(values + i, n - i);
}

/* ---- AVX-512 ------------------------------------------------------------------------------------------- */

VISE_TARGET_AVX512 size_t vise_count_below_avx512(const float *score, size_t n, float threshold)
{
    const __m512 bound = _mm512_set1_ps(threshold);
    const __m512i one = _mm512_set1_epi32(1);
    size_t i = 0, count = 0;
    while (i + 64 <= n) {
        size_t end = n - i > 1u << 24 ? i + (1u << 24) : n; /* 32-bit lanes */
        __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
        for (; i + 64 <= end; i += 64) {
            a = _mm512_mask_add_epi32(a, _mm512_cmp_ps_mask(_mm512_loadu_ps(score + i), bound, _CMP_LT_OQ), a,
                                      one);
            b = _mm512_mask_add_epi32(
                b, _mm512_cmp_ps_mask(_mm512_loadu_ps(score + i + 16), bound, _CMP_LT_OQ), b, one);
            c = _mm512_mask_add_epi32(
                c, _mm512_cmp_ps_mask(_mm512_loadu_ps(score + i + 32), bound, _CMP_LT_OQ), c, one);
            d = _mm512_mask_add_epi32(
                d, _mm512_cmp_ps_mask(_mm512_loadu_ps(score + i + 48), bound, _CMP_LT_OQ), d, one);
        }
        a = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
        count += (size_t)_mm512_reduce_add_epi32(a);
    }
    return count + vise_count_below_ref(score + i, n - i, threshold);
}

VISE_TARGET_AVX512 void vise_mask_above_avx512(const float *score, size_t n, float threshold, size_t ties,
                                               uint8_t *mask)
{
    const __m512 bound = _mm512_set1_ps(threshold);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 v = _mm512_loadu_ps(score + i);
        unsigned keep = _mm512_cmp_ps_mask(v, bound, _CMP_GT_OQ),
                 equal = _mm512_cmp_ps_mask(v, bound, _CMP_EQ_OQ);
        if (equal)
            keep |= keep_late_ties(equal, &ties);
        uint16_t bits = (uint16_t)keep;
        memcpy(mask + i / 8, &bits, sizeof bits);
    }
    vise_mask_above_ref(score + i, n - i, threshold, ties, mask + i / 8);
}

/* As in AVX2: `earlier` has the lanes whose partner has the lower index. */
#define GOES_BEFORE_AVX512(v, order, earlier)                                                                \
    (_mm512_cmp_ps_mask(_mm512_permute_ps(v, order), v, _CMP_LT_OQ) |                                        \
     _mm512_mask_cmp_ps_mask(earlier, _mm512_permute_ps(v, order), v, _CMP_EQ_OQ))

VISE_TARGET_AVX512 void vise_mask_pattern_row_avx512(const float *score, size_t n, vise_pattern pattern,
                                                     uint8_t *mask)
{
    if (pattern.group != 4) {
        vise_mask_pattern_row_ref(score, n, pattern, mask);
        return;
    }
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 v = _mm512_loadu_ps(score + i);
        unsigned a = (unsigned)GOES_BEFORE_AVX512(v, 0x39, 0x8888); /* lanes 1 2 3 0 */
        unsigned b = (unsigned)GOES_BEFORE_AVX512(v, 0x4e, 0xcccc); /* lanes 2 3 0 1 */
        unsigned c = (unsigned)GOES_BEFORE_AVX512(v, 0x93, 0xeeee); /* lanes 3 0 1 2 */
        unsigned keep = pattern.keep == 1   ? a & b & c
                        : pattern.keep == 3 ? a | b | c
                                            : (a & b) | ((a | b) & c);
        uint16_t bits = (uint16_t)keep;
        memcpy(mask + i / 8, &bits, sizeof bits);
    }
    vise_mask_pattern_row_ref(score + i, n - i, pattern, mask + i / 8);
}

VISE_TARGET_AVX512 void vise_mask_apply_row_avx512(const uint8_t *mask, size_t n, float *values)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        uint16_t bits;
        memcpy(&bits, mask + i / 8, sizeof bits);
        _mm512_storeu_ps(values + i, _mm512_maskz_loadu_ps(bits, values + i));
    }
    vise_mask_apply_row_ref(mask + i / 8, n - i, values + i);
}

VISE_TARGET_AVX512 size_t vise_count_zeros_avx512(const float *values, size_t n)
{
    size_t i = 0, count = 0;
    for (; i + 16 <= n; i += 16) {
        __mmask16 zero = _mm512_cmp_ps_mask(_mm512_loadu_ps(values + i), _mm512_setzero_ps(), _CMP_EQ_OQ);
        count += (unsigned)__builtin_popcount(zero);
    }
    return count + vise_count_zeros_ref(values + i, n - i);
}
