#include "model/stream.h"

#include <math.h>
#include <string.h>

#include "core/event.h"
#include "model/rope.h"
#include "tensor/dtype.h"

/* Tokens embedded at a time: those of the file go through a buffer of this many bytes. */
#define EMBED_TOKENS_MAX ((size_t)1 << 20)
#define EMBED_BUFFER_BYTES ((size_t)16 << 20)

static size_t token_bytes(const vise_stream *stream)
{
    return (size_t)stream->hidden * sizeof(float);
}

size_t vise_stream_tokens(const vise_stream *stream)
{
    return stream->start[stream->windows];
}

uint64_t vise_stream_bytes(const vise_model *model, size_t windows, size_t length)
{
    return (uint64_t)windows * length * (uint64_t)model->config.hidden * sizeof(float);
}

float *vise_stream_window(const vise_stream *stream, size_t window)
{
    return window < stream->resident_windows
               ? stream->resident + stream->start[window] * (size_t)stream->hidden
               : NULL;
}

/* Splits a range of tokens into its resident part (the return value, in tokens) and the one in the file. */
static size_t resident_part(const vise_stream *stream, size_t token0, size_t tokens)
{
    size_t resident = stream->start[stream->resident_windows];
    if (token0 >= resident)
        return 0;
    return tokens < resident - token0 ? tokens : resident - token0;
}

static uint64_t file_offset(const vise_stream *stream, size_t token)
{
    return (uint64_t)(token - stream->start[stream->resident_windows]) * token_bytes(stream);
}

vise_status vise_stream_read(const vise_stream *stream, size_t token0, size_t tokens, float *values, vise_error *err)
{
    size_t near = resident_part(stream, token0, tokens), width = (size_t)stream->hidden;
    if (near > 0)
        memcpy(values, stream->resident + token0 * width, near * token_bytes(stream));
    if (near == tokens)
        return VISE_OK;
    return vise_file_read_at(&stream->file, file_offset(stream, token0 + near), values + near * width,
                             (tokens - near) * token_bytes(stream), err);
}

