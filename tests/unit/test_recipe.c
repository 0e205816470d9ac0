/* Recipes: the example of the contract, defaults, every error by its message, and the canonical text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

#include "convert/convert.h"
#include "pipeline/recipe.h"
#include "prune/prune.h"
#include "quant/quant.h"

static const vise_pass *const passes[] = {&vise_pass_convert, &vise_pass_quant, &vise_pass_prune, NULL};

static const char contract[] =
    "{ \"input\": \"MODEL\", \"calibration\": {\"text\": \"calib.txt\", \"samples\": 128, \"length\": 512,\n"
    "                                     \"windows\": \"random\", \"seed\": 3},\n"
    "  \"evaluate\": {\"text\": \"/test.txt\", \"length\": 512},\n"
    "  \"passes\": [ {\"pass\": \"prune\", \"method\": \"wanda\", \"pattern\": \"2:4\"},\n"
    "              {\"pass\": \"quant\", \"method\": \"gptq\", \"scheme\": \"int4-g128\", \"exclude\": "
    "[\"lm_head\"]} ],\n"
    "  \"layout\": \"compressed-tensors\", \"pack\": true, \"max_shard_size\": \"2GB\",\n"
    "  \"goals\": {\"max_perplexity_ratio\": 1.05, \"max_bytes\": \"200MB\"} }";

static vise_arena *arena;
static vise_request request;
static vise_error err;

static int set_up(void **state)
{
    (void)state;
    return vise_arena_new(&arena, NULL) != VISE_OK;
}

static int tear_down(void **state)
{
    (void)state;
    vise_arena_free(arena);
    return 0;
}

static vise_status parse(const char *text)
{
    err = (vise_error){0};
    return vise_recipe_parse("dir/r.json", text, strlen(text), passes, arena, &request, &err);
}

static void test_contract(void **state)
{
    const vise_quant_config *quant;

    (void)state;
    assert_int_equal(parse(contract), VISE_OK);
    assert_string_equal(request.input, "dir/MODEL");
    assert_string_equal(request.calibration.path, "dir/calib.txt");
    assert_int_equal(request.calibration.samples, 128);
    assert_int_equal(request.calibration.length, 512);
    assert_true(request.calibration.random);
    assert_int_equal(request.calibration.seed, 3);
    assert_string_equal(request.evaluation.path, "/test.txt");
    assert_false(request.evaluation.random);
    assert_true(request.evaluation.samples == VISE_UNSET_INT);
    assert_int_equal(request.n_passes, 2);
    assert_ptr_equal(request.passes[0].pass, &vise_pass_prune);
    assert_ptr_equal(request.passes[1].pass, &vise_pass_quant);
    quant = request.passes[1].config;
    assert_string_equal(quant->scheme, "int4-g128");
    assert_string_equal(quant->exclude.items[0], "lm_head");
    assert_true(quant->damp == 0.05);
    assert_string_equal(request.output.layout, "compressed-tensors");
    assert_true(request.output.pack);
    assert_int_equal(request.output.max_shard_bytes, 2000000000);
    assert_true(request.goals.max_perplexity_ratio == 1.05);
    assert_true(isnan(request.goals.max_kl));
    assert_int_equal(request.goals.max_bytes, 200000000);
}

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"input\": \"M\", \"passes\": [{\"pass\": \"convert\"}]}"), VISE_OK);
    assert_null(request.calibration.path);
    assert_null(request.evaluation.path);
    assert_null(request.output.layout);
    assert_false(request.output.pack);
    assert_int_equal(request.output.max_shard_bytes, 5000000000);
    assert_true(request.goals.max_bytes == VISE_UNSET_SIZE);
    assert_string_equal(request.device, "auto");
}

#define MODEL  "\"input\": \"M\""
#define PASSES "\"passes\": [{\"pass\": \"convert\"}]"

static void test_errors(void **state)
{
    static const struct {
        const char *text;
        vise_status status;
        const char *what;
    } cases[] = {
        {"", VISE_EFORMAT, "dir/r.json"},
        {"{", VISE_EFORMAT, "dir/r.json"},
        {"{" MODEL ", " MODEL ", " PASSES "}", VISE_EFORMAT, "dir/r.json"},
        {"[]", VISE_EUSAGE, "dir/r.json: the document must be an object"},
        {"{" PASSES "}", VISE_EUSAGE, "dir/r.json: \"input\" is missing"},
        {"{" MODEL "}", VISE_EUSAGE, "dir/r.json: \"passes\" must be a list of at least one pass"},
        {"{" MODEL ", \"passes\": []}", VISE_EUSAGE,
         "dir/r.json: \"passes\" must be a list of at least one pass"},
        {"{" MODEL ", \"passes\": [1]}", VISE_EUSAGE, "dir/r.json: passes[0] must be an object"},
        {"{" MODEL ", \"passes\": [{}]}", VISE_EUSAGE, "dir/r.json: passes[0].pass is missing"},
        {"{" MODEL ", \"passes\": [{\"pass\": \"qaunt\"}]}", VISE_EUSAGE,
         "dir/r.json: passes[0].pass: unknown pass \"qaunt\"; did you mean \"quant\"?"},
        {"{" MODEL ", \"passes\": [{\"pass\": \"quant\", \"shceme\": \"int4\"}]}", VISE_EUSAGE,
         "dir/r.json: passes[0]: unknown key \"shceme\"; did you mean \"scheme\"?"},
        {"{" MODEL ", " PASSES ", \"calibraton\": {}}", VISE_EUSAGE,
         "dir/r.json: unknown key \"calibraton\"; did you mean \"calibration\"?"},
        {"{" MODEL ", " PASSES ", \"calibration\": {\"samples\": 3}}", VISE_EUSAGE,
         "dir/r.json: calibration.text is missing"},
        {"{" MODEL ", " PASSES ", \"calibration\": {\"text\": \"t\", \"windows\": \"last\"}}", VISE_EUSAGE,
         "dir/r.json: calibration.windows: unknown value 'last'"},
        {"{" MODEL ", " PASSES ", \"evaluate\": {\"text\": \"t\", \"length\": 1}}", VISE_EUSAGE,
         "dir/r.json: evaluate.length: 1 is out of range"},
        {"{" MODEL ", " PASSES ", \"goals\": {\"max_perplexity_ration\": 1}}", VISE_EUSAGE,
         "dir/r.json: goals: unknown key \"max_perplexity_ration\"; did you mean \"max_perplexity_ratio\"?"},
        {"{" MODEL ", " PASSES ", \"goals\": {\"min_top1_agreement\": 1.5}}", VISE_EUSAGE,
         "dir/r.json: goals.min_top1_agreement: 1.5 is out of range; it must be 0 to 1"},
        {"{" MODEL ", " PASSES ", \"goals\": 3}", VISE_EUSAGE, "dir/r.json: goals must be an object"},
        {"{" MODEL ", " PASSES ", \"max_shard_size\": \"many\"}", VISE_EUSAGE,
         "dir/r.json: max_shard_size: "},
        {"{" MODEL ", " PASSES ", \"pack\": \"yes\"}", VISE_EUSAGE,
         "dir/r.json: pack: the value must be true or false"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(parse(cases[i].text), cases[i].status);
        if (strncmp(err.message, cases[i].what, strlen(cases[i].what)) != 0)
            fail_msg("%s: %s", cases[i].text, err.message);
    }
}

static void test_too_many_passes(void **state)
{
    vise_buf text;

    (void)state;
    vise_buf_init(&text, 65536);
    vise_buf_add_text(&text, "{" MODEL ", \"passes\": [{\"pass\": \"convert\"}");
    for (int i = 0; i < VISE_PASSES_MAX; i++)
        vise_buf_add_text(&text, ", {\"pass\": \"convert\"}");
    vise_buf_add_text(&text, "]}");
    assert_int_equal(parse(text.data), VISE_EUSAGE);
    assert_non_null(strstr(err.message, "more than 16 passes"));
    vise_buf_deinit(&text);
}

/* The canonical text does not depend on how the recipe was written, and changes with what decides the bytes. */
static void test_describe(void **state)
{
    const char *first;

    (void)state;
    assert_int_equal(parse("{" MODEL ", " PASSES "}"), VISE_OK);
    assert_string_equal(request.recipe_text,
                        "{\"input\":\"dir/M\",\"passes\":[{\"pass\":\"convert\"}],\"pack\":false,"
                        "\"max_shard_size\":5000000000,\"seed\":0}");
    first = request.recipe_text;
    assert_int_equal(parse("{" PASSES ", \"goals\": {\"max_kl\": 1}, \"max_shard_size\": 5000000000, " MODEL
                           ", \"evaluate\": {\"text\": \"t\"}}"),
                     VISE_OK);
    assert_string_equal(request.recipe_text, first);
    assert_int_equal(parse("{" MODEL ", \"passes\": [{\"pass\": \"convert\", \"dtype\": \"f16\"}]}"),
                     VISE_OK);
    assert_non_null(strstr(request.recipe_text, "{\"pass\":\"convert\",\"dtype\":\"f16\"}"));
    assert_int_equal(parse("{" MODEL ", " PASSES ", \"seed\": 5, \"calibration\": {\"text\": \"c\"}}"),
                     VISE_OK);
    assert_int_equal(request.calibration.seed, 5);
    assert_int_equal(parse("{" MODEL ", " PASSES ", \"leave_out\": [\"mtp.*\", \"x\"]}"), VISE_OK);
    assert_int_equal(request.output.leave_out.count, 2);
    assert_non_null(strstr(request.recipe_text, "\"leave_out\":[\"mtp.*\",\"x\"],\"pack\""));
    assert_int_equal(parse("{" MODEL ", " PASSES ", \"seed\": 5, \"calibration\": {\"text\": \"c\"}}"), VISE_OK);
    assert_non_null(strstr(request.recipe_text, "\"calibration\":{\"text\":\"dir/c\",\"windows\":\"random\","
                                                "\"skip\":0,\"seed\":5}"));
}

/* Whichever allocation fails, parsing ends with the status of that; under the sanitizers nothing may leak. */
static void test_out_of_memory(void **state)
{
    vise_status status = VISE_ERESOURCE;
    uint64_t n = 0;

    (void)state;
    while (status == VISE_ERESOURCE && n < 10000) {
        vise_alloc_fail_after(++n);
        status = parse(contract);
        if (status != VISE_OK)
            assert_int_equal(err.status, VISE_ERESOURCE);
    }
    vise_alloc_fail_after(0);
    assert_int_equal(status, VISE_OK);
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_contract, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_defaults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_errors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_many_passes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_describe, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_out_of_memory, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("recipe", tests, NULL, NULL);
}
