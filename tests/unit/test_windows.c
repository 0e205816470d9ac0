/* Windows from text, JSON lines and lists of ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/buf.h"
#include "core/event.h"
#include "core/file.h"
#include "core/mem.h"
#include "text/tokenizer_internal.h"
#include "text/windows.h"

/* A byte-level tokenizer of digits: the id of '0' + i is i; 10 is BOS, 11 the newline, 12 unknown. */
#define DIGITS                                                                                               \
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"             \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"0\":0,\"1\":1,\"2\":2,\"3\":3,\"4\":4,\"5\":5,\"6\":6,"        \
    "\"7\":7,\"8\":8,\"9\":9,\"<s>\":10,\"\xc4\x8a\":11,\"?\":12},\"merges\":[],\"unk_token\":\"?\"}"
/* BOS in front of each text. */
#define WITH_BOS                                                                                             \
    ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"  \
    "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[10]}}}"

static char folder[] = "/tmp/vise-test-windows-XXXXXX";
static char path[128];
static vise_tokenizer *plain, *with_bos;
static int warnings;

static void listen(void *context, const vise_event *event)
{
    (void)context;
    warnings += event->kind == VISE_EVENT_WARNING;
}

static int set_up(void **state)
{
    (void)state;
    vise_listen(listen, NULL);
    if (mkdtemp(folder) == NULL ||
        vise_tokenizer_from_text("d", DIGITS "}", strlen(DIGITS "}"), &plain, NULL) != VISE_OK)
        return -1;
    return vise_tokenizer_from_text("d", DIGITS WITH_BOS "}", strlen(DIGITS WITH_BOS "}"), &with_bos, NULL) !=
           VISE_OK;
}

static int tear_down(void **state)
{
    (void)state;
    vise_listen(NULL, NULL);
    vise_tokenizer_close(plain);
    vise_tokenizer_close(with_bos);
    return vise_folder_remove(folder, NULL) != VISE_OK;
}

/* Writes a file of this name and remembers its path. */
static void put(const char *name, const char *text)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(vise_file_write_atomic(path, text, strlen(text), NULL), VISE_OK);
}

static void load(const vise_tokenizer *tokenizer, vise_window_options options, vise_windows *windows)
{
    vise_error err = {0};

    warnings = 0;
    if (vise_windows_load(path, tokenizer, 13, &options, windows, &err) != VISE_OK)
        fail_msg("%s", err.message);
    assert_int_equal(windows->length, options.length);
}

static void check(const vise_windows *windows, const int32_t *want, size_t count)
{
    assert_int_equal(windows->count, count);
    assert_memory_equal(windows->ids, want, count * windows->length * sizeof *want);
}

static void test_text(void **state)
{
    static const int32_t all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    static const int32_t bos[] = {10, 0, 1, 10, 2, 3, 10, 4, 5, 10, 6, 7, 10, 8, 9};
    vise_windows windows;

    (void)state;
    put("a.txt", "0123456789");
    load(plain, (vise_window_options){.length = 3}, &windows);
    check(&windows, all, 3);
    assert_int_equal(windows.bytes, 6); /* the first token of a window is not predicted */
    vise_windows_deinit(&windows);
    load(with_bos, (vise_window_options){.length = 3}, &windows);
    check(&windows, bos, 5);
    assert_int_equal(windows.bytes, 10);
    vise_windows_deinit(&windows);
    load(with_bos, (vise_window_options){.length = 3, .samples = 2, .skip = 1}, &windows);
    check(&windows, bos + 3, 2);
    assert_int_equal(warnings, 0);
    vise_windows_deinit(&windows);
    load(with_bos, (vise_window_options){.length = 3, .samples = 9, .skip = 3}, &windows);
    check(&windows, bos + 9, 2);
    assert_int_equal(warnings, 1);
    vise_windows_deinit(&windows);
    put("a.txt", "12345\xff"
                 "678");
    load(plain, (vise_window_options){.length = 4}, &windows);
    assert_int_equal(windows.invalid_utf8, 1);
    assert_int_equal(windows.bytes, 0); /* an unknown token stands for who knows what */
    vise_windows_deinit(&windows);
}

