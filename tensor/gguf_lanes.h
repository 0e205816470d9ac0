/* The searches of GGUF blocks with one run of values to a vector lane: every lane does what the reference
 * does, in its order, so the bits are the same. A compiler of vector types does most of it; the lanes, how names end
 * and the instructions for which it has no word are said by gguf_avx512.c, or below for AVX2. Private to
 * gguf_avx2.c and gguf_avx512.c.
 *
 * GGUF_MAX(a, b) is a > b ? a : b and GGUF_MIN(a, b) a < b ? a : b, also where one of them is no number. */
#ifndef VISE_TENSOR_GGUF_LANES_H
#define VISE_TENSOR_GGUF_LANES_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tensor/gguf_blocks.h"

#define GGUF_NEAREST (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

#ifndef GGUF_LANES /* AVX2 */
#define GGUF_LANES 8
#define GGUF_TARGET __attribute__((target("avx2,fma,f16c,bmi2")))
#define GGUF_NAME(name) name##_avx2
#define GGUF_MAX(a, b)  ((lanes)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define GGUF_MIN(a, b)  ((lanes)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define GGUF_ROUND(a)   ((lanes)_mm256_round_ps((__m256)(a), GGUF_NEAREST))
#define GGUF_SQRT(a)    ((lanes)_mm256_sqrt_ps((__m256)(a)))
#define GGUF_ANY(mask)  (!_mm256_testz_si256((__m256i)(mask), (__m256i)(mask)))
#define GGUF_TO_HALVES(halves, a)                                                                            \
    _mm_storeu_si128((__m128i *)(void *)(halves), _mm256_cvtps_ph((__m256)(a), GGUF_NEAREST))
#define GGUF_FROM_HALF(half) _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)))
#define GGUF_BYTES(q) ((masks)_mm256_cvtepu8_epi32(_mm_loadu_si64((const void *)(q))))
#define GGUF_SIGNED_BYTES(q) ((masks)_mm256_cvtepi8_epi32(_mm_loadu_si64((const void *)(q))))
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

/* gguf_clamp(gguf_round(x), low, high): beyond 2^22, where roundings may differ, all of them are clamped. */
LANE_FUNCTION lanes level_of(lanes x, float low, float high)
{
    return GGUF_MIN(GGUF_MAX(GGUF_ROUND(x), all(low)), all(high));
}

/* Lane l of v[i] changes places with lane i of v[l], in blocks of half the size each time; `greatest` keeps of every
 * two lanes that meet the greater one, so that lane l of v[0] ends as the greatest of v[l]. */
LANE_FUNCTION void transpose(lanes *v, bool greatest)
{
#pragma GCC unroll 4
    for (int step = GGUF_LANES / 2; step > 0; step /= 2) {
        masks low, high;
        for (int l = 0; l < GGUF_LANES; l++) {
            low[l] = (l & step) != 0 ? l - step + GGUF_LANES : l;
            high[l] = (l & step) != 0 ? l + GGUF_LANES : l + step;
        }
#pragma GCC unroll 16
        for (int i = 0; i < GGUF_LANES; i++)
            if ((i & step) == 0 && (!greatest || i < step)) {
                const lanes a = __builtin_shuffle(v[i], v[i + step], low);
                const lanes b = __builtin_shuffle(v[i], v[i + step], high);
                v[i] = greatest ? GGUF_MAX(a, b) : a;
                v[i + step] = b;
            }
    }
}

/* Value i of each of `runs` runs of n values, a multiple of the lanes; lanes without a run hold zeros. */
LANE_FUNCTION void load_runs(const float *x, int n, int runs, lanes *out)
{
    for (int i = 0; i < n; i += GGUF_LANES) {
        lanes block[GGUF_LANES] = {{0}};
        for (int r = 0; r < runs; r++)
            memcpy(&block[r], x + r * n + i, sizeof *block);
        transpose(block, false);
        memcpy(out + i, block, sizeof block);
    }
}

