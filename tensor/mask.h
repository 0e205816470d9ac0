/* Sparsity: patterns, masks, and the selection of what to keep.
 *
 * A mask holds one bit per weight, row by row: bit (c & 7) of byte c >> 3 of a row is 1 where the weight is
 * kept; a row takes (cols + 7) / 8 bytes. "keep:group" keeps `keep` of every `group` consecutive weights of a
 * row (2:4 keeps 2 of 4).
 *
 * Selection is by score, smallest pruned first; equal scores prune the lower index first (as torch's stable
 * sort does in Wanda's reference). NaN scores are the caller's error.
 */
#ifndef VISE_TENSOR_MASK_H
#define VISE_TENSOR_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

typedef struct vise_pattern {
    int keep, group; /* both 0: unstructured */
} vise_pattern;

/* "2:4": 1 <= keep < group <= 64. VISE_EUSAGE otherwise. */
VISE_MUST_USE vise_status vise_pattern_parse(const char *text, vise_pattern *pattern, vise_error *err);

size_t vise_mask_row_bytes(int64_t cols);
bool vise_mask_get(const uint8_t *mask, int64_t cols, int64_t row, int64_t col);

/* score = |value| * norm, or |value| where norms is NULL (Wanda, magnitude). In place is allowed. */
void vise_mask_score(const float *values, const float *norms, size_t n, float *score);

/* Masks of score [rows, cols]: the floor(cols * sparsity) smallest of each row are pruned; or keep of every
 * group (cols must divide). Scores are finite, -0 equals +0. A sparsity outside [0, 1] is VISE_EUSAGE. Bits
 * beyond a row are 0. Fast paths give equal bits to the _ref functions; vise_mask_rows_ref counts ranks by
 * their definition, in cols^2. */
void vise_mask_rows_ref(const float *score, int64_t rows, int64_t cols, double sparsity, uint8_t *mask);
VISE_MUST_USE vise_status vise_mask_rows(const float *score, int64_t rows, int64_t cols, double sparsity,
                                         uint8_t *mask, vise_error *err);
void vise_mask_pattern_ref(const float *score, int64_t rows, int64_t cols, vise_pattern pattern,
                           uint8_t *mask);
void vise_mask_pattern(const float *score, int64_t rows, int64_t cols, vise_pattern pattern, uint8_t *mask);

/* Writes +0.0 where the mask is 0. */
void vise_mask_apply(const uint8_t *mask, int64_t rows, int64_t cols, float *values);
uint64_t vise_mask_kept(const uint8_t *mask, int64_t rows, int64_t cols);
uint64_t vise_count_zeros(const float *values, size_t n);
/* True if every group of the pattern has at most `keep` non-zeros. */
bool vise_pattern_holds(vise_pattern pattern, const float *values, int64_t rows, int64_t cols);

#endif
