/* Packed shards: chunks fill from any thread, are coded by the thread that fills them, and are committed in
 * declared order. A coded chunk whose turn has not come waits in memory. */
#include <string.h>

#include "formats/sink_internal.h"

/* ---- the file --------------------------------------------------------------------------------- */

/* A header at its upper bound, so that room can be reserved before anything is coded. */
vise_status vise_sink_create_packed(vise_sink *sink, sink_shard *shard, vise_error *err)
{
    uint64_t at = 0;
    for (size_t i = 0; i < shard->count; i++) {
        sink_tensor *tensor = &sink->tensors[shard->first + i];
        uint64_t bound = tensor->raw ? tensor->bytes : vise_pack_payload_bound(tensor->bytes);
        tensor->begin = at;
        if (__builtin_add_overflow(at, bound, &at))
            return VISE_FAIL(err, VISE_EUSAGE, "tensor %s is too large to be packed", tensor->name);
        tensor->end = at;
    }
    vise_buf header;
    vise_buf_init(&header, VISE_SAFETENSORS_HEADER_MAX + 16);
    char *path = NULL;
    vise_status status = vise_sink_header(sink, shard, true, 0, &header, err);
    shard->room = header.length;
    if (status == VISE_OK)
        status = vise_sink_shard_path(sink, shard, &path, err);
    if (status == VISE_OK)
        status = vise_file_create(path, &shard->file, err);
    shard->is_open = status == VISE_OK;
    vise_free(path);
    vise_buf_deinit(&header);
    return status;
}

static vise_status write_header(vise_sink *sink, sink_shard *shard, vise_error *err)
{
    vise_buf header;
    vise_buf_init(&header, VISE_SAFETENSORS_HEADER_MAX + 16);
    vise_status status = vise_sink_header(sink, shard, true, shard->room, &header, err);
    if (status == VISE_OK && header.length != shard->room)
        status = VISE_FAIL(err, VISE_EINTERNAL, "%s: the header needs %zu bytes, %zu are reserved",
                           shard->name, header.length, (size_t)shard->room);
    if (status == VISE_OK)
        status = vise_file_write_at(&shard->file, 0, header.data, header.length, err);
    vise_buf_deinit(&header);
    return status;
}

/* ---- memory ----------------------------------------------------------------------------------- */

static vise_status take(vise_sink *sink, size_t bytes, const char *what, uint8_t **out, vise_error *err)
{
    void *block;
    VISE_TRY(sink->pool ? vise_pool_take(sink->pool, bytes, what, &block, err)
                        : vise_alloc(bytes, &block, err));
    *out = block;
    return VISE_OK;
}

static void give(vise_sink *sink, uint8_t *block)
{
    if (sink->pool)
        vise_pool_give(sink->pool, block);
    else
        vise_free(block);
}

static vise_status take_coder(vise_sink *sink, sink_coder **out, vise_error *err)
{
    pthread_mutex_lock(&sink->lock);
    sink_coder *coder = sink->coders;
    if (coder)
        sink->coders = coder->next;
    pthread_mutex_unlock(&sink->lock);
    *out = coder;
    if (coder)
        return VISE_OK;
    void *block;
    VISE_TRY(vise_calloc(1, sizeof *coder, &block, err));
    coder = block;
    vise_status status = vise_packer_new(sink->pool, &coder->packer, err);
    if (status == VISE_OK)
        status = take(sink, vise_pack_bound(VISE_PACK_CHUNK), "coded chunk", &coder->coded, err);
    if (status != VISE_OK) {
        vise_packer_free(coder->packer);
        vise_free(coder);
        return status;
    }
    *out = coder;
    return VISE_OK;
}

static void give_coder(vise_sink *sink, sink_coder *coder)
{
    pthread_mutex_lock(&sink->lock);
    coder->next = sink->coders;
    sink->coders = coder;
    pthread_mutex_unlock(&sink->lock);
}

static size_t chunk_bytes(const sink_tensor *tensor, uint64_t index)
{
    return tensor->raw ? (size_t)tensor->bytes : vise_pack_chunk_bytes(tensor->bytes, index);
}

static void free_packing(vise_sink *sink, sink_tensor *tensor)
{
    sink_packing *packing = &tensor->packing;
    for (uint64_t i = 0; packing->chunks && i < tensor->n_chunks; i++) {
        if (packing->chunks[i].raw)
            give(sink, packing->chunks[i].raw);
        if (packing->chunks[i].coded)
            give(sink, packing->chunks[i].coded);
    }
    vise_free(packing->chunks);
    vise_free(packing->entries);
    *packing = (sink_packing){0};
}

