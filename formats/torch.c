#include "formats/torch.h"

#include <inttypes.h>
#include <string.h>

#include "formats/torch_internal.h"
#include "formats/zip.h"

static const char pickle_end[] = "/data.pkl";

typedef struct archive {
    const vise_st_input *input;
    const char *prefix; /* the folder's name, without a slash */
    vise_zip zip;
    vise_arena *arena;
} archive;

static vise_status find_storage(const void *context, const char *key, uint64_t *offset, uint64_t *bytes,
                                vise_error *err)
{
    const archive *a = context;
    const char *name;
    VISE_TRY(vise_arena_strfmt(a->arena, &name, err, "%s/data/%s", a->prefix, key));
    const vise_zip_entry *entry = vise_zip_find(&a->zip, name);
    char show[VISE_ST_SHOW_MAX];
    if (entry == NULL)
        return VISE_FAIL(
            err, VISE_EFORMAT,
            "%s: storage \"%s\" is missing in the archive; the file is damaged, download or copy it again",
            a->input->path, vise_st_show(key, show));
    *offset = entry->offset;
    *bytes = entry->bytes;
    return VISE_OK;
}

/* The one entry NAME/data.pkl; NAME becomes the prefix. */
static vise_status find_pickle(archive *a, const vise_zip_entry **found, vise_error *err)
{
    *found = NULL;
    for (size_t i = 0; i < a->zip.n; i++) {
        const vise_zip_entry *entry = &a->zip.entries[i];
        const char *slash = strchr(entry->name, '/');
        if (slash == NULL || strcmp(slash, pickle_end) != 0)
            continue;
        if (*found != NULL)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: holds two checkpoints, %s and %s", a->input->path,
                             (*found)->name, entry->name);
        *found = entry;
        VISE_TRY(vise_arena_strdup(a->arena, entry->name, (size_t)(slash - entry->name), &a->prefix, err));
    }
    if (*found == NULL)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: is a zip archive, but no checkpoint of torch.save: it has no NAME/data.pkl",
                         a->input->path);
    return VISE_OK;
}

static vise_status find_in(const archive *a, const char *rest, const vise_zip_entry **found, vise_error *err)
{
    const char *name;
    VISE_TRY(vise_arena_strfmt(a->arena, &name, err, "%s/%s", a->prefix, rest));
    *found = vise_zip_find(&a->zip, name);
    return VISE_OK;
}

static vise_status check_kind(const archive *a, vise_error *err)
{
    const vise_zip_entry *entry;
    char *order = NULL;
    VISE_TRY(find_in(a, "constants.pkl", &entry, err));
    if (entry != NULL)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s: is a TorchScript archive, a program and not a checkpoint; save the model's state_dict()",
            a->input->path);
    VISE_TRY(find_in(a, "byteorder", &entry, err));
    if (entry == NULL)
        return VISE_OK;
    VISE_TRY(vise_zip_read(a->input, entry, 64, &order, err));
    const bool little = strcmp(order, "little") == 0;
    vise_free(order);
    if (!little)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s: was not written by a little-endian machine; load it with torch and save it again on one",
            a->input->path);
    return VISE_OK;
}

static void hash_archive(const archive *a, const vise_pickle *pickle, vise_torch *torch)
{
    vise_sha256 hash;
    vise_sha256_init(&hash);
    vise_sha256_add(&hash, pickle->bytes, pickle->length);
    for (size_t i = 0; i < a->zip.n; i++) {
        const vise_zip_entry *entry = &a->zip.entries[i];
        const uint64_t numbers[3] = {entry->offset, entry->bytes, entry->crc};
        vise_sha256_add(&hash, entry->name, strlen(entry->name) + 1);
        vise_sha256_add(&hash, numbers, sizeof numbers);
    }
    vise_sha256_hex(&hash, torch->sha256);
}

static vise_status parse_archive(const vise_st_input *input, vise_arena *arena, vise_torch *torch,
                                 vise_error *err)
{
    archive a = {.input = input, .arena = arena};
    const vise_zip_entry *entry;
    char *bytes = NULL;
    vise_pickle pickle = {0};
    vise_status status = VISE_OK;
    VISE_TRY(vise_zip_parse(input, arena, &a.zip, err));
    VISE_TRY(find_pickle(&a, &entry, err));
    VISE_TRY(check_kind(&a, err));
    VISE_TRY(vise_zip_check_stored(input, &a.zip, err));
    VISE_TRY(vise_zip_read(input, entry, VISE_PICKLE_BYTES_MAX, &bytes, err));
    VISE_TRY_TO(done, vise_pickle_read(input->path, bytes, (size_t)entry->bytes, &pickle, err));
    const vise_torch_storages storages = {find_storage, &a};
    VISE_TRY_TO(done, vise_torch_collect(input, &pickle, &storages, arena, torch, err));
    hash_archive(&a, &pickle, torch);
done:
    vise_pickle_deinit(&pickle);
    vise_free(bytes);
    return status;
}

vise_status vise_torch_parse(const vise_st_input *input, vise_arena *arena, vise_torch *torch,
                             vise_error *err)
{
    static const char lfs[] = "version https://git-lfs";
    uint8_t start[32] = {0};
    const size_t n = input->bytes < sizeof start ? (size_t)input->bytes : sizeof start;
    memset(torch, 0, sizeof *torch);
    if (n > 0)
        VISE_TRY(input->read_at(input->context, 0, start, n, err));
    if (memcmp(start, "PK\003\004", 4) == 0)
        return parse_archive(input, arena, torch, err);
    if (start[0] == 0x80 && start[1] >= 2 && start[1] <= 5)
        return vise_torch_parse_legacy(input, arena, torch, err);
    if (memcmp(start, lfs, sizeof lfs - 1) == 0)
        return VISE_FAIL(
            err, VISE_EFORMAT,
            "%s: this is a Git LFS pointer, not the file itself; fetch it with \"git lfs pull\" or "
            "download it again",
            input->path);
    return VISE_FAIL(
        err, VISE_EFORMAT,
        "%s: is no checkpoint of torch.save: neither a zip archive nor a pickle; formats of other "
        "programs that end in .bin or .pt are not read",
        input->path);
}
