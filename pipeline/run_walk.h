/* The walk of a run: what the executor's files share. */
#ifndef VISE_PIPELINE_RUN_WALK_H
#define VISE_PIPELINE_RUN_WALK_H

#include "formats/sink.h"
#include "pipeline/plan.h"
#include "pipeline/session.h"
#include "pipeline/tile.h"

/* What became of a weight, for the report. */
typedef struct vise_outcome {
    vise_tile_loss loss;
    double proxy_loss, damp; /* NaN: not known */
    const char *note;        /* fallback taken while running, or NULL */
    bool outliers_counted;   /* calibration has shown its input */
    uint64_t outlier_columns; /* of it, that reach plan->outlier_threshold */
    double largest_input;     /* magnitude */
} vise_outcome;

typedef struct vise_walk {
    vise_plan *plan;
    vise_session *session;
    vise_sink *sink;
    vise_hasher *hasher;
    vise_hashed_file **inputs; /* of the input's weight files, in the source's order; they are the hasher's */
    vise_model *finished;      /* blocks that an interrupted run has finished, as a model; NULL: none */
    vise_windows calibration;
    vise_outcome *outcomes; /* [plan->count] */
    /* Inputs of experts that were measured; those that fewer tokens reached than they are wide, and none. */
    size_t experts, seldom, unseen;
    double pass_seconds[VISE_PASSES_MAX];
    double bytes_done, bytes_total; /* of the input, for progress */
} vise_walk;

/* Seconds of a monotonic clock. */
double vise_seconds(void);

/* True if a resumed run already has all parts of the weight. */
bool vise_walk_has(const vise_walk *walk, size_t index);
/* Moves one weight that needs no network. */
VISE_MUST_USE vise_status vise_walk_stream(vise_walk *walk, size_t index, vise_error *err);
/* Layers 0 .. plan->last_calibrated, with calibration, and everything in front of them; *next is the first of
 * plan->order that is left. */
VISE_MUST_USE vise_status vise_walk_blocks(vise_walk *walk, size_t *next, vise_error *err);

#endif
