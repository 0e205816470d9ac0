/* llama.cpp's named mixtures of GGUF types: which weight of a model gets which. Tables, read top down;
 * what no rule names gets the base type, vectors stay float32. */
#ifndef VISE_QUANT_MIXTURE_H
#define VISE_QUANT_MIXTURE_H

#include <stdint.h>

#include "model/model.h"
#include "tensor/gguf.h"

typedef struct vise_mixture vise_mixture;

/* NULL: no mixture has this name ("q4_k_m"). */
const vise_mixture *vise_mixture_find(const char *name);
/* Its number as general.file_type. */
uint32_t vise_mixture_file_type(const vise_mixture *mixture);
/* What a weight becomes; NULL: it stays as it is. *fell_back when its rows do not divide into blocks of
 * the type that the rules name, and it gets the next that they do divide into. */
const vise_gguf_type *vise_mixture_type(const vise_mixture *mixture, const vise_model *model,
                                        const vise_bound *bound, bool *fell_back);

#endif
