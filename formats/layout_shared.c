/* What the layouts share: checks, parts whose columns are out features, lists of what was found. */
#include <inttypes.h>
#include <string.h>

#include "core/json.h"
#include "core/mem.h"
#include "formats/layout_internal.h"
#include "formats/names.h"
#include "formats/safetensors.h"

/* ---- tiles and parts ----------------------------------------------------------------------------------- */

vise_status vise_check_tile(const char *module, int64_t weight_rows, int64_t weight_cols, int64_t row0,
                            const vise_qweight *q, vise_error *err)
{
    if (row0 % VISE_TILE_ROWS == 0 && row0 + q->rows <= weight_rows && q->cols == weight_cols)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EINTERNAL, "%s: rows %" PRId64 " + %" PRId64 " are no tile", module, row0,
                     q->rows);
}

vise_status vise_part_finish(const char *module, vise_part *part, vise_error *err)
{
    uint64_t elements = 1;
    bool fits = true;
    for (int i = 0; i < part->ndim; i++)
        fits = fits && !__builtin_mul_overflow(elements, (uint64_t)part->shape[i], &elements);
    if (!fits || !vise_dtype_bytes(part->dtype, elements, &part->bytes))
        return VISE_FAIL(err, VISE_EUSAGE, "%s: its shape overflows", module);
    return VISE_OK;
}

vise_status vise_check_groups(const vise_spelling *weight, vise_error *err)
{
    char text[VISE_SCHEME_TEXT_MAX];
    if (weight->rows >= 1 && weight->cols >= 1 && vise_scheme_groups(&weight->scheme, weight->cols) > 0)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EUSAGE,
                     "%s: rows of %" PRId64
                     " do not divide into the groups of %s; exclude it, choose a group that "
                     "divides, or say with --otherwise what it gets instead",
                     weight->module, weight->cols, vise_scheme_text(&weight->scheme, text));
}

/* ---- parts whose columns are out features -------------------------------------------------------------- */

vise_status vise_columns_write(const vise_part_writer *writer, int part, const vise_columns *at,
                               const void *bytes, vise_error *err)
{
    const uint8_t *from = bytes;
    if (at->row_bytes == at->stride)
        return writer->write(writer->context, part, 0, from, at->rows * at->row_bytes, err);
    for (size_t r = 0; r < at->rows; r++)
        VISE_TRY(writer->write(writer->context, part, r * at->stride + at->offset, from + r * at->row_bytes,
                               at->row_bytes, err));
    return VISE_OK;
}

vise_status vise_columns_read(const vise_source *source, size_t tensor, const vise_columns *at, void *bytes,
                              vise_pool *pool, vise_error *err)
{
    uint8_t *to = bytes;
    if (at->row_bytes == at->stride)
        return vise_source_read(source, tensor, 0, at->rows * at->row_bytes, to, pool, err);
    for (size_t r = 0; r < at->rows; r++)
        VISE_TRY(vise_source_read(source, tensor, r * at->stride + at->offset, at->row_bytes,
                                  to + r * at->row_bytes, pool, err));
    return VISE_OK;
}

vise_status vise_scales_store_f16(const vise_spelling *weight, int part, int64_t row0, const vise_qweight *q,
                                  void *scratch, const vise_part_writer *writer, vise_error *err)
{
    uint16_t *stored = scratch;
    size_t rows = (size_t)q->rows, groups = (size_t)q->groups;
    for (size_t g = 0; g < groups; g++)
        for (size_t r = 0; r < rows; r++) {
            float scale = q->scales[r * groups + g], back;
            vise_from_f32(VISE_DTYPE_F16, &scale, &stored[g * rows + r], 1);
            vise_to_f32(VISE_DTYPE_F16, &stored[g * rows + r], &back, 1);
            if (back != scale)
                return VISE_FAIL(
                    err, VISE_EUNSUPPORTED,
                    "%s: the scale %.9g is no float16 value, which the layout's scales are; use layout "
                    "compressed-tensors, or dequantize and quantize again",
                    weight->module, (double)scale);
        }
    vise_columns at = {.rows = groups,
                       .row_bytes = rows * 2,
                       .stride = (uint64_t)weight->rows * 2,
                       .offset = (uint64_t)row0 * 2};
    return vise_columns_write(writer, part, &at, stored, err);
}

