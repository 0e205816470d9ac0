/* The report for a person, and for a pull request: GitHub-flavoured Markdown. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pipeline/report_tasks.h"
#include "pipeline/report_view.h"

#define WORST_MAX 10 /* weights listed by their error */

static void put_cell(vise_buf *out, const char *text)
{
    vise_view_md(out, text);
    vise_buf_add_text(out, " | ");
}

static void put_title(const cJSON *json, vise_buf *out)
{
    const char *input = vise_view_base(vise_view_text(vise_view(json, "input"), "path"));
    const char *output = vise_view_text(vise_view(json, "output"), "path");

    vise_buf_add_text(out, "# ");
    vise_view_md(out, input ? input : output ? output : "vise");
    if (input && output) {
        vise_buf_add_text(out, " → ");
        vise_view_md(out, output);
    }
    vise_buf_add_text(out, "\n\n");
}

static void put_row(vise_buf *out, const char *label, const char *before, const char *after,
                    const char *remark)
{
    vise_buf_addf(out, "| %s | ", label);
    put_cell(out, before);
    put_cell(out, after);
    put_cell(out, remark);
    vise_buf_add_char(out, '\n');
}

static void put_sizes(const cJSON *json, vise_buf *out)
{
    const cJSON *size = vise_view(json, "size"), *memory = vise_view(json, "memory");
    double before = vise_view_number(size, "before"), after = vise_view_number(size, "after");
    double packed = vise_view_number(size, "packed_after"), bits = vise_view_number(size, "bits_per_weight");
    double peak = vise_view_number(memory, "peak_rss"), budget = vise_view_number(memory, "budget");
    char from[VISE_VIEW_MAX], to[VISE_VIEW_MAX], remark[128] = "", target[VISE_VIEW_TARGET_MAX];

    if (!isnan(after)) {
        if (before > 0.0 && after > 0.0)
            snprintf(remark, sizeof remark, "%.2f× smaller", before / after);
        put_row(out, "size", vise_view_size(before, from), vise_view_size(after, to), remark);
    }
    if (!isnan(packed)) {
        remark[0] = '\0';
        if (before > 0.0 && packed > 0.0)
            snprintf(remark, sizeof remark, "%.2f× smaller, lossless packing", before / packed);
        put_row(out, "packed", "", vise_view_size(packed, to), remark);
    }
    if (!isnan(bits)) {
        snprintf(to, sizeof to, "%.2f", bits);
        put_row(out, "bits per weight", "", to, "");
    }
    if (vise_view_target(json, target, sizeof target) != NULL)
        put_row(out, "target", "", target, "");
    if (vise_view_text(memory, "kv_cache") != NULL)
        put_row(out, "key-value cache of a token", "",
                vise_view_size(vise_view_number(memory, "kv_cache_per_token"), to), vise_view_text(memory, "kv_cache"));
    if (!isnan(peak)) {
        remark[0] = '\0';
        if (!isnan(budget))
            snprintf(remark, sizeof remark, "of %s allowed", vise_view_size(budget, from));
        put_row(out, "peak memory of the run", "", vise_view_size(peak, to), remark);
    }
}

static void put_accuracy(const cJSON *json, vise_buf *out)
{
    const cJSON *accuracy = vise_view(json, "accuracy"), *pair = vise_view(accuracy, "perplexity");
    const cJSON *kl = vise_view(accuracy, "kl"), *delta = vise_view(accuracy, "delta_p");
    double ratio = vise_view_number(pair, "ratio"), error = vise_view_number(pair, "stderr");
    double mean = vise_view_number(kl, "mean"), agreement = vise_view_number(accuracy, "top1_agreement");
    char from[VISE_VIEW_MAX], to[VISE_VIEW_MAX], remark[128] = "";
    int used = 0;

    if (!isnan(vise_view_number(pair, "after"))) {
        if (!isnan(ratio))
            used = snprintf(remark, sizeof remark, "×%.4f", ratio);
        if (!isnan(error))
            snprintf(remark + used, sizeof remark - (size_t)used, " ± %.4f", error);
        put_row(out, "perplexity", vise_view_short(vise_view_number(pair, "before"), from),
                vise_view_short(vise_view_number(pair, "after"), to), remark);
    }
    if (!isnan(mean)) {
        snprintf(remark, sizeof remark, "nats per token%s%s",
                 isnan(vise_view_number(kl, "p99")) ? "" : ", 99 % below ",
                 vise_view_short(vise_view_number(kl, "p99"), from));
        put_row(out, "KL divergence", "", vise_view_short(mean, to), remark);
    }
    if (!isnan(vise_view_number(delta, "mean"))) {
        snprintf(to, sizeof to, "%+.3f %%", 100.0 * vise_view_number(delta, "mean"));
        snprintf(remark, sizeof remark, "rms %.2f %%", 100.0 * vise_view_number(delta, "rms"));
        put_row(out, "probability of the token that follows", "", to, remark);
    }
    if (!isnan(agreement)) {
        snprintf(to, sizeof to, "%.2f %%", 100.0 * agreement);
        put_row(out, "top-1 agreement", "", to, "");
    }
}

