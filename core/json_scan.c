#include "core/json_scan.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"

/* cJSON copies a number into 64 bytes before it converts it. */
enum { NUMBER_LENGTH_MAX = 63 };

vise_status vise_json_fail_at(const vise_json_scanner *s, size_t at, const char *format, ...)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at && i < s->length; i++) {
        if (s->text[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)s->text[i] & 0xC0) != 0x80) {
            column++;
        }
    }
    char what[VISE_ERROR_MESSAGE_MAX / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return VISE_FAIL(s->err, VISE_EFORMAT, "%s: line %zu, column %zu: %s", s->name, line, column, what);
}

size_t vise_utf8_length(const char *text, size_t length)
{
    if (length == 0)
        return 0;
    const unsigned char *b = (const unsigned char *)text;
    if (b[0] < 0x80)
        return 1;
    /* RFC 3629: no overlong forms, no surrogates, nothing beyond U+10FFFF; the second byte's range says it all. */
    size_t n;
    unsigned char low = 0x80, high = 0xBF;
    if (b[0] >= 0xC2 && b[0] <= 0xDF) {
        n = 2;
    } else if (b[0] >= 0xE0 && b[0] <= 0xEF) {
        n = 3;
        low = b[0] == 0xE0 ? 0xA0 : 0x80;
        high = b[0] == 0xED ? 0x9F : 0xBF;
    } else if (b[0] >= 0xF0 && b[0] <= 0xF4) {
        n = 4;
        low = b[0] == 0xF0 ? 0x90 : 0x80;
        high = b[0] == 0xF4 ? 0x8F : 0xBF;
    } else {
        return 0;
    }
    if (length < n || b[1] < low || b[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((b[i] & 0xC0) != 0x80)
            return 0;
    return n;
}

char vise_json_peek(const vise_json_scanner *s)
{
    return s->at < s->length ? s->text[s->at] : '\0';
}

void vise_json_skip_space(vise_json_scanner *s)
{
    while (s->at < s->length) {
        char c = s->text[s->at];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
            return;
        s->at++;
    }
}

/* "expected X, found Y" at the current byte. */
static vise_status unexpected(const vise_json_scanner *s, const char *expected)
{
    if (s->at >= s->length)
        return vise_json_fail_at(s, s->at, "expected %s, but the text ends", expected);
    size_t n = vise_utf8_length(s->text + s->at, s->length - s->at);
    unsigned char c = (unsigned char)s->text[s->at];
    if (n == 0 || c < 0x20 || c == 0x7F)
        return vise_json_fail_at(s, s->at, "expected %s, found byte 0x%02X", expected, c);
    return vise_json_fail_at(s, s->at, "expected %s, found '%.*s'", expected, (int)n, s->text + s->at);
}

vise_status vise_json_expect(vise_json_scanner *s, char c, const char *expected)
{
    vise_json_skip_space(s);
    if (s->at >= s->length || s->text[s->at] != c)
        return unexpected(s, expected);
    s->at++;
    return VISE_OK;
}

/* Four hexadecimal digits, or -1. */
static int hex4(const vise_json_scanner *s, size_t at)
{
    if (at > s->length || s->length - at < 4)
        return -1;
    int value = 0;
    for (size_t i = 0; i < 4; i++) {
        char c = s->text[at + i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* `at` is on the backslash. */
static vise_status skip_escape(vise_json_scanner *s)
{
    char c = s->at + 1 < s->length ? s->text[s->at + 1] : '\0';
    if (c != '\0' && strchr("\"\\/bfnrt", c)) {
        s->at += 2;
        return VISE_OK;
    }
    int unit = c == 'u' ? hex4(s, s->at + 2) : -1;
    if (unit < 0)
        return vise_json_fail_at(s, s->at, "this is no escape of JSON");
    if (unit == 0)
        return vise_json_fail_at(s, s->at, "\\u0000 in a text is not supported");
    size_t n = 6;
    if (unit >= 0xD800 && unit <= 0xDFFF) {
        bool paired = unit <= 0xDBFF && s->length - s->at >= 12 && memcmp(s->text + s->at + 6, "\\u", 2) == 0;
        int low = paired ? hex4(s, s->at + 8) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return vise_json_fail_at(s, s->at, "\\u%04X is half of a surrogate pair", (unsigned)unit);
        n = 12;
    }
    s->at += n;
    return VISE_OK;
}

vise_status vise_json_skip_string(vise_json_scanner *s)
{
    size_t start = s->at;
    if (vise_json_peek(s) != '"')
        return unexpected(s, "a text in double quotes");
    s->at++;
    while (s->at < s->length) {
        unsigned char c = (unsigned char)s->text[s->at];
        if (c == '"') {
            s->at++;
            return VISE_OK;
        }
        if (c == '\\') {
            VISE_TRY(skip_escape(s));
        } else if (c < 0x20) {
            return vise_json_fail_at(s, s->at, "byte 0x%02X inside a text must be escaped", c);
        } else if (c < 0x80) {
            s->at++;
        } else {
            size_t n = vise_utf8_length(s->text + s->at, s->length - s->at);
            if (n == 0)
                return vise_json_fail_at(s, s->at, "byte 0x%02X is not UTF-8", c);
            s->at += n;
        }
    }
    return vise_json_fail_at(s, start, "this text has no closing quote");
}

static size_t skip_digits(vise_json_scanner *s)
{
    size_t start = s->at;
    while (s->at < s->length && s->text[s->at] >= '0' && s->text[s->at] <= '9')
        s->at++;
    return s->at - start;
}

static vise_status skip_number(vise_json_scanner *s)
{
    size_t start = s->at;
    if (vise_json_peek(s) == '-')
        s->at++;
    if (vise_json_peek(s) == '0')
        s->at++;
    else if (skip_digits(s) == 0)
        return unexpected(s, "a digit");
    if (vise_json_peek(s) == '.') {
        s->at++;
        if (skip_digits(s) == 0)
            return unexpected(s, "a digit");
    }
    if (vise_json_peek(s) == 'e' || vise_json_peek(s) == 'E') {
        s->at++;
        if (vise_json_peek(s) == '+' || vise_json_peek(s) == '-')
            s->at++;
        if (skip_digits(s) == 0)
            return unexpected(s, "a digit");
    }
    if (s->at - start > NUMBER_LENGTH_MAX)
        return vise_json_fail_at(s, start, "a number of %zu characters; %d are supported", s->at - start,
                                 NUMBER_LENGTH_MAX);
    return VISE_OK;
}

static vise_status skip_word(vise_json_scanner *s, const char *word)
{
    size_t n = strlen(word);
    if (s->length - s->at < n || memcmp(s->text + s->at, word, n) != 0)
        return unexpected(s, "a value");
    s->at += n;
    return VISE_OK;
}

static vise_status enter(vise_json_scanner *s)
{
    if (s->depth == VISE_JSON_DEPTH_MAX)
        return vise_json_fail_at(s, s->at, "nested deeper than %d levels", VISE_JSON_DEPTH_MAX);
    s->depth++;
    s->at++;
    vise_json_skip_space(s);
    return VISE_OK;
}

/* After a value: true and past the comma when another follows; *ended when the closing bracket came. */
static vise_status next_or_end(vise_json_scanner *s, char closing, bool *ended)
{
    vise_json_skip_space(s);
    char c = vise_json_peek(s);
    if (c != ',' && c != closing)
        return unexpected(s, closing == '}' ? "',' or '}'" : "',' or ']'");
    s->at++;
    *ended = c == closing;
    if (!*ended)
        vise_json_skip_space(s);
    else
        s->depth--;
    return VISE_OK;
}

static vise_status skip_container(vise_json_scanner *s, char closing)
{
    VISE_TRY(enter(s));
    bool ended = vise_json_peek(s) == closing;
    if (ended) {
        s->at++;
        s->depth--;
    }
    while (!ended) {
        if (closing == '}') {
            VISE_TRY(vise_json_skip_string(s));
            VISE_TRY(vise_json_expect(s, ':', "':'"));
            vise_json_skip_space(s);
        }
        VISE_TRY(vise_json_skip_value(s));
        VISE_TRY(next_or_end(s, closing, &ended));
    }
    return VISE_OK;
}

vise_status vise_json_skip_value(vise_json_scanner *s)
{
    switch (vise_json_peek(s)) {
    case '{':
        return skip_container(s, '}');
    case '[':
        return skip_container(s, ']');
    case '"':
        return vise_json_skip_string(s);
    case 't':
        return skip_word(s, "true");
    case 'f':
        return skip_word(s, "false");
    case 'n':
        return skip_word(s, "null");
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return skip_number(s);
    default:
        return unexpected(s, "a value");
    }
}

vise_status vise_json_scan_document(vise_json_scanner *s)
{
    if (s->length >= 3 && memcmp(s->text, "\xEF\xBB\xBF", 3) == 0)
        return vise_json_fail_at(s, 0, "the text starts with a byte order mark, which JSON does not allow");
    vise_json_skip_space(s);
    VISE_TRY(vise_json_skip_value(s));
    vise_json_skip_space(s);
    if (s->at < s->length)
        return unexpected(s, "the end of the text");
    return VISE_OK;
}
