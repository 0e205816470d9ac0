#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include "core/buf.h"
#include "core/event.h"
#include "core/json.h"
#include "model/model_split.h"
#include "model/transform.h"

#define SHAPE_TEXT_MAX (VISE_DIMS_MAX * 22 + 3)

static const char *shape_text(const vise_logical *tensor, char buffer[SHAPE_TEXT_MAX])
{
    int n = snprintf(buffer, SHAPE_TEXT_MAX, "[");

    for (int i = 0; i < tensor->ndim && i < VISE_DIMS_MAX; i++)
        n += snprintf(buffer + n, (size_t)(SHAPE_TEXT_MAX - n), i == 0 ? "%lld" : ", %lld",
                      (long long)tensor->shape[i]);
    snprintf(buffer + n, (size_t)(SHAPE_TEXT_MAX - n), "]");
    return buffer;
}

static const char *model_path(const vise_model *model)
{
    return vise_source_path(vise_store_source(model->store));
}

static size_t place(const vise_model *model, size_t slot, int layer)
{
    size_t row = layer < 0 ? (size_t)model->config.layers : (size_t)layer;

    return row * vise_config_slots(&model->config) + slot;
}

const char *vise_model_spell(const vise_model *model, char name[VISE_MODULE_MAX])
{
    char spelled[VISE_MODULE_MAX];

    if (model->spelling == NULL)
        return name;
    size_t length = strlen(model->arch->prefix), outer = strlen(model->spelling);
    bool inside = strncmp(name, model->arch->prefix, length) == 0;
    outer = outer > length ? outer - length : 0; /* of what stands in front of the prefix, where it is still there */
    if (inside)
        snprintf(spelled, sizeof spelled, "%s%s", model->spelling, name + length);
    else
        snprintf(spelled, sizeof spelled, "%.*s%s", (int)outer, model->spelling, name);
    if (inside || vise_store_find(model->store, spelled) != SIZE_MAX)
        memcpy(name, spelled, sizeof spelled);
    return name;
}

/* Name of a row's tensor in this file. */
static const char *row_name(const vise_model *model, const vise_arch_row *row, int layer, int expert,
                            const char *suffix, char buffer[VISE_MODULE_MAX])
{
    vise_arch_module(row, layer, expert, suffix, buffer);
    return vise_model_spell(model, buffer);
}

/* ---- known families -------------------------------------------------------------------------------- */

static vise_status check_dtype(const vise_model *model, const vise_logical *tensor, vise_error *err)
{
    if (vise_dtype_of(tensor->dtype)->is_float && vise_dtype_of(tensor->dtype)->to_f32 != NULL)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EFORMAT,
                     "%s: tensor %s has dtype %s where a weight in floating point is expected",
                     model_path(model), tensor->name, vise_dtype_of(tensor->dtype)->name);
}

static vise_status check_matrix(const vise_model *model, const vise_arch_row *row, const vise_logical *tensor,
                                vise_error *err)
{
    int64_t rows = vise_config_dim(&model->config, row->rows);
    int64_t cols = vise_config_dim(&model->config, row->cols);
    char shape[SHAPE_TEXT_MAX];

    VISE_TRY(check_dtype(model, tensor, err));
    if (row->rows == VISE_DIM_ONE && !(row->how & VISE_ROW_MATRIX)) {
        if (tensor->ndim == 1 && tensor->shape[0] == cols)
            return VISE_OK;
        return VISE_FAIL(err, VISE_EFORMAT, "%s: tensor %s has shape %s, but config.json says [%lld] (%s)",
                         model_path(model), tensor->name, shape_text(tensor, shape), (long long)cols,
                         vise_dim_keys(row->cols));
    }
    bool turned = (row->how & VISE_ROW_TRANSPOSED) != 0;
    int64_t first = turned ? cols : rows, second = turned ? rows : cols;
    if (tensor->ndim == 2 && tensor->shape[0] == first && tensor->shape[1] == second)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EFORMAT,
                     "%s: tensor %s has shape %s, but config.json says [%lld, %lld] (%s, %s)",
                     model_path(model), tensor->name, shape_text(tensor, shape), (long long)first,
                     (long long)second, vise_dim_keys(turned ? row->cols : row->rows),
                     vise_dim_keys(turned ? row->rows : row->cols));
}

