/* The network's row kernels for AVX-512. Ends of rows are masked. */
#include "compute/network_kernels.h"

#include <immintrin.h>
#include <math.h>

#include "compute/simd_exp.h"

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")))

enum {
    RUN = 256
}; /* logits whose exponentials are summed in float, 16 to a lane, before they go to doubles */

/* The lanes of the i-th vector of n elements. */
AVX512 static __mmask16 lanes(int64_t n, int64_t i)
{
    int64_t left = n - i;
    if (left >= 16)
        return 0xffff;
    return (__mmask16)((1u << left) - 1u);
}

AVX512 static __m512d low(__m512 x)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(x));
}

AVX512 static __m512d high(__m512 x)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
}

AVX512 static double avx512_sum_squares(int64_t n, const float *x)
{
    __m512d even = _mm512_setzero_pd();
    __m512d odd = _mm512_setzero_pd();
    for (int64_t i = 0; i < n; i += 16) {
        __m512 v = _mm512_maskz_loadu_ps(lanes(n, i), x + i);
        even = _mm512_fmadd_pd(low(v), low(v), even);
        odd = _mm512_fmadd_pd(high(v), high(v), odd);
    }
    return _mm512_reduce_add_pd(_mm512_add_pd(even, odd));
}

AVX512 static void avx512_scale_by(int64_t n, const float *x, float factor, const float *weight, float *y)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n, i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(factor));
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, weight + i)));
    }
}

AVX512 static double avx512_sum(int64_t n, const float *x)
{
    __m512d even = _mm512_setzero_pd();
    __m512d odd = _mm512_setzero_pd();
    for (int64_t i = 0; i < n; i += 16) {
        __m512 v = _mm512_maskz_loadu_ps(lanes(n, i), x + i);
        even = _mm512_add_pd(even, low(v));
        odd = _mm512_add_pd(odd, high(v));
    }
    return _mm512_reduce_add_pd(_mm512_add_pd(even, odd));
}

AVX512 static double avx512_squares_around(int64_t n, const float *x, double center)
{
    const __m512d c = _mm512_set1_pd(center);
    __m512d even = _mm512_setzero_pd();
    __m512d odd = _mm512_setzero_pd();
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n, i);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        __m512d a = _mm512_maskz_sub_pd((__mmask8)mask, low(v), c);
        __m512d b = _mm512_maskz_sub_pd((__mmask8)(mask >> 8), high(v), c);
        even = _mm512_fmadd_pd(a, a, even);
        odd = _mm512_fmadd_pd(b, b, odd);
    }
    return _mm512_reduce_add_pd(_mm512_add_pd(even, odd));
}

AVX512 static void avx512_standardize(int64_t n, const float *x, float center, float factor,
                                      const float *weight, const float *bias, float *y)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n, i);
        __m512 v = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(center));
        v = _mm512_mul_ps(v, _mm512_set1_ps(factor));
        v = _mm512_fmadd_ps(v, _mm512_maskz_loadu_ps(mask, weight + i), _mm512_maskz_loadu_ps(mask, bias + i));
        _mm512_mask_storeu_ps(y + i, mask, v);
    }
}

AVX512 static void avx512_multiply(int64_t n, float *x, const float *y)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n, i);
        __m512 product =
            _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_maskz_loadu_ps(mask, y + i));
        _mm512_mask_storeu_ps(x + i, mask, product);
    }
}

AVX512 static void avx512_add(int64_t n, float *x, const float *y)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n, i);
        __m512 sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_maskz_loadu_ps(mask, y + i));
        _mm512_mask_storeu_ps(x + i, mask, sum);
    }
}

AVX512 static void avx512_silu_mul(int64_t n, float *gate, const float *up)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n, i);
        __m512 g = _mm512_maskz_loadu_ps(mask, gate + i);
        __m512 e = vise_exp_avx512(_mm512_sub_ps(_mm512_setzero_ps(), g));
        __m512 silu = _mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
        _mm512_mask_storeu_ps(gate + i, mask, _mm512_mul_ps(silu, _mm512_maskz_loadu_ps(mask, up + i)));
    }
}

AVX512 static void avx512_rotate(int64_t n, float *first, float *second, const float *c, const float *s)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n, i);
        __m512 a = _mm512_maskz_loadu_ps(mask, first + i);
        __m512 b = _mm512_maskz_loadu_ps(mask, second + i);
        __m512 cosine = _mm512_maskz_loadu_ps(mask, c + i);
        __m512 sine = _mm512_maskz_loadu_ps(mask, s + i);
        _mm512_mask_storeu_ps(first + i, mask, _mm512_fmsub_ps(a, cosine, _mm512_mul_ps(b, sine)));
        _mm512_mask_storeu_ps(second + i, mask, _mm512_fmadd_ps(b, cosine, _mm512_mul_ps(a, sine)));
    }
}

