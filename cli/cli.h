/* What the commands share. A command is a row of cli/commands.c: its name, its option rows and a function. The tables
 * of options that several commands have (output, calibration, common) are parsed with its own. */
#ifndef VISE_CLI_CLI_H
#define VISE_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/mem.h"
#include "pipeline/device_map.h"
#include "pipeline/option.h"
#include "pipeline/pass.h"
#include "pipeline/plan.h"
#include "pipeline/text_options.h"

/* --device and so on: every command. */
typedef struct vise_cli_common {
    const char *device, *memory, *progress;
    int64_t threads, seed; /* VISE_UNSET_INT: not given */
    bool quiet;
} vise_cli_common;

/* Every command that writes a model. */
typedef struct vise_cli_output {
    const char *path, *layout, *report;
    bool pack, force, resume, dry_run;
    uint64_t max_shard_size; /* VISE_UNSET_SIZE: not given */
    vise_texts leave_out;
} vise_cli_output;

/* What `vise plan` is asked for, of a recipe, a model or a pass. */
typedef struct vise_plan_options {
    const char *device_map;
    int64_t context, batch; /* VISE_UNSET_INT: not given */
    bool json;
} vise_plan_options;

typedef struct vise_cli {
    const struct vise_command *command;
    vise_arena *arena;
    vise_texts arguments; /* what is no option */
    vise_cli_common common;
    vise_cli_output output;
    vise_text_values windows; /* calibration text of passes, evaluation text of eval */
    void *own;                /* the command's struct, or the pass's configuration */
    bool plan;                /* `vise plan PASS ...`: plan instead of working */
    vise_plan_options planning;
    vise_memory_bounds memory; /* --memory; its cpu bounds the process (0: no bound) */
} vise_cli;

typedef struct vise_command {
    const char *name;
    const char *group;   /* heading in `vise --help` */
    const char *summary; /* one line */
    const char *usage;   /* lines behind "vise ": "eval MODEL --text FILE [options]" */
    const char *example; /* a command line, or NULL */
    const vise_option *rows;
    size_t n_rows, own_size;
    const vise_option *window_rows; /* of vise_text_values, or NULL */
    size_t n_window_rows;
    bool calibrates;                /* takes --calibration FILE */
    bool writes;                    /* writes a model */
    const vise_pass *pass;          /* of the commands that are made from passes */
    vise_status (*run)(vise_cli *cli, vise_error *err);
} vise_command;

#define VISE_CLI_TABLES_MAX 6

/* The tables of a command over cli's values. cli->own must be there. */
size_t vise_cli_tables(vise_cli *cli, vise_options tables[VISE_CLI_TABLES_MAX]);

/* The commands, in the order of `vise --help`: those of commands.c and one for each pass. */
size_t vise_command_count(void);
vise_command vise_command_at(size_t index);
bool vise_command_find(const char *name, vise_command *command);
/* True for what the contract names and this version has not: an option of a command, or a command when that is
 * NULL. */
bool vise_is_later(const char *command, const char *name);

/* The rows of `vise plan`, which `vise plan PASS` takes too. */
extern const vise_option vise_plan_rows[];
extern const size_t vise_plan_row_count;

/* THE list of passes, NULL-terminated (cli/passes.c). */
extern const vise_pass *const vise_passes[];

/* Help texts. */
void vise_help_short(vise_buf *out);
void vise_help_all(vise_buf *out);
VISE_MUST_USE vise_status vise_help_command(const vise_command *command, vise_arena *arena, vise_buf *out,
                                            vise_error *err);

/* The man page of all of them, as roff. */
VISE_MUST_USE vise_status vise_help_man(vise_arena *arena, vise_buf *out, vise_error *err);
/* A script that completes all of them in bash. */
VISE_MUST_USE vise_status vise_help_completion(vise_arena *arena, vise_buf *out, vise_error *err);

/* Writes the result on stdout: VISE_ERESOURCE when it cannot be written. */
VISE_MUST_USE vise_status vise_cli_print(const vise_buf *text, vise_error *err);
/* Exactly n arguments that are no options; `what` names them: "MODEL". */
VISE_MUST_USE vise_status vise_cli_expect(const vise_cli *cli, size_t n, const char *what, vise_error *err);
/* "300MB", or "cpu=16GiB,gpu0=8GiB". GPUs are refused unless it is `elsewhere`: for a plan, which may be of another
 * machine. */
VISE_MUST_USE vise_status vise_cli_memory(const char *text, bool elsewhere, vise_memory_bounds *bounds,
                                          vise_error *err);
/* --seed, or 0. */
uint64_t vise_cli_seed(const vise_cli *cli);

/* Puts the options of the output and of the process into a request. What is not given leaves the request as it is. */
void vise_cli_fill_request(const vise_cli *cli, vise_request *request);
/* Runs the request, or prints its plan when that was asked, and ends with the summary. */
VISE_MUST_USE vise_status vise_cli_work(const vise_cli *cli, vise_request *request, vise_error *err);

/* The commands. */
vise_status vise_cmd_inspect(vise_cli *cli, vise_error *err);
vise_status vise_cmd_plan(vise_cli *cli, vise_error *err);
vise_status vise_cmd_run(vise_cli *cli, vise_error *err);
vise_status vise_cmd_pass(vise_cli *cli, vise_error *err);
vise_status vise_cmd_eval(vise_cli *cli, vise_error *err);
vise_status vise_cmd_imatrix(vise_cli *cli, vise_error *err);
vise_status vise_cmd_generate(vise_cli *cli, vise_error *err);
vise_status vise_cmd_size(vise_cli *cli, vise_error *err);
vise_status vise_cmd_report(vise_cli *cli, vise_error *err);

/* Their own options. */
typedef struct vise_inspect_options {
    int64_t context, batch; /* VISE_UNSET_INT: not given */
    bool json, architectures, schemes, layouts, roles, devices;
} vise_inspect_options;
typedef struct vise_eval_command_options {
    const char *text, *ids, *labels, *choices, *embeddings, *reference, *save_logits;
    double max_perplexity_ratio, min_accuracy, min_cosine;
    bool weights_only, json;
} vise_eval_command_options;
typedef struct vise_imatrix_options {
    const char *text, *output;
    bool force;
} vise_imatrix_options;
typedef struct vise_generate_options {
    const char *prompt, *prompt_file, *ids;
    int64_t tokens, top_k;
    double temperature, top_p, min_p, repetition_penalty;
    bool ignore_eos, weights_only, json;
} vise_generate_options;
typedef struct vise_size_options {
    const char *baseline, *max_growth, *format;
    uint64_t max_total;
} vise_size_options;
typedef struct vise_report_options {
    const char *format;
} vise_report_options;

#endif
