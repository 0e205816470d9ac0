/* The plan: what a run will do, from metadata alone. Every run starts with the same plan that `vise plan`
 * prints; it refuses what could only fail later and fixes output tensors, shards, bytes and memory before a
 * weight is read.
 */
#ifndef VISE_PIPELINE_PLAN_H
#define VISE_PIPELINE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "formats/layout.h"
#include "formats/sink.h"
#include "model/model.h"
#include "pipeline/pass.h"

#define VISE_PASSES_MAX 16

typedef struct vise_text_source {
    const char *path; /* NULL: none */
    int64_t length;   /* VISE_UNSET_INT: the smaller of max positions and 2048 */
    int64_t samples;  /* VISE_UNSET_INT: calibration 128, evaluation all */
    int64_t skip;
    bool random;
    uint64_t seed;
    const char *protocol; /* of evaluation (text/protocol.h); NULL: the contract's windows */
    int64_t stride;       /* 0 or less: not given */
    bool bos;             /* in front of the text */
} vise_text_source;

typedef struct vise_goals { /* NaN or VISE_UNSET_SIZE: not asked */
    double max_perplexity_ratio;
    double max_perplexity;
    double max_kl;
    double min_top1_agreement;
    double min_accuracy; /* of labels or choices */
    double min_cosine;   /* of embeddings, the mean */
    uint64_t max_bytes;
} vise_goals;

/* What was asked: by a recipe, or by one pass's command line. */
typedef struct vise_request {
    const char *input;
    vise_output output;
    struct {
        const vise_pass *pass;
        void *config;
    } passes[VISE_PASSES_MAX];
    size_t n_passes;
    vise_text_source calibration, evaluation;
    vise_goals goals;
    const char *device;
    uint64_t memory_bytes; /* bound of the resident set; 0: none */
    int threads;           /* 0: all */
    uint64_t seed;
    const char *report_path; /* NULL: OUT/report.json, or OUT.report.json for a one-file OUT */
    const char
        *recipe_text; /* of the recipe, or of a command line's equivalent: part of the journal's identity */
} vise_request;

/* Stored tensors of one output weight. */
typedef struct vise_planned_parts {
    vise_part parts[VISE_PARTS_MAX];
    int n_parts;
    size_t ids[VISE_PARTS_MAX]; /* of the sink */
    /* GGUF: where the weight stands in a tensor that experts share, and which of its bytes are stored (end 0: all;
     * no part at all: none). */
    uint64_t base, begin, end;
    bool plus_one; /* GGUF: one is added to what is stored */
} vise_planned_parts;

/* Pool bytes that a run takes at least: the greatest of its phases. */
typedef struct vise_plan_memory {
    uint64_t stream_weights; /* row tiles in flight, packing queues */
    uint64_t
        block; /* a calibrated block: weights, codes, masks, statistics, scratch of measuring and solving */
    uint64_t survey; /* a block that is measured for a budget */
    uint64_t scaling; /* a block whose inputs are scaled */
    uint64_t evaluate;
    uint64_t least;       /* the greatest of these */
    uint64_t activations; /* of the calibration text when kept in memory; spilled to disk otherwise */
} vise_plan_memory;

struct vise_units;

