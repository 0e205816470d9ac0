/* Printing a plan: what each pass does to each weight, shards and their bytes, memory. */
#include <stdio.h>

#include "pipeline/device_map.h"
#include "pipeline/offload.h"
#include "pipeline/plan.h"
#include "pipeline/units.h"

/* Weights of one role that meet the same fate, as one line. */
typedef struct fate {
    vise_role role;
    int64_t rows, cols;
    const vise_planned *planned;
    size_t weights;
    uint64_t parameters, before, after;
} fate;

static bool same_fate(const fate *a, const vise_planned *planned)
{
    const vise_logical *tensor = planned->bound->tensor;
    return a->role == planned->bound->role && a->rows == tensor->rows && a->cols == tensor->cols &&
           a->planned->bound->is_bias == planned->bound->is_bias && a->planned->passes == planned->passes &&
           a->planned->dtype == planned->dtype && vise_scheme_equal(&a->planned->scheme, &planned->scheme) &&
           a->planned->bound->tensor->dtype == tensor->dtype &&
           (a->planned->note == NULL) == (planned->note == NULL);
}

static vise_status gather_fates(const vise_plan *plan, fate **out, size_t *count, vise_error *err)
{
    fate *fates;
    size_t n = 0;
    VISE_TRY(vise_calloc(plan->count + 1, sizeof *fates, (void **)&fates, err));
    for (size_t k = 0; k < plan->count; k++) {
        const vise_planned *planned = &plan->planned[plan->order[k]];
        const vise_logical *tensor = planned->bound->tensor;
        size_t f = 0;
        while (f < n && !same_fate(&fates[f], planned))
            f++;
        if (f == n)
            fates[n++] = (fate){
                .role = planned->bound->role, .rows = tensor->rows, .cols = tensor->cols, .planned = planned};
        fates[f].weights++;
        fates[f].parameters += tensor->elements;
        fates[f].before += tensor->stored_bytes;
        fates[f].after += vise_plan_stored_bytes(plan, plan->order[k]);
    }
    *out = fates;
    *count = n;
    return VISE_OK;
}

static const char *role_label(const fate *line)
{
    if (line->role == VISE_ROLE_UNKNOWN)
        return line->planned->bound->layer >= 0 ? "(in a block)" : "(other)";
    return vise_role_name(line->role);
}

static const char *scheme_label(const vise_scheme *scheme, vise_dtype dtype,
                                char buffer[VISE_SCHEME_TEXT_MAX])
{
    if (scheme->type != NULL)
        return vise_scheme_text(scheme, buffer);
    const char *name = vise_dtype_of(dtype)->cli_name;
    return name != NULL ? name : vise_dtype_of(dtype)->name;
}

/* "prune wanda, quant gptq" */
static void pass_names(const vise_plan *plan, const vise_planned *planned, vise_buf *out)
{
    bool first = true;
    for (size_t p = 0; p < plan->n_runs; p++) {
        if ((planned->passes >> p & 1) == 0)
            continue;
        vise_buf_addf(out, "%s%s %s", first ? "" : ", ", plan->runs[p].pass->name,
                      plan->runs[p].method->name);
        first = false;
    }
    if (first)
        vise_buf_add_text(out, "-");
}

/* What is left open: schemes above are those of one candidate for all, the sizes below go with them. */
static void print_target(const vise_plan *plan, vise_buf *out)
{
    const vise_budget *budget = &plan->budgeted->budget;
    const uint64_t given = plan->units->given;
    char a[VISE_SIZE_TEXT_MAX], b[VISE_SIZE_TEXT_MAX], text[VISE_SCHEME_TEXT_MAX];
    if (budget->bytes == VISE_UNSET_SIZE)
        vise_buf_addf(out, "\ntarget    %g bits a weight: %s", budget->bits,
                      vise_format_size(vise_units_budget(plan, 0) + given, a));
    else
        vise_buf_addf(out, "\ntarget    files of %s: %s for what is chosen", vise_format_size(budget->bytes, a),
                      vise_format_size(vise_units_budget(plan, 0), b));
    vise_buf_addf(out, "; candidates take %s to %s\n          %zu choices, by measurement as the run begins; until "
                       "then one scheme stands for all, and sizes below are its own\n          among",
                  vise_format_size(plan->units->least + given, a), vise_format_size(plan->units->most + given, b),
                  plan->units->count);
    for (size_t c = 0; c < budget->count; c++)
        vise_buf_addf(out, "%s %s", c > 0 ? "," : "", vise_scheme_text(&budget->candidates[c], text));
    vise_buf_add_char(out, '\n');
}

