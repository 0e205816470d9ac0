/* Token ids back to text, one after the other as they are generated. */
#ifndef VISE_TEXT_DETOKENIZER_H
#define VISE_TEXT_DETOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "text/tokenizer.h"

/* A character may be spread over tokens: what is not whole yet is held back. */
typedef struct vise_detokenizer {
    const vise_tokenizer *tokenizer; /* borrowed */
    char pending[4];
    size_t n_pending;
} vise_detokenizer;

void vise_detokenizer_init(vise_detokenizer *detokenizer, const vise_tokenizer *tokenizer);
/* Appends the text of one more token, as far as its characters are whole. Special tokens are no text; bytes that are no
 * UTF-8 become U+FFFD. The text is what stands behind what was decoded before: a space that the first token begins with
 * stays. Ids without a token are VISE_EFORMAT. */
VISE_MUST_USE vise_status vise_detokenize(vise_detokenizer *detokenizer, int32_t id, vise_buf *text,
                                          vise_error *err);
/* Appends what is held back, which is now known to be no character. */
void vise_detokenizer_end(vise_detokenizer *detokenizer, vise_buf *text);

#endif
