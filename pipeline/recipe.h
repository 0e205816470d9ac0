/* A recipe: a run as a JSON file, read through the same option tables as the command line. docs/cli.md shows one. */
#ifndef VISE_PIPELINE_RECIPE_H
#define VISE_PIPELINE_RECIPE_H

#include "core/err.h"
#include "core/mem.h"
#include "pipeline/plan.h"

/* Fills the request from the recipe at path; texts and configurations live in the arena. passes is the table of known passes,
 * NULL-terminated. Paths are taken relative to the recipe's folder. An unknown key, a key given twice or a value out of range is
 * VISE_EUSAGE (VISE_EFORMAT when the file is no JSON) and names it and the nearest right one. */
VISE_MUST_USE vise_status vise_recipe_load(const char *path, const vise_pass *const *passes, vise_arena *arena,
                                           vise_request *request, vise_error *err);

/* Defaults of a request. */
void vise_request_init(vise_request *request);

#endif
