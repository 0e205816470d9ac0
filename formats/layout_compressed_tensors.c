/* compressed-tensors: how weights become stored tensors. The forms are described in layout_internal.h. */
#include <string.h>

#include "formats/layout_internal.h"
#include "formats/names.h"
#include "tensor/pack.h"

vise_ct_form vise_ct_form_of(const vise_scheme *scheme)
{
    const vise_activation_type *activation = vise_activation_type_find(scheme->activation);
    if (scheme->type->codebook)
        return scheme->type->bits == 4 ? VISE_CT_FLOAT4 : VISE_CT_FLOAT8;
    return activation && !activation->codebook ? VISE_CT_INTEGERS : VISE_CT_PACKED_INTEGERS;
}

uint64_t vise_ct_words(uint64_t n, int bits, bool old)
{
    uint64_t per_word = 32u / (unsigned)bits;
    return old ? n / per_word + (n % per_word != 0)
               : n / 32 * (unsigned)bits + (n % 32 * (unsigned)bits + 31) / 32;
}

/* ---- spelling --------------------------------------------------------------------------------- */

static bool is_held(const vise_scheme *scheme)
{
    const vise_codebook *const held[] = {NULL, &vise_codebook_fp8_e4m3, &vise_codebook_mxfp8, &vise_codebook_mxfp4,
                                         &vise_codebook_nvfp4};
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        if (scheme->type->codebook == held[i])
            return scheme->type->blocks == NULL;
    return false;
}

static vise_status check_scheme(const vise_spelling *weight, vise_error *err)
{
    char text[VISE_SCHEME_TEXT_MAX];
    const vise_scheme *scheme = &weight->scheme;
    if (!is_held(scheme))
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: layout compressed-tensors holds int2 to int8, fp8-e4m3, mxfp8, mxfp4 and nvfp4, not %s",
                         weight->module, vise_scheme_text(scheme, text));
    const vise_dtype_traits *dtype = vise_dtype_of(vise_scales_dtype(weight));
    if (!dtype->is_float || dtype->bits < 16)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: layout compressed-tensors has no scales of dtype %s",
                         weight->module, dtype->name);
    if (weight->group_of)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: its groups are no runs of columns (act-order), which layout compressed-tensors is not "
                         "written with",
                         weight->module);
    return vise_check_groups(weight, err);
}

static vise_part scale_part(const vise_spelling *weight)
{
    const vise_scheme *scheme = &weight->scheme;
    const vise_codebook *codebook = scheme->type->codebook;
    vise_part scale = {.suffix = ".weight_scale",
                       .dtype = vise_scales_dtype(weight),
                       .ndim = 2,
                       .shape = {weight->rows, vise_scheme_groups(scheme, weight->cols)}};
    if (scheme->granularity == VISE_PER_TENSOR) {
        scale.ndim = 1;
        scale.shape[0] = 1;
    } else if (scheme->granularity == VISE_PER_BLOCK) {
        scale.shape[0] = weight->rows / scheme->group_rows + (weight->rows % scheme->group_rows != 0);
    }
    if (codebook && codebook->scale_bits)
        scale.dtype = codebook == &vise_codebook_nvfp4 ? VISE_DTYPE_F8_E4M3 : VISE_DTYPE_U8;
    return scale;
}

static const char *weight_suffix(vise_ct_form form)
{
    return form == VISE_CT_PACKED_INTEGERS || form == VISE_CT_FLOAT4 ? ".weight_packed" : ".weight";
}

/* The scale of the inputs is the last part. */
static vise_part input_part(const vise_spelling *weight)
{
    const bool global = weight->scheme.type->codebook == &vise_codebook_nvfp4;
    return (vise_part){.suffix = global ? ".input_global_scale" : ".input_scale",
                       .dtype = global ? VISE_DTYPE_F32 : vise_scales_dtype(weight),
                       .ndim = 1,
                       .shape = {1}};
}

