#include "text/unicode.h"

#include <string.h>
#include <utf8proc.h>

static uint32_t look_up(const vise_char_range *ranges, size_t count, uint32_t c)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c > ranges[middle].last)
            low = middle + 1;
        else if (c < ranges[middle].first)
            high = middle;
        else
            return ranges[middle].value;
    }
    return 0;
}

vise_char_class vise_char_class_of(uint32_t c)
{
    return (vise_char_class)look_up(vise_unicode_classes, vise_unicode_classes_count, c);
}

bool vise_char_is_word(uint32_t c)
{
    return look_up(vise_unicode_words, vise_unicode_words_count, c) != 0;
}

void vise_char_table(uint8_t table[VISE_CHAR_TABLE])
{
    memset(table, VISE_CHAR_OTHER, VISE_CHAR_TABLE);
    for (size_t i = 0; i < vise_unicode_classes_count; i++)
        for (uint32_t c = vise_unicode_classes[i].first;
             c <= vise_unicode_classes[i].last && c < VISE_CHAR_TABLE; c++)
            table[c] = (uint8_t)vise_unicode_classes[i].value;
}

unsigned vise_char_flags(uint32_t c)
{
    return look_up(vise_library_flags, vise_library_flags_count, c);
}

void vise_flag_table(uint8_t table[VISE_FLAG_TABLE])
{
    memset(table, 0, VISE_FLAG_TABLE);
    for (size_t i = 0; i < vise_library_flags_count; i++)
        for (uint32_t c = vise_library_flags[i].first; c <= vise_library_flags[i].last && c < VISE_FLAG_TABLE;
             c++)
            table[c] = (uint8_t)vise_library_flags[i].value;
}

uint32_t vise_char_lower(uint32_t c)
{
    uint32_t other;

    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    other = look_up(vise_library_lower, vise_library_lower_count, c);
    return other != 0 ? other : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}

size_t vise_utf8_last(const char *text, size_t length)
{
    size_t at = length - 1;

    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    return at;
}

size_t vise_utf8_put(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* The length of the well-formed sequence at u, or 0 with *bad the length of its ill-formed start. */
static size_t sequence(const unsigned char *u, size_t length, size_t *bad)
{
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */
    size_t need;

    if (u[0] < 0x80)
        return 1;
    *bad = 1;
    if (u[0] < 0xc2 || u[0] > 0xf4)
        return 0;
    need = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
    if (u[0] == 0xe0)
        low = 0xa0;
    else if (u[0] == 0xed)
        high = 0x9f;
    else if (u[0] == 0xf0)
        low = 0x90;
    else if (u[0] == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < need; i++) {
        if (i >= length || u[i] < low || u[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return need;
}

size_t vise_utf8_valid(const char *text, size_t length, size_t *bad)
{
    const unsigned char *u = (const unsigned char *)text;
    size_t at = 0, wrong = 0;

    while (at < length) {
        uint64_t eight;
        size_t n;
        if (length - at >= 8) {
            memcpy(&eight, u + at, 8);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += 8;
                continue;
            }
        }
        n = sequence(u + at, length - at, &wrong);
        if (n == 0)
            break;
        at += n;
    }
    if (bad != NULL)
        *bad = at < length ? wrong : 0;
    return at;
}
