/* Scales of channels: s multiplies the columns of what reads an input, 1 / s what writes it, and the function stays.
 * What writes an input is a norm, or a linear whose output reaches it channel by channel: v through attention, which
 * mixes tokens alone, and up through the product with the gate. */
#include "model/transform.h"

/* What writes an input. */
typedef struct writer {
    size_t weight, bias; /* indices; SIZE_MAX: none */
    bool is_norm;
    int64_t first, repeat;
} writer;

static writer writer_of(const vise_model *model, vise_role role, int layer)
{
    return (writer){vise_model_role(model, role, layer), vise_model_bias(model, role, layer), false, 0, 1};
}

static writer norm_writer(const vise_model *model, vise_role role, int layer)
{
    writer norm = writer_of(model, role, layer);
    norm.is_norm = true;
    if (model->config.residual != VISE_RESIDUAL_SERIAL) /* others read the norm's output as well */
        norm.weight = SIZE_MAX;
    return norm;
}

static writer values_writer(const vise_model *model, int layer)
{
    const vise_config *config = &model->config;
    writer values = writer_of(model, VISE_ROLE_V, layer);
    if (values.weight == SIZE_MAX && config->qkv == VISE_QKV_BLOCKS) {
        values = writer_of(model, VISE_ROLE_QKV, layer);
        values.first = config->head_dim * (config->heads + config->kv_heads);
    }
    values.repeat = config->heads / config->kv_heads;
    return values;
}

static writer up_writer(const vise_model *model, int layer)
{
    if (vise_model_role(model, VISE_ROLE_GATE, layer) != SIZE_MAX)
        return writer_of(model, VISE_ROLE_UP, layer);
    writer fused = writer_of(model, VISE_ROLE_GATE_UP, layer); /* none: the nonlinearity stands between up and down */
    fused.first = model->config.ffn;
    return fused;
}

static writer find_writer(const vise_model *model, int layer, vise_input input)
{
    const bool dense = (model->config.layer[layer] & VISE_LAYER_SPARSE) == 0;
    switch (input) {
    case VISE_INPUT_ATTENTION:
        return norm_writer(model, VISE_ROLE_ATTENTION_NORM, layer);
    case VISE_INPUT_O:
        return values_writer(model, layer);
    case VISE_INPUT_MLP:
        if (dense)
            return norm_writer(model, VISE_ROLE_MLP_NORM, layer);
        break;
    case VISE_INPUT_DOWN:
        if (dense)
            return up_writer(model, layer);
        break;
    default:
        break;
    }
    return (writer){SIZE_MAX, SIZE_MAX, false, 0, 1};
}

static vise_status check_float(const vise_model *model, size_t index, vise_error *err)
{
    const vise_logical *tensor = model->bound[index].tensor;
    if (tensor->scheme.type == NULL)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EUSAGE, "%s: is quantized, and scales change its weights; start from the float model",
                     tensor->module);
}

static vise_status take_ones(vise_arena *arena, int64_t n, float **out, vise_error *err)
{
    void *memory = NULL;
    VISE_TRY(vise_arena_take(arena, (size_t)n * sizeof(float), &memory, err));
    *out = memory;
    for (int64_t i = 0; i < n; i++)
        (*out)[i] = 1.0f;
    return VISE_OK;
}

/* The tensors on both sides get the arrays that vise_scale_set fills. */
static vise_status attach(vise_model *model, int layer, vise_input input, vise_scaled *scaled, vise_error *err)
{
    vise_transform *transform = model->transform;
    const writer by = find_writer(model, layer, input);
    int64_t width = 0;
    for (size_t i = 0; i < model->count; i++) {
        const vise_bound *bound = &model->bound[i];
        if (bound->layer == layer && bound->input == input && !bound->is_bias)
            width = bound->tensor->cols;
    }
    if (by.weight == SIZE_MAX || width == 0)
        return VISE_OK;
    const vise_logical *written = model->bound[by.weight].tensor;
    const int64_t outputs = by.is_norm ? written->cols : written->rows;
    VISE_TRY(check_float(model, by.weight, err));
    *scaled = (vise_scaled){.width = width, .first = by.first, .repeat = by.repeat};
    VISE_TRY(take_ones(transform->arena, width, &scaled->scale, err));
    VISE_TRY(take_ones(transform->arena, outputs, &scaled->inverse, err));
    for (size_t i = 0; i < model->count; i++) {
        const vise_bound *bound = &model->bound[i];
        if (bound->layer != layer || bound->input != input || bound->is_bias)
            continue;
        VISE_TRY(check_float(model, i, err));
        transform->tensor[i].scale = scaled->scale;
        transform->tensor[i].changed = true;
    }
    vise_tensor_transform *change = &transform->tensor[by.weight];
    *(by.is_norm ? &change->scale : &change->row_scale) = scaled->inverse;
    change->shift = by.is_norm && model->config.norm == VISE_NORM_RMS_OFFSET ? 1.0f : 0.0f;
    change->changed = true;
    if (by.bias != SIZE_MAX) {
        transform->tensor[by.bias].scale = scaled->inverse;
        transform->tensor[by.bias].changed = true;
    }
    return VISE_OK;
}

vise_status vise_scale_begin(vise_model *model, unsigned inputs, vise_error *err)
{
    const size_t layers = (size_t)model->config.layers;
    void *memory = NULL;
    VISE_TRY(vise_model_need_forward(model, "scaling channels", err));
    VISE_TRY(vise_transform_begin(model, err));
    VISE_TRY(vise_arena_take(model->transform->arena, (layers + 1) * VISE_INPUT_COUNT * sizeof(vise_scaled), &memory,
                             err));
    model->transform->scaled = memory;
    for (size_t i = 0; i < layers * VISE_INPUT_COUNT; i++)
        if ((inputs >> i % VISE_INPUT_COUNT & 1) != 0)
            VISE_TRY(attach(model, (int)(i / VISE_INPUT_COUNT), (vise_input)(i % VISE_INPUT_COUNT),
                            &model->transform->scaled[i], err));
    return VISE_OK;
}

const vise_scaled *vise_scale_of(const vise_model *model, int layer, vise_input input)
{
    if (model->transform == NULL || model->transform->scaled == NULL || input >= VISE_INPUT_COUNT)
        return NULL;
    const vise_scaled *scaled = &model->transform->scaled[(size_t)layer * VISE_INPUT_COUNT + (size_t)input];
    return scaled->scale != NULL ? scaled : NULL;
}

void vise_scale_share(const vise_model *model, const vise_scaled *scaled, float *values)
{
    const int64_t head = model->config.head_dim, group = head * scaled->repeat;
    for (int64_t c = 0; scaled->repeat > 1 && c < scaled->width; c++) {
        float *first = values + c / group * group + c % head; /* the group's first head comes first */
        *first = values[c] > *first ? values[c] : *first;
    }
    for (int64_t c = 0; scaled->repeat > 1 && c < scaled->width; c++)
        values[c] = values[c / group * group + c % head];
}

void vise_scale_set(const vise_model *model, const vise_scaled *scaled, const float *scale)
{
    const int64_t head = model->config.head_dim;
    for (int64_t c = 0; c < scaled->width; c++) {
        const int64_t row = scaled->repeat > 1 ? c / (head * scaled->repeat) * head + c % head : c;
        scaled->scale[c] = scale[c];
        scaled->inverse[scaled->first + row] = 1.0f / scale[c];
    }
}
