/* The table of memory of a small Llama, counted by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/memory_table.h"
#include "pipeline/option.h"
#include "tiny_llama.h"

/* An embedding and a head of 32 x 16; blocks of q 16 x 16, k and v 8 x 16, o 16 x 16, gate and up 24 x 16, down
 * 16 x 24, and two norms of 16; a last norm. */
enum {
    LAYERS = 3,
    LINEAR = 256 + 128 + 128 + 256 + 3 * 384, /* of a block */
    LINEAR_ROWS = 16 + 8 + 8 + 16 + 24 + 24 + 16,
    LINEAR_COLS = 6 * 16 + 24,
    OTHER = 2 * 512 + LAYERS * 32 + 16,
    ALL = OTHER + LAYERS * LINEAR,
    CONTEXT = 10,
    BATCH = 2,
    TOKENS = CONTEXT * BATCH
};

typedef struct fixture {
    tiny_llama llama;
    vise_model *model;
    vise_memory_table table;
} fixture;

static int open_model(void **state)
{
    static fixture f;
    vise_error err = {0};
    f.llama = (tiny_llama){.hidden = 16, .ffn = 24, .layers = LAYERS, .heads = 2, .kv_heads = 1, .head_dim = 8,
                           .vocab = 32, .positions = 64};
    tiny_llama_make(&f.llama, 1);
    assert_int_equal(vise_model_open(f.llama.folder, &f.model, &err), VISE_OK);
    assert_int_equal(vise_memory_table_make(f.model, CONTEXT, BATCH, &f.table, &err), VISE_OK);
    *state = &f;
    return 0;
}

static int close_model(void **state)
{
    fixture *f = *state;
    vise_model_close(f->model);
    tiny_llama_drop(&f->llama);
    return 0;
}

static const vise_run_row *run_row(const fixture *f, const char *name)
{
    for (size_t i = 0; i < f->table.n_run; i++)
        if (strcmp(f->table.run[i].name, name) == 0)
            return &f->table.run[i];
    fail_msg("no row %s", name);
    return NULL;
}

static void test_run(void **state)
{
    const fixture *f = *state;
    const struct {
        const char *name;
        uint64_t weights, scales, unquantized, element;
    } cases[] = {
        {"as stored", 4 * ALL, 0, 4 * ALL, 4},
        {"f32", 4 * ALL, 0, 4 * ALL, 4},
        {"bf16", 2 * ALL, 0, 2 * ALL, 2},
        /* A byte a weight; a float32 scale a row and the shape, two int64, of each of the seven. */
        {"int8-channel", LAYERS * (LINEAR + 4 * LINEAR_ROWS + 7 * 16) + 4 * OTHER,
         LAYERS * (4 * LINEAR_ROWS + 7 * 16), 4 * OTHER, 4},
        {"int4-g128", 4 * ALL, 0, 4 * ALL, 4}, /* no row divides into groups of 128 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const vise_run_row *row = run_row(f, cases[i].name);
        assert_int_equal(row->weights, cases[i].weights);
        assert_int_equal(row->scales, cases[i].scales);
        assert_int_equal(row->unquantized, cases[i].unquantized);
        assert_int_equal(row->kv_cache, LAYERS * 2 * TOKENS * 8 * cases[i].element);
        assert_int_equal(row->activations, TOKENS * (2 * 16 + 3 * 24) * cases[i].element);
    }
}

static void test_training(void **state)
{
    const fixture *f = *state;
    const vise_training_row *rows = f->table.training;
    const uint64_t adapters = LAYERS * VISE_LORA_RANK * (LINEAR_ROWS + LINEAR_COLS);
    const uint64_t frozen = run_row(f, "nf4-b64-dq")->weights;
    const struct {
        const char *name;
        uint64_t weights, gradients, optimizer, element;
    } cases[VISE_TRAINING_ROWS] = {
        {"f32", 4 * ALL, 4 * ALL, 8 * ALL, 4},
        {"bf16 mixed", 4 * ALL + 2 * (LAYERS * LINEAR + 512), 4 * ALL, 8 * ALL, 2}, /* the head is a linear too */
        {"bf16", 2 * ALL, 2 * ALL, 4 * ALL, 2},
        {"lora on nf4-b64-dq", frozen + 4 * adapters, 4 * adapters, 8 * adapters, 2},
    };
    assert_true(frozen > LAYERS * LINEAR / 2 + 4 * OTHER);
    for (size_t i = 0; i < VISE_TRAINING_ROWS; i++) {
        assert_string_equal(rows[i].name, cases[i].name);
        assert_int_equal(rows[i].weights, cases[i].weights);
        assert_int_equal(rows[i].gradients, cases[i].gradients);
        assert_int_equal(rows[i].optimizer, cases[i].optimizer);
        /* Stream, norm and input of both halves; q and the result; k and v; gate, up, its nonlinearity, the product. */
        const uint64_t block = TOKENS * (4 * 16 + 2 * 16 + 2 * 8 + 4 * 24) * cases[i].element;
        const uint64_t head = TOKENS * (2 * 16 * cases[i].element + 2 * 32 * 4);
        assert_int_equal(rows[i].activations, LAYERS * block + head);
        assert_int_equal(rows[i].checkpointed, TOKENS * LAYERS * 16 * cases[i].element + block + head);
    }
}

static void test_defaults(void **state)
{
    const fixture *f = *state;
    vise_memory_table table;
    vise_error err = {0};
    assert_int_equal(vise_memory_table_make(f->model, VISE_UNSET_INT, 1, &table, &err), VISE_OK);
    assert_int_equal(table.context, 64);
    assert_int_equal(vise_memory_table_make(f->model, 0, 1, &table, &err), VISE_OK);
    assert_int_equal(table.run[0].kv_cache + table.run[0].activations, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_defaults),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
