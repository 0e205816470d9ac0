/* Error values and events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/err.h"
#include "core/event.h"

static void test_filled_once(void **state)
{
    (void)state;
    vise_error err = {0};
    assert_int_equal(VISE_FAIL(&err, VISE_EFORMAT, "tensor %s has %d bytes", "a.weight", 3), VISE_EFORMAT);
    int line = err.line;
    assert_int_equal(VISE_FAIL(&err, VISE_EINTERNAL, "a later message"), VISE_EINTERNAL);
    assert_int_equal(err.status, VISE_EFORMAT);
    assert_int_equal(err.line, line);
    assert_string_equal(err.message, "tensor a.weight has 3 bytes");
    assert_non_null(strstr(err.file, "test_err.c"));
}

static void test_null_error(void **state)
{
    (void)state;
    assert_int_equal(VISE_FAIL(NULL, VISE_EUSAGE, "nobody listens"), VISE_EUSAGE);
}

static void test_one_line_and_bounded(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_status status = VISE_FAIL(&err, VISE_EFORMAT, "a\nb\tc\x7f");
    assert_int_equal(status, VISE_EFORMAT);
    assert_string_equal(err.message, "a?b?c?");

    /* Two-byte characters at either parity: the cut must not leave half of one. */
    for (size_t shift = 0; shift < 2; shift++) {
        char text[4096] = "x";
        for (size_t i = shift; i + 2 < sizeof text; i += 2)
            memcpy(text + i, "\xC3\xA9", 2);
        err = (vise_error){0};
        status = VISE_FAIL(&err, VISE_EFORMAT, "%s", text);
        assert_int_equal(status, VISE_EFORMAT);
        size_t length = strlen(err.message);
        assert_true(length < VISE_ERROR_MESSAGE_MAX && length > VISE_ERROR_MESSAGE_MAX - 8);
        assert_string_equal(err.message + length - 3, "...");
        assert_int_equal((length - 3 - shift) % 2, 0);
    }
}

static void test_status_texts(void **state)
{
    (void)state;
    for (int s = VISE_OK; s <= VISE_EINTERNAL; s++) {
        assert_non_null(vise_status_text((vise_status)s));
        assert_string_not_equal(vise_status_text((vise_status)s), "unknown status");
    }
    assert_string_equal(vise_status_text((vise_status)99), "unknown status");
}

static vise_status fails_when(int n)
{
    return n ? VISE_ERESOURCE : VISE_OK;
}

static vise_status try_return(int n)
{
    VISE_TRY(fails_when(n));
    return VISE_EGOAL;
}

static vise_status try_cleanup(int n, int *cleaned)
{
    vise_status status;
    VISE_TRY_TO(done, fails_when(n));
    status = VISE_EGOAL;
done:
    *cleaned = 1;
    return status;
}

static void test_try(void **state)
{
    (void)state;
    int cleaned = 0;
    assert_int_equal(try_return(0), VISE_EGOAL);
    assert_int_equal(try_return(1), VISE_ERESOURCE);
    assert_int_equal(try_cleanup(1, &cleaned), VISE_ERESOURCE);
    assert_int_equal(cleaned, 1);
    assert_int_equal(try_cleanup(0, &cleaned), VISE_EGOAL);
}

typedef struct heard {
    int info, warning, progress;
    char text[128];
    double done, total;
} heard;

static void listen(void *context, const vise_event *event)
{
    heard *h = context;
    h->info += event->kind == VISE_EVENT_INFO;
    h->warning += event->kind == VISE_EVENT_WARNING;
    h->progress += event->kind == VISE_EVENT_PROGRESS;
    strncpy(h->text, event->kind == VISE_EVENT_PROGRESS ? event->phase : event->text, sizeof h->text - 1);
    h->done = event->done;
    h->total = event->total;
}

static void test_add(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_error_add(NULL, "x");
    vise_error_add(&err, "x");
    assert_string_equal(err.message, "");
    assert_int_equal(VISE_FAIL(&err, VISE_ERESOURCE, "full"), VISE_ERESOURCE);
    vise_error_add(&err, "; make\nroom");
    assert_string_equal(err.message, "full; make?room");
    for (int i = 0; i < 300; i++)
        vise_error_add(&err, "12345678");
    assert_int_equal(strlen(err.message), VISE_ERROR_MESSAGE_MAX - 1);
    assert_string_equal(err.message + VISE_ERROR_MESSAGE_MAX - 4, "...");
}

static void test_events(void **state)
{
    (void)state;
    heard h = {0};
    vise_warn("nobody hears this");
    vise_listen(listen, &h);
    vise_info("%d blocks", 4);
    assert_string_equal(h.text, "4 blocks");
    vise_warn("weight %s falls back", "w");
    assert_string_equal(h.text, "weight w falls back");
    vise_progress("quantize", NULL, 1.0, 2.0);
    assert_string_equal(h.text, "quantize");
    assert_true(h.done == 1.0 && h.total == 2.0);
    vise_listen(NULL, NULL);
    vise_info("silence");
    assert_int_equal(h.info, 1);
    assert_int_equal(h.warning, 1);
    assert_int_equal(h.progress, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filled_once),  cmocka_unit_test(test_null_error),
        cmocka_unit_test(test_one_line_and_bounded), cmocka_unit_test(test_status_texts),
        cmocka_unit_test(test_try),          cmocka_unit_test(test_add),
        cmocka_unit_test(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
