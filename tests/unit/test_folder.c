/* Tokenizers of folders without tokenizer.json: sentencepiece's tokenizer.model, vocab.json with merges.txt. The ids
 * of the small ones follow from their definitions; llama.cpp's vectors, where they are found, were computed by
 * others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/mem.h"
#include "tests/unit/formats_help.h"
#include "text/tokenizer.h"

#define MARK       "\xe2\x96\x81"
#define VECTORS    "../shared/models/gguf-vocab/ggml-vocab-"
#define TOKENIZERS "../shared/tokenizers/"

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

static void clear(void)
{
    assert_int_equal(vise_folder_remove(folder, NULL), VISE_OK);
    assert_int_equal(vise_folder_make(folder, NULL), VISE_OK);
}

static vise_tokenizer *open_folder(const char *path)
{
    vise_tokenizer *tokenizer;
    vise_error err = {0};

    if (vise_tokenizer_open(path, &tokenizer, &err) != VISE_OK)
        fail_msg("%s", err.message);
    return tokenizer;
}

static void check(const vise_tokenizer *tokenizer, const char *text, const int32_t *want)
{
    vise_ids ids = {0};
    size_t n = 0;

    assert_int_equal(vise_tokenize(tokenizer, text, strlen(text), &ids, NULL), VISE_OK);
    while (want[n] >= 0)
        n++;
    for (size_t i = 0; i < n && i < ids.count; i++)
        if (ids.ids[i] != want[i])
            fail_msg("\"%s\": id %zu is %d, expected %d", text, i, (int)ids.ids[i], (int)want[i]);
    if (ids.count != n)
        fail_msg("\"%s\": %zu ids, expected %zu", text, ids.count, n);
    vise_ids_deinit(&ids);
}

#define IDS(...)                                                                                             \
    (const int32_t[])                                                                                        \
    {                                                                                                        \
        __VA_ARGS__, -1                                                                                      \
    }

/* ---- sentencepiece ------------------------------------------------------------------------------------- */

typedef struct message {
    unsigned char bytes[4096];
    size_t length;
} message;

static void add_byte(message *to, unsigned value)
{
    assert_true(to->length < sizeof to->bytes);
    to->bytes[to->length++] = (unsigned char)value;
}

static void add_varint(message *to, uint64_t value)
{
    for (; value > 0x7f; value >>= 7)
        add_byte(to, (unsigned)(value & 0x7f) | 0x80);
    add_byte(to, (unsigned)value);
}

static void add_number(message *to, unsigned field, uint64_t value)
{
    add_varint(to, field << 3);
    add_varint(to, value);
}

static void add_bytes(message *to, unsigned field, const void *bytes, size_t length)
{
    assert_true(length < 128 && field < 16);
    add_byte(to, field << 3 | 2);
    add_byte(to, (unsigned)length);
    assert_true(to->length + length <= sizeof to->bytes);
    memcpy(to->bytes + to->length, bytes, length);
    to->length += length;
}

static void add_piece(message *to, const char *text, float score, unsigned type)
{
    message piece = {.length = 0};

    add_bytes(&piece, 1, text, strlen(text));
    add_byte(&piece, 2 << 3 | 5);
    memcpy(piece.bytes + piece.length, &score, sizeof score);
    piece.length += sizeof score;
    add_number(&piece, 3, type);
    add_bytes(to, 1, piece.bytes, piece.length);
}

/* Pieces with their ids: <unk> 0, <s> 1, </s> 2, bytes of U+00E9 3 and 4, MARK 5, a 6, b 7, ab 8, ba 9,
 * MARKa 10, MARKMARK 11, aba 12. ab and ba have one score: the leftmost wins. */
