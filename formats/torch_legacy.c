/* The format before torch 1.6: pickles, then the bytes of the storages in the order of their keys. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/torch_internal.h"

#define HEAD_BYTES ((size_t)1 << 20) /* read at first; more when the pickles are longer */
#define PROTOCOL   1001

/* 0x1950a86a20f9469cfc6c */
static const uint8_t magic[] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

typedef struct placed {
    const char *key;
    uint64_t offset, bytes;
} placed;

typedef struct legacy {
    const vise_st_input *input;
    vise_arena *arena;
    vise_error *err;
    const uint8_t *head;
    size_t length, at; /* of the head; of the next pickle */
    bool ran_out;
    placed *storages; /* by key, once they are placed */
    size_t n;
} legacy;

static vise_status damaged(const legacy *l, const char *what)
{
    return VISE_FAIL(l->err, VISE_EFORMAT, "%s: %s; the file is damaged, or no checkpoint of torch.save",
                     l->input->path, what);
}

static vise_status next_pickle(legacy *l, vise_pickle *pickle)
{
    vise_status status = vise_pickle_read(l->input->path, l->head + l->at, l->length - l->at, pickle, l->err);
    l->ran_out = pickle->ran_out;
    l->at += pickle->at;
    return status;
}

/* The three pickles in front of the object. */
static vise_status take_preamble(legacy *l)
{
    vise_pickle pickle = {0};
    vise_status status = VISE_OK;
    VISE_TRY_TO(done, next_pickle(l, &pickle));
    const vise_pickle_value *root = vise_pickle_at(&pickle, pickle.root);
    if (root->kind != VISE_PICKLE_LONG || root->n != sizeof magic ||
        memcmp(pickle.bytes + root->at, magic, sizeof magic) != 0)
        VISE_TRY_TO(
            done, VISE_FAIL(l->err, VISE_EFORMAT,
                            "%s: is a pickle, but no checkpoint of torch.save; pickles of other programs are "
                            "not read",
                            l->input->path));
    vise_pickle_deinit(&pickle);
    VISE_TRY_TO(done, next_pickle(l, &pickle));
    root = vise_pickle_at(&pickle, pickle.root);
    if (root->kind != VISE_PICKLE_INT || root->number != PROTOCOL)
        VISE_TRY_TO(done, damaged(l, "the version of the format is not 1001"));
    vise_pickle_deinit(&pickle);
    VISE_TRY_TO(done, next_pickle(l, &pickle));
    if (!vise_pickle_is(&pickle, pickle.root, VISE_PICKLE_DICT))
        VISE_TRY_TO(done, damaged(l, "nothing tells the machine's byte order"));
    const uint32_t little = vise_pickle_get(&pickle, pickle.root, "little_endian");
    if (little == VISE_PICKLE_NONE || !vise_pickle_is(&pickle, little, VISE_PICKLE_BOOL) ||
        vise_pickle_at(&pickle, little)->number == 0)
        status = VISE_FAIL(
            l->err, VISE_EUNSUPPORTED,
            "%s: was not written by a little-endian machine; load it with torch and save it again on one",
            l->input->path);
done:
    vise_pickle_deinit(&pickle);
    return status;
}

/* ---- storages ------------------------------------------------------------------------------------------ */

typedef struct keyed {
    const char *key;
    size_t n;
    const vise_pickle_storage *storage;
} keyed;

static int by_text(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    const size_t n = x->n < y->n ? x->n : y->n;
    const int order = n > 0 ? memcmp(x->key, y->key, n) : 0;
    return order != 0 ? order : (x->n > y->n) - (x->n < y->n);
}

static keyed key_of(const vise_pickle *pickle, uint32_t text)
{
    const vise_pickle_value *v = vise_pickle_at(pickle, text);
    return (keyed){(const char *)pickle->bytes + v->at, v->n, NULL};
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const placed *)a)->key, ((const placed *)b)->key);
}

/* One storage: a count that must be the pickle's, then the elements. */
static vise_status place(legacy *l, const vise_pickle_storage *storage, const keyed *key, uint64_t *at)
{
    uint8_t b[8];
    uint64_t count = 0, bytes;
    if (*at > l->input->bytes || l->input->bytes - *at < sizeof b)
        return damaged(l, "it ends before its storages do");
    VISE_TRY(l->input->read_at(l->input->context, *at, b, sizeof b, l->err));
    for (size_t i = sizeof b; i-- > 0;)
        count = count << 8 | b[i];
    *at += sizeof b;
    if (count != storage->count || !vise_torch_storage_bytes(storage, count, &bytes) ||
        bytes > l->input->bytes - *at)
        return damaged(l, "a storage is not as long as the pickle says, or reaches beyond the end");
    placed *entry = &l->storages[l->n];
    VISE_TRY(vise_arena_strdup(l->arena, key->key, key->n, &entry->key, l->err));
    entry->offset = *at;
    entry->bytes = bytes;
    l->n++;
    *at += bytes;
    return VISE_OK;
}

