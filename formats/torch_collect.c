/* From a pickle to the tensors of a model: which part is taken, where each tensor lies, whether it can. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/json_scan.h"
#include "formats/names.h"
#include "formats/torch_internal.h"

#define LEVELS_MAX  4 /* of checkpoints in checkpoints */
#define NAMES_SHOWN 6
#define NAME_MAX    4096
#define TEXT_MAX    2048

typedef struct collector {
    const vise_st_input *input;
    const vise_pickle *pickle;
    const vise_torch_storages *storages;
    vise_arena *arena;
    vise_torch *torch;
    vise_error *err;
    vise_buf part, left_out;
    size_t n_left_out;
} collector;

/* ---- the part ------------------------------------------------------------------------------------------ */

/* What people call the model within a checkpoint. */
static const char *const parts[] = {"state_dict", "model_state_dict", "model",   "module",
                                    "net",        "network",          "weights", "params"};

static bool is_dict(const collector *c, uint32_t value)
{
    return value != VISE_PICKLE_NONE && vise_pickle_is(c->pickle, value, VISE_PICKLE_DICT);
}

static uint32_t first_entry(const collector *c, uint32_t dict)
{
    return vise_pickle_at(c->pickle, dict)->ends[0];
}

static bool has_tensors(const collector *c, uint32_t dict)
{
    for (uint32_t i = first_entry(c, dict); i != VISE_PICKLE_NONE; i = c->pickle->entries[i].next)
        if (vise_pickle_is(c->pickle, c->pickle->entries[i].value, VISE_PICKLE_TENSOR))
            return true;
    return false;
}

/* A member that is a model, or a checkpoint with one. */
static const char *find_part(const collector *c, uint32_t dict, int levels)
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const uint32_t member = vise_pickle_get(c->pickle, dict, parts[i]);
        if (is_dict(c, member) &&
            (has_tensors(c, member) || (levels > 1 && find_part(c, member, levels - 1) != NULL)))
            return parts[i];
    }
    return NULL;
}

static void add_name(collector *c, vise_buf *buf, size_t *n, uint32_t key)
{
    const vise_pickle_value *text = vise_pickle_at(c->pickle, key);
    char name[VISE_ST_SHOW_MAX], shown[VISE_ST_SHOW_MAX];
    if (text->kind != VISE_PICKLE_TEXT || (*n)++ >= NAMES_SHOWN)
        return;
    const size_t length = text->n < 60 ? text->n : 60;
    memcpy(name, c->pickle->bytes + text->at, length);
    name[length] = '\0';
    vise_buf_addf(buf, "%s\"%s\"", *n > 1 ? ", " : "", vise_st_show(name, shown));
}

static void end_names(vise_buf *buf, size_t n)
{
    if (n > NAMES_SHOWN)
        vise_buf_addf(buf, " and %zu more", n - NAMES_SHOWN);
}

/* Members that hold values and are not taken; numbers and texts of a training run are not worth a word. */
static void leave_out(collector *c, uint32_t dict, const char *part)
{
    for (uint32_t i = first_entry(c, dict); i != VISE_PICKLE_NONE; i = c->pickle->entries[i].next) {
        const vise_pickle_entry *entry = &c->pickle->entries[i];
        const vise_pickle_kind kind = vise_pickle_at(c->pickle, entry->value)->kind;
        const bool filled = (kind == VISE_PICKLE_DICT || kind == VISE_PICKLE_LIST) &&
                            first_entry(c, entry->value) != VISE_PICKLE_NONE;
        const bool taken = part != NULL ? vise_pickle_is_text(c->pickle, entry->key, part) : false;
        if (!taken && (filled || kind == VISE_PICKLE_STORAGE || (part != NULL && kind == VISE_PICKLE_TENSOR)))
            add_name(c, &c->left_out, &c->n_left_out, entry->key);
    }
}

