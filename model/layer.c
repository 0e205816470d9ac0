#include "model/layer.h"

#include <math.h>
#include <string.h>

/* ---- shapes -------------------------------------------------------------------------------------------------- */

static const vise_arch_row *input_row(const vise_model *model, vise_input input)
{
    for (size_t r = 0; r < model->arch->n_rows; r++)
        if (model->arch->rows[r].linear && model->arch->rows[r].input == input)
            return &model->arch->rows[r];
    return NULL;
}

int64_t vise_input_width(const vise_model *model, vise_input input)
{
    const vise_arch_row *row = input_row(model, input);
    return row ? vise_config_dim(&model->config, row->cols) : 0;
}

vise_role vise_input_role(const vise_model *model, vise_input input)
{
    const vise_arch_row *row = input_row(model, input);
    return row ? row->role : VISE_ROLE_UNKNOWN;
}

/* ---- scratch of one worker --------------------------------------------------------------------------------------
 *
 *   x          [length, hidden]   the window, unless it is resident and may be changed where it is
 *   norm       [tile, hidden]     input of q, k, v and of gate, up
 *   attention  [length, q]        input of o
 *   quantized  [tile, widest]     an input as its quantization leaves it
 *   shared     first q, k, v [length, ...] and what attention needs, then gate, up [tile, ffn]
 */
typedef struct scratch {
    float *x, *norm, *attention, *quantized;
    float *q, *k, *v, *inside;
    float *gate, *up;
} scratch;

static uint64_t take(uint64_t *used, uint64_t floats)
{
    uint64_t at = *used;
    *used += (floats + 15) / 16 * 16;
    return at;
}

static uint64_t largest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Carves `memory`, or, with NULL, only counts. Returns bytes. */
static uint64_t carve(const vise_model *model, uint64_t length, uint64_t attention_floats, bool quantizes,
                      float *memory, scratch *s)
{
    const vise_config *config = &model->config;
    uint64_t tile = length < VISE_FORWARD_TILE ? length : VISE_FORWARD_TILE;
    uint64_t hidden = (uint64_t)config->hidden, ffn = (uint64_t)config->ffn;
    uint64_t q_width = (uint64_t)vise_config_dim(config, VISE_DIM_Q);
    uint64_t kv_width = (uint64_t)vise_config_dim(config, VISE_DIM_KV);
    uint64_t used = 0;
    uint64_t x = take(&used, length * hidden);
    uint64_t norm = take(&used, tile * hidden);
    uint64_t attention = take(&used, length * q_width);
    uint64_t quantized = take(&used, quantizes ? tile * largest(hidden, largest(q_width, ffn)) : 0);
    uint64_t end = used;
    uint64_t q = take(&end, length * q_width), k = take(&end, length * kv_width), v = take(&end, length * kv_width);
    uint64_t inside = take(&end, attention_floats);
    uint64_t mlp_end = used;
    uint64_t gate = take(&mlp_end, tile * ffn), up = take(&mlp_end, tile * ffn);
    if (memory)
        *s = (scratch){.x = memory + x, .norm = memory + norm, .attention = memory + attention,
                       .quantized = memory + quantized, .q = memory + q, .k = memory + k, .v = memory + v,
                       .inside = memory + inside, .gate = memory + gate, .up = memory + up};
    return largest(end, mlp_end) * sizeof(float);
}

uint64_t vise_forward_scratch_bytes(const vise_model *model, size_t length, int workers)
{
    uint64_t inside = vise_cpu_attention_scratch((int64_t)length, model->config.head_dim);
    return (uint64_t)workers * carve(model, length, inside, true, NULL, NULL);
}

double vise_forward_operations(const vise_model *model, double tokens, size_t length)
{
    double per_token = 0.0;
    for (size_t r = 0; r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        if (row->linear && vise_arch_row_in_block(row))
            per_token += 2.0 * (double)vise_config_dim(&model->config, row->rows) *
                         (double)vise_config_dim(&model->config, row->cols);
    }
    /* Scores and their sum over the values: a token sees (length + 1) / 2 positions in the mean. */
    per_token += 4.0 * (double)vise_config_dim(&model->config, VISE_DIM_Q) * ((double)length + 1.0) / 2.0;
    return per_token * (double)model->config.layers * tokens;
}

/* ---- a run --------------------------------------------------------------------------------------------------- */

