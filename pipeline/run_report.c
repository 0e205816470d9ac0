/* Filling a report from a run: names, sizes, losses. Texts live in the report's arena. */
#include "pipeline/run_report.h"

#include <math.h>
#include <string.h>

#include "core/cpu.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "pipeline/report_tasks.h"

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static vise_status keep(vise_report *report, const char *text, const char **out, vise_error *err)
{
    if (text == NULL) {
        *out = NULL;
        return VISE_OK;
    }
    return vise_arena_strdup(report->arena, text, strlen(text), out, err);
}

static vise_status keep_scheme(vise_report *report, const vise_scheme *scheme, vise_dtype dtype,
                               const char **out, vise_error *err)
{
    char text[VISE_SCHEME_TEXT_MAX];
    if (scheme->type == NULL) {
        const char *name = vise_dtype_of(dtype)->cli_name;
        *out = name != NULL ? name : vise_dtype_of(dtype)->name;
        return VISE_OK;
    }
    return keep(report, vise_scheme_text(scheme, text), out, err);
}

static const char *role_text(vise_role role)
{
    return role == VISE_ROLE_UNKNOWN ? "other" : vise_role_name(role);
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

static vise_status fill_input(vise_report *report, const vise_walk *walk, vise_error *err)
{
    const vise_plan *plan = walk->plan;
    const vise_source *source = vise_store_source(plan->model->store);
    vise_report_model *input = &report->input;
    VISE_TRY(keep(report, plan->request->input, &input->path, err));
    input->format = vise_source_format(source);
    input->layout = vise_store_layout(plan->model->store)->name;
    input->bytes = plan->bytes_before;
    input->parameters = 0;
    for (size_t i = 0; i < plan->count; i++)
        input->parameters += plan->model->bound[i].tensor->elements;
    input->n_files = vise_source_files(source);
    VISE_TRY(vise_arena_take(report->arena, (input->n_files + 1) * sizeof *input->files,
                             (void **)&input->files, err));
    for (size_t i = 0; i < input->n_files; i++) {
        const vise_source_file *file = vise_source_file_at(source, i);
        VISE_TRY(keep(report, file->name, &input->files[i].name, err));
        input->files[i].bytes = file->bytes;
        VISE_TRY(vise_hasher_wait(walk->inputs[i], input->files[i].sha256, err));
    }
    return VISE_OK;
}

static vise_status fill_output(vise_report *report, const vise_walk *walk, vise_error *err)
{
    const vise_plan *plan = walk->plan;
    vise_report_model *output = &report->output;
    VISE_TRY(keep(report, plan->request->output.path, &output->path, err));
    output->format = plan->gguf != NULL ? "gguf" : "safetensors";
    output->layout = plan->layout->name;
    output->parameters = report->input.parameters;
    output->bytes = 0;
    output->n_files = vise_sink_files(walk->sink);
    VISE_TRY(vise_arena_take(report->arena, (output->n_files + 1) * sizeof *output->files,
                             (void **)&output->files, err));
    for (size_t i = 0; i < output->n_files; i++) {
        const vise_sink_file *file = vise_sink_file_at(walk->sink, i);
        VISE_TRY(keep(report, file->name, &output->files[i].name, err));
        output->files[i].bytes = file->bytes;
        memcpy(output->files[i].sha256, file->sha256, VISE_SHA256_HEX_MAX);
        output->bytes += file->bytes;
    }
    return VISE_OK;
}

/* ---- passes and weights ---------------------------------------------------------------------------- */

static vise_status fill_pass(vise_report *report, const vise_walk *walk, size_t index, vise_error *err)
{
    const vise_plan *plan = walk->plan;
    const vise_pass_run *run = &plan->runs[index];
    vise_report_pass *pass = &report->passes[index];
    *pass = (vise_report_pass){
        .pass = run->pass->name, .method = run->method->name, .seconds = walk->pass_seconds[index]};
    vise_buf buf;
    vise_json_writer writer;
    vise_options table = {.rows = run->pass->options,
                          .count = run->pass->n_options,
                          .values = plan->request->passes[index].config};
    vise_buf_init(&buf, (size_t)1 << 20);
    vise_json_begin(&writer, &buf, 0);
    vise_json_object(&writer);
    vise_options_to_json(&table, &writer);
    vise_json_object_end(&writer);
    vise_status status = vise_buf_check(&buf, "a pass's options", err);
    if (status == VISE_OK)
        status = keep(report, buf.data, &pass->options_json, err);
    vise_buf_deinit(&buf);
    VISE_TRY(status);
    VISE_TRY(vise_arena_take(report->arena, (plan->count + 1) * sizeof *pass->fallbacks,
                             (void **)&pass->fallbacks, err));
    for (size_t i = 0; i < plan->count; i++) {
        const vise_planned *planned = &plan->planned[i];
        const vise_logical *tensor = planned->bound->tensor;
        const char *note = planned->note != NULL && planned->note_pass == (int)index ? planned->note : NULL;
        if (walk->outcomes[i].note != NULL && run->method->group != NULL &&
            (planned->passes >> index & 1) != 0)
            note = walk->outcomes[i].note;
        if (note != NULL)
            VISE_TRY(vise_arena_strfmt(report->arena, &pass->fallbacks[pass->n_fallbacks++], err, "%s: %s",
                                       tensor->module, note));
        if ((planned->passes >> index & 1) == 0)
            continue;
        pass->weights++;
        pass->bytes_before += tensor->stored_bytes;
        pass->bytes_after += vise_plan_stored_bytes(plan, i);
    }
    return VISE_OK;
}

static vise_status fill_weights(vise_report *report, const vise_walk *walk, vise_error *err)
{
    const vise_plan *plan = walk->plan;
    VISE_TRY(vise_arena_take(report->arena, (plan->count + 1) * sizeof *report->weights,
                             (void **)&report->weights, err));
    for (size_t k = 0; k < plan->count; k++) {
        size_t i = plan->order[k];
        const vise_planned *planned = &plan->planned[i];
        const vise_logical *tensor = planned->bound->tensor;
        const vise_outcome *outcome = &walk->outcomes[i];
        if (planned->passes == 0 && planned->note == NULL)
            continue;
        vise_report_weight *weight = &report->weights[report->n_weights++];
        const double n = (double)(tensor->elements > 0 ? tensor->elements : 1);
        *weight = (vise_report_weight){.role = role_text(planned->bound->role),
                                       .rows = tensor->rows,
                                       .cols = tensor->cols,
                                       .bytes = vise_plan_stored_bytes(plan, i),
                                       .sparsity = NAN,
                                       .mse = NAN,
                                       .sqnr_db = NAN,
                                       .loss = outcome->proxy_loss,
                                       .damp = outcome->damp,
                                       .outliers_counted = outcome->outliers_counted,
                                       .outlier_columns = outcome->outlier_columns,
                                       .largest_input = outcome->largest_input};
        weight->bits_per_weight = 8.0 * (double)weight->bytes / n;
        if (outcome->loss.known) {
            weight->sparsity = (double)outcome->loss.zeros / n;
            weight->mse = outcome->loss.error / n;
            if (outcome->loss.error > 0.0 && outcome->loss.signal > 0.0)
                weight->sqnr_db = 10.0 * log10(outcome->loss.signal / outcome->loss.error);
        }
        VISE_TRY(keep(report, tensor->name, &weight->name, err));
        VISE_TRY(keep_scheme(report, &planned->scheme, planned->dtype, &weight->scheme, err));
        VISE_TRY(keep(report, outcome->note != NULL ? outcome->note : planned->note, &weight->note, err));
    }
    return VISE_OK;
}

/* ---- size -------------------------------------------------------------------------------------------------------- */

static void add_share(vise_report_share *shares, size_t *n, const char *name, uint64_t parameters,
                      uint64_t before, uint64_t after)
{
    size_t i = 0;
    while (i < *n && strcmp(shares[i].name, name) != 0)
        i++;
    if (i == *n)
        shares[(*n)++] = (vise_report_share){.name = name};
    shares[i].parameters += parameters;
    shares[i].before += before;
    shares[i].after += after;
}

static vise_status fill_size(vise_report *report, const vise_walk *walk, vise_error *err)
{
    const vise_plan *plan = walk->plan;
    uint64_t elements = 0, stored = 0;
    VISE_TRY(vise_arena_take(report->arena, (plan->count + 1) * sizeof *report->size.by_role,
                             (void **)&report->size.by_role, err));
    VISE_TRY(vise_arena_take(report->arena, (plan->count + 1) * sizeof *report->size.by_scheme,
                             (void **)&report->size.by_scheme, err));
    report->size.n_roles = report->size.n_schemes = 0;
    report->memory.load_before = report->memory.load_after = 0;
    for (size_t k = 0; k < plan->count; k++) {
        size_t i = plan->order[k];
        const vise_logical *tensor = plan->planned[i].bound->tensor;
        const uint64_t after = vise_plan_stored_bytes(plan, i);
        const char *scheme;
        VISE_TRY(keep_scheme(report, &plan->planned[i].scheme, plan->planned[i].dtype, &scheme, err));
        add_share(report->size.by_role, &report->size.n_roles, role_text(plan->planned[i].bound->role),
                  tensor->elements, tensor->stored_bytes, after);
        add_share(report->size.by_scheme, &report->size.n_schemes, scheme, tensor->elements,
                  tensor->stored_bytes, after);
        elements += tensor->elements;
        stored += after;
        report->memory.load_before += tensor->stored_bytes;
    }
    report->memory.load_after = stored;
    report->size.before = plan->bytes_before;
    report->size.after = plan->bytes_after;
    if (plan->packed)
        report->size.packed_after = report->output.bytes;
    report->size.bits_per_weight = elements > 0 ? 8.0 * (double)stored / (double)elements : NAN;
    return VISE_OK;
}

/* A model's columns, where linears of LLM.int8 see them. */
static void fill_outliers(vise_report *report, const vise_walk *walk)
{
    for (size_t w = 0, k = 0; k < walk->plan->count; k++) {
        const vise_planned *planned = &walk->plan->planned[walk->plan->order[k]];
        if (planned->passes == 0 && planned->note == NULL)
            continue;
        const vise_report_weight *weight = &report->weights[w++];
        if (!(planned->outlier_threshold > 0.0))
            continue;
        report->outliers.threshold = planned->outlier_threshold;
        report->outliers.linears++;
        if (!weight->outliers_counted)
            continue;
        report->outliers.measured++;
        report->outliers.with_outliers += weight->outlier_columns > 0;
        report->outliers.outliers += weight->outlier_columns;
        report->outliers.columns += (uint64_t)weight->cols;
        if (report->outliers.measured > 1 && weight->largest_input <= report->outliers.largest)
            continue;
        report->outliers.largest = weight->largest_input;
        report->outliers.largest_name = weight->name;
    }
}

static void fill_target(vise_report *report, const vise_plan *plan)
{
    if (plan->budgeted == NULL)
        return;
    const vise_budget *budget = &plan->budgeted->budget;
    report->target.bits = budget->bits;
    report->target.bytes = budget->bytes != VISE_UNSET_SIZE ? (double)budget->bytes : NAN;
    report->target.reached = plan->target.reached;
    report->target.expected_kl = plan->target.kl;
}

static void fill_memory(vise_report *report, const vise_walk *walk)
{
    const vise_config *config = &walk->plan->model->config;
    if (walk->plan->request->memory_bytes > 0)
        report->memory.budget = walk->plan->request->memory_bytes;
    report->memory.peak_rss = vise_resident_peak_bytes();
    report->memory.peak_pool = vise_pool_peak(walk->session->pool);
    const vise_cache_type *cache = walk->plan->cache.type;
    report->memory.kv_cache = cache != NULL ? cache->name : NULL;
    if (walk->plan->model->arch != NULL) /* keys and values of every layer, in 16 bits or as the file says */
        report->memory.kv_cache_per_token =
            (uint64_t)(2 * config->layers * config->kv_heads * config->head_dim) *
            (cache != NULL ? (uint64_t)vise_cache_values(cache)->bits / 8 : 2);
}

vise_status vise_report_run(vise_report *report, const vise_walk *walk, vise_error *err)
{
    const vise_plan *plan = walk->plan;
    const vise_backend *backend = walk->session->backend;
    VISE_TRY(keep(report, backend != NULL ? backend->name : "cpu", &report->tool.device, err));
    report->tool.cpu_level = vise_cpu_level_name(vise_cpu());
    VISE_TRY(keep(report, vise_blas_text(), &report->tool.blas, err));
    report->tool.threads = vise_workers_count(walk->session->workers);
    report->tool.seed = plan->request->seed;
    VISE_TRY(fill_input(report, walk, err));
    VISE_TRY(fill_output(report, walk, err));
    VISE_TRY(vise_arena_take(report->arena, (plan->n_runs + 1) * sizeof *report->passes,
                             (void **)&report->passes, err));
    report->n_passes = plan->n_runs;
    for (size_t p = 0; p < plan->n_runs; p++)
        VISE_TRY(fill_pass(report, walk, p, err));
    VISE_TRY(fill_weights(report, walk, err));
    VISE_TRY(fill_size(report, walk, err));
    fill_outliers(report, walk);
    fill_target(report, plan);
    fill_memory(report, walk);
    return VISE_OK;
}

/* ---- accuracy and goals ------------------------------------------------------------------------------------------ */

/* The standard normal distribution is between minus and plus this with a probability of 95 %. */
#define NORMAL_95 1.959963984540054

vise_status vise_report_accuracy(vise_report *report, const char *text, size_t length,
                                 const vise_quality *quality, const vise_quality *reference,
                                 const vise_divergence *divergence, vise_error *err)
{
    VISE_TRY(keep(report, text, &report->accuracy.text, err));
    report->accuracy.tokens = quality->tokens;
    report->accuracy.length = length;
    report->accuracy.perplexity.after = quality->perplexity;
    report->accuracy.stderr_after = quality->perplexity * quality->stderr_nll;
    report->accuracy.perplexity.stderr_ = report->accuracy.stderr_after;
    report->accuracy.stderr_tokens = quality->perplexity * quality->stderr_nll_tokens;
    if (quality->stderr_nll > 0.0) {
        report->accuracy.low = exp(quality->nll - NORMAL_95 * quality->stderr_nll);
        report->accuracy.high = exp(quality->nll + NORMAL_95 * quality->stderr_nll);
    }
    if (quality->bits_per_byte > 0.0)
        report->accuracy.bits_per_byte_after = quality->bits_per_byte;
    if (reference != NULL) {
        report->accuracy.perplexity.before = reference->perplexity;
        report->accuracy.stderr_before = reference->perplexity * reference->stderr_nll;
        report->accuracy.perplexity.ratio = quality->perplexity / reference->perplexity;
        if (reference->bits_per_byte > 0.0)
            report->accuracy.bits_per_byte_before = reference->bits_per_byte;
    }
    if (divergence != NULL) {
        report->accuracy.perplexity.stderr_ = divergence->perplexity_ratio_stderr;
        report->accuracy.kl = divergence->kl;
        report->accuracy.delta_p = divergence->delta_p;
        report->accuracy.top1_agreement = divergence->top1_agreement;
        report->accuracy.top1_stderr = divergence->top1_stderr;
    }
    return VISE_OK;
}

void vise_report_protocol(vise_report *report, const vise_window_options *options, uint64_t invalid_utf8)
{
    report->accuracy.protocol = vise_protocol_name(options->protocol);
    if (options->protocol == VISE_PROTOCOL_STRIDE)
        report->accuracy.stride = options->stride > 0 ? options->stride : options->length / 2;
    report->accuracy.bos_in_front = options->bos_in_front;
    if (invalid_utf8 > 0)
        report->accuracy.invalid_utf8 = invalid_utf8;
}

typedef struct goal_list {
    vise_report *report;
    const char *broken;
    double limit, value;
} goal_list;

/* A goal whose value is not known is not met: nothing was evaluated. */
static void add_goal(goal_list *list, const char *name, double limit, double value, bool met)
{
    list->report->goals[list->report->n_goals++] = (vise_report_goal){name, limit, value, met};
    if (met || list->broken != NULL)
        return;
    list->broken = name;
    list->limit = limit;
    list->value = value;
}

vise_status vise_report_goals(vise_report *report, const vise_goals *goals, vise_error *err)
{
    enum { GOALS_MAX = 8 };
    goal_list list = {.report = report};
    VISE_TRY(vise_arena_take(report->arena, GOALS_MAX * sizeof *report->goals, (void **)&report->goals, err));
    report->n_goals = 0;
    const double ratio = report->accuracy.perplexity.ratio, perplexity = report->accuracy.perplexity.after;
    if (!isnan(goals->max_perplexity_ratio))
        add_goal(&list, "max_perplexity_ratio", goals->max_perplexity_ratio, ratio,
                 ratio <= goals->max_perplexity_ratio);
    if (!isnan(goals->max_perplexity))
        add_goal(&list, "max_perplexity", goals->max_perplexity, perplexity,
                 perplexity <= goals->max_perplexity);
    if (!isnan(goals->max_kl))
        add_goal(&list, "max_kl", goals->max_kl, report->accuracy.kl.mean,
                 report->accuracy.kl.mean <= goals->max_kl);
    if (!isnan(goals->min_top1_agreement))
        add_goal(&list, "min_top1_agreement", goals->min_top1_agreement, report->accuracy.top1_agreement,
                 report->accuracy.top1_agreement >= goals->min_top1_agreement);
    if (!isnan(goals->min_accuracy))
        add_goal(&list, "min_accuracy", goals->min_accuracy, vise_report_tasks_accuracy(report),
                 vise_report_tasks_accuracy(report) >= goals->min_accuracy);
    if (!isnan(goals->min_cosine))
        add_goal(&list, "min_cosine", goals->min_cosine, report->accuracy.embeddings.mean_cosine,
                 report->accuracy.embeddings.mean_cosine >= goals->min_cosine);
    if (goals->max_bytes != VISE_UNSET_SIZE && report->output.path != NULL)
        add_goal(&list, "max_bytes", (double)goals->max_bytes, (double)report->output.bytes,
                 report->output.bytes <= goals->max_bytes);
    if (list.broken == NULL)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EGOAL, "goal not met: %s is %g, the limit %g", list.broken, list.value,
                     list.limit);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

vise_status vise_report_path(const vise_request *request, char **path, vise_error *err)
{
    if (request->report_path != NULL)
        return vise_strdup(request->report_path, path, err);
    if (vise_output_is_file(&request->output))
        return vise_strfmt(path, err, "%s.report.json", request->output.path);
    return vise_path_join(request->output.path, "report.json", path, err);
}

static vise_status render(const vise_buf *json, vise_report_format format, vise_buf *out, vise_error *err)
{
    cJSON *document;
    VISE_TRY(vise_json_parse("report.json", json->data, json->length, &document, err));
    vise_status status = vise_report_render(document, "report.json", format, out, err);
    cJSON_Delete(document);
    return status == VISE_OK ? vise_buf_check(out, "the report", err) : status;
}

vise_status vise_report_write(const vise_report *report, const vise_request *request, vise_sink *sink,
                              vise_error *err)
{
    static const struct {
        const char *name;
        vise_report_format format;
    } rendered[] = {{"report.md", VISE_REPORT_MD}, {"report.html", VISE_REPORT_HTML}};
    const size_t max = (size_t)256 << 20;
    if (vise_output_is_file(&request->output))
        return VISE_OK;
    vise_buf json, text;
    vise_buf_init(&json, max);
    vise_buf_init(&text, max);
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, vise_report_json(report, false, &json, err));
    VISE_TRY_TO(done, vise_buf_check(&json, "the report", err));
    VISE_TRY_TO(done, vise_sink_put_file(sink, "report.json", json.data, json.length, err));
    for (size_t i = 0; i < sizeof rendered / sizeof rendered[0]; i++) {
        vise_buf_clear(&text);
        VISE_TRY_TO(done, render(&json, rendered[i].format, &text, err));
        VISE_TRY_TO(done, vise_sink_put_file(sink, rendered[i].name, text.data, text.length, err));
    }
done:
    vise_buf_deinit(&text);
    vise_buf_deinit(&json);
    return status;
}

vise_status vise_report_write_beside(const vise_report *report, const vise_request *request, vise_error *err)
{
    if (request->report_path == NULL && !vise_output_is_file(&request->output))
        return VISE_OK;
    vise_buf json;
    char *path;
    VISE_TRY(vise_report_path(request, &path, err));
    vise_buf_init(&json, (size_t)256 << 20);
    vise_status status = vise_report_json(report, false, &json, err);
    if (status == VISE_OK)
        status = vise_buf_check(&json, "the report", err);
    if (status == VISE_OK)
        status = vise_file_write_atomic(path, json.data, json.length, err);
    vise_buf_deinit(&json);
    vise_free(path);
    return status;
}
