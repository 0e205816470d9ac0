/* Products in tiles over single-threaded BLAS. The cut depends on the shape alone, and every tile is one
 * call (or one call per run of tokens), so that any number of threads gives the same bits. */
#include "compute/cpu_backend.h"

/* 512 x 512 results of one call: packing the operands costs little (1/512 of the products each), 1 MiB
 * stays in the second-level cache, and what BLAS keeps in its own buffer is bounded whatever the layer's
 * width. */
enum { GEMM_TILE = 512 };

typedef struct gemm_job {
    const vise_blas *blas;
    bool trans_b;
    int64_t m, n, k;
    int64_t tile_m, tile_n;
    const float *a, *w;
    int64_t lda, ldw;
    float beta;
    float *c;
    int64_t ldc;
} gemm_job;

static vise_status gemm_task(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const gemm_job *job = context;
    int64_t tiles_n = vise_tile_count(job->n, job->tile_n);
    int64_t i = (int64_t)index / tiles_n;
    int64_t j = (int64_t)index % tiles_n;
    int64_t m0 = i * job->tile_m;
    int64_t n0 = j * job->tile_n;
    job->blas->gemm(false, job->trans_b, vise_tile_size(job->m, job->tile_m, i),
                    vise_tile_size(job->n, job->tile_n, j), job->k, 1.0f, job->a + m0 * job->lda, job->lda,
                    job->trans_b ? job->w + n0 * job->ldw : job->w + n0, job->ldw, job->beta,
                    job->c + m0 * job->ldc + n0, job->ldc);
    return VISE_OK;
}

/* Narrow results (a few hundred columns, as many tokens) are cut finer, so that there is a task for
 * everyone. */
static int64_t gemm_tile(int64_t n)
{
    return n < 2 * GEMM_TILE ? GEMM_TILE / 2 : GEMM_TILE;
}

static vise_status gemm(vise_backend *b, bool trans_b, int64_t m, int64_t n, int64_t k, const float *a,
                        int64_t lda, const float *w, int64_t ldw, float beta, float *c, int64_t ldc,
                        vise_error *err)
{
    if (m <= 0 || n <= 0)
        return VISE_OK;
    gemm_job job = {
        .blas = vise_cpu_backend_of(b)->blas,
        .trans_b = trans_b,
        .m = m,
        .n = n,
        .k = k,
        .a = a,
        .w = w,
        .lda = lda,
        .ldw = ldw,
        .beta = beta,
        .c = c,
        .ldc = ldc,
        .tile_m = gemm_tile(m),
        .tile_n = gemm_tile(n),
    };
    size_t tasks = (size_t)(vise_tile_count(m, job.tile_m) * vise_tile_count(n, job.tile_n));
    return vise_parallel(b->workers, tasks, gemm_task, &job, err);
}

static vise_status gemm_nt(vise_backend *b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                           const float *w, int64_t ldw, float beta, float *c, int64_t ldc, vise_error *err)
{
    return gemm(b, true, m, n, k, a, lda, w, ldw, beta, c, ldc, err);
}

static vise_status gemm_nn(vise_backend *b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                           const float *w, int64_t ldw, float beta, float *c, int64_t ldc, vise_error *err)
{
    return gemm(b, false, m, n, k, a, lda, w, ldw, beta, c, ldc, err);
}

typedef struct gram_job {
    const vise_blas *blas;
    int64_t t, d, tile;
    const float *x;
    int64_t ldx;
    float *g;
} gram_job;

static vise_status gram_task(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const gram_job *job = context;
    int64_t row;
    int64_t col;
    vise_tile_pair(vise_tile_count(job->d, job->tile), index, &row, &col);
    int64_t i = row * job->tile;
    int64_t j = col * job->tile;
    int64_t m = vise_tile_size(job->d, job->tile, row);
    int64_t n = vise_tile_size(job->d, job->tile, col);
    float *g = job->g + i * job->d + j;
    for (int64_t t0 = 0; t0 < job->t; t0 += VISE_GRAM_RUN) {
        int64_t run = vise_tile_size(job->t, VISE_GRAM_RUN, t0 / VISE_GRAM_RUN);
        const float *x = job->x + t0 * job->ldx;
        if (row == col)
            job->blas->syrk(true, m, run, 1.0f, x + i, job->ldx, g, job->d);
        else
            job->blas->gemm(true, false, m, n, run, 1.0f, x + i, job->ldx, x + j, job->ldx, 1.0f, g, job->d);
    }
    return VISE_OK;
}

static vise_status gram(vise_backend *b, int64_t t, int64_t d, const float *x, int64_t ldx, float *g,
                        vise_error *err)
{
    if (t <= 0 || d <= 0)
        return VISE_OK;
    gram_job job = {vise_cpu_backend_of(b)->blas, t, d, gemm_tile(d), x, ldx, g};
    int64_t tiles = vise_tile_count(d, job.tile);
    return vise_parallel(b->workers, (size_t)(tiles * (tiles + 1) / 2), gram_task, &job, err);
}

typedef struct cross_job {
    const vise_blas *blas;
    int64_t t, m, n, tile_m, tile_n;
    const float *x, *y;
    int64_t ldx, ldy;
    float *g;
    int64_t ldg;
} cross_job;

static vise_status cross_task(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const cross_job *job = context;
    const int64_t tiles_n = vise_tile_count(job->n, job->tile_n);
    const int64_t row = (int64_t)index / tiles_n, col = (int64_t)index % tiles_n;
    const int64_t i = row * job->tile_m, j = col * job->tile_n;
    for (int64_t t0 = 0; t0 < job->t; t0 += VISE_GRAM_RUN)
        job->blas->gemm(true, false, vise_tile_size(job->m, job->tile_m, row), vise_tile_size(job->n, job->tile_n, col),
                        vise_tile_size(job->t, VISE_GRAM_RUN, t0 / VISE_GRAM_RUN), 1.0f, job->x + t0 * job->ldx + i,
                        job->ldx, job->y + t0 * job->ldy + j, job->ldy, 1.0f, job->g + i * job->ldg + j, job->ldg);
    return VISE_OK;
}

static vise_status cross(vise_backend *b, int64_t t, int64_t m, int64_t n, const float *x, int64_t ldx, const float *y,
                         int64_t ldy, float *g, int64_t ldg, vise_error *err)
{
    if (t <= 0 || m <= 0 || n <= 0)
        return VISE_OK;
    cross_job job = {.blas = vise_cpu_backend_of(b)->blas,
                     .t = t,
                     .m = m,
                     .n = n,
                     .tile_m = gemm_tile(m),
                     .tile_n = gemm_tile(n),
                     .x = x,
                     .y = y,
                     .ldx = ldx,
                     .ldy = ldy,
                     .g = g,
                     .ldg = ldg};
    const size_t tasks = (size_t)(vise_tile_count(m, job.tile_m) * vise_tile_count(n, job.tile_n));
    return vise_parallel(b->workers, tasks, cross_task, &job, err);
}

const vise_matrix_ops vise_cpu_matrix_ops = {gemm_nt, gemm_nn, gram, cross};
