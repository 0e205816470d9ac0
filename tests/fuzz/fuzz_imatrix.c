/* Importance matrices, GGUF and the form before it: whatever the bytes, reading ends with a status, and what is read
 * are means that weights can be weighed by. */
#include <math.h>
#include <sys/mman.h>

#include "quant/imatrix_file.h"
#include "tests/fuzz/fuzz.h"

static void check(const vise_imatrix_entry *entries, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        const vise_imatrix_entry *entry = &entries[i];
        require(memchr(entry->name, 0, sizeof entry->name) != NULL && entry->values > 0 &&
                entry->values <= size / 4);
        require(entry->matrices == 0 ||
                (entry->values % entry->matrices == 0 && entry->unseen <= entry->matrices));
        for (uint64_t k = 0; k < entry->values; k++)
            require(entry->means[k] >= 0.0f && entry->means[k] < INFINITY);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32];
    vise_arena *arena;
    vise_imatrix_entry *entries;
    size_t count;
    vise_error err = {0};
    const int fd = memfd_create("imatrix", 0); /* the reader takes a path */
    require(fd >= 0 && (size == 0 || write(fd, data, size) == (ssize_t)size));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    require(vise_arena_new(&arena, &err) == VISE_OK);
    vise_gguf_importance about;
    const vise_status status = vise_imatrix_read(path, arena, &entries, &count, &about, &err);
    require(status == VISE_OK || err.message[0] != '\0');
    if (status == VISE_OK)
        check(entries, count, size);
    vise_arena_free(arena);
    close(fd);
    return 0;
}
