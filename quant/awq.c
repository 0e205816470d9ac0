#include "quant/awq.h"

#include <math.h>
#include <string.h>

/* Rows that are tried at once, and rows of a weight that choose its scales: rows do not depend on each other. */
enum { TILE_ROWS = 64, SAMPLE_ROWS = 512 };

/* ---- a tile of rows ---------------------------------------------------------------------------------------------- */

/* Scratch of a worker: [TILE_ROWS, cols] each. */
typedef struct tile_scratch {
    float *scaled, *values, *product;
    float *range;         /* [TILE_ROWS, groups]: the best of a group so far */
    float *least, *error; /* [TILE_ROWS, groups]: of that range, and of the one being tried */
    void *codes;
} tile_scratch;

static size_t align64(size_t n)
{
    return (n + 63) / 64 * 64;
}

static size_t scratch_bytes(const vise_scheme *scheme, int64_t cols)
{
    return 6 * align64((size_t)(TILE_ROWS * cols) * sizeof(float)) +
           align64(vise_qweight_bytes(scheme, TILE_ROWS, cols));
}

static tile_scratch carve(char *block, int64_t cols)
{
    const size_t step = align64((size_t)(TILE_ROWS * cols) * sizeof(float));
    return (tile_scratch){(float *)(void *)block,
                          (float *)(void *)(block + step),
                          (float *)(void *)(block + 2 * step),
                          (float *)(void *)(block + 3 * step),
                          (float *)(void *)(block + 4 * step),
                          (float *)(void *)(block + 5 * step),
                          block + 6 * step};
}

/* What clips by the Gram matrix: integers whose groups lie within a row. */
static bool clips(const vise_quant_config *config, const vise_scheme *scheme)
{
    return strcmp(config->clip, "auto") == 0 && scheme->granularity == VISE_PER_GROUP && scheme->type->blocks == NULL &&
           scheme->type->codebook == NULL;
}

static vise_clip plain_clip(const vise_quant_config *config, const vise_scheme *scheme)
{
    return strcmp(config->clip, "auto") == 0 ? VISE_CLIP_NONE : vise_quant_clip(config, scheme, false);
}

/* values becomes what the codes of `from` [rows, cols] say. */
static void round_rows(vise_clip clip, const float *from, float min, float max, vise_qweight *q, float *values)
{
    vise_encode(from, clip, min, max, q);
    vise_decode(q, values);
}

/* ---- scales ------------------------------------------------------------------------------------------------------ */

void vise_awq_scale(int64_t width, const float *size, double ratio, float *scale)
{
    double least = INFINITY, greatest = 0.0;
    for (int64_t c = 0; c < width; c++) {
        if (!(size[c] > 0.0f))
            continue;
        const double s = pow((double)size[c], ratio);
        least = fmin(least, s);
        greatest = fmax(greatest, s);
    }
    const double mean = sqrt(least * greatest);
    for (int64_t c = 0; c < width; c++) {
        const float s = size[c] > 0.0f ? (float)(pow((double)size[c], ratio) / mean) : 1.0f;
        scale[c] = s > 0.0f && isfinite(s) ? s : 1.0f;
    }
}

typedef struct trial_job {
    vise_pass_run *run;
    const vise_weight *weight;
    const float *whole; /* [d, d] */
    const float *scale; /* [d] */
    float min, max;     /* of the scaled weight, for schemes with one range */
    int64_t rows;       /* sampled */
    char **scratch;     /* [workers] */
    double *sums;       /* [tiles] */
} trial_job;

