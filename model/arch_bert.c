#include "model/arch_bert.h"

#include <stddef.h>

#include "core/json.h"
#include "model/arch_rows.h"
#include "model/config.h"

#define LM         VISE_TRAIT_LM
#define CLASSIFIER VISE_TRAIT_CLASSIFIER

/* A vector of its own, without ".weight": the bias of a tied head. */
#define HEAD_BIAS(name)                                                                                                \
    {VISE_ROLE_HEAD_BIAS, name, VISE_DIM_ONE, VISE_DIM_VOCAB, VISE_INPUT_NONE, false, VISE_BIAS_NONE, LM,              \
     VISE_ROW_BARE}

#define ENCODER(model)                                                                                                 \
    VISE_TABLE(EMBEDDING, model ".embeddings.word_embeddings", VOCAB),                                                 \
        VISE_TABLE(POSITION_EMBEDDING, model ".embeddings.position_embeddings", POSITIONS),                            \
        VISE_TABLE(TYPE_EMBEDDING, model ".embeddings.token_type_embeddings", TYPES),                                  \
        VISE_LAYER_NORM(EMBEDDING_NORM, model ".embeddings.LayerNorm"),                                                \
        VISE_LINEAR(Q, model ".encoder.layer.%d.attention.self.query", Q, HIDDEN, ATTENTION, ALWAYS),                  \
        VISE_LINEAR(K, model ".encoder.layer.%d.attention.self.key", KV, HIDDEN, ATTENTION, ALWAYS),                   \
        VISE_LINEAR(V, model ".encoder.layer.%d.attention.self.value", KV, HIDDEN, ATTENTION, ALWAYS),                 \
        VISE_LINEAR(O, model ".encoder.layer.%d.attention.output.dense", HIDDEN, Q, O, ALWAYS),                        \
        VISE_LAYER_NORM(ATTENTION_NORM, model ".encoder.layer.%d.attention.output.LayerNorm"),                         \
        VISE_LINEAR(UP, model ".encoder.layer.%d.intermediate.dense", FFN, HIDDEN, MLP, ALWAYS),                       \
        VISE_LINEAR(DOWN, model ".encoder.layer.%d.output.dense", HIDDEN, FFN, DOWN, ALWAYS),                          \
        VISE_LAYER_NORM(MLP_NORM, model ".encoder.layer.%d.output.LayerNorm")

const vise_arch_row vise_bert_rows[VISE_BERT_ROWS] = {
    ENCODER("bert"),
    VISE_HEAD_LINEAR(HEAD_DENSE, "cls.predictions.transform.dense", HIDDEN, ALWAYS, LM),
    VISE_VECTOR_IF(HEAD_NORM, "cls.predictions.transform.LayerNorm", HIDDEN, ALWAYS, LM),
    VISE_HEAD_LINEAR(HEAD, "cls.predictions.decoder", VOCAB, STORED, LM),
    HEAD_BIAS("cls.predictions.bias"),
    VISE_HEAD_LINEAR(HEAD_DENSE, "bert.pooler.dense", HIDDEN, ALWAYS, CLASSIFIER),
    VISE_HEAD_LINEAR(HEAD, "classifier", LABELS, ALWAYS, CLASSIFIER),
};

const vise_arch_row vise_roberta_rows[VISE_ROBERTA_ROWS] = {
    ENCODER("roberta"),
    VISE_HEAD_LINEAR(HEAD_DENSE, "lm_head.dense", HIDDEN, ALWAYS, LM),
    VISE_VECTOR_IF(HEAD_NORM, "lm_head.layer_norm", HIDDEN, ALWAYS, LM),
    VISE_HEAD_LINEAR(HEAD, "lm_head.decoder", VOCAB, STORED, LM),
    HEAD_BIAS("lm_head.bias"),
    VISE_HEAD_LINEAR(HEAD_DENSE, "classifier.dense", HIDDEN, ALWAYS, CLASSIFIER),
    VISE_HEAD_LINEAR(HEAD, "classifier.out_proj", LABELS, ALWAYS, CLASSIFIER),
};

#define DISTIL "distilbert.transformer.layer.%d."

