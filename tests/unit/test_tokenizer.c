/* Tokenizers. The ids of the bundled tokenizer and of the small ones below were computed by the
 * tokenizers library (0.23); tests/interop/tokenizer_ids.py compares far more of them. */
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

#define MARK "\xe2\x96\x81"

static vise_tokenizer *read_tokenizer(const char *json)
{
    vise_tokenizer *tokenizer;
    vise_error err = {0};

    if (vise_tokenizer_from_text("tokenizer.json", json, strlen(json), &tokenizer, &err) != VISE_OK)
        fail_msg("%s", err.message);
    return tokenizer;
}

static void check_ids(const vise_tokenizer *tokenizer, const char *text, size_t length, const int32_t *want,
                      size_t n)
{
    vise_ids ids = {0};
    vise_error err = {0};

    assert_int_equal(vise_tokenize(tokenizer, text, length, &ids, &err), VISE_OK);
    for (size_t i = 0; i < ids.count && i < n; i++)
        if (ids.ids[i] != want[i])
            fail_msg("\"%s\": id %zu is %d, expected %d", text, i, (int)ids.ids[i], (int)want[i]);
    if (ids.count != n)
        fail_msg("\"%s\": %zu ids, expected %zu", text, ids.count, n);
    vise_ids_deinit(&ids);
}

/* Texts with their ids, ended by -1. */
struct known {
    const char *text;
    int32_t ids[48];
};

static void check_known(const vise_tokenizer *tokenizer, const struct known *known, size_t count)
{
    for (int turn = 0; turn < 2; turn++) { /* the second time from the cache */
        for (size_t i = 0; i < count; i++) {
            size_t n = 0;
            while (known[i].ids[n] >= 0)
                n++;
            check_ids(tokenizer, known[i].text, strlen(known[i].text), known[i].ids, n);
        }
    }
}

#define CHECK_KNOWN(tokenizer, known) check_known((tokenizer), (known), sizeof(known) / sizeof(known)[0])

static void test_bundled(void **state)
{
    static const struct known known[] = {
        {"Once upon a time, there was a little girl named Lily.",
         {403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, -1}},
        {"", {-1}},
        {" two  spaces", {410, 259, 424, 414, 410, 262, 427, 412, 331, 419, -1}},
        {" ", {410, 410, -1}},
        {"<s>Tom</s> ran", {1, 274, 287, 2, 410, 352, 303, -1}},
        {"na\xc3\xafve \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x99\x82\n\ttab",
         {297, 412, 198, 178, 360, 410, 231, 187, 176, 233, 153, 138,
          410, 243, 162, 156, 133, 13,  12,  413, 412, 430, -1}},
        {"a" MARK "b " MARK MARK " c", {261, 268, 410, 410, 410, 280, -1}},
        {"the end. the end. the end. ",
         {265, 344, 264, 426, 265, 344, 264, 426, 265, 344, 264, 426, 410, -1}},
    };
    vise_tokenizer *tokenizer;
    vise_error err = {0};
    int32_t xs[61] = {410};

    (void)state;
    if (vise_tokenizer_open("examples/stories260K", &tokenizer, &err) != VISE_OK)
        fail_msg("%s", err.message);
    CHECK_KNOWN(tokenizer, known);
    for (size_t i = 1; i < 61; i++)
        xs[i] = 444;
    check_ids(tokenizer, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 60, xs, 61);
    assert_int_equal(vise_tokenizer_bos(tokenizer), 1);
    assert_int_equal(vise_tokenizer_size(tokenizer), 512);
    assert_string_equal(vise_tokenizer_token(tokenizer, 2), "</s>");
    assert_null(vise_tokenizer_token(tokenizer, 512));
    assert_null(vise_tokenizer_token(tokenizer, -1));
    assert_true(vise_tokenizer_prepends(tokenizer));
    assert_int_equal(vise_tokenizer_token_bytes(tokenizer, 410), 1); /* the mark */
    assert_int_equal(vise_tokenizer_token_bytes(tokenizer, 265), 4); /* mark, t, h, e */
    assert_int_equal(vise_tokenizer_token_bytes(tokenizer, 13), 1);  /* <0x0A> */
    assert_int_equal(vise_tokenizer_token_bytes(tokenizer, 1), 3);   /* <s> */
    assert_int_equal(vise_tokenizer_token_bytes(tokenizer, 0), -1);  /* <unk> */
    vise_tokenizer_close(tokenizer);
}

