/* Hugging Face's fine-grained fp8. The form is described in layout_internal.h. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/json.h"
#include "core/mem.h"
#include "formats/layout_internal.h"
#include "formats/names.h"

/* ---- spelling ------------------------------------------------------------------------------------------ */

static int64_t blocks_of(int64_t n, int64_t size)
{
    return n / size + (n % size != 0);
}

static bool has_calibrated_input(const vise_scheme *scheme)
{
    return vise_scheme_needs_calibration(scheme);
}

/* What its runtimes do with inputs follows from how weights are scaled. */
static const char *dynamic_activation(const vise_scheme *scheme)
{
    if (scheme->granularity == VISE_PER_TENSOR)
        return "fp8-e4m3-token";
    return scheme->group == 128 ? "fp8-e4m3-g128" : NULL;
}

static bool is_held(const vise_scheme *scheme)
{
    const char *dynamic = dynamic_activation(scheme);
    if (scheme->type->codebook != &vise_codebook_fp8_e4m3 ||
        (scheme->granularity != VISE_PER_TENSOR && scheme->granularity != VISE_PER_BLOCK))
        return false;
    return !scheme->activation || (dynamic && strcmp(scheme->activation, dynamic) == 0) ||
           (scheme->granularity == VISE_PER_TENSOR && has_calibrated_input(scheme));
}

/* transformers, when it decodes, takes the size of a block from the number of scales. */
static bool divides(int64_t n, int64_t size)
{
    return n <= size || n % size == 0;
}

static vise_status check_scheme(const vise_spelling *weight, vise_error *err)
{
    char text[VISE_SCHEME_TEXT_MAX];
    const vise_scheme *scheme = &weight->scheme;
    if (!is_held(scheme))
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: layout fp8 holds fp8-e4m3-RxC (128x128, also +fp8-e4m3-g128) and fp8-e4m3-tensor (also "
                         "+fp8-e4m3-token, +fp8-e4m3-tensor), not %s",
                         weight->module, vise_scheme_text(scheme, text));
    if (!weight->is_linear)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: is no linear; layout fp8 holds linears only", weight->module);
    if (scheme->granularity == VISE_PER_BLOCK &&
        (!divides(weight->rows, scheme->group_rows) || !divides(weight->cols, scheme->group)))
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: %" PRId64 " x %" PRId64 " weights do not divide into blocks of %" PRId64 " x %" PRId64
                         ", and transformers would decode the last ones wrongly",
                         weight->module, weight->rows, weight->cols, scheme->group_rows, scheme->group);
    return vise_check_groups(weight, err);
}

static vise_status fp8_spell(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX], int *n_parts,
                             vise_error *err)
{
    if (!weight->scheme.type)
        return vise_plain_spell(weight, parts, n_parts, err);
    VISE_TRY(check_scheme(weight, err));
    const vise_scheme *scheme = &weight->scheme;
    parts[VISE_FP8_WEIGHT] = (vise_part){
        .suffix = ".weight", .dtype = VISE_DTYPE_F8_E4M3, .ndim = 2, .shape = {weight->rows, weight->cols}};
    parts[VISE_FP8_SCALE] = (vise_part){.suffix = ".weight_scale_inv", .dtype = VISE_DTYPE_F32};
    if (scheme->granularity == VISE_PER_BLOCK) {
        parts[VISE_FP8_SCALE].ndim = 2;
        parts[VISE_FP8_SCALE].shape[0] = blocks_of(weight->rows, scheme->group_rows);
        parts[VISE_FP8_SCALE].shape[1] = blocks_of(weight->cols, scheme->group);
    }
    parts[VISE_FP8_INPUT] = (vise_part){.suffix = ".activation_scale", .dtype = VISE_DTYPE_F32};
    *n_parts = has_calibrated_input(scheme) ? 3 : 2;
    for (int i = 0; i < *n_parts; i++)
        VISE_TRY(vise_part_finish(weight->module, &parts[i], err));
    return VISE_OK;
}

/* ---- storing ------------------------------------------------------------------------------------------- */

static size_t fp8_store_scratch(const vise_spelling *weight, int64_t rows)
{
    (void)rows;
    return weight->scheme.type ? (size_t)vise_scheme_groups(&weight->scheme, weight->cols) * sizeof(float) : 0;
}

static vise_status fp8_store(const vise_spelling *weight, int64_t row0, const vise_qweight *q, void *scratch,
                             const vise_part_writer *writer, vise_error *err)
{
    VISE_TRY(vise_check_tile(weight->module, weight->rows, weight->cols, row0, q, err));
    VISE_TRY(writer->write(writer->context, VISE_FP8_WEIGHT, (uint64_t)(row0 * q->cols), q->codes,
                           (size_t)(q->rows * q->cols), err));
    if (row0 == 0 && has_calibrated_input(&q->scheme)) {
        if (!(q->input_scale > 0.0f))
            return VISE_FAIL(err, VISE_EINTERNAL, "%s: nothing has calibrated its inputs", weight->module);
        VISE_TRY(writer->write(writer->context, VISE_FP8_INPUT, 0, &q->input_scale, sizeof q->input_scale, err));
    }
    if (q->scheme.granularity == VISE_PER_BLOCK)
        return vise_block_scales_store(VISE_DTYPE_F32, VISE_FP8_SCALE, row0, q, scratch, writer, err);
    return row0 == 0 ? writer->write(writer->context, VISE_FP8_SCALE, 0, q->scales, sizeof(float), err) : VISE_OK;
}

