/* vise eval: perplexity of a text or accuracy on labels, and the distance to a reference model. */
#include <math.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/eval_tasks.h"
#include "cli/progress.h"
#include "core/cpu.h"
#include "core/file.h"
#include "core/json.h"
#include "eval/eval.h"
#include "model/model.h"
#include "pipeline/apart.h"
#include "pipeline/gguf_tokenizer.h"
#include "pipeline/report.h"
#include "pipeline/run_report.h"
#include "pipeline/session.h"
#include "pipeline/text_options.h"
#include "text/tokenizer.h"
#include "text/windows.h"

#define TEXT_BYTES_MAX ((size_t)1 << 20)

typedef struct evaluation {
    const vise_eval_command_options *own;
    const char *path;
    vise_model *model, *reference;
    vise_session session;
    vise_window_options cut; /* of --text */
    vise_windows *sets;
    size_t n_sets;
    vise_eval_task task; /* of --labels and so on */
    size_t length;  /* of the longest window */
    uint64_t least; /* pool bytes that the evaluation takes at least */
    vise_report report;
} evaluation;

/* ---- windows ---------------------------------------------------------------------------------------- */

/* Probabilities of tokens compare only where ids mean the same. A reference without a tokenizer is taken at its
 * word. */
static vise_status check_same_tokens(const evaluation *e, const vise_tokenizer *tokenizer, vise_error *err)
{
    vise_tokenizer *other = NULL;
    vise_status status = VISE_OK;
    int32_t id;

    if (!e->reference || !tokenizer || vise_model_tokenizer(e->own->reference, ".jsonl", &other, NULL) != VISE_OK)
        return VISE_OK;
    if (other && !vise_tokenizer_same_tokens(tokenizer, other, &id))
        status = VISE_FAIL(err, VISE_EUSAGE,
                           "%s has another tokenizer than %s (id %ld differs): KL divergence and ratios of perplexity "
                           "have no meaning. Evaluate each alone and compare bits per byte",
                           e->own->reference, e->path, (long)id);
    vise_tokenizer_close(other);
    return status;
}

static vise_status load_text(const vise_cli *cli, evaluation *e, vise_error *err)
{
    const vise_text_source source = vise_text_source_of(&cli->windows, vise_cli_seed(cli));
    vise_tokenizer *tokenizer = NULL;
    vise_status status;

    VISE_TRY(vise_text_windows(&source, e->model->config.max_positions, 0, &e->cut, err));
    VISE_TRY(vise_model_tokenizer(e->path, e->own->text, &tokenizer, err));
    status = check_same_tokens(e, tokenizer, err);
    if (status == VISE_OK)
        status = vise_window_sets_load(e->own->text, tokenizer, (int32_t)e->model->config.vocab, &e->cut, &e->sets,
                                       &e->n_sets, err);
    vise_tokenizer_close(tokenizer);
    return status;
}

static vise_status load_windows(const vise_cli *cli, evaluation *e, vise_error *err)
{
    if (vise_eval_task_asked(e->own)) {
        VISE_TRY(vise_eval_task_open(cli, e->model, e->reference, &e->task, err));
        e->length = vise_eval_task_length(&e->task);
        return VISE_OK;
    }
    if (e->own->text)
        VISE_TRY(load_text(cli, e, err));
    else
        VISE_TRY(vise_rows_load(e->own->ids, (int32_t)e->model->config.vocab, &e->sets, &e->n_sets, err));
    for (size_t i = 0; i < e->n_sets; i++)
        if (e->sets[i].length > e->length)
            e->length = e->sets[i].length;
    return VISE_OK;
}

/* ---- the evaluation --------------------------------------------------------------------------------- */

/* What is left for the activations of each model. */
static uint64_t stream_bytes(const evaluation *e)
{
    const uint64_t limit = vise_pool_limit(e->session.pool);

    return limit == 0 ? UINT64_MAX : (limit - e->least) / (e->reference ? 2 : 1);
}

/* Next tokens: perplexity has a meaning. */
static bool predicts(const vise_model *model)
{
    return model->config.head == VISE_HEAD_LM && !model->config.bidirectional;
}

