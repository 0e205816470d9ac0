#include "pipeline/memory_table.h"

#include <stdio.h>
#include <string.h>

#include "formats/layout.h"
#include "pipeline/option.h"

static const vise_dtype dtypes[] = {VISE_DTYPE_F32, VISE_DTYPE_BF16};
/* Two of 8 and 4 bits, as vLLM and bitsandbytes load them, and one with zero points. */
static const char *const schemes[] = {"int8-channel", "int4-g128", "int4-g128-asym", "nf4-b64-dq"};
static const char *const lora_scheme = "nf4-b64-dq";

/* ---- weights ---------------------------------------------------------------------------------------- */

static uint64_t bytes_of(vise_dtype dtype, uint64_t elements)
{
    return (elements * (uint64_t)vise_dtype_of(dtype)->bits + 7) / 8;
}

static bool is_weight(const vise_logical *tensor)
{
    return tensor->scheme.type != NULL || vise_dtype_of(tensor->dtype)->is_float;
}

/* What passes quantize by default: linears inside blocks; not those that are stored transposed. */
static bool is_quantized(const vise_bound *bound)
{
    return bound->is_linear && bound->layer >= 0 && !bound->tensor->transposed;
}

static void add_stored(const vise_logical *tensor, vise_run_row *row)
{
    row->weights += tensor->stored_bytes;
    if (tensor->scheme.type == NULL) {
        row->unquantized += tensor->stored_bytes;
        return;
    }
    const uint64_t codes = (tensor->elements * (uint64_t)tensor->scheme.type->bits + 7) / 8;
    if (tensor->scheme.type->blocks == NULL && tensor->stored_bytes > codes)
        row->scales += tensor->stored_bytes - codes;
}

static void add_float(const vise_logical *tensor, vise_dtype dtype, vise_run_row *row)
{
    const uint64_t bytes = is_weight(tensor) ? bytes_of(dtype, tensor->elements) : tensor->stored_bytes;
    row->weights += bytes;
    row->unquantized += bytes;
}

/* As the scheme's own layout spells it; a weight that it cannot hold stays float. */
static void add_quantized(const vise_logical *tensor, const vise_scheme *scheme, const vise_layout *layout,
                          vise_run_row *row)
{
    const vise_spelling spelling = {.module = tensor->module,
                                    .name = tensor->name,
                                    .rows = tensor->rows,
                                    .cols = tensor->cols,
                                    .dtype = tensor->dtype,
                                    .scheme = *scheme,
                                    .is_linear = true};
    vise_part parts[VISE_PARTS_MAX];
    vise_error ignored = {0};
    int n = 0;
    if (layout->spell(&spelling, parts, &n, &ignored) != VISE_OK) {
        add_float(tensor, tensor->dtype, row);
        return;
    }
    for (int p = 0; p < n; p++) {
        row->weights += parts[p].bytes;
        row->scales += p > 0 ? parts[p].bytes : 0;
    }
}

static vise_status add_scheme_row(const vise_model *model, const char *name, vise_run_row *row, vise_error *err)
{
    vise_scheme scheme;
    VISE_TRY(vise_scheme_parse(name, &scheme, err));
    const vise_layout *layout = vise_layout_find(scheme.type->default_layout);
    if (layout == NULL)
        return VISE_FAIL(err, VISE_EINTERNAL, "scheme %s has no layout", name);
    *row = (vise_run_row){0};
    snprintf(row->name, sizeof row->name, "%s", name);
    for (size_t i = 0; i < model->count; i++) {
        const vise_bound *bound = &model->bound[i];
        if (is_quantized(bound))
            add_quantized(bound->tensor, &scheme, layout, row);
        else
            add_float(bound->tensor, bound->tensor->dtype, row);
    }
    return VISE_OK;
}

/* ---- rows ------------------------------------------------------------------------------------------- */

