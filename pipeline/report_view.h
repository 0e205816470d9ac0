/* Inside pipeline: reading a parsed report for its renderers. Nothing in a report is trusted to be there or to have
 * its type: what is missing or of another type reads as NaN, NULL or nothing. */
#ifndef VISE_PIPELINE_REPORT_VIEW_H
#define VISE_PIPELINE_REPORT_VIEW_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"

const cJSON *vise_view(const cJSON *object, const char *key);     /* NULL: absent */
double vise_view_number(const cJSON *object, const char *key);    /* NaN: absent */
const char *vise_view_text(const cJSON *object, const char *key); /* NULL: absent */
bool vise_view_true(const cJSON *object, const char *key);
size_t vise_view_count(const cJSON *object, const char *key); /* members of a list */

#define VISE_VIEW_MAX 64
/* "1.60 GB"; "" when bytes is no size. */
const char *vise_view_size(double bytes, char text[VISE_VIEW_MAX]);
/* Four significant digits; with a number of decimals; "" for NaN. */
const char *vise_view_short(double value, char text[VISE_VIEW_MAX]);
const char *vise_view_fixed(double value, int decimals, char text[VISE_VIEW_MAX]);
/* A goal's number in its unit: sizes of "*_bytes" as sizes. */
const char *vise_view_goal(const char *name, double value, char text[VISE_VIEW_MAX]);
/* "<=" for goals max_*, ">=" for min_*. */
const char *vise_view_relation(const char *name);
/* The path that a person calls the model by: its last part. NULL stays NULL. */
const char *vise_view_base(const char *path);

/* " by protocol stride 256", of an accuracy section; "" when it names none that is known. */
const char *vise_view_protocol(const cJSON *accuracy, char *text, size_t size);

/* "3.499 of 3.5 bits a weight; expected KL 0.004951, measured 0.003434"; NULL for a run without a target. */
#define VISE_VIEW_TARGET_MAX (4 * VISE_VIEW_MAX)
const char *vise_view_target(const cJSON *json, char *text, size_t size);

/* "12 of 3584 input columns reach 6, in 5 of 35 linears; the largest is 9.1, in NAME"; NULL: nothing of LLM.int8. */
#define VISE_VIEW_OUTLIERS_MAX 512
const char *vise_view_outliers(const cJSON *json, char *text, size_t size);

/* True if two texts are the same but for whole numbers: notes on the same weight of different layers. */
bool vise_view_alike(const char *a, const char *b);
/* The text with numbers as '*', up to its first ": ". */
void vise_view_pattern(vise_buf *out, const char *text);

/* Text for XML and HTML, attributes included; characters that XML has no place for become U+FFFD. */
void vise_view_xml(vise_buf *out, const char *text);
/* Text for a Markdown line or table cell. */
void vise_view_md(vise_buf *out, const char *text);

/* The renderers. name is the report's path. */
void vise_report_text(const cJSON *json, const char *name, vise_buf *out);
void vise_report_md(const cJSON *json, const char *name, vise_buf *out);
void vise_report_html(const cJSON *json, const char *name, vise_buf *out);
void vise_report_junit(const cJSON *json, const char *name, vise_buf *out);

#endif
