#include "eval/embed.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "eval/run.h"
#include "formats/gguf.h"

#define FILE_BYTES_MAX ((size_t)1 << 20)

/* ---- what the folder says ---------------------------------------------------------------------------------------- */

/* *json NULL: there is no such file. */
static vise_status load(const char *folder, const char *name, char **path, cJSON **json, vise_error *err)
{
    *json = NULL;
    VISE_TRY(vise_path_join(folder, name, path, err));
    return vise_path_exists(*path) ? vise_json_load(*path, FILE_BYTES_MAX, json, err) : VISE_OK;
}

static vise_status read_modes(const char *path, const cJSON *json, vise_pooling *pooling, vise_error *err)
{
    static const char prefix[] = "pooling_mode_";
    bool cls = false, mean = false;
    const char *mode = NULL;
    const cJSON *item;

    VISE_TRY(vise_json_bool(path, json, "pooling_mode_cls_token", false, &cls, err));
    VISE_TRY(vise_json_bool(path, json, "pooling_mode_mean_tokens", false, &mean, err));
    VISE_TRY(vise_json_text(path, json, "pooling_mode", false, &mode, err));
    cJSON_ArrayForEach(item, json)
    {
        if (strncmp(item->string, prefix, strlen(prefix)) == 0 && cJSON_IsTrue(item) &&
            strcmp(item->string, "pooling_mode_cls_token") != 0 &&
            strcmp(item->string, "pooling_mode_mean_tokens") != 0)
            return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: %s is not supported; cls and mean tokens are", path,
                             item->string);
    }
    if (mode && strcmp(mode, "cls") != 0 && strcmp(mode, "mean") != 0)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: pooling_mode %s is not supported; cls and mean are",
                         path, mode);
    cls = cls || (mode && strcmp(mode, "cls") == 0);
    if (cls && mean)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: cls and mean tokens one behind the other are not supported", path);
    pooling->first_token = cls;
    return VISE_OK;
}

/* Layers behind the pooling other than the one that makes vectors unit length. */
static vise_status check_modules(const char *path, const cJSON *json, vise_error *err)
{
    static const char *const known[] = {"Transformer", "Pooling", "Normalize"};
    const cJSON *item;

    if (!cJSON_IsArray(json))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: not a list of modules", path);
    cJSON_ArrayForEach(item, json)
    {
        const char *type = NULL;
        bool good = false;
        VISE_TRY(vise_json_text(path, item, "type", true, &type, err));
        const char *dot = strrchr(type, '.');
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            good = good || strcmp(dot ? dot + 1 : type, known[i]) == 0;
        if (!good)
            return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: the module %s is not supported", path, type);
    }
    return VISE_OK;
}

static vise_status read_lengths(const char *path, const cJSON *json, vise_pooling *pooling, vise_error *err)
{
    int64_t length = 0;

    VISE_TRY(vise_json_int(path, json, "max_seq_length", false, 1, INT32_MAX, &length, err));
    pooling->max_length = (size_t)length;
    return vise_json_bool(path, json, "do_lower_case", false, &pooling->lowercase, err);
}

vise_status vise_pooling_read(const char *folder, vise_pooling *pooling, vise_error *err)
{
    static const char *const names[] = {"1_Pooling/config.json", "modules.json", "sentence_bert_config.json"};
    vise_status status = VISE_OK;

    *pooling = (vise_pooling){0};
    for (size_t i = 0; status == VISE_OK && i < sizeof names / sizeof names[0]; i++) {
        char *path = NULL;
        cJSON *json = NULL;
        status = load(folder, names[i], &path, &json, err);
        if (status == VISE_OK && json)
            status = i == 0   ? read_modes(path, json, pooling, err)
                     : i == 1 ? check_modules(path, json, err)
                              : read_lengths(path, json, pooling, err);
        cJSON_Delete(json);
        vise_free(path);
    }
    return status;
}

vise_status vise_pooling_of(const vise_source *source, vise_pooling *pooling, vise_error *err)
{
    enum { MEAN = 1, FIRST = 2 };
    const vise_gguf *gguf = vise_source_gguf(source);
    const char *architecture;
    char key[96];
    int64_t kind = MEAN;
    if (gguf == NULL)
        return vise_pooling_read(vise_source_path(source), pooling, err);
    *pooling = (vise_pooling){0};
    VISE_TRY(vise_gguf_get_text(gguf, "general.architecture", true, &architecture, err));
    snprintf(key, sizeof key, "%.48s.pooling_type", architecture);
    VISE_TRY(vise_gguf_get_int(gguf, key, false, 0, INT32_MAX, &kind, err));
    if (kind != MEAN && kind != FIRST)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: %s %lld is not supported; cls and mean are", gguf->path, key,
                         (long long)kind);
    pooling->first_token = kind == FIRST;
    return VISE_OK;
}

vise_status vise_need_embeddings(const vise_model *model, const char *what, vise_error *err)
{
    VISE_TRY(vise_model_need_forward(model, what, err));
    if (model->config.head == VISE_HEAD_NONE)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EUNSUPPORTED,
                     "%s needs an encoder without a head, such as a BertModel; %s is a %s", what,
                     vise_source_path(vise_store_source(model->store)), model->of->name);
}

