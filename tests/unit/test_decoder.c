/* A text that grows token by token must give the logits that it gives when it is run whole: for every way of
 * cutting it into pieces, with windows, biases and caps, with weights that are read anew, for any number of
 * threads. */
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
#include "model/cache.h"
#include "model/decoder.h"
#include "model/forward.h"
#include "tiny_llama.h"

#define TOKENS 90

static const tiny_llama shapes[] = {
    {.hidden = 16,
     .ffn = 24,
     .layers = 3,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 4,
     .vocab = 50,
     .positions = 96,
     .tied = true},
    {.hidden = 24,
     .ffn = 20,
     .layers = 3,
     .heads = 4,
     .kv_heads = 4,
     .head_dim = 8,
     .vocab = 37,
     .positions = 64,
     .bias = true},
};

/* What makes of a Llama another family as far as attention goes. */
typedef struct variant {
    const char *name;
    int64_t window; /* of the layers in `sliding` */
    unsigned sliding;
    vise_position position;
    double cap;
    vise_residual residual;
} variant;

static const variant variants[] = {
    {.name = "plain"},
    {.name = "all slide", .window = 5, .sliding = 7},
    {.name = "every other slides", .window = 17, .sliding = 5, .cap = 1.5},
    {.name = "a window of one token", .window = 1, .sliding = 2},
    {.name = "ALiBi", .position = VISE_POSITION_ALIBI},
    {.name = "parallel halves", .residual = VISE_RESIDUAL_PARALLEL},
};
#define COUNT(array) (sizeof(array) / sizeof *(array))

typedef struct machine {
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
    vise_model *model;
    int32_t ids[TOKENS];
    vise_error err;
} machine;

static void must(vise_status status, const vise_error *err)
{
    if (status != VISE_OK)
        fail_msg("%s", err->message);
}

static void start(machine *m, const tiny_llama *llama, const variant *v, int threads, size_t pool_bytes)
{
    vise_rng rng;
    *m = (machine){0};
    must(vise_workers_new(threads, &m->workers, &m->err), &m->err);
    must(vise_pool_new(pool_bytes, &m->pool, &m->err), &m->err);
    must(vise_backend_open("cpu", m->workers, &m->backend, &m->err), &m->err);
    must(vise_model_open(llama->folder, &m->model, &m->err), &m->err);
    vise_config *config = &m->model->config;
    config->window = v->window;
    config->position = v->position;
    config->attention_cap = v->cap;
    config->residual = v->residual;
    for (int64_t layer = 0; layer < config->layers; layer++)
        if (v->sliding >> layer & 1)
            config->layer[layer] |= VISE_LAYER_SLIDING;
    vise_rng_init(&rng, 5, "ids");
    for (size_t i = 0; i < TOKENS; i++)
        m->ids[i] = (int32_t)vise_rng_below(&rng, (uint64_t)llama->vocab);
}

static void stop(machine *m)
{
    vise_model_close(m->model);
    vise_backend_close(m->backend);
    assert_int_equal(vise_pool_used(m->pool), 0);
    vise_pool_free(m->pool);
    vise_workers_free(m->workers);
}

/* Logits [TOKENS, vocab] of the text in one window. */
static float *run_whole(machine *m)
{
    const vise_windows windows = {.ids = m->ids, .count = 1, .length = TOKENS};
    vise_stream *stream;
    vise_head *head;
    must(vise_stream_open(m->model, &windows, UINT64_MAX, m->workers, m->pool, &stream, &m->err), &m->err);
    for (int layer = 0; layer < (int)m->model->config.layers; layer++) {
        vise_block block;
        must(vise_block_load(m->model, layer, m->workers, m->pool, &block, &m->err), &m->err);
        must(vise_block_forward(m->model, &block, stream, m->backend, &m->err), &m->err);
        vise_block_unload(&block);
    }
    must(vise_head_open(m->model, UINT64_MAX, false, m->workers, m->pool, &head, &m->err), &m->err);
    float *logits = malloc(TOKENS * (size_t)m->model->config.vocab * sizeof *logits);
    must(vise_head_logits(head, stream, m->backend, 0, TOKENS, logits, &m->err), &m->err);
    vise_head_close(head);
    vise_stream_close(stream);
    return logits;
}

static vise_decoder *open_decoder(machine *m, size_t capacity)
{
    const vise_decoder_options options = {
        .capacity = capacity, .pool = m->pool, .workers = m->workers, .backend = m->backend};
    vise_decoder *decoder;
    must(vise_decoder_open(m->model, &options, &decoder, &m->err), &m->err);
    return decoder;
}

/* The first `prompt` tokens together, then `step` at a time; each time the logits of the last must be those of the
 * whole text. */
