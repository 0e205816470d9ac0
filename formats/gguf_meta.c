#include "formats/gguf_meta.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/event.h"
#include "core/file.h"
#include "core/json.h"
#include "formats/gguf_config.h"
#include "formats/names.h"

#define JSON_MAX             ((size_t)16 << 20)
#define QUANTIZATION_VERSION 2
#define FILE_TYPE_KEY        "general.file_type"
#define VERSION_KEY          "general.quantization_version"

static const struct {
    vise_gguf_row row;
    uint32_t file_type;
} file_types[] = {
    {VISE_GGUF_F32, 0},     {VISE_GGUF_F16, 1},     {VISE_GGUF_Q4_0, 2},  {VISE_GGUF_Q4_1, 3},
    {VISE_GGUF_Q8_0, 7},    {VISE_GGUF_Q5_0, 8},    {VISE_GGUF_Q5_1, 9},  {VISE_GGUF_Q2_K, 10},
    {VISE_GGUF_Q3_K, 12},   {VISE_GGUF_Q4_K, 15},   {VISE_GGUF_Q5_K, 17}, {VISE_GGUF_Q6_K, 18},
    {VISE_GGUF_IQ4_NL, 25}, {VISE_GGUF_IQ4_XS, 30}, {VISE_GGUF_BF16, 32}, {VISE_GGUF_TQ1_0, 36},
    {VISE_GGUF_TQ2_0, 37},  {VISE_GGUF_MXFP4, 38},  {VISE_GGUF_Q1_0, 40},
};

uint32_t vise_gguf_file_type(const vise_gguf_type *type)
{
    for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
        if (&vise_gguf_table[file_types[i].row] == type)
            return file_types[i].file_type;
    return 0;
}

/* ---- the family ---------------------------------------------------------------------------------------- */

vise_status vise_gguf_family_of_source(const vise_source *source, const vise_gguf_family **family,
                                       vise_error *err)
{
    const vise_gguf *gguf = vise_source_gguf(source);
    const cJSON *config = vise_source_config(source);
    const char *path = vise_source_config_path(source), *name = NULL, *why;
    *family = NULL;
    if (gguf != NULL) {
        VISE_TRY(vise_gguf_get_text(gguf, "general.architecture", true, &name, err));
        *family = vise_gguf_family_of_file(gguf, &why);
        return VISE_OK;
    }
    if (config == NULL)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: layout gguf needs config.json beside the weights",
                         vise_source_path(source));
    VISE_TRY(vise_json_text(path, config, "model_type", true, &name, err));
    *family = vise_gguf_family_of_model(name);
    if (*family == NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: layout gguf has no table of names for model_type \"%.50s\"; llama.cpp does not know "
                         "it, or vise does not; other layouts need none",
                         path, name);
    return VISE_OK;
}

const cJSON *vise_gguf_text_config(const vise_source *source)
{
    const cJSON *config = vise_source_config(source), *text = cJSON_GetObjectItemCaseSensitive(config, "text_config");
    return cJSON_IsObject(text) ? text : config;
}

/* ---- the network --------------------------------------------------------------------------------------- */

typedef struct describing {
    const vise_source *source;
    const cJSON *config; /* of the text */
    const char *path;
    const vise_gguf_family *family;
    const vise_gguf_facts *facts;
    vise_gguf_values *values;
    char key[80];
} describing;

static const char *key_of(describing *d, const char *rest)
{
    snprintf(d->key, sizeof d->key, "%s.%s", d->family->architecture, rest);
    return d->key;
}

static void put_int(describing *d, const char *key, int64_t number)
{
    vise_gguf_put_u32(d->values, key_of(d, key), (uint32_t)number);
}

static void put_float(describing *d, const char *key, double number)
{
    vise_gguf_put_f32(d->values, key_of(d, key), (float)number);
}

/* Where config.json tells how rotary positions are scaled: transformers 5, or 4; NULL: nowhere. Gemma 3's layers of
 * full attention have an object of their own. */
