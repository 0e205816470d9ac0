#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

#include "tensor/kernels.h"

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* 2^exponent for normal float32 exponents. */
static float power_of_two(int exponent)
{
    return float_of((uint32_t)(exponent + 127) << 23);
}

/* ---- 16-bit floats: NaNs come out quiet with the top of their payload, as F16C does -------------------- */

void vise_bf16_to_f32_ref(const void *source, float *target, size_t n)
{
    const uint8_t *bytes = source;
    for (size_t i = 0; i < n; i++) {
        uint16_t code;
        memcpy(&code, bytes + 2 * i, sizeof code);
        target[i] = float_of((uint32_t)code << 16);
    }
}

void vise_f32_to_bf16_ref(const float *source, void *target, size_t n)
{
    uint8_t *bytes = target;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = bits_of(source[i]);
        uint16_t code;
        if ((bits & 0x7fffffffu) > 0x7f800000u)
            code = (uint16_t)((bits >> 16) | 0x40u);
        else
            code = (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
        memcpy(bytes + 2 * i, &code, sizeof code);
    }
}

void vise_f16_to_f32_ref(const void *source, float *target, size_t n)
{
    const uint8_t *bytes = source;
    for (size_t i = 0; i < n; i++) {
        uint16_t code;
        memcpy(&code, bytes + 2 * i, sizeof code);
        uint32_t sign = (uint32_t)(code & 0x8000u) << 16, exponent = (code >> 10) & 31u,
                 mantissa = code & 0x3ffu;
        uint32_t magnitude;
        if (exponent == 31)
            magnitude = mantissa ? 0x7fc00000u | (mantissa << 13) : 0x7f800000u;
        else if (exponent == 0)
            magnitude = bits_of((float)mantissa * 0x1p-24f);
        else
            magnitude = ((exponent + 112u) << 23) | (mantissa << 13);
        target[i] = float_of(sign | magnitude);
    }
}

void vise_f32_to_f16_ref(const float *source, void *target, size_t n)
{
    uint8_t *bytes = target;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = bits_of(source[i]), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu,
                 code;
        if (magnitude > 0x7f800000u)
            code = 0x7e00u | ((magnitude >> 13) & 0x1ffu);
        else if (magnitude >= 0x477ff000u) /* 65520, halfway from the largest value to 2^16 */
            code = 0x7c00u;
        else if (magnitude <
                 0x38800000u) /* below 2^-14: multiples of 2^-24; a carry gives the first normal */
            code = (uint32_t)lrintf(float_of(magnitude) * 0x1p24f);
        else
            code = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
        uint16_t half = (uint16_t)(sign | code);
        memcpy(bytes + 2 * i, &half, sizeof half);
    }
}

/* ---- 8-bit floats -------------------------------------------------------------------------------------- */

/* OCP 8-bit formats and their FNUZ kin. Beyond the largest value each does what torch's cast does (2.13): e4m3
 * saturates, infinities included, e5m2 goes to infinity, the FNUZ formats go to NaN. */

typedef struct minifloat {
    int mantissa_bits, bias;
    uint8_t max_code; /* of the largest finite value */
    uint8_t overflow; /* what lies beyond it becomes this, sign aside */
    uint8_t infinity; /* 0: none */
    bool one_zero;    /* FNUZ: 0x80 is the NaN, and there is no negative zero */
} minifloat;

static const minifloat e4m3 = {3, 7, 0x7e, 0x7e, 0, false};
static const minifloat e5m2 = {2, 15, 0x7b, 0x7c, 0x7c, false};
static const minifloat e4m3fnuz = {3, 8, 0x7f, 0x80, 0, true};
static const minifloat e5m2fnuz = {2, 16, 0x7f, 0x80, 0, true};

