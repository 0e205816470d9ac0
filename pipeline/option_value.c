#include "pipeline/option_value.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From here on a double holds every whole number; nothing that an option counts is larger. */
#define INT_MAX_EXACT 9007199254740992.0
/* Upper bounds from here on only keep arithmetic safe: nobody needs to read them. */
#define RANGE_SHOWN_MAX 1e9

static void *place_of(const vise_option *row, void *values)
{
    return (char *)values + row->offset;
}

bool vise_option_initial_flag(const vise_option *row)
{
    return row->initial && strcmp(row->initial, "true") == 0;
}

const char *vise_option_range(const vise_option *row, char text[VISE_OPTION_RANGE_MAX])
{
    text[0] = '\0';
    if (row->min == 0.0 && row->max == 0.0)
        return text;
    if (row->max >= RANGE_SHOWN_MAX)
        snprintf(text, VISE_OPTION_RANGE_MAX, "at least %.15g", row->min);
    else
        snprintf(text, VISE_OPTION_RANGE_MAX, "%.15g to %.15g", row->min, row->max);
    return text;
}

static vise_status check_range(const vise_option *row, double number, const char *label, vise_error *err)
{
    char range[VISE_OPTION_RANGE_MAX];

    if (row->min == 0.0 && row->max == 0.0)
        return VISE_OK;
    if (number >= row->min && number <= row->max)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EUSAGE, "%s: %.15g is out of range; it must be %s", label, number,
                     vise_option_range(row, range));
}

vise_status vise_option_set_number(const vise_option *row, void *values, double number, const char *label,
                                   vise_error *err)
{
    switch (row->type) {
    case VISE_OPTION_INT:
        if (!(number == rint(number)) || fabs(number) > INT_MAX_EXACT)
            return VISE_FAIL(err, VISE_EUSAGE, "%s: %.15g is no whole number", label, number);
        VISE_TRY(check_range(row, number, label, err));
        *(int64_t *)place_of(row, values) = (int64_t)number;
        return VISE_OK;
    case VISE_OPTION_NUMBER:
        if (!isfinite(number))
            return VISE_FAIL(err, VISE_EUSAGE, "%s: the number must be finite", label);
        VISE_TRY(check_range(row, number, label, err));
        *(double *)place_of(row, values) = number;
        return VISE_OK;
    case VISE_OPTION_SIZE:
        if (!(number == rint(number)) || number < 0.0 || number > INT_MAX_EXACT)
            return VISE_FAIL(err, VISE_EUSAGE, "%s: %.15g is no number of bytes", label, number);
        *(uint64_t *)place_of(row, values) = (uint64_t)number;
        return VISE_OK;
    default:
        return VISE_FAIL(err, VISE_EUSAGE, "%s: a number where a text is meant", label);
    }
}

static vise_status set_int(const vise_option *row, void *values, const char *text, const char *label,
                           vise_error *err)
{
    char *end = NULL;
    long long number;

    errno = 0;
    number = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || text[0] == ' ' || errno == ERANGE ||
        fabs((double)number) > INT_MAX_EXACT)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: '%s' is no whole number", label, text);
    return vise_option_set_number(row, values, (double)number, label, err);
}

static vise_status set_number(const vise_option *row, void *values, const char *text, const char *label,
                              vise_error *err)
{
    char *end = NULL;
    double number;

    errno = 0;
    number = strtod(text, &end);
    if (end == text || *end != '\0' || text[0] == ' ' || !isfinite(number))
        return VISE_FAIL(err, VISE_EUSAGE, "%s: '%s' is no number", label, text);
    return vise_option_set_number(row, values, number, label, err);
}

static vise_status set_size(const vise_option *row, void *values, const char *text, const char *label,
                            vise_error *err)
{
    vise_error inner = {0};
    uint64_t bytes;

    if (vise_parse_size(text, &bytes, &inner) != VISE_OK)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: %s", label, inner.message);
    if ((double)bytes > INT_MAX_EXACT)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: '%s' is too large", label, text);
    *(uint64_t *)place_of(row, values) = bytes;
    return VISE_OK;
}

#define CHOICES_MAX 32

