/* A Hugging Face folder: which files are weights, what the index says, config.json, and what else is carried
 * along. */
#include <stdlib.h>
#include <string.h>

#include "core/event.h"
#include "core/file.h"
#include "core/json.h"
#include "formats/names.h"
#include "formats/safetensors.h"
#include "formats/source_internal.h"

#define TORCH_INDEX_NAME "pytorch_model.bin.index.json"

#define CONFIG_MAX ((size_t)16 << 20)
#define INDEX_MAX  ((size_t)256 << 20)

/* A JSON object from a file of the folder; text may be NULL, otherwise the caller frees it. */
static vise_status load_object(const char *path, size_t max, char **text, cJSON **out, vise_error *err)
{
    vise_status status = VISE_OK;
    char *bytes = NULL;
    size_t length;
    *out = NULL;
    VISE_TRY(vise_file_read_all(path, max, &bytes, &length, err));
    if (vise_starts_with(bytes, "version https://git-lfs"))
        VISE_TRY_TO(
            done,
            VISE_FAIL(err, VISE_EFORMAT,
                      "%s: this is a Git LFS pointer, not the file itself; fetch it with \"git lfs pull\" "
                      "or download it again",
                      path));
    VISE_TRY_TO(done, vise_json_parse(path, bytes, length, out, err));
    if (!cJSON_IsObject(*out)) {
        cJSON_Delete(*out);
        *out = NULL;
        VISE_TRY_TO(done, VISE_FAIL(err, VISE_EFORMAT, "%s: is not a JSON object", path));
    }
    if (text) {
        *text = bytes;
        bytes = NULL;
    }
done:
    vise_free(bytes);
    return status;
}

static vise_status join(vise_source *source, const char *name, const char **path, vise_error *err)
{
    size_t n = strlen(source->path);
    const char *slash = n > 0 && source->path[n - 1] == '/' ? "" : "/";
    return vise_arena_strfmt(source->arena, path, err, "%s%s%s", source->path, slash, name);
}

static bool has_name(char **names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* ---- the index -------------------------------------------------------------------------------- */

typedef struct mapped {
    const char *tensor, *shard;
} mapped;

static int by_shard(const void *a, const void *b)
{
    return strcmp(((const mapped *)a)->shard, ((const mapped *)b)->shard);
}

/* The entries of weight_map, sorted by shard; every shard's name must stay in the folder. */
static vise_status read_weight_map(const char *path, const cJSON *index, mapped **out, size_t *count,
                                   vise_error *err)
{
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(index, "weight_map");
    if (!cJSON_IsObject(map))
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: \"weight_map\", an object of tensor names and shards, is missing", path);
    size_t n = 0;
    void *block;
    const cJSON *entry;
    cJSON_ArrayForEach(entry, map) n++;
    VISE_TRY(vise_calloc(n, sizeof(mapped), &block, err));
    mapped *entries = block;
    n = 0;
    cJSON_ArrayForEach(entry, map)
    {
        char show[VISE_ST_SHOW_MAX], show_shard[VISE_ST_SHOW_MAX];
        vise_status status = VISE_OK;
        if (!cJSON_IsString(entry))
            status = VISE_FAIL(err, VISE_EFORMAT, "%s: weight_map \"%s\" is not the name of a shard", path,
                               vise_st_show(entry->string, show));
        else if (!vise_name_is_plain(entry->valuestring))
            status = VISE_FAIL(err, VISE_EFORMAT,
                               "%s: weight_map \"%s\" names \"%s\", which is no file of this folder; "
                               "shards must lie beside the index",
                               path, vise_st_show(entry->string, show),
                               vise_st_show(entry->valuestring, show_shard));
        if (status != VISE_OK) {
            vise_free(block);
            return status;
        }
        entries[n++] = (mapped){entry->string, entry->valuestring};
    }
    if (n > 0)
        qsort(entries, n, sizeof *entries, by_shard);
    *out = entries;
    *count = n;
    return VISE_OK;
}

static bool is_tied(const vise_source *source, const char *name)
{
    for (size_t i = 0; i < source->n_tied; i++)
        if (strcmp(source->tied[i], name) == 0)
            return true;
    return false;
}

/* Every tensor of the index must be in the shard it says. Tensors that only the shards know are taken, with a
 * warning: loaders read them, too. */
