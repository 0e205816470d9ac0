/* A block's scales and offsets come from its encoder's search, weighed by the diagonal of the Gram matrix (what an
 * importance matrix holds): with --range updated when the solver reaches the block's first column, from the weights as
 * updated so far; with --range original from the original weights, before the first column. They stay; every column
 * takes the nearest level, and what that leaves is fed forward. At last the levels of each value are found again
 * and put into the block, whose decoding gives the very values that the solver used.
 *
 * Super blocks of 256 values are entered as one, so that blocks are solved as wholes: "static" activation order
 * goes by the activity of whole blocks where ranges are updated.
 */
#include "quant/gptq_blocks.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "compute/descend.h"
#include "compute/solve.h"

#define GPTQ_BLOCK     128
#define GPTQ_TILE_ROWS 64
#define LANES          VISE_SOLVE_LANES

enum { BLOCK_MAX = 256, LEVELS_MAX = 256, FINEST_RUN = 16 };

typedef struct block_job {
    const vise_gguf_type *type;
    vise_weight *weight;
    int64_t rows, cols, padded;
    uint64_t row_bytes;
    const int32_t *order;    /* [cols]; NULL: left to right */
    const float *importance; /* [cols]; NULL: no token was seen */
    vise_gguf_grid shape;    /* of every block: run, levels, points */
    float between[LEVELS_MAX]; /* middles of neighbouring points */
    /* Grids transposed, so that the lanes of a tile lie together: [cols / run][padded]. The greatest scale stands for
     * an empty grid: it rounds everything to -offset. */
    float *scale, *offset;
} block_job;

bool vise_gptq_holds_blocks(const vise_gguf_type *type)
{
    return type->grid != NULL;
}

static uint8_t *block_of(const block_job *job, int64_t row, int64_t col)
{
    uint8_t *blocks = job->weight->q->codes;
    return blocks + (uint64_t)row * job->row_bytes + (uint64_t)(col / job->type->values) * (uint64_t)job->type->bytes;
}

/* ---- scales ------------------------------------------------------------------------------------------------------ */

/* The grid of the block that begins at col, as stored. One that float16 does not hold stands as empty: the values stay
 * finite, and the layout refuses the block by its bytes. */
static void read_grid(block_job *job, int64_t row, int64_t col)
{
    vise_gguf_grid grid;
    job->type->grid(block_of(job, row, col), &grid);
    for (int r = 0; r < job->type->values / grid.run; r++) {
        const int64_t at = (col / grid.run + r) * job->padded + row;
        const bool finite = isfinite(grid.scale[r]) && isfinite(grid.offset[r]);
        job->scale[at] = finite && grid.scale[r] != 0.0f ? grid.scale[r] : FLT_MAX;
        job->offset[at] = finite ? grid.offset[r] : 0.0f;
    }
}

static void fit_updated(void *context, int64_t row0, int n, int64_t position, const float *values)
{
    block_job *job = context;
    const int32_t *order = job->order != NULL ? job->order + position : NULL; /* of this block's columns */
    const int64_t col = order != NULL ? order[0] - order[0] % job->type->values : position;
    const float *importance = job->importance != NULL ? job->importance + col : NULL;
    for (int lane = 0; lane < n; lane++) {
        float x[BLOCK_MAX];
        for (int j = 0; j < job->type->values; j++) {
            const float value = values[j * LANES + lane];
            x[order != NULL ? order[j] - col : j] = isfinite(value) ? value : 0.0f;
        }
        job->type->encode_row(x, importance, job->type->values, block_of(job, row0 + lane, col));
        read_grid(job, row0 + lane, col);
    }
}

static vise_status fit_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    block_job *job = context;
    const int64_t row0 = (int64_t)index * GPTQ_TILE_ROWS;
    const int64_t end = row0 + GPTQ_TILE_ROWS < job->rows ? row0 + GPTQ_TILE_ROWS : job->rows;
    vise_gguf_encode(job->type, job->weight->values + row0 * job->cols, job->importance, end - row0, job->cols,
                     block_of(job, row0, 0));
    for (int64_t row = row0; row < end; row++)
        for (int64_t col = 0; col < job->cols; col += job->type->values)
            read_grid(job, row, col);
    return VISE_OK;
}

