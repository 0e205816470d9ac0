/* The man page, made from the same tables as the help: `vise help --man`. */
#include <string.h>

#include "cli/cli.h"
#include "core/version.h"

/* Text for roff: a hyphen that is to be typed, a backslash, and a line that must not begin a request. */
static void put_roff(vise_buf *out, const char *text)
{
    for (bool first = true; *text; text++, first = false) {
        if (first && (*text == '.' || *text == '\''))
            vise_buf_add_text(out, "\\&");
        if (*text == '-')
            vise_buf_add_text(out, "\\-");
        else if (*text == '\\')
            vise_buf_add_text(out, "\\e");
        else
            vise_buf_add_char(out, *text);
    }
}

static void put_option(const vise_option *row, vise_buf *out)
{
    const char *value = row->choices ? row->choices : row->value;
    bool flag = row->type == VISE_OPTION_FLAG;

    vise_buf_add_text(out, ".TP\n");
    if (row->letter)
        vise_buf_addf(out, "\\fB\\-%c\\fR, ", row->letter);
    vise_buf_add_text(out, flag && row->initial ? "\\fB\\-\\-no\\-" : "\\fB\\-\\-");
    put_roff(out, row->name);
    vise_buf_add_text(out, "\\fR");
    if (!flag) {
        vise_buf_add_text(out, " \\fI");
        put_roff(out, value ? value : "VALUE");
        vise_buf_add_text(out, "\\fR");
    }
    vise_buf_add_char(out, '\n');
    put_roff(out, row->help);
    if (row->initial && !flag) {
        vise_buf_add_text(out, " (default ");
        put_roff(out, row->initial);
        vise_buf_add_char(out, ')');
    }
    vise_buf_add_text(out, ".\n");
}

static void put_usage(const vise_command *command, vise_buf *out)
{
    const char *line = command->usage;

    if (command->pass) {
        vise_buf_addf(out, ".PP\n\\fBvise %s\\fR MODEL \\-o OUT [options]\n", command->name);
        return;
    }
    vise_buf_add_text(out, ".PP\n.nf\n");
    while (line) {
        const char *end = strchr(line, '\n');
        size_t length = end ? (size_t)(end - line) : strlen(line);

        vise_buf_add_text(out, "vise ");
        for (size_t i = 0; i < length; i++)
            put_roff(out, (char[]){line[i], '\0'});
        vise_buf_add_char(out, '\n');
        line = end ? end + 1 : NULL;
    }
    vise_buf_add_text(out, ".fi\n");
}

/* A command's own options; those that many share stand once, behind all commands. */
static void put_command(const vise_command *command, vise_buf *out)
{
    vise_buf_addf(out, ".SS %s\n", command->name);
    put_roff(out, command->summary);
    vise_buf_add_text(out, ".\n");
    put_usage(command, out);
    for (size_t i = 0; command->pass && command->pass->methods[i]; i++) {
        vise_buf_addf(out, ".TP\nmethod \\fB%s\\fR\n", command->pass->methods[i]->name);
        put_roff(out, command->pass->methods[i]->summary);
        vise_buf_add_text(out, ".\n");
    }
    for (size_t i = 0; i < command->n_rows; i++)
        put_option(&command->rows[i], out);
}

static vise_status put_shared(vise_arena *arena, vise_buf *out, vise_error *err)
{
    vise_options tables[VISE_CLI_TABLES_MAX];
    vise_cli cli = {.arena = arena};
    vise_command command;
    size_t count, own;

    if (!vise_passes[0] || !vise_command_find(vise_passes[0]->name, &command))
        return VISE_FAIL(err, VISE_EINTERNAL, "there are no passes");
    cli.command = &command;
    count = vise_cli_tables(&cli, tables);
    own = command.n_rows > 0;
    for (size_t t = own; t < count; t++) {
        if (tables[t].title)
            vise_buf_addf(out, ".SS %s options\n", tables[t].title);
        for (size_t i = 0; i < tables[t].count; i++)
            put_option(&tables[t].rows[i], out);
    }
    return VISE_OK;
}

vise_status vise_help_man(vise_arena *arena, vise_buf *out, vise_error *err)
{
    static const char *const codes[] = {"done",
                                        "a goal or budget was not met",
                                        "wrong usage",
                                        "malformed input",
                                        "out of a resource",
                                        "not supported",
                                        "interrupted, resumable"};

    vise_buf_addf(out, ".TH VISE 1 \"\" \"vise %s\" \"User Commands\"\n", vise_version());
    vise_buf_add_text(
        out, ".SH NAME\nvise \\- make Hugging Face models small\n"
             ".SH SYNOPSIS\n\\fBvise\\fR COMMAND [arguments]\n"
             ".SH DESCRIPTION\nvise prunes, quantizes and packs models, and reports what that cost in "
             "accuracy and memory.\nResults go to standard output, progress and notes to standard "
             "error.\n.SH COMMANDS\n");
    for (size_t i = 0; i < vise_command_count(); i++) {
        vise_command command = vise_command_at(i);

        put_command(&command, out);
    }
    vise_buf_add_text(out, ".SH SHARED OPTIONS\n");
    VISE_TRY(put_shared(arena, out, err));
    vise_buf_add_text(out, ".SH EXIT STATUS\n");
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        vise_buf_addf(out, ".TP\n%zu\n%s\n", i, codes[i]);
    return vise_buf_check(out, "the man page", err);
}
