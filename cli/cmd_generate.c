/* vise generate: text from a model, token by token, so that a person can look at what compression did. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/progress.h"
#include "core/cpu.h"
#include "core/event.h"
#include "core/file.h"
#include "core/json.h"
#include "model/cache.h"
#include "model/decoder.h"
#include "model/model.h"
#include "model/sample.h"
#include "pipeline/gguf_tokenizer.h"
#include "pipeline/run_walk.h"
#include "pipeline/session.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/windows.h"

#define PROMPT_BYTES_MAX ((size_t)64 << 20)
#define TEXT_BYTES_MAX   ((size_t)256 << 20)
#define CONFIG_BYTES_MAX ((size_t)16 << 20)

typedef struct generation {
    const vise_generate_options *own;
    const char *path;
    vise_model *model;
    vise_tokenizer *tokenizer; /* NULL: ids in, ids out */
    vise_session session;
    vise_decoder *decoder;
    vise_sampler sampler;
    vise_detokenizer detokenizer;
    vise_ids prompt, ids, stops;
    vise_buf text; /* all of what was generated */
    size_t printed;
    float *logits;
    bool stopped; /* by a token that ends a text */
    double start, loaded, first, end;
} generation;

/* ---- the prompt ------------------------------------------------------------------------------------- */

static vise_status read_stdin(vise_buf *text, vise_error *err)
{
    char block[4096];
    size_t n;

    while ((n = fread(block, 1, sizeof block, stdin)) > 0)
        vise_buf_add(text, block, n);
    if (ferror(stdin))
        return VISE_FAIL(err, VISE_EFORMAT, "stdin: %s", strerror(errno));
    return vise_buf_check(text, "the prompt", err);
}

static vise_status read_prompt(const generation *g, vise_buf *text, vise_error *err)
{
    const char *file = g->own->prompt_file;
    char *bytes;
    size_t length;

    if (g->own->prompt) {
        vise_buf_add_text(text, g->own->prompt);
        return vise_buf_check(text, "the prompt", err);
    }
    if (strcmp(file, "-") == 0)
        return read_stdin(text, err);
    VISE_TRY(vise_file_read_all(file, PROMPT_BYTES_MAX, &bytes, &length, err));
    vise_buf_add(text, bytes, length);
    vise_free(bytes);
    return vise_buf_check(text, "the prompt", err);
}

static vise_status tokenize_prompt(generation *g, vise_error *err)
{
    vise_encoding encoding = {0};
    vise_buf text;
    vise_status status;

    VISE_TRY(vise_model_tokenizer(g->path, NULL, &g->tokenizer, err));
    vise_buf_init(&text, PROMPT_BYTES_MAX);
    VISE_TRY_TO(end, read_prompt(g, &text, err));
    vise_buf_add_char(&text, '\0'); /* an empty text is one too */
    VISE_TRY_TO(end, vise_buf_check(&text, "the prompt", err));
    if (strlen(text.data) + 1 < text.length) {
        status = VISE_FAIL(err, VISE_EUSAGE, "the prompt has a NUL byte at %zu; it must be text",
                           strlen(text.data));
        goto end;
    }
    VISE_TRY_TO(end, vise_tokenize_pair(g->tokenizer, text.data, NULL, 0, &encoding, err));
    if (encoding.ids.invalid_utf8 > 0)
        vise_warn("%llu bytes of the prompt are no UTF-8 and were replaced",
                  (unsigned long long)encoding.ids.invalid_utf8);
    status = vise_ids_append(&g->prompt, encoding.ids.ids, encoding.ids.count, err);
end:
    vise_encoding_deinit(&encoding);
    vise_buf_deinit(&text);
    return status;
}

