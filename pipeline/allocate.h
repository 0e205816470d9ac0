/* Choosing one option for each of many items, so that the sum of losses is small and the sum of bytes fits a budget: a
 * multiple-choice knapsack. The lower convex hull of every item's options is climbed in the order of loss saved per
 * byte, over all items; what the budget then leaves goes to the single steps that still fit and save most. At every
 * corner of the whole hull that is the optimum (Lagrange); between two, it misses it by less than the step that did
 * not fit. One option for all items is taken where it fits and loses less. */
#ifndef VISE_PIPELINE_ALLOCATE_H
#define VISE_PIPELINE_ALLOCATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

typedef struct vise_choice {
    uint64_t bytes;
    double loss; /* NaN: not to be had */
} vise_choice;

/* options [items][n]; chosen [items] becomes the option of each item. *least: the bytes that the smallest options take;
 * *fits is false, and the smallest are chosen, if the budget is below. An item without an option: VISE_EUSAGE. */
VISE_MUST_USE vise_status vise_allocate(const vise_choice *options, size_t items, size_t n, uint64_t budget,
                                        size_t *chosen, uint64_t *least, bool *fits, vise_error *err);

#endif
