/* GPTQ's orders of columns, and its correction of the error made upstream, against dense references in double: closed
 * form, and column by column with the inverse taken anew each time; and what the outputs gain by the correction. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "quant/quant.h"
#include "tests/unit/linear_help.h"

enum { ROWS = 20, COLS = 64, TOKENS = 400, BYTES_MAX = ROWS * COLS * 8 };

typedef struct fixture {
    help_linear l;
    float x[TOKENS][COLS], before[TOKENS][COLS]; /* inputs now, and in the model as it was */
    float residual[TOKENS][ROWS]; /* what the sum that outputs are added to lacks */
    float original[ROWS * COLS], values[ROWS * COLS];
    uint8_t mask[ROWS * COLS / 8];
    float gram[COLS * COLS], cross[COLS * COLS], lacks[ROWS * COLS];
} fixture;

static void open_fixture(fixture *f, const char *scheme, double alpha, int threads)
{
    vise_rng rng;
    memset(f, 0, sizeof *f);
    vise_rng_init(&rng, 7, "asymmetric");
    for (int i = 0; i < ROWS * COLS; i++)
        f->original[i] = f->values[i] = (float)vise_rng_normal(&rng) * 0.05f;
    /* What was lost upstream is not noise: part of it can be told from the other columns. */
    for (int t = 0; t < TOKENS; t++) {
        float last = 0.0f;
        for (int j = 0; j < COLS; j++) {
            last = 0.6f * last + (float)vise_rng_normal(&rng);
            f->x[t][j] = last * (j % 17 == 0 ? 4.0f : 1.0f);
        }
        for (int j = 0; j < COLS; j++)
            f->before[t][j] = f->x[t][j] + 0.3f * f->x[t][(j * 5 + 3) % COLS] + 0.1f * (float)vise_rng_normal(&rng);
        for (int r = 0; r < ROWS; r++)
            f->residual[t][r] = 0.02f * f->x[t][r * 3] + 0.05f * (float)vise_rng_normal(&rng);
    }
    for (int t = 0; t < TOKENS; t++)
        for (int r = 0; r < ROWS; r++)
            for (int j = 0; j < COLS; j++)
                f->lacks[r * COLS + j] += f->residual[t][r] * f->x[t][j];
    for (int t = 0; t < TOKENS; t++)
        for (int i = 0; i < COLS; i++)
            for (int j = 0; j < COLS; j++) {
                f->gram[i * COLS + j] += j >= i ? f->x[t][i] * f->x[t][j] : 0.0f;
                f->cross[i * COLS + j] += (f->before[t][i] - f->x[t][i]) * f->x[t][j];
            }
    help_linear_open(&f->l, scheme, VISE_DTYPE_F32, f->values, ROWS, COLS, threads);
    f->l.stats = (vise_input_stats){.width = COLS, .tokens = TOKENS, .gram = f->gram};
    f->l.stats.cross = alpha > 0.0 ? f->cross : NULL;
    f->l.stats.residual = alpha > 0.0 ? f->lacks : NULL;
    f->l.quant.asymmetric = f->l.quant.residual = alpha;
    f->l.run.needs = VISE_NEED_GRAM | (alpha > 0.0 ? VISE_NEED_CROSS : 0u);
}

static void run_group(fixture *f)
{
    help_linear_run(&f->l, &vise_method_gptq);
    assert_true(f->l.weight.quantized);
    assert_null(f->l.weight.note);
}

/* ---- references in double ---------------------------------------------------------------------------------------- */

/* h + damping, both triangles. */
static void damped(const fixture *f, double *h)
{
    double mean = 0.0;
    for (int j = 0; j < COLS; j++)
        mean += (double)f->gram[j * COLS + j] / COLS;
    for (int i = 0; i < COLS; i++)
        for (int j = 0; j < COLS; j++)
            h[i * COLS + j] = (double)f->gram[i <= j ? i * COLS + j : j * COLS + i] +
                              (i == j ? f->l.quant.damp * mean : 0.0);
}

/* inverse of h [n, n], in place, by Gauss and Jordan. */
static void invert(double *h, int n)
{
    for (int p = 0; p < n; p++) {
        const double pivot = h[p * n + p];
        for (int j = 0; j < n; j++)
            h[p * n + j] = j == p ? 1.0 / pivot : h[p * n + j] / pivot;
        for (int i = 0; i < n; i++) {
            const double factor = h[i * n + p];
            if (i == p)
                continue;
            for (int j = 0; j < n; j++)
                h[i * n + j] = j == p ? -factor * h[p * n + p] : h[i * n + j] - factor * h[p * n + j];
        }
    }
}