vise_status vise_scales_load_f16(const vise_source *source, const vise_found *found, int part, int64_t row0,
                                 vise_qweight *q, vise_pool *pool, vise_error *err)
{
    void *block;
    size_t rows = (size_t)q->rows, groups = (size_t)q->groups,
           size = (size_t)vise_dtype_of(found->dtype)->bits / 8;
    VISE_TRY(vise_pool_take(pool, rows * groups * size, "scales", &block, err));
    vise_columns at = {.rows = groups,
                       .row_bytes = rows * size,
                       .stride = (uint64_t)found->rows * size,
                       .offset = (uint64_t)row0 * size};
    vise_status status = vise_columns_read(source, found->parts[part], &at, block, pool, err);
    const uint8_t *stored = block;
    for (size_t g = 0; status == VISE_OK && g < groups; g++)
        for (size_t r = 0; r < rows; r++)
            vise_to_f32(found->dtype, stored + (g * rows + r) * size, &q->scales[r * groups + g], 1);
    vise_pool_give(pool, block);
    return status;
}

/* ---- what is found ------------------------------------------------------------------------------------- */

const char *vise_config_text(const cJSON *config, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, key);
    return cJSON_IsString(item) ? item->valuestring : "";
}

/* auto-round has a name of its own for what it packs as GPTQ's or AWQ's tools do. */
bool vise_config_is_method(const cJSON *config, const char *method)
{
    const char *named = vise_config_text(config, "quant_method");
    if (strcmp(named, method) == 0)
        return true;
    const char *packing = vise_config_text(config, "packing_format");
    return (strcmp(named, "auto-round") == 0 || strcmp(named, "intel/auto-round") == 0) &&
           strstr(packing, method);
}

vise_status vise_found_bad(const vise_source *source, const char *module, const char *suffix,
                           const char *what, vise_error *err)
{
    char show[VISE_ST_SHOW_MAX];
    return VISE_FAIL(err, VISE_EFORMAT, "%s: tensor \"%s%s\": %s", vise_source_path(source),
                     vise_st_show(module, show), suffix, what);
}

vise_status vise_found_part(const vise_source *source, vise_arena *arena, const char *module,
                            const char *suffix, bool required, size_t *index, vise_error *err)
{
    const char *name;
    VISE_TRY(vise_arena_strfmt(arena, &name, err, "%s%s", module, suffix));
    *index = vise_source_find(source, name);
    return *index != SIZE_MAX || !required
               ? VISE_OK
               : vise_found_bad(source, module, suffix, "is missing; the checkpoint is incomplete", err);
}

vise_status vise_found_groups(const vise_source *source, int64_t groups, vise_found *found, vise_error *err)
{
    int64_t size = -1;
    VISE_TRY(vise_json_int(vise_source_config_path(source), vise_quantization_config(source), "group_size",
                           false, -1, INT32_MAX, &size, err));
    bool channel = groups == 1 && size != found->cols;
    found->scheme.granularity = channel ? VISE_PER_CHANNEL : VISE_PER_GROUP;
    found->scheme.group = channel ? 0 : found->cols / groups;
    return VISE_OK;
}

vise_status vise_found_add(vise_found_list *list, const vise_found *found, vise_error *err)
{
    void *grown = list->rows;
    VISE_TRY(vise_grow(&grown, &list->capacity, list->n + 1, sizeof *found, err));
    list->rows = grown;
    list->rows[list->n++] = *found;
    return VISE_OK;
}

vise_status vise_found_take(vise_found_list *list, vise_status status, vise_arena *arena, vise_found **found,
                            size_t *n, vise_error *err)
{
    void *block = NULL;
    if (status == VISE_OK)
        status = vise_arena_take(arena, list->n * sizeof(vise_found) + 1, &block, err);
    if (status == VISE_OK && list->n > 0)
        memcpy(block, list->rows, list->n * sizeof(vise_found));
    *found = block;
    *n = status == VISE_OK ? list->n : 0;
    vise_free(list->rows);
    return status;
}

const vise_weight_type *vise_int_type(int64_t bits)
{
    size_t count;
    const vise_weight_type *types = vise_weight_types(&count);
    for (size_t i = 0; i < count; i++)
        if (types[i].bits == bits && vise_starts_with(types[i].name, "int"))
            return &types[i];
    return NULL;
}
