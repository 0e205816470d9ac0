/* The report: its JSON keys, what is absent, and the four renderings, with texts that try to break out of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/event.h"
#include "core/json.h"
#include "pipeline/option.h"
#include "pipeline/report.h"

#define HOSTILE "a<b>&\"c'|`*_"

static const char *const fallbacks[] = {
    "model.layers.0.mlp.down_proj: int8-channel instead of int4-g32",
    "model.layers.1.mlp.down_proj: int8-channel instead of int4-g32",
    "model.layers.12.mlp.down_proj: int8-channel instead of int4-g32",
    "lm_head: float instead of int4-g32",
};

static vise_report_file files[] = {{"model.safetensors", 302144, "aabb"}, {"other.safetensors", 5, ""}};
static vise_report_pass passes[] = {
    {"prune", "wanda", "{\"pattern\":\"2:4\"}", 0.5, 1044992, 1044992, 35, NULL, 0},
    {"quant", "gptq", "{\"scheme\":\"int4-g32\"}", 1.25, 1044992, 302144, 35, (const char **)fallbacks, 4},
};
static vise_report_weight weights[] = {
    {"model.layers.0.self_attn.q_proj.weight", "q_proj", "int4-g32", NULL, 64, 64, 4.5, 2304, 0.5, 1e-5, 21.5,
     0.25, 0.01},
    {"model.layers.0.mlp.up_proj.weight", "up_proj", "int4-g32", HOSTILE, 172, 64, 4.5, 6192, 0.5, 2e-5,
     17.25, NAN, NAN},
    {"model.norm.weight", "final_norm", "f32", NULL, 1, 64, 32, 256, 0, NAN, NAN, NAN, NAN},
};
static vise_report_share roles[] = {{"q_proj", 20480, 81920, 11520}, {"up_proj", 55040, 220160, 30960}};
static vise_report_share schemes[] = {{"int4-g32", 200000, 800000, 110000}, {"f32", 60032, 240128, 240128}};
static vise_report_goal goals[] = {{"max_perplexity_ratio", 1.05, 1.02, true},
                                   {"max_bytes", 200000, 302144, false}};

static void fill(vise_report *report)
{
    assert_int_equal(vise_report_init(report, NULL), VISE_OK);
    report->tool.device = "cpu";
    report->tool.cpu_level = "avx2";
    report->tool.blas = "OpenBLAS 0.3.21 Haswell";
    report->tool.threads = 2;
    report->tool.seed = 7;
    report->input =
        (vise_report_model){"models/tiny", "safetensors", "safetensors", 260032, 1044992, files, 1};
    report->output =
        (vise_report_model){HOSTILE, "safetensors", "compressed-tensors", 260032, 302144, files, 2};
    report->passes = passes;
    report->n_passes = 2;
    report->weights = weights;
    report->n_weights = 3;
    report->size.before = 1044992;
    report->size.after = 302144;
    report->size.packed_after = 254000;
    report->size.bits_per_weight = 9.125;
    report->size.by_role = roles;
    report->size.by_scheme = schemes;
    report->size.n_roles = report->size.n_schemes = 2;
    report->memory.budget = 300000000;
    report->memory.peak_rss = 150000000;
    report->accuracy.text = "texts/test.txt";
    report->accuracy.tokens = 40320;
    report->accuracy.length = 512;
    report->accuracy.perplexity = (vise_report_pair){3.25, 3.315, 1.02, 0.0015};
    report->accuracy.kl.mean = 0.0241;
    report->accuracy.kl.p50 = 0.01;
    report->accuracy.kl.p90 = 0.05;
    report->accuracy.kl.p99 = 0.31;
    report->accuracy.kl.max = 1.5;
    report->accuracy.top1_agreement = 0.934;
    report->accuracy.protocol = "stride";
    report->accuracy.stride = 256;
    report->accuracy.low = 3.2;
    report->accuracy.high = 3.4;
    report->accuracy.stderr_tokens = 0.02;
    report->accuracy.kl.p95 = 0.11;
    report->accuracy.delta_p.mean = -0.00125;
    report->accuracy.delta_p.rms = 0.025;
    report->goals = goals;
    report->n_goals = 2;
    report->seconds = 3.5;
    assert_int_equal(vise_report_warn(report, "the text is short: " HOSTILE, NULL), VISE_OK);
}

static cJSON *to_json(const vise_report *report, bool accuracy_only)
{
    cJSON *json = NULL;
    vise_buf buf;

    vise_buf_init(&buf, (size_t)1 << 20);
    assert_int_equal(vise_report_json(report, accuracy_only, &buf, NULL), VISE_OK);
    assert_int_equal(vise_json_parse("report", buf.data, buf.length, &json, NULL), VISE_OK);
    vise_buf_deinit(&buf);
    return json;
}

/* ---- the document ------------------------------------------------------------------------------------ */

