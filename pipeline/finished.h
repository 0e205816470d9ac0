/* A run whose output is published already, which --resume finds: its report says by what run. */
#ifndef VISE_PIPELINE_FINISHED_H
#define VISE_PIPELINE_FINISHED_H

#include <stdbool.h>

#include "pipeline/report.h"
#include "pipeline/plan.h"

/* What a run is, in short: the SHA-256 of the text that the journal compares (options, inputs, machine). */
void vise_run_identity(const char *text, vise_report *report);
/* *finished: the output stands at its name, whole by its report, and that report is of this very run. The report's
 * path is then in report->finished; VISE_EGOAL if that run missed a goal. Whatever else stands there, its report broken
 * too, is no finished run of ours. */
VISE_MUST_USE vise_status vise_run_finished(const vise_request *request, vise_report *report, bool *finished,
                                            vise_error *err);

#endif
