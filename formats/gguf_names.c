#include "formats/gguf_names.h"

#include <stdio.h>
#include <string.h>

#include "formats/names.h"

#define PLAIN VISE_GGUF_ROWS_PLAIN, 0
#define IN    "blk.%d."
#define OUT   "model.layers.%d."

#define OUTSIDE                                                                                              \
    {"token_embd", "model.embed_tokens", PLAIN}, {"output_norm", "model.norm", PLAIN},                       \
    {                                                                                                        \
        "output", "lm_head", PLAIN                                                                           \
    }
/* Qwen's rotary code takes the halves of a head, as transformers does: no rows move. */
#define ATTENTION(q_rows, k_rows)                                                                            \
    {IN "attn_norm", OUT "input_layernorm", PLAIN}, {IN "attn_q", OUT "self_attn.q_proj", q_rows, 0},        \
        {IN "attn_k", OUT "self_attn.k_proj", k_rows, 0}, {IN "attn_v", OUT "self_attn.v_proj", PLAIN},      \
    {                                                                                                        \
        IN "attn_output", OUT "self_attn.o_proj", PLAIN                                                      \
    }
#define QK_NORMS                                                                                             \
    {IN "attn_q_norm", OUT "self_attn.q_norm", PLAIN},                                                       \
    {                                                                                                        \
        IN "attn_k_norm", OUT "self_attn.k_norm", PLAIN                                                      \
    }
#define MLP                                                                                                  \
    {IN "ffn_gate", OUT "mlp.gate_proj", PLAIN}, {IN "ffn_up", OUT "mlp.up_proj", PLAIN},                    \
    {                                                                                                        \
        IN "ffn_down", OUT "mlp.down_proj", PLAIN                                                            \
    }
#define FFN_NORM                                                                                             \
    {                                                                                                        \
        IN "ffn_norm", OUT "post_attention_layernorm", PLAIN                                                 \
    }
#define STACK VISE_GGUF_ROWS_PLAIN, VISE_GGUF_STACKED
#define FLOAT VISE_GGUF_ROWS_PLAIN, VISE_GGUF_FLOAT

static const vise_gguf_module llama_modules[] = {
    OUTSIDE,
    ATTENTION(VISE_GGUF_ROWS_Q, VISE_GGUF_ROWS_KV),
    FFN_NORM,
    MLP,
};

/* Experts in the order in which the converter stacks them. */
static const vise_gguf_module mixtral_modules[] = {
    OUTSIDE,
    ATTENTION(VISE_GGUF_ROWS_Q, VISE_GGUF_ROWS_KV),
    FFN_NORM,
    {IN "ffn_gate_inp", OUT "block_sparse_moe.gate", FLOAT},
    {IN "ffn_gate_exps", OUT "block_sparse_moe.experts.%d.w1", STACK},
    {IN "ffn_down_exps", OUT "block_sparse_moe.experts.%d.w2", STACK},
    {IN "ffn_up_exps", OUT "block_sparse_moe.experts.%d.w3", STACK},
};

static const vise_gguf_module qwen_modules[] = {
    OUTSIDE,
    ATTENTION(VISE_GGUF_ROWS_PLAIN, VISE_GGUF_ROWS_PLAIN),
    QK_NORMS,
    FFN_NORM,
    MLP,
    {IN "ffn_gate_inp", OUT "mlp.gate", FLOAT},
    {IN "ffn_down_exps", OUT "mlp.experts.%d.down_proj", STACK},
    {IN "ffn_gate_exps", OUT "mlp.experts.%d.gate_proj", STACK},
    {IN "ffn_up_exps", OUT "mlp.experts.%d.up_proj", STACK},
    {IN "ffn_gate_inp_shexp", OUT "mlp.shared_expert_gate", FLOAT},
    {IN "ffn_gate_shexp", OUT "mlp.shared_expert.gate_proj", PLAIN},
    {IN "ffn_up_shexp", OUT "mlp.shared_expert.up_proj", PLAIN},
    {IN "ffn_down_shexp", OUT "mlp.shared_expert.down_proj", PLAIN},
};

