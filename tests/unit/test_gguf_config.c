/* GGUF files shown as transformers' models: what config.json says for each family, experts one by one, norms without
 * the one that was added, transposed matrices, fused rows; what makes a file keep the names of llama.cpp. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/event.h"
#include "formats/gguf_write.h"
#include "formats/source.h"
#include "tests/unit/formats_help.h"

/* ---- a file of a few tensors --------------------------------------------------------------------------- */

typedef struct row {
    const char *name;
    int64_t dims[3]; /* as in the file: the row's length first */
} row;

enum { TENSORS_MAX = 8 };

typedef struct file {
    const char *architecture;
    row rows[TENSORS_MAX];
    const char *ints[8][2]; /* keys below the architecture and numbers, beyond the sizes; "tokenizer" is a text */
} file;

/* Element i of every tensor is i + 1. */
static const char *make(const char *folder, const file *f)
{
    vise_gguf_values values;
    vise_gguf_tensor tensors[TENSORS_MAX];
    vise_buf buf;
    char key[80];
    size_t n = 0;
    uint64_t at = 0;
    static const struct {
        const char *key;
        uint32_t number;
    } sizes[] = {{"block_count", 1},
                 {"context_length", 16},
                 {"embedding_length", 4},
                 {"feed_forward_length", 6},
                 {"attention.head_count", 2}};
    vise_gguf_values_init(&values);
    vise_gguf_put_text(&values, "general.architecture", f->architecture);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(key, sizeof key, "%s.%s", f->architecture, sizes[i].key);
        vise_gguf_put_u32(&values, key, sizes[i].number);
    }
    for (size_t i = 0; i < 8 && f->ints[i][0] != NULL; i++) {
        if (strcmp(f->ints[i][0], "tokenizer") == 0) {
            vise_gguf_put_text(&values, "tokenizer.ggml.model", f->ints[i][1]);
            continue;
        }
        snprintf(key, sizeof key, "%s.%s", f->architecture, f->ints[i][0]);
        vise_gguf_put_u32(&values, key, (uint32_t)strtoul(f->ints[i][1], NULL, 10));
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", f->architecture);
    vise_gguf_put_f32(&values, key, 1e-5f);
    snprintf(key, sizeof key, "%s.attention.layer_norm_epsilon", f->architecture);
    vise_gguf_put_f32(&values, key, 1e-5f);
    for (; n < TENSORS_MAX && f->rows[n].name != NULL; n++) {
        vise_gguf_tensor *t = &tensors[n];
        *t = (vise_gguf_tensor){
            .name = f->rows[n].name, .type = &vise_gguf_table[VISE_GGUF_F32], .elements = 1, .offset = at};
        for (; t->ndim < 3 && f->rows[n].dims[t->ndim] > 0; t->ndim++) {
            t->dims[t->ndim] = f->rows[n].dims[t->ndim];
            t->elements *= (uint64_t)t->dims[t->ndim];
        }
        t->bytes = t->elements * 4;
        at = (at + t->bytes + 31) / 32 * 32;
    }
    vise_buf_init(&buf, 1 << 20);
    const vise_gguf_split one = {0, 1, n};
    OK(vise_gguf_write_header(&values, &one, tensors, n, &buf, &help_error));
    for (size_t i = 0; i < n; i++) {
        while (buf.length % 32 != 0)
            vise_buf_add_char(&buf, 0);
        for (uint64_t e = 0; e < tensors[i].elements; e++) {
            const float value = (float)(e + 1);
            vise_buf_add(&buf, &value, sizeof value);
        }
    }
    while (buf.length % 32 != 0)
        vise_buf_add_char(&buf, 0);
    help_write(folder, "m.gguf", buf.data, buf.length);
    vise_buf_deinit(&buf);
    vise_gguf_values_deinit(&values);
    return help_path(folder, "m.gguf");
}

/* ---- families ------------------------------------------------------------------------------------------ */

#define EMBEDDING                                                                                            \
    {                                                                                                        \
        "token_embd.weight",                                                                                 \
        {                                                                                                    \
            4, 3                                                                                             \
        }                                                                                                    \
    }

typedef struct shown {
    const char *name;
    int64_t rows, cols; /* rows 0: a vector */
    float first[4];     /* the first values in the model's order; 0 ends them */
} shown;

