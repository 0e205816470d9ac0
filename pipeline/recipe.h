/* A recipe: a run as a JSON file, read through the same option tables as the command line. docs/cli.md shows
 * one. */
#ifndef VISE_PIPELINE_RECIPE_H
#define VISE_PIPELINE_RECIPE_H

#include <stddef.h>

#include "core/err.h"
#include "core/mem.h"
#include "pipeline/plan.h"

/* Defaults of a request. */
void vise_request_init(vise_request *request);

/* Fills the request from the recipe at path; texts and configurations live in the arena. passes is the table of
 * known passes, NULL-terminated. Paths are taken relative to the recipe's folder. An unknown key or a value out of
 * range is VISE_EUSAGE and names it and the nearest right one; what is no JSON, or has a key twice, is VISE_EFORMAT
 * with line and column. */
VISE_MUST_USE vise_status vise_recipe_load(const char *path, const vise_pass *const *passes,
                                           vise_arena *arena, vise_request *request, vise_error *err);
/* The same from memory; path is its name for errors, and tells the folder. */
VISE_MUST_USE vise_status vise_recipe_parse(const char *path, const char *text, size_t length,
                                            const vise_pass *const *passes, vise_arena *arena,
                                            vise_request *request, vise_error *err);

/* Sets recipe_text to the canonical recipe of what decides the output's bytes: input, passes, calibration, seed,
 * layout, packing and shard size. Evaluation and goals are no part of it. Call it when the request is complete. */
VISE_MUST_USE vise_status vise_request_describe(vise_request *request, vise_arena *arena, vise_error *err);

/* A pass's options as a table over its configuration. */
vise_options vise_pass_table(const vise_pass *pass, void *config);

#endif
