/* Llama-like families with experts: Mixtral, Qwen2-MoE, Qwen3-MoE. */
#include <stddef.h>

#include "core/json.h"
#include "model/arch_llama.h"
#include "model/arch_rows.h"
#include "model/config.h"

#define BLOCK "model.layers.%d."

#define EMBEDDING VISE_TABLE(EMBEDDING, "model.embed_tokens", VOCAB)
#define HEAD      VISE_RMS_NORM(FINAL_NORM, "model.norm"), VISE_DECODER_HEADS("lm_head")
#define ATTENTION(bias, o_bias)                                                                                        \
    VISE_RMS_NORM(ATTENTION_NORM, BLOCK "input_layernorm"),                                                            \
        VISE_LINEAR(Q, BLOCK "self_attn.q_proj", Q, HIDDEN, ATTENTION, bias),                                          \
        VISE_LINEAR(K, BLOCK "self_attn.k_proj", KV, HIDDEN, ATTENTION, bias),                                         \
        VISE_LINEAR(V, BLOCK "self_attn.v_proj", KV, HIDDEN, ATTENTION, bias),                                         \
        VISE_LINEAR(O, BLOCK "self_attn.o_proj", HIDDEN, Q, O, o_bias)
#define QK_NORMS                                                                                                       \
    VISE_VECTOR_IF(Q_NORM, BLOCK "self_attn.q_norm", HEAD, NONE, 0),                                                   \
        VISE_VECTOR_IF(K_NORM, BLOCK "self_attn.k_norm", HEAD, NONE, 0)
/* A layer's MLP where it has no experts. */
#define DENSE                                                                                                          \
    VISE_LINEAR_IF(GATE, BLOCK "mlp.gate_proj", FFN, HIDDEN, MLP, NONE, VISE_TRAIT_DENSE, 0),                          \
        VISE_LINEAR_IF(UP, BLOCK "mlp.up_proj", FFN, HIDDEN, MLP, NONE, VISE_TRAIT_DENSE, 0),                          \
        VISE_LINEAR_IF(DOWN, BLOCK "mlp.down_proj", HIDDEN, FFN, DOWN, NONE, VISE_TRAIT_DENSE, 0)
/* Routers are kept as they are unless they are named: they are no Linears here. */
#define ROUTER(role, name, rows)                                                                                       \
    {VISE_ROLE_##role, name, VISE_DIM_##rows, VISE_DIM_HIDDEN, VISE_INPUT_NONE, false, VISE_BIAS_NONE,                 \
     VISE_TRAIT_SPARSE, 0}
#define EXPERTS(prefix, gate, up, down)                                                                                \
    VISE_LINEAR_IF(EXPERT_GATE, prefix ".%d." gate, EXPERT_FFN, HIDDEN, EXPERT, NONE, VISE_TRAIT_SPARSE, 0),           \
        VISE_LINEAR_IF(EXPERT_UP, prefix ".%d." up, EXPERT_FFN, HIDDEN, EXPERT, NONE, VISE_TRAIT_SPARSE, 0),           \
        VISE_LINEAR_IF(EXPERT_DOWN, prefix ".%d." down, HIDDEN, EXPERT_FFN, EXPERT_DOWN, NONE, VISE_TRAIT_SPARSE, 0)
#define SHARED(name) BLOCK "mlp.shared_expert." name

const vise_arch_row vise_mixtral_rows[VISE_MIXTRAL_ROWS] = {
    EMBEDDING,
    ATTENTION(NONE, NONE),
    VISE_RMS_NORM(MLP_NORM, BLOCK "post_attention_layernorm"),
    ROUTER(ROUTER, BLOCK "block_sparse_moe.gate", EXPERTS),
    EXPERTS(BLOCK "block_sparse_moe.experts", "w1", "w3", "w2"),
    HEAD,
};

const vise_arch_row vise_qwen2_moe_rows[VISE_QWEN2_MOE_ROWS] = {
    EMBEDDING,
    ATTENTION(ATTENTION, NONE),
    VISE_RMS_NORM(MLP_NORM, BLOCK "post_attention_layernorm"),
    DENSE,
    ROUTER(ROUTER, BLOCK "mlp.gate", EXPERTS),
    EXPERTS(BLOCK "mlp.experts", "gate_proj", "up_proj", "down_proj"),
    {VISE_ROLE_SHARED_ROUTER, BLOCK "mlp.shared_expert_gate", VISE_DIM_ONE, VISE_DIM_HIDDEN, VISE_INPUT_NONE, false,
     VISE_BIAS_NONE, VISE_TRAIT_SPARSE, VISE_ROW_MATRIX},
    VISE_LINEAR_IF(SHARED_GATE, SHARED("gate_proj"), SHARED_FFN, HIDDEN, MLP, NONE, VISE_TRAIT_SPARSE, 0),
    VISE_LINEAR_IF(SHARED_UP, SHARED("up_proj"), SHARED_FFN, HIDDEN, MLP, NONE, VISE_TRAIT_SPARSE, 0),
    VISE_LINEAR_IF(SHARED_DOWN, SHARED("down_proj"), HIDDEN, SHARED_FFN, SHARED_DOWN, NONE, VISE_TRAIT_SPARSE, 0),
    HEAD,
};

const vise_arch_row vise_qwen3_moe_rows[VISE_QWEN3_MOE_ROWS] = {
    EMBEDDING,
    ATTENTION(ATTENTION, ATTENTION),
    QK_NORMS,
    VISE_RMS_NORM(MLP_NORM, BLOCK "post_attention_layernorm"),
    DENSE,
    ROUTER(ROUTER, BLOCK "mlp.gate", EXPERTS),
    EXPERTS(BLOCK "mlp.experts", "gate_proj", "up_proj", "down_proj"),
    HEAD,
};

