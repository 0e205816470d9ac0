/* What runtimes load: rules as data, checked on a plan before work. A run names its runtime with --target; one that
 * names none is warned of what some runtime of its layout would not load. */
#ifndef VISE_PIPELINE_RUNTIME_H
#define VISE_PIPELINE_RUNTIME_H

#include "pipeline/plan.h"

/* VISE_EUNSUPPORTED naming tensor, rule and remedy where the runtime that the output is for would not load it; warns of
 * what it loads, but perhaps not everywhere. Schemes that a budget may still choose are held against the rules, too.
 * Without a runtime, and where the run quantizes, a warning for each runtime and rule that would refuse. */
VISE_MUST_USE vise_status vise_runtime_check(const vise_plan *plan, vise_error *err);

#endif
