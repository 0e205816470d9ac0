/* The hooks of the passes on hand-made weights and statistics: gptq, sparsegpt, wanda, magnitude, rtn. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/cpu.h"
#include "core/rng.h"
#include "prune/prune.h"
#include "quant/quant.h"
#include "tests/unit/linear_help.h"

enum { ROWS = 40, COLS = 96, TOKENS = 400 };

/* One linear with the statistics of its input. Inputs are correlated and some channels are loud, as in real
 * networks. */
typedef struct fixture {
    help_linear l;
    float original[ROWS * COLS], values[ROWS * COLS];
    uint8_t mask[ROWS * ((COLS + 7) / 8)];
    double h[COLS][COLS]; /* sum x x^T, whole */
    float gram[COLS * COLS];
    double square_sum[COLS];
} fixture;

static void make_inputs(fixture *f, int dead)
{
    vise_rng rng;
    vise_rng_init(&rng, 7, "inputs");
    memset(f->h, 0, sizeof f->h);
    for (int t = 0; t < TOKENS; t++) {
        double x[COLS], last = 0.0;
        for (int j = 0; j < COLS; j++) {
            last = 0.6 * last + vise_rng_normal(&rng);
            x[j] = j == dead ? 0.0 : last * (j % 17 == 0 ? 8.0 : 1.0);
        }
        for (int i = 0; i < COLS; i++)
            for (int j = 0; j < COLS; j++)
                f->h[i][j] += x[i] * x[j];
    }
    for (int i = 0; i < COLS; i++) {
        f->square_sum[i] = f->h[i][i];
        for (int j = 0; j < COLS; j++)
            f->gram[i * COLS + j] = j < i ? 0.0f : (float)f->h[i][j];
    }
}

static void open_fixture(fixture *f, const char *scheme, int threads, int dead)
{
    memset(f, 0, sizeof *f);
    vise_rng rng;
    vise_rng_init(&rng, 3, "weights");
    for (int i = 0; i < ROWS * COLS; i++)
        f->values[i] = (float)vise_rng_normal(&rng) * 0.05f;
    memcpy(f->original, f->values, sizeof f->values);
    make_inputs(f, dead);
    help_linear_open(&f->l, scheme, VISE_DTYPE_BF16, f->values, ROWS, COLS, threads);
    f->l.stats = (vise_input_stats){.width = COLS, .tokens = TOKENS, .square_sum = f->square_sum, .gram = f->gram};
    f->l.quant.clip = "none";
    f->l.quant.sweeps = 0;
    f->l.quant.range = "original";
}

/* 1/2 tr(D H D^T) / tokens, in double, with the damping that the solver saw. */
static double output_error(const fixture *f, double damp)
{
    double mean = 0.0, sum = 0.0;
    for (int j = 0; j < COLS; j++)
        mean += f->h[j][j] / COLS;
    for (int r = 0; r < ROWS; r++) {
        double d[COLS];
        for (int j = 0; j < COLS; j++)
            d[j] = (double)f->values[r * COLS + j] - (double)f->original[r * COLS + j];
        for (int i = 0; i < COLS; i++)
            for (int j = 0; j < COLS; j++)
                sum += 0.5 * d[i] * d[j] * (f->h[i][j] + (i == j ? damp * mean : 0.0));
    }
    return sum / TOKENS;
}

static double rtn_error(const char *scheme)
{
    fixture *f = test_malloc(sizeof *f);
    open_fixture(f, scheme, 1, -1);
    vise_encode(f->values, VISE_CLIP_NONE, 0.0f, 0.0f, &f->l.q);
    vise_decode(&f->l.q, f->values);
    double error = output_error(f, 0.0);
    help_linear_close(&f->l);
    test_free(f);
    return error;
}

