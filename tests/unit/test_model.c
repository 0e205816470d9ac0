/* Binding of a store's tensors to roles: tiny models written by hand, one thing wrong at a time. */
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
#include "model/model.h"

#define CONFIG                                                                                               \
    "\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":2,"           \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":10,\"head_dim\":4"

static char folder[] = "/tmp/vise-test-model-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int drop_folder(void **state)
{
    (void)state;
    return vise_folder_remove(folder, NULL) != VISE_OK;
}

static void put_file(const char *name, const void *bytes, size_t n)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(vise_file_write_atomic(path, bytes, n, NULL), VISE_OK);
}

/* One tensor of a safetensors file under way. */
struct writer {
    vise_buf header;
    uint64_t bytes;
    const char *without;  /* a tensor left out */
    const char *misshape; /* a tensor that gets `shape` */
    const char *shape;
    const char *as_int; /* a tensor of dtype I32 */
};

static void add(struct writer *w, const char *name, int64_t rows, int64_t cols)
{
    uint64_t size = 4 * (uint64_t)(rows > 0 ? rows : 1) * (uint64_t)cols;
    const char *dtype = w->as_int != NULL && strcmp(name, w->as_int) == 0 ? "I32" : "F32";
    char shape[64];

    if (w->without != NULL && strcmp(name, w->without) == 0)
        return;
    if (rows > 0)
        snprintf(shape, sizeof shape, "[%lld,%lld]", (long long)rows, (long long)cols);
    else
        snprintf(shape, sizeof shape, "[%lld]", (long long)cols);
    vise_buf_addf(&w->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%llu,%llu]}",
                  w->header.length > 0 ? "," : "", name, dtype,
                  w->misshape != NULL && strcmp(name, w->misshape) == 0 ? w->shape : shape,
                  (unsigned long long)w->bytes, (unsigned long long)(w->bytes + size));
    w->bytes += size;
}

static void add_llama(struct writer *w, bool head)
{
    char name[96];

    add(w, "model.embed_tokens.weight", 10, 8);
    for (int i = 0; i < 2; i++) {
        static const struct {
            const char *suffix;
            int64_t rows, cols;
        } parts[] = {
            {"input_layernorm", 0, 8},  {"self_attn.q_proj", 16, 8}, {"self_attn.k_proj", 8, 8},
            {"self_attn.v_proj", 8, 8}, {"self_attn.o_proj", 8, 16}, {"mlp.gate_proj", 12, 8},
            {"mlp.up_proj", 12, 8},     {"mlp.down_proj", 8, 12},    {"post_attention_layernorm", 0, 8},
        };
        for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", i, parts[p].suffix);
            add(w, name, parts[p].rows, parts[p].cols);
        }
    }
    add(w, "model.norm.weight", 0, 8);
    if (head)
        add(w, "lm_head.weight", 10, 8);
}

static void finish(struct writer *w, const char *config)
{
    vise_buf file;
    char text[1024];
    uint64_t length;

    while (w->header.length % 8 != 6)
        vise_buf_add_char(&w->header, ' ');
    length = w->header.length + 2;
    vise_buf_init(&file, 1 << 20);
    vise_buf_add(&file, &length, 8);
    vise_buf_addf(&file, "{%s}", w->header.data);
    for (uint64_t i = 0; i < w->bytes; i++)
        vise_buf_add_char(&file, 0);
    assert_int_equal(vise_buf_check(&file, "model.safetensors", NULL), VISE_OK);
    put_file("model.safetensors", file.data, file.length);
    snprintf(text, sizeof text, "{%s}", config);
    put_file("config.json", text, strlen(text));
    vise_buf_deinit(&file);
    vise_buf_deinit(&w->header);
}

static struct writer begin(void)
{
    struct writer w = {0};

    vise_buf_init(&w.header, 1 << 20);
    return w;
}

static const char *name_at(const vise_model *model, size_t index)
{
    return index == SIZE_MAX ? NULL : model->bound[index].tensor->name;
}