/* "passes.1.method": members by name, items of lists by number. */
static const cJSON *at(const cJSON *json, const char *path)
{
    char part[64];

    while (json && *path) {
        size_t length = strcspn(path, ".");
        int index = 0;

        snprintf(part, sizeof part, "%.*s", (int)length, path);
        if (cJSON_IsArray(json) && sscanf(part, "%d", &index) == 1)
            json = cJSON_GetArrayItem(json, index);
        else
            json = cJSON_GetObjectItemCaseSensitive(json, part);
        path += length + (path[length] == '.');
    }
    return json;
}

static void test_keys(void **state)
{
    static const struct {
        const char *path;
        double value;
    } numbers[] = {
        {"schema", 1},
        {"tool.threads", 2},
        {"tool.seed", 7},
        {"input.parameters", 260032},
        {"input.bytes", 1044992},
        {"output.files.0.bytes", 302144},
        {"passes.0.seconds", 0.5},
        {"passes.1.bytes_before", 1044992},
        {"passes.1.bytes_after", 302144},
        {"passes.1.weights", 35},
        {"weights.0.shape.0", 64},
        {"weights.1.shape.0", 172},
        {"weights.0.bits_per_weight", 4.5},
        {"weights.0.bytes", 2304},
        {"weights.0.sparsity", 0.5},
        {"weights.0.mse", 1e-5},
        {"weights.0.sqnr_db", 21.5},
        {"weights.0.loss", 0.25},
        {"weights.0.damp", 0.01},
        {"size.before", 1044992},
        {"size.after", 302144},
        {"size.ratio", 1044992.0 / 302144.0},
        {"size.packed_after", 254000},
        {"size.bits_per_weight", 9.125},
        {"size.by_role.1.after", 30960},
        {"size.by_scheme.0.parameters", 200000},
        {"memory.budget", 3e8},
        {"memory.peak_rss", 1.5e8},
        {"accuracy.tokens", 40320},
        {"accuracy.length", 512},
        {"accuracy.perplexity.before", 3.25},
        {"accuracy.perplexity.after", 3.315},
        {"accuracy.perplexity.ratio", 1.02},
        {"accuracy.perplexity.stderr", 0.0015},
        {"accuracy.kl.mean", 0.0241},
        {"accuracy.kl.p50", 0.01},
        {"accuracy.kl.p90", 0.05},
        {"accuracy.kl.p99", 0.31},
        {"accuracy.kl.max", 1.5},
        {"accuracy.kl.p95", 0.11},
        {"accuracy.perplexity.low", 3.2},
        {"accuracy.perplexity.high", 3.4},
        {"accuracy.perplexity.stderr_tokens", 0.02},
        {"accuracy.stride", 256},
        {"accuracy.delta_p.mean", -0.00125},
        {"accuracy.delta_p.rms", 0.025},
        {"accuracy.top1_agreement", 0.934},
        {"goals.0.limit", 1.05},
        {"goals.1.value", 302144},
        {"seconds", 3.5},
    };
    static const struct {
        const char *path, *value;
    } texts[] = {
        {"tool.device", "cpu"},
        {"tool.cpu_level", "avx2"},
        {"tool.blas", "OpenBLAS 0.3.21 Haswell"},
        {"input.path", "models/tiny"},
        {"input.format", "safetensors"},
        {"output.path", HOSTILE},
        {"output.layout", "compressed-tensors"},
        {"output.files.0.sha256", "aabb"},
        {"passes.0.pass", "prune"},
        {"passes.1.method", "gptq"},
        {"passes.0.options.pattern", "2:4"},
        {"passes.1.fallbacks.3", "lm_head: float instead of int4-g32"},
        {"weights.0.name", "model.layers.0.self_attn.q_proj.weight"},
        {"weights.0.role", "q_proj"},
        {"weights.1.note", HOSTILE},
        {"accuracy.text", "texts/test.txt"},
        {"accuracy.protocol", "stride"},
        {"goals.0.name", "max_perplexity_ratio"},
        {"warnings.0", "the text is short: " HOSTILE},
    };
    vise_report report;
    cJSON *json;

    (void)state;
    fill(&report);
    json = to_json(&report, false);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const cJSON *item = at(json, numbers[i].path);

        if (!cJSON_IsNumber(item) || item->valuedouble != numbers[i].value)
            fail_msg("%s", numbers[i].path);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const cJSON *item = at(json, texts[i].path);

        if (!cJSON_IsString(item) || strcmp(item->valuestring, texts[i].value) != 0)
            fail_msg("%s", texts[i].path);
    }
    assert_true(cJSON_IsString(at(json, "tool.version")));
    assert_true(cJSON_IsString(at(json, "tool.commit")));
    assert_true(cJSON_IsTrue(at(json, "goals.0.met")));
    assert_true(cJSON_IsFalse(at(json, "goals.1.met")));
    cJSON_Delete(json);
    json = to_json(&report, true);
    assert_int_equal(cJSON_GetArraySize(json), 2);
    assert_non_null(at(json, "accuracy.perplexity.ratio"));
    assert_non_null(at(json, "memory.peak_rss"));
    cJSON_Delete(json);
    vise_report_deinit(&report);
}

