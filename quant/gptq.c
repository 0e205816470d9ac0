/* GPTQ (Frantar et al. 2022, arXiv:2210.17323): columns are rounded one after the other, and the error of
 * each is made up for by those that follow, weighted by the inverse Gram matrix of the linear's input.
 *
 *   H = X^T X + damp * mean(diag) * I           X: calibration inputs [tokens, cols]; linears with one input share H
 *   U upper with H^-1 = U^T U                   compute/backend.h, inverse_factor
 *   q_j = round(w_j)                            column by column, compute/solve.h
 *   w_k -= (w_j - q_j) / U_jj * U_jk            for k > j
 *
 * Grids are fixed before the first column from the original weights, with scales as they will be stored
 * (--range original). "static" activation order solves columns by falling diag(H) but leaves groups and
 * columns in place on disk, as compressed-tensors' "weight" order and GPTQ's --static-groups do: no index is
 * stored and no runtime pays for it.
 *
 * Up to 4 bits the grids are searched for the least error, with scales of either sign (--clip). Below 4 bits every
 * weight is visited again behind the last column, now that all others are known, and the scales are fitted to the codes
 * (--sweeps, compute/descend.h). Weighing the search by diag(H) was measured and left out: it lowers the layers'
 * losses and raises that of the model.
 *
 * Asymmetric calibration (GPTAQ: Li et al. 2025, arXiv:2504.02692; --asymmetric): inputs X are those behind what is
 * compressed already, X' those of the model as it was. What a linear should come near to is not W X but W X' - and,
 * where its output is added to a residual stream r that the model as it was has at r', all of W X' + r' - r
 * (--residual; LoaQ: Lin and Wan 2025, arXiv:2509.06297). That least-squares problem is GPTQ's own for other weights,
 *
 *   W + (alpha W C + beta R) (H + damping)^-1       C = sum (x' - x) x^T, R = sum (r' - r) x^T
 *
 * so that grids, sweeps, masks and blocks need to know nothing of it. (The paper takes the correction of each column
 * when its turn comes, and leaves out what columns before it could do.)
 *
 * GGUF's blocks have solvers' callbacks of their own: quant/gptq_blocks.c.
 *
 * Columns that no calibration token excites (diag(H) = 0) get a unit diagonal: they are rounded to nearest,
 * neither zeroed nor fed. A Gram matrix that does not factorize is damped ten times more, up to 1; one that
 * never does leaves the group to plain rounding, and the report says so. Weights that a pruning pass has set
 * to zero stay zero: their error is made up for like any other.
 */
#include "quant/gptq.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/damp.h"
#include "compute/descend.h"
#include "compute/project.h"
#include "core/cpu.h"
#include "quant/gptq_blocks.h"
#include "quant/trial.h"

#define GPTQ_BLOCK     128
#define GPTQ_TILE_ROWS 64 /* rows of one task outside the solver */
#define LANES          VISE_SOLVE_LANES

typedef struct gptq_job {
    const vise_quant_config *config;
    vise_weight *weight;
    int64_t rows, cols, group, groups;
    const int32_t *order; /* [cols]: column solved at position j; NULL: left to right */
    bool updated_ranges;
    /* Grids transposed, so that the lanes of a tile lie together: [groups][rows padded to LANES]. */
    float *scale, *zero;
    int64_t padded;
    vise_uniform_grid grid; /* the same, as the projector takes it */
    vise_uniform_projector projector;
} gptq_job;

/* ---- grids ------------------------------------------------------------------------------------------------------- */

static void put_grid(gptq_job *job, int64_t row, int64_t g, float scale, uint8_t zero)
{
    vise_qweight *q = job->weight->q;
    q->scales[row * q->groups + g] = scale;
    if (q->zeros != NULL)
        q->zeros[row * q->groups + g] = zero;
    /* An empty grid holds zero alone; the greatest scale rounds everything to it. */
    job->scale[g * job->padded + row] = scale == 0.0f ? FLT_MAX : scale;
    job->zero[g * job->padded + row] = (float)zero;
}

static uint8_t middle(const vise_scheme *scheme)
{
    return (uint8_t)(1u << (scheme->type->bits - 1));
}

