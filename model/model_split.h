/* Tensors that hold several matrices of the rows (vise_arch_fused), cut into these when a model is opened. */
#ifndef VISE_MODEL_MODEL_SPLIT_H
#define VISE_MODEL_MODEL_SPLIT_H

#include "model/model.h"

/* A name of the rows as the model's file has it, in place. */
const char *vise_model_spell(const vise_model *model, char name[VISE_MODULE_MAX]);

/* Before the store's tensors are bound. VISE_EFORMAT for a tensor whose shape is not what the configuration says. */
VISE_MUST_USE vise_status vise_model_split(vise_model *model, vise_error *err);

#endif
