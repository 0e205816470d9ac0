/* compressed-tensors: how weights become stored tensors and back. The forms are described in
 * layout_internal.h. */
#include <string.h>

#include "formats/layout_internal.h"
#include "formats/names.h"
#include "formats/safetensors.h"
#include "tensor/pack.h"

/* Weights with quantized activations are stored as I8. */
static bool is_int(const vise_scheme *scheme)
{
    return scheme->activation != NULL;
}

uint64_t vise_ct_words(uint64_t n, int bits, bool old)
{
    uint64_t per_word = 32u / (unsigned)bits;
    return old ? n / per_word + (n % per_word != 0)
               : n / 32 * (unsigned)bits + (n % 32 * (unsigned)bits + 31) / 32;
}

/* ---- spelling --------------------------------------------------------------------------------- */

static vise_status check_scheme(const vise_spelling *weight, vise_error *err)
{
    char text[VISE_SCHEME_TEXT_MAX];
    const vise_scheme *scheme = &weight->scheme;
    vise_scheme_text(scheme, text);
    if (!vise_starts_with(scheme->type->name, "int"))
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: layout compressed-tensors holds int2 to int8 here, not %s", weight->module,
                         text);
    if (scheme->activation && strcmp(scheme->activation, "int8-token") != 0)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: layout compressed-tensors holds activations int8-token here, not %s",
                         weight->module, text);
    if (scheme->activation && scheme->type->bits != 8)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s: layout compressed-tensors holds activations int8-token with int8 weights only, not %s",
            weight->module, text);
    const vise_dtype_traits *dtype = vise_dtype_of(weight->dtype);
    if (!dtype->is_float || dtype->bits < 16)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: layout compressed-tensors has no scales of dtype %s",
                         weight->module, dtype->name);
    if (weight->group_of)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: its groups are no runs of columns (act-order), which layout compressed-tensors is not "
                         "written with; use layout gptq or gptq-v2",
                         weight->module);
    return vise_check_groups(weight, err);
}

vise_status vise_ct_spell(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX], int *n_parts,
                          vise_error *err)
{
    if (!weight->scheme.type)
        return vise_plain_spell(weight, parts, n_parts, err);
    VISE_TRY(check_scheme(weight, err));
    const vise_scheme *scheme = &weight->scheme;
    int bits = scheme->type->bits;
    int64_t rows = weight->rows, cols = weight->cols, groups = vise_scheme_groups(scheme, cols);

    vise_part scale = {.suffix = ".weight_scale", .dtype = weight->dtype, .ndim = 2, .shape = {rows, groups}};
    if (scheme->granularity == VISE_PER_TENSOR) {
        scale.ndim = 1;
        scale.shape[0] = 1;
    }
    vise_part zero = scale;
    zero.suffix = ".weight_zero_point";
    zero.dtype = VISE_DTYPE_I8;

    int n = 0;
    if (is_int(scheme)) {
        parts[n++] =
            (vise_part){.suffix = ".weight", .dtype = VISE_DTYPE_I8, .ndim = 2, .shape = {rows, cols}};
        parts[n++] = scale;
    } else {
        parts[n++] = (vise_part){.suffix = ".weight_packed",
                                 .dtype = VISE_DTYPE_I32,
                                 .ndim = 2,
                                 .shape = {rows, (int64_t)vise_ct_words((uint64_t)cols, bits, false)}};
        parts[n++] = scale;
        parts[n++] = (vise_part){.suffix = ".weight_shape", .dtype = VISE_DTYPE_I64, .ndim = 1, .shape = {2}};
        if (zero.ndim == 2) {
            zero.dtype = VISE_DTYPE_I32;
            zero.shape[0] = (int64_t)vise_ct_words((uint64_t)rows, bits, false);
        }
    }
    if (scheme->asym)
        parts[n++] = zero;
    for (int i = 0; i < n; i++)
        VISE_TRY(vise_part_finish(weight->module, &parts[i], err));
    *n_parts = n;
    return VISE_OK;
}

/* ---- storing ---------------------------------------------------------------------------------- */