static vise_status fit_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    gptq_job *job = context;
    const vise_qweight *q = job->weight->q;
    int64_t row0 = (int64_t)index * GPTQ_TILE_ROWS;
    int64_t end = row0 + GPTQ_TILE_ROWS < job->rows ? row0 + GPTQ_TILE_ROWS : job->rows;
    for (int64_t row = row0; row < end; row++) {
        for (int64_t g = 0; g < job->groups; g++) {
            float scale;
            uint8_t zero = middle(&q->scheme);
            vise_grid_fit(&q->scheme, q->scale_dtype, vise_quant_clip(job->config, &q->scheme, true),
                          job->weight->values + row * job->cols + g * job->group,
                          NULL, job->group, &scale, &zero);
            put_grid(job, row, g, scale, zero);
        }
    }
    return VISE_OK;
}

/* One grid for the whole weight. */
static void fit_tensor(gptq_job *job)
{
    const vise_qweight *q = job->weight->q;
    float min, max, scale;
    uint8_t zero = middle(&q->scheme);
    vise_range(job->weight->values, (size_t)(job->rows * job->cols), &min, &max);
    vise_grid_from_range(&q->scheme, q->scale_dtype, min, max, &scale, &zero);
    q->scales[0] = scale;
    if (q->zeros != NULL)
        q->zeros[0] = zero;
    for (int64_t row = 0; row < job->padded; row++) {
        job->scale[row] = scale > 0.0f ? scale : FLT_MAX;
        job->zero[row] = (float)zero;
    }
}

/* enter: the grid of the group that begins at a position, from the weights as updated so far; values [group][LANES]. */
static void fit_updated(void *context, int64_t row0, int n, int64_t position, const float *values)
{
    gptq_job *job = context;
    const vise_qweight *q = job->weight->q;
    const vise_clip clip = vise_quant_clip(job->config, &q->scheme, true);
    const int64_t col = job->order != NULL ? job->order[position] : position;
    for (int lane = 0; lane < n; lane++) {
        float x[VISE_GPTQ_UPDATED_MAX], scale;
        uint8_t zero = middle(&q->scheme);
        for (int64_t j = 0; j < job->group; j++) {
            const float value = values[j * LANES + lane];
            x[j] = isfinite(value) ? value : 0.0f;
        }
        vise_grid_fit(&q->scheme, q->scale_dtype, clip, x, NULL, job->group, &scale, &zero);
        put_grid(job, row0 + lane, col / job->group, scale, zero);
    }
}

/* ---- projection ------------------------------------------------------------------------------------------ */

static void project(void *context, int64_t row0, int n, int64_t position, const float *values,
                    float *projected)
{
    const gptq_job *job = context;
    const int64_t col = job->order != NULL ? job->order[position] : position;
    job->projector(&job->grid, row0, col, values, projected);
    if (job->weight->mask == NULL)
        return;
    const size_t stride = vise_mask_row_bytes(job->cols);
    const uint8_t *bits = job->weight->mask + (size_t)row0 * stride + (size_t)(col >> 3);
    for (int lane = 0; lane < n; lane++)
        if ((bits[(size_t)lane * stride] >> (col & 7) & 1) == 0)
            projected[lane] = 0.0f;
}

/* ---- order of columns -------------------------------------------------------------------------------------------- */

typedef struct ranked {
    float activity;
    int32_t column;
} ranked;

static int by_falling_activity(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->activity != y->activity)
        return x->activity > y->activity ? -1 : 1;
    return x->column < y->column ? -1 : 1;
}

/* How runs of `unit` columns follow each other, and columns within. */
typedef enum order_of { BY_SUM, BY_LARGEST, BY_LARGEST_SORTED } order_of;

static vise_status order_columns(const float *gram, int64_t cols, int64_t unit, order_of of, int32_t *order,
                                 vise_pool *pool, vise_error *err)
{
    ranked *rank, *inside;
    VISE_TRY(vise_pool_take(pool, 2 * (size_t)cols * sizeof *rank, "column order", (void **)&rank, err));
    inside = rank + cols;
    for (int64_t i = 0; i < cols / unit; i++) {
        rank[i] = (ranked){0.0f, (int32_t)(i * unit)};
        for (int64_t j = i * unit; j < (i + 1) * unit; j++) {
            const float activity = gram[j * cols + j];
            inside[j] = (ranked){activity, (int32_t)j};
            rank[i].activity = of == BY_SUM ? rank[i].activity + activity : fmaxf(rank[i].activity, activity);
        }
        if (of == BY_LARGEST_SORTED)
            qsort(inside + i * unit, (size_t)unit, sizeof *inside, by_falling_activity);
    }
    qsort(rank, (size_t)(cols / unit), sizeof *rank, by_falling_activity);
    for (int64_t j = 0; j < cols; j++)
        order[j] = inside[rank[j / unit].column + j % unit].column;
    vise_pool_give(pool, rank);
    return VISE_OK;
}

