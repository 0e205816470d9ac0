/* Causal grouped-query attention of one window, a block of queries of one head at a time: scores by one
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

vise_status vise_cpu_attention(vise_backend *b, int64_t t, int64_t heads, int64_t kv_heads, int64_t head_dim,
                               const float *q, int64_t ldq, const float *k, int64_t ldk, const float *v,
                               int64_t ldv, float scale, int64_t window, float *scratch, float *out,
                               int64_t ldo, vise_error *err)
{
    const vise_cpu_backend *cpu = vise_cpu_backend_of(b);
    const vise_network_kernels *kernels = cpu->network;
    if (heads <= 0 || kv_heads <= 0 || heads % kv_heads != 0)
        return VISE_FAIL(err, VISE_EINTERNAL, "attention: %lld heads do not share %lld key-value heads",
                         (long long)heads, (long long)kv_heads);
    for (int64_t head = 0; head < heads; head++) {
        int64_t column = head * head_dim;
        int64_t kv_column = head / (heads / kv_heads) * head_dim;
        for (int64_t q0 = 0; q0 < t; q0 += QUERIES) {
            int64_t rows = vise_tile_size(t, QUERIES, q0 / QUERIES);
            int64_t k0 = window > 0 && q0 >= window ? q0 - window + 1 : 0;
            int64_t keys = q0 + rows - k0;
            cpu->blas->gemm(false, true, rows, keys, head_dim, scale, q + q0 * ldq + column, ldq,
                            k + k0 * ldk + kv_column, ldk, 0.0f, scratch, keys);
            float *o = out + q0 * ldo + column;
            float total[QUERIES];
            for (int64_t i = 0; i < rows; i++) {
                float *row = scratch + i * keys;
                int64_t end = q0 + i + 1 - k0; /* sees keys [begin, end) of the block's */
                int64_t begin = window > 0 && end > window ? end - window : 0;
                memset(row, 0, (size_t)begin * sizeof *row);
                total[i] =
                    kernels->exp_shift(end - begin, row + begin, kernels->max(end - begin, row + begin));
                memset(row + end, 0, (size_t)(keys - end) * sizeof *row);
            }
            cpu->blas->gemm(false, false, rows, head_dim, keys, 1.0f, scratch, keys, v + k0 * ldv + kv_column,
                            ldv, 0.0f, o, ldo);
            for (int64_t i = 0; i < rows; i++)
                kernels->scale(head_dim, o + i * ldo, 1.0f / total[i]);
        }
    }
    return VISE_OK;
}
