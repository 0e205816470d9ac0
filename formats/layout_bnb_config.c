/* bitsandbytes: its configuration written, and quantized weights found by what stands beside them. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/json.h"
#include "core/mem.h"
#include "formats/layout_internal.h"
#include "formats/names.h"

#define STATE_MAX 65536 /* bytes of a weight's JSON */

/* ---- written ------------------------------------------------------------------------------------------- */

static vise_status check_one_kind(const vise_spelling *weights, size_t n, const vise_spelling **first,
                                  vise_error *err)
{
    char one[VISE_SCHEME_TEXT_MAX], other[VISE_SCHEME_TEXT_MAX];
    *first = NULL;
    for (size_t i = 0; i < n; i++) {
        const vise_scheme *scheme = &weights[i].scheme;
        if (!scheme->type)
            continue;
        if (!*first)
            *first = &weights[i];
        if (scheme->type != (*first)->scheme.type || scheme->dq != (*first)->scheme.dq)
            return VISE_FAIL(err, VISE_EUNSUPPORTED,
                             "%s is %s and %s is %s: layout bitsandbytes holds one kind in a model",
                             (*first)->module, vise_scheme_text(&(*first)->scheme, one), weights[i].module,
                             vise_scheme_text(scheme, other));
    }
    return VISE_OK;
}

vise_status vise_bnb_config(const vise_spelling *weights, size_t n, vise_buf *buf, vise_error *err)
{
    const vise_spelling *first;
    VISE_TRY(check_one_kind(weights, n, &first, err));
    if (!first) {
        vise_buf_add_text(buf, "null");
        return vise_buf_check(buf, "quantization_config", err);
    }
    const bool four = first->scheme.type->bits == 4;
    const struct {
        const char *key;
        bool value;
    } flags[] = {{"_load_in_4bit", four},
                 {"_load_in_8bit", !four},
                 {"load_in_4bit", four},
                 {"load_in_8bit", !four},
                 {"bnb_4bit_use_double_quant", first->scheme.dq},
                 {"llm_int8_enable_fp32_cpu_offload", false},
                 {"llm_int8_has_fp16_weight", false}};
    vise_json_writer w;
    vise_json_begin(&w, buf, 0);
    vise_json_object(&w);
    vise_json_key(&w, "quant_method");
    vise_json_put_text(&w, "bitsandbytes");
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        vise_json_key(&w, flags[i].key);
        vise_json_put_bool(&w, flags[i].value);
    }
    vise_json_key(&w, "bnb_4bit_compute_dtype");
    vise_json_put_text(&w, vise_dtype_of(first->dtype)->torch_name);
    vise_json_key(&w, "bnb_4bit_quant_storage");
    vise_json_put_text(&w, "uint8");
    vise_json_key(&w, "bnb_4bit_quant_type");
    vise_json_put_text(&w, four ? first->scheme.type->name : "fp4");
    vise_json_key(&w, "llm_int8_threshold");
    vise_json_put_raw(&w, "6.0"); /* its loader wants a float */
    VISE_TRY(vise_put_skipped(&w, "llm_int8_skip_modules", weights, n, err));
    vise_json_object_end(&w);
    return vise_buf_check(buf, "quantization_config", err);
}

/* ---- found --------------------------------------------------------------------------------------------- */

bool vise_bnb_recognise(const vise_source *source)
{
    const cJSON *config = vise_quantization_config(source);
    return vise_config_is_method(config, "bitsandbytes") ||
           (config && !*vise_config_text(config, "quant_method") &&
            (cJSON_GetObjectItemCaseSensitive(config, "load_in_4bit") ||
             cJSON_GetObjectItemCaseSensitive(config, "load_in_8bit")));
}

