/* The decoding of one chunk. Nothing of it is trusted: sizes are held against what the caller knows before
 * anything is written, and zstd gets exactly the room of the plane. */
#include "formats/packed_internal.h"

#include <string.h>
#include <zstd_errors.h>

#include "formats/packed_literals.h"
#include "formats/packed_zeros.h"

/* One plane into exactly n bytes. A coded plane is one zstd frame that says its content size, nothing before
 * or behind it: zstd alone would also take several frames, and those of its predecessors' formats. */
static vise_status decode_frame(vise_packer *packer, const uint8_t *coded, size_t coded_bytes, uint8_t *plane,
                                size_t n, const char *what, vise_error *err)
{
    if (coded_bytes < 4 || vise_load_u32(coded) != ZSTD_MAGICNUMBER ||
        ZSTD_getFrameContentSize(coded, coded_bytes) != n ||
        ZSTD_findFrameCompressedSize(coded, coded_bytes) != coded_bytes)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: damaged packed data (a plane is not one zstd frame of %zu bytes)", what, n);
    VISE_TRY(vise_scratch_room(packer, &packer->tables, sizeof(vise_literals_tables), "unpacking", err));
    if (vise_literals_decode((vise_literals_tables *)(void *)packer->tables.bytes, coded, coded_bytes, plane,
                             n))
        return VISE_OK;
    VISE_TRY(vise_packer_dctx(packer, err));
    size_t result = ZSTD_decompressDCtx(packer->dctx, plane, n, coded, coded_bytes);
    if (ZSTD_isError(result) && ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation)
        return VISE_FAIL(err, VISE_ERESOURCE,
                         "%s: not enough memory for zstd's decoder; raise the memory budget", what);
    if (result != n)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: damaged packed data (zstd: %s)", what,
                         ZSTD_isError(result) ? ZSTD_getErrorName(result) : "wrong size");
    return VISE_OK;
}

/* A chunk's header, checked against n original bytes. */
typedef struct chunk_head {
    const vise_transform *transform;
    bool zeros;
    int planes;
    size_t elements, kept;
    struct {
        uint8_t codec;
        const uint8_t *coded;
        size_t coded_bytes, bytes;
    } plane[VISE_CHUNK_PLANES_MAX];
} chunk_head;

static vise_status read_head(const uint8_t *coded, size_t coded_bytes, size_t n, const char *what,
                             chunk_head *head, vise_error *err)
{
    if (coded_bytes < VISE_CHUNK_HEADER)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: damaged packed data (a chunk of %zu bytes)", what,
                         coded_bytes);
    if (coded[0] >= VISE_TRANSFORMS || coded[1] & ~VISE_CHUNK_FLAG_ZEROS || coded[3] != 0)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: packed with transform %u, flags 0x%02x, which this version does not know (or "
                         "the file is damaged); "
                         "a newer vise may read it",
                         what, (unsigned)coded[0], (unsigned)coded[1]);
    head->transform = &vise_transforms[coded[0]];
    head->zeros = coded[1] & VISE_CHUNK_FLAG_ZEROS;
    head->planes = head->transform->planes + head->zeros;
    head->elements = n / head->transform->element_bytes;
    head->kept = vise_load_u32(coded + 4);
    size_t at = VISE_CHUNK_HEADER + (size_t)head->planes * VISE_CHUNK_PLANE;
    if (n % head->transform->element_bytes != 0 || coded[2] != head->planes || at > coded_bytes ||
        (head->zeros ? head->kept > head->elements : head->kept != head->elements))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: damaged packed data (a chunk's header contradicts itself)",
                         what);

    for (int p = 0; p < head->planes; p++) {
        const uint8_t *row = coded + VISE_CHUNK_HEADER + (size_t)p * VISE_CHUNK_PLANE;
        head->plane[p].codec = row[0];
        head->plane[p].coded = coded + at;
        head->plane[p].coded_bytes = vise_load_u32(row + 4);
        head->plane[p].bytes = head->zeros && p == 0 ? (head->elements + 7) / 8 : head->kept;
        if (row[0] > VISE_PACK_LITERALS || row[1] || row[2] || row[3])
            return VISE_FAIL(err, VISE_EUNSUPPORTED,
                             "%s: packed with codec %u, which this version does not know (or the file is "
                             "damaged); a newer vise may read it",
                             what, (unsigned)row[0]);
        if (head->plane[p].coded_bytes > coded_bytes - at ||
            (row[0] == VISE_PACK_RAW && head->plane[p].coded_bytes != head->plane[p].bytes))
            return VISE_FAIL(err, VISE_EFORMAT, "%s: damaged packed data (a plane's size is wrong)", what);
        at += head->plane[p].coded_bytes;
    }
    if (at != coded_bytes)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: damaged packed data (%zu bytes behind the planes)", what,
                         coded_bytes - at);
    return VISE_OK;
}

