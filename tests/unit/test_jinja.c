/* The language of chat templates: texts as the Python library gives them (tests/data/jinja-cases.json, written and held
 * against it by tests/interop/check_chat.py), what is refused and by which name, and what is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/json.h"
#include "text/jinja.h"

#define CASES "tests/data/jinja-cases.json"

/* Reads and renders; out is made here and must be given back by the caller. */
static vise_status render(const char *template, const cJSON *context, vise_buf *out, vise_error *err)
{
    vise_jinja *jinja;
    vise_status status;

    vise_buf_init(out, (size_t)1 << 20);
    VISE_TRY(vise_jinja_parse("t", template, strlen(template), &jinja, err));
    status = vise_jinja_render(jinja, context, out, err);
    vise_jinja_free(jinja);
    return status;
}

static void test_cases(void **state)
{
    cJSON *json;
    const cJSON *each;
    vise_error err = {0};
    size_t count = 0, refused = 0;

    (void)state;
    if (vise_json_load(CASES, (size_t)1 << 20, &json, &err) != VISE_OK)
        fail_msg("%s", err.message);
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(json, "cases"))
    {
        const char *template = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(each, "template"));
        const char *wanted = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(each, "text"));
        vise_buf out;
        vise_status status;
        err = (vise_error){0};
        assert_non_null(template);
        status = render(template, cJSON_GetObjectItemCaseSensitive(json, "context"), &out, &err);
        if (wanted == NULL && (status == VISE_OK || err.message[0] == '\0'))
            fail_msg("%s: gives \"%s\"; Python refuses it", template, out.data != NULL ? out.data : "");
        if (wanted != NULL && (status != VISE_OK || strcmp(out.data != NULL ? out.data : "", wanted) != 0))
            fail_msg("%s: gives \"%s\" (%s), not \"%s\"", template, out.data != NULL ? out.data : "",
                     err.message, wanted);
        vise_buf_deinit(&out);
        refused += wanted == NULL;
        count++;
    }
    cJSON_Delete(json);
    assert_true(count > 100 && refused > 20 && refused < count / 2);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *template;
        vise_status status;
        const char *says;
    } cases[] = {
        {"a\n{% include 'x' %}", VISE_EUNSUPPORTED,
         "t line 2: the chat template uses the statement \"include\""},
        {"{% call f() %}{% endcall %}", VISE_EUNSUPPORTED,
         "\"call\", which is not supported; give the lines as \"text\""},
        {"{% import 'x' as y %}", VISE_EUNSUPPORTED, "\"import\""},
        {"{% raw %}x{% endraw %}", VISE_EUNSUPPORTED, "\"raw\""},
        {"{% filter upper %}x{% endfilter %}", VISE_EUNSUPPORTED, "\"filter\""},
        {"{% if false %}{{ x | groupby('y') }}{% endif %}", VISE_EUNSUPPORTED, "the filter \"groupby\""},
        {"{{ x is sameas y }}", VISE_EUNSUPPORTED, "the test \"sameas\""},
        {"{{ 2 ** 3 }}", VISE_EUNSUPPORTED, "the operator \"**\""},
        {"{{ f(*x) }}", VISE_EUNSUPPORTED, "the argument \"*\""},
        {"{% for x in y recursive %}{% endfor %}", VISE_EUNSUPPORTED, "the loop \"recursive\""},
        {"{{ ''.__class__ }}|{{ 'a'.format(1) }}", VISE_EUNSUPPORTED, "the method \"format\" of a text"},
        {"{{ [1].append(2) }}", VISE_EUNSUPPORTED, "the method \"append\" of a list"},
        {"{{ {}.update({}) }}", VISE_EUNSUPPORTED, "the method \"update\" of a dictionary"},
        {"{{ strange('x') }}", VISE_EUNSUPPORTED, "\"strange\" is called, which is undefined"},
        {"{% for x in [1] %}{{ loop.cycle('a') }}{% endfor %}", VISE_EUNSUPPORTED, "\"cycle\" is called"},
        {"{{ {1: 2} | tojson }}", VISE_EUNSUPPORTED, "tojson"},
        {"{{ 'x' | tojson(sort_keys=true) }}", VISE_EUNSUPPORTED, "tojson with these arguments"},
        {"{{ 'stra\xc3\x9f' 'e' | upper }}", VISE_EUNSUPPORTED, "U+00DF"},
        {"{{ namespace(a=1) }}", VISE_EUNSUPPORTED, "not written"},
        {"{{ 'x' | map('upper') }}", VISE_EUNSUPPORTED, "not written"},
        {"{{ x", VISE_EFORMAT, "t line 1: a tag does not end"},
        {"\n\n{% if x %}", VISE_EFORMAT, "t line 3"},
        {"{{ raise_exception('roles must\nalternate') }}", VISE_EFORMAT,
         "the chat template says: roles must"},
        {"{{ 9223372036854775807 + 1 }}", VISE_EFORMAT, "a number that is too large"},
        {"{{ 99999999999999999999 }}", VISE_EFORMAT, "a number of ordinary size"},
        {"{{ '\\ud800' }}", VISE_EFORMAT, "escape"},
        {"\xff", VISE_EFORMAT, "not UTF-8"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_error err = {0};
        vise_buf out;
        vise_status status = render(cases[i].template, NULL, &out, &err);
        if (status != cases[i].status || strstr(err.message, cases[i].says) == NULL)
            fail_msg("%s: status %d, \"%s\" lacks \"%s\"", cases[i].template, (int)status, err.message,
                     cases[i].says);
        vise_buf_deinit(&out);
    }
}

