/* Single-threaded BLAS, private to this room: OpenBLAS found at run time, or plain C at VISE_CPU=ref
 * (the oracle).
 *
 * Why loaded by hand: OpenBLAS chooses its kernels once, in its constructor, and where it does not know
 * the processor it takes SSE3 ones, five times slower. OPENBLAS_CORETYPE prevents that, but only when it
 * is set before the library is loaded. Parallelism is ours (core/workers.h), so that results do not
 * depend on the number of threads; the functions may be called from several threads at once.
 *
 * All matrices are row-major. The functions are those of cblas restricted to what this room needs. */
#ifndef VISE_COMPUTE_BLAS_H
#define VISE_COMPUTE_BLAS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/cpu.h"
#include "core/err.h"

typedef struct vise_blas {
    /* c [m, n] = alpha op(a) [m, k] x op(b) [k, n] + beta c; trans: op is the transpose. */
    void (*gemm)(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                 int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
    /* Upper triangle of c [n, n] += alpha op(a) op(a)^T; trans: a is [k, n], op its transpose; else a is
     * [n, k]. */
    void (*syrk)(bool trans, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, float *c,
                 int64_t ldc);
    /* b [m, n] = alpha b op(t), t [n, n] upper triangular; what is below its diagonal is not read. */
    void (*trmm_right)(bool trans, int64_t m, int64_t n, float alpha, const float *t, int64_t ldt, float *b,
                       int64_t ldb);
    /* b [m, n] = t b, t [m, m] likewise. */
    void (*trmm_left)(int64_t m, int64_t n, const float *t, int64_t ldt, float *b, int64_t ldb);
    const char *text; /* "OpenBLAS 0.3.21 SkylakeX", "reference" */
} vise_blas;

/* Plain C for VISE_CPU_REF, else OpenBLAS, loaded by the first call (thread-safe) with the kernels that
 * fit `level`; later calls get what was loaded. While it loads, OPENBLAS_NUM_THREADS and
 * OPENBLAS_CORETYPE are set in the environment; a core type that the user set is kept. VISE_EUNSUPPORTED
 * when there is no usable library, naming the package to install. */
VISE_MUST_USE vise_status vise_blas_get(vise_cpu_level level, const vise_blas **out, vise_error *err);

extern const vise_blas vise_blas_reference;

#endif
