/* Values of templates, with Python's meaning: texts count in characters, order of dictionaries is that of insertion. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_internal.h"
#include "text/unicode.h"

#define DEPTH_MAX 64 /* of values within values that are compared */

bool vise_jwork(vise_jrun *run, size_t units)
{
    run->work = units < VISE_JWORK_MAX ? run->work + units : VISE_JWORK_MAX + 1;
    return run->work <= VISE_JWORK_MAX;
}

vise_status vise_jspend(vise_jrun *run, size_t size)
{
    if (size > VISE_JBYTES_MAX - run->bytes)
        return VISE_JFAIL(run, VISE_EFORMAT, "the chat template takes more than %zu MB",
                          VISE_JBYTES_MAX >> 20);
    run->bytes += size;
    return VISE_OK;
}

vise_status vise_jtake(vise_jrun *run, size_t size, void **out)
{
    VISE_TRY(vise_jspend(run, size));
    return vise_arena_take(run->arena, size > 0 ? size : 1, out, run->err);
}

vise_status vise_jgrow(vise_jrun *run, void **array, size_t *capacity, size_t needed, size_t size)
{
    size_t more = *capacity > 0 ? 2 * *capacity : 4;
    void *memory;

    if (needed <= *capacity)
        return VISE_OK;
    more = more > needed ? more : needed;
    VISE_TRY(vise_jtake(run, more * size, &memory));
    if (*capacity > 0)
        memcpy(memory, *array, *capacity * size);
    *array = memory;
    *capacity = more;
    return VISE_OK;
}

/* ---- making ---------------------------------------------------------------------------------------------------- */

vise_jvalue vise_jtext(const char *text, size_t length)
{
    return (vise_jvalue){.kind = VISE_J_TEXT, .text = text, .length = length};
}

vise_jvalue vise_jliteral(const char *text)
{
    return vise_jtext(text, strlen(text));
}

vise_jvalue vise_jint(int64_t whole)
{
    return (vise_jvalue){.kind = VISE_J_INT, .whole = whole};
}

vise_jvalue vise_jbool(bool truth)
{
    return (vise_jvalue){.kind = VISE_J_BOOL, .truth = truth};
}

bool vise_jis(const vise_jvalue *text, const char *literal)
{
    return text->kind == VISE_J_TEXT && text->length == strlen(literal) &&
           memcmp(text->text, literal, text->length) == 0;
}

const char *vise_jkind_name(const vise_jvalue *value)
{
    static const char *const names[] = {"undefined", "none",   "a bool",       "a whole number", "a number",
                                        "a text",    "a list", "a dictionary", "a function",     "a macro"};
    return names[value->kind];
}

vise_status vise_jcopy_text(vise_jrun *run, const vise_buf *buf, vise_jvalue *out)
{
    void *memory;

    VISE_TRY(vise_buf_check(buf, run->name, run->err));
    VISE_TRY(vise_jtake(run, buf->length, &memory));
    if (buf->length > 0)
        memcpy(memory, buf->data, buf->length);
    *out = vise_jtext(memory, buf->length);
    return VISE_OK;
}

vise_status vise_jnew_list(vise_jrun *run, bool tuple, vise_jvalue *out)
{
    void *memory;

    VISE_TRY(vise_jtake(run, sizeof *out->list, &memory));
    *out = (vise_jvalue){.kind = VISE_J_LIST, .list = memory};
    out->list->tuple = tuple;
    return VISE_OK;
}

vise_status vise_jappend(vise_jrun *run, vise_jlist *list, vise_jvalue item)
{
    VISE_TRY(vise_jgrow(run, (void **)&list->items, &list->capacity, list->count + 1, sizeof item));
    list->items[list->count++] = item;
    return VISE_OK;
}

vise_status vise_jnew_dict(vise_jrun *run, vise_jvalue *out)
{
    void *memory;

    VISE_TRY(vise_jtake(run, sizeof *out->dict, &memory));
    *out = (vise_jvalue){.kind = VISE_J_DICT, .dict = memory};
    return VISE_OK;
}

