#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/rng.h"

static vise_status parse(const char *text, cJSON **out, vise_error *err)
{
    *err = (vise_error){0};
    return vise_json_parse("doc", text, strlen(text), out, err);
}

static void test_accepts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0", "-0", "1.5e-3", "1E+2", "true", "false", "null", "\"\"", "[]", "{}", " \t\r\n[ ]\n", "[1,2,[3]]",
        "{\"a\":{\"a\":1},\"b\":[{\"a\":2}]}", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"",
        "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"",
        "[1e308,123456789012345678901234567890]", "\"\x7f\"",
        "{\"a\":1,\"A\":2,\"\":3}",
        "0.12345678901234567890123456789012345678901234567890123456789",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        vise_error err;
        cJSON *json = NULL;
        assert_int_equal(parse(good[i], &json, &err), VISE_OK);
        assert_non_null(json);
        cJSON_Delete(json);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *place; /* "line 1, column 1" */
        const char *what;
    } bad[] = {
        {"", "line 1, column 1", "text ends"},
        {"  ", "line 1, column 3", "text ends"},
        {"{", "line 1, column 2", "text in double quotes"},
        {"[1,]", "line 1, column 4", "a value"},
        {"{\"a\":1,}", "line 1, column 8", "double quotes"},
        {"{\"a\" 1}", "line 1, column 6", "':'"},
        {"{a:1}", "line 1, column 2", "double quotes"},
        {"[1 2]", "line 1, column 4", "',' or ']'"},
        {"{}\n\n x", "line 3, column 2", "end of the text"},
        {"[1]\n]", "line 2, column 1", "end of the text"},
        {"01", "line 1, column 2", "end of the text"},
        {"+1", "line 1, column 1", "a value"},
        {".5", "line 1, column 1", "a value"},
        {"1.", "line 1, column 3", "a digit"},
        {"1e", "line 1, column 3", "a digit"},
        {"-", "line 1, column 2", "a digit"},
        {"NaN", "line 1, column 1", "a value"},
        {"Infinity", "line 1, column 1", "a value"},
        {"tru", "line 1, column 1", "a value"},
        {"'a'", "line 1, column 1", "a value"},
        {"\"abc", "line 1, column 1", "no closing quote"},
        {"\"a\nb\"", "line 1, column 3", "0x0A"},
        {"\"\\x\"", "line 1, column 2", "no escape"},
        {"\"\\u12g4\"", "line 1, column 2", "no escape"},
        {"\"\\u0000\"", "line 1, column 2", "\\u0000"},
        {"\"\\ud800\"", "line 1, column 2", "surrogate"},
        {"\"\\ud800\\u0041\"", "line 1, column 2", "surrogate"},
        {"\"\\udc00\"", "line 1, column 2", "surrogate"},
        {"\"\xC3\xA9\xFF\"", "line 1, column 3", "0xFF is not UTF-8"},
        {"\"\xC0\x80\"", "line 1, column 2", "not UTF-8"},     /* overlong */
        {"\"\xED\xA0\x80\"", "line 1, column 2", "not UTF-8"}, /* a surrogate */
        {"\"\xF5\x80\x80\x80\"", "line 1, column 2", "not UTF-8"},
        {"\"\xE2\x82\"", "line 1, column 2", "not UTF-8"},
        {"\xEF\xBB\xBF{}", "line 1, column 1", "byte order mark"},
        {"/* c */ 1", "line 1, column 1", "a value"},
        {"[1e999]", "line 1, column 2", "too large"},
        {"{\"a\":1,\n \"b\":{\"c\":-1e400}}", "line 2, column 11", "too large"},
        {"{\"a\":1,\n \"a\":2}", "line 2, column 2", "\"a\" is given twice"},
        {"[0,{\"x\":[{\"k\":1,\"\\u006b\":2}]}]", "line 1, column 17", "\"k\" is given twice"},
        {"{\"a\":{\"p\":[1,2]},\"b\":3,\"b\":[]}", "line 1, column 24", "\"b\" is given twice"},
        {"1234567890123456789012345678901234567890123456789012345678901234", "line 1, column 1", "64 characters"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vise_error err;
        cJSON *json = NULL;
        vise_status status = parse(bad[i].text, &json, &err);
        if (status != VISE_EFORMAT || !strstr(err.message, bad[i].place) || !strstr(err.message, bad[i].what))
            fail_msg("row %zu: status %d: %s", i, (int)status, err.message);
        assert_null(json);
        assert_memory_equal(err.message, "doc: ", 5);
    }
    vise_error err = {0};
    cJSON *json = NULL;
    assert_int_equal(vise_json_parse("doc", "[1]\0", 4, &json, &err), VISE_EFORMAT);
    err = (vise_error){0};
    assert_int_equal(vise_json_parse("doc", "\"a\0b\"", 5, &json, &err), VISE_EFORMAT);
}

