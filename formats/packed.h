/* The packed form: a valid safetensors file whose tensors are losslessly coded. docs/packed-format.md is its
 * specification.
 *
 * A packed tensor is stored as U8 [n] under its own name; the file's __metadata__ says the format version and
 * each packed tensor's original dtype and shape. Its payload is
 *
 *     chunk 0 | chunk 1 | ... | seek table        (no padding; the table ends with the payload)
 *
 * where every chunk holds VISE_PACK_CHUNK original bytes (the last one the rest) as a few byte planes coded
 * by themselves, and the seek table, a zstd skippable frame, has offset, size and XXH64 of the original bytes
 * for each chunk. Any chunk decodes without the others; any zstd decodes the planes.
 *
 * Two levels: chunks (vise_pack_chunk, vise_unpack_chunk) and tensors. A writer codes chunks on any thread,
 * commits them in order (setting `offset` of their entries), then appends vise_pack_seek_table; a reader
 * opens a tensor with vise_packed_open and reads ranges with vise_packed_read. Neither level knows files:
 * bytes come through a vise_packed_reader.
 */
#ifndef VISE_FORMATS_PACKED_H
#define VISE_FORMATS_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/mem.h"
#include "tensor/dtype.h"

#define VISE_PACK_VERSION   1
#define VISE_PACK_CHUNK     ((size_t)1 << 20) /* original bytes of a chunk as we write it, the last one less */
#define VISE_PACK_CHUNK_MIN ((size_t)1 << 16) /* what a reader accepts: powers of two */
#define VISE_PACK_CHUNK_MAX ((size_t)1 << 22)
#define VISE_PACK_DIMS_MAX  8
/* Tensors below this size are not worth packing: a writer stores them as they are. (Packing them is valid,
 * too.) */
#define VISE_PACK_TENSOR_MIN 1024

/* Codec of one plane of one chunk; ids are frozen. */
typedef enum vise_pack_codec {
    VISE_PACK_RAW = 0,
    VISE_PACK_ZSTD = 1,    /* zstd frames */
    VISE_PACK_LITERALS = 2 /* zstd frames of literals only: no match search, entropy stage alone */
} vise_pack_codec;

/* What the seek table says of one chunk. */
typedef struct vise_pack_entry {
    uint64_t offset; /* from the start of the payload */
    uint64_t xxh64;  /* of the original bytes, seed 0 */
    uint32_t coded_bytes;
    uint32_t original_bytes;
} vise_pack_entry;

/* ---- chunks -------------------------------------------------------------------------------------- */

/* Contexts and scratch of one thread, a few chunks in size. They grow as needed, from pool (NULL: process
 * memory). */
typedef struct vise_packer vise_packer;
VISE_MUST_USE vise_status vise_packer_new(vise_pool *pool, vise_packer **out, vise_error *err);
void vise_packer_free(vise_packer *packer); /* NULL is fine */
/* The most that a packer takes from its pool: for coding, for decoding. For memory plans. */
size_t vise_packer_bytes(bool coding);

/* Upper bound of a coded chunk of n original bytes. */
size_t vise_pack_bound(size_t n);
/* Codes one chunk of 1 <= n <= VISE_PACK_CHUNK bytes into coded (room: vise_pack_bound(n)); deterministic
 * for a given libzstd and equal on every CPU level. Fills *entry but for its offset. Fails only for want of
 * memory. */
VISE_MUST_USE vise_status vise_pack_chunk(vise_packer *packer, vise_dtype dtype, const void *original,
                                          size_t n, void *coded, vise_pack_entry *entry, vise_error *err);
/* Decodes one chunk into exactly n original bytes; does not look at a checksum. coded is not trusted; `what`
 * (file and tensor) opens errors: VISE_EFORMAT for damage, VISE_EUNSUPPORTED for codecs and flags of a later
 * version. */
VISE_MUST_USE vise_status vise_unpack_chunk(vise_packer *packer, const void *coded, size_t coded_bytes,
                                            void *original, size_t n, const char *what, vise_error *err);

/* ---- tensors ------------------------------------------------------------------------------------- */

