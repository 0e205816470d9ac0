/* The survey of a run with a budget: a walk of its own over the calibration text, on the model as it is, that finds
 * what every candidate would cost in every unit (pipeline/units.h); then one scheme for each, so that the whole fits.
 *
 * Two things are measured, neither of which needs a gradient. The method's trial says how much of a linear's output
 * each candidate loses, by its Gram matrix: that compares schemes, but not layers. A probe says what a unit is worth
 * to the model: with the unit alone quantized, as the scheme that would be everyone's under the budget, some windows
 * of the text go on through all blocks that follow and through the head, and their mean KL divergence from the model's
 * own outputs is taken. To second order both are quadratic in the error, so that candidate c is put at
 *
 *   KL(probe) * trial(c) / trial(probe)
 *
 * and units are added up. The probes advance side by side in the one walk, each a stream of its own. */
#ifndef VISE_PIPELINE_SURVEY_H
#define VISE_PIPELINE_SURVEY_H

#include "pipeline/plan.h"
#include "pipeline/session.h"
#include "text/windows.h"

typedef struct vise_survey vise_survey;

VISE_MUST_USE vise_status vise_survey_make(vise_plan *plan, vise_session *session, const vise_windows *calibration,
                                           vise_survey **out, vise_error *err);
void vise_survey_free(vise_survey *survey);
/* chosen [tensors of the model]: schemes of the measured weights, `excess` bytes below the budget (what a plan made
 * with an earlier choice was too large). *kl: the divergence that the choice is expected to cost, nats per token;
 * *bytes: what the measured weights take, as the budget counts them. VISE_EUSAGE when nothing fits. */
VISE_MUST_USE vise_status vise_survey_choose(const vise_survey *survey, const vise_plan *plan, uint64_t excess,
                                             vise_scheme *chosen, double *kl, uint64_t *bytes,
                                             vise_error *err);

/* Windows of a text of `windows` that go through the model for each of n units: together about as many as the text
 * has, so that the probes take no more time and room than calibration does. */
size_t vise_survey_probe_windows(size_t windows, size_t length, size_t n);

#endif
