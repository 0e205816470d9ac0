/* Layouts: how a logical weight is spelled as stored tensors, one row per layout. Passes work on logical
 * weights; layouts alone know names and packings, and read them back. N algorithms + M layouts, not N x M.
 *
 * A layout works on row tiles: rows [row0, row0 + rows) of a weight with row0 a multiple of VISE_TILE_ROWS
 * (the last tile may be shorter), whose bytes land in ranges of the stored tensors that no other tile
 * touches.
 */
#ifndef VISE_FORMATS_LAYOUT_H
#define VISE_FORMATS_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "formats/source.h"
#include "tensor/cache_type.h"
#include "tensor/scheme.h"

#define VISE_TILE_ROWS 32 /* packs of 1..8-bit codes along rows fill whole 32-bit words */

/* What a layout must know of a weight that it spells: plain data, filled by model and pipeline. */
typedef struct vise_spelling {
    const char *module;      /* "model.layers.0.mlp.down_proj" */
    const char *name;        /* of the float tensor: module + ".weight" */
    int64_t rows, cols;      /* out features, in features */
    vise_dtype dtype;        /* float dtype of the model for this weight */
    vise_dtype scale_dtype;  /* of its scales, where the layout leaves the choice; VISE_DTYPE_BOOL: dtype */
    vise_scheme scheme;      /* type NULL: stays a plain tensor */
    bool is_linear;          /* a Linear of the network (else an embedding, norm, ...) */
    const vise_cache_type *cache; /* of a scale of the key-value cache; NULL: of anything else */
    const int32_t *group_of; /* as in vise_qweight; NULL: groups are consecutive columns */
} vise_spelling;

/* One stored tensor. */
typedef struct vise_part {
    const char *suffix; /* behind the module: ".weight_packed" */
    vise_dtype dtype;
    const vise_gguf_type *blocks; /* GGUF: what the rows consist of (dtype U8, shape in bytes); NULL: plain */
    int ndim;
    int64_t shape[2];
    uint64_t bytes;
} vise_part;
#define VISE_PARTS_MAX 6

/* Receives the bytes of parts as a tile is stored. */
typedef struct vise_part_writer {
    vise_status (*write)(void *context, int part, uint64_t offset, const void *bytes, size_t n,
                         vise_error *err);
    void *context;
} vise_part_writer;

/* A quantized weight found in a source. */
typedef struct vise_found {
    const char *module;
    int64_t rows, cols;
    vise_scheme scheme;
    vise_dtype dtype;             /* that it decodes to: of its scales */
    size_t parts[VISE_PARTS_MAX]; /* source tensors, in the layout's order of parts; SIZE_MAX: absent */
    int variant;                  /* the layout's own */
    const float *table, *nested_map; /* as in vise_qweight, in the arena */
    float offset, global, input_scale; /* as in vise_qweight */
    vise_dtype scale_dtype;          /* of its scales, where that is not dtype (VISE_DTYPE_BOOL: it is) */
    const int32_t
        *group_of; /* as in vise_qweight, [cols] in the arena; NULL: groups are consecutive columns */
} vise_found;

typedef struct vise_layout {
    const char *name;       /* "compressed-tensors" */
    const char *summary;    /* one line: who loads it */
    vise_dtype scale_dtype; /* of the scales of what is quantized for it; VISE_DTYPE_COUNT: the model's */
    const char
        *config_file; /* "quantization_config" is also stored as this file; NULL: in config.json alone */
    bool holds_cache; /* scales of a key-value cache, *.k_scale and *.v_scale beside the linears of attention */
    bool transposed;  /* columns of a stored matrix are out features: a tile lies scattered over its parts */

    /* The parts of a weight in stored order (one without a scheme is a single part, the matrix itself), or
     * why the layout cannot hold it: VISE_EUNSUPPORTED naming those that can (scheme), VISE_EUSAGE (shape).
     */
    vise_status (*spell)(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX], int *n_parts,
                         vise_error *err);
    /* Bytes of scratch that `store` needs for a tile of `rows` rows. */
    size_t (*store_scratch)(const vise_spelling *weight, int64_t rows);
    /* Stores rows [row0, row0 + q->rows) of the weight. */
    vise_status (*store)(const vise_spelling *weight, int64_t row0, const vise_qweight *q, void *scratch,
                         const vise_part_writer *writer, vise_error *err);
    /* The value of "quantization_config" for these weights (all modules of the model, quantized or not), as
     * JSON text appended to buf. */
    vise_status (*config)(const vise_spelling *weights, size_t n, vise_buf *buf, vise_error *err);

    /* True if the source's config says that it is in this layout. */
    bool (*recognise)(const vise_source *source);
    /* Finds the quantized weights of a recognised source; the array and its texts live in the arena. */
    vise_status (*find)(const vise_source *source, vise_arena *arena, vise_found **found, size_t *n,
                        vise_error *err);
    /* Reads rows [row0, row0 + q->rows) into q (carved by the caller for the found scheme). pool gives
     * scratch. */
    vise_status (*load)(const vise_source *source, const vise_found *found, int64_t row0, vise_qweight *q,
                        vise_pool *pool, vise_error *err);
} vise_layout;

/* "safetensors" (plain floats: spell refuses schemes, find finds nothing), "compressed-tensors", "gguf",
 * "bitsandbytes", "gptq", "gptq-v2" and "awq". */
const vise_layout *const *vise_layouts(size_t *count);
const vise_layout *vise_layout_find(const char *name); /* NULL: none */

/* What the source's config says of the key-value cache, if its scales are calibrated; NULL: nothing. */
const vise_cache_type *vise_layout_cache(const vise_source *source);

#endif
