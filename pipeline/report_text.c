/* The summary that ends a run, for a terminal of 80 columns or more. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pipeline/report_tasks.h"
#include "pipeline/report_view.h"

#define LIST_MAX 5 /* lines of a list before "and N more" */

/* "  size         " once, then the same width of spaces. */
static void put_label(vise_buf *out, const char *label)
{
    vise_buf_addf(out, "  %-12s ", label);
}

static void put_head(const cJSON *json, vise_buf *out)
{
    const char *input = vise_view_text(vise_view(json, "input"), "path");
    const char *output = vise_view_text(vise_view(json, "output"), "path");
    const char *layout = vise_view_text(vise_view(json, "output"), "layout");
    const char *version = vise_view_text(vise_view(json, "tool"), "version");

    vise_buf_addf(out, "vise %s", version ? version : "");
    if (input && output && strcmp(input, output) != 0)
        vise_buf_addf(out, "  %s -> %s", input, output);
    else if (input || output)
        vise_buf_addf(out, "  %s", output ? output : input);
    if (layout)
        vise_buf_addf(out, "  (%s)", layout);
    vise_buf_add_text(out, "\n\n");
}

/* "   1.04 MB -> 301 kB     3.47x smaller" */
static void put_change(vise_buf *out, const char *before, const char *after, const char *remark)
{
    vise_buf_addf(out, "%9s %s %-*s", before, before[0] ? "->" : "  ", remark[0] ? 9 : 0, after);
    vise_buf_addf(out, "%s%s\n", remark[0] ? "  " : "", remark);
}

static void put_size(const cJSON *json, vise_buf *out)
{
    const cJSON *size = vise_view(json, "size");
    double before = vise_view_number(size, "before"), after = vise_view_number(size, "after");
    double packed = vise_view_number(size, "packed_after"), bits = vise_view_number(size, "bits_per_weight");
    char from[VISE_VIEW_MAX], to[VISE_VIEW_MAX], remark[128] = "", target[VISE_VIEW_TARGET_MAX];
    int used = 0;

    if (isnan(after))
        return;
    if (vise_view_target(json, target, sizeof target) != NULL) {
        put_label(out, "target");
        vise_buf_addf(out, "%s\n", target);
    }
    if (before > 0.0 && after > 0.0)
        used = snprintf(remark, sizeof remark, "%.2fx smaller%s", before / after, isnan(bits) ? "" : ", ");
    if (!isnan(bits))
        snprintf(remark + used, sizeof remark - (size_t)used, "%.2f bits per weight", bits);
    put_label(out, "size");
    put_change(out, vise_view_size(before, from), vise_view_size(after, to), remark);
    if (isnan(packed))
        return;
    remark[0] = '\0';
    if (before > 0.0 && packed > 0.0)
        snprintf(remark, sizeof remark, "%.2fx smaller", before / packed);
    put_label(out, "packed");
    put_change(out, "", vise_view_size(packed, to), remark);
}

static void put_perplexity(const cJSON *accuracy, vise_buf *out)
{
    const cJSON *pair = vise_view(accuracy, "perplexity");
    double ratio = vise_view_number(pair, "ratio"), error = vise_view_number(pair, "stderr");
    char from[VISE_VIEW_MAX], to[VISE_VIEW_MAX], remark[128] = "";
    size_t used = 0;

    if (isnan(vise_view_number(pair, "after")))
        return;
    if (!isnan(ratio))
        used = (size_t)snprintf(remark, sizeof remark, "x%.4f ", ratio);
    if (!isnan(error))
        used += (size_t)snprintf(remark + used, sizeof remark - used, "+- %.2g", error);
    if (isnan(ratio) && !isnan(vise_view_number(pair, "low")))
        snprintf(remark + used, sizeof remark - used, ", 95 %% within %s to %s",
                 vise_view_short(vise_view_number(pair, "low"), from),
                 vise_view_short(vise_view_number(pair, "high"), to));
    put_label(out, "perplexity");
    put_change(out, vise_view_short(vise_view_number(pair, "before"), from),
               vise_view_short(vise_view_number(pair, "after"), to), remark);
}