static vise_status check_bias(const vise_model *model, const vise_arch_row *row, const vise_logical *tensor,
                              vise_error *err)
{
    /* A norm's bias is as long as its weight. */
    vise_dim dim = row->rows == VISE_DIM_ONE ? row->cols : row->rows;
    int64_t rows = vise_config_dim(&model->config, dim);
    char shape[SHAPE_TEXT_MAX];

    VISE_TRY(check_dtype(model, tensor, err));
    if (tensor->ndim == 1 && tensor->shape[0] == rows)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EFORMAT, "%s: tensor %s has shape %s, but config.json says [%lld] (%s)",
                     model_path(model), tensor->name, shape_text(tensor, shape), (long long)rows, vise_dim_keys(dim));
}

/* Whether the row's module has a bias in this configuration, and the key that says so; NULL: the family. */
static bool wants_bias(const vise_model *model, const vise_arch_row *row, const char **key)
{
    *key = NULL;
    switch (row->bias) {
    case VISE_BIAS_NONE:
        return false;
    case VISE_BIAS_ALWAYS:
    case VISE_BIAS_STORED:
        return true;
    case VISE_BIAS_ATTENTION:
        *key = "attention_bias";
        return model->config.attention_bias;
    case VISE_BIAS_MLP:
        *key = "mlp_bias";
        return model->config.mlp_bias;
    }
    return false;
}

static void bind(vise_model *model, size_t index, const vise_arch_row *row, int layer, int expert)
{
    model->bound[index].role = row->role;
    model->bound[index].layer = layer;
    model->bound[index].expert = expert;
}

static vise_status bind_weight(vise_model *model, const vise_arch_row *row, int layer, int expert, vise_error *err)
{
    char buffer[VISE_MODULE_MAX], old[VISE_MODULE_MAX];
    const char *key, *name = row_name(model, row, layer, expert, row->how & VISE_ROW_BARE ? "" : ".weight", buffer);
    size_t index = vise_store_find(model->store, name);

    if (index == SIZE_MAX && row->rows == VISE_DIM_ONE && wants_bias(model, row, &key))
        index = vise_store_find(model->store, row_name(model, row, layer, expert, ".gamma", old));
    if (index == SIZE_MAX) {
        if (model->partial)
            return VISE_OK;
        if (row->role == VISE_ROLE_HEAD && model->config.tied && model->config.head == VISE_HEAD_LM) {
            model->tied = true;
            return VISE_OK;
        }
        return VISE_FAIL(
            err, VISE_EFORMAT, "%s: tensor %s is missing%s", model_path(model), name,
            row->role == VISE_ROLE_HEAD
                ? "; if the head is the embedding, config.json must say \"tie_word_embeddings\": true"
                : "");
    }
    VISE_TRY(check_matrix(model, row, model->bound[index].tensor, err));
    if (row->how & VISE_ROW_TRANSPOSED)
        VISE_TRY(vise_store_transpose(model->store, index, err));
    bind(model, index, row, layer, expert);
    model->bound[index].input = row->input;
    model->bound[index].is_linear = row->linear;
    model->by_role[place(model, vise_config_slot(row->role, expert), layer)] = index;
    return VISE_OK;
}

static vise_status bind_bias(vise_model *model, const vise_arch_row *row, int layer, int expert, vise_error *err)
{
    char buffer[VISE_MODULE_MAX], old[VISE_MODULE_MAX];
    const char *key, *name = row_name(model, row, layer, expert, ".bias", buffer);
    bool wanted = wants_bias(model, row, &key);
    size_t index = row->linear || wanted ? vise_store_find(model->store, name) : SIZE_MAX;

    if (index == SIZE_MAX && wanted && row->rows == VISE_DIM_ONE)
        index = vise_store_find(model->store, row_name(model, row, layer, expert, ".beta", old));

    if (index == SIZE_MAX && (!wanted || model->partial || row->bias == VISE_BIAS_STORED))
        return VISE_OK;
    if (index == SIZE_MAX && key == NULL)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: tensor %s is missing", model_path(model), name);
    if (index == SIZE_MAX)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: tensor %s is missing, but config.json says \"%s\": true",
                         model_path(model), name, key);
    if (!wanted) {
        /* transformers would leave it out; so does the forward pass. It is carried over. */
        vise_warn("%s: %s is stored but not used, since %s%s%s", model_path(model), name,
                  key ? "config.json does not say \"" : "the family has no such bias", key ? key : "",
                  key ? "\": true" : "");
        return VISE_OK;
    }
    VISE_TRY(check_bias(model, row, model->bound[index].tensor, err));
    bind(model, index, row, layer, expert);
    model->bound[index].is_bias = true;
    model->bias_by_role[place(model, vise_config_slot(row->role, expert), layer)] = index;
    return VISE_OK;
}

