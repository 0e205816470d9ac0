/* Architectures are data. A family is one constant table of rows, one row per role: where the weight is called
 * what on disk, its shape in terms of the configuration, which input it shares with others, what may be done with
 * it; and a reader of config.json that says which norms, positions and activations stand around the linears. One
 * executor (model/layer*.c) runs what they say. Code asks for roles and never searches in names.
 *
 * Adding a family is one table (arch_<family>.c), one line in arch.c and a test; docs/architecture.md says how.
 */
#ifndef VISE_MODEL_ARCH_H
#define VISE_MODEL_ARCH_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"
#include "core/err.h"

typedef enum vise_role {
    VISE_ROLE_EMBEDDING,
    VISE_ROLE_HEAD,
    VISE_ROLE_FINAL_NORM,
    VISE_ROLE_ATTENTION_NORM,
    VISE_ROLE_Q,
    VISE_ROLE_K,
    VISE_ROLE_V,
    VISE_ROLE_QKV, /* q, k and v in one matrix: vise_config.qkv says in which order */
    VISE_ROLE_Q_NORM,
    VISE_ROLE_K_NORM,
    VISE_ROLE_O,
    VISE_ROLE_ATTENTION_POST_NORM, /* of what attention adds */
    VISE_ROLE_MLP_NORM,
    VISE_ROLE_GATE,
    VISE_ROLE_UP,
    VISE_ROLE_GATE_UP, /* the rows of gate, then those of up */
    VISE_ROLE_DOWN,
    VISE_ROLE_MLP_POST_NORM,
    VISE_ROLE_POSITION_EMBEDDING,
    VISE_ROLE_TYPE_EMBEDDING, /* of token types; a text is of type 0 */
    VISE_ROLE_EMBEDDING_NORM,
    VISE_ROLE_EMBEDDING_PROJECTION, /* from the embedding's width to the blocks' */
    VISE_ROLE_HEAD_DENSE, /* in front of the head: BERT's transform or pooler, a projection to the embedding's width */
    VISE_ROLE_HEAD_NORM,
    VISE_ROLE_HEAD_BIAS, /* a head's bias where it is a tensor of its own */
    VISE_ROLE_ROUTER,
    VISE_ROLE_SHARED_ROUTER,
    VISE_ROLE_SHARED_GATE, /* the expert that every token passes */
    VISE_ROLE_SHARED_UP,
    VISE_ROLE_SHARED_DOWN,
    VISE_ROLE_EXPERT_GATE, /* one per expert; these three come last */
    VISE_ROLE_EXPERT_UP,
    VISE_ROLE_EXPERT_DOWN,
    VISE_ROLE_COUNT,
    VISE_ROLE_UNKNOWN = VISE_ROLE_COUNT /* carried over unchanged */
} vise_role;

enum { VISE_EXPERT_ROLES = VISE_ROLE_COUNT - VISE_ROLE_EXPERT_GATE };

/* "q_proj": what `role:NAME` selects and reports print. */
const char *vise_role_name(vise_role role);
bool vise_role_from_name(const char *name, vise_role *out);
/* A Linear to loaders, which no pass takes for one unless it is named. */
bool vise_role_is_router(vise_role role);
/* What stands behind the blocks: final norm, head and what belongs to it. */
bool vise_role_after_blocks(vise_role role);

/* The inputs that linears of a block read; linears with one input share one set of statistics. In forward order. An
 * expert's inputs are those of the tokens that are routed to it. */
typedef enum vise_input {
    VISE_INPUT_ATTENTION, /* q, k, v */
    VISE_INPUT_O,
    VISE_INPUT_MLP, /* gate, up; router, gate and up of the shared expert */
    VISE_INPUT_DOWN,
    VISE_INPUT_SHARED_DOWN,
    VISE_INPUT_EXPERT, /* gate and up of an expert; these two come last */
    VISE_INPUT_EXPERT_DOWN,
    VISE_INPUT_COUNT,
    VISE_INPUT_NONE = VISE_INPUT_COUNT
} vise_input;