static void put_accuracy(const cJSON *json, vise_buf *out)
{
    const cJSON *accuracy = vise_view(json, "accuracy"), *kl = vise_view(accuracy, "kl");
    const cJSON *bits = vise_view(accuracy, "bits_per_byte"), *delta = vise_view(accuracy, "delta_p");
    double mean = vise_view_number(kl, "mean"), agreement = vise_view_number(accuracy, "top1_agreement");
    const char *text = vise_view_text(accuracy, "text");
    char from[VISE_VIEW_MAX], to[VISE_VIEW_MAX], remark[128];

    if (vise_report_text_tasks(accuracy, out))
        return;
    put_perplexity(accuracy, out);
    if (!isnan(vise_view_number(bits, "after"))) {
        put_label(out, "bits/byte");
        put_change(out, vise_view_short(vise_view_number(bits, "before"), from),
                   vise_view_short(vise_view_number(bits, "after"), to), "of text");
    }
    if (!isnan(mean)) {
        snprintf(remark, sizeof remark, "nats per token%s%s",
                 isnan(vise_view_number(kl, "p99")) ? "" : ", 99 % below ",
                 vise_view_short(vise_view_number(kl, "p99"), from));
        put_label(out, "KL");
        put_change(out, "", vise_view_short(mean, to), remark);
    }
    if (!isnan(vise_view_number(delta, "mean"))) {
        snprintf(to, sizeof to, "%+.3f %%", 100.0 * vise_view_number(delta, "mean"));
        snprintf(remark, sizeof remark, "probability of the token that follows, rms %.2f %%",
                 100.0 * vise_view_number(delta, "rms"));
        put_label(out, "delta p");
        put_change(out, "", to, remark);
    }
    if (!isnan(agreement)) {
        snprintf(to, sizeof to, "%.2f %%", 100.0 * agreement);
        put_label(out, "top 1");
        put_change(out, "", to, "of tokens have the same first choice");
    }
    if (text)
        vise_buf_addf(out, "  %-12s %s, %s tokens, windows of %s%s\n", "measured on", vise_view_base(text),
                      vise_view_fixed(vise_view_number(accuracy, "tokens"), 0, from),
                      vise_view_fixed(vise_view_number(accuracy, "length"), 0, to),
                      vise_view_protocol(accuracy, remark, sizeof remark));
}

static void put_passes(const cJSON *json, vise_buf *out)
{
    const cJSON *passes = vise_view(json, "passes"), *pass;
    const char *label = "passes";

    if (!cJSON_IsArray(passes))
        return;
    cJSON_ArrayForEach(pass, passes)
    {
        const char *name = vise_view_text(pass, "pass"), *method = vise_view_text(pass, "method");
        const cJSON *options = vise_view(pass, "options");
        const char *scheme = vise_view_text(options, "scheme"), *pattern = vise_view_text(options, "pattern");
        char what[128], number[VISE_VIEW_MAX];

        snprintf(what, sizeof what, "%s %s %s", name ? name : "?", method ? method : "",
                 scheme    ? scheme
                 : pattern ? pattern
                           : "");
        put_label(out, label);
        vise_buf_addf(out, "%-28s %6s weights", what,
                      vise_view_fixed(vise_view_number(pass, "weights"), 0, number));
        vise_buf_addf(out, " %8s s\n", vise_view_fixed(vise_view_number(pass, "seconds"), 1, number));
        label = "";
    }
}

static void put_outliers(const cJSON *json, vise_buf *out)
{
    char text[VISE_VIEW_OUTLIERS_MAX];

    if (vise_view_outliers(json, text, sizeof text) == NULL)
        return;
    put_label(out, "outliers");
    vise_buf_addf(out, "%s\n", text);
}

/* How many items of the list are like this one; 0 when an earlier one is. */
static size_t count_alike(const cJSON *list, const cJSON *item)
{
    const cJSON *other;
    size_t count = 0;

    cJSON_ArrayForEach(other, list)
    {
        if (!cJSON_IsString(other) || !vise_view_alike(other->valuestring, item->valuestring))
            continue;
        if (count == 0 && other != item)
            return 0;
        count++;
    }
    return count;
}

/* Lists texts under a label, those that are alike as one; *shown and *left count across several lists. */
static void put_list(const cJSON *list, const char **label, size_t *shown, size_t *left, vise_buf *out)
{
    const cJSON *item;

    if (!cJSON_IsArray(list))
        return;
    cJSON_ArrayForEach(item, list)
    {
        size_t alike = *shown < LIST_MAX && cJSON_IsString(item) ? count_alike(list, item) : 0;

        if (*shown == LIST_MAX && cJSON_IsString(item))
            ++*left;
        if (alike == 0)
            continue;
        put_label(out, *label);
        if (alike == 1)
            vise_buf_add_text(out, item->valuestring);
        else {
            vise_buf_addf(out, "%zu x ", alike);
            vise_view_pattern(out, item->valuestring);
        }
        vise_buf_add_char(out, '\n');
        *label = "";
        ++*shown;
    }
}

