/* How much memory a run takes at least. Every buffer of the executor is counted here, by the rule that it is
 * taken by. */
#include "eval/eval.h"
#include "formats/packed.h"
#include "model/transform.h"
#include "pipeline/plan.h"
#include "pipeline/scaling.h"
#include "pipeline/tile.h"
#include "pipeline/units.h"

/* Values of a tile: enough to amortise a task, small enough for a core's cache. */
#define TILE_VALUES (INT64_C(1) << 18)

int64_t vise_tile_rows(const vise_planned *planned)
{
    const int64_t rows = planned->bound->tensor->rows, cols = planned->bound->tensor->cols;
    int64_t unit = vise_scheme_tile_rows(&planned->scheme, cols), step = unit;
    while (step % VISE_TILE_ROWS != 0)
        step += unit;
    int64_t tile = cols > 0 ? TILE_VALUES / cols / step * step : step;
    tile = tile < step ? step : tile;
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
        return vise_qweight_bytes(&tensor->scheme, rows, tensor->cols) + values + (uint64_t)tensor->cols + 64;
    if (tensor->transposed)
        return VISE_PACK_CHUNK + (uint64_t)rows * (2 + (uint64_t)tensor->rows / (uint64_t)rows) * sizeof(float) * 2;
    return values * (uint64_t)(vise_dtype_of(tensor->dtype)->bits + 7) / 8;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What is coded of so many bytes at most: what cannot be packed grows by little. */
static uint64_t coded_bytes(uint64_t bytes)
{
    return bytes + bytes / 64;
}

/* Chunks of a weight that wait in memory, open or coded, until those before them are written. Of its first part they
 * lie within the tiles that may be in flight, and reach over both ends; the other parts are behind it. */
static uint64_t waiting_bytes(const vise_plan *plan, size_t index)
{
    const vise_logical *tensor = plan->planned[index].bound->tensor;
    const vise_planned_parts *parts = &plan->parts[index];
    const uint64_t first = parts->parts[0].bytes, in_flight = VISE_TILES_AHEAD(plan->threads) + 1;
    uint64_t tile = VISE_COPY_BYTES, bytes = 0;
    if (!vise_tile_copies_bytes(plan, index) && tensor->rows > 0)
        tile = first / (uint64_t)tensor->rows * (uint64_t)vise_tile_rows(&plan->planned[index]);
    if (plan->layout->transposed && plan->planned[index].scheme.type != NULL) /* every tile writes to every chunk */
        tile = first;
    bytes += min_u64(coded_bytes(first), coded_bytes(in_flight * tile) + 2 * VISE_PACK_CHUNK);
    for (int p = 1; p < parts->n_parts; p++)
        bytes += coded_bytes(parts->parts[p].bytes);
    return bytes;
}

/* Coders and decoders are a thread's own from its first chunk to the end of the run. */
static uint64_t coder_bytes(const vise_plan *plan)
{
    const uint64_t each = vise_packer_bytes(true) + vise_pack_bound(VISE_PACK_CHUNK);
    return plan->packed ? (uint64_t)plan->threads * each : 0;
}

static uint64_t decoder_bytes(const vise_plan *plan, bool packed)
{
    return packed ? (uint64_t)plan->threads * vise_packer_bytes(false) : 0;
}

/* Without coders and decoders. */
static uint64_t streaming_bytes(const vise_plan *plan)
{
    const uint64_t threads = (uint64_t)plan->threads;
    uint64_t tile = VISE_COPY_BYTES, waiting = 0, mixed = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const vise_logical *tensor = plan->planned[i].bound->tensor;
        if (plan->packed)
            waiting = max_u64(waiting, waiting_bytes(plan, i));
        if (vise_tile_copies_bytes(plan, i))
            continue;
        uint64_t bytes =
            vise_plan_tile_bytes(plan, i) + read_scratch(tensor, vise_tile_rows(&plan->planned[i]));
        tile = max_u64(tile, bytes);
        if (vise_transform_mixes_rows(plan->model, i))
            mixed = max_u64(mixed, tensor->elements * sizeof(float));
    }
    mixed += vise_transform_bytes(plan->model, plan->threads);
    /* A filled chunk and its coded copy are there at the same time. */
    return threads * tile + mixed + waiting + (plan->packed ? threads * VISE_PACK_CHUNK : 0);
}

/* Of a weight in flight; the most that a choice may come to where it is not made yet. */
static uint64_t codes_bytes(const vise_plan *plan, size_t index)
{
    const vise_planned *planned = &plan->planned[index];
    const vise_logical *tensor = planned->bound->tensor;
    uint64_t bytes = vise_qweight_bytes(&planned->scheme, tensor->rows, tensor->cols);
    if (plan->units == NULL || plan->units->of[index] == SIZE_MAX)
        return bytes;
    const vise_budget *budget = &plan->budgeted->budget;
    for (size_t c = 0; c < budget->count; c++)
        if (vise_scheme_groups(&budget->candidates[c], tensor->cols) > 0)
            bytes = max_u64(bytes, vise_qweight_bytes(&budget->candidates[c], tensor->rows, tensor->cols));
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
                bytes += codes_bytes(plan, i);
            if (planned->masked || planned->may_be_sparse)
                bytes += (uint64_t)tensor->rows * vise_mask_row_bytes(tensor->cols);
        }
        most = max_u64(most, bytes);
    }
    return most;
}

