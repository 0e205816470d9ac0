#include "model/arch_llama.h"

#include <math.h>
#include <stddef.h>

#include "core/json.h"
#include "model/arch_rows.h"
#include "model/config.h"

#define BLOCK "model.layers.%d."

#define EMBEDDING VISE_TABLE(EMBEDDING, "model.embed_tokens", VOCAB)
#define HEAD      VISE_RMS_NORM(FINAL_NORM, "model.norm"), VISE_DECODER_HEADS("lm_head")
#define QKV(bias)                                                                                                      \
    VISE_LINEAR(Q, BLOCK "self_attn.q_proj", Q, HIDDEN, ATTENTION, bias),                                              \
        VISE_LINEAR(K, BLOCK "self_attn.k_proj", KV, HIDDEN, ATTENTION, bias),                                         \
        VISE_LINEAR(V, BLOCK "self_attn.v_proj", KV, HIDDEN, ATTENTION, bias)
#define QK_NORMS                                                                                                       \
    VISE_VECTOR_IF(Q_NORM, BLOCK "self_attn.q_norm", HEAD, NONE, 0),                                                   \
        VISE_VECTOR_IF(K_NORM, BLOCK "self_attn.k_norm", HEAD, NONE, 0)
#define GATED(bias)                                                                                                    \
    VISE_LINEAR(GATE, BLOCK "mlp.gate_proj", FFN, HIDDEN, MLP, bias),                                                  \
        VISE_LINEAR(UP, BLOCK "mlp.up_proj", FFN, HIDDEN, MLP, bias),                                                  \
        VISE_LINEAR(DOWN, BLOCK "mlp.down_proj", HIDDEN, FFN, DOWN, bias)
#define O(bias) VISE_LINEAR(O, BLOCK "self_attn.o_proj", HIDDEN, Q, O, bias)

const vise_arch_row vise_llama_rows[VISE_LLAMA_ROWS] = {
    EMBEDDING,
    VISE_RMS_NORM(ATTENTION_NORM, BLOCK "input_layernorm"),
    QKV(ATTENTION),
    O(ATTENTION),
    VISE_RMS_NORM(MLP_NORM, BLOCK "post_attention_layernorm"),
    GATED(MLP),
    HEAD,
};

const vise_arch_row vise_qwen2_rows[VISE_QWEN2_ROWS] = {
    EMBEDDING,
    VISE_RMS_NORM(ATTENTION_NORM, BLOCK "input_layernorm"),
    QKV(ALWAYS),
    O(NONE),
    VISE_RMS_NORM(MLP_NORM, BLOCK "post_attention_layernorm"),
    GATED(NONE),
    HEAD,
};

const vise_arch_row vise_qwen3_rows[VISE_QWEN3_ROWS] = {
    EMBEDDING,
    VISE_RMS_NORM(ATTENTION_NORM, BLOCK "input_layernorm"),
    QKV(ATTENTION),
    QK_NORMS,
    O(ATTENTION),
    VISE_RMS_NORM(MLP_NORM, BLOCK "post_attention_layernorm"),
    GATED(NONE),
    HEAD,
};

const vise_arch_row vise_phi3_rows[VISE_PHI3_ROWS] = {
    EMBEDDING,
    VISE_RMS_NORM(ATTENTION_NORM, BLOCK "input_layernorm"),
    VISE_LINEAR(QKV, BLOCK "self_attn.qkv_proj", QKV, HIDDEN, ATTENTION, NONE),
    O(NONE),
    VISE_RMS_NORM(MLP_NORM, BLOCK "post_attention_layernorm"),
    VISE_LINEAR(GATE_UP, BLOCK "mlp.gate_up_proj", GATE_UP, HIDDEN, MLP, NONE),
    VISE_LINEAR(DOWN, BLOCK "mlp.down_proj", HIDDEN, FFN, DOWN, NONE),
    HEAD,
};