LANE_FUNCTION void store_runs(const lanes *in, int n, int runs, float *x)
{
    for (int i = 0; i < n; i += GGUF_LANES) {
        lanes block[GGUF_LANES];
        memcpy(block, in + i, sizeof block);
        transpose(block, false);
        for (int r = 0; r < runs; r++)
            memcpy(x + r * n + i, &block[r], sizeof *block);
    }
}

/* ---- vise_gguf_fit_affine ------------------------------------------------------------------------------ */

LANE_FUNCTION lanes affine_errors(int n, const lanes *x, const lanes *w, const lanes *levels, lanes scale,
                                  lanes min, bool absolute)
{
    lanes error = {0};
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) {
        lanes difference = scale * levels[i] + min - x[i];
        error += w[i] * (absolute ? magnitude(difference) : difference * difference);
    }
    return error;
}

/* A grid's place: levels are those of inverse * (x - from). */
typedef struct lane_grid {
    lanes inverse, from;
} lane_grid;

LANE_FUNCTION void fit_affine_lanes(int n, const gguf_grid *grid, bool absolute, const lanes *x, const lanes *w,
                                    lane_grid *found, lanes *scale, lanes *offset)
{
    const float top = (float)grid->top;
    lanes min = x[0], max = x[0], sum_w = w[0], sum_x = w[0] * x[0], levels[GGUF_BLOCK];
    for (int i = 1; i < n; i++) {
        min = GGUF_MIN(x[i], min);
        max = GGUF_MAX(x[i], max);
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    min = choose(min > 0.0f, all(0.0f), min);
    const masks lives = max > min;
    lanes inverse = top / (max - min), best = {0};
    *found = (lane_grid){inverse, min};
    *scale = 1.0f / inverse;
    for (int i = 0; i < n; i++)
        levels[i] = level_of(inverse * (x[i] - min), 0.0f, top);
    best = affine_errors(n, x, w, levels, *scale, min, absolute);
    for (int step = 0; step <= grid->steps; step++) {
        lanes sum_l = {0}, sum_ll = {0}, sum_xl = {0};
        inverse = (grid->first + grid->step * (float)step + top) / (max - min);
#pragma GCC unroll 8
        for (int i = 0; i < n; i++) {
            const lanes level = level_of(inverse * (x[i] - min), 0.0f, top), wl = w[i] * level;
            levels[i] = level;
            sum_l += wl;
            sum_ll += wl * level;
            sum_xl += wl * x[i];
        }
        const lanes determinant = sum_w * sum_ll - sum_l * sum_l;
        lanes new_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        lanes new_min = (sum_ll * sum_x - sum_l * sum_xl) / determinant;
        const masks above = new_min > 0.0f;
        if (GGUF_ANY(above)) {
            new_min = choose(above, all(0.0f), new_min);
            new_scale = choose(above, sum_xl / sum_ll, new_scale);
        }
        const lanes error = affine_errors(n, x, w, levels, new_scale, new_min, absolute);
        const masks better = (error < best) & (determinant > 0.0f);
        found->inverse = choose(better, inverse, found->inverse);
        found->from = choose(better, min, found->from);
        best = choose(better, error, best);
        *scale = choose(better, new_scale, *scale);
        min = choose(better, new_min, min); /* in a lane without range the determinant is 0 */
    }
    *scale = choose(lives, *scale, all(0.0f));
    *offset = -min;
    found->inverse = choose(lives, found->inverse, all(0.0f));
    found->from = choose(lives, found->from, all(0.0f));
}

LANE_FUNCTION void fit_offsets(int n, int runs, const gguf_grid *grid, gguf_weighing weighing, const float *x,
                               const float *w, float *levels, float *scales, float *offsets)
{
    lanes values[GGUF_BLOCK], weights[GGUF_BLOCK], scale, offset, mean = {0};
    lane_grid found;
    load_runs(x, n, runs, values);
    if (weighing == GGUF_WEIGH_GIVEN) {
        load_runs(w, n, runs, weights);
    } else {
        if (weighing == GGUF_WEIGH_MEAN) {
            for (int i = 0; i < n; i++)
                mean += values[i] * values[i];
            mean = GGUF_SQRT(mean / (float)n);
        }
        for (int i = 0; i < n; i++)
            weights[i] = mean + magnitude(values[i]);
    }
    if (grid->absolute)
        fit_affine_lanes(n, grid, true, values, weights, &found, &scale, &offset);
    else
        fit_affine_lanes(n, grid, false, values, weights, &found, &scale, &offset);
    memcpy(scales, &scale, (size_t)runs * sizeof *scales);
    memcpy(offsets, &offset, (size_t)runs * sizeof *offsets);
    if (levels == NULL)
        return;
    for (int i = 0; i < n; i++)
        values[i] = level_of(found.inverse * (values[i] - found.from), 0.0f, (float)grid->top);
    store_runs(values, n, runs, levels);
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
        const float *run = x + first * n, *weights = w != NULL ? w + first * n : NULL;
        float *out = levels != NULL ? levels + first * n : NULL;
        if (n == GGUF_BLOCK)
            fit_offsets(GGUF_BLOCK, count, grid, weighing, run, weights, out, scales + first, offsets + first);
        else
            fit_offsets(GGUF_BLOCK / 2, count, grid, weighing, run, weights, out, scales + first, offsets + first);
    }
}

