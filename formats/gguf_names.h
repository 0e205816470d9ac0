/* How llama.cpp names tensors and how it stores them otherwise than the model: tables of families, read both
 * ways. */
#ifndef VISE_FORMATS_GGUF_NAMES_H
#define VISE_FORMATS_GGUF_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#define VISE_GGUF_MODULE_MAX 160

/* Which heads formats/gguf_order.h counts for a module's rows. */
typedef enum vise_gguf_rows {
    VISE_GGUF_ROWS_PLAIN,
    VISE_GGUF_ROWS_Q,  /* pairs, by attention heads */
    VISE_GGUF_ROWS_KV, /* pairs, by key-value heads */
    VISE_GGUF_ROWS_QKV /* fused, by key-value heads */
} vise_gguf_rows;

/* What else is particular about a module. */
enum {
    VISE_GGUF_FLOAT = 1 << 0,      /* always float32 */
    VISE_GGUF_PLUS_ONE = 1 << 1,   /* a norm whose code adds one to the weight: the file has the sum */
    VISE_GGUF_STACKED = 1 << 2,    /* of an expert: those of a layer are one tensor of three dimensions */
    VISE_GGUF_POSITIONS = 1 << 3,  /* rows in front of position 0 are left out */
    VISE_GGUF_TRANSPOSED = 1 << 5, /* a matrix whose columns are the file's rows */
    VISE_GGUF_VOCAB = 1 << 4       /* rows behind the tokenizer's last token are left out */
};

typedef struct vise_gguf_module {
    const char *gguf; /* "blk.%d.attn_q", or without a layer "token_embd" */
    const char *hf;   /* "model.layers.%d.self_attn.q_proj"; a second %d counts experts */
    vise_gguf_rows rows;
    unsigned how; /* VISE_GGUF_*; FLOAT, PLUS_ONE, ... */
} vise_gguf_module;

/* Values of the metadata that describe the network, each a key below the architecture's name. */
typedef enum vise_gguf_key {
    VISE_GGUF_KEY_END,
    VISE_GGUF_KEY_BLOCKS,
    VISE_GGUF_KEY_CONTEXT,
    VISE_GGUF_KEY_EMBEDDING,
    VISE_GGUF_KEY_FFN,
    VISE_GGUF_KEY_HEADS,
    VISE_GGUF_KEY_KV_HEADS,
    VISE_GGUF_KEY_ROPE_SCALING, /* type, factor and what belongs to them */
    VISE_GGUF_KEY_ROPE_SECTIONS, /* of positions in time, height, width */
    VISE_GGUF_KEY_ROPE_BASE,
    VISE_GGUF_KEY_ROPE_BASE_LOCAL,
    VISE_GGUF_KEY_RMS_EPS,
    VISE_GGUF_KEY_NORM_EPS,
    VISE_GGUF_KEY_EXPERTS,
    VISE_GGUF_KEY_EXPERTS_USED,
    VISE_GGUF_KEY_HEAD_DIM,        /* of keys and values */
    VISE_GGUF_KEY_HEAD_DIM_STORED, /* the same, where config.json says it */
    VISE_GGUF_KEY_FILE_TYPE,
    VISE_GGUF_KEY_VOCAB,
    VISE_GGUF_KEY_ROPE_DIM,
    VISE_GGUF_KEY_ROPE_CONTEXT,
    VISE_GGUF_KEY_EXPERT_FFN,
    VISE_GGUF_KEY_SHARED_FFN,
    VISE_GGUF_KEY_CAUSAL,  /* false */
    VISE_GGUF_KEY_POOLING, /* of sentence-transformers' modules.json */
    VISE_GGUF_KEY_LABELS,
    VISE_GGUF_KEY_ATTENTION_CAP,
    VISE_GGUF_KEY_LOGIT_CAP,
    VISE_GGUF_KEY_WINDOW,
    VISE_GGUF_KEY_WINDOW_OR_ZERO,
    VISE_GGUF_KEY_PARALLEL,
    VISE_GGUF_KEY_LAYOUT /* "jploski", as Falcon's files say of their rows */
} vise_gguf_key;

/* Which tokenizers the family's files may have. */
typedef enum vise_gguf_vocab {
    VISE_GGUF_VOCAB_LLAMA,  /* tokenizer.model, else tokenizer.json with byte fallback, else BPE over bytes */
    VISE_GGUF_VOCAB_PIECES, /* tokenizer.model, else BPE over bytes */
    VISE_GGUF_VOCAB_GEMMA,  /* the same; no space in front of texts */
    VISE_GGUF_VOCAB_PHI3,   /* tokenizer.model with the tokens of tokenizer.json */
    VISE_GGUF_VOCAB_BYTES,  /* BPE over bytes */
    VISE_GGUF_VOCAB_WORDS,  /* WordPiece */
    VISE_GGUF_VOCAB_ROBERTA, /* BPE over bytes; types of tokens are counted */
    VISE_GGUF_VOCAB_UNIGRAM  /* sentencepiece's unigrams: sentencepiece.bpe.model, else tokenizer.json */
} vise_gguf_vocab;

enum { VISE_GGUF_DROPPED = 4 };

typedef struct vise_gguf_family {
    const char *architecture; /* general.architecture */
    const char *model_type;   /* config.json */
    const char *class_name;   /* its "architectures" */
    const char *prefix;       /* of the names, which a file may lack: "bert."; NULL: none */
    bool within;              /* "language_model." in a name says that it is of a model of text among others */
    const vise_gguf_module *modules;
    size_t n_modules;
    const char *dropped[VISE_GGUF_DROPPED]; /* how names begin, behind the prefix, of what llama.cpp does not want */
    const vise_gguf_key *keys;
    vise_gguf_vocab vocab;
    /* Tensors that files of it have, and others of the architecture have not; or one that it alone lacks. NULL: none.
     * The last family that is told counts. */
    const char *told_by[2], *lacks;
    const char *classifier_name; /* class_name of a file with a head of labels; NULL: such a file is not read */
    bool has_qkv_bias; /* always, whatever config.json says */
    bool readable;     /* a GGUF file of it is shown as transformers' model */
    bool transposed;   /* some modules are */
    bool rope_freqs;   /* Llama 3's scaling is a tensor of factors */
    bool rope_factors; /* so are those for short and long texts */
} vise_gguf_family;

/* NULL: not a family that is known here (of_architecture: that can be read). */
const vise_gguf_family *vise_gguf_family_of(const char *architecture);
const vise_gguf_family *vise_gguf_families(size_t *count);
const vise_gguf_family *vise_gguf_family_of_model(const char *model_type);

/* Which of a family's modules a tensor is of. */
typedef struct vise_gguf_named {
    const vise_gguf_module *module; /* NULL: none, or dropped */
    int layer, expert;              /* -1: none */
    /* The model's tensor has no place in the file: how its name begins, one of the family's; "" for what code makes
     * and old files hold. NULL: it is not dropped. */
    const char *dropped;
} vise_gguf_named;

/* The other name of a tensor ("MODULE.weight" or "MODULE.bias"), written to name; its module, or NULL
 * when the family has none (name is undefined then). An expert's name becomes that of the stack; a stack's that of
 * one expert (-1: of none, and it has no name). */
const vise_gguf_module *vise_gguf_name_to_hf(const vise_gguf_family *family, const char *gguf, int expert,
                                             char name[VISE_GGUF_MODULE_MAX]);
vise_gguf_named vise_gguf_name_from_hf(const vise_gguf_family *family, const char *hf,
                                       char name[VISE_GGUF_MODULE_MAX]);

#endif
