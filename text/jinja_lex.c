/* Templates to tokens, with Jinja's rules for white space around tags. */
#include <string.h>

#include "text/jinja_internal.h"
#include "text/unicode.h"

typedef struct lexer {
    vise_arena *arena;
    const char *name;
    char *text; /* newlines are \n, one at the end is gone */
    size_t length, at;
    int line;
    vise_jtoken *tokens; /* grown by hand: an arena does not take back */
    size_t count, capacity;
    vise_error *err;
} lexer;

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_name(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static vise_status add(lexer *l, vise_jtoken_kind kind, const char *text, size_t length)
{
    vise_jtoken *token;

    if (l->count == l->capacity) {
        size_t capacity = l->capacity > 0 ? 2 * l->capacity : 64;
        void *tokens;
        VISE_TRY(vise_arena_take(l->arena, capacity * sizeof *token, &tokens, l->err));
        if (l->count > 0)
            memcpy(tokens, l->tokens, l->count * sizeof *token);
        l->tokens = tokens;
        l->capacity = capacity;
    }
    token = &l->tokens[l->count++];
    *token = (vise_jtoken){.kind = kind, .line = l->line, .length = length};
    return vise_arena_strdup(l->arena, text, length, &token->text, l->err);
}

static vise_status broken(const lexer *l, const char *what)
{
    return VISE_FAIL(l->err, VISE_EFORMAT, "%s line %d: %s", l->name, l->line, what);
}

static void move(lexer *l, size_t to)
{
    for (; l->at < to; l->at++)
        l->line += l->text[l->at] == '\n';
}

static bool starts(const lexer *l, const char *with)
{
    size_t n = strlen(with);

    return l->length - l->at >= n && memcmp(l->text + l->at, with, n) == 0;
}

/* Behind a tag's end at `at`: what white space goes with it. sign is '-', '+' or 0. */
static void skip_behind(lexer *l, char sign, bool variable)
{
    size_t to = l->at;

    if (sign == '-')
        while (to < l->length && is_space(l->text[to]))
            to++;
    else if (sign == 0 && !variable && to < l->length && l->text[to] == '\n')
        to++;
    move(l, to);
}

/* ---- inside of tags -------------------------------------------------------------------------------------------- */

static int hex_digits(const char *text, size_t n, uint32_t *value)
{
    *value = 0;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        uint32_t digit = is_digit(c)            ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return 0;
        *value = *value << 4 | digit;
    }
    return 1;
}

/* One escape of a Python string at text (behind the backslash, `left` bytes there): appends what it stands for and
 * returns its length; 0: broken. */