const vise_arch_row vise_distilbert_rows[VISE_DISTILBERT_ROWS] = {
    VISE_TABLE(EMBEDDING, "distilbert.embeddings.word_embeddings", VOCAB),
    VISE_TABLE(POSITION_EMBEDDING, "distilbert.embeddings.position_embeddings", POSITIONS),
    VISE_LAYER_NORM(EMBEDDING_NORM, "distilbert.embeddings.LayerNorm"),
    VISE_LINEAR(Q, DISTIL "attention.q_lin", Q, HIDDEN, ATTENTION, ALWAYS),
    VISE_LINEAR(K, DISTIL "attention.k_lin", KV, HIDDEN, ATTENTION, ALWAYS),
    VISE_LINEAR(V, DISTIL "attention.v_lin", KV, HIDDEN, ATTENTION, ALWAYS),
    VISE_LINEAR(O, DISTIL "attention.out_lin", HIDDEN, Q, O, ALWAYS),
    VISE_LAYER_NORM(ATTENTION_NORM, DISTIL "sa_layer_norm"),
    VISE_LINEAR(UP, DISTIL "ffn.lin1", FFN, HIDDEN, MLP, ALWAYS),
    VISE_LINEAR(DOWN, DISTIL "ffn.lin2", HIDDEN, FFN, DOWN, ALWAYS),
    VISE_LAYER_NORM(MLP_NORM, DISTIL "output_layer_norm"),
    VISE_HEAD_LINEAR(HEAD_DENSE, "vocab_transform", HIDDEN, ALWAYS, LM),
    VISE_VECTOR_IF(HEAD_NORM, "vocab_layer_norm", HIDDEN, ALWAYS, LM),
    VISE_HEAD_LINEAR(HEAD, "vocab_projector", VOCAB, ALWAYS, LM),
    VISE_HEAD_LINEAR(HEAD_DENSE, "pre_classifier", HIDDEN, ALWAYS, CLASSIFIER),
    VISE_HEAD_LINEAR(HEAD, "classifier", LABELS, ALWAYS, CLASSIFIER),
};

static const vise_config_key bert_keys[] = {
    {"hidden_size", true, VISE_CONFIG_HIDDEN_MAX, offsetof(vise_config, hidden)},
    {"intermediate_size", true, VISE_CONFIG_FFN_MAX, offsetof(vise_config, ffn)},
    {"num_hidden_layers", true, VISE_CONFIG_LAYERS_MAX, offsetof(vise_config, layers)},
    {"num_attention_heads", true, VISE_CONFIG_HEADS_MAX, offsetof(vise_config, heads)},
    {"vocab_size", true, VISE_CONFIG_VOCAB_MAX, offsetof(vise_config, vocab)},
    {"max_position_embeddings", false, VISE_CONFIG_POSITIONS_MAX, offsetof(vise_config, max_positions)},
    {"type_vocab_size", false, VISE_CONFIG_VOCAB_MAX, offsetof(vise_config, types)},
};

static const vise_config_key distilbert_keys[] = {
    {"dim", true, VISE_CONFIG_HIDDEN_MAX, offsetof(vise_config, hidden)},
    {"hidden_dim", true, VISE_CONFIG_FFN_MAX, offsetof(vise_config, ffn)},
    {"n_layers", true, VISE_CONFIG_LAYERS_MAX, offsetof(vise_config, layers)},
    {"n_heads", true, VISE_CONFIG_HEADS_MAX, offsetof(vise_config, heads)},
    {"vocab_size", true, VISE_CONFIG_VOCAB_MAX, offsetof(vise_config, vocab)},
    {"max_position_embeddings", false, VISE_CONFIG_POSITIONS_MAX, offsetof(vise_config, max_positions)},
};

static vise_status encoder(const char *path, const cJSON *json, const vise_config_key *keys, size_t n_keys,
                           const char *activation_key, vise_config *config, vise_error *err)
{
    config->max_positions = 512;
    config->types = 2;
    config->norm = VISE_NORM_LAYER;
    config->norm_eps = 1e-12;
    config->residual = VISE_RESIDUAL_POST;
    config->position = VISE_POSITION_LEARNED;
    config->bidirectional = true;
    config->tied = true;
    VISE_TRY(vise_config_ints(path, json, keys, n_keys, config, err));
    VISE_TRY(vise_config_heads(path, config, err));
    VISE_TRY(vise_config_activation(path, json, activation_key, VISE_GELU, &config->activation, err));
    VISE_TRY(vise_json_double(path, json, "layer_norm_eps", false, 0.0, 1.0, &config->norm_eps, err));
    VISE_TRY(vise_config_must_be(path, json, "is_decoder", false, false, err));
    config->head_activation = config->head == VISE_HEAD_CLASSIFIER ? VISE_TANH : config->activation;
    return vise_config_common(path, json, -1, config, err);
}

vise_status vise_bert_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    return encoder(path, json, bert_keys, sizeof bert_keys / sizeof bert_keys[0], "hidden_act", config, err);
}

/* Positions begin behind the padding id; the table's size counts those in front of them. */
vise_status vise_roberta_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    int64_t pad = 1;

    VISE_TRY(encoder(path, json, bert_keys, sizeof bert_keys / sizeof bert_keys[0], "hidden_act", config, err));
    if (config->head == VISE_HEAD_LM)
        config->head_activation = VISE_GELU; /* the class says so, whatever hidden_act is */
    VISE_TRY(vise_json_int(path, json, "pad_token_id", false, 0, config->vocab - 1, &pad, err));
    config->position_offset = pad + 1;
    config->max_positions -= config->position_offset;
    if (config->max_positions < 1)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: max_position_embeddings leaves no positions behind pad_token_id %lld",
                         path, (long long)pad);
    return VISE_OK;
}

vise_status vise_distilbert_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err)
{
    VISE_TRY(encoder(path, json, distilbert_keys, sizeof distilbert_keys / sizeof distilbert_keys[0], "activation",
                     config, err));
    if (config->head == VISE_HEAD_CLASSIFIER)
        config->head_activation = VISE_RELU;
    return VISE_OK;
}