static vise_status check_weight_map(const vise_source *source, const char *path, const mapped *entries,
                                    size_t count, vise_error *err)
{
    char show[VISE_ST_SHOW_MAX];
    for (size_t i = 0; i < count; i++) {
        size_t found = vise_source_find(source, entries[i].tensor);
        const char *shard = found == SIZE_MAX ? NULL : source->shards[source->tensors[found].file].view.name;
        if (!shard && is_tied(source, entries[i].tensor))
            continue;
        if (!shard)
            return VISE_FAIL(
                err, VISE_EFORMAT,
                "%s: tensor \"%s\" should be in %s, but is in no shard; index and shards are not of one "
                "download, repeat it",
                path, vise_st_show(entries[i].tensor, show), entries[i].shard);
        if (strcmp(shard, entries[i].shard) != 0)
            return VISE_FAIL(
                err, VISE_EFORMAT,
                "%s: tensor \"%s\" should be in %s, but is in %s; index and shards are not of one download, "
                "repeat it",
                path, vise_st_show(entries[i].tensor, show), entries[i].shard, shard);
    }
    if (source->n_tensors > count)
        vise_warn(
            "%s: %zu of %zu tensors of the shards are not in the index; they are taken as part of the model",
            path, source->n_tensors - count, source->n_tensors);
    return VISE_OK;
}

typedef vise_status add_file(vise_source *source, const char *name, const char *path, vise_error *err);

static vise_status open_index(vise_source *source, const char *index_name, add_file *add, char **names,
                              size_t n_names, vise_error *err)
{
    vise_status status = VISE_OK;
    const char *path, *shard_path;
    cJSON *index = NULL;
    mapped *entries = NULL;
    size_t count = 0;
    VISE_TRY(join(source, index_name, &path, err));
    VISE_TRY(load_object(path, INDEX_MAX, NULL, &index, err));
    VISE_TRY_TO(done, read_weight_map(path, index, &entries, &count, err));
    for (size_t i = 0; i < count; i++) {
        const char *shard = entries[i].shard;
        if (i > 0 && strcmp(shard, entries[i - 1].shard) == 0)
            continue;
        if (!has_name(names, n_names, shard))
            VISE_TRY_TO(done, VISE_FAIL(err, VISE_EFORMAT,
                                        "%s: shard %s is missing in the folder; download it", path, shard));
        VISE_TRY_TO(done, join(source, shard, &shard_path, err));
        VISE_TRY_TO(done, add(source, shard, shard_path, err));
    }
    VISE_TRY_TO(done, vise_source_sort_names(source, err));
    VISE_TRY_TO(done, check_weight_map(source, path, entries, count, err));
done:
    vise_free(entries);
    cJSON_Delete(index);
    return status;
}

/* ---- the folder ------------------------------------------------------------------------------- */

/* What stays behind when a model is carried over: weights of any kind, indexes, reports, journals, hidden
 * files. config.json is carried, too, but edited, so it is none of the side files; quantize_config.json is the
 * layout's. */