static void check_text(machine *m, const float *whole, size_t prompt, size_t step, const char *name)
{
    const size_t vocab = (size_t)m->model->config.vocab;
    vise_decoder *decoder = open_decoder(m, TOKENS);
    float *logits = malloc(vocab * sizeof *logits);
    for (size_t at = 0, n = prompt; at < TOKENS; at += n, n = step < TOKENS - at ? step : TOKENS - at) {
        must(vise_decoder_feed(decoder, m->ids + at, n, logits, &m->err), &m->err);
        const float *expected = whole + (at + n - 1) * vocab;
        float largest = 0.0f;
        for (size_t i = 0; i < vocab; i++)
            largest = fmaxf(largest, fabsf(expected[i]));
        for (size_t i = 0; i < vocab; i++)
            if (!(fabsf(expected[i] - logits[i]) <= 2e-5f * largest))
                fail_msg("%s, prompt %zu, steps of %zu: logit %zu of token %zu is %g, not %g", name, prompt,
                         step, i, at + n - 1, (double)logits[i], (double)expected[i]);
    }
    free(logits);
    vise_decoder_close(decoder);
}

static void test_pieces(void **state)
{
    (void)state;
    static const size_t cuts[][2] = {{1, 1}, {2, 1}, {16, 1}, {33, 1}, {TOKENS, 1}, {7, 3}, {40, 25}};
    for (size_t s = 0; s < COUNT(shapes); s++) {
        tiny_llama llama = shapes[s];
        tiny_llama_make(&llama, s);
        for (size_t v = 0; v < COUNT(variants); v++) {
            machine m;
            start(&m, &llama, &variants[v], 2, 0);
            float *whole = run_whole(&m);
            for (size_t c = 0; c < COUNT(cuts); c++)
                check_text(&m, whole, cuts[c][0], cuts[c][1], variants[v].name);
            free(whole);
            stop(&m);
        }
        tiny_llama_drop(&llama);
    }
}

/* More tokens than a piece, and than a pass where weights are read anew. */
static void test_long_prompt(void **state)
{
    (void)state;
    enum { LONG = 3 * VISE_FORWARD_TILE + 11 };
    tiny_llama llama = shapes[0];
    llama.positions = LONG + 1;
    tiny_llama_make(&llama, 6);
    for (size_t v = 0; v < 3; v++) {
        machine m;
        float one[50], many[50];
        int32_t ids[LONG];
        start(&m, &llama, &variants[v], 2, 0);
        for (size_t i = 0; i < LONG; i++)
            ids[i] = m.ids[i % TOKENS];
        vise_decoder *decoder = open_decoder(&m, LONG);
        must(vise_decoder_feed(decoder, ids, LONG, many, &m.err), &m.err);
        vise_decoder_close(decoder);
        decoder = open_decoder(&m, LONG);
        for (size_t at = 0, n; at < LONG; at += n) {
            n = LONG - at < 100 ? LONG - at : 100;
            must(vise_decoder_feed(decoder, ids + at, n, one, &m.err), &m.err);
        }
        vise_decoder_close(decoder);
        for (size_t i = 0; i < 50; i++)
            assert_true(fabsf(one[i] - many[i]) <= 1e-4f);
        stop(&m);
    }
    tiny_llama_drop(&llama);
}

/* The last logits of a text of a prompt and single tokens. */
static void generate(machine *m, float *logits, size_t *resident)
{
    vise_decoder *decoder = open_decoder(m, TOKENS);
    must(vise_decoder_feed(decoder, m->ids, 40, logits, &m->err), &m->err);
    for (size_t at = 40; at < TOKENS; at++)
        must(vise_decoder_feed(decoder, m->ids + at, 1, logits, &m->err), &m->err);
    *resident = vise_decoder_resident_blocks(decoder);
    vise_decoder_close(decoder);
}

/* Threads and memory change no bit; what is said to be the least memory is enough. */
static void test_same_bits(void **state)
{
    (void)state;
    tiny_llama llama = shapes[0];
    float expected[50], logits[50];
    size_t resident;
    machine m;
    llama.ffn = 24000; /* weights that count beside scratch */
    tiny_llama_make(&llama, 7);
    start(&m, &llama, &variants[2], 1, 0);
    generate(&m, expected, &resident);
    assert_int_equal(resident, 3);
    uint64_t block = vise_block_bytes(m.model);
    stop(&m);
    for (int threads = 1; threads <= 3; threads++)
        for (uint64_t kept = 0; kept < 3; kept++) {
            start(&m, &llama, &variants[2], threads, 0);
            size_t limit = (size_t)(vise_decoder_bytes(m.model, TOKENS, threads) + kept * (block + 4096));
            stop(&m);
            start(&m, &llama, &variants[2], threads, limit);
            generate(&m, logits, &resident);
            assert_memory_equal(expected, logits, sizeof expected);
            assert_true(resident <= kept + 1 && resident + 1 >= kept);
            assert_true(kept > 0 || resident < 3);
            assert_true(vise_pool_peak(m.pool) <= limit);
            stop(&m);
        }
    tiny_llama_drop(&llama);
}

