#include "eval/run.h"

#include "core/event.h"
#include "formats/packed.h"

/* Logits of a batch take about this much per model: few enough to stay in a cache, enough tokens for full products. */
#define LOGITS_BYTES ((uint64_t)16 << 20)
enum { BATCH_TOKENS_MIN = 64, BATCH_TOKENS_MAX = 4096 };

size_t vise_eval_sets(const vise_eval_options *options)
{
    return options->sets ? options->sets : 1;
}

double vise_eval_operations(const vise_model *model, const vise_eval_options *options)
{
    double operations = 0.0;
    for (size_t s = 0; s < vise_eval_sets(options); s++) {
        const vise_windows *set = &options->windows[s];
        operations += vise_forward_operations(model, (double)set->count * (double)set->length, set->length);
    }
    return operations;
}

static vise_status run_block(vise_eval_run *run, int layer, const vise_eval_options *options, vise_error *err)
{
    vise_block block;
    VISE_TRY(vise_block_load(run->model, layer, options->workers, options->pool, &block, err));
    if (options->weights_only)
        vise_block_keep_activations(&block);
    vise_status status = vise_block_forward(run->model, &block, run->stream, options->backend, err);
    vise_block_unload(&block);
    return status;
}

vise_status vise_eval_run_blocks(vise_eval_run *run, const vise_model *model, const vise_eval_options *options,
                                 double *done, double total, vise_error *err)
{
    *run = (vise_eval_run){.model = model, .pool = options->pool};
    VISE_TRY(vise_model_need_forward(model, "evaluation", err));
    VISE_TRY(vise_stream_open_sets(model, options->windows, vise_eval_sets(options), options->stream_ram_bytes,
                                   options->workers, options->pool, &run->stream, err));
    double per_block = vise_eval_operations(model, options) / (double)model->config.layers;
    for (int layer = 0; layer < (int)model->config.layers; layer++) {
        VISE_TRY(run_block(run, layer, options, err));
        *done += per_block;
        vise_progress("evaluate", NULL, *done, total);
    }
    return VISE_OK;
}

/* ---- heads --------------------------------------------------------------------------------------------------- */

static uint64_t logits_row_bytes(const vise_model *model)
{
    return (uint64_t)vise_head_width(model) * sizeof(float);
}

/* Tokens whose logits are worked on at a time when memory is no concern. */
static size_t batch_tokens(const vise_model *model)
{
    uint64_t tokens = LOGITS_BYTES / logits_row_bytes(model);
    if (tokens < BATCH_TOKENS_MIN)
        return BATCH_TOKENS_MIN;
    return tokens < BATCH_TOKENS_MAX ? (size_t)tokens : BATCH_TOKENS_MAX;
}

/* Pool bytes of a batch of one model. */
static uint64_t batch_bytes(const vise_model *model, size_t tokens, bool resident)
{
    return tokens * logits_row_bytes(model) + vise_head_scratch_bytes(model, tokens, resident);
}

static uint64_t pool_room(vise_pool *pool)
{
    uint64_t limit = vise_pool_limit(pool), used = vise_pool_used(pool);
    if (limit == 0)
        return UINT64_MAX;
    return limit > used ? limit - used : 0;
}

vise_status vise_eval_run_heads(vise_eval_run *const *runs, size_t n, const vise_eval_options *options, size_t *batch,
                                vise_error *err)
{
    size_t all = vise_stream_tokens(runs[0]->stream);
    uint64_t room = pool_room(options->pool), resident = 0, batches = 0, spread = 0, per_token = 0;
    *batch = batch_tokens(runs[0]->model);
    for (size_t r = 0; r < n; r++) {
        resident += vise_head_bytes(runs[r]->model);
        batches += batch_bytes(runs[r]->model, *batch, true);
        spread += batch_bytes(runs[r]->model, 0, false) + vise_head_bytes(runs[r]->model) / 64;
        per_token += batch_bytes(runs[r]->model, 1, true);
    }
    bool keep = room == UINT64_MAX || resident + batches <= room;
    if (runs[0]->model->config.head != VISE_HEAD_LM && !keep) {
        /* A small head, which one window after the other goes through: vise_eval_bytes counts it. */
        keep = true;
        *batch = BATCH_TOKENS_MIN;
    }
    if (!keep) {
        /* The heads are read anew for every batch: as many tokens as fit into three quarters of what is left. */
        uint64_t tokens = room > spread ? (room - spread) / 4 * 3 / per_token : 0;
        *batch = tokens > BATCH_TOKENS_MIN ? (size_t)tokens : BATCH_TOKENS_MIN;
    }
    *batch = *batch < all ? *batch : all;
    for (size_t r = 0; r < n; r++) {
        VISE_TRY(vise_head_open(runs[r]->model, keep ? UINT64_MAX : 0, options->weights_only, options->workers,
                                options->pool, &runs[r]->head, err));
        void *memory = NULL;
        VISE_TRY(vise_pool_take(options->pool, *batch * (size_t)logits_row_bytes(runs[r]->model), "logits", &memory,
                                err));
        runs[r]->logits = memory;
    }
    return VISE_OK;
}

void vise_eval_run_deinit(vise_eval_run *run)
{
    vise_pool_give(run->pool, run->logits);
    vise_head_close(run->head);
    vise_stream_close(run->stream);
    *run = (vise_eval_run){0};
}

/* ---- the least ----------------------------------------------------------------------------------------------- */

/* Reading weights: scratch of the store for one tile of about 2 MiB a worker, as the file holds it and decoded. */
enum { READ_SCRATCH_BYTES = 6 << 20 };

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t least(const vise_model *model, size_t length, int workers, uint64_t *head)
{
    uint64_t rotary = vise_stream_table_bytes(model, 1, length);
    uint64_t reading = (uint64_t)workers * READ_SCRATCH_BYTES;
    uint64_t blocks = vise_block_bytes(model) + larger(reading, vise_forward_scratch_bytes(model, length, workers));
    uint64_t embedding = ((uint64_t)19 << 20) + reading + vise_embed_tables_bytes(model, length);
    if (model->config.head == VISE_HEAD_LM)
        *head += batch_bytes(model, BATCH_TOKENS_MIN, false) + vise_head_small_bytes(model) + rotary + reading;
    else
        *head += batch_bytes(model, BATCH_TOKENS_MIN, true) + vise_head_bytes(model) + rotary + reading;
    return rotary + larger(blocks, embedding);
}

/* A packed model's decoders stay from the first read to the end. */
static uint64_t decoder_bytes(const vise_model *model, int workers)
{
    return vise_source_is_packed(vise_store_source(model->store)) ? (uint64_t)workers * vise_packer_bytes(false) : 0;
}

uint64_t vise_eval_bytes(const vise_model *model, const vise_model *reference, size_t length, int workers)
{
    uint64_t heads = 0, bytes = least(model, length, workers, &heads), decoders = decoder_bytes(model, workers);
    if (reference) {
        bytes = larger(bytes, least(reference, length, workers, &heads));
        decoders += decoder_bytes(reference, workers);
    }
    return larger(bytes, heads) + decoders;
}
