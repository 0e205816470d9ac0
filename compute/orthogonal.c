#include "compute/orthogonal.h"

#include <math.h>
#include <string.h>

#include "core/rng.h"

enum { LANES = VISE_ORTHOGONAL_LANES };

/* ---- Hadamard matrices --------------------------------------------------------------------------------------- */

static bool is_odd_prime(int64_t q)
{
    for (int64_t d = 3; d * d <= q; d += 2)
        if (q % d == 0)
            return false;
    return q > 2 && q % 2 == 1;
}

/* Quadratic character of a modulo the prime q, by Euler's criterion. */
static double character(int64_t a, int64_t q)
{
    int64_t base = (a % q + q) % q, power = 1;
    if (base == 0)
        return 0.0;
    for (int64_t e = (q - 1) / 2; e > 0; e /= 2) {
        if (e % 2 == 1)
            power = power * base % q;
        base = base * base % q;
    }
    return power == 1 ? 1.0 : -1.0;
}

/* Jacobsthal's matrix with a border of ones: [q + 1, q + 1], symmetric for q = 1 (mod 4), else skew. */
static double bordered(int64_t i, int64_t j, int64_t q)
{
    if (i == 0 && j == 0)
        return 0.0;
    if (i == 0)
        return 1.0;
    if (j == 0)
        return q % 4 == 1 ? 1.0 : -1.0;
    return character(i - j, q);
}

bool vise_paley(int64_t order, double *h)
{
    const int64_t half = order / 2;
    const bool first = order % 4 == 0 && is_odd_prime(order - 1);
    if (!first && (order % 4 != 0 || (half - 1) % 4 != 1 || !is_odd_prime(half - 1)))
        return false;
    if (h == NULL)
        return true;
    if (first) { /* I + S, S skew */
        for (int64_t i = 0; i < order * order; i++)
            h[i] = bordered(i / order, i % order, order - 1) + (i / order == i % order ? 1.0 : 0.0);
        return true;
    }
    for (int64_t i = 0; i < half; i++) /* C x [1 1; 1 -1] + I x [1 -1; -1 -1], C symmetric */
        for (int64_t j = 0; j < half; j++) {
            const double c = bordered(i, j, half - 1), one = i == j ? 1.0 : 0.0;
            double *at = h + 2 * i * order + 2 * j;
            at[0] = c + one;
            at[1] = at[order] = c - one;
            at[order + 1] = -c - one;
        }
    return true;
}

/* ---- random orthogonal matrices ------------------------------------------------------------------------------ */

/* Rows of a normal matrix, made orthonormal one after the other (Gram and Schmidt, twice, which is enough to working
 * precision): the Q of its QR with a positive diagonal, transposed. */
static void random_orthogonal(int64_t n, vise_rng *rng, double *q)
{
    for (int64_t i = 0; i < n; i++) {
        double *row = q + i * n, norm = 0.0;
        for (int64_t j = 0; j < n; j++)
            row[j] = vise_rng_normal(rng);
        for (int64_t k = 0; k < 2 * i; k++) {
            const double *other = q + k % i * n;
            double dot = 0.0;
            for (int64_t j = 0; j < n; j++)
                dot += row[j] * other[j];
            for (int64_t j = 0; j < n; j++)
                row[j] -= dot * other[j];
        }
        for (int64_t j = 0; j < n; j++)
            norm += row[j] * row[j];
        norm = sqrt(norm);
        for (int64_t j = 0; j < n; j++)
            row[j] /= norm;
    }
}

/* ---- the matrix ---------------------------------------------------------------------------------------------- */

static vise_status take_doubles(vise_arena *arena, int64_t n, double **out, vise_error *err)
{
    size_t bytes;
    void *memory;
    if (!vise_mul_size((size_t)n, sizeof(double), &bytes))
        return VISE_FAIL(err, VISE_ERESOURCE, "an orthogonal matrix is too large");
    VISE_TRY(vise_arena_take(arena, bytes, &memory, err));
    *out = memory;
    return VISE_OK;
}

/* An order beyond which a dense factor would cost more than it is worth. */
#define OUTER_MAX 1024

