/* How far streams at the end of the blocks lie from a reference's, as the model's head sees them: what changed weights
 * of single linears cost the whole, with one resident block for all of them. */
#ifndef VISE_EVAL_DRIFT_H
#define VISE_EVAL_DRIFT_H

#include <stddef.h>

#include "core/err.h"
#include "eval/eval.h"

/* means [n]: of streams others [n] on options' windows (one set), behind the last block of the model like reference:
 * mean KL(reference || other) over all tokens in nats; of a classifier over the windows; of a model without a head
 * the squared distance of embeddings over the squared length. Tokens are added in order. Takes at most
 * vise_eval_bytes(model, model) of the pool, beside the streams. */
VISE_MUST_USE vise_status vise_drift(const vise_model *model, vise_stream *reference, vise_stream *const *others,
                                     size_t n, const vise_eval_options *options, double *means, vise_error *err);

#endif
