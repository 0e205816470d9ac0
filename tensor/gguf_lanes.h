/* The searches of GGUF blocks with one run of values to a vector lane: every lane does what the reference
 * does, in its order, so the bits are the same. Included by gguf_avx2.c and gguf_avx512.c, which say
 * GGUF_LANES, GGUF_TARGET and how names end; a compiler of vector types does the rest. Private to them. */
#ifndef VISE_TENSOR_GGUF_LANES_H
#define VISE_TENSOR_GGUF_LANES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tensor/gguf_blocks.h"

#ifndef GGUF_LANES
#define GGUF_LANES      4
#define GGUF_TARGET     /* any */
#define GGUF_NAME(name) name##_any
#endif

#define LANE_FUNCTION static inline __attribute__((always_inline)) GGUF_TARGET

typedef float lanes __attribute__((vector_size(4 * GGUF_LANES)));
typedef int32_t masks __attribute__((vector_size(4 * GGUF_LANES)));
typedef uint8_t bytes_of_lanes __attribute__((vector_size(GGUF_LANES)));

LANE_FUNCTION lanes all(float value)
{
    return value - (lanes){0};
}

LANE_FUNCTION lanes choose(masks mask, lanes yes, lanes no)
{
    return (lanes)((mask & (masks)yes) | (~mask & (masks)no));
}

LANE_FUNCTION lanes magnitude(lanes x)
{
    return (lanes)((masks)x & 0x7fffffff);
}

LANE_FUNCTION lanes round_lanes(lanes x)
{
    return (x + 12582912.0f) - 12582912.0f;
}

LANE_FUNCTION lanes clamp_lanes(lanes x, float low, float high)
{
    x = choose(x > low, x, all(low));
    return choose(x > high, all(high), x);
}

LANE_FUNCTION bool any(masks mask)
{
    int32_t found = 0;
    for (int l = 0; l < GGUF_LANES; l++)
        found |= mask[l];
    return found != 0;
}

/* Value i of each of `runs` runs of n values; lanes without a run hold zeros. */
LANE_FUNCTION void load_runs(const float *x, int n, int runs, lanes *out)
{
    float(*slots)[GGUF_LANES] = (float(*)[GGUF_LANES])(void *)out;
    if (runs < GGUF_LANES)
        memset(out, 0, (size_t)n * sizeof *out);
    for (int r = 0; r < runs; r++)
        for (int i = 0; i < n; i++)
            slots[i][r] = x[r * n + i];
}

LANE_FUNCTION void store_runs(const lanes *in, int n, int runs, float *x)
{
    const float(*slots)[GGUF_LANES] = (const float(*)[GGUF_LANES])(const void *)in;
    for (int r = 0; r < runs; r++)
        for (int i = 0; i < n; i++)
            x[r * n + i] = slots[i][r];
}

/* ---- vise_gguf_fit_affine ------------------------------------------------------------------------------ */

LANE_FUNCTION lanes affine_errors(int n, const lanes *x, const lanes *w, const lanes *levels, lanes scale,
                                  lanes min, bool absolute)
{
    lanes error = {0};
    for (int i = 0; i < n; i++) {
        lanes difference = scale * levels[i] + min - x[i];
        error += w[i] * (absolute ? magnitude(difference) : difference * difference);
    }
    return error;
}

