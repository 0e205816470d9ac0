/* The layout of plain floating-point tensors: it spells nothing but what needs no spelling. */
#include <string.h>

#include "formats/layout_internal.h"

static vise_status no_scheme(const char *module, const vise_scheme *scheme, vise_error *err)
{
    char text[VISE_SCHEME_TEXT_MAX];
    return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: layout safetensors holds floating-point tensors only, not %s", module,
                     vise_scheme_text(scheme, text));
}

vise_status vise_plain_spell(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX], int *n_parts,
                             vise_error *err)
{
    if (weight->scheme.type)
        return no_scheme(weight->module, &weight->scheme, err);
    uint64_t elements = 0, bytes = 0;
    if (__builtin_mul_overflow(weight->rows, weight->cols, &elements) ||
        !vise_dtype_bytes(weight->dtype, elements, &bytes))
        return VISE_FAIL(err, VISE_EUSAGE, "%s: its shape overflows", weight->name);
    parts[0] = (vise_part){.suffix = weight->name + strlen(weight->module),
                           .dtype = weight->dtype,
                           .ndim = 2,
                           .shape = {weight->rows, weight->cols},
                           .bytes = bytes};
    *n_parts = 1;
    return VISE_OK;
}

static size_t plain_store_scratch(const vise_spelling *weight, int64_t rows)
{
    (void)weight;
    (void)rows;
    return 0;
}

static vise_status plain_store(const vise_spelling *weight, int64_t row0, const vise_qweight *q, void *scratch,
                               const vise_part_writer *writer, vise_error *err)
{
    (void)row0;
    (void)scratch;
    (void)writer;
    return no_scheme(weight->module, &q->scheme, err);
}

static vise_status plain_config(const vise_spelling *weights, size_t n, vise_buf *buf, vise_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (weights[i].scheme.type)
            return no_scheme(weights[i].module, &weights[i].scheme, err);
    vise_buf_add_text(buf, "null");
    return vise_buf_check(buf, "quantization_config", err);
}

static bool plain_recognise(const vise_source *source)
{
    return vise_quantization_config(source) == NULL && vise_source_gguf(source) == NULL;
}

static vise_status plain_find(const vise_source *source, vise_arena *arena, vise_found **found, size_t *n,
                              vise_error *err)
{
    (void)source;
    (void)arena;
    (void)err;
    *found = NULL;
    *n = 0;
    return VISE_OK;
}

static vise_status plain_load(const vise_source *source, const vise_found *found, int64_t row0, vise_qweight *q,
                              vise_pool *pool, vise_error *err)
{
    (void)source;
    (void)row0;
    (void)q;
    (void)pool;
    return no_scheme(found->module, &found->scheme, err);
}

const vise_layout vise_layout_plain = {
    .name = "safetensors",
    .summary = "plain floating-point tensors; loaded by everything",
    .scale_dtype = VISE_DTYPE_COUNT,
    .spell = vise_plain_spell,
    .store_scratch = plain_store_scratch,
    .store = plain_store,
    .config = plain_config,
    .recognise = plain_recognise,
    .find = plain_find,
    .load = plain_load,
};
