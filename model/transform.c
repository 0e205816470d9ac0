#include "model/transform.h"

#include <string.h>

vise_status vise_transform_begin(vise_model *model, vise_error *err)
{
    void *memory = NULL;
    if (model->transform != NULL)
        return VISE_OK;
    VISE_TRY(vise_calloc(1, sizeof(vise_transform), &memory, err));
    model->transform = memory;
    VISE_TRY(vise_arena_new(&model->transform->arena, err));
    VISE_TRY(vise_arena_take(model->transform->arena, (model->count + 1) * sizeof(vise_tensor_transform), &memory,
                             err));
    model->transform->tensor = memory;
    for (size_t i = 0; i < model->count; i++)
        model->transform->tensor[i].norm = SIZE_MAX;
    return VISE_OK;
}

void vise_transform_free(vise_transform *transform)
{
    if (transform == NULL)
        return;
    vise_arena_free(transform->arena);
    vise_free(transform);
}

bool vise_transform_changes(const vise_model *model, size_t index)
{
    return model->transform != NULL && model->transform->tensor[index].changed;
}

bool vise_transform_mixes_rows(const vise_model *model, size_t index)
{
    return vise_transform_changes(model, index) && model->transform->tensor[index].rows.by != NULL;
}

uint64_t vise_transform_bytes(const vise_model *model, int workers)
{
    return model->transform != NULL ? (uint64_t)workers * model->transform->scratch_bytes : 0;
}

/* ---- a tile -------------------------------------------------------------------------------------------------- */

static void multiply_columns(float *values, int64_t rows, int64_t cols, const float *by)
{
    for (int64_t row = 0; row < rows; row++)
        for (int64_t col = 0; col < cols; col++)
            values[row * cols + col] *= by[col];
}

/* The norm in front of the linear, as it multiplies. */
static vise_status fold_norm(const vise_model *model, size_t norm, int64_t rows, int64_t cols, float *values,
                             float *scratch, vise_pool *pool, vise_error *err)
{
    VISE_TRY(vise_store_read_f32(model->store, norm, 0, 1, scratch, pool, err));
    for (int64_t i = 0; model->config.norm == VISE_NORM_RMS_OFFSET && i < cols; i++)
        scratch[i] += 1.0f;
    multiply_columns(values, rows, cols, scratch);
    return VISE_OK;
}

static void scale_tile(const vise_tensor_transform *change, int64_t row0, int64_t rows, int64_t cols, float *values)
{
    const int64_t n = rows * cols;
    for (int64_t i = 0; change->shift != 0.0f && i < n; i++)
        values[i] += change->shift;
    if (change->scale != NULL)
        multiply_columns(values, rows, cols, change->scale);
    for (int64_t i = 0; change->row_scale != NULL && i < n; i++)
        values[i] *= change->row_scale[row0 + i / cols];
    for (int64_t i = 0; change->shift != 0.0f && i < n; i++)
        values[i] -= change->shift;
}

vise_status vise_transform_tile(const vise_model *model, size_t index, int64_t row0, int64_t rows, float *values,
                                vise_pool *pool, vise_error *err)
{
    if (!vise_transform_changes(model, index))
        return VISE_OK;
    const vise_tensor_transform *change = &model->transform->tensor[index];
    const int64_t cols = model->bound[index].tensor->cols;
    void *scratch = NULL;
    vise_status status = VISE_OK;
    for (int64_t i = 0; change->is_constant && i < rows * cols; i++)
        values[i] = change->constant;
    if (change->norm != SIZE_MAX || change->columns.by != NULL) {
        VISE_TRY(vise_pool_take(pool, model->transform->scratch_bytes, "rotated rows", &scratch, err));
        if (change->norm != SIZE_MAX)
            status = fold_norm(model, change->norm, rows, cols, values, scratch, pool, err);
        if (status == VISE_OK && change->columns.by != NULL)
            vise_orthogonal_rows(change->columns.by, rows, change->columns.times, values + change->columns.first, cols,
                                 scratch);
        vise_pool_give(pool, scratch);
        VISE_TRY(status);
    }
    if (change->rows.by == NULL)
        scale_tile(change, row0, rows, cols, values);
    return VISE_OK;
}

/* ---- among rows ---------------------------------------------------------------------------------------------- */

typedef struct columns_job {
    const vise_rotated *rows;
    float *values;
    int64_t cols;
    size_t scratch_bytes;
    vise_pool *pool;
} columns_job;

static vise_status rotate_strip(void *context, size_t strip, int worker, vise_error *err)
{
    (void)worker;
    const columns_job *job = context;
    const int64_t first = (int64_t)strip * VISE_ORTHOGONAL_LANES, left = job->cols - first;
    void *scratch = NULL;
    VISE_TRY(vise_pool_take(job->pool, job->scratch_bytes, "rotated columns", &scratch, err));
    vise_orthogonal_columns(job->rows->by, job->rows->times,
                            left < VISE_ORTHOGONAL_LANES ? left : VISE_ORTHOGONAL_LANES,
                            job->values + job->rows->first * job->cols + first, job->cols, scratch);
    vise_pool_give(job->pool, scratch);
    return VISE_OK;
}

vise_status vise_transform_whole(const vise_model *model, size_t index, float *values, vise_workers *workers,
                                 vise_pool *pool, vise_error *err)
{
    if (!vise_transform_mixes_rows(model, index))
        return VISE_OK;
    const vise_tensor_transform *change = &model->transform->tensor[index];
    const vise_logical *tensor = model->bound[index].tensor;
    columns_job job = {&change->rows, values, tensor->cols, model->transform->scratch_bytes, pool};
    VISE_TRY(vise_parallel(workers, (size_t)((tensor->cols + VISE_ORTHOGONAL_LANES - 1) / VISE_ORTHOGONAL_LANES),
                           rotate_strip, &job, err));
    scale_tile(change, 0, tensor->rows, tensor->cols, values);
    return VISE_OK;
}
