/* The forward pass, its statistics and its head against a naive double-precision model; equal bits for any number of
 * threads, for spilled streams and for any choice of statistics. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "model/activation.h"
#include "model/forward.h"
#include "model/layer.h"
#include "model/stream.h"
#include "tiny_llama.h"

#define LENGTH_MAX 300

/* Grouped queries, a head width that is not hidden / heads, biases, windows beyond a tile, a head of its own. */
static const tiny_llama shapes[] = {
    {.hidden = 16, .ffn = 24, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 4, .vocab = 50, .positions = 64,
     .tied = true},
    {.hidden = 24, .ffn = 20, .layers = 3, .heads = 4, .kv_heads = 4, .head_dim = 8, .vocab = 37, .positions = 64,
     .bias = true},
    {.hidden = 32, .ffn = 52, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 16, .vocab = 100,
     .positions = LENGTH_MAX},
};
static const size_t lengths[] = {16, 33, LENGTH_MAX};
static const size_t counts[] = {5, 3, 2};
#define SHAPES (sizeof shapes / sizeof shapes[0])

typedef struct machine {
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
    vise_model *model;
    vise_windows windows;
    vise_error err;
} machine;

enum { INPUTS = VISE_INPUT_DOWN + 1 }; /* that a Llama has */

static void must(vise_status status, const vise_error *err)
{
    if (status != VISE_OK)
        fail_msg("%s", err->message);
}

static vise_windows draw_windows(const tiny_llama *llama, size_t count, size_t length)
{
    vise_windows windows = {.ids = malloc(count * length * sizeof(int32_t)), .count = count, .length = length};
    vise_rng rng;
    vise_rng_init(&rng, 7, "windows");
    for (size_t i = 0; i < count * length; i++)
        windows.ids[i] = (int32_t)vise_rng_below(&rng, (uint64_t)llama->vocab);
    return windows;
}

static void start(machine *m, const tiny_llama *llama, size_t shape, int threads)
{
    *m = (machine){0};
    must(vise_workers_new(threads, &m->workers, &m->err), &m->err);
    must(vise_pool_new(0, &m->pool, &m->err), &m->err);
    must(vise_backend_open("cpu", m->workers, &m->backend, &m->err), &m->err);
    must(vise_model_open(llama->folder, &m->model, &m->err), &m->err);
    m->windows = draw_windows(llama, counts[shape], lengths[shape]);
}

static void stop(machine *m)
{
    free(m->windows.ids);
    vise_model_close(m->model);
    vise_backend_close(m->backend);
    assert_int_equal(vise_pool_used(m->pool), 0);
    vise_pool_free(m->pool);
    vise_workers_free(m->workers);
}

static void forward_block(machine *m, vise_stream *stream, int layer)
{
    vise_block block;
    must(vise_block_load(m->model, layer, m->workers, m->pool, &block, &m->err), &m->err);
    must(vise_block_forward(m->model, &block, stream, m->backend, &m->err), &m->err);
    vise_block_unload(&block);
}

/* Logits of all windows, [tokens, vocab], by way of a stream of which ram_bytes are resident; the head is read in tiles
 * if head_bytes is less than it takes. */
static float *run_model(machine *m, uint64_t ram_bytes, uint64_t head_bytes)
{
    vise_stream *stream;
    vise_head *head;
    must(vise_stream_open(m->model, &m->windows, ram_bytes, m->workers, m->pool, &stream, &m->err), &m->err);
    for (int layer = 0; layer < (int)m->model->config.layers; layer++)
        forward_block(m, stream, layer);
    must(vise_head_open(m->model, head_bytes, false, m->workers, m->pool, &head, &m->err), &m->err);
    size_t tokens = vise_stream_tokens(stream);
    float *logits = malloc(tokens * (size_t)m->model->config.vocab * sizeof *logits);
    must(vise_head_logits(head, stream, m->backend, 0, tokens, logits, &m->err), &m->err);
    assert_int_equal(vise_head_is_resident(head), head_bytes > 0);
    vise_head_close(head);
    vise_stream_close(stream);
    return logits;
}

