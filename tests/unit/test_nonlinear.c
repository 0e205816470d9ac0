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

/* Every 1009th float: what value_kernels.h promises of the vector versions. */
static void test_accuracy(void **state)
{
    (void)state;
    vise_error err = {0};
    enum { N = 2048 };
    static float x[N], y[N];
    for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
        test_backend t = open_backend((vise_cpu_level)level, 0);
        for (int f = VISE_SILU; f <= VISE_TANH; f++) {
            double worst = 0.0;
            for (uint64_t bits = 0; bits < UINT32_MAX;) {
                for (int i = 0; i < N; i++, bits += 1009) {
                    uint32_t word = (uint32_t)bits;
                    memcpy(&x[i], &word, sizeof word);
                    x[i] = fabsf(x[i]) <= 1e10f ? x[i] : 0.0f;
                    y[i] = x[i];
                }
                must(t.b->network->apply(t.b, (vise_nonlinearity)f, N, y, &err), &err);
                for (int i = 0; i < N; i++) {
                    double value = exact((vise_nonlinearity)f, (double)x[i]);
                    double unit = f == VISE_TANH ? fabs(value) : fabs((double)x[i]);
                    if (unit > 1e-36) /* denormals have less precision */
                        worst = fmax(worst, fabs((double)y[i] - value) / unit);
                }
            }
            print_message("%s, function %d: %.3g\n", vise_cpu_level_name((vise_cpu_level)level), f, worst);
            assert_true(worst <= (f == VISE_RELU ? 0.0 : f == VISE_GELU ? 0x1p-22 : 0x1p-21));
        }
        close_backend(&t);
    }
}

static void test_soft_cap(void **state)
{
    (void)state;
    vise_error err = {0};
    for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
        test_backend t = open_backend((vise_cpu_level)level, 0);
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            float *x = random_floats(sizes[s] + 1, 81 + s), *y = copy_floats(x, sizes[s] + 1);
            for (int64_t i = 0; i < sizes[s]; i++)
                y[i] = x[i] *= i % 3 == 0 ? 300.0f : i % 3 == 1 ? 20.0f : 0.01f;
            must(t.b->network->soft_cap(t.b, sizes[s], y, 30.0f, &err), &err);
            for (int64_t i = 0; i < sizes[s]; i++) {
                double expected = 30.0 * tanh((double)x[i] / 30.0);
                assert_true(fabs((double)y[i] - expected) <= 0x1p-21 * fabs(expected));
            }
            assert_true(y[sizes[s]] == x[sizes[s]]);
            free(x);
            free(y);
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
    for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
        test_backend t = open_backend((vise_cpu_level)level, 0);
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            float *x = random_floats(sizes[s] + 1, 91), *y = random_floats(sizes[s] + 1, 92);
            float *z = copy_floats(x, sizes[s] + 1);
            must(t.b->network->multiply(t.b, sizes[s], z, y, &err), &err);
            for (int64_t i = 0; i < sizes[s]; i++)
                assert_true(z[i] == x[i] * y[i]);
            assert_true(z[sizes[s]] == x[sizes[s]]);
            free(x);
            free(y);
            free(z);
        }
        close_backend(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_soft_cap),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_multiply),
    };
    return cmocka_run_group_tests_name("nonlinear", tests, NULL, NULL);
}
