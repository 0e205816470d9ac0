/* GGUF blocks whose levels are no even steps: iq4_nl and iq4_xs (a table of sixteen), tq1_0 and tq2_0
 * (-1, 0, 1), q1_0 (-1, 1). */
#include <math.h>
#include <string.h>

#include "tensor/gguf_blocks.h"

/* Denser around zero, where weights are. */
static const float table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* Index of the nearest entry; of two equally near the upper. */
static unsigned nearest_entry(float x)
{
    unsigned below = 0, above = 15;
    if (!(x > table[0]))
        return 0;
    if (x >= table[15])
        return 15;
    while (above - below > 1) {
        unsigned middle = (below + above) / 2;
        if (x < table[middle])
            above = middle;
        else
            below = middle;
    }
    return x - table[below] < table[above] - x ? below : above;
}

static float inverse_of(float d)
{
    float inverse = 1.0f / d;
    return isfinite(inverse) ? inverse : 0.0f;
}

/* ---- iq4_nl, iq4_xs ------------------------------------------------------------------------------------ */

typedef struct products {
    float qx, qq;
} products;

static products table_products(const float *x, const float *w, float inverse)
{
    products sum = {0.0f, 0.0f};
    for (int i = 0; i < GGUF_BLOCK; i++) {
        float q = table[nearest_entry(inverse * x[i])];
        sum.qx += w[i] * q * x[i];
        sum.qq += w[i] * q * q;
    }
    return sum;
}

/* The scale of 32 values: 16 starts, each solved by weighted least squares; the best explains most. */
static float fit_table(const float *x, const float *w)
{
    float peak = 0.0f;
    for (int i = 0; i < GGUF_BLOCK; i++)
        if (fabsf(x[i]) > fabsf(peak))
            peak = x[i];
    if (fabsf(peak) < 1e-15f)
        return 0.0f;
    products sum = table_products(x, w, 1.0f / (-peak / table[0]));
    float d = sum.qq > 0.0f ? sum.qx / sum.qq : 0.0f, best = d * sum.qx;
    for (int i = -7; i <= 7; i++) {
        sum = table_products(x, w, ((float)i + table[0]) / peak);
        if (sum.qq > 0.0f && sum.qx * sum.qx > best * sum.qq) {
            d = sum.qx / sum.qq;
            best = d * sum.qx;
        }
    }
    return d;
}

void vise_gguf_fit_entries_ref(int runs, const float *x, const float *w, float *scales)
{
    for (int r = 0; r < runs; r++)
        scales[r] = fit_table(x + r * GGUF_BLOCK, w + r * GGUF_BLOCK);
}

void vise_gguf_entries_ref(const float *x, float inverse, uint8_t *q)
{
    for (int i = 0; i < 16; i++)
        q[i] = (uint8_t)(nearest_entry(inverse * x[i]) | nearest_entry(inverse * x[i + 16]) << 4);
}

enum { SPAN = 16 * GGUF_BLOCK }; /* values of as many runs as the widest vectors have lanes */

/* Scales of the runs of at most SPAN values. `share` of them share the spread of their weights. */
static void fit_runs(int n, int share, const float *x, const float *importance, float *scales)
{
    float w[SPAN];
    for (int first = 0; first < n; first += share) {
        float sum = 0.0f;
        for (int i = first; i < first + share; i++)
            sum += x[i] * x[i];
        const float spread = sum * (2.0f / (float)share);
        for (int i = first; i < first + share; i++)
            w[i] = importance != NULL ? importance[i] * sqrtf(spread + x[i] * x[i]) : x[i] * x[i];
    }
    vise_tensor_kernels_now()->gguf_fit_entries(n / GGUF_BLOCK, x, w, scales);
}

static void load_entries(const uint8_t *q, float d, float *values)
{
    for (int i = 0; i < 16; i++) {
        values[i] = d * table[q[i] & 15];
        values[i + 16] = d * table[q[i] >> 4];
    }
}

void vise_gguf_encode_iq4_nl(const float *values, const float *importance, int64_t cols, void *blocks)
{
    block_q4_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += SPAN) {
        const int n = cols - at < SPAN ? (int)(cols - at) : SPAN;
        float d[SPAN / GGUF_BLOCK];
        fit_runs(n, GGUF_BLOCK, values + at, importance != NULL ? importance + at : NULL, d);
        for (int r = 0; r < n / GGUF_BLOCK; r++, block++) {
            block->d = gguf_to_half(d[r]);
            vise_tensor_kernels_now()->gguf_entries(values + at + r * GGUF_BLOCK, inverse_of(d[r]), block->q);
        }
    }
}