static message small_model(unsigned type, bool squeeze, const char *map)
{
    message model = {.length = 0}, trainer = {.length = 0}, normalizer = {.length = 0};

    add_piece(&model, "<unk>", 0, 2);
    add_piece(&model, "<s>", 0, 3);
    add_piece(&model, "</s>", 0, 3);
    add_piece(&model, "<0xC3>", 0, 6);
    add_piece(&model, "<0xA9>", 0, 6);
    add_piece(&model, MARK, -9, 1);
    add_piece(&model, "a", -9, 1);
    add_piece(&model, "b", -9, 1);
    add_piece(&model, "ab", -1, 1);
    add_piece(&model, "ba", -1, 1);
    add_piece(&model, MARK "a", -2, 1);
    add_piece(&model, MARK MARK, -3, 1);
    add_piece(&model, "aba", -4, 1);
    add_number(&trainer, 3, type);
    add_number(&trainer, 35, 1);
    add_bytes(&model, 2, trainer.bytes, trainer.length);
    add_bytes(&normalizer, 2, map, strlen(map));
    add_number(&normalizer, 3, 1);
    add_number(&normalizer, 4, squeeze);
    add_bytes(&model, 3, normalizer.bytes, normalizer.length);
    return model;
}

static void test_pieces(void **state)
{
    message model = small_model(2, false, "");
    vise_tokenizer *tokenizer;

    (void)state;
    clear();
    help_write(folder, "tokenizer.model", model.bytes, model.length);
    tokenizer = open_folder(folder);
    assert_int_equal(vise_tokenizer_bos(tokenizer), 1);
    assert_true(vise_tokenizer_prepends(tokenizer));
    check(tokenizer, "", IDS(-1));
    check(tokenizer, "ab", IDS(5, 8));     /* ab at -1 before MARKa at -2 */
    check(tokenizer, "bab", IDS(5, 9, 7)); /* of two at -1 the left one */
    check(tokenizer, "aba", IDS(5, 12));   /* ab + a */
    check(tokenizer, "a a", IDS(10, 10));
    check(tokenizer, " a", IDS(5, 10));
    check(tokenizer, "  ", IDS(11, 5));
    check(tokenizer, "\xc3\xa9zz", IDS(5, 3, 4, 0));
    check(tokenizer, "a<s>b", IDS(10, 1, 5, 7));
    vise_tokenizer_close(tokenizer);
    help_write_text(folder, "tokenizer_config.json", "{\"add_bos_token\":false,\"add_eos_token\":true}");
    tokenizer = open_folder(folder);
    assert_int_equal(vise_tokenizer_bos(tokenizer), -1);
    vise_tokenizer_close(tokenizer);
}

static void test_squeezed(void **state)
{
    message model = small_model(2, true, "");
    vise_tokenizer *tokenizer;

    (void)state;
    clear();
    help_write(folder, "tokenizer.model", model.bytes, model.length);
    tokenizer = open_folder(folder);
    check(tokenizer, "  a   a ", IDS(10, 10));
    check(tokenizer, "   ", IDS(-1));
    vise_tokenizer_close(tokenizer);
}

static void check_refused(vise_status status, const char *says)
{
    vise_tokenizer *tokenizer;
    vise_error err = {0};

    if (vise_tokenizer_open(folder, &tokenizer, &err) != status || strstr(err.message, says) == NULL)
        fail_msg("expected status %d and \"%s\": \"%s\"", (int)status, says, err.message);
}