/* One row of ids; a tokenizer, where there is one, makes text of what follows. */
static vise_status read_ids(generation *g, vise_error *err)
{
    vise_windows *rows;
    size_t count;
    vise_status status;

    VISE_TRY(vise_rows_load(g->own->ids, (int32_t)g->model->config.vocab, &rows, &count, err));
    if (count != 1)
        status = VISE_FAIL(err, VISE_EUSAGE, "%s: has %zu rows of ids; generate goes on from one",
                           g->own->ids, count);
    else
        status = vise_ids_append(&g->prompt, rows[0].ids, rows[0].length, err);
    for (size_t i = 0; i < count; i++)
        vise_windows_deinit(&rows[i]);
    vise_free(rows);
    if (status == VISE_OK && vise_model_tokenizer(g->path, NULL, &g->tokenizer, NULL) != VISE_OK)
        g->tokenizer = NULL;
    return status;
}

static vise_status load_prompt(generation *g, vise_error *err)
{
    const int64_t vocab = g->model->config.vocab;

    VISE_TRY(g->own->ids ? read_ids(g, err) : tokenize_prompt(g, err));
    if (g->prompt.count == 0)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "the prompt is empty, and the tokenizer puts no token in front of a text");
    for (size_t i = 0; i < g->prompt.count; i++)
        if (g->prompt.ids[i] >= vocab)
            return VISE_FAIL(err, VISE_EFORMAT,
                             "the tokenizer gives token id %d, but the model's vocabulary has %lld tokens",
                             g->prompt.ids[i], (long long)vocab);
    return VISE_OK;
}

/* ---- where a text ends ------------------------------------------------------------------------------ */

static vise_status add_stop(generation *g, const char *name, const cJSON *item, vise_error *err)
{
    if (!cJSON_IsNumber(item) || item->valuedouble != (double)(int32_t)item->valuedouble)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: eos_token_id must be a token id or a list of them", name);
    return vise_ids_add(&g->stops, (int32_t)item->valuedouble, err);
}

static vise_status add_stops(generation *g, const char *name, const cJSON *json, vise_error *err)
{
    const cJSON *eos = cJSON_GetObjectItemCaseSensitive(json, "eos_token_id"), *item;

    if (!eos || cJSON_IsNull(eos))
        return VISE_OK;
    if (!cJSON_IsArray(eos))
        return add_stop(g, name, eos, err);
    cJSON_ArrayForEach(item, eos) VISE_TRY(add_stop(g, name, item, err));
    return VISE_OK;
}

/* generation_config.json's eos_token_id, else config.json's. */
static vise_status load_stops(generation *g, vise_error *err)
{
    const vise_source *source = vise_store_source(g->model->store);
    char *path = NULL;
    cJSON *json = NULL;
    vise_status status;

    if (g->own->ignore_eos)
        return VISE_OK;
    VISE_TRY(vise_path_join(g->path, "generation_config.json", &path, err));
    if (vise_path_exists(path)) {
        VISE_TRY_TO(end, vise_json_load(path, CONFIG_BYTES_MAX, &json, err));
        VISE_TRY_TO(end, add_stops(g, path, json, err));
    }
    status = VISE_OK;
    if (g->stops.count == 0)
        status = add_stops(g, vise_source_config_path(source), vise_source_config(source), err);
end:
    cJSON_Delete(json);
    vise_free(path);
    return status;
}

static bool ends_text(const generation *g, int32_t id)
{
    for (size_t i = 0; i < g->stops.count; i++)
        if (g->stops.ids[i] == id)
            return true;
    return false;
}

/* ---- generating ------------------------------------------------------------------------------------- */

/* What became whole since the last time; ids where there is no tokenizer. */
static vise_status print_text(generation *g, vise_error *err)
{
    vise_buf fresh = g->text;

    if (g->own->json || g->text.length == g->printed)
        return VISE_OK;
    vise_progress_stop();
    fresh.data += g->printed;
    fresh.length -= g->printed;
    g->printed = g->text.length;
    return vise_cli_print(&fresh, err);
}

static vise_status take_token(generation *g, int32_t id, vise_error *err)
{
    VISE_TRY(vise_ids_add(&g->ids, id, err));
    if (ends_text(g, id)) {
        g->stopped = true;
        return VISE_OK;
    }
    if (g->tokenizer)
        VISE_TRY(vise_detokenize(&g->detokenizer, id, &g->text, err));
    else
        vise_buf_addf(&g->text, "%s%d", g->ids.count > 1 ? " " : "", id);
    VISE_TRY(vise_buf_check(&g->text, "generated text", err));
    return print_text(g, err);
}