static void add_usage(const vise_model *model, const vise_memory_table *table, size_t element_bytes, vise_run_row *row)
{
    const vise_usage usage = {table->context, table->batch, element_bytes};
    if (model->arch == NULL)
        return;
    row->kv_cache = vise_kv_cache_all_bytes(model, &usage);
    row->activations = vise_head_activation_bytes(model, &usage);
    for (int layer = 0; layer < (int)model->config.layers; layer++) {
        const uint64_t bytes = vise_block_activation_bytes(model, layer, &usage);
        row->activations = bytes > row->activations ? bytes : row->activations;
    }
}

static size_t element_bytes(vise_dtype dtype)
{
    return (size_t)(vise_dtype_of(dtype)->bits + 7) / 8;
}

static vise_status make_run_rows(const vise_model *model, vise_memory_table *table, vise_error *err)
{
    const size_t own = element_bytes(vise_model_dtype(model));
    vise_run_row *stored = &table->run[table->n_run++];
    snprintf(stored->name, sizeof stored->name, "as stored");
    for (size_t i = 0; i < model->count; i++)
        add_stored(model->bound[i].tensor, stored);
    add_usage(model, table, own, stored);
    for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
        vise_run_row *row = &table->run[table->n_run++];
        snprintf(row->name, sizeof row->name, "%s", vise_dtype_of(dtypes[d])->cli_name);
        for (size_t i = 0; i < model->count; i++)
            add_float(model->bound[i].tensor, dtypes[d], row);
        add_usage(model, table, element_bytes(dtypes[d]), row);
    }
    for (size_t s = 0; s < sizeof schemes / sizeof schemes[0]; s++) {
        vise_run_row *row = &table->run[table->n_run++];
        VISE_TRY(add_scheme_row(model, schemes[s], row, err));
        add_usage(model, table, own, row);
    }
    return VISE_OK;
}

static vise_status make_training_rows(const vise_model *model, vise_memory_table *table, vise_error *err)
{
    const vise_usage wide = {table->context, table->batch, 4}, narrow = {table->context, table->batch, 2};
    uint64_t all = 0, linear = 0, adapters = 0;
    vise_run_row frozen;
    for (size_t i = 0; i < model->count; i++) {
        const vise_bound *bound = &model->bound[i];
        if (!is_weight(bound->tensor))
            continue;
        all += bound->tensor->elements;
        linear += bound->is_linear ? bound->tensor->elements : 0;
        if (bound->is_linear && bound->layer >= 0)
            adapters += VISE_LORA_RANK * (uint64_t)(bound->tensor->rows + bound->tensor->cols);
    }
    VISE_TRY(add_scheme_row(model, lora_scheme, &frozen, err));
    table->training[0] = (vise_training_row){"f32", 4 * all, 4 * all, 8 * all, 0, 0};
    table->training[1] = (vise_training_row){"bf16 mixed", 4 * all + 2 * linear, 4 * all, 8 * all, 0, 0};
    table->training[2] = (vise_training_row){"bf16", 2 * all, 2 * all, 4 * all, 0, 0};
    table->training[3] = (vise_training_row){
        .weights = frozen.weights + 4 * adapters, .gradients = 4 * adapters, .optimizer = 8 * adapters};
    snprintf(table->training[3].name, sizeof table->training[3].name, "lora on %s", lora_scheme);
    for (size_t i = 0; i < VISE_TRAINING_ROWS; i++) {
        const vise_usage *usage = i == 0 ? &wide : &narrow;
        table->training[i].activations = vise_training_activation_bytes(model, usage, false);
        table->training[i].checkpointed = vise_training_activation_bytes(model, usage, true);
    }
    return VISE_OK;
}

vise_status vise_memory_table_make(const vise_model *model, int64_t context, int64_t batch, vise_memory_table *out,
                                   vise_error *err)
{
    const int64_t positions = model->config.max_positions;
    *out = (vise_memory_table){.context = context, .batch = batch};
    if (context == VISE_UNSET_INT)
        out->context = positions > 0 && positions < 2048 ? positions : 2048;
    VISE_TRY(make_run_rows(model, out, err));
    return make_training_rows(model, out, err);
}