static const struct {
    file file;
    const char *model_type;
    shown tensors[4];
    const char *config[4]; /* what the text holds */
} families[] = {
    {{"llama",
      {EMBEDDING, {"blk.0.ffn_up_exps.weight", {4, 2, 3}}},
      {{"expert_count", "3"}, {"expert_used_count", "2"}}},
     "mixtral",
     {{"model.layers.0.block_sparse_moe.experts.0.w3.weight", 2, 4, {1, 2, 3, 4}},
      {"model.layers.0.block_sparse_moe.experts.2.w3.weight", 2, 4, {17, 18, 19, 20}}},
     {"\"num_local_experts\": 3", "\"num_experts_per_tok\": 2", "\"tie_word_embeddings\": true",
      "\"vocab_size\": 3"}},
    {{"qwen2moe",
      {EMBEDDING, {"blk.0.ffn_down_exps.weight", {2, 4, 2}}},
      {{"expert_count", "2"},
       {"expert_used_count", "1"},
       {"expert_feed_forward_length", "2"},
       {"expert_shared_feed_forward_length", "5"}}},
     "qwen2_moe",
     {{"model.layers.0.mlp.experts.1.down_proj.weight", 4, 2, {9, 10}}},
     {"\"norm_topk_prob\": false", "\"shared_expert_intermediate_size\": 5", "\"moe_intermediate_size\": 2",
      "\"num_experts\": 2"}},
    {{"qwen3moe",
      {EMBEDDING},
      {{"expert_count", "2"}, {"expert_used_count", "1"}, {"expert_feed_forward_length", "2"}}},
     "qwen3_moe",
     {{NULL, 0, 0, {0}}},
     {"\"norm_topk_prob\": true"}},
    {{"smollm3", {EMBEDDING, {"output.weight", {4, 3}}}, {{NULL, NULL}}},
     "smollm3",
     {{"lm_head.weight", 3, 4, {1, 2}}},
     {"\"no_rope_layer_interval\": 4", "\"tie_word_embeddings\": false"}},
    {{"phi3",
      {EMBEDDING, {"blk.0.attn_qkv.bias", {8}}},
      {{"attention.sliding_window", "7"}, {"rope.dimension_count", "1"}}},
     "phi3",
     {{"model.layers.0.self_attn.qkv_proj.bias", 0, 8, {1, 2}}},
     {"\"sliding_window\": 7", "\"partial_rotary_factor\": 0.5", "\"attention_bias\": true"}},
    {{"gemma", {EMBEDDING, {"blk.0.ffn_norm.weight", {4}}}, {{"attention.key_length", "9"}}},
     "gemma",
     {{"model.layers.0.post_attention_layernorm.weight", 0, 4, {0.0f, 1, 2, 3}}},
     {"\"head_dim\": 9", "gelu_pytorch_tanh"}},
    {{"gemma2",
      {EMBEDDING, {"blk.0.ffn_norm.weight", {4}}},
      {{"attention.key_length", "9"}, {"attention.sliding_window", "5"}}},
     "gemma2",
     {{"model.layers.0.pre_feedforward_layernorm.weight", 0, 4, {0.0f, 1, 2, 3}}},
     {"\"query_pre_attn_scalar\": 9", "\"sliding_window\": 5"}},
    {{"gpt2", {EMBEDDING, {"blk.0.ffn_up.weight", {4, 6}}}, {{NULL, NULL}}},
     "gpt2",
     {{"transformer.h.0.mlp.c_fc.weight", 4, 6, {1, 5, 9, 13}}},
     {"\"n_embd\": 4", "\"n_inner\": 6", "gelu_new"}},
    {{"gptneox", {EMBEDDING, {"blk.0.attn_qkv.bias", {12}}}, {{"rope.dimension_count", "1"}}},
     "gpt_neox",
     {{"gpt_neox.layers.0.attention.query_key_value.bias", 0, 12, {1, 2, 5, 6}}},
     {"\"rotary_pct\": 0.5"}},
    {{"bloom", {EMBEDDING}, {{NULL, NULL}}},
     "bloom",
     {{"transformer.word_embeddings.weight", 3, 4, {1, 2}}},
     {"\"n_head\": 2"}},
    {{"falcon",
      {EMBEDDING, {"blk.0.attn_norm.weight", {4}}, {"blk.0.attn_qkv.bias", {8}}},
      {{"attention.head_count_kv", "1"}}},
     "falcon",
     {{"transformer.h.0.input_layernorm.weight", 0, 4, {1, 2}},
      {"transformer.h.0.self_attention.query_key_value.bias", 0, 8, {1, 2, 3, 4}}},
     {"\"new_decoder_architecture\": false", "\"multi_query\": true", "\"bias\": true", "\"parallel_attn\": true"}},
    {{"falcon",
      {EMBEDDING, {"blk.0.attn_norm.weight", {4}}, {"blk.0.attn_norm_2.weight", {4}}},
      {{"attention.head_count_kv", "1"}}},
     "falcon",
     {{"transformer.h.0.ln_mlp.weight", 0, 4, {1, 2}}, {"transformer.h.0.ln_attn.weight", 0, 4, {1, 2}}},
     {"\"new_decoder_architecture\": true", "\"num_ln_in_parallel_attn\": 2", "\"num_kv_heads\": 1"}},
    {{"falcon",
      {EMBEDDING, {"blk.0.attn_norm.weight", {4}}, {"blk.0.attn_qkv.bias", {12}}},
      {{"attention.head_count_kv", "2"}}},
     "falcon",
     {{"transformer.h.0.self_attention.query_key_value.bias", 0, 12, {1, 2, 5, 6}}},
     {"\"new_decoder_architecture\": false", "\"multi_query\": false"}},
    {{"bert",
      {EMBEDDING, {"token_types.weight", {4, 5}}, {"blk.0.attn_q.weight", {4, 4}}},
      {{"tokenizer", "bert"}}},
     "bert",
     {{"bert.embeddings.token_type_embeddings.weight", 5, 4, {1, 2}},
      {"bert.encoder.layer.0.attention.self.query.weight", 4, 4, {1, 2}}},
     {"\"BertModel\"", "\"type_vocab_size\": 5", "\"max_position_embeddings\": 16", "\"layer_norm_eps\""}},
    {{"bert",
      {EMBEDDING, {"blk.0.attn_q.weight", {4, 4}}, {"cls.output.weight", {4, 3}}},
      {{"tokenizer", "bert"}}},
     "distilbert",
     {{"distilbert.transformer.layer.0.attention.q_lin.weight", 4, 4, {1, 2}}, {"classifier.weight", 3, 4, {1, 2}}},
     {"\"DistilBertForSequenceClassification\"", "\"dim\": 4", "\"num_labels\": 3"}},
    {{"bert", /* RoBERTa's, or XLM-RoBERTa's */
      {EMBEDDING, {"token_types.weight", {4, 1}}, {"position_embd.weight", {4, 16}}},
      {{"tokenizer", "t5"}}},
     "bert",
     {{"bert.embeddings.position_embeddings.weight", 16, 4, {1, 2}}},
     {"\"BertModel\"", "\"type_vocab_size\": 1", "\"max_position_embeddings\": 16"}},
    {{"bert",
      {EMBEDDING, {"token_types.weight", {4, 1}}, {"cls.weight", {4, 4}}, {"cls.output.weight", {4, 3}}},
      {{"tokenizer", "gpt2"}}},
     "bert",
     {{"bert.pooler.dense.weight", 4, 4, {1, 2}}, {"classifier.weight", 3, 4, {1, 2}}},
     {"\"BertForSequenceClassification\"", "\"num_labels\": 3"}},
    {{"bert", /* BERT's own pooler is lost */
      {EMBEDDING, {"token_types.weight", {4, 2}}, {"cls.output.weight", {4, 3}}},
      {{"tokenizer", "bert"}}},
     "bert",
     {{"classifier.weight", 3, 4, {1, 2}}},
     {"\"BertModel\""}},
    {{"qwen2vl", {EMBEDDING, {"blk.0.attn_q.weight", {4, 4}}}, {{"attention.head_count_kv", "1"}}},
     "qwen2",
     {{"model.layers.0.self_attn.q_proj.weight", 4, 4, {1, 2, 3, 4}}},
     {"\"Qwen2ForCausalLM\"", "\"num_key_value_heads\": 1"}},
    {{"mistral3", {EMBEDDING, {"blk.0.attn_q.weight", {4, 8}}}, {{"attention.key_length", "4"}}},
     "mistral",
     {{"model.layers.0.self_attn.q_proj.weight", 8, 4, {1, 2, 3, 4}}},
     {"\"MistralForCausalLM\"", "\"sliding_window\": null", "\"head_dim\": 4"}},
};

