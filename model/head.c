#include <math.h>
#include <string.h>

#include "formats/layout.h"
#include "formats/store.h"
#include "model/activation.h"
#include "model/stream.h"
#include "model/weights.h"

/* A head that is not resident is read in tiles of this size. */
#define HEAD_TILE_BYTES ((int64_t)16 << 20)

/* A dense layer and a norm in front of the matrix; what a family lacks is NULL. */
struct vise_head {
    const vise_model *model;
    const vise_activation_type *activation;
    float input_scale;
    size_t index;               /* of the head in vise_model.bound; SIZE_MAX: none */
    float *norm, *norm_bias;    /* [hidden]: the final norm */
    float *dense, *dense_bias;  /* [cols, hidden], [cols] */
    float *inner, *inner_bias;  /* [cols]: the norm behind the dense layer */
    float *matrix;              /* [width, cols], NULL: not resident */
    float *bias;                /* [width] */
    vise_pool *pool;
};

int64_t vise_head_width(const vise_model *model)
{
    switch (model->config.head) {
    case VISE_HEAD_LM:
        return model->config.vocab;
    case VISE_HEAD_CLASSIFIER:
        return model->config.labels;
    case VISE_HEAD_NONE:
        return model->config.hidden;
    }
    return 0;
}

/* What the matrix multiplies is this wide. */
static int64_t cols_of(const vise_model *model)
{
    return vise_config_dim(&model->config, VISE_DIM_EMBED);
}

static int64_t tile_rows(const vise_model *model)
{
    int64_t rows = HEAD_TILE_BYTES / ((int64_t)sizeof(float) * cols_of(model));
    rows -= rows % VISE_TILE_ROWS;
    rows = rows > VISE_TILE_ROWS ? rows : VISE_TILE_ROWS;
    return rows < vise_head_width(model) ? rows : vise_head_width(model);
}

static uint64_t matrix_bytes(const vise_model *model)
{
    return (uint64_t)vise_head_width(model) * (uint64_t)cols_of(model) * sizeof(float);
}

uint64_t vise_head_small_bytes(const vise_model *model)
{
    uint64_t hidden = (uint64_t)model->config.hidden, rows = 5;
    if (vise_model_role(model, VISE_ROLE_HEAD_DENSE, -1) != SIZE_MAX)
        rows += (uint64_t)cols_of(model);
    return (rows * hidden + (uint64_t)vise_head_width(model)) * sizeof(float);
}

uint64_t vise_head_bytes(const vise_model *model)
{
    return matrix_bytes(model) + vise_head_small_bytes(model);
}

uint64_t vise_head_scratch_bytes(const vise_model *model, size_t tokens, bool resident)
{
    uint64_t row = (uint64_t)model->config.hidden * sizeof(float), in = (uint64_t)cols_of(model) * sizeof(float);
    uint64_t transformed = vise_model_role(model, VISE_ROLE_HEAD_DENSE, -1) != SIZE_MAX ? tokens * row : 0;
    return tokens * in + transformed + (resident ? 0 : (uint64_t)tile_rows(model) * in);
}

/* A tensor whole, or NULL when the model has none. */
static vise_status load_tensor(vise_head *head, size_t index, vise_workers *workers, float **out, vise_error *err)
{
    void *memory = NULL;
    if (index == SIZE_MAX)
        return VISE_OK;
    const vise_logical *tensor = head->model->bound[index].tensor;
    VISE_TRY(vise_pool_take(head->pool, (size_t)tensor->elements * sizeof(float), tensor->name, &memory, err));
    *out = memory;
    return vise_weight_read_all(head->model, index, 0, tensor->rows, workers, head->pool, *out, err);
}

static vise_status load_role(vise_head *head, vise_role role, vise_workers *workers, float **weight, float **bias,
                             vise_error *err)
{
    VISE_TRY(load_tensor(head, vise_model_role(head->model, role, -1), workers, weight, err));
    return load_tensor(head, vise_model_bias(head->model, role, -1), workers, bias, err);
}