static const vise_gguf_module phi3_modules[] = {
    OUTSIDE,
    {IN "attn_norm", OUT "input_layernorm", PLAIN},
    {IN "attn_qkv", OUT "self_attn.qkv_proj", PLAIN},
    {IN "attn_output", OUT "self_attn.o_proj", PLAIN},
    FFN_NORM,
    {IN "ffn_up", OUT "mlp.gate_up_proj", PLAIN},
    {IN "ffn_down", OUT "mlp.down_proj", PLAIN},
};

#define NORM VISE_GGUF_ROWS_PLAIN, VISE_GGUF_PLUS_ONE
#define GEMMA_ATTENTION                                                                                      \
    {"token_embd", "model.embed_tokens", VISE_GGUF_ROWS_PLAIN, VISE_GGUF_VOCAB},                             \
        {"output_norm", "model.norm", NORM}, {IN "attn_norm", OUT "input_layernorm", NORM},                  \
        {IN "attn_q", OUT "self_attn.q_proj", PLAIN}, {IN "attn_k", OUT "self_attn.k_proj", PLAIN},          \
        {IN "attn_v", OUT "self_attn.v_proj", PLAIN}, {IN "attn_output", OUT "self_attn.o_proj", PLAIN},     \
        {IN "attn_q_norm", OUT "self_attn.q_norm", NORM},                                                    \
    {                                                                                                        \
        IN "attn_k_norm", OUT "self_attn.k_norm", NORM                                                       \
    }

static const vise_gguf_module gemma_modules[] = {
    GEMMA_ATTENTION,
    {IN "ffn_norm", OUT "post_attention_layernorm", NORM},
    MLP,
};

static const vise_gguf_module gemma2_modules[] = {
    GEMMA_ATTENTION,
    {IN "post_attention_norm", OUT "post_attention_layernorm", NORM},
    {IN "ffn_norm", OUT "pre_feedforward_layernorm", NORM},
    {IN "post_ffw_norm", OUT "post_feedforward_layernorm", NORM},
    MLP,
    {"output", "lm_head", PLAIN},
};

#define H "transformer.h.%d."

static const vise_gguf_module gpt2_modules[] = {
    {"token_embd", "transformer.wte", PLAIN},
    {"position_embd", "transformer.wpe", FLOAT},
    {"output_norm", "transformer.ln_f", PLAIN},
    {"output", "lm_head", PLAIN},
    {IN "attn_norm", H "ln_1", PLAIN},
    {IN "attn_qkv", H "attn.c_attn", VISE_GGUF_ROWS_PLAIN, VISE_GGUF_TRANSPOSED},
    {IN "attn_output", H "attn.c_proj", VISE_GGUF_ROWS_PLAIN, VISE_GGUF_TRANSPOSED},
    {IN "ffn_norm", H "ln_2", PLAIN},
    {IN "ffn_up", H "mlp.c_fc", VISE_GGUF_ROWS_PLAIN, VISE_GGUF_TRANSPOSED},
    {IN "ffn_down", H "mlp.c_proj", VISE_GGUF_ROWS_PLAIN, VISE_GGUF_TRANSPOSED},
};

#define FUSED VISE_GGUF_ROWS_QKV, 0
#define NEOX  "gpt_neox.layers.%d."

static const vise_gguf_module gpt_neox_modules[] = {
    {"token_embd", "gpt_neox.embed_in", PLAIN},
    {"output_norm", "gpt_neox.final_layer_norm", PLAIN},
    {"output", "embed_out", PLAIN},
    {IN "attn_norm", NEOX "input_layernorm", PLAIN},
    {IN "attn_qkv", NEOX "attention.query_key_value", FUSED},
    {IN "attn_output", NEOX "attention.dense", PLAIN},
    {IN "ffn_norm", NEOX "post_attention_layernorm", PLAIN},
    {IN "ffn_up", NEOX "mlp.dense_h_to_4h", PLAIN},
    {IN "ffn_down", NEOX "mlp.dense_4h_to_h", PLAIN},
};

