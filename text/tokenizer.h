/* Tokenizers: text to token ids, equal to what the Hugging Face tokenizers library gives for the same
 * tokenizer.json.
 *
 * Held here: the models BPE (byte-level: GPT-2, Llama 3; with byte fallback: Llama 2) and WordPiece (BERT); the
 * normalizers BertNormalizer, Lowercase, NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip and StripAccents; the
 * pre-tokenizers BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, Metaspace, Punctuation, Split,
 * Whitespace and WhitespaceSplit; the post-processors BertProcessing, ByteLevel, RobertaProcessing and
 * TemplateProcessing; Sequences of them; added and special tokens. A folder without tokenizer.json is read from
 * tokenizer.model (sentencepiece BPE, ids as sentencepiece gives them), vocab.json with merges.txt (GPT-2,
 * RoBERTa) or vocab.txt (BERT). What is not held is refused by name at open (VISE_EUNSUPPORTED), never
 * approximated; so are regular expressions that may mean something else here (text/regex.h). Two things differ
 * from the library on purpose: tokens that share an id are refused, and padding is the caller's business.
 */
#ifndef VISE_TEXT_TOKENIZER_H
#define VISE_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "text/ids.h"

typedef struct vise_tokenizer vise_tokenizer;

/* From a model folder. VISE_EFORMAT when its file is broken; VISE_EUSAGE when the folder has none. */
VISE_MUST_USE vise_status vise_tokenizer_open(const char *folder, vise_tokenizer **out, vise_error *err);
/* The same for what stands in `path`: a .jsonl may hold ids alone, so for one a folder without a tokenizer gives
 * *out NULL. */
VISE_MUST_USE vise_status vise_tokenizer_open_for(const char *path, const char *folder, vise_tokenizer **out,
                                                  vise_error *err);
/* True in *found if the folder has one of the files that tokenizers are read from. */
VISE_MUST_USE vise_status vise_tokenizer_is_in(const char *folder, bool *found, vise_error *err);
/* From the text of a tokenizer.json; name opens every error. */
VISE_MUST_USE vise_status vise_tokenizer_from_text(const char *name, const char *text, size_t length,
                                                   vise_tokenizer **out, vise_error *err);
/* Keeps what a tokenizer_config.json would say of a tokenizer from no folder: conversations use its chat template and
 * its tokens. name opens their errors. */
VISE_MUST_USE vise_status vise_tokenizer_keep_config(vise_tokenizer *tokenizer, const char *name, const char *config,
                                                     vise_error *err);
void vise_tokenizer_close(vise_tokenizer *tokenizer);

/* Appends the ids of text, without the tokens that the post-processor adds. Thread-safe for one tokenizer. */
VISE_MUST_USE vise_status vise_tokenize(const vise_tokenizer *tokenizer, const char *text, size_t length,
                                        vise_ids *ids, vise_error *err);
/* The same, but may leave off once ids->count has reached `enough`. */
VISE_MUST_USE vise_status vise_tokenize_until(const vise_tokenizer *tokenizer, const char *text,
                                              size_t length, size_t enough, vise_ids *ids, vise_error *err);

/* One text, or two, with the tokens that the post-processor puts around them ([CLS] and [SEP], say). */
typedef struct vise_encoding {
    vise_ids ids;
    uint8_t *types; /* [ids.count]: token_type_ids; NULL when there are no ids */
    bool truncated;
} vise_encoding;
/* second may be NULL. With max_length > 0 texts are cut at their ends so that the ids are no more than that, the
 * longer of two first, as transformers does with truncation=True. */
VISE_MUST_USE vise_status vise_tokenize_pair(const vise_tokenizer *tokenizer, const char *first,
                                             const char *second, size_t max_length, vise_encoding *out,
                                             vise_error *err);
void vise_encoding_deinit(vise_encoding *encoding);

/* The token that is put in front of a text (BOS), or -1 when the tokenizer adds none. */
int32_t vise_tokenizer_bos(const vise_tokenizer *tokenizer);
/* Ids are in [0, size). */
int32_t vise_tokenizer_size(const vise_tokenizer *tokenizer);
/* Where it came from; NULL: from no folder. */
const char *vise_tokenizer_folder(const vise_tokenizer *tokenizer);
/* What was kept of it, and by which name; NULL: nothing. */
const char *vise_tokenizer_config(const vise_tokenizer *tokenizer, const char **name);
/* As in the vocabulary; NULL: none. */
const char *vise_tokenizer_token(const vise_tokenizer *tokenizer, int32_t id);
/* True if both have the same tokens under the same ids, else *id is the first that differs. */
bool vise_tokenizer_same_tokens(const vise_tokenizer *a, const vise_tokenizer *b, int32_t *id);
/* Bytes of text that the token stands for; -1: that depends (the unknown token) or there is no such token. */
int vise_tokenizer_token_bytes(const vise_tokenizer *tokenizer, int32_t id);
/* True if a space is put in front of texts, so that the first token stands for one byte that is not there. */
bool vise_tokenizer_prepends(const vise_tokenizer *tokenizer);

#endif
