/* A model walked beside another one: products of their inputs against naive double-precision models, both streams in
 * step, the same bits for any number of threads and for spilled streams. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "model/forward.h"
#include "model/stream.h"
#include "tiny_llama.h"

enum { INPUTS = VISE_INPUT_DOWN + 1, WINDOWS = 5, LENGTH = 33, TOKENS = WINDOWS * LENGTH };

static const tiny_llama shape = {.hidden = 24, .ffn = 20, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 8,
                                 .vocab = 37, .positions = 64, .bias = true};

static void must(vise_status status, const vise_error *err)
{
    if (status != VISE_OK)
        fail_msg("%s", err->message);
}

/* Model 0 is measured, 1 is walked beside it: the same shape, other weights. */
typedef struct pair {
    tiny_llama llama[2];
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
    vise_model *model[2];
    vise_stream *stream[2];
    vise_windows windows;
    vise_error err;
} pair;

static void start(pair *p, int threads, uint64_t ram)
{
    vise_rng rng;
    *p = (pair){.llama = {shape, shape}, .windows = {.count = WINDOWS, .length = LENGTH}};
    vise_rng_init(&rng, 7, "windows");
    must(vise_workers_new(threads, &p->workers, &p->err), &p->err);
    must(vise_pool_new(0, &p->pool, &p->err), &p->err);
    must(vise_backend_open("cpu", p->workers, &p->backend, &p->err), &p->err);
    p->windows.ids = malloc(TOKENS * sizeof(int32_t));
    assert_non_null(p->windows.ids);
    for (size_t i = 0; i < TOKENS; i++)
        p->windows.ids[i] = (int32_t)vise_rng_below(&rng, (uint64_t)shape.vocab);
    for (int m = 0; m < 2; m++) {
        tiny_llama_make(&p->llama[m], 30 + (uint64_t)m);
        must(vise_model_open(p->llama[m].folder, &p->model[m], &p->err), &p->err);
        must(vise_stream_open(p->model[m], &p->windows, ram, p->workers, p->pool, &p->stream[m], &p->err), &p->err);
    }
}

static void stop(pair *p)
{
    for (int m = 0; m < 2; m++) {
        vise_stream_close(p->stream[m]);
        vise_model_close(p->model[m]);
        tiny_llama_drop(&p->llama[m]);
    }
    free(p->windows.ids);
    vise_backend_close(p->backend);
    assert_int_equal(vise_pool_used(p->pool), 0);
    vise_pool_free(p->pool);
    vise_workers_free(p->workers);
}

/* What the walk over blocks does: each input is measured alone, the attention half is finished on the way. */
static void walk(pair *p, int layer, vise_block_stats stats[INPUTS])
{
    vise_block block[2];
    for (int m = 0; m < 2; m++)
        must(vise_block_load(p->model[m], layer, p->workers, p->pool, &block[m], &p->err), &p->err);
    const vise_beside beside = {&block[1], p->stream[1]};
    for (int input = 0; input < INPUTS; input++) {
        const vise_half half = input < VISE_INPUT_MLP    ? VISE_BOTH_HALVES
                               : input == VISE_INPUT_MLP ? VISE_ATTENTION_HALF
                                                         : VISE_MLP_HALF;
        const unsigned wanted = VISE_STAT_GRAM | VISE_STAT_CROSS | VISE_STAT_RESIDUAL;
        must(vise_block_measure_beside(p->model[0], &block[0], &beside, half, p->stream[0], p->backend, wanted,
                                       1u << input, &stats[input], &p->err),
             &p->err);
    }
    for (int m = 0; m < 2; m++) {
        must(vise_block_forward_half(p->model[m], &block[m], VISE_MLP_HALF, p->stream[m], p->backend, &p->err),
             &p->err);
        vise_block_unload(&block[m]);
    }
}

/* The residual stream that o (mid false) and down add to, [LENGTH, hidden]: from embeddings or the layer before, with
 * o's output. */
static void residual_of(const pair *p, int m, int layer, size_t window, const tiny_result *seen, bool mid, double *r)
{
    const int64_t hidden = shape.hidden;
    const int32_t *ids = p->windows.ids + window * LENGTH;
    if (layer > 0) {
        tiny_result before;
        tiny_llama_run(&p->llama[m], ids, LENGTH, layer - 1, &before);
        memcpy(r, before.stream, (size_t)(LENGTH * hidden) * sizeof *r);
        tiny_result_free(&before);
    } else {
        for (size_t i = 0; i < p->llama[m].n_tensors; i++)
            if (strcmp(p->llama[m].tensors[i].name, "model.embed_tokens.weight") == 0)
                for (int64_t e = 0; e < LENGTH * hidden; e++)
                    r[e] = (double)p->llama[m].tensors[i].values[ids[e / hidden] * hidden + e % hidden];
    }
    if (mid)
        tiny_llama_linear(&p->llama[m], layer, "self_attn.o_proj", LENGTH, shape.heads * shape.head_dim, hidden,
                          seen->input[VISE_INPUT_O], true, r);
}

