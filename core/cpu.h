/* What this processor can do. One binary carries all kernels; the level is chosen once, at run time. */
#ifndef VISE_CORE_CPU_H
#define VISE_CORE_CPU_H

#include <stdbool.h>

#include "core/err.h"

typedef enum vise_cpu_level {
    VISE_CPU_REF = 0,    /* plain C */
    VISE_CPU_AVX2 = 1,   /* AVX2, FMA, F16C, BMI2 */
    VISE_CPU_AVX512 = 2, /* AVX-512 F, BW, DQ, VL as well */
    VISE_CPU_LEVELS
} vise_cpu_level;

/* The highest level of this machine (operating system support included), or what VISE_CPU=ref|avx2|avx512 forces.
 * vise_cpu_check reports a value of VISE_CPU that is unknown (VISE_EUSAGE) or beyond the machine (VISE_EUNSUPPORTED);
 * vise_cpu then falls back to what the machine has. */
vise_cpu_level vise_cpu(void);
VISE_MUST_USE vise_status vise_cpu_check(vise_error *err);
vise_cpu_level vise_cpu_highest(void);
const char *vise_cpu_level_name(vise_cpu_level level); /* "ref", "avx2", "avx512" */
const char *vise_cpu_model(void);                      /* the kernel's model name, or "unknown" */
int vise_cpu_usable_cores(void);                       /* affinity and cgroup quota considered */

/* For tests: run with another level from here on (not thread-safe). The level must be one the machine has. */
void vise_cpu_force(vise_cpu_level level);

#endif
