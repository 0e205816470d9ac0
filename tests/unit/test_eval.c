/* Evaluation against figures computed naively from float64 logits, and its behaviour under a tight pool. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/rng.h"
#include "eval/eval.h"
#include "tiny_llama.h"

static const tiny_llama shape = {.hidden = 16, .ffn = 24, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 4,
                                 .vocab = 50, .positions = 64, .tied = true};

typedef struct machine {
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
    vise_error err;
} machine;

static void must(vise_status status, const vise_error *err)
{
    if (status != VISE_OK)
        fail_msg("%s", err->message);
}

static void start(machine *m, int threads, uint64_t limit)
{
    *m = (machine){0};
    must(vise_workers_new(threads, &m->workers, &m->err), &m->err);
    must(vise_pool_new(limit, &m->pool, &m->err), &m->err);
    must(vise_backend_open("cpu", m->workers, &m->backend, &m->err), &m->err);
}

static void stop(machine *m)
{
    vise_backend_close(m->backend);
    assert_int_equal(vise_pool_used(m->pool), 0);
    vise_pool_free(m->pool);
    vise_workers_free(m->workers);
}

static vise_eval_options options_of(machine *m, const vise_windows *windows, size_t sets)
{
    return (vise_eval_options){.windows = windows, .sets = sets, .stream_ram_bytes = UINT64_MAX, .pool = m->pool,
                               .workers = m->workers, .backend = m->backend};
}

static vise_windows draw_windows(size_t count, size_t length)
{
    vise_windows windows = {.ids = malloc(count * length * sizeof(int32_t)), .count = count, .length = length};
    vise_rng rng;
    vise_rng_init(&rng, length, "windows");
    for (size_t i = 0; i < count * length; i++)
        windows.ids[i] = (int32_t)vise_rng_below(&rng, (uint64_t)shape.vocab);
    return windows;
}

/* ---- the naive figures ------------------------------------------------------------------------------------ */

typedef struct naive {
    double sum[2], squares[2], paired; /* over windows */
    double kl_sum;
    double kl[1024], delta_p[1024]; /* sorted */
    double window_kl[64], delta_sum, delta_squares, nll_squares;
    size_t tokens, agreed;
} naive;

static double log_sum_exp(const double *x, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i]);
    return log(sum);
}

