/* Statistics of the inputs of a block's linears. Experts see the tokens that are routed to them: what all of them might
 * see is captured once, and each expert's rows are gathered from it.
 *
 * Windows are taken in batches. First all windows of a batch run in parallel and leave their inputs in buffers [tokens
 * of the batch, width]; then every statistic is brought up to date over the whole batch, its tokens in order. How many
 * windows a batch has follows from shapes alone, so the sums have the same bits for any number of threads, and they do
 * not depend on which other inputs are asked for.
 *
 * The model beside runs each batch, too, behind the one that is measured, and leaves its inputs in buffers of its own.
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

uint64_t vise_measure_beside_bytes(const vise_model *model, size_t length, int workers)
{
    const uint64_t window = length * (uint64_t)model->config.hidden * sizeof(float);
    return 2 * (vise_measure_scratch_bytes(model, length, workers) + batch_windows(model, length) * window);
}

uint64_t vise_measure_scratch_bytes(const vise_model *model, size_t length, int workers)
{
    return vise_forward_scratch_bytes(model, length, workers) +
           batch_windows(model, length) * captured_bytes(model, length);
}

/* ---- the statistics of a block ------------------------------------------------------------------------------- */

/* The linear that reads the input writes to the residual stream as it stands when the input is measured. */
static bool adds_to_stream(const vise_model *model, vise_input input)
{
    const vise_role post = input == VISE_INPUT_O ? VISE_ROLE_ATTENTION_POST_NORM : VISE_ROLE_MLP_POST_NORM;
    if ((input != VISE_INPUT_O && input != VISE_INPUT_DOWN) || !vise_block_splits(model))
        return false;
    for (size_t r = 0; r < model->arch->n_rows; r++)
        if (model->arch->rows[r].role == post)
            return false;
    return true;
}

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
        bytes += wanted & VISE_STAT_CROSS ? times * width * width * sizeof(float) : 0;
        if ((wanted & VISE_STAT_RESIDUAL) && adds_to_stream(model, (vise_input)i))
            bytes += width * (uint64_t)model->config.hidden * sizeof(float);
    }
    return bytes;
}

void vise_block_stats_deinit(vise_block_stats *stats)
{
    for (size_t i = 0; i < stats->inputs; i++) {
        vise_pool_give(stats->pool, stats->input[i].square_sum);
        vise_pool_give(stats->pool, stats->input[i].largest);
        vise_pool_give(stats->pool, stats->input[i].gram);
        vise_pool_give(stats->pool, stats->input[i].cross);
        vise_pool_give(stats->pool, stats->input[i].residual);
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
    if ((wanted & (VISE_STAT_GRAM | VISE_STAT_CROSS)) && !vise_mul_size((size_t)width, (size_t)width, &square))
        return VISE_FAIL(err, VISE_ERESOURCE, "a Gram matrix of width %lld is too large", (long long)width);
    if (wanted & VISE_STAT_GRAM) {
        VISE_TRY(take_zeroed(pool, square, sizeof(float), "a Gram matrix", &memory, err));
        input->gram = memory;
    }
    if (wanted & VISE_STAT_CROSS) {
        VISE_TRY(take_zeroed(pool, square, sizeof(float), "products of inputs", &memory, err));
        input->cross = memory;
    }
    return VISE_OK;
}

static vise_status init_stats(const vise_model *model, int layer, vise_half half, vise_pool *pool, unsigned wanted,
                              unsigned inputs, uint64_t tokens, vise_block_stats *stats, vise_error *err)
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
            if ((wanted & VISE_STAT_RESIDUAL) && adds_to_stream(model, (vise_input)i) &&
                (half == VISE_MLP_HALF) == (i == VISE_INPUT_DOWN)) {
                VISE_TRY(take_zeroed(pool, (size_t)(model->config.hidden * width), sizeof(float),
                                     "products of inputs", &memory, err));
                input->residual = memory;
            }
        }
    }
    return VISE_OK;
}

