/* Searches for the scales of GGUF blocks. The order of operations is part of the result: every sum runs
 * over the values in order, in float32, so that the levels are the ones that llama.cpp finds. */
#include <math.h>
#include <string.h>

#include "tensor/gguf_blocks.h"

#define VANISHES 1e-15f /* magnitudes below it are no signal */

enum { N_MAX = 32 };

/* The value of largest magnitude, with its sign; the first of equals. */
static float extreme(int n, const float *x)
{
    float magnitude = 0.0f, value = 0.0f;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > magnitude) {
            magnitude = fabsf(x[i]);
            value = x[i];
        }
    return value;
}

static void no_levels(int n, float *levels)
{
    for (int i = 0; i < n; i++)
        levels[i] = 0.0f;
}

/* sum w x l and sum w l^2: the least-squares scale is their quotient. */
typedef struct products {
    float xl, ll;
} products;

static float symmetric_level(float x, float inverse, float top)
{
    return gguf_clamp(gguf_round(inverse * x), -top, top - 1.0f);
}

static products symmetric_products(int n, float top, const float *x, const float *w, float inverse)
{
    products sum = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        float level = symmetric_level(x[i], inverse, top), weight = w ? w[i] : x[i] * x[i];
        sum.xl += weight * x[i] * level;
        sum.ll += weight * level * level;
    }
    return sum;
}

float vise_gguf_fit_symmetric(int n, int top, const float *x, const float *w, float *levels)
{
    float peak = extreme(n, x), range = (float)top;
    if (fabsf(peak) < VANISHES) {
        no_levels(n, levels);
        return 0.0f;
    }
    float inverse = -range / peak;
    products sum = symmetric_products(n, range, x, w, inverse);
    float scale = sum.ll != 0.0f ? sum.xl / sum.ll : 0.0f, best = scale * sum.xl;
    for (int i = -9; i <= 9; i++) {
        float candidate = -(range + 0.1f * (float)i) / peak;
        if (i == 0)
            continue;
        sum = symmetric_products(n, range, x, w, candidate);
        if (sum.ll > 0.0f && sum.xl * sum.xl > best * sum.ll) {
            inverse = candidate;
            scale = sum.xl / sum.ll;
            best = scale * sum.xl;
        }
    }
    for (int i = 0; i < n; i++)
        levels[i] = symmetric_level(x[i], inverse, range);
    return scale;
}

float vise_gguf_fit_sweeping(int n, int top, const float *x, float *levels)
{
    float peak = extreme(n, x), range = (float)top;
    if (fabsf(peak) < VANISHES) {
        no_levels(n, levels);
        return 0.0f;
    }
    float inverse = -range / peak;
    products sum = symmetric_products(n, range, x, NULL, inverse);
    for (int i = 0; i < n; i++)
        levels[i] = symmetric_level(x[i], inverse, range);
    bool changed = true;
    for (int sweep = 0; sweep < 5 && changed; sweep++) {
        changed = false;
        for (int i = 0; i < n; i++) {
            float w = x[i] * x[i];
            products rest = {sum.xl - w * x[i] * levels[i], sum.ll - w * levels[i] * levels[i]};
            if (!(rest.xl > 0.0f))
                continue;
            float level = gguf_clamp(gguf_round(x[i] * rest.ll / rest.xl), -range, range - 1.0f);
            if (level == levels[i])
                continue;
            rest.xl += w * x[i] * level;
            rest.ll += w * level * level;
            if (rest.ll > 0.0f && rest.xl * rest.xl * sum.ll > sum.xl * sum.xl * rest.ll) {
                levels[i] = level;
                sum = rest;
                changed = true;
            }
        }
    }
    return sum.ll > 0.0f ? sum.xl / sum.ll : 0.0f;
}

/* ---- with an offset ------------------------------------------------------------------------------------ */

/* Weighted error of scale * level + min. */
static float affine_error(int n, const float *x, const float *w, const float *levels, float scale, float min,
                          bool absolute)
{
    float error = 0.0f;
    for (int i = 0; i < n; i++) {
        float difference = scale * levels[i] + min - x[i];
        difference = absolute ? fabsf(difference) : difference * difference;
        error += w[i] * difference;
    }
    return error;
}

