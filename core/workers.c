#include "core/workers.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "core/cpu.h"
#include "core/mem.h"

enum { STACK_BYTES = 1 << 20, COUNT_MAX = 1024 };

typedef struct member {
    pthread_t thread;
    vise_workers *workers;
    int index;        /* 1..count-1; the caller of vise_parallel is worker 0 */
    uint64_t claimed; /* loops with a window: the index that it works on or waits with; UINT64_MAX: none */
} member;

struct vise_workers {
    int count;
    int started; /* threads that must be joined */
    member *members;

    pthread_mutex_t busy; /* one loop at a time: a second caller waits for its turn */
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;
    pthread_cond_t idle;
    uint64_t generation; /* counts loops: how a sleeping thread tells a new one from the last */
    int running;         /* threads that have not finished this loop */
    bool quit;

    vise_task task;
    void *context;
    uint64_t n;
    uint64_t ahead; /* of a loop with a window; UINT64_MAX: no window */
    pthread_mutex_t window_lock; /* guards the claims and `dropped` */
    pthread_cond_t moved;
    bool dropped; /* an index was claimed and, as the loop stopped, not worked on */
    _Atomic uint64_t next; /* the first index nobody has claimed; indices are claimed in order */
    atomic_bool stop;

    pthread_mutex_t error_lock;
    uint64_t failed_index;
    vise_status failed_status;
    vise_error error;
};

static atomic_bool interrupt_flag;

/* The loop that this thread is a part of, for loops started inside a task. */
static _Thread_local const vise_workers *current_workers;
static _Thread_local int current_worker;
static _Thread_local bool inside_loop;

void vise_interrupt(void)
{
    atomic_store(&interrupt_flag, true);
}

bool vise_interrupted(void)
{
    return atomic_load_explicit(&interrupt_flag, memory_order_relaxed);
}

vise_status vise_check_interrupt(vise_error *err)
{
    if (vise_interrupted())
        return VISE_FAIL(err, VISE_EINTERRUPTED, "interrupted");
    return VISE_OK;
}

/* ---- loops with a window ------------------------------------------------------------------------------------- */

/* Under the window's lock: all indices below have ended, for they were claimed before. */
static uint64_t lowest_claim(const vise_workers *w)
{
    uint64_t lowest = UINT64_MAX;
    for (int i = 0; i < w->count; i++)
        lowest = w->members[i].claimed < lowest ? w->members[i].claimed : lowest;
    return lowest;
}

static bool must_stop(const vise_workers *w)
{
    return atomic_load_explicit(&w->stop, memory_order_relaxed) || vise_interrupted();
}

/* Ends the worker's last claim, and claims the next index when it is inside the window. The lowest claim never waits:
 * its owner works on it, and wakes the others when it ends. */
static uint64_t claim_in_window(vise_workers *w, int worker)
{
    member *self = &w->members[worker];
    pthread_mutex_lock(&w->window_lock);
    self->claimed = UINT64_MAX;
    pthread_cond_broadcast(&w->moved);
    uint64_t index = atomic_fetch_add_explicit(&w->next, 1, memory_order_relaxed);
    if (index < w->n) {
        self->claimed = index;
        while (index - lowest_claim(w) > w->ahead && !must_stop(w))
            pthread_cond_wait(&w->moved, &w->window_lock);
        /* What may start does, also when a task above it has failed: the lowest failure is the one to report. */
        if (index - lowest_claim(w) > w->ahead) {
            w->dropped = true;
            index = UINT64_MAX;
        }
    }
    pthread_mutex_unlock(&w->window_lock);
    return index;
}

static void leave_window(vise_workers *w, int worker)
{
    pthread_mutex_lock(&w->window_lock);
    w->members[worker].claimed = UINT64_MAX;
    pthread_cond_broadcast(&w->moved);
    pthread_mutex_unlock(&w->window_lock);
}

/* ---- the loop ------------------------------------------------------------------------------------------------ */

static uint64_t claim(vise_workers *w, int worker)
{
    if (w->ahead != UINT64_MAX)
        return claim_in_window(w, worker);
    return atomic_fetch_add_explicit(&w->next, 1, memory_order_relaxed);
}

/* Claims indices until none are left, a task failed, or the user interrupted. As indices are claimed in order, all
 * below a failing one have been claimed before, so the lowest failing index is always found. */
static void run_share(vise_workers *w, int worker)
{
    current_workers = w;
    current_worker = worker;
    inside_loop = true;
    while (!must_stop(w)) {
        uint64_t index = claim(w, worker);
        if (index >= w->n)
            break;
        vise_error err = {0};
        vise_status status = w->task(w->context, (size_t)index, worker, &err);
        if (status == VISE_OK)
            continue;
        atomic_store_explicit(&w->stop, true, memory_order_relaxed);
        pthread_mutex_lock(&w->error_lock);
        if (index < w->failed_index) {
            w->failed_index = index;
            w->failed_status = status;
            w->error = err;
        }
        pthread_mutex_unlock(&w->error_lock);
    }
    if (w->ahead != UINT64_MAX)
        leave_window(w, worker);
    inside_loop = false;
    current_workers = NULL;
    current_worker = 0;
}