void vise_sink_free_packing(vise_sink *sink)
{
    for (size_t i = 0; i < sink->n_tensors; i++)
        free_packing(sink, &sink->tensors[i]);
    while (sink->coders) {
        sink_coder *coder = sink->coders;
        sink->coders = coder->next;
        vise_packer_free(coder->packer);
        give(sink, coder->coded);
        vise_free(coder);
    }
}

/* Under the lock. */
static vise_status need_packing(sink_tensor *tensor, vise_error *err)
{
    if (tensor->packing.chunks)
        return VISE_OK;
    void *chunks, *entries;
    VISE_TRY(vise_calloc((size_t)tensor->n_chunks, sizeof(sink_chunk), &chunks, err));
    vise_status status = vise_calloc((size_t)tensor->n_chunks, sizeof(vise_pack_entry), &entries, err);
    if (status != VISE_OK) {
        vise_free(chunks);
        return status;
    }
    tensor->packing = (sink_packing){chunks, entries};
    return VISE_OK;
}

/* ---- the commit point ------------------------------------------------------------------------- */

static vise_status append(sink_shard *shard, const void *bytes, size_t n, vise_error *err)
{
    VISE_TRY(vise_file_write_at(&shard->file, shard->room + shard->end, bytes, n, err));
    shard->end += n;
    return VISE_OK;
}

/* Under the lock: the chunk at the commit point, coded in `bytes`. */
static vise_status commit_chunk(vise_sink *sink, sink_shard *shard, sink_tensor *tensor, const uint8_t *bytes,
                                vise_error *err)
{
    sink_chunk *chunk = &tensor->packing.chunks[shard->commit_chunk];
    if (shard->commit_chunk == 0)
        tensor->begin = shard->end;
    tensor->packing.entries[shard->commit_chunk].offset = shard->end - tensor->begin;
    VISE_TRY(append(shard, bytes, chunk->coded_bytes, err));
    if (chunk->coded)
        give(sink, chunk->coded);
    chunk->coded = NULL;
    shard->commit_chunk++;
    return VISE_OK;
}

/* Under the lock: all chunks of the tensor at the commit point are committed. */
static vise_status end_tensor(vise_sink *sink, sink_shard *shard, sink_tensor *tensor, vise_error *err)
{
    if (tensor->n_chunks == 0)
        tensor->begin = shard->end;
    if (!tensor->raw) {
        vise_pack_info info;
        uint8_t *table;
        size_t n = (size_t)vise_pack_seek_bytes(tensor->bytes);
        (void)vise_pack_describe(tensor->dtype, tensor->ndim, tensor->shape,
                                 &info); /* held when the header was made */
        VISE_TRY(take(sink, n, "seek table", &table, err));
        vise_pack_seek_table(&info, tensor->packing.entries, table);
        vise_status status = append(shard, table, n, err);
        give(sink, table);
        VISE_TRY(status);
    }
    tensor->end = shard->end;
    free_packing(sink, tensor);
    shard->commit_tensor++;
    shard->commit_chunk = 0;
    return VISE_OK;
}

/* Under the lock: moves the commit point as far as chunks are ready. *whole: this call reached the end of the
 * shard. */
static vise_status advance(vise_sink *sink, sink_shard *shard, bool *whole, vise_error *err)
{
    *whole = false;
    if (shard->done || (shard->count > 0 && shard->commit_tensor == shard->count))
        return VISE_OK;
    while (shard->commit_tensor < shard->count) {
        sink_tensor *tensor = &sink->tensors[shard->first + shard->commit_tensor];
        while (shard->commit_chunk < tensor->n_chunks) {
            const sink_chunk *chunk =
                tensor->packing.chunks ? &tensor->packing.chunks[shard->commit_chunk] : NULL;
            if (!chunk || !chunk->ready)
                return VISE_OK;
            VISE_TRY(commit_chunk(sink, shard, tensor, chunk->coded, err));
        }
        VISE_TRY(end_tensor(sink, shard, tensor, err));
    }
    *whole = true;
    return VISE_OK;
}

static vise_status complete(vise_sink *sink, sink_shard *shard, vise_error *err)
{
    VISE_TRY(write_header(sink, shard, err));
    return vise_sink_complete(sink, shard, err);
}

