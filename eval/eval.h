/* How good a network is: perplexity of a text, and, against a reference model on the same windows, KL divergence and
 * top-1 agreement. One block of one model is resident at a time; nothing the size of the logits of the whole text is
 * kept, only one number per token. Classifiers: eval/classify.h.
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
    uint64_t tokens;          /* predictions counted: those of each window, less windows.uncounted at its front */
    double nll;               /* mean, nats per token */
    double stderr_nll;        /* standard error of the mean, from the windows' sums */
    double stderr_nll_tokens; /* the same, were all predictions independent: what llama.cpp's "+/-" is made of */
    double perplexity;
    double bits_per_byte;     /* 0 when the text's bytes are unknown */
} vise_quality;

/* How values of tokens are spread. Percentiles lie between the ranks (i - 1) / (n - 1), as torch.quantile's. */
typedef struct vise_spread {
    double mean, stderr_mean; /* from the windows' sums */
    double rms;               /* root of the mean square */
    double min, p1, p5, p10, p25, p50, p75, p90, p95, p99, p999, max;
} vise_spread;

typedef struct vise_divergence {
    vise_spread kl;                  /* KL(reference || model), nats per token */
    vise_spread delta_p;             /* what the model gives the token that follows, less what the reference gives it */
    double top1_agreement;           /* in [0, 1] */
    double top1_stderr;              /* of a proportion */
    double perplexity_ratio_stderr;  /* of after / before, from paired differences per window */
} vise_divergence;

typedef struct vise_eval_options {
    const vise_windows *windows;
    size_t sets;               /* number of sets that `windows` points at (their lengths may differ); 0 means 1 */
    bool first_token;          /* embeddings are those of the first token, not means */
    bool weights_only;         /* leave out what the file says of quantized activations */
    uint64_t stream_ram_bytes; /* for each model's stream */
    vise_pool *pool;
    vise_workers *workers;
    vise_backend *backend;
} vise_eval_options;

/* model's quality; with reference (may be NULL, then the last two are not touched) the reference's quality and the
 * divergence too. Vocabularies that differ in size are VISE_EUSAGE. */
VISE_MUST_USE vise_status vise_evaluate(const vise_model *model, const vise_model *reference,
                                        const vise_eval_options *options, vise_quality *quality,
                                        vise_quality *reference_quality, vise_divergence *divergence,
                                        vise_error *err);

/* Logits of options' windows (all of one length, else VISE_EUSAGE) into one safetensors file, which appears whole or
 * not at all and replaces one that is there: "logits" F32 [windows, length, vocab]. A classifier gives
 * [windows, labels], a model without a head "embeddings" [windows, hidden], the mean over a window's tokens or its
 * first one's; their windows may differ in length. */
VISE_MUST_USE vise_status vise_save_logits(const vise_model *model, const vise_eval_options *options,
                                           const char *path, vise_error *err);

/* Multiply-add operations x 2 of the model on options' windows, head excluded; for progress. */
double vise_eval_operations(const vise_model *model, const vise_eval_options *options);
/* Pool bytes that an evaluation takes at least, streams spilled and heads read in tiles. reference may be NULL. */
uint64_t vise_eval_bytes(const vise_model *model, const vise_model *reference, size_t length, int workers);

#endif