static const cJSON *rope_of(const cJSON *config)
{
    const cJSON *rope = cJSON_GetObjectItemCaseSensitive(config, "rope_parameters");
    if (!cJSON_IsObject(rope))
        rope = cJSON_GetObjectItemCaseSensitive(config, "rope_scaling");
    const cJSON *full = cJSON_GetObjectItemCaseSensitive(rope, "full_attention");
    return cJSON_IsObject(full) ? full : cJSON_IsObject(rope) ? rope : NULL;
}

static void put_rope_number(describing *d, const cJSON *rope, const char *hf, const char *other, const char *gguf)
{
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(rope, hf);
    if (!cJSON_IsNumber(number) && other != NULL)
        number = cJSON_GetObjectItemCaseSensitive(rope, other);
    if (cJSON_IsNumber(number))
        put_float(d, gguf, number->valuedouble);
}

static void put_rope_scaling(describing *d)
{
    const cJSON *rope = rope_of(d->config), *type = cJSON_GetObjectItemCaseSensitive(rope, "rope_type");
    if (!cJSON_IsString(type))
        type = cJSON_GetObjectItemCaseSensitive(rope, "type");
    const char *kind = cJSON_IsString(type) ? type->valuestring : "";
    const bool has_factor = cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(rope, "factor"));
    if (strcmp(kind, "longrope") == 0 || strcmp(kind, "su") == 0)
        vise_gguf_put_text(d->values, key_of(d, "rope.scaling.type"), "longrope");
    if (!has_factor || (strcmp(kind, "linear") != 0 && strcmp(kind, "yarn") != 0))
        return;
    vise_gguf_put_text(d->values, key_of(d, "rope.scaling.type"), kind);
    put_rope_number(d, rope, "factor", NULL, "rope.scaling.factor");
    if (strcmp(kind, "yarn") != 0)
        return;
    put_int(d, "rope.scaling.original_context_length", d->facts->network.original_context);
    put_rope_number(d, rope, "extrapolation_factor", NULL, "rope.scaling.yarn_ext_factor");
    put_rope_number(d, rope, "attention_factor", "attn_factor", "rope.scaling.yarn_attn_factor");
    put_rope_number(d, rope, "beta_fast", NULL, "rope.scaling.yarn_beta_fast");
    put_rope_number(d, rope, "beta_slow", NULL, "rope.scaling.yarn_beta_slow");
}

/* How many frequencies turn by the time, the height and the width of what stands at a position; four numbers. */
static void put_rope_sections(describing *d)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(rope_of(d->config), "mrope_section");
    int32_t sections[4] = {0};
    if (!cJSON_IsArray(list))
        return;
    for (int i = 0; i < 4; i++) {
        const cJSON *n = cJSON_GetArrayItem(list, i);
        sections[i] = cJSON_IsNumber(n) ? n->valueint : 0;
    }
    vise_gguf_put_array(d->values, key_of(d, "rope.dimension_sections"), VISE_GGUF_KIND_I32, 4, sections);
}

