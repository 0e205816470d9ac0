#include "formats/source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/gguf.h"
#include "formats/names.h"
#include "formats/safetensors.h"
#include "formats/source_internal.h"
#include "formats/torch.h"

/* ---- tensors of a file ------------------------------------------------------------------------ */

/* Where a stored tensor lies, for a vise_packed_reader. */
typedef struct stored_range {
    const vise_file *file;
    uint64_t offset;
} stored_range;

static vise_status read_range(void *context, uint64_t offset, void *bytes, size_t n, vise_error *err)
{
    const stored_range *range = context;
    return vise_file_read_at(range->file, range->offset + offset, bytes, n, err);
}

/* Replaces what the header says of a packed tensor by its original, and opens its seek table. */
static vise_status open_payload(vise_source *source, vise_shard *shard, const char *value,
                                vise_tensor_info *info, const vise_packed **payload, vise_error *err)
{
    char show[VISE_ST_SHOW_MAX];
    const char *what;
    VISE_TRY(vise_arena_strfmt(source->arena, &what, err, "%s: tensor \"%s\"", shard->view.path,
                               vise_st_show(info->name, show)));
    if (info->dtype != VISE_DTYPE_U8 || info->ndim != 1)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: is marked as packed but not stored as U8 [n]", what);
    vise_pack_info original;
    VISE_TRY(vise_pack_get_tensor(what, value, strlen(value), &original, err));
    void *block;
    VISE_TRY(vise_arena_take(source->arena, sizeof(vise_packed), &block, err));
    stored_range range = {&shard->handle, info->offset};
    vise_packed_reader reader = {read_range, &range};
    VISE_TRY(vise_packed_open(what, &original, info->stored_bytes, &reader, block, err));
    *payload = block;
    info->packed = source->is_packed = true;
    info->dtype = original.dtype;
    info->ndim = original.ndim;
    memcpy(info->shape, original.shape, sizeof original.shape);
    info->bytes = original.bytes;
    return VISE_OK;
}

vise_status vise_source_grow(vise_source *source, vise_error *err)
{
    void *tensors = source->tensors, *payloads = source->payloads;
    size_t n = source->n_tensors;
    VISE_TRY(vise_grow(&tensors, &source->tensors_capacity, n + 1, sizeof *source->tensors, err));
    source->tensors = tensors;
    VISE_TRY(vise_grow(&payloads, &source->payloads_capacity, n + 1, sizeof *source->payloads, err));
    source->payloads = payloads;
    source->payloads[n] = NULL;
    return VISE_OK;
}

static vise_status add_tensor(vise_source *source, vise_shard *shard, const vise_st_header *header,
                              const vise_st_tensor *tensor, bool packed, vise_error *err)
{
    char show[VISE_ST_SHOW_MAX];
    if (tensor->ndim > VISE_DIMS_MAX)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: tensor \"%s\" has %d dimensions, at most %d are supported", shard->view.path,
                         vise_st_show(tensor->name, show), tensor->ndim, VISE_DIMS_MAX);
    size_t n = source->n_tensors;
    VISE_TRY(vise_source_grow(source, err));

    vise_tensor_info info = {
        .name = tensor->name,
        .dtype = tensor->dtype,
        .ndim = tensor->ndim,
        .bytes = tensor->end - tensor->begin,
        .stored_bytes = tensor->end - tensor->begin,
        .file = (int)(shard - source->shards),
        .offset = header->data_start + tensor->begin,
    };
    for (int i = 0; i < tensor->ndim; i++)
        info.shape[i] = tensor->shape[i];
    const vise_packed *payload = NULL;
    if (packed) {
        const char *key;
        VISE_TRY(vise_arena_strfmt(source->arena, &key, err, "%s%s", VISE_PACK_KEY_TENSOR, tensor->name));
        const char *value = vise_st_metadata(header, key);
        if (value)
            VISE_TRY(open_payload(source, shard, value, &info, &payload, err));
    }
    info.elements = 1; /* the parser, or the packed form's, has checked that this holds */
    for (int i = 0; i < info.ndim; i++)
        info.elements *= (uint64_t)info.shape[i];
    source->tensors[n] = info;
    source->payloads[n] = payload;
    source->n_tensors++;
    return VISE_OK;
}