static size_t logits_bytes(const machine *m)
{
    return m->windows.count * m->windows.length * (size_t)m->model->config.vocab * sizeof(float);
}

static double largest_of(const double *x, int64_t n)
{
    double largest = 0.0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(x[i]));
    return largest;
}

static double difference(const double *expected, const float *actual, int64_t n)
{
    double worst = 0.0;
    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(expected[i] - (double)actual[i]));
    return worst;
}

/* ---- against the naive model --------------------------------------------------------------------------------- */

static void test_logits(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        tiny_llama llama = shapes[s];
        machine m;
        tiny_llama_make(&llama, s);
        start(&m, &llama, s, 2);
        float *logits = run_model(&m, UINT64_MAX, UINT64_MAX);
        int64_t per_window = (int64_t)m.windows.length * llama.vocab;
        for (size_t w = 0; w < m.windows.count; w++) {
            tiny_result expected;
            tiny_llama_run(&llama, m.windows.ids + w * m.windows.length, (int64_t)m.windows.length, 0, &expected);
            double off = difference(expected.logits, logits + (int64_t)w * per_window, per_window);
            assert_true(off <= 2e-5 * largest_of(expected.logits, per_window));
            tiny_result_free(&expected);
        }
        free(logits);
        stop(&m);
        tiny_llama_drop(&llama);
    }
}

/* Linears see their inputs quantized, and what is captured is not. Each step is computed anew from the inputs captured
 * in front of it, so that a code on a tie (the most negative value of a token is near one) cannot fall two ways. */
