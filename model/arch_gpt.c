#include "model/arch_gpt.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/json.h"
#include "model/arch_rows.h"
#include "model/config.h"

#define FINAL_NORM(name) VISE_VECTOR_IF(FINAL_NORM, name, HIDDEN, ALWAYS, VISE_TRAIT_FINAL_NORM)

#define GPT2 "transformer.h.%d."

const vise_arch_row vise_gpt2_rows[VISE_GPT2_ROWS] = {
    VISE_TABLE(EMBEDDING, "transformer.wte", VOCAB),
    VISE_TABLE(POSITION_EMBEDDING, "transformer.wpe", POSITIONS),
    VISE_LAYER_NORM(ATTENTION_NORM, GPT2 "ln_1"),
    VISE_CONV1D(QKV, GPT2 "attn.c_attn", QKV, HIDDEN, ATTENTION),
    VISE_CONV1D(O, GPT2 "attn.c_proj", HIDDEN, Q, O),
    VISE_LAYER_NORM(MLP_NORM, GPT2 "ln_2"),
    VISE_CONV1D(UP, GPT2 "mlp.c_fc", FFN, HIDDEN, MLP),
    VISE_CONV1D(DOWN, GPT2 "mlp.c_proj", HIDDEN, FFN, DOWN),
    FINAL_NORM("transformer.ln_f"),
    VISE_DECODER_HEADS("lm_head"),
};

const vise_arch_row vise_gpt_neo_rows[VISE_GPT_NEO_ROWS] = {
    VISE_TABLE(EMBEDDING, "transformer.wte", VOCAB),
    VISE_TABLE(POSITION_EMBEDDING, "transformer.wpe", POSITIONS),
    VISE_LAYER_NORM(ATTENTION_NORM, GPT2 "ln_1"),
    VISE_LINEAR(Q, GPT2 "attn.attention.q_proj", Q, HIDDEN, ATTENTION, NONE),
    VISE_LINEAR(K, GPT2 "attn.attention.k_proj", KV, HIDDEN, ATTENTION, NONE),
    VISE_LINEAR(V, GPT2 "attn.attention.v_proj", KV, HIDDEN, ATTENTION, NONE),
    VISE_LINEAR(O, GPT2 "attn.attention.out_proj", HIDDEN, Q, O, ALWAYS),
    VISE_LAYER_NORM(MLP_NORM, GPT2 "ln_2"),
    VISE_LINEAR(UP, GPT2 "mlp.c_fc", FFN, HIDDEN, MLP, ALWAYS),
    VISE_LINEAR(DOWN, GPT2 "mlp.c_proj", HIDDEN, FFN, DOWN, ALWAYS),
    FINAL_NORM("transformer.ln_f"),
    VISE_DECODER_HEADS("lm_head"),
};

#define NEOX "gpt_neox.layers.%d."

const vise_arch_row vise_gpt_neox_rows[VISE_GPT_NEOX_ROWS] = {
    VISE_TABLE(EMBEDDING, "gpt_neox.embed_in", VOCAB),
    VISE_LAYER_NORM(ATTENTION_NORM, NEOX "input_layernorm"),
    VISE_LINEAR(QKV, NEOX "attention.query_key_value", QKV, HIDDEN, ATTENTION, ATTENTION),
    VISE_LINEAR(O, NEOX "attention.dense", HIDDEN, Q, O, ATTENTION),
    VISE_LAYER_NORM(MLP_NORM, NEOX "post_attention_layernorm"),
    VISE_LINEAR(UP, NEOX "mlp.dense_h_to_4h", FFN, HIDDEN, MLP, ALWAYS),
    VISE_LINEAR(DOWN, NEOX "mlp.dense_4h_to_h", HIDDEN, FFN, DOWN, ALWAYS),
    FINAL_NORM("gpt_neox.final_layer_norm"),
    VISE_DECODER_HEADS("embed_out"),
};

