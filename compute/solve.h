/* Column-by-column compression with error feedback: the loop that GPTQ (Frantar et al. 2022,
 * arXiv:2210.17323, algorithm 1) and SparseGPT (Frantar and Alistarh 2023, arXiv:2301.00774) share. For
 * column j of w in order:
 *
 *   q_j = project(w_j)                     a grid, a mask, or both: the callback
 *   e   = (w_j - q_j) / u_jj
 *   w_k -= e u_jk   for k > j              lazily, in blocks of columns: one matrix product per block
 *   loss += e^2 / 2                        so that sum(loss) = 1/2 tr((W - Q) H (W - Q)^T)
 *
 * Rows are independent given u: they are processed in tiles of fixed height, one task each, lanes =
 * rows. */
#ifndef VISE_COMPUTE_SOLVE_H
#define VISE_COMPUTE_SOLVE_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define VISE_SOLVE_LANES 16 /* rows that one callback handles together */

typedef struct vise_solve {
    int64_t rows, cols;
    float *w; /* [rows, cols]: in, the weights (columns in solving order); out, the projected weights q */
    int64_t ldw;
    const float *u; /* [cols, cols] upper triangular, of inverse_factor */
    int64_t ldu;
    int64_t
        block; /* columns solved before the lazy update (0: 128); a multiple of `period` when enter is used */
    int64_t from, to; /* solve columns [from, to) alone, and update all behind them (both 0: every column). A
                         caller that must see all rows before it goes on, such as SparseGPT, which prunes the
                         lowest of a whole block of columns, solves block after block; from: a multiple of block */

    /* Called for rows [row0, row0 + n) before columns [col, col + period) are projected, with their
     * values as updated so far, laid out [period][VISE_SOLVE_LANES] (fewer columns at the end of a row):
     * for grids fitted to updated weights, and for keep:group masks. NULL: not called. */
    void (*enter)(void *context, int64_t row0, int n, int64_t col, const float *values);
    int64_t period;

    /* Projects column col of rows [row0, row0 + n): values[VISE_SOLVE_LANES] ->
     * projected[VISE_SOLVE_LANES]; lanes >= n are ignored. row0 is a multiple of VISE_SOLVE_LANES.
     * Called from any worker, for disjoint rows, columns in order. It runs once per column and 16 rows:
     * vise_uniform_projector (compute/project.h) does integer grids in vectors. */
    void (*project)(void *context, int64_t row0, int n, int64_t col, const float *values, float *projected);
    void *context;
} vise_solve;

#endif