#define BLOOM                                                                                                \
    {"token_embd", "transformer.word_embeddings", PLAIN},                                                    \
        {"token_embd_norm", "transformer.word_embeddings_layernorm", PLAIN},                                 \
        {"output_norm", "transformer.ln_f", PLAIN}, {"output", "lm_head", PLAIN},                            \
        {IN "attn_qkv", H "self_attention.query_key_value", FUSED},                                          \
        {IN "attn_output", H "self_attention.dense", PLAIN},                                                 \
        {IN "ffn_norm", H "post_attention_layernorm", PLAIN}, {IN "ffn_up", H "mlp.dense_h_to_4h", PLAIN},   \
    {                                                                                                        \
        IN "ffn_down", H "mlp.dense_4h_to_h", PLAIN                                                          \
    }
#define ONE_NORM                                                                                             \
    {                                                                                                        \
        IN "attn_norm", H "input_layernorm", PLAIN                                                           \
    }
/* ln_mlp is the first of Falcon's two norms to llama.cpp. */
#define TWO_NORMS                                                                                            \
    {IN "attn_norm", H "ln_mlp", PLAIN},                                                                     \
    {                                                                                                        \
        IN "attn_norm_2", H "ln_attn", PLAIN                                                                 \
    }

/* Where a name has two, the first is what it becomes. */
static const vise_gguf_module bloom_modules[] = {BLOOM, ONE_NORM, TWO_NORMS};
static const vise_gguf_module falcon_modules[] = {BLOOM, TWO_NORMS};

#define ENCODER(root)                                                                                        \
    {"token_embd", root "embeddings.word_embeddings", PLAIN},                                                \
        {"position_embd", root "embeddings.position_embeddings", VISE_GGUF_ROWS_PLAIN,                       \
         VISE_GGUF_FLOAT | VISE_GGUF_POSITIONS},                                                             \
        {"token_types", root "embeddings.token_type_embeddings", FLOAT},                                     \
    {                                                                                                        \
        "token_embd_norm", root "embeddings.LayerNorm", PLAIN                                                \
    }
#define BERT(root) root "encoder.layer.%d."
#define BERT_LAYER(root)                                                                                     \
    ENCODER(root), {IN "attn_q", BERT(root) "attention.self.query", PLAIN},                                  \
        {IN "attn_k", BERT(root) "attention.self.key", PLAIN},                                               \
        {IN "attn_v", BERT(root) "attention.self.value", PLAIN},                                             \
        {IN "attn_output", BERT(root) "attention.output.dense", PLAIN},                                      \
        {IN "attn_output_norm", BERT(root) "attention.output.LayerNorm", PLAIN},                             \
        {IN "ffn_up", BERT(root) "intermediate.dense", PLAIN},                                               \
        {IN "ffn_down", BERT(root) "output.dense", PLAIN},                                                   \
    {                                                                                                        \
        IN "layer_output_norm", BERT(root) "output.LayerNorm", PLAIN                                         \
    }

static const vise_gguf_module bert_modules[] = {
    BERT_LAYER("bert."),
    {"cls.output", "classifier", PLAIN},
};

/* RoBERTa's files have positions from 0, as BERT's, and of them BERT's pooler as the first layer of the classifier. */
static const vise_gguf_module roberta_as_bert_modules[] = {
    BERT_LAYER("bert."),
    {"cls", "bert.pooler.dense", PLAIN},
    {"cls.output", "classifier", PLAIN},
};

static const vise_gguf_module roberta_modules[] = {
    BERT_LAYER("roberta."),
    {"cls", "classifier.dense", PLAIN},
    {"cls.output", "classifier.out_proj", PLAIN},
};

#define DISTIL "distilbert.transformer.layer.%d."

