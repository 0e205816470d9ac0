/* Importance matrices: how much each column of a weight's input matters, as mean squares over a text. Read from a
 * file of llama-imatrix or of ours, and made by running the model. */
#ifndef VISE_QUANT_IMATRIX_H
#define VISE_QUANT_IMATRIX_H

#include "core/err.h"
#include "formats/gguf_meta.h"
#include "model/model.h"
#include "pipeline/session.h"
#include "text/windows.h"

typedef struct vise_imatrix vise_imatrix;

/* Reads the file (quant/imatrix_file.h) and finds the model's weights in it, by llama.cpp's names of the model's
 * family; an expert's is a part of its stack. VISE_EFORMAT for what is damaged and for numbers of columns that are not
 * the model's, VISE_EUSAGE where no name is of this model. Warns of columns that all are zero: such a weight is
 * quantized without importance. */
VISE_MUST_USE vise_status vise_imatrix_open(const char *path, const vise_model *model, vise_imatrix **out,
                                            vise_error *err);
/* Where a file came from, for the metadata of what is made with it; reads and checks all of it. Texts live in the
 * arena, but for the path. */
VISE_MUST_USE vise_status vise_imatrix_describe(const char *path, vise_arena *arena, vise_gguf_importance *about,
                                                vise_error *err);
void vise_imatrix_close(vise_imatrix *imatrix);
/* Mean squares of the columns of the model's tensor `index`; NULL: the matrix does not have it. */
const float *vise_imatrix_of(const vise_imatrix *imatrix, size_t index);

/* Runs the model over the windows and writes the sums of squares of every input of the blocks' linears as GGUF, names
 * in order, as llama-imatrix does. `dataset` is noted in the file. VISE_EUNSUPPORTED for families without a forward
 * pass or without names in llama.cpp. */
VISE_MUST_USE vise_status vise_imatrix_make(const vise_model *model, const vise_windows *sets, size_t n_sets,
                                            const char *dataset, vise_session *session, const char *out,
                                            vise_error *err);
/* Pool bytes that this takes at least, for windows of at most `length`. */
uint64_t vise_imatrix_bytes(const vise_model *model, size_t n_sets, size_t length, int threads);

#endif
