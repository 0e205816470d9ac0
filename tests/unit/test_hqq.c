/* Half-quadratic grids against their definition in double, and what they must hold. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "quant/hqq.h"
#include "quant/quant.h"

enum { GROUP_MAX = 80, GROUPS = 200 };

static vise_scheme parsed(const char *text)
{
    vise_scheme scheme;
    vise_error err = {0};
    assert_int_equal(vise_scheme_parse(text, &scheme, &err), VISE_OK);
    return scheme;
}

/* Some groups have outliers, some lie on one side of zero. */
static void make_group(vise_rng *rng, int64_t n, double size, int kind, float *values)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)(size * (vise_rng_normal(rng) + (kind % 4 == 1 ? 1.5 : 0.0)));
    if (kind % 4 == 2)
        values[n / 2] *= 12.0f;
}

/* ---- the definition ------------------------------------------------------------------------------------------ */

typedef struct grid {
    double scale, error; /* error: sum |e| */
    int zero;
} grid;

/* The quotient is one of floats, as tensor/scheme.h has it: the ends of a range lie on ties. */
static double code_at(double value, const grid *g, int max_code)
{
    return fmin(fmax(rint((double)((float)value / (float)g->scale)) + g->zero, 0.0), max_code);
}

static double error_at(const float *values, int64_t n, const grid *g, int max_code)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += fabs((double)values[i] - g->scale * (code_at((double)values[i], g, max_code) - g->zero));
    return sum;
}

/* Squares left by the best scale for a zero point, codes and targets being given. */
static double left(const double *u, const double *t, int64_t n, int zero, double *scale)
{
    double td = 0.0, dd = 0.0, sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        td += t[i] * (u[i] - zero);
        dd += (u[i] - zero) * (u[i] - zero);
    }
    *scale = (double)(float)(td / dd);
    for (int64_t i = 0; i < n; i++)
        sum += (t[i] - *scale * (u[i] - zero)) * (t[i] - *scale * (u[i] - zero));
    return sum;
}

static void descend(const vise_scheme *scheme, const float *values, int64_t n, grid g, grid *best)
{
    const int max_code = (1 << scheme->type->bits) - 1;
    double beta = 10.0, last = INFINITY, u[GROUP_MAX], t[GROUP_MAX];
    for (int round = 0; round < 20; round++, beta *= 1.01) {
        g.error = error_at(values, n, &g, max_code);
        if (!(g.error < last))
            return;
        last = g.error;
        if (g.error < best->error)
            *best = g;
        for (int64_t i = 0; i < n; i++) {
            u[i] = code_at((double)values[i], &g, max_code);
            const double e = (double)values[i] - g.scale * (u[i] - g.zero);
            const double v = e == 0.0 ? 0.0 : copysign(fmax(0.0, fabs(e) - pow(fabs(e), -0.25) / beta), e);
            t[i] = (double)values[i] - v;
        }
        if (!scheme->asym) {
            (void)left(u, t, n, g.zero, &g.scale);
            continue;
        }
        /* Every zero point: the neighbours of the free solution are the best of all. */
        double least = INFINITY, scale;
        const int now = g.zero;
        for (int zero = 0; zero <= max_code; zero++) {
            const double squares = left(u, t, n, zero, &scale);
            if (scale > 0.0 && (squares < least * (1.0 - 1e-12) || (zero == now && squares <= least))) {
                least = squares;
                g.zero = zero;
                g.scale = scale;
            }
        }
    }
}

static grid defined(const vise_scheme *scheme, const float *values, int64_t n)
{
    grid best = {.error = INFINITY};
    float min, max, scale;
    uint8_t zero = (uint8_t)(1u << (scheme->type->bits - 1));
    vise_range(values, (size_t)n, &min, &max);
    vise_grid_from_range(scheme, VISE_DTYPE_F32, min, max, &scale, scheme->asym ? &zero : NULL);
    descend(scheme, values, n, (grid){.scale = (double)scale, .zero = zero}, &best);
    if (!scheme->asym && scheme->type->bits <= 4)
        descend(scheme, values, n, (grid){.scale = -(double)scale, .zero = zero}, &best);
    return best;
}

