/* Files of multiple choice, and files of texts one to a line. */
#include <stdio.h>
#include <string.h>

#include "formats_help.h"
#include "text/choices.h"
#include "text/lines.h"

static const char *folder;

static int set_up(void **state)
{
    (void)state;
    folder = help_folder();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    help_remove(folder);
    return 0;
}

enum reader { CHOICES, LINES };

/* Loads a file of the folder by one of the readers, and lets go of what it made. */
static vise_status load(enum reader reader, const char *file, vise_error *err)
{
    vise_choices choices;
    vise_lines lines;
    if (reader == CHOICES) {
        const vise_status status = vise_choices_load(help_path(folder, file), &choices, err);
        assert_true(status == VISE_OK || choices.rows == NULL);
        vise_choices_deinit(&choices);
        return status;
    }
    const vise_status status = vise_lines_load(help_path(folder, file), &lines, err);
    assert_true(status == VISE_OK || lines.rows == NULL);
    vise_lines_deinit(&lines);
    return status;
}

/* ---- choices ----------------------------------------------------------------------------------------------------- */

static void test_rows(void **state)
{
    static const char text[] =
        "{\"ind\": 7, \"ctx\": \"a b\", \"endings\": [\"c\", \"d \\u00e9\"], \"label\": \"1\"}\r\n"
        "\n \t\n"
        "{\"query\":\"\",\"choices\":[\"x\",\"y\",\"z\"],\"label\":2,\"more\":{}}\n"
        "{\"label\":0,\"question\":\"q\",\"endings\":[\"e\",\"f\"]}";
    vise_choices choices;

    (void)state;
    help_write_text(folder, "a.jsonl", text);
    OK(vise_choices_load(help_path(folder, "a.jsonl"), &choices, &help_error));
    assert_int_equal(choices.count, 3);
    assert_string_equal(choices.rows[0].context, "a b");
    assert_int_equal(choices.rows[0].n_endings, 2);
    assert_string_equal(choices.rows[0].endings[1], "d \xc3\xa9");
    assert_int_equal(choices.rows[0].label, 1);
    assert_int_equal(choices.rows[0].line, 1);
    assert_string_equal(choices.rows[1].context, "");
    assert_int_equal(choices.rows[1].n_endings, 3);
    assert_string_equal(choices.rows[1].endings[2], "z");
    assert_int_equal(choices.rows[1].label, 2);
    assert_int_equal(choices.rows[1].line, 4);
    assert_string_equal(choices.rows[2].context, "q");
    assert_int_equal(choices.rows[2].line, 5);
    vise_choices_deinit(&choices);
}