/* ---- vise_gguf_fit_symmetric --------------------------------------------------------------------------- */

/* The value of largest magnitude, the first of equals; returns the magnitude. */
LANE_FUNCTION lanes peaks(int n, const lanes *x, lanes *peak)
{
    lanes most = {0};
    *peak = most;
    for (int i = 0; i < n; i++) {
        const masks more = magnitude(x[i]) > most;
        most = choose(more, magnitude(x[i]), most);
        *peak = choose(more, x[i], *peak);
    }
    return most;
}

enum { CANDIDATES = 3 }; /* that are tried side by side */

/* Which clamps of levels to [-range, range - 1] change anything: with an inverse scale of (range + k / 10) / |peak| all
 * of them lie within range + k / 10, up to a rounding far below a tenth. */
typedef enum clamps {
    CLAMP_NONE, /* k <= -6 */
    CLAMP_HIGH, /* k <= 4 */
    CLAMP_BOTH
} clamps;

/* sum w x l and sum w l^2 of the levels that each of `count` inverse scales gives. */
LANE_FUNCTION void signed_products(int n, int count, float range, clamps needed, const lanes *x, const lanes *w,
                                   const lanes *wx, const lanes *inverse, lanes *sum_xl, lanes *sum_ll)
{
    for (int c = 0; c < count; c++)
        sum_xl[c] = sum_ll[c] = all(0.0f);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int c = 0; c < count; c++) {
            lanes level = GGUF_ROUND(inverse[c] * x[i]);
            if (needed == CLAMP_BOTH)
                level = GGUF_MAX(level, all(-range));
            if (needed != CLAMP_NONE)
                level = GGUF_MIN(level, all(range - 1.0f));
            sum_xl[c] += wx[i] * level;
            sum_ll[c] += w[i] * level * level;
        }
}

