#include "text/bpe.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "text/split.h"
#include "text/unicode.h"

/* ---- tables ---------------------------------------------------------------------------------- */

uint32_t vise_byte_to_char(uint8_t byte)
{
    uint32_t n = 0;

    if ((byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad))
        return byte;
    /* The others in order: 0x00-0x20, 0x7f-0xa0, 0xad. */
    if (byte <= 0x20)
        n = byte;
    else if (byte <= 0xa0)
        n = 0x21u + byte - 0x7fu;
    else
        n = 0x43;
    return 0x100 + n;
}

static inline size_t pair_slot(const vise_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;

    key ^= key >> 29;
    return (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> bpe->shift);
}

/* The merge of a pair, or an empty slot (left -1). */
static inline vise_bpe_merge *find_merge(const vise_bpe *bpe, int32_t left, int32_t right)
{
    size_t slot = pair_slot(bpe, left, right);

    while (bpe->slots[slot].left >= 0 && (bpe->slots[slot].left != left || bpe->slots[slot].right != right))
        slot = (slot + 1) & (bpe->n_slots - 1);
    return &bpe->slots[slot];
}

vise_status vise_bpe_init(vise_bpe *bpe, const vise_vocab *vocab, size_t n_merges, vise_error *err)
{
    *bpe = (vise_bpe){.vocab = vocab, .n_slots = 16, .shift = 60, .unk = -1};
    while (bpe->n_slots < 2 * n_merges) {
        bpe->n_slots *= 2;
        bpe->shift--;
    }
    VISE_TRY(vise_calloc(bpe->n_slots, sizeof *bpe->slots, (void **)&bpe->slots, err));
    for (size_t i = 0; i < bpe->n_slots; i++)
        bpe->slots[i].left = -1;
    return VISE_OK;
}

void vise_bpe_deinit(vise_bpe *bpe)
{
    vise_free(bpe->slots);
    vise_free(bpe->char_ids);
    *bpe = (vise_bpe){0};
}

/* Of a pair given twice the later counts, as in the tokenizers library. */
void vise_bpe_put_merge(vise_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    *find_merge(bpe, left, right) = (vise_bpe_merge){left, right, rank, id};
}

vise_status vise_bpe_add_merge(vise_bpe *bpe, const char *name, size_t rank, const char *left,
                               size_t left_length, const char *right, size_t right_length, vise_error *err)
{
    int32_t left_id = vise_vocab_find(bpe->vocab, left, left_length);
    int32_t right_id = vise_vocab_find(bpe->vocab, right, right_length);
    int32_t id;
    char *joined;

    if (left_id < 0 || right_id < 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: merge %zu names \"%.60s\", which is not in the vocabulary",
                         name, rank, left_id < 0 ? left : right);
    VISE_TRY(vise_alloc(left_length + right_length + 1, (void **)&joined, err));
    memcpy(joined, left, left_length);
    memcpy(joined + left_length, right, right_length);
    joined[left_length + right_length] = '\0';
    id = vise_vocab_find(bpe->vocab, joined, left_length + right_length);
    if (id < 0) {
        vise_status status =
            VISE_FAIL(err, VISE_EFORMAT, "%s: merge %zu gives \"%.120s\", which is not in the vocabulary",
                      name, rank, joined);
        vise_free(joined);
        return status;
    }
    vise_free(joined);
    vise_bpe_put_merge(bpe, left_id, right_id, (uint32_t)rank, id);
    return VISE_OK;
}

