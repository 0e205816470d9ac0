/* nf4 in blocks of 64 on one thread: float32 or bf16 weights to packed codes and scales, and back to float32, beside
 * bitsandbytes and beside a plain copy.
 *
 *     bench_nf4 [ROWS COLS]        (default 4096 11008)
 *
 * Rows go as tiles of the streaming passes do: converted to float32, encoded, packed. With double quantization
 * the mean of all scales comes first, from a walk over the weight. The floor is the time in which memcpy moves
 * as many bytes as are read and written. Rates are of this thread's processor clock, the best of several rounds;
 * so is the peer's, which runs when build/venv/bin/python (or $PEER_PYTHON) has bitsandbytes. */
#include <stdint.h>

#include "bench/single_thread.h"
#include "core/cpu.h"
#include "core/rng.h"
#include "tensor/codebook.h"
#include "tensor/codec.h"
#include "tensor/pack.h"

enum { ROUNDS = 5, TILE_ROWS = 64, BLOCK = 64 };

typedef struct job {
    vise_dtype dtype;
    const char *source;
    int64_t rows, cols;
    vise_scheme scheme;
    float *values;   /* [TILE_ROWS, cols] */
    vise_qweight q;  /* of a tile */
    uint8_t *packed; /* all */
} job;

static void convert(const job *j, int64_t row, int64_t rows)
{
    const size_t element = (size_t)vise_dtype_of(j->dtype)->bits / 8;
    vise_to_f32(j->dtype, j->source + (size_t)(row * j->cols) * element, j->values, (size_t)(rows * j->cols));
}

static void encode(job *j)
{
    double sum = 0.0;
    for (int64_t row = 0; j->scheme.dq && row < j->rows; row += TILE_ROWS) {
        convert(j, row, TILE_ROWS);
        sum += vise_flat_scale_sum(j->scheme.type->codebook, j->values, (size_t)(TILE_ROWS * j->cols), BLOCK);
    }
    j->q.offset = (float)(sum / (double)(j->rows * j->cols / BLOCK));
    for (int64_t row = 0; row < j->rows; row += TILE_ROWS) {
        convert(j, row, TILE_ROWS);
        j->q.flat = row * j->cols;
        vise_encode(j->values, VISE_CLIP_NONE, 0.0f, 0.0f, &j->q);
        vise_pack_high_first(j->q.codes, (size_t)(TILE_ROWS * j->cols), j->packed + row * j->cols / 2);
    }
}

static void decode(job *j)
{
    for (int64_t row = 0; row < j->rows; row += TILE_ROWS) {
        j->q.flat = row * j->cols;
        vise_unpack_high_first(j->packed + row * j->cols / 2, (size_t)(TILE_ROWS * j->cols), j->q.codes);
        vise_decode(&j->q, j->values);
    }
}

/* Prints the peer's lines; fills its rates, 0 where there is none. */
static void run_peer(int64_t rows, int64_t cols, double rates[4])
{
    char arguments[64], line[256];
    int n = 0;
    snprintf(arguments, sizeof arguments, "%lld %lld 2>/dev/null", (long long)rows, (long long)cols);
    FILE *peer = peer_open("bench/peers/nf4_bitsandbytes.py", arguments);
    while (peer != NULL && n < 4 && fgets(line, sizeof line, peer)) {
        char name[64], version[64];
        if (sscanf(line, "%63s %63s %lf", name, version, &rates[n]) != 3)
            continue;
        printf("  peer %-12s %-20s %8.1f Mweights/s\n", name, version, rates[n++]);
    }
    if (peer != NULL)
        pclose(peer);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *scheme;
        vise_dtype dtype;
    } cases[4] = {{"nf4", VISE_DTYPE_F32},
                  {"nf4-dq", VISE_DTYPE_F32},
                  {"nf4", VISE_DTYPE_BF16},
                  {"nf4-dq", VISE_DTYPE_BF16}};
    const int64_t rows = argc == 3 ? strtoll(argv[1], NULL, 10) : 4096,
                  cols = argc == 3 ? strtoll(argv[2], NULL, 10) : 11008;
    if (rows < TILE_ROWS || rows % TILE_ROWS != 0 || cols < 256 || cols % 256 != 0) {
        fprintf(stderr, "usage: bench_nf4 [ROWS COLS], ROWS a multiple of %d, COLS of 256\n", TILE_ROWS);
        return 2;
    }
    const size_t n = (size_t)(rows * cols);
    float *values = touched(n * sizeof *values);
    void *source = touched(n * sizeof(float));
    job j = {.rows = rows,
             .cols = cols,
             .source = source,
             .values = touched((size_t)(TILE_ROWS * cols) * sizeof(float)),
             .packed = touched(n / 2)};
    vise_rng rng;
    vise_rng_init(&rng, 1, "bench_nf4");
    for (size_t i = 0; i < n; i++) /* a million normal values, repeated */
        values[i] = i < 1 << 20 ? 0.02f * (float)vise_rng_normal(&rng) : values[i & ((1 << 20) - 1)];
    const double rate = copy_rate(n * 2, ROUNDS);
    double peer[4] = {0};
    printf("bench_nf4: %lld x %lld, 1 thread, %s, copy %.1f GB/s (read + written)\n", (long long)rows,
           (long long)cols, vise_cpu_model(), rate / 1e9);
    run_peer(rows, cols, peer);
    printf("  %-6s %-4s %-8s %18s %12s %8s %8s %18s\n", "cpu", "from", "scheme", "ours Mweights/s", "floor",
           "of floor", "x peer", "decode Mweights/s");
    for (int level = (int)vise_cpu_highest(); level >= VISE_CPU_REF; level--) {
        vise_cpu_force((vise_cpu_level)level);
        for (size_t c = 0; c < 4; c++) {
            if (vise_scheme_parse(cases[c].scheme, &j.scheme, NULL) != VISE_OK)
                return 2;
            void *block = touched(vise_qweight_bytes(&j.scheme, TILE_ROWS, cols));
            vise_qweight_carve(&j.q, &j.scheme, VISE_DTYPE_F32, TILE_ROWS, cols, block);
            j.dtype = cases[c].dtype;
            vise_from_f32(j.dtype, values, source, n);
            const double bits = (double)vise_dtype_of(j.dtype)->bits + 4 + (j.scheme.dq ? 8.125 : 32) / BLOCK;
            const double floor_rate = rate / (bits / 8) / 1e6, ours = mega_rate(encode, &j, n, ROUNDS);
            printf("  %-6s %-4s %-8s %18.0f %12.0f %7.0f%%", vise_cpu_level_name((vise_cpu_level)level),
                   vise_dtype_of(j.dtype)->cli_name, cases[c].scheme, ours, floor_rate,
                   100.0 * ours / floor_rate);
            if (peer[c] > 0.0)
                printf(" %8.1f", ours / peer[c]);
            else
                printf(" %8s", "-");
            printf(" %18.0f\n", mega_rate(decode, &j, n, ROUNDS));
            vise_free(block);
        }
    }
    vise_free(values);
    vise_free(source);
    vise_free(j.values);
    vise_free(j.packed);
    return 0;
}
