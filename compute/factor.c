/* u with h^-1 = u^T u, in place and without a copy of h.
 *
 * h = r r^T with r upper triangular is Cholesky from the bottom right corner; u = r^-1. Both steps are
 * recursions on halves whose work is matrix products:
 *
 *     h = [ A  B ]      C -> R22                          then   R11 -> U11,  R22 -> U22
 *         [    C ]      R12 = B R22^-T                           U12 = -U11 R12 U22
 *                       A - R12 R12^T -> R11
 *
 * A block of LEAF x LEAF is factored and inverted at once: the first recursion leaves the inverses of
 * the diagonal blocks in place, which is all that it and the second one need of them. Solving with R22
 * goes by such blocks (a product with the inverse of a LEAF x LEAF block only, as in MAGMA), which keeps
 * the backward stability that a product with all of R22^-1 would lose for ill-conditioned h.
 *
 * 2/3 d^3 operations. Every product is cut into tiles by shape alone: the same bits for any number of
 * threads. */
#include "compute/cpu_backend.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum {
    LEAF = 64,
    CHUNK = 16,
    SERIAL = 256, /* parts up to this size are one thread's: waking the others would cost more */
};

typedef struct factor {
    vise_backend *backend;
    const vise_blas *blas;
    bool (*leaf)(float block[LEAF * LEAF]);
    int64_t d;
    float *h;
    bool failed;
    vise_error *err;
} factor;

/* ---- leaf ------------------------------------------------------------------------------------------------- */

/* The upper triangular inverse factor of one block, zero below the diagonal; false when a pivot is not
 * positive. Loops run over whole chunks, for the compiler's vectors. */
static inline __attribute__((always_inline)) bool leaf_body(float *restrict s)
{
    float column[LEAF];
    for (int k = LEAF - 1; k >= 0; k--) {
        float pivot = s[k * LEAF + k];
        if (!(pivot > 0.0f && pivot <= FLT_MAX))
            return false;
        float root = sqrtf(pivot);
        for (int i = 0; i < LEAF; i++)
            column[i] = i < k ? s[i * LEAF + k] / root : 0.0f;
        s[k * LEAF + k] = root;
        for (int i = 0; i < k; i++) {
            float *row = s + i * LEAF;
            row[k] = column[i];
            for (int j = i / CHUNK * CHUNK; j < k; j += CHUNK)
                for (int c = 0; c < CHUNK; c++)
                    row[j + c] -= column[i] * column[j + c];
        }
    }
    /* Row i of the inverse from the rows below it: u_i = -(sum_{l > i} r_il u_l) / r_ii. */
    for (int i = LEAF - 1; i >= 0; i--) {
        float sum[LEAF] = {0};
        float *row = s + i * LEAF;
        for (int l = i + 1; l < LEAF; l++)
            for (int j = l / CHUNK * CHUNK; j < LEAF; j += CHUNK)
                for (int c = 0; c < CHUNK; c++)
                    sum[j + c] -= row[l] * s[l * LEAF + j + c];
        float diagonal = row[i];
        for (int j = 0; j < LEAF; j++)
            row[j] = j > i ? sum[j] / diagonal : 0.0f;
        row[i] = 1.0f / diagonal;
    }
    return true;
}

static bool leaf_ref(float *block)
{
    return leaf_body(block);
}

__attribute__((target("avx2,fma"))) static bool leaf_avx2(float *block)
{
    return leaf_body(block);
}

/* h[lo.., lo..] of n <= LEAF rows becomes its inverse factor. */
static void factor_leaf(factor *f, int64_t lo, int64_t n)
{
    float block[LEAF * LEAF];
    float *h = f->h + lo * f->d + lo;
    memset(block, 0, sizeof block);
    for (int64_t i = 0; i < LEAF; i++) {
        if (i < n)
            memcpy(block + i * LEAF + i, h + i * f->d + i, (size_t)(n - i) * sizeof *h);
        else
            block[i * LEAF + i] = 1.0f; /* the missing rows of a short block: the identity */
    }
    if (!f->leaf(block)) {
        f->failed = true;
        return;
    }
    for (int64_t i = 0; i < n; i++)
        memcpy(h + i * f->d + i, block + i * LEAF + i, (size_t)(n - i) * sizeof *h);
}

