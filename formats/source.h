/* A source: the stored tensors of a model and the files beside them, opened from
 *
 *   a Hugging Face folder   config.json; model.safetensors, or model.safetensors.index.json and its shards;
 *                           where there are none, pytorch_model.bin or pytorch_model.bin.index.json and its
 *                           shards, a GGUF file, or the one checkpoint of torch.save; side files
 *   one .safetensors file   tensors only
 *   one .gguf file          or the first of its shards: tensors, and config.json made of its metadata; families
 *                           known here (formats/gguf_names.h) show transformers' names and order of rows
 *   one .bin, .pt, .pth     or .ckpt: a checkpoint of torch.save (formats/torch.h), its model's tensors only;
 *                           a view shows the bytes of its elements in order, tied names are shown once
 *
 * safetensors in plain or packed (*.vise.safetensors) form; a packed tensor shows its original dtype and shape
 * and reads as its original bytes. Only headers are read at open. Nothing in a file is trusted: the checks are those of
 * the safetensors format in its order, plus limits, duplicate names, integers beyond 2^53, Git LFS pointers
 * named as such, an index that points outside the folder or at a tensor that is not there. Failures are
 * VISE_EFORMAT and name file, tensor and remedy.
 */
#ifndef VISE_FORMATS_SOURCE_H
#define VISE_FORMATS_SOURCE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"
#include "formats/gguf_order.h"
#include "tensor/dtype.h"
#include "tensor/gguf.h"

#define VISE_DIMS_MAX     8
#define VISE_INDEX_NAME   "model.safetensors.index.json"
#define VISE_JOURNAL_NAME "vise-journal.json" /* of an unfinished output folder */

typedef struct vise_tensor_info {
    const char *name;
    vise_dtype dtype; /* of the original, packed or not */
    int ndim;
    int64_t shape[VISE_DIMS_MAX];
    uint64_t elements;
    uint64_t bytes;        /* of the original */
    uint64_t stored_bytes; /* in the file */
    int file;              /* index of vise_source_file */
    uint64_t offset;       /* of the stored bytes in the file */
    bool packed;
    /* GGUF: the type of the blocks that the rows consist of (dtype is U8 and the last dimension a row's bytes); NULL:
     * plain elements. */
    const vise_gguf_type *blocks;
    vise_gguf_order order; /* GGUF: how rows are stored, which are read in order */
    bool minus_one; /* GGUF: a norm in float32 that the file has with one added */
    const struct vise_torch_view *view; /* elements that lie apart in the file; NULL: in order from offset on */
} vise_tensor_info;

typedef struct vise_source vise_source;

VISE_MUST_USE vise_status vise_source_open(const char *path, vise_source **out, vise_error *err);
void vise_source_close(vise_source *source);

const char *vise_source_path(const vise_source *source);
bool vise_source_is_folder(const vise_source *source);
bool vise_source_is_packed(const vise_source *source);     /* any tensor is */
const char *vise_source_format(const vise_source *source); /* "safetensors", "gguf", "torch" */
/* The metadata of a GGUF source (its first shard); NULL: another format. */
const struct vise_gguf *vise_source_gguf(const vise_source *source);

/* Tensors in file order: by shard, then by offset. */
size_t vise_source_count(const vise_source *source);
const vise_tensor_info *vise_source_tensor(const vise_source *source, size_t index);
/* SIZE_MAX when there is none. */
size_t vise_source_find(const vise_source *source, const char *name);

/* Reads original bytes [offset, offset + n) of a tensor. Thread-safe. Packed tensors decode the chunks that
 * overlap and verify their checksums. Their decoders (vise_packer_bytes each, one for every thread that reads
 * at the same time) draw from `pool` (NULL: process memory) and stay for the next read until the source is
 * closed: the pool must outlive the source. */
VISE_MUST_USE vise_status vise_source_read(const vise_source *source, size_t index, uint64_t offset,
                                           uint64_t n, void *bytes, vise_pool *pool, vise_error *err);
/* Advice: this tensor will be read soon / is done with (lets the page cache go). */
void vise_source_will_need(const vise_source *source, size_t index);
void vise_source_done_with(const vise_source *source, size_t index);

/* Weight files (shards) with their sizes, and side files (tokenizer, generation config, chat templates,
 * modules,
 * *.py; not weights, indexes or reports) that a copy of the model carries along. */
typedef struct vise_source_file {
    const char *name; /* within the folder, or the base name */
    const char *path;
    uint64_t bytes;
    char header_sha256[65]; /* of the 8 + N header bytes, or what stands for them: identity for the journal */
    int64_t mtime_ns;
} vise_source_file;
size_t vise_source_files(const vise_source *source);
const vise_source_file *vise_source_file_at(const vise_source *source, size_t index);
size_t vise_source_side_files(const vise_source *source);
const char *vise_source_side_file(const vise_source *source, size_t index); /* a name within the folder */

/* config.json, parsed and as text; NULL when there is none. */
const cJSON *vise_source_config(const vise_source *source);
const char *vise_source_config_text(const vise_source *source);
const char *vise_source_config_path(const vise_source *source);

#endif
