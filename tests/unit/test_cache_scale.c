/* The quantized key-value cache: ranges of keys and values against a naive model, what rounding does to a block, and
 * scales read from a file. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/buf.h"
#include "core/file.h"
#include "core/rng.h"
#include "model/forward.h"
#include "model/stream.h"
#include "tiny_llama.h"

enum { WINDOWS = 5, LENGTH = 24 };

static const tiny_llama shapes[] = {
    {.hidden = 16, .ffn = 24, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 4, .vocab = 50, .positions = 64},
    {.hidden = 24, .ffn = 20, .layers = 2, .heads = 4, .kv_heads = 4, .head_dim = 8, .vocab = 37, .positions = 64,
     .bias = true},
};

typedef struct machine {
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
    vise_model *model;
    vise_windows windows;
    vise_stream *stream;
    vise_error err;
} machine;

static void must(vise_status status, const vise_error *err)
{
    if (status != VISE_OK)
        fail_msg("%s", err->message);
}

static void start(machine *m, const tiny_llama *llama, int threads)
{
    *m = (machine){.windows = {.ids = malloc(WINDOWS * LENGTH * sizeof(int32_t)), .count = WINDOWS, .length = LENGTH}};
    vise_rng rng;
    vise_rng_init(&rng, 7, "windows");
    for (size_t i = 0; i < (size_t)WINDOWS * LENGTH; i++)
        m->windows.ids[i] = (int32_t)vise_rng_below(&rng, (uint64_t)llama->vocab);
    must(vise_workers_new(threads, &m->workers, &m->err), &m->err);
    must(vise_pool_new(0, &m->pool, &m->err), &m->err);
    must(vise_backend_open("cpu", m->workers, &m->backend, &m->err), &m->err);
    must(vise_model_open(llama->folder, &m->model, &m->err), &m->err);
    must(vise_stream_open(m->model, &m->windows, UINT64_MAX, m->workers, m->pool, &m->stream, &m->err), &m->err);
}

static void stop(machine *m)
{
    vise_stream_close(m->stream);
    vise_model_close(m->model);
    vise_backend_close(m->backend);
    assert_int_equal(vise_pool_used(m->pool), 0);
    vise_pool_free(m->pool);
    vise_workers_free(m->workers);
    free(m->windows.ids);
}

/* ---- ranges ------------------------------------------------------------------------------------------------------ */

static void rotate(int64_t t, int64_t heads, int64_t d, double *x)
{
    for (int64_t i = 0; i < t * heads; i++)
        for (int64_t j = 0; j < d / 2; j++) {
            double *a = x + i * d + j, *b = a + d / 2;
            const double angle = (double)(i / heads) * pow(10000.0, -2.0 * (double)j / (double)d), first = *a;
            *a = first * cos(angle) - *b * sin(angle);
            *b = *b * cos(angle) + first * sin(angle);
        }
}

/* Of layer 1, over all windows. */
static void naive_ranges(const tiny_llama *llama, const machine *m, double *largest)
{
    const int64_t heads = llama->kv_heads, d = llama->head_dim, width = heads * d;
    double *x = malloc((size_t)(LENGTH * width) * sizeof *x);
    memset(largest, 0, (size_t)(2 * heads) * sizeof *largest);
    for (int w = 0; w < WINDOWS; w++) {
        tiny_result result;
        tiny_llama_run(llama, m->windows.ids + w * LENGTH, LENGTH, 1, &result);
        for (int which = 0; which < 2; which++) {
            tiny_llama_linear(llama, 1, which == 0 ? "self_attn.k_proj" : "self_attn.v_proj", LENGTH, llama->hidden,
                              width, result.input[VISE_INPUT_ATTENTION], false, x);
            if (which == 0)
                rotate(LENGTH, heads, d, x);
            for (int64_t i = 0; i < LENGTH * width; i++)
                largest[which * heads + i % width / d] = fmax(largest[which * heads + i % width / d], fabs(x[i]));
        }
        tiny_result_free(&result);
    }
    free(x);
}

