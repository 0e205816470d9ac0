/* The calibrated part of the walk: read block i, measure its inputs, let the passes work on it, recompute its
 * output with the compressed weights, write, forget. Resident: one block and the activations (on disk when
 * the memory bound says so), never the model.
 */
#include "pipeline/run_walk.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "core/workers.h"
#include "tensor/activation_type.h"
#include "tensor/mask.h"

/* The block in flight. */
typedef struct block_work {
    vise_walk *walk;
    vise_block block;
    vise_block original; /* as it is read, where the model as it was is walked beside */
    vise_block_stats stats;
    size_t slots; /* of the block's weights: vise_config_slot */
    vise_weight *weights; /* [slots] */
    vise_qweight *codes;
    void **code_bytes;
    bool *worked;          /* some pass works on the slot's weight */
    vise_weight **members; /* [slots]: of the group at hand */
} block_work;

static void close_work(block_work *work)
{
    vise_pool *pool = work->walk->session->pool;
    for (size_t slot = 0; slot < work->slots; slot++) {
        vise_pool_give(pool, work->code_bytes[slot]);
        vise_pool_give(pool, work->weights[slot].mask);
    }
    vise_free(work->weights);
    vise_free(work->codes);
    vise_free(work->code_bytes);
    vise_free(work->worked);
    vise_free(work->members);
    vise_block_stats_deinit(&work->stats);
    vise_block_unload(&work->block);
    vise_block_unload(&work->original);
}

/* Zeros beyond one in so many were put there by a pass; a dense weight hardly has any. */
#define ZEROS_OF_DENSE 64

static bool is_sparse(const vise_weight *weight)
{
    const size_t n = (size_t)(weight->rows * weight->cols);
    size_t zeros = 0;
    for (size_t i = 0; i < n; i++)
        zeros += weight->values[i] == 0.0f;
    return zeros > n / ZEROS_OF_DENSE;
}

static void mask_zeros(vise_weight *weight)
{
    const size_t stride = vise_mask_row_bytes(weight->cols);
    for (int64_t row = 0; row < weight->rows; row++)
        for (int64_t col = 0; col < weight->cols; col++)
            if (weight->values[row * weight->cols + col] == 0.0f)
                weight->mask[(size_t)row * stride + (size_t)(col >> 3)] &= (uint8_t)~(1u << (col & 7));
}

static vise_status open_weight(block_work *work, size_t slot, const vise_planned *planned, vise_error *err)
{
    vise_pool *pool = work->walk->session->pool;
    const vise_logical *tensor = planned->bound->tensor;
    vise_weight *weight = &work->weights[slot];
    *weight = (vise_weight){.plan = planned,
                            .rows = tensor->rows,
                            .cols = tensor->cols,
                            .values = work->block.weight[slot],
                            .loss = NAN,
                            .damp = NAN};
    work->worked[slot] = true;
    const bool sparse = planned->may_be_sparse && is_sparse(weight);
    if (planned->masked || sparse) {
        size_t bytes = (size_t)tensor->rows * vise_mask_row_bytes(tensor->cols);
        VISE_TRY(vise_pool_take(pool, bytes, "sparsity masks", (void **)&weight->mask, err));
        memset(weight->mask, 0xFF, bytes);
        if (sparse)
            mask_zeros(weight);
    }
    if (planned->scheme.type != NULL && !planned->carried) {
        VISE_TRY(vise_pool_take(pool, vise_qweight_bytes(&planned->scheme, tensor->rows, tensor->cols),
                                "codes of a block", &work->code_bytes[slot], err));
        vise_qweight_carve(&work->codes[slot], &planned->scheme, planned->scale_dtype, tensor->rows, tensor->cols,
                           work->code_bytes[slot]);
        weight->q = &work->codes[slot];
        work->block.activation[slot] = planned->scheme.activation;
    }
    return VISE_OK;
}

