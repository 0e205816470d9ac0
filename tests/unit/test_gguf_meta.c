/* What GGUF files say of a model beside its weights: names of tensors, orders of rows, titles, special tokens. Expected
 * values are llama.cpp's converter's. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/json.h"
#include "formats/gguf_meta.h"
#include "formats/gguf_order.h"
#include "tests/unit/formats_help.h"

/* ---- orders of rows ------------------------------------------------------------------------------------ */

static void test_orders(void **state)
{
    (void)state;
    static const uint64_t pairs[8] = {0, 2, 1, 3, 4, 6, 5, 7}; /* two heads of four */
    /* two key-value heads of two query heads, one row each: q0 q1 k v | q2 q3 k v */
    static const uint64_t fused[8] = {0, 1, 4, 6, 2, 3, 5, 7};
    const vise_gguf_order by_pairs = {.heads = 2}, by_groups = {.heads = 2, .queries = 2};
    assert_int_equal(vise_gguf_order_unit(&by_pairs), 4);
    assert_int_equal(vise_gguf_order_unit(&by_groups), 8);
    for (uint64_t row = 0; row < 8; row++) {
        assert_int_equal(vise_gguf_stored_row(&by_pairs, 8, row), pairs[row]);
        assert_int_equal(vise_gguf_stored_row(&by_groups, 8, row), fused[row]);
    }
    static const vise_gguf_order orders[] = {{5, 0}, {3, 1}, {1, 7}, {4, 3}};
    for (size_t o = 0; o < sizeof orders / sizeof *orders; o++) {
        bool seen[1024] = {false};
        const uint64_t rows = 6 * (uint64_t)vise_gguf_order_unit(&orders[o]);
        for (uint64_t row = 0; row < rows; row++) {
            const uint64_t stored = vise_gguf_stored_row(&orders[o], rows, row);
            assert_true(stored < rows && !seen[stored]);
            seen[stored] = true;
        }
    }
}

