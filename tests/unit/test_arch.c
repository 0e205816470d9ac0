/* The architecture tables and the reading of config.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/json.h"
#include "model/arch.h"

#define BASE                                                                                                 \
    "\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":172,\"num_hidden_layers\":5,"         \
    "\"num_attention_heads\":8,\"vocab_size\":512"

static vise_status configure_as(const char *family, const char *path, const cJSON *json, vise_config *config,
                                vise_error *err)
{
    const vise_arch *arch = vise_arch_find(family);

    assert_non_null(arch);
    return vise_arch_configure(arch, &arch->classes[0], path, json, config, err);
}

static vise_status configure(const char *members, vise_config *config, cJSON **json, vise_error *err)
{
    char text[2048];

    snprintf(text, sizeof text, "{%s}", members);
    *json = NULL;
    assert_int_equal(vise_json_parse("config.json", text, strlen(text), json, err), VISE_OK);
    return configure_as("llama", "config.json", *json, config, err);
}

static void test_tables(void **state)
{
    size_t n;
    const vise_arch *families = vise_architectures(&n);
    vise_config config = {.hidden = 8, .ffn = 24, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 6, .vocab = 100};

    (void)state;
    config.max_positions = 50;
    config.types = config.labels = config.experts = config.shared_ffn = config.expert_ffn = 3;
    assert_true(n >= 1);
    for (size_t f = 0; f < n; f++) {
        unsigned seen[VISE_ROLE_COUNT] = {0}; /* the conditions that a role's rows have stood under */
        assert_ptr_equal(vise_arch_find(families[f].model_type), &families[f]);
        assert_non_null(families[f].configure);
        assert_non_null(families[f].classes[0].name);
        assert_int_equal(families[f].rows[0].role, VISE_ROLE_EMBEDDING);
        for (size_t i = 0; i < families[f].n_rows; i++) {
            const vise_arch_row *row = &families[f].rows[i];
            char module[VISE_MODULE_MAX];
            assert_non_null(row->module);
            assert_true(row->role < VISE_ROLE_COUNT);
            /* A role has one row, or rows that exclude each other. */
            assert_true(seen[row->role] == 0 || (row->when != 0 && (seen[row->role] & row->when) == 0));
            seen[row->role] |= row->when != 0 ? row->when : ~0u;
            assert_true(vise_config_dim(&config, row->rows) > 0);
            assert_true(vise_config_dim(&config, row->cols) > 1);
            /* What is measured is a Linear inside a block, and every such Linear is measured. */
            assert_int_equal(row->input != VISE_INPUT_NONE, row->linear && vise_arch_row_in_block(row));
            assert_null(strchr(vise_arch_module(row, 7, 3, ".weight", module), '%'));
            assert_int_equal(strstr(module, ".7.") != NULL, vise_arch_row_in_block(row));
            assert_int_equal(strstr(module, ".3.") != NULL, vise_arch_row_per_expert(row));
        }
    }
    assert_null(vise_arch_find("no-such-family"));
    assert_null(vise_arch_find(NULL));
    assert_int_equal(vise_config_dim(&config, VISE_DIM_Q), 24);
    assert_int_equal(vise_config_dim(&config, VISE_DIM_KV), 12);
}

static void test_role_names(void **state)
{
    vise_role role;

    (void)state;
    for (int i = 0; i < VISE_ROLE_COUNT; i++) {
        assert_true(vise_role_from_name(vise_role_name((vise_role)i), &role));
        assert_int_equal(role, i);
    }
    assert_string_equal(vise_role_name(VISE_ROLE_Q), "q_proj");
    assert_string_equal(vise_role_name(VISE_ROLE_UNKNOWN), "other");
    assert_false(vise_role_from_name("other", &role));
    assert_false(vise_role_from_name("q", &role));
}

