/* The GGUF file format, versions 2 and 3, little-endian: parser of everything but the weights.
 *
 *   "GGUF" | u32 version | u64 tensors | u64 values
 *   values times    text key | u32 type | value          text = u64 bytes, bytes
 *                   types 0 u8, 1 i8, 2 u16, 3 i16, 4 u32, 5 i32, 6 f32, 7 bool, 8 text, 9 array,
 *                         10 u64, 11 i64, 12 f64
 *                   array = u32 type of its elements | u64 count | elements
 *   tensors times   text name | u32 dims | u64 dim[dims] | u32 type | u64 offset
 *   padding to the alignment (general.alignment, 32) | data: each tensor at its offset, padded likewise
 *
 * dim[0] counts the elements of a row; a matrix of rows x cols has dims {cols, rows}.
 *
 * Nothing in a file is trusted. Counts are bounded by the bytes that are left before anything is
 * allocated, products and sums are checked. Refused, as llama.cpp refuses them: another version or byte
 * order; keys that are empty, given twice or longer than 65535 bytes; unknown types; arrays of arrays;
 * texts and arrays beyond the file; an alignment that is no power of two or no u32; names that are empty,
 * longer than 63 bytes or given twice; types removed from the format; rows that are no whole blocks;
 * tensors out of order, overlapping, apart, unaligned or beyond the file. Stricter than llama.cpp: keys
 * and names must be printable UTF-8 without NUL, a bool is 0 or 1, a tensor has 1 to 4 dimensions of at
 * least 1. Bytes behind the data are tolerated.
 *
 * Source: ggml docs/gguf.md.
 */
#ifndef VISE_FORMATS_GGUF_H
#define VISE_FORMATS_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/hash.h"
#include "core/mem.h"
#include "formats/safetensors.h"
#include "tensor/gguf.h"

#define VISE_GGUF_DIMS_MAX   4
#define VISE_GGUF_NAME_MAX   63
#define VISE_GGUF_HEADER_MAX ((uint64_t)1 << 30) /* bytes before the data */

typedef enum vise_gguf_kind {
    VISE_GGUF_KIND_U8,
    VISE_GGUF_KIND_I8,
    VISE_GGUF_KIND_U16,
    VISE_GGUF_KIND_I16,
    VISE_GGUF_KIND_U32,
    VISE_GGUF_KIND_I32,
    VISE_GGUF_KIND_F32,
    VISE_GGUF_KIND_BOOL,
    VISE_GGUF_KIND_TEXT,
    VISE_GGUF_KIND_ARRAY,
    VISE_GGUF_KIND_U64,
    VISE_GGUF_KIND_I64,
    VISE_GGUF_KIND_F64,
    VISE_GGUF_KINDS
} vise_gguf_kind;

/* Bytes of an element; 0: no fixed number. */
size_t vise_gguf_kind_bytes(vise_gguf_kind kind);

typedef struct vise_gguf_text {
    const char *bytes; /* NUL-terminated; may hold NULs too */
    size_t length;
} vise_gguf_text;

typedef struct vise_gguf_value {
    const char *key;
    vise_gguf_kind kind; /* of the elements, of an array */
    bool is_array;
    uint64_t count;       /* 1 unless an array */
    const void *elements; /* [count] as stored; of texts vise_gguf_text [count] */
} vise_gguf_value;

typedef struct vise_gguf_tensor {
    const char *name;
    const vise_gguf_type *type;
    int ndim;
    int64_t dims[VISE_GGUF_DIMS_MAX]; /* as in the file: the row's length first */
    uint64_t elements, bytes;
    uint64_t offset; /* in the file */
} vise_gguf_tensor;

typedef struct vise_gguf {
    const char *path;
    vise_gguf_value *values; /* in file order; in the arena, like all that follows */
    size_t n_values;
    vise_gguf_tensor *tensors;
    size_t n_tensors;
    uint64_t data_start;
    uint32_t alignment;
    char sha256[VISE_SHA256_HEX_MAX]; /* of the bytes before the data */
} vise_gguf;

/* Every failure is VISE_EFORMAT (but want of memory) and says file, place and remedy. */
VISE_MUST_USE vise_status vise_gguf_parse(const vise_st_input *input, vise_arena *arena, vise_gguf *gguf,
                                          vise_error *err);

/* NULL: no such key. */
const vise_gguf_value *vise_gguf_find(const vise_gguf *gguf, const char *key);

/* Getters. A missing key leaves *out alone and is an error only when required; another kind, or a number
 * outside [min, max], is VISE_EFORMAT naming file and key. Any integer kind will do for integers, any
 * float kind for floats. */
VISE_MUST_USE vise_status vise_gguf_get_int(const vise_gguf *gguf, const char *key, bool required,
                                            int64_t min, int64_t max, int64_t *out, vise_error *err);
VISE_MUST_USE vise_status vise_gguf_get_float(const vise_gguf *gguf, const char *key, bool required,
                                              float *out, vise_error *err);
VISE_MUST_USE vise_status vise_gguf_get_bool(const vise_gguf *gguf, const char *key, bool required, bool *out,
                                             vise_error *err);
VISE_MUST_USE vise_status vise_gguf_get_text(const vise_gguf *gguf, const char *key, bool required,
                                             const char **out, vise_error *err);
/* An array of the kind; *count 0 when it is missing. */
VISE_MUST_USE vise_status vise_gguf_get_array(const vise_gguf *gguf, const char *key, bool required,
                                              vise_gguf_kind kind, const void **elements, uint64_t *count,
                                              vise_error *err);

#endif