/* A block that is measured for a budget: its weights, also as probes leave them, statistics of one input, and tables of
 * the probes' streams; or the head at the end. */
static uint64_t survey_bytes(const vise_plan *plan)
{
    const vise_model *model = plan->model;
    const size_t length = plan->calibration_length;
    uint64_t stats = 0;
    for (int input = 0; input < VISE_INPUT_COUNT; input++)
        stats = max_u64(stats, vise_stats_bytes(model, VISE_STAT_GRAM, plan->survey_inputs & 1u << input));
    const uint64_t measuring = stats + max_u64(vise_measure_scratch_bytes(model, length, plan->threads),
                                               plan->budgeted->method->trial_bytes(plan->budgeted));
    const uint64_t copying = UINT64_C(2) << 20;
    const uint64_t running = copying + vise_forward_scratch_bytes(model, length, plan->threads);
    const uint64_t block = 2 * vise_block_bytes(model) + max_u64(measuring, running);
    return (plan->units->count + 2) * vise_stream_table_bytes(model, 1, length) +
           max_u64(block, vise_eval_bytes(model, model, length, plan->threads));
}

void vise_plan_measure_memory(vise_plan *plan)
{
    vise_plan_memory *memory = &plan->memory;
    const vise_request *request = plan->request;
    *memory = (vise_plan_memory){0};
    const bool was_packed = vise_source_is_packed(vise_store_source(plan->model->store));
    const uint64_t streaming = streaming_bytes(plan);
    const uint64_t packers = coder_bytes(plan) + decoder_bytes(plan, was_packed);
    memory->stream_weights = streaming + packers;
    memory->scaling = vise_scaling_bytes(plan);
    if (plan->last_calibrated >= 0 || plan->survey_last >= 0 || plan->scaling.last >= 0) {
        size_t samples =
            request->calibration.samples == VISE_UNSET_INT ? 128 : (size_t)request->calibration.samples;
        memory->activations = vise_stream_bytes(plan->model, samples, plan->calibration_length);
        memory->activations *= plan->needs & VISE_NEED_CROSS ? 2 : 1;
    }
    if (plan->last_calibrated >= 0) {
        uint64_t group = 0;
        for (size_t i = 0; i < plan->n_runs; i++)
            if (plan->runs[i].method->group_bytes != NULL)
                group = max_u64(group, plan->runs[i].method->group_bytes(&plan->runs[i]));
        if (plan->units != NULL) /* whatever is chosen */
            group = max_u64(group, plan->budgeted->method->trial_bytes(plan->budgeted));
        uint64_t measure = vise_measure_scratch_bytes(plan->model, plan->calibration_length, plan->threads);
        uint64_t forward = vise_forward_scratch_bytes(plan->model, plan->calibration_length, plan->threads);
        uint64_t held = vise_block_bytes(plan->model) + block_results(plan);
        if (plan->needs & VISE_NEED_CROSS) { /* the model as it was has a stream, a block and inputs of its own */
            held += vise_block_bytes(plan->model) + vise_stream_table_bytes(plan->model, 1, plan->calibration_length);
            measure = vise_measure_beside_bytes(plan->model, plan->calibration_length, plan->threads);
        }
        uint64_t stats = 0; /* of one input at a time */
        for (int input = 0; input < VISE_INPUT_COUNT; input++)
            stats = max_u64(stats, vise_stats_bytes(plan->model, plan->needs, plan->inputs & 1u << input));
        uint64_t with_stats = stats + max_u64(measure, group);
        memory->block = held + packers + max_u64(with_stats, max_u64(forward, streaming));
    }
    if (plan->units != NULL) {
        memory->survey = survey_bytes(plan) + decoder_bytes(plan, was_packed);
        memory->activations += (plan->units->count + 1) *
                               vise_stream_bytes(plan->model, plan->probe_windows, plan->calibration_length);
    }
    if (request->evaluation.path != NULL) {
        memory->evaluate = vise_eval_bytes(plan->model, plan->model, plan->evaluation_length, plan->threads);
        memory->evaluate += vise_transform_bytes(plan->model, plan->threads);
        memory->evaluate += coder_bytes(plan) + decoder_bytes(plan, plan->packed && !was_packed);
    }
    if (plan->scaling.last >= 0)
        memory->scaling += decoder_bytes(plan, was_packed);
    memory->least = max_u64(max_u64(memory->stream_weights, memory->survey), max_u64(memory->block, memory->evaluate));
    memory->least = max_u64(memory->least, memory->scaling);
}
