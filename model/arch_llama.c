#include "model/arch_llama.h"

#include <stddef.h>

#include "core/json.h"
#include "model/config.h"

#define BLOCK "model.layers.%d."

const vise_arch_row vise_llama_rows[VISE_LLAMA_ROWS] = {
    /* role, module, rows, cols, input, linear, bias */
    {VISE_ROLE_EMBEDDING, "model.embed_tokens", VISE_DIM_VOCAB, VISE_DIM_HIDDEN, VISE_INPUT_NONE, false,
     false},
    {VISE_ROLE_ATTENTION_NORM, BLOCK "input_layernorm", VISE_DIM_ONE, VISE_DIM_HIDDEN, VISE_INPUT_NONE, false,
     false},
    {VISE_ROLE_Q, BLOCK "self_attn.q_proj", VISE_DIM_Q, VISE_DIM_HIDDEN, VISE_INPUT_ATTENTION, true, true},
    {VISE_ROLE_K, BLOCK "self_attn.k_proj", VISE_DIM_KV, VISE_DIM_HIDDEN, VISE_INPUT_ATTENTION, true, true},
    {VISE_ROLE_V, BLOCK "self_attn.v_proj", VISE_DIM_KV, VISE_DIM_HIDDEN, VISE_INPUT_ATTENTION, true, true},
    {VISE_ROLE_O, BLOCK "self_attn.o_proj", VISE_DIM_HIDDEN, VISE_DIM_Q, VISE_INPUT_O, true, true},
    {VISE_ROLE_MLP_NORM, BLOCK "post_attention_layernorm", VISE_DIM_ONE, VISE_DIM_HIDDEN, VISE_INPUT_NONE,
     false, false},
    {VISE_ROLE_GATE, BLOCK "mlp.gate_proj", VISE_DIM_FFN, VISE_DIM_HIDDEN, VISE_INPUT_MLP, true, true},
    {VISE_ROLE_UP, BLOCK "mlp.up_proj", VISE_DIM_FFN, VISE_DIM_HIDDEN, VISE_INPUT_MLP, true, true},
    {VISE_ROLE_DOWN, BLOCK "mlp.down_proj", VISE_DIM_HIDDEN, VISE_DIM_FFN, VISE_INPUT_DOWN, true, true},
    {VISE_ROLE_FINAL_NORM, "model.norm", VISE_DIM_ONE, VISE_DIM_HIDDEN, VISE_INPUT_NONE, false, false},
    {VISE_ROLE_HEAD, "lm_head", VISE_DIM_VOCAB, VISE_DIM_HIDDEN, VISE_INPUT_NONE, true, false},
};

/* The keys without which the model cannot be told. transformers has defaults for them too (those of Llama 2
 * 7B), but a file that leaves them out is broken rather than terse. */
static const vise_config_key llama_keys[] = {
    {"hidden_size", true, VISE_CONFIG_HIDDEN_MAX, offsetof(vise_config, hidden)},
    {"intermediate_size", true, VISE_CONFIG_FFN_MAX, offsetof(vise_config, ffn)},
    {"num_hidden_layers", true, VISE_CONFIG_LAYERS_MAX, offsetof(vise_config, layers)},
    {"num_attention_heads", true, VISE_CONFIG_HEADS_MAX, offsetof(vise_config, heads)},
    {"vocab_size", true, VISE_CONFIG_VOCAB_MAX, offsetof(vise_config, vocab)},
    {"num_key_value_heads", false, VISE_CONFIG_HEADS_MAX, offsetof(vise_config, kv_heads)},
    {"head_dim", false, VISE_CONFIG_HEAD_DIM_MAX, offsetof(vise_config, head_dim)},
    {"max_position_embeddings", false, VISE_CONFIG_POSITIONS_MAX, offsetof(vise_config, max_positions)},
};

static const char *const llama_activations[] = {"silu", "swish", NULL};

static vise_status check_heads(const char *path, vise_config *config, vise_error *err)
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
    if (config->head_dim % 2 != 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: head_dim %lld is odd; rotary positions need pairs", path,
                         (long long)config->head_dim);
    return VISE_OK;
}

vise_status vise_llama_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    *config = (vise_config){.max_positions = 2048, .norm_eps = 1e-6, .rope_theta = 10000.0, .bos = -1};
    VISE_TRY(vise_config_ints(path, json, llama_keys, sizeof llama_keys / sizeof llama_keys[0], config, err));
    VISE_TRY(check_heads(path, config, err));
    VISE_TRY(vise_json_double(path, json, "rms_norm_eps", false, 0.0, 1.0, &config->norm_eps, err));
    VISE_TRY(vise_json_bool(path, json, "attention_bias", false, &config->attention_bias, err));
    VISE_TRY(vise_json_bool(path, json, "mlp_bias", false, &config->mlp_bias, err));
    VISE_TRY(vise_config_activation(path, json, llama_activations, err));
    VISE_TRY(vise_config_rotary(path, json, config, err));
    return vise_config_common(path, json, 1, config, err);
}
