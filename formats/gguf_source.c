/* A GGUF file, or several shards of one, as a source. Families that are known here are shown as
 * transformers would have them: names, order of rows, config.json; others as they are, without a
 * configuration. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "core/json.h"
#include "formats/gguf.h"
#include "formats/gguf_config.h"
#include "formats/gguf_names.h"
#include "formats/source_internal.h"
#include "formats/torch.h"

#define SHARDS_MAX  65535
#define EXPERTS_MAX 65536 /* of a layer; a stack of more is shown as it is */
#define KEY_BYTES   96

/* What tensors need to know of the whole. */
typedef struct whole {
    const vise_gguf_family *family; /* NULL: unknown */
    const char *architecture;
    int64_t heads, kv_heads;
} whole;

static const char *key_of(const whole *w, const char *rest, char key[KEY_BYTES])
{
    snprintf(key, KEY_BYTES, "%.48s.%s", w->architecture, rest);
    return key;
}

static vise_status make_config(vise_source *source, const vise_gguf *gguf, const whole *w, vise_error *err)
{
    vise_buf text;
    vise_buf_init(&text, 1 << 16);
    source->config_path = source->path;
    vise_status status = vise_gguf_write_config(gguf, w->family, &text, err);
    if (status == VISE_OK)
        status = vise_json_parse(source->path, text.data, text.length, &source->config, err);
    if (status == VISE_OK)
        status = vise_strdup(text.data, &source->config_text, err);
    vise_buf_deinit(&text);
    return status;
}

/* ---- tensors ------------------------------------------------------------------------------------------- */

static vise_gguf_order order_of(const whole *w, const vise_gguf_module *module)
{
    switch (module->rows) {
    case VISE_GGUF_ROWS_Q:
        return (vise_gguf_order){.heads = w->heads};
    case VISE_GGUF_ROWS_KV:
        return (vise_gguf_order){.heads = w->kv_heads};
    case VISE_GGUF_ROWS_QKV:
        return (vise_gguf_order){.heads = w->kv_heads, .queries = w->heads / w->kv_heads};
    case VISE_GGUF_ROWS_PLAIN:
        break;
    }
    return (vise_gguf_order){0};
}

/* A matrix of plain elements whose rows are transformers' columns. */
static vise_status transpose(vise_source *source, vise_tensor_info *info, vise_error *err)
{
    void *block;
    VISE_TRY(vise_arena_take(source->arena, sizeof(vise_torch_view), &block, err));
    vise_torch_view *view = block;
    const int64_t rows = info->shape[0], cols = info->shape[1];
    *view = (vise_torch_view){.start = info->offset,
                              .size = (size_t)(info->bytes / info->elements),
                              .ndim = 2,
                              .shape = {cols, rows},
                              .strides = {1, cols}};
    info->shape[0] = cols;
    info->shape[1] = rows;
    info->view = view;
    return VISE_OK;
}

/* What transformers calls it, and how its rows lie. expert -1: none. */
static vise_status as_family(vise_source *source, const whole *w, const char *stored, int expert,
                             vise_tensor_info *info, vise_error *err)
{
    char name[VISE_GGUF_MODULE_MAX];
    const vise_gguf_module *module = w->family ? vise_gguf_name_to_hf(w->family, stored, expert, name) : NULL;
    if (module == NULL)
        return VISE_OK;
    VISE_TRY(vise_arena_strdup(source->arena, name, strlen(name), &info->name, err));
    info->order = order_of(w, module);
    if (info->order.heads > 0 && info->shape[0] % vise_gguf_order_unit(&info->order) != 0)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: tensor \"%s\" has %" PRId64 " rows, no pairs in each of %" PRId64 " heads",
                         source->path, stored, info->shape[0], info->order.heads);
    info->minus_one = (module->how & VISE_GGUF_PLUS_ONE) != 0;
    if (info->minus_one && (info->dtype != VISE_DTYPE_F32 || info->blocks != NULL))
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: tensor \"%s\" is a norm that is not in float32",
                         source->path, stored);
    if ((module->how & VISE_GGUF_TRANSPOSED) != 0 && info->ndim == 2 && info->elements > 0)
        return transpose(source, info, err);
    return VISE_OK;
}