/* ---- names --------------------------------------------------------------------------------------------- */

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *model_type, *hf, *gguf; /* NULL: dropped; "": no name */
        int layer, expert;
        unsigned how;
    } rows[] = {
        {"llama", "model.layers.12.self_attn.q_proj.bias", "blk.12.attn_q.bias", 12, -1, 0},
        {"mixtral", "model.layers.3.block_sparse_moe.experts.7.w2.weight", "blk.3.ffn_down_exps.weight", 3, 7,
         VISE_GGUF_STACKED},
        {"mixtral", "model.layers.3.block_sparse_moe.gate.weight", "blk.3.ffn_gate_inp.weight", 3, -1, VISE_GGUF_FLOAT},
        {"mixtral", "model.layers.3.block_sparse_moe.experts.x.w2.weight", "", -1, -1, 0},
        {"qwen2_moe", "model.layers.0.mlp.shared_expert_gate.weight", "blk.0.ffn_gate_inp_shexp.weight", 0, -1,
         VISE_GGUF_FLOAT},
        {"gemma2", "model.layers.1.pre_feedforward_layernorm.weight", "blk.1.ffn_norm.weight", 1, -1,
         VISE_GGUF_PLUS_ONE},
        {"gemma2", "lm_head.weight", NULL, -1, -1, 0},
        {"gemma3_text", "lm_head.weight", "output.weight", -1, -1, 0},
        {"gpt2", "transformer.h.0.attn.c_attn.weight", "blk.0.attn_qkv.weight", 0, -1, VISE_GGUF_TRANSPOSED},
        {"gpt2", "h.0.attn.c_attn.weight", "blk.0.attn_qkv.weight", 0, -1, VISE_GGUF_TRANSPOSED},
        {"gpt2", "h.0.attn.bias", NULL, -1, -1, 0},
        {"gpt_neox", "gpt_neox.layers.0.attention.masked_bias", NULL, -1, -1, 0},
        {"bert", "bert.encoder.layer.4.output.LayerNorm.bias", "blk.4.layer_output_norm.bias", 4, -1, 0},
        {"bert", "encoder.layer.4.output.LayerNorm.bias", "blk.4.layer_output_norm.bias", 4, -1, 0},
        {"bert", "bert.pooler.dense.weight", NULL, -1, -1, 0},
        {"bert", "cls.predictions.bias", NULL, -1, -1, 0},
        {"roberta", "roberta.embeddings.position_embeddings.weight", "position_embd.weight", -1, -1,
         VISE_GGUF_FLOAT | VISE_GGUF_POSITIONS},
        {"distilbert", "vocab_projector.weight", NULL, -1, -1, 0},
        {"bert", "bert.embeddings.position_ids", NULL, -1, -1, 0},
        {"xlm-roberta", "roberta.encoder.layer.0.output.dense.weight", "blk.0.ffn_down.weight", 0, -1, 0},
        {"xlm-roberta", "classifier.dense.bias", "cls.bias", -1, -1, 0},
        {"qwen2_vl", "model.layers.1.self_attn.q_proj.bias", "blk.1.attn_q.bias", 1, -1, 0},
        {"qwen2_vl", "model.language_model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight", 1, -1, 0},
        {"qwen2_5_vl", "visual.blocks.0.attn.qkv.weight", NULL, -1, -1, 0},
        {"qwen2_5_vl", "model.visual.merger.mlp.0.weight", NULL, -1, -1, 0},
        {"qwen2_5_vl", "lm_head.weight", "output.weight", -1, -1, 0},
        {"mistral3", "language_model.model.layers.0.self_attn.k_proj.weight", "blk.0.attn_k.weight", 0, -1, 0},
        {"mistral3", "language_model.lm_head.weight", "output.weight", -1, -1, 0},
        {"mistral3", "multi_modal_projector.linear_1.weight", NULL, -1, -1, 0},
        {"gemma3", "model.language_model.norm.weight", "output_norm.weight", -1, -1, VISE_GGUF_PLUS_ONE},
        {"gemma3", "model.vision_tower.post_layernorm.weight", NULL, -1, -1, 0},
        {"qwen2", "model.language_model.norm.weight", "", -1, -1, 0}, /* is of no model among others */
        {"phi3", "model.layers.1.mlp.gate_up_proj.weight", "blk.1.ffn_up.weight", 1, -1, 0},
        {"llama", "model.layers.1.mlp.other_proj.weight", "", -1, -1, 0},
        {"llama", "model.layers.1.mlp.up_proj.scale", "", -1, -1, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[VISE_GGUF_MODULE_MAX];
        const vise_gguf_family *family = vise_gguf_family_of_model(rows[i].model_type);
        assert_non_null(family);
        const vise_gguf_named found = vise_gguf_name_from_hf(family, rows[i].hf, name);
        assert_int_equal(found.dropped != NULL, rows[i].gguf == NULL);
        assert_int_equal(found.module != NULL, rows[i].gguf != NULL && rows[i].gguf[0] != '\0');
        if (found.module == NULL)
            continue;
        assert_string_equal(name, rows[i].gguf);
        assert_int_equal(found.layer, rows[i].layer);
        assert_int_equal(found.expert, rows[i].expert);
        assert_int_equal(found.module->how, rows[i].how);
    }
    assert_null(vise_gguf_family_of_model("opt"));
    assert_null(vise_gguf_family_of("roberta")); /* written, not read */
}

/* ---- values -------------------------------------------------------------------------------------------- */

static const char *find_bytes(const vise_gguf_values *values, const void *wanted, size_t n)
{
    return memmem(values->bytes.data, values->bytes.length, wanted, n);
}

/* The text of a key, or NULL. */
static const char *text_value(const vise_gguf_values *values, const char *key, char out[256])
{
    char wanted[128];
    const uint64_t length = strlen(key);
    memcpy(wanted, &length, 8);
    memcpy(wanted + 8, key, length);
    const char *at = find_bytes(values, wanted, 8 + length);
    if (at == NULL)
        return NULL;
    uint64_t n;
    memcpy(&n, at + 8 + length + 4, 8);
    assert_true(n < 256);
    memcpy(out, at + 8 + length + 12, n);
    out[n] = '\0';
    return out;
}

