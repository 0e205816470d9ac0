#include "eval/eval.h"

#include <math.h>
#include <stdlib.h>

#include "core/event.h"
#include "eval/run.h"

/* Rows of logits that one task scores. */
enum { SCORE_ROWS = 32 };

/* What is known of every token and window once all batches are scored. */
typedef struct scores {
    size_t windows, tokens;
    int32_t *target;   /* [tokens]: the id to predict; -1 behind the last token of a window */
    double *nll[2];    /* [windows]: sums; the model's and the reference's */
    uint64_t *counted; /* [windows]: predictions */
    float *kl;         /* [predictions] */
    uint64_t predictions, agreed;
} scores;

static void deinit_scores(scores *s)
{
    vise_free(s->target);
    vise_free(s->nll[0]);
    vise_free(s->nll[1]);
    vise_free(s->counted);
    vise_free(s->kl);
}

static vise_status init_scores(const vise_eval_options *options, bool compares, scores *s, vise_error *err)
{
    *s = (scores){0};
    for (size_t i = 0; i < vise_eval_sets(options); i++) {
        const vise_windows *set = &options->windows[i];
        s->windows += set->length > 0 ? set->count : 0;
        s->tokens += set->count * set->length;
    }
    void *memory = NULL;
    VISE_TRY(vise_calloc(s->tokens, sizeof *s->target, &memory, err));
    s->target = memory;
    VISE_TRY(vise_calloc(s->windows, sizeof *s->counted, &memory, err));
    s->counted = memory;
    for (int side = 0; side < 2; side++) {
        VISE_TRY(vise_calloc(s->windows, sizeof *s->nll[side], &memory, err));
        s->nll[side] = memory;
    }
    size_t token = 0, window = 0;
    for (size_t i = 0; i < vise_eval_sets(options); i++) {
        const vise_windows *set = &options->windows[i];
        for (size_t w = 0; set->length > 0 && w < set->count; w++) {
            const int32_t *ids = set->ids + w * set->length;
            for (size_t t = 1; t < set->length; t++)
                s->target[token++] = ids[t];
            s->target[token++] = -1;
            s->counted[window++] = set->length - 1;
            s->predictions += set->length - 1;
        }
    }
    if (s->predictions == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "there is nothing to predict: windows need at least 2 tokens");
    if (!compares)
        return VISE_OK;
    VISE_TRY(vise_calloc(s->predictions, sizeof *s->kl, &memory, err));
    s->kl = memory;
    return VISE_OK;
}

/* ---- scoring a batch ----------------------------------------------------------------------------------------- */

typedef struct batch {
    vise_eval_run *const *runs;
    size_t n_runs;
    vise_backend *backend;
    size_t tokens;
    const int32_t *target; /* [tokens] */
    double *nll[2];        /* [tokens] */
    double *kl;            /* [tokens] */
    uint8_t *agree;        /* [tokens] */
} batch;

static vise_status score_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    const batch *job = context;
    size_t first = index * SCORE_ROWS;
    int64_t n = (int64_t)(job->tokens - first < SCORE_ROWS ? job->tokens - first : SCORE_ROWS);
    int64_t vocab = job->runs[0]->model->config.vocab;
    const float *logits[2] = {NULL, NULL};
    for (size_t r = 0; r < job->n_runs; r++) {
        logits[r] = job->runs[r]->logits + (int64_t)first * vocab;
        VISE_TRY(job->backend->network->nll(job->backend, n, vocab, logits[r], job->target + first,
                                            job->nll[r] + first, err));
    }
    if (job->n_runs < 2)
        return VISE_OK;
    return job->backend->network->compare(job->backend, n, vocab, logits[1], logits[0], job->kl + first,
                                          job->agree + first, err);
}

/* Adds a batch's tokens, in order, to their windows. *window is the window of the batch's first token. */
static void collect(const batch *job, scores *s, size_t *window, size_t *prediction)
{
    for (size_t t = 0; t < job->tokens; t++) {
        if (job->target[t] < 0) {
            (*window)++;
            continue;
        }
        for (size_t r = 0; r < job->n_runs; r++)
            s->nll[r][*window] += job->nll[r][t];
        if (job->n_runs > 1) {
            s->kl[(*prediction)++] = (float)job->kl[t];
            s->agreed += job->agree[t];
        }
    }
}

static vise_status score(vise_eval_run *const *runs, size_t n_runs, const vise_eval_options *options, size_t step,
                         scores *s, double *done, double total, vise_error *err)
{
    batch job = {.runs = runs, .n_runs = n_runs, .backend = options->backend};
    void *memory = NULL;
    VISE_TRY(vise_calloc(step, 3 * sizeof(double) + sizeof(uint8_t), &memory, err));
    job.nll[0] = memory;
    job.nll[1] = job.nll[0] + step;
    job.kl = job.nll[1] + step;
    job.agree = (uint8_t *)(job.kl + step);
    size_t window = 0, prediction = 0;
    vise_status status = VISE_OK;
    for (size_t token = 0; token < s->tokens; token += job.tokens) {
        job.tokens = s->tokens - token < step ? s->tokens - token : step;
        job.target = s->target + token;
        for (size_t r = 0; r < n_runs; r++) {
            VISE_TRY_TO(done, vise_head_logits(runs[r]->head, runs[r]->stream, options->backend, token, job.tokens,
                                               runs[r]->logits, err));
            const vise_config *config = &runs[r]->model->config;
            *done += 2.0 * (double)job.tokens * (double)config->vocab * (double)config->hidden;
        }
        VISE_TRY_TO(done, vise_parallel(options->workers, (job.tokens + SCORE_ROWS - 1) / SCORE_ROWS, score_rows, &job,
                                        err));
        collect(&job, s, &window, &prediction);
        vise_progress("evaluate", "head", *done, total);
    }
done:
    vise_free(memory);
    return status;
}

