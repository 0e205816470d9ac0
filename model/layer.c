#include "model/layer.h"

#include <math.h>
#include <string.h>

#include "model/layer_internal.h"
#include "model/rope.h"

/* ---- shapes -------------------------------------------------------------------------------------------------- */

static const vise_arch_row *input_row(const vise_model *model, int layer, vise_input input)
{
    for (size_t r = 0; r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        if (row->linear && row->input == input && (layer < 0 || vise_arch_row_applies(row, &model->config, layer)))
            return row;
    }
    return NULL;
}

int64_t vise_input_width(const vise_model *model, int layer, vise_input input)
{
    const vise_arch_row *row = input_row(model, layer, input);
    return row ? vise_config_dim(&model->config, row->cols) : 0;
}

vise_role vise_input_role(const vise_model *model, vise_input input)
{
    const vise_arch_row *row = input_row(model, -1, input);
    return row ? row->role : VISE_ROLE_UNKNOWN;
}

static bool has_role(const vise_model *model, vise_role role)
{
    for (size_t r = 0; r < model->arch->n_rows; r++)
        if (model->arch->rows[r].role == role)
            return true;
    return false;
}

/* ---- scratch of one worker ----------------------------------------------------------------------------------- */

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
                      float *memory, vise_layer_scratch *s)
{
    const vise_config *config = &model->config;
    uint64_t tile = length < VISE_FORWARD_TILE ? length : VISE_FORWARD_TILE;
    uint64_t hidden = (uint64_t)config->hidden, experts = (uint64_t)config->experts;
    uint64_t ffn = largest((uint64_t)config->ffn, (uint64_t)config->shared_ffn);
    uint64_t q_width = (uint64_t)vise_config_dim(config, VISE_DIM_Q);
    uint64_t kv_width = (uint64_t)vise_config_dim(config, VISE_DIM_KV);
    bool grouped = has_role(model, VISE_ROLE_QKV) && config->qkv == VISE_QKV_GROUPS;
    uint64_t fused_width = grouped ? q_width + 2 * kv_width : 0;
    bool has_post = has_role(model, VISE_ROLE_ATTENTION_POST_NORM) || has_role(model, VISE_ROLE_MLP_POST_NORM);
    uint64_t chosen = experts > 0 ? tile * (uint64_t)config->experts_per_token : 0;
    uint64_t used = 0;
    ffn = largest(ffn, (uint64_t)config->expert_ffn);
    uint64_t x = take(&used, length * hidden);
    uint64_t norm = take(&used, tile * hidden);
    uint64_t attention = take(&used, length * q_width);
    uint64_t quantized = take(&used, quantizes ? tile * largest(hidden, largest(q_width, ffn)) : 0);
    uint64_t branch = take(&used, has_post ? tile * hidden : 0);
    uint64_t end = used;
    uint64_t q = take(&end, length * q_width), k = take(&end, length * kv_width), v = take(&end, length * kv_width);
    uint64_t inside = take(&end, attention_floats), fused = take(&end, tile * fused_width);
    uint64_t mlp_end = used;
    uint64_t gate = take(&mlp_end, tile * ffn), up = take(&mlp_end, tile * ffn);
    uint64_t gate_up = take(&mlp_end, has_role(model, VISE_ROLE_GATE_UP) ? 2 * tile * ffn : 0);
    uint64_t gathered = take(&mlp_end, experts > 0 ? tile * hidden : 0);
    uint64_t expert_out = take(&mlp_end, experts > 0 ? tile * hidden : 0);
    uint64_t router = take(&mlp_end, tile * experts), share = take(&mlp_end, chosen);
    uint64_t choices = take(&mlp_end, chosen), list = take(&mlp_end, experts > 0 ? tile : 0);
    if (memory)
        *s = (vise_layer_scratch){.x = memory + x, .norm = memory + norm, .attention = memory + attention,
                                  .quantized = memory + quantized, .branch = memory + branch, .q = memory + q,
                                  .k = memory + k, .v = memory + v, .inside = memory + inside,
                                  .fused = memory + fused, .gate = memory + gate, .up = memory + up,
                                  .gate_up = memory + gate_up, .gathered = memory + gathered,
                                  .expert_out = memory + expert_out, .router = memory + router,
                                  .share = memory + share, .chosen = (int32_t *)(void *)(memory + choices),
                                  .list = (int32_t *)(void *)(memory + list)};
    return largest(end, mlp_end) * sizeof(float);
}

