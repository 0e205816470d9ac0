#include "tests/unit/compute_help.h"

/* A symmetric positive definite matrix: x^T x / rows of correlated rows with a few loud channels, plus a
 * damped diagonal. */
static float *make_spd(int64_t d, double damp, bool outliers)
{
    int64_t rows = 2 * d + 8;
    float *x = random_floats(rows * d, 11);
    float *h = malloc((size_t)(d * d + 1) * sizeof *h);
    assert_non_null(h);
    double trace = 0.0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < d; i++) {
            if (i > 0)
                x[r * d + i] += 0.7f * x[r * d + i - 1];
            if (outliers && i % 50 == 7)
                x[r * d + i] = x[r * d + i] * 30.0f + 100.0f;
        }
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) {
            double sum = 0.0;
            for (int64_t r = 0; r < rows; r++)
                sum += (double)x[r * d + i] * (double)x[r * d + j];
            h[i * d + j] = (float)(sum / (double)rows);
            if (i == j)
                trace += sum / (double)rows;
        }
    for (int64_t i = 0; i < d; i++)
        h[i * d + i] += (float)(damp * trace / (double)d);
    free(x);
    return h;
}

/* u with h^-1 = u^T u by the textbook, in double. */
static double *expected_factor(const float *h, int64_t d)
{
    double *r = calloc((size_t)(d * d + 1), sizeof *r);
    double *u = calloc((size_t)(d * d + 1), sizeof *u);
    assert_non_null(r);
    assert_non_null(u);
    for (int64_t k = d - 1; k >= 0; k--)
        for (int64_t i = k; i >= 0; i--) {
            double sum = (double)h[i * d + k];
            for (int64_t l = k + 1; l < d; l++)
                sum -= r[i * d + l] * r[k * d + l];
            r[i * d + k] = i == k ? sqrt(sum) : sum / r[k * d + k];
        }
    for (int64_t j = 0; j < d; j++)
        for (int64_t i = j; i >= 0; i--) {
            double sum = i == j ? 1.0 : 0.0;
            for (int64_t l = i + 1; l <= j; l++)
                sum -= r[i * d + l] * u[l * d + j];
            u[i * d + j] = sum / r[i * d + i];
        }
    free(r);
    return u;
}

static double largest(const double *x, int64_t n)
{
    double max = 0.0;
    for (int64_t i = 0; i < n; i++)
        max = fmax(max, fabs(x[i]));
    return max;
}

static void check_factor(int64_t d, double damp, bool outliers, double tolerance)
{
    vise_error err = {0};
    float *h = make_spd(d, damp, outliers);
    double *expected = expected_factor(h, d);
    double bound = tolerance * largest(expected, d * d);
    for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
        float *first = NULL;
        for (int threads = 0; threads <= 3; threads++) {
            test_backend t = open_backend((vise_cpu_level)level, threads);
            float *u = copy_floats(h, d * d);
            for (int64_t i = 0; i < d; i++) /* the lower triangle must not be read */
                for (int64_t j = 0; j < i; j++)
                    u[i * d + j] = NAN;
            bool failed = true;
            must(t.b->factor->inverse_factor(t.b, d, u, &failed, &err), &err);
            assert_false(failed);
            assert_close(u, expected, d * d, bound, "inverse factor", d, threads, outliers);
            if (first == NULL)
                first = copy_floats(u, d * d);
            assert_same_bits(first, u, (size_t)(d * d) * sizeof *u, "threads");
            free(u);
            close_backend(&t);
        }
        free(first);
    }
    free(h);
    free(expected);
}

static void test_inverse_factor(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 2, 3, 17, 63, 64, 65, 105, 128, 129, 352, 513};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        check_factor(sizes[i], 0.01, false, 2e-6);
}

/* Loud channels, as the activations of language models have them: conditions of 1e5 and 1e7. LAPACK's
 * spotrf and strtri are wrong by 5e-4 and 1.4e-2 of the largest element here. */
static void test_ill_conditioned(void **state)
{
    (void)state;
    check_factor(352, 0.01, true, 5e-4);
    check_factor(352, 1e-4, true, 1.5e-2);
}

static void test_not_positive_definite(void **state)
{
    (void)state;
    static const struct {
        int64_t d, at;
        float value;
    } cases[] = {{1, 0, 0.0f},     {1, 0, NAN},   {3, 1, -1.0f},   {64, 0, -2.0f},      {200, 199, 0.0f},
                 {200, 70, -1.0f}, {200, 3, NAN}, {352, 0, -1e9f}, {352, 130, INFINITY}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
            vise_error err = {0};
            int64_t d = cases[i].d;
            float *h = make_spd(d, 0.01, false);
            h[cases[i].at * d + cases[i].at] = cases[i].value;
            test_backend t = open_backend((vise_cpu_level)level, 2);
            bool failed = false;
            must(t.b->factor->inverse_factor(t.b, d, h, &failed, &err), &err);
            assert_true(failed);
            close_backend(&t);
            free(h);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inverse_factor),
        cmocka_unit_test(test_ill_conditioned),
        cmocka_unit_test(test_not_positive_definite),
    };
    return cmocka_run_group_tests_name("factor", tests, NULL, NULL);
}
