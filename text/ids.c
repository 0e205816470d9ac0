#include "text/ids.h"

#include <string.h>

#include "core/mem.h"

vise_status vise_ids_reserve(vise_ids *ids, size_t more, vise_error *err)
{
    size_t needed;

    if (!vise_add_size(ids->count, more, &needed))
        return VISE_FAIL(err, VISE_ERESOURCE, "too many tokens");
    if (needed <= ids->capacity)
        return VISE_OK;
    return vise_grow((void **)&ids->ids, &ids->capacity, needed, sizeof *ids->ids, err);
}

vise_status vise_ids_add(vise_ids *ids, int32_t id, vise_error *err)
{
    VISE_TRY(vise_ids_reserve(ids, 1, err));
    ids->ids[ids->count++] = id;
    return VISE_OK;
}

vise_status vise_ids_append(vise_ids *ids, const int32_t *more, size_t count, vise_error *err)
{
    if (count == 0)
        return VISE_OK;
    VISE_TRY(vise_ids_reserve(ids, count, err));
    memcpy(ids->ids + ids->count, more, count * sizeof *more);
    ids->count += count;
    return VISE_OK;
}

void vise_ids_deinit(vise_ids *ids)
{
    vise_free(ids->ids);
    *ids = (vise_ids){0};
}