static vise_status bind_row(vise_model *model, const vise_arch_row *row, int layer, vise_error *err)
{
    int experts = vise_arch_row_per_expert(row) ? (int)model->config.experts : 1;

    if (!vise_arch_row_applies(row, &model->config, layer))
        return VISE_OK;
    for (int expert = 0; expert < experts; expert++) {
        VISE_TRY(bind_weight(model, row, layer, expert, err));
        if (!(row->how & VISE_ROW_BARE))
            VISE_TRY(bind_bias(model, row, layer, expert, err));
    }
    return VISE_OK;
}

/* How the file spells the rows' prefix. The first row is the embedding. */
static void find_spelling(vise_model *model)
{
    const vise_arch *arch = model->arch;
    char name[VISE_MODULE_MAX];

    for (size_t i = 0; arch->prefix != NULL && i <= VISE_ARCH_SPELLINGS_MAX; i++) {
        model->spelling = i == 0 ? NULL : arch->spelling[i - 1];
        if (i > 0 && model->spelling == NULL)
            return;
        if (vise_store_find(model->store, row_name(model, &arch->rows[0], 0, 0, ".weight", name)) != SIZE_MAX)
            return;
    }
    model->spelling = NULL;
}

static vise_status bind_rows(vise_model *model, vise_error *err)
{
    for (size_t i = 0; i < model->arch->n_rows; i++) {
        const vise_arch_row *row = &model->arch->rows[i];
        int first = vise_arch_row_in_block(row) ? 0 : -1;
        int end = first < 0 ? 0 : (int)model->config.layers;

        for (int layer = first; layer < end; layer++)
            VISE_TRY(bind_row(model, row, layer, err));
    }
    return VISE_OK;
}

/* ---- unknown families ------------------------------------------------------------------------------ */

/* The first all-digit part of a dotted name, or -1. */
static int layer_in_name(const char *name)
{
    for (const char *part = name; part != NULL; part = strchr(part, '.')) {
        size_t digits;

        part += *part == '.';
        digits = strspn(part, "0123456789");
        if (digits > 0 && digits < 7 && part[digits] == '.') {
            int layer = 0;
            for (size_t i = 0; i < digits; i++)
                layer = 10 * layer + (part[i] - '0');
            return layer;
        }
    }
    return -1;
}

static void bind_by_shape(vise_model *model)
{
    for (size_t i = 0; i < model->count; i++) {
        const vise_logical *tensor = model->bound[i].tensor;
        size_t length = strlen(tensor->name);
        bool weight = length > 7 && strcmp(tensor->name + length - 7, ".weight") == 0;

        model->bound[i].layer = layer_in_name(tensor->name);
        model->bound[i].is_linear = weight && model->bound[i].layer >= 0 && tensor->ndim == 2 &&
                                    vise_dtype_of(tensor->dtype)->is_float;
    }
}

/* ---- opening --------------------------------------------------------------------------------------- */

/* The family whose forward pass fits, or NULL: model_type must be known and architectures, when it is there,
 * must name a class that the family has. */
static vise_status find_family(vise_model *model, const char *path, const cJSON *json, vise_error *err)
{
    const cJSON *architectures = cJSON_GetObjectItemCaseSensitive(json, "architectures");
    const cJSON *first = cJSON_IsArray(architectures) ? cJSON_GetArrayItem(architectures, 0) : NULL;
    const char *model_type = NULL;
    const vise_arch *arch;

    VISE_TRY(vise_json_text(path, json, "model_type", false, &model_type, err));
    if (model_type == NULL)
        return VISE_OK;
    VISE_TRY(vise_strdup(model_type, &model->model_type, err));
    arch = vise_arch_find(model_type);
    const vise_arch_class *of =
        arch ? vise_arch_class_find(arch, cJSON_IsString(first) ? first->valuestring : NULL) : NULL;
    if (of == NULL)
        return VISE_OK;
    const cJSON *text = arch->text ? cJSON_GetObjectItemCaseSensitive(json, arch->text) : NULL;
    const char *text_type = NULL;
    VISE_TRY(text != NULL ? vise_json_text(path, text, "model_type", false, &text_type, err) : VISE_OK);
    if (text_type != NULL && strcmp(text_type, arch->text_type) != 0)
        return VISE_OK;
    VISE_TRY(vise_arch_configure(arch, of, path, json, &model->config, err));
    model->arch = arch;
    model->of = of;
    return VISE_OK;
}

