/* Making an importance matrix: one walk over the blocks that keeps nothing but sums of squares. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/event.h"
#include "core/file.h"
#include "formats/gguf_meta.h"
#include "model/stream.h"
#include "quant/imatrix.h"
#include "quant/imatrix_file.h"

/* All of a model's sums in one file. */
#define FILE_BYTES_MAX ((size_t)1 << 34)

enum { ALL_INPUTS = (1 << VISE_INPUT_COUNT) - 1 };

/* One weight, or one stack of experts. */
typedef struct sums {
    char name[VISE_GGUF_MODULE_MAX];
    int64_t columns, matrices;
    float *squares; /* [matrices, columns] */
    float *counts;  /* [matrices] */
} sums;

typedef struct making {
    const vise_model *model;
    const vise_gguf_family *family;
    vise_arena *arena;
    sums *found;         /* [model->count] at most */
    size_t count, first; /* first: of the block at hand */
} making;

uint64_t vise_imatrix_bytes(const vise_model *model, size_t n_sets, size_t length, int threads)
{
    const uint64_t measure = vise_measure_scratch_bytes(model, length, threads);
    const uint64_t forward = vise_forward_scratch_bytes(model, length, threads);
    const uint64_t work =
        vise_stats_bytes(model, VISE_STAT_NORMS, ALL_INPUTS) + (measure > forward ? measure : forward);
    const uint64_t embed = vise_embed_tables_bytes(model, length), run = vise_block_bytes(model) + work;
    return vise_stream_table_bytes(model, n_sets, length) + (run > embed ? run : embed);
}

static vise_status sums_of(making *m, const char *name, int64_t columns, int64_t matrices, sums **out,
                           vise_error *err)
{
    void *block;
    size_t n;
    for (size_t i = m->first; i < m->count; i++)
        if (strcmp(m->found[i].name, name) == 0) {
            *out = &m->found[i];
            return VISE_OK;
        }
    sums *new_sums = &m->found[m->count];
    if (!vise_mul_size((size_t)columns + 1, (size_t)matrices, &n) || !vise_mul_size(n, sizeof(float), &n))
        return VISE_FAIL(err, VISE_ERESOURCE, "%s: too large for this machine", name);
    VISE_TRY(vise_arena_take(m->arena, n, &block, err));
    memset(block, 0, n);
    *new_sums = (sums){
        .columns = columns, .matrices = matrices, .counts = block, .squares = (float *)block + matrices};
    memcpy(new_sums->name, name, strlen(name) + 1);
    m->count++;
    *out = new_sums;
    return VISE_OK;
}

/* The weights that read what was measured in a block. */
static vise_status keep_block(making *m, int layer, const vise_block_stats *stats, vise_error *err)
{
    m->first = m->count;
    for (size_t i = 0; i < m->model->count; i++) {
        const vise_bound *bound = &m->model->bound[i];
        char name[VISE_GGUF_MODULE_MAX];
        if (bound->layer != layer || bound->is_bias || bound->tensor->ndim != 2 ||
            bound->input >= VISE_INPUT_COUNT)
            continue;
        const vise_input_stats *input = &stats->input[vise_bound_input(bound)];
        const vise_gguf_named named = vise_gguf_name_from_hf(m->family, bound->tensor->name, name);
        if (named.module == NULL || named.dropped || input->square_sum == NULL ||
            strlen(name) > VISE_IMATRIX_NAME_MAX)
            continue;
        const bool stacked = (named.module->how & VISE_GGUF_STACKED) != 0;
        sums *to = NULL;
        VISE_TRY(sums_of(m, name, input->width, stacked ? m->model->config.experts : 1, &to, err));
        const int64_t at = stacked ? named.expert : 0;
        to->counts[at] = (float)input->tokens;
        for (int64_t c = 0; c < input->width; c++)
            to->squares[at * to->columns + c] = (float)input->square_sum[c];
    }
    return VISE_OK;
}

static vise_status measure_blocks(making *m, vise_stream *stream, vise_session *session, vise_error *err)
{
    const int64_t layers = m->model->config.layers;
    for (int layer = 0; layer < layers; layer++) {
        vise_block block = {0};
        vise_block_stats stats = {0};
        char item[48];
        snprintf(item, sizeof item, "block %d of %lld", layer + 1, (long long)layers);
        vise_progress("measure", item, (double)layer, (double)layers);
        vise_status status = vise_block_load(m->model, layer, session->workers, session->pool, &block, err);
        if (status == VISE_OK)
            status = vise_block_measure(m->model, &block, stream, session->backend, VISE_STAT_NORMS,
                                        ALL_INPUTS, &stats, err);
        if (status == VISE_OK)
            status = keep_block(m, layer, &stats, err);
        vise_block_stats_deinit(&stats);
        if (status == VISE_OK && layer + 1 < layers)
            status = vise_block_forward(m->model, &block, stream, session->backend, err);
        vise_block_unload(&block);
        VISE_TRY(status);
        VISE_TRY(vise_check_interrupt(err));
    }
    return VISE_OK;
}

