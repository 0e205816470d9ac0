/* SHA-256 with the SHA extensions (Intel, "New Instructions Supporting the Secure Hash Algorithm", 2013).
 *
 * The instructions keep the eight words of the state in two registers as ABEF and CDGH; sha256rnds2 does two
 * rounds, and sha256msg1 / sha256msg2 extend the message schedule four words at a time. Each round waits for the one
 * before it, so that a second message, whose rounds go between, costs a tenth of the time it takes by itself. */
#include "core/hash_sha256.h"

#include "core/cpu_features.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define SHA        __attribute__((target("sha,sse4.1,ssse3")))
#define SHA_INLINE SHA static inline __attribute__((always_inline))

typedef struct lane {
    __m128i abef, cdgh;
    __m128i w[4]; /* the last sixteen words of the schedule */
} lane;

SHA_INLINE lane load(const uint32_t state[8])
{
    /* Words are named from the highest place down. */
    __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)state);
    __m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)(state + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xB1);
    __m128i efgh = _mm_shuffle_epi32(hgfe, 0x1B);
    return (lane){.abef = _mm_alignr_epi8(cdab, efgh, 8), .cdgh = _mm_blend_epi16(efgh, cdab, 0xF0)};
}

SHA_INLINE void store(const lane *s, uint32_t state[8])
{
    __m128i feba = _mm_shuffle_epi32(s->abef, 0x1B);
    __m128i dchg = _mm_shuffle_epi32(s->cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

/* Words 4 * group to 4 * group + 3 of the schedule plus their constants. */
SHA_INLINE __m128i words(lane *s, const uint8_t *block, int group)
{
    const __m128i swap = _mm_set_epi64x(0x0C0D0E0F08090A0B, 0x0405060700010203);
    __m128i w;
    if (group < 4) {
        w = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(block + 16 * group)), swap);
    } else {
        __m128i w16 = s->w[group & 3], w12 = s->w[(group + 1) & 3];
        __m128i w8 = s->w[(group + 2) & 3], w4 = s->w[(group + 3) & 3];
        __m128i w7 = _mm_alignr_epi8(w4, w8, 4); /* w[t-7..t-4] */
        w = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w16, w12), w7), w4);
    }
    s->w[group & 3] = w;
    return _mm_add_epi32(w,
                         _mm_loadu_si128((const __m128i *)(const void *)(vise_sha256_constants + 4 * group)));
}

SHA_INLINE void first_rounds(lane *s, __m128i sum)
{
    s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, sum);
}

SHA_INLINE void last_rounds(lane *s, __m128i sum)
{
    s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(sum, 0x0E));
}

SHA_INLINE void add_state(lane *s, const lane *before)
{
    s->abef = _mm_add_epi32(s->abef, before->abef);
    s->cdgh = _mm_add_epi32(s->cdgh, before->cdgh);
}

SHA static void blocks_shani(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    lane s = load(state);
    for (; count > 0; count--, blocks += 64) {
        const lane before = s;
#pragma GCC unroll 16
        for (int group = 0; group < 16; group++) {
            __m128i sum = words(&s, blocks, group);
            first_rounds(&s, sum);
            last_rounds(&s, sum);
        }
        add_state(&s, &before);
    }
    store(&s, state);
}

SHA static void pair_shani(uint32_t state_a[8], const uint8_t *a, uint32_t state_b[8], const uint8_t *b,
                           size_t count)
{
    lane x = load(state_a), y = load(state_b);
    for (; count > 0; count--, a += 64, b += 64) {
        const lane x_before = x, y_before = y;
#pragma GCC unroll 16
        for (int group = 0; group < 16; group++) {
            __m128i sum_x = words(&x, a, group), sum_y = words(&y, b, group);
            first_rounds(&x, sum_x);
            first_rounds(&y, sum_y);
            last_rounds(&x, sum_x);
            last_rounds(&y, sum_y);
        }
        add_state(&x, &x_before);
        add_state(&y, &y_before);
    }
    store(&x, state_a);
    store(&y, state_b);
}

static bool has_sha(void)
{
    static _Atomic int known; /* cpuid leaves the virtual machine: ask it once. 0: not asked, 1: no, 2: yes */
    if (known == 0)
        known = vise_cpu_features().sha ? 2 : 1;
    return known == 2;
}

vise_sha256_blocks vise_sha256_blocks_fast(void)
{
    return has_sha() ? blocks_shani : NULL;
}

vise_sha256_pair vise_sha256_pair_fast(void)
{
    return has_sha() ? pair_shani : NULL;
}

#else

vise_sha256_blocks vise_sha256_blocks_fast(void)
{
    return NULL;
}

vise_sha256_pair vise_sha256_pair_fast(void)
{
    return NULL;
}

#endif
