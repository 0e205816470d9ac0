/* What eval measured on rows, for a terminal and for Markdown. */
#include <math.h>
#include <stdio.h>

#include "pipeline/report_tasks.h"

/* Beyond these a table is for machines. */
#define TABLE_CLASSES_MAX     20
#define CONFUSION_CLASSES_MAX 8
#define NAME_MAX_SHOWN        14

const char *vise_view_share(const vise_task_figure *figure, double value, char text[VISE_VIEW_MAX])
{
    text[0] = '\0';
    if (!isfinite(value))
        return text;
    if (figure->decimals > 0)
        return vise_view_fixed(value, figure->decimals, text);
    snprintf(text, VISE_VIEW_MAX, "%.2f %%", 100.0 * value);
    return text;
}

/* The part of the report that there is. */
static const cJSON *task_of(const cJSON *accuracy)
{
    static const char *const tasks[] = {"labels", "choices", "embeddings"};
    const cJSON *task = NULL;

    for (size_t i = 0; !task && i < sizeof tasks / sizeof tasks[0]; i++)
        task = vise_view(accuracy, tasks[i]);
    return task;
}

static void add_figure(vise_task_figure *figures, size_t *count, const char *label, const cJSON *pair, int decimals)
{
    if (!isnan(vise_view_number(pair, "after")))
        figures[(*count)++] = (vise_task_figure){label, vise_view_number(pair, "before"),
                                                 vise_view_number(pair, "after"), vise_view_number(pair, "stderr"),
                                                 decimals};
}

static void add_value(vise_task_figure *figures, size_t *count, const char *label, double value, int decimals)
{
    if (!isnan(value))
        figures[(*count)++] = (vise_task_figure){label, NAN, value, NAN, decimals};
}

size_t vise_task_figures(const cJSON *accuracy, vise_task_figure figures[VISE_TASK_FIGURES_MAX])
{
    const cJSON *task = task_of(accuracy), *cosine = vise_view(task, "cosine");
    size_t count = 0;

    add_figure(figures, &count, "accuracy", vise_view(task, "accuracy"), 0);
    add_figure(figures, &count, "normalized", vise_view(task, "normalized_accuracy"), 0);
    add_figure(figures, &count, "F1", vise_view(task, "f1"), 4);
    add_figure(figures, &count, "macro F1", vise_view(task, "macro_f1"), 4);
    add_value(figures, &count, "agreement", vise_view_number(task, "agreement"), 0);
    add_value(figures, &count, "cosine", vise_view_number(cosine, "mean"), 6);
    add_value(figures, &count, "lowest", vise_view_number(cosine, "min"), 6);
    return count;
}

/* "80.85 %  +- 1.33 %" */
static void put_remark(const vise_task_figure *figure, const char *sign, char remark[2 * VISE_VIEW_MAX])
{
    char error[VISE_VIEW_MAX];

    remark[0] = '\0';
    if (isfinite(figure->error) && figure->error > 0.0)
        snprintf(remark, 2 * VISE_VIEW_MAX, "%s %s", sign, vise_view_share(figure, figure->error, error));
}

/* ---- terminal -------------------------------------------------------------------------------------------------- */

static void put_class_table(const cJSON *labels, vise_buf *out)
{
    const cJSON *classes = vise_view(labels, "classes"), *c;
    char number[5][VISE_VIEW_MAX];

    if (vise_view_count(labels, "classes") == 0 || vise_view_count(labels, "classes") > TABLE_CLASSES_MAX)
        return;
    vise_buf_addf(out, "\n  %-*s %7s %7s %10s %7s %7s\n", NAME_MAX_SHOWN, "label", "n", "given", "precision", "recall",
                  "F1");
    cJSON_ArrayForEach(c, classes)
    {
        const char *name = vise_view_text(c, "name");

        vise_buf_addf(out, "  %-*.*s %7s %7s %10s %7s %7s\n", NAME_MAX_SHOWN, NAME_MAX_SHOWN, name ? name : "?",
                      vise_view_fixed(vise_view_number(c, "n"), 0, number[0]),
                      vise_view_fixed(vise_view_number(c, "predicted"), 0, number[1]),
                      vise_view_fixed(vise_view_number(c, "precision"), 4, number[2]),
                      vise_view_fixed(vise_view_number(c, "recall"), 4, number[3]),
                      vise_view_fixed(vise_view_number(c, "f1"), 4, number[4]));
    }
}

static void put_confusion(const cJSON *labels, vise_buf *out)
{
    const cJSON *classes = vise_view(labels, "classes"), *rows = vise_view(labels, "confusion"), *row, *cell;
    size_t count = vise_view_count(labels, "classes");
    int i = 0;

    if (count == 0 || count > CONFUSION_CLASSES_MAX || vise_view_count(labels, "confusion") != count)
        return;
    vise_buf_addf(out, "\n  %-*s", NAME_MAX_SHOWN, "label \\ given");
    cJSON_ArrayForEach(row, classes)
    {
        const char *name = vise_view_text(row, "name");
        vise_buf_addf(out, " %8.8s", name ? name : "?");
    }
    cJSON_ArrayForEach(row, rows)
    {
        const char *name = vise_view_text(cJSON_GetArrayItem(classes, i++), "name");

        vise_buf_addf(out, "\n  %-*.*s", NAME_MAX_SHOWN, NAME_MAX_SHOWN, name ? name : "?");
        if (cJSON_IsArray(row))
            cJSON_ArrayForEach(cell, row) vise_buf_addf(out, " %8.0f", cJSON_IsNumber(cell) ? cell->valuedouble : 0.0);
    }
    vise_buf_add_text(out, "\n\n");
}

