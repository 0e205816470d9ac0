/* Families beyond the plain Llama, each against the same network told another way. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/backend.h"
#include "core/file.h"
#include "core/rng.h"
#include "formats_help.h"
#include "model/footprint.h"
#include "model/forward.h"
#include "tiny_llama.h"

/* ---- running ------------------------------------------------------------------------------------------------- */

typedef struct machine {
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
} machine;

static void start(machine *m)
{
    OK(vise_workers_new(2, &m->workers, &help_error));
    OK(vise_pool_new(0, &m->pool, &help_error));
    OK(vise_backend_open("cpu", m->workers, &m->backend, &help_error));
}

static void stop(machine *m)
{
    vise_backend_close(m->backend);
    assert_int_equal(vise_pool_used(m->pool), 0);
    vise_pool_free(m->pool);
    vise_workers_free(m->workers);
}

/* What the head gives: [tokens of all windows, vocab], or [windows, labels]. Free it with free. */
static float *run(const char *folder, const vise_windows *windows)
{
    machine m;
    vise_model *model = NULL;
    vise_stream *stream = NULL;
    vise_head *head = NULL;

    start(&m);
    OK(vise_model_open(folder, &model, &help_error));
    OK(vise_stream_open(model, windows, UINT64_MAX, m.workers, m.pool, &stream, &help_error));
    for (int layer = 0; layer < (int)model->config.layers; layer++) {
        vise_block block;
        OK(vise_block_load(model, layer, m.workers, m.pool, &block, &help_error));
        OK(vise_block_forward(model, &block, stream, m.backend, &help_error));
        vise_block_unload(&block);
    }
    OK(vise_head_open(model, UINT64_MAX, false, m.workers, m.pool, &head, &help_error));
    bool tokens = model->config.head == VISE_HEAD_LM;
    size_t rows = tokens ? windows->count * windows->length : windows->count;
    float *out = malloc(rows * (size_t)vise_head_width(model) * sizeof *out);
    if (tokens)
        OK(vise_head_logits(head, stream, m.backend, 0, rows, out, &help_error));
    else
        OK(vise_head_windows(head, stream, m.backend, 0, rows, false, out, &help_error));
    vise_head_close(head);
    vise_stream_close(stream);
    vise_model_close(model);
    stop(&m);
    return out;
}

static void put_config(const char *folder, const char *text)
{
    help_write_text(folder, "config.json", text);
}

/* ---- decoders that classify ---------------------------------------------------------------------------------- */

/* A Llama whose head's rows are labels: the logits of a window are those that its last token that is no padding would
 * have in a language model. */
static void test_decoder_classifies(void **state)
{
    enum { LENGTH = 6, WINDOWS = 4, LABELS = 20, PAD = 7 };
    static int32_t ids[WINDOWS * LENGTH] = {1, 5,   9,   3,   8,   2,   /* */
                                            4, PAD, 11,  PAD, PAD, PAD, /* the padding within is a token like others */
                                            3, 6,   2,   9,   1,   PAD, /* */
                                            PAD, PAD, PAD, PAD, PAD, PAD};
    static const struct {
        const char *pad;
        size_t last[WINDOWS];
    } cases[] = {{"7", {5, 2, 4, 0}}, {"null", {5, 5, 5, 5}}, {"-1", {5, 5, 5, 5}}, {"300000", {5, 5, 5, 5}}};
    const vise_windows windows = {.ids = ids, .count = WINDOWS, .length = LENGTH};
    tiny_llama llama = {.hidden = 16, .ffn = 24, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 4, .vocab = LABELS,
                        .positions = 32};
    char config[1024];

    (void)state;
    tiny_llama_make(&llama, 3);
    tiny_tensor *head = &llama.tensors[llama.n_tensors - 1];
    assert_string_equal(head->name, "lm_head.weight");
    snprintf(head->name, sizeof head->name, "score.weight");
    tiny_llama_write(&llama);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        snprintf(config, sizeof config,
                 "{\"architectures\":[\"LlamaForSequenceClassification\"],\"model_type\":\"llama\",\"hidden_size\":16,"
                 "\"intermediate_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
                 "\"head_dim\":4,\"vocab_size\":20,\"num_labels\":20,\"rms_norm_eps\":1e-5,"
                 "\"tie_word_embeddings\":true,\"pad_token_id\":%s}",
                 cases[c].pad);
        put_config(llama.folder, config);
        float *got = run(llama.folder, &windows);
        snprintf(head->name, sizeof head->name, "lm_head.weight"); /* what the naive pass calls it */
        for (size_t w = 0; w < WINDOWS; w++) {
            tiny_result result;
            tiny_llama_run(&llama, ids + w * LENGTH, LENGTH, 0, &result);
            const double *wanted = result.logits + cases[c].last[w] * LABELS;
            for (size_t j = 0; j < LABELS; j++)
                if (!(fabs((double)got[w * LABELS + j] - wanted[j]) <= 1e-4))
                    fail_msg("pad %s, window %zu, label %zu: %g is not %g", cases[c].pad, w, j,
                             (double)got[w * LABELS + j], wanted[j]);
            tiny_result_free(&result);
        }
        free(got);
    }
    tiny_llama_drop(&llama);
}

