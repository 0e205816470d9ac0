/* The packer, and the coding of one chunk. */
#include "formats/packed_internal.h"

#include <string.h>
#include <zstd_errors.h>

#include "core/hash.h"
#include "formats/packed_literals.h"
#include "formats/packed_zeros.h"

/* Plane coding of everything that is not a float of weights: order-0 coding as well, unless a probe says
 * that matches pay. */
#define PROBE_BYTES    ((size_t)1 << 14)
#define ZSTD_BLOCK     ((size_t)1 << 17)
#define MATCH_LEVEL    3
#define LITERALS_LEVEL 1
#define ROOM           (VISE_PACK_CHUNK + VISE_ZEROS_SLACK)

const vise_transform vise_transforms[VISE_TRANSFORMS] = {
    {VISE_PLANES_BYTES, 1, 1},
    {VISE_PLANES_BF16, 2, 2},
    {VISE_PLANES_F16, 2, 2},
    {VISE_PLANES_F32, 4, 4},
};

uint8_t vise_transform_of(vise_dtype dtype)
{
    switch (dtype) {
    case VISE_DTYPE_BF16:
        return 1;
    case VISE_DTYPE_F16:
        return 2;
    case VISE_DTYPE_F32:
        return 3;
    default:
        return 0;
    }
}

/* ---- the packer ---------------------------------------------------------------------------------- */

static void *zstd_alloc(void *context, size_t size)
{
    vise_packer *packer = context;
    void *block = NULL;
    vise_status status = packer->pool ? vise_pool_take(packer->pool, size, "zstd", &block, NULL)
                                      : vise_alloc(size, &block, NULL);
    return status == VISE_OK ? block : NULL;
}

static void release(vise_packer *packer, void *block)
{
    if (packer->pool)
        vise_pool_give(packer->pool, block);
    else
        vise_free(block);
}

static void zstd_free(void *context, void *block)
{
    if (block)
        release(context, block);
}

vise_status vise_packer_new(vise_pool *pool, vise_packer **out, vise_error *err)
{
    void *block;
    VISE_TRY(vise_calloc(1, sizeof(vise_packer), &block, err));
    *out = block;
    (*out)->pool = pool;
    return VISE_OK;
}

void vise_packer_free(vise_packer *packer)
{
    if (!packer)
        return;
    ZSTD_freeCCtx(packer->cctx);
    ZSTD_freeDCtx(packer->dctx);
    vise_scratch *all[] = {&packer->planes, &packer->bitmap, &packer->kept,    &packer->trial,
                           &packer->tables, &packer->coded,  &packer->original};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        release(packer, all[i]->bytes);
    vise_free(packer);
}

vise_status vise_scratch_room(vise_packer *packer, vise_scratch *scratch, size_t n, const char *what,
                              vise_error *err)
{
    if (scratch->capacity >= n)
        return VISE_OK;
    release(packer, scratch->bytes);
    scratch->bytes = NULL;
    scratch->capacity = 0;
    void *block;
    if (packer->pool)
        VISE_TRY(vise_pool_take(packer->pool, n, what, &block, err));
    else
        VISE_TRY(vise_alloc(n, &block, err));
    scratch->bytes = block;
    scratch->capacity = n;
    return VISE_OK;
}

vise_status vise_packer_cctx(vise_packer *packer, vise_error *err)
{
    if (!packer->cctx)
        packer->cctx = ZSTD_createCCtx_advanced((ZSTD_customMem){zstd_alloc, zstd_free, packer});
    if (!packer->cctx)
        return VISE_FAIL(err, VISE_ERESOURCE, "not enough memory for zstd's coder; raise the memory budget");
    return VISE_OK;
}

vise_status vise_packer_dctx(vise_packer *packer, vise_error *err)
{
    if (!packer->dctx)
        packer->dctx = ZSTD_createDCtx_advanced((ZSTD_customMem){zstd_alloc, zstd_free, packer});
    if (!packer->dctx)
        return VISE_FAIL(err, VISE_ERESOURCE,
                         "not enough memory for zstd's decoder; raise the memory budget");
    return VISE_OK;
}

size_t vise_packer_bytes(bool coding)
{
    const size_t n = VISE_PACK_CHUNK + VISE_ZEROS_SLACK;
    if (coding) /* planes, kept, trial; bitmap */
        return 3 * n + n / 8 + ZSTD_estimateCCtxSize(MATCH_LEVEL);
    return 3 * n + n / 8 + VISE_JOIN_ROOM +
           ZSTD_estimateDCtxSize(); /* planes, coded, original; bitmap, kept */
}

size_t vise_pack_bound(size_t n)
{
    return n + VISE_CHUNK_HEADER + VISE_CHUNK_PLANES_MAX * VISE_CHUNK_PLANE;
}

/* ---- coding -------------------------------------------------------------------------------------- */

/* log2 of c >= 1 in 16.16 fixed point, within 0.009: integers only, so that every machine decides alike. */
static uint32_t log2_fixed(uint32_t c)
{
    uint32_t whole = 31u - (uint32_t)__builtin_clz(c);
    uint64_t f = ((uint64_t)c << 16 >> whole) - 65536;
    return (whole << 16) + (uint32_t)(f * (4 * 65536 - f) / (3 * 65536));
}

