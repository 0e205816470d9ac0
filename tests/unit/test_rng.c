#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/rng.h"

/* The generator alone, against the authors' code: state {1, 2, 3, 4}. */
static void test_xoshiro_vector(void **state)
{
    (void)state;
    static const uint64_t expected[] = {11520, 0, 1509978240, UINT64_C(1215971899390074240)};
    vise_rng rng = {.state = {1, 2, 3, 4}};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(vise_rng_next(&rng), expected[i]);
}

/* Seeding, against a second implementation of what the header says. What a seed means must never change. */
static void test_seeding(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed;
        const char *name;
        uint64_t expected[3];
    } rows[] = {
        {0, "", {0x1e28178eedbf0f30, 0x32dadb1a9e4a4d08, 0x4ef49088479a6d5c}},
        {0, "a", {0x894aa84dbb8537b6, 0xaf412583c5f92589, 0x58b7f6c148a0c551}},
        {1, "a", {0x80ff0c14f91a9c55, 0x94af0db7e7861065, 0xbcf78da0aafc677a}},
        {42, "model.layers.0.self_attn.q_proj.weight", {0x617b412d4d524ce, 0x7b0cdcfcd40e0fcc, 0x63a7eec8e14b4593}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_rng rng;
        vise_rng_init(&rng, rows[i].seed, rows[i].name);
        for (size_t j = 0; j < 3; j++)
            assert_int_equal(vise_rng_next(&rng), rows[i].expected[j]);
    }
}

static void test_below(void **state)
{
    (void)state;
    vise_rng rng;
    vise_rng_init(&rng, 3, "below");
    for (int i = 0; i < 100; i++)
        assert_int_equal(vise_rng_below(&rng, 1), 0);
    enum { BOUND = 10, DRAWS = 100000 };
    int counts[BOUND] = {0};
    for (int i = 0; i < DRAWS; i++) {
        uint64_t x = vise_rng_below(&rng, BOUND);
        assert_true(x < BOUND);
        counts[x]++;
    }
    /* Nine degrees of freedom: chi squared beyond 33.7 has a chance of one in ten thousand; the seed is fixed. */
    double chi = 0;
    for (int i = 0; i < BOUND; i++)
        chi += pow(counts[i] - DRAWS / (double)BOUND, 2) / (DRAWS / (double)BOUND);
    assert_true(chi < 33.7);

    /* With 3 * 2^62 a quarter of all words would be folded onto the low values by a plain remainder. */
    uint64_t bound = UINT64_C(3) << 62;
    int low = 0;
    for (int i = 0; i < DRAWS; i++) {
        uint64_t x = vise_rng_below(&rng, bound);
        assert_true(x < bound);
        low += x < bound / 3;
    }
    assert_true(abs(low - DRAWS / 3) < 5 * 150);
}

static void test_uniform(void **state)
{
    (void)state;
    vise_rng rng;
    vise_rng_init(&rng, 4, "uniform");
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        double x = vise_rng_uniform(&rng);
        assert_true(x >= 0 && x < 1);
        sum += x;
    }
    assert_true(fabs(sum / 100000 - 0.5) < 0.005);
}

static void test_normal(void **state)
{
    (void)state;
    static const double expected[] = {1.532555659146318, 1.5190788724400988, -0.5333934070276141, -0.505033017501992,
                                      1.058863746225453};
    vise_rng rng;
    vise_rng_init(&rng, 7, "normal");
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_true(fabs(vise_rng_normal(&rng) - expected[i]) <= 4e-16 * fabs(expected[i]));

    enum { N = 200000 };
    double moment[5] = {0};
    for (int i = 0; i < N; i++) {
        double x = vise_rng_normal(&rng), power = 1;
        for (int k = 1; k <= 4; k++)
            moment[k] += (power *= x) / N;
    }
    assert_true(fabs(moment[1]) < 0.01);
    assert_true(fabs(moment[2] - 1) < 0.015);
    assert_true(fabs(moment[3]) < 0.03);
    assert_true(fabs(moment[4] - 3) < 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xoshiro_vector), cmocka_unit_test(test_seeding), cmocka_unit_test(test_below),
        cmocka_unit_test(test_uniform),        cmocka_unit_test(test_normal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
