#include "pipeline/recipe.h"

#include <math.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "pipeline/option.h"
#include "pipeline/text_options.h"

#define RECIPE_BYTES_MAX ((size_t)1 << 20)
#define SHARD_DEFAULT    "5GB"
#define SHARD_BYTES      UINT64_C(5000000000)
#define COUNT(array)     (sizeof(array) / sizeof *(array))

/* What is being read: the document, and where texts go. */
typedef struct reading {
    const char *name, *folder;
    const vise_pass *const *passes;
    vise_arena *arena;
    vise_request *request;
} reading;

void vise_request_init(vise_request *request)
{
    const vise_text_source none = {.length = VISE_UNSET_INT, .samples = VISE_UNSET_INT};

    memset(request, 0, sizeof *request);
    request->output.max_shard_bytes = SHARD_BYTES;
    request->calibration = none;
    request->calibration.random = true;
    request->evaluation = none;
    request->goals.max_perplexity_ratio = NAN;
    request->goals.max_perplexity = NAN;
    request->goals.max_kl = NAN;
    request->goals.min_top1_agreement = NAN;
    request->goals.min_accuracy = NAN;
    request->goals.min_cosine = NAN;
    request->goals.max_bytes = VISE_UNSET_SIZE;
    request->device = "auto";
}

vise_options vise_pass_table(const vise_pass *pass, void *config)
{
    return (vise_options){
        .rows = pass->options, .count = pass->n_options, .title = "Options", .values = config};
}

/* ---- the sections ----------------------------------------------------------------------------------- */

static vise_status read_table(const reading *from, const cJSON *object, const vise_options *table,
                              const char *const *known, const char *where, vise_error *err)
{
    VISE_TRY(vise_options_init(table, from->arena, err));
    return vise_options_from_json(table, object, known, from->name, where, from->folder, from->arena, err);
}

static const vise_option text_rows[] = {
    {.name = "text",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_text_values, path),
     .value = "FILE",
     .help = "the text: .txt, or .jsonl with text, input_ids or messages in each line"},
    {.name = "seed",
     .type = VISE_OPTION_INT,
     .offset = offsetof(vise_text_values, seed),
     .min = 0,
     .max = 9e15,
     .value = "N",
     .help = "of the windows that are drawn"},
};

static vise_status read_text(const reading *from, const cJSON *object, const vise_option *window_rows,
                             size_t n_rows, const char *where, vise_text_source *source, vise_error *err)
{
    vise_option rows[COUNT(text_rows) + VISE_EVALUATION_ROWS];
    vise_text_values values = {0};
    const vise_options table = {.rows = rows, .count = COUNT(text_rows) + n_rows, .values = &values};

    if (!object)
        return VISE_OK;
    memcpy(rows, text_rows, sizeof text_rows);
    memcpy(rows + COUNT(text_rows), window_rows, n_rows * sizeof *rows);
    VISE_TRY(read_table(from, object, &table, NULL, where, err));
    if (!values.path)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: %s.text is missing: the file to read", from->name, where);
    *source = vise_text_source_of(&values, from->request->seed);
    return VISE_OK;
}

static const vise_option goal_rows[] = {
    {.name = "max-perplexity-ratio",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_goals, max_perplexity_ratio),
     .min = 0,
     .max = 1e16,
     .help = "perplexity after, over before"},
    {.name = "max-perplexity",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_goals, max_perplexity),
     .min = 0,
     .max = 1e16,
     .help = "perplexity after"},
    {.name = "max-kl",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_goals, max_kl),
     .min = 0,
     .max = 1e16,
     .help = "mean KL divergence, nats per token"},
    {.name = "min-top1-agreement",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_goals, min_top1_agreement),
     .min = 0,
     .max = 1,
     .help = "share of tokens with the same first choice"},
    {.name = "max-bytes",
     .type = VISE_OPTION_SIZE,
     .offset = offsetof(vise_goals, max_bytes),
     .help = "bytes of all weight files, as written"},
};

static vise_status read_goals(const reading *from, const cJSON *object, vise_error *err)
{
    const vise_options table = {
        .rows = goal_rows, .count = COUNT(goal_rows), .values = &from->request->goals};

    return object ? read_table(from, object, &table, NULL, "goals", err) : VISE_OK;
}

/* ---- passes ----------------------------------------------------------------------------------------- */

