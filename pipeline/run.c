/* The executor. A run is: plan, session, sink, walk, side files, finish, evaluate, report, publish. */
#include "pipeline/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/buf.h"
#include "core/cpu.h"
#include "core/event.h"
#include "core/file.h"
#include "core/json.h"
#include "eval/embed.h"
#include "eval/eval.h"
#include "pipeline/apart.h"
#include "pipeline/finished.h"
#include "pipeline/gguf_tokenizer.h"
#include "pipeline/offload.h"
#include "pipeline/run_report.h"
#include "pipeline/run_walk.h"
#include "pipeline/scaling.h"
#include "pipeline/survey.h"
#include "pipeline/units.h"
#include "pipeline/text_options.h"
#include "text/tokenizer.h"

double vise_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- preparation ----------------------------------------------------------------------------------- */

/* What must be equal for an interrupted run to be continued. */
static vise_status identity_of(const vise_plan *plan, const vise_session *session, vise_buf *buf,
                               vise_error *err)
{
    const vise_request *request = plan->request;
    const vise_source *source = vise_store_source(plan->model->store);
    vise_json_writer writer;
    vise_buf_init(buf, (size_t)64 << 20);
    vise_json_begin(&writer, buf, 0);
    vise_json_object(&writer);
    vise_json_key(&writer, "recipe");
    vise_json_put_text(&writer, request->recipe_text != NULL ? request->recipe_text : "");
    vise_json_key(&writer, "seed");
    vise_json_put_uint(&writer, request->seed);
    vise_json_key(&writer, "input");
    vise_json_array(&writer);
    for (size_t i = 0; i < vise_source_files(source); i++) {
        const vise_source_file *file = vise_source_file_at(source, i);
        vise_json_put_text(&writer, file->name);
        vise_json_put_uint(&writer, file->bytes);
        vise_json_put_int(&writer, file->mtime_ns);
        vise_json_put_text(&writer, file->header_sha256);
    }
    vise_json_array_end(&writer);
    /* Passes that need weights alone give the same bytes everywhere. */
    if (plan->last_calibrated >= 0 || plan->scaling.last >= 0) {
        vise_json_key(&writer, "cpu_level");
        vise_json_put_text(&writer, vise_cpu_level_name(vise_cpu()));
        vise_json_key(&writer, "blas");
        vise_json_put_text(&writer, vise_blas_text());
        vise_json_key(&writer, "device");
        vise_json_put_text(&writer, session->backend->name);
    }
    vise_json_object_end(&writer);
    return vise_buf_check(buf, "the journal's identity", err);
}

static vise_status load_windows(const vise_plan *plan, const vise_text_source *text,
                                const vise_window_options *options, vise_windows **sets, size_t *count,
                                vise_error *err)
{
    vise_tokenizer *tokenizer;
    VISE_TRY(vise_model_tokenizer(plan->request->input, text->path, &tokenizer, err));
    vise_status status = vise_window_sets_load(text->path, tokenizer, (int32_t)plan->model->config.vocab, options,
                                               sets, count, err);
    vise_tokenizer_close(tokenizer);
    return status;
}

static vise_status load_calibration(const vise_plan *plan, vise_windows *windows, vise_error *err)
{
    const vise_text_source *text = &plan->request->calibration;
    vise_window_options options;
    vise_windows *sets;
    size_t count;
    VISE_TRY(vise_text_windows(text, plan->model->config.max_positions, 128, &options, err));
    VISE_TRY(load_windows(plan, text, &options, &sets, &count, err));
    *windows = sets[0]; /* the contract's windows are all alike */
    vise_free(sets);
    return VISE_OK;
}

/* ---- resuming
 * -----------------------------------------------------------------------------------------------------------
 */

bool vise_walk_has(const vise_walk *walk, size_t index)
{
    const vise_planned_parts *parts = &walk->plan->parts[index];
    for (int p = 0; p < parts->n_parts; p++)
        if (!vise_sink_has(walk->sink, parts->ids[p]))
            return false;
    return true;
}

