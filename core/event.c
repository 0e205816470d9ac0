#include "core/event.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/err.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static vise_listener current;
static void *current_context;
static vise_listener current_keeper;
static void *keeper_context;

void vise_listen(vise_listener listener, void *context)
{
    pthread_mutex_lock(&lock);
    current = listener;
    current_context = context;
    pthread_mutex_unlock(&lock);
}

void vise_keep_warnings(vise_listener keeper, void *context)
{
    pthread_mutex_lock(&lock);
    current_keeper = keeper;
    keeper_context = context;
    pthread_mutex_unlock(&lock);
}

static void tell(const vise_event *event)
{
    pthread_mutex_lock(&lock);
    if (current_keeper && event->kind == VISE_EVENT_WARNING)
        current_keeper(keeper_context, event);
    if (current)
        current(current_context, event);
    pthread_mutex_unlock(&lock);
}

static void tell_text(vise_event_kind kind, const char *format, va_list args) VISE_PRINTF(2, 0);

static void tell_text(vise_event_kind kind, const char *format, va_list args)
{
    char text[2 * VISE_ERROR_MESSAGE_MAX];
    if (vsnprintf(text, sizeof text, format, args) < 0)
        return;
    tell(&(vise_event){.kind = kind, .text = text});
}

void vise_info(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell_text(VISE_EVENT_INFO, format, args);
    va_end(args);
}

void vise_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell_text(VISE_EVENT_WARNING, format, args);
    va_end(args);
}

void vise_progress(const char *phase, const char *item, double done, double total)
{
    tell(&(vise_event){.kind = VISE_EVENT_PROGRESS, .phase = phase, .item = item, .done = done, .total = total});
}
