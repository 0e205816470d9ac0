/* Inside pipeline: the plots of the HTML report, as inline SVG. Colours come from the page's CSS variables. */
#ifndef VISE_PIPELINE_REPORT_PLOT_H
#define VISE_PIPELINE_REPORT_PLOT_H

#include <cjson/cJSON.h>

#include "core/buf.h"

/* Bytes by role, before and after, as bars. Nothing when the report has none. */
void vise_plot_sizes(const cJSON *json, vise_buf *out);
/* Signal-to-quantization-noise ratio of every weight that has one, in model order, coloured by role. */
void vise_plot_errors(const cJSON *json, vise_buf *out);

#endif
