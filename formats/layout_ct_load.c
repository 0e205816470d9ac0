/* compressed-tensors: quantized weights read. The forms are described in layout_internal.h. */
#include <string.h>

#include "formats/layout_internal.h"
#include "formats/names.h"
#include "formats/safetensors.h"
#include "tensor/pack.h"

bool vise_ct_is_old(const vise_source *source, const vise_found *found)
{
    int bits = found->scheme.type->bits;
    const vise_tensor_info *packed = vise_source_tensor(source, found->parts[VISE_CT_PACKED]);
    bool dense = (uint64_t)packed->shape[1] == vise_ct_words((uint64_t)found->cols, bits, false);
    if (dense && found->parts[VISE_CT_ZERO] != SIZE_MAX && found->scheme.granularity != VISE_PER_TENSOR) {
        const vise_tensor_info *zero = vise_source_tensor(source, found->parts[VISE_CT_ZERO]);
        dense = (uint64_t)zero->shape[0] == vise_ct_words((uint64_t)found->rows, bits, false);
    }
    return !dense;
}

/* Code i of a stream in the old packing. */
static uint8_t old_code(const uint32_t *words, size_t i, int bits)
{
    size_t per_word = 32u / (unsigned)bits;
    return (uint8_t)(words[i / per_word] >> (i % per_word * (unsigned)bits) & ((1u << bits) - 1));
}

static vise_status load_packed(const vise_source *source, const vise_found *found, int64_t row0,
                               vise_qweight *q, vise_pool *pool, vise_error *err)
{
    int bits = found->scheme.type->bits;
    bool old = vise_ct_is_old(source, found);
    size_t cols = (size_t)q->cols, words = (size_t)vise_ct_words(cols, bits, old),
           bytes = (size_t)q->rows * words * 4;
    void *block;
    VISE_TRY(vise_pool_take(pool, bytes, "packed codes", &block, err));
    vise_status status = vise_source_read(source, found->parts[VISE_CT_PACKED], (uint64_t)row0 * words * 4,
                                          bytes, block, pool, err);
    for (size_t r = 0; status == VISE_OK && r < (size_t)q->rows; r++) {
        const uint32_t *row = (const uint32_t *)block + r * words;
        if (!old)
            vise_unpack(row, cols, bits, q->codes + r * cols);
        for (size_t c = 0; old && c < cols; c++)
            q->codes[r * cols + c] = old_code(row, c, bits);
    }
    vise_pool_give(pool, block);
    return status;
}

/* Zero points of rows [row0, row0 + q->rows) from bit streams down the columns. */
static vise_status load_zeros_packed(const vise_source *source, const vise_found *found, int64_t row0,
                                     vise_qweight *q, vise_pool *pool, vise_error *err)
{
    int bits = found->scheme.type->bits;
    bool old = vise_ct_is_old(source, found);
    size_t groups = (size_t)q->groups, row = (size_t)row0, rows = (size_t)q->rows;
    size_t first = old ? row / (32u / (unsigned)bits) : row * (unsigned)bits / 32;
    size_t last = (size_t)vise_ct_words(row + rows, bits, old), bytes = (last - first) * groups * 4;
    void *block;
    VISE_TRY(vise_pool_take(pool, bytes, "packed zero points", &block, err));
    vise_status status = vise_source_read(source, found->parts[VISE_CT_ZERO], (uint64_t)first * groups * 4,
                                          bytes, block, pool, err);
    const uint32_t *words = block;
    size_t per_word = 32u / (unsigned)bits;
    unsigned mask = (1u << bits) - 1;
    for (size_t r = row; status == VISE_OK && r < row + rows; r++) {
        size_t word = (old ? r / per_word : r * (unsigned)bits / 32) - first;
        unsigned shift = (unsigned)(old ? r % per_word * (unsigned)bits : r * (unsigned)bits % 32);
        for (size_t g = 0; g < groups; g++) {
            uint64_t pair = words[word * groups + g];
            if (shift + (unsigned)bits > 32)
                pair |= (uint64_t)words[(word + 1) * groups + g] << 32;
            q->zeros[(r - row) * groups + g] = (uint8_t)(pair >> shift & mask);
        }
    }
    vise_pool_give(pool, block);
    return status;
}

/* Signed values of n bytes into unsigned codes of the scheme's width, in place. */
static vise_status to_unsigned(const vise_source *source, size_t tensor, int bits, uint8_t *codes, size_t n,
                               vise_error *err)
{
    uint8_t offset = (uint8_t)(1u << (bits - 1)), beyond = 0;
    unsigned outside = bits == 8 ? 0 : 0xFFu << bits & 0xFF;
    for (size_t i = 0; i < n; i++) {
        codes[i] = (uint8_t)(codes[i] + offset);
        beyond |= (uint8_t)(codes[i] & outside);
    }
    if (!beyond)
        return VISE_OK;
    char show[VISE_ST_SHOW_MAX];
    return VISE_FAIL(
        err, VISE_EFORMAT, "%s: tensor \"%s\" holds values beyond %d bits, which its config says it has",
        vise_source_path(source), vise_st_show(vise_source_tensor(source, tensor)->name, show), bits);
}

