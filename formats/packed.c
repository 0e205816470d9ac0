/* Packed tensors: metadata, seek table, reading of ranges. Chunks are packed_chunk.c and packed_decode.c.
 *
 * The seek table, little-endian, a zstd skippable frame:
 *
 *     u32 0x184D2A5A | u32 bytes behind this field
 *     chunks x ( u64 offset | u64 XXH64 of the original bytes | u32 coded bytes | u32 original bytes )
 *     u64 original bytes | u32 chunk bytes | u32 chunks | u32 flags | u32 version | u64 hash | "visepack"
 *
 * The hash, XXH64, covers entries and footer up to itself and is seeded with the XXH64 of the tensor's
 * description in the metadata, so that neither can be changed without the other.
 */
#include "formats/packed_internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/hash.h"
#include "core/json.h"

#define TABLE_MAGIC     0x184D2A5Au
#define TABLE_HEAD      8
#define TABLE_ENTRY     24
#define TABLE_FOOTER    40
#define TABLE_HASH      24 /* offset in the footer: what lies before it is hashed */
#define TABLE_NAME      "visepack"
#define BYTES_MAX       ((uint64_t)1 << 47) /* of a tensor: the table's size stays below 2^32 */
#define DESCRIPTION_MAX 256
#define ENTRY_MAX       4096

/* ---- metadata ------------------------------------------------------------------------------------ */

bool vise_pack_describe(vise_dtype dtype, int ndim, const int64_t *shape, vise_pack_info *info)
{
    uint64_t elements = 1;
    if (ndim < 0 || ndim > VISE_PACK_DIMS_MAX)
        return false;
    *info = (vise_pack_info){.dtype = dtype, .ndim = ndim};
    for (int d = 0; d < ndim; d++) {
        if (shape[d] < 0 || __builtin_mul_overflow(elements, (uint64_t)shape[d], &elements))
            return false;
        info->shape[d] = shape[d];
    }
    return vise_dtype_bytes(dtype, elements, &info->bytes) && info->bytes <= BYTES_MAX;
}

/* {"dtype":"BF16","shape":[2,3]}: the one spelling that we write and that seeds the table's hash. Returns
 * its length. */
static size_t describe(const vise_pack_info *info, char text[DESCRIPTION_MAX])
{
    size_t at = (size_t)snprintf(text, DESCRIPTION_MAX, "{\"dtype\":\"%s\",\"shape\":[",
                                 vise_dtype_of(info->dtype)->name);
    for (int d = 0; d < info->ndim; d++)
        at += (size_t)snprintf(text + at, DESCRIPTION_MAX - at, d ? ",%lld" : "%lld",
                               (long long)info->shape[d]);
    return at + (size_t)snprintf(text + at, DESCRIPTION_MAX - at, "]}");
}

/* JSON escapes of a string's inside. Names are carried as the bytes that they are. */
static void put_escaped(vise_buf *buf, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20)
            vise_buf_addf(buf, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            vise_buf_addf(buf, "\\%c", c);
        else
            vise_buf_add_char(buf, (char)c);
    }
}

void vise_pack_put_version(vise_buf *buf)
{
    vise_buf_addf(buf, "\"%s\":\"%d\"", VISE_PACK_KEY_VERSION, VISE_PACK_VERSION);
}

void vise_pack_put_tensor(vise_buf *buf, const char *name, const vise_pack_info *info)
{
    char text[DESCRIPTION_MAX];
    describe(info, text);
    vise_buf_add_text(buf, "\"" VISE_PACK_KEY_TENSOR);
    put_escaped(buf, name);
    vise_buf_add_text(buf, "\":\"");
    put_escaped(buf, text);
    vise_buf_add_char(buf, '"');
}

vise_status vise_pack_get_version(const char *what, const char *value, vise_error *err)
{
    char ours[16];
    size_t digits = strspn(value, "0123456789");
    snprintf(ours, sizeof(ours), "%d", VISE_PACK_VERSION);
    if (strcmp(value, ours) == 0)
        return VISE_OK;
    if (digits == 0 || digits > 9 || value[digits] != '\0' || value[0] == '0')
        return VISE_FAIL(err, VISE_EFORMAT, "%s: __metadata__ \"%s\" is \"%.40s\", not a version number",
                         what, VISE_PACK_KEY_VERSION, value);
    return VISE_FAIL(err, VISE_EUNSUPPORTED,
                     "%s: packed in version %s of the form; this vise reads version %d: use a newer vise",
                     what, value, VISE_PACK_VERSION);
}

