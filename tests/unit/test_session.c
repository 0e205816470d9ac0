/* A session: what --memory leaves for the pool, which bounds are refused, and what is loaded only when it is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/session.h"

static void test_without_compute(void **state)
{
    vise_session session;

    (void)state;
    assert_int_equal(vise_session_open(NULL, 2, 0, 0, false, &session, NULL), VISE_OK);
    assert_null(session.backend);
    assert_string_equal(vise_blas_text(), "none"); /* BLAS is not loaded by those that need none */
    assert_int_equal(vise_workers_count(session.workers), 2);
    assert_int_equal(vise_pool_limit(session.pool), 0);
    vise_session_close(&session);
    assert_null(session.pool);
}

static void test_bound(void **state)
{
    const uint64_t bound = UINT64_C(1) << 30;
    vise_session session;

    (void)state;
    assert_int_equal(vise_session_open("cpu", 1, bound, 0, false, &session, NULL), VISE_OK);
    assert_true(session.fixed_bytes > VISE_SESSION_MARGIN_BYTES);
    assert_int_equal(vise_pool_limit(session.pool) + session.fixed_bytes, bound);
    vise_session_close(&session);
}

/* The smallest bound that a refusal names does. */
static void test_smallest_bound(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        const bool compute = i % 2 != 0;
        const uint64_t pool_bytes = i < 2 ? 0 : 50000000, bound = 1000000 + pool_bytes;
        vise_session session;
        vise_error err = {0};
        const char *said;
        uint64_t least;

        assert_int_equal(vise_session_open("cpu", 2, bound, pool_bytes, compute, &session, &err), VISE_ERESOURCE);
        assert_null(session.workers);
        said = strstr(err.message, "would do is ");
        assert_non_null(said);
        least = strtoull(said + strlen("would do is "), NULL, 10) * 1000000;
        assert_true(least > bound);
        /* What is resident may have grown by a little since. */
        assert_int_equal(vise_session_open("cpu", 2, least + 1000000, pool_bytes, compute, &session, NULL), VISE_OK);
        assert_true(vise_pool_limit(session.pool) >= VISE_SESSION_POOL_MIN_BYTES);
        assert_true(vise_pool_limit(session.pool) >= pool_bytes);
        vise_session_close(&session);
    }
}

static void test_compute(void **state)
{
    vise_session session;

    (void)state;
    assert_int_equal(vise_session_open("cpu", 0, 0, 0, true, &session, NULL), VISE_OK);
    assert_non_null(session.backend);
    assert_string_equal(session.backend->name, "cpu");
    assert_ptr_equal(session.backend->workers, session.workers);
    vise_session_close(&session);
}

static void test_devices_that_are_not_there(void **state)
{
    static const struct {
        const char *device;
        vise_status status;
    } cases[] = {{"cuda:99", VISE_EUNSUPPORTED}, {"cqu", VISE_EUSAGE}};

    (void)state;
    for (int compute = 0; compute < 2; compute++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            vise_session session;
            vise_error err = {0};

            assert_int_equal(vise_session_open(cases[i].device, 1, 0, 0, compute, &session, &err),
                             cases[i].status);
            assert_non_null(strstr(err.message, cases[i].device));
            assert_null(session.workers);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_compute), /* first: the others load BLAS */
        cmocka_unit_test(test_bound),           cmocka_unit_test(test_smallest_bound),
        cmocka_unit_test(test_compute),         cmocka_unit_test(test_devices_that_are_not_there),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
