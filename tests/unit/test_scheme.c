/* Schemes as text, and their sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tensor/scheme.h"
#include "tests/unit/tensor_data.h"

static void test_table(void **state)
{
    (void)state;
    size_t count = 0;
    const vise_weight_type *types = vise_weight_types(&count);
    assert_int_equal(count, 7 + 4 + 3 + 16); /* int2 to int8, small floats, bitsandbytes', and GGUF's */
    for (size_t i = 0; i < count; i++) {
        vise_scheme scheme;
        char text[VISE_SCHEME_TEXT_MAX];
        assert_int_equal(vise_scheme_parse(types[i].name, &scheme, NULL), VISE_OK);
        if (strcmp(types[i].name, "mxfp4") == 0 && types[i].blocks != NULL)
            continue; /* GGUF's, for which the layout asks */
        assert_ptr_equal(scheme.type, &types[i]);
        assert_int_equal(scheme.granularity, types[i].default_granularity);
        assert_int_equal(scheme.type->blocks == NULL && scheme.type->codebook == NULL, i < 7);
        assert_true(types[i].grains >> types[i].default_granularity & 1);
        if (i < 7)
            assert_int_equal(scheme.type->bits, (int)i + 2);
        else if (scheme.type->blocks != NULL)
            assert_int_equal(scheme.group, scheme.type->blocks->values);
        /* The canonical text reads back as the same scheme. */
        vise_scheme again;
        assert_int_equal(vise_scheme_parse(vise_scheme_text(&scheme, text), &again, NULL), VISE_OK);
        assert_true(vise_scheme_equal(&scheme, &again));
    }
}

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *canonical;
        int bits;
        vise_granularity granularity;
        int64_t group;
        bool asym;
        const char *activation;
    } rows[] = {
        {"int4-g128", "int4-g128", 4, VISE_PER_GROUP, 128, false, NULL},
        {"int4", "int4-channel", 4, VISE_PER_CHANNEL, 0, false, NULL},
        {"int3-asym", "int3-channel-asym", 3, VISE_PER_CHANNEL, 0, true, NULL},
        {"int2-g32-asym", "int2-g32-asym", 2, VISE_PER_GROUP, 32, true, NULL},
        {"int8-tensor", "int8-tensor", 8, VISE_PER_TENSOR, 0, false, NULL},
        {"int8+int8-token", "int8-channel+int8-token", 8, VISE_PER_CHANNEL, 0, false, "int8-token"},
        {"int8-channel+int8-token", "int8-channel+int8-token", 8, VISE_PER_CHANNEL, 0, false, "int8-token"},
        {"int8-tensor+int8-token", "int8-tensor+int8-token", 8, VISE_PER_TENSOR, 0, false, "int8-token"},
        {"nf4", "nf4-b64", 4, VISE_PER_FLAT, 64, false, NULL},
        {"nf4-b4096-dq", "nf4-b4096-dq", 4, VISE_PER_FLAT, 4096, false, NULL},
        {"fp4-dq", "fp4-b64-dq", 4, VISE_PER_FLAT, 64, false, NULL},
        {"llm-int8", "llm-int8-channel", 8, VISE_PER_CHANNEL, 0, false, NULL},
        {"fp8-e4m3", "fp8-e4m3-channel", 8, VISE_PER_CHANNEL, 0, false, NULL},
        {"fp8-e4m3-tensor+fp8-e4m3-tensor", "fp8-e4m3-tensor+fp8-e4m3-tensor", 8, VISE_PER_TENSOR, 0, false,
         "fp8-e4m3-tensor"},
        {"fp8-e4m3-128x128+fp8-e4m3-g128", "fp8-e4m3-128x128+fp8-e4m3-g128", 8, VISE_PER_BLOCK, 128, false,
         "fp8-e4m3-g128"},
        {"mxfp4", "mxfp4-g32", 4, VISE_PER_GROUP, 32, false, NULL},
        {"mxfp8-g32+mxfp8-g32", "mxfp8-g32+mxfp8-g32", 8, VISE_PER_GROUP, 32, false, "mxfp8-g32"},
        {"nvfp4+nvfp4-g16", "nvfp4-g16+nvfp4-g16", 4, VISE_PER_GROUP, 16, false, "nvfp4-g16"},
        {"int4-g128+fp8-e4m3-token", "int4-g128+fp8-e4m3-token", 4, VISE_PER_GROUP, 128, false, "fp8-e4m3-token"},
        {"int8+int8-tensor", "int8-channel+int8-tensor", 8, VISE_PER_CHANNEL, 0, false, "int8-tensor"},
        {"int7-g65536", "int7-g65536", 7, VISE_PER_GROUP, 65536, false, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_scheme scheme;
        char text[VISE_SCHEME_TEXT_MAX];
        assert_int_equal(vise_scheme_parse(rows[i].text, &scheme, NULL), VISE_OK);
        assert_int_equal(scheme.type->bits, rows[i].bits);
        assert_int_equal(scheme.granularity, rows[i].granularity);
        assert_int_equal(scheme.group, rows[i].group);
        assert_int_equal(scheme.asym, rows[i].asym);
        if (rows[i].activation)
            assert_string_equal(scheme.activation, rows[i].activation);
        else
            assert_null(scheme.activation);
        assert_string_equal(vise_scheme_text(&scheme, text), rows[i].canonical);
    }
    char text[VISE_SCHEME_TEXT_MAX];
    assert_string_equal(vise_scheme_text(&(vise_scheme){0}, text), "float");
}