/* What each protocol makes of ten digits, and what of it counts. */
static void test_protocols(void **state)
{
    static const struct {
        vise_window_options options;
        bool bos;
        size_t sets;
        struct {
            size_t count, length, uncounted;
            uint64_t bytes;
            int32_t ids[12];
        } want[3];
    } cases[] = {
        {{.protocol = VISE_PROTOCOL_PAPERS, .length = 4}, true, 1, {{2, 4, 0, 6, {0, 1, 2, 3, 4, 5, 6, 7}}}},
        {{.protocol = VISE_PROTOCOL_PAPERS, .length = 4, .skip = 1}, false, 1, {{1, 4, 0, 3, {4, 5, 6, 7}}}},
        {{.protocol = VISE_PROTOCOL_PAPERS, .length = 4, .bos_in_front = true},
         true,
         1,
         {{2, 4, 0, 6, {10, 0, 1, 2, 3, 4, 5, 6}}}},
        {{.protocol = VISE_PROTOCOL_STRIDE, .length = 4, .stride = 2},
         true,
         2,
         {{1, 4, 0, 3, {0, 1, 2, 3}}, {3, 4, 1, 6, {2, 3, 4, 5, 4, 5, 6, 7, 6, 7, 8, 9}}}},
        {{.protocol = VISE_PROTOCOL_STRIDE, .length = 4, .bos_in_front = true},
         true,
         3,
         {{1, 4, 0, 3, {10, 0, 1, 2}}, {3, 4, 1, 6, {1, 2, 3, 4, 3, 4, 5, 6, 5, 6, 7, 8}}, {1, 3, 1, 1, {7, 8, 9}}}},
        {{.protocol = VISE_PROTOCOL_STRIDE, .length = 6, .stride = 5},
         false,
         2,
         {{1, 6, 0, 5, {0, 1, 2, 3, 4, 5}}, {1, 5, 0, 4, {5, 6, 7, 8, 9}}}},
        {{.protocol = VISE_PROTOCOL_STRIDE, .length = 5, .stride = 5},
         false,
         1,
         {{2, 5, 0, 8, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}}},
        {{.protocol = VISE_PROTOCOL_STRIDE, .length = 9, .stride = 1},
         false,
         2,
         {{1, 9, 0, 8, {0, 1, 2, 3, 4, 5, 6, 7, 8}}, {1, 9, 7, 1, {1, 2, 3, 4, 5, 6, 7, 8, 9}}}},
        {{.protocol = VISE_PROTOCOL_STRIDE, .length = 16}, false, 1, {{1, 10, 0, 9, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}}},
        {{.protocol = VISE_PROTOCOL_STRIDE, .length = 4, .stride = 2, .samples = 2},
         false,
         2,
         {{1, 4, 0, 3, {0, 1, 2, 3}}, {1, 4, 1, 2, {2, 3, 4, 5}}}},
        {{.protocol = VISE_PROTOCOL_LLAMA_CPP, .length = 5}, true, 1, {{2, 5, 2, 4, {10, 0, 1, 2, 3, 10, 5, 6, 7, 8}}}},
        {{.protocol = VISE_PROTOCOL_LLAMA_CPP, .length = 4},
         false,
         1,
         {{2, 4, 2, 2, {0, 1, 2, 3, 4, 5, 6, 7}}}},
    };

    (void)state;
    put("a.txt", "0123456789");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_windows *sets;
        size_t count;
        vise_error err = {0};
        if (vise_window_sets_load(path, cases[i].bos ? with_bos : plain, 13, &cases[i].options, &sets, &count, &err) !=
            VISE_OK)
            fail_msg("case %zu: %s", i, err.message);
        if (count != cases[i].sets)
            fail_msg("case %zu: %zu sets", i, count);
        for (size_t s = 0; s < count; s++) {
            if (sets[s].length != cases[i].want[s].length || sets[s].uncounted != cases[i].want[s].uncounted ||
                sets[s].count != cases[i].want[s].count || sets[s].bytes != cases[i].want[s].bytes)
                fail_msg("case %zu, set %zu: %zu windows of %zu, %zu uncounted, %llu bytes", i, s, sets[s].count,
                         sets[s].length, sets[s].uncounted, (unsigned long long)sets[s].bytes);
            assert_memory_equal(sets[s].ids, cases[i].want[s].ids,
                                sets[s].count * sets[s].length * sizeof(int32_t));
        }
        vise_windows_free_sets(sets, count);
    }
}