/* Every value is the decoding of its code, and scales fit their dtype. */
static void check_codes(const fixture *f)
{
    float *decoded = test_calloc(ROWS * COLS, sizeof(float));
    vise_decode_ref(&f->l.q, decoded);
    for (int i = 0; i < ROWS * COLS; i++)
        assert_true(decoded[i] == f->values[i]);
    for (int64_t i = 0; i < ROWS * f->l.q.groups && f->l.scheme.granularity != VISE_PER_TENSOR; i++)
        assert_true(vise_round_to(VISE_DTYPE_BF16, f->l.q.scales[i]) == f->l.q.scales[i]);
    test_free(decoded);
}

/* ---- gptq ------------------------------------------------------------------------------------------ */

static void test_gptq_beats_rounding(void **state)
{
    (void)state;
    static const char *const schemes[] = {"int2-g32", "int2-g32-asym", "int3-g32",    "int3-channel",
                                          "int4-g96", "int4-g32-asym", "int8-channel"};
    fixture *f = test_malloc(sizeof *f);
    for (size_t s = 0; s < sizeof schemes / sizeof schemes[0]; s++) {
        open_fixture(f, schemes[s], 1, -1);
        help_linear_run(&f->l, &vise_method_gptq);
        assert_true(f->l.weight.quantized);
        assert_null(f->l.weight.note);
        assert_true(f->l.weight.damp == 0.01);
        check_codes(f);
        double error = output_error(f, 0.0), loss = output_error(f, 0.01);
        assert_true(error < 0.75 * rtn_error(schemes[s]));
        assert_true(fabs(f->l.weight.loss - loss) <
                    2e-3 * loss); /* the solver's own sum is the quadratic form */
        help_linear_close(&f->l);
    }
    test_free(f);
}

static void test_gptq_options(void **state)
{
    (void)state;
    static const struct {
        const char *range, *actorder, *clip;
    } rows[] = {{"original", "none", "none"}, {"updated", "none", "none"}, {"original", "static", "mse"}};
    fixture *f = test_malloc(sizeof *f);
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        open_fixture(f, "int3-g32-asym", 1, -1);
        f->l.quant.range = rows[r].range;
        f->l.quant.actorder = rows[r].actorder;
        f->l.quant.clip = rows[r].clip;
        help_linear_run(&f->l, &vise_method_gptq);
        check_codes(f);
        assert_true(output_error(f, 0.0) < rtn_error("int3-g32-asym"));
        help_linear_close(&f->l);
    }
    test_free(f);
}

/* Sweeps behind the solver, and scales of either sign, each lower the output error; the loss is what they leave. */
static void test_gptq_sweeps(void **state)
{
    (void)state;
    static const char *const schemes[] = {"int2-g32", "int2-g32-asym", "int3-g32", "int3-channel", "int3-tensor"};
    fixture *f = test_malloc(sizeof *f);
    for (size_t s = 0; s < sizeof schemes / sizeof schemes[0]; s++) {
        double last = INFINITY;
        for (int sweeps = 0; sweeps <= 4; sweeps += 2) {
            open_fixture(f, schemes[s], 2, -1);
            f->l.quant.sweeps = sweeps;
            f->l.quant.clip = "signed";
            help_linear_run(&f->l, &vise_method_gptq);
            check_codes(f);
            double error = output_error(f, 0.01);
            assert_true(error < (sweeps == 2 ? 0.97 : 1.0) * last || f->l.scheme.granularity == VISE_PER_TENSOR);
            assert_true(error <= last);
            assert_true(fabs(f->l.weight.loss - error) < 2e-3 * error);
            last = error;
            help_linear_close(&f->l);
        }
    }
    /* By default below 4 bits alone. */
    for (int bits = 3; bits <= 4; bits++) {
        const char *scheme = bits == 3 ? "int3-g32" : "int4-g32";
        open_fixture(f, scheme, 1, -1);
        f->l.quant.sweeps = VISE_UNSET_INT;
        f->l.quant.clip = "auto";
        help_linear_run(&f->l, &vise_method_gptq);
        double by_default = output_error(f, 0.0);
        help_linear_close(&f->l);
        open_fixture(f, scheme, 1, -1);
        f->l.quant.clip = bits == 3 ? "none" : "signed"; /* 4 bits are searched, too, but not swept */
        help_linear_run(&f->l, &vise_method_gptq);
        assert_true(bits == 3 ? by_default < 0.97 * output_error(f, 0.0) : by_default == output_error(f, 0.0));
        help_linear_close(&f->l);
    }
    test_free(f);
}

