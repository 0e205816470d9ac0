/* What eval measures on rows, one text each, instead of on a text in windows: labels, choices, embeddings. */
#ifndef VISE_CLI_EVAL_TASKS_H
#define VISE_CLI_EVAL_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/cli.h"
#include "eval/choices.h"
#include "eval/embed.h"
#include "eval/eval.h"
#include "eval/texts.h"
#include "pipeline/report.h"
#include "text/choices.h"

typedef struct vise_eval_task {
    const struct vise_task_kind *kind;
    const vise_eval_command_options *own;
    const char *file;
    const vise_model *model, *reference; /* reference NULL: none */
    vise_encoded rows[2];                /* the model's, and the reference's by its own tokenizer */
    vise_arena *arena;
    /* labels */
    const char **names;
    int32_t *truth; /* [rows] */
    /* choices: rows [first, first + count) of the file */
    vise_choices choices;
    size_t first, count;
    vise_choice_tokens tokens[2];
    /* embeddings */
    vise_pooling pooling[2];
    vise_vectors *vectors; /* of a reference that is a table */
    size_t *lines;         /* [rows]: where a text stands in the file */
} vise_eval_task;

typedef struct vise_task_kind {
    const char *option; /* "--labels" */
    /* Reads the file and cuts its texts into tokens; task has kind, own, file, models and arena. */
    vise_status (*open)(const vise_cli *cli, vise_eval_task *task, vise_error *err);
    vise_status (*run)(const vise_eval_task *task, vise_eval_options options, vise_report *report, vise_error *err);
} vise_task_kind;

extern const vise_task_kind vise_task_labels, vise_task_choices, vise_task_embeddings;

/* True when the options ask for a task. */
bool vise_eval_task_asked(const vise_eval_command_options *own);
/* The file of the task, or NULL. */
const char *vise_eval_task_file(const vise_eval_command_options *own);
/* True when --reference is a table of vectors, no model. */
bool vise_eval_task_has_table(const vise_eval_command_options *own);
VISE_MUST_USE vise_status vise_eval_task_check(const vise_eval_command_options *own, vise_error *err);

VISE_MUST_USE vise_status vise_eval_task_open(const vise_cli *cli, const vise_model *model,
                                              const vise_model *reference, vise_eval_task *task, vise_error *err);
void vise_eval_task_close(vise_eval_task *task); /* also of a zeroed one */
/* Tokens of the longest row. */
size_t vise_eval_task_length(const vise_eval_task *task);
/* Pool bytes beside vise_eval_bytes. */
uint64_t vise_eval_task_bytes(const vise_eval_task *task);
/* options without windows: these are the task's. */
VISE_MUST_USE vise_status vise_eval_task_run(const vise_eval_task *task, vise_eval_options options,
                                             vise_report *report, vise_error *err);

/* ---- for the tasks ---- */

/* Tokens that a text is cut to: --length or the model's positions, the smaller. */
size_t vise_task_text_length(const vise_cli *cli, const vise_model *model);
/* The rows of a file of `count` that --skip and --samples leave: [*first, *end). */
VISE_MUST_USE vise_status vise_task_pick(const vise_cli *cli, const char *file, size_t count, size_t *first,
                                         size_t *end, vise_error *err);
VISE_MUST_USE vise_status vise_task_tokenizer(const vise_model *model, vise_tokenizer **out, vise_error *err);
/* Warns of texts that were cut and of bytes that are no UTF-8, for the model's rows and, where they differ, the
 * reference's. */
void vise_task_warn(const char *file, const vise_encoded *rows, const vise_encoded *reference);

#endif
