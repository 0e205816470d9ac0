/* Writes a random Llama: a folder with config.json, sharded safetensors and a byte-level tokenizer of 256 bytes, BOS
 * and EOS. The same options give the same bytes. For tests that need a model larger than a memory bound, slow enough
 * to be killed, or broken in one place.
 *
 *   make_model OUT [--hidden N] [--ffn N] [--layers N] [--heads N] [--kv-heads N] [--vocab N] [--positions N]
 *              [--dtype F32|F16|BF16] [--shard BYTES] [--seed N] [--tied] [--put TENSOR:ROW:COL=VALUE]...
 *
 * ROW and COL are indices or "*"; VALUE is a number, nan or inf. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/rng.h"
#include "formats/sink.h"

#define PUTS_MAX 8
#define RUN      4096 /* values drawn and written at a time */

typedef struct put {
    char tensor[96];
    int64_t row, col; /* -1: all */
    double value;
} put;

typedef struct request {
    const char *out;
    int64_t hidden, ffn, layers, heads, kv_heads, vocab, positions, shard, seed;
    vise_dtype dtype;
    bool tied;
    put puts[PUTS_MAX];
    size_t n_puts;
} request;

typedef struct tensor {
    char name[96];
    int64_t rows, cols; /* rows 0: a vector */
    double centre, spread;
    size_t id;
} tensor;

typedef struct maker {
    const request *request;
    vise_sink *sink;
    tensor *tensors;
    size_t count;
    vise_error err;
} maker;

/* ---- the options ----------------------------------------------------------------------------------------------- */

static bool parse_put(const char *text, put *out)
{
    char row[24], col[24], value[24];
    if (sscanf(text, "%95[^:]:%23[^:]:%23[^=]=%23s", out->tensor, row, col, value) != 4)
        return false;
    out->row = strcmp(row, "*") == 0 ? -1 : strtoll(row, NULL, 10);
    out->col = strcmp(col, "*") == 0 ? -1 : strtoll(col, NULL, 10);
    out->value = strtod(value, NULL);
    return true;
}

static bool parse_dtype(const char *text, vise_dtype *out)
{
    for (vise_dtype dtype = 0; dtype < VISE_DTYPE_COUNT; dtype++)
        if (strcmp(vise_dtype_of(dtype)->name, text) == 0) {
            *out = dtype;
            return true;
        }
    return false;
}

static bool parse_option(const char *name, const char *value, request *r)
{
    const struct {
        const char *name;
        int64_t *target;
    } numbers[] = {
        {"--hidden", &r->hidden},     {"--ffn", &r->ffn},     {"--layers", &r->layers},
        {"--heads", &r->heads},       {"--vocab", &r->vocab}, {"--kv-heads", &r->kv_heads},
        {"--positions", &r->positions}, {"--shard", &r->shard}, {"--seed", &r->seed},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(name, numbers[i].name) == 0) {
            *numbers[i].target = strtoll(value, NULL, 10);
            return true;
        }
    if (strcmp(name, "--dtype") == 0)
        return parse_dtype(value, &r->dtype);
    return strcmp(name, "--put") == 0 && r->n_puts < PUTS_MAX && parse_put(value, &r->puts[r->n_puts++]);
}

static bool parse(int argc, char **argv, request *r)
{
    if (argc < 2)
        return false;
    r->out = argv[1];
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--tied") == 0) {
            r->tied = true;
            continue;
        }
        if (i + 1 == argc || !parse_option(argv[i], argv[i + 1], r)) {
            fprintf(stderr, "make_model: bad option %s\n", argv[i]);
            return false;
        }
        i++;
    }
    return true;
}

/* ---- the files beside the weights ------------------------------------------------------------------------------ */

static vise_status put_config(maker *m)
{
    const request *r = m->request;
    vise_buf text;
    vise_buf_init(&text, 1 << 16);
    vise_buf_addf(&text,
                  "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": %lld, "
                  "\"intermediate_size\": %lld, \"num_hidden_layers\": %lld, \"num_attention_heads\": %lld, "
                  "\"num_key_value_heads\": %lld, \"vocab_size\": %lld, \"max_position_embeddings\": %lld, "
                  "\"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"hidden_act\": \"silu\", "
                  "\"tie_word_embeddings\": %s, \"bos_token_id\": 256, \"eos_token_id\": 257, "
                  "\"torch_dtype\": \"%s\"}\n",
                  (long long)r->hidden, (long long)r->ffn, (long long)r->layers, (long long)r->heads,
                  (long long)r->kv_heads, (long long)r->vocab, (long long)r->positions,
                  r->tied ? "true" : "false", vise_dtype_of(r->dtype)->torch_name);
    vise_status status = vise_buf_check(&text, "config.json", &m->err);
    if (status == VISE_OK)
        status = vise_sink_put_file(m->sink, "config.json", text.data, text.length, &m->err);
    vise_buf_deinit(&text);
    return status;
}

/* One token per byte, in the byte-level alphabet: printable bytes stand for themselves, the others for U+0100 on. */
static vise_status put_tokenizer(maker *m)
{
    vise_buf text;
    unsigned next = 0x100;
    vise_buf_init(&text, 1 << 16);
    vise_buf_addf(&text,
                  "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": 256, \"content\": \"<s>\", \"special\": true}, "
                  "{\"id\": 257, \"content\": \"</s>\", \"special\": true}], \"normalizer\": null,\n"
                  "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true},\n"
                  "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": "
                  "\"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"pair\": [], "
                  "\"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [256], \"tokens\": [\"<s>\"]}}},\n"
                  "\"decoder\": {\"type\": \"ByteLevel\"},\n\"model\": {\"type\": \"BPE\", \"merges\": [], "
                  "\"vocab\": {");
    for (unsigned byte = 0; byte < 256; byte++) {
        bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
        vise_buf_addf(&text, "\"\\u%04x\": %u, ", printable ? byte : next, byte);
        next += !printable;
    }
    vise_buf_addf(&text, "\"<s>\": 256, \"</s>\": 257}}}\n");
    vise_status status = vise_buf_check(&text, "tokenizer.json", &m->err);
    if (status == VISE_OK)
        status = vise_sink_put_file(m->sink, "tokenizer.json", text.data, text.length, &m->err);
    vise_buf_deinit(&text);
    return status;
}

