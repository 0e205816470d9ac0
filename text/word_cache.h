/* The ids of words that came before: in a text most words come again. One thread's memory, of a fixed size. */
#ifndef VISE_TEXT_WORD_CACHE_H
#define VISE_TEXT_WORD_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "text/ids.h"

/* Gives the ids of a word (length > 0) in `out`, in place of what is there. */
typedef vise_status (*vise_word_encoder)(const void *model, void *scratch, const char *word, size_t length,
                                         vise_ids *out, vise_error *err);

typedef struct vise_word_cache vise_word_cache;
VISE_MUST_USE vise_status vise_word_cache_new(vise_word_cache **out, vise_error *err);
void vise_word_cache_free(vise_word_cache *cache);

/* Appends the ids of a word, from the cache or by encode. `end` is the end of readable memory behind word. A cache
 * serves one model. */
VISE_MUST_USE vise_status vise_word_cache_encode(vise_word_cache *cache, vise_word_encoder encode,
                                                 const void *model, void *scratch, const char *word,
                                                 size_t length, const char *end, vise_ids *ids,
                                                 vise_error *err);

#endif
