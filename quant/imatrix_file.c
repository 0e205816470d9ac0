#include "quant/imatrix_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "formats/gguf.h"

#define SUMS   ".in_sum2"
#define COUNTS ".counts"

/* More than any model has of weights; of a text file the first bytes read as more. */
enum { ENTRIES_MAX = 1 << 20 };

typedef struct reader {
    vise_file file;
    vise_arena *arena;
    vise_imatrix_entry *entries;
    size_t count;
    vise_gguf_importance about;
} reader;

static vise_status take_floats(reader *r, uint64_t n, float **values, vise_error *err)
{
    void *block;
    size_t bytes;
    if (n > SIZE_MAX / sizeof(float) || !vise_mul_size((size_t)n, sizeof(float), &bytes))
        return VISE_FAIL(err, VISE_ERESOURCE, "%s: is too large for this machine", r->file.path);
    VISE_TRY(vise_arena_take(r->arena, bytes, &block, err));
    *values = block;
    return VISE_OK;
}

/* Reads n numbers and refuses what no sum of squares is. */
static vise_status read_floats(reader *r, uint64_t offset, uint64_t n, const char *name, float *values,
                               vise_error *err)
{
    VISE_TRY(vise_file_read_at(&r->file, offset, values, (size_t)n * sizeof *values, err));
    for (uint64_t i = 0; i < n; i++)
        if (!(values[i] >= 0.0f && values[i] < INFINITY))
            return VISE_FAIL(err, VISE_EFORMAT, "%s: %s holds %s at %" PRIu64 "; make the matrix anew",
                             r->file.path, name,
                             isnan(values[i])   ? "NaN"
                             : values[i] < 0.0f ? "a negative number"
                                                : "an infinity",
                             i);
    return VISE_OK;
}

/* ---- GGUF ---------------------------------------------------- */

static const vise_gguf_tensor *find(const vise_gguf *gguf, const char *name, size_t length,
                                    const char *suffix)
{
    for (size_t i = 0; i < gguf->n_tensors; i++)
        if (strncmp(gguf->tensors[i].name, name, length) == 0 &&
            strcmp(gguf->tensors[i].name + length, suffix) == 0)
            return &gguf->tensors[i];
    return NULL;
}

/* Length of what stands in front of the suffix; 0: the name does not end so. */
static size_t stem_of(const char *name, const char *suffix)
{
    const size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0 ? n - m : 0;
}

static vise_status check_floats(const reader *r, const vise_gguf_tensor *tensor, vise_error *err)
{
    if (tensor->type != &vise_gguf_table[VISE_GGUF_F32])
        return VISE_FAIL(err, VISE_EFORMAT, "%s: %s is of type %s; importances are f32", r->file.path,
                         tensor->name, tensor->type->name);
    return VISE_OK;
}

static vise_status read_weight(reader *r, const vise_gguf_tensor *sums, const vise_gguf_tensor *counts,
                               size_t stem, vise_error *err)
{
    vise_imatrix_entry *entry = &r->entries[r->count];
    float *seen;
    VISE_TRY(check_floats(r, sums, err));
    VISE_TRY(check_floats(r, counts, err));
    if (sums->elements % counts->elements != 0 ||
        (uint64_t)sums->dims[0] != sums->elements / counts->elements)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: %s has %" PRIu64 " sums in rows of %" PRId64 ", but %" PRIu64 " counts",
                         r->file.path, sums->name, sums->elements, sums->dims[0], counts->elements);
    memcpy(entry->name, sums->name, stem);
    entry->values = sums->elements;
    entry->matrices = counts->elements;
    VISE_TRY(take_floats(r, sums->elements, &entry->means, err));
    VISE_TRY(take_floats(r, counts->elements, &seen, err));
    VISE_TRY(read_floats(r, sums->offset, sums->elements, sums->name, entry->means, err));
    VISE_TRY(read_floats(r, counts->offset, counts->elements, counts->name, seen, err));
    const uint64_t columns = entry->values / entry->matrices;
    for (uint64_t m = 0; m < entry->matrices; m++) {
        entry->unseen += !(seen[m] > 0.0f);
        for (uint64_t i = m * columns; i < (m + 1) * columns; i++)
            entry->means[i] = seen[m] > 0.0f ? entry->means[i] / seen[m] : 1.0f;
        if (seen[m] > 0.0f && seen[m] < 1.0f)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: %s holds %g, which counts no rows", r->file.path,
                             counts->name, (double)seen[m]);
    }
    r->count++;
    return VISE_OK;
}

