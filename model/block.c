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

/* Scales of the key-value cache stand beside the linears of attention, "model.layers.0.self_attn.k_scale". */
static vise_status load_cache_scales(const vise_model *model, int layer, vise_pool *pool, vise_block *block,
                                     vise_error *err)
{
    static const char *const names[] = {"k_scale", "v_scale"};
    const size_t o = vise_model_role(model, VISE_ROLE_O, layer);
    if (o == SIZE_MAX || !vise_layout_has_fp8_cache(vise_store_source(model->store)))
        return VISE_OK;
    const char *module = model->bound[o].tensor->module, *dot = strrchr(module, '.');
    for (int i = 0; i < 2 && dot; i++) {
        char *name;
        VISE_TRY(vise_strfmt(&name, err, "%.*s.%s", (int)(dot - module), module, names[i]));
        const size_t index = vise_store_find(model->store, name);
        vise_free(name);
        if (index == SIZE_MAX || vise_store_tensor(model->store, index)->elements != 1)
            continue; /* of one head each: not simulated */
        VISE_TRY(vise_store_read_f32(model->store, index, 0, 1, &block->cache_scale[i], pool, err));
        if (!(block->cache_scale[i] > 0.0f) || !isfinite(block->cache_scale[i]))
            return VISE_FAIL(err, VISE_EFORMAT, "%s: is not a positive number",
                             vise_store_tensor(model->store, index)->name);
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
    return VISE_OK;
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