vise_status vise_source_new_shard(vise_source *source, const char *name, const char *path, vise_shard **out,
                                  vise_error *err)
{
    void *grown = source->shards;
    VISE_TRY(vise_grow(&grown, &source->shards_capacity, source->n_shards + 1, sizeof *source->shards, err));
    source->shards = grown;
    vise_shard *shard = &source->shards[source->n_shards];
    *shard = (vise_shard){.handle.fd = -1};
    VISE_TRY(vise_arena_strdup(source->arena, name, strlen(name), &shard->view.name, err));
    VISE_TRY(vise_arena_strdup(source->arena, path, strlen(path), &shard->view.path, err));
    VISE_TRY(vise_file_open(path, &shard->handle, err));
    source->n_shards++;
    shard->view.bytes = shard->handle.bytes;
    struct stat info;
    if (fstat(shard->handle.fd, &info) == 0)
        shard->view.mtime_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    *out = shard;
    return VISE_OK;
}

vise_status vise_source_add_shard(vise_source *source, const char *name, const char *path, vise_error *err)
{
    vise_shard *shard;
    vise_status status = VISE_OK;
    vise_st_header header;
    VISE_TRY(vise_source_new_shard(source, name, path, &shard, err));
    vise_st_input input = vise_st_input_file(&shard->handle);
    VISE_TRY(vise_st_parse(&input, source->arena, &header, err));
    memcpy(shard->view.header_sha256, header.sha256, sizeof shard->view.header_sha256);
    const char *version = vise_st_metadata(&header, VISE_PACK_KEY_VERSION);
    if (version)
        VISE_TRY_TO(done, vise_pack_get_version(path, version, err));
    for (size_t i = 0; i < header.n_tensors; i++)
        VISE_TRY_TO(done, add_tensor(source, shard, &header, &header.tensors[i], version != NULL, err));
done:
    vise_st_header_deinit(&header);
    return status;
}

static int compare_named(const void *a, const void *b)
{
    return strcmp(((const vise_named *)a)->name, ((const vise_named *)b)->name);
}

vise_status vise_source_sort_names(vise_source *source, vise_error *err)
{
    void *block;
    VISE_TRY(vise_calloc(source->n_tensors, sizeof *source->by_name, &block, err));
    source->by_name = block;
    for (size_t i = 0; i < source->n_tensors; i++)
        source->by_name[i] = (vise_named){source->tensors[i].name, i};
    if (source->n_tensors > 0)
        qsort(source->by_name, source->n_tensors, sizeof *source->by_name, compare_named);
    for (size_t i = 1; i < source->n_tensors; i++) {
        const vise_named *a = &source->by_name[i - 1], *b = &source->by_name[i];
        char show[VISE_ST_SHOW_MAX];
        if (strcmp(a->name, b->name) == 0)
            return VISE_FAIL(err, VISE_EFORMAT,
                             "%s: tensor \"%s\" is in two shards, %s and %s; delete the wrong one",
                             source->path, vise_st_show(a->name, show),
                             source->shards[source->tensors[a->index].file].view.name,
                             source->shards[source->tensors[b->index].file].view.name);
    }
    return VISE_OK;
}

/* ---- open and close --------------------------------------------------------------------------- */

static vise_status open_file(vise_source *source, vise_error *err)
{
    const char *name = vise_path_base(source->path);
    if (vise_ends_with(name, ".gguf"))
        return vise_source_open_gguf(source, source->path, err);
    return vise_source_is_torch_name(name) ? vise_source_add_torch(source, name, source->path, err)
                                           : vise_source_add_shard(source, name, source->path, err);
}

vise_status vise_source_open(const char *path, vise_source **out, vise_error *err)
{
    void *block;
    vise_status status = VISE_OK;
    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof(vise_source), &block, err));
    vise_source *source = block;
    pthread_mutex_init(&source->lock, NULL);
    VISE_TRY_TO(failed, vise_arena_new(&source->arena, err));
    VISE_TRY_TO(failed, vise_arena_strdup(source->arena, path, strlen(path), &source->path, err));
    source->is_folder = vise_path_is_folder(path);
    VISE_TRY_TO(failed, source->is_folder ? vise_source_open_folder(source, err) : open_file(source, err));
    if (!source->by_name)
        VISE_TRY_TO(failed, vise_source_sort_names(source, err));
    *out = source;
    return VISE_OK;