float vise_gguf_fit_affine(int n, const gguf_grid *grid, const float *x, const float *w, float *levels,
                           float *offset)
{
    float min = x[0], max = x[0], top = (float)grid->top;
    float sum_w = w[0], sum_x = sum_w * x[0];
    for (int i = 1; i < n; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    min = min > 0.0f ? 0.0f : min;
    if (max <= min) {
        no_levels(n, levels);
        *offset = -min;
        return 0.0f;
    }
    float inverse = top / (max - min), scale = 1.0f / inverse;
    for (int i = 0; i < n; i++)
        levels[i] = gguf_clamp(gguf_round(inverse * (x[i] - min)), 0.0f, top);
    float best = affine_error(n, x, w, levels, scale, min, grid->absolute);
    for (int step = 0; step <= grid->steps; step++) {
        float tried[N_MAX];
        float sum_l = 0.0f, sum_ll = 0.0f, sum_xl = 0.0f;
        inverse = (grid->first + grid->step * (float)step + top) / (max - min);
        for (int i = 0; i < n; i++) {
            tried[i] = gguf_clamp(gguf_round(inverse * (x[i] - min)), 0.0f, top);
            sum_l += w[i] * tried[i];
            sum_ll += w[i] * tried[i] * tried[i];
            sum_xl += w[i] * tried[i] * x[i];
        }
        float determinant = sum_w * sum_ll - sum_l * sum_l;
        if (!(determinant > 0.0f))
            continue;
        float new_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        float new_min = (sum_ll * sum_x - sum_l * sum_xl) / determinant;
        if (new_min > 0.0f) {
            new_min = 0.0f;
            new_scale = sum_xl / sum_ll;
        }
        float error = affine_error(n, x, w, tried, new_scale, new_min, grid->absolute);
        if (error < best) {
            memcpy(levels, tried, (size_t)n * sizeof *levels);
            best = error;
            scale = new_scale;
            min = new_min; /* also where the next ranges begin */
        }
    }
    *offset = -min;
    return scale;
}

/* ---- non-negative scales of scales --------------------------------------------------------------------- */

float vise_gguf_fit_positive(int n, int top, const float *x, const float *w, float *levels)
{
    float max = 0.0f, range = (float)top;
    for (int i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    if (max < VANISHES) {
        no_levels(n, levels);
        return 0.0f;
    }
    float inverse = range / max, scale = 1.0f / inverse, best = 0.0f;
    for (int i = 0; i < n; i++) {
        float difference = x[i] - scale * gguf_round(inverse * x[i]);
        best += w[i] * difference * difference;
    }
    for (int step = -4; step <= 4; step++) {
        float candidate = (0.1f * (float)step + range) / max, error = 0.0f;
        if (step == 0)
            continue;
        scale = 1.0f / candidate;
        for (int i = 0; i < n; i++) {
            float level = fminf(gguf_round(candidate * x[i]), range), difference = x[i] - scale * level;
            error += w[i] * difference * difference;
        }
        if (error < best) {
            best = error;
            inverse = candidate;
        }
    }
    products sum = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        levels[i] = fminf(gguf_round(inverse * x[i]), range);
        sum.xl += w[i] * x[i] * levels[i];
        sum.ll += w[i] * levels[i] * levels[i];
    }
    bool changed = true;
    for (int sweep = 0; sweep < 5 && changed; sweep++) {
        changed = false;
        for (int i = 0; i < n; i++) {
            products rest = {sum.xl - w[i] * x[i] * levels[i], sum.ll - w[i] * levels[i] * levels[i]};
            if (!(rest.xl > 0.0f && rest.ll > 0.0f))
                continue;
            float level = fminf(gguf_round(x[i] * rest.ll / rest.xl), range);
            if (level == levels[i])
                continue;
            rest.xl += w[i] * x[i] * level;
            rest.ll += w[i] * level * level;
            if (rest.xl * rest.xl * sum.ll > sum.xl * sum.xl * rest.ll) {
                levels[i] = level;
                sum = rest;
                changed = true;
            }
        }
    }
    return sum.ll > 0.0f ? sum.xl / sum.ll : 0.0f;
}

/* ---- the reference rows of the kernels ----------------------------------------------------------------- */

void vise_gguf_fit_offsets_ref(int n, int runs, const gguf_grid *grid, gguf_weighing weighing, const float *x,
                               const float *w, float *levels, float *scales, float *offsets)
{
    float own[N_MAX], unwanted[N_MAX];
    for (int r = 0; r < runs; r++) {
        const float *run = x + r * n;
        float mean = 0.0f;
        for (int i = 0; weighing == GGUF_WEIGH_MEAN && i < n; i++)
            mean += run[i] * run[i];
        mean = sqrtf(mean / (float)n);
        for (int i = 0; i < n; i++)
            own[i] = mean + fabsf(run[i]);
        scales[r] = vise_gguf_fit_affine(n, grid, run, weighing == GGUF_WEIGH_GIVEN ? w + r * n : own,
                                         levels != NULL ? levels + r * n : unwanted, &offsets[r]);
    }
}

void vise_gguf_fit_signed_ref(int n, int runs, int top, const float *x, const float *w, float *levels,
                              float *scales)
{
    float unwanted[N_MAX];
    for (int r = 0; r < runs; r++)
        scales[r] = vise_gguf_fit_symmetric(n, top, x + r * n, w != NULL ? w + r * n : NULL,
                                            levels != NULL ? levels + r * n : unwanted);
}

void vise_gguf_levels_ref(const float *x, int n, int runs, const float *scales, const float *offsets, float low,
                          float high, uint8_t *levels)
{
    for (int i = 0; i < runs * n; i++)
        levels[i] = (uint8_t)(gguf_clamp(gguf_round((x[i] + offsets[i / n]) / scales[i / n]), low, high) - low);
}

void vise_gguf_values_ref(const uint8_t *levels, int n, int runs, int half, const float *scales,
                          const float *offsets, float *values)
{
    for (int i = 0; i < runs * n; i++)
        values[i] = scales[i / n] * (float)(levels[i] - half) - offsets[i / n];
}
