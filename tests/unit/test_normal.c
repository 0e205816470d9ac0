/* Normalizers. What is expected was computed by the tokenizers library (0.23). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/mem.h"
#include "text/tokenizer_internal.h"

static vise_tokenizer *with_normalizer(const char *normalizer)
{
    vise_tokenizer *tokenizer;
    vise_error err = {0};
    char *json;

    assert_int_equal(
        vise_strfmt(&json, NULL,
                    "{\"normalizer\":%s,\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
                    normalizer),
        VISE_OK);
    if (vise_tokenizer_from_text("tokenizer.json", json, strlen(json), &tokenizer, &err) != VISE_OK)
        fail_msg("%s", err.message);
    vise_free(json);
    return tokenizer;
}

static void check(const char *normalizer, const char *text, size_t length, const char *want)
{
    vise_tokenizer *tokenizer = with_normalizer(normalizer);
    vise_text_scratch *scratch;
    const char *got;
    size_t got_length;

    assert_int_equal(vise_text_scratch_new(&scratch, NULL), VISE_OK);
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(vise_normalize(tokenizer, scratch, text, length, &got, &got_length, NULL), VISE_OK);
        if (got_length != strlen(want) || memcmp(got, want, got_length) != 0)
            fail_msg("%s of \"%s\" is \"%.*s\", expected \"%s\"", normalizer, text, (int)got_length, got,
                     want);
    }
    vise_text_scratch_free(scratch);
    vise_tokenizer_close(tokenizer);
}

static void test_known(void **state)
{
    static const struct {
        const char *type, *text, *want;
    } cases[] = {
        {"NFC", "e\xcc\x81\xcc\xa3 o\xcc\xa8\xcc\x84", "\xe1\xba\xb9\xcc\x81 \xc7\xad"},
        {"NFC", "\xea\xb0\x81 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81 \xea\xb0\x81"},
        {"NFC", "q\xcc\x87\xcc\xa3\xcd\x84", "q\xcc\xa3\xcc\x87\xcc\x88\xcc\x81"},
        {"NFC", "\xe0\xa7\x87\xe0\xa6\xbe \xf0\x91\xa4\xb5\xf0\x91\xa4\xb0",
         "\xe0\xa7\x8b \xf0\x91\xa4\xb5\xf0\x91\xa4\xb0"},
        {"NFC", "\xe2\x84\xab\xe2\x84\xa6 \xe0\xa5\x98", "\xc3\x85\xce\xa9 \xe0\xa4\x95\xe0\xa4\xbc"},
        {"NFD", "Caf\xc3\xa9 \xc3\x85ngstr\xc3\xb6m \xef\xac\x81ne",
         "Cafe\xcc\x81 A\xcc\x8angstro\xcc\x88m \xef\xac\x81ne"},
        {"NFD", "e\xcc\x81\xcc\xa3 o\xcc\xa8\xcc\x84", "e\xcc\xa3\xcc\x81 o\xcc\xa8\xcc\x84"},
        {"NFD", "\xea\xb0\x81 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8",
         "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8"},
        {"NFD", "\xc4\xb0stanbul STRASSE \xe1\xba\x9e", "I\xcc\x87stanbul STRASSE \xe1\xba\x9e"},
        {"NFD", "q\xcc\x87\xcc\xa3\xcd\x84", "q\xcc\xa3\xcc\x87\xcc\x88\xcc\x81"},
        {"NFD", "\xe2\x84\xab\xe2\x84\xa6 \xe0\xa5\x98", "A\xcc\x8a\xce\xa9 \xe0\xa4\x95\xe0\xa4\xbc"},
        {"NFKC", "Caf\xc3\xa9 \xc3\x85ngstr\xc3\xb6m \xef\xac\x81ne",
         "Caf\xc3\xa9 \xc3\x85ngstr\xc3\xb6m fine"},
        {"NFKC", "e\xcc\x81\xcc\xa3 o\xcc\xa8\xcc\x84", "\xe1\xba\xb9\xcc\x81 \xc7\xad"},
        {"NFKC", "\xea\xb0\x81 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81 \xea\xb0\x81"},
        {"NFKC", "  \xe3\x80\x80padded\x09 ", "   padded\x09 "},
        {"NFKC", "\xe4\xb8\xad\xe6\x96\x87\xef\xbc\xa1\xef\xbc\x91",
         "\xe4\xb8\xad\xe6\x96\x87"
         "A1"},
        {"NFKC", "q\xcc\x87\xcc\xa3\xcd\x84", "q\xcc\xa3\xcc\x87\xcc\x88\xcc\x81"},
        {"NFKC", "\xe0\xa7\x87\xe0\xa6\xbe \xf0\x91\xa4\xb5\xf0\x91\xa4\xb0",
         "\xe0\xa7\x8b \xf0\x91\xa4\xb5\xf0\x91\xa4\xb0"},
        {"NFKC", "\xe2\x84\xab\xe2\x84\xa6 \xe0\xa5\x98", "\xc3\x85\xce\xa9 \xe0\xa4\x95\xe0\xa4\xbc"},
        {"NFKD", "Caf\xc3\xa9 \xc3\x85ngstr\xc3\xb6m \xef\xac\x81ne",
         "Cafe\xcc\x81 A\xcc\x8angstro\xcc\x88m fine"},
        {"NFKD", "e\xcc\x81\xcc\xa3 o\xcc\xa8\xcc\x84", "e\xcc\xa3\xcc\x81 o\xcc\xa8\xcc\x84"},
        {"NFKD", "\xea\xb0\x81 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8",
         "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8"},
        {"NFKD", "\xc4\xb0stanbul STRASSE \xe1\xba\x9e", "I\xcc\x87stanbul STRASSE \xe1\xba\x9e"},
        {"NFKD", "  \xe3\x80\x80padded\x09 ", "   padded\x09 "},
        {"NFKD", "\xe4\xb8\xad\xe6\x96\x87\xef\xbc\xa1\xef\xbc\x91",
         "\xe4\xb8\xad\xe6\x96\x87"
         "A1"},
        {"NFKD", "q\xcc\x87\xcc\xa3\xcd\x84", "q\xcc\xa3\xcc\x87\xcc\x88\xcc\x81"},
        {"NFKD", "\xe2\x84\xab\xe2\x84\xa6 \xe0\xa5\x98", "A\xcc\x8a\xce\xa9 \xe0\xa4\x95\xe0\xa4\xbc"},
        {"Lowercase", "Caf\xc3\xa9 \xc3\x85ngstr\xc3\xb6m \xef\xac\x81ne",
         "caf\xc3\xa9 \xc3\xa5ngstr\xc3\xb6m \xef\xac\x81ne"},
        {"Lowercase", "\xc4\xb0stanbul STRASSE \xe1\xba\x9e", "i\xcc\x87stanbul strasse \xc3\x9f"},
        {"Lowercase", "\xe4\xb8\xad\xe6\x96\x87\xef\xbc\xa1\xef\xbc\x91",
         "\xe4\xb8\xad\xe6\x96\x87\xef\xbd\x81\xef\xbc\x91"},
        {"Lowercase", "\xe2\x84\xab\xe2\x84\xa6 \xe0\xa5\x98", "\xc3\xa5\xcf\x89 \xe0\xa5\x98"},
        {"StripAccents", "e\xcc\x81\xcc\xa3 o\xcc\xa8\xcc\x84", "e o"},
        {"StripAccents", "q\xcc\x87\xcc\xa3\xcd\x84", "q"},
        {"StripAccents", "\xe0\xa7\x87\xe0\xa6\xbe \xf0\x91\xa4\xb5\xf0\x91\xa4\xb0",
         " \xf0\x91\xa4\xb5\xf0\x91\xa4\xb0"},
        {"Strip", "  \xe3\x80\x80padded\x09 ", "padded"},
        {"BertNormalizer", "Caf\xc3\xa9 \xc3\x85ngstr\xc3\xb6m \xef\xac\x81ne",
         "cafe angstrom \xef\xac\x81ne"},
        {"BertNormalizer", "e\xcc\x81\xcc\xa3 o\xcc\xa8\xcc\x84", "e o"},
        {"BertNormalizer", "\xea\xb0\x81 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8",
         "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8"},
        {"BertNormalizer", "\xc4\xb0stanbul STRASSE \xe1\xba\x9e", "istanbul strasse \xc3\x9f"},
        {"BertNormalizer", "  \xe3\x80\x80padded\x09 ", "   padded  "},
        {"BertNormalizer", "\xe4\xb8\xad\xe6\x96\x87\xef\xbc\xa1\xef\xbc\x91",
         " \xe4\xb8\xad  \xe6\x96\x87 \xef\xbd\x81\xef\xbc\x91"},
        {"BertNormalizer", "q\xcc\x87\xcc\xa3\xcd\x84", "q"},
        {"BertNormalizer", "\xe2\x84\xab\xe2\x84\xa6 \xe0\xa5\x98", "a\xcf\x89 \xe0\xa4\x95"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char normalizer[64];
        snprintf(normalizer, sizeof normalizer, "{\"type\":\"%s\"}", cases[i].type);
        check(normalizer, cases[i].text, strlen(cases[i].text), cases[i].want);
    }
}

static void test_options(void **state)
{
    (void)state;
    check("{\"type\":\"BertNormalizer\"}",
          "a\0b\xe2\x80\x8b"
          "c\xef\xbf\xbd"
          "d\xc2\xa0"
          "e",
          14, "abcd e");
    check("{\"type\":\"BertNormalizer\",\"lowercase\":false}", "\xc3\x89T\xe4\xb8\xad", 6,
          "\xc3\x89T \xe4\xb8\xad ");
    check("{\"type\":\"BertNormalizer\",\"lowercase\":false,\"strip_accents\":true}", "\xc3\x89T", 3, "ET");
    check("{\"type\":\"BertNormalizer\",\"handle_chinese_chars\":false,\"clean_text\":false}",
          "A\t\xe4\xb8\xad", 5, "a\t\xe4\xb8\xad");
    check("{\"type\":\"Strip\",\"strip_right\":false}", "  a  ", 5, "a  ");
    check("{\"type\":\"Strip\",\"strip_left\":false}", "  a  ", 5, "  a");
    check("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"}", "a   b c  ", 9,
          "a b c ");
    check("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"},{\"type\":\"StripAccents\"},{\"type\":"
          "\"Prepend\",\"prepend\":\"_\"}]}",
          "\xc3\xa9", 2, "_e");
}

/* A base and 4000 marks: ordered in linear time, and as the definition says. */
static void test_many_marks(void **state)
{
    char text[1 + 2 * 4000], want[1 + 2 * 4000 + 1];

    (void)state;
    text[0] = want[0] = 'x';
    for (size_t i = 0; i < 4000; i++) {
        bool below = i % 2 == 1;
        memcpy(text + 1 + 2 * i, below ? "\xcc\xa3" : "\xcc\x87", 2); /* U+0323 (220), U+0307 (230) */
        memcpy(want + 1 + 2 * i, i < 2000 ? "\xcc\xa3" : "\xcc\x87", 2);
    }
    want[sizeof want - 1] = '\0';
    check("{\"type\":\"NFD\"}", text, sizeof text, want);
}

static void test_out_of_memory(void **state)
{
    static const char text[] = "\xc3\xa9 \xe4\xb8\xad  \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8 x";
    vise_tokenizer *tokenizer = with_normalizer(
        "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":\"BertNormalizer\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"},\"content\":\"\"}]}");
    vise_status status = VISE_ERESOURCE;

    (void)state;
    for (uint64_t n = 1; status != VISE_OK; n++) {
        vise_text_scratch *scratch = NULL;
        const char *got;
        size_t length;
        assert_true(n < 1000);
        vise_alloc_fail_after(n);
        status = vise_text_scratch_new(&scratch, NULL);
        if (status == VISE_OK)
            status = vise_normalize(tokenizer, scratch, text, sizeof text - 1, &got, &length, NULL);
        vise_alloc_fail_after(0);
        assert_true(status == VISE_OK || status == VISE_ERESOURCE);
        vise_text_scratch_free(scratch);
    }
    vise_tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_many_marks),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
