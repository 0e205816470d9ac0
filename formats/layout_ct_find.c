/* compressed-tensors: quantized weights found among the tensors of a source, held against its config. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/event.h"
#include "core/json.h"
#include "formats/layout_internal.h"
#include "formats/names.h"
#include "formats/safetensors.h"

typedef struct finder {
    const vise_source *source;
    const char *path; /* of the config */
    vise_arena *arena;
    vise_ct_config_file *config;
    vise_found *found;
    size_t n, capacity;
    vise_error *err;
} finder;

bool vise_ct_recognise(const vise_source *source)
{
    const cJSON *method = cJSON_GetObjectItemCaseSensitive(vise_quantization_config(source), "quant_method");
    return cJSON_IsString(method) && strcmp(method->valuestring, "compressed-tensors") == 0;
}

/* A complaint about a tensor of the module at hand. */
static vise_status bad(finder *f, const vise_found *found, const char *suffix, const char *what)
{
    char show[VISE_ST_SHOW_MAX];
    return VISE_FAIL(f->err, VISE_EFORMAT, "%s: tensor \"%s%s\": %s", vise_source_path(f->source),
                     vise_st_show(found->module, show), suffix, what);
}

/* The index of module + suffix, SIZE_MAX if there is none. */
static vise_status find_part(finder *f, const char *module, const char *suffix, size_t *index)
{
    const char *name;
    VISE_TRY(vise_arena_strfmt(f->arena, &name, f->err, "%s%s", module, suffix));
    *index = vise_source_find(f->source, name);
    return VISE_OK;
}

static vise_status need_part(finder *f, const vise_found *found, const char *suffix, size_t *index)
{
    VISE_TRY(find_part(f, found->module, suffix, index));
    return *index != SIZE_MAX ? VISE_OK : bad(f, found, suffix, "is missing; the checkpoint is incomplete");
}

/* ---- the shapes against the config ------------------------------------------------------------ */

static vise_status check_scale(finder *f, vise_found *found)
{
    const vise_tensor_info *info = vise_source_tensor(f->source, found->parts[VISE_CT_SCALE]);
    const vise_dtype_traits *traits = vise_dtype_of(info->dtype);
    const vise_scheme *scheme = &found->scheme;
    const vise_codebook *codebook = scheme->type->codebook;
    if (codebook && codebook->scale_bits) {
        if (info->dtype != (codebook == &vise_codebook_nvfp4 ? VISE_DTYPE_F8_E4M3 : VISE_DTYPE_U8))
            return bad(f, found, ".weight_scale", "has a dtype that is not that of the type's scales");
        found->dtype = vise_config_dtype(f->source, VISE_DTYPE_BF16);
    } else {
        if (!traits->is_float || !traits->to_f32 || traits->bits < 16)
            return bad(f, found, ".weight_scale", "has a dtype that is no scale's");
        found->dtype = info->dtype;
    }
    int64_t groups = vise_scheme_groups(scheme, found->cols), rows = found->rows;
    if (groups == 0)
        return bad(f, found, ".weight_scale", "the group_size of the config does not divide the rows");
    if (scheme->granularity == VISE_PER_BLOCK)
        rows = rows / scheme->group_rows + (rows % scheme->group_rows != 0);
    bool fits =
        scheme->granularity == VISE_PER_TENSOR ? info->elements == 1
        : scheme->granularity == VISE_PER_CHANNEL
            ? info->elements == (uint64_t)rows && info->ndim >= 1 && info->shape[0] == rows
            : info->ndim == 2 && info->shape[0] == rows && info->shape[1] == groups;
    return fits ? VISE_OK
                : bad(f, found, ".weight_scale",
                      "its shape is not what the config says (strategy, group_size)");
}

/* One positive number. */
static vise_status read_factor(finder *f, vise_found *found, size_t tensor, const char *suffix, float *factor)
{
    const vise_tensor_info *info = vise_source_tensor(f->source, tensor);
    const vise_dtype_traits *traits = vise_dtype_of(info->dtype);
    uint8_t bytes[8];
    if (!traits->is_float || !traits->to_f32 || info->elements != 1 || info->bytes > sizeof bytes)
        return bad(f, found, suffix, "is not one float");
    VISE_TRY(vise_source_read(f->source, tensor, 0, info->bytes, bytes, NULL, f->err));
    vise_to_f32(info->dtype, bytes, factor, 1);
    return *factor > 0.0f && isfinite(*factor) ? VISE_OK : bad(f, found, suffix, "is not a positive number");
}

