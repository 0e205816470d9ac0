/* What templates call: filters, tests and functions. Methods of texts and dictionaries: text/jinja_methods.c. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "text/jinja_internal.h"

#define PARAMS_MAX 4
#define RANGE_MAX  100000 /* as Jinja's sandbox */

typedef vise_status (*filter_function)(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                       vise_jvalue *out);

/* Arguments by position or by name; those that are not given stay undefined. */
static vise_status bind(vise_jrun *run, const char *what, const char *const *names,
                        const vise_jarguments *arguments, vise_jvalue *params)
{
    memset(params, 0, PARAMS_MAX * sizeof *params);
    for (size_t i = 0; i < arguments->count; i++) {
        size_t at = arguments->names[i] == NULL ? i : 0;
        while (arguments->names[i] != NULL && at < PARAMS_MAX && names[at] != NULL &&
               strcmp(names[at], arguments->names[i]) != 0)
            at++;
        if (at >= PARAMS_MAX || names[at] == NULL)
            return VISE_JFAIL(run, VISE_EUNSUPPORTED, "%s: an argument that is not supported", what);
        params[at] = arguments->values[i];
    }
    return VISE_OK;
}

static bool given(const vise_jvalue *param)
{
    return param->kind != VISE_J_UNDEFINED;
}

/* ---- filters --------------------------------------------------------------------------------------------------- */

/* A filter that is a method of texts. */
static vise_status text_method(vise_jrun *run, const vise_jvalue *value, const char *name,
                               const vise_jvalue *params, size_t count, vise_jvalue *out)
{
    static const char *const none[PARAMS_MAX] = {0};
    vise_jvalue text, copy[PARAMS_MAX];
    vise_jarguments arguments = {.values = copy, .names = (const char **)(uintptr_t)none, .count = count};

    memcpy(copy, params, sizeof copy);
    VISE_TRY(vise_jstring(run, value, &text));
    return vise_jmethod_run(run, &text, name, &arguments, out);
}

static vise_status filter_abs(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                              vise_jvalue *out)
{
    (void)params;
    *out = *value;
    if (value->kind == VISE_J_INT && value->whole > INT64_MIN)
        out->whole = value->whole < 0 ? -value->whole : value->whole;
    else if (value->kind == VISE_J_FLOAT)
        out->number = fabs(value->number);
    else
        return VISE_JFAIL(run, VISE_EFORMAT, "abs of %s", vise_jkind_name(value));
    return VISE_OK;
}

static vise_status filter_capitalize(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                     vise_jvalue *out)
{
    return text_method(run, value, "capitalize", params, 0, out);
}

static vise_status filter_default(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                  vise_jvalue *out)
{
    (void)run;
    bool takes = value->kind == VISE_J_UNDEFINED || (vise_jtruth(&params[1]) && !vise_jtruth(value));

    *out = !takes ? *value : given(&params[0]) ? params[0] : vise_jliteral("");
    return VISE_OK;
}

/* The order of keys without regard to case; texts of ASCII alone, where that is plain. */
static vise_status compare_keys(vise_jrun *run, const vise_jvalue *a, const vise_jvalue *b, int *order)
{
    size_t n = a->length < b->length ? a->length : b->length;

    if (a->kind != VISE_J_TEXT || b->kind != VISE_J_TEXT)
        return VISE_JFAIL(run, VISE_EUNSUPPORTED, "dictsort of other keys than texts is not supported");
    for (size_t i = 0; i < a->length + b->length; i++)
        if ((i < a->length ? a->text[i] : b->text[i - a->length]) & 0x80)
            return VISE_JFAIL(run, VISE_EUNSUPPORTED,
                              "dictsort of other letters than ASCII's is not supported");
    vise_jwork(run, VISE_JNODE_WORK + n / 4);
    *order = n > 0 ? strncasecmp(a->text, b->text, n) : 0;
    if (*order == 0)
        *order = (a->length > b->length) - (a->length < b->length);
    return VISE_OK;
}

