/* What goes where: tensors to shards, by unpacked size and in whole units, and to offsets within them. */
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_write.h"
#include "formats/names.h"
#include "formats/sink_internal.h"

#define FORMAT_MEMBER "\"format\":\"pt\"" /* loaders of transformers 4 refuse a file that does not say it */

/* ---- shards ----------------------------------------------------------------------------------- */

static uint64_t unit_bytes(const vise_sink *sink, size_t first, size_t *end)
{
    uint64_t bytes = 0;
    size_t i = first;
    for (; i < sink->n_tensors && sink->tensors[i].unit == sink->tensors[first].unit; i++)
        bytes += sink->tensors[i].bytes;
    *end = i;
    return bytes;
}

/* Greedy, as the hub's library does: a unit that does not fit any more opens the next shard. Counts without
 * `shards`. */
static size_t cut(const vise_sink *sink, sink_shard *shards)
{
    size_t n = 0, end;
    uint64_t filled = 0,
             max = sink->single || sink->max_shard_bytes == 0 ? UINT64_MAX : sink->max_shard_bytes;
    for (size_t first = 0; first < sink->n_tensors; first = end) {
        uint64_t bytes = unit_bytes(sink, first, &end);
        if (n == 0 || (filled > 0 && bytes > max - (filled < max ? filled : max))) {
            if (shards)
                shards[n].first = first;
            n++;
            filled = 0;
        }
        filled += bytes;
        if (shards)
            shards[n - 1].count = end - shards[n - 1].first;
    }
    return n > 0 ? n : 1; /* a model without tensors is one empty shard */
}

static vise_status name_shards(vise_sink *sink, vise_error *err)
{
    const char *ending = sink->gguf ? "gguf" : sink->pack ? "vise.safetensors" : "safetensors";
    for (size_t i = 0; i < sink->n_shards; i++) {
        const char **name = &sink->shards[i].name;
        if (sink->single) {
            const char *base = vise_path_base(sink->out);
            VISE_TRY(vise_arena_strdup(sink->arena, base, strlen(base), name, err));
        } else if (sink->n_shards == 1) {
            VISE_TRY(vise_arena_strfmt(sink->arena, name, err, "model.%s", ending));
        } else {
            VISE_TRY(vise_arena_strfmt(sink->arena, name, err, "model-%05zu-of-%05zu.%s", i + 1,
                                       sink->n_shards, ending));
        }
    }
    return VISE_OK;
}

/* ---- offsets ---------------------------------------------------------------------------------- */

static unsigned alignment(const sink_tensor *tensor)
{
    int bits = vise_dtype_of(tensor->dtype)->bits;
    return bits >= 64 ? 8 : bits >= 32 ? 4 : bits >= 16 ? 2 : 1;
}

/* Declared order, each tensor padded. */
static void assign_gguf_offsets(vise_sink *sink, sink_shard *shard)
{
    uint64_t at = 0;
    for (size_t i = 0; i < shard->count; i++) {
        sink_tensor *tensor = &sink->tensors[shard->first + i];
        shard->order[i] = shard->first + i;
        tensor->begin = at;
        tensor->end = at + tensor->bytes;
        at = (tensor->end + VISE_GGUF_ALIGNMENT - 1) / VISE_GGUF_ALIGNMENT * VISE_GGUF_ALIGNMENT;
    }
    shard->data_bytes = at;
}

/* Declared order, unless that would leave a tensor at an address that is no multiple of its element: then
 * wide elements go first, as the reference writer has them. */
static void assign_offsets(vise_sink *sink, sink_shard *shard)
{
    sink_tensor *tensors = &sink->tensors[shard->first];
    uint64_t at = 0;
    bool aligned = true;
    if (sink->gguf) {
        assign_gguf_offsets(sink, shard);
        return;
    }
    for (size_t i = 0; i < shard->count; i++) {
        aligned = aligned && at % alignment(&tensors[i]) == 0;
        at += tensors[i].bytes;
    }
    size_t n = 0;
    for (unsigned width = aligned ? 1 : 8; width >= 1; width /= 2)
        for (size_t i = 0; i < shard->count; i++)
            if (aligned || alignment(&tensors[i]) == width)
                shard->order[n++] = shard->first + i;
    at = 0;
    for (size_t i = 0; i < shard->count; i++) {
        sink_tensor *tensor = &sink->tensors[shard->order[i]];
        tensor->begin = at;
        at += tensor->bytes;
        tensor->end = at;
    }
    shard->data_bytes = at;
}

/* ---- headers ---------------------------------------------------------------------------------- */

static vise_status packed_metadata(const vise_sink *sink, const sink_shard *shard, vise_buf *members,
                                   vise_error *err)
{
    vise_buf_add_text(members, FORMAT_MEMBER ",");
    vise_pack_put_version(members);
    for (size_t i = 0; i < shard->count; i++) {
        const sink_tensor *tensor = &sink->tensors[shard->first + i];
        vise_pack_info info;
        if (tensor->raw)
            continue;
        if (!vise_pack_describe(tensor->dtype, tensor->ndim, tensor->shape, &info))
            return VISE_FAIL(err, VISE_EUSAGE, "tensor %s cannot be packed: its shape overflows",
                             tensor->name);
        vise_buf_add_char(members, ',');
        vise_pack_put_tensor(members, tensor->name, &info);
    }
    return vise_buf_check(members, "packed header", err);
}

