/* The weights of one block in float32. */
#include <math.h>
#include <string.h>

#include "formats/layout.h"
#include "formats/store.h"
#include "model/forward.h"
#include "model/weights.h"

/* Reads one tensor whole into a block of the pool. */
static vise_status load_tensor(const vise_model *model, size_t index, vise_workers *workers, vise_pool *pool,
                               float **out, vise_error *err)
{
    const vise_logical *tensor = model->bound[index].tensor;
    size_t bytes = 0;
    if (!vise_mul_size((size_t)tensor->elements, sizeof(float), &bytes))
        return VISE_FAIL(err, VISE_ERESOURCE, "%s: too large for this machine", tensor->name);
    void *values = NULL;
    VISE_TRY(vise_pool_take(pool, bytes, tensor->name, &values, err));
    *out = values;
    return vise_weight_read_all(model, index, 0, tensor->rows, workers, pool, *out, err);
}

static vise_status load_slot(const vise_model *model, int layer, size_t slot, vise_workers *workers, vise_pool *pool,
                             vise_block *block, vise_error *err)
{
    size_t index = vise_model_slot(model, slot, layer);
    if (index != SIZE_MAX) {
        const vise_logical *tensor = model->bound[index].tensor;
        block->activation[slot] = tensor->scheme.activation;
        block->input_scale[slot] = tensor->found ? tensor->found->input_scale : 0.0f;
        VISE_TRY(load_tensor(model, index, workers, pool, &block->weight[slot], err));
    }
    index = vise_model_slot_bias(model, slot, layer);
    if (index == SIZE_MAX)
        return VISE_OK;
    return load_tensor(model, index, workers, pool, &block->bias[slot], err);
}

/* Every row that this layer has must be there: a partial model may lack some. */
static vise_status check_rows(const vise_model *model, int layer, vise_error *err)
{
    for (size_t r = 0; r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        if (!vise_arch_row_in_block(row) || !vise_arch_row_applies(row, &model->config, layer))
            continue;
        int experts = vise_arch_row_per_expert(row) ? (int)model->config.experts : 1;
        for (int expert = 0; expert < experts; expert++)
            if (vise_model_slot(model, vise_config_slot(row->role, expert), layer) == SIZE_MAX)
                return VISE_FAIL(err, VISE_EFORMAT, "the model has no %s in block %d", vise_role_name(row->role),
                                 layer);
    }
    return VISE_OK;
}

vise_status vise_cache_scale_name(const vise_model *model, int layer, int which, char **name, vise_error *err)
{
    const size_t o = vise_model_role(model, VISE_ROLE_O, layer);
    const char *module = o != SIZE_MAX ? model->bound[o].tensor->module : "", *dot = strrchr(module, '.');
    *name = NULL;
    return dot ? vise_strfmt(name, err, "%.*s.%c_scale", (int)(dot - module), module, which == 0 ? 'k' : 'v') : VISE_OK;
}

static vise_status load_cache_scales(const vise_model *model, int layer, vise_pool *pool, vise_block *block,
                                     vise_error *err)
{
    const vise_cache_type *type = vise_layout_cache(vise_store_source(model->store));
    const int64_t heads = model->config.kv_heads;
    block->cache_type = type;
    for (int which = 0; which < 2 && type; which++) {
        char *name;
        VISE_TRY(vise_cache_scale_name(model, layer, which, &name, err));
        const size_t index = name ? vise_store_find(model->store, name) : SIZE_MAX;
        vise_free(name);
        if (index == SIZE_MAX)
            continue;
        const vise_logical *tensor = vise_store_tensor(model->store, index);
        float *scale = block->cache_scale + which * heads;
        if (tensor->elements != (uint64_t)(type->by_head ? heads : 1))
            return VISE_FAIL(err, VISE_EFORMAT, "%s: has %llu scales, not %lld", tensor->name,
                             (unsigned long long)tensor->elements, (long long)(type->by_head ? heads : 1));
        VISE_TRY(vise_store_read_f32(model->store, index, 0, tensor->rows, scale, pool, err));
        for (int64_t head = 0; head < heads; head++) {
            scale[head] = type->by_head ? scale[head] : scale[0];
            if (!(scale[head] > 0.0f) || !isfinite(scale[head]))
                return VISE_FAIL(err, VISE_EFORMAT, "%s: is not a positive number", tensor->name);
        }
    }
    return VISE_OK;
}

vise_status vise_block_init(const vise_model *model, int layer, vise_pool *pool, vise_block *block, vise_error *err)
{
    *block = (vise_block){.layer = layer, .pool = pool};
    void *memory = NULL;
    const size_t slots = vise_config_slots(&model->config);
    VISE_TRY(vise_calloc(4 * slots, sizeof(void *), &memory, err));
    block->slots = slots;
    block->weight = memory;
    block->bias = block->weight + block->slots;
    block->activation = (const char **)(block->bias + block->slots);
    block->input_scale = (float *)(block->activation + block->slots);
    const vise_status status =
        vise_calloc(2 * (size_t)model->config.kv_heads + 1, sizeof(float), (void **)&block->cache_scale, err);
    if (status != VISE_OK)
        vise_block_unload(block);
    return status;
}

void vise_block_keep_activations(vise_block *block)
{
    for (size_t slot = 0; slot < block->slots; slot++)
        block->activation[slot] = NULL;
    block->cache_type = NULL;
}

vise_status vise_block_load(const vise_model *model, int layer, vise_workers *workers, vise_pool *pool,
                            vise_block *block, vise_error *err)
{
    *block = (vise_block){.layer = -1};
    VISE_TRY(vise_model_need_forward(model, "reading the weights of a block", err));
    VISE_TRY(check_rows(model, layer, err));
    VISE_TRY(vise_block_init(model, layer, pool, block, err));
    for (size_t slot = 0; slot < block->slots; slot++) {
        vise_status status = load_slot(model, layer, slot, workers, pool, block, err);
        if (status != VISE_OK) {
            vise_block_unload(block);
            return status;
        }
    }
    vise_status status = load_cache_scales(model, layer, pool, block, err);
    if (status != VISE_OK)
        vise_block_unload(block);
    return status;
}

void vise_block_unload(vise_block *block)
{
    for (size_t slot = 0; slot < block->slots; slot++) {
        vise_pool_give(block->pool, block->weight[slot]);
        vise_pool_give(block->pool, block->bias[slot]);
    }
    vise_free(block->weight);
    vise_free(block->cache_scale);
    *block = (vise_block){.layer = -1};
}

uint64_t vise_block_bytes(const vise_model *model)
{
    uint64_t largest = 0;
    for (int layer = 0; layer < (int)model->config.layers; layer++) {
        uint64_t elements = 0;
        for (size_t slot = 0; slot < vise_config_slots(&model->config); slot++) {
            size_t index = vise_model_slot(model, slot, layer);
            if (index != SIZE_MAX)
                elements += model->bound[index].tensor->elements;
            index = vise_model_slot_bias(model, slot, layer);
            if (index != SIZE_MAX)
                elements += model->bound[index].tensor->elements;
        }
        largest = elements > largest ? elements : largest;
    }
    return largest * sizeof(float);
}
