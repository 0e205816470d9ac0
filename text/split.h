/* Pre-tokenization: where a text is cut into words. The regular expressions of well-known tokenizers are
 * recognised by their exact text and written out by hand, alternative by alternative, with what
 * backtracking would do.
 */
#ifndef VISE_TEXT_SPLIT_H
#define VISE_TEXT_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum vise_split {
    VISE_SPLIT_GPT2,
    VISE_SPLIT_LLAMA3,
    VISE_SPLIT_QWEN2, /* Llama 3's with single digits */
    VISE_SPLIT_MARK,  /* in front of every U+2581: what Metaspace does */
    VISE_SPLIT_WORDS  /* in front of every run of U+2581 */
} vise_split;

/* U+2581, LOWER ONE EIGHTH BLOCK: sentencepiece's space. */
#define VISE_MARK        "\xe2\x96\x81"
#define VISE_MARK_LENGTH 3

/* The split that a regular expression means; false when it is none of the known ones. */
bool vise_split_from_regex(const char *regex, vise_split *split);

/* End of the piece that starts at `at` < length; every byte belongs to a piece. text is valid UTF-8;
 * table is vise_char_table's. */
size_t vise_split_next(vise_split split, const uint8_t *table, const char *text, size_t length, size_t at);

#endif