static vise_status gguf_header(const vise_sink *sink, const sink_shard *shard, vise_buf *buf, vise_error *err)
{
    void *block;
    VISE_TRY(vise_calloc(shard->count, sizeof(vise_gguf_tensor), &block, err));
    vise_gguf_tensor *rows = block;
    for (size_t i = 0; i < shard->count; i++) {
        const sink_tensor *tensor = &sink->tensors[shard->first + i];
        rows[i] = (vise_gguf_tensor){
            .name = tensor->name, .type = tensor->type, .ndim = tensor->ndim, .offset = tensor->begin};
        for (int d = 0; d < tensor->ndim; d++)
            rows[i].dims[d] = tensor->shape[tensor->ndim - 1 - d];
    }
    const vise_gguf_split split = {(int)(shard - sink->shards), (int)sink->n_shards, sink->n_tensors};
    vise_status status = vise_gguf_write_header(sink->gguf, &split, rows, shard->count, buf, err);
    vise_free(block);
    return status;
}

vise_status vise_sink_header(const vise_sink *sink, const sink_shard *shard, bool packed, uint64_t room,
                             vise_buf *buf, vise_error *err)
{
    if (sink->gguf)
        return gguf_header(sink, shard, buf, err);
    vise_status status = VISE_OK;
    vise_buf members;
    vise_buf_init(&members, VISE_SAFETENSORS_HEADER_MAX);
    void *rows_block = NULL, *sizes_block = NULL;
    VISE_TRY_TO(done, vise_calloc(shard->count, sizeof(vise_st_tensor), &rows_block, err));
    VISE_TRY_TO(done, vise_calloc(shard->count, sizeof(int64_t), &sizes_block, err));
    vise_st_tensor *rows = rows_block;
    int64_t *sizes = sizes_block;
    for (size_t i = 0; i < shard->count; i++) {
        const sink_tensor *tensor = &sink->tensors[packed ? shard->first + i : shard->order[i]];
        rows[i] = (vise_st_tensor){tensor->name,  tensor->dtype, tensor->ndim,
                                   tensor->shape, tensor->begin, tensor->end};
        if (packed && !tensor->raw) {
            sizes[i] = (int64_t)(tensor->end - tensor->begin);
            rows[i].dtype = VISE_DTYPE_U8;
            rows[i].ndim = 1;
            rows[i].shape = &sizes[i];
        }
    }
    if (packed)
        VISE_TRY_TO(done, packed_metadata(sink, shard, &members, err));
    else
        vise_buf_add_text(&members, FORMAT_MEMBER);
    VISE_TRY_TO(done, vise_buf_check(&members, "safetensors header", err));
    VISE_TRY_TO(done, vise_st_write_header(rows, shard->count, members.data, room > 8 ? (size_t)room - 8 : 0,
                                           buf, err));
done:
    vise_free(rows_block);
    vise_free(sizes_block);
    vise_buf_deinit(&members);
    return status;
}

/* The plain header gives the shard's plan and its size before packing, also where the shard will be packed.
 */
static vise_status plan_shard(vise_sink *sink, sink_shard *shard, vise_error *err)
{
    vise_buf header;
    vise_buf_init(&header, VISE_SAFETENSORS_HEADER_MAX + 16);
    vise_status status = vise_sink_header(sink, shard, false, 0, &header, err);
    if (status == VISE_OK) {
        vise_sha256 hash;
        vise_sha256_init(&hash);
        vise_sha256_add(&hash, sink->pack ? "packed" : "plain", sink->pack ? 6 : 5);
        vise_sha256_add(&hash, header.data, header.length);
        vise_sha256_hex(&hash, shard->plan);
        shard->header_bytes = header.length;
    }
    vise_buf_deinit(&header);
    return status;
}

/* ---- the whole -------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static vise_status check_names(const vise_sink *sink, vise_error *err)
{
    void *block;
    vise_status status = VISE_OK;
    VISE_TRY(vise_calloc(sink->n_tensors, sizeof(char *), &block, err));
    const char **names = block;
    for (size_t i = 0; i < sink->n_tensors; i++)
        names[i] = sink->tensors[i].name;
    if (sink->n_tensors > 0)
        qsort(names, sink->n_tensors, sizeof *names, compare_names);
    for (size_t i = 1; i < sink->n_tensors && status == VISE_OK; i++)
        if (strcmp(names[i], names[i - 1]) == 0)
            status = VISE_FAIL(err, VISE_EINTERNAL, "tensor %s was declared twice", names[i]);
    vise_free(block);
    return status;
}

vise_status vise_sink_assign(vise_sink *sink, vise_error *err)
{
    void *block;
    VISE_TRY(check_names(sink, err));
    size_t n = cut(sink, NULL);
    VISE_TRY(vise_calloc(n, sizeof *sink->shards, &block, err));
    sink->shards = block;
    sink->n_shards = n;
    for (size_t i = 0; i < n; i++)
        sink->shards[i].file.fd = -1;
    (void)cut(sink, sink->shards);
    VISE_TRY(name_shards(sink, err));
    for (size_t i = 0; i < n; i++) {
        sink_shard *shard = &sink->shards[i];
        VISE_TRY(vise_arena_take(sink->arena, shard->count * sizeof(size_t) + 1, &block, err));
        shard->order = block;
        assign_offsets(sink, shard);
        VISE_TRY(plan_shard(sink, shard, err));
        uint64_t left = 0; /* padding is nobody's to write */
        for (size_t t = 0; t < shard->count; t++) {
            sink->tensors[shard->first + t].shard = i;
            left += sink->tensors[shard->first + t].bytes;
        }
        atomic_init(&shard->left, left);
    }
    return VISE_OK;
}