/* The largest of what is made before it is written: codes, scales, zero points. */
size_t vise_ct_store_scratch(const vise_spelling *weight, int64_t rows)
{
    const vise_scheme *scheme = &weight->scheme;
    if (!scheme->type)
        return 0;
    size_t n = (size_t)rows, cols = (size_t)weight->cols,
           groups = (size_t)vise_scheme_groups(scheme, weight->cols);
    size_t codes = is_int(scheme) ? n * cols : n * vise_pack_words(cols, scheme->type->bits) * 4;
    size_t grid = n * groups * 8 + 64; /* scales of at most 8 bytes; zero points: a column and words */
    return (codes > grid ? codes : grid) + n;
}

static vise_status store_scales(const vise_spelling *weight, int64_t row0, const vise_qweight *q,
                                void *scratch, const vise_part_writer *writer, vise_error *err)
{
    bool one = weight->scheme.granularity == VISE_PER_TENSOR;
    if (one && row0 > 0)
        return VISE_OK;
    size_t n = one ? 1 : (size_t)(q->rows * q->groups);
    size_t size = (size_t)vise_dtype_of(weight->dtype)->bits / 8;
    vise_from_f32(weight->dtype, q->scales, scratch, n);
    return writer->write(writer->context, VISE_CT_SCALE, (uint64_t)row0 * (uint64_t)q->groups * size, scratch,
                         n * size, err);
}

/* Zero points as I8: z - 2^(bits-1). */
static vise_status store_zeros_plain(int part, int64_t row0, const vise_qweight *q, uint8_t *scratch,
                                     const vise_part_writer *writer, vise_error *err)
{
    bool one = q->scheme.granularity == VISE_PER_TENSOR;
    if (one && row0 > 0)
        return VISE_OK;
    size_t n = one ? 1 : (size_t)(q->rows * q->groups);
    for (size_t i = 0; i < n; i++)
        scratch[i] = (uint8_t)(q->zeros[i] - (1u << (q->scheme.type->bits - 1)));
    return writer->write(writer->context, part, (uint64_t)row0 * (uint64_t)q->groups, scratch, n, err);
}

/* Zero points as bit streams down the columns. A tile begins at a multiple of 32 rows, which is a whole word.
 */
static vise_status store_zeros_packed(int64_t row0, const vise_qweight *q, uint8_t *scratch,
                                      const vise_part_writer *writer, vise_error *err)
{
    int bits = q->scheme.type->bits;
    size_t rows = (size_t)q->rows, groups = (size_t)q->groups, words = vise_pack_words(rows, bits);
    uint32_t *out = (uint32_t *)scratch, stream[VISE_TILE_ROWS * 8 / 32];
    uint8_t *column = scratch + words * groups * 4;
    for (size_t g = 0; g < groups; g++) {
        for (size_t r = 0; r < rows; r++)
            column[r] = q->zeros[r * groups + g];
        for (size_t r = 0; r < rows; r += VISE_TILE_ROWS) {
            size_t n = rows - r < VISE_TILE_ROWS ? rows - r : VISE_TILE_ROWS;
            size_t first = r / 32 * (size_t)bits, count = vise_pack_words(n, bits);
            vise_pack(column + r, n, bits, stream);
            for (size_t w = 0; w < count; w++)
                out[(first + w) * groups + g] = stream[w];
        }
    }
    uint64_t word0 = (uint64_t)row0 / 32 * (unsigned)bits;
    return writer->write(writer->context, VISE_CT_ZERO, word0 * groups * 4, out, words * groups * 4, err);
}

