#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/workers.h"

enum { N = 5000, COUNT_MAX = 8 };

typedef struct job {
    vise_workers *workers;
    int count;
    atomic_int runs[N];
    atomic_int busy[COUNT_MAX]; /* tasks running with this worker index: never more than one */
    atomic_int started;
    size_t fail_from; /* this index and every tenth after it fail */
    size_t interrupt_at;
} job;

static vise_status task(void *context, size_t index, int worker, vise_error *err)
{
    job *j = context;
    if (worker < 0 || worker >= j->count || atomic_fetch_add(&j->busy[worker], 1) != 0)
        return VISE_FAIL(err, VISE_EINTERNAL, "worker index %d is shared or out of range", worker);
    atomic_fetch_add(&j->runs[index], 1);
    atomic_fetch_add(&j->started, 1);
    if (index == j->interrupt_at)
        vise_interrupt();
    vise_status status = VISE_OK;
    if (index >= j->fail_from && (index - j->fail_from) % 10 == 0)
        status = VISE_FAIL(err, VISE_EFORMAT, "task %zu", index);
    atomic_fetch_sub(&j->busy[worker], 1);
    return status;
}

static void test_every_index_once(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 3, 7, 100, N};
    for (int count = 1; count <= COUNT_MAX; count++) {
        vise_error err = {0};
        vise_workers *workers = NULL;
        assert_int_equal(vise_workers_new(count, &workers, &err), VISE_OK);
        assert_int_equal(vise_workers_count(workers), count);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            static job j;
            memset(&j, 0, sizeof j);
            j.count = count;
            j.fail_from = j.interrupt_at = SIZE_MAX;
            assert_int_equal(vise_parallel(workers, sizes[s], task, &j, &err), VISE_OK);
            for (size_t i = 0; i < N; i++)
                assert_int_equal(j.runs[i], i < sizes[s]);
        }
        vise_workers_free(workers);
    }
    vise_workers_free(NULL);
}

static void test_null_workers(void **state)
{
    (void)state;
    static job j;
    j.count = 1;
    j.fail_from = j.interrupt_at = SIZE_MAX;
    assert_int_equal(vise_workers_count(NULL), 1);
    assert_int_equal(vise_parallel(NULL, 10, task, &j, NULL), VISE_OK);
    assert_int_equal(j.started, 10);
}

static void test_lowest_failure_is_reported(void **state)
{
    (void)state;
    for (int count = 1; count <= 4; count++) {
        vise_error setup = {0};
        vise_workers *workers = NULL;
        assert_int_equal(vise_workers_new(count, &workers, &setup), VISE_OK);
        for (size_t from = 0; from < 60; from += 3) {
            static job j;
            memset(&j, 0, sizeof j);
            j.count = count;
            j.fail_from = from;
            j.interrupt_at = SIZE_MAX;
            vise_error err = {0};
            assert_int_equal(vise_parallel(workers, N, task, &j, &err), VISE_EFORMAT);
            char expected[32];
            snprintf(expected, sizeof expected, "task %zu", from);
            assert_string_equal(err.message, expected);
            assert_true(j.started < N);
            assert_int_equal(vise_parallel(workers, N, task, &j, NULL), VISE_EFORMAT);
        }
        vise_workers_free(workers);
    }
}

static vise_status inner(void *context, size_t index, int worker, vise_error *err)
{
    (void)index;
    (void)err;
    int outer = *(int *)context;
    return worker == outer ? VISE_OK : VISE_EINTERNAL;
}

static vise_status outer(void *context, size_t index, int worker, vise_error *err)
{
    (void)index;
    job *j = context;
    atomic_fetch_add(&j->started, 1);
    VISE_TRY(vise_parallel(j->workers, 20, inner, &worker, err)); /* the same scratch index on the same thread */
    int none = 0;
    return vise_parallel(NULL, 20, inner, &none, err);
}

static void test_nested_loops_are_serial(void **state)
{
    (void)state;
    static job j;
    vise_error err = {0};
    assert_int_equal(vise_workers_new(4, &j.workers, &err), VISE_OK);
    assert_int_equal(vise_parallel(j.workers, 500, outer, &j, &err), VISE_OK);
    assert_int_equal(j.started, 500);
    vise_workers_free(j.workers);
}