vise_status vise_bpe_finish(vise_bpe *bpe, vise_error *err)
{
    const vise_vocab *vocab = bpe->vocab;

    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        size_t length = vise_utf8_put(vise_byte_to_char((uint8_t)byte), text);
        bpe->byte_ids[byte] = vise_vocab_find(vocab, text, length);
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        bpe->fallback[byte] = vise_vocab_find(vocab, text, 6);
    }
    bpe->unk = bpe->unk_token != NULL ? vise_vocab_find(vocab, bpe->unk_token, strlen(bpe->unk_token)) : -1;
    if (bpe->byte_level)
        return VISE_OK;
    VISE_TRY(vise_alloc(VISE_BPE_CHARS * sizeof *bpe->char_ids, (void **)&bpe->char_ids, err));
    memset(bpe->char_ids, 0xff, VISE_BPE_CHARS * sizeof *bpe->char_ids);
    for (int32_t id = 0; id < vocab->size; id++) {
        size_t n;
        uint32_t c;
        if (vocab->tokens[id].text == NULL || vocab->tokens[id].length == 0)
            continue;
        c = vise_utf8_at(vocab->tokens[id].text, &n);
        if (n == vocab->tokens[id].length && c < VISE_BPE_CHARS)
            bpe->char_ids[c] = id;
    }
    return VISE_OK;
}

bool vise_bpe_cuts_at_mark(const vise_bpe *bpe)
{
    if (vise_vocab_find(bpe->vocab, VISE_MARK, VISE_MARK_LENGTH) < 0)
        return false;
    for (size_t i = 0; i < bpe->n_slots; i++) {
        const vise_bpe_merge *merge = &bpe->slots[i];
        const vise_vocab_token *left, *right;
        if (merge->left < 0)
            continue;
        left = &bpe->vocab->tokens[merge->left];
        right = &bpe->vocab->tokens[merge->right];
        if (right->length < VISE_MARK_LENGTH || memcmp(right->text, VISE_MARK, VISE_MARK_LENGTH) != 0)
            continue;
        /* The unknown token's text says nothing of the character that it stands for. */
        if (merge->left == bpe->unk || left->length < VISE_MARK_LENGTH ||
            memcmp(left->text + left->length - VISE_MARK_LENGTH, VISE_MARK, VISE_MARK_LENGTH) != 0)
            return false;
    }
    return true;
}

/* ---- working memory -------------------------------------------------------------------------- */

#define SHORT_WORD 48 /* symbols that are merged in place */

typedef struct symbol {
    int32_t id;
    int32_t previous, next; /* -1: none */
    uint32_t rank;          /* of the merge with next; NO_RANK: none, or this symbol is gone */
} symbol;

#define NO_RANK UINT32_MAX

struct vise_bpe_scratch {
    symbol *symbols;
    size_t symbols_capacity;
    uint64_t *heap; /* rank << 32 | position */
    size_t heap_count, heap_capacity;
};

vise_status vise_bpe_scratch_new(vise_bpe_scratch **out, vise_error *err)
{
    return vise_calloc(1, sizeof **out, (void **)out, err);
}

void vise_bpe_scratch_free(vise_bpe_scratch *scratch)
{
    if (scratch == NULL)
        return;
    vise_free(scratch->symbols);
    vise_free(scratch->heap);
    vise_free(scratch);
}

/* ---- symbols of a word ----------------------------------------------------------------------- */

/* The library keeps an unknown character back until a known one follows, so that neighbours can fuse;
 * characters that fall back to bytes do not flush it. Both are its behaviour, kept as it is. */
static vise_status add_unknown(const vise_bpe *bpe, const char *text, size_t length, bool *held,
                               vise_ids *out, vise_error *err)
{
    if (bpe->byte_fallback) {
        bool all = true;
        for (size_t i = 0; i < length; i++)
            all = all && bpe->fallback[(unsigned char)text[i]] >= 0;
        for (size_t i = 0; all && i < length; i++)
            out->ids[out->count++] = bpe->fallback[(unsigned char)text[i]];
        if (all)
            return VISE_OK;
    }
    if (bpe->unk_token == NULL)
        return VISE_OK;
    if (bpe->unk < 0)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "tokenizer.json: the text has a character that is not in the vocabulary, and "
                         "neither is unk_token \"%.60s\"",
                         bpe->unk_token);
    if (*held && !bpe->fuse_unk)
        out->ids[out->count++] = bpe->unk;
    *held = true;
    return VISE_OK;
}