static vise_status open_work(block_work *work, int layer, vise_error *err)
{
    vise_walk *walk = work->walk;
    vise_plan *plan = walk->plan;
    const size_t slots = vise_config_slots(&plan->model->config);
    VISE_TRY(vise_calloc(slots, sizeof *work->weights, (void **)&work->weights, err));
    VISE_TRY(vise_calloc(slots, sizeof *work->codes, (void **)&work->codes, err));
    VISE_TRY(vise_calloc(slots, sizeof *work->code_bytes, (void **)&work->code_bytes, err));
    VISE_TRY(vise_calloc(slots, sizeof *work->worked, (void **)&work->worked, err));
    VISE_TRY(vise_calloc(slots, sizeof *work->members, (void **)&work->members, err));
    work->slots = slots;
    VISE_TRY(
        vise_block_load(plan->model, layer, walk->session->workers, walk->session->pool, &work->block, err));
    if (plan->needs & VISE_NEED_CROSS)
        VISE_TRY(vise_block_load(plan->model, layer, walk->session->workers, walk->session->pool, &work->original,
                                 err));
    for (size_t slot = 0; slot < slots; slot++) {
        size_t i = vise_model_slot(plan->model, slot, layer);
        if (i != SIZE_MAX && plan->planned[i].passes != 0)
            VISE_TRY(open_weight(work, slot, &plan->planned[i], err));
    }
    return VISE_OK;
}

/* ---- passes over a block --------------------------------------------------------------------------- */

typedef struct rows_job {
    vise_pass_run *run;
    vise_weight *weight;
    int64_t tile_rows;
    char **scratch; /* [workers] */
    float global, offset; /* that the first tile got: of the whole weight */
} rows_job;

static vise_status weight_rows(void *context, size_t index, int worker, vise_error *err)
{
    rows_job *job = context;
    const vise_weight *whole = job->weight;
    vise_weight tile = *whole;
    tile.row0 = (int64_t)index * job->tile_rows;
    tile.rows = whole->rows - tile.row0 < job->tile_rows ? whole->rows - tile.row0 : job->tile_rows;
    tile.values += tile.row0 * whole->cols;
    if (tile.mask != NULL)
        tile.mask += (size_t)tile.row0 * vise_mask_row_bytes(whole->cols);
    vise_qweight q;
    if (tile.q != NULL) {
        q = vise_qweight_rows(whole->q, tile.row0, tile.rows);
        tile.q = &q;
    }
    VISE_TRY(job->run->method->weight(job->run, &tile, job->scratch[worker], err));
    if (index == 0 && tile.q != NULL) {
        job->global = q.global;
        job->offset = q.offset;
    }
    return VISE_OK;
}

/* The weight hook over a whole resident weight, in the row tiles that the streaming walk takes. */
static vise_status run_weight_hook(block_work *work, vise_pass_run *run, vise_weight *weight, vise_error *err)
{
    vise_session *session = work->walk->session;
    const size_t workers = (size_t)vise_workers_count(session->workers);
    rows_job job = {.run = run, .weight = weight, .tile_rows = vise_tile_rows(weight->plan)};
    const size_t tiles = (size_t)((weight->rows + job.tile_rows - 1) / job.tile_rows);
    const size_t bytes =
        run->method->weight_bytes != NULL ? run->method->weight_bytes(run, job.tile_rows, weight->cols) : 0;
    vise_status status = VISE_OK;
    VISE_TRY(vise_calloc(workers, sizeof *job.scratch, (void **)&job.scratch, err));
    for (size_t w = 0; bytes > 0 && w < workers && w < tiles; w++)
        VISE_TRY_TO(done,
                    vise_pool_take(session->pool, bytes, "scratch of a pass", (void **)&job.scratch[w], err));
    VISE_TRY_TO(done, vise_parallel(session->workers, tiles, weight_rows, &job, err));
    if (weight->q != NULL) {
        weight->q->global = job.global;
        weight->q->offset = job.offset;
    }
    weight->quantized = weight->quantized || weight->q != NULL;
done:
    for (size_t w = 0; w < workers; w++)
        vise_pool_give(session->pool, job.scratch[w]);
    vise_free(job.scratch);
    return status;
}

static bool groups_follow(const vise_plan *plan, size_t pass)
{
    for (size_t p = pass + 1; p < plan->n_runs; p++)
        if (plan->runs[p].method->group != NULL)
            return true;
    return false;
}

static bool works_on(const block_work *work, size_t slot, const vise_pass_run *run)
{
    return work->worked[slot] && (work->weights[slot].plan->passes >> run->index & 1) != 0;
}

/* The input whose statistics the slot's weight waits for; VISE_INPUT_NONE: for none. */
static vise_input awaited(const block_work *work, size_t slot)
{
    const vise_input input = work->weights[slot].plan->bound->input;
    return input < VISE_INPUT_NONE && (work->walk->plan->inputs >> input & 1) != 0 ? input : VISE_INPUT_NONE;
}

