/* llama.cpp's named mixtures of GGUF types: which weight of a model gets which, as llama-quantize of llama.cpp
 * b10587 chooses. Tables, read top down; what no rule names gets the base type, vectors and routers stay float32.
 *
 * A name that is a type as well (q8_0) is followed by "-mix" where the mixture is meant: "q8_0" gives the selected
 * weights that type and nothing else. */
#ifndef VISE_QUANT_MIXTURE_H
#define VISE_QUANT_MIXTURE_H

#include <stdint.h>

#include "formats/gguf_names.h"
#include "model/model.h"
#include "tensor/gguf.h"

typedef struct vise_mixture vise_mixture;

/* NULL: no mixture has this name ("q4_k_m"). */
const vise_mixture *vise_mixture_find(const char *name);
/* Its number as general.file_type. */
uint32_t vise_mixture_file_type(const vise_mixture *mixture);

/* What the choice depends on beside the weight itself. */
typedef struct vise_mixture_model {
    const vise_model *model;
    const vise_gguf_family *family;
    bool tied;        /* the file has no head of its own */
    bool has_imatrix; /* columns are weighted */
} vise_mixture_model;

/* The model's facts. VISE_EUNSUPPORTED for a family that llama.cpp does not have. */
VISE_MUST_USE vise_status vise_mixture_prepare(const vise_model *model, bool has_imatrix,
                                               vise_mixture_model *facts, vise_error *err);
/* What a weight becomes; NULL: it stays as it is. *fell_back when its rows do not divide into blocks of
 * the type that the rules name, and it gets the next that they do divide into, at last f16. */
const vise_gguf_type *vise_mixture_type(const vise_mixture *mixture, const vise_mixture_model *facts,
                                        const vise_bound *bound, bool *fell_back);
/* llama-quantize refuses to give a weight this type without an importance matrix. */
bool vise_mixture_needs_imatrix(const vise_mixture *mixture, const vise_bound *bound,
                                const vise_gguf_type *type);

#endif
