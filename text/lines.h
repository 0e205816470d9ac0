/* Texts, one to a line: the lines of a .txt that are not empty, or `text`, `sentence` or `content` of a .jsonl's. */
#ifndef VISE_TEXT_LINES_H
#define VISE_TEXT_LINES_H

#include <stddef.h>

#include "core/err.h"
#include "core/mem.h"

typedef struct vise_line {
    const char *text;
    size_t number; /* in the file, from 1 */
} vise_line;

typedef struct vise_lines {
    vise_line *rows;
    size_t count, capacity;
    vise_arena *arena; /* of the texts */
} vise_lines;

/* VISE_EUSAGE: another kind of file, or no texts; VISE_EFORMAT: a line without a text, a NUL, broken JSON; they name
 * the line. */
VISE_MUST_USE vise_status vise_lines_load(const char *path, vise_lines *lines, vise_error *err);
void vise_lines_deinit(vise_lines *lines);

#endif
