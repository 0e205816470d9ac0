/* The report as its JSON document. A key without a value is absent. */
#include <math.h>

#include "core/json.h"
#include "core/version.h"
#include "pipeline/option.h"
#include "pipeline/report.h"
#include "pipeline/report_tasks.h"

/* ---- members that may be absent --------------------------------------------------------------------- */

static void put_text(vise_json_writer *to, const char *key, const char *value)
{
    if (!value)
        return;
    vise_json_key(to, key);
    vise_json_put_text(to, value);
}

static void put_size(vise_json_writer *to, const char *key, uint64_t value)
{
    if (value == VISE_UNSET_SIZE)
        return;
    vise_json_key(to, key);
    vise_json_put_uint(to, value);
}

static void put_number(vise_json_writer *to, const char *key, double value)
{
    if (!isfinite(value))
        return;
    vise_json_key(to, key);
    vise_json_put_double(to, value);
}

static void open_object(vise_json_writer *to, const char *key)
{
    vise_json_key(to, key);
    vise_json_object(to);
}

static void open_array(vise_json_writer *to, const char *key)
{
    vise_json_key(to, key);
    vise_json_array(to);
}

static double ratio_of(uint64_t before, uint64_t after)
{
    if (before == VISE_UNSET_SIZE || after == VISE_UNSET_SIZE || after == 0)
        return NAN;
    return (double)before / (double)after;
}

/* ---- sections --------------------------------------------------------------------------------------- */

static void put_tool(vise_json_writer *to, const vise_report *report)
{
    open_object(to, "tool");
    put_text(to, "version", vise_version());
    put_text(to, "commit", vise_commit());
    put_text(to, "device", report->tool.device);
    put_text(to, "cpu_level", report->tool.cpu_level);
    put_text(to, "blas", report->tool.blas);
    if (report->tool.threads > 0) {
        vise_json_key(to, "threads");
        vise_json_put_int(to, report->tool.threads);
    }
    vise_json_key(to, "seed");
    vise_json_put_uint(to, report->tool.seed);
    vise_json_object_end(to);
}

static void put_model(vise_json_writer *to, const char *key, const vise_report_model *model)
{
    if (!model->path)
        return;
    open_object(to, key);
    put_text(to, "path", model->path);
    put_text(to, "format", model->format);
    put_text(to, "layout", model->layout);
    put_size(to, "parameters", model->parameters);
    put_size(to, "bytes", model->bytes);
    open_array(to, "files");
    for (size_t i = 0; i < model->n_files; i++) {
        vise_json_object(to);
        put_text(to, "name", model->files[i].name);
        put_size(to, "bytes", model->files[i].bytes);
        if (model->files[i].sha256[0])
            put_text(to, "sha256", model->files[i].sha256);
        vise_json_object_end(to);
    }
    vise_json_array_end(to);
    vise_json_object_end(to);
}

static void put_texts(vise_json_writer *to, const char *key, const char *const *texts, size_t count)
{
    open_array(to, key);
    for (size_t i = 0; i < count; i++)
        vise_json_put_text(to, texts[i]);
    vise_json_array_end(to);
}

static void put_passes(vise_json_writer *to, const vise_report *report)
{
    open_array(to, "passes");
    for (size_t i = 0; i < report->n_passes; i++) {
        const vise_report_pass *pass = &report->passes[i];

        vise_json_object(to);
        put_text(to, "pass", pass->pass);
        put_text(to, "method", pass->method);
        if (pass->options_json) {
            vise_json_key(to, "options");
            vise_json_put_raw(to, pass->options_json);
        }
        put_number(to, "seconds", pass->seconds);
        put_size(to, "bytes_before", pass->bytes_before);
        put_size(to, "bytes_after", pass->bytes_after);
        put_size(to, "weights", pass->weights);
        put_texts(to, "fallbacks", pass->fallbacks, pass->n_fallbacks);
        vise_json_object_end(to);
    }
    vise_json_array_end(to);
}

