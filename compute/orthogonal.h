/* Orthogonal matrices that spread outliers over all coordinates, cheap to apply at any size.
 *
 *   R = diag(signs) (Q x H) / sqrt(inner)      n = outer * inner, x the Kronecker product
 *
 * H is Sylvester's Hadamard matrix of order inner, a power of two; Q [outer, outer] a Hadamard matrix / sqrt(outer) of
 * Paley's constructions (orders q + 1 and 2 (q + 1), q an odd prime: 12, 20, 28, 36, 44, 60, ...), and where none fits
 * a random orthogonal matrix of the odd part of n (QR of a normal one, the diagonal of R positive). signs are random,
 * so R is a randomized Hadamard matrix as QuaRot has it (arXiv:2404.00456, section 3).
 */
#ifndef VISE_COMPUTE_ORTHOGONAL_H
#define VISE_COMPUTE_ORTHOGONAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"

typedef struct vise_orthogonal {
    int64_t n, outer, inner;
    double *dense; /* [outer, outer]; NULL: outer is 1 */
    double *signs; /* [n]: 1 or -1, divided by sqrt(inner) */
    bool hadamard; /* all entries of R have the same size */
} vise_orthogonal;

/* Draws from (seed, name). The matrix lives in the arena. */
VISE_MUST_USE vise_status vise_orthogonal_make(int64_t n, uint64_t seed, const char *name, vise_arena *arena,
                                               vise_orthogonal *out, vise_error *err);
/* Fills h [order, order], unless NULL, with 1 and -1, h h^T = order; false where Paley's constructions over primes give
 * no such order. */
bool vise_paley(int64_t order, double *h);

/* So many vectors are transformed side by side. */
#define VISE_ORTHOGONAL_LANES 16
/* Bytes of scratch for the functions below. */
size_t vise_orthogonal_scratch(const vise_orthogonal *r);
/* Every row x of values [rows, n * times], leading dimension ld, becomes x (I x R): each run of n by itself. */
void vise_orthogonal_rows(const vise_orthogonal *r, int64_t rows, int64_t times, float *values, int64_t ld,
                          void *scratch);
/* Every column x of values [n * times, cols] becomes (I x R)^T x. */
void vise_orthogonal_columns(const vise_orthogonal *r, int64_t times, int64_t cols, float *values, int64_t ld,
                             void *scratch);

#endif
