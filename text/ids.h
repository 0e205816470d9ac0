/* A growing list of token ids. */
#ifndef VISE_TEXT_IDS_H
#define VISE_TEXT_IDS_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

typedef struct vise_ids {
    int32_t *ids;
    size_t count, capacity;
    uint64_t invalid_utf8; /* bytes of the texts that were replaced by U+FFFD */
} vise_ids;

void vise_ids_deinit(vise_ids *ids);
VISE_MUST_USE vise_status vise_ids_add(vise_ids *ids, int32_t id, vise_error *err);
VISE_MUST_USE vise_status vise_ids_append(vise_ids *ids, const int32_t *more, size_t count, vise_error *err);
/* Makes room for `more` ids behind those that are there. */
VISE_MUST_USE vise_status vise_ids_reserve(vise_ids *ids, size_t more, vise_error *err);

#endif
