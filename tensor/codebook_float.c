/* Codebooks that are small floats: fp8-e4m3, and the types of blocks with a narrow scale, mxfp4, mxfp8 and nvfp4. */
#include "tensor/codebook.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "tensor/scheme.h"

#define CHUNK 256 /* values worked on at a time */

static const float e2m1_values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                      -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

/* ---- codes --------------------------------------------------------------------------------------------- */

/* To nearest, ties to the even code: half of the seven bounds belong to the code above. */
static uint8_t e2m1_code(float x)
{
    const float m = fabsf(x);
    const int code = (m > 0.25f) + (m >= 0.75f) + (m > 1.25f) + (m >= 1.75f) + (m > 2.5f) + (m >= 3.5f) + (m > 5.0f);
    return (uint8_t)(code | (signbit(x) ? 8 : 0));
}

static void e2m1_encode(const float *values, size_t n, float scale, uint8_t *codes)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = e2m1_code(values[i] / scale);
}

static void e2m1_decode(const uint8_t *codes, size_t n, float scale, float *values)
{
    for (size_t i = 0; i < n; i++)
        values[i] = e2m1_values[codes[i] & 15] * scale;
}

static void e4m3_encode(const float *values, size_t n, float scale, uint8_t *codes)
{
    for (size_t at = 0; at < n; at += CHUNK) {
        float scaled[CHUNK];
        size_t count = n - at < CHUNK ? n - at : CHUNK;
        for (size_t i = 0; i < count; i++) {
            float value = values[at + i] / scale;
            value = value < 448.0f ? value : 448.0f;
            scaled[i] = value > -448.0f ? value : -448.0f;
        }
        vise_from_f32(VISE_DTYPE_F8_E4M3, scaled, codes + at, count);
    }
}

static void e4m3_decode(const uint8_t *codes, size_t n, float scale, float *values)
{
    vise_to_f32(VISE_DTYPE_F8_E4M3, codes, values, n);
    for (size_t i = 0; i < n; i++)
        values[i] *= scale;
}

/* ---- scales -------------------------------------------------------------------------------------------- */

/* The power of two of a magnitude whose mantissa rounds up from 1.75 on, less the largest exponent of the codes. */
static float mx_scale(float largest, int top)
{
    uint32_t bits;
    memcpy(&bits, &largest, sizeof bits);
    int exponent = (int)((bits + (1u << 21)) >> 23) - top;
    exponent = exponent < 0 ? 0 : exponent < 254 ? exponent : 254;
    return vise_e8m0_value((uint8_t)exponent);
}

static float mxfp4_scale(vise_dtype dtype, float largest, float global)
{
    (void)dtype;
    (void)global;
    return mx_scale(largest, 2);
}

static float mxfp8_scale(vise_dtype dtype, float largest, float global)
{
    (void)dtype;
    (void)global;
    return mx_scale(largest, 8);
}

static float nvfp4_scale(vise_dtype dtype, float largest, float global)
{
    (void)dtype;
    float local = global * (largest / 6.0f), stored;
    uint8_t code;
    local = local < 448.0f ? local : 448.0f;
    vise_from_f32(VISE_DTYPE_F8_E4M3, &local, &code, 1);
    vise_to_f32(VISE_DTYPE_F8_E4M3, &code, &stored, 1);
    return (stored > 0.0f ? stored : 0.125f) / global;
}

float vise_e8m0_value(uint8_t code)
{
    uint32_t bits = code > 0 ? (uint32_t)code << 23 : 1u << 22; /* 2^-127 is subnormal */
    float value;
    memcpy(&value, &bits, sizeof value);
    return code < 255 ? value : NAN;
}

uint8_t vise_e8m0_code(float scale)
{
    uint32_t bits;
    memcpy(&bits, &scale, sizeof bits);
    return (uint8_t)(bits >> 23);
}

float vise_nvfp4_global(float largest)
{
    const float global = 1.0f / (largest > FLT_MIN ? largest : FLT_MIN) * (448.0f * 6.0f); /* as torch divides */
    return isfinite(global) ? global : 1.0f;
}

uint8_t vise_nvfp4_scale_code(float scale, float global)
{
    const float local = scale * global; /* within half a unit in float32's last place of what it was */
    uint8_t code;
    vise_from_f32(VISE_DTYPE_F8_E4M3, &local, &code, 1);
    return code;
}

const vise_codebook vise_codebook_fp8_e4m3 = {.limit = 448.0f, .encode = e4m3_encode, .decode = e4m3_decode};
const vise_codebook vise_codebook_mxfp4 = {.values = e2m1_values,
                                           .limit = 6.0f,
                                           .group = 32,
                                           .scale_bits = 8,
                                           .scale = mxfp4_scale,
                                           .encode = e2m1_encode,
                                           .decode = e2m1_decode};
const vise_codebook vise_codebook_mxfp8 = {.limit = 448.0f,
                                           .group = 32,
                                           .scale_bits = 8,
                                           .scale = mxfp8_scale,
                                           .encode = e4m3_encode,
                                           .decode = e4m3_decode};
const vise_codebook vise_codebook_nvfp4 = {.values = e2m1_values,
                                           .limit = 6.0f,
                                           .group = 16,
                                           .scale_bits = 8,
                                           .scale = nvfp4_scale,
                                           .encode = e2m1_encode,
                                           .decode = e2m1_decode};
