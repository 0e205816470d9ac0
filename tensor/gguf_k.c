/* GGUF super blocks of 256 values: q2_k to q6_k. A super block has 16 runs of 16 values or 8 runs of 32;
 * a run has a small integer scale (and offset) in units of the super block's float16 scale (and offset).
 * Scales are searched run by run, rounded to what is stored, and the levels are taken again from the
 * stored scales. */
#include <math.h>
#include <string.h>

#include "tensor/gguf_blocks.h"

enum { RUNS_MAX = 16 };

static float mean_square(const float *x, int n)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum / (float)n;
}

/* Importance of the values of a run: that of their columns, growing with the value. Returns the sum. */
static float weigh(int n, const float *x, const float *importance, float spread, float *w)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++) {
        w[i] = importance[i] * sqrtf(spread + x[i] * x[i]);
        sum += w[i];
    }
    return sum;
}

/* The scale of largest magnitude, with its sign; the first of equals. */
static float extreme_scale(const float *scales, int n)
{
    float value = 0.0f;
    for (int i = 0; i < n; i++)
        if (fabsf(scales[i]) > fabsf(value))
            value = scales[i];
    return value;
}

/* ---- scales and offsets (q2_k, q4_k, q5_k) ------------------------------------------------------------- */

/* What the types with an offset differ in. */
typedef struct offset_rule {
    int run;                /* values of a run */
    int scale_top;          /* largest integer scale */
    gguf_weighing weighing; /* without importance */
    float spread;           /* times the mean square, of the weights with importance */
    gguf_grid plain, weighted;
} offset_rule;

static const offset_rule rule_q2_k = {
    16, 15, GGUF_WEIGH_ABSOLUTE, 1.0f, {3, -0.5f, 0.1f, 15, true}, {3, -0.9f, 0.05f, 36, false}};
static const offset_rule rule_q4_k = {
    32, 63, GGUF_WEIGH_MEAN, 2.0f, {15, -1.0f, 0.1f, 20, false}, {15, -0.9f, 0.05f, 36, false}};
static const offset_rule rule_q5_k = {
    32, 63, GGUF_WEIGH_MEAN, 2.0f, {31, -0.5f, 0.1f, 15, false}, {31, -0.9f, 0.05f, 36, false}};

/* A super block before packing. */
typedef struct offset_block {
    uint16_t d, dmin;
    uint8_t scales[RUNS_MAX], offsets[RUNS_MAX];
    uint8_t levels[GGUF_SUPER];
} offset_block;

/* Integer scales by the largest of them; returns the unit. */
static float round_scales(const float *scales, int n, int top, uint8_t *rounded)
{
    float max = 0.0f;
    for (int i = 0; i < n; i++)
        max = scales[i] > max ? scales[i] : max;
    float inverse = max > 0.0f ? (float)top / max : 0.0f;
    for (int i = 0; i < n; i++)
        rounded[i] = (uint8_t)gguf_clamp(gguf_round(inverse * scales[i]), 0.0f, (float)top);
    return max / (float)top;
}

static float fit_scales(const float *scales, const float *w, int n, int top, uint8_t *rounded)
{
    float levels[RUNS_MAX];
    float unit = vise_gguf_fit_positive(n, top, scales, w, levels);
    for (int i = 0; i < n; i++)
        rounded[i] = (uint8_t)gguf_clamp(levels[i], 0.0f, (float)top);
    return unit;
}

/* What the search found for the runs of a super block. */
typedef struct searched_runs {
    const float *scales, *offsets, *w, *sums; /* w, sums NULL: no importance */
} searched_runs;

/* Levels of a run whose scale is stored as zero: those of the search. */
static void keep_searched(const offset_rule *rule, const float *x, const float *w, uint8_t *levels)
{
    float searched[GGUF_BLOCK], scale, offset;
    vise_gguf_fit_offsets_ref(rule->run, 1, w != NULL ? &rule->weighted : &rule->plain,
                              w != NULL ? GGUF_WEIGH_GIVEN : rule->weighing, x, w, searched, &scale, &offset);
    for (int i = 0; i < rule->run; i++)
        levels[i] = (uint8_t)searched[i];
}