static float minifloat_decode(const minifloat *format, uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 0x80u) << 24;
    int magnitude = code & 0x7f, units = 1 << format->mantissa_bits;
    if (format->one_zero && code == 0x80)
        return float_of(0x7fc00000u);
    if (magnitude > format->max_code)
        return float_of(sign | (magnitude == format->infinity ? 0x7f800000u : 0x7fc00000u));
    int exponent = magnitude >> format->mantissa_bits, mantissa = magnitude & (units - 1);
    if (exponent == 0)
        exponent = 1;
    else
        mantissa += units;
    float value = (float)mantissa * power_of_two(exponent - format->bias - format->mantissa_bits);
    return float_of(sign | bits_of(value));
}

static uint8_t minifloat_encode(const minifloat *format, float value)
{
    uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu, sign = (bits >> 24) & 0x80u;
    if (magnitude > 0x7f800000u)
        return format->one_zero ? 0x80 : (uint8_t)(sign | 0x7fu);
    uint32_t code = format->overflow;
    if (magnitude < 0x7f800000u) {
        /* Count units of the last place; the carry into the next binade falls out of the sum. */
        int exponent = (int)(magnitude >> 23) - 127, lowest = 1 - format->bias;
        if (exponent < lowest)
            exponent = lowest;
        long units = lrintf(float_of(magnitude) * power_of_two(format->mantissa_bits - exponent));
        long sum = ((long)(exponent - lowest) << format->mantissa_bits) + units;
        if (sum <= format->max_code)
            code = (uint32_t)sum;
    }
    if (format->one_zero)
        return (uint8_t)(code == 0 || code == 0x80 ? code : sign | code);
    return (uint8_t)(sign | code);
}

static void minifloats_to_f32(const minifloat *format, const void *source, float *target, size_t n)
{
    const uint8_t *codes = source;
    for (size_t i = 0; i < n; i++)
        target[i] = minifloat_decode(format, codes[i]);
}

static void minifloats_from_f32(const minifloat *format, const float *source, void *target, size_t n)
{
    uint8_t *codes = target;
    for (size_t i = 0; i < n; i++)
        codes[i] = minifloat_encode(format, source[i]);
}

static void e4m3_to_f32(const void *source, float *target, size_t n)
{
    minifloats_to_f32(&e4m3, source, target, n);
}

static void e4m3_from_f32(const float *source, void *target, size_t n)
{
    minifloats_from_f32(&e4m3, source, target, n);
}

static void e5m2_to_f32(const void *source, float *target, size_t n)
{
    minifloats_to_f32(&e5m2, source, target, n);
}

static void e5m2_from_f32(const float *source, void *target, size_t n)
{
    minifloats_from_f32(&e5m2, source, target, n);
}

static void e4m3fnuz_to_f32(const void *source, float *target, size_t n)
{
    minifloats_to_f32(&e4m3fnuz, source, target, n);
}

static void e4m3fnuz_from_f32(const float *source, void *target, size_t n)
{
    minifloats_from_f32(&e4m3fnuz, source, target, n);
}

static void e5m2fnuz_to_f32(const void *source, float *target, size_t n)
{
    minifloats_to_f32(&e5m2fnuz, source, target, n);
}

static void e5m2fnuz_from_f32(const float *source, void *target, size_t n)
{
    minifloats_from_f32(&e5m2fnuz, source, target, n);
}

/* E8M0 is 2^(code - 127), a scale: no sign, no zero, 0xff is NaN. The sign is dropped, zero becomes 2^-127,
 * ties go up. */
static void e8m0_to_f32(const void *source, float *target, size_t n)
{
    const uint8_t *codes = source;
    for (size_t i = 0; i < n; i++)
        target[i] = float_of(codes[i] == 0xff ? 0x7fc00000u
                             : codes[i] == 0  ? 0x00400000u
                                              : (uint32_t)codes[i] << 23);
}

