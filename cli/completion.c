/* Completion for bash, made from the same tables as the help: `vise help --completion`. One function asks which command
 * stands on the line, offers its options, and behind an option what it takes. */
#include <string.h>

#include "cli/cli.h"
#include "core/version.h"

static void put_name(const vise_option *row, vise_buf *out)
{
    vise_buf_addf(out, row->type == VISE_OPTION_FLAG && row->initial ? " --no-%s" : " --%s", row->name);
}

/* Words of "a|b|c". */
static void put_choices(const char *choices, vise_buf *out)
{
    for (; *choices; choices++)
        vise_buf_add_char(out, *choices == '|' ? ' ' : *choices);
}

/* What comes behind an option: one of its words, a path, or nothing that is known. */
static void put_value(const vise_option *row, vise_buf *out)
{
    if (row->type == VISE_OPTION_FLAG)
        return;
    vise_buf_add_text(out, "    ");
    if (row->letter)
        vise_buf_addf(out, "-%c|", row->letter);
    vise_buf_addf(out, "--%s) ", row->name);
    if (row->choices) {
        vise_buf_add_text(out, "kind=words words='");
        put_choices(row->choices, out);
        vise_buf_add_char(out, '\'');
    } else {
        vise_buf_add_text(out, row->type == VISE_OPTION_PATH ? "kind=path" : "kind=other");
    }
    vise_buf_add_text(out, " ;;\n");
}

/* Options of one command, or of `vise plan` of a pass: the words, then a case for those that take a value. */
static vise_status put_command(const vise_command *command, bool plan, vise_arena *arena, vise_buf *out,
                               vise_error *err)
{
    vise_cli cli = {.command = command, .arena = arena, .plan = plan};
    vise_options tables[VISE_CLI_TABLES_MAX];
    size_t count;

    VISE_TRY(vise_arena_take(arena, command->own_size + 1, &cli.own, err));
    count = vise_cli_tables(&cli, tables);
    vise_buf_addf(out, plan ? "  'plan %s')\n    options='--help" : "  %s)\n    options='--help",
                  command->name);
    for (size_t t = 0; t < count; t++)
        for (size_t i = 0; i < tables[t].count; i++)
            put_name(&tables[t].rows[i], out);
    vise_buf_add_text(out, "'\n");
    vise_buf_add_text(out, "    case $before in\n");
    for (size_t t = 0; t < count; t++)
        for (size_t i = 0; i < tables[t].count; i++)
            put_value(&tables[t].rows[i], out);
    vise_buf_add_text(out, "    esac ;;\n");
    return VISE_OK;
}

/* Names with something between them. */
static void put_commands(bool passes_alone, const char *front, const char *between, vise_buf *out)
{
    for (size_t i = 0, n = 0; i < vise_command_count(); i++) {
        vise_command command = vise_command_at(i);

        if (!passes_alone || command.pass)
            vise_buf_addf(out, "%s%s%s", n++ > 0 ? between : "", front, command.name);
    }
}

/* Which command it is. "--name=value" comes as three words. */
static const char head[] =
    "_vise()\n"
    "{\n"
    "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${1##*/}\n"
    "  local options= words= kind= passes= at=1\n"
    "  COMPREPLY=()\n"
    "  if [[ $word == = ]]; then word=\n"
    "  elif [[ $before == = ]]; then before=${COMP_WORDS[COMP_CWORD-2]}\n"
    "  fi\n"
    "  if [[ $command == vise-* ]]; then command=${command#vise-}\n"
    "  elif ((COMP_CWORD == 1)); then command=\n"
    "  else command=${COMP_WORDS[1]} at=2\n"
    "  fi\n"
    "  for ((; at < COMP_CWORD; at++)); do # of a plan: the pass, if one is named\n"
    "    [[ $command == plan ]] || break\n";

static const char tail[] = "  *) return ;;\n"
                           "  esac\n"
                           "  if [[ $kind == other ]]; then return\n"
                           "  elif [[ -z $kind && $word == -* ]]; then words=$options\n"
                           "  elif [[ -z $kind && $command == plan ]]; then kind=any words=$passes\n"
                           "  fi\n"
                           "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
                           "  if [[ -z $words || $kind == any ]]; then\n"
                           "    compopt -o filenames 2>/dev/null\n"
                           "    local IFS=$'\\n'\n"
                           "    COMPREPLY+=($(compgen -f -- \"$word\"))\n"
                           "  fi\n"
                           "}\n"
                           "complete -F _vise vise ";

vise_status vise_help_completion(vise_arena *arena, vise_buf *out, vise_error *err)
{
    vise_buf_addf(out, "# bash completion for vise %s, made by `vise help --completion`\n%s", vise_version(),
                  head);
    vise_buf_add_text(out, "    case ${COMP_WORDS[at]} in ");
    put_commands(true, "", "|", out);
    vise_buf_add_text(out, ") command=\"plan ${COMP_WORDS[at]}\" ;; esac\n"
                           "  done\n"
                           "  passes='");
    put_commands(true, "", " ", out);
    vise_buf_add_text(out, "'\n"
                           "  case $command in\n"
                           "  '') words='help --help --version ");
    put_commands(false, "", " ", out);
    vise_buf_add_text(out, "' kind=words ;;\n"
                           "  help) words='--man --completion ");
    put_commands(false, "", " ", out);
    vise_buf_add_text(out, "' kind=words ;;\n");
    for (size_t i = 0; i < vise_command_count(); i++) {
        vise_command command = vise_command_at(i);

        VISE_TRY(put_command(&command, false, arena, out, err));
        if (command.pass)
            VISE_TRY(put_command(&command, true, arena, out, err));
    }
    vise_buf_add_text(out, tail);
    put_commands(true, "vise-", " ", out);
    vise_buf_add_char(out, '\n');
    return vise_buf_check(out, "the completion", err);
}
