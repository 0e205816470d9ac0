#include "compute/solve_kernels.h"

enum { LANES = VISE_SOLVE_LANES };

static void ref_load(int n, int64_t cols, const float *x, int64_t ldx, float *w)
{
    for (int64_t c = 0; c < cols; c++)
        for (int lane = 0; lane < LANES; lane++)
            w[c * LANES + lane] = lane < n ? x[lane * ldx + c] : 0.0f;
}

static void ref_store(int n, int64_t cols, const float *w, float *x, int64_t ldx)
{
    for (int64_t c = 0; c < cols; c++)
        for (int lane = 0; lane < n; lane++)
            x[lane * ldx + c] = w[c * LANES + lane];
}

static void ref_update(int64_t k, const float *e, int64_t lde, const float *u, float *w)
{
    for (int64_t l = 0; l < k; l++)
        for (int c = 0; c < LANES; c++)
            for (int lane = 0; lane < LANES; lane++)
                w[c * LANES + lane] -= e[l * lde + lane] * u[l * LANES + c];
}

static void ref_column(int n, const float *q, float diagonal, const float *u, float *w, float *e,
                       double *loss)
{
    for (int lane = 0; lane < LANES; lane++) {
        e[lane] = (w[lane] - q[lane]) / diagonal;
        loss[lane] += 0.5 * (double)e[lane] * (double)e[lane];
        w[lane] = q[lane];
    }
    for (int c = 1; c < n; c++)
        for (int lane = 0; lane < LANES; lane++)
            w[c * LANES + lane] -= e[lane] * u[c];
}

const vise_solve_kernels vise_solve_kernels_ref = {ref_load, ref_store, ref_update, ref_column};
