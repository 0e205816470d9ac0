/* What formats/pickle.c and formats/pickle_torch.c share. */
#ifndef VISE_FORMATS_PICKLE_INTERNAL_H
#define VISE_FORMATS_PICKLE_INTERNAL_H

#include "formats/pickle.h"

/* Fails with "file: pickle: what at byte N". */
VISE_MUST_USE vise_status vise_pickle_bad(const vise_pickle *pickle, const char *what, vise_error *err);
/* A new value; *id is its number. */
VISE_MUST_USE vise_status vise_pickle_new(vise_pickle *pickle, vise_pickle_value value, uint32_t *id,
                                          vise_error *err);

/* The number of a global on the list; VISE_EUNSUPPORTED naming any other. */
VISE_MUST_USE vise_status vise_pickle_find_global(const vise_pickle *pickle, const char *module,
                                                  size_t n_module, const char *name, size_t n_name,
                                                  uint32_t *index, vise_error *err);
const vise_pickle_global *vise_pickle_global_at(uint32_t index);
/* What torch would make of a call, and of a persistent id. */
VISE_MUST_USE vise_status vise_pickle_call(vise_pickle *pickle, uint32_t callee, uint32_t arguments,
                                           uint32_t *result, vise_error *err);
VISE_MUST_USE vise_status vise_pickle_load_storage(vise_pickle *pickle, uint32_t id, uint32_t *result,
                                                   vise_error *err);

#endif
