/* Inside core: the compression function of SHA-256, in plain C and with the SHA extensions. All give the same bits. */
#ifndef VISE_CORE_HASH_SHA256_H
#define VISE_CORE_HASH_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef void (*vise_sha256_blocks)(uint32_t state[8], const uint8_t *blocks, size_t count);
/* Two messages at once, count blocks of each. */
typedef void (*vise_sha256_pair)(uint32_t state_a[8], const uint8_t *a, uint32_t state_b[8], const uint8_t *b,
                                 size_t count);

extern const uint32_t vise_sha256_constants[64];

void vise_sha256_blocks_ref(uint32_t state[8], const uint8_t *blocks, size_t count);
/* The fast ones, or NULL where the processor has none. */
vise_sha256_blocks vise_sha256_blocks_fast(void);
vise_sha256_pair vise_sha256_pair_fast(void);

#endif
