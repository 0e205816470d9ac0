/* The network's row kernels for AVX2. Ends of rows go through masked loads and stores. */
#include "compute/network_kernels.h"

#include <immintrin.h>
#include <math.h>

#include "compute/simd_exp.h"

#define AVX2 __attribute__((target("avx2,fma,f16c,bmi2")))

enum {
    RUN = 256
}; /* logits whose exponentials are summed in float, 32 to a lane, before they go to doubles */

/* All ones in the lanes of the i-th vector of n elements. */
AVX2 static __m256i lanes(int64_t n, int64_t i)
{
    int left = n - i < 8 ? (int)(n - i) : 8;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

AVX2 static __m256d low(__m256 x)
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(x));
}

AVX2 static __m256d high(__m256 x)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
}

AVX2 static double sum_of(__m256d x)
{
    double part[4];
    _mm256_storeu_pd(part, x);
    return (part[0] + part[1]) + (part[2] + part[3]);
}

AVX2 static double avx2_sum_squares(int64_t n, const float *x)
{
    __m256d even = _mm256_setzero_pd();
    __m256d odd = _mm256_setzero_pd();
    for (int64_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_maskload_ps(x + i, lanes(n, i));
        even = _mm256_fmadd_pd(low(v), low(v), even);
        odd = _mm256_fmadd_pd(high(v), high(v), odd);
    }
    return sum_of(_mm256_add_pd(even, odd));
}

AVX2 static void avx2_scale_by(int64_t n, const float *x, float factor, const float *weight, float *y)
{
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n, i);
        __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), _mm256_set1_ps(factor));
        _mm256_maskstore_ps(y + i, mask, _mm256_mul_ps(v, _mm256_maskload_ps(weight + i, mask)));
    }
}

AVX2 static double avx2_sum(int64_t n, const float *x)
{
    __m256d even = _mm256_setzero_pd();
    __m256d odd = _mm256_setzero_pd();
    for (int64_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_maskload_ps(x + i, lanes(n, i));
        even = _mm256_add_pd(even, low(v));
        odd = _mm256_add_pd(odd, high(v));
    }
    return sum_of(_mm256_add_pd(even, odd));
}

AVX2 static double avx2_squares_around(int64_t n, const float *x, double center)
{
    const __m256d c = _mm256_set1_pd(center);
    __m256d even = _mm256_setzero_pd();
    __m256d odd = _mm256_setzero_pd();
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n, i);
        __m256 v = _mm256_maskload_ps(x + i, mask);
        __m256d a = _mm256_sub_pd(low(v), c);
        __m256d b = _mm256_sub_pd(high(v), c);
        if (n - i < 8) {
            a = _mm256_and_pd(a, _mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(mask))));
            b = _mm256_and_pd(b, _mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm256_extracti128_si256(mask, 1))));
        }
        even = _mm256_fmadd_pd(a, a, even);
        odd = _mm256_fmadd_pd(b, b, odd);
    }
    return sum_of(_mm256_add_pd(even, odd));
}

AVX2 static void avx2_standardize(int64_t n, const float *x, float center, float factor, const float *weight,
                                  const float *bias, float *y)
{
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n, i);
        __m256 v = _mm256_sub_ps(_mm256_maskload_ps(x + i, mask), _mm256_set1_ps(center));
        v = _mm256_mul_ps(v, _mm256_set1_ps(factor));
        v = _mm256_fmadd_ps(v, _mm256_maskload_ps(weight + i, mask), _mm256_maskload_ps(bias + i, mask));
        _mm256_maskstore_ps(y + i, mask, v);
    }
}

AVX2 static void avx2_multiply(int64_t n, float *x, const float *y)
{
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n, i);
        _mm256_maskstore_ps(x + i, mask,
                            _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), _mm256_maskload_ps(y + i, mask)));
    }
}

AVX2 static void avx2_add(int64_t n, float *x, const float *y)
{
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n, i);
        _mm256_maskstore_ps(x + i, mask,
                            _mm256_add_ps(_mm256_maskload_ps(x + i, mask), _mm256_maskload_ps(y + i, mask)));
    }
}

AVX2 static void avx2_silu_mul(int64_t n, float *gate, const float *up)
{
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n, i);
        __m256 g = _mm256_maskload_ps(gate + i, mask);
        __m256 e = vise_exp_avx2(_mm256_sub_ps(_mm256_setzero_ps(), g));
        __m256 silu = _mm256_div_ps(g, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
        _mm256_maskstore_ps(gate + i, mask, _mm256_mul_ps(silu, _mm256_maskload_ps(up + i, mask)));
    }
}

AVX2 static void avx2_rotate(int64_t n, float *first, float *second, const float *c, const float *s)
{
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n, i);
        __m256 a = _mm256_maskload_ps(first + i, mask);
        __m256 b = _mm256_maskload_ps(second + i, mask);
        __m256 cosine = _mm256_maskload_ps(c + i, mask);
        __m256 sine = _mm256_maskload_ps(s + i, mask);
        _mm256_maskstore_ps(first + i, mask, _mm256_fmsub_ps(a, cosine, _mm256_mul_ps(b, sine)));
        _mm256_maskstore_ps(second + i, mask, _mm256_fmadd_ps(b, cosine, _mm256_mul_ps(a, sine)));
    }
}

