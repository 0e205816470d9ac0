/* compressed-tensors: "quantization_config" written. Keys are kept to those that every loader of the format
 * takes: its older ones refuse a config with a key that they do not know. */
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "core/mem.h"
#include "formats/layout_internal.h"

/* The library whose form is written: dense packing of 3, 5, 6 and 7 bits came in May 2026. */
#define FORMAT_VERSION "0.19.0"

static const char *format_of(const vise_scheme *scheme)
{
    const vise_codebook *codebook = scheme->type->codebook;
    switch (vise_ct_form_of(scheme)) {
    case VISE_CT_PACKED_INTEGERS:
        return "pack-quantized";
    case VISE_CT_INTEGERS:
        return "int-quantized";
    case VISE_CT_FLOAT4:
        return codebook == &vise_codebook_nvfp4 ? "nvfp4-pack-quantized" : "mxfp4-pack-quantized";
    default:
        return codebook == &vise_codebook_mxfp8 ? "mxfp8-quantized"
               : scheme->activation             ? "float-quantized"
                                                : "naive-quantized";
    }
}

/* Where a group says none, the library infers a format; not this one for integers with float activations. */
static bool is_inferred_otherwise(const vise_scheme *scheme)
{
    return scheme->activation && vise_ct_form_of(scheme) == VISE_CT_PACKED_INTEGERS;
}

/* What weights and inputs have in common. */
static void put_type(vise_json_writer *w, int bits, const vise_codebook *codebook, bool symmetric, const char *strategy,
                     int64_t group)
{
    vise_json_key(w, "num_bits");
    vise_json_put_int(w, bits);
    vise_json_key(w, "type");
    vise_json_put_text(w, codebook ? "float" : "int");
    vise_json_key(w, "symmetric");
    vise_json_put_bool(w, symmetric);
    vise_json_key(w, "strategy");
    vise_json_put_text(w, codebook == &vise_codebook_nvfp4 ? "tensor_group" : strategy);
    if (group > 0) {
        vise_json_key(w, "group_size");
        vise_json_put_int(w, group);
    }
    if (codebook && codebook->scale_bits) {
        const char *dtype = codebook == &vise_codebook_nvfp4 ? "torch.float8_e4m3fn" : "torch.uint8";
        vise_json_key(w, "scale_dtype");
        vise_json_put_text(w, dtype);
        vise_json_key(w, "zp_dtype");
        vise_json_put_text(w, dtype);
    }
}

static void put_weights(vise_json_writer *w, const vise_scheme *scheme)
{
    static const char *const strategies[] = {[VISE_PER_TENSOR] = "tensor",
                                             [VISE_PER_CHANNEL] = "channel",
                                             [VISE_PER_GROUP] = "group",
                                             [VISE_PER_BLOCK] = "block"};
    vise_json_key(w, "weights");
    vise_json_object(w);
    put_type(w, scheme->type->bits, scheme->type->codebook, !scheme->asym, strategies[scheme->granularity],
             scheme->granularity == VISE_PER_GROUP ? scheme->group : 0);
    if (scheme->granularity == VISE_PER_BLOCK) {
        vise_json_key(w, "block_structure");
        vise_json_array(w);
        vise_json_put_int(w, scheme->group_rows);
        vise_json_put_int(w, scheme->group);
        vise_json_array_end(w);
    }
    vise_json_key(w, "dynamic");
    vise_json_put_bool(w, false);
    vise_json_object_end(w);
}

static void put_activations(vise_json_writer *w, const vise_scheme *scheme)
{
    static const char *const strategies[] = {
        [VISE_PER_TENSOR] = "tensor", [VISE_PER_CHANNEL] = "token", [VISE_PER_GROUP] = "group"};
    const vise_activation_type *type = vise_activation_type_find(scheme->activation);
    vise_json_key(w, "input_activations");
    if (!type) {
        vise_json_put_null(w);
        return;
    }
    vise_json_object(w);
    put_type(w, type->bits, type->codebook, true, strategies[type->granularity], type->group);
    vise_json_key(w, "dynamic");
    if (type->codebook == &vise_codebook_nvfp4)
        vise_json_put_text(w, "local");
    else
        vise_json_put_bool(w, !type->calibrated);
    vise_json_object_end(w);
}

/* A quantized key-value cache has scales beside each attention. */
static const vise_cache_type *cache_of(const vise_spelling *weights, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (weights[i].cache)
            return weights[i].cache;
    return NULL;
}