/* "static": single columns, or, where scales of GGUF's blocks are those of updated weights, blocks. "group-aware":
 * groups and blocks stay together, so that a group is at its end before the next begins. */
static vise_status find_order(const vise_quant_config *config, const float *gram, int64_t d,
                              const vise_gptq_wants *wants, int32_t *order, vise_pool *pool, vise_error *err)
{
    if (strcmp(config->actorder, "group-aware") == 0)
        return order_columns(gram, d, wants->unit > 0 ? wants->unit : d,
                             wants->mixed ? BY_LARGEST : BY_LARGEST_SORTED, order, pool, err);
    const bool whole = wants->blocks && vise_gptq_updates_blocks(config);
    return order_columns(gram, d, whole ? wants->unit : 1, BY_SUM, order, pool, err);
}

typedef struct permute_job {
    float *values; /* [rows, cols] */
    int64_t rows, cols;
    const int32_t *order;
    float *row_scratch;
    bool back;
} permute_job;

static vise_status permute_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)err;
    const permute_job *job = context;
    float *copy = job->row_scratch + (int64_t)worker * job->cols;
    const int64_t row0 = (int64_t)index * GPTQ_TILE_ROWS;
    const int64_t end = row0 + GPTQ_TILE_ROWS < job->rows ? row0 + GPTQ_TILE_ROWS : job->rows;
    for (int64_t i = row0; i < end; i++) {
        float *row = job->values + i * job->cols;
        memcpy(copy, row, (size_t)job->cols * sizeof(float));
        for (int64_t j = 0; j < job->cols; j++)
            row[job->back ? job->order[j] : j] = copy[job->back ? j : job->order[j]];
    }
    return VISE_OK;
}

vise_status vise_gptq_permute(vise_pass_run *run, const vise_gptq_input *input, float *values, int64_t rows,
                              int64_t cols, bool back, vise_error *err)
{
    permute_job job = {values, rows, cols, input->order, input->row_scratch, back};
    if (input->order == NULL)
        return VISE_OK;
    return vise_parallel(run->workers, (size_t)((rows + GPTQ_TILE_ROWS - 1) / GPTQ_TILE_ROWS), permute_rows, &job,
                         err);
}

static vise_status encode_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const gptq_job *job = context;
    const int64_t row0 = (int64_t)index * GPTQ_TILE_ROWS;
    const int64_t rows = row0 + GPTQ_TILE_ROWS < job->rows ? GPTQ_TILE_ROWS : job->rows - row0;
    vise_qweight tile = vise_qweight_rows(job->weight->q, row0, rows);
    float *values = job->weight->values + row0 * job->cols;
    /* The values are on the grid already; encoding them finds their codes, decoding fixes the last bit. */
    vise_encode_on_grid(values, &tile);
    vise_decode(&tile, values);
    return VISE_OK;
}

/* ---- sweeps behind the solver ------------------------------------------------------------------------------------ */

int vise_gptq_sweeps(const vise_quant_config *config, const vise_scheme *scheme)
{
    if (config->sweeps != VISE_UNSET_INT)
        return (int)config->sweeps;
    return scheme->type->bits <= vise_quant_bits(config, VISE_QUANT_SWEPT_BITS) ? 8 : 0;
}

/* The damped Gram matrix, both triangles, columns in their own order. */
typedef struct whole_job {
    const float *gram;
    float *whole; /* [cols, cols] */
    int64_t cols;
    double added;
} whole_job;

static vise_status whole_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const whole_job *job = context;
    const int64_t d = job->cols, row0 = (int64_t)index * GPTQ_TILE_ROWS;
    const int64_t end = row0 + GPTQ_TILE_ROWS < d ? row0 + GPTQ_TILE_ROWS : d;
    for (int64_t i = row0; i < end; i++) {
        for (int64_t j = 0; j < d; j++)
            job->whole[i * d + j] = i <= j ? job->gram[i * d + j] : job->gram[j * d + i];
        const float diagonal = job->gram[i * d + i];
        job->whole[i * d + i] = diagonal > 0.0f ? (float)((double)diagonal + job->added) : 1.0f;
    }
    return VISE_OK;
}

