/* Round to nearest in one sweep: from a stored float matrix to scales, zero points and packed words, without
 * the float32 values and the unpacked codes ever being in memory. The result has the bits of the chain
 *
 *   vise_to_f32, vise_encode with VISE_CLIP_NONE, vise_pack of each row
 *
 * for every dtype with a conversion, every scheme and every shape; groups of a multiple of 32 at 4 and 8 bits
 * from f32, f16 or bf16 run in registers. A searched range (VISE_CLIP_MSE) needs the chain.
 */
#ifndef VISE_TENSOR_CODEC_H
#define VISE_TENSOR_CODEC_H

#include <stdint.h>

#include "tensor/dtype.h"
#include "tensor/scheme.h"

/* Rows of a packed quantized weight; storage is the caller's. cols must divide into whole groups. */
typedef struct vise_packed {
    vise_scheme scheme;
    vise_dtype scale_dtype;
    int64_t rows, cols, groups;
    uint32_t *words; /* [rows, vise_pack_words(cols, bits)] */
    float *scales;   /* [rows, groups]; per-tensor schemes: [1] */
    uint8_t *zeros;  /* as scales; NULL when symmetric */
} vise_packed;

/* Fills words, scales and zeros from source [rows, cols], stored as dtype, any alignment. Per-tensor schemes
 * use the range given in tensor_min (<= 0) and tensor_max (>= 0), others ignore it. All values must be
 * finite. */
void vise_encode_packed(vise_dtype dtype, const void *source, float tensor_min, float tensor_max,
                        vise_packed *out);

#endif