static void test_defaults(void **state)
{
    vise_config config;
    vise_error err = {0};
    cJSON *json;

    (void)state;
    assert_int_equal(configure(BASE, &config, &json, &err), VISE_OK);
    assert_int_equal(config.hidden, 64);
    assert_int_equal(config.ffn, 172);
    assert_int_equal(config.layers, 5);
    assert_int_equal(config.heads, 8);
    assert_int_equal(config.kv_heads, 8);
    assert_int_equal(config.head_dim, 8);
    assert_int_equal(config.vocab, 512);
    assert_int_equal(config.max_positions, 2048);
    assert_true(config.norm_eps == 1e-6);
    assert_true(config.rope.theta == 10000.0);
    assert_false(config.tied);
    assert_false(config.attention_bias);
    assert_false(config.mlp_bias);
    assert_int_equal(config.bos, 1);
    assert_null(config.dtype);
    cJSON_Delete(json);
}

/* The same model as transformers 4 and 5 write it, and the spellings in between. */
static void test_spellings(void **state)
{
    static const struct {
        const char *members;
        double theta;
        const char *dtype;
    } cases[] = {
        {"\"rope_theta\":500000.0,\"rope_scaling\":null,\"torch_dtype\":\"bfloat16\"", 500000.0, "bfloat16"},
        {"\"rope_parameters\":{\"rope_theta\":500000.0,\"rope_type\":\"default\"},\"dtype\":\"bfloat16\"",
         500000.0, "bfloat16"},
        {"\"rope_parameters\":{\"rope_type\":\"default\"},\"rope_theta\":2e4", 2e4, NULL},
        {"\"rope_parameters\":{\"rope_theta\":3e4},\"rope_theta\":2e4", 3e4, NULL},
        {"\"rope_scaling\":{\"type\":\"default\"},\"rope_theta\":2e4", 2e4, NULL},
        {"\"rope_scaling\":{\"rope_type\":\"default\",\"rope_theta\":4e4},\"rope_parameters\":{\"rope_"
         "theta\":3e4}",
         4e4, NULL},
        {"\"rope_scaling\":{},\"rope_parameters\":{\"rope_theta\":3e4}", 3e4, NULL},
        {"\"rope_parameters\":null,\"head_dim\":null,\"num_key_value_heads\":null,\"torch_dtype\":null", 1e4,
         NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char members[1024];
        vise_config config;
        vise_error err = {0};
        cJSON *json;
        snprintf(members, sizeof members, "%s,%s", BASE, cases[i].members);
        assert_int_equal(configure(members, &config, &json, &err), VISE_OK);
        assert_true(config.rope.theta == cases[i].theta);
        if (cases[i].dtype == NULL)
            assert_null(config.dtype);
        else
            assert_string_equal(config.dtype, cases[i].dtype);
        assert_int_equal(config.head_dim, 8);
        cJSON_Delete(json);
    }
}

static void test_values(void **state)
{
    vise_config config;
    vise_error err = {0};
    cJSON *json;

    (void)state;
    assert_int_equal(configure(BASE ",\"num_key_value_heads\":2,\"head_dim\":16,\"rms_norm_eps\":1e-5,"
                                    "\"max_position_embeddings\":4096,\"tie_word_embeddings\":true,"
                                    "\"attention_bias\":true,\"mlp_bias\":true,\"bos_token_id\":null,"
                                    "\"hidden_act\":\"silu\"",
                               &config, &json, &err),
                     VISE_OK);
    assert_int_equal(config.kv_heads, 2);
    assert_int_equal(config.head_dim, 16);
    assert_true(config.norm_eps == 1e-5);
    assert_int_equal(config.max_positions, 4096);
    assert_true(config.tied && config.attention_bias && config.mlp_bias);
    assert_int_equal(config.bos, -1);
    cJSON_Delete(json);
}

/* Each bad file has its own message, which names the file, the key and the value. */
static void test_refused(void **state)
{
    static const struct {
        const char *key, *value; /* replaced in, or added to, a good file; NULL value removes the key */
        vise_status status;
        const char *says;
    } cases[] = {
        {"hidden_size", NULL, VISE_EFORMAT, "hidden_size"},
        {"intermediate_size", NULL, VISE_EFORMAT, "intermediate_size"},
        {"num_hidden_layers", NULL, VISE_EFORMAT, "num_hidden_layers"},
        {"num_attention_heads", NULL, VISE_EFORMAT, "num_attention_heads"},
        {"vocab_size", NULL, VISE_EFORMAT, "vocab_size"},
        {"hidden_size", "null", VISE_EFORMAT, "hidden_size"},
        {"hidden_size", "-64", VISE_EFORMAT, "-64"},
        {"hidden_size", "0", VISE_EFORMAT, "hidden_size"},
        {"hidden_size", "64.5", VISE_EFORMAT, "64.5"},
        {"hidden_size", "\"64\"", VISE_EFORMAT, "hidden_size"},
        {"hidden_size", "1e300", VISE_EFORMAT, "hidden_size"},
        {"hidden_size", "4294967296", VISE_EFORMAT, "4294967296"},
        {"num_hidden_layers", "1000000000", VISE_EFORMAT, "1000000000"},
        {"vocab_size", "99999999999", VISE_EFORMAT, "vocab_size"},
        {"hidden_size", "66", VISE_EFORMAT, "num_attention_heads 8"},
        {"num_key_value_heads", "3", VISE_EFORMAT, "num_key_value_heads 3"},
        {"num_key_value_heads", "16", VISE_EFORMAT, "num_key_value_heads 16"},
        {"head_dim", "7", VISE_EFORMAT, "head_dim 7"},
        {"head_dim", "0", VISE_EFORMAT, "head_dim"},
        {"rms_norm_eps", "-1e-5", VISE_EFORMAT, "rms_norm_eps"},
        {"rms_norm_eps", "\"x\"", VISE_EFORMAT, "rms_norm_eps"},
        {"rope_theta", "0", VISE_EFORMAT, "rope_theta"},
        {"rope_theta", "true", VISE_EFORMAT, "rope_theta"},
        {"max_position_embeddings", "0.5", VISE_EFORMAT, "max_position_embeddings"},
        {"tie_word_embeddings", "1", VISE_EFORMAT, "tie_word_embeddings"},
        {"bos_token_id", "512", VISE_EFORMAT, "bos_token_id"},
        {"rope_parameters", "7", VISE_EFORMAT, "rope_parameters"},
        {"rope_scaling", "{\"rope_type\":7}", VISE_EFORMAT, "rope_type"},
        {"rope_scaling", "{\"type\":\"linear\"}", VISE_EFORMAT, "factor"},
        {"rope_scaling", "{\"type\":\"linear\",\"factor\":0}", VISE_EFORMAT, "factor"},
        {"rope_scaling", "{\"rope_type\":\"llama3\",\"factor\":8.0}", VISE_EFORMAT, "low_freq_factor"},
        {"rope_scaling",
         "{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":4,\"high_freq_factor\":4}",
         VISE_EFORMAT, "high_freq_factor 4"},
        {"rope_scaling", "{\"rope_type\":\"longrope\",\"short_factor\":[1,1],\"long_factor\":[1,1]}",
         VISE_EFORMAT, "short_factor"},
        {"rope_parameters", "{\"rope_type\":\"spiral\"}", VISE_EUNSUPPORTED, "\"spiral\""},
        {"rope_parameters", "{\"linear_attention\":{\"rope_type\":\"default\"}}", VISE_EUNSUPPORTED,
         "linear_attention"},
        {"partial_rotary_factor", "0.4", VISE_EFORMAT, "partial_rotary_factor 0.4"},
        {"hidden_act", "\"sine\"", VISE_EUNSUPPORTED, "\"sine\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vise_config config;
        vise_error err = {0};
        cJSON *json = cJSON_Parse("{" BASE "}");
        cJSON_DeleteItemFromObjectCaseSensitive(json, cases[i].key);
        if (cases[i].value != NULL)
            cJSON_AddItemToObject(json, cases[i].key, cJSON_Parse(cases[i].value));
        assert_int_equal(configure_as("llama", "dir/config.json", json, &config, &err),
                         cases[i].status);
        if (strstr(err.message, cases[i].says) == NULL || strstr(err.message, "dir/config.json") == NULL)
            fail_msg("case %zu: \"%s\" does not name %s", i, err.message, cases[i].says);
        cJSON_Delete(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),    cmocka_unit_test(test_role_names), cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_spellings), cmocka_unit_test(test_values),     cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