/* A template is foreign: whatever it does ends soon, with little memory and a shallow stack. */
static void test_bounds(void **state)
{
#define MANY(body)  "{% set ns = namespace(x='a', n=[]) %}{% for i in range(99999) %}" body "{% endfor %}"
#define TIMES(body) "{% for i in range(9999) %}{% for j in range(9999) %}" body "{% endfor %}{% endfor %}"
    static const struct {
        const char *template, *says;
    } cases[] = {
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "deep"},
        {"{% macro f() %}{{ 'x' * 9999999 }}{{ f() }}{% endmacro %}{{ f() }}", "MB"},
        {"{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}", "MB"},
        {TIMES("{{ '' }}"), "MB"},
        {TIMES("{% if true %}{% endif %}"), "MB"},
        {"{% for i in range(999999) %}{% endfor %}", "a range that is too long"},
        {MANY("{% set ns.x = ns.x + ns.x %}"), "MB"},
        {MANY("{% set ns.x = ns.x ~ ns.x ~ ns.x %}"), "MB"},
        {MANY("{% set ns.n = [ns.n] %}") "{{ ns.n == [ns.n] }}", "steps"},
        {MANY("{% set ns.n = [ns.n] %}") "{{ ns.n }}", "writes too much"},
        {MANY("{% set ns.n = [ns.n, ns.n] %}") "{{ ns.n | tojson }}", "writes too much"},
        {"{% set a = 'x' * 9999999 %}" MANY("{% set y = a == a ~ '' %}"), "MB"},
        {"{% set a = 'x' * 9999999 %}" MANY("{{ a | length }}"), "steps"},
        {"{% set a = 'x' * 9999999 %}" MANY("{{ 'y' in a }}"), "steps"},
        {"{% set a = 'x' * 9999999 %}" MANY("{{ a.count('xy') }}"), "steps"},
        {"{% set a = 'x' * 9999999 %}{{ a.rfind('y' ~ a[1:]) }}" MANY("{{ a.strip(a) | length }}"), "steps"},
        {"{% set a = 'x' * 9999999 %}{{ a }}", "writes more than 1 MB"},
        {"{% set a = range(99999) | list %}" MANY("{{ a == a }}"), "steps"},
        {"{% set a = range(99999) | list %}" MANY("{{ -1 in a }}"), "steps"},
        {"{% set a = range(99999) | list %}" MANY("{{ a | first }}"), "steps"},
        {"{{ range(99999) | unique | list | length }}", "steps"},
        {"{{ 'x' * 9223372036854775807 }}", "MB"},
        {"{{ 'xy' * 9223372036854775807 }}", "MB"},
        {"{{ {'a': 1} | tojson(indent=99999999) }}", "not supported"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_error err = {0};
        vise_buf out;
        vise_status status = render(cases[i].template, NULL, &out, &err);
        if (status == VISE_OK || strstr(err.message, cases[i].says) == NULL)
            fail_msg("%s: status %d, \"%s\" lacks \"%s\"", cases[i].template, (int)status, err.message,
                     cases[i].says);
        vise_buf_deinit(&out);
    }
}