AVX2 static float avx2_max(int64_t n, const float *x)
{
    __m256 max = _mm256_set1_ps(-INFINITY);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        max = _mm256_max_ps(_mm256_loadu_ps(x + i), max);
    float part[8];
    _mm256_storeu_ps(part, max);
    float result = part[0];
    for (int lane = 1; lane < 8; lane++)
        result = part[lane] > result ? part[lane] : result;
    for (; i < n; i++)
        result = x[i] > result ? x[i] : result;
    return result;
}

AVX2 static float avx2_exp_shift(int64_t n, float *x, float shift)
{
    __m256 sum = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n, i);
        __m256 e = vise_exp_avx2(_mm256_sub_ps(_mm256_maskload_ps(x + i, mask), _mm256_set1_ps(shift)));
        _mm256_maskstore_ps(x + i, mask, e);
        sum = _mm256_add_ps(sum, _mm256_and_ps(e, _mm256_castsi256_ps(mask)));
    }
    return (float)sum_of(_mm256_add_pd(low(sum), high(sum)));
}

AVX2 static double avx2_sum_exp(int64_t n, const float *x, float shift)
{
    __m256d total = _mm256_setzero_pd();
    for (int64_t i = 0; i < n; i += RUN) {
        __m256 sum = _mm256_setzero_ps();
        int64_t end = n - i < RUN ? n : i + RUN;
        for (int64_t j = i; j < end; j += 8) {
            __m256i mask = lanes(n, j);
            __m256 e = vise_exp_avx2(_mm256_sub_ps(_mm256_maskload_ps(x + j, mask), _mm256_set1_ps(shift)));
            sum = _mm256_add_ps(sum, _mm256_and_ps(e, _mm256_castsi256_ps(mask)));
        }
        total = _mm256_add_pd(total, _mm256_add_pd(low(sum), high(sum)));
    }
    return sum_of(total);
}

AVX2 static void avx2_pair(int64_t n, const float *a, const float *b, vise_row_pair *pair)
{
    __m256d total_a = _mm256_setzero_pd();
    __m256d total_b = _mm256_setzero_pd();
    __m256d total_dot = _mm256_setzero_pd();
    for (int64_t i = 0; i < n; i += RUN) {
        __m256 sum_a = _mm256_setzero_ps();
        __m256 sum_b = _mm256_setzero_ps();
        __m256 dot = _mm256_setzero_ps();
        int64_t end = n - i < RUN ? n : i + RUN;
        for (int64_t j = i; j < end; j += 8) {
            __m256i mask = lanes(n, j);
            __m256 x = _mm256_maskload_ps(a + j, mask);
            __m256 y = _mm256_maskload_ps(b + j, mask);
            __m256 p = vise_exp_avx2(_mm256_sub_ps(x, _mm256_set1_ps(pair->max_a)));
            __m256 q = vise_exp_avx2(_mm256_sub_ps(y, _mm256_set1_ps(pair->max_b)));
            p = _mm256_and_ps(p, _mm256_castsi256_ps(mask));
            sum_a = _mm256_add_ps(sum_a, p);
            sum_b = _mm256_add_ps(sum_b, _mm256_and_ps(q, _mm256_castsi256_ps(mask)));
            dot = _mm256_fmadd_ps(p, _mm256_sub_ps(x, y), dot);
        }
        total_a = _mm256_add_pd(total_a, _mm256_add_pd(low(sum_a), high(sum_a)));
        total_b = _mm256_add_pd(total_b, _mm256_add_pd(low(sum_b), high(sum_b)));
        total_dot = _mm256_add_pd(total_dot, _mm256_add_pd(low(dot), high(dot)));
    }
    pair->sum_a = sum_of(total_a);
    pair->sum_b = sum_of(total_b);
    pair->dot = sum_of(total_dot);
}

AVX2 static void avx2_scale(int64_t n, float *x, float factor)
{
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n, i);
        _mm256_maskstore_ps(x + i, mask,
                            _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), _mm256_set1_ps(factor)));
    }
}

AVX2 static void avx2_exp(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n, i);
        _mm256_maskstore_ps(y + i, mask, vise_exp_avx2(_mm256_maskload_ps(x + i, mask)));
    }
}

const vise_network_kernels vise_network_kernels_avx2 = {
    .sum_squares = avx2_sum_squares,
    .scale_by = avx2_scale_by,
    .sum = avx2_sum,
    .squares_around = avx2_squares_around,
    .standardize = avx2_standardize,
    .add = avx2_add,
    .multiply = avx2_multiply,
    .silu_mul = avx2_silu_mul,
    .rotate = avx2_rotate,
    .max = avx2_max,
    .exp_shift = avx2_exp_shift,
    .sum_exp = avx2_sum_exp,
    .pair = avx2_pair,
    .scale = avx2_scale,
    .exp = avx2_exp,
};
