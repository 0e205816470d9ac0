/* UTF-8, and the character classes that tokenizers split by: \p{L}, \p{N}, \s of Unicode 16 as the
 * tokenizers library's regular expressions have them, and \w. */
#ifndef VISE_TEXT_UNICODE_H
#define VISE_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum vise_char_class {
    VISE_CHAR_OTHER,
    VISE_CHAR_LETTER, /* \p{L} */
    VISE_CHAR_NUMBER, /* \p{N} */
    VISE_CHAR_SPACE   /* \s, White_Space */
} vise_char_class;

typedef struct vise_char_range {
    uint32_t first, last;
    uint32_t value;
} vise_char_range;

/* Sorted and disjoint; what is in no range is VISE_CHAR_OTHER, or no word character. */
extern const vise_char_range vise_unicode_classes[];
extern const size_t vise_unicode_classes_count;
extern const vise_char_range vise_unicode_words[];
extern const size_t vise_unicode_words_count;

vise_char_class vise_char_class_of(uint32_t c);
bool vise_char_is_word(uint32_t c); /* \w */

/* The classes of the characters below VISE_CHAR_TABLE as a table, for scanning. */
#define VISE_CHAR_TABLE 0x3100
void vise_char_table(uint8_t table[VISE_CHAR_TABLE]);

/* What the tokenizers library takes characters for (text/library_tables.c): bits of a set. */
#define VISE_FLAG_DROPPED    1u  /* BertNormalizer's clean_text leaves it out */
#define VISE_FLAG_BLANK      2u  /* and makes it a space */
#define VISE_FLAG_PUNCT      4u  /* Punctuation, BertPreTokenizer */
#define VISE_FLAG_NONSPACING 8u  /* BertNormalizer's strip_accents leaves it out */
#define VISE_FLAG_MARK       16u /* StripAccents leaves it out */
#define VISE_FLAG_NUMERIC    32u /* Digits */
#define VISE_FLAG_FIXED      64u /* newer than its normal forms: they leave it as it is */
extern const vise_char_range vise_library_flags[];
extern const size_t vise_library_flags_count;
/* Lower case where utf8proc's differs; single characters. */
extern const vise_char_range vise_library_lower[];
extern const size_t vise_library_lower_count;
/* Newer than Unicode 14: the number of the general category (text/regex_translate.c). */
extern const vise_char_range vise_library_newer[];
extern const size_t vise_library_newer_count;
/* \p{Han} */
extern const vise_char_range vise_library_han[];
extern const size_t vise_library_han_count;

unsigned vise_char_flags(uint32_t c);
/* The flags of the characters below VISE_FLAG_TABLE as a table, for scanning. */
#define VISE_FLAG_TABLE 0x10000
void vise_flag_table(uint8_t table[VISE_FLAG_TABLE]);
/* Lower case, as the library has it, but for U+0130, which becomes two characters: 'i' comes back. */
uint32_t vise_char_lower(uint32_t c);

/* The character at text (at least one byte, valid UTF-8) and its length. */
static inline uint32_t vise_utf8_at(const char *text, size_t *length)
{
    const unsigned char *u = (const unsigned char *)text;

    if (u[0] < 0x80) {
        *length = 1;
        return u[0];
    }
    if (u[0] < 0xe0) {
        *length = 2;
        return (uint32_t)(u[0] & 0x1f) << 6 | (u[1] & 0x3fu);
    }
    if (u[0] < 0xf0) {
        *length = 3;
        return (uint32_t)(u[0] & 0x0f) << 12 | (uint32_t)(u[1] & 0x3f) << 6 | (u[2] & 0x3fu);
    }
    *length = 4;
    return (uint32_t)(u[0] & 0x07) << 18 | (uint32_t)(u[1] & 0x3f) << 12 | (uint32_t)(u[2] & 0x3f) << 6 |
           (u[3] & 0x3fu);
}

/* Start of the last character of text[0..length), length > 0. */
size_t vise_utf8_last(const char *text, size_t length);
/* Writes c as UTF-8 and returns its length, 1 to 4. */
size_t vise_utf8_put(uint32_t c, char out[4]);
/* Length of the valid prefix (Unicode 16, table 3-7: no overlong forms, no surrogates). *bad (may be
 * NULL) gets the length of the ill-formed sequence behind it, 0 if there is none: the maximal subpart
 * that one U+FFFD stands for. */
size_t vise_utf8_valid(const char *text, size_t length, size_t *bad);

#endif