static vise_status filter_dictsort(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                   vise_jvalue *out)
{
    vise_jarguments none = {0};
    vise_jvalue *items;
    int order = 0;

    (void)params;
    if (value->kind != VISE_J_DICT)
        return VISE_JFAIL(run, VISE_EFORMAT, "dictsort of %s", vise_jkind_name(value));
    VISE_TRY(vise_jmethod_run(run, value, "items", &none, out));
    items = out->list->items;
    for (size_t i = 1; i < out->list->count; i++)
        for (size_t j = i; j > 0; j--) {
            vise_jvalue swapped = items[j];
            VISE_TRY(compare_keys(run, &items[j - 1].list->items[0], &items[j].list->items[0], &order));
            if (order <= 0 || !vise_jwork(run, 0))
                break;
            items[j] = items[j - 1];
            items[j - 1] = swapped;
        }
    return VISE_OK;
}

static vise_status filter_first(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                vise_jvalue *out)
{
    (void)params;
    vise_jlist *list;

    VISE_TRY(vise_jiterate(run, value, &list));
    *out = list->count > 0 ? list->items[0] : (vise_jvalue){.kind = VISE_J_UNDEFINED};
    return VISE_OK;
}

static vise_status filter_last(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                               vise_jvalue *out)
{
    (void)params;
    vise_jlist *list;

    VISE_TRY(vise_jiterate(run, value, &list));
    *out = list->count > 0 ? list->items[list->count - 1] : (vise_jvalue){.kind = VISE_J_UNDEFINED};
    return VISE_OK;
}

static vise_status filter_indent(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                 vise_jvalue *out)
{
    int64_t width = params[0].kind == VISE_J_INT ? params[0].whole : 4;
    bool first = vise_jtruth(&params[1]), blank = vise_jtruth(&params[2]), start = true;
    vise_jvalue text, with;
    vise_status status;
    vise_buf buf;

    VISE_TRY(vise_jstring(run, value, &text));
    if (given(&params[0]) && (params[0].kind != VISE_J_INT || width < 0 || width > 1000))
        return VISE_JFAIL(run, VISE_EUNSUPPORTED, "indent by this is not supported");
    with = vise_jliteral(" ");
    VISE_TRY(
        vise_jarithmetic(run, VISE_JO_MUL, &with, &(vise_jvalue){.kind = VISE_J_INT, .whole = width}, &with));
    vise_buf_init(&buf, VISE_JBYTES_MAX);
    for (size_t i = 0; i < text.length; i++) {
        if (start && (i > 0 || first) && (text.text[i] != '\n' || blank))
            vise_buf_add(&buf, with.text, with.length);
        start = text.text[i] == '\n';
        vise_buf_add_char(&buf, text.text[i]);
    }
    status = vise_jcopy_text(run, &buf, out);
    vise_buf_deinit(&buf);
    return status;
}

static vise_status filter_int(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                              vise_jvalue *out)
{
    char text[32], *end;
    double number;

    *out = given(&params[0]) ? params[0] : vise_jint(0);
    if (value->kind == VISE_J_INT || value->kind == VISE_J_BOOL)
        *out = vise_jint(value->kind == VISE_J_INT ? value->whole : (int64_t)value->truth);
    else if (value->kind == VISE_J_FLOAT && fabs(value->number) < 9e18)
        *out = vise_jint((int64_t)value->number);
    else if (value->kind == VISE_J_TEXT && value->length > 0 && value->length < sizeof text) {
        memcpy(text, value->text, value->length);
        text[value->length] = '\0';
        errno = 0;
        int64_t whole = strtoll(text, &end, 10);
        if (*end == '\0' && errno == 0)
            *out = vise_jint(whole);
        else if (text[strspn(text, "0123456789+-.eE")] == '\0' &&
                 (number = strtod(text, &end), *end == '\0') && fabs(number) < 9e18)
            *out = vise_jint((int64_t)number);
        else if (strpbrk(text, "0123456789") != NULL || strncasecmp(text, "inf", 3) == 0 ||
                 value->length > 18)
            return VISE_JFAIL(run, VISE_EUNSUPPORTED, "int of \"%s\" is not supported", text);
    } else if (value->kind == VISE_J_TEXT && value->length > 0) {
        return VISE_JFAIL(run, VISE_EUNSUPPORTED, "int of a long text is not supported");
    }
    return VISE_OK;
}

static vise_status filter_items(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                vise_jvalue *out)
{
    vise_jarguments none = {0};

    (void)params;
    if (value->kind == VISE_J_UNDEFINED)
        return vise_jnew_list(run, false, out);
    if (value->kind != VISE_J_DICT)
        return VISE_JFAIL(run, VISE_EFORMAT, "items of %s", vise_jkind_name(value));
    VISE_TRY(vise_jmethod_run(run, value, "items", &none, out));
    out->list->lazy = true;
    return VISE_OK;
}

