/* Inside pipeline: one value of an option row, from text and to JSON. */
#ifndef VISE_PIPELINE_OPTION_VALUE_H
#define VISE_PIPELINE_OPTION_VALUE_H

#include "pipeline/option.h"

/* Puts the value that text spells (not for FLAG) at the row's place in values. label opens errors: "--damp".
 */
VISE_MUST_USE vise_status vise_option_set(const vise_option *row, void *values, const char *text,
                                          const char *label, vise_arena *arena, vise_error *err);
/* The same for numbers that are numbers already. */
VISE_MUST_USE vise_status vise_option_set_number(const vise_option *row, void *values, double number,
                                                 const char *label, vise_error *err);
/* Sets the row to its default, or to "not given". */
VISE_MUST_USE vise_status vise_option_reset(const vise_option *row, void *values, vise_arena *arena,
                                            vise_error *err);
bool vise_option_initial_flag(const vise_option *row);

/* "0 to 1", "at least 1", or "" without bounds. */
#define VISE_OPTION_RANGE_MAX 64
const char *vise_option_range(const vise_option *row, char text[VISE_OPTION_RANGE_MAX]);

#endif
