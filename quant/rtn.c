/* Round to nearest: every group takes the range of its own weights (or the part of it with the least error,
 * --clip mse), every weight the nearest code. Needs nothing but the weights; rows in any order. Per-tensor schemes and
 * nvfp4 know their range, and doubly quantized scales their mean, from a first walk. */
#include "quant/quant.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "core/event.h"
#include "quant/imatrix.h"
#include "quant/trial.h"
#include "tensor/activation_type.h"

typedef struct rtn_range {
    float min, max;
    double *sums; /* double quantization: of the scales in each tile, by row0 / VISE_TILE_ROWS; NULL: not needed */
    float mean;   /* of the scales */
} rtn_range;

/* Made by begin only when a selected weight has a per-tensor or doubly quantized scheme, or there are importances. */
typedef struct rtn_state {
    pthread_mutex_t lock;
    bool measured;
    rtn_range *ranges;     /* [count] */
    size_t count;
    vise_imatrix *imatrix; /* NULL: none */
} rtn_state;

static bool needs_range(const vise_scheme *scheme)
{
    return scheme->type != NULL && (scheme->granularity == VISE_PER_TENSOR || scheme->dq ||
                                    scheme->type->codebook == &vise_codebook_nvfp4);
}

static bool needs_ranges(const vise_pass_run *run)
{
    for (size_t i = 0; i < run->model->count; i++)
        if ((run->planned[i].passes >> run->index & 1) != 0 && needs_range(&run->planned[i].scheme))
            return true;
    return false;
}

/* llama-imatrix leaves out what stands outside the blocks; that others are missing is worth knowing. */
static void warn_of_missing(const vise_pass_run *run, const vise_imatrix *imatrix)
{
    const char *first = NULL;
    size_t missing = 0;
    for (size_t i = 0; i < run->model->count; i++) {
        const vise_planned *planned = &run->planned[i];
        if ((planned->passes >> run->index & 1) == 0 || planned->scheme.type == NULL ||
            planned->scheme.type->blocks == NULL || planned->bound->layer < 0 || vise_imatrix_of(imatrix, i) != NULL)
            continue;
        first = first != NULL ? first : planned->bound->tensor->module;
        missing++;
    }
    if (missing > 0)
        vise_warn("the importance matrix lacks %zu of the weights, such as %s; they are quantized without", missing,
                  first);
}

static vise_status rtn_begin(vise_pass_run *run, vise_error *err)
{
    const vise_quant_config *config = run->config;
    if (!needs_ranges(run) && config->imatrix == NULL)
        return VISE_OK;
    rtn_state *state;
    VISE_TRY(vise_calloc(1, sizeof *state, (void **)&state, err));
    pthread_mutex_init(&state->lock, NULL);
    run->state = state; /* end frees it, also after a failure */
    state->measured = !needs_ranges(run);
    VISE_TRY(vise_calloc(run->model->count, sizeof *state->ranges, (void **)&state->ranges, err));
    state->count = run->model->count;
    for (size_t i = 0; i < run->model->count; i++)
        if ((run->planned[i].passes >> run->index & 1) != 0 && run->planned[i].scheme.dq)
            VISE_TRY(vise_calloc((size_t)run->planned[i].bound->tensor->rows / VISE_TILE_ROWS + 1, sizeof(double),
                                 (void **)&state->ranges[i].sums, err));
    if (config->imatrix == NULL)
        return VISE_OK;
    VISE_TRY(vise_imatrix_open(config->imatrix, run->model, &state->imatrix, err));
    warn_of_missing(run, state->imatrix);
    return VISE_OK;
}

static void rtn_end(vise_pass_run *run)
{
    rtn_state *state = run->state;
    if (state == NULL)
        return;
    pthread_mutex_destroy(&state->lock);
    vise_imatrix_close(state->imatrix);
    for (size_t i = 0; i < state->count; i++)
        vise_free(state->ranges[i].sums);
    vise_free(state->ranges);
    vise_free(state);
    run->state = NULL;
}

static bool rtn_wants_measure(const vise_pass_run *run)
{
    const rtn_state *state = run->state;
    return state != NULL && !state->measured;
}

static vise_status rtn_measure(vise_pass_run *run, const vise_weight *tile, vise_error *err)
{
    (void)err;
    rtn_state *state = run->state;
    float min, max;
    vise_range(tile->values, (size_t)(tile->rows * tile->cols), &min, &max);
    rtn_range *range = &state->ranges[tile->plan->index];
    const vise_scheme *scheme = &tile->plan->scheme;
    if (range->sums != NULL)
        range->sums[tile->row0 / VISE_TILE_ROWS] = vise_flat_scale_sum(
            scheme->type->codebook, tile->values, (size_t)(tile->rows * tile->cols), scheme->group);
    pthread_mutex_lock(&state->lock);
    range->min = fminf(range->min, min);
    range->max = fmaxf(range->max, max);
    pthread_mutex_unlock(&state->lock);
    return VISE_OK;
}

