#include "formats/gguf_write.h"

#include <string.h>

#define VALUES_MAX ((size_t)1 << 28)

void vise_gguf_values_init(vise_gguf_values *values)
{
    vise_buf_init(&values->bytes, VALUES_MAX);
    values->count = 0;
}

void vise_gguf_values_deinit(vise_gguf_values *values)
{
    vise_buf_deinit(&values->bytes);
}

static void add_text(vise_buf *buf, const char *bytes, size_t length)
{
    const uint64_t n = length;
    vise_buf_add(buf, &n, sizeof n);
    vise_buf_add(buf, bytes, length);
}

static void begin(vise_gguf_values *values, const char *key, vise_gguf_kind kind)
{
    const uint32_t number = kind;
    add_text(&values->bytes, key, strlen(key));
    vise_buf_add(&values->bytes, &number, sizeof number);
    values->count++;
}

void vise_gguf_put_u32(vise_gguf_values *values, const char *key, uint32_t value)
{
    begin(values, key, VISE_GGUF_KIND_U32);
    vise_buf_add(&values->bytes, &value, sizeof value);
}

void vise_gguf_put_i32(vise_gguf_values *values, const char *key, int32_t value)
{
    begin(values, key, VISE_GGUF_KIND_I32);
    vise_buf_add(&values->bytes, &value, sizeof value);
}

void vise_gguf_put_f32(vise_gguf_values *values, const char *key, float value)
{
    begin(values, key, VISE_GGUF_KIND_F32);
    vise_buf_add(&values->bytes, &value, sizeof value);
}

void vise_gguf_put_bool(vise_gguf_values *values, const char *key, bool value)
{
    begin(values, key, VISE_GGUF_KIND_BOOL);
    vise_buf_add_char(&values->bytes, value ? 1 : 0);
}

void vise_gguf_put_text(vise_gguf_values *values, const char *key, const char *text)
{
    begin(values, key, VISE_GGUF_KIND_TEXT);
    add_text(&values->bytes, text, strlen(text));
}

void vise_gguf_put_array(vise_gguf_values *values, const char *key, vise_gguf_kind kind, uint64_t count,
                         const void *elements)
{
    const uint32_t number = kind;
    begin(values, key, VISE_GGUF_KIND_ARRAY);
    vise_buf_add(&values->bytes, &number, sizeof number);
    vise_buf_add(&values->bytes, &count, sizeof count);
    vise_buf_add(&values->bytes, elements, (size_t)count * vise_gguf_kind_bytes(kind));
}

void vise_gguf_add_text(vise_gguf_values *values, const char *bytes, size_t length)
{
    add_text(&values->bytes, bytes, length);
}

void vise_gguf_put_value(vise_gguf_values *values, const vise_gguf_value *value)
{
    const vise_gguf_text *texts = value->kind == VISE_GGUF_KIND_TEXT ? value->elements : NULL;
    if (value->is_array) {
        vise_gguf_put_array(values, value->key, value->kind, value->count, value->elements);
    } else {
        begin(values, value->key, value->kind);
        vise_buf_add(&values->bytes, value->elements, vise_gguf_kind_bytes(value->kind));
    }
    for (uint64_t i = 0; texts != NULL && i < value->count; i++)
        add_text(&values->bytes, texts[i].bytes, texts[i].length);
}

static void put_split(vise_gguf_values *values, const vise_gguf_split *split)
{
    const uint16_t number = (uint16_t)split->number, count = (uint16_t)split->count;
    const int32_t tensors = (int32_t)split->tensors;
    begin(values, "split.no", VISE_GGUF_KIND_U16);
    vise_buf_add(&values->bytes, &number, sizeof number);
    begin(values, "split.count", VISE_GGUF_KIND_U16);
    vise_buf_add(&values->bytes, &count, sizeof count);
    begin(values, "split.tensors.count", VISE_GGUF_KIND_I32);
    vise_buf_add(&values->bytes, &tensors, sizeof tensors);
}

vise_status vise_gguf_write_header(const vise_gguf_values *values, const vise_gguf_split *split,
                                   const vise_gguf_tensor *tensors, size_t n, vise_buf *buf, vise_error *err)
{
    static const uint32_t version = 3;
    const uint64_t n_tensors = n;
    const size_t start = buf->length;
    vise_gguf_values own;
    if (split->count > UINT16_MAX)
        return VISE_FAIL(err, VISE_EUSAGE, "GGUF has at most %d files; give a larger --max-shard-size",
                         UINT16_MAX);
    vise_gguf_values_init(&own);
    if (split->count > 1)
        put_split(&own, split);
    const uint64_t count = own.count + (split->number == 0 ? values->count : 0);
    vise_buf_add(buf, "GGUF", 4);
    vise_buf_add(buf, &version, sizeof version);
    vise_buf_add(buf, &n_tensors, sizeof n_tensors);
    vise_buf_add(buf, &count, sizeof count);
    if (split->number == 0)
        vise_buf_add(buf, values->bytes.data, values->bytes.length);
    vise_buf_add(buf, own.bytes.data, own.bytes.length);
    vise_status status = vise_buf_check(&own.bytes, "GGUF metadata", err);
    vise_gguf_values_deinit(&own);
    for (size_t i = 0; i < n; i++) {
        const uint32_t ndim = (uint32_t)tensors[i].ndim;
        add_text(buf, tensors[i].name, strlen(tensors[i].name));
        vise_buf_add(buf, &ndim, sizeof ndim);
        vise_buf_add(buf, tensors[i].dims, ndim * sizeof tensors[i].dims[0]);
        vise_buf_add(buf, &tensors[i].type->id, sizeof tensors[i].type->id);
        vise_buf_add(buf, &tensors[i].offset, sizeof tensors[i].offset);
    }
    while (!buf->failed && (buf->length - start) % VISE_GGUF_ALIGNMENT != 0)
        vise_buf_add_char(buf, 0);
    return status == VISE_OK ? vise_buf_check(buf, "GGUF header", err) : status;
}
