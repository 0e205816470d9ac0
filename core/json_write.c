#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/json_scan.h"

void vise_json_begin(vise_json_writer *writer, vise_buf *buf, int indent)
{
    *writer = (vise_json_writer){.buf = buf, .indent = indent};
    writer->first[0] = true;
}

static void new_line(vise_json_writer *writer)
{
    if (writer->indent == 0)
        return;
    vise_buf_add_char(writer->buf, '\n');
    for (int i = 0; i < writer->depth * writer->indent; i++)
        vise_buf_add_char(writer->buf, ' ');
}

/* The comma and the space before a key, or before a value that has none. */
static void separate(vise_json_writer *writer)
{
    if (writer->after_key) {
        writer->after_key = false;
        return;
    }
    if (!writer->first[writer->depth])
        vise_buf_add_char(writer->buf, ',');
    writer->first[writer->depth] = false;
    if (writer->depth > 0)
        new_line(writer);
}

static void open_container(vise_json_writer *writer, char bracket)
{
    separate(writer);
    vise_buf_add_char(writer->buf, bracket);
    if (writer->depth == VISE_JSON_DEPTH_MAX) {
        writer->buf->failed = true; /* readers refuse what is nested deeper */
        return;
    }
    writer->first[++writer->depth] = true;
}

static void close_container(vise_json_writer *writer, char bracket)
{
    if (writer->depth == 0) {
        writer->buf->failed = true;
        return;
    }
    bool empty = writer->first[writer->depth--];
    if (!empty)
        new_line(writer);
    vise_buf_add_char(writer->buf, bracket);
}

void vise_json_object(vise_json_writer *writer)
{
    open_container(writer, '{');
}

void vise_json_object_end(vise_json_writer *writer)
{
    close_container(writer, '}');
}

void vise_json_array(vise_json_writer *writer)
{
    open_container(writer, '[');
}

void vise_json_array_end(vise_json_writer *writer)
{
    close_container(writer, ']');
}

static void add_quoted(vise_buf *buf, const char *text)
{
    static const char short_escapes[] = "\b\f\n\r\t\"\\";
    static const char letters[] = "bfnrt\"\\";
    vise_buf_add_char(buf, '"');
    size_t length = strlen(text);
    for (size_t at = 0; at < length;) {
        unsigned char c = (unsigned char)text[at];
        const char *escape = strchr(short_escapes, c);
        size_t n = vise_utf8_length(text + at, length - at);
        if (escape) {
            vise_buf_add_char(buf, '\\');
            vise_buf_add_char(buf, letters[escape - short_escapes]);
        } else if (c < 0x20 || c == 0x7F) {
            vise_buf_addf(buf, "\\u%04x", c);
        } else if (n == 0) {
            vise_buf_add_text(buf, "\xEF\xBF\xBD");
        } else {
            vise_buf_add(buf, text + at, n);
        }
        at += n ? n : 1;
    }
    vise_buf_add_char(buf, '"');
}

void vise_json_key(vise_json_writer *writer, const char *key)
{
    separate(writer);
    add_quoted(writer->buf, key);
    vise_buf_add_text(writer->buf, writer->indent ? ": " : ":");
    writer->after_key = true;
}

void vise_json_put_text(vise_json_writer *writer, const char *value)
{
    separate(writer);
    add_quoted(writer->buf, value);
}

void vise_json_put_int(vise_json_writer *writer, int64_t value)
{
    separate(writer);
    vise_buf_addf(writer->buf, "%lld", (long long)value);
}

void vise_json_put_uint(vise_json_writer *writer, uint64_t value)
{
    separate(writer);
    vise_buf_addf(writer->buf, "%llu", (unsigned long long)value);
}

void vise_json_put_double(vise_json_writer *writer, double value)
{
    if (!isfinite(value)) {
        vise_json_put_null(writer);
        return;
    }
    /* Any decimal of 15 digits survives the way through a double, so a shorter text, if there is one, is what
     * %.15g gives; 17 digits always come back. */
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    separate(writer);
    vise_buf_add_text(writer->buf, text);
}

void vise_json_put_bool(vise_json_writer *writer, bool value)
{
    separate(writer);
    vise_buf_add_text(writer->buf, value ? "true" : "false");
}

void vise_json_put_null(vise_json_writer *writer)
{
    separate(writer);
    vise_buf_add_text(writer->buf, "null");
}

void vise_json_put_raw(vise_json_writer *writer, const char *json)
{
    separate(writer);
    vise_buf_add_text(writer->buf, json);
}
