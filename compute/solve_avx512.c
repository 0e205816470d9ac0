#include "compute/solve_kernels.h"

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")))

enum { LANES = VISE_SOLVE_LANES };

/* The 16 x 16 tile of w stays in registers while the solved columns pass by. */
AVX512 static void avx512_update(int64_t k, const float *e, int64_t lde, const float *u, float *w)
{
    __m512 sum[LANES];
#pragma GCC unroll 16
    for (int c = 0; c < LANES; c++)
        sum[c] = _mm512_loadu_ps(w + c * LANES);
    for (int64_t l = 0; l < k; l++) {
        __m512 error = _mm512_loadu_ps(e + l * lde);
#pragma GCC unroll 16
        for (int c = 0; c < LANES; c++)
            sum[c] = _mm512_fnmadd_ps(error, _mm512_set1_ps(u[l * LANES + c]), sum[c]);
    }
#pragma GCC unroll 16
    for (int c = 0; c < LANES; c++)
        _mm512_storeu_ps(w + c * LANES, sum[c]);
}

AVX512 static void add_half_square(__m256 e, double *loss)
{
    __m512d x = _mm512_cvtps_pd(e);
    __m512d half = _mm512_mul_pd(_mm512_set1_pd(0.5), x);
    _mm512_storeu_pd(loss, _mm512_fmadd_pd(half, x, _mm512_loadu_pd(loss)));
}

AVX512 static void avx512_column(int n, const float *q, float diagonal, const float *u, float *w, float *e,
                                 double *loss)
{
    __m512 projected = _mm512_loadu_ps(q);
    __m512 error = _mm512_div_ps(_mm512_sub_ps(_mm512_loadu_ps(w), projected), _mm512_set1_ps(diagonal));
    _mm512_storeu_ps(e, error);
    _mm512_storeu_ps(w, projected);
    for (int c = 1; c < n; c++) {
        float *next = w + c * LANES;
        _mm512_storeu_ps(next, _mm512_fnmadd_ps(error, _mm512_set1_ps(u[c]), _mm512_loadu_ps(next)));
    }
    add_half_square(_mm512_castps512_ps256(error), loss);
    add_half_square(_mm512_extractf32x8_ps(error, 1), loss + 8);
}

/* Transpositions are bound by the shuffle port and memory: the AVX2 ones serve. */
static void avx512_load(int n, int64_t cols, const float *x, int64_t ldx, float *w)
{
    vise_solve_kernels_avx2.load(n, cols, x, ldx, w);
}

static void avx512_store(int n, int64_t cols, const float *w, float *x, int64_t ldx)
{
    vise_solve_kernels_avx2.store(n, cols, w, x, ldx);
}

const vise_solve_kernels vise_solve_kernels_avx512 = {avx512_load, avx512_store, avx512_update,
                                                      avx512_column};
