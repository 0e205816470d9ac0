/* Normalizers: a text is rewritten before it is cut into words, as the tokenizers library's normalizers do.
 * Unicode comes from utf8proc; where the library's own tables are older or newer, text/library_tables.c
 * says so.
 */
#ifndef VISE_TEXT_NORMAL_H
#define VISE_TEXT_NORMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "text/regex.h"
#include "text/unicode.h"

typedef enum vise_normal_kind {
    VISE_NORMAL_PREPEND,
    VISE_NORMAL_REPLACE, /* every `pattern`, or every match of `regex` */
    VISE_NORMAL_STRIP,   /* white space at the ends */
    VISE_NORMAL_SQUEEZE, /* sentencepiece's remove_extra_whitespaces: the ends stripped of U+0020, runs of it one */
    VISE_NORMAL_CHARS /* character by character: clean, pad, normal form, drop, lower case, in that order */
} vise_normal_kind;

typedef enum vise_form {
    VISE_FORM_NONE,
    VISE_FORM_NFC,
    VISE_FORM_NFD,
    VISE_FORM_NFKC,
    VISE_FORM_NFKD
} vise_form;

typedef struct vise_normal {
    vise_normal_kind kind;
    const char *pattern; /* REPLACE */
    size_t pattern_length;
    const char *content; /* REPLACE, PREPEND */
    size_t content_length;
    vise_regex *regex; /* REPLACE; owned, NULL: pattern */
    bool left, right;  /* STRIP */
    /* CHARS */
    bool clean;       /* control characters vanish, white space becomes U+0020 */
    bool pad_chinese; /* spaces around CJK ideographs */
    vise_form form;
    unsigned drop; /* characters with one of these flags vanish */
    bool lower;
} vise_normal;

/* Memory of one thread. */
typedef struct vise_normal_scratch {
    int32_t *points; /* of the segment under way: a character and what may combine with it */
    int32_t *sorted;
    size_t n_points, points_capacity, sorted_capacity;
} vise_normal_scratch;
void vise_normal_scratch_deinit(vise_normal_scratch *scratch);

/* Appends the normalized text to out, which the caller checks (vise_buf_check). text is valid UTF-8; flags is
 * vise_flag_table's. */
VISE_MUST_USE vise_status vise_normal_run(const vise_normal *normal, const uint8_t *flags,
                                          vise_normal_scratch *scratch, vise_regex_scratch *regex,
                                          const char *text, size_t length, vise_buf *out, vise_error *err);
void vise_normal_deinit(vise_normal *normal);

/* Appends text with every `pattern` (not empty) replaced. */
void vise_replace_all(vise_buf *buf, const char *text, size_t length, const char *pattern,
                      size_t pattern_length, const char *content, size_t content_length);

#endif
