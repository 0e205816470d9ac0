#include "quant/trial.h"

#include <math.h>
#include <string.h>

#include "quant/gptq.h"

/* The first sweeps do most of the work; a trial leaves out the others. */
enum { TILE_ROWS = 64, TRIAL_SWEEPS = 2, SAMPLE_ROWS = 256 };

typedef struct energy_job {
    vise_backend *backend;
    const float *h, *a, *b; /* [d, d] whole; [rows, d]; b NULL: zeros */
    int64_t rows, d;
    float *scratch; /* [workers][2][TILE_ROWS, d] */
    double *sums;   /* [tiles] */
} energy_job;

static vise_status energy_tile(void *context, size_t index, int worker, vise_error *err)
{
    const energy_job *job = context;
    const int64_t d = job->d, row0 = (int64_t)index * TILE_ROWS;
    const int64_t rows = job->rows - row0 < TILE_ROWS ? job->rows - row0 : TILE_ROWS;
    float *values = job->scratch + 2 * TILE_ROWS * d * worker, *product = values + TILE_ROWS * d;
    for (int64_t i = 0; i < rows * d; i++)
        values[i] = job->a[row0 * d + i] - (job->b != NULL ? job->b[row0 * d + i] : 0.0f);
    VISE_TRY(job->backend->matrix->gemm_nn(job->backend, rows, d, d, values, d, job->h, d, 0.0f, product, d, err));
    for (int64_t i = 0; i < rows * d; i++)
        job->sums[index] += (double)values[i] * (double)product[i];
    return VISE_OK;
}

/* What the weights of a group, and their candidates, are tried with. */
typedef struct bench {
    float *whole;    /* [d, d]: the Gram matrix, both triangles */
    float *sample;   /* [sampled rows, d] of a weight */
    float *values;   /* [sampled rows, d]: as a candidate leaves them */
    void *codes;
    float *scratch;
    double *sums;
    vise_gptq_input gptq;
} bench;

/* tr((A - B) H (A - B)^T) */
static vise_status energy(const vise_pass_run *run, const bench *b, const float *one, const float *other, int64_t rows,
                          int64_t d, double *out, vise_error *err)
{
    const size_t tiles = (size_t)((rows + TILE_ROWS - 1) / TILE_ROWS);
    energy_job job = {run->backend, b->whole, one, other, rows, d, b->scratch, b->sums};
    memset(b->sums, 0, tiles * sizeof *b->sums);
    VISE_TRY(vise_parallel(run->workers, tiles, energy_tile, &job, err));
    *out = 0.0;
    for (size_t t = 0; t < tiles; t++)
        *out += b->sums[t];
    return VISE_OK;
}

static bool solves(const vise_pass_run *run)
{
    return run->method == &vise_method_gptq;
}

/* Rows [rows, d] as the scheme leaves them; values may not be what rows points at. */
static vise_status apply_scheme(vise_pass_run *run, const vise_weight *weight, int64_t n_rows, const float *rows,
                                const vise_scheme *scheme, const bench *b, float *values, vise_error *err)
{
    const size_t n = (size_t)(n_rows * weight->cols);
    vise_planned planned = *weight->plan;
    vise_qweight q;
    planned.scheme = *scheme;
    vise_qweight_carve(&q, scheme, planned.scale_dtype, n_rows, weight->cols, b->codes);
    vise_weight trial = *weight;
    trial.plan = &planned;
    trial.rows = n_rows;
    trial.values = values;
    trial.q = &q;
    memcpy(values, rows, n * sizeof(float));
    if (solves(run) && !b->gptq.failed) {
        vise_quant_config config = *(const vise_quant_config *)run->config;
        vise_pass_run quick = *run;
        const int sweeps = vise_gptq_sweeps(&config, scheme);
        config.sweeps = sweeps < TRIAL_SWEEPS ? sweeps : TRIAL_SWEEPS;
        quick.config = &config;
        return vise_gptq_solve(&quick, &trial, &b->gptq, err);
    }
    float min, max;
    vise_range(values, n, &min, &max);
    vise_encode(values, vise_quant_clip(run->config, scheme, solves(run)), min, max, &q);
    vise_decode(&q, values);
    return VISE_OK;
}

/* A scale of the whole weight needs all of its rows. */
static int64_t sampled_rows(int64_t rows, const vise_scheme *schemes, size_t n)
{
    for (size_t c = 0; c < n; c++)
        if (schemes[c].granularity != VISE_PER_GROUP && schemes[c].granularity != VISE_PER_CHANNEL)
            return rows;
    return rows < SAMPLE_ROWS ? rows : SAMPLE_ROWS;
}