static void put_more(size_t left, vise_buf *out)
{
    if (left == 0)
        return;
    put_label(out, "");
    vise_buf_addf(out, "and %zu more, in the report\n", left);
}

static void put_notes(const cJSON *json, vise_buf *out)
{
    const cJSON *passes = vise_view(json, "passes"), *pass;
    const char *label = "fallbacks";
    size_t shown = 0, left = 0;

    if (cJSON_IsArray(passes))
        cJSON_ArrayForEach(pass, passes) put_list(vise_view(pass, "fallbacks"), &label, &shown, &left, out);
    put_more(left, out);
    label = "warnings";
    shown = left = 0;
    put_list(vise_view(json, "warnings"), &label, &shown, &left, out);
    put_more(left, out);
}

static void put_cache(const cJSON *json, vise_buf *out)
{
    const cJSON *memory = vise_view(json, "memory");
    const char *scheme = vise_view_text(memory, "kv_cache");
    char text[VISE_VIEW_MAX];

    if (!scheme)
        return;
    put_label(out, "kv cache");
    vise_buf_addf(out, "%s, %s a token\n", scheme,
                  vise_view_size(vise_view_number(memory, "kv_cache_per_token"), text));
}

static void put_memory(const cJSON *json, vise_buf *out)
{
    const cJSON *memory = vise_view(json, "memory");
    double peak = vise_view_number(memory, "peak_rss"), budget = vise_view_number(memory, "budget");
    char text[VISE_VIEW_MAX];

    if (isnan(peak))
        return;
    put_label(out, "memory");
    vise_buf_addf(out, "%9s peak", vise_view_size(peak, text));
    if (budget > 0.0)
        vise_buf_addf(out, " of %s allowed (%.0f %%)", vise_view_size(budget, text), 100.0 * peak / budget);
    vise_buf_add_char(out, '\n');
}

static void put_time(const cJSON *json, vise_buf *out)
{
    const cJSON *tool = vise_view(json, "tool");
    const char *device = vise_view_text(tool, "device"), *level = vise_view_text(tool, "cpu_level");
    const char *blas = vise_view_text(tool, "blas"); /* "none" when the run needed none */
    double seconds = vise_view_number(json, "seconds"), threads = vise_view_number(tool, "threads");

    if (isnan(seconds))
        return;
    put_label(out, "time");
    vise_buf_addf(out, "%7.1f s on %s", seconds, device ? device : "cpu");
    if (level)
        vise_buf_addf(out, " (%s", level);
    if (level && blas && strcmp(blas, "none") != 0)
        vise_buf_addf(out, ", %s", blas);
    if (level)
        vise_buf_add_char(out, ')');
    if (!isnan(threads))
        vise_buf_addf(out, ", %.0f thread%s", threads, threads == 1.0 ? "" : "s");
    vise_buf_add_char(out, '\n');
}

static void put_goals(const cJSON *json, vise_buf *out)
{
    const cJSON *goals = vise_view(json, "goals"), *goal;
    const char *label = "goals";

    if (!cJSON_IsArray(goals))
        return;
    cJSON_ArrayForEach(goal, goals)
    {
        const char *name = vise_view_text(goal, "name");
        char value[VISE_VIEW_MAX], limit[VISE_VIEW_MAX];

        if (!name)
            continue;
        put_label(out, label);
        vise_buf_addf(out, "%s  %s %s %s %s\n", vise_view_true(goal, "met") ? "met    " : "NOT MET", name,
                      vise_view_goal(name, vise_view_number(goal, "value"), value), vise_view_relation(name),
                      vise_view_goal(name, vise_view_number(goal, "limit"), limit));
        label = "";
    }
}

void vise_report_text(const cJSON *json, const char *name, vise_buf *out)
{
    put_head(json, out);
    put_size(json, out);
    put_accuracy(json, out);
    put_passes(json, out);
    put_outliers(json, out);
    put_cache(json, out);
    put_memory(json, out);
    put_time(json, out);
    put_notes(json, out);
    put_goals(json, out);
    if (name)
        vise_buf_addf(out, "  %-12s %s\n", "report", name);
}
