/* Option tables: argv, defaults, errors with the nearest name, JSON there and back, help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/option.h"

typedef struct values {
    bool pack, keep;
    const char *layout, *file, *method;
    int64_t samples, skip;
    double damp, free_number;
    uint64_t size;
    vise_texts include;
} values;

static const vise_option rows[] = {
    {.name = "pack", .type = VISE_OPTION_FLAG, .offset = offsetof(values, pack), .help = "pack it"},
    {.name = "keep",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(values, keep),
     .initial = "true",
     .help = "keep it"},
    {.name = "layout",
     .type = VISE_OPTION_TEXT,
     .offset = offsetof(values, layout),
     .value = "L",
     .help = "layout"},
    {.name = "file",
     .letter = 'f',
     .type = VISE_OPTION_PATH,
     .offset = offsetof(values, file),
     .value = "FILE",
     .help = "a file"},
    {.name = "method",
     .type = VISE_OPTION_CHOICE,
     .offset = offsetof(values, method),
     .choices = "rtn|gptq",
     .initial = "rtn",
     .help = "how"},
    {.name = "samples",
     .type = VISE_OPTION_INT,
     .offset = offsetof(values, samples),
     .min = 1,
     .max = 1000,
     .value = "N",
     .help = "how many"},
    {.name = "skip",
     .type = VISE_OPTION_INT,
     .offset = offsetof(values, skip),
     .min = 0,
     .max = 1e15,
     .initial = "0",
     .help = "left out"},
    {.name = "damp-factor",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(values, damp),
     .min = 0,
     .max = 1,
     .initial = "0.01",
     .help = "damping"},
    {.name = "free", .type = VISE_OPTION_NUMBER, .offset = offsetof(values, free_number), .help = "anything"},
    {.name = "size",
     .type = VISE_OPTION_SIZE,
     .offset = offsetof(values, size),
     .initial = "5GB",
     .help = "bytes"},
    {.name = "include", .type = VISE_OPTION_LIST, .offset = offsetof(values, include), .help = "which"},
};
#define N_ROWS (sizeof rows / sizeof *rows)

typedef struct fixture {
    vise_arena *arena;
    values values;
    vise_options table;
    vise_texts positional;
    vise_error err;
    bool help;
} fixture;

static int set_up(void **state)
{
    static fixture f;

    memset(&f, 0, sizeof f);
    f.table = (vise_options){.rows = rows, .count = N_ROWS, .title = "Options", .values = &f.values};
    *state = &f;
    return vise_arena_new(&f.arena, NULL) != VISE_OK || vise_options_init(&f.table, f.arena, NULL) != VISE_OK;
}

static int tear_down(void **state)
{
    vise_arena_free(((fixture *)*state)->arena);
    return 0;
}

#define ARGS_MAX 32

/* Parses the words of a line, split at single spaces. */
static vise_status parse(fixture *f, const char *line)
{
    static char text[256];
    char *argv[ARGS_MAX], *rest = text, *word;
    int argc = 0;

    f->err = (vise_error){0};
    f->positional = (vise_texts){0};
    snprintf(text, sizeof text, "%s", line);
    while ((word = strsep(&rest, " ")) != NULL && argc < ARGS_MAX)
        argv[argc++] = word;
    if (line[0] == '\0')
        argc = 0;
    return vise_options_parse(&f->table, 1, argc, argv, f->arena, &f->positional, &f->help, &f->err);
}

static void test_defaults(void **state)
{
    const values *v = &((fixture *)*state)->values;

    assert_false(v->pack);
    assert_true(v->keep);
    assert_null(v->layout);
    assert_null(v->file);
    assert_string_equal(v->method, "rtn");
    assert_true(v->samples == VISE_UNSET_INT);
    assert_int_equal(v->skip, 0);
    assert_true(v->damp == 0.01);
    assert_true(isnan(v->free_number));
    assert_true(v->size == 5000000000);
    assert_int_equal(v->include.count, 0);
}

static void test_argv(void **state)
{
    fixture *f = *state;

    assert_int_equal(parse(f, "model --pack --no-keep --layout=x -f a.txt --method gptq --samples 12 "
                              "--damp-factor 0.5 --size 2MiB --include a --include=b more"),
                     VISE_OK);
    assert_true(f->values.pack);
    assert_false(f->values.keep);
    assert_string_equal(f->values.layout, "x");
    assert_string_equal(f->values.file, "a.txt");
    assert_string_equal(f->values.method, "gptq");
    assert_int_equal(f->values.samples, 12);
    assert_true(f->values.damp == 0.5);
    assert_true(f->values.size == 2 << 20);
    assert_int_equal(f->values.include.count, 2);
    assert_string_equal(f->values.include.items[1], "b");
    assert_int_equal(f->positional.count, 2);
    assert_string_equal(f->positional.items[1], "more");
    assert_int_equal(parse(f, "--free -1e3 -- --pack -x"), VISE_OK);
    assert_true(f->values.free_number == -1000.0);
    assert_int_equal(f->positional.count, 2);
    assert_string_equal(f->positional.items[0], "--pack");
}

