/* What formats/source.c and formats/hf_folder.c share. */
#ifndef VISE_FORMATS_SOURCE_INTERNAL_H
#define VISE_FORMATS_SOURCE_INTERNAL_H

#include <pthread.h>

#include "core/file.h"
#include "formats/packed.h"
#include "formats/source.h"

typedef struct vise_shard {
    vise_source_file view;
    vise_file handle;
} vise_shard;

typedef struct vise_named {
    const char *name;
    size_t index; /* of the tensor */
} vise_named;

/* A decoder that waits for the next read; it holds the chunk that was last read in part. */
typedef struct vise_decoder {
    vise_packer *packer;
    vise_pool *pool; /* that it draws from */
    size_t tensor;   /* last read */
    bool busy;
} vise_decoder;

#define VISE_TIED_MAX 8

struct vise_source {
    const char *path;
    bool is_folder, is_packed, is_torch;
    struct vise_gguf *gguf; /* of the first shard; NULL: safetensors */
    vise_arena *arena;      /* names, paths, shapes, opened payloads */

    vise_tensor_info *tensors;
    const vise_packed **payloads; /* of the tensors; NULL: plain */
    size_t n_tensors, tensors_capacity, payloads_capacity;
    vise_named *by_name; /* sorted */

    vise_shard *shards;
    size_t n_shards, shards_capacity;
    const char *tied[VISE_TIED_MAX]; /* names of tensors that are shown under another name */
    size_t n_tied;
    const char **side_files;
    size_t n_side_files, side_capacity;

    const char *config_path;
    char *config_text;
    cJSON *config;

    pthread_mutex_t lock; /* of the decoders */
    vise_decoder *decoders;
    size_t n_decoders, decoders_capacity;
};

/* Opens a file as the next shard, without its tensors. name and path are copied. */
VISE_MUST_USE vise_status vise_source_new_shard(vise_source *source, const char *name, const char *path,
                                                vise_shard **shard, vise_error *err);
/* Makes room for one more tensor. */
VISE_MUST_USE vise_status vise_source_grow(vise_source *source, vise_error *err);
/* Fills the source from a GGUF file and the shards that follow it. A config.json that is open already stays. */
VISE_MUST_USE vise_status vise_source_open_gguf(vise_source *source, const char *path, vise_error *err);
/* Opens a checkpoint of torch.save and appends its model's tensors. name and path are copied. */
VISE_MUST_USE vise_status vise_source_add_torch(vise_source *source, const char *name, const char *path,
                                                vise_error *err);
/* Whether the name ends as checkpoints of torch.save do. */
bool vise_source_is_torch_name(const char *name);
/* Opens a safetensors file and appends its tensors. name and path are copied. */
VISE_MUST_USE vise_status vise_source_add_shard(vise_source *source, const char *name, const char *path,
                                                vise_error *err);
/* Builds by_name; a tensor in two shards is an error. */
VISE_MUST_USE vise_status vise_source_sort_names(vise_source *source, vise_error *err);
/* Fills the source from the folder at source->path. */
VISE_MUST_USE vise_status vise_source_open_folder(vise_source *source, vise_error *err);

#endif