/* Rounds scales and offsets to what is stored, and takes the levels again. */
static void settle(const offset_rule *rule, const float *x, const searched_runs *found, offset_block *out)
{
    const int n = rule->run, runs = GGUF_SUPER / n, top = rule->plain.top;
    if (found->sums != NULL) {
        out->d = gguf_to_half(fit_scales(found->scales, found->sums, runs, rule->scale_top, out->scales));
        out->dmin =
            gguf_to_half(fit_scales(found->offsets, found->sums, runs, rule->scale_top, out->offsets));
    } else {
        out->d = gguf_to_half(round_scales(found->scales, runs, rule->scale_top, out->scales));
        out->dmin = gguf_to_half(round_scales(found->offsets, runs, rule->scale_top, out->offsets));
    }
    float unit = gguf_from_half(out->d), offset_unit = gguf_from_half(out->dmin);
    float scales[RUNS_MAX], offsets[RUNS_MAX];
    for (int r = 0; r < runs; r++) {
        scales[r] = unit * (float)out->scales[r];
        offsets[r] = offset_unit * (float)out->offsets[r];
    }
    vise_tensor_kernels_now()->gguf_levels(x, n, runs, scales, offsets, 0.0f, (float)top, out->levels);
    for (int r = 0; r < runs; r++)
        if (scales[r] == 0.0f)
            keep_searched(rule, x + r * n, found->w != NULL ? found->w + r * n : NULL, out->levels + r * n);
}

/* Super block `at` of a row and the one behind it, if there is one: their runs fill the widest vectors. */
static void encode_pair(const offset_rule *rule, const float *values, const float *importance, int64_t at,
                        int64_t cols, offset_block pair[2])
{
    const int n = rule->run, runs = GGUF_SUPER / n, supers = cols - at > GGUF_SUPER ? 2 : 1;
    const float *x = values + at;
    float scales[2 * RUNS_MAX] = {0}, offsets[2 * RUNS_MAX] = {0}, sums[2 * RUNS_MAX] = {0};
    float w[2 * GGUF_SUPER];
    for (int s = 0; importance != NULL && s < supers; s++) {
        float spread = rule->spread * mean_square(x + s * GGUF_SUPER, GGUF_SUPER);
        for (int r = s * runs; r < (s + 1) * runs; r++)
            sums[r] = weigh(n, x + r * n, importance + at + r * n, spread, w + r * n);
    }
    vise_tensor_kernels_now()->gguf_fit_offsets(
        n, supers * runs, importance != NULL ? &rule->weighted : &rule->plain,
        importance != NULL ? GGUF_WEIGH_GIVEN : rule->weighing, x, w, NULL, scales, offsets);
    for (int s = 0; s < supers; s++) {
        const searched_runs found = {scales + s * runs, offsets + s * runs,
                                     importance != NULL ? w + s * GGUF_SUPER : NULL,
                                     importance != NULL ? sums + s * runs : NULL};
        settle(rule, x + s * GGUF_SUPER, &found, &pair[s]);
    }
}

static void decode_offset(const offset_block *in, int run, float *values)
{
    float unit = gguf_from_half(in->d), offset_unit = gguf_from_half(in->dmin);
    float scales[RUNS_MAX], offsets[RUNS_MAX];
    for (int r = 0; r < GGUF_SUPER / run; r++) {
        scales[r] = unit * (float)in->scales[r];
        offsets[r] = offset_unit * (float)in->offsets[r];
    }
    vise_tensor_kernels_now()->gguf_values(in->levels, run, GGUF_SUPER / run, 0, scales, offsets, values);
}

static void grid_of_offsets(const offset_block *in, int run, int levels, vise_gguf_grid *grid)
{
    float unit = gguf_from_half(in->d), offset_unit = gguf_from_half(in->dmin);
    *grid = (vise_gguf_grid){.run = run, .levels = levels};
    for (int r = 0; r < GGUF_SUPER / run; r++) {
        grid->scale[r] = unit * (float)in->scales[r];
        grid->offset[r] = offset_unit * (float)in->offsets[r];
    }
}

