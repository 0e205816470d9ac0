/* Wanda (Sun et al. 2023, arXiv:2306.11695): score |w_ij| * ||x_j||_2, with the norm of input feature j over
 * the calibration tokens; the lowest scores within every output row, or within every group of a keep:group
 * pattern, are pruned. No weight is updated. */
#include "prune/prune.h"

#include <math.h>

#define WANDA_TILE_ROWS 64 /* scored and masked by one task */

typedef struct wanda_job {
    const vise_prune_target *target;
    const vise_weight *weight;
    const float *norm; /* [cols] */
    float *scores;     /* [workers][WANDA_TILE_ROWS, cols] */
} wanda_job;

static uint64_t widest_selected(const vise_pass_run *run)
{
    int64_t widest = 0;
    for (size_t i = 0; i < run->model->count; i++) {
        int64_t cols = run->planned[i].bound->tensor->cols;
        if (run->selected[i] && cols > widest)
            widest = cols;
    }
    return (uint64_t)widest;
}

static uint64_t wanda_group_bytes(const vise_pass_run *run)
{
    uint64_t workers = (uint64_t)run->threads;
    return widest_selected(run) * sizeof(float) * (1 + workers * WANDA_TILE_ROWS);
}

static vise_status wanda_tile(void *context, size_t index, int worker, vise_error *err)
{
    const wanda_job *job = context;
    const vise_weight *weight = job->weight;
    int64_t cols = weight->cols;
    int64_t row0 = (int64_t)index * WANDA_TILE_ROWS;
    int64_t rows = weight->rows - row0 < WANDA_TILE_ROWS ? weight->rows - row0 : WANDA_TILE_ROWS;
    float *values = weight->values + row0 * cols; /* [rows, cols] */
    float *score = job->scores + (int64_t)worker * WANDA_TILE_ROWS * cols;
    for (int64_t i = 0; i < rows; i++)
        vise_mask_score(values + i * cols, job->norm, (size_t)cols, score + i * cols);
    return vise_prune_rows(job->target, score, rows, cols, values,
                           weight->mask + (size_t)row0 * vise_mask_row_bytes(cols), err);
}

static vise_status wanda_group(vise_pass_run *run, vise_group *group, vise_error *err)
{
    vise_prune_target target;
    VISE_TRY(vise_prune_target_of(run->config, &target, err));
    const int64_t cols = group->stats->width;
    const size_t tile_floats = (size_t)(WANDA_TILE_ROWS * cols);
    float *norm = NULL, *scores = NULL;
    vise_status status =
        vise_pool_take(run->pool, (size_t)cols * sizeof(float), "input norms", (void **)&norm, err);
    if (status == VISE_OK)
        status =
            vise_pool_take(run->pool, (size_t)vise_workers_count(run->workers) * tile_floats * sizeof(float),
                           "pruning scores", (void **)&scores, err);
    if (status == VISE_OK) {
        for (int64_t j = 0; j < cols; j++)
            norm[j] = (float)sqrt(group->stats->square_sum[j]);
        for (size_t w = 0; w < group->count && status == VISE_OK; w++) {
            wanda_job job = {.target = &target, .weight = group->weights[w], .norm = norm, .scores = scores};
            size_t tiles = (size_t)((job.weight->rows + WANDA_TILE_ROWS - 1) / WANDA_TILE_ROWS);
            status = vise_parallel(run->workers, tiles, wanda_tile, &job, err);
        }
    }
    vise_pool_give(run->pool, scores);
    vise_pool_give(run->pool, norm);
    return status;
}

const vise_method vise_method_wanda = {
    .name = "wanda",
    .summary = "smallest |weight| x norm of its input in each row (arXiv:2306.11695); needs calibration text",
    .needs = VISE_NEED_NORMS,
    .plan = vise_prune_plan,
    .group_bytes = wanda_group_bytes,
    .group = wanda_group,
};