static vise_status filter_join(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                               vise_jvalue *out)
{
    vise_jlist *list;
    vise_jvalue item;
    vise_status status = VISE_OK;
    vise_buf buf;

    VISE_TRY(vise_jiterate(run, value, &list));
    vise_buf_init(&buf, VISE_JBYTES_MAX);
    for (size_t i = 0; i < list->count && status == VISE_OK; i++) {
        item = list->items[i];
        if (given(&params[1]))
            status = vise_jitem(run, &list->items[i], &params[1], &item);
        if (status == VISE_OK && i > 0)
            status = vise_jprint(run, &params[0], &buf);
        if (status == VISE_OK)
            status = vise_jprint(run, &item, &buf);
    }
    if (status == VISE_OK)
        status = vise_jcopy_text(run, &buf, out);
    vise_buf_deinit(&buf);
    return status;
}

static vise_status filter_length(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                 vise_jvalue *out)
{
    (void)params;
    *out = vise_jint(0);
    return vise_jlength(run, value, &out->whole);
}

static vise_status filter_list(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                               vise_jvalue *out)
{
    vise_jlist *list;

    (void)params;
    VISE_TRY(vise_jiterate(run, value, &list));
    VISE_TRY(vise_jnew_list(run, false, out));
    for (size_t i = 0; i < list->count; i++)
        VISE_TRY(vise_jappend(run, out->list, list->items[i]));
    return VISE_OK;
}

static vise_status filter_lower(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                vise_jvalue *out)
{
    return text_method(run, value, "lower", params, 0, out);
}

static vise_status filter_replace(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                  vise_jvalue *out)
{
    return text_method(run, value, "replace", params, given(&params[2]) ? 3 : 2, out);
}

static vise_status filter_reverse(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                  vise_jvalue *out)
{
    const vise_jvalue none = {.kind = VISE_J_NONE}, back = vise_jint(-1);

    (void)params;
    VISE_TRY(vise_jslice(run, value, &none, &none, &back, out));
    if (out->kind == VISE_J_LIST)
        out->list->lazy = true;
    return VISE_OK;
}

static vise_status filter_string(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                 vise_jvalue *out)
{
    (void)params;
    return vise_jstring(run, value, out);
}

/* Jinja's own, not Python's: words begin behind white space and opening brackets. */
static vise_status filter_title(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                vise_jvalue *out)
{
    vise_jvalue text;
    vise_status status;
    vise_buf buf;
    bool first = true;

    (void)params;
    VISE_TRY(vise_jstring(run, value, &text));
    vise_buf_init(&buf, VISE_JBYTES_MAX);
    for (size_t i = 0; i < text.length && !buf.failed; i++) {
        unsigned char c = (unsigned char)text.text[i];
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (c >= 0x80) {
            vise_buf_deinit(&buf);
            return VISE_JFAIL(run, VISE_EUNSUPPORTED, "title of other letters than ASCII's is not supported");
        }
        vise_buf_add_char(&buf, (char)(!letter ? c : first ? c & ~0x20u : c | 0x20u));
        first = strchr("- \t\n\v\f\r({[<", c) != NULL && c != '\0';
    }
    status = vise_jcopy_text(run, &buf, out);
    vise_buf_deinit(&buf);
    return status;
}

static vise_status filter_tojson(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                 vise_jvalue *out)
{
    const vise_jvalue *indent = &params[1], *separators = &params[2];
    bool lines = given(indent) && indent->kind != VISE_J_NONE;
    vise_jjson_style style = {-1, {vise_jliteral(lines ? "," : ", "), vise_jliteral(": ")}};
    bool good = !vise_jtruth(&params[0]) && !vise_jtruth(&params[3]);
    vise_status status;
    vise_buf buf;

    if (given(separators) && separators->kind != VISE_J_NONE) {
        good = good && separators->kind == VISE_J_LIST && separators->list->count == 2;
        for (int i = 0; i < 2 && good; i++) {
            style.separators[i] = separators->list->items[i];
            good = style.separators[i].kind == VISE_J_TEXT;
        }
    }
    if (lines)
        style.indent =
            indent->kind == VISE_J_INT && indent->whole >= 0 && indent->whole < 100 ? (int)indent->whole : -1;
    if (!good || (lines && style.indent < 0))
        return VISE_JFAIL(run, VISE_EUNSUPPORTED, "tojson with these arguments is not supported");
    vise_buf_init(&buf, VISE_JBYTES_MAX);
    status = vise_jjson(run, value, &style, &buf);
    if (status == VISE_OK)
        status = vise_jcopy_text(run, &buf, out);
    vise_buf_deinit(&buf);
    return status;
}

