/* Blocks of the GGUF types in file order, and the searches for their scales. Internal.
 *
 * d scales, m (or dmin) offsets, both float16 bits; nibbles hold value j low and value j + half a run high.
 */
#ifndef VISE_TENSOR_GGUF_BLOCKS_H
#define VISE_TENSOR_GGUF_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/gguf.h"
#include "tensor/kernels.h"

enum { GGUF_BLOCK = 32, GGUF_SUPER = 256 };

typedef struct block_q8_0 {
    uint16_t d;
    int8_t q[32];
} block_q8_0;

typedef struct block_q4_0 {
    uint16_t d;
    uint8_t q[16];
} block_q4_0; /* also iq4_nl */

typedef struct block_q4_1 {
    uint16_t d, m;
    uint8_t q[16];
} block_q4_1;

typedef struct block_q5_0 {
    uint16_t d;
    uint8_t high[4]; /* bit j: fifth bit of value j */
    uint8_t q[16];
} block_q5_0;

typedef struct block_q5_1 {
    uint16_t d, m;
    uint8_t high[4];
    uint8_t q[16];
} block_q5_1;

typedef struct block_q2_k {
    uint8_t scales[16]; /* per 16 values: scale low, offset high */
    uint8_t q[64];      /* per 128 values: byte l holds values l, l + 32, l + 64, l + 96 */
    uint16_t d, dmin;
} block_q2_k;

typedef struct block_q3_k {
    uint8_t high[32]; /* bit b of byte l: third bit of value l + 32 b */
    uint8_t q[64];    /* as q2_k */
    uint8_t scales[12];
    uint16_t d;
} block_q3_k;

typedef struct block_q4_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t q[128]; /* per 64 values: byte l holds values l, l + 32 */
} block_q4_k;

typedef struct block_q5_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t high[32]; /* bit b of byte l: fifth bit of value l + 32 b */
    uint8_t q[128];
} block_q5_k;

typedef struct block_q6_k {
    uint8_t low[128]; /* per 128 values: bytes l, l + 32 hold the low bits of l, l + 64 and l + 32, l + 96 */
    uint8_t high[64]; /* per 128 values: byte l holds the high bits of l, l + 32, l + 64, l + 96 */
    int8_t scales[16];
    uint16_t d;
} block_q6_k;

typedef struct block_iq4_xs {
    uint16_t d;
    uint16_t scales_high;
    uint8_t scales_low[4];
    uint8_t q[128]; /* 16 bytes per 32 values */
} block_iq4_xs;

typedef struct block_mxfp4 {
    uint8_t e;
    uint8_t q[16];
} block_mxfp4;

typedef struct block_tq1_0 {
    uint8_t q[48];   /* five ternary digits to a byte */
    uint8_t tail[4]; /* four */
    uint16_t d;
} block_tq1_0;

typedef struct block_tq2_0 {
    uint8_t q[64];
    uint16_t d;
} block_tq2_0;

typedef struct block_q1_0 {
    uint16_t d;
    uint8_t q[16]; /* bit j of byte i: sign of value 8 i + j, 1 is positive */
} block_q1_0;

_Static_assert(sizeof(block_q8_0) == 34, "q8_0");
_Static_assert(sizeof(block_q4_0) == 18, "q4_0");
_Static_assert(sizeof(block_q4_1) == 20, "q4_1");
_Static_assert(sizeof(block_q5_0) == 22, "q5_0");
_Static_assert(sizeof(block_q5_1) == 24, "q5_1");
_Static_assert(sizeof(block_q2_k) == 84, "q2_k");
_Static_assert(sizeof(block_q3_k) == 110, "q3_k");
_Static_assert(sizeof(block_q4_k) == 144, "q4_k");
_Static_assert(sizeof(block_q5_k) == 176, "q5_k");
_Static_assert(sizeof(block_q6_k) == 210, "q6_k");
_Static_assert(sizeof(block_iq4_xs) == 136, "iq4_xs");
_Static_assert(sizeof(block_mxfp4) == 17, "mxfp4");
_Static_assert(sizeof(block_tq1_0) == 54, "tq1_0");
_Static_assert(sizeof(block_tq2_0) == 66, "tq2_0");
_Static_assert(sizeof(block_q1_0) == 18, "q1_0");

static inline uint16_t gguf_to_half(float value)
{
    uint16_t half;
    vise_f32_to_f16_ref(&value, &half, 1);
    return half;
}

static inline float gguf_from_half(uint16_t half)
{
    float value;
    vise_f16_to_f32_ref(&half, &value, 1);
    return value;
}

/* Nearest integer, ties to even, for |x| < 2^22: the sum has no bits below 1. */
static inline float gguf_round(float x)
{
    return (x + 12582912.0f) - 12582912.0f;
}

/* low for what is no number. */
static inline float gguf_clamp(float x, float low, float high)
{
    return !(x > low) ? low : x > high ? high : x;
}

/* ---- gguf_search.c: a scale for n values (at most 32), and their levels -------------------------------- */

/* x ~ scale * level, levels in [-top, top - 1]: starts where the value of largest magnitude takes level
 * -top, tries 18 neighbours of that scale and keeps the one that explains most of sum w x^2, the scale
 * being solved by weighted least squares each time. w NULL: x^2. Returns 0 with levels 0 where all values
 * vanish. */
