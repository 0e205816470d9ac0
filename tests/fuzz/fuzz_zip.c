/* ZIP: whatever the bytes, parsing ends with a status; the entries of what parses lie apart, within the file. */
#include "formats/zip.h"
#include "tests/fuzz/fuzz.h"

static int by_offset(const void *a, const void *b)
{
    const vise_zip_entry *x = a, *y = b;
    return x->header < y->header ? -1 : x->header > y->header;
}

static void check(const vise_st_input *input, const vise_zip *zip)
{
    uint64_t end = 0;
    vise_zip_entry *sorted = calloc(zip->n, sizeof *sorted);
    require(zip->n > 0 && sorted != NULL);
    memcpy(sorted, zip->entries, zip->n * sizeof *sorted);
    qsort(sorted, zip->n, sizeof *sorted, by_offset);
    for (size_t i = 0; i < zip->n; i++) {
        char *bytes = NULL;
        const vise_zip_entry *entry = &sorted[i];
        require(entry->header >= end && entry->offset >= entry->header + 30 && entry->name[0] != '/');
        require(entry->offset <= input->bytes && entry->stored_bytes <= input->bytes - entry->offset);
        end = entry->offset + entry->stored_bytes;
        require(strstr(entry->name, "..") == NULL || strstr(entry->name, "../") != entry->name);
        require(vise_zip_find(zip, entry->name)->header == entry->header);
        if (vise_zip_read(input, entry, 4096, &bytes, NULL) == VISE_OK)
            vise_free(bytes);
    }
    free(sorted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memory file = {data, size};
    vise_st_input input = {"fuzz", size, read_at, &file};
    vise_arena *arena;
    vise_zip parsed;
    vise_error err = {0};
    require(vise_arena_new(&arena, &err) == VISE_OK);
    vise_status status = vise_zip_parse(&input, arena, &parsed, &err);
    require(status == VISE_OK || err.message[0] != '\0');
    if (status == VISE_OK)
        check(&input, &parsed);
    vise_arena_free(arena);
    return 0;
}
