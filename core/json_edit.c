/* The editor works on the text: it finds the bytes of the members of the top-level object and replaces, inserts or
 * cuts. What other programs wrote (order, spacing, numbers beyond a double) stays as it was. */
#include <string.h>

#include "core/json.h"
#include "core/json_scan.h"
#include "core/mem.h"

/* Byte positions of one member: "key" : value */
typedef struct member {
    size_t key, key_end;     /* with its quotes */
    size_t value, value_end;
} member;

typedef struct layout {
    size_t open, close; /* the braces */
    member first, last; /* when count > 0 */
    member found;       /* when matches > 0 */
    size_t before_found_end; /* where the member before ends, or after the opening brace */
    size_t count, matches;
} layout;

/* True when the string at [from, to), quotes included, spells key. */
static vise_status spells(const vise_json_scanner *s, size_t from, size_t to, const char *key, bool *same)
{
    size_t length = to - from - 2;
    const char *inner = s->text + from + 1;
    if (!memchr(inner, '\\', length)) {
        *same = strlen(key) == length && memcmp(inner, key, length) == 0;
        return VISE_OK;
    }
    cJSON *decoded = cJSON_ParseWithLength(s->text + from, to - from);
    if (!decoded)
        return VISE_FAIL(s->err, VISE_ERESOURCE, "%s: out of memory", s->name);
    *same = strcmp(decoded->valuestring, key) == 0;
    cJSON_Delete(decoded);
    return VISE_OK;
}

static vise_status find_members(vise_json_scanner *s, const char *key, layout *l)
{
    *l = (layout){0};
    VISE_TRY(vise_json_expect(s, '{', "an object ('{')"));
    l->open = s->at - 1;
    vise_json_skip_space(s);
    if (vise_json_peek(s) == '}') {
        l->close = s->at++;
        return VISE_OK;
    }
    for (;;) {
        vise_json_skip_space(s);
        member m = {.key = s->at};
        VISE_TRY(vise_json_skip_string(s));
        m.key_end = s->at;
        VISE_TRY(vise_json_expect(s, ':', "':'"));
        vise_json_skip_space(s);
        m.value = s->at;
        VISE_TRY(vise_json_skip_value(s));
        m.value_end = s->at;

        bool same = false;
        VISE_TRY(spells(s, m.key, m.key_end, key, &same));
        if (same) {
            if (++l->matches > 1)
                return vise_json_fail_at(s, m.key, "the key \"%.100s\" is given twice", key);
            l->found = m;
            l->before_found_end = l->count ? l->last.value_end : l->open + 1;
        }
        if (l->count++ == 0)
            l->first = m;
        l->last = m;

        vise_json_skip_space(s);
        if (vise_json_peek(s) == '}') {
            l->close = s->at++;
            return VISE_OK;
        }
        VISE_TRY(vise_json_expect(s, ',', "',' or '}'"));
    }
}

/* From the end of the member before to the end of this one, or, for the first, to the start of the next. */
static void add_removed(vise_buf *out, const char *text, size_t length, const layout *l)
{
    size_t from = l->before_found_end, to = l->found.value_end;
    if (l->found.key == l->first.key) {
        if (l->count > 1) {
            from = l->found.key;
            to += strcspn(text + to, ",") + 1;
            to += strspn(text + to, " \t\r\n");
        } else {
            to = l->close;
        }
    }
    vise_buf_add(out, text, from);
    vise_buf_add(out, text + to, length - to);
}

/* Behind the last member, spaced as the first one is. */
static void add_appended(vise_buf *out, const char *text, size_t length, const char *key, const char *json,
                         const layout *l)
{
    size_t at = l->count ? l->last.value_end : l->open + 1;
    vise_buf_add(out, text, at);
    if (l->count) {
        vise_buf_add_char(out, ',');
        vise_buf_add(out, text + l->open + 1, l->first.key - l->open - 1);
    }
    vise_json_writer writer;
    vise_json_begin(&writer, out, 0);
    vise_json_put_text(&writer, key);
    if (l->count)
        vise_buf_add(out, text + l->first.key_end, l->first.value - l->first.key_end);
    else
        vise_buf_add_text(out, ": ");
    vise_buf_add_text(out, json);
    vise_buf_add(out, text + at, length - at);
}

vise_status vise_json_edit(const char *name, const char *text, const char *key, const char *json, char **out,
                           vise_error *err)
{
    size_t length = strlen(text);
    vise_json_scanner s = {.name = name, .text = text, .length = length, .err = err};
    VISE_TRY(vise_json_scan_document(&s));
    if (json) {
        vise_json_scanner value = {.name = key, .text = json, .length = strlen(json), .err = err};
        VISE_TRY(vise_json_scan_document(&value));
    }
    layout l;
    s.at = 0;
    VISE_TRY(find_members(&s, key, &l));

    vise_buf edited;
    vise_buf_init(&edited, SIZE_MAX / 2);
    if (json && l.matches) {
        vise_buf_add(&edited, text, l.found.value);
        vise_buf_add_text(&edited, json);
        vise_buf_add(&edited, text + l.found.value_end, length - l.found.value_end);
    } else if (json) {
        add_appended(&edited, text, length, key, json, &l);
    } else if (l.matches) {
        add_removed(&edited, text, length, &l);
    } else {
        vise_buf_add(&edited, text, length);
    }
    vise_status status = vise_buf_check(&edited, name, err);
    if (status == VISE_OK) {
        *out = edited.data;
        edited.data = NULL;
    }
    vise_buf_deinit(&edited);
    return status;
}
