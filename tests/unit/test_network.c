#include "compute/network_kernels.h"
#include "tests/unit/compute_help.h"

static const int64_t sizes[] = {0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 105, 352, 513};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static const vise_network_kernels *kernels_at(int level)
{
    static const vise_network_kernels *const all[] = {&vise_network_kernels_ref, &vise_network_kernels_avx2,
                                                      &vise_network_kernels_avx512};
    return all[level];
}

static double *doubles(int64_t n)
{
    double *x = calloc((size_t)n + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

/* The whole range of float, some 4 million values: at most 2 units in the last place, denormal results
 * included. */
static void test_exp(void **state)
{
    (void)state;
    enum { N = 1024 };
    float x[N];
    float y[N];
    for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
        double worst = 0.0;
        uint64_t bits = 0;
        while (bits < UINT32_MAX) {
            for (int i = 0; i < N; i++, bits += 1021) {
                uint32_t word = (uint32_t)bits;
                memcpy(&x[i], &word, sizeof word);
            }
            kernels_at(level)->exp(N, x, y);
            for (int i = 0; i < N; i++) {
                if (isnan(x[i])) {
                    assert_true(isnan(y[i]));
                    continue;
                }
                double exact = exp((double)x[i]);
                if ((float)exact > 3.4e38f) {
                    assert_true(y[i] > 3.4e38f);
                    continue;
                }
                double ulp = ldexp(1.0, exact < 0x1p-126 ? -149 : ilogb(exact) - 23);
                worst = fmax(worst, fabs((double)y[i] - exact) / ulp);
            }
        }
        print_message("exp, %s: at most %.3f ulp\n", vise_cpu_level_name((vise_cpu_level)level), worst);
        assert_true(worst <= 2.0);
    }
    const float special[] = {0.0f,      -0.0f,    INFINITY, -INFINITY, 88.72283f,
                             88.72284f, -103.97f, -103.98f, 1e-30f};
    for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
        kernels_at(level)->exp(9, special, y);
        assert_true(y[0] >= 1.0f && y[0] <= 1.0f && y[1] >= 1.0f && y[1] <= 1.0f);
        assert_true(isinf(y[2]) && y[3] <= 0.0f && y[3] >= 0.0f);
        assert_true(isfinite(y[4]) && isinf(y[5]));
        assert_true(y[6] > 0.0f && y[7] <= 0.0f);
        assert_true(y[8] >= 1.0f && y[8] <= 1.0f);
    }
}

static void test_rms_norm(void **state)
{
    (void)state;
    vise_error err = {0};
    for (int level = 0; level <= (int)vise_cpu_highest(); level++)
        for (int s = 1; s < SIZES; s++) {
            test_backend t = open_backend((vise_cpu_level)level, 0);
            int64_t d = sizes[s];
            float *x = random_floats(3 * d, 31);
            float *weight = random_floats(d, 32);
            float *y = random_floats(3 * d, 33);
            double *expected = doubles(3 * d);
            for (int64_t i = 0; i < d; i++) {
                x[d + i] *= 1e18f; /* its squares are beyond float */
                x[2 * d + i] = 0.0f;
            }
            for (int64_t r = 0; r < 3; r++) {
                double sum = 0.0;
                for (int64_t i = 0; i < d; i++)
                    sum += (double)x[r * d + i] * (double)x[r * d + i];
                for (int64_t i = 0; i < d; i++)
                    expected[r * d + i] =
                        (double)x[r * d + i] / sqrt(sum / (double)d + 1e-5) * (double)weight[i];
            }
            must(t.b->network->rms_norm(t.b, 3, d, x, weight, 1e-5f, y, &err), &err);
            assert_close(y, expected, 3 * d, 1e-6 * sqrt((double)d), "rms_norm", d, 0, 0);
            free(x);
            free(weight);
            free(y);
            free(expected);
            close_backend(&t);
        }
}

static void test_rope(void **state)
{
    (void)state;
    enum { T = 5, HEADS = 3, LD = 300 };
    static const int64_t dims[][2] = {{2, 2}, {8, 8}, {64, 64}, {80, 20}, {96, 96}, {6, 0}};
    vise_error err = {0};
    for (int level = 0; level <= (int)vise_cpu_highest(); level++)
        for (size_t c = 0; c < sizeof dims / sizeof dims[0]; c++) {
            test_backend t = open_backend((vise_cpu_level)level, 0);
            int64_t head_dim = dims[c][0];
            int64_t half = dims[c][1] / 2;
            float *x = random_floats(T * LD, 34);
            float *cosine = random_floats(T * half, 35);
            float *sine = random_floats(T * half, 36);
            double *expected = doubles(T * LD);
            for (int64_t i = 0; i < T * LD; i++) {
                int64_t head = i % LD / head_dim;
                int64_t k = i % LD % head_dim;
                int64_t angle = i / LD * half + (half > 0 ? k % half : 0);
                expected[i] = (double)x[i];
                if (head >= HEADS || k >= 2 * half)
                    continue;
                double other = k < half ? -(double)x[i + half] : (double)x[i - half];
                expected[i] = (double)x[i] * (double)cosine[angle] + other * (double)sine[angle];
            }
            must(t.b->network->rope(t.b, T, HEADS, head_dim, dims[c][1], x, LD, cosine, sine, &err), &err);
            assert_close(x, expected, T * LD, 3e-7, "rope", head_dim, dims[c][1], 0);
            free(x);
            free(cosine);
            free(sine);
            free(expected);
            close_backend(&t);
        }
}

