/* Errors are values.
 *
 * Every fallible function returns a vise_status and takes a vise_error * as its last parameter. The error is
 * filled once, at the site that fails, with what went wrong, where, and what the user can do. Callers forward the
 * status and leave the message alone. The library never exits, aborts or prints.
 *
 * A status is also the exit code of the command line (docs/cli.md).
 */
#ifndef VISE_CORE_ERR_H
#define VISE_CORE_ERR_H

#include <stdarg.h>

typedef enum vise_status {
    VISE_OK = 0,
    VISE_EGOAL = 1,        /* the work is done, but a goal or budget was not met */
    VISE_EUSAGE = 2,       /* the request is wrong: option, recipe, selector, output that exists */
    VISE_EFORMAT = 3,      /* an input is unreadable or malformed */
    VISE_ERESOURCE = 4,    /* out of memory budget, memory or disk */
    VISE_EUNSUPPORTED = 5, /* understood, but not something this program can do */
    VISE_EINTERRUPTED = 6, /* stopped by a signal; can be resumed */
    VISE_EINTERNAL = 7     /* a bug in vise */
} vise_status;

#define VISE_ERROR_MESSAGE_MAX 1024

typedef struct vise_error {
    vise_status status;
    const char *file; /* source file and line that failed, for --verbose and bug reports */
    int line;
    char message[VISE_ERROR_MESSAGE_MAX]; /* one line, no trailing full stop or newline */
} vise_error;

#define VISE_MUST_USE __attribute__((warn_unused_result))
#define VISE_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))

/* Fills *err (may be NULL) unless it already holds a failure, and returns status. Use VISE_FAIL. */
vise_status vise_fail(vise_error *err, vise_status status, const char *file, int line, const char *format, ...)
    VISE_PRINTF(5, 6);

/* Appends to the message of a failure: what to do, where only a caller knows that. err may be NULL. */
void vise_error_add(vise_error *err, const char *text);

/* Short text for a status: "malformed input". Never NULL. */
const char *vise_status_text(vise_status status);

#define VISE_FAIL(err, status, ...) vise_fail((err), (status), __FILE__, __LINE__, __VA_ARGS__)

/* Forward a failure. VISE_TRY leaves the function; VISE_TRY_TO goes to a cleanup label with `status` set. */
#define VISE_TRY(call)                                   \
    do {                                                 \
        vise_status vise_try_status_ = (call);           \
        if (vise_try_status_ != VISE_OK)                 \
            return vise_try_status_;                     \
    } while (0)
#define VISE_TRY_TO(label, call)                         \
    do {                                                 \
        status = (call);                                 \
        if (status != VISE_OK)                           \
            goto label;                                  \
    } while (0)

#endif