const vise_jvalue *vise_jget(vise_jrun *run, const vise_jdict *dict, const vise_jvalue *key)
{
    for (size_t i = 0; i < dict->count; i++)
        if (vise_jequal(run, &dict->entries[i].key, key))
            return &dict->entries[i].value;
    return NULL;
}

vise_status vise_jput(vise_jrun *run, vise_jdict *dict, vise_jvalue key, vise_jvalue value)
{
    vise_jvalue *there = (vise_jvalue *)(uintptr_t)vise_jget(run, dict, &key);

    if (there != NULL) {
        *there = value;
        return VISE_OK;
    }
    VISE_TRY(
        vise_jgrow(run, (void **)&dict->entries, &dict->capacity, dict->count + 1, sizeof *dict->entries));
    dict->entries[dict->count].key = key;
    dict->entries[dict->count++].value = value;
    return VISE_OK;
}

vise_status vise_jfrom_json(vise_jrun *run, const cJSON *json, vise_jvalue *out)
{
    const cJSON *item;
    vise_jvalue value;

    for (int i = 0; i < 2; i++) {
        const char *text = i == 0 ? json->string : json->valuestring;
        if (text != NULL && vise_utf8_valid(text, strlen(text), NULL) < strlen(text))
            return VISE_JFAIL(run, VISE_EFORMAT, "is given a text that is not UTF-8");
    }
    *out = (vise_jvalue){.kind = VISE_J_NONE};
    if (cJSON_IsBool(json)) {
        *out = vise_jbool(cJSON_IsTrue(json));
    } else if (cJSON_IsNumber(json)) {
        if (fabs(json->valuedouble) >= 9007199254740992.0)
            return VISE_JFAIL(run, VISE_EUNSUPPORTED, "a number of more than 15 digits is not supported");
        if (json->valuedouble == floor(json->valuedouble))
            *out = vise_jint((int64_t)json->valuedouble);
        else
            *out = (vise_jvalue){.kind = VISE_J_FLOAT, .number = json->valuedouble};
    } else if (cJSON_IsString(json)) {
        *out = vise_jliteral(json->valuestring);
    } else if (cJSON_IsArray(json)) {
        VISE_TRY(vise_jnew_list(run, false, out));
        cJSON_ArrayForEach(item, json)
        {
            VISE_TRY(vise_jfrom_json(run, item, &value));
            VISE_TRY(vise_jappend(run, out->list, value));
        }
    } else if (cJSON_IsObject(json)) {
        VISE_TRY(vise_jnew_dict(run, out));
        cJSON_ArrayForEach(item, json)
        {
            VISE_TRY(vise_jfrom_json(run, item, &value));
            VISE_TRY(vise_jput(run, out->dict, vise_jliteral(item->string), value));
        }
    }
    return VISE_OK;
}

/* ---- asking ---------------------------------------------------------------------------------------------------- */

bool vise_jtruth(const vise_jvalue *value)
{
    switch (value->kind) {
    case VISE_J_BOOL:
        return value->truth;
    case VISE_J_INT:
        return value->whole != 0;
    case VISE_J_FLOAT:
        return value->number != 0.0;
    case VISE_J_TEXT:
        return value->length > 0;
    case VISE_J_LIST:
        return value->list->lazy || value->list->count > 0;
    case VISE_J_DICT:
        return value->dict->namespace || value->dict->count > 0;
    case VISE_J_FUNCTION:
    case VISE_J_MACRO:
        return true;
    default:
        return false;
    }
}

static bool is_number(const vise_jvalue *value)
{
    return value->kind == VISE_J_BOOL || value->kind == VISE_J_INT || value->kind == VISE_J_FLOAT;
}

static int64_t whole_of(const vise_jvalue *value)
{
    return value->kind == VISE_J_BOOL ? (int64_t)value->truth : value->whole;
}

static double number_of(const vise_jvalue *value)
{
    return value->kind == VISE_J_FLOAT ? value->number : (double)whole_of(value);
}

