#include "tests/unit/layout_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/rng.h"
#include "formats/sink.h"
#include "formats/store.h"

typedef struct part_context {
    vise_sink *sink;
    size_t ids[VISE_PARTS_MAX];
} part_context;

static vise_status write_part(void *context, int part, uint64_t offset, const void *bytes, size_t n,
                              vise_error *err)
{
    part_context *to = context;
    return vise_sink_write(to->sink, to->ids[part], offset, bytes, n, err);
}

static vise_status keep_part(void *context, int part, uint64_t offset, const void *bytes, size_t n, vise_error *err)
{
    help_parts *to = context;
    (void)err;
    assert_true(offset + n <= sizeof to->part[part]);
    memcpy(to->part[part] + offset, bytes, n);
    return VISE_OK;
}

vise_part_writer help_keep(help_parts *to)
{
    memset(to, 0, sizeof *to);
    return (vise_part_writer){keep_part, to};
}

vise_spelling help_spelling(const char *scheme, int64_t rows, int64_t cols, vise_dtype dtype)
{
    vise_spelling weight = {
        .module = "blk.q", .name = "blk.q.weight", .rows = rows, .cols = cols, .dtype = dtype, .is_linear = true};
    OK(vise_scheme_parse(scheme, &weight.scheme, &help_error));
    return weight;
}

void help_spell_refuses(const help_refusal *rows, size_t n)
{
    vise_part parts[VISE_PARTS_MAX];
    int n_parts;
    for (size_t i = 0; i < n; i++) {
        const vise_spelling weight = help_spelling(rows[i].scheme, rows[i].rows, rows[i].cols, VISE_DTYPE_F16);
        FAILS(rows[i].status, rows[i].say,
              vise_layout_find(rows[i].layout)->spell(&weight, parts, &n_parts, &help_error));
    }
}

void *help_weight(const vise_spelling *weight, vise_dtype scale_dtype, vise_qweight *q)
{
    const vise_scheme *scheme = &weight->scheme;
    const int64_t rows = weight->rows, cols = weight->cols;
    vise_rng rng;
    char text[VISE_SCHEME_TEXT_MAX];
    void *block = malloc(vise_qweight_bytes(scheme, rows, cols));
    assert_non_null(block);
    vise_qweight_carve(q, scheme, scale_dtype, rows, cols, block);
    vise_rng_init(&rng, 7, vise_scheme_text(scheme, text));
    uint64_t codes = (uint64_t)1 << scheme->type->bits;
    for (size_t i = 0; i < (size_t)(rows * cols); i++)
        q->codes[i] = (uint8_t)vise_rng_below(&rng, codes);
    size_t grid = scheme->granularity == VISE_PER_TENSOR ? 1 : (size_t)(rows * q->groups);
    for (size_t i = 0; i < grid; i++) {
        q->scales[i] = vise_round_to(scale_dtype, (float)vise_rng_uniform(&rng));
        if (scheme->asym)
            q->zeros[i] = (uint8_t)vise_rng_below(&rng, codes);
    }
    return block;
}

void help_write_model(const vise_layout *layout, const char *folder, const vise_spelling *weight,
                      const vise_qweight *q, bool pack, int64_t step)
{
    const int64_t rows = weight->rows;
    vise_part parts[VISE_PARTS_MAX];
    int n;
    vise_sink_options options = {
        .path = help_path(folder, "m"), .pack = pack, .identity = "", .replace = true};
    part_context to;
    OK(vise_sink_open(&options, &to.sink, &help_error));
    OK(layout->spell(weight, parts, &n, &help_error));
    for (int i = 0; i < n; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s%s", weight->module, parts[i].suffix);
        OK(vise_sink_declare(to.sink, name, parts[i].dtype, parts[i].ndim, parts[i].shape, 0, &to.ids[i],
                             &help_error));
    }
    OK(vise_sink_seal(to.sink, &help_error));
    void *scratch = malloc(layout->store_scratch(weight, step));
    assert_non_null(scratch);
    vise_part_writer writer = {write_part, &to};
    for (int64_t row = (rows - 1) / step * step; row >= 0; row -= step) { /* the last tile first */
        vise_qweight tile = vise_qweight_rows(q, row, rows - row < step ? rows - row : step);
        OK(layout->store(weight, row, &tile, scratch, &writer, &help_error));
    }
    free(scratch);
    vise_buf config;
    vise_buf_init(&config, 1 << 20);
    vise_buf_add_text(&config, "{\"quantization_config\":");
    OK(layout->config(weight, 1, &config, &help_error));
    vise_buf_add_text(&config, "}");
    OK(vise_sink_put_file(to.sink, "config.json", config.data, config.length, &help_error));
    vise_buf_deinit(&config);
    OK(vise_sink_finish(to.sink, &help_error));
    OK(vise_sink_publish(to.sink, &help_error));
    vise_sink_close(to.sink, false);
}

