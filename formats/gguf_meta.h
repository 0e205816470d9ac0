/* The metadata of a GGUF file, as llama.cpp's converter writes them for a model of transformers: keys,
 * types, order. Of a GGUF source they are carried over, as llama-quantize does. */
#ifndef VISE_FORMATS_GGUF_META_H
#define VISE_FORMATS_GGUF_META_H

#include <stdint.h>

#include "core/err.h"
#include "formats/gguf_names.h"
#include "formats/gguf_write.h"
#include "formats/source.h"

/* Numbers of the network, the family's defaults filled in; zero: it has none. */
typedef struct vise_gguf_network {
    int64_t layers, context, hidden, ffn, heads, kv_heads, head_dim, vocab;
    int64_t rotary; /* dimensions of a head that are rotated */
    int64_t experts, experts_used, expert_ffn, shared_ffn;
    int64_t window;
    int64_t original_context; /* of scaled rotary positions */
    double eps, theta, local_theta;
    double attention_cap, logit_cap;
    bool parallel;
    double attention_factor; /* of factors for long texts, which llama.cpp does not work out itself */
} vise_gguf_network;

/* A token as sentencepiece's file has it. */
typedef struct vise_gguf_piece {
    const char *text;
    size_t length;
    float score;
    int32_t type; /* of both formats: 1 normal, 2 unknown, 3 control, 4 given by the user, 5 unused, 6 byte */
} vise_gguf_piece;

/* What the folder's tokenizer files say that is not read here. */
typedef struct vise_gguf_tokenizer {
    const vise_gguf_piece *pieces; /* of sentencepiece's model; NULL: there is none */
    size_t n_pieces;
    bool unigram;                  /* the model is one of unigrams, and its normalizer does what follows */
    bool space_prefix, one_space;  /* puts a space in front of texts; leaves one of several */
    const char *charsmap;          /* [charsmap_bytes] its compiled map of characters */
    size_t charsmap_bytes;
    const char *ids_sha256; /* of the ids of the converter's test text, as Python prints a list; NULL: unknown */
} vise_gguf_tokenizer;

/* Where the importances came from that types were weighed by, as llama-quantize tells it. */
typedef struct vise_gguf_importance {
    const char *file, *dataset; /* dataset "": not known */
    uint32_t entries, chunks;   /* chunks 0: not known */
} vise_gguf_importance;

typedef struct vise_gguf_facts {
    uint64_t parameters;                      /* stored ones, of the whole model */
    uint64_t shared_parameters, expert_parameters; /* those of no expert, and of one of the experts */
    int64_t experts;                          /* that are stacked; 0: none */
    uint32_t file_type;                       /* general.file_type: LLAMA_FTYPE number */
    vise_gguf_network network;
    vise_gguf_tokenizer tokenizer;
    const vise_gguf_importance *importance; /* NULL: none */
} vise_gguf_facts;

/* The family whose names a GGUF of this source has: by its metadata or its config.json. VISE_EUNSUPPORTED
 * for one that is not known here. NULL in *family for a GGUF source of an unknown family, whose names
 * stay. */
VISE_MUST_USE vise_status vise_gguf_family_of_source(const vise_source *source,
                                                     const vise_gguf_family **family, vise_error *err);

/* What config.json says of the text: "text_config" of a model of several parts, else the whole. */
const cJSON *vise_gguf_text_config(const vise_source *source);

/* Appends every value. A folder without a tokenizer gives a file without one, with a warning. */
VISE_MUST_USE vise_status vise_gguf_describe(const vise_source *source, const vise_gguf_family *family,
                                             const vise_gguf_facts *facts, vise_gguf_values *values,
                                             vise_error *err);

/* config.json's names of the labels, in order of their numbers; NULL and 0 for a model without, or with the two that
 * transformers makes up. The array is freed with vise_free, the texts belong to the source. */
VISE_MUST_USE vise_status vise_gguf_labels(const vise_source *source, const char ***labels, size_t *n,
                                           vise_error *err);

/* gguf_title.c: general.name and what else a folder's name tells, sampling parameters. */
VISE_MUST_USE vise_status vise_gguf_describe_model(const vise_source *source, const vise_gguf_facts *facts,
                                                   vise_gguf_values *values, vise_error *err);

/* gguf_vocab.c: the values of the tokenizer. */
VISE_MUST_USE vise_status vise_gguf_describe_vocab(const vise_source *source, const vise_gguf_family *family,
                                                   const vise_gguf_facts *facts, vise_gguf_values *values,
                                                   vise_error *err);

/* How many tokens tokenizer.json has, added ones counted again as the converter does; 0 when there is none, or a
 * tokenizer.model beside it, which the vocabulary is then filled up from. */
VISE_MUST_USE vise_status vise_gguf_count_tokens(const vise_source *source, int64_t *n, vise_error *err);

/* Tokens with types, and with scores if asked; one whose text is NULL is a hole among the ids. */
VISE_MUST_USE vise_status vise_gguf_put_pieces(const vise_gguf_piece *pieces, size_t n, bool scores,
                                               vise_gguf_values *values, vise_error *err);

/* gguf_unigram.c: tokens and normalizer of a tokenizer of unigrams, *n of them. */
typedef struct vise_gguf_unigram {
    const vise_gguf_tokenizer *facts;
    const cJSON *tokenizer; /* tokenizer.json; NULL: none */
    const cJSON *config;    /* tokenizer_config.json; NULL: none */
    const char *path;       /* for messages */
    size_t vocab;           /* rows of the embedding */
    uint32_t types;         /* of tokens, in the network's sense */
} vise_gguf_unigram;
bool vise_gguf_is_unigram(const vise_gguf_unigram *files);
VISE_MUST_USE vise_status vise_gguf_put_unigram(const vise_gguf_unigram *files, vise_arena *arena, size_t *n,
                                                vise_gguf_values *values, vise_error *err);

/* gguf_special.c: special tokens, as the files of the tokenizer name them. */
typedef struct vise_gguf_special {
    const cJSON *tokenizer; /* tokenizer.json; NULL: none */
    const cJSON *config;    /* tokenizer_config.json; NULL: none */
    const cJSON *model;     /* config.json */
    const cJSON *text;      /* what of it describes the text */
    const char *folder;
    int64_t n_vocab;        /* ids beyond are left out; 0: no bound */
    bool no_bos;            /* texts get none, whatever the files say */
} vise_gguf_special;
VISE_MUST_USE vise_status vise_gguf_put_special(const vise_gguf_special *special, vise_gguf_values *values,
                                                vise_error *err);

/* gguf_pre.c: llama.cpp's name of a pre-tokenizer, by the hash of vise_gguf_tokenizer; NULL: unknown. */
const char *vise_gguf_pre_name(const char *ids_sha256);
/* The text whose ids are hashed. */
extern const char vise_gguf_pre_text[];

/* The number that general.file_type has for a file whose weights are mostly of this type. */
uint32_t vise_gguf_file_type(const vise_gguf_type *type);

#endif
