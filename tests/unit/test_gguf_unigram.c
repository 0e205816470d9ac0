/* XLM-RoBERTa's vocabulary in GGUF metadata: out of tokenizer.json, and out of sentencepiece's model, whose ids fairseq
 * moved; the map of characters; what is damaged. Expected values are llama.cpp's converter's. */
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "formats/gguf_meta.h"
#include "tests/unit/formats_help.h"

#define VOCAB "\"vocab\":[[\"<s>\",0],[\"<pad>\",0],[\"</s>\",0],[\"<unk>\",0],[\"a\",-1.5],[\"b\",-2],[\"c\",-3]]"
#define ADDED                                                                                                          \
    "\"added_tokens\":[{\"id\":3,\"content\":\"<unk>\"},{\"id\":5,\"content\":\"b\"},{\"id\":6,\"content\":\"c\"},"    \
    "{\"id\":7,\"content\":\"behind\"}]"

typedef struct made {
    vise_gguf_values values;
    size_t n;
} made;

static vise_status make(const char *tokenizer, const char *config, const vise_gguf_tokenizer *facts, size_t vocab,
                        made *out)
{
    vise_arena *arena;
    cJSON *json = NULL, *settings = NULL;
    OK(vise_arena_new(&arena, &help_error));
    if (tokenizer != NULL)
        OK(vise_json_parse("t", tokenizer, strlen(tokenizer), &json, &help_error));
    if (config != NULL)
        OK(vise_json_parse("c", config, strlen(config), &settings, &help_error));
    const vise_gguf_unigram files = {
        .facts = facts, .tokenizer = json, .config = settings, .path = "t", .vocab = vocab, .types = 2};
    assert_true(vise_gguf_is_unigram(&files));
    vise_gguf_values_init(&out->values);
    const vise_status status = vise_gguf_put_unigram(&files, arena, &out->n, &out->values, &help_error);
    cJSON_Delete(settings);
    cJSON_Delete(json);
    vise_arena_free(arena);
    return status;
}

static bool holds(const made *m, const void *bytes, size_t n)
{
    return memmem(m->values.bytes.data, m->values.bytes.length, bytes, n) != NULL;
}

/* An array's head, as the format has it, and its elements. */
static bool holds_array(const made *m, const char *key, vise_gguf_kind kind, uint64_t n, const void *elements,
                        size_t bytes)
{
    char wanted[512];
    const uint64_t length = strlen(key);
    const uint32_t array = VISE_GGUF_KIND_ARRAY, of = (uint32_t)kind;
    size_t at = 0;
    assert_true(length + bytes + 40 < sizeof wanted);
    memcpy(wanted + at, &length, 8), at += 8;
    memcpy(wanted + at, key, length), at += length;
    memcpy(wanted + at, &array, 4), at += 4;
    memcpy(wanted + at, &of, 4), at += 4;
    memcpy(wanted + at, &n, 8), at += 8;
    memcpy(wanted + at, elements, bytes), at += bytes;
    return holds(m, wanted, at);
}

static bool holds_flag(const made *m, const char *key, bool value)
{
    char wanted[80];
    const size_t length = strlen(key);
    const uint32_t kind = VISE_GGUF_KIND_BOOL;
    memcpy(wanted, key, length);
    memcpy(wanted + length, &kind, 4);
    wanted[length + 4] = value;
    return holds(m, wanted, length + 5);
}

