/* The options that say which windows of a text are taken: the same rows for the command line and for recipes. */
#ifndef VISE_PIPELINE_TEXT_OPTIONS_H
#define VISE_PIPELINE_TEXT_OPTIONS_H

#include "pipeline/option.h"
#include "pipeline/plan.h"

typedef struct vise_text_values {
    const char *path;
    int64_t length, samples, skip, seed;
    const char *windows;
} vise_text_values;

#define VISE_TEXT_ROWS 4

/* length, samples, windows, skip; their offsets are in vise_text_values. */
extern const vise_option vise_calibration_rows[VISE_TEXT_ROWS];
extern const vise_option vise_evaluation_rows[VISE_TEXT_ROWS];

/* seed is taken when values->seed is not given. */
vise_text_source vise_text_source_of(const vise_text_values *values, uint64_t seed);

#endif