static void test_gptq_keeps_pruned_weights_at_zero(void **state)
{
    (void)state;
    static const char *const schemes[] = {"int4-g32", "int4-g32-asym"};
    fixture *f = test_malloc(sizeof *f);
    for (size_t s = 0; s < 2; s++) {
        open_fixture(f, schemes[s], 1, -1);
        f->l.quant.sweeps = 1;
        vise_mask_pattern(f->values, ROWS, COLS, (vise_pattern){2, 4}, f->mask);
        vise_mask_apply(f->mask, ROWS, COLS, f->values);
        f->l.planned.masked = true;
        f->l.weight.mask = f->mask;
        help_linear_run(&f->l, &vise_method_gptq);
        check_codes(f);
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < COLS; c++)
                if (!vise_mask_get(f->mask, COLS, r, c))
                    assert_true(f->values[r * COLS + c] == 0.0f);
        assert_true(vise_pattern_holds((vise_pattern){2, 4}, f->values, ROWS, COLS));
        help_linear_close(&f->l);
    }
    test_free(f);
}

static void test_gptq_rounds_dead_columns(void **state)
{
    (void)state;
    fixture *f = test_malloc(sizeof *f);
    open_fixture(f, "int4-g32", 1, 5);
    help_linear_run(&f->l, &vise_method_gptq);
    assert_null(f->l.weight.note);
    for (int r = 0; r < ROWS; r++) { /* nearest on its grid, not zeroed */
        float scale = f->l.q.scales[r * f->l.q.groups];
        float nearest = fminf(fmaxf(rintf(f->original[r * COLS + 5] / scale), -8.0f), 7.0f) * scale;
        assert_true(f->values[r * COLS + 5] == nearest);
    }
    help_linear_close(&f->l);
    test_free(f);
}

static void test_gptq_damps_and_falls_back(void **state)
{
    (void)state;
    fixture *f = test_malloc(sizeof *f);
    open_fixture(f, "int4-g32", 1, -1);
    for (int i = 0; i < COLS; i++) /* rank 1: not positive definite without damping */
        for (int j = 0; j < COLS; j++)
            f->gram[i * COLS + j] = j < i ? 0.0f : 1.0f;
    f->l.quant.damp = 0.0;
    help_linear_run(&f->l, &vise_method_gptq);
    assert_true(f->l.weight.damp > 0.0);
    assert_non_null(f->l.weight.note);
    check_codes(f);
    help_linear_close(&f->l);

    open_fixture(f, "int4-g32", 1, -1);
    for (int i = 0; i < COLS; i++) /* no damping up to 1 mends this */
        for (int j = i; j < COLS; j++)
            f->gram[i * COLS + j] = i == j ? 1.0f : 9.0f;
    help_linear_run(&f->l, &vise_method_gptq);
    assert_non_null(f->l.weight.note);
    assert_true(f->l.weight.quantized);
    check_codes(f);
    vise_encode(f->original, VISE_CLIP_NONE, 0.0f, 0.0f, &f->l.q);
    vise_decode(&f->l.q, f->original);
    assert_memory_equal(f->original, f->values, sizeof f->values);
    help_linear_close(&f->l);
    test_free(f);
}

static void test_gptq_holds_zeros(void **state)
{
    (void)state;
    fixture *f = test_malloc(sizeof *f);
    open_fixture(f, "int4-g32", 1, -1);
    memset(f->values, 0, sizeof f->values);
    help_linear_run(&f->l, &vise_method_gptq);
    check_codes(f);
    for (int i = 0; i < ROWS * COLS; i++)
        assert_true(f->values[i] == 0.0f);
    help_linear_close(&f->l);
    test_free(f);
}

