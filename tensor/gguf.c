#include "tensor/gguf.h"

#include <string.h>

#include "tensor/gguf_blocks.h"

#define PLAIN(name, id, bytes, dtype)                                                                        \
    {                                                                                                        \
        name, id, 1, bytes, dtype, {-1, -1}, NULL, NULL, NULL, NULL                                          \
    }
#define SIZE_ONLY(name, id, values, bytes)                                                                   \
    {                                                                                                        \
        name, id, values, bytes, VISE_DTYPE_COUNT, {-1, -1}, NULL, NULL, NULL, NULL                          \
    }
#define BLOCK(type, id, values, block, d, m)                                                                 \
    {                                                                                                        \
#type, id, values, sizeof(block), VISE_DTYPE_COUNT,                                                          \
            {d, m }, vise_gguf_encode_##type, vise_gguf_decode_##type, vise_gguf_grid_##type,                \
            vise_gguf_put_##type                                                                             \
    }
#define FIXED(type, id, values, block, d)                                                                    \
    {                                                                                                        \
#type, id, values, sizeof(block), VISE_DTYPE_COUNT,                                                          \
            {d, -1 }, vise_gguf_encode_##type, vise_gguf_decode_##type, NULL, NULL                           \
    }

const vise_gguf_type vise_gguf_table[VISE_GGUF_TYPES] = {
    [VISE_GGUF_F32] = PLAIN("f32", 0, 4, VISE_DTYPE_F32),
    [VISE_GGUF_F16] = PLAIN("f16", 1, 2, VISE_DTYPE_F16),
    [VISE_GGUF_Q4_0] = BLOCK(q4_0, 2, 32, block_q4_0, offsetof(block_q4_0, d), -1),
    [VISE_GGUF_Q4_1] = BLOCK(q4_1, 3, 32, block_q4_1, offsetof(block_q4_1, d), offsetof(block_q4_1, m)),
    [VISE_GGUF_Q5_0] = BLOCK(q5_0, 6, 32, block_q5_0, offsetof(block_q5_0, d), -1),
    [VISE_GGUF_Q5_1] = BLOCK(q5_1, 7, 32, block_q5_1, offsetof(block_q5_1, d), offsetof(block_q5_1, m)),
    [VISE_GGUF_Q8_0] = BLOCK(q8_0, 8, 32, block_q8_0, offsetof(block_q8_0, d), -1),
    [VISE_GGUF_Q8_1] = SIZE_ONLY("q8_1", 9, 32, 36),
    [VISE_GGUF_Q2_K] = BLOCK(q2_k, 10, 256, block_q2_k, offsetof(block_q2_k, d), offsetof(block_q2_k, dmin)),
    [VISE_GGUF_Q3_K] = BLOCK(q3_k, 11, 256, block_q3_k, offsetof(block_q3_k, d), -1),
    [VISE_GGUF_Q4_K] = BLOCK(q4_k, 12, 256, block_q4_k, offsetof(block_q4_k, d), offsetof(block_q4_k, dmin)),
    [VISE_GGUF_Q5_K] = BLOCK(q5_k, 13, 256, block_q5_k, offsetof(block_q5_k, d), offsetof(block_q5_k, dmin)),
    [VISE_GGUF_Q6_K] = BLOCK(q6_k, 14, 256, block_q6_k, offsetof(block_q6_k, d), -1),
    [VISE_GGUF_Q8_K] = SIZE_ONLY("q8_k", 15, 256, 292),
    [VISE_GGUF_IQ2_XXS] = SIZE_ONLY("iq2_xxs", 16, 256, 66),
    [VISE_GGUF_IQ2_XS] = SIZE_ONLY("iq2_xs", 17, 256, 74),
    [VISE_GGUF_IQ3_XXS] = SIZE_ONLY("iq3_xxs", 18, 256, 98),
    [VISE_GGUF_IQ1_S] = SIZE_ONLY("iq1_s", 19, 256, 50),
    [VISE_GGUF_IQ4_NL] = BLOCK(iq4_nl, 20, 32, block_q4_0, offsetof(block_q4_0, d), -1),
    [VISE_GGUF_IQ3_S] = SIZE_ONLY("iq3_s", 21, 256, 110),
    [VISE_GGUF_IQ2_S] = SIZE_ONLY("iq2_s", 22, 256, 82),
    [VISE_GGUF_IQ4_XS] = BLOCK(iq4_xs, 23, 256, block_iq4_xs, offsetof(block_iq4_xs, d), -1),
    [VISE_GGUF_I8] = PLAIN("i8", 24, 1, VISE_DTYPE_I8),
    [VISE_GGUF_I16] = PLAIN("i16", 25, 2, VISE_DTYPE_I16),
    [VISE_GGUF_I32] = PLAIN("i32", 26, 4, VISE_DTYPE_I32),
    [VISE_GGUF_I64] = PLAIN("i64", 27, 8, VISE_DTYPE_I64),
    [VISE_GGUF_F64] = PLAIN("f64", 28, 8, VISE_DTYPE_F64),
    [VISE_GGUF_IQ1_M] = SIZE_ONLY("iq1_m", 29, 256, 56),
    [VISE_GGUF_BF16] = PLAIN("bf16", 30, 2, VISE_DTYPE_BF16),
    [VISE_GGUF_TQ1_0] = FIXED(tq1_0, 34, 256, block_tq1_0, offsetof(block_tq1_0, d)),
    [VISE_GGUF_TQ2_0] = FIXED(tq2_0, 35, 256, block_tq2_0, offsetof(block_tq2_0, d)),
    [VISE_GGUF_MXFP4] = FIXED(mxfp4, 39, 32, block_mxfp4, -1),
    [VISE_GGUF_NVFP4] = SIZE_ONLY("nvfp4", 40, 64, 36),
    [VISE_GGUF_Q1_0] = FIXED(q1_0, 41, 128, block_q1_0, offsetof(block_q1_0, d)),
    [VISE_GGUF_Q2_0] = SIZE_ONLY("q2_0", 42, 64, 18),
};

