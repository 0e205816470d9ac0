/* Row tiles. See tile.h. */
#include "pipeline/tile.h"

#include <string.h>

#include "core/workers.h"
#include "model/transform.h"
#include "model/weights.h"
#include "tensor/loss.h"
#include "tensor/mask.h"

static size_t align64(size_t n)
{
    return (n + 63) / 64 * 64;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

bool vise_tile_copies_bytes(const vise_plan *plan, size_t index)
{
    const vise_planned *planned = &plan->planned[index];
    return planned->carried && planned->scheme.type == NULL;
}

size_t vise_tile_layout(const vise_plan *plan, size_t index, vise_tile_parts *parts)
{
    const vise_planned *planned = &plan->planned[index];
    const vise_logical *tensor = planned->bound->tensor;
    const int64_t rows = vise_tile_rows(planned), cols = tensor->cols;
    const size_t values = (size_t)(rows * cols);
    size_t end = 0, scratch = 0;
    *parts = (vise_tile_parts){.rows = rows};
    parts->values = end;
    end += align64(values * sizeof(float));
    parts->original = end;
    end += !planned->carried ? align64(values * sizeof(float)) : 0;
    parts->mask = end;
    end += planned->masked ? align64((size_t)rows * vise_mask_row_bytes(cols)) : 0;
    parts->codes = end;
    end += planned->scheme.type != NULL ? align64(vise_qweight_bytes(&planned->scheme, rows, cols)) : 0;
    parts->stored = end;
    end += planned->scheme.type == NULL
               ? align64((values + (tensor->transposed ? (size_t)rows : 0)) *
                         (size_t)(vise_dtype_of(planned->dtype)->bits + 7) / 8)
               : align64(plan->layout->store_scratch(&plan->spelling[index], rows));
    for (size_t p = 0; p < plan->n_runs; p++) {
        const vise_method *method = plan->runs[p].method;
        if ((planned->passes >> p & 1) != 0 && method->weight_bytes != NULL)
            scratch = max_size(scratch, method->weight_bytes(&plan->runs[p], rows, cols));
    }
    parts->scratch = end;
    return end + align64(scratch);
}

/* ---- storing --------------------------------------------------------------------------------------- */

typedef struct part_target {
    vise_sink *sink;
    const vise_planned_parts *parts;
} part_target;

/* Bytes that the output has no place for are left out. */
static vise_status write_part(void *context, int part, uint64_t offset, const void *bytes, size_t n,
                              vise_error *err)
{
    const part_target *target = context;
    const vise_planned_parts *parts = target->parts;
    uint64_t begin = offset, end = offset + n;
    if (parts->n_parts == 0)
        return VISE_OK;
    if (parts->end > 0) {
        begin = begin > parts->begin ? begin : parts->begin;
        end = end < parts->end ? end : parts->end;
    }
    if (begin >= end)
        return VISE_OK;
    return vise_sink_write(target->sink, parts->ids[part], parts->base + begin - parts->begin,
                           (const char *)bytes + (begin - offset), (size_t)(end - begin), err);
}

/* A tile of rows of a matrix that is stored transposed: a stripe of every stored row. `stored` holds the tile's
 * elements and, behind them, room for one stripe. */
static vise_status store_transposed(part_target *target, const vise_weight *tile, size_t element, char *stored,
                                    vise_error *err)
{
    const size_t rows = (size_t)tile->rows, cols = (size_t)tile->cols;
    const uint64_t all_rows = (uint64_t)tile->plan->bound->tensor->rows;
    char *stripe = stored + rows * cols * element;
    for (size_t c = 0; c < cols; c++) {
        for (size_t r = 0; r < rows; r++)
            memcpy(stripe + r * element, stored + (r * cols + c) * element, element);
        VISE_TRY(write_part(target, 0, (c * all_rows + (uint64_t)tile->row0) * element, stripe, rows * element, err));
    }
    return VISE_OK;
}

/* float32 values; of a float16 model the sum is one of float16, as the converter has it. */
static void add_one(vise_dtype dtype, void *stored, size_t n)
{
    float *values = stored;
    for (size_t i = 0; i < n; i++)
        values[i] += 1.0f;
    for (size_t i = 0; i < n && dtype == VISE_DTYPE_F16; i++) {
        uint16_t half;
        vise_from_f32(VISE_DTYPE_F16, &values[i], &half, 1);
        vise_to_f32(VISE_DTYPE_F16, &half, &values[i], 1);
    }
}

/* Stores the tile in its planned form; `stored` is scratch of the tile's layout. */
static vise_status store_tile(const vise_plan *plan, const vise_weight *tile, vise_sink *sink, void *stored,
                              vise_error *err)
{
    const size_t index = tile->plan->index;
    const vise_planned_parts *parts = &plan->parts[index];
    part_target target = {sink, parts};
    if (tile->plan->scheme.type != NULL) {
        vise_part_writer writer = {write_part, &target};
        return plan->layout->store(&plan->spelling[index], tile->row0, tile->q, stored, &writer, err);
    }
    const vise_dtype dtype = tile->plan->dtype;
    const size_t n = (size_t)(tile->rows * tile->cols);
    const size_t element = (size_t)vise_dtype_of(dtype)->bits / 8;
    vise_cast_stats stats = {0};
    vise_from_f32_counted(dtype, tile->values, stored, n, &stats);
    if (stats.overflowed > 0)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "%s: %llu values are beyond the range of %s (largest %g) and would become infinite; "
                         "choose another "
                         "dtype such as bf16, or exclude it",
                         tile->plan->bound->tensor->name, (unsigned long long)stats.overflowed,
                         vise_dtype_of(dtype)->name, vise_dtype_of(dtype)->max);
    if (parts->plus_one)
        add_one(tile->plan->bound->tensor->dtype, stored, n);
    if (!tile->plan->bound->tensor->transposed || plan->gguf != NULL)
        return write_part(&target, 0, (uint64_t)(tile->row0 * tile->cols) * element, stored, n * element, err);
    return store_transposed(&target, tile, element, stored, err);
}