vise_status vise_sink_commit(vise_sink *sink, sink_shard *shard, vise_error *err)
{
    bool whole;
    pthread_mutex_lock(&sink->lock);
    vise_status status = advance(sink, shard, &whole, err);
    pthread_mutex_unlock(&sink->lock);
    return status == VISE_OK && whole ? complete(sink, shard, err) : status;
}

/* ---- chunks ----------------------------------------------------------------------------------- */

/* A coded chunk is committed at once when its turn has come, else kept for its turn. */
static vise_status deliver(vise_sink *sink, sink_tensor *tensor, uint64_t index, const vise_pack_entry *entry,
                           const uint8_t *coded, size_t n, vise_error *err)
{
    sink_shard *shard = &sink->shards[tensor->shard];
    bool whole = false;
    pthread_mutex_lock(&sink->lock);
    sink_chunk *chunk = &tensor->packing.chunks[index];
    vise_status status = VISE_OK;
    tensor->packing.entries[index] = *entry;
    chunk->coded_bytes = n;
    if (shard->commit_tensor == (size_t)(tensor - &sink->tensors[shard->first]) &&
        shard->commit_chunk == index) {
        chunk->ready = true;
        status = commit_chunk(sink, shard, tensor, coded, err);
    } else {
        status = take(sink, n, "coded chunk ahead of its turn", &chunk->coded, err);
        if (status == VISE_OK) {
            memcpy(chunk->coded, coded, n);
            chunk->ready = true;
        }
    }
    if (status == VISE_OK)
        status = advance(sink, shard, &whole, err);
    pthread_mutex_unlock(&sink->lock);
    return status == VISE_OK && whole ? complete(sink, shard, err) : status;
}

static vise_status code_chunk(vise_sink *sink, sink_tensor *tensor, uint64_t index, const void *bytes,
                              size_t n, vise_error *err)
{
    vise_pack_entry entry = {0};
    if (tensor->raw)
        return deliver(sink, tensor, index, &entry, bytes, n, err);
    sink_coder *coder;
    VISE_TRY(take_coder(sink, &coder, err));
    vise_status status = vise_pack_chunk(coder->packer, tensor->dtype, bytes, n, coder->coded, &entry, err);
    if (status == VISE_OK)
        status = deliver(sink, tensor, index, &entry, coder->coded, entry.coded_bytes, err);
    give_coder(sink, coder);
    return status;
}

/* Part of one chunk. */
static vise_status write_part(vise_sink *sink, sink_tensor *tensor, uint64_t index, size_t offset,
                              const void *bytes, size_t n, vise_error *err)
{
    size_t whole = chunk_bytes(tensor, index);
    pthread_mutex_lock(&sink->lock);
    vise_status status = need_packing(tensor, err);
    sink_chunk *chunk = status == VISE_OK ? &tensor->packing.chunks[index] : NULL;
    if (status == VISE_OK && n < whole && !chunk->raw)
        status = take(sink, whole, "chunk of a packed tensor", &chunk->raw, err);
    uint8_t *raw = chunk ? chunk->raw : NULL;
    pthread_mutex_unlock(&sink->lock);
    VISE_TRY(status);
    if (n == whole)
        return code_chunk(sink, tensor, index, bytes, n, err);

    memcpy(raw + offset, bytes, n);
    pthread_mutex_lock(&sink->lock);
    chunk->filled += n;
    bool full = chunk->filled == whole;
    if (full)
        chunk->raw = NULL;
    pthread_mutex_unlock(&sink->lock);
    if (!full)
        return VISE_OK;
    status = code_chunk(sink, tensor, index, raw, whole, err);
    give(sink, raw);
    return status;
}

vise_status vise_sink_write_packed(vise_sink *sink, sink_tensor *tensor, uint64_t offset, const void *bytes,
                                   size_t n, vise_error *err)
{
    const uint8_t *from = bytes;
    while (n > 0) {
        uint64_t index = tensor->raw ? 0 : offset / VISE_PACK_CHUNK;
        size_t within = (size_t)(offset - index * VISE_PACK_CHUNK),
               left = chunk_bytes(tensor, index) - within;
        size_t part = n < left ? n : left;
        VISE_TRY(write_part(sink, tensor, index, within, from, part, err));
        from += part;
        offset += part;
        n -= part;
    }
    return VISE_OK;
}
