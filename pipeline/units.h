/* What a budget chooses for: units of weights that get one scheme, and the bytes that each candidate makes of them.
 *
 * Linears that runtimes fuse into one matrix are a unit: those of a block that read one input (q, k and v; gate and
 * up), and all experts of a layer. In GGUF files, whose loaders fuse nothing, and where the pass lets them go
 * (vise_budget.split), every weight is a unit of its own, experts of a role aside. */
#ifndef VISE_PIPELINE_UNITS_H
#define VISE_PIPELINE_UNITS_H

#include "pipeline/plan.h"

struct vise_units {
    size_t count, candidates;
    size_t *of;        /* [tensors of the model]; SIZE_MAX: its scheme is given */
    uint64_t *bytes;   /* [count][candidates]; VISE_UNSET_SIZE: a weight of the unit cannot be stored as that */
    double *elements;  /* [count] */
    uint64_t given;    /* bytes that count, but are not chosen */
    double budgeted;   /* weights that a budget of bits counts, chosen and given */
    uint64_t least, most; /* bytes of the smallest and of the largest candidates */
};

/* In the plan's arena, from its layout. Refuses a budget below what the smallest candidates take; warns of one above
 * what the largest take. */
VISE_MUST_USE vise_status vise_units_make(struct vise_plan *plan, vise_error *err);
/* Bytes that the units may take, `excess` below what the budget says. */
uint64_t vise_units_budget(const struct vise_plan *plan, uint64_t excess);
/* The candidate with the most bytes that the units hold alike within the budget, or the smallest of each: [count]. */
void vise_units_even(const struct vise_plan *plan, size_t *choice);

#endif