static vise_status ct_spell(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX], int *n_parts,
                            vise_error *err)
{
    if (!weight->scheme.type)
        return vise_plain_spell(weight, parts, n_parts, err);
    VISE_TRY(check_scheme(weight, err));
    const vise_scheme *scheme = &weight->scheme;
    const vise_ct_form form = vise_ct_form_of(scheme);
    const int bits = scheme->type->bits;
    const int64_t rows = weight->rows, cols = weight->cols;
    const vise_part scale = scale_part(weight);
    vise_part zero = scale,
              codes = {.suffix = weight_suffix(form), .dtype = VISE_DTYPE_I8, .ndim = 2, .shape = {rows, cols}};
    int n = 0;
    zero.suffix = ".weight_zero_point";
    zero.dtype = VISE_DTYPE_I8;
    if (form == VISE_CT_PACKED_INTEGERS) {
        codes.dtype = VISE_DTYPE_I32;
        codes.shape[1] = (int64_t)vise_ct_words((uint64_t)cols, bits, false);
    } else if (form == VISE_CT_FLOAT8) {
        codes.dtype = VISE_DTYPE_F8_E4M3;
    } else if (form == VISE_CT_FLOAT4) {
        codes.dtype = VISE_DTYPE_U8;
        codes.shape[1] = cols / 2;
    }
    parts[n++] = codes;
    parts[n++] = scale;
    if (form == VISE_CT_PACKED_INTEGERS) {
        parts[n++] = (vise_part){.suffix = ".weight_shape", .dtype = VISE_DTYPE_I64, .ndim = 1, .shape = {2}};
        if (zero.ndim == 2) {
            zero.dtype = VISE_DTYPE_I32;
            zero.shape[0] = (int64_t)vise_ct_words((uint64_t)rows, bits, false);
        }
    }
    if (scheme->type->codebook == &vise_codebook_nvfp4)
        parts[n++] =
            (vise_part){.suffix = ".weight_global_scale", .dtype = VISE_DTYPE_F32, .ndim = 1, .shape = {1}};
    if (scheme->asym)
        parts[n++] = zero;
    if (vise_scheme_needs_calibration(scheme))
        parts[n++] = input_part(weight);
    for (int i = 0; i < n; i++)
        VISE_TRY(vise_part_finish(weight->module, &parts[i], err));
    *n_parts = n;
    return VISE_OK;
}

/* ---- storing ---------------------------------------------------------------------------------- */

/* The largest of what is made before it is written: codes, scales, zero points. */
static size_t ct_store_scratch(const vise_spelling *weight, int64_t rows)
{
    const vise_scheme *scheme = &weight->scheme;
    if (!scheme->type)
        return 0;
    size_t n = (size_t)rows, cols = (size_t)weight->cols,
           groups = (size_t)vise_scheme_groups(scheme, weight->cols);
    const bool packed = vise_ct_form_of(scheme) == VISE_CT_PACKED_INTEGERS;
    size_t codes = packed ? n * vise_pack_words(cols, scheme->type->bits) * 4 : n * cols;
    size_t grid = n * groups * 8 + 64; /* scales of at most 8 bytes; zero points: a column and words */
    return (codes > grid ? codes : grid) + n;
}

/* n scales as they are stored; their size in bytes. */
static size_t encode_scales(const vise_spelling *weight, const vise_qweight *q, const float *scales, size_t n,
                            uint8_t *bytes)
{
    const vise_codebook *codebook = q->scheme.type->codebook;
    if (!codebook || !codebook->scale_bits) {
        vise_from_f32(vise_scales_dtype(weight), scales, bytes, n);
        return (size_t)vise_dtype_of(vise_scales_dtype(weight))->bits / 8;
    }
    for (size_t i = 0; i < n; i++)
        bytes[i] = codebook == &vise_codebook_nvfp4 ? vise_nvfp4_scale_code(scales[i], q->global)
                                                    : vise_e8m0_code(scales[i]);
    return 1;
}

static vise_status store_scales(const vise_spelling *weight, int64_t row0, const vise_qweight *q,
                                uint8_t *scratch, const vise_part_writer *writer, vise_error *err)
{
    const size_t groups = (size_t)q->groups;
    if (q->scheme.granularity == VISE_PER_BLOCK)
        return vise_block_scales_store(vise_scales_dtype(weight), VISE_CT_SCALE, row0, q, scratch, writer, err);
    const bool one = q->scheme.granularity == VISE_PER_TENSOR;
    const size_t n = one ? 1 : (size_t)q->rows * groups, size = encode_scales(weight, q, q->scales, n, scratch);
    if (one && row0 > 0)
        return VISE_OK;
    return writer->write(writer->context, VISE_CT_SCALE, (uint64_t)row0 * groups * size, scratch, n * size, err);
}

