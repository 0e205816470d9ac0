#include "model/config.h"

#include <string.h>

#include "core/json.h"

vise_status vise_config_ints(const char *path, const cJSON *json, const vise_config_key *keys, size_t n,
                             vise_config *config, vise_error *err)
{
    for (size_t i = 0; i < n; i++) {
        int64_t *place = (int64_t *)(void *)((char *)config + keys[i].offset);
        VISE_TRY(vise_json_int(path, json, keys[i].key, keys[i].required && *place == 0, 1, keys[i].max, place, err));
    }
    return VISE_OK;
}

vise_status vise_config_heads(const char *path, vise_config *config, vise_error *err)
{
    if (config->kv_heads == 0)
        config->kv_heads = config->heads;
    if (config->heads % config->kv_heads != 0)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: num_attention_heads %lld is not a multiple of num_key_value_heads %lld", path,
                         (long long)config->heads, (long long)config->kv_heads);
    if (config->head_dim == 0 && config->hidden % config->heads != 0)
        return VISE_FAIL(
            err, VISE_EFORMAT,
            "%s: hidden_size %lld is not a multiple of num_attention_heads %lld, and there is no head_dim",
            path, (long long)config->hidden, (long long)config->heads);
    if (config->head_dim == 0)
        config->head_dim = config->hidden / config->heads;
    return VISE_OK;
}

bool vise_config_has(const cJSON *json, const char *key)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(json, key);

    return member != NULL && !cJSON_IsNull(member);
}

vise_status vise_config_must_be(const char *path, const cJSON *json, const char *key, bool standard, bool wanted,
                                vise_error *err)
{
    bool value = standard;

    VISE_TRY(vise_json_bool(path, json, key, false, &value, err));
    if (value != wanted)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: %s %s is not supported for this family", path, key,
                         value ? "true" : "false");
    return VISE_OK;
}

/* ---- rotary positions ------------------------------------------------------------------------------ */

/* An object, or NULL when the key is absent or null. */
static vise_status member_object(const char *path, const cJSON *json, const char *key, const cJSON **out,
                                 vise_error *err)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(json, key);

    *out = NULL;
    if (member == NULL || cJSON_IsNull(member))
        return VISE_OK;
    if (!cJSON_IsObject(member))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: %s must be an object or null", path, key);
    *out = member;
    return VISE_OK;
}

static vise_status read_partial(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    double factor = 0.0;

    VISE_TRY(vise_json_double(path, json, "partial_rotary_factor", false, 0.0, 1.0, &factor, err));
    if (!vise_config_has(json, "partial_rotary_factor"))
        return VISE_OK;
    config->rotary = (int64_t)((double)config->head_dim * factor);
    if (config->rotary < 2 || config->rotary % 2 != 0)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: partial_rotary_factor %g rotates %lld of %lld dimensions; rotation needs pairs", path,
                         factor, (long long)config->rotary, (long long)config->head_dim);
    return VISE_OK;
}

static const struct {
    const char *name;
    vise_rope_kind kind;
} rope_kinds[] = {
    {"default", VISE_ROPE_DEFAULT}, {"linear", VISE_ROPE_LINEAR}, {"dynamic", VISE_ROPE_DYNAMIC},
    {"yarn", VISE_ROPE_YARN},       {"llama3", VISE_ROPE_LLAMA3}, {"longrope", VISE_ROPE_LONGROPE},
    {"su", VISE_ROPE_LONGROPE}, /* Phi-3's first name for it */
    {"mrope", VISE_ROPE_DEFAULT}, /* positions in an image have three coordinates, which are equal in a text */
};