static void test_untied(void **state)
{
    struct writer w = begin();
    vise_model *model;
    vise_error err = {0};
    size_t linears = 0;

    (void)state;
    add_llama(&w, true);
    add(&w, "model.layers.0.self_attn.rotary_emb.inv_freq", 0, 2);
    finish(&w, CONFIG);
    assert_int_equal(vise_model_open(folder, &model, &err), VISE_OK);
    assert_string_equal(model->model_type, "llama");
    assert_ptr_equal(model->arch, vise_arch_find("llama"));
    assert_false(model->tied);
    assert_int_equal(model->count, 22);
    assert_string_equal(name_at(model, vise_model_role(model, VISE_ROLE_EMBEDDING, -1)),
                        "model.embed_tokens.weight");
    assert_string_equal(name_at(model, vise_model_role(model, VISE_ROLE_HEAD, -1)), "lm_head.weight");
    assert_string_equal(name_at(model, vise_model_role(model, VISE_ROLE_DOWN, 1)),
                        "model.layers.1.mlp.down_proj.weight");
    assert_int_equal(vise_model_role(model, VISE_ROLE_DOWN, -1), SIZE_MAX);
    assert_int_equal(vise_model_role(model, VISE_ROLE_DOWN, 2), SIZE_MAX);
    assert_int_equal(vise_model_role(model, VISE_ROLE_HEAD, 0), SIZE_MAX);
    assert_int_equal(vise_model_role(model, VISE_ROLE_UNKNOWN, 0), SIZE_MAX);
    assert_int_equal(vise_model_bias(model, VISE_ROLE_Q, 0), SIZE_MAX);
    for (size_t i = 0; i < model->count; i++) {
        const vise_bound *bound = &model->bound[i];
        if (strstr(bound->tensor->name, "inv_freq") != NULL) {
            assert_int_equal(bound->role, VISE_ROLE_UNKNOWN);
            assert_false(bound->is_linear);
        } else {
            assert_int_equal(vise_model_role(model, bound->role, bound->layer), i);
        }
        linears += bound->is_linear && bound->layer >= 0;
    }
    assert_int_equal(linears, 14);
    assert_int_equal(vise_model_dtype(model), VISE_DTYPE_F32);
    assert_int_equal(vise_model_need_forward(model, "gptq", &err), VISE_OK);
    vise_model_close(model);
}

static void test_tied(void **state)
{
    struct writer w = begin();
    vise_model *model;
    vise_error err = {0};

    (void)state;
    add_llama(&w, false);
    finish(&w, CONFIG ",\"tie_word_embeddings\":true");
    assert_int_equal(vise_model_open(folder, &model, &err), VISE_OK);
    assert_true(model->tied);
    assert_int_equal(vise_model_role(model, VISE_ROLE_HEAD, -1),
                     vise_model_role(model, VISE_ROLE_EMBEDDING, -1));
    vise_model_close(model);

    /* A stored head wins. */
    w = begin();
    add_llama(&w, true);
    finish(&w, CONFIG ",\"tie_word_embeddings\":true");
    assert_int_equal(vise_model_open(folder, &model, &err), VISE_OK);
    assert_false(model->tied);
    assert_string_equal(name_at(model, vise_model_role(model, VISE_ROLE_HEAD, -1)), "lm_head.weight");
    vise_model_close(model);
}

static void test_biases(void **state)
{
    static const char *const modules[] = {"q_proj", "k_proj", "v_proj", "o_proj"};
    static const int64_t rows[] = {16, 8, 8, 8};
    vise_model *model;
    vise_error err = {0};
    char name[96];

    (void)state;
    for (int said = 0; said < 2; said++) {
        struct writer w = begin();
        add_llama(&w, true);
        for (int i = 0; i < 8; i++) {
            snprintf(name, sizeof name, "model.layers.%d.self_attn.%s.bias", i / 4, modules[i % 4]);
            add(&w, name, 0, rows[i % 4]);
        }
        finish(&w, said ? CONFIG ",\"attention_bias\":true" : CONFIG);
        assert_int_equal(vise_model_open(folder, &model, &err), VISE_OK);
        if (said) {
            size_t bias = vise_model_bias(model, VISE_ROLE_K, 1);
            assert_string_equal(name_at(model, bias), "model.layers.1.self_attn.k_proj.bias");
            assert_true(model->bound[bias].is_bias);
            assert_false(model->bound[bias].is_linear);
            assert_string_equal(name_at(model, vise_model_role(model, VISE_ROLE_K, 1)),
                                "model.layers.1.self_attn.k_proj.weight");
        } else {
            assert_int_equal(vise_model_bias(model, VISE_ROLE_K, 1), SIZE_MAX);
        }
        vise_model_close(model);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *config; /* behind CONFIG */
        struct writer wrong;
        const char *says;
    } cases[] = {
        {"",
         {.without = "model.layers.1.mlp.up_proj.weight"},
         "model.layers.1.mlp.up_proj.weight is missing"},
        {"", {.without = "model.norm.weight"}, "model.norm.weight is missing"},
        {"", {.without = "lm_head.weight"}, "tie_word_embeddings"},
        {"",
         {.misshape = "model.layers.0.self_attn.q_proj.weight", .shape = "[8,16]"},
         "[8, 16], but config.json says [16, 8] (num_attention_heads x head_dim, hidden_size)"},
        {"", {.misshape = "model.layers.0.self_attn.q_proj.weight", .shape = "[128]"}, "[128], but"},
        {"",
         {.misshape = "model.layers.1.input_layernorm.weight", .shape = "[1,8]"},
         "[1, 8], but config.json says [8] (hidden_size)"},
        {"", {.misshape = "model.embed_tokens.weight", .shape = "[8,10]"}, "(vocab_size, hidden_size)"},
        {"", {.as_int = "model.layers.0.mlp.gate_proj.weight"}, "gate_proj.weight has dtype I32"},
        {",\"attention_bias\":true", {.without = NULL}, "model.layers.0.self_attn.q_proj.bias is missing"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct writer w = begin();
        char config[512];
        vise_model *model = NULL;
        vise_error err = {0};
        w.without = cases[i].wrong.without;
        w.misshape = cases[i].wrong.misshape;
        w.shape = cases[i].wrong.shape;
        w.as_int = cases[i].wrong.as_int;
        add_llama(&w, true);
        snprintf(config, sizeof config, "%s%s", CONFIG, cases[i].config);
        finish(&w, config);
        assert_int_equal(vise_model_open(folder, &model, &err), VISE_EFORMAT);
        assert_null(model);
        if (strstr(err.message, cases[i].says) == NULL)
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err.message, cases[i].says);
    }
}