static vise_status try_weight(vise_pass_run *run, const vise_weight *weight, const vise_scheme *schemes, size_t n,
                              const bench *b, double *losses, vise_error *err)
{
    const int64_t cols = weight->cols, rows = sampled_rows(weight->rows, schemes, n);
    double whole, lost;
    for (int64_t r = 0; r < rows; r++)
        memcpy(b->sample + r * cols, weight->values + r * weight->rows / rows * cols, (size_t)cols * sizeof(float));
    VISE_TRY(energy(run, b, b->sample, NULL, rows, cols, &whole, err));
    for (size_t c = 0; c < n; c++) {
        losses[c] = NAN;
        if (vise_scheme_groups(&schemes[c], cols) == 0)
            continue;
        VISE_TRY(apply_scheme(run, weight, rows, b->sample, &schemes[c], b, b->values, err));
        VISE_TRY(energy(run, b, b->sample, b->values, rows, cols, &lost, err));
        losses[c] = whole > 0.0 ? lost / whole : 0.0;
    }
    return VISE_OK;
}

static void fill_whole(const float *gram, int64_t d, float *whole)
{
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++)
            whole[i * d + j] = i <= j ? gram[i * d + j] : gram[j * d + i];
}

static vise_status open_bench(vise_pass_run *run, const vise_group *group, const vise_scheme *schemes, size_t n,
                              bench *b, vise_error *err)
{
    const int64_t d = group->stats->width;
    vise_pool *pool = run->pool;
    int64_t rows = 0, sample = 0;
    size_t codes = 1;
    vise_gptq_wants wants = {0};
    for (size_t w = 0; w < group->count; w++)
        rows = group->weights[w]->rows > rows ? group->weights[w]->rows : rows;
    sample = sampled_rows(rows, schemes, n);
    for (size_t c = 0; c < n; c++) {
        if (vise_scheme_groups(&schemes[c], d) == 0)
            continue;
        const size_t bytes = vise_qweight_bytes(&schemes[c], rows, d);
        codes = bytes > codes ? bytes : codes;
        vise_gptq_want(&wants, run->config, &schemes[c], rows);
    }
    const size_t row = (size_t)d * sizeof(float), tiles = (size_t)((sample + TILE_ROWS - 1) / TILE_ROWS);
    VISE_TRY(vise_pool_take(pool, (size_t)d * row, "Gram matrix", (void **)&b->whole, err));
    VISE_TRY(vise_pool_take(pool, (size_t)sample * row, "sampled rows", (void **)&b->sample, err));
    VISE_TRY(vise_pool_take(pool, (size_t)sample * row, "a candidate", (void **)&b->values, err));
    VISE_TRY(vise_pool_take(pool, codes, "codes of a candidate", &b->codes, err));
    VISE_TRY(vise_pool_take(pool, (size_t)vise_workers_count(run->workers) * 2 * TILE_ROWS * row, "row tiles",
                            (void **)&b->scratch, err));
    VISE_TRY(vise_pool_take(pool, tiles * sizeof *b->sums, "sums of tiles", (void **)&b->sums, err));
    fill_whole(group->stats->gram, d, b->whole);
    return solves(run) ? vise_gptq_open(run, group->stats, &wants, &b->gptq, err) : VISE_OK;
}

vise_status vise_quant_trial(vise_pass_run *run, vise_group *group, const vise_scheme *schemes, size_t n,
                             double *losses, const size_t *probe, float *const *probed, vise_error *err)
{
    bench b = {0};
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, open_bench(run, group, schemes, n, &b, err));
    for (size_t w = 0; w < group->count; w++) {
        const vise_weight *weight = group->weights[w];
        VISE_TRY_TO(done, try_weight(run, weight, schemes, n, &b, losses + w * n, err));
        VISE_TRY_TO(done, apply_scheme(run, weight, weight->rows, weight->values, &schemes[probe[w]], &b, probed[w],
                                       err));
    }
done:
    vise_gptq_close(run->pool, &b.gptq);
    vise_pool_give(run->pool, b.sums);
    vise_pool_give(run->pool, b.scratch);
    vise_pool_give(run->pool, b.codes);
    vise_pool_give(run->pool, b.values);
    vise_pool_give(run->pool, b.sample);
    vise_pool_give(run->pool, b.whole);
    return status;
}

uint64_t vise_quant_trial_bytes(const vise_pass_run *run)
{
    uint64_t most = 0;
    for (size_t i = 0; i < run->model->count; i++) {
        if (!run->measured[i])
            continue;
        const vise_logical *tensor = run->model->bound[i].tensor;
        const uint64_t d = (uint64_t)tensor->cols, rows = (uint64_t)tensor->rows;
        uint64_t codes = 0, solver = 0;
        for (size_t c = 0; c < run->budget.count; c++) {
            const vise_scheme *scheme = &run->budget.candidates[c];
            if (vise_scheme_groups(scheme, tensor->cols) == 0)
                continue;
            const uint64_t bytes = vise_qweight_bytes(scheme, tensor->rows, tensor->cols);
            const uint64_t solving = solves(run) ? vise_gptq_bytes(run, tensor, scheme) : 0;
            codes = bytes > codes ? bytes : codes;
            solver = solving > solver ? solving : solver;
        }
        const uint64_t sample =
            (uint64_t)sampled_rows(tensor->rows, run->budget.candidates, run->budget.count);
        const uint64_t bytes = 4 * (d * d + 2 * sample * d + 2 * TILE_ROWS * d * (uint64_t)run->threads) + codes +
                               solver + 8 * (rows / TILE_ROWS + 1) + 512;
        most = bytes > most ? bytes : most;
    }
    return most;
}
