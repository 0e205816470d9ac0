/* The report as one HTML page: no scripts, nothing loaded from elsewhere, readable in light and dark. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pipeline/report_plot.h"
#include "pipeline/report_tasks.h"
#include "pipeline/report_view.h"

static const char style[] =
    ":root{color-scheme:light dark;--bg:#fbfbfa;--fg:#1d2126;--dim:#667080;--line:#dfe2e6;--card:#fff;"
    "--accent:#2f6fde;--before:#b4bcc8;--good:#1f7a45;--bad:#b3261e;"
    "--c0:#2f6fde;--c1:#d1662e;--c2:#2f8f5b;--c3:#a14fb5;--c4:#b8892b;--c5:#c23b5a;--c6:#3c8f9b;--c7:#7a7f87}"
    "@media(prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e9ed;--dim:#9aa4b2;--line:#2c323a;--card:#"
    "1b2026;"
    "--accent:#7aa7ff;--before:#566070;--good:#6fce97;--bad:#ff8a80;"
    "--c0:#7aa7ff;--c1:#f09a68;--c2:#6fce97;--c3:#d69be6;--c4:#e2bd62;--c5:#f07f9b;--c6:#74c9d6;--c7:#aab1bb}"
    "}"
    "*{box-sizing:border-box}body{margin:0 auto;max-width:60rem;padding:2rem 1.2rem "
    "4rem;background:var(--bg);"
    "color:var(--fg);font:16px/1.5 system-ui,sans-serif}"
    "h1{font-size:1.5rem;line-height:1.25;margin:0 0 "
    ".2rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2.4rem 0 .6rem}"
    "p.sub{margin:0 0 1.4rem;color:var(--dim);font-size:.9rem}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.8rem}"
    ".tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.8rem 1rem}"
    ".tile b{display:block;font-size:1.6rem;line-height:1.2;font-variant-numeric:tabular-nums}"
    ".tile span{color:var(--dim);font-size:.85rem}"
    "table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}"
    "th{text-align:left;font-weight:600;color:var(--dim)}th,td{padding:.3rem .7rem .3rem 0;"
    "border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}"
    "td.n,th.n{text-align:right;white-space:nowrap}.met{color:var(--good)}.missed{color:var(--bad);font-"
    "weight:600}"
    "figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.8rem}"
    "svg{display:block;width:100%;height:auto}svg text{fill:var(--fg);font:12px system-ui,sans-serif}"
    "svg .dim{fill:var(--dim)}svg .grid{stroke:var(--line)}svg .before{fill:var(--before)}svg "
    ".after{fill:var(--accent)}"
    "summary{cursor:pointer;color:var(--dim)}code{font-size:.85em}";

/* ---- small pieces ----------------------------------------------------------------------------------- */

static void put_cell(vise_buf *out, const char *class, const char *text)
{
    vise_buf_addf(out, "<td%s%s%s>", class ? " class=\"" : "", class ? class : "", class ? "\"" : "");
    vise_view_xml(out, text ? text : "");
    vise_buf_add_text(out, "</td>");
}

static void put_tile(vise_buf *out, const char *label, const char *value, const char *detail)
{
    vise_buf_add_text(out, "<div class=\"tile\"><span>");
    vise_view_xml(out, label);
    vise_buf_add_text(out, "</span><b>");
    vise_view_xml(out, value);
    vise_buf_add_text(out, "</b><span>");
    vise_view_xml(out, detail);
    vise_buf_add_text(out, "</span></div>\n");
}

static void put_titles(vise_buf *out, const char *const *titles, size_t count, size_t first_number)
{
    vise_buf_add_text(out, "<table><thead><tr>");
    for (size_t i = 0; i < count; i++)
        vise_buf_addf(out, "<th%s>%s</th>", i >= first_number ? " class=\"n\"" : "", titles[i]);
    vise_buf_add_text(out, "</tr></thead><tbody>\n");
}

/* ---- sections --------------------------------------------------------------------------------------- */

