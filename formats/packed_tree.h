/* The description of a Huffman tree in front of zstd's compressed literals (RFC 8878, section 4.2.1): the
 * weights of the symbols, as nibbles or FSE-coded, and the codes that follow from them. */
#ifndef VISE_FORMATS_PACKED_TREE_H
#define VISE_FORMATS_PACKED_TREE_H

#include <stddef.h>
#include <stdint.h>

#define VISE_TREE_BITS_MAX 11

typedef struct vise_tree {
    int count;    /* symbols that occur, 2..256, in order of their codes */
    int shortest; /* length of a code */
    uint8_t symbol[256];
    uint8_t length[256]; /* 1..VISE_TREE_BITS_MAX */
    uint16_t code[256];  /* of `length` bits; the first bit read is the highest */
} vise_tree;

/* Reads a description from bytes[0..n). Returns its size, or 0 if it is not a complete, valid one. */
size_t vise_tree_read(const uint8_t *bytes, size_t n, vise_tree *tree);

#endif