#define BOTH_SIDES                                                                                                     \
    VISE_RMS_NORM(ATTENTION_POST_NORM, BLOCK "post_attention_layernorm"),                                              \
        VISE_RMS_NORM(MLP_NORM, BLOCK "pre_feedforward_layernorm")

const vise_arch_row vise_gemma2_rows[VISE_GEMMA2_ROWS] = {
    EMBEDDING,
    VISE_RMS_NORM(ATTENTION_NORM, BLOCK "input_layernorm"),
    QKV(ATTENTION),
    O(ATTENTION),
    BOTH_SIDES,
    GATED(NONE),
    VISE_RMS_NORM(MLP_POST_NORM, BLOCK "post_feedforward_layernorm"),
    HEAD,
};

const vise_arch_row vise_gemma3_rows[VISE_GEMMA3_ROWS] = {
    EMBEDDING,
    VISE_RMS_NORM(ATTENTION_NORM, BLOCK "input_layernorm"),
    QKV(ATTENTION),
    QK_NORMS,
    O(ATTENTION),
    BOTH_SIDES,
    GATED(NONE),
    VISE_RMS_NORM(MLP_POST_NORM, BLOCK "post_feedforward_layernorm"),
    HEAD,
};

/* The keys without which the model cannot be told. transformers has defaults for them too (those of the family's
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

vise_status vise_llama_like(const char *path, const cJSON *json, int32_t bos_default, vise_config *config,
                            vise_error *err)
{
    if (config->norm_eps == 0.0)
        config->norm_eps = 1e-6;
    if (config->rope.theta == 0.0)
        config->rope.theta = 10000.0;
    VISE_TRY(vise_config_ints(path, json, llama_keys, sizeof llama_keys / sizeof llama_keys[0], config, err));
    VISE_TRY(vise_config_heads(path, config, err));
    VISE_TRY(vise_json_double(path, json, "rms_norm_eps", false, 0.0, 1.0, &config->norm_eps, err));
    VISE_TRY(vise_json_bool(path, json, "attention_bias", false, &config->attention_bias, err));
    VISE_TRY(vise_config_activation(path, json, "hidden_act", config->activation, &config->activation, err));
    VISE_TRY(vise_config_rotary(path, json, config, err));
    config->traits |= VISE_TRAIT_FINAL_NORM;
    return vise_config_common(path, json, bos_default, config, err);
}

vise_status vise_llama_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    config->max_positions = 2048;
    VISE_TRY(vise_llama_like(path, json, 1, config, err));
    return vise_json_bool(path, json, "mlp_bias", false, &config->mlp_bias, err);
}

vise_status vise_mistral_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    config->max_positions = 131072;
    config->kv_heads = 8;
    VISE_TRY(vise_llama_like(path, json, 1, config, err));
    config->attention_bias = false; /* the class has none whatever the key says */
    VISE_TRY(vise_config_window(path, json, 4096, config, err));
    vise_config_mark(config, 0, config->layers, VISE_LAYER_SLIDING);
    return VISE_OK;
}

/* no_rope_layers: 1 for each layer with positions; by default every fourth layer has none. */
static vise_status mark_without_rotary(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "no_rope_layers");
    int64_t interval = 4, layer = 0;

    VISE_TRY(vise_json_int(path, json, "no_rope_layer_interval", false, 1, VISE_CONFIG_LAYERS_MAX, &interval, err));
    if (!vise_config_has(json, "no_rope_layers")) {
        for (layer = interval - 1; layer < config->layers; layer += interval)
            vise_config_mark(config, layer, layer + 1, VISE_LAYER_NO_ROTARY);
        return VISE_OK;
    }
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != config->layers)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: no_rope_layers must be a list of %lld numbers", path,
                         (long long)config->layers);
    for (const cJSON *item = list->child; item != NULL; item = item->next, layer++) {
        if (!cJSON_IsNumber(item))
            return VISE_FAIL(err, VISE_EFORMAT, "%s: no_rope_layers must be a list of numbers", path);
        if (item->valuedouble == 0.0)
            vise_config_mark(config, layer, layer + 1, VISE_LAYER_NO_ROTARY);
    }
    return VISE_OK;
}

