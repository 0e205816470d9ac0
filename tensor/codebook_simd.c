/* nf4 and the tables of four bits for AVX2 and AVX-512; bits as in codebook.c. The count of thresholds below a value is
 * searched by halves: each step looks up the one threshold that parts what is left. */
#include <immintrin.h>

#include "tensor/kernels.h"

/* Thresholds that part two, four and eight ranges. */
typedef struct halves {
    float second[8], third[8], fourth[8];
} halves;

static halves split(const float thresholds[15])
{
    halves h = {.second = {thresholds[3], thresholds[11]}};
    for (int i = 0; i < 4; i++)
        h.third[i] = thresholds[4 * i + 1];
    for (int i = 0; i < 8; i++)
        h.fourth[i] = thresholds[2 * i];
    return h;
}

VISE_TARGET_AVX2 float vise_largest_avx2(const float *values, size_t n, float largest)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 most = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        most = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(values + i)), most);
    float lanes[8];
    _mm256_storeu_ps(lanes, most);
    return vise_largest_ref(values + i, n - i, vise_largest_ref(lanes, 8, largest));
}

VISE_TARGET_AVX2 void vise_count_thresholds_avx2(const float *values, size_t n, float factor,
                                                 const float thresholds[15], uint8_t *codes)
{
    const halves h = split(thresholds);
    const __m256 first = _mm256_set1_ps(thresholds[7]), scale = _mm256_set1_ps(factor);
    const __m256 tables[3] = {_mm256_loadu_ps(h.second), _mm256_loadu_ps(h.third), _mm256_loadu_ps(h.fourth)};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 x = _mm256_mul_ps(_mm256_loadu_ps(values + i), scale);
        __m256i code = _mm256_srli_epi32(_mm256_castps_si256(_mm256_cmp_ps(x, first, _CMP_GT_OQ)), 31);
        for (int s = 0; s < 3; s++) {
            const __m256 above = _mm256_cmp_ps(x, _mm256_permutevar8x32_ps(tables[s], code), _CMP_GT_OQ);
            code = _mm256_sub_epi32(_mm256_add_epi32(code, code), _mm256_castps_si256(above));
        }
        const __m128i words =
            _mm_packs_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
        _mm_storel_epi64((__m128i *)(void *)(codes + i), _mm_packus_epi16(words, words));
    }
    vise_count_thresholds_ref(values + i, n - i, factor, thresholds, codes + i);
}

VISE_TARGET_AVX2 void vise_table_values_avx2(const float table[16], const uint8_t *codes, size_t n,
                                             float scale, float *values)
{
    const __m256 low = _mm256_loadu_ps(table), high = _mm256_loadu_ps(table + 8),
                 factor = _mm256_set1_ps(scale);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i code =
            _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(codes + i)));
        const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(code, 28)); /* bit 3 chooses the half */
        const __m256 value = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code),
                                              _mm256_permutevar8x32_ps(high, code), upper);
        _mm256_storeu_ps(values + i, _mm256_mul_ps(value, factor));
    }
    vise_table_values_ref(table, codes + i, n - i, scale, values + i);
}

VISE_TARGET_AVX512 float vise_largest_avx512(const float *values, size_t n, float largest)
{
    __m512 most = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        most = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(values + i)), most);
    const float found = _mm512_reduce_max_ps(most);
    return vise_largest_ref(values + i, n - i, found > largest ? found : largest);
}

VISE_TARGET_AVX512 void vise_count_thresholds_avx512(const float *values, size_t n, float factor,
                                                     const float thresholds[15], uint8_t *codes)
{
    const halves h = split(thresholds);
    const __m512 first = _mm512_set1_ps(thresholds[7]), scale = _mm512_set1_ps(factor);
    const __m512 tables[3] = {_mm512_castps256_ps512(_mm256_loadu_ps(h.second)),
                              _mm512_castps256_ps512(_mm256_loadu_ps(h.third)),
                              _mm512_castps256_ps512(_mm256_loadu_ps(h.fourth))};
    const __m512i one = _mm512_set1_epi32(1);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(values + i), scale);
        __m512i code = _mm512_maskz_mov_epi32(_mm512_cmp_ps_mask(x, first, _CMP_GT_OQ), one);
        for (int s = 0; s < 3; s++) {
            const __mmask16 above = _mm512_cmp_ps_mask(x, _mm512_permutexvar_ps(code, tables[s]), _CMP_GT_OQ);
            code = _mm512_add_epi32(code, code);
            code = _mm512_mask_add_epi32(code, above, code, one);
        }
        _mm_storeu_si128((__m128i *)(void *)(codes + i), _mm512_cvtepi32_epi8(code));
    }
    vise_count_thresholds_ref(values + i, n - i, factor, thresholds, codes + i);
}

VISE_TARGET_AVX512 void vise_table_values_avx512(const float table[16], const uint8_t *codes, size_t n,
                                                 float scale, float *values)
{
    const __m512 entries = _mm512_loadu_ps(table), factor = _mm512_set1_ps(scale);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512i code =
            _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(codes + i)));
        _mm512_storeu_ps(values + i, _mm512_mul_ps(_mm512_permutexvar_ps(code, entries), factor));
    }
    vise_table_values_ref(table, codes + i, n - i, scale, values + i);
}
