/* A store: the logical tensors of a model. What a layout spells as several stored tensors is one entry here,
 * readable as float32, as codes, or - when it is a plain tensor - as raw bytes. Everything above formats/
 * sees models through this.
 */
#ifndef VISE_FORMATS_STORE_H
#define VISE_FORMATS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"
#include "formats/layout.h"
#include "formats/source.h"
#include "tensor/scheme.h"

typedef struct vise_logical {
    const char *name;   /* "model.layers.0.mlp.down_proj.weight" */
    const char *module; /* "model.layers.0.mlp.down_proj"; equal to name when it does not end in ".weight" */
    int ndim;
    int64_t shape[VISE_DIMS_MAX];
    int64_t rows, cols; /* of the matrix: first dimension x product of the others; 1 x n for vectors */
    bool transposed; /* the plain tensor is stored [cols, rows], as shape says; rows and cols are the matrix's */
    uint64_t elements;
    vise_dtype dtype;        /* stored dtype; for a quantized weight the one that it decodes to */
    vise_scheme scheme;      /* type NULL: plain */
    uint64_t stored_bytes;   /* unpacked bytes of all parts */
    size_t tensor;           /* plain: index into the source; quantized: of its first part */
    uint64_t offset;         /* plain: of its first byte within the stored tensor, of which it may be a piece */
    const vise_found *found; /* quantized: how */
} vise_logical;

typedef struct vise_store vise_store;

VISE_MUST_USE vise_status vise_store_open(const char *path, vise_store **out, vise_error *err);
void vise_store_close(vise_store *store);
const vise_source *vise_store_source(const vise_store *store);
/* Never NULL; "safetensors" when nothing is quantized. */
const vise_layout *vise_store_layout(const vise_store *store);

/* In order of the first stored part (file order). */
size_t vise_store_count(const vise_store *store);
const vise_logical *vise_store_tensor(const vise_store *store, size_t index);
size_t vise_store_find(const vise_store *store, const char *name); /* by logical name; SIZE_MAX: none */

/* Says that a plain 2-D tensor holds its matrix transposed (GPT-2's Conv1D): rows and cols change places, and reading
 * gives rows of the matrix. VISE_EFORMAT for other tensors. Before anything is read. */
VISE_MUST_USE vise_status vise_store_transpose(vise_store *store, size_t index, vise_error *err);

/* Shows tensor `index` a second time under another name, last in the list: a head that was the embedding. VISE_EFORMAT
 * if the name is taken. Pointers to entries are lost. */
VISE_MUST_USE vise_status vise_store_alias(vise_store *store, size_t index, const char *name, vise_error *err);

/* A plain tensor in pieces: matrices that follow each other in it, each a tensor of its own from then on, while the
 * whole one is no more. */
typedef struct vise_split {
    size_t index;
    const char *const *names; /* [pieces] */
    const int64_t *rows;      /* [pieces]; as wide as the tensor's last dimension */
    size_t pieces;
} vise_split;
/* Cuts tensors, each of them once, into pieces that make up all of it. Indexes change. Before anything is read. */
VISE_MUST_USE vise_status vise_store_split(vise_store *store, const vise_split *splits, size_t n, vise_error *err);

/* Rows [row0, row0 + rows) decoded to float32 [rows, cols]. For quantized weights row0 must be a multiple of
 * VISE_TILE_ROWS. VISE_EUNSUPPORTED for dtypes that are no numbers. NaN and infinities are passed on. Scratch
 * comes from pool. */
VISE_MUST_USE vise_status vise_store_read_f32(const vise_store *store, size_t index, int64_t row0,
                                              int64_t rows, float *values, vise_pool *pool, vise_error *err);
/* The same as codes (quantized weights only). */
VISE_MUST_USE vise_status vise_store_read_codes(const vise_store *store, size_t index, int64_t row0,
                                                vise_qweight *q, vise_pool *pool, vise_error *err);
/* Raw bytes of a plain tensor. */
VISE_MUST_USE vise_status vise_store_read_raw(const vise_store *store, size_t index, uint64_t offset,
                                              uint64_t n, void *bytes, vise_pool *pool, vise_error *err);

#endif