/* Norms that are stored as their distance from 1. */
static uint64_t shifted_floats(const vise_model *model)
{
    uint64_t floats = 0;
    for (size_t r = 0; model->config.norm == VISE_NORM_RMS_OFFSET && r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        if (row->rows == VISE_DIM_ONE && !(row->how & VISE_ROW_MATRIX) && vise_arch_row_in_block(row))
            floats += (uint64_t)vise_config_dim(&model->config, row->cols);
    }
    return floats;
}

uint64_t vise_forward_scratch_bytes(const vise_model *model, size_t length, int workers)
{
    uint64_t inside = vise_cpu_attention_scratch((int64_t)length, model->config.head_dim);
    return (uint64_t)workers * carve(model, length, inside, true, NULL, NULL) + shifted_floats(model) * sizeof(float);
}

/* Every worker has a part in attention on a cache. */
static uint64_t cached_attention(int64_t reach, int64_t head_dim, int workers)
{
    return (uint64_t)workers * vise_cpu_attention_scratch(reach, head_dim);
}

uint64_t vise_extend_scratch_bytes(const vise_model *model, size_t piece, size_t reach, int workers)
{
    uint64_t inside = cached_attention((int64_t)reach, model->config.head_dim, workers);
    return carve(model, piece, inside, true, NULL, NULL) + shifted_floats(model) * sizeof(float);
}

double vise_forward_operations(const vise_model *model, double tokens, size_t length)
{
    const vise_config *config = &model->config;
    double all = 0.0;
    for (int layer = 0; layer < (int)config->layers; layer++)
        for (size_t r = 0; r < model->arch->n_rows; r++) {
            const vise_arch_row *row = &model->arch->rows[r];
            if (!row->linear || !vise_arch_row_in_block(row) || !vise_arch_row_applies(row, config, layer))
                continue;
            double times = vise_arch_row_per_expert(row) ? (double)config->experts_per_token : 1.0;
            int64_t rows = vise_config_dim(config, row->rows), cols = vise_config_dim(config, row->cols);
            all += 2.0 * times * (double)rows * (double)cols;
        }
    /* Scores and their sum over the values: a token sees (length + 1) / 2 positions in the mean, or all. */
    double seen = config->bidirectional ? (double)length : ((double)length + 1.0) / 2.0;
    all += 4.0 * (double)vise_config_dim(config, VISE_DIM_Q) * seen * (double)config->layers;
    return all * tokens;
}

/* ---- a run --------------------------------------------------------------------------------------------------- */

static vise_status find_norms(vise_layer_run *run, vise_error *err)
{
    const vise_model *model = run->model;
    uint64_t floats = shifted_floats(model);
    void *memory = NULL;
    if (floats > 0)
        VISE_TRY(vise_pool_take(run->block->pool, (size_t)floats * sizeof(float), "norms", &memory, err));
    run->shifted = memory;
    float *next = run->shifted;
    for (size_t r = 0; r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        const float *weight = run->block->weight[row->role];
        if (row->rows != VISE_DIM_ONE || (row->how & VISE_ROW_MATRIX) || !vise_arch_row_in_block(row) || !weight ||
            !vise_arch_row_applies(row, &model->config, run->block->layer))
            continue;
        run->norm[row->role] = weight;
        if (floats == 0)
            continue;
        run->norm[row->role] = next;
        for (int64_t i = 0; i < run->cols[row->role]; i++)
            *next++ = weight[i] + 1.0f;
    }
    return VISE_OK;
}

