/* What the layout gguf adds to a plan: names of llama.cpp, metadata, tensors that stay in float32.
 * Private to the plan. */
#ifndef VISE_PIPELINE_PLAN_GGUF_H
#define VISE_PIPELINE_PLAN_GGUF_H

#include "pipeline/plan.h"

/* After the layout is chosen and before weights are spelled: norms and biases become F32, plan->gguf is
 * made. */
VISE_MUST_USE vise_status vise_plan_gguf(vise_plan *plan, vise_error *err);
/* Declares tensor `index` as llama.cpp names it. */
VISE_MUST_USE vise_status vise_plan_declare_gguf(vise_plan *plan, size_t index, int unit, vise_sink *sink,
                                                 vise_error *err);
void vise_plan_free_gguf(vise_plan *plan);

#endif
