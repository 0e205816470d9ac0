/* Mixtures of GGUF types: what llama-quantize gives each weight of a model of 16 layers, by the number of its heads and
 * experts, and where rows are short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "quant/mixture.h"
#include "tensor/scheme.h"

enum {
    PLAIN = 0,
    GQA = 1 << 0,
    MOE = 1 << 1,
    FALCON = 1 << 2,
    IMATRIX = 1 << 3,
    BIG = 1 << 4,
    TIED = 1 << 5
};

static const struct {
    const char *mixture;
    int model;
    const char *tensor; /* behind "model.layers.%d.", or "transformer.h.%d." of Falcon; else the whole name */
    const char
        *types; /* a letter for each of 16 layers; a single one for what has no layer, or is alike in all */
} cases[] = {
    {"q4_k_m", PLAIN, "self_attn.q_proj", "4"},
    {"q4_k_m", PLAIN, "self_attn.v_proj", "6644644644644666"},
    {"q4_k_m", PLAIN, "mlp.down_proj", "6644644644644666"},
    {"q4_k_m", PLAIN, "lm_head", "6"},
    {"q4_k_m", PLAIN, "model.embed_tokens", "4"},
    {"q4_k_m", TIED, "model.embed_tokens", "6"},
    {"q4_k_m", MOE, "self_attn.v_proj", "8"},
    {"q4_k_m", MOE, "self_attn.k_proj", "8"},
    {"q4_k_m", MOE, "self_attn.q_proj", "4"},
    {"q4_k_m", MOE, "self_attn.o_proj", "5"},
    {"q4_k_m", MOE, "block_sparse_moe.experts.3.w2", "6644644644644666"},
    {"q4_k_m", MOE, "block_sparse_moe.experts.3.w1", "4"},
    {"q4_k_m", MOE, "block_sparse_moe.gate", "-"},
    {"q4_k_m", FALCON, "self_attention.query_key_value", "6644644644644666"},
    {"q4_k_m", FALCON, "mlp.dense_4h_to_h", "6544544544544555"},
    {"q4_k_m", FALCON, "transformer.word_embeddings", "4"},
    {"q4_k_m", FALCON | TIED, "transformer.word_embeddings", "8"},
    {"q4_k_m", BIG, "self_attn.v_proj", "6666666666"}, /* of 80; what is no q6_k becomes q5_k */
    {"q4_k_s", PLAIN, "self_attn.v_proj", "5555444444444444"},
    {"q4_k_s", PLAIN, "mlp.down_proj", "5544444444444444"},
    {"q4_k_s", PLAIN, "self_attn.o_proj", "4"},
    {"q4_k_s", MOE, "self_attn.o_proj", "5"},
    {"q4_k_s", FALCON, "mlp.dense_4h_to_h", "4"},
    {"q5_k_m", PLAIN, "self_attn.v_proj", "6655655655655666"},
    {"q5_k_m", MOE, "self_attn.o_proj", "5"},
    {"q5_k_s", PLAIN, "mlp.down_proj", "5"},
    {"q3_k_m", PLAIN, "self_attn.v_proj", "5544444444444444"},
    {"q3_k_m", PLAIN, "mlp.down_proj", "5444444444444444"},
    {"q3_k_m", PLAIN, "self_attn.o_proj", "4"},
    {"q3_k_m", MOE, "self_attn.o_proj", "5"},
    {"q3_k_m", FALCON, "self_attention.dense", "3"},
    {"q3_k_m", FALCON, "mlp.dense_4h_to_h", "5433433433433444"},
    {"q3_k_l", PLAIN, "self_attn.o_proj", "5"},
    {"q3_k_l", PLAIN, "mlp.gate_proj", "3"},
    {"q3_k_l", MOE, "self_attn.o_proj", "3"},
    {"q3_k_l", FALCON, "self_attention.dense", "4"},
    {"q3_k_l", FALCON, "mlp.dense_4h_to_h", "4"},
    {"q3_k_s", PLAIN, "lm_head", "6"},
    {"q3_k_s", PLAIN, "self_attn.o_proj", "3"},
    {"q3_k_s", MOE, "self_attn.o_proj", "5"},
    {"q3_k_s", BIG, "self_attn.v_proj", "5"},
    {"q2_k-mix", PLAIN, "self_attn.v_proj", "3"},
    {"q2_k-mix", GQA, "self_attn.v_proj", "4"},
    {"q2_k-mix", PLAIN, "mlp.down_proj", "3"},
    {"q2_k-mix", PLAIN, "self_attn.o_proj", "3"},
    {"q2_k-mix", PLAIN, "mlp.up_proj", "2"},
    {"q2_k-mix", PLAIN, "model.embed_tokens", "2"},
    {"q2_k_s", IMATRIX, "self_attn.v_proj", "2"},
    {"q2_k_s", GQA, "self_attn.v_proj", "4"},
    {"q2_k_s", IMATRIX, "mlp.down_proj", "4422222222222222"},
    {"q6_k-mix", PLAIN, "mlp.down_proj", "6"},
    {"q6_k-mix", PLAIN, "lm_head", "6"},
    {"q8_0-mix", PLAIN, "lm_head", "8"},
    {"q8_0-mix", PLAIN, "model.embed_tokens", "8"},
    {"q4_0-mix", PLAIN, "lm_head", "6"},
    {"q4_0-mix", PLAIN, "mlp.down_proj", "a"},
    {"q4_0-mix", IMATRIX, "mlp.down_proj", "bbaaaaaaaaaaaaaa"},
    {"q5_0-mix", IMATRIX, "mlp.down_proj", "ddcccccccccccccc"},
    {"q4_1-mix", IMATRIX, "mlp.down_proj", "b"},
    {"q5_1-mix", PLAIN, "self_attn.v_proj", "d"},
    {"iq4_nl-mix", PLAIN, "mlp.down_proj", "55nnnnnnnnnnnnnn"},
    {"iq4_nl-mix", IMATRIX, "mlp.down_proj", "n"},
    {"iq4_nl-mix", GQA, "self_attn.v_proj", "5"},
    {"iq4_xs-mix", PLAIN, "mlp.down_proj", "55xxxxxxxxxxxxxx"},
    {"iq4_xs-mix", PLAIN, "self_attn.v_proj", "x"},
    {"iq4_xs-mix", MOE, "self_attn.o_proj", "5"},
    {"tq1_0-mix", PLAIN, "model.embed_tokens", "4"},
    {"tq1_0-mix", PLAIN, "lm_head", "6"},
    {"tq1_0-mix", PLAIN, "mlp.down_proj", "t"},
    {"tq2_0-mix", TIED, "model.embed_tokens", "6"},
    {"tq2_0-mix", PLAIN, "self_attn.v_proj", "u"},
    {"mxfp4_moe", MOE, "block_sparse_moe.experts.0.w1", "m"},
    {"mxfp4_moe", MOE, "self_attn.o_proj", "8"},
    {"mxfp4_moe", PLAIN, "model.embed_tokens", "8"},
    {"q1_0-mix", PLAIN, "mlp.up_proj", "1"},
    {"q1_0-mix", PLAIN, "model.norm", "-"},
    {"q1_0-mix", PLAIN, "input_layernorm", "-"},
};