LANE_FUNCTION void fit_signed(int n, int runs, int top, const float *x, const float *w, float *levels, float *scales)
{
    const float range = (float)top;
    lanes values[GGUF_BLOCK], weights[GGUF_BLOCK], weighted[GGUF_BLOCK], peak;
    lanes best = {0}, scale = {0}, inverse = {0};
    load_runs(x, n, runs, values);
    if (w != NULL)
        load_runs(w, n, runs, weights);
    for (int i = 0; i < n; i++) {
        if (w == NULL)
            weights[i] = values[i] * values[i];
        weighted[i] = weights[i] * values[i];
    }
    const masks lives = ~(peaks(n, values, &peak) < 1e-15f);
    lanes candidate[CANDIDATES] = {-range / peak}, sum_xl[CANDIDATES], sum_ll[CANDIDATES];
    signed_products(n, 1, range, CLAMP_HIGH, values, weights, weighted, candidate, sum_xl, sum_ll);
    inverse = candidate[0];
    scale = choose(sum_ll[0] != 0.0f, sum_xl[0] / sum_ll[0], all(0.0f));
    best = scale * sum_xl[0];
    for (int k = -9; k <= 9; k += CANDIDATES + (k == -3)) { /* all but 0 */
        for (int c = 0; c < CANDIDATES; c++)
            candidate[c] = -(range + 0.1f * (float)(k + c)) / peak;
        if (k + CANDIDATES <= -5)
            signed_products(n, CANDIDATES, range, CLAMP_NONE, values, weights, weighted, candidate, sum_xl, sum_ll);
        else if (k + CANDIDATES <= 5)
            signed_products(n, CANDIDATES, range, CLAMP_HIGH, values, weights, weighted, candidate, sum_xl, sum_ll);
        else
            signed_products(n, CANDIDATES, range, CLAMP_BOTH, values, weights, weighted, candidate, sum_xl, sum_ll);
        for (int c = 0; c < CANDIDATES; c++) {
            const masks better = (sum_ll[c] > 0.0f) & (sum_xl[c] * sum_xl[c] > best * sum_ll[c]);
            if (!GGUF_ANY(better))
                continue;
            inverse = choose(better, candidate[c], inverse);
            scale = choose(better, sum_xl[c] / sum_ll[c], scale);
            best = choose(better, scale * sum_xl[c], best);
        }
    }
    scale = choose(lives, scale, all(0.0f));
    memcpy(scales, &scale, (size_t)runs * sizeof *scales);
    if (levels == NULL)
        return;
    for (int i = 0; i < n; i++)
        values[i] = choose(lives, level_of(inverse * values[i], -range, range - 1.0f), all(0.0f));
    store_runs(values, n, runs, levels);
}

GGUF_TARGET void GGUF_NAME(vise_gguf_fit_signed)(int n, int runs, int top, const float *x, const float *w,
                                                 float *levels, float *scales);
GGUF_TARGET void GGUF_NAME(vise_gguf_fit_signed)(int n, int runs, int top, const float *x, const float *w,
                                                 float *levels, float *scales)
{
    for (int first = 0; first < runs; first += GGUF_LANES) {
        const int count = runs - first < GGUF_LANES ? runs - first : GGUF_LANES;
        const float *run = x + first * n, *weights = w != NULL ? w + first * n : NULL;
        float *out = levels != NULL ? levels + first * n : NULL;
        if (n == GGUF_BLOCK)
            fit_signed(GGUF_BLOCK, count, top, run, weights, out, scales + first);
        else
            fit_signed(GGUF_BLOCK / 2, count, top, run, weights, out, scales + first);
    }
}

/* ---- the table of iq4_nl and iq4_xs ---------------------------------------------------------------------- */

static const float entry_table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

LANE_FUNCTION lanes entry_values(masks entries)
{
    lanes parts[16 / GGUF_LANES];
    memcpy(parts, entry_table, sizeof parts);
    return GGUF_LANES == 16 ? __builtin_shuffle(parts[0], entries)
                            : __builtin_shuffle(parts[0], parts[16 / GGUF_LANES - 1], entries);
}

/* The nearest entries: how many of the 15 middles between entries x reaches. Where it matters the differences that the
 * reference compares are exact. */
