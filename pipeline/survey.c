#include "pipeline/survey.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "eval/drift.h"
#include "pipeline/allocate.h"
#include "pipeline/pass.h"
#include "pipeline/units.h"

/* Tokens that tell what a unit is worth, where the text has them. */
#define PROBE_TOKENS_MIN 2048

struct vise_survey {
    double *lost; /* [units][candidates]: sums over the weights of a unit; NaN: not held */
    size_t *probe; /* [units]: the candidate that it was probed as */
    double *kl;    /* [units]: what that cost */
};

size_t vise_survey_probe_windows(size_t windows, size_t length, size_t n)
{
    size_t probes = windows / (n > 0 ? n : 1), least = (PROBE_TOKENS_MIN + length - 1) / (length > 0 ? length : 1);
    probes = probes > least ? probes : least;
    return probes < windows ? probes : windows;
}

/* ---- a block ----------------------------------------------------------------------------------------------------- */

typedef struct survey_walk {
    vise_plan *plan;
    vise_session *session;
    vise_survey *survey;
    const vise_windows *probes; /* a view of the calibration's first windows */
    vise_stream *stream;        /* the whole calibration text */
    vise_stream *base;          /* the probes' windows through the model as it is */
    vise_stream **changed;      /* [units]: the same behind a unit that was quantized; NULL: not met yet */
    uint64_t probe_ram;         /* bytes that each of those may keep in memory */
    vise_block block;
    vise_block_stats stats;
    vise_weight *weights;  /* [slots] */
    float **probed;        /* [slots]: weights as their unit's probe leaves them */
    vise_weight **members; /* [slots]: of the group at hand */
    size_t *member_slot, *member_probe; /* [slots] */
    float **member_values; /* [slots] */
    double *losses;        /* [slots][candidates], likewise */
    size_t slots;
} survey_walk;

static size_t unit_at(const survey_walk *walk, size_t slot)
{
    const size_t i = vise_model_slot(walk->plan->model, slot, walk->block.layer);
    return i == SIZE_MAX ? SIZE_MAX : walk->plan->units->of[i];
}

static vise_status add_member(survey_walk *walk, size_t slot, vise_group *group, vise_error *err)
{
    const vise_planned *planned = &walk->plan->planned[vise_model_slot(walk->plan->model, slot, walk->block.layer)];
    const vise_logical *tensor = planned->bound->tensor;
    const size_t w = group->count++;
    VISE_TRY(vise_pool_take(walk->session->pool, (size_t)(tensor->rows * tensor->cols) * sizeof(float),
                            "a probed weight", (void **)&walk->probed[slot], err));
    walk->weights[slot] = (vise_weight){.plan = planned,
                                        .rows = tensor->rows,
                                        .cols = tensor->cols,
                                        .values = walk->block.weight[slot],
                                        .loss = NAN,
                                        .damp = NAN};
    walk->members[w] = &walk->weights[slot];
    walk->member_slot[w] = slot;
    walk->member_probe[w] = walk->survey->probe[unit_at(walk, slot)];
    walk->member_values[w] = walk->probed[slot];
    return VISE_OK;
}

static vise_status try_group(survey_walk *walk, vise_input kind, size_t instance, vise_error *err)
{
    vise_pass_run *run = walk->plan->budgeted;
    const size_t n = run->budget.count;
    vise_group group = {.layer = walk->block.layer,
                        .input = kind,
                        .stats = &walk->stats.input[instance],
                        .stats_shared = true,
                        .weights = walk->members};
    for (size_t slot = 0; slot < walk->slots; slot++) {
        const size_t i = vise_model_slot(walk->plan->model, slot, walk->block.layer);
        if (i != SIZE_MAX && walk->plan->units->of[i] != SIZE_MAX && walk->plan->model->bound[i].input == kind &&
            vise_bound_input(&walk->plan->model->bound[i]) == instance)
            VISE_TRY(add_member(walk, slot, &group, err));
    }
    if (group.count == 0)
        return VISE_OK;
    VISE_TRY(run->method->trial(run, &group, run->budget.candidates, n, walk->losses, walk->member_probe,
                                walk->member_values, err));
    for (size_t w = 0; w < group.count; w++)
        for (size_t c = 0; c < n; c++)
            walk->survey->lost[unit_at(walk, walk->member_slot[w]) * n + c] += walk->losses[w * n + c];
    return VISE_OK;
}

