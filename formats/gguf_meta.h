/* The metadata of a GGUF file, as llama.cpp's converter writes them for a model of transformers: keys,
 * types, order. Of a GGUF source they are carried over, as llama-quantize does. */
#ifndef VISE_FORMATS_GGUF_META_H
#define VISE_FORMATS_GGUF_META_H

#include <stdint.h>

#include "core/err.h"
#include "formats/gguf_names.h"
#include "formats/gguf_write.h"
#include "formats/source.h"

typedef struct vise_gguf_facts {
    uint64_t parameters; /* of the whole model */
    uint32_t file_type;  /* general.file_type: LLAMA_FTYPE number */
    bool quantized;      /* any tensor has blocks */
} vise_gguf_facts;

/* The family whose names a GGUF of this source has: by its metadata or its config.json. VISE_EUNSUPPORTED
 * for one that is not known here. NULL in *family for a GGUF source of an unknown family, whose names
 * stay. heads and kv_heads count what rows are paired within. */
VISE_MUST_USE vise_status vise_gguf_family_of_source(const vise_source *source,
                                                     const vise_gguf_family **family, int64_t *heads,
                                                     int64_t *kv_heads, vise_error *err);

/* Appends every value. A folder without a tokenizer gives a file without one, with a warning. */
VISE_MUST_USE vise_status vise_gguf_describe(const vise_source *source, const vise_gguf_family *family,
                                             const vise_gguf_facts *facts, vise_gguf_values *values,
                                             vise_error *err);

/* gguf_vocab.c: the values of the tokenizer, from the folder's tokenizer.json. */
VISE_MUST_USE vise_status vise_gguf_describe_vocab(const vise_source *source, vise_gguf_values *values,
                                                   vise_error *err);

/* The number that general.file_type has for a file whose weights are mostly of this type. */
uint32_t vise_gguf_file_type(const vise_gguf_type *type);

#endif