static void test_depth(void **state)
{
    (void)state;
    for (int depth = VISE_JSON_DEPTH_MAX - 1; depth <= VISE_JSON_DEPTH_MAX + 1; depth++) {
        char text[1000] = "";
        size_t at = 0;
        for (int i = 0; i < depth; i++)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s", i % 2 ? "{\"a\":" : "[");
        at += (size_t)snprintf(text + at, sizeof text - at, "0");
        for (int i = depth - 1; i >= 0; i--)
            text[at++] = i % 2 ? '}' : ']';
        text[at] = '\0';
        vise_error err;
        cJSON *json = NULL;
        assert_int_equal(parse(text, &json, &err), depth <= VISE_JSON_DEPTH_MAX ? VISE_OK : VISE_EFORMAT);
        cJSON_Delete(json);
    }
    /* Duplicates at the deepest level, and unclosed brackets without end. */
    char deep[300] = "";
    memset(deep, '[', VISE_JSON_DEPTH_MAX - 1);
    strncat(deep, "{\"a\":1,\"a\":1e999}", sizeof deep - strlen(deep) - 1);
    size_t length = strlen(deep);
    memset(deep + length, ']', VISE_JSON_DEPTH_MAX - 1);
    vise_error err;
    cJSON *json = NULL;
    assert_int_equal(parse(deep, &json, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "column 71"));
    static char brackets[100001];
    memset(brackets, '[', sizeof brackets - 1);
    assert_int_equal(parse(brackets, &json, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "nested deeper"));
}

/* 100 000 keys, once without and once with a duplicate at the end: the search must not be quadratic. */
static void test_many_keys(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_buf buf;
    vise_buf_init(&buf, 1 << 24);
    vise_json_writer w;
    vise_json_begin(&w, &buf, 0);
    vise_json_object(&w);
    for (int i = 0; i < 100000; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        vise_json_key(&w, key);
        vise_json_put_int(&w, i);
    }
    vise_json_object_end(&w);
    assert_int_equal(vise_buf_check(&buf, "doc", &err), VISE_OK);
    cJSON *json = NULL;
    assert_int_equal(parse(buf.data, &json, &err), VISE_OK);
    cJSON_Delete(json);
    json = NULL;
    buf.data[--buf.length] = '\0';
    vise_buf_add_text(&buf, ",\"key77777\":0}");
    assert_int_equal(parse(buf.data, &json, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "\"key77777\" is given twice"));
    vise_buf_deinit(&buf);
}

static void test_load(void **state)
{
    (void)state;
    vise_error err = {0};
    char path[] = "/tmp/vise-json-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(vise_file_write_atomic(path, "{\"a\":\n}", 7, &err), VISE_OK);
    cJSON *json = NULL;
    assert_int_equal(vise_json_load(path, 100, &json, &err), VISE_EFORMAT);
    assert_memory_equal(err.message, path, strlen(path));
    assert_non_null(strstr(err.message, "line 2, column 1"));
    err = (vise_error){0};
    assert_int_equal(vise_json_load(path, 3, &json, &err), VISE_EFORMAT);
    assert_int_equal(vise_file_write_atomic(path, "{\"a\":1}", 7, NULL), VISE_OK);
    err = (vise_error){0};
    assert_int_equal(vise_json_load(path, 100, &json, &err), VISE_OK);
    cJSON_Delete(json);
    unlink(path);
}