static vise_status fp8_config(const vise_spelling *weights, size_t n, vise_buf *buf, vise_error *err)
{
    const vise_spelling *first = NULL;
    char one[VISE_SCHEME_TEXT_MAX], other[VISE_SCHEME_TEXT_MAX];
    for (size_t i = 0; i < n; i++) {
        if (!weights[i].scheme.type)
            continue;
        first = first ? first : &weights[i];
        if (!vise_scheme_equal(&first->scheme, &weights[i].scheme))
            return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s is %s and %s is %s: layout fp8 holds one kind in a model",
                             first->module, vise_scheme_text(&first->scheme, one), weights[i].module,
                             vise_scheme_text(&weights[i].scheme, other));
    }
    if (!first) {
        vise_buf_add_text(buf, "null");
        return vise_buf_check(buf, "quantization_config", err);
    }
    vise_json_writer w;
    vise_json_begin(&w, buf, 0);
    vise_json_object(&w);
    vise_json_key(&w, "quant_method");
    vise_json_put_text(&w, "fp8");
    vise_json_key(&w, "activation_scheme");
    vise_json_put_text(&w, has_calibrated_input(&first->scheme) ? "static" : "dynamic");
    vise_json_key(&w, "weight_block_size");
    if (first->scheme.granularity == VISE_PER_BLOCK) {
        vise_json_array(&w);
        vise_json_put_int(&w, first->scheme.group_rows);
        vise_json_put_int(&w, first->scheme.group);
        vise_json_array_end(&w);
    } else {
        vise_json_put_null(&w);
    }
    VISE_TRY(vise_put_skipped(&w, "modules_to_not_convert", weights, n, err));
    vise_json_object_end(&w);
    return vise_buf_check(buf, "quantization_config", err);
}

/* ---- found --------------------------------------------------------------------------------------------- */

static bool fp8_recognise(const vise_source *source)
{
    return vise_config_is_method(vise_quantization_config(source), "fp8");
}

/* What the configuration says of all weights. */
static vise_status read_config(const vise_source *source, vise_scheme *scheme, bool *calibrated, vise_error *err)
{
    const char *path = vise_source_config_path(source), *activation = "dynamic";
    const cJSON *config = vise_quantization_config(source);
    const cJSON *block = cJSON_GetObjectItemCaseSensitive(config, "weight_block_size");
    double sides[2] = {128, 128};
    *scheme = (vise_scheme){.type = vise_codebook_type(&vise_codebook_fp8_e4m3), .granularity = VISE_PER_TENSOR};
    VISE_TRY(vise_json_text(path, config, "activation_scheme", false, &activation, err));
    *calibrated = strcmp(activation, "static") == 0;
    if (!*calibrated && strcmp(activation, "dynamic") != 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"activation_scheme\" is \"%.50s\", not dynamic or static", path,
                         activation);
    if (cJSON_IsNull(block))
        return VISE_OK;
    for (int i = 0; i < 2; i++) {
        if (block)
            sides[i] = cJSON_GetNumberValue(cJSON_GetArrayItem(block, i));
        if (!(sides[i] >= 1 && sides[i] <= 65536) || sides[i] != floor(sides[i]) ||
            (block && cJSON_GetArraySize(block) != 2))
            return VISE_FAIL(err, VISE_EFORMAT, "%s: \"weight_block_size\" is not two sizes", path);
    }
    scheme->granularity = VISE_PER_BLOCK;
    scheme->group_rows = (int64_t)sides[0];
    scheme->group = (int64_t)sides[1];
    return VISE_OK;
}

static vise_status read_input(const vise_source *source, vise_arena *arena, vise_found *found, vise_error *err)
{
    const char *suffix = ".activation_scale";
    VISE_TRY(vise_found_part(source, arena, found->module, suffix, true, &found->parts[VISE_FP8_INPUT], err));
    const vise_tensor_info *info = vise_source_tensor(source, found->parts[VISE_FP8_INPUT]);
    if (info->dtype != VISE_DTYPE_F32 || info->elements != 1)
        return vise_found_bad(source, found->module, suffix, "is not one F32", err);
    VISE_TRY(vise_source_read(source, found->parts[VISE_FP8_INPUT], 0, sizeof(float), &found->input_scale, NULL, err));
    return found->input_scale > 0.0f && isfinite(found->input_scale)
               ? VISE_OK
               : vise_found_bad(source, found->module, suffix, "is not a positive number", err);
}