/* True if a sample of the plane has more than 7.85 of 8 bits of entropy, so that coding it would not gain 2
 * %. Mantissas are most of what we store: seeing this from 16 KiB of them keeps the coder away from the
 * rest. */
static bool looks_random(const uint8_t *plane, size_t n)
{
    enum { PIECES = 4, PIECE = 4096, SAMPLE = PIECES * PIECE };
    if (n < SAMPLE)
        return false;
    uint32_t counts[4][256] = {{0}};
    for (size_t p = 0; p < PIECES; p++) {
        const uint8_t *piece = plane + (n - PIECE) / (PIECES - 1) * p;
        for (size_t i = 0; i < PIECE; i += 4) {
            counts[0][piece[i]]++;
            counts[1][piece[i + 1]]++;
            counts[2][piece[i + 2]]++;
            counts[3][piece[i + 3]]++;
        }
    }
    uint64_t sum = 0; /* of -log2 of each byte's probability */
    for (int s = 0; s < 256; s++) {
        uint32_t c = counts[0][s] + counts[1][s] + counts[2][s] + counts[3][s];
        if (c)
            sum += (uint64_t)c * (log2_fixed(SAMPLE) - log2_fixed(c));
    }
    return sum > (uint64_t)SAMPLE * (65536 * 785 / 100);
}

/* What a zstd call returned: its size, SIZE_MAX if it did not fit, or a failure. */
static vise_status coded_size(size_t result, size_t *size, vise_error *err)
{
    *size = result;
    if (!ZSTD_isError(result))
        return VISE_OK;
    *size = SIZE_MAX;
    if (ZSTD_getErrorCode(result) == ZSTD_error_dstSize_tooSmall)
        return VISE_OK;
    if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation)
        return VISE_FAIL(err, VISE_ERESOURCE, "not enough memory for zstd's coder; raise the memory budget");
    return VISE_FAIL(err, VISE_EINTERNAL, "zstd could not code a plane: %s", ZSTD_getErrorName(result));
}

/* A frame without matches: every block is one "sequence" of literals alone, so that zstd's entropy stage
 * sees all bytes. */
static vise_status code_literals(vise_packer *packer, const uint8_t *plane, size_t n, uint8_t *coded,
                                 size_t room, size_t *size, vise_error *err)
{
    ZSTD_Sequence blocks[VISE_PACK_CHUNK_MAX / ZSTD_BLOCK];
    size_t count = (n + ZSTD_BLOCK - 1) / ZSTD_BLOCK;
    memset(blocks, 0, sizeof(blocks));
    for (size_t i = 0; i < count; i++)
        blocks[i].litLength = (unsigned)(i + 1 < count ? ZSTD_BLOCK : n - i * ZSTD_BLOCK);

    ZSTD_CCtx_reset(packer->cctx, ZSTD_reset_session_and_parameters);
    ZSTD_CCtx_setParameter(packer->cctx, ZSTD_c_compressionLevel, LITERALS_LEVEL);
    ZSTD_CCtx_setParameter(packer->cctx, ZSTD_c_windowLog, 22);
    ZSTD_CCtx_setParameter(packer->cctx, ZSTD_c_literalCompressionMode, ZSTD_ps_enable);
    ZSTD_CCtx_setParameter(packer->cctx, ZSTD_c_stableInBuffer,
                           1); /* or zstd allocates buffers that it does not use */
    ZSTD_CCtx_setParameter(packer->cctx, ZSTD_c_stableOutBuffer, 1);
    ZSTD_CCtx_setParameter(packer->cctx, ZSTD_c_blockDelimiters, ZSTD_sf_explicitBlockDelimiters);
    return coded_size(ZSTD_compressSequences(packer->cctx, coded, room, blocks, count, plane, n), size, err);
}

static vise_status code_matches(vise_packer *packer, const uint8_t *plane, size_t n, uint8_t *coded,
                                size_t room, size_t *size, vise_error *err)
{
    ZSTD_CCtx_reset(packer->cctx, ZSTD_reset_session_and_parameters);
    ZSTD_CCtx_setParameter(packer->cctx, ZSTD_c_compressionLevel, MATCH_LEVEL);
    return coded_size(ZSTD_compress2(packer->cctx, coded, room, plane, n), size, err);
}

/* Codes a plane in the way that takes least, at the end of what is coded so far (room bytes are left, n at
 * least). Match search is tried where it can pay: on bytes that are no float planes if a probe says so, and
 * on whatever comes near the one bit that is Huffman coding's least. */
