/* Coordinate descent on the output error: compute/descend.h. */
#include "compute/descend.h"
#include "compute/project.h"
#include "tests/unit/compute_help.h"

enum { ROWS_MAX = 150, COLS_MAX = 160, STRIDE = 160 };

typedef struct setup {
    int64_t rows, cols, group;
    float *w, *start, *h;
    float scale[COLS_MAX * STRIDE]; /* [groups][STRIDE] */
    vise_uniform_grid grid;
    bool masked; /* every fifth weight of a row stays zero */
} setup;

static void project(void *context, int64_t row0, int n, int64_t col, const float *values, float *projected)
{
    const setup *p = context;
    assert_true(row0 % VISE_SOLVE_LANES == 0 && n >= 1 && n <= VISE_SOLVE_LANES && row0 + n <= p->rows);
    vise_uniform_projector_for(vise_cpu())(&p->grid, row0, col, values, projected);
    for (int lane = 0; p->masked && lane < n; lane++)
        if ((row0 + lane + col) % 5 == 0)
            projected[lane] = 0.0f;
}

static float rescale(void *context, int64_t row, int64_t g, float best)
{
    setup *p = context;
    float *scale = &p->scale[g * STRIDE + row];
    if (best / *scale > 0.0f)
        *scale = best;
    return *scale;
}

static void fill_scales(setup *p)
{
    for (int64_t g = 0; g < p->cols / p->group; g++)
        for (int64_t r = 0; r < STRIDE; r++)
            p->scale[g * STRIDE + r] = ((r + g) % 3 == 0 ? -1.0f : 1.0f) * (0.4f + 0.01f * (float)(r % 7));
}

static void open_setup(setup *p, int64_t rows, int64_t cols, int64_t group, bool masked)
{
    *p = (setup){.rows = rows, .cols = cols, .group = group, .masked = masked};
    p->w = random_floats(rows * cols, 41);
    p->start = random_floats(rows * cols, 42);
    p->h = calloc((size_t)(cols * cols), sizeof *p->h);
    assert_non_null(p->h);
    float *x = random_floats(3 * cols * cols, 43);
    for (int64_t t = 0; t < 3 * cols; t++)
        for (int64_t i = 1; i < cols; i++)
            x[t * cols + i] += 0.7f * x[t * cols + i - 1];
    for (int64_t i = 0; i < cols; i++)
        for (int64_t j = 0; j < cols; j++)
            for (int64_t t = 0; t < 3 * cols; t++)
                p->h[i * cols + j] += x[t * cols + i] * x[t * cols + j] / (float)cols;
    free(x);
    fill_scales(p);
    p->grid = (vise_uniform_grid){p->scale, NULL, STRIDE, group, -2.0f, 1.0f};
    for (int64_t r = 0; r < rows; r += VISE_SOLVE_LANES) /* the start: rounded to nearest */
        for (int64_t c = 0; c < cols; c++) {
            float in[VISE_SOLVE_LANES] = {0}, out[VISE_SOLVE_LANES] = {0};
            int n = rows - r < VISE_SOLVE_LANES ? (int)(rows - r) : VISE_SOLVE_LANES;
            for (int lane = 0; lane < n; lane++)
                in[lane] = p->w[(r + lane) * cols + c];
            project(p, r, n, c, in, out);
            for (int lane = 0; lane < n; lane++)
                p->start[(r + lane) * cols + c] = out[lane];
        }
}

static void close_setup(setup *p)
{
    free(p->w);
    free(p->start);
    free(p->h);
}

static double quadratic(const setup *p, const float *q)
{
    double sum = 0.0;
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t i = 0; i < p->cols; i++)
            for (int64_t j = 0; j < p->cols; j++)
                sum += 0.5 * ((double)p->w[r * p->cols + i] - (double)q[r * p->cols + i]) *
                       (double)p->h[i * p->cols + j] *
                       ((double)p->w[r * p->cols + j] - (double)q[r * p->cols + j]);
    return sum;
}