/* ---- cosines ----------------------------------------------------------------------------------------------------- */

static size_t texts_of(const vise_embedder *e)
{
    return e->model ? e->rows->count : (size_t)vise_vectors_rows(e->vectors);
}

static int64_t width_of(const vise_embedder *e)
{
    return e->model ? e->model->config.hidden : vise_vectors_cols(e->vectors);
}

static vise_status add_cosine(const float *a, const float *b, size_t text, vise_cosines *cosines, double *sum,
                              vise_error *err)
{
    double dot = 0.0, aa = 0.0, bb = 0.0;

    for (int64_t j = 0; j < cosines->width; j++) {
        dot += (double)a[j] * (double)b[j];
        aa += (double)a[j] * (double)a[j];
        bb += (double)b[j] * (double)b[j];
    }
    if (!isfinite(aa) || !isfinite(bb) || !(aa > 0.0) || !(bb > 0.0))
        return VISE_FAIL(err, VISE_EFORMAT, "%s vector of text %zu is %s",
                         isfinite(aa) && aa > 0.0 ? "the reference's" : "the model's", text + 1,
                         isfinite(aa) && isfinite(bb) ? "all zeros" : "not finite");
    double cosine = dot / (sqrt(aa) * sqrt(bb));
    *sum += cosine;
    if (text == 0 || cosine < cosines->min) {
        cosines->min = cosine;
        cosines->worst = text;
    }
    return VISE_OK;
}

/* Runs of the embedders that are models, side by side; a table's vectors are read into `table`. */
typedef struct comparison {
    const vise_embedder *side[2];
    vise_eval_run run[2];
    float *table; /* [batch, width] */
} comparison;

static vise_status read_batch(comparison *c, int side, const vise_eval_options *options, size_t text,
                              size_t n, const float **values, vise_error *err)
{
    const vise_embedder *e = c->side[side];

    *values = e->model ? c->run[side].logits : c->table;
    if (!e->model)
        return vise_vectors_read(e->vectors, (int64_t)text, (int64_t)n, c->table, options->pool, err);
    return vise_head_windows(c->run[side].head, c->run[side].stream, options->backend, text, n,
                             e->first_token, c->run[side].logits, err);
}

static vise_status compare(comparison *c, const vise_eval_options *options, vise_cosines *cosines,
                           vise_error *err)
{
    vise_eval_run *runs[2];
    vise_eval_options own[2];
    size_t n_runs = 0, step = 0;
    double done = 0.0, total = 0.0, sum = 0.0;
    void *memory = NULL;

    for (int side = 0; side < 2; side++) {
        if (!c->side[side]->model)
            continue;
        own[side] = *options;
        own[side].windows = c->side[side]->rows->sets;
        own[side].sets = c->side[side]->rows->count;
        total += vise_eval_operations(c->side[side]->model, &own[side]);
    }
    for (int side = 0; side < 2; side++) {
        if (!c->side[side]->model)
            continue;
        VISE_TRY(vise_eval_run_blocks(&c->run[side], c->side[side]->model, &own[side], &done, total, err));
        runs[n_runs++] = &c->run[side];
    }
    if (n_runs < 2) {
        VISE_TRY(vise_pool_take(options->pool, VISE_VECTORS_BATCH * (size_t)cosines->width * sizeof(float),
                                "vectors", &memory, err));
        c->table = memory;
    }
    VISE_TRY(vise_eval_run_heads(runs, n_runs, options, &step, err));
    step = c->table && step > VISE_VECTORS_BATCH ? VISE_VECTORS_BATCH : step;
    for (size_t text = 0; text < cosines->n; text += step) {
        size_t n = cosines->n - text < step ? cosines->n - text : step;
        const float *values[2];
        VISE_TRY(read_batch(c, 0, options, text, n, &values[0], err));
        VISE_TRY(read_batch(c, 1, options, text, n, &values[1], err));
        for (size_t i = 0; i < n; i++)
            VISE_TRY(add_cosine(values[0] + (int64_t)i * cosines->width,
                                values[1] + (int64_t)i * cosines->width, text + i, cosines, &sum, err));
    }
    cosines->mean = sum / (double)cosines->n;
    return VISE_OK;
}

vise_status vise_compare_embeddings(const vise_embedder *a, const vise_embedder *b,
                                    const vise_eval_options *options, vise_cosines *cosines, vise_error *err)
{
    comparison c = {.side = {a, b}};

    *cosines = (vise_cosines){.n = texts_of(a), .width = width_of(a)};
    if (texts_of(b) != cosines->n)
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "the reference has vectors of %zu texts, the model of %zu: give one for each text that "
            "is evaluated, in the file's order",
            texts_of(b), cosines->n);
    if (width_of(b) != cosines->width)
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "the reference's vectors have %lld dimensions, the model's %lld: a cosine needs vectors of one "
            "width",
            (long long)width_of(b), (long long)cosines->width);
    vise_status status = compare(&c, options, cosines, err);
    vise_pool_give(options->pool, c.table);
    vise_eval_run_deinit(&c.run[0]);
    vise_eval_run_deinit(&c.run[1]);
    return status;
}
