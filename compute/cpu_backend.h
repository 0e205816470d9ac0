/* What the files of the CPU backend share; private to this room. */
#ifndef VISE_COMPUTE_CPU_BACKEND_H
#define VISE_COMPUTE_CPU_BACKEND_H

#include "compute/backend.h"
#include "compute/blas.h"
#include "compute/network_kernels.h"
#include "compute/solve_kernels.h"
#include "compute/value_kernels.h"
#include "core/cpu.h"

typedef struct vise_cpu_backend {
    vise_backend base;
    vise_cpu_level level; /* as it was at open */
    const vise_blas *blas;
    const vise_network_kernels *network;
    const vise_value_kernels *values;
    const vise_solve_kernels *solve;
} vise_cpu_backend;

static inline const vise_cpu_backend *vise_cpu_backend_of(const vise_backend *b)
{
    return b->state;
}

extern const vise_matrix_ops vise_cpu_matrix_ops;
extern const vise_factor_ops vise_cpu_factor_ops;
extern const vise_network_ops vise_cpu_network_ops;

/* compute/factor.c */
vise_status vise_cpu_inverse_factor(vise_backend *b, int64_t d, float *h, bool *failed, vise_error *err);
/* compute/solve.c */
vise_status vise_cpu_solve_columns(vise_backend *b, const struct vise_solve *problem, double *loss,
                                   vise_error *err);
/* compute/attention.c */
vise_status vise_cpu_attention(vise_backend *b, const vise_attention *a, vise_error *err);

/* Tiles: [0, n) in pieces of `tile`, the last one shorter. */
static inline int64_t vise_tile_count(int64_t n, int64_t tile)
{
    return (n + tile - 1) / tile;
}

static inline int64_t vise_tile_size(int64_t n, int64_t tile, int64_t index)
{
    int64_t left = n - index * tile;
    return left < tile ? left : tile;
}

/* The i-th pair (row, col), row <= col, of a triangle of n x n tiles, row by row. */
static inline void vise_tile_pair(int64_t n, size_t index, int64_t *row, int64_t *col)
{
    int64_t r = 0;
    int64_t i = (int64_t)index;
    for (; i >= n - r; r++)
        i -= n - r;
    *row = r;
    *col = r + i;
}

#endif