static int64_t best(const double *x, int64_t n)
{
    int64_t b = 0;
    for (int64_t i = 1; i < n; i++)
        b = x[i] > x[b] ? i : b;
    return b;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Windows of one length; a is the model, b the reference. */
static void score_naively(const tiny_llama *a, const tiny_llama *b, const vise_windows *windows, naive *n)
{
    double nll[2][64];
    int64_t length = (int64_t)windows->length;
    *n = (naive){0};
    for (size_t w = 0; w < windows->count; w++) {
        const int32_t *ids = windows->ids + w * windows->length;
        tiny_result result[2];
        tiny_llama_run(a, ids, length, 0, &result[0]);
        tiny_llama_run(b, ids, length, 0, &result[1]);
        nll[0][w] = nll[1][w] = n->window_kl[w] = 0.0;
        for (int64_t t = (int64_t)windows->uncounted; t + 1 < length; t++) {
            const double *x[2] = {result[0].logits + t * a->vocab, result[1].logits + t * a->vocab};
            double lse[2], kl = 0.0;
            for (int r = 0; r < 2; r++) {
                lse[r] = log_sum_exp(x[r], a->vocab);
                nll[r][w] += lse[r] - x[r][ids[t + 1]];
            }
            double delta = exp(x[0][ids[t + 1]] - lse[0]) - exp(x[1][ids[t + 1]] - lse[1]);
            n->delta_p[n->tokens] = delta;
            n->delta_sum += delta;
            n->delta_squares += delta * delta;
            n->nll_squares += pow(lse[0] - x[0][ids[t + 1]], 2.0);
            for (int64_t i = 0; i < a->vocab; i++)
                kl += exp(x[1][i] - lse[1]) * (x[1][i] - lse[1] - x[0][i] + lse[0]);
            n->kl[n->tokens++] = kl;
            n->kl_sum += kl;
            n->window_kl[w] += kl;
            n->agreed += best(x[0], a->vocab) == best(x[1], a->vocab);
        }
        for (int r = 0; r < 2; r++) {
            n->sum[r] += nll[r][w];
            tiny_result_free(&result[r]);
        }
    }
    double count = (double)windows->count, per = (double)(length - 1 - (int64_t)windows->uncounted);
    for (size_t w = 0; w < windows->count; w++) {
        for (int r = 0; r < 2; r++)
            n->squares[r] += pow(nll[r][w] / per - n->sum[r] / (count * per), 2.0);
        n->paired += pow((nll[0][w] - nll[1][w]) / per - (n->sum[0] - n->sum[1]) / (count * per), 2.0);
    }
    qsort(n->kl, n->tokens, sizeof *n->kl, ascending);
    qsort(n->delta_p, n->tokens, sizeof *n->delta_p, ascending);
}

/* Between ranks, as torch.quantile has it. */
static double quantile(const double *sorted, size_t n, double p)
{
    double rank = p * (double)(n - 1), below = floor(rank);
    size_t i = (size_t)below;
    return i + 1 < n ? sorted[i] * (1.0 - (rank - below)) + sorted[i + 1] * (rank - below) : sorted[i];
}

/* The standard error of a mean over tokens from sums of windows that have `per` tokens each. */
static double error_of(const double *sums, size_t windows, double per, double mean)
{
    double squares = 0.0, count = (double)windows;
    for (size_t w = 0; w < windows; w++)
        squares += pow(sums[w] / per - mean, 2.0);
    return sqrt(squares / (count * (count - 1.0)));
}

static void assert_near(double actual, double expected, double tolerance)
{
    if (!(fabs(actual - expected) <= tolerance))
        fail_msg("%.12g is not %.12g", actual, expected);
}

static void check_spread(const vise_spread *spread, const double *sorted, size_t n, double mean)
{
    const struct {
        double p, value;
    } points[] = {{0.0, spread->min},   {0.01, spread->p1},  {0.05, spread->p5},   {0.10, spread->p10},
                  {0.25, spread->p25},  {0.50, spread->p50}, {0.75, spread->p75},  {0.90, spread->p90},
                  {0.95, spread->p95},  {0.99, spread->p99}, {0.999, spread->p999}, {1.0, spread->max}};
    assert_near(spread->mean, mean, 1e-5);
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        assert_near(points[i].value, quantile(sorted, n, points[i].p), 2e-5);
}

static void test_figures(void **state)
{
    (void)state;
    enum { WINDOWS = 9, LENGTH = 20 };
    tiny_llama a = shape, b = shape;
    machine m;
    naive n;
    vise_model *model, *reference;
    vise_windows windows = draw_windows(WINDOWS, LENGTH);
    windows.bytes = 777;
    tiny_llama_make(&a, 1);
    tiny_llama_make(&b, 2);
    /* The reference is the model with noise, so that they agree on some tokens and not on others. */
    for (size_t i = 0; i < a.n_tensors; i++) {
        size_t count = (size_t)((a.tensors[i].rows > 0 ? a.tensors[i].rows : 1) * a.tensors[i].cols);
        for (size_t j = 0; j < count; j++)
            b.tensors[i].values[j] = a.tensors[i].values[j] + 0.1f * b.tensors[i].values[j];
    }
    tiny_llama_write(&b);
    score_naively(&a, &b, &windows, &n);
    start(&m, 2, 0);
    must(vise_model_open(a.folder, &model, &m.err), &m.err);
    must(vise_model_open(b.folder, &reference, &m.err), &m.err);
    vise_eval_options options = options_of(&m, &windows, 0);
    vise_quality quality[2], alone;
    vise_divergence divergence;
    must(vise_evaluate(model, reference, &options, &quality[0], &quality[1], &divergence, &m.err), &m.err);
    double tokens = WINDOWS * (LENGTH - 1);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(quality[r].tokens, (uint64_t)tokens);
        assert_near(quality[r].nll, n.sum[r] / tokens, 1e-5);
        assert_near(quality[r].perplexity, exp(n.sum[r] / tokens), 1e-3);
        assert_near(quality[r].bits_per_byte, n.sum[r] / log(2.0) / 777.0, 1e-4);
        assert_near(quality[r].stderr_nll, sqrt(n.squares[r] / (WINDOWS * (WINDOWS - 1))), 1e-5);
    }
    assert_near(quality[0].stderr_nll_tokens,
                sqrt((n.nll_squares / tokens - pow(n.sum[0] / tokens, 2.0)) / (tokens - 1.0)), 1e-6);
    check_spread(&divergence.kl, n.kl, n.tokens, n.kl_sum / tokens);
    assert_near(divergence.kl.stderr_mean, error_of(n.window_kl, WINDOWS, LENGTH - 1, n.kl_sum / tokens), 1e-5);
    check_spread(&divergence.delta_p, n.delta_p, n.tokens, n.delta_sum / tokens);
    assert_near(divergence.delta_p.rms, sqrt(n.delta_squares / tokens), 1e-5);
    assert_true(divergence.delta_p.min < 0.0 && divergence.delta_p.max > 0.0);
    assert_true(n.agreed > 0 && n.agreed < n.tokens);
    assert_near(divergence.top1_agreement, (double)n.agreed / tokens, 1e-12);
    double share = divergence.top1_agreement;
    assert_near(divergence.top1_stderr, sqrt(share * (1.0 - share) / (tokens - 1.0)), 1e-12);
    assert_near(divergence.perplexity_ratio_stderr,
                exp((n.sum[0] - n.sum[1]) / tokens) * sqrt(n.paired / (WINDOWS * (WINDOWS - 1))), 1e-5);

    must(vise_evaluate(model, NULL, &options, &alone, NULL, NULL, &m.err), &m.err);
    assert_memory_equal(&alone, &quality[0], sizeof alone);
    must(vise_evaluate(model, model, &options, &quality[0], &quality[1], &divergence, &m.err), &m.err);
    assert_true(divergence.kl.mean == 0.0 && divergence.kl.max == 0.0 && divergence.top1_agreement == 1.0);
    assert_true(divergence.delta_p.min == 0.0 && divergence.delta_p.max == 0.0 && divergence.delta_p.rms == 0.0);
    assert_true(divergence.perplexity_ratio_stderr == 0.0);

    /* As many windows in sets of two lengths: the same sums, differently weighted. */
    vise_windows sets[2] = {windows, draw_windows(4, 1)};
    vise_eval_options mixed = options_of(&m, sets, 2);
    must(vise_evaluate(model, NULL, &mixed, &quality[0], NULL, NULL, &m.err), &m.err);
    assert_int_equal(quality[0].tokens, (uint64_t)tokens);
    assert_near(quality[0].nll, alone.nll, 1e-12);
    assert_true(quality[0].bits_per_byte == 0.0);
    mixed.windows = &sets[1];
    mixed.sets = 1;
    assert_int_equal(vise_evaluate(model, NULL, &mixed, &alone, NULL, NULL, &m.err), VISE_EUSAGE);

    free(sets[1].ids);
    vise_model_close(model);
    vise_model_close(reference);
    free(windows.ids);
    stop(&m);
    tiny_llama_drop(&a);
    tiny_llama_drop(&b);
}

