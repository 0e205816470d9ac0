/* Help, made from the tables. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/version.h"

static void put_commands(vise_buf *out)
{
    const char *group = NULL;

    for (size_t i = 0; i < vise_command_count(); i++) {
        vise_command command = vise_command_at(i);

        if (!group || strcmp(group, command.group) != 0)
            vise_buf_addf(out, "\n%s\n", command.group);
        group = command.group;
        vise_buf_addf(out, "  %-10s %s\n", command.name, command.summary);
    }
}

void vise_help_short(vise_buf *out)
{
    vise_buf_add_text(out, "Usage: vise COMMAND [arguments]\n");
    put_commands(out);
    vise_buf_add_text(out, "\n`vise help COMMAND` shows the options of a command.\n");
}

void vise_help_all(vise_buf *out)
{
    vise_buf_addf(out,
                  "vise %s makes Hugging Face models small: it prunes, quantizes and packs them,\n"
                  "and reports what that cost in accuracy and memory.\n\n",
                  vise_version());
    vise_help_short(out);
    vise_buf_add_text(
        out, "MODEL is a Hugging Face folder or one file: .safetensors, .gguf, or what torch.save wrote (.bin,\n"
             ".pt, .pth, .ckpt), read without executing any of it.\n\n"
             "`vise --version` shows version and build, `vise help --man` a man page,\n"
             "`vise help --completion` a completion for bash.\n\n"
             "Exit codes: 0 done, 1 a goal or budget was not met, 2 wrong usage, 3 malformed input,\n"
             "4 out of a resource, 5 not supported, 6 interrupted and resumable.\n");
}

static void put_usage(const vise_command *command, vise_buf *out)
{
    const char *line = command->usage;

    if (command->pass) {
        vise_buf_addf(out, "Usage: vise %s MODEL -o OUT [options]\n", command->name);
        return;
    }
    for (bool first = true; line; first = false) {
        const char *end = strchr(line, '\n');
        size_t length = end ? (size_t)(end - line) : strlen(line);

        vise_buf_add_text(out, first ? "Usage: vise " : "       vise ");
        vise_buf_add(out, line, length);
        vise_buf_add_char(out, '\n');
        line = end ? end + 1 : NULL;
    }
}

static void put_methods(const vise_pass *pass, vise_buf *out)
{
    vise_buf_add_text(out, "\nMethods\n");
    for (size_t i = 0; pass->methods[i]; i++) {
        char head[64];

        snprintf(head, sizeof head, "  %s", pass->methods[i]->name);
        vise_help_row(head, pass->methods[i]->summary, out);
    }
}

vise_status vise_help_command(const vise_command *command, vise_arena *arena, vise_buf *out, vise_error *err)
{
    vise_cli cli = {.command = command, .arena = arena};
    vise_options tables[VISE_CLI_TABLES_MAX];
    size_t count;

    VISE_TRY(vise_arena_take(arena, command->own_size + 1, &cli.own, err));
    count = vise_cli_tables(&cli, tables);
    vise_buf_addf(out, "vise %s: %s\n\n", command->name, command->summary);
    put_usage(command, out);
    if (command->pass)
        put_methods(command->pass, out);
    for (size_t i = 0; i < count; i++)
        vise_options_help(&tables[i], out);
    vise_help_row("  -h, --help", "show this text", out);
    if (command->example)
        vise_buf_addf(out, "\nExample\n  %s\n", command->example);
    return vise_buf_check(out, "the help text", err);
}