/* An expert is measured by the tokens that the router gives it. Whatever a method makes of few, the report names it. */
static vise_status note_seldom(block_work *work, const vise_pass_run *run, const vise_group *group, vise_error *err)
{
    const vise_input_stats *stats = group->stats;
    const char *note = "no calibration token reached this expert";
    if (group->input < VISE_INPUT_EXPERT)
        return VISE_OK;
    work->walk->experts++;
    if (stats->tokens >= (uint64_t)stats->width)
        return VISE_OK;
    work->walk->seldom++;
    work->walk->unseen += stats->tokens == 0;
    if (stats->tokens > 0)
        VISE_TRY(vise_arena_strfmt(run->arena, &note, err,
                                   "%llu calibration tokens reached this expert, fewer than its %lld inputs",
                                   (unsigned long long)stats->tokens, (long long)stats->width));
    for (size_t w = 0; w < group->count; w++)
        group->weights[w]->note = note;
    return VISE_OK;
}

static void warn_of_seldom(const vise_walk *walk)
{
    if (walk->seldom > 0)
        vise_warn("of %zu inputs of experts %zu were reached by fewer calibration tokens than they are wide, %zu of "
                  "them by none; the report names them. More text may help",
                  walk->experts, walk->seldom, walk->unseen);
}

static vise_status run_group_hook(block_work *work, vise_pass_run *run, vise_input kind, vise_error *err)
{
    for (size_t input = 0; input < work->stats.inputs; input++) {
        vise_group group = {.layer = work->block.layer,
                            .input = kind,
                            .stats = &work->stats.input[input],
                            .stats_shared = groups_follow(work->walk->plan, (size_t)run->index),
                            .weights = work->members};
        for (size_t slot = 0; slot < work->slots; slot++) {
            if (!works_on(work, slot, run) || awaited(work, slot) != kind ||
                vise_bound_input(work->weights[slot].plan->bound) != input)
                continue;
            work->members[group.count++] = &work->weights[slot];
        }
        if (group.count > 0) {
            VISE_TRY(note_seldom(work, run, &group, err));
            VISE_TRY(run->method->group(run, &group, err));
        }
        VISE_TRY(vise_check_interrupt(err));
    }
    return VISE_OK;
}

static vise_status run_pass(block_work *work, vise_pass_run *run, vise_input input, vise_error *err)
{
    double start = vise_seconds();
    if (run->method->group != NULL && input != VISE_INPUT_NONE)
        VISE_TRY(run_group_hook(work, run, input, err));
    for (size_t slot = 0; slot < work->slots; slot++)
        if (run->method->group == NULL && run->method->weight != NULL && works_on(work, slot, run) &&
            awaited(work, slot) == input)
            VISE_TRY(run_weight_hook(work, run, &work->weights[slot], err));
    work->walk->pass_seconds[run->index] += vise_seconds() - start;
    return VISE_OK;
}

/* Weights that stay floats are rounded as they will be stored, so that what is behind them sees what a reader will
 * compute. */
typedef struct round_job {
    vise_weight *weight;
    int64_t tile_rows;
} round_job;

static vise_status round_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    enum { RUN = 1024 };
    uint64_t stored[RUN];
    const round_job *job = context;
    const vise_weight *weight = job->weight;
    int64_t row0 = (int64_t)index * job->tile_rows;
    int64_t rows = weight->rows - row0 < job->tile_rows ? weight->rows - row0 : job->tile_rows;
    float *values = weight->values + row0 * weight->cols;
    const size_t n = (size_t)(rows * weight->cols);
    for (size_t i = 0; i < n; i += RUN) {
        size_t run = n - i < RUN ? n - i : RUN;
        vise_from_f32(weight->plan->dtype, values + i, stored, run);
        vise_to_f32(weight->plan->dtype, stored, values + i, run);
    }
    return VISE_OK;
}

static vise_status round_plain(block_work *work, vise_input input, vise_error *err)
{
    for (size_t slot = 0; slot < work->slots; slot++) {
        vise_weight *weight = &work->weights[slot];
        if (!work->worked[slot] || weight->q != NULL || weight->plan->scheme.type != NULL ||
            awaited(work, slot) != input)
            continue;
        round_job job = {weight, vise_tile_rows(weight->plan)};
        size_t tiles = (size_t)((weight->rows + job.tile_rows - 1) / job.tile_rows);
        VISE_TRY(vise_parallel(work->walk->session->workers, tiles, round_rows, &job, err));
    }
    return VISE_OK;
}

/* ---- one block
 * --------------------------------------------------------------------------------------------------------------
 */