vise_status vise_pack_get_tensor(const char *what, const char *value, size_t length, vise_pack_info *info,
                                 vise_error *err)
{
    cJSON *json = NULL;
    const char *dtype_name = NULL;
    vise_dtype dtype;
    int ndim = 0;
    int64_t shape[VISE_PACK_DIMS_MAX];
    vise_status status;
    if (length > ENTRY_MAX)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: the description of the packed tensor has %zu bytes, more than %d", what, length,
                         ENTRY_MAX);
    VISE_TRY(vise_json_parse(what, value, length, &json, err));
    VISE_TRY_TO(done, vise_json_text(what, json, "dtype", true, &dtype_name, err));
    if (!vise_dtype_from_name(dtype_name, strlen(dtype_name), &dtype)) {
        status = VISE_FAIL(err, VISE_EFORMAT, "%s: unknown original dtype \"%.40s\"", what, dtype_name);
        goto done;
    }
    const cJSON *dims = cJSON_GetObjectItemCaseSensitive(json, "shape");
    const cJSON *dim;
    bool good = cJSON_IsArray(dims);
    cJSON_ArrayForEach(dim, dims)
    {
        double size = cJSON_IsNumber(dim) ? dim->valuedouble : -1;
        good =
            good && ndim < VISE_PACK_DIMS_MAX && size >= 0 && size <= 0x1p53 && size == (double)(int64_t)size;
        if (!good)
            break;
        shape[ndim++] = (int64_t)size;
    }
    if (!good || !vise_pack_describe(dtype, ndim, shape, info))
        status = VISE_FAIL(err, VISE_EFORMAT,
                           "%s: the original shape is not a list of at most %d sizes that a tensor can have",
                           what, VISE_PACK_DIMS_MAX);
done:
    cJSON_Delete(json);
    return status;
}

/* ---- seek table: writing ------------------------------------------------------------------------- */

static uint64_t chunks_of(uint64_t original_bytes, size_t chunk_bytes)
{
    return original_bytes / chunk_bytes + (original_bytes % chunk_bytes != 0);
}

static size_t chunk_size(uint64_t original_bytes, size_t chunk_bytes, uint64_t index)
{
    uint64_t rest = original_bytes - index * chunk_bytes;
    return rest < chunk_bytes ? (size_t)rest : chunk_bytes;
}

static uint64_t table_size(uint64_t chunks)
{
    return TABLE_HEAD + TABLE_ENTRY * chunks + TABLE_FOOTER;
}

uint64_t vise_pack_chunks(uint64_t original_bytes)
{
    return chunks_of(original_bytes, VISE_PACK_CHUNK);
}

size_t vise_pack_chunk_bytes(uint64_t original_bytes, uint64_t index)
{
    return chunk_size(original_bytes, VISE_PACK_CHUNK, index);
}

uint64_t vise_pack_seek_bytes(uint64_t original_bytes)
{
    return table_size(vise_pack_chunks(original_bytes));
}

uint64_t vise_pack_payload_bound(uint64_t original_bytes)
{
    uint64_t bound;
    uint64_t extra =
        vise_pack_chunks(original_bytes) * vise_pack_bound(0) + vise_pack_seek_bytes(original_bytes);
    return __builtin_add_overflow(original_bytes, extra, &bound) ? UINT64_MAX : bound;
}

/* Of a whole table: its entries and the footer before the hash. */
static uint64_t table_hash(const vise_pack_info *info, const uint8_t *table, uint64_t chunks)
{
    char text[DESCRIPTION_MAX];
    size_t length = describe(info, text);
    return vise_xxh64(table + TABLE_HEAD, (size_t)(TABLE_ENTRY * chunks + TABLE_HASH),
                      vise_xxh64(text, length, 0));
}

void vise_pack_seek_table(const vise_pack_info *info, const vise_pack_entry *entries, void *table)
{
    uint64_t chunks = vise_pack_chunks(info->bytes);
    uint8_t *p = vise_store_u32(table, TABLE_MAGIC);
    p = vise_store_u32(p, (uint32_t)(table_size(chunks) - TABLE_HEAD));
    for (uint64_t i = 0; i < chunks; i++) {
        p = vise_store_u64(p, entries[i].offset);
        p = vise_store_u64(p, entries[i].xxh64);
        p = vise_store_u32(p, entries[i].coded_bytes);
        p = vise_store_u32(p, entries[i].original_bytes);
    }
    p = vise_store_u64(p, info->bytes);
    p = vise_store_u32(p, (uint32_t)VISE_PACK_CHUNK);
    p = vise_store_u32(p, (uint32_t)chunks);
    p = vise_store_u32(p, 0);
    p = vise_store_u32(p, VISE_PACK_VERSION);
    p = vise_store_u64(p, table_hash(info, table, chunks));
    memcpy(p, TABLE_NAME, 8);
}