/* ---- packing ------------------------------------------------------------------------------------------- */

/* Pairs of bits: per 128 values, byte l holds values l, l + 32, l + 64, l + 96. */
static void pack_pairs(const uint8_t *restrict levels, uint8_t *restrict q)
{
    for (int half = 0; half < 2; half++, q += 32, levels += 128)
        for (int i = 0; i < 32; i++)
            q[i] = (uint8_t)((levels[i] & 3) | (levels[i + 32] & 3) << 2 | (levels[i + 64] & 3) << 4 |
                             (levels[i + 96] & 3) << 6);
}

static void unpack_pairs(const uint8_t *restrict q, uint8_t *restrict levels)
{
    for (int half = 0; half < 2; half++, q += 32)
        for (int k = 0; k < 4; k++, levels += 32)
            for (int i = 0; i < 32; i++)
                levels[i] = q[i] >> 2 * k & 3;
}

/* Low nibbles: per 64 values, byte l holds values l and l + 32. */
static void pack_nibbles(const uint8_t *restrict levels, uint8_t *restrict q)
{
    for (int part = 0; part < 4; part++, q += 32, levels += 64)
        for (int i = 0; i < 32; i++)
            q[i] = (uint8_t)((levels[i] & 15) | (levels[i + 32] & 15) << 4);
}

static void unpack_nibbles(const uint8_t *restrict q, uint8_t *restrict levels)
{
    for (int part = 0; part < 4; part++, q += 32, levels += 64)
        for (int i = 0; i < 32; i++) {
            levels[i] = q[i] & 15;
            levels[i + 32] = q[i] >> 4;
        }
}

/* A bit above the others: bit b of byte l is that of value l + 32 b. */
static void add_bits(const uint8_t *restrict high, int shift, uint8_t *restrict levels)
{
    for (int b = 0; b < 8; b++, levels += 32)
        for (int i = 0; i < 32; i++)
            levels[i] |= (uint8_t)((high[i] >> b & 1) << shift);
}

static void take_bits(const uint8_t *restrict levels, int shift, uint8_t *restrict high)
{
    memset(high, 0, 32);
    for (int b = 0; b < 8; b++, levels += 32)
        for (int i = 0; i < 32; i++)
            high[i] |= (uint8_t)((levels[i] >> shift & 1) << b);
}

/* Eight scales and eight offsets of six bits in twelve bytes: the first four of each in bytes 0 to 7, the
 * low bits of the others in bytes 8 to 11 and their high bits above those of the first. */
static void pack_six(const uint8_t *scales, const uint8_t *offsets, uint8_t *bytes)
{
    for (int i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(scales[i] | (scales[i + 4] >> 4) << 6);
        bytes[i + 4] = (uint8_t)(offsets[i] | (offsets[i + 4] >> 4) << 6);
        bytes[i + 8] = (uint8_t)((scales[i + 4] & 15) | (offsets[i + 4] & 15) << 4);
    }
}

static void unpack_six(const uint8_t *bytes, uint8_t *scales, uint8_t *offsets)
{
    for (int i = 0; i < 4; i++) {
        scales[i] = bytes[i] & 63;
        offsets[i] = bytes[i + 4] & 63;
        scales[i + 4] = (uint8_t)((bytes[i + 8] & 15) | (bytes[i] >> 6) << 4);
        offsets[i + 4] = (uint8_t)((bytes[i + 8] >> 4) | (bytes[i + 4] >> 6) << 4);
    }
}

/* ---- q2_k, q4_k, q5_k ---------------------------------------------------------------------------------- */

static const float *at_column(const float *importance, int64_t column)
{
    return importance != NULL ? importance + column : NULL;
}

void vise_gguf_encode_q2_k(const float *values, const float *importance, int64_t cols, void *blocks)
{
    block_q2_k *block = blocks;
    offset_block pair[2];
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        const int second = (int)(at / GGUF_SUPER % 2);
        const offset_block *b = &pair[second];
        if (second == 0)
            encode_pair(&rule_q2_k, values, importance, at, cols, pair);
        for (int r = 0; r < 16; r++)
            block->scales[r] = (uint8_t)(b->scales[r] | b->offsets[r] << 4);
        vise_gguf_put_q2_k(b->levels, block);
        block->d = b->d;
        block->dmin = b->dmin;
    }
}

