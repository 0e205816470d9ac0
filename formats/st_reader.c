#include "formats/st_reader.h"

#include <inttypes.h>
#include <string.h>

#define WINDOW_BYTES 65536
#define TEXT_MAX     (16u << 20) /* of one name, key or value */
#define DEPTH_MAX    64          /* of values that are skipped */
#define INTEGER_MAX  ((uint64_t)1 << 53)

/* ---- the window ------------------------------------------------------------------------------- */

vise_status vise_st_reader_init(vise_st_reader *r, const vise_st_input *input, uint64_t stop, vise_error *err)
{
    *r = (vise_st_reader){.input = input, .err = err, .next = 8, .stop = stop};
    vise_buf_init(&r->text, TEXT_MAX);
    void *window;
    VISE_TRY(vise_alloc(WINDOW_BYTES, &window, err));
    r->window = window;
    return VISE_OK;
}

void vise_st_reader_deinit(vise_st_reader *r)
{
    vise_free(r->window);
    vise_buf_deinit(&r->text);
}

/* Of the byte that is next, within the header. */
static uint64_t position(const vise_st_reader *r)
{
    return r->next - (r->filled - r->at) - 8;
}

static vise_status fill(vise_st_reader *r)
{
    uint64_t left = r->stop - r->next;
    size_t n = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
    if (n > 0)
        VISE_TRY(r->input->read_at(r->input->context, r->next, r->window, n, r->err));
    r->next += n;
    r->at = 0;
    r->filled = n;
    return VISE_OK;
}

/* The next byte or VISE_ST_END, without taking it. */
static vise_status peek(vise_st_reader *r, int *byte)
{
    if (r->at == r->filled)
        VISE_TRY(fill(r));
    *byte = r->at < r->filled ? r->window[r->at] : VISE_ST_END;
    return VISE_OK;
}

static vise_status take(vise_st_reader *r, int *byte)
{
    VISE_TRY(peek(r, byte));
    if (*byte != VISE_ST_END)
        r->at++;
    return VISE_OK;
}

vise_status vise_st_bad_json(vise_st_reader *r, const char *what)
{
    return VISE_FAIL(r->err, VISE_EFORMAT,
                     "%s: the safetensors header is not valid JSON: %s at byte %" PRIu64 " of the header; "
                     "the file is damaged or was written by a broken tool",
                     r->input->path, what, position(r));
}

vise_status vise_st_bad_field(vise_st_reader *r, const char *field, const char *what)
{
    char show[VISE_ST_SHOW_MAX];
    return VISE_FAIL(r->err, VISE_EFORMAT, "%s: tensor \"%s\": %s %s", r->input->path,
                     vise_st_show(r->tensor ? r->tensor : "", show), field, what);
}

vise_status vise_st_take(vise_st_reader *r, int *byte)
{
    do {
        VISE_TRY(take(r, byte));
    } while (*byte == ' ' || *byte == '\t' || *byte == '\n' || *byte == '\r');
    return VISE_OK;
}

vise_status vise_st_peek(vise_st_reader *r, int *byte)
{
    VISE_TRY(vise_st_take(r, byte));
    if (*byte != VISE_ST_END)
        r->at--; /* the window still holds it */
    return VISE_OK;
}

/* ---- UTF-8 and the hash: a pass of its own ahead of the parser -------------------------------- */

/* Bytes that may follow: the first continuation byte's range closes the overlong forms, surrogates and >
 * U+10FFFF. */
typedef struct utf8_state {
    int more;
    uint8_t low, high;
} utf8_state;

static bool utf8_step(utf8_state *s, uint8_t c)
{
    if (s->more > 0) {
        if (c < s->low || c > s->high)
            return false;
        s->more--;
        s->low = 0x80;
        s->high = 0xBF;
        return true;
    }
    if (c < 0x80)
        return true;
    if (c < 0xC2 || c > 0xF4)
        return false;
    s->more = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
    s->low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    s->high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    return true;
}

vise_status vise_st_check_utf8(vise_st_reader *r, char sha256[VISE_SHA256_HEX_MAX])
{
    vise_sha256 hash;
    vise_sha256_init(&hash);
    uint8_t length[8];
    VISE_TRY(r->input->read_at(r->input->context, 0, length, sizeof length, r->err));
    vise_sha256_add(&hash, length, sizeof length);

    utf8_state state = {0};
    r->next = 8;
    for (;;) {
        VISE_TRY(fill(r));
        if (r->filled == 0)
            break;
        vise_sha256_add(&hash, r->window, r->filled);
        for (size_t i = 0; i < r->filled; i++) {
            r->at = i;
            if (!utf8_step(&state, r->window[i]))
                return VISE_FAIL(r->err, VISE_EFORMAT,
                                 "%s: the safetensors header is not UTF-8 at byte %" PRIu64
                                 "; the file is damaged or no safetensors file",
                                 r->input->path, position(r));
        }
    }
    if (state.more > 0)
        return VISE_FAIL(r->err, VISE_EFORMAT,
                         "%s: the safetensors header is not UTF-8: it ends within a character",
                         r->input->path);
    vise_sha256_hex(&hash, sha256);
    r->next = 8;
    r->at = r->filled = 0;
    return VISE_OK;
}