static void test_help_wins(void **state)
{
    fixture *f = *state;

    assert_int_equal(parse(f, "--nonsense --help"), VISE_OK);
    assert_true(f->help);
    assert_int_equal(parse(f, "-h"), VISE_OK);
    assert_true(f->help);
    assert_int_equal(parse(f, "-- -h"), VISE_OK);
    assert_false(f->help);
}

static void test_argv_errors(void **state)
{
    static const struct {
        const char *line, *what;
    } cases[] = {
        {"--smaples 3", "unknown option --smaples; did you mean --samples?"},
        {"--sample=3", "unknown option --sample; did you mean --samples?"},
        {"--xyzzyx", "unknown option --xyzzyx"},
        {"--no-pack", "unknown option --no-pack"},
        {"--no-layout", "unknown option --no-layout"},
        {"-z", "unknown option -z"},
        {"-fa", "unknown option -fa"},
        {"--pack=yes", "--pack takes no value"},
        {"--layout", "--layout needs a value: L"},
        {"--layout --pack", "--layout needs a value: L"},
        {"--layout=", "--layout: the value is empty"},
        {"--method gtpq", "--method: unknown value 'gtpq'; did you mean 'gptq'?"},
        {"--method zzz", "--method: unknown value 'zzz'; it is one of rtn, gptq"},
        {"--samples 0", "--samples: 0 is out of range; it must be 1 to 1000"},
        {"--samples 1001", "--samples: 1001 is out of range; it must be 1 to 1000"},
        {"--samples 1.5", "--samples: '1.5' is no whole number"},
        {"--samples 9999999999999999999", "--samples: '9999999999999999999' is no whole number"},
        {"--skip -1", "--skip: -1 is out of range; it must be at least 0"},
        {"--damp-factor x", "--damp-factor: 'x' is no number"},
        {"--damp-factor nan", "--damp-factor: 'nan' is no number"},
        {"--damp-factor 1.01", "--damp-factor: 1.01 is out of range; it must be 0 to 1"},
        {"--size 5XB", "--size: "},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture *f = *state;

        assert_int_equal(parse(f, cases[i].line), VISE_EUSAGE);
        if (strncmp(f->err.message, cases[i].what, strlen(cases[i].what)) != 0)
            fail_msg("%s: %s", cases[i].line, f->err.message);
    }
}

/* ---- JSON ------------------------------------------------------------------------------------------- */

static vise_status from_json(fixture *f, const char *text)
{
    static const char *const known[] = {"pass", NULL};
    cJSON *json = NULL;
    vise_status status;

    f->err = (vise_error){0};
    assert_int_equal(vise_json_parse("r.json", text, strlen(text), &json, &f->err), VISE_OK);
    status = vise_options_from_json(&f->table, json, known, "r.json", "passes[1]", "dir/", f->arena, &f->err);
    cJSON_Delete(json);
    return status;
}

static void test_from_json(void **state)
{
    fixture *f = *state;

    assert_int_equal(from_json(f, "{\"pass\": 3, \"pack\": true, \"keep\": false, \"file\": \"a.txt\", "
                                  "\"damp_factor\": 0.25, \"samples\": 7, \"size\": \"1kB\", "
                                  "\"include\": [\"x\", \"y\"], \"method\": \"gptq\"}"),
                     VISE_OK);
    assert_true(f->values.pack);
    assert_false(f->values.keep);
    assert_string_equal(f->values.file, "dir/a.txt");
    assert_true(f->values.damp == 0.25);
    assert_int_equal(f->values.samples, 7);
    assert_true(f->values.size == 1000);
    assert_int_equal(f->values.include.count, 2);
    assert_int_equal(from_json(f, "{\"file\": \"/abs\", \"size\": 77}"), VISE_OK);
    assert_string_equal(f->values.file, "/abs");
    assert_true(f->values.size == 77);
}

