/* Statistics of the inputs of a block's linears.
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

static uint64_t captured_bytes(const vise_model *model, size_t length)
{
    uint64_t width = 0;
    for (int i = 0; i < VISE_INPUT_COUNT; i++)
        width += (uint64_t)vise_input_width(model, (vise_input)i);
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

uint64_t vise_stats_bytes(const vise_model *model, unsigned wanted)
{
    uint64_t bytes = 0;
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        uint64_t width = (uint64_t)vise_input_width(model, (vise_input)i);
        bytes += wanted & VISE_STAT_NORMS ? width * sizeof(double) : 0;
        bytes += wanted & VISE_STAT_GRAM ? width * width * sizeof(float) : 0;
    }
    return bytes;
}

void vise_block_stats_deinit(vise_block_stats *stats)
{
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        vise_pool_give(stats->pool, stats->input[i].square_sum);
        vise_pool_give(stats->pool, stats->input[i].gram);
    }
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

static vise_status init_stats(const vise_model *model, vise_pool *pool, unsigned wanted, unsigned inputs,
                              uint64_t tokens, vise_block_stats *stats, vise_error *err)
{
    *stats = (vise_block_stats){.pool = pool};
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        vise_input_stats *input = &stats->input[i];
        int64_t width = vise_input_width(model, (vise_input)i);
        if (!(inputs >> i & 1u) || width == 0)
            continue;
        input->width = width;
        input->tokens = tokens;
        void *memory = NULL;
        if (wanted & VISE_STAT_NORMS) {
            VISE_TRY(take_zeroed(pool, (size_t)width, sizeof(double), "norms of activations", &memory, err));
            input->square_sum = memory;
        }
        size_t square = 0;
        if (wanted & VISE_STAT_GRAM) {
            if (!vise_mul_size((size_t)width, (size_t)width, &square))
                return VISE_FAIL(err, VISE_ERESOURCE, "a Gram matrix of width %lld is too large", (long long)width);
            VISE_TRY(take_zeroed(pool, square, sizeof(float), "a Gram matrix", &memory, err));
            input->gram = memory;
        }
    }
    return VISE_OK;
}

/* ---- phase 1: run the windows of a batch and keep the inputs ------------------------------------------------- */

typedef struct batch {
    vise_layer_run run;
    size_t first, count;                /* windows */
    float *captured[VISE_INPUT_COUNT];  /* [tokens, width] */
    int64_t width[VISE_INPUT_COUNT];    /* 0: not wanted */
} batch;

static vise_status capture_window(void *context, size_t index, int worker, vise_error *err)
{
    const batch *job = context;
    const vise_stream *stream = job->run.stream;
    size_t window = job->first + index;
    size_t token = stream->start[window] - stream->start[job->first];
    float *capture[VISE_INPUT_COUNT] = {0};
    for (int i = 0; i < VISE_INPUT_COUNT; i++)
        if (job->captured[i])
            capture[i] = job->captured[i] + token * (size_t)job->width[i];
    return vise_layer_run_window(&job->run, window, worker, capture, err);
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

static vise_status accumulate(const batch *job, vise_block_stats *stats, vise_error *err)
{
    vise_backend *b = job->run.backend;
    const size_t *start = job->run.stream->start;
    int64_t tokens = (int64_t)(start[job->first + job->count] - start[job->first]);
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        vise_input_stats *input = &stats->input[i];
        if (input->square_sum) {
            norm_job norms = {tokens, input->width, job->captured[i], input->square_sum};
            size_t strips = (size_t)((input->width + NORM_STRIP - 1) / NORM_STRIP);
            VISE_TRY(vise_parallel(b->workers, strips, sum_strip, &norms, err));
        }
        if (input->gram)
            VISE_TRY(b->matrix->gram(b, tokens, input->width, job->captured[i], input->width, input->gram, err));
    }
    return VISE_OK;
}

/* A NaN or an infinity in an input is one in its sum of squares. */
static vise_status check_finite(const vise_model *model, int layer, const vise_block_stats *stats, vise_error *err)
{
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        const vise_input_stats *input = &stats->input[i];
        for (int64_t j = 0; j < input->width; j++) {
            bool finite = !input->square_sum || isfinite(input->square_sum[j]);
            if (!finite || (input->gram && !isfinite(input->gram[j * input->width + j])))
                return VISE_FAIL(err, VISE_EFORMAT, "the input of %s in block %d is not finite (column %lld)",
                                 vise_role_name(vise_input_role(model, (vise_input)i)), layer, (long long)j);
        }
    }
    return VISE_OK;
}

vise_status vise_block_measure(const vise_model *model, const vise_block *block, vise_stream *stream,
                               vise_backend *backend, unsigned wanted, unsigned inputs, vise_block_stats *stats,
                               vise_error *err)
{
    batch job = {0};
    size_t batch_size = batch_windows(model, stream->longest);
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, init_stats(model, block->pool, wanted, inputs, vise_stream_tokens(stream), stats, err));

    int last = -1;
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        job.width[i] = stats->input[i].width;
        if (job.width[i] == 0)
            continue;
        last = i;
        void *memory = NULL;
        size_t windows = batch_size < stream->windows ? batch_size : stream->windows;
        size_t bytes = windows * stream->longest * (size_t)job.width[i] * sizeof(float);
        VISE_TRY_TO(done, vise_pool_take(block->pool, bytes, "captured activations", &memory, err));
        job.captured[i] = memory;
    }
    if (last < 0 || wanted == 0)
        goto done;
    VISE_TRY_TO(done, vise_layer_run_init(&job.run, model, block, stream, backend, (vise_input)last, err));
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
    if (status != VISE_OK)
        vise_block_stats_deinit(stats);
    return status;
}
