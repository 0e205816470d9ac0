#include "formats/gguf_config.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "formats/names.h"

#define KEY_BYTES 96
#define COUNT_MAX (1 << 20)

typedef struct int_row {
    const char *gguf, *hf;
    bool required;
    int64_t max;
} int_row;

typedef struct float_row {
    const char *gguf, *hf;
    bool required;
    float otherwise; /* written when it is missing; 0: nothing is */
} float_row;

/* Keys below the architecture's name, and members that are the same for every file. */
typedef struct style {
    const char *model_type;
    const int_row *ints;
    const float_row *floats;
    const char *constants; /* JSON members */
    bool windows;          /* attention.sliding_window is told */
    bool experts;          /* expert_count is told */
} style;

/* ---- rows ---------------------------------------------------------------------------------------------- */

#define SIZES                                                                                                \
    {"embedding_length", "hidden_size", true, INT_MAX},                                                      \
        {"feed_forward_length", "intermediate_size", true, INT_MAX},                                         \
        {"block_count", "num_hidden_layers", true, 512},                                                     \
    {                                                                                                        \
        "attention.head_count", "num_attention_heads", true, COUNT_MAX                                       \
    }
#define LLAMA                                                                                                \
    SIZES, {"attention.head_count_kv", "num_key_value_heads", false, COUNT_MAX},                             \
        {"attention.key_length", "head_dim", false, COUNT_MAX},                                              \
    {                                                                                                        \
        "context_length", "max_position_embeddings", true, INT_MAX                                           \
    }
#define END                                                                                                  \
    {                                                                                                        \
        NULL, NULL, false, 0                                                                                 \
    }

static const int_row llama_ints[] = {LLAMA, END};
static const int_row mixtral_ints[] = {LLAMA,
                                       {"expert_count", "num_local_experts", true, COUNT_MAX},
                                       {"expert_used_count", "num_experts_per_tok", true, COUNT_MAX},
                                       END};
static const int_row qwen_moe_ints[] = {
    LLAMA,
    {"expert_count", "num_experts", true, COUNT_MAX},
    {"expert_used_count", "num_experts_per_tok", true, COUNT_MAX},
    {"expert_feed_forward_length", "moe_intermediate_size", true, INT_MAX},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size", false, INT_MAX},
    END};
static const int_row windowed_ints[] = {
    LLAMA,
    {"rope.scaling.original_context_length", "original_max_position_embeddings", false, INT_MAX},
    {"attention.sliding_window", "sliding_window", false, INT_MAX},
    END};
static const int_row neox_ints[] = {SIZES, {"context_length", "max_position_embeddings", true, INT_MAX}, END};
static const int_row bloom_ints[] = {{"embedding_length", "hidden_size", true, INT_MAX},
                                     {"block_count", "n_layer", true, 512},
                                     {"attention.head_count", "n_head", true, COUNT_MAX},
                                     {"context_length", "seq_length", true, INT_MAX},
                                     END};
static const int_row falcon_ints[] = {SIZES,
                                      {"feed_forward_length", "ffn_hidden_size", true, INT_MAX},
                                      {"context_length", "max_position_embeddings", true, INT_MAX},
                                      END};
static const int_row bert_ints[] = {SIZES, {"context_length", "max_position_embeddings", true, INT_MAX}, END};
static const int_row distilbert_ints[] = {{"embedding_length", "dim", true, INT_MAX},
                                          {"feed_forward_length", "hidden_dim", true, INT_MAX},
                                          {"block_count", "n_layers", true, 512},
                                          {"attention.head_count", "n_heads", true, COUNT_MAX},
                                          {"context_length", "max_position_embeddings", true, INT_MAX},
                                          END};
static const int_row gpt2_ints[] = {{"embedding_length", "n_embd", true, INT_MAX},
                                    {"feed_forward_length", "n_inner", true, INT_MAX},
                                    {"block_count", "n_layer", true, 512},
                                    {"attention.head_count", "n_head", true, COUNT_MAX},
                                    {"context_length", "n_positions", true, INT_MAX},
                                    {"context_length", "n_ctx", true, INT_MAX},
                                    END};

#define RMS                                                                                                  \
    {                                                                                                        \
        "attention.layer_norm_rms_epsilon", "rms_norm_eps", true, 0.0f                                       \
    }
#define THETA                                                                                                \
    {                                                                                                        \
        "rope.freq_base", "rope_theta", false, 10000.0f                                                      \
    }