LANE_FUNCTION void fit_affine_lanes(int n, const gguf_grid *grid, const lanes *x, const lanes *w,
                                    lanes *levels, lanes *scale, lanes *offset)
{
    const float top = (float)grid->top;
    lanes min = x[0], max = x[0], sum_w = w[0], sum_x = w[0] * x[0], tried[GGUF_BLOCK];
    for (int i = 1; i < n; i++) {
        min = choose(x[i] < min, x[i], min);
        max = choose(x[i] > max, x[i], max);
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    min = choose(min > 0.0f, all(0.0f), min);
    const masks lives = max > min;
    lanes inverse = top / (max - min);
    *scale = 1.0f / inverse;
    for (int i = 0; i < n; i++)
        levels[i] = clamp_lanes(round_lanes(inverse * (x[i] - min)), 0.0f, top);
    lanes best = affine_errors(n, x, w, levels, *scale, min, grid->absolute);
    for (int step = 0; step <= grid->steps; step++) {
        lanes sum_l = {0}, sum_ll = {0}, sum_xl = {0};
        inverse = (grid->first + grid->step * (float)step + top) / (max - min);
        for (int i = 0; i < n; i++) {
            lanes level = clamp_lanes(round_lanes(inverse * (x[i] - min)), 0.0f, top), wl = w[i] * level;
            tried[i] = level;
            sum_l += wl;
            sum_ll += wl * level;
            sum_xl += wl * x[i];
        }
        lanes determinant = sum_w * sum_ll - sum_l * sum_l;
        lanes new_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        lanes new_min = (sum_ll * sum_x - sum_l * sum_xl) / determinant;
        const masks above = new_min > 0.0f;
        new_min = choose(above, all(0.0f), new_min);
        new_scale = choose(above, sum_xl / sum_ll, new_scale);
        lanes error = affine_errors(n, x, w, tried, new_scale, new_min, grid->absolute);
        const masks better = (error < best) & (determinant > 0.0f) & lives;
        if (!any(better))
            continue;
        for (int i = 0; i < n; i++)
            levels[i] = choose(better, tried[i], levels[i]);
        best = choose(better, error, best);
        *scale = choose(better, new_scale, *scale);
        min = choose(better, new_min, min);
    }
    *scale = choose(lives, *scale, all(0.0f));
    *offset = -min;
    for (int i = 0; i < n; i++)
        levels[i] = choose(lives, levels[i], all(0.0f));
}

GGUF_TARGET void GGUF_NAME(vise_gguf_fit_offsets)(int n, int runs, const gguf_grid *grid,
                                                  gguf_weighing weighing, const float *x, const float *w,
                                                  float *levels, float *scales, float *offsets);
GGUF_TARGET void GGUF_NAME(vise_gguf_fit_offsets)(int n, int runs, const gguf_grid *grid,
                                                  gguf_weighing weighing, const float *x, const float *w,
                                                  float *levels, float *scales, float *offsets)
{
    for (int first = 0; first < runs; first += GGUF_LANES) {
        const int count = runs - first < GGUF_LANES ? runs - first : GGUF_LANES;
        lanes values[GGUF_BLOCK], weights[GGUF_BLOCK] = {{0}}, found[GGUF_BLOCK], scale, offset, mean = {0};
        load_runs(x + first * n, n, count, values);
        if (weighing == GGUF_WEIGH_GIVEN) {
            load_runs(w + first * n, n, count, weights);
        } else {
            if (weighing == GGUF_WEIGH_MEAN) {
                for (int i = 0; i < n; i++)
                    mean += values[i] * values[i];
                mean /= (float)n;
                for (int l = 0; l < GGUF_LANES; l++)
                    mean[l] = __builtin_sqrtf(mean[l]);
            }
            for (int i = 0; i < n; i++)
                weights[i] = mean + magnitude(values[i]);
        }
        fit_affine_lanes(n, grid, values, weights, found, &scale, &offset);
        store_runs(found, n, count, levels + first * n);
        for (int r = 0; r < count; r++) {
            scales[first + r] = scale[r];
            offsets[first + r] = offset[r];
        }
    }
}

/* ---- vise_gguf_fit_symmetric --------------------------------------------------------------------------- */

GGUF_TARGET void GGUF_NAME(vise_gguf_fit_signed)(int n, int runs, int top, const float *x, const float *w,
                                                 float *levels, float *scales);
GGUF_TARGET void GGUF_NAME(vise_gguf_fit_signed)(int n, int runs, int top, const float *x, const float *w,
                                                 float *levels, float *scales)
{
    const float range = (float)top;
    for (int first = 0; first < runs; first += GGUF_LANES) {
        const int count = runs - first < GGUF_LANES ? runs - first : GGUF_LANES;
        lanes values[GGUF_BLOCK], weights[GGUF_BLOCK], found[GGUF_BLOCK], peak = {0}, most = {0};
        lanes best = {0}, scale = {0}, inverse = {0};
        load_runs(x + first * n, n, count, values);
        if (w != NULL)
            load_runs(w + first * n, n, count, weights);
        for (int i = 0; i < n; i++) {
            const masks more = magnitude(values[i]) > most;
            most = choose(more, magnitude(values[i]), most);
            peak = choose(more, values[i], peak);
            if (w == NULL)
                weights[i] = values[i] * values[i];
        }
        for (int k = -10; k <= 9; k++) { /* -10 stands for the start, 0 */
            const float wider = k == -10 ? range : range + 0.1f * (float)k;
            if (k == 0)
                continue;
            lanes candidate = -wider / peak, sum_xl = {0}, sum_ll = {0};
            for (int i = 0; i < n; i++) {
                lanes level = clamp_lanes(round_lanes(candidate * values[i]), -range, range - 1.0f);
                sum_xl += weights[i] * values[i] * level;
                sum_ll += weights[i] * level * level;
            }
            if (k == -10) {
                inverse = candidate;
                scale = choose(sum_ll != 0.0f, sum_xl / sum_ll, all(0.0f));
                best = scale * sum_xl;
                continue;
            }
            const masks better = (sum_ll > 0.0f) & (sum_xl * sum_xl > best * sum_ll);
            inverse = choose(better, candidate, inverse);
            scale = choose(better, sum_xl / sum_ll, scale);
            best = choose(better, scale * sum_xl, best);
        }
        const masks lives = ~(most < 1e-15f);
        scale = choose(lives, scale, all(0.0f));
        for (int i = 0; i < n; i++)
            found[i] =
                choose(lives, clamp_lanes(round_lanes(inverse * values[i]), -range, range - 1.0f), all(0.0f));
        store_runs(found, n, count, levels + first * n);
        for (int r = 0; r < count; r++)
            scales[first + r] = scale[r];
    }
}

/* ---- levels from stored scales ------------------------------------------------------------------------- */

GGUF_TARGET void GGUF_NAME(vise_gguf_levels)(const float *x, int n, float scale, float offset, float low,
                                             float high, uint8_t *levels);
GGUF_TARGET void GGUF_NAME(vise_gguf_levels)(const float *x, int n, float scale, float offset, float low,
                                             float high, uint8_t *levels)
{
    for (int i = 0; i < n; i += GGUF_LANES) {
        lanes values;
        memcpy(&values, x + i, sizeof values);
        lanes level = clamp_lanes(round_lanes((values + offset) / scale), low, high) - low;
        bytes_of_lanes out = __builtin_convertvector(__builtin_convertvector(level, masks), bytes_of_lanes);
        memcpy(levels + i, &out, sizeof out);
    }
}

/* ---- q8_0, q4_0 ---------------------------------------------------------------------------------------- */

enum { VECTORS = GGUF_BLOCK / GGUF_LANES };

/* The greatest lane, by halves. */
LANE_FUNCTION float greatest(lanes x)
{
    for (int step = GGUF_LANES / 2; step > 0; step /= 2) {
        masks from;
        for (int l = 0; l < GGUF_LANES; l++)
            from[l] = (l + step) % GGUF_LANES;
        const lanes other = __builtin_shuffle(x, from);
        x = choose(other > x, other, x);
    }
    return x[0];
}

LANE_FUNCTION float greatest_of(const lanes *x, bool magnitudes, bool negated)
{
    lanes most = magnitudes ? magnitude(x[0]) : negated ? -x[0] : x[0];
    for (int v = 1; v < VECTORS; v++) {
        const lanes other = magnitudes ? magnitude(x[v]) : negated ? -x[v] : x[v];
        most = choose(other > most, other, most);
    }
    return greatest(most);
}

/* The value of largest magnitude; the first of equals. */
LANE_FUNCTION float extreme_of(const lanes *x)
{
    const float above = greatest_of(x, false, false), below = greatest_of(x, false, true);
    if (above != below)
        return above > below ? above : -below;
    for (int i = 0; i < GGUF_BLOCK; i++)
        if (x[i / GGUF_LANES][i % GGUF_LANES] == above || x[i / GGUF_LANES][i % GGUF_LANES] == -above)
            return x[i / GGUF_LANES][i % GGUF_LANES];
    return 0.0f;
}

/* Nearest, halves away from zero, for |x| < 2^31. */
LANE_FUNCTION masks round_away(lanes x)
{
    masks whole = __builtin_convertvector(x, masks);
    lanes rest = x - __builtin_convertvector(whole, lanes);
    return whole - (rest >= 0.5f) + (rest <= -0.5f);
}

LANE_FUNCTION float inverse_of(float d)
{
    float inverse = 1.0f / d;
    return inverse - inverse == 0.0f ? inverse : 0.0f;
}

GGUF_TARGET void GGUF_NAME(vise_gguf_encode_q8_0)(const float *values, const float *importance, int64_t cols,
                                                  void *blocks);
GGUF_TARGET void GGUF_NAME(vise_gguf_encode_q8_0)(const float *values, const float *importance, int64_t cols,
                                                  void *blocks)
{
    (void)importance;
    block_q8_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++) {
        lanes x[VECTORS];
        memcpy(x, values + at, sizeof x);
        const float top = greatest_of(x, true, false);
        const float d = top / 127.0f, inverse = inverse_of(d);
        block->d = gguf_to_half(d);
        for (int v = 0; v < VECTORS; v++) {
            bytes_of_lanes out = __builtin_convertvector(round_away(x[v] * inverse), bytes_of_lanes);
            memcpy(block->q + v * GGUF_LANES, &out, sizeof out);
        }
    }
}

