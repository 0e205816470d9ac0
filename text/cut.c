#include "text/cut.h"

#include <string.h>

#include "text/unicode.h"

/* ---- matches ----------------------------------------------------------------------------------------- */

static vise_char_class class_of(const vise_cut_walk *walk, uint32_t c)
{
    return c < VISE_CHAR_TABLE ? (vise_char_class)walk->classes[c] : vise_char_class_of(c);
}

static unsigned flags_of(const vise_cut_walk *walk, uint32_t c)
{
    return c < VISE_FLAG_TABLE ? walk->flags[c] : vise_char_flags(c);
}

/* 0: no part of a match. Characters of kind 1 are matches each, of 2 and 3 in runs. */
static int kind_of(const vise_cut_walk *walk, uint32_t c)
{
    switch (walk->cut->kind) {
    case VISE_CUT_PUNCTUATION:
        return (flags_of(walk, c) & VISE_FLAG_PUNCT) != 0;
    case VISE_CUT_NUMERIC:
        return (flags_of(walk, c) & VISE_FLAG_NUMERIC) != 0;
    case VISE_CUT_SPACE:
        return class_of(walk, c) == VISE_CHAR_SPACE;
    default:
        if (vise_char_is_word(c))
            return 2;
        return class_of(walk, c) == VISE_CHAR_SPACE ? 0 : 3;
    }
}

static void find_character(const vise_cut_walk *walk, size_t from, bool *found, size_t *start, size_t *end)
{
    size_t n;

    for (size_t at = from; at < walk->length; at += n) {
        int kind = kind_of(walk, vise_utf8_at(walk->text + at, &n));
        if (kind == 0)
            continue;
        *found = true;
        *start = at;
        *end = at + n;
        while (kind > 1 && *end < walk->length && kind_of(walk, vise_utf8_at(walk->text + *end, &n)) == kind)
            *end += n;
        return;
    }
}

static vise_status find(const vise_cut_walk *walk, size_t from, bool *found, size_t *start, size_t *end,
                        vise_error *err)
{
    const vise_cut *cut = walk->cut;
    const char *place;

    *found = false;
    if (cut->kind == VISE_CUT_REGEX)
        return vise_regex_find(cut->regex, walk->regex, walk->text, walk->length, from, found, start, end,
                               err);
    if (cut->kind != VISE_CUT_STRING) {
        find_character(walk, from, found, start, end);
        return VISE_OK;
    }
    place = memmem(walk->text + from, walk->length - from, cut->string, cut->string_length);
    if (place != NULL) {
        *found = true;
        *start = (size_t)(place - walk->text);
        *end = *start + cut->string_length;
    }
    return VISE_OK;
}

/* ---- parts ------------------------------------------------------------------------------------------- */

/* The part behind those that were taken; false at the end. */
static vise_status take(vise_cut_walk *walk, bool *more, vise_cut_part *part, vise_error *err)
{
    size_t start = walk->length, end = walk->length;
    bool found;

    *more = true;
    if (walk->n_held > 0) {
        *part = walk->held[0];
        walk->held[0] = walk->held[1];
        walk->n_held--;
        return VISE_OK;
    }
    *more = walk->at < walk->length;
    if (!*more)
        return VISE_OK;
    VISE_TRY(find(walk, walk->at, &found, &start, &end, err));
    if (!found)
        start = end = walk->length;
    if (start > walk->at) {
        *part = (vise_cut_part){walk->at, start, walk->cut->invert};
        if (found)
            walk->held[walk->n_held++] = (vise_cut_part){start, end, !walk->cut->invert};
    } else {
        *part = (vise_cut_part){start, end, !walk->cut->invert};
    }
    walk->at = end;
    return VISE_OK;
}

/* Looks at the next part without taking it. */
static vise_status look(vise_cut_walk *walk, bool *more, vise_cut_part *part, vise_error *err)
{
    VISE_TRY(take(walk, more, part, err));
    if (!*more)
        return VISE_OK;
    if (walk->n_held > 0)
        walk->held[1] = walk->held[0];
    walk->held[0] = *part;
    walk->n_held++;
    return VISE_OK;
}

vise_status vise_cut_next(vise_cut_walk *walk, bool *more, size_t *start, size_t *end, vise_error *err)
{
    vise_behavior behavior = walk->cut->behavior;
    vise_cut_part part, next = {0};
    bool follows, joins;

    do {
        VISE_TRY(take(walk, more, &part, err));
        if (!*more)
            return VISE_OK;
    } while (behavior == VISE_CUT_REMOVED && part.match);
    *start = part.start;
    *end = part.end;
    if (behavior == VISE_CUT_ISOLATED || behavior == VISE_CUT_REMOVED)
        return VISE_OK;
    for (;;) {
        VISE_TRY(look(walk, &follows, &next, err));
        joins = behavior == VISE_CUT_CONTIGUOUS      ? next.match == part.match
                : behavior == VISE_CUT_WITH_PREVIOUS ? next.match && !part.match
                                                     : part.match && !next.match;
        if (!follows || !joins)
            return VISE_OK;
        VISE_TRY(take(walk, &follows, &next, err));
        *end = next.end;
        if (behavior != VISE_CUT_CONTIGUOUS)
            return VISE_OK;
    }
}
