/* The knapsack of a budget, against trying everything. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "pipeline/allocate.h"

enum { ITEMS = 5, N = 4, ALL = 1024 /* N^ITEMS */, TRIES = 300 };

static double total(const vise_choice *options, const size_t *chosen, uint64_t *bytes)
{
    double loss = 0.0;
    *bytes = 0;
    for (size_t k = 0; k < ITEMS; k++) {
        loss += options[k * N + chosen[k]].loss;
        *bytes += options[k * N + chosen[k]].bytes;
    }
    return loss;
}

/* The least loss within the budget; NaN: nothing fits. */
static double best_of_all(const vise_choice *options, uint64_t budget)
{
    double best = NAN;
    for (size_t code = 0; code < ALL; code++) {
        size_t chosen[ITEMS];
        uint64_t bytes;
        for (size_t k = 0, rest = code; k < ITEMS; k++, rest /= N)
            chosen[k] = rest % N;
        const double loss = total(options, chosen, &bytes);
        if (bytes <= budget && !isnan(loss) && !(loss >= best))
            best = loss;
    }
    return best;
}

static void make(vise_choice *options, uint64_t seed)
{
    vise_rng rng;
    vise_rng_init(&rng, seed, "options");
    for (size_t k = 0; k < ITEMS; k++)
        for (size_t i = 0; i < N; i++) {
            const double noise = fabs(vise_rng_normal(&rng));
            options[k * N + i] = (vise_choice){100 * (i + 1) + (uint64_t)(40.0 * noise),
                                               exp(-1.3 * (double)i) * (1.0 + noise) * (double)(k + 1)};
        }
    if (seed % 3 == 0)
        options[2 * N + 1].loss = NAN;
}

static void test_near_the_best(void **state)
{
    (void)state;
    vise_error err = {0};
    double excess = 0.0;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        vise_choice options[ITEMS * N];
        size_t chosen[ITEMS];
        uint64_t least, bytes, budget = 500 + seed * 7 % 1800;
        bool fits;
        double steepest = 0.0;
        make(options, seed);
        assert_int_equal(vise_allocate(options, ITEMS, N, budget, chosen, &least, &fits, &err), VISE_OK);
        const double best = best_of_all(options, budget), loss = total(options, chosen, &bytes);
        assert_int_equal(fits, !isnan(best));
        assert_int_equal(fits, least <= budget);
        if (!fits) {
            assert_int_equal(bytes, least);
            continue;
        }
        assert_true(bytes <= budget);
        for (size_t k = 0; k < ITEMS; k++)
            for (size_t i = 0; i < N; i++)
                for (size_t j = 0; j < N; j++)
                    steepest = fmax(steepest, options[k * N + i].loss - options[k * N + j].loss);
        assert_true(loss >= best - 1e-12 && loss <= best + steepest);
        excess += loss / best - 1.0;
    }
    assert_true(excess / TRIES < 0.05); /* on average hardly anything is lost */
}

/* At the corners of the hull of the whole nothing is lost. */
static void test_best_at_the_corners(void **state)
{
    (void)state;
    vise_error err = {0};
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        vise_choice options[ITEMS * N];
        make(options, seed);
        for (double price = 0.0005; price < 0.1; price *= 3.0) { /* loss per byte: Lagrange's multiplier */
            size_t corner[ITEMS], chosen[ITEMS];
            uint64_t budget, bytes, least;
            bool fits;
            for (size_t k = 0; k < ITEMS; k++) {
                double best = INFINITY;
                for (size_t i = 0; i < N; i++) {
                    const vise_choice *o = &options[k * N + i];
                    if (o->loss + price * (double)o->bytes < best) {
                        best = o->loss + price * (double)o->bytes;
                        corner[k] = i;
                    }
                }
            }
            const double loss = total(options, corner, &budget);
            assert_int_equal(vise_allocate(options, ITEMS, N, budget, chosen, &least, &fits, &err), VISE_OK);
            assert_true(fits && fabs(total(options, chosen, &bytes) - loss) < 1e-12);
        }
    }
}

/* Where one option for all fits to the byte, the result is no worse. */
static void test_no_worse_than_even(void **state)
{
    (void)state;
    vise_error err = {0};
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        vise_choice options[ITEMS * N];
        make(options, seed);
        for (size_t i = 0; i < N; i++) {
            size_t even[ITEMS], chosen[ITEMS];
            uint64_t budget, bytes, least;
            bool fits;
            for (size_t k = 0; k < ITEMS; k++)
                even[k] = i;
            const double loss = total(options, even, &budget);
            assert_int_equal(vise_allocate(options, ITEMS, N, budget, chosen, &least, &fits, &err), VISE_OK);
            if (fits && !isnan(loss))
                assert_true(total(options, chosen, &bytes) <= loss && bytes <= budget);
        }
    }
    /* One item alone can be bettered at the hull's price, but both together only evenly. */
    const vise_choice pair[6] = {{10, 9.0}, {14, 8.0}, {20, 0.0}, {10, 9.0}, {14, 1.0}, {28, 0.0}};
    size_t chosen[2];
    uint64_t least;
    bool fits;
    assert_int_equal(vise_allocate(pair, 2, 3, 28, chosen, &least, &fits, &err), VISE_OK);
    assert_true(fits && pair[chosen[0]].loss + pair[3 + chosen[1]].loss <= 9.0);
}

static void test_no_option(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_choice options[2] = {{1, NAN}, {2, NAN}};
    size_t chosen[1];
    uint64_t least;
    bool fits;
    assert_int_equal(vise_allocate(options, 1, 2, 100, chosen, &least, &fits, &err), VISE_EUSAGE);
    assert_int_equal(vise_allocate(options, 0, 2, 0, chosen, &least, &fits, &err), VISE_OK);
    assert_true(fits && least == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_near_the_best),
        cmocka_unit_test(test_best_at_the_corners),
        cmocka_unit_test(test_no_worse_than_even),
        cmocka_unit_test(test_no_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
