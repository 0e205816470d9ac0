/* gptq and gptq-v2: how weights become stored tensors and back. The form is described in layout_internal.h. */
#include <inttypes.h>
#include <string.h>

#include "formats/layout_internal.h"
#include "formats/names.h"
#include "formats/safetensors.h"
#include "tensor/pack.h"

/* ---- spelling ------------------------------------------------------------------------------------------ */

static vise_status check_scheme(const vise_spelling *weight, vise_error *err)
{
    char text[VISE_SCHEME_TEXT_MAX];
    const vise_scheme *scheme = &weight->scheme;
    const int bits = scheme->type->bits;
    vise_scheme_text(scheme, text);
    if (!vise_starts_with(scheme->type->name, "int") || scheme->activation ||
        (bits != 2 && bits != 3 && bits != 4 && bits != 8) || scheme->granularity == VISE_PER_TENSOR)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s: layouts gptq and gptq-v2 hold int2, int3, int4 and int8 per channel or group, weights "
            "alone, not %s",
            weight->module, text);
    if (!weight->is_linear)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: is no linear; loaders of layout gptq know quantized linears only", weight->module);
    VISE_TRY(vise_check_groups(weight, err));
    if (weight->rows * bits % 32 != 0 || weight->cols * bits % 32 != 0)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s: [%" PRId64 ", %" PRId64 "]: layout gptq packs %d-bit codes and zero points into whole "
            "32-bit words, so both must be multiples of %d",
            weight->module, weight->rows, weight->cols, bits, bits == 3 ? 32 : 32 / bits);
    return VISE_OK;
}

static vise_status gptq_spell(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX], int *n_parts,
                              vise_error *err)
{
    if (!weight->scheme.type)
        return vise_plain_spell(weight, parts, n_parts, err);
    VISE_TRY(check_scheme(weight, err));
    const int64_t bits = weight->scheme.type->bits, rows = weight->rows, cols = weight->cols,
                  groups = vise_scheme_groups(&weight->scheme, cols);
    parts[VISE_GPTQ_WEIGHT] = (vise_part){
        .suffix = ".qweight", .dtype = VISE_DTYPE_I32, .ndim = 2, .shape = {cols * bits / 32, rows}};
    parts[VISE_GPTQ_ZERO] = (vise_part){
        .suffix = ".qzeros", .dtype = VISE_DTYPE_I32, .ndim = 2, .shape = {groups, rows * bits / 32}};
    parts[VISE_GPTQ_SCALE] =
        (vise_part){.suffix = ".scales", .dtype = VISE_DTYPE_F16, .ndim = 2, .shape = {groups, rows}};
    parts[VISE_GPTQ_G_IDX] =
        (vise_part){.suffix = ".g_idx", .dtype = VISE_DTYPE_I32, .ndim = 1, .shape = {cols}};
    *n_parts = 4;
    for (int i = 0; i < *n_parts; i++)
        VISE_TRY(vise_part_finish(weight->module, &parts[i], err));
    return VISE_OK;
}

/* ---- storing ------------------------------------------------------------------------------------------- */

/* Parts of the scratch of a tile; one after the other. */
typedef struct scratch_parts {
    size_t words, zeros, row, stream,
        total; /* transposed words; [rows, groups] zero points; a row's codes, its words */
} scratch_parts;

static scratch_parts scratch_of(const vise_spelling *weight, int64_t rows)
{
    size_t n = (size_t)rows, cols = (size_t)weight->cols,
           groups = (size_t)vise_scheme_groups(&weight->scheme, weight->cols);
    size_t row_words = vise_pack_words(cols, weight->scheme.type->bits);
    size_t words = n * row_words * 4,
           grid = n * groups * 2 + groups * 32 * 4; /* float16 scales, words of zero points */
    scratch_parts p = {.zeros = ((words > grid ? words : grid) + cols * 4 + 63) / 64 * 64};
    p.stream = (p.zeros + n * groups + 63) / 64 * 64;
    p.row = p.stream + row_words * 4;
    p.total = p.row + (cols > n ? cols : n);
    return p;
}

static size_t gptq_store_scratch(const vise_spelling *weight, int64_t rows)
{
    return weight->scheme.type ? scratch_of(weight, rows).total : 0;
}

static int64_t group_at(const vise_qweight *q, int64_t col)
{
    return q->group_of ? q->group_of[col] : col / (q->cols / q->groups);
}

/* Version 1 stores z - 1, which is nothing for z = 0: codes and zero point of such a group go up by one, which means
 * the same, where the codes leave room. */
static vise_status raise_zeros(const vise_spelling *weight, const vise_qweight *q, int64_t r, uint8_t *zeros,
                               uint8_t *codes, vise_error *err)
{
    const uint8_t max_code = (uint8_t)((1u << q->scheme.type->bits) - 1);
    for (int64_t c = 0; c < q->cols; c++) {
        int64_t g = group_at(q, c);
        if (q->zeros[r * q->groups + g] > 0)
            continue;
        if (codes[c] == max_code)
            return VISE_FAIL(
                err, VISE_EUNSUPPORTED,
                "%s: the zero point of a group is 0, which layout gptq (version 1) cannot store; use layout "
                "gptq-v2, awq (4 bits) or compressed-tensors",
                weight->module);
        codes[c]++;
        zeros[g] = 1;
    }
    return VISE_OK;
}