static vise_status code_plane(vise_packer *packer, const uint8_t *plane, size_t n, bool is_float,
                              uint8_t *coded, size_t room, vise_pack_codec *codec, size_t *size,
                              vise_error *err)
{
    size_t worth = n - n / 50; /* a gain below 2 % is not worth decoding */
    *codec = VISE_PACK_RAW;
    *size = n;
    if (n >= 16 && !looks_random(plane, n)) {
        size_t literals, matches = SIZE_MAX;
        VISE_TRY(vise_packer_cctx(packer, err));
        VISE_TRY(code_literals(packer, plane, n, coded, room, &literals, err));
        if (literals < worth) {
            *codec = VISE_PACK_LITERALS;
            *size = literals;
        }
        bool try_matches = n > 256 && *size > 64 && *size < n / 6;
        VISE_TRY(vise_scratch_room(packer, &packer->trial, n, "packing", err));
        if (!is_float && !try_matches && n > PROBE_BYTES) {
            size_t probe;
            VISE_TRY(code_matches(packer, plane, PROBE_BYTES, packer->trial.bytes, PROBE_BYTES, &probe, err));
            try_matches = probe != SIZE_MAX && 20 * (uint64_t)probe * n < 19 * (uint64_t)PROBE_BYTES * *size;
        } else if (!is_float) {
            try_matches = true;
        }
        if (try_matches)
            VISE_TRY(code_matches(packer, plane, n, packer->trial.bytes, *size, &matches, err));
        if (matches < worth && matches < *size - *size / 50) {
            memcpy(coded, packer->trial.bytes, matches);
            *codec = VISE_PACK_ZSTD;
            *size = matches;
        }
    }
    if (*codec == VISE_PACK_RAW)
        memcpy(coded, plane, n);
    return VISE_OK;
}

/* Whether dropping the zeros pays: the bitmap takes a bit an element at most, a mantissa byte eight; an
 * entropy coder over the elements themselves (one plane) spends one bit on a zero, too. */
static bool zeros_pay(const vise_transform *transform, size_t elements, size_t kept)
{
    size_t zeros = elements - kept;
    return transform->planes > 1 ? zeros >= elements / 8 + 1 : zeros >= elements / 2 + 1;
}

vise_status vise_pack_chunk(vise_packer *packer, vise_dtype dtype, const void *original, size_t n,
                            void *coded, vise_pack_entry *entry, vise_error *err)
{
    if (n == 0 || n > VISE_PACK_CHUNK)
        return VISE_FAIL(err, VISE_EINTERNAL, "a chunk of %zu bytes cannot be packed", n);
    uint8_t id = vise_transform_of(dtype);
    if (n % vise_transforms[id].element_bytes != 0)
        id = 0;
    const vise_transform *transform = &vise_transforms[id];
    const size_t size = transform->element_bytes;
    const uint8_t *elements = original; /* what goes to the planes */
    size_t count = n / size, kept = count;
    const uint8_t *planes[VISE_CHUNK_PLANES_MAX];
    size_t plane_bytes[VISE_CHUNK_PLANES_MAX];
    int n_planes = 0;

    VISE_TRY(vise_scratch_room(packer, &packer->bitmap, VISE_PACK_CHUNK / 8, "packing", err));
    kept = vise_zeros_map(size, elements, count, packer->bitmap.bytes);
    bool zeros = zeros_pay(transform, count, kept);
    if (zeros) {
        VISE_TRY(vise_scratch_room(packer, &packer->kept, ROOM, "packing", err));
        vise_zeros_compact(size, elements, count, packer->bitmap.bytes, packer->kept.bytes);
        elements = packer->kept.bytes;
        plane_bytes[n_planes] = (count + 7) / 8;
        planes[n_planes++] = packer->bitmap.bytes;
    } else {
        kept = count;
    }
    if (transform->planes == 1) {
        plane_bytes[n_planes] = kept;
        planes[n_planes++] = elements;
    } else {
        uint8_t *split[VISE_CHUNK_PLANES_MAX];
        VISE_TRY(vise_scratch_room(packer, &packer->planes, ROOM, "packing", err));
        for (int p = 0; p < transform->planes; p++) {
            split[p] = packer->planes.bytes + (size_t)p * kept;
            plane_bytes[n_planes] = kept;
            planes[n_planes++] = split[p];
        }
        vise_planes_split(transform->kind, elements, kept, split);
    }

    uint8_t *head = coded;
    size_t at = VISE_CHUNK_HEADER + (size_t)n_planes * VISE_CHUNK_PLANE;
    *head++ = id;
    *head++ = zeros ? VISE_CHUNK_FLAG_ZEROS : 0;
    *head++ = (uint8_t)n_planes;
    *head++ = 0;
    head = vise_store_u32(head, (uint32_t)kept);
    for (int p = 0; p < n_planes; p++) {
        vise_pack_codec codec;
        size_t coded_bytes;
        bool is_float = transform->planes > 1 && !(zeros && p == 0);
        VISE_TRY(code_plane(packer, planes[p], plane_bytes[p], is_float, (uint8_t *)coded + at,
                            vise_pack_bound(n) - at, &codec, &coded_bytes, err));
        *head++ = (uint8_t)codec;
        memset(head, 0, 3);
        head = vise_store_u32(head + 3, (uint32_t)coded_bytes);
        at += coded_bytes;
    }
    entry->coded_bytes = (uint32_t)at;
    entry->original_bytes = (uint32_t)n;
    entry->xxh64 = vise_xxh64(original, n, 0);
    return VISE_OK;
}
