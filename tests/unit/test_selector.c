/* Globs and the selection of modules, on a tiny Llama with tied and with separate head. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/selector.h"
#include "tests/unit/tiny_llama.h"

static void test_glob(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "a", true},
        {"a", "ab", false},
        {"*", "", true},
        {"*", "model.layers.0", true},
        {"a*c", "abbbc", true},
        {"a*c", "abbbd", false},
        {"model.layers.*.mlp.down_proj", "model.layers.11.mlp.down_proj", true},
        {"model.layers.*.mlp.down_proj", "model.layers.11.mlp.up_proj", false},
        {"*.q_proj", "model.layers.0.self_attn.q_proj", true},
        {"*a*b*c*", "xxaxxbxxcxx", true},
        {"*a*b*c*", "xxaxxcxxbxx", false},
        {"layers.?.x", "layers.3.x", true},
        {"layers.?.x", "layers.13.x", false},
        {"layers.[0-3].x", "layers.2.x", true},
        {"layers.[0-3].x", "layers.4.x", false},
        {"layers.[!0-3].x", "layers.4.x", true},
        {"layers.[!0-3].x", "layers.2.x", false},
        {"[]]", "]", true},
        {"[abc", "[abc", true}, /* never closed: no set */
        {"[abc", "a", false},
        {"a-[a-]", "a--", true},
        {"**", "anything", true},
        {"*a", "aaaaaaaaaaaaaaaaaaaaaaaaab", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (vise_glob_match(cases[i].pattern, cases[i].text) != cases[i].matches)
            fail_msg("'%s' against '%s'", cases[i].pattern, cases[i].text);
}

/* A run of stars must not take exponential time. */
static void test_glob_is_fast(void **state)
{
    char pattern[130], text[4001];

    (void)state;
    for (size_t i = 0; i < 128; i++)
        pattern[i] = i % 2 ? 'a' : '*';
    pattern[128] = 'b';
    pattern[129] = '\0';
    memset(text, 'a', 4000);
    text[4000] = '\0';
    assert_false(vise_glob_match(pattern, text));
}

/* ---- on a model ------------------------------------------------------------------------------------- */

typedef struct opened {
    tiny_llama llama;
    vise_model *model;
    bool selected[TINY_TENSORS_MAX];
} opened;

static void open_tiny(opened *o, bool tied)
{
    memset(o, 0, sizeof *o);
    o->llama = (tiny_llama){.hidden = 8,
                            .ffn = 12,
                            .layers = 2,
                            .heads = 2,
                            .kv_heads = 1,
                            .head_dim = 4,
                            .vocab = 16,
                            .positions = 32,
                            .tied = tied};
    tiny_llama_make(&o->llama, 7);
    assert_int_equal(vise_model_open(o->llama.folder, &o->model, NULL), VISE_OK);
}

static void close_tiny(opened *o)
{
    vise_model_close(o->model);
    tiny_llama_drop(&o->llama);
}

/* At most one include and one exclude; NULL: none. */
static vise_status choose(opened *o, const char *include, const char *exclude, vise_error *err)
{
    const vise_texts includes = {&include, include != NULL, 1}, excludes = {&exclude, exclude != NULL, 1};

    *err = (vise_error){0};
    return vise_select(o->model, &includes, &excludes, o->selected, err);
}

static size_t count_selected(const opened *o)
{
    size_t count = 0;

    for (size_t i = 0; i < o->model->count; i++)
        count += o->selected[i];
    return count;
}

static void test_select(void **state)
{
    static const struct {
        const char *include, *exclude;
        size_t count;
    } cases[] = {
        {NULL, NULL, 14}, /* 7 linears in each of 2 blocks */
        {NULL, "lm_head", 14},
        {NULL, "role:q_proj", 12},
        {NULL, "model.layers.0.*", 7},
        {NULL, "*", 0},
        {"lm_head", NULL, 1},
        {"role:embed_tokens", NULL, 1},
        {"model.layers.*.mlp.down_proj", NULL, 2},
        {"*", NULL, 16}, /* norms are no matrices */
        {"*", "role:lm_head", 15},
        {"role:gate_proj", "model.layers.1.*", 1},
    };
    opened o;
    vise_error err;

    (void)state;
    open_tiny(&o, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(choose(&o, cases[i].include, cases[i].exclude, &err), VISE_OK);
        assert_int_equal(count_selected(&o), cases[i].count);
    }
    close_tiny(&o);
}

static void test_tied_head(void **state)
{
    opened o;
    vise_error err;
    size_t head;

    (void)state;
    open_tiny(&o, true);
    assert_true(o.model->tied);
    assert_int_equal(choose(&o, NULL, "lm_head", &err), VISE_OK);
    assert_int_equal(count_selected(&o), 14);
    head = vise_model_role(o.model, VISE_ROLE_HEAD, -1);
    for (int by_role = 0; by_role < 2; by_role++) {
        assert_int_equal(choose(&o, by_role ? "role:lm_head" : "lm_head", NULL, &err), VISE_OK);
        assert_int_equal(count_selected(&o), 1);
        assert_true(o.selected[head]);
    }
    close_tiny(&o);
}

static void test_select_errors(void **state)
{
    static const struct {
        const char *include, *exclude, *what;
    } cases[] = {
        {"model.layerz.*.mlp", NULL, "selector 'model.layerz.*.mlp' matches no module of the model"},
        {NULL, "nothing", "selector 'nothing' matches no module of the model"},
        {"lm_haed", NULL, "selector 'lm_haed' matches no module; did you mean 'lm_head'?"},
        {"role:q_porj", NULL, "selector 'role:q_porj': unknown role; did you mean 'role:q_proj'?"},
        {"role:zzzzzz", NULL, "selector 'role:zzzzzz': unknown role; `vise inspect --roles`"},
        {"model.norm", NULL, "selector 'model.norm' names nothing that a pass can work on"},
    };
    opened o;
    vise_error err;

    (void)state;
    open_tiny(&o, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(choose(&o, cases[i].include, cases[i].exclude, &err), VISE_EUSAGE);
        if (strncmp(err.message, cases[i].what, strlen(cases[i].what)) != 0)
            fail_msg("%s", err.message);
    }
    close_tiny(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_glob),      cmocka_unit_test(test_glob_is_fast),  cmocka_unit_test(test_select),
        cmocka_unit_test(test_tied_head), cmocka_unit_test(test_select_errors),
    };

    return cmocka_run_group_tests_name("selector", tests, NULL, NULL);
}