#define END_FLOAT                                                                                            \
    {                                                                                                        \
        NULL, NULL, false, 0                                                                                 \
    }
static const float_row llama_floats[] = {RMS, THETA, END_FLOAT};
static const float_row gemma_floats[] = {RMS,
                                         THETA,
                                         {"rope.freq_base_swa", "rope_local_base_freq", false, 0.0f},
                                         {"attn_logit_softcapping", "attn_logit_softcapping", false, 0.0f},
                                         {"final_logit_softcapping", "final_logit_softcapping", false, 0.0f},
                                         END_FLOAT};
static const float_row neox_floats[] = {{"attention.layer_norm_epsilon", "layer_norm_eps", true, 0.0f},
                                        END_FLOAT};
static const float_row gpt_floats[] = {{"attention.layer_norm_epsilon", "layer_norm_epsilon", true, 0.0f},
                                       END_FLOAT};

static const float_row no_floats[] = {END_FLOAT};

#define SILU "\"hidden_act\": \"silu\""
#define TANH "\"hidden_act\": \"gelu_pytorch_tanh\", \"hidden_activation\": \"gelu_pytorch_tanh\""
/* What llama.cpp computes for all files of a family that does not say it. */
static const style styles[] = {
    {"llama", llama_ints, llama_floats, SILU, false, false},
    {"qwen2", llama_ints, llama_floats, SILU, false, false},
    {"qwen3", llama_ints, llama_floats, SILU, false, false},
    {"mistral", llama_ints, llama_floats, SILU ", \"sliding_window\": null", false, false},
    {"smollm3", llama_ints, llama_floats, SILU ", \"no_rope_layer_interval\": 4", false, false},
    {"mixtral", mixtral_ints, llama_floats, SILU, false, true},
    {"qwen2_moe", qwen_moe_ints, llama_floats, SILU ", \"norm_topk_prob\": false, \"decoder_sparse_step\": 1",
     false, true},
    {"qwen3_moe", qwen_moe_ints, llama_floats, SILU ", \"norm_topk_prob\": true, \"decoder_sparse_step\": 1",
     false, true},
    {"phi3", windowed_ints, llama_floats, SILU, true, false},
    {"gemma", llama_ints, llama_floats, TANH, false, false},
    {"gemma2", windowed_ints, gemma_floats, TANH, true, false},
    {"gemma3_text", windowed_ints, gemma_floats, TANH, true, false},
    {"gpt_neox", neox_ints, neox_floats, "\"hidden_act\": \"gelu\"", false, false},
    {"bloom", bloom_ints, gpt_floats, "\"apply_residual_connection_post_layernorm\": false", false, false},
    {"bert", bert_ints, neox_floats, "\"hidden_act\": \"gelu\"", false, false},
    {"distilbert", distilbert_ints, no_floats, "\"activation\": \"gelu\"", false, false},
    {"falcon", falcon_ints, gpt_floats, "\"activation\": \"gelu\", \"alibi\": false", false, false},
    {"gpt2", gpt2_ints, gpt_floats, "\"activation_function\": \"gelu_new\"", false, false},
};

static const style *style_of(const vise_gguf_family *family)
{
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++)
        if (strcmp(styles[i].model_type, family->model_type) == 0)
            return &styles[i];
    return NULL;
}

/* ---- the family ---------------------------------------------------------------------------------------- */

const vise_gguf_tensor *vise_gguf_find_tensor(const vise_gguf *gguf, const char *name)
{
    for (size_t i = 0; i < gguf->n_tensors; i++)
        if (strcmp(gguf->tensors[i].name, name) == 0)
            return &gguf->tensors[i];
    return NULL;
}

static const char *key_of(const char *architecture, const char *rest, char key[KEY_BYTES])
{
    snprintf(key, KEY_BYTES, "%.48s.%s", architecture, rest);
    return key;
}

static bool has_key(const vise_gguf *gguf, const char *architecture, const char *rest)
{
    char key[KEY_BYTES];
    return vise_gguf_find(gguf, key_of(architecture, rest, key)) != NULL;
}

static bool has_labels(const vise_gguf *gguf)
{
    return vise_gguf_find_tensor(gguf, "cls.output.weight") != NULL;
}