/* n floats of a tensor that is to have so many; *table is NULL where they are those that we know. */
static vise_status read_table(const vise_source *source, vise_arena *arena, const vise_found *found,
                              size_t tensor, const char *suffix, const float *known, size_t n,
                              const float **table, vise_error *err)
{
    const vise_tensor_info *info = vise_source_tensor(source, tensor);
    void *block;
    if (info->dtype != VISE_DTYPE_F32 || info->elements != n)
        return vise_found_bad(source, found->module, suffix, n == 16 ? "is not F32 [16]" : "is not F32 [256]",
                              err);
    VISE_TRY(vise_arena_take(arena, n * sizeof(float), &block, err));
    VISE_TRY(vise_source_read(source, tensor, 0, n * sizeof(float), block, NULL, err));
    const float *values = block;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return vise_found_bad(source, found->module, suffix, "has a value that is no number", err);
    *table = memcmp(values, known, n * sizeof(float)) == 0 ? NULL : values;
    return VISE_OK;
}

/* What the JSON of a weight says. */
typedef struct weight_state {
    int64_t block, rows, cols, nested_block;
    double offset;
    bool nested;
    vise_dtype dtype;
} weight_state;

static vise_status read_state_json(const char *name, const cJSON *json, weight_state *state, vise_error *err)
{
    const char *dtype = "float32", *nested_dtype = "float32";
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(json, "shape");
    VISE_TRY(vise_json_int(name, json, "blocksize", true, 32, 4096, &state->block, err));
    VISE_TRY(vise_json_text(name, json, "dtype", true, &dtype, err));
    state->nested = cJSON_GetObjectItemCaseSensitive(json, "nested_blocksize") != NULL;
    if (state->nested) {
        VISE_TRY(vise_json_int(name, json, "nested_blocksize", true, 1, 65536, &state->nested_block, err));
        VISE_TRY(vise_json_double(name, json, "nested_offset", true, -3e38, 3e38, &state->offset, err));
        VISE_TRY(vise_json_text(name, json, "nested_dtype", false, &nested_dtype, err));
    }
    state->dtype = strcmp(dtype, "float16") == 0    ? VISE_DTYPE_F16
                   : strcmp(dtype, "bfloat16") == 0 ? VISE_DTYPE_BF16
                                                    : VISE_DTYPE_F32;
    if (state->dtype == VISE_DTYPE_F32 && strcmp(dtype, "float32") != 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"dtype\" is \"%.50s\", not float32, float16 or bfloat16",
                         name, dtype);
    if (!cJSON_IsArray(shape) || cJSON_GetArraySize(shape) != 2)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: \"shape\" has not two dimensions", name);
    const double rows = cJSON_GetNumberValue(cJSON_GetArrayItem(shape, 0)),
                 cols = cJSON_GetNumberValue(cJSON_GetArrayItem(shape, 1));
    if (!(rows >= 1 && rows <= (double)INT32_MAX && cols >= 1 && cols <= (double)INT32_MAX) ||
        rows != floor(rows) || cols != floor(cols))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"shape\" holds no valid shape", name);
    state->rows = (int64_t)rows;
    state->cols = (int64_t)cols;
    if ((state->block & (state->block - 1)) != 0 ||
        (state->nested && state->nested_block != VISE_NESTED_BLOCK) || strcmp(nested_dtype, "float32") != 0)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: blocks of %" PRId64 " weights, or of %" PRId64
                         " scales as %.50s, are not supported",
                         name, state->block, state->nested_block, nested_dtype);
    return VISE_OK;
}

static vise_status read_state(const vise_source *source, size_t tensor, weight_state *state, vise_error *err)
{
    const vise_tensor_info *info = vise_source_tensor(source, tensor);
    char *text = NULL;
    cJSON *json = NULL;
    if (info->dtype != VISE_DTYPE_U8 || info->bytes > STATE_MAX)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: tensor \"%s\" is no JSON text in U8",
                         vise_source_path(source), info->name);
    VISE_TRY(vise_alloc((size_t)info->bytes + 1, (void **)&text, err));
    vise_status status = vise_source_read(source, tensor, 0, info->bytes, text, NULL, err);
    if (status == VISE_OK)
        status = vise_json_parse(info->name, text, (size_t)info->bytes, &json, err);
    if (status == VISE_OK)
        status = read_state_json(info->name, json, state, err);
    cJSON_Delete(json);
    vise_free(text);
    return status;
}

