/* One block over windows: what forward and statistics share. */
#ifndef VISE_MODEL_LAYER_H
#define VISE_MODEL_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"
#include "core/err.h"
#include "model/activation.h"
#include "model/forward.h"
#include "model/stream.h"

typedef struct vise_layer_run {
    const vise_model *model;
    const vise_block *block;
    vise_stream *stream;
    vise_backend *backend;
    vise_input last; /* the block is run up to this input; VISE_INPUT_NONE: to its end */
    int64_t rows[VISE_ROLE_COUNT], cols[VISE_ROLE_COUNT]; /* of the block's linears */
    const vise_activation *activation[VISE_ROLE_COUNT];
    bool quantizes; /* any activation */
    size_t scratch_bytes;
    int workers;
    void **scratch; /* [workers], taken when a worker begins its first window */
} vise_layer_run;

VISE_MUST_USE vise_status vise_layer_run_init(vise_layer_run *run, const vise_model *model, const vise_block *block,
                                              vise_stream *stream, vise_backend *backend, vise_input last,
                                              vise_error *err);
void vise_layer_run_deinit(vise_layer_run *run); /* also of a zeroed run */

/* Runs one window. capture[i], where not NULL, receives the block's input i: [length of the window, width]. The stream
 * changes only if the block is run to its end. Called from vise_parallel's tasks. */
VISE_MUST_USE vise_status vise_layer_run_window(const vise_layer_run *run, size_t window, int worker,
                                                float *const capture[VISE_INPUT_COUNT], vise_error *err);

/* Width of an input of the model's blocks; 0: there is none. */
int64_t vise_input_width(const vise_model *model, vise_input input);
/* A role that reads the input, for messages. */
vise_role vise_input_role(const vise_model *model, vise_input input);

#endif