static vise_status load(vise_head *head, uint64_t ram_bytes, vise_workers *workers, vise_error *err)
{
    const vise_model *model = head->model;
    void *memory = NULL;
    size_t final = 0;
    if (model->config.traits & VISE_TRAIT_FINAL_NORM)
        VISE_TRY(vise_weight_find(model, VISE_ROLE_FINAL_NORM, -1, &final, err));
    VISE_TRY(load_role(head, VISE_ROLE_FINAL_NORM, workers, &head->norm, &head->norm_bias, err));
    for (int64_t i = 0; model->config.norm == VISE_NORM_RMS_OFFSET && head->norm && i < model->config.hidden; i++)
        head->norm[i] += 1.0f;
    VISE_TRY(load_role(head, VISE_ROLE_HEAD_DENSE, workers, &head->dense, &head->dense_bias, err));
    VISE_TRY(load_role(head, VISE_ROLE_HEAD_NORM, workers, &head->inner, &head->inner_bias, err));
    if (model->config.head == VISE_HEAD_NONE)
        return VISE_OK;
    VISE_TRY(vise_weight_find(model, VISE_ROLE_HEAD, -1, &head->index, err));
    /* A file may have both, as one parameter or as two, of which the head's own is added. */
    size_t bias = vise_model_bias(model, VISE_ROLE_HEAD, -1);
    VISE_TRY(load_tensor(head, bias != SIZE_MAX ? bias : vise_model_role(model, VISE_ROLE_HEAD_BIAS, -1), workers,
                         &head->bias, err));
    if (matrix_bytes(model) > ram_bytes)
        return VISE_OK;
    VISE_TRY(vise_pool_take(head->pool, (size_t)matrix_bytes(model), "the head", &memory, err));
    head->matrix = memory;
    return vise_weight_read_all(model, head->index, 0, vise_head_width(model), workers, head->pool, head->matrix, err);
}

static void find_activation(vise_head *head, const vise_logical *tensor)
{
    head->activation = vise_activation_type_find(tensor->scheme.activation);
    head->input_scale = tensor->found ? tensor->found->input_scale : 0.0f;
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
    head->index = SIZE_MAX;
    vise_status status = load(head, ram_bytes, workers, err);
    if (status == VISE_OK && !weights_only && head->index != SIZE_MAX)
        find_activation(head, model->bound[head->index].tensor);
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
    float *const parts[] = {head->norm,  head->norm_bias,  head->dense,  head->dense_bias,
                            head->inner, head->inner_bias, head->matrix, head->bias};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        vise_pool_give(head->pool, parts[i]);
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
    float *out; /* [tokens, cols] */
} norm_job;

/* y [n, width] = the norm of x; y may be x. */
static vise_status normalize(const vise_head *head, vise_backend *b, int64_t n, int64_t width, const float *x,
                             const float *weight, const float *bias, float *y, vise_error *err)
{
    const vise_config *config = &head->model->config;
    float eps = (float)config->norm_eps;
    if (config->norm == VISE_NORM_LAYER)
        return b->network->layer_norm(b, n, width, x, weight, bias, eps, y, err);
    return b->network->rms_norm(b, n, width, x, weight, eps, y, err);
}

/* y [n, cols] = what the dense layer and its norm make of x [n, hidden]; a projection has nothing behind it. */
static vise_status transform(const vise_head *head, vise_backend *b, int64_t n, const float *x, float *y,
                             vise_error *err)
{
    const vise_config *config = &head->model->config;
    int64_t hidden = config->hidden, cols = cols_of(head->model);
    VISE_TRY(b->matrix->gemm_nt(b, n, cols, hidden, x, hidden, head->dense, hidden, 0.0f, y, cols, err));
    for (int64_t i = 0; head->dense_bias && i < n; i++)
        VISE_TRY(b->network->add(b, cols, y + i * cols, head->dense_bias, err));
    if (!(config->traits & VISE_TRAIT_PROJECTED))
        VISE_TRY(b->network->apply(b, config->head_activation, n * cols, y, err));
    return head->inner ? normalize(head, b, n, cols, y, head->inner, head->inner_bias, y, err) : VISE_OK;
}

/* What the head's matrix multiplies, of one tile of tokens, in x [n, hidden] and y [n, cols]; norms read a row before
 * they write it. */
