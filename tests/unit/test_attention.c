#include "tests/unit/compute_help.h"

enum { PAD = 3 };

typedef struct attention_case {
    int64_t t, heads, kv_heads, head_dim, window;
    bool bidirectional, biased;
    float cap;
} attention_case;

static const attention_case cases[] = {
    {0, 2, 1, 8, 0, false, false, 0.0f}, {70, 4, 2, 16, 0, true, false, 0.0f},
    {130, 2, 2, 8, 9, true, true, 0.0f}, {129, 3, 1, 8, 0, false, true, 0.0f},
    {150, 2, 1, 16, 20, false, true, 0.8f}, {90, 2, 2, 8, 0, false, false, 1.3f},
    {1, 1, 1, 1, 0, false, false, 0.0f}, {1, 4, 2, 16, 0, false, false, 0.0f},
    {3, 2, 2, 5, 0, false, false, 0.0f}, {17, 6, 3, 8, 0, false, false, 0.0f},
    {105, 4, 1, 32, 0, false, false, 0.0f}, {127, 2, 1, 16, 0, false, false, 0.0f},
    {128, 2, 2, 64, 0, false, false, 0.0f}, {129, 2, 1, 16, 0, false, false, 0.0f},
    {300, 3, 3, 17, 0, false, false, 0.0f}, {300, 4, 2, 16, 1, false, false, 0.0f},
    {300, 2, 1, 16, 7, false, false, 0.0f}, {300, 2, 1, 16, 128, false, false, 0.0f},
    {300, 2, 1, 16, 200, false, false, 0.0f}, {257, 2, 2, 8, 1000, false, false, 0.0f},
};

static void reference(const attention_case *c, const float *q, const float *k, const float *v, const float *bias,
                      double scale, double *out)
{
    int64_t ldq = c->heads * c->head_dim + PAD;
    int64_t ldk = c->kv_heads * c->head_dim + PAD;
    double *p = calloc((size_t)c->t + 1, sizeof *p);
    assert_non_null(p);
    for (int64_t row = 0; row < c->t * c->heads; row++) {
        int64_t i = row / c->heads;
        int64_t head = row % c->heads;
        int64_t kv = head / (c->heads / c->kv_heads);
        int64_t first = c->window > 0 && i >= c->window && !c->bidirectional ? i - c->window + 1 : 0;
        int64_t last = c->bidirectional ? c->t - 1 : i;
        double sum = 0.0;
        for (int64_t j = first; j <= last; j++) {
            double score = 0.0;
            for (int64_t e = 0; e < c->head_dim; e++)
                score +=
                    (double)q[i * ldq + head * c->head_dim + e] * (double)k[j * ldk + kv * c->head_dim + e];
            score *= scale;
            if (c->cap > 0.0f)
                score = (double)c->cap * tanh(score / (double)c->cap);
            if (c->biased)
                score += (double)bias[head * c->t + j];
            p[j] = exp(score);
            sum += p[j];
        }
        for (int64_t e = 0; e < c->head_dim; e++) {
            double value = 0.0;
            for (int64_t j = first; j <= last; j++)
                value += p[j] / sum * (double)v[j * ldk + kv * c->head_dim + e];
            out[i * ldq + head * c->head_dim + e] = value;
        }
    }
    free(p);
}

static void test_attention(void **state)
{
    (void)state;
    vise_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const attention_case *c = &cases[i];
        int64_t ldq = c->heads * c->head_dim + PAD;
        int64_t ldk = c->kv_heads * c->head_dim + PAD;
        float *q = random_floats(c->t * ldq, 51);
        float *k = random_floats(c->t * ldk, 52);
        float *v = random_floats(c->t * ldk, 53);
        float *out = random_floats(c->t * ldq, 54);
        float *bias = random_floats(c->heads * c->t, 55);
        double *expected = calloc((size_t)(c->t * ldq) + 1, sizeof *expected);
        assert_non_null(expected);
        for (int64_t e = 0; e < c->t * ldq; e++)
            expected[e] = (double)out[e]; /* what lies between rows stays */
        reference(c, q, k, v, bias, 0.7, expected);
        for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
            test_backend t = open_backend((vise_cpu_level)level, 0);
            float *result = copy_floats(out, c->t * ldq);
            size_t room = t.b->network->attention_scratch(c->t, c->head_dim);
            float *scratch =
                malloc(room * sizeof *scratch + 1); /* exactly: a byte more is an error of the sanitizer's */
            assert_non_null(scratch);
            memset(scratch, 0xff, room * sizeof *scratch);
            const vise_attention a = {.t = c->t, .heads = c->heads, .kv_heads = c->kv_heads, .head_dim = c->head_dim,
                                      .q = q, .ldq = ldq, .k = k, .ldk = ldk, .v = v, .ldv = ldk, .scale = 0.7f,
                                      .cap = c->cap, .window = c->window, .bidirectional = c->bidirectional,
                                      .bias = c->biased ? bias : NULL, .ld_bias = c->t, .scratch = scratch,
                                      .out = result, .ldo = ldq};
            must(t.b->network->attention(t.b, &a, &err), &err);
            assert_close(result, expected, c->t * ldq, 3e-6, "attention", c->t, c->head_dim, c->window);
            free(scratch);
            free(result);
            close_backend(&t);
        }
        free(q);
        free(k);
        free(v);
        free(out);
        free(bias);
        free(expected);
    }
}

static void test_heads_must_share(void **state)
{
    (void)state;
    vise_error err = {0};
    float x[16] = {0};
    float scratch[16];
    test_backend t = open_backend(vise_cpu_highest(), 0);
    const vise_attention a = {.t = 1, .heads = 3, .kv_heads = 2, .head_dim = 2, .q = x, .ldq = 6, .k = x, .ldk = 4,
                              .v = x, .ldv = 4, .scale = 1.0f, .scratch = scratch, .out = x, .ldo = 6};
    assert_int_equal(t.b->network->attention(t.b, &a, &err), VISE_EINTERNAL);
    close_backend(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_heads_must_share),
    };
    return cmocka_run_group_tests_name("attention", tests, NULL, NULL);
}