/* ---- opening ------------------------------------------------------------------------------------- */

static vise_status damaged(const char *what, const char *why, vise_error *err)
{
    return VISE_FAIL(err, VISE_EFORMAT, "%s: damaged packed tensor (%s); fetch or pack the file again", what,
                     why);
}

/* Everything in the footer but its hash; fills chunk_bytes and chunks. */
static vise_status check_footer(const uint8_t footer[TABLE_FOOTER], vise_packed *packed, vise_error *err)
{
    if (memcmp(footer + TABLE_FOOTER - 8, TABLE_NAME, 8) != 0)
        return damaged(packed->what, "it does not end with a seek table", err);
    uint32_t flags = vise_load_u32(footer + 16), version = vise_load_u32(footer + 20);
    if (version != VISE_PACK_VERSION || flags != 0)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: packed in version %u of the form with flags 0x%x; this vise reads version %d "
                         "without flags: use a newer vise (or the file is damaged)",
                         packed->what, version, flags, VISE_PACK_VERSION);
    if (vise_load_u64(footer) != packed->info.bytes)
        return damaged(packed->what, "its size is not what dtype and shape say", err);
    packed->chunk_bytes = vise_load_u32(footer + 8);
    packed->chunks = vise_load_u32(footer + 12);
    size_t size = packed->chunk_bytes;
    if (size < VISE_PACK_CHUNK_MIN || size > VISE_PACK_CHUNK_MAX || (size & (size - 1)) != 0)
        return damaged(packed->what, "its chunk size is out of range", err);
    if (packed->chunks != chunks_of(packed->info.bytes, size) ||
        table_size(packed->chunks) > packed->payload_bytes)
        return damaged(packed->what, "its number of chunks is wrong", err);
    return VISE_OK;
}

/* The table's entries: chunks follow each other without gaps up to the table. */
static vise_status check_entries(const uint8_t *table, vise_packed *packed, vise_error *err)
{
    const uint64_t end = packed->payload_bytes - table_size(packed->chunks);
    uint64_t offset = 0;
    for (uint64_t i = 0; i < packed->chunks; i++) {
        const uint8_t *row = table + TABLE_HEAD + TABLE_ENTRY * i;
        vise_pack_entry *entry = &packed->entries[i];
        *entry = (vise_pack_entry){.offset = vise_load_u64(row),
                                   .xxh64 = vise_load_u64(row + 8),
                                   .coded_bytes = vise_load_u32(row + 16),
                                   .original_bytes = vise_load_u32(row + 20)};
        if (entry->offset != offset ||
            entry->original_bytes != chunk_size(packed->info.bytes, packed->chunk_bytes, i) ||
            entry->coded_bytes > vise_pack_bound(entry->original_bytes) || entry->coded_bytes > end - offset)
            return damaged(packed->what, "its seek table contradicts itself", err);
        offset += entry->coded_bytes;
    }
    if (offset != end)
        return damaged(packed->what, "there are bytes between the chunks and the seek table", err);
    return VISE_OK;
}

