/* The payload pool.
 *
 * A block of 256 KiB or more is a mapping of its own: giving it back to the kernel really lowers the resident set,
 * which is what --memory bounds. Smaller ones come from malloc, which has caches of its own. What counts against
 * the limit is what was asked for (rounded up to 64 bytes), so that a plan can add up its takes and be right to
 * the byte; the header and the rest of the last page, at most 4160 bytes a block, are left out.
 *
 * Cached blocks are handed out again best fit, at most a quarter larger than asked. Under a limit the tail of such a
 * block is unmapped first, so that used bytes are never more than asked bytes. */
#include "core/mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/mem_fault.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

enum {
    ALIGNMENT = 64,
    MAPPED_MIN = 256 * 1024,
    HUGE_PAGE = 2 * 1024 * 1024,
    HUGE_MIN = 4 * 1024 * 1024
};
/* Without a limit this many bytes are kept for reuse. */
#define CACHED_MAX_UNLIMITED ((size_t)1 << 30)

/* Lies in the 64 bytes before the payload. */
typedef struct block {
    struct block *newer, *older; /* in the cache */
    size_t counted;              /* bytes against the limit; room for at least as many */
    size_t mapped;               /* bytes of the mapping that starts here; 0: from malloc */
    unsigned char unused_[ALIGNMENT - 2 * sizeof(void *) - 2 * sizeof(size_t)];
} block;

_Static_assert(sizeof(block) == ALIGNMENT, "the payload is aligned because its header is as long as the alignment");

struct vise_pool {
    pthread_mutex_t lock;
    size_t limit; /* SIZE_MAX: none */
    size_t used;
    size_t cached;
    size_t peak;
    size_t page;
    block *newest, *oldest; /* cached mappings */
};

vise_status vise_pool_new(size_t limit_bytes, vise_pool **out, vise_error *err)
{
    void *memory;
    VISE_TRY(vise_calloc(1, sizeof(vise_pool), &memory, err));
    vise_pool *pool = memory;
    pool->limit = limit_bytes ? limit_bytes : SIZE_MAX;
    pool->page = (size_t)sysconf(_SC_PAGESIZE);
    pthread_mutex_init(&pool->lock, NULL);
    *out = pool;
    return VISE_OK;
}

static void release(block *b)
{
    if (b->mapped) {
        ASAN_UNPOISON_MEMORY_REGION(b, b->mapped);
        munmap(b, b->mapped);
    } else {
        free(b);
    }
}

static void cache_add(vise_pool *pool, block *b)
{
    b->newer = NULL;
    b->older = pool->newest;
    if (pool->newest)
        pool->newest->newer = b;
    else
        pool->oldest = b;
    pool->newest = b;
    pool->cached += b->counted;
}

static void cache_remove(vise_pool *pool, block *b)
{
    if (b->newer)
        b->newer->older = b->older;
    else
        pool->newest = b->older;
    if (b->older)
        b->older->newer = b->newer;
    else
        pool->oldest = b->newer;
    pool->cached -= b->counted;
}

/* Returns the oldest cached blocks to the kernel until no more than `keep` bytes are cached. */
static void cache_shrink(vise_pool *pool, size_t keep)
{
    while (pool->cached > keep) {
        block *b = pool->oldest;
        cache_remove(pool, b);
        release(b);
    }
}

static void note_peak(vise_pool *pool)
{
    if (pool->used + pool->cached > pool->peak)
        pool->peak = pool->used + pool->cached;
}

/* Counts `bytes` as used if the limit allows it, at the cost of cached blocks. */
static vise_status count(vise_pool *pool, size_t bytes, const char *what, vise_error *err)
{
    if (bytes > pool->limit - pool->used) {
        char wanted[VISE_SIZE_TEXT_MAX], used[VISE_SIZE_TEXT_MAX];
        char limit[VISE_SIZE_TEXT_MAX], more[VISE_SIZE_TEXT_MAX];
        return VISE_FAIL(err, VISE_ERESOURCE, "no memory for %s: %s wanted, %s of %s in use; raise --memory by %s",
                         what, vise_format_size(bytes, wanted), vise_format_size(pool->used, used),
                         vise_format_size(pool->limit, limit),
                         vise_format_size(bytes - (pool->limit - pool->used), more));
    }
    cache_shrink(pool, pool->limit - pool->used - bytes);
    pool->used += bytes;
    note_peak(pool);
    return VISE_OK;
}

static size_t round_up(size_t value, size_t to)
{
    return (value + to - 1) / to * to;
}

/* A fresh mapping; large ones start on a huge page, so that the kernel can use those from the first byte on. All of a
 * huge page lies inside the block or in blocks beside it that are counted too. */