/* Two threads of the program share the workers: their loops take turns. */
static void *second_caller(void *argument)
{
    vise_workers *workers = argument;
    for (int round = 0; round < 50; round++) {
        job *j = calloc(1, sizeof *j);
        j->count = vise_workers_count(workers);
        j->fail_from = j->interrupt_at = SIZE_MAX;
        bool good = vise_parallel(workers, 100, task, j, NULL) == VISE_OK && j->started == 100;
        free(j);
        if (!good)
            return "failed";
    }
    return NULL;
}

static void test_two_callers(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_workers *workers = NULL;
    assert_int_equal(vise_workers_new(3, &workers, &err), VISE_OK);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, second_caller, workers), 0);
    assert_null(second_caller(workers));
    void *result;
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
    vise_workers_free(workers);
}

static void test_counts(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_workers *workers = NULL;
    assert_int_equal(vise_workers_new(0, &workers, &err), VISE_OK);
    assert_true(vise_workers_count(workers) >= 1);
    vise_workers_free(workers);
    assert_int_equal(vise_workers_new(-1, &workers, &err), VISE_EUSAGE);
    err = (vise_error){0};
    assert_int_equal(vise_workers_new(1000000, &workers, &err), VISE_EUSAGE);
}

/* ---- windows ---- */

typedef struct window_job {
    size_t ahead, fail_at;
    atomic_bool ended[N];
    atomic_int early, started;
} window_job;

static vise_status window_task(void *context, size_t index, int worker, vise_error *err)
{
    window_job *j = context;
    (void)worker;
    atomic_fetch_add(&j->started, 1);
    for (size_t i = 0; i + j->ahead < index; i++)
        if (!atomic_load(&j->ended[i]))
            atomic_fetch_add(&j->early, 1);
    if (index % 37 == 5) /* the others must wait for it */
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    atomic_store(&j->ended[index], true);
    return index == j->fail_at ? VISE_FAIL(err, VISE_EFORMAT, "task %zu", index) : VISE_OK;
}

static void test_window(void **state)
{
    (void)state;
    enum { TASKS = 400 };
    static const size_t aheads[] = {1, 2, 3, 7, 1000};
    for (int count = 1; count <= 4; count++) {
        vise_workers *workers = NULL;
        assert_int_equal(vise_workers_new(count, &workers, NULL), VISE_OK);
        for (size_t a = 0; a < sizeof aheads / sizeof *aheads; a++)
            for (int fails = 0; fails < 2; fails++) {
                static window_job j;
                vise_error err = {0};
                memset(&j, 0, sizeof j);
                j.ahead = aheads[a];
                j.fail_at = fails ? 111 : SIZE_MAX;
                vise_status status = vise_parallel_window(workers, TASKS, aheads[a], window_task, &j, &err);
                assert_int_equal(status, fails ? VISE_EFORMAT : VISE_OK);
                assert_int_equal(j.early, 0);
                if (fails)
                    assert_string_equal(err.message, "task 111");
                for (size_t i = 0; i < (fails ? 112 : TASKS); i++)
                    assert_true(j.ended[i]);
            }
        vise_workers_free(workers);
    }
}

/* Last: the flag is not taken back. */
static void test_interrupt(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_workers *workers = NULL;
    assert_int_equal(vise_workers_new(3, &workers, &err), VISE_OK);
    static job j;
    j.count = 3;
    j.fail_from = SIZE_MAX;
    j.interrupt_at = 100;
    assert_false(vise_interrupted());
    assert_int_equal(vise_check_interrupt(&err), VISE_OK);
    assert_int_equal(vise_parallel(workers, N, task, &j, &err), VISE_EINTERRUPTED);
    assert_true(j.started > 100 && j.started < N);
    assert_true(vise_interrupted());
    err = (vise_error){0};
    static window_job w;
    w.ahead = 1;
    w.fail_at = SIZE_MAX;
    assert_int_equal(vise_parallel_window(workers, 3, 1, window_task, &w, &err), VISE_EINTERRUPTED);
    assert_int_equal(w.started, 0);
    err = (vise_error){0};
    assert_int_equal(vise_check_interrupt(&err), VISE_EINTERRUPTED);
    assert_int_equal(vise_parallel(NULL, 1, task, &j, &err), VISE_EINTERRUPTED);
    vise_workers_free(workers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_index_once),
        cmocka_unit_test(test_null_workers),
        cmocka_unit_test(test_lowest_failure_is_reported),
        cmocka_unit_test(test_nested_loops_are_serial),
        cmocka_unit_test(test_two_callers),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_interrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
