/* Masks: patterns, selection by rows and by groups, ties, and the use of masks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/mask.h"
#include "tests/unit/tensor_data.h"

static void test_pattern_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int keep, group; /* 0: VISE_EUSAGE */
    } rows[] = {
        {"2:4", 2, 4}, {"4:8", 4, 8},   {"1:2", 1, 2},  {"1:64", 1, 64},         {"63:64", 63, 64},
        {"4:2", 0, 0}, {"4:4", 0, 0},   {"0:4", 0, 0},  {"2:65", 0, 0},          {"2:", 0, 0},
        {":4", 0, 0},  {"2", 0, 0},     {"2:4 ", 0, 0}, {"+2:4", 0, 0},          {"2-4", 0, 0},
        {"", 0, 0},    {"2:4:8", 0, 0}, {"02:4", 0, 0}, {"99999999999:4", 0, 0}, {"1:99999999999", 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_error err = {0};
        vise_pattern pattern = {0};
        vise_status status = vise_pattern_parse(rows[i].text, &pattern, &err);
        assert_int_equal(status, rows[i].group ? VISE_OK : VISE_EUSAGE);
        assert_int_equal(pattern.keep, rows[i].keep);
        assert_int_equal(pattern.group, rows[i].group);
        assert_true(rows[i].group || err.message[0]);
    }
}

/* A tie prunes the lower index first; -0 equals +0; bits beyond the row are 0. */
static void test_rows_by_hand(void **state)
{
    (void)state;
    const float score[] = {3, 1, 1, 2, 1, 0.0f, -0.0f, 5, 1, 4};
    static const struct {
        double sparsity;
        uint8_t mask[2];
    } rows[] = {
        {0.0, {0xff, 3}}, {0.1, {0xdf, 3}}, {0.2, {0x9f, 3}}, {0.29, {0x9f, 3}},
        {0.3, {0x9d, 3}}, {0.4, {0x99, 3}}, {0.5, {0x89, 3}}, {0.6, {0x89, 2}},
        {0.7, {0x81, 2}}, {0.8, {0x80, 2}}, {0.9, {0x80, 0}}, {1.0, {0x00, 0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t mask[2];
        vise_mask_rows_ref(score, 1, 10, rows[i].sparsity, mask);
        assert_memory_equal(mask, rows[i].mask, 2);
        FOR_EACH_LEVEL(level)
        {
            use_level(level);
            memset(mask, 0xff, 2);
            assert_int_equal(vise_mask_rows(score, 1, 10, rows[i].sparsity, mask, NULL), VISE_OK);
            assert_memory_equal(mask, rows[i].mask, 2);
        }
    }
    uint8_t mask[2];
    vise_error err = {0};
    assert_int_equal(vise_mask_rows(score, 1, 10, 1.5, mask, &err), VISE_EUSAGE);
    err = (vise_error){0};
    assert_int_equal(vise_mask_rows(score, 1, 10, NAN, mask, &err), VISE_EUSAGE);
}

static void test_rows_levels_agree(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 7, 8, 31, 64, 65, 172, 352, 515};
    static const double sparsities[] = {0.0, 0.01, 0.3, 0.5, 0.77, 1.0};
    enum { ROWS = 3 };
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        size_t n = ROWS * (size_t)lengths[l], bytes = ROWS * vise_mask_row_bytes(lengths[l]);
        float *score = exact(n * sizeof *score);
        uint8_t *want = exact(bytes), *got = exact(bytes);
        for (int kind = 0; kind < DATA_KINDS; kind++) {
            fill_data((data_kind)kind, score, n, (uint64_t)kind);
            for (size_t s = 0; s < sizeof sparsities / sizeof *sparsities; s++) {
                vise_mask_rows_ref(score, ROWS, lengths[l], sparsities[s], want);
                size_t pruned = (size_t)((double)lengths[l] * sparsities[s]);
                assert_int_equal(vise_mask_kept(want, ROWS, lengths[l]), n - ROWS * pruned);
                FOR_EACH_LEVEL(level)
                {
                    use_level(level);
                    memset(got, 0xff, bytes);
                    assert_int_equal(vise_mask_rows(score, ROWS, lengths[l], sparsities[s], got, NULL),
                                     VISE_OK);
                    assert_memory_equal(got, want, bytes);
                }
            }
        }
        free(score);
        free(want);
        free(got);
    }
}

static void test_pattern_by_hand(void **state)
{
    (void)state;
    const float score[] = {1, 2, 3, 4, 4, 3, 2, 1, 1, 1, 1, 1, 0.0f, -0.0f, 2, -1};
    uint8_t mask[2];
    const uint8_t want[2] = {0x3c, 0x6c};
    FOR_EACH_LEVEL(level)
    {
        use_level(level);
        vise_mask_pattern(score, 1, 16, (vise_pattern){2, 4}, mask);
        assert_memory_equal(mask, want, 2);
    }
}