/* The head of a classifier is a Linear behind the blocks; the language model's is not there, tied or not. */
static void test_decoder_classes(void **state)
{
    size_t n;
    const vise_arch *families = vise_architectures(&n);

    (void)state;
    for (size_t f = 0; f < n; f++) {
        const vise_arch_class *of = &families[f].classes[1];
        size_t heads = 0;
        if (of->name == NULL) {
            assert_non_null(families[f].text);
            continue;
        }
        assert_int_equal(of->head, VISE_HEAD_CLASSIFIER);
        assert_non_null(strstr(of->name, "ForSequenceClassification"));
        vise_config config = {.traits = VISE_TRAIT_CLASSIFIER};
        for (size_t r = 0; r < families[f].n_rows; r++) {
            const vise_arch_row *row = &families[f].rows[r];
            if (row->role != VISE_ROLE_HEAD || !vise_arch_row_applies(row, &config, -1))
                continue;
            heads++;
            assert_int_equal(row->rows, VISE_DIM_LABELS);
            assert_true(row->linear && !vise_arch_row_in_block(row));
        }
        assert_int_equal(heads, 1);
    }
}

/* ---- folders of tensors drawn at random ------------------------------------------------------------------------ */

enum { TENSORS_MAX = 40 };

typedef struct drawer {
    char names[TENSORS_MAX][96];
    help_tensor tensors[TENSORS_MAX];
    size_t n;
    vise_rng rng;
} drawer;

static void begin(drawer *d, uint64_t seed)
{
    d->n = 0;
    vise_rng_init(&d->rng, seed, "families");
}

/* A tensor of the shape [a, b, c], of which zeros are left out; drawn, unless there are values. Returns its values. */
static float *put(drawer *d, const char *name, int64_t a, int64_t b, int64_t c, const float *values)
{
    const int64_t dims[] = {a, b, c};
    help_tensor *tensor = &d->tensors[d->n];
    size_t n = 1;

    assert_true(d->n < TENSORS_MAX);
    snprintf(d->names[d->n], sizeof d->names[d->n], "%s", name);
    *tensor = (help_tensor){.name = d->names[d->n], .dtype = VISE_DTYPE_F32};
    for (int i = 0; i < 3; i++)
        if (dims[i] > 0) {
            tensor->shape[tensor->ndim++] = dims[i];
            n *= (size_t)dims[i];
        }
    float *bytes = malloc(n * sizeof *bytes);
    const double middle = tensor->ndim == 1 && strstr(name, "weight") ? 1.0 : 0.0;
    for (size_t i = 0; i < n; i++)
        bytes[i] = values ? values[i] : (float)(middle + vise_rng_normal(&d->rng) * 0.4);
    tensor->bytes = bytes;
    d->n++;
    return bytes;
}

static const char *finish(drawer *d, const char *config)
{
    const char *folder = help_folder();

    put_config(folder, config);
    help_safetensors(folder, "model.safetensors", NULL, d->tensors, d->n);
    for (size_t i = 0; i < d->n; i++)
        free((void *)(uintptr_t)d->tensors[i].bytes);
    return folder;
}

