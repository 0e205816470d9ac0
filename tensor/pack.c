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
