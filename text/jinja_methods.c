/* Methods of texts, dictionaries and lists, as Python has them; those that would change a value are not held. */
#include <string.h>

#include <utf8proc.h>

#include "text/jinja_internal.h"
#include "text/unicode.h"

/* str.isspace */
static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

static bool strips(vise_jrun *run, uint32_t c, const vise_jvalue *set)
{
    char utf8[4];

    if (!vise_jwork(run, 1 + (set != NULL && set->kind == VISE_J_TEXT ? set->length / 4 : 0)))
        return false;
    if (set == NULL || set->kind == VISE_J_NONE)
        return is_space(c);
    return memmem(set->text, set->length, utf8, vise_utf8_put(c, utf8)) != NULL;
}

static vise_jvalue strip(vise_jrun *run, const vise_jvalue *text, const vise_jvalue *set, bool left,
                         bool right)
{
    size_t from = 0, to = text->length, n;

    while (left && from < to && strips(run, vise_utf8_at(text->text + from, &n), set))
        from += n;
    while (right && to > from) {
        size_t last = from + vise_utf8_last(text->text + from, to - from);
        if (!strips(run, vise_utf8_at(text->text + last, &n), set))
            break;
        to = last;
    }
    return vise_jtext(text->text + from, to - from);
}

/* ---- case ------------------------------------------------------------------------------------------------------ */

/* Letters whose other case is several, or depends on what is around them. */
static bool is_special(uint32_t c)
{
    return c == 0xdf || c == 0x130 || c == 0x149 || c == 0x1f0 || c == 0x345 || c == 0x390 || c == 0x3a3 ||
           c == 0x3b0 || c == 0x587 || (c >= 0x1c4 && c <= 0x1cc) || (c >= 0x1f1 && c <= 0x1f3) ||
           (c >= 0x1e96 && c <= 0x1e9e) || (c >= 0x1f50 && c <= 0x1ffc) || (c >= 0xfb00 && c <= 0xfb17);
}

typedef enum casing { LOWER, UPPER, TITLE, CAPITALIZE } casing;

static vise_status change_case(vise_jrun *run, const vise_jvalue *text, casing wanted, vise_jvalue *out)
{
    bool first = true;
    vise_status status = VISE_OK;
    vise_buf buf;

    vise_buf_init(&buf, VISE_JBYTES_MAX);
    for (size_t i = 0, n; i < text->length && status == VISE_OK; i += n) {
        uint32_t c = vise_utf8_at(text->text + i, &n);
        int32_t lower = utf8proc_tolower((int32_t)c), upper = utf8proc_toupper((int32_t)c);
        bool cased = lower != (int32_t)c || upper != (int32_t)c,
             big = wanted == UPPER || (wanted != LOWER && first);
        char utf8[4];
        if (is_special(c))
            status =
                VISE_JFAIL(run, VISE_EUNSUPPORTED, "the case of the letter U+%04X is not changed here", c);
        first = wanted == TITLE ? !cased : false;
        vise_buf_add(&buf, utf8, vise_utf8_put((uint32_t)(big ? upper : lower), utf8));
    }
    if (status == VISE_OK)
        status = vise_jcopy_text(run, &buf, out);
    vise_buf_deinit(&buf);
    return status;
}

/* ---- parts ----------------------------------------------------------------------------------------------------- */

/* Where `what` is in text[from..); SIZE_MAX: nowhere. */
static size_t find(const vise_jvalue *text, size_t from, const vise_jvalue *what)
{
    const char *at =
        from < text->length ? memmem(text->text + from, text->length - from, what->text, what->length) : NULL;

    return at != NULL ? (size_t)(at - text->text) : SIZE_MAX;
}

static size_t find_last(vise_jrun *run, const vise_jvalue *text, size_t before, const vise_jvalue *what)
{
    for (size_t at = before >= what->length ? before - what->length + 1 : 0;
         at-- > 0 && vise_jwork(run, 1 + what->length / 32);)
        if (memcmp(text->text + at, what->text, what->length) == 0)
            return at;
    return SIZE_MAX;
}

