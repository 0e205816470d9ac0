#include "text/normal.h"

#include <string.h>
#include <utf8proc.h>

#include "core/mem.h"

#define DECOMPOSED_MAX 32 /* the longest, of U+FDFA, has 18 characters */

void vise_normal_scratch_deinit(vise_normal_scratch *scratch)
{
    vise_free(scratch->points);
    vise_free(scratch->sorted);
    *scratch = (vise_normal_scratch){0};
}

void vise_normal_deinit(vise_normal *normal)
{
    vise_regex_free(normal->regex);
    *normal = (vise_normal){0};
}

/* ---- texts ------------------------------------------------------------------------------------------- */

void vise_replace_all(vise_buf *buf, const char *text, size_t length, const char *pattern,
                      size_t pattern_length, const char *content, size_t content_length)
{
    const char *end = text + length;

    while (text < end) {
        const char *found = memmem(text, (size_t)(end - text), pattern, pattern_length);
        if (found == NULL)
            break;
        vise_buf_add(buf, text, (size_t)(found - text));
        vise_buf_add(buf, content, content_length);
        text = found + pattern_length;
    }
    vise_buf_add(buf, text, (size_t)(end - text));
}

static vise_status replace_matches(const vise_normal *normal, vise_regex_scratch *scratch, const char *text,
                                   size_t length, vise_buf *out, vise_error *err)
{
    size_t done = 0, start, end;
    bool found;

    for (;;) {
        VISE_TRY(vise_regex_find(normal->regex, scratch, text, length, done, &found, &start, &end, err));
        if (!found)
            break;
        vise_buf_add(out, text + done, start - done);
        vise_buf_add(out, normal->content, normal->content_length);
        done = end;
    }
    vise_buf_add(out, text + done, length - done);
    return VISE_OK;
}

static void strip(const vise_normal *normal, const char *text, size_t length, vise_buf *out)
{
    size_t start = 0, n;

    while (normal->left && start < length &&
           vise_char_class_of(vise_utf8_at(text + start, &n)) == VISE_CHAR_SPACE)
        start += n;
    while (normal->right && length > start) {
        size_t last = start + vise_utf8_last(text + start, length - start);
        if (vise_char_class_of(vise_utf8_at(text + last, &n)) != VISE_CHAR_SPACE)
            break;
        length = last;
    }
    vise_buf_add(out, text + start, length - start);
}

static void squeeze(const char *text, size_t length, vise_buf *out)
{
    size_t at = 0;

    while (at < length && text[at] == ' ')
        at++;
    while (length > at && text[length - 1] == ' ')
        length--;
    while (at < length) {
        const char *space = memchr(text + at, ' ', length - at);
        size_t stop = space != NULL ? (size_t)(space - text) + 1 : length;
        vise_buf_add(out, text + at, stop - at);
        at = stop;
        while (at < length && text[at] == ' ')
            at++;
    }
}

/* ---- characters -------------------------------------------------------------------------------------- */

typedef struct char_pass {
    const vise_normal *normal;
    const uint8_t *flags;
    vise_normal_scratch *scratch;
    vise_buf *out;
    bool compose;
    utf8proc_option_t decompose; /* 0: no normal form */
} char_pass;

static inline unsigned flags_of(const char_pass *pass, uint32_t c)
{
    return c < VISE_FLAG_TABLE ? pass->flags[c] : vise_char_flags(c);
}

