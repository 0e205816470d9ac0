/* Spelling of rows for the architecture tables. */
#ifndef VISE_MODEL_ARCH_ROWS_H
#define VISE_MODEL_ARCH_ROWS_H

#include "model/arch.h"

/* A Linear inside a block, with conditions and manner of storage. */
#define VISE_LINEAR_IF(role, name, rows, cols, input, bias, when, how)                                                 \
    {VISE_ROLE_##role, name, VISE_DIM_##rows, VISE_DIM_##cols, VISE_INPUT_##input, true, VISE_BIAS_##bias, when, how}
#define VISE_LINEAR(role, name, rows, cols, input, bias) VISE_LINEAR_IF(role, name, rows, cols, input, bias, 0, 0)
/* GPT-2's Conv1D: a Linear stored [in, out]. */
#define VISE_CONV1D(role, name, rows, cols, input)                                                                     \
    VISE_LINEAR_IF(role, name, rows, cols, input, ALWAYS, 0, VISE_ROW_TRANSPOSED)
/* A vector [1, n]: norms. */
#define VISE_VECTOR_IF(role, name, cols, bias, when)                                                                   \
    {VISE_ROLE_##role, name, VISE_DIM_ONE, VISE_DIM_##cols, VISE_INPUT_NONE, false, VISE_BIAS_##bias, when, 0}
#define VISE_RMS_NORM(role, name)   VISE_VECTOR_IF(role, name, HIDDEN, NONE, 0)
#define VISE_LAYER_NORM(role, name) VISE_VECTOR_IF(role, name, HIDDEN, ALWAYS, 0)
/* A table [rows, hidden] that ids or positions choose from. */
#define VISE_TABLE(role, name, rows)                                                                                   \
    {VISE_ROLE_##role, name, VISE_DIM_##rows, VISE_DIM_HIDDEN, VISE_INPUT_NONE, false, VISE_BIAS_NONE, 0, 0}
/* A Linear behind the blocks. */
#define VISE_HEAD_LINEAR(role, name, rows, bias, when)                                                                 \
    {VISE_ROLE_##role, name, VISE_DIM_##rows, VISE_DIM_HIDDEN, VISE_INPUT_NONE, true, VISE_BIAS_##bias, when, 0}

/* The heads of a decoder: logits of tokens by `lm`, of labels by `score`. */
#define VISE_DECODER_HEADS(lm)                                                                                         \
    VISE_HEAD_LINEAR(HEAD, lm, VOCAB, NONE, VISE_TRAIT_LM),                                                            \
        VISE_HEAD_LINEAR(HEAD, "score", LABELS, NONE, VISE_TRAIT_CLASSIFIER)

#endif