/* ---- phase 1: run the windows of a batch and keep the inputs ------------------------------------------------- */

/* What the windows of a batch leave behind, of the model that is measured or of the one beside it. */
typedef struct capture_side {
    vise_layer_run run;
    float *captured[VISE_INPUT_COUNT]; /* [tokens x rows, width] */
    int32_t *routes;                   /* [tokens, experts_per_token] */
    float *gathered;                   /* [tokens, width] of one expert */
    float *stream;                     /* [tokens, hidden]: the residual stream, where it is compared */
} capture_side;

typedef struct batch {
    capture_side at, beside;
    size_t first, count;             /* windows */
    int64_t width[VISE_INPUT_COUNT]; /* 0: not wanted */
} batch;

typedef struct capture_job {
    const batch *batch;
    const capture_side *side;
} capture_job;

static vise_status capture_window(void *context, size_t index, int worker, vise_error *err)
{
    const capture_job *job = context;
    const capture_side *side = job->side;
    const vise_stream *stream = side->run.stream;
    size_t window = job->batch->first + index;
    size_t token = stream->start[window] - stream->start[job->batch->first];
    const vise_model *model = side->run.model;
    vise_capture capture = {0};
    for (int i = 0; i < VISE_INPUT_COUNT; i++)
        if (side->captured[i])
            capture.input[i] =
                side->captured[i] + token * (size_t)rows_of(model, i) * (size_t)job->batch->width[i];
    if (side->routes)
        capture.routes = side->routes + token * (size_t)model->config.experts_per_token;
    return vise_layer_run_window(&side->run, window, worker, &capture, err);
}