static vise_status init_run(vise_layer_run *run, const vise_model *model, const vise_block *block, vise_stream *stream,
                            vise_backend *backend, vise_cache *cache, vise_input last, vise_error *err)
{
    *run = (vise_layer_run){.model = model, .block = block, .stream = stream, .backend = backend, .cache = cache,
                            .last = last, .flags = model->config.layer[block->layer]};
    void *memory = NULL;
    VISE_TRY(vise_calloc(block->slots, sizeof *run->activation, &memory, err));
    run->activation = memory;
    for (size_t slot = 0; slot < block->slots; slot++) {
        const vise_activation_type *type = vise_activation_type_find(block->activation[slot]);
        run->activation[slot] = type && type->calibrated && block->input_scale[slot] == 0.0f ? NULL : type;
        run->quantizes = run->quantizes || run->activation[slot];
    }
    for (size_t r = 0; r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        if (!vise_arch_row_in_block(row) || !vise_arch_row_applies(row, &model->config, block->layer))
            continue;
        run->rows[row->role] = vise_config_dim(&model->config, row->rows);
        run->cols[row->role] = vise_config_dim(&model->config, row->cols);
    }
    VISE_TRY(find_norms(run, err));
    run->workers = vise_workers_count(backend->workers);
    run->inside = cache ? cached_attention((int64_t)stream->reach, model->config.head_dim, run->workers)
                        : backend->network->attention_scratch((int64_t)stream->longest, model->config.head_dim);
    uint64_t bytes = carve(model, stream->longest, run->inside, run->quantizes, NULL, NULL);
    if (bytes > SIZE_MAX / 2)
        return VISE_FAIL(err, VISE_ERESOURCE, "windows of %zu tokens are too long for this machine", stream->longest);
    run->scratch_bytes = (size_t)bytes;
    VISE_TRY(vise_calloc((size_t)run->workers, sizeof(void *), &memory, err));
    run->scratch = memory;
    return VISE_OK;
}

vise_status vise_layer_run_init(vise_layer_run *run, const vise_model *model, const vise_block *block,
                                vise_stream *stream, vise_backend *backend, vise_input last, vise_error *err)
{
    return init_run(run, model, block, stream, backend, NULL, last, err);
}

void vise_layer_run_deinit(vise_layer_run *run)
{
    for (int w = 0; run->scratch && w < run->workers; w++)
        vise_pool_give(run->block->pool, run->scratch[w]);
    if (run->shifted)
        vise_pool_give(run->block->pool, run->shifted);
    vise_free(run->scratch);
    vise_free(run->activation);
    *run = (vise_layer_run){0};
}

/* ---- the network --------------------------------------------------------------------------------------------- */

vise_status vise_layer_multiply(const vise_layer_run *run, const vise_layer_scratch *s, int64_t t, const float *x,
                                const vise_product *products, size_t n, vise_error *err)
{
    vise_backend *b = run->backend;
    const vise_activation_type *applied = NULL;
    float applied_scale = 0.0f;
    for (size_t p = 0; p < n; p++) {
        vise_role role = products[p].role;
        size_t slot = vise_config_slot(role, products[p].expert);
        int64_t rows = run->rows[role], cols = run->cols[role], ldo = products[p].ldo;
        const vise_activation_type *activation = run->activation[slot];
        const float scale = run->block->input_scale[slot];
        if (activation && (activation != applied || scale != applied_scale)) {
            vise_activation_apply(activation, scale, t, cols, x, s->quantized);
            applied = activation;
            applied_scale = scale;
        }
        float *out = products[p].out, beta = products[p].beta;
        const float *bias = run->block->bias[slot];
        /* The bias goes in front of the product, which then adds to it: no pass over the result of its own. */
        for (int64_t i = 0; bias && i < t; i++)
            if (beta > 0.0f)
                VISE_TRY(b->network->add(b, rows, out + i * ldo, bias, err));
            else
                memcpy(out + i * ldo, bias, (size_t)rows * sizeof *out);
        VISE_TRY(b->matrix->gemm_nt(b, t, rows, cols, activation ? s->quantized : x, cols, run->block->weight[slot],
                                    cols, bias ? 1.0f : beta, out, ldo, err));
    }
    return VISE_OK;
}

vise_status vise_layer_normalize(const vise_layer_run *run, vise_role role, int64_t t, const float *x, float *y,
                                 vise_error *err)
{
    const vise_network_ops *network = run->backend->network;
    const vise_config *config = &run->model->config;
    float eps = (float)config->norm_eps;
    if (config->norm == VISE_NORM_LAYER)
        return network->layer_norm(run->backend, t, config->hidden, x, run->norm[role], run->block->bias[role], eps, y,
                                   err);
    return network->rms_norm(run->backend, t, config->hidden, x, run->norm[role], eps, y, err);
}

static int64_t tile_at(int64_t t, int64_t first)
{
    return t - first < VISE_FORWARD_TILE ? t - first : VISE_FORWARD_TILE;
}