static void test_int8_token_block(void **state)
{
    (void)state;
    tiny_llama llama = shapes[1];
    machine m;
    tiny_llama_make(&llama, 3);
    start(&m, &llama, 1, 1);
    int64_t t = (int64_t)m.windows.length, hidden = llama.hidden, ffn = llama.ffn;
    const int64_t width[INPUTS] = {hidden, llama.heads * llama.head_dim, hidden, ffn};
    vise_stream *stream;
    vise_block block;
    vise_layer_run run;
    vise_capture captured = {0};
    float **capture = captured.input, *before = malloc((size_t)(t * hidden) * sizeof *before);
    double *seen[INPUTS];
    must(vise_stream_open(m.model, &m.windows, UINT64_MAX, m.workers, m.pool, &stream, &m.err), &m.err);
    must(vise_stream_read(stream, 0, (size_t)t, before, &m.err), &m.err);
    must(vise_block_load(m.model, 0, m.workers, m.pool, &block, &m.err), &m.err);
    const vise_role quantized[] = {VISE_ROLE_O, VISE_ROLE_GATE, VISE_ROLE_UP, VISE_ROLE_DOWN};
    for (size_t i = 0; i < sizeof quantized / sizeof quantized[0]; i++)
        block.activation[quantized[i]] = "int8-token";
    for (int i = 0; i < INPUTS; i++)
        capture[i] = malloc((size_t)(t * width[i]) * sizeof(float));
    must(vise_layer_run_init(&run, m.model, &block, stream, m.backend, VISE_INPUT_NONE, &m.err), &m.err);
    must(vise_layer_run_window(&run, 0, 0, &captured, &m.err), &m.err);
    vise_layer_run_deinit(&run);

    const vise_activation_type *kind = vise_activation_type_find("int8-token");
    for (int i = 0; i < INPUTS; i++) {
        float *values = malloc((size_t)(t * width[i]) * sizeof *values);
        seen[i] = malloc((size_t)(t * width[i]) * sizeof(double));
        vise_activation_apply(kind, 0.0f, t, width[i], capture[i], values);
        assert_memory_not_equal(values, capture[i], (size_t)(t * width[i]) * sizeof *values);
        for (int64_t j = 0; j < t * width[i]; j++)
            seen[i][j] = (double)values[j];
        free(values);
    }
    double *gate = malloc((size_t)(t * ffn) * sizeof *gate), *up = malloc((size_t)(t * ffn) * sizeof *up);
    double *x = malloc((size_t)(t * hidden) * sizeof *x);
    tiny_llama_linear(&llama, 0, "mlp.gate_proj", t, hidden, ffn, seen[VISE_INPUT_MLP], false, gate);
    tiny_llama_linear(&llama, 0, "mlp.up_proj", t, hidden, ffn, seen[VISE_INPUT_MLP], false, up);
    for (int64_t i = 0; i < t * ffn; i++)
        gate[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
    assert_true(difference(gate, capture[VISE_INPUT_DOWN], t * ffn) <= 1e-5 * largest_of(gate, t * ffn));
    for (int64_t i = 0; i < t * hidden; i++)
        x[i] = (double)before[i];
    tiny_llama_linear(&llama, 0, "self_attn.o_proj", t, width[VISE_INPUT_O], hidden, seen[VISE_INPUT_O], true, x);
    tiny_llama_linear(&llama, 0, "mlp.down_proj", t, ffn, hidden, seen[VISE_INPUT_DOWN], true, x);
    assert_true(difference(x, vise_stream_window(stream, 0), t * hidden) <= 1e-5 * largest_of(x, t * hidden));

    free(gate);
    free(up);
    free(x);
    free(before);
    for (int i = 0; i < INPUTS; i++) {
        free(capture[i]);
        free(seen[i]);
    }
    vise_block_unload(&block);
    vise_stream_close(stream);
    stop(&m);
    tiny_llama_drop(&llama);
}

/* Integers: ties go to even, the positive end is cut. Float types by their tables. Then a token of zeros. */
static void test_activation_values(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        float scale, x[8], expected[8];
    } rows[] = {
        {"int8-token",
         0.0f,
         {127.5f, -127.5f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 3.2f},
         {127.0f, -128.0f, 0.0f, 2.0f, 2.0f, 0.0f, -2.0f, 3.0f}},
        {"int4-token", 0.0f, {7.5f, -7.5f, 0.5f, 1.5f, 2.5f, -3.2f, 0, 6.6f}, {7, -8, 0, 2, 2, -3, 0, 7}},
        {"int8-tensor", 0.5f, {100, -100, 0.25f, 0.75f, 1.25f, -3.2f, 0, 63.5f}, {63.5f, -64, 0, 1, 1, -3, 0, 63.5f}},
        {"fp8-e4m3-token", 0.0f, {448, -448, 17, 19, 0.3f, -240, 0, 1}, {448, -448, 16, 20, 0.3125f, -240, 0, 1}},
        {"fp8-e4m3-tensor", 2.0f, {1000, -1000, 34, 38, 0.6f, -2, 0, 4}, {896, -896, 32, 40, 0.625f, -2, 0, 4}},
        {"fp8-e4m3-g128", 0.0f, {448, -448, 17, 19, 0.3f, -240, 0, 1}, {448, -448, 16, 20, 0.3125f, -240, 0, 1}},
        {"mxfp8-g32", 0.0f, {448, -300, 17, 19, 0.3f, -240, 0, 1}, {448, -288, 16, 20, 0.3125f, -240, 0, 1}},
        {"mxfp4-g32", 0.0f, {6, -2.6f, 0.25f, 0.26f, 5, 5.1f, -0.1f, 1.25f}, {6, -3, 0, 0.5f, 4, 6, -0.0f, 1}},
        {"nvfp4-g16", 448.0f, {6, -2.6f, 0.25f, 0.26f, 5, 5.1f, -0.1f, 1.25f}, {6, -3, 0, 0.5f, 4, 6, -0.0f, 1}},
    };
    size_t count;
    (void)vise_activation_types(&count);
    assert_int_equal(count, sizeof rows / sizeof *rows);
    for (size_t r = 0; r < count; r++) {
        const vise_activation_type *kind = vise_activation_type_find(rows[r].name);
        float x[16] = {0}, y[16];
        assert_non_null(kind);
        assert_int_equal(kind->calibrated, rows[r].scale > 0.0f);
        memcpy(x, rows[r].x, sizeof rows[r].x);
        vise_activation_apply(kind, rows[r].scale, 2, 8, x, y);
        for (int j = 0; j < 16; j++)
            if (y[j] != (j < 8 ? rows[r].expected[j] : 0.0f))
                fail_msg("%s: [%d] is %g, not %g", rows[r].name, j, (double)y[j], (double)rows[r].expected[j & 7]);
    }
    assert_null(vise_activation_type_find("int5-moon"));
    assert_null(vise_activation_type_find(NULL));
}

