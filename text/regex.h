/* Regular expressions of tokenizer.json, which are Oniguruma's (Ruby's syntax), run by PCRE2. The two agree on
 * less than it seems, so an expression is translated piece by piece, and what may mean something else is refused
 * (VISE_EUNSUPPORTED): back references, \w, \b, class differences, multi-character case folding.
 */
#ifndef VISE_TEXT_REGEX_H
#define VISE_TEXT_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"
#include "core/err.h"

typedef struct vise_regex vise_regex;

/* name is the file for errors. An expression that matches the empty text is refused, too. */
VISE_MUST_USE vise_status vise_regex_new(const char *name, const char *pattern, vise_regex **out,
                                         vise_error *err);
void vise_regex_free(vise_regex *regex);

/* Memory of one thread, for any expression. */
typedef struct vise_regex_scratch vise_regex_scratch;
VISE_MUST_USE vise_status vise_regex_scratch_new(vise_regex_scratch **out, vise_error *err);
void vise_regex_scratch_free(vise_regex_scratch *scratch);

/* The first match at or behind `from` in text (valid UTF-8): [*start, *end), never empty. */
VISE_MUST_USE vise_status vise_regex_find(const vise_regex *regex, vise_regex_scratch *scratch,
                                          const char *text, size_t length, size_t from, bool *found,
                                          size_t *start, size_t *end, vise_error *err);

/* The PCRE2 expression that a pattern becomes; VISE_EFORMAT or VISE_EUNSUPPORTED as above. */
VISE_MUST_USE vise_status vise_regex_translate(const char *name, const char *pattern, vise_buf *out,
                                               vise_error *err);

#endif