static const vise_gguf_module distilbert_modules[] = {
    ENCODER("distilbert."),
    {IN "attn_q", DISTIL "attention.q_lin", PLAIN},
    {IN "attn_k", DISTIL "attention.k_lin", PLAIN},
    {IN "attn_v", DISTIL "attention.v_lin", PLAIN},
    {IN "attn_output", DISTIL "attention.out_lin", PLAIN},
    {IN "attn_output_norm", DISTIL "sa_layer_norm", PLAIN},
    {IN "ffn_up", DISTIL "ffn.lin1", PLAIN},
    {IN "ffn_down", DISTIL "ffn.lin2", PLAIN},
    {IN "layer_output_norm", DISTIL "output_layer_norm", PLAIN},
    {"cls", "pre_classifier", PLAIN},
    {"cls.output", "classifier", PLAIN},
};

/* ---- keys, in the converter's order -------------------------------------------------------------------- */

#define K(name) VISE_GGUF_KEY_##name
#define COMMON                                                                                               \
    K(BLOCKS), K(CONTEXT), K(EMBEDDING), K(FFN), K(HEADS), K(KV_HEADS), K(ROPE_SCALING), K(ROPE_SECTIONS),   \
        K(ROPE_BASE), K(ROPE_BASE_LOCAL), K(RMS_EPS), K(EXPERTS), K(EXPERTS_USED)

static const vise_gguf_key llama_keys[] = {COMMON, K(HEAD_DIM), K(FILE_TYPE), K(VOCAB), K(ROPE_DIM), K(END)};
static const vise_gguf_key mixtral_keys[] = {COMMON,   K(HEAD_DIM_STORED), K(FILE_TYPE),
                                             K(VOCAB), K(ROPE_DIM),        K(END)};
static const vise_gguf_key qwen2_keys[] = {COMMON, K(HEAD_DIM_STORED), K(FILE_TYPE), K(POOLING), K(END)};
static const vise_gguf_key qwen2_vl_keys[] = {COMMON, K(HEAD_DIM_STORED), K(FILE_TYPE), K(END)};
static const vise_gguf_key qwen3_keys[] = {COMMON, K(HEAD_DIM), K(FILE_TYPE), K(POOLING), K(END)};
static const vise_gguf_key qwen2_moe_keys[] = {COMMON,        K(HEAD_DIM_STORED), K(FILE_TYPE),
                                               K(EXPERT_FFN), K(SHARED_FFN),      K(END)};
static const vise_gguf_key qwen3_moe_keys[] = {COMMON, K(HEAD_DIM), K(FILE_TYPE), K(EXPERT_FFN), K(END)};
static const vise_gguf_key phi3_keys[] = {
    K(CONTEXT), K(ROPE_CONTEXT), K(EMBEDDING), K(FFN),       K(BLOCKS),         K(HEADS), K(KV_HEADS),
    K(RMS_EPS), K(ROPE_DIM),     K(ROPE_BASE), K(FILE_TYPE), K(WINDOW_OR_ZERO), K(END)};
#define GEMMA                                                                                                \
    K(CONTEXT), K(EMBEDDING), K(BLOCKS), K(FFN), K(HEADS), K(KV_HEADS), K(RMS_EPS), K(HEAD_DIM), K(FILE_TYPE)
static const vise_gguf_key gemma_keys[] = {GEMMA, K(END)};
static const vise_gguf_key gemma2_keys[] = {GEMMA, K(ATTENTION_CAP), K(LOGIT_CAP), K(WINDOW), K(END)};
static const vise_gguf_key gemma3_keys[] = {COMMON,       K(HEAD_DIM), K(FILE_TYPE),
                                            K(LOGIT_CAP), K(WINDOW),   K(END)};
static const vise_gguf_key gpt2_keys[] = {K(BLOCKS), K(CONTEXT),  K(EMBEDDING), K(FFN),
                                          K(HEADS),  K(NORM_EPS), K(FILE_TYPE), K(END)};
