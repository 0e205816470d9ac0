/* The options that say which windows of a text are taken: the same rows for the command line and for recipes. */
#ifndef VISE_PIPELINE_TEXT_OPTIONS_H
#define VISE_PIPELINE_TEXT_OPTIONS_H

#include "pipeline/option.h"
#include "pipeline/plan.h"
#include "text/windows.h"

typedef struct vise_text_values {
    const char *path;
    int64_t length, samples, skip, seed, stride;
    const char *windows, *protocol;
    bool bos;
} vise_text_values;

#define VISE_CALIBRATION_ROWS 4
#define VISE_EVALUATION_ROWS  7

/* length, samples, windows, skip; for evaluation also protocol, stride, bos. Offsets are in vise_text_values. */
extern const vise_option vise_calibration_rows[VISE_CALIBRATION_ROWS];
extern const vise_option vise_evaluation_rows[VISE_EVALUATION_ROWS];

/* seed is taken when values->seed is not given. */
vise_text_source vise_text_source_of(const vise_text_values *values, uint64_t seed);

/* The windows of a text, for a model of so many positions; samples are taken when the source does not say how many
 * (0: all). VISE_EUSAGE for options that the protocol has not. */
VISE_MUST_USE vise_status vise_text_windows(const vise_text_source *source, int64_t max_positions, size_t samples,
                                            vise_window_options *options, vise_error *err);

#endif
