#include "formats/store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/layout_internal.h"
#include "formats/names.h"
#include "formats/packed.h"
#include "formats/safetensors.h"

#define STEP_BYTES                                                                                           \
    ((uint64_t)256 << 10) /* of a plain tensor at a time: stays in the cache between reading and converting  \
                           */
#define TILE_CODES ((int64_t)1 << 20) /* of a quantized weight at a time */

typedef struct named {
    const char *name;
    size_t index;
} named;

struct vise_store {
    vise_source *source;
    const vise_layout *layout;
    vise_arena *arena;
    vise_logical *tensors;
    size_t n;
    named *by_name;
};

/* ---- open ------------------------------------------------------------------------------------- */

static vise_status choose_layout(vise_store *store, vise_error *err)
{
    size_t count;
    const vise_layout *const *layouts = vise_layouts(&count);
    for (size_t i = 0; i < count && !store->layout; i++)
        if (layouts[i]->recognise(store->source))
            store->layout = layouts[i];
    if (store->layout)
        return VISE_OK;
    const cJSON *method =
        cJSON_GetObjectItemCaseSensitive(vise_quantization_config(store->source), "quant_method");
    return VISE_FAIL(err, VISE_EUNSUPPORTED,
                     "%s: the model is quantized by the method \"%.50s\", which is not supported as input",
                     vise_source_config_path(store->source),
                     cJSON_IsString(method) ? method->valuestring : "(none named)");
}

static vise_status module_of(vise_store *store, const char *name, const char **module, vise_error *err)
{
    static const char suffix[] = ".weight";
    if (!vise_ends_with(name, suffix)) {
        *module = name;
        return VISE_OK;
    }
    return vise_arena_strdup(store->arena, name, strlen(name) - strlen(suffix), module, err);
}

static vise_status plain_entry(vise_store *store, size_t tensor, vise_logical *entry, vise_error *err)
{
    const vise_tensor_info *info = vise_source_tensor(store->source, tensor);
    *entry = (vise_logical){
        .name = info->name,
        .ndim = info->ndim,
        .rows = info->ndim > 1 ? info->shape[0] : 1,
        .elements = info->elements,
        .dtype = info->dtype,
        .stored_bytes = info->bytes,
        .tensor = tensor,
    };
    memcpy(entry->shape, info->shape, sizeof entry->shape);
    entry->cols = entry->rows > 0 ? (int64_t)(info->elements / (uint64_t)entry->rows) : 0;
    return module_of(store, info->name, &entry->module, err);
}

static vise_status quantized_entry(vise_store *store, const vise_found *found, vise_logical *entry,
                                   vise_error *err)
{
    *entry = (vise_logical){
        .module = found->module,
        .ndim = 2,
        .shape = {found->rows, found->cols},
        .rows = found->rows,
        .cols = found->cols,
        .elements = (uint64_t)found->rows * (uint64_t)found->cols,
        .dtype = found->dtype,
        .scheme = found->scheme,
        .tensor = SIZE_MAX,
        .found = found,
    };
    for (int i = 0; i < VISE_PARTS_MAX; i++)
        if (found->parts[i] != SIZE_MAX) {
            entry->stored_bytes += vise_source_tensor(store->source, found->parts[i])->bytes;
            if (found->parts[i] < entry->tensor)
                entry->tensor = found->parts[i];
        }
    return vise_arena_strfmt(store->arena, &entry->name, err, "%s.weight", found->module);
}

