#include "core/hasher.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/file.h"
#include "core/mem.h"

#define PIECE_BYTES ((size_t)1 << 18)

struct vise_hashed_file {
    vise_hasher *hasher;
    vise_hashed_file *next;
    char *path;
    bool growing;
    /* under the lock */
    uint64_t final; /* bytes that will not change */
    bool ended;     /* `final` is all there is */
    bool done;      /* hashed, or failed */
    /* the thread's own until done */
    bool open;
    uint64_t hashed;
    vise_file file;
    vise_sha256 hash;
    vise_status status;
    vise_error error;
};

struct vise_hasher {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more; /* for the thread: something to hash, or the end */
    pthread_cond_t less; /* for those who wait: a file is done */
    bool running;
    bool stopped;                   /* under the lock */
    vise_hashed_file *first, *last; /* under the lock */
    uint8_t bytes[2][PIECE_BYTES];
};

/* One turn at a file. */
typedef struct turn {
    vise_hashed_file *file;
    size_t n; /* bytes to hash in this turn; 0 with the last byte hashed already */
} turn;

/* A growing file that has not ended is hashed in whole pieces: single bytes would cost a turn each. */
static bool has_turn(const vise_hashed_file *file)
{
    return !file->done && (file->ended || file->final - file->hashed >= PIECE_BYTES);
}

/* The next one or two files, growing ones first, then in the order they came. Waits for one; none: the end. */
static int choose(vise_hasher *hasher, turn turns[2])
{
    int n = 0;
    pthread_mutex_lock(&hasher->lock);
    for (;;) {
        for (int growing = 1; growing >= 0; growing--)
            for (vise_hashed_file *file = hasher->first; file != NULL && n < 2; file = file->next)
                if (file->growing == (growing == 1) && has_turn(file))
                    turns[n++] = (turn){.file = file};
        if (n > 0 || hasher->stopped)
            break;
        pthread_cond_wait(&hasher->more, &hasher->lock);
    }
    for (int i = 0; i < n; i++) {
        uint64_t left = turns[i].file->final - turns[i].file->hashed;
        turns[i].n = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
    }
    if (hasher->stopped)
        n = 0;
    pthread_mutex_unlock(&hasher->lock);
    return n;
}

static vise_status open_file(vise_hashed_file *file)
{
    if (file->open)
        return VISE_OK;
    VISE_TRY(vise_file_open(file->path, &file->file, &file->error));
    file->open = true;
    vise_sha256_init(&file->hash);
    if (file->growing)
        return VISE_OK;
    pthread_mutex_lock(&file->hasher->lock);
    file->final = file->file.bytes;
    pthread_mutex_unlock(&file->hasher->lock);
    return VISE_OK;
}

static void end_turn(const turn *t)
{
    vise_hashed_file *file = t->file;
    file->hashed += t->n;
    pthread_mutex_lock(&file->hasher->lock);
    if (file->status != VISE_OK || (file->ended && file->hashed >= file->final)) {
        file->done = true;
        pthread_cond_broadcast(&file->hasher->less);
    }
    pthread_mutex_unlock(&file->hasher->lock);
    if (file->done && file->open)
        vise_file_close(&file->file);
}

static void *hash_files(void *context)
{
    vise_hasher *hasher = context;
    turn turns[2];
    for (int n; (n = choose(hasher, turns)) > 0;) {
        for (int i = 0; i < n; i++) {
            vise_hashed_file *file = turns[i].file;
            file->status = open_file(file);
            if (file->status == VISE_OK)
                file->status =
                    vise_file_read_at(&file->file, file->hashed, hasher->bytes[i], turns[i].n, &file->error);
            if (file->status != VISE_OK)
                turns[i].n = 0;
        }
        if (n == 2)
            vise_sha256_add_pair(&turns[0].file->hash, hasher->bytes[0], turns[0].n, &turns[1].file->hash,
                                 hasher->bytes[1], turns[1].n);
        else
            vise_sha256_add(&turns[0].file->hash, hasher->bytes[0], turns[0].n);
        for (int i = 0; i < n; i++)
            end_turn(&turns[i]);
    }
    return NULL;
}