/* Splits "a|b|c" into names in the arena. */
static vise_status split_choices(const char *choices, vise_arena *arena, const char **names, size_t *count,
                                 vise_error *err)
{
    *count = 0;
    for (const char *from = choices; from && *count < CHOICES_MAX;) {
        const char *bar = strchr(from, '|');
        size_t length = bar ? (size_t)(bar - from) : strlen(from);

        VISE_TRY(vise_arena_strdup(arena, from, length, &names[*count], err));
        ++*count;
        from = bar ? bar + 1 : NULL;
    }
    return VISE_OK;
}

static vise_status set_choice(const vise_option *row, void *values, const char *text, const char *label,
                              vise_arena *arena, vise_error *err)
{
    const char *names[CHOICES_MAX] = {NULL};
    const char *nearest;
    char listed[256] = "";
    size_t count, used = 0;

    VISE_TRY(split_choices(row->choices, arena, names, &count, err));
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], text) == 0) {
            *(const char **)place_of(row, values) = names[i];
            return VISE_OK;
        }
    nearest = vise_nearest(text, names, count);
    if (nearest)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: unknown value '%s'; did you mean '%s'?", label, text,
                         nearest);
    for (size_t i = 0; i < count && used < sizeof listed; i++)
        used += (size_t)snprintf(listed + used, sizeof listed - used, "%s%s", i ? ", " : "", names[i]);
    return VISE_FAIL(err, VISE_EUSAGE, "%s: unknown value '%s'; it is one of %s", label, text, listed);
}

vise_status vise_texts_add(vise_texts *texts, const char *text, vise_arena *arena, vise_error *err)
{
    if (texts->count == texts->capacity) {
        size_t capacity = texts->capacity ? 2 * texts->capacity : 4, bytes;
        void *items;

        if (!vise_mul_size(capacity, sizeof *texts->items, &bytes))
            return VISE_FAIL(err, VISE_ERESOURCE, "too many texts in a list");
        VISE_TRY(vise_arena_take(arena, bytes, &items, err));
        if (texts->count > 0)
            memcpy(items, texts->items, texts->count * sizeof *texts->items);
        texts->items = items;
        texts->capacity = capacity;
    }
    VISE_TRY(vise_arena_strdup(arena, text, strlen(text), &texts->items[texts->count], err));
    texts->count++;
    return VISE_OK;
}

vise_status vise_option_set(const vise_option *row, void *values, const char *text, const char *label,
                            vise_arena *arena, vise_error *err)
{
    switch (row->type) {
    case VISE_OPTION_TEXT:
    case VISE_OPTION_PATH:
        if (text[0] == '\0')
            return VISE_FAIL(err, VISE_EUSAGE, "%s: the value is empty", label);
        return vise_arena_strdup(arena, text, strlen(text), place_of(row, values), err);
    case VISE_OPTION_CHOICE:
        return set_choice(row, values, text, label, arena, err);
    case VISE_OPTION_INT:
        return set_int(row, values, text, label, err);
    case VISE_OPTION_NUMBER:
        return set_number(row, values, text, label, err);
    case VISE_OPTION_SIZE:
        return set_size(row, values, text, label, err);
    case VISE_OPTION_LIST:
        if (text[0] == '\0')
            return VISE_FAIL(err, VISE_EUSAGE, "%s: the value is empty", label);
        return vise_texts_add(place_of(row, values), text, arena, err);
    case VISE_OPTION_FLAG:
        break;
    }
    return VISE_FAIL(err, VISE_EINTERNAL, "%s: a flag takes no text", label);
}

vise_status vise_option_reset(const vise_option *row, void *values, vise_arena *arena, vise_error *err)
{
    void *place = place_of(row, values);

    switch (row->type) {
    case VISE_OPTION_FLAG:
        *(bool *)place = vise_option_initial_flag(row);
        return VISE_OK;
    case VISE_OPTION_TEXT:
    case VISE_OPTION_PATH:
    case VISE_OPTION_CHOICE:
        *(const char **)place = NULL;
        break;
    case VISE_OPTION_INT:
        *(int64_t *)place = VISE_UNSET_INT;
        break;
    case VISE_OPTION_NUMBER:
        *(double *)place = NAN;
        break;
    case VISE_OPTION_SIZE:
        *(uint64_t *)place = VISE_UNSET_SIZE;
        break;
    case VISE_OPTION_LIST:
        memset(place, 0, sizeof(vise_texts));
        break;
    }
    return row->initial ? vise_option_set(row, values, row->initial, row->name, arena, err) : VISE_OK;
}
