/* XXH64, after the xxHash specification 0.1.1, section "XXH64 algorithm description". */
#include "core/hash.h"

#include <string.h>

#define PRIME1 UINT64_C(0x9E3779B185EBCA87)
#define PRIME2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define PRIME3 UINT64_C(0x165667B19E3779F9)
#define PRIME4 UINT64_C(0x85EBCA77C2B2AE63)
#define PRIME5 UINT64_C(0x27D4EB2F165667C5)

static uint64_t rotate_left(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

/* Loads are little-endian by the specification; on a big-endian machine the bytes are swapped. */
static uint64_t load64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

static uint32_t load32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint64_t add_lane(uint64_t accumulator, uint64_t lane)
{
    return rotate_left(accumulator + lane * PRIME2, 31) * PRIME1;
}

static uint64_t merge(uint64_t hash, uint64_t accumulator)
{
    return (hash ^ add_lane(0, accumulator)) * PRIME1 + PRIME4;
}

uint64_t vise_xxh64(const void *bytes, size_t n, uint64_t seed)
{
    const uint8_t *at = bytes;
    size_t left = n;
    uint64_t hash;
    if (n >= 32) {
        uint64_t a = seed + PRIME1 + PRIME2, b = seed + PRIME2, c = seed, d = seed - PRIME1;
        for (; left >= 32; left -= 32, at += 32) {
            a = add_lane(a, load64(at));
            b = add_lane(b, load64(at + 8));
            c = add_lane(c, load64(at + 16));
            d = add_lane(d, load64(at + 24));
        }
        hash = rotate_left(a, 1) + rotate_left(b, 7) + rotate_left(c, 12) + rotate_left(d, 18);
        hash = merge(merge(merge(merge(hash, a), b), c), d);
    } else {
        hash = seed + PRIME5;
    }
    hash += n;

    for (; left >= 8; left -= 8, at += 8)
        hash = rotate_left(hash ^ add_lane(0, load64(at)), 27) * PRIME1 + PRIME4;
    if (left >= 4) {
        hash = rotate_left(hash ^ load32(at) * PRIME1, 23) * PRIME2 + PRIME3;
        left -= 4;
        at += 4;
    }
    for (; left > 0; left--, at++)
        hash = rotate_left(hash ^ *at * PRIME5, 11) * PRIME1;

    hash = (hash ^ (hash >> 33)) * PRIME2;
    hash = (hash ^ (hash >> 29)) * PRIME3;
    return hash ^ (hash >> 32);
}
