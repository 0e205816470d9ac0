/* What running and training a model takes beside its weights, in an ordinary runtime (transformers, vLLM), from the
 * configuration alone: keys and values, activations, and what a backward pass keeps. Attention is taken to be fused
 * (scores are never stored). These are figures for planning: exact for keys and values, the sum of the large tensors
 * for activations.
 */
#ifndef VISE_MODEL_FOOTPRINT_H
#define VISE_MODEL_FOOTPRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/model.h"

/* A run: batch sequences of `context` tokens, activations and keys and values in elements of element_bytes. */
typedef struct vise_usage {
    int64_t context, batch;
    size_t element_bytes;
} vise_usage;

/* Keys and values of one layer for all sequences: 2 x batch x positions x kv_heads x head_dim; a sliding layer keeps
 * its window. An encoder has none. */
uint64_t vise_kv_cache_bytes(const vise_model *model, int layer, const vise_usage *usage);
uint64_t vise_kv_cache_all_bytes(const vise_model *model, const vise_usage *usage);

/* The most that one block holds while all tokens pass it at once: the residual stream, its norm, and the larger of
 * attention's q, k, v and result, and the MLP's inner values. */
uint64_t vise_block_activation_bytes(const vise_model *model, int layer, const vise_usage *usage);
/* The head's: its input, and float32 logits of the last token of each sequence (of the sequence, for a classifier). */
uint64_t vise_head_activation_bytes(const vise_model *model, const vise_usage *usage);

/* What the backward pass needs of all layers: the inputs of norms and linears, q, k, v and the result of attention,
 * the factors of the MLP's product; and of the head the logits and their softmax in float32. With checkpoints only the
 * input of each block, and one block whole. 0 for a family without a table. */
uint64_t vise_training_activation_bytes(const vise_model *model, const vise_usage *usage, bool checkpoints);

/* The name that a tensor of the file has in the class of transformers that config.json names: a file of the bare model
 * lacks its prefix ("h.0.attn.c_attn.weight" for "transformer.h.0..."), and a bare model's class has none. `name` is
 * the tensor's, or one that begins with its module. */
VISE_MUST_USE vise_status vise_model_class_name(const vise_model *model, const vise_bound *bound, const char *name,
                                                vise_arena *arena, const char **out, vise_error *err);

#endif