static void put_head(const cJSON *json, vise_buf *out)
{
    static const char *const keys[] = {"version", "device", "cpu_level", "blas"};
    const char *input = vise_view_base(vise_view_text(vise_view(json, "input"), "path"));
    const char *output = vise_view_text(vise_view(json, "output"), "path");
    const char *layout = vise_view_text(vise_view(json, "output"), "layout");

    vise_buf_add_text(out,
                      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>vise: ");
    vise_view_xml(out, output ? vise_view_base(output) : input ? input : "report");
    vise_buf_addf(out, "</title><style>%s</style></head><body>\n<h1>", style);
    vise_view_xml(out, input ? input : "model");
    if (output) {
        vise_buf_add_text(out, " → ");
        vise_view_xml(out, output);
    }
    vise_buf_add_text(out, "</h1>\n<p class=\"sub\">vise");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *text = vise_view_text(vise_view(json, "tool"), keys[i]);

        if (!text || strcmp(text, "none") == 0) /* no BLAS was needed */
            continue;
        vise_buf_add_text(out, i ? ", " : " ");
        vise_view_xml(out, text);
    }
    if (layout) {
        vise_buf_add_text(out, ", layout ");
        vise_view_xml(out, layout);
    }
    vise_buf_add_text(out, "</p>\n");
}

static void put_size_tiles(const cJSON *json, vise_buf *out)
{
    const cJSON *size = vise_view(json, "size");
    double before = vise_view_number(size, "before"), after = vise_view_number(size, "after");
    double packed = vise_view_number(size, "packed_after"), bits = vise_view_number(size, "bits_per_weight");
    char from[VISE_VIEW_MAX], to[VISE_VIEW_MAX], value[VISE_VIEW_MAX], detail[2 * VISE_VIEW_MAX + 16];

    if (before > 0.0 && after > 0.0) {
        snprintf(value, sizeof value, "%.2f×", before / after);
        snprintf(detail, sizeof detail, "%s → %s", vise_view_size(before, from), vise_view_size(after, to));
        put_tile(out, "smaller", value, detail);
    }
    if (before > 0.0 && packed > 0.0) {
        snprintf(value, sizeof value, "%.2f×", before / packed);
        snprintf(detail, sizeof detail, "%s on disk", vise_view_size(packed, to));
        put_tile(out, "smaller, packed", value, detail);
    }
    if (!isnan(bits))
        put_tile(out, "bits per weight", vise_view_fixed(bits, 2, value), "scales and zero points included");
}

static void put_accuracy_tiles(const cJSON *json, vise_buf *out)
{
    const cJSON *accuracy = vise_view(json, "accuracy"), *pair = vise_view(accuracy, "perplexity");
    const cJSON *kl = vise_view(accuracy, "kl");
    double ratio = vise_view_number(pair, "ratio"), error = vise_view_number(pair, "stderr");
    double agreement = vise_view_number(accuracy, "top1_agreement");
    char from[VISE_VIEW_MAX], to[VISE_VIEW_MAX], value[VISE_VIEW_MAX], detail[4 * VISE_VIEW_MAX];

    if (!isnan(ratio)) {
        snprintf(value, sizeof value, "×%.4f", ratio);
        snprintf(detail, sizeof detail, "%s → %s", vise_view_short(vise_view_number(pair, "before"), from),
                 vise_view_short(vise_view_number(pair, "after"), to));
        if (!isnan(error))
            snprintf(detail + strlen(detail), sizeof detail - strlen(detail), ", ± %.4f", error);
        put_tile(out, "perplexity", value, detail);
    } else if (!isnan(vise_view_number(pair, "after"))) {
        detail[0] = '\0';
        if (!isnan(vise_view_number(pair, "low")))
            snprintf(detail, sizeof detail, "95 %% within %s to %s",
                     vise_view_short(vise_view_number(pair, "low"), from),
                     vise_view_short(vise_view_number(pair, "high"), to));
        put_tile(out, "perplexity", vise_view_short(vise_view_number(pair, "after"), value), detail);
    }
    if (!isnan(vise_view_number(kl, "mean"))) {
        snprintf(detail, sizeof detail, "nats per token; 99 %% below %s",
                 vise_view_short(vise_view_number(kl, "p99"), from));
        put_tile(out, "KL divergence", vise_view_short(vise_view_number(kl, "mean"), value), detail);
    }
    if (!isnan(agreement)) {
        snprintf(value, sizeof value, "%.2f %%", 100.0 * agreement);
        put_tile(out, "same first choice", value, "of all tokens");
    }
}

static void put_task_tiles(const cJSON *json, vise_buf *out)
{
    vise_task_figure figures[VISE_TASK_FIGURES_MAX];
    size_t count = vise_task_figures(vise_view(json, "accuracy"), figures);

    for (size_t i = 0; i < count; i++) {
        char value[VISE_VIEW_MAX], before[VISE_VIEW_MAX], detail[VISE_VIEW_MAX + 16] = "";

        if (!isnan(figures[i].before))
            snprintf(detail, sizeof detail, "before: %s", vise_view_share(&figures[i], figures[i].before, before));
        put_tile(out, figures[i].label, vise_view_share(&figures[i], figures[i].after, value), detail);
    }
}