/* Predictions at the front of windows that do not count are left out of every figure, whether the head computes them
 * (read anew for every batch, as with the least of memory) or passes over them. */
static void test_uncounted(void **state)
{
    (void)state;
    enum { WINDOWS = 3, LENGTH = 200 };
    static const size_t uncounted[] = {0, 1, 100, LENGTH - 2, LENGTH - 1};
    tiny_llama a = shape, b = shape;
    machine m;
    naive n;
    vise_model *model, *reference;
    vise_windows windows = draw_windows(WINDOWS, LENGTH);
    a.positions = b.positions = LENGTH;
    tiny_llama_make(&a, 3);
    tiny_llama_make(&b, 4);
    for (size_t i = 0; i < sizeof uncounted / sizeof uncounted[0]; i++) {
        windows.uncounted = uncounted[i];
        score_naively(&a, &b, &windows, &n);
        for (int tight = 0; tight < 2; tight++) {
            start(&m, 2, 0);
            must(vise_model_open(a.folder, &model, &m.err), &m.err);
            must(vise_model_open(b.folder, &reference, &m.err), &m.err);
            uint64_t least = vise_eval_bytes(model, reference, LENGTH, 2);
            if (tight) {
                stop(&m);
                start(&m, 2, least);
            }
            vise_eval_options options = options_of(&m, &windows, 1);
            options.stream_ram_bytes = tight ? 0 : UINT64_MAX;
            vise_quality quality[2];
            vise_divergence divergence;
            vise_status status =
                vise_evaluate(model, reference, &options, &quality[0], &quality[1], &divergence, &m.err);
            vise_model_close(model);
            vise_model_close(reference);
            if (uncounted[i] == LENGTH - 1) {
                assert_int_equal(status, VISE_EUSAGE);
            } else {
                double tokens = (double)(WINDOWS * (LENGTH - 1 - uncounted[i]));
                must(status, &m.err);
                assert_int_equal(quality[0].tokens, (uint64_t)tokens);
                assert_near(quality[0].nll, n.sum[0] / tokens, 1e-5);
                assert_near(quality[1].nll, n.sum[1] / tokens, 1e-5);
                assert_near(divergence.kl.mean, n.kl_sum / tokens, 1e-4);
                assert_near(divergence.top1_agreement, (double)n.agreed / tokens, 1e-12);
            }
            stop(&m);
        }
    }
    free(windows.ids);
    tiny_llama_drop(&a);
    tiny_llama_drop(&b);
}