static void e8m0_from_f32(const float *source, void *target, size_t n)
{
    uint8_t *codes = target;
    for (size_t i = 0; i < n; i++) {
        uint32_t magnitude = bits_of(source[i]) & 0x7fffffffu,
                 tie = magnitude < 0x00800000u ? 0x00600000u : 0x00400000u;
        uint32_t exponent = magnitude >> 23, up = exponent < 255 && (magnitude & 0x007fffffu) >= tie;
        codes[i] = (uint8_t)(exponent + up);
    }
}

/* ---- wide floats, integers, bool ----------------------------------------------------------------------- */

static void f32_copy_to(const void *source, float *target, size_t n)
{
    memcpy(target, source, n * sizeof *target);
}

static void f32_copy_from(const float *source, void *target, size_t n)
{
    memcpy(target, source, n * sizeof *source);
}

static void f64_to_f32(const void *source, float *target, size_t n)
{
    const uint8_t *bytes = source;
    for (size_t i = 0; i < n; i++) {
        double value;
        memcpy(&value, bytes + i * sizeof value, sizeof value);
        target[i] = (float)value;
    }
}

static void f64_from_f32(const float *source, void *target, size_t n)
{
    uint8_t *bytes = target;
    for (size_t i = 0; i < n; i++) {
        double value = source[i];
        memcpy(bytes + i * sizeof value, &value, sizeof value);
    }
}

static void bool_to_f32(const void *source, float *target, size_t n)
{
    const uint8_t *bytes = source;
    for (size_t i = 0; i < n; i++)
        target[i] = bytes[i] ? 1.0f : 0.0f;
}

static void bool_from_f32(const float *source, void *target, size_t n)
{
    uint8_t *bytes = target;
    for (size_t i = 0; i < n; i++)
        bytes[i] = source[i] != 0.0f;
}

/* Integers: to nearest, ties to even, clamped to the type; NaN becomes 0. (float)MAX may lie one above MAX,
 * hence >=. */
#define INTEGER_CONVERSIONS(name, type, lowest, highest)                                                     \
    static void name##_to_f32(const void *source, float *target, size_t n)                                   \
    {                                                                                                        \
        const uint8_t *bytes = source;                                                                       \
        for (size_t i = 0; i < n; i++) {                                                                     \
            type value;                                                                                      \
            memcpy(&value, bytes + i * sizeof value, sizeof value);                                          \
            target[i] = (float)value;                                                                        \
        }                                                                                                    \
    }                                                                                                        \
    static void name##_from_f32(const float *source, void *target, size_t n)                                 \
    {                                                                                                        \
        uint8_t *bytes = target;                                                                             \
        for (size_t i = 0; i < n; i++) {                                                                     \
            float rounded = rintf(source[i]);                                                                \
            type value = isnan(rounded)                ? (type)0                                             \
                         : rounded <= (float)(lowest)  ? (type)(lowest)                                      \
                         : rounded >= (float)(highest) ? (type)(highest)                                     \
                                                       : (type)rounded;                                      \
            memcpy(bytes + i * sizeof value, &value, sizeof value);                                          \
        }                                                                                                    \
    }

INTEGER_CONVERSIONS(u8, uint8_t, 0, UINT8_MAX)
INTEGER_CONVERSIONS(i8, int8_t, INT8_MIN, INT8_MAX)
INTEGER_CONVERSIONS(u16, uint16_t, 0, UINT16_MAX)
INTEGER_CONVERSIONS(i16, int16_t, INT16_MIN, INT16_MAX)
INTEGER_CONVERSIONS(u32, uint32_t, 0, UINT32_MAX)
INTEGER_CONVERSIONS(i32, int32_t, INT32_MIN, INT32_MAX)
INTEGER_CONVERSIONS(u64, uint64_t, 0, UINT64_MAX)
INTEGER_CONVERSIONS(i64, int64_t, INT64_MIN, INT64_MAX)

/* ---- the table ----------------------------------------------------------------------------------------- */

