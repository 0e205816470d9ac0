/* The weights of one block in float32. */
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
        block->activation[slot] = model->bound[index].tensor->scheme.activation;
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

vise_status vise_block_init(const vise_model *model, int layer, vise_pool *pool, vise_block *block, vise_error *err)
{
    *block = (vise_block){.layer = layer, .pool = pool};
    void *memory = NULL;
    const size_t slots = vise_config_slots(&model->config);
    VISE_TRY(vise_calloc(3 * slots, sizeof(void *), &memory, err));
    block->slots = slots;
    block->weight = memory;
    block->bias = block->weight + block->slots;
    block->activation = (const char **)(block->bias + block->slots);
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
    return VISE_OK;
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
