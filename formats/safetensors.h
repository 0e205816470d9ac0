/* The safetensors file format: header parser and header writer.
 *
 *   u64 little-endian N | N bytes of JSON | data
 *
 *   JSON: {"__metadata__": {string: string}, NAME: ENTRY, ...}
 *   ENTRY: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}
 *
 * Offsets count from the start of the data; sorted by offset, tensors fill the data without hole or overlap.
 *
 * The parser streams: of a header (at most 100 MB) it keeps only names, shapes and metadata. It has a JSON
 * reader of its own, because it must see integers exactly, names given twice, and NUL characters, none of
 * which cJSON tells.
 *
 * Checks, in the order of the reference reader (safetensors/src/tensor.rs): file of less than 8 bytes; N
 * beyond 100 MB; 8 + N beyond the file; UTF-8; JSON and schema; then by offset: order, hole, overlap;
 * elements overflow; bits that do not fill whole bytes; size against dtype x shape; last the end of the data
 * against the end of the file. Stricter than the reference: names given twice, integers beyond 2^53 and NUL
 * characters in texts are refused, since other readers see them differently.
 */
#ifndef VISE_FORMATS_SAFETENSORS_H
#define VISE_FORMATS_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/mem.h"
#include "tensor/dtype.h"

#define VISE_SAFETENSORS_HEADER_MAX 100000000u

typedef struct vise_st_tensor {
    const char *name;
    vise_dtype dtype;
    int ndim;
    const int64_t *shape;
    uint64_t begin, end; /* bytes from the start of the data */
} vise_st_tensor;

typedef struct vise_st_pair {
    const char *key, *value;
} vise_st_pair;

/* A parsed header. Arrays are owned by the header, texts and shapes by the arena it was parsed into. */
typedef struct vise_st_header {
    vise_st_tensor *tensors; /* by offset */
    size_t n_tensors;
    vise_st_pair *metadata; /* as in the file, sorted by key */
    size_t n_metadata;
    uint64_t data_start;              /* 8 + N */
    char sha256[VISE_SHA256_HEX_MAX]; /* of the 8 + N bytes */
} vise_st_header;

/* Bytes of a file. `path` opens every error. */
typedef struct vise_st_input {
    const char *path;
    uint64_t bytes;
    vise_status (*read_at)(const void *context, uint64_t offset, void *bytes, size_t n, vise_error *err);
    const void *context;
} vise_st_input;

vise_st_input vise_st_input_file(const vise_file *file);

/* Every failure is VISE_EFORMAT (but want of memory) and says file, tensor, field and remedy. */
VISE_MUST_USE vise_status vise_st_parse(const vise_st_input *input, vise_arena *arena, vise_st_header *header,
                                        vise_error *err);
void vise_st_header_deinit(vise_st_header *header); /* a zeroed one is fine */
/* NULL: no such key. */
const char *vise_st_metadata(const vise_st_header *header, const char *key);

/* Appends the 8 + N bytes of a header to buf, in the reference writer's form: compact, "__metadata__" first,
 * members in the order dtype, shape, data_offsets, N padded with spaces to a multiple of 8. Tensors keep the
 * order given (it should be that of their offsets). `metadata` are the members of __metadata__ as JSON text
 * without braces ("\"format\":\"pt\""); NULL or "": no __metadata__. `room`: N is made at least so large.
 * VISE_EUNSUPPORTED when N would exceed 100 MB. */
VISE_MUST_USE vise_status vise_st_write_header(const vise_st_tensor *tensors, size_t n, const char *metadata,
                                               size_t room, vise_buf *buf, vise_error *err);

/* A name fit for an error message: control characters become '?', long names are cut. Returns buffer. */
#define VISE_ST_SHOW_MAX 128
const char *vise_st_show(const char *name, char buffer[VISE_ST_SHOW_MAX]);

#endif
