/* Inside of an activation stream, for the files of the forward pass. The first windows are resident, the others lie in
 * an unlinked file, token after token. */
#ifndef VISE_MODEL_STREAM_H
#define VISE_MODEL_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/file.h"
#include "core/mem.h"
#include "model/forward.h"

struct vise_stream {
    int64_t hidden;
    size_t windows;
    size_t *start; /* [windows + 1]: first token of each window; the last is the number of tokens */
    size_t longest;
    size_t resident_windows;
    float *resident; /* [start[resident_windows], hidden] */
    vise_file file;  /* tokens behind the resident ones; fd -1 when there are none */
    float *cosine;   /* [longest, head_dim / 2]: rotary angles, which every window shares */
    float *sine;
    vise_pool *pool;
};

/* A stream whose activations are undefined: vise_stream_open_sets without the embedding. The windows' ids are not
 * read. */
VISE_MUST_USE vise_status vise_stream_new(const vise_model *model, const vise_windows *sets, size_t count,
                                          uint64_t ram_bytes, vise_pool *pool, vise_stream **out, vise_error *err);

/* The window's activations where they are resident, else NULL. */
float *vise_stream_window(const vise_stream *stream, size_t window);
/* Copies activations of tokens [token0, token0 + tokens), counted over all windows; thread-safe for disjoint tokens. */
VISE_MUST_USE vise_status vise_stream_read(const vise_stream *stream, size_t token0, size_t tokens, float *values,
                                           vise_error *err);
VISE_MUST_USE vise_status vise_stream_write(const vise_stream *stream, size_t token0, size_t tokens,
                                            const float *values, vise_error *err);

/* The embedding of n ids, [n, hidden] (model/embed.c). */
VISE_MUST_USE vise_status vise_embed(const vise_model *model, const int32_t *ids, size_t n, vise_workers *workers,
                                     vise_pool *pool, float *out, vise_error *err);

#endif