/* What would change the network and has no place in what is written here. */
static const char *obstacle(const vise_gguf *gguf, const vise_gguf_family *family)
{
    const style *s = style_of(family);
    const char *scaling = "none";
    char key[KEY_BYTES];
    const vise_gguf_value *type =
        vise_gguf_find(gguf, key_of(family->architecture, "rope.scaling.type", key));
    if (type != NULL && vise_gguf_get_text(gguf, key, false, &scaling, NULL) != VISE_OK)
        scaling = "";
    if (strcmp(scaling, "none") != 0 || has_key(gguf, family->architecture, "rope.scaling.factor") ||
        vise_gguf_find_tensor(gguf, "rope_freqs.weight") ||
        vise_gguf_find_tensor(gguf, "rope_factors_long.weight"))
        return "scaled rotary positions";
    if (!s->experts && has_key(gguf, family->architecture, "expert_count"))
        return "experts";
    if (!s->windows && has_key(gguf, family->architecture, "attention.sliding_window"))
        return "a sliding window";
    if (has_key(gguf, family->architecture, "attention.clamp_kqv"))
        return "clamped keys and values";
    for (size_t i = 0; family->transposed && i < gguf->n_tensors; i++)
        if (gguf->tensors[i].type->dtype == VISE_DTYPE_COUNT)
            return "quantized matrices that transformers has transposed";
    return NULL;
}

static bool may_refuse(const vise_gguf_family *family)
{
    return strcmp(family->model_type, "llama") == 0 || strcmp(family->model_type, "qwen2") == 0 ||
           strcmp(family->model_type, "qwen3") == 0;
}

static bool is_told(const vise_gguf *gguf, const char *const names[2])
{
    for (int i = 0; i < 2; i++)
        if (names[i] != NULL && vise_gguf_find_tensor(gguf, names[i]) == NULL)
            return false;
    return names[0] != NULL;
}

const vise_gguf_family *vise_gguf_family_of_file(const vise_gguf *gguf, const char **why)
{
    const char *architecture = NULL;
    *why = NULL;
    if (vise_gguf_get_text(gguf, "general.architecture", true, &architecture, NULL) != VISE_OK)
        return NULL;
    const vise_gguf_family *family = vise_gguf_family_of(architecture);
    if (family != NULL && strcmp(architecture, "llama") == 0 && has_key(gguf, architecture, "expert_count"))
        family = vise_gguf_family_of_model("mixtral");
    size_t count;
    const vise_gguf_family *all = vise_gguf_families(&count);
    for (size_t i = 0; i < count && family != NULL; i++)
        if (strcmp(all[i].architecture, architecture) == 0 &&
            (is_told(gguf, all[i].told_by) ||
             (all[i].lacks != NULL && vise_gguf_find_tensor(gguf, all[i].lacks) == NULL)))
            family = &all[i];
    if (family != NULL && !may_refuse(family))
        *why = obstacle(gguf, family);
    return *why != NULL ? NULL : family;
}

/* ---- the text ------------------------------------------------------------------------------------------ */

/* A float32 as the number that people wrote. */
static void put_float(vise_json_writer *json, const char *key, float value)
{
    char text[32];
    const bool whole_number = value >= 1.0f && value < 1e9f && value == (float)(int)value;
    if (whole_number)
        snprintf(text, sizeof text, "%.1f", (double)value);
    for (int digits = 1; !whole_number && digits <= 9; digits++) {
        float back;
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (sscanf(text, "%f", &back) == 1 && back == value)
            break;
    }
    vise_json_key(json, key);
    vise_json_put_raw(json, text);
}

static vise_status put_numbers(const vise_gguf *gguf, const char *architecture, const style *s,
                               vise_json_writer *json, vise_error *err)
{
    char key[KEY_BYTES];
    for (const int_row *row = s->ints; row->gguf != NULL; row++) {
        int64_t number = 0;
        VISE_TRY(vise_gguf_get_int(gguf, key_of(architecture, row->gguf, key), row->required, 0, row->max,
                                   &number, err));
        if (number == 0 && row->required)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" is 0", gguf->path, key);
        if (number == 0)
            continue;
        vise_json_key(json, row->hf);
        vise_json_put_int(json, number);
    }
    for (const float_row *row = s->floats; row->gguf != NULL; row++) {
        float number = row->otherwise;
        VISE_TRY(
            vise_gguf_get_float(gguf, key_of(architecture, row->gguf, key), row->required, &number, err));
        if (number > 0.0f || row->required)
            put_float(json, row->hf, number);
    }
    return VISE_OK;
}