LANE_FUNCTION masks nearest_entries(lanes x)
{
    static const float second[GGUF_LANES] = {-57.0f, 45.5f}, third[GGUF_LANES] = {-93.5f, -28.5f, 19.0f, 79.0f},
                       fourth[GGUF_LANES] = {-115.5f, -74.0f, -42.0f, -16.0f, 7.0f, 31.5f, 61.0f, 101.0f};
    static const float *const steps[3] = {second, third, fourth};
    masks entry = -(x >= -4.5f);
#pragma GCC unroll 3
    for (int s = 0; s < 3; s++) {
        lanes middles;
        memcpy(&middles, steps[s], sizeof middles);
        entry = entry + entry - (x >= __builtin_shuffle(middles, entry));
    }
    return entry;
}

LANE_FUNCTION void fit_entries(int runs, const float *x, const float *w, float *scales)
{
    lanes values[GGUF_BLOCK], weights[GGUF_BLOCK], peak, scale = {0}, best = {0};
    load_runs(x, GGUF_BLOCK, runs, values);
    load_runs(w, GGUF_BLOCK, runs, weights);
    const masks lives = ~(peaks(GGUF_BLOCK, values, &peak) < 1e-15f);
    for (int k = -8; k <= 7; k++) { /* -8 stands for the start */
        const lanes inverse = k == -8 ? 1.0f / (-peak / entry_table[0]) : ((float)k + entry_table[0]) / peak;
        lanes sum_qx = {0}, sum_qq = {0};
#pragma GCC unroll 4
        for (int i = 0; i < GGUF_BLOCK; i++) {
            const lanes q = entry_values(nearest_entries(inverse * values[i])), wq = weights[i] * q;
            sum_qx += wq * values[i];
            sum_qq += wq * q;
        }
        const masks better = (sum_qq > 0.0f) & ((sum_qx * sum_qx > best * sum_qq) | -(k == -8));
        scale = choose(better, sum_qx / sum_qq, scale);
        best = choose(better, scale * sum_qx, best);
    }
    scale = choose(lives, scale, all(0.0f));
    memcpy(scales, &scale, (size_t)runs * sizeof *scales);
}

GGUF_TARGET void GGUF_NAME(vise_gguf_fit_entries)(int runs, const float *x, const float *w, float *scales);
GGUF_TARGET void GGUF_NAME(vise_gguf_fit_entries)(int runs, const float *x, const float *w, float *scales)
{
    for (int first = 0; first < runs; first += GGUF_LANES)
        fit_entries(runs - first < GGUF_LANES ? runs - first : GGUF_LANES, x + first * GGUF_BLOCK,
                    w + first * GGUF_BLOCK, scales + first);
}

GGUF_TARGET void GGUF_NAME(vise_gguf_entries)(const float *x, float inverse, uint8_t *q);
GGUF_TARGET void GGUF_NAME(vise_gguf_entries)(const float *x, float inverse, uint8_t *q)
{
    bytes_of_lanes entries[GGUF_BLOCK / GGUF_LANES];
    for (int v = 0; v < GGUF_BLOCK / GGUF_LANES; v++) {
        lanes values;
        memcpy(&values, x + v * GGUF_LANES, sizeof values);
        entries[v] = __builtin_convertvector(nearest_entries(values * inverse), bytes_of_lanes);
    }
    for (int v = 0; v < 16 / GGUF_LANES; v++) {
        const bytes_of_lanes out = entries[v] | entries[v + 16 / GGUF_LANES] << 4;
        memcpy(q + v * GGUF_LANES, &out, sizeof out);
    }
}

/* ---- levels from stored scales ------------------------------------------------------------------------- */

GGUF_TARGET void GGUF_NAME(vise_gguf_levels)(const float *x, int n, int runs, const float *scales,
                                             const float *offsets, float low, float high, uint8_t *levels);
GGUF_TARGET void GGUF_NAME(vise_gguf_levels)(const float *x, int n, int runs, const float *scales,
                                             const float *offsets, float low, float high, uint8_t *levels)
{
    for (int r = 0; r < runs; r++)
        for (int i = r * n; i < (r + 1) * n; i += GGUF_LANES) {
            lanes values;
            memcpy(&values, x + i, sizeof values);
            lanes level = level_of((values + offsets[r]) / scales[r], low, high) - low;
            bytes_of_lanes out = __builtin_convertvector(__builtin_convertvector(level, masks), bytes_of_lanes);
            memcpy(levels + i, &out, sizeof out);
        }
}

