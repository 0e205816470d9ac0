/* What a tokenizer is made of, for the reading of tokenizer.json (tokenizer_json.c) and its use
 * (tokenizer.c). */
#ifndef VISE_TEXT_TOKENIZER_INTERNAL_H
#define VISE_TEXT_TOKENIZER_INTERNAL_H

#include <pthread.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/mem.h"
#include "text/added.h"
#include "text/bpe.h"
#include "text/split.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocab.h"

#define VISE_STEPS_MAX 8

/* Normalizers run one after another over what stands between added tokens. */
typedef enum vise_normal_kind { VISE_NORMAL_PREPEND, VISE_NORMAL_REPLACE } vise_normal_kind;

typedef struct vise_normal {
    vise_normal_kind kind;
    const char *pattern; /* REPLACE */
    size_t pattern_length;
    const char *content;
    size_t content_length;
} vise_normal;

/* Pre-tokenizers, too: each cuts or rewrites the pieces of the one before it. */
typedef enum vise_step_kind {
    VISE_STEP_SPLIT,
    VISE_STEP_PREFIX_SPACE, /* a space in front of a piece that has none */
    VISE_STEP_MARK_SPACES   /* spaces become U+2581, and one is put in front */
} vise_step_kind;

typedef enum vise_prepend { VISE_PREPEND_NEVER, VISE_PREPEND_FIRST, VISE_PREPEND_ALWAYS } vise_prepend;

typedef struct vise_step {
    vise_step_kind kind;
    vise_split split;     /* SPLIT */
    vise_prepend prepend; /* MARK_SPACES */
} vise_step;

/* What one thread needs while it tokenizes. */
typedef struct vise_text_scratch {
    vise_bpe_scratch *bpe;
    vise_buf normal[2];
    vise_buf step[VISE_STEPS_MAX];
    struct vise_text_scratch *next; /* of those at rest */
} vise_text_scratch;

struct vise_tokenizer {
    vise_vocab vocab;
    vise_bpe bpe;
    vise_arena *arena; /* of texts that are no tokens */
    vise_added raw;    /* added tokens that are found in the text as it is */
    vise_added normal; /* and those found behind the normalizers */
    vise_normal normals[VISE_STEPS_MAX];
    size_t n_normals;
    vise_step steps[VISE_STEPS_MAX];
    size_t n_steps;
    bool *is_added;   /* [vocab.size]: added tokens stand for their own text */
    bool marks_space; /* U+2581 stands for a space */
    bool prepends;    /* a character is put in front of a text */
    int32_t bos;
    uint8_t classes[VISE_CHAR_TABLE];

    pthread_mutex_t lock; /* of resting */
    vise_text_scratch *resting;
};

/* Fills a zeroed tokenizer from the text of a tokenizer.json. name opens every error. */
VISE_MUST_USE vise_status vise_tokenizer_parse(vise_tokenizer *tokenizer, const char *name, const char *text,
                                               size_t length, vise_error *err);
/* Runs the normalizers over text; *out and *out_length are text itself or lie in one of the buffers. */
VISE_MUST_USE vise_status vise_normalize(const vise_tokenizer *tokenizer, vise_buf buffers[2],
                                         const char *text, size_t length, const char **out,
                                         size_t *out_length, vise_error *err);
/* Without a file: for tests and fuzzing. */
VISE_MUST_USE vise_status vise_tokenizer_from_text(const char *name, const char *text, size_t length,
                                                   vise_tokenizer **out, vise_error *err);

#endif
