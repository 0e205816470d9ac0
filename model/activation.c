#include "model/activation.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "tensor/codebook.h"

static float largest_of(const float *x, size_t n)
{
    float largest = 0.0f;
    for (size_t j = 0; j < n; j++)
        largest = fabsf(x[j]) > largest ? fabsf(x[j]) : largest;
    return largest;
}

/* Symmetric: u = clamp(rint(x / scale), -half, half - 1), as compressed-tensors computes it (quantize). */
static void round_integers(const float *x, size_t n, float scale, float half, float *y)
{
    /* Adding and subtracting 1.5 * 2^23 rounds |v| < 2^22 to the nearest integer, ties to even, as rint does; it
     * needs no SSE4.1 and becomes vector code. */
    const float magic = 12582912.0f;
    for (size_t j = 0; j < n; j++) {
        float u = x[j] / scale;
        u = u > half - 1.0f ? half - 1.0f : u;
        u = u < -half ? -half : u;
        y[j] = ((u + magic) - magic) * scale;
    }
}

static void round_codebook(const vise_codebook *codebook, const float *x, size_t n, float scale, float *y)
{
    uint8_t codes[256];
    for (size_t at = 0; at < n; at += sizeof codes) {
        const size_t count = n - at < sizeof codes ? n - at : sizeof codes;
        codebook->encode(x + at, count, scale, codes);
        codebook->decode(codes, count, scale, y + at);
    }
}

/* n inputs of a token that have one scale. */
static void apply_run(const vise_activation_type *type, float given, const float *x, size_t n, float *y)
{
    const float half = (float)(1 << (type->bits - 1));
    float scale = given;
    if (type->codebook && type->granularity != VISE_PER_TENSOR)
        scale = vise_codebook_scale(type->codebook, VISE_DTYPE_F32, largest_of(x, n), given);
    else if (type->granularity != VISE_PER_TENSOR)
        scale = largest_of(x, n) / (half - 0.5f);
    if (scale == 0.0f)
        memset(y, 0, n * sizeof *y);
    else if (type->codebook)
        round_codebook(type->codebook, x, n, scale, y);
    else
        round_integers(x, n, scale, half, y);
}

void vise_activation_apply(const vise_activation_type *type, float scale, int64_t t, int64_t d, const float *x,
                           float *y)
{
    const int64_t width = type->granularity == VISE_PER_GROUP ? type->group : d;
    for (int64_t i = 0; i < t; i++)
        for (int64_t at = 0; at < d; at += width)
            apply_run(type, scale, x + i * d + at, (size_t)(d - at < width ? d - at : width), y + i * d + at);
}
