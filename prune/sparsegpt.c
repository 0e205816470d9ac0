/* SparseGPT (Frantar and Alistarh 2023, arXiv:2301.00774): weights are pruned column by column, and the error of each
 * is made up for by the columns behind it, weighted by the inverse Gram matrix of the linear's input (compute/solve.h).
 *
 *   H = X^T X + damp * mean(diag) * I;  U upper with H^-1 = U^T U
 *   score of w_rj = (w_rj / U_jj)^2        what pruning it adds to the squared error of the output
 *
 * Unstructured: of every 128 columns, all rows together, the lowest scores are pruned, judged by the weights as the
 * columns before have updated them; so rows differ in sparsity. keep:group: the lowest of each group of a row when the
 * solver reaches it. A Gram matrix that does not factorize at any damping leaves the group to Wanda's scores, and the
 * report says so.
 */
#include "prune/prune.h"

#include <math.h>

#include "compute/damp.h"

enum { LANES = VISE_SOLVE_LANES, BLOCK = 128, SCORE_ROWS = 64, GROUP_MAX = 64 };

typedef struct sparse_job {
    const vise_prune_target *target;
    vise_weight *weight;
    const float *u; /* [cols, cols] */
    size_t stride;  /* bytes of a row of the mask */
    /* Of a block of columns, unstructured. */
    int64_t first, width;
    float *score;       /* [rows, width] */
    uint8_t *selection; /* one row of rows * width bits */
} sparse_job;

static int64_t pattern_block(const vise_prune_target *target)
{
    return target->pattern.group > 0 ? BLOCK / target->pattern.group * target->pattern.group : BLOCK;
}

static void clear_bit(const sparse_job *job, int64_t row, int64_t col)
{
    job->weight->mask[(size_t)row * job->stride + (size_t)(col >> 3)] &= (uint8_t)~(1u << (col & 7));
}

/* project: the mask alone. */
static void keep_or_zero(void *context, int64_t row0, int n, int64_t col, const float *values, float *projected)
{
    const sparse_job *job = context;
    const uint8_t *bits = job->weight->mask + (size_t)row0 * job->stride + (size_t)(col >> 3);
    for (int lane = 0; lane < n; lane++)
        projected[lane] = bits[(size_t)lane * job->stride] >> (col & 7) & 1 ? values[lane] : 0.0f;
}

static float score_of(const sparse_job *job, float value, int64_t col)
{
    const float scaled = value / job->u[col * job->weight->cols + col];
    return fminf(scaled * scaled, 3.0e38f); /* scores are finite */
}

/* enter: masks the group that starts at col; values [group][LANES]. */
static void mask_group(void *context, int64_t row0, int n, int64_t col, const float *values)
{
    const sparse_job *job = context;
    const vise_pattern pattern = job->target->pattern;
    float score[GROUP_MAX];
    uint8_t kept[GROUP_MAX / 8];
    for (int lane = 0; lane < n; lane++) {
        for (int64_t j = 0; j < pattern.group; j++)
            score[j] = score_of(job, values[j * LANES + lane], col + j);
        vise_mask_pattern(score, 1, pattern.group, pattern, kept);
        for (int64_t j = 0; j < pattern.group; j++)
            if ((kept[j >> 3] >> (j & 7) & 1) == 0)
                clear_bit(job, row0 + lane, col + j);
    }
}

/* ---- unstructured: a block of columns, all rows -------------------------------------------------------------- */

static vise_status score_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const sparse_job *job = context;
    const vise_weight *weight = job->weight;
    int64_t row0 = (int64_t)index * SCORE_ROWS;
    int64_t end = row0 + SCORE_ROWS < weight->rows ? row0 + SCORE_ROWS : weight->rows;
    for (int64_t row = row0; row < end; row++)
        for (int64_t j = 0; j < job->width; j++)
            job->score[row * job->width + j] =
                score_of(job, weight->values[row * weight->cols + job->first + j], job->first + j);
    return VISE_OK;
}

static vise_status mask_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const sparse_job *job = context;
    int64_t row0 = (int64_t)index * SCORE_ROWS;
    int64_t end = row0 + SCORE_ROWS < job->weight->rows ? row0 + SCORE_ROWS : job->weight->rows;
    for (int64_t row = row0; row < end; row++) {
        for (int64_t j = 0; j < job->width; j++) {
            const size_t at = (size_t)(row * job->width + j);
            if ((job->selection[at >> 3] >> (at & 7) & 1) == 0)
                clear_bit(job, row, job->first + j);
        }
    }
    return VISE_OK;
}

static size_t tiles_of(const vise_weight *weight)
{
    return (size_t)((weight->rows + SCORE_ROWS - 1) / SCORE_ROWS);
}

static vise_status mask_block(vise_pass_run *run, sparse_job *job, vise_error *err)
{
    const vise_weight *weight = job->weight;
    VISE_TRY(vise_parallel(run->workers, tiles_of(weight), score_rows, job, err));
    VISE_TRY(vise_mask_rows(job->score, 1, weight->rows * job->width, job->target->sparsity, job->selection, err));
    return vise_parallel(run->workers, tiles_of(weight), mask_rows, job, err);
}

/* ---- a weight ------------------------------------------------------------------------------------------------ */

