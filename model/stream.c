#include "model/stream.h"

#include <math.h>
#include <string.h>

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

    size_t token = 0, bytes = 0;
    for (size_t s = 0; s < count; s++) {
        if (sets[s].length > (size_t)model->config.max_positions)
            return VISE_FAIL(err, VISE_EUSAGE, "a window of %zu tokens is longer than the model's %lld positions",
                             sets[s].length, (long long)model->config.max_positions);
        if (sets[s].length > stream->longest)
            stream->longest = sets[s].length;
        for (size_t w = 0; w < sets[s].count; w++) {
            if (!vise_add_size(token, sets[s].length, &token))
                return VISE_FAIL(err, VISE_ERESOURCE, "too many tokens for this machine");
            stream->start[++stream->windows] = token;
        }
    }
    if (token == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "there are no tokens to run the model on");
    if (!vise_mul_size(token, token_bytes(stream), &bytes))
        return VISE_FAIL(err, VISE_ERESOURCE, "%zu tokens are too many for this machine", token);
    return VISE_OK;
}

/* cos and sin of position * theta^(-2 i / head_dim), angles in double (RoFormer, arXiv:2104.09864, equation 15). */
static vise_status fill_rotary(const vise_model *model, vise_stream *stream, vise_error *err)
{
    size_t half = (size_t)model->config.head_dim / 2, n = 0, bytes = 0;
    if (!vise_mul_size(stream->longest, half, &n) || !vise_mul_size(n, 2 * sizeof(float), &bytes))
        return VISE_FAIL(err, VISE_ERESOURCE, "windows of %zu tokens are too long", stream->longest);
    void *memory = NULL;
    VISE_TRY(vise_pool_take(stream->pool, bytes, "rotary angles", &memory, err));
    stream->cosine = memory;
    stream->sine = stream->cosine + n;
    for (size_t i = 0; i < half; i++) {
        double frequency = pow(model->config.rope_theta, -2.0 * (double)i / (double)model->config.head_dim);
        for (size_t t = 0; t < stream->longest; t++) {
            stream->cosine[t * half + i] = (float)cos((double)t * frequency);
            stream->sine[t * half + i] = (float)sin((double)t * frequency);
        }
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

static vise_status embed_resident(const vise_model *model, const int32_t *ids, vise_workers *workers,
                                  vise_stream *stream, vise_error *err)
{
    size_t resident = stream->start[stream->resident_windows];
    for (size_t token = 0; token < resident;) {
        size_t n = resident - token < EMBED_TOKENS_MAX ? resident - token : EMBED_TOKENS_MAX;
        VISE_TRY(vise_embed(model, ids + token, n, workers, stream->pool,
                            stream->resident + token * (size_t)stream->hidden, err));
        token += n;
    }
    return VISE_OK;
}

static vise_status embed_spilled(const vise_model *model, const int32_t *ids, vise_workers *workers,
                                 vise_stream *stream, vise_error *err)
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
        status = vise_embed(model, ids + token, n, workers, stream->pool, buffer, err);
        if (status == VISE_OK)
            status = vise_stream_write(stream, token, n, buffer, err);
        token += n;
    }
    vise_pool_give(stream->pool, buffer);
    return status;
}

/* The ids of all sets, one after the other. */
static vise_status embed_sets(const vise_model *model, const vise_windows *sets, size_t count, vise_workers *workers,
                              vise_stream *stream, vise_error *err)
{
    void *memory = NULL;
    VISE_TRY(vise_alloc(vise_stream_tokens(stream) * sizeof(int32_t), &memory, err));
    int32_t *ids = memory, *next = ids;
    for (size_t s = 0; s < count; s++) {
        size_t n = sets[s].count * sets[s].length;
        if (n > 0)
            memcpy(next, sets[s].ids, n * sizeof *next);
        next += n;
    }
    vise_status status = embed_resident(model, ids, workers, stream, err);
    if (status == VISE_OK)
        status = embed_spilled(model, ids, workers, stream, err);
    vise_free(ids);
    return status;
}

vise_status vise_stream_new(const vise_model *model, const vise_windows *sets, size_t count, uint64_t ram_bytes,
                            vise_pool *pool, vise_stream **out, vise_error *err)
{
    *out = NULL;
    void *memory = NULL;
    VISE_TRY(vise_calloc(1, sizeof(vise_stream), &memory, err));
    vise_stream *stream = memory;
    stream->hidden = model->config.hidden;
    stream->pool = pool;
    stream->file.fd = -1;

    vise_status status = lay_out(model, sets, count, stream, err);
    if (status == VISE_OK)
        status = fill_rotary(model, stream, err);
    if (status == VISE_OK)
        status = make_room(stream, ram_bytes, err);
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

void vise_stream_close(vise_stream *stream)
{
    if (!stream)
        return;
    vise_pool_give(stream->pool, stream->resident);
    vise_pool_give(stream->pool, stream->cosine);
    if (stream->file.fd >= 0)
        vise_file_close(&stream->file);
    vise_free(stream->start);
    vise_free(stream);
}
