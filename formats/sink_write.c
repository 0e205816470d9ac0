/* Plain shards: tensors at planned offsets, written in any order; and what both kinds of shards share. */
#include <inttypes.h>

#include "formats/sink_internal.h"

/* Each time this much has come the disk is asked to start on what was written, so that the last sync is short. */
#define WRITE_BEHIND_BYTES ((uint64_t)64 << 20)

vise_status vise_sink_shard_path(const vise_sink *sink, const sink_shard *shard, char **path, vise_error *err)
{
    return vise_path_join(sink->partial, shard->name, path, err);
}

/* Room is reserved for the whole shard, so that a full disk is told before the work. */
vise_status vise_sink_create_plain(vise_sink *sink, sink_shard *shard, vise_error *err)
{
    char *path = NULL;
    vise_buf header;
    vise_buf_init(&header, VISE_SAFETENSORS_HEADER_MAX + 16);
    vise_status status = vise_sink_shard_path(sink, shard, &path, err);
    if (status == VISE_OK)
        status = vise_file_create(path, &shard->file, err);
    shard->is_open = status == VISE_OK;
    if (status == VISE_OK)
        status = vise_file_reserve(&shard->file, shard->header_bytes + shard->data_bytes, err);
    if (status == VISE_OK)
        status = vise_sink_header(sink, shard, false, 0, &header, err);
    if (status == VISE_OK)
        status = vise_file_write_at(&shard->file, 0, header.data, header.length, err);
    vise_buf_deinit(&header);
    vise_free(path);
    return status;
}

vise_status vise_sink_complete(vise_sink *sink, sink_shard *shard, vise_error *err)
{
    uint64_t bytes = sink->pack ? shard->room + shard->end : shard->header_bytes + shard->data_bytes;
    char sha256[VISE_SHA256_HEX_MAX], *path = NULL;
    VISE_TRY(vise_sink_shard_path(sink, shard, &path, err));
    vise_file_start_sync(&shard->file); /* the disk writes while we hash */
    if (shard->hashed)
        vise_hasher_end(shard->hashed, bytes);
    vise_status status =
        shard->hashed ? vise_hasher_wait(shard->hashed, sha256, err) : vise_sha256_file(path, sha256, err);
    vise_free(path);
    VISE_TRY(status);
    VISE_TRY(vise_file_sync(&shard->file, err));
    vise_file_close(&shard->file);
    shard->is_open = false;

    pthread_mutex_lock(&sink->lock);
    shard->result = (vise_sink_file){.name = shard->name, .bytes = bytes};
    for (size_t i = 0; i < sizeof sha256; i++)
        shard->result.sha256[i] = sha256[i];
    shard->done = true;
    status = vise_sink_write_journal(sink, err);
    pthread_mutex_unlock(&sink->lock);
    return status;
}

/* Counts a write; every byte comes exactly once. */
static vise_status count_write(sink_tensor *tensor, uint64_t offset, size_t n, vise_error *err)
{
    bool inside = offset <= tensor->bytes && n <= tensor->bytes - offset;
    if (inside && atomic_fetch_add(&tensor->written, n) + n <= tensor->bytes)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EINTERNAL, "tensor %s: a write of %zu bytes at %" PRIu64 " of %" PRIu64 "%s",
                     tensor->name, n, offset, tensor->bytes, inside ? " came twice" : "");
}

/* A tensor of a plain shard is whole: the hash may go on over it and those behind it that are. */
static vise_status advance_hash(vise_sink *sink, sink_shard *shard, vise_error *err)
{
    char *path = NULL;
    vise_status status = VISE_OK;
    if (sink->hasher == NULL)
        return VISE_OK;
    pthread_mutex_lock(&sink->lock);
    uint64_t final = 0;
    for (; shard->final_tensors < shard->count; shard->final_tensors++) {
        sink_tensor *tensor = &sink->tensors[shard->order[shard->final_tensors]];
        if (atomic_load(&tensor->stored) != tensor->bytes)
            break;
        final = shard->header_bytes + tensor->end;
    }
    if (final > 0 && shard->hashed == NULL) {
        status = vise_sink_shard_path(sink, shard, &path, err);
        if (status == VISE_OK)
            status = vise_hasher_add_growing(sink->hasher, path, &shard->hashed, err);
    }
    if (final > 0 && status == VISE_OK)
        vise_hasher_advance(shard->hashed, final);
    pthread_mutex_unlock(&sink->lock);
    vise_free(path);
    return status;
}

/* Rows that the file has in another order; neighbours that stay neighbours go together. */
static vise_status write_reordered(const sink_shard *shard, const sink_tensor *tensor, uint64_t offset,
                                const uint8_t *bytes, size_t n, vise_error *err)
{
    const uint64_t start = shard->header_bytes + tensor->begin, rows = (uint64_t)tensor->shape[0];
    const uint64_t row_bytes = tensor->bytes / rows, first = offset / row_bytes, count = n / row_bytes;
    for (uint64_t done = 0, run; done < count; done += run) {
        const uint64_t stored = vise_gguf_stored_row(&tensor->order, rows, first + done);
        for (run = 1; done + run < count; run++)
            if (vise_gguf_stored_row(&tensor->order, rows, first + done + run) != stored + run)
                break;
        VISE_TRY(vise_file_write_at(&shard->file, start + stored * row_bytes, bytes + done * row_bytes,
                                    (size_t)(run * row_bytes), err));
    }
    return VISE_OK;
}

vise_status vise_sink_write(vise_sink *sink, size_t id, uint64_t offset, const void *bytes, size_t n,
                            vise_error *err)
{
    if (sink->dry || !sink->sealed || id >= sink->n_tensors)
        return VISE_FAIL(err, VISE_EINTERNAL, "a write to an output that is not sealed, or of no tensor");
    sink_tensor *tensor = &sink->tensors[id];
    sink_shard *shard = &sink->shards[tensor->shard];
    if (n == 0 || shard->kept)
        return VISE_OK;
    VISE_TRY(count_write(tensor, offset, n, err));
    if (sink->pack)
        return vise_sink_write_packed(sink, tensor, offset, bytes, n, err);
    if (tensor->order.heads > 0)
        VISE_TRY(write_reordered(shard, tensor, offset, bytes, n, err));
    else
        VISE_TRY(
            vise_file_write_at(&shard->file, shard->header_bytes + tensor->begin + offset, bytes, n, err));
    if (atomic_fetch_add(&tensor->stored, n) + n == tensor->bytes)
        VISE_TRY(advance_hash(sink, shard, err));
    /* Before the bytes are counted: after that another thread may complete the shard and close the file. */
    uint64_t left = atomic_load(&shard->left);
    if (left / WRITE_BEHIND_BYTES != (left - n) / WRITE_BEHIND_BYTES)
        vise_file_start_sync(&shard->file);
    return atomic_fetch_sub(&shard->left, n) == n ? vise_sink_complete(sink, shard, err) : VISE_OK;
}