/* tr(D H D^T) of a tile of sampled rows. */
static vise_status try_tile(void *context, size_t index, int worker, vise_error *err)
{
    const trial_job *job = context;
    const vise_weight *weight = job->weight;
    const int64_t d = weight->cols, row0 = (int64_t)index * TILE_ROWS;
    const int64_t rows = job->rows - row0 < TILE_ROWS ? job->rows - row0 : TILE_ROWS;
    const vise_scheme *scheme = &weight->plan->scheme;
    vise_backend *backend = job->run->backend;
    tile_scratch s = carve(job->scratch[worker], d);
    vise_qweight q;
    vise_qweight_carve(&q, scheme, weight->plan->scale_dtype, rows, d, s.codes);
    for (int64_t r = 0; r < rows; r++) {
        const float *row = weight->values + (row0 + r) * weight->rows / job->rows * d;
        for (int64_t c = 0; c < d; c++)
            s.scaled[r * d + c] = row[c] * job->scale[c];
    }
    round_rows(plain_clip(job->run->config, scheme), s.scaled, job->min, job->max, &q, s.values);
    for (int64_t i = 0; i < rows * d; i++)
        s.values[i] = (s.values[i] - s.scaled[i]) / job->scale[i % d];
    VISE_TRY(backend->matrix->gemm_nn(backend, rows, d, d, s.values, d, job->whole, d, 0.0f, s.product, d, err));
    for (int64_t i = 0; i < rows * d; i++)
        job->sums[index] += (double)s.values[i] * (double)s.product[i];
    return VISE_OK;
}

static vise_status try_scale(trial_job *job, double *loss, vise_error *err)
{
    const size_t tiles = (size_t)((job->rows + TILE_ROWS - 1) / TILE_ROWS);
    const vise_weight *weight = job->weight;
    const int64_t d = weight->cols;
    job->min = job->max = 0.0f;
    for (int64_t i = 0; weight->plan->scheme.granularity == VISE_PER_TENSOR && i < weight->rows * d; i++) {
        const float v = weight->values[i] * job->scale[i % d];
        job->min = v < job->min ? v : job->min;
        job->max = v > job->max ? v : job->max;
    }
    memset(job->sums, 0, tiles * sizeof *job->sums);
    VISE_TRY(vise_parallel(job->run->workers, tiles, try_tile, job, err));
    for (size_t t = 0; t < tiles; t++)
        *loss += job->sums[t];
    return VISE_OK;
}

/* ---- what both searches work with -------------------------------------------------------------------------------- */

typedef struct bench {
    float *whole;   /* [d, d]: the Gram matrix, both triangles */
    float *trial;   /* [d] */
    char **scratch; /* [workers] */
    double *sums;   /* [tiles of the sample] */
} bench;

static void close_bench(const vise_pass_run *run, bench *b)
{
    const int workers = vise_workers_count(run->workers);
    for (int w = 0; b->scratch != NULL && w < workers; w++)
        vise_pool_give(run->pool, b->scratch[w]);
    vise_free(b->scratch);
    vise_pool_give(run->pool, b->sums);
    vise_pool_give(run->pool, b->trial);
    vise_pool_give(run->pool, b->whole);
}

static vise_status open_bench(const vise_pass_run *run, const vise_group *group, bench *b, vise_error *err)
{
    const int64_t d = group->stats->width;
    const int workers = vise_workers_count(run->workers);
    const float *gram = group->stats->gram;
    size_t bytes = 0;
    for (size_t w = 0; w < group->count; w++) {
        const size_t needed = scratch_bytes(&group->weights[w]->plan->scheme, d);
        bytes = needed > bytes ? needed : bytes;
    }
    VISE_TRY(vise_pool_take(run->pool, (size_t)(d * d) * sizeof(float), "Gram matrix", (void **)&b->whole, err));
    VISE_TRY(vise_pool_take(run->pool, (size_t)d * sizeof(float), "scales", (void **)&b->trial, err));
    VISE_TRY(vise_pool_take(run->pool, (SAMPLE_ROWS / TILE_ROWS + 1) * sizeof *b->sums, "sums of tiles",
                            (void **)&b->sums, err));
    VISE_TRY(vise_calloc((size_t)workers, sizeof *b->scratch, (void **)&b->scratch, err));
    for (int w = 0; w < workers; w++)
        VISE_TRY(vise_pool_take(run->pool, bytes, "row tiles", (void **)&b->scratch[w], err));
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++)
            b->whole[i * d + j] = i <= j ? gram[i * d + j] : gram[j * d + i];
    return VISE_OK;
}