/* The pooling of sentence-transformers: modules.json names the folder of its own configuration. */
static vise_status put_pooling(describing *d, vise_error *err)
{
    static const struct {
        const char *flag, *mode;
        uint32_t type;
    } kinds[] = {{"pooling_mode_mean_tokens", "mean", 1},
                 {"pooling_mode_cls_token", "cls", 2},
                 {"pooling_mode_lasttoken", "lasttoken", 3}};
    char *path = NULL, *folder = NULL, *config_path = NULL;
    cJSON *modules = NULL, *pooling = NULL;
    const cJSON *module, *place = NULL;
    vise_status status = VISE_OK;
    VISE_TRY(vise_path_join(vise_source_path(d->source), "modules.json", &path, err));
    if (!vise_source_is_folder(d->source) || !vise_path_exists(path))
        goto done;
    VISE_TRY_TO(done, vise_json_load(path, JSON_MAX, &modules, err));
    cJSON_ArrayForEach(module, modules)
    {
        const cJSON *type = cJSON_GetObjectItemCaseSensitive(module, "type");
        if (place == NULL && cJSON_IsString(type) && vise_ends_with(type->valuestring, "Pooling"))
            place = cJSON_GetObjectItemCaseSensitive(module, "path");
    }
    if (!cJSON_IsString(place))
        goto done;
    if (strstr(place->valuestring, "..") != NULL || place->valuestring[0] == '/')
        VISE_TRY_TO(done, VISE_FAIL(err, VISE_EFORMAT, "%s: a path leads out of the folder", path));
    VISE_TRY_TO(done, vise_path_join(vise_source_path(d->source), place->valuestring, &folder, err));
    VISE_TRY_TO(done, vise_path_join(folder, "config.json", &config_path, err));
    VISE_TRY_TO(done, vise_json_load(config_path, JSON_MAX, &pooling, err));
    const cJSON *mode = cJSON_GetObjectItemCaseSensitive(pooling, "pooling_mode");
    for (int by_mode = 0; by_mode < 2; by_mode++)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            if (by_mode ? cJSON_IsString(mode) && strcmp(mode->valuestring, kinds[i].mode) == 0
                        : cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(pooling, kinds[i].flag))) {
                vise_gguf_put_u32(d->values, key_of(d, "pooling_type"), kinds[i].type);
                goto done;
            }
    vise_warn("%s: llama.cpp knows no such pooling; the file says none", config_path);
done:
    cJSON_Delete(pooling);
    cJSON_Delete(modules);
    vise_free(config_path);
    vise_free(folder);
    vise_free(path);
    return status;
}

vise_status vise_gguf_labels(const vise_source *source, const char ***labels, size_t *n, vise_error *err)
{
    const cJSON *item, *table = cJSON_GetObjectItemCaseSensitive(vise_source_config(source), "id2label");
    const size_t count = (size_t)cJSON_GetArraySize(table);
    void *block;
    *labels = NULL;
    *n = 0;
    if (!cJSON_IsObject(table) || count == 0)
        return VISE_OK;
    VISE_TRY(vise_calloc(count, sizeof **labels, &block, err));
    const char **texts = block;
    cJSON_ArrayForEach(item, table)
    {
        char *end;
        const unsigned long at = strtoul(item->string, &end, 10);
        if (*end != '\0' || at >= count || texts[at] != NULL || !cJSON_IsString(item)) {
            vise_free(block);
            return VISE_FAIL(err, VISE_EFORMAT, "%s: id2label must name the labels 0 to %zu, each once",
                             vise_source_config_path(source), count - 1);
        }
        texts[at] = item->valuestring;
    }
    if (count == 2 && strcmp(texts[0], "LABEL_0") == 0) {
        vise_free(block);
        return VISE_OK;
    }
    *labels = texts;
    *n = count;
    return VISE_OK;
}

static vise_status put_labels(describing *d, vise_error *err)
{
    const char **labels;
    size_t n;
    VISE_TRY(vise_gguf_labels(d->source, &labels, &n, err));
    if (n > 0)
        vise_gguf_put_array(d->values, key_of(d, "classifier.output_labels"), VISE_GGUF_KIND_TEXT, n, NULL);
    for (size_t i = 0; i < n; i++)
        vise_gguf_add_text(d->values, labels[i], strlen(labels[i]));
    vise_free(labels);
    return VISE_OK;
}

