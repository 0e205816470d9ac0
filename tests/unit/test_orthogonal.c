#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/orthogonal.h"
#include "core/rng.h"

/* Paley's orders over primes, by hand: q + 1 with q = 3 (mod 4), 2 (q + 1) with q = 1 (mod 4). */
static void test_paley(void **state)
{
    (void)state;
    static const int64_t orders[] = {4, 8, 12, 20, 24, 28, 32, 36, 44, 48, 60, 68, 72, 76, 80, 84, 104, 108};
    static const int64_t none[] = {2, 6, 10, 14, 16, 22, 40, 52, 56, 92, 100};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        const int64_t n = orders[i];
        double *h = malloc((size_t)(n * n) * sizeof *h);
        assert_true(vise_paley(n, NULL));
        assert_true(vise_paley(n, h));
        for (int64_t a = 0; a < n; a++)
            for (int64_t b = 0; b < n; b++) {
                double dot = 0.0;
                for (int64_t k = 0; k < n; k++)
                    dot += h[a * n + k] * h[b * n + k];
                assert_true(dot == (a == b ? (double)n : 0.0));
                assert_true(fabs(h[a * n + b]) == 1.0);
            }
        free(h);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_false(vise_paley(none[i], NULL));
}

/* R, row by row, from what the header says: diag(signs) (Q x H). */
static double entry(const vise_orthogonal *r, int64_t i, int64_t j)
{
    int ones = 0;
    for (int64_t both = i % r->inner & j % r->inner; both > 0; both &= both - 1)
        ones++;
    const double q = r->dense ? r->dense[i / r->inner * r->outer + j / r->inner] : i / r->inner == j / r->inner;
    return r->signs[i] * q * (ones % 2 ? -1.0 : 1.0);
}

static const struct {
    int64_t n, outer;
    bool hadamard;
} sizes[] = {{1, 1, true},   {2, 1, true},    {64, 1, true},  {12, 12, true},  {24, 12, true},  {56, 28, true},
             {72, 36, true}, {80, 20, true},  {7, 7, false},  {26, 13, false}, {50, 25, false}, {208, 104, true},
             {52, 13, false}, {100, 25, false}, {88, 44, true}};

static void test_matrix(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const int64_t n = sizes[s].n;
        vise_arena *arena;
        vise_orthogonal r;
        assert_int_equal(vise_arena_new(&arena, NULL), VISE_OK);
        assert_int_equal(vise_orthogonal_make(n, 3, "R1", arena, &r, NULL), VISE_OK);
        assert_int_equal(r.outer, sizes[s].outer);
        assert_int_equal(r.outer * r.inner, n);
        assert_int_equal(r.hadamard, sizes[s].hadamard);
        for (int64_t a = 0; a < n; a++)
            for (int64_t b = 0; b < n; b++) {
                double dot = 0.0;
                for (int64_t k = 0; k < n; k++)
                    dot += entry(&r, a, k) * entry(&r, b, k);
                assert_true(fabs(dot - (a == b)) < 1e-12);
                if (r.hadamard)
                    assert_true(fabs(fabs(entry(&r, a, b)) * sqrt((double)n) - 1.0) < 1e-12);
            }
        vise_arena_free(arena);
    }
}

/* Rows and columns against the dense product, runs of n one after the other, beside untouched neighbours. */
static void test_apply(void **state)
{
    (void)state;
    enum { ROWS = 19, TIMES = 3, MARGIN = 2 };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const int64_t n = sizes[s].n, width = n * TIMES, ld = width + MARGIN;
        vise_arena *arena;
        vise_orthogonal r;
        vise_rng rng;
        assert_int_equal(vise_arena_new(&arena, NULL), VISE_OK);
        assert_int_equal(vise_orthogonal_make(n, 5, "x", arena, &r, NULL), VISE_OK);
        void *scratch = malloc(vise_orthogonal_scratch(&r));
        float *x = malloc((size_t)(ROWS * ld) * sizeof *x), *rows = malloc((size_t)(ROWS * ld) * sizeof *x);
        float *turned = malloc((size_t)(width * (ROWS + MARGIN)) * sizeof *x);
        vise_rng_init(&rng, 1, "x");
        for (int64_t i = 0; i < ROWS * ld; i++)
            rows[i] = x[i] = (float)vise_rng_normal(&rng);
        for (int64_t i = 0; i < width * (ROWS + MARGIN); i++)
            turned[i] = i % (ROWS + MARGIN) < ROWS ? x[i % (ROWS + MARGIN) * ld + i / (ROWS + MARGIN)] : 77.0f;
        vise_orthogonal_rows(&r, ROWS, TIMES, rows, ld, scratch);
        vise_orthogonal_columns(&r, TIMES, ROWS, turned, ROWS + MARGIN, scratch);
        for (int64_t i = 0; i < ROWS; i++)
            for (int64_t j = 0; j < ld; j++) {
                double want = j < width ? 0.0 : (double)x[i * ld + j];
                for (int64_t k = 0; j < width && k < n; k++)
                    want += (double)x[i * ld + j / n * n + k] * entry(&r, k, j % n);
                assert_true(fabs(want - (double)rows[i * ld + j]) < 1e-6);
                if (j < width)
                    assert_true(rows[i * ld + j] == turned[j * (ROWS + MARGIN) + i]);
            }
        for (int64_t i = 0; i < width; i++)
            assert_true(turned[i * (ROWS + MARGIN) + ROWS] == 77.0f);
        free(turned);
        free(rows);
        free(x);
        free(scratch);
        vise_arena_free(arena);
    }
}

/* What is drawn depends on seed and name alone; too large an odd part is refused. */
static void test_draws(void **state)
{
    (void)state;
    vise_arena *arena;
    vise_orthogonal a, b, c, d;
    vise_error err;
    assert_int_equal(vise_arena_new(&arena, NULL), VISE_OK);
    assert_int_equal(vise_orthogonal_make(96, 1, "R1", arena, &a, NULL), VISE_OK);
    assert_int_equal(vise_orthogonal_make(96, 1, "R1", arena, &b, NULL), VISE_OK);
    assert_int_equal(vise_orthogonal_make(96, 2, "R1", arena, &c, NULL), VISE_OK);
    assert_int_equal(vise_orthogonal_make(96, 1, "R2.0", arena, &d, NULL), VISE_OK);
    assert_memory_equal(a.signs, b.signs, 96 * sizeof *a.signs);
    assert_memory_not_equal(a.signs, c.signs, 96 * sizeof *a.signs);
    assert_memory_not_equal(a.signs, d.signs, 96 * sizeof *a.signs);
    assert_int_equal(vise_orthogonal_make(2 * 2053, 1, "R1", arena, &a, &err), VISE_EUNSUPPORTED);
    assert_int_equal(vise_orthogonal_make(0, 1, "R1", arena, &a, &err), VISE_EUNSUPPORTED);
    vise_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paley),
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_draws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
