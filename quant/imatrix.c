#include "quant/imatrix.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "core/file.h"
#include "formats/gguf.h"
#include "formats/gguf_meta.h"

struct vise_imatrix {
    vise_arena *arena;
    vise_gguf gguf;
    vise_file file;
    float **columns; /* [model->count]; NULL: not there */
    size_t n_found;
};

static const vise_gguf_tensor *find(const vise_gguf *gguf, const char *name, const char *suffix)
{
    char key[VISE_GGUF_NAME_MAX + 1];
    if ((size_t)snprintf(key, sizeof key, "%s%s", name, suffix) >= sizeof key)
        return NULL;
    for (size_t i = 0; i < gguf->n_tensors; i++)
        if (strcmp(gguf->tensors[i].name, key) == 0)
            return &gguf->tensors[i];
    return NULL;
}

static vise_status read_floats(const vise_imatrix *m, const vise_gguf_tensor *tensor, uint64_t n,
                               float *values, vise_error *err)
{
    if (tensor->type != &vise_gguf_table[VISE_GGUF_F32] || tensor->elements != n)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: %s has %llu values of type %s; %llu of type f32 are expected", m->file.path,
                         tensor->name, (unsigned long long)tensor->elements, tensor->type->name,
                         (unsigned long long)n);
    VISE_TRY(vise_file_read_at(&m->file, tensor->offset, values, (size_t)n * sizeof *values, err));
    for (uint64_t i = 0; i < n; i++)
        if (!(values[i] >= 0.0f && values[i] < INFINITY))
            return VISE_FAIL(err, VISE_EFORMAT, "%s: %s holds NaN, an infinity or a negative sum",
                             m->file.path, tensor->name);
    return VISE_OK;
}

static vise_status read_weight(vise_imatrix *m, size_t index, const char *name, int64_t cols, vise_error *err)
{
    const vise_gguf_tensor *sums = find(&m->gguf, name, ".in_sum2"),
                           *counts = find(&m->gguf, name, ".counts");
    float count = 0.0f;
    bool any = false;
    void *block;
    if (sums == NULL)
        return VISE_OK;
    if (counts == NULL)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: %s has no counts; the file is incomplete", m->file.path,
                         name);
    VISE_TRY(vise_arena_take(m->arena, (size_t)cols * sizeof(float), &block, err));
    float *columns = block;
    VISE_TRY(read_floats(m, sums, (uint64_t)cols, columns, err));
    VISE_TRY(read_floats(m, counts, 1, &count, err));
    for (int64_t i = 0; i < cols; i++) {
        columns[i] /= count;
        any = any || columns[i] > 0.0f;
    }
    if (!(count > 0.0f) || !any) {
        vise_warn("%s: %s saw no input; the weight is quantized without importance", m->file.path, name);
        return VISE_OK;
    }
    m->columns[index] = columns;
    m->n_found++;
    return VISE_OK;
}

static vise_status read_all(vise_imatrix *m, const char *path, const vise_model *model, vise_error *err)
{
    const vise_gguf_family *family;
    const char *kind = "";
    void *block;
    VISE_TRY(vise_arena_new(&m->arena, err));
    VISE_TRY(vise_file_open(path, &m->file, err));
    vise_st_input input = vise_st_input_file(&m->file);
    VISE_TRY(vise_gguf_parse(&input, m->arena, &m->gguf, err));
    VISE_TRY(vise_gguf_get_text(&m->gguf, "general.type", false, &kind, err));
    if (strcmp(kind, "imatrix") != 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: is no importance matrix (general.type is \"%.20s\")", path,
                         kind);
    VISE_TRY(vise_gguf_family_of_source(vise_store_source(model->store), &family, err));
    VISE_TRY(vise_arena_take(m->arena, (model->count + 1) * sizeof *m->columns, &block, err));
    m->columns = block;
    for (size_t i = 0; i < model->count; i++) {
        char name[VISE_GGUF_MODULE_MAX];
        const vise_logical *tensor = model->bound[i].tensor;
        if (tensor->ndim == 2 && family != NULL && vise_gguf_name_from_hf(family, tensor->name, name).module != NULL)
            VISE_TRY(read_weight(m, i, name, tensor->cols, err));
    }
    if (m->n_found == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: has no weight of this model; it was made for another", path);
    return VISE_OK;
}

vise_status vise_imatrix_open(const char *path, const vise_model *model, vise_imatrix **out, vise_error *err)
{
    void *block;
    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof(vise_imatrix), &block, err));
    vise_imatrix *m = block;
    m->file.fd = -1;
    vise_status status = read_all(m, path, model, err);
    if (status == VISE_OK)
        *out = m;
    else
        vise_imatrix_close(m);
    return status;
}

void vise_imatrix_close(vise_imatrix *imatrix)
{
    if (imatrix == NULL)
        return;
    vise_file_close(&imatrix->file);
    vise_arena_free(imatrix->arena);
    vise_free(imatrix);
}

const float *vise_imatrix_of(const vise_imatrix *imatrix, size_t index)
{
    return imatrix->columns[index];
}