AVX512 static float avx512_max(int64_t n, const float *x)
{
    __m512 lowest = _mm512_set1_ps(-INFINITY);
    __m512 max = lowest;
    for (int64_t i = 0; i < n; i += 16)
        max = _mm512_max_ps(_mm512_mask_loadu_ps(lowest, lanes(n, i), x + i), max);
    return _mm512_reduce_max_ps(max);
}

AVX512 static float avx512_exp_shift(int64_t n, float *x, float shift)
{
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n, i);
        __m512 e = vise_exp_avx512(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(shift)));
        _mm512_mask_storeu_ps(x + i, mask, e);
        sum = _mm512_mask_add_ps(sum, mask, sum, e);
    }
    return (float)_mm512_reduce_add_pd(_mm512_add_pd(low(sum), high(sum)));
}

AVX512 static double avx512_sum_exp(int64_t n, const float *x, float shift)
{
    __m512d total = _mm512_setzero_pd();
    for (int64_t i = 0; i < n; i += RUN) {
        __m512 sum = _mm512_setzero_ps();
        int64_t end = n - i < RUN ? n : i + RUN;
        for (int64_t j = i; j < end; j += 16) {
            __mmask16 mask = lanes(n, j);
            __m512 e =
                vise_exp_avx512(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + j), _mm512_set1_ps(shift)));
            sum = _mm512_add_ps(sum, _mm512_maskz_mov_ps(mask, e));
        }
        total = _mm512_add_pd(total, _mm512_add_pd(low(sum), high(sum)));
    }
    return _mm512_reduce_add_pd(total);
}

AVX512 static void avx512_pair(int64_t n, const float *a, const float *b, vise_row_pair *pair)
{
    __m512d total_a = _mm512_setzero_pd();
    __m512d total_b = _mm512_setzero_pd();
    __m512d total_dot = _mm512_setzero_pd();
    for (int64_t i = 0; i < n; i += RUN) {
        __m512 sum_a = _mm512_setzero_ps();
        __m512 sum_b = _mm512_setzero_ps();
        __m512 dot = _mm512_setzero_ps();
        int64_t end = n - i < RUN ? n : i + RUN;
        for (int64_t j = i; j < end; j += 16) {
            __mmask16 mask = lanes(n, j);
            __m512 x = _mm512_maskz_loadu_ps(mask, a + j);
            __m512 y = _mm512_maskz_loadu_ps(mask, b + j);
            __m512 p = vise_exp_avx512(_mm512_sub_ps(x, _mm512_set1_ps(pair->max_a)));
            __m512 q = vise_exp_avx512(_mm512_sub_ps(y, _mm512_set1_ps(pair->max_b)));
            p = _mm512_maskz_mov_ps(mask, p);
            sum_a = _mm512_add_ps(sum_a, p);
            sum_b = _mm512_add_ps(sum_b, _mm512_maskz_mov_ps(mask, q));
            dot = _mm512_fmadd_ps(p, _mm512_sub_ps(x, y), dot);
        }
        total_a = _mm512_add_pd(total_a, _mm512_add_pd(low(sum_a), high(sum_a)));
        total_b = _mm512_add_pd(total_b, _mm512_add_pd(low(sum_b), high(sum_b)));
        total_dot = _mm512_add_pd(total_dot, _mm512_add_pd(low(dot), high(dot)));
    }
    pair->sum_a = _mm512_reduce_add_pd(total_a);
    pair->sum_b = _mm512_reduce_add_pd(total_b);
    pair->dot = _mm512_reduce_add_pd(total_dot);
}

AVX512 static void avx512_scale(int64_t n, float *x, float factor)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n, i);
        _mm512_mask_storeu_ps(x + i, mask,
                              _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(factor)));
    }
}

AVX512 static void avx512_exp(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n, i);
        _mm512_mask_storeu_ps(y + i, mask, vise_exp_avx512(_mm512_maskz_loadu_ps(mask, x + i)));
    }
}

const vise_network_kernels vise_network_kernels_avx512 = {
    .sum_squares = avx512_sum_squares,
    .scale_by = avx512_scale_by,
    .sum = avx512_sum,
    .squares_around = avx512_squares_around,
    .standardize = avx512_standardize,
    .add = avx512_add,
    .multiply = avx512_multiply,
    .silu_mul = avx512_silu_mul,
    .rotate = avx512_rotate,
    .max = avx512_max,
    .exp_shift = avx512_exp_shift,
    .sum_exp = avx512_sum_exp,
    .pair = avx512_pair,
    .scale = avx512_scale,
    .exp = avx512_exp,
};