static bool holds_bool(const vise_gguf_values *values, const char *key, bool value)
{
    char wanted[128];
    const uint64_t length = strlen(key);
    const uint32_t kind = VISE_GGUF_KIND_BOOL;
    memcpy(wanted, &length, 8);
    memcpy(wanted + 8, key, length);
    memcpy(wanted + 8 + length, &kind, 4);
    wanted[12 + length] = value ? 1 : 0;
    return find_bytes(values, wanted, 13 + length) != NULL;
}

static bool holds_u32(const vise_gguf_values *values, const char *key, uint32_t value)
{
    char wanted[128];
    const uint64_t length = strlen(key);
    const uint32_t kind = VISE_GGUF_KIND_U32;
    memcpy(wanted, &length, 8);
    memcpy(wanted + 8, key, length);
    memcpy(wanted + 8 + length, &kind, 4);
    memcpy(wanted + 12 + length, &value, 4);
    return find_bytes(values, wanted, 16 + length) != NULL;
}

static void test_titles(void **state)
{
    (void)state;
    static const struct {
        const char *folder;
        uint64_t parameters;
        const char *name, *basename, *finetune, *version, *size;
    } rows[] = {
        {"SmolLM2-1.7B-Instruct-v0.2", 1700000000, "SmolLM2 1.7B Instruct v0.2", "SmolLM2", "Instruct", "v0.2", "1.7B"},
        {"Llama-3.2-8k-chat", 3000000000, "Llama 3.2 8k Chat", "Llama-3.2", "8k-chat", NULL, "3.0B"},
        {"bloom-7b1", 7000000000, "Bloom 7b1", "bloom", NULL, NULL, "7.1B"},
        {"Mixtral-8x7B-v0.1", 46000000000, "Mixtral 8x7B v0.1", "Mixtral", NULL, "v0.1", "8x7B"},
        {"my model two", 999999, "My Model Two", NULL, NULL, NULL, "1000K"},
        {"phi-3-mini-4k-instruct", 3800000000, "Phi 3 Mini 4k Instruct", "phi-3", "4k-instruct", NULL, "mini"},
        {"llama-stories260K", 260032, "Llama stories260K", NULL, NULL, NULL, "260K"},
        {"qwen2-0_5b-q4_0-f16", 500000000, "Qwen2 0_5b Q4_0 F16", "qwen2", NULL, NULL, "0.5B"},
        {"A-small-2B-x-2B", 2000000000, "A Small 2B X 2B", "A-small", "x", NULL, "2B"},
    };
    const char *root = help_folder();
    const help_tensor tensor = {"a", VISE_DTYPE_F32, 1, {1}, NULL};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char folder[512], out[256];
        snprintf(folder, sizeof folder, "%s/%s", root, rows[i].folder);
        assert_int_equal(mkdir(folder, 0700), 0);
        help_safetensors(folder, "model.safetensors", NULL, &tensor, 1);
        help_write_text(folder, "config.json", "{\"model_type\":\"llama\"}");
        help_write_text(folder, "generation_config.json", i % 2 == 0 ? "{\"top_k\":7,\"temperature\":0.5}" : "{");
        vise_source *source;
        vise_gguf_values values;
        const vise_gguf_facts facts = {.parameters = rows[i].parameters};
        OK(vise_source_open(folder, &source, &help_error));
        vise_gguf_values_init(&values);
        OK(vise_gguf_describe_model(source, &facts, &values, &help_error));
        const char *const keys[] = {"general.name", "general.basename", "general.finetune", "general.version",
                                    "general.size_label"};
        const char *const wanted[] = {rows[i].name, rows[i].basename, rows[i].finetune, rows[i].version, rows[i].size};
        for (size_t k = 0; k < 5; k++) {
            const char *got = text_value(&values, keys[k], out);
            if (wanted[k] == NULL)
                assert_null(got);
            else
                assert_string_equal(got, wanted[k]);
        }
        assert_int_equal(find_bytes(&values, "general.sampling.top_k", 22) != NULL, i % 2 == 0);
        vise_gguf_values_deinit(&values);
        vise_source_close(source);
    }
    help_remove(root);
}

