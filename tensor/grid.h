/* From the range of a group to its scale and zero point, as tensor/scheme.h fixes it; inline, because the
 * fused codecs solve one grid per group. Internal. */
#ifndef VISE_TENSOR_GRID_H
#define VISE_TENSOR_GRID_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tensor/dtype.h"
#include "tensor/scheme.h"

/* What the grids of one weight have in common. */
typedef struct vise_grid_rule {
    vise_dtype scale_dtype;
    bool asym;
    int max_code; /* 2^bits - 1 */
    int middle;   /* zero point of a symmetric scheme, 2^(bits-1) */
    float steps;  /* what the range is divided by: max_code, or half of it */
} vise_grid_rule;

static inline vise_grid_rule vise_grid_rule_of(const vise_scheme *scheme, vise_dtype scale_dtype)
{
    int max_code = (1 << scheme->type->bits) - 1;
    return (vise_grid_rule){
        .scale_dtype = scale_dtype,
        .asym = scheme->asym,
        .max_code = max_code,
        .middle = 1 << (scheme->type->bits - 1),
        .steps = scheme->asym ? (float)max_code : (float)max_code * 0.5f,
    };
}

/* A positive scale, +inf included, rounded to nearest even in its dtype and kept inside its positive finite
 * values. */
static inline float vise_grid_round_scale(vise_dtype dtype, float scale)
{
    uint32_t bits, low, high;
    memcpy(&bits, &scale, sizeof bits);
    switch (dtype) {
    case VISE_DTYPE_BF16:
        low = 0x00010000u; /* 2^-133 */
        high = 0x7f7f0000u;
        if (bits < high) /* keeps infinity from wrapping */
            bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
        break;
    case VISE_DTYPE_F16:
        low = 0x33800000u;        /* 2^-24 */
        high = 0x477fe000u;       /* 65504 */
        if (bits < 0x38800000u) { /* below 2^-14 the step is 2^-24, which is the last place of 0.5 */
            float rounded = (scale + 0.5f) - 0.5f;
            memcpy(&bits, &rounded, sizeof bits);
        } else if (bits < high) {
            bits = (bits + 0xfffu + ((bits >> 13) & 1u)) & 0xffffe000u;
        }
        break;
    default: /* F32, and F64, which holds every float32 */
        low = 1;
        high = 0x7f7fffffu;
        break;
    }
    bits = bits < low ? low : bits;
    bits = bits > high ? high : bits;
    memcpy(&scale, &bits, sizeof bits);
    return scale;
}

/* min <= 0 <= max, finite. */
static inline void vise_grid_solve(const vise_grid_rule *rule, float min, float max, float *scale, int *zero)
{
    float top = -min > max ? -min : max;
    *zero = rule->asym ? 0 : rule->middle;
    *scale = 0.0f;
    if (!(top > 0.0f))
        return;
    *scale = vise_grid_round_scale(rule->scale_dtype, (rule->asym ? max - min : top) / rule->steps);
    if (rule->asym) {
        float z = -min / *scale;
        z = z > 0.0f ? z : 0.0f;
        z = z < (float)rule->max_code ? z : (float)rule->max_code;
        *zero = (int)lrintf(z);
    }
}

#endif