static void put_kv_cache(vise_json_writer *w, const vise_spelling *weights, size_t n)
{
    const vise_cache_type *cache = cache_of(weights, n);
    vise_json_key(w, "kv_cache_scheme");
    if (!cache) {
        vise_json_put_null(w);
        return;
    }
    vise_json_object(w);
    const vise_activation_type *values = vise_cache_values(cache);
    put_type(w, values->bits, values->codebook, true, cache->by_head ? "attn_head" : "tensor", 0);
    vise_json_key(w, "dynamic");
    vise_json_put_bool(w, false);
    vise_json_object_end(w);
}

/* What the distinct schemes of the weights are, in order of appearance. */
typedef struct scheme_list {
    vise_scheme *schemes;
    size_t n, capacity;
    bool mixed_formats; /* more than one */
    bool only_linears;  /* nothing but Linears is quantized */
} scheme_list;

static vise_status list_schemes(const vise_spelling *weights, size_t n, scheme_list *list, vise_error *err)
{
    *list = (scheme_list){.only_linears = true};
    for (size_t i = 0; i < n; i++) {
        const vise_scheme *scheme = &weights[i].scheme;
        if (!scheme->type)
            continue;
        list->only_linears = list->only_linears && weights[i].is_linear;
        size_t found = 0;
        while (found < list->n && !vise_scheme_equal(&list->schemes[found], scheme))
            found++;
        if (found < list->n)
            continue;
        void *grown = list->schemes;
        VISE_TRY(vise_grow(&grown, &list->capacity, list->n + 1, sizeof *list->schemes, err));
        list->schemes = grown;
        list->schemes[list->n++] = *scheme;
        list->mixed_formats =
            list->mixed_formats || strcmp(format_of(scheme), format_of(&list->schemes[0])) != 0;
    }
    return VISE_OK;
}

/* The class where one scheme covers every quantized Linear (the rest is on the list of what to ignore), else
 * names. */
static void put_targets(vise_json_writer *w, const vise_spelling *weights, size_t n, const scheme_list *list,
                        const vise_scheme *scheme)
{
    vise_json_key(w, "targets");
    vise_json_array(w);
    if (list->n == 1 && list->only_linears)
        vise_json_put_text(w, "Linear");
    else
        for (size_t i = 0; i < n; i++)
            if (weights[i].scheme.type && vise_scheme_equal(&weights[i].scheme, scheme))
                vise_json_put_text(w, weights[i].module);
    vise_json_array_end(w);
}

vise_status vise_ct_config(const vise_spelling *weights, size_t n, vise_buf *buf, vise_error *err)
{
    vise_status status = VISE_OK;
    scheme_list list;
    VISE_TRY_TO(done, list_schemes(weights, n, &list, err));
    if (list.n == 0 && !cache_of(weights, n)) {
        vise_buf_add_text(buf, "null");
        goto done;
    }
    vise_json_writer w;
    vise_json_begin(&w, buf, 0);
    vise_json_object(&w);
    vise_json_key(&w, "quant_method");
    vise_json_put_text(&w, "compressed-tensors");
    vise_json_key(&w, "version");
    vise_json_put_text(&w, FORMAT_VERSION);
    vise_json_key(&w, "format");
    vise_json_put_text(&w, list.n == 0          ? "dense"
                           : list.mixed_formats ? "mixed-precision"
                                                : format_of(&list.schemes[0]));
    vise_json_key(&w, "quantization_status");
    vise_json_put_text(&w, "compressed");
    vise_json_key(&w, "global_compression_ratio");
    vise_json_put_null(&w);
    put_kv_cache(&w, weights, n);
    vise_json_key(&w, "ignore");
    vise_json_array(&w);
    for (size_t i = 0; i < n; i++)
        if (weights[i].is_linear && !weights[i].scheme.type)
            vise_put_left_alone(&w, weights[i].module);
    vise_json_array_end(&w);
    vise_json_key(&w, "config_groups");
    vise_json_object(&w);
    for (size_t i = 0; i < list.n; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "group_%zu", i);
        vise_json_key(&w, name);
        vise_json_object(&w);
        put_targets(&w, weights, n, &list, &list.schemes[i]);
        put_weights(&w, &list.schemes[i]);
        put_activations(&w, &list.schemes[i]);
        vise_json_key(&w, "output_activations");
        vise_json_put_null(&w);
        if (list.mixed_formats || is_inferred_otherwise(&list.schemes[i])) {
            vise_json_key(&w, "format");
            vise_json_put_text(&w, format_of(&list.schemes[i]));
        }
        vise_json_object_end(&w);
    }
    vise_json_object_end(&w);
    vise_json_object_end(&w);
done:
    vise_free(list.schemes);
    return status != VISE_OK ? status : vise_buf_check(buf, "quantization_config", err);
}
