/* WordPiece, and BERT's folders. The ids were computed by the tokenizers library and by transformers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/json.h"
#include "core/mem.h"
#include "tests/unit/formats_help.h"
#include "text/tokenizer_internal.h"

#define BERT "../shared/models/bert-tiny-sst2-local"

static const char vocab_txt[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\ncafe\n,\n##!\n!\n\xe4\xb8\xad\nun##\n##a\na\n";

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

static vise_tokenizer *open_folder(const char *path)
{
    vise_tokenizer *tokenizer;
    vise_error err = {0};

    if (vise_tokenizer_open(path, &tokenizer, &err) != VISE_OK)
        fail_msg("%s", err.message);
    return tokenizer;
}

/* want: ids ended by -1; types as digits. */
static void check(const vise_tokenizer *tokenizer, const char *first, const char *second, size_t max_length,
                  const int32_t *want, const char *types, bool truncated)
{
    vise_encoding encoding;
    size_t n = 0;

    assert_int_equal(vise_tokenize_pair(tokenizer, first, second, max_length, &encoding, NULL), VISE_OK);
    while (want[n] >= 0)
        n++;
    if (encoding.ids.count != n)
        fail_msg("\"%s\": %zu ids, expected %zu", first, encoding.ids.count, n);
    for (size_t i = 0; i < n; i++)
        if (encoding.ids.ids[i] != want[i] || encoding.types[i] != types[i] - '0')
            fail_msg("\"%s\": id %zu is %d of type %d, expected %d of %c", first, i, (int)encoding.ids.ids[i],
                     encoding.types[i], (int)want[i], types[i]);
    assert_int_equal(encoding.truncated, truncated);
    vise_encoding_deinit(&encoding);
}

#define IDS(...)                                                                                             \
    (const int32_t[])                                                                                        \
    {                                                                                                        \
        __VA_ARGS__, -1                                                                                      \
    }

static void test_words(void **state)
{
    char hundred[102];
    vise_tokenizer *tokenizer;

    (void)state;
    help_write(folder, "vocab.txt", vocab_txt, sizeof vocab_txt - 1);
    tokenizer = open_folder(folder);
    check(tokenizer, "Unaffable, caf\xc3\xa9!", NULL, 0, IDS(2, 5, 6, 7, 9, 8, 11, 3), "00000000", false);
    check(tokenizer, "", NULL, 0, IDS(2, 3), "00", false);
    check(tokenizer, "un\xe4\xb8\xadun unaffect", NULL, 0, IDS(2, 5, 12, 5, 1, 3), "000000", false);
    check(tokenizer, "a[MASK]un [SEP]", NULL, 0, IDS(2, 15, 4, 5, 3, 3), "000000", false);
    memset(hundred, 'a', sizeof hundred);
    hundred[101] = '\0';
    check(tokenizer, hundred, NULL, 0, IDS(2, 1, 3), "000", false);
    check(tokenizer, hundred, NULL, 3, IDS(2, 1, 3), "000", false);
    hundred[100] = '\0';
    check(tokenizer, hundred, NULL, 5, IDS(2, 15, 14, 14, 3), "00000", true);
    assert_int_equal(vise_tokenizer_token_bytes(tokenizer, 5), -1); /* what was dropped is not known */
    vise_tokenizer_close(tokenizer);
}

static void test_pairs(void **state)
{
    vise_tokenizer *tokenizer;
    vise_encoding encoding;

    (void)state;
    help_write(folder, "vocab.txt", vocab_txt, sizeof vocab_txt - 1);
    tokenizer = open_folder(folder);
    check(tokenizer, "a", "un !", 0, IDS(2, 15, 3, 5, 11, 3), "000111", false);
    check(tokenizer, "a", "", 0, IDS(2, 15, 3, 3), "0001", false);
    check(tokenizer, "a a a a", "un", 6, IDS(2, 15, 15, 3, 5, 3), "000011", true);
    check(tokenizer, "a a a a", "un un un", 6, IDS(2, 15, 15, 3, 5, 3), "000011", true);
    check(tokenizer, "a a a", "un un un un", 6, IDS(2, 15, 3, 5, 5, 3), "000111", true);
    assert_int_equal(vise_tokenize_pair(tokenizer, "a", "a", 3, &encoding, NULL), VISE_EUSAGE);
    vise_tokenizer_close(tokenizer);
}