/* Every input is measured on the model as it is; the attention half is run once. */
static vise_status measure_block(survey_walk *walk, vise_error *err)
{
    vise_plan *plan = walk->plan;
    vise_backend *backend = walk->session->backend;
    const bool moves_on = walk->block.layer < plan->survey_last, splits = vise_block_splits(plan->model);
    vise_half half = VISE_BOTH_HALVES;
    for (int input = 0; input < VISE_INPUT_COUNT; input++) {
        const unsigned wanted = plan->survey_inputs & 1u << input;
        const bool finishes =
            input == VISE_INPUT_MLP && splits && (moves_on || plan->survey_inputs >> VISE_INPUT_MLP != 0);
        if (wanted == 0 && !finishes)
            continue;
        VISE_TRY(vise_block_measure_half(plan->model, &walk->block, finishes ? VISE_ATTENTION_HALF : half, walk->stream,
                                         backend, VISE_STAT_GRAM, wanted, &walk->stats, err));
        half = finishes ? VISE_MLP_HALF : half;
        for (size_t instance = 0; instance < walk->stats.inputs; instance++)
            if (walk->stats.input[instance].gram != NULL)
                VISE_TRY(try_group(walk, (vise_input)input, instance, err));
        vise_block_stats_deinit(&walk->stats);
    }
    return moves_on ? vise_block_forward_half(plan->model, &walk->block, half, walk->stream, backend, err) : VISE_OK;
}

/* ---- probes ------------------------------------------------------------------------------------------------------ */

/* The weights of a unit in the block trade places with what its probe leaves of them. */
static void trade(survey_walk *walk, size_t unit)
{
    for (size_t slot = 0; slot < walk->slots; slot++) {
        if (walk->probed[slot] == NULL || unit_at(walk, slot) != unit)
            continue;
        float *values = walk->block.weight[slot];
        walk->block.weight[slot] = walk->probed[slot];
        walk->probed[slot] = values;
    }
}

static vise_status probe_units(survey_walk *walk, vise_error *err)
{
    const vise_model *model = walk->plan->model;
    for (size_t slot = 0; slot < walk->slots; slot++) {
        const size_t unit = unit_at(walk, slot);
        if (walk->probed[slot] == NULL || walk->changed[unit] != NULL)
            continue;
        VISE_TRY(vise_check_interrupt(err));
        VISE_TRY(vise_stream_copy(model, walk->probes, walk->base, walk->probe_ram, walk->session->pool,
                                  &walk->changed[unit], err));
        trade(walk, unit);
        const vise_status status =
            vise_block_forward(model, &walk->block, walk->changed[unit], walk->session->backend, err);
        trade(walk, unit);
        VISE_TRY(status);
    }
    return VISE_OK;
}

/* Units of layers in front of the block. */
static vise_status advance_probes(survey_walk *walk, vise_error *err)
{
    for (size_t u = 0; u < walk->plan->units->count; u++)
        if (walk->changed[u] != NULL)
            VISE_TRY(vise_block_forward(walk->plan->model, &walk->block, walk->changed[u], walk->session->backend,
                                        err));
    return VISE_OK;
}

