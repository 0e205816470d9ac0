/* Filling a report from a run. */
#ifndef VISE_PIPELINE_RUN_REPORT_H
#define VISE_PIPELINE_RUN_REPORT_H

#include "eval/eval.h"
#include "formats/sink.h"
#include "pipeline/report.h"
#include "pipeline/run_walk.h"

/* SHA-256 of the input's weight files, computed by a thread of its own while the run goes on. */
typedef struct vise_input_hash vise_input_hash;
VISE_MUST_USE vise_status vise_input_hash_start(const vise_source *source, vise_input_hash **out,
                                                vise_error *err);
VISE_MUST_USE vise_status vise_input_hash_wait(vise_input_hash *hash, vise_error *err);
const char *vise_input_hash_of(const vise_input_hash *hash, size_t file);
void vise_input_hash_free(vise_input_hash *hash); /* stops it when it still runs; NULL is fine */

/* tool, input, output, passes, weights, size, memory. */
VISE_MUST_USE vise_status vise_report_run(vise_report *report, const vise_walk *walk,
                                          const vise_input_hash *hash, vise_error *err);
/* accuracy; reference and divergence may be NULL. */
VISE_MUST_USE vise_status vise_report_accuracy(vise_report *report, const char *text, size_t length,
                                               const vise_quality *quality, const vise_quality *reference,
                                               const vise_divergence *divergence, vise_error *err);
/* goals: VISE_EGOAL, with an error text that names them, when one is not met. */
VISE_MUST_USE vise_status vise_report_goals(vise_report *report, const vise_goals *goals, vise_error *err);
/* report.json, .md and .html into the sink's folder, unless the report goes elsewhere. */
VISE_MUST_USE vise_status vise_report_write(const vise_report *report, const vise_request *request,
                                            vise_sink *sink, vise_error *err);
/* The report of a one-file output, or where --report says. */
VISE_MUST_USE vise_status vise_report_write_beside(const vise_report *report, const vise_request *request,
                                                   vise_error *err);
/* Where the JSON report lies; freed with vise_free. */
VISE_MUST_USE vise_status vise_report_path(const vise_request *request, char **path, vise_error *err);

#endif
