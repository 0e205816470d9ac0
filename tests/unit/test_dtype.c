/* The dtype table and its conversions, against arithmetic of their own (ldexp, exhaustive search among the
 * values). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/dtype.h"
#include "tests/unit/tensor_data.h"

/* ---- the table --------------------------------------------------------------------------------------------
 */

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int bits;
    } want[VISE_DTYPE_COUNT] = {
        {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
        {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
        {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
        {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
    };
    vise_dtype dtype;
    for (int i = 0; i < VISE_DTYPE_COUNT; i++) {
        const vise_dtype_traits *row = vise_dtype_of((vise_dtype)i);
        assert_string_equal(row->name, want[i].name);
        assert_int_equal(row->bits, want[i].bits);
        assert_true(vise_dtype_from_name(row->name, strlen(row->name), &dtype));
        assert_int_equal(dtype, i);
        assert_true((row->to_f32 == NULL) == (row->from_f32 == NULL));
        assert_true(!row->is_float || (row->to_f32 && row->max > 0));
        if (row->torch_name) {
            assert_true(vise_dtype_from_torch(row->torch_name, &dtype));
            assert_int_equal(dtype, i);
        }
        if (row->cli_name) {
            assert_true(vise_dtype_from_cli(row->cli_name, &dtype));
            assert_int_equal(dtype, i);
        }
    }
    assert_true(vise_dtype_from_name("BF16junk", 4, &dtype));
    assert_int_equal(dtype, VISE_DTYPE_BF16);
    assert_false(vise_dtype_from_name("bf16", 4, &dtype));
    assert_false(vise_dtype_from_name("", 0, &dtype));
    assert_true(vise_dtype_from_torch("torch.bfloat16", &dtype));
    assert_int_equal(dtype, VISE_DTYPE_BF16);
    assert_true(vise_dtype_from_torch("float32", &dtype));
    assert_int_equal(dtype, VISE_DTYPE_F32);
    assert_false(vise_dtype_from_torch("torch.", &dtype));
    assert_false(vise_dtype_from_torch("half", &dtype));
    assert_true(vise_dtype_from_cli("f16", &dtype));
    assert_int_equal(dtype, VISE_DTYPE_F16);
    assert_false(vise_dtype_from_cli("f64", &dtype));
    assert_null(vise_dtype_of(VISE_DTYPE_COUNT));
}

static void test_bytes(void **state)
{
    (void)state;
    uint64_t bytes = 0;
    assert_true(vise_dtype_bytes(VISE_DTYPE_F32, 3, &bytes));
    assert_int_equal(bytes, 12);
    assert_true(vise_dtype_bytes(VISE_DTYPE_F4, 6, &bytes));
    assert_int_equal(bytes, 3);
    assert_false(vise_dtype_bytes(VISE_DTYPE_F4, 3, &bytes));
    assert_true(vise_dtype_bytes(VISE_DTYPE_F6_E2M3, 4, &bytes));
    assert_int_equal(bytes, 3);
    assert_true(vise_dtype_bytes(VISE_DTYPE_U64, 0, &bytes));
    assert_int_equal(bytes, 0);
    assert_false(vise_dtype_bytes(VISE_DTYPE_U8, UINT64_MAX, &bytes));
    assert_false(vise_dtype_bytes(VISE_DTYPE_F64, UINT64_MAX / 8, &bytes));
}

/* ---- small floats, every code -----------------------------------------------------------------------------
 */

typedef struct small_float {
    vise_dtype dtype;
    int bits, exponent_bits, bias;
    enum { IEEE, FN, FNUZ } kind;
} small_float;

static const small_float small_floats[] = {
    {VISE_DTYPE_F16, 16, 5, 15, IEEE},       {VISE_DTYPE_BF16, 16, 8, 127, IEEE},
    {VISE_DTYPE_F8_E5M2, 8, 5, 15, IEEE},    {VISE_DTYPE_F8_E4M3, 8, 4, 7, FN},
    {VISE_DTYPE_F8_E4M3FNUZ, 8, 4, 8, FNUZ}, {VISE_DTYPE_F8_E5M2FNUZ, 8, 5, 16, FNUZ},
};
enum { SMALL_FLOATS = sizeof small_floats / sizeof *small_floats };

/* The value of a code from its definition; NaN and infinities too. */
static double value_of(const small_float *f, uint32_t code)
{
    int mantissa_bits = f->bits - 1 - f->exponent_bits;
    uint32_t mantissa_max = (1u << mantissa_bits) - 1, exponent_max = (1u << f->exponent_bits) - 1;
    uint32_t mantissa = code & mantissa_max, exponent = code >> mantissa_bits & exponent_max;
    double sign = code >> (f->bits - 1) ? -1.0 : 1.0;
    if (f->kind == FNUZ && code == 1u << (f->bits - 1))
        return NAN;
    if (f->kind == IEEE && exponent == exponent_max)
        return mantissa ? NAN : sign * INFINITY;
    if (f->kind == FN && exponent == exponent_max && mantissa == mantissa_max)
        return NAN;
    if (exponent == 0)
        return sign * ldexp(mantissa, 1 - f->bias - mantissa_bits);
    return sign * ldexp(1.0 + ldexp(mantissa, -mantissa_bits), (int)exponent - f->bias);
}

static uint32_t code_at(const small_float *f, const void *codes, size_t i)
{
    uint16_t wide;
    if (f->bits == 8)
        return ((const uint8_t *)codes)[i];
    memcpy(&wide, (const uint8_t *)codes + 2 * i, sizeof wide);
    return wide;
}

static void test_every_code(void **state)
{
    (void)state;
    static uint8_t codes[2 * 65536], back[2 * 65536];
    static float values[65536], want[65536];
    for (int k = 0; k < SMALL_FLOATS; k++) {
        const small_float *f = &small_floats[k];
        const vise_dtype_traits *row = vise_dtype_of(f->dtype);
        size_t n = (size_t)1 << f->bits;
        double largest = 0.0;
        for (size_t i = 0; i < n; i++) {
            uint16_t wide = (uint16_t)i;
            if (f->bits == 8)
                codes[i] = (uint8_t)i;
            else
                memcpy(codes + 2 * i, &wide, sizeof wide);
        }
        row->to_f32(codes, want, n);
        for (size_t i = 0; i < n; i++) {
            double value = value_of(f, (uint32_t)i);
            if (isnan(value)) {
                assert_true(isnan(want[i]));
            } else {
                assert_true((double)want[i] == value);
                assert_int_equal(!signbit(want[i]), !signbit(value));
            }
            largest = isfinite(value) && value > largest ? value : largest;
        }
        assert_true(row->max == largest);
        FOR_EACH_LEVEL(level)
        {
            use_level(level);
            vise_to_f32(f->dtype, codes, values, n);
            assert_memory_equal(values, want, n * sizeof *values);
            vise_from_f32(f->dtype, values, back, n);
            for (size_t i = 0; i < n; i++) {
                if (isnan(want[i]))
                    assert_true(isnan(value_of(f, code_at(f, back, i))));
                else
                    assert_int_equal(code_at(f, back, i), i);
            }
        }
    }
}

/* Nearest code to a float, ties to the even one, by search over all values: the truth for rounding (last: the
 * code of the largest value). Codes of one sign are in the order of their values. Returns the value of the
 * code, infinite or NaN where the format overflows to that. */
static double nearest_value(const small_float *f, uint32_t last, float x)
{
    if (isnan(x))
        return NAN;
    double a = fabs((double)x);
    uint32_t low = 0, high = last;
    while (low < high) { /* the last code whose value is <= a */
        uint32_t middle = (low + high + 1) / 2;
        if (value_of(f, middle) <= a)
            low = middle;
        else
            high = middle - 1;
    }
    double below = value_of(f, low), result = below;
    double beyond = f->kind == IEEE ? INFINITY : f->kind == FN ? value_of(f, last) : NAN;
    /* The step above the largest value is as wide as the one below it. */
    double above = low < last ? value_of(f, low + 1) : below + (below - value_of(f, low - 1));
    if (a - below > above - a || (a - below == above - a && (low & 1)))
        result = low < last ? above : beyond;
    if (a > above)
        result = beyond;
    if (f->kind == FNUZ && result == 0.0)
        return 0.0;
    return x < 0.0f || signbit(x) ? -result : result;
}

static void test_rounding(void **state)
{
    (void)state;
    enum { RANDOM = 20000 };
    vise_rng rng;
    vise_rng_init(&rng, 1, "rounding");
    for (int k = 0; k < SMALL_FLOATS; k++) {
        const small_float *f = &small_floats[k];
        const vise_dtype_traits *row = vise_dtype_of(f->dtype);
        size_t half = (size_t)1 << (f->bits - 1), n = 0;
        uint32_t last = 0;
        while (last + 1 < half && isfinite(value_of(f, last + 1)))
            last++;
        float *values = exact((2 * 3 * half + RANDOM + 8) * sizeof *values);
        /* Every midpoint of neighbours, and the floats on both sides of it. */
        for (uint32_t code = 0; code + 1 < half; code++) {
            double a = value_of(f, code), b = value_of(f, code + 1);
            if (!isfinite(a))
                break;
            if (!isfinite(b))
                b = a + (a - value_of(f, code - 1));
            float middle = (float)(a / 2 + b / 2);
            const float around[] = {nextafterf(middle, 0.0f), middle, nextafterf(middle, INFINITY)};
            for (int j = 0; j < 3; j++) {
                values[n++] = around[j];
                values[n++] = -around[j];
            }
        }
        for (int i = 0; i < RANDOM; i++)
            values[n++] = float_from_bits((uint32_t)vise_rng_next(&rng));
        const float special[] = {0.0f, -0.0f, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, FLT_TRUE_MIN, NAN};
        for (size_t i = 0; i < sizeof special / sizeof *special; i++)
            values[n++] = special[i];

        size_t bytes = n * (size_t)f->bits / 8;
        uint8_t *want = exact(bytes), *got = exact(bytes);
        row->from_f32(values, want, n);
        for (size_t i = 0; i < n; i++) {
            double value = value_of(f, code_at(f, want, i)), nearest = nearest_value(f, last, values[i]);
            if (isnan(nearest))
                assert_true(isnan(value));
            else if (value != nearest || !signbit(value) != !signbit(nearest))
                fail_msg("%s: %a became %a, not %a", row->name, (double)values[i], value, nearest);
        }
        FOR_EACH_LEVEL(level)
        {
            use_level(level);
            vise_from_f32(f->dtype, values, got, n);
            assert_memory_equal(got, want, bytes);
        }
        free(values);
        free(want);
        free(got);
    }
}

/* NaN payloads and every length and misalignment: the levels agree bit for bit. */
static void test_levels_agree(void **state)
{
    (void)state;
    static const vise_dtype dtypes[] = {VISE_DTYPE_F16, VISE_DTYPE_BF16};
    static const uint32_t nans[] = {0x7f800001, 0x7fc00000, 0xffffffff, 0x7fa12345, 0xff801fff, 0x7fffe000};
    float values[70];
    uint8_t want[2 * 70 + 1], got[2 * 70 + 1];
    float want_back[70], got_back[70];
    fill_data(DATA_WIDE, values, 70, 5);
    for (size_t i = 0; i < sizeof nans / sizeof *nans; i++) {
        memcpy(&values[i], &nans[i], 4);
        memcpy(&values[40 + i], &nans[i], 4);
    }
    for (int k = 0; k < 2; k++) {
        const vise_dtype_traits *row = vise_dtype_of(dtypes[k]);
        for (size_t n = 0; n <= 70; n++) {
            memset(want, 7, sizeof want);
            memset(got, 7, sizeof got);
            row->from_f32(values, want + 1, n);
            row->to_f32(want + 1, want_back, n);
            FOR_EACH_LEVEL(level)
            {
                use_level(level);
                vise_from_f32(dtypes[k], values, got + 1, n);
                assert_memory_equal(got, want, sizeof got);
                vise_to_f32(dtypes[k], got + 1, got_back, n);
                assert_memory_equal(got_back, want_back, n * sizeof *got_back);
            }
        }
    }
}

static void test_goldens(void **state)
{
    (void)state;
    static const struct {
        vise_dtype dtype;
        float value;
        uint32_t code;
    } goldens[] = {
        {VISE_DTYPE_F8_E4M3, 1.0f, 0x38},
        {VISE_DTYPE_F8_E4M3, 448.0f, 0x7e},
        {VISE_DTYPE_F8_E4M3, 464.0f, 0x7e},
        {VISE_DTYPE_F8_E4M3, 500.0f, 0x7e},
        {VISE_DTYPE_F8_E4M3, -INFINITY, 0xfe},
        {VISE_DTYPE_F8_E4M3, NAN, 0x7f},
        {VISE_DTYPE_F8_E4M3, 17.0f, 0x58},
        {VISE_DTYPE_F8_E4M3, 19.0f, 0x5a},
        {VISE_DTYPE_F8_E4M3, 0x1p-9f, 0x01},
        {VISE_DTYPE_F8_E4M3, 0x1p-10f, 0x00},
        {VISE_DTYPE_F8_E4M3, -0.3f, 0xaa},
        {VISE_DTYPE_F8_E4M3, 240.0f, 0x77},
        {VISE_DTYPE_F8_E5M2, 61440.0f, 0x7c},
        {VISE_DTYPE_F8_E5M2, 61439.0f, 0x7b},
        {VISE_DTYPE_F16, 65519.0f, 0x7bff},
        {VISE_DTYPE_F16, 65520.0f, 0x7c00},
        {VISE_DTYPE_F16, 0.1f, 0x2e66},
        {VISE_DTYPE_BF16, 0.1f, 0x3dcd},
        {VISE_DTYPE_BF16, FLT_MAX, 0x7f80},
        {VISE_DTYPE_BF16, -0.0f, 0x8000},
        {VISE_DTYPE_F8_E8M0, 1.0f, 127},
        {VISE_DTYPE_F8_E8M0, 1.4f, 127},
        {VISE_DTYPE_F8_E8M0, 1.5f, 128},
        {VISE_DTYPE_F8_E8M0, 0.0f, 0},
        {VISE_DTYPE_F8_E8M0, 0x1p127f, 254},
        {VISE_DTYPE_F8_E8M0, FLT_MAX, 255},
        {VISE_DTYPE_F8_E8M0, 0x1.8p-127f, 1},
        {VISE_DTYPE_F8_E8M0, 0x1.7p-127f, 0},
        {VISE_DTYPE_BOOL, 0.5f, 1},
        {VISE_DTYPE_BOOL, -0.0f, 0},
        {VISE_DTYPE_U8, 254.5f, 254},
        {VISE_DTYPE_U8, 300.0f, 255},
        {VISE_DTYPE_U8, -3.0f, 0},
        {VISE_DTYPE_I8, -128.6f, 0x80},
        {VISE_DTYPE_I8, 3.5f, 4},
        {VISE_DTYPE_I8, NAN, 0},
        {VISE_DTYPE_U16, 65535.6f, 65535},
        {VISE_DTYPE_I16, -4e4f, 0x8000},
        {VISE_DTYPE_I32, 2147483648.0f, 0x7fffffff},
        {VISE_DTYPE_U32, 5e9f, 0xffffffff},
        {VISE_DTYPE_F32, -2.0f, 0xc0000000},
    };
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        uint32_t code = 0;
        vise_from_f32(goldens[i].dtype, &goldens[i].value, &code, 1);
        if (code != goldens[i].code)
            fail_msg("%s of %a is %x, not %x", vise_dtype_of(goldens[i].dtype)->name,
                     (double)goldens[i].value, code, goldens[i].code);
    }
    float value;
    uint64_t wide = 0;
    vise_to_f32(VISE_DTYPE_U64, &(uint64_t){UINT64_MAX}, &value, 1);
    assert_true(value == 0x1p64f);
    vise_to_f32(VISE_DTYPE_I64, &(int64_t){-((int64_t)1 << 40)}, &value, 1);
    assert_true(value == -0x1p40f);
    vise_from_f32(VISE_DTYPE_I64, &(float){1e30f}, &wide, 1);
    assert_int_equal(wide, INT64_MAX);
    vise_to_f32(VISE_DTYPE_F64, &(double){1.0 + 0x1p-24 + 0x1p-40}, &value, 1);
    assert_true(value == 1.0f + 0x1p-23f);
    vise_to_f32(VISE_DTYPE_F8_E8M0, &(uint8_t){0}, &value, 1);
    assert_true(value == 0x1p-127f);
    assert_true(vise_round_to(VISE_DTYPE_BF16, 1.00390625f) == 1.0f);
    assert_true(vise_round_to(VISE_DTYPE_F64, 0.1f) == 0.1f);
}

/* Values that each integer type holds exactly come back as they were. */
static void test_integers_round_trip(void **state)
{
    (void)state;
    static const struct {
        vise_dtype dtype;
        float low, high;
    } rows[] = {
        {VISE_DTYPE_U8, 0, 255},      {VISE_DTYPE_I8, -128, 127},
        {VISE_DTYPE_U16, 0, 65535},   {VISE_DTYPE_I16, -32768, 32767},
        {VISE_DTYPE_U32, 0, 0x1p24f}, {VISE_DTYPE_I32, -0x1p31f, 0x1p24f},
        {VISE_DTYPE_U64, 0, 0x1p63f}, {VISE_DTYPE_I64, -0x1p63f, 0x1p62f},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        for (int i = 0; i <= 100; i++) {
            float value = rintf(rows[k].low + (rows[k].high - rows[k].low) * (float)i / 100.0f);
            assert_true(vise_round_to(rows[k].dtype, value) == value);
        }
    }
}

static void test_counted(void **state)
{
    (void)state;
    enum { N = 1500 };
    static float values[N];
    static uint8_t got[4 * N], want[4 * N];
    static const vise_dtype dtypes[] = {VISE_DTYPE_F16, VISE_DTYPE_BF16, VISE_DTYPE_F8_E4M3, VISE_DTYPE_F32};
    fill_data(DATA_WIDE, values, N, 9);
    values[3] = INFINITY;
    values[700] = NAN;
    values[800] = -0.0f;
    values[801] = FLT_MAX;
    values[802] = FLT_TRUE_MIN;
    for (size_t k = 0; k < sizeof dtypes / sizeof *dtypes; k++) {
        vise_cast_stats expected = {0};
        for (int i = 0; i < N; i++) {
            float back = vise_round_to(dtypes[k], values[i]);
            /* e4m3 saturates; 464 is halfway from 448 to what would come next */
            bool beyond = !isfinite(back) || (dtypes[k] == VISE_DTYPE_F8_E4M3 && fabsf(values[i]) > 464.0f);
            expected.overflowed += isfinite(values[i]) && beyond;
            expected.flushed += values[i] != 0.0f && back == 0.0f;
        }
        assert_true(dtypes[k] == VISE_DTYPE_F32 || (expected.overflowed > 0 && expected.flushed > 0));
        vise_dtype_of(dtypes[k])->from_f32(values, want, N);
        FOR_EACH_LEVEL(level)
        {
            use_level(level);
            vise_cast_stats stats = {0};
            vise_from_f32_counted(dtypes[k], values, got, N, &stats);
            assert_int_equal(stats.overflowed, expected.overflowed);
            assert_int_equal(stats.flushed, expected.flushed);
            assert_memory_equal(got, want, (size_t)N * (size_t)vise_dtype_of(dtypes[k])->bits / 8);
        }
    }
}

static void test_nonfinite(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 100; n += 11) {
        float *values = exact(n * sizeof *values);
        fill_data(DATA_HUGE, values, n, n);
        FOR_EACH_LEVEL(level)
        {
            use_level(level);
            size_t first = 12345;
            assert_int_equal(vise_count_nonfinite(values, n, &first), 0);
            assert_int_equal(first, 12345);
            for (size_t bad = 0; bad < n; bad++) {
                float kept = values[bad], kept_last = values[n - 1];
                values[n - 1] = -INFINITY;
                values[bad] = NAN;
                assert_int_equal(vise_count_nonfinite(values, n, &first), bad == n - 1 ? 1 : 2);
                assert_int_equal(first, bad);
                assert_int_equal(vise_count_nonfinite(values, n, NULL), bad == n - 1 ? 1 : 2);
                values[n - 1] = kept_last;
                values[bad] = kept;
            }
        }
        free(values);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_every_code),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_levels_agree),
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_integers_round_trip),
        cmocka_unit_test(test_counted),
        cmocka_unit_test(test_nonfinite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