static const struct {
    char letter;
    vise_gguf_row row;
} letters[] = {
    {'1', VISE_GGUF_Q1_0},   {'2', VISE_GGUF_Q2_K},  {'3', VISE_GGUF_Q3_K},  {'4', VISE_GGUF_Q4_K},
    {'5', VISE_GGUF_Q5_K},   {'6', VISE_GGUF_Q6_K},  {'8', VISE_GGUF_Q8_0},  {'a', VISE_GGUF_Q4_0},
    {'b', VISE_GGUF_Q4_1},   {'c', VISE_GGUF_Q5_0},  {'d', VISE_GGUF_Q5_1},  {'n', VISE_GGUF_IQ4_NL},
    {'x', VISE_GGUF_IQ4_XS}, {'t', VISE_GGUF_TQ1_0}, {'u', VISE_GGUF_TQ2_0}, {'m', VISE_GGUF_MXFP4}};

static const char *letter_type(char letter)
{
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
        if (letters[i].letter == letter)
            return vise_gguf_table[letters[i].row].name;
    return "none";
}

static vise_mixture_model facts_of(vise_model *model, int how)
{
    model->config = (vise_config){.layers = how & BIG ? 80 : 16,
                                  .heads = 8,
                                  .kv_heads = how & GQA   ? 2
                                              : how & BIG ? 4
                                                          : 8,
                                  .experts = how & MOE ? 8 : 0};
    return (vise_mixture_model){.model = model,
                                .family = vise_gguf_family_of_model(how & FALCON ? "falcon"
                                                                    : how & MOE  ? "mixtral"
                                                                                 : "llama"),
                                .tied = (how & TIED) != 0,
                                .has_imatrix = (how & IMATRIX) != 0};
}

static const char *type_name(const vise_mixture *mixture, const vise_mixture_model *facts, const char *name,
                             int layer, int64_t cols, bool *fell_back)
{
    vise_logical tensor = {.name = name, .ndim = 2, .rows = 256, .cols = cols};
    const vise_bound bound = {.tensor = &tensor, .layer = layer};
    const vise_gguf_type *type = vise_mixture_type(mixture, facts, &bound, fell_back);
    return type != NULL ? type->name : "none";
}

