/* Figures of what was scored: means with their errors, percentiles. */
#ifndef VISE_EVAL_FIGURES_H
#define VISE_EVAL_FIGURES_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "eval/eval.h"

/* Sums over the predictions of each window. */
typedef struct vise_window_sums {
    size_t windows;
    uint64_t *counted; /* [windows]: predictions */
    double *nll[2];    /* [windows]: the model's and the reference's */
    double *kl, *delta_p;
    double squares[2]; /* of the nll of every prediction */
    uint64_t predictions, agreed;
} vise_window_sums;

VISE_MUST_USE vise_status vise_window_sums_init(vise_window_sums *sums, size_t windows, vise_error *err);
void vise_window_sums_deinit(vise_window_sums *sums); /* also of zeroed ones */

/* VISE_EFORMAT when a sum is not finite; name is the model's. bytes of text, 0: unknown. */
VISE_MUST_USE vise_status vise_quality_of(const vise_window_sums *sums, int side, uint64_t bytes, const char *name,
                                          vise_quality *quality, vise_error *err);
/* kl and delta_p [sums->predictions] are sorted in place. */
void vise_divergence_of(const vise_window_sums *sums, float *kl, float *delta_p, vise_divergence *divergence);

#endif
