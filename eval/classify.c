#include "eval/classify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/event.h"
#include "core/json.h"
#include "eval/run.h"

vise_status vise_need_classes(const vise_model *model, const char *what, vise_error *err)
{
    const char *path = vise_source_path(vise_store_source(model->store)), *kind = NULL;

    VISE_TRY(vise_model_need_forward(model, what, err));
    if (model->config.head != VISE_HEAD_CLASSIFIER)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s needs a model with a classification head; %s is a %s, which has none", what, path,
                         model->of->name);
    VISE_TRY(vise_json_text(vise_source_config_path(vise_store_source(model->store)),
                            vise_source_config(vise_store_source(model->store)), "problem_type", false, &kind, err));
    if (model->config.labels < 2 || (kind && strcmp(kind, "single_label_classification") != 0))
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s needs a model that gives each text one of several labels; %s has %lld label%s%s%s", what,
                         path, (long long)model->config.labels, model->config.labels == 1 ? "" : "s",
                         kind ? " and problem_type " : "", kind ? kind : "");
    return VISE_OK;
}

vise_status vise_class_names(const vise_model *model, vise_arena *arena, const char ***names, vise_error *err)
{
    const vise_source *source = vise_store_source(model->store);
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(vise_source_config(source), "id2label"), *item;
    const size_t labels = (size_t)model->config.labels;
    void *memory = NULL;

    VISE_TRY(vise_arena_take(arena, labels * sizeof **names, &memory, err));
    *names = memory;
    memset(memory, 0, labels * sizeof **names);
    if (!cJSON_IsObject(object))
        return VISE_OK;
    cJSON_ArrayForEach(item, object)
    {
        char *end = NULL;
        unsigned long long id = strtoull(item->string, &end, 10);
        if (end == item->string || *end != '\0' || id >= labels || !cJSON_IsString(item))
            return VISE_FAIL(err, VISE_EFORMAT,
                             "%s: id2label: \"%s\" does not give an id below %zu a name",
                             vise_source_config_path(source), item->string, labels);
        VISE_TRY(vise_arena_strdup(arena, item->valuestring, strlen(item->valuestring), &(*names)[id], err));
    }
    return VISE_OK;
}

/* ---- the model's labels ---------------------------------------------------------------------------------------- */

static vise_status largest(const float *logits, int64_t n, size_t row, int32_t *label, vise_error *err)
{
    int64_t best = 0;

    for (int64_t j = 0; j < n; j++) {
        if (!isfinite(logits[j]))
            return VISE_FAIL(err, VISE_EFORMAT, "the logits of text %zu are not finite", row + 1);
        if (logits[j] > logits[best])
            best = j;
    }
    *label = (int32_t)best;
    return VISE_OK;
}

vise_status vise_classify(const vise_model *model, const vise_eval_options *options, double *done, double total,
                          int32_t *labels, vise_error *err)
{
    const int64_t width = vise_head_width(model);
    vise_eval_run run = {0};
    vise_eval_run *const runs[1] = {&run};
    size_t step = 0, rows = 0;
    vise_status status;

    for (size_t s = 0; s < vise_eval_sets(options); s++)
        rows += options->windows[s].count;
    VISE_TRY_TO(end, vise_eval_run_blocks(&run, model, options, done, total, err));
    VISE_TRY_TO(end, vise_eval_run_heads(runs, 1, options, &step, err));
    for (size_t row = 0; row < rows; row += step) {
        size_t n = rows - row < step ? rows - row : step;
        VISE_TRY_TO(end, vise_head_windows(run.head, run.stream, options->backend, row, n, false, run.logits, err));
        for (size_t i = 0; i < n; i++)
            VISE_TRY_TO(end, largest(run.logits + (int64_t)i * width, width, row + i, &labels[row + i], err));
    }
    status = VISE_OK;
end:
    vise_eval_run_deinit(&run);
    return status;
}

/* ---- figures --------------------------------------------------------------------------------------------------- */

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0.0;
}

double vise_share_stderr(double p, size_t n)
{
    return n > 1 ? sqrt(p * (1.0 - p) / (double)(n - 1)) : 0.0;
}

double vise_share_equal(const int32_t *a, const int32_t *b, size_t n)
{
    uint64_t equal = 0;

    for (size_t i = 0; i < n; i++)
        equal += a[i] == b[i];
    return share(equal, n);
}

vise_status vise_class_scores_make(const int32_t *truth, const int32_t *predicted, size_t n, size_t labels,
                                   vise_class_scores *scores, vise_error *err)
{
    void *memory = NULL;
    double sum = 0.0;
    uint64_t used = 0;

    *scores = (vise_class_scores){.labels = labels, .n = n};
    VISE_TRY(vise_calloc(labels, sizeof *scores->classes, &memory, err));
    scores->classes = memory;
    for (size_t i = 0; i < n; i++) {
        scores->classes[truth[i]].n++;
        scores->classes[predicted[i]].predicted++;
        scores->classes[truth[i]].right += truth[i] == predicted[i];
    }
    for (size_t i = 0; i < labels; i++) {
        vise_class *c = &scores->classes[i];
        c->precision = share(c->right, c->predicted);
        c->recall = share(c->right, c->n);
        c->f1 = share(2 * c->right, c->n + c->predicted);
        used += c->n + c->predicted > 0;
        sum += c->f1;
    }
    scores->accuracy = vise_share_equal(truth, predicted, n);
    scores->stderr_accuracy = vise_share_stderr(scores->accuracy, n);
    scores->macro_f1 = used > 0 ? sum / (double)used : 0.0;
    return VISE_OK;
}

void vise_class_scores_deinit(vise_class_scores *scores)
{
    vise_free(scores->classes);
    *scores = (vise_class_scores){0};
}