#define OPT "model.decoder.layers.%d."
#define OPT_HEAD(name, rows, of)                                                                                       \
    {VISE_ROLE_HEAD, name, VISE_DIM_##rows, VISE_DIM_EMBED, VISE_INPUT_NONE, true, VISE_BIAS_NONE, VISE_TRAIT_##of, 0}

const vise_arch_row vise_opt_rows[VISE_OPT_ROWS] = {
    {VISE_ROLE_EMBEDDING, "model.decoder.embed_tokens", VISE_DIM_VOCAB, VISE_DIM_EMBED, VISE_INPUT_NONE, false,
     VISE_BIAS_NONE, 0, 0},
    VISE_TABLE(POSITION_EMBEDDING, "model.decoder.embed_positions", POSITIONS),
    {VISE_ROLE_EMBEDDING_PROJECTION, "model.decoder.project_in", VISE_DIM_HIDDEN, VISE_DIM_EMBED, VISE_INPUT_NONE, true,
     VISE_BIAS_NONE, VISE_TRAIT_PROJECTED, 0},
    VISE_LAYER_NORM(ATTENTION_NORM, OPT "self_attn_layer_norm"),
    VISE_LINEAR(Q, OPT "self_attn.q_proj", Q, HIDDEN, ATTENTION, ATTENTION),
    VISE_LINEAR(K, OPT "self_attn.k_proj", KV, HIDDEN, ATTENTION, ATTENTION),
    VISE_LINEAR(V, OPT "self_attn.v_proj", KV, HIDDEN, ATTENTION, ATTENTION),
    VISE_LINEAR(O, OPT "self_attn.out_proj", HIDDEN, Q, O, ATTENTION),
    VISE_LAYER_NORM(MLP_NORM, OPT "final_layer_norm"),
    VISE_LINEAR(UP, OPT "fc1", FFN, HIDDEN, MLP, MLP),
    VISE_LINEAR(DOWN, OPT "fc2", HIDDEN, FFN, DOWN, MLP),
    FINAL_NORM("model.decoder.final_layer_norm"),
    VISE_HEAD_LINEAR(HEAD_DENSE, "model.decoder.project_out", EMBED, NONE, VISE_TRAIT_PROJECTED),
    OPT_HEAD("lm_head", VOCAB, LM),
    OPT_HEAD("score", LABELS, CLASSIFIER),
};

const vise_arch_row vise_bloom_rows[VISE_BLOOM_ROWS] = {
    VISE_TABLE(EMBEDDING, "transformer.word_embeddings", VOCAB),
    VISE_LAYER_NORM(EMBEDDING_NORM, "transformer.word_embeddings_layernorm"),
    VISE_LAYER_NORM(ATTENTION_NORM, GPT2 "input_layernorm"),
    VISE_LINEAR(QKV, GPT2 "self_attention.query_key_value", QKV, HIDDEN, ATTENTION, ALWAYS),
    VISE_LINEAR(O, GPT2 "self_attention.dense", HIDDEN, Q, O, ALWAYS),
    VISE_LAYER_NORM(MLP_NORM, GPT2 "post_attention_layernorm"),
    VISE_LINEAR(UP, GPT2 "mlp.dense_h_to_4h", FFN, HIDDEN, MLP, ALWAYS),
    VISE_LINEAR(DOWN, GPT2 "mlp.dense_4h_to_h", HIDDEN, FFN, DOWN, ALWAYS),
    FINAL_NORM("transformer.ln_f"),
    VISE_DECODER_HEADS("lm_head"),
};

/* Serial blocks have two norms of one name pair, parallel ones share one, or have two of another name pair. */
const vise_arch_row vise_falcon_rows[VISE_FALCON_ROWS] = {
    VISE_TABLE(EMBEDDING, "transformer.word_embeddings", VOCAB),
    VISE_VECTOR_IF(ATTENTION_NORM, GPT2 "input_layernorm", HIDDEN, ALWAYS, VISE_TRAIT_ONE_NORM),
    VISE_VECTOR_IF(ATTENTION_NORM, GPT2 "ln_attn", HIDDEN, ALWAYS, VISE_TRAIT_TWO_NORMS),
    VISE_LINEAR(QKV, GPT2 "self_attention.query_key_value", QKV, HIDDEN, ATTENTION, ATTENTION),
    VISE_LINEAR(O, GPT2 "self_attention.dense", HIDDEN, Q, O, ATTENTION),
    VISE_VECTOR_IF(MLP_NORM, GPT2 "post_attention_layernorm", HIDDEN, ALWAYS, VISE_TRAIT_SERIAL),
    VISE_VECTOR_IF(MLP_NORM, GPT2 "ln_mlp", HIDDEN, ALWAYS, VISE_TRAIT_TWO_NORMS),
    VISE_LINEAR(UP, GPT2 "mlp.dense_h_to_4h", FFN, HIDDEN, MLP, MLP),
    VISE_LINEAR(DOWN, GPT2 "mlp.dense_4h_to_h", HIDDEN, FFN, DOWN, MLP),
    FINAL_NORM("transformer.ln_f"),
    VISE_DECODER_HEADS("lm_head"),
};

#define KEYS(keys) keys, sizeof(keys) / sizeof(keys)[0]

/* The ends of all of these: heads without groups unless set, an MLP of 4 x hidden unless set, LayerNorm. */
static vise_status finish(const char *path, const cJSON *json, const char *eps_key, int32_t bos, vise_config *config,
                          vise_error *err)
{
    config->norm = VISE_NORM_LAYER;
    config->norm_eps = 1e-5;
    if (config->ffn == 0)
        config->ffn = 4 * config->hidden;
    VISE_TRY(vise_config_heads(path, config, err));
    if (eps_key != NULL)
        VISE_TRY(vise_json_double(path, json, eps_key, false, 0.0, 1.0, &config->norm_eps, err));
    return vise_config_common(path, json, bos, config, err);
}

static const vise_config_key gpt2_keys[] = {
    {"n_embd", true, VISE_CONFIG_HIDDEN_MAX, offsetof(vise_config, hidden)},
    {"n_layer", true, VISE_CONFIG_LAYERS_MAX, offsetof(vise_config, layers)},
    {"n_head", true, VISE_CONFIG_HEADS_MAX, offsetof(vise_config, heads)},
    {"vocab_size", true, VISE_CONFIG_VOCAB_MAX, offsetof(vise_config, vocab)},
    {"n_inner", false, VISE_CONFIG_FFN_MAX, offsetof(vise_config, ffn)},
    {"n_positions", false, VISE_CONFIG_POSITIONS_MAX, offsetof(vise_config, max_positions)},
};

vise_status vise_gpt2_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    bool scaled = true;

    config->max_positions = 1024;
    config->position = VISE_POSITION_LEARNED;
    config->tied = true;
    config->traits = VISE_TRAIT_FINAL_NORM;
    VISE_TRY(vise_config_ints(path, json, KEYS(gpt2_keys), config, err));
    VISE_TRY(vise_config_activation(path, json, "activation_function", VISE_GELU_TANH, &config->activation, err));
    VISE_TRY(vise_json_bool(path, json, "scale_attn_weights", false, &scaled, err));
    VISE_TRY(vise_json_bool(path, json, "scale_attn_by_inverse_layer_idx", false, &config->scale_by_layer, err));
    config->attention_scale = scaled ? 0.0 : 1.0;
    return finish(path, json, "layer_norm_epsilon", 50256, config, err);
}

