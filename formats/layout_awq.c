/* awq: AutoAWQ's GEMM form, spelled, stored, configured, found and loaded. Described in layout_internal.h. */
#include <inttypes.h>
#include <string.h>

#include "core/json.h"
#include "core/mem.h"
#include "formats/layout_internal.h"
#include "formats/names.h"
#include "formats/safetensors.h"

/* Eight codes to a word: nibble i is that of out feature order[i]. */
static const uint8_t order[8] = {0, 2, 4, 6, 1, 3, 5, 7};

static uint32_t pack8(const uint8_t *codes, size_t stride)
{
    uint32_t word = 0;
    for (int i = 0; i < 8; i++)
        word |= (uint32_t)(codes[order[i] * stride] & 15) << (4 * i);
    return word;
}

static void unpack8(uint32_t word, uint8_t *codes, size_t stride)
{
    for (int i = 0; i < 8; i++)
        codes[order[i] * stride] = word >> (4 * i) & 15;
}

/* ---- spelling ------------------------------------------------------------------------------------------ */

static vise_status check_scheme(const vise_spelling *weight, vise_error *err)
{
    char text[VISE_SCHEME_TEXT_MAX];
    const vise_scheme *scheme = &weight->scheme;
    if (strcmp(scheme->type->name, "int4") != 0 || scheme->activation ||
        scheme->granularity == VISE_PER_TENSOR)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: layout awq holds int4 per channel or group, weights alone, not %s", weight->module,
                         vise_scheme_text(scheme, text));
    if (weight->group_of)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: its groups are no runs of columns (act-order), which layout awq cannot say",
                         weight->module);
    if (!weight->is_linear)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: is no linear; loaders of layout awq know quantized linears only", weight->module);
    VISE_TRY(vise_check_groups(weight, err));
    if (weight->rows % 8 != 0)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: has %" PRId64 " out features; layout awq packs them by eight", weight->module,
                         weight->rows);
    return VISE_OK;
}

static vise_status awq_spell(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX], int *n_parts,
                             vise_error *err)
{
    if (!weight->scheme.type)
        return vise_plain_spell(weight, parts, n_parts, err);
    VISE_TRY(check_scheme(weight, err));
    const int64_t words = weight->rows / 8, groups = vise_scheme_groups(&weight->scheme, weight->cols);
    parts[VISE_AWQ_WEIGHT] =
        (vise_part){.suffix = ".qweight", .dtype = VISE_DTYPE_I32, .ndim = 2, .shape = {weight->cols, words}};
    parts[VISE_AWQ_ZERO] =
        (vise_part){.suffix = ".qzeros", .dtype = VISE_DTYPE_I32, .ndim = 2, .shape = {groups, words}};
    parts[VISE_AWQ_SCALE] =
        (vise_part){.suffix = ".scales", .dtype = VISE_DTYPE_F16, .ndim = 2, .shape = {groups, weight->rows}};
    *n_parts = 3;
    for (int i = 0; i < *n_parts; i++)
        VISE_TRY(vise_part_finish(weight->module, &parts[i], err));
    return VISE_OK;
}

/* ---- storing ------------------------------------------------------------------------------------------- */

static size_t awq_store_scratch(const vise_spelling *weight, int64_t rows)
{
    if (!weight->scheme.type)
        return 0;
    size_t n = (size_t)rows, groups = (size_t)vise_scheme_groups(&weight->scheme, weight->cols);
    size_t codes = n / 2 * (size_t)weight->cols, grid = n * groups * 2;
    return codes > grid ? codes : grid;
}

static vise_status awq_store(const vise_spelling *weight, int64_t row0, const vise_qweight *q, void *scratch,
                             const vise_part_writer *writer, vise_error *err)
{
    uint32_t *out = scratch;
    const size_t words = (size_t)q->rows / 8, cols = (size_t)q->cols, groups = (size_t)q->groups;
    VISE_TRY(vise_check_tile(weight->module, weight->rows, weight->cols, row0, q, err));
    for (size_t w = 0; w < words; w++)
        for (size_t c = 0; c < cols; c++)
            out[c * words + w] = pack8(q->codes + w * 8 * cols + c, cols);
    vise_columns at = {.rows = cols,
                       .row_bytes = words * 4,
                       .stride = (uint64_t)weight->rows / 2,
                       .offset = (uint64_t)row0 / 2};
    VISE_TRY(vise_columns_write(writer, VISE_AWQ_WEIGHT, &at, out, err));
    for (size_t w = 0; w < words; w++)
        for (size_t g = 0; g < groups; g++)
            out[g * words + w] = q->zeros ? pack8(q->zeros + w * 8 * groups + g, groups) : 0x88888888u;
    at.rows = groups;
    VISE_TRY(vise_columns_write(writer, VISE_AWQ_ZERO, &at, out, err));
    return vise_scales_store_f16(weight, VISE_AWQ_SCALE, row0, q, scratch, writer, err);
}