/* ---- q8_0, q4_0 ---------------------------------------------------------------------------------------- */

enum { VECTORS = GGUF_BLOCK / GGUF_LANES, BATCH = GGUF_LANES * GGUF_BLOCK /* values of as many blocks as lanes */ };

/* The greatest of x (of -x, of |x|) in each block of a batch, a block to a lane. */
LANE_FUNCTION lanes greatest_of(const float *x, bool magnitudes, bool negated)
{
    lanes block[GGUF_LANES];
#pragma GCC unroll 16
    for (int b = 0; b < GGUF_LANES; b++) {
        lanes v[VECTORS], most;
        memcpy(v, x + b * GGUF_BLOCK, sizeof v);
        most = magnitudes ? magnitude(v[0]) : negated ? -v[0] : v[0];
        for (int k = 1; k < VECTORS; k++) {
            const lanes other = magnitudes ? magnitude(v[k]) : negated ? -v[k] : v[k];
            most = GGUF_MAX(most, other);
        }
        block[b] = most;
    }
    transpose(block, true);
    return block[0];
}

/* The first value of this magnitude in a block. */
LANE_FUNCTION float first_of(const float *x, float size)
{
    int i = 0;
    while (i < GGUF_BLOCK - 1 && x[i] != size && x[i] != -size)
        i++;
    return x[i];
}

/* 1 / d; 0 where that is no number. */
LANE_FUNCTION lanes inverse_of(lanes d)
{
    const lanes inverse = 1.0f / d;
    return choose(inverse - inverse == 0.0f, inverse, all(0.0f));
}

/* Nearest, halves away from zero, for |x| < 2^22: what is added is the number below one half, so that no sum reaches
 * the next integer by its own rounding. */
LANE_FUNCTION masks round_away(lanes x)
{
    const masks half = (masks)all(0x1.fffffep-2f);
    return __builtin_convertvector(x + (lanes)(half | ((masks)x & (masks)all(-0.0f))), masks);
}

GGUF_TARGET void GGUF_NAME(vise_gguf_encode_q8_0)(const float *values, const float *importance, int64_t cols,
                                                  void *blocks);
GGUF_TARGET void GGUF_NAME(vise_gguf_encode_q8_0)(const float *values, const float *importance, int64_t cols,
                                                  void *blocks)
{
    block_q8_0 *block = blocks;
    int64_t at = 0;
    for (; at + BATCH <= cols; at += BATCH) {
        const lanes d = greatest_of(values + at, true, false) / 127.0f, inverse = inverse_of(d);
        uint16_t halves[GGUF_LANES];
        GGUF_TO_HALVES(halves, d);
        for (int b = 0; b < GGUF_LANES; b++, block++) {
            lanes x[VECTORS];
            memcpy(x, values + at + b * GGUF_BLOCK, sizeof x);
            block->d = halves[b];
            for (int v = 0; v < VECTORS; v++) {
                bytes_of_lanes out = __builtin_convertvector(round_away(x[v] * inverse[b]), bytes_of_lanes);
                memcpy(block->q + v * GGUF_LANES, &out, sizeof out);
            }
        }
    }
    vise_gguf_encode_q8_0_ref(values + at, importance, cols - at, block);
}

/* Levels of a batch without importance, as the reference's fit_signed with half 8. */
GGUF_TARGET void GGUF_NAME(vise_gguf_encode_q4_0)(const float *values, const float *importance, int64_t cols,
                                                  void *blocks);