/* The stored scale: the largest input gets the outermost code, as weights do (tensor/scheme.h). */
static void test_activation_scale(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        vise_dtype dtype;
        float largest, expected;
    } rows[] = {
        {"int8-tensor", VISE_DTYPE_F32, 127.5f, 1.0f},
        {"int8-tensor", VISE_DTYPE_F32, 51.0f, 0.4f},
        {"int8-tensor", VISE_DTYPE_BF16, 51.0f, 0.400390625f},
        {"fp8-e4m3-tensor", VISE_DTYPE_F32, 896.0f, 2.0f},
        {"nvfp4-g16", VISE_DTYPE_BF16, 6.0f, 448.0f},
        {"int8-tensor", VISE_DTYPE_F32, 0.0f, 1.0f},
        {"nvfp4-g16", VISE_DTYPE_F32, 0.0f, 1.0f},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        assert_true(vise_activation_scale(vise_activation_type_find(rows[r].name), rows[r].dtype, rows[r].largest) ==
                    rows[r].expected);
}

/* ---- statistics ---------------------------------------------------------------------------------------------- */

static void measure(machine *m, int layer, unsigned wanted, unsigned inputs, uint64_t ram_bytes,
                    vise_block_stats *stats)
{
    vise_stream *stream;
    vise_block block;
    must(vise_stream_open(m->model, &m->windows, ram_bytes, m->workers, m->pool, &stream, &m->err), &m->err);
    for (int l = 0; l < layer; l++)
        forward_block(m, stream, l);
    must(vise_block_load(m->model, layer, m->workers, m->pool, &block, &m->err), &m->err);
    size_t n = vise_stream_tokens(stream) * (size_t)stream->hidden;
    float *before = malloc(n * sizeof *before), *after = malloc(n * sizeof *after);
    must(vise_stream_read(stream, 0, vise_stream_tokens(stream), before, &m->err), &m->err);
    must(vise_block_measure(m->model, &block, stream, m->backend, wanted, inputs, stats, &m->err), &m->err);
    must(vise_stream_read(stream, 0, vise_stream_tokens(stream), after, &m->err), &m->err);
    assert_memory_equal(before, after, n * sizeof *before);
    free(before);
    free(after);
    vise_block_unload(&block);
    vise_stream_close(stream);
}

static void test_statistics(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        tiny_llama llama = shapes[s];
        int layer = (int)llama.layers - 1;
        machine m;
        vise_block_stats stats;
        tiny_llama_make(&llama, 10 + s);
        start(&m, &llama, s, 2);
        measure(&m, layer, VISE_STAT_NORMS | VISE_STAT_GRAM | VISE_STAT_LARGEST, 0xf, UINT64_MAX, &stats);
        for (int i = 0; i < INPUTS; i++) {
            int64_t d = stats.input[i].width;
            assert_int_equal(stats.input[i].tokens, m.windows.count * m.windows.length);
            double *gram = calloc((size_t)(d * d), sizeof *gram), largest = 0.0;
            double *range = calloc((size_t)d, sizeof *range);
            for (size_t w = 0; w < m.windows.count; w++) {
                tiny_result expected;
                tiny_llama_run(&llama, m.windows.ids + w * m.windows.length, (int64_t)m.windows.length, layer,
                               &expected);
                for (int64_t t = 0; t < expected.tokens; t++)
                    for (int64_t a = 0; a < d; a++) {
                        range[a] = fmax(range[a], fabs(expected.input[i][t * d + a]));
                        for (int64_t b = a; b < d; b++)
                            gram[a * d + b] += expected.input[i][t * d + a] * expected.input[i][t * d + b];
                    }
                tiny_result_free(&expected);
            }
            for (int64_t a = 0; a < d; a++)
                largest = fmax(largest, gram[a * d + a]);
            for (int64_t a = 0; a < d; a++) {
                assert_true(fabs((double)stats.input[i].largest[a] - range[a]) <= 1e-5 * range[a] + 1e-6);
                assert_true(fabs(stats.input[i].square_sum[a] - gram[a * d + a]) <= 1e-5 * largest);
                for (int64_t b = 0; b < d; b++)
                    assert_true(fabs((double)stats.input[i].gram[a * d + b] - gram[a * d + b]) <= 1e-5 * largest);
            }
            free(range);
            free(gram);
        }
        vise_block_stats_deinit(&stats);
        stop(&m);
        tiny_llama_drop(&llama);
    }
}

