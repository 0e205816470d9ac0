/* Checkpoints of torch: whatever the bytes, parsing ends with a status; the tensors of what parses lie in the file. */
#include "formats/torch.h"
#include "tests/fuzz/fuzz.h"

static void check(const vise_st_input *input, const vise_torch *torch)
{
    require(torch->n > 0 && strlen(torch->sha256) == 64);
    for (size_t i = 0; i < torch->n; i++) {
        const vise_torch_tensor *t = &torch->tensors[i];
        uint64_t elements = 1, last = 0;
        require(t->name[0] != '\0' && t->dtype < VISE_DTYPE_COUNT && t->view.ndim <= VISE_DIMS_MAX);
        require(t->view.size * 8 == (size_t)vise_dtype_of(t->dtype)->bits);
        for (int d = 0; d < t->view.ndim; d++) {
            require(t->view.shape[d] >= 0 && t->view.strides[d] >= 0);
            require(!__builtin_mul_overflow(elements, (uint64_t)t->view.shape[d], &elements));
            if (t->view.shape[d] > 1)
                last += (uint64_t)(t->view.shape[d] - 1) * (uint64_t)t->view.strides[d];
        }
        require(elements == t->elements && t->bytes == elements * t->view.size);
        require(t->offset <= input->bytes);
        if (elements == 0)
            continue;
        require(t->span == (last + 1) * t->view.size && t->span <= input->bytes - t->offset);
        require(t->apart ? t->view.start == t->offset : t->span == t->bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memory file = {data, size};
    vise_st_input input = {"fuzz", size, read_at, &file};
    vise_arena *arena;
    vise_torch parsed;
    vise_error err = {0};
    require(vise_arena_new(&arena, &err) == VISE_OK);
    vise_status status = vise_torch_parse(&input, arena, &parsed, &err);
    require(status == VISE_OK || err.message[0] != '\0');
    if (status == VISE_OK)
        check(&input, &parsed);
    vise_arena_free(arena);
    return 0;
}