vise_status vise_qwen_window(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    bool used = false;

    VISE_TRY(vise_json_bool(path, json, "use_sliding_window", false, &used, err));
    VISE_TRY(vise_config_window(path, json, 0, config, err));
    if (!used)
        config->window = 0;
    return VISE_OK;
}

vise_status vise_smollm3_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    bool found;

    config->max_positions = 32768;
    config->kv_heads = 4;
    config->rope.theta = 2e6;
    config->pad = 128004;
    config->tied = true;
    VISE_TRY(vise_llama_like(path, json, 128000, config, err));
    VISE_TRY(vise_json_bool(path, json, "mlp_bias", false, &config->mlp_bias, err));
    VISE_TRY(mark_without_rotary(path, json, config, err));
    VISE_TRY(vise_qwen_window(path, json, config, err));
    VISE_TRY(vise_config_layer_types(path, json, config, &found, err));
    for (int64_t layer = 0; !found && layer < config->layers; layer++)
        if (config->layer[layer] & VISE_LAYER_NO_ROTARY)
            vise_config_mark(config, layer, layer + 1, VISE_LAYER_SLIDING);
    return VISE_OK;
}

/* Layers from max_window_layers (`first` by default) on slide, where layer_types does not say otherwise. */
static vise_status qwen_layers(const char *path, const cJSON *json, int64_t first, vise_config *config,
                               vise_error *err)
{
    bool found;

    VISE_TRY(vise_qwen_window(path, json, config, err));
    VISE_TRY(vise_json_int(path, json, "max_window_layers", false, 0, INT32_MAX, &first, err));
    VISE_TRY(vise_config_layer_types(path, json, config, &found, err));
    if (!found)
        vise_config_mark(config, first, config->layers, VISE_LAYER_SLIDING);
    return VISE_OK;
}

vise_status vise_qwen2_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    config->max_positions = 32768;
    config->kv_heads = 32;
    VISE_TRY(vise_llama_like(path, json, -1, config, err));
    config->attention_bias = true;
    return qwen_layers(path, json, 28, config, err);
}

vise_status vise_qwen2_vl_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    config->max_positions = 32768;
    config->kv_heads = 8;
    config->norm_eps = 1e-5;
    VISE_TRY(vise_llama_like(path, json, -1, config, err));
    config->attention_bias = true;
    return qwen_layers(path, json, 80, config, err);
}

vise_status vise_qwen3_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    config->max_positions = 32768;
    config->kv_heads = 32;
    config->head_dim = 128;
    VISE_TRY(vise_llama_like(path, json, -1, config, err));
    return qwen_layers(path, json, 28, config, err);
}

vise_status vise_phi3_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    config->max_positions = 4096;
    config->rope.original = 4096;
    config->pad = 32000;
    config->norm_eps = 1e-5;
    VISE_TRY(vise_llama_like(path, json, 1, config, err));
    if (config->rope.kind == VISE_ROPE_YARN)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: rotary scaling of type \"yarn\" is not supported for this family",
                         path);
    config->attention_bias = false;
    VISE_TRY(vise_config_window(path, json, 0, config, err));
    vise_config_mark(config, 0, config->layers, VISE_LAYER_SLIDING);
    return VISE_OK;
}

/* ---- Gemma ----------------------------------------------------------------------------------------- */

static vise_status gemma_common(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    if (config->head_dim == 0)
        config->head_dim = 256;
    config->tied = true;
    config->pad = 0;
    config->norm = VISE_NORM_RMS_OFFSET;
    config->activation = VISE_GELU_TANH;
    VISE_TRY(vise_llama_like(path, json, 2, config, err));
    VISE_TRY(vise_config_must_be(path, json, "use_bidirectional_attention", false, false, err));
    config->embedding_scale = sqrt((double)config->hidden);
    return VISE_OK;
}

