/* From Oniguruma's regular expressions to PCRE2's: what is known to mean the same passes, spelled so that both
 * know the same characters; the rest is refused by name. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "text/regex.h"
#include "text/unicode.h"

#define DEPTH_MAX 32

static const char spaces[] = "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{"
                             "2029}\\x{202f}\\x{205f}\\x{3000}";

/* As text/library_tables.c counts them from 1. */
static const char *const categories[] = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl",
                                         "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc",
                                         "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co"};

typedef struct translator {
    const char *name, *pattern, *at;
    vise_buf *out;
    bool fold; /* inside (?i:...) */
    int depth;
    vise_error *err;
} translator;

static vise_status refuse(const translator *t, const char *what)
{
    return VISE_FAIL(t->err, VISE_EUNSUPPORTED,
                     "%s: the regular expression \"%.200s\" has %s at character %td, which is not supported",
                     t->name, t->pattern, what, t->at - t->pattern + 1);
}

static vise_status broken(const translator *t, const char *what)
{
    return VISE_FAIL(t->err, VISE_EFORMAT, "%s: the regular expression \"%.200s\" %s", t->name, t->pattern,
                     what);
}

static void put_range(vise_buf *out, uint32_t first, uint32_t last)
{
    vise_buf_addf(out, "\\x{%lx}", (unsigned long)first);
    if (last > first)
        vise_buf_addf(out, "-\\x{%lx}", (unsigned long)last);
}

/* The members of \p{name}, as they stand inside a class. */
static bool put_property(vise_buf *out, const char *name, size_t length)
{
    bool known = false;

    if (length == 3 && memcmp(name, "Han", 3) == 0) {
        for (size_t i = 0; i < vise_library_han_count; i++)
            put_range(out, vise_library_han[i].first, vise_library_han[i].last);
        return true;
    }
    /* C has what is not assigned, which depends on the version, and U+1171E has left Mn. */
    if (length < 1 || length > 2 || name[0] == 'C' || (length == 2 && memcmp(name, "Mn", 2) == 0))
        return false;
    for (size_t i = 0; i < sizeof categories / sizeof categories[0]; i++)
        known = known || memcmp(categories[i], name, length) == 0;
    if (!known)
        return false;
    vise_buf_addf(out, "\\p{%.*s}", (int)length, name);
    for (size_t i = 0; i < vise_library_newer_count; i++)
        if (memcmp(categories[vise_library_newer[i].value - 1], name, length) == 0)
            put_range(out, vise_library_newer[i].first, vise_library_newer[i].last);
    return true;
}

