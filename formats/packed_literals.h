/* A fast reader for the zstd frames that most planes are: literals only, no sequences (RFC 8878). It decodes
 * several Huffman symbols a table lookup where zstd's own decoder takes one or two.
 *
 * It is an accelerator and decides nothing: whatever it does not know or finds odd it leaves to zstd. It must
 * be safe on any bytes, and where it and zstd both accept a frame they agree; the tests hold it against zstd.
 */
#ifndef VISE_FORMATS_PACKED_LITERALS_H
#define VISE_FORMATS_PACKED_LITERALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bits of a lookup: no code of zstd's literals is longer. */
#define VISE_LITERALS_BITS 11

/* Decoding tables, scratch of the reader. decode[w] is what the next 11 bits w begin with: up to six symbols
 * whose codes lie wholly inside. Its bytes are their length in bits, their number, and the symbols, first
 * one first. */
typedef struct vise_literals_tables {
    uint64_t
        decode[(1 << VISE_LITERALS_BITS) + 1]; /* one more: entries are read from their third byte, too */
    uint64_t tails[1 << VISE_LITERALS_BITS];   /* the same for windows of b < 11 bits, at 1 << b */
    uint16_t first[1 << VISE_LITERALS_BITS];   /* the first symbol alone, its length in the upper byte */
    bool ready;                                /* they hold the tree of an earlier block */
} vise_literals_tables;

/* Decodes the whole of a frame of n bytes. False: leave it to zstd; out is then undefined. */
bool vise_literals_decode(vise_literals_tables *tables, const uint8_t *frame, size_t frame_bytes,
                          uint8_t *out, size_t n);

#endif