static const char bytes_json[] =
    "{\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"special\":true},{\"id\":20,\"con"
    "tent\":\"[X]\",\"lstrip\":true},{\"id\":21,\"content\":\"[Y]\",\"rstrip\":true},{\"i"
    "d\":22,\"content\":\"cat\",\"single_word\":true},{\"id\":23,\"content\":\"[X]the\"}"
    "],\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_of"
    "fsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\",\"vocab\":{\"<unk>\":0"
    ",\"<s>\":1,\"a\":2,\"t\":3,\"h\":4,\"e\":5,\"th\":6,\"the\":7,\"\xc4\xa0\":8,\"\xc4\xa0t\":9,\"aa\":10,"
    "\""
    "\xc4\xa0the\":11,\"c\":12,\"'\":13,\"'s\":14,\"\xc4\x8a\":15,\"\xc3\x83\":16,\"\xc2\xa9\":17,\"s\":18,"
    "\"\xc4\xa0\xc4\xa0\":19},\"m"
    "erges\":[\"t h\",\"th e\",\"a a\",\"\xc4\xa0 the\",\"' s\",\"\xc4\xa0 "
    "\xc4\xa0\"],\"unk_token\":\"<unk>\",\"f"
    "use_unk\":true}}";

static void test_byte_level(void **state)
{
    static const struct known known[] = {
        {"", {-1}},
        {"the", {11, -1}},
        {"the the  the", {11, 11, 8, 11, -1}},
        {"  the\x0a\x0a the", {8, 11, 15, 15, 11, -1}},
        {" ", {8, -1}},
        {"the<s>the", {11, 1, 11, -1}},
        {"<s>", {1, -1}},
        {"aa [X] aa", {8, 10, 20, 8, 10, -1}},
        {"aa [Y]  aa", {8, 10, 8, 21, 8, 10, -1}},
        {"cat cats cat's a cat", {22, 8, 12, 2, 3, 18, 8, 22, 8, 13, 18, 8, 2, 8, 22, -1}},
        {"[X]the[X]th", {23, 20, 8, 6, -1}},
        {"\xc3\xa9 \xc3\xbc\xe2\x82\xac he", {8, 16, 17, 8, 16, 0, 0, 8, 4, 5, -1}},
        {"aaaaa's 's", {8, 10, 10, 2, 14, 8, 13, 18, -1}},
        {"the\x0a", {11, 15, -1}},
    };
    vise_tokenizer *tokenizer = read_tokenizer(bytes_json);

    (void)state;
    CHECK_KNOWN(tokenizer, known);
    vise_tokenizer_close(tokenizer);
}

static const char marks_json[] =
    "{\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"special\":true},{\"id\":14,\"con"
    "tent\":\"a t\",\"normalized\":true}],\"normalizer\":{\"type\":\"Sequence\",\"norma"
    "lizers\":[{\"type\":\"Prepend\",\"prepend\":\"\xe2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":"
    "{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]},\"model\":{\"type\":\"BPE\",\"vocab\":{\"<unk>\""
    ":0,\"<s>\":1,\"a\":2,\"t\":3,\"h\":4,\"\xe2\x96\x81\":5,\"\xe2\x96\x81t\":6,\"\xe2\x96\x81th\":7,\"<"
    "0x0A>\":8,\"<0xE4>\":"
    "9,\"aa\":10,\"\xe2\x96\x81\xe2\x96\x81\":11,\"<0xC3>\":12,\"<0xA9>\":13},\"merges\":[[\"\xe2\x96\x81\","
    "\"t\"],[\"\xe2\x96\x81t\",\""
    "h\"],[\"a\",\"a\"],[\"\xe2\x96\x81\",\"\xe2\x96\x81\"]],\"unk_token\":\"<unk>\",\"byte_fallback\":true,"
    "\"fus"
    "e_unk\":true}}";

static void test_marks(void **state)
{
    static const struct known known[] = {
        {"", {-1}},
        {" ", {11, -1}},
        {"th", {7, -1}},
        {"th th", {7, 7, -1}},
        {"  th\x0a", {11, 7, 8, -1}},
        {"<s>th<s> th", {1, 7, 1, 5, 7, -1}},
        {"a t a", {14, 5, 2, -1}},
        {"aaaaa", {5, 10, 10, 2, -1}},
        {"\xc3\xa9", {5, 12, 13, -1}},
        {"zz\x0az", {5, 8, 0, -1}},
        {"\xe4\xb8\xad\x0a\xe4\xb8\xad"
         "a",
         {5, 8, 0, 2, -1}},
        {"z\x0a\x0a", {5, 8, 8, 0, -1}},
        {"\xe2\x96\x81\xe2\x96\x81\xe2\x96\x81\xe2\x96\x81 th", {11, 11, 5, 7, -1}},
    };
    vise_tokenizer *tokenizer = read_tokenizer(marks_json);

    (void)state;
    CHECK_KNOWN(tokenizer, known);
    vise_tokenizer_close(tokenizer);
}

