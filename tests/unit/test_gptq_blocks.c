/* GPTQ into GGUF's blocks: grids of stored blocks, and the solver on a hand-made weight and its statistics. */
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

enum { ROWS = 20, COLS = 512, TOKENS = 300, BYTES_MAX = ROWS * COLS * 2 };

static const char *const types[] = {"q8_0", "q4_0", "q4_1", "q5_0", "q5_1",   "q2_k",
                                    "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs"};
enum { TYPES = sizeof types / sizeof *types };

/* Every level put into a block decodes to what the grid says, and nothing else of the block changes. */
static void test_grids_decode(void **state)
{
    (void)state;
    vise_rng rng;
    vise_rng_init(&rng, 5, "grids");
    for (size_t t = 0; t < TYPES; t++) {
        const vise_gguf_type *type = vise_gguf_type_named(types[t]);
        _Alignas(8) uint8_t block[512], again[512], levels[256];
        float values[256], decoded[256];
        vise_gguf_grid grid, after;
        for (int i = 0; i < type->values; i++)
            values[i] = (float)vise_rng_normal(&rng) * (i < 16 ? 0.0f : 0.1f); /* one run vanishes */
        type->encode_row(values, NULL, type->values, block);
        type->grid(block, &grid);
        for (int round = 0; round < 4; round++) {
            for (int i = 0; i < type->values; i++)
                levels[i] = (uint8_t)((i * 7 + round * 13) % grid.levels);
            memcpy(again, block, sizeof again);
            type->put_levels(levels, again);
            type->grid(again, &after);
            assert_memory_equal(after.scale, grid.scale, sizeof grid.scale);
            assert_memory_equal(after.offset, grid.offset, sizeof grid.offset);
            type->decode_row(again, type->values, decoded);
            for (int i = 0; i < type->values; i++) {
                const int r = i / grid.run;
                const float point = grid.point != NULL ? grid.point[levels[i]] : (float)(levels[i] - grid.half);
                const float product = grid.scale[r] * point;
                assert_true(decoded[i] == product - grid.offset[r]);
            }
        }
    }
    assert_null(vise_gguf_type_named("tq2_0")->grid);
}

/* ---- a linear ------------------------------------------------------------------------------------------ */

typedef struct fixture {
    help_linear l;
    float original[ROWS * COLS], values[ROWS * COLS];
    uint8_t mask[ROWS * COLS / 8];
    float gram[COLS * COLS]; /* whole */
    double square_sum[COLS];
    float importance[COLS];
} fixture;

static void open_fixture(fixture *f, const char *scheme, int threads)
{
    vise_rng rng;
    memset(f, 0, sizeof *f);
    vise_rng_init(&rng, 3, "weights");
    for (int i = 0; i < ROWS * COLS; i++)
        f->values[i] = (float)vise_rng_normal(&rng) * 0.05f;
    memcpy(f->original, f->values, sizeof f->values);
    for (int t = 0; t < TOKENS; t++) {
        float x[COLS], last = 0.0f;
        for (int j = 0; j < COLS; j++) {
            last = 0.6f * last + (float)vise_rng_normal(&rng);
            x[j] = last * (j % 17 == 0 ? 8.0f : 1.0f);
        }
        for (int i = 0; i < COLS; i++)
            for (int j = 0; j < COLS; j++)
                f->gram[i * COLS + j] += x[i] * x[j];
    }
    for (int i = 0; i < COLS; i++) {
        f->square_sum[i] = (double)f->gram[i * COLS + i];
        f->importance[i] = f->gram[i * COLS + i] / TOKENS;
    }
    help_linear_open(&f->l, scheme, VISE_DTYPE_BF16, f->values, ROWS, COLS, threads);
    f->l.stats = (vise_input_stats){.width = COLS, .tokens = TOKENS, .square_sum = f->square_sum, .gram = f->gram};
    f->l.quant.damp = 0.05;
}

static void run_group(fixture *f)
{
    help_linear_run(&f->l, &vise_method_gptq);
    assert_true(f->l.weight.quantized);
    assert_null(f->l.weight.note);
}

