/* What is written stays apart from what is read. */
#ifndef VISE_PIPELINE_APART_H
#define VISE_PIPELINE_APART_H

#include "core/err.h"
#include "model/model.h"

/* VISE_EUSAGE when writing `out` would replace `path`: it is the same, or a folder that holds it. Paths that are not
 * there replace nothing. */
VISE_MUST_USE vise_status vise_check_apart(const char *out, const char *path, vise_error *err);
/* The same for a model and each of its files, wherever links lead. */
VISE_MUST_USE vise_status vise_check_apart_from_model(const char *out, const vise_model *model, vise_error *err);

#endif