static void assert_same_stats(const vise_input_stats *a, const vise_input_stats *b)
{
    size_t d = (size_t)a->width;
    assert_int_equal(a->width, b->width);
    if (a->gram && b->gram)
        assert_memory_equal(a->gram, b->gram, d * d * sizeof(float));
    if (a->largest && b->largest)
        assert_memory_equal(a->largest, b->largest, d * sizeof(float));
    if (a->square_sum && b->square_sum)
        assert_memory_equal(a->square_sum, b->square_sum, d * sizeof(double));
}

/* Threads, spilling and the choice of other statistics change no bit. */
static void test_statistics_bits(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        tiny_llama llama = shapes[s];
        machine m, n;
        vise_block_stats all, other;
        unsigned both = VISE_STAT_NORMS | VISE_STAT_GRAM | VISE_STAT_LARGEST;
        tiny_llama_make(&llama, 20 + s);
        start(&m, &llama, s, 1);
        measure(&m, 0, both, 0xf, UINT64_MAX, &all);
        for (unsigned i = 0; i < INPUTS; i++)
            for (unsigned wanted = VISE_STAT_NORMS; wanted <= both; wanted++) {
                measure(&m, 0, wanted, 1u << i, 0, &other);
                for (unsigned j = 0; j < INPUTS; j++)
                    assert_int_equal(other.input[j].width, j == i ? all.input[j].width : 0);
                assert_int_equal(other.input[i].gram != NULL, (wanted & VISE_STAT_GRAM) != 0);
                assert_int_equal(other.input[i].largest != NULL, (wanted & VISE_STAT_LARGEST) != 0);
                assert_int_equal(other.input[i].square_sum != NULL, (wanted & VISE_STAT_NORMS) != 0);
                assert_same_stats(&all.input[i], &other.input[i]);
                vise_block_stats_deinit(&other);
            }
        for (int threads = 2; threads <= 3; threads++) {
            start(&n, &llama, s, threads);
            measure(&n, 0, both, 0xf, 1000, &other);
            for (int i = 0; i < INPUTS; i++)
                assert_same_stats(&all.input[i], &other.input[i]);
            vise_block_stats_deinit(&other);
            stop(&n);
        }
        vise_block_stats_deinit(&all);
        stop(&m);
        tiny_llama_drop(&llama);
    }
}

/* ---- bits ---------------------------------------------------------------------------------------------------- */

