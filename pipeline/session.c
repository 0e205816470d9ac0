#include "pipeline/session.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "core/cpu.h"

/* ---- warming up -------------------------------------------------------------------------------------
 * BLAS allocates its packing buffers when a thread first multiplies. One product per worker makes them
 * resident, so that they are part of what is measured. */

#define WARM_DIM     512
#define WARM_DIM_REF 32 /* the plain-C product has no buffers */

typedef struct warm_up {
    vise_backend *backend;
    int64_t dim;
    float *operands; /* [2, dim, dim] zeros, shared */
    float *products; /* [workers, dim, dim] */
    int workers;
    atomic_int arrived;
} warm_up;

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static vise_status warm_task(void *context, size_t index, int worker, vise_error *err)
{
    warm_up *warm = context;
    size_t elements = (size_t)(warm->dim * warm->dim);
    double give_up = seconds_now() + 0.05;

    (void)worker;
    /* Every worker is to take one task: the fast ones wait for the others, but not for ever. */
    atomic_fetch_add(&warm->arrived, 1);
    while (atomic_load(&warm->arrived) < warm->workers && seconds_now() < give_up)
        sched_yield();
    return warm->backend->matrix->gemm_nt(warm->backend, warm->dim, warm->dim, warm->dim, warm->operands,
                                          warm->dim, warm->operands + elements, warm->dim, 0.0f,
                                          warm->products + index * elements, warm->dim, err);
}

static vise_status warm(vise_session *session, vise_error *err)
{
    warm_up context = {.backend = session->backend, .workers = vise_workers_count(session->workers)};
    vise_pool *pool = NULL;
    vise_status status;
    size_t elements;
    void *block = NULL;

    context.dim = vise_cpu() == VISE_CPU_REF ? WARM_DIM_REF : WARM_DIM;
    elements = (size_t)(context.dim * context.dim);
    VISE_TRY_TO(cleanup, vise_pool_new(0, &pool, err));
    VISE_TRY_TO(cleanup, vise_pool_take(pool, (size_t)(2 + context.workers) * elements * sizeof(float),
                                        "the first product", &block, err));
    context.operands = block;
    context.products = context.operands + 2 * elements;
    memset(context.operands, 0, 2 * elements * sizeof(float));
    status = vise_parallel(session->workers, (size_t)context.workers, warm_task, &context, err);
cleanup:
    vise_pool_give(pool, block);
    vise_pool_free(pool);
    return status;
}

/* ---- the session ------------------------------------------------------------------------------------ */

/* Resident sets differ by some pages from run to run: the bound that a refusal names must do in the next one. */
#define REFUSAL_SLACK_BYTES ((size_t)1 << 19)

static vise_status bound_pool(vise_session *session, uint64_t pool_bytes, vise_error *err)
{
    char given[VISE_SIZE_TEXT_MAX], fixed[VISE_SIZE_TEXT_MAX], pool[VISE_SIZE_TEXT_MAX];
    size_t limit = 0;

    pool_bytes = pool_bytes < VISE_SESSION_POOL_MIN_BYTES ? VISE_SESSION_POOL_MIN_BYTES : pool_bytes;
    if (session->memory_bytes != 0) {
        if (session->memory_bytes < session->fixed_bytes || session->memory_bytes - session->fixed_bytes < pool_bytes)
            return VISE_FAIL(
                err, VISE_ERESOURCE,
                "--memory %s is too small: %s are resident before any weight is read, and the work takes %s "
                "more; the smallest that would do is %lluMB; fewer --threads take less",
                vise_format_size(session->memory_bytes, given), vise_format_size(session->fixed_bytes, fixed),
                vise_format_size(pool_bytes, pool),
                (unsigned long long)((session->fixed_bytes + pool_bytes + REFUSAL_SLACK_BYTES + 999999) / 1000000));
        limit = session->memory_bytes - session->fixed_bytes;
    }
    return vise_pool_new(limit, &session->pool, err);
}

vise_status vise_session_open(const char *device, int threads, uint64_t memory_bytes, uint64_t pool_bytes,
                              bool needs_compute, vise_session *out, vise_error *err)
{
    vise_status status;
    bool named = device && strcmp(device, "auto") != 0 && strcmp(device, "cpu") != 0;

    memset(out, 0, sizeof *out);
    out->memory_bytes = memory_bytes > SIZE_MAX ? SIZE_MAX : (size_t)memory_bytes;
    VISE_TRY_TO(failed, vise_cpu_check(err));
    VISE_TRY_TO(failed, vise_workers_new(threads, &out->workers, err));
    if (needs_compute || named) {
        VISE_TRY_TO(failed, vise_backend_open(device ? device : "auto", out->workers, &out->backend, err));
        VISE_TRY_TO(failed, warm(out, err));
    }
    out->fixed_bytes = vise_resident_bytes() + VISE_SESSION_MARGIN_BYTES +
                       (size_t)vise_workers_count(out->workers) * VISE_SESSION_MARGIN_THREAD_BYTES;
    VISE_TRY_TO(failed, bound_pool(out, pool_bytes, err));
    return VISE_OK;
failed:
    vise_session_close(out);
    return status;
}

void vise_session_close(vise_session *session)
{
    vise_pool_free(session->pool);
    vise_backend_close(session->backend);
    vise_workers_free(session->workers);
    memset(session, 0, sizeof *session);
}
