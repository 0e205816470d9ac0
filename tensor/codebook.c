#include "tensor/codebook.h"

#include <math.h>
#include <string.h>

#include "tensor/grid.h"
#include "tensor/kernels.h"
#include "tensor/scheme.h"

static const float nf4_values[16] = {-0x1.0p+0f,      -0x1.647362p-1f, -0x1.0cd66p-1f,  -0x1.94654p-2f,
                                     -0x1.23449ap-2f, -0x1.7a6a7ep-3f, -0x1.74f0e2p-4f, 0.0f,
                                     0x1.45f5fep-4f,  0x1.4995c6p-3f,  0x1.f809bap-3f,  0x1.5a0674p-2f,
                                     0x1.c3497p-2f,   0x1.200f56p-1f,  0x1.722766p-1f,  0x1.0p+0f};
static const float nf4_thresholds[15] = {-0x1.b239b2p-1f, -0x1.38a4ep-1f,  -0x1.d709p-2f,   -0x1.5bd4ecp-2f,
                                         -0x1.e079d8p-3f, -0x1.1a7178p-3f, -0x1.74f0e2p-5f, 0x1.45f5fep-5f,
                                         0x1.ec90c6p-4f,  0x1.a0cfcp-3f,   0x1.2b05a8p-2f,  0x1.8ea7f2p-2f,
                                         0x1.00da06p-1f,  0x1.491b5ep-1f,  0x1.b913b2p-1f};
static const float fp4_values[16] = {0.0f,
                                     0x1.555556p-8f,
                                     0x1.555556p-1f,
                                     0x1.0p+0f,
                                     0x1.555556p-2f,
                                     0x1.0p-1f,
                                     0x1.555556p-3f,
                                     0x1.0p-2f,
                                     -0.0f,
                                     -0x1.555556p-8f,
                                     -0x1.555556p-1f,
                                     -0x1.0p+0f,
                                     -0x1.555556p-2f,
                                     -0x1.0p-1f,
                                     -0x1.555556p-3f,
                                     -0x1.0p-2f};
static const float fp4_thresholds[7] = {0.00260417f, 0.0859375f, 0.20833333f, 0.29166667f,
                                        0.4166667f,  0.583333f,  0.8333333f};

