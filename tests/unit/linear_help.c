#include "tests/unit/linear_help.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

void help_linear_open(help_linear *l, const char *scheme, vise_dtype dtype, float *values, int64_t rows, int64_t cols,
                      int threads)
{
    vise_error err = {0};
    *l = (help_linear){0};
    assert_int_equal(vise_workers_new(threads, &l->workers, &err), VISE_OK);
    assert_int_equal(vise_pool_new(0, &l->pool, &err), VISE_OK);
    assert_int_equal(vise_backend_open("cpu", l->workers, &l->backend, &err), VISE_OK);
    assert_int_equal(vise_scheme_parse(scheme, &l->scheme, &err), VISE_OK);
    l->codes = test_calloc(1, vise_qweight_bytes(&l->scheme, rows, cols));
    vise_qweight_carve(&l->q, &l->scheme, dtype, rows, cols, l->codes);
    l->planned = (vise_planned){.scheme = l->scheme, .dtype = dtype, .scale_dtype = dtype};
    l->stats = (vise_input_stats){.width = cols};
    l->weight = (vise_weight){
        .plan = &l->planned, .rows = rows, .cols = cols, .values = values, .q = &l->q, .loss = NAN, .damp = NAN};
    l->quant = (vise_quant_config){.scheme = scheme,
                                   .clip = "auto",
                                   .sweeps = VISE_UNSET_INT,
                                   .range = "auto",
                                   .actorder = "static",
                                   .damp = 0.01,
                                   .target_bits = NAN,
                                   .target_size = VISE_UNSET_SIZE};
    l->run = (vise_pass_run){
        .config = &l->quant, .threads = threads, .pool = l->pool, .workers = l->workers, .backend = l->backend};
}

void help_linear_close(help_linear *l)
{
    test_free(l->codes);
    vise_backend_close(l->backend);
    vise_pool_free(l->pool);
    vise_workers_free(l->workers);
}

void help_linear_run(help_linear *l, const vise_method *method)
{
    vise_error err = {0};
    vise_weight *weights[] = {&l->weight};
    vise_group group = {.stats = &l->stats, .weights = weights, .count = 1};
    l->run.method = method;
    if (method->group(&l->run, &group, &err) != VISE_OK)
        fail_msg("%s", err.message);
}

void help_linear_run_promised(help_linear *l, const vise_method *method)
{
    enum { TAKES = 9 }; /* the pool rounds each of its blocks up */
    vise_logical tensor = {.rows = l->weight.rows, .cols = l->weight.cols};
    vise_bound bound = {.tensor = &tensor};
    vise_model model = {.count = 1, .bound = &bound};
    l->planned.bound = &bound;
    l->planned.passes = 1;
    l->run.model = &model;
    l->run.planned = &l->planned;
    const uint64_t promised = method->group_bytes(&l->run);
    help_linear_run(l, method);
    assert_true(vise_pool_peak(l->pool) <= promised + 64 * TAKES);
}
