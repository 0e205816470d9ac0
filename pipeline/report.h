/* The report: what a run did and what it cost, as docs/cli.md fixes it. Filled by the executor, `eval` and `size`;
 * written as JSON, and rendered from JSON as text, Markdown, HTML (one file, opens offline) and JUnit XML, so that an
 * old report renders the same way.
 *
 * Numbers that are not known are NaN, sizes VISE_UNSET_SIZE, texts NULL: their keys are then absent.
 */
#ifndef VISE_PIPELINE_REPORT_H
#define VISE_PIPELINE_REPORT_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/mem.h"
#include "eval/eval.h"
#include "pipeline/option.h" /* VISE_UNSET_SIZE */

typedef struct vise_report_file {
    const char *name;
    uint64_t bytes;
    char sha256[65]; /* "": not known */
} vise_report_file;

typedef struct vise_report_model {
    const char *path, *format, *layout; /* path NULL: no such model */
    uint64_t parameters, bytes;
    vise_report_file *files;
    size_t n_files;
} vise_report_model;

typedef struct vise_report_pass {
    const char *pass, *method;
    const char *options_json; /* an object */
    double seconds;
    uint64_t bytes_before, bytes_after;
    uint64_t weights; /* worked on */
    const char **fallbacks;
    size_t n_fallbacks;
} vise_report_pass;

typedef struct vise_report_weight {
    const char *name, *role, *scheme, *note;
    int64_t rows, cols;
    double bits_per_weight;
    uint64_t bytes; /* stored, unpacked, all parts */
    double sparsity, mse, sqnr_db, loss, damp;
    bool outliers_counted;    /* the two below are known */
    uint64_t outlier_columns; /* of the input */
    double largest_input;
} vise_report_weight;

typedef struct vise_report_share { /* a line of size.by_role or size.by_scheme */
    const char *name;
    uint64_t parameters, before, after;
} vise_report_share;

typedef struct vise_report_pair {
    double before, after, ratio, stderr_;
} vise_report_pair;

typedef struct vise_report_class { /* a label of a classifier */
    const char *name;
    uint64_t n, predicted;
    double precision, recall, f1;
} vise_report_class;

/* What eval found on rows, one text each; n VISE_UNSET_SIZE: it was not asked. */
typedef struct vise_report_labels {
    uint64_t n, truncated;
    vise_report_pair accuracy, macro_f1;
    vise_report_pair f1; /* of label 1, where there are two */
    double agreement;    /* texts that get the reference's label */
    vise_report_class *classes; /* those that a text has or was given */
    size_t n_classes;
    const uint64_t *confusion; /* [n_classes, n_classes]: texts by their label and the one given; NULL: too large */
} vise_report_labels;

typedef struct vise_report_choices {
    uint64_t n, truncated; /* contexts; endings that were cut */
    vise_report_pair accuracy, normalized; /* by likelihood, and by likelihood per character */
    double agreement; /* contexts for which the reference chooses the same */
} vise_report_choices;

typedef struct vise_report_embeddings {
    uint64_t n, truncated, width, worst_line; /* worst_line: of the file, where the lowest cosine is */
    double mean_cosine, min_cosine;
} vise_report_embeddings;

typedef struct vise_report_goal {
    const char *name;
    double limit, value;
    bool met;
} vise_report_goal;

typedef struct vise_report {
    vise_arena *arena; /* all texts and arrays */
    struct {
        const char *device, *cpu_level, *blas;
        int threads;
        uint64_t seed;
    } tool;
    vise_report_model input, output;
    vise_report_pass *passes;
    size_t n_passes;
    vise_report_weight *weights;
    size_t n_weights;
    struct {
        uint64_t before, after, packed_after;
        double bits_per_weight;
        vise_report_share *by_role, *by_scheme;
        size_t n_roles, n_schemes;
    } size;
    struct {                   /* of a run that chose schemes; expected_kl NaN: it did not */
        double bits, bytes;    /* the budget: one of them */
        double reached;        /* in the same unit */
        double expected_kl;    /* from the calibration text, nats per token */
    } target;
    struct { /* input columns as LLM.int8() tells them apart; linears 0: none is of that scheme */
        double threshold, largest;
        uint64_t linears, measured, with_outliers; /* linears */
        uint64_t outliers, columns;                /* of those that were measured */
        const char *largest_name;
    } outliers;
    struct {
        uint64_t budget, peak_rss, peak_pool, load_before, load_after, kv_cache_per_token;
        const char *kv_cache; /* its scheme; NULL: it has none */
    } memory;
    struct {
        const char *text; /* NULL: no accuracy section */
        uint64_t tokens, length;
        const char *protocol; /* NULL: rows of ids, which have none */
        uint64_t stride, invalid_utf8;
        bool bos_in_front;
        vise_report_pair perplexity; /* stderr: of the ratio where there is one, else of after */
        double stderr_before, stderr_after; /* of each perplexity */
        double stderr_tokens;               /* of after, were all predictions independent */
        double low, high;                   /* after is between them with a confidence of 95 % */
        double bits_per_byte_before, bits_per_byte_after;
        vise_spread kl, delta_p;
        double top1_agreement, top1_stderr;
        vise_report_labels labels;
        vise_report_choices choices;
        vise_report_embeddings embeddings;
    } accuracy;
    vise_report_goal *goals;
    size_t n_goals;
    const char **warnings;
    size_t n_warnings, warnings_capacity;
    double seconds; /* of the whole run */
    char identity[65];    /* SHA-256 of what a continued run must have in common; "": none (pipeline/finished.h) */
    const char *finished; /* NULL, or where the report of this very run lies, which was finished before */
} vise_report;

/* Sets everything to "not known". */
VISE_MUST_USE vise_status vise_report_init(vise_report *report, vise_error *err);
void vise_report_deinit(vise_report *report);
VISE_MUST_USE vise_status vise_report_warn(vise_report *report, const char *text, vise_error *err);
/* From here on every vise_warn goes into the report as well, until this is called with NULL: do that before the
 * report is freed. */
void vise_report_collect(vise_report *report);

/* The JSON document (schema 1). accuracy_only: {"memory": {...}, "accuracy": {...}} for `eval --json`. */
VISE_MUST_USE vise_status vise_report_json(const vise_report *report, bool accuracy_only, vise_buf *out,
                                           vise_error *err);

typedef enum vise_report_format {
    VISE_REPORT_TEXT,
    VISE_REPORT_MD,
    VISE_REPORT_HTML,
    VISE_REPORT_JUNIT
} vise_report_format;
/* Renders a parsed report. `name` is its path, for errors and for the last line of the text (NULL: it has none).
 * VISE_EFORMAT when it is no report. */
VISE_MUST_USE vise_status vise_report_render(const cJSON *json, const char *name, vise_report_format format,
                                             vise_buf *out, vise_error *err);

#endif
