/* What the files of the sink share: sink.c (the whole), sink_shards.c (what goes where), sink_write.c (plain
 * shards), sink_packed.c (packed shards), sink_journal.c (what is finished), sink_index.c (the index). */
#ifndef VISE_FORMATS_SINK_INTERNAL_H
#define VISE_FORMATS_SINK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/file.h"
#include "core/hash.h"
#include "formats/packed.h"
#include "formats/safetensors.h"
#include "formats/sink.h"
#include "formats/source.h"

typedef struct sink_chunk {
    uint8_t *raw;   /* filling; NULL before the first byte and after coding */
    uint8_t *coded; /* waiting for its turn */
    size_t filled;
    size_t coded_bytes;
    bool ready; /* coded or committed */
} sink_chunk;

/* A tensor of a packed shard while it is written. */
typedef struct sink_packing {
    sink_chunk *chunks;
    vise_pack_entry *entries;
} sink_packing;

typedef struct sink_tensor {
    const char *name;
    vise_dtype dtype;
    int ndim;
    const int64_t *shape;
    uint64_t bytes;
    const vise_gguf_type *type; /* GGUF; NULL: safetensors */
    vise_gguf_order order;      /* GGUF: of the rows */
    int unit;
    size_t shard;
    uint64_t begin, end;      /* within the shard's data; packed: filled in as the payload is committed */
    _Atomic uint64_t written; /* counted before the bytes are in the file */
    _Atomic uint64_t stored;  /* plain: counted when they are */
    /* packed shards */
    bool raw; /* too small to be packed: stored as it is */
    uint64_t n_chunks;
    sink_packing packing;
} sink_tensor;

typedef struct sink_shard {
    const char *name;
    size_t first, count;            /* tensors, in declared order */
    size_t *order;                  /* of the tensors by offset: indexes, count of them */
    uint64_t data_bytes;            /* unpacked */
    uint64_t header_bytes;          /* 8 + N of the plain form */
    char plan[VISE_SHA256_HEX_MAX]; /* of the plain header: what the shard holds */
    vise_file file;
    bool is_open, done;
    bool kept;             /* done by the run that is continued */
    _Atomic uint64_t left; /* plain: bytes not yet written */
    size_t final_tensors;  /* plain: that many, in order of their offsets, are whole; under the sink's lock */
    vise_hashed_file *hashed; /* plain: follows the final tensors; NULL before the first */
    /* packed: the commit point */
    uint64_t room, end;   /* reserved for the header: 8 + N; end of the data so far */
    size_t commit_tensor; /* index within the shard */
    uint64_t commit_chunk;
    vise_sink_file result;
} sink_shard;

/* One thread's coding contexts. */
typedef struct sink_coder {
    vise_packer *packer;
    uint8_t *coded; /* room for a coded chunk */
    struct sink_coder *next;
} sink_coder;

/* A shard that the journal says is finished. */
typedef struct sink_record {
    const char *name, *plan, *sha256;
    uint64_t bytes;
} sink_record;

struct vise_sink {
    vise_arena *arena;
    const char *out, *partial, *identity;
    const char *finished_folder; /* links to finished shards; NULL: not made */
    bool single, dry, replace, pack, sealed, finished;
    uint64_t max_shard_bytes;
    const struct vise_gguf_values *gguf; /* NULL: safetensors */
    vise_pool *pool;
    vise_hasher *hasher; /* borrowed; NULL: none */
    int lock_fd;         /* of the partial folder, locked against a second run; -1 */

    sink_tensor *tensors;
    size_t n_tensors, tensors_capacity;
    sink_shard *shards;
    size_t n_shards;
    sink_record *records; /* from the journal of the run that is continued */
    size_t n_records;
    const char **extras; /* files beside a single-file output */
    size_t n_extras, extras_capacity;

    pthread_mutex_t lock; /* chunks, coders, commit points, the journal */
    sink_coder *coders;   /* idle */
};

/* Assigns tensors to shards and offsets; fills names, sizes and plans. */
VISE_MUST_USE vise_status vise_sink_assign(vise_sink *sink, vise_error *err);
/* The header of a shard whose tensors have begin and end: its plain or its packed form, padded to `room`
 * bytes (8 + N). */
VISE_MUST_USE vise_status vise_sink_header(const vise_sink *sink, const sink_shard *shard, bool packed,
                                           uint64_t room, vise_buf *buf, vise_error *err);
VISE_MUST_USE vise_status vise_sink_shard_path(const vise_sink *sink, const sink_shard *shard, char **path,
                                               vise_error *err);

/* Creates the file of a shard that is not done, with room for its bytes (plain) or its header (packed). */
VISE_MUST_USE vise_status vise_sink_create_plain(vise_sink *sink, sink_shard *shard, vise_error *err);
VISE_MUST_USE vise_status vise_sink_create_packed(vise_sink *sink, sink_shard *shard, vise_error *err);
/* A shard whose bytes are all in its file: syncs, hashes, records it in the journal. */
VISE_MUST_USE vise_status vise_sink_complete(vise_sink *sink, sink_shard *shard, vise_error *err);

VISE_MUST_USE vise_status vise_sink_write_packed(vise_sink *sink, sink_tensor *tensor, uint64_t offset,
                                                 const void *bytes, size_t n, vise_error *err);
/* Commits what is ready; completes the shard when that is all of it. */
VISE_MUST_USE vise_status vise_sink_commit(vise_sink *sink, sink_shard *shard, vise_error *err);
void vise_sink_free_packing(vise_sink *sink);

/* Writes the index of all shards, or of those that are done, into a folder. */
VISE_MUST_USE vise_status vise_sink_write_index(const vise_sink *sink, const char *folder, bool only_done,
                                                vise_error *err);

/* Reads the journal of the partial folder into records; *found false when there is none. An identity other
 * than the sink's is VISE_EUSAGE. */
VISE_MUST_USE vise_status vise_sink_read_journal(vise_sink *sink, bool *found, vise_error *err);
/* Marks the recorded shards as done whose files are what the record says. */
VISE_MUST_USE vise_status vise_sink_keep_recorded(vise_sink *sink, vise_error *err);
VISE_MUST_USE vise_status vise_sink_write_journal(vise_sink *sink, vise_error *err);

#endif