static vise_status put_token(const vise_gguf *gguf, const char *gguf_key, const char *hf,
                             vise_json_writer *json, vise_error *err)
{
    int64_t id = -1;
    VISE_TRY(vise_gguf_get_int(gguf, gguf_key, false, 0, INT_MAX, &id, err));
    if (id >= 0) {
        vise_json_key(json, hf);
        vise_json_put_int(json, id);
    }
    return VISE_OK;
}

/* Falcon's variants are told by what their blocks have. */
static vise_status put_falcon(const vise_gguf *gguf, int64_t heads, vise_json_writer *json, vise_error *err)
{
    const bool two_norms = vise_gguf_find_tensor(gguf, "blk.0.attn_norm_2.weight") != NULL;
    int64_t kv_heads = heads;
    VISE_TRY(vise_gguf_get_int(gguf, "falcon.attention.head_count_kv", false, 1, COUNT_MAX, &kv_heads, err));
    const bool grouped = two_norms || (kv_heads > 1 && kv_heads < heads);
    vise_json_key(json, "new_decoder_architecture");
    vise_json_put_bool(json, grouped);
    vise_json_key(json, "multi_query");
    vise_json_put_bool(json, kv_heads == 1);
    vise_json_key(json, "num_kv_heads");
    vise_json_put_int(json, kv_heads);
    vise_json_key(json, "parallel_attn");
    vise_json_put_bool(json, vise_gguf_find_tensor(gguf, "blk.0.ffn_norm.weight") == NULL);
    vise_json_key(json, "bias");
    vise_json_put_bool(json, vise_gguf_find_tensor(gguf, "blk.0.attn_qkv.bias") != NULL);
    if (grouped) {
        vise_json_key(json, "num_ln_in_parallel_attn");
        vise_json_put_int(json, two_norms ? 2 : 1);
    }
    return VISE_OK;
}

static vise_status put_labels(const vise_gguf *gguf, const char *architecture, vise_json_writer *json, vise_error *err)
{
    char key[KEY_BYTES], number[32];
    const void *elements;
    uint64_t n;
    const vise_gguf_tensor *head = vise_gguf_find_tensor(gguf, "cls.output.weight");
    const int64_t rows = head->ndim == 2 ? head->dims[1] : 1;
    VISE_TRY(vise_gguf_get_array(gguf, key_of(architecture, "classifier.output_labels", key), false,
                                 VISE_GGUF_KIND_TEXT, &elements, &n, err));
    if (n > 0 && n != (uint64_t)rows)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" has %" PRIu64 " labels for %" PRId64 " rows", gguf->path, key,
                         n, rows);
    const vise_gguf_text *labels = elements;
    if (n == 0) {
        vise_json_key(json, "num_labels");
        vise_json_put_int(json, rows);
        return VISE_OK;
    }
    vise_json_key(json, "id2label");
    vise_json_object(json);
    for (uint64_t i = 0; i < n; i++) {
        snprintf(number, sizeof number, "%" PRIu64, i);
        vise_json_key(json, number);
        vise_json_put_text(json, labels[i].bytes);
    }
    vise_json_object_end(json);
    return VISE_OK;
}