static vise_status make_index(vise_model *model, vise_error *err)
{
    size_t slots = ((size_t)model->config.layers + 1) * vise_config_slots(&model->config);

    VISE_TRY(vise_calloc(model->count, sizeof *model->bound, (void **)&model->bound, err));
    VISE_TRY(vise_calloc(slots, sizeof *model->by_role, (void **)&model->by_role, err));
    VISE_TRY(vise_calloc(slots, sizeof *model->bias_by_role, (void **)&model->bias_by_role, err));
    for (size_t i = 0; i < slots; i++)
        model->by_role[i] = model->bias_by_role[i] = SIZE_MAX;
    for (size_t i = 0; i < model->count; i++)
        model->bound[i] = (vise_bound){.tensor = vise_store_tensor(model->store, i),
                                       .role = VISE_ROLE_UNKNOWN,
                                       .layer = -1,
                                       .input = VISE_INPUT_NONE};
    return VISE_OK;
}

/* How a model is opened. */
enum { OPEN_PARTIAL = 1 << 0, OPEN_UNTIED = 1 << 1 };

static vise_status untie(vise_model *model, vise_error *err)
{
    char name[VISE_MODULE_MAX];
    size_t embedding = SIZE_MAX;

    if (!model->config.tied || model->config.head != VISE_HEAD_LM)
        return VISE_OK;
    for (size_t i = 0; i < model->arch->n_rows; i++) {
        const vise_arch_row *row = &model->arch->rows[i];
        if (row->role == VISE_ROLE_EMBEDDING)
            embedding = vise_store_find(model->store, row_name(model, row, 0, 0, ".weight", name));
        if (row->role != VISE_ROLE_HEAD || !vise_arch_row_applies(row, &model->config, -1))
            continue;
        row_name(model, row, 0, 0, ".weight", name);
        if (embedding != SIZE_MAX && vise_store_find(model->store, name) == SIZE_MAX)
            VISE_TRY(vise_store_alias(model->store, embedding, name, err));
    }
    return VISE_OK;
}

static vise_status open_model(const char *path, unsigned how, vise_model **out, vise_error *err)
{
    vise_model *model;
    const cJSON *json;
    vise_status status;

    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof *model, (void **)&model, err));
    model->partial = (how & OPEN_PARTIAL) != 0;
    VISE_TRY_TO(fail, vise_store_open(path, &model->store, err));
    json = vise_source_config(vise_store_source(model->store));
    if (json != NULL)
        VISE_TRY_TO(fail,
                    find_family(model, vise_source_config_path(vise_store_source(model->store)), json, err));
    if (model->arch != NULL) {
        find_spelling(model);
        VISE_TRY_TO(fail, vise_model_split(model, err));
        VISE_TRY_TO(fail, how & OPEN_UNTIED ? untie(model, err) : VISE_OK);
    }
    model->count = vise_store_count(model->store);
    VISE_TRY_TO(fail, make_index(model, err));
    if (model->arch != NULL)
        VISE_TRY_TO(fail, bind_rows(model, err));
    else
        bind_by_shape(model);
    *out = model;
    return VISE_OK;

fail:
    vise_model_close(model);
    return status;
}

vise_status vise_model_open(const char *path, vise_model **out, vise_error *err)
{
    return open_model(path, 0, out, err);
}

vise_status vise_model_open_partial(const char *path, vise_model **out, vise_error *err)
{
    return open_model(path, OPEN_PARTIAL, out, err);
}

vise_status vise_model_open_untied(const char *path, vise_model **out, vise_error *err)
{
    return open_model(path, OPEN_UNTIED, out, err);
}

