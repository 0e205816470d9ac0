/* 8 x 8 transposition of floats in AVX2 registers; private to this room. */
#ifndef VISE_COMPUTE_SIMD_TRANSPOSE_H
#define VISE_COMPUTE_SIMD_TRANSPOSE_H

#include <immintrin.h>
#include <stdint.h>

/* out[c * ldo + r] = in[r * ldi + c] for r, c < 8. */
__attribute__((target("avx2"), always_inline)) static inline void vise_transpose_8x8(const float *in,
                                                                                     int64_t ldi, float *out,
                                                                                     int64_t ldo)
{
    __m256 pair[8];
    __m256 quad[8];
    /* Rows r and r + 4 share a register, halves of four columns each: three rounds of shuffles within
     * halves remain two. */
    for (int r = 0; r < 4; r++)
        for (int half = 0; half < 2; half++)
            pair[r + 4 * half] =
                _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(in + r * ldi + 4 * half)),
                                     _mm_loadu_ps(in + (r + 4) * ldi + 4 * half), 1);
    for (int half = 0; half < 2; half++) {
        const __m256 *p = pair + 4 * half;
        quad[4 * half + 0] = _mm256_unpacklo_ps(p[0], p[1]);
        quad[4 * half + 1] = _mm256_unpackhi_ps(p[0], p[1]);
        quad[4 * half + 2] = _mm256_unpacklo_ps(p[2], p[3]);
        quad[4 * half + 3] = _mm256_unpackhi_ps(p[2], p[3]);
    }
    for (int half = 0; half < 2; half++) {
        const __m256 *q = quad + 4 * half;
        float *o = out + 4 * half * ldo;
        _mm256_storeu_ps(o + 0 * ldo, _mm256_shuffle_ps(q[0], q[2], 0x44));
        _mm256_storeu_ps(o + 1 * ldo, _mm256_shuffle_ps(q[0], q[2], 0xee));
        _mm256_storeu_ps(o + 2 * ldo, _mm256_shuffle_ps(q[1], q[3], 0x44));
        _mm256_storeu_ps(o + 3 * ldo, _mm256_shuffle_ps(q[1], q[3], 0xee));
    }
}

#endif