/* Position in plan->order behind the tensors of `layer` (-1: those in front of the blocks), from `from` on.
 */
static size_t end_of_layer(const vise_plan *plan, size_t from, int layer)
{
    size_t k = from;
    for (; k < plan->count; k++) {
        const vise_bound *bound = &plan->model->bound[plan->order[k]];
        bool before_blocks =
            bound->layer < 0 && !vise_role_after_blocks(bound->role);
        if (layer < 0 ? !before_blocks : bound->layer != layer)
            break;
    }
    return k;
}

static vise_status store_block(block_work *work, size_t from, size_t to, vise_error *err)
{
    vise_walk *walk = work->walk;
    for (size_t k = from; k < to; k++) {
        size_t i = walk->plan->order[k];
        const vise_bound *bound = &walk->plan->model->bound[i];
        const size_t slot = vise_bound_slot(bound);
        const bool resident =
            bound->role < VISE_ROLE_COUNT && work->worked[slot] && work->weights[slot].plan->index == i;
        if (!resident) {
            VISE_TRY(vise_walk_stream(walk, i, err));
            continue;
        }
        if (vise_walk_has(walk, i))
            continue;
        const vise_weight *weight = &work->weights[slot];
        vise_outcome *outcome = &walk->outcomes[i];
        VISE_TRY(vise_tile_store(walk->plan, weight, walk->sink, walk->session->workers, walk->session->pool,
                                 &outcome->loss, err));
        outcome->proxy_loss = weight->loss;
        outcome->damp = weight->damp;
        outcome->note = weight->note;
        walk->bytes_done += (double)weight->plan->bound->tensor->stored_bytes;
    }
    return VISE_OK;
}

/* The largest input of a linear; of an expert that no token reached, that of all experts of the layer. */
static float largest_input(const block_work *work, const vise_bound *bound)
{
    const size_t own = vise_bound_input(bound);
    float largest = 0.0f;
    for (size_t input = 0; input < work->stats.inputs; input++) {
        const vise_input_stats *stats = &work->stats.input[input];
        const bool is_own = input == own;
        const bool has_own = bound->input < VISE_INPUT_EXPERT || work->stats.input[own].tokens > 0;
        if (stats->largest == NULL || (!is_own && has_own))
            continue;
        for (int64_t j = 0; j < stats->width; j++)
            largest = stats->largest[j] > largest ? stats->largest[j] : largest;
    }
    return largest;
}

/* Input columns that LLM.int8() would take for outliers. */
static void count_outliers(vise_walk *walk, const vise_block_stats *stats, int layer)
{
    const vise_plan *plan = walk->plan;
    for (size_t slot = 0; slot < vise_config_slots(&plan->model->config); slot++) {
        const size_t i = vise_model_slot(plan->model, slot, layer);
        if (i == SIZE_MAX || !(plan->planned[i].outlier_threshold > 0.0) ||
            plan->planned[i].bound->input == VISE_INPUT_NONE)
            continue;
        const vise_input_stats *input = &stats->input[vise_bound_input(plan->planned[i].bound)];
        vise_outcome *outcome = &walk->outcomes[i];
        for (int64_t j = 0; input->largest != NULL && input->tokens > 0 && j < input->width; j++) {
            const double size = (double)input->largest[j];
            outcome->outliers_counted = true;
            outcome->outlier_columns += size >= plan->planned[i].outlier_threshold;
            outcome->largest_input = fmax(outcome->largest_input, size);
        }
    }
}

/* Static scales of inputs: what stands behind the linear sees it as the model will run. */
static void scale_inputs(block_work *work, vise_input input)
{
    for (size_t slot = 0; slot < work->slots; slot++) {
        const vise_weight *weight = &work->weights[slot];
        if (!work->worked[slot] || weight->q == NULL || awaited(work, slot) != input ||
            !vise_scheme_needs_calibration(&weight->plan->scheme))
            continue;
        const vise_planned *planned = weight->plan;
        weight->q->input_scale =
            vise_activation_scale(vise_activation_type_find(planned->scheme.activation), planned->scale_dtype,
                                  largest_input(work, planned->bound));
        work->block.input_scale[slot] = weight->q->input_scale;
    }
}

