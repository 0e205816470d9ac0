/* GPTQ on one weight at a time, for its own group hook and for trials of other schemes (quant/trial.h). */
#ifndef VISE_QUANT_GPTQ_H
#define VISE_QUANT_GPTQ_H

#include "quant/quant.h"

/* What the weights of a group share. */
typedef struct vise_gptq_input {
    float *u;       /* [d, d]: factor of the inverse, in solving order */
    int32_t *order; /* [d]; NULL: left to right */
    float *row_scratch;
    float *whole;    /* [d, d]: the damped Gram matrix; NULL when nothing is swept */
    float *original; /* [rows, d] of the largest weight, likewise */
    double tokens, damp;
    bool failed; /* the Gram matrix does not factorize: nothing can be solved */
} vise_gptq_input;

/* How often weights of the scheme are swept. */
int vise_gptq_sweeps(const vise_quant_config *config, const vise_scheme *scheme);
/* For weights of at most so many rows. *input starts as zeros; close it, after a failure too. */
VISE_MUST_USE vise_status vise_gptq_open(vise_pass_run *run, const vise_input_stats *stats, int64_t rows, bool sweeps,
                                         vise_gptq_input *input, vise_error *err);
void vise_gptq_close(vise_pool *pool, vise_gptq_input *input);
/* Fills weight->q and loss, and sets values to what the codes say. */
VISE_MUST_USE vise_status vise_gptq_solve(vise_pass_run *run, vise_weight *weight, const vise_gptq_input *input,
                                          vise_error *err);
/* Pool bytes of both for a weight. */
uint64_t vise_gptq_bytes(const vise_pass_run *run, const vise_logical *tensor, const vise_scheme *scheme);

#endif
