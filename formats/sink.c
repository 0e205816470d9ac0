#include "formats/sink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/event.h"
#include "formats/gguf.h"
#include "formats/gguf_write.h"
#include "formats/names.h"
#include "formats/sink_internal.h"

/* ---- open and close --------------------------------------------------------------------------- */

static vise_status new_sink(vise_sink **out, vise_error *err)
{
    void *block;
    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof(vise_sink), &block, err));
    vise_sink *sink = block;
    sink->lock_fd = -1;
    pthread_mutex_init(&sink->lock, NULL);
    vise_status status = vise_arena_new(&sink->arena, err);
    if (status != VISE_OK) {
        vise_sink_close(sink, false);
        return status;
    }
    *out = sink;
    return VISE_OK;
}

static vise_status set_paths(vise_sink *sink, const char *path, vise_error *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    VISE_TRY(vise_arena_strdup(sink->arena, path, n, &sink->out, err));
    const char *base = vise_path_base(sink->out);
    if (!vise_name_is_plain(base))
        return VISE_FAIL(err, VISE_EUSAGE,
                         "%s: is no name for an output; give a new folder or a .safetensors file", path);
    sink->single = vise_ends_with(base, sink->gguf ? ".gguf" : ".safetensors");
    return vise_arena_strfmt(sink->arena, &sink->partial, err, "%.*s.%s.vise-partial",
                             (int)(base - sink->out), sink->out, base);
}

