/* Scales of a quantized key-value cache in the plan: calibrated here, or carried over from the input. They are tensors
 * of the output that the input may lack, two for each layer. */
#ifndef VISE_PIPELINE_PLAN_CACHE_H
#define VISE_PIPELINE_PLAN_CACHE_H

#include "pipeline/plan.h"

/* Behind the passes: what the cache becomes, and what calibrating it needs. */
VISE_MUST_USE vise_status vise_plan_cache(vise_plan *plan, vise_error *err);
/* Behind the choice of a layout: refuses one that holds no scales; those of the input are left out, with a warning. */
VISE_MUST_USE vise_status vise_plan_cache_layout(vise_plan *plan, vise_error *err);
/* True if the tensor is a scale of the input's cache, and is left out. */
bool vise_plan_cache_drops(const vise_plan *plan, size_t index);
/* Declares the scales of a layer behind its last tensor; nothing where the input has them. */
VISE_MUST_USE vise_status vise_plan_cache_declare(vise_plan *plan, int layer, vise_sink *sink, vise_error *err);

#endif
