/* Labelled texts: rows of a TSV (a header, no quoting) or JSONL file for classifiers.
 *
 * Columns (keys): `label`, an id or a name; the text in `text`, `sentence`, `content`, `sentence1` or `premise`;
 * where there are two texts, the second in `text_pair`, `sentence2` or `hypothesis`. Other columns are left alone.
 */
#ifndef VISE_TEXT_LABELS_H
#define VISE_TEXT_LABELS_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"

typedef struct vise_label_row {
    const char *first;
    const char *second; /* NULL: one text */
    int32_t label;      /* in [0, n_names) */
    size_t line;        /* of the file, from 1 */
} vise_label_row;

typedef struct vise_labels {
    vise_label_row *rows;
    size_t count;
    size_t capacity;
    vise_arena *arena; /* of the texts */
} vise_labels;

/* names[0..n_names): id2label, for labels that are names and for the range of ids; an entry may be NULL. Texts of a
 * TSV are the file's bytes: what is not UTF-8 is replaced, and counted, when they are tokenized. VISE_EUSAGE: another
 * kind of file, or no rows; VISE_EFORMAT: a missing column, a row with another number of columns than the header, a
 * label that is unknown or out of range, a NUL, broken JSON. Each names the line. */
VISE_MUST_USE vise_status vise_labels_load(const char *path, const char *const *names, size_t n_names,
                                           vise_labels *labels, vise_error *err);
void vise_labels_deinit(vise_labels *labels);

#endif
