/* What the benchmarks of work on several threads share: wall and processor time, and the end on an error. */
#ifndef VISE_BENCH_WHOLE_PROCESS_H
#define VISE_BENCH_WHOLE_PROCESS_H

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/err.h"

typedef struct timing {
    double wall, cpu; /* seconds; cpu of all threads */
} timing;

static inline timing now(void)
{
    struct timespec wall, cpu;
    clock_gettime(CLOCK_MONOTONIC, &wall);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return (timing){(double)wall.tv_sec + 1e-9 * (double)wall.tv_nsec, (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec};
}

/* Keeps the best of several tries, wall and processor time each. */
static inline void keep_best(timing *best, timing start)
{
    const timing end = now();
    best->wall = fmin(best->wall, end.wall - start.wall);
    best->cpu = fmin(best->cpu, end.cpu - start.cpu);
}

static inline void must(vise_status status, const vise_error *err)
{
    if (status == VISE_OK)
        return;
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, err->message);
    exit((int)status);
}

#endif