static void put_weight(vise_json_writer *to, const vise_report_weight *weight)
{
    vise_json_object(to);
    put_text(to, "name", weight->name);
    put_text(to, "role", weight->role);
    open_array(to, "shape");
    vise_json_put_int(to, weight->rows);
    vise_json_put_int(to, weight->cols);
    vise_json_array_end(to);
    put_text(to, "scheme", weight->scheme);
    put_number(to, "bits_per_weight", weight->bits_per_weight);
    put_size(to, "bytes", weight->bytes);
    put_number(to, "sparsity", weight->sparsity);
    put_number(to, "mse", weight->mse);
    put_number(to, "sqnr_db", weight->sqnr_db);
    put_number(to, "loss", weight->loss);
    put_number(to, "damp", weight->damp);
    if (weight->outliers_counted) {
        put_size(to, "outlier_columns", weight->outlier_columns);
        put_number(to, "largest_input", weight->largest_input);
    }
    put_text(to, "note", weight->note);
    vise_json_object_end(to);
}

static void put_shares(vise_json_writer *to, const char *key, const vise_report_share *shares, size_t count)
{
    if (count == 0)
        return;
    open_array(to, key);
    for (size_t i = 0; i < count; i++) {
        vise_json_object(to);
        put_text(to, "name", shares[i].name);
        put_size(to, "parameters", shares[i].parameters);
        put_size(to, "before", shares[i].before);
        put_size(to, "after", shares[i].after);
        vise_json_object_end(to);
    }
    vise_json_array_end(to);
}

static void put_size_section(vise_json_writer *to, const vise_report *report)
{
    if (report->size.before == VISE_UNSET_SIZE && report->size.after == VISE_UNSET_SIZE)
        return;
    open_object(to, "size");
    put_size(to, "before", report->size.before);
    put_size(to, "after", report->size.after);
    put_number(to, "ratio", ratio_of(report->size.before, report->size.after));
    put_number(to, "bits_per_weight", report->size.bits_per_weight);
    put_shares(to, "by_role", report->size.by_role, report->size.n_roles);
    put_shares(to, "by_scheme", report->size.by_scheme, report->size.n_schemes);
    put_size(to, "packed_after", report->size.packed_after);
    vise_json_object_end(to);
}

static void put_memory(vise_json_writer *to, const vise_report *report)
{
    open_object(to, "memory");
    put_size(to, "budget", report->memory.budget);
    put_size(to, "peak_rss", report->memory.peak_rss);
    put_size(to, "peak_pool", report->memory.peak_pool);
    put_size(to, "load_before", report->memory.load_before);
    put_size(to, "load_after", report->memory.load_after);
    put_size(to, "kv_cache_per_token", report->memory.kv_cache_per_token);
    put_text(to, "kv_cache", report->memory.kv_cache);
    vise_json_object_end(to);
}

static void put_perplexity(vise_json_writer *to, const vise_report *report)
{
    const vise_report_pair *pair = &report->accuracy.perplexity;

    if (!isfinite(pair->before) && !isfinite(pair->after))
        return;
    open_object(to, "perplexity");
    put_number(to, "before", pair->before);
    put_number(to, "after", pair->after);
    put_number(to, "ratio", pair->ratio);
    put_number(to, "stderr", pair->stderr_);
    put_number(to, "stderr_before", report->accuracy.stderr_before);
    put_number(to, "stderr_after", report->accuracy.stderr_after);
    put_number(to, "stderr_tokens", report->accuracy.stderr_tokens);
    put_number(to, "low", report->accuracy.low);
    put_number(to, "high", report->accuracy.high);
    vise_json_object_end(to);
}

static void put_bits(vise_json_writer *to, double before, double after)
{
    if (!isfinite(before) && !isfinite(after))
        return;
    open_object(to, "bits_per_byte");
    put_number(to, "before", before);
    put_number(to, "after", after);
    vise_json_object_end(to);
}

static void put_spread(vise_json_writer *to, const char *key, const vise_spread *spread)
{
    const struct {
        const char *key;
        double value;
    } all[] = {{"mean", spread->mean}, {"stderr", spread->stderr_mean}, {"rms", spread->rms}, {"min", spread->min},
               {"p1", spread->p1},     {"p5", spread->p5},              {"p10", spread->p10}, {"p25", spread->p25},
               {"p50", spread->p50},   {"p75", spread->p75},            {"p90", spread->p90}, {"p95", spread->p95},
               {"p99", spread->p99},   {"p999", spread->p999},          {"max", spread->max}};

    if (!isfinite(spread->mean))
        return;
    open_object(to, key);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        put_number(to, all[i].key, all[i].value);
    vise_json_object_end(to);
}

