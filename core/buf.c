#include "core/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

void vise_buf_init(vise_buf *buf, size_t max)
{
    *buf = (vise_buf){.max = max};
}

void vise_buf_deinit(vise_buf *buf)
{
    vise_free(buf->data);
    *buf = (vise_buf){0};
}

void vise_buf_clear(vise_buf *buf)
{
    buf->length = 0;
    buf->failed = false;
    if (buf->data)
        buf->data[0] = '\0';
}

/* Makes room for `more` bytes and the NUL behind them. */
static bool make_room(vise_buf *buf, size_t more)
{
    if (buf->failed)
        return false;
    if (more > buf->max - buf->length) {
        buf->failed = true;
        return false;
    }
    size_t needed;
    void *data = buf->data;
    if (!vise_add_size(buf->length, more, &needed) || !vise_add_size(needed, 1, &needed) ||
        vise_grow(&data, &buf->capacity, needed, 1, NULL) != VISE_OK) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    return true;
}

void vise_buf_add(vise_buf *buf, const void *bytes, size_t length)
{
    if (!make_room(buf, length))
        return;
    if (length > 0)
        memcpy(buf->data + buf->length, bytes, length);
    buf->length += length;
    buf->data[buf->length] = '\0';
}

void vise_buf_add_text(vise_buf *buf, const char *text)
{
    vise_buf_add(buf, text, strlen(text));
}

void vise_buf_add_char(vise_buf *buf, char c)
{
    vise_buf_add(buf, &c, 1);
}

void vise_buf_addf(vise_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) {
        buf->failed = true;
        return;
    }
    if (!make_room(buf, (size_t)length))
        return;
    va_start(args, format);
    vsnprintf(buf->data + buf->length, (size_t)length + 1, format, args);
    va_end(args);
    buf->length += (size_t)length;
}

vise_status vise_buf_check(const vise_buf *buf, const char *what, vise_error *err)
{
    if (buf->failed)
        return VISE_FAIL(err, VISE_ERESOURCE, "%s is larger than %zu bytes, or memory is short", what, buf->max);
    return VISE_OK;
}
