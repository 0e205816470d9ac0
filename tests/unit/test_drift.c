/* How far streams lie apart behind the head, against naive logits; streams that go on from a copy. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "eval/drift.h"
#include "tiny_llama.h"

enum { WINDOWS = 3, LENGTH = 9, OTHERS = 2 };

static const tiny_llama shape = {.hidden = 16, .ffn = 24, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 4,
                                 .vocab = 50, .positions = 64, .tied = true};

static void must(vise_status status, const vise_error *err)
{
    if (status != VISE_OK)
        fail_msg("%s", err->message);
}

static double log_sum_exp(const double *x, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i]);
    return log(sum);
}

static double naive_drift(const tiny_llama *a, const tiny_llama *b, const int32_t *ids)
{
    double kl = 0.0;
    for (int w = 0; w < WINDOWS; w++) {
        tiny_result of[2];
        tiny_llama_run(a, ids + w * LENGTH, LENGTH, 0, &of[0]);
        tiny_llama_run(b, ids + w * LENGTH, LENGTH, 0, &of[1]);
        for (int64_t t = 0; t < LENGTH; t++) {
            const double *x = of[0].logits + t * shape.vocab, *y = of[1].logits + t * shape.vocab;
            const double lx = log_sum_exp(x, shape.vocab), ly = log_sum_exp(y, shape.vocab);
            for (int64_t v = 0; v < shape.vocab; v++)
                kl += exp(x[v] - lx) * ((x[v] - lx) - (y[v] - ly));
        }
        tiny_result_free(&of[0]);
        tiny_result_free(&of[1]);
    }
    return kl / (WINDOWS * LENGTH);
}

/* Other k's weights of the second block are changed by so much. */
static void change(tiny_llama *b, int k)
{
    float *weight = tiny_llama_weight(b, 1, k == 0 ? "mlp.down_proj.weight" : "self_attn.o_proj.weight");
    for (int64_t i = 0; i < b->hidden * b->hidden; i++)
        weight[i] *= k == 0 ? 0.7f : 1.2f;
    tiny_llama_write(b);
}

static void run_block(const vise_model *model, int layer, vise_stream *stream, vise_workers *workers, vise_pool *pool,
                      vise_backend *backend)
{
    vise_error err = {0};
    vise_block block;
    must(vise_block_load(model, layer, workers, pool, &block, &err), &err);
    must(vise_block_forward(model, &block, stream, backend, &err), &err);
    vise_block_unload(&block);
}

static void drift(int threads, uint64_t ram, double means[OTHERS])
{
    vise_error err = {0};
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
    tiny_llama a = shape, b[OTHERS] = {shape, shape};
    vise_model *model, *other[OTHERS];
    vise_stream *base, *streams[OTHERS];
    int32_t ids[WINDOWS * LENGTH];
    vise_rng rng;
    vise_rng_init(&rng, 5, "ids");
    for (int i = 0; i < WINDOWS * LENGTH; i++)
        ids[i] = (int32_t)vise_rng_below(&rng, (uint64_t)shape.vocab);
    const vise_windows windows = {.ids = ids, .count = WINDOWS, .length = LENGTH};
    must(vise_workers_new(threads, &workers, &err), &err);
    must(vise_pool_new(0, &pool, &err), &err);
    must(vise_backend_open("cpu", workers, &backend, &err), &err);
    tiny_llama_make(&a, 1);
    must(vise_model_open(a.folder, &model, &err), &err);
    must(vise_stream_open(model, &windows, ram, workers, pool, &base, &err), &err);
    run_block(model, 0, base, workers, pool, backend);
    for (int k = 0; k < OTHERS; k++) {
        tiny_llama_make(&b[k], 1);
        change(&b[k], k);
        must(vise_model_open(b[k].folder, &other[k], &err), &err);
        must(vise_stream_copy(model, &windows, base, ram, pool, &streams[k], &err), &err);
        run_block(other[k], 1, streams[k], workers, pool, backend);
    }
    run_block(model, 1, base, workers, pool, backend);
    const vise_eval_options options = {.windows = &windows, .pool = pool, .workers = workers, .backend = backend};
    must(vise_drift(model, base, streams, OTHERS, &options, means, &err), &err);
    for (int k = 0; k < OTHERS; k++) {
        const double naive = naive_drift(&a, &b[k], ids);
        assert_true(naive > 1e-6 && fabs(means[k] - naive) <= 1e-3 * naive + 1e-9);
        vise_stream_close(streams[k]);
        vise_model_close(other[k]);
        tiny_llama_drop(&b[k]);
    }
    vise_stream *const same[1] = {base};
    double none[1];
    must(vise_drift(model, base, same, 1, &options, none, &err), &err);
    assert_true(none[0] == 0.0);
    vise_stream_close(base);
    vise_model_close(model);
    tiny_llama_drop(&a);
    vise_backend_close(backend);
    assert_int_equal(vise_pool_used(pool), 0);
    vise_pool_free(pool);
    vise_workers_free(workers);
}

static void test_against_naive(void **state)
{
    (void)state;
    double one[OTHERS], two[OTHERS], spilled[OTHERS];
    drift(1, UINT64_MAX, one);
    drift(2, UINT64_MAX, two);
    drift(2, 0, spilled);
    assert_memory_equal(one, two, sizeof one);
    assert_memory_equal(one, spilled, sizeof one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_naive)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
