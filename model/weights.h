/* Reading weights as checked float32 rows, for the files of the forward pass. */
#ifndef VISE_MODEL_WEIGHTS_H
#define VISE_MODEL_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"
#include "core/workers.h"
#include "model/model.h"

/* Rows of a tile of about 2 MiB in float32: a multiple of VISE_TILE_ROWS, so that every layout can start there, and a
 * chunk or two of a packed file. */
int64_t vise_weight_tile_rows(int64_t cols);

/* Rows [row0, row0 + rows) of tensor `index` (of vise_model.bound) as float32, behind the model's transform, but for
 * what that does among rows (model/transform.h). A NaN or an infinity is VISE_EFORMAT
 * naming tensor and position. row0 is a multiple of VISE_TILE_ROWS. */
VISE_MUST_USE vise_status vise_weight_read(const vise_model *model, size_t index, int64_t row0, int64_t rows,
                                           float *values, vise_pool *pool, vise_error *err);
/* The same, tile by tile on all workers, behind all of the transform. */
VISE_MUST_USE vise_status vise_weight_read_all(const vise_model *model, size_t index, int64_t row0, int64_t rows,
                                               vise_workers *workers, vise_pool *pool, float *values,
                                               vise_error *err);
/* The tensor of a role; VISE_EFORMAT when the model has none. */
VISE_MUST_USE vise_status vise_weight_find(const vise_model *model, vise_role role, int layer, size_t *index,
                                           vise_error *err);

#endif
