/* What eval measures on rows, one text each, instead of on a text in windows: labels. */
#ifndef VISE_CLI_EVAL_TASKS_H
#define VISE_CLI_EVAL_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/cli.h"
#include "eval/eval.h"
#include "eval/texts.h"
#include "pipeline/report.h"

typedef struct vise_eval_task {
    const vise_eval_command_options *own;
    const vise_model *model, *reference; /* reference NULL: none */
    vise_encoded rows[2];                /* the model's, and the reference's by its own tokenizer */
    vise_arena *arena;
    const char **names; /* of labels */
    int32_t *truth;     /* [rows] */
} vise_eval_task;

/* True when the options ask for a task. */
bool vise_eval_task_asked(const vise_eval_command_options *own);
/* Reads the file and cuts its texts into tokens. path: the model's. */
VISE_MUST_USE vise_status vise_eval_task_open(const vise_cli *cli, const vise_model *model,
                                              const vise_model *reference, vise_eval_task *task, vise_error *err);
void vise_eval_task_close(vise_eval_task *task); /* also of a zeroed one */
/* Tokens of the longest row. */
size_t vise_eval_task_length(const vise_eval_task *task);
/* options without windows: these are the task's. */
VISE_MUST_USE vise_status vise_eval_task_run(const vise_eval_task *task, vise_eval_options options,
                                             vise_report *report, vise_error *err);

#endif