/* ---- levels ------------------------------------------------------------------------------------------------------ */

/* The level whose value is nearest to x. */
static int nearest_level(const block_job *job, float scale, float offset, float x)
{
    const float steps = (x + offset) / scale;
    if (job->shape.point == NULL) {
        const float low = (float)-job->shape.half, high = low + (float)(job->shape.levels - 1);
        const float clamped = !(steps > low) ? low : steps > high ? high : steps;
        return (int)((clamped + 12582912.0f) - 12582912.0f) + job->shape.half; /* to even: no bits below 1 */
    }
    int level = 0;
    for (int i = 0; i + 1 < job->shape.levels; i++)
        level += steps >= job->between[i];
    return level;
}

static float value_of(const block_job *job, float scale, float offset, int level)
{
    const float point = job->shape.point != NULL ? job->shape.point[level] : (float)(level - job->shape.half);
    return (scale == FLT_MAX ? 0.0f : scale * point) - offset;
}

static void project(void *context, int64_t row0, int n, int64_t position, const float *values, float *projected)
{
    const block_job *job = context;
    const int64_t col = job->order != NULL ? job->order[position] : position;
    const int64_t first = col / job->shape.run * job->padded + row0;
    const float *scale = job->scale + first, *offset = job->offset + first;
    float masked[LANES];
    if (job->weight->mask != NULL) { /* zero, or what the grid has nearest to it */
        const size_t stride = vise_mask_row_bytes(job->cols);
        const uint8_t *bits = job->weight->mask + (size_t)row0 * stride + (size_t)(col >> 3);
        for (int lane = 0; lane < LANES; lane++)
            masked[lane] = lane < n && (bits[(size_t)lane * stride] >> (col & 7) & 1) == 0 ? 0.0f : values[lane];
        values = masked;
    }
    for (int lane = 0; lane < LANES; lane++)
        projected[lane] = value_of(job, scale[lane], offset[lane],
                                   nearest_level(job, scale[lane], offset[lane], values[lane]));
}

/* The level that a value of the grid came from. Where the offset dwarfs the scale several levels share a value. */
static int level_of(const block_job *job, float scale, float offset, float value)
{
    const int near = nearest_level(job, scale, offset, value);
    if (value_of(job, scale, offset, near) == value)
        return near;
    for (int level = 0; level < job->shape.levels; level++)
        if (value_of(job, scale, offset, level) == value)
            return level;
    return near;
}

static vise_status store_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const block_job *job = context;
    const int64_t row0 = (int64_t)index * GPTQ_TILE_ROWS;
    const int64_t end = row0 + GPTQ_TILE_ROWS < job->rows ? row0 + GPTQ_TILE_ROWS : job->rows;
    for (int64_t row = row0; row < end; row++) {
        float *values = job->weight->values + row * job->cols;
        for (int64_t col = 0; col < job->cols; col += job->type->values) {
            uint8_t levels[BLOCK_MAX];
            for (int j = 0; j < job->type->values; j++) {
                const int64_t at = (col + j) / job->shape.run * job->padded + row;
                levels[j] = (uint8_t)level_of(job, job->scale[at], job->offset[at], values[col + j]);
            }
            job->type->put_levels(levels, block_of(job, row, col));
        }
    }
    vise_gguf_decode(job->type, block_of(job, row0, 0), end - row0, job->cols, job->weight->values + row0 * job->cols);
    return VISE_OK;
}

/* ---- a weight ---------------------------------------------------------------------------------------------------- */

