/* Packing of any width with BMI2: pext squeezes eight codes into `bits` bytes, pdep spreads them again. 4
 * bits, the common width, and 8 have wider paths. Words are little-endian, as x86 is, so the stream is
 * addressed by bytes. */
#include <immintrin.h>
#include <string.h>

#include "tensor/kernels.h"
#include "tensor/pack.h"

static uint64_t spread_mask(int bits)
{
    return ((1u << bits) - 1u) * 0x0101010101010101u;
}

VISE_INLINE VISE_TARGET_AVX2 size_t pack4(const uint8_t *codes, size_t n, uint8_t *bytes)
{
    const __m256i mask = _mm256_set1_epi8(15), pair = _mm256_set1_epi16(0x1001); /* low + 16 * high */
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m256i a = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(codes + i)), mask);
        __m256i b = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(codes + i + 32)), mask);
        __m256i packed = _mm256_packus_epi16(_mm256_maddubs_epi16(a, pair), _mm256_maddubs_epi16(b, pair));
        _mm256_storeu_si256((__m256i *)(bytes + i / 2), _mm256_permute4x64_epi64(packed, 0xd8));
    }
    return i;
}

VISE_TARGET_AVX2 void vise_pack_bmi2(const uint8_t *codes, size_t n, int bits, uint32_t *words)
{
    uint8_t *bytes = (uint8_t *)words;
    size_t width = (size_t)bits, total = vise_pack_words(n, bits) * sizeof *words, i = 0;
    const uint64_t mask = spread_mask(bits);
    if (bits == 4)
        i = pack4(codes, n, bytes);
    /* Eight bytes are stored where `width` are meant; what is too much is overwritten by the next step. */
    for (; i + 8 <= n && i / 8 * width + 8 <= total; i += 8) {
        uint64_t block;
        memcpy(&block, codes + i, sizeof block);
        block = _pext_u64(block, mask);
        memcpy(bytes + i / 8 * width, &block, sizeof block);
    }
    size_t at = i / 8 * width;
    memset(bytes + at, 0, total - at);
    for (; i < n; i += 8) {
        uint64_t block = 0;
        size_t count = n - i < 8 ? n - i : 8, left = total - i / 8 * width;
        memcpy(&block, codes + i, count);
        block = _pext_u64(block, mask);
        memcpy(bytes + i / 8 * width, &block, left < width ? left : width);
    }
}

VISE_INLINE VISE_TARGET_AVX2 size_t unpack4(const uint8_t *bytes, size_t n, uint8_t *codes)
{
    const __m256i mask = _mm256_set1_epi16(0x0f0f);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i pairs = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(bytes + i / 2)));
        __m256i spread = _mm256_and_si256(_mm256_or_si256(pairs, _mm256_slli_epi16(pairs, 4)), mask);
        _mm256_storeu_si256((__m256i *)(codes + i), spread);
    }
    return i;
}

VISE_TARGET_AVX2 void vise_unpack_bmi2(const uint32_t *words, size_t n, int bits, uint8_t *codes)
{
    const uint8_t *bytes = (const uint8_t *)words;
    size_t width = (size_t)bits, total = vise_pack_words(n, bits) * sizeof *words, i = 0;
    const uint64_t mask = spread_mask(bits);
    if (bits == 8) {
        memcpy(codes, bytes, n);
        return;
    }
    if (bits == 4)
        i = unpack4(bytes, n, codes);
    for (; i + 8 <= n && i / 8 * width + 8 <= total; i += 8) {
        uint64_t block;
        memcpy(&block, bytes + i / 8 * width, sizeof block);
        block = _pdep_u64(block, mask);
        memcpy(codes + i, &block, sizeof block);
    }
    for (; i < n; i += 8) {
        uint64_t block = 0;
        size_t count = n - i < 8 ? n - i : 8, left = total - i / 8 * width;
        memcpy(&block, bytes + i / 8 * width, left < width ? left : width);
        block = _pdep_u64(block, mask);
        memcpy(codes + i, &block, count);
    }
}
