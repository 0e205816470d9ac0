#include "formats/gguf_meta.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "core/file.h"
#include "core/json.h"
#include "formats/names.h"

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
                                       int64_t *heads, int64_t *kv_heads, vise_error *err)
{
    const vise_gguf *gguf = vise_source_gguf(source);
    const cJSON *config = vise_source_config(source);
    const char *path = vise_source_config_path(source), *name = NULL;
    *heads = *kv_heads = 0;
    *family = NULL;
    if (gguf != NULL) {
        VISE_TRY(vise_gguf_get_text(gguf, "general.architecture", true, &name, err));
        *family = vise_gguf_family_of(name);
    } else if (config == NULL) {
        return VISE_FAIL(err, VISE_EUSAGE, "%s: layout gguf needs config.json beside the weights",
                         vise_source_path(source));
    } else {
        VISE_TRY(vise_json_text(path, config, "model_type", true, &name, err));
        *family = vise_gguf_family_of_model(name);
        if (*family == NULL)
            return VISE_FAIL(
                err, VISE_EUNSUPPORTED,
                "%s: layout gguf has no table of names for model_type \"%.50s\"; it has llama, mistral, "
                "qwen2 and qwen3",
                path, name);
    }
    if (config == NULL)
        return VISE_OK;
    VISE_TRY(vise_json_int(path, config, "num_attention_heads", true, 1, 1 << 20, heads, err));
    *kv_heads = *heads;
    return vise_json_int(path, config, "num_key_value_heads", false, 1, 1 << 20, kv_heads, err);
}

/* ---- general.* ----------------------------------------------------------------------------------------- */

/* "llama-stories260K" to "Llama stories260K": words in small letters get a capital, others are names
 * already. */
static void title_of(const char *path, char title[128])
{
    size_t end = strlen(path), n = 0;
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    for (size_t i = start; i < end && n < 127;) {
        size_t stop = i;
        bool capital = false;
        for (; stop < end && path[stop] != '-'; stop++)
            capital = capital || isupper((unsigned char)path[stop]);
        if (n > 0 && n < 127)
            title[n++] = ' ';
        for (size_t k = i; k < stop && n < 127; k++) {
            bool first = k == i || !isalpha((unsigned char)path[k - 1]);
            title[n++] = !capital && first ? (char)toupper((unsigned char)path[k]) : path[k];
        }
        i = stop + 1;
    }
    title[n] = '\0';
}

/* "260K", "1.1B": two digits at least. */
static void size_label(uint64_t parameters, char label[24])
{
    static const struct {
        double unit;
        char letter;
    } units[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}, {1e3, 'K'}};
    size_t i = 0;
    while (i < 3 && (double)parameters <= units[i].unit)
        i++;
    double scaled = (double)parameters / units[i].unit, rounded = rint(scaled);
    int digits = rounded < 1.0 ? 2 : rounded < 10.0 ? 1 : 0;
    snprintf(label, 24, "%.*f%c", digits, scaled, units[i].letter);
}

/* ---- the network --------------------------------------------------------------------------------------- */

typedef struct hyper {
    const char *gguf, *hf;
    bool required;
} hyper;

static const hyper before_floats[] = {
    {"block_count", "num_hidden_layers", true},
    {"context_length", "max_position_embeddings", false},
    {"embedding_length", "hidden_size", true},
    {"feed_forward_length", "intermediate_size", true},
    {"attention.head_count", "num_attention_heads", true},
    {"attention.head_count_kv", "num_key_value_heads", false},
};

static void key_of(const vise_gguf_family *family, const char *rest, char key[80])
{
    snprintf(key, 80, "%s.%s", family->architecture, rest);
}

/* rope_theta stands at the top level (transformers 4) or in rope_parameters (5). */
static vise_status rope_theta(const char *path, const cJSON *config, double *theta, vise_error *err)
{
    const cJSON *rope = cJSON_GetObjectItemCaseSensitive(config, "rope_parameters");
    const cJSON *scaling = cJSON_GetObjectItemCaseSensitive(config, "rope_scaling");
    const cJSON *kind =
        cJSON_GetObjectItemCaseSensitive(cJSON_IsObject(scaling) ? scaling : rope, "rope_type");
    *theta = 10000.0;
    VISE_TRY(vise_json_double(path, config, "rope_theta", false, 0.0, 1e30, theta, err));
    if (cJSON_IsObject(rope))
        VISE_TRY(vise_json_double(path, rope, "rope_theta", false, 0.0, 1e30, theta, err));
    if ((cJSON_IsString(kind) && strcmp(kind->valuestring, "default") != 0) ||
        (cJSON_IsObject(scaling) && !kind))
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: layout gguf does not hold scaled rotary positions here",
                         path);
    return VISE_OK;
}