static void test_protocols_refused(void **state)
{
    static const struct {
        vise_window_options options;
        bool bos;
        const char *says;
    } cases[] = {
        {{.protocol = VISE_PROTOCOL_LLAMA_CPP, .length = 3}, true, "at least 4"},
        {{.protocol = VISE_PROTOCOL_STRIDE, .length = 4, .stride = 5}, true, "a stride of 5"},
        {{.protocol = VISE_PROTOCOL_PAPERS, .length = 4, .bos_in_front = true}, false, "adds no BOS"},
        {{.protocol = VISE_PROTOCOL_PAPERS, .length = 11}, true, "10 tokens are too few for a window of 11"},
        {{.protocol = VISE_PROTOCOL_LLAMA_CPP, .length = 12}, true, "11 tokens are too few for a window of 12"},
    };
    vise_windows *sets;
    vise_protocol protocol;
    size_t count;
    vise_error err = {0};

    (void)state;
    put("a.txt", "0123456789");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        err = (vise_error){0};
        assert_int_equal(vise_window_sets_load(path, cases[i].bos ? with_bos : plain, 13, &cases[i].options, &sets,
                                               &count, &err),
                         VISE_EUSAGE);
        if (strstr(err.message, cases[i].says) == NULL)
            fail_msg("case %zu: \"%s\"", i, err.message);
        assert_null(sets);
    }
    err = (vise_error){0};
    assert_int_equal(vise_protocol_find("paper", &protocol, &err), VISE_EUSAGE);
    assert_non_null(strstr(err.message, VISE_PROTOCOL_CHOICES));
    for (int i = 0; i < VISE_PROTOCOL_COUNT; i++) {
        assert_int_equal(vise_protocol_find(vise_protocol_name((vise_protocol)i), &protocol, NULL), VISE_OK);
        assert_int_equal(protocol, i);
    }
    assert_int_equal(vise_protocol_length(VISE_PROTOCOL_LLAMA_CPP, 0), 512);
    assert_int_equal(vise_protocol_length(VISE_PROTOCOL_STRIDE, 1024), 1024);
}

/* Drawn windows are windows of the text, in order, without repetition, decided by the seed; each is
 * drawn equally often. */
static void test_random(void **state)
{
    int drawn[10] = {0};
    bool differ = false;
    int32_t first[6] = {0};

    (void)state;
    put("a.txt", "00112233445566778899");
    for (uint64_t seed = 0; seed < 500; seed++) {
        vise_windows windows, again;
        vise_window_options options = {.length = 2, .samples = 3, .skip = 2, .random = true, .seed = seed};
        load(plain, options, &windows);
        load(plain, options, &again);
        assert_int_equal(windows.count, 3);
        assert_memory_equal(windows.ids, again.ids, 6 * sizeof(int32_t));
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(windows.ids[2 * i], windows.ids[2 * i + 1]);
            assert_true(windows.ids[2 * i] >= 2);
            assert_true(i == 0 || windows.ids[2 * i] > windows.ids[2 * i - 2]);
            drawn[windows.ids[2 * i]]++;
        }
        if (seed == 0)
            memcpy(first, windows.ids, sizeof first);
        differ = differ || memcmp(first, windows.ids, sizeof first) != 0;
        vise_windows_deinit(&windows);
        vise_windows_deinit(&again);
    }
    assert_true(differ);
    for (int i = 2; i < 10; i++) /* 187.5 expected, standard deviation 11 */
        assert_in_range(drawn[i], 130, 245);
}

static void test_lines(void **state)
{
    static const int32_t want[] = {10, 1, 2, 10, 3, 4, 10, 5, 6};
    vise_windows windows;

    (void)state;
    put("a.jsonl",
        "{\"text\":\"12\",\"id\":1}\n\n{\"input_ids\":[10,3,4]}\r\n  \n{\"text\":\"\"}\n{\"text\":\"56\"}");
    load(with_bos, (vise_window_options){.length = 3}, &windows);
    check(&windows, want, 3);
    assert_int_equal(windows.bytes, 0);
    vise_windows_deinit(&windows);
    put("a.jsonl", "{\"input_ids\":[1,2,3]}\n{\"input_ids\":[4,5]}\n");
    load(NULL, (vise_window_options){.length = 2}, &windows);
    assert_int_equal(windows.count, 2);
    assert_int_equal(windows.ids[3], 4);
    vise_windows_deinit(&windows);
}