static vise_status awq_scale(vise_pass_run *run, const vise_group *group, const float *size, float *scale,
                             vise_error *err)
{
    const int64_t d = group->stats->width;
    bench b = {0};
    double best = INFINITY;
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, open_bench(run, group, &b, err));
    for (int i = 0; i <= VISE_AWQ_RATIOS; i++) {
        double loss = 0.0;
        vise_awq_scale(d, size, (double)i / VISE_AWQ_RATIOS, b.trial);
        for (size_t w = 0; w < group->count; w++) {
            const vise_weight *weight = group->weights[w];
            trial_job job = {.run = run, .weight = weight, .whole = b.whole, .scale = b.trial,
                             .rows = weight->rows < SAMPLE_ROWS ? weight->rows : SAMPLE_ROWS,
                             .scratch = b.scratch, .sums = b.sums};
            double of_sample = 0.0;
            VISE_TRY_TO(done, try_scale(&job, &of_sample, err));
            loss += of_sample * (double)weight->rows / (double)job.rows;
        }
        if (loss < best || i == 0) {
            best = loss;
            memcpy(scale, b.trial, (size_t)d * sizeof(float));
        }
    }
done:
    close_bench(run, &b);
    return status;
}

/* ---- ranges and codes -------------------------------------------------------------------------------------------- */

typedef struct code_job {
    vise_pass_run *run;
    vise_weight *weight;
    const float *whole;
    char **scratch;
    float min, max;
} code_job;

/* scaled becomes values within `range` of each group's own least and greatest. */
static void clip_groups(const float *values, int64_t rows, int64_t cols, int64_t group, const float *range, float all,
                        float *clipped)
{
    const int64_t groups = cols / group;
    for (int64_t g = 0; g < rows * groups; g++) {
        const float *from = values + g * group, part = range != NULL ? range[g] : all;
        float min, max;
        vise_range(from, (size_t)group, &min, &max);
        for (int64_t j = 0; j < group; j++)
            clipped[g * group + j] = fminf(fmaxf(from[j], part * min), part * max);
    }
}

/* D_g H_gg D_g^T of every group: what its error adds to the output by itself. */
static vise_status group_errors(const code_job *job, const float *values, const tile_scratch *s, int64_t rows,
                                int64_t group, float *errors, vise_error *err)
{
    const int64_t d = job->weight->cols, groups = d / group;
    vise_backend *backend = job->run->backend;
    for (int64_t i = 0; i < rows * d; i++)
        s->values[i] -= values[i];
    for (int64_t g = 0; g < groups; g++)
        VISE_TRY(backend->matrix->gemm_nn(backend, rows, group, group, s->values + g * group, d,
                                          job->whole + g * group * d + g * group, d, 0.0f, s->product + g * group, d,
                                          err));
    for (int64_t g = 0; g < rows * groups; g++) {
        errors[g] = 0.0f;
        for (int64_t j = g * group; j < (g + 1) * group; j++)
            errors[g] += s->values[j] * s->product[j];
    }
    return VISE_OK;
}

/* The best range of every group of the tile. */
static vise_status search_ranges(const code_job *job, const float *values, const tile_scratch *s, int64_t rows,
                                 vise_qweight *q, vise_error *err)
{
    const int64_t d = job->weight->cols, group = q->scheme.group, all = rows * (d / group);
    for (int i = 0; i <= VISE_AWQ_RANGES / 2; i++) {
        const float part = 1.0f - (float)i / VISE_AWQ_RANGES;
        clip_groups(values, rows, d, group, NULL, part, s->scaled);
        round_rows(VISE_CLIP_NONE, s->scaled, 0.0f, 0.0f, q, s->values);
        VISE_TRY(group_errors(job, values, s, rows, group, s->error, err));
        for (int64_t g = 0; g < all; g++)
            if (i == 0 || s->error[g] < s->least[g]) {
                s->least[g] = s->error[g];
                s->range[g] = part;
            }
    }
    clip_groups(values, rows, d, group, s->range, 1.0f, s->scaled);
    return VISE_OK;
}