static vise_status generate(generation *g, vise_error *err)
{
    const int32_t *next = g->prompt.ids;
    size_t n = g->prompt.count;

    vise_sampler_see(&g->sampler, next, n);
    while (!g->stopped && g->ids.count < (size_t)g->own->tokens) {
        int32_t id;
        VISE_TRY(vise_check_interrupt(err));
        VISE_TRY(vise_decoder_feed(g->decoder, next, n, g->logits, err));
        VISE_TRY(vise_sample(&g->sampler, g->logits, &id, err));
        if (g->ids.count == 0)
            g->first = vise_seconds();
        VISE_TRY(take_token(g, id, err));
        next = &g->ids.ids[g->ids.count - 1];
        n = 1;
    }
    g->end = vise_seconds();
    vise_detokenizer_end(&g->detokenizer, &g->text);
    if (!g->own->json)
        vise_buf_add_char(&g->text, '\n');
    VISE_TRY(vise_buf_check(&g->text, "generated text", err));
    return print_text(g, err);
}

/* ---- the result ------------------------------------------------------------------------------------- */

static void put_ids(vise_json_writer *w, const char *key, const vise_ids *ids)
{
    vise_json_key(w, key);
    vise_json_array(w);
    for (size_t i = 0; i < ids->count; i++)
        vise_json_put_int(w, ids->ids[i]);
    vise_json_array_end(w);
}

static void put_seconds(vise_json_writer *w, const char *key, double seconds)
{
    vise_json_key(w, key);
    vise_json_put_double(w, seconds);
}

/* Tokens behind the first, and the seconds that they took. */
static double speed(const generation *g)
{
    double seconds = g->end - g->first;

    return g->ids.count > 1 && seconds > 0.0 ? (double)(g->ids.count - 1) / seconds : 0.0;
}

static vise_status print_json(const vise_cli *cli, const generation *g, vise_error *err)
{
    vise_json_writer w;
    vise_buf json;
    vise_status status;

    vise_buf_init(&json, 2 * TEXT_BYTES_MAX);
    vise_json_begin(&w, &json, 2);
    vise_json_object(&w);
    vise_json_key(&w, "model");
    vise_json_put_text(&w, g->path);
    put_ids(&w, "prompt_ids", &g->prompt);
    put_ids(&w, "ids", &g->ids);
    if (g->tokenizer) {
        vise_json_key(&w, "text");
        vise_json_put_text(&w, g->text.length > 0 ? g->text.data : "");
    }
    vise_json_key(&w, "stop");
    vise_json_put_text(&w, g->stopped ? "eos" : "length");
    vise_json_key(&w, "seed");
    vise_json_put_uint(&w, vise_cli_seed(cli));
    vise_json_key(&w, "seconds");
    vise_json_object(&w);
    put_seconds(&w, "load", g->loaded - g->start);
    put_seconds(&w, "first_token", g->first - g->loaded);
    put_seconds(&w, "other_tokens", g->end - g->first);
    vise_json_object_end(&w);
    if (speed(g) > 0.0)
        put_seconds(&w, "tokens_per_second", speed(g));
    vise_json_key(&w, "memory");
    vise_json_object(&w);
    vise_json_key(&w, "kv_cache_per_token");
    vise_json_put_uint(&w, vise_cache_bytes_per_token(g->model));
    vise_json_key(&w, "resident_blocks");
    vise_json_put_uint(&w, vise_decoder_resident_blocks(g->decoder));
    vise_json_key(&w, "blocks");
    vise_json_put_int(&w, g->model->config.layers);
    vise_json_key(&w, "peak_rss");
    vise_json_put_uint(&w, vise_resident_peak_bytes());
    vise_json_object_end(&w);
    vise_json_object_end(&w);
    vise_buf_add_char(&json, '\n');
    status = vise_buf_check(&json, "the result", err);
    if (status == VISE_OK)
        status = vise_cli_print(&json, err);
    vise_buf_deinit(&json);
    return status;
}

