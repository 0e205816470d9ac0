#include "formats/gguf_names.h"

#include <stdio.h>
#include <string.h>

#define IN  "blk.%d."
#define OUT "model.layers.%d."

static const vise_gguf_module llama_modules[] = {
    {"token_embd", "model.embed_tokens", VISE_GGUF_ROWS_PLAIN},
    {"output_norm", "model.norm", VISE_GGUF_ROWS_PLAIN},
    {"output", "lm_head", VISE_GGUF_ROWS_PLAIN},
    {IN "attn_norm", OUT "input_layernorm", VISE_GGUF_ROWS_PLAIN},
    {IN "attn_q", OUT "self_attn.q_proj", VISE_GGUF_ROWS_Q},
    {IN "attn_k", OUT "self_attn.k_proj", VISE_GGUF_ROWS_KV},
    {IN "attn_v", OUT "self_attn.v_proj", VISE_GGUF_ROWS_PLAIN},
    {IN "attn_output", OUT "self_attn.o_proj", VISE_GGUF_ROWS_PLAIN},
    {IN "ffn_norm", OUT "post_attention_layernorm", VISE_GGUF_ROWS_PLAIN},
    {IN "ffn_gate", OUT "mlp.gate_proj", VISE_GGUF_ROWS_PLAIN},
    {IN "ffn_up", OUT "mlp.up_proj", VISE_GGUF_ROWS_PLAIN},
    {IN "ffn_down", OUT "mlp.down_proj", VISE_GGUF_ROWS_PLAIN},
};

/* Qwen's rotary code takes the halves of a head, as transformers does: no rows move. */
static const vise_gguf_module qwen_modules[] = {
    {"token_embd", "model.embed_tokens", VISE_GGUF_ROWS_PLAIN},
    {"output_norm", "model.norm", VISE_GGUF_ROWS_PLAIN},
    {"output", "lm_head", VISE_GGUF_ROWS_PLAIN},
    {IN "attn_norm", OUT "input_layernorm", VISE_GGUF_ROWS_PLAIN},
    {IN "attn_q", OUT "self_attn.q_proj", VISE_GGUF_ROWS_PLAIN},
    {IN "attn_k", OUT "self_attn.k_proj", VISE_GGUF_ROWS_PLAIN},
    {IN "attn_v", OUT "self_attn.v_proj", VISE_GGUF_ROWS_PLAIN},
    {IN "attn_q_norm", OUT "self_attn.q_norm", VISE_GGUF_ROWS_PLAIN},
    {IN "attn_k_norm", OUT "self_attn.k_norm", VISE_GGUF_ROWS_PLAIN},
    {IN "attn_output", OUT "self_attn.o_proj", VISE_GGUF_ROWS_PLAIN},
    {IN "ffn_norm", OUT "post_attention_layernorm", VISE_GGUF_ROWS_PLAIN},
    {IN "ffn_gate", OUT "mlp.gate_proj", VISE_GGUF_ROWS_PLAIN},
    {IN "ffn_up", OUT "mlp.up_proj", VISE_GGUF_ROWS_PLAIN},
    {IN "ffn_down", OUT "mlp.down_proj", VISE_GGUF_ROWS_PLAIN},
};

#define MODULES(table) .modules = table, .n_modules = sizeof table / sizeof *table

/* Where several families share an architecture, the first is what a file of it becomes. */
static const vise_gguf_family families[] = {
    {.architecture = "llama",
     .model_type = "llama",
     .class_name = "LlamaForCausalLM",
     MODULES(llama_modules)},
    {.architecture = "llama",
     .model_type = "mistral",
     .class_name = "MistralForCausalLM",
     MODULES(llama_modules)},
    {.architecture = "qwen2",
     .model_type = "qwen2",
     .class_name = "Qwen2ForCausalLM",
     .has_qkv_bias = true,
     MODULES(qwen_modules)},
    {.architecture = "qwen3", .model_type = "qwen3", .class_name = "Qwen3ForCausalLM", MODULES(qwen_modules)},
};
enum { FAMILIES = sizeof families / sizeof *families };

const vise_gguf_family *vise_gguf_family_of(const char *architecture)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].architecture, architecture) == 0)
            return &families[i];
    return NULL;
}

const vise_gguf_family *vise_gguf_family_of_model(const char *model_type)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].model_type, model_type) == 0)
            return &families[i];
    return NULL;
}

/* Does name[0..length) match the pattern? The layer goes to *layer (-1 without one). */
static bool matches(const char *pattern, const char *name, size_t length, int *layer)
{
    const char *number = strstr(pattern, "%d");
    *layer = -1;
    if (number == NULL)
        return strlen(pattern) == length && memcmp(pattern, name, length) == 0;
    const size_t before = (size_t)(number - pattern), behind = strlen(number + 2);
    if (length < before + behind + 1 || length > before + behind + 6 || memcmp(pattern, name, before) != 0 ||
        memcmp(number + 2, name + length - behind, behind) != 0)
        return false;
    int value = 0;
    for (size_t i = before; i < length - behind; i++) {
        if (name[i] < '0' || name[i] > '9' || (name[i] == '0' && i == before && length - behind > before + 1))
            return false;
        value = 10 * value + (name[i] - '0');
    }
    *layer = value;
    return true;
}

static void spell(const char *pattern, int layer, const char *suffix, char name[VISE_GGUF_MODULE_MAX])
{
    const char *number = strstr(pattern, "%d");
    if (number == NULL)
        snprintf(name, VISE_GGUF_MODULE_MAX, "%s%s", pattern, suffix);
    else
        snprintf(name, VISE_GGUF_MODULE_MAX, "%.*s%d%s%s", (int)(number - pattern), pattern, layer,
                 number + 2, suffix);
}

static const vise_gguf_module *translate(const vise_gguf_family *family, const char *from, bool to_hf,
                                         char name[VISE_GGUF_MODULE_MAX])
{
    const char *suffix = strrchr(from, '.');
    if (suffix == NULL || (strcmp(suffix, ".weight") != 0 && strcmp(suffix, ".bias") != 0))
        return NULL;
    for (size_t i = 0; i < family->n_modules; i++) {
        const vise_gguf_module *module = &family->modules[i];
        int layer;
        if (matches(to_hf ? module->gguf : module->hf, from, (size_t)(suffix - from), &layer)) {
            spell(to_hf ? module->hf : module->gguf, layer, suffix, name);
            return module;
        }
    }
    return NULL;
}

const vise_gguf_module *vise_gguf_name_to_hf(const vise_gguf_family *family, const char *gguf,
                                             char name[VISE_GGUF_MODULE_MAX])
{
    return translate(family, gguf, true, name);
}

const vise_gguf_module *vise_gguf_name_from_hf(const vise_gguf_family *family, const char *hf,
                                               char name[VISE_GGUF_MODULE_MAX])
{
    return translate(family, hf, false, name);
}