vise_status vise_layer_run_init(vise_layer_run *run, const vise_model *model, const vise_block *block,
                                vise_stream *stream, vise_backend *backend, vise_input last, vise_error *err)
{
    *run = (vise_layer_run){.model = model, .block = block, .stream = stream, .backend = backend, .last = last};
    for (size_t r = 0; r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        if (!vise_arch_row_in_block(row))
            continue;
        run->rows[row->role] = vise_config_dim(&model->config, row->rows);
        run->cols[row->role] = vise_config_dim(&model->config, row->cols);
        VISE_TRY(vise_activation_find(block->activation[row->role], &run->activation[row->role], err));
        run->quantizes = run->quantizes || run->activation[row->role];
    }
    uint64_t inside = backend->network->attention_scratch((int64_t)stream->longest, model->config.head_dim);
    uint64_t bytes = carve(model, stream->longest, inside, run->quantizes, NULL, NULL);
    if (bytes > SIZE_MAX / 2)
        return VISE_FAIL(err, VISE_ERESOURCE, "windows of %zu tokens are too long for this machine", stream->longest);
    run->scratch_bytes = (size_t)bytes;
    run->workers = vise_workers_count(backend->workers);
    void *memory = NULL;
    VISE_TRY(vise_calloc((size_t)run->workers, sizeof(void *), &memory, err));
    run->scratch = memory;
    return VISE_OK;
}

void vise_layer_run_deinit(vise_layer_run *run)
{
    for (int w = 0; run->scratch && w < run->workers; w++)
        vise_pool_give(run->block->pool, run->scratch[w]);
    vise_free(run->scratch);
    *run = (vise_layer_run){0};
}

/* ---- the network --------------------------------------------------------------------------------------------- */

/* out [t, rows of the role] = x W^T + bias, or added to what is there. */
typedef struct product {
    vise_role role;
    float beta; /* 0 or 1 */
    float *out;
} product;

/* Linears that share the input x [t, cols]. */
static vise_status multiply(const vise_layer_run *run, const scratch *s, int64_t t, const float *x,
                            const product *products, size_t n, vise_error *err)
{
    vise_backend *b = run->backend;
    const vise_activation *applied = NULL;
    for (size_t p = 0; p < n; p++) {
        vise_role role = products[p].role;
        int64_t rows = run->rows[role], cols = run->cols[role];
        const vise_activation *activation = run->activation[role];
        if (activation && activation != applied) {
            activation->apply(t, cols, x, s->quantized);
            applied = activation;
        }
        float *out = products[p].out;
        VISE_TRY(b->matrix->gemm_nt(b, t, rows, cols, activation ? s->quantized : x, cols, run->block->weight[role],
                                    cols, products[p].beta, out, rows, err));
        const float *bias = run->block->bias[role];
        for (int64_t i = 0; bias && i < t; i++)
            VISE_TRY(b->network->add(b, rows, out + i * rows, bias, err));
    }
    return VISE_OK;
}

static vise_status normalize(const vise_layer_run *run, vise_role role, int64_t t, const float *x, float *y,
                             vise_error *err)
{
    return run->backend->network->rms_norm(run->backend, t, run->model->config.hidden, x, run->block->weight[role],
                                           (float)run->model->config.norm_eps, y, err);
}

static int64_t tile_at(int64_t t, int64_t first)
{
    return t - first < VISE_FORWARD_TILE ? t - first : VISE_FORWARD_TILE;
}

/* x -> norm -> q, k, v. */
static vise_status project(const vise_layer_run *run, const scratch *s, int64_t t, const float *x, float *captured,
                           vise_error *err)
{
    int64_t hidden = run->model->config.hidden;
    int64_t q_width = run->rows[VISE_ROLE_Q], kv_width = run->rows[VISE_ROLE_K];
    for (int64_t first = 0; first < t; first += VISE_FORWARD_TILE) {
        int64_t n = tile_at(t, first);
        float *norm = captured ? captured + first * hidden : s->norm;
        VISE_TRY(normalize(run, VISE_ROLE_ATTENTION_NORM, n, x + first * hidden, norm, err));
        if (run->last == VISE_INPUT_ATTENTION)
            continue;
        const product products[] = {
            {VISE_ROLE_Q, 0.0f, s->q + first * q_width},
            {VISE_ROLE_K, 0.0f, s->k + first * kv_width},
            {VISE_ROLE_V, 0.0f, s->v + first * kv_width},
        };
        VISE_TRY(multiply(run, s, n, norm, products, sizeof products / sizeof products[0], err));
    }
    return VISE_OK;
}

/* q, k, v -> rotary, attention -> out [t, q]. */
static vise_status attend(const vise_layer_run *run, const scratch *s, int64_t t, float *out, vise_error *err)
{
    vise_backend *b = run->backend;
    const vise_config *config = &run->model->config;
    const vise_stream *stream = run->stream;
    int64_t q_width = run->rows[VISE_ROLE_Q], kv_width = run->rows[VISE_ROLE_K], head_dim = config->head_dim;
    VISE_TRY(b->network->rope(b, t, config->heads, head_dim, head_dim, s->q, q_width, stream->cosine, stream->sine,
                              err));
    VISE_TRY(b->network->rope(b, t, config->kv_heads, head_dim, head_dim, s->k, kv_width, stream->cosine,
                              stream->sine, err));
    return b->network->attention(b, t, config->heads, config->kv_heads, head_dim, s->q, q_width, s->k, kv_width, s->v,
                                 kv_width, (float)(1.0 / sqrt((double)head_dim)), 0, s->inside, out, q_width, err);
}

