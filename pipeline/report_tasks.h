/* The report of what eval measures on rows, one text each: labels, choices, embeddings. */
#ifndef VISE_PIPELINE_REPORT_TASKS_H
#define VISE_PIPELINE_REPORT_TASKS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/json.h"
#include "eval/classify.h"
#include "eval/embed.h"
#include "pipeline/report.h"
#include "pipeline/report_view.h"

/* Sets everything to "not known". */
void vise_report_tasks_init(vise_report *report);

/* What was given to which texts, [n] each; before NULL: there is no reference. */
typedef struct vise_labelled {
    const char *file;
    const char *const *names; /* [labels]; NULL entries: the id stands for it */
    size_t labels;
    const int32_t *truth, *after, *before;
    size_t n;
    uint64_t tokens, truncated, invalid_utf8;
} vise_labelled;
VISE_MUST_USE vise_status vise_report_labelled(vise_report *report, const vise_labelled *labelled, vise_error *err);

/* Endings that were chosen for n contexts, [n] each: by likelihood, and by likelihood per character. */
typedef struct vise_chosen {
    const char *file;
    const int32_t *truth, *after[2], *before[2]; /* before[0] NULL: there is no reference */
    size_t n;
    uint64_t tokens, truncated;
} vise_chosen;
VISE_MUST_USE vise_status vise_report_chosen(vise_report *report, const vise_chosen *chosen, vise_error *err);

typedef struct vise_embedded {
    const char *file;
    size_t n;
    uint64_t tokens, truncated, invalid_utf8;
    int64_t width;
    const vise_cosines *cosines; /* NULL: nothing to compare with */
    size_t worst_line;
} vise_embedded;
VISE_MUST_USE vise_status vise_report_embedded(vise_report *report, const vise_embedded *embedded, vise_error *err);

/* The accuracy that --min-accuracy is about; NaN: none was measured. */
double vise_report_tasks_accuracy(const vise_report *report);

/* Members of the JSON's "accuracy". */
void vise_report_put_tasks(vise_json_writer *to, const vise_report *report);

/* ---- renderers, of the parsed "accuracy" ---- */

typedef struct vise_task_figure {
    const char *label;
    double before, after; /* NaN: none */
    double error;         /* standard error of after; NaN: none */
    int decimals;         /* of the number; 0: a share, in percent */
} vise_task_figure;

#define VISE_TASK_FIGURES_MAX 8

size_t vise_task_figures(const cJSON *accuracy, vise_task_figure figures[VISE_TASK_FIGURES_MAX]);
/* "80.85 %", "0.9312"; "" for NaN. */
const char *vise_view_share(const vise_task_figure *figure, double value, char text[VISE_VIEW_MAX]);
/* False: the report has nothing of this kind, and nothing is written. */
bool vise_report_text_tasks(const cJSON *accuracy, vise_buf *out);
bool vise_report_md_tasks(const cJSON *accuracy, vise_buf *out);

#endif