failed:
    vise_source_close(source);
    return status;
}

void vise_source_close(vise_source *source)
{
    if (!source)
        return;
    for (size_t i = 0; i < source->n_decoders; i++)
        vise_packer_free(source->decoders[i].packer);
    vise_free(source->decoders);
    for (size_t i = 0; i < source->n_tensors; i++)
        if (source->payloads[i])
            vise_packed_close((vise_packed *)source->payloads[i]);
    for (size_t i = 0; i < source->n_shards; i++)
        vise_file_close(&source->shards[i].handle);
    vise_free(source->shards);
    vise_free(source->tensors);
    vise_free(source->payloads);
    vise_free(source->by_name);
    vise_free(source->side_files);
    vise_free(source->config_text);
    cJSON_Delete(source->config);
    vise_arena_free(source->arena);
    pthread_mutex_destroy(&source->lock);
    vise_free(source);
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* A decoder of one's own until it is given back: one that read the same tensor last, else any, else a new
 * one. */
static vise_status take_decoder(vise_source *source, size_t tensor, vise_pool *pool, size_t *taken,
                                vise_error *err)
{
    vise_status status = VISE_OK;
    pthread_mutex_lock(&source->lock);
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < source->n_decoders; i++)
        if (!source->decoders[i].busy && source->decoders[i].pool == pool &&
            (best == SIZE_MAX || source->decoders[i].tensor == tensor))
            best = i;
    if (best == SIZE_MAX) {
        void *grown = source->decoders;
        best = source->n_decoders;
        VISE_TRY_TO(done,
                    vise_grow(&grown, &source->decoders_capacity, best + 1, sizeof *source->decoders, err));
        source->decoders = grown;
        source->decoders[best] = (vise_decoder){.pool = pool};
        VISE_TRY_TO(done, vise_packer_new(pool, &source->decoders[best].packer, err));
        source->n_decoders++;
    }
    source->decoders[best].busy = true;
    source->decoders[best].tensor = tensor;
    *taken = best;
done:
    pthread_mutex_unlock(&source->lock);
    return status;
}

static vise_packer *packer_of(vise_source *source, size_t decoder)
{
    pthread_mutex_lock(&source->lock); /* the array may move */
    vise_packer *packer = source->decoders[decoder].packer;
    pthread_mutex_unlock(&source->lock);
    return packer;
}

static void give_decoder(vise_source *source, size_t decoder)
{
    pthread_mutex_lock(&source->lock);
    source->decoders[decoder].busy = false;
    pthread_mutex_unlock(&source->lock);
}

/* Rows that the file has in another order. */
static vise_status read_reordered(const vise_file *file, const vise_tensor_info *info, uint64_t offset,
                                  uint64_t n, uint8_t *bytes, vise_error *err)
{
    const uint64_t rows = (uint64_t)info->shape[0], row_bytes = info->bytes / rows;
    while (n > 0) {
        uint64_t row = offset / row_bytes, within = offset % row_bytes;
        uint64_t stored = vise_gguf_stored_row(&info->order, rows, row);
        uint64_t part = row_bytes - within < n ? row_bytes - within : n;
        VISE_TRY(
            vise_file_read_at(file, info->offset + stored * row_bytes + within, bytes, (size_t)part, err));
        bytes += part;
        offset += part;
        n -= part;
    }
    return VISE_OK;
}

/* Norms in float32 to which the file adds one. Elements that are asked for in part are read whole. */
static vise_status read_minus_one(const vise_file *file, const vise_tensor_info *info, uint64_t offset,
                                  uint64_t n, uint8_t *bytes, vise_error *err)
{
    enum { AT_ONCE = 1024 };
    float values[AT_ONCE];
    while (n > 0) {
        const uint64_t within = offset % sizeof *values, first = offset - within;
        uint64_t part = sizeof values < info->bytes - first ? sizeof values : info->bytes - first;
        VISE_TRY(vise_file_read_at(file, info->offset + first, values, (size_t)part, err));
        for (size_t i = 0; i < part / sizeof *values; i++)
            values[i] -= 1.0f;
        part = part - within < n ? part - within : n;
        memcpy(bytes, (const uint8_t *)values + within, (size_t)part);
        bytes += part;
        offset += part;
        n -= part;
    }
    return VISE_OK;
}

