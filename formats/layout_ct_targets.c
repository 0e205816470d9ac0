/* compressed-tensors: "quantization_config" read: its groups, and which module belongs to which. */
#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/mem.h"
#include "formats/layout_internal.h"
#include "formats/names.h"

#define PATTERN_MAX 1024

typedef struct exact_target {
    const char *name;
    size_t group;
} exact_target;

typedef struct pattern_target {
    regex_t regex;
    size_t group;
} pattern_target;

struct vise_ct_config_file {
    vise_ct_group *groups;
    exact_target *exact; /* sorted; texts of the config */
    pattern_target *patterns;
    size_t n_groups, groups_capacity, n_exact, exact_capacity, n_patterns, patterns_capacity;
    size_t class_group; /* the first group with a class name as target; SIZE_MAX: none */
};

/* ---- patterns --------------------------------------------------------------------------------- */

/* The set that a class escape stands for, as it is written within brackets; NULL: no such class. */
static const char *class_of(char c)
{
    return c == 'd' ? "0-9" : c == 'w' ? "A-Za-z0-9_" : c == 's' ? "[:space:]" : NULL;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A bracket expression from behind its '['; *at ends behind its ']'. A backslash is an ordinary character to
 * POSIX. */
static bool translate_set(const char **at, vise_buf *posix)
{
    const char *c = *at;
    vise_buf_add_char(posix, '[');
    if (*c == '^')
        vise_buf_add_char(posix, *c++);
    for (bool first = true; *c != ']' || first; first = false) {
        if (*c == '\0' || *c == '[')
            return false;
        if (*c != '\\') {
            vise_buf_add_char(posix, *c++);
            continue;
        }
        const char *set = class_of(c[1]);
        if (set)
            vise_buf_add_text(posix, set);
        else if (c[1] == '.' || c[1] == '/' || c[1] == '_')
            vise_buf_add_char(posix, c[1]);
        else
            return false;
        c += 2;
    }
    vise_buf_add_char(posix, ']');
    *at = c + 1;
    return true;
}

bool vise_ct_translate(const char *python, vise_buf *posix)
{
    const char *c = python;
    bool quantified = false; /* the last thing was a quantifier */
    if (strlen(python) > PATTERN_MAX)
        return false;
    vise_buf_add_text(posix, "^(");
    while (*c) {
        bool was_quantified = quantified;
        quantified = *c == '*' || *c == '+' || *c == '?';
        if (*c == '{' || *c == '}' || (quantified && was_quantified && *c != '?'))
            return false;
        if (quantified && was_quantified) { /* lazy: matches the same names */
            c++;
            quantified = false;
        } else if (*c == '\\') {
            const char *set = class_of(c[1]);
            if (set)
                vise_buf_addf(posix, "[%s]", set);
            else if (c[1] == '\0' || is_alnum(c[1]))
                return false;
            else
                vise_buf_add(posix, c, 2);
            c += 2;
        } else if (*c == '[') {
            c++;
            if (!translate_set(&c, posix))
                return false;
        } else if (vise_starts_with(c, "(?")) {
            if (c[2] != ':')
                return false;
            vise_buf_add_char(posix, '(');
            c += 3;
        } else {
            vise_buf_add_char(posix, *c++);
        }
    }
    vise_buf_add_char(posix, ')'); /* anchored at its start only, as Python's match */
    return true;
}

static vise_status add_pattern(vise_ct_config_file *file, const char *path, const char *target, size_t group,
                               vise_error *err)
{
    vise_buf posix;
    vise_buf_init(&posix, 16 * PATTERN_MAX);
    vise_status status = VISE_OK;
    if (!vise_ct_translate(target + 3, &posix))
        VISE_TRY_TO(
            done, VISE_FAIL(err, VISE_EUNSUPPORTED,
                            "%s: quantization_config: the target \"%.200s\" uses regular expressions beyond "
                            "what is supported; list the module names instead",
                            path, target));
    VISE_TRY_TO(done, vise_buf_check(&posix, path, err));
    void *grown = file->patterns;
    VISE_TRY_TO(
        done, vise_grow(&grown, &file->patterns_capacity, file->n_patterns + 1, sizeof *file->patterns, err));
    file->patterns = grown;
    if (regcomp(&file->patterns[file->n_patterns].regex, posix.data, REG_EXTENDED | REG_NOSUB) != 0)
        VISE_TRY_TO(done,
                    VISE_FAIL(err, VISE_EFORMAT,
                              "%s: quantization_config: the target \"%.200s\" is no valid regular expression",
                              path, target));
    file->patterns[file->n_patterns++].group = group;
done:
    vise_buf_deinit(&posix);
    return status;
}

/* ---- targets ---------------------------------------------------------------------------------- */

/* Classes begin with a capital letter and have no dots: Linear, Embedding, LlamaDecoderLayer. */
static bool is_class(const char *target)
{
    return *target >= 'A' && *target <= 'Z' && !strchr(target, '.');
}

static vise_status read_targets(vise_ct_config_file *file, const char *path, const cJSON *group, size_t index,
                                vise_error *err)
{
    const cJSON *targets = cJSON_GetObjectItemCaseSensitive(group, "targets"), *target;
    if (!cJSON_IsArray(targets))
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: quantization_config: group \"%.100s\" has no list of targets", path,
                         group->string);
    cJSON_ArrayForEach(target, targets)
    {
        if (!cJSON_IsString(target))
            return VISE_FAIL(err, VISE_EFORMAT, "%s: quantization_config: a target of \"%.100s\" is no text",
                             path, group->string);
        const char *text = target->valuestring;
        if (vise_starts_with(text, "re:")) {
            VISE_TRY(add_pattern(file, path, text, index, err));
            continue;
        }
        if (is_class(text) && file->class_group == SIZE_MAX)
            file->class_group = index;
        void *grown = file->exact;
        VISE_TRY(vise_grow(&grown, &file->exact_capacity, file->n_exact + 1, sizeof *file->exact, err));
        file->exact = grown;
        file->exact[file->n_exact++] = (exact_target){text, index};
    }
    return VISE_OK;
}

