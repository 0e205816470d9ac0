#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/blas.h"
#include "core/event.h"
#include "tests/unit/compute_help.h"

static int warnings;

static void count_warnings(void *context, const vise_event *event)
{
    (void)context;
    warnings += event->kind == VISE_EVENT_WARNING;
}

static void skip_on_plain_processors(void)
{
    if (vise_cpu_highest() == VISE_CPU_REF) {
        print_message("SKIP: this processor has no AVX2, every kernel fits it\n");
        skip();
    }
}

/* In a child, where the library is not loaded yet: a core type that the user set is kept, and told to be
 * slow. */
static void test_user_core_is_kept_and_warned_about(void **state)
{
    (void)state;
    skip_on_plain_processors();
    pid_t child = fork();
    if (child == 0) {
        const vise_blas *blas;
        vise_error err = {0};
        setenv("OPENBLAS_CORETYPE", "Prescott", 1);
        vise_listen(count_warnings, NULL);
        if (vise_blas_get(vise_cpu_highest(), &blas, &err) != VISE_OK)
            _exit(10);
        if (strstr(vise_blas_text(), "Prescott") == NULL)
            _exit(11);
        if (strcmp(getenv("OPENBLAS_CORETYPE"), "Prescott") != 0)
            _exit(12);
        _exit(warnings == 1 ? 0 : 13);
    }
    int result = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
}

/* Left alone, the kernels fit the processor; the environment is as before. */
static void test_core_fits_the_processor(void **state)
{
    (void)state;
    const vise_blas *blas;
    vise_error err = {0};
    skip_on_plain_processors();
    assert_string_equal(vise_blas_text(), "none");
    unsetenv("OPENBLAS_CORETYPE");
    setenv("OPENBLAS_NUM_THREADS", "7", 1);
    warnings = 0;
    vise_listen(count_warnings, NULL);
    must(vise_blas_get(vise_cpu_highest(), &blas, &err), &err);
    vise_listen(NULL, NULL);
    assert_int_equal(warnings, 0);
    assert_null(getenv("OPENBLAS_CORETYPE"));
    assert_string_equal(getenv("OPENBLAS_NUM_THREADS"), "7");
    assert_non_null(strstr(vise_blas_text(), "OpenBLAS"));
    assert_true(strstr(vise_blas_text(), "Haswell") != NULL || strstr(vise_blas_text(), "SkylakeX") != NULL);
    must(vise_blas_get(VISE_CPU_REF, &blas, &err), &err);
    assert_ptr_equal(blas, &vise_blas_reference);
    assert_string_equal(vise_blas_text(), "reference");
}

static const vise_blas *blas_at(int i)
{
    const vise_blas *blas;
    vise_error err = {0};
    must(vise_blas_get(i == 0 ? VISE_CPU_REF : vise_cpu_highest(), &blas, &err), &err);
    return blas;
}

static const int64_t sizes[] = {1, 3, 17, 64, 105, 352};
enum { SIZES = sizeof sizes / sizeof sizes[0], PAD = 5 };

/* Element (i, j) of op(x). */
static double at(const float *x, int64_t ldx, bool trans, int64_t i, int64_t j)
{
    return (double)(trans ? x[j * ldx + i] : x[i * ldx + j]);
}

static void check_gemm(const vise_blas *blas, bool ta, bool tb, int64_t m, int64_t n, int64_t k, float beta)
{
    int64_t lda = (ta ? m : k) + PAD;
    int64_t ldb = (tb ? k : n) + PAD;
    int64_t ldc = n + PAD;
    float *a = random_floats(lda * (ta ? k : m), 1);
    float *b = random_floats(ldb * (tb ? n : k), 2);
    float *c = random_floats(ldc * m, 3);
    double *expected = malloc((size_t)(ldc * m) * sizeof *expected);
    assert_non_null(expected);
    for (int64_t i = 0; i < m * ldc; i++) {
        expected[i] = (double)c[i];
        if (i % ldc >= n)
            continue;
        double sum = 0.0;
        for (int64_t p = 0; p < k; p++)
            sum += at(a, lda, ta, i / ldc, p) * at(b, ldb, tb, p, i % ldc);
        expected[i] = 0.5 * sum + (double)beta * (double)c[i];
        if (beta == 0.0f)
            c[i] = NAN; /* must not be read */
    }
    blas->gemm(ta, tb, m, n, k, 0.5f, a, lda, b, ldb, beta, c, ldc);
    assert_close(c, expected, m * ldc, 1e-6 * (double)(k + 4), blas->text, m, n, k);
    free(a);
    free(b);
    free(c);
    free(expected);
}

static void test_gemm(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        for (int s = 0; s < SIZES * SIZES * SIZES; s++)
            for (int variant = 0; variant < 8; variant++) {
                if (s % 7 != variant % 7) /* every variant meets every size somewhere */
                    continue;
                check_gemm(blas_at(i), variant & 1, variant & 2, sizes[s % SIZES], sizes[s / SIZES % SIZES],
                           sizes[s / SIZES / SIZES], variant & 4 ? 1.0f : 0.0f);
            }
}