static const vise_dtype_traits table[VISE_DTYPE_COUNT] = {
    [VISE_DTYPE_BOOL] = {"BOOL", "bool", NULL, 8, false, 0, bool_to_f32, bool_from_f32},
    [VISE_DTYPE_F4] = {"F4", NULL, NULL, 4, false, 6, NULL, NULL},
    [VISE_DTYPE_F6_E2M3] = {"F6_E2M3", NULL, NULL, 6, false, 7.5, NULL, NULL},
    [VISE_DTYPE_F6_E3M2] = {"F6_E3M2", NULL, NULL, 6, false, 28, NULL, NULL},
    [VISE_DTYPE_U8] = {"U8", "uint8", NULL, 8, false, 0, u8_to_f32, u8_from_f32},
    [VISE_DTYPE_I8] = {"I8", "int8", NULL, 8, false, 0, i8_to_f32, i8_from_f32},
    [VISE_DTYPE_F8_E5M2] = {"F8_E5M2", "float8_e5m2", NULL, 8, true, 57344, e5m2_to_f32, e5m2_from_f32},
    [VISE_DTYPE_F8_E4M3] = {"F8_E4M3", "float8_e4m3fn", NULL, 8, true, 448, e4m3_to_f32, e4m3_from_f32},
    [VISE_DTYPE_F8_E8M0] = {"F8_E8M0", "float8_e8m0fnu", NULL, 8, false, 0x1p127, e8m0_to_f32, e8m0_from_f32},
    [VISE_DTYPE_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", "float8_e4m3fnuz", NULL, 8, true, 240, e4m3fnuz_to_f32,
                                e4m3fnuz_from_f32},
    [VISE_DTYPE_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", "float8_e5m2fnuz", NULL, 8, true, 57344, e5m2fnuz_to_f32,
                                e5m2fnuz_from_f32},
    [VISE_DTYPE_I16] = {"I16", "int16", NULL, 16, false, 0, i16_to_f32, i16_from_f32},
    [VISE_DTYPE_U16] = {"U16", "uint16", NULL, 16, false, 0, u16_to_f32, u16_from_f32},
    [VISE_DTYPE_F16] = {"F16", "float16", "f16", 16, true, 65504, vise_f16_to_f32_ref, vise_f32_to_f16_ref},
    [VISE_DTYPE_BF16] = {"BF16", "bfloat16", "bf16", 16, true, 0x1.fep127, vise_bf16_to_f32_ref,
                         vise_f32_to_bf16_ref},
    [VISE_DTYPE_I32] = {"I32", "int32", NULL, 32, false, 0, i32_to_f32, i32_from_f32},
    [VISE_DTYPE_U32] = {"U32", "uint32", NULL, 32, false, 0, u32_to_f32, u32_from_f32},
    [VISE_DTYPE_F32] = {"F32", "float32", "f32", 32, true, 0x1.fffffep127, f32_copy_to, f32_copy_from},
    [VISE_DTYPE_C64] = {"C64", "complex64", NULL, 64, false, 0, NULL, NULL},
    [VISE_DTYPE_F64] = {"F64", "float64", NULL, 64, true, 0x1.fffffffffffffp1023, f64_to_f32, f64_from_f32},
    [VISE_DTYPE_I64] = {"I64", "int64", NULL, 64, false, 0, i64_to_f32, i64_from_f32},
    [VISE_DTYPE_U64] = {"U64", "uint64", NULL, 64, false, 0, u64_to_f32, u64_from_f32},
};

const vise_dtype_traits *vise_dtype_of(vise_dtype dtype)
{
    return (unsigned)dtype < VISE_DTYPE_COUNT ? &table[dtype] : NULL;
}

bool vise_dtype_from_name(const char *name, size_t length, vise_dtype *out)
{
    for (int i = 0; i < VISE_DTYPE_COUNT; i++) {
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0) {
            *out = (vise_dtype)i;
            return true;
        }
    }
    return false;
}

