/* A sink: writes a model folder, all or nothing, streaming.
 *
 *   open      makes OUT's temporary sibling (".OUT.vise-partial"), or continues one
 *   declare   every tensor of the output, in order; tensors of one unit (the parts of a quantized weight) stay
 *             in one shard
 *   seal      assigns tensors to shards by unpacked size, fixes names, offsets and headers, checks the disk's
 *             room
 *   write     bytes at an offset within a tensor, from any thread; every byte exactly once
 *   finish    headers, index, config.json, side files; fsync; then publish renames the folder to OUT
 *
 * Plain shards have their tensors at planned offsets and take writes in any order. Packed shards
 * (*.vise.safetensors, formats/packed.h) code chunks as they fill, on the thread that fills them, and commit
 * them in declared order; writers must therefore go through the tensors roughly in declared order, since
 * chunks ahead of the commit point are held in memory (from the pool).
 *
 * A shard whose tensors are all written is synced and recorded in the folder's journal with its size and
 * hash; a continued sink keeps the recorded shards and says which tensors are done.
 */
#ifndef VISE_FORMATS_SINK_H
#define VISE_FORMATS_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/hasher.h"
#include "core/mem.h"
#include "formats/gguf_order.h"
#include "tensor/dtype.h"
#include "tensor/gguf.h"

typedef struct vise_sink vise_sink;

typedef struct vise_sink_options {
    const char *path; /* OUT: a folder, or a single file when it ends in ".safetensors" or ".gguf" */
    bool replace;     /* OUT may exist and is replaced at publish; otherwise it is VISE_EUSAGE at open */
    bool resume;      /* continue a partial folder with the same identity; another identity is VISE_EUSAGE */
    bool pack;        /* lossless packed shards */
    uint64_t max_shard_bytes; /* of unpacked tensor bytes; 0: one shard */
    const char *identity; /* equal in a run that is continued: recipe, CPU level, BLAS core... */
    const struct vise_gguf_values *gguf; /* not NULL: GGUF files with this metadata, which outlives the sink */
    vise_pool *pool;
    vise_hasher *hasher; /* hashes plain shards while they grow, outlives the sink; NULL: they are read again */
} vise_sink_options;

VISE_MUST_USE vise_status vise_sink_open(const vise_sink_options *options, vise_sink **out, vise_error *err);
/* Closes without publishing. The partial folder stays (to be resumed) unless discard. */
void vise_sink_close(vise_sink *sink, bool discard);

/* Returns the tensor's id (0, 1, ...) in *id. A new unit starts where `unit` differs from the last call's. */
VISE_MUST_USE vise_status vise_sink_declare(vise_sink *sink, const char *name, vise_dtype dtype, int ndim,
                                            const int64_t *shape, int unit, size_t *id, vise_error *err);
/* The same for GGUF: a tensor of logical shape (rows first) whose rows consist of blocks of a type. Rows that `order`
 * stores otherwise (NULL: none) are written whole. */
VISE_MUST_USE vise_status vise_sink_declare_gguf(vise_sink *sink, const char *name, const vise_gguf_type *type,
                                                 int ndim, const int64_t *shape,
                                                 const vise_gguf_order *order, int unit, size_t *id,
                                                 vise_error *err);
VISE_MUST_USE vise_status vise_sink_seal(vise_sink *sink, vise_error *err);

/* After seal. */
size_t vise_sink_shards(const vise_sink *sink);
/* The shard's final name, and its size in bytes before packing (header included); exact for plain shards. */
const char *vise_sink_shard(const vise_sink *sink, size_t shard, uint64_t *bytes);
/* True if a resumed run already has the tensor in a finished shard. */
bool vise_sink_has(const vise_sink *sink, size_t id);
/* The partial folder, for reading back finished shards. */
const char *vise_sink_partial_path(const vise_sink *sink);

/* The finished shards of a resumed run as a model of their own: a folder inside the partial folder with
 * config_json as its config.json, an index of what the shards hold and links to them. It goes away at finish.
 * *path is freed with vise_free. */
VISE_MUST_USE vise_status vise_sink_finished_folder(vise_sink *sink, const char *config_json, char **path,
                                                    vise_error *err);

/* Bytes of a tensor that a resumed run already has are dropped. */
VISE_MUST_USE vise_status vise_sink_write(vise_sink *sink, size_t id, uint64_t offset, const void *bytes,
                                          size_t n, vise_error *err);

/* A file beside the weights: config.json, tokenizer files, report.json; "FOLDER/NAME" makes the folder.
 * Beside a single-file OUT it is published as OUT.NAME. A file that is put twice is replaced, also after
 * finish. */
VISE_MUST_USE vise_status vise_sink_put_file(vise_sink *sink, const char *name, const void *bytes, size_t n,
                                             vise_error *err);
VISE_MUST_USE vise_status vise_sink_copy_file(vise_sink *sink, const char *name, const char *from,
                                              vise_error *err);

/* Every tensor must have been written whole (VISE_EINTERNAL otherwise). Writes the index (more than one
 * shard), syncs. The partial folder is then a complete model and can be opened as one. */
VISE_MUST_USE vise_status vise_sink_finish(vise_sink *sink, vise_error *err);
/* The finished weight files. */
typedef struct vise_sink_file {
    const char *name;
    uint64_t bytes;
    char sha256[65];
} vise_sink_file;
size_t vise_sink_files(const vise_sink *sink);
const vise_sink_file *vise_sink_file_at(const vise_sink *sink, size_t index);

/* Removes the journal and renames to the final name; the last step of a run. */
VISE_MUST_USE vise_status vise_sink_publish(vise_sink *sink, vise_error *err);

/* For `plan`: declares and seals without touching the disk, then tells shards and their sizes. */
VISE_MUST_USE vise_status vise_sink_dry(uint64_t max_shard_bytes, bool pack,
                                        const struct vise_gguf_values *gguf, vise_sink **out,
                                        vise_error *err);

#endif
