/* Ranges of what a block puts into its key-value cache, for static scales. */
#include <math.h>

#include "model/layer.h"

typedef struct ranges_job {
    vise_layer_run run;
    float *largest; /* [workers][2][key-value heads]; the order in which windows come does not matter to them */
    size_t each;
} ranges_job;

static vise_status widen_window(void *context, size_t window, int worker, vise_error *err)
{
    const ranges_job *job = context;
    const vise_capture capture = {.cache_largest = job->largest + (size_t)worker * job->each};
    return vise_layer_run_window(&job->run, window, worker, &capture, err);
}

vise_status vise_block_cache_ranges(const vise_model *model, const vise_block *block, vise_stream *stream,
                                    vise_backend *backend, float *largest, vise_error *err)
{
    const size_t heads = (size_t)model->config.kv_heads, workers = (size_t)vise_workers_count(backend->workers);
    ranges_job job = {.each = 2 * heads};
    vise_status status = VISE_OK;
    VISE_TRY(vise_calloc(workers * job.each + 1, sizeof *job.largest, (void **)&job.largest, err));
    VISE_TRY_TO(done, vise_layer_run_init(&job.run, model, block, stream, backend, VISE_INPUT_O, err));
    VISE_TRY_TO(done, vise_parallel(backend->workers, stream->windows, widen_window, &job, err));
    for (size_t i = 0; i < job.each; i++) {
        largest[i] = 0.0f;
        for (size_t w = 0; w < workers; w++) {
            const float size = job.largest[w * job.each + i];
            largest[i] = size <= largest[i] ? largest[i] : size;
        }
        if (!isfinite(largest[i]))
            status = VISE_FAIL(err, VISE_EFORMAT, "the %s of block %d are not finite (head %zu)",
                               i < heads ? "keys" : "values", block->layer, i % heads);
        if (status != VISE_OK)
            goto done;
    }
done:
    vise_layer_run_deinit(&job.run);
    vise_free(job.largest);
    return status;
}