const vise_gguf_type *vise_gguf_type_of(uint32_t id)
{
    for (size_t i = 0; i < VISE_GGUF_TYPES; i++)
        if (vise_gguf_table[i].id == id)
            return &vise_gguf_table[i];
    return NULL;
}

const vise_gguf_type *vise_gguf_type_named(const char *name)
{
    for (size_t i = 0; i < VISE_GGUF_TYPES; i++)
        if (strcmp(vise_gguf_table[i].name, name) == 0)
            return &vise_gguf_table[i];
    return NULL;
}

const vise_gguf_type *vise_gguf_type_plain(vise_dtype dtype)
{
    for (size_t i = 0; i < VISE_GGUF_TYPES; i++)
        if (vise_gguf_table[i].dtype == dtype)
            return &vise_gguf_table[i];
    return NULL;
}

uint64_t vise_gguf_row_bytes(const vise_gguf_type *type, int64_t cols)
{
    uint64_t bytes;
    if (cols < 0 || cols % type->values != 0 ||
        __builtin_mul_overflow((uint64_t)(cols / type->values), (uint64_t)type->bytes, &bytes))
        return 0;
    return bytes;
}

void vise_gguf_encode(const vise_gguf_type *type, const float *values, const float *importance, int64_t rows,
                      int64_t cols, void *blocks)
{
    const uint64_t row_bytes = vise_gguf_row_bytes(type, cols);
    for (int64_t row = 0; row < rows; row++)
        type->encode_row(values + row * cols, importance, cols,
                         (uint8_t *)blocks + (uint64_t)row * row_bytes);
}

void vise_gguf_decode(const vise_gguf_type *type, const void *blocks, int64_t rows, int64_t cols,
                      float *values)
{
    const uint64_t row_bytes = vise_gguf_row_bytes(type, cols);
    for (int64_t row = 0; row < rows; row++)
        type->decode_row((const uint8_t *)blocks + (uint64_t)row * row_bytes, cols, values + row * cols);
}

static bool is_finite_half(const uint8_t *bytes)
{
    uint16_t half;
    memcpy(&half, bytes, sizeof half);
    return (half & 0x7c00u) != 0x7c00u;
}

size_t vise_gguf_first_bad(const vise_gguf_type *type, const void *blocks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *block = (const uint8_t *)blocks + i * (size_t)type->bytes;
        for (int k = 0; k < 2; k++)
            if (type->halves[k] >= 0 && !is_finite_half(block + type->halves[k]))
                return i;
    }
    return n;
}
