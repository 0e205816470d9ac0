#include "model/arch.h"

#include <stdio.h>
#include <string.h>

#include "model/arch_llama.h"

static const vise_arch families[] = {
    {"llama", "LlamaForCausalLM",
     "Llama 1, 2 and their likes: RMSNorm, rotary, grouped-query attention, SwiGLU", vise_llama_rows,
     VISE_LLAMA_ROWS, vise_llama_configure},
};

static const char *const role_names[VISE_ROLE_COUNT + 1] = {
    [VISE_ROLE_EMBEDDING] = "embed_tokens",
    [VISE_ROLE_HEAD] = "lm_head",
    [VISE_ROLE_FINAL_NORM] = "final_norm",
    [VISE_ROLE_ATTENTION_NORM] = "attention_norm",
    [VISE_ROLE_Q] = "q_proj",
    [VISE_ROLE_K] = "k_proj",
    [VISE_ROLE_V] = "v_proj",
    [VISE_ROLE_O] = "o_proj",
    [VISE_ROLE_MLP_NORM] = "mlp_norm",
    [VISE_ROLE_GATE] = "gate_proj",
    [VISE_ROLE_UP] = "up_proj",
    [VISE_ROLE_DOWN] = "down_proj",
    [VISE_ROLE_UNKNOWN] = "other",
};

const char *vise_role_name(vise_role role)
{
    return role_names[(unsigned)role < VISE_ROLE_COUNT ? role : VISE_ROLE_UNKNOWN];
}

bool vise_role_from_name(const char *name, vise_role *out)
{
    for (int i = 0; i < VISE_ROLE_COUNT; i++) {
        if (strcmp(name, role_names[i]) == 0) {
            *out = (vise_role)i;
            return true;
        }
    }
    return false;
}

const vise_arch *vise_architectures(size_t *count)
{
    *count = sizeof families / sizeof families[0];
    return families;
}

const vise_arch *vise_arch_find(const char *model_type)
{
    for (size_t i = 0; model_type != NULL && i < sizeof families / sizeof families[0]; i++)
        if (strcmp(families[i].model_type, model_type) == 0)
            return &families[i];
    return NULL;
}

int64_t vise_config_dim(const vise_config *config, vise_dim dim)
{
    switch (dim) {
    case VISE_DIM_ONE:
        return 1;
    case VISE_DIM_HIDDEN:
        return config->hidden;
    case VISE_DIM_FFN:
        return config->ffn;
    case VISE_DIM_Q:
        return config->heads * config->head_dim;
    case VISE_DIM_KV:
        return config->kv_heads * config->head_dim;
    case VISE_DIM_VOCAB:
        return config->vocab;
    }
    return 0;
}

const char *vise_dim_keys(vise_dim dim)
{
    switch (dim) {
    case VISE_DIM_ONE:
        return "1";
    case VISE_DIM_HIDDEN:
        return "hidden_size";
    case VISE_DIM_FFN:
        return "intermediate_size";
    case VISE_DIM_Q:
        return "num_attention_heads x head_dim";
    case VISE_DIM_KV:
        return "num_key_value_heads x head_dim";
    case VISE_DIM_VOCAB:
        return "vocab_size";
    }
    return "";
}

bool vise_arch_row_in_block(const vise_arch_row *row)
{
    return strstr(row->module, "%d") != NULL;
}

const char *vise_arch_module(const vise_arch_row *row, int layer, const char *suffix,
                             char buffer[VISE_MODULE_MAX])
{
    const char *hole = strstr(row->module, "%d");

    if (hole == NULL)
        snprintf(buffer, VISE_MODULE_MAX, "%s%s", row->module, suffix);
    else
        snprintf(buffer, VISE_MODULE_MAX, "%.*s%d%s%s", (int)(hole - row->module), row->module, layer,
                 hole + 2, suffix);
    return buffer;
}
