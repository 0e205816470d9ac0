#include "eval/choices.h"

#include <stdio.h>
#include <string.h>

#include "core/buf.h"
#include "core/event.h"
#include "eval/run.h"

/* Rows of logits that one task scores. */
enum { SCORE_ROWS = 32 };
#define TEXT_BYTES_MAX ((size_t)1 << 30)

/* ---- tokens ---------------------------------------------------------------------------------------------------- */

void vise_choice_tokens_deinit(vise_choice_tokens *tokens)
{
    vise_encoded_deinit(&tokens->rows);
    vise_free(tokens->ending);
    vise_free(tokens->characters);
    vise_free(tokens->last);
    *tokens = (vise_choice_tokens){0};
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t code_points(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* Context and ending with what joins them: spaces at the context's end count as the ending's, since a token seldom ends
 * in one. *split is where the ending begins. */
static vise_status join(const char *context, const char *ending, vise_buf *text, size_t *split,
                        vise_error *err)
{
    size_t n = strlen(context);

    text->length = 0;
    vise_buf_add_text(text, context);
    if (n > 0 && !is_space(context[n - 1]) && !is_space(ending[0]))
        vise_buf_add_char(text, ' ');
    vise_buf_add_text(text, ending);
    while (n > 0 && is_space(context[n - 1]))
        n--;
    *split = n;
    return vise_buf_check(text, "a context with its ending", err);
}

typedef struct encoder {
    const char *file;
    const vise_tokenizer *tokenizer;
    size_t max_length;
    int64_t vocab;
    vise_buf text;
    vise_ids context, whole;
    vise_choice_tokens *out;
} encoder;

static vise_status tokenize(const encoder *e, size_t length, vise_ids *ids, vise_error *err)
{
    const int32_t bos = vise_tokenizer_bos(e->tokenizer);

    ids->count = 0;
    if (bos >= 0)
        VISE_TRY(vise_ids_add(ids, bos, err));
    return vise_tokenize(e->tokenizer, e->text.data, length, ids, err);
}

static vise_status add_ending(encoder *e, const vise_choice_row *row, size_t which, vise_error *err)
{
    vise_choice_tokens *out = e->out;
    size_t split = 0, cut = 0;
    char name[512];

    VISE_TRY(join(row->context, row->endings[which], &e->text, &split, err));
    VISE_TRY(tokenize(e, split, &e->context, err));
    VISE_TRY(tokenize(e, e->text.length, &e->whole, err));
    size_t n = e->whole.count, ending = e->context.count;
    if (ending >= n && n > 0) /* the ending has melted into the context's last token */
        ending = n - 1;
    snprintf(name, sizeof name, "%s line %zu", e->file, row->line);
    if (ending == 0)
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "%s: nothing stands in front of ending %zu: the context has no tokens, and the tokenizer "
            "puts none in front of a text; give the line a context",
            name, which);
    if (n - ending > e->max_length)
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "%s: ending %zu takes %zu tokens, the model sees at most %zu: shorten it or leave the line "
            "out",
            name, which, n - ending, e->max_length);
    VISE_TRY(vise_ids_check(name, e->tokenizer, e->whole.ids, n, e->vocab, err));
    cut = n - 1 > e->max_length ? n - 1 - e->max_length : 0;
    VISE_TRY(vise_grow((void **)&out->ending, &out->ending_capacity, out->rows.count + 1, sizeof *out->ending,
                       err));
    VISE_TRY(vise_grow((void **)&out->characters, &out->characters_capacity, out->rows.count + 1,
                       sizeof *out->characters, err));
    VISE_TRY(
        vise_grow((void **)&out->last, &out->last_capacity, out->rows.count + 1, sizeof *out->last, err));
    out->last[out->rows.count] = e->whole.ids[n - 1];
    out->ending[out->rows.count] = ending - cut;
    out->characters[out->rows.count] = code_points(row->endings[which]);
    out->rows.truncated += cut > 0;
    return vise_encoded_add(&out->rows, e->whole.ids + cut, NULL, n - 1 - cut, err);
}

vise_status vise_choices_encode(const char *file, const vise_choice_row *choices, size_t n,
                                const vise_tokenizer *tokenizer, size_t max_length, int64_t vocab,
                                vise_choice_tokens *out, vise_error *err)
{
    encoder e = {.file = file, .tokenizer = tokenizer, .max_length = max_length, .vocab = vocab, .out = out};
    vise_status status = VISE_OK;

    *out = (vise_choice_tokens){0};
    vise_buf_init(&e.text, TEXT_BYTES_MAX);
    for (size_t i = 0; status == VISE_OK && i < n; i++)
        for (size_t k = 0; status == VISE_OK && k < choices[i].n_endings; k++)
            status = add_ending(&e, &choices[i], k, err);
    vise_encoded_finish(&out->rows);
    vise_ids_deinit(&e.context);
    vise_ids_deinit(&e.whole);
    vise_buf_deinit(&e.text);
    if (status != VISE_OK)
        vise_choice_tokens_deinit(out);
    return status;
}

/* ---- likelihoods ----------------------------------------------------------------------------------------------- */

