/* Selectors: globs on module names ("model.layers.*.mlp.down_proj", "lm_head") or "role:NAME". `*` matches any run
 * of characters, dots included, `?` one, `[abc]` a set.
 *
 * A pass works on the linears inside the blocks; embeddings, head, norms and what the architecture table does not
 * know are carried over unchanged unless an include names them. A selector that matches no module is VISE_EUSAGE;
 * excluding what is outside already is none.
 */
#ifndef VISE_PIPELINE_SELECTOR_H
#define VISE_PIPELINE_SELECTOR_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"
#include "model/model.h"
#include "pipeline/option.h"

bool vise_glob_match(const char *pattern, const char *text);

/* True if the selector names this tensor: its module (or, for a tied head, the name of the head module as well). */
bool vise_selector_matches(const char *selector, const vise_model *model, const vise_bound *bound);

/* Every selector must name a module; one that includes, a module that a pass can work on. Else VISE_EUSAGE, which names
 * what may have been meant. */
VISE_MUST_USE vise_status vise_selector_check(const vise_model *model, const char *selector, bool includes,
                                              vise_error *err);

/* selected [model->count] becomes: default targets, or those named by include when there are any, less those of
 * exclude. Only matrices of a float dtype (or quantized ones) can be selected; an include that names none is an
 * error. */
VISE_MUST_USE vise_status vise_select(const vise_model *model, const vise_texts *include, const vise_texts *exclude,
                                      bool *selected, vise_error *err);

#endif
