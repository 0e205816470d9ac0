/* Inside core: what cpuid and the operating system say. */
#ifndef VISE_CORE_CPU_FEATURES_H
#define VISE_CORE_CPU_FEATURES_H

#include <stdbool.h>

#include "core/cpu.h"

typedef struct vise_cpu_feature_set {
    vise_cpu_level level;
    bool sha; /* SHA extensions with SSSE3 and SSE4.1 */
} vise_cpu_feature_set;

vise_cpu_feature_set vise_cpu_features(void);

#endif