static void open_q2_k(const block_q2_k *block, offset_block *b)
{
    b->d = block->d;
    b->dmin = block->dmin;
    for (int r = 0; r < 16; r++) {
        b->scales[r] = block->scales[r] & 15;
        b->offsets[r] = block->scales[r] >> 4;
    }
}

void vise_gguf_decode_q2_k(const void *blocks, int64_t cols, float *values)
{
    const block_q2_k *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        offset_block b;
        open_q2_k(block, &b);
        unpack_pairs(block->q, b.levels);
        decode_offset(&b, 16, values + at);
    }
}

void vise_gguf_put_q2_k(const uint8_t *levels, void *block)
{
    pack_pairs(levels, ((block_q2_k *)block)->q);
}

void vise_gguf_grid_q2_k(const void *block, vise_gguf_grid *grid)
{
    offset_block b;
    open_q2_k(block, &b);
    grid_of_offsets(&b, 16, 4, grid);
}

void vise_gguf_encode_q4_k(const float *values, const float *importance, int64_t cols, void *blocks)
{
    block_q4_k *block = blocks;
    offset_block pair[2];
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        const int second = (int)(at / GGUF_SUPER % 2);
        const offset_block *b = &pair[second];
        if (second == 0)
            encode_pair(&rule_q4_k, values, importance, at, cols, pair);
        block->d = b->d;
        block->dmin = b->dmin;
        pack_six(b->scales, b->offsets, block->scales);
        vise_gguf_put_q4_k(b->levels, block);
    }
}

void vise_gguf_decode_q4_k(const void *blocks, int64_t cols, float *values)
{
    const block_q4_k *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        offset_block b = {.d = block->d, .dmin = block->dmin};
        unpack_six(block->scales, b.scales, b.offsets);
        unpack_nibbles(block->q, b.levels);
        decode_offset(&b, 32, values + at);
    }
}

void vise_gguf_put_q4_k(const uint8_t *levels, void *block)
{
    pack_nibbles(levels, ((block_q4_k *)block)->q);
}

void vise_gguf_grid_q4_k(const void *block, vise_gguf_grid *grid)
{
    const block_q4_k *in = block;
    offset_block b = {.d = in->d, .dmin = in->dmin};
    unpack_six(in->scales, b.scales, b.offsets);
    grid_of_offsets(&b, 32, 16, grid);
}

void vise_gguf_encode_q5_k(const float *values, const float *importance, int64_t cols, void *blocks)
{
    block_q5_k *block = blocks;
    offset_block pair[2];
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        const int second = (int)(at / GGUF_SUPER % 2);
        const offset_block *b = &pair[second];
        if (second == 0)
            encode_pair(&rule_q5_k, values, importance, at, cols, pair);
        block->d = b->d;
        block->dmin = b->dmin;
        pack_six(b->scales, b->offsets, block->scales);
        vise_gguf_put_q5_k(b->levels, block);
    }
}

void vise_gguf_put_q5_k(const uint8_t *levels, void *block)
{
    block_q5_k *out = block;
    pack_nibbles(levels, out->q);
    take_bits(levels, 4, out->high);
}

void vise_gguf_grid_q5_k(const void *block, vise_gguf_grid *grid)
{
    const block_q5_k *in = block;
    offset_block b = {.d = in->d, .dmin = in->dmin};
    unpack_six(in->scales, b.scales, b.offsets);
    grid_of_offsets(&b, 32, 32, grid);
}

void vise_gguf_decode_q5_k(const void *blocks, int64_t cols, float *values)
{
    const block_q5_k *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        offset_block b = {.d = block->d, .dmin = block->dmin};
        unpack_six(block->scales, b.scales, b.offsets);
        unpack_nibbles(block->q, b.levels);
        add_bits(block->high, 4, b.levels);
        decode_offset(&b, 32, values + at);
    }
}