static void check_tensor(const vise_source *source, const shown *s)
{
    const size_t index = vise_source_find(source, s->name);
    if (index == SIZE_MAX)
        fail_msg("%s is not there", s->name);
    const vise_tensor_info *info = vise_source_tensor(source, index);
    assert_int_equal(info->ndim, s->rows > 0 ? 2 : 1);
    assert_int_equal(info->shape[info->ndim - 1], s->cols);
    float values[64], pieces[64];
    assert_true(info->bytes <= sizeof values);
    OK(vise_source_read(source, index, 0, info->bytes, values, NULL, &help_error));
    for (size_t i = 0; i < 4 && (i == 0 || s->first[i] != 0.0f); i++)
        assert_true(values[i] == s->first[i]);
    for (uint64_t at = 0; at < info->bytes; at += 3)
        OK(vise_source_read(source, index, at, info->bytes - at < 3 ? info->bytes - at : 3,
                            (char *)pieces + at, NULL, &help_error));
    assert_memory_equal(pieces, values, (size_t)info->bytes);
}

static void test_families(void **state)
{
    (void)state;
    const char *folder = help_folder();
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        vise_source *source;
        print_message("  %s\n", families[i].model_type);
        OK(vise_source_open(make(folder, &families[i].file), &source, &help_error));
        const char *text = vise_source_config_text(source);
        assert_non_null(text);
        assert_string_equal(cJSON_GetObjectItem(vise_source_config(source), "model_type")->valuestring,
                            families[i].model_type);
        for (size_t k = 0; k < 4 && families[i].config[k] != NULL; k++)
            if (strstr(text, families[i].config[k]) == NULL)
                fail_msg("config.json lacks %s:\n%s", families[i].config[k], text);
        for (size_t k = 0; k < 4 && families[i].tensors[k].name != NULL; k++)
            check_tensor(source, &families[i].tensors[k]);
        vise_source_close(source);
    }
    help_remove(folder);
}

