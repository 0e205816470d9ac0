#include "core/err.h"

#include <stdio.h>
#include <string.h>

/* A message is one line for a person: control characters (a file name may hold any) become '?', and a text that
 * had to be cut ends in "..." and not in the middle of a UTF-8 character. */
static void tidy(char message[VISE_ERROR_MESSAGE_MAX], int wanted)
{
    if (wanted >= VISE_ERROR_MESSAGE_MAX) {
        size_t end = VISE_ERROR_MESSAGE_MAX - 4;
        while (end > 0 && ((unsigned char)message[end] & 0xC0) == 0x80)
            end--;
        memcpy(message + end, "...", 4);
    }
    for (char *c = message; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
}

vise_status vise_fail(vise_error *err, vise_status status, const char *file, int line, const char *format, ...)
{
    if (!err || err->status != VISE_OK)
        return status;
    err->status = status;
    err->file = file;
    err->line = line;
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    if (wanted < 0)
        snprintf(err->message, sizeof err->message, "%s", vise_status_text(status));
    else
        tidy(err->message, wanted);
    return status;
}

void vise_error_add(vise_error *err, const char *text)
{
    size_t length;

    if (!err || err->status == VISE_OK)
        return;
    length = strlen(err->message);
    tidy(err->message, (int)length + snprintf(err->message + length, sizeof err->message - length, "%s", text));
}

const char *vise_status_text(vise_status status)
{
    switch (status) {
    case VISE_OK:
        return "done";
    case VISE_EGOAL:
        return "goal not met";
    case VISE_EUSAGE:
        return "wrong usage";
    case VISE_EFORMAT:
        return "malformed input";
    case VISE_ERESOURCE:
        return "out of a resource";
    case VISE_EUNSUPPORTED:
        return "not supported";
    case VISE_EINTERRUPTED:
        return "interrupted";
    case VISE_EINTERNAL:
        return "internal error";
    }
    return "unknown status";
}
