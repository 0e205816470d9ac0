/* eval --embeddings: how close a sentence encoder's vectors are to a reference's. */
#include <stdio.h>

#include "cli/eval_tasks.h"
#include "eval/embed.h"
#include "pipeline/report_tasks.h"
#include "text/lines.h"
#include "text/tokenizer.h"

static vise_status encode(const vise_cli *cli, vise_eval_task *task, int side, const vise_line *rows,
                          size_t n, vise_error *err)
{
    const vise_model *model = side == 0 ? task->model : task->reference;
    const char *folder = vise_source_path(vise_store_source(model->store));
    size_t length = vise_task_text_length(cli, model);
    vise_pooling *pooling = &task->pooling[side];
    vise_tokenizer *tokenizer = NULL;
    vise_status status = VISE_OK;
    char name[512];

    VISE_TRY(vise_pooling_of(vise_store_source(model->store), pooling, err));
    if (pooling->lowercase)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s: do_lower_case of sentence_bert_config.json is not supported; give lower-case texts and "
            "set it to false",
            folder);
    if (pooling->max_length > 0 && pooling->max_length < length)
        length = pooling->max_length;
    VISE_TRY(vise_task_tokenizer(model, &tokenizer, err));
    for (size_t i = 0; status == VISE_OK && i < n; i++) {
        snprintf(name, sizeof name, "%s line %zu", task->file, rows[i].number);
        status = vise_encoded_add_text(&task->rows[side], tokenizer, name, rows[i].text, NULL, length,
                                       model->config.vocab, err);
    }
    vise_encoded_finish(&task->rows[side]);
    vise_tokenizer_close(tokenizer);
    return status;
}

static vise_status take_rows(const vise_cli *cli, const vise_lines *lines, vise_eval_task *task,
                             vise_error *err)
{
    size_t first = 0, end = 0;
    void *memory = NULL;

    VISE_TRY(vise_task_pick(cli, task->file, lines->count, &first, &end, err));
    VISE_TRY(vise_arena_take(task->arena, (end - first) * sizeof *task->lines, &memory, err));
    task->lines = memory;
    for (size_t i = first; i < end; i++)
        task->lines[i - first] = lines->rows[i].number;
    VISE_TRY(encode(cli, task, 0, lines->rows + first, end - first, err));
    if (task->reference)
        VISE_TRY(encode(cli, task, 1, lines->rows + first, end - first, err));
    vise_task_warn(task->file, &task->rows[0], &task->rows[task->reference ? 1 : 0]);
    return VISE_OK;
}

static vise_status open_embeddings(const vise_cli *cli, vise_eval_task *task, vise_error *err)
{
    vise_lines lines;
    vise_status status;

    VISE_TRY(vise_need_embeddings(task->model, "--embeddings", err));
    if (task->reference)
        VISE_TRY(vise_need_embeddings(task->reference, "--embeddings with --reference", err));
    if (vise_eval_task_has_table(task->own))
        VISE_TRY(vise_vectors_open(task->own->reference, &task->vectors, err));
    VISE_TRY(vise_lines_load(task->file, &lines, err));
    status = take_rows(cli, &lines, task, err);
    vise_lines_deinit(&lines);
    return status;
}

static vise_status run_embeddings(const vise_eval_task *task, vise_eval_options options, vise_report *report,
                                  vise_error *err)
{
    const vise_embedder model = {task->model, &task->rows[0], task->pooling[0].first_token, NULL};
    const vise_embedder reference = {task->reference, &task->rows[1], task->pooling[1].first_token,
                                     task->vectors};
    vise_embedded embedded = {.file = task->file,
                              .n = task->rows[0].count,
                              .tokens = task->rows[0].tokens,
                              .truncated = task->rows[0].truncated,
                              .invalid_utf8 = task->rows[0].invalid_utf8,
                              .width = task->model->config.hidden};
    vise_cosines cosines;

    if (task->own->reference) {
        VISE_TRY(vise_compare_embeddings(&model, &reference, &options, &cosines, err));
        embedded.cosines = &cosines;
        embedded.worst_line = task->lines[cosines.worst];
    }
    VISE_TRY(vise_report_embedded(report, &embedded, err));
    if (!task->own->save_logits)
        return VISE_OK;
    options.windows = task->rows[0].sets;
    options.sets = task->rows[0].count;
    options.first_token = task->pooling[0].first_token;
    return vise_save_logits(task->model, &options, task->own->save_logits, err);
}

const vise_task_kind vise_task_embeddings = {"--embeddings", open_embeddings, run_embeddings};