static vise_status load_signed(const vise_source *source, size_t tensor, uint64_t offset, int bits,
                               uint8_t *codes, size_t n, vise_pool *pool, vise_error *err)
{
    VISE_TRY(vise_source_read(source, tensor, offset, n, codes, pool, err));
    return to_unsigned(source, tensor, bits, codes, n, err);
}

/* Scales as stored, first to first + n, to values. */
static vise_status load_scales(const vise_source *source, const vise_found *found, uint64_t first, size_t n,
                               float *scales, vise_pool *pool, vise_error *err)
{
    const vise_codebook *codebook = found->scheme.type->codebook;
    const vise_dtype dtype = vise_source_tensor(source, found->parts[VISE_CT_SCALE])->dtype;
    const size_t size = (size_t)vise_dtype_of(dtype)->bits / 8;
    void *block;
    VISE_TRY(vise_pool_take(pool, n * size, "scales", &block, err));
    vise_status status =
        vise_source_read(source, found->parts[VISE_CT_SCALE], first * size, n * size, block, pool, err);
    const uint8_t *bytes = block;
    if (status == VISE_OK && (codebook == &vise_codebook_mxfp4 || codebook == &vise_codebook_mxfp8)) {
        for (size_t i = 0; i < n; i++)
            scales[i] = vise_e8m0_value(bytes[i]);
    } else if (status == VISE_OK) {
        vise_to_f32(dtype, block, scales, n);
        for (size_t i = 0; codebook == &vise_codebook_nvfp4 && i < n; i++)
            scales[i] /= found->global;
    }
    vise_pool_give(pool, block);
    return status;
}

/* Two codes to a byte, the first in the low half. */
static vise_status load_fp4(const vise_source *source, const vise_found *found, int64_t row0, vise_qweight *q,
                            vise_pool *pool, vise_error *err)
{
    const size_t bytes = (size_t)(q->rows * q->cols) / 2;
    uint8_t *packed;
    VISE_TRY(vise_pool_take(pool, bytes, "packed codes", (void **)&packed, err));
    vise_status status = vise_source_read(source, found->parts[VISE_CT_WEIGHT], (uint64_t)(row0 * q->cols) / 2, bytes,
                                          packed, pool, err);
    for (size_t i = 0; status == VISE_OK && i < bytes; i++) {
        q->codes[2 * i] = packed[i] & 15;
        q->codes[2 * i + 1] = packed[i] >> 4;
    }
    vise_pool_give(pool, packed);
    return status;
}

vise_status vise_ct_load(const vise_source *source, const vise_found *found, int64_t row0, vise_qweight *q,
                         vise_pool *pool, vise_error *err)
{
    const vise_scheme *scheme = &found->scheme;
    const bool one = scheme->granularity == VISE_PER_TENSOR;
    const vise_dtype stored = vise_source_tensor(source, found->parts[VISE_CT_WEIGHT])->dtype;
    const size_t codes = (size_t)(q->rows * q->cols), n = one ? 1 : (size_t)(q->rows * q->groups);
    const uint64_t first = one ? 0 : (uint64_t)(row0 * q->groups), at = (uint64_t)(row0 * q->cols);
    VISE_TRY(vise_check_tile(found->module, found->rows, found->cols, row0, q, err));
    q->global = found->global;
    q->input_scale = found->input_scale;
    q->group_of = found->group_of;
    if (stored == VISE_DTYPE_I8)
        VISE_TRY(load_signed(source, found->parts[VISE_CT_WEIGHT], at, scheme->type->bits, q->codes, codes, pool, err));
    else if (stored == VISE_DTYPE_F8_E4M3)
        VISE_TRY(vise_source_read(source, found->parts[VISE_CT_WEIGHT], at, codes, q->codes, pool, err));
    else if (stored == VISE_DTYPE_U8)
        VISE_TRY(load_fp4(source, found, row0, q, pool, err));
    else
        VISE_TRY(load_packed(source, found, row0, q, pool, err));
    if (scheme->granularity == VISE_PER_BLOCK)
        return vise_block_scales_load(source, found->parts[VISE_CT_SCALE], row0, q, pool, err);
    VISE_TRY(load_scales(source, found, first, n, q->scales, pool, err));
    if (!scheme->asym)
        return VISE_OK;
    const bool as_int = stored == VISE_DTYPE_I8;
    size_t zero = found->parts[as_int ? VISE_CT_INT_ZERO : VISE_CT_ZERO];
    return as_int || one ? load_signed(source, zero, first, scheme->type->bits, q->zeros, n, pool, err)
                         : load_zeros_packed(source, found, row0, q, pool, err);
}
