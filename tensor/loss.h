/* What rounding lost. */
#ifndef VISE_TENSOR_LOSS_H
#define VISE_TENSOR_LOSS_H

#include <stddef.h>
#include <stdint.h>

typedef struct vise_loss {
    double error, signal; /* sums of (w - w')^2 and w^2 */
    uint64_t zeros;       /* among the values w' */
} vise_loss;

/* Adds what n values differ from the original, in equal bits on every CPU level: runs of 1024 in 16 partial sums of
 * float32 side by side, gathered in double. */
void vise_loss_add(const float *original, const float *values, size_t n, vise_loss *sum);

#endif
