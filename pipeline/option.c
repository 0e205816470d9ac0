#include "pipeline/option.h"

#include <stdio.h>
#include <string.h>

#include "pipeline/option_value.h"

vise_status vise_options_init(const vise_options *table, vise_arena *arena, vise_error *err)
{
    for (size_t i = 0; i < table->count; i++)
        VISE_TRY(vise_option_reset(&table->rows[i], table->values, arena, err));
    return VISE_OK;
}

/* ---- the nearest name ------------------------------------------------------------------------------- */

#define NEAREST_MAX   64
#define BEGINNING_MIN 3

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours cost 1. */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t rows[3][NEAREST_MAX + 1]; /* the rows i - 2, i - 1 and i of the table, in turn */

    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3], *two_above = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t replaced = above[j - 1] + (a[i - 1] != b[j - 1]);

            row[j] = least(replaced, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

const char *vise_nearest(const char *text, const char *const *names, size_t count)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX, length = strlen(text), beginnings = 0;

    if (length == 0 || length > NEAREST_MAX)
        return NULL;
    for (size_t i = 0; i < count && length >= BEGINNING_MIN; i++)
        if (strncmp(text, names[i], length) == 0) {
            best = names[i];
            beginnings++;
        }
    if (beginnings == 1)
        return best;
    best = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(names[i]), longer = n > length ? n : length, distance;

        if (n > NEAREST_MAX)
            continue;
        distance = edit_distance(text, length, names[i], n);
        if (distance <= (longer + 2) / 3 && distance < longer && distance < best_distance) {
            best = names[i];
            best_distance = distance;
        }
    }
    return best;
}

/* ---- the command line ------------------------------------------------------------------------------- */

#define LABEL_MAX 128

typedef struct found_row {
    const vise_option *row;
    void *values;
} found_row;

static found_row find_name(const vise_options *tables, size_t n_tables, const char *name, size_t length)
{
    for (size_t t = 0; t < n_tables; t++)
        for (size_t i = 0; i < tables[t].count; i++) {
            const vise_option *row = &tables[t].rows[i];

            if (strlen(row->name) == length && memcmp(row->name, name, length) == 0)
                return (found_row){row, tables[t].values};
        }
    return (found_row){NULL, NULL};
}

static found_row find_letter(const vise_options *tables, size_t n_tables, char letter)
{
    for (size_t t = 0; t < n_tables; t++)
        for (size_t i = 0; i < tables[t].count; i++)
            if (tables[t].rows[i].letter == letter)
                return (found_row){&tables[t].rows[i], tables[t].values};
    return (found_row){NULL, NULL};
}

static vise_status unknown_option(const vise_options *tables, size_t n_tables, const char *name,
                                  vise_arena *arena, vise_error *err)
{
    vise_texts names = {0};
    const char *nearest;

    for (size_t t = 0; t < n_tables; t++)
        for (size_t i = 0; i < tables[t].count; i++)
            VISE_TRY(vise_texts_add(&names, tables[t].rows[i].name, arena, err));
    VISE_TRY(vise_texts_add(&names, "help", arena, err));
    nearest = vise_nearest(name, names.items, names.count);
    if (nearest)
        return VISE_FAIL(err, VISE_EUSAGE, "unknown option --%s; did you mean --%s?", name, nearest);
    return VISE_FAIL(err, VISE_EUSAGE, "unknown option --%s; --help lists those that there are", name);
}

typedef struct cursor {
    int argc, next; /* next argument */
    char **argv;
} cursor;

static vise_status take_value(const found_row *found, const char *label, const char *value, cursor *at,
                              vise_arena *arena, vise_error *err)
{
    if (found->row->type == VISE_OPTION_FLAG) {
        if (value)
            return VISE_FAIL(err, VISE_EUSAGE, "%s takes no value", label);
        *(bool *)((char *)found->values + found->row->offset) = true;
        return VISE_OK;
    }
    if (!value) {
        if (at->next >= at->argc || strncmp(at->argv[at->next], "--", 2) == 0)
            return VISE_FAIL(err, VISE_EUSAGE, "%s needs a value: %s", label,
                             found->row->value ? found->row->value : found->row->name);
        value = at->argv[at->next++];
    }
    return vise_option_set(found->row, found->values, value, label, arena, err);
}

static vise_status take_long(const vise_options *tables, size_t n_tables, const char *argument, cursor *at,
                             vise_arena *arena, vise_error *err)
{
    const char *name = argument + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    found_row found = find_name(tables, n_tables, name, length);
    char label[LABEL_MAX];

    snprintf(label, sizeof label, "--%.*s", (int)least(length, 100), name);
    if (!found.row && !equals && strncmp(name, "no-", 3) == 0) {
        found = find_name(tables, n_tables, name + 3, length - 3);
        if (found.row && found.row->type == VISE_OPTION_FLAG && vise_option_initial_flag(found.row)) {
            *(bool *)((char *)found.values + found.row->offset) = false;
            return VISE_OK;
        }
        found.row = NULL;
    }
    if (!found.row)
        return unknown_option(tables, n_tables, label + 2, arena, err);
    return take_value(&found, label, equals ? equals + 1 : NULL, at, arena, err);
}

static vise_status take_short(const vise_options *tables, size_t n_tables, const char *argument, cursor *at,
                              vise_arena *arena, vise_error *err)
{
    found_row found = find_letter(tables, n_tables, argument[1]);
    char label[LABEL_MAX];

    if (!found.row || argument[2] != '\0')
        return VISE_FAIL(err, VISE_EUSAGE, "unknown option %s", argument);
    snprintf(label, sizeof label, "-%c", argument[1]);
    return take_value(&found, label, NULL, at, arena, err);
}

vise_status vise_options_parse(const vise_options *tables, size_t n_tables, int argc, char **argv,
                               vise_arena *arena, vise_texts *positional, bool *help, vise_error *err)
{
    cursor at = {argc, 0, argv};
    bool ended = false;

    *help = false;
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *help = true;
            return VISE_OK;
        }
    while (at.next < argc) {
        const char *argument = argv[at.next++];

        if (!ended && strcmp(argument, "--") == 0)
            ended = true;
        else if (!ended && strncmp(argument, "--", 2) == 0)
            VISE_TRY(take_long(tables, n_tables, argument, &at, arena, err));
        else if (!ended && argument[0] == '-' && argument[1] != '\0')
            VISE_TRY(take_short(tables, n_tables, argument, &at, arena, err));
        else
            VISE_TRY(vise_texts_add(positional, argument, arena, err));
    }
    return VISE_OK;
}
