/* How much arithmetic a calibrated run takes: the floor of its time, and what `vise plan` says of it. */
#include "pipeline/plan.h"

/* The part of the tokens that reaches a weight: an expert sees those that are routed to it. */
static double share_of(const vise_plan *plan, const vise_bound *bound)
{
    const vise_config *config = &plan->model->config;
    return bound->role >= VISE_ROLE_EXPERT_GATE && bound->role < VISE_ROLE_COUNT
               ? (double)config->experts_per_token / (double)config->experts
               : 1.0;
}

bool vise_plan_finishes_half(const vise_plan *plan, int layer, vise_input input)
{
    return input == VISE_INPUT_MLP && vise_block_splits(plan->model) &&
           (layer < plan->last_calibrated || plan->inputs >> VISE_INPUT_MLP != 0);
}

/* Operations of the linears that read inputs [first, end) of a layer, and of attention where it lies between. */
static double running(const double linears[VISE_INPUT_COUNT], double attention, int first, int end)
{
    double operations = first == VISE_INPUT_ATTENTION && end > VISE_INPUT_ATTENTION ? attention : 0.0;
    for (int input = first; input < end; input++)
        operations += linears[input];
    return operations;
}

/* The layer as the executor runs it: up to each input that is measured, and on to the next layer. */
static double calibrating(const vise_plan *plan, int layer, const double linears[VISE_INPUT_COUNT], double attention)
{
    double operations = plan->cache.made ? linears[VISE_INPUT_ATTENTION] : 0.0; /* for the ranges of keys and values */
    int first = VISE_INPUT_ATTENTION;
    for (int input = 0; input < VISE_INPUT_COUNT; input++) {
        const bool finishes = vise_plan_finishes_half(plan, layer, (vise_input)input);
        if ((plan->inputs >> input & 1) != 0 || finishes)
            operations += running(linears, attention, first, input);
        first = finishes ? VISE_INPUT_MLP : first;
    }
    return operations +
           (layer < plan->last_calibrated ? running(linears, attention, first, VISE_INPUT_COUNT) : 0.0);
}

static double calibrating_all(const vise_plan *plan, double tokens)
{
    const vise_config *config = &plan->model->config;
    double attention = vise_forward_operations(plan->model, tokens, plan->calibration_length);
    double operations = 0.0;
    for (int pass = 0; pass < 2; pass++) /* what the linears leave of all operations is attention's */
        for (int layer = 0; layer < (int)config->layers; layer++) {
            double linears[VISE_INPUT_COUNT] = {0};
            for (size_t slot = 0; slot < vise_config_slots(config); slot++) {
                size_t i = vise_model_slot(plan->model, slot, layer);
                if (i != SIZE_MAX && plan->model->bound[i].input < VISE_INPUT_COUNT)
                    linears[plan->model->bound[i].input] += 2.0 * tokens * share_of(plan, &plan->model->bound[i]) *
                                                            (double)plan->model->bound[i].tensor->elements;
            }
            if (pass == 0)
                attention -= running(linears, 0.0, 0, VISE_INPUT_COUNT);
            else if (layer <= plan->last_calibrated)
                operations += (plan->needs & VISE_NEED_CROSS ? 2.0 : 1.0) *
                              calibrating(plan, layer, linears, attention / (double)config->layers);
        }
    return operations;
}

/* Gram matrices are counted by half, as symmetric ones; each is accumulated and factorized once for all that share
 * it. Beside the model as it was there are products of inputs, and three of every weight that is corrected. */
static double solving(const vise_plan *plan, double tokens)
{
    const bool beside = (plan->needs & VISE_NEED_CROSS) != 0;
    const double products = beside ? 3.0 : 1.0;
    double operations = 0.0;
    for (int layer = 0; layer <= plan->last_calibrated; layer++) {
        double width[VISE_INPUT_COUNT] = {0};
        for (size_t slot = 0; slot < vise_config_slots(&plan->model->config); slot++) {
            size_t i = vise_model_slot(plan->model, slot, layer);
            if (i == SIZE_MAX || plan->model->bound[i].input >= VISE_INPUT_COUNT ||
                plan->planned[i].scheme.type == NULL || plan->planned[i].carried)
                continue;
            const vise_bound *bound = &plan->model->bound[i];
            double rows = (double)bound->tensor->rows, cols = (double)bound->tensor->cols;
            operations += (beside ? 7.0 : 1.0) * rows * cols * cols;
            if (bound->input < VISE_INPUT_EXPERT)
                width[bound->input] = cols;
            else if (bound->role != VISE_ROLE_EXPERT_UP) /* which shares the gate's input */
                operations += cols * cols * (products * tokens * share_of(plan, bound) + 2.0 / 3.0 * cols);
        }
        for (int input = 0; input < VISE_INPUT_COUNT; input++)
            operations += width[input] * width[input] * (products * tokens + 2.0 / 3.0 * width[input]);
    }
    return operations;
}

void vise_plan_count_operations(vise_plan *plan)
{
    const vise_request *request = plan->request;
    plan->operations = 0.0;
    if (plan->last_calibrated < 0)
        return;
    double samples = request->calibration.samples == VISE_UNSET_INT ? 128.0 : (double)request->calibration.samples;
    double tokens = samples * (double)plan->calibration_length;
    plan->operations = calibrating_all(plan, tokens);
    if ((plan->needs & VISE_NEED_GRAM) != 0)
        plan->operations += solving(plan, tokens);
}