/* Levels of a block without importance, as the reference's fit_signed with half 8. */
GGUF_TARGET void GGUF_NAME(vise_gguf_encode_q4_0)(const float *values, const float *importance, int64_t cols,
                                                  void *blocks);
GGUF_TARGET void GGUF_NAME(vise_gguf_encode_q4_0)(const float *values, const float *importance, int64_t cols,
                                                  void *blocks)
{
    block_q4_0 *block = blocks;
    if (importance != NULL) {
        vise_gguf_encode_q4_0_ref(values, importance, cols, blocks);
        return;
    }
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++) {
        lanes x[VECTORS];
        bytes_of_lanes levels[VECTORS];
        memcpy(x, values + at, sizeof x);
        const float d = extreme_of(x) / -8.0f, inverse = inverse_of(d);
        block->d = gguf_to_half(d);
        for (int v = 0; v < VECTORS; v++) {
            masks level = __builtin_convertvector(x[v] * inverse + 8.5f, masks);
            level = (level & (level < 16)) | (15 & ~(level < 16));
            levels[v] = __builtin_convertvector(level, bytes_of_lanes);
        }
        for (int v = 0; v < VECTORS / 2; v++) {
            const bytes_of_lanes out = levels[v] | levels[v + VECTORS / 2] << 4;
            memcpy(block->q + v * GGUF_LANES, &out, sizeof out);
        }
    }
}

