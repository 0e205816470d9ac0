#include "formats/layout.h"

#include <string.h>

#include "formats/layout_internal.h"

static const vise_layout layouts[] = {
    {
        .name = "safetensors",
        .summary = "plain floating-point tensors; loaded by everything",
        .spell = vise_plain_spell,
        .store_scratch = vise_plain_store_scratch,
        .store = vise_plain_store,
        .config = vise_plain_config,
        .recognise = vise_plain_recognise,
        .find = vise_plain_find,
        .load = vise_plain_load,
    },
    {
        .name = "compressed-tensors",
        .summary = "integers as llm-compressor writes them; loaded by transformers, vLLM, SGLang",
        .spell = vise_ct_spell,
        .store_scratch = vise_ct_store_scratch,
        .store = vise_ct_store,
        .config = vise_ct_config,
        .recognise = vise_ct_recognise,
        .find = vise_ct_find,
        .load = vise_ct_load,
    },
    {
        .name = "gguf",
        .summary = "GGUF with the block types of llama.cpp; loaded by llama.cpp, ollama, transformers",
        .spell = vise_gguf_spell,
        .store_scratch = vise_gguf_store_scratch,
        .store = vise_gguf_store,
        .config = vise_gguf_config,
        .recognise = vise_gguf_recognise,
        .find = vise_gguf_find_weights,
        .load = vise_gguf_load,
    },
};
#define LAYOUTS (sizeof layouts / sizeof *layouts)

const vise_layout *vise_layouts(size_t *count)
{
    *count = LAYOUTS;
    return layouts;
}

const vise_layout *vise_layout_find(const char *name)
{
    for (size_t i = 0; i < LAYOUTS; i++)
        if (strcmp(layouts[i].name, name) == 0)
            return &layouts[i];
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
