/* config.json of a GGUF file: which family its network is of, and what transformers would say of it. */
#ifndef VISE_FORMATS_GGUF_CONFIG_H
#define VISE_FORMATS_GGUF_CONFIG_H

#include "core/buf.h"
#include "core/err.h"
#include "formats/gguf.h"
#include "formats/gguf_names.h"

/* The family that the file is shown as; NULL: none, since its architecture is not known, or since it has something
 * that this family's config.json cannot tell - then its tensors keep their names, and *why (else NULL) says what. */
const vise_gguf_family *vise_gguf_family_of_file(const vise_gguf *gguf, const char **why);

/* Appends the text of config.json. VISE_EUNSUPPORTED for Llama and Qwen with something that it cannot tell. */
VISE_MUST_USE vise_status vise_gguf_write_config(const vise_gguf *gguf, const vise_gguf_family *family,
                                                 vise_buf *text, vise_error *err);

/* NULL: no such tensor. */
const vise_gguf_tensor *vise_gguf_find_tensor(const vise_gguf *gguf, const char *name);

#endif