static void test_json_errors(void **state)
{
    static const struct {
        const char *text, *what;
    } cases[] = {
        {"{\"smaples\": 3}", "r.json: passes[1]: unknown key \"smaples\"; did you mean \"samples\"?"},
        {"{\"damp-factor\": 3}",
         "r.json: passes[1]: unknown key \"damp-factor\"; did you mean \"damp_factor\"?"},
        {"{\"pas\": 3}", "r.json: passes[1]: unknown key \"pas\"; did you mean \"pass\"?"},
        {"{\"zzzzzz\": 3}", "r.json: passes[1]: unknown key \"zzzzzz\""},
        {"{\"samples\": 1.5}", "r.json: passes[1].samples: 1.5 is no whole number"},
        {"{\"samples\": \"3\"}", "r.json: passes[1].samples: the value must be a whole number"},
        {"{\"samples\": 0}", "r.json: passes[1].samples: 0 is out of range; it must be 1 to 1000"},
        {"{\"pack\": 1}", "r.json: passes[1].pack: the value must be true or false"},
        {"{\"pack\": null}", "r.json: passes[1].pack: the value must be true or false"},
        {"{\"layout\": 1}", "r.json: passes[1].layout: the value must be a text"},
        {"{\"method\": \"gtpq\"}", "r.json: passes[1].method: unknown value 'gtpq'; did you mean 'gptq'?"},
        {"{\"include\": \"x\"}", "r.json: passes[1].include: the value must be a list of texts"},
        {"{\"include\": [1]}", "r.json: passes[1].include: the value must be a list of texts"},
        {"{\"size\": -1}", "r.json: passes[1].size: -1 is no number of bytes"},
        {"{\"size\": [1]}", "r.json: passes[1].size: the value must be a size"},
        {"[]", "r.json: passes[1] must be an object"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture *f = *state;

        assert_int_equal(from_json(f, cases[i].text), VISE_EUSAGE);
        if (strncmp(f->err.message, cases[i].what, strlen(cases[i].what)) != 0)
            fail_msg("%s: %s", cases[i].text, f->err.message);
    }
}

static char *to_json(fixture *f, vise_buf *buf)
{
    vise_json_writer writer;

    vise_buf_init(buf, 4096);
    vise_json_begin(&writer, buf, 0);
    vise_json_object(&writer);
    vise_options_to_json(&f->table, &writer);
    vise_json_object_end(&writer);
    assert_false(buf->failed);
    return buf->data;
}

static void test_to_json(void **state)
{
    static const char *const text =
        "{\"pack\":true,\"keep\":false,\"file\":\"/x\",\"method\":\"gptq\",\"samples\":4,\"skip\":1,"
        "\"damp_factor\":0.5,\"free\":-2,\"size\":9,\"include\":[\"a\"]}";
    fixture *f = *state;
    vise_buf buf;

    assert_string_equal(to_json(f, &buf), "{}"); /* defaults are left out */
    vise_buf_deinit(&buf);
    assert_int_equal(from_json(f, text), VISE_OK);
    assert_string_equal(to_json(f, &buf), text);
    vise_buf_deinit(&buf);
}

/* ---- help, names ------------------------------------------------------------------------------------ */

static void test_help_text(void **state)
{
    static const char *const lines[] = {
        "\nOptions\n",
        "      --no-keep               keep it\n",
        "  -f, --file FILE             a file\n",
        "      --method rtn|gptq       how (default rtn)\n",
        "      --samples N             how many, 1 to 1000\n",
        "      --damp-factor VALUE     damping, 0 to 1 (default 0.01)\n",
    };
    fixture *f = *state;
    vise_buf buf;

    vise_buf_init(&buf, 65536);
    vise_options_help(&f->table, &buf);
    assert_false(buf.failed);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(buf.data, lines[i]))
            fail_msg("no line \"%s\" in\n%s", lines[i], buf.data);
    for (const char *line = buf.data; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 100);
    vise_buf_deinit(&buf);
}

static void test_nearest(void **state)
{
    static const char *const names[] = {"samples", "length", "windows", "skip", "x"};
    static const struct {
        const char *text, *nearest;
    } cases[] = {{"samples", "samples"}, {"smaples", "samples"}, {"lenght", "length"}, {"window", "windows"},
                 {"skipp", "skip"},      {"win", "windows"},     {"elephant", NULL},   {"y", NULL},
                 {"", NULL}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *nearest = vise_nearest(cases[i].text, names, sizeof names / sizeof *names);

        if (!cases[i].nearest)
            assert_null(nearest);
        else
            assert_string_equal(nearest, cases[i].nearest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_argv, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_help_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_argv_errors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_from_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_errors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_to_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_help_text, set_up, tear_down),
        cmocka_unit_test(test_nearest),
    };

    return cmocka_run_group_tests_name("option", tests, NULL, NULL);
}
