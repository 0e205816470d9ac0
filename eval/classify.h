/* Classifiers on labelled texts: which label a model gives each, and what that is worth: accuracy, F1 and the
 * confusion table, as scikit-learn defines them. */
#ifndef VISE_EVAL_CLASSIFY_H
#define VISE_EVAL_CLASSIFY_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"
#include "eval/eval.h"

/* VISE_EUNSUPPORTED unless the model tells classes apart: it has a head that does, more than one label, and gives each
 * text one of them. */
VISE_MUST_USE vise_status vise_need_classes(const vise_model *model, const char *what, vise_error *err);

/* Names [config.labels] of the model's labels as id2label has them, in arena; NULL where it has none. VISE_EFORMAT when
 * id2label is not ids with names. */
VISE_MUST_USE vise_status vise_class_names(const vise_model *model, vise_arena *arena, const char ***names,
                                           vise_error *err);

/* labels [windows of options]: the label with the largest logit, the first of equal ones. A logit that is not finite is
 * VISE_EFORMAT. done and total are operations of the whole evaluation, for progress. */
VISE_MUST_USE vise_status vise_classify(const vise_model *model, const vise_eval_options *options, double *done,
                                        double total, int32_t *labels, vise_error *err);

/* One label. What would be divided by nothing is 0. */
typedef struct vise_class {
    uint64_t n;         /* texts that have it */
    uint64_t predicted; /* ... that the model gave it */
    uint64_t right;     /* both */
    double precision, recall, f1;
} vise_class;

typedef struct vise_class_scores {
    size_t labels;
    size_t n;
    vise_class *classes;     /* [labels] */
    double accuracy;
    double stderr_accuracy;  /* of a sample of n texts: sqrt(p (1 - p) / (n - 1)) */
    double macro_f1;         /* mean over the labels that a text has or was given */
} vise_class_scores;

/* truth and predicted [n], each below labels. */
VISE_MUST_USE vise_status vise_class_scores_make(const int32_t *truth, const int32_t *predicted, size_t n,
                                                 size_t labels, vise_class_scores *scores, vise_error *err);
void vise_class_scores_deinit(vise_class_scores *scores);

/* The share of positions at which a and b [n] are equal, and sqrt(p (1 - p) / (n - 1)). */
double vise_share_equal(const int32_t *a, const int32_t *b, size_t n);
double vise_share_stderr(double share, size_t n);

#endif
