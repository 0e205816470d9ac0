/* sentencepiece's tokenizer.model, for BPE models. */
#ifndef VISE_TEXT_SENTENCEPIECE_H
#define VISE_TEXT_SENTENCEPIECE_H

#include "text/tokenizer_internal.h"

typedef struct vise_sentence_piece {
    const char *text; /* borrowed from the file's bytes, not terminated */
    size_t length;
    float score;
    int type; /* ModelProto.SentencePiece.Type */
} vise_sentence_piece;

typedef struct vise_sentencepiece {
    const char *name; /* borrowed: the file, for errors */
    vise_sentence_piece *pieces;
    size_t count, capacity;
    size_t unk;
    int64_t bos, eos; /* -1: none */
    bool is_bpe, byte_fallback;
    bool add_prefix; /* a space in front of a text */
    bool squeeze;    /* remove_extra_whitespaces */
} vise_sentencepiece;

/* bytes must outlive the model. Deinit in any case. VISE_EFORMAT: broken; VISE_EUNSUPPORTED: another kind of model,
 * pieces given by the user, a normalizer with a table. */
VISE_MUST_USE vise_status vise_sentencepiece_read(const char *name, const char *bytes, size_t length,
                                                  vise_sentencepiece *model, vise_error *err);
void vise_sentencepiece_deinit(vise_sentencepiece *model);
/* True for the unknown piece and for control pieces (<s>). */
bool vise_sentencepiece_is_special(const vise_sentencepiece *model, size_t piece);
/* Vocabulary and merges into the reader's tokenizer. */
VISE_MUST_USE vise_status vise_sentencepiece_fill(const vise_sentencepiece *model, vise_tokenizer_reader *r,
                                                  size_t n_added);

#endif