static void put_measured(const cJSON *accuracy, vise_buf *out)
{
    const cJSON *task = task_of(accuracy);
    const char *text = vise_view_base(vise_view_text(accuracy, "text"));
    double truncated = vise_view_number(task, "truncated");
    char number[VISE_VIEW_MAX];

    vise_buf_addf(out, "  %-12s %s, %s %s", "measured on", text ? text : "?",
                  vise_view_fixed(vise_view_number(task, "n"), 0, number),
                  vise_view(accuracy, "choices") ? "contexts" : "texts");
    vise_buf_addf(out, ", %s tokens", vise_view_fixed(vise_view_number(accuracy, "tokens"), 0, number));
    if (truncated > 0.0)
        vise_buf_addf(out, ", %s of the texts cut", vise_view_fixed(truncated, 0, number));
    vise_buf_add_char(out, '\n');
}

bool vise_report_text_tasks(const cJSON *accuracy, vise_buf *out)
{
    vise_task_figure figures[VISE_TASK_FIGURES_MAX];
    size_t count = vise_task_figures(accuracy, figures);
    char before[VISE_VIEW_MAX], after[VISE_VIEW_MAX], remark[2 * VISE_VIEW_MAX];

    for (size_t i = 0; i < count; i++) {
        vise_view_share(&figures[i], figures[i].before, before);
        vise_view_share(&figures[i], figures[i].after, after);
        put_remark(&figures[i], "+-", remark);
        vise_buf_addf(out, "  %-12s %9s %s %-*s%s%s\n", figures[i].label, before, before[0] ? "->" : "  ",
                      remark[0] ? 9 : 0, after, remark[0] ? "  " : "", remark);
    }
    if (!task_of(accuracy))
        return false;
    put_measured(accuracy, out);
    put_class_table(vise_view(accuracy, "labels"), out);
    put_confusion(vise_view(accuracy, "labels"), out);
    return true;
}

/* ---- Markdown -------------------------------------------------------------------------------------------------- */

static void put_md_classes(const cJSON *labels, vise_buf *out)
{
    const cJSON *classes = vise_view(labels, "classes"), *c;
    char number[5][VISE_VIEW_MAX];

    if (vise_view_count(labels, "classes") == 0 || vise_view_count(labels, "classes") > TABLE_CLASSES_MAX)
        return;
    vise_buf_add_text(out, "\n## Labels\n\n| label | n | given | precision | recall | F1 |\n"
                           "| --- | ---: | ---: | ---: | ---: | ---: |\n");
    cJSON_ArrayForEach(c, classes)
    {
        const char *name = vise_view_text(c, "name");

        vise_buf_add_text(out, "| ");
        vise_view_md(out, name ? name : "?");
        vise_buf_addf(out, " | %s | %s | %s | %s | %s |\n", vise_view_fixed(vise_view_number(c, "n"), 0, number[0]),
                      vise_view_fixed(vise_view_number(c, "predicted"), 0, number[1]),
                      vise_view_fixed(vise_view_number(c, "precision"), 4, number[2]),
                      vise_view_fixed(vise_view_number(c, "recall"), 4, number[3]),
                      vise_view_fixed(vise_view_number(c, "f1"), 4, number[4]));
    }
}

bool vise_report_md_tasks(const cJSON *accuracy, vise_buf *out)
{
    vise_task_figure figures[VISE_TASK_FIGURES_MAX];
    size_t count = vise_task_figures(accuracy, figures);
    const char *text = vise_view_text(accuracy, "text");
    char before[VISE_VIEW_MAX], after[VISE_VIEW_MAX], remark[2 * VISE_VIEW_MAX];

    for (size_t i = 0; i < count; i++) {
        put_remark(&figures[i], "±", remark);
        vise_buf_addf(out, "| %s | %s | %s | %s |\n", figures[i].label,
                      vise_view_share(&figures[i], figures[i].before, before),
                      vise_view_share(&figures[i], figures[i].after, after), remark);
    }
    if (!task_of(accuracy))
        return false;
    if (text) {
        vise_buf_add_text(out, "\nMeasured on ");
        vise_view_md(out, vise_view_base(text));
        vise_buf_addf(out, ": %s %s.\n", vise_view_fixed(vise_view_number(task_of(accuracy), "n"), 0, before),
                      vise_view(accuracy, "choices") ? "contexts" : "texts");
    }
    put_md_classes(vise_view(accuracy, "labels"), out);
    return true;
}
