/* Accuracy, F1 and confusion of given labels, against figures worked out by hand; names of labels; rows of tokens. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "eval/classify.h"
#include "eval/texts.h"
#include "pipeline/report_tasks.h"

#define CLASSIFIER "tests/data/tiny-classifier"
#define ROWS       8

static void near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-12))
        fail_msg("%.17g is not %.17g", a, b);
}

static void test_scores(void **state)
{
    static const struct {
        int32_t truth[ROWS], given[ROWS];
        size_t n, labels;
        double accuracy, macro_f1;
        double precision[4], recall[4], f1[4];
    } cases[] = {
        {{0, 1, 1, 0}, {0, 1, 1, 0}, 4, 2, 1.0, 1.0, {1.0, 1.0}, {1.0, 1.0}, {1.0, 1.0}},
        {{0, 0, 1, 1}, {1, 1, 0, 0}, 4, 2, 0.0, 0.0, {0.0, 0.0}, {0.0, 0.0}, {0.0, 0.0}},
        {{0, 1, 1, 1}, {0, 0, 1, 0}, 4, 2, 0.5, 0.5, {1.0 / 3.0, 1.0}, {1.0, 1.0 / 3.0}, {0.5, 0.5}},
        /* label 3 is neither there nor given: no part of the mean; 2 is there alone, 1 is given alone */
        {{0, 0, 2, 0}, {0, 1, 0, 0}, 4, 4, 0.5, 2.0 / 9.0, {2.0 / 3.0, 0.0, 0.0, 0.0}, {2.0 / 3.0, 0.0, 0.0, 0.0},
         {2.0 / 3.0, 0.0, 0.0, 0.0}},
        {{1}, {1}, 1, 2, 1.0, 1.0, {0.0, 1.0}, {0.0, 1.0}, {0.0, 1.0}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_class_scores scores;
        assert_int_equal(vise_class_scores_make(cases[i].truth, cases[i].given, cases[i].n, cases[i].labels, &scores,
                                                NULL),
                         VISE_OK);
        near(scores.accuracy, cases[i].accuracy);
        near(scores.stderr_accuracy,
             cases[i].n > 1 ? sqrt(cases[i].accuracy * (1 - cases[i].accuracy) / (double)(cases[i].n - 1)) : 0.0);
        for (size_t k = 0; k < cases[i].labels; k++) {
            near(scores.classes[k].f1, cases[i].f1[k]);
            near(scores.classes[k].precision, cases[i].precision[k]);
            near(scores.classes[k].recall, cases[i].recall[k]);
        }
        near(scores.macro_f1, cases[i].macro_f1);
        vise_class_scores_deinit(&scores);
    }
}

static void test_report(void **state)
{
    static const char *const names[] = {"no", NULL, "yes"};
    static const int32_t truth[] = {0, 2, 2, 0, 2}, after[] = {0, 2, 0, 0, 2}, before[] = {0, 2, 2, 2, 2};
    static const uint64_t table[] = {2, 0, 1, 2};
    vise_labelled labelled = {"x/dev.tsv", names, 3, truth, after, before, 5, 40, 1, 3};
    vise_report report;
    vise_buf json;

    (void)state;
    vise_buf_init(&json, 1 << 16);
    assert_int_equal(vise_report_init(&report, NULL), VISE_OK);
    assert_true(isnan(vise_report_tasks_accuracy(&report)));
    assert_int_equal(vise_report_labelled(&report, &labelled, NULL), VISE_OK);
    near(vise_report_tasks_accuracy(&report), 0.8);
    near(report.accuracy.labels.accuracy.before, 0.8);
    near(report.accuracy.labels.agreement, 0.6);
    assert_true(isnan(report.accuracy.labels.f1.after)); /* three labels: there is no positive one */
    assert_int_equal(report.accuracy.labels.n_classes, 2); /* the one in the middle does not occur */
    assert_memory_equal(report.accuracy.labels.confusion, table, sizeof table);
    assert_int_equal(vise_report_json(&report, true, &json, NULL), VISE_OK);
    assert_non_null(strstr(json.data, "\"labels\": {\n      \"accuracy\": {\n        \"before\": 0.8,\n"));
    assert_non_null(strstr(json.data, "\"name\": \"yes\""));
    assert_non_null(strstr(json.data, "\"invalid_utf8\": 3"));
    vise_buf_deinit(&json);
    vise_report_deinit(&report);
}

static void test_names(void **state)
{
    const char **names = NULL;
    vise_arena *arena = NULL;
    vise_model *model = NULL;

    (void)state;
    assert_int_equal(vise_arena_new(&arena, NULL), VISE_OK);
    assert_int_equal(vise_model_open(CLASSIFIER, &model, NULL), VISE_OK);
    assert_int_equal(vise_need_classes(model, "a test", NULL), VISE_OK);
    assert_int_equal(vise_class_names(model, arena, &names, NULL), VISE_OK);
    assert_string_equal(names[0], "negative");
    assert_string_equal(names[2], "positive");
    vise_model_close(model);
    vise_arena_free(arena);
}

static void test_rows(void **state)
{
    static const char text[] = "the film was quite bad , and the cast felt cold in the story .";
    vise_encoded rows = {0};
    vise_tokenizer *tokenizer = NULL;

    (void)state;
    assert_int_equal(vise_tokenizer_open(CLASSIFIER, &tokenizer, NULL), VISE_OK);
    assert_int_equal(vise_encoded_add_text(&rows, tokenizer, "one", "good", NULL, 16, 64, NULL), VISE_OK);
    assert_int_equal(vise_encoded_add_text(&rows, tokenizer, "two", text, NULL, 8, 64, NULL), VISE_OK);
    assert_int_equal(vise_encoded_add_text(&rows, tokenizer, "three", "good", "bad film", 16, 64, NULL), VISE_OK);
    vise_encoded_finish(&rows);
    assert_int_equal(rows.count, 3);
    assert_int_equal(rows.truncated, 1);
    assert_int_equal(rows.longest, 8);
    assert_int_equal(rows.tokens, 3 + 8 + 6);
    assert_ptr_equal(rows.sets[2].ids, rows.ids + 11);
    for (size_t i = 0; i < 6; i++) /* [CLS] good [SEP] bad film [SEP] */
        assert_int_equal(rows.sets[2].types[i], i >= 3);
    vise_encoded_deinit(&rows);
    vise_tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