/* ---- tiled steps: [lo, mid) and [mid, hi) are the halves ------------------------------------------------- */

typedef struct step {
    const factor *f;
    int64_t lo, mid, hi;
    int64_t tile;
} step;

/* Rows (or columns) of one task. Fine for small halves, so that there are tasks to share. */
static int64_t step_tile(int64_t n)
{
    return n <= 256 ? LEAF : n <= 1024 ? 2 * LEAF : 4 * LEAF;
}

/* A tile of rows of R12 = B R22^-T: blocks of columns from the right. */
static vise_status solve_task(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const step *s = context;
    int64_t d = s->f->d;
    int64_t rows = vise_tile_size(s->mid - s->lo, s->tile, (int64_t)index);
    float *b = s->f->h + (s->lo + (int64_t)index * s->tile) * d;
    for (int64_t i = vise_tile_count(s->hi - s->mid, LEAF) - 1; i >= 0; i--) {
        int64_t col = s->mid + i * LEAF;
        int64_t n = vise_tile_size(s->hi - s->mid, LEAF, i);
        const float *r = s->f->h + col * d;
        if (col + n < s->hi)
            s->f->blas->gemm(false, true, rows, n, s->hi - col - n, -1.0f, b + col + n, d, r + col + n, d,
                             1.0f, b + col, d);
        s->f->blas->trmm_right(true, rows, n, 1.0f, r + col, d, b + col, d);
    }
    return VISE_OK;
}

/* A tile of A -= R12 R12^T. */
static vise_status update_task(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const step *s = context;
    int64_t d = s->f->d;
    int64_t n = s->mid - s->lo;
    int64_t k = s->hi - s->mid;
    int64_t row;
    int64_t col;
    vise_tile_pair(vise_tile_count(n, s->tile), index, &row, &col);
    int64_t i = s->lo + row * s->tile;
    int64_t j = s->lo + col * s->tile;
    int64_t rows = vise_tile_size(n, s->tile, row);
    float *h = s->f->h;
    if (row == col)
        s->f->blas->syrk(false, rows, k, -1.0f, h + i * d + s->mid, d, h + i * d + i, d);
    else
        s->f->blas->gemm(false, true, rows, vise_tile_size(n, s->tile, col), k, -1.0f, h + i * d + s->mid, d,
                         h + j * d + s->mid, d, 1.0f, h + i * d + j, d);
    return VISE_OK;
}

/* A tile of columns of R12 = U11 R12; none when `index` is beyond the last. */
static void left_tile(const step *s, int64_t index)
{
    int64_t d = s->f->d;
    float *h = s->f->h;
    int64_t cols = vise_tile_size(s->hi - s->mid, s->tile, index);
    if (cols > 0)
        s->f->blas->trmm_left(s->mid - s->lo, cols, h + s->lo * d + s->lo, d,
                              h + s->lo * d + s->mid + index * s->tile, d);
}

/* A tile of rows of R12 = -R12 U22, likewise. */
static void right_tile(const step *s, int64_t index)
{
    int64_t d = s->f->d;
    float *h = s->f->h;
    int64_t rows = vise_tile_size(s->mid - s->lo, s->tile, index);
    if (rows > 0 && s->hi > s->mid)
        s->f->blas->trmm_right(false, rows, s->hi - s->mid, -1.0f, h + s->mid * d + s->mid, d,
                               h + (s->lo + index * s->tile) * d + s->mid, d);
}

/* ---- recursions ------------------------------------------------------------------------------------------ */

static int64_t middle(int64_t lo, int64_t hi)
{
    return lo + (vise_tile_count(hi - lo, LEAF) + 1) / 2 * LEAF;
}

/* r above the diagonal blocks, their inverses in the diagonal blocks. */
static vise_status factorize(factor *f, int64_t lo, int64_t hi)
{
    if (hi - lo <= LEAF) {
        factor_leaf(f, lo, hi - lo);
        return VISE_OK;
    }
    step s = {f, lo, middle(lo, hi), hi, step_tile(middle(lo, hi) - lo)};
    vise_workers *workers = hi - lo > SERIAL ? f->backend->workers : NULL;
    size_t tiles = (size_t)vise_tile_count(s.mid - lo, s.tile);
    VISE_TRY(factorize(f, s.mid, hi));
    if (f->failed)
        return VISE_OK;
    VISE_TRY(vise_parallel(workers, tiles, solve_task, &s, f->err));
    VISE_TRY(vise_parallel(workers, tiles * (tiles + 1) / 2, update_task, &s, f->err));
    return factorize(f, lo, s.mid);
}