static void test_silu_and_add(void **state)
{
    (void)state;
    vise_error err = {0};
    for (int level = 0; level <= (int)vise_cpu_highest(); level++)
        for (int s = 0; s < SIZES; s++) {
            test_backend t = open_backend((vise_cpu_level)level, 0);
            int64_t n = sizes[s];
            float *gate = random_floats(n, 37);
            float *up = random_floats(n, 38);
            double *expected = doubles(n);
            for (int64_t i = 0; i < n; i++) {
                gate[i] *= i % 4 == 0 ? 200.0f : 8.0f; /* e^-x overflows for some */
                expected[i] = (double)gate[i] / (1.0 + exp(-(double)gate[i])) * (double)up[i];
            }
            must(t.b->network->silu_mul(t.b, n, gate, up, &err), &err);
            for (int64_t i = 0; i < n; i++)
                assert_true(fabs((double)gate[i] - expected[i]) <= 5e-7 * fabs(expected[i]) + 1e-37);
            for (int64_t i = 0; i < n; i++)
                expected[i] = (double)(gate[i] + up[i]);
            must(t.b->network->add(t.b, n, gate, up, &err), &err);
            assert_close(gate, expected, n, 0.0, "add", n, 0, 0);
            free(gate);
            free(up);
            free(expected);
            close_backend(&t);
        }
}

/* log sum exp and argmax of a row in double. */
static double logsumexp(const float *x, int64_t n, int64_t *best)
{
    double sum = 0.0;
    *best = 0;
    for (int64_t i = 1; i < n; i++)
        *best = x[i] > x[*best] ? i : *best;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[*best]);
    return (double)x[*best] + log(sum);
}

static void test_nll_and_compare(void **state)
{
    (void)state;
    enum { T = 4 };
    static const int64_t vocabs[] = {1, 3, 17, 512, 5003};
    static const float distances[] = {0.0f, 1e-3f, 0.3f, 5.0f};
    vise_error err = {0};
    for (int level = 0; level <= (int)vise_cpu_highest(); level++)
        for (int s = 0; s < 5 * 4; s++) {
            test_backend t = open_backend((vise_cpu_level)level, 0);
            int64_t vocab = vocabs[s % 5];
            float *p = random_floats(T * vocab, 39);
            float *q = random_floats(T * vocab, 40);
            int32_t target[T] = {0, -1, (int32_t)(vocab - 1), (int32_t)(vocab / 2)};
            double nll[T];
            double kl[T];
            uint8_t agree[T];
            for (int64_t i = 0; i < T * vocab; i++) {
                p[i] = 12.0f * p[i] + (i / vocab == 2 ? 3000.0f : 0.0f);
                q[i] = p[i] + distances[s / 5] * q[i];
            }
            if (vocab > 3) /* a tie for the highest: the first one counts */
                p[0] = p[3] = p[2] = 20.0f;
            must(t.b->network->nll(t.b, T, vocab, p, target, nll, &err), &err);
            must(t.b->network->compare(t.b, T, vocab, p, q, kl, agree, &err), &err);
            for (int64_t r = 0; r < T; r++) {
                int64_t best_p;
                int64_t best_q;
                double lse_p = logsumexp(p + r * vocab, vocab, &best_p);
                double lse_q = logsumexp(q + r * vocab, vocab, &best_q);
                double expected = 0.0;
                for (int64_t i = 0; i < vocab; i++) {
                    double log_p = (double)p[r * vocab + i] - lse_p;
                    expected += exp(log_p) * (log_p - ((double)q[r * vocab + i] - lse_q));
                }
                assert_true(kl[r] >= 0.0 && fabs(kl[r] - expected) <= 1e-6 * (1.0 + expected));
                assert_int_equal(agree[r], best_p == best_q);
                expected = target[r] < 0 ? 0.0 : lse_p - (double)p[r * vocab + target[r]];
                assert_true(fabs(nll[r] - expected) <= 1e-6);
            }
            target[0] = (int32_t)vocab;
            assert_int_equal(t.b->network->nll(t.b, T, vocab, p, target, nll, &err), VISE_EUSAGE);
            err = (vise_error){0};
            must(t.b->network->nll(t.b, 0, vocab, p, target, nll, &err), &err);
            free(p);
            free(q);
            close_backend(&t);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_silu_and_add),
        cmocka_unit_test(test_nll_and_compare),
    };
    return cmocka_run_group_tests_name("network", tests, NULL, NULL);
}
