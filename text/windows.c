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

void vise_windows_free_sets(vise_windows *sets, size_t count)
{
    for (size_t i = 0; sets != NULL && i < count; i++)
        vise_windows_deinit(&sets[i]);
    vise_free(sets);
}

/* ---- windows of a text ----------------------------------------------------------------------- */

typedef struct cutter {
    const char *path;
    const vise_token_stream *stream;
    const vise_tokenizer *tokenizer;
    const vise_window_options *options;
    vise_window_plan plan;
} cutter;

/* Starts of documents in the stream that lie before `token`. */
static size_t starts_before(const vise_token_stream *stream, size_t token)
{
    size_t low = 0, high = stream->n_starts;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (stream->starts[middle] < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Adds the bytes of the tokens [start, end) of the stream; false: they are not known. */
static bool add_bytes(const cutter *c, size_t start, size_t end, uint64_t *bytes)
{
    uint64_t added = starts_before(c->stream, end) - starts_before(c->stream, start), sum = 0;

    if (c->tokenizer == NULL || c->stream->unknown_bytes)
        return false;
    for (size_t i = start; i < end; i++) {
        int n = vise_tokenizer_token_bytes(c->tokenizer, c->stream->ids.ids[i]);
        if (n < 0)
            return false;
        sum += (uint64_t)n;
    }
    *bytes += sum > added ? sum - added : 0;
    return true;
}

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

static size_t length_of(const vise_window_place *place)
{
    return place->own + place->bos_before;
}

static vise_window_place place_of(const cutter *c, size_t chosen)
{
    return vise_window_plan_at(&c->plan, c->options->skip + chosen);
}

/* Chosen windows from `first` on that are alike. */
static size_t count_alike(const cutter *c, const size_t *chosen, size_t first, size_t wanted)
{
    vise_window_place like = place_of(c, chosen[first]);
    size_t n = 1;

    for (; first + n < wanted; n++) {
        vise_window_place place = place_of(c, chosen[first + n]);
        if (place.own != like.own || place.uncounted != like.uncounted)
            break;
    }
    return n;
}

static vise_status cut_set(const cutter *c, const size_t *chosen, size_t count, vise_windows *set, vise_error *err)
{
    vise_window_place place = place_of(c, chosen[0]);
    bool known = true;
    size_t size;

    *set = (vise_windows){.count = count, .length = length_of(&place), .uncounted = place.uncounted};
    set->invalid_utf8 = c->stream->ids.invalid_utf8;
    if (!vise_mul_size(count, set->length, &size) || !vise_mul_size(size, sizeof *set->ids, &size))
        return VISE_FAIL(err, VISE_ERESOURCE, "%zu windows of %zu tokens are too many", count, set->length);
    VISE_TRY(vise_alloc(size, (void **)&set->ids, err));
    for (size_t i = 0; i < count; i++) {
        int32_t *row = set->ids + i * set->length;
        place = place_of(c, chosen[i]);
        if (place.bos_before)
            *row++ = c->plan.bos;
        memcpy(row, c->stream->ids.ids + place.start, place.own * sizeof *row);
        if (place.bos_replaces)
            row[0] = c->plan.bos;
        known = known && add_bytes(c, place.start + place.uncounted + !place.bos_before, place.start + place.own,
                                   &set->bytes);
    }
    if (!known)
        set->bytes = 0;
    return VISE_OK;
}

static vise_status cut_sets(const cutter *c, const size_t *chosen, size_t wanted, vise_windows **sets, size_t *count,
                            vise_error *err)
{
    size_t n = 0;
    vise_status status = VISE_OK;

    for (size_t i = 0; i < wanted; i += count_alike(c, chosen, i, wanted))
        n++;
    VISE_TRY(vise_calloc(n, sizeof **sets, (void **)sets, err));
    *count = n;
    for (size_t i = 0, s = 0; i < wanted && status == VISE_OK; s++) {
        size_t alike = count_alike(c, chosen, i, wanted);
        status = cut_set(c, chosen + i, alike, &(*sets)[s], err);
        i += alike;
    }
    if (status != VISE_OK) {
        vise_windows_free_sets(*sets, n);
        *sets = NULL;
        *count = 0;
    }
    return status;
}

static vise_status cut_stream(const cutter *c, vise_windows **sets, size_t *count, vise_error *err)
{
    const vise_window_options *options = c->options;
    const vise_token_stream *stream = c->stream;
    size_t there = vise_window_plan_count(&c->plan), wanted;
    size_t *chosen;
    vise_status status;

    if (there == 0)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "%s: %zu tokens are too few for a window of %zu; give more text or a smaller --length",
                         c->path, stream->ids.count, options->length);
    if (there <= options->skip)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "%s: %zu tokens make %zu windows of %zu; behind the %zu skipped there is none; give more "
                         "text, or a smaller --skip or --length",
                         c->path, stream->ids.count, there, options->length, options->skip);
    there -= options->skip;
    wanted = options->samples == 0 || options->samples > there ? there : options->samples;
    if (wanted < options->samples)
        vise_warn("%s: %zu windows were asked for, there are %zu", c->path, options->samples, wanted);
    if (stream->ids.invalid_utf8 > 0)
        vise_warn("%s: %llu bytes are not UTF-8 and were read as U+FFFD", c->path,
                  (unsigned long long)stream->ids.invalid_utf8);
    VISE_TRY(vise_calloc(wanted, sizeof *chosen, (void **)&chosen, err));
    choose(options, there, wanted, chosen);
    status = cut_sets(c, chosen, wanted, sets, count, err);
    vise_free(chosen);
    return status;
}

