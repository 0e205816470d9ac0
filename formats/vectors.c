#include "formats/vectors.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "formats/store.h"
#include "tensor/dtype.h"

#define HEADER_BYTES_MAX ((size_t)1 << 16)
#define DIMENSION_MAX    ((int64_t)1 << 40)

struct vise_vectors {
    int64_t rows, cols;
    vise_store *store; /* of a .safetensors, or NULL */
    size_t tensor;
    vise_file file; /* of a .npy; fd -1: none */
    vise_dtype dtype;
    size_t width;  /* bytes of a value */
    uint64_t data; /* where the values start */
};

/* ---- NumPy's header ---------------------------------------------------------------------------------------------- */

/* What stands behind 'key': in the header, a Python dictionary's text; NULL: it is not there. */
static const char *value_of(const char *header, const char *key)
{
    const char *at = strstr(header, key);

    if (!at || at == header || (at[-1] != '\'' && at[-1] != '"'))
        return NULL;
    at += strlen(key);
    if (*at != '\'' && *at != '"')
        return NULL;
    at++;
    at += strspn(at, " ");
    if (*at != ':')
        return NULL;
    at++;
    return at + strspn(at, " ");
}

static bool read_dimension(const char **text, int64_t *dimension)
{
    char *end = NULL;

    if (**text < '0' || **text > '9')
        return false;
    unsigned long long value = strtoull(*text, &end, 10);
    if (value > (unsigned long long)DIMENSION_MAX)
        return false;
    *dimension = (int64_t)value;
    *text = end + strspn(end, " ");
    return true;
}

/* "(60, 16)", with a comma behind the last number or without. */
static bool read_shape(const char *text, int64_t *rows, int64_t *cols)
{
    if (*text++ != '(' || !read_dimension(&text, rows) || *text++ != ',')
        return false;
    text += strspn(text, " ");
    if (!read_dimension(&text, cols))
        return false;
    if (*text == ',')
        text += 1 + strspn(text + 1, " ");
    return *text == ')';
}

static vise_status parse_header(const char *path, const char *header, vise_vectors *v, vise_error *err)
{
    static const struct {
        const char *descr;
        vise_dtype dtype;
        size_t width;
    } kinds[] = {{"<f2", VISE_DTYPE_F16, 2}, {"<f4", VISE_DTYPE_F32, 4}, {"<f8", VISE_DTYPE_F64, 8}};
    const char *descr = value_of(header, "descr"), *order = value_of(header, "fortran_order");
    const char *shape = value_of(header, "shape");
    bool known = false;

    if (!descr || !order || !shape)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: the header lacks descr, fortran_order or shape; write it with numpy.save",
                         path);
    if (!read_shape(shape, &v->rows, &v->cols) || v->rows < 1 || v->cols < 1)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: a table of vectors has two dimensions, not %.*s", path,
                         (int)(strcspn(shape, ")") < 40 ? strcspn(shape, ")") + 1 : 40), shape);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && (*descr == '\'' || *descr == '"'); i++) {
        if (strncmp(descr + 1, kinds[i].descr, 3) == 0 && descr[4] == *descr) {
            v->dtype = kinds[i].dtype;
            v->width = kinds[i].width;
            known = true;
        }
    }
    if (!known || strncmp(order, "False", 5) != 0)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s: vectors are read as little-endian f2, f4 or f8 in C order; save them so with numpy", path);
    return VISE_OK;
}