/* The partial folder is this run's alone until it is closed. */
static vise_status lock_partial(vise_sink *sink, vise_error *err)
{
    if (!vise_path_exists(sink->partial))
        VISE_TRY(vise_folder_make(sink->partial, err));
    sink->lock_fd = open(sink->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (sink->lock_fd >= 0 && flock(sink->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EUSAGE,
                     "%s: another run is writing this output now; wait for it or choose another", sink->out);
}

/* Makes the partial folder, or continues the one that is there. */
static vise_status open_partial(vise_sink *sink, bool resume, vise_error *err)
{
    bool journal = false, fresh = !vise_path_exists(sink->partial);
    VISE_TRY(lock_partial(sink, err));
    if (resume && !fresh)
        VISE_TRY(vise_sink_read_journal(sink, &journal, err));
    if (resume && !journal)
        vise_info("%s: there is nothing to continue; starting from the beginning", sink->out);
    if (fresh || journal)
        return VISE_OK;
    VISE_TRY(vise_folder_remove(sink->partial, err));
    close(sink->lock_fd);
    return lock_partial(sink, err);
}

vise_status vise_sink_open(const vise_sink_options *options, vise_sink **out, vise_error *err)
{
    vise_status status = VISE_OK;
    vise_sink *sink;
    VISE_TRY(new_sink(&sink, err));
    sink->replace = options->replace;
    sink->pack = options->pack;
    sink->max_shard_bytes = options->max_shard_bytes;
    sink->gguf = options->gguf;
    sink->pool = options->pool;
    sink->hasher = options->hasher;
    const char *identity = options->identity ? options->identity : "";
    VISE_TRY_TO(failed, vise_arena_strdup(sink->arena, identity, strlen(identity), &sink->identity, err));
    VISE_TRY_TO(failed, set_paths(sink, options->path, err));
    if (!options->replace && vise_path_exists(sink->out))
        VISE_TRY_TO(failed, VISE_FAIL(err, VISE_EUSAGE,
                                      "%s: exists already; choose another output or replace it with "
                                      "--force",
                                      sink->out));
    if (sink->single && sink->pack && !vise_ends_with(sink->out, ".vise.safetensors"))
        vise_warn(
            "%s: is packed, which other programs cannot read; a name ending in .vise.safetensors says so",
            sink->out);
    VISE_TRY_TO(failed, open_partial(sink, options->resume, err));
    *out = sink;
    return VISE_OK;
failed:
    vise_sink_close(sink, false);
    *out = NULL;
    return status;
}

vise_status vise_sink_dry(uint64_t max_shard_bytes, bool pack, const vise_gguf_values *gguf, vise_sink **out,
                          vise_error *err)
{
    VISE_TRY(new_sink(out, err));
    (*out)->gguf = gguf;
    (*out)->dry = true;
    (*out)->pack = pack;
    (*out)->max_shard_bytes = max_shard_bytes;
    (*out)->out = (*out)->partial = (*out)->identity = "";
    return VISE_OK;
}

void vise_sink_close(vise_sink *sink, bool discard)
{
    if (!sink)
        return;
    for (size_t i = 0; i < sink->n_shards; i++) {
        if (sink->shards[i].is_open)
            vise_file_close(&sink->shards[i].file);
    }
    vise_sink_free_packing(sink);
    vise_error ignored = {0};
    if (discard && sink->partial && *sink->partial && vise_folder_remove(sink->partial, &ignored) != VISE_OK)
        vise_warn("%s", ignored.message);
    if (sink->lock_fd >= 0)
        close(sink->lock_fd);
    vise_free(sink->tensors);
    vise_free(sink->shards);
    vise_free(sink->extras);
    vise_arena_free(sink->arena);
    pthread_mutex_destroy(&sink->lock);
    vise_free(sink);
}

/* ---- declare and seal ------------------------------------------------------------------------- */

vise_status vise_sink_declare(vise_sink *sink, const char *name, vise_dtype dtype, int ndim,
                              const int64_t *shape, int unit, size_t *id, vise_error *err)
{
    uint64_t elements = 1, bytes = 0;
    bool fits = ndim >= 0 && ndim <= VISE_DIMS_MAX;
    for (int i = 0; fits && i < ndim; i++)
        fits = shape[i] >= 0 && !__builtin_mul_overflow(elements, (uint64_t)shape[i], &elements);
    if (!fits || !vise_dtype_bytes(dtype, elements, &bytes) || bytes > (uint64_t)1 << 53)
        return VISE_FAIL(err, VISE_EUSAGE, "tensor %s: its shape overflows or does not fill whole bytes",
                         name);
    if (sink->sealed)
        return VISE_FAIL(err, VISE_EINTERNAL, "tensor %s was declared after the output was sealed", name);
    void *grown = sink->tensors, *dims;
    VISE_TRY(vise_grow(&grown, &sink->tensors_capacity, sink->n_tensors + 1, sizeof *sink->tensors, err));
    sink->tensors = grown;
    VISE_TRY(vise_arena_take(sink->arena, ((size_t)ndim + 1) * sizeof(int64_t), &dims, err));
    if (ndim > 0)
        memcpy(dims, shape, (size_t)ndim * sizeof(int64_t));
    sink_tensor *tensor = &sink->tensors[sink->n_tensors];
    memset(tensor, 0, sizeof *tensor);
    VISE_TRY(vise_arena_strdup(sink->arena, name, strlen(name), &tensor->name, err));
    tensor->dtype = dtype;
    tensor->ndim = ndim;
    tensor->shape = dims;
    tensor->bytes = bytes;
    tensor->unit = unit;
    tensor->raw = bytes < VISE_PACK_TENSOR_MIN;
    tensor->n_chunks = tensor->raw ? bytes > 0 : vise_pack_chunks(bytes);
    *id = sink->n_tensors++;
    return VISE_OK;
}

vise_status vise_sink_declare_gguf(vise_sink *sink, const char *name, const vise_gguf_type *type, int ndim,
                                   const int64_t *shape, const vise_gguf_order *order, int unit, size_t *id,
                                   vise_error *err)
{
    int64_t stored[VISE_GGUF_DIMS_MAX];
    if (strlen(name) > VISE_GGUF_NAME_MAX || ndim < 1 || ndim > VISE_GGUF_DIMS_MAX)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "tensor %s: GGUF holds names of at most %d bytes and 1 to %d dimensions", name,
                         VISE_GGUF_NAME_MAX, VISE_GGUF_DIMS_MAX);
    memcpy(stored, shape, (size_t)ndim * sizeof *stored);
    stored[ndim - 1] = (int64_t)vise_gguf_row_bytes(type, shape[ndim - 1]);
    VISE_TRY(vise_sink_declare(sink, name, VISE_DTYPE_U8, ndim, stored, unit, id, err));
    sink_tensor *tensor = &sink->tensors[*id];
    tensor->type = type;
    if (order != NULL)
        tensor->order = *order;
    /* In the header stands the logical shape. */
    memcpy((int64_t *)tensor->shape, shape, (size_t)ndim * sizeof *shape);
    return VISE_OK;
}

/* Plain shards are as large as planned. How small packed ones become is not known before they are coded. */
static vise_status check_room(const vise_sink *sink, vise_error *err)
{
    uint64_t wanted = 0, free_bytes;
    for (size_t i = 0; i < sink->n_shards; i++)
        if (!sink->shards[i].done)
            wanted += sink->shards[i].header_bytes + sink->shards[i].data_bytes;
    VISE_TRY(vise_disk_free(sink->partial, &free_bytes, err));
    if (wanted <= free_bytes)
        return VISE_OK;
    char a[VISE_SIZE_TEXT_MAX], b[VISE_SIZE_TEXT_MAX];
    return VISE_FAIL(
        err, VISE_ERESOURCE,
        "%s: not enough disk space: %s (%" PRIu64 " bytes) are needed, %s (%" PRIu64 ") are free", sink->out,
        vise_format_size(wanted, a), wanted, vise_format_size(free_bytes, b), free_bytes);
}

static bool is_kept(const vise_sink *sink, const char *name)
{
    bool kept = strcmp(name, VISE_JOURNAL_NAME) == 0;
    for (size_t i = 0; i < sink->n_shards && !kept; i++)
        kept = sink->shards[i].done && strcmp(name, sink->shards[i].name) == 0;
    return kept;
}

/* What a killed run left beside its finished shards: unfinished ones, side files, temporary files. */
static vise_status remove_leftovers(const vise_sink *sink, vise_error *err)
{
    vise_status status = VISE_OK;
    DIR *folder = opendir(sink->partial);
    if (!folder)
        return VISE_FAIL(err, VISE_ERESOURCE, "%s: the folder cannot be read: %s", sink->partial,
                         strerror(errno));
    for (const struct dirent *entry; status == VISE_OK && (entry = readdir(folder)) != NULL;) {
        char *path = NULL;
        if (!vise_name_is_plain(entry->d_name) || is_kept(sink, entry->d_name))
            continue;
        status = vise_path_join(sink->partial, entry->d_name, &path, err);
        if (status == VISE_OK)
            status = vise_folder_remove(path, err);
        vise_free(path);
    }
    closedir(folder);
    return status;
}

vise_status vise_sink_seal(vise_sink *sink, vise_error *err)
{
    if (sink->sealed)
        return VISE_FAIL(err, VISE_EINTERNAL, "the output was sealed twice");
    VISE_TRY(vise_sink_assign(sink, err));
    sink->sealed = true;
    if (sink->dry)
        return VISE_OK;
    VISE_TRY(vise_sink_keep_recorded(sink, err));
    VISE_TRY(remove_leftovers(sink, err));
    if (!sink->pack)
        VISE_TRY(check_room(sink, err));
    VISE_TRY(vise_sink_write_journal(sink, err));
    for (size_t i = 0; i < sink->n_shards; i++)
        if (!sink->shards[i].done)
            VISE_TRY(sink->pack ? vise_sink_create_packed(sink, &sink->shards[i], err)
                                : vise_sink_create_plain(sink, &sink->shards[i], err));
    return VISE_OK;
}

/* ---- what there is ---------------------------------------------------------------------------- */

size_t vise_sink_shards(const vise_sink *sink)
{
    return sink->n_shards;
}

const char *vise_sink_shard(const vise_sink *sink, size_t shard, uint64_t *bytes)
{
    *bytes = sink->shards[shard].header_bytes + sink->shards[shard].data_bytes;
    return sink->shards[shard].name;
}

bool vise_sink_has(const vise_sink *sink, size_t id)
{
    return sink->sealed && sink->shards[sink->tensors[id].shard].done;
}

const char *vise_sink_partial_path(const vise_sink *sink)
{
    return sink->partial;
}

size_t vise_sink_files(const vise_sink *sink)
{
    return sink->finished ? sink->n_shards : 0;
}

const vise_sink_file *vise_sink_file_at(const vise_sink *sink, size_t index)
{
    return &sink->shards[index].result;
}

/* ---- side files ------------------------------------------------------------------------------- */

/* The path of a side file, whose folder is made. Beside a single-file output it is published as OUT.NAME. */
static vise_status side_path(vise_sink *sink, const char *name, char **path, vise_error *err)
{
    const char *slash = strchr(name, '/');
    if (sink->dry || (slash && sink->single) || *name == '.' || !vise_name_is_plain(slash ? slash + 1 : name))
        return VISE_FAIL(err, VISE_EINTERNAL, "%s: no file of this output", name);
    if (slash) {
        char *folder = NULL;
        VISE_TRY(vise_strfmt(&folder, err, "%s/%.*s", sink->partial, (int)(slash - name), name));
        vise_status status = vise_path_exists(folder) ? VISE_OK : vise_folder_make(folder, err);
        vise_free(folder);
        VISE_TRY(status);
    }
    bool known = !sink->single;
    for (size_t i = 0; i < sink->n_extras; i++)
        known = known || strcmp(sink->extras[i], name) == 0;
    if (!known) {
        void *grown = sink->extras;
        VISE_TRY(vise_grow(&grown, &sink->extras_capacity, sink->n_extras + 1, sizeof *sink->extras, err));
        sink->extras = grown;
        VISE_TRY(vise_arena_strdup(sink->arena, name, strlen(name), &sink->extras[sink->n_extras], err));
        sink->n_extras++;
    }
    return vise_path_join(sink->partial, name, path, err);
}

vise_status vise_sink_put_file(vise_sink *sink, const char *name, const void *bytes, size_t n,
                               vise_error *err)
{
    char *path = NULL;
    VISE_TRY(side_path(sink, name, &path, err));
    vise_status status = vise_file_write_atomic(path, bytes, n, err);
    vise_free(path);
    return status;
}

vise_status vise_sink_copy_file(vise_sink *sink, const char *name, const char *from, vise_error *err)
{
    char *path = NULL;
    VISE_TRY(side_path(sink, name, &path, err));
    vise_status status = vise_file_copy(from, path, err);
    vise_free(path);
    return status;
}

/* ---- finish and publish ----------------------------------------------------------------------- */

static vise_status check_whole(const vise_sink *sink, vise_error *err)
{
    for (size_t i = 0; i < sink->n_tensors; i++) {
        const sink_tensor *tensor = &sink->tensors[i];
        uint64_t written = atomic_load(&tensor->written);
        if (!sink->shards[tensor->shard].done && written != tensor->bytes)
            return VISE_FAIL(err, VISE_EINTERNAL, "tensor %s: %" PRIu64 " of %" PRIu64 " bytes were written",
                             tensor->name, written, tensor->bytes);
    }
    return VISE_OK;
}

vise_status vise_sink_finish(vise_sink *sink, vise_error *err)
{
    if (sink->dry || !sink->sealed)
        return VISE_FAIL(err, VISE_EINTERNAL, "the output cannot be finished before it is sealed");
    VISE_TRY(check_whole(sink, err));
    for (size_t i = 0; i < sink->n_shards; i++) { /* those without a byte have not completed themselves */
        sink_shard *shard = &sink->shards[i];
        if (!shard->done)
            VISE_TRY(sink->pack ? vise_sink_commit(sink, shard, err) : vise_sink_complete(sink, shard, err));
        shard->result.name = shard->name;
    }
    if (sink->n_shards > 1 && !sink->gguf)
        VISE_TRY(vise_sink_write_index(sink, sink->partial, false, err));
    if (sink->finished_folder)
        VISE_TRY(vise_folder_remove(sink->finished_folder, err));
    sink->finished_folder = NULL;
    VISE_TRY(vise_folder_sync(sink->partial, err));
    sink->finished = true;
    return VISE_OK;
}

static vise_status publish_single(vise_sink *sink, vise_error *err)
{
    char *from = NULL, *to = NULL;
    VISE_TRY(vise_path_join(sink->partial, sink->shards[0].name, &from, err));
    vise_status status = vise_path_publish(from, sink->out, sink->replace, err);
    vise_free(from);
    for (size_t i = 0; i < sink->n_extras && status == VISE_OK; i++) {
        from = NULL;
        status = vise_path_join(sink->partial, sink->extras[i], &from, err);
        if (status == VISE_OK)
            status = vise_strfmt(&to, err, "%s.%s", sink->out, sink->extras[i]);
        if (status == VISE_OK)
            status = vise_path_publish(from, to, true, err);
        vise_free(from);
        vise_free(to);
        to = NULL;
    }
    return status == VISE_OK ? vise_folder_remove(sink->partial, err) : status;
}

vise_status vise_sink_publish(vise_sink *sink, vise_error *err)
{
    if (!sink->finished)
        return VISE_FAIL(err, VISE_EINTERNAL, "the output cannot be published before it is finished");
    if (sink->single)
        return publish_single(sink, err);
    char *journal = NULL;
    VISE_TRY(vise_path_join(sink->partial, VISE_JOURNAL_NAME, &journal, err));
    vise_status status = vise_folder_remove(journal, err);
    vise_free(journal);
    VISE_TRY(status);
    return vise_path_publish(sink->partial, sink->out, sink->replace, err);
}
