/* What the layouts share: checks, parts whose columns are out features, lists of what was found. */
#include <inttypes.h>
#include <stdio.h>
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

/* ---- scales of blocks of rows and columns -------------------------------------------------------------- */

vise_status vise_block_scales_store(vise_dtype dtype, int part, int64_t row0, const vise_qweight *q, void *scratch,
                                    const vise_part_writer *writer, vise_error *err)
{
    const int64_t height = q->scheme.group_rows;
    const size_t groups = (size_t)q->groups, size = (size_t)vise_dtype_of(dtype)->bits / 8;
    for (int64_t r = (height - row0 % height) % height; r < q->rows; r += height) { /* blocks that begin in the tile */
        vise_from_f32(dtype, q->scales + (size_t)r * groups, scratch, groups);
        VISE_TRY(writer->write(writer->context, part, (uint64_t)((row0 + r) / height) * groups * size, scratch,
                               groups * size, err));
    }
    return VISE_OK;
}

vise_status vise_block_scales_load(const vise_source *source, size_t tensor, int64_t row0, vise_qweight *q,
                                   vise_pool *pool, vise_error *err)
{
    const vise_dtype stored = vise_source_tensor(source, tensor)->dtype;
    const vise_dtype dtype = stored == VISE_DTYPE_U8 ? VISE_DTYPE_F8_E8M0 : stored;
    const int64_t height = q->scheme.group_rows, first = row0 / height;
    const size_t groups = (size_t)q->groups, size = (size_t)vise_dtype_of(dtype)->bits / 8;
    const size_t n = (size_t)((row0 + q->rows - 1) / height - first + 1) * groups;
    void *block;
    VISE_TRY(vise_pool_take(pool, n * size, "scales of blocks", &block, err));
    vise_status status = vise_source_read(source, tensor, (uint64_t)first * groups * size, n * size, block, pool, err);
    for (int64_t r = 0; status == VISE_OK && r < q->rows; r++)
        vise_to_f32(dtype, (const char *)block + (size_t)((row0 + r) / height - first) * groups * size,
                    q->scales + (size_t)r * groups, groups);
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

/* The group of each column. One that is a run of columns of equal length needs no list. */
vise_status vise_found_g_idx(const vise_source *source, vise_arena *arena, vise_found *found, int part,
                             const char *suffix, int64_t groups, vise_error *err)
{
    const size_t tensor = found->parts[part];
    const vise_tensor_info *info = vise_source_tensor(source, tensor);
    const int64_t width = found->cols / groups;
    bool in_order = true;
    void *block;
    if (info->dtype != VISE_DTYPE_I32 || info->ndim != 1 || info->shape[0] != found->cols)
        return vise_found_bad(source, found->module, suffix, "is not I32 [columns]", err);
    VISE_TRY(vise_arena_take(arena, info->bytes + 1, &block, err));
    int32_t *index = block;
    VISE_TRY(vise_source_read(source, tensor, 0, info->bytes, index, NULL, err));
    for (int64_t c = 0; c < found->cols; c++) {
        if (index[c] < 0 || index[c] >= groups)
            return vise_found_bad(source, found->module, suffix, "names a group that there is not", err);
        in_order = in_order && index[c] == c / width;
    }
    found->group_of = in_order ? NULL : index;
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

const vise_weight_type *vise_codebook_type(const vise_codebook *codebook)
{
    size_t count;
    const vise_weight_type *types = vise_weight_types(&count);
    for (size_t i = 0; i < count; i++)
        if (types[i].codebook == codebook)
            return &types[i];
    return NULL;
}

vise_dtype vise_config_dtype(const vise_source *source, vise_dtype otherwise)
{
    static const vise_dtype known[] = {VISE_DTYPE_F32, VISE_DTYPE_F16, VISE_DTYPE_BF16};
    const cJSON *config = vise_source_config(source);
    const char *name = vise_config_text(config, "dtype");
    name = *name ? name : vise_config_text(config, "torch_dtype");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, vise_dtype_of(known[i])->torch_name) == 0)
            return known[i];
    return otherwise;
}

void vise_module_among_others(const char *module, char name[VISE_MODULE_TEXT])
{
    static const char *const spellings[] = {"language_model.model.", "model."};
    name[0] = '\0';
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        size_t length = strlen(spellings[i]);
        if (strncmp(module, spellings[i], length) != 0)
            continue;
        if (snprintf(name, VISE_MODULE_TEXT, "model.language_model.%s", module + length) >= VISE_MODULE_TEXT)
            name[0] = '\0';
        return;
    }
}

void vise_put_left_alone(vise_json_writer *w, const char *module)
{
    vise_json_put_text(w, module);
    if (strcmp(module, "embed_out") == 0)
        vise_json_put_text(w, "lm_head");
}

vise_status vise_put_skipped(vise_json_writer *w, const char *key, const vise_spelling *weights, size_t n,
                             vise_error *err)
{
    vise_json_key(w, key);
    vise_json_array(w);
    for (size_t i = 0; i < n; i++) {
        const char *left = weights[i].module;
        if (!weights[i].is_linear || weights[i].scheme.type)
            continue;
        for (size_t j = 0; j < n; j++)
            if (weights[j].scheme.type &&
                (vise_starts_with(weights[j].module, left) || vise_ends_with(weights[j].module, left)))
                return VISE_FAIL(
                    err, VISE_EUNSUPPORTED,
                    "%s stays as it is, but %s, which is quantized, begins or ends with that name: transformers cannot "
                    "tell them apart; quantize both, or neither, or use layout compressed-tensors",
                    left, weights[j].module);
        vise_put_left_alone(w, left);
    }
    vise_json_array_end(w);
    return VISE_OK;
}