/* Where q, k and v of a window are: apart, or side by side in one matrix. */
typedef struct heads {
    float *q, *k, *v;
    int64_t ldq, ldkv;
} heads;

static heads heads_of(const vise_layer_run *run, const vise_layer_scratch *s)
{
    const vise_config *config = &run->model->config;
    int64_t q_width = vise_config_dim(config, VISE_DIM_Q), kv_width = vise_config_dim(config, VISE_DIM_KV);
    int64_t fused = run->rows[VISE_ROLE_QKV];
    if (fused > 0 && config->qkv == VISE_QKV_BLOCKS) /* q, k and v follow each other in the scratch */
        return (heads){s->q, s->q + q_width, s->q + q_width + kv_width, fused, fused};
    return (heads){s->q, s->k, s->v, q_width, kv_width};
}

/* Takes apart rows [t, qkv] in which every key-value head has its q heads, k and v together. */
static void split_groups(const vise_config *config, int64_t t, const float *fused, float *q, float *k, float *v)
{
    int64_t d = config->head_dim, share = config->heads / config->kv_heads;
    for (int64_t i = 0; i < t * config->kv_heads; i++) {
        memcpy(q, fused, (size_t)(share * d) * sizeof *q);
        memcpy(k, fused + share * d, (size_t)d * sizeof *k);
        memcpy(v, fused + (share + 1) * d, (size_t)d * sizeof *v);
        fused += (share + 2) * d;
        q += share * d;
        k += d;
        v += d;
    }
}

/* q, k, v of a tile that begins at token `first` of the window. */
static vise_status project_tile(const vise_layer_run *run, const vise_layer_scratch *s, int64_t first, int64_t n,
                                const float *x, vise_error *err)
{
    const vise_config *config = &run->model->config;
    const vise_network_ops *network = run->backend->network;
    const heads h = heads_of(run, s);
    float *q = h.q + first * h.ldq, *k = h.k + first * h.ldkv, *v = h.v + first * h.ldkv;
    if (run->rows[VISE_ROLE_QKV] > 0) {
        bool grouped = config->qkv == VISE_QKV_GROUPS;
        const vise_product all = vise_product_of(VISE_ROLE_QKV, 0.0f, grouped ? s->fused : q, run->rows[VISE_ROLE_QKV]);
        VISE_TRY(vise_layer_multiply(run, s, n, x, &all, 1, err));
        if (grouped)
            split_groups(config, n, s->fused, q, k, v);
    } else {
        const vise_product products[] = {
            vise_product_of(VISE_ROLE_Q, 0.0f, q, h.ldq),
            vise_product_of(VISE_ROLE_K, 0.0f, k, h.ldkv),
            vise_product_of(VISE_ROLE_V, 0.0f, v, h.ldkv),
        };
        VISE_TRY(vise_layer_multiply(run, s, n, x, products, sizeof products / sizeof products[0], err));
    }
    float eps = (float)config->norm_eps;
    if (run->norm[VISE_ROLE_Q_NORM]) /* of every head; only where q and k lie apart */
        VISE_TRY(network->rms_norm(run->backend, n * config->heads, config->head_dim, q, run->norm[VISE_ROLE_Q_NORM],
                                   eps, q, err));
    if (run->norm[VISE_ROLE_K_NORM])
        VISE_TRY(network->rms_norm(run->backend, n * config->kv_heads, config->head_dim, k,
                                   run->norm[VISE_ROLE_K_NORM], eps, k, err));
    return VISE_OK;
}

/* x, or its norm, where a half of the block begins; in `place` when that is wanted. */
static vise_status enter_half(const vise_layer_run *run, vise_role norm, int64_t n, const float *x, float *place,
                              float *scratch, const float **out, vise_error *err)
{
    bool normed = run->norm[norm] && run->model->config.residual != VISE_RESIDUAL_POST;
    float *to = place ? place : scratch;
    *out = normed || place ? to : x;
    if (normed)
        return vise_layer_normalize(run, norm, n, x, to, err);
    if (place)
        memcpy(place, x, (size_t)(n * run->model->config.hidden) * sizeof *place);
    return VISE_OK;
}