/* The two halves of a block, one after the other, do what the whole does, to the bit: output and statistics. */
static void test_halves(void **state)
{
    (void)state;
    static const uint64_t ram[] = {UINT64_MAX, 3000};
    for (size_t s = 0; s < SHAPES; s++)
        for (size_t r = 0; r < 2; r++) {
            tiny_llama llama = shapes[s];
            machine m;
            vise_stream *whole, *parts;
            vise_block block;
            vise_block_stats all, one;
            tiny_llama_make(&llama, 90 + s);
            start(&m, &llama, s, 2);
            assert_true(vise_block_splits(m.model));
            must(vise_stream_open(m.model, &m.windows, ram[r], m.workers, m.pool, &whole, &m.err), &m.err);
            must(vise_stream_open(m.model, &m.windows, ram[r], m.workers, m.pool, &parts, &m.err), &m.err);
            for (int layer = 0; layer < (int)llama.layers; layer++) {
                must(vise_block_load(m.model, layer, m.workers, m.pool, &block, &m.err), &m.err);
                must(vise_block_measure(m.model, &block, whole, m.backend, VISE_STAT_GRAM, 0xf, &all, &m.err), &m.err);
                must(vise_block_forward(m.model, &block, whole, m.backend, &m.err), &m.err);
                for (int input = 0; input < INPUTS; input++) {
                    vise_half half = input < VISE_INPUT_MLP    ? VISE_BOTH_HALVES
                                     : input == VISE_INPUT_MLP ? VISE_ATTENTION_HALF
                                                               : VISE_MLP_HALF;
                    must(vise_block_measure_half(m.model, &block, half, parts, m.backend, VISE_STAT_GRAM, 1u << input,
                                                 &one, &m.err),
                         &m.err);
                    size_t width = (size_t)all.input[input].width;
                    assert_int_equal(one.input[input].width, width);
                    assert_memory_equal(one.input[input].gram, all.input[input].gram, width * width * sizeof(float));
                    vise_block_stats_deinit(&one);
                }
                must(vise_block_forward_half(m.model, &block, VISE_MLP_HALF, parts, m.backend, &m.err), &m.err);
                vise_block_stats_deinit(&all);
                vise_block_unload(&block);
            }
            size_t n = vise_stream_tokens(whole) * (size_t)whole->hidden;
            float *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b);
            must(vise_stream_read(whole, 0, vise_stream_tokens(whole), a, &m.err), &m.err);
            must(vise_stream_read(parts, 0, vise_stream_tokens(parts), b, &m.err), &m.err);
            assert_memory_equal(a, b, n * sizeof *a);
            free(a);
            free(b);
            vise_stream_close(whole);
            vise_stream_close(parts);
            stop(&m);
            tiny_llama_drop(&llama);
        }
}

static void test_same_bits(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        tiny_llama llama = shapes[s];
        machine m;
        tiny_llama_make(&llama, 30 + s);
        start(&m, &llama, s, 1);
        float *expected = run_model(&m, UINT64_MAX, UINT64_MAX);
        size_t bytes = logits_bytes(&m);
        uint64_t window = vise_stream_bytes(m.model, 1, m.windows.length);
        stop(&m);
        for (int threads = 1; threads <= 3; threads++) {
            const uint64_t rams[] = {0, window + 1, UINT64_MAX};
            start(&m, &llama, s, threads);
            for (size_t r = 0; r < 3; r++) {
                float *logits = run_model(&m, rams[r], r == 1 ? 0 : UINT64_MAX);
                assert_memory_equal(expected, logits, bytes);
                free(logits);
            }
            stop(&m);
        }
        free(expected);
        tiny_llama_drop(&llama);
    }
}

/* A window is the same alone and beside others of other lengths, and logits the same in pieces. */
static void test_sets(void **state)
{
    (void)state;
    tiny_llama llama = shapes[1];
    machine m;
    tiny_llama_make(&llama, 40);
    start(&m, &llama, 1, 2);
    vise_windows sets[3];
    size_t tokens = 0;
    for (size_t i = 0; i < 3; i++) {
        sets[i] = draw_windows(&llama, 2 - i % 2, 11 + 7 * i);
        tokens += sets[i].count * sets[i].length;
    }
    vise_stream *stream;
    must(vise_stream_open_sets(m.model, sets, 3, vise_stream_bytes(m.model, 1, 40), m.workers, m.pool, &stream, &m.err),
         &m.err);
    assert_int_equal(vise_stream_tokens(stream), tokens);
    assert_true(stream->resident_windows > 0 && stream->resident_windows < stream->windows);
    forward_block(&m, stream, 0);
    float *x = malloc(tokens * (size_t)llama.hidden * sizeof *x);
    must(vise_stream_read(stream, 0, tokens, x, &m.err), &m.err);
    const float *at = x;
    for (size_t i = 0; i < 3; i++)
        for (size_t w = 0; w < sets[i].count; w++) {
            tiny_result expected;
            int64_t n = (int64_t)sets[i].length * llama.hidden;
            tiny_llama_run(&llama, sets[i].ids + w * sets[i].length, (int64_t)sets[i].length, 0, &expected);
            assert_true(difference(expected.stream, at, n) <= 1e-5 * largest_of(expected.stream, n));
            tiny_result_free(&expected);
            at += n;
        }
    free(x);
    vise_stream_close(stream);
    for (size_t i = 0; i < 3; i++)
        free(sets[i].ids);
    stop(&m);
    tiny_llama_drop(&llama);
}

