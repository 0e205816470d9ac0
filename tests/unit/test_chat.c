/* Conversations: whose chat template, what it sees, and how lines with messages stand beside others in a text file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/event.h"
#include "core/file.h"
#include "core/json.h"
#include "text/chat.h"
#include "text/token_stream.h"

static char folder[] = "/tmp/vise-test-chat-XXXXXX";
static char path[128];
static int warnings;

static void listen(void *context, const vise_event *event)
{
    (void)context;
    warnings += event->kind == VISE_EVENT_WARNING;
}

static void put(const char *name, const char *text)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (text != NULL)
        assert_int_equal(vise_file_write_atomic(path, text, strlen(text), NULL), VISE_OK);
    else
        (void)remove(path);
}

static int set_up(void **state)
{
    (void)state;
    vise_listen(listen, NULL);
    return mkdtemp(folder) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    vise_listen(NULL, NULL);
    return vise_folder_remove(folder, NULL) != VISE_OK;
}

typedef struct files {
    const char *config, *special, *jinja, *processor;
} files;

static void put_files(const files *all)
{
    put("tokenizer_config.json", all->config);
    put("special_tokens_map.json", all->special);
    put("chat_template.jinja", all->jinja);
    put("chat_template.json", all->processor);
}

static vise_status render(const char *line, vise_buf *out, vise_error *err)
{
    vise_chat *chat;
    cJSON *json = cJSON_Parse(line);
    vise_status status;

    assert_non_null(json);
    vise_buf_init(out, VISE_CHAT_BYTES_MAX);
    status = vise_chat_open(folder, &chat, err);
    if (status == VISE_OK) {
        status = vise_chat_render(chat, "f.jsonl line 7", json, out, err);
        vise_chat_close(chat);
    }
    cJSON_Delete(json);
    return status;
}

#define HELLO   "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}"
#define TEXT(t) "{\"bos_token\":\"<s>\",\"chat_template\":\"" t "\"}"

static void test_templates(void **state)
{
    static const struct {
        files files;
        const char *line, *text;
    } cases[] = {
        {{.config = TEXT("{{ messages[0].content }}")}, HELLO, "hello"},
        {{.config = TEXT("a"), .jinja = "b\n"}, HELLO, "b"},
        {{.config = "{\"bos_token\":\"<s>\"}", .processor = TEXT("{{ bos_token }}c")}, HELLO, "<s>c"},
        {{.config = "{\"bos_token\":{\"content\":\"<b>\",\"lstrip\":false}}",
          .special = "{\"bos_token\":\"<x>\",\"eos_token\":{\"content\":\"<e>\"}}",
          .jinja = "{{ bos_token }}{{ eos_token }}{{ unk_token }}."},
         HELLO,
         "<b><e>."},
        {{.special = "{\"bos_token\":\"<x>\"}", .jinja = "{{ bos_token }}"}, HELLO, "<x>"},
        {{.config = "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"{% include "
                    "%}\"},{\"name\":\"default\",\"template\":"
                    "\"plain\"},{\"name\":\"tool_use\",\"template\":\"{{ tools[0].n }}\"}]}"},
         HELLO,
         "plain"},
        {{.config = "{\"chat_template\":[{\"name\":\"default\",\"template\":\"plain\"},{\"name\":\"tool_"
                    "use\",\"template\":"
                    "\"{{ tools[0].n }}\"}]}"},
         "{\"tools\":[{\"n\":5}],\"messages\":[{\"role\":\"user\"}]}",
         "5"},
        /* what a template sees */
        {{.jinja =
              "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}{{ messages | length }}"},
         HELLO,
         "TrueTrueFalse1"},
        {{.jinja = "{{ add_generation_prompt }}{{ x }}{{ bos_token }}"},
         "{\"messages\":[{}],\"chat_template_kwargs\":{\"x\":[1],\"add_generation_prompt\":true,\"bos_"
         "token\":\"y\"}}",
         "True[1]y"},
        {{.jinja = "{{ 'content' in messages[0] }}{{ messages[0] | length }}"},
         "{\"messages\":[{\"role\":\"assistant\",\"content\":null}]}",
         "False1"},
        {{.jinja = "{{ messages[0].reasoning_content }}{{ messages[0].thinking }}"},
         "{\"messages\":[{\"role\":\"assistant\",\"reasoning\":\"r\"}]}",
         "rr"},
        {{.jinja = "{% for m in messages %}{{ m.content }}{% endfor %}"},
         "{\"messages\":[{\"content\":\"\"},{\"content\":\"\xc3\xa9\\u4e2d\\ud83d\\ude42\"}]}",
         "\xc3\xa9\xe4\xb8\xad\xf0\x9f\x99\x82"},
        {{.jinja = "{# nothing #}"}, HELLO, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_error err = {0};
        vise_buf out;
        put_files(&cases[i].files);
        if (render(cases[i].line, &out, &err) != VISE_OK)
            fail_msg("case %zu: %s", i, err.message);
        assert_string_equal(out.data != NULL ? out.data : "", cases[i].text);
        vise_buf_deinit(&out);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        files files;
        const char *line;
        vise_status status;
        const char *says[3];
    } cases[] = {
        {{.config = "{}"},
         HELLO,
         VISE_EUSAGE,
         {"has no chat template", "\"text\" or \"input_ids\"", "chat_template.jinja"}},
        {{0}, HELLO, VISE_EUSAGE, {"has no chat template"}},
        {{.config = "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"x\"}]}"},
         HELLO,
         VISE_EUSAGE,
         {"no chat template"}},
        {{.config = "{\"chat_template\":7}"},
         HELLO,
         VISE_EFORMAT,
         {"tokenizer_config.json", "a list of names"}},
        {{.config = "{\"chat_template\":[7]}"}, HELLO, VISE_EFORMAT, {"tokenizer_config.json"}},
        {{.config = "[]"}, HELLO, VISE_EFORMAT, {"tokenizer_config.json: not a JSON object"}},
        {{.config = "{", .jinja = "x"}, HELLO, VISE_EFORMAT, {"tokenizer_config.json"}},
        {{.jinja = "a\n{% call x %}"},
         HELLO,
         VISE_EUNSUPPORTED,
         {"chat_template.jinja line 2", "the statement \"call\"",
          "give the lines as \"text\" or \"input_ids\" instead"}},
        {{.jinja = "\n{{ 'a'.format() }}"},
         HELLO,
         VISE_EUNSUPPORTED,
         {"f.jsonl line 7: ", "chat_template.jinja line 2: the method \"format\"",
          "give the lines as \"text\""}},
        {{.jinja = "{{ raise_exception('No!') }}"}, HELLO, VISE_EFORMAT, {"f.jsonl line 7: ", "says: No!"}},
        {{.jinja = "{{ messages[3].role }}"},
         HELLO,
         VISE_EFORMAT,
         {"f.jsonl line 7: ", "\"role\" of what is undefined"}},
        {{.jinja = "x"}, "{\"messages\":[]}", VISE_EFORMAT, {"f.jsonl line 7: messages must be a list"}},
        {{.jinja = "x"}, "{\"messages\":{}}", VISE_EFORMAT, {"messages must be a list"}},
        {{.jinja = "x"}, "{\"messages\":[\"hello\"]}", VISE_EFORMAT, {"a message must be an object"}},
        {{.jinja = "x"},
         "{\"messages\":[{}],\"chat_template_kwargs\":{\"messages\":1}}",
         VISE_EFORMAT,
         {"chat_template_kwargs"}},
        {{.jinja = "x"},
         "{\"messages\":[{}],\"chat_template_kwargs\":[1]}",
         VISE_EFORMAT,
         {"chat_template_kwargs"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_error err = {0};
        vise_buf out;
        vise_status status;
        put_files(&cases[i].files);
        status = render(cases[i].line, &out, &err);
        vise_buf_deinit(&out);
        for (size_t k = 0; k < 3; k++)
            if (status != cases[i].status ||
                (cases[i].says[k] != NULL && strstr(err.message, cases[i].says[k]) == NULL))
                fail_msg("case %zu: status %d, \"%s\" lacks \"%s\"", i, (int)status, err.message,
                         cases[i].says[k]);
    }
}

static void test_date(void **state)
{
    vise_buf out;

    (void)state;
    put_files(&(files){.jinja = "{{ strftime_now('%Y') | length }}"});
    warnings = 0;
    assert_int_equal(unsetenv("SOURCE_DATE_EPOCH"), 0);
    assert_int_equal(render(HELLO, &out, NULL), VISE_OK);
    assert_string_equal(out.data, "4");
    assert_int_equal(warnings, 1); /* the same file gives other tokens tomorrow */
    vise_buf_deinit(&out);
    assert_int_equal(setenv("SOURCE_DATE_EPOCH", "0", 1), 0);
    assert_int_equal(render(HELLO, &out, NULL), VISE_OK);
    assert_int_equal(warnings, 1);
    vise_buf_deinit(&out);
}

/* ---- in a file ------------------------------------------------------------------------------------------------- */

/* Letters are their own tokens: a is 0 and so on; <s> is 4, which the tokenizer puts in front of a text. */
#define LETTERS                                                                                              \
    "{\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"special\":true}],\"model\":{\"type\":\"BPE\","       \
    "\"vocab\":"                                                                                             \
    "{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"<s>\":4},\"merges\":[]},\"post_processor\":{\"type\":"               \
    "\"TemplateProcessing\","                                                                                \
    "\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":"     \
    "{\"<s>\":{\"ids\":[4]}}}}"
#define CHAT(c) "{\"messages\":[{\"content\":\"" c "\"}]}\n"

static vise_status read_lines(const char *text, size_t enough, vise_token_stream *stream, vise_error *err)
{
    vise_tokenizer *tokenizer;
    vise_status status;

    put("tokenizer.json", LETTERS);
    assert_int_equal(vise_tokenizer_open(folder, &tokenizer, NULL), VISE_OK);
    put("f.jsonl", text);
    status = vise_token_stream_read(path, tokenizer, 5, enough, stream, err);
    vise_tokenizer_close(tokenizer);
    return status;
}

static void test_lines(void **state)
{
    static const int32_t all[] = {0, 1, 2, 3, 3, 1, 4, 2};
    vise_token_stream stream;
    vise_error err = {0};

    (void)state;
    put_files(&(files){.config = TEXT("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}")});
    if (read_lines("{\"text\":\"a\"}\n" CHAT("bc") "\n \r\n{\"input_ids\":[4,3]}\n" CHAT("db<s>c"), SIZE_MAX,
                   &stream, &err) != VISE_OK)
        fail_msg("%s", err.message);
    assert_int_equal(stream.ids.count, 8); /* BOS in front of a line is for windows to put */
    assert_memory_equal(stream.ids.ids, all, sizeof all);
    vise_token_stream_deinit(&stream);
    /* lines behind what is enough are not looked at */
    assert_int_equal(read_lines(CHAT("abcd") "{nothing", 3, &stream, NULL), VISE_OK);
    vise_token_stream_deinit(&stream);
}

static void test_bad_lines(void **state)
{
    static const struct {
        const char *text;
        vise_status status;
        const char *says;
    } cases[] = {
        {"{\"text\":\"a\"}\n{\"messages\":[]}\n", VISE_EFORMAT, "f.jsonl line 2: messages must be a list"},
        {"\n\n" CHAT("a") "{\"messages\":\"a\"}", VISE_EFORMAT, "f.jsonl line 4: messages"},
        {"{\"text\":\"a\"}\n{\"other\":1}", VISE_EFORMAT, "f.jsonl line 2"},
        {"{\"text\":\"a\"}\n[1]", VISE_EFORMAT, "f.jsonl line 2: not a JSON object"},
        {"{\"text\":\"a\"}\n{\"text\":\"a\"", VISE_EFORMAT, "f.jsonl line 2"},
        {"{\"input_ids\":[1]}\n{\"input_ids\":[5]}", VISE_EFORMAT, "f.jsonl line 2: input_ids[0]"},
        {"{\"input_ids\":[1]}\n{\"input_ids\":[1.5]}", VISE_EFORMAT, "f.jsonl line 2: input_ids[0]"},
        {"{\"input_ids\":7}", VISE_EFORMAT, "f.jsonl line 1: input_ids must be a list"},
        {"{\"text\":7}", VISE_EFORMAT, "f.jsonl line 1"},
        {CHAT("a\xff"), VISE_EFORMAT, "f.jsonl line 1: "},
        {"{\"messages\":[{\"\xc3\":1}]}", VISE_EFORMAT, "not UTF-8"},
        {"{\"conversations\":[]}", VISE_EFORMAT, "\"messages\""},
    };

    (void)state;
    put_files(&(files){.config = TEXT("{{ messages[0].content }}")});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_token_stream stream;
        vise_error err = {0};
        vise_status status = read_lines(cases[i].text, SIZE_MAX, &stream, &err);
        if (status != cases[i].status || strstr(err.message, cases[i].says) == NULL)
            fail_msg("case %zu: status %d, \"%s\" lacks \"%s\"", i, (int)status, err.message, cases[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_templates), cmocka_unit_test(test_refusals),  cmocka_unit_test(test_date),
        cmocka_unit_test(test_lines),     cmocka_unit_test(test_bad_lines),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