/* ---- signed scales (q3_k, q6_k) ------------------------------------------------------------------------ */

/* Levels [-half, half - 1] of 16 runs from the stored scales; where a scale is zero the searched levels stay
 * (`searched` NULL: those of fit_symmetric by w). Kept as [0, 2 half - 1]. */
static void level_signed(const float *x, uint16_t d, const int8_t *scales, int half, const float *searched,
                         const float *w, uint8_t *levels)
{
    const float none[16] = {0};
    float found[16], units[16], unit = gguf_from_half(d), range = (float)half;
    for (int r = 0; r < 16; r++)
        units[r] = unit * (float)scales[r];
    vise_tensor_kernels_now()->gguf_levels(x, 16, 16, units, none, -range, range - 1.0f, levels);
    for (int r = 0; r < 16; r++) {
        if (units[r] != 0.0f)
            continue;
        if (searched == NULL)
            (void)vise_gguf_fit_symmetric(16, half, x + 16 * r, w != NULL ? w + 16 * r : NULL, found);
        for (int i = 0; i < 16; i++)
            levels[16 * r + i] = (uint8_t)((searched != NULL ? searched[16 * r + i] : found[i]) + range);
    }
}

static void decode_signed(uint16_t d, const int8_t *scales, const uint8_t *levels, int half, float *values)
{
    const float none[16] = {0};
    float units[16], unit = gguf_from_half(d);
    for (int r = 0; r < 16; r++)
        units[r] = unit * (float)scales[r];
    vise_tensor_kernels_now()->gguf_values(levels, 16, 16, half, units, none, values);
}

static void grid_of_signed(uint16_t d, const int8_t *scales, int levels, vise_gguf_grid *grid)
{
    float unit = gguf_from_half(d);
    *grid = (vise_gguf_grid){.run = 16, .levels = levels, .half = levels / 2};
    for (int r = 0; r < 16; r++)
        grid->scale[r] = unit * (float)scales[r];
}

/* Sixteen six-bit scales, kept above zero: low nibbles in bytes 0 to 7, pairs of high bits in bytes 8 to
 * 11. */
static void pack_q3_scales(const int8_t *scales, uint8_t *bytes)
{
    memset(bytes, 0, 12);
    for (int r = 0; r < 16; r++) {
        unsigned kept = (unsigned)(scales[r] + 32);
        bytes[r % 8] |= (uint8_t)((kept & 15) << 4 * (r / 8));
        bytes[8 + r % 4] |= (uint8_t)((kept >> 4) << 2 * (r / 4));
    }
}

static void unpack_q3_scales(const uint8_t *bytes, int8_t *scales)
{
    for (int r = 0; r < 16; r++)
        scales[r] =
            (int8_t)(((bytes[r % 8] >> 4 * (r / 8) & 15) | (bytes[8 + r % 4] >> 2 * (r / 4) & 3) << 4) - 32);
}

/* Integer scales of q3_k and their unit. */
static float q3_scales(const float *x, const float *importance, int8_t *rounded, float *levels)
{
    float scales[16], fitted[16], sums[16], w[GGUF_SUPER];
    if (importance != NULL) {
        float spread = 2.0f * mean_square(x, GGUF_SUPER);
        for (int r = 0; r < 16; r++)
            sums[r] = weigh(16, x + 16 * r, importance + 16 * r, spread, w + 16 * r);
        vise_tensor_kernels_now()->gguf_fit_signed(16, 16, 4, x, w, levels, scales);
        float unit = vise_gguf_fit_symmetric(16, 32, scales, sums, fitted);
        for (int r = 0; r < 16; r++)
            rounded[r] = (int8_t)fitted[r];
        return unit;
    }
    for (int r = 0; r < 16; r++)
        scales[r] = vise_gguf_fit_sweeping(16, 4, x + 16 * r, levels + 16 * r);
    float peak = extreme_scale(scales, 16);
    float inverse = peak != 0.0f ? -32.0f / peak : 0.0f;
    for (int r = 0; r < 16; r++)
        rounded[r] = peak != 0.0f ? (int8_t)gguf_clamp(gguf_round(inverse * scales[r]), -32.0f, 31.0f) : -32;
    return peak != 0.0f ? 1.0f / inverse : 0.0f;
}