#define ADDED                                                                                                \
    "\"added_tokens\":[{\"id\":1,\"content\":\"<s>\"},{\"id\":2,\"content\":\"</s>\"},{\"id\":900,\"content\":\"<x>\"}]"

static void test_special_tokens(void **state)
{
    (void)state;
    static const char template[] =
        "{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
        "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"</s>\"}}]}," ADDED "}";
    static const char bytes[] = "{\"post_processor\":{\"type\":\"ByteLevel\"},"
                                "\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":false}," ADDED "}";
    static const struct {
        const char *tokenizer, *config, *model;
        int bos, eos;         /* ids; -1: none */
        int add_bos, add_eos; /* -1: not said */
    } rows[] = {
        {template, "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\"}", "{}", 1, 2, 1, 1},
        {template, "{\"add_bos_token\":false,\"bos_token\":{\"content\":\"<s>\"}}", "{\"eos_token_id\":7}", 1, 2, 1, 1},
        {template, NULL, "{\"bos_token_id\":5}", 5, -1, 1, 1},
        {bytes, "{\"bos_token\":\"<s>\",\"add_eos_token\":true}", "{\"bos_token_id\":9,\"eos_token_id\":-1}", 1, -1, 0,
         0},
        {bytes, "{\"bos_token\":\"<x>\"}", "{\"bos_token_id\":9}", 9, -1, 0, 0}, /* 900 is beyond the vocabulary */
        {NULL, "{\"add_bos_token\":true}", "{\"eos_token_id\":3}", -1, 3, 1, -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cJSON *tokenizer = NULL, *config = NULL, *model = NULL;
        vise_gguf_values values;
        if (rows[i].tokenizer != NULL)
            OK(vise_json_parse("t", rows[i].tokenizer, strlen(rows[i].tokenizer), &tokenizer, &help_error));
        if (rows[i].config != NULL)
            OK(vise_json_parse("c", rows[i].config, strlen(rows[i].config), &config, &help_error));
        OK(vise_json_parse("m", rows[i].model, strlen(rows[i].model), &model, &help_error));
        const vise_gguf_special special = {
            .tokenizer = tokenizer, .config = config, .model = model, .folder = "/nowhere", .n_vocab = 100};
        vise_gguf_values_init(&values);
        OK(vise_gguf_put_special(&special, &values, &help_error));
        const char *bos = "tokenizer.ggml.bos_token_id", *eos = "tokenizer.ggml.eos_token_id";
        assert_int_equal(find_bytes(&values, bos, strlen(bos)) != NULL, rows[i].bos >= 0);
        assert_int_equal(find_bytes(&values, eos, strlen(eos)) != NULL, rows[i].eos >= 0);
        if (rows[i].bos >= 0)
            assert_true(holds_u32(&values, bos, (uint32_t)rows[i].bos));
        if (rows[i].eos >= 0)
            assert_true(holds_u32(&values, eos, (uint32_t)rows[i].eos));
        if (rows[i].add_bos >= 0)
            assert_true(holds_bool(&values, "tokenizer.ggml.add_bos_token", rows[i].add_bos > 0));
        if (rows[i].add_eos >= 0)
            assert_true(holds_bool(&values, "tokenizer.ggml.add_eos_token", rows[i].add_eos > 0));
        assert_int_equal(holds_bool(&values, "tokenizer.ggml.normalizer.lowercase", false), rows[i].tokenizer == bytes);
        vise_gguf_values_deinit(&values);
        cJSON_Delete(model);
        cJSON_Delete(config);
        cJSON_Delete(tokenizer);
    }
}

static void test_pre_tokenizers(void **state)
{
    (void)state;
    assert_string_equal(vise_gguf_pre_name("3ce83efda5659b07b1ad37ca97ca5797ea4285d9b9ab0dc679e4a720c9da7454"),
                        "gpt-2");
    assert_null(vise_gguf_pre_name("00"));
    assert_null(vise_gguf_pre_name(NULL));
    assert_int_equal(strlen(vise_gguf_pre_text), 431);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),         cmocka_unit_test(test_names),
        cmocka_unit_test(test_titles),         cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_pre_tokenizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
