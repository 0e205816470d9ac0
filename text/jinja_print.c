/* Values as texts: Python's str and repr, and json.dumps as transformers' tojson calls it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "text/jinja_internal.h"
#include "text/unicode.h"

#define DEPTH_MAX 64 /* of nested values */

/* The shortest digits that read back; an exponent from 16 on and below -4, as repr has it. */
static void print_number(double number, vise_buf *out)
{
    char text[40];
    int precision = 0, exponent;

    if (!isfinite(number)) {
        vise_buf_add_text(out, isnan(number) ? "nan" : number > 0 ? "inf" : "-inf");
        return;
    }
    do
        snprintf(text, sizeof text, "%.*e", precision, number);
    while (strtod(text, NULL) != number && ++precision < 17);
    exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        vise_buf_add_text(out, text);
        return;
    }
    snprintf(text, sizeof text, "%.*f", precision > exponent ? precision - exponent : 0, number);
    vise_buf_add_text(out, text);
    if (strchr(text, '.') == NULL)
        vise_buf_add_text(out, ".0");
}

/* One character in a repr, escaped unless it is printable (str.isprintable); returns its length. */
static size_t print_character(const char *text, vise_buf *out)
{
    size_t n;
    uint32_t c = vise_utf8_at(text, &n);

    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        vise_buf_addf(out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
        return n;
    default:
        vise_buf_add(out, text, n);
        return n;
    }
}

/* repr of a text: in single quotes, unless only those are in it. */
static void print_quoted(const vise_jvalue *text, vise_buf *out)
{
    bool single = text->length > 0 && memchr(text->text, '\'', text->length) != NULL;
    bool twice = text->length > 0 && memchr(text->text, '"', text->length) != NULL;
    char quote = single && !twice ? '"' : '\'';

    vise_buf_add_char(out, quote);
    for (size_t i = 0; i < text->length; i++) {
        unsigned char c = (unsigned char)text->text[i];
        const char *escape = c == '\n'   ? "\\n"
                             : c == '\r' ? "\\r"
                             : c == '\t' ? "\\t"
                             : c == '\\' ? "\\\\"
                                         : NULL;
        if (escape != NULL)
            vise_buf_add_text(out, escape);
        else if (c == (unsigned char)quote)
            vise_buf_addf(out, "\\%c", quote);
        else if (c >= 0x20 && c < 0x7f)
            vise_buf_add_char(out, (char)c);
        else
            i += print_character(text->text + i, out) - 1;
    }
    vise_buf_add_char(out, quote);
}

static vise_status print(vise_jrun *run, const vise_jvalue *value, bool quoted, int depth, vise_buf *out);

static vise_status print_list(vise_jrun *run, const vise_jlist *list, int depth, vise_buf *out)
{
    vise_buf_add_char(out, list->tuple ? '(' : '[');
    for (size_t i = 0; i < list->count; i++) {
        vise_buf_add_text(out, i > 0 ? ", " : "");
        VISE_TRY(print(run, &list->items[i], true, depth + 1, out));
    }
    vise_buf_add_text(out, list->tuple ? list->count == 1 ? ",)" : ")" : "]");
    return VISE_OK;
}

static vise_status print_dict(vise_jrun *run, const vise_jdict *dict, int depth, vise_buf *out)
{
    vise_buf_add_char(out, '{');
    for (size_t i = 0; i < dict->count; i++) {
        vise_buf_add_text(out, i > 0 ? ", " : "");
        VISE_TRY(print(run, &dict->entries[i].key, true, depth + 1, out));
        vise_buf_add_text(out, ": ");
        VISE_TRY(print(run, &dict->entries[i].value, true, depth + 1, out));
    }
    vise_buf_add_char(out, '}');
    return VISE_OK;
}

static vise_status print(vise_jrun *run, const vise_jvalue *value, bool quoted, int depth, vise_buf *out)
{
    if (depth > DEPTH_MAX || out->failed)
        return VISE_JFAIL(run, VISE_EFORMAT, "the chat template writes too much");
    switch (value->kind) {
    case VISE_J_UNDEFINED:
        if (quoted)
            vise_buf_add_text(out, "Undefined");
        return VISE_OK;
    case VISE_J_NONE:
        vise_buf_add_text(out, "None");
        return VISE_OK;
    case VISE_J_BOOL:
        vise_buf_add_text(out, value->truth ? "True" : "False");
        return VISE_OK;
    case VISE_J_INT:
        vise_buf_addf(out, "%lld", (long long)value->whole);
        return VISE_OK;
    case VISE_J_FLOAT:
        print_number(value->number, out);
        return VISE_OK;
    case VISE_J_TEXT:
        if (quoted)
            print_quoted(value, out);
        else
            vise_buf_add(out, value->text, value->length);
        return VISE_OK;
    case VISE_J_LIST:
        if (!value->list->lazy)
            return print_list(run, value->list, depth, out);
        break;
    case VISE_J_DICT:
        if (!value->dict->namespace)
            return print_dict(run, value->dict, depth, out);
        break;
    default:
        break;
    }
    return VISE_JFAIL(run, VISE_EUNSUPPORTED, "%s is not written here", vise_jkind_name(value));
}

