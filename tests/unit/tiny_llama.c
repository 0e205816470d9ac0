#include "tiny_llama.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/buf.h"
#include "core/file.h"
#include "core/rng.h"

/* ---- the folder ---------------------------------------------------------------------------------------------- */

static void put_file(const tiny_llama *llama, const char *name, const void *bytes, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", llama->folder, name);
    assert_int_equal(vise_file_write_atomic(path, bytes, n, NULL), VISE_OK);
}

static void add(tiny_llama *llama, uint64_t seed, int layer, const char *name, int64_t rows, int64_t cols)
{
    assert_true(llama->n_tensors < TINY_TENSORS_MAX);
    tiny_tensor *t = &llama->tensors[llama->n_tensors++];
    if (layer >= 0)
        snprintf(t->name, sizeof t->name, "model.layers.%d.%s", layer, name);
    else
        snprintf(t->name, sizeof t->name, "%s", name);
    t->rows = rows;
    t->cols = cols;
    size_t n = (size_t)((rows > 0 ? rows : 1) * cols);
    t->values = malloc(n * sizeof *t->values);
    vise_rng rng;
    vise_rng_init(&rng, seed, t->name);
    bool norm = strstr(name, "norm") != NULL;
    for (size_t i = 0; i < n; i++)
        t->values[i] = (float)((norm ? 1.0 : 0.0) + vise_rng_normal(&rng) * (norm ? 0.2 : rows > 0 ? 0.3 : 0.1));
}

void tiny_llama_write(const tiny_llama *llama)
{
    vise_buf config, file;
    vise_buf_init(&config, 1 << 16);
    vise_buf_addf(&config,
                  "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":%lld,"
                  "\"intermediate_size\":%lld,\"num_hidden_layers\":%lld,\"num_attention_heads\":%lld,"
                  "\"num_key_value_heads\":%lld,\"head_dim\":%lld,\"vocab_size\":%lld,\"max_position_embeddings\":%lld,"
                  "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"hidden_act\":\"silu\",\"tie_word_embeddings\":%s,"
                  "\"attention_bias\":%s,\"mlp_bias\":%s,\"torch_dtype\":\"float32\"}",
                  (long long)llama->hidden, (long long)llama->ffn, (long long)llama->layers, (long long)llama->heads,
                  (long long)llama->kv_heads, (long long)llama->head_dim, (long long)llama->vocab,
                  (long long)llama->positions, llama->tied ? "true" : "false", llama->bias ? "true" : "false",
                  llama->bias ? "true" : "false");
    assert_int_equal(vise_buf_check(&config, "config", NULL), VISE_OK);
    put_file(llama, "config.json", config.data, config.length);
    vise_buf_deinit(&config);

    vise_buf_init(&file, 1 << 28);
    uint64_t offset = 0;
    vise_buf_add(&file, "01234567{", 9);
    for (size_t i = 0; i < llama->n_tensors; i++) {
        const tiny_tensor *t = &llama->tensors[i];
        uint64_t bytes = 4 * (uint64_t)((t->rows > 0 ? t->rows : 1) * t->cols);
        vise_buf_addf(&file, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i > 0 ? "," : "", t->name);
        if (t->rows > 0)
            vise_buf_addf(&file, "%lld,", (long long)t->rows);
        vise_buf_addf(&file, "%lld],\"data_offsets\":[%llu,%llu]}", (long long)t->cols, (unsigned long long)offset,
                      (unsigned long long)(offset + bytes));
        offset += bytes;
    }
    vise_buf_add_char(&file, '}');
    uint64_t length = file.length - 8;
    for (int i = 0; i < 8; i++)
        file.data[i] = (char)(length >> (8 * i) & 0xff);
    for (size_t i = 0; i < llama->n_tensors; i++) {
        const tiny_tensor *t = &llama->tensors[i];
        vise_buf_add(&file, t->values, 4 * (size_t)((t->rows > 0 ? t->rows : 1) * t->cols));
    }
    assert_int_equal(vise_buf_check(&file, "model", NULL), VISE_OK);
    put_file(llama, "model.safetensors", file.data, file.length);
    vise_buf_deinit(&file);
}

