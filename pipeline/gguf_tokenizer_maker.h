/* What makes a tokenizer.json of GGUF metadata: the values that every kind of tokenizer is told by, and the parts that
 * their files share. One file for each kind; private to gguf_tokenizer*.c. */
#ifndef VISE_PIPELINE_GGUF_TOKENIZER_MAKER_H
#define VISE_PIPELINE_GGUF_TOKENIZER_MAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/json.h"
#include "formats/gguf.h"
#include "text/vocab.h"

#define VISE_SPACE_MARK "\xE2\x96\x81" /* U+2581 */

/* Types of tokens, as the file has them. */
enum {
    VISE_TOKEN_NORMAL = 1,
    VISE_TOKEN_UNKNOWN,
    VISE_TOKEN_CONTROL,
    VISE_TOKEN_USER_DEFINED,
    VISE_TOKEN_UNUSED,
    VISE_TOKEN_BYTE
};

/* Their roles. */
enum {
    VISE_TOKEN_BOS,
    VISE_TOKEN_EOS,
    VISE_TOKEN_UNK,
    VISE_TOKEN_SEP,
    VISE_TOKEN_PAD,
    VISE_TOKEN_CLS,
    VISE_TOKEN_MASK,
    VISE_TOKEN_ROLES
};

typedef struct vise_maker {
    const vise_gguf *gguf;
    const vise_gguf_text *stored; /* [n] */
    const int32_t *types;         /* [n]; NULL: all are normal */
    size_t n;
    vise_vocab vocab; /* as tokenizer.json spells them; unused ones are left out */
    int64_t ids[VISE_TOKEN_ROLES]; /* -1: none */
    bool add_bos, add_eos;
    bool space_prefix, clean_up; /* told by unigrams: a space in front of texts, spaces that decoding takes away */
    const char *architecture, *kind; /* of the tokenizer */
    const char *why;                 /* set by what is not held; NULL: nothing */
    vise_json_writer *w;
    vise_error *err;
} vise_maker;

/* ---- what the file says: errors go to m->err ------------------------------------------------------------- */

/* NULL: the token is unused, or id is -1. */
const char *vise_maker_text(const vise_maker *m, int64_t id);
int vise_maker_type(const vise_maker *m, size_t id);
/* An array with an element for each token; *elements is NULL where there is none. */
VISE_MUST_USE vise_status vise_maker_array(const vise_maker *m, const char *key, vise_gguf_kind kind,
                                           const void **elements);
/* Tokens, types and roles; words: as WordPiece spells them. */
VISE_MUST_USE vise_status vise_maker_tokens(vise_maker *m, bool words);
/* Whether texts get tokens around them: what add_bos and add_eos are is what they are where the file does not say. */
VISE_MUST_USE vise_status vise_maker_flags(vise_maker *m);

/* ---- parts of tokenizer.json ----------------------------------------------------------------------------- */

void vise_maker_put_raw(vise_maker *m, const char *key, const char *json);
void vise_maker_put_flag(vise_maker *m, const char *key, bool value);
void vise_maker_put_text(vise_maker *m, const char *key, const char *text);
void vise_maker_put_vocab(vise_maker *m);
/* What stands around texts, and between the two of a pair, behind the first's back; -1: nothing. */
void vise_maker_put_template(vise_maker *m, int64_t front, int64_t back, int64_t between);
/* Opens the file, up to its added tokens; roberta: the mask takes the space in front; spm: of sentencepiece. */
void vise_maker_begin(vise_maker *m, bool roberta, bool spm);
void vise_maker_begin_model(vise_maker *m, const char *type);
/* Opens a model up to its merges, and closes it and the file. */
void vise_maker_begin_bpe(vise_maker *m, const char *unk, bool fallback, bool whole_words);
void vise_maker_end_bpe(vise_maker *m);

/* ---- kinds ----------------------------------------------------------------------------------------------- */

VISE_MUST_USE vise_status vise_maker_pieces(vise_maker *m);
VISE_MUST_USE vise_status vise_maker_bytes(vise_maker *m);
VISE_MUST_USE vise_status vise_maker_unigrams(vise_maker *m);

#endif
