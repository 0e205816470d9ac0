/* Row tiles: how a weight moves through a run when no network is needed, and how finished weights are stored.
 * A tile is read as float32, goes through the weight hooks of its passes, and is stored in its planned form;
 * each step is a function of the rows alone.
 */
#ifndef VISE_PIPELINE_TILE_H
#define VISE_PIPELINE_TILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "formats/sink.h"
#include "pipeline/plan.h"

/* Tensors that stay byte for byte are copied in pieces of this size. */
#define VISE_COPY_BYTES ((size_t)1 << 20)

/* Tiles and pieces that may be begun while one before them is not done: chunks of packed tensors wait in memory for
 * those before them, however long a thread is kept from its core. */
#define VISE_TILES_AHEAD(threads) (2 * (size_t)(threads))

/* True if the tensor's stored bytes are copied as they are. */
bool vise_tile_copies_bytes(const vise_plan *plan, size_t index);

/* Parts of a worker's scratch for tiles of one weight: offsets into one block. */
typedef struct vise_tile_parts {
    int64_t rows; /* of a full tile */
    size_t values, original, mask, codes, stored, scratch;
} vise_tile_parts;
/* Fills parts and returns the bytes of the block. */
size_t vise_tile_layout(const vise_plan *plan, size_t index, vise_tile_parts *parts);

/* What was lost on the way, over the rows of a tile. */
typedef struct vise_tile_loss {
    double error, signal; /* sums of (w - w')^2 and w^2 */
    uint64_t zeros;
    bool known; /* false for tensors that were copied */
} vise_tile_loss;

/* Moves weight `index` from the model to the sink, tile by tile on all workers. loss is the sum over its
 * tiles. */
VISE_MUST_USE vise_status vise_tile_stream(vise_plan *plan, size_t index, vise_sink *sink,
                                           vise_workers *workers, vise_pool *pool, vise_tile_loss *loss,
                                           vise_error *err);
/* Stores a whole weight that a block walk has finished: its values, or its codes. */
VISE_MUST_USE vise_status vise_tile_store(vise_plan *plan, const vise_weight *weight, vise_sink *sink,
                                          vise_workers *workers, vise_pool *pool, vise_tile_loss *loss,
                                          vise_error *err);
/* The measure walk of one pass over one weight. */
VISE_MUST_USE vise_status vise_tile_measure(vise_plan *plan, vise_pass_run *run, size_t index,
                                            vise_workers *workers, vise_pool *pool, vise_error *err);

#endif