static void tell(const generation *g)
{
    fprintf(stderr, "%zu tokens behind a prompt of %zu: the first after %.2f s", g->ids.count,
            g->prompt.count, g->first - g->loaded);
    if (speed(g) > 0.0)
        fprintf(stderr, ", then %.1f a second", speed(g));
    fputc('\n', stderr);
}

/* ---- the command ------------------------------------------------------------------------------------ */

static vise_status check_usage(const vise_cli *cli, const vise_generate_options *own, vise_error *err)
{
    int prompts = (own->prompt != NULL) + (own->prompt_file != NULL) + (own->ids != NULL);

    VISE_TRY(vise_cli_expect(cli, 1, "MODEL", err));
    if (prompts == 0)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "nothing to go on from: give --prompt TEXT, --prompt-file FILE (- for stdin) "
                         "or --ids FILE");
    if (prompts > 1)
        return VISE_FAIL(err, VISE_EUSAGE, "--prompt, --prompt-file and --ids exclude each other");
    if (own->temperature == 0.0 && (own->top_k != 0 || own->top_p != 1.0 || own->min_p != 0.0))
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "--top-k, --top-p and --min-p choose among tokens that are drawn: give --temperature too");
    return VISE_OK;
}

static vise_status open_decoder(const vise_cli *cli, generation *g, vise_error *err)
{
    const vise_generate_options *own = g->own;
    const vise_sample_options sampling = {.temperature = own->temperature,
                                          .top_k = own->top_k,
                                          .top_p = own->top_p,
                                          .min_p = own->min_p,
                                          .repetition_penalty = own->repetition_penalty,
                                          .seed = vise_cli_seed(cli)};
    /* The last token is not read again. */
    vise_decoder_options options = {.capacity = g->prompt.count + (size_t)own->tokens - 1,
                                    .weights_only = own->weights_only};
    int threads = cli->common.threads == VISE_UNSET_INT ? vise_cpu_usable_cores() : (int)cli->common.threads;
    void *memory;

    VISE_TRY(vise_session_open(cli->common.device, threads, cli->memory.cpu,
                               vise_decoder_bytes(g->model, options.capacity, threads), true, &g->session,
                               err));
    options.pool = g->session.pool;
    options.workers = g->session.workers;
    options.backend = g->session.backend;
    VISE_TRY(vise_decoder_open(g->model, &options, &g->decoder, err));
    VISE_TRY(vise_pool_take(g->session.pool, (size_t)g->model->config.vocab * sizeof(float), "logits",
                            &memory, err));
    g->logits = memory;
    return vise_sampler_init(&g->sampler, &sampling, g->model->config.vocab, err);
}

static vise_status run(const vise_cli *cli, generation *g, vise_error *err)
{
    g->start = vise_seconds();
    VISE_TRY(vise_model_open(g->path, &g->model, err));
    VISE_TRY(vise_model_need_tokens(g->model, "generating text", err));
    VISE_TRY(load_prompt(g, err));
    VISE_TRY(load_stops(g, err));
    VISE_TRY(open_decoder(cli, g, err));
    vise_detokenizer_init(&g->detokenizer, g->tokenizer);
    g->loaded = vise_seconds();
    VISE_TRY(generate(g, err));
    if (g->own->json)
        return print_json(cli, g, err);
    if (!cli->common.quiet)
        tell(g);
    return VISE_OK;
}

vise_status vise_cmd_generate(vise_cli *cli, vise_error *err)
{
    generation g = {.own = cli->own};
    vise_status status;

    VISE_TRY(check_usage(cli, g.own, err));
    g.path = cli->arguments.items[0];
    vise_buf_init(&g.text, TEXT_BYTES_MAX);
    status = run(cli, &g, err);
    vise_sampler_deinit(&g.sampler);
    vise_pool_give(g.session.pool, g.logits);
    vise_decoder_close(g.decoder);
    vise_buf_deinit(&g.text);
    vise_ids_deinit(&g.prompt);
    vise_ids_deinit(&g.ids);
    vise_ids_deinit(&g.stops);
    vise_tokenizer_close(g.tokenizer);
    vise_model_close(g.model); /* before the session: decoders draw from its pool */
    vise_session_close(&g.session);
    return status;
}
