#include "model/arch.h"

#include <stdio.h>
#include <string.h>

#include "model/arch_bert.h"
#include "model/arch_gpt.h"
#include "model/arch_llama.h"
#include "model/config.h"

#define LM(name)     {name, VISE_HEAD_LM}
#define LABELS(name) {name, VISE_HEAD_CLASSIFIER}
/* The classes of a decoder and of an encoder, by what their names begin with. */
#define DECODER(name) {LM(name "ForCausalLM"), LABELS(name "ForSequenceClassification")}
#define ENCODER(name)                                                                                                  \
    {LM(name "ForMaskedLM"), LABELS(name "ForSequenceClassification"), {name "Model", VISE_HEAD_NONE}}
#define ROWS(table)  .rows = table, .n_rows = sizeof(table) / sizeof(table)[0]
#define FUSED(table) .fused = table, .n_fused = sizeof(table) / sizeof(table)[0]
/* A text model among others, by the type of its configuration. */
#define AMONG(type)                                                                                                    \
    .text = "text_config", .text_type = type, .class_prefix = "model.language_model.", .prefix = "model.",             \
    .spelling = {"language_model.model.", "model.language_model."}

static const vise_arch families[] = {
    {.model_type = "llama",
     .summary = "Llama 1 to 3 and their likes: RMSNorm, rotary (all scalings), grouped-query attention, SwiGLU",
     ROWS(vise_llama_rows), .configure = vise_llama_configure, .classes = DECODER("Llama")},
    {.model_type = "mistral", .summary = "Llama with a sliding window", ROWS(vise_llama_rows),
     .configure = vise_mistral_configure, .classes = DECODER("Mistral")},
    {.model_type = "smollm3", .summary = "Llama with layers without positions", ROWS(vise_llama_rows),
     .configure = vise_smollm3_configure, .classes = DECODER("SmolLM3")},
    {.model_type = "gemma", .summary = "Gemma 1: offset RMSNorm, scaled embedding, gated GELU",
     ROWS(vise_llama_rows), .configure = vise_gemma_configure, .classes = DECODER("Gemma")},
    {.model_type = "qwen2", .summary = "Qwen2 and 2.5: Llama with biases on q, k and v", ROWS(vise_qwen2_rows),
     .configure = vise_qwen2_configure, .classes = DECODER("Qwen2")},
    {.model_type = "qwen3", .summary = "Qwen3: norms of queries and keys", ROWS(vise_qwen3_rows),
     .configure = vise_qwen3_configure, .classes = DECODER("Qwen3")},
    {.model_type = "phi3", .summary = "Phi-3: fused q, k, v and gate, up; longrope", ROWS(vise_phi3_rows),
     .configure = vise_phi3_configure, .classes = DECODER("Phi3")},
    {.model_type = "gemma2", .summary = "Gemma 2: norms on both sides, soft caps, alternating windows",
     ROWS(vise_gemma2_rows), .configure = vise_gemma2_configure, .classes = DECODER("Gemma2")},
    {.model_type = "gemma3_text",
     .summary = "Gemma 3, text: norms of queries and keys, a rotation of its own for windows",
     ROWS(vise_gemma3_rows), .configure = vise_gemma3_configure,
     .classes = {LM("Gemma3ForCausalLM"), LABELS("Gemma3TextForSequenceClassification")}},
    {.model_type = "gemma3", .summary = "Gemma 3 with images: the text part; vision tensors are carried over",
     AMONG("gemma3_text"), ROWS(vise_gemma3_rows), .configure = vise_gemma3_images_configure,
     .classes = {LM("Gemma3ForConditionalGeneration"), LABELS("Gemma3ForSequenceClassification")}},
    {.model_type = "mistral3", .summary = "Mistral with images: the text part", AMONG("mistral"),
     ROWS(vise_llama_rows), .configure = vise_mistral_configure,
     .classes = {LM("Mistral3ForConditionalGeneration")}},
    {.model_type = "qwen2_vl", .summary = "Qwen2 with images: the text part", AMONG("qwen2_vl_text"),
     ROWS(vise_qwen2_rows), .configure = vise_qwen2_vl_configure, .classes = {LM("Qwen2VLForConditionalGeneration")}},
    {.model_type = "qwen2_5_vl", .summary = "Qwen2.5 with images: the text part", AMONG("qwen2_5_vl_text"),
     ROWS(vise_qwen2_rows), .configure = vise_qwen2_vl_configure,
     .classes = {LM("Qwen2_5_VLForConditionalGeneration")}},
    {.model_type = "mixtral", .summary = "Mixtral: experts, top-k of a softmax", ROWS(vise_mixtral_rows),
     FUSED(vise_mixtral_fused), .configure = vise_mixtral_configure, .classes = DECODER("Mixtral")},
    {.model_type = "qwen2_moe", .summary = "Qwen2 with experts and a shared one", ROWS(vise_qwen2_moe_rows),
     FUSED(vise_qwen_fused), .configure = vise_qwen2_moe_configure, .classes = DECODER("Qwen2Moe")},
    {.model_type = "qwen3_moe", .summary = "Qwen3 with experts", ROWS(vise_qwen3_moe_rows),
     FUSED(vise_qwen_fused), .configure = vise_qwen3_moe_configure, .classes = DECODER("Qwen3Moe")},
    {.model_type = "gpt2", .summary = "GPT-2: LayerNorm, learned positions, transposed weights (Conv1D)",
     .prefix = "transformer.", .spelling = {""}, ROWS(vise_gpt2_rows), .configure = vise_gpt2_configure,
     .classes = {LM("GPT2LMHeadModel"), LABELS("GPT2ForSequenceClassification")}},
    {.model_type = "gpt_neo", .summary = "GPT-Neo: learned positions, alternating windows, unscaled attention",
     .prefix = "transformer.", .spelling = {""}, ROWS(vise_gpt_neo_rows), .configure = vise_gpt_neo_configure,
     .classes = DECODER("GPTNeo")},
    {.model_type = "gpt_neox", .summary = "GPT-NeoX and Pythia: parallel halves, partial rotary, fused q, k, v",
     .prefix = "gpt_neox.", .spelling = {""}, ROWS(vise_gpt_neox_rows), .configure = vise_gpt_neox_configure,
     .classes = DECODER("GPTNeoX")},
    {.model_type = "opt", .summary = "OPT: learned positions, ReLU, norms in front or behind",
     .prefix = "model.", .spelling = {""}, ROWS(vise_opt_rows),
     .configure = vise_opt_configure, .classes = DECODER("OPT")},
    {.model_type = "bloom", .summary = "BLOOM: ALiBi, normed embedding, fused q, k, v",
     .prefix = "transformer.", .spelling = {""}, ROWS(vise_bloom_rows), .configure = vise_bloom_configure,
     .classes = DECODER("Bloom")},
    {.model_type = "falcon", .summary = "Falcon: parallel halves, few key-value heads, rotary or ALiBi",
     .prefix = "transformer.", .spelling = {""}, ROWS(vise_falcon_rows), .configure = vise_falcon_configure,
     .classes = DECODER("Falcon")},
    {.model_type = "bert", .summary = "BERT: an encoder; masked language model, classifier or embeddings",
     .prefix = "bert.", .spelling = {""}, ROWS(vise_bert_rows),
     .configure = vise_bert_configure, .classes = ENCODER("Bert")},
    {.model_type = "roberta", .summary = "RoBERTa: BERT with positions behind the padding id",
     .prefix = "roberta.", .spelling = {""}, ROWS(vise_roberta_rows), .configure = vise_roberta_configure,
     .classes = ENCODER("Roberta")},
    {.model_type = "xlm-roberta", .summary = "XLM-RoBERTa: RoBERTa of many languages", .prefix = "roberta.",
     .spelling = {""}, ROWS(vise_roberta_rows), .configure = vise_roberta_configure,
     .classes = ENCODER("XLMRoberta")},
    {.model_type = "distilbert", .summary = "DistilBERT: BERT without token types", .prefix = "distilbert.",
     .spelling = {""}, ROWS(vise_distilbert_rows),
     .configure = vise_distilbert_configure, .classes = ENCODER("DistilBert")},
};

