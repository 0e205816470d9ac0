/* Windows: the rows of token ids that calibration and evaluation run on, as docs/cli.md fixes them; how they lie in
 * the text is a protocol's business (text/protocol.h). A rest shorter than a window is left out.
 */
#ifndef VISE_TEXT_WINDOWS_H
#define VISE_TEXT_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "text/protocol.h"
#include "text/tokenizer.h"

/* Prediction t of a window is that of its token t + 1. */
typedef struct vise_windows {
    int32_t *ids;     /* [count, length] */
    uint8_t *types;   /* [count, length] token types; NULL: all 0 */
    size_t count;
    size_t length;
    size_t uncounted; /* predictions at the front of each window that do not count */
    uint64_t bytes;   /* of text that the tokens behind counted predictions stand for; 0 when unknown */
    uint64_t invalid_utf8; /* of the whole text */
} vise_windows;

typedef struct vise_window_options {
    vise_protocol protocol; /* zero: the contract's windows */
    size_t stride;          /* of VISE_PROTOCOL_STRIDE; 0: half the length */
    bool bos_in_front;      /* of VISE_PROTOCOL_PAPERS and _STRIDE */
    size_t length;
    size_t samples;  /* 0: all */
    size_t skip;     /* windows left out at the front */
    bool random;     /* `samples` drawn without repetition from those after skip, kept in text order, by seed */
    uint64_t seed;
} vise_window_options;

/* One set of windows, for protocols whose windows are all alike (not _STRIDE).
 * path: .txt, or .jsonl with "text", "input_ids" or "messages" in each line. Fewer windows than asked: all, with a
 * vise_warn; none: VISE_EUSAGE that says how many tokens there are and how many are needed. Ids beyond
 * vocab are VISE_EFORMAT. tokenizer may be NULL when every line of a .jsonl has input_ids. A file is one
 * stream of tokens: the lines of a .jsonl follow each other; input_ids go before text, and a BOS in
 * front of them is left out. `bytes` counts what the tokens spell: where a text is put behind a space
 * that it lacks, each added token in it costs one byte of exactness. */
VISE_MUST_USE vise_status vise_windows_load(const char *path, const vise_tokenizer *tokenizer, int32_t vocab,
                                            const vise_window_options *options, vise_windows *windows, vise_error *err);
/* The same for every protocol: windows that differ in length or in what counts make several sets, in the text's order.
 * Free them with vise_windows_free_sets. */
VISE_MUST_USE vise_status vise_window_sets_load(const char *path, const vise_tokenizer *tokenizer, int32_t vocab,
                                                const vise_window_options *options, vise_windows **sets, size_t *count,
                                                vise_error *err);
void vise_windows_free_sets(vise_windows *sets, size_t count); /* NULL is fine */
/* path: a JSON list of rows of ids (rows may differ in length). Each row becomes windows of its own:
 * rows[i].count is 1. Free them with vise_windows_free_sets. */
VISE_MUST_USE vise_status vise_rows_load(const char *path, int32_t vocab, vise_windows **rows, size_t *count,
                                         vise_error *err);
void vise_windows_deinit(vise_windows *windows);

#endif