/* ---- the walk
 * -------------------------------------------------------------------------------------------------------------
 */

static bool any_finished(const vise_walk *walk)
{
    bool any = false;
    for (size_t i = 0; walk->sink != NULL && i < walk->plan->count; i++)
        any = any || (walk->plan->parts[i].n_parts > 0 && vise_walk_has(walk, i));
    return any;
}

vise_status vise_walk_stream(vise_walk *walk, size_t index, vise_error *err)
{
    const vise_logical *tensor = walk->plan->model->bound[index].tensor;
    if (!vise_walk_has(walk, index)) {
        VISE_TRY(vise_check_interrupt(err));
        vise_progress("compress", tensor->module, walk->bytes_done, walk->bytes_total);
        VISE_TRY(vise_tile_stream(walk->plan, index, walk->sink, walk->session->workers, walk->session->pool,
                                  &walk->outcomes[index].loss, err));
    }
    walk->bytes_done += (double)tensor->stored_bytes;
    return VISE_OK;
}

static vise_status measure_walks(vise_walk *walk, vise_error *err)
{
    vise_plan *plan = walk->plan;
    for (size_t p = 0; p < plan->n_runs; p++) {
        vise_pass_run *run = &plan->runs[p];
        while (run->method->wants_measure != NULL && run->method->wants_measure(run)) {
            double done = 0.0;
            for (size_t k = 0; k < plan->count; k++) {
                size_t i = plan->order[k];
                done += (double)plan->model->bound[i].tensor->stored_bytes;
                if ((plan->planned[i].passes >> p & 1) == 0)
                    continue;
                VISE_TRY(vise_check_interrupt(err));
                vise_progress("measure", plan->model->bound[i].tensor->module, done, walk->bytes_total);
                VISE_TRY(vise_tile_measure(plan, run, i, walk->session->workers, walk->session->pool, err));
            }
            if (run->method->measured != NULL)
                VISE_TRY(run->method->measured(run, err));
        }
    }
    return VISE_OK;
}

static vise_status walk_all(vise_walk *walk, vise_error *err)
{
    vise_plan *plan = walk->plan;
    size_t next = 0;
    VISE_TRY(measure_walks(walk, err));
    double start = vise_seconds();
    if (plan->last_calibrated >= 0)
        VISE_TRY(vise_walk_blocks(walk, &next, err));
    for (; next < plan->count; next++)
        VISE_TRY(vise_walk_stream(walk, plan->order[next], err));
    vise_progress("compress", NULL, walk->bytes_total, walk->bytes_total);
    /* Streamed passes share one walk: its time is theirs together. */
    for (size_t p = 0; p < plan->n_runs; p++)
        if (plan->runs[p].method->group == NULL && plan->last_calibrated < 0)
            walk->pass_seconds[p] = vise_seconds() - start;
    return VISE_OK;
}

static vise_status with_passes(vise_walk *walk, vise_error *err)
{
    vise_plan *plan = walk->plan;
    size_t begun = 0;
    vise_status status = VISE_OK;
    for (; begun < plan->n_runs && status == VISE_OK; begun++) {
        vise_pass_run *run = &plan->runs[begun];
        run->pool = walk->session->pool;
        run->workers = walk->session->workers;
        run->backend = walk->session->backend;
        if (run->method->begin != NULL)
            status = run->method->begin(run, err);
    }
    if (status == VISE_OK)
        status = walk_all(walk, err);
    for (size_t p = 0; p < begun; p++)
        if (plan->runs[p].method->end != NULL)
            plan->runs[p].method->end(&plan->runs[p]);
    return status;
}

/* ---- files beside the weights ---------------------------------------------------------------------- */

/* The dtype that all float tensors of the output have, or VISE_DTYPE_COUNT. */
static vise_dtype common_dtype(const vise_plan *plan)
{
    vise_dtype common = VISE_DTYPE_COUNT;
    for (size_t i = 0; i < plan->count; i++) {
        if (!vise_dtype_of(plan->planned[i].dtype)->is_float)
            continue;
        if (common != VISE_DTYPE_COUNT && common != plan->planned[i].dtype)
            return VISE_DTYPE_COUNT;
        common = plan->planned[i].dtype;
    }
    return common;
}

