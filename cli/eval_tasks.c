#include "cli/eval_tasks.h"

#include <math.h>
#include <string.h>

#include "core/event.h"
#include "pipeline/gguf_tokenizer.h"
#include "text/tokenizer.h"

static const struct {
    size_t offset; /* of the file in vise_eval_command_options */
    const vise_task_kind *kind;
} kinds[] = {
    {offsetof(vise_eval_command_options, labels), &vise_task_labels},
    {offsetof(vise_eval_command_options, choices), &vise_task_choices},
    {offsetof(vise_eval_command_options, embeddings), &vise_task_embeddings},
};

static const char *file_of(const vise_eval_command_options *own, size_t i)
{
    return *(const char *const *)(const void *)((const char *)own + kinds[i].offset);
}

const char *vise_eval_task_file(const vise_eval_command_options *own)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (file_of(own, i))
            return file_of(own, i);
    return NULL;
}

bool vise_eval_task_asked(const vise_eval_command_options *own)
{
    return vise_eval_task_file(own) != NULL;
}

bool vise_eval_task_has_table(const vise_eval_command_options *own)
{
    return own->embeddings && own->reference && vise_vectors_named(own->reference);
}

vise_status vise_eval_task_check(const vise_eval_command_options *own, vise_error *err)
{
    if (!isnan(own->max_perplexity_ratio) && vise_eval_task_asked(own))
        return VISE_FAIL(err, VISE_EUSAGE, "--max-perplexity-ratio is about --text or --ids");
    if (!isnan(own->min_accuracy) && !own->labels && !own->choices)
        return VISE_FAIL(err, VISE_EUSAGE, "--min-accuracy is about --labels FILE or --choices FILE");
    if (!isnan(own->min_cosine) && !(own->embeddings && own->reference))
        return VISE_FAIL(err, VISE_EUSAGE, "--min-cosine is about --embeddings FILE with --reference");
    if (own->embeddings && !own->reference && !own->save_logits)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "--embeddings: give --reference to compare with, or --save-logits");
    if (own->choices && own->save_logits)
        return VISE_FAIL(err, VISE_EUSAGE, "--choices has no logits of its own to save; use --ids");
    return VISE_OK;
}

vise_status vise_eval_task_open(const vise_cli *cli, const vise_model *model, const vise_model *reference,
                                vise_eval_task *task, vise_error *err)
{
    *task = (vise_eval_task){.own = cli->own, .model = model, .reference = reference};
    VISE_TRY(vise_arena_new(&task->arena, err));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        task->file = file_of(task->own, i);
        task->kind = kinds[i].kind;
        if (task->file)
            return task->kind->open(cli, task, err);
    }
    return VISE_FAIL(err, VISE_EINTERNAL, "no task was asked for");
}

void vise_eval_task_close(vise_eval_task *task)
{
    for (int side = 0; side < 2; side++) {
        vise_encoded_deinit(&task->rows[side]);
        vise_choice_tokens_deinit(&task->tokens[side]);
    }
    vise_choices_deinit(&task->choices);
    vise_vectors_close(task->vectors);
    vise_arena_free(task->arena);
    *task = (vise_eval_task){0};
}

size_t vise_eval_task_length(const vise_eval_task *task)
{
    size_t longest = 0;

    for (int side = 0; side < 2; side++) {
        longest = task->rows[side].longest > longest ? task->rows[side].longest : longest;
        longest = task->tokens[side].rows.longest > longest ? task->tokens[side].rows.longest : longest;
    }
    return longest;
}

uint64_t vise_eval_task_bytes(const vise_eval_task *task)
{
    const uint64_t value =
        sizeof(float) + sizeof(double); /* as it is computed with, and as it may be stored */

    return task->vectors ? VISE_VECTORS_BATCH * (uint64_t)vise_vectors_cols(task->vectors) * value : 0;
}

vise_status vise_eval_task_run(const vise_eval_task *task, vise_eval_options options, vise_report *report,
                               vise_error *err)
{
    return task->kind->run(task, options, report, err);
}

/* ---- for the tasks ----------------------------------------------------------------------------------------------- */

size_t vise_task_text_length(const vise_cli *cli, const vise_model *model)
{
    const int64_t asked = cli->windows.length, positions = model->config.max_positions;

    return (size_t)(asked != VISE_UNSET_INT && asked < positions ? asked : positions);
}

vise_status vise_task_pick(const vise_cli *cli, const char *file, size_t count, size_t *first, size_t *end,
                           vise_error *err)
{
    const vise_text_values *values = &cli->windows;

    if (strcmp(values->windows, "random") == 0)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "--windows random draws windows of a text; rows are taken in order");
    *first = (uint64_t)values->skip < count ? (size_t)values->skip : count;
    *end = count;
    if (values->samples != VISE_UNSET_INT && (uint64_t)values->samples < count - *first)
        *end = *first + (size_t)values->samples;
    if (*first == *end)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: --skip %lld leaves none of its %zu rows", file,
                         (long long)values->skip, count);
    if (values->samples != VISE_UNSET_INT && (uint64_t)values->samples > count - *first)
        vise_warn("%s has %zu rows, fewer than the %lld asked for", file, count - *first,
                  (long long)values->samples);
    return VISE_OK;
}

vise_status vise_task_tokenizer(const vise_model *model, vise_tokenizer **out, vise_error *err)
{
    return vise_model_tokenizer(vise_source_path(vise_store_source(model->store)), NULL, out, err);
}

static void warn(const char *file, const vise_encoded *rows, const char *whose)
{
    if (rows->truncated > 0)
        vise_warn("%zu of %zu texts of %s are longer than %zu tokens%s and were cut", rows->truncated,
                  rows->count, file, rows->longest, whose);
    if (rows->invalid_utf8 > 0)
        vise_warn("%s: %llu bytes are no UTF-8%s and were replaced", file,
                  (unsigned long long)rows->invalid_utf8, whose);
}

void vise_task_warn(const char *file, const vise_encoded *rows, const vise_encoded *reference)
{
    warn(file, rows, "");
    if (reference->truncated != rows->truncated || reference->longest != rows->longest)
        warn(file, reference, " to the reference");
}
