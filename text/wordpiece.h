/* WordPiece: a word is cut from its front, each time the longest token that fits (Schuster and Nakajima 2012, as
 * BERT and the tokenizers library run it); a word that leaves a rest is unknown as a whole.
 */
#ifndef VISE_TEXT_WORDPIECE_H
#define VISE_TEXT_WORDPIECE_H

#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "text/ids.h"
#include "text/vocab.h"

typedef struct vise_wordpiece {
    const vise_vocab *vocab; /* borrowed */
    const char *unk_token;
    int32_t unk;        /* -1: the vocabulary lacks it, an error when it is needed */
    const char *prefix; /* of tokens that go on with a word: "##" */
    size_t prefix_length;
    size_t max_chars; /* a longer word is unknown */
    size_t longest;   /* bytes of the longest token */
} vise_wordpiece;

/* Completes a model whose vocabulary and texts are set. */
void vise_wordpiece_finish(vise_wordpiece *model);

/* Puts the ids of a word (valid UTF-8, length > 0) into out, in place of what is there. `room` is working memory. */
VISE_MUST_USE vise_status vise_wordpiece_encode(const vise_wordpiece *model, vise_buf *room, const char *word,
                                                size_t length, vise_ids *out, vise_error *err);

#endif
