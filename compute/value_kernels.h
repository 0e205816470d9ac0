/* Functions of one value over rows, one table a CPU level; private to this room. NaN stays NaN. */
#ifndef VISE_COMPUTE_VALUE_KERNELS_H
#define VISE_COMPUTE_VALUE_KERNELS_H

#include <stdint.h>

#include "compute/backend.h"

/* Errors of the vector versions, measured over the whole range (tests/unit/test_nonlinear.c): at most 2^-22 |x| for
 * VISE_GELU, 2^-21 |x| for the others; VISE_TANH and soft_cap within 2^-21 of their value; VISE_RELU exact. */
typedef struct vise_value_kernels {
    void (*apply[VISE_NONLINEARITIES])(int64_t n, float *x); /* by vise_nonlinearity */
    void (*soft_cap)(int64_t n, float *x, float cap);        /* x = cap tanh(x / cap) */
} vise_value_kernels;

extern const vise_value_kernels vise_value_kernels_ref;
extern const vise_value_kernels vise_value_kernels_avx2;
extern const vise_value_kernels vise_value_kernels_avx512;

/* What the vector versions share.
 *
 * erfc(z) = e^(-z^2) Q(1 / (1 + 0.4 z)) for z >= 0, Q the polynomial of degree 9 with the smallest relative error over
 * [0, 12], 4e-8 (the form is that of Abramowitz and Stegun, 7.1.26). So GELU needs one exponential, and its tail keeps
 * its relative precision. */
#define VISE_ERFC_STRETCH 0.4f
#define VISE_ERFC_TERMS                                                                                     \
    {                                                                                                       \
        1.36804067e-05f, 0.225344831f, 0.229051857f, 0.188737373f, 0.234274402f, -0.00164721164f, 0.191996855f,\
            0.00151416569f, -0.10342648f, 0.03414057f                                                       \
    }
/* tanh x = x + x^3 P(x^2) up to VISE_TANH_SMALL, P of degree 4, relative error 5e-9; beyond, 1 - 2 / (1 + e^2x). */
#define VISE_TANH_SMALL 0.625f
#define VISE_TANH_TERMS                                                                                     \
    {                                                                                                       \
        -0x1.555532p-2f, 0x1.110726p-3f, -0x1.b83c52p-5f, 0x1.52265cp-6f, -0x1.75e098p-8f                   \
    }
/* GELU by tanh: (1 + tanh u) / 2 = 1 / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3). */
#define VISE_GELU_TWICE 1.5957691216057308f
#define VISE_GELU_CUBIC 0.044715f
#define VISE_GELU_QUICK_SLOPE 1.702f

#endif
