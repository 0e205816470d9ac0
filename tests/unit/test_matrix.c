#include "tests/unit/compute_help.h"

static const int64_t shapes[][3] = {
    {1, 1, 1},      {3, 17, 5},    {1, 513, 64},   {105, 352, 128},
    {256, 300, 33}, {17, 1030, 7}, {520, 513, 40}, {4, 4, 0},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

/* c = a x b^T or a x b, plus beta c, in double. */
static double *expected_product(bool nt, int64_t m, int64_t n, int64_t k, const float *a, const float *b,
                                float beta, const float *c)
{
    double *out = malloc((size_t)(m * n) * sizeof *out);
    assert_non_null(out);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = beta > 0.0f ? (double)c[i * n + j] : 0.0;
            for (int64_t p = 0; p < k; p++)
                sum += (double)a[i * k + p] * (double)(nt ? b[j * k + p] : b[p * n + j]);
            out[i * n + j] = sum;
        }
    return out;
}

static void test_products_at_every_level(void **state)
{
    (void)state;
    vise_error err = {0};
    for (int s = 0; s < SHAPES * 4; s++) {
        int64_t m = shapes[s / 4][0];
        int64_t n = shapes[s / 4][1];
        int64_t k = shapes[s / 4][2];
        bool nt = s & 1;
        float beta = s & 2 ? 1.0f : 0.0f;
        float *a = random_floats(m * k, 1);
        float *b = random_floats(n * k, 2);
        float *c = random_floats(m * n, 3);
        double *expected = expected_product(nt, m, n, k, a, b, beta, c);
        for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
            float *first = NULL;
            for (int threads = 0; threads <= 3; threads++) {
                test_backend t = open_backend((vise_cpu_level)level, threads);
                float *out = copy_floats(c, m * n);
                if (nt)
                    must(t.b->matrix->gemm_nt(t.b, m, n, k, a, k, b, k, beta, out, n, &err), &err);
                else
                    must(t.b->matrix->gemm_nn(t.b, m, n, k, a, k, b, n, beta, out, n, &err), &err);
                assert_close(out, expected, m * n, 1e-6 * (double)(k + 4), nt ? "gemm_nt" : "gemm_nn", m, n,
                             k);
                if (first == NULL)
                    first = copy_floats(out, m * n);
                assert_same_bits(first, out, (size_t)(m * n) * sizeof *out, "threads");
                free(out);
                close_backend(&t);
            }
            free(first);
        }
        free(a);
        free(b);
        free(c);
        free(expected);
    }
}

static void test_gram(void **state)
{
    (void)state;
    static const int64_t cases[][2] = {{1, 1},   {5, 3},     {700, 17}, {300, 105},
                                       {1, 352}, {257, 513}, {40, 1100}};
    vise_error err = {0};
    for (size_t s = 0; s < sizeof cases / sizeof cases[0]; s++) {
        int64_t rows = cases[s][0];
        int64_t d = cases[s][1];
        float *x = random_floats(rows * (d + 3), 4);
        double *expected = malloc((size_t)(d * d) * sizeof *expected);
        assert_non_null(expected);
        for (int64_t e = 0; e < d * d; e++) {
            expected[e] = 1.0;
            for (int64_t r = 0; r < rows && e % d >= e / d; r++)
                expected[e] += (double)x[r * (d + 3) + e / d] * (double)x[r * (d + 3) + e % d];
        }
        for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
            float *first = NULL;
            for (int threads = 0; threads <= 3; threads++) {
                test_backend t = open_backend((vise_cpu_level)level, threads);
                float *g = malloc((size_t)(d * d) * sizeof *g);
                assert_non_null(g);
                for (int64_t e = 0; e < d * d; e++)
                    g[e] = 1.0f;
                must(t.b->matrix->gram(t.b, rows, d, x, d + 3, g, &err), &err);
                assert_close(g, expected, d * d, 1e-6 * (double)(rows + 4), "gram", rows, d, threads);
                if (first == NULL)
                    first = copy_floats(g, d * d);
                assert_same_bits(first, g, (size_t)(d * d) * sizeof *g, "threads");
                /* In pieces of whole runs: the same bits. */
                for (int64_t e = 0; e < d * d; e++)
                    g[e] = 1.0f;
                for (int64_t r = 0; r < rows; r += VISE_GRAM_RUN)
                    must(t.b->matrix->gram(t.b, rows - r < VISE_GRAM_RUN ? rows - r : VISE_GRAM_RUN, d,
                                           x + r * (d + 3), d + 3, g, &err),
                         &err);
                assert_same_bits(first, g, (size_t)(d * d) * sizeof *g, "pieces");
                free(g);
                close_backend(&t);
            }
            free(first);
        }
        free(x);
        free(expected);
    }
}