static vise_status survey_layer(survey_walk *walk, int layer, vise_error *err)
{
    vise_plan *plan = walk->plan;
    char item[48];
    snprintf(item, sizeof item, "block %d of %lld", layer + 1, (long long)plan->model->config.layers);
    VISE_TRY(vise_check_interrupt(err));
    vise_progress("survey", item, (double)layer, (double)plan->model->config.layers);
    VISE_TRY(vise_block_load(plan->model, layer, walk->session->workers, walk->session->pool, &walk->block, err));
    vise_status status = advance_probes(walk, err);
    if (status == VISE_OK && layer <= plan->survey_last)
        status = measure_block(walk, err);
    if (status == VISE_OK)
        status = probe_units(walk, err);
    if (status == VISE_OK)
        status = vise_block_forward(plan->model, &walk->block, walk->base, walk->session->backend, err);
    for (size_t slot = 0; slot < walk->slots; slot++) {
        vise_pool_give(walk->session->pool, walk->probed[slot]);
        walk->probed[slot] = NULL;
    }
    vise_block_stats_deinit(&walk->stats);
    vise_block_unload(&walk->block);
    return status;
}

/* ---- the walk ---------------------------------------------------------------------------------------------------- */

static vise_status open_walk(survey_walk *walk, const vise_windows *calibration, vise_error *err)
{
    const vise_plan *plan = walk->plan;
    vise_session *session = walk->session;
    const size_t limit = vise_pool_limit(session->pool), units = plan->units->count;
    const uint64_t ram = limit == 0 ? UINT64_MAX : limit > plan->memory.survey ? limit - plan->memory.survey : 0;
    walk->slots = vise_config_slots(&plan->model->config);
    walk->probe_ram = limit == 0 ? UINT64_MAX : ram / 2 / (units + 1);
    VISE_TRY(vise_calloc(walk->slots, sizeof *walk->weights, (void **)&walk->weights, err));
    VISE_TRY(vise_calloc(walk->slots, sizeof *walk->probed, (void **)&walk->probed, err));
    VISE_TRY(vise_calloc(walk->slots, sizeof *walk->members, (void **)&walk->members, err));
    VISE_TRY(vise_calloc(walk->slots, sizeof *walk->member_slot, (void **)&walk->member_slot, err));
    VISE_TRY(vise_calloc(walk->slots, sizeof *walk->member_probe, (void **)&walk->member_probe, err));
    VISE_TRY(vise_calloc(walk->slots, sizeof *walk->member_values, (void **)&walk->member_values, err));
    VISE_TRY(vise_calloc(walk->slots * plan->budgeted->budget.count, sizeof *walk->losses, (void **)&walk->losses,
                         err));
    VISE_TRY(vise_calloc(units, sizeof *walk->changed, (void **)&walk->changed, err));
    VISE_TRY(vise_stream_open(plan->model, calibration, limit == 0 ? UINT64_MAX : ram / 2, session->workers,
                              session->pool, &walk->stream, err));
    return vise_stream_open(plan->model, walk->probes, walk->probe_ram, session->workers, session->pool, &walk->base,
                            err);
}

static void close_walk(survey_walk *walk)
{
    for (size_t u = 0; walk->changed != NULL && u < walk->plan->units->count; u++)
        vise_stream_close(walk->changed[u]);
    vise_stream_close(walk->base);
    vise_stream_close(walk->stream);
    vise_free(walk->changed);
    vise_free(walk->losses);
    vise_free(walk->member_values);
    vise_free(walk->member_probe);
    vise_free(walk->member_slot);
    vise_free(walk->members);
    vise_free(walk->probed);
    vise_free(walk->weights);
}

static vise_status measure(survey_walk *walk, const vise_windows *calibration, vise_error *err)
{
    vise_plan *plan = walk->plan;
    const vise_eval_options options = {.windows = walk->probes,
                                       .pool = walk->session->pool,
                                       .workers = walk->session->workers,
                                       .backend = walk->session->backend};
    VISE_TRY(open_walk(walk, calibration, err));
    for (int layer = 0; layer < (int)plan->model->config.layers; layer++) {
        VISE_TRY(survey_layer(walk, layer, err));
        if (layer == plan->survey_last) { /* what follows is the probes' alone */
            vise_stream_close(walk->stream);
            walk->stream = NULL;
        }
    }
    return vise_drift(plan->model, walk->base, walk->changed, plan->units->count, &options, walk->survey->kl, err);
}