static void assert_near(const float *a, const float *b, size_t n, double tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= tolerance))
            fail_msg("value %zu: %.9g is not %.9g", i, (double)a[i], (double)b[i]);
}

/* ---- an embedding of another width ------------------------------------------------------------------------------- */

enum { OPT_HIDDEN = 8, OPT_VOCAB = 11, OPT_FFN = 12 };

static void put_opt(drawer *d)
{
    static const char *const linears[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                          "self_attn.out_proj"};
    static const char *const norms[] = {"self_attn_layer_norm", "final_layer_norm"};
    char name[96];

    put(d, "model.decoder.embed_positions.weight", 6 + 2, OPT_HIDDEN, 0, NULL);
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "model.decoder.layers.0.%s.weight", linears[i]);
        put(d, name, OPT_HIDDEN, OPT_HIDDEN, 0, NULL);
        snprintf(name, sizeof name, "model.decoder.layers.0.%s.bias", linears[i]);
        put(d, name, OPT_HIDDEN, 0, 0, NULL);
    }
    for (size_t i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "model.decoder.layers.0.%s.weight", norms[i]);
        put(d, name, OPT_HIDDEN, 0, 0, NULL);
        snprintf(name, sizeof name, "model.decoder.layers.0.%s.bias", norms[i]);
        put(d, name, OPT_HIDDEN, 0, 0, NULL);
    }
    put(d, "model.decoder.layers.0.fc1.weight", OPT_FFN, OPT_HIDDEN, 0, NULL);
    put(d, "model.decoder.layers.0.fc1.bias", OPT_FFN, 0, 0, NULL);
    put(d, "model.decoder.layers.0.fc2.weight", OPT_HIDDEN, OPT_FFN, 0, NULL);
    put(d, "model.decoder.layers.0.fc2.bias", OPT_HIDDEN, 0, 0, NULL);
}

#define OPT_CONFIG(more)                                                                                               \
    "{\"architectures\":[\"OPTForCausalLM\"],\"model_type\":\"opt\",\"hidden_size\":8,\"ffn_dim\":12,"                 \
    "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"vocab_size\":11,\"max_position_embeddings\":6,"               \
    "\"do_layer_norm_before\":false,\"tie_word_embeddings\":false," more "}"

/* OPT-350m's projections folded into the embedding and into the head give the same logits; narrow and wide. */
static void test_projected_embedding(void **state)
{
    static int32_t ids[] = {1, 5, 10, 0, 2, 7, 3, 9, 4, 6, 8, 1};
    const vise_windows windows = {.ids = ids, .count = 2, .length = 6};
    static const int64_t widths[] = {4, 30};

    (void)state;
    for (size_t w = 0; w < 2; w++) {
        const int64_t width = widths[w];
        float embedding[OPT_VOCAB * OPT_HIDDEN] = {0}, head[OPT_VOCAB * OPT_HIDDEN] = {0};
        drawer d;
        char config[512];
        begin(&d, 5);
        put_opt(&d);
        const float *table = put(&d, "model.decoder.embed_tokens.weight", OPT_VOCAB, width, 0, NULL);
        const float *in = put(&d, "model.decoder.project_in.weight", OPT_HIDDEN, width, 0, NULL);
        const float *out = put(&d, "model.decoder.project_out.weight", width, OPT_HIDDEN, 0, NULL);
        const float *rows = put(&d, "lm_head.weight", OPT_VOCAB, width, 0, NULL);
        for (int64_t v = 0; v < OPT_VOCAB; v++)
            for (int64_t h = 0; h < OPT_HIDDEN; h++)
                for (int64_t e = 0; e < width; e++) {
                    embedding[v * OPT_HIDDEN + h] += table[v * width + e] * in[h * width + e];
                    head[v * OPT_HIDDEN + h] += rows[v * width + e] * out[e * OPT_HIDDEN + h];
                }
        snprintf(config, sizeof config, OPT_CONFIG("\"word_embed_proj_dim\":%d"), (int)width);
        const char *folder = finish(&d, config);
        float *projected = run(folder, &windows);
        help_remove(folder);

        begin(&d, 5);
        put_opt(&d);
        put(&d, "model.decoder.embed_tokens.weight", OPT_VOCAB, OPT_HIDDEN, 0, embedding);
        put(&d, "lm_head.weight", OPT_VOCAB, OPT_HIDDEN, 0, head);
        folder = finish(&d, OPT_CONFIG("\"word_embed_proj_dim\":8"));
        float *folded = run(folder, &windows);
        help_remove(folder);
        assert_near(projected, folded, 12 * OPT_VOCAB, 2e-5);
        free(projected);
        free(folded);
    }
}

