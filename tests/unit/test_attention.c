#include "tests/unit/compute_help.h"

enum { PAD = 3 };

typedef struct attention_case {
    int64_t t, heads, kv_heads, head_dim, window;
} attention_case;

static const attention_case cases[] = {
    {0, 2, 1, 8, 0},    {1, 1, 1, 1, 0},    {1, 4, 2, 16, 0},     {3, 2, 2, 5, 0},      {17, 6, 3, 8, 0},
    {105, 4, 1, 32, 0}, {127, 2, 1, 16, 0}, {128, 2, 2, 64, 0},   {129, 2, 1, 16, 0},   {300, 3, 3, 17, 0},
    {300, 4, 2, 16, 1}, {300, 2, 1, 16, 7}, {300, 2, 1, 16, 128}, {300, 2, 1, 16, 200}, {257, 2, 2, 8, 1000},
};

static void reference(const attention_case *c, const float *q, const float *k, const float *v, double scale,
                      double *out)
{
    int64_t ldq = c->heads * c->head_dim + PAD;
    int64_t ldk = c->kv_heads * c->head_dim + PAD;
    double *p = calloc((size_t)c->t + 1, sizeof *p);
    assert_non_null(p);
    for (int64_t row = 0; row < c->t * c->heads; row++) {
        int64_t i = row / c->heads;
        int64_t head = row % c->heads;
        int64_t kv = head / (c->heads / c->kv_heads);
        int64_t first = c->window > 0 && i >= c->window ? i - c->window + 1 : 0;
        double sum = 0.0;
        for (int64_t j = first; j <= i; j++) {
            double score = 0.0;
            for (int64_t e = 0; e < c->head_dim; e++)
                score +=
                    (double)q[i * ldq + head * c->head_dim + e] * (double)k[j * ldk + kv * c->head_dim + e];
            p[j] = exp(score * scale);
            sum += p[j];
        }
        for (int64_t e = 0; e < c->head_dim; e++) {
            double value = 0.0;
            for (int64_t j = first; j <= i; j++)
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
        double *expected = calloc((size_t)(c->t * ldq) + 1, sizeof *expected);
        assert_non_null(expected);
        for (int64_t e = 0; e < c->t * ldq; e++)
            expected[e] = (double)out[e]; /* what lies between rows stays */
        reference(c, q, k, v, 0.7, expected);
        for (int level = 0; level <= (int)vise_cpu_highest(); level++) {
            test_backend t = open_backend((vise_cpu_level)level, 0);
            float *result = copy_floats(out, c->t * ldq);
            size_t room = t.b->network->attention_scratch(c->t, c->head_dim);
            float *scratch =
                malloc(room * sizeof *scratch + 1); /* exactly: a byte more is an error of the sanitizer's */
            assert_non_null(scratch);
            memset(scratch, 0xff, room * sizeof *scratch);
            must(t.b->network->attention(t.b, c->t, c->heads, c->kv_heads, c->head_dim, q, ldq, k, ldk, v,
                                         ldk, 0.7f, c->window, scratch, result, ldq, &err),
                 &err);
            assert_close(result, expected, c->t * ldq, 3e-6, "attention", c->t, c->head_dim, c->window);
            free(scratch);
            free(result);
            close_backend(&t);
        }
        free(q);
        free(k);
        free(v);
        free(out);
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
    assert_int_equal(t.b->network->attention(t.b, 1, 3, 2, 2, x, 6, x, 4, x, 4, 1.0f, 0, scratch, x, 6, &err),
                     VISE_EINTERNAL);
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
