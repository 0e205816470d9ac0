/* What the tests of compute share: reproducible matrices, backends at every CPU level, comparison with a
 * reference. */
#ifndef VISE_TESTS_UNIT_COMPUTE_HELP_H
#define VISE_TESTS_UNIT_COMPUTE_HELP_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/backend.h"
#include "core/cpu.h"

/* n floats, never NULL, in [-1, 1). */
static inline float *random_floats(int64_t n, uint64_t seed)
{
    float *x = malloc((size_t)(n > 0 ? n : 1) * sizeof *x);
    assert_non_null(x);
    uint64_t state = seed * 2654435769u + 12345u;
    for (int64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)((double)(state >> 11) * 0x1p-52 - 1.0);
    }
    return x;
}

static inline float *copy_floats(const float *x, int64_t n)
{
    float *y = malloc((size_t)(n > 0 ? n : 1) * sizeof *y);
    assert_non_null(y);
    memcpy(y, x, (size_t)n * sizeof *y);
    return y;
}

static inline void must(vise_status status, const vise_error *err)
{
    if (status != VISE_OK)
        fail_msg("status %d: %s", (int)status, err->message);
}

/* The CPU backend at one level with some threads; threads 0: no workers at all. */
typedef struct test_backend {
    vise_workers *workers;
    vise_backend *b;
} test_backend;

static inline test_backend open_backend(vise_cpu_level level, int threads)
{
    vise_error err = {0};
    test_backend t = {0};
    vise_cpu_force(level);
    if (threads > 0)
        must(vise_workers_new(threads, &t.workers, &err), &err);
    must(vise_backend_open("cpu", t.workers, &t.b, &err), &err);
    return t;
}

static inline void close_backend(test_backend *t)
{
    vise_backend_close(t->b);
    vise_workers_free(t->workers);
}

/* Largest |x - y| over n, and a check of it against a bound; `what` and the shape tell which case failed. */
static inline void assert_close(const float *x, const double *y, int64_t n, double bound, const char *what,
                                int64_t a, int64_t b, int64_t c)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)x[i] - y[i]) <= bound))
            fail_msg("%s (%lld, %lld, %lld), %s: element %lld is %.9g, expected %.9g within %.3g", what,
                     (long long)a, (long long)b, (long long)c, vise_cpu_level_name(vise_cpu()), (long long)i,
                     (double)x[i], y[i], bound);
}

static inline void assert_same_bits(const void *x, const void *y, size_t bytes, const char *what)
{
    if (memcmp(x, y, bytes) != 0)
        fail_msg("%s: bits differ", what);
}

#endif