/* x += o(attention); x += down(silu(gate(norm(x))) * up(norm(x))), tile by tile. */
static vise_status finish(const vise_layer_run *run, const scratch *s, int64_t t, float *x, const float *attention,
                          float *const capture[VISE_INPUT_COUNT], vise_error *err)
{
    vise_backend *b = run->backend;
    int64_t hidden = run->model->config.hidden, ffn = run->rows[VISE_ROLE_GATE];
    int64_t q_width = run->rows[VISE_ROLE_Q];
    for (int64_t first = 0; first < t; first += VISE_FORWARD_TILE) {
        int64_t n = tile_at(t, first);
        float *rows = x + first * hidden;
        const product o = {VISE_ROLE_O, 1.0f, rows};
        VISE_TRY(multiply(run, s, n, attention + first * q_width, &o, 1, err));
        float *norm = capture[VISE_INPUT_MLP] ? capture[VISE_INPUT_MLP] + first * hidden : s->norm;
        VISE_TRY(normalize(run, VISE_ROLE_MLP_NORM, n, rows, norm, err));
        if (run->last == VISE_INPUT_MLP)
            continue;
        float *gate = capture[VISE_INPUT_DOWN] ? capture[VISE_INPUT_DOWN] + first * ffn : s->gate;
        const product products[] = {{VISE_ROLE_GATE, 0.0f, gate}, {VISE_ROLE_UP, 0.0f, s->up}};
        VISE_TRY(multiply(run, s, n, norm, products, sizeof products / sizeof products[0], err));
        VISE_TRY(b->network->silu_mul(b, n * ffn, gate, s->up, err));
        if (run->last == VISE_INPUT_DOWN)
            continue;
        const product down = {VISE_ROLE_DOWN, 1.0f, rows};
        VISE_TRY(multiply(run, s, n, gate, &down, 1, err));
    }
    return VISE_OK;
}

vise_status vise_layer_run_window(const vise_layer_run *run, size_t window, int worker,
                                  float *const capture[VISE_INPUT_COUNT], vise_error *err)
{
    vise_stream *stream = run->stream;
    size_t token0 = stream->start[window], tokens = stream->start[window + 1] - token0;
    if (tokens == 0)
        return VISE_OK;
    if (!run->scratch[worker])
        VISE_TRY(vise_pool_take(run->block->pool, run->scratch_bytes, "scratch of the forward pass",
                                &run->scratch[worker], err));
    uint64_t inside = run->backend->network->attention_scratch((int64_t)stream->longest, run->model->config.head_dim);
    scratch s;
    carve(run->model, stream->longest, inside, run->quantizes, run->scratch[worker], &s);

    /* The window where it is, unless it lies in the file or is about to be changed and must not be. */
    float *x = vise_stream_window(stream, window);
    bool changes = run->last > VISE_INPUT_O, keeps = run->last != VISE_INPUT_NONE;
    if (!x || (changes && keeps)) {
        VISE_TRY(vise_stream_read(stream, token0, tokens, s.x, err));
        x = s.x;
    }

    int64_t t = (int64_t)tokens;
    VISE_TRY(project(run, &s, t, x, capture[VISE_INPUT_ATTENTION], err));
    if (run->last == VISE_INPUT_ATTENTION)
        return VISE_OK;
    float *attention = capture[VISE_INPUT_O] ? capture[VISE_INPUT_O] : s.attention;
    VISE_TRY(attend(run, &s, t, attention, err));
    if (run->last == VISE_INPUT_O)
        return VISE_OK;
    VISE_TRY(finish(run, &s, t, x, attention, capture, err));
    if (keeps)
        return VISE_OK;

    size_t bad = 0;
    if (vise_count_nonfinite(x, tokens * (size_t)stream->hidden, &bad) > 0)
        return VISE_FAIL(err, VISE_EFORMAT, "the output of block %d is not finite (window %zu, token %zu)",
                         run->block->layer, window, bad / (size_t)stream->hidden);
    return x == s.x ? vise_stream_write(stream, token0, tokens, x, err) : VISE_OK;
}

/* ---- forward ------------------------------------------------------------------------------------------------- */

static vise_status forward_window(void *context, size_t window, int worker, vise_error *err)
{
    float *const nothing[VISE_INPUT_COUNT] = {0};
    return vise_layer_run_window(context, window, worker, nothing, err);
}

vise_status vise_block_forward(const vise_model *model, const vise_block *block, vise_stream *stream,
                               vise_backend *backend, vise_error *err)
{
    vise_layer_run run;
    vise_status status = vise_layer_run_init(&run, model, block, stream, backend, VISE_INPUT_NONE, err);
    if (status == VISE_OK)
        status = vise_parallel(backend->workers, stream->windows, forward_window, &run, err);
    vise_layer_run_deinit(&run);
    return status;
}