static vise_status no_model(collector *c, uint32_t dict)
{
    vise_buf names;
    size_t n = 0;
    vise_buf_init(&names, TEXT_MAX);
    for (uint32_t i = first_entry(c, dict); i != VISE_PICKLE_NONE; i = c->pickle->entries[i].next)
        add_name(c, &names, &n, c->pickle->entries[i].key);
    end_names(&names, n);
    vise_status status = VISE_FAIL(c->err, VISE_EFORMAT,
                                   "%s: has no tensors by name, nor a member \"state_dict\", \"model\" or "
                                   "the like that has; its members "
                                   "are %s; save the model's state_dict() alone",
                                   c->input->path, n > 0 && names.data != NULL ? names.data : "none");
    vise_buf_deinit(&names);
    return status;
}

static vise_status choose_part(collector *c, uint32_t *chosen)
{
    uint32_t dict = c->pickle->root;
    if (!is_dict(c, dict))
        return VISE_FAIL(c->err, VISE_EFORMAT,
                         "%s: holds %s and no dict of tensors; save the model's state_dict()", c->input->path,
                         vise_pickle_is(c->pickle, dict, VISE_PICKLE_TENSOR) ? "a single tensor"
                                                                             : "a single value");
    for (int level = 0; level < LEVELS_MAX; level++) {
        const char *part = find_part(c, dict, LEVELS_MAX - level);
        leave_out(c, dict, part);
        if (part == NULL)
            break;
        if (c->part.length > 0)
            vise_buf_add_char(&c->part, '.');
        vise_buf_add_text(&c->part, part);
        dict = vise_pickle_get(c->pickle, dict, part);
    }
    end_names(&c->left_out, c->n_left_out);
    VISE_TRY(vise_buf_check(&c->part, c->input->path, c->err));
    VISE_TRY(vise_buf_check(&c->left_out, c->input->path, c->err));
    *chosen = dict;
    return has_tensors(c, dict) ? VISE_OK : no_model(c, dict);
}

/* ---- tensors ------------------------------------------------------------------------------------------- */

static vise_status bad_tensor(const collector *c, vise_status status, const char *name, const char *what)
{
    char show[VISE_ST_SHOW_MAX];
    return VISE_FAIL(c->err, status, "%s: tensor \"%s\" %s", c->input->path, vise_st_show(name, show), what);
}

static vise_status copy_text(const collector *c, uint32_t value, const char **text)
{
    const vise_pickle_value *v = vise_pickle_at(c->pickle, value);
    const char *bytes = (const char *)c->pickle->bytes + v->at;
    for (size_t at = 0, n; at < v->n; at += n) {
        n = bytes[at] == '\0' ? 0 : vise_utf8_length(bytes + at, v->n - at);
        if (n == 0)
            return VISE_FAIL(c->err, VISE_EFORMAT, "%s: the name of a tensor or storage is no UTF-8 text",
                             c->input->path);
    }
    if (v->n == 0 || v->n > NAME_MAX)
        return VISE_FAIL(c->err, VISE_EFORMAT,
                         "%s: the name of a tensor or storage has %" PRIu32 " bytes, not 1 to %d",
                         c->input->path, v->n, NAME_MAX);
    return vise_arena_strdup(c->arena, bytes, v->n, text, c->err);
}

/* Elements, strides, whether they lie in order, and the last element's place; false when a number overflows. */
static bool measure(vise_torch_tensor *tensor, uint64_t *last)
{
    vise_torch_view *view = &tensor->view;
    uint64_t run = 1; /* the stride that a dimension has when elements lie in order */
    tensor->elements = 1;
    *last = 0;
    for (int d = view->ndim - 1; d >= 0; d--) {
        const uint64_t extent = (uint64_t)view->shape[d];
        uint64_t reach;
        if (__builtin_mul_overflow(tensor->elements, extent, &tensor->elements))
            return false;
        if (extent < 2)
            continue;
        if ((uint64_t)view->strides[d] != run)
            tensor->apart = true;
        if (__builtin_mul_overflow(extent - 1, (uint64_t)view->strides[d], &reach) ||
            __builtin_add_overflow(*last, reach, last) || __builtin_mul_overflow(run, extent, &run))
            return false;
    }
    return !__builtin_mul_overflow(tensor->elements, (uint64_t)view->size, &tensor->bytes);
}