static vise_status norm_tokens(const norm_job *job, size_t first, size_t n, float *x, float *y, vise_error *err)
{
    const vise_head *head = job->head;
    const int64_t hidden = head->model->config.hidden;
    VISE_TRY(vise_stream_read(job->stream, job->token0 + first, n, x, err));
    if (head->norm)
        VISE_TRY(normalize(head, job->backend, (int64_t)n, hidden, x, head->norm, head->norm_bias, x, err));
    if (head->dense)
        VISE_TRY(transform(head, job->backend, (int64_t)n, x, y, err));
    if (head->activation)
        vise_activation_apply(head->activation, head->input_scale, (int64_t)n, cols_of(head->model), y, y);
    return VISE_OK;
}

static vise_status norm_tile(void *context, size_t tile, int worker, vise_error *err)
{
    (void)worker;
    const norm_job *job = context;
    const vise_head *head = job->head;
    size_t first = tile * VISE_FORWARD_TILE;
    size_t n = job->tokens - first < VISE_FORWARD_TILE ? job->tokens - first : VISE_FORWARD_TILE;
    float *y = job->out + first * (size_t)cols_of(head->model);
    void *x = NULL;
    if (!head->dense)
        return norm_tokens(job, first, n, y, y, err);
    VISE_TRY(vise_pool_take(head->pool, n * (size_t)head->model->config.hidden * sizeof(float),
                            "activations in front of the head", &x, err));
    vise_status status = norm_tokens(job, first, n, x, y, err);
    vise_pool_give(head->pool, x);
    return status;
}

static vise_status multiply_tiles(const vise_head *head, vise_backend *b, int64_t tokens, const float *x,
                                  float *logits, vise_error *err)
{
    int64_t vocab = vise_head_width(head->model), cols = cols_of(head->model);
    if (head->matrix)
        return b->matrix->gemm_nt(b, tokens, vocab, cols, x, cols, head->matrix, cols, 0.0f, logits, vocab, err);
    int64_t step = tile_rows(head->model);
    void *memory = NULL;
    VISE_TRY(vise_pool_take(head->pool, (size_t)(step * cols) * sizeof(float), "rows of the head", &memory, err));
    vise_status status = VISE_OK;
    for (int64_t row = 0; status == VISE_OK && row < vocab; row += step) {
        int64_t rows = vocab - row < step ? vocab - row : step;
        status = vise_weight_read_all(head->model, head->index, row, rows, b->workers, head->pool, memory, err);
        if (status == VISE_OK)
            status = b->matrix->gemm_nt(b, tokens, rows, cols, x, cols, memory, cols, 0.0f, logits + row, vocab, err);
    }
    vise_pool_give(head->pool, memory);
    return status;
}

/* What follows the product: bias and cap. */
enum { SHAPE_TOKENS = 16 };

typedef struct shape_job {
    const vise_head *head;
    vise_backend *backend;
    size_t tokens;
    float *logits;
} shape_job;

static vise_status shape_logits(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    const shape_job *job = context;
    const vise_network_ops *network = job->backend->network;
    const int64_t width = vise_head_width(job->head->model);
    const float cap = (float)job->head->model->config.logit_cap, *bias = job->head->bias;
    size_t first = index * SHAPE_TOKENS, end = first + SHAPE_TOKENS < job->tokens ? first + SHAPE_TOKENS : job->tokens;
    for (size_t t = first; t < end; t++) {
        float *row = job->logits + (int64_t)t * width;
        if (bias)
            VISE_TRY(network->add(job->backend, width, row, bias, err));
        if (cap > 0.0f)
            VISE_TRY(network->soft_cap(job->backend, width, row, cap, err));
    }
    return VISE_OK;
}