enum { VISE_EXPERT_INPUTS = VISE_INPUT_COUNT - VISE_INPUT_EXPERT };

/* Dimensions of the configuration that shapes are told in. */
typedef enum vise_dim {
    VISE_DIM_ONE,
    VISE_DIM_HIDDEN,
    VISE_DIM_EMBED, /* of the embedding and of what the head multiplies */
    VISE_DIM_FFN,
    VISE_DIM_GATE_UP, /* 2 ffn */
    VISE_DIM_Q,
    VISE_DIM_KV,
    VISE_DIM_QKV, /* q + 2 kv */
    VISE_DIM_HEAD,
    VISE_DIM_VOCAB,
    VISE_DIM_POSITIONS, /* rows of a learned table, those in front of position 0 included */
    VISE_DIM_TYPES,
    VISE_DIM_LABELS,
    VISE_DIM_EXPERTS,
    VISE_DIM_EXPERT_FFN,
    VISE_DIM_SHARED_FFN
} vise_dim;

/* When a row's module has a bias. */
typedef enum vise_bias {
    VISE_BIAS_NONE,
    VISE_BIAS_ALWAYS,
    VISE_BIAS_STORED,    /* when the file has one */
    VISE_BIAS_ATTENTION, /* config.attention_bias */
    VISE_BIAS_MLP        /* config.mlp_bias */
} vise_bias;

/* What a configuration has; a row stands only where all traits in its `when` are there. */
enum {
    VISE_TRAIT_SPARSE = 1 << 0, /* this layer has experts (told layer by layer) */
    VISE_TRAIT_DENSE = 1 << 1,  /* this layer has none */
    VISE_TRAIT_LM = 1 << 2,     /* the head's kind */
    VISE_TRAIT_CLASSIFIER = 1 << 3,
    VISE_TRAIT_FINAL_NORM = 1 << 4,
    VISE_TRAIT_ONE_NORM = 1 << 5,  /* a parallel block whose halves read one norm */
    VISE_TRAIT_TWO_NORMS = 1 << 6, /* ... or one each */
    VISE_TRAIT_SERIAL = 1 << 7,    /* a block whose halves follow each other */
    VISE_TRAIT_PROJECTED = 1 << 8  /* the embedding has a width of its own */
};

/* How a row's tensor is stored. */
enum {
    VISE_ROW_TRANSPOSED = 1 << 0, /* [in, out]: GPT-2's Conv1D */
    VISE_ROW_BARE = 1 << 1,       /* the module's name is the tensor's: no ".weight" */
    VISE_ROW_MATRIX = 1 << 2      /* [1, n] is a matrix of one row, not a vector */
};

typedef struct vise_arch_row {
    vise_role role;
    const char *module;  /* "model.layers.%d.self_attn.q_proj" (a second %d: expert); the tensor is module.weight */
    vise_dim rows, cols; /* of the logical matrix [out, in]; vectors are [1, n] */
    vise_input input;    /* linears inside blocks; else VISE_INPUT_NONE */
    bool linear;         /* a Linear: pruned and quantized by default when inside a block */
    vise_bias bias;
    unsigned when; /* VISE_TRAIT_*; 0: always */
    unsigned how;  /* VISE_ROW_* */
} vise_arch_row;

/* ---- the configuration ----------------------------------------------------------------------------- */

typedef enum vise_norm { VISE_NORM_RMS, VISE_NORM_RMS_OFFSET /* weight + 1 */, VISE_NORM_LAYER } vise_norm;

/* How attention and MLP meet the residual stream. */
typedef enum vise_residual {
    VISE_RESIDUAL_SERIAL,   /* x += post(attention(norm(x))), then x += post(mlp(norm(x))); absent norms pass */
    VISE_RESIDUAL_PARALLEL, /* x += attention(norm(x)) + mlp(norm'(x)) */
    VISE_RESIDUAL_POST      /* x = norm(x + attention(x)), then x = norm'(x + mlp(x)) */
} vise_residual;