/* Static scales of keys and values, behind the linears that make them: what follows sees the cache as it will be. */
static vise_status scale_cache(block_work *work, vise_stream *stream, vise_error *err)
{
    const vise_plan *plan = work->walk->plan;
    const vise_cache_type *type = plan->cache.type;
    const int64_t heads = plan->model->config.kv_heads;
    float *scale = work->block.cache_scale;
    if (!plan->cache.made)
        return VISE_OK;
    VISE_TRY(vise_block_cache_ranges(plan->model, &work->block, stream, work->walk->session->backend, scale, err));
    for (int which = 0; which < 2; which++, scale += heads) {
        float largest = 0.0f;
        for (int64_t head = 0; head < heads; head++)
            largest = fmaxf(largest, scale[head]);
        for (int64_t head = 0; head < heads; head++)
            scale[head] = vise_activation_scale(vise_cache_values(type), vise_model_dtype(plan->model),
                                                type->by_head ? scale[head] : largest);
    }
    work->block.cache_type = type;
    return VISE_OK;
}

static vise_status store_cache_scales(const block_work *work, vise_error *err)
{
    const vise_plan *plan = work->walk->plan;
    const vise_dtype dtype = vise_model_dtype(plan->model);
    const int64_t heads = plan->model->config.kv_heads;
    void *stored;
    if (!plan->cache.made)
        return VISE_OK;
    const size_t n = plan->cache.type->by_head ? (size_t)heads : 1, size = (size_t)vise_dtype_of(dtype)->bits / 8;
    VISE_TRY(vise_calloc(n, size, &stored, err));
    vise_status status = VISE_OK;
    for (int which = 0; which < 2 && status == VISE_OK; which++) {
        vise_from_f32(dtype, work->block.cache_scale + which * heads, stored, n);
        status = vise_sink_write(work->walk->sink, plan->cache.ids[work->block.layer][which], 0, stored, n * size, err);
    }
    vise_free(stored);
    return status;
}

/* All passes over the weights that wait for one input. */
static vise_status run_passes(block_work *work, vise_input input, vise_error *err)
{
    vise_plan *plan = work->walk->plan;
    for (size_t p = 0; p < plan->n_runs; p++)
        VISE_TRY(run_pass(work, &plan->runs[p], input, err));
    return round_plain(work, input, err);
}

/* Linears go in the order of their inputs, and each input is measured behind the linears that were compressed before
 * it (GPTQ's --true-sequential). The attention half is finished when the MLP's input is measured; from there the
 * stream holds its output. */
static vise_status work_on_block(block_work *work, vise_stream *stream, vise_stream *original, size_t from, size_t to,
                                 vise_error *err)
{
    vise_walk *walk = work->walk;
    vise_plan *plan = walk->plan;
    vise_backend *backend = walk->session->backend;
    const bool moves_on = work->block.layer < plan->last_calibrated;
    const vise_beside beside = {&work->original, original};
    vise_half half = VISE_BOTH_HALVES;
    VISE_TRY(run_passes(work, VISE_INPUT_NONE, err));
    for (int input = 0; input < VISE_INPUT_COUNT; input++) {
        const unsigned wanted = plan->inputs & 1u << input;
        if (input == VISE_INPUT_ATTENTION + 1)
            VISE_TRY(scale_cache(work, stream, err));
        const bool finishes = vise_plan_finishes_half(plan, work->block.layer, (vise_input)input);
        if (wanted == 0 && !finishes)
            continue;
        VISE_TRY(vise_block_measure_beside(plan->model, &work->block, original != NULL ? &beside : NULL,
                                           finishes ? VISE_ATTENTION_HALF : half, stream, backend, plan->needs, wanted,
                                           &work->stats, err));
        half = finishes ? VISE_MLP_HALF : half;
        scale_inputs(work, (vise_input)input);
        count_outliers(walk, &work->stats, work->block.layer);
        VISE_TRY(run_passes(work, (vise_input)input, err));
        vise_block_stats_deinit(&work->stats);
    }
    if (moves_on)
        VISE_TRY(vise_block_forward_half(plan->model, &work->block, half, stream, backend, err));
    if (moves_on && original != NULL)
        VISE_TRY(vise_block_forward_half(plan->model, &work->original, half, original, backend, err));
    VISE_TRY(store_block(work, from, to, err));
    return store_cache_scales(work, err);
}

static bool layer_is_finished(const vise_walk *walk, int layer, size_t from, size_t to)
{
    for (int which = 0; which < 2 && walk->plan->cache.made; which++)
        if (!vise_sink_has(walk->sink, walk->plan->cache.ids[layer][which]))
            return false;
    for (size_t k = from; k < to; k++)
        if (!vise_walk_has(walk, walk->plan->order[k]))
            return false;
    return walk->finished != NULL && to > from;
}

