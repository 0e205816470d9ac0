/* Functions of one value for AVX-512. Ends of rows go through masked loads and stores. */
#include <immintrin.h>

#include "compute/simd_exp.h"
#include "compute/value_kernels.h"

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")))
#define INLINE AVX512 __attribute__((always_inline)) static inline

/* The lanes of the i-th vector of n elements. */
AVX512 static inline __mmask16 lanes(int64_t n, int64_t i)
{
    int64_t left = n - i;
    if (left >= 16)
        return 0xffff;
    return (__mmask16)((1u << left) - 1u);
}

/* 1 / (1 + e^-u) for a factor x: x / (1 + e^-u), NaN where x is. */
INLINE __m512 gated(__m512 x, __m512 minus_u)
{
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), vise_exp_avx512(minus_u)));
}

INLINE __m512 silu(__m512 x)
{
    return gated(x, _mm512_sub_ps(_mm512_setzero_ps(), x));
}

INLINE __m512 gelu_tanh(__m512 x)
{
    __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
    __m512 sum = _mm512_fmadd_ps(_mm512_set1_ps(VISE_GELU_CUBIC), cube, x);
    return gated(x, _mm512_mul_ps(_mm512_set1_ps(-VISE_GELU_TWICE), sum));
}

INLINE __m512 gelu_quick(__m512 x)
{
    return gated(x, _mm512_mul_ps(_mm512_set1_ps(-VISE_GELU_QUICK_SLOPE), x));
}

/* x Phi(x): with the tail q = Phi(-|x|) = erfc(|x| / sqrt 2) / 2, x - x q for x > 0, else x q. */
INLINE __m512 gelu(__m512 x)
{
    static const float terms[] = VISE_ERFC_TERMS;
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678f));
    __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(z, _mm512_set1_ps(VISE_ERFC_STRETCH), one));
    __m512 q = _mm512_set1_ps(terms[9]);
#pragma GCC unroll 9
    for (int i = 8; i >= 0; i--)
        q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(terms[i]));
    __m512 e = vise_exp_avx512(_mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(-0.5f)));
    __m512 part = _mm512_mul_ps(x, _mm512_mul_ps(_mm512_mul_ps(q, e), _mm512_set1_ps(0.5f)));
    /* By the sign, as for AVX2. NaN is in both. */
    return _mm512_mask_sub_ps(part, _mm512_knot(_mm512_movepi32_mask(_mm512_castps_si512(x))), x, part);
}

INLINE __m512 tangent(__m512 x)
{
    static const float terms[] = VISE_TANH_TERMS;
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 square = _mm512_mul_ps(x, x), p = _mm512_set1_ps(terms[4]);
#pragma GCC unroll 4
    for (int i = 3; i >= 0; i--)
        p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(terms[i]));
    __m512 small = _mm512_fmadd_ps(_mm512_mul_ps(x, square), p, x);
    __m512 size = _mm512_abs_ps(x);
    __m512 e = vise_exp_avx512(_mm512_add_ps(size, size));
    __m512 large = _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0f), _mm512_add_ps(one, e)));
    __m512 sign = _mm512_and_ps(x, _mm512_set1_ps(-0.0f));
    __mmask16 is_small = _mm512_cmp_ps_mask(size, _mm512_set1_ps(VISE_TANH_SMALL), _CMP_LT_OQ);
    return _mm512_mask_mov_ps(_mm512_or_ps(large, sign), is_small, small);
}

/* NaN stays: the second operand of max is what comes out for one. */
INLINE __m512 relu(__m512 x)
{
    return _mm512_max_ps(_mm512_setzero_ps(), x);
}

#define ROWS(function)                                                                                      \
    AVX512 static void avx512_##function(int64_t n, float *x)                                               \
    {                                                                                                       \
        for (int64_t i = 0; i < n; i += 16) {                                                               \
            __mmask16 mask = lanes(n, i);                                                                   \
            _mm512_mask_storeu_ps(x + i, mask, function(_mm512_maskz_loadu_ps(mask, x + i)));               \
        }                                                                                                   \
    }
ROWS(silu)
ROWS(gelu)
ROWS(gelu_tanh)
ROWS(gelu_quick)
ROWS(relu)
ROWS(tangent)

AVX512 static void avx512_soft_cap(int64_t n, float *x, float cap)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n, i);
        __m512 y = tangent(_mm512_div_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(cap)));
        _mm512_mask_storeu_ps(x + i, mask, _mm512_mul_ps(y, _mm512_set1_ps(cap)));
    }
}

const vise_value_kernels vise_value_kernels_avx512 = {
    .apply = {[VISE_SILU] = avx512_silu,
              [VISE_GELU] = avx512_gelu,
              [VISE_GELU_TANH] = avx512_gelu_tanh,
              [VISE_GELU_QUICK] = avx512_gelu_quick,
              [VISE_RELU] = avx512_relu,
              [VISE_TANH] = avx512_tangent},
    .soft_cap = avx512_soft_cap,
};
