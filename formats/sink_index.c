/* The index over shards, for the output and for what a continued run already has of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"
#include "formats/sink_internal.h"

#define INDEX_MAX ((size_t)512 << 20)

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const sink_tensor *const *)a)->name, (*(const sink_tensor *const *)b)->name);
}

/* As the hub's library writes it: two spaces of indent, sorted keys, a newline at the end. */
static void put_index(const vise_sink *sink, const sink_tensor *const *sorted, size_t n, vise_buf *text)
{
    uint64_t total = 0;
    vise_json_writer w;
    for (size_t i = 0; i < n; i++)
        total += sorted[i]->bytes;
    vise_json_begin(&w, text, 2);
    vise_json_object(&w);
    vise_json_key(&w, "metadata");
    vise_json_object(&w);
    vise_json_key(&w, "total_size");
    vise_json_put_uint(&w, total);
    vise_json_object_end(&w);
    vise_json_key(&w, "weight_map");
    vise_json_object(&w);
    for (size_t i = 0; i < n; i++) {
        vise_json_key(&w, sorted[i]->name);
        vise_json_put_text(&w, sink->shards[sorted[i]->shard].name);
    }
    vise_json_object_end(&w);
    vise_json_object_end(&w);
    vise_buf_add_char(text, '\n');
}

vise_status vise_sink_write_index(const vise_sink *sink, const char *folder, bool only_done, vise_error *err)
{
    vise_status status = VISE_OK;
    char *path = NULL;
    void *block = NULL;
    size_t n = 0;
    vise_buf text;
    vise_buf_init(&text, INDEX_MAX);
    VISE_TRY_TO(done, vise_calloc(sink->n_tensors, sizeof(sink_tensor *), &block, err));
    const sink_tensor **sorted = block;
    for (size_t i = 0; i < sink->n_tensors; i++)
        if (!only_done || sink->shards[sink->tensors[i].shard].done)
            sorted[n++] = &sink->tensors[i];
    if (n > 0)
        qsort(sorted, n, sizeof *sorted, by_name);
    put_index(sink, sorted, n, &text);
    VISE_TRY_TO(done, vise_buf_check(&text, VISE_INDEX_NAME, err));
    VISE_TRY_TO(done, vise_path_join(folder, VISE_INDEX_NAME, &path, err));
    VISE_TRY_TO(done, vise_file_write_atomic(path, text.data, text.length, err));
done:
    vise_free(path);
    vise_free(block);
    vise_buf_deinit(&text);
    return status;
}

/* ---- finished shards as a model --------------------------------------------------------------- */

static vise_status link_shard(const vise_sink *sink, const sink_shard *shard, vise_error *err)
{
    char *link = NULL, *target = NULL;
    vise_status status = vise_path_join(sink->finished_folder, shard->name, &link, err);
    if (status == VISE_OK)
        status = vise_strfmt(&target, err, "../%s", shard->name);
    if (status == VISE_OK && symlink(target, link) != 0)
        status = VISE_FAIL(err, VISE_ERESOURCE, "%s: the link cannot be made: %s", link, strerror(errno));
    vise_free(link);
    vise_free(target);
    return status;
}

vise_status vise_sink_finished_folder(vise_sink *sink, const char *config_json, char **path, vise_error *err)
{
    if (sink->dry || !sink->sealed)
        return VISE_FAIL(err, VISE_EINTERNAL, "the output has no finished shards before it is sealed");
    const char *folder;
    char *config = NULL;
    VISE_TRY(vise_arena_strfmt(sink->arena, &folder, err, "%s/finished", sink->partial));
    VISE_TRY(vise_folder_remove(folder, err)); /* a killed run may have left one */
    VISE_TRY(vise_folder_make(folder, err));
    sink->finished_folder = folder;
    for (size_t i = 0; i < sink->n_shards; i++)
        if (sink->shards[i].done)
            VISE_TRY(link_shard(sink, &sink->shards[i], err));
    if (sink->n_shards > 1)
        VISE_TRY(vise_sink_write_index(sink, folder, true, err));
    VISE_TRY(vise_path_join(folder, "config.json", &config, err));
    vise_status status = vise_file_write_atomic(config, config_json, strlen(config_json), err);
    vise_free(config);
    return status == VISE_OK ? vise_strdup(folder, path, err) : status;
}
