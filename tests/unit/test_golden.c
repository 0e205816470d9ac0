/* Real models against figures that an independent float64 forward pass computed: the bundled model always, the larger
 * collection beside the repository where it is. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/json.h"
#include "eval/eval.h"
#include "model/model.h"

#define MODELS "../shared/models/"

typedef struct golden_case {
    const char *model;
    const char *golden;
    const char *object; /* member of the golden file that holds the figures; NULL: the file itself */
    const char *nll;    /* key of the mean */
    double tolerance;   /* relative */
} golden_case;

static const golden_case cases[] = {
    {"examples/stories260K", "tests/data/stories260K.golden.json", NULL, "mean_nll_next_token", 1e-4},
    {MODELS "llama-stories260K/sharded", "tests/data/stories260K.golden.json", NULL, "mean_nll_next_token", 1e-4},
    {MODELS "llama-baby105", MODELS "llama-baby105/golden.json", NULL, "mean_nll_next_token", 1e-4},
    {MODELS "llama-baby105/sharded", MODELS "llama-baby105/golden.json", NULL, "mean_nll_next_token", 1e-4},
    {MODELS "llama-baby105/bf16", MODELS "llama-baby105/golden.json", NULL, "mean_nll_next_token", 1e-3},
    {MODELS "llama-baby105/f16", MODELS "llama-baby105/golden.json", NULL, "mean_nll_next_token", 1e-3},
    {MODELS "llama-books", MODELS "llama-books/golden.json", "passage", "mean_nll", 1e-4},
};

typedef struct setup {
    vise_model *model;
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
    cJSON *golden;
    const cJSON *figures;
    vise_windows windows;
    vise_error err;
} setup;

static void must(vise_status status, const vise_error *err)
{
    if (status != VISE_OK)
        fail_msg("%s", err->message);
}

static void set_up(const golden_case *c, setup *b)
{
    *b = (setup){0};
    must(vise_workers_new(2, &b->workers, &b->err), &b->err);
    must(vise_pool_new(0, &b->pool, &b->err), &b->err);
    must(vise_backend_open("cpu", b->workers, &b->backend, &b->err), &b->err);
    must(vise_model_open(c->model, &b->model, &b->err), &b->err);
    must(vise_json_load(c->golden, 1 << 20, &b->golden, &b->err), &b->err);
    b->figures = c->object ? cJSON_GetObjectItemCaseSensitive(b->golden, c->object) : b->golden;
    const cJSON *ids = cJSON_GetObjectItemCaseSensitive(b->figures, "input_ids");
    size_t n = (size_t)cJSON_GetArraySize(ids);
    assert_true(n > 1);
    b->windows = (vise_windows){.ids = malloc(n * sizeof(int32_t)), .count = 1, .length = n};
    const cJSON *id;
    size_t i = 0;
    cJSON_ArrayForEach(id, ids) b->windows.ids[i++] = id->valueint;
}

static void tear_down(setup *b)
{
    free(b->windows.ids);
    cJSON_Delete(b->golden);
    vise_model_close(b->model);
    vise_backend_close(b->backend);
    vise_pool_free(b->pool);
    vise_workers_free(b->workers);
}

static vise_eval_options options_of(setup *b)
{
    return (vise_eval_options){.windows = &b->windows, .stream_ram_bytes = UINT64_MAX, .pool = b->pool,
                               .workers = b->workers, .backend = b->backend};
}

static void test_mean_nll(void **state)
{
    const golden_case *c = *state;
    if (!vise_path_exists(c->model) || !vise_path_exists(c->golden)) {
        printf("SKIP %s: not there\n", c->model);
        skip();
    }
    setup b;
    set_up(c, &b);
    vise_eval_options options = options_of(&b);
    vise_quality quality;
    must(vise_evaluate(b.model, NULL, &options, &quality, NULL, NULL, &b.err), &b.err);
    double expected = cJSON_GetObjectItemCaseSensitive(b.figures, c->nll)->valuedouble;
    double off = fabs(quality.nll - expected) / expected;
    printf("%s: nll %.9f, expected %.9f, off by %.1e\n", c->model, quality.nll, expected, off);
    assert_true(off <= c->tolerance);
    assert_int_equal(quality.tokens, b.windows.length - 1);
    assert_true(fabs(quality.perplexity - exp(quality.nll)) < 1e-9 * quality.perplexity);
    tear_down(&b);
}

/* The saved logits of the bundled model's last token. */
static void test_last_logits(void **state)
{
    (void)state;
    setup b;
    set_up(&cases[0], &b);
    vise_eval_options options = options_of(&b);
    char path[] = "/tmp/vise-test-logits-XXXXXX.safetensors";
    int fd = mkstemps(path, 12);
    assert_true(fd >= 0);
    close(fd);
    must(vise_save_logits(b.model, &options, path, &b.err), &b.err);

    vise_source *source = NULL;
    must(vise_source_open(path, &source, &b.err), &b.err);
    size_t index = vise_source_find(source, "logits");
    assert_true(index != SIZE_MAX);
    const vise_tensor_info *info = vise_source_tensor(source, index);
    const cJSON *expected = cJSON_GetObjectItemCaseSensitive(b.figures, "last_logits");
    int64_t vocab = cJSON_GetArraySize(expected);
    assert_int_equal(info->ndim, 3);
    assert_int_equal(info->shape[0], 1);
    assert_int_equal(info->shape[1], b.windows.length);
    assert_int_equal(info->shape[2], vocab);
    float *last = malloc((size_t)vocab * sizeof *last);
    must(vise_source_read(source, index, (b.windows.length - 1) * (uint64_t)vocab * sizeof *last,
                          (uint64_t)vocab * sizeof *last, last, b.pool, &b.err), &b.err);
    const cJSON *value;
    int64_t i = 0;
    double largest = 0.0, worst = 0.0;
    cJSON_ArrayForEach(value, expected)
    {
        largest = fmax(largest, fabs(value->valuedouble));
        worst = fmax(worst, fabs(value->valuedouble - (double)last[i++]));
    }
    printf("last logits: off by %.1e of %.1f\n", worst, largest);
    assert_true(worst <= 1e-4 * largest);
    free(last);
    vise_source_close(source);
    unlink(path);
    tear_down(&b);
}

int main(void)
{
    enum { CASES = sizeof cases / sizeof cases[0] };
    struct CMUnitTest tests[CASES + 1];
    for (size_t i = 0; i < CASES; i++)
        tests[i] = (struct CMUnitTest){cases[i].model, test_mean_nll, NULL, NULL, (void *)(uintptr_t)&cases[i]};
    tests[CASES] = (struct CMUnitTest)cmocka_unit_test(test_last_logits);
    return _cmocka_run_group_tests("golden", tests, CASES + 1, NULL, NULL);
}
