/* Zero-compact, the first step of the packed form for pruned tensors: an array of elements becomes a bitmap
 * of which are zero (all bits of the element, so that -0.0 is not) and the array of those that are not.
 *
 * Bit (i & 7) of byte i >> 3 of the bitmap is 1 where element i is kept. A bitmap costs one bit an element
 * before coding and bounds what a zero costs; 2:4 patterns leave 36 of the 256 byte values, so that coding
 * the map takes 0.65 bits. Dropping whole elements instead of only their mantissas keeps the entropy coder
 * off the zeros, too: it sees half the symbols.
 *
 * Element sizes are 1, 2 and 4 bytes. All CPU levels give equal bytes.
 */
#ifndef VISE_FORMATS_PACKED_ZEROS_H
#define VISE_FORMATS_PACKED_ZEROS_H

#include <stddef.h>
#include <stdint.h>

/* Bytes that compact may write, and expand may read, behind the end of the compacted array. */
#define VISE_ZEROS_SLACK 64

/* Fills bitmap[0..(n + 7) / 8) (bits behind n are 0) and returns the number of kept elements. */
size_t vise_zeros_map(size_t element_bytes, const uint8_t *elements, size_t n, uint8_t *bitmap);
/* Number of set bits of a bitmap of n elements, bits behind n included. */
size_t vise_zeros_kept(const uint8_t *bitmap, size_t n);
/* The kept elements of elements[0..n) in order; compacted needs slack. */
void vise_zeros_compact(size_t element_bytes, const uint8_t *elements, size_t n, const uint8_t *bitmap,
                        uint8_t *compacted);
/* The inverse; compacted holds as many elements as the bitmap has bits, and slack. */
void vise_zeros_expand(size_t element_bytes, const uint8_t *compacted, size_t n, const uint8_t *bitmap,
                       uint8_t *elements);

/* The plain-C references of the above. */
size_t vise_zeros_map_ref(size_t element_bytes, const uint8_t *elements, size_t n, uint8_t *bitmap);
void vise_zeros_compact_ref(size_t element_bytes, const uint8_t *elements, size_t n, const uint8_t *bitmap,
                            uint8_t *compacted);
void vise_zeros_expand_ref(size_t element_bytes, const uint8_t *compacted, size_t n, const uint8_t *bitmap,
                           uint8_t *elements);

/* The AVX2 and BMI2 versions (packed_zeros_avx2.c), of whole bytes of the bitmap: n is a multiple of 8. */
size_t vise_zeros_map_avx2(size_t element_bytes, const uint8_t *elements, size_t n, uint8_t *bitmap);
void vise_zeros_compact_avx2(size_t element_bytes, const uint8_t *elements, size_t n, const uint8_t *bitmap,
                             uint8_t *compacted);
void vise_zeros_expand_avx2(size_t element_bytes, const uint8_t *compacted, size_t n, const uint8_t *bitmap,
                            uint8_t *elements);

#endif