static vise_status encode_tile(void *context, size_t index, int worker, vise_error *err)
{
    const code_job *job = context;
    const vise_weight *weight = job->weight;
    const vise_quant_config *config = job->run->config;
    const int64_t d = weight->cols, row0 = (int64_t)index * TILE_ROWS;
    const int64_t rows = weight->rows - row0 < TILE_ROWS ? weight->rows - row0 : TILE_ROWS;
    tile_scratch s = carve(job->scratch[worker], d);
    float *values = weight->values + row0 * d;
    vise_qweight q = vise_qweight_rows(weight->q, row0, rows);
    const vise_scheme *scheme = &weight->plan->scheme;
    if (!clips(config, scheme)) {
        round_rows(plain_clip(config, scheme), values, job->min, job->max, &q, values);
        return VISE_OK;
    }
    VISE_TRY(search_ranges(job, values, &s, rows, &q, err));
    round_rows(VISE_CLIP_NONE, s.scaled, 0.0f, 0.0f, &q, values);
    return VISE_OK;
}

static vise_status awq_group(vise_pass_run *run, vise_group *group, vise_error *err)
{
    bench b = {0};
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, open_bench(run, group, &b, err));
    for (size_t w = 0; w < group->count; w++) {
        vise_weight *weight = group->weights[w];
        code_job job = {run, weight, b.whole, b.scratch, 0.0f, 0.0f};
        vise_range(weight->values, (size_t)(weight->rows * weight->cols), &job.min, &job.max);
        VISE_TRY_TO(done, vise_parallel(run->workers, (size_t)((weight->rows + TILE_ROWS - 1) / TILE_ROWS),
                                        encode_tile, &job, err));
        weight->quantized = true;
    }
done:
    close_bench(run, &b);
    return status;
}

/* ---- the method -------------------------------------------------------------------------------------------------- */

static uint64_t awq_group_bytes(const vise_pass_run *run)
{
    uint64_t most = 0;
    for (size_t i = 0; i < run->model->count; i++) {
        const vise_planned *planned = &run->planned[i];
        if ((planned->passes >> run->index & 1) == 0 || planned->scheme.type == NULL)
            continue;
        const uint64_t d = (uint64_t)planned->bound->tensor->cols;
        const uint64_t bytes = 4 * d * (d + 1) + 8 * (SAMPLE_ROWS / TILE_ROWS + 1) +
                               (uint64_t)run->threads * scratch_bytes(&planned->scheme, (int64_t)d) + 512;
        most = bytes > most ? bytes : most;
    }
    return most;
}

static vise_status awq_plan(vise_pass_run *run, vise_error *err)
{
    char text[VISE_SCHEME_TEXT_MAX];
    VISE_TRY(vise_quant_plan(run, err));
    for (size_t i = 0; i < run->model->count; i++) {
        const vise_planned *planned = &run->planned[i];
        if ((planned->passes >> run->index & 1) != 0 && planned->scheme.type != NULL &&
            (planned->scheme.type->blocks != NULL || planned->scheme.type->codebook != NULL))
            return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: --method awq does not choose codes of %s; use --method rtn",
                             planned->bound->tensor->module, vise_scheme_text(&planned->scheme, text));
    }
    return VISE_OK;
}

const vise_method vise_method_awq = {
    .name = "awq",
    .summary = "channels scaled and ranges shrunk by their inputs, then the nearest code (arXiv:2306.00978); needs "
               "calibration text",
    .needs = VISE_NEED_GRAM,
    .plan = awq_plan,
    .group_bytes = awq_group_bytes,
    .group = awq_group,
    .scale = awq_scale,
};