static vise_tile_loss loss_of(const float *original, const float *values, size_t n)
{
    vise_loss loss = {0};
    vise_loss_add(original, values, n, &loss);
    return (vise_tile_loss){.error = loss.error, .signal = loss.signal, .zeros = loss.zeros, .known = true};
}

static void add_loss(vise_tile_loss *sum, const vise_tile_loss *tile)
{
    sum->error += tile->error;
    sum->signal += tile->signal;
    sum->zeros += tile->zeros;
    sum->known = sum->known || tile->known;
}

/* A pruned weight that came back to life is a bug of the pass after it. */
static vise_status check_mask(const vise_weight *tile, vise_error *err)
{
    if (tile->mask == NULL)
        return VISE_OK;
    for (int64_t row = 0; row < tile->rows; row++)
        for (int64_t col = 0; col < tile->cols; col++)
            if (tile->values[row * tile->cols + col] != 0.0f &&
                !vise_mask_get(tile->mask, tile->cols, row, col))
                return VISE_FAIL(
                    err, VISE_EINTERNAL, "%s: pruned weight [%lld, %lld] is not zero after the later passes",
                    tile->plan->bound->tensor->name, (long long)(tile->row0 + row), (long long)col);
    return VISE_OK;
}

/* ---- one walk over the tiles of a weight ----------------------------------------------------------- */

typedef struct tile_walk {
    vise_plan *plan;
    size_t index;
    vise_sink *sink;
    vise_pool *pool;
    vise_tile_parts parts;
    char **block;             /* [workers]: scratch */
    vise_tile_loss *losses;   /* [tiles] */
    const vise_weight *whole; /* finished weight to store, or NULL */
    float *mixed;             /* the input, whole, of a weight whose rows a transform mixes; NULL: read by tiles */
    vise_pass_run *measuring; /* pass whose measure hook is called, or NULL */
} tile_walk;

static vise_status check_finite(const vise_weight *tile, vise_error *err)
{
    size_t at;
    size_t bad = vise_count_nonfinite(tile->values, (size_t)(tile->rows * tile->cols), &at);
    if (bad == 0)
        return VISE_OK;
    return VISE_FAIL(
        err, VISE_EFORMAT,
        "%s: %s at [%lld, %lld] (%zu such values in these rows); the checkpoint is damaged or "
        "overflowed when it was saved: repair it, or exclude this module",
        tile->plan->bound->tensor->name, tile->values[at] != tile->values[at] ? "NaN" : "infinity",
        (long long)(tile->row0 + (int64_t)at / tile->cols), (long long)((int64_t)at % tile->cols), bad);
}

static vise_weight tile_at(const tile_walk *walk, size_t tile_index, char *block, vise_qweight *q)
{
    const vise_planned *planned = &walk->plan->planned[walk->index];
    const vise_logical *tensor = planned->bound->tensor;
    vise_weight tile = {
        .plan = planned, .row0 = (int64_t)tile_index * walk->parts.rows, .cols = tensor->cols};
    tile.rows = tensor->rows - tile.row0 < walk->parts.rows ? tensor->rows - tile.row0 : walk->parts.rows;
    tile.values = (float *)(void *)(block + walk->parts.values);
    if (planned->masked) {
        tile.mask = (uint8_t *)block + walk->parts.mask;
        memset(tile.mask, 0xFF, (size_t)tile.rows * vise_mask_row_bytes(tile.cols));
    }
    if (planned->scheme.type != NULL) {
        vise_qweight_carve(q, &planned->scheme, planned->scale_dtype, tile.rows, tile.cols,
                           block + walk->parts.codes);
        q->flat = tile.row0 * tile.cols;
        tile.q = q;
    }
    return tile;
}

