/* Progress and log events. The library tells; who listens decides how it looks (cli/progress.c: bar, lines, JSON).
 * One listener a process; events may come from any thread, the listener is called under a lock and must not tell
 * events itself. The texts live until it returns. */
#ifndef VISE_CORE_EVENT_H
#define VISE_CORE_EVENT_H

#include <stdint.h>

#include "core/err.h"

typedef enum vise_event_kind {
    VISE_EVENT_INFO,     /* text */
    VISE_EVENT_WARNING,  /* text; also collected for the report */
    VISE_EVENT_PROGRESS  /* phase, item, done, total */
} vise_event_kind;

typedef struct vise_event {
    vise_event_kind kind;
    const char *text;  /* INFO, WARNING */
    const char *phase; /* PROGRESS: "quantize", "evaluate", "hash"... */
    const char *item;  /* the block or weight at hand, or NULL */
    double done;       /* units of work (bytes or operations), of total */
    double total;
} vise_event;

typedef void (*vise_listener)(void *context, const vise_event *event);

void vise_listen(vise_listener listener, void *context); /* NULL: nobody */
/* A second one that hears warnings alone, before the listener does: who keeps them for a report. */
void vise_keep_warnings(vise_listener keeper, void *context); /* NULL: nobody */
void vise_info(const char *format, ...) VISE_PRINTF(1, 2);
void vise_warn(const char *format, ...) VISE_PRINTF(1, 2);
void vise_progress(const char *phase, const char *item, double done, double total);

#endif
