/* One linear that a method works on alone, with what its hooks are called with. The test has values and statistics. */
#ifndef VISE_TESTS_UNIT_LINEAR_HELP_H
#define VISE_TESTS_UNIT_LINEAR_HELP_H

#include "quant/quant.h"

typedef struct help_linear {
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
    vise_scheme scheme;
    vise_planned planned;
    vise_qweight q;
    void *codes; /* what q points into */
    vise_input_stats stats;
    vise_weight weight;
    vise_quant_config quant;
    vise_pass_run run;
} help_linear;

/* The weight is to become `scheme`, from values [rows, cols] of the dtype, which the method replaces; options are
 * gptq's defaults but for a damping of 0.01. */
void help_linear_open(help_linear *l, const char *scheme, vise_dtype dtype, float *values, int64_t rows, int64_t cols,
                      int threads);
void help_linear_close(help_linear *l);
/* The method's work on the group of this weight alone; it must succeed. */
void help_linear_run(help_linear *l, const vise_method *method);
/* The same; what it takes of the pool must be what group_bytes promised. */
void help_linear_run_promised(help_linear *l, const vise_method *method);

#endif
