#include "formats/sink_hash.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/file.h"
#include "core/mem.h"

#define PIECE_BYTES ((size_t)1 << 18)

struct sink_hasher {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool running;
    /* under the lock */
    uint64_t final; /* bytes that will not change */
    bool ended;     /* `final` is all there is */
    bool cancelled;
    /* the thread's own */
    vise_file file;
    vise_sha256 hash;
    vise_status status;
    vise_error error;
    uint8_t bytes[PIECE_BYTES];
};

/* Waits until there is more to hash than `done`, or nothing more will come. Whole pieces only, before the end. */
static uint64_t wait_for_more(sink_hasher *hasher, uint64_t done)
{
    pthread_mutex_lock(&hasher->lock);
    while (!hasher->cancelled && !hasher->ended && hasher->final - done < PIECE_BYTES)
        pthread_cond_wait(&hasher->changed, &hasher->lock);
    uint64_t final = hasher->cancelled ? done : hasher->final;
    pthread_mutex_unlock(&hasher->lock);
    return final;
}

static void *follow(void *context)
{
    sink_hasher *hasher = context;
    for (uint64_t done = 0, final;
         (final = wait_for_more(hasher, done)) > done && hasher->status == VISE_OK;) {
        size_t n = final - done < PIECE_BYTES ? (size_t)(final - done) : PIECE_BYTES;
        hasher->status = vise_file_read_at(&hasher->file, done, hasher->bytes, n, &hasher->error);
        if (hasher->status == VISE_OK)
            vise_sha256_add(&hasher->hash, hasher->bytes, n);
        done += n;
    }
    return NULL;
}

vise_status vise_sink_hasher_start(const char *path, sink_hasher **out, vise_error *err)
{
    sink_hasher *hasher;
    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof *hasher, (void **)&hasher, err));
    hasher->file.fd = -1;
    pthread_mutex_init(&hasher->lock, NULL);
    pthread_cond_init(&hasher->changed, NULL);
    vise_sha256_init(&hasher->hash);
    vise_status status = vise_file_open(path, &hasher->file, err);
    if (status == VISE_OK && pthread_create(&hasher->thread, NULL, follow, hasher) != 0)
        status = VISE_FAIL(err, VISE_ERESOURCE, "%s: cannot start a thread to hash it", path);
    hasher->running = status == VISE_OK;
    if (status == VISE_OK)
        *out = hasher;
    else
        vise_sink_hasher_free(hasher);
    return status;
}

static void tell(sink_hasher *hasher, uint64_t final, bool ended, bool cancelled)
{
    pthread_mutex_lock(&hasher->lock);
    hasher->final = final > hasher->final ? final : hasher->final;
    hasher->ended = ended;
    hasher->cancelled = cancelled;
    pthread_cond_signal(&hasher->changed);
    pthread_mutex_unlock(&hasher->lock);
}

void vise_sink_hasher_advance(sink_hasher *hasher, uint64_t bytes)
{
    tell(hasher, bytes, false, false);
}

vise_status vise_sink_hasher_finish(sink_hasher *hasher, uint64_t bytes, char hex[VISE_SHA256_HEX_MAX],
                                    vise_error *err)
{
    tell(hasher, bytes, true, false);
    pthread_join(hasher->thread, NULL);
    hasher->running = false;
    if (hasher->status != VISE_OK)
        return VISE_FAIL(err, hasher->status, "%s", hasher->error.message);
    vise_sha256_hex(&hasher->hash, hex);
    return VISE_OK;
}

void vise_sink_hasher_free(sink_hasher *hasher)
{
    if (hasher == NULL)
        return;
    if (hasher->running) {
        tell(hasher, 0, true, true);
        pthread_join(hasher->thread, NULL);
    }
    vise_file_close(&hasher->file);
    pthread_cond_destroy(&hasher->changed);
    pthread_mutex_destroy(&hasher->lock);
    vise_free(hasher);
}
