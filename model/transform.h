/* Changes of weights that leave the network's function as it is: a model that has a transform is read as if it had been
 * stored changed. Everything above (forward pass, statistics, passes, sinks) sees the changed weights alone.
 *
 *   W' = diag(row_scale) (I x rows)^T W diag(norm) (I x columns) diag(scale)
 *
 * norm: the weight of the norm in front of a linear, folded into it; the norm itself becomes constant. rows, columns:
 * orthogonal matrices (compute/orthogonal.h) on what a linear writes and reads. A bias is a row: columns and scale are
 * what happens to it.
 */
#ifndef VISE_MODEL_TRANSFORM_H
#define VISE_MODEL_TRANSFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/orthogonal.h"
#include "core/err.h"
#include "core/mem.h"
#include "core/workers.h"
#include "model/model.h"

/* A run of `times` x order coordinates from `first` on, each order of them rotated by itself; of NULL: none. */
typedef struct vise_rotated {
    const vise_orthogonal *by;
    int64_t first, times;
} vise_rotated;

typedef struct vise_tensor_transform {
    bool changed;
    bool is_constant; /* norms that are folded: 1, or 0 where they are stored as their distance from 1 */
    float constant;
    size_t norm; /* index of the norm that is folded into the columns; SIZE_MAX: none */
    vise_rotated columns, rows;
    const float *scale;     /* [cols], in the arena; NULL: ones */
    const float *row_scale; /* [rows], likewise */
    float shift;            /* added before scale and taken away behind it: norms stored as their distance from 1 */
} vise_tensor_transform;

/* An input of a block whose channels can be scaled: what reads it is multiplied, what writes it divided. */
typedef struct vise_scaled {
    float *scale;   /* [width]; NULL: this input cannot be scaled */
    float *inverse; /* of what writes it: rows of a linear, the weights of a norm */
    int64_t width;
    int64_t first;  /* the writer's row that is channel 0 */
    int64_t repeat; /* so many heads in a row read the same values; 1: every channel has a row of its own */
} vise_scaled;

typedef struct vise_transform {
    vise_arena *arena;
    vise_tensor_transform *tensor; /* [model->count] */
    vise_scaled *scaled;           /* [layers * VISE_INPUT_COUNT]; NULL: nothing is scaled */
    size_t scratch_bytes;          /* that reading a tile takes */
} vise_transform;

/* Gives the model a transform that changes nothing yet, if it has none. */
VISE_MUST_USE vise_status vise_transform_begin(vise_model *model, vise_error *err);
void vise_transform_free(vise_transform *transform); /* NULL is fine */

/* True if reading the tensor changes it. */
bool vise_transform_changes(const vise_model *model, size_t index);
/* True if rows of the tensor are mixed, so that it is read whole or not at all. */
bool vise_transform_mixes_rows(const vise_model *model, size_t index);
/* Pool bytes that reading takes beside the values, with so many workers. */
uint64_t vise_transform_bytes(const vise_model *model, int workers);

/* What happens to rows [row0, row0 + rows) by themselves. values as stored. */
VISE_MUST_USE vise_status vise_transform_tile(const vise_model *model, size_t index, int64_t row0, int64_t rows,
                                              float *values, vise_pool *pool, vise_error *err);
/* What happens among rows, behind vise_transform_tile. values [all rows, cols]. */
VISE_MUST_USE vise_status vise_transform_whole(const vise_model *model, size_t index, float *values,
                                               vise_workers *workers, vise_pool *pool, vise_error *err);

/* ---- rotation ------------------------------------------------------------------------------------------------ */

typedef enum vise_rotation {
    VISE_ROTATE_NOT,
    VISE_ROTATE_R1,   /* the residual stream (QuaRot, arXiv:2404.00456; SpinQuant, arXiv:2405.16406) */
    VISE_ROTATE_R1_R2 /* and the values of every head, between v and o */
} vise_rotation;

/* The rotation of that name ("none", "r1", "r1+r2"; NULL: none), or `other` if that goes further. */
vise_rotation vise_rotation_or(vise_rotation other, const char *name);

/* Rotates the model by matrices drawn from (seed, "R1") and (seed, "R2.LAYER"), the weights of norms folded. Needs a
 * model opened untied. VISE_EUNSUPPORTED naming why it would not be exact: norms that take the mean away, norms of what
 * a half adds, no head. VISE_EUSAGE for quantized weights. */
VISE_MUST_USE vise_status vise_rotate(vise_model *model, vise_rotation rotation, uint64_t seed, vise_error *err);

/* ---- scales --------------------------------------------------------------------------------------------------- */

/* Makes those of `inputs` (bit i: vise_input i) ready to be scaled that something can take the inverse for: q, k, v and
 * gate, up by the norm in front of them, o by v, down by up. All scales are ones at first. Inputs of layers with
 * experts, and of blocks whose norms others read, stay as they are. VISE_EUSAGE for quantized weights. */
VISE_MUST_USE vise_status vise_scale_begin(vise_model *model, unsigned inputs, vise_error *err);
/* NULL: it cannot be scaled. */
const vise_scaled *vise_scale_of(const vise_model *model, int layer, vise_input input);
/* values [width]: channels that share a row of the writer all get the largest of theirs. */
void vise_scale_share(const vise_model *model, const vise_scaled *scaled, float *values);
/* scale [width], finite and above 0; channels that share a row must agree. Before the weights are read, or never. */
void vise_scale_set(const vise_model *model, const vise_scaled *scaled, const float *scale);

#endif
