/* The prune pass: sets weights to zero, by a score. Zeros save bytes in packed shards (--pack) and in
 * transfer; no runtime computes faster with them, and the report does not claim it. */
#ifndef VISE_PRUNE_PRUNE_H
#define VISE_PRUNE_PRUNE_H

#include <math.h>

#include "pipeline/pass.h"

extern const vise_pass vise_pass_prune;

typedef struct vise_prune_config {
    const char *method;
    double sparsity;     /* NaN: not given */
    const char *pattern; /* "2:4"; NULL: unstructured */
    double damp;
    vise_texts include, exclude;
} vise_prune_config;

extern const vise_method vise_method_magnitude;
extern const vise_method vise_method_wanda;
extern const vise_method vise_method_sparsegpt;

/* What the methods share: the target of a run, and the planning of it. */
typedef struct vise_prune_target {
    vise_pattern pattern; /* 0:0 when unstructured */
    double sparsity;      /* fraction of each row that is pruned (sparsegpt: of each block of columns) */
} vise_prune_target;
VISE_MUST_USE vise_status vise_prune_target_of(const vise_prune_config *config, vise_prune_target *target,
                                               vise_error *err);
VISE_MUST_USE vise_status vise_prune_plan(vise_pass_run *run, vise_error *err);
/* Masks score [rows, cols] for the target into mask, and applies it to values. Weights already pruned (mask
 * bits 0 in `mask` on entry) have score 0 given by the caller. */
VISE_MUST_USE vise_status vise_prune_rows(const vise_prune_target *target, const float *score, int64_t rows,
                                          int64_t cols, float *values, uint8_t *mask, vise_error *err);

#endif