/* ---- figures ------------------------------------------------------------------------------------------------- */

/* Standard error of sum(x) / sum(n) over windows with sums x and counts n: the ratio estimator's residuals. */
static double standard_error(const double *x, const double *minus, const uint64_t *n, size_t windows, double mean,
                             double all)
{
    double squares = 0.0;
    size_t used = 0;
    for (size_t w = 0; w < windows; w++) {
        if (n[w] == 0)
            continue;
        double residual = x[w] - (minus ? minus[w] : 0.0) - mean * (double)n[w];
        squares += residual * residual;
        used++;
    }
    return used > 1 ? sqrt(squares * (double)used / (double)(used - 1)) / all : 0.0;
}

static vise_status summarize(const vise_model *model, const scores *s, int side, const vise_eval_options *options,
                             vise_quality *quality, vise_error *err)
{
    double sum = 0.0, all = (double)s->predictions;
    for (size_t w = 0; w < s->windows; w++)
        sum += s->nll[side][w];
    if (!isfinite(sum))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: its logits are not finite",
                         vise_source_path(vise_store_source(model->store)));
    *quality = (vise_quality){.tokens = s->predictions, .nll = sum / all};
    quality->stderr_nll = standard_error(s->nll[side], NULL, s->counted, s->windows, quality->nll, all);
    quality->perplexity = exp(quality->nll);
    uint64_t bytes = 0;
    bool known = true;
    for (size_t i = 0; i < vise_eval_sets(options); i++) {
        known = known && options->windows[i].bytes > 0;
        bytes += options->windows[i].bytes;
    }
    if (known)
        quality->bits_per_byte = sum / log(2.0) / (double)bytes;
    return VISE_OK;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(const float *sorted, uint64_t n, double p)
{
    uint64_t rank = (uint64_t)ceil(p * (double)n);
    return (double)sorted[rank > 0 ? rank - 1 : 0];
}

static void diverge(const scores *s, const vise_quality *model, const vise_quality *reference,
                    vise_divergence *divergence)
{
    double all = (double)s->predictions, sum = 0.0;
    for (uint64_t i = 0; i < s->predictions; i++)
        sum += (double)s->kl[i];
    qsort(s->kl, s->predictions, sizeof *s->kl, ascending);
    double difference = model->nll - reference->nll;
    *divergence = (vise_divergence){
        .mean = sum / all,
        .p50 = percentile(s->kl, s->predictions, 0.50),
        .p90 = percentile(s->kl, s->predictions, 0.90),
        .p99 = percentile(s->kl, s->predictions, 0.99),
        .max = (double)s->kl[s->predictions - 1],
        .top1_agreement = (double)s->agreed / all,
        .perplexity_ratio_stderr = exp(difference) * standard_error(s->nll[0], s->nll[1], s->counted, s->windows,
                                                                    difference, all),
    };
}

/* ---- the whole ----------------------------------------------------------------------------------------------- */

vise_status vise_evaluate(const vise_model *model, const vise_model *reference, const vise_eval_options *options,
                          vise_quality *quality, vise_quality *reference_quality, vise_divergence *divergence,
                          vise_error *err)
{
    const vise_model *models[2] = {model, reference};
    size_t n = reference ? 2 : 1;
    vise_eval_run run[2] = {{0}, {0}};
    vise_eval_run *const runs[2] = {&run[0], &run[1]};
    scores s;
    double done = 0.0, total = 0.0;
    size_t step = 0;
    vise_status status = init_scores(options, n > 1, &s, err);
    if (status != VISE_OK)
        goto done;
    for (size_t r = 0; r < n; r++) {
        VISE_TRY_TO(done, vise_model_need_tokens(models[r], "perplexity", err));
        total += vise_eval_operations(models[r], options) +
                 2.0 * (double)s.tokens * (double)models[r]->config.vocab * (double)models[r]->config.hidden;
    }
    if (reference && reference->config.vocab != model->config.vocab) {
        status = VISE_FAIL(err, VISE_EUSAGE,
                           "the reference has a vocabulary of %lld, the model one of %lld; they cannot be compared",
                           (long long)reference->config.vocab, (long long)model->config.vocab);
        goto done;
    }
    for (size_t r = 0; r < n; r++)
        VISE_TRY_TO(done, vise_eval_run_blocks(&run[r], models[r], options, &done, total, err));
    VISE_TRY_TO(done, vise_eval_run_heads(runs, n, options, &step, err));
    VISE_TRY_TO(done, score(runs, n, options, step, &s, &done, total, err));
    VISE_TRY_TO(done, summarize(model, &s, 0, options, quality, err));
    if (reference) {
        VISE_TRY_TO(done, summarize(reference, &s, 1, options, reference_quality, err));
        diverge(&s, quality, reference_quality, divergence);
    }
done:
    vise_eval_run_deinit(&run[0]);
    vise_eval_run_deinit(&run[1]);
    deinit_scores(&s);
    return status;
}