void vise_gguf_decode_iq4_nl(const void *blocks, int64_t cols, float *values)
{
    const block_q4_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++)
        load_entries(block->q, gguf_from_half(block->d), values + at);
}

/* A super block from the scales of its eight runs. */
static void settle_xs(const float *x, const float *scales, block_iq4_xs *block)
{
    float peak = 0.0f;
    for (int r = 0; r < 8; r++)
        if (fabsf(scales[r]) > fabsf(peak))
            peak = scales[r];
    const float d = -peak / 32.0f, inverse = inverse_of(d);
    memset(block, 0, sizeof *block);
    block->d = gguf_to_half(d);
    for (int r = 0; r < 8; r++) {
        float level = gguf_clamp(gguf_round(inverse * scales[r]), -32.0f, 31.0f);
        unsigned kept = (unsigned)((int)level + 32);
        vise_tensor_kernels_now()->gguf_entries(x + 32 * r, inverse_of(d * level), block->q + 16 * r);
        block->scales_low[r / 2] |= (uint8_t)((kept & 15) << 4 * (r % 2));
        block->scales_high |= (uint16_t)((kept >> 4) << 2 * r);
    }
}

void vise_gguf_encode_iq4_xs(const float *values, const float *importance, int64_t cols, void *blocks)
{
    block_iq4_xs *block = blocks;
    for (int64_t at = 0; at < cols; at += SPAN) {
        const int n = cols - at < SPAN ? (int)(cols - at) : SPAN;
        float scales[SPAN / GGUF_BLOCK];
        fit_runs(n, GGUF_SUPER, values + at, importance != NULL ? importance + at : NULL, scales);
        for (int s = 0; s < n / GGUF_SUPER; s++, block++)
            settle_xs(values + at + s * GGUF_SUPER, scales + 8 * s, block);
    }
}

/* The scale of run r in units of d. */
static int xs_scale(const block_iq4_xs *block, int r)
{
    const int high = (block->scales_high >> 2 * r & 3) << 4;
    return ((block->scales_low[r / 2] >> 4 * (r % 2) & 15) | high) - 32;
}

void vise_gguf_decode_iq4_xs(const void *blocks, int64_t cols, float *values)
{
    const block_iq4_xs *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        float unit = gguf_from_half(block->d);
        for (int r = 0; r < 8; r++)
            load_entries(block->q + 16 * r, unit * (float)xs_scale(block, r), values + at + 32 * r);
    }
}

static void put_entries(const uint8_t *levels, uint8_t *q)
{
    for (int i = 0; i < 16; i++)
        q[i] = (uint8_t)(levels[i] | levels[i + 16] << 4);
}

void vise_gguf_put_iq4_nl(const uint8_t *levels, void *block)
{
    put_entries(levels, ((block_q4_0 *)block)->q);
}

void vise_gguf_put_iq4_xs(const uint8_t *levels, void *block)
{
    for (int r = 0; r < 8; r++)
        put_entries(levels + 32 * r, ((block_iq4_xs *)block)->q + 16 * r);
}

void vise_gguf_grid_iq4_nl(const void *block, vise_gguf_grid *grid)
{
    *grid = (vise_gguf_grid){.run = GGUF_BLOCK, .levels = 16, .point = table};
    grid->scale[0] = gguf_from_half(((const block_q4_0 *)block)->d);
}

void vise_gguf_grid_iq4_xs(const void *block, vise_gguf_grid *grid)
{
    const block_iq4_xs *b = block;
    const float unit = gguf_from_half(b->d);
    *grid = (vise_gguf_grid){.run = 32, .levels = 16, .point = table};
    for (int r = 0; r < 8; r++)
        grid->scale[r] = unit * (float)xs_scale(b, r);
}

/* ---- ternary ------------------------------------------------------------------------------------------- */

static float magnitude_of(const float *x, int n)
{
    float magnitude = 0.0f;
    for (int i = 0; i < n; i++)
        magnitude = fmaxf(magnitude, fabsf(x[i]));
    return magnitude;
}

/* 0, 1, 2 for -1, 0, 1. */
static unsigned trit(float x, float inverse)
{
    return (unsigned)((int)roundf(x * inverse) + 1);
}

