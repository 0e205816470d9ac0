/* Pre-tokenizers that cut a text at matches: of a regular expression, a string, or characters of a kind. The text
 * is a row of matches and gaps; the behavior says what becomes of the matches.
 */
#ifndef VISE_TEXT_CUT_H
#define VISE_TEXT_CUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "text/regex.h"

typedef enum vise_cut_kind {
    VISE_CUT_REGEX,
    VISE_CUT_STRING,
    VISE_CUT_PUNCTUATION, /* each character */
    VISE_CUT_NUMERIC,     /* each character */
    VISE_CUT_SPACE,       /* each character */
    VISE_CUT_WORDS        /* \w+|[^\w\s]+ */
} vise_cut_kind;

typedef enum vise_behavior {
    VISE_CUT_ISOLATED,      /* a match is a piece */
    VISE_CUT_REMOVED,       /* matches vanish */
    VISE_CUT_CONTIGUOUS,    /* neighbouring matches are one piece */
    VISE_CUT_WITH_PREVIOUS, /* a match joins the gap in front of it */
    VISE_CUT_WITH_NEXT      /* or behind */
} vise_behavior;

typedef struct vise_cut {
    vise_cut_kind kind;
    vise_behavior behavior;
    bool invert;        /* gaps are matches, and matches gaps */
    vise_regex *regex;  /* borrowed */
    const char *string; /* borrowed, not empty */
    size_t string_length;
} vise_cut;

typedef struct vise_cut_part {
    size_t start, end;
    bool match;
} vise_cut_part;

typedef struct vise_cut_walk {
    const vise_cut *cut;
    const uint8_t *classes; /* vise_char_table's */
    const uint8_t *flags;   /* vise_flag_table's */
    vise_regex_scratch *regex;
    const char *text;
    size_t length, at;
    vise_cut_part held[2]; /* parts that were looked at in advance */
    size_t n_held;
} vise_cut_walk;

/* The next piece, never empty; *more is false at the end. Set the walk's first fields and length before. */
VISE_MUST_USE vise_status vise_cut_next(vise_cut_walk *walk, bool *more, size_t *start, size_t *end,
                                        vise_error *err);

#endif