void help_check_model(const vise_layout *layout, const char *folder, const vise_spelling *weight,
                      const vise_qweight *q, vise_pool *pool)
{
    const int64_t rows = weight->rows, cols = weight->cols;
    vise_store *store;
    OK(vise_store_open(help_path(folder, "m"), &store, &help_error));
    assert_string_equal(vise_store_layout(store)->name, layout->name);
    assert_int_equal(vise_store_count(store), 1);
    assert_int_equal(vise_store_find(store, weight->name), 0);
    const vise_logical *entry = vise_store_tensor(store, 0);
    assert_true(vise_scheme_equal(&entry->scheme, &weight->scheme));
    assert_int_equal(entry->dtype, weight->dtype);
    assert_int_equal(entry->rows, rows);
    assert_int_equal(entry->cols, cols);
    assert_string_equal(entry->module, weight->module);
    assert_non_null(entry->found);

    float *want = malloc(sizeof(float) * (size_t)(rows * cols)),
          *got = malloc(sizeof(float) * (size_t)(rows * cols));
    void *block = malloc(vise_qweight_bytes(&weight->scheme, rows, cols));
    assert_true(want && got && block);
    vise_decode_ref(q, want);
    for (int64_t row = 0; row < rows; row += 32) {
        vise_qweight tile = vise_qweight_rows(q, row, rows - row < 32 ? rows - row : 32), read;
        vise_qweight_carve(&read, &entry->scheme, entry->dtype, tile.rows, cols, block);
        OK(vise_store_read_codes(store, 0, row, &read, pool, &help_error));
        assert_memory_equal(read.codes, tile.codes, (size_t)(tile.rows * cols));
        size_t grid = weight->scheme.granularity == VISE_PER_TENSOR ? 1 : (size_t)(tile.rows * q->groups);
        if (weight->scheme.granularity == VISE_PER_FLAT)
            grid = (size_t)((tile.flat + tile.rows * cols - 1) / weight->scheme.group -
                            tile.flat / weight->scheme.group + 1);
        assert_memory_equal(read.scales, tile.scales, grid * sizeof(float));
        if (weight->scheme.dq)
            assert_memory_equal(read.scale_codes, tile.scale_codes, grid);
        if (weight->scheme.asym)
            assert_memory_equal(read.zeros, tile.zeros, grid);
    }
    OK(vise_store_read_f32(store, 0, 0, rows, got, pool, &help_error));
    assert_memory_equal(got, want, sizeof(float) * (size_t)(rows * cols));
    int64_t last = (rows - 1) / 32 * 32;
    OK(vise_store_read_f32(store, 0, last, rows - last, got, pool, &help_error));
    assert_memory_equal(got, want + last * cols, sizeof(float) * (size_t)((rows - last) * cols));
    FAILS(VISE_EINTERNAL, weight->name,
          vise_store_read_f32(store, 0, last, rows - last + 1, got, pool, &help_error));
    FAILS(VISE_EINTERNAL, "no raw bytes", vise_store_read_raw(store, 0, 0, 1, got, pool, &help_error));
    free(want);
    free(got);
    free(block);
    vise_store_close(store);
}

size_t help_replace(help_tensor *tensors, size_t n, const char *name, vise_dtype dtype, int ndim,
                    const int64_t shape[3], const void *bytes)
{
    size_t at = 0;
    if (name == NULL)
        return n;
    while (at < n && strcmp(tensors[at].name, name) != 0)
        at++;
    if (dtype == VISE_DTYPE_COUNT) {
        assert_true(at < n);
        tensors[at] = tensors[n - 1];
        return n - 1;
    }
    tensors[at] = (help_tensor){name, dtype, ndim, {shape[0], shape[1], shape[2]}, bytes};
    return at == n ? n + 1 : n;
}

void help_opens(const char *folder, const help_tensor *tensors, size_t n, const char *config, size_t row,
                vise_status wanted, const char *say)
{
    vise_store *store;
    help_safetensors(folder, "model.safetensors", NULL, tensors, n);
    help_write_text(folder, "config.json", config);
    vise_status status = vise_store_open(folder, &store, &help_error);
    if (status != wanted || (say != NULL && strstr(help_error.message, say) == NULL))
        fail_msg("row %zu: status %d, wanted %d with \"%s\": %s", row, status, wanted, say != NULL ? say : "",
                 help_error.message);
    help_error = (vise_error){0};
    vise_store_close(store);
}