static int by_tensor(const void *a, const void *b)
{
    const vise_logical *x = a, *y = b;
    if (x->tensor == y->tensor)
        return x->offset < y->offset ? -1 : x->offset > y->offset;
    return x->tensor < y->tensor ? -1 : 1;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

/* One entry for each found weight and for each tensor that is part of none, in file order. */
static vise_status list_tensors(vise_store *store, vise_error *err)
{
    vise_found *found;
    size_t n_found, n_stored = vise_source_count(store->source);
    void *block;
    VISE_TRY(store->layout->find(store->source, store->arena, &found, &n_found, err));
    VISE_TRY(vise_calloc(n_found + n_stored, sizeof *store->tensors, &block, err));
    store->tensors = block;

    vise_status status = VISE_OK;
    VISE_TRY(vise_calloc(n_stored, sizeof(bool), &block, err));
    bool *used = block;
    for (size_t i = 0; i < n_found; i++) {
        for (int part = 0; part < VISE_PARTS_MAX; part++)
            if (found[i].parts[part] != SIZE_MAX)
                used[found[i].parts[part]] = true;
        VISE_TRY_TO(done, quantized_entry(store, &found[i], &store->tensors[store->n++], err));
    }
    for (size_t i = 0; i < n_stored; i++)
        if (!used[i])
            VISE_TRY_TO(done, plain_entry(store, i, &store->tensors[store->n++], err));
done:
    vise_free(used);
    if (status == VISE_OK && store->n > 0)
        qsort(store->tensors, store->n, sizeof *store->tensors, by_tensor);
    return status;
}

static vise_status sort_names(vise_store *store, vise_error *err)
{
    void *block;
    VISE_TRY(vise_calloc(store->n, sizeof *store->by_name, &block, err));
    vise_free(store->by_name);
    store->by_name = block;
    for (size_t i = 0; i < store->n; i++)
        store->by_name[i] = (named){store->tensors[i].name, i};
    if (store->n > 0)
        qsort(store->by_name, store->n, sizeof *store->by_name, compare_names);
    for (size_t i = 1; i < store->n; i++)
        if (strcmp(store->by_name[i - 1].name, store->by_name[i].name) == 0) {
            char show[VISE_ST_SHOW_MAX];
            return VISE_FAIL(err, VISE_EFORMAT, "%s: the weight \"%s\" is there twice, in two forms",
                             vise_source_path(store->source), vise_st_show(store->by_name[i].name, show));
        }
    return VISE_OK;
}

vise_status vise_store_open(const char *path, vise_store **out, vise_error *err)
{
    void *block;
    vise_status status = VISE_OK;
    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof(vise_store), &block, err));
    vise_store *store = block;
    VISE_TRY_TO(failed, vise_arena_new(&store->arena, err));
    VISE_TRY_TO(failed, vise_source_open(path, &store->source, err));
    VISE_TRY_TO(failed, choose_layout(store, err));
    VISE_TRY_TO(failed, list_tensors(store, err));
    VISE_TRY_TO(failed, sort_names(store, err));
    *out = store;
    return VISE_OK;
failed:
    vise_store_close(store);
    return status;
}

void vise_store_close(vise_store *store)
{
    if (!store)
        return;
    vise_free(store->by_name);
    vise_free(store->tensors);
    vise_source_close(store->source);
    vise_arena_free(store->arena);
    vise_free(store);
}

/* ---- what there is ---------------------------------------------------------------------------- */

const vise_source *vise_store_source(const vise_store *store)
{
    return store->source;
}

const vise_layout *vise_store_layout(const vise_store *store)
{
    return store->layout;
}

size_t vise_store_count(const vise_store *store)
{
    return store->n;
}

const vise_logical *vise_store_tensor(const vise_store *store, size_t index)
{
    return &store->tensors[index];
}

size_t vise_store_find(const vise_store *store, const char *name)
{
    named wanted = {name, 0};
    const named *found =
        store->n == 0 ? NULL : bsearch(&wanted, store->by_name, store->n, sizeof wanted, compare_names);
    return found ? found->index : SIZE_MAX;
}

vise_status vise_store_transpose(vise_store *store, size_t index, vise_error *err)
{
    vise_logical *entry = &store->tensors[index];
    if (entry->found || entry->ndim != 2 || entry->transposed)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: only a plain matrix can be stored transposed; this one is %s",
                         entry->name, entry->found ? "quantized" : "none");
    entry->transposed = true;
    entry->rows = entry->shape[1];
    entry->cols = entry->shape[0];
    return VISE_OK;
}

vise_status vise_store_alias(vise_store *store, size_t index, const char *name, vise_error *err)
{
    vise_logical entry = store->tensors[index];
    if (vise_store_find(store, name) != SIZE_MAX)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: the weight \"%s\" is there already",
                         vise_source_path(store->source), name);
    VISE_TRY(vise_arena_strdup(store->arena, name, strlen(name), &entry.name, err));
    VISE_TRY(module_of(store, entry.name, &entry.module, err));
    VISE_TRY(vise_realloc((void **)&store->tensors, store->n + 1, sizeof *store->tensors, err));
    store->tensors[store->n++] = entry;
    return sort_names(store, err);
}