/* Where the tensor lies in its storage, which lies in the file. */
static vise_status place(const collector *c, const vise_pickle_tensor *from, vise_torch_tensor *tensor)
{
    const vise_pickle_storage *storage = &c->pickle->storages[from->storage];
    const char *key;
    uint64_t start = 0, stored = 0, bytes, first, extent, last, end;
    VISE_TRY(copy_text(c, storage->key, &key));
    VISE_TRY(c->storages->find(c->storages->context, key, &start, &stored, c->err));
    if (!vise_torch_storage_bytes(storage, storage->count, &bytes) || stored < bytes ||
        stored - bytes >= storage->type->bytes)
        return VISE_FAIL(c->err, VISE_EFORMAT,
                         "%s: storage \"%s\" has %" PRIu64 " bytes in the file, the pickle says %" PRIu64
                         " elements of %" PRIu32 "; the file is damaged, download or copy it again",
                         c->input->path, key, stored, storage->count, storage->type->bytes);
    if (!measure(tensor, &last))
        return bad_tensor(c, VISE_EFORMAT, tensor->name, "has a shape that overflows");
    tensor->offset = start;
    if (tensor->elements == 0) {
        tensor->apart = false;
        return VISE_OK;
    }
    /* Products of counts within the storage, whose bytes fit. */
    first = storage->first * storage->type->bytes;
    extent = storage->extent * storage->type->bytes / tensor->view.size;
    if (__builtin_add_overflow(last, (uint64_t)from->offset, &end) || end >= extent)
        return bad_tensor(c, VISE_EFORMAT, tensor->name, "reaches beyond its storage; the file is damaged");
    tensor->offset = start + first + (uint64_t)from->offset * tensor->view.size;
    tensor->view.start = tensor->offset;
    tensor->span = (last + 1) * tensor->view.size;
    if (tensor->bytes > tensor->span && tensor->bytes > c->input->bytes)
        return bad_tensor(c, VISE_EUNSUPPORTED, tensor->name,
                          "repeats its elements to more than the file has; save a smaller view of it");
    return VISE_OK;
}

static vise_status add_tensor(collector *c, uint32_t key, uint32_t value)
{
    vise_torch_tensor *tensor = &c->torch->tensors[c->torch->n];
    const vise_pickle_tensor *from = &c->pickle->tensors[vise_pickle_at(c->pickle, value)->n];
    if (!vise_pickle_is(c->pickle, key, VISE_PICKLE_TEXT))
        return VISE_FAIL(c->err, VISE_EFORMAT,
                         "%s: a tensor has a key that is no text; save the model's state_dict() alone",
                         c->input->path);
    VISE_TRY(copy_text(c, key, &tensor->name));
    if (from->type->dtype == VISE_DTYPE_COUNT)
        return VISE_FAIL(c->err, VISE_EUNSUPPORTED,
                         "%s: tensor \"%s\" is of %s.%s, which no safetensors file holds", c->input->path,
                         tensor->name, from->type->module, from->type->name);
    const uint32_t ndim = vise_pickle_at(c->pickle, from->shape)->n;
    if (ndim > VISE_DIMS_MAX)
        return VISE_FAIL(c->err, VISE_EUNSUPPORTED,
                         "%s: tensor \"%s\" has %" PRIu32 " dimensions, at most %d are "
                         "supported",
                         c->input->path, tensor->name, ndim, VISE_DIMS_MAX);
    tensor->dtype = from->type->dtype;
    tensor->view.size = from->type->bytes;
    tensor->view.ndim = (int)ndim;
    for (uint32_t d = 0; d < ndim; d++) {
        tensor->view.shape[d] =
            vise_pickle_at(c->pickle, vise_pickle_item(c->pickle, from->shape, d))->number;
        tensor->view.strides[d] =
            vise_pickle_at(c->pickle, vise_pickle_item(c->pickle, from->strides, d))->number;
    }
    VISE_TRY(place(c, from, tensor));
    c->torch->n++;
    return VISE_OK;
}

