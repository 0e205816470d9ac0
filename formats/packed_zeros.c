#include "formats/packed_zeros.h"

#include <stdbool.h>
#include <string.h>

#include "core/cpu.h"

static bool is_zero(size_t element_bytes, const uint8_t *element)
{
    uint32_t bits = 0;
    memcpy(&bits, element, element_bytes);
    return bits == 0;
}

size_t vise_zeros_map_ref(size_t element_bytes, const uint8_t *elements, size_t n, uint8_t *bitmap)
{
    size_t kept = 0;
    memset(bitmap, 0, (n + 7) / 8);
    for (size_t i = 0; i < n; i++) {
        if (!is_zero(element_bytes, elements + i * element_bytes)) {
            bitmap[i >> 3] = (uint8_t)(bitmap[i >> 3] | 1u << (i & 7));
            kept++;
        }
    }
    return kept;
}

void vise_zeros_compact_ref(size_t element_bytes, const uint8_t *elements, size_t n, const uint8_t *bitmap,
                            uint8_t *compacted)
{
    for (size_t i = 0; i < n; i++) {
        if (bitmap[i >> 3] >> (i & 7) & 1) {
            memcpy(compacted, elements + i * element_bytes, element_bytes);
            compacted += element_bytes;
        }
    }
}

void vise_zeros_expand_ref(size_t element_bytes, const uint8_t *compacted, size_t n, const uint8_t *bitmap,
                           uint8_t *elements)
{
    memset(elements, 0, n * element_bytes);
    for (size_t i = 0; i < n; i++) {
        if (bitmap[i >> 3] >> (i & 7) & 1) {
            memcpy(elements + i * element_bytes, compacted, element_bytes);
            compacted += element_bytes;
        }
    }
}

size_t vise_zeros_kept(const uint8_t *bitmap, size_t n)
{
    size_t bytes = (n + 7) / 8, kept = 0, i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word;
        memcpy(&word, bitmap + i, 8);
        kept += (size_t)__builtin_popcountll(word);
    }
    for (; i < bytes; i++)
        kept += (size_t)__builtin_popcount(bitmap[i]);
    return kept;
}

#if defined(__x86_64__)
/* The vector versions take whole bytes of the bitmap; the reference finishes. */

size_t vise_zeros_map(size_t element_bytes, const uint8_t *elements, size_t n, uint8_t *bitmap)
{
    size_t whole = vise_cpu() >= VISE_CPU_AVX2 ? n & ~(size_t)7 : 0;
    size_t kept = whole ? vise_zeros_map_avx2(element_bytes, elements, whole, bitmap) : 0;
    return kept +
           vise_zeros_map_ref(element_bytes, elements + whole * element_bytes, n - whole, bitmap + whole / 8);
}

void vise_zeros_compact(size_t element_bytes, const uint8_t *elements, size_t n, const uint8_t *bitmap,
                        uint8_t *compacted)
{
    size_t whole = vise_cpu() >= VISE_CPU_AVX2 ? n & ~(size_t)7 : 0;
    if (whole) {
        vise_zeros_compact_avx2(element_bytes, elements, whole, bitmap, compacted);
        compacted += vise_zeros_kept(bitmap, whole) * element_bytes;
    }
    vise_zeros_compact_ref(element_bytes, elements + whole * element_bytes, n - whole, bitmap + whole / 8,
                           compacted);
}

void vise_zeros_expand(size_t element_bytes, const uint8_t *compacted, size_t n, const uint8_t *bitmap,
                       uint8_t *elements)
{
    size_t whole = vise_cpu() >= VISE_CPU_AVX2 ? n & ~(size_t)7 : 0;
    if (whole) {
        vise_zeros_expand_avx2(element_bytes, compacted, whole, bitmap, elements);
        compacted += vise_zeros_kept(bitmap, whole) * element_bytes;
    }
    vise_zeros_expand_ref(element_bytes, compacted, n - whole, bitmap + whole / 8,
                          elements + whole * element_bytes);
}

#else

size_t vise_zeros_map(size_t element_bytes, const uint8_t *elements, size_t n, uint8_t *bitmap)
{
    return vise_zeros_map_ref(element_bytes, elements, n, bitmap);
}

void vise_zeros_compact(size_t element_bytes, const uint8_t *elements, size_t n, const uint8_t *bitmap,
                        uint8_t *compacted)
{
    vise_zeros_compact_ref(element_bytes, elements, n, bitmap, compacted);
}

void vise_zeros_expand(size_t element_bytes, const uint8_t *compacted, size_t n, const uint8_t *bitmap,
                       uint8_t *elements)
{
    vise_zeros_expand_ref(element_bytes, compacted, n, bitmap, elements);
}

#endif