static vise_status make_whole(vise_pass_run *run, const float *gram, int64_t d, double damp, float *whole,
                              vise_error *err)
{
    double sum = 0.0;
    for (int64_t j = 0; j < d; j++)
        sum += (double)gram[j * d + j];
    whole_job job = {.gram = gram, .whole = whole, .cols = d, .added = damp * sum / (double)d};
    return vise_parallel(run->workers, (size_t)((d + GPTQ_TILE_ROWS - 1) / GPTQ_TILE_ROWS), whole_rows, &job, err);
}

static float rescale(void *context, int64_t row, int64_t g, float best)
{
    gptq_job *job = context;
    const vise_qweight *q = job->weight->q;
    const float old = job->scale[g * job->padded + row], taken = vise_round_to(q->scale_dtype, best);
    if (!isfinite(taken) || !(taken * old > 0.0f)) /* its sign stays, and it does not vanish */
        return old;
    put_grid(job, row, g, taken, q->zeros != NULL ? q->zeros[row * q->groups + g] : middle(&q->scheme));
    return taken;
}

static vise_status refine(vise_pass_run *run, gptq_job *job, const float *original, const float *whole, double *loss,
                          vise_error *err)
{
    const bool per_tensor = job->weight->q->scheme.granularity == VISE_PER_TENSOR;
    job->order = NULL; /* columns are back in their places */
    const vise_descend problem = {.rows = job->rows,
                                  .cols = job->cols,
                                  .h = whole,
                                  .w = original,
                                  .q = job->weight->values,
                                  .sweeps = vise_gptq_sweeps(job->config, &job->weight->q->scheme),
                                  .project = project,
                                  .scale = per_tensor ? NULL : job->scale,
                                  .stride = job->padded,
                                  .group = per_tensor ? 1 : job->group,
                                  .rescale = rescale,
                                  .context = job};
    return vise_descend_columns(run->backend, run->pool, &problem, loss, err);
}

/* ---- the error made upstream ------------------------------------------------------------------------------------- */

/* W += (alpha W C + beta R) (H + damping)^-1 */
static vise_status correct_upstream(vise_pass_run *run, const vise_weight *weight, const vise_gptq_input *input,
                                    vise_error *err)
{
    const vise_quant_config *config = run->config;
    const vise_matrix_ops *matrix = run->backend->matrix;
    const int64_t d = weight->cols;
    const float alpha = (float)config->asymmetric, beta = (float)config->residual;
    for (int64_t row0 = 0; row0 < weight->rows; row0 += VISE_GPTQ_CORRECTED) {
        const int64_t rows = weight->rows - row0 < VISE_GPTQ_CORRECTED ? weight->rows - row0 : VISE_GPTQ_CORRECTED;
        float *values = weight->values + row0 * d, *a = input->outputs, *b = a + VISE_GPTQ_CORRECTED * d;
        VISE_TRY(matrix->gemm_nn(run->backend, rows, d, d, values, d, input->cross, d, 0.0f, a, d, err));
        for (int64_t i = 0; i < rows * d; i++)
            a[i] = alpha * a[i] + (input->residual != NULL ? beta * input->residual[row0 * d + i] : 0.0f);
        VISE_TRY(vise_gptq_permute(run, input, a, rows, d, false, err));
        VISE_TRY(matrix->gemm_nt(run->backend, rows, d, d, a, d, input->u, d, 0.0f, b, d, err));
        VISE_TRY(matrix->gemm_nn(run->backend, rows, d, d, b, d, input->u, d, 0.0f, a, d, err));
        VISE_TRY(vise_gptq_permute(run, input, a, rows, d, true, err));
        for (int64_t i = 0; i < rows * d; i++)
            values[i] += a[i];
    }
    return VISE_OK;
}

/* ---- a group ----------------------------------------------------------------------------------------------------- */