/* ---- stacked experts --------------------------------------------------------------------------------------------- */

enum { MOE_EXPERTS = 3, MOE_FFN = 6, MOE_HIDDEN = 8 };

#define MOE_CONFIG                                                                                                     \
    "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"model_type\":\"qwen3_moe\",\"hidden_size\":8,"                     \
    "\"intermediate_size\":12,\"moe_intermediate_size\":6,\"num_experts\":3,\"num_experts_per_tok\":2,"                \
    "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":4,\"vocab_size\":11}"
#define MOE_BLOCK "model.layers.0."

/* gate_up [experts, 2 ffn, hidden] and down [experts, hidden, ffn] as they are, or cut. */
static const char *make_moe(bool stacked, int64_t rows, float gate_up[MOE_EXPERTS * 2 * MOE_FFN * MOE_HIDDEN],
                            float down[MOE_EXPERTS * MOE_HIDDEN * MOE_FFN])
{
    drawer d;
    char name[96];

    begin(&d, 9);
    for (size_t i = 0; i < MOE_EXPERTS * 2 * MOE_FFN * MOE_HIDDEN; i++)
        gate_up[i] = (float)(vise_rng_normal(&d.rng) * 0.4);
    for (size_t i = 0; i < MOE_EXPERTS * MOE_FFN * MOE_HIDDEN; i++)
        down[i] = (float)(vise_rng_normal(&d.rng) * 0.4);
    put(&d, "model.embed_tokens.weight", 11, 8, 0, NULL);
    put(&d, MOE_BLOCK "input_layernorm.weight", 8, 0, 0, NULL);
    put(&d, MOE_BLOCK "post_attention_layernorm.weight", 8, 0, 0, NULL);
    put(&d, MOE_BLOCK "self_attn.q_proj.weight", 8, 8, 0, NULL);
    put(&d, MOE_BLOCK "self_attn.k_proj.weight", 4, 8, 0, NULL);
    put(&d, MOE_BLOCK "self_attn.v_proj.weight", 4, 8, 0, NULL);
    put(&d, MOE_BLOCK "self_attn.o_proj.weight", 8, 8, 0, NULL);
    put(&d, MOE_BLOCK "self_attn.q_norm.weight", 4, 0, 0, NULL);
    put(&d, MOE_BLOCK "self_attn.k_norm.weight", 4, 0, 0, NULL);
    put(&d, MOE_BLOCK "mlp.gate.weight", 3, 8, 0, NULL);
    put(&d, "model.norm.weight", 8, 0, 0, NULL);
    put(&d, "lm_head.weight", 11, 8, 0, NULL);
    if (stacked) {
        put(&d, MOE_BLOCK "mlp.experts.gate_up_proj", MOE_EXPERTS, rows, MOE_HIDDEN, gate_up);
        put(&d, MOE_BLOCK "mlp.experts.down_proj", MOE_EXPERTS, MOE_HIDDEN, MOE_FFN, down);
    }
    for (int e = 0; !stacked && e < MOE_EXPERTS; e++) {
        const float *gate = gate_up + (int64_t)e * 2 * MOE_FFN * MOE_HIDDEN;
        snprintf(name, sizeof name, MOE_BLOCK "mlp.experts.%d.gate_proj.weight", e);
        put(&d, name, MOE_FFN, MOE_HIDDEN, 0, gate);
        snprintf(name, sizeof name, MOE_BLOCK "mlp.experts.%d.up_proj.weight", e);
        put(&d, name, MOE_FFN, MOE_HIDDEN, 0, gate + MOE_FFN * MOE_HIDDEN);
        snprintf(name, sizeof name, MOE_BLOCK "mlp.experts.%d.down_proj.weight", e);
        put(&d, name, MOE_HIDDEN, MOE_FFN, 0, down + (int64_t)e * MOE_HIDDEN * MOE_FFN);
    }
    return finish(&d, MOE_CONFIG);
}

