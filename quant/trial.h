/* Trials for a budget: what each weight would lose as each candidate (vise_method.trial), for gptq and rtn. The loss is
 * tr(D H D^T) / tr(W H W^T), with D what the method leaves of W and H the Gram matrix: the error of the linear's output
 * over the output. Rows do not depend on each other once H is known, so a sample of them tells. */
#ifndef VISE_QUANT_TRIAL_H
#define VISE_QUANT_TRIAL_H

#include "quant/quant.h"

VISE_MUST_USE vise_status vise_quant_trial(vise_pass_run *run, vise_group *group, const vise_scheme *schemes, size_t n,
                                           double *losses, const size_t *probe, float *const *probed,
                                           vise_error *err);
uint64_t vise_quant_trial_bytes(const vise_pass_run *run);

#endif
