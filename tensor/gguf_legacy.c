/* GGUF blocks of 32 values with one scale: q8_0, q4_0, q4_1, q5_0, q5_1, mxfp4. */
#include <math.h>
#include <string.h>

#include "tensor/gguf_blocks.h"

/* Importance of the values of a block: that of their columns, growing with the value's share of its row. */
static void weigh(const float *x, const float *importance, float mean_square, float *w)
{
    for (int i = 0; i < GGUF_BLOCK; i++)
        w[i] = importance[i] * sqrtf(mean_square + x[i] * x[i]);
}

static float row_mean_square(const float *x, int64_t cols)
{
    float sum = 0.0f;
    for (int64_t i = 0; i < cols; i++)
        sum += x[i] * x[i];
    return sum / (float)cols;
}

/* The value of largest magnitude; the first of equals. */
static float extreme(const float *x)
{
    float magnitude = 0.0f, value = 0.0f;
    for (int i = 0; i < GGUF_BLOCK; i++)
        if (fabsf(x[i]) > magnitude) {
            magnitude = fabsf(x[i]);
            value = x[i];
        }
    return value;
}

static void range_of(const float *x, float *min, float *max)
{
    *min = *max = x[0];
    for (int i = 1; i < GGUF_BLOCK; i++) {
        *min = x[i] < *min ? x[i] : *min;
        *max = x[i] > *max ? x[i] : *max;
    }
}

/* 0 where there is none: all values vanish. */
static float inverse_of(float d)
{
    float inverse = 1.0f / d;
    return isfinite(inverse) ? inverse : 0.0f;
}

/* ---- q8_0 ---------------------------------------------------------------------------------------------- */

void vise_gguf_encode_q8_0_ref(const float *values, const float *importance, int64_t cols, void *blocks)
{
    (void)importance;
    block_q8_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++) {
        const float *x = values + at;
        float d = fabsf(extreme(x)) / 127.0f, inverse = inverse_of(d);
        block->d = gguf_to_half(d);
        for (int i = 0; i < GGUF_BLOCK; i++)
            block->q[i] = (int8_t)roundf(x[i] * inverse);
    }
}

void vise_gguf_decode_q8_0_ref(const void *blocks, int64_t cols, float *values)
{
    const block_q8_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++) {
        float d = gguf_from_half(block->d);
        for (int i = 0; i < GGUF_BLOCK; i++)
            values[at + i] = (float)block->q[i] * d;
    }
}

/* ---- four and five bits -------------------------------------------------------------------------------- */

/* The levels of a block with at most five bits: nibbles, and the fifth bits where there is room for them. */
static void store_levels(const float *levels, uint8_t *q, uint8_t *high)
{
    uint32_t fifth = 0;
    for (int i = 0; i < 16; i++) {
        unsigned a = (unsigned)(int)levels[i], b = (unsigned)(int)levels[i + 16];
        q[i] = (uint8_t)((a & 15u) | (b & 15u) << 4);
        fifth |= (a >> 4 & 1u) << i | (b >> 4 & 1u) << (i + 16);
    }
    for (int i = 0; high != NULL && i < 4; i++)
        high[i] = (uint8_t)(fifth >> 8 * i);
}

static int load_level(const uint8_t *q, const uint8_t *high, int i)
{
    int level = i < 16 ? q[i] & 15 : q[i - 16] >> 4;
    return high != NULL ? level | (high[i / 8] >> (i % 8) & 1) << 4 : level;
}

enum { BATCH = 16 }; /* blocks that are searched together: as many as the widest vectors have lanes */

typedef struct batch {
    const float *x; /* of `count` blocks */
    int count;
    bool weighted;
    float w[BATCH * GGUF_BLOCK]; /* if weighted */
    float levels[BATCH * GGUF_BLOCK];
    float d[BATCH], min[BATCH];
} batch;

/* Levels [-half, half - 1] kept as [0, 2 half - 1]: the value of largest magnitude takes the lowest. */
static void fit_signed(int half, batch *b)
{
    const float shift = (float)half;
    if (b->weighted) {
        vise_tensor_kernels_now()->gguf_fit_signed(GGUF_BLOCK, b->count, half, b->x, b->w, b->levels, b->d);
        for (int i = 0; i < b->count * GGUF_BLOCK; i++)
            b->levels[i] += shift;
        return;
    }
    for (int r = 0; r < b->count; r++) {
        const float *x = b->x + r * GGUF_BLOCK;
        b->d[r] = extreme(x) / -shift;
        const float inverse = inverse_of(b->d[r]);
        for (int i = 0; i < GGUF_BLOCK; i++)
            b->levels[r * GGUF_BLOCK + i] = fminf(truncf(x[i] * inverse + (shift + 0.5f)), 2.0f * shift - 1.0f);
    }
}