static void test_ranges(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        tiny_llama llama = shapes[s];
        float largest[2][16];
        double naive[16];
        tiny_llama_make(&llama, s);
        for (int threads = 1; threads <= 3; threads += 2) {
            machine m;
            vise_block block;
            start(&m, &llama, threads);
            must(vise_block_load(m.model, 0, m.workers, m.pool, &block, &m.err), &m.err);
            must(vise_block_forward(m.model, &block, m.stream, m.backend, &m.err), &m.err);
            vise_block_unload(&block);
            must(vise_block_load(m.model, 1, m.workers, m.pool, &block, &m.err), &m.err);
            must(vise_block_cache_ranges(m.model, &block, m.stream, m.backend, largest[threads / 2], &m.err), &m.err);
            if (threads == 1) {
                naive_ranges(&llama, &m, naive);
                for (int64_t i = 0; i < 2 * llama.kv_heads; i++)
                    assert_true(fabs((double)largest[0][i] / naive[i] - 1.0) < 1e-5);
            }
            /* What cannot be a key is told. */
            block.weight[vise_config_slot(VISE_ROLE_K, 0)][0] = 3e38f;
            block.weight[vise_config_slot(VISE_ROLE_K, 0)][1] = 3e38f;
            float none[16];
            assert_int_equal(vise_block_cache_ranges(m.model, &block, m.stream, m.backend, none, &m.err), VISE_EFORMAT);
            assert_non_null(strstr(m.err.message, "the keys of block 1 are not finite (head 0)"));
            vise_block_unload(&block);
            stop(&m);
        }
        assert_memory_equal(largest[0], largest[1], (size_t)(2 * llama.kv_heads) * sizeof(float));
        tiny_llama_drop(&llama);
    }
}

/* ---- rounding ---------------------------------------------------------------------------------------------------- */

/* The stream [WINDOWS * LENGTH * hidden] behind the attention half of block 0. */
static float *attended(const tiny_llama *llama, const vise_cache_type *type, float key_scale, float value_scale)
{
    machine m;
    vise_block block;
    const int64_t heads = llama->kv_heads;
    const size_t tokens = (size_t)WINDOWS * LENGTH;
    float *out = malloc(tokens * (size_t)llama->hidden * sizeof *out);
    start(&m, llama, 2);
    must(vise_block_load(m.model, 0, m.workers, m.pool, &block, &m.err), &m.err);
    assert_null(block.cache_type);
    block.cache_type = type;
    for (int64_t i = 0; i < heads; i++) {
        block.cache_scale[i] = key_scale;
        block.cache_scale[heads + i] = value_scale;
    }
    must(vise_block_forward_half(m.model, &block, VISE_ATTENTION_HALF, m.stream, m.backend, &m.err), &m.err);
    must(vise_stream_read(m.stream, 0, tokens, out, &m.err), &m.err);
    vise_block_unload(&block);
    stop(&m);
    return out;
}