static vise_status rope_kind(const char *path, const cJSON *rope, vise_rope_kind *kind, vise_error *err)
{
    const char *name = NULL;

    VISE_TRY(vise_json_text(path, rope, "type", false, &name, err));
    VISE_TRY(vise_json_text(path, rope, "rope_type", false, &name, err));
    for (size_t i = 0; name != NULL && i < sizeof rope_kinds / sizeof rope_kinds[0]; i++)
        if (strcmp(name, rope_kinds[i].name) == 0) {
            *kind = rope_kinds[i].kind;
            return VISE_OK;
        }
    if (name == NULL)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EUNSUPPORTED,
                     "%s: rotary scaling of type \"%s\" is not supported; supported: default, linear, dynamic, yarn, "
                     "llama3, longrope",
                     path, name);
}

/* One factor per pair of dimensions. */
static vise_status factor_list(const char *path, const cJSON *rope, const char *key, const vise_config *config,
                               const cJSON **out, vise_error *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(rope, key);
    int64_t pairs = (config->rotary > 0 ? config->rotary : config->head_dim) / 2, n = 0;
    bool good = cJSON_IsArray(list);

    for (const cJSON *item = good ? list->child : NULL; good && item != NULL; item = item->next, n++)
        good = cJSON_IsNumber(item) && item->valuedouble > 0.0 && item->valuedouble < 1e9;
    if (!good || n != pairs)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: %s must be a list of %lld positive numbers", path, key,
                         (long long)pairs);
    *out = list;
    return VISE_OK;
}

static vise_status rope_numbers(const char *path, const cJSON *json, const cJSON *rope, const vise_config *config,
                                vise_rope *out, vise_error *err)
{
    const double big = 1e9;
    bool needs_factor = out->kind == VISE_ROPE_LINEAR || out->kind == VISE_ROPE_DYNAMIC ||
                        out->kind == VISE_ROPE_LLAMA3;
    bool llama3 = out->kind == VISE_ROPE_LLAMA3;

    VISE_TRY(vise_json_double(path, rope, "factor", needs_factor, 1e-6, big, &out->factor, err));
    VISE_TRY(vise_json_double(path, rope, "attention_factor", false, 0.0, big, &out->attention_factor, err));
    if (llama3) {
        VISE_TRY(vise_json_double(path, rope, "low_freq_factor", true, 1e-6, big, &out->low, err));
        VISE_TRY(vise_json_double(path, rope, "high_freq_factor", true, 1e-6, big, &out->high, err));
        if (out->high <= out->low)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: high_freq_factor %g is not above low_freq_factor %g", path,
                             out->high, out->low);
    }
    if (out->kind == VISE_ROPE_YARN) {
        out->low = 1.0;
        out->high = 32.0;
        out->truncate = true;
        VISE_TRY(vise_json_double(path, rope, "beta_slow", false, 1e-6, big, &out->low, err));
        VISE_TRY(vise_json_double(path, rope, "beta_fast", false, 1e-6, big, &out->high, err));
        VISE_TRY(vise_json_double(path, rope, "mscale", false, 0.0, big, &out->mscale, err));
        VISE_TRY(vise_json_double(path, rope, "mscale_all_dim", false, 0.0, big, &out->mscale_all, err));
        VISE_TRY(vise_json_bool(path, rope, "truncate", false, &out->truncate, err));
    }
    if (out->kind == VISE_ROPE_LONGROPE) {
        VISE_TRY(factor_list(path, rope, "short_factor", config, &out->short_factor, err));
        VISE_TRY(factor_list(path, rope, "long_factor", config, &out->long_factor, err));
    }
    if (out->original == 0)
        out->original = config->max_positions;
    VISE_TRY(vise_json_int(path, rope, "original_max_position_embeddings", false, 1, VISE_CONFIG_POSITIONS_MAX,
                           &out->original, err));
    return vise_json_int(path, json, "original_max_position_embeddings", false, 1, VISE_CONFIG_POSITIONS_MAX,
                         &out->original, err);
}

