#define GGUF_LANES 8
#define GGUF_TARGET __attribute__((target("avx2,fma,f16c,bmi2")))
#define GGUF_NAME(name) name##_avx2
#include "tensor/gguf_lanes.h"
