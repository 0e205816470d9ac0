#include "tensor/mask.h"

#include <math.h>
#include <string.h>

#include "tensor/kernels.h"

enum { GROUP_MAX = 64 };

vise_status vise_pattern_parse(const char *text, vise_pattern *pattern, vise_error *err)
{
    int numbers[2] = {0, 0};
    const char *p = text;
    for (int i = 0; i < 2; i++) {
        const char *start = p;
        for (; *p >= '0' && *p <= '9' && p - start < 3; p++)
            numbers[i] = numbers[i] * 10 + (*p - '0');
        if (p == start || *start == '0' || *p != (i == 0 ? ':' : '\0'))
            return VISE_FAIL(err, VISE_EUSAGE, "pattern \"%s\" is not KEEP:GROUP, such as 2:4", text);
        p++;
    }
    if (numbers[0] >= numbers[1] || numbers[1] > GROUP_MAX)
        return VISE_FAIL(err, VISE_EUSAGE, "pattern %s: keep fewer than the group has, of at most %d", text,
                         GROUP_MAX);
    *pattern = (vise_pattern){numbers[0], numbers[1]};
    return VISE_OK;
}

size_t vise_mask_row_bytes(int64_t cols)
{
    return ((size_t)cols + 7) / 8;
}

bool vise_mask_get(const uint8_t *mask, int64_t cols, int64_t row, int64_t col)
{
    return mask[(size_t)row * vise_mask_row_bytes(cols) + (size_t)(col >> 3)] >> (col & 7) & 1;
}

void vise_mask_score_ref(const float *values, const float *norms, size_t n, float *score)
{
    for (size_t i = 0; i < n; i++)
        score[i] = norms ? fabsf(values[i]) * norms[i] : fabsf(values[i]);
}

void vise_mask_score(const float *values, const float *norms, size_t n, float *score)
{
    vise_tensor_kernels_now()->mask_score(values, norms, n, score);
}

/* ---- the lowest of each row ---------------------------------------------------------------------------- */

static size_t pruned_of_row(int64_t cols, double sparsity)
{
    return (size_t)floor((double)cols * sparsity);
}

void vise_mask_rows_ref(const float *score, int64_t rows, int64_t cols, double sparsity, uint8_t *mask)
{
    size_t n = (size_t)cols, pruned = pruned_of_row(cols, sparsity), row_bytes = vise_mask_row_bytes(cols);
    for (int64_t r = 0; r < rows; r++, score += n, mask += row_bytes) {
        memset(mask, 0, row_bytes);
        for (size_t i = 0; i < n; i++) {
            /* The rank by its definition: how many go before this one. */
            size_t rank = 0;
            for (size_t j = 0; j < n; j++)
                rank += score[j] < score[i] || (score[j] == score[i] && j < i);
            if (rank >= pruned)
                mask[i / 8] |= (uint8_t)(1u << (i & 7));
        }
    }
}

size_t vise_count_below_ref(const float *score, size_t n, float threshold)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += score[i] < threshold;
    return count;
}

void vise_mask_above_ref(const float *score, size_t n, float threshold, size_t ties, uint8_t *mask)
{
    memset(mask, 0, (n + 7) / 8);
    for (size_t i = 0; i < n; i++) {
        bool keep = score[i] > threshold;
        if (score[i] == threshold) {
            keep = ties == 0;
            ties -= ties > 0;
        }
        mask[i / 8] |= (uint8_t)(keep << (i & 7));
    }
}

/* Floats in the order of unsigned integers: key k is the float whose bits are k - 2^31 from +0 up, ~k below.
 */
static float float_of_key(uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key ^ 0x80000000u : ~key;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The score that `rank` others precede, 0 <= rank < n, and in *below how many are really smaller: bisection
 * over the keys of the finite floats, one counting sweep a step. No sorting, no scratch, no data-dependent
 * branches. */
static float select_score(const vise_tensor_kernels *kernels, const float *score, size_t n, size_t rank,
                          size_t *below)
{
    uint32_t low = 0x00800000u, high = 0xff7fffffu; /* -FLT_MAX and FLT_MAX: the answer lies in [low, high] */
    *below = 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2 + 1;
        size_t count = kernels->count_below(score, n, float_of_key(middle));
        if (count <= rank) {
            low = middle;
            *below = count;
        } else {
            high = middle - 1;
        }
    }
    return float_of_key(low);
}