static inline int combining_class(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

static void put(const char_pass *pass, uint32_t c)
{
    char text[4];

    if (pass->normal->drop != 0 && (flags_of(pass, c) & pass->normal->drop) != 0)
        return;
    if (pass->normal->lower) {
        uint32_t before = c;
        c = vise_char_lower(c);
        if (before == 0x130) {
            vise_buf_add(pass->out, "i\xcc\x87", 3);
            return;
        }
    }
    vise_buf_add(pass->out, text, vise_utf8_put(c, text));
}

/* Sorts points[0..n), all of classes other than 0, by class, keeping the order of equals. */
static vise_status sort_marks(vise_normal_scratch *scratch, int32_t *points, size_t n, vise_error *err)
{
    size_t done = 0;

    if (n <= 16) {
        for (size_t i = 1; i < n; i++) {
            int32_t c = points[i];
            size_t k = i;
            for (; k > 0 && combining_class(points[k - 1]) > combining_class(c); k--)
                points[k] = points[k - 1];
            points[k] = c;
        }
        return VISE_OK;
    }
    VISE_TRY(vise_grow((void **)&scratch->sorted, &scratch->sorted_capacity, n, sizeof *points, err));
    for (int value = 1; value < 256 && done < n; value++)
        for (size_t i = 0; i < n; i++)
            if (combining_class(points[i]) == value)
                scratch->sorted[done++] = points[i];
    memcpy(points, scratch->sorted, n * sizeof *points);
    return VISE_OK;
}

/* Puts the marks of the segment in order, composes it and writes it out. */
static vise_status flush(const char_pass *pass, vise_error *err)
{
    vise_normal_scratch *scratch = pass->scratch;
    int32_t *points = scratch->points;
    size_t n = scratch->n_points, start;

    scratch->n_points = 0;
    for (size_t i = 0; n > 1 && i < n; i++) {
        for (start = i; i < n && combining_class(points[i]) != 0;)
            i++;
        if (i - start > 1)
            VISE_TRY(sort_marks(scratch, points + start, i - start, err));
    }
    if (pass->compose && n > 1) {
        utf8proc_ssize_t composed =
            utf8proc_normalize_utf32(points, (utf8proc_ssize_t)n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        if (composed < 0)
            return VISE_FAIL(err, VISE_ERESOURCE, "a text could not be normalized: %s",
                             utf8proc_errmsg(composed));
        n = (size_t)composed;
    }
    for (size_t i = 0; i < n; i++)
        put(pass, (uint32_t)points[i]);
    return VISE_OK;
}

static vise_status hold(vise_normal_scratch *scratch, const int32_t *points, size_t n, vise_error *err)
{
    size_t needed = scratch->n_points + n;

    VISE_TRY(vise_grow((void **)&scratch->points, &scratch->points_capacity, needed, sizeof *points, err));
    memcpy(scratch->points + scratch->n_points, points, n * sizeof *points);
    scratch->n_points = needed;
    return VISE_OK;
}

/* True if what stands before c can have no part in its normal form: c is a starter that is never the second
 * of a composition (those are marks and the vowels and finals of Hangul). */
static bool starts_segment(int32_t c)
{
    const utf8proc_property_t *property = utf8proc_get_property(c);

    return property->combining_class == 0 && property->category != UTF8PROC_CATEGORY_MN &&
           property->category != UTF8PROC_CATEGORY_MC && !(c >= 0x1160 && c <= 0x11ff);
}

/* One character into the normal form. */
static vise_status add_formed(const char_pass *pass, uint32_t c, vise_error *err)
{
    int32_t points[DECOMPOSED_MAX];
    utf8proc_ssize_t n;
    int bound = 0;

    if ((flags_of(pass, c) & VISE_FLAG_FIXED) != 0) {
        VISE_TRY(flush(pass, err));
        put(pass, c);
        return VISE_OK;
    }
    n = utf8proc_decompose_char((utf8proc_int32_t)c, points, DECOMPOSED_MAX, pass->decompose, &bound);
    if (n < 0 || n > DECOMPOSED_MAX)
        return VISE_FAIL(err, VISE_EINTERNAL, "U+%04lX has no decomposition", (unsigned long)c);
    if (n > 0 && starts_segment(points[0]))
        VISE_TRY(flush(pass, err));
    return hold(pass->scratch, points, (size_t)n, err);
}

static bool is_chinese(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) ||
           (c >= 0x2f800 && c <= 0x2fa1f);
}

static vise_status add_char(const char_pass *pass, uint32_t c, vise_error *err)
{
    const vise_normal *normal = pass->normal;

    if (normal->clean) {
        unsigned flags = flags_of(pass, c);
        if ((flags & VISE_FLAG_DROPPED) != 0)
            return VISE_OK;
        if ((flags & VISE_FLAG_BLANK) != 0)
            c = ' ';
    }
    if (normal->pad_chinese && is_chinese(c)) {
        VISE_TRY(flush(pass, err));
        vise_buf_add_char(pass->out, ' ');
        if (pass->decompose != 0)
            VISE_TRY(add_formed(pass, c, err));
        else
            put(pass, c);
        VISE_TRY(flush(pass, err));
        vise_buf_add_char(pass->out, ' ');
        return VISE_OK;
    }
    if (pass->decompose != 0)
        return add_formed(pass, c, err);
    put(pass, c);
    return VISE_OK;
}

/* Runs of ASCII, through a table of what each byte becomes: 0x80 for nothing. */
static void ascii_table(const char_pass *pass, unsigned char table[128])
{
    for (unsigned c = 0; c < 128; c++) {
        unsigned flags = pass->flags[c];
        unsigned to = pass->normal->clean && (flags & VISE_FLAG_BLANK) != 0 ? ' ' : c;
        if (pass->normal->lower)
            to = vise_char_lower(to);
        table[c] = pass->normal->clean && (flags & VISE_FLAG_DROPPED) != 0 ? 0x80 : (unsigned char)to;
    }
}

static size_t copy_ascii(const unsigned char table[128], const char *text, size_t length, vise_buf *out)
{
    size_t at = 0;

    while (at < length && (unsigned char)text[at] < 0x80) {
        char part[256];
        size_t n = 0;
        for (; n < sizeof part && at < length && (unsigned char)text[at] < 0x80; at++) {
            unsigned char to = table[(unsigned char)text[at]];
            part[n] = (char)to;
            n += to < 0x80;
        }
        vise_buf_add(out, part, n);
    }
    return at;
}

static vise_status run_chars(const vise_normal *normal, const uint8_t *flags, vise_normal_scratch *scratch,
                             const char *text, size_t length, vise_buf *out, vise_error *err)
{
    char_pass pass = {normal, flags, scratch, out, false, 0};
    unsigned char table[128];
    size_t n;

    if (normal->form != VISE_FORM_NONE)
        pass.decompose = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (normal->form == VISE_FORM_NFKC || normal->form == VISE_FORM_NFKD)
        pass.decompose |= UTF8PROC_COMPAT;
    pass.compose = normal->form == VISE_FORM_NFC || normal->form == VISE_FORM_NFKC;
    ascii_table(&pass, table);
    scratch->n_points = 0;
    for (size_t at = 0; at < length; at += n) {
        if ((unsigned char)text[at] < 0x80) {
            size_t end = at + 1;
            while (end < length && (unsigned char)text[end] < 0x80)
                end++;
            n = end - at;
            /* The last one may combine with what follows. */
            if (pass.compose && end < length)
                n--;
            if (n > 0) {
                VISE_TRY(flush(&pass, err));
                copy_ascii(table, text + at, n, out);
                continue;
            }
        }
        VISE_TRY(add_char(&pass, vise_utf8_at(text + at, &n), err));
    }
    return flush(&pass, err);
}

vise_status vise_normal_run(const vise_normal *normal, const uint8_t *flags, vise_normal_scratch *scratch,
                            vise_regex_scratch *regex, const char *text, size_t length, vise_buf *out,
                            vise_error *err)
{
    switch (normal->kind) {
    case VISE_NORMAL_PREPEND:
        vise_buf_add(out, normal->content, normal->content_length);
        vise_buf_add(out, text, length);
        break;
    case VISE_NORMAL_REPLACE:
        if (normal->regex != NULL)
            return replace_matches(normal, regex, text, length, out, err);
        vise_replace_all(out, text, length, normal->pattern, normal->pattern_length, normal->content,
                         normal->content_length);
        break;
    case VISE_NORMAL_STRIP:
        strip(normal, text, length, out);
        break;
    case VISE_NORMAL_SQUEEZE:
        squeeze(text, length, out);
        break;
    case VISE_NORMAL_CHARS:
        return run_chars(normal, flags, scratch, text, length, out, err);
    }
    return VISE_OK;
}
