/* The tokens of a text file, one after another: what windows are cut from. */
#ifndef VISE_TEXT_TOKEN_STREAM_H
#define VISE_TEXT_TOKEN_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "text/tokenizer.h"

#define VISE_TEXT_BYTES_MAX ((size_t)1 << 30)

typedef struct vise_token_stream {
    vise_ids ids;
    size_t *starts; /* where documents start in ids that had a space put in front */
    size_t n_starts, starts_capacity;
    bool unknown_bytes; /* some ids came as ids */
} vise_token_stream;

/* Reads path (.txt, .jsonl) until there are `enough` ids, or all of it; see vise_windows_load. Ids are
 * in [0, vocab). */
VISE_MUST_USE vise_status vise_token_stream_read(const char *path, const vise_tokenizer *tokenizer,
                                                 int32_t vocab, size_t enough, vise_token_stream *stream,
                                                 vise_error *err);
void vise_token_stream_deinit(vise_token_stream *stream);

#endif