static vise_status store_packed(const vise_spelling *weight, int64_t row0, const vise_qweight *q,
                                uint8_t *scratch, const vise_part_writer *writer, vise_error *err)
{
    int bits = q->scheme.type->bits;
    size_t words = vise_pack_words((size_t)q->cols, bits);
    for (int64_t r = 0; r < q->rows; r++)
        vise_pack(q->codes + r * q->cols, (size_t)q->cols, bits, (uint32_t *)scratch + (size_t)r * words);
    VISE_TRY(writer->write(writer->context, VISE_CT_PACKED, (uint64_t)row0 * words * 4, scratch,
                           (size_t)q->rows * words * 4, err));
    if (row0 == 0) {
        int64_t shape[2] = {weight->rows, weight->cols};
        VISE_TRY(writer->write(writer->context, VISE_CT_SHAPE, 0, shape, sizeof shape, err));
    }
    if (!q->scheme.asym)
        return VISE_OK;
    return q->scheme.granularity == VISE_PER_TENSOR
               ? store_zeros_plain(VISE_CT_ZERO, row0, q, scratch, writer, err)
               : store_zeros_packed(row0, q, scratch, writer, err);
}

static vise_status store_int(int64_t row0, const vise_qweight *q, uint8_t *scratch,
                             const vise_part_writer *writer, vise_error *err)
{
    size_t n = (size_t)(q->rows * q->cols);
    for (size_t i = 0; i < n; i++)
        scratch[i] = q->codes[i] ^ 0x80; /* u - 128 */
    VISE_TRY(writer->write(writer->context, VISE_CT_WEIGHT, (uint64_t)(row0 * q->cols), scratch, n, err));
    return q->scheme.asym ? store_zeros_plain(VISE_CT_INT_ZERO, row0, q, scratch, writer, err) : VISE_OK;
}

vise_status vise_ct_store(const vise_spelling *weight, int64_t row0, const vise_qweight *q, void *scratch,
                          const vise_part_writer *writer, vise_error *err)
{
    VISE_TRY(vise_check_tile(weight->module, weight->rows, weight->cols, row0, q, err));
    VISE_TRY(is_int(&weight->scheme) ? store_int(row0, q, scratch, writer, err)
                                     : store_packed(weight, row0, q, scratch, writer, err));
    return store_scales(weight, row0, q, scratch, writer, err);
}

/* ---- loading ---------------------------------------------------------------------------------- */

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

static vise_status load_scales(const vise_source *source, const vise_found *found, uint64_t first, size_t n,
                               vise_qweight *q, vise_pool *pool, vise_error *err)
{
    size_t tensor = found->parts[VISE_CT_SCALE], size = (size_t)vise_dtype_of(found->dtype)->bits / 8;
    void *block;
    VISE_TRY(vise_pool_take(pool, n * size, "scales", &block, err));
    vise_status status = vise_source_read(source, tensor, first * size, n * size, block, pool, err);
    if (status == VISE_OK)
        vise_to_f32(found->dtype, block, q->scales, n);
    vise_pool_give(pool, block);
    return status;
}

vise_status vise_ct_load(const vise_source *source, const vise_found *found, int64_t row0, vise_qweight *q,
                         vise_pool *pool, vise_error *err)
{
    const vise_scheme *scheme = &found->scheme;
    bool one = scheme->granularity == VISE_PER_TENSOR;
    bool as_int = vise_source_tensor(source, found->parts[VISE_CT_WEIGHT])->dtype == VISE_DTYPE_I8;
    VISE_TRY(vise_check_tile(found->module, found->rows, found->cols, row0, q, err));
    uint64_t first = one ? 0 : (uint64_t)(row0 * q->groups);
    size_t n = one ? 1 : (size_t)(q->rows * q->groups);
    VISE_TRY(as_int ? load_signed(source, found->parts[VISE_CT_WEIGHT], (uint64_t)(row0 * q->cols),
                                  scheme->type->bits, q->codes, (size_t)(q->rows * q->cols), pool, err)
                    : load_packed(source, found, row0, q, pool, err));
    VISE_TRY(load_scales(source, found, first, n, q, pool, err));
    if (!scheme->asym)
        return VISE_OK;
    size_t zero = found->parts[as_int ? VISE_CT_INT_ZERO : VISE_CT_ZERO];
    return as_int || one ? load_signed(source, zero, first, scheme->type->bits, q->zeros, n, pool, err)
                         : load_zeros_packed(source, found, row0, q, pool, err);
}