static vise_status describe_network(const vise_source *source, const vise_gguf_family *family,
                                    const vise_gguf_facts *facts, vise_gguf_values *values, vise_error *err)
{
    const cJSON *config = vise_source_config(source);
    const char *path = vise_source_config_path(source);
    char key[80];
    int64_t heads = 1, hidden = 0, vocab = 0, head_dim = 0;
    double theta, eps = 1e-6;
    for (size_t i = 0; i < sizeof before_floats / sizeof *before_floats; i++) {
        int64_t number = 0;
        VISE_TRY(vise_json_int(path, config, before_floats[i].hf, before_floats[i].required, 1, INT_MAX,
                               &number, err));
        key_of(family, before_floats[i].gguf, key);
        if (number > 0)
            vise_gguf_put_u32(values, key, (uint32_t)number);
    }
    VISE_TRY(rope_theta(path, config, &theta, err));
    VISE_TRY(vise_json_double(path, config, "rms_norm_eps", false, 0.0, 1.0, &eps, err));
    VISE_TRY(vise_json_int(path, config, "num_attention_heads", true, 1, INT_MAX, &heads, err));
    VISE_TRY(vise_json_int(path, config, "hidden_size", true, 1, INT_MAX, &hidden, err));
    VISE_TRY(vise_json_int(path, config, "vocab_size", true, 1, INT_MAX, &vocab, err));
    VISE_TRY(vise_json_int(path, config, "head_dim", false, 1, INT_MAX, &head_dim, err));
    const bool pairs = strcmp(family->architecture, "llama") == 0;
    const bool has_dim =
        head_dim > 0 || pairs; /* transformers fills it in for Llama, and the converter sees it */
    head_dim = head_dim > 0 ? head_dim : hidden / heads;
    key_of(family, "rope.freq_base", key);
    vise_gguf_put_f32(values, key, (float)theta);
    key_of(family, "attention.layer_norm_rms_epsilon", key);
    vise_gguf_put_f32(values, key, (float)eps);
    key_of(family, "attention.key_length", key);
    if (has_dim)
        vise_gguf_put_u32(values, key, (uint32_t)head_dim);
    key_of(family, "attention.value_length", key);
    if (has_dim)
        vise_gguf_put_u32(values, key, (uint32_t)head_dim);
    vise_gguf_put_u32(values, FILE_TYPE_KEY, facts->file_type);
    if (pairs) {
        key_of(family, "vocab_size", key);
        vise_gguf_put_u32(values, key, (uint32_t)vocab);
        key_of(family, "rope.dimension_count", key);
        vise_gguf_put_u32(values, key, (uint32_t)head_dim);
    }
    vise_gguf_put_u32(values, VERSION_KEY, QUANTIZATION_VERSION);
    return VISE_OK;
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static void carry_over(const vise_gguf *gguf, const vise_gguf_facts *facts, vise_gguf_values *values)
{
    for (size_t i = 0; i < gguf->n_values; i++) {
        const vise_gguf_value *value = &gguf->values[i];
        if (strcmp(value->key, FILE_TYPE_KEY) != 0 && strcmp(value->key, VERSION_KEY) != 0 &&
            strcmp(value->key, "general.alignment") != 0 && !vise_starts_with(value->key, "split."))
            vise_gguf_put_value(values, value);
    }
    vise_gguf_put_u32(values, VERSION_KEY, QUANTIZATION_VERSION);
    vise_gguf_put_u32(values, FILE_TYPE_KEY, facts->file_type);
}

vise_status vise_gguf_describe(const vise_source *source, const vise_gguf_family *family,
                               const vise_gguf_facts *facts, vise_gguf_values *values, vise_error *err)
{
    char title[128], label[24];
    const vise_gguf *gguf = vise_source_gguf(source);
    if (gguf != NULL) {
        carry_over(gguf, facts, values);
        return vise_buf_check(&values->bytes, "GGUF metadata", err);
    }
    title_of(vise_source_path(source), title);
    size_label(facts->parameters, label);
    vise_gguf_put_text(values, "general.architecture", family->architecture);
    vise_gguf_put_text(values, "general.type", "model");
    vise_gguf_put_text(values, "general.name", title);
    vise_gguf_put_text(values, "general.size_label", label);
    VISE_TRY(describe_network(source, family, facts, values, err));
    VISE_TRY(vise_gguf_describe_vocab(source, values, err));
    return vise_buf_check(&values->bytes, "GGUF metadata", err);
}