/* Linears that runtimes fuse have one global scale, which they want of nvfp4. */
static void share_ranges(const vise_pass_run *run, rtn_state *state)
{
    static const vise_role fused[][3] = {{VISE_ROLE_Q, VISE_ROLE_K, VISE_ROLE_V},
                                         {VISE_ROLE_GATE, VISE_ROLE_UP, VISE_ROLE_UP},
                                         {VISE_ROLE_SHARED_GATE, VISE_ROLE_SHARED_UP, VISE_ROLE_SHARED_UP},
                                         {VISE_ROLE_EXPERT_GATE, VISE_ROLE_EXPERT_UP, VISE_ROLE_EXPERT_UP}};
    const vise_model *model = run->model;
    for (size_t i = 0; i < state->count; i++) { /* the widest of its set; none gets narrower */
        const vise_bound *bound = &model->bound[i];
        rtn_range *range = &state->ranges[i];
        for (size_t f = 0; f < sizeof fused / sizeof *fused && model->arch != NULL && bound->is_linear; f++) {
            if (bound->role != fused[f][0] && bound->role != fused[f][1] && bound->role != fused[f][2])
                continue;
            for (size_t m = 0; m < 3; m++) {
                const size_t j = vise_model_slot(model, vise_config_slot(fused[f][m], bound->expert), bound->layer);
                if (j == SIZE_MAX || run->planned[j].scheme.type == NULL ||
                    run->planned[j].scheme.type->codebook != &vise_codebook_nvfp4)
                    continue;
                range->min = fminf(range->min, state->ranges[j].min);
                range->max = fmaxf(range->max, state->ranges[j].max);
            }
        }
    }
}

static vise_status rtn_measured(vise_pass_run *run, vise_error *err)
{
    (void)err;
    rtn_state *state = run->state;
    state->measured = true;
    share_ranges(run, state);
    for (size_t i = 0; i < state->count; i++) {
        const vise_planned *planned = &run->planned[i];
        double sum = 0.0;
        if (state->ranges[i].sums == NULL)
            continue;
        for (int64_t tile = 0; tile <= planned->bound->tensor->rows / VISE_TILE_ROWS; tile++)
            sum += state->ranges[i].sums[tile];
        const uint64_t block = (uint64_t)planned->scheme.group;
        state->ranges[i].mean = (float)(sum / (double)((planned->bound->tensor->elements + block - 1) / block));
    }
    return VISE_OK;
}

static vise_status rtn_weight(vise_pass_run *run, vise_weight *tile, void *scratch, vise_error *err)
{
    (void)scratch;
    (void)err;
    const rtn_state *state = run->state;
    rtn_range range = {0};
    if (state != NULL)
        range = state->ranges[tile->plan->index];
    tile->q->offset = range.mean;
    if (tile->q->scheme.type->codebook == &vise_codebook_nvfp4)
        tile->q->global = vise_nvfp4_global(fmaxf(-range.min, range.max));
    const vise_gguf_type *blocks = tile->q->scheme.type->blocks;
    if (blocks != NULL && state != NULL && state->imatrix != NULL)
        vise_gguf_encode(blocks, tile->values, vise_imatrix_of(state->imatrix, tile->plan->index), tile->rows,
                         tile->cols, tile->q->codes);
    else
        vise_encode(tile->values, vise_quant_clip(run->config, &tile->q->scheme, false), range.min, range.max, tile->q);
    vise_decode(tile->q, tile->values);
    tile->quantized = true;
    return VISE_OK;
}

static vise_status rtn_plan(vise_pass_run *run, vise_error *err)
{
    const vise_quant_config *config = run->config;
    bool used = config->smooth > 0.0 || vise_quant_has_cache(config);
    VISE_TRY(vise_quant_plan(run, err));
    for (size_t i = 0; i < run->model->count; i++)
        used = used || ((run->planned[i].passes >> run->index & 1) != 0 &&
                        (vise_scheme_needs_calibration(&run->planned[i].scheme) ||
                         run->planned[i].outlier_threshold > 0.0));
    if (run->calibrated && run->model->arch != NULL && !used)
        vise_info("rtn uses no calibration text; it is ignored (--method gptq uses it)");
    return VISE_OK;
}

const vise_method vise_method_rtn = {
    .name = "rtn",
    .summary = "nearest code of each group's own range",
    .plan = rtn_plan,
    .begin = rtn_begin,
    .wants_measure = rtn_wants_measure,
    .measure = rtn_measure,
    .measured = rtn_measured,
    .weight = rtn_weight,
    .trial = vise_quant_trial,
    .trial_bytes = vise_quant_trial_bytes,
    .end = rtn_end,
};
