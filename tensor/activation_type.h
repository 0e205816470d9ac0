/* How inputs of linears are quantized when a model runs: what a scheme says behind its "+". One row per kind.
 *
 *   NAME-token    one scale per token, found as the model runs
 *   NAME-tensor   one scale, found by calibration and stored beside the weight
 *   NAME-gN       one scale for N inputs of a token, found as the model runs; nvfp4-g16 has a calibrated global scale
 *
 * The scales are those of weights of the type (tensor/scheme.h, tensor/codebook.h), in float32. Source:
 * compressed-tensors 0.19, quantization/quant_scheme.py, and Hugging Face's fine-grained fp8.
 */
#ifndef VISE_TENSOR_ACTIVATION_TYPE_H
#define VISE_TENSOR_ACTIVATION_TYPE_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/scheme.h"

typedef struct vise_activation_type {
    const char *name;
    const char *weights;           /* weight types that it goes with: "int", any integers; else their names */
    int bits;
    const vise_codebook *codebook; /* NULL: symmetric integers */
    vise_granularity granularity;  /* VISE_PER_TENSOR, VISE_PER_CHANNEL (a token) or VISE_PER_GROUP */
    int group;                     /* 0 unless VISE_PER_GROUP */
    bool calibrated;               /* a scale is stored with the weight */
} vise_activation_type;

const vise_activation_type *vise_activation_types(size_t *count);
const vise_activation_type *vise_activation_type_find(const char *name); /* NULL: none, also for NULL */
bool vise_activation_goes_with(const vise_activation_type *type, const vise_weight_type *weights);
/* True if a scheme's inputs have a scale that only calibration can give. */
bool vise_scheme_needs_calibration(const vise_scheme *scheme);

/* The stored scale of a calibrated type from the largest magnitude of its inputs, as the codes see it; a type that no
 * input was seen of, or only zeros, gets 1. Integers: largest / (half a code more than the highest), as weights. */
float vise_activation_scale(const vise_activation_type *type, vise_dtype scale_dtype, float largest);

/* What a weight type takes, for a person: "int8-token, int8-tensor"; "none". */
#define VISE_ACTIVATION_NAMES_MAX 96
const char *vise_activation_names(const vise_weight_type *weights, char buffer[VISE_ACTIVATION_NAMES_MAX]);

#endif
