/* The vocabulary: texts and ids, one to one, looked up both ways. */
#ifndef VISE_TEXT_VOCAB_H
#define VISE_TEXT_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"

#define VISE_VOCAB_IDS_MAX (1 << 24)

typedef struct vise_vocab_token {
    const char *text; /* NULL: no token has this id */
    uint32_t length;
} vise_vocab_token;

typedef struct vise_vocab {
    vise_arena *arena;        /* of the texts */
    vise_vocab_token *tokens; /* [limit], by id */
    int32_t size;             /* highest id + 1 */
    int32_t limit;
    size_t count;
    int32_t *slots; /* open addressing over the texts: id, or -1 */
    size_t n_slots; /* a power of two */
} vise_vocab;

/* For at most `count` tokens with ids in [0, limit). */
VISE_MUST_USE vise_status vise_vocab_init(vise_vocab *vocab, size_t count, int32_t limit, vise_error *err);
void vise_vocab_deinit(vise_vocab *vocab);
/* Copies text. An id or a text that is there already is VISE_EFORMAT; `name` is the file for the error. */
VISE_MUST_USE vise_status vise_vocab_add(vise_vocab *vocab, const char *name, const char *text, size_t length,
                                         int32_t id, vise_error *err);
/* -1: none. */
int32_t vise_vocab_find(const vise_vocab *vocab, const char *text, size_t length);

#endif
