/* Added tokens: texts that become one token wherever they stand, cut out before anything else happens to
 * a text. The longest of those that start first wins, as in the tokenizers library.
 */
#ifndef VISE_TEXT_ADDED_H
#define VISE_TEXT_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

typedef struct vise_added_token {
    const char *text; /* borrowed */
    size_t length;
    int32_t id;
    bool single_word; /* not inside a word */
    bool lstrip;      /* takes the white space in front along */
    bool rstrip;      /* and behind */
} vise_added_token;

typedef struct vise_added {
    vise_added_token *tokens; /* sorted by text */
    size_t count;
    bool first[256]; /* bytes that a token starts with */
} vise_added;

/* Sorts tokens, which the matcher owns from here on, whatever the outcome. Empty texts are left out; of
 * equal texts the first counts. */
VISE_MUST_USE vise_status vise_added_init(vise_added *added, vise_added_token *tokens, size_t count,
                                          vise_error *err);
void vise_added_deinit(vise_added *added);

/* A part of a text: a token, or what stands between tokens (id -1, never empty). */
typedef struct vise_added_part {
    size_t start, end;
    int32_t id;
} vise_added_part;

typedef struct vise_added_walk {
    const vise_added *added;
    const char *text;
    size_t length;
    size_t search;        /* where the next match may start */
    size_t done;          /* end of the last part */
    vise_added_part held; /* a token found behind the text that was returned; id -1: none */
} vise_added_walk;

void vise_added_begin(vise_added_walk *walk, const vise_added *added, const char *text, size_t length);
/* The next part in text order; false at the end. */
bool vise_added_next(vise_added_walk *walk, vise_added_part *part);

#endif
