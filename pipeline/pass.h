/* What a pass is. A descriptor in the table of passes (cli/passes.c): name, option rows, and the methods
 * among which `--method` chooses. A method says what it needs to know of the network and supplies hooks, all
 * optional; the executor (pipeline/run.h) walks over the blocks once and calls them.
 *
 * - plan: metadata only. For every selected weight, says what becomes of it; refuses what could only fail later.
 * - begin: once, before the walk.
 * - measure: a first walk over the weights, in row tiles, for what must be known of a whole weight: thresholds, ranges.
 * - weight: a pure map of a row tile of one weight, in any order, by any worker. For methods that need weights alone.
 * - group: the linears of a block that share one input, with the statistics of that input. In block order, groups in
 *   forward order.
 * - end: once, after the walk.
 *
 * A sparsity mask is an artifact: once a pass has pruned a weight its mask travels with it, and every later
 * pass leaves pruned weights at zero; the executor verifies it.
 */
#ifndef VISE_PIPELINE_PASS_H
#define VISE_PIPELINE_PASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"
#include "core/err.h"
#include "core/mem.h"
#include "model/forward.h"
#include "model/model.h"
#include "model/transform.h"
#include "pipeline/option.h"
#include "tensor/cache_type.h"
#include "tensor/mask.h"
#include "tensor/scheme.h"

/* ---- what becomes of a tensor ---------------------------------------------------------------------- */

typedef struct vise_planned {
    const vise_bound *bound;
    size_t index;       /* in the model */
    uint64_t passes;    /* bit i: pass i works on it */
    vise_dtype dtype;   /* output: stored dtype of a plain tensor; what a quantized one decodes to */
    vise_dtype scale_dtype; /* of the scales of a quantized one: dtype, unless the layout fixes it. Known when the
                               layout is chosen, behind every hook `plan` */
    vise_scheme scheme; /* output; type NULL: plain */
    bool carried;       /* no pass works on it and its stored form stays: bytes or codes are copied */
    bool masked;        /* some pass prunes it */
    bool may_be_sparse; /* none does, but zeros of the input, if they are many, are the mask of an earlier run */
    double sparsity;    /* that the passes aim at, 0 when dense */
    double outlier_threshold; /* columns of its input that reach it are counted for the report; 0: they are not */
    const char *note;   /* fallback taken, for plan and report; NULL: none. In the plan's arena */
    int note_pass;      /* the pass that took it */
} vise_planned;

/* The option row of what vise_rotation_or reads, for the passes that have it. */
#define VISE_ROTATE_OPTION(place)                                                                                      \
    {.name = "rotate",                                                                                                 \
     .type = VISE_OPTION_CHOICE,                                                                                       \
     .offset = (place),                                                                                                \
     .choices = "none|r1|r1+r2",                                                                                       \
     .initial = "none",                                                                                                \
     .value = "WHICH",                                                                                                 \
     .help = "first multiply weights by orthogonal matrices that leave the model's function as it is and spread "      \
             "outliers: the residual stream (r1), and the values of every head (r2); norms are folded, a tied head "   \
             "becomes a weight of its own"}

/* ---- a weight in flight ---------------------------------------------------------------------------- */

/* Rows [row0, row0 + rows) of a weight. A whole weight has row0 0. */
typedef struct vise_weight {
    const vise_planned *plan;
    int64_t row0, rows, cols;
    float *values;   /* [rows, cols] */
    uint8_t *mask;   /* [rows, mask row bytes], 1 = kept; NULL when nothing is pruned */
    vise_qweight *q; /* carved for plan->scheme when that quantizes; NULL otherwise. A quantizing hook fills
                        it and sets values to its decoding */
    bool quantized;  /* set by the hook that filled q */
    /* Written by group hooks for the report; NaN when not known. */
    double loss;      /* proxy loss: 1/2 tr((W - Q) H (W - Q)^T) / tokens */
    double damp;      /* damping fraction that the factorization took */
    const char *note; /* fallback taken while running; a constant string or NULL */
} vise_weight;

/* Schemes among which a run chooses by measurement, so that what it stores fits (pipeline/survey.h). */
typedef struct vise_budget {
    vise_scheme *candidates;       /* [count], in the plan's arena */
    size_t count;                  /* 0: the schemes are given */
    bool found;                    /* nobody named the candidates: those that the layout does not hold are left out */
    bool split;                    /* weights that runtimes fuse may differ */
    double bits;                   /* of a selected weight with its scales, at most; NaN: not given */
    uint64_t bytes;                /* of all weight files, at most; VISE_UNSET_SIZE: not given */
} vise_budget;

/* Linears with one input, in a block. */
typedef struct vise_group {
    int layer;
    vise_input input;
    vise_input_stats *stats; /* gram may be destroyed only by the last pass that needs it: see stats_shared */
    bool stats_shared;       /* another pass will read the statistics after this one */
    vise_weight **weights;
    size_t count;
} vise_group;

/* ---- what a pass gets ------------------------------------------------------------------------------ */

struct vise_method;
struct vise_gguf_importance; /* formats/gguf_meta.h */
struct vise_output;
struct vise_pass;

