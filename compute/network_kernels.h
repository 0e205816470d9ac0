/* Row kernels of the network, one table a CPU level; private to this room. The contracts are those of
 * vise_network_ops; sums that decide results are kept in double. */
#ifndef VISE_COMPUTE_NETWORK_KERNELS_H
#define VISE_COMPUTE_NETWORK_KERNELS_H

#include <stdint.h>

/* What two rows of logits have in common: see vise_network_ops.compare. */
typedef struct vise_row_pair {
    float max_a, max_b;
    double sum_a, sum_b; /* sum exp(a - max_a), sum exp(b - max_b) */
    double dot;          /* sum exp(a - max_a) (a - b) */
} vise_row_pair;

typedef struct vise_network_kernels {
    double (*sum_squares)(int64_t n, const float *x);
    void (*scale_by)(int64_t n, const float *x, float factor, const float *weight,
                     float *y); /* y = x factor weight */
    double (*sum)(int64_t n, const float *x);
    double (*squares_around)(int64_t n, const float *x, double center); /* sum (x - center)^2 */
    /* y = (x - center) factor weight + bias; y may be x. */
    void (*standardize)(int64_t n, const float *x, float center, float factor, const float *weight,
                        const float *bias, float *y);
    void (*add)(int64_t n, float *x, const float *y);
    void (*multiply)(int64_t n, float *x, const float *y);
    void (*silu_mul)(int64_t n, float *gate, const float *up);
    /* first and second [n]: (first, second) = (first c - second s, second c + first s). */
    void (*rotate)(int64_t n, float *first, float *second, const float *c, const float *s);
    float (*max)(int64_t n, const float *x); /* -inf for n = 0; NaN elements may be passed over */
    /* x = exp(x - shift) in place; returns the sum. For attention rows, softmax without the division. */
    float (*exp_shift)(int64_t n, float *x, float shift);
    double (*sum_exp)(int64_t n, const float *x, float shift);                    /* sum exp(x - shift) */
    void (*pair)(int64_t n, const float *a, const float *b, vise_row_pair *pair); /* max_a, max_b are given */
    void (*scale)(int64_t n, float *x, float factor);
    void (*exp)(int64_t n, const float *x,
                float *y); /* y = e^x, within 2 ulp; underflow to 0, overflow to inf */
} vise_network_kernels;

extern const vise_network_kernels vise_network_kernels_ref;
extern const vise_network_kernels vise_network_kernels_avx2;
extern const vise_network_kernels vise_network_kernels_avx512;

#endif