vise_status vise_hasher_new(vise_hasher **out, vise_error *err)
{
    vise_hasher *hasher;
    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof *hasher, (void **)&hasher, err));
    pthread_mutex_init(&hasher->lock, NULL);
    pthread_cond_init(&hasher->more, NULL);
    pthread_cond_init(&hasher->less, NULL);
    hasher->running = pthread_create(&hasher->thread, NULL, hash_files, hasher) == 0;
    if (!hasher->running) {
        vise_hasher_free(hasher);
        return VISE_FAIL(err, VISE_ERESOURCE,
                         "cannot start a thread to hash files: lower the number of threads");
    }
    *out = hasher;
    return VISE_OK;
}

void vise_hasher_free(vise_hasher *hasher)
{
    if (hasher == NULL)
        return;
    if (hasher->running) {
        pthread_mutex_lock(&hasher->lock);
        hasher->stopped = true;
        pthread_cond_signal(&hasher->more);
        pthread_mutex_unlock(&hasher->lock);
        pthread_join(hasher->thread, NULL);
    }
    for (vise_hashed_file *file = hasher->first, *next; file != NULL; file = next) {
        next = file->next;
        if (file->open && !file->done)
            vise_file_close(&file->file);
        vise_free(file->path);
        vise_free(file);
    }
    pthread_cond_destroy(&hasher->less);
    pthread_cond_destroy(&hasher->more);
    pthread_mutex_destroy(&hasher->lock);
    vise_free(hasher);
}

static vise_status add(vise_hasher *hasher, const char *path, bool growing, vise_hashed_file **out,
                       vise_error *err)
{
    vise_hashed_file *file;
    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof *file, (void **)&file, err));
    vise_status status = vise_strdup(path, &file->path, err);
    if (status != VISE_OK) {
        vise_free(file);
        return status;
    }
    file->hasher = hasher;
    file->growing = growing;
    file->ended = !growing;
    pthread_mutex_lock(&hasher->lock);
    *(hasher->last ? &hasher->last->next : &hasher->first) = file;
    hasher->last = file;
    pthread_cond_signal(&hasher->more);
    pthread_mutex_unlock(&hasher->lock);
    *out = file;
    return VISE_OK;
}

vise_status vise_hasher_add(vise_hasher *hasher, const char *path, vise_hashed_file **file, vise_error *err)
{
    return add(hasher, path, false, file, err);
}

vise_status vise_hasher_add_growing(vise_hasher *hasher, const char *path, vise_hashed_file **file,
                                    vise_error *err)
{
    return add(hasher, path, true, file, err);
}

static void tell(vise_hashed_file *file, uint64_t final, bool ended)
{
    pthread_mutex_lock(&file->hasher->lock);
    file->final = final > file->final ? final : file->final;
    file->ended = ended;
    pthread_cond_signal(&file->hasher->more);
    pthread_mutex_unlock(&file->hasher->lock);
}

void vise_hasher_advance(vise_hashed_file *file, uint64_t bytes)
{
    tell(file, bytes, false);
}

void vise_hasher_end(vise_hashed_file *file, uint64_t bytes)
{
    tell(file, bytes, true);
}

vise_status vise_hasher_wait(vise_hashed_file *file, char hex[VISE_SHA256_HEX_MAX], vise_error *err)
{
    pthread_mutex_lock(&file->hasher->lock);
    while (!file->done)
        pthread_cond_wait(&file->hasher->less, &file->hasher->lock);
    pthread_mutex_unlock(&file->hasher->lock);
    if (file->status != VISE_OK)
        return VISE_FAIL(err, file->status, "%s", file->error.message);
    vise_sha256 hash = file->hash; /* ending a hash changes it, and others may ask too */
    vise_sha256_hex(&hash, hex);
    return VISE_OK;
}