vise_status vise_jprint(vise_jrun *run, const vise_jvalue *value, vise_buf *out)
{
    return print(run, value, false, 0, out);
}

vise_status vise_jstring(vise_jrun *run, const vise_jvalue *value, vise_jvalue *out)
{
    vise_buf buf;
    vise_status status;

    if (value->kind == VISE_J_TEXT) {
        *out = *value;
        return VISE_OK;
    }
    vise_buf_init(&buf, VISE_JBYTES_MAX);
    status = vise_jprint(run, value, &buf);
    if (status == VISE_OK)
        status = vise_jcopy_text(run, &buf, out);
    vise_buf_deinit(&buf);
    return status;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

static void json_text(const vise_jvalue *text, vise_buf *out)
{
    vise_buf_add_char(out, '"');
    for (size_t i = 0; i < text->length; i++) {
        static const char from[] = "\n\r\t\b\f\"\\", to[] = "nrtbf\"\\";
        char c = text->text[i];
        const char *simple = c != '\0' ? strchr(from, c) : NULL;
        if (simple != NULL)
            vise_buf_addf(out, "\\%c", to[simple - from]);
        else if ((unsigned char)c < 0x20)
            vise_buf_addf(out, "\\u%04x", (unsigned)(unsigned char)c);
        else
            vise_buf_add_char(out, c);
    }
    vise_buf_add_char(out, '"');
}

static void new_line(int indent, int depth, vise_buf *out)
{
    if (indent < 0)
        return;
    vise_buf_add_char(out, '\n');
    for (int i = 0; i < indent * depth && !out->failed; i++)
        vise_buf_add_char(out, ' ');
}

static vise_status json_value(vise_jrun *run, const vise_jvalue *value, const vise_jjson_style *style,
                              int depth, vise_buf *out);

static vise_status json_list(vise_jrun *run, const vise_jlist *list, const vise_jjson_style *style, int depth,
                             vise_buf *out)
{
    vise_buf_add_char(out, '[');
    for (size_t i = 0; i < list->count; i++) {
        vise_buf_add(out, style->separators[0].text, i > 0 ? style->separators[0].length : 0);
        new_line(style->indent, depth + 1, out);
        VISE_TRY(json_value(run, &list->items[i], style, depth + 1, out));
    }
    if (list->count > 0)
        new_line(style->indent, depth, out);
    vise_buf_add_char(out, ']');
    return VISE_OK;
}

static vise_status json_dict(vise_jrun *run, const vise_jdict *dict, const vise_jjson_style *style, int depth,
                             vise_buf *out)
{
    vise_buf_add_char(out, '{');
    for (size_t i = 0; i < dict->count; i++) {
        if (dict->entries[i].key.kind != VISE_J_TEXT)
            return VISE_JFAIL(run, VISE_EUNSUPPORTED, "tojson of a dictionary with other keys than texts");
        vise_buf_add(out, style->separators[0].text, i > 0 ? style->separators[0].length : 0);
        new_line(style->indent, depth + 1, out);
        json_text(&dict->entries[i].key, out);
        vise_buf_add(out, style->separators[1].text, style->separators[1].length);
        VISE_TRY(json_value(run, &dict->entries[i].value, style, depth + 1, out));
    }
    if (dict->count > 0)
        new_line(style->indent, depth, out);
    vise_buf_add_char(out, '}');
    return VISE_OK;
}

static vise_status json_value(vise_jrun *run, const vise_jvalue *value, const vise_jjson_style *style,
                              int depth, vise_buf *out)
{
    if (depth > DEPTH_MAX || out->failed)
        return VISE_JFAIL(run, VISE_EFORMAT, "the chat template writes too much");
    switch (value->kind) {
    case VISE_J_NONE:
        vise_buf_add_text(out, "null");
        return VISE_OK;
    case VISE_J_BOOL:
        vise_buf_add_text(out, value->truth ? "true" : "false");
        return VISE_OK;
    case VISE_J_INT:
    case VISE_J_FLOAT:
        return print(run, value, false, depth, out);
    case VISE_J_TEXT:
        json_text(value, out);
        return VISE_OK;
    case VISE_J_LIST:
        if (!value->list->lazy)
            return json_list(run, value->list, style, depth, out);
        break;
    case VISE_J_DICT:
        if (!value->dict->namespace)
            return json_dict(run, value->dict, style, depth, out);
        break;
    default:
        break;
    }
    return VISE_JFAIL(run, VISE_EFORMAT, "tojson of %s", vise_jkind_name(value));
}

vise_status vise_jjson(vise_jrun *run, const vise_jvalue *value, const vise_jjson_style *style, vise_buf *out)
{
    return json_value(run, value, style, 0, out);
}
