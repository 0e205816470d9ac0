/* The column-by-column solver: see compute/solve.h for the algorithm.
 *
 * A task is a tile of rows, carried through all columns. Within a block of columns sixteen rows are
 * solved at a time, in sub-blocks of sixteen columns: first what the solved columns of the block owe to
 * the sub-block (in registers), then its columns one by one. The columns behind the block get their
 * share in one matrix product. */
#include "compute/solve.h"

#include <string.h>

#include "compute/cpu_backend.h"

enum {
    LANES = VISE_SOLVE_LANES,
    SUB = 16, /* columns of a sub-block: vise_solve_kernels.update */
    DEFAULT_BLOCK = 128,
    LINE = 16,          /* floats of a cache line */
    UPDATE_COLS = 4096, /* of one trailing product: bounds what BLAS packs (block x 4096 floats) */
};

typedef struct solve_job {
    const vise_solve *p;
    const vise_blas *blas;
    const vise_solve_kernels *kernels;
    int64_t block, from, to;
    int64_t height; /* rows of a task */
    float *scratch; /* one slice a worker */
    size_t slice;   /* floats */
    double *loss;   /* one a task */
} solve_job;

/* A worker's scratch. u is copied because its rows lie `ldu` floats apart, often a power of two, where
 * the rows of a block would evict each other from the cache. */
typedef struct solve_room {
    float *w;         /* [height / 16][block, rounded up to 16][16]: the rows, in groups of lanes */
    float *e;         /* [block][height]: errors of all rows of the tile, transposed */
    float *u;         /* [block / 16][block][16]: the block's part of u by sub-blocks, each contiguous */
    int64_t *applied; /* [block / 16]: how many columns of the block the sub-block has been updated by */
} solve_room;

static size_t room_floats(int64_t block, int64_t height)
{
    int64_t subs = vise_tile_count(block, SUB);
    size_t floats = (size_t)(subs * SUB * height + block * height + subs * block * SUB);
    return floats + (size_t)subs * (sizeof(int64_t) / sizeof(float));
}

static solve_room room_of(const solve_job *job, int worker)
{
    int64_t subs = vise_tile_count(job->block, SUB);
    solve_room room;
    room.w = job->scratch + job->slice * (size_t)worker;
    room.e = room.w + subs * SUB * job->height;
    room.u = room.e + job->block * job->height;
    room.applied = (int64_t *)(void *)(room.u + subs * job->block * SUB);
    return room;
}

static void pack_u(const solve_job *job, const solve_room *room, int64_t first, int64_t cols)
{
    const float *u = job->p->u + first * job->p->ldu + first;
    for (int64_t s = 0; s * SUB < cols; s++) {
        int64_t n = vise_tile_size(cols, SUB, s);
        float *panel = room->u + s * job->block * SUB;
        for (int64_t l = 0; l < s * SUB + n; l++)
            memcpy(panel + l * SUB, u + l * job->p->ldu + s * SUB, (size_t)n * sizeof *panel);
    }
}

/* The values of lane group g, rows 16 g.., in the block: [block][16]. */
static float *group_values(const solve_job *job, const solve_room *room, int64_t g)
{
    return room->w + g * vise_tile_count(job->block, SUB) * SUB * LANES;
}

/* Brings sub-block s of all rows up to date with the first `solved` columns of the block. */
static void catch_up(const solve_job *job, const solve_room *room, int64_t groups, int64_t s, int64_t solved)
{
    int64_t from = room->applied[s];
    const float *u = room->u + s * job->block * SUB + from * SUB;
    for (int64_t g = 0; g < groups && from < solved; g++)
        job->kernels->update(solved - from, room->e + from * job->height + g * LANES, job->height, u,
                             group_values(job, room, g) + s * SUB * LANES);
    room->applied[s] = solved;
}

/* Solves the block of columns that begins at `first` for rows row0..row0 + rows of w. A column waits for
 * the one before it (two divisions and a rounding), so that lane groups take turns column by column: the
 * processor overlaps them. */
