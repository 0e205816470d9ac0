/* The MLP of a block: plain, gated, or experts. */
#include <math.h>
#include <string.h>

#include "model/layer_internal.h"

/* The roles of one MLP; a role without a weight is not there. */
typedef struct mlp {
    vise_role gate, up, gate_up, down;
    int expert;
} mlp;

static const mlp dense = {VISE_ROLE_GATE, VISE_ROLE_UP, VISE_ROLE_GATE_UP, VISE_ROLE_DOWN, 0};
static const mlp shared = {VISE_ROLE_SHARED_GATE, VISE_ROLE_SHARED_UP, VISE_ROLE_COUNT, VISE_ROLE_SHARED_DOWN, 0};

static bool has(const vise_layer_run *run, vise_role role, int expert)
{
    return role < VISE_ROLE_COUNT && run->block->weight[vise_config_slot(role, expert)] != NULL;
}

/* gate [n] = f(gate) * up */
static vise_status gate_with(const vise_layer_run *run, int64_t n, float *gate, const float *up, vise_error *err)
{
    const vise_network_ops *network = run->backend->network;
    vise_nonlinearity f = run->model->config.activation;
    if (f == VISE_SILU)
        return network->silu_mul(run->backend, n, gate, up, err);
    VISE_TRY(network->apply(run->backend, f, n, gate, err));
    return network->multiply(run->backend, n, gate, up, err);
}

/* inner [t, ffn]: the input of down. */
static vise_status enter(const vise_layer_run *run, const vise_layer_scratch *s, const mlp *m, int64_t t,
                         const float *x, float *inner, vise_error *err)
{
    int64_t ffn = run->cols[m->down];
    if (has(run, m->gate_up, m->expert)) {
        const vise_product product = {m->gate_up, m->expert, 0.0f, s->gate_up, 2 * ffn};
        VISE_TRY(vise_layer_multiply(run, s, t, x, &product, 1, err));
        for (int64_t i = 0; i < t; i++) {
            memcpy(inner + i * ffn, s->gate_up + 2 * i * ffn, (size_t)ffn * sizeof(float));
            VISE_TRY(gate_with(run, ffn, inner + i * ffn, s->gate_up + (2 * i + 1) * ffn, err));
        }
        return VISE_OK;
    }
    if (has(run, m->gate, m->expert)) {
        const vise_product products[] = {{m->gate, m->expert, 0.0f, inner, ffn}, {m->up, m->expert, 0.0f, s->up, ffn}};
        VISE_TRY(vise_layer_multiply(run, s, t, x, products, 2, err));
        return gate_with(run, t * ffn, inner, s->up, err);
    }
    const vise_product product = {m->up, m->expert, 0.0f, inner, ffn};
    VISE_TRY(vise_layer_multiply(run, s, t, x, &product, 1, err));
    return run->backend->network->apply(run->backend, run->model->config.activation, t * ffn, inner, err);
}

/* ---- experts ------------------------------------------------------------------------------------------------- */

/* The k largest of p [n], largest first, lower index first among equals. */
static void choose(const float *p, int64_t n, int64_t k, int32_t *chosen, float *share)
{
    for (int64_t i = 0; i < k; i++) {
        chosen[i] = -1;
        for (int64_t e = 0; e < n; e++) {
            bool taken = false;
            for (int64_t j = 0; j < i; j++)
                taken = taken || chosen[j] == e;
            if (!taken && (chosen[i] < 0 || p[e] > p[chosen[i]]))
                chosen[i] = (int32_t)e;
        }
        share[i] = p[chosen[i]];
    }
}

/* Softmax over the experts, the best of each token, and their weights. */
static vise_status route(const vise_layer_run *run, const vise_layer_scratch *s, int64_t t, const float *x,
                         vise_error *err)
{
    const vise_config *config = &run->model->config;
    const int64_t n = config->experts, k = config->experts_per_token;
    const vise_product product = vise_product_of(VISE_ROLE_ROUTER, 0.0f, s->router, n);
    VISE_TRY(vise_layer_multiply(run, s, t, x, &product, 1, err));
    for (int64_t i = 0; i < t; i++) {
        float *p = s->router + i * n, most = p[0];
        double sum = 0.0, kept = 0.0;
        for (int64_t e = 1; e < n; e++)
            most = p[e] > most ? p[e] : most;
        for (int64_t e = 0; e < n; e++)
            sum += (double)(p[e] = expf(p[e] - most));
        choose(p, n, k, s->chosen + i * k, s->share + i * k);
        for (int64_t j = 0; j < k; j++)
            kept += (double)s->share[i * k + j];
        double all = config->experts_renormalize ? kept : sum;
        for (int64_t j = 0; j < k; j++)
            s->share[i * k + j] = (float)((double)s->share[i * k + j] / all);
    }
    return VISE_OK;
}