static size_t unescape(const char *text, size_t left, vise_buf *out)
{
    static const char from[] = "nrtabfv\\'\"", to[] = "\n\r\t\a\b\f\v\\'\"";
    const char *simple = text[0] != '\0' ? strchr(from, text[0]) : NULL;
    size_t digits = text[0] == 'x' ? 2 : text[0] == 'u' ? 4 : text[0] == 'U' ? 8 : 0;
    uint32_t value;
    char utf8[4];

    if (simple != NULL) {
        vise_buf_add_char(out, to[simple - from]);
        return 1;
    }
    if (text[0] == '\n')
        return 1;
    if (digits == 0 && !is_digit(text[0])) {
        vise_buf_add_char(out, '\\');
        vise_buf_add_char(out, text[0]);
        return 1;
    }
    if (digits == 0 || left < digits + 1 || !hex_digits(text + 1, digits, &value) || value == 0 ||
        value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return 0;
    vise_buf_add(out, utf8, vise_utf8_put(value, utf8));
    return digits + 1;
}

static vise_status lex_text(lexer *l)
{
    char quote = l->text[l->at];
    size_t at = l->at + 1;
    vise_status status = VISE_OK;
    vise_buf buf;

    vise_buf_init(&buf, l->length + 4);
    while (at < l->length && l->text[at] != quote) {
        size_t n = 1;
        if (l->text[at] != '\\')
            vise_buf_add_char(&buf, l->text[at]);
        else if (at + 1 < l->length && (n = unescape(l->text + at + 1, l->length - at - 1, &buf)) > 0)
            n++;
        else
            break;
        at += n;
    }
    if (at >= l->length || l->text[at] != quote)
        status = broken(l, "a text in quotes does not end, or has an escape that is not known");
    if (status == VISE_OK)
        status = vise_buf_check(&buf, l->name, l->err);
    if (status == VISE_OK)
        status = add(l, VISE_JT_TEXT, buf.length > 0 ? buf.data : "", buf.length);
    move(l, at + 1 < l->length ? at + 1 : l->length);
    vise_buf_deinit(&buf);
    return status;
}

static vise_status lex_number(lexer *l)
{
    bool behind_dot = l->count > 0 && l->tokens[l->count - 1].kind == VISE_JT_OP &&
                      strcmp(l->tokens[l->count - 1].text, ".") == 0;
    size_t to = l->at;
    vise_jtoken_kind kind = VISE_JT_WHOLE;

    while (to < l->length && is_digit(l->text[to]))
        to++;
    if (!behind_dot && to + 1 < l->length && l->text[to] == '.' && is_digit(l->text[to + 1])) {
        kind = VISE_JT_NUMBER;
        for (to++; to < l->length && is_digit(l->text[to]);)
            to++;
    }
    if (!behind_dot && to < l->length && (l->text[to] == 'e' || l->text[to] == 'E')) {
        size_t digits = to + 1;
        digits += digits < l->length && (l->text[digits] == '-' || l->text[digits] == '+');
        if (digits < l->length && is_digit(l->text[digits])) {
            kind = VISE_JT_NUMBER;
            for (to = digits; to < l->length && is_digit(l->text[to]);)
                to++;
        }
    }
    if (to < l->length && is_name(l->text[to], true))
        return broken(l, "a number that is not understood");
    VISE_TRY(add(l, kind, l->text + l->at, to - l->at));
    l->at = to;
    return VISE_OK;
}

static vise_status lex_operator(lexer *l, int *depth)
{
    static const char *const twos[] = {"==", "!=", "<=", ">=", "//", "**"};
    size_t n = 1;

    for (size_t i = 0; i < sizeof twos / sizeof twos[0]; i++)
        if (starts(l, twos[i]))
            n = 2;
    if (strchr("+-*/%~[](){}<>=!.:|,", l->text[l->at]) == NULL || l->text[l->at] == '\0')
        return broken(l, "a character that no expression has");
    if (n == 1 && strchr("([{", l->text[l->at]) != NULL)
        (*depth)++;
    if (n == 1 && strchr(")]}", l->text[l->at]) != NULL && --*depth < 0)
        return broken(l, "a bracket that closes what was not opened");
    VISE_TRY(add(l, VISE_JT_OP, l->text + l->at, n));
    l->at += n;
    return VISE_OK;
}

/* The end of the tag, which "-" or "+" may stand in front of. */
static bool at_end(const lexer *l, const char *end, char *sign)
{
    size_t n = strlen(end);
    char c = l->text[l->at];

    *sign = 0;
    if (starts(l, end))
        return true;
    if ((c == '-' || (c == '+' && end[0] == '%')) && l->length - l->at > n &&
        memcmp(l->text + l->at + 1, end, n) == 0) {
        *sign = c;
        return true;
    }
    return false;
}

static vise_status lex_tag(lexer *l, bool variable)
{
    const char *end = variable ? "}}" : "%}";
    int depth = 0;
    char sign;

    VISE_TRY(add(l, variable ? VISE_JT_VARIABLE : VISE_JT_BLOCK, "", 0));
    while (l->at < l->length) {
        char c = l->text[l->at];
        if (is_space(c)) {
            move(l, l->at + 1);
        } else if (depth == 0 && at_end(l, end, &sign)) {
            VISE_TRY(add(l, variable ? VISE_JT_VARIABLE_END : VISE_JT_BLOCK_END, "", 0));
            l->at += sign != 0 ? 3 : 2;
            skip_behind(l, sign, variable);
            return VISE_OK;
        } else if (is_name(c, true)) {
            size_t to = l->at;
            while (to < l->length && is_name(l->text[to], false))
                to++;
            VISE_TRY(add(l, VISE_JT_NAME, l->text + l->at, to - l->at));
            l->at = to;
        } else if (is_digit(c)) {
            VISE_TRY(lex_number(l));
        } else if (c == '"' || c == '\'') {
            VISE_TRY(lex_text(l));
        } else {
            VISE_TRY(lex_operator(l, &depth));
        }
    }
    return broken(l, "a tag does not end");
}

/* ---- between tags ---------------------------------------------------------------------------------------------- */

/* The data in front of a tag at `tag`, less what the tag's sign and lstrip_blocks take. */
static vise_status lex_data(lexer *l, size_t tag, bool line_start, bool variable, char sign)
{
    size_t from = l->at, to = tag, line = tag;

    if (sign == '-') {
        while (to > from && is_space(l->text[to - 1]))
            to--;
    } else if (sign != '+' && !variable) {
        while (line > from && is_space(l->text[line - 1]) && l->text[line - 1] != '\n')
            line--;
        if (line > from ? l->text[line - 1] == '\n' : line_start)
            to = line;
    }
    if (to > from)
        VISE_TRY(add(l, VISE_JT_DATA, l->text + from, to - from));
    move(l, tag);
    return VISE_OK;
}

static vise_status lex_comment(lexer *l)
{
    size_t to = l->at;

    while (to + 1 < l->length && !(l->text[to] == '#' && l->text[to + 1] == '}'))
        to++;
    if (to + 1 >= l->length)
        return broken(l, "a comment does not end");
    char sign = to > l->at && (l->text[to - 1] == '-' || l->text[to - 1] == '+') ? l->text[to - 1] : 0;
    move(l, to + 2);
    skip_behind(l, sign, false);
    return VISE_OK;
}

static vise_status lex_all(lexer *l)
{
    bool line_start = true;

    while (l->at < l->length) {
        size_t tag = l->at;
        while (tag + 1 < l->length &&
               !(l->text[tag] == '{' &&
                 (l->text[tag + 1] == '{' || l->text[tag + 1] == '%' || l->text[tag + 1] == '#')))
            tag++;
        if (tag + 1 >= l->length) {
            VISE_TRY(add(l, VISE_JT_DATA, l->text + l->at, l->length - l->at));
            l->at = l->length;
            break;
        }
        char kind = l->text[tag + 1], sign = tag + 2 < l->length ? l->text[tag + 2] : 0;
        sign = sign == '-' || sign == '+' ? sign : 0;
        VISE_TRY(lex_data(l, tag, line_start, kind == '{', sign));
        l->at = tag + (sign != 0 ? 3 : 2);
        VISE_TRY(kind == '#' ? lex_comment(l) : lex_tag(l, kind == '{'));
        line_start = l->text[l->at - 1] == '\n';
    }
    return add(l, VISE_JT_END, "", 0);
}

vise_status vise_jinja_lex(vise_arena *arena, const char *name, const char *text, size_t length,
                           vise_jtoken **tokens, vise_error *err)
{
    lexer l = {.arena = arena, .name = name, .line = 1, .err = err};
    void *memory;

    VISE_TRY(vise_arena_take(arena, length + 1, &memory, err));
    l.text = memory;
    for (size_t i = 0; i < length; i++) {
        bool newline = text[i] == '\r' || text[i] == '\n';
        l.text[l.length++] = newline ? '\n' : text[i];
        i += text[i] == '\r' && i + 1 < length && text[i + 1] == '\n';
    }
    if (l.length > 0 && l.text[l.length - 1] == '\n')
        l.length--;
    l.text[l.length] = '\0';
    if (vise_utf8_valid(l.text, l.length, NULL) < l.length)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: not UTF-8", name);
    VISE_TRY(lex_all(&l));
    *tokens = l.tokens;
    return VISE_OK;
}