static const vise_gguf_key gpt_neox_keys[] = {K(CONTEXT), K(EMBEDDING), K(BLOCKS),   K(FFN), K(ROPE_DIM),
                                              K(HEADS),   K(PARALLEL),  K(NORM_EPS), K(END)};
static const vise_gguf_key bloom_keys[] = {K(CONTEXT),  K(EMBEDDING), K(FFN),       K(BLOCKS), K(HEADS),
                                           K(KV_HEADS), K(NORM_EPS),  K(FILE_TYPE), K(END)};
static const vise_gguf_key falcon_keys[] = {K(CONTEXT), K(LAYOUT),   K(EMBEDDING), K(FFN),       K(BLOCKS),
                                            K(HEADS),   K(KV_HEADS), K(NORM_EPS),  K(FILE_TYPE), K(END)};
#define ENCODER_KEYS                                                                                         \
    K(BLOCKS), K(CONTEXT), K(EMBEDDING), K(FFN), K(HEADS), K(NORM_EPS), K(FILE_TYPE), K(CAUSAL), K(POOLING), \
        K(LABELS), K(END)
static const vise_gguf_key bert_keys[] = {ENCODER_KEYS};
/* The first of two places is the one that counts. */
static const vise_gguf_key distilbert_keys[] = {K(NORM_EPS), K(BLOCKS), K(CONTEXT),   K(EMBEDDING),
                                                K(FFN),      K(HEADS),  K(FILE_TYPE), K(CAUSAL),
                                                K(POOLING),  K(LABELS), K(END)};

/* ---- families ------------------------------------------------------------------------------------------ */

#define MODULES(table) .modules = table, .n_modules = sizeof table / sizeof *table