static void test_refuse(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        vise_status status;
        const char *says; /* a part of the message */
    } rows[] = {
        {"fp8-e4m3-b64", VISE_EUNSUPPORTED, "it has tensor, channel, gN, RxC"},
        {"fp8-e4m3-asym", VISE_EUNSUPPORTED, "no zero points"},
        {"fp8-e5m2-tensor", VISE_EUNSUPPORTED, "fp8-e5m2"},
        {"nf4-g64", VISE_EUNSUPPORTED, "it has bN"},
        {"nf4-b48", VISE_EUSAGE, "flat blocks have"},
        {"nf4-b16", VISE_EUSAGE, "flat blocks have"},
        {"nf4-dq-b64", VISE_EUSAGE, "before -asym and -dq"},
        {"nf4-asym", VISE_EUNSUPPORTED, "no zero points"},
        {"nf4+int8-token", VISE_EUNSUPPORTED, "which take none"},
        {"llm-int8-g64", VISE_EUNSUPPORTED, "it has channel"},
        {"llm-int8+int8-token", VISE_EUNSUPPORTED, "which take none"},
        {"mxfp8-g64", VISE_EUNSUPPORTED, "have 32 weights"},
        {"mxfp4-channel", VISE_EUNSUPPORTED, "it has g32"},
        {"nvfp4-g32", VISE_EUNSUPPORTED, "have 16 weights"},
        {"nvfp4+mxfp4-g32", VISE_EUNSUPPORTED, "which take nvfp4-g16"},
        {"int4-128x128", VISE_EUNSUPPORTED, "128x128"},
        {"int4-b64", VISE_EUNSUPPORTED, "b64"},
        {"int4-g64-dq", VISE_EUNSUPPORTED, "-dq"},
        {"int8+fp8-e4m3-g128", VISE_EUNSUPPORTED, "int8-token, int8-tensor, int4-token, fp8-e4m3-token"},
        {"q4_k+int8-token", VISE_EUSAGE, "says it all"},
        {"imt4-g128", VISE_EUSAGE, "did you mean int4?"},
        {"q4_k_m", VISE_EUSAGE, "mixture for a whole model"},
        {"q4_k-g32", VISE_EUSAGE, "says it all"},
        {"iq2_xxs", VISE_EUNSUPPORTED, "iq2_xxs"},
        {"Q4_K_M", VISE_EUSAGE, "did you mean q4_k_m?"},
        {"INT8", VISE_EUSAGE, "did you mean int8?"},
        {"int9", VISE_EUSAGE, "did you mean int"},
        {"int16", VISE_EUSAGE, "no scheme"},
        {"", VISE_EUSAGE, "no scheme"},
        {"-g128", VISE_EUSAGE, "no scheme"},
        {"int4_g128", VISE_EUSAGE, "did you mean int4"},
        {"int4-", VISE_EUSAGE, "no granularity"},
        {"int4-128", VISE_EUSAGE, "\"128\" is no granularity"},
        {"int4-g", VISE_EUSAGE, "no granularity"},
        {"int4-g0", VISE_EUSAGE, "no granularity"},
        {"int4-g-128", VISE_EUSAGE, "no granularity"},
        {"int4-g128x", VISE_EUSAGE, "no granularity"},
        {"int4-g64x64", VISE_EUSAGE, "no granularity"},
        {"int4-g65537", VISE_EUSAGE, "at most 65536"},
        {"int4-g99999999", VISE_EUSAGE, "no granularity"},
        {"int4-g32-g64", VISE_EUSAGE, "one granularity"},
        {"int4-asym-g32", VISE_EUSAGE, "before -asym"},
        {"int4-asym-asym", VISE_EUSAGE, "twice"},
        {"int4-grup", VISE_EUSAGE, "grup"},
        {"int8+", VISE_EUSAGE, "no activation"},
        {"int8+int8", VISE_EUSAGE, "\"int8\" is no activation"},
        {"int4-g128-g128-g128-g128-g128-g128-g128-g128-g128-g128-g128-g128-g128", VISE_EUSAGE, "no scheme"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_scheme scheme = {.group = 77};
        vise_error err = {0};
        vise_status status = vise_scheme_parse(rows[i].text, &scheme, &err);
        if (status != rows[i].status || !strstr(err.message, rows[i].says))
            fail_msg("%s: status %d, %s", rows[i].text, status, err.message);
        assert_int_equal(scheme.group, 77); /* untouched */
    }
}

