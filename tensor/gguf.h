/* The block types of GGUF: a row of a weight as a sequence of blocks, each with its own scales. One row
 * of the table per type; encoders give the bits of llama.cpp's quantizer, decoders those of its reader.
 *
 * A type is known by its number in files (`ggml_type`). All arithmetic is float32 in a fixed order
 * without fused operations, which is what makes the bytes reproducible. Encoding may be weighted by the
 * importance of columns (mean squares of a linear's inputs, an "importance matrix"); types that have no
 * use for it ignore it.
 *
 * Codebook types (iq1_*, iq2_*, iq3_*) are known by their sizes, so that files holding them can be read
 * as far as their other tensors go, and have no codec.
 *
 * Sources: the GGUF specification (ggml docs/gguf.md) and ggml's block definitions, as facts about the
 * format. */
#ifndef VISE_TENSOR_GGUF_H
#define VISE_TENSOR_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/dtype.h"

enum { VISE_GGUF_RUNS_MAX = 16 };

/* What a stored block can hold: value j is scale[r] * point[level] - offset[r] in float32 without fusing, r = j / run,
 * level from 0 to levels - 1. Points rise. */
typedef struct vise_gguf_grid {
    int run, levels;
    const float *point; /* [levels]; NULL: level - half */
    int half;
    float scale[VISE_GGUF_RUNS_MAX], offset[VISE_GGUF_RUNS_MAX];
} vise_gguf_grid;

typedef struct vise_gguf_type {
    const char *name;  /* "q4_k", as schemes and llama.cpp spell it */
    uint32_t id;       /* in a file's tensor table */
    int values, bytes; /* of a block */
    vise_dtype dtype;  /* of a type without scales ("f16"); VISE_DTYPE_COUNT for blocks */
    int halves[2];     /* offsets of float16 scales in a block; -1: none */
    /* One row of `cols` values, a multiple of the block. `importance` [cols] may be NULL. Values are
     * finite. Stored rows are aligned to 2 bytes. NULL: no codec here (plain types convert by dtype). */
    void (*encode_row)(const float *values, const float *importance, int64_t cols, void *blocks);
    void (*decode_row)(const void *blocks, int64_t cols, float *values);
    /* For those who choose levels themselves: the grid that a block's scales make, and levels [values] into a block
     * whose scales stay. NULL: no such grid (mxfp4, ternary and binary types). */
    void (*grid)(const void *block, vise_gguf_grid *grid);
    void (*put_levels)(const uint8_t *levels, void *block);
} vise_gguf_type;

/* Rows of the table, by number in files. */
typedef enum vise_gguf_row {
    VISE_GGUF_F32,
    VISE_GGUF_F16,
    VISE_GGUF_Q4_0,
    VISE_GGUF_Q4_1,
    VISE_GGUF_Q5_0,
    VISE_GGUF_Q5_1,
    VISE_GGUF_Q8_0,
    VISE_GGUF_Q8_1,
    VISE_GGUF_Q2_K,
    VISE_GGUF_Q3_K,
    VISE_GGUF_Q4_K,
    VISE_GGUF_Q5_K,
    VISE_GGUF_Q6_K,
    VISE_GGUF_Q8_K,
    VISE_GGUF_IQ2_XXS,
    VISE_GGUF_IQ2_XS,
    VISE_GGUF_IQ3_XXS,
    VISE_GGUF_IQ1_S,
    VISE_GGUF_IQ4_NL,
    VISE_GGUF_IQ3_S,
    VISE_GGUF_IQ2_S,
    VISE_GGUF_IQ4_XS,
    VISE_GGUF_I8,
    VISE_GGUF_I16,
    VISE_GGUF_I32,
    VISE_GGUF_I64,
    VISE_GGUF_F64,
    VISE_GGUF_IQ1_M,
    VISE_GGUF_BF16,
    VISE_GGUF_TQ1_0,
    VISE_GGUF_TQ2_0,
    VISE_GGUF_MXFP4,
    VISE_GGUF_NVFP4,
    VISE_GGUF_Q1_0,
    VISE_GGUF_Q2_0,
    VISE_GGUF_TYPES
} vise_gguf_row;

extern const vise_gguf_type vise_gguf_table[VISE_GGUF_TYPES];

const vise_gguf_type *vise_gguf_type_of(uint32_t id);         /* NULL: no such type */
const vise_gguf_type *vise_gguf_type_named(const char *name); /* NULL: no such type */
const vise_gguf_type *vise_gguf_type_plain(vise_dtype dtype); /* NULL: GGUF has no such element */

/* Bytes of a row of cols values; 0 if cols does not divide into whole blocks. */
uint64_t vise_gguf_row_bytes(const vise_gguf_type *type, int64_t cols);

/* Rows of a block type that has a codec, by the kernels of this CPU level (equal bits on all). */
void vise_gguf_encode(const vise_gguf_type *type, const float *values, const float *importance, int64_t rows,
                      int64_t cols, void *blocks);
void vise_gguf_decode(const vise_gguf_type *type, const void *blocks, int64_t rows, int64_t cols,
                      float *values);

/* The first of n blocks whose scales are no finite numbers (values too large for float16, or a damaged
 * file); n if all are fine. */
size_t vise_gguf_first_bad(const vise_gguf_type *type, const void *blocks, size_t n);

#endif