static vise_status unknown_pass(const reading *from, const char *where, const char *given, vise_error *err)
{
    vise_texts names = {0};
    const char *nearest;

    for (size_t i = 0; from->passes[i]; i++)
        VISE_TRY(vise_texts_add(&names, from->passes[i]->name, from->arena, err));
    nearest = vise_nearest(given, names.items, names.count);
    if (nearest)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: %s.pass: unknown pass \"%.64s\"; did you mean \"%s\"?",
                         from->name, where, given, nearest);
    return VISE_FAIL(err, VISE_EUSAGE, "%s: %s.pass: unknown pass \"%.64s\"; `vise --help` lists the passes",
                     from->name, where, given);
}

static vise_status read_pass(const reading *from, const cJSON *object, size_t index, vise_error *err)
{
    static const char *const known[] = {"pass", NULL};
    const vise_pass *pass = NULL;
    const cJSON *name;
    const char *where;
    vise_options table;
    void *config;

    VISE_TRY(vise_arena_strfmt(from->arena, &where, err, "passes[%zu]", index));
    if (!cJSON_IsObject(object))
        return VISE_FAIL(err, VISE_EUSAGE, "%s: %s must be an object", from->name, where);
    name = cJSON_GetObjectItemCaseSensitive(object, "pass");
    if (!cJSON_IsString(name))
        return VISE_FAIL(err, VISE_EUSAGE, "%s: %s.pass is missing: the name of the pass", from->name, where);
    for (size_t i = 0; from->passes[i] && !pass; i++)
        if (strcmp(from->passes[i]->name, name->valuestring) == 0)
            pass = from->passes[i];
    if (!pass)
        return unknown_pass(from, where, name->valuestring, err);
    VISE_TRY(vise_arena_take(from->arena, pass->config_size, &config, err));
    table = vise_pass_table(pass, config);
    VISE_TRY(read_table(from, object, &table, known, where, err));
    from->request->passes[index].pass = pass;
    from->request->passes[index].config = config;
    from->request->n_passes = index + 1;
    return VISE_OK;
}

static vise_status read_passes(const reading *from, const cJSON *list, vise_error *err)
{
    const cJSON *item;
    size_t index = 0;

    if (!cJSON_IsArray(list) || !list->child)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: \"passes\" must be a list of at least one pass", from->name);
    cJSON_ArrayForEach(item, list)
    {
        if (index == VISE_PASSES_MAX)
            return VISE_FAIL(err, VISE_EUSAGE, "%s: more than %d passes", from->name, VISE_PASSES_MAX);
        VISE_TRY(read_pass(from, item, index++, err));
    }
    return VISE_OK;
}

/* ---- the whole -------------------------------------------------------------------------------------- */

typedef struct top_values {
    const char *input, *layout;
    vise_texts leave_out;
    bool pack;
    uint64_t max_shard_size;
    int64_t seed;
} top_values;

static const vise_option top_rows[] = {
    {.name = "input",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(top_values, input),
     .value = "MODEL",
     .help = "the model to compress"},
    {.name = "layout",
     .type = VISE_OPTION_TEXT,
     .offset = offsetof(top_values, layout),
     .value = "LAYOUT",
     .help = "how quantized weights are spelled"},
    {.name = "leave-out",
     .type = VISE_OPTION_LIST,
     .offset = offsetof(top_values, leave_out),
     .value = "SELECTOR",
     .help = "what a GGUF file does without"},
    {.name = "pack",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(top_values, pack),
     .help = "lossless packing"},
    {.name = "max-shard-size",
     .type = VISE_OPTION_SIZE,
     .offset = offsetof(top_values, max_shard_size),
     .initial = SHARD_DEFAULT,
     .value = "SIZE",
     .help = "bytes of a shard"},
    {.name = "seed",
     .type = VISE_OPTION_INT,
     .offset = offsetof(top_values, seed),
     .min = 0,
     .max = 9e15,
     .initial = "0",
     .value = "N",
     .help = "of everything that is drawn"},
};

static vise_status read_top(const reading *from, const cJSON *json, vise_error *err)
{
    static const char *const known[] = {"calibration", "evaluate", "passes", "goals", NULL};
    vise_request *request = from->request;
    top_values values;
    const vise_options table = {.rows = top_rows, .count = COUNT(top_rows), .values = &values};

    VISE_TRY(read_table(from, json, &table, known, "", err));
    if (!values.input)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: \"input\" is missing: the model to compress", from->name);
    request->input = values.input;
    request->output.layout = values.layout;
    request->output.leave_out = values.leave_out;
    request->output.pack = values.pack;
    request->output.max_shard_bytes = values.max_shard_size;
    request->seed = (uint64_t)values.seed;
    VISE_TRY(read_text(from, cJSON_GetObjectItemCaseSensitive(json, "calibration"), vise_calibration_rows,
                       VISE_CALIBRATION_ROWS, "calibration", &request->calibration, err));
    VISE_TRY(read_text(from, cJSON_GetObjectItemCaseSensitive(json, "evaluate"), vise_evaluation_rows,
                       VISE_EVALUATION_ROWS, "evaluate", &request->evaluation, err));
    VISE_TRY(read_goals(from, cJSON_GetObjectItemCaseSensitive(json, "goals"), err));
    return read_passes(from, cJSON_GetObjectItemCaseSensitive(json, "passes"), err);
}

