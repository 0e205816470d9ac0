/* Byte-pair encoding: a word becomes the symbols of its characters (or bytes), then the pair with the
 * lowest merge rank, leftmost first, is merged until none is left (Sennrich, Haddow and Birch 2016, as
 * the tokenizers library runs it).
 *
 * Short words are merged in place; long ones by a heap over a linked list, O(n log n), since without a
 * pre-tokenizer a whole text is one word.
 */
#ifndef VISE_TEXT_BPE_H
#define VISE_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "text/ids.h"
#include "text/vocab.h"

typedef struct vise_bpe_merge {
    int32_t left, right; /* left -1: an empty slot */
    uint32_t rank;
    int32_t id;
} vise_bpe_merge;

typedef struct vise_bpe {
    const vise_vocab *vocab; /* borrowed */
    vise_bpe_merge *slots;   /* open addressing over the pairs */
    size_t n_slots;          /* a power of two */
    int shift;               /* 64 - log2(n_slots) */
    int32_t *char_ids;       /* [VISE_BPE_CHARS]: ids of single characters, -1: none */
    int32_t byte_ids[256];   /* byte-level: ids of the characters that stand for bytes, -1: none */
    int32_t fallback[256];   /* ids of "<0x00>" to "<0xFF>", -1: none */
    const char *unk_token;   /* NULL: unknown characters vanish */
    int32_t unk;             /* its id, -1: the vocabulary lacks it, which is an error when it is needed */
    bool fuse_unk, byte_fallback, ignore_merges;
    bool byte_level; /* words are bytes, not characters */
} vise_bpe;

#define VISE_BPE_CHARS 0x10000

/* Tables for n merges, to be filled with vise_bpe_add_merge; the flags are set by the caller before
 * vise_bpe_finish. */
VISE_MUST_USE vise_status vise_bpe_init(vise_bpe *bpe, const vise_vocab *vocab, size_t n_merges,
                                        vise_error *err);
/* The merge of rank `rank`: left and right must be tokens and so must the two joined. `name` is the file
 * for the error. */
VISE_MUST_USE vise_status vise_bpe_add_merge(vise_bpe *bpe, const char *name, size_t rank, const char *left,
                                             size_t left_length, const char *right, size_t right_length,
                                             vise_error *err);
/* The same by ids, for pairs that are known to be good; several merges may share a rank, then the leftmost pair goes
 * first. No more than vise_bpe_init made room for. */
void vise_bpe_put_merge(vise_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t id);
VISE_MUST_USE vise_status vise_bpe_finish(vise_bpe *bpe, vise_error *err);
void vise_bpe_deinit(vise_bpe *bpe);

/* True if no merge joins a symbol that ends in another character with one that starts with U+2581: then
 * words may be cut there. */
bool vise_bpe_cuts_at_mark(const vise_bpe *bpe);

/* The character that stands for a byte in byte-level vocabularies (GPT-2's bytes_to_unicode): printable
 * Latin-1 stands for itself, the others for U+0100 on. */
uint32_t vise_byte_to_char(uint8_t byte);

/* Memory of one thread. */
typedef struct vise_bpe_scratch vise_bpe_scratch;
VISE_MUST_USE vise_status vise_bpe_scratch_new(vise_bpe_scratch **out, vise_error *err);
void vise_bpe_scratch_free(vise_bpe_scratch *scratch);

/* Puts the ids of a word into out, in place of what is there (length > 0; valid UTF-8, unless byte_level: any
 * bytes). */
VISE_MUST_USE vise_status vise_bpe_encode(const vise_bpe *bpe, vise_bpe_scratch *scratch, const char *word,
                                          size_t length, vise_ids *out, vise_error *err);

#endif
