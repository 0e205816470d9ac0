/* What the benchmarks of single-threaded kernels share: the thread's clock, the rate of a kernel, touched memory, the
 * copy rate of the machine (the floor), and the peer's lines. */
#ifndef VISE_BENCH_SINGLE_THREAD_H
#define VISE_BENCH_SINGLE_THREAD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/mem.h"

/* Processor time of this thread: the machine may have other work. */
static inline double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void keep_best(double *best, double start)
{
    double taken = seconds() - start;
    if (*best <= 0.0 || taken < *best)
        *best = taken;
}

/* Millions of weights a second, the best of some rounds. What a job is each benchmark says itself. */
struct job;
static inline double mega_rate(void (*work)(struct job *), struct job *j, size_t weights, int rounds)
{
    double best = 0.0;
    for (int i = 0; i < rounds; i++) {
        double start = seconds();
        work(j);
        keep_best(&best, start);
    }
    return (double)weights / best / 1e6;
}

/* Memory that is there: page faults are not what is timed. */
static inline void *touched(size_t bytes)
{
    void *block;
    vise_error err = {0};
    if (vise_alloc(bytes, &block, &err) != VISE_OK) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    memset(block, 1, bytes);
    return block;
}

/* Bytes read plus bytes written per second by memcpy, whose stores bypass the caches at this size. */
static inline double copy_rate(size_t bytes, int rounds)
{
    char *a = touched(bytes), *b = touched(bytes);
    double best = 0.0;
    for (int i = 0; i < rounds; i++) {
        double start = seconds();
        memcpy(b, a, bytes);
        keep_best(&best, start);
        __asm__ volatile("" : : "r"(b) : "memory");
    }
    vise_free(a);
    vise_free(b);
    return 2.0 * (double)bytes / best;
}

/* Starts `python script arguments` with one thread; NULL (and a line that says so) without torch. */
static inline FILE *peer_open(const char *script, const char *arguments)
{
    char command[2048];
    const char *python = getenv("PEER_PYTHON");
    if (!python)
        python = "build/venv/bin/python";
    if (access(python, X_OK) != 0 || access(script, R_OK) != 0) {
        printf("peer: skipped (no %s or no %s; PEER_PYTHON names a python with torch)\n", python, script);
        return NULL;
    }
    snprintf(command, sizeof command, "OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 '%s' '%s' %s", python, script,
             arguments);
    fflush(stdout);
    return popen(command, "r");
}

#endif
