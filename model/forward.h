/* The forward pass, block by block, in float32 from any stored dtype or layout. One block's weights are resident at a time; what
 * flows between blocks is a stream of activations, in memory or spilled to an unlinked file.
 *
 *   stream   [windows][length][hidden]   the residual stream in front of a block
 *
 * Windows run in parallel, one task each; a window's result does not depend on the others or on the number of threads.
 */
#ifndef VISE_MODEL_FORWARD_H
#define VISE_MODEL_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"
#include "core/err.h"
#include "core/mem.h"
#include "model/model.h"
#include "text/windows.h"

/* ---- weights of one block ---------------------------------------------------------------------------------------- */

/* float32 matrices by role, from the pool; NULL where the block has none. The caller may edit them in place (that is what
 * compression does). */
typedef struct vise_block {
    int layer;
    float *weight[VISE_ROLE_COUNT]; /* [rows, cols] */
    float *bias[VISE_ROLE_COUNT];   /* [rows] */
    vise_pool *pool;
} vise_block;

/* NaN or infinite weights are VISE_EFORMAT naming tensor and position. */
VISE_MUST_USE vise_status vise_block_load(const vise_model *model, int layer, vise_workers *workers, vise_pool *pool,
                                          vise_block *block, vise_error *err);
void vise_block_unload(vise_block *block);
uint64_t vise_block_bytes(const vise_model *model); /* float32 bytes of the largest block */

/* ---- activation streams -------------------------------------------------------------------------------------------- */

typedef struct vise_stream vise_stream;

/* Embeds the windows' tokens. ram_bytes bounds what is kept in the pool; more goes to a temporary file. */
VISE_MUST_USE vise_status vise_stream_open(const vise_model *model, const vise_windows *windows, uint64_t ram_bytes,
                                           vise_workers *workers, vise_pool *pool, vise_stream **out, vise_error *err);
void vise_stream_close(vise_stream *stream);
uint64_t vise_stream_bytes(const vise_model *model, size_t windows, size_t length);

/* ---- statistics ------------------------------------------------------------------------------------------------------ */

enum { VISE_STAT_NORMS = 1, VISE_STAT_GRAM = 2 };

/* Of one input of the block, over all tokens of all windows. */
typedef struct vise_input_stats {
    int64_t width;      /* in features; 0: the block has no such input */
    uint64_t tokens;
    double *square_sum; /* [width]: sum of x_j^2 (the diagonal of the Gram matrix); NULL unless asked */
    float *gram;        /* [width, width]: upper triangle of sum x x^T; NULL unless asked */
} vise_input_stats;

typedef struct vise_block_stats {
    vise_input_stats input[VISE_INPUT_COUNT];
    vise_pool *pool;
} vise_block_stats;

void vise_block_stats_deinit(vise_block_stats *stats);
/* Pool bytes of the statistics of one block. */
uint64_t vise_stats_bytes(const vise_model *model, unsigned wanted);

/* ---- running ------------------------------------------------------------------------------------------------------------ */

/* Runs the block over the stream without changing it and gathers statistics (VISE_STAT_*) of the inputs in `inputs` (bit i: vise_input i).
 * Work that no statistic needs is left out. A non-finite activation is VISE_EFORMAT naming layer and input. */
VISE_MUST_USE vise_status vise_block_measure(const vise_model *model, const vise_block *block, vise_stream *stream,
                                             vise_backend *backend, unsigned wanted, unsigned inputs,
                                             vise_block_stats *stats, vise_error *err);
/* Runs the block and replaces the stream by its output. */
VISE_MUST_USE vise_status vise_block_forward(const vise_model *model, const vise_block *block, vise_stream *stream,
                                             vise_backend *backend, vise_error *err);
/* Pool bytes of scratch that measure and forward take for windows of `length`, with `workers` threads. */
uint64_t vise_forward_scratch_bytes(const vise_model *model, size_t length, int workers);
/* Multiply-add operations x 2 of one forward pass over `tokens` tokens in windows of `length`, head excluded; for progress and plan. */
double vise_forward_operations(const vise_model *model, double tokens, size_t length);

/* ---- the head ------------------------------------------------------------------------------------------------------------ */

/* Final norm and head over the stream, window by window: sink(context, window, logits [length, vocab]) is called for every window, from any
 * worker, in any order. The head is read in row tiles when the pool cannot hold it. */
typedef vise_status (*vise_logits_sink)(void *context, size_t window, int worker, const float *logits, vise_error *err);
VISE_MUST_USE vise_status vise_stream_logits(const vise_model *model, vise_stream *stream, vise_backend *backend,
                                             vise_pool *pool, vise_logits_sink sink, void *context, vise_error *err);

#endif