/* ---- names --------------------------------------------------------------------------------------------- */

/* What wrappers put before every name. */
static void strip_prefixes(vise_torch *torch)
{
    static const char *const prefixes[] = {"module.", "_orig_mod."};
    for (size_t i = 0; i < 2 * sizeof prefixes / sizeof *prefixes; i++) { /* either may be within the other */
        const char *prefix = prefixes[i % (sizeof prefixes / sizeof *prefixes)];
        bool all = torch->n > 0;
        for (size_t k = 0; k < torch->n && all; k++)
            all = vise_starts_with(torch->tensors[k].name, prefix) &&
                  torch->tensors[k].name[strlen(prefix)] != '\0';
        for (size_t k = 0; k < torch->n && all; k++)
            torch->tensors[k].name += strlen(prefix);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const vise_torch_tensor *)a)->name, ((const vise_torch_tensor *)b)->name);
}

static int by_offset(const void *a, const void *b)
{
    const vise_torch_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return by_name(a, b);
}

static vise_status collect(collector *c)
{
    void *block;
    uint32_t dict = 0;
    size_t n = 0;
    VISE_TRY(choose_part(c, &dict));
    for (uint32_t i = first_entry(c, dict); i != VISE_PICKLE_NONE; i = c->pickle->entries[i].next)
        n += vise_pickle_is(c->pickle, c->pickle->entries[i].value, VISE_PICKLE_TENSOR);
    VISE_TRY(vise_arena_take(c->arena, n * sizeof *c->torch->tensors, &block, c->err));
    c->torch->tensors = block;
    for (uint32_t i = first_entry(c, dict); i != VISE_PICKLE_NONE; i = c->pickle->entries[i].next)
        if (vise_pickle_is(c->pickle, c->pickle->entries[i].value, VISE_PICKLE_TENSOR))
            VISE_TRY(add_tensor(c, c->pickle->entries[i].key, c->pickle->entries[i].value));
    strip_prefixes(c->torch);
    qsort(c->torch->tensors, n, sizeof *c->torch->tensors, by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(c->torch->tensors[i].name, c->torch->tensors[i - 1].name) == 0)
            return bad_tensor(c, VISE_EFORMAT, c->torch->tensors[i].name, "is given twice");
    qsort(c->torch->tensors, n, sizeof *c->torch->tensors, by_offset);
    if (c->part.length > 0)
        VISE_TRY(vise_arena_strdup(c->arena, c->part.data, c->part.length, &c->torch->part, c->err));
    if (c->left_out.length > 0)
        VISE_TRY(
            vise_arena_strdup(c->arena, c->left_out.data, c->left_out.length, &c->torch->left_out, c->err));
    return VISE_OK;
}

vise_status vise_torch_collect(const vise_st_input *input, const vise_pickle *pickle,
                               const vise_torch_storages *storages, vise_arena *arena, vise_torch *torch,
                               vise_error *err)
{
    collector c = {input, pickle, storages, arena, torch, err, .n_left_out = 0};
    vise_buf_init(&c.part, TEXT_MAX);
    vise_buf_init(&c.left_out, TEXT_MAX);
    vise_status status = collect(&c);
    vise_buf_deinit(&c.part);
    vise_buf_deinit(&c.left_out);
    return status;
}

bool vise_torch_same(const vise_torch_tensor *a, const vise_torch_tensor *b)
{
    if (a->elements == 0 || a->dtype != b->dtype || a->offset != b->offset || a->view.ndim != b->view.ndim)
        return false;
    for (int d = 0; d < a->view.ndim; d++)
        if (a->view.shape[d] != b->view.shape[d] ||
            (a->view.shape[d] > 1 && a->view.strides[d] != b->view.strides[d]))
            return false;
    return true;
}