static void test_config(void **state)
{
    static const char config[] =
        "{\"do_lower_case\":false,\"unk_token\":{\"content\":\"un\"},\"mask_token\":\"[M]\","
        "\"tokenize_chinese_chars\":false}";
    vise_tokenizer *tokenizer;

    (void)state;
    help_write(folder, "vocab.txt", vocab_txt, sizeof vocab_txt - 1);
    help_write(folder, "tokenizer_config.json", config, sizeof config - 1);
    tokenizer = open_folder(folder);
    check(tokenizer, "Cafe cafe \xe4\xb8\xad\xe4\xb8\xad \xe4\xb8\xad", NULL, 0, IDS(2, 5, 8, 5, 12, 3),
          "000000", false);
    vise_tokenizer_close(tokenizer);
}

static void test_refused(void **state)
{
    static const struct {
        const char *vocab, *config, *says;
    } cases[] = {
        {"", "{}", "empty"},
        {"[UNK]\n[CLS]\n", "{}", "sep_token \"[SEP]\""},
        {"[UNK]\n[CLS]\n[SEP]\na\na\n", "{}", "\"a\" is given twice"},
        {"[UNK]\n[CLS]\n[SEP]\n\xff\n", "{}", "line 4: not UTF-8"},
        {"[UNK]\n[CLS]\n[SEP]\n", "[]", "not a JSON object"},
        {"[UNK]\n[CLS]\n[SEP]\n", "{\"do_lower_case\":3}", "do_lower_case"},
        {"[UNK]\n[CLS]\n[SEP]\n", "{\"cls_token\":{}}", "content"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_tokenizer *tokenizer;
        vise_error err = {0};
        help_write_text(folder, "vocab.txt", cases[i].vocab);
        help_write_text(folder, "tokenizer_config.json", cases[i].config);
        if (vise_tokenizer_open(folder, &tokenizer, &err) != VISE_EFORMAT ||
            strstr(err.message, cases[i].says) == NULL)
            fail_msg("case %zu: \"%s\"", i, err.message);
    }
}

/* The rows of the bundled classifier, where it is found. */
static void test_golden(void **state)
{
    vise_tokenizer *tokenizer;
    const cJSON *row;
    cJSON *rows;

    (void)state;
    if (!vise_path_exists(BERT "/golden.json")) {
        print_message("SKIP: no " BERT "\n");
        skip();
    }
    tokenizer = open_folder(BERT);
    assert_int_equal(vise_json_load(BERT "/golden.json", 1 << 20, &rows, NULL), VISE_OK);
    cJSON_ArrayForEach(row, rows)
    {
        const cJSON *ids = cJSON_GetObjectItemCaseSensitive(row, "input_ids");
        vise_encoding encoding;
        const char *text;
        assert_int_equal(vise_json_text("golden.json", row, "text", true, &text, NULL), VISE_OK);
        assert_int_equal(vise_tokenize_pair(tokenizer, text, NULL, 128, &encoding, NULL), VISE_OK);
        assert_int_equal(encoding.ids.count, cJSON_GetArraySize(ids));
        for (size_t i = 0; i < encoding.ids.count; i++)
            assert_int_equal(encoding.ids.ids[i], cJSON_GetArrayItem(ids, (int)i)->valueint);
        vise_encoding_deinit(&encoding);
    }
    cJSON_Delete(rows);
    vise_tokenizer_close(tokenizer);
}

static void test_out_of_memory(void **state)
{
    vise_status status = VISE_ERESOURCE;

    (void)state;
    help_write(folder, "vocab.txt", vocab_txt, sizeof vocab_txt - 1);
    help_write(folder, "tokenizer_config.json", "{}", 2);
    for (uint64_t n = 1; status != VISE_OK; n++) {
        vise_tokenizer *tokenizer = NULL;
        vise_encoding encoding = {0};
        assert_true(n < 10000);
        vise_alloc_fail_after(n);
        status = vise_tokenizer_open(folder, &tokenizer, NULL);
        if (status == VISE_OK)
            status = vise_tokenize_pair(tokenizer, "Unaffable caf\xc3\xa9", "a", 6, &encoding, NULL);
        vise_alloc_fail_after(0);
        assert_true(status == VISE_OK || status == VISE_ERESOURCE);
        vise_encoding_deinit(&encoding);
        vise_tokenizer_close(tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),   cmocka_unit_test(test_pairs),  cmocka_unit_test(test_config),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_golden), cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