/* The predictions of all endings, one after the other: what is to be predicted, and for which row. */
typedef struct predictions {
    uint8_t *keep;   /* [tokens of all rows]: the next token belongs to an ending */
    int32_t *target; /* [count] */
    size_t count;
} predictions;

static vise_status mark(const vise_choice_tokens *tokens, predictions *p, vise_error *err)
{
    const vise_encoded *rows = &tokens->rows;
    void *memory = NULL;

    *p = (predictions){0};
    VISE_TRY(vise_calloc(rows->tokens, sizeof *p->keep, &memory, err));
    p->keep = memory;
    VISE_TRY(vise_calloc(rows->tokens, sizeof *p->target, &memory, err));
    p->target = memory;
    for (size_t i = 0, token = 0; i < rows->count; i++) {
        const size_t length = rows->sets[i].length;
        for (size_t t = tokens->ending[i]; t <= length; t++) {
            p->keep[token + t - 1] = 1;
            p->target[p->count++] = t < length ? rows->ids[token + t] : tokens->last[i];
        }
        token += length;
    }
    return VISE_OK;
}

typedef struct batch {
    vise_backend *backend;
    const float *logits; /* [tokens, vocab] */
    int64_t vocab;
    const int32_t *target; /* [tokens] */
    double *nll;           /* [tokens] */
    size_t tokens;
} batch;

static vise_status score_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    const batch *job = context;
    size_t first = index * SCORE_ROWS,
           n = job->tokens - first < SCORE_ROWS ? job->tokens - first : SCORE_ROWS;

    return job->backend->network->nll(job->backend, (int64_t)n, job->vocab,
                                      job->logits + (int64_t)first * job->vocab, job->target + first,
                                      job->nll + first, err);
}

static double head_operations(const vise_model *model, size_t tokens)
{
    return 2.0 * (double)tokens * (double)model->config.vocab * (double)model->config.hidden;
}

double vise_choices_operations(const vise_model *model, const vise_choice_tokens *tokens,
                               const vise_eval_options *options)
{
    size_t kept = tokens->rows.tokens + tokens->rows.count;

    for (size_t i = 0; i < tokens->rows.count; i++)
        kept -= tokens->ending[i];
    return vise_eval_operations(model, options) + head_operations(model, kept);
}

/* each [p->count]: the negative log-likelihood of every token of an ending. */
static vise_status predict(vise_eval_run *run, const vise_eval_options *options, const predictions *p,
                           double *done, double total, double *each, vise_error *err)
{
    vise_eval_run *const runs[1] = {run};
    size_t step = 0;

    VISE_TRY(vise_stream_keep(run->stream, p->keep, err));
    VISE_TRY(vise_eval_run_heads(runs, 1, options, &step, err));
    for (size_t token = 0; token < p->count; token += step) {
        size_t n = p->count - token < step ? p->count - token : step;
        batch job = {options->backend,  run->logits,  run->model->config.vocab,
                     p->target + token, each + token, n};
        VISE_TRY(vise_head_logits(run->head, run->stream, options->backend, token, n, run->logits, err));
        VISE_TRY(vise_parallel(options->workers, (n + SCORE_ROWS - 1) / SCORE_ROWS, score_rows, &job, err));
        *done += head_operations(run->model, n);
        vise_progress("evaluate", "head", *done, total);
    }
    return VISE_OK;
}

vise_status vise_choices_score(const vise_model *model, const vise_choice_tokens *tokens,
                               const vise_eval_options *options, double *done, double total, double *nll,
                               vise_error *err)
{
    vise_eval_run run = {0};
    predictions p = {0};
    double *each = NULL;
    void *memory = NULL;
    vise_status status;

    VISE_TRY_TO(end, vise_model_need_tokens(model, "choosing an ending", err));
    VISE_TRY_TO(end, mark(tokens, &p, err));
    VISE_TRY_TO(end, vise_calloc(p.count, sizeof *each, &memory, err));
    each = memory;
    VISE_TRY_TO(end, vise_eval_run_blocks(&run, model, options, done, total, err));
    VISE_TRY_TO(end, predict(&run, options, &p, done, total, each, err));
    for (size_t i = 0, next = 0; i < tokens->rows.count; i++) {
        nll[i] = 0.0;
        for (size_t t = tokens->ending[i]; t <= tokens->rows.sets[i].length; t++)
            nll[i] += each[next++];
    }
end:
    vise_eval_run_deinit(&run);
    vise_free(each);
    vise_free(p.keep);
    vise_free(p.target);
    return status;
}

void vise_choices_choose(const vise_choice_row *choices, size_t n, const vise_choice_tokens *tokens,
                         const double *nll, bool by_length, int32_t *chosen)
{
    for (size_t i = 0, first = 0; i < n; first += choices[i++].n_endings) {
        double best = 0.0;

        for (size_t k = 0; k < choices[i].n_endings; k++) {
            double score =
                by_length ? nll[first + k] / (double)tokens->characters[first + k] : nll[first + k];
            if (k == 0 || score < best) {
                best = score;
                chosen[i] = (int32_t)k;
            }
        }
    }
}
