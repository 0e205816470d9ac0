/* What follows the choice of rows by id: scale, positions, types and norm. */
#include <math.h>

#include "model/stream.h"
#include "model/weights.h"

enum { FINISH_TOKENS = 256 };

static vise_status load_rows(const vise_model *model, vise_role role, int64_t rows, vise_workers *workers,
                             vise_pool *pool, float **out, vise_error *err)
{
    size_t index = vise_model_role(model, role, -1);
    void *memory = NULL;
    if (index == SIZE_MAX)
        return VISE_OK;
    VISE_TRY(vise_pool_take(pool, (size_t)(rows * model->config.hidden) * sizeof(float), vise_role_name(role),
                            &memory, err));
    *out = memory;
    return vise_weight_read_all(model, index, 0, rows, workers, pool, *out, err);
}

static vise_status load_projection(const vise_model *model, vise_workers *workers, vise_embed_tables *tables,
                                   vise_error *err)
{
    const vise_config *config = &model->config;
    void *memory = NULL;
    size_t index;
    if (config->embed == 0)
        return VISE_OK;
    VISE_TRY(vise_weight_find(model, VISE_ROLE_EMBEDDING_PROJECTION, -1, &index, err));
    VISE_TRY(vise_backend_open("cpu", workers, &tables->backend, err));
    VISE_TRY(vise_pool_take(tables->pool, (size_t)(config->hidden * config->embed) * sizeof(float),
                            "the embedding's projection", &memory, err));
    tables->projection = memory;
    return vise_weight_read_all(model, index, 0, config->hidden, workers, tables->pool, tables->projection, err);
}

vise_status vise_embed_tables_load(const vise_model *model, const vise_stream *stream, int64_t n_types,
                                   vise_workers *workers, vise_embed_tables *tables, vise_error *err)
{
    vise_pool *pool = stream->pool;
    int64_t positions = (int64_t)stream->reach + model->config.position_offset;
    *tables = (vise_embed_tables){.pool = pool};
    VISE_TRY(load_projection(model, workers, tables, err));
    VISE_TRY(load_rows(model, VISE_ROLE_POSITION_EMBEDDING, positions, workers, pool, &tables->positions, err));
    VISE_TRY(load_rows(model, VISE_ROLE_TYPE_EMBEDDING, n_types, workers, pool, &tables->types, err));
    VISE_TRY(load_rows(model, VISE_ROLE_EMBEDDING_NORM, 1, workers, pool, &tables->norm, err));
    size_t bias = vise_model_bias(model, VISE_ROLE_EMBEDDING_NORM, -1);
    void *memory = NULL;
    if (bias == SIZE_MAX)
        return VISE_OK;
    VISE_TRY(vise_pool_take(pool, (size_t)model->config.hidden * sizeof(float), "bias of a norm", &memory, err));
    tables->bias = memory;
    return vise_weight_read_all(model, bias, 0, 1, workers, pool, tables->bias, err);
}

void vise_embed_tables_free(vise_embed_tables *tables)
{
    vise_backend_close(tables->backend);
    vise_pool_give(tables->pool, tables->projection);
    vise_pool_give(tables->pool, tables->positions);
    vise_pool_give(tables->pool, tables->types);
    vise_pool_give(tables->pool, tables->norm);
    vise_pool_give(tables->pool, tables->bias);
    *tables = (vise_embed_tables){0};
}

uint64_t vise_embed_tables_bytes(const vise_model *model, size_t length)
{
    const int64_t types = model->config.types;
    uint64_t rows = 2 + (uint64_t)(types < 1 ? 1 : types > UINT8_MAX ? UINT8_MAX + 1 : types);
    if (model->config.position == VISE_POSITION_LEARNED)
        rows += length + (uint64_t)model->config.position_offset;
    uint64_t projection = (uint64_t)model->config.embed * ((uint64_t)model->config.hidden + VISE_EMBED_PROJECTED);
    return (rows * (uint64_t)model->config.hidden + projection) * sizeof(float);
}

typedef struct finish_job {
    const vise_model *model;
    const vise_stream *stream;
    const vise_embed_tables *tables;
    const uint8_t *types; /* [n], or NULL */
    size_t token0, n;
    float *x;
} finish_job;

/* The window of a token: the last one that starts at or before it. */
static size_t window_of(const vise_stream *stream, size_t token)
{
    size_t low = 0, high = stream->windows;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (stream->start[middle] <= token)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* LayerNorm in place, as vise_network_ops.layer_norm; the embedding comes before there is a backend. */
static void normalize(const vise_config *config, const vise_embed_tables *tables, float *x)
{
    double mean = 0.0, variance = 0.0, d = (double)config->hidden;
    for (int64_t j = 0; j < config->hidden; j++)
        mean += (double)x[j];
    mean /= d;
    for (int64_t j = 0; j < config->hidden; j++)
        variance += ((double)x[j] - mean) * ((double)x[j] - mean);
    float factor = (float)(1.0 / sqrt(variance / d + config->norm_eps));
    for (int64_t j = 0; j < config->hidden; j++)
        x[j] = (x[j] - (float)mean) * factor * tables->norm[j] + (tables->bias ? tables->bias[j] : 0.0f);
}

static vise_status finish_tokens(void *context, size_t tile, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const finish_job *job = context;
    const vise_config *config = &job->model->config;
    const vise_embed_tables *tables = job->tables;
    const float scale = config->embedding_scale > 0.0 ? (float)config->embedding_scale : 1.0f;
    size_t first = tile * FINISH_TOKENS, end = first + FINISH_TOKENS < job->n ? first + FINISH_TOKENS : job->n;
    size_t window = window_of(job->stream, job->token0 + first);
    for (size_t i = first; i < end; i++) {
        float *x = job->x + i * (size_t)config->hidden;
        size_t token = job->token0 + i;
        while (token >= job->stream->start[window + 1])
            window++;
        size_t row = job->stream->chained ? job->stream->position + token : token - job->stream->start[window];
        row += (size_t)config->position_offset;
        const float *position = tables->positions ? tables->positions + row * (size_t)config->hidden : NULL;
        const float *type = tables->types;
        if (type && job->types)
            type += job->types[i] * (size_t)config->hidden;
        for (int64_t j = 0; j < config->hidden; j++)
            x[j] = x[j] * scale + (position ? position[j] : 0.0f) + (type ? type[j] : 0.0f);
        if (tables->norm)
            normalize(config, tables, x);
    }
    return VISE_OK;
}

vise_status vise_embed_finish(const vise_model *model, const vise_stream *stream, const vise_embed_tables *tables,
                              const uint8_t *types, vise_workers *workers, size_t token0, size_t n, float *x,
                              vise_error *err)
{
    if (!tables->positions && !tables->types && !tables->norm && model->config.embedding_scale == 0.0)
        return VISE_OK;
    finish_job job = {model, stream, tables, types, token0, n, x};
    return vise_parallel(workers, (n + FINISH_TOKENS - 1) / FINISH_TOKENS, finish_tokens, &job, err);
}
