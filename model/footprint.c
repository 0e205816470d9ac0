#include "model/footprint.h"

#include <string.h>

static uint64_t tokens_of(const vise_usage *usage)
{
    return (uint64_t)usage->context * (uint64_t)usage->batch;
}

/* ---- keys and values ------------------------------------------------------------------------------------------- */

uint64_t vise_kv_cache_bytes(const vise_model *model, int layer, const vise_usage *usage)
{
    const vise_config *config = &model->config;
    uint64_t positions = (uint64_t)usage->context;
    if (config->bidirectional)
        return 0;
    if ((config->layer[layer] & VISE_LAYER_SLIDING) != 0 && config->window > 0 && (uint64_t)config->window < positions)
        positions = (uint64_t)config->window;
    return 2 * (uint64_t)usage->batch * positions * (uint64_t)vise_config_dim(config, VISE_DIM_KV) *
           usage->element_bytes;
}

uint64_t vise_kv_cache_all_bytes(const vise_model *model, const vise_usage *usage)
{
    uint64_t bytes = 0;
    for (int layer = 0; layer < (int)model->config.layers; layer++)
        bytes += vise_kv_cache_bytes(model, layer, usage);
    return bytes;
}

/* ---- activations ----------------------------------------------------------------------------------------------- */

/* Values per token between the MLP's first and last linears: a gated one has gate, up and their product, another its
 * values before and behind the nonlinearity. A token passes some of the experts, and the shared one. */
static uint64_t inner_values(const vise_model *model, int layer, bool keeps)
{
    const vise_config *config = &model->config;
    uint64_t values = 0;
    bool gated = false;
    for (size_t r = 0; r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        if (!row->linear || !vise_arch_row_in_block(row) || !vise_arch_row_applies(row, config, layer))
            continue;
        uint64_t times = vise_arch_row_per_expert(row) ? (uint64_t)config->experts_per_token : 1;
        switch (row->role) {
        case VISE_ROLE_GATE:
        case VISE_ROLE_GATE_UP:
        case VISE_ROLE_SHARED_GATE:
        case VISE_ROLE_EXPERT_GATE:
            gated = true;
            break;
        case VISE_ROLE_DOWN:
        case VISE_ROLE_SHARED_DOWN:
        case VISE_ROLE_EXPERT_DOWN:
            values += times * (uint64_t)vise_config_dim(config, row->cols);
            break;
        default:
            break;
        }
    }
    /* Backward wants the nonlinearity's result beside both factors' inputs. */
    return values * (gated ? (keeps ? 4 : 3) : 2);
}

uint64_t vise_block_activation_bytes(const vise_model *model, int layer, const vise_usage *usage)
{
    const vise_config *config = &model->config;
    uint64_t attention = 2 * (uint64_t)vise_config_dim(config, VISE_DIM_Q) +
                         2 * (uint64_t)vise_config_dim(config, VISE_DIM_KV);
    uint64_t inner = inner_values(model, layer, false);
    uint64_t values = 2 * (uint64_t)config->hidden + (attention > inner ? attention : inner);
    return tokens_of(usage) * values * usage->element_bytes;
}

/* Logits of all positions, or of the last ones. */
static uint64_t logits_bytes(const vise_model *model, const vise_usage *usage, bool all)
{
    const vise_config *config = &model->config;
    uint64_t rows = (uint64_t)usage->batch;
    if (config->head == VISE_HEAD_NONE || usage->context == 0)
        return 0;
    if (config->head == VISE_HEAD_CLASSIFIER)
        return rows * (uint64_t)config->labels * sizeof(float);
    if (all || config->bidirectional)
        rows = tokens_of(usage);
    return rows * (uint64_t)config->vocab * sizeof(float);
}

uint64_t vise_head_activation_bytes(const vise_model *model, const vise_usage *usage)
{
    return 2 * tokens_of(usage) * (uint64_t)model->config.hidden * usage->element_bytes +
           logits_bytes(model, usage, false);
}

uint64_t vise_training_activation_bytes(const vise_model *model, const vise_usage *usage, bool checkpoints)
{
    const vise_config *config = &model->config;
    const uint64_t hidden = (uint64_t)config->hidden;
    uint64_t all = 0, largest = 0;
    if (model->arch == NULL)
        return 0;
    for (int layer = 0; layer < (int)config->layers; layer++) {
        uint64_t values = 4 * hidden + 2 * (uint64_t)vise_config_dim(config, VISE_DIM_Q) +
                          2 * (uint64_t)vise_config_dim(config, VISE_DIM_KV) + inner_values(model, layer, true);
        all += checkpoints ? hidden : values;
        largest = values > largest ? values : largest;
    }
    all += checkpoints ? largest : 0;
    all += 2 * hidden; /* the final norm's input and result */
    return tokens_of(usage) * all * usage->element_bytes + 2 * logits_bytes(model, usage, true);
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

/* True when the class's name of the tensor begins with the family's prefix. */
static bool has_prefix(const vise_model *model, const vise_bound *bound)
{
    const size_t length = strlen(model->arch->prefix);
    if (model->config.head == VISE_HEAD_NONE)
        return false;
    for (size_t r = 0; r < model->arch->n_rows; r++)
        if (model->arch->rows[r].role == bound->role)
            return strncmp(model->arch->rows[r].module, model->arch->prefix, length) == 0;
    return true; /* unknown tensors are the bare model's */
}

/* A model of text among others has its own prefix there, the head is the class's, and all the others stand beside the
 * text: the class's prefix without its last part. */
static vise_status name_among_others(const vise_model *model, const vise_bound *bound, const char *name,
                                     vise_arena *arena, const char **out, vise_error *err)
{
    const char *inner = model->arch->class_prefix, *file = model->spelling ? model->spelling : model->arch->prefix;
    const char *head = strstr(name, ".lm_head");
    if (bound->role == VISE_ROLE_HEAD) {
        *out = head ? head + 1 : name;
        return VISE_OK;
    }
    if (bound->role != VISE_ROLE_UNKNOWN && strncmp(name, file, strlen(file)) == 0)
        return vise_arena_strfmt(arena, out, err, "%s%s", inner, name + strlen(file));
    const int outer = (int)(strchr(inner, '.') - inner) + 1;
    if (strncmp(name, inner, (size_t)outer) == 0)
        return VISE_OK;
    return vise_arena_strfmt(arena, out, err, "%.*s%s", outer, inner, name);
}

vise_status vise_model_class_name(const vise_model *model, const vise_bound *bound, const char *name,
                                  vise_arena *arena, const char **out, vise_error *err)
{
    *out = name;
    if (model->arch == NULL || model->arch->prefix == NULL)
        return VISE_OK;
    if (model->arch->text != NULL)
        return name_among_others(model, bound, name, arena, out, err);
    const size_t length = strlen(model->arch->prefix);
    const bool begins = strncmp(name, model->arch->prefix, length) == 0;
    if (model->config.head == VISE_HEAD_NONE) {
        *out = begins ? name + length : name;
        return VISE_OK;
    }
    if (begins || model->spelling == NULL || !has_prefix(model, bound))
        return VISE_OK;
    return vise_arena_strfmt(arena, out, err, "%s%s", model->arch->prefix, name);
}
