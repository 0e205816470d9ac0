/* SHA-256 (FIPS 180-4) for files that a report names; XXH64 (xxHash specification 0.1.1) for payload checksums.
 * SHA-256 uses the SHA extensions where the processor has them. */
#ifndef VISE_CORE_HASH_H
#define VISE_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

typedef struct vise_sha256 {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
} vise_sha256;

#define VISE_SHA256_HEX_MAX 65

void vise_sha256_init(vise_sha256 *hash);
void vise_sha256_add(vise_sha256 *hash, const void *bytes, size_t n);
/* The same for two hashes, in little more time than one takes where the processor has the SHA extensions. */
void vise_sha256_add_pair(vise_sha256 *a, const void *bytes_a, size_t n_a, vise_sha256 *b,
                          const void *bytes_b, size_t n_b);
void vise_sha256_hex(vise_sha256 *hash, char hex[VISE_SHA256_HEX_MAX]); /* ends the hash */
VISE_MUST_USE vise_status vise_sha256_file(const char *path, char hex[VISE_SHA256_HEX_MAX], vise_error *err);

uint64_t vise_xxh64(const void *bytes, size_t n, uint64_t seed);

#endif