static vise_status filter_trim(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                               vise_jvalue *out)
{
    return text_method(run, value, "strip", params, given(&params[0]), out);
}

static vise_status filter_unique(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                 vise_jvalue *out)
{
    vise_jlist *list;
    bool there;

    (void)params;
    VISE_TRY(vise_jiterate(run, value, &list));
    VISE_TRY(vise_jnew_list(run, false, out));
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].kind == VISE_J_TEXT) /* which it takes without regard to case */
            return VISE_JFAIL(run, VISE_EUNSUPPORTED, "unique of texts is not supported");
        VISE_TRY(vise_jcontains(run, out, &list->items[i], &there));
        if (!there)
            VISE_TRY(vise_jappend(run, out->list, list->items[i]));
    }
    out->list->lazy = true;
    return VISE_OK;
}

static vise_status filter_upper(vise_jrun *run, const vise_jvalue *value, const vise_jvalue *params,
                                vise_jvalue *out)
{
    return text_method(run, value, "upper", params, 0, out);
}

typedef enum variadic { MAP = 1, SELECT, REJECT, SELECT_ATTR, REJECT_ATTR } variadic;

static const struct filter {
    const char *name;
    filter_function run;
    const char *params[PARAMS_MAX];
    variadic kind;
} filters[] = {
    {"abs", filter_abs, {0}, 0},
    {"capitalize", filter_capitalize, {0}, 0},
    {"count", filter_length, {0}, 0},
    {"d", filter_default, {"default_value", "boolean"}, 0},
    {"default", filter_default, {"default_value", "boolean"}, 0},
    {"dictsort", filter_dictsort, {0}, 0},
    {"first", filter_first, {0}, 0},
    {"indent", filter_indent, {"width", "first", "blank"}, 0},
    {"int", filter_int, {"default"}, 0},
    {"items", filter_items, {0}, 0},
    {"join", filter_join, {"d", "attribute"}, 0},
    {"last", filter_last, {0}, 0},
    {"length", filter_length, {0}, 0},
    {"list", filter_list, {0}, 0},
    {"lower", filter_lower, {0}, 0},
    {"map", NULL, {0}, MAP},
    {"reject", NULL, {0}, REJECT},
    {"rejectattr", NULL, {0}, REJECT_ATTR},
    {"replace", filter_replace, {"old", "new", "count"}, 0},
    {"reverse", filter_reverse, {0}, 0},
    {"safe", filter_string, {0}, 0},
    {"select", NULL, {0}, SELECT},
    {"selectattr", NULL, {0}, SELECT_ATTR},
    {"string", filter_string, {0}, 0},
    {"title", filter_title, {0}, 0},
    {"tojson", filter_tojson, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0},
    {"trim", filter_trim, {"chars"}, 0},
    {"unique", filter_unique, {0}, 0},
    {"upper", filter_upper, {0}, 0},
};