static void *thread_main(void *argument)
{
    member *self = argument;
    vise_workers *w = self->workers;
    uint64_t seen = 0;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->quit && w->generation == seen)
            pthread_cond_wait(&w->work, &w->lock);
        if (w->quit)
            break;
        seen = w->generation;
        pthread_mutex_unlock(&w->lock);
        run_share(w, self->index);
        pthread_mutex_lock(&w->lock);
        if (--w->running == 0)
            pthread_cond_signal(&w->idle);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static vise_status start_thread(member *m, vise_error *err)
{
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return VISE_FAIL(err, VISE_ERESOURCE, "a worker thread could not be started");
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    /* Signals are for the main thread; a thread inherits the mask of its creator. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&m->thread, &attributes, thread_main, m);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (failed)
        return VISE_FAIL(err, VISE_ERESOURCE, "worker thread %d could not be started; use fewer --threads", m->index);
    char name[16];
    snprintf(name, sizeof name, "worker %d", m->index);
    pthread_setname_np(m->thread, name);
    return VISE_OK;
}

vise_status vise_workers_new(int count, vise_workers **out, vise_error *err)
{
    if (count < 0 || count > COUNT_MAX)
        return VISE_FAIL(err, VISE_EUSAGE, "%d threads asked for; 1 to %d are possible", count, COUNT_MAX);
    if (count == 0)
        count = vise_cpu_usable_cores();
    if (count > COUNT_MAX)
        count = COUNT_MAX;

    void *memory;
    VISE_TRY(vise_calloc(1, sizeof(vise_workers), &memory, err));
    vise_workers *w = memory;
    w->count = count;
    pthread_mutex_init(&w->busy, NULL);
    pthread_mutex_init(&w->lock, NULL);
    pthread_mutex_init(&w->error_lock, NULL);
    pthread_mutex_init(&w->window_lock, NULL);
    pthread_cond_init(&w->moved, NULL);
    pthread_cond_init(&w->work, NULL);
    pthread_cond_init(&w->idle, NULL);

    vise_status status = vise_calloc((size_t)count, sizeof(member), &memory, err);
    if (status != VISE_OK)
        goto fail;
    w->members = memory;
    for (int i = 1; i < count; i++) {
        w->members[i] = (member){.workers = w, .index = i};
        VISE_TRY_TO(fail, start_thread(&w->members[i], err));
        w->started++;
    }
    *out = w;
    return VISE_OK;

fail:
    vise_workers_free(w);
    return status;
}

void vise_workers_free(vise_workers *workers)
{
    if (!workers)
        return;
    pthread_mutex_lock(&workers->lock);
    workers->quit = true;
    pthread_cond_broadcast(&workers->work);
    pthread_mutex_unlock(&workers->lock);
    for (int i = 1; i <= workers->started; i++)
        pthread_join(workers->members[i].thread, NULL);
    pthread_cond_destroy(&workers->idle);
    pthread_cond_destroy(&workers->work);
    pthread_cond_destroy(&workers->moved);
    pthread_mutex_destroy(&workers->window_lock);
    pthread_mutex_destroy(&workers->error_lock);
    pthread_mutex_destroy(&workers->lock);
    pthread_mutex_destroy(&workers->busy);
    vise_free(workers->members);
    vise_free(workers);
}

int vise_workers_count(const vise_workers *workers)
{
    return workers ? workers->count : 1;
}

/* On this thread alone. Inside a task of the same workers it goes on with that task's worker index, whose scratch
 * memory is this thread's. */
static vise_status run_serially(vise_workers *workers, size_t n, vise_task task, void *context, vise_error *err)
{
    int worker = inside_loop && workers == current_workers ? current_worker : 0;
    for (size_t i = 0; i < n; i++) {
        VISE_TRY(vise_check_interrupt(err));
        VISE_TRY(task(context, i, worker, err));
    }
    return VISE_OK;
}

static vise_status run_loop(vise_workers *workers, size_t n, uint64_t ahead, vise_task task, void *context,
                            vise_error *err)
{
    if (n < 2 || !workers || workers->count == 1 || inside_loop)
        return run_serially(workers, n, task, context, err);

    pthread_mutex_lock(&workers->busy);
    pthread_mutex_lock(&workers->lock);
    workers->task = task;
    workers->context = context;
    workers->n = n;
    workers->ahead = ahead;
    workers->dropped = false;
    for (int i = 0; i < workers->count; i++)
        workers->members[i].claimed = UINT64_MAX;
    atomic_store(&workers->next, 0);
    atomic_store(&workers->stop, false);
    workers->failed_index = UINT64_MAX;
    workers->failed_status = VISE_OK;
    workers->error = (vise_error){0};
    workers->running = workers->started;
    workers->generation++;
    pthread_cond_broadcast(&workers->work);
    pthread_mutex_unlock(&workers->lock);

    run_share(workers, 0);

    pthread_mutex_lock(&workers->lock);
    while (workers->running > 0)
        pthread_cond_wait(&workers->idle, &workers->lock);
    pthread_mutex_unlock(&workers->lock);

    vise_status status = workers->failed_status;
    if (status != VISE_OK) {
        if (err && err->status == VISE_OK)
            *err = workers->error;
    } else if (atomic_load(&workers->next) < n || workers->dropped) {
        status = vise_check_interrupt(err); /* tasks were left out for no other reason */
    }
    pthread_mutex_unlock(&workers->busy);
    return status;
}

vise_status vise_parallel(vise_workers *workers, size_t n, vise_task task, void *context, vise_error *err)
{
    return run_loop(workers, n, UINT64_MAX, task, context, err);
}

vise_status vise_parallel_window(vise_workers *workers, size_t n, size_t ahead, vise_task task, void *context,
                                 vise_error *err)
{
    return run_loop(workers, n, ahead, task, context, err);
}