/* The weights of a row that come nearest, token by token, to the outputs of w on inputs x + alpha (before - x), and to
 * beta of what the residual stream lacks where there is one; plus the damping's pull to w. */
static void best_row(const fixture *f, const double *inverse, const double *h, int row, double *best)
{
    const float *w = f->original + row * COLS;
    double aim[COLS] = {0};
    for (int t = 0; t < TOKENS; t++) {
        const double beta = f->l.stats.residual != NULL ? f->l.quant.residual : 0.0;
        double wanted = beta * (double)f->residual[t][row], now = 0.0;
        for (int j = 0; j < COLS; j++) {
            const double x = (double)f->x[t][j], before = (double)f->before[t][j];
            wanted += (double)w[j] * (x + f->l.quant.asymmetric * (before - x));
            now += (double)w[j] * x;
        }
        for (int j = 0; j < COLS; j++)
            aim[j] += (wanted - now) * (double)f->x[t][j];
    }
    for (int j = 0; j < COLS; j++)
        for (int k = 0; k < COLS; k++)
            aim[j] += h[j * COLS + k] * (double)w[k];
    for (int j = 0; j < COLS; j++) {
        best[j] = 0.0;
        for (int k = 0; k < COLS; k++)
            best[j] += inverse[j * COLS + k] * aim[k];
    }
}

enum { GROUP = 32 };

static bool is_close(double a, double b)
{
    return fabs(a - b) < 1e-4 * fabs(b);
}

/* Optimal brain quantization: round a weight, and let those behind it in the order make up for it, by the inverse over
 * what is left. Scales are those that were found, which must be those of the ranges: of w as it is given, or as it is
 * when a group begins. False where a weight lies so near a tie that a last bit decides. */
static bool matches(const fixture *f, const double *h, const int *order, bool updated, int row, double *w)
{
    double range[COLS / GROUP] = {0};
    for (int j = 0; j < COLS; j++)
        range[j / GROUP] = fmax(range[j / GROUP], fabs(w[j]));
    float out[COLS];
    for (int p = 0; p < COLS; p++) {
        const int n = COLS - p, col = order[p], g = col / GROUP;
        const double scale = (double)f->l.q.scales[row * (COLS / GROUP) + g];
        const double steps = w[col] / scale;
        double code = rint(steps);
        if (updated && p % GROUP == 0) {
            range[g] = 0.0;
            for (int k = p; k < p + GROUP; k++)
                range[g] = fmax(range[g], fabs(w[order[k]]));
        }
        assert_true(is_close(scale * 7.5, range[g]));
        if (fabs(steps + 7.5) < 1e-4) /* the lower end of the range, a tie by what a range is: as it was found */
            code = rint((double)f->values[row * COLS + col] / scale);
        else if (fabs(steps - floor(steps) - 0.5) < 1e-4 && fabs(steps) < 7.4)
            return false;
        code = code < -8.0 ? -8.0 : code > 7.0 ? 7.0 : code;
        double *left = malloc((size_t)(n * n) * sizeof *left);
        assert_non_null(left);
        for (int a = 0; a < n; a++)
            for (int b = 0; b < n; b++)
                left[a * n + b] = h[order[p + a] * COLS + order[p + b]];
        invert(left, n);
        const double step = (w[col] - code * scale) / left[0];
        for (int k = 0; k < n; k++)
            w[order[p + k]] -= step * left[k];
        out[col] = (float)(code * scale);
        free(left);
    }
    for (int j = 0; j < COLS; j++)
        assert_true(fabsf(out[j] - f->values[row * COLS + j]) < 1e-6f);
    return true;
}

/* Selection by what the option says, over and over. */
static void find_order(const fixture *f, const char *name, int *order)
{
    bool taken[COLS] = {0};
    for (int p = 0; p < COLS; p++) {
        int best = -1;
        double best_group = 0.0, best_own = 0.0;
        for (int j = 0; j < COLS; j++) {
            double group = 0.0, own = (double)f->gram[j * COLS + j];
            for (int k = j / GROUP * GROUP; k < (j / GROUP + 1) * GROUP; k++)
                group = fmax(group, (double)f->gram[k * COLS + k]);
            if (strcmp(name, "group-aware") != 0)
                group = 0.0;
            if (strcmp(name, "none") == 0)
                own = 0.0;
            if (!taken[j] && (best < 0 || group > best_group || (group == best_group && own > best_own))) {
                best = j;
                best_group = group;
                best_own = own;
            }
        }
        order[p] = best;
        taken[best] = true;
    }
}

/* Codes and grids are those of the references, with the whole of the correction and with half of it, with a residual
 * stream and without. */