/* At white space, as split() without a separator. */
static vise_status split_words(vise_jrun *run, const vise_jvalue *text, vise_jlist *list)
{
    for (size_t i = 0, n, start; i < text->length;) {
        if (is_space(vise_utf8_at(text->text + i, &n))) {
            i += n;
            continue;
        }
        for (start = i; i < text->length && !is_space(vise_utf8_at(text->text + i, &n));)
            i += n;
        VISE_TRY(vise_jappend(run, list, vise_jtext(text->text + start, i - start)));
    }
    return VISE_OK;
}

static vise_status split(vise_jrun *run, const vise_jvalue *text, const vise_jvalue *separator, int64_t most,
                         bool from_right, vise_jvalue *out)
{
    size_t from = 0, to = text->length;

    VISE_TRY(vise_jnew_list(run, false, out));
    if (separator == NULL || separator->kind == VISE_J_NONE)
        return most < 0 ? split_words(run, text, out->list)
                        : VISE_JFAIL(run, VISE_EUNSUPPORTED,
                                     "split at white space, up to a count, is not supported");
    if (separator->kind != VISE_J_TEXT || separator->length == 0)
        return VISE_JFAIL(run, VISE_EFORMAT, "split needs a separator");
    for (; most != 0; most--) {
        size_t at = from_right ? find_last(run, text, to, separator) : find(text, from, separator);
        if (at == SIZE_MAX)
            break;
        size_t piece = from_right ? at + separator->length : from;
        VISE_TRY(
            vise_jappend(run, out->list, vise_jtext(text->text + piece, (from_right ? to : at) - piece)));
        if (from_right)
            to = at;
        else
            from = at + separator->length;
    }
    VISE_TRY(vise_jappend(run, out->list, vise_jtext(text->text + from, to - from)));
    for (size_t i = 0, j = out->list->count; from_right && i + 1 < j--; i++) {
        vise_jvalue swapped = out->list->items[i];
        out->list->items[i] = out->list->items[j];
        out->list->items[j] = swapped;
    }
    return VISE_OK;
}

static vise_status replace(vise_jrun *run, const vise_jvalue *text, const vise_jvalue *from,
                           const vise_jvalue *to, int64_t most, vise_jvalue *out)
{
    vise_status status;
    vise_buf buf;
    size_t at = 0, found;

    if (from->kind != VISE_J_TEXT || to->kind != VISE_J_TEXT || from->length == 0)
        return VISE_JFAIL(run, VISE_EUNSUPPORTED, "replace of %s is not supported", vise_jkind_name(from));
    vise_buf_init(&buf, VISE_JBYTES_MAX);
    for (; most != 0 && (found = find(text, at, from)) != SIZE_MAX; most--) {
        vise_buf_add(&buf, text->text + at, found - at);
        vise_buf_add(&buf, to->text, to->length);
        at = found + from->length;
    }
    vise_buf_add(&buf, text->text + at, text->length - at);
    status = vise_jcopy_text(run, &buf, out);
    vise_buf_deinit(&buf);
    return status;
}

/* True if text begins, or ends, with one of what may be a tuple of texts. */
static vise_status affix(vise_jrun *run, const vise_jvalue *text, const vise_jvalue *with, bool begins,
                         bool *out)
{
    if (with->kind == VISE_J_LIST && with->list->tuple) {
        *out = false;
        for (size_t i = 0; i < with->list->count && !*out; i++)
            VISE_TRY(affix(run, text, &with->list->items[i], begins, out));
        return VISE_OK;
    }
    if (with->kind != VISE_J_TEXT)
        return VISE_JFAIL(run, VISE_EFORMAT, "a text cannot begin or end with %s", vise_jkind_name(with));
    *out = text->length >= with->length &&
           memcmp(text->text + (begins ? 0 : text->length - with->length), with->text, with->length) == 0;
    return VISE_OK;
}

static vise_status lines(vise_jrun *run, const vise_jvalue *text, vise_jvalue *out)
{
    VISE_TRY(vise_jnew_list(run, false, out));
    for (size_t i = 0, stop; i < text->length; i = stop + 1) {
        for (stop = i; stop < text->length && text->text[stop] != '\n'; stop++)
            if ((unsigned char)text->text[stop] < 0x20 && text->text[stop] != '\t')
                return VISE_JFAIL(run, VISE_EUNSUPPORTED,
                                  "splitlines at control characters is not supported");
        VISE_TRY(vise_jappend(run, out->list, vise_jtext(text->text + i, stop - i)));
    }
    return VISE_OK;
}

