/* GGUF: whatever the bytes, parsing ends with a status; what parses obeys the format's rules. Making a tokenizer of the
 * metadata, and reading what was made, end with a status, too. */
#include "formats/gguf.h"
#include "pipeline/gguf_tokenizer.h"
#include "tests/fuzz/fuzz.h"

static void check(const vise_gguf *gguf, size_t size)
{
    uint64_t end = gguf->data_start;
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const vise_gguf_tensor *t = &gguf->tensors[i];
        uint64_t elements = 1;
        require(t->ndim >= 1 && t->ndim <= VISE_GGUF_DIMS_MAX && t->type != NULL);
        for (int d = 0; d < t->ndim; d++)
            require(t->dims[d] > 0 && !__builtin_mul_overflow(elements, (uint64_t)t->dims[d], &elements));
        require(elements == t->elements && t->dims[0] % t->type->values == 0);
        require(t->bytes == elements / (uint64_t)t->type->values * (uint64_t)t->type->bytes);
        require(t->offset == end && t->offset % gguf->alignment == 0 && t->offset + t->bytes <= size);
        end = (t->offset + t->bytes + gguf->alignment - 1) / gguf->alignment * gguf->alignment;
    }
    for (size_t i = 0; i < gguf->n_values; i++) {
        const vise_gguf_value *v = &gguf->values[i];
        int64_t number;
        float real;
        bool truth;
        const char *text;
        require(strlen(v->key) > 0 && vise_gguf_find(gguf, v->key) == v);
        (void)!vise_gguf_get_int(gguf, v->key, true, INT64_MIN, INT64_MAX, &number, NULL);
        (void)!vise_gguf_get_float(gguf, v->key, true, &real, NULL);
        (void)!vise_gguf_get_bool(gguf, v->key, true, &truth, NULL);
        if (vise_gguf_get_text(gguf, v->key, true, &text, NULL) == VISE_OK)
            require(strlen(text) <= size);
    }
}

static void check_tokenizer(const vise_gguf *gguf)
{
    vise_buf json, config;
    const char *why = NULL;
    vise_error err = {0};
    vise_tokenizer *tokenizer;
    vise_buf_init(&json, (size_t)64 << 20);
    vise_buf_init(&config, (size_t)64 << 20);
    if (vise_gguf_tokenizer_write(gguf, &json, &config, &why, &err) != VISE_OK)
        require(err.message[0] != '\0');
    else if (why == NULL && vise_tokenizer_from_text("fuzz", json.data, json.length, &tokenizer, &err) == VISE_OK)
        vise_tokenizer_close(tokenizer);
    else
        require(why != NULL || err.message[0] != '\0');
    vise_buf_deinit(&config);
    vise_buf_deinit(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memory file = {data, size};
    vise_st_input input = {"fuzz", size, read_at, &file};
    vise_arena *arena;
    vise_gguf gguf;
    vise_error err = {0};
    require(vise_arena_new(&arena, &err) == VISE_OK);
    vise_status status = vise_gguf_parse(&input, arena, &gguf, &err);
    require(status == VISE_OK || err.message[0] != '\0');
    if (status == VISE_OK) {
        check(&gguf, size);
        check_tokenizer(&gguf);
    }
    vise_arena_free(arena);
    return 0;
}
