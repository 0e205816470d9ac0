/* The forward pass, block by block, in float32 from any stored dtype or layout. One block's weights are resident at
 * a time; what flows between blocks is a stream of activations, in memory or spilled to an unlinked file.
 *
 *   stream   [tokens of all windows][hidden]   the residual stream in front of a block
 *
 * Windows run in parallel, one task each; a window's result does not depend on the others or on the number of
 * threads. Within a window all but attention works on tiles of VISE_FORWARD_TILE tokens, so that scratch stays small.
 */
#ifndef VISE_MODEL_FORWARD_H
#define VISE_MODEL_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"
#include "core/err.h"
#include "core/mem.h"
#include "core/workers.h"
#include "model/cache.h"
#include "model/model.h"
#include "text/windows.h"

#define VISE_FORWARD_TILE 256

/* ---- weights of one block ------------------------------------------------------------------------------------ */

/* float32 matrices by slot (vise_config_slot: the role, experts told apart), from the pool; NULL where the block has
 * none. The caller may edit them in place (that is what compression does). */
typedef struct vise_block {
    int layer;
    size_t slots;
    float **weight; /* [slots]: [rows, cols] */
    float **bias;   /* [slots]: [rows] */
    /* [slots]: how a linear's input is quantized when it runs: "int8-token" as the file says or as the caller decides,
     * NULL for not at all. The input itself, and so its statistics, stay as they are. */
    const char **activation;
    const vise_cache_type *cache_type; /* how keys and values are cached, as the file or the caller says; NULL: as is */
    float *cache_scale; /* [2][key-value heads]: of keys, then of values; 0: not known, and they stay as they are */
    float *input_scale; /* [slots]: of activations that calibration scales (tensor/activation_type.h); 0: not known */
    vise_pool *pool;
} vise_block;

/* A block without weights. */
VISE_MUST_USE vise_status vise_block_init(const vise_model *model, int layer, vise_pool *pool, vise_block *block,
                                          vise_error *err);
/* NaN or infinite weights are VISE_EFORMAT naming tensor and position. */
VISE_MUST_USE vise_status vise_block_load(const vise_model *model, int layer, vise_workers *workers, vise_pool *pool,
                                          vise_block *block, vise_error *err);
void vise_block_unload(vise_block *block); /* also of a zeroed block */
/* The name of the tensor that holds the scales of the layer's keys (0) or values (1), freed with vise_free:
 * "model.layers.0.self_attn.k_scale"; NULL where the layer has no attention. */
VISE_MUST_USE vise_status vise_cache_scale_name(const vise_model *model, int layer, int which, char **name,
                                                vise_error *err);
/* Leaves inputs and the cache as they are when the block runs, whatever the file says. */
void vise_block_keep_activations(vise_block *block);
uint64_t vise_block_bytes(const vise_model *model); /* float32 bytes of the largest block */

/* ---- activation streams -------------------------------------------------------------------------------------- */

typedef struct vise_stream vise_stream;

/* Embeds the windows' tokens. ram_bytes bounds what is kept in the pool; windows beyond it go to a temporary file in
 * $TMPDIR. Ids beyond the vocabulary are VISE_EUSAGE, and so are windows longer than the model's positions where these
 * are a table; a warning where they are computed. */
VISE_MUST_USE vise_status vise_stream_open(const vise_model *model, const vise_windows *windows, uint64_t ram_bytes,
                                           vise_workers *workers, vise_pool *pool, vise_stream **out,
                                           vise_error *err);
/* The same over several sets of windows, which may differ in length, one after the other. */
VISE_MUST_USE vise_status vise_stream_open_sets(const vise_model *model, const vise_windows *sets, size_t count,
                                                uint64_t ram_bytes, vise_workers *workers, vise_pool *pool,
                                                vise_stream **out, vise_error *err);
/* A second stream of the same windows (one set) that goes on from where `from` is. */
VISE_MUST_USE vise_status vise_stream_copy(const vise_model *model, const vise_windows *windows,
                                           const vise_stream *from, uint64_t ram_bytes, vise_pool *pool,
                                           vise_stream **out, vise_error *err);
void vise_stream_close(vise_stream *stream);
size_t vise_stream_tokens(const vise_stream *stream);
/* Leaves only the tokens that keep [tokens] marks, one after the other: what a head that is asked for the logits of
 * some tokens needs. The stream's windows are lost; no block runs on it any more. */
