/* Regular expressions: what they match, and which are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/mem.h"
#include "text/cut.h"
#include "text/unicode.h"

static uint8_t classes[VISE_CHAR_TABLE], flags[VISE_FLAG_TABLE];
static vise_regex_scratch *scratch;

static int set_up(void **state)
{
    (void)state;
    vise_char_table(classes);
    vise_flag_table(flags);
    return vise_regex_scratch_new(&scratch, NULL) != VISE_OK;
}

static int tear_down(void **state)
{
    (void)state;
    vise_regex_scratch_free(scratch);
    return 0;
}

/* The pieces of text, each behind a bar. */
static void check_cut(vise_cut cut, const char *pattern, const char *text, const char *want)
{
    vise_cut_walk walk = {.cut = &cut,
                          .classes = classes,
                          .flags = flags,
                          .regex = scratch,
                          .text = text,
                          .length = strlen(text)};
    char got[256] = "";
    size_t start, end, n = 0;
    vise_error err = {0};
    bool more;

    if (pattern != NULL && vise_regex_new("tokenizer.json", pattern, &cut.regex, &err) != VISE_OK)
        fail_msg("%s", err.message);
    for (;;) {
        assert_int_equal(vise_cut_next(&walk, &more, &start, &end, &err), VISE_OK);
        if (!more)
            break;
        assert_true(end > start && end <= walk.length);
        n += (size_t)snprintf(got + n, sizeof got - n, "|%.*s", (int)(end - start), text + start);
    }
    if (strcmp(got, want) != 0)
        fail_msg("%s: \"%s\" is cut into \"%s\", expected \"%s\"", pattern, text, got, want);
    vise_regex_free(cut.regex);
}