static bool dtypes_changed(const vise_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        if (plan->planned[i].dtype != plan->model->bound[i].tensor->dtype)
            return true;
    return false;
}

static vise_status edit(const char *path, char **text, const char *key, const char *json, vise_error *err)
{
    char *edited;
    VISE_TRY(vise_json_edit(path, *text, key, json, &edited, err));
    vise_free(*text);
    *text = edited;
    return VISE_OK;
}

/* config.json as it was, with what the passes changed. */
static vise_status config_text(const vise_plan *plan, char **out, vise_error *err)
{
    const vise_source *source = vise_store_source(plan->model->store);
    const char *path = vise_source_config_path(source);
    const cJSON *config = vise_source_config(source);
    vise_buf quantization;
    vise_buf_init(&quantization, (size_t)64 << 20);
    vise_status status = vise_strdup(vise_source_config_text(source), out, err);
    if (status != VISE_OK)
        return status;
    bool quantized = plan->cache.type != NULL;
    for (size_t i = 0; i < plan->count; i++)
        quantized = quantized || plan->planned[i].scheme.type != NULL;
    if (quantized && plan->gguf == NULL) {
        VISE_TRY_TO(done, plan->layout->config(plan->spelling, plan->n_spelling, &quantization, err));
        VISE_TRY_TO(done, vise_buf_check(&quantization, "quantization_config", err));
        VISE_TRY_TO(done, edit(path, out, "quantization_config", quantization.data, err));
    } else if (cJSON_GetObjectItemCaseSensitive(config, "quantization_config") != NULL) {
        VISE_TRY_TO(done, edit(path, out, "quantization_config", NULL, err));
    }
    vise_dtype dtype = common_dtype(plan);
    if (dtypes_changed(plan) && dtype != VISE_DTYPE_COUNT && vise_dtype_of(dtype)->torch_name != NULL) {
        char json[48];
        snprintf(json, sizeof json, "\"%s\"", vise_dtype_of(dtype)->torch_name);
        bool newer = cJSON_GetObjectItemCaseSensitive(config, "dtype") != NULL;
        VISE_TRY_TO(done, edit(path, out, newer ? "dtype" : "torch_dtype", json, err));
    }
    bool tied = false; /* as the input says, where the head has become a weight of its own */
    VISE_TRY_TO(done, vise_json_bool(path, config, "tie_word_embeddings", false, &tied, err));
    if (plan->output.rotation != VISE_ROTATE_NOT && (tied || plan->model->config.tied))
        VISE_TRY_TO(done, edit(path, out, "tie_word_embeddings", "false", err));
done:
    vise_buf_deinit(&quantization);
    if (status != VISE_OK) {
        vise_free(*out);
        *out = NULL;
    }
    return status;
}

/* The layout's configuration as a file of its own, where its loaders look for one. */
static vise_status put_config_file(const vise_plan *plan, vise_sink *sink, vise_error *err)
{
    vise_buf text;
    if (plan->layout->config_file == NULL)
        return VISE_OK;
    vise_buf_init(&text, (size_t)64 << 20);
    vise_status status = plan->layout->config(plan->spelling, plan->n_spelling, &text, err);
    if (status == VISE_OK && strcmp(text.data, "null") != 0)
        status = vise_sink_put_file(sink, plan->layout->config_file, text.data, text.length, err);
    vise_buf_deinit(&text);
    return status;
}