typedef struct vise_pass_run {
    const struct vise_pass *pass;
    const struct vise_method *method;
    int index;          /* position among the run's passes */
    const void *config; /* the pass's option struct */
    void *state;        /* the method's own, made by begin, freed by end */
    const vise_model *model;
    vise_planned *planned; /* [model->count] */
    bool *selected;        /* [model->count]: tensors that the selectors give to this pass */
    vise_budget budget;
    bool *measured;            /* [model->count]: set by plan where the budget chooses the scheme */
    const vise_scheme *chosen; /* [model->count]: what it chose; NULL: it has not yet */
    bool calibrated;       /* the run has calibration text */
    uint64_t seed;
    unsigned needs;    /* VISE_NEED_*: the method's, to which plan may add */
    int threads;       /* that will work, known while planning too */
    const struct vise_gguf_importance *importance; /* of columns, set by plan; NULL: none is given */
    vise_arena *arena; /* of the plan: texts of notes */
    vise_pool *pool;   /* these three are NULL while planning */
    vise_workers *workers;
    vise_backend *backend;
} vise_pass_run;

/* VISE_NEED_CROSS: the model as it was is walked beside the one that is compressed; RESIDUAL goes with it. */
enum {
    VISE_NEED_NORMS = VISE_STAT_NORMS,
    VISE_NEED_GRAM = VISE_STAT_GRAM,
    VISE_NEED_CROSS = VISE_STAT_CROSS,
    VISE_NEED_RESIDUAL = VISE_STAT_RESIDUAL
};

typedef struct vise_method {
    const char *name;    /* "gptq" */
    const char *summary; /* one line for help, with the paper */
    unsigned needs;      /* VISE_NEED_*; 0: weights alone */
    vise_status (*plan)(vise_pass_run *run, vise_error *err);
    vise_status (*begin)(vise_pass_run *run, vise_error *err);
    /* Pool bytes that group needs beyond the weights and statistics, for the largest group of the model. */
    uint64_t (*group_bytes)(const vise_pass_run *run);
    /* Bytes of scratch per worker that weight needs for a tile. */
    size_t (*weight_bytes)(const vise_pass_run *run, int64_t rows, int64_t cols);
    bool (*wants_measure)(
        const vise_pass_run *run); /* asked before the walk, and again after each measured; NULL: never */
    vise_status (*measure)(vise_pass_run *run, const vise_weight *tile, vise_error *err);
    vise_status (*measured)(vise_pass_run *run, vise_error *err); /* after the walk of measure */
    vise_status (*weight)(vise_pass_run *run, vise_weight *tile, void *scratch, vise_error *err);
    vise_status (*group)(vise_pass_run *run, vise_group *group, vise_error *err);
    /* What each weight of a group would lose as each of n schemes: losses [weights][n], the error of the linear's
     * output over the output, both squared, of a sample of its rows; NaN for a scheme that cannot hold it. probed [w]
     * becomes what schemes[probe[w]] leaves of weight w, whole. Before begin, on the model as it is. NULL: the method
     * does not measure. trial_bytes: pool bytes that it takes, for the largest group. */
    vise_status (*trial)(vise_pass_run *run, vise_group *group, const vise_scheme *schemes, size_t n, double *losses,
                         const size_t *probe, float *const *probed, vise_error *err);
    uint64_t (*trial_bytes)(const vise_pass_run *run);
    /* Scales of the input's channels for a group, before begin, on the model as it is: scale [width] from size [width],
     * the root mean squares of the channels; equal sizes must get equal scales. The statistics are Gram matrices.
     * NULL: the method does not scale. Takes no more of the pool than group_bytes. */
    vise_status (*scale)(vise_pass_run *run, const vise_group *group, const float *size, float *scale,
                         vise_error *err);
    void (*end)(vise_pass_run *run); /* frees state; called whenever begin was, also after failures */
} vise_method;

typedef struct vise_pass {
    const char *name; /* "quant" */
    const char *summary;
    const vise_option *options;
    size_t n_options;
    size_t config_size;
    const vise_method *const *methods; /* NULL-terminated */
    /* Chooses the method for these options (explicit or by default); VISE_EUSAGE says what is missing. */
    vise_status (*choose)(const void *config, bool calibrated, const vise_method **method, vise_error *err);
    /* The budget that the options give, if any; NULL: the pass knows none. Candidates go to the arena. */
    vise_status (*budget)(const void *config, vise_arena *arena, vise_budget *budget, vise_error *err);
    /* The selectors (vise_texts) within the option struct. */
    size_t include_offset, exclude_offset;
    bool every_tensor; /* without --include the pass works on every float tensor, not on the blocks' linears
                          alone */
    /* Options that belong to the run as a whole, asked before the model is opened: dequantize, a rotation. NULL:
     * none. */
    vise_status (*output)(const void *config, struct vise_output *output, vise_error *err);
    const char *example; /* a command line for help */
} vise_pass;

/* What the output is, as a whole. */
typedef struct vise_output {
    const char *path;
    const char *layout; /* NULL: by scheme, else the input's */
    const char *runtime; /* that must load it (pipeline/runtime.h); NULL: none is named */
    bool pack, unpack;
    bool dequantize;
    vise_rotation rotation; /* of the input, in front of all passes */
    double smooth; /* alpha of SmoothQuant, likewise, behind the rotation; 0: none */
    const vise_cache_type *cache; /* what the key-value cache is calibrated for; NULL: nothing */
    bool replace, resume;
    vise_texts leave_out; /* selectors of what a GGUF file does without, having no name for it */
    const char *offload_folder; /* for accelerate's disk offload, beside the output; NULL: none */
    uint64_t max_shard_bytes; /* 0: one file */
    uint32_t gguf_file_type;  /* of a mixture of GGUF types; 0: that of most weights */
} vise_output;

#endif
