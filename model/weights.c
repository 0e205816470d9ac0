#include "model/weights.h"

#include "formats/layout.h"
#include "formats/store.h"
#include "model/transform.h"
#include "tensor/dtype.h"

int64_t vise_weight_tile_rows(int64_t cols)
{
    int64_t rows = ((int64_t)2 << 20) / ((int64_t)sizeof(float) * (cols > 0 ? cols : 1));
    rows -= rows % VISE_TILE_ROWS;
    return rows > VISE_TILE_ROWS ? rows : VISE_TILE_ROWS;
}

vise_status vise_weight_read(const vise_model *model, size_t index, int64_t row0, int64_t rows, float *values,
                             vise_pool *pool, vise_error *err)
{
    const vise_logical *tensor = model->bound[index].tensor;
    VISE_TRY(vise_store_read_f32(model->store, index, row0, rows, values, pool, err));
    size_t bad = 0;
    if (vise_count_nonfinite(values, (size_t)(rows * tensor->cols), &bad) > 0)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: the value at row %lld, column %lld is not finite; the model is damaged or diverged",
                         tensor->name, (long long)(row0 + (int64_t)bad / tensor->cols),
                         (long long)((int64_t)bad % tensor->cols));
    return vise_transform_tile(model, index, row0, rows, values, pool, err);
}

typedef struct tile_job {
    const vise_model *model;
    size_t index;
    int64_t row0, rows, tile_rows, cols;
    vise_pool *pool;
    float *values;
} tile_job;

static vise_status read_tile(void *context, size_t tile, int worker, vise_error *err)
{
    (void)worker;
    const tile_job *job = context;
    int64_t first = (int64_t)tile * job->tile_rows;
    int64_t rows = job->rows - first < job->tile_rows ? job->rows - first : job->tile_rows;
    return vise_weight_read(job->model, job->index, job->row0 + first, rows, job->values + first * job->cols,
                            job->pool, err);
}

vise_status vise_weight_read_all(const vise_model *model, size_t index, int64_t row0, int64_t rows,
                                 vise_workers *workers, vise_pool *pool, float *values, vise_error *err)
{
    int64_t cols = model->bound[index].tensor->cols;
    tile_job job = {model, index, row0, rows, vise_weight_tile_rows(cols), cols, pool, values};
    size_t tiles = (size_t)((rows + job.tile_rows - 1) / job.tile_rows);
    if (vise_transform_mixes_rows(model, index) && rows != model->bound[index].tensor->rows)
        return VISE_FAIL(err, VISE_EINTERNAL, "%s: some rows of what is rotated as a whole",
                         model->bound[index].tensor->name);
    VISE_TRY(vise_parallel(workers, tiles, read_tile, &job, err));
    return vise_transform_whole(model, index, values, workers, pool, err);
}

vise_status vise_weight_find(const vise_model *model, vise_role role, int layer, size_t *index, vise_error *err)
{
    *index = vise_model_role(model, role, layer);
    if (*index == SIZE_MAX)
        return VISE_FAIL(err, VISE_EFORMAT, "the model has no %s%s", vise_role_name(role),
                         layer >= 0 ? " in one of its blocks" : "");
    return VISE_OK;
}
