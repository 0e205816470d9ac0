/* vise: one program, many commands. `vise-quant` is `vise quant`. stdout carries results, stderr what a person
 * reads; a status is the exit code. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/progress.h"
#include "core/file.h"
#include "core/version.h"
#include "core/workers.h"

#define HELP_BYTES_MAX ((size_t)1 << 20)

/* ---- signals ---------------------------------------------------------------------------------------- */

static void on_signal(int number)
{
    (void)number;
    vise_interrupt();
}

/* The first signal asks the run to stop where it can be resumed; the second ends the process. */
static void catch_signals(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- what needs no command -------------------------------------------------------------------------- */

static vise_status print_help(void (*help)(vise_buf *), FILE *to, vise_error *err)
{
    vise_status status;
    vise_buf text;

    vise_buf_init(&text, HELP_BYTES_MAX);
    help(&text);
    status = vise_buf_check(&text, "the help text", err);
    if (status == VISE_OK && to == stdout)
        status = vise_cli_print(&text, err);
    else if (status == VISE_OK)
        fputs(text.data, to);
    vise_buf_deinit(&text);
    return status;
}

static vise_status print_command_help(const vise_command *command, vise_arena *arena, vise_error *err)
{
    vise_status status;
    vise_buf text;

    vise_buf_init(&text, HELP_BYTES_MAX);
    status = vise_help_command(command, arena, &text, err);
    if (status == VISE_OK)
        status = vise_cli_print(&text, err);
    vise_buf_deinit(&text);
    return status;
}

/* The man page, or the completion. */
static vise_status print_made(vise_status (*make)(vise_arena *arena, vise_buf *out, vise_error *err), vise_arena *arena,
                              vise_error *err)
{
    vise_status status;
    vise_buf text;

    vise_buf_init(&text, HELP_BYTES_MAX);
    status = make(arena, &text, err);
    if (status == VISE_OK)
        status = vise_cli_print(&text, err);
    vise_buf_deinit(&text);
    return status;
}

static vise_status print_version(vise_error *err)
{
    vise_status status;
    vise_buf text;

    vise_buf_init(&text, HELP_BYTES_MAX);
    vise_buf_addf(&text, "vise %s (%s)\n", vise_version(), vise_commit());
    status = vise_buf_check(&text, "the version", err);
    if (status == VISE_OK)
        status = vise_cli_print(&text, err);
    vise_buf_deinit(&text);
    return status;
}

static vise_status unknown_command(const char *name, vise_arena *arena, vise_error *err)
{
    vise_texts names = {0};
    const char *nearest;

    if (vise_is_later(NULL, name))
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s is not in this version of vise (%s)", name,
                         vise_version());
    for (size_t i = 0; i < vise_command_count(); i++)
        VISE_TRY(vise_texts_add(&names, vise_command_at(i).name, arena, err));
    nearest = vise_nearest(name, names.items, names.count);
    if (nearest)
        return VISE_FAIL(err, VISE_EUSAGE, "unknown command '%s'; did you mean '%s'?", name, nearest);
    return VISE_FAIL(err, VISE_EUSAGE, "unknown command '%s'; `vise --help` lists the commands", name);
}

/* ---- a command -------------------------------------------------------------------------------------- */

/* Options of the contract that this version has not got are named as such. */
static vise_status refuse_later(const char *command, int argc, char **argv, vise_error *err)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        char name[64];

        if (strncmp(argv[i], "--", 2) != 0)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(argv[i] + 2, "="), argv[i] + 2);
        if (vise_is_later(command, name))
            return VISE_FAIL(err, VISE_EUNSUPPORTED, "--%s is not in this version of vise (%s)", name,
                             vise_version());
    }
    return VISE_OK;
}

/* `vise plan PASS ARGUMENTS...` is the pass's command with a plan in place of the work: takes PASS out of argv. */
static void turn_into_pass(vise_cli *cli, vise_command *command, int *argc, char **argv)
{
    if (strcmp(command->name, "plan") != 0)
        return;
    for (int i = 0; i < *argc && strcmp(argv[i], "--") != 0; i++) {
        vise_command pass;

        if (argv[i][0] == '-' || !vise_command_find(argv[i], &pass) || !pass.pass)
            continue;
        *command = pass;
        memmove(argv + i, argv + i + 1, (size_t)(*argc - i - 1) * sizeof *argv);
        --*argc;
        cli->plan = true;
        return;
    }
}