/* The signed map of bitsandbytes' dynamic quantization (create_dynamic_map, 7 exponent bits of 8). */
const float vise_nested_map[256] = {
    -0.99296874f,    -0.9789063f,     -0.96484375f,    -0.9507812f,
    -0.93671876f,    -0.92265624f,    -0.9085938f,     -0.89453125f,
    -0.8804687f,     -0.86640626f,    -0.85234374f,    -0.8382813f,
    -0.82421875f,    -0.8101562f,     -0.79609376f,    -0.78203124f,
    -0.7679688f,     -0.75390625f,    -0.7398437f,     -0.72578126f,
    -0.7117188f,     -0.6976563f,     -0.68359375f,    -0.6695312f,
    -0.65546876f,    -0.6414063f,     -0.6273438f,     -0.61328125f,
    -0.5992187f,     -0.58515626f,    -0.5710938f,     -0.5570313f,
    -0.54296875f,    -0.5289062f,     -0.5148437f,     -0.50078124f,
    -0.4867187f,     -0.47265625f,    -0.45859373f,    -0.44453126f,
    -0.43046874f,    -0.41640624f,    -0.40234375f,    -0.38828123f,
    -0.37421876f,    -0.36015624f,    -0.34609374f,    -0.33203125f,
    -0.31796873f,    -0.30390626f,    -0.28984374f,    -0.27578127f,
    -0.26171875f,    -0.24765624f,    -0.23359375f,    -0.21953125f,
    -0.20546874f,    -0.19140625f,    -0.17734376f,    -0.16328125f,
    -0.14921875f,    -0.13515624f,    -0.12109375f,    -0.107031256f,
    -0.09859375f,    -0.09578126f,    -0.092968754f,   -0.09015625f,
    -0.08734375f,    -0.08453125f,    -0.08171876f,    -0.07890625f,
    -0.07609375f,    -0.07328125f,    -0.070468746f,   -0.067656256f,
    -0.06484375f,    -0.06203125f,    -0.059218753f,   -0.05640625f,
    -0.05359375f,    -0.05078125f,    -0.04796875f,    -0.04515625f,
    -0.042343747f,   -0.03953125f,    -0.036718752f,   -0.03390625f,
    -0.03109375f,    -0.028281251f,   -0.02546875f,    -0.02265625f,
    -0.019843752f,   -0.01703125f,    -0.01421875f,    -0.01140625f,
    -0.00971875f,    -0.009156249f,   -0.00859375f,    -0.00803125f,
    -0.00746875f,    -0.00690625f,    -0.00634375f,    -0.00578125f,
    -0.0052187503f,  -0.0046562497f,  -0.00409375f,    -0.0035312497f,
    -0.00296875f,    -0.00240625f,    -0.00184375f,    -0.0012812499f,
    -0.0009437501f,  -0.00083125f,    -0.00071875006f, -0.0006062501f,
    -0.00049375003f, -0.00038125002f, -0.00026875004f, -0.00015625001f,
    -8.875e-05f,     -6.625e-05f,     -4.375e-05f,     -2.1249998e-05f,
    -7.75e-06f,      -3.2500002e-06f, -5.5000004e-07f, 0.0f,
    5.5000004e-07f,  3.2500002e-06f,  7.75e-06f,       2.1249998e-05f,
    4.375e-05f,      6.625e-05f,      8.875e-05f,      0.00015625001f,
    0.00026875004f,  0.00038125002f,  0.00049375003f,  0.0006062501f,
    0.00071875006f,  0.00083125f,     0.0009437501f,   0.0012812499f,
    0.00184375f,     0.00240625f,     0.00296875f,     0.0035312497f,
    0.00409375f,     0.0046562497f,   0.0052187503f,   0.00578125f,
    0.00634375f,     0.00690625f,     0.00746875f,     0.00803125f,
    0.00859375f,     0.009156249f,    0.00971875f,     0.01140625f,
    0.01421875f,     0.01703125f,     0.019843752f,    0.02265625f,
    0.02546875f,     0.028281251f,    0.03109375f,     0.03390625f,
    0.036718752f,    0.03953125f,     0.042343747f,    0.04515625f,
    0.04796875f,     0.05078125f,     0.05359375f,     0.05640625f,
    0.059218753f,    0.06203125f,     0.06484375f,     0.067656256f,
    0.070468746f,    0.07328125f,     0.07609375f,     0.07890625f,
    0.08171876f,     0.08453125f,     0.08734375f,     0.09015625f,
    0.092968754f,    0.09578126f,     0.09859375f,     0.107031256f,
    0.12109375f,     0.13515624f,     0.14921875f,     0.16328125f,
    0.17734376f,     0.19140625f,     0.20546874f,     0.21953125f,
    0.23359375f,     0.24765624f,     0.26171875f,     0.27578127f,
    0.28984374f,     0.30390626f,     0.31796873f,     0.33203125f,
    0.34609374f,     0.36015624f,     0.37421876f,     0.38828123f,
    0.40234375f,     0.41640624f,     0.43046874f,     0.44453126f,
    0.45859373f,     0.47265625f,     0.4867187f,      0.50078124f,
    0.5148437f,      0.5289062f,      0.54296875f,     0.5570313f,
    0.5710938f,      0.58515626f,     0.5992187f,      0.61328125f,
    0.6273438f,      0.6414063f,      0.65546876f,     0.6695312f,
    0.68359375f,     0.6976563f,      0.7117188f,      0.72578126f,
    0.7398437f,      0.75390625f,     0.7679688f,      0.78203124f,
    0.79609376f,     0.8101562f,      0.82421875f,     0.8382813f,
    0.85234374f,     0.86640626f,     0.8804687f,      0.89453125f,
    0.9085938f,      0.92265624f,     0.93671876f,     0.9507812f,
    0.96484375f,     0.9789063f,      0.99296874f,     1.0f,
};

/* ---- the codebooks ------------------------------------------------------------------------------------- */