static void test_pieces_refused(void **state)
{
    message model;

    (void)state;
    clear();
    model = small_model(1, false, "");
    help_write(folder, "tokenizer.model", model.bytes, model.length);
    check_refused(VISE_EUNSUPPORTED, "Unigram");
    model = small_model(2, false, "map");
    help_write(folder, "tokenizer.model", model.bytes, model.length);
    check_refused(VISE_EUNSUPPORTED, "nmt_nfkc");
    model = small_model(2, false, "");
    add_piece(&model, "x", 0, 4);
    help_write(folder, "tokenizer.model", model.bytes, model.length);
    check_refused(VISE_EUNSUPPORTED, "\"x\" is given by the user");
    model = small_model(2, false, "");
    add_piece(&model, "a", 0, 1);
    help_write(folder, "tokenizer.model", model.bytes, model.length);
    check_refused(VISE_EFORMAT, "\"a\" is given twice");
    model = small_model(2, false, "");
    add_piece(&model, "x", 0, 2);
    help_write(folder, "tokenizer.model", model.bytes, model.length);
    check_refused(VISE_EFORMAT, "2 unknown pieces");
    model = small_model(2, false, "");
    add_piece(&model, "x", (float)(1e30 * 1e30), 1);
    help_write(folder, "tokenizer.model", model.bytes, model.length);
    check_refused(VISE_EFORMAT, "type or score");
    help_write(folder, "tokenizer.model", "", 0);
    check_refused(VISE_EFORMAT, "not a sentencepiece model");
    help_write_text(folder, "tokenizer.model", "version https://git-lfs.github.com/spec/v1\n");
    check_refused(VISE_EFORMAT, "not a sentencepiece model");
    model = small_model(2, false, "");
    help_write(folder, "tokenizer.model", model.bytes, model.length - 1);
    check_refused(VISE_EFORMAT, "not a sentencepiece model");
}

/* ---- vocab.json and merges.txt ------------------------------------------------------------------------- */

#define VOCAB                                                                                                \
    "{\"a\":0,\"b\":1,\"ab\":2,\"\xc4\xa0\":3,\"\xc4\xa0"                                                    \
    "a\":4,\"<|endoftext|>\":5,\"<s>\":6,\"</s>\":7,\"<mask>\":8}"
#define MERGES "#version: 0.2\na b\n\xc4\xa0 a\n"

static void test_gpt2(void **state)
{
    vise_tokenizer *tokenizer;
    vise_encoding encoding;

    (void)state;
    clear();
    help_write_text(folder, "vocab.json", VOCAB);
    help_write_text(folder, "merges.txt", MERGES);
    tokenizer = open_folder(folder);
    assert_int_equal(vise_tokenizer_bos(tokenizer), -1);
    check(tokenizer, "ab a<|endoftext|>b", IDS(2, 4, 5, 1));
    vise_tokenizer_close(tokenizer);
    help_write_text(folder, "tokenizer_config.json",
                    "{\"tokenizer_class\":\"RobertaTokenizer\",\"add_prefix_space\":true}");
    tokenizer = open_folder(folder);
    assert_int_equal(vise_tokenize_pair(tokenizer, "a <mask>", "b", 0, &encoding, NULL), VISE_OK);
    assert_int_equal(encoding.ids.count, 8); /* <s> a <mask> </s> </s> space b </s> */
    assert_memory_equal(encoding.ids.ids, IDS(6, 4, 8, 7, 7, 3, 1, 7), 8 * sizeof(int32_t));
    vise_encoding_deinit(&encoding);
    vise_tokenizer_close(tokenizer);
}