static vise_status measure(evaluation *e, vise_error *err)
{
    vise_eval_options options = {.windows = e->sets,
                                 .sets = e->n_sets,
                                 .stream_ram_bytes = stream_bytes(e),
                                 .weights_only = e->own->weights_only,
                                 .pool = e->session.pool,
                                 .workers = e->session.workers,
                                 .backend = e->session.backend};
    vise_quality quality, reference;
    vise_divergence divergence;
    const char *text = e->own->text ? e->own->text : e->own->ids;

    if (vise_eval_task_asked(e->own))
        return vise_eval_task_run(&e->task, options, &e->report, err);
    if (!predicts(e->model)) {
        vise_pooling pooling;
        VISE_TRY(vise_pooling_of(vise_store_source(e->model->store), &pooling, err));
        options.first_token = pooling.first_token;
        return vise_save_logits(e->model, &options, e->own->save_logits, err);
    }
    VISE_TRY(vise_evaluate(e->model, e->reference, &options, &quality, &reference, &divergence, err));
    VISE_TRY(vise_report_accuracy(&e->report, text, e->length, &quality, e->reference ? &reference : NULL,
                                  e->reference ? &divergence : NULL, err));
    if (e->own->text)
        vise_report_protocol(&e->report, &e->cut, e->sets[0].invalid_utf8);
    for (size_t i = 0; i < e->n_sets && e->own->ids; i++)
        if (e->sets[i].length != e->length)
            e->report.accuracy.length = VISE_UNSET_SIZE; /* rows differ: there is no one length */
    if (e->own->save_logits)
        VISE_TRY(vise_save_logits(e->model, &options, e->own->save_logits, err));
    return VISE_OK;
}

/* ---- the report ------------------------------------------------------------------------------------- */

static uint64_t file_bytes(const vise_model *model)
{
    const vise_source *source = vise_store_source(model->store);
    uint64_t bytes = 0;

    for (size_t i = 0; i < vise_source_files(source); i++)
        bytes += vise_source_file_at(source, i)->bytes;
    return bytes;
}

static void describe(const vise_cli *cli, evaluation *e, double seconds)
{
    vise_report *report = &e->report;

    report->tool.device = e->session.backend->name;
    report->tool.cpu_level = vise_cpu_level_name(vise_cpu());
    report->tool.blas = vise_blas_text();
    report->tool.threads = vise_workers_count(e->session.workers);
    report->tool.seed = vise_cli_seed(cli);
    report->output.path = e->path;
    report->output.format = vise_source_format(vise_store_source(e->model->store));
    report->output.layout = vise_store_layout(e->model->store)->name;
    report->output.bytes = report->size.after = file_bytes(e->model);
    if (e->reference) {
        report->input.path = e->own->reference;
        report->input.bytes = report->size.before = file_bytes(e->reference);
    }
    if (vise_eval_task_has_table(e->own))
        report->input.path = e->own->reference;
    if (e->session.memory_bytes > 0)
        report->memory.budget = e->session.memory_bytes;
    report->memory.peak_rss = vise_resident_peak_bytes();
    report->memory.peak_pool = vise_pool_peak(e->session.pool);
    report->seconds = seconds;
}

static vise_status print_result(const evaluation *e, vise_error *err)
{
    vise_status status;
    cJSON *document = NULL;
    vise_buf json, text;

    vise_buf_init(&json, TEXT_BYTES_MAX);
    vise_buf_init(&text, TEXT_BYTES_MAX);
    VISE_TRY_TO(cleanup, vise_report_json(&e->report, e->own->json, &json, err));
    if (e->own->json) {
        status = vise_cli_print(&json, err);
        goto cleanup;
    }
    VISE_TRY_TO(cleanup, vise_json_parse("the report", json.data, json.length, &document, err));
    VISE_TRY_TO(cleanup, vise_report_render(document, NULL, VISE_REPORT_TEXT, &text, err));
    status = vise_cli_print(&text, err);
cleanup:
    cJSON_Delete(document);
    vise_buf_deinit(&text);
    vise_buf_deinit(&json);
    return status;
}

