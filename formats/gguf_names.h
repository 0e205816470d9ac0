/* How llama.cpp names tensors and where it stores rows in another order: tables of families, read both
 * ways. */
#ifndef VISE_FORMATS_GGUF_NAMES_H
#define VISE_FORMATS_GGUF_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#define VISE_GGUF_MODULE_MAX 160

/* Rows of query and key weights are stored so that rotary pairs lie side by side: row h*d + 2i + j of the
 * file is row h*d + j*(d/2) + i of the model, h counting heads of d rows, j in {0, 1}. */
typedef enum vise_gguf_rows {
    VISE_GGUF_ROWS_PLAIN,
    VISE_GGUF_ROWS_Q, /* by attention heads */
    VISE_GGUF_ROWS_KV /* by key-value heads */
} vise_gguf_rows;

typedef struct vise_gguf_module {
    const char *gguf; /* "blk.%d.attn_q", or without a layer "token_embd" */
    const char *hf;   /* "model.layers.%d.self_attn.q_proj" */
    vise_gguf_rows rows;
} vise_gguf_module;

typedef struct vise_gguf_family {
    const char *architecture; /* general.architecture */
    const char *model_type;   /* config.json */
    const char *class_name;   /* its "architectures" */
    const vise_gguf_module *modules;
    size_t n_modules;
    bool has_qkv_bias; /* always, whatever config.json says */
} vise_gguf_family;

/* NULL: not a family that is known here. */
const vise_gguf_family *vise_gguf_family_of(const char *architecture);
const vise_gguf_family *vise_gguf_family_of_model(const char *model_type);

/* The other name of a tensor ("MODULE.weight" or "MODULE.bias"), written to name; its module, or NULL
 * when the family has none (name is undefined then). */
const vise_gguf_module *vise_gguf_name_to_hf(const vise_gguf_family *family, const char *gguf,
                                             char name[VISE_GGUF_MODULE_MAX]);
const vise_gguf_module *vise_gguf_name_from_hf(const vise_gguf_family *family, const char *hf,
                                               char name[VISE_GGUF_MODULE_MAX]);

#endif
