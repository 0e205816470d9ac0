#include "text/windows.h"

#include <stdlib.h>
#include <string.h>

#include "core/event.h"
#include "core/file.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/rng.h"
#include "text/token_stream.h"

#define ROWS_BYTES_MAX ((size_t)256 << 20)

void vise_windows_deinit(vise_windows *windows)
{
    vise_free(windows->ids);
    vise_free(windows->types);
    *windows = (vise_windows){0};
}

/* ---- bytes ----------------------------------------------------------------------------------- */

typedef struct byte_count {
    uint64_t bytes;
    bool unknown;
} byte_count;

/* Adds the bytes of the ids [start, end) of the stream. */
static void count_bytes(const vise_token_stream *stream, const vise_tokenizer *tokenizer, size_t start,
                        size_t end, byte_count *count)
{
    if (tokenizer == NULL || stream->unknown_bytes)
        count->unknown = true;
    for (size_t i = start; i < end && !count->unknown; i++) {
        int bytes = vise_tokenizer_token_bytes(tokenizer, stream->ids.ids[i]);
        count->unknown = bytes < 0;
        count->bytes += bytes < 0 ? 0 : (uint64_t)bytes;
    }
    for (size_t i = 0; i < stream->n_starts; i++)
        if (stream->starts[i] >= start && stream->starts[i] < end && count->bytes > 0)
            count->bytes--;
}

/* ---- windows of a text ----------------------------------------------------------------------- */

/* Chooses `wanted` of `there` windows, in order: all from the front, or each subset with the same
 * probability (selection sampling, Knuth, TAOCP 2, 3.4.2, algorithm S). */
static void choose(const vise_window_options *options, size_t there, size_t wanted, size_t *chosen)
{
    vise_rng rng;
    size_t n = 0;

    vise_rng_init(&rng, options->seed, "windows");
    for (size_t i = 0; i < there && n < wanted; i++)
        if (!options->random || vise_rng_below(&rng, there - i) < wanted - n)
            chosen[n++] = i;
}

static vise_status cut(const vise_token_stream *stream, const vise_tokenizer *tokenizer,
                       const vise_window_options *options, int32_t bos, const size_t *chosen, size_t count,
                       vise_windows *windows, vise_error *err)
{
    size_t own = options->length - (bos >= 0), size;
    byte_count bytes = {0};

    if (!vise_mul_size(count, options->length, &size) || !vise_mul_size(size, sizeof *windows->ids, &size))
        return VISE_FAIL(err, VISE_ERESOURCE, "%zu windows of %zu tokens are too many", count,
                         options->length);
    VISE_TRY(vise_alloc(size, (void **)&windows->ids, err));
    for (size_t i = 0; i < count; i++) {
        size_t start = (options->skip + chosen[i]) * own;
        int32_t *row = windows->ids + i * options->length;
        if (bos >= 0)
            *row++ = bos;
        memcpy(row, stream->ids.ids + start, own * sizeof *row);
        count_bytes(stream, tokenizer, start, start + own, &bytes);
    }
    windows->count = count;
    windows->length = options->length;
    windows->bytes = bytes.unknown ? 0 : bytes.bytes;
    windows->invalid_utf8 = stream->ids.invalid_utf8;
    return VISE_OK;
}

static vise_status cut_stream(const char *path, const vise_token_stream *stream,
                              const vise_tokenizer *tokenizer, const vise_window_options *options,
                              int32_t bos, vise_windows *windows, vise_error *err)
{
    size_t own = options->length - (bos >= 0);
    size_t there = stream->ids.count / own, wanted;
    size_t *chosen;
    vise_status status;

    if (there <= options->skip)
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "%s: %zu tokens make %zu windows of %zu (%zu tokens of text each); behind the %zu skipped "
            "there is none. Give more text or a smaller --length",
            path, stream->ids.count, there, options->length, own, options->skip);
    there -= options->skip;
    wanted = options->samples == 0 || options->samples > there ? there : options->samples;
    if (wanted < options->samples)
        vise_warn("%s: %zu windows were asked for, there are %zu", path, options->samples, wanted);
    if (stream->ids.invalid_utf8 > 0)
        vise_warn("%s: %llu bytes are not UTF-8 and were read as U+FFFD", path,
                  (unsigned long long)stream->ids.invalid_utf8);
    VISE_TRY(vise_calloc(wanted, sizeof *chosen, (void **)&chosen, err));
    choose(options, there, wanted, chosen);
    status = cut(stream, tokenizer, options, bos, chosen, wanted, windows, err);
    vise_free(chosen);
    return status;
}