/* The bitmap, decoded or in place; its bits must be as many as there are kept elements, and none behind the
 * last element. */
static vise_status read_bitmap(vise_packer *packer, const chunk_head *head, const char *what,
                               const uint8_t **bitmap, vise_error *err)
{
    const size_t bytes = head->plane[0].bytes;
    *bitmap = head->plane[0].coded;
    if (head->plane[0].codec != VISE_PACK_RAW) {
        VISE_TRY(vise_scratch_room(packer, &packer->bitmap, bytes, "unpacking", err));
        VISE_TRY(decode_frame(packer, *bitmap, head->plane[0].coded_bytes, packer->bitmap.bytes, bytes, what,
                              err));
        *bitmap = packer->bitmap.bytes;
    }
    unsigned beyond = head->elements % 8 ? 0xffu << head->elements % 8 & 0xffu : 0;
    if (vise_zeros_kept(*bitmap, head->elements) != head->kept || (bytes && (*bitmap)[bytes - 1] & beyond))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: damaged packed data (the bitmap of zeros is wrong)", what);
    return VISE_OK;
}

/* Elements of planes that keep all of them, or the expansion of those that keep some; in pieces that stay in
 * the first cache. */
static void join(const chunk_head *head, const uint8_t *bitmap, const uint8_t *const *planes, uint8_t *kept,
                 uint8_t *original)
{
    const size_t size = head->transform->element_bytes;
    const uint8_t *at[VISE_CHUNK_PLANES_MAX];
    if (!head->zeros) {
        vise_planes_merge(head->transform->kind, planes, head->elements, original);
        return;
    }
    for (int p = 0; p < head->transform->planes; p++)
        at[p] = planes[p];
    for (size_t i = 0; i < head->elements; i += VISE_JOIN_PIECE) {
        size_t n = head->elements - i < VISE_JOIN_PIECE ? head->elements - i : VISE_JOIN_PIECE;
        size_t here = vise_zeros_kept(bitmap + i / 8, n);
        vise_planes_merge(head->transform->kind, at, here, kept);
        vise_zeros_expand(size, kept, n, bitmap + i / 8, original + i * size);
        for (int p = 0; p < head->transform->planes; p++)
            at[p] += here;
    }
}

vise_status vise_unpack_chunk(vise_packer *packer, const void *coded, size_t coded_bytes, void *original,
                              size_t n, const char *what, vise_error *err)
{
    chunk_head head = {0};
    if (n == 0 || n > VISE_PACK_CHUNK_MAX)
        return VISE_FAIL(err, VISE_EINTERNAL, "%s: a chunk of %zu bytes cannot be unpacked", what, n);
    VISE_TRY(read_head(coded, coded_bytes, n, what, &head, err));

    const uint8_t *bitmap = NULL;
    const uint8_t *planes[VISE_CHUNK_PLANES_MAX];
    if (head.zeros) {
        VISE_TRY(read_bitmap(packer, &head, what, &bitmap, err));
        VISE_TRY(vise_scratch_room(packer, &packer->kept, VISE_JOIN_ROOM, "unpacking", err));
    } else if (head.planes == 1) {
        if (head.plane[0].codec != VISE_PACK_RAW)
            return decode_frame(packer, head.plane[0].coded, head.plane[0].coded_bytes, original, n, what,
                                err);
        memcpy(original, head.plane[0].coded, n);
        return VISE_OK;
    }
    VISE_TRY(vise_scratch_room(packer, &packer->planes, n, "unpacking", err));
    for (int p = 0; p < head.transform->planes; p++) {
        int q = p + head.zeros;
        planes[p] = head.plane[q].coded;
        if (head.plane[q].codec != VISE_PACK_RAW) {
            uint8_t *decoded = packer->planes.bytes + (size_t)p * head.kept;
            VISE_TRY(
                decode_frame(packer, planes[p], head.plane[q].coded_bytes, decoded, head.kept, what, err));
            planes[p] = decoded;
        }
    }
    join(&head, bitmap, planes, packer->kept.bytes, original);
    return VISE_OK;
}
