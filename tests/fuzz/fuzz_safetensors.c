/* safetensors: whatever the bytes, parsing ends with a status; what parses obeys the format's rules, and its
 * header written again parses to the same. */
#include "formats/safetensors.h"
#include "tests/fuzz/fuzz.h"

static vise_status parse(const uint8_t *bytes, size_t n, vise_arena *arena, vise_st_header *header,
                         vise_error *err)
{
    memory file = {bytes, n};
    vise_st_input input = {"fuzz", n, read_at, &file};
    return vise_st_parse(&input, arena, header, err);
}

static void check(const vise_st_header *header, size_t size)
{
    uint64_t end = 0;
    for (size_t i = 0; i < header->n_tensors; i++) {
        const vise_st_tensor *t = &header->tensors[i];
        uint64_t elements = 1, bytes;
        for (int d = 0; d < t->ndim; d++)
            require(t->shape[d] >= 0 && !__builtin_mul_overflow(elements, (uint64_t)t->shape[d], &elements));
        require(vise_dtype_bytes(t->dtype, elements, &bytes) && bytes == t->end - t->begin &&
                t->begin == end);
        end = t->end;
    }
    require(header->data_start + end == size);
}

/* The header written again, in front of as many zero bytes as there were data. */
static void write_again(const vise_st_header *header, vise_arena *arena, uint64_t data_bytes)
{
    vise_buf file;
    vise_st_header again;
    vise_buf_init(&file, (size_t)1 << 26);
    require(vise_st_write_header(header->tensors, header->n_tensors, "\"a\":\"b\"", 0, &file, NULL) ==
            VISE_OK);
    for (uint64_t i = 0; i < data_bytes; i++)
        vise_buf_add_char(&file, '\0');
    require(vise_buf_check(&file, "again", NULL) == VISE_OK);
    require(parse((const uint8_t *)file.data, file.length, arena, &again, NULL) == VISE_OK);
    require(again.n_tensors == header->n_tensors && strcmp(vise_st_metadata(&again, "a"), "b") == 0);
    for (size_t i = 0; i < again.n_tensors; i++) {
        const vise_st_tensor *a = &header->tensors[i], *b = &again.tensors[i];
        require(strcmp(a->name, b->name) == 0 && a->dtype == b->dtype && a->ndim == b->ndim &&
                a->begin == b->begin && a->end == b->end &&
                memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof(int64_t)) == 0);
    }
    vise_st_header_deinit(&again);
    vise_buf_deinit(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vise_arena *arena;
    vise_st_header header;
    vise_error err = {0};
    require(vise_arena_new(&arena, NULL) == VISE_OK);
    vise_status status = parse(data, size, arena, &header, &err);
    if (status == VISE_OK) {
        check(&header, size);
        write_again(&header, arena, size - header.data_start);
    } else {
        require(status == VISE_EFORMAT && err.status == status && strstr(err.message, "fuzz"));
        require(header.tensors == NULL && header.metadata == NULL);
    }
    vise_st_header_deinit(&header);
    vise_arena_free(arena);
    return 0;
}