static void put_accuracy(vise_json_writer *to, const vise_report *report)
{
    if (!report->accuracy.text)
        return;
    open_object(to, "accuracy");
    put_text(to, "text", report->accuracy.text);
    put_size(to, "tokens", report->accuracy.tokens);
    put_size(to, "length", report->accuracy.length);
    put_text(to, "protocol", report->accuracy.protocol);
    put_size(to, "stride", report->accuracy.stride);
    if (report->accuracy.bos_in_front) {
        vise_json_key(to, "bos");
        vise_json_put_bool(to, true);
    }
    put_size(to, "invalid_utf8", report->accuracy.invalid_utf8);
    put_perplexity(to, report);
    put_bits(to, report->accuracy.bits_per_byte_before, report->accuracy.bits_per_byte_after);
    put_spread(to, "kl", &report->accuracy.kl);
    put_spread(to, "delta_p", &report->accuracy.delta_p);
    put_number(to, "top1_agreement", report->accuracy.top1_agreement);
    put_number(to, "top1_stderr", report->accuracy.top1_stderr);
    vise_report_put_tasks(to, report);
    vise_json_object_end(to);
}

static void put_goals(vise_json_writer *to, const vise_report *report)
{
    open_array(to, "goals");
    for (size_t i = 0; i < report->n_goals; i++) {
        vise_json_object(to);
        put_text(to, "name", report->goals[i].name);
        put_number(to, "limit", report->goals[i].limit);
        put_number(to, "value", report->goals[i].value);
        vise_json_key(to, "met");
        vise_json_put_bool(to, report->goals[i].met);
        vise_json_object_end(to);
    }
    vise_json_array_end(to);
}

static void put_target(vise_json_writer *to, const vise_report *report)
{
    if (isnan(report->target.expected_kl))
        return;
    open_object(to, "target");
    put_number(to, "bits", report->target.bits);
    put_number(to, "bytes", report->target.bytes);
    put_number(to, "reached", report->target.reached);
    put_number(to, "expected_kl", report->target.expected_kl);
    vise_json_object_end(to);
}

static void put_outliers(vise_json_writer *to, const vise_report *report)
{
    if (report->outliers.linears == 0)
        return;
    open_object(to, "outliers");
    put_number(to, "threshold", report->outliers.threshold);
    put_size(to, "linears", report->outliers.linears);
    put_size(to, "measured", report->outliers.measured);
    if (report->outliers.measured > 0) {
        put_size(to, "with_outliers", report->outliers.with_outliers);
        put_size(to, "columns", report->outliers.columns);
        put_size(to, "outlier_columns", report->outliers.outliers);
        put_number(to, "largest", report->outliers.largest);
        put_text(to, "largest_name", report->outliers.largest_name);
    }
    vise_json_object_end(to);
}

/* ---- the document ----------------------------------------------------------------------------------- */

static void put_report(vise_json_writer *to, const vise_report *report)
{
    vise_json_key(to, "schema");
    vise_json_put_int(to, 1);
    put_tool(to, report);
    put_model(to, "input", &report->input);
    put_model(to, "output", &report->output);
    put_text(to, "identity", report->identity[0] != '\0' ? report->identity : NULL);
    put_passes(to, report);
    put_size_section(to, report);
    put_target(to, report);
    put_outliers(to, report);
    put_memory(to, report);
    put_accuracy(to, report);
    put_goals(to, report);
    put_texts(to, "warnings", report->warnings, report->n_warnings);
    put_number(to, "seconds", report->seconds);
    open_array(to, "weights");
    for (size_t i = 0; i < report->n_weights; i++)
        put_weight(to, &report->weights[i]);
    vise_json_array_end(to);
}

vise_status vise_report_json(const vise_report *report, bool accuracy_only, vise_buf *out, vise_error *err)
{
    vise_json_writer writer;

    vise_json_begin(&writer, out, 2);
    vise_json_object(&writer);
    if (accuracy_only) {
        if (report->memory.peak_rss != VISE_UNSET_SIZE)
            put_memory(&writer, report);
        put_accuracy(&writer, report);
    } else {
        put_report(&writer, report);
    }
    vise_json_object_end(&writer);
    vise_buf_add_char(out, '\n');
    return vise_buf_check(out, "the report", err);
}