/* The tokenizer of a GGUF file, where no files beside it say more. */
static vise_status put_tokenizer(const vise_source *source, vise_sink *sink, vise_error *err)
{
    const vise_gguf *gguf = vise_source_gguf(source);
    const char *why;
    bool found = false;
    vise_buf tokenizer, config;
    if (gguf == NULL)
        return VISE_OK;
    if (vise_source_is_folder(source))
        VISE_TRY(vise_tokenizer_is_in(vise_source_path(source), &found, err));
    if (found)
        return VISE_OK;
    vise_buf_init(&tokenizer, (size_t)512 << 20);
    vise_buf_init(&config, (size_t)64 << 20);
    vise_status status = vise_gguf_tokenizer_write(gguf, &tokenizer, &config, &why, err);
    if (status == VISE_OK && why != NULL)
        vise_warn("%s: no tokenizer.json is made: %s", vise_source_path(source), why);
    else if (status == VISE_OK)
        status = vise_sink_put_file(sink, "tokenizer.json", tokenizer.data, tokenizer.length, err);
    if (status == VISE_OK && why == NULL)
        status = vise_sink_put_file(sink, "tokenizer_config.json", config.data, config.length, err);
    vise_buf_deinit(&config);
    vise_buf_deinit(&tokenizer);
    return status;
}

/* The pooling that a GGUF file of an encoder tells, as sentence-transformers has it. */
static vise_status put_pooling(const vise_source *source, vise_sink *sink, vise_error *err)
{
    static const char modules[] =
        "[{\"idx\": 0, \"name\": \"0\", \"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"},\n"
        " {\"idx\": 1, \"name\": \"1\", \"path\": \"1_Pooling\", "
        "\"type\": \"sentence_transformers.models.Pooling\"}]\n";
    const vise_gguf *gguf = vise_source_gguf(source);
    int64_t width = 0;
    vise_pooling pooling;
    vise_buf text;
    if (gguf == NULL || vise_gguf_find(gguf, "bert.pooling_type") == NULL ||
        vise_pooling_of(source, &pooling, NULL) != VISE_OK)
        return VISE_OK;
    VISE_TRY(vise_gguf_get_int(gguf, "bert.embedding_length", true, 1, INT32_MAX, &width, err));
    vise_buf_init(&text, 4096);
    vise_buf_addf(&text,
                  "{\"word_embedding_dimension\": %lld, \"pooling_mode_cls_token\": %s, "
                  "\"pooling_mode_mean_tokens\": %s}\n",
                  (long long)width, pooling.first_token ? "true" : "false", pooling.first_token ? "false" : "true");
    vise_status status = vise_buf_check(&text, "1_Pooling/config.json", err);
    if (status == VISE_OK)
        status = vise_sink_put_file(sink, "1_Pooling/config.json", text.data, text.length, err);
    if (status == VISE_OK)
        status = vise_sink_put_file(sink, "modules.json", modules, strlen(modules), err);
    vise_buf_deinit(&text);
    return status;
}

static vise_status put_side_files(const vise_plan *plan, vise_sink *sink, vise_error *err)
{
    const vise_source *source = vise_store_source(plan->model->store);
    if (vise_output_is_file(&plan->request->output))
        return VISE_OK;
    if (vise_source_config(source) != NULL) {
        char *text;
        VISE_TRY(config_text(plan, &text, err));
        vise_status status = vise_sink_put_file(sink, "config.json", text, strlen(text), err);
        vise_free(text);
        VISE_TRY(status);
    }
    VISE_TRY(put_config_file(plan, sink, err));
    if (plan->gguf == NULL)
        VISE_TRY(put_tokenizer(source, sink, err));
    if (plan->gguf == NULL)
        VISE_TRY(put_pooling(source, sink, err));
    for (size_t i = 0; i < vise_source_side_files(source); i++) {
        const char *name = vise_source_side_file(source, i);
        char *from;
        VISE_TRY(vise_path_join(vise_source_path(source), name, &from, err));
        vise_status status = vise_sink_copy_file(sink, name, from, err);
        vise_free(from);
        VISE_TRY(status);
    }
    return VISE_OK;
}

/* The blocks that finished shards hold, opened as a model: a folder of links beside them with the output's
 * config and an index of what is there. */
