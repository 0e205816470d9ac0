/* The executor: one walk over the blocks, the passes ride along; then the evaluation, the report and the
 * rename. */
#ifndef VISE_PIPELINE_RUN_H
#define VISE_PIPELINE_RUN_H

#include "core/err.h"
#include "pipeline/plan.h"
#include "pipeline/report.h"

/* Plans and runs. The report is filled as far as the run got; free it with vise_report_deinit. VISE_EGOAL
 * when everything was written but a goal is not met. On failure nothing stands at the output's final name;
 * the partial folder stays for --resume when work was interrupted (VISE_EINTERRUPTED) or a resource ran out,
 * and is removed otherwise. */
VISE_MUST_USE vise_status vise_run(const vise_request *request, vise_report *report, vise_error *err);

#endif
