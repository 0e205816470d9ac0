/* Device maps of a small Llama whose bytes are counted by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/footprint.h"
#include "pipeline/device_map.h"
#include "pipeline/recipe.h"
#include "tiny_llama.h"

/* In float32: an embedding and a head of 32 x 16; blocks of q 16 x 16, k and v 8 x 16, o 16 x 16, three of 24 x 16 and
 * two norms of 16. */
enum {
    TABLE = 32 * 16 * 4,
    BLOCK = (256 + 128 + 128 + 256 + 3 * 384 + 2 * 16) * 4,
    NORM = 16 * 4,
    CONTEXT = 10,
    BATCH = 2,
    TOKENS = CONTEXT * BATCH,
    CACHE = 2 * TOKENS * 8 * 4,                   /* keys and values of one head of 8 */
    ACTIVE = TOKENS * (2 * 16 + 3 * 24) * 4,      /* stream, norm; gate, up and their product */
    ALL = 2 * TABLE + 3 * BLOCK + NORM
};

typedef struct fixture {
    tiny_llama llama;
    vise_request request;
    vise_plan *plan;
    vise_device_map map;
    vise_error err;
} fixture;

static void open_model(fixture *f, bool tied)
{
    memset(f, 0, sizeof *f);
    f->llama = (tiny_llama){.hidden = 16, .ffn = 24, .layers = 3, .heads = 2, .kv_heads = 1, .head_dim = 8, .vocab = 32,
                            .positions = 64, .tied = tied};
    tiny_llama_make(&f->llama, 1);
    vise_request_init(&f->request);
    f->request.input = f->llama.folder;
    assert_int_equal(vise_plan_make(&f->request, &f->plan, &f->err), VISE_OK);
}

static void close_model(fixture *f)
{
    vise_plan_free(f->plan);
    tiny_llama_drop(&f->llama);
}

static vise_status make(fixture *f, uint64_t gpu0, uint64_t gpu3, uint64_t cpu, int64_t context)
{
    vise_memory_bounds bounds = {.cpu = cpu};
    if (gpu0 > 0)
        bounds.gpus[bounds.n_gpus++].bytes = gpu0;
    if (gpu3 > 0) {
        bounds.gpus[bounds.n_gpus].index = 3;
        bounds.gpus[bounds.n_gpus++].bytes = gpu3;
    }
    memset(&f->err, 0, sizeof f->err);
    return vise_device_map_make(f->plan, &bounds, context, BATCH, &f->map, &f->err);
}

/* The file's text without line ends and spaces at their starts. */
static void expect_map(const fixture *f, const char *expected)
{
    vise_buf text;
    char flat[1024];
    size_t n = 0;
    vise_buf_init(&text, 1 << 16);
    vise_device_map_json(&f->map, &text);
    for (size_t i = 0; i < text.length && n + 1 < sizeof flat; i++)
        if (text.data[i] != '\n' && (text.data[i] != ' ' || (text.data[i - 1] != '\n' && text.data[i - 1] != ' ')))
            flat[n++] = text.data[i];
    flat[n] = '\0';
    assert_string_equal(flat, expected);
    vise_buf_deinit(&text);
}

#define ROTARY(device) "\"model.rotary_emb\": " device ","

static void test_one_device(void **state)
{
    (void)state;
    fixture f;
    open_model(&f, false);
    const uint64_t needed = ALL + 3 * CACHE + ACTIVE;
    assert_int_equal(make(&f, needed, 0, 1 << 30, CONTEXT), VISE_OK);
    expect_map(&f, "{\"\": 0}");
    assert_int_equal(f.map.devices[0].weights, ALL);
    assert_int_equal(f.map.devices[0].kv_cache, 3 * CACHE);
    assert_int_equal(f.map.devices[0].activations, ACTIVE);
    assert_int_equal(f.map.devices[0].reserved, 0);
    assert_int_equal(make(&f, 0, 0, needed, CONTEXT), VISE_OK);
    expect_map(&f, "{\"\": \"cpu\"}");
    assert_int_equal(make(&f, 0, 0, ALL, 0), VISE_OK); /* weights alone */
    expect_map(&f, "{\"\": \"cpu\"}");
    close_model(&f);
}

/* One byte less: the head alone would take as much room again when it is brought in; with the norm it does. */
static void test_offload(void **state)
{
    (void)state;
    fixture f;
    open_model(&f, false);
    const uint64_t needed = ALL + 3 * CACHE + ACTIVE;
    assert_int_equal(make(&f, needed - 1, 0, 1 << 30, CONTEXT), VISE_OK);
    expect_map(&f, "{\"model.embed_tokens\": 0,\"model.layers.0\": 0," ROTARY("0")
                   "\"model.layers.1\": 0,\"model.layers.2\": 0,\"model.norm\": \"cpu\",\"lm_head\": \"cpu\"}");
    assert_int_equal(f.map.devices[0].weights, ALL - TABLE - NORM);
    assert_int_equal(f.map.devices[0].reserved, TABLE);
    assert_int_equal(f.map.devices[0].kv_cache, 3 * CACHE);
    assert_int_equal(f.map.devices[1].weights, TABLE + NORM);
    assert_int_equal(f.map.devices[1].kv_cache, 0);

    /* The GPU holds keys and values of blocks that lie elsewhere. */
    assert_int_equal(make(&f, TABLE + 2 * BLOCK + 3 * CACHE + ACTIVE, 0, BLOCK, CONTEXT), VISE_OK);
    expect_map(&f, "{\"model.embed_tokens\": 0,\"model.layers.0\": 0," ROTARY("0")
                   "\"model.layers.1\": \"disk\",\"model.layers.2\": \"disk\",\"model.norm\": \"disk\","
                   "\"lm_head\": \"disk\"}");
    assert_int_equal(f.map.devices[0].kv_cache, 3 * CACHE);
    assert_int_equal(f.map.devices[1].reserved, BLOCK); /* what comes from the disk passes the host */
    close_model(&f);
}