/* The least that the plan names is enough, and gives the same figures. */
static void test_tight_pool(void **state)
{
    (void)state;
    tiny_llama a = shape;
    machine m;
    vise_model *model;
    vise_quality free_of, tight, other;
    vise_divergence divergence;
    vise_windows windows = draw_windows(20, 40);
    tiny_llama_make(&a, 5);
    start(&m, 1, 0);
    must(vise_model_open(a.folder, &model, &m.err), &m.err);
    vise_eval_options options = options_of(&m, &windows, 1);
    must(vise_evaluate(model, NULL, &options, &free_of, NULL, NULL, &m.err), &m.err);
    uint64_t least = vise_eval_bytes(model, model, windows.length, 2);
    stop(&m);
    start(&m, 2, least);
    options = options_of(&m, &windows, 1);
    options.stream_ram_bytes = 0;
    must(vise_evaluate(model, model, &options, &tight, &other, &divergence, &m.err), &m.err);
    assert_near(tight.nll, free_of.nll, 1e-6);
    vise_model_close(model);
    free(windows.ids);
    stop(&m);
    tiny_llama_drop(&a);
}

static void test_refusals(void **state)
{
    (void)state;
    tiny_llama a = shape, b = shape;
    machine m;
    vise_model *model, *reference;
    vise_quality quality[2];
    vise_divergence divergence;
    vise_windows sets[2] = {draw_windows(2, 8), draw_windows(2, 9)};
    b.vocab = 60;
    tiny_llama_make(&a, 6);
    tiny_llama_make(&b, 6);
    start(&m, 1, 0);
    must(vise_model_open(a.folder, &model, &m.err), &m.err);
    must(vise_model_open(b.folder, &reference, &m.err), &m.err);
    vise_eval_options options = options_of(&m, sets, 2);
    assert_int_equal(vise_evaluate(model, reference, &options, &quality[0], &quality[1], &divergence, &m.err),
                     VISE_EUSAGE);
    assert_non_null(strstr(m.err.message, "60"));
    m.err = (vise_error){0};
    const char *path = "/tmp/vise-test-refused.safetensors";
    assert_int_equal(vise_save_logits(model, &options, path, &m.err), VISE_EUSAGE);
    assert_int_equal(access(path, F_OK), -1);
    m.err = (vise_error){0};
    options.sets = 1;
    assert_int_equal(vise_save_logits(model, &options, "/nowhere/at/all.safetensors", &m.err), VISE_EUSAGE);
    free(sets[0].ids);
    free(sets[1].ids);
    vise_model_close(model);
    vise_model_close(reference);
    stop(&m);
    tiny_llama_drop(&a);
    tiny_llama_drop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_uncounted),
        cmocka_unit_test(test_tight_pool),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