vise_status vise_recipe_parse(const char *path, const char *text, size_t length,
                              const vise_pass *const *passes, vise_arena *arena, vise_request *request,
                              vise_error *err)
{
    reading from = {.name = path, .passes = passes, .arena = arena, .request = request};
    const char *base = vise_path_base(path);
    cJSON *json = NULL;
    vise_status status;

    vise_request_init(request);
    VISE_TRY(vise_arena_strdup(arena, path, (size_t)(base - path), &from.folder, err));
    VISE_TRY(vise_json_parse(path, text, length, &json, err));
    status = read_top(&from, json, err);
    cJSON_Delete(json);
    if (status == VISE_OK)
        status = vise_request_describe(request, arena, err);
    return status;
}

vise_status vise_recipe_load(const char *path, const vise_pass *const *passes, vise_arena *arena,
                             vise_request *request, vise_error *err)
{
    vise_status status;
    size_t length = 0;
    char *text = NULL;

    VISE_TRY(vise_file_read_all(path, RECIPE_BYTES_MAX, &text, &length, err));
    status = vise_recipe_parse(path, text, length, passes, arena, request, err);
    vise_free(text);
    return status;
}

/* ---- the canonical text ----------------------------------------------------------------------------- */

static void put_int(vise_json_writer *writer, const char *key, int64_t value)
{
    if (value == VISE_UNSET_INT)
        return;
    vise_json_key(writer, key);
    vise_json_put_int(writer, value);
}

static void put_text(vise_json_writer *writer, const char *key, const char *value)
{
    vise_json_key(writer, key);
    vise_json_put_text(writer, value);
}

static void put_calibration(const vise_text_source *source, vise_json_writer *writer)
{
    if (!source->path)
        return;
    vise_json_key(writer, "calibration");
    vise_json_object(writer);
    put_text(writer, "text", source->path);
    put_int(writer, "samples", source->samples);
    put_int(writer, "length", source->length);
    put_text(writer, "windows", source->random ? "random" : "first");
    put_int(writer, "skip", source->skip);
    put_int(writer, "seed", (int64_t)source->seed);
    vise_json_object_end(writer);
}

static void put_passes(const vise_request *request, vise_json_writer *writer)
{
    vise_json_key(writer, "passes");
    vise_json_array(writer);
    for (size_t i = 0; i < request->n_passes; i++) {
        vise_options table = vise_pass_table(request->passes[i].pass, request->passes[i].config);

        vise_json_object(writer);
        put_text(writer, "pass", request->passes[i].pass->name);
        vise_options_to_json(&table, writer);
        vise_json_object_end(writer);
    }
    vise_json_array_end(writer);
}

vise_status vise_request_describe(vise_request *request, vise_arena *arena, vise_error *err)
{
    vise_json_writer writer;
    vise_buf text;
    vise_status status;

    vise_buf_init(&text, RECIPE_BYTES_MAX);
    vise_json_begin(&writer, &text, 0);
    vise_json_object(&writer);
    put_text(&writer, "input", request->input);
    put_calibration(&request->calibration, &writer);
    put_passes(request, &writer);
    if (request->output.layout)
        put_text(&writer, "layout", request->output.layout);
    if (request->output.leave_out.count > 0) {
        vise_json_key(&writer, "leave_out");
        vise_json_array(&writer);
        for (size_t i = 0; i < request->output.leave_out.count; i++)
            vise_json_put_text(&writer, request->output.leave_out.items[i]);
        vise_json_array_end(&writer);
    }
    vise_json_key(&writer, "pack");
    vise_json_put_bool(&writer, request->output.pack);
    vise_json_key(&writer, "max_shard_size");
    vise_json_put_uint(&writer, request->output.max_shard_bytes);
    vise_json_key(&writer, "seed");
    vise_json_put_uint(&writer, request->seed);
    vise_json_object_end(&writer);
    status = vise_buf_check(&text, "the recipe", err);
    if (status == VISE_OK)
        status = vise_arena_strdup(arena, text.data, text.length, &request->recipe_text, err);
    vise_buf_deinit(&text);
    return status;
}
