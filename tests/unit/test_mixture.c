/* Mixtures of GGUF types: what llama.cpp gives each weight of a model of 16 layers, and where rows are short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quant/mixture.h"

static const struct {
    const char *mixture;
    vise_role role;
    const char *types; /* a letter for each of 16 layers: 2 to 6 for q2_k to q6_k; a single one for what has no layer */
} cases[] = {
    {"q4_k_m", VISE_ROLE_Q, "4444444444444444"},    {"q4_k_m", VISE_ROLE_V, "6644644644644666"},
    {"q4_k_m", VISE_ROLE_DOWN, "6644644644644666"}, {"q4_k_m", VISE_ROLE_HEAD, "6"},
    {"q4_k_m", VISE_ROLE_EMBEDDING, "4"},           {"q4_k_s", VISE_ROLE_V, "5555444444444444"},
    {"q4_k_s", VISE_ROLE_DOWN, "5544444444444444"}, {"q4_k_s", VISE_ROLE_O, "4444444444444444"},
    {"q5_k_m", VISE_ROLE_V, "6655655655655666"},    {"q5_k_s", VISE_ROLE_DOWN, "5555555555555555"},
    {"q3_k_m", VISE_ROLE_V, "5544444444444444"},    {"q3_k_m", VISE_ROLE_DOWN, "5444444444444444"},
    {"q3_k_m", VISE_ROLE_O, "3333333333333333"},    {"q3_k_l", VISE_ROLE_O, "5555555555555555"},
    {"q3_k_l", VISE_ROLE_GATE, "3333333333333333"}, {"q3_k_s", VISE_ROLE_HEAD, "6"},
};

static const vise_gguf_row by_letter[] = {VISE_GGUF_Q2_K, VISE_GGUF_Q3_K, VISE_GGUF_Q4_K, VISE_GGUF_Q5_K,
                                          VISE_GGUF_Q6_K};

static void test_rules(void **state)
{
    (void)state;
    vise_model model = {.config = {.layers = 16}};
    vise_logical tensor = {.ndim = 2, .rows = 256, .cols = 512};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const vise_mixture *mixture = vise_mixture_find(cases[c].mixture);
        const char *types = cases[c].types;
        assert_non_null(mixture);
        for (int i = 0; types[i] != '\0'; i++) {
            bool fell_back;
            vise_bound bound = {.tensor = &tensor,
                                .role = cases[c].role,
                                .layer = types[1] == '\0' ? -1 : i,
                                .is_linear = cases[c].role != VISE_ROLE_EMBEDDING};
            const vise_gguf_type *type = vise_mixture_type(mixture, &model, &bound, &fell_back);
            if (type != &vise_gguf_table[by_letter[types[i] - '2']])
                fail_msg("%s, %s %d: %s", cases[c].mixture, vise_role_name(cases[c].role), i, type->name);
            assert_false(fell_back);
        }
    }
}

static void test_exceptions(void **state)
{
    (void)state;
    vise_model model = {.config = {.layers = 16}, .tied = true};
    vise_logical tensor = {.ndim = 2, .rows = 256, .cols = 512};
    vise_bound bound = {.tensor = &tensor, .role = VISE_ROLE_EMBEDDING, .layer = -1};
    const vise_mixture *mixture = vise_mixture_find("q4_k_m");
    bool fell_back;
    assert_int_equal(vise_mixture_file_type(mixture), 15);
    assert_string_equal(vise_mixture_type(mixture, &model, &bound, &fell_back)->name, "q6_k"); /* the head too */
    tensor.cols = 96;
    assert_string_equal(vise_mixture_type(mixture, &model, &bound, &fell_back)->name, "q8_0");
    assert_true(fell_back);
    bound.role = VISE_ROLE_Q;
    bound.is_linear = true;
    bound.layer = 3;
    assert_string_equal(vise_mixture_type(mixture, &model, &bound, &fell_back)->name, "q5_0");
    tensor.cols = 172; /* no type holds such rows: they stay as they are */
    assert_null(vise_mixture_type(mixture, &model, &bound, &fell_back));
    tensor.cols = 512;
    bound.role = VISE_ROLE_ATTENTION_NORM;
    bound.is_linear = false;
    assert_null(vise_mixture_type(mixture, &model, &bound, &fell_back));
    assert_null(vise_mixture_find("q4_k"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules), cmocka_unit_test(test_exceptions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
