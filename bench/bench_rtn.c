/* Round to nearest on one thread: stored floats to packed codes and scales, beside torch, numpy and a plain
 * copy.
 *
 *     bench_rtn [ROWS COLS]        (default 4096 11008)
 *
 * `fused` is vise_encode_packed; `chain` is what it replaces (convert, encode, pack; a block of rows at a
 * time). The floor is the time in which memcpy moves as many bytes as are read and written. Rates are of this
 * thread's processor clock, the best of several rounds. The peer runs when build/venv/bin/python (or
 * $PEER_PYTHON) has torch; `x peer` is over the best of its lines, all of which do int4-g128-asym. */
#include <math.h>
#include <stdint.h>

#include "bench/single_thread.h"
#include "core/cpu.h"
#include "core/rng.h"
#include "tensor/codec.h"
#include "tensor/pack.h"

enum { ROUNDS = 5, CHAIN_ROWS = 16 };

typedef struct job {
    vise_dtype dtype;
    const void *source;
    vise_packed out;
    float min, max;
    float *values;  /* [CHAIN_ROWS, cols], for the chain */
    uint8_t *codes; /* [CHAIN_ROWS, cols] */
} job;

static void fused(job *j)
{
    vise_encode_packed(j->dtype, j->source, j->min, j->max, &j->out);
}

static void chain(job *j)
{
    const vise_packed *out = &j->out;
    int bits = out->scheme.type->bits;
    size_t cols = (size_t)out->cols, row_bytes = cols * (size_t)vise_dtype_of(j->dtype)->bits / 8;
    size_t row_words = vise_pack_words(cols, bits);
    for (int64_t r = 0; r < out->rows; r += CHAIN_ROWS) {
        int64_t rows = out->rows - r < CHAIN_ROWS ? out->rows - r : CHAIN_ROWS;
        vise_qweight q = {.scheme = out->scheme,
                          .scale_dtype = out->scale_dtype,
                          .rows = rows,
                          .cols = out->cols,
                          .groups = out->groups,
                          .codes = j->codes,
                          .scales = out->scales + r * out->groups,
                          .zeros = out->zeros ? out->zeros + r * out->groups : NULL};
        vise_to_f32(j->dtype, (const char *)j->source + (size_t)r * row_bytes, j->values,
                    (size_t)rows * cols);
        vise_encode(j->values, VISE_CLIP_NONE, j->min, j->max, &q);
        for (int64_t i = 0; i < rows; i++)
            vise_pack(j->codes + (size_t)i * cols, cols, bits, out->words + (size_t)(r + i) * row_words);
    }
}

static void unpack(job *j)
{
    size_t cols = (size_t)j->out.cols, row_words = vise_pack_words(cols, j->out.scheme.type->bits);
    for (int64_t r = 0; r < j->out.rows; r++)
        vise_unpack(j->out.words + (size_t)r * row_words, cols, j->out.scheme.type->bits,
                    j->codes + (size_t)(r % CHAIN_ROWS) * cols);
}

/* Packed words to float32, a block of rows at a time. */
static void unpack_decode(job *j)
{
    vise_packed *out = &j->out;
    int bits = out->scheme.type->bits;
    size_t cols = (size_t)out->cols, row_words = vise_pack_words(cols, bits);
    for (int64_t r = 0; r < out->rows; r++) {
        vise_qweight q = {.scheme = out->scheme,
                          .rows = 1,
                          .cols = out->cols,
                          .groups = out->groups,
                          .codes = j->codes,
                          .scales = out->scales + r * out->groups,
                          .zeros = out->zeros ? out->zeros + r * out->groups : NULL};
        vise_unpack(out->words + (size_t)r * row_words, cols, bits, j->codes);
        vise_decode(&q, j->values + (size_t)(r % CHAIN_ROWS) * cols);
    }
}

/* Prints the peer's lines; returns its best rate, 0 without a peer. */
static double run_peer(int64_t rows, int64_t cols)
{
    char arguments[64], line[256];
    double best = 0.0;
    snprintf(arguments, sizeof arguments, "%lld %lld", (long long)rows, (long long)cols);
    FILE *peer = peer_open("bench/peers/rtn_pack.py", arguments);
    if (!peer)
        return 0.0;
    while (fgets(line, sizeof line, peer)) {
        char name[64], version[64];
        double rate;
        if (sscanf(line, "%63s %63s %lf", name, version, &rate) != 3)
            continue;
        printf("  peer %-12s %-14s %8.0f Mweights/s\n", name, version, rate);
        best = rate > best ? rate : best;
    }
    pclose(peer);
    return best;
}

