#include "core/cpu_features.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <stdint.h>

/* Register state that the operating system saves on a context switch (XCR0). Valid only when cpuid reports OSXSAVE. */
static uint64_t saved_state(void)
{
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has_all(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

vise_cpu_feature_set vise_cpu_features(void)
{
    enum { STATE_YMM = 0x6, STATE_ZMM = 0xE6 }; /* SSE and AVX; with opmask and both halves of the upper state */
    vise_cpu_feature_set set = {.level = VISE_CPU_REF};
    uint32_t eax, ebx, ecx1, edx, ebx7, ecx7;
    if (!__get_cpuid(1, &eax, &ebx, &ecx1, &edx) || !__get_cpuid_count(7, 0, &eax, &ebx7, &ecx7, &edx))
        return set;
    set.sha = has_all(ecx1, bit_SSSE3 | bit_SSE4_1) && has_all(ebx7, bit_SHA);
    if (!has_all(ecx1, bit_OSXSAVE | bit_AVX))
        return set;
    uint64_t state = saved_state();
    if ((state & STATE_YMM) == STATE_YMM && has_all(ecx1, bit_FMA | bit_F16C) &&
        has_all(ebx7, bit_AVX2 | bit_BMI | bit_BMI2))
        set.level = VISE_CPU_AVX2;
    if (set.level == VISE_CPU_AVX2 && (state & STATE_ZMM) == STATE_ZMM &&
        has_all(ebx7, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL))
        set.level = VISE_CPU_AVX512;
    return set;
}

#else

vise_cpu_feature_set vise_cpu_features(void)
{
    return (vise_cpu_feature_set){.level = VISE_CPU_REF};
}

#endif