static vise_status place_all(legacy *l, const vise_pickle *object, const vise_pickle *keys, keyed *known)
{
    uint64_t at = l->at;
    for (size_t i = 0; i < object->n_storages; i++) {
        known[i] = key_of(object, object->storages[i].key);
        known[i].storage = &object->storages[i];
    }
    if (object->n_storages > 0)
        qsort(known, object->n_storages, sizeof *known, by_text);
    for (uint32_t i = vise_pickle_at(keys, keys->root)->ends[0]; i != VISE_PICKLE_NONE;
         i = keys->entries[i].next) {
        if (!vise_pickle_is(keys, keys->entries[i].value, VISE_PICKLE_TEXT))
            return damaged(l, "the key of a storage is no text");
        const keyed wanted = key_of(keys, keys->entries[i].value);
        const keyed *found = object->n_storages == 0
                                 ? NULL
                                 : bsearch(&wanted, known, object->n_storages, sizeof *known, by_text);
        if (found == NULL)
            return damaged(l, "there is a storage that no tensor has");
        VISE_TRY(place(l, found->storage, &wanted, &at));
    }
    if (l->n > 0)
        qsort(l->storages, l->n, sizeof *l->storages, by_key);
    for (size_t i = 1; i < l->n; i++)
        if (strcmp(l->storages[i].key, l->storages[i - 1].key) == 0)
            return damaged(l, "a storage is there twice");
    return VISE_OK;
}

static vise_status find_storage(const void *context, const char *key, uint64_t *offset, uint64_t *bytes,
                                vise_error *err)
{
    const legacy *l = context;
    const placed wanted = {.key = key};
    const placed *found = l->n == 0 ? NULL : bsearch(&wanted, l->storages, l->n, sizeof wanted, by_key);
    if (found == NULL)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: a storage is missing; the file is damaged, download or copy it again",
                         l->input->path);
    *offset = found->offset;
    *bytes = found->bytes;
    return VISE_OK;
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static vise_status parse(legacy *l, vise_torch *torch)
{
    vise_pickle object = {0}, keys = {0};
    void *block = NULL, *storages;
    vise_status status = VISE_OK;
    size_t n = 0;
    VISE_TRY(take_preamble(l));
    VISE_TRY_TO(done, next_pickle(l, &object));
    VISE_TRY_TO(done, next_pickle(l, &keys));
    if (!vise_pickle_is(&keys, keys.root, VISE_PICKLE_LIST))
        VISE_TRY_TO(done, damaged(l, "there is no list of storages"));
    for (uint32_t i = vise_pickle_at(&keys, keys.root)->ends[0]; i != VISE_PICKLE_NONE;
         i = keys.entries[i].next)
        n++;
    VISE_TRY_TO(done, vise_arena_take(l->arena, (n + 1) * sizeof *l->storages, &storages, l->err));
    l->storages = storages;
    VISE_TRY_TO(done, vise_calloc(object.n_storages, sizeof(keyed), &block, l->err));
    VISE_TRY_TO(done, place_all(l, &object, &keys, block));
    const vise_torch_storages where = {find_storage, l};
    VISE_TRY_TO(done, vise_torch_collect(l->input, &object, &where, l->arena, torch, l->err));
    vise_sha256 hash;
    vise_sha256_init(&hash);
    vise_sha256_add(&hash, l->head, l->at);
    vise_sha256_hex(&hash, torch->sha256);
done:
    vise_free(block);
    vise_pickle_deinit(&object);
    vise_pickle_deinit(&keys);
    return status;
}

/* The pickles do not tell their length: as much of the file is read as they turn out to need. */
vise_status vise_torch_parse_legacy(const vise_st_input *input, vise_arena *arena, vise_torch *torch,
                                    vise_error *err)
{
    const uint64_t most = input->bytes < VISE_PICKLE_BYTES_MAX ? input->bytes : VISE_PICKLE_BYTES_MAX;
    for (size_t length = HEAD_BYTES;; length *= 2) {
        void *head;
        vise_error trial = {0};
        length = length < most ? length : (size_t)most;
        VISE_TRY(vise_alloc(length, &head, err));
        vise_status status = input->read_at(input->context, 0, head, length, &trial);
        legacy l = {.input = input, .arena = arena, .err = &trial, .head = head, .length = length};
        if (status == VISE_OK)
            status = parse(&l, torch);
        vise_free(head);
        if (status == VISE_OK)
            return VISE_OK;
        if (!l.ran_out || length == most)
            return VISE_FAIL(err, status, "%s", trial.message);
    }
}
