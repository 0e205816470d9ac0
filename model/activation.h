/* Inputs of linears as their quantization leaves them, simulated in float32. */
#ifndef VISE_MODEL_ACTIVATION_H
#define VISE_MODEL_ACTIVATION_H

#include <stdint.h>

#include "tensor/activation_type.h"

/* y [t, d] = x [t, d] quantized and decoded again, token by token; y may be x. `scale` is that which calibration found,
 * where the type has one: of int8-tensor and fp8-e4m3-tensor what codes are multiplied by, of nvfp4-g16 the global
 * scale. */
void vise_activation_apply(const vise_activation_type *type, float scale, int64_t t, int64_t d, const float *x,
                           float *y);

#endif
