/* Protocols: how a text becomes windows, and which of their predictions count. Perplexities compare only within one.
 *
 *   windows    windows of `length` one after another, each beginning with BOS if the tokenizer adds one; every
 *              prediction counts. The default, and what calibration takes.
 *   papers     the tokens of the whole text, cut into windows of `length`, without BOS: what GPTQ (2210.17323) and
 *              SparseGPT (2301.00774) report. bos_in_front puts one BOS in front of the text, as tokenizers that add
 *              one did in their code.
 *   stride     windows of `length` that begin every `stride` tokens, the last one cut at the end of the text; in each
 *              count the tokens that no window before it had ("Perplexity of fixed-length models" of transformers'
 *              documentation). Every token but the first of the text counts once. bos_in_front as above.
 *   llama.cpp  the text with BOS in front (if the tokenizer adds one), cut into windows of `length`, the first token of
 *              each replaced by BOS; predictions from position length / 2 on count: length - 1 - length / 2 a window
 *              (llama.cpp's perplexity tool).
 */
#ifndef VISE_TEXT_PROTOCOL_H
#define VISE_TEXT_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

typedef enum vise_protocol {
    VISE_PROTOCOL_WINDOWS,
    VISE_PROTOCOL_PAPERS,
    VISE_PROTOCOL_STRIDE,
    VISE_PROTOCOL_LLAMA_CPP,
    VISE_PROTOCOL_COUNT
} vise_protocol;

#define VISE_PROTOCOL_CHOICES "windows|papers|stride|llama.cpp"

const char *vise_protocol_name(vise_protocol protocol);
/* NULL is the default. VISE_EUSAGE that lists them for an unknown name. */
VISE_MUST_USE vise_status vise_protocol_find(const char *name, vise_protocol *protocol, vise_error *err);
/* Tokens of a window when nothing is said: the smaller of max_positions (0: unknown) and 2048; llama.cpp: 512. */
size_t vise_protocol_length(vise_protocol protocol, int64_t max_positions);

/* How windows lie in a stream of tokens. */
typedef struct vise_window_plan {
    vise_protocol protocol;
    size_t length, stride;
    int32_t bos; /* -1: none */
    size_t tokens; /* of the stream, with a BOS in front where the protocol has one */
} vise_window_plan;

/* One window: tokens [start, start + own) of the stream. */
typedef struct vise_window_place {
    size_t start, own;
    bool bos_before;   /* BOS is put before them */
    bool bos_replaces; /* BOS takes the place of the first */
    size_t uncounted;  /* predictions at its front that do not count */
} vise_window_place;

/* VISE_EUSAGE for a length or a stride that the protocol cannot have. */
VISE_MUST_USE vise_status vise_window_plan_check(const vise_window_plan *plan, vise_error *err);
size_t vise_window_plan_count(const vise_window_plan *plan);
vise_window_place vise_window_plan_at(const vise_window_plan *plan, size_t index);
/* Tokens of the stream that the first `windows` windows cover; SIZE_MAX when that is beyond counting. */
size_t vise_window_plan_tokens(const vise_window_plan *plan, size_t windows);

#endif
