#include "formats/layout.h"

#include <string.h>

#include "formats/layout_internal.h"

static const vise_layout *const layouts[] = {
    &vise_layout_plain,
    &vise_layout_ct,
    &vise_layout_gguf,
    &vise_layout_bnb,
    &vise_layout_fp8,
    &vise_layout_gptq,
    &vise_layout_gptq_v2,
    &vise_layout_awq,
};
#define LAYOUTS (sizeof layouts / sizeof *layouts)

const vise_layout *const *vise_layouts(size_t *count)
{
    *count = LAYOUTS;
    return layouts;
}

const vise_layout *vise_layout_find(const char *name)
{
    for (size_t i = 0; i < LAYOUTS; i++)
        if (strcmp(layouts[i]->name, name) == 0)
            return layouts[i];
    return NULL;
}

const cJSON *vise_quantization_config(const vise_source *source)
{
    static const char *const keys[] = {"quantization_config", "compression_config"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const cJSON *config = cJSON_GetObjectItemCaseSensitive(vise_source_config(source), keys[i]);
        if (cJSON_IsObject(config) && config->child)
            return config;
    }
    return NULL;
}

const vise_cache_type *vise_layout_cache(const vise_source *source)
{
    const cJSON *scheme = cJSON_GetObjectItemCaseSensitive(vise_quantization_config(source), "kv_cache_scheme");
    return cJSON_IsObject(scheme) && vise_ct_recognise(source)
               ? vise_ct_cache_type(vise_source_config_path(source), scheme)
               : NULL;
}
