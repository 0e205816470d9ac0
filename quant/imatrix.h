/* Importance matrices as llama-imatrix writes them in GGUF: for every weight the sums of squares of its
 * input's columns (NAME.in_sum2 [columns]) and how many rows were summed (NAME.counts). */
#ifndef VISE_QUANT_IMATRIX_H
#define VISE_QUANT_IMATRIX_H

#include "core/err.h"
#include "model/model.h"

typedef struct vise_imatrix vise_imatrix;

/* Reads the file and finds the model's weights in it, by llama.cpp's names of the model's family.
 * VISE_EFORMAT for NaN, infinities and negative sums, sums without counts, and numbers of columns that
 * are not the model's. */
VISE_MUST_USE vise_status vise_imatrix_open(const char *path, const vise_model *model, vise_imatrix **out,
                                            vise_error *err);
void vise_imatrix_close(vise_imatrix *imatrix);
/* Mean squares of the columns of the model's tensor `index`; NULL: the matrix does not have it. */
const float *vise_imatrix_of(const vise_imatrix *imatrix, size_t index);

#endif
