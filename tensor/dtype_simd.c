/* Conversions of 16-bit floats and the counting passes for AVX2 and AVX-512. Bits as in dtype.c: hardware
 * conversions of f16 and the integer rounding of bf16 agree with the references on every input, NaNs
 * included. Remainders go through the references. */
#include <immintrin.h>

#include "tensor/kernels.h"

/* ---- AVX2 ---------------------------------------------------------------------------------------------- */

VISE_TARGET_AVX2 void vise_bf16_to_f32_avx2(const void *source, float *target, size_t n)
{
    const uint8_t *bytes = source;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m128i low = _mm_loadu_si128((const __m128i *)(bytes + 2 * i));
        __m128i high = _mm_loadu_si128((const __m128i *)(bytes + 2 * i + 16));
        __m256i a = _mm256_slli_epi32(_mm256_cvtepu16_epi32(low), 16);
        __m256i b = _mm256_slli_epi32(_mm256_cvtepu16_epi32(high), 16);
        _mm256_storeu_si256((__m256i *)(target + i), a);
        _mm256_storeu_si256((__m256i *)(target + i + 8), b);
    }
    vise_bf16_to_f32_ref(bytes + 2 * i, target + i, n - i);
}

VISE_TARGET_AVX2 void vise_f16_to_f32_avx2(const void *source, float *target, size_t n)
{
    const uint8_t *bytes = source;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(target + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(bytes + 2 * i))));
    vise_f16_to_f32_ref(bytes + 2 * i, target + i, n - i);
}

/* Eight bf16 codes in the low halves of 32-bit lanes. */
VISE_INLINE VISE_TARGET_AVX2 __m256i round_bf16_avx2(__m256i bits)
{
    __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
    __m256i is_nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f800000));
    __m256i high = _mm256_srli_epi32(bits, 16);
    __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    return _mm256_blendv_epi8(_mm256_srli_epi32(rounded, 16), _mm256_or_si256(high, _mm256_set1_epi32(0x40)),
                              is_nan);
}

VISE_TARGET_AVX2 void vise_f32_to_bf16_avx2(const float *source, void *target, size_t n)
{
    uint8_t *bytes = target;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i a = round_bf16_avx2(_mm256_loadu_si256((const __m256i *)(source + i)));
        __m256i b = round_bf16_avx2(_mm256_loadu_si256((const __m256i *)(source + i + 8)));
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8);
        _mm256_storeu_si256((__m256i *)(bytes + 2 * i), packed);
    }
    vise_f32_to_bf16_ref(source + i, bytes + 2 * i, n - i);
}

VISE_TARGET_AVX2 void vise_f32_to_f16_avx2(const float *source, void *target, size_t n)
{
    uint8_t *bytes = target;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i half =
            _mm256_cvtps_ph(_mm256_loadu_ps(source + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128((__m128i *)(bytes + 2 * i), half);
    }
    vise_f32_to_f16_ref(source + i, bytes + 2 * i, n - i);
}

VISE_INLINE VISE_TARGET_AVX2 __m256i magnitude_avx2(const float *values)
{
    return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)values), _mm256_set1_epi32(0x7fffffff));
}

VISE_INLINE VISE_TARGET_AVX2 unsigned lanes_avx2(__m256i mask)
{
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(mask));
}

VISE_TARGET_AVX2 void vise_count_cast_avx2(const float *before, const float *after, size_t n,
                                           vise_cast_stats *stats)
{
    const __m256i largest = _mm256_set1_epi32(0x7f7fffff), zero = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i b = magnitude_avx2(before + i), a = magnitude_avx2(after + i);
        unsigned bad_after = lanes_avx2(_mm256_cmpgt_epi32(a, largest));
        unsigned bad_before = lanes_avx2(_mm256_cmpgt_epi32(b, largest));
        unsigned zero_after = lanes_avx2(_mm256_cmpeq_epi32(a, zero));
        unsigned zero_before = lanes_avx2(_mm256_cmpeq_epi32(b, zero));
        stats->overflowed += (unsigned)__builtin_popcount(bad_after & ~bad_before);
        stats->flushed += (unsigned)__builtin_popcount(zero_after & ~zero_before);
    }
    vise_count_cast_ref(before + i, after + i, n - i, stats);
}

