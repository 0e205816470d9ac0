#include "formats/safetensors.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

/* As serde_json escapes: only what must be, with short forms; everything from U+0020 on goes as it is. */
static void add_json_text(vise_buf *buf, const char *text)
{
    vise_buf_add_char(buf, '"');
    for (const char *c = text; *c; c++) {
        static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
        const char *special = strchr(from, *c);
        if (special) {
            vise_buf_add_char(buf, '\\');
            vise_buf_add_char(buf, to[special - from]);
        } else if ((unsigned char)*c < 0x20) {
            vise_buf_addf(buf, "\\u%04x", (unsigned)*c);
        } else {
            vise_buf_add_char(buf, *c);
        }
    }
    vise_buf_add_char(buf, '"');
}

static void add_tensor(vise_buf *buf, const vise_st_tensor *tensor)
{
    add_json_text(buf, tensor->name);
    vise_buf_addf(buf, ":{\"dtype\":\"%s\",\"shape\":[", vise_dtype_of(tensor->dtype)->name);
    for (int i = 0; i < tensor->ndim; i++)
        vise_buf_addf(buf, i == 0 ? "%" PRId64 : ",%" PRId64, tensor->shape[i]);
    vise_buf_addf(buf, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", tensor->begin, tensor->end);
}

vise_status vise_st_write_header(const vise_st_tensor *tensors, size_t n, const char *metadata, size_t room,
                                 vise_buf *buf, vise_error *err)
{
    size_t start = buf->length;
    vise_buf_add(buf, "\0\0\0\0\0\0\0\0", 8);
    vise_buf_add_char(buf, '{');
    bool any = metadata && *metadata;
    if (any) {
        vise_buf_add_text(buf, "\"__metadata__\":{");
        vise_buf_add_text(buf, metadata);
        vise_buf_add_char(buf, '}');
    }
    for (size_t i = 0; i < n; i++) {
        if (any || i > 0)
            vise_buf_add_char(buf, ',');
        add_tensor(buf, &tensors[i]);
    }
    vise_buf_add_char(buf, '}');
    while (!buf->failed && ((buf->length - start - 8) % 8 != 0 || buf->length - start - 8 < room))
        vise_buf_add_char(buf, ' ');
    VISE_TRY(vise_buf_check(buf, "safetensors header", err));
    uint64_t bytes = buf->length - start - 8;
    if (bytes > VISE_SAFETENSORS_HEADER_MAX)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "the safetensors header of %zu tensors takes %" PRIu64
                         " bytes, the format allows %u; use smaller shards",
                         n, bytes, VISE_SAFETENSORS_HEADER_MAX);
    for (int i = 0; i < 8; i++)
        buf->data[start + (size_t)i] = (char)(bytes >> (8 * i) & 0xFF);
    return VISE_OK;
}
