/* Choosing the next token from logits, in the order of transformers' processors: repetition penalty, temperature,
 * top-k, top-p, min-p. The choice depends on logits, options and seed alone.
 */
#ifndef VISE_MODEL_SAMPLE_H
#define VISE_MODEL_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/rng.h"

typedef struct vise_sample_options {
    double temperature; /* 0: the largest logit, the lowest id among equals */
    int64_t top_k;      /* the k largest; 0: all */
    double top_p;       /* the smallest set of the largest whose probability is at least this; 1: all */
    double min_p;       /* those at least this likely, as a fraction of the likeliest; 0: all */
    double
        repetition_penalty; /* of what stands in the text (arXiv:1909.05858): logits are divided by it where positive,
                                * multiplied where negative; 1: none */
    uint64_t seed;
} vise_sample_options;

typedef struct vise_sampler {
    vise_sample_options options;
    int64_t vocab;
    vise_rng rng;
    float *weight;   /* [vocab]: e^((logit - largest) / temperature) */
    int32_t *order;  /* [vocab]: a heap, behind it what was taken from it */
    uint8_t *stands; /* [vocab]: in the text */
} vise_sampler;

VISE_MUST_USE vise_status vise_sampler_init(vise_sampler *sampler, const vise_sample_options *options,
                                            int64_t vocab, vise_error *err);
void vise_sampler_deinit(vise_sampler *sampler); /* also of a zeroed sampler */
/* Tokens that stand in the text, of the prompt too: for the penalty. Ids beyond the vocabulary are left out. */
void vise_sampler_see(vise_sampler *sampler, const int32_t *ids, size_t n);
/* The next token from logits [vocab], which are changed. Logits that are not finite are VISE_EFORMAT. */
VISE_MUST_USE vise_status vise_sample(vise_sampler *sampler, float *logits, int32_t *id, vise_error *err);

#endif