/* ---- groups ----------------------------------------------------------------------------------- */

static vise_status unsupported(const char *path, const cJSON *group, const char *what, vise_error *err)
{
    return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: quantization_config: group \"%.100s\": %s", path,
                     group->string, what);
}

/* The members that weights and inputs have in common. */
typedef struct quant_args {
    const char *type, *strategy, *scale_dtype;
    int64_t bits, group, block[2];
    bool symmetric, dynamic, local;
} quant_args;

/* "block_structure" is [rows, columns], in older files "128x128". */
static vise_status read_block(const char *path, const cJSON *group, const cJSON *args, int64_t block[2],
                              vise_error *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(args, "block_structure");
    double sides[2] = {0};
    if (cJSON_IsArray(item) && cJSON_GetArraySize(item) == 2) {
        sides[0] = cJSON_GetNumberValue(cJSON_GetArrayItem(item, 0));
        sides[1] = cJSON_GetNumberValue(cJSON_GetArrayItem(item, 1));
    } else if (cJSON_IsString(item)) {
        char *end;
        sides[0] = strtod(item->valuestring, &end);
        sides[1] = *end == 'x' ? strtod(end + 1, &end) : 0;
    }
    for (int i = 0; i < 2; i++) {
        if (!(sides[i] >= 1 && sides[i] <= 65536) || sides[i] != floor(sides[i]))
            return VISE_FAIL(err, VISE_EFORMAT,
                             "%s: quantization_config: group \"%.100s\" has no valid block_structure", path,
                             group->string);
        block[i] = (int64_t)sides[i];
    }
    return VISE_OK;
}

static vise_status read_args(const char *path, const cJSON *json, quant_args *args, vise_error *err)
{
    const cJSON *dynamic = cJSON_GetObjectItemCaseSensitive(json, "dynamic");
    *args = (quant_args){.type = "int", .scale_dtype = "", .bits = 8, .symmetric = true};
    VISE_TRY(vise_json_int(path, json, "num_bits", false, 1, 64, &args->bits, err));
    VISE_TRY(vise_json_text(path, json, "type", false, &args->type, err));
    VISE_TRY(vise_json_bool(path, json, "symmetric", false, &args->symmetric, err));
    VISE_TRY(vise_json_text(path, json, "strategy", false, &args->strategy, err));
    VISE_TRY(vise_json_text(path, json, "scale_dtype", false, &args->scale_dtype, err));
    VISE_TRY(vise_json_int(path, json, "group_size", false, -1, INT32_MAX, &args->group, err));
    args->dynamic = cJSON_IsTrue(dynamic);
    args->local = cJSON_IsString(dynamic) && strcmp(dynamic->valuestring, "local") == 0;
    if (!args->strategy) /* the library infers it */
        args->strategy = args->group > 0 ? "group" : args->group < 0 ? "channel" : "tensor";
    return VISE_OK;
}