static vise_status open_finished(vise_walk *walk, vise_error *err)
{
    vise_plan *plan = walk->plan;
    if (!any_finished(walk) || plan->last_calibrated < 0)
        return VISE_OK;
    char *config = NULL, *folder = NULL;
    VISE_TRY(config_text(plan, &config, err));
    vise_status status = vise_sink_finished_folder(walk->sink, config, &folder, err);
    if (status == VISE_OK)
        status = vise_model_open_partial(folder, &walk->finished, err);
    vise_free(folder);
    vise_free(config);
    return status;
}

/* ---- evaluation
 * ----------------------------------------------------------------------------------------------------------------
 */

static vise_status evaluate(vise_walk *walk, vise_report *report, vise_error *err)
{
    vise_plan *plan = walk->plan;
    const vise_text_source *text = &plan->request->evaluation;
    vise_session *session = walk->session;
    if (text->path == NULL)
        return VISE_OK;
    vise_windows *sets = NULL;
    size_t count = 0;
    vise_window_options cut;
    vise_model *after = NULL;
    vise_quality quality, reference;
    vise_divergence divergence;
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, vise_text_windows(text, plan->model->config.max_positions, 0, &cut, err));
    VISE_TRY_TO(done, load_windows(plan, text, &cut, &sets, &count, err));
    VISE_TRY_TO(done, vise_model_open(vise_sink_partial_path(walk->sink), &after, err));
    const size_t limit = vise_pool_limit(session->pool);
    uint64_t ram = limit == 0                      ? UINT64_MAX
                   : limit > plan->memory.evaluate ? (limit - plan->memory.evaluate) / 2
                                                   : 0;
    vise_eval_options options = {.windows = sets,
                                 .sets = count,
                                 .stream_ram_bytes = ram,
                                 .pool = session->pool,
                                 .workers = session->workers,
                                 .backend = session->backend};
    VISE_TRY_TO(done, vise_evaluate(after, plan->model, &options, &quality, &reference, &divergence, err));
    VISE_TRY_TO(done, vise_report_accuracy(report, text->path, cut.length, &quality, &reference,
                                           &divergence, err));
    vise_report_protocol(report, &cut, sets[0].invalid_utf8);
done:
    vise_model_close(after);
    vise_windows_free_sets(sets, count);
    return status;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

/* Hashes the input's weight files while the run goes on. */
static vise_status hash_inputs(vise_walk *walk, vise_error *err)
{
    const vise_source *source = vise_store_source(walk->plan->model->store);
    const size_t files = vise_source_files(source);
    VISE_TRY(vise_calloc(files + 1, sizeof *walk->inputs, (void **)&walk->inputs, err));
    for (size_t i = 0; i < files; i++)
        VISE_TRY(vise_hasher_add(walk->hasher, vise_source_file_at(source, i)->path, &walk->inputs[i], err));
    return VISE_OK;
}

static vise_status finish(vise_walk *walk, vise_report *report, double start, vise_error *err)
{
    vise_plan *plan = walk->plan;
    VISE_TRY(put_side_files(plan, walk->sink, err));
    VISE_TRY(vise_sink_finish(walk->sink, err));
    if (plan->output.offload_folder != NULL)
        VISE_TRY(vise_offload_write(plan, vise_sink_partial_path(walk->sink), walk->session->pool, err));
    VISE_TRY(evaluate(walk, report, err));
    VISE_TRY(vise_report_run(report, walk, err));
    vise_status goals = vise_report_goals(report, &plan->request->goals, err);
    if (goals != VISE_OK && goals != VISE_EGOAL)
        return goals;
    report->seconds = vise_seconds() - start;
    VISE_TRY(vise_report_write(report, plan->request, walk->sink, err));
    if (plan->output.offload_folder != NULL)
        VISE_TRY(vise_offload_publish(plan, err));
    VISE_TRY(vise_sink_publish(walk->sink, err));
    vise_status beside = vise_report_write_beside(report, plan->request, err);
    return beside != VISE_OK ? beside : goals;
}

