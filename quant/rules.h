/* Rules of `--set SELECTOR=SCHEME`: what single weights become. */
#ifndef VISE_QUANT_RULES_H
#define VISE_QUANT_RULES_H

#include "pipeline/pass.h"

typedef struct vise_quant_rule {
    const char *text, *selector;
    vise_scheme scheme; /* type NULL: stays a float */
    bool used;
} vise_quant_rule;

typedef struct vise_quant_rules {
    vise_quant_rule *items;
    size_t count;
} vise_quant_rules;

/* Rules live in the arena. VISE_EUSAGE for a text without "=", and what vise_scheme_parse says. */
VISE_MUST_USE vise_status vise_quant_rules_parse(const vise_texts *texts, vise_arena *arena, vise_quant_rules *rules,
                                                 vise_error *err);
/* The last rule that names the tensor, marked as used; NULL: none does. */
const vise_scheme *vise_quant_rules_find(vise_quant_rules *rules, const vise_model *model, const vise_bound *bound);
/* VISE_EUSAGE if some rule was used for no weight. */
VISE_MUST_USE vise_status vise_quant_rules_check(const vise_quant_rules *rules, const vise_model *model,
                                                 vise_error *err);

#endif
