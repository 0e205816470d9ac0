/* A pull reader of JSON for safetensors headers: it streams through a window, keeps integers exact, and
 * refuses NUL characters and lone surrogates. Private to formats/safetensors.c. */
#ifndef VISE_FORMATS_ST_READER_H
#define VISE_FORMATS_ST_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "formats/safetensors.h"

#define VISE_ST_END (-1) /* in place of a byte: the end of the header */

typedef struct vise_st_reader {
    const vise_st_input *input;
    vise_error *err;
    const char *tensor; /* at hand, for errors about its fields; NULL: none */
    uint8_t *window;
    size_t at, filled;   /* within the window */
    uint64_t next, stop; /* file offsets: of the byte behind the window, of the end of the header */
    vise_buf text;       /* the last text that was taken, unescaped; use vise_st_text */
} vise_st_reader;

/* Reads the header bytes [8, stop) of input. */
VISE_MUST_USE vise_status vise_st_reader_init(vise_st_reader *reader, const vise_st_input *input,
                                              uint64_t stop, vise_error *err);
void vise_st_reader_deinit(vise_st_reader *reader);

/* Goes through the whole header once: it must be UTF-8. Gives the SHA-256 of the first `stop` bytes of the
 * file and rewinds. */
VISE_MUST_USE vise_status vise_st_check_utf8(vise_st_reader *reader, char sha256[VISE_SHA256_HEX_MAX]);

/* Fails with "file: the header is not valid JSON: what at byte N". */
VISE_MUST_USE vise_status vise_st_bad_json(vise_st_reader *reader, const char *what);
/* Fails with "file: tensor: field what". */
VISE_MUST_USE vise_status vise_st_bad_field(vise_st_reader *reader, const char *field, const char *what);

/* The next byte that is no white space, with and without taking it. */
VISE_MUST_USE vise_status vise_st_take(vise_st_reader *reader, int *byte);
VISE_MUST_USE vise_status vise_st_peek(vise_st_reader *reader, int *byte);
/* A text; the next one overwrites it. */
VISE_MUST_USE vise_status vise_st_take_text(vise_st_reader *reader);
const char *vise_st_text(const vise_st_reader *reader);
/* A non-negative integer of at most 2^53; `field` names it in errors. */
VISE_MUST_USE vise_status vise_st_take_integer(vise_st_reader *reader, const char *field, uint64_t *value);
/* At most max (2: exactly two are meant) of them in brackets. */
VISE_MUST_USE vise_status vise_st_take_integers(vise_st_reader *reader, const char *field, uint64_t *values,
                                                int max, int *n);
VISE_MUST_USE vise_status vise_st_take_null(vise_st_reader *reader);
/* Any value, unread. */
VISE_MUST_USE vise_status vise_st_skip(vise_st_reader *reader);
/* Walks the members of an object whose '{' was taken: true in *more with the key taken as text, false behind
 * the '}'. */
VISE_MUST_USE vise_status vise_st_next_member(vise_st_reader *reader, bool first, bool *more);

#endif