static void print_text(const vise_plan *plan, const fate *fates, size_t n, vise_sink *sink, vise_buf *out)
{
    char a[VISE_SIZE_TEXT_MAX], b[VISE_SIZE_TEXT_MAX], from[VISE_SCHEME_TEXT_MAX], to[VISE_SCHEME_TEXT_MAX];
    const vise_model *model = plan->model;
    vise_buf_addf(out, "%s: %s, %zu tensors, layout %s\n\n", plan->request->input,
                  model->arch != NULL         ? model->arch->model_type
                  : model->model_type != NULL ? model->model_type
                                              : "unknown family",
                  plan->count, vise_store_layout(model->store)->name);
    vise_buf_addf(out, "%-14s %6s  %-16s %-12s %-20s %10s %10s  %s\n", "role", "count", "shape", "from", "to",
                  "before", "after", "passes");
    for (size_t f = 0; f < n; f++) {
        const fate *line = &fates[f];
        char shape[48];
        snprintf(shape, sizeof shape, "%lld x %lld", (long long)line->rows, (long long)line->cols);
        vise_buf_addf(
            out, "%-14s %6zu  %-16s %-12s %-20s %10s %10s  ", role_label(line), line->weights, shape,
            scheme_label(&line->planned->bound->tensor->scheme, line->planned->bound->tensor->dtype, from),
            scheme_label(&line->planned->scheme, line->planned->dtype, to), vise_format_size(line->before, a),
            vise_format_size(line->after, b));
        pass_names(plan, line->planned, out);
        if (line->planned->note != NULL)
            vise_buf_addf(out, "  (%s)", line->planned->note);
        vise_buf_add_char(out, '\n');
    }
    if (plan->units != NULL)
        print_target(plan, out);
    vise_buf_addf(out, "\noutput    layout %s%s, %zu file%s\n", plan->layout->name,
                  plan->packed ? ", packed (sizes before packing)" : "", vise_sink_shards(sink),
                  vise_sink_shards(sink) == 1 ? "" : "s");
    for (size_t s = 0; s < vise_sink_shards(sink); s++) {
        uint64_t bytes;
        const char *name = vise_sink_shard(sink, s, &bytes);
        vise_buf_addf(out, "          %-40s %llu bytes (%s)\n", name, (unsigned long long)bytes,
                      vise_format_size(bytes, a));
    }
    if (plan->cache.type != NULL)
        vise_buf_addf(out, "kv cache  %s, %s\n", plan->cache.type->name,
                      plan->cache.made ? "scales calibrated" : "scales of the input");
    vise_buf_addf(out, "size      %s -> %s", vise_format_size(plan->bytes_before, a),
                  vise_format_size(plan->bytes_after, b));
    if (plan->bytes_after > 0)
        vise_buf_addf(out, " (%.2fx smaller)", (double)plan->bytes_before / (double)plan->bytes_after);
    if (plan->output.offload_folder != NULL) {
        size_t files;
        const uint64_t bytes = vise_offload_bytes(plan, &files);
        vise_buf_addf(out, "\noffload   %zu files in %s, %s", files, plan->output.offload_folder,
                      vise_format_size(bytes, a));
    }
    vise_buf_addf(out, "\nmemory    at least %s for weights and scratch",
                  vise_format_size(plan->memory.least, a));
    if (plan->memory.activations > 0)
        vise_buf_addf(out, "; activations %s, in memory where they fit, else on disk",
                      vise_format_size(plan->memory.activations, a));
    vise_buf_add_char(out, '\n');
    if (plan->operations > 0.0)
        vise_buf_addf(out, "work      about %.3g TFLOP of calibration\n", plan->operations * 1e-12);
}

static void put_label(vise_json_writer *json, const char *key, const char *text)
{
    vise_json_key(json, key);
    vise_json_put_text(json, text);
}

static void put_bytes(vise_json_writer *json, const char *key, uint64_t bytes)
{
    vise_json_key(json, key);
    vise_json_put_uint(json, bytes);
}

static void print_weight(const vise_plan *plan, size_t index, vise_json_writer *json)
{
    const vise_planned *planned = &plan->planned[index];
    const vise_logical *tensor = planned->bound->tensor;
    char text[VISE_SCHEME_TEXT_MAX];
    vise_json_object(json);
    put_label(json, "name", tensor->name);
    put_label(json, "role",
              planned->bound->role == VISE_ROLE_UNKNOWN ? "other" : vise_role_name(planned->bound->role));
    vise_json_key(json, "shape");
    vise_json_array(json);
    for (int d = 0; d < tensor->ndim; d++)
        vise_json_put_int(json, tensor->shape[d]);
    vise_json_array_end(json);
    put_label(json, "from", scheme_label(&tensor->scheme, tensor->dtype, text));
    put_label(json, "to", scheme_label(&planned->scheme, planned->dtype, text));
    if (planned->masked) {
        vise_json_key(json, "sparsity");
        vise_json_put_double(json, planned->sparsity);
    }
    put_bytes(json, "bytes_before", tensor->stored_bytes);
    put_bytes(json, "bytes_after", vise_plan_stored_bytes(plan, index));
    vise_json_key(json, "passes");
    vise_json_array(json);
    for (size_t p = 0; p < plan->n_runs; p++)
        if ((planned->passes >> p & 1) != 0)
            vise_json_put_int(json, (int64_t)p);
    vise_json_array_end(json);
    if (planned->note != NULL)
        put_label(json, "note", planned->note);
    vise_json_object_end(json);
}

