/* gptq and gptq-v2: their configuration written, and quantized weights found by it. */
#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/version.h"
#include "formats/layout_internal.h"
#include "formats/names.h"
#include "formats/safetensors.h"

/* ---- written ------------------------------------------------------------------------------------------- */

static void put_scheme(vise_json_writer *w, const vise_scheme *scheme)
{
    vise_json_key(w, "bits");
    vise_json_put_int(w, scheme->type->bits);
    vise_json_key(w, "group_size");
    vise_json_put_int(w, scheme->granularity == VISE_PER_GROUP ? scheme->group : -1);
    vise_json_key(w, "sym");
    vise_json_put_bool(w, !scheme->asym);
}

/* The key of "dynamic" for one module: a Python regular expression with a sign in front. */
static void put_pattern(vise_json_writer *w, const char *sign, const char *module, vise_buf *text)
{
    vise_buf_clear(text);
    vise_buf_addf(text, "%s^", sign);
    for (const char *c = module; *c; c++) {
        if (*c == '.')
            vise_buf_add_char(text, '\\');
        vise_buf_add_char(text, *c);
    }
    vise_buf_add_char(text, '$');
    vise_json_key(w, text->data);
}

/* The scheme that most weights have; the others are said one by one. */
static const vise_scheme *common_scheme(const vise_spelling *weights, size_t n)
{
    const vise_scheme *common = NULL;
    size_t most = 0;
    for (size_t i = 0; i < n; i++) {
        size_t count = 0;
        if (!weights[i].scheme.type || (common && vise_scheme_equal(common, &weights[i].scheme)))
            continue;
        for (size_t j = i; j < n; j++)
            count += weights[j].scheme.type && vise_scheme_equal(&weights[i].scheme, &weights[j].scheme);
        if (count > most) {
            most = count;
            common = &weights[i].scheme;
        }
    }
    return common;
}

static bool differs(const vise_spelling *weight, const vise_scheme *common)
{
    return weight->scheme.type ? !vise_scheme_equal(&weight->scheme, common)
                               : weight->is_linear && strcmp(weight->module, "lm_head") != 0;
}

static void put_dynamic(vise_json_writer *w, const vise_spelling *weights, size_t n,
                        const vise_scheme *common, vise_buf *text)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (!differs(&weights[i], common))
            continue;
        if (!any) {
            vise_json_key(w, "dynamic");
            vise_json_object(w);
        }
        any = true;
        put_pattern(w, weights[i].scheme.type ? "+:" : "-:", weights[i].module, text);
        vise_json_object(w);
        if (weights[i].scheme.type)
            put_scheme(w, &weights[i].scheme);
        vise_json_object_end(w);
    }
    if (any)
        vise_json_object_end(w);
}

static vise_status put_config(const vise_spelling *weights, size_t n, const char *format, vise_buf *buf,
                              vise_error *err)
{
    const vise_scheme *common = common_scheme(weights, n);
    if (!common) {
        vise_buf_add_text(buf, "null");
        return vise_buf_check(buf, "quantization_config", err);
    }
    bool head = false, act_order = false;
    for (size_t i = 0; i < n; i++) {
        head = head || (weights[i].scheme.type && strcmp(weights[i].module, "lm_head") == 0);
        act_order = act_order || weights[i].group_of;
    }
    vise_json_writer w;
    vise_buf text;
    char tool[64];
    (void)snprintf(tool, sizeof tool, "vise:%s", vise_version());
    vise_buf_init(&text, 1 << 16);
    vise_json_begin(&w, buf, 0);
    vise_json_object(&w);
    vise_json_key(&w, "quant_method");
    vise_json_put_text(&w, "gptq");
    put_scheme(&w, common);
    vise_json_key(&w, "desc_act");
    vise_json_put_bool(&w, act_order);
    vise_json_key(&w, "lm_head");
    vise_json_put_bool(&w, head);
    vise_json_key(&w, "checkpoint_format");
    vise_json_put_text(&w, format);
    vise_json_key(&w, "format");
    vise_json_put_text(&w, format);
    vise_json_key(&w, "pack_dtype");
    vise_json_put_text(&w, "int32");
    put_dynamic(&w, weights, n, common, &text);
    vise_json_key(&w, "meta");
    vise_json_object(&w);
    vise_json_key(&w, "quantizer");
    vise_json_array(&w);
    vise_json_put_text(&w, tool);
    vise_json_array_end(&w);
    vise_json_object_end(&w);
    vise_json_object_end(&w);
    vise_status status = vise_buf_check(&text, "quantization_config", err);
    vise_buf_deinit(&text);
    return status != VISE_OK ? status : vise_buf_check(buf, "quantization_config", err);
}

