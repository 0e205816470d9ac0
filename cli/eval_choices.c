/* eval --choices: which of several endings a language model finds likeliest. */
#include "cli/eval_tasks.h"
#include "pipeline/report_tasks.h"
#include "text/tokenizer.h"

static vise_status open_choices(const vise_cli *cli, vise_eval_task *task, vise_error *err)
{
    const vise_model *models[2] = {task->model, task->reference};
    size_t end = 0;

    VISE_TRY(vise_model_need_tokens(task->model, "--choices", err));
    if (task->reference)
        VISE_TRY(vise_model_need_tokens(task->reference, "--choices with --reference", err));
    VISE_TRY(vise_choices_load(task->file, &task->choices, err));
    VISE_TRY(vise_task_pick(cli, task->file, task->choices.count, &task->first, &end, err));
    task->count = end - task->first;
    for (int side = 0; side < 2 && models[side]; side++) {
        vise_tokenizer *tokenizer = NULL;
        VISE_TRY(vise_task_tokenizer(models[side], &tokenizer, err));
        vise_status status =
            vise_choices_encode(task->file, task->choices.rows + task->first, task->count, tokenizer,
                                vise_task_text_length(cli, models[side]), models[side]->config.vocab,
                                &task->tokens[side], err);
        vise_tokenizer_close(tokenizer);
        VISE_TRY(status);
    }
    vise_task_warn(task->file, &task->tokens[0].rows, &task->tokens[task->reference ? 1 : 0].rows);
    return VISE_OK;
}

/* What one model chooses, by likelihood and by likelihood per character. */
static vise_status choose(const vise_eval_task *task, const vise_model *model,
                          const vise_choice_tokens *tokens, vise_eval_options *options, double *done,
                          double total, int32_t *chosen[2], vise_error *err)
{
    const vise_choice_row *rows = task->choices.rows + task->first;
    double *nll = NULL;
    void *memory = NULL;

    VISE_TRY(vise_calloc(tokens->rows.count, sizeof *nll, &memory, err));
    nll = memory;
    vise_status status = vise_choices_score(model, tokens, options, done, total, nll, err);
    for (int by_length = 0; status == VISE_OK && by_length < 2; by_length++)
        vise_choices_choose(rows, task->count, tokens, nll, by_length, chosen[by_length]);
    vise_free(nll);
    return status;
}

static vise_status run_choices(const vise_eval_task *task, vise_eval_options options, vise_report *report,
                               vise_error *err)
{
    const vise_model *models[2] = {task->model, task->reference};
    const size_t sides = task->reference ? 2 : 1, n = task->count;
    int32_t *all = NULL;
    double done = 0.0, total = 0.0;
    vise_status status = VISE_OK;
    void *memory = NULL;

    for (size_t side = 0; side < sides; side++) {
        options.windows = task->tokens[side].rows.sets;
        options.sets = task->tokens[side].rows.count;
        total += vise_choices_operations(models[side], &task->tokens[side], &options);
    }
    VISE_TRY(vise_calloc(n, 5 * sizeof *all, &memory,
                         err)); /* chosen by both models in both ways, and what is right */
    all = memory;
    for (size_t side = 0; side < sides; side++) {
        int32_t *chosen[2] = {all + 2 * side * n, all + (2 * side + 1) * n};
        options.windows = task->tokens[side].rows.sets;
        options.sets = task->tokens[side].rows.count;
        VISE_TRY_TO(end,
                    choose(task, models[side], &task->tokens[side], &options, &done, total, chosen, err));
    }
    for (size_t i = 0; i < n; i++)
        all[4 * n + i] = task->choices.rows[task->first + i].label;
    const vise_chosen chosen = {.file = task->file,
                                .truth = all + 4 * n,
                                .after = {all, all + n},
                                .before = {task->reference ? all + 2 * n : NULL, all + 3 * n},
                                .n = n,
                                .tokens = task->tokens[0].rows.tokens,
                                .truncated = task->tokens[0].rows.truncated};
    status = vise_report_chosen(report, &chosen, err);
end:
    vise_free(all);
    return status;
}

const vise_task_kind vise_task_choices = {"--choices", open_choices, run_choices};