/* The largest magnitude, of `largest` too. */
float vise_largest_ref(const float *values, size_t n, float largest)
{
    for (size_t i = 0; i < n; i++) {
        const float magnitude = fabsf(values[i]);
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

void vise_count_thresholds_ref(const float *values, size_t n, float factor, const float thresholds[15], uint8_t *codes)
{
    for (size_t i = 0; i < n; i++) {
        const float scaled = values[i] * factor;
        codes[i] = 0;
        for (int t = 0; t < 15; t++)
            codes[i] = (uint8_t)(codes[i] + (scaled > thresholds[t]));
    }
}

void vise_table_values_ref(const float table[16], const uint8_t *codes, size_t n, float scale, float *values)
{
    for (size_t i = 0; i < n; i++)
        values[i] = table[codes[i] & 15] * scale;
}

static void nf4_encode(const float *values, size_t n, float scale, uint8_t *codes)
{
    vise_tensor_kernels_now()->count_thresholds(values, n, 1.0f / scale, nf4_thresholds, codes);
}

static void fp4_encode(const float *values, size_t n, float scale, uint8_t *codes)
{
    static const uint8_t code_of[8] = {0, 1, 6, 7, 4, 5, 2, 3}; /* by magnitude */
    const float inverse = 1.0f / scale;
    for (size_t i = 0; i < n; i++) {
        float scaled = values[i] * inverse, magnitude = fabsf(scaled);
        int below = 0;
        for (int t = 0; t < 7; t++)
            below += magnitude > fp4_thresholds[t];
        codes[i] = (uint8_t)(code_of[below] | (scaled < 0.0f ? 8 : 0));
    }
}

static void decode_table(const float table[16], const uint8_t *codes, size_t n, float scale, float *values)
{
    vise_tensor_kernels_now()->table_values(table, codes, n, scale, values);
}

static void nf4_decode(const uint8_t *codes, size_t n, float scale, float *values)
{
    decode_table(nf4_values, codes, n, scale, values);
}

static void fp4_decode(const uint8_t *codes, size_t n, float scale, float *values)
{
    decode_table(fp4_values, codes, n, scale, values);
}

static void llm_int8_encode(const float *values, size_t n, float scale, uint8_t *codes)
{
    const float steps = 127.0f / scale;
    for (size_t i = 0; i < n; i++) {
        float code = rintf(vise_round_to(VISE_DTYPE_F16, values[i]) * steps);
        code = code < 127.0f ? code : 127.0f; /* beyond float16's range */
        codes[i] = (uint8_t)((code > -127.0f ? (int)code : -127) + 128);
    }
}

static void llm_int8_decode(const uint8_t *codes, size_t n, float scale, float *values)
{
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(codes[i] - 128) * scale / 127.0f;
}

const vise_codebook vise_codebook_nf4 = {
    .values = nf4_values, .limit = 1.0f, .zero = 7, .encode = nf4_encode, .decode = nf4_decode};
const vise_codebook vise_codebook_fp4 = {
    .values = fp4_values, .limit = 1.0f, .encode = fp4_encode, .decode = fp4_decode};
const vise_codebook vise_codebook_llm_int8 = {
    .limit = 1.0f, .zero = 128, .half = true, .encode = llm_int8_encode, .decode = llm_int8_decode};

/* ---- scales -------------------------------------------------------------------------------------------- */

float vise_codebook_scale(const vise_codebook *codebook, vise_dtype scale_dtype, float largest, float global)
{
    if (codebook->scale)
        return codebook->scale(scale_dtype, largest, global);
    if (codebook->half)
        largest = fminf(vise_round_to(VISE_DTYPE_F16, fminf(largest, 65504.0f)), 65504.0f);
    return largest > 0.0f ? vise_grid_round_scale(scale_dtype, largest / codebook->limit) : 0.0f;
}

static float largest_of(const float *values, size_t n, float largest)
{
    return vise_tensor_kernels_now()->largest(values, n, largest);
}

static void encode_group(const vise_codebook *codebook, const float *values, size_t n, float scale,
                         uint8_t *codes)
{
    if (scale > 0.0f)
        codebook->encode(values, n, scale, codes);
    else
        memset(codes, codebook->zero, n);
}

double vise_flat_scale_sum(const vise_codebook *codebook, const float *values, size_t n, int64_t block)
{
    double sum = 0.0;
    for (size_t at = 0; at < n; at += (size_t)block) {
        size_t count = n - at < (size_t)block ? n - at : (size_t)block;
        sum += (double)vise_codebook_scale(codebook, VISE_DTYPE_F32, largest_of(values + at, count, 0.0f), 0.0f);
    }
    return sum;
}

/* The entry nearest to x, the lower of two. */
static uint8_t nearest_nested(float x)
{
    int low = 0, high = 255; /* entries below low are too low, those above high too high */
    while (low < high) {
        int middle = (low + high) / 2;
        if (x > (vise_nested_map[middle] + vise_nested_map[middle + 1]) / 2.0f)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint8_t)low;
}

/* Scales to bytes, and back as they will be restored. The first scale of q begins a nested block. */
static void nest_scales(vise_qweight *q, size_t n)
{
    for (size_t at = 0; at < n; at += VISE_NESTED_BLOCK) {
        size_t count = n - at < VISE_NESTED_BLOCK ? n - at : VISE_NESTED_BLOCK;
        float largest = 0.0f;
        for (size_t i = at; i < at + count; i++)
            largest = fmaxf(largest, fabsf(q->scales[i] - q->offset));
        const float inverse = largest > 0.0f ? 1.0f / largest : 0.0f;
        q->nested[at / VISE_NESTED_BLOCK] = largest;
        for (size_t i = at; i < at + count; i++)
            q->scale_codes[i] = nearest_nested((q->scales[i] - q->offset) * inverse);
    }
    vise_nested_restore(q);
}

void vise_nested_restore(vise_qweight *q)
{
    const float *map = q->nested_map ? q->nested_map : vise_nested_map;
    const uint64_t block = (uint64_t)q->scheme.group, first = (uint64_t)q->flat / block;
    const uint64_t end = ((uint64_t)q->flat + (uint64_t)(q->rows * q->cols) + block - 1) / block;
    for (uint64_t b = first; b < end; b++)
        q->scales[b - first] =
            map[q->scale_codes[b - first]] * q->nested[b / VISE_NESTED_BLOCK - first / VISE_NESTED_BLOCK] +
            q->offset;
}

/* ---- whole weights ------------------------------------------------------------------------------------- */

static void encode_flat(const vise_codebook *codebook, const float *values, vise_qweight *q)
{
    const size_t n = (size_t)(q->rows * q->cols), block = (size_t)q->scheme.group;
    size_t b = 0;
    for (size_t at = 0; at < n; at += block, b++) {
        size_t count = n - at < block ? n - at : block;
        q->scales[b] =
            vise_codebook_scale(codebook, q->scale_dtype, largest_of(values + at, count, 0.0f), 0.0f);
        encode_group(codebook, values + at, count, q->scales[b], q->codes + at);
    }
    if (q->scheme.dq)
        nest_scales(q, b);
}

/* Columns and rows that share a scale, but for those at the edges. */
static int64_t group_cols(const vise_qweight *q)
{
    const vise_granularity grain = q->scheme.granularity;
    return grain == VISE_PER_GROUP || grain == VISE_PER_BLOCK ? q->scheme.group : q->cols;
}

static int64_t group_rows(const vise_qweight *q)
{
    return q->scheme.granularity == VISE_PER_BLOCK ? q->scheme.group_rows : 1;
}

/* Groups of rows and columns; every row has the scales of its block. */
static void encode_groups(const vise_codebook *codebook, const float *values, vise_qweight *q)
{
    const int64_t width = group_cols(q), height = group_rows(q);
    for (int64_t row0 = 0; row0 < q->rows; row0 += height) {
        const int64_t rows = q->rows - row0 < height ? q->rows - row0 : height;
        for (int64_t g = 0; g < q->groups; g++) {
            const int64_t cols = q->cols - g * width < width ? q->cols - g * width : width;
            float largest = 0.0f;
            for (int64_t r = row0; r < row0 + rows; r++)
                largest = largest_of(values + r * q->cols + g * width, (size_t)cols, largest);
            const float scale = vise_codebook_scale(codebook, q->scale_dtype, largest, q->global);
            for (int64_t r = row0; r < row0 + rows; r++) {
                const int64_t at = r * q->cols + g * width;
                q->scales[r * q->groups + g] = scale;
                encode_group(codebook, values + at, (size_t)cols, scale, q->codes + at);
            }
        }
    }
}

void vise_codebook_encode(const float *values, float tensor_min, float tensor_max, vise_qweight *q)
{
    const vise_codebook *codebook = q->scheme.type->codebook;
    switch (q->scheme.granularity) {
    case VISE_PER_TENSOR:
        q->scales[0] = vise_codebook_scale(codebook, q->scale_dtype, fmaxf(-tensor_min, tensor_max), 0.0f);
        encode_group(codebook, values, (size_t)(q->rows * q->cols), q->scales[0], q->codes);
        break;
    case VISE_PER_FLAT:
        encode_flat(codebook, values, q);
        break;
    default:
        if (codebook == &vise_codebook_nvfp4 && q->global == 0.0f)
            q->global = vise_nvfp4_global(fmaxf(-tensor_min, tensor_max));
        encode_groups(codebook, values, q);
        break;
    }
}

static void decode_flat(const vise_qweight *q, const vise_codebook *codebook, float *values)
{
    const uint64_t n = (uint64_t)(q->rows * q->cols), block = (uint64_t)q->scheme.group,
                   flat = (uint64_t)q->flat, first = flat / block;
    for (uint64_t at = 0; at < n;) {
        const uint64_t b = (flat + at) / block, left = (b + 1) * block - (flat + at);
        const size_t count = (size_t)(n - at < left ? n - at : left);
        if (q->table)
            decode_table(q->table, q->codes + at, count, q->scales[b - first], values + at);
        else
            codebook->decode(q->codes + at, count, q->scales[b - first], values + at);
        at += count;
    }
}

void vise_codebook_decode(const vise_qweight *q, float *values)
{
    const vise_codebook *codebook = q->scheme.type->codebook;
    if (q->scheme.granularity == VISE_PER_FLAT) {
        decode_flat(q, codebook, values);
        return;
    }
    const int64_t width = group_cols(q);
    const bool one = q->scheme.granularity == VISE_PER_TENSOR;
    for (int64_t r = 0; r < q->rows; r++)
        for (int64_t g = 0; g < q->groups; g++) {
            const int64_t at = r * q->cols + g * width, left = q->cols - g * width;
            codebook->decode(q->codes + at, (size_t)(left < width ? left : width),
                             q->scales[one ? 0 : r * q->groups + g], values + at);
        }
}
