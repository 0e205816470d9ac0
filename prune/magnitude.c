/* Magnitude pruning: the smallest |w| of every row, or of every group of a keep:group pattern. Compared
 * within a row, as Wanda does, so that the two differ in the score alone. */
#include "prune/prune.h"

static size_t magnitude_bytes(const vise_pass_run *run, int64_t rows, int64_t cols)
{
    (void)run;
    return (size_t)(rows * cols) * sizeof(float);
}

static vise_status magnitude_weight(vise_pass_run *run, vise_weight *tile, void *scratch, vise_error *err)
{
    vise_prune_target target;
    VISE_TRY(vise_prune_target_of(run->config, &target, err));
    float *score = scratch; /* [rows, cols] */
    vise_mask_score(tile->values, NULL, (size_t)(tile->rows * tile->cols), score);
    return vise_prune_rows(&target, score, tile->rows, tile->cols, tile->values, tile->mask, err);
}

const vise_method vise_method_magnitude = {
    .name = "magnitude",
    .summary = "smallest absolute value in each row",
    .plan = vise_prune_plan,
    .weight_bytes = magnitude_bytes,
    .weight = magnitude_weight,
};
