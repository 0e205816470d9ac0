/* Ids back to text: what was tokenized comes back, characters are never cut, and what is no character is said so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/mem.h"
#include "text/detokenizer.h"
#include "text/tokenizer_internal.h"
#include "text/unicode.h"

#define TEXT_MAX ((size_t)1 << 16)

static void must(vise_status status, const vise_error *err)
{
    if (status != VISE_OK)
        fail_msg("%s", err->message);
}

static vise_tokenizer *tokenizer_of(const char *json)
{
    vise_tokenizer *tokenizer;
    vise_error err = {0};
    must(vise_tokenizer_from_text("tokenizer.json", json, strlen(json), &tokenizer, &err), &err);
    return tokenizer;
}

/* Decodes ids and compares after each of them: `steps` has what is printed by then, or NULL for the whole alone. */
static void check_ids(const vise_tokenizer *tokenizer, const int32_t *ids, size_t n, const char *const *steps,
                      const char *whole)
{
    vise_detokenizer detokenizer;
    vise_error err = {0};
    vise_buf text;
    vise_buf_init(&text, TEXT_MAX);
    vise_detokenizer_init(&detokenizer, tokenizer);
    for (size_t i = 0; i < n; i++) {
        must(vise_detokenize(&detokenizer, ids[i], &text, &err), &err);
        if (text.length > 0)
            assert_int_equal(vise_utf8_valid(text.data, text.length, NULL), text.length);
        if (steps)
            assert_string_equal(text.length > 0 ? text.data : "", steps[i]);
    }
    vise_detokenizer_end(&detokenizer, &text);
    assert_string_equal(text.length > 0 ? text.data : "", whole);
    vise_buf_deinit(&text);
}

/* "é" is C3 A9, "€" is E2 82 AC; bytes without a printable character of their own are spelled by U+0100 and on. */
static void test_bytes(void **state)
{
    (void)state;
    vise_tokenizer *tokenizer = tokenizer_of(
        "{\"added_tokens\":[{\"id\":7,\"content\":\"<end>\",\"special\":true},"
        "{\"id\":8,\"content\":\"<tool>\",\"special\":false}],\"pre_tokenizer\":{\"type\":\"ByteLevel\","
        "\"add_prefix_space\":false,\"use_regex\":false},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,"
        "\"\xc4\xa0\":1,"
        "\"\xc3\x83\":2,\"\xc2\xa9\":3,\"\xc3\xa2\":4,\"\xc4\xa4\":5,\"\xc2\xac\":6},\"merges\":[]}}");
    const int32_t plain[] = {0, 1, 2, 3, 7, 8, 4, 5, 6, 0};
    const char *const steps[] = {"a",
                                 "a ",
                                 "a ",
                                 "a \xc3\xa9",
                                 "a \xc3\xa9",
                                 "a \xc3\xa9<tool>",
                                 "a \xc3\xa9<tool>",
                                 "a \xc3\xa9<tool>",
                                 "a \xc3\xa9<tool>\xe2\x82\xac",
                                 "a \xc3\xa9<tool>\xe2\x82\xac"
                                 "a"};
    check_ids(tokenizer, plain, 10, steps,
              "a \xc3\xa9<tool>\xe2\x82\xac"
              "a");
    /* A character that breaks off, alone and in front of another; a byte that begins none. */
    const int32_t cut[] = {4, 5, 0}, rest[] = {0, 2}, stray[] = {3, 3, 0}, twice[] = {4, 5, 2, 3};
    const char *const cut_steps[] = {"", "",
                                     "\xef\xbf\xbd"
                                     "a"};
    check_ids(tokenizer, cut, 3, cut_steps,
              "\xef\xbf\xbd"
              "a");
    check_ids(tokenizer, rest, 2, NULL, "a\xef\xbf\xbd");
    check_ids(tokenizer, stray, 3, NULL,
              "\xef\xbf\xbd\xef\xbf\xbd"
              "a");
    check_ids(tokenizer, twice, 4, NULL, "\xef\xbf\xbd\xc3\xa9");
    vise_tokenizer_close(tokenizer);
}

static void test_sentencepiece(void **state)
{
    (void)state;
    vise_tokenizer *tokenizer = tokenizer_of(
        "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true}],\"normalizer\":{\"type\":"
        "\"Sequence\","
        "\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\xe2\x96\x81\"},{\"type\":\"Replace\","
        "\"pattern\":"
        "{\"String\":\" "
        "\"},\"content\":\"\xe2\x96\x81\"}]},\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{"
        "\"<s>\":0,\"<0xC3>\":1,\"<0xA9>\":2,\"\xe2\x96\x81\":3,\"a\":4,\"\xe2\x96\x81"
        "a\":5,\"<0xag>\":6},\"merges\":[["
        "\"\xe2\x96\x81\",\"a\"]]}}");
    const int32_t ids[] = {0, 5, 1, 2, 3, 4, 6};
    const char *const steps[] = {
        "", " a", " a", " a\xc3\xa9", " a\xc3\xa9 ", " a\xc3\xa9 a", " a\xc3\xa9 a<0xag>"};
    check_ids(tokenizer, ids, 7, steps, " a\xc3\xa9 a<0xag>");
    vise_tokenizer_close(tokenizer);
}

static void test_wordpiece(void **state)
{
    (void)state;
    vise_tokenizer *tokenizer = tokenizer_of(
        "{\"added_tokens\":[{\"id\":0,\"content\":\"[CLS]\",\"special\":true}],\"pre_tokenizer\":{\"type\":"
        "\"BertPreTokenizer\"},\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"vocab\":{\"[CLS]"
        "\":0,\"[UNK]\":1,"
        "\"play\":2,\"##ing\":3,\"on\":4}}}");
    const int32_t ids[] = {0, 2, 3, 4};
    check_ids(tokenizer, ids, 4, NULL, " playing on");
    vise_tokenizer_close(tokenizer);
}

/* The bundled model's tokenizer, which spells what it does not know in bytes. */
static void test_round_trip(void **state)
{
    (void)state;
    static const char *const texts[] = {"Once upon a time, there was a girl.",
                                        "gr\xc3\xbc\xc3\x9f dich \xe6\x97\xa5\xe6\x9c\xac",
                                        "two  spaces\nand a line \xf0\x9f\x8d\x8e"};
    vise_tokenizer *tokenizer;
    vise_error err = {0};
    must(vise_tokenizer_open("examples/stories260K", &tokenizer, &err), &err);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char expected[256] = " ";
        vise_ids ids = {0};
        must(vise_tokenize(tokenizer, texts[i], strlen(texts[i]), &ids, &err), &err);
        strncat(expected, texts[i], sizeof expected - 2);
        check_ids(tokenizer, ids.ids, ids.count, NULL, expected);
        vise_ids_deinit(&ids);
    }
    vise_detokenizer detokenizer;
    vise_buf text;
    vise_buf_init(&text, TEXT_MAX);
    vise_detokenizer_init(&detokenizer, tokenizer);
    assert_int_equal(vise_detokenize(&detokenizer, vise_tokenizer_size(tokenizer), &text, &err),
                     VISE_EFORMAT);
    assert_int_equal(vise_detokenize(&detokenizer, -1, &text, NULL), VISE_EFORMAT);
    vise_buf_deinit(&text);
    vise_tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes), cmocka_unit_test(test_sentencepiece),
                                       cmocka_unit_test(test_wordpiece), cmocka_unit_test(test_round_trip)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