static vise_status read_provenance(reader *r, const vise_gguf *gguf, vise_error *err)
{
    const void *texts;
    uint64_t n;
    int64_t chunks = 0;
    VISE_TRY(vise_gguf_get_array(gguf, "imatrix.datasets", false, VISE_GGUF_KIND_TEXT, &texts, &n, err));
    if (n > 0)
        r->about.dataset = ((const vise_gguf_text *)texts)[0].bytes;
    VISE_TRY(vise_gguf_get_int(gguf, "imatrix.chunk_count", false, 0, UINT32_MAX, &chunks, err));
    r->about.chunks = (uint32_t)chunks;
    return VISE_OK;
}

static vise_status read_gguf(reader *r, vise_error *err)
{
    vise_gguf gguf;
    const char *kind = "";
    void *block;
    vise_st_input input = vise_st_input_file(&r->file);
    VISE_TRY(vise_gguf_parse(&input, r->arena, &gguf, err));
    VISE_TRY(vise_gguf_get_text(&gguf, "general.type", false, &kind, err));
    if (strcmp(kind, "imatrix") != 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: is no importance matrix (general.type is \"%.20s\")",
                         r->file.path, kind);
    VISE_TRY(read_provenance(r, &gguf, err));
    VISE_TRY(vise_arena_take(r->arena, (gguf.n_tensors + 1) * sizeof *r->entries, &block, err));
    r->entries = block;
    memset(r->entries, 0, (gguf.n_tensors + 1) * sizeof *r->entries);
    for (size_t i = 0; i < gguf.n_tensors; i++) {
        const vise_gguf_tensor *tensor = &gguf.tensors[i];
        const size_t sums = stem_of(tensor->name, SUMS), counts = stem_of(tensor->name, COUNTS);
        if (sums == 0 && counts == 0)
            return VISE_FAIL(err, VISE_EFORMAT,
                             "%s: %s is neither a sum (" SUMS ") nor a count (" COUNTS
                             "), which is all that an "
                             "importance matrix has",
                             r->file.path, tensor->name);
        const vise_gguf_tensor *other = find(&gguf, tensor->name, sums + counts, sums > 0 ? COUNTS : SUMS);
        if (other == NULL)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: %s has no %s; the file is incomplete", r->file.path,
                             tensor->name, sums > 0 ? "counts" : "sums");
        if (sums > 0)
            VISE_TRY(read_weight(r, tensor, other, sums, err));
    }
    return VISE_OK;
}

/* ---- the form before ---------------------------------------------------- */

static vise_status take_int(reader *r, uint64_t *at, int32_t *value, vise_error *err)
{
    if (r->file.bytes - *at < sizeof *value)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: ends within entry %zu; it is damaged or incomplete",
                         r->file.path, r->count + 1);
    VISE_TRY(vise_file_read_at(&r->file, *at, value, sizeof *value, err));
    *at += sizeof *value;
    return VISE_OK;
}

static vise_status take_name(reader *r, uint64_t *at, char name[VISE_IMATRIX_NAME_MAX + 1], vise_error *err)
{
    int32_t length;
    VISE_TRY(take_int(r, at, &length, err));
    if (length < 1 || length > VISE_IMATRIX_NAME_MAX || (uint64_t)length > r->file.bytes - *at)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: the name of entry %zu is said to have %" PRId32 " bytes; names have 1 "
                         "to %d",
                         r->file.path, r->count + 1, length, VISE_IMATRIX_NAME_MAX);
    VISE_TRY(vise_file_read_at(&r->file, *at, name, (size_t)length, err));
    *at += (uint64_t)length;
    for (int32_t i = 0; i < length; i++)
        if (name[i] <= ' ' || name[i] > '~')
            return VISE_FAIL(err, VISE_EFORMAT, "%s: the name of entry %zu is no name of a weight",
                             r->file.path, r->count + 1);
    return VISE_OK;
}

