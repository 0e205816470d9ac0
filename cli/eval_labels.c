/* eval --labels: a classifier on labelled texts. */
#include <stdio.h>
#include <string.h>

#include "cli/eval_tasks.h"
#include "eval/classify.h"
#include "pipeline/report_tasks.h"
#include "text/labels.h"
#include "text/tokenizer.h"

/* ---- the file -------------------------------------------------------------------------------------------------- */

static vise_status encode(const vise_label_row *rows, size_t n, const char *file, const vise_model *model,
                          size_t length, vise_encoded *out, vise_error *err)
{
    vise_tokenizer *tokenizer = NULL;
    vise_status status = VISE_OK;
    char name[512];

    VISE_TRY(vise_task_tokenizer(model, &tokenizer, err));
    for (size_t i = 0; status == VISE_OK && i < n; i++) {
        snprintf(name, sizeof name, "%s line %zu", file, rows[i].line);
        status = vise_encoded_add_text(out, tokenizer, name, rows[i].first, rows[i].second, length,
                                       model->config.vocab, err);
    }
    vise_encoded_finish(out);
    vise_tokenizer_close(tokenizer);
    return status;
}

/* transformers calls labels without a name so. */
static bool is_named(const char *name)
{
    return name && strncmp(name, "LABEL_", strlen("LABEL_")) != 0;
}

/* Two classifiers are compared label by label. */
static vise_status check_reference(const vise_eval_task *task, vise_error *err)
{
    const char **names = NULL;

    if (task->reference->config.labels != task->model->config.labels)
        return VISE_FAIL(err, VISE_EUSAGE, "the reference has %lld labels, the model %lld; they cannot be compared",
                         (long long)task->reference->config.labels, (long long)task->model->config.labels);
    VISE_TRY(vise_class_names(task->reference, task->arena, &names, err));
    for (int64_t i = 0; i < task->model->config.labels; i++)
        if (is_named(names[i]) && is_named(task->names[i]) && strcmp(names[i], task->names[i]) != 0)
            return VISE_FAIL(err, VISE_EUSAGE,
                             "label %lld is \"%s\" in the reference and \"%s\" in the model; they cannot be compared",
                             (long long)i, names[i], task->names[i]);
    return VISE_OK;
}

static vise_status take_rows(const vise_cli *cli, const vise_labels *labels, vise_eval_task *task, vise_error *err)
{
    const vise_model *models[2] = {task->model, task->reference};
    size_t first = 0, end = 0;
    void *memory = NULL;

    VISE_TRY(vise_task_pick(cli, task->file, labels->count, &first, &end, err));
    VISE_TRY(vise_arena_take(task->arena, (end - first) * sizeof *task->truth, &memory, err));
    task->truth = memory;
    for (size_t i = first; i < end; i++)
        task->truth[i - first] = labels->rows[i].label;
    for (int side = 0; side < 2 && models[side]; side++)
        VISE_TRY(encode(labels->rows + first, end - first, task->file, models[side],
                        vise_task_text_length(cli, models[side]), &task->rows[side], err));
    vise_task_warn(task->file, &task->rows[0], &task->rows[task->reference ? 1 : 0]);
    return VISE_OK;
}

static vise_status open_labels(const vise_cli *cli, vise_eval_task *task, vise_error *err)
{
    vise_labels labels;
    vise_status status;

    VISE_TRY(vise_need_classes(task->model, "--labels", err));
    if (task->reference)
        VISE_TRY(vise_need_classes(task->reference, "--labels with --reference", err));
    VISE_TRY(vise_class_names(task->model, task->arena, &task->names, err));
    if (task->reference)
        VISE_TRY(check_reference(task, err));
    VISE_TRY(vise_labels_load(task->file, task->names, (size_t)task->model->config.labels, &labels, err));
    status = take_rows(cli, &labels, task, err);
    vise_labels_deinit(&labels);
    return status;
}

/* ---- the evaluation -------------------------------------------------------------------------------------------- */

static vise_status run_labels(const vise_eval_task *task, vise_eval_options options, vise_report *report,
                              vise_error *err)
{
    const vise_model *models[2] = {task->model, task->reference};
    const size_t n = task->rows[0].count, sides = task->reference ? 2 : 1;
    int32_t *given[2] = {NULL, NULL};
    double done = 0.0, total = 0.0;
    vise_status status = VISE_OK;
    void *memory = NULL;

    options.sets = n;
    for (size_t side = 0; side < sides; side++) {
        options.windows = task->rows[side].sets;
        total += vise_eval_operations(models[side], &options);
    }
    for (size_t side = 0; side < sides; side++) {
        options.windows = task->rows[side].sets;
        VISE_TRY_TO(end, vise_alloc(n * sizeof *given[side], &memory, err));
        given[side] = memory;
        VISE_TRY_TO(end, vise_classify(models[side], &options, &done, total, given[side], err));
    }
    const vise_labelled labelled = {.file = task->file,
                                    .names = task->names,
                                    .labels = (size_t)task->model->config.labels,
                                    .truth = task->truth,
                                    .after = given[0],
                                    .before = given[1],
                                    .n = n,
                                    .tokens = task->rows[0].tokens,
                                    .truncated = task->rows[0].truncated,
                                    .invalid_utf8 = task->rows[0].invalid_utf8};
    VISE_TRY_TO(end, vise_report_labelled(report, &labelled, err));
    options.windows = task->rows[0].sets;
    if (task->own->save_logits)
        status = vise_save_logits(task->model, &options, task->own->save_logits, err);
end:
    vise_free(given[0]);
    vise_free(given[1]);
    return status;
}

const vise_task_kind vise_task_labels = {"--labels", open_labels, run_labels};