static void test_int(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        bool required;
        int64_t min, max;
        vise_status status;
        int64_t value;
    } rows[] = {
        {"{\"k\":5}", true, 1, 10, VISE_OK, 5},
        {"{\"k\":5.0}", true, 1, 10, VISE_OK, 5},
        {"{\"k\":5e0}", true, 1, 10, VISE_OK, 5},
        {"{\"k\":-5}", true, 1, 10, VISE_EFORMAT, 0},
        {"{\"k\":11}", true, 1, 10, VISE_EFORMAT, 0},
        {"{\"k\":1.5}", true, 1, 10, VISE_EFORMAT, 0},
        {"{\"k\":\"5\"}", true, 1, 10, VISE_EFORMAT, 0},
        {"{\"k\":true}", true, 0, 10, VISE_EFORMAT, 0},
        {"{\"k\":null}", true, 0, 10, VISE_EFORMAT, 0},
        {"{\"k\":null}", false, 0, 10, VISE_OK, -77},
        {"{}", false, 0, 10, VISE_OK, -77},
        {"{}", true, 0, 10, VISE_EFORMAT, 0},
        {"{\"K\":5}", true, 0, 10, VISE_EFORMAT, 0},
        {"{\"k\":9007199254740992}", true, INT64_MIN, INT64_MAX, VISE_OK, INT64_C(9007199254740992)},
        {"{\"k\":-9007199254740992}", true, INT64_MIN, INT64_MAX, VISE_OK, -INT64_C(9007199254740992)},
        {"{\"k\":9007199254740994}", true, INT64_MIN, INT64_MAX, VISE_EFORMAT, 0},
        {"{\"k\":1e300}", true, INT64_MIN, INT64_MAX, VISE_EFORMAT, 0},
        {"{\"k\":-1e19}", true, INT64_MIN, INT64_MAX, VISE_EFORMAT, 0},
        {"[5]", true, 0, 10, VISE_EFORMAT, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_error err;
        cJSON *json = NULL;
        assert_int_equal(parse(rows[i].json, &json, &err), VISE_OK);
        int64_t value = -77;
        vise_status status = vise_json_int("doc", json, "k", rows[i].required, rows[i].min, rows[i].max, &value, &err);
        assert_int_equal(status, rows[i].status);
        if (status == VISE_OK)
            assert_int_equal(value, rows[i].value);
        else
            assert_non_null(strstr(err.message, "\"k\""));
        cJSON_Delete(json);
    }
    int64_t value;
    assert_int_equal(vise_json_int("doc", NULL, "k", false, 0, 1, &value, NULL), VISE_EFORMAT);
}

static void test_other_getters(void **state)
{
    (void)state;
    vise_error err;
    cJSON *json = NULL;
    assert_int_equal(parse("{\"d\":-0.5,\"t\":\"text\",\"b\":true,\"n\":null,\"l\":[1]}", &json, &err), VISE_OK);
    double d = 7;
    bool b = false;
    const char *t = "before";
    assert_int_equal(vise_json_double("doc", json, "d", true, -1, 1, &d, &err), VISE_OK);
    assert_true(d == -0.5);
    assert_int_equal(vise_json_double("doc", json, "d", true, 0, 1, &d, &err), VISE_EFORMAT);
    assert_string_equal(err.message, "doc: \"d\" is -0.5; a number from 0 to 1 is expected");
    err = (vise_error){0};
    assert_int_equal(vise_json_double("doc", json, "t", true, 0, 1, &d, &err), VISE_EFORMAT);
    err = (vise_error){0};
    assert_int_equal(vise_json_bool("doc", json, "b", true, &b, &err), VISE_OK);
    assert_true(b);
    assert_int_equal(vise_json_bool("doc", json, "d", true, &b, &err), VISE_EFORMAT);
    err = (vise_error){0};
    assert_int_equal(vise_json_bool("doc", json, "n", false, &b, &err), VISE_OK);
    assert_int_equal(vise_json_text("doc", json, "t", true, &t, &err), VISE_OK);
    assert_string_equal(t, "text");
    assert_int_equal(vise_json_text("doc", json, "missing", false, &t, &err), VISE_OK);
    assert_string_equal(t, "text");
    assert_int_equal(vise_json_text("doc", json, "l", true, &t, &err), VISE_EFORMAT);
    assert_string_equal(err.message, "doc: \"l\" is a list; a text is expected");
    cJSON_Delete(json);
}

