#include "compute/project.h"
#include "tests/unit/compute_help.h"

enum { LANES = VISE_SOLVE_LANES };

/* An upper triangular factor with the look of a real one: diagonal about 1, the rest small. */
static float *make_factor(int64_t d)
{
    float *u = random_floats(d * d, 21);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++)
            u[i * d + j] = j < i    ? NAN
                           : j == i ? 1.0f + 0.3f * u[i * d + j]
                                    : 0.3f * u[i * d + j] / sqrtf((float)d);
    return u;
}

/* A projection without rounding, so that a reference in double follows it closely: q = w * factor(row,
 * col). */
static double smooth_factor(int64_t row, int64_t col)
{
    return (row + col) % 3 == 0 ? 0.0 : 0.75;
}

typedef struct smooth {
    int64_t rows, cols, period;
    float *entered; /* [rows, cols]: the values that enter saw */
    uint8_t *calls; /* [rows, cols]: projections of each weight */
    bool bad_call;
} smooth;

static void smooth_project(void *context, int64_t row0, int n, int64_t col, const float *values,
                           float *projected)
{
    smooth *s = context;
    if (row0 % LANES != 0 || n < 1 || n > LANES || row0 + n > s->rows)
        s->bad_call = true;
    for (int lane = 0; lane < LANES; lane++)
        projected[lane] =
            lane < n ? values[lane] * (float)smooth_factor(row0 + lane, col) : NAN; /* NAN: to be ignored */
    for (int lane = 0; lane < n; lane++)
        s->calls[(row0 + lane) * s->cols + col]++;
}

static void smooth_enter(void *context, int64_t row0, int n, int64_t col, const float *values)
{
    smooth *s = context;
    if (col % s->period != 0)
        s->bad_call = true;
    for (int64_t c = 0; c < s->period && col + c < s->cols; c++)
        for (int lane = 0; lane < n; lane++)
            s->entered[(row0 + lane) * s->cols + col + c] = values[c * LANES + lane];
}

/* Algorithm 1 column by column, in double: q replaces w, entered gets the values at the beginning of
 * each period. */
static double reference(int64_t rows, int64_t cols, int64_t period, double *w, const float *u,
                        double *entered)
{
    double loss = 0.0;
    for (int64_t r = 0; r < rows; r++) {
        double *row = w + r * cols;
        for (int64_t j = 0; j < cols; j++) {
            if (j % period == 0)
                for (int64_t c = j; c < cols && c < j + period; c++)
                    entered[r * cols + c] = row[c];
            double q = row[j] * smooth_factor(r, j);
            double e = (row[j] - q) / (double)u[j * cols + j];
            loss += 0.5 * e * e;
            row[j] = q;
            for (int64_t k = j + 1; k < cols; k++)
                row[k] -= e * (double)u[j * cols + k];
        }
    }
    return loss;
}

static void check_smooth(int64_t rows, int64_t cols, int64_t block, int64_t period)
{
    vise_error err = {0};
    int64_t n = rows * cols;
    float *w = random_floats(n, 22);
    float *u = make_factor(cols);
    double *expected = malloc((size_t)(n + 1) * sizeof *expected);
    double *entered = malloc((size_t)(n + 1) * sizeof *entered);
    assert_non_null(expected);
    assert_non_null(entered);
    for (int64_t i = 0; i < n; i++)
        expected[i] = (double)w[i];
    double expected_loss = reference(rows, cols, period > 0 ? period : cols + 1, expected, u, entered);
    for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
        float *first = NULL;
        double first_loss = 0.0;
        for (int threads = 0; threads <= 3; threads++) {
            test_backend t = open_backend((vise_cpu_level)level, threads);
            float *q = copy_floats(w, n);
            smooth s = {rows, cols, period, random_floats(n, 23), calloc((size_t)n + 1, 1), false};
            vise_solve problem = {.rows = rows,
                                  .cols = cols,
                                  .w = q,
                                  .ldw = cols,
                                  .u = u,
                                  .ldu = cols,
                                  .block = block,
                                  .enter = period > 0 ? smooth_enter : NULL,
                                  .period = period,
                                  .project = smooth_project,
                                  .context = &s};
            double loss = -1.0;
            must(t.b->factor->solve_columns(t.b, &problem, &loss, &err), &err);
            assert_false(s.bad_call);
            assert_close(q, expected, n, 1e-5, "solve", rows, cols, block);
            if (period > 0)
                assert_close(s.entered, entered, n, 1e-5, "enter", rows, cols, period);
            for (int64_t i = 0; i < n; i++)
                assert_int_equal(s.calls[i], 1);
            assert_true(fabs(loss - expected_loss) <= 1e-5 * expected_loss);
            if (first == NULL) {
                first = copy_floats(q, n);
                first_loss = loss;
            }
            assert_same_bits(first, q, (size_t)n * sizeof *q, "threads");
            assert_same_bits(&first_loss, &loss, sizeof loss, "loss of threads");
            free(s.entered);
            free(s.calls);
            free(q);
            close_backend(&t);
        }
        free(first);
    }
    free(w);
    free(u);
    free(expected);
    free(entered);
}

