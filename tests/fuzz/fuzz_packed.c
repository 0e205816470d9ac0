/* The packed form. The first byte of the input says what the rest is:
 *
 * even  a payload: opened under a few descriptions and read, then taken for a single chunk. Whatever the
 * bytes, that
 *         ends with a status, and nothing is written outside the buffers.
 * odd   original bytes: packed under the dtype that the second byte names, they read back as they were. */
#include "core/mem.h"
#include "formats/packed.h"
#include "tests/fuzz/fuzz.h"

static void *block(size_t size)
{
    void *bytes;
    require(vise_alloc(size, &bytes, NULL) == VISE_OK);
    return bytes;
}

typedef struct payload {
    const uint8_t *bytes;
    size_t length;
} payload;

static vise_status read_payload(void *context, uint64_t offset, void *bytes, size_t n, vise_error *err)
{
    const payload *p = context;
    (void)err;
    require(offset <= p->length && n <= p->length - offset); /* inside the payload, always */
    if (n > 0)
        memcpy(bytes, p->bytes + offset, n);
    return VISE_OK;
}

static vise_status read_all(vise_packer *packer, const vise_pack_info *info, payload *p, uint8_t *out)
{
    vise_packed packed;
    vise_packed_reader reader = {read_payload, p};
    vise_error err = {0};
    vise_status status = vise_packed_open("fuzz", info, p->length, &reader, &packed, &err);
    if (status == VISE_OK) {
        status = vise_packed_read(&packed, packer, &reader, 0, info->bytes, out, &err);
        vise_packed_close(&packed);
    }
    require(status == VISE_OK || (status == err.status && err.message[0] && status != VISE_EINTERNAL));
    return status;
}

static void hostile(vise_packer *packer, const uint8_t *data, size_t size)
{
    static const struct {
        vise_dtype dtype;
        int64_t elements;
    } rows[] = {{VISE_DTYPE_BF16, 1500}, {VISE_DTYPE_F32, 750}, {VISE_DTYPE_U8, 3000}, {VISE_DTYPE_BF16, 0}};
    payload p = {data, size};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vise_pack_info info;
        require(vise_pack_describe(rows[i].dtype, 1, &rows[i].elements, &info));
        uint8_t *out = block((size_t)info.bytes);
        if (read_all(packer, &info, &p, out) != VISE_OK && info.bytes > 0) {
            /* The checksums stand in the way of most inputs: the chunk's decoder must do without them. */
            vise_error err = {0};
            vise_status status = vise_unpack_chunk(packer, data, size, out, (size_t)info.bytes, "fuzz", &err);
            require(status == err.status && status != VISE_EINTERNAL);
        }
        vise_free(out);
    }
}

static void round_trip(vise_packer *packer, vise_dtype dtype, const uint8_t *data, size_t size)
{
    uint64_t element = (uint64_t)vise_dtype_of(dtype)->bits;
    int64_t elements = (int64_t)((uint64_t)size * 8 / element);
    vise_pack_info info;
    while (!vise_pack_describe(dtype, 1, &elements, &info)) /* elements below a byte must fill bytes */
        elements--;
    size_t n = (size_t)info.bytes, at = 0, chunks = (size_t)vise_pack_chunks(n);
    uint8_t *packed = block((size_t)vise_pack_payload_bound(n)), *out = block(n);
    vise_pack_entry *entries = block(chunks * sizeof(*entries));
    for (size_t i = 0; i < chunks; i++) {
        require(vise_pack_chunk(packer, dtype, data + i * VISE_PACK_CHUNK, vise_pack_chunk_bytes(n, i),
                                packed + at, &entries[i], NULL) == VISE_OK);
        entries[i].offset = at;
        at += entries[i].coded_bytes;
    }
    vise_pack_seek_table(&info, entries, packed + at);
    payload p = {packed, at + (size_t)vise_pack_seek_bytes(n)};
    require(read_all(packer, &info, &p, out) == VISE_OK);
    require(memcmp(out, data, n) == 0);
    vise_free(entries);
    vise_free(out);
    vise_free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vise_packer *packer;
    if (size < 2)
        return 0;
    require(vise_packer_new(NULL, &packer, NULL) == VISE_OK);
    if (data[0] % 2 == 0)
        hostile(packer, data + 1, size - 1);
    else
        round_trip(packer, (vise_dtype)(data[1] % VISE_DTYPE_COUNT), data + 2, size - 2);
    vise_packer_free(packer);
    return 0;
}