/* Levels [0, top] above the smallest value. */
static void fit_unsigned(int top, batch *b)
{
    if (b->weighted) {
        const gguf_grid grid = {.top = top, .first = -0.9f, .step = 0.05f, .steps = 36};
        vise_tensor_kernels_now()->gguf_fit_offsets(GGUF_BLOCK, b->count, &grid, GGUF_WEIGH_GIVEN, b->x, b->w,
                                                    b->levels, b->d, b->min);
        for (int r = 0; r < b->count; r++)
            b->min[r] = -b->min[r];
        return;
    }
    for (int r = 0; r < b->count; r++) {
        const float *x = b->x + r * GGUF_BLOCK;
        float max;
        range_of(x, &b->min[r], &max);
        b->d[r] = (max - b->min[r]) / (float)top;
        const float inverse = inverse_of(b->d[r]);
        for (int i = 0; i < GGUF_BLOCK; i++)
            b->levels[r * GGUF_BLOCK + i] = fminf(truncf((x[i] - b->min[r]) * inverse + 0.5f), (float)top);
    }
}

/* Fits batch after batch of a row and calls `body` for each block r of a batch with its levels. */
#define FOR_BLOCKS(type, fit, range, body)                                                                   \
    type *block = blocks;                                                                                    \
    batch b = {.weighted = importance != NULL};                                                              \
    const float mean_square = importance != NULL ? row_mean_square(values, cols) : 0.0f;                     \
    for (int64_t at = 0; at < cols; at += BATCH * GGUF_BLOCK) {                                              \
        b.x = values + at;                                                                                   \
        b.count = cols - at < BATCH * GGUF_BLOCK ? (int)((cols - at) / GGUF_BLOCK) : BATCH;                  \
        for (int i = 0; importance != NULL && i < b.count * GGUF_BLOCK; i += GGUF_BLOCK)                     \
            weigh(b.x + i, importance + at + i, mean_square, b.w + i);                                       \
        fit(range, &b);                                                                                      \
        for (int r = 0; r < b.count; r++, block++) {                                                         \
            const float *levels = b.levels + r * GGUF_BLOCK;                                                 \
            block->d = gguf_to_half(b.d[r]);                                                                 \
            body                                                                                             \
        }                                                                                                    \
    }

void vise_gguf_encode_q4_0_ref(const float *values, const float *importance, int64_t cols, void *blocks)
{
    FOR_BLOCKS(block_q4_0, fit_signed, 8, { store_levels(levels, block->q, NULL); })
}

void vise_gguf_encode_q5_0(const float *values, const float *importance, int64_t cols, void *blocks)
{
    FOR_BLOCKS(block_q5_0, fit_signed, 16, { store_levels(levels, block->q, block->high); })
}

void vise_gguf_encode_q4_1(const float *values, const float *importance, int64_t cols, void *blocks)
{
    FOR_BLOCKS(block_q4_1, fit_unsigned, 15, {
        block->m = gguf_to_half(b.min[r]);
        store_levels(levels, block->q, NULL);
    })
}

void vise_gguf_encode_q5_1(const float *values, const float *importance, int64_t cols, void *blocks)
{
    FOR_BLOCKS(block_q5_1, fit_unsigned, 31, {
        block->m = gguf_to_half(b.min[r]);
        store_levels(levels, block->q, block->high);
    })
}

/* (level - half) * d */
static void decode_signed(const uint8_t *q, const uint8_t *high, uint16_t scale, int half, float *values)
{
    float d = gguf_from_half(scale);
    for (int i = 0; i < GGUF_BLOCK; i++)
        values[i] = (float)(load_level(q, high, i) - half) * d;
}

static void decode_unsigned(const uint8_t *q, const uint8_t *high, uint16_t scale, uint16_t min,
                            float *values)
{
    float d = gguf_from_half(scale), m = gguf_from_half(min);
    for (int i = 0; i < GGUF_BLOCK; i++)
        values[i] = (float)load_level(q, high, i) * d + m;
}

void vise_gguf_decode_q4_0_ref(const void *blocks, int64_t cols, float *values)
{
    const block_q4_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++)
        decode_signed(block->q, NULL, block->d, 8, values + at);
}

void vise_gguf_decode_q5_0(const void *blocks, int64_t cols, float *values)
{
    const block_q5_0 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++)
        decode_signed(block->q, block->high, block->d, 16, values + at);
}

void vise_gguf_decode_q4_1(const void *blocks, int64_t cols, float *values)
{
    const block_q4_1 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++)
        decode_unsigned(block->q, NULL, block->d, block->m, values + at);
}

void vise_gguf_decode_q5_1(const void *blocks, int64_t cols, float *values)
{
    const block_q5_1 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++)
        decode_unsigned(block->q, block->high, block->d, block->m, values + at);
}

/* ---- grids --------------------------------------------------------------------------------------------- */

static void grid_of(int levels, int half, uint16_t scale, float offset, vise_gguf_grid *grid)
{
    *grid = (vise_gguf_grid){.run = GGUF_BLOCK, .levels = levels, .half = half};
    grid->scale[0] = gguf_from_half(scale);
    grid->offset[0] = offset;
}