/* The scale of its inputs, where calibration gave one. */
static vise_status check_input(finder *f, vise_found *found)
{
    const char *suffix = found->scheme.type->codebook == &vise_codebook_nvfp4 ? ".input_global_scale" : ".input_scale";
    if (!vise_scheme_needs_calibration(&found->scheme))
        return VISE_OK;
    VISE_TRY(need_part(f, found, suffix, &found->parts[VISE_CT_INPUT]));
    return read_factor(f, found, found->parts[VISE_CT_INPUT], suffix, &found->input_scale);
}

static vise_status check_float8(finder *f, vise_found *found)
{
    const vise_tensor_info *weight = vise_source_tensor(f->source, found->parts[VISE_CT_WEIGHT]);
    if (weight->ndim != 2 || weight->elements == 0)
        return bad(f, found, ".weight", "is not F8_E4M3 [rows, columns]");
    found->rows = weight->shape[0];
    found->cols = weight->shape[1];
    return check_scale(f, found);
}

static vise_status check_float4(finder *f, vise_found *found)
{
    const vise_tensor_info *packed = vise_source_tensor(f->source, found->parts[VISE_CT_PACKED]);
    if (packed->ndim != 2 || packed->elements == 0 || packed->shape[1] > INT64_MAX / 2)
        return bad(f, found, ".weight_packed", "is not U8 [rows, half of the columns]");
    found->rows = packed->shape[0];
    found->cols = packed->shape[1] * 2;
    VISE_TRY(check_scale(f, found));
    if (found->scheme.type->codebook != &vise_codebook_nvfp4)
        return VISE_OK;
    VISE_TRY(need_part(f, found, ".weight_global_scale", &found->parts[VISE_CT_GLOBAL]));
    return read_factor(f, found, found->parts[VISE_CT_GLOBAL], ".weight_global_scale", &found->global);
}

/* I8 beside each scale. */
static vise_status check_zero_plain(finder *f, vise_found *found, size_t part)
{
    const vise_tensor_info *zero = vise_source_tensor(f->source, found->parts[part]);
    const vise_tensor_info *scale = vise_source_tensor(f->source, found->parts[VISE_CT_SCALE]);
    if (zero->dtype != VISE_DTYPE_I8 || zero->elements != scale->elements)
        return bad(f, found, ".weight_zero_point", "is not I8 with the shape of the scales");
    return VISE_OK;
}

static vise_status check_symmetry(finder *f, vise_found *found, size_t part)
{
    VISE_TRY(find_part(f, found->module, ".weight_zero_point", &found->parts[part]));
    if (found->parts[part] == SIZE_MAX && found->scheme.asym)
        return bad(f, found, ".weight_zero_point", "is missing, but the config says asymmetric");
    if (found->parts[part] != SIZE_MAX && !found->scheme.asym)
        return bad(f, found, ".weight_zero_point", "is there, but the config says symmetric");
    return VISE_OK;
}

static vise_status read_shape(finder *f, vise_found *found)
{
    const vise_tensor_info *info = vise_source_tensor(f->source, found->parts[VISE_CT_SHAPE]);
    int64_t shape[2] = {0};
    if (info->dtype == VISE_DTYPE_I64 && info->elements == 2) {
        VISE_TRY(
            vise_source_read(f->source, found->parts[VISE_CT_SHAPE], 0, sizeof shape, shape, NULL, f->err));
    } else if (info->dtype == VISE_DTYPE_I32 && info->elements == 2) {
        int32_t narrow[2];
        VISE_TRY(
            vise_source_read(f->source, found->parts[VISE_CT_SHAPE], 0, sizeof narrow, narrow, NULL, f->err));
        shape[0] = narrow[0];
        shape[1] = narrow[1];
    } else {
        return bad(f, found, ".weight_shape", "is not I64 [2]; weights of more dimensions are not supported");
    }
    if (shape[0] < 1 || shape[1] < 1 || shape[1] > (int64_t)1 << 40)
        return bad(f, found, ".weight_shape", "holds no valid shape");
    found->rows = shape[0];
    found->cols = shape[1];
    return VISE_OK;
}