/* One expert over the tokens that chose it. */
static vise_status run_expert(const vise_layer_run *run, const vise_layer_scratch *s, int expert, int64_t t,
                              const float *x, float *captured, float *out, vise_error *err)
{
    const vise_config *config = &run->model->config;
    const int64_t k = config->experts_per_token, hidden = config->hidden, ffn = config->expert_ffn;
    const mlp m = {VISE_ROLE_EXPERT_GATE, VISE_ROLE_EXPERT_UP, VISE_ROLE_COUNT, VISE_ROLE_EXPERT_DOWN, expert};
    int64_t n = 0;
    for (int64_t choice = 0; choice < t * k; choice++)
        if (s->chosen[choice] == expert)
            s->list[n++] = (int32_t)choice;
    if (n == 0)
        return VISE_OK;
    for (int64_t i = 0; i < n; i++)
        memcpy(s->gathered + i * hidden, x + s->list[i] / k * hidden, (size_t)hidden * sizeof(float));
    VISE_TRY(enter(run, s, &m, n, s->gathered, s->gate, err));
    for (int64_t i = 0; captured && i < n; i++)
        memcpy(captured + s->list[i] * ffn, s->gate + i * ffn, (size_t)ffn * sizeof(float));
    if (run->last == VISE_INPUT_EXPERT_DOWN)
        return VISE_OK;
    const vise_product down = {VISE_ROLE_EXPERT_DOWN, expert, 0.0f, s->expert_out, hidden};
    VISE_TRY(vise_layer_multiply(run, s, n, s->gate, &down, 1, err));
    for (int64_t i = 0; i < n; i++) {
        float share = s->share[s->list[i]], *to = out + s->list[i] / k * hidden;
        for (int64_t j = 0; j < hidden; j++)
            to[j] += share * s->expert_out[i * hidden + j];
    }
    return VISE_OK;
}

/* The expert of all tokens, weighted by a sigmoid of its own. */
static vise_status run_shared(const vise_layer_run *run, const vise_layer_scratch *s, int64_t t, const float *x,
                              const vise_tile_capture *capture, float *out, vise_error *err)
{
    const int64_t hidden = run->model->config.hidden;
    float *inner = capture->shared_down ? capture->shared_down : s->gate;
    VISE_TRY(enter(run, s, &shared, t, x, inner, err));
    if (run->last != VISE_INPUT_NONE)
        return VISE_OK;
    const vise_product down = vise_product_of(VISE_ROLE_SHARED_DOWN, 0.0f, s->expert_out, hidden);
    VISE_TRY(vise_layer_multiply(run, s, t, inner, &down, 1, err));
    if (has(run, VISE_ROLE_SHARED_ROUTER, 0)) {
        const vise_product gate = vise_product_of(VISE_ROLE_SHARED_ROUTER, 0.0f, s->router, 1);
        VISE_TRY(vise_layer_multiply(run, s, t, x, &gate, 1, err));
        for (int64_t i = 0; i < t; i++)
            for (int64_t j = 0; j < hidden; j++)
                s->expert_out[i * hidden + j] *= 1.0f / (1.0f + expf(-s->router[i]));
    }
    return run->backend->network->add(run->backend, t * hidden, out, s->expert_out, err);
}

static vise_status run_experts(const vise_layer_run *run, const vise_layer_scratch *s, int64_t t, const float *x,
                               const vise_tile_capture *capture, float *out, vise_error *err)
{
    const vise_config *config = &run->model->config;
    if (run->last < VISE_INPUT_SHARED_DOWN)
        return VISE_OK;
    if (has(run, VISE_ROLE_SHARED_DOWN, 0))
        VISE_TRY(run_shared(run, s, t, x, capture, out, err));
    if (run->last == VISE_INPUT_SHARED_DOWN)
        return VISE_OK;
    VISE_TRY(route(run, s, t, x, err));
    if (capture->routes)
        memcpy(capture->routes, s->chosen, (size_t)(t * config->experts_per_token) * sizeof *s->chosen);
    for (int expert = 0; run->last != VISE_INPUT_EXPERT && expert < (int)config->experts; expert++)
        VISE_TRY(run_expert(run, s, expert, t, x, capture->expert_down, out, err));
    return VISE_OK;
}

vise_status vise_layer_mlp(const vise_layer_run *run, const vise_layer_scratch *s, int64_t t, const float *x,
                           const vise_tile_capture *capture, float *out, vise_error *err)
{
    if (run->flags & VISE_LAYER_SPARSE)
        return run_experts(run, s, t, x, capture, out, err);
    float *inner = capture->down ? capture->down : s->gate;
    VISE_TRY(enter(run, s, &dense, t, x, inner, err));
    if (run->last != VISE_INPUT_NONE)
        return VISE_OK;
    const vise_product down = vise_product_of(VISE_ROLE_DOWN, 1.0f, out, run->model->config.hidden);
    return vise_layer_multiply(run, s, t, inner, &down, 1, err);
}
