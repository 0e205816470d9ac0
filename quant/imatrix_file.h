/* Files of importance matrices: GGUF as llama-imatrix writes it, and the binary form that it wrote before.
 *
 *   GGUF     for every weight NAME.in_sum2 [columns, matrices], the sums of squares of its input's columns, and
 *            NAME.counts [1, matrices], how many rows were summed; a stack of experts has a matrix for each
 *   before   i32 entries; each i32 length, name, i32 calls, i32 n, f32[n] (mean squares times calls); then i32 chunks
 *            and i32 length, name of the text
 */
#ifndef VISE_QUANT_IMATRIX_FILE_H
#define VISE_QUANT_IMATRIX_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"
#include "formats/gguf_meta.h"

/* Longest name of a weight in either form. */
#define VISE_IMATRIX_NAME_MAX 63

typedef struct vise_imatrix_entry {
    char name[VISE_IMATRIX_NAME_MAX + 1]; /* llama.cpp's: "blk.0.attn_q.weight" */
    uint64_t values;
    float *
        means; /* [values]: mean squares; 1 throughout a matrix that no row reached, as llama-quantize takes it */
    uint64_t matrices; /* 0: the form does not say */
    uint64_t unseen;   /* matrices that no row reached */
} vise_imatrix_entry;

/* entries and what they and `about` (NULL: not asked for) point to live in the arena. VISE_EFORMAT for NaN, infinities,
 * negative numbers, sums without counts and counts without sums, numbers of values that do not fit each other or the
 * file, names that are there twice. */
VISE_MUST_USE vise_status vise_imatrix_read(const char *path, vise_arena *arena, vise_imatrix_entry **entries,
                                            size_t *count, vise_gguf_importance *about, vise_error *err);

#endif