typedef enum vise_position {
    VISE_POSITION_ROTARY,
    VISE_POSITION_LEARNED,
    VISE_POSITION_ALIBI
} vise_position;

/* The order of rows in a fused q, k, v. */
typedef enum vise_qkv {
    VISE_QKV_BLOCKS, /* q of all heads, k of all heads, v of all heads */
    VISE_QKV_GROUPS  /* for each key-value head: its q heads, k, v */
} vise_qkv;

typedef enum vise_head_kind {
    VISE_HEAD_LM,         /* logits of every token */
    VISE_HEAD_CLASSIFIER, /* logits of the text: an encoder's from its first token, a decoder's from its last */
    VISE_HEAD_NONE        /* embeddings */
} vise_head_kind;

typedef enum vise_rope_kind {
    VISE_ROPE_DEFAULT,
    VISE_ROPE_LINEAR,
    VISE_ROPE_DYNAMIC,
    VISE_ROPE_YARN,
    VISE_ROPE_LLAMA3,
    VISE_ROPE_LONGROPE
} vise_rope_kind;

/* Rotary positions; what each kind reads is in model/rope.c. */
typedef struct vise_rope {
    vise_rope_kind kind;
    double theta;
    double factor;           /* 0: not given */
    double attention_factor; /* of cos and sin; 0: by the kind's rule */
    double low, high;        /* llama3: frequency factors; yarn: beta_slow, beta_fast */
    double mscale, mscale_all;
    int64_t original; /* positions of the original context */
    bool truncate;
    const cJSON *short_factor, *long_factor; /* longrope: [rotary / 2], borrowed from the JSON */
} vise_rope;

#define VISE_CONFIG_LAYERS_MAX 4096

/* What is particular about a layer. */
enum {
    VISE_LAYER_SLIDING = 1 << 0,   /* attention within config.window */
    VISE_LAYER_NO_ROTARY = 1 << 1, /* queries and keys are not rotated */
    VISE_LAYER_LOCAL_ROPE = 1 << 2, /* rotated by config.local_rope */
    VISE_LAYER_SPARSE = 1 << 3     /* experts */
};

/* The numbers of config.json, defaults filled in as the family has them. Zeros are Llama's ways. */
typedef struct vise_config {
    int64_t hidden, ffn, layers, heads, kv_heads, head_dim, vocab, max_positions;
    double norm_eps;
    bool tied;           /* tie_word_embeddings; whether the head is the embedding is vise_model's to say */
    bool attention_bias; /* q, k, v and o have biases */
    bool mlp_bias;       /* gate, up and down have biases */
    int32_t bos;         /* -1: none */
    int32_t pad;         /* what a decoder's classifier takes for no token of the text; -1: none */
    const char *dtype;   /* config's (torch_)dtype, or NULL; borrowed from the JSON */

    unsigned traits; /* VISE_TRAIT_*, those that do not differ by layer */
    vise_norm norm;
    vise_residual residual;
    vise_position position;
    vise_nonlinearity activation; /* of the MLP */
    bool bidirectional;       /* an encoder: a token sees all tokens */

    vise_qkv qkv;
    int64_t window;         /* of sliding layers */
    double attention_scale; /* 0: 1 / sqrt(head_dim) */
    bool scale_by_layer;    /* the scale is divided by layer + 1 */
    double attention_cap;   /* scores become cap tanh(score / cap); 0: none */
    double logit_cap;
    bool alibi_in_bf16; /* slopes and biases are rounded to bfloat16 and scaled like scores */

    vise_rope rope, local_rope;
    int64_t rotary; /* first dimensions of a head that are rotated; 0: all */

    int64_t position_offset, types;
    double embedding_scale; /* 0: 1 */
    int64_t embed;          /* width of the embedding; 0: hidden */

    int64_t experts, experts_per_token, expert_ffn, shared_ffn;
    bool experts_renormalize; /* weights of a token's experts sum to 1 */

    vise_head_kind head;
    int64_t labels;
    vise_nonlinearity head_activation; /* behind HEAD_DENSE */

    uint8_t layer[VISE_CONFIG_LAYERS_MAX]; /* VISE_LAYER_* */
} vise_config;