/* ---- the config ---------------------------------------------------------------------------------------- */

/* Its loaders leave a module alone when its name has one of these texts in it. */
static vise_status put_not_converted(vise_json_writer *w, const vise_spelling *weights, size_t n, vise_error *err)
{
    vise_json_key(w, "modules_to_not_convert");
    vise_json_array(w);
    for (size_t i = 0; i < n; i++) {
        if (!weights[i].is_linear || weights[i].scheme.type)
            continue;
        for (size_t j = 0; j < n; j++)
            if (weights[j].scheme.type && strstr(weights[j].module, weights[i].module))
                return VISE_FAIL(
                    err, VISE_EUNSUPPORTED,
                    "%s stays as it is, but its name is part of %s, which is quantized: layout awq cannot "
                    "tell them apart; use layout gptq or compressed-tensors",
                    weights[i].module, weights[j].module);
        vise_put_left_alone(w, weights[i].module);
    }
    vise_json_array_end(w);
    return VISE_OK;
}

static vise_status awq_config(const vise_spelling *weights, size_t n, vise_buf *buf, vise_error *err)
{
    const vise_spelling *first = NULL;
    char one[VISE_SCHEME_TEXT_MAX], other[VISE_SCHEME_TEXT_MAX];
    for (size_t i = 0; i < n; i++) {
        const vise_scheme *scheme = &weights[i].scheme;
        if (scheme->type && !first)
            first = &weights[i];
        if (scheme->type &&
            (scheme->group != first->scheme.group || scheme->granularity != first->scheme.granularity))
            return VISE_FAIL(err, VISE_EUNSUPPORTED,
                             "%s is %s and %s is %s: layout awq holds one size of groups; use layout gptq or "
                             "compressed-tensors",
                             first->module, vise_scheme_text(&first->scheme, one), weights[i].module,
                             vise_scheme_text(scheme, other));
    }
    if (!first) {
        vise_buf_add_text(buf, "null");
        return vise_buf_check(buf, "quantization_config", err);
    }
    vise_json_writer w;
    vise_json_begin(&w, buf, 0);
    vise_json_object(&w);
    vise_json_key(&w, "quant_method");
    vise_json_put_text(&w, "awq");
    vise_json_key(&w, "bits");
    vise_json_put_int(&w, 4);
    vise_json_key(&w, "group_size");
    vise_json_put_int(&w, first->scheme.granularity == VISE_PER_GROUP ? first->scheme.group : -1);
    vise_json_key(&w, "zero_point");
    vise_json_put_bool(&w, true);
    vise_json_key(&w, "version");
    vise_json_put_text(&w, "gemm");
    VISE_TRY(put_not_converted(&w, weights, n, err));
    vise_json_object_end(&w);
    return vise_buf_check(buf, "quantization_config", err);
}

/* ---- found --------------------------------------------------------------------------------------------- */

static bool awq_recognise(const vise_source *source)
{
    return vise_config_is_method(vise_quantization_config(source), "awq");
}

