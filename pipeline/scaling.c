#include "pipeline/scaling.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "model/transform.h"

/* ---- planning ---------------------------------------------------------------------------------------------------- */

static bool is_scaled(const vise_plan *plan, size_t index)
{
    const vise_planned *planned = &plan->planned[index];
    return planned->passes != 0 && planned->scheme.type != NULL && !planned->carried &&
           planned->bound->layer >= 0 && planned->bound->input < VISE_INPUT_COUNT && !planned->bound->is_bias;
}

static vise_status check(const vise_plan *plan, const char *what, vise_error *err)
{
    if (plan->scaling.run != NULL && plan->output.smooth > 0.0)
        return VISE_FAIL(err, VISE_EUSAGE, "--smooth and --method %s both scale the inputs' channels; give one",
                         plan->scaling.run->method->name);
    if (plan->budgeted != NULL)
        return VISE_FAIL(err, VISE_EUSAGE, "%s does not go with --target-bits and --target-size", what);
    if (plan->request->calibration.path == NULL)
        return VISE_FAIL(err, VISE_EUSAGE, "%s needs calibration text; give --calibration FILE, or \"calibration\" in "
                                           "a recipe",
                         what);
    return VISE_OK;
}

vise_status vise_scaling_plan(vise_plan *plan, vise_error *err)
{
    plan->scaling.last = -1;
    for (size_t p = 0; p < plan->n_runs && plan->scaling.run == NULL; p++)
        if (plan->runs[p].method->scale != NULL)
            plan->scaling.run = &plan->runs[p];
    if (plan->scaling.run == NULL && !(plan->output.smooth > 0.0))
        return VISE_OK;
    char what[64];
    snprintf(what, sizeof what, plan->scaling.run != NULL ? "--method %s" : "--smooth",
             plan->scaling.run != NULL ? plan->scaling.run->method->name : "");
    VISE_TRY(check(plan, what, err));
    plan->scaling.needs = plan->scaling.run != NULL ? VISE_STAT_GRAM : VISE_STAT_LARGEST;
    for (size_t i = 0; i < plan->count; i++)
        if (is_scaled(plan, i))
            plan->scaling.inputs |= 1u << plan->planned[i].bound->input;
    VISE_TRY(vise_scale_begin(plan->model, plan->scaling.inputs, err));
    for (size_t i = 0; i < plan->count; i++) {
        const vise_bound *bound = &plan->model->bound[i];
        if (vise_transform_changes(plan->model, i))
            plan->planned[i].carried = false;
        if (is_scaled(plan, i) && vise_scale_of(plan->model, bound->layer, bound->input) != NULL &&
            bound->layer > plan->scaling.last)
            plan->scaling.last = bound->layer;
    }
    return VISE_OK;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static int64_t widest_input(const vise_model *model)
{
    int64_t width = 0;
    for (size_t i = 0; i < model->count; i++)
        if (model->bound[i].input < VISE_INPUT_COUNT && model->bound[i].tensor->cols > width)
            width = model->bound[i].tensor->cols;
    return width;
}

uint64_t vise_scaling_bytes(const vise_plan *plan)
{
    const vise_model *model = plan->model;
    const vise_method *method = plan->scaling.run != NULL ? plan->scaling.run->method : NULL;
    const size_t length = plan->calibration_length;
    uint64_t stats = 0;
    if (plan->scaling.last < 0)
        return 0;
    for (int input = 0; input < VISE_INPUT_COUNT; input++)
        stats = max_u64(stats, vise_stats_bytes(model, plan->scaling.needs, plan->scaling.inputs & 1u << input));
    const uint64_t group = 3 * (uint64_t)widest_input(model) * sizeof(float) +
                           (method != NULL && method->group_bytes != NULL ? method->group_bytes(plan->scaling.run) : 0);
    const uint64_t with_stats = stats + max_u64(vise_measure_scratch_bytes(model, length, plan->threads), group);
    return vise_block_bytes(model) + vise_stream_table_bytes(model, 1, length) +
           max_u64(with_stats, vise_forward_scratch_bytes(model, length, plan->threads));
}

/* ---- the walk ---------------------------------------------------------------------------------------------------- */

typedef struct scaling_walk {
    vise_plan *plan;
    vise_session *session;
    vise_stream *stream;
    vise_block block;
    vise_block_stats stats;
    vise_weight *weights;  /* [slots] */
    vise_weight **members; /* [slots]: of the group at hand */
    size_t slots;
    float *size, *largest, *scale; /* [widest input] */
} scaling_walk;

void vise_smooth_scale(int64_t width, const float *input, const float *weight, double alpha, float *scale)
{
    for (int64_t c = 0; c < width; c++) {
        const double s = pow((double)input[c], alpha) / pow((double)weight[c], 1.0 - alpha);
        const bool counts = input[c] > 0.0f && weight[c] > 0.0f && (float)s > 0.0f && isfinite((float)s);
        scale[c] = counts ? (float)s : 1.0f;
    }
}

/* The linears that the passes quantize, as they are. */
static vise_group gather(scaling_walk *walk, vise_input input)
{
    vise_plan *plan = walk->plan;
    vise_group group = {.layer = walk->block.layer,
                        .input = input,
                        .stats = &walk->stats.input[vise_config_input(input, 0)],
                        .stats_shared = true,
                        .weights = walk->members};
    for (size_t slot = 0; slot < walk->slots; slot++) {
        const size_t i = vise_model_slot(plan->model, slot, walk->block.layer);
        if (i == SIZE_MAX || !is_scaled(plan, i) || plan->model->bound[i].input != input)
            continue;
        const vise_logical *tensor = plan->model->bound[i].tensor;
        walk->weights[slot] = (vise_weight){.plan = &plan->planned[i],
                                            .rows = tensor->rows,
                                            .cols = tensor->cols,
                                            .values = walk->block.weight[slot],
                                            .loss = NAN,
                                            .damp = NAN};
        walk->members[group.count++] = &walk->weights[slot];
    }
    return group;
}

static void largest_weights(const vise_group *group, float *largest)
{
    memset(largest, 0, (size_t)group->stats->width * sizeof(float));
    for (size_t w = 0; w < group->count; w++) {
        const vise_weight *weight = group->weights[w];
        for (int64_t i = 0; i < weight->rows * weight->cols; i++) {
            const float a = fabsf(weight->values[i]);
            float *most = &largest[i % weight->cols];
            *most = a > *most ? a : *most;
        }
    }
}

static vise_status scale_input(scaling_walk *walk, const vise_scaled *scaled, vise_input input, vise_error *err)
{
    vise_plan *plan = walk->plan;
    vise_group group = gather(walk, input);
    const vise_input_stats *stats = group.stats;
    if (group.count == 0 || stats->width != scaled->width)
        return VISE_OK;
    if (plan->scaling.run == NULL) {
        memcpy(walk->size, stats->largest, (size_t)stats->width * sizeof(float));
        vise_scale_share(plan->model, scaled, walk->size);
        largest_weights(&group, walk->largest);
        vise_scale_share(plan->model, scaled, walk->largest);
        vise_smooth_scale(stats->width, walk->size, walk->largest, plan->output.smooth, walk->scale);
    } else {
        const double tokens = stats->tokens > 0 ? (double)stats->tokens : 1.0;
        for (int64_t c = 0; c < stats->width; c++)
            walk->size[c] = (float)sqrt((double)stats->gram[c * stats->width + c] / tokens);
        vise_scale_share(plan->model, scaled, walk->size);
        VISE_TRY(plan->scaling.run->method->scale(plan->scaling.run, &group, walk->size, walk->scale, err));
    }
    vise_scale_set(plan->model, scaled, walk->scale);
    return VISE_OK;
}

/* Every input is measured on the model as it is; the attention half is run once. */
static vise_status scale_block(scaling_walk *walk, vise_error *err)
{
    vise_plan *plan = walk->plan;
    vise_backend *backend = walk->session->backend;
    const int layer = walk->block.layer;
    const bool moves_on = layer < plan->scaling.last, splits = vise_block_splits(plan->model);
    vise_half half = VISE_BOTH_HALVES;
    for (int input = 0; input < VISE_INPUT_COUNT; input++) {
        const vise_scaled *scaled = vise_scale_of(plan->model, layer, (vise_input)input);
        const bool finishes =
            input == VISE_INPUT_MLP && splits && (moves_on || plan->scaling.inputs >> VISE_INPUT_MLP != 0);
        if (scaled == NULL && !finishes)
            continue;
        VISE_TRY(vise_block_measure_half(plan->model, &walk->block, finishes ? VISE_ATTENTION_HALF : half,
                                         walk->stream, backend, plan->scaling.needs,
                                         scaled != NULL ? 1u << input : 0, &walk->stats, err));
        half = finishes ? VISE_MLP_HALF : half;
        if (scaled != NULL)
            VISE_TRY(scale_input(walk, scaled, (vise_input)input, err));
        vise_block_stats_deinit(&walk->stats);
        VISE_TRY(vise_check_interrupt(err));
    }
    return moves_on ? vise_block_forward_half(plan->model, &walk->block, half, walk->stream, backend, err) : VISE_OK;
}

static vise_status scale_layers(scaling_walk *walk, vise_error *err)
{
    vise_plan *plan = walk->plan;
    for (int layer = 0; layer <= plan->scaling.last; layer++) {
        char item[48];
        snprintf(item, sizeof item, "block %d of %lld", layer + 1, (long long)plan->model->config.layers);
        vise_progress("scale", item, (double)layer, (double)plan->model->config.layers);
        VISE_TRY(vise_block_load(plan->model, layer, walk->session->workers, walk->session->pool, &walk->block, err));
        const vise_status status = scale_block(walk, err);
        vise_block_stats_deinit(&walk->stats);
        vise_block_unload(&walk->block);
        VISE_TRY(status);
    }
    return VISE_OK;
}

vise_status vise_scaling_run(vise_plan *plan, vise_session *session, const vise_windows *calibration, vise_error *err)
{
    if (plan->scaling.last < 0)
        return VISE_OK;
    const size_t limit = vise_pool_limit(session->pool), width = (size_t)widest_input(plan->model);
    const uint64_t least = vise_scaling_bytes(plan);
    const uint64_t ram = limit == 0 ? UINT64_MAX : limit > least ? limit - least : 0;
    scaling_walk walk = {.plan = plan, .session = session, .slots = vise_config_slots(&plan->model->config)};
    vise_status status = VISE_OK;
    if (plan->scaling.run != NULL) {
        plan->scaling.run->pool = session->pool;
        plan->scaling.run->workers = session->workers;
        plan->scaling.run->backend = session->backend;
    }
    VISE_TRY_TO(done, vise_calloc(walk.slots, sizeof *walk.weights, (void **)&walk.weights, err));
    VISE_TRY_TO(done, vise_calloc(walk.slots, sizeof *walk.members, (void **)&walk.members, err));
    VISE_TRY_TO(done,
                vise_pool_take(session->pool, 3 * width * sizeof(float), "scales", (void **)&walk.size, err));
    walk.largest = walk.size + width;
    walk.scale = walk.largest + width;
    VISE_TRY_TO(done, vise_stream_open(plan->model, calibration, ram, session->workers, session->pool, &walk.stream,
                                       err));
    status = scale_layers(&walk, err);
done:
    vise_stream_close(walk.stream);
    vise_pool_give(session->pool, walk.size);
    vise_free(walk.members);
    vise_free(walk.weights);
    return status;
}
