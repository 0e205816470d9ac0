/* Scales of input channels (model/transform.h), found by a walk of its own over the calibration text, on the model as
 * it is, before the passes begin: they then see a model that seems to have been stored scaled. The method finds them
 * (vise_method.scale), or --smooth does, from the largest input and weight of every channel. */
#ifndef VISE_PIPELINE_SCALING_H
#define VISE_PIPELINE_SCALING_H

#include "pipeline/plan.h"
#include "pipeline/session.h"
#include "text/windows.h"

/* Fills plan->scaling and prepares the model, when a method or an option scales. Behind the passes' own planning. */
VISE_MUST_USE vise_status vise_scaling_plan(vise_plan *plan, vise_error *err);
/* Pool bytes of the walk. */
uint64_t vise_scaling_bytes(const vise_plan *plan);
/* Nothing where the plan has none. */
VISE_MUST_USE vise_status vise_scaling_run(vise_plan *plan, vise_session *session, const vise_windows *calibration,
                                           vise_error *err);

/* SmoothQuant (arXiv:2211.10438): scale [width] becomes a^alpha / w^(1 - alpha), by the largest absolute input a and
 * weight w of each channel; 1 where either is 0. */
void vise_smooth_scale(int64_t width, const float *input, const float *weight, double alpha, float *scale);

#endif
