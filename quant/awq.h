/* AWQ (arXiv:2306.00978): channels with large inputs are scaled up before rounding, what writes them down, and ranges
 * of groups are shrunk to the least error of the output. Both searches judge by the Gram matrix H of the input: with D
 * what rounding changes, the output's error over all tokens is tr(D H D^T), without running the block again. */
#ifndef VISE_QUANT_AWQ_H
#define VISE_QUANT_AWQ_H

#include "quant/quant.h"

/* Exponents of the scale search: i / VISE_AWQ_RATIOS for i from 0 (no scale at all) up to VISE_AWQ_RATIOS. */
#define VISE_AWQ_RATIOS 20
/* Ranges of a group: (1 - i / VISE_AWQ_RANGES) of its own, down to one half. */
#define VISE_AWQ_RANGES 20

extern const vise_method vise_method_awq;

/* scale [width] = size^ratio, divided by the geometric mean of its least and greatest; 1 where size is 0. */
void vise_awq_scale(int64_t width, const float *size, double ratio, float *scale);

#endif