void tiny_llama_make(tiny_llama *llama, uint64_t seed)
{
    snprintf(llama->folder, sizeof llama->folder, "/tmp/vise-test-llama-XXXXXX");
    assert_non_null(mkdtemp(llama->folder));
    llama->n_tensors = 0;
    int64_t q = llama->heads * llama->head_dim, kv = llama->kv_heads * llama->head_dim;
    add(llama, seed, -1, "model.embed_tokens.weight", llama->vocab, llama->hidden);
    for (int l = 0; l < (int)llama->layers; l++) {
        const struct {
            const char *module;
            int64_t rows, cols;
        } linears[] = {
            {"self_attn.q_proj", q, llama->hidden},      {"self_attn.k_proj", kv, llama->hidden},
            {"self_attn.v_proj", kv, llama->hidden},     {"self_attn.o_proj", llama->hidden, q},
            {"mlp.gate_proj", llama->ffn, llama->hidden}, {"mlp.up_proj", llama->ffn, llama->hidden},
            {"mlp.down_proj", llama->hidden, llama->ffn},
        };
        add(llama, seed, l, "input_layernorm.weight", 0, llama->hidden);
        add(llama, seed, l, "post_attention_layernorm.weight", 0, llama->hidden);
        for (size_t i = 0; i < sizeof linears / sizeof linears[0]; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s.weight", linears[i].module);
            add(llama, seed, l, name, linears[i].rows, linears[i].cols);
            snprintf(name, sizeof name, "%s.bias", linears[i].module);
            if (llama->bias)
                add(llama, seed, l, name, 0, linears[i].rows);
        }
    }
    add(llama, seed, -1, "model.norm.weight", 0, llama->hidden);
    if (!llama->tied)
        add(llama, seed, -1, "lm_head.weight", llama->vocab, llama->hidden);
    tiny_llama_write(llama);
}

void tiny_llama_drop(tiny_llama *llama)
{
    for (size_t i = 0; i < llama->n_tensors; i++)
        free(llama->tensors[i].values);
    llama->n_tensors = 0;
    assert_int_equal(vise_folder_remove(llama->folder, NULL), VISE_OK);
}

float *tiny_llama_weight(const tiny_llama *llama, int layer, const char *module)
{
    char name[128];
    if (layer >= 0)
        snprintf(name, sizeof name, "model.layers.%d.%s", layer, module);
    else
        snprintf(name, sizeof name, "%s", module);
    for (size_t i = 0; i < llama->n_tensors; i++)
        if (strcmp(llama->tensors[i].name, name) == 0)
            return llama->tensors[i].values;
    return NULL;
}

/* ---- the naive forward pass ---------------------------------------------------------------------------------- */

static double *new_doubles(int64_t n)
{
    double *values = calloc((size_t)n, sizeof *values);
    assert_non_null(values);
    return values;
}

static void norm(int64_t t, int64_t d, const double *x, const float *weight, double *y)
{
    for (int64_t i = 0; i < t; i++) {
        double sum = 0.0;
        for (int64_t j = 0; j < d; j++)
            sum += x[i * d + j] * x[i * d + j];
        for (int64_t j = 0; j < d; j++)
            y[i * d + j] = x[i * d + j] / sqrt(sum / (double)d + 1e-5) * (double)weight[j];
    }
}

void tiny_llama_linear(const tiny_llama *llama, int layer, const char *module, int64_t t, int64_t k, int64_t n,
                       const double *x, bool adds, double *y)
{
    char name[64];
    snprintf(name, sizeof name, "%s.weight", module);
    const float *w = tiny_llama_weight(llama, layer, name);
    assert_non_null(w);
    snprintf(name, sizeof name, "%s.bias", module);
    const float *bias = tiny_llama_weight(llama, layer, name);
    for (int64_t i = 0; i < t; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = bias ? (double)bias[j] : 0.0;
            for (int64_t l = 0; l < k; l++)
                sum += x[i * k + l] * (double)w[j * k + l];
            y[i * n + j] = sum + (adds ? y[i * n + j] : 0.0);
        }
}

static void rotate(int64_t t, int64_t heads, int64_t head_dim, double *x)
{
    int64_t half = head_dim / 2;
    for (int64_t i = 0; i < t; i++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t j = 0; j < half; j++) {
                double *a = x + (i * heads + h) * head_dim + j, *b = a + half;
                double angle = (double)i * pow(10000.0, -2.0 * (double)j / (double)head_dim);
                double first = *a * cos(angle) - *b * sin(angle);
                *b = *b * cos(angle) + *a * sin(angle);
                *a = first;
            }
}

static void attend(const tiny_llama *llama, int64_t t, const double *q, const double *k, const double *v, double *out)
{
    int64_t d = llama->head_dim, share = llama->heads / llama->kv_heads;
    double *p = new_doubles(t);
    for (int64_t h = 0; h < llama->heads; h++)
        for (int64_t i = 0; i < t; i++) {
            double sum = 0.0;
            for (int64_t j = 0; j <= i; j++) {
                double dot = 0.0;
                for (int64_t l = 0; l < d; l++)
                    dot += q[(i * llama->heads + h) * d + l] * k[(j * llama->kv_heads + h / share) * d + l];
                p[j] = exp(dot / sqrt((double)d));
                sum += p[j];
            }
            for (int64_t l = 0; l < d; l++) {
                double value = 0.0;
                for (int64_t j = 0; j <= i; j++)
                    value += p[j] / sum * v[(j * llama->kv_heads + h / share) * d + l];
                out[(i * llama->heads + h) * d + l] = value;
            }
        }
    free(p);
}

