#include "compute/descend.h"

#include <math.h>
#include <string.h>

enum {
    LANES = VISE_SOLVE_LANES,
    HEIGHT = 64, /* rows of a task, side by side in a line of the transposed tile */
    BLOCK = 32   /* columns visited before the others learn of it */
};

/* A worker's scratch; a column of the tile is HEIGHT values. */
typedef struct tile {
    float *q, *g; /* [cols][HEIGHT]: values, and (W - Q) H */
    float *step;  /* [max(BLOCK, group)][HEIGHT]: what was taken off q */
    float *hc;    /* [group][HEIGHT] */
} tile;

typedef struct descend_job {
    const vise_descend *p;
    vise_backend *backend;
    float *scratch;
    size_t slice; /* floats of a worker's */
    double *loss; /* [tasks] */
} descend_job;

static size_t step_columns(int64_t group)
{
    return (size_t)(group > BLOCK ? group : BLOCK);
}

static size_t slice_floats(int64_t cols, int64_t group)
{
    return HEIGHT * (2 * (size_t)cols + step_columns(group) + (size_t)group);
}

uint64_t vise_descend_bytes(int64_t cols, int64_t group, int workers)
{
    return (uint64_t)workers * slice_floats(cols, group) * sizeof(float);
}

/* g += H[:, first .. first + n) step: what the columns' change means to all. */
static vise_status spread(const descend_job *job, const tile *t, int64_t first, int64_t n, vise_error *err)
{
    const vise_descend *p = job->p;
    return job->backend->matrix->gemm_nn(job->backend, p->cols, HEIGHT, n, p->h + first, p->cols, t->step, HEIGHT,
                                         1.0f, t->g, HEIGHT, err);
}

/* ---- codes --------------------------------------------------------------------------------------------------- */

/* step = what is taken off; later columns of the block learn at once, all in the end. */
static void visit(const vise_descend *p, const tile *t, float *block_g, int64_t row0, int rows, int64_t first,
                  int64_t j, int64_t n)
{
    const float *h = p->h + (first + j) * p->cols + first;
    float *q = t->q + (first + j) * HEIGHT, *g = block_g + j * HEIGHT, *step = t->step + j * HEIGHT;
    float best[HEIGHT], taken[HEIGHT] = {0};
    if (!(h[j] > 0.0f)) { /* no input moves it */
        memset(step, 0, HEIGHT * sizeof *step);
        return;
    }
    for (int r = 0; r < HEIGHT; r++)
        best[r] = q[r] + g[r] / h[j];
    for (int r = 0; r < rows; r += LANES)
        p->project(p->context, row0 + r, rows - r < LANES ? rows - r : LANES, first + j, best + r, taken + r);
    for (int r = 0; r < HEIGHT; r++) {
        taken[r] = r < rows ? taken[r] : 0.0f;
        step[r] = q[r] - taken[r];
        q[r] = taken[r];
    }
    for (int64_t k = j + 1; k < n; k++) {
        float *later = block_g + k * HEIGHT;
        for (int r = 0; r < HEIGHT; r++)
            later[r] += step[r] * h[k];
    }
}

static vise_status sweep(const descend_job *job, const tile *t, int64_t row0, int rows, vise_error *err)
{
    const vise_descend *p = job->p;
    float block_g[BLOCK * HEIGHT];
    for (int64_t first = 0; first < p->cols; first += BLOCK) {
        const int64_t n = p->cols - first < BLOCK ? p->cols - first : BLOCK;
        memcpy(block_g, t->g + first * HEIGHT, (size_t)n * HEIGHT * sizeof(float));
        for (int64_t j = 0; j < n; j++)
            visit(p, t, block_g, row0, rows, first, j, n);
        VISE_TRY(spread(job, t, first, n, err));
    }
    return VISE_OK;
}

/* ---- scales -------------------------------------------------------------------------------------------------- */