/* The floats of compressed-tensors: their kind is told by bits, group and dtype of the scales. */
static const vise_codebook *codebook_of(const quant_args *args)
{
    const bool groups = strcmp(args->strategy, "group") == 0;
    if (!args->symmetric)
        return NULL;
    if (args->bits == 8)
        return groups && args->group == 32 && strcmp(args->scale_dtype, "torch.uint8") == 0 ? &vise_codebook_mxfp8
                                                                                           : &vise_codebook_fp8_e4m3;
    if (args->bits == 4 && groups && args->group == 32)
        return &vise_codebook_mxfp4;
    return args->bits == 4 && strcmp(args->strategy, "tensor_group") == 0 && args->group == 16 ? &vise_codebook_nvfp4
                                                                                               : NULL;
}

static vise_status read_weights(const char *path, const cJSON *group, vise_scheme *scheme, vise_error *err)
{
    static const struct {
        const char *strategy;
        vise_granularity granularity;
    } rows[] = {{"tensor", VISE_PER_TENSOR},
                {"channel", VISE_PER_CHANNEL},
                {"group", VISE_PER_GROUP},
                {"tensor_group", VISE_PER_GROUP},
                {"block", VISE_PER_BLOCK}};
    const cJSON *weights = cJSON_GetObjectItemCaseSensitive(group, "weights");
    if (!cJSON_IsObject(weights))
        return unsupported(path, group, "has no quantized weights; that is not supported", err);
    quant_args args;
    VISE_TRY(read_args(path, weights, &args, err));
    const bool is_float = strcmp(args.type, "float") == 0;
    const vise_codebook *codebook = is_float ? codebook_of(&args) : NULL;
    if (codebook)
        scheme->type = vise_codebook_type(codebook);
    else if (!is_float && strcmp(args.type, "int") == 0)
        scheme->type = vise_int_type(args.bits);
    scheme->asym = !args.symmetric;
    if (!scheme->type)
        return unsupported(path, group,
                           "only integers of 2 to 8 bits, fp8, mxfp8, mxfp4 and nvfp4 are supported in this layout",
                           err);
    size_t row = 0;
    while (row < sizeof rows / sizeof *rows && strcmp(rows[row].strategy, args.strategy) != 0)
        row++;
    if (row == sizeof rows / sizeof *rows || !(scheme->type->grains >> rows[row].granularity & 1) ||
        (strcmp(args.strategy, "tensor_group") == 0 && codebook != &vise_codebook_nvfp4))
        return unsupported(path, group, "the strategy of its weights is not supported", err);
    scheme->granularity = rows[row].granularity;
    scheme->group = scheme->granularity == VISE_PER_GROUP ? args.group : 0;
    if (scheme->granularity == VISE_PER_GROUP && args.group < 1)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: quantization_config: group \"%.100s\" has no group_size",
                         path, group->string);
    if (scheme->granularity == VISE_PER_BLOCK) {
        VISE_TRY(read_block(path, group, weights, args.block, err));
        scheme->group_rows = args.block[0];
        scheme->group = args.block[1];
    }
    return VISE_OK;
}

static bool is_activation(const vise_activation_type *type, const quant_args *args, const vise_codebook *codebook)
{
    const char *strategy = type->granularity == VISE_PER_TENSOR      ? "tensor"
                           : type->granularity == VISE_PER_CHANNEL   ? "token"
                           : type->codebook == &vise_codebook_nvfp4 ? "tensor_group"
                                                                     : "group";
    return type->bits == args->bits && type->codebook == codebook && strcmp(strategy, args->strategy) == 0 &&
           (type->granularity != VISE_PER_GROUP || type->group == args->group) &&
           args->local == (codebook == &vise_codebook_nvfp4) && (args->dynamic || args->local || type->calibrated) &&
           !(args->dynamic && type->calibrated);
}

static vise_status read_activations(const char *path, const cJSON *group, vise_scheme *scheme,
                                    vise_error *err)
{
    const cJSON *output = cJSON_GetObjectItemCaseSensitive(group, "output_activations");
    if (cJSON_IsObject(output))
        return unsupported(path, group, "quantized output activations are not supported", err);
    const cJSON *input = cJSON_GetObjectItemCaseSensitive(group, "input_activations");
    if (!cJSON_IsObject(input))
        return VISE_OK;
    quant_args args;
    size_t count;
    const vise_activation_type *types = vise_activation_types(&count);
    VISE_TRY(read_args(path, input, &args, err));
    const vise_codebook *codebook = strcmp(args.type, "float") == 0 ? codebook_of(&args) : NULL;
    for (size_t i = 0; args.symmetric && i < count; i++)
        if (is_activation(&types[i], &args, codebook) && vise_activation_goes_with(&types[i], scheme->type)) {
            scheme->activation = types[i].name;
            return VISE_OK;
        }
    char names[VISE_ACTIVATION_NAMES_MAX], what[VISE_ACTIVATION_NAMES_MAX + 80];
    (void)snprintf(what, sizeof what, "of quantized activations only %s are supported with its weights",
                   vise_activation_names(scheme->type, names));
    return unsupported(path, group, what, err);
}