static vise_status run_session(vise_plan *plan, vise_session *session, vise_report *report, double start,
                               vise_error *err)
{
    const vise_request *request = plan->request;
    vise_walk walk = {.plan = plan, .session = session};
    vise_buf identity = {0};
    bool begun = false, offloads = false, finished = false;
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, identity_of(plan, session, &identity, err));
    vise_run_identity(identity.data, report);
    if (request->output.resume)
        VISE_TRY_TO(done, vise_run_finished(request, report, &finished, err));
    if (finished)
        goto done;
    VISE_TRY_TO(done, vise_calloc(plan->count + 1, sizeof *walk.outcomes, (void **)&walk.outcomes, err));
    for (size_t i = 0; i < plan->count; i++) {
        walk.outcomes[i] = (vise_outcome){.proxy_loss = NAN, .damp = NAN};
        walk.bytes_total += (double)plan->model->bound[i].tensor->stored_bytes;
    }
    if (plan->last_calibrated >= 0 || plan->scaling.last >= 0)
        VISE_TRY_TO(done, load_calibration(plan, &walk.calibration, err));
    VISE_TRY_TO(done, vise_hasher_new(&walk.hasher, err));
    vise_sink_options options = {.path = request->output.path,
                                 .replace = request->output.replace,
                                 .resume = request->output.resume,
                                 .pack = plan->packed,
                                 .max_shard_bytes = request->output.max_shard_bytes,
                                 .identity = identity.data,
                                 .gguf = vise_plan_gguf_values(plan),
                                 .pool = session->pool,
                                 .hasher = walk.hasher};
    if (plan->output.offload_folder != NULL)
        VISE_TRY_TO(done, vise_offload_begin(plan, err));
    offloads = plan->output.offload_folder != NULL;
    VISE_TRY_TO(done, vise_sink_open(&options, &walk.sink, err));
    VISE_TRY_TO(done, vise_plan_declare(plan, walk.sink, err));
    VISE_TRY_TO(done, vise_sink_seal(walk.sink, err));
    VISE_TRY_TO(done, vise_plan_write_extras(plan, walk.sink, err));
    VISE_TRY_TO(done, open_finished(&walk, err));
    VISE_TRY_TO(done, hash_inputs(&walk, err));
    VISE_TRY_TO(done, vise_scaling_run(plan, session, &walk.calibration, err));
    begun = true;
    VISE_TRY_TO(done, with_passes(&walk, err));
    status = finish(&walk, report, start, err);
done:;
    /* What an earlier run has finished stays until work on it begins; after a full disk, what this one has. */
    const bool kept = begun && status == VISE_ERESOURCE && any_finished(&walk);
    const bool resumable = status == VISE_EINTERRUPTED || (request->output.resume && !begun) || kept;
    if (kept)
        vise_error_add(err, "; what is finished is kept: once there is room, the same command with --resume "
                            "continues it");
    if (offloads)
        vise_offload_drop(plan);
    if (walk.sink != NULL)
        vise_sink_close(walk.sink, status != VISE_OK && status != VISE_EGOAL && !resumable);
    vise_model_close(walk.finished);
    vise_windows_deinit(&walk.calibration);
    vise_buf_deinit(&identity);
    vise_hasher_free(walk.hasher);
    vise_free(walk.inputs);
    vise_free(walk.outcomes);
    return status;
}

static vise_status check_apart(const vise_plan *plan, vise_error *err)
{
    const vise_request *request = plan->request;
    const char *written[] = {request->output.path, request->report_path};
    const char *texts[] = {request->calibration.path, request->evaluation.path};
    for (size_t i = 0; i < 2; i++) {
        if (written[i] == NULL)
            continue;
        VISE_TRY(vise_check_apart_from_model(written[i], plan->model, err));
        for (size_t j = 0; j < 2; j++)
            if (texts[j] != NULL)
                VISE_TRY(vise_check_apart(written[i], texts[j], err));
    }
    return VISE_OK;
}

/* Headers grow with the names of dtypes and shapes: what a choice makes too much is taken off the budget. */
#define BUDGET_ROUNDS 8

