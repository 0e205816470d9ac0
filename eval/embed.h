/* Sentence embeddings: what a folder's sentence-transformers files say of them, and how close two models' are. */
#ifndef VISE_EVAL_EMBED_H
#define VISE_EVAL_EMBED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "eval/eval.h"
#include "eval/texts.h"
#include "formats/source.h"
#include "formats/vectors.h"

typedef struct vise_pooling {
    bool first_token;  /* [CLS], not the mean over all tokens */
    size_t max_length; /* tokens of a text; 0: not said */
    bool lowercase;    /* texts are made lower-case before they reach the tokenizer */
} vise_pooling;

/* From 1_Pooling/config.json, modules.json and sentence_bert_config.json of a model folder; without them vectors are
 * means. Lengths of vectors are left alone: cosines do not see them. VISE_EUNSUPPORTED: another way of pooling, or a
 * layer behind it; VISE_EFORMAT: a broken file. */
VISE_MUST_USE vise_status vise_pooling_read(const char *folder, vise_pooling *pooling, vise_error *err);

/* The same of a model; a GGUF file's metadata tell it. */
VISE_MUST_USE vise_status vise_pooling_of(const vise_source *source, vise_pooling *pooling, vise_error *err);

/* VISE_EUNSUPPORTED unless the model gives a text a vector. */
VISE_MUST_USE vise_status vise_need_embeddings(const vise_model *model, const char *what, vise_error *err);

/* Where vectors come from: a model on texts, or a table. */
typedef struct vise_embedder {
    const vise_model *model; /* NULL: vectors */
    const vise_encoded *rows;
    bool first_token;
    const vise_vectors *vectors;
} vise_embedder;

/* Vectors of a table are read so many at a time: pool bytes of the values and of what they are made from, beside
 * vise_eval_bytes. */
#define VISE_VECTORS_BATCH 256

typedef struct vise_cosines {
    size_t n;
    int64_t width;
    double mean, min;
    size_t worst; /* the text that min belongs to */
} vise_cosines;

/* The cosines of the texts' two vectors, in double. options' windows are taken from the embedders. VISE_EUSAGE when
 * numbers of texts or widths differ; VISE_EFORMAT for a vector that is not finite or all zeros. */
VISE_MUST_USE vise_status vise_compare_embeddings(const vise_embedder *a, const vise_embedder *b,
                                                  const vise_eval_options *options, vise_cosines *cosines,
                                                  vise_error *err);

#endif
