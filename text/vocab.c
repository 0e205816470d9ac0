#include "text/vocab.h"

#include <string.h>

/* FNV-1a in words of eight bytes, folded: quick, and good enough for a table that is half empty. */
static uint64_t hash_text(const char *text, size_t length)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ length;

    while (length >= 8) {
        uint64_t word;
        memcpy(&word, text, 8);
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
        text += 8;
        length -= 8;
    }
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 32;
}

vise_status vise_vocab_init(vise_vocab *vocab, size_t count, int32_t limit, vise_error *err)
{
    *vocab = (vise_vocab){.limit = limit, .n_slots = 16};
    while (vocab->n_slots < 2 * count)
        vocab->n_slots *= 2;
    VISE_TRY(vise_arena_new(&vocab->arena, err));
    VISE_TRY(vise_calloc((size_t)limit, sizeof *vocab->tokens, (void **)&vocab->tokens, err));
    VISE_TRY(vise_calloc(vocab->n_slots, sizeof *vocab->slots, (void **)&vocab->slots, err));
    memset(vocab->slots, 0xff, vocab->n_slots * sizeof *vocab->slots);
    return VISE_OK;
}

void vise_vocab_deinit(vise_vocab *vocab)
{
    vise_arena_free(vocab->arena);
    vise_free(vocab->tokens);
    vise_free(vocab->slots);
    *vocab = (vise_vocab){0};
}

/* The slot that holds text, or the empty one where it belongs. */
static int32_t *find_slot(const vise_vocab *vocab, const char *text, size_t length)
{
    size_t mask = vocab->n_slots - 1;
    size_t slot = hash_text(text, length) & mask;

    for (;; slot = (slot + 1) & mask) {
        int32_t id = vocab->slots[slot];
        if (id < 0 ||
            (vocab->tokens[id].length == length && memcmp(vocab->tokens[id].text, text, length) == 0))
            return &vocab->slots[slot];
    }
}

vise_status vise_vocab_add(vise_vocab *vocab, const char *name, const char *text, size_t length, int32_t id,
                           vise_error *err)
{
    int shown = length < 60 ? (int)length : 60;
    int32_t *slot;

    if (id < 0 || id >= vocab->limit || length > INT32_MAX || 2 * vocab->count >= vocab->n_slots)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: token \"%.*s\" has id %ld, expected 0 to %ld", name, shown,
                         text, (long)id, (long)vocab->limit - 1);
    if (vocab->tokens[id].text != NULL)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: tokens \"%.60s\" and \"%.*s\" have the same id %ld", name,
                         vocab->tokens[id].text, shown, text, (long)id);
    slot = find_slot(vocab, text, length);
    if (*slot >= 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: token \"%.*s\" is given twice", name, shown, text);
    VISE_TRY(vise_arena_strdup(vocab->arena, text, length, &vocab->tokens[id].text, err));
    vocab->tokens[id].length = (uint32_t)length;
    *slot = id;
    vocab->count++;
    if (id >= vocab->size)
        vocab->size = id + 1;
    return VISE_OK;
}

int32_t vise_vocab_find(const vise_vocab *vocab, const char *text, size_t length)
{
    return *find_slot(vocab, text, length);
}