static void no_nulls(const cJSON *json)
{
    const cJSON *item;

    assert_false(cJSON_IsNull(json));
    cJSON_ArrayForEach(item, json) no_nulls(item);
}

static void test_absent(void **state)
{
    static const char *const absent[] = {
        "input",         "output",          "size",           "accuracy",
        "memory.budget", "memory.peak_rss", "seconds",        "tool.device",
        "tool.threads",  "weights.0.mse",   "weights.0.note", "memory.kv_cache_per_token",
    };
    vise_report report;
    cJSON *json;

    (void)state;
    assert_int_equal(vise_report_init(&report, NULL), VISE_OK);
    report.weights = &weights[2];
    report.n_weights = 1;
    json = to_json(&report, false);
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        if (at(json, absent[i]))
            fail_msg("%s", absent[i]);
    no_nulls(json);
    cJSON_Delete(json);
    json = to_json(&report, true);
    assert_int_equal(cJSON_GetArraySize(json), 0);
    cJSON_Delete(json);
    vise_report_deinit(&report);
}

static void test_warnings(void **state)
{
    vise_report report;
    char text[32];

    (void)state;
    assert_int_equal(vise_report_init(&report, NULL), VISE_OK);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "warning %d", i);
        assert_int_equal(vise_report_warn(&report, text, NULL), VISE_OK);
    }
    assert_int_equal(report.n_warnings, 100);
    assert_string_equal(report.warnings[0], "warning 0");
    assert_string_equal(report.warnings[99], "warning 99");
    vise_report_collect(&report);
    vise_info("not a warning");
    vise_warn("heard %d", 1);
    vise_report_collect(NULL);
    vise_warn("too late");
    assert_int_equal(report.n_warnings, 101);
    assert_string_equal(report.warnings[100], "heard 1");
    vise_report_deinit(&report);
}

/* ---- renderings -------------------------------------------------------------------------------------- */

/* The filled report in a format; freed with vise_buf_deinit. */
static void render(vise_report_format format, vise_buf *out)
{
    vise_report report;
    cJSON *json;

    fill(&report);
    json = to_json(&report, false);
    vise_buf_init(out, (size_t)1 << 20);
    assert_int_equal(vise_report_render(json, "out/report.json", format, out, NULL), VISE_OK);
    cJSON_Delete(json);
    vise_report_deinit(&report);
}

