/* Quantization schemes: what a quantized weight is, its grid (ranges to scales and zero points), and its
 * codecs.
 *
 *   WEIGHT[-GRANULARITY][-asym][-dq][+ACTIVATION]      docs/cli.md
 *
 * A logical quantized weight of shape [rows, cols] (out features, in features) has
 *
 *   codes   [rows, cols]    unsigned u in [0, 2^bits)
 *   scales  [rows, groups]  float32 values that are exactly representable in scale_dtype; positive, 0 for a group
 *                           of zeros, negative where a search chose so (VISE_CLIP_SIGNED)
 *   zeros   [rows, groups]  unsigned zero points, only when the scheme is asymmetric
 *
 *   value = (u - z) * scale        with z = 2^(bits-1) for symmetric schemes, product in float32
 *
 * A scale is rounded to its stored dtype before codes are searched, so that what is searched is what is
 * stored.
 *
 * The grid of integers follows compressed-tensors (calculate_qparams): min <= 0 <= max are taken over the
 * group;
 *
 *   symmetric   scale = max(|min|, |max|) / ((2^bits - 1) / 2)
 *   asymmetric  scale = (max - min) / (2^bits - 1),  z = clamp(rint(-min / scale), 0, 2^bits - 1)
 *   u = clamp(rint(value / scale) + z, 0, 2^bits - 1), rint to nearest even, quotient in float32
 *
 * A group of zeros has scale 0 and every u = z (z = 0 when asymmetric). A scale that would round to zero for a
 * non-zero group takes the smallest positive value of its dtype; one that would overflow takes the largest. The
 * quotient is clamped before it is rounded, which is the same and never leaves the integers. scale_dtype is
 * F32, F16 or BF16.
 *
 * A GGUF type is a scheme by its name alone (q4_k): its blocks hold scales of their own, as tensor/gguf.h says.
 *
 * How codes are spelled on disk is the business of formats/layout_*.c.
 */
#ifndef VISE_TENSOR_SCHEME_H
#define VISE_TENSOR_SCHEME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "tensor/codebook.h"
#include "tensor/dtype.h"
#include "tensor/gguf.h"

typedef enum vise_granularity {
    VISE_PER_TENSOR,
    VISE_PER_CHANNEL, /* one scale per output row */
    VISE_PER_GROUP,   /* groups of `group` consecutive columns of a row */
    VISE_PER_BLOCK,   /* blocks of `group_rows` rows and `group` columns; those at the edges may be smaller */
    VISE_PER_FLAT     /* blocks of `group` consecutive weights, from one row to the next */
} vise_granularity;

/* A row of the table of weight types. */
typedef struct vise_weight_type {
    const char *name; /* "int4" */
    int bits;
    bool has_asym;
    vise_granularity default_granularity;
    int default_group;
    const char *default_layout; /* "compressed-tensors" */
    /* Stored as blocks of this type, which has scales and offsets of its own; NULL: codes, scales, zero points. */
    const vise_gguf_type *blocks;
    /* What codes stand for; NULL: integers, less a zero point. */
    const vise_codebook *codebook;
    unsigned grains; /* granularities that it has: 1u << VISE_PER_GROUP, ... */
} vise_weight_type;

const vise_weight_type *vise_weight_types(size_t *count);
/* llama.cpp's mixtures of GGUF types, which are for whole models and no schemes of one weight. */
const char *const *vise_mixture_names(size_t *count);
/* Its granularities for a person: "tensor, channel, gN". */
const char *vise_weight_type_grains(const vise_weight_type *type, char buffer[64]);

#define VISE_SCHEME_TEXT_MAX 64

typedef struct vise_scheme {
    const vise_weight_type *type; /* NULL: not quantized, a plain float tensor */
    vise_granularity granularity;
    int64_t group;      /* > 0 with VISE_PER_GROUP, _BLOCK and _FLAT, else 0 */
    int64_t group_rows; /* > 0 with VISE_PER_BLOCK, else 0 */
    bool asym;
    bool dq; /* scales are quantized, too (tensor/codebook.h) */
    const char *activation; /* NULL, or a row of the activation table: "int8-token" */
} vise_scheme;

/* VISE_EUSAGE for text that is no scheme (naming the nearest), VISE_EUNSUPPORTED for one that is known but
 * not held. */
VISE_MUST_USE vise_status vise_scheme_parse(const char *text, vise_scheme *scheme, vise_error *err);
/* The canonical spelling; "float" for a plain tensor. */
const char *vise_scheme_text(const vise_scheme *scheme, char buffer[VISE_SCHEME_TEXT_MAX]);
bool vise_scheme_equal(const vise_scheme *a, const vise_scheme *b);

/* Scales of a row of cols columns; 0 if cols does not divide into whole groups. 1 where blocks are flat. */
int64_t vise_scheme_groups(const vise_scheme *scheme, int64_t cols);
/* Bits per weight with scales and zero points, as stored densely. */
double vise_scheme_bits(const vise_scheme *scheme, int64_t rows, int64_t cols, vise_dtype scale_dtype);

/* Rows that must be encoded together, from a multiple of them on: a row's scale may depend on its neighbours. 1
 * where it does not. */