/* ---- the tables ------------------------------------------------------------------------------------------------ */

typedef enum method {
    M_STRIP,
    M_LSTRIP,
    M_RSTRIP,
    M_SPLIT,
    M_RSPLIT,
    M_STARTS,
    M_ENDS,
    M_LOWER,
    M_UPPER,
    M_TITLE,
    M_CAPITALIZE,
    M_REPLACE,
    M_FIND,
    M_RFIND,
    M_COUNT,
    M_JOIN,
    M_PREFIX,
    M_SUFFIX,
    M_LINES,
    M_ITEMS,
    M_KEYS,
    M_VALUES,
    M_GET,
    M_OTHER
} method;

/* least and most: arguments. Those with M_OTHER are methods in Python that are not held here. */
static const struct {
    vise_jkind of;
    const char *name;
    method method;
    size_t least, most;
} methods[] = {
    {VISE_J_TEXT, "strip", M_STRIP, 0, 1},
    {VISE_J_TEXT, "lstrip", M_LSTRIP, 0, 1},
    {VISE_J_TEXT, "rstrip", M_RSTRIP, 0, 1},
    {VISE_J_TEXT, "split", M_SPLIT, 0, 2},
    {VISE_J_TEXT, "rsplit", M_RSPLIT, 0, 2},
    {VISE_J_TEXT, "startswith", M_STARTS, 1, 1},
    {VISE_J_TEXT, "endswith", M_ENDS, 1, 1},
    {VISE_J_TEXT, "lower", M_LOWER, 0, 0},
    {VISE_J_TEXT, "upper", M_UPPER, 0, 0},
    {VISE_J_TEXT, "title", M_TITLE, 0, 0},
    {VISE_J_TEXT, "capitalize", M_CAPITALIZE, 0, 0},
    {VISE_J_TEXT, "replace", M_REPLACE, 2, 3},
    {VISE_J_TEXT, "find", M_FIND, 1, 1},
    {VISE_J_TEXT, "rfind", M_RFIND, 1, 1},
    {VISE_J_TEXT, "count", M_COUNT, 1, 1},
    {VISE_J_TEXT, "join", M_JOIN, 1, 1},
    {VISE_J_TEXT, "removeprefix", M_PREFIX, 1, 1},
    {VISE_J_TEXT, "removesuffix", M_SUFFIX, 1, 1},
    {VISE_J_TEXT, "splitlines", M_LINES, 0, 0},
    {VISE_J_TEXT, "format", M_OTHER, 0, 0},
    {VISE_J_TEXT, "index", M_OTHER, 0, 0},
    {VISE_J_TEXT, "isdigit", M_OTHER, 0, 0},
    {VISE_J_TEXT, "isspace", M_OTHER, 0, 0},
    {VISE_J_TEXT, "partition", M_OTHER, 0, 0},
    {VISE_J_TEXT, "rpartition", M_OTHER, 0, 0},
    {VISE_J_TEXT, "zfill", M_OTHER, 0, 0},
    {VISE_J_DICT, "items", M_ITEMS, 0, 0},
    {VISE_J_DICT, "keys", M_KEYS, 0, 0},
    {VISE_J_DICT, "values", M_VALUES, 0, 0},
    {VISE_J_DICT, "get", M_GET, 1, 2},
    {VISE_J_DICT, "clear", M_OTHER, 0, 0},
    {VISE_J_DICT, "copy", M_OTHER, 0, 0},
    {VISE_J_DICT, "fromkeys", M_OTHER, 0, 0},
    {VISE_J_DICT, "pop", M_OTHER, 0, 0},
    {VISE_J_DICT, "popitem", M_OTHER, 0, 0},
    {VISE_J_DICT, "setdefault", M_OTHER, 0, 0},
    {VISE_J_DICT, "update", M_OTHER, 0, 0},
    {VISE_J_LIST, "append", M_OTHER, 0, 0},
    {VISE_J_LIST, "count", M_OTHER, 0, 0},
    {VISE_J_LIST, "copy", M_OTHER, 0, 0},
    {VISE_J_LIST, "extend", M_OTHER, 0, 0},
    {VISE_J_LIST, "index", M_OTHER, 0, 0},
    {VISE_J_LIST, "insert", M_OTHER, 0, 0},
    {VISE_J_LIST, "pop", M_OTHER, 0, 0},
};