/* One block: x is changed, its inputs are left in input[]. */
static void run_block(const tiny_llama *llama, int layer, int64_t t, double *x,
                      double *const input[TINY_INPUTS])
{
    int64_t hidden = llama->hidden, ffn = llama->ffn;
    int64_t q_width = llama->heads * llama->head_dim, kv_width = llama->kv_heads * llama->head_dim;
    double *q = new_doubles(t * q_width), *k = new_doubles(t * kv_width), *v = new_doubles(t * kv_width);
    double *up = new_doubles(t * ffn);
    double *a = input[VISE_INPUT_ATTENTION], *o = input[VISE_INPUT_O], *m = input[VISE_INPUT_MLP];
    double *gate = input[VISE_INPUT_DOWN];
    norm(t, hidden, x, tiny_llama_weight(llama, layer, "input_layernorm.weight"), a);
    tiny_llama_linear(llama, layer, "self_attn.q_proj", t, hidden, q_width, a, false, q);
    tiny_llama_linear(llama, layer, "self_attn.k_proj", t, hidden, kv_width, a, false, k);
    tiny_llama_linear(llama, layer, "self_attn.v_proj", t, hidden, kv_width, a, false, v);
    rotate(t, llama->heads, llama->head_dim, q);
    rotate(t, llama->kv_heads, llama->head_dim, k);
    attend(llama, t, q, k, v, o);
    tiny_llama_linear(llama, layer, "self_attn.o_proj", t, q_width, hidden, o, true, x);
    norm(t, hidden, x, tiny_llama_weight(llama, layer, "post_attention_layernorm.weight"), m);
    tiny_llama_linear(llama, layer, "mlp.gate_proj", t, hidden, ffn, m, false, gate);
    tiny_llama_linear(llama, layer, "mlp.up_proj", t, hidden, ffn, m, false, up);
    for (int64_t i = 0; i < t * ffn; i++)
        gate[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
    tiny_llama_linear(llama, layer, "mlp.down_proj", t, ffn, hidden, gate, true, x);
    free(q);
    free(k);
    free(v);
    free(up);
}

void tiny_llama_run(const tiny_llama *llama, const int32_t *ids, int64_t tokens, int layer, tiny_result *result)
{
    const int64_t width[TINY_INPUTS] = {llama->hidden, llama->heads * llama->head_dim, llama->hidden, llama->ffn};
    int64_t hidden = llama->hidden;
    const float *embedding = tiny_llama_weight(llama, -1, "model.embed_tokens.weight");
    const float *head = tiny_llama_weight(llama, -1, "lm_head.weight");
    double *x = new_doubles(tokens * hidden), *y = new_doubles(tokens * hidden);
    *result = (tiny_result){.tokens = tokens};
    for (int i = 0; i < TINY_INPUTS; i++)
        result->input[i] = new_doubles(tokens * width[i]);
    double *scratch[TINY_INPUTS];
    for (int i = 0; i < TINY_INPUTS; i++)
        scratch[i] = new_doubles(tokens * width[i]);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t j = 0; j < hidden; j++)
            x[t * hidden + j] = (double)embedding[ids[t] * hidden + j];
    for (int l = 0; l < (int)llama->layers; l++) {
        run_block(llama, l, tokens, x, l == layer ? result->input : scratch);
        if (l == layer) {
            result->stream = new_doubles(tokens * hidden);
            memcpy(result->stream, x, (size_t)(tokens * hidden) * sizeof *x);
        }
    }
    norm(tokens, hidden, x, tiny_llama_weight(llama, -1, "model.norm.weight"), y);
    result->logits = new_doubles(tokens * llama->vocab);
    const float *w = head ? head : embedding;
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < llama->vocab; i++)
            for (int64_t j = 0; j < hidden; j++)
                result->logits[t * llama->vocab + i] += y[t * hidden + j] * (double)w[i * hidden + j];
    for (int i = 0; i < TINY_INPUTS; i++)
        free(scratch[i]);
    free(x);
    free(y);
}

void tiny_result_free(tiny_result *result)
{
    for (int i = 0; i < TINY_INPUTS; i++)
        free(result->input[i]);
    free(result->stream);
    free(result->logits);
    *result = (tiny_result){0};
}
