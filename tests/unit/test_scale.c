/* Scales of channels: the model computes what it computed, whatever they are; and how they are found. */
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
#include "model/transform.h"
#include "model/weights.h"
#include "pipeline/scaling.h"
#include "quant/awq.h"
#include "tiny_llama.h"

enum { WIDE = 256 };

/* The weights that are read are those of the file, times and divided by the scales, by the plain definition. */
static void check_weight(const tiny_llama *llama, const vise_model *model, vise_role role, const char *name, bool rows,
                         const float *by, bool divides, vise_pool *pool)
{
    vise_error err = {0};
    const size_t index = vise_model_role(model, role, 0);
    const vise_logical *tensor = model->bound[index].tensor;
    const float *stored = tiny_llama_weight(llama, 0, name);
    const size_t n = (size_t)(tensor->rows * tensor->cols);
    float *values = test_malloc(n * sizeof(float));
    assert_non_null(stored);
    assert_int_equal(vise_weight_read(model, index, 0, tensor->rows, values, pool, &err), VISE_OK);
    for (size_t i = 0; i < n; i++) {
        const float s = by[rows ? i / (size_t)tensor->cols : i % (size_t)tensor->cols];
        const float wanted = divides ? stored[i] / s : stored[i] * s;
        assert_true(fabsf(values[i] - wanted) <= 1e-6f * fabsf(wanted));
    }
    test_free(values);
}

static void run_model(const vise_model *model, vise_pool *pool, vise_workers *workers, vise_backend *backend,
                      float *out)
{
    vise_error err = {0};
    int32_t ids[8] = {1, 5, 2, 9, 3, 3, 7, 4};
    vise_windows windows = {.ids = ids, .count = 1, .length = 8};
    vise_stream *stream;
    vise_head *head;
    assert_int_equal(vise_stream_open(model, &windows, UINT64_MAX, workers, pool, &stream, &err), VISE_OK);
    for (int layer = 0; layer < (int)model->config.layers; layer++) {
        vise_block block;
        assert_int_equal(vise_block_load(model, layer, workers, pool, &block, &err), VISE_OK);
        assert_int_equal(vise_block_forward(model, &block, stream, backend, &err), VISE_OK);
        vise_block_unload(&block);
    }
    assert_int_equal(vise_head_open(model, UINT64_MAX, true, workers, pool, &head, &err), VISE_OK);
    assert_int_equal(vise_head_logits(head, stream, backend, 0, 8, out, &err), VISE_OK);
    vise_head_close(head);
    vise_stream_close(stream);
}

static void test_function_stays(void **state)
{
    (void)state;
    for (int64_t kv_heads = 1; kv_heads <= 4; kv_heads *= 2) {
        vise_error err = {0};
        tiny_llama llama = {.hidden = 32, .ffn = 48, .layers = 2, .heads = 4, .kv_heads = kv_heads, .head_dim = 8,
                            .vocab = 16, .positions = 16, .bias = kv_heads == 2};
        vise_model *model;
        vise_pool *pool;
        vise_workers *workers;
        vise_backend *backend;
        float before[8 * 16], after[8 * 16], scale[WIDE], largest = 0.0f;
        vise_rng rng;
        vise_rng_init(&rng, 11, "scales");
        tiny_llama_make(&llama, 5);
        assert_int_equal(vise_pool_new(0, &pool, &err), VISE_OK);
        assert_int_equal(vise_workers_new(2, &workers, &err), VISE_OK);
        assert_int_equal(vise_backend_open("cpu", workers, &backend, &err), VISE_OK);
        assert_int_equal(vise_model_open(llama.folder, &model, &err), VISE_OK);
        run_model(model, pool, workers, backend, before);
        assert_int_equal(vise_scale_begin(model, 0xf, &err), VISE_OK);
        for (int layer = 0; layer < 2; layer++)
            for (int input = VISE_INPUT_ATTENTION; input <= VISE_INPUT_DOWN; input++) {
                const vise_scaled *scaled = vise_scale_of(model, layer, (vise_input)input);
                assert_non_null(scaled);
                for (int64_t c = 0; c < scaled->width; c++)
                    scale[c] = (float)exp(vise_rng_normal(&rng));
                if (input == VISE_INPUT_O)
                    vise_scale_share(model, scaled, scale);
                vise_scale_set(model, scaled, scale);
            }
        run_model(model, pool, workers, backend, after);
        for (int i = 0; i < 8 * 16; i++)
            largest = fmaxf(largest, fabsf(before[i]));
        for (int i = 0; i < 8 * 16; i++)
            assert_true(fabsf(before[i] - after[i]) < 1e-5f * largest);
        const float *s = vise_scale_of(model, 0, VISE_INPUT_MLP)->scale;
        check_weight(&llama, model, VISE_ROLE_GATE, "mlp.gate_proj.weight", false, s, false, pool);
        check_weight(&llama, model, VISE_ROLE_MLP_NORM, "post_attention_layernorm.weight", false, s, true, pool);
        s = vise_scale_of(model, 0, VISE_INPUT_DOWN)->scale;
        check_weight(&llama, model, VISE_ROLE_DOWN, "mlp.down_proj.weight", false, s, false, pool);
        vise_model_close(model);
        vise_backend_close(backend);
        vise_workers_free(workers);
        vise_pool_free(pool);
        tiny_llama_drop(&llama);
    }
}

static void test_smooth_scale(void **state)
{
    (void)state;
    const float input[] = {4.0f, 0.0f, 9.0f, 1.0f}, weight[] = {1.0f, 2.0f, 4.0f, 0.0f};
    float scale[4];
    vise_smooth_scale(4, input, weight, 0.5, scale);
    const float wanted[] = {2.0f, 1.0f, 1.5f, 1.0f};
    for (int i = 0; i < 4; i++)
        assert_true(fabsf(scale[i] - wanted[i]) < 1e-6f);
    vise_smooth_scale(4, input, weight, 1.0, scale); /* all of it: the input alone */
    assert_true(fabsf(scale[2] - 9.0f) < 1e-5f);
}

static void test_awq_scale(void **state)
{
    (void)state;
    const float size[] = {1.0f, 4.0f, 0.0f, 16.0f};
    float scale[4];
    vise_awq_scale(4, size, 0.0, scale);
    for (int i = 0; i < 4; i++)
        assert_true(scale[i] == 1.0f);
    vise_awq_scale(4, size, 0.5, scale); /* 1, 2, 4 over sqrt(1 x 4) */
    const float wanted[] = {0.5f, 1.0f, 1.0f, 2.0f};
    for (int i = 0; i < 4; i++)
        assert_true(fabsf(scale[i] - wanted[i]) < 1e-6f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_function_stays),
        cmocka_unit_test(test_smooth_scale),
        cmocka_unit_test(test_awq_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
