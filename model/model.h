/* A model: a store whose tensors are bound to the roles of an architecture. Binding checks that every
 * role is there with the shape that the configuration says. A model of an unknown family opens too (arch
 * NULL): its matrices can be cast, pruned by magnitude and quantized by rounding, and what needs a
 * forward pass refuses it by name.
 */
#ifndef VISE_MODEL_MODEL_H
#define VISE_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"
#include "formats/store.h"
#include "model/arch.h"

/* One logical tensor of the store, with what the architecture says of it. Same order as the store. */
typedef struct vise_bound {
    const vise_logical *tensor;
    vise_role role;    /* for a bias its weight's; VISE_ROLE_UNKNOWN: not in the table */
    int layer;         /* -1: outside the blocks */
    int expert;        /* 0 for what is no expert's */
    vise_input input;
    bool is_bias;      /* the module's bias: never is_linear */
    bool is_linear;    /* a Linear; unknown family: a 2-D float ".weight" with a layer number in its name */
} vise_bound;

typedef struct vise_model {
    vise_store *store;      /* owned */
    const vise_arch *arch;  /* NULL: unknown family */
    const vise_arch_class *of; /* the class of the family; NULL: unknown */
    const char *spelling;   /* what the file has in place of the rows' prefix; NULL: the prefix */
    vise_config config;     /* zeros when unknown */
    char *model_type;       /* of config.json, or NULL */
    vise_bound *bound;      /* [vise_store_count] */
    size_t count;
    /* [(layers + 1) * vise_config_slots]: indexes into bound, SIZE_MAX: absent; row `layers` is outside
     * the blocks. */
    size_t *by_role;
    size_t *bias_by_role;
    bool tied;              /* the head is the embedding */
    bool partial;           /* roles may be missing */
    struct vise_transform *transform; /* owned: what reading changes in weights (model/transform.h); NULL: nothing */
} vise_model;

/* tie_word_embeddings with a stored lm_head.weight: the stored head is used and `tied` is false. That is what
 * transformers 5 computes, which ties the two only if they are equal (version 4 ignored the stored head). */
VISE_MUST_USE vise_status vise_model_open(const char *path, vise_model **out, vise_error *err);
/* The same for part of a model, such as the finished shards of an interrupted run: roles that are not
 * there are absent instead of errors. */
VISE_MUST_USE vise_status vise_model_open_partial(const char *path, vise_model **out, vise_error *err);
/* The same with a head of its own where the embedding is the head: its weight is there twice. */
VISE_MUST_USE vise_status vise_model_open_untied(const char *path, vise_model **out, vise_error *err);
void vise_model_close(vise_model *model);

/* Index into bound of the weight, SIZE_MAX if the model has none. layer -1 for roles outside the blocks.
 * The head of a tied model is its embedding. */
size_t vise_model_role(const vise_model *model, vise_role role, int layer);
size_t vise_model_bias(const vise_model *model, vise_role role, int layer);
/* The same by slot (vise_config_slot), which tells experts apart. */
size_t vise_model_slot(const vise_model *model, size_t slot, int layer);
size_t vise_model_slot_bias(const vise_model *model, size_t slot, int layer);
/* The slot of a bound tensor, and of the input that it reads. */
size_t vise_bound_slot(const vise_bound *bound);
size_t vise_bound_input(const vise_bound *bound);
/* VISE_EUNSUPPORTED unless the model predicts the next token; `what` names what needs it. */
VISE_MUST_USE vise_status vise_model_need_tokens(const vise_model *model, const char *what, vise_error *err);
/* VISE_EUNSUPPORTED unless the family has a forward pass; `what` names what needs it. */
VISE_MUST_USE vise_status vise_model_need_forward(const vise_model *model, const char *what, vise_error *err);
/* The dtype most of the float weights have. */
vise_dtype vise_model_dtype(const vise_model *model);

#endif