/* ---- the weights ----------------------------------------------------------------------------------------------- */

static void add(maker *m, const char *name, int64_t rows, int64_t cols)
{
    tensor *t = &m->tensors[m->count++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->rows = rows;
    t->cols = cols;
    /* The scale of a trained network: activations neither die nor explode over the layers. */
    t->centre = rows > 0 ? 0.0 : 1.0;
    t->spread = rows > 0 ? 1.0 / sqrt((double)cols) : 0.1;
}

static void add_block(maker *m, int64_t layer)
{
    const request *r = m->request;
    const int64_t head = r->hidden / r->heads;
    const struct {
        const char *module;
        int64_t rows, cols;
    } weights[] = {
        {"input_layernorm", 0, r->hidden},
        {"self_attn.q_proj", r->hidden, r->hidden},
        {"self_attn.k_proj", r->kv_heads * head, r->hidden},
        {"self_attn.v_proj", r->kv_heads * head, r->hidden},
        {"self_attn.o_proj", r->hidden, r->hidden},
        {"post_attention_layernorm", 0, r->hidden},
        {"mlp.gate_proj", r->ffn, r->hidden},
        {"mlp.up_proj", r->ffn, r->hidden},
        {"mlp.down_proj", r->hidden, r->ffn},
    };
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)layer, weights[i].module);
        add(m, name, weights[i].rows, weights[i].cols);
    }
}

static double value_at(const request *r, const tensor *t, int64_t index, double drawn)
{
    const int64_t row = index / t->cols, col = index % t->cols;
    for (size_t i = 0; i < r->n_puts; i++) {
        const put *p = &r->puts[i];
        if (strcmp(p->tensor, t->name) == 0 && (p->row < 0 || p->row == row) && (p->col < 0 || p->col == col))
            return p->value;
    }
    return drawn;
}

static vise_status write_tensor(maker *m, const tensor *t)
{
    const request *r = m->request;
    const int64_t n = (t->rows > 0 ? t->rows : 1) * t->cols;
    const size_t element = (size_t)vise_dtype_of(r->dtype)->bits / 8;
    float values[RUN];
    double stored[RUN];
    vise_rng rng;
    vise_rng_init(&rng, (uint64_t)r->seed, t->name);
    for (int64_t i = 0; i < n; i += RUN) {
        const int64_t run = n - i < RUN ? n - i : RUN;
        for (int64_t j = 0; j < run; j++)
            values[j] = (float)value_at(r, t, i + j, t->centre + t->spread * vise_rng_normal(&rng));
        vise_from_f32(r->dtype, values, stored, (size_t)run);
        VISE_TRY(vise_sink_write(m->sink, t->id, (uint64_t)i * element, stored, (size_t)run * element, &m->err));
    }
    return VISE_OK;
}

static vise_status write_model(maker *m)
{
    const request *r = m->request;
    add(m, "model.embed_tokens.weight", r->vocab, r->hidden);
    for (int64_t layer = 0; layer < r->layers; layer++)
        add_block(m, layer);
    add(m, "model.norm.weight", 0, r->hidden);
    if (!r->tied)
        add(m, "lm_head.weight", r->vocab, r->hidden);
    for (size_t i = 0; i < m->count; i++) {
        tensor *t = &m->tensors[i];
        const int64_t matrix[2] = {t->rows, t->cols};
        VISE_TRY(vise_sink_declare(m->sink, t->name, r->dtype, t->rows > 0 ? 2 : 1,
                                   t->rows > 0 ? matrix : matrix + 1, (int)i, &t->id, &m->err));
    }
    VISE_TRY(vise_sink_seal(m->sink, &m->err));
    for (size_t i = 0; i < m->count; i++)
        VISE_TRY(write_tensor(m, &m->tensors[i]));
    VISE_TRY(put_config(m));
    VISE_TRY(put_tokenizer(m));
    VISE_TRY(vise_sink_finish(m->sink, &m->err));
    return vise_sink_publish(m->sink, &m->err);
}

int main(int argc, char **argv)
{
    request r = {.hidden = 256, .ffn = 768, .layers = 4, .heads = 8, .kv_heads = 4, .vocab = 260,
                 .positions = 512, .dtype = VISE_DTYPE_BF16};
    maker m = {.request = &r};
    if (!parse(argc, argv, &r))
        return 2;
    vise_sink_options options = {.path = r.out, .replace = true, .max_shard_bytes = (uint64_t)r.shard};
    vise_status status =
        vise_calloc((size_t)r.layers * 9 + 3, sizeof *m.tensors, (void **)&m.tensors, &m.err);
    if (status == VISE_OK)
        status = vise_sink_open(&options, &m.sink, &m.err);
    if (status == VISE_OK)
        status = write_model(&m);
    vise_sink_close(m.sink, true);
    vise_free(m.tensors);
    if (status != VISE_OK)
        fprintf(stderr, "make_model: %s\n", m.err.message);
    return status == VISE_OK ? 0 : 1;
}
