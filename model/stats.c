/* Statistics of the inputs of a block's linears. Experts see the tokens that are routed to them: what all of them might
 * see is captured once, and each expert's rows are gathered from it.
 *
 * Windows are taken in batches. First all windows of a batch run in parallel and leave their inputs in buffers [tokens
 * of the batch, width]; then every statistic is brought up to date over the whole batch, its tokens in order. How many
 * windows a batch has follows from shapes alone, so the sums have the same bits for any number of threads, and they do
 * not depend on which other inputs are asked for.
 */
#include <math.h>
#include <string.h>

#include "model/layer.h"

/* Captured inputs take about this much memory (of windows that are larger: twice a window). */
#define BATCH_BYTES ((uint64_t)64 << 20)
enum { BATCH_WINDOWS_MIN = 2, BATCH_WINDOWS_MAX = 256, NORM_STRIP = 128 };

/* Captured rows of an input for a token. */
static uint64_t rows_of(const vise_model *model, int input)
{
    return input == VISE_INPUT_EXPERT_DOWN ? (uint64_t)model->config.experts_per_token : 1;
}

/* Experts with an input of their own. */
static size_t instances(const vise_model *model, int input)
{
    return input >= VISE_INPUT_EXPERT ? (size_t)model->config.experts : 1;
}

static uint64_t gathered_width(const vise_model *model)
{
    uint64_t in = (uint64_t)vise_input_width(model, -1, VISE_INPUT_EXPERT);
    uint64_t inner = (uint64_t)vise_input_width(model, -1, VISE_INPUT_EXPERT_DOWN);
    return in > inner ? in : inner;
}

static uint64_t captured_bytes(const vise_model *model, size_t length)
{
    uint64_t width = gathered_width(model) + (uint64_t)model->config.experts_per_token;
    for (int i = 0; i < VISE_INPUT_COUNT; i++)
        width += (uint64_t)vise_input_width(model, -1, (vise_input)i) * rows_of(model, i);
    return width * length * sizeof(float);
}

/* A power of two, so that many windows divide into even shares of work. */
static size_t batch_windows(const vise_model *model, size_t length)
{
    size_t windows = BATCH_WINDOWS_MIN;
    while (windows < BATCH_WINDOWS_MAX && 2 * windows * captured_bytes(model, length) <= BATCH_BYTES)
        windows *= 2;
    return windows;
}

uint64_t vise_measure_scratch_bytes(const vise_model *model, size_t length, int workers)
{
    return vise_forward_scratch_bytes(model, length, workers) +
           batch_windows(model, length) * captured_bytes(model, length);
}

/* ---- the statistics of a block ------------------------------------------------------------------------------- */

uint64_t vise_stats_bytes(const vise_model *model, unsigned wanted, unsigned inputs)
{
    uint64_t bytes = 0;
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        if (!(inputs >> i & 1u))
            continue;
        uint64_t width = (uint64_t)vise_input_width(model, -1, (vise_input)i), times = instances(model, i);
        bytes += wanted & VISE_STAT_NORMS ? times * width * sizeof(double) : 0;
        bytes += wanted & VISE_STAT_LARGEST ? times * width * sizeof(float) : 0;
        bytes += wanted & VISE_STAT_GRAM ? times * width * width * sizeof(float) : 0;
    }
    return bytes;
}

void vise_block_stats_deinit(vise_block_stats *stats)
{
    for (size_t i = 0; i < stats->inputs; i++) {
        vise_pool_give(stats->pool, stats->input[i].square_sum);
        vise_pool_give(stats->pool, stats->input[i].largest);
        vise_pool_give(stats->pool, stats->input[i].gram);
    }
    vise_free(stats->input);
    *stats = (vise_block_stats){0};
}

static vise_status take_zeroed(vise_pool *pool, size_t count, size_t size, const char *what, void **out,
                               vise_error *err)
{
    size_t bytes = 0;
    if (!vise_mul_size(count, size, &bytes))
        return VISE_FAIL(err, VISE_ERESOURCE, "%s: too large for this machine", what);
    VISE_TRY(vise_pool_take(pool, bytes, what, out, err));
    memset(*out, 0, bytes);
    return VISE_OK;
}

