/* Memory has three lifetimes.
 *
 *   process   small structures: vise_alloc and friends (counted, and able to fail on request for tests)
 *   model     metadata that lives as long as an open model: vise_arena
 *   payload   weights and activations in flight: vise_pool, bounded by the user's --memory
 *
 * Verbs tell ownership: _new/_free, _open/_close, _init/_deinit, _take/_give. Everything else borrows.
 */
#ifndef VISE_CORE_MEM_H
#define VISE_CORE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* ---- process lifetime --------------------------------------------------------------------------------------- */

/* As malloc, calloc (checked product) and realloc (of count * size, checked). A zero size gives a unique pointer. */
VISE_MUST_USE vise_status vise_alloc(size_t size, void **out, vise_error *err);
VISE_MUST_USE vise_status vise_calloc(size_t count, size_t size, void **out, vise_error *err);
VISE_MUST_USE vise_status vise_realloc(void **block, size_t count, size_t size, vise_error *err);
void vise_free(void *block);

/* A copy of text, or a formatted string; the caller frees it with vise_free. */
VISE_MUST_USE vise_status vise_strdup(const char *text, char **out, vise_error *err);
VISE_MUST_USE vise_status vise_strfmt(char **out, vise_error *err, const char *format, ...) VISE_PRINTF(3, 4);

/* Grows *array (of elements of `size` bytes) so that it holds `needed`; *capacity counts elements. */
VISE_MUST_USE vise_status vise_grow(void **array, size_t *capacity, size_t needed, size_t size, vise_error *err);

/* For tests: the n-th allocation from now (1 = the next) of any of the three lifetimes fails once. 0 turns it off. */
void vise_alloc_fail_after(uint64_t n);

/* Checked arithmetic: false on overflow. */
bool vise_add_size(size_t a, size_t b, size_t *sum);
bool vise_mul_size(size_t a, size_t b, size_t *product);

/* ---- model lifetime ------------------------------------------------------------------------------------------ */

typedef struct vise_arena vise_arena;

VISE_MUST_USE vise_status vise_arena_new(vise_arena **out, vise_error *err);
void vise_arena_free(vise_arena *arena);
/* Zeroed, 16-byte aligned, lives until the arena is freed. */
VISE_MUST_USE vise_status vise_arena_take(vise_arena *arena, size_t size, void **out, vise_error *err);
VISE_MUST_USE vise_status vise_arena_strdup(vise_arena *arena, const char *text, size_t length, const char **out,
                                            vise_error *err);
VISE_MUST_USE vise_status vise_arena_strfmt(vise_arena *arena, const char **out, vise_error *err,
                                            const char *format, ...) VISE_PRINTF(4, 5);

/* ---- payload -------------------------------------------------------------------------------------------------- */

/* A thread-safe allocator of page-backed, 64-byte aligned blocks under a hard limit. Blocks given back are kept for
 * reuse and returned to the kernel when the limit would otherwise be exceeded, so that used + cached <= limit always
 * holds. How much is in flight at a time is decided by the plan; a take that does not fit is an error, never a wait. */
typedef struct vise_pool vise_pool;

/* limit_bytes 0: no limit. */
VISE_MUST_USE vise_status vise_pool_new(size_t limit_bytes, vise_pool **out, vise_error *err);
void vise_pool_free(vise_pool *pool);
/* The contents are undefined. `what` names the use in the error (VISE_ERESOURCE). */
VISE_MUST_USE vise_status vise_pool_take(vise_pool *pool, size_t bytes, const char *what, void **out,
                                         vise_error *err);
void vise_pool_give(vise_pool *pool, void *block); /* NULL is fine */
/* Shares the limit with something allocated elsewhere (a library's buffers): counts without allocating. */
VISE_MUST_USE vise_status vise_pool_charge(vise_pool *pool, size_t bytes, const char *what, vise_error *err);
void vise_pool_discharge(vise_pool *pool, size_t bytes);
size_t vise_pool_limit(const vise_pool *pool);
size_t vise_pool_used(vise_pool *pool);
size_t vise_pool_peak(vise_pool *pool); /* highest used + cached so far */
void vise_pool_trim(vise_pool *pool);   /* returns cached blocks to the kernel */

/* ---- the kernel's view ---------------------------------------------------------------------------------------- */

/* Resident set now and its high-water mark (VmRSS, VmHWM), in bytes; 0 where the kernel does not tell. */
size_t vise_resident_bytes(void);
size_t vise_resident_peak_bytes(void);
size_t vise_physical_memory_bytes(void);

/* "300MB", "1.5GiB", "4096": MB is 10^6, MiB 2^20. VISE_EUSAGE on anything else. */
VISE_MUST_USE vise_status vise_parse_size(const char *text, uint64_t *bytes, vise_error *err);
/* Writes "1.60 GB" style text (powers of ten) into buffer and returns it. */
#define VISE_SIZE_TEXT_MAX 24
char *vise_format_size(uint64_t bytes, char buffer[VISE_SIZE_TEXT_MAX]);

#endif
