#include "tensor/pack.h"

#include <string.h>

#include "tensor/kernels.h"

size_t vise_pack_words(size_t n, int bits)
{
    size_t width = (size_t)bits;
    return n / 32 * width + (n % 32 * width + 31) / 32;
}

void vise_pack_ref(const uint8_t *codes, size_t n, int bits, uint32_t *words)
{
    uint32_t mask = (1u << bits) - 1u;
    memset(words, 0, vise_pack_words(n, bits) * sizeof *words);
    for (size_t i = 0; i < n; i++) {
        size_t bit = i * (size_t)bits, word = bit / 32, offset = bit % 32;
        uint32_t code = codes[i] & mask;
        words[word] |= code << offset;
        if (offset + (size_t)bits > 32)
            words[word + 1] |= code >> (32 - offset);
    }
}

void vise_unpack_ref(const uint32_t *words, size_t n, int bits, uint8_t *codes)
{
    uint32_t mask = (1u << bits) - 1u;
    for (size_t i = 0; i < n; i++) {
        size_t bit = i * (size_t)bits, word = bit / 32, offset = bit % 32;
        uint32_t code = words[word] >> offset;
        if (offset + (size_t)bits > 32)
            code |= words[word + 1] << (32 - offset);
        codes[i] = (uint8_t)(code & mask);
    }
}

void vise_pack(const uint8_t *codes, size_t n, int bits, uint32_t *words)
{
    vise_tensor_kernels_now()->pack(codes, n, bits, words);
}

void vise_unpack(const uint32_t *words, size_t n, int bits, uint8_t *codes)
{
    vise_tensor_kernels_now()->unpack(words, n, bits, codes);
}

/* Eight codes at a time in a word: pairs of bytes, of pairs, of fours move together. */
void vise_pack_high_first(const uint8_t *codes, size_t n, uint8_t *bytes)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, codes + i, sizeof word);
        word = (word << 4 | word >> 8) & 0x00ff00ff00ff00ffu;
        word = (word | word >> 8) & 0x0000ffff0000ffffu;
        const uint32_t packed = (uint32_t)(word | word >> 16);
        memcpy(bytes + i / 2, &packed, sizeof packed);
    }
    for (; i < n; i += 2)
        bytes[i / 2] = (uint8_t)(codes[i] << 4 | codes[i + 1]);
}

void vise_unpack_high_first(const uint8_t *bytes, size_t n, uint8_t *codes)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint32_t packed;
        memcpy(&packed, bytes + i / 2, sizeof packed);
        uint64_t word = (packed | (uint64_t)packed << 16) & 0x0000ffff0000ffffu;
        word = (word | word << 8) & 0x00ff00ff00ff00ffu;
        word = (word >> 4 | word << 8) & 0x0f0f0f0f0f0f0f0fu;
        memcpy(codes + i, &word, sizeof word);
    }
    for (; i < n; i += 2) {
        codes[i] = bytes[i / 2] >> 4;
        codes[i + 1] = bytes[i / 2] & 15;
    }
}