static vise_status add_symbols(const vise_bpe *bpe, const char *word, size_t length, vise_ids *out,
                               vise_error *err)
{
    bool held = false; /* an unknown character */
    size_t n;

    out->count = 0;
    /* At most one symbol for a byte, two for a byte that falls back as a character of two, and one held
     * back. */
    VISE_TRY(vise_ids_reserve(out, 2 * length + 1, err));
    for (size_t at = 0; at < length; at += n) {
        int32_t id;
        char text[4];
        const char *character = word + at;
        size_t character_length;
        if (bpe->byte_level) {
            unsigned char byte = (unsigned char)word[at];
            n = 1;
            id = bpe->byte_ids[byte];
            character_length = id < 0 ? vise_utf8_put(vise_byte_to_char(byte), text) : 1;
            character = text;
        } else {
            uint32_t c = vise_utf8_at(word + at, &n);
            character_length = n;
            id = c < VISE_BPE_CHARS ? bpe->char_ids[c] : vise_vocab_find(bpe->vocab, word + at, n);
        }
        if (id < 0) {
            VISE_TRY(add_unknown(bpe, character, character_length, &held, out, err));
            continue;
        }
        if (held)
            out->ids[out->count++] = bpe->unk;
        held = false;
        out->ids[out->count++] = id;
    }
    if (held)
        out->ids[out->count++] = bpe->unk;
    return VISE_OK;
}

/* ---- merging --------------------------------------------------------------------------------- */

/* Merges ids[0..n) in place, n <= SHORT_WORD, and returns what is left. */
static size_t merge_short(const vise_bpe *bpe, int32_t *ids, size_t n)
{
    uint32_t ranks[SHORT_WORD];
    int32_t merged[SHORT_WORD];

    for (size_t i = 0; i + 1 < n; i++) {
        const vise_bpe_merge *merge = find_merge(bpe, ids[i], ids[i + 1]);
        ranks[i] = merge->left >= 0 ? merge->rank : NO_RANK;
        merged[i] = merge->id;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == NO_RANK)
            break;
        ids[best] = merged[best];
        n--;
        for (size_t i = best + 1; i < n; i++)
            ids[i] = ids[i + 1];
        for (size_t i = best + 1; i + 1 < n; i++) {
            ranks[i] = ranks[i + 1];
            merged[i] = merged[i + 1];
        }
        for (size_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const vise_bpe_merge *merge = find_merge(bpe, ids[i], ids[i + 1]);
            ranks[i] = merge->left >= 0 ? merge->rank : NO_RANK;
            merged[i] = merge->id;
        }
    }
    return n;
}

static void sift_down(uint64_t *heap, size_t count, size_t at)
{
    uint64_t value = heap[at];

    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= value)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = value;
}