static vise_status check_packed(finder *f, vise_found *found)
{
    const vise_tensor_info *packed = vise_source_tensor(f->source, found->parts[VISE_CT_PACKED]);
    int bits = found->scheme.type->bits;
    if (packed->dtype != VISE_DTYPE_I32 || packed->ndim != 2)
        return bad(f, found, ".weight_packed", "is not I32 [rows, words]; this kind is not supported");
    VISE_TRY(need_part(f, found, ".weight_shape", &found->parts[VISE_CT_SHAPE]));
    VISE_TRY(read_shape(f, found));
    uint64_t words = (uint64_t)packed->shape[1];
    if (packed->shape[0] != found->rows || (words != vise_ct_words((uint64_t)found->cols, bits, false) &&
                                            words != vise_ct_words((uint64_t)found->cols, bits, true)))
        return bad(f, found, ".weight_packed",
                   "its shape does not fit weight_shape and the config's num_bits");
    VISE_TRY(check_scale(f, found));
    /* Of older files: actorder "group". */
    VISE_TRY(find_part(f, found->module, ".weight_g_idx", &found->parts[VISE_CT_G_IDX]));
    if (found->parts[VISE_CT_G_IDX] != SIZE_MAX)
        VISE_TRY(vise_found_g_idx(f->source, f->arena, found, VISE_CT_G_IDX, ".weight_g_idx",
                                  vise_scheme_groups(&found->scheme, found->cols), f->err));
    VISE_TRY(check_symmetry(f, found, VISE_CT_ZERO));
    if (!found->scheme.asym)
        return VISE_OK;
    if (found->scheme.granularity == VISE_PER_TENSOR)
        return check_zero_plain(f, found, VISE_CT_ZERO);
    const vise_tensor_info *zero = vise_source_tensor(f->source, found->parts[VISE_CT_ZERO]);
    if (zero->dtype != VISE_DTYPE_I32 || zero->ndim != 2 ||
        zero->shape[1] != vise_scheme_groups(&found->scheme, found->cols) ||
        (uint64_t)zero->shape[0] !=
            vise_ct_words((uint64_t)found->rows, bits, vise_ct_is_old(f->source, found)))
        return bad(f, found, ".weight_zero_point", "its shape does not fit the weight and the config");
    return VISE_OK;
}

static vise_status check_int(finder *f, vise_found *found)
{
    const vise_tensor_info *weight = vise_source_tensor(f->source, found->parts[VISE_CT_WEIGHT]);
    if (weight->ndim != 2 || weight->elements == 0)
        return bad(f, found, ".weight", "is not I8 [rows, columns]");
    found->rows = weight->shape[0];
    found->cols = weight->shape[1];
    VISE_TRY(check_scale(f, found));
    VISE_TRY(check_symmetry(f, found, VISE_CT_INT_ZERO));
    return found->scheme.asym ? check_zero_plain(f, found, VISE_CT_INT_ZERO) : VISE_OK;
}

/* ---- the modules ------------------------------------------------------------------------------ */

/* The tensor's dtype says how codes are stored; the config must say the same. */
static vise_status check_form(finder *f, vise_found *found)
{
    const vise_tensor_info *codes = vise_source_tensor(f->source, found->parts[VISE_CT_WEIGHT]);
    const vise_ct_form form = vise_ct_form_of(&found->scheme);
    const bool integers = form == VISE_CT_PACKED_INTEGERS || form == VISE_CT_INTEGERS;
    if (codes->dtype == VISE_DTYPE_F8_E4M3 && form == VISE_CT_FLOAT8)
        return check_float8(f, found);
    if (codes->dtype == VISE_DTYPE_U8 && form == VISE_CT_FLOAT4)
        return check_float4(f, found);
    if (codes->dtype == VISE_DTYPE_I8 && integers)
        return check_int(f, found);
    if (codes->dtype == VISE_DTYPE_I32 && integers)
        return check_packed(f, found);
    char show[VISE_ST_SHOW_MAX], text[VISE_SCHEME_TEXT_MAX];
    return VISE_FAIL(f->err, VISE_EFORMAT, "%s: tensor \"%s\" is %s, but its config says %s",
                     vise_source_path(f->source), vise_st_show(codes->name, show), vise_dtype_of(codes->dtype)->name,
                     vise_scheme_text(&found->scheme, text));
}

