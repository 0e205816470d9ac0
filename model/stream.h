/* Inside of an activation stream, for the files of the forward pass. The first windows are resident, the others lie in
 * an unlinked file, token after token. */
#ifndef VISE_MODEL_STREAM_H
#define VISE_MODEL_STREAM_H

#include <stdbool.h>
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
    size_t reach;    /* positions that tables of biases and embeddings hold; longest, unless the stream is fed */
    size_t position; /* of the first token; 0, unless the stream is fed */
    bool chained;    /* windows are pieces of one text, each going on where the one before it ends */
    size_t resident_windows;
    float *resident; /* [start[resident_windows], hidden] */
    vise_file file;  /* tokens behind the resident ones; fd -1 when there are none */
    /* Rotary angles: [kinds][tables][2: cos, sin][angles, rotary / 2]. Kind 1 is of local layers. Windows share one
     * table, unless angles depend on the length of a window: then there is one for each set of windows. */
    float *rotary;
    size_t rotary_kinds, rotary_tables;
    size_t angles; /* longest, or all tokens of a stream that is fed */
    size_t *set; /* [windows]: the set that a window belongs to */
    size_t *last; /* [windows]: a decoder's classifier's token; NULL: the model is none, or ids were not read */
    float *key_bias; /* ALiBi: [heads, reach] */
    vise_pool *pool;
};

/* A stream whose activations are undefined: vise_stream_open_sets without the embedding. The windows' ids are not
 * read. */
VISE_MUST_USE vise_status vise_stream_new(const vise_model *model, const vise_windows *sets, size_t count,
                                          uint64_t ram_bytes, vise_pool *pool, vise_stream **out, vise_error *err);

/* A stream for the text of a cache, which is fed piece after piece: room for `tokens` tokens, in windows of `piece`, of
 * a text of at most `reach`. Nothing is embedded yet. */
VISE_MUST_USE vise_status vise_stream_new_fed(const vise_model *model, size_t tokens, size_t piece, size_t reach,
                                              vise_pool *pool, vise_stream **out, vise_error *err);
/* Pool bytes of such a stream. */
uint64_t vise_stream_fed_bytes(const vise_model *model, size_t tokens, size_t piece, size_t reach);

/* cos and sin [longest, rotary / 2] of a window. */
typedef struct vise_rotary {
    const float *cosine, *sine;
} vise_rotary;
vise_rotary vise_stream_rotary(const vise_model *model, const vise_stream *stream, size_t window, bool local);

/* Makes room in a stream that is fed for the next `tokens` of its text, from `position` on: windows and angles, those
 * of a text that is `length` tokens long. */
void vise_stream_advance(const vise_model *model, vise_stream *stream, size_t position, size_t tokens, size_t length);

/* The window's activations where they are resident, else NULL. */
float *vise_stream_window(const vise_stream *stream, size_t window);
/* Copies activations of tokens [token0, token0 + tokens), counted over all windows; thread-safe for disjoint tokens. */
VISE_MUST_USE vise_status vise_stream_read(const vise_stream *stream, size_t token0, size_t tokens, float *values,
                                           vise_error *err);
VISE_MUST_USE vise_status vise_stream_write(const vise_stream *stream, size_t token0, size_t tokens,
                                            const float *values, vise_error *err);

/* What a token's embedding needs besides its id: positions, types, norm, scale (model/embed_tables.c). */
typedef struct vise_embed_tables {
    float *projection;    /* [hidden, embed], or NULL */
    vise_backend *backend; /* that projects, or NULL */
    float *positions;     /* [reach, hidden] behind the offset, or NULL */
    float *types;         /* [types asked for, hidden], or NULL */
    float *norm, *bias;   /* [hidden], or NULL */
    vise_pool *pool;
} vise_embed_tables;

/* n_types: how many rows of token types are needed. */
VISE_MUST_USE vise_status vise_embed_tables_load(const vise_model *model, const vise_stream *stream, int64_t n_types,
                                                 vise_workers *workers, vise_embed_tables *tables, vise_error *err);
void vise_embed_tables_free(vise_embed_tables *tables);
/* The embedding of n ids, [n, hidden] (model/embed.c). */
VISE_MUST_USE vise_status vise_embed(const vise_model *model, const vise_embed_tables *tables, const int32_t *ids,
                                     size_t n, vise_workers *workers, vise_pool *pool, float *out, vise_error *err);
/* Ids that are projected at a time. */
#define VISE_EMBED_PROJECTED ((size_t)8192)
/* Finishes the embeddings [n, hidden] of tokens [token0, token0 + n), counted over all windows. types [n], below
 * n_types; NULL: all 0. */
VISE_MUST_USE vise_status vise_embed_finish(const vise_model *model, const vise_stream *stream,
                                            const vise_embed_tables *tables, const uint8_t *types,
                                            vise_workers *workers, size_t token0, size_t n, float *x,
                                            vise_error *err);
#endif