static vise_status read_tile(const tile_walk *walk, const vise_weight *tile, float *values, vise_error *err)
{
    const vise_model *model = walk->plan->model;
    if (walk->mixed != NULL) {
        memcpy(values, walk->mixed + tile->row0 * tile->cols, (size_t)(tile->rows * tile->cols) * sizeof(float));
        return VISE_OK;
    }
    VISE_TRY(vise_store_read_f32(model->store, walk->index, tile->row0, tile->rows, values, walk->pool, err));
    return vise_transform_tile(model, walk->index, tile->row0, tile->rows, values, walk->pool, err);
}

/* A weight whose rows are mixed is read whole, once for all tiles. */
static vise_status read_mixed(tile_walk *walk, vise_workers *workers, vise_error *err)
{
    const vise_model *model = walk->plan->model;
    const vise_logical *tensor = model->bound[walk->index].tensor;
    if (!vise_transform_mixes_rows(model, walk->index))
        return VISE_OK;
    VISE_TRY(vise_pool_take(walk->pool, (size_t)tensor->elements * sizeof(float), "a rotated weight",
                            (void **)&walk->mixed, err));
    return vise_weight_read_all(model, walk->index, 0, tensor->rows, workers, walk->pool, walk->mixed, err);
}

static vise_status measure_tile(void *context, size_t index, int worker, vise_error *err)
{
    const tile_walk *walk = context;
    vise_qweight q;
    vise_weight tile = tile_at(walk, index, walk->block[worker], &q);
    VISE_TRY(read_tile(walk, &tile, tile.values, err));
    VISE_TRY(check_finite(&tile, err));
    /* What earlier passes do to the rows comes first. */
    for (size_t p = 0; p < (size_t)walk->measuring->index; p++) {
        vise_pass_run *run = &walk->plan->runs[p];
        if ((tile.plan->passes >> p & 1) != 0 && run->method->weight != NULL)
            VISE_TRY(run->method->weight(run, &tile, walk->block[worker] + walk->parts.scratch, err));
    }
    return walk->measuring->method->measure(walk->measuring, &tile, err);
}

static vise_status stream_tile(void *context, size_t index, int worker, vise_error *err)
{
    const tile_walk *walk = context;
    vise_plan *plan = walk->plan;
    char *block = walk->block[worker];
    vise_qweight q;
    vise_weight tile = tile_at(walk, index, block, &q);
    const size_t n = (size_t)(tile.rows * tile.cols);
    if (tile.plan->carried) { /* a quantized weight that no pass touches, perhaps in another layout */
        VISE_TRY(vise_store_read_codes(plan->model->store, walk->index, tile.row0, tile.q, walk->pool, err));
        return store_tile(plan, &tile, walk->sink, block + walk->parts.stored, err);
    }
    VISE_TRY(read_tile(walk, &tile, tile.values, err));
    VISE_TRY(check_finite(&tile, err));
    float *original = (float *)(void *)(block + walk->parts.original);
    memcpy(original, tile.values, n * sizeof(float));
    for (size_t p = 0; p < plan->n_runs; p++) {
        vise_pass_run *run = &plan->runs[p];
        if ((tile.plan->passes >> p & 1) != 0 && run->method->weight != NULL)
            VISE_TRY(run->method->weight(run, &tile, block + walk->parts.scratch, err));
    }
    VISE_TRY(check_mask(&tile, err));
    VISE_TRY(store_tile(plan, &tile, walk->sink, block + walk->parts.stored, err));
    walk->losses[index] = loss_of(original, tile.values, n);
    return VISE_OK;
}

static vise_status store_whole(void *context, size_t index, int worker, vise_error *err)
{
    const tile_walk *walk = context;
    const vise_weight *whole = walk->whole;
    char *block = walk->block[worker];
    vise_qweight q;
    vise_weight tile = tile_at(walk, index, block, &q);
    float *original = tile.values;
    tile.values = whole->values + tile.row0 * whole->cols;
    if (whole->mask != NULL)
        tile.mask = whole->mask + (size_t)tile.row0 * vise_mask_row_bytes(whole->cols);
    if (whole->q != NULL)
        q = vise_qweight_rows(whole->q, tile.row0, tile.rows);
    VISE_TRY(check_mask(&tile, err));
    VISE_TRY(store_tile(walk->plan, &tile, walk->sink, block + walk->parts.stored, err));
    VISE_TRY(read_tile(walk, &tile, original, err));
    walk->losses[index] = loss_of(original, tile.values, (size_t)(tile.rows * tile.cols));
    return VISE_OK;
}

