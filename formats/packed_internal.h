/* What the files of the packed form share: the packer, and how bytes are laid out in a chunk.
 * docs/packed-format.md.
 *
 * A chunk, little-endian:
 *
 *     u8 transform | u8 flags | u8 planes | u8 0 | u32 kept elements
 *     planes x ( u8 codec | u8 0 | u8 0 | u8 0 | u32 coded bytes )
 *     planes x coded bytes
 */
#ifndef VISE_FORMATS_PACKED_INTERNAL_H
#define VISE_FORMATS_PACKED_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "core/mem.h"
#include "formats/packed.h"
#include "formats/packed_zeros.h"
#include "tensor/planes.h"

#define ZSTD_STATIC_LINKING_ONLY /* literals-only coding, custom allocation: exported, too */
#include <zstd.h>

#define VISE_CHUNK_HEADER     8
#define VISE_CHUNK_PLANE      8
#define VISE_CHUNK_PLANES_MAX 5  /* a bitmap and the four planes of F32 */
#define VISE_CHUNK_FLAG_ZEROS 1u /* the first plane is a bitmap; the others hold the kept elements */

/* Kept elements are joined and spread in pieces that stay in the first cache. */
#define VISE_JOIN_PIECE ((size_t)8192) /* elements: a multiple of 8 */
#define VISE_JOIN_ROOM  (VISE_JOIN_PIECE * 4 + VISE_ZEROS_SLACK)

/* One growing block of scratch. */
typedef struct vise_scratch {
    uint8_t *bytes;
    size_t capacity;
} vise_scratch;

struct vise_packer {
    vise_pool *pool; /* NULL: process memory */
    ZSTD_CCtx *cctx; /* made when first needed */
    ZSTD_DCtx *dctx;
    vise_scratch planes;   /* split planes, or decoded ones */
    vise_scratch bitmap;   /* of kept elements */
    vise_scratch kept;     /* the kept elements */
    vise_scratch trial;    /* a second coding of a plane */
    vise_scratch tables;   /* a vise_literals_tables */
    vise_scratch coded;    /* a chunk as stored */
    vise_scratch original; /* a decoded chunk that was asked for in part: */
    uint64_t cached_id;    /* of this tensor (0: none), */
    uint64_t cached_chunk; /* this chunk */
};

/* Makes room for n bytes; contents are lost. `what` names the use in the error. */
VISE_MUST_USE vise_status vise_scratch_room(vise_packer *packer, vise_scratch *scratch, size_t n,
                                            const char *what, vise_error *err);
VISE_MUST_USE vise_status vise_packer_cctx(vise_packer *packer, vise_error *err);
VISE_MUST_USE vise_status vise_packer_dctx(vise_packer *packer, vise_error *err);

/* Transforms, frozen; element sizes 1, 2, 2, 4. */
typedef struct vise_transform {
    vise_plane_kind kind;
    size_t element_bytes;
    int planes;
} vise_transform;
#define VISE_TRANSFORMS 4
extern const vise_transform vise_transforms[VISE_TRANSFORMS]; /* indexed by the id in the chunk */
uint8_t vise_transform_of(vise_dtype dtype);

static inline uint32_t vise_load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t vise_load_u64(const uint8_t *p)
{
    return vise_load_u32(p) | (uint64_t)vise_load_u32(p + 4) << 32;
}

static inline uint8_t *vise_store_u32(uint8_t *p, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (8 * i));
    return p + 4;
}

static inline uint8_t *vise_store_u64(uint8_t *p, uint64_t value)
{
    return vise_store_u32(vise_store_u32(p, (uint32_t)value), (uint32_t)(value >> 32));
}

#endif
