/* Element types as the safetensors format names them, and their conversion to and from float32.
 *
 * One row per type; code never switches over dtypes where a row can answer. Conversions to float32 are exact
 * except for F64 and integers beyond 24 bits; conversions from float32 round to nearest, ties to even. Beyond
 * the largest value (and for infinities) F8_E4M3 saturates, the FNUZ types give NaN and the others infinity, as
 * torch's casts do (2.13); integers are clamped, NaN becomes 0. NaNs stay NaNs, quiet, with sign and the top of
 * their payload where the type has room. F8_E8M0, a scale, drops the sign and takes ties up. Sub-byte types
 * (F4, F6) are known by size so that files holding them can be carried over, but have no conversion here.
 *
 * Source: safetensors format, tensor.rs `Dtype` (order, names and bit widths).
 */
#ifndef VISE_TENSOR_DTYPE_H
#define VISE_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

typedef enum vise_dtype {
    VISE_DTYPE_BOOL,
    VISE_DTYPE_F4,
    VISE_DTYPE_F6_E2M3,
    VISE_DTYPE_F6_E3M2,
    VISE_DTYPE_U8,
    VISE_DTYPE_I8,
    VISE_DTYPE_F8_E5M2,
    VISE_DTYPE_F8_E4M3,
    VISE_DTYPE_F8_E8M0,
    VISE_DTYPE_F8_E4M3FNUZ,
    VISE_DTYPE_F8_E5M2FNUZ,
    VISE_DTYPE_I16,
    VISE_DTYPE_U16,
    VISE_DTYPE_F16,
    VISE_DTYPE_BF16,
    VISE_DTYPE_I32,
    VISE_DTYPE_U32,
    VISE_DTYPE_F32,
    VISE_DTYPE_C64,
    VISE_DTYPE_F64,
    VISE_DTYPE_I64,
    VISE_DTYPE_U64,
    VISE_DTYPE_COUNT
} vise_dtype; /* in safetensors' writer rank, low to high */

typedef struct vise_dtype_traits {
    const char *name;       /* "BF16", as in a safetensors header */
    const char *torch_name; /* "bfloat16", as in config.json; NULL if torch has none */
    const char *cli_name;   /* "bf16", as options spell it; NULL if it is no target of a cast */
    int bits;
    bool is_float; /* a real-valued weight type: may be decoded, pruned, quantized */
    double max;    /* largest finite value (floats) */
    /* Reference conversions; NULL where there is none. Stored elements may be unaligned. */
    void (*to_f32)(const void *source, float *target, size_t n);
    void (*from_f32)(const float *source, void *target, size_t n);
} vise_dtype_traits;

const vise_dtype_traits *vise_dtype_of(vise_dtype dtype); /* never NULL for a valid dtype */
bool vise_dtype_from_name(const char *name, size_t length, vise_dtype *out);
bool vise_dtype_from_torch(const char *name, vise_dtype *out); /* "bfloat16" or "torch.bfloat16" */
bool vise_dtype_from_cli(const char *name, vise_dtype *out);

/* Bytes of n elements; false on overflow or if the bits do not fill whole bytes. */
bool vise_dtype_bytes(vise_dtype dtype, uint64_t n, uint64_t *bytes);

/* The fast conversions of this CPU level (equal bits to the references). The dtype must have them. */
void vise_to_f32(vise_dtype dtype, const void *source, float *target, size_t n);
void vise_from_f32(vise_dtype dtype, const float *source, void *target, size_t n);
/* One value rounded to the dtype and back. */
float vise_round_to(vise_dtype dtype, float value);

/* What a cast did, counted while it ran. */
typedef struct vise_cast_stats {
    uint64_t overflowed; /* finite before, infinite, NaN or saturated after */
    uint64_t flushed;    /* non-zero before, zero after */
} vise_cast_stats;
void vise_from_f32_counted(vise_dtype dtype, const float *source, void *target, size_t n,
                           vise_cast_stats *stats); /* adds to stats */

/* Number of NaN and infinite values; first_bad (may be NULL) gets the index of the first. */
size_t vise_count_nonfinite(const float *values, size_t n, size_t *first_bad);

#endif