static void test_refused(void **state)
{
    static const struct {
        const char *name, *text;
        size_t length, skip;
        bool tokenizer;
        vise_status status;
        const char *says;
    } cases[] = {
        {"a.txt", "0123", 8, 0, true, VISE_EUSAGE, "4 tokens are too few for a window of 8"},
        {"a.txt", "0123456", 8, 1, true, VISE_EUSAGE, "behind the 1 skipped"},
        {"a.txt", "", 8, 0, true, VISE_EUSAGE, "0 tokens"},
        {"a.txt", "0123", 1, 0, true, VISE_EUSAGE, "at least 2"},
        {"a.txt", "0123", 2, 0, false, VISE_EUSAGE, "tokenizer.json"},
        {"a.md", "0123", 2, 0, true, VISE_EUSAGE, ".jsonl"},
        {"a.jsonl", "{\"text\":\"1\"}\n{\"text\":", 2, 0, true, VISE_EFORMAT, "line 2"},
        {"a.jsonl", "[1]", 2, 0, true, VISE_EFORMAT, "line 1: not a JSON object"},
        {"a.jsonl", "{\"content\":\"1\"}", 2, 0, true, VISE_EFORMAT, "text"},
        {"a.jsonl", "{\"text\":\"1\"}", 2, 0, false, VISE_EUSAGE, "tokenizer.json"},
        {"a.jsonl", "{\"input_ids\":7}", 2, 0, true, VISE_EFORMAT, "list"},
        {"a.jsonl", "{\"input_ids\":[1,13]}", 2, 0, true, VISE_EFORMAT, "input_ids[1]"},
        {"a.jsonl", "{\"input_ids\":[1,-1]}", 2, 0, true, VISE_EFORMAT, "input_ids[1]"},
        {"a.jsonl", "{\"input_ids\":[1,1e99]}", 2, 0, true, VISE_EFORMAT, "input_ids[1]"},
        {"a.jsonl", "{\"input_ids\":[0.5]}", 2, 0, true, VISE_EFORMAT, "input_ids[0]"},
    };
    vise_windows windows;
    vise_window_options options = {.length = 4};
    vise_error err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_status status;
        err = (vise_error){0};
        options = (vise_window_options){.length = cases[i].length, .skip = cases[i].skip};
        put(cases[i].name, cases[i].text);
        status = vise_windows_load(path, cases[i].tokenizer ? with_bos : NULL, 13, &options, &windows, &err);
        if (status != cases[i].status || strstr(err.message, cases[i].says) == NULL)
            fail_msg("case %zu: status %d, \"%s\"", i, (int)status, err.message);
        assert_null(windows.ids);
    }
    /* A tokenizer that knows more than the model. */
    put("a.txt", "0123456789");
    err = (vise_error){0};
    options.length = 4;
    assert_int_equal(vise_windows_load(path, plain, 9, &options, &windows, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "vocab_size is 9"));
    err = (vise_error){0};
    assert_int_equal(vise_windows_load(path, with_bos, 10, &options, &windows, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "BOS"));
    assert_int_equal(vise_windows_load("no/such.txt", plain, 13, &options, &windows, NULL), VISE_EFORMAT);
}

static void test_rows(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"{}", "list of rows"},       {"[]", "list of rows"}, {"[[1],[]]", "row 1"},
        {"[[1],2]", "row 1"},         {"[1]", "row 0"},       {"[[1,2],[3,13]]", "row 1, token 1"},
        {"[[-1]]", "row 0, token 0"}, {"[[1", "a.json"},
    };
    vise_windows *rows;
    size_t count;
    vise_error err = {0};

    (void)state;
    put("a.json", "[[1,2,3],[4],[5,12]]");
    assert_int_equal(vise_rows_load(path, 13, &rows, &count, &err), VISE_OK);
    assert_int_equal(count, 3);
    assert_int_equal(rows[0].length, 3);
    assert_int_equal(rows[1].length, 1);
    assert_int_equal(rows[2].ids[1], 12);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(rows[i].count, 1);
        vise_windows_deinit(&rows[i]);
    }
    vise_free(rows);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err = (vise_error){0};
        put("a.json", bad[i].text);
        assert_int_equal(vise_rows_load(path, 13, &rows, &count, &err), VISE_EFORMAT);
        assert_null(rows);
        if (strstr(err.message, bad[i].says) == NULL)
            fail_msg("case %zu: \"%s\"", i, err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),      cmocka_unit_test(test_protocols), cmocka_unit_test(test_protocols_refused),
        cmocka_unit_test(test_random),    cmocka_unit_test(test_lines),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_rows),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
