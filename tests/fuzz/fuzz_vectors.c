/* NumPy's files of vectors: opening ends with a status, and what opens has as many values as its header says, all of
 * which can be read. (The other kind of table is a safetensors file, which has a target of its own.) */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/file.h"
#include "formats/vectors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort(); /* how a fuzz target reports a defect */
}

static void read_rows(const vise_vectors *vectors, size_t size)
{
    const int64_t rows = vise_vectors_rows(vectors), cols = vise_vectors_cols(vectors);
    vise_pool *pool = NULL;
    void *values = NULL;

    require(rows > 0 && cols > 0 && (uint64_t)rows * (uint64_t)cols * 2 < size);
    require(vise_pool_new(0, &pool, NULL) == VISE_OK);
    require(vise_alloc((size_t)(rows * cols) * sizeof(float), &values, NULL) == VISE_OK);
    require(vise_vectors_read(vectors, rows - 1, 1, values, pool, NULL) == VISE_OK);
    require(vise_vectors_read(vectors, 0, rows, values, pool, NULL) == VISE_OK);
    vise_free(values);
    vise_pool_free(pool);
}

/* In memory where there is such a place: files are synced. */
static const char *folder(void)
{
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vise_vectors *vectors = NULL;
    char path[64];

    snprintf(path, sizeof path, "%s/vise-fuzz-vectors-%ld.npy", folder(), (long)getpid());
    require(vise_file_write_atomic(path, data, size, NULL) == VISE_OK);
    if (vise_vectors_open(path, &vectors, NULL) == VISE_OK)
        read_rows(vectors, size);
    vise_vectors_close(vectors);
    unlink(path);
    return 0;
}
