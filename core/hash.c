#include "core/hash.h"

#include <string.h>

#include "core/cpu.h"
#include "core/file.h"
#include "core/hash_sha256.h"
#include "core/mem.h"
#include "core/workers.h"

enum { BLOCK = 64, FILE_CHUNK = 1 << 20 };

/* FIPS 180-4, 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
const uint32_t vise_sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate_right(uint32_t x, int by)
{
    return (x >> by) | (x << (32 - by));
}

static uint32_t load_big_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* FIPS 180-4, 6.2.2. */
void vise_sha256_blocks_ref(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    for (; count > 0; count--, blocks += BLOCK) {
        uint32_t w[64];
        for (int t = 0; t < 16; t++)
            w[t] = load_big_endian(blocks + 4 * t);
        for (int t = 16; t < 64; t++) {
            uint32_t s0 = rotate_right(w[t - 15], 7) ^ rotate_right(w[t - 15], 18) ^ (w[t - 15] >> 3);
            uint32_t s1 = rotate_right(w[t - 2], 17) ^ rotate_right(w[t - 2], 19) ^ (w[t - 2] >> 10);
            w[t] = w[t - 16] + s0 + w[t - 7] + s1;
        }
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        for (int t = 0; t < 64; t++) {
            uint32_t sum1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
            uint32_t choice = (e & f) ^ (~e & g);
            uint32_t t1 = h + sum1 + choice + vise_sha256_constants[t] + w[t];
            uint32_t sum0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
            uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
            uint32_t t2 = sum0 + majority;
            h = g;
            g = f;
            f = e;
            e = d + t1;
            d = c;
            c = b;
            b = a;
            a = t1 + t2;
        }
        uint32_t out[8] = {a, b, c, d, e, f, g, h};
        for (int i = 0; i < 8; i++)
            state[i] += out[i];
    }
}

static void blocks_add(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    vise_sha256_blocks fast = vise_cpu() == VISE_CPU_REF ? NULL : vise_sha256_blocks_fast();
    (fast ? fast : vise_sha256_blocks_ref)(state, blocks, count);
}

void vise_sha256_init(vise_sha256 *hash)
{
    *hash = (vise_sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
                                    0x1f83d9ab, 0x5be0cd19}};
}

void vise_sha256_add(vise_sha256 *hash, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    size_t held = (size_t)(hash->length % BLOCK);
    hash->length += n;
    if (held > 0) {
        size_t part = n < BLOCK - held ? n : BLOCK - held;
        memcpy(hash->block + held, at, part);
        at += part;
        n -= part;
        if (held + part < BLOCK)
            return;
        blocks_add(hash->state, hash->block, 1);
    }
    blocks_add(hash->state, at, n / BLOCK);
    at += n / BLOCK * BLOCK;
    if (n % BLOCK > 0)
        memcpy(hash->block, at, n % BLOCK);
}

void vise_sha256_add_pair(vise_sha256 *a, const void *bytes_a, size_t n_a, vise_sha256 *b,
                          const void *bytes_b, size_t n_b)
{
    vise_sha256_pair fast = vise_cpu() == VISE_CPU_REF ? NULL : vise_sha256_pair_fast();
    const uint8_t *at_a = bytes_a, *at_b = bytes_b;
    if (fast != NULL && a->length % BLOCK == 0 && b->length % BLOCK == 0) {
        size_t blocks = (n_a < n_b ? n_a : n_b) / BLOCK, n = blocks * BLOCK;
        fast(a->state, at_a, b->state, at_b, blocks);
        a->length += n, b->length += n;
        at_a += n, at_b += n;
        n_a -= n, n_b -= n;
    }
    vise_sha256_add(a, at_a, n_a);
    vise_sha256_add(b, at_b, n_b);
}

void vise_sha256_hex(vise_sha256 *hash, char hex[VISE_SHA256_HEX_MAX])
{
    /* 0x80, zeros, and the length in bits as the last eight bytes of a block. */
    uint64_t bits = hash->length * 8;
    static const uint8_t padding[BLOCK] = {0x80};
    size_t held = (size_t)(hash->length % BLOCK);
    vise_sha256_add(hash, padding, held < 56 ? 56 - held : 120 - held);
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(bits >> (56 - 8 * i));
    vise_sha256_add(hash, length, sizeof length);

    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 64; i++)
        hex[i] = digits[hash->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    hex[64] = '\0';
}

vise_status vise_sha256_file(const char *path, char hex[VISE_SHA256_HEX_MAX], vise_error *err)
{
    vise_file file;
    void *chunk = NULL;
    VISE_TRY(vise_file_open(path, &file, err));
    vise_sha256 hash;
    vise_sha256_init(&hash);
    vise_status status;
    VISE_TRY_TO(done, vise_alloc(FILE_CHUNK, &chunk, err));
    for (uint64_t at = 0; at < file.bytes;) {
        size_t n = file.bytes - at < FILE_CHUNK ? (size_t)(file.bytes - at) : FILE_CHUNK;
        VISE_TRY_TO(done, vise_check_interrupt(err));
        VISE_TRY_TO(done, vise_file_read_at(&file, at, chunk, n, err));
        vise_sha256_add(&hash, chunk, n);
        at += n;
    }
    vise_sha256_hex(&hash, hex);
done:
    vise_free(chunk);
    vise_file_close(&file);
    return status;
}