static void test_gptq_same_bits_for_any_threads(void **state)
{
    (void)state;
    fixture *one = test_malloc(sizeof *one), *many = test_malloc(sizeof *many);
    for (int threads = 2; threads <= 3; threads++) {
        open_fixture(one, "int3-g32", 1, -1);
        open_fixture(many, "int3-g32", threads, -1);
        one->l.quant.sweeps = many->l.quant.sweeps = 2;
        help_linear_run(&one->l, &vise_method_gptq);
        help_linear_run(&many->l, &vise_method_gptq);
        assert_memory_equal(one->l.q.codes, many->l.q.codes, ROWS * COLS);
        assert_memory_equal(one->values, many->values, sizeof one->values);
        help_linear_close(&one->l);
        help_linear_close(&many->l);
    }
    test_free(one);
    test_free(many);
}

/* group_bytes promises what group takes. */
static void test_gptq_stays_within_its_promise(void **state)
{
    (void)state;
    fixture *f = test_malloc(sizeof *f);
    for (int sweeps = 0; sweeps <= 1; sweeps++) {
        open_fixture(f, "int4-g32", 2, -1);
        f->l.quant.sweeps = sweeps;
        help_linear_run_promised(&f->l, &vise_method_gptq);
        help_linear_close(&f->l);
    }
    test_free(f);
}

/* ---- pruning --------------------------------------------------------------------------------------- */

static void open_pruning(fixture *f, vise_prune_config *config, int threads)
{
    open_fixture(f, "int4-g32", threads, -1);
    f->l.planned = (vise_planned){.masked = true};
    f->l.weight.mask = f->mask;
    f->l.weight.q = NULL;
    memset(f->mask, 0xFF, sizeof f->mask);
    f->l.run.config = config;
}

/* Wanda by its definition: sort a row by |w| ||x||, prune the lower half. */
static void test_wanda_is_its_definition(void **state)
{
    (void)state;
    vise_prune_config config = {.sparsity = 0.5};
    fixture *f = test_malloc(sizeof *f);
    open_pruning(f, &config, 2);
    help_linear_run(&f->l, &vise_method_wanda);
    for (int r = 0; r < ROWS; r++) {
        int zeros = 0;
        double highest_pruned = 0.0, lowest_kept = INFINITY;
        for (int c = 0; c < COLS; c++) {
            double score = fabs((double)f->original[r * COLS + c]) * sqrt(f->square_sum[c]);
            bool pruned = f->values[r * COLS + c] == 0.0f;
            assert_true(pruned || f->values[r * COLS + c] == f->original[r * COLS + c]);
            assert_true(vise_mask_get(f->mask, COLS, r, c) != pruned);
            zeros += pruned;
            highest_pruned = pruned ? fmax(highest_pruned, score) : highest_pruned;
            lowest_kept = pruned ? lowest_kept : fmin(lowest_kept, score);
        }
        assert_int_equal(zeros, COLS / 2);
        assert_true(highest_pruned <= lowest_kept * (1.0 + 1e-6));
    }
    help_linear_close(&f->l);

    config = (vise_prune_config){.sparsity = NAN, .pattern = "2:4"};
    open_pruning(f, &config, 2);
    help_linear_run(&f->l, &vise_method_wanda);
    assert_true(vise_pattern_holds((vise_pattern){2, 4}, f->values, ROWS, COLS));
    assert_int_equal(vise_mask_kept(f->mask, ROWS, COLS), ROWS * COLS / 2);
    help_linear_close(&f->l);
    test_free(f);
}