static vise_status check_blocks(const vise_source *source, vise_arena *arena, const weight_state *state,
                                vise_found *found, vise_error *err)
{
    size_t *parts = found->parts;
    const char *module = found->module;
    const uint64_t n = (uint64_t)state->rows * (uint64_t)state->cols;
    const uint64_t blocks = (n + (uint64_t)state->block - 1) / (uint64_t)state->block;
    VISE_TRY(vise_found_part(source, arena, module, ".weight", true, &parts[VISE_BNB_WEIGHT], err));
    VISE_TRY(vise_found_part(source, arena, module, ".weight.absmax", true, &parts[VISE_BNB_SCALE], err));
    VISE_TRY(vise_found_part(source, arena, module, ".weight.quant_map", true, &parts[VISE_BNB_MAP], err));
    const uint64_t bytes = vise_source_tensor(source, parts[VISE_BNB_WEIGHT])->bytes;
    if (bytes < (n + 1) / 2 || bytes > (n + 1) / 2 + 7) /* stored in elements of up to eight bytes */
        return vise_found_bad(source, module, ".weight", "its size does not fit the shape in its state", err);
    const vise_tensor_info *scale = vise_source_tensor(source, parts[VISE_BNB_SCALE]);
    if (scale->dtype != (state->nested ? VISE_DTYPE_U8 : VISE_DTYPE_F32) || scale->elements != blocks)
        return vise_found_bad(source, module, ".weight.absmax", "its dtype or size does not fit its state",
                              err);
    VISE_TRY(read_table(source, arena, found, parts[VISE_BNB_MAP], ".weight.quant_map",
                        found->scheme.type->codebook->values, 16, &found->table, err));
    if (!state->nested)
        return VISE_OK;
    VISE_TRY(
        vise_found_part(source, arena, module, ".weight.nested_absmax", true, &parts[VISE_BNB_NESTED], err));
    VISE_TRY(vise_found_part(source, arena, module, ".weight.nested_quant_map", true,
                             &parts[VISE_BNB_NESTED_MAP], err));
    const vise_tensor_info *nested = vise_source_tensor(source, parts[VISE_BNB_NESTED]);
    if (nested->dtype != VISE_DTYPE_F32 ||
        nested->elements != (blocks + VISE_NESTED_BLOCK - 1) / VISE_NESTED_BLOCK)
        return vise_found_bad(source, module, ".weight.nested_absmax", "is not F32 [a 256th of absmax]", err);
    return read_table(source, arena, found, parts[VISE_BNB_NESTED_MAP], ".weight.nested_quant_map",
                      vise_nested_map, 256, &found->nested_map, err);
}

static vise_status new_found(const vise_source *source, size_t tensor, const char *suffix, vise_arena *arena,
                             vise_found *found, vise_error *err)
{
    const char *name = vise_source_tensor(source, tensor)->name;
    *found = (vise_found){0};
    for (int i = 0; i < VISE_PARTS_MAX; i++)
        found->parts[i] = SIZE_MAX;
    return vise_arena_strdup(arena, name, strlen(name) - strlen(suffix), &found->module, err);
}

