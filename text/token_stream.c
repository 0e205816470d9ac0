#include "text/token_stream.h"

#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/mem.h"
#include "text/chat.h"

typedef struct reader {
    const char *path;
    const vise_tokenizer *tokenizer;
    int32_t vocab;
    size_t enough;
    vise_token_stream *stream;
    vise_chat *chat; /* of the tokenizer's folder, opened by the first line with messages */
} reader;

void vise_token_stream_deinit(vise_token_stream *stream)
{
    vise_ids_deinit(&stream->ids);
    vise_free(stream->starts);
    *stream = (vise_token_stream){0};
}

static vise_status add_text(reader *r, const char *text, size_t length, vise_error *err)
{
    vise_token_stream *stream = r->stream;
    size_t before = stream->ids.count;

    VISE_TRY(vise_tokenize_until(r->tokenizer, text, length, r->enough, &stream->ids, err));
    for (size_t i = before; i < stream->ids.count; i++)
        if (stream->ids.ids[i] >= r->vocab)
            return VISE_FAIL(err, VISE_EFORMAT,
                             "%s: the tokenizer gives id %ld (\"%.60s\"), but the model's vocab_size is %ld",
                             r->path, (long)stream->ids.ids[i],
                             vise_tokenizer_token(r->tokenizer, stream->ids.ids[i]), (long)r->vocab);
    if (stream->ids.count > before && vise_tokenizer_prepends(r->tokenizer)) {
        VISE_TRY(vise_grow((void **)&stream->starts, &stream->starts_capacity, stream->n_starts + 1,
                           sizeof *stream->starts, err));
        stream->starts[stream->n_starts++] = before;
    }
    return VISE_OK;
}

/* The ids of one line; a BOS in front is left out, since windows bring their own. */
static vise_status add_ids(reader *r, const char *name, const cJSON *list, vise_error *err)
{
    int32_t bos = r->tokenizer != NULL ? vise_tokenizer_bos(r->tokenizer) : -1;
    const cJSON *item;
    size_t index = 0;

    if (!cJSON_IsArray(list))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: input_ids must be a list of token ids", name);
    cJSON_ArrayForEach(item, list)
    {
        double value = cJSON_IsNumber(item) ? item->valuedouble : -1.0;
        if (!(value >= 0.0 && value < r->vocab) || value != (double)(int32_t)value)
            return VISE_FAIL(err, VISE_EFORMAT,
                             "%s: input_ids[%zu] must be a whole number from 0 to %ld (vocab_size)", name,
                             index, (long)r->vocab - 1);
        if (index++ > 0 || (int32_t)value != bos)
            VISE_TRY(vise_ids_add(&r->stream->ids, (int32_t)value, err));
    }
    r->stream->unknown_bytes = true;
    return VISE_OK;
}

/* A conversation: its tokens are those of its text, less a BOS that the template puts in front. */
static vise_status add_messages(reader *r, const char *name, const cJSON *line, vise_error *err)
{
    const char *folder = r->tokenizer != NULL ? vise_tokenizer_folder(r->tokenizer) : NULL, *whose = NULL;
    const char *config = r->tokenizer != NULL ? vise_tokenizer_config(r->tokenizer, &whose) : NULL;
    int32_t bos = r->tokenizer != NULL ? vise_tokenizer_bos(r->tokenizer) : -1;
    vise_ids *ids = &r->stream->ids;
    size_t before = ids->count;
    vise_status status;
    vise_buf text;

    if (folder == NULL && config == NULL)
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "%s: messages need a tokenizer and its chat template beside the model; input_ids do not", name);
    if (r->chat == NULL)
        VISE_TRY(folder != NULL ? vise_chat_open(folder, &r->chat, err)
                                : vise_chat_open_config(whose, config, &r->chat, err));
    vise_buf_init(&text, VISE_CHAT_BYTES_MAX);
    status = vise_chat_render(r->chat, name, line, &text, err);
    if (status == VISE_OK)
        status = add_text(r, text.data != NULL ? text.data : "", text.length, err);
    vise_buf_deinit(&text);
    VISE_TRY(status);
    if (bos < 0 || ids->count == before || ids->ids[before] != bos)
        return VISE_OK;
    memmove(ids->ids + before, ids->ids + before + 1, (ids->count - before - 1) * sizeof *ids->ids);
    ids->count--;
    return VISE_OK;
}

static vise_status add_line(reader *r, const char *name, const char *line, size_t length, vise_error *err)
{
    cJSON *json;
    const cJSON *ids;
    const char *text;
    vise_status status;

    VISE_TRY(vise_json_parse(name, line, length, &json, err));
    ids = cJSON_GetObjectItemCaseSensitive(json, "input_ids");
    if (!cJSON_IsObject(json)) {
        status = VISE_FAIL(err, VISE_EFORMAT, "%s: not a JSON object", name);
    } else if (ids != NULL) {
        status = add_ids(r, name, ids, err);
    } else if (cJSON_GetObjectItemCaseSensitive(json, "messages") != NULL) {
        status = add_messages(r, name, json, err);
    } else if (cJSON_GetObjectItemCaseSensitive(json, "text") == NULL) {
        status =
            VISE_FAIL(err, VISE_EFORMAT, "%s: has neither \"text\" nor \"input_ids\" nor \"messages\"", name);
    } else {
        VISE_TRY_TO(end, vise_json_text(name, json, "text", true, &text, err));
        if (r->tokenizer == NULL)
            status = VISE_FAIL(err, VISE_EUSAGE,
                               "%s: text needs a tokenizer.json beside the model; input_ids do not", name);
        else
            status = add_text(r, text, strlen(text), err);
    }
end:
    cJSON_Delete(json);
    return status;
}

static vise_status add_lines(reader *r, const char *text, size_t length, vise_error *err)
{
    const char *end = text + length;

    for (size_t number = 1; text < end && r->stream->ids.count < r->enough; number++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((stop != NULL ? stop : end) - text);
        if (strspn(text, " \t\r") < n) {
            char *name;
            vise_status status;
            VISE_TRY(vise_strfmt(&name, err, "%s line %zu", r->path, number));
            status = add_line(r, name, text, n, err);
            vise_free(name);
            VISE_TRY(status);
        }
        text += n + 1;
    }
    return VISE_OK;
}

static bool ends_in(const char *path, const char *suffix)
{
    size_t length = strlen(path), n = strlen(suffix);

    return length >= n && strcmp(path + length - n, suffix) == 0;
}

vise_status vise_token_stream_read(const char *path, const vise_tokenizer *tokenizer, int32_t vocab,
                                   size_t enough, vise_token_stream *stream, vise_error *err)
{
    reader r = {.path = path, .tokenizer = tokenizer, .vocab = vocab, .enough = enough, .stream = stream};
    bool lines = ends_in(path, ".jsonl");
    char *text;
    size_t length;
    vise_status status;

    *stream = (vise_token_stream){0};
    if (!lines && !ends_in(path, ".txt"))
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "%s: text is read from .txt files, or .jsonl with \"text\", \"input_ids\" or \"messages\"", path);
    if (!lines && tokenizer == NULL)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: text needs a tokenizer.json beside the model", path);
    VISE_TRY(vise_file_read_all(path, VISE_TEXT_BYTES_MAX, &text, &length, err));
    status = lines ? add_lines(&r, text, length, err) : add_text(&r, text, length, err);
    vise_free(text);
    vise_chat_close(r.chat);
    if (status != VISE_OK)
        vise_token_stream_deinit(stream);
    return status;
}
