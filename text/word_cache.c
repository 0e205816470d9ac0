#include "text/word_cache.h"

#include <string.h>

#include "core/mem.h"

#define CACHE_BITS  15
#define CACHE_WORDS (1 << CACHE_BITS)
#define CACHE_KEY   24 /* bytes of a word, and its length in the last one */
#define CACHE_IDS   9

/* One cache line. */
typedef struct cache_entry {
    uint64_t key[CACHE_KEY / 8];
    uint32_t count;
    int32_t ids[CACHE_IDS];
} cache_entry;

struct vise_word_cache {
    cache_entry *entries; /* [CACHE_WORDS]; a word replaces what was in its place */
    vise_ids word;        /* ids of the word under way */
};

vise_status vise_word_cache_new(vise_word_cache **out, vise_error *err)
{
    vise_word_cache *cache;
    vise_status status;

    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof *cache, (void **)&cache, err));
    status = vise_calloc(CACHE_WORDS, sizeof *cache->entries, (void **)&cache->entries, err);
    if (status != VISE_OK) {
        vise_free(cache);
        return status;
    }
    *out = cache;
    return VISE_OK;
}

void vise_word_cache_free(vise_word_cache *cache)
{
    if (cache == NULL)
        return;
    vise_free(cache->entries);
    vise_ids_deinit(&cache->word);
    vise_free(cache);
}

static inline void make_key(const char *word, size_t length, const char *end, uint64_t key[CACHE_KEY / 8])
{
    if (end - word >= CACHE_KEY) {
        size_t words = length / 8;
        memcpy(key, word, CACHE_KEY);
        key[words] &= (UINT64_C(1) << 8 * (length % 8)) - 1;
        for (size_t i = words + 1; i < CACHE_KEY / 8; i++)
            key[i] = 0;
    } else {
        key[0] = key[1] = key[2] = 0;
        memcpy(key, word, length);
    }
    key[2] |= (uint64_t)length << 56;
}

vise_status vise_word_cache_encode(vise_word_cache *cache, vise_word_encoder encode, const void *model,
                                   void *scratch, const char *word, size_t length, const char *end,
                                   vise_ids *ids, vise_error *err)
{
    uint64_t key[CACHE_KEY / 8], hash;
    cache_entry *entry;

    if (length >= CACHE_KEY) {
        VISE_TRY(encode(model, scratch, word, length, &cache->word, err));
        return vise_ids_append(ids, cache->word.ids, cache->word.count, err);
    }
    make_key(word, length, end, key);
    hash = (key[0] ^ key[1] * UINT64_C(0xff51afd7ed558ccd)) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ hash >> 32 ^ key[2]) * UINT64_C(0xc4ceb9fe1a85ec53);
    entry = &cache->entries[hash >> (64 - CACHE_BITS)];
    VISE_TRY(vise_ids_reserve(ids, CACHE_IDS, err));
    if (entry->key[0] != key[0] || entry->key[1] != key[1] || entry->key[2] != key[2]) {
        const vise_ids *out = &cache->word;
        VISE_TRY(encode(model, scratch, word, length, &cache->word, err));
        if (out->count > CACHE_IDS)
            return vise_ids_append(ids, out->ids, out->count, err);
        memcpy(entry->key, key, sizeof key);
        entry->count = (uint32_t)out->count;
        if (out->count > 0)
            memcpy(entry->ids, out->ids, out->count * sizeof *out->ids);
    }
    /* All of them at a fixed size: quicker than as many as there are. */
    memcpy(ids->ids + ids->count, entry->ids, sizeof entry->ids);
    ids->count += entry->count;
    return VISE_OK;
}
