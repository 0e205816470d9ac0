/* The embedding: only rows that occur are read, in tiles, each once. */
#include <string.h>

#include "formats/layout.h"
#include "formats/store.h"
#include "model/stream.h"
#include "model/weights.h"

typedef struct embed_job {
    const vise_model *model;
    size_t index; /* of the embedding in vise_model.bound */
    const int32_t *ids;
    const size_t *first; /* [tiles + 1]: where a tile's tokens begin in `order` */
    const size_t *order; /* [n]: tokens, grouped by the tile of their ids */
    int64_t tile_rows, width;
    vise_pool *pool;
    float *out;
} embed_job;

/* One tile of the embedding: reads from the lowest to the highest id that occurs and hands the rows out. */
static vise_status embed_tile(void *context, size_t tile, int worker, vise_error *err)
{
    (void)worker;
    const embed_job *job = context;
    size_t begin = job->first[tile], end = job->first[tile + 1];
    if (begin == end)
        return VISE_OK;
    int32_t low = INT32_MAX, high = 0;
    for (size_t i = begin; i < end; i++) {
        int32_t id = job->ids[job->order[i]];
        low = id < low ? id : low;
        high = id > high ? id : high;
    }
    int64_t row0 = low - low % VISE_TILE_ROWS;
    int64_t rows = high + 1 - row0;
    size_t row_bytes = (size_t)job->width * sizeof(float);
    void *values = NULL;
    VISE_TRY(vise_pool_take(job->pool, (size_t)rows * row_bytes, "rows of the embedding", &values, err));
    vise_status status = vise_weight_read(job->model, job->index, row0, rows, values, job->pool, err);
    for (size_t i = begin; status == VISE_OK && i < end; i++) {
        size_t token = job->order[i];
        memcpy(job->out + (int64_t)token * job->width,
               (const float *)values + (job->ids[token] - row0) * job->width, row_bytes);
    }
    vise_pool_give(job->pool, values);
    return status;
}

/* out [n, embed] */
static vise_status choose_rows(const vise_model *model, const int32_t *ids, size_t n, vise_workers *workers,
                               vise_pool *pool, float *out, vise_error *err)
{
    const int64_t width = vise_config_dim(&model->config, VISE_DIM_EMBED);
    embed_job job = {.model = model, .ids = ids, .width = width, .pool = pool, .out = out};
    VISE_TRY(vise_weight_find(model, VISE_ROLE_EMBEDDING, -1, &job.index, err));
    job.tile_rows = vise_weight_tile_rows(width);
    size_t tiles = (size_t)((model->config.vocab + job.tile_rows - 1) / job.tile_rows);

    size_t entries = 0, bytes = 0;
    if (!vise_add_size(n, tiles + 2, &entries) || !vise_mul_size(entries, sizeof(size_t), &bytes))
        return VISE_FAIL(err, VISE_ERESOURCE, "too many tokens for this machine: %zu", n);
    void *memory = NULL;
    VISE_TRY(vise_pool_take(pool, bytes, "the order of tokens by id", &memory, err));
    size_t *first = memory, *order = first + tiles + 2;

    /* Counting sort of the tokens by tile: first[t + 2] counts tile t, then first[t + 1] walks from start to end. */
    memset(first, 0, (tiles + 2) * sizeof *first);
    vise_status status = VISE_OK;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= model->config.vocab) {
            status = VISE_FAIL(err, VISE_EUSAGE,
                               "token id %d is outside the model's vocabulary of %lld; is the tokenizer its own?",
                               ids[i], (long long)model->config.vocab);
            goto done;
        }
        first[ids[i] / job.tile_rows + 2]++;
    }
    for (size_t t = 2; t < tiles + 2; t++)
        first[t] += first[t - 1];
    for (size_t i = 0; i < n; i++)
        order[first[ids[i] / job.tile_rows + 1]++] = i;
    job.first = first;
    job.order = order;
    status = vise_parallel(workers, tiles, embed_tile, &job, err);
done:
    vise_pool_give(pool, memory);
    return status;
}

vise_status vise_embed(const vise_model *model, const vise_embed_tables *tables, const int32_t *ids, size_t n,
                       vise_workers *workers, vise_pool *pool, float *out, vise_error *err)
{
    const int64_t hidden = model->config.hidden, width = model->config.embed;
    vise_backend *b = tables->backend;
    void *rows = NULL;
    if (tables->projection == NULL)
        return choose_rows(model, ids, n, workers, pool, out, err);
    size_t step = n < VISE_EMBED_PROJECTED ? n : VISE_EMBED_PROJECTED;
    VISE_TRY(vise_pool_take(pool, step * (size_t)width * sizeof(float), "embedded tokens", &rows, err));
    vise_status status = VISE_OK;
    for (size_t first = 0; status == VISE_OK && first < n; first += step) {
        size_t part = n - first < step ? n - first : step;
        status = choose_rows(model, ids + first, part, workers, pool, rows, err);
        if (status == VISE_OK)
            status = b->matrix->gemm_nt(b, (int64_t)part, hidden, width, rows, width, tables->projection, width, 0.0f,
                                        out + first * (size_t)hidden, hidden, err);
    }
    vise_pool_give(pool, rows);
    return status;
}
