/* What a tokenizer is made of, for its reading (tokenizer_json.c and others) and its use (tokenizer.c). */
#ifndef VISE_TEXT_TOKENIZER_INTERNAL_H
#define VISE_TEXT_TOKENIZER_INTERNAL_H

#include <pthread.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/json.h"
#include "core/mem.h"
#include "text/added.h"
#include "text/bpe.h"
#include "text/cut.h"
#include "text/normal.h"
#include "text/regex.h"
#include "text/split.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocab.h"
#include "text/word_cache.h"
#include "text/wordpiece.h"

#define VISE_STEPS_MAX    8
#define VISE_TEMPLATE_MAX 12
/* sentencepiece's remove_extra_whitespaces as a component; no tokenizer.json of others has it. */
#define VISE_SQUEEZE_TYPE "vise:RemoveExtraWhitespaces"

/* Pre-tokenizers: each cuts or rewrites the pieces of the one before it. */
typedef enum vise_step_kind {
    VISE_STEP_SPLIT,        /* at places known by heart */
    VISE_STEP_CUT,          /* at matches */
    VISE_STEP_BERT,         /* white space vanishes, punctuation stands alone */
    VISE_STEP_PREFIX_SPACE, /* a space in front of a piece that has none */
    VISE_STEP_MARK_SPACES,  /* spaces become U+2581, and one is put in front */
    VISE_STEP_SPELL_BYTES   /* bytes become the characters that stand for them */
} vise_step_kind;

typedef enum vise_prepend { VISE_PREPEND_NEVER, VISE_PREPEND_FIRST, VISE_PREPEND_ALWAYS } vise_prepend;

typedef struct vise_step {
    vise_step_kind kind;
    vise_split split;     /* SPLIT */
    vise_cut cut;         /* CUT */
    vise_regex *regex;    /* CUT; owned, or NULL */
    vise_prepend prepend; /* MARK_SPACES */
} vise_step;

/* What the post-processor makes of one text or two: special tokens and the texts themselves. */
#define VISE_TEMPLATE_FIRST  (-1)
#define VISE_TEMPLATE_SECOND (-2)
typedef struct vise_template {
    int32_t ids[VISE_TEMPLATE_MAX]; /* or one of the above */
    uint8_t types[VISE_TEMPLATE_MAX];
    size_t count; /* 0: the texts alone */
} vise_template;

typedef enum vise_model_kind { VISE_MODEL_BPE, VISE_MODEL_WORDPIECE } vise_model_kind;

/* What one thread needs while it tokenizes. */
typedef struct vise_text_scratch {
    vise_word_cache *cache;
    vise_bpe_scratch *bpe;
    vise_regex_scratch *regex;
    vise_normal_scratch normal;
    vise_buf word;
    vise_buf normalized[2];
    vise_buf step[VISE_STEPS_MAX];
    struct vise_text_scratch *next; /* of those at rest */
} vise_text_scratch;

struct vise_tokenizer {
    char *folder; /* NULL: made from a text */
    char *name, *config; /* of such a one: where it is from, and its tokenizer_config.json; NULL: none */
    vise_vocab vocab;
    vise_model_kind kind;
    vise_bpe bpe;
    vise_wordpiece wordpiece;
    vise_arena *arena; /* of texts that are no tokens */
    vise_added raw;    /* added tokens that are found in the text as it is */
    vise_added normal; /* and those found behind the normalizers */
    vise_normal normals[VISE_STEPS_MAX];
    size_t n_normals;
    vise_step steps[VISE_STEPS_MAX];
    size_t n_steps;
    bool *is_added;    /* [vocab.size]: added tokens stand for their own text */
    bool *is_special;  /* [vocab.size]: added tokens that are no text to a reader */
    int32_t unk;       /* -1: none */
    bool spells_bytes; /* characters of tokens stand for bytes (ByteLevel) */
    bool marks_space;  /* U+2581 stands for a space */
    bool prepends;     /* a character is put in front of a text */
    bool loses_text;   /* normalizers or pre-tokenizers change or drop characters: tokens do not tell bytes */
    int32_t bos;
    vise_template single, pair;
    uint8_t classes[VISE_CHAR_TABLE];
    uint8_t flags[VISE_FLAG_TABLE];

