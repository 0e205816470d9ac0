#include <immintrin.h>

#include "tensor/kernels.h"

VISE_TARGET_AVX2 void vise_loss_run_avx2(const float *original, const float *values, size_t n,
                                         float error[16], float signal[16], uint64_t *zeros)
{
    __m256 errors[2] = {_mm256_loadu_ps(error), _mm256_loadu_ps(error + 8)};
    __m256 signals[2] = {_mm256_loadu_ps(signal), _mm256_loadu_ps(signal + 8)};
    for (size_t i = 0; i < n; i += 16)
        for (int half = 0; half < 2; half++) {
            const __m256 w = _mm256_loadu_ps(original + i + 8 * half),
                         v = _mm256_loadu_ps(values + i + 8 * half);
            const __m256 difference = _mm256_sub_ps(w, v);
            errors[half] = _mm256_add_ps(errors[half], _mm256_mul_ps(difference, difference));
            signals[half] = _mm256_add_ps(signals[half], _mm256_mul_ps(w, w));
            const int zero = _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_EQ_OQ));
            *zeros += (uint64_t)_mm_popcnt_u32((unsigned)zero);
        }
    for (int half = 0; half < 2; half++) {
        _mm256_storeu_ps(error + 8 * half, errors[half]);
        _mm256_storeu_ps(signal + 8 * half, signals[half]);
    }
}

VISE_TARGET_AVX512 void vise_loss_run_avx512(const float *original, const float *values, size_t n,
                                             float error[16], float signal[16], uint64_t *zeros)
{
    __m512 errors = _mm512_loadu_ps(error), signals = _mm512_loadu_ps(signal);
    for (size_t i = 0; i < n; i += 16) {
        const __m512 w = _mm512_loadu_ps(original + i), v = _mm512_loadu_ps(values + i);
        const __m512 difference = _mm512_sub_ps(w, v);
        errors = _mm512_add_ps(errors, _mm512_mul_ps(difference, difference));
        signals = _mm512_add_ps(signals, _mm512_mul_ps(w, w));
        *zeros += (uint64_t)_mm_popcnt_u32(_mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_EQ_OQ));
    }
    _mm512_storeu_ps(error, errors);
    _mm512_storeu_ps(signal, signals);
}