static vise_status read_rope(const char *path, const cJSON *json, const cJSON *rope, vise_config *config,
                             vise_rope *out, vise_error *err)
{
    VISE_TRY(vise_json_double(path, rope, "rope_theta", false, 1.0, 1e15, &out->theta, err));
    VISE_TRY(read_partial(path, rope, config, err));
    VISE_TRY(rope_kind(path, rope, &out->kind, err));
    if (out->kind != VISE_ROPE_DEFAULT)
        VISE_TRY(rope_numbers(path, json, rope, config, out, err));
    return VISE_OK;
}

/* Parameters per layer type. */
static vise_status read_nested(const char *path, const cJSON *json, const cJSON *rope, vise_config *config,
                               vise_error *err)
{
    const cJSON *full, *sliding;

    for (const cJSON *member = rope->child; member != NULL; member = member->next)
        if (cJSON_IsObject(member) && strcmp(member->string, "full_attention") != 0 &&
            strcmp(member->string, "sliding_attention") != 0)
            return VISE_FAIL(err, VISE_EUNSUPPORTED,
                             "%s: rotary parameters of layers of type \"%s\" are not supported", path,
                             member->string);
    VISE_TRY(member_object(path, rope, "full_attention", &full, err));
    VISE_TRY(member_object(path, rope, "sliding_attention", &sliding, err));
    if (full != NULL)
        VISE_TRY(read_rope(path, json, full, config, &config->rope, err));
    if (sliding != NULL)
        VISE_TRY(read_rope(path, json, sliding, config, &config->local_rope, err));
    return VISE_OK;
}

vise_status vise_config_rotary(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    const cJSON *rope, *scaling;
    bool nested = false;

    VISE_TRY(member_object(path, json, "rope_parameters", &rope, err));
    VISE_TRY(member_object(path, json, "rope_scaling", &scaling, err));
    if (scaling != NULL && scaling->child != NULL)
        rope = scaling;
    VISE_TRY(vise_json_double(path, json, "rope_theta", false, 1.0, 1e15, &config->rope.theta, err));
    VISE_TRY(read_partial(path, json, config, err));
    for (const cJSON *member = rope != NULL ? rope->child : NULL; member != NULL; member = member->next)
        nested = nested || cJSON_IsObject(member);
    if (nested)
        VISE_TRY(read_nested(path, json, rope, config, err));
    else if (rope != NULL)
        VISE_TRY(read_rope(path, json, rope, config, &config->rope, err));
    if (config->rotary == 0 && config->head_dim % 2 != 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: head_dim %lld is odd; rotary positions need pairs", path,
                         (long long)config->head_dim);
    return VISE_OK;
}