static vise_status store_codes(const vise_spelling *weight, bool v1, int64_t row0, const vise_qweight *q,
                               uint8_t *scratch, const vise_part_writer *writer, vise_error *err)
{
    const int bits = q->scheme.type->bits;
    const size_t rows = (size_t)q->rows, cols = (size_t)q->cols, groups = (size_t)q->groups,
                 row_words = vise_pack_words(cols, bits);
    scratch_parts p = scratch_of(weight, q->rows);
    uint32_t *words = (uint32_t *)(void *)scratch, *stream = (uint32_t *)(void *)(scratch + p.stream);
    uint8_t *zeros = scratch + p.zeros, *row = scratch + p.row;
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *codes = q->codes + r * cols;
        if (q->zeros) {
            memcpy(zeros + r * groups, q->zeros + r * groups, groups);
            if (v1 && memchr(zeros + r * groups, 0, groups)) {
                memcpy(row, codes, cols);
                VISE_TRY(raise_zeros(weight, q, (int64_t)r, zeros + r * groups, row, err));
                codes = row;
            }
        }
        vise_pack(codes, cols, bits, stream);
        for (size_t w = 0; w < row_words; w++)
            words[w * rows + r] = stream[w];
    }
    if (!q->zeros)
        memset(zeros, 1 << (bits - 1), rows * groups);
    vise_columns at = {.rows = row_words,
                       .row_bytes = rows * 4,
                       .stride = (uint64_t)weight->rows * 4,
                       .offset = (uint64_t)row0 * 4};
    return vise_columns_write(writer, VISE_GPTQ_WEIGHT, &at, words, err);
}

/* The zero points that store_codes left in scratch. A tile begins at a multiple of 32 rows, which is a whole word. */
static vise_status store_zeros(const vise_spelling *weight, bool v1, int64_t row0, const vise_qweight *q,
                               uint8_t *scratch, const vise_part_writer *writer, vise_error *err)
{
    const int bits = q->scheme.type->bits;
    const size_t rows = (size_t)q->rows, groups = (size_t)q->groups, words = vise_pack_words(rows, bits);
    scratch_parts p = scratch_of(weight, q->rows);
    uint8_t *zeros = scratch + p.zeros, *column = scratch + p.row;
    uint32_t *out = (uint32_t *)(void *)scratch;
    for (size_t g = 0; g < groups; g++) {
        for (size_t r = 0; r < rows; r++)
            column[r] = (uint8_t)(zeros[r * groups + g] - v1);
        vise_pack(column, rows, bits, out + g * words);
    }
    vise_columns at = {.rows = groups,
                       .row_bytes = words * 4,
                       .stride = (uint64_t)weight->rows * (unsigned)bits / 8,
                       .offset = (uint64_t)row0 * (unsigned)bits / 8};
    return vise_columns_write(writer, VISE_GPTQ_ZERO, &at, out, err);
}

static vise_status store_g_idx(const vise_qweight *q, void *scratch, const vise_part_writer *writer,
                               vise_error *err)
{
    int32_t *index = scratch;
    for (int64_t c = 0; c < q->cols; c++)
        index[c] = (int32_t)group_at(q, c);
    return writer->write(writer->context, VISE_GPTQ_G_IDX, 0, index, (size_t)q->cols * 4, err);
}

static vise_status store(const vise_spelling *weight, bool v1, int64_t row0, const vise_qweight *q,
                         void *scratch, const vise_part_writer *writer, vise_error *err)
{
    VISE_TRY(vise_check_tile(weight->module, weight->rows, weight->cols, row0, q, err));
    VISE_TRY(store_codes(weight, v1, row0, q, scratch, writer, err));
    VISE_TRY(store_zeros(weight, v1, row0, q, scratch, writer, err));
    VISE_TRY(vise_scales_store_f16(weight, VISE_GPTQ_SCALE, row0, q, scratch, writer, err));
    return row0 == 0 ? store_g_idx(q, scratch, writer, err) : VISE_OK;
}

static vise_status gptq_v1_store(const vise_spelling *weight, int64_t row0, const vise_qweight *q,
                                 void *scratch, const vise_part_writer *writer, vise_error *err)
{
    return store(weight, true, row0, q, scratch, writer, err);
}

static vise_status gptq_v2_store(const vise_spelling *weight, int64_t row0, const vise_qweight *q,
                                 void *scratch, const vise_part_writer *writer, vise_error *err)
{
    return store(weight, false, row0, q, scratch, writer, err);
}

/* ---- loading ------------------------------------------------------------------------------------------- */