static const char *const role_names[VISE_ROLE_COUNT + 1] = {
    [VISE_ROLE_EMBEDDING] = "embed_tokens",
    [VISE_ROLE_HEAD] = "lm_head",
    [VISE_ROLE_FINAL_NORM] = "final_norm",
    [VISE_ROLE_ATTENTION_NORM] = "attention_norm",
    [VISE_ROLE_Q] = "q_proj",
    [VISE_ROLE_K] = "k_proj",
    [VISE_ROLE_V] = "v_proj",
    [VISE_ROLE_QKV] = "qkv_proj",
    [VISE_ROLE_Q_NORM] = "q_norm",
    [VISE_ROLE_K_NORM] = "k_norm",
    [VISE_ROLE_O] = "o_proj",
    [VISE_ROLE_ATTENTION_POST_NORM] = "attention_post_norm",
    [VISE_ROLE_MLP_NORM] = "mlp_norm",
    [VISE_ROLE_GATE] = "gate_proj",
    [VISE_ROLE_UP] = "up_proj",
    [VISE_ROLE_GATE_UP] = "gate_up_proj",
    [VISE_ROLE_DOWN] = "down_proj",
    [VISE_ROLE_MLP_POST_NORM] = "mlp_post_norm",
    [VISE_ROLE_POSITION_EMBEDDING] = "embed_positions",
    [VISE_ROLE_TYPE_EMBEDDING] = "embed_types",
    [VISE_ROLE_EMBEDDING_NORM] = "embedding_norm",
    [VISE_ROLE_EMBEDDING_PROJECTION] = "embedding_projection",
    [VISE_ROLE_HEAD_DENSE] = "head_dense",
    [VISE_ROLE_HEAD_NORM] = "head_norm",
    [VISE_ROLE_HEAD_BIAS] = "head_bias",
    [VISE_ROLE_ROUTER] = "router",
    [VISE_ROLE_SHARED_ROUTER] = "shared_router",
    [VISE_ROLE_SHARED_GATE] = "shared_gate_proj",
    [VISE_ROLE_SHARED_UP] = "shared_up_proj",
    [VISE_ROLE_SHARED_DOWN] = "shared_down_proj",
    [VISE_ROLE_EXPERT_GATE] = "expert_gate_proj",
    [VISE_ROLE_EXPERT_UP] = "expert_up_proj",
    [VISE_ROLE_EXPERT_DOWN] = "expert_down_proj",
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

bool vise_role_is_router(vise_role role)
{
    return role == VISE_ROLE_ROUTER || role == VISE_ROLE_SHARED_ROUTER;
}

bool vise_role_after_blocks(vise_role role)
{
    return role == VISE_ROLE_HEAD || role == VISE_ROLE_FINAL_NORM || role == VISE_ROLE_HEAD_DENSE ||
           role == VISE_ROLE_HEAD_NORM || role == VISE_ROLE_HEAD_BIAS;
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

const vise_arch_class *vise_arch_class_find(const vise_arch *arch, const char *name)
{
    for (size_t i = 0; i < VISE_ARCH_CLASSES_MAX && arch->classes[i].name != NULL; i++)
        if (name == NULL || strcmp(arch->classes[i].name, name) == 0)
            return &arch->classes[i];
    return NULL;
}

vise_status vise_arch_configure(const vise_arch *arch, const vise_arch_class *of, const char *path, const cJSON *json,
                                vise_config *config, vise_error *err)
{
    const cJSON *text = arch->text != NULL ? cJSON_GetObjectItemCaseSensitive(json, arch->text) : NULL;

    *config = (vise_config){.head = of->head, .pad = -1};
    VISE_TRY(arch->configure(path, cJSON_IsObject(text) ? text : json, config, err));
    if (cJSON_IsObject(text))
        VISE_TRY(vise_config_around(path, json, config, err));
    if (of->head != VISE_HEAD_NONE)
        config->traits |= of->head == VISE_HEAD_LM ? VISE_TRAIT_LM : VISE_TRAIT_CLASSIFIER;
    return VISE_OK;
}

int64_t vise_config_dim(const vise_config *config, vise_dim dim)
{
    int64_t q = config->heads * config->head_dim, kv = config->kv_heads * config->head_dim;

    switch (dim) {
    case VISE_DIM_ONE:
        return 1;
    case VISE_DIM_HIDDEN:
        return config->hidden;
    case VISE_DIM_EMBED:
        return config->embed > 0 ? config->embed : config->hidden;
    case VISE_DIM_FFN:
        return config->ffn;
    case VISE_DIM_GATE_UP:
        return 2 * config->ffn;
    case VISE_DIM_Q:
        return q;
    case VISE_DIM_KV:
        return kv;
    case VISE_DIM_QKV:
        return q + 2 * kv;
    case VISE_DIM_HEAD:
        return config->head_dim;
    case VISE_DIM_VOCAB:
        return config->vocab;
    case VISE_DIM_POSITIONS:
        return config->max_positions + config->position_offset;
    case VISE_DIM_TYPES:
        return config->types;
    case VISE_DIM_LABELS:
        return config->labels;
    case VISE_DIM_EXPERTS:
        return config->experts;
    case VISE_DIM_EXPERT_FFN:
        return config->expert_ffn;
    case VISE_DIM_SHARED_FFN:
        return config->shared_ffn;
    }
    return 0;
}

const char *vise_dim_keys(vise_dim dim)
{
    static const char *const keys[] = {
        [VISE_DIM_ONE] = "1",
        [VISE_DIM_HIDDEN] = "hidden_size",
        [VISE_DIM_EMBED] = "word_embed_proj_dim",
        [VISE_DIM_FFN] = "intermediate_size",
        [VISE_DIM_GATE_UP] = "2 x intermediate_size",
        [VISE_DIM_Q] = "num_attention_heads x head_dim",
        [VISE_DIM_KV] = "num_key_value_heads x head_dim",
        [VISE_DIM_QKV] = "(num_attention_heads + 2 num_key_value_heads) x head_dim",
        [VISE_DIM_HEAD] = "head_dim",
        [VISE_DIM_VOCAB] = "vocab_size",
        [VISE_DIM_POSITIONS] = "max_position_embeddings",
        [VISE_DIM_TYPES] = "type_vocab_size",
        [VISE_DIM_LABELS] = "num_labels",
        [VISE_DIM_EXPERTS] = "number of experts",
        [VISE_DIM_EXPERT_FFN] = "moe_intermediate_size",
        [VISE_DIM_SHARED_FFN] = "shared_expert_intermediate_size",
    };
    return keys[dim];
}

bool vise_arch_row_in_block(const vise_arch_row *row)
{
    return strstr(row->module, "%d") != NULL;
}

bool vise_arch_row_per_expert(const vise_arch_row *row)
{
    return row->role >= VISE_ROLE_EXPERT_GATE && row->role < VISE_ROLE_COUNT;
}

bool vise_arch_row_applies(const vise_arch_row *row, const vise_config *config, int layer)
{
    unsigned traits = config->traits;

    if (layer >= 0)
        traits |= config->layer[layer] & VISE_LAYER_SPARSE ? VISE_TRAIT_SPARSE : VISE_TRAIT_DENSE;
    return (row->when & ~traits) == 0;
}

const char *vise_arch_module(const vise_arch_row *row, int layer, int expert, const char *suffix,
                             char buffer[VISE_MODULE_MAX])
{
    const char *first = strstr(row->module, "%d"), *second = first ? strstr(first + 2, "%d") : NULL;

    if (first == NULL)
        snprintf(buffer, VISE_MODULE_MAX, "%s%s", row->module, suffix);
    else if (second == NULL)
        snprintf(buffer, VISE_MODULE_MAX, "%.*s%d%s%s", (int)(first - row->module), row->module, layer,
                 first + 2, suffix);
    else
        snprintf(buffer, VISE_MODULE_MAX, "%.*s%d%.*s%d%s%s", (int)(first - row->module), row->module, layer,
                 (int)(second - first - 2), first + 2, expert, second + 2, suffix);
    return buffer;
}

size_t vise_config_slots(const vise_config *config)
{
    return VISE_ROLE_COUNT + VISE_EXPERT_ROLES * (size_t)(config->experts > 1 ? config->experts - 1 : 0);
}

size_t vise_config_slot(vise_role role, int expert)
{
    return (size_t)role + (role >= VISE_ROLE_EXPERT_GATE ? VISE_EXPERT_ROLES * (size_t)expert : 0);
}

size_t vise_config_inputs(const vise_config *config)
{
    return VISE_INPUT_COUNT + VISE_EXPERT_INPUTS * (size_t)(config->experts > 1 ? config->experts - 1 : 0);
}

size_t vise_config_input(vise_input input, int expert)
{
    return (size_t)input + (input >= VISE_INPUT_EXPERT ? VISE_EXPERT_INPUTS * (size_t)expert : 0);
}
