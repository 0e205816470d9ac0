#include <unistd.h>

#include "core/buf.h"
#include "core/event.h"
#include "core/file.h"
#include "eval/run.h"
#include "formats/safetensors.h"

/* The header of a safetensors file with one tensor, [windows, length, width] or, of a model that gives one vector a
 * window, [windows, width]; *data is where its values start. */
static vise_status write_header(const vise_file *file, const vise_model *model, size_t rows, size_t length,
                                uint64_t *data, vise_error *err)
{
    const bool tokens = model->config.head == VISE_HEAD_LM;
    const int64_t width = vise_head_width(model);
    const int64_t shape[] = {(int64_t)rows, tokens ? (int64_t)length : width, width};
    uint64_t bytes = (uint64_t)rows * (tokens ? length : 1) * (uint64_t)width * sizeof(float);
    const char *name = model->config.head == VISE_HEAD_NONE ? "embeddings" : "logits";
    const vise_st_tensor logits = {name, VISE_DTYPE_F32, tokens ? 3 : 2, shape, 0, bytes};
    vise_buf header;
    vise_buf_init(&header, 4096);
    vise_status status = vise_st_write_header(&logits, 1, NULL, 0, &header, err);
    if (status == VISE_OK)
        status = vise_buf_check(&header, "the header of the logits", err);
    *data = header.length;
    if (status == VISE_OK)
        status = vise_file_reserve(file, *data + bytes, err);
    if (status == VISE_OK)
        status = vise_file_write_at(file, 0, header.data, header.length, err);
    vise_buf_deinit(&header);
    return status;
}

static vise_status write_windows(const vise_eval_run *run, const vise_eval_options *options, size_t rows, size_t step,
                                 const vise_file *file, uint64_t data, vise_error *err)
{
    size_t row = (size_t)vise_head_width(run->model) * sizeof(float);
    for (size_t window = 0; window < rows; window += step) {
        size_t n = rows - window < step ? rows - window : step;
        VISE_TRY(vise_head_windows(run->head, run->stream, options->backend, window, n, options->first_token,
                                   run->logits, err));
        VISE_TRY(vise_file_write_at(file, data + (uint64_t)window * row, run->logits, n * row, err));
    }
    return VISE_OK;
}

static vise_status write_logits(const vise_eval_run *run, const vise_eval_options *options, size_t step,
                                const vise_file *file, uint64_t data, double *done, double total, vise_error *err)
{
    size_t tokens = vise_stream_tokens(run->stream), row = (size_t)run->model->config.vocab * sizeof(float);
    for (size_t token = 0; token < tokens; token += step) {
        size_t n = tokens - token < step ? tokens - token : step;
        VISE_TRY(vise_head_logits(run->head, run->stream, options->backend, token, n, run->logits, err));
        VISE_TRY(vise_file_write_at(file, data + (uint64_t)token * row, run->logits, n * row, err));
        *done += 2.0 * (double)n * (double)run->model->config.vocab * (double)run->model->config.hidden;
        vise_progress("logits", "head", *done, total);
    }
    return VISE_OK;
}

vise_status vise_save_logits(const vise_model *model, const vise_eval_options *options, const char *path,
                             vise_error *err)
{
    vise_eval_run run = {0};
    vise_eval_run *const runs[1] = {&run};
    vise_file file = {.fd = -1};
    char *partial = NULL;
    size_t length = options->windows[0].length, rows = 0, step = 0;
    uint64_t data = 0;
    double done = 0.0, total = 0.0;
    vise_status status = VISE_OK;

    VISE_TRY(vise_model_need_forward(model, "computing logits", err));
    for (size_t s = 0; s < vise_eval_sets(options); s++) {
        if (options->windows[s].length != length && model->config.head == VISE_HEAD_LM)
            return VISE_FAIL(err, VISE_EUSAGE,
                             "logits of rows of different lengths (%zu and %zu) do not make one tensor", length,
                             options->windows[s].length);
        rows += options->windows[s].count;
    }
    total = vise_eval_operations(model, options) +
            2.0 * (double)rows * (double)length * (double)model->config.vocab * (double)model->config.hidden;
    VISE_TRY(vise_strfmt(&partial, err, "%s.vise-partial", path));
    VISE_TRY_TO(done, vise_file_create(partial, &file, err));
    VISE_TRY_TO(done, write_header(&file, model, rows, length, &data, err));
    VISE_TRY_TO(done, vise_eval_run_blocks(&run, model, options, &done, total, err));
    VISE_TRY_TO(done, vise_eval_run_heads(runs, 1, options, &step, err));
    if (model->config.head == VISE_HEAD_LM)
        VISE_TRY_TO(done, write_logits(&run, options, step, &file, data, &done, total, err));
    else
        VISE_TRY_TO(done, write_windows(&run, options, rows, step, &file, data, err));
    VISE_TRY_TO(done, vise_file_sync(&file, err));
    status = vise_path_publish(partial, path, true, err);
done:
    vise_eval_run_deinit(&run);
    if (file.fd >= 0) {
        vise_file_close(&file);
        if (status != VISE_OK)
            unlink(partial);
    }
    vise_free(partial);
    return status;
}
