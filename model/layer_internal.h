/* Inside of a block's run, for model/layer*.c. */
#ifndef VISE_MODEL_LAYER_INTERNAL_H
#define VISE_MODEL_LAYER_INTERNAL_H

#include "model/layer.h"

/* Scratch of one worker; tile is at most VISE_FORWARD_TILE tokens.
 *
 *   x          [length, hidden]   the window, unless it is resident and may be changed where it is
 *   norm       [tile, hidden]     input of q, k, v and of gate, up
 *   attention  [length, q]        input of o
 *   quantized  [tile, widest]     an input as its quantization leaves it
 *   branch     [tile, hidden]     what a half of the block adds, where a norm is still to come
 *   shared     first q, k, v [length, ...], what attention needs and a fused q, k, v that is still to be taken apart
 *              [tile, qkv]; then the MLP's: gate, up [tile, ffn], a fused gate and up [tile, 2 ffn], and the experts'
 */
typedef struct vise_layer_scratch {
    float *x, *norm, *attention, *quantized, *branch;
    float *q, *k, *v, *inside, *fused;
    float *gate, *up, *gate_up;
    float *gathered, *expert_out; /* [tile, hidden] */
    float *router;                /* [tile, experts] */
    float *share;                 /* [tile, experts_per_token]: weights of the chosen */
    int32_t *chosen;              /* [tile, experts_per_token] */
    int32_t *list;                /* [tile]: choices (token * experts_per_token + rank) of one expert */
} vise_layer_scratch;

/* out [t, rows of the role] = x W^T + bias, or added to what is there. */
typedef struct vise_product {
    vise_role role;
    int expert;
    float beta; /* 0 or 1 */
    float *out;
    int64_t ldo;
} vise_product;

static inline vise_product vise_product_of(vise_role role, float beta, float *out, int64_t ldo)
{
    return (vise_product){role, 0, beta, out, ldo};
}

/* Linears that share the input x [t, cols]. */
VISE_MUST_USE vise_status vise_layer_multiply(const vise_layer_run *run, const vise_layer_scratch *s, int64_t t,
                                              const float *x, const vise_product *products, size_t n,
                                              vise_error *err);
/* y [t, hidden] = the norm of x; y may be x. */
VISE_MUST_USE vise_status vise_layer_normalize(const vise_layer_run *run, vise_role role, int64_t t, const float *x,
                                               float *y, vise_error *err);

/* Where a tile's inputs go, as vise_capture's. */
typedef struct vise_tile_capture {
    float *down, *shared_down, *expert_down;
    int32_t *routes;
} vise_tile_capture;

/* The MLP of a tile: out [t, hidden] += mlp(x), x [t, hidden]; nothing is added when the run ends inside. */
VISE_MUST_USE vise_status vise_layer_mlp(const vise_layer_run *run, const vise_layer_scratch *s, int64_t t,
                                         const float *x, const vise_tile_capture *capture, float *out,
                                         vise_error *err);

#endif