static block *map(const vise_pool *pool, size_t bytes)
{
    size_t mapped = round_up(bytes + sizeof(block), pool->page);
    size_t slack = bytes >= HUGE_MIN ? HUGE_PAGE : 0;
    unsigned char *memory =
        mmap(NULL, mapped + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (slack) {
        size_t before = (HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE) % HUGE_PAGE;
        if (before)
            munmap(memory, before);
        if (slack - before)
            munmap(memory + before + mapped, slack - before);
        memory += before;
        madvise(memory, mapped, MADV_HUGEPAGE);
    }
    block *b = (block *)(void *)memory;
    *b = (block){.counted = bytes, .mapped = mapped};
    return b;
}

/* The smallest cached block that holds `bytes` without wasting more than a quarter, taken out of the cache. */
static block *reuse(vise_pool *pool, size_t bytes)
{
    block *best = NULL;
    for (block *b = pool->newest; b; b = b->older)
        if (b->counted >= bytes && b->counted - bytes <= bytes / 4 && (!best || b->counted < best->counted))
            best = b;
    if (!best)
        return NULL;
    cache_remove(pool, best);
    ASAN_UNPOISON_MEMORY_REGION(best, best->mapped);
    if (pool->limit != SIZE_MAX && best->counted > bytes) {
        size_t mapped = round_up(bytes + sizeof(block), pool->page);
        if (mapped < best->mapped) {
            munmap((unsigned char *)best + mapped, best->mapped - mapped);
            best->mapped = mapped;
        }
        best->counted = bytes;
    }
    return best;
}

vise_status vise_pool_take(vise_pool *pool, size_t bytes, const char *what, void **out, vise_error *err)
{
    if (bytes > SIZE_MAX / 2)
        return VISE_FAIL(err, VISE_ERESOURCE, "no memory for %s: %zu bytes wanted", what, bytes);
    size_t asked = bytes;
    bytes = round_up(bytes ? bytes : 1, ALIGNMENT);

    pthread_mutex_lock(&pool->lock);
    vise_status status = VISE_OK;
    block *b = NULL;
    if (vise_alloc_must_fail()) {
        status = VISE_FAIL(err, VISE_ERESOURCE, "out of memory for %s: %zu bytes wanted", what, asked);
        goto done;
    }
    if (bytes >= MAPPED_MIN && (b = reuse(pool, bytes))) {
        bytes = b->counted;
        pool->used += bytes;
        note_peak(pool);
        goto done;
    }
    VISE_TRY_TO(done, count(pool, bytes, what, err));
    if (bytes >= MAPPED_MIN) {
        b = map(pool, bytes);
    } else if ((b = aligned_alloc(ALIGNMENT, bytes + sizeof *b))) {
        *b = (block){.counted = bytes};
    }
    if (!b) {
        pool->used -= bytes;
        status = VISE_FAIL(err, VISE_ERESOURCE, "out of memory for %s: the system refused %zu bytes", what, asked);
    }

done:
    if (status == VISE_OK) {
        /* A read or write beyond what was asked for is an error that the sanitizer shall see. */
        if (b->mapped)
            ASAN_POISON_MEMORY_REGION((unsigned char *)(b + 1) + asked, b->mapped - sizeof *b - asked);
        *out = b + 1;
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

void vise_pool_give(vise_pool *pool, void *payload)
{
    if (!payload)
        return;
    block *b = (block *)payload - 1;
    pthread_mutex_lock(&pool->lock);
    pool->used -= b->counted;
    if (b->mapped) {
        cache_add(pool, b);
        ASAN_POISON_MEMORY_REGION(b + 1, b->mapped - sizeof *b);
        if (pool->limit == SIZE_MAX)
            cache_shrink(pool, CACHED_MAX_UNLIMITED);
    } else {
        release(b);
    }
    pthread_mutex_unlock(&pool->lock);
}

void vise_pool_free(vise_pool *pool)
{
    if (!pool)
        return;
    cache_shrink(pool, 0);
    pthread_mutex_destroy(&pool->lock);
    vise_free(pool);
}

vise_status vise_pool_charge(vise_pool *pool, size_t bytes, const char *what, vise_error *err)
{
    pthread_mutex_lock(&pool->lock);
    vise_status status = count(pool, bytes, what, err);
    pthread_mutex_unlock(&pool->lock);
    return status;
}

void vise_pool_discharge(vise_pool *pool, size_t bytes)
{
    pthread_mutex_lock(&pool->lock);
    pool->used -= bytes;
    pthread_mutex_unlock(&pool->lock);
}

size_t vise_pool_limit(const vise_pool *pool)
{
    return pool->limit == SIZE_MAX ? 0 : pool->limit;
}

size_t vise_pool_used(vise_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    size_t used = pool->used;
    pthread_mutex_unlock(&pool->lock);
    return used;
}

size_t vise_pool_peak(vise_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    size_t peak = pool->peak;
    pthread_mutex_unlock(&pool->lock);
    return peak;
}

void vise_pool_trim(vise_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    cache_shrink(pool, 0);
    pthread_mutex_unlock(&pool->lock);
}
