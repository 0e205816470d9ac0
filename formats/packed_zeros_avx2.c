/* Zero-compact in steps of eight elements, one byte of the bitmap. The order of the kept elements within a
 * step comes from the bitmap byte through pdep and pext: spreading its bits to bytes gives a byte mask, and
 * the identity 0..7 extracted or deposited under it is the byte shuffle that compacts or expands. */
#include "formats/packed_zeros.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#define TARGET   __attribute__((target("avx2,fma,f16c,bmi2,popcnt")))
#define IDENTITY 0x0706050403020100ull

TARGET static inline uint64_t byte_mask(uint8_t bits)
{
    return _pdep_u64(bits, 0x0101010101010101ull) * 0xff;
}

/* Index of the source element of each of eight places: compacting; and expanding, where 0xff means none. */
TARGET static inline uint64_t compact_order(uint8_t bits)
{
    return _pext_u64(IDENTITY, byte_mask(bits));
}

TARGET static inline uint64_t expand_order(uint8_t bits)
{
    uint64_t mask = byte_mask(bits);
    return _pdep_u64(IDENTITY, mask) | ~mask;
}

/* Byte shuffles and word permutations from eight element indexes; 0xff keeps its top bit. */
TARGET static inline __m128i shuffle_2(uint64_t order)
{
    __m128i index = _mm_cvtepi8_epi16(_mm_cvtsi64_si128((long long)order));
    return _mm_add_epi16(_mm_mullo_epi16(index, _mm_set1_epi16(0x0202)), _mm_set1_epi16(0x0100));
}

TARGET static inline __m256i permute_4(uint64_t order)
{
    return _mm256_cvtepi8_epi32(_mm_cvtsi64_si128((long long)order));
}

TARGET size_t vise_zeros_map_avx2(size_t element_bytes, const uint8_t *elements, size_t n, uint8_t *bitmap)
{
    const __m128i zero = _mm_setzero_si128();
    size_t kept = 0;
    for (size_t i = 0; i < n / 8; i++) {
        int zeros;
        if (element_bytes == 1) {
            __m128i x = _mm_loadl_epi64((const __m128i *)(elements + i * 8));
            zeros = _mm_movemask_epi8(_mm_cmpeq_epi8(x, zero)) & 0xff;
        } else if (element_bytes == 2) {
            __m128i x = _mm_loadu_si128((const __m128i *)(elements + i * 16));
            zeros = _mm_movemask_epi8(_mm_packs_epi16(_mm_cmpeq_epi16(x, zero), zero)) & 0xff;
        } else {
            __m256i x = _mm256_loadu_si256((const __m256i *)(elements + i * 32));
            zeros = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(x, _mm256_setzero_si256())));
        }
        bitmap[i] = (uint8_t)~zeros;
        kept += (size_t)__builtin_popcount(bitmap[i]);
    }
    return kept;
}

TARGET void vise_zeros_compact_avx2(size_t element_bytes, const uint8_t *elements, size_t n,
                                    const uint8_t *bitmap, uint8_t *compacted)
{
    for (size_t i = 0; i < n / 8; i++) {
        uint64_t order = compact_order(bitmap[i]);
        size_t kept = (size_t)__builtin_popcount(bitmap[i]);
        if (element_bytes == 1) {
            __m128i x = _mm_loadl_epi64((const __m128i *)(elements + i * 8));
            x = _mm_shuffle_epi8(x, _mm_cvtsi64_si128((long long)order));
            _mm_storel_epi64((__m128i *)compacted, x);
        } else if (element_bytes == 2) {
            __m128i x = _mm_loadu_si128((const __m128i *)(elements + i * 16));
            _mm_storeu_si128((__m128i *)compacted, _mm_shuffle_epi8(x, shuffle_2(order)));
        } else {
            __m256i x = _mm256_loadu_si256((const __m256i *)(elements + i * 32));
            _mm256_storeu_si256((__m256i *)compacted, _mm256_permutevar8x32_epi32(x, permute_4(order)));
        }
        compacted += kept * element_bytes;
    }
}

TARGET void vise_zeros_expand_avx2(size_t element_bytes, const uint8_t *compacted, size_t n,
                                   const uint8_t *bitmap, uint8_t *elements)
{
    for (size_t i = 0; i < n / 8; i++) {
        uint64_t order = expand_order(bitmap[i]);
        size_t kept = (size_t)__builtin_popcount(bitmap[i]);
        if (element_bytes == 1) {
            __m128i x = _mm_loadl_epi64((const __m128i *)compacted);
            x = _mm_shuffle_epi8(x, _mm_cvtsi64_si128((long long)order));
            _mm_storel_epi64((__m128i *)(elements + i * 8), x);
        } else if (element_bytes == 2) {
            __m128i x = _mm_loadu_si128((const __m128i *)compacted);
            _mm_storeu_si128((__m128i *)(elements + i * 16), _mm_shuffle_epi8(x, shuffle_2(order)));
        } else {
            __m256i index = permute_4(order);
            __m256i x = _mm256_permutevar8x32_epi32(_mm256_loadu_si256((const __m256i *)compacted), index);
            x = _mm256_andnot_si256(_mm256_srai_epi32(index, 31), x);
            _mm256_storeu_si256((__m256i *)(elements + i * 32), x);
        }
        compacted += kept * element_bytes;
    }
}

#endif