static vise_status push(vise_bpe_scratch *scratch, uint64_t value, vise_error *err)
{
    size_t at = scratch->heap_count;

    if (at == scratch->heap_capacity)
        VISE_TRY(
            vise_grow((void **)&scratch->heap, &scratch->heap_capacity, at + 1, sizeof *scratch->heap, err));
    scratch->heap_count++;
    while (at > 0 && scratch->heap[(at - 1) / 2] > value) {
        scratch->heap[at] = scratch->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    scratch->heap[at] = value;
    return VISE_OK;
}

/* Looks up the merge of the symbol with its next one; true if there is one. */
static bool rank_pair(const vise_bpe *bpe, symbol *symbols, int32_t at)
{
    const vise_bpe_merge *merge;

    symbols[at].rank = NO_RANK;
    if (symbols[at].next < 0)
        return false;
    merge = find_merge(bpe, symbols[at].id, symbols[symbols[at].next].id);
    if (merge->left >= 0)
        symbols[at].rank = merge->rank;
    return merge->left >= 0;
}

static uint64_t heap_value(const symbol *symbols, int32_t at)
{
    return (uint64_t)symbols[at].rank << 32 | (uint32_t)at;
}

static vise_status fill_heap(const vise_bpe *bpe, vise_bpe_scratch *scratch, const int32_t *ids, size_t n,
                             vise_error *err)
{
    if (n > INT32_MAX)
        return VISE_FAIL(err, VISE_ERESOURCE, "a word of %zu symbols is too long to be merged", n);
    VISE_TRY(
        vise_grow((void **)&scratch->symbols, &scratch->symbols_capacity, n, sizeof *scratch->symbols, err));
    VISE_TRY(vise_grow((void **)&scratch->heap, &scratch->heap_capacity, n, sizeof *scratch->heap, err));
    scratch->heap_count = 0;
    for (size_t i = 0; i < n; i++)
        scratch->symbols[i] = (symbol){ids[i], (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1, NO_RANK};
    for (size_t i = 0; i < n; i++)
        if (rank_pair(bpe, scratch->symbols, (int32_t)i))
            scratch->heap[scratch->heap_count++] = heap_value(scratch->symbols, (int32_t)i);
    for (size_t i = scratch->heap_count / 2; i-- > 0;)
        sift_down(scratch->heap, scratch->heap_count, i);
    return VISE_OK;
}

/* Merges ids[0..*n) by rank with a heap of pairs. An entry is stale if its position has another rank by
 * now. */
static vise_status merge_long(const vise_bpe *bpe, vise_bpe_scratch *scratch, int32_t *ids, size_t *n,
                              vise_error *err)
{
    symbol *symbols;
    size_t kept = 0;

    VISE_TRY(fill_heap(bpe, scratch, ids, *n, err));
    symbols = scratch->symbols;
    while (scratch->heap_count > 0) {
        int32_t at = (int32_t)(scratch->heap[0] & UINT32_MAX), gone;
        uint32_t rank = (uint32_t)(scratch->heap[0] >> 32);
        scratch->heap[0] = scratch->heap[--scratch->heap_count];
        if (scratch->heap_count > 1)
            sift_down(scratch->heap, scratch->heap_count, 0);
        if (symbols[at].rank != rank)
            continue;
        gone = symbols[at].next;
        symbols[at].id = find_merge(bpe, symbols[at].id, symbols[gone].id)->id;
        symbols[at].next = symbols[gone].next;
        symbols[gone].rank = NO_RANK;
        if (symbols[at].next >= 0)
            symbols[symbols[at].next].previous = at;
        if (rank_pair(bpe, symbols, at))
            VISE_TRY(push(scratch, heap_value(symbols, at), err));
        if (symbols[at].previous >= 0 && rank_pair(bpe, symbols, symbols[at].previous))
            VISE_TRY(push(scratch, heap_value(symbols, symbols[at].previous), err));
    }
    for (int32_t i = 0; i >= 0; i = symbols[i].next)
        ids[kept++] = symbols[i].id;
    *n = kept;
    return VISE_OK;
}

/* ---- words ----------------------------------------------------------------------------------- */

/* The whole word as one token, for ignore_merges; -1: it is none. */
static vise_status find_whole(const vise_bpe *bpe, const char *word, size_t length, int32_t *id,
                              vise_error *err)
{
    char *spelled;
    size_t n = 0;

    if (!bpe->byte_level) {
        *id = vise_vocab_find(bpe->vocab, word, length);
        return VISE_OK;
    }
    VISE_TRY(vise_alloc(2 * length, (void **)&spelled, err));
    for (size_t i = 0; i < length; i++)
        n += vise_utf8_put(vise_byte_to_char((uint8_t)word[i]), spelled + n);
    *id = vise_vocab_find(bpe->vocab, spelled, n);
    vise_free(spelled);
    return VISE_OK;
}

vise_status vise_bpe_encode(const vise_bpe *bpe, vise_bpe_scratch *scratch, const char *word, size_t length,
                            vise_ids *out, vise_error *err)
{
    int32_t whole = -1;

    if (bpe->ignore_merges)
        VISE_TRY(find_whole(bpe, word, length, &whole, err));
    if (whole >= 0) {
        out->count = 0;
        return vise_ids_add(out, whole, err);
    }
    VISE_TRY(add_symbols(bpe, word, length, out, err));
    if (out->count <= SHORT_WORD)
        out->count = merge_short(bpe, out->ids, out->count);
    else
        VISE_TRY(merge_long(bpe, scratch, out->ids, &out->count, err));
    return VISE_OK;
}