static void test_writer(void **state)
{
    (void)state;
    for (int indent = 0; indent <= 2; indent += 2) {
        vise_error err = {0};
        vise_buf buf;
        vise_buf_init(&buf, 10000);
        vise_json_writer w;
        vise_json_begin(&w, &buf, indent);
        vise_json_object(&w);
        vise_json_key(&w, "text");
        vise_json_put_text(&w, "a\"\\\n\x01\xC3\xA9\xFFz\x7f");
        vise_json_key(&w, "list");
        vise_json_array(&w);
        vise_json_put_int(&w, INT64_MIN);
        vise_json_put_uint(&w, UINT64_MAX);
        vise_json_put_bool(&w, true);
        vise_json_put_null(&w);
        vise_json_put_double(&w, NAN);
        vise_json_array(&w);
        vise_json_array_end(&w);
        vise_json_put_raw(&w, "{\"raw\":1}");
        vise_json_array_end(&w);
        vise_json_key(&w, "empty");
        vise_json_object(&w);
        vise_json_object_end(&w);
        vise_json_object_end(&w);
        assert_int_equal(vise_buf_check(&buf, "doc", &err), VISE_OK);
        assert_string_equal(buf.data, indent == 0 ? "{\"text\":\"a\\\"\\\\\\n\\u0001\xC3\xA9\xEF\xBF\xBDz\\u007f\","
                                                    "\"list\":[-9223372036854775808,18446744073709551615,true,null,"
                                                    "null,[],{\"raw\":1}],\"empty\":{}}"
                                                  : "{\n  \"text\": "
                                                    "\"a\\\"\\\\\\n\\u0001\xC3\xA9\xEF\xBF\xBDz\\u007f\",\n"
                                                    "  \"list\": [\n    -9223372036854775808,\n"
                                                    "    18446744073709551615,\n    true,\n    null,\n    null,\n"
                                                    "    [],\n    {\"raw\":1}\n  ],\n  \"empty\": {}\n}");
        cJSON *json = NULL;
        assert_int_equal(parse(buf.data, &json, &err), VISE_OK);
        cJSON_Delete(json);
        vise_buf_deinit(&buf);
    }
}

static void test_writer_depth(void **state)
{
    (void)state;
    vise_buf buf;
    vise_json_writer w;
    vise_buf_init(&buf, 10000);
    vise_json_begin(&w, &buf, 0);
    for (int i = 0; i < VISE_JSON_DEPTH_MAX; i++)
        vise_json_array(&w);
    assert_int_equal(vise_buf_check(&buf, "doc", NULL), VISE_OK);
    vise_json_array(&w);
    assert_int_equal(vise_buf_check(&buf, "doc", NULL), VISE_ERESOURCE);
    vise_buf_clear(&buf);
    vise_json_begin(&w, &buf, 0);
    vise_json_array_end(&w); /* never opened */
    assert_int_equal(vise_buf_check(&buf, "doc", NULL), VISE_ERESOURCE);
    vise_buf_deinit(&buf);
}

static void test_doubles_read_back(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } rows[] = {{0.1, "0.1"},     {1.0 / 3, "0.3333333333333333"}, {1e300, "1e+300"}, {-0.0, "-0"},
                {123456, "123456"}, {0.1 + 0.2, "0.30000000000000004"}, {5e-324, "4.94065645841247e-324"}};
    vise_rng rng;
    vise_rng_init(&rng, 5, "doubles");
    vise_buf buf;
    vise_buf_init(&buf, 100);
    for (size_t i = 0; i < 20000; i++) {
        double value;
        uint64_t bits = vise_rng_next(&rng);
        memcpy(&value, &bits, sizeof value);
        if (i < sizeof rows / sizeof *rows)
            value = rows[i].value;
        if (!isfinite(value))
            continue;
        vise_json_writer w;
        vise_buf_clear(&buf);
        vise_json_begin(&w, &buf, 0);
        vise_json_put_double(&w, value);
        if (i < sizeof rows / sizeof *rows)
            assert_string_equal(buf.data, rows[i].text);
        assert_true(strtod(buf.data, NULL) == value);
    }
    vise_buf_deinit(&buf);
}