static void solve_block(const solve_job *job, const solve_room *room, int64_t row0, int64_t rows,
                        int64_t first, int64_t cols, double (*loss)[LANES])
{
    const vise_solve *p = job->p;
    int64_t groups = vise_tile_count(rows, LANES);
    float *x = p->w + row0 * p->ldw + first;
    float projected[LANES] = {0};

    for (int64_t g = 0; g < groups; g++)
        job->kernels->load((int)vise_tile_size(rows, LANES, g), cols, x + g * LANES * p->ldw, p->ldw,
                           group_values(job, room, g));
    memset(room->applied, 0, (size_t)vise_tile_count(job->block, SUB) * sizeof *room->applied);
    for (int64_t s = 0; s * SUB < cols; s++) {
        int64_t end = s * SUB + vise_tile_size(cols, SUB, s);
        catch_up(job, room, groups, s, s * SUB);
        for (int64_t c = s * SUB; c < end; c++) {
            bool entering = p->enter != NULL && (first + c) % p->period == 0;
            const float *u = room->u + (s * job->block + c) * SUB + (c - s * SUB);
            for (int64_t later = s + 1; entering && later * SUB < cols && later * SUB < c + p->period;
                 later++)
                catch_up(job, room, groups, later, c);
            for (int64_t g = 0; g < groups; g++) {
                int64_t row = row0 + g * LANES;
                int n = (int)vise_tile_size(rows, LANES, g);
                float *w = group_values(job, room, g) + c * LANES;
                if (entering)
                    p->enter(p->context, row, n, first + c, w);
                p->project(p->context, row, n, first + c, w, projected);
                job->kernels->column((int)(end - c), projected, u[0], u, w,
                                     room->e + c * job->height + g * LANES, loss[n == LANES ? 0 : 1]);
            }
            room->applied[s] = c + 1;
        }
    }
    for (int64_t g = 0; g < groups; g++)
        job->kernels->store((int)vise_tile_size(rows, LANES, g), cols, group_values(job, room, g),
                            x + g * LANES * p->ldw, p->ldw);
}

static vise_status solve_task(void *context, size_t index, int worker, vise_error *err)
{
    (void)err;
    const solve_job *job = context;
    const vise_solve *p = job->p;
    solve_room room = room_of(job, worker);
    int64_t row0 = (int64_t)index * job->height;
    int64_t rows = vise_tile_size(p->rows, job->height, (int64_t)index);
    double loss[2][LANES] = {
        {0}}; /* of whole groups of lanes, and of a last one with lanes that do not count */

    for (int64_t first = job->from; first < job->to; first += job->block) {
        int64_t cols = job->to - first < job->block ? job->to - first : job->block;
        pack_u(job, &room, first, cols);
        solve_block(job, &room, row0, rows, first, cols, loss);
        int64_t end = first + cols;
        for (int64_t col = end; col < p->cols; col += UPDATE_COLS)
            job->blas->gemm(true, false, rows,
                            vise_tile_size(p->cols - end, UPDATE_COLS, (col - end) / UPDATE_COLS), cols,
                            -1.0f, room.e, job->height, p->u + first * p->ldu + col, p->ldu, 1.0f,
                            p->w + row0 * p->ldw + col, p->ldw);
    }
    for (int lane = 0; lane < LANES; lane++)
        job->loss[index] += loss[0][lane] + (lane < rows % LANES ? loss[1][lane] : 0.0);
    return VISE_OK;
}

vise_status vise_cpu_solve_columns(vise_backend *b, const struct vise_solve *problem, double *loss,
                                   vise_error *err)
{
    const vise_cpu_backend *cpu = vise_cpu_backend_of(b);
    void *scratch = NULL;
    void *losses = NULL;
    vise_status status = VISE_OK;

    *loss = 0.0;
    if (problem->rows <= 0 || problem->cols <= 0)
        return VISE_OK;
    /* 64 rows pack u twice as often for a product as 128, but small layers need tasks to share. */
    solve_job job = {
        .p = problem,
        .blas = cpu->blas,
        .kernels = cpu->solve,
        .block = problem->block > 0 ? problem->block : DEFAULT_BLOCK,
        .from = problem->from,
        .to = problem->to > 0 ? problem->to : problem->cols,
        .height = problem->rows <= 1024 ? 64 : 128,
    };
    if (problem->enter != NULL && (problem->period <= 0 || job.block % problem->period != 0))
        return VISE_FAIL(err, VISE_EINTERNAL,
                         "solver: a block of %lld columns is no multiple of the period %lld",
                         (long long)job.block, (long long)problem->period);
    if (job.from < 0 || job.from >= job.to || job.to > problem->cols || job.from % job.block != 0)
        return VISE_FAIL(err, VISE_EINTERNAL, "solver: columns %lld to %lld of %lld in blocks of %lld",
                         (long long)job.from, (long long)job.to, (long long)problem->cols, (long long)job.block);
    if (job.block > problem->cols)
        job.block = problem->cols;
    size_t tasks = (size_t)vise_tile_count(problem->rows, job.height);
    job.slice = (room_floats(job.block, job.height) + LINE - 1) / LINE * LINE;

    /* One slice more than there are workers, to begin at a cache line. */
    VISE_TRY_TO(done, vise_calloc((size_t)vise_workers_count(b->workers) + 1, job.slice * sizeof(float),
                                  &scratch, err));
    VISE_TRY_TO(done, vise_calloc(tasks, sizeof(double), &losses, err));
    job.scratch = (float *)(void *)(((uintptr_t)scratch + LINE * sizeof(float) - 1) / (LINE * sizeof(float)) *
                                    (LINE * sizeof(float)));
    job.loss = losses;
    VISE_TRY_TO(done, vise_parallel(b->workers, tasks, solve_task, &job, err));
    for (size_t i = 0; i < tasks; i++)
        *loss += job.loss[i];
done:
    vise_free(scratch);
    vise_free(losses);
    return status;
}
