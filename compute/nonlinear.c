/* Functions of one value, in strips through the exponential of the CPU level. */
#include <math.h>

#include "compute/cpu_backend.h"

enum { STRIP = 256 };

/* x / (1 + e^-z): z is x times a factor, or GELU's inner polynomial. */
typedef enum gate { GATE_SILU, GATE_QUICK, GATE_TANH } gate;

static void apply_gate(const vise_network_kernels *kernels, gate kind, int64_t n, float *x)
{
    /* (1 + tanh u) / 2 = 1 / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
    const float twice = 1.5957691216057308f, cubic = 0.044715f;
    float e[STRIP];
    for (int64_t first = 0; first < n; first += STRIP) {
        int64_t m = n - first < STRIP ? n - first : STRIP;
        float *v = x + first;
        for (int64_t i = 0; i < m; i++)
            e[i] = kind == GATE_SILU    ? -v[i]
                   : kind == GATE_QUICK ? -1.702f * v[i]
                                        : -twice * (v[i] + cubic * (v[i] * v[i] * v[i]));
        kernels->exp(m, e, e);
        for (int64_t i = 0; i < m; i++)
            v[i] = v[i] / (1.0f + e[i]);
    }
}

vise_status vise_cpu_apply(vise_backend *b, vise_nonlinearity f, int64_t n, float *x, vise_error *err)
{
    const vise_network_kernels *kernels = vise_cpu_backend_of(b)->network;
    switch (f) {
    case VISE_SILU:
        apply_gate(kernels, GATE_SILU, n, x);
        return VISE_OK;
    case VISE_GELU_QUICK:
        apply_gate(kernels, GATE_QUICK, n, x);
        return VISE_OK;
    case VISE_GELU_TANH:
        apply_gate(kernels, GATE_TANH, n, x);
        return VISE_OK;
    case VISE_GELU:
        for (int64_t i = 0; i < n; i++)
            x[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678f));
        return VISE_OK;
    case VISE_RELU:
        for (int64_t i = 0; i < n; i++)
            x[i] = x[i] > 0.0f || x[i] != x[i] ? x[i] : 0.0f;
        return VISE_OK;
    case VISE_TANH:
        for (int64_t i = 0; i < n; i++)
            x[i] = tanhf(x[i]);
        return VISE_OK;
    }
    return VISE_FAIL(err, VISE_EINTERNAL, "no such nonlinearity: %d", (int)f);
}