static vise_status load_codes(const vise_source *source, const vise_found *found, int64_t row0, vise_qweight *q,
                              vise_pool *pool, vise_error *err)
{
    const int bits = found->scheme.type->bits;
    const size_t rows = (size_t)q->rows, cols = (size_t)q->cols, row_words = vise_pack_words(cols, bits);
    uint32_t *words;
    VISE_TRY(vise_pool_take(pool, (rows + 1) * row_words * 4, "packed codes", (void **)&words, err));
    uint32_t *stream = words + rows * row_words;
    vise_columns at = {.rows = row_words,
                       .row_bytes = rows * 4,
                       .stride = (uint64_t)found->rows * 4,
                       .offset = (uint64_t)row0 * 4};
    vise_status status = vise_columns_read(source, found->parts[VISE_GPTQ_WEIGHT], &at, words, pool, err);
    for (size_t r = 0; status == VISE_OK && r < rows; r++) {
        for (size_t w = 0; w < row_words; w++)
            stream[w] = words[w * rows + r];
        vise_unpack(stream, cols, bits, q->codes + r * cols);
    }
    vise_pool_give(pool, words);
    return status;
}

/* Version 1: z of stored z - 1, as GPTQModel undoes it: whole words are added to, which takes back the borrow of a
 * field that was 0; fields of three bits, which straddle words, one by one. */
static void raise_stored(uint32_t *words, size_t n, int bits)
{
    const uint32_t ones = bits == 2 ? 0x55555555u : bits == 4 ? 0x11111111u : 0x01010101u;
    for (size_t i = 0; bits != 3 && i < n; i++)
        words[i] += ones;
}

static vise_status load_zeros(const vise_source *source, const vise_found *found, int64_t row0, vise_qweight *q,
                              vise_pool *pool, vise_error *err)
{
    const int bits = found->scheme.type->bits;
    const bool v1 = found->variant == VISE_GPTQ_V1;
    const uint8_t mask = (uint8_t)((1u << bits) - 1), middle = (uint8_t)(1u << (bits - 1));
    const size_t rows = (size_t)q->rows, groups = (size_t)q->groups, words = vise_pack_words(rows, bits);
    uint32_t *block;
    VISE_TRY(vise_pool_take(pool, groups * words * 4 + rows, "packed zero points", (void **)&block, err));
    uint8_t *column = (uint8_t *)(block + groups * words), differs = 0;
    vise_columns at = {.rows = groups,
                       .row_bytes = words * 4,
                       .stride = (uint64_t)found->rows * (unsigned)bits / 8,
                       .offset = (uint64_t)row0 * (unsigned)bits / 8};
    vise_status status = vise_columns_read(source, found->parts[VISE_GPTQ_ZERO], &at, block, pool, err);
    if (status == VISE_OK && v1)
        raise_stored(block, groups * words, bits);
    for (size_t g = 0; status == VISE_OK && g < groups; g++) {
        vise_unpack(block + g * words, rows, bits, column);
        for (size_t r = 0; r < rows; r++) {
            uint8_t zero = v1 && bits == 3 ? (uint8_t)((column[r] + 1) & mask) : column[r];
            if (q->zeros)
                q->zeros[r * groups + g] = zero;
            differs |= zero ^ middle;
        }
    }
    vise_pool_give(pool, block);
    if (status == VISE_OK && !q->zeros && differs)
        return VISE_FAIL(
            err, VISE_EFORMAT,
            "%s: tensor \"%s.qzeros\" has zero points other than %d, but the config says symmetric (\"sym\")",
            vise_source_path(source), found->module, middle);
    return status;
}

static vise_status gptq_load(const vise_source *source, const vise_found *found, int64_t row0, vise_qweight *q,
                             vise_pool *pool, vise_error *err)
{
    VISE_TRY(vise_check_tile(found->module, found->rows, found->cols, row0, q, err));
    VISE_TRY(load_codes(source, found, row0, q, pool, err));
    VISE_TRY(load_zeros(source, found, row0, q, pool, err));
    q->group_of = found->group_of;
    return vise_scales_load_f16(source, found, VISE_GPTQ_SCALE, row0, q, pool, err);
}

const vise_layout vise_layout_gptq = {
    .name = "gptq",
    .summary = "integers as GPTQ's tools write them; loaded by transformers (gptqmodel), vLLM, SGLang, ExLlama",
    .scale_dtype = VISE_DTYPE_F16,
    .config_file = "quantize_config.json",
    .transposed = true,
    .spell = gptq_spell,
    .store_scratch = gptq_store_scratch,
    .store = gptq_v1_store,
    .config = vise_gptq_v1_config,
    .recognise = vise_gptq_v1_recognise,
    .find = vise_gptq_find,
    .load = gptq_load,
};

const vise_layout vise_layout_gptq_v2 = {
    .name = "gptq-v2",
    .summary = "the same with zero points as they are; loaded by GPTQModel, vLLM",
    .scale_dtype = VISE_DTYPE_F16,
    .config_file = "quantize_config.json",
    .transposed = true,
    .spell = gptq_spell,
    .store_scratch = gptq_store_scratch,
    .store = gptq_v2_store,
    .config = vise_gptq_v2_config,
    .recognise = vise_gptq_v2_recognise,
    .find = vise_gptq_find,
    .load = gptq_load,
};