const vise_cache_type *vise_ct_cache_type(const char *path, const cJSON *scheme)
{
    size_t count;
    const vise_cache_type *types = vise_cache_types(&count);
    quant_args args;
    if (read_args(path, scheme, &args, NULL) != VISE_OK || !args.symmetric || args.dynamic)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        const vise_activation_type *values = vise_cache_values(&types[i]);
        if (strcmp(args.type, values->codebook ? "float" : "int") == 0 && args.bits == values->bits &&
            strcmp(args.strategy, types[i].by_head ? "attn_head" : "tensor") == 0)
            return &types[i];
    }
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const exact_target *)a)->name, ((const exact_target *)b)->name);
}

static vise_status read_groups(vise_ct_config_file *file, const char *path, const cJSON *config,
                               vise_error *err)
{
    const cJSON *groups = cJSON_GetObjectItemCaseSensitive(config, "config_groups"), *group;
    if (cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(config, "kv_cache_scheme")) && (!groups || !groups->child))
        return VISE_OK; /* a quantized cache, and nothing else */
    if (!cJSON_IsObject(groups) || !groups->child)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: quantization_config: \"config_groups\" is missing or empty",
                         path);
    cJSON_ArrayForEach(group, groups)
    {
        if (!cJSON_IsObject(group))
            return unsupported(path, group, "preset schemes by name are not supported", err);
        void *grown = file->groups;
        VISE_TRY(vise_grow(&grown, &file->groups_capacity, file->n_groups + 1, sizeof *file->groups, err));
        file->groups = grown;
        vise_ct_group *row = &file->groups[file->n_groups];
        *row = (vise_ct_group){.name = group->string};
        VISE_TRY(read_weights(path, group, &row->scheme, err));
        VISE_TRY(read_activations(path, group, &row->scheme, err));
        VISE_TRY(read_targets(file, path, group, file->n_groups, err));
        file->n_groups++;
    }
    if (file->n_exact > 0)
        qsort(file->exact, file->n_exact, sizeof *file->exact, by_name);
    return VISE_OK;
}

vise_status vise_ct_config_read(const char *path, const cJSON *config, vise_ct_config_file **out,
                                vise_error *err)
{
    void *block;
    VISE_TRY(vise_calloc(1, sizeof(vise_ct_config_file), &block, err));
    vise_ct_config_file *file = block;
    file->class_group = SIZE_MAX;
    vise_status status = read_groups(file, path, config, err);
    if (status != VISE_OK) {
        vise_ct_config_free(file);
        return status;
    }
    *out = file;
    return VISE_OK;
}

void vise_ct_config_free(vise_ct_config_file *file)
{
    if (!file)
        return;
    for (size_t i = 0; i < file->n_patterns; i++)
        regfree(&file->patterns[i].regex);
    vise_free(file->patterns);
    vise_free(file->exact);
    vise_free(file->groups);
    vise_free(file);
}

static const vise_ct_group *match_name(const vise_ct_config_file *file, const char *module)
{
    exact_target wanted = {module, 0};
    const exact_target *exact =
        file->n_exact == 0 ? NULL : bsearch(&wanted, file->exact, file->n_exact, sizeof wanted, by_name);
    if (exact)
        return &file->groups[exact->group];
    for (size_t i = 0; i < file->n_patterns; i++)
        if (regexec(&file->patterns[i].regex, module, 0, NULL, 0) == 0)
            return &file->groups[file->patterns[i].group];
    return NULL;
}

const vise_ct_group *vise_ct_config_match(const vise_ct_config_file *file, const char *module)
{
    char among[VISE_MODULE_TEXT];
    if (file->n_groups == 1)
        return &file->groups[0];
    const vise_ct_group *group = match_name(file, module);
    if (group == NULL) {
        vise_module_among_others(module, among);
        group = match_name(file, among);
    }
    if (group != NULL)
        return group;
    return file->class_group == SIZE_MAX ? NULL : &file->groups[file->class_group];
}