vise_status vise_packed_open(const char *what, const vise_pack_info *info, uint64_t payload_bytes,
                             const vise_packed_reader *reader, vise_packed *packed, vise_error *err)
{
    static atomic_uint_fast64_t ids;
    uint8_t footer[TABLE_FOOTER];
    void *block = NULL;
    uint8_t *table = NULL;
    vise_status status = VISE_OK;

    *packed = (vise_packed){.info = *info, .payload_bytes = payload_bytes};
    VISE_TRY(vise_strdup(what, &packed->what, err));
    if (payload_bytes < table_size(0))
        status = damaged(what, "it is shorter than a seek table", err);
    if (status != VISE_OK)
        goto done;
    VISE_TRY_TO(done, reader->read(reader->context, payload_bytes - TABLE_FOOTER, footer, TABLE_FOOTER, err));
    VISE_TRY_TO(done, check_footer(footer, packed, err));

    /* Both allocations are bounded by the payload, which exists. */
    size_t table_bytes = (size_t)table_size(packed->chunks);
    VISE_TRY_TO(done, vise_alloc(table_bytes, &block, err));
    table = block;
    VISE_TRY_TO(done, reader->read(reader->context, payload_bytes - table_bytes, table, table_bytes, err));
    const uint8_t *hash = table + table_bytes - TABLE_FOOTER + TABLE_HASH;
    if (vise_load_u32(table) != TABLE_MAGIC || vise_load_u32(table + 4) != table_bytes - TABLE_HEAD ||
        memcmp(table + table_bytes - TABLE_FOOTER, footer, TABLE_FOOTER) != 0 ||
        vise_load_u64(hash) != table_hash(info, table, packed->chunks)) {
        status = damaged(what, "the checksum of its seek table, dtype and shape is wrong", err);
        goto done;
    }
    VISE_TRY_TO(done, vise_calloc((size_t)packed->chunks, sizeof(vise_pack_entry), &block, err));
    packed->entries = block;
    VISE_TRY_TO(done, check_entries(table, packed, err));
    packed->id = atomic_fetch_add(&ids, 1) + 1;
done:
    vise_free(table);
    if (status != VISE_OK)
        vise_packed_close(packed);
    return status;
}

void vise_packed_close(vise_packed *packed)
{
    vise_free(packed->entries);
    vise_free(packed->what);
    *packed = (vise_packed){0};
}

/* ---- reading ------------------------------------------------------------------------------------- */

/* Decodes the i-th chunk into original and verifies it. */
static vise_status read_chunk(const vise_packed *packed, vise_packer *packer,
                              const vise_packed_reader *reader, uint64_t i, uint8_t *original,
                              vise_error *err)
{
    const vise_pack_entry *entry = &packed->entries[i];
    VISE_TRY(
        vise_scratch_room(packer, &packer->coded, vise_pack_bound(entry->original_bytes), "unpacking", err));
    VISE_TRY(reader->read(reader->context, entry->offset, packer->coded.bytes, entry->coded_bytes, err));
    VISE_TRY(vise_unpack_chunk(packer, packer->coded.bytes, entry->coded_bytes, original,
                               entry->original_bytes, packed->what, err));
    if (vise_xxh64(original, entry->original_bytes, 0) != entry->xxh64)
        return VISE_FAIL(
            err, VISE_EFORMAT,
            "%s: damaged packed tensor (the checksum of chunk %llu of %llu is wrong); fetch or pack "
            "the file again",
            packed->what, (unsigned long long)i + 1, (unsigned long long)packed->chunks);
    return VISE_OK;
}

/* The i-th chunk as it lies in the packer: decoded now unless it is there from the last call. */
static vise_status cached_chunk(const vise_packed *packed, vise_packer *packer,
                                const vise_packed_reader *reader, uint64_t i, vise_error *err)
{
    if (packer->cached_id == packed->id && packer->cached_chunk == i)
        return VISE_OK;
    packer->cached_id = 0;
    VISE_TRY(
        vise_scratch_room(packer, &packer->original, packed->entries[i].original_bytes, "unpacking", err));
    VISE_TRY(read_chunk(packed, packer, reader, i, packer->original.bytes, err));
    packer->cached_id = packed->id;
    packer->cached_chunk = i;
    return VISE_OK;
}

vise_status vise_packed_read(const vise_packed *packed, vise_packer *packer, const vise_packed_reader *reader,
                             uint64_t offset, uint64_t n, void *bytes, vise_error *err)
{
    if (offset > packed->info.bytes || n > packed->info.bytes - offset)
        return VISE_FAIL(err, VISE_EINTERNAL, "%s: bytes %llu..%llu are outside the tensor", packed->what,
                         (unsigned long long)offset, (unsigned long long)(offset + n));
    uint8_t *out = bytes;
    while (n > 0) {
        uint64_t i = offset / packed->chunk_bytes;
        size_t skip = (size_t)(offset % packed->chunk_bytes);
        size_t size = packed->entries[i].original_bytes;
        size_t here = n < size - skip ? (size_t)n : size - skip;
        if (here == size) {
            VISE_TRY(read_chunk(packed, packer, reader, i, out, err));
        } else {
            VISE_TRY(cached_chunk(packed, packer, reader, i, err));
            memcpy(out, packer->original.bytes + skip, here);
        }
        out += here;
        offset += here;
        n -= here;
    }
    return VISE_OK;
}
