#include "tensor/codec.h"

#include <math.h>
#include <string.h>

#include "tensor/grid.h"
#include "tensor/kernels.h"
#include "tensor/pack.h"

/* ---- groups, in plain C: the truth --------------------------------------------------------------------- */

void vise_range_ref(const float *values, size_t n, float *min, float *max)
{
    float low = 0.0f, high = 0.0f;
    for (size_t i = 0; i < n; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    *min = low + 0.0f; /* never -0, whichever zero came last */
    *max = high + 0.0f;
}

/* The quotient is clamped before it is rounded: the bounds are integers, so the result is that of rounding
 * first. */
static int code_of(float value, float scale, int zero, int max_code)
{
    float low = (float)-zero, high = (float)(max_code - zero), q = value / scale;
    q = q > low ? q : low;
    q = q < high ? q : high;
    return (int)lrintf(q) + zero;
}

void vise_encode_group_ref(const float *values, size_t n, float scale, int zero, int max_code, uint8_t *codes)
{
    if (scale == 0.0f) {
        memset(codes, zero, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)code_of(values[i], scale, zero, max_code);
}

void vise_decode_group_ref(const uint8_t *codes, size_t n, float scale, int zero, float *values)
{
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(codes[i] - zero) * scale;
}

float vise_grid_error_ref(const float *values, const float *weights, size_t n, float scale, int zero,
                          int max_code)
{
    float sums[16] = {0};
    for (size_t i = 0; i < n; i++) {
        float decoded = (float)(code_of(values[i], scale, zero, max_code) - zero) * scale;
        float error = fabsf(decoded - values[i]);
        float loss = error * error * sqrtf(error);
        sums[i & 15] += weights ? loss * weights[i] : loss;
    }
    for (int half = 8; half >= 1; half /= 2)
        for (int j = 0; j < half; j++)
            sums[j] += sums[j + half];
    return sums[0];
}

/* ---- whole weights ------------------------------------------------------------------------------------- */

/* Columns that share a scale, and where scale and zero point of (row, group) are. */
static int64_t group_cols(const vise_scheme *scheme, int64_t cols)
{
    return scheme->granularity == VISE_PER_GROUP ? scheme->group : cols;
}

static int64_t scale_index(const vise_scheme *scheme, int64_t groups, int64_t row, int64_t group)
{
    return scheme->granularity == VISE_PER_TENSOR ? 0 : row * groups + group;
}

static void encode_on_grid(const vise_tensor_kernels *kernels, const float *values, vise_qweight *q)
{
    vise_grid_rule rule = vise_grid_rule_of(&q->scheme, q->scale_dtype);
    int64_t width = group_cols(&q->scheme, q->cols);
    for (int64_t r = 0; r < q->rows; r++) {
        for (int64_t g = 0; g < q->groups; g++) {
            int64_t at = r * q->cols + g * width, s = scale_index(&q->scheme, q->groups, r, g);
            kernels->encode(values + at, (size_t)width, q->scales[s], q->zeros ? q->zeros[s] : rule.middle,
                            rule.max_code, q->codes + at);
        }
    }
}

static void encode(const vise_tensor_kernels *kernels, const float *values, vise_clip clip, float tensor_min,
                   float tensor_max, vise_qweight *q)
{
    if (q->scheme.type->blocks != NULL) {
        vise_gguf_encode(q->scheme.type->blocks, values, NULL, q->rows, q->cols, q->codes);
        return;
    }
    if (q->scheme.type->codebook != NULL) {
        vise_codebook_encode(values, tensor_min, tensor_max, q);
        return;
    }
    vise_grid_rule rule = vise_grid_rule_of(&q->scheme, q->scale_dtype);
    int64_t width = group_cols(&q->scheme, q->cols);
    int zero;
    if (q->scheme.granularity == VISE_PER_TENSOR) {
        vise_grid_solve(&rule, tensor_min, tensor_max, q->scales, &zero);
        if (q->zeros)
            q->zeros[0] = (uint8_t)zero;
        encode_on_grid(kernels, values, q);
        return;
    }
    for (int64_t r = 0; r < q->rows; r++) {
        for (int64_t g = 0; g < q->groups; g++) {
            int64_t at = r * q->cols + g * width, s = r * q->groups + g;
            float min, max;
            kernels->range(values + at, (size_t)width, &min, &max);
            if (clip == VISE_CLIP_NONE)
                vise_grid_solve(&rule, min, max, &q->scales[s], &zero);
            else
                vise_grid_search(kernels, &rule, values + at, clip, NULL, (size_t)width, min, max, &q->scales[s],
                                 &zero);
            if (q->zeros)
                q->zeros[s] = (uint8_t)zero;
            kernels->encode(values + at, (size_t)width, q->scales[s], zero, rule.max_code, q->codes + at);
        }
    }
}

void vise_encode_ref(const float *values, vise_clip clip, float tensor_min, float tensor_max, vise_qweight *q)
{
    encode(vise_tensor_kernels_of(VISE_CPU_REF), values, clip, tensor_min, tensor_max, q);
}

void vise_encode(const float *values, vise_clip clip, float tensor_min, float tensor_max, vise_qweight *q)
{
    encode(vise_tensor_kernels_now(), values, clip, tensor_min, tensor_max, q);
}

void vise_encode_on_grid_ref(const float *values, vise_qweight *q)
{
    encode_on_grid(vise_tensor_kernels_of(VISE_CPU_REF), values, q);
}

void vise_encode_on_grid(const float *values, vise_qweight *q)
{
    encode_on_grid(vise_tensor_kernels_now(), values, q);
}

/* Groups that are no runs of columns. */
static void decode_scattered(const vise_qweight *q, int middle, float *values)
{
    for (int64_t r = 0; r < q->rows; r++)
        for (int64_t c = 0; c < q->cols; c++) {
            int64_t s = r * q->groups + q->group_of[c];
            int zero = q->zeros ? q->zeros[s] : middle;
            values[r * q->cols + c] = (float)(q->codes[r * q->cols + c] - zero) * q->scales[s];
        }
}

static void decode(const vise_tensor_kernels *kernels, const vise_qweight *q, float *values)
{
    if (q->scheme.type->blocks != NULL) {
        vise_gguf_decode(q->scheme.type->blocks, q->codes, q->rows, q->cols, values);
        return;
    }
    if (q->scheme.type->codebook != NULL) {
        vise_codebook_decode(q, values);
        return;
    }
    int middle = 1 << (q->scheme.type->bits - 1);
    int64_t width = group_cols(&q->scheme, q->cols);
    if (q->group_of) {
        decode_scattered(q, middle, values);
        return;
    }
    for (int64_t r = 0; r < q->rows; r++) {
        for (int64_t g = 0; g < q->groups; g++) {
            int64_t at = r * q->cols + g * width, s = scale_index(&q->scheme, q->groups, r, g);
            kernels->decode(q->codes + at, (size_t)width, q->scales[s], q->zeros ? q->zeros[s] : middle,
                            values + at);
        }
    }
}

void vise_decode_ref(const vise_qweight *q, float *values)
{
    decode(vise_tensor_kernels_of(VISE_CPU_REF), q, values);
}

void vise_decode(const vise_qweight *q, float *values)
{
    decode(vise_tensor_kernels_now(), q, values);
}

/* ---- from stored floats to packed words ---------------------------------------------------------------- */

/* Values of a row are converted BLOCK at a time; 32 codes of any width fill whole words, so blocks start on
 * words. */
enum { BLOCK = 1024 };

static void range_of_stored(const vise_tensor_kernels *kernels, vise_dtype dtype, const uint8_t *source,
                            int64_t n, float *min, float *max)
{
    float values[BLOCK], low, high;
    size_t element_bytes = (size_t)vise_dtype_of(dtype)->bits / 8;
    *min = 0.0f;
    *max = 0.0f;
    for (int64_t i = 0; i < n; i += BLOCK) {
        size_t count = (size_t)(n - i < BLOCK ? n - i : BLOCK);
        vise_to_f32(dtype, source + (size_t)i * element_bytes, values, count);
        kernels->range(values, count, &low, &high);
        *min = low < *min ? low : *min;
        *max = high > *max ? high : *max;
    }
}

/* The general path: first the grids of a row, then its codes block by block, split where a group ends. */
static void encode_packed_row(const vise_tensor_kernels *kernels, vise_dtype dtype, const uint8_t *source,
                              const vise_grid_rule *rule, int64_t row, vise_packed *out)
{
    size_t element_bytes = (size_t)vise_dtype_of(dtype)->bits / 8;
    int bits = out->scheme.type->bits;
    int64_t width = group_cols(&out->scheme, out->cols);
    uint32_t *words = out->words + (size_t)row * vise_pack_words((size_t)out->cols, bits);
    float values[BLOCK];
    uint8_t codes[BLOCK];

    if (out->scheme.granularity != VISE_PER_TENSOR) {
        for (int64_t g = 0; g < out->groups; g++) {
            int64_t s = row * out->groups + g;
            float min, max;
            int zero;
            range_of_stored(kernels, dtype, source + (size_t)(g * width) * element_bytes, width, &min, &max);
            vise_grid_solve(rule, min, max, &out->scales[s], &zero);
            if (out->zeros)
                out->zeros[s] = (uint8_t)zero;
        }
    }
    for (int64_t i = 0; i < out->cols; i += BLOCK) {
        int64_t count = out->cols - i < BLOCK ? out->cols - i : BLOCK;
        vise_to_f32(dtype, source + (size_t)i * element_bytes, values, (size_t)count);
        for (int64_t j = 0; j < count;) {
            int64_t g = (i + j) / width, left = (g + 1) * width - (i + j),
                    n = left < count - j ? left : count - j;
            int64_t s = scale_index(&out->scheme, out->groups, row, g);
            kernels->encode(values + j, (size_t)n, out->scales[s], out->zeros ? out->zeros[s] : rule->middle,
                            rule->max_code, codes + j);
            j += n;
        }
        kernels->pack(codes, (size_t)count, bits, words + (size_t)i / 32 * (size_t)bits);
    }
}

void vise_encode_packed(vise_dtype dtype, const void *source, float tensor_min, float tensor_max,
                        vise_packed *out)
{
    const vise_tensor_kernels *kernels = vise_tensor_kernels_now();
    vise_grid_rule rule = vise_grid_rule_of(&out->scheme, out->scale_dtype);
    size_t row_bytes = (size_t)out->cols * ((size_t)vise_dtype_of(dtype)->bits / 8);
    const uint8_t *bytes = source;
    if (out->scheme.granularity == VISE_PER_TENSOR) {
        int zero;
        vise_grid_solve(&rule, tensor_min, tensor_max, out->scales, &zero);
        if (out->zeros)
            out->zeros[0] = (uint8_t)zero;
    }
    if (kernels->encode_packed && kernels->encode_packed(dtype, source, &rule, out))
        return;
    for (int64_t r = 0; r < out->rows; r++)
        encode_packed_row(kernels, dtype, bytes + (size_t)r * row_bytes, &rule, r, out);
}
