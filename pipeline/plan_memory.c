/* How much memory a run takes at least. Every buffer of the executor is counted here, by the rule that it is
 * taken by. */
#include "eval/eval.h"
#include "formats/packed.h"
#include "pipeline/plan.h"
#include "pipeline/tile.h"

/* Values of a tile: enough to amortise a task, small enough for a core's cache. */
#define TILE_VALUES (INT64_C(1) << 18)

int64_t vise_tile_rows(int64_t rows, int64_t cols)
{
    int64_t tile = cols > 0 ? TILE_VALUES / cols / VISE_TILE_ROWS * VISE_TILE_ROWS : VISE_TILE_ROWS;
    tile = tile < VISE_TILE_ROWS ? VISE_TILE_ROWS : tile;
    return tile < rows ? tile : rows;
}

size_t vise_plan_tile_bytes(const vise_plan *plan, size_t index)
{
    vise_tile_parts parts;
    return vise_tile_layout(plan, index, &parts);
}

/* Pool bytes that reading a tile takes inside the store: its stored bytes, and codes when it is quantized. */
static uint64_t read_scratch(const vise_logical *tensor, int64_t rows)
{
    uint64_t values = (uint64_t)(rows * tensor->cols);
    if (tensor->scheme.type != NULL)
        return vise_qweight_bytes(&tensor->scheme, rows, tensor->cols) + values + 64;
    if (tensor->transposed)
        return VISE_PACK_CHUNK + (uint64_t)rows * (2 + (uint64_t)tensor->rows / (uint64_t)rows) * sizeof(float) * 2;
    return values * (uint64_t)(vise_dtype_of(tensor->dtype)->bits + 7) / 8;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t streaming_bytes(const vise_plan *plan)
{
    uint64_t tile = VISE_COPY_BYTES, open_chunks = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const vise_logical *tensor = plan->planned[i].bound->tensor;
        if (vise_tile_copies_bytes(plan, i))
            continue;
        uint64_t bytes =
            vise_plan_tile_bytes(plan, i) + read_scratch(tensor, vise_tile_rows(tensor->rows, tensor->cols));
        tile = max_u64(tile, bytes);
        if (plan->packed && tensor->transposed) /* every tile writes to every chunk */
            open_chunks = max_u64(open_chunks, 2 * vise_plan_stored_bytes(plan, i));
    }
    uint64_t bytes = tile * (uint64_t)plan->threads + open_chunks;
    if (vise_source_is_packed(vise_store_source(plan->model->store)))
        bytes += (uint64_t)plan->threads * 6 * VISE_COPY_BYTES;
    if (plan->packed) /* open and queued chunks of the tiles in flight and of the scales behind them */
        bytes += ((uint64_t)plan->threads + 1) * (2 * tile + 4 * VISE_COPY_BYTES) + 8 * VISE_COPY_BYTES;
    return bytes;
}

/* Codes and masks of the block that has the most. */
static uint64_t block_results(const vise_plan *plan)
{
    uint64_t most = 0;
    for (int layer = 0; layer <= plan->last_calibrated; layer++) {
        uint64_t bytes = 0;
        for (size_t slot = 0; slot < vise_config_slots(&plan->model->config); slot++) {
            size_t i = vise_model_slot(plan->model, slot, layer);
            if (i == SIZE_MAX)
                continue;
            const vise_planned *planned = &plan->planned[i];
            const vise_logical *tensor = planned->bound->tensor;
            if (planned->scheme.type != NULL && !planned->carried)
                bytes += vise_qweight_bytes(&planned->scheme, tensor->rows, tensor->cols);
            if (planned->masked || planned->may_be_sparse)
                bytes += (uint64_t)tensor->rows * vise_mask_row_bytes(tensor->cols);
        }
        most = max_u64(most, bytes);
    }
    return most;
}

void vise_plan_measure_memory(vise_plan *plan)
{
    vise_plan_memory *memory = &plan->memory;
    const vise_request *request = plan->request;
    *memory = (vise_plan_memory){0};
    memory->stream_weights = streaming_bytes(plan);
    if (plan->last_calibrated >= 0) {
        size_t samples =
            request->calibration.samples == VISE_UNSET_INT ? 128 : (size_t)request->calibration.samples;
        uint64_t group = 0;
        for (size_t i = 0; i < plan->n_runs; i++)
            if (plan->runs[i].method->group_bytes != NULL)
                group = max_u64(group, plan->runs[i].method->group_bytes(&plan->runs[i]));
        uint64_t measure = vise_measure_scratch_bytes(plan->model, plan->calibration_length, plan->threads);
        uint64_t forward = vise_forward_scratch_bytes(plan->model, plan->calibration_length, plan->threads);
        uint64_t held = vise_block_bytes(plan->model) + block_results(plan);
        uint64_t with_stats = vise_stats_bytes(plan->model, plan->needs) + max_u64(measure, group);
        memory->block = held + max_u64(with_stats, max_u64(forward, memory->stream_weights));
        memory->activations = vise_stream_bytes(plan->model, samples, plan->calibration_length);
    }
    if (request->evaluation.path != NULL)
        memory->evaluate = vise_eval_bytes(plan->model, plan->model, plan->evaluation_length, plan->threads);
    memory->least = max_u64(memory->stream_weights, max_u64(memory->block, memory->evaluate));
}