static vise_status add_found(finder *f, size_t tensor, const char *suffix)
{
    const char *name = vise_source_tensor(f->source, tensor)->name;
    vise_found found = {0};
    for (int i = 0; i < VISE_PARTS_MAX; i++)
        found.parts[i] = SIZE_MAX;
    found.parts[VISE_CT_WEIGHT] = tensor;
    VISE_TRY(vise_arena_strdup(f->arena, name, strlen(name) - strlen(suffix), &found.module, f->err));
    const vise_ct_group *group = vise_ct_config_match(f->config, found.module);
    if (!group)
        return VISE_FAIL(f->err, VISE_EFORMAT,
                         "%s: quantization_config: no group has %s, which is quantized, as target", f->path,
                         found.module);
    found.scheme = group->scheme;
    VISE_TRY(need_part(f, &found, ".weight_scale", &found.parts[VISE_CT_SCALE]));
    VISE_TRY(check_form(f, &found));
    VISE_TRY(check_input(f, &found));

    void *grown = f->found;
    VISE_TRY(vise_grow(&grown, &f->capacity, f->n + 1, sizeof found, f->err));
    f->found = grown;
    f->found[f->n++] = found;
    return VISE_OK;
}

static vise_status scan(finder *f)
{
    for (size_t i = 0; i < vise_source_count(f->source); i++) {
        const vise_tensor_info *info = vise_source_tensor(f->source, i);
        const bool byte = vise_dtype_of(info->dtype)->bits == 8;
        if (vise_ends_with(info->name, ".weight_packed"))
            VISE_TRY(add_found(f, i, ".weight_packed"));
        else if (vise_ends_with(info->name, ".weight") && byte)
            VISE_TRY(add_found(f, i, ".weight"));
    }
    return VISE_OK;
}

/* What the config says of the whole that is not done here. */
static vise_status check_config(const char *path, const cJSON *config, vise_error *err)
{
    const char *status = "compressed", *sparsity = "dense";
    const cJSON *sparse = cJSON_GetObjectItemCaseSensitive(config, "sparsity_config");
    VISE_TRY(vise_json_text(path, config, "quantization_status", false, &status, err));
    if (strcmp(status, "compressed") != 0)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s: quantization_config: quantization_status is \"%.50s\"; only \"compressed\" is supported",
            path, status);
    if (cJSON_IsObject(sparse))
        VISE_TRY(vise_json_text(path, sparse, "format", false, &sparsity, err));
    if (strcmp(sparsity, "dense") != 0)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: quantization_config: the sparse format \"%.50s\" is not supported", path,
                         sparsity);
    const cJSON *transform = cJSON_GetObjectItemCaseSensitive(config, "transform_config");
    if (cJSON_IsObject(transform) && cJSON_GetObjectItemCaseSensitive(transform, "config_groups") &&
        cJSON_GetObjectItemCaseSensitive(transform, "config_groups")->child)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: quantization_config: transforms (rotations) are not supported", path);
    const cJSON *cache = cJSON_GetObjectItemCaseSensitive(config, "kv_cache_scheme");
    if (cJSON_IsObject(cache) && !vise_ct_cache_type(path, cache))
        vise_warn("%s: the key-value cache scheme of its quantization_config is not fp8 or int8 with calibrated "
                  "scales, and is not carried over",
                  path);
    return VISE_OK;
}

vise_status vise_ct_find(const vise_source *source, vise_arena *arena, vise_found **found, size_t *n,
                         vise_error *err)
{
    finder f = {.source = source, .path = vise_source_config_path(source), .arena = arena, .err = err};
    const cJSON *config = vise_quantization_config(source);
    VISE_TRY(check_config(f.path, config, err));
    VISE_TRY(vise_ct_config_read(f.path, config, &f.config, err));
    vise_status status = scan(&f);
    void *block = NULL;
    if (status == VISE_OK)
        status = vise_arena_take(arena, f.n * sizeof(vise_found) + 1, &block, err);
    if (status == VISE_OK && f.n > 0)
        memcpy(block, f.found, f.n * sizeof(vise_found));
    *found = block;
    *n = status == VISE_OK ? f.n : 0;
    vise_free(f.found);
    vise_ct_config_free(f.config);
    return status;
}