static double apart(const float *a, const float *b, size_t n)
{
    double worst = 0.0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

static void test_rounding(void **state)
{
    (void)state;
    tiny_llama llama = shapes[0];
    tiny_llama_make(&llama, 3);
    const size_t n = (size_t)(WINDOWS * LENGTH * llama.hidden);
    float *plain = attended(&llama, NULL, 1.0f, 1.0f);
    size_t count;
    const vise_cache_type *types = vise_cache_types(&count);
    for (size_t i = 0; i < count; i++) {
        float *unknown = attended(&llama, &types[i], 0.0f, 0.0f), *fine = attended(&llama, &types[i], 0.04f, 0.04f);
        float *keys = attended(&llama, &types[i], 1e30f, 0.0f), *values = attended(&llama, &types[i], 0.0f, 1e30f);
        float *both = attended(&llama, &types[i], 1e30f, 1e30f);
        assert_memory_equal(plain, unknown, n * sizeof *plain);
        assert_true(apart(plain, fine, n) > 0.0 && apart(plain, fine, n) < apart(plain, keys, n));
        assert_true(apart(plain, keys, n) > 0.05); /* no keys: the mean of all values */
        /* No values: nothing is added, whatever the keys. */
        assert_true(apart(plain, values, n) > 0.05);
        assert_memory_equal(values, both, n * sizeof *plain);
        float *all[] = {unknown, fine, keys, values, both};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
            free(all[k]);
    }
    free(plain);
    tiny_llama_drop(&llama);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void add_scales(tiny_llama *llama, const char *name, int64_t n, const float *values)
{
    tiny_tensor *t = &llama->tensors[llama->n_tensors++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->rows = n;
    t->cols = 1;
    t->values = malloc((size_t)n * sizeof *values);
    memcpy(t->values, values, (size_t)n * sizeof *values);
}

/* Writes the model with a kv_cache_scheme. */
static void write_with_scheme(const tiny_llama *llama, const char *type, const char *strategy)
{
    char path[128];
    char *text;
    size_t length;
    vise_buf config;
    tiny_llama_write(llama);
    snprintf(path, sizeof path, "%s/config.json", llama->folder);
    assert_int_equal(vise_file_read_all(path, 1 << 20, &text, &length, NULL), VISE_OK);
    vise_buf_init(&config, 1 << 20);
    vise_buf_addf(&config,
                  "%.*s,\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"dense\","
                  "\"kv_cache_scheme\":{\"num_bits\":8,\"type\":\"%s\",\"strategy\":\"%s\",\"symmetric\":true,"
                  "\"dynamic\":false},\"config_groups\":{}}}",
                  (int)length - 1, text, type, strategy);
    assert_int_equal(vise_file_write_atomic(path, config.data, config.length, NULL), VISE_OK);
    vise_buf_deinit(&config);
    vise_free(text);
}

static void test_reading(void **state)
{
    (void)state;
    static const struct {
        const char *type, *strategy, *name; /* NULL: refused */
        int64_t n;
        float values[2];
        const char *refused;
    } rows[] = {
        {"int", "attn_head", "int8-head", 2, {0.5f, 0.25f}, NULL},
        {"float", "attn_head", "fp8-e4m3-head", 2, {0.5f, 0.25f}, NULL},
        {"float", "tensor", "fp8-e4m3-tensor", 1, {0.5f}, NULL},
        {"int", "tensor", "int8-tensor", 1, {0.5f}, NULL},
        {"int", "tensor", NULL, 2, {0.5f, 0.25f}, "has 2 scales, not 1"},
        {"float", "attn_head", NULL, 1, {0.5f}, "has 1 scales, not 2"},
        {"float", "tensor", NULL, 1, {-0.5f}, "is not a positive number"},
        {"float", "attn_head", NULL, 2, {0.5f, 0.0f}, "is not a positive number"},
        {"int", "tensor", NULL, 1, {INFINITY}, "is not a positive number"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tiny_llama llama = shapes[0];
        machine m;
        vise_block block;
        tiny_llama_make(&llama, 4);
        add_scales(&llama, "model.layers.0.self_attn.k_scale", rows[i].n, rows[i].values);
        write_with_scheme(&llama, rows[i].type, rows[i].strategy);
        start(&m, &llama, 1);
        const vise_status status = vise_block_load(m.model, 0, m.workers, m.pool, &block, &m.err);
        if (rows[i].refused != NULL) {
            assert_int_equal(status, VISE_EFORMAT);
            assert_non_null(strstr(m.err.message, rows[i].refused));
        } else {
            must(status, &m.err);
            assert_string_equal(block.cache_type->name, rows[i].name);
            assert_true(block.cache_scale[0] == 0.5f && block.cache_scale[1] == (rows[i].n == 2 ? 0.25f : 0.5f));
            assert_true(block.cache_scale[2] == 0.0f); /* no v_scale: values stay as they are */
            vise_block_keep_activations(&block);
            assert_null(block.cache_type);
            vise_block_unload(&block);
        }
        stop(&m);
        tiny_llama_drop(&llama);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_reading),
    };
    return cmocka_run_group_tests_name("cache_scale", tests, NULL, NULL);
}
