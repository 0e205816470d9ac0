/* How good a network is: perplexity of a text, and, against a reference model on the same windows, KL divergence and top-1 agreement.
 * Both models stream side by side, block by block; nothing the size of the logits of the whole text is kept.
 */
#ifndef VISE_EVAL_EVAL_H
#define VISE_EVAL_EVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"
#include "core/err.h"
#include "core/mem.h"
#include "model/forward.h"
#include "model/model.h"
#include "text/windows.h"

typedef struct vise_quality {
    uint64_t tokens;  /* predictions counted */
    double nll;       /* mean, nats per token */
    double stderr_nll;/* standard error of the mean over windows */
    double perplexity;
    double bits_per_byte; /* 0 when the text's bytes are unknown */
} vise_quality;

typedef struct vise_divergence {
    double mean, p50, p90, p99, max; /* KL(reference || model), nats per token */
    double top1_agreement;           /* in [0, 1] */
    double perplexity_ratio_stderr;  /* of after / before, from paired differences per window */
} vise_divergence;

typedef struct vise_eval_options {
    const vise_windows *windows;
    uint64_t stream_ram_bytes; /* for each model's stream */
    vise_pool *pool;
    vise_workers *workers;
    vise_backend *backend;
} vise_eval_options;

/* model's quality; with reference (may be NULL) the reference's quality and the divergence too. */
VISE_MUST_USE vise_status vise_evaluate(const vise_model *model, const vise_model *reference,
                                        const vise_eval_options *options, vise_quality *quality,
                                        vise_quality *reference_quality, vise_divergence *divergence, vise_error *err);

/* Logits of rows of ids (all of one length) into one safetensors file: "logits" F32 [rows, length, vocab]. */
VISE_MUST_USE vise_status vise_save_logits(const vise_model *model, const vise_windows *rows, size_t count,
                                           const vise_eval_options *options, const char *path, vise_error *err);

/* Pool bytes that an evaluation takes at least. */
uint64_t vise_eval_bytes(const vise_model *model, const vise_model *reference, size_t length, int workers);

#endif