vise_status vise_gemma_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    config->max_positions = 8192;
    config->kv_heads = 16;
    VISE_TRY(gemma_common(path, json, config, err));
    /* hidden_act "gelu" of the first files means the tanh form, and hidden_activation overrides it. */
    return vise_config_activation(path, json, "hidden_activation", VISE_GELU_TANH, &config->activation, err);
}

/* Gemma 2's and 3's own keys: the scale, soft caps (0 for none) and the window. */
static vise_status gemma_attention(const char *path, const cJSON *json, double cap, double logit_cap,
                                   vise_config *config, vise_error *err)
{
    double scalar = 256.0;

    VISE_TRY(vise_config_activation(path, json, "hidden_activation", VISE_GELU_TANH, &config->activation, err));
    VISE_TRY(vise_json_double(path, json, "query_pre_attn_scalar", false, 1e-6, 1e12, &scalar, err));
    config->attention_scale = 1.0 / sqrt(scalar);
    config->attention_cap = cap;
    config->logit_cap = logit_cap;
    if (cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(json, "attn_logit_softcapping")))
        config->attention_cap = 0.0;
    if (cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(json, "final_logit_softcapping")))
        config->logit_cap = 0.0;
    VISE_TRY(vise_json_double(path, json, "attn_logit_softcapping", false, 0.0, 1e9, &config->attention_cap, err));
    VISE_TRY(vise_json_double(path, json, "final_logit_softcapping", false, 0.0, 1e9, &config->logit_cap, err));
    return vise_config_window(path, json, 4096, config, err);
}

vise_status vise_gemma2_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    bool found;

    config->max_positions = 8192;
    config->kv_heads = 4;
    VISE_TRY(gemma_common(path, json, config, err));
    VISE_TRY(gemma_attention(path, json, 50.0, 30.0, config, err));
    VISE_TRY(vise_config_layer_types(path, json, config, &found, err));
    for (int64_t layer = 0; !found && layer < config->layers; layer += 2)
        vise_config_mark(config, layer, layer + 1, VISE_LAYER_SLIDING);
    return VISE_OK;
}

vise_status vise_gemma3_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    int64_t pattern = 6;
    bool found;

    config->max_positions = 131072;
    config->kv_heads = 4;
    config->rope.theta = 1e6;
    config->local_rope.theta = 1e4;
    /* What files of models with images leave out. */
    config->heads = 8;
    config->vocab = 262208;
    VISE_TRY(vise_json_double(path, json, "rope_local_base_freq", false, 1.0, 1e15, &config->local_rope.theta, err));
    VISE_TRY(gemma_common(path, json, config, err));
    VISE_TRY(gemma_attention(path, json, 0.0, 0.0, config, err));
    config->attention_cap = 0.0; /* the class reads the key and does not cap */
    VISE_TRY(vise_json_int(path, json, "sliding_window_pattern", false, 1, VISE_CONFIG_LAYERS_MAX, &pattern, err));
    VISE_TRY(vise_config_layer_types(path, json, config, &found, err));
    for (int64_t layer = 0; !found && layer < config->layers; layer++)
        if ((layer + 1) % pattern != 0)
            vise_config_mark(config, layer, layer + 1, VISE_LAYER_SLIDING);
    for (int64_t layer = 0; layer < config->layers; layer++)
        if (config->layer[layer] & VISE_LAYER_SLIDING)
            vise_config_mark(config, layer, layer + 1, VISE_LAYER_LOCAL_ROPE);
    return VISE_OK;
}

vise_status vise_gemma3_images_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    VISE_TRY(vise_gemma3_configure(path, json, config, err));
    config->logit_cap = 0.0; /* the class with images does not cap, whatever the key says */
    return VISE_OK;
}