static int method_find(const vise_jvalue *of, const char *name)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (methods[i].of == of->kind && strcmp(methods[i].name, name) == 0 &&
            (of->kind != VISE_J_DICT || !of->dict->namespace))
            return (int)i;
    return -1;
}

bool vise_jmethod_known(const vise_jvalue *of, const char *name)
{
    return method_find(of, name) >= 0;
}

static vise_status parts_of(vise_jrun *run, const vise_jdict *dict, method which, vise_jvalue *out)
{
    VISE_TRY(vise_jnew_list(run, false, out));
    for (size_t i = 0; i < dict->count; i++) {
        vise_jvalue item = which == M_KEYS ? dict->entries[i].key : dict->entries[i].value;
        if (which == M_ITEMS) {
            VISE_TRY(vise_jnew_list(run, true, &item));
            VISE_TRY(vise_jappend(run, item.list, dict->entries[i].key));
            VISE_TRY(vise_jappend(run, item.list, dict->entries[i].value));
        }
        VISE_TRY(vise_jappend(run, out->list, item));
    }
    return VISE_OK;
}

static vise_status join(vise_jrun *run, const vise_jvalue *text, const vise_jvalue *items, vise_jvalue *out)
{
    vise_jlist *list;
    vise_status status = VISE_OK;
    vise_buf buf;

    VISE_TRY(vise_jiterate(run, items, &list));
    vise_buf_init(&buf, VISE_JBYTES_MAX);
    for (size_t i = 0; i < list->count && status == VISE_OK; i++) {
        if (list->items[i].kind != VISE_J_TEXT)
            status = VISE_JFAIL(run, VISE_EFORMAT, "join of %s", vise_jkind_name(&list->items[i]));
        else if (i > 0)
            vise_buf_add(&buf, text->text, text->length);
        if (status == VISE_OK)
            vise_buf_add(&buf, list->items[i].text, list->items[i].length);
    }
    if (status == VISE_OK)
        status = vise_jcopy_text(run, &buf, out);
    vise_buf_deinit(&buf);
    return status;
}

/* Characters in front of byte `at`; -1 for SIZE_MAX. */
static vise_jvalue position(const vise_jvalue *text, size_t at)
{
    vise_jvalue front = vise_jtext(text->text, at);

    return vise_jint(at == SIZE_MAX ? -1 : (int64_t)vise_jcharacters(&front));
}

static int64_t occurrences(const vise_jvalue *text, const vise_jvalue *what)
{
    int64_t n = 0;

    if (what->length == 0)
        return (int64_t)vise_jcharacters(text) + 1;
    for (size_t at = 0; (at = find(text, at, what)) != SIZE_MAX; at += what->length)
        n++;
    return n;
}