static void put_outlier_tile(const cJSON *json, vise_buf *out)
{
    const double outliers = vise_view_number(vise_view(json, "outliers"), "outlier_columns");
    char value[VISE_VIEW_MAX], detail[VISE_VIEW_OUTLIERS_MAX];

    if (vise_view_outliers(json, detail, sizeof detail) != NULL)
        put_tile(out, "outlier columns", isnan(outliers) ? "?" : vise_view_fixed(outliers, 0, value), detail);
}

static void put_tiles(const cJSON *json, vise_buf *out)
{
    const cJSON *memory = vise_view(json, "memory");
    double peak = vise_view_number(memory, "peak_rss"), budget = vise_view_number(memory, "budget");
    double seconds = vise_view_number(json, "seconds");
    char value[VISE_VIEW_MAX], size[VISE_VIEW_MAX], detail[VISE_VIEW_MAX + 16] = "of the run";

    vise_buf_add_text(out, "<div class=\"tiles\">\n");
    put_size_tiles(json, out);
    put_accuracy_tiles(json, out);
    put_task_tiles(json, out);
    put_outlier_tile(json, out);
    if (!isnan(budget))
        snprintf(detail, sizeof detail, "of %s allowed", vise_view_size(budget, size));
    if (!isnan(peak))
        put_tile(out, "peak memory", vise_view_size(peak, value), detail);
    if (!isnan(seconds)) {
        snprintf(value, sizeof value, "%.1f s", seconds);
        put_tile(out, "time", value, "");
    }
    vise_buf_add_text(out, "</div>\n");
}

static void put_goals(const cJSON *json, vise_buf *out)
{
    static const char *const titles[] = {"goal", "", "value", "limit"};
    const cJSON *goals = vise_view(json, "goals"), *goal;

    if (vise_view_count(json, "goals") == 0)
        return;
    vise_buf_add_text(out, "<h2>Goals</h2>\n");
    put_titles(out, titles, 4, 2);
    cJSON_ArrayForEach(goal, goals)
    {
        const char *name = vise_view_text(goal, "name");
        bool met = vise_view_true(goal, "met");
        char text[VISE_VIEW_MAX];

        if (!name)
            continue;
        vise_buf_add_text(out, "<tr>");
        put_cell(out, NULL, name);
        put_cell(out, met ? "met" : "missed", met ? "met" : "not met");
        put_cell(out, "n", vise_view_goal(name, vise_view_number(goal, "value"), text));
        put_cell(out, "n", vise_view_goal(name, vise_view_number(goal, "limit"), text));
        vise_buf_add_text(out, "</tr>\n");
    }
    vise_buf_add_text(out, "</tbody></table>\n");
}

static void put_passes(const cJSON *json, vise_buf *out)
{
    static const char *const titles[] = {"pass", "method", "options", "weights", "seconds"};
    const cJSON *passes = vise_view(json, "passes"), *pass;

    if (vise_view_count(json, "passes") == 0)
        return;
    vise_buf_add_text(out, "<h2>Passes</h2>\n");
    put_titles(out, titles, 5, 3);
    cJSON_ArrayForEach(pass, passes)
    {
        const cJSON *options = vise_view(pass, "options");
        char *printed = options ? cJSON_PrintUnformatted(options) : NULL;
        char text[VISE_VIEW_MAX];

        vise_buf_add_text(out, "<tr>");
        put_cell(out, NULL, vise_view_text(pass, "pass"));
        put_cell(out, NULL, vise_view_text(pass, "method"));
        put_cell(out, NULL, printed);
        put_cell(out, "n", vise_view_fixed(vise_view_number(pass, "weights"), 0, text));
        put_cell(out, "n", vise_view_fixed(vise_view_number(pass, "seconds"), 2, text));
        vise_buf_add_text(out, "</tr>\n");
        cJSON_free(printed);
    }
    vise_buf_add_text(out, "</tbody></table>\n");
}

static void put_schemes(const cJSON *json, vise_buf *out)
{
    static const char *const titles[] = {"scheme", "parameters", "before", "after"};
    const cJSON *size = vise_view(json, "size"), *shares = vise_view(size, "by_scheme"), *share;

    if (vise_view_count(size, "by_scheme") == 0)
        return;
    vise_buf_add_text(out, "<h2>Size by scheme</h2>\n");
    put_titles(out, titles, 4, 1);
    cJSON_ArrayForEach(share, shares)
    {
        char text[VISE_VIEW_MAX];

        vise_buf_add_text(out, "<tr>");
        put_cell(out, NULL, vise_view_text(share, "name"));
        put_cell(out, "n", vise_view_fixed(vise_view_number(share, "parameters"), 0, text));
        put_cell(out, "n", vise_view_size(vise_view_number(share, "before"), text));
        put_cell(out, "n", vise_view_size(vise_view_number(share, "after"), text));
        vise_buf_add_text(out, "</tr>\n");
    }
    vise_buf_add_text(out, "</tbody></table>\n");
}

