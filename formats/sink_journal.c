/* What is finished: one JSON document in the partial folder, replaced atomically as each shard is done. */
#include <string.h>

#include "core/event.h"
#include "core/json.h"
#include "formats/sink_internal.h"

#define JOURNAL_MAX     ((size_t)64 << 20)
#define JOURNAL_VERSION 1

static vise_status journal_path(const vise_sink *sink, char **path, vise_error *err)
{
    return vise_path_join(sink->partial, VISE_JOURNAL_NAME, path, err);
}

/* ---- writing ---------------------------------------------------------------------------------- */

static void put_member(vise_json_writer *w, const char *key, const char *value)
{
    vise_json_key(w, key);
    vise_json_put_text(w, value);
}

vise_status vise_sink_write_journal(vise_sink *sink, vise_error *err)
{
    vise_status status = VISE_OK;
    char *path = NULL;
    vise_buf text;
    vise_json_writer w;
    vise_buf_init(&text, JOURNAL_MAX);
    vise_json_begin(&w, &text, 2);
    vise_json_object(&w);
    vise_json_key(&w, "version");
    vise_json_put_int(&w, JOURNAL_VERSION);
    put_member(&w, "identity", sink->identity);
    vise_json_key(&w, "shards");
    vise_json_array(&w);
    for (size_t i = 0; i < sink->n_shards; i++) {
        const sink_shard *shard = &sink->shards[i];
        if (!shard->done)
            continue;
        vise_json_object(&w);
        put_member(&w, "name", shard->name);
        put_member(&w, "plan", shard->plan);
        vise_json_key(&w, "bytes");
        vise_json_put_uint(&w, shard->result.bytes);
        put_member(&w, "sha256", shard->result.sha256);
        vise_json_object_end(&w);
    }
    vise_json_array_end(&w);
    vise_json_object_end(&w);
    vise_buf_add_char(&text, '\n');
    VISE_TRY_TO(done, vise_buf_check(&text, VISE_JOURNAL_NAME, err));
    VISE_TRY_TO(done, journal_path(sink, &path, err));
    VISE_TRY_TO(done, vise_file_write_atomic(path, text.data, text.length, err));
done:
    vise_free(path);
    vise_buf_deinit(&text);
    return status;
}

/* ---- reading ---------------------------------------------------------------------------------- */

static vise_status read_record(vise_sink *sink, const char *path, const cJSON *entry, vise_error *err)
{
    sink_record *record = &sink->records[sink->n_records];
    const char *name, *plan, *sha256;
    int64_t bytes;
    VISE_TRY(vise_json_text(path, entry, "name", true, &name, err));
    VISE_TRY(vise_json_text(path, entry, "plan", true, &plan, err));
    VISE_TRY(vise_json_text(path, entry, "sha256", true, &sha256, err));
    VISE_TRY(vise_json_int(path, entry, "bytes", true, 0, (int64_t)1 << 53, &bytes, err));
    VISE_TRY(vise_arena_strdup(sink->arena, name, strlen(name), &record->name, err));
    VISE_TRY(vise_arena_strdup(sink->arena, plan, strlen(plan), &record->plan, err));
    VISE_TRY(vise_arena_strdup(sink->arena, sha256, strlen(sha256), &record->sha256, err));
    record->bytes = (uint64_t)bytes;
    sink->n_records++;
    return VISE_OK;
}

static vise_status read_document(vise_sink *sink, const char *path, const cJSON *journal, vise_error *err)
{
    int64_t version;
    const char *identity;
    VISE_TRY(vise_json_int(path, journal, "version", true, 1, 1 << 30, &version, err));
    VISE_TRY(vise_json_text(path, journal, "identity", true, &identity, err));
    if (version != JOURNAL_VERSION || strcmp(identity, sink->identity) != 0)
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "%s: was begun by another run: other options, input, version, CPU level, BLAS core or device; "
            "repeat that one with --resume, or start anew without --resume",
            sink->partial);
    const cJSON *shards = cJSON_GetObjectItemCaseSensitive(journal, "shards"), *entry;
    if (!cJSON_IsArray(shards))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"shards\" is not a list", path);
    void *block;
    VISE_TRY(vise_arena_take(sink->arena, (size_t)cJSON_GetArraySize(shards) * sizeof(sink_record) + 1,
                             &block, err));
    sink->records = block;
    cJSON_ArrayForEach(entry, shards) VISE_TRY(read_record(sink, path, entry, err));
    return VISE_OK;
}

vise_status vise_sink_read_journal(vise_sink *sink, bool *found, vise_error *err)
{
    char *path = NULL;
    cJSON *journal = NULL;
    VISE_TRY(journal_path(sink, &path, err));
    *found = vise_path_exists(path);
    vise_status status = *found ? vise_json_load(path, JOURNAL_MAX, &journal, err) : VISE_OK;
    if (status == VISE_OK && *found)
        status = read_document(sink, path, journal, err);
    cJSON_Delete(journal);
    vise_free(path);
    return status;
}

/* ---- finished shards -------------------------------------------------------------------------- */

static vise_status keep(vise_sink *sink, sink_shard *shard, const sink_record *record, vise_error *err)
{
    vise_file file = {.fd = -1};
    char *path = NULL, sha256[VISE_SHA256_HEX_MAX] = "";
    VISE_TRY(vise_sink_shard_path(sink, shard, &path, err));
    vise_status status = VISE_OK;
    uint64_t bytes = UINT64_MAX;
    if (vise_path_exists(path)) {
        VISE_TRY_TO(done, vise_file_open(path, &file, err));
        bytes = file.bytes;
        vise_file_close(&file);
        if (bytes == record->bytes)
            VISE_TRY_TO(done, vise_sha256_file(path, sha256, err));
    }
    if (strcmp(sha256, record->sha256) != 0) {
        vise_warn("%s: is not what the journal says and is written again", path);
        goto done;
    }
    shard->done = shard->kept = true;
    shard->result.bytes = bytes;
    memcpy(shard->result.sha256, sha256, sizeof sha256);
done:
    vise_free(path);
    return status;
}

vise_status vise_sink_keep_recorded(vise_sink *sink, vise_error *err)
{
    for (size_t r = 0; r < sink->n_records; r++) {
        const sink_record *record = &sink->records[r];
        size_t i = 0;
        while (i < sink->n_shards && strcmp(record->name, sink->shards[i].name) != 0)
            i++;
        if (i == sink->n_shards || strcmp(record->plan, sink->shards[i].plan) != 0)
            return VISE_FAIL(
                err, VISE_EUSAGE,
                "%s: %s was written by another plan and cannot be continued; start anew without --resume",
                sink->partial, record->name);
        VISE_TRY(keep(sink, &sink->shards[i], record, err));
    }
    return VISE_OK;
}