/* What __metadata__ says of a packed tensor. */
typedef struct vise_pack_info {
    vise_dtype dtype; /* of the original */
    int ndim;
    int64_t shape[VISE_PACK_DIMS_MAX];
    uint64_t bytes; /* of the original: follows from dtype and shape */
} vise_pack_info;

/* Keys of __metadata__, a map of strings to strings. */
#define VISE_PACK_KEY_VERSION "vise.packed"  /* -> "1" */
#define VISE_PACK_KEY_TENSOR  "vise.packed:" /* + tensor name -> {"dtype":"BF16","shape":[2,3]} as text */

/* Fills *info; false if the elements overflow, do not fill whole bytes, or there are too many dimensions. */
bool vise_pack_describe(vise_dtype dtype, int ndim, const int64_t *shape, vise_pack_info *info);

/* Appends one member of the __metadata__ object, `"key":"value"` with JSON escapes, no comma. What is
 * appended depends on the arguments alone, so that a header's size is known before anything is coded. */
void vise_pack_put_version(vise_buf *buf);
void vise_pack_put_tensor(vise_buf *buf, const char *name, const vise_pack_info *info);

/* Reads the values of those members (already unescaped by the header's parser). `what` (file, or file and
 * tensor) opens errors. A version other than ours is VISE_EUNSUPPORTED, anything else wrong VISE_EFORMAT. */
VISE_MUST_USE vise_status vise_pack_get_version(const char *what, const char *value, vise_error *err);
VISE_MUST_USE vise_status vise_pack_get_tensor(const char *what, const char *value, size_t length,
                                               vise_pack_info *info, vise_error *err);

/* Chunks of a tensor, and the size of the i-th in original bytes. */
uint64_t vise_pack_chunks(uint64_t original_bytes);
size_t vise_pack_chunk_bytes(uint64_t original_bytes, uint64_t index);
/* Upper bound of a whole payload, seek table included; UINT64_MAX if that overflows. */
uint64_t vise_pack_payload_bound(uint64_t original_bytes);
/* Size of the seek table, and the table: entries[0..vise_pack_chunks(info->bytes)) with offsets set. */
uint64_t vise_pack_seek_bytes(uint64_t original_bytes);
void vise_pack_seek_table(const vise_pack_info *info, const vise_pack_entry *entries, void *table);

/* Reads n payload bytes at offset (from the payload's start, inside the payload). */
typedef struct vise_packed_reader {
    vise_status (*read)(void *context, uint64_t offset, void *bytes, size_t n, vise_error *err);
    void *context;
} vise_packed_reader;

/* An opened packed tensor: its seek table, checked. Constant once opened: threads may share it. */
typedef struct vise_packed {
    vise_pack_info info;
    uint64_t payload_bytes;
    size_t chunk_bytes; /* original bytes of all chunks but the last */
    uint64_t chunks;
    vise_pack_entry *entries; /* owned */
    char *what;               /* owned: opens errors */
    uint64_t id;              /* unique in this process */
} vise_packed;

/* `info` is what the metadata says, payload_bytes what the header says of the stored U8 tensor. Everything
 * is held against shape x dtype before memory is taken. Errors as vise_unpack_chunk. */
VISE_MUST_USE vise_status vise_packed_open(const char *what, const vise_pack_info *info,
                                           uint64_t payload_bytes, const vise_packed_reader *reader,
                                           vise_packed *packed, vise_error *err);
void vise_packed_close(vise_packed *packed); /* a zeroed one is fine */

/* Original bytes [offset, offset + n) of the tensor into bytes; the chunks that overlap are decoded and
 * their checksums verified. A chunk that is asked for in part stays in the packer, so that reading on with
 * the same packer does not decode it again. Thread-safe with a packer per thread. A range outside the tensor
 * is VISE_EINTERNAL. */
VISE_MUST_USE vise_status vise_packed_read(const vise_packed *packed, vise_packer *packer,
                                           const vise_packed_reader *reader, uint64_t offset, uint64_t n,
                                           void *bytes, vise_error *err);

#endif
