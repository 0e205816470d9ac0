/* Label files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "text/labels.h"

static char folder[] = "/tmp/vise-test-labels-XXXXXX";
static const char *const names[] = {"negative", "positive", "7"};

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    return vise_folder_remove(folder, NULL) != VISE_OK;
}

static vise_status load(const char *name, const char *text, size_t length, vise_labels *labels,
                        vise_error *err)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(vise_file_write_atomic(path, text, length, NULL), VISE_OK);
    return vise_labels_load(path, names, 3, labels, err);
}

static void test_rows(void **state)
{
    static const struct {
        const char *file, *text;
    } cases[] = {
        {"a.tsv", "label\tsentence\n0\tone , two\npositive\tthree\n7\t \"x\n"},
        {"b.tsv",
         "\xef\xbb\xbfindex\tcontent\tlabel\r\n9\tone , two\tnegative\r\n8\tthree\t1\r\n\r\n7\t \"x\t2"},
        {"c.jsonl", "{\"text\":\"one , two\",\"label\":0}\n\n{\"label\":\"positive\",\"text\":\"three\"}\n"
                    "{\"sentence1\":\" \\\"x\",\"label\":\"7\",\"more\":[]}"},
    };
    static const char *const texts[] = {"one , two", "three", " \"x"};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_labels labels;
        vise_error err = {0};
        if (load(cases[i].file, cases[i].text, strlen(cases[i].text), &labels, &err) != VISE_OK)
            fail_msg("%s", err.message);
        assert_int_equal(labels.count, 3);
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(labels.rows[k].label, k);
            assert_string_equal(labels.rows[k].first, texts[k]);
            assert_null(labels.rows[k].second);
        }
        vise_labels_deinit(&labels);
    }
}

static void test_pairs(void **state)
{
    static const char tsv[] = "sentence1\tsentence2\tlabel\na\tb\t1\nc\t\t0\n";
    static const char jsonl[] = "{\"premise\":\"a\",\"hypothesis\":\"b\",\"label\":1}\n"
                                "{\"premise\":\"c\",\"hypothesis\":\"\",\"label\":0}\n";

    (void)state;
    for (int i = 0; i < 2; i++) {
        vise_labels labels;
        assert_int_equal(load(i == 0 ? "p.tsv" : "p.jsonl", i == 0 ? tsv : jsonl,
                              i == 0 ? sizeof tsv - 1 : sizeof jsonl - 1, &labels, NULL),
                         VISE_OK);
        assert_int_equal(labels.count, 2);
        assert_string_equal(labels.rows[0].second, "b");
        assert_string_equal(labels.rows[1].second, "");
        assert_int_equal(labels.rows[1].line, i == 0 ? 3 : 2);
        vise_labels_deinit(&labels);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *file, *text, *says;
        vise_status status;
    } cases[] = {
        {"a.csv", "label,text\n", ".tsv", VISE_EUSAGE},
        {"a.tsv", "", "no labelled texts", VISE_EUSAGE},
        {"a.tsv", "label\ttext\n", "no labelled texts", VISE_EUSAGE},
        {"a.tsv", "0\tgood\n", "no column label", VISE_EFORMAT},
        {"a.tsv", "label\tbody\n0\tx\n", "no column text", VISE_EFORMAT},
        {"a.tsv", "label\ttext\tsentence\n0\tx\ty\n", "\"text\" and \"sentence\"", VISE_EFORMAT},
        {"a.tsv", "label\ttext\n0\tx\ty\n", "line 2: 3 columns", VISE_EFORMAT},
        {"a.tsv", "label\ttext\n0\tx\n1\n", "line 3: 1 columns", VISE_EFORMAT},
        {"a.tsv", "label\ttext\nneutral\tx\n",
         "\"neutral\" is unknown; the model's are 0 to 2 (negative, positive, 7)", VISE_EFORMAT},
        {"a.tsv", "label\ttext\n3\tx\n", "\"3\" is unknown", VISE_EFORMAT},
        {"a.tsv", "label\ttext\n-1\tx\n", "\"-1\" is unknown", VISE_EFORMAT},
        {"a.tsv", "label\ttext\n\tx\n", "\"\" is unknown", VISE_EFORMAT},
        {"a.tsv", "label\ttext\n99999999999999999999\tx\n", "is unknown", VISE_EFORMAT},
        {"a.jsonl", "{\"text\":\"x\"}\n", "line 1: there is no \"label\"", VISE_EFORMAT},
        {"a.jsonl", "{\"label\":0}\n", "no \"text\"", VISE_EFORMAT},
        {"a.jsonl", "{\"label\":3,\"text\":\"x\"}\n", "label", VISE_EFORMAT},
        {"a.jsonl", "{\"label\":0.5,\"text\":\"x\"}\n", "label", VISE_EFORMAT},
        {"a.jsonl", "{\"label\":0,\"text\":7}\n", "text", VISE_EFORMAT},
        {"a.jsonl", "{\"label\":0,\"text\":\"x\",\"content\":\"y\"}\n", "mean the same", VISE_EFORMAT},
        {"a.jsonl", "\n[0]\n", "line 2: not a JSON object", VISE_EFORMAT},
        {"a.jsonl", "{\"label\":0,", "line 1", VISE_EFORMAT},
    };
    vise_labels labels;
    vise_error err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        err = (vise_error){0};
        if (load(cases[i].file, cases[i].text, strlen(cases[i].text), &labels, &err) != cases[i].status ||
            strstr(err.message, cases[i].says) == NULL)
            fail_msg("case %zu (%s): \"%s\"", i, cases[i].says, err.message);
        assert_null(labels.rows);
    }
    err = (vise_error){0};
    assert_int_equal(load("n.tsv", "label\ttext\n0\tx\0y\n", 17, &labels, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "NUL"));
    assert_int_equal(vise_labels_load("/nowhere/a.tsv", names, 3, &labels, NULL), VISE_EFORMAT);
    assert_int_equal(vise_labels_load("/nowhere/a.tsv", NULL, 0, &labels, NULL), VISE_EUSAGE);
}

static void test_out_of_memory(void **state)
{
    static const char tsv[] = "label\ttext\n0\tx\n1\ty\n";
    vise_status status = VISE_ERESOURCE;
    vise_labels labels;
    char path[128];

    (void)state;
    assert_int_equal(load("m.tsv", tsv, sizeof tsv - 1, &labels, NULL), VISE_OK);
    vise_labels_deinit(&labels);
    snprintf(path, sizeof path, "%s/m.tsv", folder);
    for (uint64_t n = 1; status != VISE_OK; n++) {
        assert_true(n < 1000);
        vise_alloc_fail_after(n);
        status = vise_labels_load(path, names, 3, &labels, NULL);
        vise_alloc_fail_after(0);
        assert_true(status == VISE_OK || status == VISE_ERESOURCE);
        vise_labels_deinit(&labels);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
