#include "text/split.h"

#include <string.h>

#include "text/unicode.h"

/* (?i:...) of a regular expression that knows Unicode also takes U+017F, the long s, for an s. */
#define LONG_S 0x17f

static const struct {
    const char *regex;
    vise_split split;
} known[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", VISE_SPLIT_GPT2},
    {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", VISE_SPLIT_GPT2},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     VISE_SPLIT_LLAMA3},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     VISE_SPLIT_QWEN2},
};

bool vise_split_from_regex(const char *regex, vise_split *split)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(regex, known[i].regex) == 0) {
            *split = known[i].split;
            return true;
        }
    }
    return false;
}

typedef struct cursor {
    const uint8_t *table;
    const char *text;
    size_t length;
} cursor;

/* Class of the character at `at` < length, and its length. */
static inline vise_char_class class_at(const cursor *c, size_t at, size_t *length)
{
    uint32_t character = vise_utf8_at(c->text + at, length);

    return character < VISE_CHAR_TABLE ? (vise_char_class)c->table[character] : vise_char_class_of(character);
}

static inline size_t skip_class(const cursor *c, vise_char_class wanted, size_t at)
{
    size_t length;

    while (at < c->length && class_at(c, at, &length) == wanted)
        at += length;
    return at;
}

static inline bool is_break(char c)
{
    return c == '\r' || c == '\n';
}

/* \s+(?!\S)|\s+ from a space character on: all of them at the end of the text or if there is one, else
 * all but the last. */
static size_t end_of_spaces(const cursor *c, size_t at)
{
    size_t end = skip_class(c, VISE_CHAR_SPACE, at);
    size_t last;

    if (end == c->length)
        return end;
    last = at + vise_utf8_last(c->text + at, end - at);
    return last > at ? last : end;
}

/* '(?:[sdmt]|ll|ve|re): the end, or `at` when there is none. */
static size_t end_of_contraction(const cursor *c, size_t at)
{
    const char *p = c->text + at;
    size_t left = c->length - at;

    if (left < 2)
        return at;
    if (p[1] == 's' || p[1] == 'd' || p[1] == 'm' || p[1] == 't')
        return at + 2;
    if (left >= 3 && ((p[1] == 'l' && p[2] == 'l') || ((p[1] == 'v' || p[1] == 'r') && p[2] == 'e')))
        return at + 3;
    return at;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d) */
static size_t end_of_contraction_any_case(const cursor *c, size_t at)
{
    const char *p = c->text + at;
    size_t left = c->length - at, n;
    char first, second;

    if (left < 2)
        return at;
    if ((unsigned char)p[1] >= 0x80)
        return vise_utf8_at(p + 1, &n) == LONG_S ? at + 1 + n : at;
    first = (char)(p[1] | 0x20);
    second = left >= 3 ? (char)(p[2] | 0x20) : 0;
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return at + 2;
    if ((first == 'l' && second == 'l') || ((first == 'v' || first == 'r') && second == 'e'))
        return at + 3;
    return at;
}

static size_t next_gpt2(const cursor *c, size_t at)
{
    size_t start = at, n, end;
    vise_char_class kind;

    if (c->text[at] == '\'') {
        end = end_of_contraction(c, at);
        if (end > at)
            return end;
    }
    kind = class_at(c, at, &n);
    if (c->text[at] == ' ' && at + 1 < c->length) {
        size_t next;
        vise_char_class after = class_at(c, at + 1, &next);
        if (after != VISE_CHAR_SPACE) {
            start = at + 1;
            kind = after;
        }
    }
    if (kind == VISE_CHAR_SPACE)
        return end_of_spaces(c, at);
    return skip_class(c, kind, start);
}

/* Both share all but the number of digits. */
static size_t next_llama3(const cursor *c, size_t at, int digits)
{
    size_t start, n, end;
    vise_char_class kind;

    if (c->text[at] == '\'') {
        end = end_of_contraction_any_case(c, at);
        if (end > at)
            return end;
    }
    kind = class_at(c, at, &n);
    /* [^\r\n\p{L}\p{N}]?\p{L}+ */
    if (kind == VISE_CHAR_LETTER)
        return skip_class(c, VISE_CHAR_LETTER, at);
    if (kind != VISE_CHAR_NUMBER && !is_break(c->text[at])) {
        end = skip_class(c, VISE_CHAR_LETTER, at + n);
        if (end > at + n)
            return end;
    }
    if (kind == VISE_CHAR_NUMBER) {
        end = at;
        for (int i = 0; i < digits && end < c->length && class_at(c, end, &n) == VISE_CHAR_NUMBER; i++)
            end += n;
        return end;
    }
    /* " ?[^\s\p{L}\p{N}]+[\r\n]*" */
    end = at + (c->text[at] == ' ');
    start = end;
    end = kind == VISE_CHAR_OTHER || end > at ? skip_class(c, VISE_CHAR_OTHER, end) : at;
    if (end > start) {
        while (end < c->length && is_break(c->text[end]))
            end++;
        return end;
    }
    /* \s*[\r\n]+: up to the last line break of the run. */
    end = skip_class(c, VISE_CHAR_SPACE, at);
    while (end > at && !is_break(c->text[end - 1]))
        end--;
    return end > at ? end : end_of_spaces(c, at);
}

/* Up to the next U+2581 behind the first character; with `runs`, only one that follows another character. */
static size_t next_mark(const cursor *c, size_t at, bool runs)
{
    const char *p = c->text + at, *end = c->text + c->length;

    if (runs)
        while (end - p >= VISE_MARK_LENGTH && memcmp(p, VISE_MARK, VISE_MARK_LENGTH) == 0)
            p += VISE_MARK_LENGTH;
    else
        p++;
    while (p < end) {
        p = memchr(p, VISE_MARK[0], (size_t)(end - p));
        if (p == NULL || end - p < VISE_MARK_LENGTH)
            break;
        if (memcmp(p, VISE_MARK, VISE_MARK_LENGTH) == 0)
            return (size_t)(p - c->text);
        p++;
    }
    return c->length;
}

size_t vise_split_next(vise_split split, const uint8_t *table, const char *text, size_t length, size_t at)
{
    const cursor c = {table, text, length};

    switch (split) {
    case VISE_SPLIT_GPT2:
        return next_gpt2(&c, at);
    case VISE_SPLIT_LLAMA3:
        return next_llama3(&c, at, 3);
    case VISE_SPLIT_QWEN2:
        return next_llama3(&c, at, 1);
    case VISE_SPLIT_MARK:
        return next_mark(&c, at, false);
    case VISE_SPLIT_WORDS:
        return next_mark(&c, at, true);
    }
    return length;
}