static vise_status walk_tiles(tile_walk *walk, vise_task task, vise_workers *workers, vise_tile_loss *loss,
                              vise_error *err)
{
    const vise_logical *tensor = walk->plan->planned[walk->index].bound->tensor;
    const size_t n_workers = (size_t)vise_workers_count(workers);
    const size_t bytes = vise_tile_layout(walk->plan, walk->index, &walk->parts);
    const size_t tiles =
        walk->parts.rows > 0 ? (size_t)((tensor->rows + walk->parts.rows - 1) / walk->parts.rows) : 0;
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, vise_calloc(n_workers, sizeof *walk->block, (void **)&walk->block, err));
    VISE_TRY_TO(done, vise_calloc(tiles + 1, sizeof *walk->losses, (void **)&walk->losses, err));
    for (size_t w = 0; w < n_workers && w < tiles; w++)
        VISE_TRY_TO(done,
                    vise_pool_take(walk->pool, bytes, "tiles of weights", (void **)&walk->block[w], err));
    VISE_TRY_TO(done, read_mixed(walk, workers, err));
    VISE_TRY_TO(done, vise_parallel_window(workers, tiles, VISE_TILES_AHEAD(n_workers), task, walk, err));
    for (size_t t = 0; loss != NULL && t < tiles; t++)
        add_loss(loss, &walk->losses[t]);
done:
    for (size_t w = 0; walk->block != NULL && w < n_workers; w++)
        vise_pool_give(walk->pool, walk->block[w]);
    vise_pool_give(walk->pool, walk->mixed);
    vise_free(walk->losses);
    vise_free(walk->block);
    return status;
}

/* ---- copying
 * ---------------------------------------------------------------------------------------------------------------
 */

typedef struct copy_job {
    const vise_plan *plan;
    size_t index;
    vise_sink *sink;
    vise_pool *pool;
} copy_job;

static vise_status copy_piece(void *context, size_t piece, int worker, vise_error *err)
{
    (void)worker;
    const copy_job *job = context;
    const uint64_t total = vise_plan_stored_bytes(job->plan, job->index);
    const uint64_t offset = (uint64_t)piece * VISE_COPY_BYTES;
    const size_t n = total - offset < VISE_COPY_BYTES ? (size_t)(total - offset) : VISE_COPY_BYTES;
    void *bytes;
    VISE_TRY(vise_pool_take(job->pool, n, "copied bytes", &bytes, err));
    vise_status status =
        vise_store_read_raw(job->plan->model->store, job->index, offset, n, bytes, job->pool, err);
    if (status == VISE_OK)
        status = write_part(&(part_target){job->sink, &job->plan->parts[job->index]}, 0, offset, bytes, n, err);
    vise_pool_give(job->pool, bytes);
    return status;
}

/* ---- the interface
 * ----------------------------------------------------------------------------------------------------------
 */

vise_status vise_tile_stream(vise_plan *plan, size_t index, vise_sink *sink, vise_workers *workers,
                             vise_pool *pool, vise_tile_loss *loss, vise_error *err)
{
    *loss = (vise_tile_loss){0};
    if (vise_tile_copies_bytes(plan, index)) {
        copy_job job = {plan, index, sink, pool};
        uint64_t pieces = (vise_plan_stored_bytes(plan, index) + VISE_COPY_BYTES - 1) / VISE_COPY_BYTES;
        return vise_parallel_window(workers, (size_t)pieces, VISE_TILES_AHEAD(vise_workers_count(workers)), copy_piece,
                                    &job, err);
    }
    tile_walk walk = {.plan = plan, .index = index, .sink = sink, .pool = pool};
    return walk_tiles(&walk, stream_tile, workers, loss, err);
}

vise_status vise_tile_store(vise_plan *plan, const vise_weight *weight, vise_sink *sink,
                            vise_workers *workers, vise_pool *pool, vise_tile_loss *loss, vise_error *err)
{
    *loss = (vise_tile_loss){0};
    tile_walk walk = {
        .plan = plan, .index = weight->plan->index, .sink = sink, .pool = pool, .whole = weight};
    return walk_tiles(&walk, store_whole, workers, loss, err);
}

vise_status vise_tile_measure(vise_plan *plan, vise_pass_run *run, size_t index, vise_workers *workers,
                              vise_pool *pool, vise_error *err)
{
    tile_walk walk = {.plan = plan, .index = index, .pool = pool, .measuring = run};
    return walk_tiles(&walk, measure_tile, workers, NULL, err);
}
