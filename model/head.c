#include <string.h>

#include "formats/layout.h"
#include "formats/store.h"
#include "model/activation.h"
#include "model/stream.h"
#include "model/weights.h"

/* A head that is not resident is read in tiles of this size. */
#define HEAD_TILE_BYTES ((int64_t)16 << 20)

struct vise_head {
    const vise_model *model;
    const vise_activation *activation;
    size_t index;  /* of the head in vise_model.bound */
    float *norm;   /* [hidden] */
    float *matrix; /* [vocab, hidden], NULL: not resident */
    vise_pool *pool;
};

static int64_t tile_rows(const vise_model *model)
{
    int64_t rows = HEAD_TILE_BYTES / ((int64_t)sizeof(float) * model->config.hidden);
    rows -= rows % VISE_TILE_ROWS;
    rows = rows > VISE_TILE_ROWS ? rows : VISE_TILE_ROWS;
    return rows < model->config.vocab ? rows : model->config.vocab;
}

static uint64_t matrix_bytes(const vise_model *model)
{
    return (uint64_t)model->config.vocab * (uint64_t)model->config.hidden * sizeof(float);
}

uint64_t vise_head_bytes(const vise_model *model)
{
    return matrix_bytes(model) + (uint64_t)model->config.hidden * sizeof(float);
}

uint64_t vise_head_scratch_bytes(const vise_model *model, size_t tokens, bool resident)
{
    uint64_t row = (uint64_t)model->config.hidden * sizeof(float);
    return tokens * row + (resident ? 0 : (uint64_t)tile_rows(model) * row);
}

static vise_status load(vise_head *head, uint64_t ram_bytes, vise_workers *workers, vise_error *err)
{
    const vise_model *model = head->model;
    void *memory = NULL;
    size_t norm = 0;
    VISE_TRY(vise_weight_find(model, VISE_ROLE_HEAD, -1, &head->index, err));
    VISE_TRY(vise_weight_find(model, VISE_ROLE_FINAL_NORM, -1, &norm, err));
    VISE_TRY(vise_pool_take(head->pool, (size_t)model->config.hidden * sizeof(float), "final norm", &memory, err));
    head->norm = memory;
    VISE_TRY(vise_weight_read_all(model, norm, 0, 1, NULL, head->pool, head->norm, err));
    if (matrix_bytes(model) > ram_bytes)
        return VISE_OK;
    VISE_TRY(vise_pool_take(head->pool, (size_t)matrix_bytes(model), "the head", &memory, err));
    head->matrix = memory;
    return vise_weight_read_all(model, head->index, 0, model->config.vocab, workers, head->pool, head->matrix, err);
}

vise_status vise_head_open(const vise_model *model, uint64_t ram_bytes, bool weights_only, vise_workers *workers,
                           vise_pool *pool, vise_head **out, vise_error *err)
{
    *out = NULL;
    VISE_TRY(vise_model_need_forward(model, "computing logits", err));
    void *memory = NULL;
    VISE_TRY(vise_calloc(1, sizeof(vise_head), &memory, err));
    vise_head *head = memory;
    head->model = model;
    head->pool = pool;
    vise_status status = load(head, ram_bytes, workers, err);
    if (status == VISE_OK && !weights_only)
        status = vise_activation_find(model->bound[head->index].tensor->scheme.activation, &head->activation, err);
    if (status != VISE_OK) {
        vise_head_close(head);
        return status;
    }
    *out = head;
    return VISE_OK;
}

void vise_head_close(vise_head *head)
{
    if (!head)
        return;
    vise_pool_give(head->pool, head->matrix);
    vise_pool_give(head->pool, head->norm);
    vise_free(head);
}

bool vise_head_is_resident(const vise_head *head)
{
    return head->matrix != NULL;
}

/* ---- logits -------------------------------------------------------------------------------------------------- */

typedef struct norm_job {
    const vise_head *head;
    const vise_stream *stream;
    vise_backend *backend;
    size_t token0, tokens;
    float *out; /* [tokens, hidden] */
} norm_job;

/* The final norm of one tile of tokens, in place: rms_norm reads a row before it writes it. */
static vise_status norm_tile(void *context, size_t tile, int worker, vise_error *err)
{
    (void)worker;
    const norm_job *job = context;
    const vise_config *config = &job->head->model->config;
    size_t first = tile * VISE_FORWARD_TILE;
    size_t n = job->tokens - first < VISE_FORWARD_TILE ? job->tokens - first : VISE_FORWARD_TILE;
    float *x = job->out + first * (size_t)config->hidden;
    VISE_TRY(vise_stream_read(job->stream, job->token0 + first, n, x, err));
    VISE_TRY(job->backend->network->rms_norm(job->backend, (int64_t)n, config->hidden, x, job->head->norm,
                                             (float)config->norm_eps, x, err));
    if (job->head->activation)
        job->head->activation->apply((int64_t)n, config->hidden, x, x);
    return VISE_OK;
}

static vise_status multiply_tiles(const vise_head *head, vise_backend *b, int64_t tokens, const float *x,
                                  float *logits, vise_error *err)
{
    int64_t vocab = head->model->config.vocab, hidden = head->model->config.hidden;
    if (head->matrix)
        return b->matrix->gemm_nt(b, tokens, vocab, hidden, x, hidden, head->matrix, hidden, 0.0f, logits, vocab, err);
    int64_t step = tile_rows(head->model);
    void *memory = NULL;
    VISE_TRY(vise_pool_take(head->pool, (size_t)(step * hidden) * sizeof(float), "rows of the head", &memory, err));
    vise_status status = VISE_OK;
    for (int64_t row = 0; status == VISE_OK && row < vocab; row += step) {
        int64_t rows = vocab - row < step ? vocab - row : step;
        status = vise_weight_read_all(head->model, head->index, row, rows, b->workers, head->pool, memory, err);
        if (status == VISE_OK)
            status = b->matrix->gemm_nt(b, tokens, rows, hidden, x, hidden, memory, hidden, 0.0f, logits + row, vocab,
                                        err);
    }
    vise_pool_give(head->pool, memory);
    return status;
}

vise_status vise_head_logits(const vise_head *head, const vise_stream *stream, vise_backend *backend, size_t token0,
                             size_t tokens, float *logits, vise_error *err)
{
    if (token0 > vise_stream_tokens(stream) || tokens > vise_stream_tokens(stream) - token0)
        return VISE_FAIL(err, VISE_EINTERNAL, "tokens %zu to %zu are beyond the stream's %zu", token0,
                         token0 + tokens, vise_stream_tokens(stream));
    void *memory = NULL;
    VISE_TRY(vise_pool_take(head->pool, tokens * (size_t)stream->hidden * sizeof(float), "normed activations",
                            &memory, err));
    norm_job job = {head, stream, backend, token0, tokens, memory};
    vise_status status = vise_parallel(backend->workers, (tokens + VISE_FORWARD_TILE - 1) / VISE_FORWARD_TILE,
                                       norm_tile, &job, err);
    if (status == VISE_OK)
        status = multiply_tiles(head, backend, (int64_t)tokens, memory, logits, err);
    vise_pool_give(head->pool, memory);
    return status;
}