static const struct {
    vise_gguf_key key;
    const char *name;
    size_t offset; /* in vise_gguf_network, of an int64_t */
    bool even_zero;
} ints[] = {
    {VISE_GGUF_KEY_BLOCKS, "block_count", offsetof(vise_gguf_network, layers), true},
    {VISE_GGUF_KEY_CONTEXT, "context_length", offsetof(vise_gguf_network, context), false},
    {VISE_GGUF_KEY_EMBEDDING, "embedding_length", offsetof(vise_gguf_network, hidden), true},
    {VISE_GGUF_KEY_FFN, "feed_forward_length", offsetof(vise_gguf_network, ffn), true},
    {VISE_GGUF_KEY_HEADS, "attention.head_count", offsetof(vise_gguf_network, heads), true},
    {VISE_GGUF_KEY_KV_HEADS, "attention.head_count_kv", offsetof(vise_gguf_network, kv_heads), true},
    {VISE_GGUF_KEY_EXPERTS, "expert_count", offsetof(vise_gguf_network, experts), false},
    {VISE_GGUF_KEY_EXPERTS_USED, "expert_used_count", offsetof(vise_gguf_network, experts_used), false},
    {VISE_GGUF_KEY_VOCAB, "vocab_size", offsetof(vise_gguf_network, vocab), true},
    {VISE_GGUF_KEY_ROPE_DIM, "rope.dimension_count", offsetof(vise_gguf_network, rotary), true},
    {VISE_GGUF_KEY_ROPE_CONTEXT, "rope.scaling.original_context_length",
     offsetof(vise_gguf_network, original_context), true},
    {VISE_GGUF_KEY_EXPERT_FFN, "expert_feed_forward_length", offsetof(vise_gguf_network, expert_ffn), false},
    {VISE_GGUF_KEY_SHARED_FFN, "expert_shared_feed_forward_length", offsetof(vise_gguf_network, shared_ffn),
     false},
    {VISE_GGUF_KEY_WINDOW, "attention.sliding_window", offsetof(vise_gguf_network, window), false},
    {VISE_GGUF_KEY_WINDOW_OR_ZERO, "attention.sliding_window", offsetof(vise_gguf_network, window), true},
};

static const struct {
    vise_gguf_key key;
    const char *name;
    size_t offset; /* of a double; zero: left out */
} floats[] = {
    {VISE_GGUF_KEY_ROPE_BASE, "rope.freq_base", offsetof(vise_gguf_network, theta)},
    {VISE_GGUF_KEY_ROPE_BASE_LOCAL, "rope.freq_base_swa", offsetof(vise_gguf_network, local_theta)},
    {VISE_GGUF_KEY_RMS_EPS, "attention.layer_norm_rms_epsilon", offsetof(vise_gguf_network, eps)},
    {VISE_GGUF_KEY_NORM_EPS, "attention.layer_norm_epsilon", offsetof(vise_gguf_network, eps)},
    {VISE_GGUF_KEY_ATTENTION_CAP, "attn_logit_softcapping", offsetof(vise_gguf_network, attention_cap)},
    {VISE_GGUF_KEY_LOGIT_CAP, "final_logit_softcapping", offsetof(vise_gguf_network, logit_cap)},
};

static vise_status put_key(describing *d, vise_gguf_key key, vise_error *err)
{
    const vise_gguf_network *network = &d->facts->network;
    const char *base = (const char *)network;
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        if (ints[i].key == key) {
            int64_t number;
            memcpy(&number, base + ints[i].offset, sizeof number);
            if (number > 0 || ints[i].even_zero)
                put_int(d, ints[i].name, number);
            return VISE_OK;
        }
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        if (floats[i].key == key) {
            double number;
            memcpy(&number, base + floats[i].offset, sizeof number);
            if (number > 0.0)
                put_float(d, floats[i].name, number);
            return VISE_OK;
        }
    switch (key) {
    case VISE_GGUF_KEY_HEAD_DIM_STORED:
        if (!cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(d->config, "head_dim")))
            return VISE_OK;
        /* fallthrough */
    case VISE_GGUF_KEY_HEAD_DIM:
        put_int(d, "attention.key_length", network->head_dim);
        put_int(d, "attention.value_length", network->head_dim);
        return VISE_OK;
    case VISE_GGUF_KEY_ROPE_SCALING:
        put_rope_scaling(d);
        return VISE_OK;
    case VISE_GGUF_KEY_ROPE_SECTIONS:
        put_rope_sections(d);
        return VISE_OK;
    case VISE_GGUF_KEY_FILE_TYPE:
        vise_gguf_put_u32(d->values, FILE_TYPE_KEY, d->facts->file_type);
        return VISE_OK;
    case VISE_GGUF_KEY_CAUSAL:
        vise_gguf_put_bool(d->values, key_of(d, "attention.causal"), false);
        return VISE_OK;
    case VISE_GGUF_KEY_PARALLEL:
        vise_gguf_put_bool(d->values, key_of(d, "use_parallel_residual"), network->parallel);
        return VISE_OK;
    case VISE_GGUF_KEY_LAYOUT:
        vise_gguf_put_text(d->values, key_of(d, "tensor_data_layout"), "jploski");
        return VISE_OK;
    case VISE_GGUF_KEY_POOLING:
        return put_pooling(d, err);
    case VISE_GGUF_KEY_LABELS:
        return put_labels(d, err);
    default:
        return VISE_FAIL(err, VISE_EINTERNAL, "a key of GGUF metadata without a writer");
    }
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