static vise_status solve_blocks(vise_pass_run *run, sparse_job *job, vise_solve *problem, double *loss, vise_error *err)
{
    for (int64_t first = 0; first < problem->cols; first += BLOCK) {
        double part;
        job->first = first;
        job->width = problem->cols - first < BLOCK ? problem->cols - first : BLOCK;
        VISE_TRY(mask_block(run, job, err));
        problem->from = first;
        problem->to = first + job->width;
        VISE_TRY(run->backend->factor->solve_columns(run->backend, problem, &part, err));
        *loss += part;
    }
    return VISE_OK;
}

static vise_status solve_weight(vise_pass_run *run, sparse_job *job, uint64_t tokens, vise_error *err)
{
    vise_weight *weight = job->weight;
    vise_solve problem = {.rows = weight->rows,
                          .cols = weight->cols,
                          .w = weight->values,
                          .ldw = weight->cols,
                          .u = job->u,
                          .ldu = weight->cols,
                          .block = pattern_block(job->target),
                          .project = keep_or_zero,
                          .context = job};
    double loss = 0.0;
    if (job->target->pattern.group > 0) {
        problem.enter = mask_group;
        problem.period = job->target->pattern.group;
        VISE_TRY(run->backend->factor->solve_columns(run->backend, &problem, &loss, err));
    } else {
        VISE_TRY(solve_blocks(run, job, &problem, &loss, err));
    }
    weight->loss = loss / (double)(tokens > 0 ? tokens : 1);
    return VISE_OK;
}

static vise_status prune_without_factor(vise_weight *weight, const vise_prune_target *target, const float *gram,
                                        float *score, vise_error *err)
{
    const int64_t cols = weight->cols;
    weight->note = "pruned by Wanda's scores, nothing made up for: the Gram matrix of its input does not factorize";
    for (int64_t row = 0; row < weight->rows; row++) {
        float *values = weight->values + row * cols;
        for (int64_t j = 0; j < cols; j++)
            score[j] = fabsf(values[j]) * sqrtf(gram[j * cols + j]);
        VISE_TRY(vise_prune_rows(target, score, 1, cols, values,
                                 weight->mask + (size_t)row * vise_mask_row_bytes(cols), err));
    }
    return VISE_OK;
}

/* ---- a group ------------------------------------------------------------------------------------------------- */

static size_t score_floats(int64_t rows, int64_t cols)
{
    const int64_t block = rows * (cols < BLOCK ? cols : BLOCK);
    return (size_t)(block > cols ? block : cols);
}

static vise_status sparsegpt_group(vise_pass_run *run, vise_group *group, vise_error *err)
{
    const vise_prune_config *config = run->config;
    const int64_t d = group->stats->width;
    vise_prune_target target;
    VISE_TRY(vise_prune_target_of(config, &target, err));
    float *u = NULL, *score = NULL;
    uint8_t *selection = NULL;
    int64_t rows = 0;
    double damp = 0.0;
    bool failed = false;
    vise_status status = VISE_OK;
    for (size_t w = 0; w < group->count; w++)
        rows = group->weights[w]->rows > rows ? group->weights[w]->rows : rows;
    const size_t scores = score_floats(rows, d);
    VISE_TRY_TO(done, vise_pool_take(run->pool, (size_t)(d * d) * sizeof(float), "Gram matrix factor", (void **)&u,
                                     err));
    VISE_TRY_TO(done, vise_pool_take(run->pool, scores * sizeof(float), "pruning scores", (void **)&score, err));
    VISE_TRY_TO(done, vise_pool_take(run->pool, scores / 8 + 1, "pruning scores", (void **)&selection, err));
    VISE_TRY_TO(done, vise_damped_factor(run->backend, d, group->stats->gram, NULL, config->damp, u, &damp, &failed,
                                         err));
    for (size_t w = 0; w < group->count; w++) {
        vise_weight *weight = group->weights[w];
        sparse_job job = {.target = &target,
                          .weight = weight,
                          .u = u,
                          .stride = vise_mask_row_bytes(d),
                          .score = score,
                          .selection = selection};
        if (group->stats->tokens == 0)
            weight->note = "no calibration token reached this expert: pruned by magnitude";
        if (failed) {
            VISE_TRY_TO(done, prune_without_factor(weight, &target, group->stats->gram, score, err));
            continue;
        }
        VISE_TRY_TO(done, solve_weight(run, &job, group->stats->tokens, err));
        weight->damp = damp;
        if (damp > config->damp)
            weight->note = "damped more than asked: the Gram matrix of its input is close to singular";
    }
done:
    vise_pool_give(run->pool, selection);
    vise_pool_give(run->pool, score);
    vise_pool_give(run->pool, u);
    return status;
}

static uint64_t sparsegpt_group_bytes(const vise_pass_run *run)
{
    uint64_t most = 0;
    for (size_t i = 0; i < run->model->count; i++) {
        if ((run->planned[i].passes >> run->index & 1) == 0)
            continue;
        const vise_logical *tensor = run->planned[i].bound->tensor;
        const uint64_t d = (uint64_t)tensor->cols, scores = score_floats(tensor->rows, tensor->cols);
        const uint64_t bytes = sizeof(float) * (d * d + scores) + scores / 8 + 1;
        most = bytes > most ? bytes : most;
    }
    return most;
}

const vise_method vise_method_sparsegpt = {
    .name = "sparsegpt",
    .summary = "prune with error feedback by the inputs' Gram matrix (arXiv:2301.00774); needs calibration text",
    .needs = VISE_NEED_GRAM,
    .plan = vise_prune_plan,
    .group_bytes = sparsegpt_group_bytes,
    .group = sparsegpt_group,
};