static void test_gpus_and_host(void **state)
{
    (void)state;
    fixture f;
    open_model(&f, false);
    assert_int_equal(make(&f, TABLE + BLOCK + CACHE + ACTIVE, 1 << 20, 0, CONTEXT), VISE_OK);
    expect_map(&f, "{\"model.embed_tokens\": 0,\"model.layers.0\": 0," ROTARY("0")
                   "\"model.layers.1\": 3,\"model.layers.2\": 3,\"model.norm\": 3,\"lm_head\": 3}");
    assert_int_equal(f.map.devices[1].kv_cache, 2 * CACHE);

    /* Without a GPU the host runs everything, and needs room for what comes from the disk. */
    assert_int_equal(make(&f, 0, 0, TABLE + 2 * BLOCK + 3 * CACHE + ACTIVE, CONTEXT), VISE_OK);
    expect_map(&f, "{\"model.embed_tokens\": \"cpu\",\"model.layers.0\": \"cpu\"," ROTARY("\"cpu\"")
                   "\"model.layers.1\": \"disk\",\"model.layers.2\": \"disk\",\"model.norm\": \"disk\","
                   "\"lm_head\": \"disk\"}");
    close_model(&f);
}

static void test_tied(void **state)
{
    (void)state;
    fixture f;
    open_model(&f, true);
    assert_int_equal(make(&f, TABLE + 2 * BLOCK, 0, 1 << 30, 0), VISE_OK);
    expect_map(&f, "{\"model.embed_tokens\": 0,\"lm_head\": 0,\"model.layers.0\": 0," ROTARY("0")
                   "\"model.layers.1\": \"cpu\",\"model.layers.2\": \"cpu\",\"model.norm\": \"cpu\"}");
    assert_int_equal(f.map.devices[0].weights, TABLE + BLOCK);
    close_model(&f);
}

static void test_too_small(void **state)
{
    (void)state;
    fixture f;
    open_model(&f, false);
    /* With everything elsewhere: the largest block, all keys and values, activations. */
    const uint64_t least = BLOCK + 3 * CACHE + ACTIVE;
    assert_int_equal(make(&f, least, 0, 1 << 30, CONTEXT), VISE_OK);
    assert_int_equal(make(&f, least - 1, 0, 1 << 30, CONTEXT), VISE_ERESOURCE);
    assert_non_null(strstr(f.err.message, "--memory gpu0="));
    assert_int_equal(make(&f, 0, 0, least - 1, CONTEXT), VISE_ERESOURCE);
    assert_non_null(strstr(f.err.message, "--memory cpu="));
    close_model(&f);
}

/* Figures of footprint.h that the maps above do not show. */
static void test_footprint(void **state)
{
    (void)state;
    fixture f;
    open_model(&f, false);
    vise_model *model = f.plan->model;
    const vise_usage usage = {CONTEXT, BATCH, 2};
    assert_int_equal(vise_kv_cache_all_bytes(model, &usage), 3 * CACHE / 2);
    assert_int_equal(vise_head_activation_bytes(model, &usage), 2 * TOKENS * 16 * 2 + BATCH * 32 * 4);
    /* 4 x 16, q and o 2 x 16, k and v 2 x 8, gate, up, what the nonlinearity gives and the product 4 x 24. */
    const uint64_t block = TOKENS * (4 * 16 + 2 * 16 + 2 * 8 + 4 * 24) * 2, head = TOKENS * (2 * 16 * 2 + 2 * 32 * 4);
    assert_int_equal(vise_training_activation_bytes(model, &usage, false), 3 * block + head);
    assert_int_equal(vise_training_activation_bytes(model, &usage, true), TOKENS * 3 * 16 * 2 + block + head);
    model->config.layer[1] = VISE_LAYER_SLIDING;
    model->config.window = 4;
    assert_int_equal(vise_kv_cache_bytes(model, 1, &usage), 2 * BATCH * 4 * 8 * 2);
    assert_int_equal(vise_kv_cache_bytes(model, 0, &usage), CACHE / 2);
    model->config.window = 0; /* none */
    assert_int_equal(vise_kv_cache_bytes(model, 1, &usage), CACHE / 2);
    close_model(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_device),    cmocka_unit_test(test_offload),   cmocka_unit_test(test_gpus_and_host),
        cmocka_unit_test(test_tied),          cmocka_unit_test(test_too_small), cmocka_unit_test(test_footprint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
