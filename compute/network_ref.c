/* The network's row kernels in plain C, with libm's expf: the reference. */
#include "compute/network_kernels.h"

#include <math.h>

static double ref_sum_squares(int64_t n, const float *x)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

static void ref_scale_by(int64_t n, const float *x, float factor, const float *weight, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * factor * weight[i];
}

static double ref_sum(int64_t n, const float *x)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i];
    return sum;
}

static double ref_squares_around(int64_t n, const float *x, double center)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += ((double)x[i] - center) * ((double)x[i] - center);
    return sum;
}

static void ref_standardize(int64_t n, const float *x, float center, float factor, const float *weight,
                            const float *bias, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - center) * factor * weight[i] + bias[i];
}

static void ref_multiply(int64_t n, float *x, const float *y)
{
    for (int64_t i = 0; i < n; i++)
        x[i] *= y[i];
}

static void ref_add(int64_t n, float *x, const float *y)
{
    for (int64_t i = 0; i < n; i++)
        x[i] += y[i];
}

static void ref_silu_mul(int64_t n, float *gate, const float *up)
{
    for (int64_t i = 0; i < n; i++)
        gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void ref_rotate(int64_t n, float *first, float *second, const float *c, const float *s)
{
    for (int64_t i = 0; i < n; i++) {
        float a = first[i];
        float b = second[i];
        first[i] = a * c[i] - b * s[i];
        second[i] = b * c[i] + a * s[i];
    }
}

static float ref_max(int64_t n, const float *x)
{
    float max = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static float ref_exp_shift(int64_t n, float *x, float shift)
{
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - shift);
        sum += x[i];
    }
    return sum;
}

static double ref_sum_exp(int64_t n, const float *x, float shift)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)expf(x[i] - shift);
    return sum;
}

static void ref_pair(int64_t n, const float *a, const float *b, vise_row_pair *pair)
{
    pair->sum_a = 0.0;
    pair->sum_b = 0.0;
    pair->dot = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double p = (double)expf(a[i] - pair->max_a);
        pair->sum_a += p;
        pair->sum_b += (double)expf(b[i] - pair->max_b);
        pair->dot += p * ((double)a[i] - (double)b[i]);
    }
}

static void ref_scale(int64_t n, float *x, float factor)
{
    for (int64_t i = 0; i < n; i++)
        x[i] *= factor;
}

static void ref_exp(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = expf(x[i]);
}

const vise_network_kernels vise_network_kernels_ref = {
    .sum_squares = ref_sum_squares,
    .scale_by = ref_scale_by,
    .sum = ref_sum,
    .squares_around = ref_squares_around,
    .standardize = ref_standardize,
    .add = ref_add,
    .multiply = ref_multiply,
    .silu_mul = ref_silu_mul,
    .rotate = ref_rotate,
    .max = ref_max,
    .exp_shift = ref_exp_shift,
    .sum_exp = ref_sum_exp,
    .pair = ref_pair,
    .scale = ref_scale,
    .exp = ref_exp,
};
