#include "model/decoder.h"

#include <string.h>

#include "core/event.h"
#include "formats/packed.h"
#include "model/cache.h"
#include "model/forward.h"
#include "model/stream.h"

/* Reading weights: scratch of the store for one tile of about 2 MiB a worker, as the file holds it and decoded. */
#define READ_SCRATCH_BYTES ((uint64_t)6 << 20)
/* Blocks that are read anew are run over this many tokens at a time when memory allows. */
#define PASS_TOKENS_MAX 4096

struct vise_decoder {
    const vise_model *model;
    vise_decoder_options options;
    size_t piece; /* tokens that go through a block together */
    size_t pass;  /* tokens that go through all blocks together: several pieces */
    int32_t *ids; /* [capacity]: the text */
    size_t count;
    vise_stream *stream; /* of one pass */
    vise_embed_tables tables;
    vise_cache *cache;
    vise_block *blocks; /* [resident] */
    size_t resident;
    vise_head *head;
};

static size_t piece_of(const vise_model *model, size_t capacity)
{
    size_t piece = VISE_FORWARD_TILE, positions = (size_t)model->config.max_positions;
    piece = piece < capacity ? piece : capacity;
    return piece < positions ? piece : positions;
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* What is held as long as the decoder is open, weights of blocks and of the head aside. */
static uint64_t held_bytes(const vise_model *model, size_t capacity, size_t pass)
{
    size_t piece = piece_of(model, capacity);
    return vise_cache_bytes(model, capacity, piece) + vise_stream_fed_bytes(model, pass, piece, capacity) +
           vise_embed_tables_bytes(model, capacity) + vise_head_small_bytes(model);
}

/* What a pass takes and gives back, with a block that is read anew if there are such. */
static uint64_t passing_bytes(const vise_model *model, size_t capacity, int workers)
{
    const uint64_t row = (uint64_t)model->config.hidden * sizeof(float);
    uint64_t reading = (uint64_t)workers * READ_SCRATCH_BYTES + ((uint64_t)1 << 20);
    if (vise_source_is_packed(vise_store_source(model->store)))
        reading += (uint64_t)workers * vise_packer_bytes(false);
    uint64_t blocks = vise_extend_scratch_bytes(model, piece_of(model, capacity), capacity, workers);
    uint64_t head =
        vise_head_scratch_bytes(model, 1, false) + (uint64_t)model->config.vocab * sizeof(float) + row;
    return reading + (blocks > head ? blocks : head);
}

uint64_t vise_decoder_bytes(const vise_model *model, size_t capacity, int workers)
{
    return held_bytes(model, capacity, piece_of(model, capacity)) + passing_bytes(model, capacity, workers) +
           vise_block_bytes(model);
}

static uint64_t room_in(vise_pool *pool)
{
    uint64_t limit = vise_pool_limit(pool), used = vise_pool_used(pool);
    if (limit == 0)
        return UINT64_MAX;
    return limit > used ? limit - used : 0;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static vise_status load_block(const vise_decoder *decoder, int layer, vise_block *block, vise_error *err)
{
    const vise_decoder_options *options = &decoder->options;
    VISE_TRY(vise_block_load(decoder->model, layer, options->workers, options->pool, block, err));
    if (options->weights_only)
        vise_block_keep_activations(block);
    return VISE_OK;
}

/* Keeps as many blocks as leave room for one more and for `others`. */
static vise_status load_blocks(vise_decoder *decoder, uint64_t others, vise_error *err)
{
    const vise_model *model = decoder->model;
    const size_t layers = (size_t)model->config.layers;
    const uint64_t block = vise_block_bytes(model);
    void *memory = NULL;
    VISE_TRY(vise_calloc(layers, sizeof *decoder->blocks, &memory, err));
    decoder->blocks = memory;
    uint64_t room = minus(room_in(decoder->options.pool), others);
    bool all = block == 0 || room / block >= layers;
    while (decoder->resident < layers && (all || minus(room, block) >= (decoder->resident + 1) * block)) {
        VISE_TRY(load_block(decoder, (int)decoder->resident, &decoder->blocks[decoder->resident], err));
        decoder->resident++;
    }
    if (decoder->resident < layers)
        vise_warn("%zu of the %zu blocks do not fit into the memory bound and are read anew for every token",
                  layers - decoder->resident, layers);
    return VISE_OK;
}

static vise_status check_length(const vise_model *model, size_t capacity, vise_error *err)
{
    const long long positions = (long long)model->config.max_positions;
    if (capacity == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "a text of no tokens");
    if (capacity <= (size_t)model->config.max_positions)
        return VISE_OK;
    if (model->config.position == VISE_POSITION_LEARNED)
        return VISE_FAIL(err, VISE_EUSAGE, "a text of %zu tokens is longer than the model's %lld positions",
                         capacity, positions);
    vise_warn("a text of %zu tokens is longer than the %lld positions that the model was made for", capacity,
              positions);
    return VISE_OK;
}

static vise_status open_parts(vise_decoder *decoder, vise_error *err)
{
    const vise_model *model = decoder->model;
    const vise_decoder_options *options = &decoder->options;
    const size_t capacity = options->capacity;
    void *memory = NULL;
    VISE_TRY(vise_calloc(capacity, sizeof *decoder->ids, &memory, err));
    decoder->ids = memory;
    VISE_TRY(vise_cache_new(model, capacity, decoder->piece, options->pool, &decoder->cache, err));

    const uint64_t passing = passing_bytes(model, capacity, vise_workers_count(options->workers));
    const uint64_t weights =
        vise_block_bytes(model) * (uint64_t)model->config.layers + vise_head_bytes(model);
    const uint64_t held =
        held_bytes(model, capacity, decoder->piece) - vise_cache_bytes(model, capacity, decoder->piece);
    uint64_t room = minus(room_in(options->pool), held + passing);
    decoder->pass = decoder->piece;
    if (room < weights) { /* a pass costs reading the model: let it be long */
        uint64_t tokens = minus(room, vise_block_bytes(model)) / 4 / vise_stream_fed_bytes(model, 1, 1, 1);
        tokens = tokens < PASS_TOKENS_MAX ? tokens : PASS_TOKENS_MAX;
        tokens = tokens < capacity ? tokens : capacity;
        decoder->pass = tokens > decoder->piece ? (size_t)tokens : decoder->piece;
    }
    VISE_TRY(vise_stream_new_fed(model, decoder->pass, decoder->piece, capacity, options->pool,
                                 &decoder->stream, err));
    VISE_TRY(vise_embed_tables_load(model, decoder->stream, 1, options->workers, &decoder->tables, err));
    room =
        minus(room_in(options->pool), vise_head_small_bytes(model) + passing + 2 * vise_block_bytes(model));
    VISE_TRY(vise_head_open(model, room, options->weights_only, options->workers, options->pool,
                            &decoder->head, err));
    return load_blocks(decoder, passing, err);
}

vise_status vise_decoder_open(const vise_model *model, const vise_decoder_options *options,
                              vise_decoder **out, vise_error *err)
{
    *out = NULL;
    VISE_TRY(vise_model_need_tokens(model, "generating text", err));
    VISE_TRY(check_length(model, options->capacity, err));
    void *memory = NULL;
    VISE_TRY(vise_calloc(1, sizeof(vise_decoder), &memory, err));
    vise_decoder *decoder = memory;
    decoder->model = model;
    decoder->options = *options;
    decoder->piece = piece_of(model, options->capacity);
    vise_status status = open_parts(decoder, err);
    if (status != VISE_OK) {
        vise_decoder_close(decoder);
        return status;
    }
    *out = decoder;
    return VISE_OK;
}

void vise_decoder_close(vise_decoder *decoder)
{
    if (!decoder)
        return;
    for (size_t i = 0; i < decoder->resident; i++)
        vise_block_unload(&decoder->blocks[i]);
    vise_free(decoder->blocks);
    vise_head_close(decoder->head);
    vise_cache_free(decoder->cache);
    if (decoder->stream)
        vise_embed_tables_free(&decoder->tables);
    vise_stream_close(decoder->stream);
    vise_free(decoder->ids);
    vise_free(decoder);
}

size_t vise_decoder_resident_blocks(const vise_decoder *decoder)
{
    return decoder->resident;
}

/* ---- running ------------------------------------------------------------------------------------------------- */

static vise_status run_layer(vise_decoder *decoder, int layer, vise_error *err)
{
    vise_backend *backend = decoder->options.backend;
    if ((size_t)layer < decoder->resident)
        return vise_block_extend(decoder->model, &decoder->blocks[layer], decoder->stream, decoder->cache,
                                 backend, err);
    vise_block block;
    VISE_TRY(load_block(decoder, layer, &block, err));
    vise_status status =
        vise_block_extend(decoder->model, &block, decoder->stream, decoder->cache, backend, err);
    vise_block_unload(&block);
    return status;
}

/* Tokens [position, position + n) of the text through all blocks; `length` is how long it is known to be. */
static vise_status run_pass(vise_decoder *decoder, size_t position, size_t n, size_t length, vise_error *err)
{
    const vise_model *model = decoder->model;
    vise_stream *stream = decoder->stream;
    vise_workers *workers = decoder->options.workers;
    vise_stream_advance(model, stream, position, n, length);
    VISE_TRY(vise_embed(model, &decoder->tables, decoder->ids + position, n, workers, decoder->options.pool,
                        stream->resident, err));
    VISE_TRY(vise_embed_finish(model, stream, &decoder->tables, NULL, workers, 0, n, stream->resident, err));
    for (int layer = 0; layer < (int)model->config.layers; layer++)
        VISE_TRY(run_layer(decoder, layer, err));
    return VISE_OK;
}

/* LongRoPE turns all of a text by other angles once it is longer than the original context: what is cached is then
 * of no use. (Dynamic scaling changes angles with every token; as in transformers, cached keys keep those of their
 * time.) */
static bool turns_anew(const vise_rope *rope, size_t before, size_t after)
{
    return rope->kind == VISE_ROPE_LONGROPE && before <= (size_t)rope->original &&
           after > (size_t)rope->original;
}

vise_status vise_decoder_feed(vise_decoder *decoder, const int32_t *ids, size_t n, float *logits,
                              vise_error *err)
{
    const vise_config *config = &decoder->model->config;
    if (n == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "there are no tokens to go on from");
    if (n > decoder->options.capacity - decoder->count)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "a text of %zu tokens and %zu more is longer than the %zu there is room for",
                         decoder->count, n, decoder->options.capacity);
    size_t first = decoder->count, end = first + n;
    memcpy(decoder->ids + first, ids, n * sizeof *ids);
    if (first > 0 && config->position == VISE_POSITION_ROTARY &&
        (turns_anew(&config->rope, first, end) || turns_anew(&config->local_rope, first, end))) {
        vise_cache_clear(decoder->cache);
        first = 0;
    }
    decoder->count = end;
    size_t last = 0;
    for (size_t position = first; position < end; position += last) {
        last = end - position < decoder->pass ? end - position : decoder->pass;
        VISE_TRY(run_pass(decoder, position, last, end, err));
    }
    return vise_head_logits(decoder->head, decoder->stream, decoder->options.backend, last - 1, 1, logits,
                            err);
}
