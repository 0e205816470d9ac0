/* bitsandbytes: how weights become stored tensors and back. The form is described in layout_internal.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/layout_internal.h"
#include "tensor/pack.h"

#define OFFSET_ROOM 32 /* for the number behind "nested_offset", which is known after the room is */

static bool is_int8(const vise_scheme *scheme)
{
    return scheme->type->codebook == &vise_codebook_llm_int8;
}

/* ---- spelling ------------------------------------------------------------------------------------------ */

static vise_status check_scheme(const vise_spelling *weight, vise_error *err)
{
    char text[VISE_SCHEME_TEXT_MAX];
    const vise_codebook *codebook = weight->scheme.type->codebook;
    const vise_dtype dtype = weight->dtype;
    if (codebook != &vise_codebook_nf4 && codebook != &vise_codebook_fp4 &&
        codebook != &vise_codebook_llm_int8)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: layout bitsandbytes holds nf4, fp4 and llm-int8, not %s", weight->module,
                         vise_scheme_text(&weight->scheme, text));
    if (!weight->is_linear)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: is no linear; bitsandbytes loads quantized linears only",
                         weight->module);
    if (dtype != VISE_DTYPE_F32 && dtype != VISE_DTYPE_F16 && dtype != VISE_DTYPE_BF16)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: layout bitsandbytes knows no weights of dtype %s",
                         weight->module, vise_dtype_of(dtype)->name);
    return vise_check_groups(weight, err);
}

/* The JSON of a weight's state, with the number of double quantization as given. */
static void put_state(const vise_spelling *weight, const char *offset, vise_buf *text)
{
    const vise_scheme *scheme = &weight->scheme;
    vise_buf_addf(text,
                  "{\"quant_type\": \"%s\", \"blocksize\": %" PRId64
                  ", \"dtype\": \"%s\", \"shape\": [%" PRId64 ", %" PRId64 "]",
                  scheme->type->name, scheme->group, vise_dtype_of(weight->dtype)->torch_name, weight->rows,
                  weight->cols);
    if (scheme->dq)
        vise_buf_addf(text,
                      ", \"nested_blocksize\": %d, \"nested_dtype\": \"float32\", \"nested_offset\": %s",
                      VISE_NESTED_BLOCK, offset);
    vise_buf_add_char(text, '}');
}

static vise_status state_room(const vise_spelling *weight, int64_t *room, vise_error *err)
{
    vise_buf text;
    vise_buf_init(&text, 4096);
    put_state(weight, "", &text);
    *room = (int64_t)text.length + (weight->scheme.dq ? OFFSET_ROOM : 0);
    vise_status status = vise_buf_check(&text, weight->module, err);
    vise_buf_deinit(&text);
    return status;
}

static vise_status bnb_spell(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX], int *n_parts,
                             vise_error *err)
{
    if (!weight->scheme.type)
        return vise_plain_spell(weight, parts, n_parts, err);
    const vise_scheme *scheme = &weight->scheme;
    const int64_t rows = weight->rows, cols = weight->cols;
    int64_t n, room;
    VISE_TRY(check_scheme(weight, err));
    if (__builtin_mul_overflow(rows, cols, &n) || n > INT64_MAX - scheme->group)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: its shape overflows", weight->module);
    if (is_int8(scheme)) {
        parts[VISE_BNB_WEIGHT] =
            (vise_part){.suffix = ".weight", .dtype = VISE_DTYPE_I8, .ndim = 2, .shape = {rows, cols}};
        parts[VISE_BNB_SCALE] =
            (vise_part){.suffix = ".SCB", .dtype = VISE_DTYPE_F32, .ndim = 1, .shape = {rows}};
        parts[VISE_BNB_FORMAT] = (vise_part){.suffix = ".weight_format", .dtype = VISE_DTYPE_U8, .ndim = 0};
        *n_parts = 3;
    } else {
        const int64_t blocks = (n + scheme->group - 1) / scheme->group;
        VISE_TRY(state_room(weight, &room, err));
        parts[VISE_BNB_WEIGHT] =
            (vise_part){.suffix = ".weight", .dtype = VISE_DTYPE_U8, .ndim = 2, .shape = {(n + 1) / 2, 1}};
        parts[VISE_BNB_SCALE] = (vise_part){.suffix = ".weight.absmax",
                                            .dtype = scheme->dq ? VISE_DTYPE_U8 : VISE_DTYPE_F32,
                                            .ndim = 1,
                                            .shape = {blocks}};
        parts[VISE_BNB_MAP] =
            (vise_part){.suffix = ".weight.quant_map", .dtype = VISE_DTYPE_F32, .ndim = 1, .shape = {16}};
        parts[VISE_BNB_STATE] = (vise_part){.suffix = scheme->type->codebook == &vise_codebook_nf4
                                                          ? ".weight.quant_state.bitsandbytes__nf4"
                                                          : ".weight.quant_state.bitsandbytes__fp4",
                                            .dtype = VISE_DTYPE_U8,
                                            .ndim = 1,
                                            .shape = {room}};
        parts[VISE_BNB_NESTED] = (vise_part){.suffix = ".weight.nested_absmax",
                                             .dtype = VISE_DTYPE_F32,
                                             .ndim = 1,
                                             .shape = {(blocks + VISE_NESTED_BLOCK - 1) / VISE_NESTED_BLOCK}};
        parts[VISE_BNB_NESTED_MAP] = (vise_part){
            .suffix = ".weight.nested_quant_map", .dtype = VISE_DTYPE_F32, .ndim = 1, .shape = {256}};
        *n_parts = scheme->dq ? 6 : 4;
    }
    for (int i = 0; i < *n_parts; i++)
        VISE_TRY(vise_part_finish(weight->module, &parts[i], err));
    return VISE_OK;
}