int vise_jfilter_find(const char *name)
{
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++)
        if (strcmp(filters[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* The argument at `at`, a text, as a C string in the run's arena. */
static vise_status text_argument(vise_jrun *run, const vise_jarguments *arguments, size_t at,
                                 const char **text)
{
    void *memory;

    if (at >= arguments->count || arguments->values[at].kind != VISE_J_TEXT)
        return VISE_JFAIL(run, VISE_EFORMAT, "the name of a filter, test or attribute is missing");
    VISE_TRY(vise_jtake(run, arguments->values[at].length + 1, &memory));
    memcpy(memory, arguments->values[at].text, arguments->values[at].length);
    *text = memory;
    return VISE_OK;
}

/* The arguments behind the first n. */
static vise_jarguments behind(const vise_jarguments *arguments, size_t n)
{
    n = n < arguments->count ? n : arguments->count;
    return (vise_jarguments){arguments->values + n, arguments->names + n, arguments->count - n};
}

/* An attribute by its name, or an item. */
static vise_status attribute_of(vise_jrun *run, const vise_jvalue *item, const vise_jvalue *key,
                                vise_jvalue *out)
{
    if (key->kind == VISE_J_TEXT && key->length > 0 && memchr(key->text, '.', key->length) != NULL)
        return VISE_JFAIL(run, VISE_EUNSUPPORTED, "attributes of attributes in a filter are not supported");
    return vise_jitem(run, item, key, out);
}

static vise_status run_map(vise_jrun *run, const vise_jlist *list, const vise_jarguments *arguments,
                           vise_jvalue *out)
{
    const char *name;
    int filter = -1;

    if (arguments->count == 0)
        return VISE_JFAIL(run, VISE_EFORMAT, "map needs a filter or an attribute");
    if (arguments->names[0] == NULL) {
        VISE_TRY(text_argument(run, arguments, 0, &name));
        filter = vise_jfilter_find(name);
        if (filter < 0)
            return VISE_JFAIL(run, VISE_EUNSUPPORTED, "the filter \"%s\" is not supported", name);
    } else if (strcmp(arguments->names[0], "attribute") != 0 || arguments->count > 1) {
        return VISE_JFAIL(run, VISE_EUNSUPPORTED, "map: an argument that is not supported");
    }
    const vise_jarguments rest = behind(arguments, 1);
    for (size_t i = 0; i < list->count; i++) {
        vise_jvalue item;
        VISE_TRY(filter < 0 ? attribute_of(run, &list->items[i], &arguments->values[0], &item)
                            : vise_jfilter_run(run, filter, &list->items[i], &rest, &item));
        VISE_TRY(vise_jappend(run, out->list, item));
    }
    return VISE_OK;
}

static vise_status run_select(vise_jrun *run, const vise_jlist *list, variadic kind,
                              const vise_jarguments *arguments, vise_jvalue *out)
{
    const bool by_attribute = kind == SELECT_ATTR || kind == REJECT_ATTR,
               wanted = kind == SELECT || kind == SELECT_ATTR;
    const size_t at = by_attribute ? 1 : 0;
    const char *name;
    int test = -1;

    if (arguments->count < at)
        return VISE_JFAIL(run, VISE_EFORMAT, "an attribute is missing");
    if (arguments->count > at) {
        VISE_TRY(text_argument(run, arguments, at, &name));
        test = vise_jtest_find(name);
        if (test < 0)
            return VISE_JFAIL(run, VISE_EUNSUPPORTED, "the test \"%s\" is not supported", name);
    }
    const vise_jarguments rest = behind(arguments, at + 1);
    for (size_t i = 0; i < list->count; i++) {
        vise_jvalue item = list->items[i];
        bool yes;
        if (by_attribute)
            VISE_TRY(attribute_of(run, &list->items[i], &arguments->values[0], &item));
        yes = vise_jtruth(&item);
        if (test >= 0)
            VISE_TRY(vise_jtest_run(run, test, &item, &rest, &yes));
        if (yes == wanted)
            VISE_TRY(vise_jappend(run, out->list, list->items[i]));
    }
    return VISE_OK;
}

vise_status vise_jfilter_run(vise_jrun *run, int filter, const vise_jvalue *value,
                             const vise_jarguments *arguments, vise_jvalue *out)
{
    const struct filter *f = &filters[filter];
    vise_jvalue params[PARAMS_MAX];
    vise_jlist *list;

    if (f->run != NULL) {
        VISE_TRY(bind(run, f->name, f->params, arguments, params));
        return f->run(run, value, params, out);
    }
    VISE_TRY(vise_jiterate(run, value, &list));
    VISE_TRY(vise_jnew_list(run, false, out));
    VISE_TRY(f->kind == MAP ? run_map(run, list, arguments, out)
                            : run_select(run, list, f->kind, arguments, out));
    out->list->lazy = true;
    return VISE_OK;
}

/* ---- tests ----------------------------------------------------------------------------------------------------- */

typedef enum test_kind {
    T_DEFINED,
    T_UNDEFINED,
    T_NONE,
    T_BOOLEAN,
    T_TRUE,
    T_FALSE,
    T_INTEGER,
    T_FLOAT,
    T_NUMBER,
    T_STRING,
    T_MAPPING,
    T_SEQUENCE,
    T_ITERABLE,
    T_CALLABLE,
    T_ODD,
    T_EVEN,
    T_DIVISIBLE,
    T_EQ,
    T_NE,
    T_LT,
    T_LE,
    T_GT,
    T_GE,
    T_IN
} test_kind;

static const struct {
    const char *name;
    test_kind kind;
} tests[] = {
    {"defined", T_DEFINED},
    {"undefined", T_UNDEFINED},
    {"none", T_NONE},
    {"boolean", T_BOOLEAN},
    {"true", T_TRUE},
    {"false", T_FALSE},
    {"integer", T_INTEGER},
    {"float", T_FLOAT},
    {"number", T_NUMBER},
    {"string", T_STRING},
    {"mapping", T_MAPPING},
    {"sequence", T_SEQUENCE},
    {"iterable", T_ITERABLE},
    {"callable", T_CALLABLE},
    {"odd", T_ODD},
    {"even", T_EVEN},
    {"eq", T_EQ},
    {"equalto", T_EQ},
    {"==", T_EQ},
    {"ne", T_NE},
    {"!=", T_NE},
    {"lt", T_LT},
    {"lessthan", T_LT},
    {"<", T_LT},
    {"le", T_LE},
    {"<=", T_LE},
    {"gt", T_GT},
    {"greaterthan", T_GT},
    {">", T_GT},
    {"ge", T_GE},
    {">=", T_GE},
    {"in", T_IN},
    {"divisibleby", T_DIVISIBLE},
};

int vise_jtest_find(const char *name)
{
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        if (strcmp(tests[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* Tests that look at the value alone. What is undefined can be gone through and called, as Python sees it. */
static bool looks(test_kind kind, const vise_jvalue *value)
{
    const vise_jkind is = value->kind;

    switch (kind) {
    case T_DEFINED:
        return is != VISE_J_UNDEFINED;
    case T_UNDEFINED:
        return is == VISE_J_UNDEFINED;
    case T_NONE:
        return is == VISE_J_NONE;
    case T_BOOLEAN:
        return is == VISE_J_BOOL;
    case T_TRUE:
        return is == VISE_J_BOOL && value->truth;
    case T_FALSE:
        return is == VISE_J_BOOL && !value->truth;
    case T_INTEGER:
        return is == VISE_J_INT;
    case T_FLOAT:
        return is == VISE_J_FLOAT;
    case T_NUMBER:
        return is == VISE_J_BOOL || is == VISE_J_INT || is == VISE_J_FLOAT;
    case T_STRING:
        return is == VISE_J_TEXT;
    case T_MAPPING:
        return is == VISE_J_DICT && !value->dict->namespace;
    case T_SEQUENCE:
        if (is == VISE_J_LIST && value->list->lazy)
            return false;
        return is == VISE_J_TEXT || is == VISE_J_LIST || is == VISE_J_UNDEFINED || looks(T_MAPPING, value);
    case T_ITERABLE:
        return is == VISE_J_TEXT || is == VISE_J_LIST || is == VISE_J_UNDEFINED || looks(T_MAPPING, value);
    default:
        return is == VISE_J_FUNCTION || is == VISE_J_MACRO || is == VISE_J_UNDEFINED;
    }
}

static vise_status with_argument(vise_jrun *run, test_kind kind, const vise_jvalue *value,
                                 const vise_jvalue *with, bool *out)
{
    vise_jvalue rest;
    int order;

    switch (kind) {
    case T_EQ:
    case T_NE:
        *out = vise_jequal(run, value, with) == (kind == T_EQ);
        return VISE_OK;
    case T_IN:
        return vise_jcontains(run, with, value, out);
    case T_ODD:
    case T_EVEN:
    case T_DIVISIBLE:
        VISE_TRY(vise_jarithmetic(run, VISE_JO_MOD, value, with, &rest));
        *out = vise_jtruth(&rest) == (kind == T_ODD);
        return VISE_OK;
    default:
        VISE_TRY(vise_jcompare(run, value, with, &order));
        *out = kind == T_LT ? order < 0 : kind == T_LE ? order <= 0 : kind == T_GT ? order > 0 : order >= 0;
        return VISE_OK;
    }
}

vise_status vise_jtest_run(vise_jrun *run, int test, const vise_jvalue *value,
                           const vise_jarguments *arguments, bool *out)
{
    static const char *const one[PARAMS_MAX] = {"other"}, *const none[PARAMS_MAX] = {0};
    const test_kind kind = tests[test].kind;
    vise_jvalue params[PARAMS_MAX];

    VISE_TRY(bind(run, tests[test].name, kind >= T_DIVISIBLE ? one : none, arguments, params));
    if (kind >= T_DIVISIBLE && arguments->count != 1)
        return VISE_JFAIL(run, VISE_EFORMAT, "the test \"%s\" needs something to compare with",
                          tests[test].name);
    if (kind == T_ODD || kind == T_EVEN)
        params[0] = vise_jint(2);
    if (kind >= T_ODD)
        return with_argument(run, kind, value, &params[0], out);
    *out = looks(kind, value);
    return VISE_OK;
}

/* ---- functions ------------------------------------------------------------------------------------------------- */

static vise_status run_range(vise_jrun *run, const vise_jarguments *arguments, vise_jvalue *out)
{
    int64_t values[3] = {0, 0, 1};
    size_t n = arguments->count;

    if (n < 1 || n > 3)
        return VISE_JFAIL(run, VISE_EFORMAT, "range takes one to three numbers");
    for (size_t i = 0; i < n; i++) {
        if (arguments->values[i].kind != VISE_J_INT || arguments->names[i] != NULL ||
            arguments->values[i].whole > INT32_MAX || arguments->values[i].whole < -INT32_MAX)
            return VISE_JFAIL(run, VISE_EFORMAT, "range takes whole numbers of ordinary size");
        values[n == 1 ? 1 : i] = arguments->values[i].whole;
    }
    if (values[2] == 0 || llabs((values[1] - values[0]) / values[2]) > RANGE_MAX)
        return VISE_JFAIL(run, VISE_EFORMAT, "a range that is too long");
    VISE_TRY(vise_jnew_list(run, false, out));
    for (int64_t i = values[0]; values[2] > 0 ? i < values[1] : i > values[1]; i += values[2])
        VISE_TRY(vise_jappend(run, out->list, vise_jint(i)));
    return VISE_OK;
}

static vise_status run_dict(vise_jrun *run, bool namespace, const vise_jarguments *arguments,
                            vise_jvalue *out)
{
    VISE_TRY(vise_jnew_dict(run, out));
    out->dict->namespace = namespace;
    for (size_t i = 0; i < arguments->count; i++) {
        if (arguments->names[i] == NULL)
            return VISE_JFAIL(run, VISE_EUNSUPPORTED, "dictionaries made of other values are not supported");
        VISE_TRY(vise_jput(run, out->dict, vise_jliteral(arguments->names[i]), arguments->values[i]));
    }
    return VISE_OK;
}

/* Today, or the day of SOURCE_DATE_EPOCH (reproducible-builds.org/specs/source-date-epoch), that is said in UTC. */
static vise_status run_strftime(vise_jrun *run, const vise_jarguments *arguments, vise_jvalue *out)
{
    const char *format, *fixed = getenv("SOURCE_DATE_EPOCH");
    char text[256];
    time_t now = fixed != NULL ? (time_t)strtoll(fixed, NULL, 10) : time(NULL);
    struct tm day;
    void *memory;
    size_t n;

    VISE_TRY(text_argument(run, arguments, 0, &format));
    if (fixed != NULL ? gmtime_r(&now, &day) == NULL : localtime_r(&now, &day) == NULL)
        return VISE_JFAIL(run, VISE_EFORMAT, "there is no date");
    n = strftime(text, sizeof text, format, &day);
    VISE_TRY(vise_jtake(run, n, &memory));
    memcpy(memory, text, n);
    *out = vise_jtext(memory, n);
    return VISE_OK;
}

vise_status vise_jfunction_run(vise_jrun *run, vise_jfunction function, const vise_jarguments *arguments,
                               vise_jvalue *out)
{
    const char *text;

    switch (function) {
    case VISE_JF_RAISE:
        VISE_TRY(text_argument(run, arguments, 0, &text));
        return VISE_JFAIL(run, VISE_EFORMAT, "the chat template says: %.200s", text);
    case VISE_JF_RANGE:
        return run_range(run, arguments, out);
    case VISE_JF_NAMESPACE:
    case VISE_JF_DICT:
        return run_dict(run, function == VISE_JF_NAMESPACE, arguments, out);
    case VISE_JF_STRFTIME:
        return run_strftime(run, arguments, out);
    default:
        return VISE_JFAIL(run, VISE_EUNSUPPORTED, "a method that is kept and called later is not supported");
    }
}