/* Places of tq1_0: byte i of a group of `width` bytes holds digits i, i + width, ... of width * digits
 * values. */
typedef struct trit_group {
    int width, digits;
} trit_group;

static const trit_group trit_groups[] = {{32, 5}, {16, 5}, {4, 4}}; /* 160 + 80 + 16 values */

void vise_gguf_encode_tq1_0(const float *values, const float *importance, int64_t cols, void *blocks)
{
    (void)importance;
    block_tq1_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        const float *x = values + at;
        float d = magnitude_of(x, GGUF_SUPER), inverse = inverse_of(d);
        uint8_t bytes[sizeof block->q + sizeof block->tail], *out = bytes;
        block->d = gguf_to_half(d);
        for (int g = 0; g < 3; g++) {
            const trit_group *group = &trit_groups[g];
            for (int i = 0; i < group->width; i++) {
                unsigned number = 0; /* five digits, the first the most significant */
                for (int k = 0; k < 5; k++)
                    number = 3 * number + (k < group->digits ? trit(x[i + k * group->width], inverse) : 0);
                *out++ = (uint8_t)((number * 256 + 242) / 243); /* as a fraction of 256, rounded up */
            }
            x += group->width * group->digits;
        }
        memcpy(block->q, bytes, sizeof block->q);
        memcpy(block->tail, bytes + sizeof block->q, sizeof block->tail);
    }
}

void vise_gguf_decode_tq1_0(const void *blocks, int64_t cols, float *values)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    const block_tq1_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        float d = gguf_from_half(block->d), *x = values + at;
        uint8_t bytes[sizeof block->q + sizeof block->tail], *in = bytes;
        memcpy(bytes, block->q, sizeof block->q);
        memcpy(bytes + sizeof block->q, block->tail, sizeof block->tail);
        for (int g = 0; g < 3; g++) {
            const trit_group *group = &trit_groups[g];
            for (int i = 0; i < group->width; i++, in++)
                for (int k = 0; k < group->digits; k++) {
                    unsigned fraction = (unsigned)*in * power[k] & 255u; /* digit k comes next */
                    x[i + k * group->width] = (float)((int)(fraction * 3 >> 8) - 1) * d;
                }
            x += group->width * group->digits;
        }
    }
}

void vise_gguf_encode_tq2_0(const float *values, const float *importance, int64_t cols, void *blocks)
{
    (void)importance;
    block_tq2_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        const float *x = values + at;
        float d = magnitude_of(x, GGUF_SUPER), inverse = inverse_of(d);
        block->d = gguf_to_half(d);
        for (int i = 0; i < 64; i++) {
            const float *first = x + i / 32 * 128 + i % 32;
            unsigned byte = 0;
            for (int k = 0; k < 4; k++)
                byte |= trit(first[32 * k], inverse) << 2 * k;
            block->q[i] = (uint8_t)byte;
        }
    }
}

void vise_gguf_decode_tq2_0(const void *blocks, int64_t cols, float *values)
{
    const block_tq2_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        float d = gguf_from_half(block->d);
        for (int i = 0; i < 64; i++)
            for (int k = 0; k < 4; k++)
                values[at + i / 32 * 128 + i % 32 + 32 * k] = (float)((block->q[i] >> 2 * k & 3) - 1) * d;
    }
}

/* ---- q1_0 ---------------------------------------------------------------------------------------------- */

enum { Q1_VALUES = 128 };

void vise_gguf_encode_q1_0(const float *values, const float *importance, int64_t cols, void *blocks)
{
    (void)importance;
    block_q1_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += Q1_VALUES, block++) {
        const float *x = values + at;
        float sum = 0.0f;
        for (int i = 0; i < Q1_VALUES; i++)
            sum += fabsf(x[i]);
        block->d = gguf_to_half(sum / (float)Q1_VALUES);
        memset(block->q, 0, sizeof block->q);
        for (int i = 0; i < Q1_VALUES; i++)
            block->q[i / 8] |= (uint8_t)((x[i] >= 0.0f) << i % 8);
    }
}

void vise_gguf_decode_q1_0(const void *blocks, int64_t cols, float *values)
{
    const block_q1_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += Q1_VALUES, block++) {
        float d = gguf_from_half(block->d);
        for (int i = 0; i < Q1_VALUES; i++)
            values[at + i] = block->q[i / 8] >> i % 8 & 1 ? d : -d;
    }
}