vise_status vise_gptq_solve(vise_pass_run *run, vise_weight *weight, const vise_gptq_input *input, vise_error *err)
{
    if (input->cross != NULL)
        VISE_TRY(correct_upstream(run, weight, input, err));
    if (weight->plan->scheme.type->blocks != NULL)
        return vise_gptq_solve_blocks(run, weight, input, err);
    const int32_t *order = input->order;
    const bool sweeps = vise_gptq_sweeps(run->config, &weight->plan->scheme) > 0;
    const vise_quant_config *config = run->config;
    const vise_scheme *scheme = &weight->plan->scheme;
    gptq_job job = {.config = config,
                    .weight = weight,
                    .rows = weight->rows,
                    .cols = weight->cols,
                    .order = order,};
    job.groups = weight->q->groups;
    job.group = job.cols / job.groups;
    job.padded = (job.rows + LANES - 1) / LANES * LANES;
    job.updated_ranges = strcmp(config->range, "updated") == 0 && scheme->granularity == VISE_PER_GROUP &&
                         job.group <= VISE_GPTQ_UPDATED_MAX;
    const size_t grid_bytes = (size_t)(job.padded * job.groups) * sizeof(float);
    const size_t tiles = (size_t)((job.rows + GPTQ_TILE_ROWS - 1) / GPTQ_TILE_ROWS);
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, vise_pool_take(run->pool, grid_bytes, "grids", (void **)&job.scale, err));
    VISE_TRY_TO(done, vise_pool_take(run->pool, grid_bytes, "grids", (void **)&job.zero, err));
    for (int64_t i = 0; i < job.padded * job.groups; i++) {
        job.scale[i] = FLT_MAX;
        job.zero[i] = 0.0f;
    }
    job.grid = (vise_uniform_grid){.scale = job.scale,
                                   .zero = job.zero,
                                   .stride = job.padded,
                                   .group = scheme->granularity == VISE_PER_TENSOR ? job.cols : job.group,
                                   .lowest = 0.0f,
                                   .highest = (float)((1 << scheme->type->bits) - 1)};
    job.projector = vise_uniform_projector_for(vise_cpu());
    if (scheme->granularity == VISE_PER_TENSOR)
        fit_tensor(&job);
    else if (!job.updated_ranges)
        VISE_TRY_TO(done, vise_parallel(run->workers, tiles, fit_rows, &job, err));
    if (sweeps)
        memcpy(input->original, weight->values, (size_t)(job.rows * job.cols) * sizeof(float));
    VISE_TRY_TO(done, vise_gptq_permute(run, input, weight->values, job.rows, job.cols, false, err));
    vise_solve problem = {.rows = job.rows,
                          .cols = job.cols,
                          .w = weight->values,
                          .ldw = job.cols,
                          .u = input->u,
                          .ldu = job.cols,
                          .block = GPTQ_BLOCK,
                          .project = project,
                          .context = &job};
    if (job.updated_ranges) {
        problem.enter = fit_updated;
        problem.period = job.group;
        problem.block = job.group > GPTQ_BLOCK ? job.group : GPTQ_BLOCK / job.group * job.group;
    }
    double loss = 0.0;
    VISE_TRY_TO(done, run->backend->factor->solve_columns(run->backend, &problem, &loss, err));
    VISE_TRY_TO(done, vise_gptq_permute(run, input, weight->values, job.rows, job.cols, true, err));
    if (sweeps)
        VISE_TRY_TO(done, refine(run, &job, input->original, input->whole, &loss, err));
    weight->loss = loss / input->tokens;
    VISE_TRY_TO(done, vise_parallel(run->workers, tiles, encode_rows, &job, err));
    weight->quantized = true;
done:
    vise_pool_give(run->pool, job.zero);
    vise_pool_give(run->pool, job.scale);
    return status;
}

static void round_to_nearest(vise_pass_run *run, vise_weight *weight)
{
    float min, max;
    vise_range(weight->values, (size_t)(weight->rows * weight->cols), &min, &max);
    vise_encode(weight->values, vise_quant_clip(run->config, &weight->q->scheme, true), min, max, weight->q);
    vise_decode(weight->q, weight->values);
    weight->quantized = true;
    weight->note = "rounded to nearest: the Gram matrix of its input does not factorize";
}

void vise_gptq_close(vise_pool *pool, vise_gptq_input *input)
{
    vise_pool_give(pool, input->outputs);
    vise_pool_give(pool, input->original);
    vise_pool_give(pool, input->whole);
    vise_pool_give(pool, input->importance);
    vise_pool_give(pool, input->order);
    vise_pool_give(pool, input->row_scratch);
    vise_pool_give(pool, input->u);
}

