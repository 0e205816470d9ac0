/* Architectures are data. A family is one constant table of rows, one row per role: where the weight is called
 * what on disk, its shape in terms of the configuration, which input it shares with others, what may be done with
 * it. Code asks for roles and never searches in names.
 *
 * Adding a family is one table (arch_<family>.c), one line in arch.c and a test; docs/architectures.md says how.
 */
#ifndef VISE_MODEL_ARCH_H
#define VISE_MODEL_ARCH_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

typedef enum vise_role {
    VISE_ROLE_EMBEDDING,
    VISE_ROLE_HEAD,
    VISE_ROLE_FINAL_NORM,
    VISE_ROLE_ATTENTION_NORM,
    VISE_ROLE_Q,
    VISE_ROLE_K,
    VISE_ROLE_V,
    VISE_ROLE_O,
    VISE_ROLE_MLP_NORM,
    VISE_ROLE_GATE,
    VISE_ROLE_UP,
    VISE_ROLE_DOWN,
    VISE_ROLE_COUNT,
    VISE_ROLE_UNKNOWN = VISE_ROLE_COUNT /* carried over unchanged */
} vise_role;

/* "q_proj": what `role:NAME` selects and reports print. */
const char *vise_role_name(vise_role role);
bool vise_role_from_name(const char *name, vise_role *out);

/* The inputs that linears of a block read; linears with one input share one set of statistics. In forward order. */
typedef enum vise_input {
    VISE_INPUT_ATTENTION, /* q, k, v */
    VISE_INPUT_O,
    VISE_INPUT_MLP,       /* gate, up */
    VISE_INPUT_DOWN,
    VISE_INPUT_COUNT,
    VISE_INPUT_NONE = VISE_INPUT_COUNT
} vise_input;

/* Dimensions of the configuration that shapes are told in. */
typedef enum vise_dim { VISE_DIM_ONE, VISE_DIM_HIDDEN, VISE_DIM_FFN, VISE_DIM_Q, VISE_DIM_KV, VISE_DIM_VOCAB } vise_dim;

typedef struct vise_arch_row {
    vise_role role;
    const char *module;  /* "model.layers.%d.self_attn.q_proj"; the tensor is module.weight (and module.bias) */
    vise_dim rows, cols; /* of the logical matrix [out, in]; vectors are [1, n] */
    vise_input input;    /* linears inside blocks; else VISE_INPUT_NONE */
    bool linear;         /* a Linear: pruned and quantized by default when inside a block */
    bool bias;           /* may have a bias */
} vise_arch_row;

/* The numbers of config.json, defaults filled in as the family has them. */
typedef struct vise_config {
    int64_t hidden, ffn, layers, heads, kv_heads, head_dim, vocab, max_positions;
    double norm_eps;
    double rope_theta;
    bool tied;           /* tie_word_embeddings; whether the head is the embedding is vise_model's to say */
    bool attention_bias; /* q, k, v and o have biases */
    bool mlp_bias;       /* gate, up and down have biases */
    int32_t bos;         /* -1: none */
    const char *dtype; /* config's (torch_)dtype, or NULL; borrowed from the JSON */
} vise_config;

typedef struct vise_arch {
    const char *model_type;   /* config.json's model_type */
    const char *architecture; /* the one of config.json's `architectures` with a forward pass; absent counts as it */
    const char *summary;
    const vise_arch_row *rows;
    size_t n_rows;
    /* Reads and checks config.json (path for errors): VISE_EFORMAT for missing keys, negative, huge or fractional
     * numbers and numbers that contradict each other; VISE_EUNSUPPORTED for variants that the forward pass does
     * not know (scaling kinds, activations). Keys as transformers 4 and 5 write them. */
    vise_status (*configure)(const char *path, const cJSON *json, vise_config *config, vise_error *err);
} vise_arch;

const vise_arch *vise_architectures(size_t *count);
const vise_arch *vise_arch_find(const char *model_type); /* NULL: unknown */
int64_t vise_config_dim(const vise_config *config, vise_dim dim);
/* The configuration keys behind a dimension, for errors: "num_attention_heads x head_dim". */
const char *vise_dim_keys(vise_dim dim);
/* True if the row stands once per block: its module has a %d. */
bool vise_arch_row_in_block(const vise_arch_row *row);
/* The row's module ("model.layers.3.mlp.up_proj") with `suffix` behind it; layer is ignored outside blocks. */
#define VISE_MODULE_MAX 160
const char *vise_arch_module(const vise_arch_row *row, int layer, const char *suffix, char buffer[VISE_MODULE_MAX]);

#endif