/* Experts in one tensor are the same model, told by the names of single ones. */
static void test_stacked_experts(void **state)
{
    static int32_t ids[] = {1, 5, 10, 0, 2, 7, 3, 9, 4, 6, 8, 1};
    static float gate_up[MOE_EXPERTS * 2 * MOE_FFN * MOE_HIDDEN], down[MOE_EXPERTS * MOE_HIDDEN * MOE_FFN];
    const vise_windows windows = {.ids = ids, .count = 2, .length = 6};
    const char *folder = make_moe(false, 0, gate_up, down);
    vise_model *model = NULL;
    uint64_t bytes = 0;
    float piece[4];

    (void)state;
    float *apart = run(folder, &windows);
    help_remove(folder);
    folder = make_moe(true, 2 * MOE_FFN, gate_up, down);
    float *stacked = run(folder, &windows);
    assert_memory_equal(apart, stacked, 12 * 11 * sizeof *apart);
    free(apart);
    free(stacked);

    OK(vise_model_open(folder, &model, &help_error));
    assert_int_equal(vise_store_find(model->store, MOE_BLOCK "mlp.experts.gate_up_proj"), SIZE_MAX);
    size_t up = vise_model_slot(model, vise_config_slot(VISE_ROLE_EXPERT_UP, 2), 0);
    assert_string_equal(model->bound[up].tensor->name, MOE_BLOCK "mlp.experts.2.up_proj.weight");
    assert_string_equal(model->bound[up].tensor->module, MOE_BLOCK "mlp.experts.2.up_proj");
    assert_true(model->bound[up].is_linear);
    OK(vise_store_read_raw(model->store, up, 8, sizeof piece, piece, NULL, &help_error));
    assert_memory_equal(piece, gate_up + (2 * 2 + 1) * MOE_FFN * MOE_HIDDEN + 2, sizeof piece);
    for (size_t i = 0; i < model->count; i++)
        bytes += model->bound[i].tensor->stored_bytes;
    const uint64_t others = 11 * 8 * 2 + 8 * 3 + 8 * 8 * 2 + 4 * 8 * 2 + 4 * 2 + 3 * 8;
    assert_int_equal(bytes, 4 * (others + 3 * MOE_EXPERTS * MOE_FFN * MOE_HIDDEN));
    vise_model_close(model);
    help_remove(folder);

    folder = make_moe(true, 2 * MOE_FFN - 2, gate_up, down);
    FAILS(VISE_EFORMAT, "mlp.experts.gate_up_proj must be [3, 12, 8]", vise_model_open(folder, &model, &help_error));
    help_remove(folder);
}

/* A block of experts beside itself, but that one expert's `up` is twice as large, which doubles its inner values: what
 * differs there is they themselves. Where the router beside chooses others nothing does. */
