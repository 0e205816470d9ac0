/* The arena: chunks that grow with what was taken, freed together. */
#include "core/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ALIGNMENT = 16, FIRST_CHUNK = 4096, LARGEST_CHUNK = 1 << 20 };

typedef struct chunk {
    struct chunk *next;
    size_t used;
    size_t size;
    size_t unused_; /* keeps bytes[] 16-byte aligned */
    unsigned char bytes[];
} chunk;

_Static_assert(offsetof(chunk, bytes) % ALIGNMENT == 0, "what is taken from a chunk is aligned");

struct vise_arena {
    chunk *head;
    size_t next_size;
};

vise_status vise_arena_new(vise_arena **out, vise_error *err)
{
    void *arena;
    VISE_TRY(vise_calloc(1, sizeof(vise_arena), &arena, err));
    *out = arena;
    (*out)->next_size = FIRST_CHUNK;
    return VISE_OK;
}

void vise_arena_free(vise_arena *arena)
{
    if (!arena)
        return;
    for (chunk *c = arena->head; c;) {
        chunk *next = c->next;
        vise_free(c);
        c = next;
    }
    vise_free(arena);
}

vise_status vise_arena_take(vise_arena *arena, size_t size, void **out, vise_error *err)
{
    size_t rounded;
    if (!vise_add_size(size ? size : 1, ALIGNMENT - 1, &rounded))
        return VISE_FAIL(err, VISE_ERESOURCE, "out of memory: %zu bytes wanted", size);
    rounded &= ~(size_t)(ALIGNMENT - 1);

    chunk *c = arena->head;
    if (!c || c->size - c->used < rounded) {
        size_t bytes = rounded > arena->next_size ? rounded : arena->next_size;
        size_t total;
        if (!vise_add_size(bytes, sizeof *c, &total))
            return VISE_FAIL(err, VISE_ERESOURCE, "out of memory: %zu bytes wanted", size);
        void *fresh;
        VISE_TRY(vise_calloc(1, total, &fresh, err));
        c = fresh;
        c->size = bytes;
        /* A large taking gets a chunk of its own behind the head, whose room stays in use. */
        if (arena->head && rounded > arena->next_size / 2) {
            c->next = arena->head->next;
            arena->head->next = c;
        } else {
            c->next = arena->head;
            arena->head = c;
        }
        if (arena->next_size < LARGEST_CHUNK)
            arena->next_size *= 2;
    }
    *out = c->bytes + c->used;
    c->used += rounded;
    return VISE_OK;
}

vise_status vise_arena_strdup(vise_arena *arena, const char *text, size_t length, const char **out, vise_error *err)
{
    size_t size;
    void *copy;
    if (!vise_add_size(length, 1, &size))
        return VISE_FAIL(err, VISE_ERESOURCE, "out of memory: %zu bytes wanted", length);
    VISE_TRY(vise_arena_take(arena, size, &copy, err));
    if (length > 0)
        memcpy(copy, text, length);
    *out = copy;
    return VISE_OK;
}

vise_status vise_arena_strfmt(vise_arena *arena, const char **out, vise_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        return VISE_FAIL(err, VISE_EINTERNAL, "a text could not be formatted");
    void *text;
    VISE_TRY(vise_arena_take(arena, (size_t)length + 1, &text, err));
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    *out = text;
    return VISE_OK;
}
