/* Texts as rows of token ids, each a set of windows of its own: no padding, and no row has to do with another. */
#ifndef VISE_EVAL_TEXTS_H
#define VISE_EVAL_TEXTS_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "text/tokenizer.h"
#include "text/windows.h"

typedef struct vise_encoded {
    vise_windows *sets; /* [count] of one window each: views on ids and types, after vise_encoded_finish */
    size_t count, sets_capacity;
    int32_t *ids;   /* of all rows, one after the other */
    uint8_t *types; /* likewise */
    size_t tokens, ids_capacity, types_capacity;
    size_t longest;
    size_t truncated;      /* rows that were cut to the length asked for */
    uint64_t invalid_utf8; /* bytes of the texts that were replaced */
} vise_encoded;

/* Starts with a zeroed struct. types NULL: all 0. */
VISE_MUST_USE vise_status vise_encoded_add(vise_encoded *rows, const int32_t *ids, const uint8_t *types, size_t count,
                                           vise_error *err);
/* One text, or two, with what the tokenizer puts around them, cut to max_length tokens; name opens the errors: of a
 * text without tokens (VISE_EUSAGE), and of vise_ids_check. */
VISE_MUST_USE vise_status vise_encoded_add_text(vise_encoded *rows, const vise_tokenizer *tokenizer, const char *name,
                                                const char *first, const char *second, size_t max_length,
                                                int64_t vocab, vise_error *err);
/* VISE_EFORMAT when a tokenizer gives ids that a model's embedding of vocab rows does not have. */
VISE_MUST_USE vise_status vise_ids_check(const char *name, const vise_tokenizer *tokenizer, const int32_t *ids,
                                         size_t count, int64_t vocab, vise_error *err);
/* Points the sets at their ids: after the last row. */
void vise_encoded_finish(vise_encoded *rows);
void vise_encoded_deinit(vise_encoded *rows);

#endif