/* The most endings there may be, and one more. */
static void test_many_endings(void **state)
{
    (void)state;
    for (int n = VISE_ENDINGS_MAX; n <= VISE_ENDINGS_MAX + 1; n++) {
        char text[1024] = "{\"ctx\":\"a\",\"label\":0,\"endings\":[\"x\"";
        vise_choices choices;
        for (int i = 1; i < n; i++)
            memcpy(text + strlen(text), ",\"x\"", 5);
        memcpy(text + strlen(text), "]}", 3);
        help_write_text(folder, "many.jsonl", text);
        vise_status status = vise_choices_load(help_path(folder, "many.jsonl"), &choices, &help_error);
        if (n == VISE_ENDINGS_MAX) {
            OK(status);
            assert_int_equal(choices.rows[0].n_endings, n);
            vise_choices_deinit(&choices);
        } else {
            FAILS(VISE_EFORMAT, "line 1: 65 endings; there must be 2 to 64", status);
        }
    }
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static void test_lines(void **state)
{
    static const struct {
        const char *file, *text;
    } cases[] = {
        {"a.txt", "one , two \r\n\n \t\n\"x"},
        {"b.txt", "\xef\xbb\xbfone , two\n\n\n\"x\n\n"},
        {"c.jsonl", "{\"text\": \"one , two\", \"id\": 3}\n\n\n{\"content\": \"\\\"x\"}\n"},
        {"d.jsonl",
         "{\"sentence\": \"one , two\"}\n\n\n{\"text\": \"\\\"x\", \"content\": \"later ones are left\"}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_lines lines;
        help_write_text(folder, cases[i].file, cases[i].text);
        OK(vise_lines_load(help_path(folder, cases[i].file), &lines, &help_error));
        assert_int_equal(lines.count, 2);
        assert_string_equal(lines.rows[0].text, "one , two");
        assert_string_equal(lines.rows[1].text, "\"x");
        assert_int_equal(lines.rows[0].number, 1);
        assert_int_equal(lines.rows[1].number, 4);
        vise_lines_deinit(&lines);
    }
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    static const struct {
        enum reader reader;
        const char *file, *text, *says;
        vise_status status;
    } cases[] = {
        {CHOICES, "a.json", "", ".jsonl", VISE_EUSAGE},
        {CHOICES, "a.jsonl", "", "no contexts", VISE_EUSAGE},
        {CHOICES, "a.jsonl", "\n \n", "no contexts", VISE_EUSAGE},
        {CHOICES, "a.jsonl", "[1]\n", "line 1: not a JSON object", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "\n{\"ctx\":\"a\",", "line 2", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"endings\":[\"a\",\"b\"],\"label\":0}", "line 1: there is no ctx, context, query",
         VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"label\":0}", "line 1: there is no endings or choices", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"query\":\"b\",\"endings\":[\"a\",\"b\"],\"label\":0}", "mean the same",
         VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[\"a\",\"b\"],\"choices\":[\"a\",\"b\"],\"label\":0}",
         "mean the same", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":7,\"endings\":[\"a\",\"b\"],\"label\":0}", "the context is no text",
         VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":\"b\",\"label\":0}", "the endings are no list", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[],\"label\":0}", "0 endings; there must be 2", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[\"b\"],\"label\":0}", "1 ending; there must be 2",
         VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[\"b\",3],\"label\":0}", "ending 1 is no text", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[\"\",\"b\"],\"label\":0}", "ending 0 is no text",
         VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[\"a\",\"b\"]}", "label", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[\"a\",\"b\"],\"label\":2}", "label", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[\"a\",\"b\"],\"label\":-1}", "label", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[\"a\",\"b\"],\"label\":0.5}", "label", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[\"a\",\"b\"],\"label\":\"2\"}",
         "\"2\" is none of the endings 0 to 1", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[\"a\",\"b\"],\"label\":\"\"}", "is none of the endings",
         VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[\"a\",\"b\"],\"label\":\"B\"}", "is none of the endings",
         VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\",\"endings\":[\"a\",\"b\"],\"label\":\"99999999999999999999\"}",
         "is none of the endings", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\\u0000\",\"endings\":[\"a\",\"b\"],\"label\":0}", "line 1", VISE_EFORMAT},
        {CHOICES, "a.jsonl", "{\"ctx\":\"a\xff\",\"endings\":[\"a\",\"b\"],\"label\":0}", "byte 0xFF is not UTF-8",
         VISE_EFORMAT},
        {LINES, "a.tsv", "x\n", ".txt (one to a line) or .jsonl", VISE_EUSAGE},
        {LINES, "a.txt", "", "there are no texts", VISE_EUSAGE},
        {LINES, "a.txt", "\n \r\n", "there are no texts", VISE_EUSAGE},
        {LINES, "a.jsonl", "\n", "there are no texts", VISE_EUSAGE},
        {LINES, "a.jsonl", "{\"text\":\"a\"}\n{\"txt\":\"a\"}\n", "line 2: there is no text, sentence or content",
         VISE_EFORMAT},
        {LINES, "a.jsonl", "{\"text\":7}\n", "text", VISE_EFORMAT},
        {LINES, "a.jsonl", "[\"a\"]\n", "line 1", VISE_EFORMAT},
        {LINES, "a.jsonl", "{\"text\":\"a\"\n", "line 1", VISE_EFORMAT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        help_write_text(folder, cases[i].file, cases[i].text);
        FAILS(cases[i].status, cases[i].says, load(cases[i].reader, cases[i].file, &help_error));
    }
    FAILS(VISE_EFORMAT, "nowhere.jsonl", load(CHOICES, "nowhere.jsonl", &help_error));
    help_write(folder, "n.txt", "a\nb\0c\n", 6);
    FAILS(VISE_EFORMAT, "line 2: the text has a NUL", load(LINES, "n.txt", &help_error));
}

static void test_out_of_memory(void **state)
{
    (void)state;
    help_write_text(folder, "m.jsonl",
                    "{\"ctx\":\"a\",\"text\":\"a\",\"endings\":[\"a\",\"b\"],\"label\":0}\n");
    for (enum reader reader = CHOICES; reader <= LINES; reader++) {
        vise_status status = VISE_ERESOURCE;
        for (uint64_t n = 1; status != VISE_OK; n++) {
            assert_true(n < 1000);
            vise_alloc_fail_after(n);
            status = load(reader, "m.jsonl", NULL);
            vise_alloc_fail_after(0);
            assert_true(status == VISE_OK || status == VISE_ERESOURCE);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_many_endings),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
