/* A growing byte buffer with a maximum. Appends never fail visibly: the first failure sticks and vise_buf_check
 * reports it, so that building a document needs one check at its end. The data is always NUL-terminated. */
#ifndef VISE_CORE_BUF_H
#define VISE_CORE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

typedef struct vise_buf {
    char *data; /* NUL-terminated once anything was appended */
    size_t length;
    size_t capacity;
    size_t max; /* appends beyond it fail */
    bool failed;
} vise_buf;

void vise_buf_init(vise_buf *buf, size_t max);
void vise_buf_deinit(vise_buf *buf);
void vise_buf_clear(vise_buf *buf); /* empties, keeps the storage */
void vise_buf_add(vise_buf *buf, const void *bytes, size_t length);
void vise_buf_add_text(vise_buf *buf, const char *text);
void vise_buf_add_char(vise_buf *buf, char c);
void vise_buf_addf(vise_buf *buf, const char *format, ...) VISE_PRINTF(2, 3);
/* `what` names the document in the error. */
VISE_MUST_USE vise_status vise_buf_check(const vise_buf *buf, const char *what, vise_error *err);

#endif