/* ---- JSON values ------------------------------------------------------------------------------ */

static vise_status take_hex4(vise_st_reader *r, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++) {
        int c;
        VISE_TRY(take(r, &c));
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return vise_st_bad_json(r, "a \\u escape without four hexadecimal digits");
        *value = *value * 16 + (uint32_t)digit;
    }
    return VISE_OK;
}

static void add_utf8(vise_buf *buf, uint32_t c)
{
    if (c < 0x80) {
        vise_buf_add_char(buf, (char)c);
    } else if (c < 0x800) {
        vise_buf_add_char(buf, (char)(0xC0 | c >> 6));
        vise_buf_add_char(buf, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        vise_buf_add_char(buf, (char)(0xE0 | c >> 12));
        vise_buf_add_char(buf, (char)(0x80 | (c >> 6 & 63)));
        vise_buf_add_char(buf, (char)(0x80 | (c & 63)));
    } else {
        vise_buf_add_char(buf, (char)(0xF0 | c >> 18));
        vise_buf_add_char(buf, (char)(0x80 | (c >> 12 & 63)));
        vise_buf_add_char(buf, (char)(0x80 | (c >> 6 & 63)));
        vise_buf_add_char(buf, (char)(0x80 | (c & 63)));
    }
}

static vise_status take_escape(vise_st_reader *r)
{
    int c;
    VISE_TRY(take(r, &c));
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *simple = c > 0 ? strchr(from, c) : NULL;
    if (simple) {
        vise_buf_add_char(&r->text, to[simple - from]);
        return VISE_OK;
    }
    if (c != 'u')
        return vise_st_bad_json(r, "an unknown escape");
    uint32_t unit;
    VISE_TRY(take_hex4(r, &unit));
    if (unit == 0)
        return vise_st_bad_json(r, "a NUL character in a text");
    if (unit >= 0xDC00 && unit < 0xE000)
        return vise_st_bad_json(r, "half of a surrogate pair");
    if (unit >= 0xD800 && unit < 0xDC00) {
        int backslash, u;
        uint32_t low;
        VISE_TRY(take(r, &backslash));
        VISE_TRY(take(r, &u));
        if (backslash != '\\' || u != 'u')
            return vise_st_bad_json(r, "half of a surrogate pair");
        VISE_TRY(take_hex4(r, &low));
        if (low < 0xDC00 || low >= 0xE000)
            return vise_st_bad_json(r, "half of a surrogate pair");
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }
    add_utf8(&r->text, unit);
    return VISE_OK;
}

vise_status vise_st_take_text(vise_st_reader *r)
{
    int c;
    vise_buf_clear(&r->text);
    VISE_TRY(vise_st_take(r, &c));
    if (c != '"')
        return vise_st_bad_json(r, c == VISE_ST_END ? "it breaks off"
                                                    : "something else stands where a text is expected");
    for (;;) {
        /* Plain characters in one go, as far as the window reaches. */
        size_t run = r->at;
        while (run < r->filled && r->window[run] != '"' && r->window[run] != '\\' && r->window[run] >= 0x20)
            run++;
        if (run > r->at)
            vise_buf_add(&r->text, r->window + r->at, run - r->at);
        r->at = run;

        VISE_TRY(take(r, &c));
        if (c == '"')
            return vise_buf_check(&r->text, r->input->path, r->err);
        if (c == VISE_ST_END)
            return vise_st_bad_json(r, "a text without end");
        if (c < 0x20)
            return vise_st_bad_json(r, "a control character in a text");
        if (c == '\\')
            VISE_TRY(take_escape(r));
        else
            vise_buf_add_char(&r->text, (char)c);
    }
}

const char *vise_st_text(const vise_st_reader *r)
{
    return r->text.data ? r->text.data : "";
}

vise_status vise_st_take_integer(vise_st_reader *r, const char *field, uint64_t *value)
{
    int c;
    VISE_TRY(vise_st_take(r, &c));
    if (c == '-')
        return vise_st_bad_field(r, field, "holds a negative number");
    if (c < '0' || c > '9')
        return vise_st_bad_field(r, field, "holds something that is no integer");
    *value = (uint64_t)(c - '0');
    bool first_zero = c == '0', too_large = false;
    for (;;) {
        VISE_TRY(peek(r, &c));
        if (c < '0' || c > '9')
            break;
        if (first_zero)
            return vise_st_bad_field(r, field, "holds a number with a leading zero");
        r->at++;
        *value = *value * 10 + (uint64_t)(c - '0');
        if (*value > INTEGER_MAX) { /* checked at every digit: it cannot wrap */
            too_large = true;
            *value = INTEGER_MAX;
        }
    }
    if (c == '.' || c == 'e' || c == 'E')
        return vise_st_bad_field(r, field, "holds a fraction or an exponent where an integer is meant");
    if (too_large)
        return vise_st_bad_field(r, field, "holds an integer beyond 2^53, more than any file has");
    return VISE_OK;
}

vise_status vise_st_take_integers(vise_st_reader *r, const char *field, uint64_t *values, int max, int *n)
{
    int c;
    *n = 0;
    VISE_TRY(vise_st_take(r, &c));
    if (c != '[')
        return vise_st_bad_field(r, field, "is not an array");
    VISE_TRY(vise_st_peek(r, &c));
    if (c == ']')
        return vise_st_take(r, &c);
    for (;;) {
        if (*n == max)
            return vise_st_bad_field(r, field,
                                     max == 2 ? "holds more than two numbers" : "has too many dimensions");
        VISE_TRY(vise_st_take_integer(r, field, &values[(*n)++]));
        VISE_TRY(vise_st_take(r, &c));
        if (c == ']')
            return VISE_OK;
        if (c != ',')
            return vise_st_bad_field(r, field, "is an array without end");
    }
}

static vise_status take_word(vise_st_reader *r, const char *word)
{
    for (; *word; word++) {
        int c;
        VISE_TRY(take(r, &c));
        if (c != *word)
            return vise_st_bad_json(r, "an unknown word");
    }
    return VISE_OK;
}

vise_status vise_st_take_null(vise_st_reader *r)
{
    int c;
    VISE_TRY(vise_st_peek(r, &c));
    return take_word(r, "null");
}

static vise_status skip_number(vise_st_reader *r)
{
    int c;
    VISE_TRY(peek(r, &c));
    if (c == '-')
        r->at++;
    VISE_TRY(peek(r, &c));
    bool zero = c == '0';
    size_t digits = 0;
    for (int part = 0;; part++) { /* integer, fraction, exponent */
        for (digits = 0;; digits++) {
            VISE_TRY(peek(r, &c));
            if (c < '0' || c > '9')
                break;
            r->at++;
        }
        if (digits == 0 || (part == 0 && zero && digits > 1))
            return vise_st_bad_json(r, "a malformed number");
        if (c == '.' && part == 0) {
            r->at++;
        } else if ((c == 'e' || c == 'E') && part < 2) {
            part = 1;
            r->at++;
            VISE_TRY(peek(r, &c));
            if (c == '+' || c == '-')
                r->at++;
        } else {
            return VISE_OK;
        }
    }
}

static vise_status skip_value(vise_st_reader *r, int depth)
{
    int c;
    if (depth > DEPTH_MAX)
        return vise_st_bad_json(r, "nesting that is too deep");
    VISE_TRY(vise_st_peek(r, &c));
    if (c == '"')
        return vise_st_take_text(r);
    if (c == 't' || c == 'f' || c == 'n')
        return take_word(r, c == 't' ? "true" : c == 'f' ? "false" : "null");
    if (c != '{' && c != '[')
        return c == '-' || (c >= '0' && c <= '9') ? skip_number(r)
                                                  : vise_st_bad_json(r, "something that is no value");
    int open = c, close = c == '{' ? '}' : ']';
    VISE_TRY(take(r, &c));
    VISE_TRY(vise_st_peek(r, &c));
    if (c == close)
        return take(r, &c);
    for (;;) {
        if (open == '{') {
            VISE_TRY(vise_st_take_text(r));
            VISE_TRY(vise_st_take(r, &c));
            if (c != ':')
                return vise_st_bad_json(r, "a key without ':'");
        }
        VISE_TRY(skip_value(r, depth + 1));
        VISE_TRY(vise_st_take(r, &c));
        if (c == close)
            return VISE_OK;
        if (c != ',')
            return vise_st_bad_json(r, "an object or array without end");
    }
}

vise_status vise_st_skip(vise_st_reader *r)
{
    return skip_value(r, 0);
}

vise_status vise_st_next_member(vise_st_reader *r, bool first, bool *more)
{
    int c;
    VISE_TRY(vise_st_peek(r, &c));
    if (c == '}') {
        r->at++;
        *more = false;
        return VISE_OK;
    }
    if (!first) {
        if (c != ',')
            return vise_st_bad_json(r, c == VISE_ST_END ? "it breaks off"
                                                        : "two members without ',' between them");
        r->at++;
    }
    VISE_TRY(vise_st_take_text(r));
    VISE_TRY(vise_st_take(r, &c));
    if (c != ':')
        return vise_st_bad_json(r, "a key without ':'");
    *more = true;
    return VISE_OK;
}