/* A class of transformers. */
typedef struct vise_arch_class {
    const char *name; /* "BertForMaskedLM"; NULL: no more */
    vise_head_kind head;
} vise_arch_class;

/* Experts' matrices in one tensor [experts, rows of all parts, cols]: what transformers 5 has in memory, and saves when
 * it is told to keep it so. They are read as the matrices of the rows, under the rows' names, and written so. A part
 * that is no expert's stands alone, [rows, cols]: it only has another name there. */
typedef struct vise_arch_fused {
    const char *tensor; /* "model.layers.%d.mlp.experts.gate_up_proj" */
    vise_role part[2];  /* in this order within an expert */
    int parts;
} vise_arch_fused;

#define VISE_ARCH_CLASSES_MAX   4
#define VISE_ARCH_SPELLINGS_MAX 3

typedef struct vise_arch {
    const char *model_type; /* config.json's model_type */
    const char *summary;
    /* Of the rows' names, and what a file may have in its place: "" for that of the bare model. A name in front of the
     * prefix ("language_model.model.") is one that the head may have too. NULL: none. */
    const char *prefix, *spelling[VISE_ARCH_SPELLINGS_MAX];
    /* For a model that holds one of text among others: the member of config.json with the text's configuration (the
     * whole object where it is not there), whose model_type is text_type, and the prefix within the class. Everything
     * without a row belongs to the others and is carried over. */
    const char *text, *text_type, *class_prefix;
    const vise_arch_row *rows;
    size_t n_rows;
    const vise_arch_fused *fused;
    size_t n_fused;
    /* Reads and checks config.json (path for errors), whose head config->head says: VISE_EFORMAT for missing keys,
     * negative, huge or fractional numbers and numbers that contradict each other; VISE_EUNSUPPORTED for variants
     * that the forward pass does not know. Keys as transformers 4 and 5 write them. */
    vise_status (*configure)(const char *path, const cJSON *json, vise_config *config, vise_error *err);
    /* The classes with a forward pass; when config.json names none, it is the first. */
    vise_arch_class classes[VISE_ARCH_CLASSES_MAX];
} vise_arch;

const vise_arch *vise_architectures(size_t *count);
const vise_arch *vise_arch_find(const char *model_type); /* NULL: unknown */
/* The class of that name; the first one for NULL; NULL: none. */
const vise_arch_class *vise_arch_class_find(const vise_arch *arch, const char *name);
/* Reads config.json for one class of the family. */
VISE_MUST_USE vise_status vise_arch_configure(const vise_arch *arch, const vise_arch_class *of, const char *path,
                                              const cJSON *json, vise_config *config, vise_error *err);
int64_t vise_config_dim(const vise_config *config, vise_dim dim);
/* The configuration keys behind a dimension, for errors: "num_attention_heads x head_dim". */
const char *vise_dim_keys(vise_dim dim);
/* True if the row stands once per block (or once per expert of it): its module has a %d. */
bool vise_arch_row_in_block(const vise_arch_row *row);
/* True if the row stands once per expert. */
bool vise_arch_row_per_expert(const vise_arch_row *row);
/* True if a model of this configuration has the row (in this layer; -1 for rows outside the blocks). */
bool vise_arch_row_applies(const vise_arch_row *row, const vise_config *config, int layer);
/* The row's module ("model.layers.3.mlp.experts.7.up_proj") with `suffix` behind it; layer and expert are ignored
 * where the name has no place for them. */
#define VISE_MODULE_MAX 160
const char *vise_arch_module(const vise_arch_row *row, int layer, int expert, const char *suffix,
                             char buffer[VISE_MODULE_MAX]);

/* Weights of a block have slots: their role, and for an expert's a slot per expert. Inputs likewise. */
size_t vise_config_slots(const vise_config *config);
size_t vise_config_slot(vise_role role, int expert);
size_t vise_config_inputs(const vise_config *config);
size_t vise_config_input(vise_input input, int expert);

#endif