/* ---- values of blocks ---------------------------------------------------------------------------------- */

GGUF_TARGET void GGUF_NAME(vise_gguf_values)(const uint8_t *levels, int n, int half, float scale,
                                             float offset, float *values);
GGUF_TARGET void GGUF_NAME(vise_gguf_values)(const uint8_t *levels, int n, int half, float scale,
                                             float offset, float *values)
{
    for (int i = 0; i < n; i += GGUF_LANES) {
        bytes_of_lanes in;
        memcpy(&in, levels + i, sizeof in);
        const lanes out =
            scale * __builtin_convertvector(__builtin_convertvector(in, masks) - half, lanes) - offset;
        memcpy(values + i, &out, sizeof out);
    }
}

GGUF_TARGET void GGUF_NAME(vise_gguf_decode_q8_0)(const void *blocks, int64_t cols, float *values);
GGUF_TARGET void GGUF_NAME(vise_gguf_decode_q8_0)(const void *blocks, int64_t cols, float *values)
{
    const block_q8_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++) {
        const float d = gguf_from_half(block->d);
        for (int v = 0; v < VECTORS; v++) {
            bytes_of_lanes in;
            memcpy(&in, block->q + v * GGUF_LANES, sizeof in);
            const masks level = (__builtin_convertvector(in, masks) ^ 128) - 128; /* signed bytes */
            const lanes out = __builtin_convertvector(level, lanes) * d;
            memcpy(values + at + v * GGUF_LANES, &out, sizeof out);
        }
    }
}

GGUF_TARGET void GGUF_NAME(vise_gguf_decode_q4_0)(const void *blocks, int64_t cols, float *values);
GGUF_TARGET void GGUF_NAME(vise_gguf_decode_q4_0)(const void *blocks, int64_t cols, float *values)
{
    const block_q4_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++) {
        const float d = gguf_from_half(block->d);
        for (int v = 0; v < VECTORS / 2; v++) {
            bytes_of_lanes in;
            memcpy(&in, block->q + v * GGUF_LANES, sizeof in);
            const masks both = __builtin_convertvector(in, masks);
            const lanes low = __builtin_convertvector((both & 15) - 8, lanes) * d;
            const lanes high = __builtin_convertvector((both >> 4) - 8, lanes) * d;
            memcpy(values + at + v * GGUF_LANES, &low, sizeof low);
            memcpy(values + at + GGUF_BLOCK / 2 + v * GGUF_LANES, &high, sizeof high);
        }
    }
}

#endif
