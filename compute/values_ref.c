/* Functions of one value in plain C over libm: the reference. */
#include <math.h>

#include "compute/value_kernels.h"

static void ref_silu(int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] / (1.0f + expf(-x[i]));
}

static void ref_gelu(int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678f));
}

static void ref_gelu_tanh(int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] / (1.0f + expf(-VISE_GELU_TWICE * (x[i] + VISE_GELU_CUBIC * (x[i] * x[i] * x[i]))));
}

static void ref_gelu_quick(int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] / (1.0f + expf(-VISE_GELU_QUICK_SLOPE * x[i]));
}

static void ref_relu(int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] > 0.0f || x[i] != x[i] ? x[i] : 0.0f;
}

static void ref_tanh(int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = tanhf(x[i]);
}

static void ref_soft_cap(int64_t n, float *x, float cap)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = cap * tanhf(x[i] / cap);
}

const vise_value_kernels vise_value_kernels_ref = {
    .apply = {[VISE_SILU] = ref_silu,
              [VISE_GELU] = ref_gelu,
              [VISE_GELU_TANH] = ref_gelu_tanh,
              [VISE_GELU_QUICK] = ref_gelu_quick,
              [VISE_RELU] = ref_relu,
              [VISE_TANH] = ref_tanh},
    .soft_cap = ref_soft_cap,
};
