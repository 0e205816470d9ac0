#include "eval/eval.h"

#include <math.h>

#include "core/event.h"
#include "eval/figures.h"
#include "eval/run.h"

/* Rows of logits that one task scores. */
enum { SCORE_ROWS = 32 };
/* A resident head skips runs of so many tokens that do not count; one that is read anew for every batch does not. */
enum { GAP_TOKENS = 64 };

/* What is known of every token and window once all batches are scored. */
typedef struct scores {
    vise_window_sums sums;
    size_t tokens;
    size_t *ends;    /* [windows]: the token behind each window */
    int32_t *target; /* [tokens]: the id to predict; -1 where none counts */
    float *kl;       /* [predictions], NULL without a reference */
    float *delta_p;  /* the same */
    uint64_t bytes;  /* of text, 0: unknown */
} scores;

static void deinit_scores(scores *s)
{
    vise_window_sums_deinit(&s->sums);
    vise_free(s->ends);
    vise_free(s->target);
    vise_free(s->kl);
    vise_free(s->delta_p);
}

/* The targets of one window, from `token` on. */
static void set_targets(scores *s, const vise_windows *set, size_t index, size_t window, size_t *token)
{
    const int32_t *ids = set->ids + index * set->length;
    for (size_t t = 1; t < set->length; t++)
        s->target[(*token)++] = t > set->uncounted ? ids[t] : -1;
    s->target[(*token)++] = -1;
    s->ends[window] = *token;
    s->sums.counted[window] = set->length - 1 > set->uncounted ? set->length - 1 - set->uncounted : 0;
    s->sums.predictions += s->sums.counted[window];
}

static vise_status init_scores(const vise_eval_options *options, bool compares, scores *s, vise_error *err)
{
    size_t windows = 0;
    bool known = true;
    *s = (scores){0};
    for (size_t i = 0; i < vise_eval_sets(options); i++) {
        const vise_windows *set = &options->windows[i];
        windows += set->length > 0 ? set->count : 0;
        s->tokens += set->count * set->length;
        known = known && set->bytes > 0;
        s->bytes += set->bytes;
    }
    s->bytes = known ? s->bytes : 0;
    void *memory = NULL;
    VISE_TRY(vise_window_sums_init(&s->sums, windows, err));
    VISE_TRY(vise_calloc(s->tokens, sizeof *s->target, &memory, err));
    s->target = memory;
    VISE_TRY(vise_calloc(windows, sizeof *s->ends, &memory, err));
    s->ends = memory;
    size_t token = 0, window = 0;
    for (size_t i = 0; i < vise_eval_sets(options); i++)
        for (size_t w = 0; options->windows[i].length > 0 && w < options->windows[i].count; w++)
            set_targets(s, &options->windows[i], w, window++, &token);
    if (s->sums.predictions == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "there is nothing to predict: windows need at least 2 tokens");
    if (!compares)
        return VISE_OK;
    VISE_TRY(vise_calloc(s->sums.predictions, sizeof *s->kl, &memory, err));
    s->kl = memory;
    VISE_TRY(vise_calloc(s->sums.predictions, sizeof *s->delta_p, &memory, err));
    s->delta_p = memory;
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

/* Adds a batch's tokens, in order, to their windows. *window is that of the token before the batch. */
static void collect(const batch *job, scores *s, size_t token, size_t *window, size_t *prediction)
{
    vise_window_sums *sums = &s->sums;
    for (size_t t = 0; t < job->tokens; t++) {
        if (job->target[t] < 0)
            continue;
        while (token + t >= s->ends[*window])
            (*window)++;
        for (size_t r = 0; r < job->n_runs; r++) {
            sums->nll[r][*window] += job->nll[r][t];
            sums->squares[r] += job->nll[r][t] * job->nll[r][t];
        }
        if (job->n_runs < 2)
            continue;
        double delta_p = exp(-job->nll[0][t]) - exp(-job->nll[1][t]);
        sums->kl[*window] += job->kl[t];
        sums->delta_p[*window] += delta_p;
        sums->agreed += job->agree[t];
        s->kl[*prediction] = (float)job->kl[t];
        s->delta_p[(*prediction)++] = (float)delta_p;
    }
}

/* The tokens of the next batch, from *token on: at most `step`, the first of them counting. 0: none is left. */
static size_t next_batch(const scores *s, size_t step, bool skips, size_t *token)
{
    size_t n, behind = 0; /* behind: the last that counts */
    while (*token < s->tokens && s->target[*token] < 0)
        (*token)++;
    for (n = 0; n < step && *token + n < s->tokens && !(skips && n - behind >= GAP_TOKENS); n++)
        if (s->target[*token + n] >= 0)
            behind = n + 1;
    return behind;
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
    const bool skips = vise_head_is_resident(runs[0]->head);
    const double blocks = *done;
    size_t window = 0, prediction = 0;
    vise_status status = VISE_OK;
    for (size_t token = 0; (job.tokens = next_batch(s, step, skips, &token)) > 0; token += job.tokens) {
        job.target = s->target + token;
        for (size_t r = 0; r < n_runs; r++)
            VISE_TRY_TO(done, vise_head_logits(runs[r]->head, runs[r]->stream, options->backend, token, job.tokens,
                                               runs[r]->logits, err));
        VISE_TRY_TO(done, vise_parallel(options->workers, (job.tokens + SCORE_ROWS - 1) / SCORE_ROWS, score_rows, &job,
                                        err));
        collect(&job, s, token, &window, &prediction);
        *done = blocks + (total - blocks) * (double)(token + job.tokens) / (double)s->tokens;
        vise_progress("evaluate", "head", *done, total);
    }
done:
    vise_free(memory);
    return status;
}

/* ---- the whole ----------------------------------------------------------------------------------------------- */

static const char *path_of(const vise_model *model)
{
    return vise_source_path(vise_store_source(model->store));
}

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
    VISE_TRY_TO(done, vise_quality_of(&s.sums, 0, s.bytes, path_of(model), quality, err));
    if (reference) {
        VISE_TRY_TO(done, vise_quality_of(&s.sums, 1, s.bytes, path_of(reference), reference_quality, err));
        vise_divergence_of(&s.sums, s.kl, s.delta_p, divergence);
    }
done:
    vise_eval_run_deinit(&run[0]);
    vise_eval_run_deinit(&run[1]);
    deinit_scores(&s);
    return status;
}