bool vise_dtype_from_torch(const char *name, vise_dtype *out)
{
    if (strncmp(name, "torch.", 6) == 0)
        name += 6;
    for (int i = 0; i < VISE_DTYPE_COUNT; i++) {
        if (table[i].torch_name && strcmp(table[i].torch_name, name) == 0) {
            *out = (vise_dtype)i;
            return true;
        }
    }
    return false;
}

bool vise_dtype_from_cli(const char *name, vise_dtype *out)
{
    for (int i = 0; i < VISE_DTYPE_COUNT; i++) {
        if (table[i].cli_name && strcmp(table[i].cli_name, name) == 0) {
            *out = (vise_dtype)i;
            return true;
        }
    }
    return false;
}

bool vise_dtype_bytes(vise_dtype dtype, uint64_t n, uint64_t *bytes)
{
    uint64_t bits;
    if (__builtin_mul_overflow(n, (uint64_t)table[dtype].bits, &bits) || bits % 8 != 0)
        return false;
    *bytes = bits / 8;
    return true;
}

/* ---- conversions of the current CPU level -------------------------------------------------------------- */

void vise_to_f32(vise_dtype dtype, const void *source, float *target, size_t n)
{
    if (dtype == VISE_DTYPE_BF16)
        vise_tensor_kernels_now()->bf16_to_f32(source, target, n);
    else if (dtype == VISE_DTYPE_F16)
        vise_tensor_kernels_now()->f16_to_f32(source, target, n);
    else
        table[dtype].to_f32(source, target, n);
}

void vise_from_f32(vise_dtype dtype, const float *source, void *target, size_t n)
{
    if (dtype == VISE_DTYPE_BF16)
        vise_tensor_kernels_now()->f32_to_bf16(source, target, n);
    else if (dtype == VISE_DTYPE_F16)
        vise_tensor_kernels_now()->f32_to_f16(source, target, n);
    else
        table[dtype].from_f32(source, target, n);
}

float vise_round_to(vise_dtype dtype, float value)
{
    uint64_t stored = 0;
    table[dtype].from_f32(&value, &stored, 1);
    table[dtype].to_f32(&stored, &value, 1);
    return value;
}

void vise_count_cast_ref(const float *before, const float *after, size_t n, vise_cast_stats *stats)
{
    for (size_t i = 0; i < n; i++) {
        stats->overflowed += isfinite(before[i]) && !isfinite(after[i]);
        stats->flushed += before[i] != 0.0f && after[i] == 0.0f;
    }
}

void vise_from_f32_counted(vise_dtype dtype, const float *source, void *target, size_t n,
                           vise_cast_stats *stats)
{
    enum {
        BLOCK = 512,
        E4M3_ROUNDS_BELOW = 464
    }; /* what was stored is read back while it is in the first-level cache */
    const vise_tensor_kernels *kernels = vise_tensor_kernels_now();
    size_t element_bytes = (size_t)table[dtype].bits / 8;
    uint8_t *bytes = target;
    float back[BLOCK];
    if (dtype == VISE_DTYPE_F32) {
        memcpy(target, source, n * sizeof *source);
        return;
    }
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t count = n - i < BLOCK ? n - i : BLOCK;
        vise_from_f32(dtype, source + i, bytes + i * element_bytes, count);
        vise_to_f32(dtype, bytes + i * element_bytes, back, count);
        kernels->count_cast(source + i, back, count, stats);
        for (size_t k = 0; k < count && dtype == VISE_DTYPE_F8_E4M3; k++)
            stats->overflowed += isfinite(source[i + k]) && fabsf(source[i + k]) > E4M3_ROUNDS_BELOW;
    }
}

size_t vise_count_nonfinite_ref(const float *values, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += isfinite(values[i]) ? 0 : 1;
    return count;
}

size_t vise_count_nonfinite(const float *values, size_t n, size_t *first_bad)
{
    size_t count = vise_tensor_kernels_now()->count_nonfinite(values, n);
    if (count > 0 && first_bad) {
        size_t i = 0;
        while (isfinite(values[i]))
            i++;
        *first_bad = i;
    }
    return count;
}