static bool counts_outliers(const vise_plan *plan, int layer)
{
    for (size_t slot = 0; slot < vise_config_slots(&plan->model->config); slot++) {
        const size_t i = vise_model_slot(plan->model, slot, layer);
        if (i != SIZE_MAX && plan->planned[i].outlier_threshold > 0.0)
            return true;
    }
    return false;
}

/* A block that an interrupted run has finished: its stored form moves the activations on. */
static vise_status replay_block(vise_walk *walk, int layer, vise_stream *stream, size_t from, size_t to,
                                vise_error *err)
{
    vise_block block = {0};
    for (size_t k = from; k < to; k++)
        walk->bytes_done += (double)walk->plan->model->bound[walk->plan->order[k]].tensor->stored_bytes;
    const bool moves_on = layer < walk->plan->last_calibrated, counts = counts_outliers(walk->plan, layer);
    if (!moves_on && !counts)
        return VISE_OK;
    VISE_TRY(
        vise_block_load(walk->finished, layer, walk->session->workers, walk->session->pool, &block, err));
    vise_status status = VISE_OK;
    vise_block_stats stats = {0};
    for (int input = 0; input < VISE_INPUT_COUNT && counts && status == VISE_OK; input++) {
        if ((walk->plan->inputs >> input & 1) == 0)
            continue;
        status = vise_block_measure(walk->finished, &block, stream, walk->session->backend, VISE_STAT_LARGEST,
                                    1u << input, &stats, err);
        if (status == VISE_OK)
            count_outliers(walk, &stats, layer);
        vise_block_stats_deinit(&stats);
    }
    if (status == VISE_OK && moves_on)
        status = vise_block_forward(walk->finished, &block, stream, walk->session->backend, err);
    vise_block_unload(&block);
    return status;
}

/* The same block of the model as it was. */
static vise_status replay_original(vise_walk *walk, int layer, vise_stream *original, vise_error *err)
{
    const vise_model *model = walk->plan->model;
    vise_block block = {0};
    if (original == NULL || layer >= walk->plan->last_calibrated)
        return VISE_OK;
    VISE_TRY(vise_block_load(model, layer, walk->session->workers, walk->session->pool, &block, err));
    vise_status status = vise_block_forward(model, &block, original, walk->session->backend, err);
    vise_block_unload(&block);
    return status;
}

vise_status vise_walk_blocks(vise_walk *walk, size_t *next, vise_error *err)
{
    vise_plan *plan = walk->plan;
    vise_session *session = walk->session;
    const bool beside = (plan->needs & VISE_NEED_CROSS) != 0;
    const size_t limit = vise_pool_limit(session->pool);
    const uint64_t ram = limit == 0                   ? UINT64_MAX
                         : limit > plan->memory.block ? (limit - plan->memory.block) / (beside ? 2 : 1)
                                                      : 0;
    vise_stream *stream, *original = NULL;
    VISE_TRY(vise_stream_open(plan->model, &walk->calibration, ram, session->workers, session->pool, &stream,
                              err));
    vise_status status = VISE_OK;
    if (beside)
        VISE_TRY_TO(done,
                    vise_stream_copy(plan->model, &walk->calibration, stream, ram, session->pool, &original, err));
    size_t from = 0, to = end_of_layer(plan, 0, -1);
    for (; from < to; from++)
        VISE_TRY_TO(done, vise_walk_stream(walk, plan->order[from], err));
    for (int layer = 0; layer <= plan->last_calibrated; layer++, from = to) {
        to = end_of_layer(plan, from, layer);
        char item[48];
        snprintf(item, sizeof item, "block %d of %lld", layer + 1, (long long)plan->model->config.layers);
        vise_progress("compress", item, walk->bytes_done, walk->bytes_total);
        if (layer_is_finished(walk, layer, from, to)) {
            VISE_TRY_TO(done, replay_block(walk, layer, stream, from, to, err));
            VISE_TRY_TO(done, replay_original(walk, layer, original, err));
            continue;
        }
        block_work work = {.walk = walk};
        status = open_work(&work, layer, err);
        if (status == VISE_OK)
            status = work_on_block(&work, stream, original, from, to, err);
        close_work(&work);
        if (status != VISE_OK)
            goto done;
    }
    *next = from;
    warn_of_seldom(walk);
done:
    vise_stream_close(original);
    vise_stream_close(stream);
    return status;
}