static void test_edit(void **state)
{
    (void)state;
    static const struct {
        const char *text, *key, *json, *expected;
    } rows[] = {
        /* replace */
        {"{\"a\": 1, \"b\" :2 }", "a", "[3]", "{\"a\": [3], \"b\" :2 }"},
        {"{\"a\": 1, \"b\" :2 }", "b", "3", "{\"a\": 1, \"b\" :3 }"},
        {"{\"\\u0061\": {\"a\":0}}", "a", "1", "{\"\\u0061\": 1}"},
        {" {\"x\": 1.50, \"big\": 123456789012345678901}\n", "x", "2", " {\"x\": 2, \"big\": 123456789012345678901}\n"},
        /* add */
        {"{}", "k", "true", "{\"k\": true}"},
        {"{ }", "k", "true", "{\"k\": true }"},
        {"{\"a\":1}", "k", "\"v\"", "{\"a\":1,\"k\":\"v\"}"},
        {"{\n  \"a\": 1\n}\n", "k", "2", "{\n  \"a\": 1,\n  \"k\": 2\n}\n"},
        {"{\n  \"a\": {\"k\": 1},\n  \"b\": 1\n}\n", "k", "2", "{\n  \"a\": {\"k\": 1},\n  \"b\": 1,\n  \"k\": 2\n}\n"},
        {"{\"a\":1}", "q\"\n", "0", "{\"a\":1,\"q\\\"\\n\":0}"},
        /* remove */
        {"{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}", "a", NULL, "{\n  \"b\": 2,\n  \"c\": 3\n}"},
        {"{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}", "b", NULL, "{\n  \"a\": 1,\n  \"c\": 3\n}"},
        {"{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}", "c", NULL, "{\n  \"a\": 1,\n  \"b\": 2\n}"},
        {"{\"a\" : [1,2] , \"b\":2}", "a", NULL, "{\"b\":2}"},
        {"{ \"a\": 1 }", "a", NULL, "{}"},
        {"{\"a\": 1}", "b", NULL, "{\"a\": 1}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_error err = {0};
        char *out = NULL;
        assert_int_equal(vise_json_edit("doc", rows[i].text, rows[i].key, rows[i].json, &out, &err), VISE_OK);
        assert_string_equal(out, rows[i].expected);
        cJSON *json = NULL;
        assert_int_equal(parse(out, &json, &err), VISE_OK);
        cJSON_Delete(json);
        vise_free(out);
    }
    static const struct {
        const char *text, *key, *json;
    } bad[] = {
        {"[1]", "a", "1"}, {"{\"a\":1", "a", "1"}, {"{\"a\":1}", "a", "1,"}, {"{\"a\":1}", "a", ""},
        {"{\"a\":1,\"a\":2}", "a", "1"}, {"{\"a\":1} x", "a", "1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vise_error err = {0};
        char *out = NULL;
        assert_int_equal(vise_json_edit("doc", bad[i].text, bad[i].key, bad[i].json, &out, &err), VISE_EFORMAT);
        assert_null(out);
    }
}

static void test_injected_failures(void **state)
{
    (void)state;
    const char *text = "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9}";
    cJSON *json = NULL;
    vise_alloc_fail_after(1);
    assert_int_equal(vise_json_parse("doc", text, strlen(text), &json, NULL), VISE_ERESOURCE);
    assert_null(json);
    char *out = NULL;
    vise_alloc_fail_after(1);
    assert_int_equal(vise_json_edit("doc", text, "z", "1", &out, NULL), VISE_ERESOURCE);
    assert_null(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_int),
        cmocka_unit_test(test_other_getters),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_writer_depth),
        cmocka_unit_test(test_doubles_read_back),
        cmocka_unit_test(test_edit),
        cmocka_unit_test(test_injected_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