void vise_gguf_encode_q3_k(const float *values, const float *importance, int64_t cols, void *blocks)
{
    block_q3_k *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        int8_t scales[16];
        uint8_t levels[GGUF_SUPER];
        float searched[GGUF_SUPER];
        block->d = gguf_to_half(q3_scales(values + at, at_column(importance, at), scales, searched));
        pack_q3_scales(scales, block->scales);
        level_signed(values + at, block->d, scales, 4, searched, NULL, levels);
        vise_gguf_put_q3_k(levels, block);
    }
}

void vise_gguf_put_q3_k(const uint8_t *levels, void *block)
{
    block_q3_k *out = block;
    pack_pairs(levels, out->q);
    take_bits(levels, 2, out->high);
}

void vise_gguf_grid_q3_k(const void *block, vise_gguf_grid *grid)
{
    const block_q3_k *in = block;
    int8_t scales[16];
    unpack_q3_scales(in->scales, scales);
    grid_of_signed(in->d, scales, 8, grid);
}

void vise_gguf_decode_q3_k(const void *blocks, int64_t cols, float *values)
{
    const block_q3_k *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        int8_t scales[16];
        uint8_t levels[GGUF_SUPER];
        unpack_q3_scales(block->scales, scales);
        unpack_pairs(block->q, levels);
        add_bits(block->high, 2, levels);
        decode_signed(block->d, scales, levels, 4, values + at);
    }
}

void vise_gguf_encode_q6_k(const float *values, const float *importance, int64_t cols, void *blocks)
{
    block_q6_k *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        const float *x = values + at;
        uint8_t levels[GGUF_SUPER];
        const float *w = at_column(importance, at);
        float scales[16];
        vise_tensor_kernels_now()->gguf_fit_signed(16, 16, 32, x, w, NULL, scales);
        float peak = extreme_scale(scales, 16);
        if (fabsf(peak) < 1e-15f) {
            memset(block, 0, sizeof *block);
            continue;
        }
        float inverse = -128.0f / peak;
        block->d = gguf_to_half(1.0f / inverse);
        for (int r = 0; r < 16; r++)
            block->scales[r] = (int8_t)gguf_clamp(gguf_round(inverse * scales[r]), -128.0f, 127.0f);
        level_signed(x, block->d, block->scales, 32, NULL, w, levels);
        vise_gguf_put_q6_k(levels, block);
    }
}

void vise_gguf_put_q6_k(const uint8_t *levels, void *block)
{
    block_q6_k *restrict out = block;
    uint8_t high[GGUF_SUPER];
    for (int half = 0; half < 2; half++) {
        const uint8_t *restrict l = levels + half * 128;
        for (int i = 0; i < 64; i++)
            out->low[half * 64 + i] = (uint8_t)((l[i] & 15) | (l[i + 64] & 15) << 4);
    }
    for (int i = 0; i < GGUF_SUPER; i++)
        high[i] = levels[i] >> 4;
    pack_pairs(high, out->high);
}

void vise_gguf_grid_q6_k(const void *block, vise_gguf_grid *grid)
{
    const block_q6_k *in = block;
    grid_of_signed(in->d, in->scales, 64, grid);
}

void vise_gguf_decode_q6_k(const void *blocks, int64_t cols, float *values)
{
    const block_q6_k *block = blocks;
    for (int64_t at = 0; at < cols; at += GGUF_SUPER, block++) {
        uint8_t levels[GGUF_SUPER], high[GGUF_SUPER];
        unpack_pairs(block->high, high);
        for (int half = 0; half < 2; half++)
            for (int i = 0; i < 64; i++) {
                levels[half * 128 + i] = block->low[half * 64 + i] & 15;
                levels[half * 128 + 64 + i] = block->low[half * 64 + i] >> 4;
            }
        for (int i = 0; i < GGUF_SUPER; i++)
            levels[i] |= (uint8_t)(high[i] << 4);
        decode_signed(block->d, block->scales, levels, 32, values + at);
    }
}
