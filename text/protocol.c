#include "text/protocol.h"

#include <string.h>

#include "core/mem.h"

#define LENGTH_DEFAULT   2048
#define LENGTH_LLAMA_CPP 512

static const char *const names[VISE_PROTOCOL_COUNT] = {
    [VISE_PROTOCOL_WINDOWS] = "windows",
    [VISE_PROTOCOL_PAPERS] = "papers",
    [VISE_PROTOCOL_STRIDE] = "stride",
    [VISE_PROTOCOL_LLAMA_CPP] = "llama.cpp",
};

const char *vise_protocol_name(vise_protocol protocol)
{
    return names[protocol];
}

vise_status vise_protocol_find(const char *name, vise_protocol *protocol, vise_error *err)
{
    *protocol = VISE_PROTOCOL_WINDOWS;
    for (int i = 0; name != NULL && i < VISE_PROTOCOL_COUNT; i++)
        if (strcmp(name, names[i]) == 0) {
            *protocol = (vise_protocol)i;
            return VISE_OK;
        }
    if (name == NULL)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EUSAGE, "unknown protocol \"%.60s\"; there are " VISE_PROTOCOL_CHOICES, name);
}

size_t vise_protocol_length(vise_protocol protocol, int64_t max_positions)
{
    int64_t length = protocol == VISE_PROTOCOL_LLAMA_CPP ? LENGTH_LLAMA_CPP : LENGTH_DEFAULT;

    return (size_t)(max_positions > 0 && max_positions < length ? max_positions : length);
}

vise_status vise_window_plan_check(const vise_window_plan *plan, vise_error *err)
{
    size_t least = plan->protocol == VISE_PROTOCOL_LLAMA_CPP ? 4 : 2;

    if (plan->length < least)
        return VISE_FAIL(err, VISE_EUSAGE, "a window of %zu tokens predicts nothing; --length is at least %zu",
                         plan->length, least);
    if (plan->protocol == VISE_PROTOCOL_STRIDE && (plan->stride < 1 || plan->stride > plan->length))
        return VISE_FAIL(err, VISE_EUSAGE, "a stride of %zu tokens with windows of %zu; it is at least 1 and no more "
                                           "than the window, or tokens would be left out",
                         plan->stride, plan->length);
    return VISE_OK;
}

/* Tokens of the stream from one window to the next. */
static size_t step_of(const vise_window_plan *plan)
{
    if (plan->protocol == VISE_PROTOCOL_STRIDE)
        return plan->stride;
    return plan->length - (plan->protocol == VISE_PROTOCOL_WINDOWS && plan->bos >= 0);
}

size_t vise_window_plan_count(const vise_window_plan *plan)
{
    if (plan->protocol != VISE_PROTOCOL_STRIDE)
        return plan->tokens / step_of(plan);
    if (plan->tokens <= plan->length)
        return plan->tokens >= 2;
    return 1 + (plan->tokens - plan->length - 1) / plan->stride + 1;
}

vise_window_place vise_window_plan_at(const vise_window_plan *plan, size_t index)
{
    size_t step = step_of(plan);
    vise_window_place place = {.start = index * step, .own = plan->length};

    switch (plan->protocol) {
    case VISE_PROTOCOL_WINDOWS:
        place.own = step;
        place.bos_before = plan->bos >= 0;
        break;
    case VISE_PROTOCOL_STRIDE:
        if (place.own > plan->tokens - place.start)
            place.own = plan->tokens - place.start;
        /* The window before it ends `length - stride` tokens into this one; the prediction of the token behind that
         * end is its first that counts. */
        if (index > 0 && plan->length > plan->stride)
            place.uncounted = plan->length - plan->stride - 1;
        break;
    case VISE_PROTOCOL_LLAMA_CPP:
        place.bos_replaces = plan->bos >= 0;
        place.uncounted = plan->length / 2;
        break;
    default:
        break;
    }
    return place;
}

size_t vise_window_plan_tokens(const vise_window_plan *plan, size_t windows)
{
    size_t tokens;

    if (!vise_mul_size(windows, step_of(plan), &tokens) ||
        !vise_add_size(tokens, plan->length - step_of(plan), &tokens))
        return SIZE_MAX;
    return plan->protocol == VISE_PROTOCOL_WINDOWS ? tokens - (plan->length - step_of(plan)) : tokens;
}