/* ---- the others ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    vise_nonlinearity kind;
} activations[] = {
    {"silu", VISE_SILU},           {"swish", VISE_SILU},
    {"gelu", VISE_GELU},           {"gelu_python", VISE_GELU},
    {"gelu_new", VISE_GELU_TANH},  {"gelu_pytorch_tanh", VISE_GELU_TANH},
    {"gelu_fast", VISE_GELU_TANH}, {"quick_gelu", VISE_GELU_QUICK},
    {"relu", VISE_RELU},           {"tanh", VISE_TANH},
};

vise_status vise_config_activation(const char *path, const cJSON *json, const char *key, vise_nonlinearity standard,
                                   vise_nonlinearity *activation, vise_error *err)
{
    const char *name = NULL;

    *activation = standard;
    VISE_TRY(vise_json_text(path, json, key, false, &name, err));
    if (name == NULL)
        return VISE_OK;
    for (size_t i = 0; i < sizeof activations / sizeof activations[0]; i++)
        if (strcmp(name, activations[i].name) == 0) {
            *activation = activations[i].kind;
            return VISE_OK;
        }
    return VISE_FAIL(err, VISE_EUNSUPPORTED,
                     "%s: %s \"%s\" is not supported; supported: silu, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, "
                     "relu, tanh",
                     path, key, name);
}

vise_status vise_config_window(const char *path, const cJSON *json, int64_t standard, vise_config *config,
                               vise_error *err)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(json, "sliding_window");

    config->window = standard;
    if (member != NULL && cJSON_IsNull(member))
        config->window = 0;
    return vise_json_int(path, json, "sliding_window", false, 0, VISE_CONFIG_POSITIONS_MAX, &config->window, err);
}

void vise_config_mark(vise_config *config, int64_t from, int64_t to, uint8_t flag)
{
    for (int64_t layer = from; layer < to && layer < config->layers; layer++)
        config->layer[layer] = (uint8_t)(config->layer[layer] | flag);
}

vise_status vise_config_layer_types(const char *path, const cJSON *json, vise_config *config, bool *found,
                                    vise_error *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "layer_types");
    int64_t layer = 0;

    *found = list != NULL && !cJSON_IsNull(list);
    if (!*found)
        return VISE_OK;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != config->layers)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: layer_types must be a list of %lld names", path,
                         (long long)config->layers);
    for (const cJSON *item = list->child; item != NULL; item = item->next, layer++) {
        if (cJSON_IsString(item) && strcmp(item->valuestring, "full_attention") == 0)
            continue;
        if (!cJSON_IsString(item) || strcmp(item->valuestring, "sliding_attention") != 0)
            return VISE_FAIL(err, cJSON_IsString(item) ? VISE_EUNSUPPORTED : VISE_EFORMAT,
                             "%s: layer_types: layers of type \"%s\" are not supported", path,
                             cJSON_IsString(item) ? item->valuestring : "?");
        vise_config_mark(config, layer, layer + 1, VISE_LAYER_SLIDING);
    }
    return VISE_OK;
}

static vise_status read_labels(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    const cJSON *names;

    if (config->head != VISE_HEAD_CLASSIFIER)
        return VISE_OK;
    config->labels = 2;
    VISE_TRY(member_object(path, json, "id2label", &names, err));
    if (names != NULL && names->child != NULL)
        config->labels = cJSON_GetArraySize(names);
    return vise_json_int(path, json, "num_labels", false, 1, VISE_CONFIG_LABELS_MAX, &config->labels, err);
}

vise_status vise_config_common(const char *path, const cJSON *json, int32_t bos_default, vise_config *config,
                               vise_error *err)
{
    const cJSON *bos_member = cJSON_GetObjectItemCaseSensitive(json, "bos_token_id");
    const cJSON *pad_member = cJSON_GetObjectItemCaseSensitive(json, "pad_token_id");
    int64_t bos = bos_default < config->vocab ? bos_default : -1, pad = config->pad;

    VISE_TRY(vise_json_bool(path, json, "tie_word_embeddings", false, &config->tied, err));
    if (bos_member != NULL && cJSON_IsNull(bos_member))
        bos = -1;
    VISE_TRY(vise_json_int(path, json, "bos_token_id", false, -1, config->vocab - 1, &bos, err));
    config->bos = (int32_t)bos;
    if (pad_member != NULL && cJSON_IsNull(pad_member))
        pad = -1;
    VISE_TRY(vise_json_int(path, json, "pad_token_id", false, -1, INT32_MAX, &pad, err));
    config->pad = (int32_t)pad;
    VISE_TRY(read_labels(path, json, config, err));
    VISE_TRY(vise_json_text(path, json, "torch_dtype", false, &config->dtype, err));
    VISE_TRY(vise_json_text(path, json, "dtype", false, &config->dtype, err));
    return VISE_OK;
}

vise_status vise_config_around(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    /* A head that is not there is the embedding unless the file says that it is not: classes have tied by default. */
    config->tied = true;
    VISE_TRY(vise_json_bool(path, json, "tie_word_embeddings", false, &config->tied, err));
    VISE_TRY(vise_json_text(path, json, "torch_dtype", false, &config->dtype, err));
    VISE_TRY(vise_json_text(path, json, "dtype", false, &config->dtype, err));
    return read_labels(path, json, config, err);
}