/* ---- what can go wrong --------------------------------------------------------------------------------------- */

static void test_bad_windows(void **state)
{
    (void)state;
    tiny_llama llama = shapes[0];
    machine m;
    vise_stream *stream;
    tiny_llama_make(&llama, 50);
    start(&m, &llama, 0, 1);
    m.windows.ids[3] = (int32_t)llama.vocab;
    assert_int_equal(vise_stream_open(m.model, &m.windows, 0, m.workers, m.pool, &stream, &m.err), VISE_EUSAGE);
    assert_non_null(strstr(m.err.message, "50"));
    m.err = (vise_error){0};
    m.windows.ids[3] = -1;
    assert_int_equal(vise_stream_open(m.model, &m.windows, 0, m.workers, m.pool, &stream, &m.err), VISE_EUSAGE);
    m.err = (vise_error){0};
    vise_windows too_long = draw_windows(&llama, 1, 65);
    must(vise_stream_open(m.model, &too_long, 0, m.workers, m.pool, &stream, &m.err), &m.err); /* with a warning */
    vise_stream_close(stream);
    m.model->config.position = VISE_POSITION_LEARNED;
    assert_int_equal(vise_stream_open(m.model, &too_long, 0, m.workers, m.pool, &stream, &m.err), VISE_EUSAGE);
    assert_non_null(strstr(m.err.message, "65"));
    free(too_long.ids);
    stop(&m);
    tiny_llama_drop(&llama);
}

static void test_nonfinite(void **state)
{
    (void)state;
    tiny_llama llama = shapes[0];
    machine m;
    vise_block block;
    vise_stream *stream;
    vise_block_stats stats;
    tiny_llama_make(&llama, 60);
    tiny_llama_weight(&llama, 1, "mlp.up_proj.weight")[17] = NAN;
    tiny_llama_weight(&llama, 0, "mlp.down_proj.weight")[0] = 3e38f;
    tiny_llama_weight(&llama, 0, "mlp.down_proj.weight")[1] = 3e38f;
    tiny_llama_weight(&llama, 0, "input_layernorm.weight")[0] = 3e38f;
    tiny_llama_weight(&llama, 0, "input_layernorm.weight")[1] = 3e38f;
    tiny_llama_write(&llama);
    start(&m, &llama, 0, 2);
    assert_int_equal(vise_block_load(m.model, 1, m.workers, m.pool, &block, &m.err), VISE_EFORMAT);
    assert_non_null(strstr(m.err.message, "model.layers.1.mlp.up_proj.weight"));
    assert_non_null(strstr(m.err.message, "row 1, column 1 "));
    m.err = (vise_error){0};

    must(vise_stream_open(m.model, &m.windows, UINT64_MAX, m.workers, m.pool, &stream, &m.err), &m.err);
    must(vise_block_load(m.model, 0, m.workers, m.pool, &block, &m.err), &m.err);
    assert_int_equal(vise_block_measure(m.model, &block, stream, m.backend, VISE_STAT_GRAM, 0xf, &stats, &m.err),
                     VISE_EFORMAT);
    assert_non_null(strstr(m.err.message, "q_proj"));
    assert_non_null(strstr(m.err.message, "block 0"));
    m.err = (vise_error){0};
    assert_int_equal(vise_block_forward(m.model, &block, stream, m.backend, &m.err), VISE_EFORMAT);
    assert_non_null(strstr(m.err.message, "block 0"));
    vise_block_unload(&block);
    vise_stream_close(stream);
    stop(&m);
    tiny_llama_drop(&llama);
}