static void test_against_double(void **state)
{
    (void)state;
    static const int64_t cases[][4] = {
        /* rows, cols, block, period (0: no enter) */
        {0, 5, 0, 0},       {5, 0, 0, 0},      {1, 1, 0, 0},     {1, 1, 0, 1},       {3, 17, 0, 0},
        {17, 105, 0, 4},    {105, 352, 0, 0},  {16, 352, 0, 32}, {130, 513, 0, 128}, {20, 96, 48, 24},
        {33, 300, 100, 50}, {65, 128, 128, 1}, {40, 172, 0, 4},  {9, 64, 1000, 0},   {1030, 40, 16, 8},
        {18, 150, 7, 7},    {64, 256, 32, 16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_smooth(cases[i][0], cases[i][1], cases[i][2], cases[i][3]);
}

typedef struct quantizer {
    vise_uniform_projector projector;
    vise_uniform_grid grid;
} quantizer;

static void quantize(void *context, int64_t row0, int n, int64_t col, const float *values, float *projected)
{
    (void)n;
    quantizer *quant = context;
    quant->projector(&quant->grid, row0, col, values, projected);
}

/* h = x^T x / rows, damped. */
static float *make_gram(int64_t d)
{
    int64_t rows = 2 * d;
    float *x = random_floats(rows * d, 24);
    float *h = calloc((size_t)(d * d), sizeof *h);
    assert_non_null(h);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 1; i < d; i++)
            x[r * d + i] += 0.8f * x[r * d + i - 1];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++)
                h[i * d + j] += x[r * d + i] * x[r * d + j] / (float)rows;
    for (int64_t i = 0; i < d; i++)
        h[i * d + i] += 0.02f;
    free(x);
    return h;
}

/* tr(D h D^T) / 2 of D = w - q. */
static double quadratic(int64_t rows, int64_t d, const float *w, const float *q, const float *h)
{
    double sum = 0.0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++)
                sum += 0.5 * ((double)w[r * d + i] - (double)q[r * d + i]) * (double)h[i * d + j] *
                       ((double)w[r * d + j] - (double)q[r * d + j]);
    return sum;
}

/* int4 in groups of 32: what the solver reports as loss is the output error of the layer, every weight
 * is on its grid, and the error is well below that of rounding alone. */
static void test_loss_is_the_output_error(void **state)
{
    (void)state;
    enum { ROWS = 70, COLS = 224, GROUP = 32, STRIDE = 80 };
    vise_error err = {0};
    float *w = random_floats(ROWS * COLS, 25);
    float *h = make_gram(COLS);
    float scale[COLS / GROUP * STRIDE];
    float zero[COLS / GROUP * STRIDE];
    for (int64_t g = 0; g < COLS / GROUP; g++)
        for (int64_t r = 0; r < STRIDE; r++) {
            scale[g * STRIDE + r] = 0.13f + 0.001f * (float)(r % 9);
            zero[g * STRIDE + r] = (float)(6 + (r + g) % 4);
        }
    for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
        test_backend t = open_backend((vise_cpu_level)level, 2);
        float *u = copy_floats(h, COLS * COLS);
        float *q = copy_floats(w, ROWS * COLS);
        quantizer quant = {vise_uniform_projector_for((vise_cpu_level)level),
                           {scale, zero, STRIDE, GROUP, 0.0f, 15.0f}};
        bool failed = true;
        double loss;
        must(t.b->factor->inverse_factor(t.b, COLS, u, &failed, &err), &err);
        assert_false(failed);
        vise_solve problem = {.rows = ROWS,
                              .cols = COLS,
                              .w = q,
                              .ldw = COLS,
                              .u = u,
                              .ldu = COLS,
                              .project = quantize,
                              .context = &quant};
        must(t.b->factor->solve_columns(t.b, &problem, &loss, &err), &err);
        double output_error = quadratic(ROWS, COLS, w, q, h);
        assert_true(fabs(loss - output_error) <= 1e-4 * output_error);
        float *rounded = copy_floats(w, ROWS * COLS);
        for (int64_t r = 0; r < ROWS; r++)
            for (int64_t c = 0; c < COLS; c++) {
                float s = scale[c / GROUP * STRIDE + r];
                float z = zero[c / GROUP * STRIDE + r];
                float code = q[r * COLS + c] / s + z;
                assert_true(fabsf(code - rintf(code)) < 1e-4f && code > -0.5f && code < 15.5f);
                rounded[r * COLS + c] = (fmaxf(0.0f, fminf(15.0f, rintf(w[r * COLS + c] / s) + z)) - z) * s;
            }
        assert_true(loss < 0.7 * quadratic(ROWS, COLS, w, rounded, h));
        free(rounded);
        free(u);
        free(q);
        close_backend(&t);
    }
    free(w);
    free(h);
}