bool vise_gptq_updates_blocks(const vise_quant_config *config)
{
    return strcmp(config->range, "original") != 0;
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void vise_gptq_want(vise_gptq_wants *wants, const vise_quant_config *config, const vise_scheme *scheme, int64_t rows)
{
    const bool blocks = scheme->type->blocks != NULL;
    const bool groups = scheme->granularity == VISE_PER_GROUP;
    const int64_t unit = blocks ? scheme->type->blocks->values : groups ? scheme->group : 0;
    wants->rows = rows > wants->rows ? rows : wants->rows;
    wants->blocks = wants->blocks || blocks;
    wants->mixed = wants->mixed || (unit > 0 && wants->unit > 0 && unit != wants->unit);
    if (unit > 0)
        wants->unit = wants->unit > 0 ? wants->unit / common_divisor(wants->unit, unit) * unit : unit;
    wants->sweeps = wants->sweeps || vise_gptq_sweeps(config, scheme) > 0;
}

/* Columns that no token excites count as little as the damping says. */
static vise_status take_importance(vise_pass_run *run, const vise_input_stats *stats, vise_gptq_input *input,
                                   vise_error *err)
{
    const vise_quant_config *config = run->config;
    const int64_t d = stats->width;
    double mean = 0.0;
    for (int64_t j = 0; j < d; j++)
        mean += (double)stats->gram[j * d + j] / (double)d;
    if (!(mean > 0.0))
        return VISE_OK;
    VISE_TRY(vise_pool_take(run->pool, (size_t)d * sizeof(float), "importances", (void **)&input->importance, err));
    for (int64_t j = 0; j < d; j++)
        input->importance[j] = (float)(((double)stats->gram[j * d + j] + config->damp * mean) / input->tokens);
    return VISE_OK;
}

vise_status vise_gptq_open(vise_pass_run *run, const vise_input_stats *stats, const vise_gptq_wants *wants,
                           vise_gptq_input *input, vise_error *err)
{
    const vise_quant_config *config = run->config;
    const int64_t d = stats->width;
    const size_t row = (size_t)d * sizeof(float);
    vise_pool *pool = run->pool;
    /* An expert may have seen no token: its weights are rounded, as an empty Gram matrix says. */
    input->tokens = stats->tokens > 0 ? (double)stats->tokens : 1.0;
    VISE_TRY(vise_pool_take(pool, (size_t)d * row, "Gram matrix factor", (void **)&input->u, err));
    VISE_TRY(vise_pool_take(pool, (size_t)vise_workers_count(run->workers) * row, "column order",
                            (void **)&input->row_scratch, err));
    if (strcmp(config->actorder, "none") != 0) {
        VISE_TRY(vise_pool_take(pool, (size_t)d * sizeof(int32_t), "column order", (void **)&input->order, err));
        VISE_TRY(find_order(config, stats->gram, d, wants, input->order, pool, err));
    }
    if (wants->blocks)
        VISE_TRY(take_importance(run, stats, input, err));
    if (wants->sweeps) {
        VISE_TRY(vise_pool_take(pool, (size_t)d * row, "Gram matrix", (void **)&input->whole, err));
        VISE_TRY(vise_pool_take(pool, (size_t)wants->rows * row, "original weights", (void **)&input->original, err));
    }
    input->cross = config->asymmetric > 0.0 ? stats->cross : NULL; /* another pass may have asked for it */
    input->residual = stats->residual;
    if (input->cross != NULL)
        VISE_TRY(vise_pool_take(pool, 2 * VISE_GPTQ_CORRECTED * row, "corrections", (void **)&input->outputs, err));
    VISE_TRY(vise_damped_factor(run->backend, d, stats->gram, input->order, config->damp, input->u, &input->damp,
                                &input->failed, err));
    return wants->sweeps && !input->failed ? make_whole(run, stats->gram, d, input->damp, input->whole, err) : VISE_OK;
}

static vise_status gptq_group(vise_pass_run *run, vise_group *group, vise_error *err)
{
    const vise_quant_config *config = run->config;
    vise_gptq_input input = {0};
    vise_gptq_wants wants = {0};
    vise_status status = VISE_OK;
    for (size_t w = 0; w < group->count; w++)
        vise_gptq_want(&wants, config, &group->weights[w]->plan->scheme, group->weights[w]->rows);
    VISE_TRY_TO(done, vise_gptq_open(run, group->stats, &wants, &input, err));
    for (size_t w = 0; w < group->count; w++) {
        vise_weight *weight = group->weights[w];
        if (input.failed) {
            round_to_nearest(run, weight);
            continue;
        }
        VISE_TRY_TO(done, vise_gptq_solve(run, weight, &input, err));
        weight->damp = input.damp;
        if (input.damp > config->damp)
            weight->note = "damped more than asked: the Gram matrix of its input is close to singular";
    }
done:
    vise_gptq_close(run->pool, &input);
    return status;
}

uint64_t vise_gptq_bytes(const vise_pass_run *run, const vise_logical *tensor, const vise_scheme *scheme)
{
    const uint64_t d = (uint64_t)tensor->cols, rows = ((uint64_t)tensor->rows + LANES - 1) / LANES * LANES;
    const uint64_t groups = (uint64_t)vise_scheme_groups(scheme, tensor->cols), workers = (uint64_t)run->threads;
    uint64_t bytes = 4 * (d * d + workers * d + d + 4 * d) + 8 * rows * groups;
    if (scheme->type != NULL && scheme->type->blocks != NULL)
        bytes += 4 * d + vise_gptq_blocks_bytes(tensor->rows, tensor->cols);
    if (run->needs & VISE_NEED_CROSS)
        bytes += 8 * VISE_GPTQ_CORRECTED * d;
    if (groups > 0 && vise_gptq_sweeps(run->config, scheme) > 0)
        bytes += 4 * d * (d + rows) + vise_descend_bytes(tensor->cols, tensor->cols / (int64_t)groups, run->threads);
    return bytes;
}

static uint64_t gptq_group_bytes(const vise_pass_run *run)
{
    uint64_t most = 0;
    for (size_t i = 0; i < run->model->count; i++) {
        if ((run->planned[i].passes >> run->index & 1) == 0)
            continue;
        const uint64_t bytes = vise_gptq_bytes(run, run->planned[i].bound->tensor, &run->planned[i].scheme);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Mixtures give the embedding and the head types of blocks too; no calibration sees their inputs. */
static vise_status gptq_weight(vise_pass_run *run, vise_weight *tile, void *scratch, vise_error *err)
{
    (void)run;
    (void)scratch;
    (void)err;
    if (tile->plan->bound->layer >= 0)
        return VISE_OK; /* its group does it */
    vise_gguf_encode(tile->plan->scheme.type->blocks, tile->values, NULL, tile->rows, tile->cols, tile->q->codes);
    vise_decode(tile->q, tile->values);
    tile->quantized = true;
    return VISE_OK;
}

static vise_status gptq_plan(vise_pass_run *run, vise_error *err)
{
    const vise_quant_config *config = run->config;
    char text[VISE_SCHEME_TEXT_MAX];
    if (config->imatrix != NULL)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "--method gptq measures the importance of columns itself; leave out --imatrix, or use "
                         "--method rtn");
    VISE_TRY(vise_quant_plan(run, err));
    if (config->asymmetric > 0.0)
        run->needs |= VISE_NEED_CROSS | (config->residual > 0.0 ? (unsigned)VISE_NEED_RESIDUAL : 0);
    for (size_t i = 0; i < run->model->count; i++) {
        vise_planned *planned = &run->planned[i];
        const vise_weight_type *type = planned->scheme.type;
        if ((planned->passes >> run->index & 1) == 0 || type == NULL)
            continue;
        if (type->codebook != NULL || (type->blocks != NULL && !vise_gptq_holds_blocks(type->blocks)))
            return VISE_FAIL(err, VISE_EUNSUPPORTED,
                             "%s: --method gptq does not choose codes of %s; use --method rtn",
                             planned->bound->tensor->module, vise_scheme_text(&planned->scheme, text));
        if (type->blocks != NULL && planned->bound->layer < 0 && planned->note == NULL) {
            planned->note = "rounded to nearest: calibration does not see its input";
            planned->note_pass = run->index;
        }
    }
    return VISE_OK;
}

const vise_method vise_method_gptq = {
    .name = "gptq",
    .summary = "error feedback by the inputs' Gram matrix (arXiv:2210.17323); needs calibration text",
    .needs = VISE_NEED_GRAM,
    .plan = gptq_plan,
    .group_bytes = gptq_group_bytes,
    .group = gptq_group,
    .weight = gptq_weight,
    .trial = vise_quant_trial,
    .trial_bytes = vise_quant_trial_bytes,
};