vise_status vise_orthogonal_make(int64_t n, uint64_t seed, const char *name, vise_arena *arena, vise_orthogonal *out,
                                 vise_error *err)
{
    int64_t odd = n;
    vise_rng rng;
    while (odd > 0 && odd % 2 == 0)
        odd /= 2;
    if (n < 1 || odd > OUTER_MAX)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "no cheap orthogonal matrix of order %lld: its odd part is %lld",
                         (long long)n, (long long)odd);
    *out = (vise_orthogonal){.n = n, .outer = odd, .hadamard = true};
    vise_rng_init(&rng, seed, name);
    if (odd > 1) {
        for (int64_t outer = 4 * odd; out->outer == odd && outer <= 8 * odd && n % outer == 0; outer *= 2)
            out->outer = vise_paley(outer, NULL) ? outer : odd;
        VISE_TRY(take_doubles(arena, out->outer * out->outer, &out->dense, err));
        out->hadamard = out->outer > odd && vise_paley(out->outer, out->dense);
        for (int64_t i = 0; out->hadamard && i < out->outer * out->outer; i++)
            out->dense[i] /= sqrt((double)out->outer);
        if (!out->hadamard)
            random_orthogonal(odd, &rng, out->dense);
    }
    out->inner = n / out->outer;
    VISE_TRY(take_doubles(arena, n, &out->signs, err));
    for (int64_t i = 0; i < n; i++)
        out->signs[i] = (vise_rng_next(&rng) >> 63 != 0 ? -1.0 : 1.0) / sqrt((double)out->inner);
    return VISE_OK;
}

size_t vise_orthogonal_scratch(const vise_orthogonal *r)
{
    return (size_t)(r->n + r->outer) * LANES * sizeof(double);
}

/* Sylvester's matrix over panel [n, LANES], in place. */
static void sylvester(double *panel, int64_t n)
{
    for (int64_t half = 1; half < n; half *= 2)
        for (int64_t first = 0; first < n; first += 2 * half)
            for (int64_t i = first * LANES; i < (first + half) * LANES; i++) {
                const double a = panel[i], b = panel[i + half * LANES];
                panel[i] = a + b;
                panel[i + half * LANES] = a - b;
            }
}

/* Every lane x of panel [n, LANES] becomes R^T x, x being multiplied by the signs already. line [outer, LANES]. */
static void transform(const vise_orthogonal *r, double *panel, double *line)
{
    for (int64_t o = 0; o < r->outer; o++)
        sylvester(panel + o * r->inner * LANES, r->inner);
    for (int64_t k = 0; r->dense && k < r->inner; k++) {
        memset(line, 0, (size_t)(r->outer * LANES) * sizeof *line);
        for (int64_t i = 0; i < r->outer; i++) {
            const double *from = panel + (i * r->inner + k) * LANES;
            for (int64_t j = 0; j < r->outer; j++) {
                const double q = r->dense[i * r->outer + j];
                for (int lane = 0; lane < LANES; lane++)
                    line[j * LANES + lane] += q * from[lane];
            }
        }
        for (int64_t j = 0; j < r->outer; j++)
            memcpy(panel + (j * r->inner + k) * LANES, line + j * LANES, LANES * sizeof *line);
    }
}

/* `lanes` vectors of which element i of vector l is at values[i * step + l * between]. */
static void transform_panel(const vise_orthogonal *r, float *values, int64_t step, int64_t between, int64_t lanes,
                            double *panel)
{
    memset(panel, 0, (size_t)(r->n * LANES) * sizeof *panel);
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t lane = 0; lane < lanes; lane++)
            panel[i * LANES + lane] = r->signs[i] * (double)values[i * step + lane * between];
    transform(r, panel, panel + r->n * LANES);
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t lane = 0; lane < lanes; lane++)
            values[i * step + lane * between] = (float)panel[i * LANES + lane];
}

void vise_orthogonal_rows(const vise_orthogonal *r, int64_t rows, int64_t times, float *values, int64_t ld,
                          void *scratch)
{
    for (int64_t row = 0; row < rows; row += LANES)
        for (int64_t k = 0; k < times; k++)
            transform_panel(r, values + row * ld + k * r->n, 1, ld, rows - row < LANES ? rows - row : LANES, scratch);
}

void vise_orthogonal_columns(const vise_orthogonal *r, int64_t times, int64_t cols, float *values, int64_t ld,
                             void *scratch)
{
    for (int64_t k = 0; k < times; k++)
        for (int64_t col = 0; col < cols; col += LANES)
            transform_panel(r, values + k * r->n * ld + col, ld, 1, cols - col < LANES ? cols - col : LANES, scratch);
}