vise_status vise_gptq_v1_config(const vise_spelling *weights, size_t n, vise_buf *buf, vise_error *err)
{
    return put_config(weights, n, "gptq", buf, err);
}

vise_status vise_gptq_v2_config(const vise_spelling *weights, size_t n, vise_buf *buf, vise_error *err)
{
    return put_config(weights, n, "gptq_v2", buf, err);
}

/* ---- recognised ---------------------------------------------------------------------------------------- */

/* auto-round tells its packing by a name of its own: "auto_round" alone stores zero points as they are. */
static bool is_plain_auto_round(const cJSON *config)
{
    return vise_config_is_method(config, "auto_round") &&
           strcmp(vise_config_text(config, "packing_format"), "auto_round") == 0 &&
           strcmp(vise_config_text(config, "data_type"), "int") == 0;
}

static bool is_gptq(const cJSON *config)
{
    return vise_config_is_method(config, "gptq") || is_plain_auto_round(config);
}

static const char *checkpoint_format(const cJSON *config)
{
    if (!vise_starts_with(vise_config_text(config, "quant_method"), "gptq"))
        return is_plain_auto_round(config) ? "gptq_v2" : "gptq";
    const char *format = vise_config_text(config, "checkpoint_format");
    return *format                               ? format
           : *vise_config_text(config, "format") ? vise_config_text(config, "format")
                                                 : "gptq";
}

bool vise_gptq_v2_recognise(const vise_source *source)
{
    const cJSON *config = vise_quantization_config(source);
    return is_gptq(config) && strcmp(checkpoint_format(config), "gptq_v2") == 0;
}

bool vise_gptq_v1_recognise(const vise_source *source)
{
    const cJSON *config = vise_quantization_config(source);
    return is_gptq(config) && strcmp(checkpoint_format(config), "gptq_v2") != 0;
}

/* ---- found --------------------------------------------------------------------------------------------- */

/* What the config says of the symmetry of a module: of its own entry in "dynamic", else of all. */
static vise_status symmetry_of(const char *path, const cJSON *config, const char *module, bool *sym,
                               vise_error *err)
{
    const cJSON *dynamic = cJSON_GetObjectItemCaseSensitive(config, "dynamic"), *entry;
    *sym = true;
    VISE_TRY(vise_json_bool(path, config, "sym", false, sym, err));
    cJSON_ArrayForEach(entry, dynamic)
    {
        const cJSON *own = cJSON_GetObjectItemCaseSensitive(entry, "sym");
        if (!cJSON_IsBool(own))
            continue;
        vise_buf posix;
        regex_t regex;
        const char *pattern = entry->string + (vise_starts_with(entry->string, "+:") ? 2 : 0);
        vise_buf_init(&posix, 1 << 16);
        bool known = vise_ct_translate(pattern, &posix) && vise_buf_check(&posix, path, err) == VISE_OK &&
                     regcomp(&regex, posix.data, REG_EXTENDED | REG_NOSUB) == 0;
        vise_buf_deinit(&posix);
        if (!known)
            return VISE_FAIL(
                err, VISE_EUNSUPPORTED,
                "%s: quantization_config: \"dynamic\": \"%.200s\" uses regular expressions beyond what is "
                "supported",
                path, entry->string);
        char among[VISE_MODULE_TEXT];
        vise_module_among_others(module, among);
        bool matches = regexec(&regex, module, 0, NULL, 0) == 0 || regexec(&regex, among, 0, NULL, 0) == 0;
        regfree(&regex);
        if (matches) {
            *sym = cJSON_IsTrue(own);
            return VISE_OK;
        }
    }
    return VISE_OK;
}

