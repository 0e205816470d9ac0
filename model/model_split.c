#include "model/model_split.h"

#include <stdio.h>
#include <string.h>

/* What one fused tensor is cut into; names lie in the arena until the store has copied them. */
typedef struct cutter {
    const vise_model *model;
    vise_arena *arena;
    vise_split *splits;
    size_t n;
} cutter;

/* The row of a role in this layer. */
static const vise_arch_row *row_of(const vise_model *model, vise_role role, int layer)
{
    for (size_t r = 0; r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        if (row->role == role && vise_arch_row_applies(row, &model->config, layer))
            return row;
    }
    return NULL;
}

static vise_status check_shape(const cutter *c, const vise_logical *tensor, int64_t experts, int64_t rows, int64_t cols,
                               vise_error *err)
{
    const char *path = vise_source_path(vise_store_source(c->model->store));
    const bool stacked = experts > 0;

    if (tensor->found == NULL && vise_dtype_of(tensor->dtype)->is_float && tensor->ndim == (stacked ? 3 : 2) &&
        (!stacked || tensor->shape[0] == experts) && tensor->shape[tensor->ndim - 2] == rows &&
        tensor->shape[tensor->ndim - 1] == cols)
        return VISE_OK;
    if (stacked)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: tensor %s must be [%lld, %lld, %lld] in floating point, by what config.json says of "
                         "experts",
                         path, tensor->name, (long long)experts, (long long)rows, (long long)cols);
    return VISE_FAIL(err, VISE_EFORMAT, "%s: tensor %s must be [%lld, %lld] in floating point", path, tensor->name,
                     (long long)rows, (long long)cols);
}

/* One layer's tensor, when it is there. */
static vise_status cut(cutter *c, const vise_arch_fused *fused, int layer, vise_error *err)
{
    const vise_config *config = &c->model->config;
    const vise_arch_row *rows[2] = {NULL, NULL}, as_row = {.module = fused->tensor};
    char name[VISE_MODULE_MAX];
    int64_t sum = 0;

    for (int p = 0; p < fused->parts; p++) {
        rows[p] = row_of(c->model, fused->part[p], layer);
        if (rows[p] == NULL)
            return VISE_OK;
        sum += vise_config_dim(config, rows[p]->rows);
    }
    vise_arch_module(&as_row, layer, 0, "", name);
    size_t index = vise_store_find(c->model->store, vise_model_spell(c->model, name));
    if (index == SIZE_MAX)
        return VISE_OK;
    const int64_t experts = vise_arch_row_per_expert(rows[0]) ? config->experts : 0;
    VISE_TRY(check_shape(c, vise_store_tensor(c->model->store, index), experts, sum,
                         vise_config_dim(config, rows[0]->cols), err));

    size_t pieces = (size_t)(experts > 0 ? experts : 1) * (size_t)fused->parts;
    void *names, *lengths;
    VISE_TRY(vise_arena_take(c->arena, pieces * sizeof(const char *), &names, err));
    VISE_TRY(vise_arena_take(c->arena, pieces * sizeof(int64_t), &lengths, err));
    for (size_t i = 0; i < pieces; i++) {
        const vise_arch_row *row = rows[i % (size_t)fused->parts];
        vise_arch_module(row, layer, (int)(i / (size_t)fused->parts), ".weight", name);
        vise_model_spell(c->model, name);
        VISE_TRY(vise_arena_strdup(c->arena, name, strlen(name), &((const char **)names)[i], err));
        ((int64_t *)lengths)[i] = vise_config_dim(config, row->rows);
    }
    c->splits[c->n++] = (vise_split){index, names, lengths, pieces};
    return VISE_OK;
}

vise_status vise_model_split(vise_model *model, vise_error *err)
{
    const size_t layers = (size_t)model->config.layers, most = model->arch->n_fused * layers;
    cutter c = {.model = model};
    vise_status status;
    void *memory;

    if (most == 0)
        return VISE_OK;
    VISE_TRY(vise_arena_new(&c.arena, err));
    VISE_TRY_TO(done, vise_arena_take(c.arena, most * sizeof *c.splits, &memory, err));
    c.splits = memory;
    for (size_t f = 0; f < model->arch->n_fused; f++)
        for (size_t layer = 0; layer < layers; layer++)
            VISE_TRY_TO(done, cut(&c, &model->arch->fused[f], (int)layer, err));
    status = c.n > 0 ? vise_store_split(model->store, c.splits, c.n, err) : VISE_OK;
done:
    vise_arena_free(c.arena);
    return status;
}