static vise_status check_usage(const vise_cli *cli, const vise_eval_command_options *own, vise_error *err)
{
    VISE_TRY(vise_cli_expect(cli, 1, "MODEL", err));
    const int asked = (own->text != NULL) + (own->ids != NULL) + (own->labels != NULL) + (own->choices != NULL) +
                      (own->embeddings != NULL);
    if (asked == 0)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "nothing to evaluate on: give --text FILE, --labels FILE, --choices FILE, --embeddings "
                         "FILE or --ids FILE");
    if (asked > 1)
        return VISE_FAIL(err, VISE_EUSAGE, "--text, --ids, --labels, --choices and --embeddings exclude each other");
    VISE_TRY(vise_eval_task_check(own, err));
    if (!isnan(own->max_perplexity_ratio) && !own->reference)
        return VISE_FAIL(err, VISE_EUSAGE, "--max-perplexity-ratio needs --reference MODEL to compare with");
    return VISE_OK;
}

static const char *file_of(const vise_eval_command_options *own)
{
    return vise_eval_task_asked(own) ? vise_eval_task_file(own) : own->text ? own->text : own->ids;
}

/* An older file of logits is replaced; a folder, a model or a text never is. */
static vise_status check_logits_path(const evaluation *e, vise_error *err)
{
    const char *path = e->own->save_logits;

    if (vise_path_is_folder(path))
        return VISE_FAIL(err, VISE_EUSAGE, "--save-logits: %s is a folder; give a file", path);
    VISE_TRY(vise_check_apart_from_model(path, e->model, err));
    if (e->reference)
        VISE_TRY(vise_check_apart_from_model(path, e->reference, err));
    if (vise_eval_task_has_table(e->own))
        VISE_TRY(vise_check_apart(path, e->own->reference, err));
    return vise_check_apart(path, file_of(e->own), err);
}

static vise_status evaluate(const vise_cli *cli, evaluation *e, vise_error *err)
{
    const vise_goals goals = {.max_perplexity_ratio = e->own->max_perplexity_ratio,
                              .max_perplexity = NAN,
                              .max_kl = NAN,
                              .min_top1_agreement = NAN,
                              .min_accuracy = e->own->min_accuracy,
                              .min_cosine = e->own->min_cosine,
                              .max_bytes = VISE_UNSET_SIZE};
    int threads = cli->common.threads == VISE_UNSET_INT ? vise_cpu_usable_cores() : (int)cli->common.threads;
    double start = vise_seconds();
    vise_status met;

    VISE_TRY(vise_model_open(e->path, &e->model, err));
    VISE_TRY(vise_model_need_forward(e->model, "eval", err));
    if (e->own->reference && !vise_eval_task_has_table(e->own)) {
        VISE_TRY(vise_model_open(e->own->reference, &e->reference, err));
        VISE_TRY(vise_model_need_forward(e->reference, "eval --reference", err));
    }
    if (!vise_eval_task_asked(e->own) && (!e->own->save_logits || e->reference))
        VISE_TRY(vise_model_need_tokens(e->model, "perplexity", err));
    if (e->own->save_logits)
        VISE_TRY(check_logits_path(e, err));
    VISE_TRY(load_windows(cli, e, err));
    e->least = vise_eval_bytes(e->model, e->reference, e->length, threads) + vise_eval_task_bytes(&e->task);
    VISE_TRY(
        vise_session_open(cli->common.device, threads, cli->memory.cpu, e->least, true, &e->session, err));
    VISE_TRY(measure(e, err));
    describe(cli, e, vise_seconds() - start);
    met = vise_report_goals(&e->report, &goals, err);
    if (met != VISE_OK && met != VISE_EGOAL)
        return met;
    vise_progress_stop();
    VISE_TRY(print_result(e, met == VISE_OK ? err : NULL));
    return met;
}

vise_status vise_cmd_eval(vise_cli *cli, vise_error *err)
{
    evaluation e = {.own = cli->own};
    vise_status status;

    VISE_TRY(check_usage(cli, e.own, err));
    e.path = cli->arguments.items[0];
    VISE_TRY(vise_report_init(&e.report, err));
    vise_report_collect(&e.report);
    status = evaluate(cli, &e, err);
    vise_report_collect(NULL);
    vise_windows_free_sets(e.sets, e.n_sets);
    vise_eval_task_close(&e.task);
    vise_model_close(e.reference); /* before the session: decoders draw from its pool */
    vise_model_close(e.model);
    vise_session_close(&e.session);
    vise_report_deinit(&e.report);
    return status;
}
