/* Rotation: the residual stream x becomes x R1, the values of a head v R2. RMS norms commute with R1 once their weights
 * are ones; what reads the stream is multiplied by R1, what writes to it by its transpose. */
#include <stdio.h>
#include <string.h>

#include "model/transform.h"

/* The norm in front of what reads the residual stream; VISE_ROLE_UNKNOWN: it does not. */
static vise_role norm_of(const vise_bound *bound)
{
    if (bound->role == VISE_ROLE_HEAD)
        return VISE_ROLE_FINAL_NORM;
    if (vise_role_is_router(bound->role))
        return VISE_ROLE_MLP_NORM;
    switch (bound->input) {
    case VISE_INPUT_ATTENTION:
        return VISE_ROLE_ATTENTION_NORM;
    case VISE_INPUT_MLP:
    case VISE_INPUT_EXPERT:
        return VISE_ROLE_MLP_NORM;
    default:
        return VISE_ROLE_UNKNOWN;
    }
}

static bool writes_stream(vise_role role)
{
    return role == VISE_ROLE_O || role == VISE_ROLE_DOWN || role == VISE_ROLE_SHARED_DOWN ||
           role == VISE_ROLE_EXPERT_DOWN;
}

/* Why R1 would not be exact; NULL: it is. */
static const char *obstacle(const vise_model *model)
{
    const vise_config *config = &model->config;
    if (config->norm == VISE_NORM_LAYER)
        return "its norms take the mean away, which a rotation does not commute with";
    if (config->residual != VISE_RESIDUAL_SERIAL || !(config->traits & VISE_TRAIT_FINAL_NORM))
        return "its halves do not read the residual stream through norms of their own";
    if (model->arch->text != NULL)
        return "images write into the residual stream as well";
    if (config->head == VISE_HEAD_NONE)
        return "it has no head that could turn the hidden states back";
    for (size_t r = 0; r < model->arch->n_rows; r++) {
        const vise_role role = model->arch->rows[r].role;
        if (role == VISE_ROLE_ATTENTION_POST_NORM || role == VISE_ROLE_MLP_POST_NORM)
            return "the outputs of its halves are normed before they are added, by weights that fold into nothing";
        if (role == VISE_ROLE_EMBEDDING_NORM || role == VISE_ROLE_HEAD_NORM || role == VISE_ROLE_HEAD_DENSE)
            return "more than norms and linears stands around its blocks";
    }
    if (model->tied)
        return "its head is the embedding under a name of its own";
    for (int layer = 0; layer < (int)config->layers; layer++)
        if (vise_model_role(model, VISE_ROLE_ATTENTION_NORM, layer) == SIZE_MAX ||
            vise_model_role(model, VISE_ROLE_MLP_NORM, layer) == SIZE_MAX)
            return "it has layers without norms";
    return NULL;
}

static vise_status check(const vise_model *model, vise_error *err)
{
    VISE_TRY(vise_model_need_forward(model, "rotation", err));
    const char *why = obstacle(model);
    if (why != NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: cannot be rotated exactly: %s",
                         vise_source_path(vise_store_source(model->store)), why);
    for (size_t i = 0; i < model->count; i++)
        if (model->bound[i].role != VISE_ROLE_UNKNOWN && model->bound[i].tensor->scheme.type != NULL)
            return VISE_FAIL(err, VISE_EUSAGE, "%s: is quantized, and rotation changes every weight; start from the "
                                               "float model",
                             model->bound[i].tensor->module);
    return VISE_OK;
}

