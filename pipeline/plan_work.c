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

/* A block is measured up to the last input that a statistic wants: the linears that read it are not run. */
static double skipped_when_measuring(const vise_plan *plan, double tokens)
{
    int last = -1;
    for (int input = 0; input < VISE_INPUT_COUNT; input++)
        if ((plan->inputs >> input & 1) != 0)
            last = input;
    double operations = 0.0;
    for (size_t i = 0; i < plan->count; i++) {
        const vise_bound *bound = &plan->model->bound[i];
        if (bound->layer >= 0 && bound->layer <= plan->last_calibrated && !bound->is_bias && (int)bound->input == last)
            operations += 2.0 * tokens * share_of(plan, bound) * (double)bound->tensor->elements;
    }
    return operations;
}

/* Gram matrices are counted by half, as symmetric ones; each is accumulated and factorized once for all that share
 * it. */
static double solving(const vise_plan *plan, double tokens)
{
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
            operations += rows * cols * cols;
            if (bound->input < VISE_INPUT_EXPERT)
                width[bound->input] = cols;
            else if (bound->role != VISE_ROLE_EXPERT_UP) /* which shares the gate's input */
                operations += cols * cols * (tokens * share_of(plan, bound) + 2.0 / 3.0 * cols);
        }
        for (int input = 0; input < VISE_INPUT_COUNT; input++)
            operations += width[input] * width[input] * (tokens + 2.0 / 3.0 * width[input]);
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
    double layer = vise_forward_operations(plan->model, tokens, plan->calibration_length) /
                   (double)plan->model->config.layers;
    plan->operations = layer * (2.0 * plan->last_calibrated + 1.0) - skipped_when_measuring(plan, tokens);
    if ((plan->needs & VISE_NEED_GRAM) != 0)
        plan->operations += solving(plan, tokens);
}