static vise_status refit_group(const descend_job *job, const tile *t, int64_t row0, int rows, int64_t index,
                               vise_error *err)
{
    const vise_descend *p = job->p;
    const int64_t first = index * p->group;
    const float *scale = p->scale + index * p->stride + row0;
    float *q = t->q + first * HEIGHT, *c = t->step;
    float before[HEIGHT], after[HEIGHT];
    double fall[HEIGHT] = {0}, curve[HEIGHT] = {0};
    for (int r = 0; r < HEIGHT; r++)
        after[r] = before[r] = r < rows ? scale[r] : 1.0f;
    for (int64_t j = 0; j < p->group; j++)
        for (int r = 0; r < HEIGHT; r++)
            c[j * HEIGHT + r] = rintf(q[j * HEIGHT + r] / before[r]);
    VISE_TRY(job->backend->matrix->gemm_nn(job->backend, p->group, HEIGHT, p->group, p->h + first * p->cols + first,
                                           p->cols, c, HEIGHT, 0.0f, t->hc, HEIGHT, err));
    for (int64_t j = 0; j < p->group; j++)
        for (int r = 0; r < HEIGHT; r++) {
            const double code = (double)c[j * HEIGHT + r];
            fall[r] += code * (double)t->g[(first + j) * HEIGHT + r];
            curve[r] += code * (double)t->hc[j * HEIGHT + r];
        }
    for (int r = 0; r < rows; r++) {
        if (!(curve[r] > 0.0))
            continue;
        const float taken = p->rescale(p->context, row0 + r, index, (float)((double)before[r] + fall[r] / curve[r]));
        after[r] = taken;
    }
    for (int64_t j = 0; j < p->group; j++)
        for (int r = 0; r < HEIGHT; r++) {
            const float code = c[j * HEIGHT + r], value = code * after[r];
            c[j * HEIGHT + r] = q[j * HEIGHT + r] - value;
            q[j * HEIGHT + r] = value;
        }
    return spread(job, t, first, p->group, err);
}

/* ---- a tile of rows ------------------------------------------------------------------------------------------ */

static vise_status descend_tile(void *context, size_t index, int worker, vise_error *err)
{
    const descend_job *job = context;
    const vise_descend *p = job->p;
    const int64_t row0 = (int64_t)index * HEIGHT, cols = p->cols;
    const int rows = p->rows - row0 < HEIGHT ? (int)(p->rows - row0) : HEIGHT;
    float *scratch = job->scratch + job->slice * (size_t)worker;
    tile t = {.q = scratch, .g = scratch + cols * HEIGHT, .step = scratch + 2 * cols * HEIGHT};
    t.hc = t.step + step_columns(p->group) * HEIGHT;
    memset(scratch, 0, job->slice * sizeof(float));

    /* G = H (W - Q)^T; the difference stands in q until then. */
    for (int r = 0; r < rows; r++)
        for (int64_t j = 0; j < cols; j++)
            t.q[j * HEIGHT + r] = p->w[(row0 + r) * cols + j] - p->q[(row0 + r) * cols + j];
    VISE_TRY(job->backend->matrix->gemm_nn(job->backend, cols, HEIGHT, cols, p->h, cols, t.q, HEIGHT, 0.0f, t.g,
                                           HEIGHT, err));
    for (int r = 0; r < rows; r++)
        for (int64_t j = 0; j < cols; j++)
            t.q[j * HEIGHT + r] = p->q[(row0 + r) * cols + j];
    for (int s = 0; s < p->sweeps; s++) {
        VISE_TRY(sweep(job, &t, row0, rows, err));
        for (int64_t g = 0; p->scale != NULL && g < cols / p->group; g++)
            VISE_TRY(refit_group(job, &t, row0, rows, g, err));
    }
    for (int r = 0; r < rows; r++)
        for (int64_t j = 0; j < cols; j++) {
            float *q = &p->q[(row0 + r) * cols + j];
            *q = t.q[j * HEIGHT + r];
            job->loss[index] += 0.5 * ((double)p->w[(row0 + r) * cols + j] - (double)*q) * (double)t.g[j * HEIGHT + r];
        }
    return VISE_OK;
}

vise_status vise_descend_columns(vise_backend *b, vise_pool *pool, const vise_descend *problem, double *loss,
                                 vise_error *err)
{
    descend_job job = {.p = problem, .backend = b, .slice = slice_floats(problem->cols, problem->group)};
    const size_t tasks = (size_t)((problem->rows + HEIGHT - 1) / HEIGHT);
    const int workers = vise_workers_count(b->workers);
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, vise_pool_take(pool, (size_t)vise_descend_bytes(problem->cols, problem->group, workers),
                                     "tiles of rows", (void **)&job.scratch, err));
    VISE_TRY_TO(done, vise_calloc(tasks + 1, sizeof *job.loss, (void **)&job.loss, err));
    VISE_TRY_TO(done, vise_parallel(b->workers, tasks, descend_tile, &job, err));
    *loss = 0.0;
    for (size_t i = 0; i < tasks; i++)
        *loss += job.loss[i];
done:
    vise_free(job.loss);
    vise_pool_give(pool, job.scratch);
    return status;
}
