/* Hashes a file while it is being written: a thread follows the part that is final, so that the hash is
 * known soon after the last byte. Private to the sink. */
#ifndef VISE_FORMATS_SINK_HASH_H
#define VISE_FORMATS_SINK_HASH_H

#include <stdint.h>

#include "core/err.h"
#include "core/hash.h"

typedef struct sink_hasher sink_hasher;

VISE_MUST_USE vise_status vise_sink_hasher_start(const char *path, sink_hasher **out, vise_error *err);
/* The file's first `bytes` bytes will not change any more. Never fewer than before; from one thread at a time. */
void vise_sink_hasher_advance(sink_hasher *hasher, uint64_t bytes);
/* Hashes up to `bytes`, the size of the file, and ends the thread. */
VISE_MUST_USE vise_status vise_sink_hasher_finish(sink_hasher *hasher, uint64_t bytes, char hex[VISE_SHA256_HEX_MAX],
                                                  vise_error *err);
/* Stops it when it still runs; NULL is fine. */
void vise_sink_hasher_free(sink_hasher *hasher);

#endif
