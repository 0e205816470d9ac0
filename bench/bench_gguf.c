/* GGUF blocks on one thread: float32 rows to blocks, by the kernels of this CPU and by the reference.
 *
 *     bench_gguf [ROWS COLS]        (default 512 4096)
 *
 * Nanoseconds of this thread's processor clock per weight, the best of several rounds; the floor is the time in which
 * memcpy moves as many bytes as are read and written. llama-quantize took, on a Xeon with AVX-512, for one thread and
 * everything from file to file: q8_0 7.9, q4_0 7.5, q4_k (as q4_k_m) 69, q6_k 38.5. */
#include <stdint.h>

#include "bench/single_thread.h"
#include "core/cpu.h"
#include "core/rng.h"
#include "tensor/gguf.h"

enum { ROUNDS = 3 };

static double time_encode(const vise_gguf_type *type, const float *values, const float *importance,
                          int64_t rows, int64_t cols, void *blocks)
{
    double best = 0.0;
    for (int i = 0; i < ROUNDS; i++) {
        double start = seconds();
        vise_gguf_encode(type, values, importance, rows, cols, blocks);
        keep_best(&best, start);
    }
    return best;
}

static double time_decode(const vise_gguf_type *type, const void *blocks, int64_t rows, int64_t cols,
                          float *values)
{
    double best = 0.0;
    for (int i = 0; i < ROUNDS; i++) {
        double start = seconds();
        vise_gguf_decode(type, blocks, rows, cols, values);
        double took = seconds() - start;
        best = i == 0 || took < best ? took : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"q8_0", "q4_0", "q4_1", "q5_0",   "q5_1",   "q2_k",  "q3_k",
                                        "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4", "tq2_0"};
    const int64_t rows = argc > 2 ? strtoll(argv[1], NULL, 10) : 512,
                  cols = argc > 2 ? strtoll(argv[2], NULL, 10) : 4096;
    const size_t n = (size_t)(rows * cols);
    float *values = touched(n * sizeof *values), *importance = touched((size_t)cols * sizeof *importance);
    float *decoded = touched(n * sizeof *decoded);
    void *blocks = touched(2 * n);
    vise_rng rng;
    vise_rng_init(&rng, 1, "bench");
    for (size_t i = 0; i < n; i++)
        values[i] = 0.02f * (float)vise_rng_normal(&rng);
    for (int64_t i = 0; i < cols; i++)
        importance[i] = 0.1f + (float)vise_rng_uniform(&rng);
    const vise_cpu_level level = vise_cpu();
    const double copy = copy_rate((size_t)64 << 20, ROUNDS);
    printf("%lld x %lld float32 to blocks, one thread, %s; ns per weight\n", (long long)rows, (long long)cols,
           vise_cpu_level_name(level));
    printf("%-8s %8s %8s %9s %12s %8s %9s\n", "type", "here", "floor", "reference", "with imatrix",
           "decoding", "reference");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const vise_gguf_type *type = vise_gguf_type_named(names[i]);
        const double bytes = 4.0 + (double)type->bytes / type->values, ns = 1e9 / (double)n;
        vise_cpu_force(level);
        double fast = time_encode(type, values, NULL, rows, cols, blocks);
        double weighted = time_encode(type, values, importance, rows, cols, blocks);
        vise_cpu_force(VISE_CPU_REF);
        double reference = time_encode(type, values, NULL, rows, cols, blocks);
        double decoded_reference = time_decode(type, blocks, rows, cols, decoded);
        vise_cpu_force(level);
        double decoding = time_decode(type, blocks, rows, cols, decoded);
        printf("%-8s %8.2f %8.2f %9.2f %12.2f %8.2f %9.2f\n", type->name, fast * ns, 1e9 * bytes / copy,
               reference * ns, weighted * ns, decoding * ns, decoded_reference * ns);
    }
    vise_free(blocks);
    vise_free(importance);
    vise_free(decoded);
    vise_free(values);
    return 0;
}
