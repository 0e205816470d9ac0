/* Weight types whose codes stand for given values, times a scale.
 *
 *   nf4        16 quantiles of the normal distribution (Dettmers et al. 2023, arXiv:2305.14314)
 *   fp4        sign and 0 1/192 2/3 1 1/3 1/2 1/6 1/4 in the order of the codes 0..7, as bitsandbytes has them
 *   llm-int8   u - 128 in 127ths, of float16 weights (Dettmers et al. 2022, arXiv:2208.07339)
 *   fp8-e4m3   the code is the float8 (e4m3fn) itself; quotients beyond 448 are clamped
 *   mxfp4      sign and 0 0.5 1 1.5 2 3 4 6 (E2M1), scales that are powers of two (E8M0), groups of 32
 *   mxfp8      fp8-e4m3 with such scales, groups of 32
 *   nvfp4      E2M1, scales e4m3 / global, groups of 16
 *
 * The scale is the largest magnitude of a group divided by that of the codebook, rounded to its stored dtype. nf4 and
 * fp4 take x * (1 / scale) and count the thresholds below it, with the thresholds of bitsandbytes' CUDA kernels (its
 * processor's differ in the last bit of four). A group of zeros has scale 0 and codes of 0.
 *
 * Double quantization (-dq) stores the scales of flat blocks (absmax) as bytes: offset is the mean of all of a weight's
 * scales, na the largest |scale - offset| of 256 of them, and the byte the nearest entry of a table of 256 values to
 * (scale - offset) * (1 / na), the lower of two that are equally near. Restored: table[byte] * na + offset. Codes are
 * searched with the scales before that.
 *
 * The types of narrow scales (OCP Microscaling Formats 1.0; NVIDIA's NVFP4), as compressed-tensors 0.19 chooses scales
 * (generate_mx_scales, calculate_qparams, generate_gparam): with a the largest magnitude of a group,
 *
 *   mxfp4, mxfp8   2^(E - 2), 2^(E - 8), where 2^E is the power of two of a * 8/7, that is a's own below 1.75
 *   nvfp4          global = 1 / (largest of the whole weight) * 448 * 6, s = e4m3(global * (a / 6)), never below 1/8,
 *                  scale = s / global, all in float32. Linears that runtimes fuse have one global in common
 *
 * and codes are rounded to nearest, ties to the even code.
 *
 * Source: bitsandbytes 0.50, functional.py and csrc/kernels.cu. Equal bits on every CPU level.
 */
#ifndef VISE_TENSOR_CODEBOOK_H
#define VISE_TENSOR_CODEBOOK_H

#include <stddef.h>
#include <stdint.h>

#include "tensor/dtype.h"

struct vise_qweight;

typedef struct vise_codebook {
    const float *values; /* [16] of the types of 4 bits; NULL: more */
    float limit;         /* the largest value */
    uint8_t zero;        /* the code of 0 */
    bool half;           /* weights are rounded to float16 first */
    int group;           /* the only size of groups that it has; 0: any */
    int scale_bits;      /* of a stored scale, where the type fixes them; 0: those of the scale's dtype */
    /* The scale of a group from its largest magnitude; NULL: largest / limit rounded to its dtype. */
    float (*scale)(vise_dtype dtype, float largest, float global);
    /* scale > 0 */
    void (*encode)(const float *values, size_t n, float scale, uint8_t *codes);
    void (*decode)(const uint8_t *codes, size_t n, float scale, float *values);
} vise_codebook;

extern const vise_codebook vise_codebook_nf4, vise_codebook_fp4, vise_codebook_llm_int8, vise_codebook_fp8_e4m3,
    vise_codebook_mxfp4, vise_codebook_mxfp8, vise_codebook_nvfp4;

/* The scale of a group whose largest magnitude is given; 0 for a group of zeros where the type has no other way. */
float vise_codebook_scale(const vise_codebook *codebook, vise_dtype scale_dtype, float largest, float global);

/* Scales as they are stored: E8M0 (2^(code - 127); 255 is NaN), and the e4m3 of nvfp4. The scale is one of theirs. */
float vise_e8m0_value(uint8_t code);
uint8_t vise_e8m0_code(float scale);
float vise_nvfp4_global(float largest);
uint8_t vise_nvfp4_scale_code(float scale, float global);

/* Scales to a byte of double quantization, and its table, ascending. */
#define VISE_NESTED_BLOCK 256
extern const float vise_nested_map[256];

/* Fills codes and scales of q; q->flat and, with double quantization, q->offset are set. So is q->global of nvfp4, or
 * it is 0 and becomes that of the range given. */
void vise_codebook_encode(const float *values, float tensor_min, float tensor_max, struct vise_qweight *q);
void vise_codebook_decode(const struct vise_qweight *q, float *values);
/* Scales of flat blocks from what double quantization stored of them: q->scale_codes, q->nested, q->offset. */
void vise_nested_restore(struct vise_qweight *q);

/* The sum of the scales of the flat blocks of n values that begin with a block, in their order: for the mean. */
double vise_flat_scale_sum(const vise_codebook *codebook, const float *values, size_t n, int64_t block);

#endif