VISE_MUST_USE vise_status vise_stream_keep(vise_stream *stream, const uint8_t *keep, vise_error *err);
uint64_t vise_stream_bytes(const vise_model *model, size_t windows, size_t length);
/* Pool bytes that a stream takes beside the activations, for windows of at most `length` in `sets` sets. */
uint64_t vise_stream_table_bytes(const vise_model *model, size_t sets, size_t length);
uint64_t vise_embed_tables_bytes(const vise_model *model, size_t length); /* held while tokens are embedded */

/* ---- statistics ---------------------------------------------------------------------------------------------- */

enum { VISE_STAT_NORMS = 1, VISE_STAT_GRAM = 2, VISE_STAT_LARGEST = 4, VISE_STAT_CROSS = 8,
       VISE_STAT_RESIDUAL = 16 };

/* Of one input of the block, over all tokens of all windows, in order. Windows are taken in batches whose number
 * depends on the shapes alone; tokens are summed within a batch as vise_matrix_ops.gram does, batch after batch. */
typedef struct vise_input_stats {
    int64_t width;      /* in features; 0: the block has no such input, or it was not asked for */
    uint64_t tokens;
    double *square_sum; /* [width]: sum of x_j^2 in double; NULL unless asked */
    float *largest;     /* [width]: of |x_j|; NULL unless asked */
    float *gram;        /* [width, width]: upper triangle of sum x x^T, zeros below; NULL unless asked */
    float *cross;       /* [width, width]: sum (x' - x) x^T, x' the input beside x; NULL unless asked */
    float *residual;    /* [hidden, width]: sum (r' - r) x^T, r the residual stream that the linear's output is added
                           to: of o and down, where no norm stands between and the block has halves; else NULL, and
                           unless asked */
} vise_input_stats;

typedef struct vise_block_stats {
    vise_input_stats *input; /* [inputs]: by vise_config_input */
    size_t inputs;
    vise_pool *pool;
} vise_block_stats;

void vise_block_stats_deinit(vise_block_stats *stats);
/* Pool bytes of the statistics of one block: of the inputs in `inputs` (bit i: vise_input i). */
uint64_t vise_stats_bytes(const vise_model *model, unsigned wanted, unsigned inputs);

/* ---- running ------------------------------------------------------------------------------------------------- */

/* Which part of a block is run. The attention half ends with the residual stream that the MLP half begins with, so
 * that a caller who compresses the block's linears in the order of their inputs runs what is finished only once. */
typedef enum vise_half { VISE_BOTH_HALVES, VISE_ATTENTION_HALF, VISE_MLP_HALF } vise_half;

/* False where attention and MLP read the same input: such a block has no halves. */
bool vise_block_splits(const vise_model *model);

/* Runs the block over the stream without changing it and gathers statistics (VISE_STAT_*) of the inputs in `inputs`
 * (bit i: vise_input i). Work that no statistic needs is left out. A non-finite activation is VISE_EFORMAT naming layer
 * and input. stats is filled anew; free it with vise_block_stats_deinit (also fine after a failure). */
VISE_MUST_USE vise_status vise_block_measure(const vise_model *model, const vise_block *block, vise_stream *stream,
                                             vise_backend *backend, unsigned wanted, unsigned inputs,
                                             vise_block_stats *stats, vise_error *err);
/* The same for a part of the block. The attention half measures the MLP's input (or, with inputs 0, nothing) and
 * replaces the stream by its output; the MLP half begins with that output and leaves it as it is. */
VISE_MUST_USE vise_status vise_block_measure_half(const vise_model *model, const vise_block *block, vise_half half,
                                                  vise_stream *stream, vise_backend *backend, unsigned wanted,
                                                  unsigned inputs, vise_block_stats *stats, vise_error *err);
/* The model as it was, walked beside the one that is compressed: the same windows up to the same block. */
typedef struct vise_beside {
    const vise_block *block;
    vise_stream *stream;
} vise_beside;

/* The same with statistics that compare the two (VISE_STAT_CROSS, VISE_STAT_RESIDUAL): what is done to the stream is
 * done to the one beside it with the block beside it. Where the router beside sends a token to other experts, what
 * these have inside counts as no different. */