static const char splits_json[] =
    "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\""
    "pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?"
    "\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+("
    "?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel"
    "\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":false}]},\"mo"
    "del\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"1\":1,\"'\":2,\"S\":3,\"\xc4\xa0\":4,\"\xc4\x8a\":5,"
    "\"\xc4\x8d\":6,"
    "\"!\":7,\"s\":8,\"\xc3\x85\":9,\"\xc2\xbf\":10,\"l\":11,\"\xc3\x82\":12,\"\xc5\x82\":13},\"merges\":[]}"
    "}";

static void test_splits(void **state)
{
    static const struct known known[] = {
        {"a's a'S a'll", {4, 0, 4, 2, 8, 4, 0, 4, 2, 3, 4, 0, 4, 2, 11, 11, -1}},
        {"'a", {4, 2, 0, -1}},
        {"1111111", {4, 1, 1, 1, 4, 1, 1, 1, 4, 1, -1}},
        {"a1a", {4, 0, 4, 1, 4, 0, -1}},
        {" a  a   a", {4, 0, 4, 4, 0, 4, 4, 4, 0, -1}},
        {"!a !a", {4, 7, 0, 4, 7, 4, 0, -1}},
        {"!!\x0a\x0a"
         "a",
         {4, 7, 7, 5, 5, 4, 0, -1}},
        {"a \x0a \x0a a", {4, 0, 4, 5, 4, 5, 4, 0, -1}},
        {"\x0d\x0a\x0d\x0a"
         "a",
         {4, 6, 5, 6, 5, 4, 0, -1}},
        {"   ", {4, 4, 4, -1}},
        {"a   ", {4, 0, 4, 4, 4, -1}},
        {"a \xc2\xa0"
         "a",
         {4, 0, 4, 4, 12, 13, 0, -1}},
        {"\xc2\xa0"
         "a",
         {4, 12, 13, 0, -1}},
        {"'\xc5\xbf's", {4, 2, 9, 10, 4, 2, 8, -1}},
        {"!'s", {4, 7, 2, 4, 8, -1}},
        {" 1 1", {4, 4, 1, 4, 4, 1, -1}},
        {"a\x0a!\x0a", {4, 0, 4, 5, 4, 7, 5, -1}},
        {"  \x0a  a", {4, 4, 5, 4, 4, 0, -1}},
    };
    vise_tokenizer *tokenizer = read_tokenizer(splits_json);

    (void)state;
    CHECK_KNOWN(tokenizer, known);
    vise_tokenizer_close(tokenizer);
}

/* A long word goes through the heap, a short one is merged in place: the same rules. */
static void test_long_words(void **state)
{
    vise_tokenizer *tokenizer = read_tokenizer("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,"
                                               "\"ab\":2,\"aa\":3,\"abab\":4,\"aab\":5,\"ba\":6},"
                                               "\"merges\":[\"a b\",\"ab ab\",\"a a\",\"b a\",\"a ab\"]}}");
    uint32_t random = 12345;

    (void)state;
    for (int round = 0; round < 300; round++) {
        char text[400];
        size_t length = 1 + (size_t)round;
        vise_ids ids = {0};
        int32_t want[400];
        size_t n = 0;
        for (size_t i = 0; i < length; i++) {
            random = random * 1664525u + 1013904223u;
            text[i] = (char)('a' + (random >> 30 == 0));
            want[n++] = text[i] - 'a';
        }
        /* The definition, word for word: the lowest rank first, the leftmost of equals. */
        for (;;) {
            static const int32_t merges[][3] = {{0, 1, 2}, {2, 2, 4}, {0, 0, 3}, {1, 0, 6}, {0, 2, 5}};
            size_t rank, at = 0;
            for (rank = 0; rank < 5; rank++) {
                for (at = 0; at + 1 < n; at++)
                    if (want[at] == merges[rank][0] && want[at + 1] == merges[rank][1])
                        break;
                if (at + 1 < n)
                    break;
            }
            if (rank == 5)
                break;
            want[at] = merges[rank][2];
            memmove(want + at + 1, want + at + 2, (n - at - 2) * sizeof *want);
            n--;
        }
        assert_int_equal(vise_tokenize(tokenizer, text, length, &ids, NULL), VISE_OK);
        assert_int_equal(ids.count, n);
        assert_memory_equal(ids.ids, want, n * sizeof *want);
        vise_ids_deinit(&ids);
    }
    vise_tokenizer_close(tokenizer);
}