vise_status vise_head_logits(const vise_head *head, const vise_stream *stream, vise_backend *backend, size_t token0,
                             size_t tokens, float *logits, vise_error *err)
{
    if (token0 > vise_stream_tokens(stream) || tokens > vise_stream_tokens(stream) - token0)
        return VISE_FAIL(err, VISE_EINTERNAL, "tokens %zu to %zu are beyond the stream's %zu", token0,
                         token0 + tokens, vise_stream_tokens(stream));
    void *memory = NULL;
    VISE_TRY(vise_pool_take(head->pool, tokens * (size_t)cols_of(head->model) * sizeof(float), "normed activations",
                            &memory, err));
    norm_job job = {head, stream, backend, token0, tokens, memory};
    vise_status status = vise_parallel(backend->workers, (tokens + VISE_FORWARD_TILE - 1) / VISE_FORWARD_TILE,
                                       norm_tile, &job, err);
    if (status == VISE_OK)
        status = multiply_tiles(head, backend, (int64_t)tokens, memory, logits, err);
    vise_pool_give(head->pool, memory);
    if (status == VISE_OK && (head->bias || head->model->config.logit_cap > 0.0)) {
        shape_job shape = {head, backend, tokens, logits};
        status = vise_parallel(backend->workers, (tokens + SHAPE_TOKENS - 1) / SHAPE_TOKENS, shape_logits, &shape, err);
    }
    return status;
}

/* ---- of windows ---------------------------------------------------------------------------------------------- */

/* x [hidden] = the mean over the window's tokens. */
static vise_status mean_token(const vise_stream *stream, size_t token0, size_t tokens, float *row, double *sum,
                              float *x, vise_error *err)
{
    for (int64_t j = 0; j < stream->hidden; j++)
        sum[j] = 0.0;
    for (size_t t = 0; t < tokens; t++) {
        VISE_TRY(vise_stream_read(stream, token0 + t, 1, row, err));
        for (int64_t j = 0; j < stream->hidden; j++)
            sum[j] += (double)row[j];
    }
    for (int64_t j = 0; j < stream->hidden; j++)
        x[j] = (float)(sum[j] / (double)tokens);
    return VISE_OK;
}

static vise_status window_values(const vise_head *head, const vise_stream *stream, vise_backend *b, size_t window,
                                 bool first_token, float *scratch, float *out, vise_error *err)
{
    const vise_config *config = &head->model->config;
    const int64_t hidden = config->hidden;
    const size_t token0 = stream->start[window], tokens = stream->start[window + 1] - token0;
    float *x = scratch, *y = scratch + hidden;
    if (config->head == VISE_HEAD_NONE && !first_token)
        return mean_token(stream, token0, tokens, x, (double *)(void *)(scratch + 2 * hidden), out, err);
    if (config->head == VISE_HEAD_NONE)
        return vise_stream_read(stream, token0, 1, out, err);
    VISE_TRY(vise_stream_read(stream, stream->last ? stream->last[window] : token0, 1, x, err));
    if (head->norm)
        VISE_TRY(normalize(head, b, 1, hidden, x, head->norm, head->norm_bias, x, err));
    if (head->dense) {
        VISE_TRY(transform(head, b, 1, x, y, err));
        x = y;
    }
    if (head->activation)
        vise_activation_apply(head->activation, head->input_scale, 1, cols_of(head->model), x, x);
    VISE_TRY(multiply_tiles(head, b, 1, x, out, err));
    return head->bias ? b->network->add(b, config->labels, out, head->bias, err) : VISE_OK;
}

vise_status vise_head_windows(const vise_head *head, const vise_stream *stream, vise_backend *backend, size_t window0,
                              size_t windows, bool first_token, float *out, vise_error *err)
{
    const int64_t width = vise_head_width(head->model);
    void *memory = NULL;
    if (window0 > stream->windows || windows > stream->windows - window0)
        return VISE_FAIL(err, VISE_EINTERNAL, "windows %zu to %zu are beyond the stream's %zu", window0,
                         window0 + windows, stream->windows);
    size_t bytes = (size_t)stream->hidden * (2 * sizeof(float) + sizeof(double));
    bytes += (size_t)cols_of(head->model) * sizeof(float);
    VISE_TRY(vise_pool_take(head->pool, bytes, "a window's vector", &memory, err));
    vise_status status = VISE_OK;
    for (size_t w = 0; status == VISE_OK && w < windows; w++)
        status = window_values(head, stream, backend, window0 + w, first_token, memory, out + (int64_t)w * width, err);
    vise_pool_give(head->pool, memory);
    return status;
}