/* What is stored once for the whole weight beside shape and scales. */
static vise_status store_factors(const vise_spelling *weight, const vise_qweight *q,
                                 const vise_part_writer *writer, vise_error *err)
{
    const bool nvfp4 = q->scheme.type->codebook == &vise_codebook_nvfp4;
    if (nvfp4)
        VISE_TRY(writer->write(writer->context, VISE_CT_GLOBAL, 0, &q->global, sizeof q->global, err));
    if (!vise_scheme_needs_calibration(&q->scheme))
        return VISE_OK;
    vise_part parts[VISE_PARTS_MAX];
    int n;
    uint8_t bytes[8];
    VISE_TRY(ct_spell(weight, parts, &n, err));
    if (!(q->input_scale > 0.0f))
        return VISE_FAIL(err, VISE_EINTERNAL, "%s: nothing has calibrated its inputs", weight->module);
    vise_from_f32(parts[n - 1].dtype, &q->input_scale, bytes, 1);
    return writer->write(writer->context, n - 1, 0, bytes, (size_t)parts[n - 1].bytes, err);
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
    const size_t n = (size_t)(q->rows * q->cols);
    const uint8_t half = (uint8_t)(1u << (q->scheme.type->bits - 1));
    for (size_t i = 0; i < n; i++)
        scratch[i] = (uint8_t)(q->codes[i] - half);
    VISE_TRY(writer->write(writer->context, VISE_CT_WEIGHT, (uint64_t)(row0 * q->cols), scratch, n, err));
    return q->scheme.asym ? store_zeros_plain(VISE_CT_INT_ZERO, row0, q, scratch, writer, err) : VISE_OK;
}

/* Two codes to a byte, the first in the low half. Groups are of even size, so rows are. */
static vise_status store_fp4(int64_t row0, const vise_qweight *q, uint8_t *scratch,
                             const vise_part_writer *writer, vise_error *err)
{
    const size_t bytes = (size_t)(q->rows * q->cols) / 2;
    for (size_t i = 0; i < bytes; i++)
        scratch[i] = (uint8_t)(q->codes[2 * i] | q->codes[2 * i + 1] << 4);
    return writer->write(writer->context, VISE_CT_WEIGHT, (uint64_t)(row0 * q->cols) / 2, scratch, bytes, err);
}

static vise_status ct_store(const vise_spelling *weight, int64_t row0, const vise_qweight *q, void *scratch,
                            const vise_part_writer *writer, vise_error *err)
{
    VISE_TRY(vise_check_tile(weight->module, weight->rows, weight->cols, row0, q, err));
    switch (vise_ct_form_of(&weight->scheme)) {
    case VISE_CT_PACKED_INTEGERS:
        VISE_TRY(store_packed(weight, row0, q, scratch, writer, err));
        break;
    case VISE_CT_INTEGERS:
        VISE_TRY(store_int(row0, q, scratch, writer, err));
        break;
    case VISE_CT_FLOAT8:
        VISE_TRY(writer->write(writer->context, VISE_CT_WEIGHT, (uint64_t)(row0 * q->cols), q->codes,
                               (size_t)(q->rows * q->cols), err));
        break;
    case VISE_CT_FLOAT4:
        VISE_TRY(store_fp4(row0, q, scratch, writer, err));
        break;
    }
    if (row0 == 0)
        VISE_TRY(store_factors(weight, q, writer, err));
    return store_scales(weight, row0, q, scratch, writer, err);
}

const vise_layout vise_layout_ct = {
    .name = "compressed-tensors",
    .summary = "integers as llm-compressor writes them; loaded by transformers, vLLM, SGLang",
    .scale_dtype = VISE_DTYPE_COUNT,
    .holds_cache = true,
    .spell = ct_spell,
    .store_scratch = ct_store_scratch,
    .store = ct_store,
    .config = vise_ct_config,
    .recognise = vise_ct_recognise,
    .find = vise_ct_find,
    .load = vise_ct_load,
};
