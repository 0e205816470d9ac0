/* Functions of one value, LayerNorm and products, on every CPU level against double arithmetic. */
#include "tests/unit/compute_help.h"

static const int64_t sizes[] = {0, 1, 7, 64, 255, 256, 257, 1000};

static double exact(vise_nonlinearity f, double x)
{
    switch (f) {
    case VISE_SILU:
        return x / (1.0 + exp(-x));
    case VISE_GELU:
        return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    case VISE_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case VISE_GELU_QUICK:
        return x / (1.0 + exp(-1.702 * x));
    case VISE_RELU:
        return x > 0.0 ? x : 0.0;
    case VISE_TANH:
        return tanh(x);
    }
    return NAN;
}

static void test_apply(void **state)
{
    (void)state;
    vise_error err = {0};
    for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
        test_backend t = open_backend((vise_cpu_level)level, 0);
        for (int f = VISE_SILU; f <= VISE_TANH; f++)
            for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
                float *x = random_floats(sizes[s] + 1, 61 + s), *y = copy_floats(x, sizes[s] + 1);
                for (int64_t i = 0; i < sizes[s]; i++)
                    y[i] = x[i] *= 12.0f; /* into the flat ends too */
                must(t.b->network->apply(t.b, (vise_nonlinearity)f, sizes[s], y, &err), &err);
                for (int64_t i = 0; i < sizes[s]; i++)
                    assert_true(fabs((double)y[i] - exact((vise_nonlinearity)f, (double)x[i])) <=
                                2e-6 * fmax(1.0, fabs((double)x[i])));
                assert_true(y[sizes[s]] == x[sizes[s]]); /* what lies behind stays */
                free(x);
                free(y);
            }
        /* Far out the functions are 0 or x, not NaN; a NaN stays one. */
        for (int f = VISE_SILU; f <= VISE_TANH; f++) {
            float x[] = {-1e4f, 1e4f, NAN};
            must(t.b->network->apply(t.b, (vise_nonlinearity)f, 3, x, &err), &err);
            assert_true(fabsf(x[0] - (f == VISE_TANH ? -1.0f : 0.0f)) <= 1e-6f);
            assert_true(fabsf(x[1] - (f == VISE_TANH ? 1.0f : 1e4f)) <= 1e-2f);
            assert_true(isnan(x[2]));
        }
        close_backend(&t);
    }
}

static void test_layer_norm(void **state)
{
    (void)state;
    vise_error err = {0};
    enum { T = 3, EPS = 100 }; /* eps 1e-2, so that it tells */
    for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
        test_backend t = open_backend((vise_cpu_level)level, 0);
        for (size_t s = 1; s < sizeof sizes / sizeof sizes[0]; s++) {
            int64_t d = sizes[s];
            float *x = random_floats(T * d, 71), *w = random_floats(d, 72), *b = random_floats(d, 73);
            float *y = copy_floats(x, T * d);
            for (int64_t i = 0; i < T * d; i++)
                y[i] = x[i] += 30.0f; /* a mean that a careless variance would drown in */
            must(t.b->network->layer_norm(t.b, T, d, y, w, b, 1.0f / EPS, y, &err), &err); /* in place */
            for (int64_t i = 0; i < T; i++) {
                double mean = 0.0, variance = 0.0;
                for (int64_t j = 0; j < d; j++)
                    mean += (double)x[i * d + j] / (double)d;
                for (int64_t j = 0; j < d; j++)
                    variance += pow((double)x[i * d + j] - mean, 2.0) / (double)d;
                for (int64_t j = 0; j < d; j++) {
                    double expected = ((double)x[i * d + j] - mean) / sqrt(variance + (double)(1.0f / EPS));
                    assert_true(fabs(expected * (double)w[j] + (double)b[j] - (double)y[i * d + j]) <= 3e-5);
                }
            }
            free(x);
            free(w);
            free(b);
            free(y);
        }
        close_backend(&t);
    }
}

static void test_multiply(void **state)
{
    (void)state;
    vise_error err = {0};
    test_backend t = open_backend(vise_cpu_highest(), 0);
    float x[] = {2.0f, -3.0f, 0.5f}, y[] = {4.0f, 5.0f, -6.0f};
    must(t.b->network->multiply(t.b, 3, x, y, &err), &err);
    assert_true(x[0] == 8.0f && x[1] == -15.0f && x[2] == -3.0f);
    close_backend(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_multiply),
    };
    return cmocka_run_group_tests_name("nonlinear", tests, NULL, NULL);
}