vise_status vise_windows_load(const char *path, const vise_tokenizer *tokenizer, int32_t vocab,
                              const vise_window_options *options, vise_windows *windows, vise_error *err)
{
    int32_t bos = tokenizer != NULL ? vise_tokenizer_bos(tokenizer) : -1;
    size_t enough = SIZE_MAX, rows;
    vise_token_stream stream;
    vise_status status;

    *windows = (vise_windows){0};
    if (options->length < 2)
        return VISE_FAIL(err, VISE_EUSAGE, "a window of %zu tokens predicts nothing; --length is at least 2",
                         options->length);
    if (bos >= vocab)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: the tokenizer's BOS has id %ld, but the model's vocab_size is %ld", path,
                         (long)bos, (long)vocab);
    /* Windows from the front need no more text than they cover. */
    if (!options->random && options->samples > 0 && vise_add_size(options->skip, options->samples, &rows) &&
        !vise_mul_size(rows, options->length - (bos >= 0), &enough))
        enough = SIZE_MAX;
    VISE_TRY(vise_token_stream_read(path, tokenizer, vocab, enough, &stream, err));
    status = cut_stream(path, &stream, tokenizer, options, bos, windows, err);
    vise_token_stream_deinit(&stream);
    return status;
}

/* ---- rows of ids ----------------------------------------------------------------------------- */

static vise_status read_row(const char *path, const cJSON *list, size_t index, int32_t vocab,
                            vise_windows *row, vise_error *err)
{
    size_t n = 0;
    const cJSON *item;

    cJSON_ArrayForEach(item, list) n++;
    if (!cJSON_IsArray(list) || n == 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: row %zu must be a list of at least one token id", path,
                         index);
    VISE_TRY(vise_calloc(n, sizeof *row->ids, (void **)&row->ids, err));
    cJSON_ArrayForEach(item, list)
    {
        double value = cJSON_IsNumber(item) ? item->valuedouble : -1.0;
        if (!(value >= 0.0 && value < vocab) || value != (double)(int32_t)value)
            return VISE_FAIL(err, VISE_EFORMAT,
                             "%s: row %zu, token %zu must be a whole number from 0 to %ld (vocab_size)", path,
                             index, row->length, (long)vocab - 1);
        row->ids[row->length++] = (int32_t)value;
    }
    row->count = 1;
    return VISE_OK;
}

vise_status vise_rows_load(const char *path, int32_t vocab, vise_windows **rows, size_t *count,
                           vise_error *err)
{
    cJSON *json;
    const cJSON *item;
    size_t n = 0, i = 0;
    vise_status status;

    *rows = NULL;
    *count = 0;
    VISE_TRY(vise_json_load(path, ROWS_BYTES_MAX, &json, err));
    cJSON_ArrayForEach(item, json) n++;
    if (!cJSON_IsArray(json) || n == 0) {
        status =
            VISE_FAIL(err, VISE_EFORMAT, "%s: expected a list of rows of token ids, [[1, 2, 3], ...]", path);
        goto end;
    }
    VISE_TRY_TO(end, vise_calloc(n, sizeof **rows, (void **)rows, err));
    cJSON_ArrayForEach(item, json)
    {
        VISE_TRY_TO(end, read_row(path, item, i, vocab, &(*rows)[i], err));
        i++;
    }
    *count = n;
end:
    if (status != VISE_OK && *rows != NULL) {
        for (size_t k = 0; k < n; k++)
            vise_windows_deinit(&(*rows)[k]);
        vise_free(*rows);
        *rows = NULL;
    }
    cJSON_Delete(json);
    return status;
}
