/* The sizes of a model, for `vise size`, and the baseline file that keeps them:
 *
 *   { "schema": 1, "model": "stories260K-int4", "total": 302144,
 *     "files": {"model.safetensors": 302144}, "roles": {"q_proj": 10240, ...}, "schemes": {"int4-g32": 128000, ...} }
 *
 * total and files count bytes on disk, packed or not; roles and schemes count the stored tensors before packing.
 */
#ifndef VISE_CLI_SIZES_H
#define VISE_CLI_SIZES_H

#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/mem.h"

typedef struct vise_named_size {
    const char *name;
    uint64_t bytes;
} vise_named_size;

typedef struct vise_named_sizes {
    vise_named_size *items;
    size_t count, capacity;
} vise_named_sizes;

enum { VISE_SIZES_FILES, VISE_SIZES_ROLES, VISE_SIZES_SCHEMES, VISE_SIZES_SECTIONS };
extern const char *const vise_sizes_sections[VISE_SIZES_SECTIONS]; /* "files", "roles", "schemes" */

/* Everything lives in the arena that filled it. */
typedef struct vise_sizes {
    const char *model;
    uint64_t total;
    vise_named_sizes sections[VISE_SIZES_SECTIONS];
} vise_sizes;

/* Of a model, from its headers. */
VISE_MUST_USE vise_status vise_sizes_of_model(const char *path, vise_arena *arena, vise_sizes *sizes,
                                              vise_error *err);
/* From a baseline file. */
VISE_MUST_USE vise_status vise_sizes_load(const char *path, vise_arena *arena, vise_sizes *sizes,
                                          vise_error *err);
void vise_sizes_json(const vise_sizes *sizes, vise_buf *out);
/* 0 when it is not there. */
uint64_t vise_named_size_find(const vise_named_sizes *sizes, const char *name);
VISE_MUST_USE vise_status vise_named_size_add(vise_named_sizes *sizes, const char *name, uint64_t bytes,
                                              vise_arena *arena, vise_error *err);

#endif
