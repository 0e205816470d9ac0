/* Inside core: a strict scanner of JSON text (RFC 8259). It checks and skips values without building anything; the
 * parser uses it for what cJSON would let pass, the editor to find the bytes of a member. */
#ifndef VISE_CORE_JSON_SCAN_H
#define VISE_CORE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

typedef struct vise_json_scanner {
    const char *name; /* the document, for errors */
    const char *text;
    size_t length;
    size_t at; /* the next byte */
    int depth;
    vise_error *err;
} vise_json_scanner;

/* The next byte, or '\0' at the end (a NUL in the text is refused by everything that meets it). */
char vise_json_peek(const vise_json_scanner *s);
void vise_json_skip_space(vise_json_scanner *s);
/* Skips one string, opening quote at `at`: escapes checked, surrogates paired, UTF-8 valid, no control characters. */
VISE_MUST_USE vise_status vise_json_skip_string(vise_json_scanner *s);
/* Skips one value; `at` is its first byte. */
VISE_MUST_USE vise_status vise_json_skip_value(vise_json_scanner *s);
/* Skips the byte c after optional space, which `expected` describes in the error. */
VISE_MUST_USE vise_status vise_json_expect(vise_json_scanner *s, char c, const char *expected);
/* A whole document: one value with nothing but space around it. */
VISE_MUST_USE vise_status vise_json_scan_document(vise_json_scanner *s);
/* VISE_EFORMAT with name, line and column (in characters) of byte `at`. */
VISE_MUST_USE vise_status vise_json_fail_at(const vise_json_scanner *s, size_t at, const char *format, ...)
    VISE_PRINTF(3, 4);

/* The length in bytes of the valid UTF-8 sequence at text[0..length), or 0. */
size_t vise_utf8_length(const char *text, size_t length);

#endif
