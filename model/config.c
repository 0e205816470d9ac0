#include "model/config.h"

#include <string.h>

#include "core/json.h"

vise_status vise_config_ints(const char *path, const cJSON *json, const vise_config_key *keys, size_t n,
                             vise_config *config, vise_error *err)
{
    for (size_t i = 0; i < n; i++) {
        int64_t *place = (int64_t *)(void *)((char *)config + keys[i].offset);
        VISE_TRY(vise_json_int(path, json, keys[i].key, keys[i].required, 1, keys[i].max, place, err));
    }
    return VISE_OK;
}

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

static vise_status check_partial(const char *path, const cJSON *json, vise_error *err)
{
    double factor = 1.0;

    VISE_TRY(vise_json_double(path, json, "partial_rotary_factor", false, 0.0, 1.0, &factor, err));
    if (factor < 1.0)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s: partial_rotary_factor %g: rotation of a part of each head is not supported for this family",
            path, factor);
    return VISE_OK;
}

vise_status vise_config_rotary(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    const cJSON *rope, *scaling;
    const char *kind = NULL;
    const double theta_min = 1.0, theta_max = 1e15;

    VISE_TRY(member_object(path, json, "rope_parameters", &rope, err));
    VISE_TRY(member_object(path, json, "rope_scaling", &scaling, err));
    if (scaling != NULL && scaling->child != NULL)
        rope = scaling;

    VISE_TRY(
        vise_json_double(path, json, "rope_theta", false, theta_min, theta_max, &config->rope_theta, err));
    VISE_TRY(check_partial(path, json, err));
    if (rope == NULL)
        return VISE_OK;

    /* A dictionary per layer type (Gemma 3): no family here has one. */
    for (const cJSON *member = rope->child; member != NULL; member = member->next)
        if (cJSON_IsObject(member))
            return VISE_FAIL(
                err, VISE_EUNSUPPORTED,
                "%s: rotary parameters per layer type (\"%s\") are not supported for this family", path,
                member->string);
    VISE_TRY(
        vise_json_double(path, rope, "rope_theta", false, theta_min, theta_max, &config->rope_theta, err));
    VISE_TRY(check_partial(path, rope, err));
    VISE_TRY(vise_json_text(path, rope, "type", false, &kind, err));
    VISE_TRY(vise_json_text(path, rope, "rope_type", false, &kind, err));
    if (kind != NULL && strcmp(kind, "default") != 0)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: rotary scaling of type \"%s\" is not supported; supported: \"default\"", path,
                         kind);
    return VISE_OK;
}

vise_status vise_config_activation(const char *path, const cJSON *json, const char *const *names,
                                   vise_error *err)
{
    const char *name = NULL;

    VISE_TRY(vise_json_text(path, json, "hidden_act", false, &name, err));
    if (name == NULL)
        return VISE_OK;
    for (size_t i = 0; names[i] != NULL; i++)
        if (strcmp(name, names[i]) == 0)
            return VISE_OK;
    return VISE_FAIL(err, VISE_EUNSUPPORTED,
                     "%s: hidden_act \"%s\" is not supported for this family; supported: \"%s\"", path, name,
                     names[0]);
}

vise_status vise_config_common(const char *path, const cJSON *json, int32_t bos_default, vise_config *config,
                               vise_error *err)
{
    const cJSON *bos_member = cJSON_GetObjectItemCaseSensitive(json, "bos_token_id");
    int64_t bos = bos_default < config->vocab ? bos_default : -1;

    VISE_TRY(vise_json_bool(path, json, "tie_word_embeddings", false, &config->tied, err));
    if (bos_member != NULL && cJSON_IsNull(bos_member))
        bos = -1;
    VISE_TRY(vise_json_int(path, json, "bos_token_id", false, -1, config->vocab - 1, &bos, err));
    config->bos = (int32_t)bos;
    VISE_TRY(vise_json_text(path, json, "torch_dtype", false, &config->dtype, err));
    VISE_TRY(vise_json_text(path, json, "dtype", false, &config->dtype, err));
    return VISE_OK;
}
