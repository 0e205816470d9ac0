#include "model/cache.h"

#include <string.h>

/* Tokens of a layer's window that the next token sees beside itself; SIZE_MAX: all. */
static size_t seen(const vise_model *model, size_t layer)
{
    const vise_config *config = &model->config;
    if (!(config->layer[layer] & VISE_LAYER_SLIDING) || config->window <= 0)
        return SIZE_MAX;
    return (size_t)config->window - 1;
}

/* A window's layer moves what it keeps to the front once it is full: with room for another window that is a row for
 * each token. */
static size_t room_of(const vise_model *model, size_t layer, size_t capacity, size_t piece)
{
    size_t kept = seen(model, layer);
    if (kept == SIZE_MAX || kept >= capacity)
        return capacity;
    size_t room = kept + (piece > kept + 1 ? piece : kept + 1);
    return room < capacity ? room : capacity;
}

static uint64_t row_bytes(const vise_model *model)
{
    return (uint64_t)vise_config_dim(&model->config, VISE_DIM_KV) * sizeof(float);
}

uint64_t vise_cache_bytes(const vise_model *model, size_t capacity, size_t piece)
{
    uint64_t rows = 0;
    for (size_t layer = 0; layer < (size_t)model->config.layers; layer++)
        rows += room_of(model, layer, capacity, piece);
    return 2 * rows * row_bytes(model);
}

uint64_t vise_cache_bytes_per_token(const vise_model *model)
{
    return 2 * (uint64_t)model->config.layers * row_bytes(model);
}

static vise_status take_layer(vise_cache *cache, size_t index, size_t capacity, size_t piece, vise_error *err)
{
    vise_cache_layer *layer = &cache->layer[index];
    size_t bytes = 0;
    void *memory = NULL;
    layer->room = room_of(cache->model, index, capacity, piece);
    if (!vise_mul_size(layer->room, (size_t)row_bytes(cache->model), &bytes))
        return VISE_FAIL(err, VISE_ERESOURCE, "a text of %zu tokens is too long for this machine", capacity);
    VISE_TRY(vise_pool_take(cache->pool, bytes, "keys of the text", &memory, err));
    layer->k = memory;
    VISE_TRY(vise_pool_take(cache->pool, bytes, "values of the text", &memory, err));
    layer->v = memory;
    return VISE_OK;
}

vise_status vise_cache_new(const vise_model *model, size_t capacity, size_t piece, vise_pool *pool,
                           vise_cache **out, vise_error *err)
{
    *out = NULL;
    void *memory = NULL;
    VISE_TRY(vise_calloc(1, sizeof(vise_cache), &memory, err));
    vise_cache *cache = memory;
    cache->width = vise_config_dim(&model->config, VISE_DIM_KV);
    cache->model = model;
    cache->pool = pool;
    vise_status status = vise_calloc((size_t)model->config.layers, sizeof *cache->layer, &memory, err);
    if (status == VISE_OK) {
        cache->layer = memory;
        cache->layers = (size_t)model->config.layers;
    }
    for (size_t i = 0; status == VISE_OK && i < cache->layers; i++)
        status = take_layer(cache, i, capacity, piece, err);
    if (status != VISE_OK) {
        vise_cache_free(cache);
        return status;
    }
    *out = cache;
    return VISE_OK;
}

void vise_cache_free(vise_cache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < cache->layers; i++) {
        vise_pool_give(cache->pool, cache->layer[i].k);
        vise_pool_give(cache->pool, cache->layer[i].v);
    }
    vise_free(cache->layer);
    vise_free(cache);
}

/* Leaves the last `kept` rows. */
static void forget(vise_cache_layer *layer, size_t width, size_t kept)
{
    size_t gone = layer->count - kept;
    memmove(layer->k, layer->k + gone * width, kept * width * sizeof(float));
    memmove(layer->v, layer->v + gone * width, kept * width * sizeof(float));
    layer->first += gone;
    layer->count = kept;
}

vise_status vise_cache_append(vise_cache *cache, int layer, size_t n, const float *k, int64_t ldk,
                              const float *v, int64_t ldv, vise_error *err)
{
    vise_cache_layer *to = &cache->layer[layer];
    size_t width = (size_t)cache->width, kept = seen(cache->model, (size_t)layer);
    if (n > to->room - to->count && kept < to->count)
        forget(to, width, kept);
    if (n > to->room - to->count)
        return VISE_FAIL(err, VISE_EINTERNAL, "block %d: %zu more tokens than the cache has room for", layer,
                         n);
    for (size_t i = 0; i < n; i++) {
        memcpy(to->k + (to->count + i) * width, k + (int64_t)i * ldk, width * sizeof(float));
        memcpy(to->v + (to->count + i) * width, v + (int64_t)i * ldv, width * sizeof(float));
    }
    to->count += n;
    return VISE_OK;
}

void vise_cache_clear(vise_cache *cache)
{
    for (size_t i = 0; i < cache->layers; i++)
        cache->layer[i].first = cache->layer[i].count = 0;
}
