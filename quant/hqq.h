/* The solver of --method hqq, for one group of weights. */
#ifndef VISE_QUANT_HQQ_H
#define VISE_QUANT_HQQ_H

#include <stdint.h>

#include "tensor/scheme.h"

/* Scale and zero point of n finite values, as quant/hqq.c says; the same bits on every processor. Per-channel and
 * per-group integers alone. zero may be NULL when the scheme is symmetric. */
void vise_hqq_fit(const vise_scheme *scheme, vise_dtype scale_dtype, const float *values, int64_t n,
                  float *scale, uint8_t *zero);

#endif
