/* From a Gram matrix to the factor of its inverse: damping, order, and the ladder of retries that GPTQ and
 * SparseGPT share. */
#ifndef VISE_COMPUTE_DAMP_H
#define VISE_COMPUTE_DAMP_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/backend.h"
#include "core/err.h"

/* u [d, d] upper triangular with H^-1 = u^T u, H = gram + damp * mean(diag) * I in the given order of columns
 * (NULL: as they are). gram [d, d] has its upper triangle; a column that nothing excites (diagonal 0) gets a unit
 * diagonal. A matrix that does not factorize is damped ten times more, up to 1: *taken is the fraction it took.
 * *failed is set, with VISE_OK, when even that does not help. Tiled by shape: the same bits for any number of
 * threads. */
VISE_MUST_USE vise_status vise_damped_factor(vise_backend *b, int64_t d, const float *gram, const int32_t *order,
                                             double damp, float *u, double *taken, bool *failed, vise_error *err);

#endif
