/* A pool of worker threads for data-parallel loops, and the interruption flag.
 *
 * Determinism: a loop is cut into tasks by the caller, by shape alone; how many workers there are decides only who
 * runs a task, never what it computes.
 */
#ifndef VISE_CORE_WORKERS_H
#define VISE_CORE_WORKERS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

typedef struct vise_workers vise_workers;

/* count >= 1 includes the calling thread; 0 means one per usable core. */
VISE_MUST_USE vise_status vise_workers_new(int count, vise_workers **out, vise_error *err);
void vise_workers_free(vise_workers *workers);
int vise_workers_count(const vise_workers *workers); /* 1 for NULL */

/* worker is in [0, count) and is this task's alone while it runs: an index for scratch memory. */
typedef vise_status (*vise_task)(void *context, size_t index, int worker, vise_error *err);

/* Runs task(context, i, ...) for i in [0, n), in any order, and returns when all ended. On failures the error of
 * the lowest failing index is reported and tasks not yet started are dropped. workers NULL runs them in order on
 * this thread. Loops do not nest: a loop started inside a task runs serially on that thread (one task alone is a
 * plain call, and a loop inside it may be parallel). */
VISE_MUST_USE vise_status vise_parallel(vise_workers *workers, size_t n, vise_task task, void *context,
                                        vise_error *err);
/* The same, where results wait for those below them: task i starts when all tasks below i - ahead have ended, however
 * long one of them takes. ahead >= 1. */
VISE_MUST_USE vise_status vise_parallel_window(vise_workers *workers, size_t n, size_t ahead, vise_task task,
                                               void *context, vise_error *err);

/* Set from a signal handler; long loops (vise_parallel included) then end with VISE_EINTERRUPTED. */
void vise_interrupt(void);
bool vise_interrupted(void);
VISE_MUST_USE vise_status vise_check_interrupt(vise_error *err);

#endif
