/* What formats/torch.c and formats/torch_legacy.c share. */
#ifndef VISE_FORMATS_TORCH_INTERNAL_H
#define VISE_FORMATS_TORCH_INTERNAL_H

#include "formats/pickle.h"
#include "formats/torch.h"

/* Where the bytes of storages lie. */
typedef struct vise_torch_storages {
    vise_status (*find)(const void *context, const char *key, uint64_t *offset, uint64_t *bytes,
                        vise_error *err);
    const void *context;
} vise_torch_storages;

/* The model's tensors of what the pickle holds. */
VISE_MUST_USE vise_status vise_torch_collect(const vise_st_input *input, const vise_pickle *pickle,
                                             const vise_torch_storages *storages, vise_arena *arena,
                                             vise_torch *torch, vise_error *err);
/* The format before torch 1.6. */
VISE_MUST_USE vise_status vise_torch_parse_legacy(const vise_st_input *input, vise_arena *arena,
                                                  vise_torch *torch, vise_error *err);
/* Bytes of a storage; false on overflow. */
static inline bool vise_torch_storage_bytes(const vise_pickle_storage *storage, uint64_t count,
                                            uint64_t *bytes)
{
    return !__builtin_mul_overflow(count, (uint64_t)storage->type->bytes, bytes);
}

#endif