static void test_gpt2_refused(void **state)
{
    static const struct {
        const char *vocab, *merges, *config, *says;
        vise_status status;
    } cases[] = {
        {"[]", MERGES, "{}", "\"vocab\"", VISE_EFORMAT},
        {"{\"a\":0,\"b\":0}", "", "{}", "same id 0", VISE_EFORMAT},
        {"{\"a\":-1}", "", "{}", "id of a", VISE_EFORMAT},
        {VOCAB, "a b\nab\n", "{}", "line 2 of merges.txt", VISE_EFORMAT},
        {VOCAB, "a b c\n", "{}", "line 1 of merges.txt", VISE_EFORMAT},
        {VOCAB, "b a\n", "{}", "gives \"ba\"", VISE_EFORMAT},
        {VOCAB, "a z\n", "{}", "merge 0", VISE_EFORMAT},
        {VOCAB, MERGES, "{\"tokenizer_class\":\"CLIPTokenizer\"}", "CLIPTokenizer", VISE_EUNSUPPORTED},
        {"{\"a\":0}", "", "{\"tokenizer_class\":\"RobertaTokenizerFast\"}", "lacks \"<s>\"", VISE_EFORMAT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clear();
        help_write_text(folder, "vocab.json", cases[i].vocab);
        help_write_text(folder, "merges.txt", cases[i].merges);
        help_write_text(folder, "tokenizer_config.json", cases[i].config);
        check_refused(cases[i].status, cases[i].says);
    }
    clear();
    help_write_text(folder, "vocab.json", VOCAB);
    check_refused(VISE_EFORMAT, "merges.txt");
}

/* ---- llama.cpp's vectors ------------------------------------------------------------------------------- */

static void check_vectors(const char *name, const char *tokenizer_folder)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[200], *texts, *ids, *line;
    size_t length, n = 0;
    vise_tokenizer *tokenizer;

    snprintf(path, sizeof path, VECTORS "%s.gguf.inp", name);
    if (!vise_path_exists(path) || !vise_path_is_folder(tokenizer_folder)) {
        print_message("SKIP: no %s or %s\n", path, tokenizer_folder);
        skip();
    }
    assert_int_equal(vise_file_read_all(path, 1 << 20, &texts, &length, NULL), VISE_OK);
    snprintf(path, sizeof path, VECTORS "%s.gguf.out", name);
    assert_int_equal(vise_file_read_all(path, 1 << 20, &ids, &length, NULL), VISE_OK);
    tokenizer = open_folder(tokenizer_folder);
    line = ids;
    for (char *text = texts, *stop; text != NULL; text = stop, n++) {
        int32_t want[512];
        size_t count = 0;
        stop = strstr(text, separator);
        if (stop != NULL) {
            *stop = '\0';
            stop += sizeof separator - 1;
        }
        while (*line != '\n' && *line != '\0') {
            want[count++] = (int32_t)strtol(line, &line, 10);
            line += strspn(line, " ");
        }
        line += *line == '\n';
        want[count] = -1;
        check(tokenizer, text, want);
    }
    assert_int_equal(n, 47);
    vise_tokenizer_close(tokenizer);
    vise_free(texts);
    vise_free(ids);
}

static void test_vectors_of_llama(void **state)
{
    (void)state;
    check_vectors("llama-spm", TOKENIZERS "llama2");
}

static void test_vectors_of_gpt2(void **state)
{
    (void)state;
    check_vectors("gpt-2", TOKENIZERS "gpt2");
}

static void test_vectors_of_bert(void **state)
{
    (void)state;
    check_vectors("bert-bge", TOKENIZERS "bert-base-uncased");
}

static void test_out_of_memory(void **state)
{
    message model = small_model(2, true, "");

    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        vise_status status = VISE_ERESOURCE;
        clear();
        if (kind == 0)
            help_write(folder, "tokenizer.model", model.bytes, model.length);
        help_write_text(folder, "vocab.json", VOCAB);
        help_write_text(folder, "merges.txt", MERGES);
        for (uint64_t n = 1; status != VISE_OK; n++) {
            vise_tokenizer *tokenizer = NULL;
            vise_ids ids = {0};
            assert_true(n < 10000);
            vise_alloc_fail_after(n);
            status = vise_tokenizer_open(folder, &tokenizer, NULL);
            if (status == VISE_OK)
                status = vise_tokenize(tokenizer, "  ab  a", 7, &ids, NULL);
            vise_alloc_fail_after(0);
            assert_true(status == VISE_OK || status == VISE_ERESOURCE);
            vise_ids_deinit(&ids);
            vise_tokenizer_close(tokenizer);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),         cmocka_unit_test(test_squeezed),
        cmocka_unit_test(test_pieces_refused), cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_gpt2_refused),   cmocka_unit_test(test_vectors_of_llama),
        cmocka_unit_test(test_vectors_of_gpt2), cmocka_unit_test(test_vectors_of_bert),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