static void test_corrects_as_the_reference(void **state)
{
    (void)state;
    fixture *f = test_malloc(sizeof *f);
    double *h = test_malloc(COLS * COLS * sizeof *h), *inverse = test_malloc(COLS * COLS * sizeof *inverse);
    int order[COLS];
    for (int round = 0; round < 4; round++) {
        open_fixture(f, "int4-g32", round & 1 ? 0.5 : 1.0, 2);
        f->l.stats.residual = round & 2 ? f->lacks : NULL;
        f->l.quant.residual = 0.75;
        f->l.quant.clip = "none";
        find_order(f, "static", order);
        damped(f, h);
        memcpy(inverse, h, COLS * COLS * sizeof *h);
        invert(inverse, COLS);
        run_group(f);
        double moved = 0.0;
        int compared = 0;
        for (int row = 0; row < ROWS; row++) {
            double best[COLS];
            best_row(f, inverse, h, row, best);
            for (int j = 0; j < COLS; j++)
                moved = fmax(moved, fabs(best[j] - (double)f->original[row * COLS + j]));
            compared += matches(f, h, order, false, row, best);
        }
        assert_true(compared >= ROWS / 2);
        assert_true(moved > 0.005); /* there was something to correct */
        help_linear_close(&f->l);
    }
    test_free(inverse);
    test_free(h);
    test_free(f);
}

/* Every order with the ranges that go with it. */
static void test_orders_as_the_reference(void **state)
{
    (void)state;
    static const struct {
        const char *order, *range;
    } rows[] = {{"none", "original"},        {"none", "updated"},        {"static", "original"},
                {"group-aware", "original"}, {"group-aware", "updated"}};
    fixture *f = test_malloc(sizeof *f);
    double *h = test_malloc(COLS * COLS * sizeof *h);
    int order[COLS];
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        open_fixture(f, "int4-g32", 0.0, 2);
        f->l.quant.actorder = rows[r].order;
        f->l.quant.range = rows[r].range;
        f->l.quant.clip = "none";
        find_order(f, rows[r].order, order);
        assert_true(strcmp(rows[r].order, "none") == 0 || order[0] != 0 || order[1] != 1);
        damped(f, h);
        run_group(f);
        int compared = 0;
        for (int row = 0; row < ROWS; row++) {
            double w[COLS];
            for (int j = 0; j < COLS; j++)
                w[j] = (double)f->original[row * COLS + j];
            compared += matches(f, h, order, strcmp(rows[r].range, "updated") == 0, row, w);
        }
        assert_true(compared >= ROWS / 2);
        help_linear_close(&f->l);
    }
    test_free(h);
    test_free(f);
}

/* Weights of one input whose groups differ: each still finds its groups whole. */
static void test_groups_of_several_sizes(void **state)
{
    (void)state;
    static const char *const schemes[] = {"int4-g16", "q4_0", "int4-g8", "int8-channel"};
    enum { N = sizeof schemes / sizeof *schemes };
    fixture *f = test_malloc(sizeof *f);
    vise_scheme scheme[N];
    vise_planned planned[N];
    vise_qweight q[N];
    vise_weight weight[N], *weights[N];
    uint8_t *codes[N];
    float *values[N];
    open_fixture(f, "int4-g32", 0.0, 2);
    f->l.quant.actorder = "group-aware";
    f->l.quant.range = "updated";
    f->l.quant.clip = "none";
    vise_group group = {.stats = &f->l.stats, .weights = weights, .count = N};
    for (int w = 0; w < N; w++) {
        vise_error err = {0};
        assert_int_equal(vise_scheme_parse(schemes[w], &scheme[w], &err), VISE_OK);
        codes[w] = test_calloc(1, BYTES_MAX);
        values[w] = test_malloc(sizeof f->original);
        memcpy(values[w], f->original, sizeof f->original);
        vise_qweight_carve(&q[w], &scheme[w], VISE_DTYPE_F32, ROWS, COLS, codes[w]);
        planned[w] = (vise_planned){.scheme = scheme[w], .dtype = VISE_DTYPE_F32, .scale_dtype = VISE_DTYPE_F32};
        weight[w] = (vise_weight){.plan = &planned[w], .rows = ROWS, .cols = COLS, .values = values[w], .q = &q[w]};
        weights[w] = &weight[w];
    }
    vise_error err = {0};
    assert_int_equal(vise_method_gptq.group(&f->l.run, &group, &err), VISE_OK);
    for (int w = 0; w < N; w++) {
        float *decoded = test_malloc(sizeof f->original);
        double lost_by[2] = {0};
        assert_true(weight[w].quantized);
        vise_decode(&q[w], decoded);
        assert_memory_equal(decoded, values[w], sizeof f->original);
        memcpy(decoded, f->original, sizeof f->original);
        vise_encode(decoded, VISE_CLIP_NONE, 0.0f, 0.0f, &q[w]);
        vise_decode(&q[w], decoded);
        for (int t = 0; t < TOKENS; t++)
            for (int r = 0; r < ROWS; r++) {
                double d[2] = {0};
                for (int j = 0; j < COLS; j++) {
                    const int i = r * COLS + j;
                    d[0] += (double)(values[w][i] - f->original[i]) * (double)f->x[t][j];
                    d[1] += (double)(decoded[i] - f->original[i]) * (double)f->x[t][j];
                }
                lost_by[0] += d[0] * d[0];
                lost_by[1] += d[1] * d[1];
            }
        assert_true(lost_by[0] < 0.8 * lost_by[1]);
        test_free(decoded);
        test_free(values[w]);
        test_free(codes[w]);
    }
    help_linear_close(&f->l);
    test_free(f);
}

