/* What a model takes in memory: to run, in the dtypes and schemes in common use, and to train. Weights are counted to
 * the byte, as the layout stores them: codes, scales, zero points and what else is beside them, and the tensors that
 * stay float. Keys and values, activations and what the backward pass keeps are those of model/footprint.h.
 */
#ifndef VISE_PIPELINE_MEMORY_TABLE_H
#define VISE_PIPELINE_MEMORY_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/json.h"
#include "model/footprint.h"
#include "model/model.h"

typedef struct vise_run_row {
    char name[VISE_SCHEME_TEXT_MAX]; /* "as stored", "bf16", "int4-g128" */
    uint64_t weights;                /* all of them; among them: */
    uint64_t scales;                 /* and zero points, and what else is stored beside codes */
    uint64_t unquantized;            /* tensors that stay float or integer */
    uint64_t kv_cache, activations;
} vise_run_row;

/* Training with AdamW, whose two moments have the dtype of the weights that it updates.
 *   f32          all in float32
 *   bf16 mixed   the same, with 16-bit copies of the linears and 16-bit activations (autocast)
 *   bf16         all in 16 bits
 *   lora         weights in a 4-bit scheme, frozen; float32 adapters of rank 16 on the linears of the blocks */
typedef struct vise_training_row {
    char name[VISE_SCHEME_TEXT_MAX + 16];
    uint64_t weights, gradients, optimizer;
    uint64_t activations, checkpointed; /* all kept; the inputs of blocks alone, and one block whole */
} vise_training_row;

enum { VISE_RUN_ROWS_MAX = 8, VISE_TRAINING_ROWS = 4, VISE_LORA_RANK = 16 };

typedef struct vise_memory_table {
    int64_t context, batch;
    vise_run_row run[VISE_RUN_ROWS_MAX];
    size_t n_run;
    vise_training_row training[VISE_TRAINING_ROWS];
} vise_memory_table;

/* context VISE_UNSET_INT: the smaller of the model's positions and 2048. A family without a table has no figures beside
 * weights, gradients and optimizer: they are 0. */
VISE_MUST_USE vise_status vise_memory_table_make(const vise_model *model, int64_t context, int64_t batch,
                                                 vise_memory_table *out, vise_error *err);
void vise_memory_table_print(const vise_memory_table *table, vise_buf *out);
/* The members "context", "batch", "run" and "training" of an object. */
void vise_memory_table_put(const vise_memory_table *table, vise_json_writer *json);

#endif