static vise_status capture(const batch *job, const capture_side *side, vise_error *err)
{
    capture_job windows = {job, side};
    return vise_parallel(side->run.backend->workers, job->count, capture_window, &windows, err);
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

enum { DIFFERENCE_RUN = 1 << 16 };

typedef struct difference_job {
    size_t values;
    const float *x;
    float *beside;
} difference_job;

static vise_status subtract_run(void *context, size_t run, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const difference_job *job = context;
    const size_t first = run * DIFFERENCE_RUN;
    const size_t end = job->values - first < DIFFERENCE_RUN ? job->values : first + DIFFERENCE_RUN;
    for (size_t i = first; i < end; i++)
        job->beside[i] -= job->x[i];
    return VISE_OK;
}

static vise_status subtract(vise_backend *b, size_t values, const float *x, float *beside, vise_error *err)
{
    difference_job job = {values, x, beside};
    return vise_parallel(b->workers, (values + DIFFERENCE_RUN - 1) / DIFFERENCE_RUN, subtract_run, &job, err);
}

/* beside: the rows of the model beside, which become the difference; NULL: there is none. */
static vise_status add_rows(vise_backend *b, int64_t tokens, const float *x, float *beside, vise_input_stats *input,
                            vise_error *err)
{
    const int64_t d = input->width;
    if (input->square_sum) {
        norm_job norms = {tokens, d, x, input->square_sum};
        size_t strips = (size_t)((d + NORM_STRIP - 1) / NORM_STRIP);
        VISE_TRY(vise_parallel(b->workers, strips, sum_strip, &norms, err));
    }
    if (input->largest) {
        range_job range = {tokens, d, x, input->largest};
        size_t strips = (size_t)((d + NORM_STRIP - 1) / NORM_STRIP);
        VISE_TRY(vise_parallel(b->workers, strips, widen_strip, &range, err));
    }
    if (input->cross) {
        VISE_TRY(subtract(b, (size_t)(tokens * d), x, beside, err));
        VISE_TRY(b->matrix->cross(b, tokens, d, d, beside, d, x, d, input->cross, d, err));
    }
    return input->gram ? b->matrix->gram(b, tokens, d, x, d, input->gram, err) : VISE_OK;
}

/* The stream is read behind the windows' run, which has left it as it was. */
static vise_status add_residual(const batch *job, int64_t tokens, const float *x, vise_input_stats *input,
                                vise_error *err)
{
    vise_backend *b = job->at.run.backend;
    const size_t token0 = job->at.run.stream->start[job->first];
    const int64_t hidden = job->at.run.model->config.hidden;
    VISE_TRY(vise_stream_read(job->at.run.stream, token0, (size_t)tokens, job->at.stream, err));
    VISE_TRY(vise_stream_read(job->beside.run.stream, token0, (size_t)tokens, job->beside.stream, err));
    VISE_TRY(subtract(b, (size_t)(tokens * hidden), job->at.stream, job->beside.stream, err));
    return b->matrix->cross(b, tokens, hidden, input->width, job->beside.stream, hidden, x, input->width,
                            input->residual, input->width, err);
}

/* Row of a choice of the model beside: the same token's for the same expert; -1: it chose others. */
static int64_t row_beside(const batch *job, int kind, int expert, int64_t choice)
{
    const int64_t k = job->at.run.model->config.experts_per_token, token = choice / k;
    if (kind == VISE_INPUT_EXPERT)
        return token;
    for (int64_t c = token * k; c < (token + 1) * k; c++)
        if (job->beside.routes[c] == expert)
            return c;
    return -1;
}

/* The rows of an expert, in the order of tokens. */
static int64_t gather(const batch *job, int kind, int expert, int64_t tokens)
{
    const int64_t k = job->at.run.model->config.experts_per_token, width = job->width[kind];
    const size_t bytes = (size_t)width * sizeof(float);
    int64_t n = 0;
    for (int64_t choice = 0; choice < tokens * k; choice++) {
        if (job->at.routes[choice] != expert)
            continue;
        const int64_t row = kind == VISE_INPUT_EXPERT ? choice / k : choice;
        const float *x = job->at.captured[kind] + row * width;
        memcpy(job->at.gathered + n * width, x, bytes);
        if (job->beside.gathered) {
            const int64_t other = row_beside(job, kind, expert, choice);
            memcpy(job->beside.gathered + n * width, other < 0 ? x : job->beside.captured[kind] + other * width, bytes);
        }
        n++;
    }
    return n;
}

static vise_status accumulate(const batch *job, vise_block_stats *stats, vise_error *err)
{
    vise_backend *b = job->at.run.backend;
    const size_t *start = job->at.run.stream->start;
    int64_t tokens = (int64_t)(start[job->first + job->count] - start[job->first]);
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        if (i < VISE_INPUT_EXPERT) {
            if (stats->input[i].residual)
                VISE_TRY(add_residual(job, tokens, job->at.captured[i], &stats->input[i], err));
            VISE_TRY(add_rows(b, tokens, job->at.captured[i], job->beside.captured[i], &stats->input[i], err));
            continue;
        }
        for (int expert = 0; job->at.captured[i] && expert < (int)job->at.run.model->config.experts; expert++) {
            vise_input_stats *input = &stats->input[vise_config_input((vise_input)i, expert)];
            int64_t n = gather(job, i, expert, tokens);
            input->tokens += (uint64_t)n;
            if (n > 0)
                VISE_TRY(add_rows(b, n, job->at.gathered, job->beside.gathered, input, err));
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
            finite = finite && (!input->cross || isfinite(input->cross[j * input->width + j]));
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
    return vise_block_measure_beside(model, block, NULL, half, stream, backend, wanted, inputs, stats, err);
}

/* Buffers for a batch of so many tokens, and the run up to the input `last`; compares: the streams are. */
static vise_status open_side(const vise_model *model, const vise_block *block, vise_stream *stream,
                             vise_backend *backend, const batch *job, size_t tokens, vise_input last, bool compares,
                             capture_side *side, vise_error *err)
{
    void *memory = NULL;
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        if (job->width[i] == 0)
            continue;
        size_t bytes = tokens * (size_t)rows_of(model, i) * (size_t)job->width[i] * sizeof(float);
        VISE_TRY(vise_pool_take(block->pool, bytes, "captured activations", &memory, err));
        side->captured[i] = memory;
    }
    if (compares) {
        VISE_TRY(vise_pool_take(block->pool, tokens * (size_t)stream->hidden * sizeof(float), "captured activations",
                                &memory, err));
        side->stream = memory;
    }
    if (last >= VISE_INPUT_EXPERT && last < VISE_INPUT_COUNT) {
        size_t choices = tokens * (size_t)model->config.experts_per_token;
        VISE_TRY(vise_pool_take(block->pool, choices * sizeof(int32_t), "chosen experts", &memory, err));
        side->routes = memory;
        VISE_TRY(vise_pool_take(block->pool, tokens * (size_t)gathered_width(model) * sizeof(float),
                                "inputs of an expert", &memory, err));
        side->gathered = memory;
    }
    return vise_layer_run_init(&side->run, model, block, stream, backend, last, err);
}

static void close_side(capture_side *side, vise_pool *pool)
{
    vise_layer_run_deinit(&side->run);
    for (int i = 0; i < VISE_INPUT_COUNT; i++)
        vise_pool_give(pool, side->captured[i]);
    vise_pool_give(pool, side->routes);
    vise_pool_give(pool, side->gathered);
    vise_pool_give(pool, side->stream);
}

vise_status vise_block_measure_beside(const vise_model *model, const vise_block *block, const vise_beside *beside,
                                      vise_half half, vise_stream *stream, vise_backend *backend, unsigned wanted,
                                      unsigned inputs, vise_block_stats *stats, vise_error *err)
{
    batch job = {0};
    size_t batch_size = batch_windows(model, stream->longest);
    size_t windows = batch_size < stream->windows ? batch_size : stream->windows;
    size_t tokens = windows * stream->longest;
    vise_status status = VISE_OK;
    wanted &= beside != NULL ? ~0u : ~(unsigned)(VISE_STAT_CROSS | VISE_STAT_RESIDUAL);
    VISE_TRY_TO(done, init_stats(model, block->layer, half, block->pool, wanted, inputs, vise_stream_tokens(stream),
                                 stats, err));

    int last = -1;
    bool compares = false;
    for (int i = 0; i < VISE_INPUT_COUNT; i++) {
        job.width[i] = stats->input[i].width; /* of an expert's input, the first expert's */
        last = job.width[i] > 0 ? i : last;
        compares = compares || stats->input[i].residual != NULL;
    }
    if (half == VISE_ATTENTION_HALF)
        last = VISE_INPUT_MLP;
    else if (last < 0 || wanted == 0)
        goto done;
    VISE_TRY_TO(done, open_side(model, block, stream, backend, &job, tokens, (vise_input)last, compares, &job.at,
                                err));
    job.at.run.half = half;
    if (beside != NULL)
        VISE_TRY_TO(done, open_side(model, beside->block, beside->stream, backend, &job, tokens, (vise_input)last,
                                    compares, &job.beside, err));
    job.beside.run.half = half;
    for (job.first = 0; job.first < stream->windows; job.first += job.count) {
        job.count = stream->windows - job.first < batch_size ? stream->windows - job.first : batch_size;
        VISE_TRY_TO(done, capture(&job, &job.at, err));
        if (beside != NULL)
            VISE_TRY_TO(done, capture(&job, &job.beside, err));
        VISE_TRY_TO(done, accumulate(&job, stats, err));
    }
    status = check_finite(model, block->layer, stats, err);
done:
    close_side(&job.at, block->pool);
    close_side(&job.beside, block->pool);
    if (status != VISE_OK)
        vise_block_stats_deinit(stats);
    return status;
}
