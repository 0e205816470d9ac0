/* Keys and values of the tokens that went through the blocks: what a text that grows by a token needs in place of
 * running all of it again. One cache is one text. Layers that attend within a window forget what no later token
 * sees.
 */
#ifndef VISE_MODEL_CACHE_H
#define VISE_MODEL_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"
#include "model/model.h"

typedef struct vise_cache_layer {
    float *k, *v; /* [room, width]: of tokens [first, first + count) of the text */
    size_t first, count, room;
} vise_cache_layer;

typedef struct vise_cache {
    int64_t width; /* key-value heads x head_dim */
    size_t layers;
    vise_cache_layer *layer;
    const vise_model *model;
    vise_pool *pool;
} vise_cache;

/* Room for a text of `capacity` tokens that comes in pieces of at most `piece`. The model must outlive the cache. */
VISE_MUST_USE vise_status vise_cache_new(const vise_model *model, size_t capacity, size_t piece,
                                         vise_pool *pool, vise_cache **out, vise_error *err);
void vise_cache_free(vise_cache *cache);
uint64_t vise_cache_bytes(const vise_model *model, size_t capacity, size_t piece); /* in the pool */
/* Bytes that one more token takes where nothing is forgotten. */
uint64_t vise_cache_bytes_per_token(const vise_model *model);

/* Appends rows [n, width] to a layer; more than there is room for is VISE_EINTERNAL. */
VISE_MUST_USE vise_status vise_cache_append(vise_cache *cache, int layer, size_t n, const float *k,
                                            int64_t ldk, const float *v, int64_t ldv, vise_error *err);
void vise_cache_clear(vise_cache *cache); /* the text begins anew */

#endif
