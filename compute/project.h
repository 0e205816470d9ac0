/* Projection onto uniform grids, for the callbacks of compute/solve.h: sixteen rows at once. */
#ifndef VISE_COMPUTE_PROJECT_H
#define VISE_COMPUTE_PROJECT_H

#include <stdint.h>

#include "compute/solve.h"
#include "core/cpu.h"

/* One grid per row and group of columns: values (c - zero) scale for whole c in [lowest, highest].
 * Scales and zeros are laid out [groups][stride], rows in a group contiguous, stride the number of rows
 * rounded up to VISE_SOLVE_LANES. Scales are positive; what stands beyond the last row does not matter. */
typedef struct vise_uniform_grid {
    const float *scale;
    const float *zero; /* NULL: 0 everywhere (symmetric) */
    int64_t stride;
    int64_t group; /* columns of a group; the number of columns when there is one */
    float lowest, highest;
} vise_uniform_grid;

/* projected = (clamp(rint(value / scale) + zero, lowest, highest) - zero) scale, rint to even: the
 * reference encoder's arithmetic, with the same bits on every CPU level. Whole groups of lanes are read
 * and written. row0 is a multiple of VISE_SOLVE_LANES, as the solver passes it. */
typedef void (*vise_uniform_projector)(const vise_uniform_grid *grid, int64_t row0, int64_t col,
                                       const float *values, float *projected);

vise_uniform_projector vise_uniform_projector_for(vise_cpu_level level);

#endif
