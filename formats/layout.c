#include "formats/layout.h"

#include <string.h>

#include "formats/layout_internal.h"

static const vise_layout layouts[] = {
    {
        .name = "safetensors",
        .summary = "plain floating-point tensors; loaded by everything",
        .scale_dtype = VISE_DTYPE_COUNT,
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
        .scale_dtype = VISE_DTYPE_COUNT,
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
        .scale_dtype = VISE_DTYPE_COUNT,
        .spell = vise_gguf_spell,
        .store_scratch = vise_gguf_store_scratch,
        .store = vise_gguf_store,
        .config = vise_gguf_config,
        .recognise = vise_gguf_recognise,
        .find = vise_gguf_find_weights,
        .load = vise_gguf_load,
    },
    {
        .name = "bitsandbytes",
        .summary = "nf4, fp4 and LLM.int8; loaded by transformers, vLLM, PEFT",
        .scale_dtype = VISE_DTYPE_F32,
        .spell = vise_bnb_spell,
        .store_scratch = vise_bnb_store_scratch,
        .store = vise_bnb_store,
        .config = vise_bnb_config,
        .recognise = vise_bnb_recognise,
        .find = vise_bnb_find,
        .load = vise_bnb_load,
    },
    {
        .name = "fp8",
        .summary = "fp8-e4m3 in blocks or per tensor, fine-grained; loaded by transformers, vLLM, SGLang",
        .scale_dtype = VISE_DTYPE_F32,
        .spell = vise_fp8_spell,
        .store_scratch = vise_fp8_store_scratch,
        .store = vise_fp8_store,
        .config = vise_fp8_config,
        .recognise = vise_fp8_recognise,
        .find = vise_fp8_find,
        .load = vise_fp8_load,
    },
    {
        .name = "gptq",
        .summary = "integers as GPTQ's tools write them; loaded by transformers (gptqmodel), vLLM, SGLang, ExLlama",
        .scale_dtype = VISE_DTYPE_F16,
        .config_file = "quantize_config.json",
        .transposed = true,
        .spell = vise_gptq_spell,
        .store_scratch = vise_gptq_store_scratch,
        .store = vise_gptq_v1_store,
        .config = vise_gptq_v1_config,
        .recognise = vise_gptq_v1_recognise,
        .find = vise_gptq_find,
        .load = vise_gptq_load,
    },
    {
        .name = "gptq-v2",
        .summary = "the same with zero points as they are; loaded by GPTQModel, vLLM",
        .scale_dtype = VISE_DTYPE_F16,
        .config_file = "quantize_config.json",
        .transposed = true,
        .spell = vise_gptq_spell,
        .store_scratch = vise_gptq_store_scratch,
        .store = vise_gptq_v2_store,
        .config = vise_gptq_v2_config,
        .recognise = vise_gptq_v2_recognise,
        .find = vise_gptq_find,
        .load = vise_gptq_load,
    },
    {
        .name = "awq",
        .summary = "int4 as AutoAWQ's GEMM form; loaded by transformers (gptqmodel), vLLM, SGLang",
        .scale_dtype = VISE_DTYPE_F16,
        .transposed = true,
        .spell = vise_awq_spell,
        .store_scratch = vise_awq_store_scratch,
        .store = vise_awq_store,
        .config = vise_awq_config,
        .recognise = vise_awq_recognise,
        .find = vise_awq_find,
        .load = vise_awq_load,
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

bool vise_layout_has_fp8_cache(const vise_source *source)
{
    const cJSON *scheme = cJSON_GetObjectItemCaseSensitive(vise_quantization_config(source), "kv_cache_scheme");
    return cJSON_IsObject(scheme) && vise_ct_recognise(source) &&
           vise_ct_is_fp8_cache(vise_source_config_path(source), scheme);
}