int main(int argc, char **argv)
{
    static const char *const schemes[] = {"int4-g128",    "int4-g128-asym", "int4-g32",
                                          "int4-channel", "int8-channel",   "int3-g128"};
    static const vise_dtype dtypes[] = {VISE_DTYPE_BF16, VISE_DTYPE_F16, VISE_DTYPE_F32};
    int64_t rows = argc == 3 ? strtoll(argv[1], NULL, 10) : 4096,
            cols = argc == 3 ? strtoll(argv[2], NULL, 10) : 11008;
    if (rows < 1 || cols < 128 || cols % 128 != 0) {
        fprintf(stderr, "usage: bench_rtn [ROWS COLS], COLS a multiple of 128\n");
        return 2;
    }
    size_t n = (size_t)(rows * cols), groups_max = n / 32;
    float *values = touched(n * sizeof *values);
    void *source = touched(n * sizeof(float));
    job j = {.values = touched((size_t)(CHAIN_ROWS * cols) * sizeof(float)),
             .codes = touched((size_t)(CHAIN_ROWS * cols)),
             .min = -0.1f,
             .max = 0.1f};
    uint32_t *words = touched(n);
    float *scales = touched(groups_max * sizeof *scales);
    uint8_t *zeros = touched(groups_max);

    vise_rng rng;
    vise_rng_init(&rng, 1, "bench_rtn");
    for (size_t i = 0; i < n; i++) /* a million normal values, repeated */
        values[i] = i < 1 << 20 ? 0.02f * (float)vise_rng_normal(&rng) : values[i & ((1 << 20) - 1)];

    double rate = copy_rate(n * 2, ROUNDS);
    printf("bench_rtn: %lld x %lld, 1 thread, %s, copy %.1f GB/s (read + written)\n", (long long)rows,
           (long long)cols, vise_cpu_model(), rate / 1e9);
    double peer = run_peer(rows, cols);
    printf("  %-6s %-4s %-15s %18s %18s %12s %8s %8s %14s %14s\n", "cpu", "from", "scheme",
           "fused Mweights/s", "chain Mweights/s", "floor", "of floor", "x peer", "unpack Mw/s",
           "+decode Mw/s");
    for (int level = (int)vise_cpu_highest(); level >= VISE_CPU_REF; level--) {
        vise_cpu_force((vise_cpu_level)level);
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
            vise_from_f32(dtypes[d], values, source, n);
            for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++) {
                vise_scheme scheme;
                if ((level == VISE_CPU_REF && s > 0) ||
                    vise_scheme_parse(schemes[s], &scheme, NULL) != VISE_OK)
                    continue;
                j.dtype = dtypes[d];
                j.source = source;
                j.out = (vise_packed){.scheme = scheme,
                                      .scale_dtype = VISE_DTYPE_BF16,
                                      .rows = rows,
                                      .cols = cols,
                                      .groups = vise_scheme_groups(&scheme, cols),
                                      .words = words,
                                      .scales = scales,
                                      .zeros = scheme.asym ? zeros : NULL};
                double bytes = (double)n * vise_dtype_of(dtypes[d])->bits / 8 +
                               (double)n * scheme.type->bits / 8 + (double)(rows * j.out.groups) * 4;
                double floor_rate = (double)n / (bytes / rate) / 1e6, ours = mega_rate(fused, &j, n, ROUNDS);
                double chained = mega_rate(chain, &j, n, ROUNDS);
                printf("  %-6s %-4s %-15s %18.0f %18.0f %12.0f %7.0f%%",
                       vise_cpu_level_name((vise_cpu_level)level), vise_dtype_of(dtypes[d])->cli_name,
                       schemes[s], ours, chained, floor_rate, 100.0 * ours / floor_rate);
                if (peer > 0.0)
                    printf(" %8.1f", ours / peer);
                else
                    printf(" %8s", "-");
                printf(" %14.0f %14.0f\n", mega_rate(unpack, &j, n, ROUNDS), mega_rate(unpack_decode, &j, n, ROUNDS));
            }
        }
    }
    vise_free(values);
    vise_free(source);
    vise_free(j.values);
    vise_free(j.codes);
    vise_free(words);
    vise_free(scales);
    vise_free(zeros);
    return 0;
}