static vise_status add_one(vise_source *source, const vise_gguf_tensor *tensor, const whole *w, int ndim,
                           int64_t experts, int64_t expert, vise_error *err)
{
    VISE_TRY(vise_source_grow(source, err));
    const bool plain = tensor->type->dtype != VISE_DTYPE_COUNT;
    const uint64_t bytes = tensor->bytes / (uint64_t)experts;
    vise_tensor_info info = {
        .name = tensor->name,
        .dtype = plain ? tensor->type->dtype : VISE_DTYPE_U8,
        .ndim = ndim,
        .elements = plain ? tensor->elements / (uint64_t)experts : bytes,
        .bytes = bytes,
        .stored_bytes = bytes,
        .file = (int)source->n_shards - 1,
        .offset = tensor->offset + (uint64_t)(expert > 0 ? expert : 0) * bytes,
        .blocks = plain ? NULL : tensor->type,
    };
    for (int i = 0; i < ndim; i++)
        info.shape[i] = tensor->dims[ndim - 1 - i];
    if (!plain)
        info.shape[ndim - 1] = (int64_t)vise_gguf_row_bytes(tensor->type, tensor->dims[0]);
    VISE_TRY(as_family(source, w, tensor->name, (int)expert, &info, err));
    source->tensors[source->n_tensors++] = info;
    return VISE_OK;
}

/* The matrices of a layer's experts are one tensor here and one each to transformers. */
static vise_status add_tensor(vise_source *source, const vise_gguf_tensor *tensor, const whole *w,
                              vise_error *err)
{
    char name[VISE_GGUF_MODULE_MAX];
    const vise_gguf_module *module =
        w->family ? vise_gguf_name_to_hf(w->family, tensor->name, 0, name) : NULL;
    if (module == NULL || (module->how & VISE_GGUF_STACKED) == 0 || tensor->ndim != 3 ||
        tensor->dims[2] > EXPERTS_MAX)
        return add_one(source, tensor, w, tensor->ndim, 1, -1, err);
    for (int64_t e = 0; e < tensor->dims[2]; e++)
        VISE_TRY(add_one(source, tensor, w, 2, tensor->dims[2], e, err));
    return VISE_OK;
}

/* ---- shards -------------------------------------------------------------------------------------------- */

static vise_status add_file(vise_source *source, const char *path, vise_gguf *gguf, vise_error *err)
{
    vise_shard *shard;
    VISE_TRY(vise_source_new_shard(source, vise_path_base(path), path, &shard, err));
    vise_st_input input = vise_st_input_file(&shard->handle);
    VISE_TRY(vise_gguf_parse(&input, source->arena, gguf, err));
    memcpy(shard->view.header_sha256, gguf->sha256, sizeof shard->view.header_sha256);
    return VISE_OK;
}

static vise_status add_tensors(vise_source *source, const vise_gguf *gguf, const whole *w, vise_error *err)
{
    for (size_t i = 0; i < gguf->n_tensors; i++)
        VISE_TRY(add_tensor(source, &gguf->tensors[i], w, err));
    return VISE_OK;
}

/* How the name of the first of count shards ends. */
#define ENDING_BYTES 32
static size_t ending_of(int64_t count, char ending[ENDING_BYTES])
{
    return (size_t)snprintf(ending, ENDING_BYTES, "-00001-of-%05d.gguf", (int)count);
}

static vise_status check_first(const vise_gguf *gguf, int64_t count, vise_error *err)
{
    char ending[ENDING_BYTES];
    const size_t n = ending_of(count, ending), length = strlen(gguf->path);
    int64_t number = -1;
    VISE_TRY(vise_gguf_get_int(gguf, "split.no", true, 0, SHARDS_MAX, &number, err));
    if (number == 0 && length > n && strcmp(gguf->path + length - n, ending) == 0)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EUSAGE,
                     "%s: is shard %" PRId64 " of %" PRId64 "; give the first, whose name ends in %s",
                     gguf->path, number + 1, count, ending);
}

