#include "tests/unit/formats_help.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/rng.h"
#include "formats/safetensors.h"

vise_error help_error;

void assert_status(vise_status got, vise_status wanted, const char *call, const char *file, int line)
{
    if (got != wanted) {
        print_error("%s: status %d, wanted %d: %s\n", call, got, wanted, help_error.message);
        _fail(file, line);
    }
    help_error = (vise_error){0};
}

void assert_fails(vise_status wanted, const char *text, vise_status got, const char *call, const char *file,
                  int line)
{
    if (got != wanted || !strstr(help_error.message, text)) {
        print_error("%s: status %d, wanted %d with \"%s\": %s\n", call, got, wanted, text,
                    help_error.message);
        _fail(file, line);
    }
    help_error = (vise_error){0};
}

const char *help_folder(void)
{
    const char *root = getenv("TMPDIR"), *memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char *path = NULL; /* in memory where possible: the tests sync files by the hundred */
    if (asprintf(&path, "%s/vise-test-XXXXXX", root ? root : memory) < 0 || !mkdtemp(path))
        fail_msg("no temporary folder");
    return path;
}

void help_remove(const char *folder)
{
    OK(vise_folder_remove(folder, &help_error));
    free((char *)folder);
}

const char *help_path(const char *folder, const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

void help_write(const char *folder, const char *name, const void *bytes, size_t n)
{
    OK(vise_file_write_atomic(help_path(folder, name), bytes, n, &help_error));
}

void help_write_text(const char *folder, const char *name, const char *text)
{
    help_write(folder, name, text, strlen(text));
}

char *help_read(const char *path, size_t *n)
{
    char *bytes = NULL;
    size_t length;
    OK(vise_file_read_all(path, (size_t)1 << 30, &bytes, n ? n : &length, &help_error));
    return bytes;
}

size_t help_bytes(const help_tensor *tensor)
{
    uint64_t elements = 1, bytes;
    for (int i = 0; i < tensor->ndim; i++)
        elements *= (uint64_t)tensor->shape[i];
    assert_true(vise_dtype_bytes(tensor->dtype, elements, &bytes));
    return (size_t)bytes;
}

void help_pattern(const char *seed, void *bytes, size_t n)
{
    vise_rng rng;
    uint8_t *out = bytes;
    vise_rng_init(&rng, 1, seed);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t r = vise_rng_next(&rng);
        memcpy(out + i, &r, n - i < 8 ? n - i : 8);
    }
}

void help_safetensors(const char *folder, const char *name, const char *metadata, const help_tensor *tensors,
                      size_t n)
{
    vise_st_tensor *rows = calloc(n + 1, sizeof *rows);
    assert_non_null(rows);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t bytes = help_bytes(&tensors[i]);
        rows[i] = (vise_st_tensor){tensors[i].name, tensors[i].dtype, tensors[i].ndim, tensors[i].shape, at,
                                   at + bytes};
        at += bytes;
    }
    vise_buf file;
    vise_buf_init(&file, (size_t)1 << 30);
    OK(vise_st_write_header(rows, n, metadata, 0, &file, &help_error));
    for (size_t i = 0; i < n; i++) {
        size_t bytes = help_bytes(&tensors[i]);
        char *pattern = malloc(bytes + 1);
        assert_non_null(pattern);
        help_pattern(tensors[i].name, pattern, bytes);
        vise_buf_add(&file, tensors[i].bytes ? tensors[i].bytes : pattern, bytes);
        free(pattern);
    }
    help_write(folder, name, file.data, file.length);
    vise_buf_deinit(&file);
    free(rows);
}

static vise_status read_memory(const void *context, uint64_t offset, void *bytes, size_t n, vise_error *err)
{
    const help_memory *memory = context;
    (void)err;
    assert_true(offset <= memory->n && n <= memory->n - offset); /* readers never ask beyond the file */
    memcpy(bytes, memory->bytes + offset, n);
    return VISE_OK;
}

vise_st_input help_input(const help_memory *memory, const char *name)
{
    return (vise_st_input){name, memory->n, read_memory, memory};
}
