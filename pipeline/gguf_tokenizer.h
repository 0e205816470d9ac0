/* The tokenizer in a GGUF file's metadata as files that transformers loads: tokenizer.json and tokenizer_config.json.
 *
 * Held: sentencepiece's BPE ("llama": merges follow from the pieces' scores, as transformers has it), BPE over bytes
 * ("gpt2") with the ways of cutting words that the table in gguf_tokenizer_bytes.c names, WordPiece ("bert"; whether
 * it is cased is told by its tokens), and sentencepiece's unigrams ("t5"), for files alone. What a file does not tell
 * is not guessed: no tokenizer is made of it. The vocabulary and every array beside it are checked: kinds, lengths,
 * ids, UTF-8, merges of tokens that are there.
 */
#ifndef VISE_PIPELINE_GGUF_TOKENIZER_H
#define VISE_PIPELINE_GGUF_TOKENIZER_H

#include "core/buf.h"
#include "core/err.h"
#include "formats/gguf.h"
#include "text/tokenizer.h"

/* Appends the text of both files; config may be NULL. *why (else NULL) says what is not held, and nothing is appended
 * then. VISE_EFORMAT for metadata that are damaged. */
VISE_MUST_USE vise_status vise_gguf_tokenizer_write(const vise_gguf *gguf, vise_buf *tokenizer, vise_buf *config,
                                                    const char **why, vise_error *err);

/* The tokenizer of a MODEL: of its folder, else of the GGUF file that it is. As vise_tokenizer_open, but for a .jsonl
 * of ids (`text`, or NULL) *out may be NULL, as vise_tokenizer_open_for says. */
VISE_MUST_USE vise_status vise_model_tokenizer(const char *model, const char *text, vise_tokenizer **out,
                                               vise_error *err);

#endif