static const vise_config_key gpt_neo_keys[] = {
    {"hidden_size", true, VISE_CONFIG_HIDDEN_MAX, offsetof(vise_config, hidden)},
    {"num_layers", true, VISE_CONFIG_LAYERS_MAX, offsetof(vise_config, layers)},
    {"num_heads", true, VISE_CONFIG_HEADS_MAX, offsetof(vise_config, heads)},
    {"vocab_size", true, VISE_CONFIG_VOCAB_MAX, offsetof(vise_config, vocab)},
    {"intermediate_size", false, VISE_CONFIG_FFN_MAX, offsetof(vise_config, ffn)},
    {"max_position_embeddings", false, VISE_CONFIG_POSITIONS_MAX, offsetof(vise_config, max_positions)},
    {"window_size", false, VISE_CONFIG_POSITIONS_MAX, offsetof(vise_config, window)},
};

/* attention_types: [[[kinds...], repetitions]...]; "local" layers have the window. */
static vise_status neo_layers(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    const cJSON *runs = cJSON_GetObjectItemCaseSensitive(json, "attention_types");
    int64_t layer = 0;

    if (!vise_config_has(json, "attention_types")) { /* ["global", "local"], again and again */
        for (layer = 1; layer < config->layers; layer += 2)
            vise_config_mark(config, layer, layer + 1, VISE_LAYER_SLIDING);
        return VISE_OK;
    }
    for (const cJSON *run = cJSON_IsArray(runs) ? runs->child : NULL; run != NULL; run = run->next) {
        const cJSON *kinds = cJSON_GetArrayItem(run, 0), *times = cJSON_GetArrayItem(run, 1);
        double repeats = cJSON_IsNumber(times) ? times->valuedouble : 0.0;
        for (double r = 0.0; cJSON_IsArray(kinds) && r < repeats && layer < config->layers; r += 1.0)
            for (const cJSON *kind = kinds->child; kind != NULL; kind = kind->next, layer++)
                if (cJSON_IsString(kind) && strcmp(kind->valuestring, "local") == 0)
                    vise_config_mark(config, layer, layer + 1, VISE_LAYER_SLIDING);
    }
    if (layer != config->layers)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: attention_types tell of %lld layers, num_layers of %lld", path,
                         (long long)layer, (long long)config->layers);
    return VISE_OK;
}