static void test_cross(void **state)
{
    (void)state;
    static const int64_t cases[][3] = {{1, 1, 1}, {5, 3, 7}, {700, 17, 5}, {300, 105, 352}, {257, 20, 1100}};
    vise_error err = {0};
    for (size_t s = 0; s < sizeof cases / sizeof cases[0]; s++) {
        const int64_t rows = cases[s][0], m = cases[s][1], n = cases[s][2];
        float *x = random_floats(rows * (m + 3), 4), *y = random_floats(rows * (n + 1), 5);
        double *expected = malloc((size_t)(m * n) * sizeof *expected);
        assert_non_null(expected);
        for (int64_t e = 0; e < m * n; e++) {
            expected[e] = 1.0;
            for (int64_t r = 0; r < rows; r++)
                expected[e] += (double)x[r * (m + 3) + e / n] * (double)y[r * (n + 1) + e % n];
        }
        for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
            float *first = NULL;
            for (int threads = 0; threads <= 3; threads++) {
                test_backend t = open_backend((vise_cpu_level)level, threads);
                float *g = malloc((size_t)(m * n) * sizeof *g);
                assert_non_null(g);
                for (int64_t e = 0; e < m * n; e++)
                    g[e] = 1.0f;
                must(t.b->matrix->cross(t.b, rows, m, n, x, m + 3, y, n + 1, g, n, &err), &err);
                assert_close(g, expected, m * n, 1e-6 * (double)(rows + 4), "cross", rows, m, threads);
                if (first == NULL)
                    first = copy_floats(g, m * n);
                assert_same_bits(first, g, (size_t)(m * n) * sizeof *g, "threads");
                free(g);
                close_backend(&t);
            }
            free(first);
        }
        free(x);
        free(y);
        free(expected);
    }
}

/* Inside a task of the same workers: the same bits. */
typedef struct nested {
    vise_backend *b;
    const float *a;
    float *out; /* two results */
} nested;

static vise_status nested_task(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    nested *job = context;
    return job->b->matrix->gemm_nt(job->b, 300, 600, 90, job->a, 90, job->a, 90, 0.0f,
                                   job->out + index * 180000, 600, err);
}

static void test_nested(void **state)
{
    (void)state;
    vise_error err = {0};
    float *a = random_floats(600 * 90, 5);
    float *out = random_floats(3 * 180000, 6);
    test_backend t = open_backend(vise_cpu_highest(), 2);
    nested job = {t.b, a, out};
    must(vise_parallel(t.workers, 2, nested_task, &job, &err), &err);
    must(nested_task(&job, 2, 0, &err), &err);
    assert_same_bits(out, out + 180000, 180000 * sizeof *out, "two tasks");
    assert_same_bits(out, out + 360000, 180000 * sizeof *out, "nested and not");
    close_backend(&t);
    free(a);
    free(out);
}

static void test_nothing_to_do(void **state)
{
    (void)state;
    vise_error err = {0};
    float c = 7.0f;
    test_backend t = open_backend(vise_cpu_highest(), 1);
    must(t.b->matrix->gemm_nt(t.b, 0, 5, 5, NULL, 5, NULL, 5, 0.0f, &c, 5, &err), &err);
    must(t.b->matrix->gemm_nn(t.b, 5, 0, 5, NULL, 5, NULL, 5, 0.0f, &c, 5, &err), &err);
    must(t.b->matrix->gram(t.b, 0, 1, NULL, 1, &c, &err), &err);
    must(t.b->matrix->gram(t.b, 1, 0, NULL, 1, &c, &err), &err);
    must(t.b->matrix->cross(t.b, 0, 1, 1, NULL, 1, NULL, 1, &c, 1, &err), &err);
    assert_true(c == 7.0f);
    close_backend(&t);
}

static void test_devices(void **state)
{
    (void)state;
    static const struct {
        const char *device;
        vise_status status;
    } cases[] = {
        {"auto", VISE_OK},           {"cpu", VISE_OK},
        {"cuda", VISE_EUNSUPPORTED}, {"cuda:3", VISE_EUNSUPPORTED},
        {"cuda:", VISE_EUSAGE},      {"cuda:x", VISE_EUSAGE},
        {"gpu", VISE_EUSAGE},        {"", VISE_EUSAGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_error err = {0};
        vise_backend *b;
        assert_int_equal(vise_backend_open(cases[i].device, NULL, &b, &err), cases[i].status);
        assert_int_equal(err.status, cases[i].status);
        if (cases[i].status == VISE_OK) {
            assert_int_equal(b->abi, VISE_BACKEND_ABI);
            assert_string_equal(b->name, "cpu");
            assert_non_null(strstr(b->detail, vise_cpu_level_name(vise_cpu())));
        } else {
            assert_null(b);
        }
        vise_backend_close(b);
    }
    assert_true(vise_measure_fma_peak() > 1e8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_at_every_level),
        cmocka_unit_test(test_gram),
        cmocka_unit_test(test_cross),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_devices),
    };
    return cmocka_run_group_tests_name("matrix", tests, NULL, NULL);
}