#define FUSED                                                                                                          \
    {BLOCK "mlp.experts.gate_up_proj", {VISE_ROLE_EXPERT_GATE, VISE_ROLE_EXPERT_UP}, 2},                               \
    {                                                                                                                  \
        BLOCK "mlp.experts.down_proj", {VISE_ROLE_EXPERT_DOWN}, 1                                                      \
    }

const vise_arch_fused vise_mixtral_fused[VISE_MIXTRAL_FUSED] = {FUSED,
                                                                {BLOCK "mlp.gate.weight", {VISE_ROLE_ROUTER}, 1}};
const vise_arch_fused vise_qwen_fused[VISE_QWEN_FUSED] = {FUSED};

static const vise_config_key expert_keys[] = {
    {"num_local_experts", false, VISE_CONFIG_EXPERTS_MAX, offsetof(vise_config, experts)},
    {"num_experts", false, VISE_CONFIG_EXPERTS_MAX, offsetof(vise_config, experts)},
    {"num_experts_per_tok", false, VISE_CONFIG_EXPERTS_MAX, offsetof(vise_config, experts_per_token)},
    {"moe_intermediate_size", false, VISE_CONFIG_FFN_MAX, offsetof(vise_config, expert_ffn)},
    {"shared_expert_intermediate_size", false, VISE_CONFIG_FFN_MAX, offsetof(vise_config, shared_ffn)},
};

static vise_status read_experts(const char *path, const cJSON *json, int64_t experts, int64_t per_token, int64_t ffn,
                                vise_config *config, vise_error *err)
{
    config->experts = experts;
    config->experts_per_token = per_token;
    config->expert_ffn = ffn;
    VISE_TRY(vise_config_ints(path, json, expert_keys, sizeof expert_keys / sizeof expert_keys[0], config, err));
    if (config->experts_per_token > config->experts)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: num_experts_per_tok %lld is more than the %lld experts", path,
                         (long long)config->experts_per_token, (long long)config->experts);
    return VISE_OK;
}

vise_status vise_mixtral_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    config->max_positions = 131072;
    config->kv_heads = 8;
    config->norm_eps = 1e-5;
    config->rope.theta = 1e6;
    VISE_TRY(vise_llama_like(path, json, 1, config, err));
    config->attention_bias = false;
    VISE_TRY(read_experts(path, json, 8, 2, config->ffn, config, err));
    config->expert_ffn = config->ffn;
    config->experts_renormalize = true;
    VISE_TRY(vise_config_window(path, json, 0, config, err));
    vise_config_mark(config, 0, config->layers, VISE_LAYER_SLIDING | VISE_LAYER_SPARSE);
    return VISE_OK;
}

/* Every decoder_sparse_step-th layer has experts, those of mlp_only_layers aside. */
static vise_status mark_sparse(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "mlp_only_layers");
    int64_t step = 1;

    VISE_TRY(vise_json_int(path, json, "decoder_sparse_step", false, 1, VISE_CONFIG_LAYERS_MAX, &step, err));
    for (int64_t layer = step - 1; layer < config->layers; layer += step)
        vise_config_mark(config, layer, layer + 1, VISE_LAYER_SPARSE);
    for (const cJSON *item = cJSON_IsArray(list) ? list->child : NULL; item != NULL; item = item->next) {
        if (!cJSON_IsNumber(item) || item->valuedouble < 0.0 || item->valuedouble >= (double)config->layers)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: mlp_only_layers must be numbers of layers", path);
        uint8_t *flags = &config->layer[(int64_t)item->valuedouble];
        *flags = (uint8_t)(*flags & ~VISE_LAYER_SPARSE);
    }
    return vise_json_bool(path, json, "norm_topk_prob", false, &config->experts_renormalize, err);
}

vise_status vise_qwen2_moe_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    int64_t until = 28;
    bool found;

    config->max_positions = 32768;
    config->kv_heads = 16;
    config->shared_ffn = 5632;
    config->attention_bias = true;
    VISE_TRY(vise_llama_like(path, json, -1, config, err));
    config->attention_bias = true;
    VISE_TRY(vise_json_bool(path, json, "qkv_bias", false, &config->attention_bias, err));
    VISE_TRY(read_experts(path, json, 60, 4, 1408, config, err));
    VISE_TRY(mark_sparse(path, json, config, err));
    VISE_TRY(vise_qwen_window(path, json, config, err));
    VISE_TRY(vise_json_int(path, json, "max_window_layers", false, 0, INT32_MAX, &until, err));
    VISE_TRY(vise_config_layer_types(path, json, config, &found, err));
    for (int64_t layer = 0; !found && layer < config->layers && layer < until; layer += 2)
        vise_config_mark(config, layer, layer + 1, VISE_LAYER_SLIDING);
    return VISE_OK;
}

vise_status vise_qwen3_moe_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    config->max_positions = 32768;
    config->kv_heads = 4;
    VISE_TRY(vise_llama_like(path, json, -1, config, err));
    VISE_TRY(read_experts(path, json, 128, 8, 768, config, err));
    VISE_TRY(mark_sparse(path, json, config, err));
    VISE_TRY(vise_qwen_window(path, json, config, err));
    vise_config_mark(config, 0, config->layers, VISE_LAYER_SLIDING);
    return VISE_OK;
}
