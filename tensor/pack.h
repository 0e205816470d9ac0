/* Bit packing: one little-endian, least-significant-bit-first stream of `bits`-wide codes (1..8), dense, zero
 * padded to whole 32-bit words; codes may straddle words. It serves compressed-tensors (2026 form), GPTQ v1
 * and v2.
 *
 *   word index (i * bits) / 32, bit offset (i * bits) % 32, for code i of a row
 *
 * The _ref functions are the truth; the others choose by vise_cpu() and give equal bits.
 */
#ifndef VISE_TENSOR_PACK_H
#define VISE_TENSOR_PACK_H

#include <stddef.h>
#include <stdint.h>

/* 32-bit words of n codes. */
size_t vise_pack_words(size_t n, int bits);

void vise_pack_ref(const uint8_t *codes, size_t n, int bits, uint32_t *words);
void vise_pack(const uint8_t *codes, size_t n, int bits, uint32_t *words);
void vise_unpack_ref(const uint32_t *words, size_t n, int bits, uint8_t *codes);
void vise_unpack(const uint32_t *words, size_t n, int bits, uint8_t *codes);

/* Two codes of four bits to a byte, the first in the high half, as bitsandbytes has them; n is even. */
void vise_pack_high_first(const uint8_t *codes, size_t n, uint8_t *bytes);
void vise_unpack_high_first(const uint8_t *bytes, size_t n, uint8_t *codes);

#endif