/* The projectors of all levels agree bit for bit with the reference, ties and ends of the range included. */
static void test_projectors_agree(void **state)
{
    (void)state;
    enum { ROWS = 32, COLS = 40, GROUP = 8 };
    float *values = random_floats(ROWS * COLS, 26);
    float *scale = random_floats(COLS / GROUP * ROWS, 27);
    float *zero = random_floats(COLS / GROUP * ROWS, 28);
    for (int64_t i = 0; i < COLS / GROUP * ROWS; i++) {
        scale[i] = i % 3 == 0 ? 0.125f : 0.01f + fabsf(scale[i]) / 4.0f;
        zero[i] = rintf(8.0f * zero[i]);
    }
    for (int64_t i = 0; i < ROWS * COLS; i += 2)
        values[i] = rintf(values[i] * 32.0f) / 16.0f; /* multiples of half a step of 0.125 */
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        vise_uniform_grid grid = {scale, symmetric ? NULL : zero,  ROWS,
                                  GROUP, symmetric ? -8.0f : 0.0f, symmetric ? 7.0f : 15.0f};
        for (int64_t c = 0; c < COLS; c++)
            for (int64_t r = 0; r < ROWS; r += LANES) {
                float expected[LANES];
                const float *in = values + c * ROWS + r;
                vise_uniform_projector_for(VISE_CPU_REF)(&grid, r, c, in, expected);
                for (int lane = 0; lane < LANES; lane++) {
                    int64_t at = c / GROUP * ROWS + r + lane;
                    float z = symmetric ? 0.0f : zero[at];
                    float code = fmaxf(grid.lowest, fminf(grid.highest, rintf(in[lane] / scale[at]) + z));
                    assert_true(fabsf(expected[lane] - (code - z) * scale[at]) <= 0.0f);
                }
                for (int level = 1; level <= (int)vise_cpu_highest(); level++) {
                    float projected[LANES];
                    vise_uniform_projector_for((vise_cpu_level)level)(&grid, r, c, in, projected);
                    assert_same_bits(expected, projected, sizeof projected, "projector");
                }
            }
    }
    free(values);
    free(scale);
    free(zero);
}

/* Block after block, by from and to, gives the bits of one call. */
static void test_blocks_one_by_one(void **state)
{
    (void)state;
    enum { ROWS = 70, COLS = 150, BLOCK = 64 };
    vise_error err = {0};
    float *w = random_floats(ROWS * COLS, 22), *u = make_factor(COLS);
    test_backend t = open_backend(vise_cpu_highest(), 2);
    float *whole = copy_floats(w, ROWS * COLS);
    smooth s = {ROWS, COLS, 0, NULL, calloc((size_t)ROWS * COLS, 1), false};
    vise_solve problem = {.rows = ROWS, .cols = COLS, .w = whole, .ldw = COLS, .u = u, .ldu = COLS, .block = BLOCK,
                          .project = smooth_project, .context = &s};
    double loss, part, sum = 0.0;
    must(t.b->factor->solve_columns(t.b, &problem, &loss, &err), &err);
    problem.w = w;
    for (int64_t from = 0; from < COLS; from += BLOCK) {
        problem.from = from;
        problem.to = from + BLOCK < COLS ? from + BLOCK : COLS;
        must(t.b->factor->solve_columns(t.b, &problem, &part, &err), &err);
        sum += part;
    }
    assert_same_bits(whole, w, ROWS * COLS * sizeof *w, "blocks");
    assert_true(fabs(sum - loss) <= 1e-12 * loss);
    for (int64_t i = 0; i < ROWS * COLS; i++)
        assert_int_equal(s.calls[i], 2);
    problem.to = COLS + 1;
    assert_int_equal(t.b->factor->solve_columns(t.b, &problem, &part, &err), VISE_EINTERNAL);
    problem.from = BLOCK / 2;
    problem.to = COLS;
    assert_int_equal(t.b->factor->solve_columns(t.b, &problem, &part, &err), VISE_EINTERNAL);
    close_backend(&t);
    free(s.calls);
    free(whole);
    free(w);
    free(u);
}

static void test_period_must_divide(void **state)
{
    (void)state;
    vise_error err = {0};
    float w = 1.0f;
    float u = 1.0f;
    double loss;
    smooth s = {1, 1, 3, NULL, NULL, false};
    test_backend t = open_backend(vise_cpu_highest(), 1);
    vise_solve problem = {.rows = 1,
                          .cols = 1,
                          .w = &w,
                          .ldw = 1,
                          .u = &u,
                          .ldu = 1,
                          .enter = smooth_enter,
                          .period = 3,
                          .project = smooth_project,
                          .context = &s};
    assert_int_equal(t.b->factor->solve_columns(t.b, &problem, &loss, &err), VISE_EINTERNAL);
    assert_int_equal(err.status, VISE_EINTERNAL);
    close_backend(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_double),
        cmocka_unit_test(test_loss_is_the_output_error),
        cmocka_unit_test(test_projectors_agree),
        cmocka_unit_test(test_blocks_one_by_one),
        cmocka_unit_test(test_period_must_divide),
    };
    return cmocka_run_group_tests_name("solve", tests, NULL, NULL);
}