static void test_it_is_its_definition(void **state)
{
    (void)state;
    static const struct {
        const char *scheme;
        int64_t n;
        double size;
    } rows[] = {{"int4-g64-asym", 64, 0.02}, {"int4-g32-asym", 32, 1.0}, {"int3-g64-asym", 64, 3.0},
                {"int2-g32-asym", 32, 0.02}, {"int2-g16-asym", 16, 1.0}, {"int8-channel-asym", 77, 20.0},
                {"int4-g64", 64, 0.02},      {"int3-g64", 64, 1.0},      {"int2-g32", 32, 0.5},
                {"int8-channel", 77, 1.0},   {"int3-g4-asym", 4, 0.02},  {"int5-g40", 40, 30.0}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        const vise_scheme scheme = parsed(rows[r].scheme);
        const int max_code = (1 << scheme.type->bits) - 1, middle = 1 << (scheme.type->bits - 1);
        double ours = 0.0, theirs = 0.0;
        int same = 0, exact = 0;
        vise_rng rng;
        vise_rng_init(&rng, r, "groups");
        for (int k = 0; k < GROUPS; k++) {
            float values[GROUP_MAX], scale;
            uint8_t zero = (uint8_t)middle;
            make_group(&rng, rows[r].n, rows[r].size, k, values);
            vise_hqq_fit(&scheme, VISE_DTYPE_F32, values, rows[r].n, &scale, scheme.asym ? &zero : NULL);
            const grid want = defined(&scheme, values, rows[r].n);
            const grid got = {.scale = (double)scale, .zero = zero};
            const double error = error_at(values, rows[r].n, &got, max_code);
            same += fabs(error - want.error) <= 1e-4 * want.error;
            exact += zero == want.zero && fabs(got.scale - want.scale) <= 1e-4 * fabs(want.scale);
            ours += error;
            theirs += want.error;
        }
        /* Roundings of float decide where an error hardly falls any more, and ties. */
        if (same < GROUPS * 95 / 100 || exact < GROUPS * 85 / 100 || fabs(ours - theirs) > 2e-3 * theirs)
            fail_msg("%s: %d errors, %d grids of %d agree, errors %g and %g", rows[r].scheme, same, exact,
                     GROUPS, ours, theirs);
    }
}

static void test_errors_fall(void **state)
{
    (void)state;
    static const char *const names[] = {"int4-g64-asym", "int2-g64-asym", "int3-g64", "int6-g64"};
    static const vise_dtype dtypes[] = {VISE_DTYPE_F32, VISE_DTYPE_F16, VISE_DTYPE_BF16};
    for (size_t s = 0; s < sizeof names / sizeof *names; s++)
        for (size_t t = 0; t < sizeof dtypes / sizeof *dtypes; t++) {
            const vise_scheme scheme = parsed(names[s]);
            const int max_code = (1 << scheme.type->bits) - 1, middle = 1 << (scheme.type->bits - 1);
            double before = 0.0, after = 0.0;
            vise_rng rng;
            vise_rng_init(&rng, s, "groups");
            for (int k = 0; k < GROUPS; k++) {
                float values[64], scale;
                uint8_t zero = (uint8_t)middle;
                make_group(&rng, 64, 0.02, k, values);
                vise_grid_fit(&scheme, dtypes[t], VISE_CLIP_NONE, values, NULL, 64, &scale,
                              scheme.asym ? &zero : NULL);
                const grid plain = {.scale = (double)scale, .zero = zero};
                vise_hqq_fit(&scheme, dtypes[t], values, 64, &scale, scheme.asym ? &zero : NULL);
                const grid found = {.scale = (double)scale, .zero = zero};
                const double old = error_at(values, 64, &plain, max_code),
                             new = error_at(values, 64, &found, max_code);
                uint8_t stored[4];
                float again;
                vise_from_f32(dtypes[t], &scale, stored, 1);
                vise_to_f32(dtypes[t], stored, &again, 1);
                assert_true(again == scale);
                assert_true(new <= old *(1.0 + 1e-5));
                before += old;
                after += new;
            }
            assert_true(after < (scheme.type->bits < 4 ? 0.9 : 0.99) * before);
        }
}

