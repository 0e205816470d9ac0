/* How inputs of linears are quantized when a model runs, simulated in float32: one row per kind. */
#ifndef VISE_MODEL_ACTIVATION_H
#define VISE_MODEL_ACTIVATION_H

#include <stdint.h>

#include "core/err.h"

typedef struct vise_activation {
    const char *name; /* as vise_scheme.activation spells it: "int8-token" */
    /* y [t, d] = x [t, d] quantized and decoded again, token by token; y may be x. */
    void (*apply)(int64_t t, int64_t d, const float *x, float *y);
} vise_activation;

/* NULL for a NULL name; VISE_EUNSUPPORTED for a kind that is not in the table. */
VISE_MUST_USE vise_status vise_activation_find(const char *name, const vise_activation **out, vise_error *err);

#endif