VISE_TARGET_AVX2 size_t vise_count_nonfinite_avx2(const float *values, size_t n)
{
    const __m256i largest = _mm256_set1_epi32(0x7f7fffff);
    size_t i = 0, count = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i a = _mm256_cmpgt_epi32(magnitude_avx2(values + i), largest);
        __m256i b = _mm256_cmpgt_epi32(magnitude_avx2(values + i + 8), largest);
        __m256i c = _mm256_cmpgt_epi32(magnitude_avx2(values + i + 16), largest);
        __m256i d = _mm256_cmpgt_epi32(magnitude_avx2(values + i + 24), largest);
        __m256i any = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
        if (!_mm256_testz_si256(any, any))
            count += vise_count_nonfinite_ref(values + i, 32);
    }
    return count + vise_count_nonfinite_ref(values + i, n - i);
}

/* ---- AVX-512 ------------------------------------------------------------------------------------------- */

VISE_TARGET_AVX512 void vise_bf16_to_f32_avx512(const void *source, float *target, size_t n)
{
    const uint8_t *bytes = source;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(bytes + 2 * i)));
        _mm512_storeu_si512(target + i, _mm512_slli_epi32(wide, 16));
    }
    vise_bf16_to_f32_ref(bytes + 2 * i, target + i, n - i);
}

VISE_TARGET_AVX512 void vise_f16_to_f32_avx512(const void *source, float *target, size_t n)
{
    const uint8_t *bytes = source;
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(target + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(bytes + 2 * i))));
    vise_f16_to_f32_ref(bytes + 2 * i, target + i, n - i);
}

VISE_TARGET_AVX512 void vise_f32_to_bf16_avx512(const float *source, void *target, size_t n)
{
    uint8_t *bytes = target;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i bits = _mm512_loadu_si512(source + i), high = _mm512_srli_epi32(bits, 16);
        __m512i magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
        __mmask16 is_nan = _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f800000));
        __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
        __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
        __m512i code = _mm512_srli_epi32(rounded, 16);
        code = _mm512_mask_or_epi32(code, is_nan, high, _mm512_set1_epi32(0x40));
        _mm256_storeu_si256((__m256i *)(bytes + 2 * i), _mm512_cvtepi32_epi16(code));
    }
    vise_f32_to_bf16_ref(source + i, bytes + 2 * i, n - i);
}

VISE_TARGET_AVX512 void vise_f32_to_f16_avx512(const float *source, void *target, size_t n)
{
    uint8_t *bytes = target;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i half =
            _mm512_cvtps_ph(_mm512_loadu_ps(source + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm256_storeu_si256((__m256i *)(bytes + 2 * i), half);
    }
    vise_f32_to_f16_ref(source + i, bytes + 2 * i, n - i);
}

VISE_INLINE VISE_TARGET_AVX512 __m512i magnitude_avx512(const float *values)
{
    return _mm512_and_si512(_mm512_loadu_si512(values), _mm512_set1_epi32(0x7fffffff));
}

VISE_TARGET_AVX512 void vise_count_cast_avx512(const float *before, const float *after, size_t n,
                                               vise_cast_stats *stats)
{
    const __m512i largest = _mm512_set1_epi32(0x7f7fffff);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i b = magnitude_avx512(before + i), a = magnitude_avx512(after + i);
        __mmask16 overflowed = _mm512_mask_cmpgt_epi32_mask(_mm512_cmple_epi32_mask(b, largest), a, largest);
        __mmask16 flushed = _mm512_mask_testn_epi32_mask(_mm512_test_epi32_mask(b, b), a, a);
        stats->overflowed += (unsigned)__builtin_popcount(overflowed);
        stats->flushed += (unsigned)__builtin_popcount(flushed);
    }
    vise_count_cast_ref(before + i, after + i, n - i, stats);
}

VISE_TARGET_AVX512 size_t vise_count_nonfinite_avx512(const float *values, size_t n)
{
    const __m512i largest = _mm512_set1_epi32(0x7f7fffff);
    size_t i = 0, count = 0;
    for (; i + 32 <= n; i += 32) {
        __mmask16 a = _mm512_cmpgt_epi32_mask(magnitude_avx512(values + i), largest);
        __mmask16 b = _mm512_cmpgt_epi32_mask(magnitude_avx512(values + i + 16), largest);
        if (a | b)
            count += (unsigned)__builtin_popcount(a) + (unsigned)__builtin_popcount(b);
    }
    return count + vise_count_nonfinite_ref(values + i, n - i);
}
