/* e^x in vectors, within 1 ulp or little more; private to this room.
 *
 * x = n ln 2 + r with |r| <= ln 2 / 2, e^x = 2^n (1 + r + r^2 P(r)); P of degree 4 is the minimax
 * polynomial for the relative error (3e-9). ln 2 is subtracted in two parts, the first of which has 15
 * bits, so that n times it is exact. Arguments are clamped to where the result is 0 or infinite already;
 * NaN passes through (the order of operands in min and max). */
#ifndef VISE_COMPUTE_SIMD_EXP_H
#define VISE_COMPUTE_SIMD_EXP_H

#include <immintrin.h>

#define VISE_EXP_LOWEST   (-104.0f)
#define VISE_EXP_HIGHEST  89.0f
#define VISE_EXP_LOG2E    0x1.715476p0f
#define VISE_EXP_LN2_HIGH 0x1.62e4p-1f
#define VISE_EXP_LN2_LOW  0x1.7f7d1cp-20f
#define VISE_EXP_C2       0x1.fffffcp-2f
#define VISE_EXP_C3       0x1.555492p-3f
#define VISE_EXP_C4       0x1.5558f2p-5f
#define VISE_EXP_C5       0x1.1239e2p-7f
#define VISE_EXP_C6       0x1.6a2434p-10f

__attribute__((target("avx2,fma"), always_inline)) static inline __m256 vise_exp_avx2(__m256 x)
{
    x = _mm256_min_ps(_mm256_set1_ps(VISE_EXP_HIGHEST), x);
    x = _mm256_max_ps(_mm256_set1_ps(VISE_EXP_LOWEST), x);
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(VISE_EXP_LOG2E)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(VISE_EXP_LN2_HIGH), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(VISE_EXP_LN2_LOW), r);
    __m256 p = _mm256_set1_ps(VISE_EXP_C6);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(VISE_EXP_C5));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(VISE_EXP_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(VISE_EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(VISE_EXP_C2));
    p = _mm256_fmadd_ps(_mm256_mul_ps(r, r), p, r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    /* 2^n as a product of two normal numbers: n reaches from -150 (a denormal result) to 128. */
    __m256i whole = _mm256_cvtps_epi32(n);
    __m256i half = _mm256_srai_epi32(whole, 1);
    __m256i bias = _mm256_set1_epi32(127);
    __m256i first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i second = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(first)), _mm256_castsi256_ps(second));
}

__attribute__((target("avx512f"), always_inline)) static inline __m512 vise_exp_avx512(__m512 x)
{
    x = _mm512_min_ps(_mm512_set1_ps(VISE_EXP_HIGHEST), x);
    x = _mm512_max_ps(_mm512_set1_ps(VISE_EXP_LOWEST), x);
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(VISE_EXP_LOG2E)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(VISE_EXP_LN2_HIGH), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(VISE_EXP_LN2_LOW), r);
    __m512 p = _mm512_set1_ps(VISE_EXP_C6);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(VISE_EXP_C5));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(VISE_EXP_C4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(VISE_EXP_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(VISE_EXP_C2));
    p = _mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r);
    p = _mm512_add_ps(p, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

#endif
