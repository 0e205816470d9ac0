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

static vise_status load_role(const vise_model *model, int layer, const vise_arch_row *row, vise_workers *workers,
                             vise_pool *pool, vise_block *block, vise_error *err)
{
    size_t index = 0;
    VISE_TRY(vise_weight_find(model, row->role, layer, &index, err));
    block->activation[row->role] = model->bound[index].tensor->scheme.activation;
    VISE_TRY(load_tensor(model, index, workers, pool, &block->weight[row->role], err));
    index = vise_model_bias(model, row->role, layer);
    if (index == SIZE_MAX)
        return VISE_OK;
    return load_tensor(model, index, workers, pool, &block->bias[row->role], err);
}

vise_status vise_block_load(const vise_model *model, int layer, vise_workers *workers, vise_pool *pool,
                            vise_block *block, vise_error *err)
{
    *block = (vise_block){.layer = layer, .pool = pool};
    VISE_TRY(vise_model_need_forward(model, "reading the weights of a block", err));
    for (size_t r = 0; r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        if (!vise_arch_row_in_block(row))
            continue;
        vise_status status = load_role(model, layer, row, workers, pool, block, err);
        if (status != VISE_OK) {
            vise_block_unload(block);
            return status;
        }
    }
    return VISE_OK;
}

void vise_block_unload(vise_block *block)
{
    for (int role = 0; role < VISE_ROLE_COUNT; role++) {
        vise_pool_give(block->pool, block->weight[role]);
        vise_pool_give(block->pool, block->bias[role]);
    }
    *block = (vise_block){.layer = -1};
}

uint64_t vise_block_bytes(const vise_model *model)
{
    uint64_t largest = 0;
    for (int layer = 0; layer < (int)model->config.layers; layer++) {
        uint64_t elements = 0;
        for (int role = 0; role < VISE_ROLE_COUNT; role++) {
            size_t index = vise_model_role(model, (vise_role)role, layer);
            if (index != SIZE_MAX)
                elements += model->bound[index].tensor->elements;
            index = vise_model_bias(model, (vise_role)role, layer);
            if (index != SIZE_MAX)
                elements += model->bound[index].tensor->elements;
        }
        largest = elements > largest ? elements : largest;
    }
    return largest * sizeof(float);
}