/* \p{...} or \P{...}; t->at is at the brace. */
static vise_status property(translator *t, bool negated, bool in_class)
{
    const char *end = t->at[0] == '{' ? strchr(t->at, '}') : NULL;
    const char *name = t->at + 1;

    if (end == NULL)
        return broken(t, "has a \\p without a name in braces");
    if (*name == '^') {
        negated = !negated;
        name++;
    }
    if (negated && in_class)
        return refuse(t, "a negated property inside a class");
    if (!in_class)
        vise_buf_add_text(t->out, negated ? "[^" : "[");
    if (!put_property(t->out, name, (size_t)(end - name)))
        return refuse(t, "a property");
    if (!in_class)
        vise_buf_add_char(t->out, ']');
    t->at = end + 1;
    return VISE_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* `most` hexadecimal digits, at least one. */
static bool hex(translator *t, int most, uint32_t *value)
{
    int n = 0;

    *value = 0;
    while (n < most && hex_digit(*t->at) >= 0) {
        *value = *value * 16 + (uint32_t)hex_digit(*t->at++);
        n++;
    }
    return n > 0 && *value <= 0x10ffff && !(*value >= 0xd800 && *value < 0xe000);
}

/* A single character, escaped or not; false (t->at untouched) if it is something else. */
static vise_status character(translator *t, bool *is, uint32_t *c)
{
    static const char plain[] = "tnrfvae", codes[] = "\t\n\r\f\v\a\033";
    const char *start = t->at, *found;
    size_t n;

    *is = true;
    if (*t->at != '\\') {
        *c = vise_utf8_at(t->at, &n);
        t->at += n;
        return VISE_OK;
    }
    *c = (unsigned char)t->at[1];
    if (*c == '\0')
        return broken(t, "ends in a backslash");
    found = strchr(plain, (char)*c);
    t->at += 2;
    if (found != NULL) {
        *c = (unsigned char)codes[found - plain];
    } else if (*c == 'x' || *c == 'u') {
        bool braces = *c == 'x' && *t->at == '{';
        t->at += braces;
        if (!hex(t,
                 braces      ? 6
                 : *c == 'x' ? 2
                             : 4,
                 c) ||
            (!braces && *c >= 0x80 && start[1] == 'x') || (braces && *t->at++ != '}'))
            return broken(t, "has a bad \\x or \\u");
    } else if (*c >= 0x80 || (*c >= '0' && *c <= '9') || ((*c | 0x20) >= 'a' && (*c | 0x20) <= 'z')) {
        *is = false;
        t->at = start;
    }
    return VISE_OK;
}

/* The inside of a class behind its bracket, up to and with the closing one. Nested classes are unions. */
static vise_status members(translator *t, int depth)
{
    bool first = true;

    if (depth > DEPTH_MAX)
        return refuse(t, "a class nested too deep");
    for (;; first = false) {
        uint32_t low, high;
        bool is;
        if (*t->at == '\0')
            return broken(t, "has a class that does not end");
        if (*t->at == ']' && !first) {
            t->at++;
            return VISE_OK;
        }
        if (t->at[0] == '&' && t->at[1] == '&')
            return refuse(t, "an intersection of classes");
        if (t->at[0] == '[') {
            if (t->at[1] == ':' || t->at[1] == '^')
                return refuse(t, t->at[1] == ':' ? "a POSIX class" : "a negated class inside a class");
            t->at++;
            VISE_TRY(members(t, depth + 1));
            continue;
        }
        VISE_TRY(character(t, &is, &low));
        if (!is) {
            char kind = t->at[1];
            t->at += 2;
            if (kind == 'p' || kind == 'P') {
                VISE_TRY(property(t, kind == 'P', true));
            } else if (kind == 's') {
                vise_buf_add_text(t->out, spaces);
            } else if (kind == 'd') {
                (void)put_property(t->out, "Nd", 2);
            } else {
                t->at -= 2;
                return refuse(t, "an escape inside a class");
            }
            if (t->at[0] == '-' && t->at[1] != ']')
                return refuse(t, "a range that starts with a class");
            continue;
        }
        if (t->fold && low >= 0x80)
            return refuse(t, "a character beyond ASCII without regard to case");
        high = low;
        if (t->at[0] == '-' && t->at[1] != ']' && t->at[1] != '\0') {
            t->at++;
            if (*t->at == '[')
                return refuse(t, "a range that ends with a class");
            VISE_TRY(character(t, &is, &high));
            if (!is)
                return refuse(t, "a range that ends with a class");
            if (high < low)
                return broken(t, "has a range whose end lies before its start");
            if (t->fold)
                return refuse(t, "a range without regard to case");
        }
        put_range(t->out, low, high);
    }
}

static vise_status class_of_characters(translator *t)
{
    t->at++;
    vise_buf_add_char(t->out, '[');
    if (*t->at == '^') {
        if (t->fold)
            return refuse(t, "a negated class without regard to case");
        vise_buf_add_char(t->out, '^');
        t->at++;
    }
    if (*t->at == ']')
        return refuse(t, "an empty class");
    VISE_TRY(members(t, 0));
    vise_buf_add_char(t->out, ']');
    return VISE_OK;
}

static vise_status alternatives(translator *t);

static vise_status group(translator *t)
{
    static const char *const heads[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    bool fold = t->fold;

    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        size_t n = strlen(heads[i]);
        if (strncmp(t->at, heads[i], n) != 0)
            continue;
        vise_buf_add_text(t->out, heads[i]);
        t->at += n;
        t->fold = t->fold || i == 6;
        VISE_TRY(alternatives(t));
        goto close;
    }
    if (t->at[1] == '?' || t->at[1] == '*')
        return refuse(t, "a group of this kind");
    t->at++;
    vise_buf_add_text(t->out, "(?:");
    VISE_TRY(alternatives(t));
close:
    if (*t->at != ')')
        return broken(t, "has a group that does not end");
    vise_buf_add_char(t->out, ')');
    t->at++;
    t->fold = fold;
    return VISE_OK;
}

/* {n}, {n,} or {n,m}; anything else after a brace means the brace itself to Oniguruma. */
static vise_status counted(translator *t)
{
    size_t digits = strspn(t->at + 1, "0123456789"), more = 0;
    const char *p = t->at + 1 + digits;
    bool range = *p == ',';

    if (digits == 0 || digits > 4)
        return refuse(t, "a brace");
    if (range) {
        more = strspn(p + 1, "0123456789");
        if (more > 4)
            return refuse(t, "a brace");
        p += 1 + more;
    }
    if (*p != '}')
        return refuse(t, "a brace");
    p++;
    vise_buf_add(t->out, t->at, (size_t)(p - t->at));
    t->at = p;
    if (*p == '+')
        return refuse(t,
                      "a plus behind a count"); /* possessive for PCRE2, a second quantifier for Oniguruma */
    if (*p == '?') {
        if (!range)
            return refuse(t, "a question mark behind a count");
        vise_buf_add_char(t->out, '?');
        t->at++;
    }
    return VISE_OK;
}

static vise_status quantifier(translator *t)
{
    if (*t->at == '{') {
        VISE_TRY(counted(t));
    } else if (*t->at == '*' || *t->at == '+' || *t->at == '?') {
        vise_buf_add_char(t->out, *t->at++);
        if (*t->at == '+' || *t->at == '?')
            vise_buf_add_char(t->out, *t->at++);
    } else {
        return VISE_OK;
    }
    if (*t->at == '*' || *t->at == '+' || *t->at == '?' || *t->at == '{')
        return refuse(t, "a quantifier of a quantifier");
    return VISE_OK;
}

static vise_status escape(translator *t)
{
    char kind = t->at[1];

    t->at += 2;
    switch (kind) {
    case 'p':
    case 'P':
        return property(t, kind == 'P', false);
    case 's':
    case 'S':
        vise_buf_addf(t->out, "[%s%s]", kind == 'S' ? "^" : "", spaces);
        return VISE_OK;
    case 'd':
    case 'D':
        vise_buf_add_text(t->out, kind == 'D' ? "[^" : "[");
        (void)put_property(t->out, "Nd", 2);
        vise_buf_add_char(t->out, ']');
        return VISE_OK;
    case 'A':
    case 'z':
        vise_buf_addf(t->out, "\\%c", kind);
        return VISE_OK;
    default:
        t->at -= 2;
        return refuse(t, "an escape");
    }
}

/* Without regard to case two letters may equal one character: ss, st, ff, fi, fl. */
static bool folds_together(const char *previous, uint32_t c)
{
    static const char *const pairs[] = {"ss", "st", "ff", "fi", "fl"};

    for (size_t i = 0; i < 5; i++)
        if ((*previous | 0x20) == pairs[i][0] && (c | 0x20) == (unsigned char)pairs[i][1])
            return true;
    return false;
}

static vise_status literal(translator *t)
{
    const char *start = t->at;
    uint32_t c;
    bool is;

    VISE_TRY(character(t, &is, &c));
    if (!is)
        return escape(t);
    if (t->fold && (c >= 0x80 || (start > t->pattern && folds_together(start - 1, c)))) {
        t->at = start;
        return refuse(t, "what case folding may join");
    }
    put_range(t->out, c, c);
    return VISE_OK;
}

static vise_status alternatives(translator *t)
{
    if (++t->depth > DEPTH_MAX)
        return refuse(t, "a group nested too deep");
    while (*t->at != '\0' && *t->at != ')') {
        switch (*t->at) {
        case '|':
            vise_buf_add_char(t->out, *t->at++);
            continue;
        case '^':
            vise_buf_add_text(t->out, "(?:^)");
            t->at++;
            break;
        case '$':
            vise_buf_add_text(t->out, "(?:$)");
            t->at++;
            break;
        case '.':
            vise_buf_add_text(t->out, "[^\\n]");
            t->at++;
            break;
        case '(':
            VISE_TRY(group(t));
            break;
        case '[':
            VISE_TRY(class_of_characters(t));
            break;
        case '*':
        case '+':
        case '?':
        case '{':
            return refuse(t, "a quantifier of nothing");
        default:
            VISE_TRY(literal(t));
        }
        VISE_TRY(quantifier(t));
    }
    t->depth--;
    return VISE_OK;
}

vise_status vise_regex_translate(const char *name, const char *pattern, vise_buf *out, vise_error *err)
{
    translator t = {.name = name, .pattern = pattern, .at = pattern, .out = out, .err = err};

    VISE_TRY(alternatives(&t));
    if (*t.at != '\0')
        return broken(&t, "closes a group that it did not open");
    return vise_buf_check(out, "a regular expression", err);
}
