/* How names begin and end. */
#ifndef VISE_FORMATS_NAMES_H
#define VISE_FORMATS_NAMES_H

#include <stdbool.h>
#include <string.h>

static inline bool vise_starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static inline bool vise_ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && memcmp(text + n - m, end, m) == 0;
}

#endif