static vise_status add_weight(const vise_source *source, size_t tensor, const vise_scheme *scheme,
                              bool calibrated, vise_arena *arena, vise_found_list *list, vise_error *err)
{
    const vise_tensor_info *weight = vise_source_tensor(source, tensor);
    vise_found found = {.scheme = *scheme, .scale_dtype = VISE_DTYPE_F32};
    for (int i = 0; i < VISE_PARTS_MAX; i++)
        found.parts[i] = SIZE_MAX;
    found.parts[VISE_FP8_WEIGHT] = tensor;
    VISE_TRY(vise_arena_strdup(arena, weight->name, strlen(weight->name) - strlen(".weight"), &found.module, err));
    VISE_TRY(
        vise_found_part(source, arena, found.module, ".weight_scale_inv", true, &found.parts[VISE_FP8_SCALE], err));
    if (weight->ndim != 2 || weight->elements == 0)
        return vise_found_bad(source, found.module, ".weight",
                              "is not F8_E4M3 [rows, columns]; fused experts are not supported", err);
    const vise_tensor_info *scale = vise_source_tensor(source, found.parts[VISE_FP8_SCALE]);
    const vise_dtype_traits *traits = vise_dtype_of(scale->dtype);
    const bool powers = scale->dtype == VISE_DTYPE_U8 || scale->dtype == VISE_DTYPE_F8_E8M0;
    if (!powers && (!traits->is_float || !traits->to_f32 || traits->bits < 16))
        return vise_found_bad(source, found.module, ".weight_scale_inv", "has a dtype that is no scale's", err);
    found.rows = weight->shape[0];
    found.cols = weight->shape[1];
    found.dtype = vise_config_dtype(source, VISE_DTYPE_BF16);
    const bool fits = scheme->granularity == VISE_PER_TENSOR
                          ? scale->elements == 1 && !powers
                          : scale->ndim == 2 && scale->shape[0] == blocks_of(found.rows, scheme->group_rows) &&
                                scale->shape[1] == blocks_of(found.cols, scheme->group);
    if (!fits)
        return vise_found_bad(source, found.module, ".weight_scale_inv",
                              "its shape does not fit the weight and the config's weight_block_size", err);
    found.scheme.activation = calibrated ? "fp8-e4m3-tensor" : dynamic_activation(scheme);
    if (calibrated)
        VISE_TRY(read_input(source, arena, &found, err));
    return vise_found_add(list, &found, err);
}

static vise_status scan(const vise_source *source, vise_arena *arena, vise_found_list *list, vise_error *err)
{
    vise_scheme scheme;
    bool calibrated;
    VISE_TRY(read_config(source, &scheme, &calibrated, err));
    for (size_t i = 0; i < vise_source_count(source); i++) {
        const vise_tensor_info *info = vise_source_tensor(source, i);
        if (info->dtype == VISE_DTYPE_F8_E4M3 && vise_ends_with(info->name, ".weight"))
            VISE_TRY(add_weight(source, i, &scheme, calibrated, arena, list, err));
    }
    return VISE_OK;
}

static vise_status fp8_find(const vise_source *source, vise_arena *arena, vise_found **found, size_t *n,
                            vise_error *err)
{
    vise_found_list list = {0};
    return vise_found_take(&list, scan(source, arena, &list, err), arena, found, n, err);
}

/* ---- loading ------------------------------------------------------------------------------------------- */

static vise_status fp8_load(const vise_source *source, const vise_found *found, int64_t row0, vise_qweight *q,
                            vise_pool *pool, vise_error *err)
{
    const size_t scale = found->parts[VISE_FP8_SCALE];
    const vise_dtype dtype = vise_source_tensor(source, scale)->dtype;
    uint8_t bytes[8];
    VISE_TRY(vise_check_tile(found->module, found->rows, found->cols, row0, q, err));
    q->input_scale = found->input_scale;
    VISE_TRY(vise_source_read(source, found->parts[VISE_FP8_WEIGHT], (uint64_t)(row0 * q->cols),
                              (uint64_t)(q->rows * q->cols), q->codes, pool, err));
    if (found->scheme.granularity == VISE_PER_BLOCK)
        return vise_block_scales_load(source, scale, row0, q, pool, err);
    VISE_TRY(vise_source_read(source, scale, 0, (uint64_t)vise_dtype_of(dtype)->bits / 8, bytes, pool, err));
    vise_to_f32(dtype, bytes, q->scales, 1);
    return VISE_OK;
}

const vise_layout vise_layout_fp8 = {
    .name = "fp8",
    .summary = "fp8-e4m3 in blocks or per tensor, fine-grained; loaded by transformers, vLLM, SGLang",
    .scale_dtype = VISE_DTYPE_F32,
    .spell = fp8_spell,
    .store_scratch = fp8_store_scratch,
    .store = fp8_store,
    .config = fp8_config,
    .recognise = fp8_recognise,
    .find = fp8_find,
    .load = fp8_load,
};