static void test_pattern_levels_agree(void **state)
{
    (void)state;
    static const vise_pattern patterns[] = {{2, 4}, {1, 4}, {3, 4},  {4, 8},  {1, 2},
                                            {5, 8}, {3, 7}, {8, 16}, {32, 64}};
    enum { ROWS = 3 };
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
        vise_pattern pattern = patterns[p];
        for (int groups = 1; groups <= 20; groups++) {
            int64_t cols = (int64_t)groups * pattern.group;
            size_t n = ROWS * (size_t)cols, bytes = ROWS * vise_mask_row_bytes(cols);
            float *score = exact(n * sizeof *score), *values = exact(n * sizeof *values);
            uint8_t *want = exact(bytes), *got = exact(bytes);
            for (int kind = 0; kind < DATA_KINDS; kind++) {
                fill_data((data_kind)kind, score, n, 7);
                vise_mask_pattern_ref(score, ROWS, cols, pattern, want);
                assert_int_equal(vise_mask_kept(want, ROWS, cols), (uint64_t)(ROWS * groups * pattern.keep));
                FOR_EACH_LEVEL(level)
                {
                    use_level(level);
                    memset(got, 0xff, bytes);
                    vise_mask_pattern(score, ROWS, cols, pattern, got);
                    assert_memory_equal(got, want, bytes);
                    for (size_t i = 0; i < n; i++)
                        values[i] = 1.0f;
                    assert_false(vise_pattern_holds(pattern, values, ROWS, cols));
                    vise_mask_apply(got, ROWS, cols, values);
                    assert_true(vise_pattern_holds(pattern, values, ROWS, cols));
                    assert_int_equal(vise_count_zeros(values, n), n - vise_mask_kept(got, ROWS, cols));
                    /* Of every group `keep` survive, none of which scored below one that went. */
                    for (int64_t c = 0; c < cols; c++) {
                        assert_true(vise_mask_get(got, cols, 1, c) == (values[cols + c] != 0.0f));
                        for (int64_t d = c - c % pattern.group; d < c; d++) {
                            bool keep_c = vise_mask_get(got, cols, 1, c),
                                 keep_d = vise_mask_get(got, cols, 1, d);
                            float score_c = score[cols + c], score_d = score[cols + d];
                            assert_false(keep_c && !keep_d && score_d > score_c);
                            assert_false(!keep_c && keep_d && score_c >= score_d);
                        }
                    }
                }
            }
            free(score);
            free(values);
            free(want);
            free(got);
        }
    }
}

static void test_score(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 70; n++) {
        float *values = exact(n * sizeof *values), *norms = exact(n * sizeof *values),
              *got = exact(n * sizeof *values);
        fill_data(DATA_SPARSE, values, n, 1);
        fill_data(DATA_POSITIVE, norms, n, 2);
        FOR_EACH_LEVEL(level)
        {
            use_level(level);
            vise_mask_score(values, norms, n, got);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(float_bits(got[i]), float_bits(fabsf(values[i] * norms[i])));
            memcpy(got, values, n * sizeof *values);
            vise_mask_score(got, NULL, n, got);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(float_bits(got[i]), float_bits(fabsf(values[i])));
        }
        free(values);
        free(norms);
        free(got);
    }
}

static void test_apply(void **state)
{
    (void)state;
    for (int64_t cols = 1; cols <= 70; cols++) {
        size_t n = 2 * (size_t)cols, bytes = 2 * vise_mask_row_bytes(cols);
        float *values = exact(n * sizeof *values), *got = exact(n * sizeof *values);
        uint8_t *mask = exact(bytes);
        for (size_t i = 0; i < bytes; i++)
            mask[i] = (uint8_t)(i * 73 + 41);
        fill_data(DATA_WIDE, values, n, 3);
        values[0] = -0.0f;
        mask[0] |= 1;
        FOR_EACH_LEVEL(level)
        {
            use_level(level);
            memcpy(got, values, n * sizeof *values);
            vise_mask_apply(mask, 2, cols, got);
            uint64_t kept = 0, zeros = 0;
            for (int64_t r = 0; r < 2; r++) {
                for (int64_t c = 0; c < cols; c++) {
                    bool keep = vise_mask_get(mask, cols, r, c);
                    float v = values[r * cols + c];
                    assert_int_equal(float_bits(got[r * cols + c]), keep ? float_bits(v) : 0);
                    kept += keep;
                    zeros += !keep || v == 0.0f;
                }
            }
            assert_int_equal(vise_mask_kept(mask, 2, cols), kept);
            assert_int_equal(vise_count_zeros(got, n), zeros);
        }
        free(values);
        free(got);
        free(mask);
    }
}

/* The bits of a published row of compressed-tensors' bitmask: the first column is the lowest. */
static void test_golden_bits(void **state)
{
    (void)state;
    static const float scores[12] = {9, 8, 0.1f, 0.2f, 0.3f, 7, 6, 0.4f, 5, 0.5f, 0.6f, 4};
    static const uint8_t wanted[2] = {0x63, 0x09};
    uint8_t mask[2];
    vise_error err = {0};
    assert_int_equal(vise_mask_rows(scores, 1, 12, 0.5, mask, &err), VISE_OK);
    assert_memory_equal(mask, wanted, sizeof wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pattern_parse),
        cmocka_unit_test(test_rows_by_hand),
        cmocka_unit_test(test_rows_levels_agree),
        cmocka_unit_test(test_pattern_by_hand),
        cmocka_unit_test(test_pattern_levels_agree),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_golden_bits),
        cmocka_unit_test(test_score),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
