/* Multiple choice: rows of a JSONL file, each a context, endings of which one is right, and which.
 *
 * Keys, as HellaSwag and its kin have them: the context in `ctx`, `context`, `query`, `question` or `prompt`;
 * `endings` or `choices`, a list of texts; `label`, the right one's number from 0, as a number or in digits. Others
 * are left alone.
 */
#ifndef VISE_TEXT_CHOICES_H
#define VISE_TEXT_CHOICES_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"

#define VISE_ENDINGS_MAX 64

typedef struct vise_choice_row {
    const char *context; /* may be empty */
    const char **endings; /* [n_endings], none of them empty; at least 2 */
    size_t n_endings;
    int32_t label; /* in [0, n_endings) */
    size_t line;   /* of the file, from 1 */
} vise_choice_row;

typedef struct vise_choices {
    vise_choice_row *rows;
    size_t count, capacity;
    vise_arena *arena; /* of the texts */
} vise_choices;

/* VISE_EUSAGE: another kind of file, or no rows; VISE_EFORMAT: a missing key, fewer than 2 endings or too many, an
 * empty one, a label out of range, broken JSON. Each names the line. */
VISE_MUST_USE vise_status vise_choices_load(const char *path, vise_choices *choices, vise_error *err);
void vise_choices_deinit(vise_choices *choices);

#endif