static void test_experts_beside(void **state)
{
    static int32_t ids[] = {1, 5, 10, 0, 2, 7, 3, 9, 4, 6, 8, 1};
    static float gate_up[MOE_EXPERTS * 2 * MOE_FFN * MOE_HIDDEN], down[MOE_EXPERTS * MOE_HIDDEN * MOE_FFN];
    const vise_windows windows = {.ids = ids, .count = 2, .length = 6};
    const char *folder = make_moe(false, 0, gate_up, down);
    vise_model *model = NULL;
    machine m;
    (void)state;
    start(&m);
    OK(vise_model_open(folder, &model, &help_error));
    for (int routed_apart = 0; routed_apart < 2; routed_apart++) {
        vise_stream *stream[2];
        vise_block block[2];
        vise_block_stats stats;
        for (int i = 0; i < 2; i++) {
            OK(vise_stream_open(model, &windows, UINT64_MAX, m.workers, m.pool, &stream[i], &help_error));
            OK(vise_block_load(model, 0, m.workers, m.pool, &block[i], &help_error));
        }
        float *up = block[1].weight[vise_config_slot(VISE_ROLE_EXPERT_UP, 1)];
        float *router = block[1].weight[vise_config_slot(VISE_ROLE_ROUTER, 0)];
        for (int i = 0; i < MOE_FFN * MOE_HIDDEN; i++)
            up[i] *= 2.0f;
        for (int i = 0; routed_apart && i < MOE_EXPERTS * MOE_HIDDEN; i++)
            router[i] = -router[i];
        const vise_beside beside = {&block[1], stream[1]};
        OK(vise_block_measure_beside(model, &block[0], &beside, VISE_BOTH_HALVES, stream[0], m.backend,
                                     VISE_STAT_GRAM | VISE_STAT_CROSS,
                                     1u << VISE_INPUT_EXPERT | 1u << VISE_INPUT_EXPERT_DOWN, &stats, &help_error));
        float most = 0.0f, least = 1.0f;
        for (int expert = 0; expert < MOE_EXPERTS; expert++) {
            const vise_input_stats *in = &stats.input[vise_config_input(VISE_INPUT_EXPERT, expert)];
            const vise_input_stats *inner = &stats.input[vise_config_input(VISE_INPUT_EXPERT_DOWN, expert)];
            assert_true(inner->tokens > 0 && inner->width == MOE_FFN);
            for (int64_t i = 0; i < in->width * in->width; i++)
                assert_true(in->cross[i] == 0.0f);
            for (int64_t i = 0; i < MOE_FFN; i++)
                for (int64_t j = i; j < MOE_FFN; j++) {
                    const float gram = inner->gram[i * MOE_FFN + j], cross = inner->cross[i * MOE_FFN + j];
                    if (expert != 1)
                        assert_true(cross == 0.0f);
                    else if (!routed_apart)
                        assert_true(fabsf(cross - gram) <= 1e-6f + 1e-4f * fabsf(gram));
                    if (expert == 1 && i == j) {
                        most = fmaxf(most, cross / gram);
                        least = fminf(least, cross / gram);
                    }
                }
        }
        assert_true(routed_apart ? least >= 0.0f && least < 0.9f && most <= 1.001f : least > 0.999f);
        vise_block_stats_deinit(&stats);
        for (int i = 0; i < 2; i++) {
            vise_block_unload(&block[i]);
            vise_stream_close(stream[i]);
        }
    }
    vise_model_close(model);
    stop(&m);
    help_remove(folder);
}

/* ---- names and configurations ------------------------------------------------------------------------------------ */

/* The names that LayerNorm's parameters had in the first BERTs. */
static void test_gamma_and_beta(void **state)
{
    static int32_t ids[] = {2, 5, 10, 7, 3};
    const vise_windows windows = {.ids = ids, .count = 1, .length = 5};
    const char *source = "tests/data/tiny-classifier", *folder = help_folder();
    size_t n, replaced = 0;
    char *config = help_read("tests/data/tiny-classifier/config.json", &n);

    (void)state;
    put_config(folder, config);
    vise_free(config);
    char *bytes = help_read("tests/data/tiny-classifier/model.safetensors", &n);
    for (size_t i = 8; i + 20 < n; i++) {
        if (memcmp(bytes + i, "LayerNorm.weight\"", 17) == 0)
            memcpy(bytes + i, "LayerNorm.gamma\" ", 17), replaced++;
        if (memcmp(bytes + i, "LayerNorm.bias\"", 15) == 0)
            memcpy(bytes + i, "LayerNorm.beta\"", 15), replaced++;
    }
    assert_true(replaced >= 6);
    help_write(folder, "model.safetensors", bytes, n);
    vise_free(bytes);
    float *old = run(folder, &windows), *new = run(source, &windows);
    assert_memory_equal(old, new, 3 * sizeof *old);
    free(old);
    free(new);
    help_remove(folder);
}