/* What R1 does to a tensor. */
static void rotate_stream(const vise_model *model, const vise_orthogonal *r1, size_t index)
{
    const vise_bound *bound = &model->bound[index];
    vise_tensor_transform *change = &model->transform->tensor[index];
    const vise_role norm = norm_of(bound);
    if (bound->role == VISE_ROLE_ATTENTION_NORM || bound->role == VISE_ROLE_MLP_NORM ||
        bound->role == VISE_ROLE_FINAL_NORM)
        *change = (vise_tensor_transform){.changed = true,
                                          .is_constant = true,
                                          .constant = model->config.norm == VISE_NORM_RMS_OFFSET ? 0.0f : 1.0f,
                                          .norm = SIZE_MAX};
    else if (writes_stream(bound->role)) {
        *(bound->is_bias ? &change->columns : &change->rows) = (vise_rotated){r1, 0, 1};
        change->changed = true;
    } else if (!bound->is_bias && (norm != VISE_ROLE_UNKNOWN || bound->role == VISE_ROLE_EMBEDDING ||
                                   bound->role == VISE_ROLE_POSITION_EMBEDDING)) {
        change->columns = (vise_rotated){r1, 0, 1};
        if (norm != VISE_ROLE_UNKNOWN)
            change->norm = vise_model_role(model, norm, bound->layer);
        change->changed = true;
    }
}

/* What R2 does to a tensor of a block: v writes, o reads. */
static void rotate_values(const vise_model *model, const vise_orthogonal *r2, size_t index)
{
    const vise_bound *bound = &model->bound[index];
    const vise_config *config = &model->config;
    vise_tensor_transform *change = &model->transform->tensor[index];
    if (bound->role == VISE_ROLE_V || bound->role == VISE_ROLE_QKV) {
        const int64_t before = bound->role == VISE_ROLE_V ? 0 : config->head_dim * (config->heads + config->kv_heads);
        *(bound->is_bias ? &change->columns : &change->rows) = (vise_rotated){r2, before, config->kv_heads};
        change->changed = true;
    } else if (bound->role == VISE_ROLE_O && !bound->is_bias) {
        change->columns = (vise_rotated){r2, 0, config->heads};
        change->changed = true;
    }
}

vise_rotation vise_rotation_or(vise_rotation other, const char *name)
{
    static const char *const names[] = {"none", "r1", "r1+r2"};
    for (int i = (int)other + 1; name != NULL && i < 3; i++)
        if (strcmp(names[i], name) == 0)
            return (vise_rotation)i;
    return other;
}

vise_status vise_rotate(vise_model *model, vise_rotation rotation, uint64_t seed, vise_error *err)
{
    if (rotation == VISE_ROTATE_NOT)
        return VISE_OK;
    VISE_TRY(check(model, err));
    VISE_TRY(vise_transform_begin(model, err));
    vise_arena *arena = model->transform->arena;
    const size_t layers = (size_t)model->config.layers;
    void *memory = NULL;
    VISE_TRY(vise_arena_take(arena, (layers + 1) * sizeof(vise_orthogonal), &memory, err));
    vise_orthogonal *r2 = memory, *r1 = r2 + layers;
    VISE_TRY(vise_orthogonal_make(model->config.hidden, seed, "R1", arena, r1, err));
    for (size_t layer = 0; rotation == VISE_ROTATE_R1_R2 && layer < layers; layer++) {
        char name[32];
        snprintf(name, sizeof name, "R2.%zu", layer);
        VISE_TRY(vise_orthogonal_make(model->config.head_dim, seed, name, arena, &r2[layer], err));
    }
    for (size_t i = 0; i < model->count; i++) {
        rotate_stream(model, r1, i);
        if (rotation == VISE_ROTATE_R1_R2 && model->bound[i].layer >= 0)
            rotate_values(model, &r2[model->bound[i].layer], i);
    }
    const size_t wide = (size_t)model->config.hidden * sizeof(float);
    size_t bytes = vise_orthogonal_scratch(r1);
    if (rotation == VISE_ROTATE_R1_R2 && layers > 0 && vise_orthogonal_scratch(r2) > bytes)
        bytes = vise_orthogonal_scratch(r2);
    model->transform->scratch_bytes = bytes > wide ? bytes : wide;
    return VISE_OK;
}