/* Where several families share an architecture, the first is what a file of it becomes. */
static const vise_gguf_family families[] = {
    {.architecture = "llama",
     .model_type = "llama",
     .class_name = "LlamaForCausalLM",
     MODULES(llama_modules),
     .keys = llama_keys,
     .vocab = VISE_GGUF_VOCAB_LLAMA,
     .readable = true,
     .rope_freqs = true},
    {.architecture = "llama",
     .model_type = "mistral",
     .class_name = "MistralForCausalLM",
     MODULES(llama_modules),
     .keys = llama_keys,
     .vocab = VISE_GGUF_VOCAB_LLAMA,
     .rope_freqs = true},
    {.architecture = "llama",
     .model_type = "mixtral",
     .readable = true,
     .class_name = "MixtralForCausalLM",
     MODULES(mixtral_modules),
     .keys = mixtral_keys,
     .vocab = VISE_GGUF_VOCAB_LLAMA,
     .rope_freqs = true},
    {.architecture = "mistral3",
     .model_type = "mistral3",
     .class_name = "Mistral3ForConditionalGeneration",
     .prefix = "model.",
     .within = true,
     MODULES(llama_modules),
     .dropped = {"vision_tower.", "multi_modal_projector."},
     .keys = llama_keys,
     .vocab = VISE_GGUF_VOCAB_LLAMA,
     .rope_freqs = true},
    {.architecture = "mistral3", /* what its files hold, the text part, is a Mistral */
     .model_type = "mistral",
     .readable = true,
     .class_name = "MistralForCausalLM",
     MODULES(llama_modules),
     .keys = llama_keys,
     .vocab = VISE_GGUF_VOCAB_LLAMA},
    {.architecture = "smollm3",
     .model_type = "smollm3",
     .readable = true,
     .class_name = "SmolLM3ForCausalLM",
     MODULES(llama_modules),
     .keys = mixtral_keys,
     .vocab = VISE_GGUF_VOCAB_LLAMA,
     .rope_freqs = true},
    {.architecture = "qwen2",
     .model_type = "qwen2",
     .class_name = "Qwen2ForCausalLM",
     .has_qkv_bias = true,
     MODULES(qwen_modules),
     .keys = qwen2_keys,
     .vocab = VISE_GGUF_VOCAB_PIECES,
     .readable = true},
    {.architecture = "qwen2vl",
     .model_type = "qwen2_vl",
     .class_name = "Qwen2VLForConditionalGeneration",
     .has_qkv_bias = true,
     .prefix = "model.",
     .within = true,
     MODULES(qwen_modules),
     .dropped = {"visual."},
     .keys = qwen2_vl_keys,
     .vocab = VISE_GGUF_VOCAB_PIECES},
    {.architecture = "qwen2vl",
     .model_type = "qwen2_5_vl",
     .class_name = "Qwen2_5_VLForConditionalGeneration",
     .has_qkv_bias = true,
     .prefix = "model.",
     .within = true,
     MODULES(qwen_modules),
     .dropped = {"visual."},
     .keys = qwen2_vl_keys,
     .vocab = VISE_GGUF_VOCAB_PIECES},
    {.architecture = "qwen2vl", /* likewise a Qwen2: positions of a text are the same in all sections */
     .model_type = "qwen2",
     .readable = true,
     .class_name = "Qwen2ForCausalLM",
     .has_qkv_bias = true,
     MODULES(qwen_modules),
     .keys = qwen2_vl_keys,
     .vocab = VISE_GGUF_VOCAB_PIECES},
    {.architecture = "qwen3",
     .model_type = "qwen3",
     .class_name = "Qwen3ForCausalLM",
     MODULES(qwen_modules),
     .keys = qwen3_keys,
     .vocab = VISE_GGUF_VOCAB_PIECES,
     .readable = true},
    {.architecture = "qwen2moe",
     .model_type = "qwen2_moe",
     .readable = true,
     .class_name = "Qwen2MoeForCausalLM",
     MODULES(qwen_modules),
     .keys = qwen2_moe_keys,
     .vocab = VISE_GGUF_VOCAB_BYTES},
    {.architecture = "qwen3moe",
     .model_type = "qwen3_moe",
     .readable = true,
     .class_name = "Qwen3MoeForCausalLM",
     MODULES(qwen_modules),
     .keys = qwen3_moe_keys,
     .vocab = VISE_GGUF_VOCAB_BYTES},
    {.architecture = "phi3",
     .model_type = "phi3",
     .readable = true,
     .class_name = "Phi3ForCausalLM",
     MODULES(phi3_modules),
     .keys = phi3_keys,
     .vocab = VISE_GGUF_VOCAB_PHI3,
     .rope_factors = true},
    {.architecture = "gemma",
     .model_type = "gemma",
     .readable = true,
     .class_name = "GemmaForCausalLM",
     MODULES(gemma_modules),
     .dropped = {"lm_head."},
     .keys = gemma_keys,
     .vocab = VISE_GGUF_VOCAB_GEMMA},
    {.architecture = "gemma2",
     .model_type = "gemma2",
     .readable = true,
     .class_name = "Gemma2ForCausalLM",
     MODULES(gemma2_modules),
     .dropped = {"lm_head."},
     .keys = gemma2_keys,
     .vocab = VISE_GGUF_VOCAB_GEMMA},
    {.architecture = "gemma3",
     .model_type = "gemma3_text",
     .readable = true,
     .class_name = "Gemma3ForCausalLM",
     MODULES(gemma2_modules),
     .keys = gemma3_keys,
     .vocab = VISE_GGUF_VOCAB_GEMMA},
    {.architecture = "gemma3",
     .model_type = "gemma3",
     .class_name = "Gemma3ForConditionalGeneration",
     .prefix = "model.",
     .within = true,
     MODULES(gemma2_modules),
     .dropped = {"vision_tower.", "multi_modal_projector."},
     .keys = gemma3_keys,
     .vocab = VISE_GGUF_VOCAB_GEMMA},
    {.architecture = "gpt2",
     .model_type = "gpt2",
     .readable = true,
     .transposed = true,
     .class_name = "GPT2LMHeadModel",
     .prefix = "transformer.",
     MODULES(gpt2_modules),
     .keys = gpt2_keys,
     .vocab = VISE_GGUF_VOCAB_BYTES},
    {.architecture = "gptneox",
     .model_type = "gpt_neox",
     .readable = true,
     .class_name = "GPTNeoXForCausalLM",
     .prefix = "gpt_neox.",
     MODULES(gpt_neox_modules),
     .keys = gpt_neox_keys,
     .vocab = VISE_GGUF_VOCAB_BYTES},
    {.architecture = "bloom",
     .model_type = "bloom",
     .readable = true,
     .class_name = "BloomForCausalLM",
     .prefix = "transformer.",
     MODULES(bloom_modules),
     .keys = bloom_keys,
     .vocab = VISE_GGUF_VOCAB_BYTES},
    {.architecture = "falcon",
     .model_type = "falcon",
     .readable = true,
     .class_name = "FalconForCausalLM",
     .prefix = "transformer.",
     MODULES(bloom_modules),
     .keys = falcon_keys,
     .vocab = VISE_GGUF_VOCAB_BYTES},
    {.architecture = "falcon",
     .model_type = "falcon",
     .readable = true,
     .told_by = {"blk.0.attn_norm_2.weight"},
     .class_name = "FalconForCausalLM",
     .prefix = "transformer.",
     MODULES(falcon_modules),
     .keys = falcon_keys,
     .vocab = VISE_GGUF_VOCAB_BYTES},
    {.architecture = "bert",
     .model_type = "bert",
     .readable = true,
     .class_name = "BertModel",
     .prefix = "bert.",
     MODULES(bert_modules),
     .dropped = {"pooler.dense.", "cls.predictions.", "cls.seq_relationship."},
     .keys = bert_keys,
     .vocab = VISE_GGUF_VOCAB_WORDS},
    {.architecture = "bert",
     .model_type = "roberta",
     .class_name = "RobertaModel",
     .prefix = "roberta.",
     MODULES(roberta_modules),
     .dropped = {"pooler.dense.", "lm_head."},
     .keys = bert_keys,
     .vocab = VISE_GGUF_VOCAB_ROBERTA},
    {.architecture = "bert",
     .model_type = "xlm-roberta",
     .class_name = "XLMRobertaModel",
     .prefix = "roberta.",
     MODULES(roberta_modules),
     .dropped = {"pooler.dense.", "lm_head."},
     .keys = bert_keys,
     .vocab = VISE_GGUF_VOCAB_UNIGRAM},
    {.architecture = "bert",
     .model_type = "bert",
     .readable = true,
     .told_by = {"cls.weight", "cls.output.weight"},
     .class_name = "BertModel",
     .classifier_name = "BertForSequenceClassification",
     .prefix = "bert.",
     MODULES(roberta_as_bert_modules),
     .keys = bert_keys,
     .vocab = VISE_GGUF_VOCAB_ROBERTA},
    {.architecture = "bert",
     .model_type = "distilbert",
     .readable = true,
     .lacks = "token_types.weight",
     .class_name = "DistilBertModel",
     .classifier_name = "DistilBertForSequenceClassification",
     .prefix = "distilbert.",
     MODULES(distilbert_modules),
     .dropped = {"vocab_"},
     .keys = distilbert_keys,
     .vocab = VISE_GGUF_VOCAB_WORDS},
};
enum { FAMILIES = sizeof families / sizeof *families };

