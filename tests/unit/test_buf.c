#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/buf.h"
#include "core/mem.h"

static void test_append(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_buf buf;
    vise_buf_init(&buf, 1000);
    vise_buf_add_text(&buf, "ab");
    vise_buf_add_char(&buf, 'c');
    vise_buf_add(&buf, "\0d", 2);
    vise_buf_add(&buf, NULL, 0);
    vise_buf_addf(&buf, "%d%s", 42, "!");
    assert_int_equal(vise_buf_check(&buf, "a text", &err), VISE_OK);
    assert_int_equal(buf.length, 8);
    assert_memory_equal(buf.data, "abc\0d42!", 9);
    vise_buf_clear(&buf);
    assert_int_equal(buf.length, 0);
    assert_string_equal(buf.data, "");
    vise_buf_deinit(&buf);
}

static void test_maximum_sticks(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_buf buf;
    vise_buf_init(&buf, 8);
    vise_buf_add_text(&buf, "12345678");
    assert_int_equal(vise_buf_check(&buf, "a text", &err), VISE_OK);
    vise_buf_add_char(&buf, '9');
    assert_string_equal(buf.data, "12345678");
    vise_buf_clear(&buf);
    vise_buf_add_text(&buf, "123456789");
    vise_buf_add_char(&buf, 'x'); /* would fit, but the first failure sticks */
    assert_int_equal(buf.length, 0);
    assert_int_equal(vise_buf_check(&buf, "the index", &err), VISE_ERESOURCE);
    assert_non_null(strstr(err.message, "the index"));
    vise_buf_clear(&buf);
    vise_buf_addf(&buf, "%s", "123456789");
    err = (vise_error){0};
    assert_int_equal(vise_buf_check(&buf, "the index", &err), VISE_ERESOURCE);
    vise_buf_deinit(&buf);
}

static void test_memory_failure(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_buf buf;
    vise_buf_init(&buf, SIZE_MAX);
    vise_alloc_fail_after(1);
    vise_buf_add_text(&buf, "a");
    vise_buf_add_text(&buf, "b");
    assert_int_equal(vise_buf_check(&buf, "a text", &err), VISE_ERESOURCE);
    vise_buf_deinit(&buf);
}

static void test_grows(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_buf buf;
    vise_buf_init(&buf, 1 << 20);
    for (int i = 0; i < 100000; i++)
        vise_buf_add_char(&buf, (char)('a' + i % 26));
    assert_int_equal(vise_buf_check(&buf, "a text", &err), VISE_OK);
    assert_int_equal(buf.length, 100000);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(buf.data[i], 'a' + i % 26);
    assert_int_equal(buf.data[100000], 0);
    vise_buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_maximum_sticks),
        cmocka_unit_test(test_memory_failure),
        cmocka_unit_test(test_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
