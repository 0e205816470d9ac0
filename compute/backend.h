/* Backends: who crunches the numbers. A backend is a few small tables of coarse functions, one table per
 * family; the CPU backend is complete and is the oracle. A plugin (CUDA) may leave functions NULL: the
 * caller then uses the CPU's and the report says so.
 *
 * All pointers are host memory, matrices row-major with a leading dimension in elements, float32.
 * Functions that take workers cut their work into tiles by shape alone: the same bits for any number of
 * threads. Called inside a vise_parallel task they run on that thread, with the same bits again.
 *
 * Non-finite results are detected by the callers (vise_count_nonfinite), not here. */
#ifndef VISE_COMPUTE_BACKEND_H
#define VISE_COMPUTE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"
#include "core/workers.h"
#include "compute/solve.h"

#define VISE_BACKEND_ABI 1

typedef struct vise_backend vise_backend;

/* Matrix products. */
typedef struct vise_matrix_ops {
    /* c [m, n] = a [m, k] x b [n, k]^T + beta c: a linear layer, b its weight [out, in]. beta is 0 or 1. */
    vise_status (*gemm_nt)(vise_backend *b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                           const float *w, int64_t ldw, float beta, float *c, int64_t ldc, vise_error *err);
    /* c [m, n] = a [m, k] x b [k, n] + beta c. */
    vise_status (*gemm_nn)(vise_backend *b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                           const float *w, int64_t ldw, float beta, float *c, int64_t ldc, vise_error *err);
    /* Upper triangle of g [d, d] += x [t, d]^T x: the Gram matrix of inputs x. Tokens are summed in
     * order, in fixed runs, so that feeding x in pieces whose lengths are multiples of VISE_GRAM_RUN
     * gives the same bits. */
    vise_status (*gram)(vise_backend *b, int64_t t, int64_t d, const float *x, int64_t ldx, float *g,
                        vise_error *err);
    /* g [m, n] += x [t, m]^T y [t, n], tokens likewise. */
    vise_status (*cross)(vise_backend *b, int64_t t, int64_t m, int64_t n, const float *x, int64_t ldx, const float *y,
                         int64_t ldy, float *g, int64_t ldg, vise_error *err);
} vise_matrix_ops;
#define VISE_GRAM_RUN 256

/* Factorizations and solves, tiled by us (LAPACK's own differ between thread counts). */
typedef struct vise_factor_ops {
    /* h [d, d] symmetric positive definite, upper triangle given, is replaced by the upper triangular u
     * with h^-1 = u^T u: the factor that GPTQ and SparseGPT use (reference: flip h in both axes,
     * Cholesky, flip back: h = r r^T with r upper, u = r^-1; half the operations of potrf + potri +
     * potrf). The strict lower triangle is zeroed. *failed is set, with VISE_OK, when h is not positive
     * definite to working precision (h is then undefined). */
    vise_status (*inverse_factor)(vise_backend *b, int64_t d, float *h, bool *failed, vise_error *err);
    /* The column-by-column solver of compute/solve.h. */
    vise_status (*solve_columns)(vise_backend *b, const struct vise_solve *problem, double *loss,
                                 vise_error *err);
} vise_factor_ops;

/* Functions of one value. */
typedef enum vise_nonlinearity {
    VISE_SILU,       /* x / (1 + e^-x) */
    VISE_GELU,       /* x (1 + erf(x / sqrt 2)) / 2 */
    VISE_GELU_TANH,  /* its approximation by tanh: "gelu_new", "gelu_pytorch_tanh" (arXiv:1606.08415) */
    VISE_GELU_QUICK, /* x / (1 + e^(-1.702 x)) */
    VISE_RELU,
    VISE_TANH
} vise_nonlinearity;
enum { VISE_NONLINEARITIES = VISE_TANH + 1 };

/* Grouped-query attention of one window of t tokens. q and out are [t, heads * head_dim], k and v [t, kv_heads *
 * head_dim], with strides. A score is scale q k^T, capped to cap tanh(score / cap) where cap > 0, plus bias[head, key]
 * where there is a bias [heads, ld_bias] (ALiBi's, which depends on the key alone but for what softmax takes out). A
 * token sees itself and what is before it, with window > 0 the last `window` positions, or, bidirectional, all.
 *
 * With past > 0 the t tokens continue a text: k, v and bias begin with those of the `past` tokens before them. Heads
 * are shared out among `parts` tasks (0: all on the calling thread), each with scratch of its own; how many there are
 * changes no bit.
 *
 * scratch: attention_scratch(past + t, head_dim) floats for each part. */