static void test_invalid_utf8(void **state)
{
    /* Python's bytes.decode(errors="replace") gives as many U+FFFD. */
    static const struct {
        const char *text;
        size_t length, replacements, bytes;
    } cases[] = {
        {"a\xff"
         "a",
         3, 1, 1},
        {"\xc3", 1, 1, 1},
        {"\xe4\xb8", 2, 1, 2},
        {"\xe4\xb8"
         "a",
         3, 1, 2},
        {"\xf0\x9f\x99", 3, 1, 3},
        {"\xed\xa0\x80", 3, 3, 3},
        {"\xc0\x80", 2, 2, 2},
        {"\xf5\x80\x80\x80", 4, 4, 4},
        {"\xe4\xb8\xad", 3, 0, 0},
        {"\xf4\x90\x80\x80", 4, 4, 4},
        {"aaaaaaaaaaaaaaaa\x80", 17, 1, 1},
        {"\xe0\x80\x80", 3, 3, 3},
    };
    vise_tokenizer *tokenizer =
        read_tokenizer("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\xef\xbf\xbd\":1},\"merges\":[]}}");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_ids ids = {0};
        size_t replacements = 0;
        assert_int_equal(vise_tokenize(tokenizer, cases[i].text, cases[i].length, &ids, NULL), VISE_OK);
        for (size_t k = 0; k < ids.count; k++)
            replacements += ids.ids[k] == 1;
        if (replacements != cases[i].replacements || ids.invalid_utf8 != cases[i].bytes)
            fail_msg("case %zu: %zu replacements of %llu bytes", i, replacements,
                     (unsigned long long)ids.invalid_utf8);
        vise_ids_deinit(&ids);
    }
    vise_tokenizer_close(tokenizer);
}

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

static void test_refused(void **state)
{
    static const struct {
        const char *json;
        vise_status status;
        const char *says;
    } cases[] = {
        {"", VISE_EFORMAT, "tokenizer.json"},
        {"[]", VISE_EFORMAT, "not a JSON object"},
        {"{}", VISE_EFORMAT, "\"model\""},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", VISE_EUNSUPPORTED, "\"Unigram\""},
        {"{\"model\":{\"type\":\"BPE\",\"merges\":[]}}", VISE_EFORMAT, "\"vocab\""},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", VISE_EFORMAT, "\"merges\""},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", VISE_EFORMAT, "id of a"},
        {"{\"model\":{\"vocab\":{\"a\":0.5},\"merges\":[]}}", VISE_EFORMAT, "id of a"},
        {"{\"model\":{\"vocab\":{\"a\":1e30},\"merges\":[]}}", VISE_EFORMAT, "id of a"},
        {"{\"model\":{\"vocab\":{\"a\":9000000},\"merges\":[]}}", VISE_EFORMAT, "9000000"},
        {"{\"model\":{\"vocab\":{\"a\":\"x\"},\"merges\":[]}}", VISE_EFORMAT, "id of a"},
        {"{\"model\":{\"vocab\":{\"a\":3,\"b\":3},\"merges\":[]}}", VISE_EFORMAT, "same id 3"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a c\"]}}", VISE_EFORMAT, "\"c\""},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}", VISE_EFORMAT, "gives \"aa\""},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"aa\"]}}", VISE_EFORMAT, "merge 0 is \"aa\""},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", VISE_EFORMAT, "pair"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[7]}}", VISE_EFORMAT, "pair"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}", VISE_EUNSUPPORTED, "dropout"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}", VISE_EUNSUPPORTED,
         "</w>"},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Nmt\"}}", VISE_EUNSUPPORTED, "\"Nmt\""},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nmt\"}]}}",
         VISE_EUNSUPPORTED, "\"Nmt\""},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x*\"},\"content\":\"\"}}",
         VISE_EUNSUPPORTED, "matches the empty text"},
        {"{\"model\":{\"type\":\"WordPiece\"}}", VISE_EFORMAT, "\"vocab\""},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{},\"max_input_chars_per_word\":-1}}", VISE_EFORMAT,
         "max_input_chars_per_word"},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}}",
         VISE_EFORMAT, "empty"},
        {"{" MODEL ",\"normalizer\":7}", VISE_EFORMAT, "object"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}", VISE_EUNSUPPORTED, "UnicodeScripts"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[ab]+\"},\"behavior\":"
         "\"Merged\"}}",
         VISE_EFORMAT, "\"Merged\""},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\","
         "\"add_prefix_space\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}}",
         VISE_EUNSUPPORTED, "behind ByteLevel"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\"}}", VISE_EUNSUPPORTED,
         "\"_\""},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"" MARK
         "\",\"prepend_scheme\":\"x\"}}",
         VISE_EFORMAT, "\"x\""},
        {"{" MODEL ",\"added_tokens\":7}", VISE_EFORMAT, "added_tokens"},
        {"{" MODEL ",\"added_tokens\":[{\"content\":\"x\"}]}", VISE_EFORMAT, "id of x"},
        {"{" MODEL ",\"added_tokens\":[{\"id\":3,\"content\":\"x\"},{\"id\":3,\"content\":\"x\"}]}",
         VISE_EFORMAT, "given twice"},
        {"{" MODEL ",\"post_processor\":{\"type\":\"BertProcessing\"}}", VISE_EFORMAT, "\"cls\""},
        {"{" MODEL ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",0],\"sep\":[\"z\",9]}}",
         VISE_EFORMAT, "has id 9"},
        {"{" MODEL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
         "\"id\":\"x\"}}],"
         "\"special_tokens\":{}}}",
         VISE_EFORMAT, "\"x\""},
        {"{" MODEL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
         "\"id\":\"x\"}}],"
         "\"special_tokens\":{\"x\":{\"ids\":[99]}}}}",
         VISE_EFORMAT, "99"},
        {"{" MODEL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
         "\"id\":\"x\"}}],"
         "\"special_tokens\":{\"x\":{\"ids\":[0,1]}}}}",
         VISE_EUNSUPPORTED, "more than one"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_tokenizer *tokenizer = NULL;
        vise_error err = {0};
        vise_status status = vise_tokenizer_from_text("tokenizer.json", cases[i].json, strlen(cases[i].json),
                                                      &tokenizer, &err);
        if (status != cases[i].status || strstr(err.message, cases[i].says) == NULL)
            fail_msg("case %zu (%s): status %d, \"%s\"", i, cases[i].says, (int)status, err.message);
        assert_null(tokenizer);
    }
}