static void test_json(void **state)
{
    (void)state;
    static const char tokenizer[] = "{\"model\":{\"type\":\"Unigram\",\"unk_id\":3," VOCAB "}," ADDED
                                    ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Precompiled\","
                                    "\"precompiled_charsmap\":\"AAEC/w==\"}]}}";
    static const struct {
        const char *config;
        int32_t types[9];
        bool front, clean;
    } rows[] = {
        {NULL, {3, 3, 3, 2, 1, 4, 4, 5, 5}, true, false},
        {"{\"clean_up_tokenization_spaces\":true,\"mask_token\":{\"content\":\"c\"}}",
         {3, 3, 3, 2, 1, 4, 3, 5, 5}, true, true},
        {"{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"bos_token\":\"<s>\",\"extra_special_tokens\":[\"b\"]}",
         {3, 1, 1, 2, 1, 3, 4, 5, 5}, false, false},
        {"{\"tokenizer_class\":\"XLMRobertaTokenizer\",\"add_prefix_space\":false,\"unk_token\":\"b\"}",
         {3, 3, 3, 4, 1, 2, 4, 5, 5}, false, false}, /* <unk> is listed, and no longer the unknown one */
    };
    const vise_gguf_tokenizer none = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        made m;
        const float scores[9] = {0, 0, 0, 0, -1.5f, -2, -3, -10000, -10000};
        OK(make(tokenizer, rows[i].config, &none, 9, &m));
        assert_int_equal(m.n, 9);
        assert_true(holds_array(&m, "tokenizer.ggml.scores", VISE_GGUF_KIND_F32, 9, scores, sizeof scores));
        assert_true(holds_array(&m, "tokenizer.ggml.token_type", VISE_GGUF_KIND_I32, 9, rows[i].types,
                                sizeof rows[i].types));
        assert_true(holds_array(&m, "tokenizer.ggml.precompiled_charsmap", VISE_GGUF_KIND_U8, 4, "\0\1\2\377", 4));
        assert_true(holds(&m, "[PAD7]", 6) && holds(&m, "[PAD8]", 6));
        assert_true(holds_flag(&m, "tokenizer.ggml.add_space_prefix", rows[i].front));
        assert_true(holds_flag(&m, "tokenizer.ggml.remove_extra_whitespaces", rows[i].clean));
        vise_gguf_values_deinit(&m.values);
    }
}

static void test_pieces(void **state)
{
    (void)state;
    static const vise_gguf_piece pieces[] = {
        {"<unk>", 5, 0, 2}, {"<s>", 3, 0, 3}, {"</s>", 4, 0, 3}, {"a", 1, -1, 1}, {"b", 1, -2, 4}};
    const vise_gguf_tokenizer facts = {
        .pieces = pieces, .n_pieces = 5, .unigram = true, .space_prefix = true, .one_space = true};
    static const float scores[8] = {0, 0, 0, 0, -1, -2, -10000, -10000};
    static const int32_t types[8] = {3, 3, 3, 2, 1, 1, 5, 5};
    static const char *const texts[] = {"<s>", "<pad>", "</s>", "<unk>", "a", "b", "[PAD5]", "[PAD6]"};
    char stored[256];
    size_t at = 0;
    made m;
    OK(make(NULL, NULL, &facts, 8, &m));
    assert_int_equal(m.n, 8);
    for (size_t i = 0; i < 8; i++) {
        const uint64_t length = strlen(texts[i]);
        memcpy(stored + at, &length, 8);
        memcpy(stored + at + 8, texts[i], length);
        at += 8 + length;
    }
    assert_true(holds_array(&m, "tokenizer.ggml.tokens", VISE_GGUF_KIND_TEXT, 8, stored, at));
    assert_true(holds_array(&m, "tokenizer.ggml.scores", VISE_GGUF_KIND_F32, 8, scores, sizeof scores));
    assert_true(holds_array(&m, "tokenizer.ggml.token_type", VISE_GGUF_KIND_I32, 8, types, sizeof types));
    assert_true(holds_flag(&m, "tokenizer.ggml.remove_extra_whitespaces", true));
    assert_false(holds(&m, "precompiled_charsmap", 20));
    vise_gguf_values_deinit(&m.values);
    OK(make(NULL, NULL, &facts, 2, &m)); /* more pieces than rows: all of them */
    assert_int_equal(m.n, 5);
    vise_gguf_values_deinit(&m.values);
}

static void test_damaged(void **state)
{
    (void)state;
    static const char *const tokenizers[] = {
        "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",\"b\"]]}}",
        "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[1,2]]}}",
        "{\"model\":{\"type\":\"Unigram\",\"vocab\":[7]}}",
        "{\"model\":{\"type\":\"Unigram\"," VOCAB "},\"normalizer\":{\"precompiled_charsmap\":\"AAE\"}}",
        "{\"model\":{\"type\":\"Unigram\"," VOCAB "},\"normalizer\":{\"precompiled_charsmap\":\"AA=C\"}}",
        "{\"model\":{\"type\":\"Unigram\"," VOCAB "},\"normalizer\":{\"precompiled_charsmap\":\"AA==AAAA\"}}",
    };
    const vise_gguf_tokenizer none = {0};
    for (size_t i = 0; i < sizeof tokenizers / sizeof *tokenizers; i++) {
        made m;
        assert_int_equal(make(tokenizers[i], NULL, &none, 9, &m), VISE_EFORMAT);
        vise_gguf_values_deinit(&m.values);
    }
    made m;
    assert_int_equal(make("{\"model\":{\"type\":\"Unigram\"}}", NULL, &none, 0, &m), VISE_EFORMAT);
    vise_gguf_values_deinit(&m.values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