    pthread_mutex_t lock; /* of resting */
    vise_text_scratch *resting;
};

VISE_MUST_USE vise_status vise_text_scratch_new(vise_text_scratch **out, vise_error *err);
void vise_text_scratch_free(vise_text_scratch *scratch);

/* Fills a zeroed tokenizer from the text of a tokenizer.json. name opens every error. */
VISE_MUST_USE vise_status vise_tokenizer_parse(vise_tokenizer *tokenizer, const char *name, const char *text,
                                               size_t length, vise_error *err);
/* Runs the normalizers over text; *out and *out_length are text itself or lie in the scratch. */
VISE_MUST_USE vise_status vise_normalize(const vise_tokenizer *tokenizer, vise_text_scratch *scratch,
                                         const char *text, size_t length, const char **out,
                                         size_t *out_length, vise_error *err);
/* ---- reading ----------------------------------------------------------------------------------------- */

typedef struct vise_tokenizer_reader {
    vise_tokenizer *tokenizer;
    const char *name; /* the file, for errors */
    vise_error *err;
} vise_tokenizer_reader;

/* NULL for a missing member, and for null. */
const cJSON *vise_reader_member(const cJSON *object, const char *key);
VISE_MUST_USE vise_status vise_reader_unsupported(const vise_tokenizer_reader *r, const char *what,
                                                  const char *type);
VISE_MUST_USE vise_status vise_reader_id(const vise_tokenizer_reader *r, const cJSON *item, const char *what,
                                         int32_t *id);
/* A copy that lives as long as the tokenizer. */
VISE_MUST_USE vise_status vise_reader_keep(const vise_tokenizer_reader *r, const char *text,
                                           const char **kept, size_t *length);
/* Components of tokenizer.json, of their types; Sequences are taken apart before. */
VISE_MUST_USE vise_status vise_reader_normal(vise_tokenizer_reader *r, const cJSON *component,
                                             const char *type);
VISE_MUST_USE vise_status vise_reader_step(vise_tokenizer_reader *r, const cJSON *component,
                                           const char *type);
VISE_MUST_USE vise_status vise_reader_post(vise_tokenizer_reader *r, const cJSON *component,
                                           const char *type);
VISE_MUST_USE vise_status vise_reader_added(vise_tokenizer_reader *r, const cJSON *list, size_t n);
/* Adds a pre-tokenizer; the tokenizer owns its regular expression from here on, whatever the outcome. */
VISE_MUST_USE vise_status vise_reader_add_step(vise_tokenizer_reader *r, vise_step step);

/* Everything but the model, from a parsed tokenizer.json: `model` reads that (NULL: from json's "model") and must
 * leave room for n_added tokens in the vocabulary. */
typedef vise_status (*vise_model_reader)(vise_tokenizer_reader *r, void *context, size_t n_added);
VISE_MUST_USE vise_status vise_reader_run(vise_tokenizer_reader *r, const cJSON *json,
                                          vise_model_reader model, void *context);
/* Makes the vocabulary for `count` tokens with ids up to `highest`, and n_added behind them. */
VISE_MUST_USE vise_status vise_reader_make_vocab(vise_tokenizer_reader *r, size_t count, int32_t highest,
                                                 size_t n_added);

/* The same from an object of tokens and ids, which it is filled with. */
VISE_MUST_USE vise_status vise_reader_vocab(vise_tokenizer_reader *r, const cJSON *vocab, size_t n_added);

/* A folder without tokenizer.json: tokenizer.model (sentencepiece), vocab.json with merges.txt (GPT-2) or vocab.txt
 * (BERT). *found is false when there is none of them. */
VISE_MUST_USE vise_status vise_tokenizer_from_folder(const char *folder, bool *found, vise_tokenizer **out,
                                                     vise_error *err);
/* A tokenizer with empty tables and its locks, to be filled and closed. */
VISE_MUST_USE vise_status vise_tokenizer_new(vise_tokenizer **out, vise_error *err);

#endif
