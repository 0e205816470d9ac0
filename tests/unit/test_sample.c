/* The choice of the next token against a sort of all of them, for combinations of what may be kept. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/sample.h"

enum { VOCAB = 40, DRAWS = 40000 };

static const vise_sample_options plain = {
    .temperature = 1.0, .top_p = 1.0, .repetition_penalty = 1.0, .seed = 3};

static void must(vise_status status, const vise_error *err)
{
    if (status != VISE_OK)
        fail_msg("%s", err->message);
}

static void some_logits(float *logits)
{
    vise_rng rng;
    vise_rng_init(&rng, 1, "logits");
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)(2.0 * vise_rng_normal(&rng));
    logits[17] = logits[5]; /* a tie */
}

static double share[VOCAB];

static int by_share(const void *a, const void *b)
{
    const int x = *(const int *)a, y = *(const int *)b;
    return share[x] > share[y] ? -1 : share[x] < share[y] ? 1 : x - y;
}

/* Probabilities as transformers' warpers leave them, one after the other. */
static void expect(const float *logits, const vise_sample_options *o, double *p)
{
    int order[VOCAB];
    double sum = 0.0, mass = 0.0;
    int keep = o->top_k > 0 && o->top_k < VOCAB ? (int)o->top_k : VOCAB, kept = 0;
    for (int i = 0; i < VOCAB; i++) {
        order[i] = i;
        share[i] = exp((double)logits[i] / o->temperature);
    }
    qsort(order, VOCAB, sizeof *order, by_share);
    for (int i = 0; i < keep; i++)
        sum += share[order[i]];
    while (kept < keep &&
           (kept == 0 || mass < o->top_p * sum || o->top_p >= 1.0)) /* those before lack the mass */
        mass += share[order[kept++]];
    while (kept > 1 && share[order[kept - 1]] < o->min_p * share[order[0]])
        mass -= share[order[--kept]];
    for (int i = 0; i < VOCAB; i++)
        p[order[i]] = i < kept ? share[order[i]] / mass : 0.0;
}

static void test_distributions(void **state)
{
    (void)state;
    static const struct {
        double temperature, top_p, min_p;
        int64_t top_k;
    } cases[] = {
        {1.0, 1.0, 0.0, 0}, {0.5, 1.0, 0.0, 0},  {1.7, 1.0, 0.0, 5},  {1.0, 0.6, 0.0, 0},
        {1.0, 0.9, 0.0, 6}, {1.0, 1.0, 0.1, 0},  {2.0, 0.95, 0.2, 0}, {1.0, 0.7, 0.1, 12},
        {1.0, 1.0, 0.0, 1}, {1.0, 1e-6, 0.0, 0}, {1.0, 1.0, 1.0, 0},  {1.0, 1.0, 0.0, VOCAB + 5},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        vise_sample_options options = plain;
        vise_sampler sampler;
        vise_error err = {0};
        float logits[VOCAB], copy[VOCAB];
        double p[VOCAB];
        int count[VOCAB] = {0};
        options.temperature = cases[c].temperature;
        options.top_p = cases[c].top_p;
        options.min_p = cases[c].min_p;
        options.top_k = cases[c].top_k;
        some_logits(logits);
        expect(logits, &options, p);
        must(vise_sampler_init(&sampler, &options, VOCAB, &err), &err);
        for (int i = 0; i < DRAWS; i++) {
            int32_t id;
            memcpy(copy, logits, sizeof copy);
            must(vise_sample(&sampler, copy, &id, &err), &err);
            count[id]++;
        }
        vise_sampler_deinit(&sampler);
        for (int i = 0; i < VOCAB; i++) {
            double sigma = sqrt(DRAWS * p[i] * (1.0 - p[i]));
            if (p[i] == 0.0 ? count[i] > 0 : fabs(count[i] - DRAWS * p[i]) > 5.0 * sigma + 1.0)
                fail_msg("case %zu: token %d was drawn %d times, expected %g", c, i, count[i], DRAWS * p[i]);
        }
    }
}

static int32_t one(const vise_sample_options *options, const int32_t *seen, size_t n, const float *logits)
{
    vise_sampler sampler;
    vise_error err = {0};
    float copy[VOCAB];
    int32_t id;
    must(vise_sampler_init(&sampler, options, VOCAB, &err), &err);
    vise_sampler_see(&sampler, seen, n);
    memcpy(copy, logits, sizeof copy);
    must(vise_sample(&sampler, copy, &id, &err), &err);
    vise_sampler_deinit(&sampler);
    return id;
}

static void test_greedy(void **state)
{
    (void)state;
    vise_sample_options options = plain;
    float logits[VOCAB] = {0};
    options.temperature = 0.0;
    assert_int_equal(one(&options, NULL, 0, logits), 0); /* the lowest of equals */
    logits[9] = logits[30] = 2.0f;
    assert_int_equal(one(&options, NULL, 0, logits), 9);
    /* A penalty halves 2 to 1, and doubles -1 to -2. */
    const int32_t seen[] = {9, -1, VOCAB, 30};
    logits[4] = 1.5f;
    options.repetition_penalty = 2.0;
    assert_int_equal(one(&options, seen, 4, logits), 4);
    assert_int_equal(one(&options, seen, 1, logits), 30);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -1.0f;
    const int32_t low[] = {0, 1, 2};
    assert_int_equal(one(&options, low, 3, logits), 3);
}

/* What was chosen is penalized from then on. */
static void test_penalty_remembers(void **state)
{
    (void)state;
    vise_sample_options options = plain;
    vise_sampler sampler;
    vise_error err = {0};
    options.temperature = 0.0;
    options.repetition_penalty = 1.5;
    must(vise_sampler_init(&sampler, &options, VOCAB, &err), &err);
    for (int32_t i = 0; i < 3; i++) {
        float logits[VOCAB] = {0};
        int32_t id;
        logits[20] = 3.0f, logits[21] = 2.9f, logits[22] = 2.8f;
        must(vise_sample(&sampler, logits, &id, &err), &err);
        assert_int_equal(id, 20 + i);
    }
    vise_sampler_deinit(&sampler);
}

static void test_seeds(void **state)
{
    (void)state;
    vise_sample_options options = plain;
    float logits[VOCAB] = {0};
    int same = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        options.seed = seed;
        assert_int_equal(one(&options, NULL, 0, logits), one(&options, NULL, 0, logits));
        int32_t a = one(&options, NULL, 0, logits);
        options.seed = seed + 1000;
        same += a == one(&options, NULL, 0, logits);
    }
    assert_true(same < 20);
}

static void test_nonfinite(void **state)
{
    (void)state;
    vise_sampler sampler;
    vise_error err = {0};
    float logits[VOCAB] = {0};
    int32_t id;
    must(vise_sampler_init(&sampler, &plain, VOCAB, &err), &err);
    logits[7] = NAN;
    assert_int_equal(vise_sample(&sampler, logits, &id, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "token 7"));
    vise_sampler_deinit(&sampler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distributions),     cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_penalty_remembers), cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_nonfinite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