vise_status vise_stream_write(const vise_stream *stream, size_t token0, size_t tokens, const float *values,
                              vise_error *err)
{
    size_t near = resident_part(stream, token0, tokens), width = (size_t)stream->hidden;
    if (near > 0)
        memcpy(stream->resident + token0 * width, values, near * token_bytes(stream));
    if (near == tokens)
        return VISE_OK;
    return vise_file_write_at(&stream->file, file_offset(stream, token0 + near), values + near * width,
                              (tokens - near) * token_bytes(stream), err);
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

/* Where each window starts. */
static vise_status lay_out(const vise_model *model, const vise_windows *sets, size_t count, vise_stream *stream,
                           vise_error *err)
{
    size_t windows = 0;
    for (size_t s = 0; s < count; s++)
        if (!vise_add_size(windows, sets[s].count, &windows))
            return VISE_FAIL(err, VISE_ERESOURCE, "too many windows for this machine");
    void *memory = NULL;
    VISE_TRY(vise_calloc(windows + 1, sizeof(size_t), &memory, err));
    stream->start = memory;
    VISE_TRY(vise_calloc(windows + 1, sizeof(size_t), &memory, err));
    stream->set = memory;

    size_t token = 0, bytes = 0;
    bool warned = false;
    for (size_t s = 0; s < count; s++) {
        if (sets[s].length > (size_t)model->config.max_positions) {
            if (model->config.position == VISE_POSITION_LEARNED)
                return VISE_FAIL(err, VISE_EUSAGE,
                                 "a window of %zu tokens is longer than the model's %lld positions; make it shorter",
                                 sets[s].length, (long long)model->config.max_positions);
            if (!warned)
                vise_warn("a window of %zu tokens is longer than the %lld positions that the model was made for",
                          sets[s].length, (long long)model->config.max_positions);
            warned = true;
        }
        if (sets[s].length > stream->longest)
            stream->longest = sets[s].length;
        for (size_t w = 0; w < sets[s].count; w++) {
            if (!vise_add_size(token, sets[s].length, &token))
                return VISE_FAIL(err, VISE_ERESOURCE, "too many tokens for this machine");
            stream->set[stream->windows] = s;
            stream->start[++stream->windows] = token;
        }
    }
    if (token == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "there are no tokens to run the model on");
    if (!vise_mul_size(token, token_bytes(stream), &bytes))
        return VISE_FAIL(err, VISE_ERESOURCE, "%zu tokens are too many for this machine", token);
    return VISE_OK;
}

/* ---- positions that are computed ------------------------------------------------------------------------------- */

static size_t rotary_half(const vise_model *model)
{
    return (size_t)vise_rope_width(&model->config) / 2;
}

vise_rotary vise_stream_rotary(const vise_model *model, const vise_stream *stream, size_t window, bool local)
{
    size_t n = stream->angles * rotary_half(model);
    size_t kind = local && stream->rotary_kinds > 1 ? 1 : 0;
    size_t table = stream->rotary_tables > 1 ? stream->set[window] : 0;
    const float *cosine = stream->rotary + (kind * stream->rotary_tables + table) * 2 * n;
    cosine += stream->chained ? stream->start[window] * rotary_half(model) : 0;
    return (vise_rotary){cosine, cosine + n};
}

/* cos and sin of position * frequency for `tokens` positions from `position` on, angles in double (RoFormer,
 * arXiv:2104.09864, equation 15). */
static void fill_table(const vise_model *model, const vise_rope *rope, size_t position, size_t tokens, size_t length,
                       float *cosine, float *sine)
{
    size_t half = rotary_half(model);
    double magnitude = vise_rope_magnitude(&model->config, rope);
    for (size_t i = 0; i < half; i++) {
        double frequency = vise_rope_frequency(&model->config, rope, (int64_t)i, (int64_t)length);
        for (size_t t = 0; t < tokens; t++) {
            cosine[t * half + i] = (float)(magnitude * cos((double)(position + t) * frequency));
            sine[t * half + i] = (float)(magnitude * sin((double)(position + t) * frequency));
        }
    }
}

static bool has_local_layers(const vise_config *config)
{
    for (int64_t layer = 0; layer < config->layers && layer < VISE_CONFIG_LAYERS_MAX; layer++)
        if (config->layer[layer] & VISE_LAYER_LOCAL_ROPE)
            return true;
    return false;
}

static bool angles_by_length(const vise_config *config)
{
    return vise_rope_by_length(&config->rope) || vise_rope_by_length(&config->local_rope);
}

static vise_status fill_rotary(const vise_model *model, const vise_windows *sets, size_t count, vise_stream *stream,
                               vise_error *err)
{
    const vise_config *config = &model->config;
    size_t n = 0, bytes = 0, tables = 0;
    stream->rotary_kinds = has_local_layers(config) ? 2 : 1;
    stream->rotary_tables = angles_by_length(config) ? count : 1;
    if (!vise_mul_size(stream->angles, rotary_half(model), &n) ||
        !vise_mul_size(stream->rotary_kinds, stream->rotary_tables, &tables) ||
        !vise_mul_size(n, 2 * sizeof(float), &bytes) || !vise_mul_size(bytes, tables, &bytes))
        return VISE_FAIL(err, VISE_ERESOURCE, "windows of %zu tokens are too long", stream->longest);
    void *memory = NULL;
    VISE_TRY(vise_pool_take(stream->pool, bytes, "rotary angles", &memory, err));
    stream->rotary = memory;
    for (size_t i = 0; i < tables && !stream->chained; i++) {
        size_t table = i % stream->rotary_tables;
        size_t length = stream->rotary_tables > 1 ? sets[table].length : stream->longest;
        fill_table(model, i < stream->rotary_tables ? &config->rope : &config->local_rope, 0, stream->longest, length,
                   stream->rotary + i * 2 * n, stream->rotary + (i * 2 + 1) * n);
    }
    return VISE_OK;
}

static float to_bf16(float value)
{
    uint16_t stored;
    vise_from_f32(VISE_DTYPE_BF16, &value, &stored, 1);
    vise_to_f32(VISE_DTYPE_BF16, &stored, &value, 1);
    return value;
}

/* The slope of a head (arXiv:2108.12409): 2^(-8 (i + 1) / n) for n heads, a power of two; the heads beyond one take
 * every other slope of the next. */
static float alibi_slope(int64_t heads, int64_t head)
{
    int64_t n = 1;
    while (2 * n <= heads)
        n *= 2;
    double power = head < n ? -8.0 * (double)(head + 1) / (double)n : -4.0 * (double)(2 * (head - n) + 1) / (double)n;
    return (float)exp2(power);
}

static vise_status fill_alibi(const vise_model *model, vise_stream *stream, vise_error *err)
{
    const vise_config *config = &model->config;
    size_t bytes = 0;
    if (!vise_mul_size(stream->reach, (size_t)config->heads * sizeof(float), &bytes))
        return VISE_FAIL(err, VISE_ERESOURCE, "windows of %zu tokens are too long", stream->reach);
    void *memory = NULL;
    VISE_TRY(vise_pool_take(stream->pool, bytes, "biases of positions", &memory, err));
    stream->key_bias = memory;
    float scale = (float)(1.0 / sqrt((double)config->head_dim));
    for (int64_t head = 0; head < config->heads; head++) {
        float slope = alibi_slope(config->heads, head);
        for (size_t t = 0; t < stream->reach; t++)
            stream->key_bias[(size_t)head * stream->reach + t] =
                config->alibi_in_bf16 ? to_bf16(to_bf16(slope) * (float)t) * scale : slope * (float)t;
    }
    return VISE_OK;
}

uint64_t vise_stream_table_bytes(const vise_model *model, size_t sets, size_t length)
{
    const vise_config *config = &model->config;
    uint64_t kinds = has_local_layers(config) ? 2 : 1, tables = angles_by_length(config) ? sets : 1;
    if (config->position == VISE_POSITION_ROTARY)
        return kinds * tables * 2 * length * rotary_half(model) * sizeof(float);
    return config->position == VISE_POSITION_ALIBI ? length * (uint64_t)config->heads * sizeof(float) : 0;
}

static vise_status fill_positions(const vise_model *model, const vise_windows *sets, size_t count, vise_stream *stream,
                                  vise_error *err)
{
    switch (model->config.position) {
    case VISE_POSITION_ROTARY:
        return fill_rotary(model, sets, count, stream, err);
    case VISE_POSITION_ALIBI:
        return fill_alibi(model, stream, err);
    case VISE_POSITION_LEARNED:
        break;
    }
    return VISE_OK;
}

/* Memory for as many windows as ram_bytes holds, a file for the others. */
static vise_status make_room(vise_stream *stream, uint64_t ram_bytes, vise_error *err)
{
    while (stream->resident_windows < stream->windows &&
           stream->start[stream->resident_windows + 1] <= ram_bytes / token_bytes(stream))
        stream->resident_windows++;
    size_t resident = stream->start[stream->resident_windows], all = vise_stream_tokens(stream);
    if (resident > 0) {
        void *memory = NULL;
        VISE_TRY(vise_pool_take(stream->pool, resident * token_bytes(stream), "activations", &memory, err));
        stream->resident = memory;
    }
    if (resident == all)
        return VISE_OK;
    VISE_TRY(vise_file_temporary(NULL, &stream->file, err));
    return vise_file_reserve(&stream->file, (uint64_t)(all - resident) * token_bytes(stream), err);
}

/* The ids of all sets, one after the other, and what is added to their embeddings. */
typedef struct embedding {
    const vise_model *model;
    vise_workers *workers;
    int32_t *ids;   /* [tokens] */
    uint8_t *types; /* [tokens], or NULL */
    vise_embed_tables tables;
} embedding;

static vise_status embed_tokens(const embedding *e, const vise_stream *stream, size_t token, size_t n, float *out,
                                vise_error *err)
{
    VISE_TRY(vise_embed(e->model, &e->tables, e->ids + token, n, e->workers, stream->pool, out, err));
    return vise_embed_finish(e->model, stream, &e->tables, e->types ? e->types + token : NULL, e->workers, token, n,
                             out, err);
}

static vise_status embed_resident(const embedding *e, vise_stream *stream, vise_error *err)
{
    size_t resident = stream->start[stream->resident_windows];
    for (size_t token = 0; token < resident;) {
        size_t n = resident - token < EMBED_TOKENS_MAX ? resident - token : EMBED_TOKENS_MAX;
        VISE_TRY(embed_tokens(e, stream, token, n, stream->resident + token * (size_t)stream->hidden, err));
        token += n;
    }
    return VISE_OK;
}

static vise_status embed_spilled(const embedding *e, vise_stream *stream, vise_error *err)
{
    size_t token = stream->start[stream->resident_windows], all = vise_stream_tokens(stream);
    if (token == all)
        return VISE_OK;
    size_t step = EMBED_BUFFER_BYTES / token_bytes(stream);
    step = step > 0 ? step : 1;
    void *buffer = NULL;
    VISE_TRY(vise_pool_take(stream->pool, (step < all - token ? step : all - token) * token_bytes(stream),
                            "embedded tokens", &buffer, err));
    vise_status status = VISE_OK;
    while (status == VISE_OK && token < all) {
        size_t n = all - token < step ? all - token : step;
        status = embed_tokens(e, stream, token, n, buffer, err);
        if (status == VISE_OK)
            status = vise_stream_write(stream, token, n, buffer, err);
        token += n;
    }
    vise_pool_give(stream->pool, buffer);
    return status;
}

/* Types are kept where a set has them and the model knows them: some tokenizers number the texts of a pair for models
 * without types. *n_types is one more than the largest. */
static vise_status gather(const vise_windows *sets, size_t count, size_t tokens, embedding *e, int64_t *n_types,
                          vise_error *err)
{
    bool typed = false;
    void *memory = NULL;
    VISE_TRY(vise_alloc(tokens * sizeof(int32_t), &memory, err));
    e->ids = memory;
    for (size_t s = 0; s < count; s++)
        typed = typed || (sets[s].types && sets[s].count * sets[s].length > 0);
    if (typed && vise_model_role(e->model, VISE_ROLE_TYPE_EMBEDDING, -1) != SIZE_MAX) {
        VISE_TRY(vise_calloc(tokens, sizeof(uint8_t), &memory, err));
        e->types = memory;
    }
    *n_types = 1;
    for (size_t s = 0, token = 0; s < count; s++) {
        size_t n = sets[s].count * sets[s].length;
        if (n > 0)
            memcpy(e->ids + token, sets[s].ids, n * sizeof *e->ids);
        for (size_t i = 0; e->types && sets[s].types && i < n; i++) {
            e->types[token + i] = sets[s].types[i];
            *n_types = sets[s].types[i] < *n_types ? *n_types : sets[s].types[i] + 1;
        }
        token += n;
    }
    if (e->types && *n_types > e->model->config.types)
        return VISE_FAIL(err, VISE_EUSAGE, "a token is of type %lld, but the model has %lld types of tokens",
                         (long long)*n_types - 1, (long long)e->model->config.types);
    return VISE_OK;
}

/* The token that a decoder's classifier reads: the window's last that is no padding, or the first where all are. */
static vise_status find_last(const vise_model *model, const int32_t *ids, vise_stream *stream, vise_error *err)
{
    void *memory = NULL;
    if (model->config.head != VISE_HEAD_CLASSIFIER || model->config.bidirectional)
        return VISE_OK;
    VISE_TRY(vise_calloc(stream->windows + 1, sizeof(size_t), &memory, err));
    stream->last = memory;
    for (size_t w = 0; w < stream->windows; w++) {
        const size_t first = stream->start[w], last = stream->start[w + 1] - 1;
        stream->last[w] = last;
        while (stream->last[w] > first && ids[stream->last[w]] == model->config.pad)
            stream->last[w]--;
    }
    return VISE_OK;
}

static vise_status embed_sets(const vise_model *model, const vise_windows *sets, size_t count, vise_workers *workers,
                              vise_stream *stream, vise_error *err)
{
    embedding e = {.model = model, .workers = workers};
    int64_t n_types;
    vise_status status = gather(sets, count, vise_stream_tokens(stream), &e, &n_types, err);
    if (status == VISE_OK)
        status = find_last(model, e.ids, stream, err);
    if (status == VISE_OK)
        status = vise_embed_tables_load(model, stream, n_types, workers, &e.tables, err);
    if (status == VISE_OK)
        status = embed_resident(&e, stream, err);
    if (status == VISE_OK)
        status = embed_spilled(&e, stream, err);
    vise_embed_tables_free(&e.tables);
    vise_free(e.types);
    vise_free(e.ids);
    return status;
}

/* reach 0: a stream of windows that begin at position 0; else one that is fed. */
static vise_status new_stream(const vise_model *model, const vise_windows *sets, size_t count, size_t reach,
                              uint64_t ram_bytes, vise_pool *pool, vise_stream **out, vise_error *err)
{
    *out = NULL;
    void *memory = NULL;
    VISE_TRY(vise_calloc(1, sizeof(vise_stream), &memory, err));
    vise_stream *stream = memory;
    stream->hidden = model->config.hidden;
    stream->pool = pool;
    stream->file.fd = -1;

    vise_status status = lay_out(model, sets, count, stream, err);
    stream->chained = reach > 0;
    stream->reach = reach > 0 ? reach : stream->longest;
    if (status == VISE_OK) {
        stream->angles = reach > 0 ? vise_stream_tokens(stream) : stream->longest;
        status = fill_positions(model, sets, count, stream, err);
    }
    if (status == VISE_OK)
        status = make_room(stream, ram_bytes, err);
    if (status != VISE_OK) {
        vise_stream_close(stream);
        return status;
    }
    *out = stream;
    return VISE_OK;
}

vise_status vise_stream_new(const vise_model *model, const vise_windows *sets, size_t count, uint64_t ram_bytes,
                            vise_pool *pool, vise_stream **out, vise_error *err)
{
    return new_stream(model, sets, count, 0, ram_bytes, pool, out, err);
}

vise_status vise_stream_new_fed(const vise_model *model, size_t tokens, size_t piece, size_t reach, vise_pool *pool,
                                vise_stream **out, vise_error *err)
{
    const vise_windows pieces = {.count = (tokens + piece - 1) / piece, .length = piece};
    return new_stream(model, &pieces, 1, reach, UINT64_MAX, pool, out, err);
}

uint64_t vise_stream_fed_bytes(const vise_model *model, size_t tokens, size_t piece, size_t reach)
{
    tokens = (tokens + piece - 1) / piece * piece;
    uint64_t bytes = vise_stream_bytes(model, 1, tokens);
    if (model->config.position == VISE_POSITION_ALIBI)
        return bytes + reach * (uint64_t)model->config.heads * sizeof(float);
    return bytes + vise_stream_table_bytes(model, 1, tokens);
}

void vise_stream_advance(const vise_model *model, vise_stream *stream, size_t position, size_t tokens, size_t length)
{
    stream->position = position;
    stream->windows = stream->resident_windows = 0;
    for (size_t token = 0; token < tokens;) {
        token = tokens - token < stream->longest ? tokens : token + stream->longest;
        stream->start[++stream->windows] = token;
    }
    stream->resident_windows = stream->windows;
    for (size_t kind = 0; stream->rotary && kind < stream->rotary_kinds; kind++) {
        size_t n = stream->angles * rotary_half(model);
        fill_table(model, kind == 0 ? &model->config.rope : &model->config.local_rope, position, tokens, length,
                   stream->rotary + kind * 2 * n, stream->rotary + (kind * 2 + 1) * n);
    }
}

vise_status vise_stream_copy(const vise_model *model, const vise_windows *windows, const vise_stream *from,
                             uint64_t ram_bytes, vise_pool *pool, vise_stream **out, vise_error *err)
{
    const size_t copy_bytes = (size_t)1 << 20;
    const size_t tokens = vise_stream_tokens(from), row = token_bytes(from);
    const size_t step = copy_bytes / row > 0 ? copy_bytes / row : 1;
    float *buffer = NULL;
    vise_stream *stream = NULL;
    *out = NULL;
    VISE_TRY(vise_stream_new(model, windows, 1, ram_bytes, pool, &stream, err));
    vise_status status = vise_pool_take(pool, step * row, "activations", (void **)&buffer, err);
    for (size_t token = 0; status == VISE_OK && token < tokens; token += step) {
        const size_t n = tokens - token < step ? tokens - token : step;
        status = vise_stream_read(from, token, n, buffer, err);
        if (status == VISE_OK)
            status = vise_stream_write(stream, token, n, buffer, err);
    }
    vise_pool_give(pool, buffer);
    if (status != VISE_OK) {
        vise_stream_close(stream);
        return status;
    }
    *out = stream;
    return VISE_OK;
}

vise_status vise_stream_open_sets(const vise_model *model, const vise_windows *sets, size_t count, uint64_t ram_bytes,
                                  vise_workers *workers, vise_pool *pool, vise_stream **out, vise_error *err)
{
    *out = NULL;
    vise_stream *stream = NULL;
    VISE_TRY(vise_model_need_forward(model, "running the model", err));
    VISE_TRY(vise_stream_new(model, sets, count, ram_bytes, pool, &stream, err));
    vise_status status = embed_sets(model, sets, count, workers, stream, err);
    if (status != VISE_OK) {
        vise_stream_close(stream);
        return status;
    }
    *out = stream;
    return VISE_OK;
}

vise_status vise_stream_open(const vise_model *model, const vise_windows *windows, uint64_t ram_bytes,
                             vise_workers *workers, vise_pool *pool, vise_stream **out, vise_error *err)
{
    return vise_stream_open_sets(model, windows, 1, ram_bytes, workers, pool, out, err);
}

vise_status vise_stream_keep(vise_stream *stream, const uint8_t *keep, vise_error *err)
{
    size_t all = vise_stream_tokens(stream), resident = stream->start[stream->resident_windows], n = 0;
    void *row = NULL;
    VISE_TRY(vise_alloc(token_bytes(stream), &row, err));
    vise_status status = VISE_OK;
    for (size_t token = 0; status == VISE_OK && token < all; token++) {
        if (!keep[token])
            continue;
        if (token != n) {
            status = vise_stream_read(stream, token, 1, row, err);
            if (status == VISE_OK)
                status = vise_stream_write(stream, n, 1, row, err);
        }
        n++;
    }
    vise_free(row);
    /* What is in memory and what is not, as a window each: there were as many. */
    stream->resident_windows = resident > 0;
    stream->start[1] = resident > 0 && resident < n ? resident : n;
    stream->windows = resident > 0 && resident < n ? 2 : 1;
    stream->start[stream->windows] = n;
    return status;
}

void vise_stream_close(vise_stream *stream)
{
    if (!stream)
        return;
    vise_pool_give(stream->pool, stream->resident);
    vise_pool_give(stream->pool, stream->rotary);
    vise_pool_give(stream->pool, stream->key_bias);
    if (stream->file.fd >= 0)
        vise_file_close(&stream->file);
    vise_free(stream->start);
    vise_free(stream->set);
    vise_free(stream->last);
    vise_free(stream);
}