/* 1/2 tr(D H D^T) / tokens, damped as the solver sees it. */
static double loss_of(const fixture *f, const float *values)
{
    double sum = 0.0, mean = 0.0;
    for (int j = 0; j < COLS; j++)
        mean += f->square_sum[j] / COLS;
    for (int r = 0; r < ROWS; r++) {
        double d[COLS];
        for (int j = 0; j < COLS; j++)
            d[j] = (double)f->original[r * COLS + j] - (double)values[r * COLS + j];
        for (int i = 0; i < COLS; i++) {
            double row = d[i] * f->l.quant.damp * mean;
            for (int j = 0; j < COLS; j++)
                row += (double)f->gram[i * COLS + j] * d[j];
            sum += 0.5 * d[i] * row;
        }
    }
    return sum / TOKENS;
}

/* The bytes decode to the values used, and the loss, which is the solver's own sum, lies below that of rounding, with
 * importances and without. */
static void test_below_rounding(void **state)
{
    (void)state;
    fixture *f = test_malloc(sizeof *f);
    uint8_t *blocks = test_malloc(BYTES_MAX);
    float *values = test_malloc(ROWS * COLS * sizeof(float));
    for (size_t t = 0; t < TYPES; t++) {
        const vise_gguf_type *type = vise_gguf_type_named(types[t]);
        open_fixture(f, types[t], 1);
        double least = INFINITY;
        for (int weighted = 0; weighted < 2; weighted++) {
            vise_gguf_encode(type, f->original, weighted ? f->importance : NULL, ROWS, COLS, blocks);
            vise_gguf_decode(type, blocks, ROWS, COLS, values);
            least = fmin(least, loss_of(f, values));
        }
        for (int row = 0; row < 3; row++) {
            memcpy(f->values, f->original, sizeof f->values);
            f->l.quant.range = row == 1 ? "original" : "auto";
            f->l.quant.actorder = row == 2 ? "none" : "static";
            run_group(f);
            vise_gguf_decode(type, f->l.q.codes, ROWS, COLS, values);
            assert_memory_equal(values, f->values, ROWS * COLS * sizeof(float));
            const double loss = loss_of(f, values);
            assert_true(loss < 0.9 * least);
            assert_true(fabs(f->l.weight.loss - loss) < 5e-3 * loss);
        }
        help_linear_close(&f->l);
    }
    test_free(values);
    test_free(blocks);
    test_free(f);
}

static void test_same_bytes_for_any_threads(void **state)
{
    (void)state;
    static const char *const some[] = {"q4_0", "q3_k", "q4_k"};
    fixture *f = test_malloc(sizeof *f), *g = test_malloc(sizeof *g);
    for (size_t t = 0; t < sizeof some / sizeof *some; t++) {
        open_fixture(f, some[t], 1);
        open_fixture(g, some[t], 3);
        run_group(f);
        run_group(g);
        assert_memory_equal(f->l.codes, g->l.codes, vise_qweight_bytes(&f->l.scheme, ROWS, COLS));
        help_linear_close(&f->l);
        help_linear_close(&g->l);
    }
    test_free(g);
    test_free(f);
}

/* A scale that float16 does not hold is left for the layout to refuse; the other rows do not see it. */
static void test_overflow_stays_in_its_block(void **state)
{
    (void)state;
    fixture *f = test_malloc(sizeof *f);
    open_fixture(f, "q4_0", 1);
    f->values[3] = 1e9f;
    run_group(f);
    assert_int_equal(vise_gguf_first_bad(f->l.scheme.type->blocks, f->l.q.codes, 1), 0);
    for (int i = COLS; i < ROWS * COLS; i++)
        assert_true(isfinite(f->values[i]));
    help_linear_close(&f->l);
    test_free(f);
}

/* Pruned weights: zero is a level of the symmetric types. */
static void test_pruned_weights_stay_zero(void **state)
{
    (void)state;
    fixture *f = test_malloc(sizeof *f);
    open_fixture(f, "q4_0", 1);
    memset(f->mask, 0x5a, sizeof f->mask);
    f->l.weight.mask = f->mask;
    run_group(f);
    for (int i = 0; i < ROWS * COLS; i++)
        assert_true((0x5a >> i % 8 & 1) != 0 || f->values[i] == 0.0f);
    help_linear_close(&f->l);
    test_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grids_decode),
        cmocka_unit_test(test_below_rounding),
        cmocka_unit_test(test_same_bytes_for_any_threads),
        cmocka_unit_test(test_overflow_stays_in_its_block),
        cmocka_unit_test(test_pruned_weights_stay_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