static void test_matches(void **state)
{
    static const struct {
        const char *pattern, *text, *want;
    } cases[] = {
        {"[ab]+", "xabyb", "|x|ab|y|b"},
        {"\\p{N}{1,3}", "12345\xd9\xa3x", "|123|45\xd9\xa3|x"},
        {"\\s+$", "a  \n b ", "|a|  |\n b| "},
        {"^.", "ab\ncd", "|a|b\n|c|d"},
        {"a{2,}?", "aaaa", "|aa|aa"},
        {"(?i:'s|'ll)", "x'S'LL'\xc5\xbf", "|x|'S|'LL|'\xc5\xbf"},
        {"[^(\\s|[.,])]+", "ab(c|d.e f", "|ab|(|c|||d|.|e| |f"},
        {"\\p{Han}+|[\\x{3041}-\\x{3096}]+", "a\xe4\xb8\xad\xe6\x96\x87\xe3\x81\x82",
         "|a|\xe4\xb8\xad\xe6\x96\x87|\xe3\x81\x82"},
        {"\\u00e9|\\xe|\\t", "\xc3\xa9\t\x0ex", "|\xc3\xa9|\t|\x0e|x"},
        {"\\P{L}|[\\d\\-]", "a-1", "|a|-|1"},
        /* U+31350, of Unicode 15, is a letter though PCRE2 may not know it yet. */
        {"\\p{L}+", "a\xf0\xb1\x8d\x90.", "|a\xf0\xb1\x8d\x90|."},
        {"a++|b?+c", "aaabc", "|aaa|bc"},
        {"(?<=a)b|(?<!x)c(?=d)(?!e)", "abcd", "|a|b|c|d"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_cut((vise_cut){.kind = VISE_CUT_REGEX}, cases[i].pattern, cases[i].text, cases[i].want);
}

static void test_behaviors(void **state)
{
    static const struct {
        vise_behavior behavior;
        bool invert;
        const char *want;
    } cases[] = {
        {VISE_CUT_ISOLATED, false, "|-|-|a|-|b|-|-"},    {VISE_CUT_REMOVED, false, "|a|b"},
        {VISE_CUT_REMOVED, true, "|-|-|-|-|-"},          {VISE_CUT_CONTIGUOUS, false, "|--|a|-|b|--"},
        {VISE_CUT_WITH_PREVIOUS, false, "|-|-|a-|b-|-"}, {VISE_CUT_WITH_NEXT, false, "|-|-a|-b|-|-"},
        {VISE_CUT_WITH_PREVIOUS, true, "|-|-a|-b|-|-"},  {VISE_CUT_WITH_NEXT, true, "|-|-|a-|b-|-"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_cut((vise_cut){.kind = VISE_CUT_STRING,
                             .string = "-",
                             .string_length = 1,
                             .behavior = cases[i].behavior,
                             .invert = cases[i].invert},
                  NULL, "--a-b--", cases[i].want);
    check_cut((vise_cut){.kind = VISE_CUT_PUNCTUATION}, NULL, "a.,b\xe3\x80\x82", "|a|.|,|b|\xe3\x80\x82");
    check_cut((vise_cut){.kind = VISE_CUT_NUMERIC, .behavior = VISE_CUT_CONTIGUOUS}, NULL, "a12b\xc2\xbd",
              "|a|12|b|\xc2\xbd");
    check_cut((vise_cut){.kind = VISE_CUT_SPACE, .behavior = VISE_CUT_REMOVED}, NULL, " a \xe3\x80\x80 b",
              "|a|b");
    check_cut((vise_cut){.kind = VISE_CUT_WORDS, .behavior = VISE_CUT_REMOVED, .invert = true}, NULL,
              " a_1.. b", "|a_1|..|b");
}

static void test_refused(void **state)
{
    static const struct {
        const char *pattern;
        vise_status status;
    } cases[] = {
        {"\\w+", VISE_EUNSUPPORTED},
        {"a\\b", VISE_EUNSUPPORTED},
        {"(a)\\1", VISE_EUNSUPPORTED},
        {"[a&&b]", VISE_EUNSUPPORTED},
        {"[[:alpha:]]", VISE_EUNSUPPORTED},
        {"[a[^b]]", VISE_EUNSUPPORTED},
        {"[\\S]", VISE_EUNSUPPORTED},
        {"\\p{Greek}", VISE_EUNSUPPORTED},
        {"\\p{Cn}", VISE_EUNSUPPORTED},
        {"(?i:ss)", VISE_EUNSUPPORTED},
        {"(?i:\xc3\xa9)", VISE_EUNSUPPORTED},
        {"(?i)a", VISE_EUNSUPPORTED},
        {"(?i:[a-z])", VISE_EUNSUPPORTED},
        {"(?m:a)", VISE_EUNSUPPORTED},
        {"a{1,2}+", VISE_EUNSUPPORTED},
        {"a{,2}", VISE_EUNSUPPORTED},
        {"a**", VISE_EUNSUPPORTED},
        {"a{2}?", VISE_EUNSUPPORTED},
        {"*a", VISE_EUNSUPPORTED},
        {"a*", VISE_EUNSUPPORTED},
        {"", VISE_EUNSUPPORTED},
        {"[]a]", VISE_EUNSUPPORTED},
        {"(a", VISE_EFORMAT},
        {"a)", VISE_EFORMAT},
        {"[a", VISE_EFORMAT},
        {"a\\", VISE_EFORMAT},
        {"[b-a]", VISE_EFORMAT},
        {"\\x{110000}", VISE_EFORMAT},
        {"\\p{L", VISE_EFORMAT},
        {"\\pL", VISE_EFORMAT},
        {"(?<=a+)b", VISE_EFORMAT},
        {"\\xff", VISE_EFORMAT},
        {"\\x{d800}", VISE_EFORMAT},
    };
    char deep[200];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_regex *regex = NULL;
        vise_error err = {0};
        vise_status status = vise_regex_new("tokenizer.json", cases[i].pattern, &regex, &err);
        if (status != cases[i].status || strstr(err.message, "tokenizer.json") == NULL)
            fail_msg("\"%s\": status %d, \"%s\"", cases[i].pattern, (int)status, err.message);
        assert_null(regex);
    }
    memset(deep, '(', 100);
    memset(deep + 100, ')', 99);
    deep[199] = '\0';
    assert_int_equal(vise_regex_new("x", deep, &(vise_regex *){NULL}, NULL), VISE_EUNSUPPORTED);
}

static void test_out_of_memory(void **state)
{
    vise_status status = VISE_ERESOURCE;

    (void)state;
    for (uint64_t n = 1; status != VISE_OK; n++) {
        vise_regex *regex = NULL;
        assert_true(n < 1000);
        vise_alloc_fail_after(n);
        status = vise_regex_new("tokenizer.json", "[ab]+|\\p{L}", &regex, NULL);
        vise_alloc_fail_after(0);
        assert_true(status == VISE_OK || status == VISE_ERESOURCE);
        vise_regex_free(regex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_behaviors),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