static vise_status descend(vise_pass_run *run, block_job *job, const vise_gptq_input *input, int sweeps, double *loss,
                           vise_error *err)
{
    job->order = NULL; /* columns are back in their places */
    const vise_descend problem = {.rows = job->rows,
                                  .cols = job->cols,
                                  .h = input->whole,
                                  .w = input->original,
                                  .q = job->weight->values,
                                  .sweeps = sweeps,
                                  .project = project,
                                  .stride = job->padded,
                                  .group = 1,
                                  .context = job};
    return vise_descend_columns(run->backend, run->pool, &problem, loss, err);
}

static void open_job(block_job *job, vise_weight *weight, const vise_gptq_input *input)
{
    const vise_gguf_type *type = weight->plan->scheme.type->blocks;
    *job = (block_job){.type = type,
                       .weight = weight,
                       .rows = weight->rows,
                       .cols = weight->cols,
                       .padded = (weight->rows + LANES - 1) / LANES * LANES,
                       .row_bytes = vise_gguf_row_bytes(type, weight->cols),
                       .order = input->order,
                       .importance = input->importance};
    const uint8_t none[BLOCK_MAX] = {0};
    type->grid(none, &job->shape);
    for (int i = 0; job->shape.point != NULL && i + 1 < job->shape.levels; i++)
        job->between[i] = 0.5f * (job->shape.point[i] + job->shape.point[i + 1]);
}

vise_status vise_gptq_solve_blocks(vise_pass_run *run, vise_weight *weight, const vise_gptq_input *input,
                                   vise_error *err)
{
    const int sweeps = vise_gptq_sweeps(run->config, &weight->plan->scheme);
    const bool updated = vise_gptq_updates_blocks(run->config);
    const size_t tiles = (size_t)((weight->rows + GPTQ_TILE_ROWS - 1) / GPTQ_TILE_ROWS);
    block_job job;
    vise_status status = VISE_OK;
    open_job(&job, weight, input);
    const int64_t grids = job.padded * (job.cols / job.shape.run);
    const int64_t period = job.type->values;
    VISE_TRY_TO(done, vise_pool_take(run->pool, (size_t)grids * sizeof(float), "grids", (void **)&job.scale, err));
    VISE_TRY_TO(done, vise_pool_take(run->pool, (size_t)grids * sizeof(float), "grids", (void **)&job.offset, err));
    for (int64_t i = 0; i < grids; i++) {
        job.scale[i] = FLT_MAX;
        job.offset[i] = 0.0f;
    }
    if (!updated)
        VISE_TRY_TO(done, vise_parallel(run->workers, tiles, fit_rows, &job, err));
    if (sweeps > 0)
        memcpy(input->original, weight->values, (size_t)(job.rows * job.cols) * sizeof(float));
    VISE_TRY_TO(done, vise_gptq_permute(run, input, weight->values, job.rows, job.cols, false, err));
    const vise_solve problem = {.rows = job.rows,
                                .cols = job.cols,
                                .w = weight->values,
                                .ldw = job.cols,
                                .u = input->u,
                                .ldu = job.cols,
                                .block = period > GPTQ_BLOCK ? period : GPTQ_BLOCK,
                                .enter = updated ? fit_updated : NULL,
                                .period = period,
                                .project = project,
                                .context = &job};
    double loss = 0.0;
    VISE_TRY_TO(done, run->backend->factor->solve_columns(run->backend, &problem, &loss, err));
    VISE_TRY_TO(done, vise_gptq_permute(run, input, weight->values, job.rows, job.cols, true, err));
    if (sweeps > 0)
        VISE_TRY_TO(done, descend(run, &job, input, sweeps, &loss, err));
    weight->loss = loss / input->tokens;
    VISE_TRY_TO(done, vise_parallel(run->workers, tiles, store_rows, &job, err));
    weight->quantized = true;
done:
    vise_pool_give(run->pool, job.offset);
    vise_pool_give(run->pool, job.scale);
    return status;
}

uint64_t vise_gptq_blocks_bytes(int64_t rows, int64_t cols)
{
    return 8 * (((uint64_t)rows + LANES - 1) / LANES * LANES) * ((uint64_t)cols / FINEST_RUN);
}
