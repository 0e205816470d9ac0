#include "text/added.h"

#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "text/unicode.h"

static int by_text(const void *a, const void *b)
{
    const vise_added_token *x = a, *y = b;
    size_t shorter = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->text, y->text, shorter);

    if (order != 0)
        return order;
    return (x->length > y->length) - (x->length < y->length);
}

/* A stable sort, so that the first of equal texts stays first: merge sort, bottom up. */
static vise_status sort_tokens(vise_added_token *tokens, size_t count, vise_error *err)
{
    vise_added_token *from = tokens, *to;

    VISE_TRY(vise_calloc(count, sizeof *tokens, (void **)&to, err));
    for (size_t width = 1; width < count; width *= 2) {
        vise_added_token *swap = from;
        for (size_t start = 0; start < count; start += 2 * width) {
            size_t middle = start + width < count ? start + width : count;
            size_t end = start + 2 * width < count ? start + 2 * width : count;
            size_t a = start, b = middle;
            for (size_t i = start; i < end; i++)
                to[i] = a < middle && (b == end || by_text(&from[a], &from[b]) <= 0) ? from[a++] : from[b++];
        }
        from = to;
        to = swap;
    }
    if (from != tokens) {
        memcpy(tokens, from, count * sizeof *tokens);
        to = from;
    }
    vise_free(to);
    return VISE_OK;
}

vise_status vise_added_init(vise_added *added, vise_added_token *tokens, size_t count, vise_error *err)
{
    *added = (vise_added){.tokens = tokens};
    VISE_TRY(sort_tokens(tokens, count, err));
    for (size_t i = 0; i < count; i++) {
        if (tokens[i].length == 0 ||
            (added->count > 0 && by_text(&tokens[added->count - 1], &tokens[i]) == 0))
            continue;
        added->first[(unsigned char)tokens[i].text[0]] = true;
        tokens[added->count++] = tokens[i];
    }
    return VISE_OK;
}

void vise_added_deinit(vise_added *added)
{
    vise_free(added->tokens);
    *added = (vise_added){0};
}

void vise_added_begin(vise_added_walk *walk, const vise_added *added, const char *text, size_t length)
{
    *walk = (vise_added_walk){added, text, length, 0, 0, {0, 0, -1}};
}

/* The longest token that text[at..] starts with, or NULL. The range of sorted tokens that share the
 * bytes so far is narrowed byte by byte. */
static const vise_added_token *match_at(const vise_added_walk *walk, size_t at)
{
    const vise_added_token *tokens = walk->added->tokens, *best = NULL;
    size_t low = 0, high = walk->added->count;

    for (size_t depth = 0; low < high; depth++) {
        size_t l = low, h = high;
        unsigned char byte;
        if (tokens[low].length == depth)
            best = &tokens[low++]; /* sorted first; equal texts were dropped */
        if (at + depth >= walk->length)
            break;
        byte = (unsigned char)walk->text[at + depth];
        for (l = low, h = high; l < h;) {
            size_t middle = l + (h - l) / 2;
            if ((unsigned char)tokens[middle].text[depth] < byte)
                l = middle + 1;
            else
                h = middle;
        }
        low = l;
        for (h = high; l < h;) {
            size_t middle = l + (h - l) / 2;
            if ((unsigned char)tokens[middle].text[depth] <= byte)
                l = middle + 1;
            else
                h = middle;
        }
        high = l;
    }
    return best;
}

static bool inside_word(const vise_added_walk *walk, size_t start, size_t end)
{
    size_t n;

    if (start > 0 && vise_char_is_word(vise_utf8_at(walk->text + vise_utf8_last(walk->text, start), &n)))
        return true;
    return end < walk->length && vise_char_is_word(vise_utf8_at(walk->text + end, &n));
}

static size_t spaces_before(const vise_added_walk *walk, size_t start)
{
    while (start > 0) {
        size_t n, last = vise_utf8_last(walk->text, start);
        if (vise_char_class_of(vise_utf8_at(walk->text + last, &n)) != VISE_CHAR_SPACE)
            break;
        start = last;
    }
    return start;
}

static size_t spaces_behind(const vise_added_walk *walk, size_t end)
{
    while (end < walk->length) {
        size_t n;
        if (vise_char_class_of(vise_utf8_at(walk->text + end, &n)) != VISE_CHAR_SPACE)
            break;
        end += n;
    }
    return end;
}

bool vise_added_next(vise_added_walk *walk, vise_added_part *part)
{
    if (walk->held.id >= 0) {
        *part = walk->held;
        walk->held.id = -1;
        return true;
    }
    while (walk->search < walk->length) {
        const vise_added_token *token = NULL;
        size_t start, end;
        while (walk->search < walk->length && !walk->added->first[(unsigned char)walk->text[walk->search]])
            walk->search++;
        if (walk->search < walk->length)
            token = match_at(walk, walk->search);
        if (token == NULL) {
            walk->search++;
            continue;
        }
        start = walk->search;
        end = start + token->length;
        walk->search = end;
        if (token->single_word && inside_word(walk, start, end))
            continue;
        if (token->lstrip)
            start = spaces_before(walk, start);
        if (start < walk->done && token->lstrip)
            start = walk->done;
        if (token->rstrip)
            end = spaces_behind(walk, end);
        walk->held = (vise_added_part){start, end, token->id};
        *part = walk->held;
        if (walk->done < start) {
            *part = (vise_added_part){walk->done, start, -1};
            walk->done = end;
            return true;
        }
        walk->done = end;
        walk->held.id = -1;
        return true;
    }
    if (walk->done < walk->length) {
        *part = (vise_added_part){walk->done, walk->length, -1};
        walk->done = walk->length;
        return true;
    }
    return false;
}