vise_status vise_gpt_neo_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    config->max_positions = 2048;
    config->window = 256;
    config->position = VISE_POSITION_LEARNED;
    config->tied = true;
    config->traits = VISE_TRAIT_FINAL_NORM;
    config->attention_scale = 1.0;
    VISE_TRY(vise_config_ints(path, json, KEYS(gpt_neo_keys), config, err));
    VISE_TRY(vise_config_activation(path, json, "activation_function", VISE_GELU_TANH, &config->activation, err));
    VISE_TRY(neo_layers(path, json, config, err));
    return finish(path, json, "layer_norm_epsilon", 50256, config, err);
}

static const vise_config_key gpt_neox_keys[] = {
    {"hidden_size", true, VISE_CONFIG_HIDDEN_MAX, offsetof(vise_config, hidden)},
    {"intermediate_size", true, VISE_CONFIG_FFN_MAX, offsetof(vise_config, ffn)},
    {"num_hidden_layers", true, VISE_CONFIG_LAYERS_MAX, offsetof(vise_config, layers)},
    {"num_attention_heads", true, VISE_CONFIG_HEADS_MAX, offsetof(vise_config, heads)},
    {"vocab_size", true, VISE_CONFIG_VOCAB_MAX, offsetof(vise_config, vocab)},
    {"max_position_embeddings", false, VISE_CONFIG_POSITIONS_MAX, offsetof(vise_config, max_positions)},
};

vise_status vise_gpt_neox_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    bool parallel = true;
    double part = 0.25;

    config->max_positions = 2048;
    config->attention_bias = true;
    config->rope.theta = 10000.0;
    config->qkv = VISE_QKV_GROUPS;
    config->traits = VISE_TRAIT_FINAL_NORM;
    VISE_TRY(vise_config_ints(path, json, KEYS(gpt_neox_keys), config, err));
    VISE_TRY(vise_config_activation(path, json, "hidden_act", VISE_GELU, &config->activation, err));
    VISE_TRY(vise_json_bool(path, json, "attention_bias", false, &config->attention_bias, err));
    VISE_TRY(vise_json_bool(path, json, "use_parallel_residual", false, &parallel, err));
    config->residual = parallel ? VISE_RESIDUAL_PARALLEL : VISE_RESIDUAL_SERIAL;
    VISE_TRY(finish(path, json, "layer_norm_eps", 0, config, err));
    /* version 4's names */
    VISE_TRY(vise_json_double(path, json, "rotary_pct", false, 0.0, 1.0, &part, err));
    VISE_TRY(vise_json_double(path, json, "rotary_emb_base", false, 1.0, 1e15, &config->rope.theta, err));
    config->rotary = (int64_t)((double)config->head_dim * part);
    VISE_TRY(vise_config_rotary(path, json, config, err));
    if (config->rotary < 2 || config->rotary % 2 != 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: %lld of %lld dimensions are rotated; rotation needs pairs", path,
                         (long long)config->rotary, (long long)config->head_dim);
    return VISE_OK;
}

