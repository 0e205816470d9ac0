/* One block over windows: what forward and statistics share. What the block is made of is told by the rows of its
 * family and by the configuration (model/arch.h); nothing here knows a family. */
#ifndef VISE_MODEL_LAYER_H
#define VISE_MODEL_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"
#include "core/err.h"
#include "model/activation.h"
#include "model/cache.h"
#include "model/forward.h"
#include "model/stream.h"

typedef struct vise_layer_run {
    const vise_model *model;
    const vise_block *block;
    vise_stream *stream;
    vise_backend *backend;
    vise_cache *cache; /* of the text that the windows, one after the other, go on with; NULL: they stand alone */
    vise_input last; /* the block is run up to this input; VISE_INPUT_NONE: to its end */
    vise_half half;  /* the attention half ends with last == VISE_INPUT_MLP */
    unsigned flags;  /* VISE_LAYER_* of the block */
    int64_t rows[VISE_ROLE_COUNT], cols[VISE_ROLE_COUNT]; /* of the block's matrices */
    const float *norm[VISE_ROLE_COUNT];                   /* weights of norms, as they multiply */
    float *shifted;                                       /* those of them that are weight + 1 */
    const vise_activation_type **activation; /* [slots]; NULL: inputs as they are, or of a scale not known yet */
    bool quantizes; /* any activation */
    uint64_t inside;      /* floats of scratch inside attention */
    size_t scratch_bytes;
    int workers;
    void **scratch; /* [workers], taken when a worker begins its first window */
} vise_layer_run;

VISE_MUST_USE vise_status vise_layer_run_init(vise_layer_run *run, const vise_model *model, const vise_block *block,
                                              vise_stream *stream, vise_backend *backend, vise_input last,
                                              vise_error *err);
void vise_layer_run_deinit(vise_layer_run *run); /* also of a zeroed run */

/* Where a window's inputs go. input[i], where not NULL, receives input i: [length of the window, width]. For experts,
 * VISE_INPUT_EXPERT receives the input of the router, of which each expert sees the tokens routed to it, and
 * VISE_INPUT_EXPERT_DOWN [length * experts_per_token, width]: a row for each choice of `routes`. */
typedef struct vise_capture {
    float *input[VISE_INPUT_COUNT];
    int32_t *routes; /* [length, experts_per_token]: the experts of each token; NULL when no expert's input is wanted */
    /* [2][key-value heads]: raised to the largest magnitudes of keys and values, as the cache holds them; the run,
     * which is one up to VISE_INPUT_O, then ends in front of attention itself. NULL: not wanted. */
    float *cache_largest;
} vise_capture;

/* Runs one window. The stream changes only if the block, or its attention half, is run to its end. Called from
 * vise_parallel's tasks. */
VISE_MUST_USE vise_status vise_layer_run_window(const vise_layer_run *run, size_t window, int worker,
                                                const vise_capture *capture, vise_error *err);

/* Width of an input of the block `layer`, or, with -1, of any block; 0: there is none. */
int64_t vise_input_width(const vise_model *model, int layer, vise_input input);
/* A role that reads the input, for messages. */
vise_role vise_input_role(const vise_model *model, vise_input input);

#endif
