#include "core/mem.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem_fault.h"

/* 0: off. Every allocation counts it down while it is on; the one that reaches 0 fails. */
static _Atomic uint64_t fail_countdown;

void vise_alloc_fail_after(uint64_t n)
{
    atomic_store(&fail_countdown, n);
}

bool vise_alloc_must_fail(void)
{
    uint64_t left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    while (left > 0)
        if (atomic_compare_exchange_weak(&fail_countdown, &left, left - 1))
            return left == 1;
    return false;
}

bool vise_add_size(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

bool vise_mul_size(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

static vise_status no_memory(size_t size, vise_error *err)
{
    return VISE_FAIL(err, VISE_ERESOURCE, "out of memory: %zu bytes wanted", size);
}

/* malloc(0) may be NULL; a unique pointer keeps "NULL means failed" true everywhere. */
static size_t at_least_one(size_t size)
{
    return size ? size : 1;
}

vise_status vise_alloc(size_t size, void **out, vise_error *err)
{
    void *block = vise_alloc_must_fail() ? NULL : malloc(at_least_one(size));
    if (!block)
        return no_memory(size, err);
    *out = block;
    return VISE_OK;
}

vise_status vise_calloc(size_t count, size_t size, void **out, vise_error *err)
{
    size_t total;
    if (!vise_mul_size(count, size, &total))
        return VISE_FAIL(err, VISE_ERESOURCE, "out of memory: %zu elements of %zu bytes", count, size);
    void *block = vise_alloc_must_fail() ? NULL : calloc(1, at_least_one(total));
    if (!block)
        return no_memory(total, err);
    *out = block;
    return VISE_OK;
}

vise_status vise_realloc(void **block, size_t count, size_t size, vise_error *err)
{
    size_t total;
    if (!vise_mul_size(count, size, &total))
        return VISE_FAIL(err, VISE_ERESOURCE, "out of memory: %zu elements of %zu bytes", count, size);
    void *moved = vise_alloc_must_fail() ? NULL : realloc(*block, at_least_one(total));
    if (!moved)
        return no_memory(total, err);
    *block = moved;
    return VISE_OK;
}

void vise_free(void *block)
{
    free(block);
}

vise_status vise_strdup(const char *text, char **out, vise_error *err)
{
    size_t size = strlen(text) + 1;
    void *copy;
    VISE_TRY(vise_alloc(size, &copy, err));
    *out = memcpy(copy, text, size);
    return VISE_OK;
}

vise_status vise_strfmt(char **out, vise_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        return VISE_FAIL(err, VISE_EINTERNAL, "a text could not be formatted");
    void *text;
    VISE_TRY(vise_alloc((size_t)length + 1, &text, err));
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    *out = text;
    return VISE_OK;
}

vise_status vise_grow(void **array, size_t *capacity, size_t needed, size_t size, vise_error *err)
{
    if (needed <= *capacity)
        return VISE_OK;
    /* By half, so that appending one by one costs amortized constant time and freed blocks can be reused. */
    size_t wanted = needed;
    size_t grown = *capacity + *capacity / 2 + 8;
    if (grown > wanted)
        wanted = grown;
    VISE_TRY(vise_realloc(array, wanted, size, err));
    *capacity = wanted;
    return VISE_OK;
}