/* A window's layers hold no more than they need, and the figure is what is taken. */
static void test_cache(void **state)
{
    (void)state;
    tiny_llama llama = shapes[0];
    machine m;
    vise_cache *cache;
    tiny_llama_make(&llama, 8);
    start(&m, &llama, &variants[1], 1, 0);
    const int64_t width = llama.kv_heads * llama.head_dim;
    must(vise_cache_new(m.model, 1000, 8, m.pool, &cache, &m.err), &m.err);
    assert_int_equal(vise_cache_bytes(m.model, 1000, 8), 2 * 3 * (4 + 8) * (uint64_t)width * 4);
    assert_int_equal(vise_cache_bytes_per_token(m.model), 2 * 3 * (uint64_t)width * 4);
    float row[64] = {0};
    for (int i = 0; i < 1000; i++) {
        for (int64_t j = 0; j < width; j++)
            row[j] = (float)(i * 10 + (int)j);
        must(vise_cache_append(cache, 1, 1, row, width, row, width, &m.err), &m.err);
        const vise_cache_layer *layer = &cache->layer[1];
        assert_int_equal(layer->first + layer->count, i + 1);
        assert_true(layer->count >= 5 || layer->first == 0);
        for (size_t t = 0; t < layer->count; t++)
            assert_true(layer->k[t * (size_t)width + 3] == (float)((layer->first + t) * 10 + 3));
    }
    assert_int_equal(cache->layer[0].count, 0);
    assert_int_equal(vise_cache_append(cache, 0, 13, row, 0, row, 0, &m.err), VISE_EINTERNAL);
    vise_cache_free(cache);
    stop(&m);
    tiny_llama_drop(&llama);
}

static void test_refusals(void **state)
{
    (void)state;
    tiny_llama llama = shapes[0];
    machine m;
    vise_decoder *decoder;
    float logits[50];
    tiny_llama_make(&llama, 9);
    start(&m, &llama, &variants[0], 1, 0);
    vise_decoder_options options = {
        .capacity = 97, .pool = m.pool, .workers = m.workers, .backend = m.backend};
    m.model->config.position = VISE_POSITION_LEARNED;
    assert_int_equal(vise_decoder_open(m.model, &options, &decoder, &m.err), VISE_EUSAGE);
    assert_non_null(strstr(m.err.message, "97"));
    m.err = (vise_error){0};
    m.model->config.position = VISE_POSITION_ROTARY;
    must(vise_decoder_open(m.model, &options, &decoder, &m.err), &m.err); /* with a warning */
    vise_decoder_close(decoder);
    decoder = open_decoder(&m, 3);
    m.ids[1] = 50;
    assert_int_equal(vise_decoder_feed(decoder, m.ids, 2, logits, &m.err), VISE_EUSAGE);
    assert_non_null(strstr(m.err.message, "50"));
    vise_decoder_close(decoder);
    m.err = (vise_error){0};
    decoder = open_decoder(&m, 3);
    assert_int_equal(vise_decoder_feed(decoder, m.ids, 4, logits, &m.err), VISE_EUSAGE);
    assert_int_equal(vise_decoder_feed(decoder, m.ids, 0, logits, NULL), VISE_EUSAGE);
    vise_decoder_close(decoder);
    m.err = (vise_error){0};
    m.model->config.bidirectional = true;
    assert_int_equal(vise_decoder_open(m.model, &options, &decoder, &m.err), VISE_EUNSUPPORTED);
    stop(&m);
    tiny_llama_drop(&llama);
}

/* Every allocation fails once; each failure is reported and leaves nothing behind. */
static void test_out_of_memory(void **state)
{
    (void)state;
    tiny_llama llama = shapes[1];
    machine m;
    tiny_llama_make(&llama, 10);
    start(&m, &llama, &variants[4], 1, 0);
    const vise_decoder_options options = {
        .capacity = 20, .pool = m.pool, .workers = m.workers, .backend = m.backend};
    bool done = false;
    for (uint64_t n = 1; !done && n < 1000; n++) {
        vise_decoder *decoder = NULL;
        float logits[37];
        m.err = (vise_error){0};
        vise_alloc_fail_after(n);
        vise_status status = vise_decoder_open(m.model, &options, &decoder, &m.err);
        if (status == VISE_OK)
            status = vise_decoder_feed(decoder, m.ids, 5, logits, &m.err);
        if (status == VISE_OK)
            status = vise_decoder_feed(decoder, m.ids + 5, 1, logits, &m.err);
        vise_alloc_fail_after(0);
        done = status == VISE_OK;
        if (!done) {
            assert_int_equal(status, VISE_ERESOURCE);
            assert_true(m.err.message[0] != '\0');
        }
        vise_decoder_close(decoder);
        assert_int_equal(vise_pool_used(m.pool), 0);
    }
    assert_true(done);
    stop(&m);
    tiny_llama_drop(&llama);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),    cmocka_unit_test(test_long_prompt),
        cmocka_unit_test(test_same_bits), cmocka_unit_test(test_cache),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