static vise_status read_entry(reader *r, uint64_t *at, vise_error *err)
{
    vise_imatrix_entry *entry = &r->entries[r->count];
    int32_t calls, n;
    VISE_TRY(take_name(r, at, entry->name, err));
    VISE_TRY(take_int(r, at, &calls, err));
    VISE_TRY(take_int(r, at, &n, err));
    if (calls < 0 || n < 1)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: %s is said to have %" PRId32 " values of %" PRId32 " calls",
                         r->file.path, entry->name, n, calls);
    if ((uint64_t)n * sizeof(float) > r->file.bytes - *at)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: ends within the %" PRId32 " values of %s; it is damaged or incomplete",
                         r->file.path, n, entry->name);
    entry->values = (uint64_t)n;
    VISE_TRY(take_floats(r, entry->values, &entry->means, err));
    VISE_TRY(read_floats(r, *at, entry->values, entry->name, entry->means, err));
    for (int32_t i = 0; i < n && calls > 0; i++)
        entry->means[i] /= (float)calls;
    *at += entry->values * sizeof(float);
    r->count++;
    return VISE_OK;
}

/* Chunks and the name of the text, which older files lack; what is no such tail is left alone, as llama.cpp does. */
static vise_status read_tail(reader *r, uint64_t at, vise_error *err)
{
    int32_t numbers[2] = {0, 0};
    void *block;
    if (r->file.bytes - at < sizeof numbers)
        return VISE_OK;
    VISE_TRY(vise_file_read_at(&r->file, at, numbers, sizeof numbers, err));
    at += sizeof numbers;
    if (numbers[0] < 1 || numbers[1] < 0 || (uint64_t)numbers[1] != r->file.bytes - at)
        return VISE_OK;
    VISE_TRY(vise_arena_take(r->arena, (size_t)numbers[1] + 1, &block, err));
    VISE_TRY(vise_file_read_at(&r->file, at, block, (size_t)numbers[1], err));
    ((char *)block)[numbers[1]] = '\0';
    r->about.chunks = (uint32_t)numbers[0];
    r->about.dataset = block;
    return VISE_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const vise_imatrix_entry *)a)->name, ((const vise_imatrix_entry *)b)->name);
}

static vise_status read_before(reader *r, vise_error *err)
{
    uint64_t at = 0;
    int32_t n = 0;
    void *block;
    if (r->file.bytes >= sizeof n)
        VISE_TRY(take_int(r, &at, &n, err));
    if (n < 1 || n > ENTRIES_MAX || (uint64_t)n > r->file.bytes / (4 * sizeof n))
        return VISE_FAIL(
            err, VISE_EFORMAT,
            "%s: is no importance matrix: neither GGUF, nor does it begin with a number of entries that "
            "it has room for",
            r->file.path);
    VISE_TRY(vise_arena_take(r->arena, (size_t)n * sizeof *r->entries, &block, err));
    r->entries = block;
    memset(r->entries, 0, (size_t)n * sizeof *r->entries);
    while (r->count < (size_t)n)
        VISE_TRY(read_entry(r, &at, err));
    VISE_TRY(read_tail(r, at, err));
    qsort(r->entries, r->count, sizeof *r->entries, by_name);
    for (size_t i = 1; i < r->count; i++)
        if (strcmp(r->entries[i - 1].name, r->entries[i].name) == 0)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: %s is there twice", r->file.path, r->entries[i].name);
    return VISE_OK;
}

vise_status vise_imatrix_read(const char *path, vise_arena *arena, vise_imatrix_entry **entries,
                              size_t *count, vise_gguf_importance *about, vise_error *err)
{
    reader r = {.arena = arena, .about = {.file = path, .dataset = ""}};
    char magic[4] = "";
    VISE_TRY(vise_file_open(path, &r.file, err));
    vise_status status = VISE_OK;
    if (r.file.bytes >= sizeof magic)
        status = vise_file_read_at(&r.file, 0, magic, sizeof magic, err);
    if (status == VISE_OK)
        status = memcmp(magic, "GGUF", sizeof magic) == 0 ? read_gguf(&r, err) : read_before(&r, err);
    if (status == VISE_OK && r.count == 0)
        status = VISE_FAIL(err, VISE_EFORMAT, "%s: the importance matrix is empty", path);
    vise_file_close(&r.file);
    *entries = r.entries;
    *count = r.count;
    r.about.entries = (uint32_t)r.count;
    if (about != NULL)
        *about = r.about;
    return status;
}