/* The shards behind the first, named "...-00002-of-00003.gguf" and so on. */
static vise_status add_shards(vise_source *source, const vise_gguf *first, const whole *w, int64_t count,
                              vise_error *err)
{
    char ending[ENDING_BYTES];
    const size_t stem = strlen(first->path) - ending_of(count, ending);
    int64_t number = -1, total = -1;
    size_t found = first->n_tensors;
    VISE_TRY(vise_gguf_get_int(first, "split.tensors.count", false, 0, INT_MAX, &total, err));
    for (int64_t i = 1; i < count; i++) {
        const char *path;
        vise_gguf shard;
        VISE_TRY(vise_arena_strfmt(source->arena, &path, err, "%.*s-%05d-of-%05d.gguf", (int)stem,
                                   first->path, (int)i + 1, (int)count));
        VISE_TRY(add_file(source, path, &shard, err));
        int64_t shards = 0;
        VISE_TRY(vise_gguf_get_int(&shard, "split.no", true, 0, SHARDS_MAX, &number, err));
        VISE_TRY(vise_gguf_get_int(&shard, "split.count", true, 0, SHARDS_MAX, &shards, err));
        if (number != i || shards != count)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: says that it is shard %" PRId64 " of %" PRId64, path,
                             number + 1, shards);
        VISE_TRY(add_tensors(source, &shard, w, err));
        found += shard.n_tensors;
    }
    if (total >= 0 && (uint64_t)total != found)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: the shards hold %zu tensors, not %" PRId64
                         " as they say; one is of another model",
                         first->path, found, total);
    return VISE_OK;
}

vise_status vise_source_open_gguf(vise_source *source, const char *path, vise_error *err)
{
    void *block;
    char key[KEY_BYTES];
    const char *kind = "model", *why = NULL;
    whole w = {0};
    int64_t shards = 1;
    VISE_TRY(vise_arena_take(source->arena, sizeof(vise_gguf), &block, err));
    vise_gguf *gguf = block;
    VISE_TRY(vise_arena_strdup(source->arena, path, strlen(path), &path, err));
    VISE_TRY(add_file(source, path, gguf, err));
    source->gguf = gguf;
    VISE_TRY(vise_gguf_get_text(gguf, "general.type", false, &kind, err));
    if (strcmp(kind, "imatrix") == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: is an importance matrix, not a model; give it to --imatrix",
                         source->path);
    VISE_TRY(vise_gguf_get_int(gguf, "split.count", false, 0, SHARDS_MAX, &shards, err));
    if (shards > 1)
        VISE_TRY(check_first(gguf, shards, err));
    VISE_TRY(vise_gguf_get_text(gguf, "general.architecture", true, &w.architecture, err));
    w.family = vise_gguf_family_of_file(gguf, &why);
    if (why != NULL)
        vise_warn("%s: %s of %s have no place in transformers' configuration here; the tensors keep "
                  "llama.cpp's names",
                  source->path, why, w.architecture);
    if (w.family != NULL && w.family->classifier_name == NULL &&
        vise_gguf_find_tensor(gguf, "cls.output.weight") != NULL)
        vise_warn("%s: its labels stand behind a pooler that the file lacks; it is read as a %s, without them",
                  source->path, w.family->class_name);
    if (w.family != NULL) {
        VISE_TRY(vise_gguf_get_int(gguf, key_of(&w, "attention.head_count", key), true, 1, 1 << 20, &w.heads,
                                   err));
        w.kv_heads = w.heads;
        VISE_TRY(vise_gguf_get_int(gguf, key_of(&w, "attention.head_count_kv", key), false, 1, 1 << 20,
                                   &w.kv_heads, err));
        if (w.heads % w.kv_heads != 0)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: %" PRId64 " heads share %" PRId64 " of keys and values",
                             source->path, w.heads, w.kv_heads);
        if (source->config == NULL)
            VISE_TRY(make_config(source, gguf, &w, err));
    }
    VISE_TRY(add_tensors(source, gguf, &w, err));
    return shards > 1 ? add_shards(source, gguf, &w, shards, err) : VISE_OK;
}
