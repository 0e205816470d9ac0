#include "quant/imatrix.h"

#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "formats/gguf_meta.h"
#include "quant/imatrix_file.h"

struct vise_imatrix {
    vise_arena *arena;
    const char *path;
    vise_imatrix_entry *entries;
    size_t n_entries, n_used, n_found;
    bool *used;            /* [n_entries] */
    const float **columns; /* [model->count]; NULL: not there */
};

static vise_status find_weight(vise_imatrix *m, const vise_model *model, size_t index, const char *name,
                               bool stacked, int expert, vise_error *err)
{
    const vise_logical *tensor = model->bound[index].tensor;
    const uint64_t columns = (uint64_t)tensor->cols;
    const uint64_t matrices = stacked ? (uint64_t)model->config.experts : 1;
    for (size_t i = 0; i < m->n_entries; i++) {
        const vise_imatrix_entry *entry = &m->entries[i];
        bool any = false;
        if (strcmp(entry->name, name) != 0)
            continue;
        if (entry->values != columns * matrices || (entry->matrices != 0 && entry->matrices != matrices))
            return VISE_FAIL(
                err, VISE_EFORMAT,
                "%s: %s has %llu values, the model's %llu inputs in %llu matrices want %llu; it was made "
                "for another model",
                m->path, name, (unsigned long long)entry->values, (unsigned long long)columns,
                (unsigned long long)matrices, (unsigned long long)(columns * matrices));
        const float *means = entry->means + (stacked ? columns * (uint64_t)expert : 0);
        for (uint64_t c = 0; c < columns && !any; c++)
            any = means[c] > 0.0f;
        m->n_used += !m->used[i];
        if (!m->used[i] && entry->unseen > 0)
            vise_warn("%s: %s: no token reached %llu of %llu; all their columns count alike", m->path, name,
                      (unsigned long long)entry->unseen, (unsigned long long)entry->matrices);
        m->used[i] = true;
        m->n_found++;
        if (any)
            m->columns[index] = means;
        else
            vise_warn("%s: the importances of %s are all zero; it is quantized without", m->path,
                      tensor->module);
        return VISE_OK;
    }
    return VISE_OK;
}

static vise_status find_all(vise_imatrix *m, const vise_model *model, vise_error *err)
{
    const vise_gguf_family *family;
    void *block;
    VISE_TRY(vise_imatrix_read(m->path, m->arena, &m->entries, &m->n_entries, NULL, err));
    VISE_TRY(vise_gguf_family_of_source(vise_store_source(model->store), &family, err));
    VISE_TRY(vise_arena_take(m->arena, (model->count + 1) * sizeof *m->columns, &block, err));
    m->columns = memset(block, 0, (model->count + 1) * sizeof *m->columns);
    VISE_TRY(vise_arena_take(m->arena, m->n_entries * sizeof *m->used, &block, err));
    m->used = memset(block, 0, m->n_entries * sizeof *m->used);
    for (size_t i = 0; i < model->count && family != NULL; i++) {
        char name[VISE_GGUF_MODULE_MAX];
        const vise_logical *tensor = model->bound[i].tensor;
        const vise_gguf_named named = vise_gguf_name_from_hf(family, tensor->name, name);
        if (tensor->ndim == 2 && named.module != NULL && !named.dropped)
            VISE_TRY(find_weight(m, model, i, name, (named.module->how & VISE_GGUF_STACKED) != 0,
                                 named.expert, err));
    }
    if (m->n_found == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: has no weight of this model; it was made for another",
                         m->path);
    if (m->n_used < m->n_entries)
        vise_warn("%s: %zu of its %zu entries are of no weight of this model", m->path,
                  m->n_entries - m->n_used, m->n_entries);
    return VISE_OK;
}

vise_status vise_imatrix_describe(const char *path, vise_arena *arena, vise_gguf_importance *about, vise_error *err)
{
    vise_arena *own;
    vise_imatrix_entry *entries;
    size_t count;
    VISE_TRY(vise_arena_new(&own, err));
    vise_status status = vise_imatrix_read(path, own, &entries, &count, about, err);
    if (status == VISE_OK)
        status = vise_arena_strdup(arena, about->dataset, strlen(about->dataset), &about->dataset, err);
    vise_arena_free(own);
    return status;
}

vise_status vise_imatrix_open(const char *path, const vise_model *model, vise_imatrix **out, vise_error *err)
{
    void *block;
    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof(vise_imatrix), &block, err));
    vise_imatrix *m = block;
    vise_status status = vise_arena_new(&m->arena, err);
    if (status == VISE_OK)
        status = vise_arena_strdup(m->arena, path, strlen(path), &m->path, err);
    if (status == VISE_OK)
        status = find_all(m, model, err);
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
    vise_arena_free(imatrix->arena);
    vise_free(imatrix);
}

const float *vise_imatrix_of(const vise_imatrix *imatrix, size_t index)
{
    return imatrix->columns[index];
}