static void expect_all(const vise_buf *text, const char *const *parts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!strstr(text->data, parts[i]))
            fail_msg("no \"%s\" in\n%s", parts[i], text->data);
}
#define EXPECT_ALL(text, parts) expect_all(text, parts, sizeof(parts) / sizeof *(parts))

static void test_text(void **state)
{
    static const char *const parts[] = {
        "models/tiny -> " HOSTILE "  (compressed-tensors)\n",
        "  size           1.04 MB -> 302 kB     3.46x smaller, 9.12 bits per weight\n",
        "  packed                    254 kB     4.11x smaller\n",
        "  perplexity        3.25 -> 3.315      x1.0200 +- 0.0015\n",
        "  KL                        0.0241     nats per token, 99 % below 0.31\n",
        "  delta p                   -0.125 %   probability of the token that follows, rms 2.50 %\n",
        "  top 1                     93.40 %    of tokens have the same first choice\n",
        "  measured on  test.txt, 40320 tokens, windows of 512 by protocol stride 256\n",
        "  passes       prune wanda 2:4 ",
        "               quant gptq int4-g32 ",
        "  memory          150 MB peak of 300 MB allowed (50 %)\n",
        "  time             3.5 s on cpu (avx2, OpenBLAS 0.3.21 Haswell), 2 threads\n",
        "  fallbacks    3 x model.layers.*.mlp.down_proj: int8-channel instead of int4-g32\n",
        "               lm_head: float instead of int4-g32\n",
        "  warnings     the text is short: " HOSTILE "\n",
        "  goals        met      max_perplexity_ratio 1.02 <= 1.05\n",
        "               NOT MET  max_bytes 302 kB <= 200 kB\n",
        "  report       out/report.json\n",
    };
    vise_buf text;

    (void)state;
    render(VISE_REPORT_TEXT, &text);
    EXPECT_ALL(&text, parts);
    vise_buf_deinit(&text);
}

static void test_md(void **state)
{
    static const char *const parts[] = {
        "# tiny → a&lt;b>&amp;\"c'\\|\\`\\*\\_\n",
        "| size | 1.04 MB | 302 kB | 3.46× smaller | \n",
        "| perplexity | 3.25 | 3.315 | ×1.0200 ± 0.0015 | \n",
        "| max\\_bytes | 302 kB | ≤ 200 kB | **not met** |\n",
        "| q\\_proj | 81.9 kB | 11.5 kB | \n",
        "| model.layers.0.mlp.up\\_proj.weight | int4-g32 | 4.5 | 17.25 | 50.0 % | \n",
        "- lm\\_head: float instead of int4-g32\n",
    };
    vise_buf text;

    (void)state;
    render(VISE_REPORT_MD, &text);
    EXPECT_ALL(&text, parts);
    /* The weight with the larger error comes first. */
    assert_true(strstr(text.data, "up\\_proj.weight | int4") <
                strstr(text.data, "self\\_attn.q\\_proj.weight | int4"));
    vise_buf_deinit(&text);
}

static void test_html(void **state)
{
    static const char *const parts[] = {
        "<!doctype html>",
        "<h1>tiny → a&lt;b&gt;&amp;&quot;c&#39;|`*_</h1>",
        "prefers-color-scheme:dark",
        "<b>3.46×</b><span>1.04 MB → 302 kB</span>",
        "<td class=\"missed\">not met</td>",
        "<h2>Size by role</h2>\n<figure><svg viewBox",
        "<h2>Error by weight</h2>\n<figure><svg viewBox",
        "<title>model.layers.0.mlp.up_proj.weight int4-g32 17.25 dB</title>",
        "<li>the text is short: a&lt;b&gt;&amp;&quot;c&#39;|`*_</li>",
        "</body></html>",
    };
    vise_buf text;

    (void)state;
    render(VISE_REPORT_HTML, &text);
    EXPECT_ALL(&text, parts);
    assert_null(strstr(text.data, "<script"));
    assert_null(strstr(text.data, "http"));
    assert_null(strstr(text.data, "nan"));
    assert_null(strstr(text.data, "a<b>"));
    vise_buf_deinit(&text);
}

