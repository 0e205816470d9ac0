/* What the fuzz targets share. Each defines LLVMFuzzerTestOneInput, which libFuzzer and replay_main.c call. */
#ifndef VISE_TESTS_FUZZ_H
#define VISE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "core/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(int condition)
{
    if (!condition)
        abort(); /* how a fuzz target reports a defect */
}

/* A file in memory, for parsers that take a function to read with. */
typedef struct memory {
    const uint8_t *bytes;
    size_t n;
} memory;

static inline vise_status read_at(const void *context, uint64_t offset, void *bytes, size_t n, vise_error *err)
{
    const memory *file = context;
    (void)err;
    require(offset <= file->n && n <= file->n - offset); /* the parser never asks beyond the file */
    memcpy(bytes, file->bytes + offset, n);
    return VISE_OK;
}

/* A file for readers that take a path, in memory where there is such a place: files are synced. Unlink it. */
static inline void write_input(char path[64], const char *name, const char *extension, const uint8_t *data, size_t size)
{
    const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, 64, "%s/vise-fuzz-%s-%ld.%s", folder, name, (long)getpid(), extension);
    require(vise_file_write_atomic(path, data, size, NULL) == VISE_OK);
}

#endif