static bool equal_dicts(vise_jrun *run, const vise_jdict *a, const vise_jdict *b)
{
    if (a->namespace || b->namespace)
        return a == b;
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const vise_jvalue *other = vise_jget(run, b, &a->entries[i].key);
        if (other == NULL || !vise_jequal(run, &a->entries[i].value, other))
            return false;
    }
    return true;
}

static bool equal_lists(vise_jrun *run, const vise_jlist *a, const vise_jlist *b)
{
    if (a->count != b->count || a->tuple != b->tuple)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!vise_jequal(run, &a->items[i], &b->items[i]))
            return false;
    return true;
}

/* Lists and dictionaries; those that are nested too deeply are too much work. */
static bool equal_inside(vise_jrun *run, const vise_jvalue *a, const vise_jvalue *b)
{
    bool equal;

    if (!vise_jwork(run, run->equal_depth < DEPTH_MAX ? 1 : VISE_JWORK_MAX))
        return false;
    run->equal_depth++;
    equal = a->kind == VISE_J_LIST ? equal_lists(run, a->list, b->list) : equal_dicts(run, a->dict, b->dict);
    run->equal_depth--;
    return equal;
}

bool vise_jequal(vise_jrun *run, const vise_jvalue *a, const vise_jvalue *b)
{
    vise_jwork(run, 1);
    if (is_number(a) && is_number(b))
        return a->kind == VISE_J_FLOAT || b->kind == VISE_J_FLOAT ? number_of(a) == number_of(b)
                                                                  : whole_of(a) == whole_of(b);
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case VISE_J_TEXT:
        return a->length == b->length && vise_jwork(run, a->length / 32) &&
               memcmp(a->text, b->text, a->length) == 0;
    case VISE_J_LIST:
    case VISE_J_DICT:
        return equal_inside(run, a, b);
    case VISE_J_FUNCTION:
        return a->function == b->function;
    case VISE_J_MACRO:
        return a->macro == b->macro;
    default:
        return true;
    }
}