/* Experts have slots of their own; the router is bound and no target. */
static void test_experts(void **state)
{
    struct writer w = begin();
    vise_model *model;
    vise_error err = {0};
    char name[96];
    size_t targets = 0;

    (void)state;
    add(&w, "model.embed_tokens.weight", 10, 8);
    for (int layer = 0; layer < 2; layer++) {
        static const char *const square[] = {"q_proj", "k_proj", "v_proj", "o_proj"};
        for (size_t i = 0; i < 4; i++) {
            snprintf(name, sizeof name, "model.layers.%d.self_attn.%s.weight", layer, square[i]);
            add(&w, name, 8, 8);
        }
        snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", layer);
        add(&w, name, 0, 8);
        snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", layer);
        add(&w, name, 0, 8);
        snprintf(name, sizeof name, "model.layers.%d.block_sparse_moe.gate.weight", layer);
        add(&w, name, 3, 8);
        for (int part = 0; part < 9; part++) {
            snprintf(name, sizeof name, "model.layers.%d.block_sparse_moe.experts.%d.w%d.weight", layer, part / 3,
                     part % 3 + 1);
            add(&w, name, part % 3 == 1 ? 8 : 12, part % 3 == 1 ? 12 : 8);
        }
    }
    add(&w, "model.norm.weight", 0, 8);
    finish(&w, "\"model_type\":\"mixtral\",\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":2,"
               "\"num_attention_heads\":2,\"num_key_value_heads\":2,\"vocab_size\":10,\"num_local_experts\":3,"
               "\"tie_word_embeddings\":true");
    assert_int_equal(vise_model_open(folder, &model, &err), VISE_OK);
    for (int expert = 0; expert < 3; expert++) {
        size_t slot = vise_config_slot(VISE_ROLE_EXPERT_DOWN, expert), index = vise_model_slot(model, slot, 1);
        snprintf(name, sizeof name, "model.layers.1.block_sparse_moe.experts.%d.w2.weight", expert);
        assert_string_equal(name_at(model, index), name);
        assert_int_equal(model->bound[index].expert, expert);
        assert_int_equal(vise_bound_slot(&model->bound[index]), slot);
        assert_int_equal(vise_bound_input(&model->bound[index]), VISE_INPUT_EXPERT_DOWN + 2 * expert);
    }
    assert_int_equal(vise_model_slot(model, vise_config_slots(&model->config), 1), SIZE_MAX);
    assert_int_not_equal(vise_model_role(model, VISE_ROLE_ROUTER, 0), SIZE_MAX);
    for (size_t i = 0; i < model->count; i++)
        targets += model->bound[i].is_linear && model->bound[i].layer >= 0;
    assert_int_equal(targets, 2 * (4 + 9));
    vise_model_close(model);
}

