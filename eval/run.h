/* A model at work on windows: its stream, brought through all blocks, and its head. Shared by what evaluation does. */
#ifndef VISE_EVAL_RUN_H
#define VISE_EVAL_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "eval/eval.h"

typedef struct vise_eval_run {
    const vise_model *model;
    vise_stream *stream;
    vise_head *head;
    float *logits; /* [tokens of a batch, vocab] */
    vise_pool *pool;
} vise_eval_run;

size_t vise_eval_sets(const vise_eval_options *options);

/* Embeds the windows and runs every block. done and total are operations of the whole evaluation, for progress. */
VISE_MUST_USE vise_status vise_eval_run_blocks(vise_eval_run *run, const vise_model *model,
                                               const vise_eval_options *options, double *done, double total,
                                               vise_error *err);

/* Opens the heads of n runs on the same windows and takes room for the logits of *batch tokens each, as the pool
 * allows: resident heads first, then enough tokens. */
VISE_MUST_USE vise_status vise_eval_run_heads(vise_eval_run *const *runs, size_t n, const vise_eval_options *options,
                                              size_t *batch, vise_error *err);
void vise_eval_run_deinit(vise_eval_run *run); /* also of a zeroed run */

#endif
