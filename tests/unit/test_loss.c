/* Losses: what they are, and that every CPU level has the reference's bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tensor/loss.h"
#include "tests/unit/tensor_data.h"

static void test_sums(void **state)
{
    (void)state;
    const float original[5] = {1.0f, -2.0f, 3.0f, 0.0f, 5.0f}, values[5] = {1.5f, -0.0f, 3.0f, 0.0f, 4.0f};
    FOR_EACH_LEVEL(level)
    {
        vise_loss loss = {.error = 1.0, .signal = 2.0, .zeros = 3};
        use_level(level);
        vise_loss_add(original, values, 5, &loss);
        assert_true(loss.error == 1.0 + 0.25 + 4.0 + 1.0);
        assert_true(loss.signal == 2.0 + 39.0);
        assert_int_equal(loss.zeros, 3 + 2);
        vise_loss_add(original, values, 0, &loss);
        assert_true(loss.error == 6.25);
    }
}

static void test_levels(void **state)
{
    (void)state;
    enum { N = 3000 };
    static float original[N], values[N];
    for (int kind = 0; kind < DATA_KINDS; kind++) {
        fill_data((data_kind)kind, original, N, 1);
        fill_data((data_kind)kind, values, N, 2);
        for (size_t n = 1; n < N; n += n < 70 ? 1 : 463) {
            vise_loss expected = {0};
            use_level(VISE_CPU_REF);
            vise_loss_add(original, values, n, &expected);
            FOR_EACH_LEVEL(level)
            {
                vise_loss loss = {0};
                use_level(level);
                vise_loss_add(original, values, n, &loss);
                assert_memory_equal(&loss, &expected, sizeof loss);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums), cmocka_unit_test(test_levels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