float vise_gguf_fit_symmetric(int n, int top, const float *x, const float *w, float *levels);
/* The same from the one start, followed by up to five sweeps that move single levels while that helps; w
 * = x^2. */
float vise_gguf_fit_sweeping(int n, int top, const float *x, float *levels);

/* x ~ scale * level - offset, levels in [0, top], offset >= 0: tries ranges (first + i * step + top) /
 * (max - min), i = 0..steps, solves scale and offset by weighted least squares and keeps the least
 * weighted error, squared or absolute. Returns scale; levels are those of the range kept. */
typedef struct gguf_grid gguf_grid;
struct gguf_grid {
    int top;
    float first, step;
    int steps;
    bool absolute;
};
float vise_gguf_fit_affine(int n, const gguf_grid *grid, const float *x, const float *w, float *levels,
                           float *offset);

/* Non-negative x ~ scale * level, levels in [0, top]: nine ranges by squared error, then sweeps as above. */
float vise_gguf_fit_positive(int n, int top, const float *x, const float *w, float *levels);

/* What the searches with an offset weigh values by: given weights, |x|, or root mean square + |x| of the
 * run. */
typedef int gguf_weighing;
enum { GGUF_WEIGH_GIVEN, GGUF_WEIGH_ABSOLUTE, GGUF_WEIGH_MEAN };

/* Rows of vise_tensor_kernels, equal bits on every level. fit_offsets and fit_signed are the searches
 * above over `runs` runs of n values (w NULL: as above), 16 or 32; levels NULL: not wanted. Levels of runs are
 * clamp(round((x + offset) / scale), low, high) - low, any where a scale is 0; values are scale * (level - half) -
 * offset. fit_entries finds the scales of runs of 32 values for the table of iq4_nl and iq4_xs, entries the nibbles of
 * a run. */
#define GGUF_KERNELS(level)                                                                                  \
    void vise_gguf_fit_offsets_##level(int n, int runs, const gguf_grid *grid, gguf_weighing weighing,       \
                                       const float *x, const float *w, float *levels, float *scales,         \
                                       float *offsets);                                                      \
    void vise_gguf_fit_signed_##level(int n, int runs, int top, const float *x, const float *w,              \
                                      float *levels, float *scales);                                         \
    void vise_gguf_levels_##level(const float *x, int n, int runs, const float *scales,                      \
                                  const float *offsets, float low, float high, uint8_t *levels);             \
    void vise_gguf_fit_entries_##level(int runs, const float *x, const float *w, float *scales);             \
    void vise_gguf_entries_##level(const float *x, float inverse, uint8_t *q);                               \
    void vise_gguf_encode_q8_0_##level(const float *values, const float *importance, int64_t cols,           \
                                       void *blocks);                                                        \
    void vise_gguf_encode_q4_0_##level(const float *values, const float *importance, int64_t cols,           \
                                       void *blocks);                                                        \
    void vise_gguf_decode_q8_0_##level(const void *blocks, int64_t cols, float *values);                     \
    void vise_gguf_decode_q4_0_##level(const void *blocks, int64_t cols, float *values);                     \
    void vise_gguf_values_##level(const uint8_t *levels, int n, int runs, int half, const float *scales,     \
                                  const float *offsets, float *values)
GGUF_KERNELS(ref);
GGUF_KERNELS(avx2);
GGUF_KERNELS(avx512);
#undef GGUF_KERNELS

/* ---- codecs of rows, as vise_gguf_type documents them -------------------------------------------------- */

#define GGUF_CODEC(type)                                                                                     \
    void vise_gguf_encode_##type(const float *values, const float *importance, int64_t cols, void *blocks);  \
    void vise_gguf_decode_##type(const void *blocks, int64_t cols, float *values)

GGUF_CODEC(q8_0);
GGUF_CODEC(q4_0);
GGUF_CODEC(q4_1);
GGUF_CODEC(q5_0);
GGUF_CODEC(q5_1);
GGUF_CODEC(q2_k);
GGUF_CODEC(q3_k);
GGUF_CODEC(q4_k);
GGUF_CODEC(q5_k);
GGUF_CODEC(q6_k);
GGUF_CODEC(iq4_nl);
GGUF_CODEC(iq4_xs);
GGUF_CODEC(mxfp4);
GGUF_CODEC(tq1_0);
GGUF_CODEC(tq2_0);
GGUF_CODEC(q1_0);
#undef GGUF_CODEC

#define GGUF_GRID(type)                                                                                      \
    void vise_gguf_grid_##type(const void *block, vise_gguf_grid *grid);                                     \
    void vise_gguf_put_##type(const uint8_t *levels, void *block)

GGUF_GRID(q8_0);
GGUF_GRID(q4_0);
GGUF_GRID(q4_1);
GGUF_GRID(q5_0);
GGUF_GRID(q5_1);
GGUF_GRID(q2_k);
GGUF_GRID(q3_k);
GGUF_GRID(q4_k);
GGUF_GRID(q5_k);
GGUF_GRID(q6_k);
GGUF_GRID(iq4_nl);
GGUF_GRID(iq4_xs);
#undef GGUF_GRID

#endif