static void put_goals(const cJSON *json, vise_buf *out)
{
    const cJSON *goals = vise_view(json, "goals"), *goal;

    if (vise_view_count(json, "goals") == 0)
        return;
    vise_buf_add_text(out, "\n## Goals\n\n| goal | value | limit | |\n| --- | ---: | ---: | --- |\n");
    cJSON_ArrayForEach(goal, goals)
    {
        const char *name = vise_view_text(goal, "name");
        char value[VISE_VIEW_MAX], limit[VISE_VIEW_MAX];

        if (!name)
            continue;
        vise_buf_add_text(out, "| ");
        put_cell(out, name);
        put_cell(out, vise_view_goal(name, vise_view_number(goal, "value"), value));
        vise_buf_addf(out, "%s ", vise_view_relation(name)[0] == '>' ? "≥" : "≤");
        put_cell(out, vise_view_goal(name, vise_view_number(goal, "limit"), limit));
        vise_buf_add_text(out, vise_view_true(goal, "met") ? "met |\n" : "**not met** |\n");
    }
}

static void put_passes(const cJSON *json, vise_buf *out)
{
    const cJSON *passes = vise_view(json, "passes"), *pass;

    if (vise_view_count(json, "passes") == 0)
        return;
    vise_buf_add_text(out, "\n## Passes\n\n| pass | method | weights | seconds | options |\n"
                           "| --- | --- | ---: | ---: | --- |\n");
    cJSON_ArrayForEach(pass, passes)
    {
        const char *name = vise_view_text(pass, "pass"), *method = vise_view_text(pass, "method");
        const cJSON *options = vise_view(pass, "options");
        char *text = options ? cJSON_PrintUnformatted(options) : NULL;
        char number[VISE_VIEW_MAX];

        vise_buf_add_text(out, "| ");
        put_cell(out, name ? name : "");
        put_cell(out, method ? method : "");
        put_cell(out, vise_view_fixed(vise_view_number(pass, "weights"), 0, number));
        put_cell(out, vise_view_fixed(vise_view_number(pass, "seconds"), 2, number));
        put_cell(out, text ? text : "");
        vise_buf_add_char(out, '\n');
        cJSON_free(text);
    }
}

static void put_shares(const cJSON *json, const char *key, const char *title, vise_buf *out)
{
    const cJSON *size = vise_view(json, "size"), *shares = vise_view(size, key), *share;

    if (vise_view_count(size, key) == 0)
        return;
    vise_buf_addf(out, "\n## Size by %s\n\n| %s | before | after |\n| --- | ---: | ---: |\n", title, title);
    cJSON_ArrayForEach(share, shares)
    {
        const char *name = vise_view_text(share, "name");
        char text[VISE_VIEW_MAX];

        vise_buf_add_text(out, "| ");
        put_cell(out, name ? name : "");
        put_cell(out, vise_view_size(vise_view_number(share, "before"), text));
        put_cell(out, vise_view_size(vise_view_number(share, "after"), text));
        vise_buf_add_char(out, '\n');
    }
}

/* The weights with the lowest signal-to-noise ratio, worst first. */
static void put_worst(const cJSON *json, vise_buf *out)
{
    const cJSON *weights = vise_view(json, "weights"), *worst[WORST_MAX] = {NULL}, *weight;
    size_t count = 0;

    if (!cJSON_IsArray(weights))
        return;
    cJSON_ArrayForEach(weight, weights)
    {
        double sqnr = vise_view_number(weight, "sqnr_db");
        size_t at = count;

        if (isnan(sqnr))
            continue;
        while (at > 0 && sqnr < vise_view_number(worst[at - 1], "sqnr_db"))
            at--;
        if (at == WORST_MAX)
            continue;
        count += count < WORST_MAX;
        for (size_t i = count - 1; i > at; i--)
            worst[i] = worst[i - 1];
        worst[at] = weight;
    }
    if (count == 0)
        return;
    vise_buf_add_text(
        out, "\n## Weights with the largest error\n\n| weight | scheme | bits | SQNR, dB | sparsity |\n"
             "| --- | --- | ---: | ---: | ---: |\n");
    for (size_t i = 0; i < count; i++) {
        const char *name = vise_view_text(worst[i], "name"), *scheme = vise_view_text(worst[i], "scheme");
        double sparsity = vise_view_number(worst[i], "sparsity");
        char number[VISE_VIEW_MAX];

        vise_buf_add_text(out, "| ");
        put_cell(out, name ? name : "");
        put_cell(out, scheme ? scheme : "");
        put_cell(out, vise_view_short(vise_view_number(worst[i], "bits_per_weight"), number));
        put_cell(out, vise_view_fixed(vise_view_number(worst[i], "sqnr_db"), 2, number));
        number[0] = '\0';
        if (!isnan(sparsity))
            snprintf(number, sizeof number, "%.1f %%", 100.0 * sparsity);
        put_cell(out, number);
        vise_buf_add_char(out, '\n');
    }
}

