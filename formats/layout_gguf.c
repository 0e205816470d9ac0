/* The layout of GGUF files: a weight is one tensor whose rows are blocks of its type. Names, order of
 * rows and metadata are the business of the source and the sink. */
#include <string.h>

#include "formats/gguf.h"
#include "formats/layout_internal.h"
#include "formats/names.h"
#include "formats/safetensors.h"

static const char weight_suffix[] = ".weight";

static bool gguf_recognise(const vise_source *source)
{
    return vise_source_gguf(source) != NULL;
}

static vise_status find_one(const vise_source *source, size_t index, vise_arena *arena, vise_found *found,
                            vise_error *err)
{
    const vise_tensor_info *info = vise_source_tensor(source, index);
    const vise_weight_type *types, *type = NULL;
    char show[VISE_ST_SHOW_MAX];
    size_t count;
    types = vise_weight_types(&count);
    for (size_t i = 0; i < count && type == NULL; i++)
        if (types[i].blocks == info->blocks)
            type = &types[i];
    if (type == NULL || !vise_ends_with(info->name, weight_suffix))
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: tensor \"%s\" is stored as %s, which %s",
                         vise_source_path(source), vise_st_show(info->name, show), info->blocks->name,
                         type == NULL ? "cannot be decoded" : "only weights may be");
    const int64_t row_bytes = info->shape[info->ndim - 1];
    *found = (vise_found){
        .rows = (int64_t)(info->bytes / (uint64_t)row_bytes),
        .cols = row_bytes / info->blocks->bytes * info->blocks->values,
        .dtype = VISE_DTYPE_F16,
        .scheme = {.type = type, .granularity = type->default_granularity, .group = type->default_group},
        .parts = {index},
    };
    for (int i = 1; i < VISE_PARTS_MAX; i++)
        found->parts[i] = SIZE_MAX;
    return vise_arena_strdup(arena, info->name, strlen(info->name) - strlen(weight_suffix), &found->module,
                             err);
}

static vise_status gguf_find_weights(const vise_source *source, vise_arena *arena, vise_found **found,
                                     size_t *n, vise_error *err)
{
    void *block;
    *n = 0;
    VISE_TRY(vise_arena_take(arena, vise_source_count(source) * sizeof **found + 1, &block, err));
    *found = block;
    for (size_t i = 0; i < vise_source_count(source); i++)
        if (vise_source_tensor(source, i)->blocks != NULL)
            VISE_TRY(find_one(source, i, arena, &(*found)[(*n)++], err));
    return VISE_OK;
}

static vise_status gguf_load(const vise_source *source, const vise_found *found, int64_t row0, vise_qweight *q,
                             vise_pool *pool, vise_error *err)
{
    const vise_gguf_type *type = found->scheme.type->blocks;
    const uint64_t row_bytes = vise_gguf_row_bytes(type, found->cols), bytes = (uint64_t)q->rows * row_bytes;
    const size_t blocks = (size_t)(bytes / (uint64_t)type->bytes);
    VISE_TRY(
        vise_source_read(source, found->parts[0], (uint64_t)row0 * row_bytes, bytes, q->codes, pool, err));
    if (vise_gguf_first_bad(type, q->codes, blocks) < blocks)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: %s: a scale of its %s blocks is no finite number; the file is damaged",
                         vise_source_path(source), found->module, type->name);
    return VISE_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static vise_status gguf_spell(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX], int *n_parts,
                              vise_error *err)
{
    char text[VISE_SCHEME_TEXT_MAX];
    const vise_gguf_type *type = weight->scheme.type != NULL ? weight->scheme.type->blocks : NULL;
    uint64_t bytes;
    if (weight->scheme.type == NULL)
        return vise_plain_spell(weight, parts, n_parts, err);
    if (type == NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: layout gguf holds GGUF's types (q8_0, q4_k, ...), not %s", weight->module,
                         vise_scheme_text(&weight->scheme, text));
    const uint64_t row_bytes = vise_gguf_row_bytes(type, weight->cols);
    if (row_bytes == 0 || __builtin_mul_overflow((uint64_t)weight->rows, row_bytes, &bytes))
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "%s: rows of %lld weights are no whole blocks of %s (%d); exclude it, or say with --otherwise "
            "what it gets instead",
            weight->module, (long long)weight->cols, type->name, type->values);
    parts[0] = (vise_part){.suffix = weight_suffix,
                           .dtype = VISE_DTYPE_U8,
                           .blocks = type,
                           .ndim = 2,
                           .shape = {weight->rows, (int64_t)row_bytes},
                           .bytes = bytes};
    *n_parts = 1;
    return VISE_OK;
}

static size_t gguf_store_scratch(const vise_spelling *weight, int64_t rows)
{
    (void)weight;
    (void)rows;
    return 0;
}

static vise_status gguf_store(const vise_spelling *weight, int64_t row0, const vise_qweight *q, void *scratch,
                              const vise_part_writer *writer, vise_error *err)
{
    (void)scratch;
    const vise_gguf_type *type = q->scheme.type->blocks;
    const size_t row_bytes = vise_qweight_row_bytes(q), bytes = (size_t)q->rows * row_bytes;
    const size_t blocks = bytes / (size_t)type->bytes;
    if (vise_gguf_first_bad(type, q->codes, blocks) < blocks)
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "%s: its weights are too large for the float16 scales of %s; exclude it or choose another type",
            weight->module, type->name);
    return writer->write(writer->context, 0, (uint64_t)row0 * row_bytes, q->codes, bytes, err);
}

/* GGUF says everything itself. */
static vise_status gguf_config(const vise_spelling *weights, size_t n, vise_buf *buf, vise_error *err)
{
    (void)weights;
    (void)n;
    vise_buf_add_text(buf, "null");
    return vise_buf_check(buf, "quantization_config", err);
}

const vise_layout vise_layout_gguf = {
    .name = "gguf",
    .summary = "GGUF with the block types of llama.cpp; loaded by llama.cpp, ollama, transformers",
    .scale_dtype = VISE_DTYPE_COUNT,
    .spell = gguf_spell,
    .store_scratch = gguf_store_scratch,
    .store = gguf_store,
    .config = gguf_config,
    .recognise = gguf_recognise,
    .find = gguf_find_weights,
    .load = gguf_load,
};