/* The pieces of one tensor, behind the entries that there are. */
static vise_status add_pieces(vise_store *store, const vise_split *split, vise_error *err)
{
    const vise_logical whole = store->tensors[split->index];
    const int64_t cols = whole.ndim > 0 ? whole.shape[whole.ndim - 1] : 0;
    const uint64_t size = (uint64_t)vise_dtype_of(whole.dtype)->bits / 8;
    uint64_t elements = 0;
    for (size_t i = 0; i < split->pieces; i++) {
        vise_logical *piece = &store->tensors[store->n++];
        const uint64_t n = (uint64_t)split->rows[i] * (uint64_t)cols;
        *piece = (vise_logical){.ndim = 2,
                                .shape = {split->rows[i], cols},
                                .rows = split->rows[i],
                                .cols = cols,
                                .elements = n,
                                .dtype = whole.dtype,
                                .stored_bytes = n * size,
                                .tensor = whole.tensor,
                                .offset = whole.offset + elements * size};
        VISE_TRY(vise_arena_strdup(store->arena, split->names[i], strlen(split->names[i]), &piece->name, err));
        VISE_TRY(module_of(store, piece->name, &piece->module, err));
        elements += n;
    }
    if (whole.found || whole.transposed || elements != whole.elements)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: only a plain tensor can be cut, and all of it", whole.name);
    return VISE_OK;
}

vise_status vise_store_split(vise_store *store, const vise_split *splits, size_t n, vise_error *err)
{
    size_t count = store->n, kept = 0;
    void *block;
    for (size_t i = 0; i < n; i++)
        if (!vise_add_size(count, splits[i].pieces, &count))
            return VISE_FAIL(err, VISE_ERESOURCE, "too many tensors for this machine");
    VISE_TRY(vise_calloc(count, sizeof *store->tensors, &block, err));
    memcpy(block, store->tensors, store->n * sizeof *store->tensors);
    vise_free(store->tensors);
    store->tensors = block;
    for (size_t i = 0; i < n; i++)
        VISE_TRY(add_pieces(store, &splits[i], err));
    for (size_t i = 0; i < n; i++)
        store->tensors[splits[i].index].name = NULL;
    for (size_t i = 0; i < store->n; i++)
        if (store->tensors[i].name)
            store->tensors[kept++] = store->tensors[i];
    store->n = kept;
    qsort(store->tensors, store->n, sizeof *store->tensors, by_tensor);
    return sort_names(store, err);
}

/* ---- reading ---------------------------------------------------------------------------------- */

static vise_status check_rows(const vise_logical *entry, int64_t row0, int64_t rows, vise_error *err)
{
    if (row0 >= 0 && rows >= 0 && rows <= entry->rows && row0 <= entry->rows - rows)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EINTERNAL, "%s: rows %" PRId64 " + %" PRId64 " of %" PRId64, entry->name, row0,
                     rows, entry->rows);
}

static vise_status read_plain(const vise_store *store, const vise_logical *entry, int64_t row0, int64_t rows,
                              float *values, vise_pool *pool, vise_error *err)
{
    const vise_dtype_traits *traits = vise_dtype_of(entry->dtype);
    if (!traits->to_f32)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: %s values cannot be read as numbers", entry->name,
                         traits->name);
    uint64_t size = (uint64_t)traits->bits / 8;
    uint64_t at = entry->offset + (uint64_t)(row0 * entry->cols) * size;
    uint64_t end = at + (uint64_t)(rows * entry->cols) * size;
    if (at == end)
        return VISE_OK;
    if (entry->dtype == VISE_DTYPE_F32)
        return vise_source_read(store->source, entry->tensor, at, end - at, values, pool, err);

    /* Steps end at multiples of their size, so that a packed tensor's chunks are decoded once. */
    uint64_t step = vise_source_tensor(store->source, entry->tensor)->packed ? VISE_PACK_CHUNK : STEP_BYTES;
    void *block;
    VISE_TRY(vise_pool_take(pool, (size_t)(step < end - at ? step : end - at), "stored values", &block, err));
    vise_status status = VISE_OK;
    while (status == VISE_OK && at < end) {
        uint64_t stop = (at / step + 1) * step;
        size_t n = (size_t)((stop < end ? stop : end) - at);
        status = vise_source_read(store->source, entry->tensor, at, n, block, pool, err);
        if (status == VISE_OK)
            vise_to_f32(entry->dtype, block, values, n / size);
        values += n / size;
        at += n;
    }
    vise_pool_give(pool, block);
    return status;
}

/* Rows of a matrix that is stored transposed: a stripe of every stored row. A packed tensor is read in whole stored
 * rows, since its chunks are decoded whole. */
