/* Functions of one value for AVX2. Ends of rows go through masked loads and stores. */
#include <immintrin.h>

#include "compute/simd_exp.h"
#include "compute/value_kernels.h"

#define AVX2 __attribute__((target("avx2,fma,f16c,bmi2")))
#define INLINE AVX2 __attribute__((always_inline)) static inline

/* All ones in the lanes of the i-th vector of n elements. */
AVX2 static inline __m256i lanes(int64_t n, int64_t i)
{
    int left = n - i < 8 ? (int)(n - i) : 8;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE __m256 absolute(__m256 x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

/* 1 / (1 + e^-u) for a factor x: x / (1 + e^-u), NaN where x is. */
INLINE __m256 gated(__m256 x, __m256 minus_u)
{
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), vise_exp_avx2(minus_u)));
}

INLINE __m256 silu(__m256 x)
{
    return gated(x, _mm256_sub_ps(_mm256_setzero_ps(), x));
}

INLINE __m256 gelu_tanh(__m256 x)
{
    __m256 cube = _mm256_mul_ps(_mm256_mul_ps(x, x), x);
    __m256 sum = _mm256_fmadd_ps(_mm256_set1_ps(VISE_GELU_CUBIC), cube, x);
    return gated(x, _mm256_mul_ps(_mm256_set1_ps(-VISE_GELU_TWICE), sum));
}

INLINE __m256 gelu_quick(__m256 x)
{
    return gated(x, _mm256_mul_ps(_mm256_set1_ps(-VISE_GELU_QUICK_SLOPE), x));
}

/* x Phi(x): with the tail q = Phi(-|x|) = erfc(|x| / sqrt 2) / 2, x - x q for x > 0, else x q. */
INLINE __m256 gelu(__m256 x)
{
    static const float terms[] = VISE_ERFC_TERMS;
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 z = _mm256_mul_ps(absolute(x), _mm256_set1_ps(0.70710678f));
    __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(z, _mm256_set1_ps(VISE_ERFC_STRETCH), one));
    __m256 q = _mm256_set1_ps(terms[9]);
#pragma GCC unroll 9
    for (int i = 8; i >= 0; i--)
        q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(terms[i]));
    __m256 e = vise_exp_avx2(_mm256_mul_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(-0.5f)));
    __m256 part = _mm256_mul_ps(x, _mm256_mul_ps(_mm256_mul_ps(q, e), _mm256_set1_ps(0.5f)));
    /* x > 0, by the sign: blendv looks at nothing else. NaN is in both. */
    return _mm256_blendv_ps(_mm256_sub_ps(x, part), part, x);
}

INLINE __m256 tangent(__m256 x)
{
    static const float terms[] = VISE_TANH_TERMS;
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 square = _mm256_mul_ps(x, x), p = _mm256_set1_ps(terms[4]);
#pragma GCC unroll 4
    for (int i = 3; i >= 0; i--)
        p = _mm256_fmadd_ps(p, square, _mm256_set1_ps(terms[i]));
    __m256 small = _mm256_fmadd_ps(_mm256_mul_ps(x, square), p, x);
    __m256 size = absolute(x);
    __m256 e = vise_exp_avx2(_mm256_add_ps(size, size));
    __m256 large = _mm256_sub_ps(one, _mm256_div_ps(_mm256_set1_ps(2.0f), _mm256_add_ps(one, e)));
    __m256 sign = _mm256_and_ps(x, _mm256_set1_ps(-0.0f));
    __m256 is_small = _mm256_cmp_ps(size, _mm256_set1_ps(VISE_TANH_SMALL), _CMP_LT_OQ);
    return _mm256_blendv_ps(_mm256_or_ps(large, sign), small, is_small);
}

/* NaN stays: the second operand of max is what comes out for one. */
INLINE __m256 relu(__m256 x)
{
    return _mm256_max_ps(_mm256_setzero_ps(), x);
}

#define ROWS(function)                                                                                      \
    AVX2 static void avx2_##function(int64_t n, float *x)                                                   \
    {                                                                                                       \
        for (int64_t i = 0; i < n; i += 8) {                                                                \
            __m256i mask = lanes(n, i);                                                                     \
            _mm256_maskstore_ps(x + i, mask, function(_mm256_maskload_ps(x + i, mask)));                    \
        }                                                                                                   \
    }
ROWS(silu)
ROWS(gelu)
ROWS(gelu_tanh)
ROWS(gelu_quick)
ROWS(relu)
ROWS(tangent)

AVX2 static void avx2_soft_cap(int64_t n, float *x, float cap)
{
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n, i);
        __m256 y = tangent(_mm256_div_ps(_mm256_maskload_ps(x + i, mask), _mm256_set1_ps(cap)));
        _mm256_maskstore_ps(x + i, mask, _mm256_mul_ps(y, _mm256_set1_ps(cap)));
    }
}

const vise_value_kernels vise_value_kernels_avx2 = {
    .apply = {[VISE_SILU] = avx2_silu,
              [VISE_GELU] = avx2_gelu,
              [VISE_GELU_TANH] = avx2_gelu_tanh,
              [VISE_GELU_QUICK] = avx2_gelu_quick,
              [VISE_RELU] = avx2_relu,
              [VISE_TANH] = avx2_tangent},
    .soft_cap = avx2_soft_cap,
};
