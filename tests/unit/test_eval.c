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
    double kl[1024];
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
        nll[0][w] = nll[1][w] = 0.0;
        for (int64_t t = 0; t + 1 < length; t++) {
            const double *x[2] = {result[0].logits + t * a->vocab, result[1].logits + t * a->vocab};
            double lse[2], kl = 0.0;
            for (int r = 0; r < 2; r++) {
                lse[r] = log_sum_exp(x[r], a->vocab);
                nll[r][w] += lse[r] - x[r][ids[t + 1]];
            }
            for (int64_t i = 0; i < a->vocab; i++)
                kl += exp(x[1][i] - lse[1]) * (x[1][i] - lse[1] - x[0][i] + lse[0]);
            n->kl[n->tokens++] = kl;
            n->kl_sum += kl;
            n->agreed += best(x[0], a->vocab) == best(x[1], a->vocab);
        }
        for (int r = 0; r < 2; r++) {
            n->sum[r] += nll[r][w];
            tiny_result_free(&result[r]);
        }
    }
    double count = (double)windows->count, per = (double)(length - 1);
    for (size_t w = 0; w < windows->count; w++) {
        for (int r = 0; r < 2; r++)
            n->squares[r] += pow(nll[r][w] / per - n->sum[r] / (count * per), 2.0);
        n->paired += pow((nll[0][w] - nll[1][w]) / per - (n->sum[0] - n->sum[1]) / (count * per), 2.0);
    }
    qsort(n->kl, n->tokens, sizeof *n->kl, ascending);
}

static void assert_near(double actual, double expected, double tolerance)
{
    if (!(fabs(actual - expected) <= tolerance))
        fail_msg("%.12g is not %.12g", actual, expected);
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
    assert_near(divergence.mean, n.kl_sum / tokens, 1e-5);
    assert_near(divergence.p50, n.kl[(size_t)ceil(0.50 * tokens) - 1], 1e-4);
    assert_near(divergence.p90, n.kl[(size_t)ceil(0.90 * tokens) - 1], 1e-4);
    assert_near(divergence.p99, n.kl[(size_t)ceil(0.99 * tokens) - 1], 1e-4);
    assert_near(divergence.max, n.kl[n.tokens - 1], 1e-4);
    assert_true(n.agreed > 0 && n.agreed < n.tokens);
    assert_near(divergence.top1_agreement, (double)n.agreed / tokens, 1e-12);
    assert_near(divergence.perplexity_ratio_stderr,
                exp((n.sum[0] - n.sum[1]) / tokens) * sqrt(n.paired / (WINDOWS * (WINDOWS - 1))), 1e-5);

    must(vise_evaluate(model, NULL, &options, &alone, NULL, NULL, &m.err), &m.err);
    assert_memory_equal(&alone, &quality[0], sizeof alone);
    must(vise_evaluate(model, model, &options, &quality[0], &quality[1], &divergence, &m.err), &m.err);
    assert_true(divergence.mean == 0.0 && divergence.max == 0.0 && divergence.top1_agreement == 1.0);
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
        cmocka_unit_test(test_tight_pool),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