static void put_target(const vise_plan *plan, vise_json_writer *json)
{
    const vise_budget *budget = &plan->budgeted->budget;
    char text[VISE_SCHEME_TEXT_MAX];
    vise_json_key(json, "target");
    vise_json_object(json);
    if (budget->bytes == VISE_UNSET_SIZE) {
        vise_json_key(json, "bits");
        vise_json_put_double(json, budget->bits);
    } else {
        put_bytes(json, "bytes", budget->bytes);
    }
    put_bytes(json, "room", vise_units_budget(plan, 0));
    put_bytes(json, "least", plan->units->least);
    put_bytes(json, "most", plan->units->most);
    vise_json_key(json, "choices");
    vise_json_put_uint(json, plan->units->count);
    vise_json_key(json, "candidates");
    vise_json_array(json);
    for (size_t c = 0; c < budget->count; c++)
        vise_json_put_text(json, vise_scheme_text(&budget->candidates[c], text));
    vise_json_array_end(json);
    vise_json_object_end(json);
}

static void print_json(const vise_plan *plan, const vise_device_map *map, vise_sink *sink, vise_buf *out)
{
    vise_json_writer json;
    vise_json_begin(&json, out, 2);
    vise_json_object(&json);
    put_label(&json, "input", plan->request->input);
    put_label(&json, "layout", plan->layout->name);
    vise_json_key(&json, "packed");
    vise_json_put_bool(&json, plan->packed);
    put_bytes(&json, "bytes_before", plan->bytes_before);
    put_bytes(&json, "bytes_after", plan->bytes_after);
    vise_json_key(&json, "passes");
    vise_json_array(&json);
    for (size_t p = 0; p < plan->n_runs; p++) {
        vise_json_object(&json);
        put_label(&json, "pass", plan->runs[p].pass->name);
        put_label(&json, "method", plan->runs[p].method->name);
        vise_json_object_end(&json);
    }
    vise_json_array_end(&json);
    vise_json_key(&json, "files");
    vise_json_array(&json);
    for (size_t s = 0; s < vise_sink_shards(sink); s++) {
        uint64_t bytes;
        vise_json_object(&json);
        put_label(&json, "name", vise_sink_shard(sink, s, &bytes));
        put_bytes(&json, "bytes", bytes);
        vise_json_object_end(&json);
    }
    vise_json_array_end(&json);
    if (plan->units != NULL)
        put_target(plan, &json);
    if (plan->output.offload_folder != NULL) {
        size_t files;
        put_label(&json, "offload_folder", plan->output.offload_folder);
        put_bytes(&json, "offload_bytes", vise_offload_bytes(plan, &files));
    }
    vise_json_key(&json, "memory");
    vise_json_object(&json);
    put_bytes(&json, "least", plan->memory.least);
    put_bytes(&json, "stream_weights", plan->memory.stream_weights);
    put_bytes(&json, "block", plan->memory.block);
    if (plan->units != NULL)
        put_bytes(&json, "survey", plan->memory.survey);
    if (plan->scaling.last >= 0)
        put_bytes(&json, "scaling", plan->memory.scaling);
    put_bytes(&json, "evaluate", plan->memory.evaluate);
    put_bytes(&json, "activations", plan->memory.activations);
    vise_json_object_end(&json);
    if (plan->cache.type != NULL)
        put_label(&json, "kv_cache", plan->cache.type->name);
    vise_json_key(&json, "operations");
    vise_json_put_double(&json, plan->operations);
    if (map != NULL)
        vise_device_map_put(map, &json);
    vise_json_key(&json, "weights");
    vise_json_array(&json);
    for (size_t k = 0; k < plan->count; k++)
        print_weight(plan, plan->order[k], &json);
    vise_json_array_end(&json);
    vise_json_object_end(&json);
    vise_buf_add_char(out, '\n');
}

vise_status vise_plan_print(vise_plan *plan, const vise_device_map *map, bool json, vise_buf *out, vise_error *err)
{
    vise_sink *sink;
    fate *fates = NULL;
    size_t n = 0;
    VISE_TRY(vise_sink_dry(plan->output.max_shard_bytes, plan->packed, vise_plan_gguf_values(plan), &sink, err));
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, vise_plan_declare(plan, sink, err));
    VISE_TRY_TO(done, vise_sink_seal(sink, err));
    VISE_TRY_TO(done, gather_fates(plan, &fates, &n, err));
    if (json)
        print_json(plan, map, sink, out);
    else
        print_text(plan, fates, n, sink, out);
    if (!json && map != NULL)
        vise_device_map_print(map, out);
    status = vise_buf_check(out, "the plan", err);
done:
    vise_free(fates);
    vise_sink_close(sink, true);
    return status;
}
