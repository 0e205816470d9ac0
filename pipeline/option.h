/* Option tables: one row per option drives the command line, --help, the recipe's keys, their errors and the docs, so
 * that they cannot drift. Values land in a plain struct, at the row's offset:
 *
 *   FLAG bool   TEXT, PATH, CHOICE const char *   INT int64_t   NUMBER double   SIZE uint64_t   LIST vise_texts
 *
 * An option without a default that was not given: false, NULL, VISE_UNSET_INT, NaN, VISE_UNSET_SIZE, an empty list.
 */
#ifndef VISE_PIPELINE_OPTION_H
#define VISE_PIPELINE_OPTION_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/json.h"
#include "core/mem.h"

typedef enum vise_option_type {
    VISE_OPTION_FLAG,
    VISE_OPTION_TEXT,
    VISE_OPTION_PATH, /* in a recipe relative to the recipe's folder */
    VISE_OPTION_CHOICE,
    VISE_OPTION_INT,
    VISE_OPTION_NUMBER,
    VISE_OPTION_SIZE,
    VISE_OPTION_LIST /* may be given again; in a recipe a list of texts */
} vise_option_type;

#define VISE_UNSET_INT INT64_MIN
#define VISE_UNSET_SIZE UINT64_MAX

typedef struct vise_texts {
    const char **items;
    size_t count, capacity;
} vise_texts;

/* Appends a copy; texts and array live in the arena. */
VISE_MUST_USE vise_status vise_texts_add(vise_texts *texts, const char *text, vise_arena *arena, vise_error *err);

typedef struct vise_option {
    const char *name;    /* "damp": --damp on the command line, "damp" in a recipe ('-' becomes '_') */
    char letter;         /* 'o' for -o, or 0 */
    vise_option_type type;
    size_t offset;       /* in the struct */
    double min, max;     /* INT, NUMBER; both 0: no bounds */
    const char *initial; /* default, as it would be typed; NULL: none */
    const char *choices; /* CHOICE: "rtn|gptq" */
    const char *value;   /* how help names the value: "FILE" */
    const char *help;    /* one sentence, lower case, no full stop */
} vise_option;

/* A table: rows and the size of the struct. Several tables can serve one command (its own, the common ones). */
typedef struct vise_options {
    const vise_option *rows;
    size_t count;
    const char *title; /* heading in help: "Options", "Output", "Common"; NULL: goes on under the last heading */
    void *values;      /* the struct */
} vise_options;

/* Sets every row of the table to its default. */
VISE_MUST_USE vise_status vise_options_init(const vise_options *table, vise_arena *arena, vise_error *err);

/* Parses argv (without the program and command names): options go to the tables, the rest to positional.
 * "--name value", "--name=value", "-o value", "--no-flag" for flags whose default is true; "--" ends options. Unknown
 * options name the nearest one. *help is set when --help or -h stands anywhere (nothing else is then checked). */
VISE_MUST_USE vise_status vise_options_parse(const vise_options *tables, size_t n_tables, int argc, char **argv,
                                             vise_arena *arena, vise_texts *positional, bool *help,
                                             vise_error *err);

/* Takes values from a JSON object; keys in `known` (NULL-terminated) belong to the caller. `name` is the recipe's
 * path, `where` the place in it ("passes[1]"), folder its folder. Unknown keys are VISE_EUSAGE and name the nearest
 * right one. */
VISE_MUST_USE vise_status vise_options_from_json(const vise_options *table, const cJSON *object,
                                                 const char *const *known, const char *name, const char *where,
                                                 const char *folder, vise_arena *arena, vise_error *err);

/* The values that differ from their defaults, as members of the object being written. */
void vise_options_to_json(const vise_options *table, vise_json_writer *writer);

/* The help text of a table: aligned rows with value names, ranges and defaults. */
void vise_options_help(const vise_options *table, vise_buf *out);

/* One row of such a table: the head, and the text in a column beside it, wrapped. */
void vise_help_row(const char *head, const char *text, vise_buf *out);

/* The nearest of `names`: the only one that begins with text (of 3 letters or more), else by edit distance (at most a
 * third of the length); or NULL. */
const char *vise_nearest(const char *text, const char *const *names, size_t count);

#endif