GGUF_TARGET void GGUF_NAME(vise_gguf_encode_q4_0)(const float *values, const float *importance, int64_t cols,
                                                  void *blocks)
{
    block_q4_0 *block = blocks;
    int64_t at = 0;
    if (importance != NULL) {
        vise_gguf_encode_q4_0_ref(values, importance, cols, blocks);
        return;
    }
    for (; at + BATCH <= cols; at += BATCH) {
        const lanes above = greatest_of(values + at, false, false), below = greatest_of(values + at, false, true);
        lanes peak = choose(above > below, above, -below);
        for (int b = 0; GGUF_ANY(above == below) && b < GGUF_LANES; b++)
            if (above[b] == below[b])
                peak[b] = first_of(values + at + b * GGUF_BLOCK, above[b]);
        const lanes d = peak / -8.0f, inverse = inverse_of(d);
        uint16_t halves[GGUF_LANES];
        GGUF_TO_HALVES(halves, d);
        for (int b = 0; b < GGUF_LANES; b++, block++) {
            lanes x[VECTORS];
            bytes_of_lanes levels[VECTORS];
            memcpy(x, values + at + b * GGUF_BLOCK, sizeof x);
            block->d = halves[b];
            for (int v = 0; v < VECTORS; v++) {
                const lanes level = GGUF_MIN(x[v] * inverse[b] + 8.5f, all(15.0f));
                levels[v] = __builtin_convertvector(__builtin_convertvector(level, masks), bytes_of_lanes);
            }
            for (int v = 0; v < VECTORS / 2; v++) {
                const bytes_of_lanes out = levels[v] | levels[v + VECTORS / 2] << 4;
                memcpy(block->q + v * GGUF_LANES, &out, sizeof out);
            }
        }
    }
    vise_gguf_encode_q4_0_ref(values + at, NULL, cols - at, block);
}

/* ---- values of blocks ---------------------------------------------------------------------------------- */

GGUF_TARGET void GGUF_NAME(vise_gguf_values)(const uint8_t *levels, int n, int runs, int half, const float *scales,
                                             const float *offsets, float *values);
GGUF_TARGET void GGUF_NAME(vise_gguf_values)(const uint8_t *levels, int n, int runs, int half, const float *scales,
                                             const float *offsets, float *values)
{
    for (int r = 0; r < runs; r++)
        for (int i = r * n; i < (r + 1) * n; i += GGUF_LANES) {
            const lanes level = __builtin_convertvector(GGUF_BYTES(levels + i) - half, lanes);
            const lanes out = scales[r] * level - offsets[r];
            memcpy(values + i, &out, sizeof out);
        }
}

GGUF_TARGET void GGUF_NAME(vise_gguf_decode_q8_0)(const void *blocks, int64_t cols, float *values);
GGUF_TARGET void GGUF_NAME(vise_gguf_decode_q8_0)(const void *blocks, int64_t cols, float *values)
{
    const block_q8_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++) {
        const float d = GGUF_FROM_HALF(block->d);
        for (int v = 0; v < VECTORS; v++) {
            const lanes out = __builtin_convertvector(GGUF_SIGNED_BYTES(block->q + v * GGUF_LANES), lanes) * d;
            memcpy(values + at + v * GGUF_LANES, &out, sizeof out);
        }
    }
}

GGUF_TARGET void GGUF_NAME(vise_gguf_decode_q4_0)(const void *blocks, int64_t cols, float *values);
GGUF_TARGET void GGUF_NAME(vise_gguf_decode_q4_0)(const void *blocks, int64_t cols, float *values)
{
    const block_q4_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++) {
        const float d = GGUF_FROM_HALF(block->d);
        for (int v = 0; v < VECTORS / 2; v++) {
            const masks both = GGUF_BYTES(block->q + v * GGUF_LANES);
            const lanes low = __builtin_convertvector((both & 15) - 8, lanes) * d;
            const lanes high = __builtin_convertvector((both >> 4) - 8, lanes) * d;
            memcpy(values + at + v * GGUF_LANES, &low, sizeof low);
            memcpy(values + at + GGUF_BLOCK / 2 + v * GGUF_LANES, &high, sizeof high);
        }
    }
}

#endif