static vise_status text_run(vise_jrun *run, const vise_jvalue *text, method which, const vise_jvalue *a,
                            const vise_jvalue *b, const vise_jvalue *c, vise_jvalue *out)
{
    const vise_jvalue *count = which == M_REPLACE ? c : b;
    bool yes;

    if ((which <= M_RSTRIP && a != NULL && a->kind != VISE_J_NONE && a->kind != VISE_J_TEXT) ||
        (which >= M_FIND && which <= M_SUFFIX && which != M_JOIN && a->kind != VISE_J_TEXT) ||
        ((which == M_REPLACE || which == M_SPLIT || which == M_RSPLIT) && count != NULL &&
         count->kind != VISE_J_INT))
        return VISE_JFAIL(run, VISE_EFORMAT, "an argument of a method of texts is %s",
                          vise_jkind_name(a != NULL && a->kind != VISE_J_TEXT ? a : count));
    int64_t most = count != NULL && count->kind == VISE_J_INT ? count->whole : -1;
    if (which > M_RSTRIP && which != M_STARTS && which != M_ENDS)
        vise_jwork(run, text->length);
    switch (which) {
    case M_STRIP:
    case M_LSTRIP:
    case M_RSTRIP:
        *out = strip(run, text, a, which != M_RSTRIP, which != M_LSTRIP);
        return VISE_OK;
    case M_SPLIT:
    case M_RSPLIT:
        return split(run, text, a, most, which == M_RSPLIT, out);
    case M_STARTS:
    case M_ENDS:
        VISE_TRY(affix(run, text, a, which == M_STARTS, &yes));
        *out = vise_jbool(yes);
        return VISE_OK;
    case M_LOWER:
    case M_UPPER:
    case M_TITLE:
    case M_CAPITALIZE:
        return change_case(run, text,
                           which == M_LOWER   ? LOWER
                           : which == M_UPPER ? UPPER
                           : which == M_TITLE ? TITLE
                                              : CAPITALIZE,
                           out);
    case M_REPLACE:
        return replace(run, text, a, b, most, out);
    case M_FIND:
        *out = position(text, a->length == 0 ? 0 : find(text, 0, a));
        return VISE_OK;
    case M_RFIND:
        *out = position(text, find_last(run, text, text->length, a));
        return VISE_OK;
    case M_COUNT:
        *out = vise_jint(occurrences(text, a));
        return VISE_OK;
    case M_JOIN:
        return join(run, text, a, out);
    case M_PREFIX:
    case M_SUFFIX:
        VISE_TRY(affix(run, text, a, which == M_PREFIX, &yes));
        *out = vise_jtext(text->text + (yes && which == M_PREFIX ? a->length : 0),
                          text->length - (yes ? a->length : 0));
        return VISE_OK;
    default:
        return lines(run, text, out);
    }
}

vise_status vise_jmethod_run(vise_jrun *run, const vise_jvalue *of, const char *name,
                             const vise_jarguments *arguments, vise_jvalue *out)
{
    int at = method_find(of, name);
    const vise_jvalue *given[3] = {NULL, NULL, NULL}, *there;

    if (at < 0 || methods[at].method == M_OTHER)
        return VISE_JFAIL(run, VISE_EUNSUPPORTED, "the method \"%.60s\" of %s is not supported", name,
                          vise_jkind_name(of));
    if (arguments->count < methods[at].least || arguments->count > methods[at].most)
        return VISE_JFAIL(run, VISE_EUNSUPPORTED, "%zu arguments of the method \"%s\" are not supported",
                          arguments->count, name);
    for (size_t i = 0; i < arguments->count; i++) {
        if (arguments->names[i] != NULL)
            return VISE_JFAIL(run, VISE_EUNSUPPORTED,
                              "arguments with names of the method \"%s\" are not supported", name);
        given[i] = &arguments->values[i];
    }
    if (of->kind == VISE_J_TEXT)
        return text_run(run, of, methods[at].method, given[0], given[1], given[2], out);
    if (methods[at].method != M_GET)
        return parts_of(run, of->dict, methods[at].method, out);
    there = vise_jget(run, of->dict, given[0]);
    *out = there != NULL ? *there : given[1] != NULL ? *given[1] : (vise_jvalue){.kind = VISE_J_NONE};
    return VISE_OK;
}

vise_status vise_jattribute(vise_jrun *run, const vise_jvalue *of, const char *name, vise_jvalue *out)
{
    const vise_jvalue key = vise_jliteral(name), *there;

    *out = (vise_jvalue){.kind = VISE_J_UNDEFINED};
    if (of->kind == VISE_J_UNDEFINED)
        return VISE_JFAIL(run, VISE_EFORMAT, "\"%.60s\" of what is undefined", name);
    if (vise_jmethod_known(of, name)) {
        *out = (vise_jvalue){.kind = VISE_J_FUNCTION, .function = VISE_JF_METHOD};
        return VISE_OK;
    }
    there = of->kind == VISE_J_DICT ? vise_jget(run, of->dict, &key) : NULL;
    if (there != NULL)
        *out = *there;
    return VISE_OK;
}
