/* Coordinate descent on the error of a layer's output: what the column-by-column solver (compute/solve.h) leaves is
 * improved by visiting every weight again, when all others are known. With D = W - Q and G = D H the loss
 *
 *   1/2 tr(D H D^T)
 *
 * has, in q_j alone, its minimum at q_j + g_j / h_jj; the weight takes the nearest value that the callback allows, so
 * that no step makes the loss greater (QuantEase: Behdin et al. 2023, arXiv:2309.01885). Between sweeps the scales of
 * groups are fitted anew to the codes by least squares: with c = q / s on a group, s + (c . g) / (c^T H c).
 *
 * Rows are independent: they are processed in tiles of fixed height, one task each. */
#ifndef VISE_COMPUTE_DESCEND_H
#define VISE_COMPUTE_DESCEND_H

#include <stdint.h>

#include "compute/backend.h"
#include "core/err.h"
#include "core/mem.h"

typedef struct vise_descend {
    int64_t rows, cols;
    const float *h; /* [cols, cols], symmetric, whole */
    const float *w; /* [rows, cols]: what q approximates */
    float *q;       /* [rows, cols]: in, from the solver; out, improved */
    int sweeps;     /* of all columns, the scales after each */
    /* As in compute/solve.h. */
    void (*project)(void *context, int64_t row0, int n, int64_t col, const float *values, float *projected);
    /* Scales, [cols / group][stride], stride the rows rounded up to VISE_SOLVE_LANES; NULL: they stay. rescale is told
     * the best scale of a row's group and returns the one to take, which may be the old one; it keeps the scales that
     * project uses. */
    const float *scale;
    int64_t stride, group;
    float (*rescale)(void *context, int64_t row, int64_t g, float best);
    void *context;
} vise_descend;

/* Pool bytes that vise_descend_columns takes with so many workers. */
uint64_t vise_descend_bytes(int64_t cols, int64_t group, int workers);
/* *loss: the loss at the end. The same bits for any number of threads. */
VISE_MUST_USE vise_status vise_descend_columns(vise_backend *b, vise_pool *pool, const vise_descend *problem,
                                               double *loss, vise_error *err);

#endif