/* What SparseGPT reports as loss is the output error; it beats Wanda, which beats magnitude. */
static void test_sparsegpt_beats_wanda(void **state)
{
    (void)state;
    static const vise_prune_config rows[] = {
        {.sparsity = 0.5, .damp = 0.01},
        {.sparsity = 0.7, .damp = 0.01},
        {.sparsity = NAN, .pattern = "2:4", .damp = 0.01},
        {.sparsity = NAN, .pattern = "1:3", .damp = 0.01}};
    fixture *f = test_malloc(sizeof *f);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        vise_prune_config config = rows[i];
        vise_prune_target target;
        vise_error err = {0};
        double error[3];
        for (int m = 0; m < 3; m++) {
            open_pruning(f, &config, 2);
            assert_int_equal(vise_prune_target_of(&config, &target, &err), VISE_OK);
            if (m == 0) {
                float score[COLS];
                for (int r = 0; r < ROWS; r++) {
                    vise_mask_score(f->values + r * COLS, NULL, COLS, score);
                    assert_int_equal(vise_prune_rows(&target, score, 1, COLS, f->values + r * COLS,
                                                     f->mask + r * (COLS / 8), &err),
                                     VISE_OK);
                }
            } else {
                help_linear_run(&f->l, m == 1 ? &vise_method_wanda : &vise_method_sparsegpt);
            }
            error[m] = output_error(f, 0.0);
            assert_null(f->l.weight.note);
            if (m == 2) {
                double loss = output_error(f, 0.01);
                assert_true(fabs(f->l.weight.loss - loss) < 2e-3 * loss);
                assert_true(f->l.weight.damp == 0.01);
                assert_int_equal(vise_mask_kept(f->mask, ROWS, COLS),
                                 ROWS * COLS - (int)floor(ROWS * COLS * target.sparsity));
                assert_true(target.pattern.group == 0 ||
                            vise_pattern_holds(target.pattern, f->values, ROWS, COLS));
                for (int at = 0; at < ROWS * COLS; at++)
                    assert_true(f->values[at] == 0.0f || vise_mask_get(f->mask, COLS, at / COLS, at % COLS));
            }
            help_linear_close(&f->l);
        }
        assert_true(error[2] < 0.9 * error[1] && error[1] < error[0]);
    }
    test_free(f);
}

/* Weights no input correlates with: nothing can be made up for, and the scores are Wanda's over the whole block. */
static void test_sparsegpt_of_independent_inputs(void **state)
{
    (void)state;
    vise_prune_config config = {.sparsity = 0.5, .damp = 0.0};
    fixture *f = test_malloc(sizeof *f);
    open_pruning(f, &config, 2);
    for (int i = 0; i < COLS; i++)
        for (int j = 0; j < COLS; j++)
            f->gram[i * COLS + j] = i == j ? (float)(1 + i) : 0.0f;
    help_linear_run(&f->l, &vise_method_sparsegpt);
    double highest_pruned = 0.0, lowest_kept = INFINITY;
    for (int at = 0; at < ROWS * COLS; at++) {
        double score = fabs((double)f->original[at]) * sqrt(1.0 + at % COLS);
        if (f->values[at] == 0.0f)
            highest_pruned = fmax(highest_pruned, score);
        else
            lowest_kept = fmin(lowest_kept, score);
        assert_true(f->values[at] == 0.0f || f->values[at] == f->original[at]);
    }
    assert_true(highest_pruned <= lowest_kept * (1.0 + 1e-5));
    help_linear_close(&f->l);
    test_free(f);
}

static void test_sparsegpt_falls_back_to_wanda(void **state)
{
    (void)state;
    vise_prune_config config = {.sparsity = 0.5, .damp = 0.01};
    fixture *f = test_malloc(sizeof *f), *wanda = test_malloc(sizeof *wanda);
    open_pruning(f, &config, 2);
    open_pruning(wanda, &config, 2);
    for (int i = 0; i < COLS; i++) { /* no damping up to 1 mends this */
        for (int j = i; j < COLS; j++)
            f->gram[i * COLS + j] = i == j ? 1.0f : 9.0f;
        wanda->square_sum[i] = 1.0;
    }
    help_linear_run(&f->l, &vise_method_sparsegpt);
    help_linear_run(&wanda->l, &vise_method_wanda);
    assert_non_null(f->l.weight.note);
    assert_memory_equal(f->values, wanda->values, sizeof f->values);
    assert_memory_equal(f->mask, wanda->mask, sizeof f->mask);
    help_linear_close(&f->l);
    help_linear_close(&wanda->l);
    test_free(f);
    test_free(wanda);
}

