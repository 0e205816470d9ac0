#include "eval/drift.h"

#include "core/event.h"
#include "eval/run.h"

/* Rows of logits that one task compares. */
enum { DRIFT_ROWS = 32 };

typedef struct drift_job {
    vise_backend *backend;
    const float *reference, *other; /* [rows, width] */
    size_t rows;
    int64_t width;
    double *kl;     /* [rows] */
    uint8_t *agree; /* [rows] */
} drift_job;

static vise_status compare_rows(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    const drift_job *job = context;
    const size_t first = index * DRIFT_ROWS, n = job->rows - first < DRIFT_ROWS ? job->rows - first : DRIFT_ROWS;
    return job->backend->network->compare(job->backend, (int64_t)n, job->width,
                                          job->reference + (int64_t)first * job->width,
                                          job->other + (int64_t)first * job->width, job->kl + first,
                                          job->agree + first, err);
}

static void distances(drift_job *job)
{
    for (size_t row = 0; row < job->rows; row++) {
        const float *a = job->reference + (int64_t)row * job->width, *b = job->other + (int64_t)row * job->width;
        double apart = 0.0, length = 0.0;
        for (int64_t j = 0; j < job->width; j++) {
            apart += ((double)a[j] - (double)b[j]) * ((double)a[j] - (double)b[j]);
            length += (double)a[j] * (double)a[j];
        }
        job->kl[row] = length > 0.0 ? apart / length : 0.0;
    }
}

/* What the head gives for `rows` tokens, or windows, from `first` on. */
static vise_status head_rows(const vise_eval_run *run, const vise_eval_options *options, size_t first, size_t rows,
                             vise_error *err)
{
    if (run->model->config.head == VISE_HEAD_LM)
        return vise_head_logits(run->head, run->stream, options->backend, first, rows, run->logits, err);
    return vise_head_windows(run->head, run->stream, options->backend, first, rows, options->first_token, run->logits,
                             err);
}

static vise_status compare_all(vise_eval_run *run, vise_stream *const *others, size_t n,
                               const vise_eval_options *options, size_t step, drift_job *job, double *means,
                               vise_error *err)
{
    const vise_model *model = run[0].model;
    const bool distance = model->config.head == VISE_HEAD_NONE;
    const size_t all = model->config.head == VISE_HEAD_LM ? vise_stream_tokens(run[0].stream) : options->windows->count;
    for (size_t first = 0; first < all; first += step) {
        job->rows = all - first < step ? all - first : step;
        VISE_TRY(head_rows(&run[0], options, first, job->rows, err));
        for (size_t k = 0; k < n; k++) {
            run[1].stream = others[k];
            VISE_TRY(vise_check_interrupt(err));
            VISE_TRY(head_rows(&run[1], options, first, job->rows, err));
            if (distance)
                distances(job);
            else
                VISE_TRY(vise_parallel(options->workers, (job->rows + DRIFT_ROWS - 1) / DRIFT_ROWS, compare_rows, job,
                                       err));
            for (size_t row = 0; row < job->rows; row++)
                means[k] += job->kl[row] / (double)all;
        }
    }
    return VISE_OK;
}

vise_status vise_drift(const vise_model *model, vise_stream *reference, vise_stream *const *others, size_t n,
                       const vise_eval_options *options, double *means, vise_error *err)
{
    vise_eval_run run[2] = {{.model = model, .stream = reference, .pool = options->pool},
                            {.model = model, .stream = n > 0 ? others[0] : NULL, .pool = options->pool}};
    vise_eval_run *const runs[2] = {&run[0], &run[1]};
    drift_job job = {.backend = options->backend, .width = vise_head_width(model)};
    size_t step;
    void *memory = NULL;
    vise_status status = VISE_OK;
    if (n == 0)
        return VISE_OK;
    for (size_t k = 0; k < n; k++)
        means[k] = 0.0;
    VISE_TRY_TO(done, vise_eval_run_heads(runs, 2, options, &step, err));
    VISE_TRY_TO(done, vise_calloc(step, sizeof *job.kl + sizeof *job.agree, &memory, err));
    job.kl = memory;
    job.agree = (uint8_t *)(job.kl + step);
    job.reference = run[0].logits;
    job.other = run[1].logits;
    status = compare_all(run, others, n, options, step, &job, means, err);
done:
    vise_free(memory);
    run[0].stream = run[1].stream = NULL; /* the caller's */
    vise_eval_run_deinit(&run[0]);
    vise_eval_run_deinit(&run[1]);
    return status;
}
