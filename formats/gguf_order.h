/* In which order a GGUF file stores the rows of a matrix, where it is not the model's. */
#ifndef VISE_FORMATS_GGUF_ORDER_H
#define VISE_FORMATS_GGUF_ORDER_H

#include <stdint.h>

/* queries 0: rotary pairs lie side by side: row h*d + 2i + j of the file is row h*d + j*(d/2) + i of the model, h
 * counting heads of d rows, j in {0, 1}.
 * queries > 0: the model has for each of `heads` key-value heads its query heads, its k and its v; the file has all
 * queries, then all k, then all v. */
typedef struct vise_gguf_order {
    int64_t heads;   /* 0: rows in order */
    int64_t queries; /* heads of queries for each key-value head */
} vise_gguf_order;

/* Rows must be a multiple of this. */
int64_t vise_gguf_order_unit(const vise_gguf_order *order);
/* Where the file has the model's row. */
uint64_t vise_gguf_stored_row(const vise_gguf_order *order, uint64_t rows, uint64_t row);

#endif