#define IMPORTANCE "quantize.imatrix."

static void put_importance(const vise_gguf_importance *importance, vise_gguf_values *values)
{
    if (importance == NULL)
        return;
    vise_gguf_put_text(values, IMPORTANCE "file", importance->file);
    if (importance->dataset[0] != '\0')
        vise_gguf_put_text(values, IMPORTANCE "dataset", importance->dataset);
    vise_gguf_put_u32(values, IMPORTANCE "entries_count", importance->entries);
    if (importance->chunks > 0)
        vise_gguf_put_u32(values, IMPORTANCE "chunks_count", importance->chunks);
}

static void carry_over(const vise_gguf *gguf, const vise_gguf_facts *facts, vise_gguf_values *values)
{
    for (size_t i = 0; i < gguf->n_values; i++) {
        const vise_gguf_value *value = &gguf->values[i];
        if (strcmp(value->key, FILE_TYPE_KEY) != 0 && strcmp(value->key, VERSION_KEY) != 0 &&
            strcmp(value->key, "general.alignment") != 0 && !vise_starts_with(value->key, "split.") &&
            (facts->importance == NULL || !vise_starts_with(value->key, IMPORTANCE)))
            vise_gguf_put_value(values, value);
    }
    vise_gguf_put_u32(values, VERSION_KEY, QUANTIZATION_VERSION);
    vise_gguf_put_u32(values, FILE_TYPE_KEY, facts->file_type);
    put_importance(facts->importance, values);
}

vise_status vise_gguf_describe(const vise_source *source, const vise_gguf_family *family,
                               const vise_gguf_facts *facts, vise_gguf_values *values, vise_error *err)
{
    const vise_gguf *gguf = vise_source_gguf(source);
    if (gguf != NULL) {
        carry_over(gguf, facts, values);
        return vise_buf_check(&values->bytes, "GGUF metadata", err);
    }
    describing d = {.source = source,
                    .config = vise_gguf_text_config(source),
                    .path = vise_source_config_path(source),
                    .family = family,
                    .facts = facts,
                    .values = values};
    vise_gguf_put_text(values, "general.architecture", family->architecture);
    if (facts->network.attention_factor > 0.0)
        put_float(&d, "rope.scaling.attn_factor", facts->network.attention_factor);
    VISE_TRY(vise_gguf_describe_model(source, facts, values, err));
    for (const vise_gguf_key *key = family->keys; *key != VISE_GGUF_KEY_END; key++)
        VISE_TRY(put_key(&d, *key, err));
    vise_gguf_put_u32(values, VERSION_KEY, QUANTIZATION_VERSION);
    VISE_TRY(vise_gguf_describe_vocab(source, family, facts, values, err));
    put_importance(facts->importance, values);
    return vise_buf_check(&values->bytes, "GGUF metadata", err);
}
