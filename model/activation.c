#include "model/activation.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* Symmetric, dynamic, one scale per token: scale = max |x| / 127.5, u = clamp(rint(x / scale), -128, 127), as
 * compressed-tensors computes it (calculate_qparams, quantize). A token of zeros stays zero. */
static void int8_token(int64_t t, int64_t d, const float *x, float *y)
{
    /* Adding and subtracting 1.5 * 2^23 rounds |v| < 2^22 to the nearest integer, ties to even, as rint does; it
     * needs no SSE4.1 and becomes vector code. */
    const float magic = 12582912.0f;
    for (int64_t i = 0; i < t; i++, x += d, y += d) {
        float largest = 0.0f;
        for (int64_t j = 0; j < d; j++)
            largest = fabsf(x[j]) > largest ? fabsf(x[j]) : largest;
        float scale = largest / 127.5f;
        if (scale == 0.0f) {
            memset(y, 0, (size_t)d * sizeof *y);
            continue;
        }
        for (int64_t j = 0; j < d; j++) {
            float u = (x[j] / scale + magic) - magic;
            u = u > 127.0f ? 127.0f : u;
            y[j] = (u < -128.0f ? -128.0f : u) * scale;
        }
    }
}

static const vise_activation activations[] = {
    {"int8-token", int8_token},
};

vise_status vise_activation_find(const char *name, const vise_activation **out, vise_error *err)
{
    *out = NULL;
    if (!name)
        return VISE_OK;
    for (size_t i = 0; i < sizeof activations / sizeof activations[0]; i++)
        if (strcmp(activations[i].name, name) == 0) {
            *out = &activations[i];
            return VISE_OK;
        }
    return VISE_FAIL(err, VISE_EUNSUPPORTED,
                     "activations quantized as %s cannot be simulated; evaluate with --weights-only", name);
}