static vise_status add_weight(const vise_source *source, const cJSON *config, int64_t bits, size_t tensor,
                              vise_arena *arena, vise_found_list *list, vise_error *err)
{
    const vise_tensor_info *info = vise_source_tensor(source, tensor);
    vise_found found = {.variant =
                            strcmp(checkpoint_format(config), "gptq_v2") == 0 ? VISE_GPTQ_V2 : VISE_GPTQ_V1};
    size_t *parts = found.parts;
    for (int i = 0; i < VISE_PARTS_MAX; i++)
        parts[i] = SIZE_MAX;
    parts[VISE_GPTQ_WEIGHT] = tensor;
    VISE_TRY(
        vise_arena_strdup(arena, info->name, strlen(info->name) - strlen(".qweight"), &found.module, err));
    VISE_TRY(vise_found_part(source, arena, found.module, ".qzeros", true, &parts[VISE_GPTQ_ZERO], err));
    VISE_TRY(vise_found_part(source, arena, found.module, ".scales", true, &parts[VISE_GPTQ_SCALE], err));
    VISE_TRY(vise_found_part(source, arena, found.module, ".g_idx", false, &parts[VISE_GPTQ_G_IDX], err));
    const vise_tensor_info *zero = vise_source_tensor(source, parts[VISE_GPTQ_ZERO]),
                           *scale = vise_source_tensor(source, parts[VISE_GPTQ_SCALE]);
    const vise_dtype_traits *traits = vise_dtype_of(scale->dtype);
    if (info->dtype != VISE_DTYPE_I32 || info->ndim != 2 || info->elements == 0 || info->shape[0] > INT32_MAX)
        return vise_found_bad(source, found.module, ".qweight", "is not I32 [words, rows]", err);
    /* "dynamic" may give a module bits of its own: its index, one entry a column, tells. */
    if (parts[VISE_GPTQ_G_IDX] != SIZE_MAX) {
        uint64_t cols = vise_source_tensor(source, parts[VISE_GPTQ_G_IDX])->elements,
                 all = (uint64_t)info->shape[0] * 32;
        if (cols == 0 || all % cols != 0)
            return vise_found_bad(source, found.module, ".g_idx",
                                  "does not fit the number of words of qweight", err);
        bits = (int64_t)(all / cols);
    }
    found.scheme.type = vise_int_type(bits);
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: %s has weights of %" PRId64 " bits; gptq is read with 2, 3, 4 and 8",
                         vise_source_path(source), found.module, bits);
    found.rows = info->shape[1];
    found.cols = info->shape[0] * 32 / bits;
    found.dtype = scale->dtype;
    if (found.rows * bits % 32 != 0 || info->shape[0] * 32 % bits != 0)
        return vise_found_bad(source, found.module, ".qweight",
                              "its shape does not fit the bits of its codes", err);
    if (!traits->is_float || !traits->to_f32 || scale->ndim != 2 || scale->shape[1] != found.rows ||
        scale->shape[0] < 1 || found.cols % scale->shape[0] != 0)
        return vise_found_bad(source, found.module, ".scales", "are no floats [groups, rows]", err);
    if (zero->dtype != VISE_DTYPE_I32 || zero->ndim != 2 || zero->shape[0] != scale->shape[0] ||
        zero->shape[1] != found.rows * bits / 32)
        return vise_found_bad(source, found.module, ".qzeros",
                              "is not I32 [groups, words] for the rows of qweight", err);
    VISE_TRY(vise_found_groups(source, scale->shape[0], &found, err));
    bool sym;
    VISE_TRY(symmetry_of(vise_source_config_path(source), config, found.module, &sym, err));
    found.scheme.asym = !sym;
    if (parts[VISE_GPTQ_G_IDX] != SIZE_MAX)
        VISE_TRY(vise_found_g_idx(source, arena, &found, VISE_GPTQ_G_IDX, ".g_idx", scale->shape[0], err));
    return vise_found_add(list, &found, err);
}

static vise_status scan(const vise_source *source, vise_arena *arena, vise_found_list *list, vise_error *err)
{
    const cJSON *config = vise_quantization_config(source);
    const char *path = vise_source_config_path(source), *format = checkpoint_format(config);
    int64_t bits = 4;
    VISE_TRY(vise_json_int(path, config, "bits", true, 1, 64, &bits, err));
    if (strcmp(format, "gptq") != 0 && strcmp(format, "gptq_v2") != 0)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s: quantization_config: checkpoint_format \"%.50s\" is not supported; gptq and gptq_v2 are",
            path, format);
    if (*vise_config_text(config, "pack_dtype") &&
        strcmp(vise_config_text(config, "pack_dtype"), "int32") != 0)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: quantization_config: pack_dtype \"%.50s\" is not supported; int32 is", path,
                         vise_config_text(config, "pack_dtype"));
    for (size_t i = 0; i < vise_source_count(source); i++)
        if (vise_ends_with(vise_source_tensor(source, i)->name, ".qweight"))
            VISE_TRY(add_weight(source, config, bits, i, arena, list, err));
    return VISE_OK;
}

vise_status vise_gptq_find(const vise_source *source, vise_arena *arena, vise_found **found, size_t *n,
                           vise_error *err)
{
    vise_found_list list = {0};
    return vise_found_take(&list, scan(source, arena, &list, err), arena, found, n, err);
}