/* `vise plan qunat MODEL ...` would end at the first option that is quant's alone. */
static vise_status misspelt_pass(const vise_command *command, int argc, char **argv, vise_error *err)
{
    if (strcmp(command->name, "plan") != 0 || argc < 1 || argv[0][0] == '-' || vise_path_exists(argv[0]))
        return VISE_OK;
    for (size_t i = 0; vise_passes[i]; i++)
        if (vise_nearest(argv[0], &vise_passes[i]->name, 1))
            return VISE_FAIL(err, VISE_EUSAGE, "'%s' is no pass, and there is no such file; did you mean '%s'?",
                             argv[0], vise_passes[i]->name);
    return VISE_OK;
}

static vise_status run_command(vise_cli *cli, vise_command *command, int argc, char **argv, vise_error *err)
{
    vise_options tables[VISE_CLI_TABLES_MAX];
    bool help = false, plans;
    vise_status status;
    size_t count;

    turn_into_pass(cli, command, &argc, argv);
    VISE_TRY(misspelt_pass(command, argc, argv, err));
    plans = cli->plan || strcmp(command->name, "plan") == 0;
    cli->command = command;
    VISE_TRY(vise_arena_take(cli->arena, command->own_size + 1, &cli->own, err));
    cli->windows =
        (vise_text_values){.length = VISE_UNSET_INT, .samples = VISE_UNSET_INT, .seed = VISE_UNSET_INT};
    count = vise_cli_tables(cli, tables);
    for (size_t i = 0; i < count; i++)
        VISE_TRY(vise_options_init(&tables[i], cli->arena, err));
    VISE_TRY(refuse_later(command->name, argc, argv, err));
    status = vise_options_parse(tables, count, argc, argv, cli->arena, &cli->arguments, &help, err);
    if (status == VISE_OK && help)
        return print_command_help(command, cli->arena, err);
    if (status == VISE_OK)
        status = vise_cli_memory(cli->common.memory, plans, &cli->memory, err);
    VISE_TRY(status);
    vise_progress_start(cli->common.progress, cli->common.quiet);
    status = command->run(cli, err);
    vise_progress_stop();
    return status;
}

/* *command is the caller's: cli keeps it after this returns. */
static vise_status run_vise(vise_cli *cli, int argc, char **argv, vise_command *command, const char **program,
                            vise_error *err)
{
    static char link_name[64];
    const char *base = vise_path_base(argv[0]), *name;
    vise_arena *arena = cli->arena;

    if (strncmp(base, "vise-", 5) == 0 && vise_command_find(base + 5, command)) { /* vise-quant: a link */
        snprintf(link_name, sizeof link_name, "%s", base + 5);
        argv[0] = link_name;
    } else {
        argc--;
        argv++;
    }
    if (argc < 1) {
        VISE_TRY(print_help(vise_help_short, stderr, err));
        return VISE_EUSAGE;
    }
    name = argv[0];
    if (strcmp(name, "--version") == 0)
        return print_version(err);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (strcmp(name, "help") == 0 && argc == 1))
        return print_help(vise_help_all, stdout, err);
    if (strcmp(name, "help") == 0 && strcmp(argv[1], "--man") == 0)
        return print_made(vise_help_man, arena, err);
    if (strcmp(name, "help") == 0 && strcmp(argv[1], "--completion") == 0)
        return print_made(vise_help_completion, arena, err);
    if (strcmp(name, "help") == 0) {
        if (!vise_command_find(argv[1], command))
            return unknown_command(argv[1], arena, err);
        return print_command_help(command, arena, err);
    }
    if (name[0] == '-')
        return VISE_FAIL(err, VISE_EUSAGE,
                         "unknown option %s; a command comes first: `vise --help` lists them", name);
    if (!vise_command_find(name, command))
        return unknown_command(name, arena, err);
    VISE_TRY(vise_arena_strfmt(arena, program, err, "vise %s", command->name));
    return run_command(cli, command, argc - 1, argv + 1, err);
}

int main(int argc, char **argv)
{
    const char *program = "vise";
    vise_command command;
    vise_cli cli = {0};
    vise_error err = {0};
    vise_status status;

    if (argc < 1)
        return VISE_EUSAGE;
    catch_signals();
    status = vise_arena_new(&cli.arena, &err);
    if (status == VISE_OK)
        status = run_vise(&cli, argc, argv, &command, &program, &err);
    if (err.status != VISE_OK)
        fprintf(stderr, "%s: %s\n", program, err.message);
    if (err.status == VISE_EINTERRUPTED && cli.command && cli.command->writes)
        fputs("the same command with --resume continues it\n", stderr);
    vise_arena_free(cli.arena);
    return (int)status;
}