static void test_deep_source(void **state)
{
    static const char *const pieces[] = {"(",  "[",  "-",      "not ",         "{% if x %}",
                                         "a[", "f(", "{'k': ", "1 if 1 else ", "a.b"};

    (void)state;
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        vise_buf text, out;
        vise_error err = {0};
        vise_buf_init(&text, (size_t)1 << 20);
        vise_buf_add_text(&text, pieces[i][0] == '{' && pieces[i][1] == '%' ? "" : "{{ ");
        for (int k = 0; k < 20000; k++)
            vise_buf_add_text(&text, pieces[i]);
        assert_int_equal(render(text.data, NULL, &out, &err), VISE_EFORMAT);
        assert_true(err.message[0] != '\0');
        vise_buf_deinit(&out);
        vise_buf_deinit(&text);
    }
}

static void test_long_source(void **state)
{
    vise_buf text, out;
    vise_error err = {0};

    (void)state;
    vise_buf_init(&text, (size_t)4 << 20);
    for (int i = 0; i < 150000; i++)
        vise_buf_add_text(&text, "{{ x }}\n");
    assert_int_equal(render(text.data, NULL, &out, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "longer than 1 MB"));
    vise_buf_deinit(&out);
    vise_buf_deinit(&text);
}

static void test_numbers_of_json(void **state)
{
    cJSON *context = cJSON_Parse("{\"a\":3,\"b\":2.5,\"c\":-7}"),
          *large = cJSON_Parse("{\"a\":123456789012345678901}");
    vise_buf out;
    vise_error err = {0};

    (void)state;
    assert_int_equal(render("{{ a }} {{ b }} {{ c // 2 }}", context, &out, NULL), VISE_OK);
    assert_string_equal(out.data, "3 2.5 -4");
    vise_buf_deinit(&out);
    assert_int_equal(render("{{ a }}", large, &out, &err), VISE_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "15 digits"));
    vise_buf_deinit(&out);
    cJSON_Delete(context);
    cJSON_Delete(large);
}

static void test_date(void **state)
{
    vise_jinja *dated, *plain;
    vise_buf out;

    (void)state;
    assert_int_equal(setenv("SOURCE_DATE_EPOCH", "86400", 1), 0);
    assert_int_equal(render("{{ strftime_now('%d %b %Y') }}", NULL, &out, NULL), VISE_OK);
    assert_string_equal(out.data, "02 Jan 1970");
    vise_buf_deinit(&out);
    assert_int_equal(vise_jinja_parse("t", "{{ strftime_now('%Y') }}", 24, &dated, NULL), VISE_OK);
    assert_int_equal(vise_jinja_parse("t", "{{ 'strftime_now' }}", 20, &plain, NULL), VISE_OK);
    assert_true(vise_jinja_uses_date(dated));
    assert_false(vise_jinja_uses_date(plain));
    vise_jinja_free(dated);
    vise_jinja_free(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bounds),      cmocka_unit_test(test_deep_source),
        cmocka_unit_test(test_long_source), cmocka_unit_test(test_numbers_of_json),
        cmocka_unit_test(test_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
