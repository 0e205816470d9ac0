/* Grouped-query attention of one window, a block of queries of one head at a time: scores by one
 * product against the keys that the block can see, softmax rows, output by one product with the values.
 * Keys behind the block's last query or before its first query's window are never touched. */
#include <string.h>

#include "compute/cpu_backend.h"

/* 64 x T scores at a time: large enough for the products, small enough to waste little above the diagonal
 * (against 128, a tenth less time at T = 256 and 3 % more at 2048). */
enum { QUERIES = 64 };

size_t vise_cpu_attention_scratch(int64_t t, int64_t head_dim)
{
    (void)head_dim;
    int64_t queries = t < QUERIES ? t : QUERIES;
    return t > 0 ? (size_t)(queries * t) : 0;
}

typedef struct attention_job {
    const vise_attention *a;
    const vise_cpu_backend *cpu;
    int64_t scratch; /* floats of a part */
} attention_job;

static void attend(const attention_job *job, int64_t head, float *scores)
{
    const vise_attention *a = job->a;
    const vise_blas *blas = job->cpu->blas;
    const vise_network_kernels *kernels = job->cpu->network;
    const int64_t t = a->t, head_dim = a->head_dim, window = a->bidirectional ? 0 : a->window;
    int64_t column = head * head_dim;
    int64_t kv_column = head / (a->heads / a->kv_heads) * head_dim;
    for (int64_t q0 = 0; q0 < t; q0 += QUERIES) {
        int64_t rows = vise_tile_size(t, QUERIES, q0 / QUERIES);
        int64_t first = a->past + q0; /* the key of the first query's own token */
        int64_t k0 = window > 0 && first >= window ? first - window + 1 : 0;
        int64_t keys = a->bidirectional ? t : first + rows - k0;
        blas->gemm(false, true, rows, keys, head_dim, a->scale, a->q + q0 * a->ldq + column, a->ldq,
                   a->k + k0 * a->ldk + kv_column, a->ldk, 0.0f, scores, keys);
        float *o = a->out + q0 * a->ldo + column;
        float total[QUERIES];
        for (int64_t i = 0; i < rows; i++) {
            float *row = scores + i * keys;
            int64_t end = a->bidirectional ? t : first + i + 1 - k0; /* sees keys [begin, end) of the block's */
            int64_t begin = window > 0 && end > window ? end - window : 0;
            memset(row, 0, (size_t)begin * sizeof *row);
            if (a->cap > 0.0f)
                job->cpu->values->soft_cap(end - begin, row + begin, a->cap);
            if (a->bias)
                kernels->add(end - begin, row + begin, a->bias + head * a->ld_bias + k0 + begin);
            total[i] = kernels->exp_shift(end - begin, row + begin, kernels->max(end - begin, row + begin));
            memset(row + end, 0, (size_t)(keys - end) * sizeof *row);
        }
        blas->gemm(false, false, rows, head_dim, keys, 1.0f, scores, keys, a->v + k0 * a->ldv + kv_column, a->ldv,
                   0.0f, o, a->ldo);
        for (int64_t i = 0; i < rows; i++)
            kernels->scale(head_dim, o + i * a->ldo, 1.0f / total[i]);
    }
}

static vise_status attend_part(void *context, size_t part, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const attention_job *job = context;
    const int64_t step = job->a->parts > 1 ? job->a->parts : 1;
    for (int64_t head = (int64_t)part; head < job->a->heads; head += step)
        attend(job, head, job->a->scratch + (int64_t)part * job->scratch);
    return VISE_OK;
}

vise_status vise_cpu_attention(vise_backend *b, const vise_attention *a, vise_error *err)
{
    attention_job job = {a, vise_cpu_backend_of(b),
                         (int64_t)vise_cpu_attention_scratch(a->past + a->t, a->head_dim)};
    if (a->heads <= 0 || a->kv_heads <= 0 || a->heads % a->kv_heads != 0)
        return VISE_FAIL(err, VISE_EINTERNAL, "attention: %lld heads do not share %lld key-value heads",
                         (long long)a->heads, (long long)a->kv_heads);
    if (a->parts <= 1)
        return attend_part(&job, 0, 0, err);
    return vise_parallel(b->workers, (size_t)a->parts, attend_part, &job, err);
}
