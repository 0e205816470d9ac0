/* NumPy's files of vectors: opening ends with a status, and what opens has as many values as its header says, all of
 * which can be read. (The other kind of table is a safetensors file, which has a target of its own.) */
#include "formats/vectors.h"
#include "tests/fuzz/fuzz.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vise_vectors *vectors = NULL;
    char path[64];

    write_input(path, "vectors", "npy", data, size);
    if (vise_vectors_open(path, &vectors, NULL) == VISE_OK)
        read_rows(vectors, size);
    vise_vectors_close(vectors);
    unlink(path);
    return 0;
}