void vise_model_close(vise_model *model)
{
    if (model == NULL)
        return;
    vise_transform_free(model->transform);
    vise_store_close(model->store);
    vise_free(model->model_type);
    vise_free(model->bound);
    vise_free(model->by_role);
    vise_free(model->bias_by_role);
    vise_free(model);
}

/* ---- asking ---------------------------------------------------------------------------------------- */

size_t vise_model_slot(const vise_model *model, size_t slot, int layer)
{
    if (slot >= vise_config_slots(&model->config) || layer < -1 || layer >= model->config.layers)
        return SIZE_MAX;
    return model->by_role[place(model, slot, layer)];
}

size_t vise_model_slot_bias(const vise_model *model, size_t slot, int layer)
{
    if (slot >= vise_config_slots(&model->config) || layer < -1 || layer >= model->config.layers)
        return SIZE_MAX;
    return model->bias_by_role[place(model, slot, layer)];
}

size_t vise_model_role(const vise_model *model, vise_role role, int layer)
{
    if ((unsigned)role >= VISE_ROLE_COUNT)
        return SIZE_MAX;
    if (role == VISE_ROLE_HEAD && model->tied)
        role = VISE_ROLE_EMBEDDING;
    return vise_model_slot(model, (size_t)role, layer);
}

size_t vise_model_bias(const vise_model *model, vise_role role, int layer)
{
    return (unsigned)role >= VISE_ROLE_COUNT ? SIZE_MAX : vise_model_slot_bias(model, (size_t)role, layer);
}

size_t vise_bound_slot(const vise_bound *bound)
{
    return vise_config_slot(bound->role, bound->expert);
}

size_t vise_bound_input(const vise_bound *bound)
{
    return vise_config_input(bound->input, bound->expert);
}

vise_status vise_model_need_tokens(const vise_model *model, const char *what, vise_error *err)
{
    VISE_TRY(vise_model_need_forward(model, what, err));
    if (model->config.head == VISE_HEAD_LM && !model->config.bidirectional)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: %s needs a model that predicts the next token; %s %s",
                     model_path(model), what, model->of->name,
                     model->config.head == VISE_HEAD_LM           ? "predicts masked ones"
                     : model->config.head == VISE_HEAD_CLASSIFIER ? "classifies"
                                                                  : "embeds");
}

vise_status vise_model_need_forward(const vise_model *model, const char *what, vise_error *err)
{
    const cJSON *json = vise_source_config(vise_store_source(model->store));
    const cJSON *architectures = cJSON_GetObjectItemCaseSensitive(json, "architectures");
    const cJSON *first = cJSON_IsArray(architectures) ? cJSON_GetArrayItem(architectures, 0) : NULL;
    size_t n_families;
    const vise_arch *families = vise_architectures(&n_families);
    vise_buf known;
    vise_status status;

    if (model->arch != NULL)
        return VISE_OK;
    if (json == NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: %s needs a forward pass, but there is no config.json to say how",
                         model_path(model), what);
    vise_buf_init(&known, 4096);
    for (size_t i = 0; i < n_families; i++)
        vise_buf_addf(&known, "%s%s (%s)", i == 0 ? "" : ", ", families[i].model_type,
                      families[i].classes[0].name);
    if (model->model_type == NULL)
        status = VISE_FAIL(err, VISE_EUNSUPPORTED,
                           "%s: %s needs a forward pass, but config.json has no model_type; known: %s",
                           model_path(model), what, known.data);
    else
        status = VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s: %s needs a forward pass, which there is none of for model_type \"%s\"%s%s; known: %s",
            model_path(model), what, model->model_type, cJSON_IsString(first) ? ", architecture " : "",
            cJSON_IsString(first) ? first->valuestring : "", known.data);
    vise_buf_deinit(&known);
    return status;
}

vise_dtype vise_model_dtype(const vise_model *model)
{
    uint64_t elements[VISE_DTYPE_COUNT] = {0};
    vise_dtype best = VISE_DTYPE_F32;

    for (size_t i = 0; i < model->count; i++)
        if (vise_dtype_of(model->bound[i].tensor->dtype)->is_float)
            elements[model->bound[i].tensor->dtype] += model->bound[i].tensor->elements;
    for (int i = 0; i < VISE_DTYPE_COUNT; i++)
        if (elements[i] > elements[best])
            best = (vise_dtype)i;
    return best;
}