const vise_gguf_family *vise_gguf_family_of(const char *architecture)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (families[i].readable && strcmp(families[i].architecture, architecture) == 0)
            return &families[i];
    return NULL;
}

const vise_gguf_family *vise_gguf_families(size_t *count)
{
    *count = FAMILIES;
    return families;
}

const vise_gguf_family *vise_gguf_family_of_model(const char *model_type)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].model_type, model_type) == 0)
            return &families[i];
    return NULL;
}

/* ---- names --------------------------------------------------------------------------------------------- */

/* Does name[0..length) match the pattern? Its numbers go to number[], -1 where the pattern has none. */
static bool matches(const char *pattern, const char *name, size_t length, int number[2])
{
    size_t at = 0;
    int found = 0;
    number[0] = number[1] = -1;
    while (*pattern != '\0') {
        if (pattern[0] != '%') {
            if (at >= length || name[at] != *pattern)
                return false;
            at++, pattern++;
            continue;
        }
        const size_t start = at;
        int value = 0;
        for (; at < length && at - start < 5 && name[at] >= '0' && name[at] <= '9'; at++)
            value = 10 * value + (name[at] - '0');
        if (at == start || (name[start] == '0' && at - start > 1) || found == 2)
            return false;
        number[found++] = value;
        pattern += 2; /* "%d" */
    }
    return at == length;
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

const vise_gguf_module *vise_gguf_name_to_hf(const vise_gguf_family *family, const char *gguf, int expert,
                                             char name[VISE_GGUF_MODULE_MAX])
{
    const char *suffix = strrchr(gguf, '.');
    if (suffix == NULL || (strcmp(suffix, ".weight") != 0 && strcmp(suffix, ".bias") != 0))
        return NULL;
    for (size_t i = 0; i < family->n_modules; i++) {
        const vise_gguf_module *module = &family->modules[i];
        const bool stacked = (module->how & VISE_GGUF_STACKED) != 0;
        char pattern[VISE_GGUF_MODULE_MAX];
        int number[2];
        if (!matches(module->gguf, gguf, (size_t)(suffix - gguf), number) || (stacked && expert < 0))
            continue;
        spell(module->hf, number[0], suffix, name);
        if (stacked) { /* the second number */
            memcpy(pattern, name, sizeof pattern);
            spell(pattern, expert, "", name);
        }
        return module;
    }
    return NULL;
}

/* Masks and tables that old files hold and that code makes. */
static bool is_buffer(const char *name)
{
    static const char *const ends[] = {".attn.bias", ".attn.masked_bias", ".attention.bias",
                                       ".attention.masked_bias", ".rotary_emb.inv_freq", "embeddings.position_ids"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (vise_ends_with(name, ends[i]))
            return true;
    return false;
}

vise_gguf_named vise_gguf_name_from_hf(const vise_gguf_family *family, const char *hf,
                                       char name[VISE_GGUF_MODULE_MAX])
{
    static const char within[] = "language_model.";
    vise_gguf_named found = {.layer = -1, .expert = -1};
    char inside[VISE_GGUF_MODULE_MAX];
    const char *mark = family->within ? strstr(hf, within) : NULL;
    if (mark != NULL) {
        snprintf(inside, sizeof inside, "%.*s%s", (int)(mark - hf), hf, mark + sizeof within - 1);
        hf = inside;
    }
    const size_t prefix = family->prefix != NULL ? strlen(family->prefix) : 0;
    const bool has_prefix = prefix > 0 && strncmp(hf, family->prefix, prefix) == 0;
    const char *behind = has_prefix ? hf + prefix : hf, *suffix = strrchr(hf, '.');
    for (size_t i = 0; i < VISE_GGUF_DROPPED && family->dropped[i] != NULL; i++)
        if (found.dropped == NULL && vise_starts_with(behind, family->dropped[i]))
            found.dropped = family->dropped[i];
    if (is_buffer(hf))
        found.dropped = "";
    if (found.dropped != NULL || suffix == NULL || (strcmp(suffix, ".weight") != 0 && strcmp(suffix, ".bias") != 0))
        return found;
    for (size_t i = 0; i < family->n_modules && found.module == NULL; i++) {
        const vise_gguf_module *module = &family->modules[i];
        const bool rooted = prefix > 0 && strncmp(module->hf, family->prefix, prefix) == 0;
        int number[2];
        if (rooted ? matches(module->hf + prefix, behind, (size_t)(suffix - behind), number)
                   : matches(module->hf, hf, (size_t)(suffix - hf), number)) {
            spell(module->gguf, number[0], suffix, name);
            found.module = module;
            found.layer = number[0];
            found.expert = number[1];
        }
    }
    return found;
}
