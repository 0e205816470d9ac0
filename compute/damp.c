#include "compute/damp.h"

#define DAMP_TILE_ROWS 64

/* h = gram, in solving order, damped; upper triangle. */
typedef struct damp_job {
    const float *gram;
    const int32_t *order;
    float *h;
    int64_t d;
    double added;
} damp_job;

static vise_status damp_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const damp_job *job = context;
    const int64_t d = job->d;
    int64_t row0 = (int64_t)index * DAMP_TILE_ROWS;
    int64_t end = row0 + DAMP_TILE_ROWS < d ? row0 + DAMP_TILE_ROWS : d;
    for (int64_t i = row0; i < end; i++) {
        int64_t a = job->order != NULL ? job->order[i] : i;
        for (int64_t j = i; j < d; j++) {
            int64_t b = job->order != NULL ? job->order[j] : j;
            job->h[i * d + j] = a <= b ? job->gram[a * d + b] : job->gram[b * d + a];
        }
        float diagonal = job->h[i * d + i];
        job->h[i * d + i] = diagonal > 0.0f ? (float)((double)diagonal + job->added) : 1.0f;
    }
    return VISE_OK;
}

vise_status vise_damped_factor(vise_backend *b, int64_t d, const float *gram, const int32_t *order, double damp,
                               float *u, double *taken, bool *failed, vise_error *err)
{
    double sum = 0.0;
    for (int64_t j = 0; j < d; j++)
        sum += (double)gram[j * d + j];
    size_t tiles = (size_t)((d + DAMP_TILE_ROWS - 1) / DAMP_TILE_ROWS);
    *taken = 0.0;
    for (double fraction = damp;; fraction = fraction > 0.0 ? fraction * 10.0 : 1e-4) {
        if (fraction > 1.0 && *taken < 1.0)
            fraction = 1.0;
        damp_job job = {.gram = gram, .order = order, .h = u, .d = d, .added = fraction * sum / (double)d};
        VISE_TRY(vise_parallel(b->workers, tiles, damp_rows, &job, err));
        VISE_TRY(b->factor->inverse_factor(b, d, u, failed, err));
        *taken = fraction;
        if (!*failed || fraction >= 1.0)
            return VISE_OK;
    }
}