/* ---- the file ---------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const sums *)a)->name, ((const sums *)b)->name);
}

static vise_status describe(const vise_windows *sets, size_t n_sets, const char *dataset,
                            vise_gguf_values *values, vise_error *err)
{
    size_t chunks = 0;
    for (size_t i = 0; i < n_sets; i++)
        chunks += sets[i].count;
    vise_gguf_put_text(values, "general.type", "imatrix");
    vise_gguf_put_array(values, "imatrix.datasets", VISE_GGUF_KIND_TEXT, 1, NULL);
    vise_gguf_add_text(values, dataset, strlen(dataset));
    vise_gguf_put_u32(values, "imatrix.chunk_count", (uint32_t)chunks);
    vise_gguf_put_u32(values, "imatrix.chunk_size", (uint32_t)sets[0].length);
    return vise_buf_check(&values->bytes, "GGUF metadata", err);
}

/* As ggml counts dimensions: without ones at the end. */
static vise_gguf_tensor describe_tensor(const char *name, int64_t columns, int64_t matrices, uint64_t *end)
{
    vise_gguf_tensor tensor = {.name = name,
                               .ndim = matrices > 1 ? 2 : 1,
                               .dims = {columns, matrices},
                               .type = &vise_gguf_table[VISE_GGUF_F32],
                               .elements = (uint64_t)(columns * matrices),
                               .bytes = (uint64_t)(columns * matrices) * sizeof(float),
                               .offset = *end};
    *end += (tensor.bytes + VISE_GGUF_ALIGNMENT - 1) / VISE_GGUF_ALIGNMENT * VISE_GGUF_ALIGNMENT;
    return tensor;
}

static void add_floats(vise_buf *file, const float *values, int64_t n)
{
    static const char padding[VISE_GGUF_ALIGNMENT] = {0};
    const size_t bytes = (size_t)n * sizeof *values, rest = bytes % VISE_GGUF_ALIGNMENT;
    vise_buf_add(file, values, bytes);
    vise_buf_add(file, padding, rest > 0 ? VISE_GGUF_ALIGNMENT - rest : 0);
}

static vise_status write_file(making *m, const vise_gguf_values *values, vise_buf *file, vise_error *err)
{
    static const vise_gguf_split whole = {.number = 0, .count = 1};
    void *block;
    uint64_t end = 0;
    qsort(m->found, m->count, sizeof *m->found, by_name);
    VISE_TRY(vise_arena_take(m->arena, 2 * m->count * sizeof(vise_gguf_tensor), &block, err));
    vise_gguf_tensor *tensors = block;
    for (size_t i = 0; i < m->count; i++) {
        const sums *of = &m->found[i];
        const char *squares, *counts;
        VISE_TRY(vise_arena_strfmt(m->arena, &squares, err, "%s.in_sum2", of->name));
        VISE_TRY(vise_arena_strfmt(m->arena, &counts, err, "%s.counts", of->name));
        tensors[2 * i] = describe_tensor(squares, of->columns, of->matrices, &end);
        tensors[2 * i + 1] = describe_tensor(counts, 1, of->matrices, &end);
    }
    VISE_TRY(vise_gguf_write_header(values, &whole, tensors, 2 * m->count, file, err));
    for (size_t i = 0; i < m->count; i++) {
        add_floats(file, m->found[i].squares, m->found[i].columns * m->found[i].matrices);
        add_floats(file, m->found[i].counts, m->found[i].matrices);
    }
    return vise_buf_check(file, "the importance matrix", err);
}

static void warn_of_unseen(const making *m)
{
    for (size_t i = 0; i < m->count; i++) {
        int64_t unseen = 0;
        for (int64_t k = 0; k < m->found[i].matrices; k++)
            unseen += m->found[i].counts[k] == 0.0f;
        if (unseen > 0)
            vise_warn("%s: no token reached %lld of %lld experts; a longer text would", m->found[i].name,
                      (long long)unseen, (long long)m->found[i].matrices);
    }
}

static vise_status make(making *m, const vise_windows *sets, size_t n_sets, const char *dataset,
                        vise_session *session, const char *out, vise_error *err)
{
    const uint64_t limit = vise_pool_limit(session->pool);
    size_t longest = 0;
    for (size_t i = 0; i < n_sets; i++)
        longest = sets[i].length > longest ? sets[i].length : longest;
    const uint64_t least =
        vise_imatrix_bytes(m->model, n_sets, longest, vise_workers_count(session->workers));
    const uint64_t ram = limit == 0 ? UINT64_MAX : limit > least ? limit - least : 0;
    vise_gguf_values values;
    vise_buf file;
    vise_stream *stream;
    void *block;
    VISE_TRY(vise_arena_new(&m->arena, err));
    VISE_TRY(vise_arena_take(m->arena, (m->model->count + 1) * sizeof *m->found, &block, err));
    m->found = block;
    VISE_TRY(
        vise_stream_open_sets(m->model, sets, n_sets, ram, session->workers, session->pool, &stream, err));
    vise_status status = measure_blocks(m, stream, session, err);
    vise_stream_close(stream);
    VISE_TRY(status);
    warn_of_unseen(m);
    vise_gguf_values_init(&values);
    vise_buf_init(&file, FILE_BYTES_MAX);
    status = describe(sets, n_sets, dataset, &values, err);
    if (status == VISE_OK)
        status = write_file(m, &values, &file, err);
    if (status == VISE_OK)
        status = vise_file_write_atomic(out, file.data, file.length, err);
    vise_buf_deinit(&file);
    vise_gguf_values_deinit(&values);
    return status;
}

vise_status vise_imatrix_make(const vise_model *model, const vise_windows *sets, size_t n_sets,
                              const char *dataset, vise_session *session, const char *out, vise_error *err)
{
    making m = {.model = model};
    VISE_TRY(vise_model_need_forward(model, "imatrix", err));
    VISE_TRY(vise_gguf_family_of_source(vise_store_source(model->store), &m.family, err));
    if (m.family == NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "importance matrices go by llama.cpp's names, and this family has none");
    vise_status status = make(&m, sets, n_sets, dataset, session, out, err);
    vise_arena_free(m.arena);
    return status;
}
