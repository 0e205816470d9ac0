/* Tokenizers: text to token ids, equal to what the Hugging Face tokenizers library gives for the same
 * tokenizer.json.
 *
 * Held here: BPE models, byte-level (GPT-2, Llama 3 style) and with byte fallback (sentencepiece style,
 * Llama 2), the normalizers Prepend, Replace (of a string) and Sequence, the pre-tokenizers ByteLevel,
 * Metaspace, Sequence and Split by the regular expressions of GPT-2, Llama 3 and Qwen 2, added and
 * special tokens, and BOS from the post-processors TemplateProcessing, ByteLevel and Sequence. What is
 * not held (Unicode normal forms, say) is refused by name at open (VISE_EUNSUPPORTED), never
 * approximated. Two things differ from the library on purpose: tokens that share an id are refused, and
 * truncation and padding are the caller's business.
 */
#ifndef VISE_TEXT_TOKENIZER_H
#define VISE_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

typedef struct vise_tokenizer vise_tokenizer;

/* From a model folder: tokenizer.json. VISE_EFORMAT when it is broken; VISE_EUSAGE when the folder has
 * none. */
VISE_MUST_USE vise_status vise_tokenizer_open(const char *folder, vise_tokenizer **out, vise_error *err);
/* The same for what stands in `path`: a .jsonl may hold ids alone, so for one a folder without tokenizer.json gives
 * *out NULL. */
VISE_MUST_USE vise_status vise_tokenizer_open_for(const char *path, const char *folder, vise_tokenizer **out,
                                                  vise_error *err);
void vise_tokenizer_close(vise_tokenizer *tokenizer);

typedef struct vise_ids {
    int32_t *ids;
    size_t count, capacity;
    uint64_t invalid_utf8; /* bytes replaced by U+FFFD */
} vise_ids;
void vise_ids_deinit(vise_ids *ids);
VISE_MUST_USE vise_status vise_ids_add(vise_ids *ids, int32_t id, vise_error *err);

/* Appends the ids of text, without the tokens that the post-processor adds. Thread-safe for one tokenizer. */
VISE_MUST_USE vise_status vise_tokenize(const vise_tokenizer *tokenizer, const char *text, size_t length,
                                        vise_ids *ids, vise_error *err);
/* The same, but may leave off once ids->count has reached `enough`. */
VISE_MUST_USE vise_status vise_tokenize_until(const vise_tokenizer *tokenizer, const char *text,
                                              size_t length, size_t enough, vise_ids *ids, vise_error *err);
/* The token that is put in front of a text (BOS), or -1 when the tokenizer adds none. */
int32_t vise_tokenizer_bos(const vise_tokenizer *tokenizer);
/* Ids are in [0, size). */
int32_t vise_tokenizer_size(const vise_tokenizer *tokenizer);
/* As in the vocabulary; NULL: none. */
const char *vise_tokenizer_token(const vise_tokenizer *tokenizer, int32_t id);
/* Bytes of text that the token stands for; -1: that depends (the unknown token) or there is no such token. */
int vise_tokenizer_token_bytes(const vise_tokenizer *tokenizer, int32_t id);
/* True if a space is put in front of texts, so that the first token stands for one byte that is not there. */
bool vise_tokenizer_prepends(const vise_tokenizer *tokenizer);

#endif
