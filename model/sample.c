#include "model/sample.h"

#include <math.h>
#include <stdbool.h>

#include "core/mem.h"
#include "tensor/dtype.h"

vise_status vise_sampler_init(vise_sampler *sampler, const vise_sample_options *options, int64_t vocab,
                              vise_error *err)
{
    *sampler = (vise_sampler){.options = *options, .vocab = vocab};
    void *memory = NULL;
    vise_rng_init(&sampler->rng, options->seed, "sample");
    VISE_TRY(vise_calloc((size_t)vocab, 1, &memory, err));
    sampler->stands = memory;
    if (options->temperature == 0.0)
        return VISE_OK;
    vise_status status = vise_calloc((size_t)vocab, sizeof *sampler->weight, &memory, err);
    if (status == VISE_OK) {
        sampler->weight = memory;
        status = vise_calloc((size_t)vocab, sizeof *sampler->order, &memory, err);
    }
    if (status == VISE_OK)
        sampler->order = memory;
    else
        vise_sampler_deinit(sampler);
    return status;
}

void vise_sampler_deinit(vise_sampler *sampler)
{
    vise_free(sampler->weight);
    vise_free(sampler->order);
    vise_free(sampler->stands);
    *sampler = (vise_sampler){0};
}

void vise_sampler_see(vise_sampler *sampler, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= 0 && ids[i] < sampler->vocab)
            sampler->stands[ids[i]] = 1;
}

static void penalize(const vise_sampler *sampler, float *logits)
{
    const float penalty = (float)sampler->options.repetition_penalty;
    for (int64_t i = 0; penalty != 1.0f && i < sampler->vocab; i++)
        if (sampler->stands[i])
            logits[i] = logits[i] < 0.0f ? logits[i] * penalty : logits[i] / penalty;
}

static int64_t largest(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* ---- a heap of ids, the likeliest at its top, the lowest id among equals ------------------------------------- */

static bool before(const float *weight, int32_t a, int32_t b)
{
    return weight[a] > weight[b] || (weight[a] == weight[b] && a < b);
}

static void sink(const float *weight, int32_t *heap, int64_t n, int64_t at)
{
    int32_t id = heap[at];
    for (int64_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && before(weight, heap[child + 1], heap[child]))
            child++;
        if (!before(weight, heap[child], id))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = id;
}

static void heapify(const float *weight, int32_t *heap, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        heap[i] = (int32_t)i;
    for (int64_t i = n / 2 - 1; i >= 0; i--)
        sink(weight, heap, n, i);
}

/* Moves the top of a heap of n behind it. */
static int32_t pop(const float *weight, int32_t *heap, int64_t n)
{
    int32_t id = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = id;
    sink(weight, heap, n - 1, 0);
    return id;
}

/* ---- choosing ------------------------------------------------------------------------------------------------ */

/* Finds the likeliest tokens that the options keep: they stand at the end of `order`, the likeliest last. *mass is the
 * sum of their weights, out of `all`. Nothing is sorted beyond what is kept. */
static int64_t keep_likeliest(vise_sampler *sampler, double all, double *mass)
{
    const vise_sample_options *options = &sampler->options;
    const float *weight = sampler->weight;
    int32_t *order = sampler->order;
    const int64_t vocab = sampler->vocab;
    int64_t most = options->top_k > 0 && options->top_k < vocab ? options->top_k : vocab, popped = 0,
            kept = 0;
    heapify(weight, order, vocab);
    if (most < vocab) { /* shares are those of the k */
        for (all = 0.0; popped < most; popped++)
            all += (double)weight[pop(weight, order, vocab - popped)];
    }
    for (*mass = 0.0; kept < most; kept++) {
        if (kept > 0 && options->top_p < 1.0 && *mass >= options->top_p * all)
            break;
        if (kept == popped)
            pop(weight, order, vocab - popped++);
        double w = (double)weight[order[vocab - 1 - kept]];
        if (w < options->min_p) /* the likeliest has weight 1 */
            break;
        *mass += w;
    }
    return kept;
}

/* The token at which the running sum of weights passes `target`. */
static int32_t draw(const vise_sampler *sampler, int64_t kept, double target)
{
    const int64_t vocab = sampler->vocab;
    double sum = 0.0;
    int32_t id = 0;
    for (int64_t i = 0; i < kept; i++) {
        int32_t next = kept < vocab ? sampler->order[vocab - 1 - i] : (int32_t)i;
        if (sampler->weight[next] > 0.0f)
            id = next;
        sum += (double)sampler->weight[next];
        if (sum > target)
            break;
    }
    return id;
}

vise_status vise_sample(vise_sampler *sampler, float *logits, int32_t *id, vise_error *err)
{
    const vise_sample_options *options = &sampler->options;
    const int64_t vocab = sampler->vocab;
    size_t bad = 0;
    if (vise_count_nonfinite(logits, (size_t)vocab, &bad) > 0)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "the logit of token %zu is not finite; the model is damaged or diverged", bad);
    penalize(sampler, logits);
    int64_t best = largest(logits, vocab);
    *id = (int32_t)best;
    if (options->temperature > 0.0) {
        double all = 0.0, mass;
        for (int64_t i = 0; i < vocab; i++) {
            double distance = (double)logits[i] - (double)logits[best];
            sampler->weight[i] = (float)exp(distance / options->temperature);
            all += (double)sampler->weight[i];
        }
        int64_t kept = vocab;
        mass = all;
        if (options->top_k > 0 || options->top_p < 1.0 || options->min_p > 0.0)
            kept = keep_likeliest(sampler, all, &mass);
        *id = draw(sampler, kept, vise_rng_uniform(&sampler->rng) * mass);
    }
    vise_sampler_see(sampler, id, 1);
    return VISE_OK;
}