/* Every allocation fails once; each failure is reported and leaves nothing behind. */
static void test_out_of_memory(void **state)
{
    (void)state;
    tiny_llama llama = shapes[0];
    machine m;
    tiny_llama_make(&llama, 70);
    start(&m, &llama, 0, 1);
    bool done = false;
    for (uint64_t n = 1; !done && n < 1000; n++) {
        vise_stream *stream = NULL;
        vise_head *head = NULL;
        vise_block block = {0};
        vise_block_stats stats = {0};
        float logits[50];
        m.err = (vise_error){0};
        vise_alloc_fail_after(n);
        vise_status status = vise_stream_open(m.model, &m.windows, 2000, m.workers, m.pool, &stream, &m.err);
        if (status == VISE_OK)
            status = vise_block_load(m.model, 0, m.workers, m.pool, &block, &m.err);
        if (status == VISE_OK)
            status = vise_block_measure(m.model, &block, stream, m.backend, VISE_STAT_GRAM | VISE_STAT_NORMS, 0xf,
                                        &stats, &m.err);
        if (status == VISE_OK)
            status = vise_block_forward(m.model, &block, stream, m.backend, &m.err);
        if (status == VISE_OK)
            status = vise_head_open(m.model, 0, false, m.workers, m.pool, &head, &m.err);
        if (status == VISE_OK)
            status = vise_head_logits(head, stream, m.backend, 1, 1, logits, &m.err);
        vise_alloc_fail_after(0);
        done = status == VISE_OK;
        if (!done) {
            assert_int_equal(status, VISE_ERESOURCE);
            assert_true(m.err.message[0] != '\0');
        }
        vise_head_close(head);
        vise_block_stats_deinit(&stats);
        vise_block_unload(&block);
        vise_stream_close(stream);
        assert_int_equal(vise_pool_used(m.pool), 0);
    }
    assert_true(done);
    stop(&m);
    tiny_llama_drop(&llama);
}

/* The plan's figures bound what a run takes. */
static void test_scratch_bytes(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        tiny_llama llama = shapes[s];
        machine m;
        vise_block block;
        vise_stream *stream;
        vise_block_stats stats;
        tiny_llama_make(&llama, 80 + s);
        start(&m, &llama, s, 2);
        must(vise_stream_open(m.model, &m.windows, 0, m.workers, m.pool, &stream, &m.err), &m.err);
        must(vise_block_load(m.model, 0, m.workers, m.pool, &block, &m.err), &m.err);
        uint64_t before = vise_pool_used(m.pool);
        assert_true(before <= vise_block_bytes(m.model) + 64 * 2 * 24 +
                                  4 * m.windows.length * (uint64_t)llama.head_dim + 64);
        must(vise_block_measure(m.model, &block, stream, m.backend, VISE_STAT_GRAM, 0xf, &stats, &m.err), &m.err);
        uint64_t stats_bytes = vise_pool_used(m.pool) - before;
        assert_true(stats_bytes <= vise_stats_bytes(m.model, VISE_STAT_GRAM, 0xf) + 64 * 8);
        assert_true(vise_measure_scratch_bytes(m.model, m.windows.length, 2) >
                    vise_forward_scratch_bytes(m.model, m.windows.length, 2));
        vise_block_stats_deinit(&stats);
        vise_block_unload(&block);
        vise_stream_close(stream);
        stop(&m);
        tiny_llama_drop(&llama);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),          cmocka_unit_test(test_int8_token_block),
        cmocka_unit_test(test_activation_values), cmocka_unit_test(test_activation_scale),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_statistics_bits), cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_sets),            cmocka_unit_test(test_bad_windows),
        cmocka_unit_test(test_nonfinite),       cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_scratch_bytes),   cmocka_unit_test(test_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