/* ---- storing ------------------------------------------------------------------------------------------- */

static size_t bnb_store_scratch(const vise_spelling *weight, int64_t rows)
{
    return weight->scheme.type ? (size_t)(rows * weight->cols) + 1 : 0;
}

/* What is the same for the whole weight. */
static vise_status store_state(const vise_spelling *weight, const vise_qweight *q,
                               const vise_part_writer *writer, vise_error *err)
{
    const float *table = q->table ? q->table : q->scheme.type->codebook->values;
    const float *nested = q->nested_map ? q->nested_map : vise_nested_map;
    char number[OFFSET_ROOM];
    int64_t room;
    vise_buf text;
    VISE_TRY(writer->write(writer->context, VISE_BNB_MAP, 0, table, 16 * sizeof(float), err));
    if (q->scheme.dq)
        VISE_TRY(writer->write(writer->context, VISE_BNB_NESTED_MAP, 0, nested, 256 * sizeof(float), err));
    VISE_TRY(state_room(weight, &room, err));
    (void)snprintf(number, sizeof number, "%.17g", (double)q->offset);
    const bool fraction = strpbrk(number, ".e") != NULL;
    (void)snprintf(number, sizeof number, "%.17g%s", (double)q->offset, fraction ? "" : ".0");
    vise_buf_init(&text, 4096);
    put_state(weight, number, &text);
    while (!text.failed && text.length < (size_t)room)
        vise_buf_add_char(&text, ' ');
    vise_status status = vise_buf_check(&text, weight->module, err);
    if (status == VISE_OK)
        status = writer->write(writer->context, VISE_BNB_STATE, 0, text.data, (size_t)room, err);
    vise_buf_deinit(&text);
    return status;
}

static vise_status store_blocks(const vise_spelling *weight, const vise_qweight *q, uint8_t *scratch,
                                const vise_part_writer *writer, vise_error *err)
{
    const uint64_t n = (uint64_t)(q->rows * q->cols), flat = (uint64_t)q->flat,
                   block = (uint64_t)q->scheme.group;
    const uint64_t first = flat / block, count = (n + block - 1) / block;
    if (flat % block != 0 || flat % 2 != 0 || (q->scheme.dq && first % VISE_NESTED_BLOCK != 0))
        return VISE_FAIL(err, VISE_EINTERNAL, "%s: a tile begins within a block", weight->module);
    vise_pack_high_first(q->codes, n - n % 2, scratch);
    if (n % 2 != 0)
        scratch[n / 2] = (uint8_t)(q->codes[n - 1] << 4 | q->scheme.type->codebook->zero);
    VISE_TRY(writer->write(writer->context, VISE_BNB_WEIGHT, flat / 2, scratch, (n + 1) / 2, err));
    if (!q->scheme.dq)
        return writer->write(writer->context, VISE_BNB_SCALE, first * sizeof(float), q->scales,
                             count * sizeof(float), err);
    VISE_TRY(writer->write(writer->context, VISE_BNB_SCALE, first, q->scale_codes, count, err));
    return writer->write(writer->context, VISE_BNB_NESTED, first / VISE_NESTED_BLOCK * sizeof(float),
                         q->nested, (count + VISE_NESTED_BLOCK - 1) / VISE_NESTED_BLOCK * sizeof(float), err);
}

static vise_status store_int8(int64_t row0, const vise_qweight *q, uint8_t *scratch,
                              const vise_part_writer *writer, vise_error *err)
{
    const size_t n = (size_t)(q->rows * q->cols);
    for (size_t i = 0; i < n; i++)
        scratch[i] = q->codes[i] ^ 0x80; /* u - 128 */
    VISE_TRY(writer->write(writer->context, VISE_BNB_WEIGHT, (uint64_t)(row0 * q->cols), scratch, n, err));
    return writer->write(writer->context, VISE_BNB_SCALE, (uint64_t)row0 * sizeof(float), q->scales,
                         (size_t)q->rows * sizeof(float), err);
}