/* The i-th of the 2^depth parts that halving gives; what is no longer divided stays on the left. */
static void part_bounds(const factor *f, int depth, size_t i, int64_t *lo, int64_t *hi)
{
    *lo = 0;
    *hi = f->d;
    for (int bit = depth - 1; bit >= 0; bit--) {
        int64_t mid = middle(*lo, *hi);
        if (mid > *hi)
            mid = *hi;
        *((i >> bit & 1) != 0 ? lo : hi) = mid;
    }
}

/* Inverts [lo, hi) on this thread. */
static void invert_part(const factor *f, int64_t lo, int64_t hi)
{
    if (hi - lo <= LEAF)
        return;
    step s = {f, lo, middle(lo, hi), hi, hi - lo};
    invert_part(f, lo, s.mid);
    invert_part(f, s.mid, hi);
    left_tile(&s, 0);
    right_tile(&s, 0);
}

/* One level of the tree of halves, all its nodes at once: they do not depend on each other. */
typedef struct level {
    const factor *f;
    int depth;
    int64_t tile;
    size_t tiles; /* of a node, at most */
} level;

static vise_status invert_parts_task(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const level *l = context;
    int64_t lo;
    int64_t hi;
    part_bounds(l->f, l->depth, index, &lo, &hi);
    invert_part(l->f, lo, hi);
    return VISE_OK;
}

static step level_step(const level *l, size_t index)
{
    step s = {.f = l->f, .tile = l->tile};
    part_bounds(l->f, l->depth, index / l->tiles, &s.lo, &s.hi);
    s.mid = middle(s.lo, s.hi);
    return s;
}

static vise_status left_task(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const level *l = context;
    step s = level_step(l, index);
    left_tile(&s, (int64_t)(index % l->tiles));
    return VISE_OK;
}

static vise_status right_task(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    (void)err;
    const level *l = context;
    step s = level_step(l, index);
    right_tile(&s, (int64_t)(index % l->tiles));
    return VISE_OK;
}

static vise_status invert(factor *f)
{
    vise_workers *workers = f->backend->workers;
    level l = {f, 0, 0, 0};
    while (f->d >> l.depth > SERIAL)
        l.depth++;
    VISE_TRY(vise_parallel(workers, (size_t)1 << l.depth, invert_parts_task, &l, f->err));
    while (l.depth-- > 0) {
        int64_t lo;
        int64_t hi;
        part_bounds(f, l.depth, 0, &lo, &hi); /* the largest */
        int64_t half = middle(lo, hi) - lo;
        l.tile = step_tile(half);
        l.tiles = (size_t)vise_tile_count(half, l.tile);
        VISE_TRY(vise_parallel(workers, l.tiles << l.depth, left_task, &l, f->err));
        VISE_TRY(vise_parallel(workers, l.tiles << l.depth, right_task, &l, f->err));
    }
    return VISE_OK;
}

vise_status vise_cpu_inverse_factor(vise_backend *b, int64_t d, float *h, bool *failed, vise_error *err)
{
    const vise_cpu_backend *cpu = vise_cpu_backend_of(b);
    factor f = {b, cpu->blas, cpu->level == VISE_CPU_REF ? leaf_ref : leaf_avx2, d, h, false, err};
    *failed = false;
    if (d <= 0)
        return VISE_OK;
    VISE_TRY(factorize(&f, 0, d));
    *failed = f.failed;
    if (f.failed)
        return VISE_OK;
    VISE_TRY(invert(&f));
    for (int64_t i = 1; i < d; i++)
        memset(h + i * d, 0, (size_t)i * sizeof *h);
    return VISE_OK;
}

const vise_factor_ops vise_cpu_factor_ops = {vise_cpu_inverse_factor, vise_cpu_solve_columns};