static void put_list(const cJSON *list, const char *title, bool *open, vise_buf *out)
{
    const cJSON *item;

    if (!cJSON_IsArray(list))
        return;
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item))
            continue;
        if (!*open)
            vise_buf_addf(out, "<h2>%s</h2>\n<ul>\n", title);
        *open = true;
        vise_buf_add_text(out, "<li>");
        vise_view_xml(out, item->valuestring);
        vise_buf_add_text(out, "</li>\n");
    }
}

static void put_notes(const cJSON *json, vise_buf *out)
{
    const cJSON *passes = vise_view(json, "passes"), *pass;
    bool open = false;

    if (cJSON_IsArray(passes))
        cJSON_ArrayForEach(pass, passes) put_list(vise_view(pass, "fallbacks"), "Fallbacks", &open, out);
    if (open)
        vise_buf_add_text(out, "</ul>\n");
    open = false;
    put_list(vise_view(json, "warnings"), "Warnings", &open, out);
    if (open)
        vise_buf_add_text(out, "</ul>\n");
}

static void put_weights(const cJSON *json, vise_buf *out)
{
    static const char *const titles[] = {"weight", "scheme", "note",     "bits",
                                         "bytes",  "zeros",  "SQNR, dB", "loss"};
    const cJSON *weights = vise_view(json, "weights"), *weight;
    size_t count = vise_view_count(json, "weights");

    if (count == 0)
        return;
    vise_buf_addf(out, "<h2>Weights</h2>\n<details><summary>all %zu</summary>\n", count);
    put_titles(out, titles, 8, 3);
    cJSON_ArrayForEach(weight, weights)
    {
        double sparsity = vise_view_number(weight, "sparsity");
        char text[VISE_VIEW_MAX];

        vise_buf_add_text(out, "<tr>");
        put_cell(out, NULL, vise_view_text(weight, "name"));
        put_cell(out, NULL, vise_view_text(weight, "scheme"));
        put_cell(out, NULL, vise_view_text(weight, "note"));
        put_cell(out, "n", vise_view_fixed(vise_view_number(weight, "bits_per_weight"), 2, text));
        put_cell(out, "n", vise_view_size(vise_view_number(weight, "bytes"), text));
        snprintf(text, sizeof text, "%.1f %%", 100.0 * sparsity);
        put_cell(out, "n", isnan(sparsity) ? "" : text);
        put_cell(out, "n", vise_view_fixed(vise_view_number(weight, "sqnr_db"), 2, text));
        put_cell(out, "n", vise_view_short(vise_view_number(weight, "loss"), text));
        vise_buf_add_text(out, "</tr>\n");
    }
    vise_buf_add_text(out, "</tbody></table></details>\n");
}

static void put_files(const cJSON *json, vise_buf *out)
{
    static const char *const titles[] = {"file", "SHA-256", "bytes"};
    const cJSON *output = vise_view(json, "output"), *files = vise_view(output, "files"), *file;

    if (vise_view_count(output, "files") == 0)
        return;
    vise_buf_add_text(out, "<h2>Files</h2>\n");
    put_titles(out, titles, 3, 2);
    cJSON_ArrayForEach(file, files)
    {
        const char *hash = vise_view_text(file, "sha256");
        char text[VISE_VIEW_MAX];

        vise_buf_add_text(out, "<tr>");
        put_cell(out, NULL, vise_view_text(file, "name"));
        vise_buf_add_text(out, "<td><code>");
        vise_view_xml(out, hash ? hash : "");
        vise_buf_add_text(out, "</code></td>");
        put_cell(out, "n", vise_view_fixed(vise_view_number(file, "bytes"), 0, text));
        vise_buf_add_text(out, "</tr>\n");
    }
    vise_buf_add_text(out, "</tbody></table>\n");
}

void vise_report_html(const cJSON *json, const char *name, vise_buf *out)
{
    (void)name;
    put_head(json, out);
    put_tiles(json, out);
    put_goals(json, out);
    vise_plot_sizes(json, out);
    vise_plot_errors(json, out);
    put_passes(json, out);
    put_schemes(json, out);
    put_notes(json, out);
    put_weights(json, out);
    put_files(json, out);
    vise_buf_add_text(out, "</body></html>\n");
}
