/* A model at work on one text that grows: tokens in, logits of the next one out. What the blocks made of earlier
 * tokens is kept (model/cache.h), so that a token costs one pass over the weights.
 *
 * Weights stay in the pool as far as its limit allows, the head first, then blocks from the first on; blocks that
 * do not fit are read anew for every pass, and a warning says so.
 */
#ifndef VISE_MODEL_DECODER_H
#define VISE_MODEL_DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"
#include "core/err.h"
#include "core/mem.h"
#include "core/workers.h"
#include "model/model.h"

typedef struct vise_decoder vise_decoder;

typedef struct vise_decoder_options {
    size_t capacity;   /* tokens of the text at its longest */
    bool weights_only; /* leaves out what the file says of quantized inputs */
    vise_pool *pool;
    vise_workers *workers;
    vise_backend *backend;
} vise_decoder_options;

/* The least that a decoder takes of its pool, with every block read anew. */
uint64_t vise_decoder_bytes(const vise_model *model, size_t capacity, int workers);

/* A text longer than the model's positions is VISE_EUSAGE where these are a table; a warning where they are
 * computed. A model that does not predict the next token is VISE_EUNSUPPORTED. The model must outlive the decoder. */
VISE_MUST_USE vise_status vise_decoder_open(const vise_model *model, const vise_decoder_options *options,
                                            vise_decoder **out, vise_error *err);
void vise_decoder_close(vise_decoder *decoder);

/* Appends n tokens to the text and gives the logits [vocab] behind the last of them. Ids beyond the vocabulary and
 * a text beyond its capacity are VISE_EUSAGE. After a failure the decoder can only be closed. */
VISE_MUST_USE vise_status vise_decoder_feed(vise_decoder *decoder, const int32_t *ids, size_t n,
                                            float *logits, vise_error *err);
/* Blocks whose weights stay in memory. */
size_t vise_decoder_resident_blocks(const vise_decoder *decoder);

#endif
