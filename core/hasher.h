/* SHA-256 of files beside other work, of growing ones too: one thread, which hashes two files at a time, for on one
 * core two hashes take little longer than one (vise_sha256_add_pair). Files that grow go first: what was just written
 * is in the caches still. */
#ifndef VISE_CORE_HASHER_H
#define VISE_CORE_HASHER_H

#include <stdint.h>

#include "core/err.h"
#include "core/hash.h"

typedef struct vise_hasher vise_hasher;
typedef struct vise_hashed_file vise_hashed_file; /* lives as long as its hasher */

VISE_MUST_USE vise_status vise_hasher_new(vise_hasher **out, vise_error *err);
/* Ends the thread, whatever is left to hash; NULL is fine. */
void vise_hasher_free(vise_hasher *hasher);

/* A file that has all its bytes. It is opened when its turn comes. */
VISE_MUST_USE vise_status vise_hasher_add(vise_hasher *hasher, const char *path, vise_hashed_file **file,
                                          vise_error *err);
/* A file that is being written, of which nothing is final yet. */
VISE_MUST_USE vise_status vise_hasher_add_growing(vise_hasher *hasher, const char *path,
                                                  vise_hashed_file **file, vise_error *err);
/* The growing file's first `bytes` bytes will not change any more; never fewer than before. From any thread. */
void vise_hasher_advance(vise_hashed_file *file, uint64_t bytes);
/* The growing file has `bytes` bytes, all of them final. */
void vise_hasher_end(vise_hashed_file *file, uint64_t bytes);
/* Waits until the file (a growing one after its end) is hashed. The error is what opening or reading it met. */
VISE_MUST_USE vise_status vise_hasher_wait(vise_hashed_file *file, char hex[VISE_SHA256_HEX_MAX],
                                           vise_error *err);

#endif