typedef struct vise_plan {
    vise_model *model; /* owned */
    const vise_request *request;
    vise_output output; /* the request's, with what the passes' options say of it */
    vise_arena *arena;
    vise_pass_run runs[VISE_PASSES_MAX];
    size_t n_runs;
    int threads;
    size_t count;              /* of logical tensors, = model->count */
    vise_planned *planned;     /* [count] */
    vise_planned_parts *parts; /* [count] */
    /* [count], and behind them modules that only loaders know: the tied head, which has no tensor of its own, and other
     * names of what a file calls by an old one. */
    vise_spelling *spelling;
    size_t n_spelling;
    size_t *order;             /* [count]: output order: before the blocks, block by block, after them */
    const vise_layout *layout;
    struct vise_plan_gguf *gguf; /* of layout gguf; NULL: another */
    bool packed;
    unsigned needs;      /* union of what the methods need */
    unsigned inputs;     /* bit i: some calibrated pass works on linears of input i */
    int last_calibrated; /* last layer that calibrated passes touch; -1: no pass needs the network */
    size_t calibration_length, evaluation_length;
    uint64_t bytes_before; /* of weight files, as they are */
    uint64_t bytes_after;  /* of weight files before packing, headers included */
    vise_plan_memory memory;
    /* A run whose pass has a budget: it is planned with one scheme for all, then measured, then planned anew. */
    vise_pass_run *budgeted; /* NULL: none has */
    unsigned survey_inputs;  /* bit i: some weight of input i is measured */
    int survey_last;         /* last layer with such a weight; -1: none */
    struct vise_units *units; /* of that run: what it chooses for (pipeline/units.h) */
    struct {                  /* of a plan that a choice was made for; NaN: none was */
        double reached;       /* bits of a weight, or bytes of all files, as the budget counts them */
        double kl;            /* what the choice is expected to cost, nats per token */
    } target;
    struct {                  /* scales of input channels (pipeline/scaling.h) */
        vise_pass_run *run;   /* whose method finds them; NULL: --smooth, or nobody */
        unsigned inputs, needs;
        int last; /* last layer that is scaled; -1: none is */
    } scaling;
    struct {                  /* of the key-value cache (pipeline/plan_cache.h) */
        const vise_cache_type *type; /* as the output says; NULL: it is not quantized */
        bool made;                   /* by this run: its scales are tensors of their own, behind those of each layer */
        size_t (*ids)[2];            /* [layers]: of the sink; of keys, and of values */
    } cache;
    size_t probe_windows;     /* of the calibration text, that go through the model once for every unit */
    double operations; /* multiply-adds x 2 of calibration and evaluation, estimated */
} vise_plan;

/* Opens the model and plans. The request must outlive the plan. */
VISE_MUST_USE vise_status vise_plan_make(const vise_request *request, vise_plan **out, vise_error *err);
/* The same with what a budget chose, [tensors of the model]. */
VISE_MUST_USE vise_status vise_plan_make_chosen(const vise_request *request, const vise_scheme *chosen,
                                                vise_plan **out, vise_error *err);
void vise_plan_free(vise_plan *plan);
/* Bytes of weight i as the plan's layout would store it in another scheme. */
VISE_MUST_USE vise_status vise_plan_bytes_as(const vise_plan *plan, size_t index, const vise_scheme *scheme,
                                             uint64_t *bytes, vise_error *err);
/* Declares every output tensor to the sink, in order, filling parts[].ids. */
VISE_MUST_USE vise_status vise_plan_declare(vise_plan *plan, vise_sink *sink, vise_error *err);
/* Tensors of GGUF files that are no weights: rotary factors. */
VISE_MUST_USE vise_status vise_plan_write_extras(const vise_plan *plan, vise_sink *sink, vise_error *err);
/* Metadata of the GGUF files that the plan writes; NULL: it writes none. */
const struct vise_gguf_values *vise_plan_gguf_values(const vise_plan *plan);
/* True when the output is one file and no folder. */
bool vise_output_is_file(const vise_output *output);
/* Bytes of weight i as stored by the plan, all parts. */
uint64_t vise_plan_stored_bytes(const vise_plan *plan, size_t index);

/* Rows of a tile in which a weight is streamed: a multiple of VISE_TILE_ROWS and of the rows that its scheme encodes
 * together, by shape and scheme alone. */
int64_t vise_tile_rows(const vise_planned *planned);
/* Pool bytes of one worker's tile of weight i, and of copying one. */
size_t vise_plan_tile_bytes(const vise_plan *plan, size_t index);
/* True if the stream goes on to the output of the attention half when `input` of the layer is measured: at the MLP's
 * input, if anything behind it is left to do. */
bool vise_plan_finishes_half(const vise_plan *plan, int layer, vise_input input);
/* Fills plan->operations. */
void vise_plan_count_operations(vise_plan *plan);
/* Fills plan->memory. */
void vise_plan_measure_memory(vise_plan *plan);

struct vise_device_map;
/* For `vise plan`: a table for people, or one JSON document; with a device map (pipeline/device_map.h) unless NULL. */
VISE_MUST_USE vise_status vise_plan_print(vise_plan *plan, const struct vise_device_map *map, bool json, vise_buf *out,
                                          vise_error *err);

#endif
