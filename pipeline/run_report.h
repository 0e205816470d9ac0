/* Filling a report from a run. */
#ifndef VISE_PIPELINE_RUN_REPORT_H
#define VISE_PIPELINE_RUN_REPORT_H

#include "eval/eval.h"
#include "formats/sink.h"
#include "pipeline/report.h"
#include "pipeline/run_walk.h"

/* tool, input, output, passes, weights, size, memory. Waits for the input's hashes. */
VISE_MUST_USE vise_status vise_report_run(vise_report *report, const vise_walk *walk, vise_error *err);
/* accuracy; reference and divergence may be NULL. */
VISE_MUST_USE vise_status vise_report_accuracy(vise_report *report, const char *text, size_t length,
                                               const vise_quality *quality, const vise_quality *reference,
                                               const vise_divergence *divergence, vise_error *err);
/* How the text was cut: accuracy.protocol and what belongs to it. */
void vise_report_protocol(vise_report *report, const vise_window_options *options, uint64_t invalid_utf8);
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