static vise_status add_weight(const vise_source *source, size_t tensor, vise_arena *arena,
                              vise_found_list *list, vise_error *err)
{
    const vise_tensor_info *info = vise_source_tensor(source, tensor);
    vise_found found = {.scheme = {.type = vise_int_type(4), .asym = true}};
    size_t *parts = found.parts;
    for (int i = 0; i < VISE_PARTS_MAX; i++)
        parts[i] = SIZE_MAX;
    parts[VISE_AWQ_WEIGHT] = tensor;
    VISE_TRY(
        vise_arena_strdup(arena, info->name, strlen(info->name) - strlen(".qweight"), &found.module, err));
    VISE_TRY(vise_found_part(source, arena, found.module, ".qzeros", true, &parts[VISE_AWQ_ZERO], err));
    VISE_TRY(vise_found_part(source, arena, found.module, ".scales", true, &parts[VISE_AWQ_SCALE], err));
    const vise_tensor_info *zero = vise_source_tensor(source, parts[VISE_AWQ_ZERO]),
                           *scale = vise_source_tensor(source, parts[VISE_AWQ_SCALE]);
    const vise_dtype_traits *traits = vise_dtype_of(scale->dtype);
    if (info->dtype != VISE_DTYPE_I32 || info->ndim != 2 || info->elements == 0 || info->shape[1] > INT32_MAX)
        return vise_found_bad(source, found.module, ".qweight", "is not I32 [columns, rows / 8]", err);
    found.rows = info->shape[1] * 8;
    found.cols = info->shape[0];
    found.dtype = scale->dtype;
    if (!traits->is_float || !traits->to_f32 || scale->ndim != 2 || scale->shape[1] != found.rows ||
        scale->shape[0] < 1 || found.cols % scale->shape[0] != 0)
        return vise_found_bad(source, found.module, ".scales", "are no floats [groups, rows]", err);
    if (zero->dtype != VISE_DTYPE_I32 || zero->ndim != 2 || zero->shape[0] != scale->shape[0] ||
        zero->shape[1] != info->shape[1])
        return vise_found_bad(source, found.module, ".qzeros", "is not I32 [groups, rows / 8]", err);
    VISE_TRY(vise_found_groups(source, scale->shape[0], &found, err));
    return vise_found_add(list, &found, err);
}

static vise_status scan(const vise_source *source, vise_arena *arena, vise_found_list *list, vise_error *err)
{
    const cJSON *config = vise_quantization_config(source);
    const char *path = vise_source_config_path(source), *version = "gemm";
    int64_t bits = 4;
    VISE_TRY(vise_json_int(path, config, "bits", false, 1, 64, &bits, err));
    VISE_TRY(vise_json_text(path, config, "version", false, &version, err));
    if (bits != 4 || (strcmp(version, "gemm") != 0 && strcmp(version, "GEMM") != 0))
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: quantization_config: awq of %" PRId64
                         " bits in version \"%.50s\" is not supported; 4 bits "
                         "in version gemm are",
                         path, bits, version);
    for (size_t i = 0; i < vise_source_count(source); i++)
        if (vise_ends_with(vise_source_tensor(source, i)->name, ".qweight"))
            VISE_TRY(add_weight(source, i, arena, list, err));
    return VISE_OK;
}

static vise_status awq_find(const vise_source *source, vise_arena *arena, vise_found **found, size_t *n,
                            vise_error *err)
{
    vise_found_list list = {0};
    return vise_found_take(&list, scan(source, arena, &list, err), arena, found, n, err);
}

/* ---- loading ------------------------------------------------------------------------------------------- */

static vise_status awq_load(const vise_source *source, const vise_found *found, int64_t row0, vise_qweight *q,
                            vise_pool *pool, vise_error *err)
{
    VISE_TRY(vise_check_tile(found->module, found->rows, found->cols, row0, q, err));
    const size_t words = (size_t)q->rows / 8, cols = (size_t)q->cols, groups = (size_t)q->groups;
    uint32_t *block;
    VISE_TRY(vise_pool_take(pool, cols * words * 4, "packed codes", (void **)&block, err));
    vise_columns at = {.rows = cols,
                       .row_bytes = words * 4,
                       .stride = (uint64_t)found->rows / 2,
                       .offset = (uint64_t)row0 / 2};
    vise_status status = vise_columns_read(source, found->parts[VISE_AWQ_WEIGHT], &at, block, pool, err);
    for (size_t w = 0; status == VISE_OK && w < words; w++)
        for (size_t c = 0; c < cols; c++)
            unpack8(block[c * words + w], q->codes + w * 8 * cols + c, cols);
    at.rows = groups;
    if (status == VISE_OK)
        status = vise_columns_read(source, found->parts[VISE_AWQ_ZERO], &at, block, pool, err);
    for (size_t w = 0; status == VISE_OK && w < words; w++)
        for (size_t g = 0; g < groups; g++)
            unpack8(block[g * words + w], q->zeros + w * 8 * groups + g, groups);
    vise_pool_give(pool, block);
    return status != VISE_OK ? status
                             : vise_scales_load_f16(source, found, VISE_AWQ_SCALE, row0, q, pool, err);
}

const vise_layout vise_layout_awq = {
    .name = "awq",
    .summary = "int4 as AutoAWQ's GEMM form; loaded by transformers (gptqmodel), vLLM, SGLang",
    .scale_dtype = VISE_DTYPE_F16,
    .transposed = true,
    .spell = awq_spell,
    .store_scratch = awq_store_scratch,
    .store = awq_store,
    .config = awq_config,
    .recognise = awq_recognise,
    .find = awq_find,
    .load = awq_load,
};