/* True if the stream begins with BOS. */
static bool begins_with_bos(const vise_window_options *options, int32_t bos)
{
    switch (options->protocol) {
    case VISE_PROTOCOL_PAPERS:
    case VISE_PROTOCOL_STRIDE:
        return options->bos_in_front && bos >= 0;
    case VISE_PROTOCOL_LLAMA_CPP:
        return bos >= 0;
    default:
        return false;
    }
}

static vise_status put_in_front(vise_token_stream *stream, int32_t bos, vise_error *err)
{
    VISE_TRY(vise_ids_reserve(&stream->ids, 1, err));
    memmove(stream->ids.ids + 1, stream->ids.ids, stream->ids.count * sizeof bos);
    stream->ids.ids[0] = bos;
    stream->ids.count++;
    for (size_t i = 0; i < stream->n_starts; i++)
        stream->starts[i]++;
    return VISE_OK;
}

vise_status vise_window_sets_load(const char *path, const vise_tokenizer *tokenizer, int32_t vocab,
                                  const vise_window_options *options, vise_windows **sets, size_t *count,
                                  vise_error *err)
{
    int32_t bos = tokenizer != NULL ? vise_tokenizer_bos(tokenizer) : -1;
    size_t enough = SIZE_MAX, windows;
    vise_token_stream stream;
    cutter c = {.path = path, .stream = &stream, .tokenizer = tokenizer, .options = options};
    vise_status status;

    *sets = NULL;
    *count = 0;
    c.plan = (vise_window_plan){.protocol = options->protocol, .length = options->length, .bos = bos};
    c.plan.stride = options->stride > 0 ? options->stride : options->length / 2;
    VISE_TRY(vise_window_plan_check(&c.plan, err));
    if (bos >= vocab)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: the tokenizer's BOS has id %ld, but the model's vocab_size is %ld", path,
                         (long)bos, (long)vocab);
    if (options->bos_in_front && bos < 0)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: --bos, but the model's tokenizer adds no BOS", path);
    /* Windows from the front need no more text than they cover. */
    if (!options->random && options->samples > 0 && vise_add_size(options->skip, options->samples, &windows))
        enough = vise_window_plan_tokens(&c.plan, windows);
    VISE_TRY(vise_token_stream_read(path, tokenizer, vocab, enough, &stream, err));
    status = begins_with_bos(options, bos) ? put_in_front(&stream, bos, err) : VISE_OK;
    c.plan.tokens = stream.ids.count;
    if (status == VISE_OK)
        status = cut_stream(&c, sets, count, err);
    vise_token_stream_deinit(&stream);
    return status;
}

vise_status vise_windows_load(const char *path, const vise_tokenizer *tokenizer, int32_t vocab,
                              const vise_window_options *options, vise_windows *windows, vise_error *err)
{
    vise_windows *sets;
    size_t count;

    *windows = (vise_windows){0};
    if (options->protocol == VISE_PROTOCOL_STRIDE)
        return VISE_FAIL(err, VISE_EINTERNAL, "%s: windows of a stride are no single set", path);
    VISE_TRY(vise_window_sets_load(path, tokenizer, vocab, options, &sets, &count, err));
    *windows = sets[0];
    vise_free(sets);
    return VISE_OK;
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
    if (status != VISE_OK) {
        vise_windows_free_sets(*rows, n);
        *rows = NULL;
    }
    cJSON_Delete(json);
    return status;
}