vise_status vise_source_read(const vise_source *source, size_t index, uint64_t offset, uint64_t n,
                             void *bytes, vise_pool *pool, vise_error *err)
{
    const vise_tensor_info *info = &source->tensors[index];
    if (offset > info->bytes || n > info->bytes - offset) {
        char show[VISE_ST_SHOW_MAX];
        return VISE_FAIL(err, VISE_EINTERNAL,
                         "tensor \"%s\": a read of %" PRIu64 " bytes at %" PRIu64 " of %" PRIu64,
                         vise_st_show(info->name, show), n, offset, info->bytes);
    }
    const vise_file *file = &source->shards[info->file].handle;
    if (info->order.heads > 0)
        return read_reordered(file, info, offset, n, bytes, err);
    if (info->minus_one)
        return read_minus_one(file, info, offset, n, bytes, err);
    if (info->view != NULL)
        return vise_torch_view_read(info->view, file, offset, n, bytes, err);
    if (!info->packed)
        return vise_file_read_at(file, info->offset + offset, bytes, (size_t)n, err);

    vise_source *shared = (vise_source *)source; /* for its decoders, under their lock */
    size_t decoder;
    VISE_TRY(take_decoder(shared, index, pool, &decoder, err));
    stored_range range = {file, info->offset};
    vise_packed_reader reader = {read_range, &range};
    vise_status status =
        vise_packed_read(source->payloads[index], packer_of(shared, decoder), &reader, offset, n, bytes, err);
    give_decoder(shared, decoder);
    return status;
}

void vise_source_will_need(const vise_source *source, size_t index)
{
    const vise_tensor_info *info = &source->tensors[index];
    vise_file_will_need(&source->shards[info->file].handle, info->offset, info->stored_bytes);
}

void vise_source_done_with(const vise_source *source, size_t index)
{
    const vise_tensor_info *info = &source->tensors[index];
    vise_file_dont_need(&source->shards[info->file].handle, info->offset, info->stored_bytes);
}

/* ---- what there is ---------------------------------------------------------------------------- */

const char *vise_source_path(const vise_source *source)
{
    return source->path;
}

bool vise_source_is_folder(const vise_source *source)
{
    return source->is_folder;
}

bool vise_source_is_packed(const vise_source *source)
{
    return source->is_packed;
}

const char *vise_source_format(const vise_source *source)
{
    return source->gguf ? "gguf" : source->is_torch ? "torch" : "safetensors";
}

const vise_gguf *vise_source_gguf(const vise_source *source)
{
    return source->gguf;
}

size_t vise_source_count(const vise_source *source)
{
    return source->n_tensors;
}

const vise_tensor_info *vise_source_tensor(const vise_source *source, size_t index)
{
    return &source->tensors[index];
}

size_t vise_source_find(const vise_source *source, const char *name)
{
    vise_named wanted = {name, 0};
    const vise_named *found = source->n_tensors == 0 ? NULL
                                                     : bsearch(&wanted, source->by_name, source->n_tensors,
                                                               sizeof wanted, compare_named);
    return found ? found->index : SIZE_MAX;
}

size_t vise_source_files(const vise_source *source)
{
    return source->n_shards;
}

const vise_source_file *vise_source_file_at(const vise_source *source, size_t index)
{
    return &source->shards[index].view;
}

size_t vise_source_side_files(const vise_source *source)
{
    return source->n_side_files;
}

const char *vise_source_side_file(const vise_source *source, size_t index)
{
    return source->side_files[index];
}

const cJSON *vise_source_config(const vise_source *source)
{
    return source->config;
}

const char *vise_source_config_text(const vise_source *source)
{
    return source->config_text;
}

const char *vise_source_config_path(const vise_source *source)
{
    return source->config_path;
}
