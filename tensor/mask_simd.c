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

/* Ranks inside groups that divide the vector: every lane is compared with the others of its group, one
 * rotation of the groups at a time. */
VISE_TARGET_AVX2 void vise_mask_pattern_row_avx2(const float *score, size_t n, vise_pattern pattern,
                                                 uint8_t *mask)
{
    const int group = pattern.group;
    if (8 % group != 0) {
        vise_mask_pattern_row_ref(score, n, pattern, mask);
        return;
    }
    __m256i partner[8],
        earlier[8]; /* by rotation: the lane compared with, and whether its index is the lower one */
    for (int turn = 1; turn < group; turn++) {
        int lanes[8], lower[8];
        for (int lane = 0; lane < 8; lane++) {
            int other = (lane & ~(group - 1)) | ((lane + turn) & (group - 1));
            lanes[lane] = other;
            lower[lane] = other < lane ? -1 : 0;
        }
        partner[turn] = _mm256_loadu_si256((const __m256i *)lanes);
        earlier[turn] = _mm256_loadu_si256((const __m256i *)lower);
    }
    const __m256i last_pruned = _mm256_set1_epi32(group - pattern.keep - 1);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(score + i);
        __m256i rank = _mm256_setzero_si256();
        for (int turn = 1; turn < group; turn++) {
            __m256 other = _mm256_permutevar8x32_ps(v, partner[turn]);
            __m256i less = _mm256_castps_si256(_mm256_cmp_ps(other, v, _CMP_LT_OQ));
            __m256i equal = _mm256_castps_si256(_mm256_cmp_ps(other, v, _CMP_EQ_OQ));
            rank = _mm256_sub_epi32(rank, _mm256_or_si256(less, _mm256_and_si256(equal, earlier[turn])));
        }
        mask[i / 8] = (uint8_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(rank, last_pruned)));
    }
    vise_mask_pattern_row_ref(score + i, n - i, pattern, mask + i / 8);
}

VISE_TARGET_AVX2 void vise_mask_score_avx2(const float *values, const float *norms, size_t n, float *score)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 magnitude = _mm256_andnot_ps(sign, _mm256_loadu_ps(values + i));
        _mm256_storeu_ps(score + i, norms ? _mm256_mul_ps(magnitude, _mm256_loadu_ps(norms + i)) : magnitude);
    }
    vise_mask_score_ref(values + i, norms ? norms + i : NULL, n - i, score + i);
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

VISE_TARGET_AVX512 void vise_mask_pattern_row_avx512(const float *score, size_t n, vise_pattern pattern,
                                                     uint8_t *mask)
{
    const int group = pattern.group;
    if (16 % group != 0) {
        vise_mask_pattern_row_ref(score, n, pattern, mask);
        return;
    }
    __m512i partner[16]; /* as in AVX2 */
    __mmask16 earlier[16];
    for (int turn = 1; turn < group; turn++) {
        int lanes[16];
        unsigned lower = 0;
        for (int lane = 0; lane < 16; lane++) {
            int other = (lane & ~(group - 1)) | ((lane + turn) & (group - 1));
            lanes[lane] = other;
            lower |= (unsigned)(other < lane) << lane;
        }
        partner[turn] = _mm512_loadu_si512(lanes);
        earlier[turn] = (__mmask16)lower;
    }
    const __m512i last_pruned = _mm512_set1_epi32(group - pattern.keep - 1), one = _mm512_set1_epi32(1);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 v = _mm512_loadu_ps(score + i);
        __m512i rank = _mm512_setzero_si512();
        for (int turn = 1; turn < group; turn++) {
            __m512 other = _mm512_permutexvar_ps(partner[turn], v);
            unsigned before = _mm512_cmp_ps_mask(other, v, _CMP_LT_OQ);
            before |= _mm512_mask_cmp_ps_mask(earlier[turn], other, v, _CMP_EQ_OQ);
            rank = _mm512_mask_add_epi32(rank, (__mmask16)before, rank, one);
        }
        uint16_t bits = _mm512_cmpgt_epi32_mask(rank, last_pruned);
        memcpy(mask + i / 8, &bits, sizeof bits);
    }
    vise_mask_pattern_row_ref(score + i, n - i, pattern, mask + i / 8);
}

VISE_TARGET_AVX512 void vise_mask_score_avx512(const float *values, const float *norms, size_t n,
                                               float *score)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 magnitude = _mm512_abs_ps(_mm512_loadu_ps(values + i));
        _mm512_storeu_ps(score + i, norms ? _mm512_mul_ps(magnitude, _mm512_loadu_ps(norms + i)) : magnitude);
    }
    vise_mask_score_ref(values + i, norms ? norms + i : NULL, n - i, score + i);
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
