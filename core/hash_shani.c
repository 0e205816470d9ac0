/* SHA-256 with the SHA extensions (Intel, "New Instructions Supporting the Secure Hash Algorithm", 2013).
 *
 * The instructions keep the eight words of the state in two registers as ABEF and CDGH; sha256rnds2 does two
 * rounds, and sha256msg1 / sha256msg2 extend the message schedule four words at a time. */
#include "core/hash_sha256.h"

#include "core/cpu_features.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define SHA __attribute__((target("sha,sse4.1,ssse3")))

/* w[t..t+3] from the sixteen words before them, held in four registers. */
SHA static __m128i schedule(__m128i w16, __m128i w12, __m128i w8, __m128i w4)
{
    __m128i w7 = _mm_alignr_epi8(w4, w8, 4); /* w[t-7..t-4] */
    return _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w16, w12), w7), w4);
}

SHA static void blocks_shani(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    const __m128i swap = _mm_set_epi64x(0x0C0D0E0F08090A0B, 0x0405060700010203);
    /* Words are named from the highest lane down. */
    __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)state);
    __m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)(state + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xB1);
    __m128i efgh = _mm_shuffle_epi32(hgfe, 0x1B);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xF0);

    for (; count > 0; count--, blocks += 64) {
        const __m128i abef_before = abef;
        const __m128i cdgh_before = cdgh;
        __m128i w[4];
        for (int group = 0; group < 16; group++) {
            __m128i words;
            if (group < 4)
                words = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(blocks + 16 * group)), swap);
            else
                words = schedule(w[group & 3], w[(group + 1) & 3], w[(group + 2) & 3], w[(group + 3) & 3]);
            w[group & 3] = words;
            __m128i k = _mm_loadu_si128((const __m128i *)(const void *)(vise_sha256_constants + 4 * group));
            __m128i sum = _mm_add_epi32(words, k);
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }

    __m128i feba = _mm_shuffle_epi32(abef, 0x1B);
    __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    dcba = _mm_blend_epi16(feba, dchg, 0xF0);
    hgfe = _mm_alignr_epi8(dchg, feba, 8);
    _mm_storeu_si128((__m128i *)(void *)state, dcba);
    _mm_storeu_si128((__m128i *)(void *)(state + 4), hgfe);
}

vise_sha256_blocks vise_sha256_blocks_fast(void)
{
    static _Atomic int known; /* cpuid leaves the virtual machine: ask it once. 0: not asked, 1: no, 2: yes */
    if (known == 0)
        known = vise_cpu_features().sha ? 2 : 1;
    return known == 2 ? blocks_shani : NULL;
}

#else

vise_sha256_blocks vise_sha256_blocks_fast(void)
{
    return NULL;
}

#endif
