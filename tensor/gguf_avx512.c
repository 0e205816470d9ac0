#define GGUF_LANES 16
#define GGUF_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")))
#define GGUF_NAME(name) name##_avx512
#define GGUF_MAX(a, b)  ((lanes)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define GGUF_MIN(a, b)  ((lanes)_mm512_min_ps((__m512)(a), (__m512)(b)))
#define GGUF_ROUND(a)   ((lanes)_mm512_roundscale_ps((__m512)(a), GGUF_NEAREST))
#define GGUF_SQRT(a)    ((lanes)_mm512_sqrt_ps((__m512)(a)))
#define GGUF_ANY(mask)  (_mm512_test_epi32_mask((__m512i)(mask), (__m512i)(mask)) != 0)
#define GGUF_TO_HALVES(halves, a)                                                                            \
    _mm256_storeu_si256((__m256i *)(void *)(halves), _mm512_cvtps_ph((__m512)(a), GGUF_NEAREST))
#define GGUF_FROM_HALF(half) _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)))
#define GGUF_BYTES(q) ((masks)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(q))))
#define GGUF_SIGNED_BYTES(q) ((masks)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(q))))
#include "tensor/gguf_lanes.h"
