/* The products of compute/blas.h in plain C: what is true, not what is fast. Every element is a sum over
 * k in ascending order, in runs of BLOCK_K. Operands are packed into small panels, which takes care of
 * transposes and caches alike. */
#include "compute/blas.h"

#include <string.h>

enum { BLOCK_K = 256, ROWS = 4, COLS = 8 };

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* panel [k][width] = `count` rows of op(x) (x [rows, k], or [k, rows] when trans) from `first`, at k0;
 * zero beyond count. */
static void pack(float *panel, int64_t width, const float *x, int64_t ldx, bool trans, int64_t first,
                 int64_t count, int64_t k0, int64_t k)
{
    memset(panel, 0, (size_t)(k * width) * sizeof *panel);
    for (int64_t i = 0; i < count; i++)
        for (int64_t p = 0; p < k; p++)
            panel[p * width + i] = trans ? x[(k0 + p) * ldx + first + i] : x[(first + i) * ldx + k0 + p];
}

/* c [rows, cols] += alpha a^T b for panels a [k][ROWS], b [k][COLS]. */
static void panel_product(int64_t k, const float *a, const float *b, float alpha, int64_t rows, int64_t cols,
                          float *c, int64_t ldc)
{
    float sum[ROWS][COLS] = {{0}};
    for (int64_t p = 0; p < k; p++)
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < COLS; j++)
                sum[i][j] += a[p * ROWS + i] * b[p * COLS + j];
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            c[i * ldc + j] += alpha * sum[i][j];
}

static void ref_gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                     int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    float a_panel[BLOCK_K * ROWS];
    float b_panel[BLOCK_K * COLS];
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) /* beta 0: c may hold anything, NaN included */
            c[i * ldc + j] = beta > 0.0f || beta < 0.0f ? beta * c[i * ldc + j] : 0.0f;
    for (int64_t k0 = 0; k0 < k; k0 += BLOCK_K) {
        int64_t run = min_of(BLOCK_K, k - k0);
        for (int64_t j = 0; j < n; j += COLS) {
            int64_t cols = min_of(COLS, n - j);
            pack(b_panel, COLS, b, ldb, !trans_b, j, cols, k0, run);
            for (int64_t i = 0; i < m; i += ROWS) {
                int64_t rows = min_of(ROWS, m - i);
                pack(a_panel, ROWS, a, lda, trans_a, i, rows, k0, run);
                panel_product(run, a_panel, b_panel, alpha, rows, cols, c + i * ldc + j, ldc);
            }
        }
    }
}

static void ref_syrk(bool trans, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, float *c,
                     int64_t ldc)
{
    for (int64_t i = 0; i < n; i++) {
        const float *left = trans ? a + i : a + i * lda;
        ref_gemm(trans, !trans, 1, n - i, k, alpha, left, lda, left, lda, 1.0f, c + i * ldc + i, ldc);
    }
}

static void ref_trmm_right(bool trans, int64_t m, int64_t n, float alpha, const float *t, int64_t ldt,
                           float *b, int64_t ldb)
{
    /* Column j needs columns 0..j as they were, or j.. when transposed: so from the right, or from the
     * left. */
    for (int64_t i = 0; i < m; i++) {
        float *row = b + i * ldb;
        for (int64_t step = 0; step < n; step++) {
            int64_t j = trans ? step : n - 1 - step;
            float sum = 0.0f;
            for (int64_t p = trans ? j : 0; p < (trans ? n : j + 1); p++)
                sum += row[p] * (trans ? t[j * ldt + p] : t[p * ldt + j]);
            row[j] = alpha * sum;
        }
    }
}

static void ref_trmm_left(int64_t m, int64_t n, const float *t, int64_t ldt, float *b, int64_t ldb)
{
    /* Row i needs rows i.. as they were: from the top. */
    for (int64_t i = 0; i < m; i++) {
        float *row = b + i * ldb;
        for (int64_t j = 0; j < n; j++)
            row[j] *= t[i * ldt + i];
        for (int64_t p = i + 1; p < m; p++)
            for (int64_t j = 0; j < n; j++)
                row[j] += t[i * ldt + p] * b[p * ldb + j];
    }
}

const vise_blas vise_blas_reference = {ref_gemm, ref_syrk, ref_trmm_right, ref_trmm_left, "reference"};