static vise_status add_blocks(const vise_source *source, size_t tensor, const char *suffix, vise_arena *arena,
                              vise_found_list *list, vise_error *err)
{
    vise_found found;
    weight_state state = {0};
    VISE_TRY(new_found(source, tensor, suffix, arena, &found, err));
    VISE_TRY(read_state(source, tensor, &state, err));
    found.parts[VISE_BNB_STATE] = tensor;
    found.scheme = (vise_scheme){
        .type = vise_codebook_type(vise_ends_with(suffix, "nf4") ? &vise_codebook_nf4 : &vise_codebook_fp4),
        .granularity = VISE_PER_FLAT,
        .group = state.block,
        .dq = state.nested,
    };
    found.rows = state.rows;
    found.cols = state.cols;
    found.dtype = state.dtype;
    found.scale_dtype = VISE_DTYPE_F32;
    found.offset = (float)state.offset;
    VISE_TRY(check_blocks(source, arena, &state, &found, err));
    return vise_found_add(list, &found, err);
}

static vise_status add_int8(const vise_source *source, size_t tensor, vise_arena *arena,
                            vise_found_list *list, vise_error *err)
{
    vise_found found;
    size_t *parts = found.parts;
    uint8_t format = 0;
    VISE_TRY(new_found(source, tensor, ".SCB", arena, &found, err));
    parts[VISE_BNB_SCALE] = tensor;
    VISE_TRY(vise_found_part(source, arena, found.module, ".weight", true, &parts[VISE_BNB_WEIGHT], err));
    VISE_TRY(
        vise_found_part(source, arena, found.module, ".weight_format", false, &parts[VISE_BNB_FORMAT], err));
    const vise_tensor_info *weight = vise_source_tensor(source, parts[VISE_BNB_WEIGHT]),
                           *scale = vise_source_tensor(source, tensor);
    if (weight->dtype != VISE_DTYPE_I8 || weight->ndim != 2 || weight->elements == 0)
        return vise_found_bad(source, found.module, ".weight", "is not I8 [rows, columns]", err);
    if (scale->dtype != VISE_DTYPE_F32 || scale->elements != (uint64_t)weight->shape[0])
        return vise_found_bad(source, found.module, ".SCB", "is not F32 [rows]", err);
    if (parts[VISE_BNB_FORMAT] != SIZE_MAX) {
        const vise_tensor_info *info = vise_source_tensor(source, parts[VISE_BNB_FORMAT]);
        if (info->dtype != VISE_DTYPE_U8 || info->elements != 1)
            return vise_found_bad(source, found.module, ".weight_format", "is not one U8", err);
        VISE_TRY(vise_source_read(source, parts[VISE_BNB_FORMAT], 0, 1, &format, NULL, err));
    }
    if (format != 0)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s: %s is stored in a tiled form of old bitsandbytes (weight_format %d), which is not "
            "supported; rows (0) are",
            vise_source_path(source), found.module, format);
    found.scheme = (vise_scheme){.type = vise_codebook_type(&vise_codebook_llm_int8), .granularity = VISE_PER_CHANNEL};
    found.rows = weight->shape[0];
    found.cols = weight->shape[1];
    found.scale_dtype = VISE_DTYPE_F32;
    found.dtype = vise_config_dtype(source, VISE_DTYPE_F16);
    return vise_found_add(list, &found, err);
}

static vise_status scan(const vise_source *source, vise_arena *arena, vise_found_list *list, vise_error *err)
{
    static const char *const states[] = {".weight.quant_state.bitsandbytes__nf4",
                                         ".weight.quant_state.bitsandbytes__fp4"};
    for (size_t i = 0; i < vise_source_count(source); i++) {
        const char *name = vise_source_tensor(source, i)->name;
        for (size_t s = 0; s < 2; s++)
            if (vise_ends_with(name, states[s]))
                VISE_TRY(add_blocks(source, i, states[s], arena, list, err));
        if (vise_ends_with(name, ".SCB"))
            VISE_TRY(add_int8(source, i, arena, list, err));
    }
    return VISE_OK;
}

vise_status vise_bnb_find(const vise_source *source, vise_arena *arena, vise_found **found, size_t *n,
                          vise_error *err)
{
    vise_found_list list = {0};
    return vise_found_take(&list, scan(source, arena, &list, err), arena, found, n, err);
}
