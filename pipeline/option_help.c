#include <stdio.h>
#include <string.h>

#include "pipeline/option.h"
#include "pipeline/option_value.h"

#define HEAD_MAX    128
#define HELP_COLUMN 30
#define HELP_WIDTH  100

/* Choices up to this long stand for the value's name. */
#define CHOICES_SHORT 28

static bool shows_choices(const vise_option *row)
{
    return row->choices && (!row->value || strlen(row->choices) <= CHOICES_SHORT);
}

/* "  -o, --output OUT" */
static void put_head(const vise_option *row, char head[HEAD_MAX])
{
    const char *value = shows_choices(row) ? row->choices : row->value;
    bool negated = row->type == VISE_OPTION_FLAG && vise_option_initial_flag(row);
    char letter[8] = "    ";

    if (row->letter)
        snprintf(letter, sizeof letter, "-%c, ", row->letter);
    if (row->type == VISE_OPTION_FLAG)
        snprintf(head, HEAD_MAX, "  %s--%s%s", letter, negated ? "no-" : "", row->name);
    else
        snprintf(head, HEAD_MAX, "  %s--%s %s", letter, row->name, value ? value : "VALUE");
}

/* The sentence, its choices, its range and its default. */
static void put_sentence(const vise_option *row, vise_buf *out)
{
    char range[VISE_OPTION_RANGE_MAX];

    vise_buf_add_text(out, row->help);
    if (row->choices && !shows_choices(row))
        vise_buf_addf(out, ": %s", row->choices);
    vise_option_range(row, range);
    if (range[0])
        vise_buf_addf(out, ", %s", range);
    if (row->initial && row->type != VISE_OPTION_FLAG)
        vise_buf_addf(out, " (default %s)", row->initial);
}

/* Words of text in lines up to HELP_WIDTH that begin at HELP_COLUMN; the cursor stands at column. */
static void put_wrapped(const char *text, size_t column, vise_buf *out)
{
    bool first = true;

    while (*text) {
        size_t length = strcspn(text, " ");

        if (!first && column + 1 + length > HELP_WIDTH) {
            vise_buf_addf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (!first) {
            vise_buf_add_char(out, ' ');
            column++;
        }
        vise_buf_add(out, text, length);
        column += length;
        first = false;
        text += length;
        text += strspn(text, " ");
    }
    vise_buf_add_char(out, '\n');
}

void vise_help_row(const char *head, const char *text, vise_buf *out)
{
    size_t length = strlen(head);

    vise_buf_add_text(out, head);
    if (length + 2 > HELP_COLUMN)
        vise_buf_addf(out, "\n%*s", HELP_COLUMN, "");
    else
        vise_buf_addf(out, "%*s", HELP_COLUMN - (int)length, "");
    put_wrapped(text, HELP_COLUMN, out);
}

void vise_options_help(const vise_options *table, vise_buf *out)
{
    if (table->title && table->count > 0)
        vise_buf_addf(out, "\n%s\n", table->title);
    for (size_t i = 0; i < table->count; i++) {
        char head[HEAD_MAX];
        vise_buf sentence;

        put_head(&table->rows[i], head);
        vise_buf_init(&sentence, 4096);
        put_sentence(&table->rows[i], &sentence);
        vise_help_row(head, sentence.data ? sentence.data : "", out);
        vise_buf_deinit(&sentence);
    }
}
