/* What the layout gguf adds to a plan: names of llama.cpp, metadata, tensors that stay in float32.
 * Private to the plan. */
#ifndef VISE_PIPELINE_PLAN_GGUF_H
#define VISE_PIPELINE_PLAN_GGUF_H

#include "formats/gguf_meta.h"
#include "pipeline/plan.h"

/* After the layout is chosen and before weights are spelled: norms, biases and what else llama.cpp wants so become
 * F32, plan->gguf is made. */
VISE_MUST_USE vise_status vise_plan_gguf(vise_plan *plan, vise_error *err);
/* Declares every tensor as llama.cpp names it, in file order. */
VISE_MUST_USE vise_status vise_plan_declare_gguf(vise_plan *plan, vise_sink *sink, vise_error *err);
void vise_plan_free_gguf(vise_plan *plan);

/* plan_gguf_facts.c: what the metadata are made of. Numbers of the network as its family's reader tells them. */
void vise_plan_gguf_network(const vise_model *model, vise_gguf_network *network);
/* Factors of rotary frequencies as a tensor of their own; n 0: none. */
typedef struct vise_gguf_extra {
    const char *name;
    const float *values; /* [n], in the arena */
    int64_t n;
} vise_gguf_extra;
enum { VISE_GGUF_EXTRAS = 2 };
VISE_MUST_USE vise_status vise_plan_gguf_extras(const vise_model *model, const vise_gguf_family *family,
                                                vise_arena *arena, vise_gguf_extra extras[VISE_GGUF_EXTRAS],
                                                vise_gguf_network *network, vise_error *err);
/* Pieces of sentencepiece's model and the hash of the test text's ids, both in the arena. */
VISE_MUST_USE vise_status vise_plan_gguf_tokenizer(const vise_source *source, const vise_gguf_family *family,
                                                   vise_arena *arena, vise_gguf_tokenizer *tokenizer,
                                                   vise_error *err);

#endif
