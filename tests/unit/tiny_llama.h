/* Random Llamas of a few thousand weights: written as a Hugging Face folder, and run naively in double. */
#ifndef VISE_TESTS_TINY_LLAMA_H
#define VISE_TESTS_TINY_LLAMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/arch.h"

enum { TINY_INPUTS = VISE_INPUT_DOWN + 1 };

typedef struct tiny_tensor {
    char name[96];
    int64_t rows, cols; /* rows 0: a vector */
    float *values;
} tiny_tensor;

#define TINY_TENSORS_MAX 128

typedef struct tiny_llama {
    int64_t hidden, ffn, layers, heads, kv_heads, head_dim, vocab, positions;
    bool tied, bias;
    /* Filled by tiny_llama_make. */
    char folder[64];
    tiny_tensor tensors[TINY_TENSORS_MAX];
    size_t n_tensors;
} tiny_llama;

/* Draws the weights from seed and writes config.json and model.safetensors into a new temporary folder. Failures end
 * the test. */
void tiny_llama_make(tiny_llama *llama, uint64_t seed);
void tiny_llama_write(const tiny_llama *llama); /* again, after weights were changed */
void tiny_llama_drop(tiny_llama *llama);
float *tiny_llama_weight(const tiny_llama *llama, int layer, const char *module); /* "mlp.up_proj.weight"; NULL: none */

/* What the naive forward pass of one window leaves. */
typedef struct tiny_result {
    int64_t tokens;
    double *input[TINY_INPUTS]; /* of block `layer`: [tokens, width] */
    double *stream;                  /* behind block `layer`: [tokens, hidden] */
    double *logits;                  /* [tokens, vocab] */
} tiny_result;

void tiny_llama_run(const tiny_llama *llama, const int32_t *ids, int64_t tokens, int layer, tiny_result *result);
void tiny_result_free(tiny_result *result);
/* y [t, n] = x [t, k] W^T + bias, or added to y. */
void tiny_llama_linear(const tiny_llama *llama, int layer, const char *module, int64_t t, int64_t k, int64_t n,
                       const double *x, bool adds, double *y);

#endif