static void put_nibbles(const uint8_t *levels, uint8_t *q, uint8_t *high)
{
    float as_floats[GGUF_BLOCK];
    for (int i = 0; i < GGUF_BLOCK; i++)
        as_floats[i] = (float)levels[i];
    store_levels(as_floats, q, high);
}

/* -128 is left out: no encoder writes it, and kernels that take magnitudes of codes stumble over it. */
void vise_gguf_grid_q8_0(const void *block, vise_gguf_grid *grid)
{
    grid_of(255, 127, ((const block_q8_0 *)block)->d, 0.0f, grid);
}

void vise_gguf_put_q8_0(const uint8_t *levels, void *block)
{
    for (int i = 0; i < GGUF_BLOCK; i++)
        ((block_q8_0 *)block)->q[i] = (int8_t)(levels[i] - 127);
}

void vise_gguf_grid_q4_0(const void *block, vise_gguf_grid *grid)
{
    grid_of(16, 8, ((const block_q4_0 *)block)->d, 0.0f, grid);
}

void vise_gguf_put_q4_0(const uint8_t *levels, void *block)
{
    put_nibbles(levels, ((block_q4_0 *)block)->q, NULL);
}

void vise_gguf_grid_q4_1(const void *block, vise_gguf_grid *grid)
{
    const block_q4_1 *b = block;
    grid_of(16, 0, b->d, -gguf_from_half(b->m), grid);
}

void vise_gguf_put_q4_1(const uint8_t *levels, void *block)
{
    put_nibbles(levels, ((block_q4_1 *)block)->q, NULL);
}

void vise_gguf_grid_q5_0(const void *block, vise_gguf_grid *grid)
{
    grid_of(32, 16, ((const block_q5_0 *)block)->d, 0.0f, grid);
}

void vise_gguf_put_q5_0(const uint8_t *levels, void *block)
{
    block_q5_0 *b = block;
    put_nibbles(levels, b->q, b->high);
}

void vise_gguf_grid_q5_1(const void *block, vise_gguf_grid *grid)
{
    const block_q5_1 *b = block;
    grid_of(32, 0, b->d, -gguf_from_half(b->m), grid);
}

void vise_gguf_put_q5_1(const uint8_t *levels, void *block)
{
    block_q5_1 *b = block;
    put_nibbles(levels, b->q, b->high);
}

/* ---- mxfp4 --------------------------------------------------------------------------------------------- */

/* E2M1 codes, doubled. */
static const float e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 128): half of the scale that e stands for, denormal for the two smallest. */
static float half_scale(unsigned e)
{
    return ldexpf(1.0f, (int)e - 128);
}

/* The first of the nearest codes. */
static unsigned nearest_code(float x, float d)
{
    unsigned best = 0;
    float least = fabsf(e2m1[0] * d - x);
    for (unsigned code = 1; code < 16; code++) {
        float error = fabsf(e2m1[code] * d - x);
        if (error < least) {
            least = error;
            best = code;
        }
    }
    return best;
}

void vise_gguf_encode_mxfp4(const float *values, const float *importance, int64_t cols, void *blocks)
{
    (void)importance;
    block_mxfp4 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++) {
        const float *x = values + at;
        float magnitude = fabsf(extreme(x));
        int e = 0;
        if (magnitude > 0.0f) {
            (void)frexpf(magnitude, &e); /* magnitude = [0.5, 1) * 2^e */
            e = e - 1 - 2 + 127;
            e = e < 0 ? 0 : e;
        }
        float d = half_scale((unsigned)e);
        block->e = (uint8_t)e;
        for (int i = 0; i < 16; i++)
            block->q[i] = (uint8_t)(nearest_code(x[i], d) | nearest_code(x[i + 16], d) << 4);
    }
}

void vise_gguf_decode_mxfp4(const void *blocks, int64_t cols, float *values)
{
    const block_mxfp4 *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_BLOCK, block++) {
        float d = half_scale(block->e);
        for (int i = 0; i < GGUF_BLOCK; i++)
            values[at + i] = e2m1[load_level(block->q, NULL, i)] * d;
    }
}

/* ---- by CPU level -------------------------------------------------------------------------------------- */

void vise_gguf_encode_q8_0(const float *values, const float *importance, int64_t cols, void *blocks)
{
    vise_tensor_kernels_now()->gguf_encode_q8_0(values, importance, cols, blocks);
}

void vise_gguf_encode_q4_0(const float *values, const float *importance, int64_t cols, void *blocks)
{
    vise_tensor_kernels_now()->gguf_encode_q4_0(values, importance, cols, blocks);
}

void vise_gguf_decode_q8_0(const void *blocks, int64_t cols, float *values)
{
    vise_tensor_kernels_now()->gguf_decode_q8_0(blocks, cols, values);
}

void vise_gguf_decode_q4_0(const void *blocks, int64_t cols, float *values)
{
    vise_tensor_kernels_now()->gguf_decode_q4_0(blocks, cols, values);
}