/* What a family's configuration has beyond rows and constants. */
static vise_status put_more(const vise_gguf *gguf, const vise_gguf_family *family, vise_json_writer *json,
                            vise_error *err)
{
    char key[KEY_BYTES];
    const char *a = family->architecture, *type = family->model_type;
    int64_t hidden = 0, heads = 1, head = 0, layers = 0, rotary = 0;
    bool parallel = true;
    VISE_TRY(vise_gguf_get_int(gguf, key_of(a, "embedding_length", key), true, 1, INT_MAX, &hidden, err));
    VISE_TRY(
        vise_gguf_get_int(gguf, key_of(a, "attention.head_count", key), true, 1, COUNT_MAX, &heads, err));
    VISE_TRY(vise_gguf_get_int(gguf, key_of(a, "block_count", key), true, 1, 512, &layers, err));
    head = hidden / heads;
    VISE_TRY(
        vise_gguf_get_int(gguf, key_of(a, "attention.key_length", key), false, 1, COUNT_MAX, &head, err));
    VISE_TRY(
        vise_gguf_get_int(gguf, key_of(a, "rope.dimension_count", key), false, 1, COUNT_MAX, &rotary, err));
    if (strcmp(type, "gpt_neox") == 0 || strcmp(type, "phi3") == 0)
        if (rotary > 0 && rotary != head)
            put_float(json, strcmp(type, "phi3") == 0 ? "partial_rotary_factor" : "rotary_pct",
                      (float)rotary / (float)head);
    if (strcmp(type, "gpt_neox") == 0) {
        if (rotary == head)
            put_float(json, "rotary_pct", 1.0f);
        VISE_TRY(vise_gguf_get_bool(gguf, key_of(a, "use_parallel_residual", key), false, &parallel, err));
        vise_json_key(json, "use_parallel_residual");
        vise_json_put_bool(json, parallel);
    }
    if (strcmp(type, "falcon") == 0)
        VISE_TRY(put_falcon(gguf, heads, json, err));
    const vise_gguf_tensor *kinds = vise_gguf_find_tensor(gguf, "token_types.weight");
    if (strcmp(type, "bert") == 0 && kinds != NULL && kinds->ndim == 2) {
        vise_json_key(json, "type_vocab_size");
        vise_json_put_int(json, kinds->dims[1]);
    }
    if (has_labels(gguf) && family->classifier_name != NULL)
        VISE_TRY(put_labels(gguf, a, json, err));
    if (strcmp(type, "gemma2") == 0 || strcmp(type, "gemma3_text") == 0) {
        /* As llama.cpp: the largest of either takes the width of a head of the embedding. */
        const bool largest = layers == (strcmp(type, "gemma2") == 0 ? 46 : 62);
        vise_json_key(json, "query_pre_attn_scalar");
        vise_json_put_int(json, largest ? hidden / heads : head);
    }
    return VISE_OK;
}

static void put_facts(const vise_gguf *gguf, vise_json_writer *json)
{
    const vise_gguf_tensor *embedding = vise_gguf_find_tensor(gguf, "token_embd.weight");
    if (embedding != NULL && embedding->ndim == 2) {
        const vise_dtype dtype = embedding->type->dtype;
        vise_json_key(json, "vocab_size");
        vise_json_put_int(json, embedding->dims[1]);
        vise_json_key(json, "torch_dtype");
        vise_json_put_text(json,
                           vise_dtype_of(dtype < VISE_DTYPE_COUNT ? dtype : VISE_DTYPE_F16)->torch_name);
    }
    vise_json_key(json, "tie_word_embeddings");
    vise_json_put_bool(json, vise_gguf_find_tensor(gguf, "output.weight") == NULL);
    vise_json_key(json, "attention_bias");
    vise_json_put_bool(json, vise_gguf_find_tensor(gguf, "blk.0.attn_q.bias") != NULL ||
                                 vise_gguf_find_tensor(gguf, "blk.0.attn_qkv.bias") != NULL);
}

vise_status vise_gguf_write_config(const vise_gguf *gguf, const vise_gguf_family *family, vise_buf *text,
                                   vise_error *err)
{
    vise_json_writer json;
    const style *s = style_of(family);
    const char *what = obstacle(gguf, family);
    if (what != NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: %s models with %s are not supported as input",
                         gguf->path, family->model_type, what);
    vise_json_begin(&json, text, 2);
    vise_json_object(&json);
    vise_json_key(&json, "architectures");
    vise_json_array(&json);
    vise_json_put_text(&json, has_labels(gguf) && family->classifier_name != NULL ? family->classifier_name
                                                                                 : family->class_name);
    vise_json_array_end(&json);
    vise_json_key(&json, "model_type");
    vise_json_put_text(&json, family->model_type);
    VISE_TRY(put_numbers(gguf, family->architecture, s, &json, err));
    VISE_TRY(put_more(gguf, family, &json, err));
    put_facts(gguf, &json);
    VISE_TRY(put_token(gguf, "tokenizer.ggml.bos_token_id", "bos_token_id", &json, err));
    VISE_TRY(put_token(gguf, "tokenizer.ggml.eos_token_id", "eos_token_id", &json, err));
    VISE_TRY(put_token(gguf, "tokenizer.ggml.padding_token_id", "pad_token_id", &json, err));
    if (vise_gguf_find(gguf, "tokenizer.ggml.padding_token_id") == NULL) {
        vise_json_key(&json, "pad_token_id"); /* families have defaults that may lie beyond the vocabulary */
        vise_json_put_null(&json);
    }
    vise_buf_addf(text, ",\n  %s", s->constants);
    vise_json_object_end(&json);
    vise_buf_add_char(text, '\n');
    return vise_buf_check(text, "config.json", err);
}