static vise_scheme scheme_of(const char *text)
{
    vise_scheme scheme = {0};
    assert_int_equal(vise_scheme_parse(text, &scheme, NULL), VISE_OK);
    return scheme;
}

static void test_equal(void **state)
{
    (void)state;
    static const char *const texts[] = {"int4",      "int5", "int4-g32",       "int4-g64",
                                        "int4-asym", "int8", "int8+int8-token"};
    enum { TEXTS = sizeof texts / sizeof *texts };
    vise_scheme plain = {0};
    assert_true(vise_scheme_equal(&plain, &plain));
    for (int i = 0; i < TEXTS; i++) {
        vise_scheme a = scheme_of(texts[i]);
        assert_false(vise_scheme_equal(&a, &plain));
        assert_false(vise_scheme_equal(&plain, &a));
        for (int j = 0; j < TEXTS; j++) {
            vise_scheme b = scheme_of(texts[j]);
            assert_int_equal(vise_scheme_equal(&a, &b), i == j);
        }
    }
}

static void test_sizes(void **state)
{
    (void)state;
    vise_scheme group = scheme_of("int4-g128"), asym = scheme_of("int4-g32-asym"),
                tensor = scheme_of("int8-tensor");
    vise_scheme channel = scheme_of("int3"), plain = {0};
    assert_int_equal(vise_scheme_groups(&group, 1024), 8);
    assert_int_equal(vise_scheme_groups(&group, 172), 0);
    assert_int_equal(vise_scheme_groups(&channel, 172), 1);
    assert_int_equal(vise_scheme_groups(&tensor, 172), 1);
    assert_true(vise_scheme_bits(&group, 512, 1024, VISE_DTYPE_BF16) == 4.0 + 16.0 / 128);
    assert_true(vise_scheme_bits(&asym, 512, 1024, VISE_DTYPE_F32) == 4.0 + 36.0 / 32);
    assert_true(vise_scheme_bits(&tensor, 4, 8, VISE_DTYPE_F16) == 8.5);
    assert_true(vise_scheme_bits(&channel, 4, 64, VISE_DTYPE_F16) == 3.25);
    assert_true(vise_scheme_bits(&plain, 4, 64, VISE_DTYPE_BF16) == 16.0);

    static const struct {
        const char *text;
        int64_t rows, cols;
    } shapes[] = {
        {"int4-g32-asym", 3, 96}, {"int8-tensor-asym", 5, 7}, {"int2", 1, 1}, {"int4-g128", 512, 4096}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        vise_scheme scheme = scheme_of(shapes[i].text);
        size_t bytes = vise_qweight_bytes(&scheme, shapes[i].rows, shapes[i].cols);
        uint8_t *block = exact(bytes);
        vise_qweight q;
        vise_qweight_carve(&q, &scheme, VISE_DTYPE_BF16, shapes[i].rows, shapes[i].cols, block);
        size_t scales = (size_t)(scheme.granularity == VISE_PER_TENSOR ? 1 : q.rows * q.groups);
        assert_int_equal(q.groups, vise_scheme_groups(&scheme, shapes[i].cols));
        assert_int_equal(((uint8_t *)q.scales - block) % 64, 0);
        assert_true((q.zeros != NULL) == scheme.asym);
        memset(q.codes, 1, (size_t)(q.rows * q.cols));
        memset(q.scales, 2, scales * sizeof(float));
        if (q.zeros) {
            memset(q.zeros, 3, scales);
            assert_int_equal((q.zeros - block) % 64, 0);
            assert_true(q.zeros + scales <= block + bytes);
        }
        assert_int_equal(q.codes[q.rows * q.cols - 1], 1);
        assert_int_equal(*(uint8_t *)&q.scales[scales - 1], 2);
        free(block);
    }
    assert_int_equal(vise_qweight_bytes(&group, INT64_MAX / 2, 1024), SIZE_MAX);
    assert_int_equal(vise_qweight_bytes(&channel, INT64_MAX, 1), SIZE_MAX);
    assert_int_equal(vise_qweight_bytes(&group, -1, 128), SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table), cmocka_unit_test(test_parse), cmocka_unit_test(test_refuse),
        cmocka_unit_test(test_equal), cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
