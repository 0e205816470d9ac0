/* A table of vectors that another program computed: NumPy's .npy (versions 1 to 3, little-endian f2, f4 or f8, two
 * dimensions in C order), or a .safetensors file with a tensor "embeddings", or one tensor alone, of two dimensions.
 * NumPy's format: numpy.lib.format.
 */
#ifndef VISE_FORMATS_VECTORS_H
#define VISE_FORMATS_VECTORS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"

typedef struct vise_vectors vise_vectors;

/* True for a name that ends as such files' do. */
bool vise_vectors_named(const char *path);
/* VISE_EFORMAT: not such a file, or one whose size is at odds with its header. VISE_EUNSUPPORTED: numbers or an order
 * that are not read. */
VISE_MUST_USE vise_status vise_vectors_open(const char *path, vise_vectors **out, vise_error *err);
void vise_vectors_close(vise_vectors *vectors);
int64_t vise_vectors_rows(const vise_vectors *vectors);
int64_t vise_vectors_cols(const vise_vectors *vectors);
/* values [rows, cols] of rows [row0, row0 + rows) as float32. Scratch comes from pool. */
VISE_MUST_USE vise_status vise_vectors_read(const vise_vectors *vectors, int64_t row0, int64_t rows, float *values,
                                            vise_pool *pool, vise_error *err);

#endif