/* Bytes of UTF-8 are in the order of the characters. */
static int compare_texts(const vise_jvalue *a, const vise_jvalue *b)
{
    size_t n = a->length < b->length ? a->length : b->length;
    int order = n > 0 ? memcmp(a->text, b->text, n) : 0;

    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

vise_status vise_jcompare(vise_jrun *run, const vise_jvalue *a, const vise_jvalue *b, int *order)
{
    if (is_number(a) && is_number(b)) {
        double x = number_of(a), y = number_of(b);
        *order = (x > y) - (x < y);
        return VISE_OK;
    }
    if (a->kind != VISE_J_TEXT || b->kind != VISE_J_TEXT)
        return VISE_JFAIL(run, VISE_EFORMAT, "%s and %s have no order", vise_jkind_name(a),
                          vise_jkind_name(b));
    vise_jwork(run, a->length / 32);
    *order = compare_texts(a, b);
    return VISE_OK;
}

vise_status vise_jcontains(vise_jrun *run, const vise_jvalue *in, const vise_jvalue *what, bool *yes)
{
    *yes = false;
    switch (in->kind) {
    case VISE_J_UNDEFINED:
        return VISE_OK;
    case VISE_J_TEXT:
        if (what->kind != VISE_J_TEXT)
            return VISE_JFAIL(run, VISE_EFORMAT, "%s cannot be in a text", vise_jkind_name(what));
        vise_jwork(run, in->length / 4);
        *yes = what->length == 0 ||
               (in->length > 0 && memmem(in->text, in->length, what->text, what->length) != NULL);
        return VISE_OK;
    case VISE_J_LIST:
        if (in->list->lazy)
            return VISE_JFAIL(run, VISE_EUNSUPPORTED, "looking for a value in a generator is not supported");
        for (size_t i = 0; i < in->list->count && !*yes && vise_jwork(run, 0); i++)
            *yes = vise_jequal(run, &in->list->items[i], what);
        return VISE_OK;
    case VISE_J_DICT:
        *yes = vise_jget(run, in->dict, what) != NULL;
        return VISE_OK;
    default:
        return VISE_JFAIL(run, VISE_EFORMAT, "nothing is in %s", vise_jkind_name(in));
    }
}

/* ---- arithmetic ------------------------------------------------------------------------------------------------ */

static vise_status join_two(vise_jrun *run, const vise_jvalue *a, const vise_jvalue *b, vise_jvalue *out)
{
    void *memory;
    char *text;

    VISE_TRY(vise_jtake(run, a->length + b->length, &memory));
    text = memory;
    if (a->length > 0)
        memcpy(text, a->text, a->length);
    if (b->length > 0)
        memcpy(text + a->length, b->text, b->length);
    *out = vise_jtext(text, a->length + b->length);
    return VISE_OK;
}

static vise_status repeat(vise_jrun *run, const vise_jvalue *text, int64_t times, vise_jvalue *out)
{
    size_t n = times > 0 ? (size_t)times : 0, size;
    void *memory;

    if (!vise_mul_size(n, text->length, &size))
        return VISE_JFAIL(run, VISE_EFORMAT, "a text that is too long");
    VISE_TRY(vise_jtake(run, size, &memory));
    for (size_t i = 0; i < size; i += text->length)
        memcpy((char *)memory + i, text->text, text->length);
    *out = vise_jtext(memory, size);
    return VISE_OK;
}

/* Python's // and %: the quotient is rounded down, the remainder has the divisor's sign. */
static vise_status divide(vise_jrun *run, vise_jop op, int64_t a, int64_t b, vise_jvalue *out)
{
    if (b == 0)
        return VISE_JFAIL(run, VISE_EFORMAT, "a division by zero");
    if (b == -1) {
        if (a == INT64_MIN)
            return VISE_JFAIL(run, VISE_EFORMAT, "a number that is too large");
        *out = vise_jint(op == VISE_JO_MOD ? 0 : -a);
        return VISE_OK;
    }
    int64_t quotient = a / b, rest = a % b;
    bool down = rest != 0 && (rest < 0) != (b < 0);
    *out = vise_jint(op == VISE_JO_MOD ? rest + (down ? b : 0) : quotient - down);
    return VISE_OK;
}

static vise_status integers(vise_jrun *run, vise_jop op, int64_t a, int64_t b, vise_jvalue *out)
{
    int64_t result = 0;
    bool over = op == VISE_JO_ADD   ? __builtin_add_overflow(a, b, &result)
                : op == VISE_JO_SUB ? __builtin_sub_overflow(a, b, &result)
                                    : __builtin_mul_overflow(a, b, &result);

    if (over)
        return VISE_JFAIL(run, VISE_EFORMAT, "a number that is too large");
    *out = vise_jint(result);
    return VISE_OK;
}

static vise_status floats(vise_jrun *run, vise_jop op, double a, double b, vise_jvalue *out)
{
    double result = op == VISE_JO_ADD ? a + b : op == VISE_JO_SUB ? a - b : a * b;

    if (op == VISE_JO_DIV || op == VISE_JO_FLOOR || op == VISE_JO_MOD) {
        if (b == 0.0)
            return VISE_JFAIL(run, VISE_EFORMAT, "a division by zero");
        result = op == VISE_JO_DIV ? a / b : op == VISE_JO_FLOOR ? floor(a / b) : a - b * floor(a / b);
    }
    *out = (vise_jvalue){.kind = VISE_J_FLOAT, .number = result};
    return VISE_OK;
}

vise_status vise_jarithmetic(vise_jrun *run, vise_jop op, const vise_jvalue *a, const vise_jvalue *b,
                             vise_jvalue *out)
{
    vise_jvalue left, right;

    if (op == VISE_JO_CONCAT) {
        VISE_TRY(vise_jstring(run, a, &left));
        VISE_TRY(vise_jstring(run, b, &right));
        return join_two(run, &left, &right, out);
    }
    if (is_number(a) && is_number(b)) {
        if (a->kind == VISE_J_FLOAT || b->kind == VISE_J_FLOAT || op == VISE_JO_DIV)
            return floats(run, op, number_of(a), number_of(b), out);
        if (op == VISE_JO_FLOOR || op == VISE_JO_MOD)
            return divide(run, op, whole_of(a), whole_of(b), out);
        return integers(run, op, whole_of(a), whole_of(b), out);
    }
    if (op == VISE_JO_ADD && a->kind == VISE_J_TEXT && b->kind == VISE_J_TEXT)
        return join_two(run, a, b, out);
    if (op == VISE_JO_MUL && a->kind == VISE_J_TEXT && b->kind == VISE_J_INT)
        return repeat(run, a, b->whole, out);
    if (op == VISE_JO_ADD && a->kind == VISE_J_LIST && b->kind == VISE_J_LIST &&
        a->list->tuple == b->list->tuple) {
        VISE_TRY(vise_jnew_list(run, a->list->tuple, out));
        for (size_t i = 0; i < a->list->count; i++)
            VISE_TRY(vise_jappend(run, out->list, a->list->items[i]));
        for (size_t i = 0; i < b->list->count; i++)
            VISE_TRY(vise_jappend(run, out->list, b->list->items[i]));
        return VISE_OK;
    }
    return VISE_JFAIL(run, VISE_EFORMAT, "%s and %s do not go together in an operation", vise_jkind_name(a),
                      vise_jkind_name(b));
}

/* ---- parts ----------------------------------------------------------------------------------------------------- */

/* Where character `index` begins; the end, if there are fewer. */
static const char *character_at(const vise_jvalue *text, int64_t index)
{
    size_t at = 0, n;

    for (; index > 0 && at < text->length; index--, at += n)
        vise_utf8_at(text->text + at, &n);
    return text->text + at;
}

size_t vise_jcharacters(const vise_jvalue *text)
{
    size_t n = 0;

    for (size_t i = 0; i < text->length; i++)
        n += ((unsigned char)text->text[i] & 0xc0) != 0x80;
    return n;
}

vise_status vise_jlength(vise_jrun *run, const vise_jvalue *value, int64_t *length)
{
    switch (value->kind) {
    case VISE_J_UNDEFINED:
        *length = 0;
        return VISE_OK;
    case VISE_J_TEXT:
        vise_jwork(run, value->length);
        *length = (int64_t)vise_jcharacters(value);
        return VISE_OK;
    case VISE_J_LIST:
        if (value->list->lazy)
            return VISE_JFAIL(run, VISE_EFORMAT, "a generator has no length; | list makes one of it");
        *length = (int64_t)value->list->count;
        return VISE_OK;
    case VISE_J_DICT:
        *length = (int64_t)value->dict->count;
        return VISE_OK;
    default:
        return VISE_JFAIL(run, VISE_EFORMAT, "%s has no length", vise_jkind_name(value));
    }
}

vise_status vise_jiterate(vise_jrun *run, const vise_jvalue *value, vise_jlist **out)
{
    vise_jvalue list;

    if (value->kind == VISE_J_LIST) {
        if (value->list->lazy && value->list->used)
            return VISE_JFAIL(run, VISE_EUNSUPPORTED,
                              "a generator that is gone through twice is not supported");
        value->list->used = true;
        vise_jwork(run, value->list->count);
        *out = value->list;
        return VISE_OK;
    }
    if (value->kind != VISE_J_UNDEFINED && value->kind != VISE_J_TEXT && value->kind != VISE_J_DICT)
        return VISE_JFAIL(run, VISE_EFORMAT, "%s is nothing to go through", vise_jkind_name(value));
    VISE_TRY(vise_jnew_list(run, false, &list));
    for (size_t i = 0; value->kind == VISE_J_DICT && i < value->dict->count; i++)
        VISE_TRY(vise_jappend(run, list.list, value->dict->entries[i].key));
    for (size_t i = 0, n; value->kind == VISE_J_TEXT && i < value->length; i += n) {
        vise_utf8_at(value->text + i, &n);
        VISE_TRY(vise_jappend(run, list.list, vise_jtext(value->text + i, n)));
    }
    *out = list.list;
    return VISE_OK;
}

vise_status vise_jitem(vise_jrun *run, const vise_jvalue *of, const vise_jvalue *key, vise_jvalue *out)
{
    *out = (vise_jvalue){.kind = VISE_J_UNDEFINED};
    if (of->kind == VISE_J_UNDEFINED)
        return VISE_JFAIL(run, VISE_EFORMAT, "an item of what is undefined");
    if (of->kind == VISE_J_DICT) {
        const vise_jvalue *there = vise_jget(run, of->dict, key);
        if (there != NULL)
            *out = *there;
        return VISE_OK;
    }
    if ((of->kind == VISE_J_LIST && !of->list->lazy) || of->kind == VISE_J_TEXT) {
        int64_t count, index;
        if (key->kind != VISE_J_INT && key->kind != VISE_J_BOOL)
            return VISE_OK;
        VISE_TRY(vise_jlength(run, of, &count));
        index = whole_of(key) + (whole_of(key) < 0 ? count : 0);
        if (index < 0 || index >= count)
            return VISE_OK;
        if (of->kind == VISE_J_LIST) {
            *out = of->list->items[index];
        } else {
            const char *at = character_at(of, index);
            size_t n;
            vise_utf8_at(at, &n);
            *out = vise_jtext(at, n);
        }
    }
    return VISE_OK;
}

/* A bound of a slice as Python takes it: counted from the end when negative, never outside [low, high]. */
static vise_status bound(vise_jrun *run, const vise_jvalue *value, int64_t count, int64_t low, int64_t high,
                         int64_t *to)
{
    if (value->kind == VISE_J_NONE || value->kind == VISE_J_UNDEFINED)
        return VISE_OK;
    if (value->kind != VISE_J_INT)
        return VISE_JFAIL(run, VISE_EFORMAT, "a slice by %s", vise_jkind_name(value));
    *to = value->whole < 0 ? value->whole < -count ? -1 : value->whole + count : value->whole;
    *to = *to < low ? low : *to > high ? high : *to;
    return VISE_OK;
}

vise_status vise_jslice(vise_jrun *run, const vise_jvalue *of, const vise_jvalue *from, const vise_jvalue *to,
                        const vise_jvalue *step, vise_jvalue *out)
{
    vise_jlist *list;
    int64_t by = 1, count;

    if ((of->kind != VISE_J_LIST || of->list->lazy) && of->kind != VISE_J_TEXT)
        return VISE_JFAIL(run, VISE_EFORMAT, "a slice of %s", vise_jkind_name(of));
    VISE_TRY(vise_jlength(run, of, &count));
    VISE_TRY(bound(run, step, 0, INT32_MIN, INT32_MAX, &by));
    if (step->kind == VISE_J_INT)
        by = step->whole;
    if (by == 0 || by > INT32_MAX || by < INT32_MIN)
        return VISE_JFAIL(run, VISE_EFORMAT, "a slice in steps of %lld", (long long)by);
    int64_t low = by > 0 ? 0 : -1, high = by > 0 ? count : count - 1;
    int64_t start = by > 0 ? low : high, stop = by > 0 ? high : low;
    VISE_TRY(bound(run, from, count, low, high, &start));
    VISE_TRY(bound(run, to, count, low, high, &stop));
    if (of->kind == VISE_J_TEXT && by == 1) {
        const char *first = character_at(of, start), *end = character_at(of, stop);
        *out = vise_jtext(first, end > first ? (size_t)(end - first) : 0);
        return VISE_OK;
    }
    VISE_TRY(vise_jiterate(run, of, &list));
    VISE_TRY(vise_jnew_list(run, of->kind == VISE_J_LIST && list->tuple, out));
    for (int64_t i = start; by > 0 ? i < stop : i > stop; i += by)
        VISE_TRY(vise_jappend(run, out->list, list->items[i]));
    if (of->kind == VISE_J_LIST)
        return VISE_OK;
    vise_buf buf;
    vise_buf_init(&buf, VISE_JBYTES_MAX);
    for (size_t i = 0; i < out->list->count; i++)
        vise_buf_add(&buf, out->list->items[i].text, out->list->items[i].length);
    vise_status status = vise_jcopy_text(run, &buf, out);
    vise_buf_deinit(&buf);
    return status;
}