static void test_junit(void **state)
{
    vise_buf text;

    (void)state;
    render(VISE_REPORT_JUNIT, &text);
    assert_string_equal(
        text.data,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<testsuites tests=\"2\" failures=\"1\">\n"
        "  <testsuite name=\"vise goals\" tests=\"2\" failures=\"1\" errors=\"0\">\n"
        "    <testcase classname=\"a&lt;b&gt;&amp;&quot;c&#39;|`*_\" name=\"max_perplexity_ratio\"/>\n"
        "    <testcase classname=\"a&lt;b&gt;&amp;&quot;c&#39;|`*_\" name=\"max_bytes\">\n"
        "      <failure message=\"max_bytes is 302 kB, the goal is at most 200 kB\"/>\n"
        "    </testcase>\n"
        "  </testsuite>\n"
        "</testsuites>\n");
    vise_buf_deinit(&text);
}

/* A report that says little, or says it in wrong types, renders as little; what is no report is an error. */
static void test_poor_reports(void **state)
{
    static const struct {
        const char *json;
        vise_status status;
    } cases[] = {
        {"{\"schema\": 1}", VISE_OK},
        {"{\"schema\": 1, \"size\": 3, \"weights\": {\"a\": 1}, \"passes\": [1, null, {}], \"goals\": [{}, "
         "2]}",
         VISE_OK},
        {"{\"schema\": 1, \"size\": {\"before\": -5, \"after\": 1e300, \"by_role\": [{\"before\": 1e300}]}}",
         VISE_OK},
        {"{\"schema\": 1, \"weights\": [{\"sqnr_db\": 1e300}, {\"sqnr_db\": 3}]}", VISE_OK},
        {"{\"schema\": 1, \"memory\": {\"peak_rss\": 1, \"budget\": 0}, \"seconds\": 1e300}", VISE_OK},
        {"{}", VISE_EFORMAT},
        {"[]", VISE_EFORMAT},
        {"{\"schema\": 2}", VISE_EFORMAT},
        {"{\"schema\": \"1\"}", VISE_EFORMAT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int format = VISE_REPORT_TEXT; format <= VISE_REPORT_JUNIT; format++) {
            cJSON *json = NULL;
            vise_error err = {0};
            vise_buf out;

            vise_buf_init(&out, (size_t)1 << 20);
            assert_int_equal(vise_json_parse("r", cases[i].json, strlen(cases[i].json), &json, NULL),
                             VISE_OK);
            assert_int_equal(vise_report_render(json, "r.json", (vise_report_format)format, &out, &err),
                             cases[i].status);
            if (cases[i].status == VISE_OK && strstr(out.data, "nan"))
                fail_msg("%s: %s", cases[i].json, out.data);
            if (cases[i].status != VISE_OK)
                assert_memory_equal(err.message, "r.json: ", 8);
            cJSON_Delete(json);
            vise_buf_deinit(&out);
        }
}

static void test_out_of_memory(void **state)
{
    vise_report report;
    cJSON *json;

    (void)state;
    fill(&report);
    json = to_json(&report, false);
    for (int format = VISE_REPORT_TEXT; format <= VISE_REPORT_JUNIT; format++) {
        vise_status status = VISE_ERESOURCE;
        uint64_t n = 0;

        while (status == VISE_ERESOURCE && n < 10000) {
            vise_buf out;

            vise_buf_init(&out, (size_t)1 << 20);
            vise_alloc_fail_after(++n);
            status = vise_report_render(json, "r.json", (vise_report_format)format, &out, NULL);
            vise_buf_deinit(&out);
        }
        vise_alloc_fail_after(0);
        assert_int_equal(status, VISE_OK);
        assert_true(n > 1);
    }
    cJSON_Delete(json);
    vise_report_deinit(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_md),
        cmocka_unit_test(test_html),
        cmocka_unit_test(test_junit),
        cmocka_unit_test(test_poor_reports),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