static void test_no_folder(void **state)
{
    vise_tokenizer *tokenizer;
    vise_error err = {0};

    (void)state;
    assert_int_equal(vise_tokenizer_open("examples/text", &tokenizer, &err), VISE_EUSAGE);
    assert_non_null(strstr(err.message, "examples/text"));
    err = (vise_error){0};
    assert_int_equal(vise_tokenizer_open("examples/demo.json", &tokenizer, &err), VISE_EUSAGE);
}

/* Ids of a .jsonl need no tokenizer; where there is one, it is opened, and must be whole. */
static void test_for_a_file(void **state)
{
    static const struct {
        const char *path, *folder;
        vise_status status;
        bool opened;
    } cases[] = {
        {"a.txt", "examples/stories260K", VISE_OK, true},
        {"a.jsonl", "examples/stories260K", VISE_OK, true},
        {"a.txt", "examples/text", VISE_EUSAGE, false},
        {"a.jsonl", "examples/text", VISE_OK, false},
        {"a.jsonl", "examples/demo.json", VISE_OK, false},
        {"jsonl", "examples/text", VISE_EUSAGE, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vise_tokenizer *tokenizer = NULL;
        vise_error err = {0};
        assert_int_equal(vise_tokenizer_open_for(cases[i].path, cases[i].folder, &tokenizer, &err),
                         cases[i].status);
        assert_true((tokenizer != NULL) == cases[i].opened);
        vise_tokenizer_close(tokenizer);
    }
}

/* Every allocation fails once: an error or success, never a leak or worse (the sanitizers look on). */
static void test_out_of_memory(void **state)
{
    vise_status status = VISE_ERESOURCE;

    (void)state;
    for (uint64_t n = 1; status != VISE_OK; n++) {
        vise_tokenizer *tokenizer = NULL;
        vise_ids ids = {0};
        const char *json = bytes_json;
        assert_true(n < 10000);
        vise_alloc_fail_after(n);
        status = vise_tokenizer_from_text("tokenizer.json", json, strlen(json), &tokenizer, NULL);
        if (status == VISE_OK)
            status = vise_tokenize(
                tokenizer, "the cat [X] the thetheaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                80, &ids, NULL);
        vise_alloc_fail_after(0);
        assert_true(status == VISE_OK || status == VISE_ERESOURCE);
        vise_ids_deinit(&ids);
        vise_tokenizer_close(tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bundled),       cmocka_unit_test(test_byte_level),
        cmocka_unit_test(test_marks),         cmocka_unit_test(test_splits),
        cmocka_unit_test(test_long_words),    cmocka_unit_test(test_invalid_utf8),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_for_a_file),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