static void test_sparsegpt_same_bits_and_promise(void **state)
{
    (void)state;
    vise_prune_config rows[] = {{.sparsity = 0.6, .damp = 0.01}, {.sparsity = NAN, .pattern = "2:4", .damp = 0.01}};
    fixture *f = test_malloc(sizeof *f);
    float *first = test_malloc(sizeof f->values);
    for (size_t i = 0; i < 2; i++)
        for (int threads = 1; threads <= 3; threads++) {
            open_pruning(f, &rows[i], threads);
            help_linear_run_promised(&f->l, &vise_method_sparsegpt);
            if (threads == 1)
                memcpy(first, f->values, sizeof f->values);
            assert_memory_equal(first, f->values, sizeof f->values);
            help_linear_close(&f->l);
        }
    test_free(first);
    test_free(f);
}

static void test_magnitude_prunes_the_smallest(void **state)
{
    (void)state;
    vise_prune_config config = {.sparsity = 0.3};
    vise_error err = {0};
    fixture *f = test_malloc(sizeof *f);
    open_pruning(f, &config, 2);
    f->l.weight.q = NULL;
    void *scratch = test_malloc(vise_method_magnitude.weight_bytes(&f->l.run, ROWS, COLS));
    assert_int_equal(vise_method_magnitude.weight(&f->l.run, &f->l.weight, scratch, &err), VISE_OK);
    for (int r = 0; r < ROWS; r++) {
        int zeros = 0;
        float highest_pruned = 0.0f, lowest_kept = INFINITY;
        for (int c = 0; c < COLS; c++) {
            float size = fabsf(f->original[r * COLS + c]);
            bool pruned = f->values[r * COLS + c] == 0.0f;
            zeros += pruned;
            highest_pruned = pruned ? fmaxf(highest_pruned, size) : highest_pruned;
            lowest_kept = pruned ? lowest_kept : fminf(lowest_kept, size);
        }
        assert_int_equal(zeros, (int)(COLS * 0.3));
        assert_true(highest_pruned <= lowest_kept);
    }
    test_free(scratch);
    help_linear_close(&f->l);
    test_free(f);
}

static void test_prune_target(void **state)
{
    (void)state;
    static const struct {
        double sparsity;
        const char *pattern;
        vise_status status;
    } rows[] = {{0.5, NULL, VISE_OK},      {NAN, "2:4", VISE_OK},     {NAN, NULL, VISE_EUSAGE},
                {0.5, "2:4", VISE_EUSAGE}, {NAN, "4:2", VISE_EUSAGE}, {NAN, "two", VISE_EUSAGE}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        vise_error err = {0};
        vise_prune_target target;
        vise_prune_config config = {.sparsity = rows[i].sparsity, .pattern = rows[i].pattern};
        assert_int_equal(vise_prune_target_of(&config, &target, &err), rows[i].status);
        assert_true((err.message[0] != '\0') == (rows[i].status != VISE_OK));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gptq_beats_rounding),
        cmocka_unit_test(test_gptq_options),
        cmocka_unit_test(test_gptq_sweeps),
        cmocka_unit_test(test_gptq_keeps_pruned_weights_at_zero),
        cmocka_unit_test(test_gptq_rounds_dead_columns),
        cmocka_unit_test(test_gptq_damps_and_falls_back),
        cmocka_unit_test(test_gptq_holds_zeros),
        cmocka_unit_test(test_gptq_same_bits_for_any_threads),
        cmocka_unit_test(test_gptq_stays_within_its_promise),
        cmocka_unit_test(test_wanda_is_its_definition),
        cmocka_unit_test(test_sparsegpt_beats_wanda),
        cmocka_unit_test(test_sparsegpt_of_independent_inputs),
        cmocka_unit_test(test_sparsegpt_falls_back_to_wanda),
        cmocka_unit_test(test_sparsegpt_same_bits_and_promise),
        cmocka_unit_test(test_magnitude_prunes_the_smallest),
        cmocka_unit_test(test_prune_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