int64_t vise_scheme_tile_rows(const vise_scheme *scheme, int64_t cols);

/* Rows [row0, row0 + rows) of a logical quantized weight. Of a block type the codes are the stored blocks, and there
 * is nothing else. Per-tensor schemes have one group and one scale in
 * all (scales[0]); per-channel ones have one group per row; blocks of several rows have their scale with each of these.
 * Scales of flat blocks are those of the blocks that the rows touch. Storage is the caller's. */
typedef struct vise_qweight {
    vise_scheme scheme;
    vise_dtype scale_dtype;
    int64_t rows, cols, groups;
    uint8_t *codes; /* [rows, cols]; blocks: [rows, bytes of a row] */
    float *scales;  /* [rows, groups]; blocks: NULL */
    uint8_t *zeros; /* [rows, groups], NULL when symmetric */
    /* [cols]: the group of each column, where groups are no runs of columns (GPTQ's act-order); NULL: they are.
     * Borrowed from the layout that loaded the weight; encoders take none. */
    const int32_t *group_of;
    /* Flat blocks: place of the first code in the whole weight, row0 * cols. */
    int64_t flat;
    /* Double quantization: a byte for each scale, a float for 256 of them (those that the scales touch), and what all
     * have in common. The table of the bytes is that of the file it was read from; NULL: vise_nested_map. */
    uint8_t *scale_codes;
    float *nested;
    float offset;
    const float *nested_map;
    const float *table; /* [16] that a file gives to codes of 4 bits; NULL: the type's own */
    float global;       /* nvfp4: what the stored scales are divided by, one for the whole weight */
    float input_scale;  /* of the inputs, where calibration gives one (tensor/activation_type.h); else 0 */
} vise_qweight;

/* Bytes of a row of codes. */
size_t vise_qweight_row_bytes(const vise_qweight *q);
/* Rows [row0, row0 + rows) of q, in q's storage. */
vise_qweight vise_qweight_rows(const vise_qweight *q, int64_t row0, int64_t rows);

/* Bytes that a qweight of this shape needs in one block (SIZE_MAX if they cannot be counted), and its carving
 * (parts 64-byte aligned if the block is). */
size_t vise_qweight_bytes(const vise_scheme *scheme, int64_t rows, int64_t cols);
void vise_qweight_carve(vise_qweight *q, const vise_scheme *scheme, vise_dtype scale_dtype, int64_t rows,
                        int64_t cols, void *block);

/* ---- the grid ------------------------------------------------------------------------------------------ */

typedef enum vise_clip {
    VISE_CLIP_NONE, /* the range as it is */
    VISE_CLIP_MSE,  /* the best of 80 ranges, 1.00 0.99 ... 0.21 of it, by the smallest sum |error|^2.5 */
    /* The same, and for symmetric schemes with scales of either sign: the one code more that lies below zero serves
     * the side that needs it, which counts in 2 and 3 bits. Ranges of positive scales win ties. */
    VISE_CLIP_SIGNED
} vise_clip;

/* scale and zero point of n values with stride 1; `weights` (may be NULL) are importances per value for
 * the searches. zero may be NULL when the scheme is symmetric. Reference order of operations as documented
 * above: equal bits on every CPU level. That is why the search's exponent is not GPTQ's 2.4 (`mse`): |e|^2.5
 * = e^2 sqrt(|e|) needs only operations that IEEE 754 rounds correctly, where powf's bits depend on the libm
 * and the processor; the two choose nearly the same ranges. */
void vise_grid_fit(const vise_scheme *scheme, vise_dtype scale_dtype, vise_clip clip, const float *values,
                   const float *weights, int64_t n, float *scale, uint8_t *zero);
/* The same from a given range (min <= 0 <= max), for callers that know it. */
void vise_grid_from_range(const vise_scheme *scheme, vise_dtype scale_dtype, float min, float max,
                          float *scale, uint8_t *zero);

/* ---- the codecs (round to nearest) --------------------------------------------------------------------- */

/* Equal bits on every CPU level; the _ref functions are the truth, the others choose by vise_cpu(). All values
 * must be finite. */

/* Fits every group of values [rows, cols] and encodes it: codes, scales and zeros of q are filled. Block types ignore
 * clip (vise_gguf_encode takes importances too). Per-tensor
 * schemes use the range given in tensor_min/tensor_max (of the whole tensor, measured before). */
void vise_encode_ref(const float *values, vise_clip clip, float tensor_min, float tensor_max,
                     vise_qweight *q);
void vise_encode(const float *values, vise_clip clip, float tensor_min, float tensor_max, vise_qweight *q);
/* Encodes with the scales and zeros that q already holds; not for block types. */
void vise_encode_on_grid_ref(const float *values, vise_qweight *q);
void vise_encode_on_grid(const float *values, vise_qweight *q);
/* values [rows, cols] from codes. */
void vise_decode_ref(const vise_qweight *q, float *values);
void vise_decode(const vise_qweight *q, float *values);

/* min (<= 0) and max (>= 0) over n values. */
void vise_range(const float *values, size_t n, float *min, float *max);

#endif