vise_status vise_mask_rows(const float *score, int64_t rows, int64_t cols, double sparsity, uint8_t *mask,
                           vise_error *err)
{
    const vise_tensor_kernels *kernels = vise_tensor_kernels_now();
    if (!(sparsity >= 0.0 && sparsity <= 1.0))
        return VISE_FAIL(err, VISE_EUSAGE, "sparsity %g is not between 0 and 1", sparsity);
    size_t n = (size_t)cols, pruned = pruned_of_row(cols, sparsity), row_bytes = vise_mask_row_bytes(cols);
    for (int64_t r = 0; r < rows; r++, score += n, mask += row_bytes) {
        if (pruned == 0) {
            kernels->mask_above(score, n, -INFINITY, 0, mask);
        } else {
            size_t below;
            float threshold = select_score(kernels, score, n, pruned - 1, &below);
            kernels->mask_above(score, n, threshold, pruned - below, mask);
        }
    }
    return VISE_OK;
}

/* ---- keep:group ---------------------------------------------------------------------------------------- */

void vise_mask_pattern_row_ref(const float *score, size_t n, vise_pattern pattern, uint8_t *mask)
{
    size_t group = (size_t)pattern.group, pruned = group - (size_t)pattern.keep;
    memset(mask, 0, (n + 7) / 8);
    for (size_t start = 0; start < n; start += group) {
        for (size_t i = start; i < start + group; i++) {
            size_t rank = 0;
            for (size_t j = start; j < start + group; j++)
                rank += score[j] < score[i] || (score[j] == score[i] && j < i);
            if (rank >= pruned)
                mask[i / 8] |= (uint8_t)(1u << (i & 7));
        }
    }
}

static void mask_pattern(const vise_tensor_kernels *kernels, const float *score, int64_t rows, int64_t cols,
                         vise_pattern pattern, uint8_t *mask)
{
    size_t n = (size_t)cols, row_bytes = vise_mask_row_bytes(cols);
    if (cols % 8 == 0) { /* rows without gaps are one long row */
        kernels->mask_pattern(score, n * (size_t)rows, pattern, mask);
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        kernels->mask_pattern(score + (size_t)r * n, n, pattern, mask + (size_t)r * row_bytes);
}

void vise_mask_pattern_ref(const float *score, int64_t rows, int64_t cols, vise_pattern pattern,
                           uint8_t *mask)
{
    mask_pattern(vise_tensor_kernels_of(VISE_CPU_REF), score, rows, cols, pattern, mask);
}

void vise_mask_pattern(const float *score, int64_t rows, int64_t cols, vise_pattern pattern, uint8_t *mask)
{
    mask_pattern(vise_tensor_kernels_now(), score, rows, cols, pattern, mask);
}

bool vise_pattern_holds(vise_pattern pattern, const float *values, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++, values += cols) {
        for (int64_t start = 0; start < cols; start += pattern.group) {
            int64_t end = start + pattern.group < cols ? start + pattern.group : cols;
            int kept = 0;
            for (int64_t c = start; c < end; c++)
                kept += values[c] != 0.0f;
            if (kept > pattern.keep)
                return false;
        }
    }
    return true;
}

/* ---- use of masks -------------------------------------------------------------------------------------- */

void vise_mask_apply_row_ref(const uint8_t *mask, size_t n, float *values)
{
    for (size_t i = 0; i < n; i++) {
        if (!(mask[i / 8] >> (i & 7) & 1))
            values[i] = 0.0f;
    }
}

void vise_mask_apply(const uint8_t *mask, int64_t rows, int64_t cols, float *values)
{
    const vise_tensor_kernels *kernels = vise_tensor_kernels_now();
    size_t row_bytes = vise_mask_row_bytes(cols);
    for (int64_t r = 0; r < rows; r++)
        kernels->mask_apply(mask + (size_t)r * row_bytes, (size_t)cols, values + (size_t)r * (size_t)cols);
}

uint64_t vise_mask_kept(const uint8_t *mask, int64_t rows, int64_t cols)
{
    size_t row_bytes = vise_mask_row_bytes(cols), whole = (size_t)cols / 8;
    unsigned last = (1u << (cols & 7)) - 1u;
    uint64_t kept = 0;
    for (int64_t r = 0; r < rows; r++, mask += row_bytes) {
        size_t i = 0;
        for (; i + 8 <= whole; i += 8) {
            uint64_t bits;
            memcpy(&bits, mask + i, sizeof bits);
            kept += (unsigned)__builtin_popcountll(bits);
        }
        for (; i < whole; i++)
            kept += (unsigned)__builtin_popcount(mask[i]);
        if (last)
            kept += (unsigned)__builtin_popcount(mask[whole] & last);
    }
    return kept;
}

size_t vise_count_zeros_ref(const float *values, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += values[i] == 0.0f;
    return count;
}

uint64_t vise_count_zeros(const float *values, size_t n)
{
    return vise_tensor_kernels_now()->count_zeros(values, n);
}