static vise_status open_npy(const char *path, vise_vectors *v, vise_error *err)
{
    uint8_t start[12] = {0};
    size_t values = 0, bytes = 0;
    char *header = NULL;
    void *memory = NULL;
    vise_status status;

    VISE_TRY(vise_file_open(path, &v->file, err));
    const uint64_t size = v->file.bytes;
    if (size < sizeof start)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: too short for a .npy", path);
    VISE_TRY(vise_file_read_at(&v->file, 0, start, sizeof start, err));
    if (memcmp(start, "\x93NUMPY", 6) != 0 || start[6] < 1 || start[6] > 3)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: not a .npy of version 1, 2 or 3", path);
    const size_t at = start[6] == 1 ? 10 : 12;
    size_t length = (size_t)start[8] | (size_t)start[9] << 8;
    if (start[6] > 1)
        length |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
    if (length > HEADER_BYTES_MAX || length > size - at)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: the header of %zu bytes is too long", path, length);
    VISE_TRY(vise_calloc(length + 1, 1, &memory, err));
    header = memory;
    VISE_TRY_TO(end, vise_file_read_at(&v->file, at, header, length, err));
    VISE_TRY_TO(end, parse_header(path, header, v, err));
    v->data = at + length;
    if (!vise_mul_size((size_t)v->rows, (size_t)v->cols, &values) ||
        !vise_mul_size(values, v->width, &bytes) || bytes != size - v->data)
        status = VISE_FAIL(err, VISE_EFORMAT, "%s: %llu bytes of values, but the shape is %lld x %lld", path,
                           (unsigned long long)(size - v->data), (long long)v->rows, (long long)v->cols);
end:
    vise_free(header);
    return status;
}

/* ---- safetensors ------------------------------------------------------------------------------------------------- */

static vise_status open_tensor(const char *path, vise_vectors *v, vise_error *err)
{
    VISE_TRY(vise_store_open(path, &v->store, err));
    v->tensor = vise_store_find(v->store, "embeddings");
    if (v->tensor == SIZE_MAX && vise_store_count(v->store) == 1)
        v->tensor = 0;
    if (v->tensor == SIZE_MAX)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: there is no tensor \"embeddings\"", path);
    const vise_logical *tensor = vise_store_tensor(v->store, v->tensor);
    if (tensor->ndim != 2 || tensor->elements == 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" is no table of vectors: it has %d dimensions", path,
                         tensor->name, tensor->ndim);
    v->rows = tensor->rows;
    v->cols = tensor->cols;
    return VISE_OK;
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

static bool ends_in(const char *path, const char *suffix)
{
    size_t length = strlen(path), n = strlen(suffix);

    return length >= n && strcmp(path + length - n, suffix) == 0;
}

bool vise_vectors_named(const char *path)
{
    return ends_in(path, ".npy") || ends_in(path, ".safetensors");
}

vise_status vise_vectors_open(const char *path, vise_vectors **out, vise_error *err)
{
    void *memory = NULL;
    vise_status status;

    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof **out, &memory, err));
    vise_vectors *v = memory;
    v->file.fd = -1;
    status = ends_in(path, ".npy") ? open_npy(path, v, err) : open_tensor(path, v, err);
    if (status != VISE_OK) {
        vise_vectors_close(v);
        return status;
    }
    *out = v;
    return VISE_OK;
}

void vise_vectors_close(vise_vectors *v)
{
    if (!v)
        return;
    vise_store_close(v->store);
    if (v->file.fd >= 0)
        vise_file_close(&v->file);
    vise_free(v);
}

int64_t vise_vectors_rows(const vise_vectors *v)
{
    return v->rows;
}

int64_t vise_vectors_cols(const vise_vectors *v)
{
    return v->cols;
}

vise_status vise_vectors_read(const vise_vectors *v, int64_t row0, int64_t rows, float *values,
                              vise_pool *pool, vise_error *err)
{
    if (v->store)
        return vise_store_read_f32(v->store, v->tensor, row0, rows, values, pool, err);
    const size_t n = (size_t)(rows * v->cols), bytes = n * v->width;
    const uint64_t at = v->data + (uint64_t)(row0 * v->cols) * v->width;
    void *stored = NULL;
    VISE_TRY(vise_pool_take(pool, bytes, "stored vectors", &stored, err));
    vise_status status = vise_file_read_at(&v->file, at, stored, bytes, err);
    if (status == VISE_OK)
        vise_to_f32(v->dtype, stored, values, n);
    vise_pool_give(pool, stored);
    return status;
}
