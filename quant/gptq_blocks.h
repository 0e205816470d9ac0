/* GPTQ into GGUF's blocks: their scales are chosen by the encoders' own searches, the levels column by column with the
 * error fed forward. */
#ifndef VISE_QUANT_GPTQ_BLOCKS_H
#define VISE_QUANT_GPTQ_BLOCKS_H

#include "quant/gptq.h"

/* True for types whose levels can be chosen one by one. */
bool vise_gptq_holds_blocks(const vise_gguf_type *type);
/* As vise_gptq_solve, for a weight whose scheme has blocks. */
VISE_MUST_USE vise_status vise_gptq_solve_blocks(vise_pass_run *run, vise_weight *weight, const vise_gptq_input *input,
                                                 vise_error *err);
/* Pool bytes of its own for a weight, sweeps not counted. */
uint64_t vise_gptq_blocks_bytes(int64_t rows, int64_t cols);

#endif