static const vise_config_key opt_keys[] = {
    {"hidden_size", true, VISE_CONFIG_HIDDEN_MAX, offsetof(vise_config, hidden)},
    {"ffn_dim", true, VISE_CONFIG_FFN_MAX, offsetof(vise_config, ffn)},
    {"num_hidden_layers", true, VISE_CONFIG_LAYERS_MAX, offsetof(vise_config, layers)},
    {"num_attention_heads", true, VISE_CONFIG_HEADS_MAX, offsetof(vise_config, heads)},
    {"vocab_size", true, VISE_CONFIG_VOCAB_MAX, offsetof(vise_config, vocab)},
    {"max_position_embeddings", false, VISE_CONFIG_POSITIONS_MAX, offsetof(vise_config, max_positions)},
};

vise_status vise_opt_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    bool before = true, no_final = false, biased = true;

    config->max_positions = 2048;
    config->position = VISE_POSITION_LEARNED;
    config->position_offset = 2;
    config->tied = true;
    VISE_TRY(vise_config_ints(path, json, KEYS(opt_keys), config, err));
    VISE_TRY(vise_config_activation(path, json, "activation_function", VISE_RELU, &config->activation, err));
    VISE_TRY(vise_json_bool(path, json, "do_layer_norm_before", false, &before, err));
    VISE_TRY(vise_json_bool(path, json, "_remove_final_layer_norm", false, &no_final, err));
    VISE_TRY(vise_json_bool(path, json, "enable_bias", false, &biased, err));
    VISE_TRY(vise_config_must_be(path, json, "layer_norm_elementwise_affine", true, true, err));
    VISE_TRY(vise_json_int(path, json, "word_embed_proj_dim", false, 1, VISE_CONFIG_HIDDEN_MAX, &config->embed, err));
    if (config->embed == config->hidden)
        config->embed = 0;
    config->attention_bias = config->mlp_bias = biased;
    config->residual = before ? VISE_RESIDUAL_SERIAL : VISE_RESIDUAL_POST;
    config->traits = (before && !no_final ? VISE_TRAIT_FINAL_NORM : 0) | (config->embed > 0 ? VISE_TRAIT_PROJECTED : 0);
    config->pad = 1;
    return finish(path, json, NULL, 2, config, err);
}

/* Both spellings that BLOOM and Falcon have had. */
static const vise_config_key bloom_keys[] = {
    {"n_embed", false, VISE_CONFIG_HIDDEN_MAX, offsetof(vise_config, hidden)},
    {"hidden_size", false, VISE_CONFIG_HIDDEN_MAX, offsetof(vise_config, hidden)},
    {"n_layer", false, VISE_CONFIG_LAYERS_MAX, offsetof(vise_config, layers)},
    {"num_hidden_layers", false, VISE_CONFIG_LAYERS_MAX, offsetof(vise_config, layers)},
    {"n_head", false, VISE_CONFIG_HEADS_MAX, offsetof(vise_config, heads)},
    {"num_attention_heads", false, VISE_CONFIG_HEADS_MAX, offsetof(vise_config, heads)},
    {"vocab_size", true, VISE_CONFIG_VOCAB_MAX, offsetof(vise_config, vocab)},
};