static void test_rules(void **state)
{
    (void)state;
    vise_model model = {0};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const vise_mixture *mixture = vise_mixture_find(cases[c].mixture);
        const vise_mixture_model facts = facts_of(&model, cases[c].model);
        const bool inside = strchr(cases[c].tensor, '.') != NULL &&
                            strncmp(cases[c].tensor, "model.", 6) != 0 &&
                            strncmp(cases[c].tensor, "transformer.", 12) != 0;
        const size_t n = strlen(cases[c].types);
        assert_non_null(mixture);
        assert_non_null(facts.family);
        for (int i = 0; i < (inside ? (int)model.config.layers : 1); i++) {
            char name[96];
            bool fell_back;
            snprintf(name, sizeof name, inside ? "%s.%d.%s.weight" : "%.0s%.0d%s.weight",
                     cases[c].model & FALCON ? "transformer.h" : "model.layers", i, cases[c].tensor);
            if ((size_t)i >= n && n > 1)
                break;
            const char *expected = letter_type(cases[c].types[n > 1 ? i : 0]);
            const char *type = type_name(mixture, &facts, name, inside ? i : -1, 512, &fell_back);
            if (strcmp(type, expected) != 0)
                fail_msg("%s, %s of model %d: %s, not %s", cases[c].mixture, name, cases[c].model, type,
                         expected);
            assert_false(fell_back);
        }
    }
}

static void test_big(void **state)
{
    (void)state;
    vise_model model = {0};
    vise_mixture_model facts = facts_of(&model, BIG);
    const vise_mixture *mixture = vise_mixture_find("q4_k_m");
    bool fell_back;
    const char *name = "model.layers.11.self_attn.v_proj.weight";
    assert_string_equal(type_name(mixture, &facts, name, 11, 512, &fell_back), "q5_k");
    model.config.kv_heads = 8; /* as many as there are heads: the one of 65 billion */
    assert_string_equal(type_name(mixture, &facts, name, 11, 512, &fell_back), "q4_k");
}

static void test_short_rows(void **state)
{
    (void)state;
    static const struct {
        const char *mixture, *tensor;
        int64_t cols;
        const char *type;
    } rows[] = {
        {"q4_k_m", "model.layers.3.self_attn.q_proj.weight", 96, "q5_0"},
        {"q4_k_m", "model.layers.3.self_attn.q_proj.weight", 172, "f16"},
        {"q4_k_m", "lm_head.weight", 96, "q8_0"},
        {"q5_k_s", "model.layers.3.self_attn.q_proj.weight", 96, "q5_1"},
        {"q6_k-mix", "model.layers.3.self_attn.q_proj.weight", 96, "q8_0"},
        {"q3_k_s", "model.layers.3.self_attn.q_proj.weight", 96, "q4_0"},
        {"q2_k-mix", "model.layers.3.mlp.up_proj.weight", 96, "q4_0"},
        {"tq1_0-mix", "model.layers.3.mlp.up_proj.weight", 96, "q4_0"},
        {"iq4_xs-mix", "model.layers.3.mlp.up_proj.weight", 96, "iq4_nl"},
        {"q8_0-mix", "model.layers.3.mlp.up_proj.weight", 172, "f16"},
        {"q1_0-mix", "model.layers.3.mlp.up_proj.weight", 96, "f16"},
    };
    vise_model model = {0};
    const vise_mixture_model facts = facts_of(&model, PLAIN);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool fell_back;
        const char *type = type_name(vise_mixture_find(rows[i].mixture), &facts, rows[i].tensor, 3,
                                     rows[i].cols, &fell_back);
        if (strcmp(type, rows[i].type) != 0)
            fail_msg("%s, %s: %s, not %s", rows[i].mixture, rows[i].tensor, type, rows[i].type);
        assert_true(fell_back || strncmp(rows[i].tensor, "lm_head", 7) == 0);
    }
}

/* Every name is known, none is a scheme of one weight; only q2_k_s cannot do without importances. */
static void test_names(void **state)
{
    (void)state;
    size_t count;
    const char *const *names = vise_mixture_names(&count);
    const vise_bound inside = {.layer = 1}, outside = {.layer = -1};
    for (size_t i = 0; i < count; i++) {
        const vise_mixture *mixture = vise_mixture_find(names[i]);
        vise_scheme scheme;
        vise_error err = {0};
        assert_non_null(mixture);
        assert_int_equal(vise_scheme_parse(names[i], &scheme, &err), VISE_EUSAGE);
        assert_non_null(strstr(err.message, "mixture"));
        assert_int_equal(vise_mixture_needs_imatrix(mixture, &inside, &vise_gguf_table[VISE_GGUF_Q2_K]),
                         strcmp(names[i], "q2_k_s") == 0);
        assert_false(vise_mixture_needs_imatrix(mixture, &outside, &vise_gguf_table[VISE_GGUF_Q2_K]));
    }
    assert_int_equal(vise_mixture_file_type(vise_mixture_find("q4_k_m")), 15);
    assert_int_equal(vise_mixture_file_type(vise_mixture_find("mxfp4_moe")), 38);
    assert_null(vise_mixture_find("q4_k"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules), cmocka_unit_test(test_big),
                                       cmocka_unit_test(test_short_rows), cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