static void test_syrk(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        for (int s = 0; s < SIZES * SIZES * 2; s++) {
            const vise_blas *blas = blas_at(i);
            int64_t n = sizes[s % SIZES];
            int64_t k = sizes[s / SIZES % SIZES];
            bool trans = s >= SIZES * SIZES;
            int64_t lda = (trans ? n : k) + PAD;
            float *a = random_floats(lda * (trans ? k : n), 4);
            float *c = random_floats(n * (n + PAD), 5);
            double *expected = malloc((size_t)(n * (n + PAD)) * sizeof *expected);
            assert_non_null(expected);
            for (int64_t e = 0; e < n * (n + PAD); e++) {
                int64_t row = e / (n + PAD);
                int64_t col = e % (n + PAD);
                expected[e] = (double)c[e];
                for (int64_t p = 0; p < k && col >= row && col < n; p++)
                    expected[e] -= at(a, lda, trans, row, p) * at(a, lda, trans, col, p);
            }
            blas->syrk(trans, n, k, -1.0f, a, lda, c, n + PAD);
            assert_close(c, expected, n * (n + PAD), 1e-6 * (double)(k + 4), blas->text, n, k, trans);
            free(a);
            free(c);
            free(expected);
        }
}

static void test_trmm(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        for (int s = 0; s < SIZES * SIZES * 3; s++) {
            const vise_blas *blas = blas_at(i);
            int64_t m = sizes[s % SIZES];
            int64_t n = sizes[s / SIZES % SIZES];
            int kind = s / SIZES / SIZES; /* right, right transposed, left */
            int64_t order = kind == 2 ? m : n;
            float *t = random_floats(order * (order + PAD), 6);
            float *b = random_floats(m * (n + PAD), 7);
            double *expected = malloc((size_t)(m * (n + PAD)) * sizeof *expected);
            assert_non_null(expected);
            for (int64_t row = 0; row < order; row++) /* must not be read */
                for (int64_t col = 0; col < row; col++)
                    t[row * (order + PAD) + col] = NAN;
            for (int64_t e = 0; e < m * (n + PAD); e++) {
                int64_t row = e / (n + PAD);
                int64_t col = e % (n + PAD);
                expected[e] = (double)b[e];
                if (col >= n)
                    continue;
                expected[e] = 0.0;
                if (kind == 2)
                    for (int64_t p = row; p < m; p++)
                        expected[e] += at(t, m + PAD, false, row, p) * (double)b[p * (n + PAD) + col];
                else if (kind == 1)
                    for (int64_t p = col; p < n; p++)
                        expected[e] -= (double)b[row * (n + PAD) + p] * at(t, n + PAD, false, col, p);
                else
                    for (int64_t p = 0; p <= col; p++)
                        expected[e] -= (double)b[row * (n + PAD) + p] * at(t, n + PAD, false, p, col);
            }
            if (kind == 2)
                blas->trmm_left(m, n, t, m + PAD, b, n + PAD);
            else
                blas->trmm_right(kind == 1, m, n, -1.0f, t, n + PAD, b, n + PAD);
            assert_close(b, expected, m * (n + PAD), 1e-6 * (double)(order + 4), blas->text, m, n, kind);
            free(t);
            free(b);
            free(expected);
        }
}

/* Calls from several threads at once do not disturb each other. */
typedef struct concurrent {
    const vise_blas *blas;
    const float *a;
    float *c; /* one [200, 200] a task */
} concurrent;

static vise_status concurrent_task(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    concurrent *job = context;
    for (int repeat = 0; repeat < 20; repeat++)
        job->blas->gemm(false, true, 200, 200, 300, 1.0f, job->a, 300, job->a + index, 300, 0.0f,
                        job->c + index * 40000, 200);
    return VISE_OK;
}

static void test_concurrent_calls(void **state)
{
    (void)state;
    enum { TASKS = 16 };
    vise_error err = {0};
    vise_workers *workers;
    float *a = random_floats(200 * 300 + TASKS, 8);
    float *serial = random_floats(TASKS * 40000, 9);
    float *parallel = random_floats(TASKS * 40000, 10);
    concurrent job = {blas_at(1), a, serial};
    must(vise_workers_new(4, &workers, &err), &err);
    must(vise_parallel(NULL, TASKS, concurrent_task, &job, &err), &err);
    job.c = parallel;
    must(vise_parallel(workers, TASKS, concurrent_task, &job, &err), &err);
    assert_same_bits(serial, parallel, TASKS * 40000 * sizeof *serial, "concurrent products");
    vise_workers_free(workers);
    free(a);
    free(serial);
    free(parallel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_user_core_is_kept_and_warned_about), /* before the library is loaded here */
        cmocka_unit_test(test_core_fits_the_processor),
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_syrk),
        cmocka_unit_test(test_trmm),
        cmocka_unit_test(test_concurrent_calls),
    };
    return cmocka_run_group_tests_name("blas", tests, NULL, NULL);
}
