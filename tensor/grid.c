#include "tensor/grid.h"

#include <math.h>

#include "tensor/kernels.h"

void vise_range(const float *values, size_t n, float *min, float *max)
{
    vise_tensor_kernels_now()->range(values, n, min, max);
}

void vise_grid_from_range(const vise_scheme *scheme, vise_dtype scale_dtype, float min, float max,
                          float *scale, uint8_t *zero)
{
    vise_grid_rule rule = vise_grid_rule_of(scheme, scale_dtype);
    int solved;
    vise_grid_solve(&rule, min, max, scale, &solved);
    if (zero)
        *zero = (uint8_t)solved;
}

void vise_grid_search(const vise_tensor_kernels *kernels, const vise_grid_rule *rule, const float *values,
                      vise_clip clip, const float *weights, size_t n, float min, float max, float *scale, int *zero)
{
    float best = INFINITY;
    vise_grid_solve(rule, min, max, scale, zero);
    if (!(*scale > 0.0f))
        return;
    const int signs = clip == VISE_CLIP_SIGNED && !rule->asym ? 2 : 1;
    for (int sign = 0; sign < signs; sign++) {
        for (int step = 0; step < VISE_CLIP_STEPS; step++) {
            float share = (float)(100 - step) / 100.0f, tried_scale;
            int tried_zero;
            vise_grid_solve(rule, min * share, max * share, &tried_scale, &tried_zero);
            tried_scale = sign == 0 ? tried_scale : -tried_scale;
            float error = kernels->grid_error(values, weights, n, tried_scale, tried_zero, rule->max_code);
            if (error < best) {
                best = error;
                *scale = tried_scale;
                *zero = tried_zero;
            }
        }
    }
}

void vise_grid_fit(const vise_scheme *scheme, vise_dtype scale_dtype, vise_clip clip, const float *values,
                   const float *weights, int64_t n, float *scale, uint8_t *zero)
{
    const vise_tensor_kernels *kernels = vise_tensor_kernels_now();
    vise_grid_rule rule = vise_grid_rule_of(scheme, scale_dtype);
    float min, max;
    int solved;
    kernels->range(values, (size_t)n, &min, &max);
    if (clip == VISE_CLIP_NONE)
        vise_grid_solve(&rule, min, max, scale, &solved);
    else
        vise_grid_search(kernels, &rule, values, clip, weights, (size_t)n, min, max, scale, &solved);
    if (zero)
        *zero = (uint8_t)solved;
}
