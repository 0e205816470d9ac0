/* Inner kernels of compute/solve.c; private to this room. Sixteen rows (lanes) of a block of columns,
 * stored column by column: values[column][16]. */
#ifndef VISE_COMPUTE_SOLVE_KERNELS_H
#define VISE_COMPUTE_SOLVE_KERNELS_H

#include <stdint.h>

#include "compute/solve.h"
#include "core/cpu.h"

typedef struct vise_solve_kernels {
    /* w [cols][16] = rows of x [n, ldx], columns 0..cols; lanes from n on are zero. */
    void (*load)(int n, int64_t cols, const float *x, int64_t ldx, float *w);
    /* The reverse, for lanes below n. */
    void (*store)(int n, int64_t cols, const float *w, float *x, int64_t ldx);
    /* w [16 columns][16] -= e_l u_l over k solved columns: e [k] with stride lde, u [k][16]. */
    void (*update)(int64_t k, const float *e, int64_t lde, const float *u, float *w);
    /* One solved column w[0], projected onto q: e = (w - q) / diagonal; loss[lane] += e^2 / 2; w[0] = q;
     * w[c] -= e u[c] for c = 1..n-1. */
    void (*column)(int n, const float *q, float diagonal, const float *u, float *w, float *e, double *loss);
} vise_solve_kernels;

extern const vise_solve_kernels vise_solve_kernels_ref;
extern const vise_solve_kernels vise_solve_kernels_avx2;
extern const vise_solve_kernels vise_solve_kernels_avx512;

#endif