typedef struct vise_attention {
    int64_t t, heads, kv_heads, head_dim;
    int64_t past, parts;
    const float *q, *k, *v;
    int64_t ldq, ldk, ldv;
    float scale, cap;
    int64_t window;
    bool bidirectional;
    const float *bias;
    int64_t ld_bias;
    float *scratch, *out;
    int64_t ldo;
} vise_attention;

/* Network kernels. t tokens of one window; rows are tokens. These run on the calling thread (parallelism
 * is over windows). */
typedef struct vise_network_ops {
    /* y [t, d] = x / sqrt(mean(x^2) + eps) * weight: RMSNorm; sums in double or an equally exact way. */
    vise_status (*rms_norm)(vise_backend *b, int64_t t, int64_t d, const float *x, const float *weight,
                            float eps, float *y, vise_error *err);
    /* Rotary embedding in place on x [t, heads, head_dim] (row stride ldx), half-split pairs (i, i +
     * rotary/2), first `rotary` dimensions: cos/sin [t, rotary/2]. */
    vise_status (*rope)(vise_backend *b, int64_t t, int64_t heads, int64_t head_dim, int64_t rotary, float *x,
                        int64_t ldx, const float *cosine, const float *sine, vise_error *err);
    vise_status (*attention)(vise_backend *b, const vise_attention *a, vise_error *err);
    size_t (*attention_scratch)(int64_t t, int64_t head_dim);
    /* gate [n] = silu(gate) * up: SwiGLU's product. */
    vise_status (*silu_mul)(vise_backend *b, int64_t n, float *gate, const float *up, vise_error *err);
    /* x [n] = f(x). */
    vise_status (*apply)(vise_backend *b, vise_nonlinearity f, int64_t n, float *x, vise_error *err);
    /* y [t, d] = (x - mean) / sqrt(variance + eps) * weight + bias: LayerNorm, the variance over d (not d - 1). Sums in
     * double; y may be x. */
    vise_status (*layer_norm)(vise_backend *b, int64_t t, int64_t d, const float *x, const float *weight,
                              const float *bias, float eps, float *y, vise_error *err);
    /* x [n] = cap tanh(x / cap): the cap of logits. */
    vise_status (*soft_cap)(vise_backend *b, int64_t n, float *x, float cap, vise_error *err);
    vise_status (*multiply)(vise_backend *b, int64_t n, float *x, const float *y, vise_error *err); /* x *= y */
    vise_status (*add)(vise_backend *b, int64_t n, float *x, const float *y, vise_error *err); /* x += y */
    /* Per row of logits [t, vocab]: nll[i] = logsumexp(row) - row[target[i]] (target < 0: 0, skipped). */
    vise_status (*nll)(vise_backend *b, int64_t t, int64_t vocab, const float *logits, const int32_t *target,
                       double *nll, vise_error *err);
    /* Per row: kl[i] = KL(softmax(reference) || softmax(logits)) >= 0 in nats; agree[i] = equal argmax
     * (lowest index wins ties). */
    vise_status (*compare)(vise_backend *b, int64_t t, int64_t vocab, const float *reference,
                           const float *logits, double *kl, uint8_t *agree, vise_error *err);
} vise_network_ops;

struct vise_backend {
    uint32_t abi;     /* VISE_BACKEND_ABI */
    const char *name; /* "cpu", "cuda:0" */
    char detail[128]; /* "OpenBLAS SkylakeX, avx512" */
    const vise_matrix_ops *matrix;
    const vise_factor_ops *factor;
    const vise_network_ops *network;
    vise_workers *workers; /* borrowed */
    void *state;
};

/* device: "auto", "cpu", "cuda", "cuda:N". auto takes a GPU when the plugin and a device are there and
 * otherwise the CPU, with one vise_info line when the machine has a GPU that cannot be used; cuda fails with
 * VISE_EUNSUPPORTED when it cannot. Opening the CPU backend loads OpenBLAS (never at program start), with the
 * kernels that fit the processor, for the rest of the process: some 3 MB, and up to 3 MB for every worker that
 * multiplies. The CPU level is that of vise_cpu() at this moment. */
VISE_MUST_USE vise_status vise_backend_open(const char *device, vise_workers *workers, vise_backend **out,
                                            vise_error *err);
void vise_backend_close(vise_backend *backend);

/* attention_scratch of the CPU backend, for plans that are made before a backend is open. */
size_t vise_cpu_attention_scratch(int64_t t, int64_t head_dim);

/* The BLAS in use: "OpenBLAS 0.3.21 SkylakeX", or "reference" at VISE_CPU=ref; "none" before it is loaded. */
const char *vise_blas_text(void);

/* Highest single-precision FMA rate of one core now, in operations per second (2 per FMA): the floor's
 * yardstick in benchmarks. */
double vise_measure_fma_peak(void);

#endif
