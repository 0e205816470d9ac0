/* eval --labels: a classifier on labelled texts. */
#include <stdio.h>
#include <string.h>

#include "cli/eval_tasks.h"
#include "core/event.h"
#include "eval/classify.h"
#include "pipeline/report_tasks.h"
#include "text/labels.h"
#include "text/tokenizer.h"

/* ---- the file -------------------------------------------------------------------------------------------------- */

static size_t text_length(const vise_cli *cli, const vise_model *model)
{
    const int64_t asked = cli->windows.length, positions = model->config.max_positions;

    return (size_t)(asked != VISE_UNSET_INT && asked < positions ? asked : positions);
}

/* The rows of a file that --skip and --samples leave: [*first, *end). */
static vise_status pick(const vise_cli *cli, const char *file, size_t count, size_t *first, size_t *end,
                        vise_error *err)
{
    const vise_text_values *values = &cli->windows;

    if (strcmp(values->windows, "random") == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "--windows random draws windows of a text; rows are taken in order");
    *first = (uint64_t)values->skip < count ? (size_t)values->skip : count;
    *end = count;
    if (values->samples != VISE_UNSET_INT && (uint64_t)values->samples < count - *first)
        *end = *first + (size_t)values->samples;
    else if (values->samples != VISE_UNSET_INT && (uint64_t)values->samples > count - *first)
        vise_warn("%s has %zu rows, fewer than the %lld asked for", file, count - *first,
                  (long long)values->samples);
    if (*first == *end)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: --skip %lld leaves none of its %zu rows", file,
                         (long long)values->skip, count);
    return VISE_OK;
}

static vise_status encode(const vise_label_row *rows, size_t n, const char *file, const vise_model *model,
                          size_t length, vise_encoded *out, vise_error *err)
{
    vise_tokenizer *tokenizer = NULL;
    vise_status status;
    char name[512];

    VISE_TRY(vise_tokenizer_open(vise_source_path(vise_store_source(model->store)), &tokenizer, err));
    status = VISE_OK;
    for (size_t i = 0; status == VISE_OK && i < n; i++) {
        snprintf(name, sizeof name, "%s line %zu", file, rows[i].line);
        status = vise_encoded_add_text(out, tokenizer, name, rows[i].first, rows[i].second, length, err);
    }
    vise_encoded_finish(out);
    vise_tokenizer_close(tokenizer);
    return status;
}

static void warn(const vise_encoded *rows, const char *file, const char *whose)
{
    if (rows->truncated > 0)
        vise_warn("%zu of %zu texts of %s are longer than %zu tokens%s and were cut", rows->truncated, rows->count,
                  file, rows->longest, whose);
    if (rows->invalid_utf8 > 0)
        vise_warn("%s: %llu bytes are no UTF-8%s and were replaced", file, (unsigned long long)rows->invalid_utf8,
                  whose);
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
    const char *file = task->own->labels;
    size_t first = 0, end = 0;
    void *memory = NULL;

    VISE_TRY(pick(cli, file, labels->count, &first, &end, err));
    VISE_TRY(vise_arena_take(task->arena, (end - first) * sizeof *task->truth, &memory, err));
    task->truth = memory;
    for (size_t i = first; i < end; i++)
        task->truth[i - first] = labels->rows[i].label;
    VISE_TRY(encode(labels->rows + first, end - first, file, task->model, text_length(cli, task->model),
                    &task->rows[0], err));
    warn(&task->rows[0], file, "");
    if (!task->reference)
        return VISE_OK;
    VISE_TRY(encode(labels->rows + first, end - first, file, task->reference, text_length(cli, task->reference),
                    &task->rows[1], err));
    if (task->rows[1].truncated != task->rows[0].truncated || task->rows[1].longest != task->rows[0].longest)
        warn(&task->rows[1], file, " to the reference");
    return VISE_OK;
}

bool vise_eval_task_asked(const vise_eval_command_options *own)
{
    return own->labels != NULL;
}

vise_status vise_eval_task_open(const vise_cli *cli, const vise_model *model, const vise_model *reference,
                                vise_eval_task *task, vise_error *err)
{
    vise_labels labels;
    vise_status status;

    *task = (vise_eval_task){.own = cli->own, .model = model, .reference = reference};
    VISE_TRY(vise_need_classes(model, "--labels", err));
    if (reference)
        VISE_TRY(vise_need_classes(reference, "--labels with --reference", err));
    VISE_TRY(vise_arena_new(&task->arena, err));
    VISE_TRY(vise_class_names(model, task->arena, &task->names, err));
    if (reference)
        VISE_TRY(check_reference(task, err));
    VISE_TRY(vise_labels_load(task->own->labels, task->names, (size_t)model->config.labels, &labels, err));
    status = take_rows(cli, &labels, task, err);
    vise_labels_deinit(&labels);
    return status;
}

void vise_eval_task_close(vise_eval_task *task)
{
    vise_encoded_deinit(&task->rows[0]);
    vise_encoded_deinit(&task->rows[1]);
    vise_arena_free(task->arena);
    *task = (vise_eval_task){0};
}

size_t vise_eval_task_length(const vise_eval_task *task)
{
    return task->rows[0].longest > task->rows[1].longest ? task->rows[0].longest : task->rows[1].longest;
}

/* ---- the evaluation -------------------------------------------------------------------------------------------- */

vise_status vise_eval_task_run(const vise_eval_task *task, vise_eval_options options, vise_report *report,
                               vise_error *err)
{
    const vise_model *models[2] = {task->model, task->reference};
    const size_t n = task->rows[0].count, sides = task->reference ? 2 : 1;
    int32_t *given[2] = {NULL, NULL};
    double done = 0.0, total = 0.0;
    vise_status status = VISE_OK;
    void *memory = NULL;

    for (size_t side = 0; side < sides; side++) {
        options.windows = task->rows[side].sets;
        options.sets = n;
        total += vise_eval_operations(models[side], &options);
    }
    for (size_t side = 0; side < sides; side++) {
        options.windows = task->rows[side].sets;
        VISE_TRY_TO(end, vise_alloc(n * sizeof *given[side], &memory, err));
        given[side] = memory;
        VISE_TRY_TO(end, vise_classify(models[side], &options, &done, total, given[side], err));
    }
    const vise_labelled labelled = {.file = task->own->labels,
                                    .names = task->names,
                                    .labels = (size_t)task->model->config.labels,
                                    .truth = task->truth,
                                    .after = given[0],
                                    .before = given[1],
                                    .n = n,
                                    .tokens = task->rows[0].tokens,
                                    .truncated = task->rows[0].truncated};
    VISE_TRY_TO(end, vise_report_labelled(report, &labelled, err));
    options.windows = task->rows[0].sets;
    if (task->own->save_logits)
        status = vise_save_logits(task->model, &options, task->own->save_logits, err);
end:
    vise_free(given[0]);
    vise_free(given[1]);
    return status;
}