static double run(setup *p, int sweeps, bool refit, int threads, float *q)
{
    vise_error err = {0};
    vise_pool *pool;
    test_backend t = open_backend(vise_cpu(), threads);
    must(vise_pool_new(0, &pool, &err), &err);
    fill_scales(p);
    memcpy(q, p->start, (size_t)(p->rows * p->cols) * sizeof *q);
    const vise_descend problem = {.rows = p->rows, .cols = p->cols, .h = p->h, .w = p->w, .q = q, .sweeps = sweeps,
                                  .project = project, .scale = refit ? p->scale : NULL, .stride = STRIDE,
                                  .group = p->group, .rescale = rescale, .context = p};
    double loss = -1.0;
    must(vise_descend_columns(t.b, pool, &problem, &loss, &err), &err);
    assert_true(vise_pool_peak(pool) <= vise_descend_bytes(p->cols, p->group, threads > 0 ? threads : 1) + 64);
    vise_pool_free(pool);
    close_backend(&t);
    return loss;
}

static const int64_t shapes[][3] = {{1, 32, 32}, {70, 96, 32}, {17, 100, 50}, {150, 160, 160}, {64, 40, 8}};

/* What is reported is the loss, and every sweep lowers it; a fit of scales on top lowers it more. */
static void test_every_sweep_helps(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int masked = 0; masked < 2; masked++)
            for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
                setup p;
                vise_cpu_force((vise_cpu_level)level);
                open_setup(&p, shapes[s][0], shapes[s][1], shapes[s][2], masked != 0);
                float *q = copy_floats(p.start, p.rows * p.cols);
                double before = quadratic(&p, p.start), last = before;
                for (int sweeps = 0; sweeps <= 3; sweeps++) {
                    double loss = run(&p, sweeps, false, 2, q), exact = quadratic(&p, q);
                    assert_true(fabs(loss - exact) <= 2e-5 * before);
                    assert_true(exact <= last * (1.0 + 1e-6));
                    last = exact;
                    if (sweeps == 1 || sweeps == 3) {
                        double fitted = run(&p, sweeps, true, 2, q);
                        assert_true(fabs(fitted - quadratic(&p, q)) <= 2e-5 * before);
                        assert_true(fitted < exact);
                    }
                }
                assert_true(last < 0.9 * before);
                for (int64_t i = 0; masked && i < p.rows * p.cols; i++)
                    assert_true((i / p.cols + i % p.cols) % 5 != 0 || q[i] == 0.0f);
                free(q);
                close_setup(&p);
            }
}

/* After many sweeps no weight alone can move to the code beside it and lower the loss. */
static void test_ends_where_no_step_helps(void **state)
{
    (void)state;
    setup p;
    vise_cpu_force(vise_cpu_highest());
    open_setup(&p, 20, 64, 32, false);
    float *q = copy_floats(p.start, p.rows * p.cols);
    run(&p, 40, false, 1, q);
    for (int64_t r = 0; r < p.rows; r++)
        for (int64_t j = 0; j < p.cols; j++) {
            double g = 0.0;
            for (int64_t i = 0; i < p.cols; i++)
                g += ((double)p.w[r * p.cols + i] - (double)q[r * p.cols + i]) * (double)p.h[i * p.cols + j];
            const float scale = p.scale[j / p.group * STRIDE + r], code = rintf(q[r * p.cols + j] / scale);
            for (float step = -1.0f; step <= 1.0f; step += 2.0f) {
                const double move = (double)(step * scale);
                if (code + step >= -2.0f && code + step <= 1.0f)
                    assert_true(0.5 * move * move * (double)p.h[j * p.cols + j] - move * g >= -1e-4);
            }
        }
    free(q);
    close_setup(&p);
}

static void test_same_bits(void **state)
{
    (void)state;
    for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
        setup p;
        vise_cpu_force((vise_cpu_level)level);
        open_setup(&p, 150, 96, 32, true);
        float *first = copy_floats(p.start, p.rows * p.cols), *q = copy_floats(first, p.rows * p.cols);
        double loss = run(&p, 2, true, 0, first);
        for (int threads = 1; threads <= 3; threads++) {
            double again = run(&p, 2, true, threads, q);
            assert_same_bits(&loss, &again, sizeof loss, "loss");
            assert_same_bits(first, q, (size_t)(p.rows * p.cols) * sizeof *q, "threads");
        }
        free(first);
        free(q);
        close_setup(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sweep_helps),
        cmocka_unit_test(test_ends_where_no_step_helps),
        cmocka_unit_test(test_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