static vise_status init_input(vise_input_stats *input, int64_t width, vise_pool *pool, unsigned wanted,
                              vise_error *err)
{
    void *memory = NULL;
    size_t square = 0;
    input->width = width;
    if (wanted & VISE_STAT_NORMS) {
        VISE_TRY(take_zeroed(pool, (size_t)width, sizeof(double), "norms of activations", &memory, err));
        input->square_sum = memory;
    }
    if (wanted & VISE_STAT_LARGEST) {
        VISE_TRY(take_zeroed(pool, (size_t)width, sizeof(float), "ranges of activations", &memory, err));
        input->largest = memory;
    }
    if (wanted & VISE_STAT_GRAM) {
        if (!vise_mul_size((size_t)width, (size_t)width, &square))
            return VISE_FAIL(err, VISE_ERESOURCE, "a Gram matrix of width %lld is too large", (long long)width);
        VISE_TRY(take_zeroed(pool, square, sizeof(float), "a Gram matrix", &memory, err));
        input->gram = memory;
    }
    return VISE_OK;
}

static vise_status init_stats(const vise_model *model, int layer, vise_pool *pool, unsigned wanted, unsigned inputs,
                              uint64_t tokens, vise_block_stats *stats, vise_error *err)
{
    *stats = (vise_block_stats){.pool = pool};
    void *memory = NULL;
    VISE_TRY(vise_calloc(vise_config_inputs(&model->config), sizeof *stats->input, &memory, err));
    stats->input = memory;
    stats->inputs = vise_config_inputs(&model->config);
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        int64_t width = vise_input_width(model, layer, (vise_input)i);
        if (!(inputs >> i & 1u) || width == 0)
            continue;
        for (size_t expert = 0; expert < instances(model, i); expert++) {
            vise_input_stats *input = &stats->input[vise_config_input((vise_input)i, (int)expert)];
            input->tokens = i < VISE_INPUT_EXPERT ? tokens : 0; /* an expert's are counted as they come */
            VISE_TRY(init_input(input, width, pool, wanted, err));
        }
    }
    return VISE_OK;
}

/* ---- phase 1: run the windows of a batch and keep the inputs ------------------------------------------------- */

typedef struct batch {
    vise_layer_run run;
    size_t first, count;                /* windows */
    float *captured[VISE_INPUT_COUNT];  /* [tokens x rows, width] */
    int64_t width[VISE_INPUT_COUNT];    /* 0: not wanted */
    int32_t *routes;                    /* [tokens, experts_per_token] */
    float *gathered;                    /* [tokens, width] of one expert */
} batch;

static vise_status capture_window(void *context, size_t index, int worker, vise_error *err)
{
    const batch *job = context;
    const vise_stream *stream = job->run.stream;
    size_t window = job->first + index;
    size_t token = stream->start[window] - stream->start[job->first];
    const vise_model *model = job->run.model;
    vise_capture capture = {0};
    for (int i = 0; i < VISE_INPUT_COUNT; i++)
        if (job->captured[i])
            capture.input[i] = job->captured[i] + token * (size_t)rows_of(model, i) * (size_t)job->width[i];
    if (job->routes)
        capture.routes = job->routes + token * (size_t)model->config.experts_per_token;
    return vise_layer_run_window(&job->run, window, worker, &capture, err);
}

/* ---- phase 2: sums over a batch ------------------------------------------------------------------------------ */

typedef struct norm_job {
    int64_t tokens, width;
    const float *x;
    double *sum;
} norm_job;