/* x -> norm -> q, k, v. */
static vise_status project(const vise_layer_run *run, const vise_layer_scratch *s, int64_t t, const float *x,
                           float *captured, vise_error *err)
{
    int64_t hidden = run->model->config.hidden;
    for (int64_t first = 0; first < t; first += VISE_FORWARD_TILE) {
        int64_t n = tile_at(t, first);
        const float *input;
        VISE_TRY(enter_half(run, VISE_ROLE_ATTENTION_NORM, n, x + first * hidden,
                            captured ? captured + first * hidden : NULL, s->norm, &input, err));
        if (run->last != VISE_INPUT_ATTENTION)
            VISE_TRY(project_tile(run, s, first, n, input, err));
    }
    return VISE_OK;
}

/* Keys (0) or values (1) as a quantized cache gives them back. */
static void round_cache(const vise_layer_run *run, float *x, int64_t t, int64_t ld, int which)
{
    if (!run->block->cache_type)
        return;
    const vise_activation_type *values = vise_cache_values(run->block->cache_type);
    const int64_t n = run->model->config.kv_heads, d = run->model->config.head_dim;
    const float *scale = run->block->cache_scale + which * n;
    for (int64_t i = 0; i < t * n; i++) {
        float *head = x + i / n * ld + i % n * d;
        if (scale[i % n] > 0.0f)
            vise_activation_apply(values, scale[i % n], 1, d, head, head);
    }
}

/* NaN stays what it is, so that it is seen. */
static void widen_cache(const vise_layer_run *run, const float *x, int64_t t, int64_t ld, float *largest)
{
    const int64_t n = run->model->config.kv_heads, d = run->model->config.head_dim;
    for (int64_t i = 0; i < t; i++)
        for (int64_t j = 0; j < n * d; j++) {
            const float size = fabsf(x[i * ld + j]);
            largest[j / d] = size <= largest[j / d] ? largest[j / d] : size;
        }
}

/* q, k, v -> rotary, attention -> out [t, q]; or, with cache_largest, what the cache would hold is measured. */
static vise_status attend(const vise_layer_run *run, const vise_layer_scratch *s, size_t window, int64_t t, float *out,
                          float *cache_largest, vise_error *err)
{
    vise_backend *b = run->backend;
    const vise_config *config = &run->model->config;
    const vise_stream *stream = run->stream;
    const heads h = heads_of(run, s);
    const int64_t head_dim = config->head_dim;
    if (config->position == VISE_POSITION_ROTARY && !(run->flags & VISE_LAYER_NO_ROTARY)) {
        const int64_t width = vise_rope_width(config);
        const bool local = (run->flags & VISE_LAYER_LOCAL_ROPE) != 0;
        const vise_rotary angles = vise_stream_rotary(run->model, stream, window, local);
        VISE_TRY(b->network->rope(b, t, config->heads, head_dim, width, h.q, h.ldq, angles.cosine, angles.sine, err));
        VISE_TRY(b->network->rope(b, t, config->kv_heads, head_dim, width, h.k, h.ldkv, angles.cosine, angles.sine,
                                  err));
    }
    if (cache_largest) {
        widen_cache(run, h.k, t, h.ldkv, cache_largest);
        widen_cache(run, h.v, t, h.ldkv, cache_largest + config->kv_heads);
        return VISE_OK;
    }
    round_cache(run, h.k, t, h.ldkv, 0);
    round_cache(run, h.v, t, h.ldkv, 1);
    double scale = config->attention_scale > 0.0 ? config->attention_scale : 1.0 / sqrt((double)head_dim);
    if (config->scale_by_layer)
        scale /= (double)run->block->layer + 1.0;
    vise_attention attention = {.t = t, .heads = config->heads, .kv_heads = config->kv_heads,
                                      .head_dim = head_dim, .q = h.q, .ldq = h.ldq, .k = h.k, .ldk = h.ldkv,
                                      .v = h.v, .ldv = h.ldkv, .scale = (float)scale,
                                      .cap = (float)config->attention_cap,
                                      .window = run->flags & VISE_LAYER_SLIDING ? config->window : 0,
                                      .bidirectional = config->bidirectional, .bias = stream->key_bias,
                                      .ld_bias = (int64_t)stream->reach, .scratch = s->inside, .out = out,
                                      .ldo = vise_config_dim(config, VISE_DIM_Q)};
    if (run->cache) {
        const int layer = run->block->layer;
        VISE_TRY(vise_cache_append(run->cache, layer, (size_t)t, h.k, h.ldkv, h.v, h.ldkv, err));
        const vise_cache_layer *cached = &run->cache->layer[layer];
        attention.past = (int64_t)cached->count - t;
        attention.parts = run->workers;
        attention.k = cached->k;
        attention.v = cached->v;
        attention.ldk = attention.ldv = run->cache->width;
        attention.bias += attention.bias ? cached->first : 0;
    }
    return b->network->attention(b, &attention, err);
}