/* ---- what is not shown as transformers' ---------------------------------------------------------------- */

static char last_warning[1024];
static void listen(void *context, const vise_event *event)
{
    (void)context;
    if (event->kind == VISE_EVENT_WARNING)
        snprintf(last_warning, sizeof last_warning, "%s", event->text);
}

static void test_kept_names(void **state)
{
    (void)state;
    static const struct {
        file file;
        const char *warning;
    } rows[] = {
        {{"phi3", {EMBEDDING, {"rope_factors_long.weight", {4}}}, {{NULL, NULL}}},
         "scaled rotary positions of phi3"},
        {{"gemma", {EMBEDDING}, {{"attention.sliding_window", "5"}}}, "a sliding window of gemma"},
        {{"phi3", {EMBEDDING}, {{"expert_count", "5"}}}, "experts of phi3"},
        {{"nothing", {EMBEDDING}, {{NULL, NULL}}}, ""},
    };
    const char *folder = help_folder();
    vise_listen(listen, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_source *source;
        last_warning[0] = '\0';
        OK(vise_source_open(make(folder, &rows[i].file), &source, &help_error));
        assert_null(vise_source_config(source));
        assert_true(vise_source_find(source, "token_embd.weight") != SIZE_MAX);
        assert_int_equal(last_warning[0] == '\0', rows[i].warning[0] == '\0');
        assert_non_null(strstr(last_warning, rows[i].warning));
        vise_source_close(source);
    }
    vise_listen(NULL, NULL);
    help_remove(folder);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        file file;
        vise_status status;
        const char *say;
    } rows[] = {
        {{"llama", {EMBEDDING}, {{"attention.sliding_window", "5"}}},
         VISE_EUNSUPPORTED,
         "llama models with a sliding window"},
        {{"qwen2", {EMBEDDING}, {{"expert_count", "5"}}}, VISE_EUNSUPPORTED, "qwen2 models with experts"},
        {{"llama", {EMBEDDING}, {{"expert_count", "5"}}}, VISE_EFORMAT, "expert_used_count"},
        {{"bloom", {EMBEDDING, {"blk.0.attn_qkv.weight", {4, 7}}}, {{NULL, NULL}}},
         VISE_EFORMAT,
         "has 7 rows"},
        {{"bloom", {EMBEDDING}, {{"attention.head_count_kv", "3"}}}, VISE_EFORMAT, "2 heads share 3"},
    };
    const char *folder = help_folder();
    vise_source *source;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        FAILS(rows[i].status, rows[i].say,
              vise_source_open(make(folder, &rows[i].file), &source, &help_error));
    help_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_kept_names),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