static vise_status bloom_sizes(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    VISE_TRY(vise_config_ints(path, json, KEYS(bloom_keys), config, err));
    if (config->hidden > 0 && config->layers > 0 && config->heads > 0)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EFORMAT, "%s: %s is missing", path,
                     config->hidden == 0   ? "hidden_size"
                     : config->layers == 0 ? "n_layer (or num_hidden_layers)"
                                           : "n_head (or num_attention_heads)");
}

vise_status vise_bloom_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    config->max_positions = 2048;
    config->position = VISE_POSITION_ALIBI;
    config->tied = true;
    config->traits = VISE_TRAIT_FINAL_NORM;
    config->activation = VISE_GELU_TANH;
    config->qkv = VISE_QKV_GROUPS;
    VISE_TRY(bloom_sizes(path, json, config, err));
    VISE_TRY(vise_config_must_be(path, json, "apply_residual_connection_post_layernorm", false, false, err));
    VISE_TRY(vise_json_int(path, json, "seq_length", false, 1, VISE_CONFIG_POSITIONS_MAX, &config->max_positions,
                           err));
    return finish(path, json, "layer_norm_epsilon", 1, config, err);
}

vise_status vise_falcon_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    bool alibi = false, grouped = false, multi_query = true, parallel = true, biased = false;
    int64_t kv_heads = 0, norms = 0;

    config->max_positions = 2048;
    config->rope.theta = 10000.0;
    config->tied = true;
    VISE_TRY(bloom_sizes(path, json, config, err));
    VISE_TRY(vise_json_int(path, json, "ffn_hidden_size", false, 1, VISE_CONFIG_FFN_MAX, &config->ffn, err));
    VISE_TRY(vise_json_int(path, json, "max_position_embeddings", false, 1, VISE_CONFIG_POSITIONS_MAX,
                           &config->max_positions, err));
    VISE_TRY(vise_config_activation(path, json, "activation", VISE_GELU, &config->activation, err));
    VISE_TRY(vise_json_bool(path, json, "alibi", false, &alibi, err));
    VISE_TRY(vise_json_bool(path, json, "new_decoder_architecture", false, &grouped, err));
    VISE_TRY(vise_json_bool(path, json, "multi_query", false, &multi_query, err));
    VISE_TRY(vise_json_bool(path, json, "parallel_attn", false, &parallel, err));
    VISE_TRY(vise_json_bool(path, json, "bias", false, &biased, err));
    VISE_TRY(vise_json_int(path, json, "n_head_kv", false, 1, VISE_CONFIG_HEADS_MAX, &kv_heads, err));
    VISE_TRY(vise_json_int(path, json, "num_kv_heads", false, 1, VISE_CONFIG_HEADS_MAX, &kv_heads, err));
    VISE_TRY(vise_json_int(path, json, "num_ln_in_parallel_attn", false, 1, 2, &norms, err));
    if (grouped && !parallel)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: new_decoder_architecture without parallel_attn is not supported", path);
    config->attention_bias = config->mlp_bias = biased;
    config->kv_heads = grouped ? kv_heads : multi_query ? 1 : config->heads;
    config->qkv = grouped || !multi_query ? VISE_QKV_GROUPS : VISE_QKV_BLOCKS;
    config->residual = parallel ? VISE_RESIDUAL_PARALLEL : VISE_RESIDUAL_SERIAL;
    norms = norms > 0 ? norms : grouped ? 2 : 1;
    config->traits = VISE_TRAIT_FINAL_NORM | (parallel ? 0 : VISE_TRAIT_SERIAL) |
                     (parallel && norms == 2 ? VISE_TRAIT_TWO_NORMS : VISE_TRAIT_ONE_NORM);
    config->position = alibi ? VISE_POSITION_ALIBI : VISE_POSITION_ROTARY;
    config->alibi_in_bf16 = alibi;
    VISE_TRY(finish(path, json, "layer_norm_epsilon", 11, config, err));
    return alibi ? VISE_OK : vise_config_rotary(path, json, config, err);
}