static vise_status choose_schemes(const vise_request *request, const vise_survey *survey, vise_plan *plan,
                                  vise_scheme *chosen, vise_plan **out, vise_error *err)
{
    const uint64_t limit = plan->budgeted->budget.bytes;
    uint64_t excess = 0, bytes;
    double kl;
    for (int round = 0; round < BUDGET_ROUNDS; round++) {
        VISE_TRY(vise_survey_choose(survey, plan, excess, chosen, &kl, &bytes, err));
        VISE_TRY(vise_plan_make_chosen(request, chosen, out, err));
        if ((*out)->bytes_after <= limit) {
            (*out)->target.kl = kl;
            (*out)->target.reached =
                limit != VISE_UNSET_SIZE ? (double)(*out)->bytes_after
                                         : 8.0 * (double)(bytes + plan->units->given) / plan->units->budgeted;
            return VISE_OK;
        }
        excess += (*out)->bytes_after - limit;
        vise_plan_free(*out);
        *out = NULL;
    }
    return VISE_FAIL(err, VISE_EUSAGE, "--target-size: no choice of schemes fits");
}

/* The plan of a run with a budget, from a survey that the first plan describes. */
static vise_status plan_by_survey(const vise_request *request, vise_plan **plan, vise_session *session, vise_error *err)
{
    vise_windows windows = {0};
    vise_survey *survey = NULL;
    vise_scheme *chosen = NULL;
    vise_plan *second = NULL;
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, load_calibration(*plan, &windows, err));
    VISE_TRY_TO(done, vise_calloc((*plan)->count + 1, sizeof *chosen, (void **)&chosen, err));
    VISE_TRY_TO(done, vise_survey_make(*plan, session, &windows, &survey, err));
    VISE_TRY_TO(done, choose_schemes(request, survey, *plan, chosen, &second, err));
    const size_t limit = vise_pool_limit(session->pool);
    if (limit != 0 && second->memory.least > limit) {
        char least[VISE_SIZE_TEXT_MAX];
        status = VISE_FAIL(err, VISE_ERESOURCE,
                           "the schemes chosen need %s beyond the program itself; give more --memory",
                           vise_format_size(second->memory.least, least));
        vise_plan_free(second);
        goto done;
    }
    vise_plan_free(*plan);
    *plan = second;
done:
    vise_survey_free(survey);
    vise_free(chosen);
    vise_windows_deinit(&windows);
    return status;
}

static vise_status plan_and_run(const vise_request *request, vise_report *report, vise_error *err)
{
    const double start = vise_seconds();
    vise_plan *plan;
    vise_session session;
    if (request->output.path == NULL)
        return VISE_FAIL(err, VISE_EUSAGE, "no output: give -o OUT");
    if (!request->output.replace && !request->output.resume && vise_path_exists(request->output.path))
        return VISE_FAIL(err, VISE_EUSAGE, "%s exists; choose another output, or give --force to replace it",
                         request->output.path);
    VISE_TRY(vise_plan_make(request, &plan, err));
    const bool calibrates = plan->last_calibrated >= 0 || plan->scaling.last >= 0;
    const bool computes = calibrates || plan->budgeted != NULL || request->evaluation.path != NULL;
    vise_status status = check_apart(plan, err);
    if (status == VISE_OK)
        status = vise_session_open(request->device, plan->threads, request->memory_bytes, plan->memory.least,
                                   computes, &session, err);
    const bool opened = status == VISE_OK;
    if (opened && plan->budgeted != NULL)
        status = plan_by_survey(request, &plan, &session, err);
    if (status == VISE_OK)
        status = run_session(plan, &session, report, start, err);
    vise_plan_free(plan); /* first: the model's decoders draw from the session's pool */
    if (opened)
        vise_session_close(&session);
    return status;
}

vise_status vise_run(const vise_request *request, vise_report *report, vise_error *err)
{
    VISE_TRY(vise_report_init(report, err));
    vise_report_collect(report);
    vise_status status = plan_and_run(request, report, err);
    vise_report_collect(NULL);
    return status;
}