/* sum of (q x - w before - residual)^2 */
static double lost(const fixture *f)
{
    double sum = 0.0;
    for (int t = 0; t < TOKENS; t++)
        for (int r = 0; r < ROWS; r++) {
            double d = -(double)f->residual[t][r];
            for (int j = 0; j < COLS; j++)
                d += (double)f->values[r * COLS + j] * (double)f->x[t][j] -
                     (double)f->original[r * COLS + j] * (double)f->before[t][j];
            sum += d * d;
        }
    return sum;
}

/* Nearer to the outputs of the model as it was, whatever else is asked for. */
static void test_outputs_come_nearer(void **state)
{
    (void)state;
    static const struct {
        const char *scheme, *order, *range;
        int64_t sweeps;
        bool pruned;
    } rows[] = {
        {"int4-g32", "static", "auto", VISE_UNSET_INT, false}, {"int4-g32", "none", "updated", 0, false},
        {"int3-g32", "group-aware", "updated", 4, false},      {"int2-g32", "static", "auto", 8, false},
        {"int2-g32-asym", "static", "auto", 8, false},         {"int8-channel", "static", "auto", 0, false},
        {"int4-tensor", "static", "auto", 0, false},           {"int4-g32", "static", "auto", 4, true},
        {"q4_0", "static", "auto", 0, false},                  {"q4_0", "group-aware", "auto", 2, true},
    };
    fixture *f = test_malloc(sizeof *f);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        double loss[3];
        for (int step = 0; step < 3; step++) {
            open_fixture(f, rows[r].scheme, 0.5 * step, 1);
            f->l.quant.actorder = rows[r].order;
            f->l.quant.range = rows[r].range;
            f->l.quant.sweeps = rows[r].sweeps;
            memset(f->mask, 0xF7, sizeof f->mask);
            f->l.weight.mask = rows[r].pruned ? f->mask : NULL;
            for (int i = 0; rows[r].pruned && i < ROWS * COLS; i++)
                f->values[i] = f->original[i] = i % 8 == 3 ? 0.0f : f->original[i];
            run_group(f);
            for (int i = 0; rows[r].pruned && i < ROWS * COLS; i++)
                assert_true(i % 8 != 3 || f->values[i] == 0.0f);
            loss[step] = lost(f);
            help_linear_close(&f->l);
        }
        assert_true(loss[1] < 0.9 * loss[0]);
        assert_true(loss[2] < 0.9 * loss[1]);
    }
    test_free(f);
}

static void test_same_bits_for_any_threads(void **state)
{
    (void)state;
    fixture *one = test_malloc(sizeof *one), *many = test_malloc(sizeof *many);
    static const char *const schemes[] = {"int3-g32", "q4_0"};
    for (size_t s = 0; s < 2; s++) {
        open_fixture(one, schemes[s], 1.0, 1);
        open_fixture(many, schemes[s], 1.0, 3);
        run_group(one);
        run_group(many);
        assert_memory_equal(one->l.codes, many->l.codes, vise_qweight_bytes(&one->l.scheme, ROWS, COLS));
        assert_memory_equal(one->values, many->values, sizeof one->values);
        help_linear_close(&one->l);
        help_linear_close(&many->l);
    }
    test_free(many);
    test_free(one);
}

/* group_bytes promises what group takes. */
static void test_stays_within_its_promise(void **state)
{
    (void)state;
    fixture *f = test_malloc(sizeof *f);
    open_fixture(f, "int3-g32", 1.0, 2);
    help_linear_run_promised(&f->l, &vise_method_gptq);
    help_linear_close(&f->l);
    test_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders_as_the_reference),
        cmocka_unit_test(test_groups_of_several_sizes),
        cmocka_unit_test(test_corrects_as_the_reference),
        cmocka_unit_test(test_outputs_come_nearer),
        cmocka_unit_test(test_same_bits_for_any_threads),
        cmocka_unit_test(test_stays_within_its_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