/* x += post-norm(branch), or, without such a norm, nothing: the branch was added to x already. */
static vise_status join(const vise_layer_run *run, vise_role post, int64_t n, float *branch, float *x, vise_error *err)
{
    if (!run->norm[post])
        return VISE_OK;
    VISE_TRY(vise_layer_normalize(run, post, n, branch, branch, err));
    return run->backend->network->add(run->backend, n * run->model->config.hidden, x, branch, err);
}

/* One tile from o to the end of the block. */
static vise_status finish_tile(const vise_layer_run *run, const vise_layer_scratch *s, int64_t n, float *x,
                               const float *attention, float *mlp_place, const vise_tile_capture *capture,
                               vise_error *err)
{
    const int64_t hidden = run->model->config.hidden;
    const vise_residual residual = run->model->config.residual;
    const vise_role mlp_norm = run->norm[VISE_ROLE_MLP_NORM] ? VISE_ROLE_MLP_NORM : VISE_ROLE_ATTENTION_NORM;
    const float *input = NULL;
    if (residual == VISE_RESIDUAL_PARALLEL) /* the MLP reads what attention read */
        VISE_TRY(enter_half(run, mlp_norm, n, x, mlp_place, s->norm, &input, err));

    if (run->half != VISE_MLP_HALF) {
        bool post = run->norm[VISE_ROLE_ATTENTION_POST_NORM] != NULL;
        const vise_product o = vise_product_of(VISE_ROLE_O, post ? 0.0f : 1.0f, post ? s->branch : x, hidden);
        VISE_TRY(vise_layer_multiply(run, s, n, attention, &o, 1, err));
        VISE_TRY(join(run, VISE_ROLE_ATTENTION_POST_NORM, n, s->branch, x, err));
        if (residual == VISE_RESIDUAL_POST)
            VISE_TRY(vise_layer_normalize(run, VISE_ROLE_ATTENTION_NORM, n, x, x, err));
    }
    if (!input)
        VISE_TRY(enter_half(run, VISE_ROLE_MLP_NORM, n, x, mlp_place, s->norm, &input, err));
    if (run->last == VISE_INPUT_MLP)
        return VISE_OK;

    bool post = run->norm[VISE_ROLE_MLP_POST_NORM] != NULL;
    if (post)
        memset(s->branch, 0, (size_t)(n * hidden) * sizeof(float));
    VISE_TRY(vise_layer_mlp(run, s, n, input, capture, post ? s->branch : x, err));
    if (run->last != VISE_INPUT_NONE)
        return VISE_OK;
    VISE_TRY(join(run, VISE_ROLE_MLP_POST_NORM, n, s->branch, x, err));
    return residual == VISE_RESIDUAL_POST ? vise_layer_normalize(run, VISE_ROLE_MLP_NORM, n, x, x, err) : VISE_OK;
}

bool vise_block_splits(const vise_model *model)
{
    return model->config.residual != VISE_RESIDUAL_PARALLEL;
}

static float *offset(float *base, int64_t elements)
{
    return base ? base + elements : NULL;
}

