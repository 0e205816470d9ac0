/* GPTQ on one weight at a time, for its own group hook and for trials of other schemes (quant/trial.h). */
#ifndef VISE_QUANT_GPTQ_H
#define VISE_QUANT_GPTQ_H

#include "quant/quant.h"

/* What the weights of a group share. */
typedef struct vise_gptq_input {
    float *u;       /* [d, d]: factor of the inverse, in solving order */
    int32_t *order; /* [d]; NULL: left to right */
    float *row_scratch;
    float *importance; /* [d]: mean squares of the inputs, damped, for GGUF's blocks; NULL: no such, or no token */
    float *whole;    /* [d, d]: the damped Gram matrix; NULL when nothing is swept */
    float *original; /* [rows, d] of the largest weight, likewise */
    const float *cross; /* [d, d]: of what is corrected for, borrowed; NULL: nothing is */
    const float *residual; /* [rows, d]: of what the outputs are added to, likewise; NULL: that is left as it is */
    float *outputs;     /* [2][VISE_GPTQ_CORRECTED, d]: scratch, likewise */
    double tokens, damp;
    bool failed; /* the Gram matrix does not factorize: nothing can be solved */
} vise_gptq_input;

/* How often weights of the scheme are swept. */
int vise_gptq_sweeps(const vise_quant_config *config, const vise_scheme *scheme);
/* What the weights of a group, or the schemes that they are tried with, ask of the input. */
typedef struct vise_gptq_wants {
    int64_t rows; /* of the largest weight */
    int64_t unit; /* columns in which groups and GGUF's blocks of every weight fit whole; 0: there are none */
    bool mixed;   /* these are of several sizes */
    bool blocks;  /* some are GGUF's */
    bool sweeps;
} vise_gptq_wants;

void vise_gptq_want(vise_gptq_wants *wants, const vise_quant_config *config, const vise_scheme *scheme, int64_t rows);
/* *input starts as zeros; close it, after a failure too. */
VISE_MUST_USE vise_status vise_gptq_open(vise_pass_run *run, const vise_input_stats *stats,
                                         const vise_gptq_wants *wants, vise_gptq_input *input, vise_error *err);
void vise_gptq_close(vise_pool *pool, vise_gptq_input *input);
/* Columns of the largest group whose range can be that of updated weights. */
#define VISE_GPTQ_UPDATED_MAX 1024
/* Rows that are corrected at a time. */
#define VISE_GPTQ_CORRECTED 1024
/* Fills weight->q and loss, and sets values to what the codes say. */
VISE_MUST_USE vise_status vise_gptq_solve(vise_pass_run *run, vise_weight *weight, const vise_gptq_input *input,
                                          vise_error *err);
/* True if blocks take their scales from the weights as updated so far. */
bool vise_gptq_updates_blocks(const vise_quant_config *config);
/* Columns of values [rows, cols] into the input's solving order, or back. */
VISE_MUST_USE vise_status vise_gptq_permute(vise_pass_run *run, const vise_gptq_input *input, float *values,
                                            int64_t rows, int64_t cols, bool back, vise_error *err);
/* Pool bytes of both for a weight. */
uint64_t vise_gptq_bytes(const vise_pass_run *run, const vise_logical *tensor, const vise_scheme *scheme);

#endif