/* A strip of columns: sum_j += x_j^2, tokens in order, in double. */
static vise_status sum_strip(void *context, size_t strip, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const norm_job *job = context;
    int64_t first = (int64_t)strip * NORM_STRIP;
    int64_t n = job->width - first < NORM_STRIP ? job->width - first : NORM_STRIP;
    double sum[NORM_STRIP] = {0};
    memcpy(sum, job->sum + first, (size_t)n * sizeof *sum);
    for (int64_t t = 0; t < job->tokens; t++) {
        const float *x = job->x + t * job->width + first;
        if (n == NORM_STRIP) /* a constant count becomes vector code */
            for (int64_t j = 0; j < NORM_STRIP; j++)
                sum[j] += (double)x[j] * (double)x[j];
        else
            for (int64_t j = 0; j < n; j++)
                sum[j] += (double)x[j] * (double)x[j];
    }
    memcpy(job->sum + first, sum, (size_t)n * sizeof *sum);
    return VISE_OK;
}

typedef struct range_job {
    int64_t tokens, width;
    const float *x;
    float *largest;
} range_job;

/* A strip of columns. NaN stays what it is, so that it is seen. */
static vise_status widen_strip(void *context, size_t strip, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const range_job *job = context;
    int64_t first = (int64_t)strip * NORM_STRIP;
    int64_t end = job->width - first < NORM_STRIP ? job->width : first + NORM_STRIP;
    for (int64_t t = 0; t < job->tokens; t++)
        for (int64_t j = first; j < end; j++) {
            const float size = fabsf(job->x[t * job->width + j]);
            job->largest[j] = size <= job->largest[j] ? job->largest[j] : size;
        }
    return VISE_OK;
}

static vise_status add_rows(vise_backend *b, int64_t tokens, const float *x, vise_input_stats *input, vise_error *err)
{
    if (input->square_sum) {
        norm_job norms = {tokens, input->width, x, input->square_sum};
        size_t strips = (size_t)((input->width + NORM_STRIP - 1) / NORM_STRIP);
        VISE_TRY(vise_parallel(b->workers, strips, sum_strip, &norms, err));
    }
    if (input->largest) {
        range_job range = {tokens, input->width, x, input->largest};
        size_t strips = (size_t)((input->width + NORM_STRIP - 1) / NORM_STRIP);
        VISE_TRY(vise_parallel(b->workers, strips, widen_strip, &range, err));
    }
    return input->gram ? b->matrix->gram(b, tokens, input->width, x, input->width, input->gram, err) : VISE_OK;
}

/* The rows of an expert, in the order of tokens. */
static int64_t gather(const batch *job, int kind, int expert, int64_t tokens)
{
    const int64_t k = job->run.model->config.experts_per_token, width = job->width[kind];
    int64_t n = 0;
    for (int64_t choice = 0; choice < tokens * k; choice++) {
        if (job->routes[choice] != expert)
            continue;
        int64_t row = kind == VISE_INPUT_EXPERT ? choice / k : choice;
        memcpy(job->gathered + n * width, job->captured[kind] + row * width, (size_t)width * sizeof(float));
        n++;
    }
    return n;
}

static vise_status accumulate(const batch *job, vise_block_stats *stats, vise_error *err)
{
    vise_backend *b = job->run.backend;
    const size_t *start = job->run.stream->start;
    int64_t tokens = (int64_t)(start[job->first + job->count] - start[job->first]);
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        if (i < VISE_INPUT_EXPERT) {
            VISE_TRY(add_rows(b, tokens, job->captured[i], &stats->input[i], err));
            continue;
        }
        for (int expert = 0; job->captured[i] && expert < (int)job->run.model->config.experts; expert++) {
            vise_input_stats *input = &stats->input[vise_config_input((vise_input)i, expert)];
            int64_t n = gather(job, i, expert, tokens);
            input->tokens += (uint64_t)n;
            if (n > 0)
                VISE_TRY(add_rows(b, n, job->gathered, input, err));
        }
    }
    return VISE_OK;
}

