#define GGUF_LANES 16
#define GGUF_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")))
#define GGUF_NAME(name) name##_avx512
#include "tensor/gguf_lanes.h"