static bool is_side_file(const char *name)
{
    static const char *const ends[] = {".safetensors", ".bin", ".pt",      ".pth",  ".ckpt",      ".gguf",
                                       ".h5",          ".ot",  ".msgpack", ".onnx", ".index.json"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (vise_ends_with(name, ends[i]))
            return false;
    return name[0] != '.' && !vise_starts_with(name, "report.") && strcmp(name, "config.json") != 0 &&
           strcmp(name, "quantize_config.json") != 0 && strcmp(name, VISE_JOURNAL_NAME) != 0;
}

static vise_status add_side_file(vise_source *source, const char *name, vise_error *err)
{
    void *grown = source->side_files;
    VISE_TRY(
        vise_grow(&grown, &source->side_capacity, source->n_side_files + 1, sizeof *source->side_files, err));
    source->side_files = grown;
    VISE_TRY(
        vise_arena_strdup(source->arena, name, strlen(name), &source->side_files[source->n_side_files], err));
    source->n_side_files++;
    return VISE_OK;
}

static vise_status collect_side_files(vise_source *source, char **names, size_t count, vise_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (is_side_file(names[i]))
            VISE_TRY(add_side_file(source, names[i], err));
    /* How a sentence encoder pools. */
    static const char pooling[] = "1_Pooling/config.json";
    const char *path;
    VISE_TRY(join(source, pooling, &path, err));
    return vise_path_exists(path) ? add_side_file(source, pooling, err) : VISE_OK;
}

static vise_status open_one(vise_source *source, const char *name, add_file *add, vise_error *err)
{
    const char *path;
    VISE_TRY(join(source, name, &path, err));
    return add(source, name, path, err);
}

static vise_status open_gguf(vise_source *source, const char *name, vise_error *err)
{
    const char *path;
    VISE_TRY(join(source, name, &path, err));
    return vise_source_open_gguf(source, path, err);
}

/* Checkpoints that training leaves beside a model. */
static bool is_of_training(const char *name)
{
    static const char *const begins[] = {"training_args", "optimizer", "scheduler",
                                         "scaler",        "rng_state", "random_states"};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (vise_starts_with(name, begins[i]))
            return true;
    return false;
}

static vise_status several(const vise_source *source, size_t n, const char *kind, const char *index,
                           vise_error *err)
{
    return VISE_FAIL(err, VISE_EFORMAT,
                     "%s: %zu %s files but no %s says how they belong together; download it", source->path, n,
                     kind, index);
}

/* A file of weights by any name: safetensors, then GGUF, then torch. */
static vise_status open_unnamed(vise_source *source, char **names, size_t count, vise_error *err)
{
    const char *found = NULL, *torch = NULL, *gguf = NULL;
    size_t n = 0, n_torch = 0;
    for (size_t i = 0; i < count; i++) {
        if (vise_ends_with(names[i], ".safetensors")) {
            found = names[i];
            n++;
        } else if (vise_ends_with(names[i], ".gguf")) {
            gguf = gguf ? gguf : names[i]; /* the first: names are sorted, and shards are numbered */
        } else if (vise_source_is_torch_name(names[i]) && !is_of_training(names[i])) {
            torch = names[i];
            n_torch++;
        }
    }
    if (n == 1)
        return open_one(source, found, vise_source_add_shard, err);
    if (n > 1)
        return several(source, n, ".safetensors", VISE_INDEX_NAME, err);
    if (gguf)
        return open_gguf(source, gguf, err);
    if (n_torch == 1)
        return open_one(source, torch, vise_source_add_torch, err);
    if (n_torch > 1)
        return several(source, n_torch, ".bin, .pt or .pth", TORCH_INDEX_NAME, err);
    return VISE_FAIL(err, VISE_EFORMAT, "%s: no weights: neither model.safetensors nor %s is there",
                     source->path, VISE_INDEX_NAME);
}

/* Loaders prefer the single file to the index and safetensors to the rest, and so does this. */
static vise_status open_weights(vise_source *source, char **names, size_t count, vise_error *err)
{
    static const struct {
        const char *single, *index; /* NULL: none */
        add_file *add;
    } kinds[] = {
        {"model.safetensors", VISE_INDEX_NAME, vise_source_add_shard},
        {"model.vise.safetensors", VISE_INDEX_NAME, vise_source_add_shard},
        {NULL, VISE_INDEX_NAME, vise_source_add_shard},
        {"pytorch_model.bin", TORCH_INDEX_NAME, vise_source_add_torch},
        {NULL, TORCH_INDEX_NAME, vise_source_add_torch},
    };
    bool safetensors = false;
    for (size_t i = 0; i < count; i++)
        safetensors = safetensors || vise_ends_with(names[i], ".safetensors");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const bool index = has_name(names, count, kinds[i].index);
        if ((safetensors && kinds[i].add == vise_source_add_torch) ||
            !(kinds[i].single ? has_name(names, count, kinds[i].single) : index))
            continue;
        if (kinds[i].single && index)
            vise_warn("%s: has both %s and %s; the index is ignored", source->path, kinds[i].single,
                      kinds[i].index);
        return kinds[i].single ? open_one(source, kinds[i].single, kinds[i].add, err)
                               : open_index(source, kinds[i].index, kinds[i].add, names, count, err);
    }
    return open_unnamed(source, names, count, err);
}

vise_status vise_source_open_folder(vise_source *source, vise_error *err)
{
    vise_status status = VISE_OK;
    char **names;
    size_t count;
    VISE_TRY(vise_folder_list(source->path, &names, &count, err));
    if (has_name(names, count, "config.json")) {
        VISE_TRY_TO(done, join(source, "config.json", &source->config_path, err));
        VISE_TRY_TO(done,
                    load_object(source->config_path, CONFIG_MAX, &source->config_text, &source->config, err));
    }
    VISE_TRY_TO(done, open_weights(source, names, count, err));
    VISE_TRY_TO(done, collect_side_files(source, names, count, err));
done:
    for (size_t i = 0; i < count; i++)
        vise_free(names[i]);
    vise_free(names);
    return status;
}