/* ---- as text and JSON ------------------------------------------------------------------------------- */

static uint64_t run_total(const vise_run_row *row)
{
    return row->weights + row->kv_cache + row->activations;
}

static uint64_t training_total(const vise_training_row *row, uint64_t activations)
{
    return row->weights + row->gradients + row->optimizer + activations;
}

void vise_memory_table_print(const vise_memory_table *table, vise_buf *out)
{
    char text[7][VISE_SIZE_TEXT_MAX];
    vise_buf_addf(out, "\n%-20s %10s %10s %11s %10s %11s %10s   %lld x %lld tokens\n", "memory to run", "weights",
                  "in scales", "unquantized", "kv cache", "activations", "in all", (long long)table->batch,
                  (long long)table->context);
    for (size_t i = 0; i < table->n_run; i++) {
        const vise_run_row *row = &table->run[i];
        vise_buf_addf(out, "%-20s %10s %10s %11s %10s %11s %10s\n", row->name, vise_format_size(row->weights, text[0]),
                      vise_format_size(row->scales, text[1]), vise_format_size(row->unquantized, text[2]),
                      vise_format_size(row->kv_cache, text[3]), vise_format_size(row->activations, text[4]),
                      vise_format_size(run_total(row), text[5]));
    }
    vise_buf_addf(out, "\n%-20s %10s %10s %11s %10s %11s %10s %11s\n", "memory to train", "weights", "gradients",
                  "AdamW", "activations", "in all", "ckpt act.", "in all");
    for (size_t i = 0; i < VISE_TRAINING_ROWS; i++) {
        const vise_training_row *row = &table->training[i];
        vise_buf_addf(out, "%-20s %10s %10s %11s %11s %10s %10s %11s\n", row->name,
                      vise_format_size(row->weights, text[0]), vise_format_size(row->gradients, text[1]),
                      vise_format_size(row->optimizer, text[2]), vise_format_size(row->activations, text[3]),
                      vise_format_size(training_total(row, row->activations), text[4]),
                      vise_format_size(row->checkpointed, text[5]),
                      vise_format_size(training_total(row, row->checkpointed), text[6]));
    }
}

static void put_bytes(vise_json_writer *json, const char *key, uint64_t bytes)
{
    vise_json_key(json, key);
    vise_json_put_uint(json, bytes);
}

static void put_name(vise_json_writer *json, const char *name)
{
    vise_json_object(json);
    vise_json_key(json, "name");
    vise_json_put_text(json, name);
}

void vise_memory_table_put(const vise_memory_table *table, vise_json_writer *json)
{
    vise_json_key(json, "context");
    vise_json_put_int(json, table->context);
    vise_json_key(json, "batch");
    vise_json_put_int(json, table->batch);
    vise_json_key(json, "run");
    vise_json_array(json);
    for (size_t i = 0; i < table->n_run; i++) {
        const vise_run_row *row = &table->run[i];
        put_name(json, row->name);
        put_bytes(json, "weights", row->weights);
        put_bytes(json, "scales", row->scales);
        put_bytes(json, "unquantized", row->unquantized);
        put_bytes(json, "kv_cache", row->kv_cache);
        put_bytes(json, "activations", row->activations);
        put_bytes(json, "total", run_total(row));
        vise_json_object_end(json);
    }
    vise_json_array_end(json);
    vise_json_key(json, "training");
    vise_json_array(json);
    for (size_t i = 0; i < VISE_TRAINING_ROWS; i++) {
        const vise_training_row *row = &table->training[i];
        put_name(json, row->name);
        put_bytes(json, "weights", row->weights);
        put_bytes(json, "gradients", row->gradients);
        put_bytes(json, "optimizer", row->optimizer);
        put_bytes(json, "activations", row->activations);
        put_bytes(json, "total", training_total(row, row->activations));
        put_bytes(json, "checkpointed_activations", row->checkpointed);
        put_bytes(json, "checkpointed_total", training_total(row, row->checkpointed));
        vise_json_object_end(json);
    }
    vise_json_array_end(json);
}