/* A NaN or an infinity in an input is one in its sum of squares, and mostly in its range. */
static vise_status check_finite(const vise_model *model, int layer, const vise_block_stats *stats, vise_error *err)
{
    for (size_t i = 0; i < stats->inputs; i++) {
        const vise_input_stats *input = &stats->input[i];
        vise_input kind = i < VISE_INPUT_EXPERT ? (vise_input)i
                          : (i - VISE_INPUT_EXPERT) % VISE_EXPERT_INPUTS == 0 ? VISE_INPUT_EXPERT
                                                                              : VISE_INPUT_EXPERT_DOWN;
        for (int64_t j = 0; j < input->width; j++) {
            bool finite = !input->square_sum || isfinite(input->square_sum[j]);
            finite = finite && (!input->largest || isfinite(input->largest[j]));
            if (!finite || (input->gram && !isfinite(input->gram[j * input->width + j])))
                return VISE_FAIL(err, VISE_EFORMAT, "the input of %s in block %d is not finite (column %lld)",
                                 vise_role_name(vise_input_role(model, kind)), layer, (long long)j);
        }
    }
    return VISE_OK;
}

vise_status vise_block_measure(const vise_model *model, const vise_block *block, vise_stream *stream,
                               vise_backend *backend, unsigned wanted, unsigned inputs, vise_block_stats *stats,
                               vise_error *err)
{
    return vise_block_measure_half(model, block, VISE_BOTH_HALVES, stream, backend, wanted, inputs, stats, err);
}

vise_status vise_block_measure_half(const vise_model *model, const vise_block *block, vise_half half,
                                    vise_stream *stream, vise_backend *backend, unsigned wanted, unsigned inputs,
                                    vise_block_stats *stats, vise_error *err)
{
    batch job = {0};
    size_t batch_size = batch_windows(model, stream->longest);
    size_t windows = batch_size < stream->windows ? batch_size : stream->windows;
    size_t tokens = windows * stream->longest;
    vise_status status = VISE_OK;
    void *memory = NULL;
    VISE_TRY_TO(done, init_stats(model, block->layer, block->pool, wanted, inputs, vise_stream_tokens(stream), stats,
                                 err));

    int last = -1;
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        job.width[i] = stats->input[i].width; /* of an expert's input, the first expert's */
        if (job.width[i] == 0)
            continue;
        last = i;
        size_t bytes = tokens * (size_t)rows_of(model, i) * (size_t)job.width[i] * sizeof(float);
        VISE_TRY_TO(done, vise_pool_take(block->pool, bytes, "captured activations", &memory, err));
        job.captured[i] = memory;
    }
    if (half == VISE_ATTENTION_HALF)
        last = VISE_INPUT_MLP;
    else if (last < 0 || wanted == 0)
        goto done;
    if (last >= VISE_INPUT_EXPERT) {
        size_t choices = tokens * (size_t)model->config.experts_per_token;
        VISE_TRY_TO(done, vise_pool_take(block->pool, choices * sizeof(int32_t), "chosen experts", &memory, err));
        job.routes = memory;
        VISE_TRY_TO(done, vise_pool_take(block->pool, tokens * (size_t)gathered_width(model) * sizeof(float),
                                         "inputs of an expert", &memory, err));
        job.gathered = memory;
    }
    VISE_TRY_TO(done, vise_layer_run_init(&job.run, model, block, stream, backend, (vise_input)last, err));
    job.run.half = half;
    for (job.first = 0; job.first < stream->windows; job.first += job.count) {
        job.count = stream->windows - job.first < batch_size ? stream->windows - job.first : batch_size;
        VISE_TRY_TO(done, vise_parallel(backend->workers, job.count, capture_window, &job, err));
        VISE_TRY_TO(done, accumulate(&job, stats, err));
    }
    status = check_finite(model, block->layer, stats, err);
done:
    vise_layer_run_deinit(&job.run);
    for (int i = 0; i < VISE_INPUT_COUNT; i++)
        vise_pool_give(block->pool, job.captured[i]);
    vise_pool_give(block->pool, job.routes);
    vise_pool_give(block->pool, job.gathered);
    if (status != VISE_OK)
        vise_block_stats_deinit(stats);
    return status;
}
