/* What a command computes with: worker threads, the payload pool under the user's memory bound, and the backend.
 *
 * --memory bounds the resident set of the process. What is resident before any payload (code, metadata, stacks,
 * BLAS buffers) is measured once, here; the pool gets the rest. Open a session after the model's metadata, so that
 * it is counted.
 */
#ifndef VISE_PIPELINE_SESSION_H
#define VISE_PIPELINE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"
#include "core/err.h"
#include "core/mem.h"
#include "core/workers.h"

/* Left to growth that is no payload: JSON documents, the report, allocator slack, stacks. */
#define VISE_SESSION_MARGIN_BYTES ((size_t)6 << 20)
#define VISE_SESSION_MARGIN_THREAD_BYTES ((size_t)1 << 20)
/* A pool below this holds not even a few tiles. */
#define VISE_SESSION_POOL_MIN_BYTES ((size_t)8 << 20)

typedef struct vise_session {
    vise_workers *workers;
    vise_pool *pool;        /* limited to memory_bytes - fixed_bytes; unlimited when memory_bytes is 0 */
    vise_backend *backend;  /* NULL when nothing is to be computed */
    size_t fixed_bytes;     /* resident set before payloads, margin included */
    size_t memory_bytes;    /* the bound; 0: none */
} vise_session;

/* device as vise_backend_open takes it (NULL: "auto"); threads 0: one per usable core. Without needs_compute the
 * backend stays closed and BLAS is never loaded, unless a device other than auto or cpu is named, which must then be
 * there. A bound that leaves the pool less than pool_bytes (what the work takes at least) or
 * VISE_SESSION_POOL_MIN_BYTES is VISE_ERESOURCE and says the smallest that would do. On failure *out is empty. */
VISE_MUST_USE vise_status vise_session_open(const char *device, int threads, uint64_t memory_bytes,
                                            uint64_t pool_bytes, bool needs_compute, vise_session *out,
                                            vise_error *err);
void vise_session_close(vise_session *session);

#endif