/* GPT-2's files with and without the prefix; its matrices are turned. */
static void test_prefix_and_transposed(void **state)
{
    (void)state;
    for (int prefixed = 0; prefixed < 2; prefixed++) {
        static const struct {
            const char *name;
            int64_t rows, cols;
        } parts[] = {
            {"wte.weight", 10, 8},          {"wpe.weight", 16, 8},           {"h.0.ln_1.weight", 0, 8},
            {"h.0.ln_1.bias", 0, 8},        {"h.0.attn.c_attn.weight", 8, 24}, {"h.0.attn.c_attn.bias", 0, 24},
            {"h.0.attn.c_proj.weight", 8, 8}, {"h.0.attn.c_proj.bias", 0, 8}, {"h.0.ln_2.weight", 0, 8},
            {"h.0.ln_2.bias", 0, 8},        {"h.0.mlp.c_fc.weight", 8, 32},  {"h.0.mlp.c_fc.bias", 0, 32},
            {"h.0.mlp.c_proj.weight", 32, 8}, {"h.0.mlp.c_proj.bias", 0, 8}, {"ln_f.weight", 0, 8},
            {"ln_f.bias", 0, 8},
        };
        struct writer w = begin();
        vise_model *model;
        vise_error err = {0};
        for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
            char name[96];
            snprintf(name, sizeof name, "%s%s", prefixed ? "transformer." : "", parts[p].name);
            add(&w, name, parts[p].rows, parts[p].cols);
        }
        finish(&w, "\"model_type\":\"gpt2\",\"n_embd\":8,\"n_layer\":1,\"n_head\":2,\"vocab_size\":10,"
                   "\"n_positions\":16");
        assert_int_equal(vise_model_open(folder, &model, &err), VISE_OK);
        const vise_logical *up = model->bound[vise_model_role(model, VISE_ROLE_UP, 0)].tensor;
        assert_true(up->transposed && up->rows == 32 && up->cols == 8 && up->shape[0] == 8);
        assert_int_not_equal(vise_model_bias(model, VISE_ROLE_FINAL_NORM, -1), SIZE_MAX);
        for (size_t i = 0; i < model->count; i++)
            assert_int_not_equal(model->bound[i].role, VISE_ROLE_UNKNOWN);
        vise_model_close(model);
    }
}

static void test_unknown_families(void **state)
{
    static const struct {
        const char *config, *says;
    } cases[] = {
        {"\"model_type\":\"gptx\",\"n_embd\":8", "\"gptx\""},
        {"\"n_embd\":8", "no model_type"},
        {CONFIG ",\"architectures\":[\"LlamaForTokenClassification\"]", "LlamaForTokenClassification"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct writer w = begin();
        vise_model *model;
        vise_error err = {0};
        add(&w, "wte.weight", 10, 8);
        add(&w, "h.0.attn.c_attn.weight", 8, 24);
        add(&w, "h.0.attn.c_attn.bias", 0, 24);
        add(&w, "h.11.mlp.c_fc.weight", 8, 32);
        finish(&w, cases[i].config);
        assert_int_equal(vise_model_open(folder, &model, &err), VISE_OK);
        assert_null(model->arch);
        assert_false(model->bound[0].is_linear);
        assert_true(model->bound[1].is_linear);
        assert_int_equal(model->bound[1].layer, 0);
        assert_false(model->bound[2].is_linear);
        assert_true(model->bound[3].is_linear);
        assert_int_equal(model->bound[3].layer, 11);
        assert_int_equal(vise_model_role(model, VISE_ROLE_Q, 0), SIZE_MAX);
        assert_int_equal(vise_model_need_forward(model, "pass quant, method gptq", &err), VISE_EUNSUPPORTED);
        assert_non_null(strstr(err.message, "pass quant, method gptq"));
        if (strstr(err.message, cases[i].says) == NULL)
            fail_msg("case %zu: \"%s\" does not say %s", i, err.message, cases[i].says);
        vise_model_close(model);
    }
}

/* Every allocation of an opening fails once: an error, and no leak (the sanitizers look on). */
static void test_out_of_memory(void **state)
{
    struct writer w = begin();
    vise_status status = VISE_ERESOURCE;

    (void)state;
    add_llama(&w, true);
    finish(&w, CONFIG);
    for (uint64_t n = 1; status != VISE_OK; n++) {
        vise_model *model;
        assert_true(n < 10000);
        vise_alloc_fail_after(n);
        status = vise_model_open(folder, &model, NULL);
        vise_alloc_fail_after(0);
        assert_true(status == VISE_OK || status == VISE_ERESOURCE);
        if (status == VISE_OK)
            vise_model_close(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_untied),           cmocka_unit_test(test_tied),
        cmocka_unit_test(test_biases),           cmocka_unit_test(test_refused),
        cmocka_unit_test(test_experts),          cmocka_unit_test(test_prefix_and_transposed),
        cmocka_unit_test(test_unknown_families), cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
