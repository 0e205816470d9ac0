/* The highest rate of single-precision fused multiply-adds of one core: independent chains in registers,
 * nothing else. */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <time.h>

#include "compute/backend.h"
#include "core/cpu.h"

enum { CHAINS = 12, STEPS = 200000, TRIES = 12 };

/* Processor time of this thread: a core shared with others is not a slower core. */
static double thread_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Each returns a value that depends on every operation, so that none is left out. */
static float chains_ref(void)
{
    float sum[CHAINS];
    float total = 0.0f;
    for (int c = 0; c < CHAINS; c++)
        sum[c] = (float)c;
    for (int i = 0; i < STEPS / 16; i++)
        for (int c = 0; c < CHAINS; c++)
            sum[c] = sum[c] * 0.999f + 0.001f;
    for (int c = 0; c < CHAINS; c++)
        total += sum[c];
    return total;
}

__attribute__((target("avx2,fma"))) static float chains_avx2(void)
{
    __m256 sum[CHAINS];
    __m256 total = _mm256_setzero_ps();
    const __m256 x = _mm256_set1_ps(0.999f);
    const __m256 y = _mm256_set1_ps(0.001f);
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; c++)
        sum[c] = _mm256_set1_ps((float)c);
    for (int i = 0; i < STEPS; i++)
#pragma GCC unroll 16
        for (int c = 0; c < CHAINS; c++)
            sum[c] = _mm256_fmadd_ps(sum[c], x, y);
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; c++)
        total = _mm256_add_ps(total, sum[c]);
    return _mm256_cvtss_f32(total);
}

__attribute__((target("avx512f"))) static float chains_avx512(void)
{
    __m512 sum[CHAINS];
    __m512 total = _mm512_setzero_ps();
    const __m512 x = _mm512_set1_ps(0.999f);
    const __m512 y = _mm512_set1_ps(0.001f);
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; c++)
        sum[c] = _mm512_set1_ps((float)c);
    for (int i = 0; i < STEPS; i++)
#pragma GCC unroll 16
        for (int c = 0; c < CHAINS; c++)
            sum[c] = _mm512_fmadd_ps(sum[c], x, y);
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; c++)
        total = _mm512_add_ps(total, sum[c]);
    return _mm512_cvtss_f32(total);
}

double vise_measure_fma_peak(void)
{
    static const struct {
        float (*run)(void);
        double operations;
    } levels[VISE_CPU_LEVELS] = {
        [VISE_CPU_REF] = {chains_ref, 2.0 * CHAINS * (STEPS / 16)},
        [VISE_CPU_AVX2] = {chains_avx2, 2.0 * CHAINS * STEPS * 8},
        [VISE_CPU_AVX512] = {chains_avx512, 2.0 * CHAINS * STEPS * 16},
    };
    double best = 0.0;
    for (int level = 0; level <= (int)vise_cpu_highest(); level++)
        for (int i = 0; i < TRIES; i++) {
            double start = thread_seconds();
            volatile float keep = levels[level].run();
            (void)keep;
            double seconds = thread_seconds() - start;
            if (seconds > 0.0)
                best = fmax(best, levels[level].operations / seconds);
        }
    return best;
}
