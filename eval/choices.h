/* Multiple choice by log-likelihood, as lm-evaluation-harness scores HellaSwag and its kin: each ending is put behind
 * its context, and the one whose tokens are likeliest is what the model chooses; for the normalized score likelihoods
 * are divided by the endings' characters first.
 */
#ifndef VISE_EVAL_CHOICES_H
#define VISE_EVAL_CHOICES_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "eval/eval.h"
#include "eval/texts.h"
#include "text/choices.h"
#include "text/tokenizer.h"

/* Endings behind their contexts, as tokens: rows.sets[i] is one of them, less its last token, which nothing follows. */
typedef struct vise_choice_tokens {
    vise_encoded rows;
    int32_t *last;      /* [rows.count] */
    size_t *ending;     /* [rows.count]: tokens in front of the ending, at least 1 */
    size_t *characters; /* [rows.count]: code points of the ending */
    size_t last_capacity, ending_capacity, characters_capacity;
} vise_choice_tokens;

/* All endings of n contexts. A space joins context and ending unless one of them has it. The ending's tokens are those
 * behind the tokens of the context alone. What is longer than max_length tokens and one loses its front (counted in
 * rows.truncated); VISE_EUSAGE, naming file and line, when an ending alone is too long, or when nothing stands in front
 * of its first token: an empty context and a tokenizer without BOS. Ids are below vocab, as vise_ids_check has it. */
VISE_MUST_USE vise_status vise_choices_encode(const char *file, const vise_choice_row *choices, size_t n,
                                              const vise_tokenizer *tokenizer, size_t max_length,
                                              int64_t vocab, vise_choice_tokens *out, vise_error *err);
void vise_choice_tokens_deinit(vise_choice_tokens *tokens);

/* Pool bytes, operations of the whole and so on as for vise_evaluate. nll [rows.count]: negative log-likelihood of each
 * ending, in nats. options' windows are those of tokens. */
VISE_MUST_USE vise_status vise_choices_score(const vise_model *model, const vise_choice_tokens *tokens,
                                             const vise_eval_options *options, double *done, double total, double *nll,
                                             vise_error *err);
/* Operations of vise_choices_score. */
double vise_choices_operations(const vise_model *model, const vise_choice_tokens *tokens,
                               const vise_eval_options *options);

/* chosen [n]: the first of the likeliest endings of each context; by_length: likelihoods per character. */
void vise_choices_choose(const vise_choice_row *choices, size_t n, const vise_choice_tokens *tokens, const double *nll,
                         bool by_length, int32_t *chosen);

#endif