static vise_status bnb_store(const vise_spelling *weight, int64_t row0, const vise_qweight *q, void *scratch,
                             const vise_part_writer *writer, vise_error *err)
{
    static const uint8_t row_major = 0;
    VISE_TRY(vise_check_tile(weight->module, weight->rows, weight->cols, row0, q, err));
    if (is_int8(&q->scheme)) {
        VISE_TRY(store_int8(row0, q, scratch, writer, err));
        return row0 == 0 ? writer->write(writer->context, VISE_BNB_FORMAT, 0, &row_major, 1, err) : VISE_OK;
    }
    VISE_TRY(store_blocks(weight, q, scratch, writer, err));
    return row0 == 0 ? store_state(weight, q, writer, err) : VISE_OK;
}

/* ---- loading ------------------------------------------------------------------------------------------- */

static vise_status load_scales(const vise_source *source, const vise_found *found, vise_qweight *q,
                               vise_pool *pool, vise_error *err)
{
    const uint64_t n = (uint64_t)(q->rows * q->cols), flat = (uint64_t)q->flat,
                   block = (uint64_t)found->scheme.group;
    const uint64_t first = flat / block, end = (flat + n + block - 1) / block;
    if (!found->scheme.dq)
        return vise_source_read(source, found->parts[VISE_BNB_SCALE], first * sizeof(float),
                                (end - first) * sizeof(float), q->scales, pool, err);
    const uint64_t nested = first / VISE_NESTED_BLOCK,
                   nested_end = (end + VISE_NESTED_BLOCK - 1) / VISE_NESTED_BLOCK;
    VISE_TRY(vise_source_read(source, found->parts[VISE_BNB_SCALE], first, end - first, q->scale_codes, pool,
                              err));
    VISE_TRY(vise_source_read(source, found->parts[VISE_BNB_NESTED], nested * sizeof(float),
                              (nested_end - nested) * sizeof(float), q->nested, pool, err));
    vise_nested_restore(q);
    return VISE_OK;
}

static vise_status load_blocks(const vise_source *source, const vise_found *found, vise_qweight *q,
                               vise_pool *pool, vise_error *err)
{
    const uint64_t n = (uint64_t)(q->rows * q->cols), flat = (uint64_t)q->flat;
    uint8_t *bytes;
    VISE_TRY(vise_pool_take(pool, (size_t)(n + 1) / 2, "packed codes", (void **)&bytes, err));
    vise_status status =
        vise_source_read(source, found->parts[VISE_BNB_WEIGHT], flat / 2, (n + 1) / 2, bytes, pool, err);
    if (status == VISE_OK) {
        vise_unpack_high_first(bytes, n - n % 2, q->codes);
        if (n % 2 != 0)
            q->codes[n - 1] = bytes[n / 2] >> 4;
    }
    vise_pool_give(pool, bytes);
    return status;
}

static vise_status bnb_load(const vise_source *source, const vise_found *found, int64_t row0, vise_qweight *q,
                            vise_pool *pool, vise_error *err)
{
    VISE_TRY(vise_check_tile(found->module, found->rows, found->cols, row0, q, err));
    q->flat = row0 * q->cols;
    q->table = found->table;
    q->nested_map = found->nested_map;
    q->offset = found->offset;
    if (!is_int8(&found->scheme)) {
        VISE_TRY(load_blocks(source, found, q, pool, err));
        return load_scales(source, found, q, pool, err);
    }
    const size_t n = (size_t)(q->rows * q->cols);
    VISE_TRY(
        vise_source_read(source, found->parts[VISE_BNB_WEIGHT], (uint64_t)q->flat, n, q->codes, pool, err));
    for (size_t i = 0; i < n; i++)
        q->codes[i] ^= 0x80;
    return vise_source_read(source, found->parts[VISE_BNB_SCALE], (uint64_t)row0 * sizeof(float),
                            (uint64_t)q->rows * sizeof(float), q->scales, pool, err);
}

const vise_layout vise_layout_bnb = {
    .name = "bitsandbytes",
    .summary = "nf4, fp4 and LLM.int8; loaded by transformers, vLLM, PEFT",
    .scale_dtype = VISE_DTYPE_F32,
    .spell = bnb_spell,
    .store_scratch = bnb_store_scratch,
    .store = bnb_store,
    .config = vise_bnb_config,
    .recognise = vise_bnb_recognise,
    .find = vise_bnb_find,
    .load = bnb_load,
};