/* Linears of LLM.int8 whose inputs have outliers. */
static void put_outliers(const cJSON *json, vise_buf *out)
{
    const cJSON *weights = vise_view(json, "weights"), *weight;
    char text[VISE_VIEW_OUTLIERS_MAX];
    bool titled = false;

    if (vise_view_outliers(json, text, sizeof text) == NULL)
        return;
    vise_buf_add_text(out, "\n## Outlier columns\n\n");
    vise_view_md(out, text);
    vise_buf_add_text(out, ".\n");
    if (!cJSON_IsArray(weights))
        return;
    cJSON_ArrayForEach(weight, weights)
    {
        const char *name = vise_view_text(weight, "name");
        const double count = vise_view_number(weight, "outlier_columns");
        char number[VISE_VIEW_MAX];

        if (!name || !(count > 0.0))
            continue;
        if (!titled)
            vise_buf_add_text(out, "\n| linear | outlier columns | largest input |\n| --- | ---: | ---: |\n");
        titled = true;
        vise_buf_add_text(out, "| ");
        put_cell(out, name);
        put_cell(out, vise_view_fixed(count, 0, number));
        put_cell(out, vise_view_short(vise_view_number(weight, "largest_input"), number));
        vise_buf_add_char(out, '\n');
    }
}

static void put_list(const cJSON *list, const char *title, bool *titled, vise_buf *out)
{
    const cJSON *item;

    if (!cJSON_IsArray(list))
        return;
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item))
            continue;
        if (!*titled)
            vise_buf_addf(out, "\n## %s\n\n", title);
        *titled = true;
        vise_buf_add_text(out, "- ");
        vise_view_md(out, item->valuestring);
        vise_buf_add_char(out, '\n');
    }
}

static void put_foot(const cJSON *json, vise_buf *out)
{
    static const char *const keys[] = {"version", "device", "cpu_level", "blas"};
    const cJSON *tool = vise_view(json, "tool");
    double seconds = vise_view_number(json, "seconds");

    vise_buf_add_text(out, "\nvise");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *text = vise_view_text(tool, keys[i]);

        if (!text || strcmp(text, "none") == 0) /* no BLAS was needed */
            continue;
        vise_buf_add_text(out, i ? ", " : " ");
        vise_view_md(out, text);
    }
    if (!isnan(seconds))
        vise_buf_addf(out, ", %.1f s", seconds);
    vise_buf_add_char(out, '\n');
}

void vise_report_md(const cJSON *json, const char *name, vise_buf *out)
{
    const cJSON *passes = vise_view(json, "passes"), *pass;
    const char *text = vise_view_text(vise_view(json, "accuracy"), "text");
    char number[VISE_VIEW_MAX], protocol[128];
    bool titled = false;

    (void)name;
    put_title(json, out);
    vise_buf_add_text(out, "| | before | after | |\n| --- | ---: | ---: | --- |\n");
    put_sizes(json, out);
    put_accuracy(json, out);
    if (!vise_report_md_tasks(vise_view(json, "accuracy"), out) && text) {
        vise_buf_add_text(out, "\nMeasured on ");
        vise_view_md(out, vise_view_base(text));
        vise_buf_addf(out, ": %s tokens",
                      vise_view_fixed(vise_view_number(vise_view(json, "accuracy"), "tokens"), 0, number));
        vise_buf_addf(out, " in windows of %s%s.\n",
                      vise_view_fixed(vise_view_number(vise_view(json, "accuracy"), "length"), 0, number),
                      vise_view_protocol(vise_view(json, "accuracy"), protocol, sizeof protocol));
    }
    put_goals(json, out);
    put_passes(json, out);
    put_shares(json, "by_role", "role", out);
    put_shares(json, "by_scheme", "scheme", out);
    put_worst(json, out);
    put_outliers(json, out);
    if (cJSON_IsArray(passes))
        cJSON_ArrayForEach(pass, passes) put_list(vise_view(pass, "fallbacks"), "Fallbacks", &titled, out);
    titled = false;
    put_list(vise_view(json, "warnings"), "Warnings", &titled, out);
    put_foot(json, out);
}