/* A text model among others: its configuration and its names are parts of theirs, and the others are left alone. */
static void test_among_others(void **state)
{
    static const struct {
        const char *prefix, *head;
    } cases[] = {{"language_model.model.", "language_model.lm_head.weight"},
                 {"model.language_model.", "lm_head.weight"},
                 {"model.", "lm_head.weight"}};
    static int32_t ids[] = {1, 5, 9, 3, 8, 2};
    const vise_windows windows = {.ids = ids, .count = 1, .length = 6};
    tiny_llama llama = {.hidden = 16, .ffn = 24, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 4, .vocab = 20,
                        .positions = 32};
    tiny_result result;

    (void)state;
    tiny_llama_make(&llama, 11);
    tiny_llama_run(&llama, ids, 6, 0, &result);
    tiny_tensor *eye = &llama.tensors[llama.n_tensors++];
    *eye = (tiny_tensor){.name = "vision_tower.blocks.0.fc.weight", .rows = 2, .cols = 3, .values = calloc(6, 4)};
    for (size_t c = 0; c < 3; c++) {
        char stored[TINY_TENSORS_MAX][96];
        vise_arena *arena = NULL;
        vise_model *model = NULL;
        const char *name;
        for (size_t i = 0; i < llama.n_tensors; i++) {
            tiny_tensor *t = &llama.tensors[i];
            memcpy(stored[i], t->name, sizeof stored[i]);
            if (strncmp(stored[i], "model.", 6) == 0)
                snprintf(t->name, sizeof t->name, "%s%.60s", cases[c].prefix, stored[i] + 6);
            else if (strcmp(stored[i], "lm_head.weight") == 0)
                snprintf(t->name, sizeof t->name, "%s", cases[c].head);
        }
        tiny_llama_write(&llama);
        put_config(llama.folder,
                   "{\"architectures\":[\"Mistral3ForConditionalGeneration\"],\"model_type\":\"mistral3\","
                   "\"tie_word_embeddings\":false,\"text_config\":{\"model_type\":\"mistral\",\"hidden_size\":16,"
                   "\"intermediate_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"rms_norm_eps\":1e-5,"
                   "\"num_key_value_heads\":2,\"head_dim\":4,\"vocab_size\":20},"
                   "\"vision_config\":{\"hidden_size\":3}}");
        float *got = run(llama.folder, &windows);
        for (size_t i = 0; i < 6 * 20; i++)
            if (!(fabs((double)got[i] - result.logits[i]) <= 1e-4))
                fail_msg("%s: logit %zu: %g is not %g", cases[c].prefix, i, (double)got[i], result.logits[i]);
        free(got);

        OK(vise_model_open(llama.folder, &model, &help_error));
        OK(vise_arena_new(&arena, &help_error));
        const vise_bound *other = &model->bound[vise_store_find(model->store, eye->name)];
        assert_int_equal(other->role, VISE_ROLE_UNKNOWN);
        assert_false(other->is_linear);
        OK(vise_model_class_name(model, other, other->tensor->module, arena, &name, &help_error));
        assert_string_equal(name, "model.vision_tower.blocks.0.fc");
        const vise_bound *q = &model->bound[vise_model_role(model, VISE_ROLE_Q, 0)];
        OK(vise_model_class_name(model, q, q->tensor->name, arena, &name, &help_error));
        assert_string_equal(name, "model.language_model.layers.0.self_attn.q_proj.weight");
        const vise_bound *head = &model->bound[vise_model_role(model, VISE_ROLE_HEAD, -1)];
        OK(vise_model_class_name(model, head, head->tensor->name, arena, &name, &help_error));
        assert_string_equal(name, "lm_head.weight");
        vise_arena_free(arena);
        vise_model_close(model);
        for (size_t i = 0; i < llama.n_tensors; i++)
            memcpy(llama.tensors[i].name, stored[i], sizeof stored[i]);
    }
    /* Another kind of text: the family is unknown. */
    vise_model *model = NULL;
    put_config(llama.folder, "{\"architectures\":[\"Mistral3ForConditionalGeneration\"],\"model_type\":\"mistral3\","
                             "\"text_config\":{\"model_type\":\"ministral3\"}}");
    OK(vise_model_open(llama.folder, &model, &help_error));
    assert_null(model->arch);
    vise_model_close(model);
    tiny_result_free(&result);
    tiny_llama_drop(&llama);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoder_classifies),
        cmocka_unit_test(test_decoder_classes),
        cmocka_unit_test(test_projected_embedding),
        cmocka_unit_test(test_stacked_experts),
        cmocka_unit_test(test_experts_beside),
        cmocka_unit_test(test_gamma_and_beta),
        cmocka_unit_test(test_among_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