static void check_residuals(const pair *p, int layer, const vise_block_stats stats[INPUTS])
{
    for (int i = 0; i < INPUTS; i++) {
        const vise_input_stats *input = &stats[i].input[i];
        const int64_t d = input->width, hidden = shape.hidden;
        if (i != VISE_INPUT_O && i != VISE_INPUT_DOWN) {
            assert_null(input->residual);
            continue;
        }
        double *expected = calloc((size_t)(hidden * d), sizeof *expected), largest = 0.0;
        assert_non_null(expected);
        for (size_t w = 0; w < WINDOWS; w++) {
            double r[2][LENGTH * 24];
            tiny_result seen[2];
            for (int m = 0; m < 2; m++) {
                tiny_llama_run(&p->llama[m], p->windows.ids + w * LENGTH, LENGTH, layer, &seen[m]);
                residual_of(p, m, layer, w, &seen[m], i == VISE_INPUT_DOWN, r[m]);
            }
            for (int64_t t = 0; t < LENGTH; t++)
                for (int64_t a = 0; a < hidden; a++)
                    for (int64_t b = 0; b < d; b++)
                        expected[a * d + b] +=
                            (r[1][t * hidden + a] - r[0][t * hidden + a]) * seen[0].input[i][t * d + b];
            tiny_result_free(&seen[0]);
            tiny_result_free(&seen[1]);
        }
        for (int64_t e = 0; e < hidden * d; e++)
            largest = fmax(largest, fabs(expected[e]));
        assert_true(largest > 0.0);
        for (int64_t e = 0; e < hidden * d; e++)
            assert_true(fabs((double)input->residual[e] - expected[e]) <= 1e-4 * largest);
        free(expected);
    }
}

static void check_products(const pair *p, int layer, const vise_block_stats stats[INPUTS])
{
    double *expected[INPUTS] = {0}, largest[INPUTS] = {0};
    for (size_t w = 0; w < WINDOWS; w++) {
        tiny_result seen[2];
        for (int m = 0; m < 2; m++)
            tiny_llama_run(&p->llama[m], p->windows.ids + w * LENGTH, LENGTH, layer, &seen[m]);
        for (int i = 0; i < INPUTS; i++) {
            const int64_t d = stats[i].input[i].width;
            if (expected[i] == NULL)
                expected[i] = calloc((size_t)(d * d), sizeof(double));
            assert_non_null(expected[i]);
            for (int64_t t = 0; t < LENGTH; t++)
                for (int64_t a = 0; a < d; a++)
                    for (int64_t b = 0; b < d; b++)
                        expected[i][a * d + b] += (seen[1].input[i][t * d + a] - seen[0].input[i][t * d + a]) *
                                                  seen[0].input[i][t * d + b];
        }
        for (int m = 0; m < 2; m++) {
            float now[LENGTH * 24];
            vise_error err = {0};
            must(vise_stream_read(p->stream[m], w * LENGTH, LENGTH, now, &err), &err);
            for (int64_t i = 0; i < LENGTH * shape.hidden; i++)
                assert_true(fabs((double)now[i] - seen[m].stream[i]) <= 1e-4 * (1.0 + fabs(seen[m].stream[i])));
            tiny_result_free(&seen[m]);
        }
    }
    for (int i = 0; i < INPUTS; i++) {
        const int64_t d = stats[i].input[i].width;
        for (int64_t e = 0; e < d * d; e++)
            largest[i] = fmax(largest[i], fabs(expected[i][e]));
        assert_true(largest[i] > 0.0);
        for (int64_t e = 0; e < d * d; e++)
            assert_true(fabs((double)stats[i].input[i].cross[e] - expected[i][e]) <= 1e-4 * largest[i]);
        free(expected[i]);
    }
}

static void test_products_are_the_naive_ones(void **state)
{
    (void)state;
    pair p;
    vise_block_stats stats[INPUTS];
    start(&p, 2, UINT64_MAX);
    for (int layer = 0; layer < (int)shape.layers; layer++) {
        walk(&p, layer, stats);
        check_products(&p, layer, stats);
        check_residuals(&p, layer, stats);
        for (int i = 0; i < INPUTS; i++)
            vise_block_stats_deinit(&stats[i]);
    }
    stop(&p);
}

static void test_same_bits(void **state)
{
    (void)state;
    pair one, other;
    vise_block_stats a[INPUTS], b[INPUTS];
    start(&one, 1, UINT64_MAX);
    walk(&one, 0, a);
    for (int threads = 2; threads <= 3; threads++) {
        start(&other, threads, 7000);
        walk(&other, 0, b);
        for (int i = 0; i < INPUTS; i++) {
            const size_t d = (size_t)a[i].input[i].width;
            assert_memory_equal(a[i].input[i].cross, b[i].input[i].cross, d * d * sizeof(float));
            if (a[i].input[i].residual != NULL)
                assert_memory_equal(a[i].input[i].residual, b[i].input[i].residual,
                                    (size_t)shape.hidden * d * sizeof(float));
            assert_memory_equal(a[i].input[i].gram, b[i].input[i].gram, d * d * sizeof(float));
            vise_block_stats_deinit(&b[i]);
        }
        stop(&other);
    }
    for (int i = 0; i < INPUTS; i++)
        vise_block_stats_deinit(&a[i]);
    stop(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_are_the_naive_ones),
        cmocka_unit_test(test_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