vise_status vise_survey_make(vise_plan *plan, vise_session *session, const vise_windows *calibration,
                             vise_survey **out, vise_error *err)
{
    vise_survey *survey;
    vise_pass_run *run = plan->budgeted;
    const size_t units = plan->units->count, n = run->budget.count;
    vise_windows probes = *calibration;
    vise_status status = VISE_OK;
    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof *survey, (void **)&survey, err));
    survey_walk walk = {.plan = plan, .session = session, .survey = survey, .probes = &probes};
    run->pool = session->pool;
    run->workers = session->workers;
    run->backend = session->backend;
    probes.count = vise_survey_probe_windows(calibration->count, calibration->length, units);
    VISE_TRY_TO(done, vise_calloc(units * n, sizeof *survey->lost, (void **)&survey->lost, err));
    VISE_TRY_TO(done, vise_calloc(units, sizeof *survey->probe, (void **)&survey->probe, err));
    VISE_TRY_TO(done, vise_calloc(units, sizeof *survey->kl, (void **)&survey->kl, err));
    vise_units_even(plan, survey->probe);
    status = measure(&walk, calibration, err);
done:
    close_walk(&walk);
    if (status != VISE_OK) {
        vise_survey_free(survey);
        survey = NULL;
    }
    *out = survey;
    return status;
}

void vise_survey_free(vise_survey *survey)
{
    if (survey == NULL)
        return;
    vise_free(survey->lost);
    vise_free(survey->probe);
    vise_free(survey->kl);
    vise_free(survey);
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

/* A unit that the text does not touch costs next to nothing, and less with more bits. */
#define KL_LEAST 1e-12

static double expected(const vise_survey *survey, size_t unit, size_t c, size_t n)
{
    const double *lost = survey->lost + unit * n, probed = lost[survey->probe[unit]];
    const double kl = survey->kl[unit] > KL_LEAST ? survey->kl[unit] : KL_LEAST;
    return probed > 0.0 ? kl * lost[c] / probed : lost[c] * KL_LEAST;
}

vise_status vise_survey_choose(const vise_survey *survey, const vise_plan *plan, uint64_t excess, vise_scheme *chosen,
                               double *kl, uint64_t *bytes, vise_error *err)
{
    const struct vise_units *units = plan->units;
    const size_t n = units->candidates;
    vise_choice *options = NULL;
    size_t *choice = NULL;
    uint64_t least;
    bool fits;
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, vise_calloc(units->count * n, sizeof *options, (void **)&options, err));
    VISE_TRY_TO(done, vise_calloc(units->count, sizeof *choice, (void **)&choice, err));
    for (size_t u = 0; u < units->count; u++)
        for (size_t c = 0; c < n; c++)
            options[u * n + c] = units->bytes[u * n + c] == VISE_UNSET_SIZE
                                     ? (vise_choice){.loss = NAN}
                                     : (vise_choice){units->bytes[u * n + c], expected(survey, u, c, n)};
    VISE_TRY_TO(done, vise_allocate(options, units->count, n, vise_units_budget(plan, excess), choice, &least, &fits,
                                    err));
    if (!fits) {
        status = VISE_FAIL(err, VISE_EUSAGE, "the target: no choice of schemes fits");
        goto done;
    }
    *kl = 0.0;
    *bytes = 0;
    for (size_t u = 0; u < units->count; u++) {
        *kl += options[u * n + choice[u]].loss;
        *bytes += options[u * n + choice[u]].bytes;
    }
    for (size_t i = 0; i < plan->count; i++)
        if (units->of[i] != SIZE_MAX)
            chosen[i] = plan->budgeted->budget.candidates[choice[units->of[i]]];
done:
    vise_free(options);
    vise_free(choice);
    return status;
}