/* From the output of attention (NULL: of the attention half, in x) to that of the block, tile by tile. */
static vise_status finish(const vise_layer_run *run, const vise_layer_scratch *s, int64_t t, float *x,
                          const float *attention, const vise_capture *capture, vise_error *err)
{
    const vise_config *config = &run->model->config;
    const int64_t hidden = config->hidden, q_width = vise_config_dim(config, VISE_DIM_Q);
    /* What experts choose from is the MLP's input. */
    float *mlp = capture->input[VISE_INPUT_MLP] ? capture->input[VISE_INPUT_MLP] : capture->input[VISE_INPUT_EXPERT];
    for (int64_t first = 0; first < t; first += VISE_FORWARD_TILE) {
        int64_t n = tile_at(t, first), choice = first * config->experts_per_token;
        const vise_tile_capture tile = {
            .down = offset(capture->input[VISE_INPUT_DOWN], first * config->ffn),
            .shared_down = offset(capture->input[VISE_INPUT_SHARED_DOWN], first * config->shared_ffn),
            .expert_down = offset(capture->input[VISE_INPUT_EXPERT_DOWN], choice * config->expert_ffn),
            .routes = capture->routes ? capture->routes + choice : NULL,
        };
        VISE_TRY(finish_tile(run, s, n, x + first * hidden, attention ? attention + first * q_width : NULL,
                             offset(mlp, first * hidden), &tile, err));
    }
    if (capture->input[VISE_INPUT_EXPERT] && mlp != capture->input[VISE_INPUT_EXPERT])
        memcpy(capture->input[VISE_INPUT_EXPERT], mlp, (size_t)(t * hidden) * sizeof *mlp);
    return VISE_OK;
}

vise_status vise_layer_run_window(const vise_layer_run *run, size_t window, int worker, const vise_capture *capture,
                                  vise_error *err)
{
    vise_stream *stream = run->stream;
    size_t token0 = stream->start[window], tokens = stream->start[window + 1] - token0;
    if (tokens == 0)
        return VISE_OK;
    if (!run->scratch[worker])
        VISE_TRY(vise_pool_take(run->block->pool, run->scratch_bytes, "scratch of the forward pass",
                                &run->scratch[worker], err));
    vise_layer_scratch s;
    carve(run->model, stream->longest, run->inside, run->quantizes, run->scratch[worker], &s);

    /* The window where it is, unless it lies in the file or is about to be changed and must not be. */
    float *x = vise_stream_window(stream, window);
    bool changes = run->last > VISE_INPUT_O;
    bool keeps = run->last != VISE_INPUT_NONE && run->half != VISE_ATTENTION_HALF;
    if (!x || (changes && keeps)) {
        VISE_TRY(vise_stream_read(stream, token0, tokens, s.x, err));
        x = s.x;
    }

    int64_t t = (int64_t)tokens;
    float *attention = NULL;
    if (run->half != VISE_MLP_HALF) {
        VISE_TRY(project(run, &s, t, x, capture->input[VISE_INPUT_ATTENTION], err));
        if (run->last == VISE_INPUT_ATTENTION)
            return VISE_OK;
        attention = capture->input[VISE_INPUT_O] ? capture->input[VISE_INPUT_O] : s.attention;
        VISE_TRY(attend(run, &s, window, t, attention, capture->cache_largest, err));
        if (run->last == VISE_INPUT_O)
            return VISE_OK;
    }
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
    const vise_capture nothing = {0};
    return vise_layer_run_window(context, window, worker, &nothing, err);
}

/* Windows stand alone and run side by side, or, on a cache, each sees those before it. */
static vise_status run_block(const vise_model *model, const vise_block *block, vise_half half, vise_stream *stream,
                             vise_cache *cache, vise_backend *backend, vise_error *err)
{
    vise_layer_run run;
    const vise_input last = half == VISE_ATTENTION_HALF ? VISE_INPUT_MLP : VISE_INPUT_NONE;
    vise_status status = init_run(&run, model, block, stream, backend, cache, last, err);
    run.half = half;
    if (status == VISE_OK && !cache)
        status = vise_parallel(backend->workers, stream->windows, forward_window, &run, err);
    for (size_t window = 0; status == VISE_OK && cache && window < stream->windows; window++)
        status = forward_window(&run, window, 0, err);
    vise_layer_run_deinit(&run);
    return status;
}

vise_status vise_block_forward(const vise_model *model, const vise_block *block, vise_stream *stream,
                               vise_backend *backend, vise_error *err)
{
    return run_block(model, block, VISE_BOTH_HALVES, stream, NULL, backend, err);
}

vise_status vise_block_forward_half(const vise_model *model, const vise_block *block, vise_half half,
                                    vise_stream *stream, vise_backend *backend, vise_error *err)
{
    return run_block(model, block, half, stream, NULL, backend, err);
}

vise_status vise_block_extend(const vise_model *model, const vise_block *block, vise_stream *stream, vise_cache *cache,
                              vise_backend *backend, vise_error *err)
{
    return run_block(model, block, VISE_BOTH_HALVES, stream, cache, backend, err);
}