VISE_MUST_USE vise_status vise_block_measure_beside(const vise_model *model, const vise_block *block,
                                                    const vise_beside *beside, vise_half half, vise_stream *stream,
                                                    vise_backend *backend, unsigned wanted, unsigned inputs,
                                                    vise_block_stats *stats, vise_error *err);
/* The largest magnitudes of keys, as the cache holds them (normed and rotated), and of values: largest [2][key-value
 * heads]. The stream stays. */
VISE_MUST_USE vise_status vise_block_cache_ranges(const vise_model *model, const vise_block *block, vise_stream *stream,
                                                  vise_backend *backend, float *largest, vise_error *err);
/* Runs the block and replaces the stream by its output. Both halves one after the other give the same bits. */
VISE_MUST_USE vise_status vise_block_forward(const vise_model *model, const vise_block *block, vise_stream *stream,
                                             vise_backend *backend, vise_error *err);
VISE_MUST_USE vise_status vise_block_forward_half(const vise_model *model, const vise_block *block, vise_half half,
                                                  vise_stream *stream, vise_backend *backend, vise_error *err);
/* The same for a stream whose windows are the next pieces of the text that the cache holds (vise_stream_new_fed): they
 * see what is in the cache and are put there. */
VISE_MUST_USE vise_status vise_block_extend(const vise_model *model, const vise_block *block, vise_stream *stream,
                                            vise_cache *cache, vise_backend *backend, vise_error *err);
/* Pool bytes of scratch that extend takes for pieces of at most `piece` tokens in a text of `reach`. */
uint64_t vise_extend_scratch_bytes(const vise_model *model, size_t piece, size_t reach, int workers);
/* Pool bytes of scratch that forward, and measure, take for windows of at most `length` with `workers` threads. */
uint64_t vise_forward_scratch_bytes(const vise_model *model, size_t length, int workers);
uint64_t vise_measure_scratch_bytes(const vise_model *model, size_t length, int workers);
uint64_t vise_measure_beside_bytes(const vise_model *model, size_t length, int workers);
/* Multiply-add operations x 2 of one forward pass over `tokens` tokens in windows of `length`, head excluded; for
 * progress and plan. */
double vise_forward_operations(const vise_model *model, double tokens, size_t length);

/* ---- the head ------------------------------------------------------------------------------------------------ */

typedef struct vise_head vise_head;

/* Final norm and head (which may be the embedding). The head is kept in the pool when it takes at most ram_bytes there,
 * else every call of vise_head_logits reads it anew, in tiles of rows. weights_only leaves out what the file says of
 * its input's quantization. The model must outlive the head. */
VISE_MUST_USE vise_status vise_head_open(const vise_model *model, uint64_t ram_bytes, bool weights_only,
                                         vise_workers *workers, vise_pool *pool, vise_head **out, vise_error *err);
void vise_head_close(vise_head *head);
bool vise_head_is_resident(const vise_head *head);
uint64_t vise_head_bytes(const vise_model *model); /* of a resident head */
uint64_t vise_head_small_bytes(const vise_model *model); /* of one that is not: all but the matrix */
/* Pool bytes that vise_head_logits takes for `tokens` tokens, logits aside. */
uint64_t vise_head_scratch_bytes(const vise_model *model, size_t tokens, bool resident);

/* How many values a head gives for a token (vocab), or for a window (labels; hidden for embeddings). */
int64_t vise_head_width(const vise_model *model);

/* Of windows [window0, window0 + windows): logits [windows, labels] of a classifier, embeddings [windows, hidden] of a
 * model without a head (the mean over a window's tokens, or its first token's). Runs on the calling thread. */
VISE_MUST_USE vise_status vise_head_windows(const vise_head *head, const vise_stream *stream, vise_backend *backend,
                                            size_t window0, size_t windows, bool first_token, float *out,
                                            vise_error *err);

/* Logits [tokens, vocab] of tokens [token0, token0 + tokens) of the stream, counted over its windows one after the
 * other. Runs on all workers of the backend. */
VISE_MUST_USE vise_status vise_head_logits(const vise_head *head, const vise_stream *stream, vise_backend *backend,
                                           size_t token0, size_t tokens, float *logits, vise_error *err);

#endif
