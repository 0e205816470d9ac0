/* The network's operations on the CPU: rows over the kernels of the CPU level. They run on the calling
 * thread. */
#include <math.h>

#include "compute/cpu_backend.h"

static const vise_network_kernels *kernels_of(const vise_backend *b)
{
    return vise_cpu_backend_of(b)->network;
}

static vise_status rms_norm(vise_backend *b, int64_t t, int64_t d, const float *x, const float *weight,
                            float eps, float *y, vise_error *err)
{
    (void)err;
    const vise_network_kernels *kernels = kernels_of(b);
    for (int64_t i = 0; i < t; i++) {
        double mean = kernels->sum_squares(d, x + i * d) / (double)d;
        kernels->scale_by(d, x + i * d, (float)(1.0 / sqrt(mean + (double)eps)), weight, y + i * d);
    }
    return VISE_OK;
}

static vise_status rope(vise_backend *b, int64_t t, int64_t heads, int64_t head_dim, int64_t rotary, float *x,
                        int64_t ldx, const float *cosine, const float *sine, vise_error *err)
{
    (void)err;
    const vise_network_kernels *kernels = kernels_of(b);
    int64_t half = rotary / 2;
    for (int64_t i = 0; i < t; i++)
        for (int64_t head = 0; head < heads; head++) {
            float *first = x + i * ldx + head * head_dim;
            kernels->rotate(half, first, first + half, cosine + i * half, sine + i * half);
        }
    return VISE_OK;
}

static vise_status silu_mul(vise_backend *b, int64_t n, float *gate, const float *up, vise_error *err)
{
    (void)err;
    kernels_of(b)->silu_mul(n, gate, up);
    return VISE_OK;
}

static vise_status add(vise_backend *b, int64_t n, float *x, const float *y, vise_error *err)
{
    (void)err;
    kernels_of(b)->add(n, x, y);
    return VISE_OK;
}

static vise_status layer_norm(vise_backend *b, int64_t t, int64_t d, const float *x, const float *weight,
                              const float *bias, float eps, float *y, vise_error *err)
{
    (void)err;
    const vise_network_kernels *kernels = kernels_of(b);
    for (int64_t i = 0; i < t; i++, x += d, y += d) {
        double mean = kernels->sum(d, x) / (double)d;
        double variance = kernels->squares_around(d, x, mean) / (double)d;
        kernels->standardize(d, x, (float)mean, (float)(1.0 / sqrt(variance + (double)eps)), weight, bias, y);
    }
    return VISE_OK;
}

static vise_status apply(vise_backend *b, vise_nonlinearity f, int64_t n, float *x, vise_error *err)
{
    if ((unsigned)f >= VISE_NONLINEARITIES)
        return VISE_FAIL(err, VISE_EINTERNAL, "no such nonlinearity: %d", (int)f);
    vise_cpu_backend_of(b)->values->apply[f](n, x);
    return VISE_OK;
}

static vise_status soft_cap(vise_backend *b, int64_t n, float *x, float cap, vise_error *err)
{
    (void)err;
    vise_cpu_backend_of(b)->values->soft_cap(n, x, cap);
    return VISE_OK;
}

static vise_status multiply(vise_backend *b, int64_t n, float *x, const float *y, vise_error *err)
{
    (void)err;
    kernels_of(b)->multiply(n, x, y);
    return VISE_OK;
}

static vise_status nll(vise_backend *b, int64_t t, int64_t vocab, const float *logits, const int32_t *target,
                       double *result, vise_error *err)
{
    const vise_network_kernels *kernels = kernels_of(b);
    for (int64_t i = 0; i < t; i++) {
        const float *row = logits + i * vocab;
        result[i] = 0.0;
        if (target[i] < 0)
            continue;
        if (target[i] >= vocab)
            return VISE_FAIL(err, VISE_EUSAGE, "token id %d is outside the vocabulary of %lld", target[i],
                             (long long)vocab);
        float max = kernels->max(vocab, row);
        result[i] = log(kernels->sum_exp(vocab, row, max)) + ((double)max - (double)row[target[i]]);
    }
    return VISE_OK;
}

static int64_t first_at_least(int64_t n, const float *x, float value)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] >= value)
            return i;
    return n;
}

static vise_status compare(vise_backend *b, int64_t t, int64_t vocab, const float *reference,
                           const float *logits, double *kl, uint8_t *agree, vise_error *err)
{
    (void)err;
    const vise_network_kernels *kernels = kernels_of(b);
    for (int64_t i = 0; i < t; i++) {
        const float *p = reference + i * vocab;
        const float *q = logits + i * vocab;
        vise_row_pair pair = {.max_a = kernels->max(vocab, p), .max_b = kernels->max(vocab, q)};
        kernels->pair(vocab, p, q, &pair);
        /* sum_i P_i (p_i - q_i) - (logsumexp(p) - logsumexp(q)), P = softmax(p). An error of exp enters
         * P_i times the distance of p_i - q_i from its mean, which is small where the divergence is. */
        double shift = ((double)pair.max_a + log(pair.sum_a)) - ((double)pair.max_b + log(pair.sum_b));
        double divergence = pair.dot / pair.sum_a - shift;
        kl[i] = divergence < 0.0 ? 0.0 : divergence; /* NaN stays NaN */
        int64_t best = first_at_least(vocab, p, pair.max_a);
        agree[i] = best < vocab && q[best] >= pair.max_b && first_at_least(best, q, pair.max_b) == best;
    }
    return VISE_OK;
}

const vise_network_ops vise_cpu_network_ops = {
    .rms_norm = rms_norm,
    .rope = rope,
    .attention = vise_cpu_attention,
    .attention_scratch = vise_cpu_attention_scratch,
    .silu_mul = silu_mul,
    .apply = apply,
    .soft_cap = soft_cap,
    .layer_norm = layer_norm,
    .multiply = multiply,
    .add = add,
    .nll = nll,
    .compare = compare,
};