static vise_status read_transposed(const vise_store *store, const vise_logical *entry, int64_t row0,
                                   int64_t rows, float *values, vise_pool *pool, vise_error *err)
{
    const vise_dtype_traits *traits = vise_dtype_of(entry->dtype);
    if (!traits->to_f32)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: %s values cannot be read as numbers", entry->name,
                         traits->name);
    bool packed = vise_source_tensor(store->source, entry->tensor)->packed;
    size_t size = (size_t)traits->bits / 8, row_bytes = (size_t)entry->rows * size;
    size_t stripe_at = (size_t)row0 * size, stripe = (size_t)rows * size;
    int64_t at_once = packed && row_bytes > 0 ? (int64_t)(VISE_PACK_CHUNK / row_bytes) : 1;
    at_once = at_once > 1 ? at_once : 1;
    void *block, *line;
    if (rows == 0 || entry->cols == 0)
        return VISE_OK;
    VISE_TRY(vise_pool_take(pool, (packed ? (size_t)at_once * row_bytes : stripe), "stored values", &block, err));
    vise_status status = vise_pool_take(pool, (size_t)rows * sizeof(float), "a stored row", &line, err);
    if (status != VISE_OK) {
        vise_pool_give(pool, block);
        return status;
    }
    const float *numbers = line;
    for (int64_t first = 0; status == VISE_OK && first < entry->cols; first += at_once) {
        int64_t n = entry->cols - first < at_once ? entry->cols - first : at_once;
        uint64_t at = entry->offset + (uint64_t)first * row_bytes;
        status = packed ? vise_source_read(store->source, entry->tensor, at, (size_t)n * row_bytes, block, pool, err)
                        : vise_source_read(store->source, entry->tensor, at + stripe_at, stripe, block, pool, err);
        for (int64_t c = 0; status == VISE_OK && c < n; c++) {
            const char *from = packed ? (const char *)block + (size_t)c * row_bytes + stripe_at : block;
            vise_to_f32(entry->dtype, from, line, (size_t)rows);
            for (int64_t r = 0; r < rows; r++)
                values[r * entry->cols + first + c] = numbers[r];
        }
    }
    vise_pool_give(pool, line);
    vise_pool_give(pool, block);
    return status;
}

static vise_status read_quantized(const vise_store *store, const vise_logical *entry, int64_t row0,
                                  int64_t rows, float *values, vise_pool *pool, vise_error *err)
{
    if (rows == 0)
        return VISE_OK;
    int64_t tile = TILE_CODES / entry->cols / VISE_TILE_ROWS * VISE_TILE_ROWS;
    tile = tile < VISE_TILE_ROWS ? VISE_TILE_ROWS : tile;
    tile = tile < rows ? tile : rows;
    void *block;
    VISE_TRY(
        vise_pool_take(pool, vise_qweight_bytes(&entry->scheme, tile, entry->cols), "codes", &block, err));
    vise_status status = VISE_OK;
    for (int64_t done = 0; done < rows && status == VISE_OK; done += tile) {
        vise_qweight q;
        int64_t n = rows - done < tile ? rows - done : tile;
        vise_qweight_carve(&q, &entry->scheme, entry->dtype, n, entry->cols, block);
        status = store->layout->load(store->source, entry->found, row0 + done, &q, pool, err);
        if (status == VISE_OK)
            vise_decode(&q, values + done * entry->cols);
    }
    vise_pool_give(pool, block);
    return status;
}

vise_status vise_store_read_f32(const vise_store *store, size_t index, int64_t row0, int64_t rows,
                                float *values, vise_pool *pool, vise_error *err)
{
    const vise_logical *entry = &store->tensors[index];
    VISE_TRY(check_rows(entry, row0, rows, err));
    if (entry->transposed)
        return read_transposed(store, entry, row0, rows, values, pool, err);
    return entry->found ? read_quantized(store, entry, row0, rows, values, pool, err)
                        : read_plain(store, entry, row0, rows, values, pool, err);
}

vise_status vise_store_read_codes(const vise_store *store, size_t index, int64_t row0, vise_qweight *q,
                                  vise_pool *pool, vise_error *err)
{
    const vise_logical *entry = &store->tensors[index];
    if (!entry->found)
        return VISE_FAIL(err, VISE_EINTERNAL, "%s: is not quantized and has no codes", entry->name);
    VISE_TRY(check_rows(entry, row0, q->rows, err));
    return store->layout->load(store->source, entry->found, row0, q, pool, err);
}

vise_status vise_store_read_raw(const vise_store *store, size_t index, uint64_t offset, uint64_t n,
                                void *bytes, vise_pool *pool, vise_error *err)
{
    const vise_logical *entry = &store->tensors[index];
    if (entry->found)
        return VISE_FAIL(err, VISE_EINTERNAL, "%s: is quantized and has no raw bytes", entry->name);
    return vise_source_read(store->source, entry->tensor, entry->offset + offset, n, bytes, pool, err);
}