static void test_extremes(void **state)
{
    (void)state;
    static const char *const names[] = {"int4-g16-asym", "int4-g16", "int2-g16-asym", "int8-g16", "int2-g16"};
    static const float sizes[] = {0.0f, FLT_MAX, FLT_MIN, 1e-44f, 1e30f, 1e6f};
    static const vise_dtype dtypes[] = {VISE_DTYPE_F32, VISE_DTYPE_F16, VISE_DTYPE_BF16};
    for (size_t s = 0; s < sizeof names / sizeof *names; s++)
        for (size_t v = 0; v < sizeof sizes / sizeof *sizes; v++)
            for (int kind = 0; kind < 9; kind++) {
                const vise_scheme scheme = parsed(names[s]);
                float values[16], scale = NAN;
                uint8_t zero = 0;
                for (int i = 0; i < 16; i++)
                    values[i] = kind % 3 == 0   ? sizes[v]
                                : kind % 3 == 1 ? (i % 2 ? -sizes[v] : sizes[v])
                                : i == 9        ? sizes[v]
                                                : 0.0f;
                vise_hqq_fit(&scheme, dtypes[kind / 3], values, 16, &scale, scheme.asym ? &zero : NULL);
                assert_true(isfinite(scale) && (scale == 0.0f) == (sizes[v] == 0.0f));
                assert_true(zero < 1 << scheme.type->bits);
            }
}

/* A tile of the method is the fit of each group and the nearest codes; zeros stay zeros. */
static void test_a_tile(void **state)
{
    (void)state;
    enum { ROWS = 6, COLS = 64 };
    static const char *const names[] = {"int3-g16-asym", "int4-g32", "int5-channel-asym"};
    for (size_t s = 0; s < sizeof names / sizeof *names; s++) {
        vise_scheme scheme = parsed(names[s]);
        vise_quant_config config = {.scheme = names[s], .clip = "auto"};
        vise_pass_run run = {.config = &config, .method = &vise_method_hqq};
        vise_planned planned = {.scheme = scheme};
        vise_error err = {0};
        vise_qweight q;
        float original[ROWS * COLS], values[ROWS * COLS];
        void *block = test_calloc(1, vise_qweight_bytes(&scheme, ROWS, COLS));
        vise_rng rng;
        vise_rng_init(&rng, 5, "tile");
        make_group(&rng, (int64_t)ROWS * COLS, 0.05, 2, original);
        for (int i = 0; i < ROWS * COLS; i += 3)
            original[i] = 0.0f;
        memcpy(values, original, sizeof values);
        vise_qweight_carve(&q, &scheme, VISE_DTYPE_BF16, ROWS, COLS, block);
        vise_weight tile = {.plan = &planned, .rows = ROWS, .cols = COLS, .values = values, .q = &q};
        assert_int_equal(vise_method_hqq.weight(&run, &tile, NULL, &err), VISE_OK);
        assert_true(tile.quantized);
        const int64_t width = COLS / q.groups;
        for (int64_t i = 0; i < (int64_t)ROWS * COLS; i++) {
            const int64_t g = i / width;
            float scale;
            uint8_t zero = (uint8_t)(1u << (scheme.type->bits - 1));
            vise_hqq_fit(&scheme, VISE_DTYPE_BF16, original + g * width, width, &scale,
                         scheme.asym ? &zero : NULL);
            assert_true(q.scales[g] == scale);
            assert_true(!scheme.asym || q.zeros[g] == zero);
            const grid found = {.scale = (double)scale, .zero = zero};
            const double u = code_at((double)original[i], &found, (1 << scheme.type->bits) - 1);
            assert_true(fabs((double)values[i] - (double)scale * (u - zero)) <= 1.0001 * fabs((double)scale));
            assert_true(values[i] == (float)(q.codes[i] - zero) * scale);
            assert_true(original[i] != 0.0f || values[i] == 0.0f);
        }
        test_free(block);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_its_definition),
        cmocka_unit_test(test_errors_fall),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_a_tile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
