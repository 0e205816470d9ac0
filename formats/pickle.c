#include "formats/pickle.h"

#include <string.h>

#include "core/mem.h"
#include "formats/pickle_internal.h"

#define MODULE_MAX 1024 /* bytes of a line of GLOBAL */

typedef enum opcode {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_BINFLOAT = 'G',
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_BININT2 = 'M',
    OP_NONE = 'N',
    OP_BINPERSID = 'Q',
    OP_REDUCE = 'R',
    OP_BINSTRING = 'T', /* texts of Python 2 */
    OP_SHORT_BINSTRING = 'U',
    OP_BINUNICODE = 'X',
    OP_APPEND = 'a',
    OP_BUILD = 'b',
    OP_GLOBAL = 'c',
    OP_APPENDS = 'e',
    OP_BINGET = 'h',
    OP_LONG_BINGET = 'j',
    OP_BINPUT = 'q',
    OP_LONG_BINPUT = 'r',
    OP_SETITEM = 's',
    OP_TUPLE = 't',
    OP_SETITEMS = 'u',
    OP_EMPTY_TUPLE = ')',
    OP_EMPTY_LIST = ']',
    OP_EMPTY_DICT = '}',
    OP_BINBYTES = 'B',
    OP_SHORT_BINBYTES = 'C',
    OP_PROTO = 0x80,
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_LONG1 = 0x8a,
    OP_LONG4 = 0x8b,
    OP_SHORT_BINUNICODE = 0x8c,
    OP_BINUNICODE8 = 0x8d,
    OP_BINBYTES8 = 0x8e,
    OP_EMPTY_SET = 0x8f,
    OP_ADDITEMS = 0x90,
    OP_STACK_GLOBAL = 0x93,
    OP_MEMOIZE = 0x94,
    OP_FRAME = 0x95,
    OP_BYTEARRAY8 = 0x96
} opcode;

/* Opcodes that have a meaning but no place here, to name them. */
static const struct {
    uint8_t code;
    const char *name;
} refused[] = {
    {'0', "POP"},
    {'1', "POP_MARK"},
    {'2', "DUP"},
    {'F', "FLOAT"},
    {'I', "INT"},
    {'L', "LONG"},
    {'P', "PERSID"},
    {'S', "STRING"},
    {'V', "UNICODE"},
    {'d', "DICT"},
    {'g', "GET"},
    {'i', "INST"},
    {'l', "LIST"},
    {'o', "OBJ"},
    {'p', "PUT"},
    {0x81, "NEWOBJ"},
    {0x82, "EXT1"},
    {0x83, "EXT2"},
    {0x84, "EXT4"},
    {0x91, "FROZENSET"},
    {0x92, "NEWOBJ_EX"},
    {0x97, "NEXT_BUFFER"},
    {0x98, "READONLY_BUFFER"},
};

vise_status vise_pickle_bad(const vise_pickle *p, const char *what, vise_error *err)
{
    return VISE_FAIL(err, VISE_EFORMAT,
                     "%s: pickle: %s at byte %zu; the file is damaged, or no checkpoint of torch", p->path,
                     what, p->at);
}

static vise_status refuse(const vise_pickle *p, uint8_t code, vise_error *err)
{
    const char *name = "unknown";
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (refused[i].code == code)
            name = refused[i].name;
    return VISE_FAIL(
        err, VISE_EUNSUPPORTED,
        "%s: pickle: refuses to load: opcode 0x%02x (%s) at byte %zu is none that torch writes; if you "
        "trust the file, load it in Python and save its tensors with safetensors",
        p->path, code, name, p->at - 1);
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

static vise_status take(vise_pickle *p, size_t n, const uint8_t **bytes, vise_error *err)
{
    if (n > p->length - p->at) {
        p->ran_out = true;
        return vise_pickle_bad(p, "the bytes end within a value", err);
    }
    *bytes = p->bytes + p->at;
    p->at += n;
    return VISE_OK;
}

/* A little-endian number of n bytes without a sign. */
static vise_status take_number(vise_pickle *p, size_t n, uint64_t *number, vise_error *err)
{
    const uint8_t *bytes = NULL;
    VISE_TRY(take(p, n, &bytes, err));
    *number = 0;
    for (size_t i = n; i-- > 0;)
        *number = *number << 8 | bytes[i];
    return VISE_OK;
}

/* ---- values, stack, memo ------------------------------------------------------------------------------- */

vise_status vise_pickle_new(vise_pickle *p, vise_pickle_value value, uint32_t *id, vise_error *err)
{
    void *grown = p->values;
    if (p->n_values == VISE_PICKLE_VALUES_MAX)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: pickle: has more than %zu values; save the model's part alone and try that",
                         p->path, VISE_PICKLE_VALUES_MAX);
    VISE_TRY(vise_grow(&grown, &p->values_capacity, p->n_values + 1, sizeof *p->values, err));
    p->values = grown;
    *id = (uint32_t)p->n_values;
    p->values[p->n_values++] = value;
    return VISE_OK;
}

static vise_status push(vise_pickle *p, uint32_t id, vise_error *err)
{
    void *grown = p->stack;
    if (p->n_stack == VISE_PICKLE_VALUES_MAX)
        return vise_pickle_bad(p, "the stack is too deep", err);
    VISE_TRY(vise_grow(&grown, &p->stack_capacity, p->n_stack + 1, sizeof *p->stack, err));
    p->stack = grown;
    p->stack[p->n_stack++] = id;
    return VISE_OK;
}

static vise_status push_new(vise_pickle *p, vise_pickle_value value, vise_error *err)
{
    uint32_t id = 0;
    VISE_TRY(vise_pickle_new(p, value, &id, err));
    return push(p, id, err);
}

/* The n values on top of the stack, above the last mark. They stay. */
static vise_status top(vise_pickle *p, size_t n, uint32_t **values, vise_error *err)
{
    const size_t floor = p->n_marks > 0 ? p->marks[p->n_marks - 1] : 0;
    if (p->n_stack - floor < n)
        return vise_pickle_bad(p, "stack underflow", err);
    *values = p->stack + (p->n_stack - n);
    return VISE_OK;
}

static vise_status push_mark(vise_pickle *p, vise_error *err)
{
    void *grown = p->marks;
    if (p->n_marks == VISE_PICKLE_VALUES_MAX)
        return vise_pickle_bad(p, "there are too many marks", err);
    VISE_TRY(vise_grow(&grown, &p->marks_capacity, p->n_marks + 1, sizeof *p->marks, err));
    p->marks = grown;
    p->marks[p->n_marks++] = (uint32_t)p->n_stack;
    return VISE_OK;
}

/* Takes the last mark and everything above it. The values are good until the next push. */
static vise_status pop_mark(vise_pickle *p, uint32_t **values, size_t *n, vise_error *err)
{
    if (p->n_marks == 0)
        return vise_pickle_bad(p, "stack underflow: no mark", err);
    const size_t floor = p->marks[--p->n_marks];
    *values = p->stack + floor;
    *n = p->n_stack - floor;
    p->n_stack = floor;
    return VISE_OK;
}

static vise_status put_memo(vise_pickle *p, uint64_t index, vise_error *err)
{
    void *grown = p->memo;
    uint32_t *values = NULL;
    const size_t before = p->memo_capacity;
    VISE_TRY(top(p, 1, &values, err));
    if (index >= VISE_PICKLE_VALUES_MAX)
        return vise_pickle_bad(p, "a memo of too high a number", err);
    VISE_TRY(vise_grow(&grown, &p->memo_capacity, (size_t)index + 1, sizeof *p->memo, err));
    p->memo = grown;
    for (size_t i = before; i < p->memo_capacity; i++)
        p->memo[i] = VISE_PICKLE_NONE;
    p->n_memo += p->memo[index] == VISE_PICKLE_NONE; /* MEMOIZE numbers by count */
    p->memo[index] = *values;
    return VISE_OK;
}

static vise_status get_memo(vise_pickle *p, uint64_t index, vise_error *err)
{
    if (index >= p->memo_capacity || p->memo[index] == VISE_PICKLE_NONE)
        return vise_pickle_bad(p, "a memo that was not put", err);
    return push(p, p->memo[index], err);
}

/* ---- plain values -------------------------------------------------------------------------------------- */

static vise_status push_bytes(vise_pickle *p, vise_pickle_kind kind, size_t size_bytes, vise_error *err)
{
    uint64_t n = 0;
    const uint8_t *bytes = NULL;
    VISE_TRY(take_number(p, size_bytes, &n, err));
    if (n > VISE_PICKLE_BYTES_MAX)
        return vise_pickle_bad(p, "a text or bytes of a size that cannot be", err);
    VISE_TRY(take(p, (size_t)n, &bytes, err));
    return push_new(
        p, (vise_pickle_value){.kind = (uint8_t)kind, .n = (uint32_t)n, .at = (size_t)(bytes - p->bytes)},
        err);
}

static vise_status push_int(vise_pickle *p, int64_t number, vise_error *err)
{
    return push_new(p, (vise_pickle_value){.kind = VISE_PICKLE_INT, .number = number}, err);
}

/* Two's complement of any length; up to 8 bytes are a number. */
static vise_status push_long(vise_pickle *p, size_t size_bytes, vise_error *err)
{
    uint64_t n = 0, number = 0;
    const uint8_t *bytes = NULL;
    VISE_TRY(take_number(p, size_bytes, &n, err));
    if (n > VISE_PICKLE_BYTES_MAX)
        return vise_pickle_bad(p, "an integer of a size that cannot be", err);
    VISE_TRY(take(p, (size_t)n, &bytes, err));
    if (n > 8)
        return push_new(
            p,
            (vise_pickle_value){.kind = VISE_PICKLE_LONG, .n = (uint32_t)n, .at = (size_t)(bytes - p->bytes)},
            err);
    for (size_t i = 8; i-- > 0;)
        number = number << 8 | (i < n ? bytes[i] : n > 0 && bytes[n - 1] & 0x80 ? 0xFF : 0);
    return push_int(p, (int64_t)number, err);
}

static vise_status push_float(vise_pickle *p, vise_error *err)
{
    const uint8_t *bytes = NULL;
    uint64_t bits = 0;
    vise_pickle_value value = {.kind = VISE_PICKLE_FLOAT};
    VISE_TRY(take(p, 8, &bytes, err));
    for (size_t i = 0; i < 8; i++) /* big-endian, alone of all */
        bits = bits << 8 | bytes[i];
    memcpy(&value.real, &bits, sizeof bits);
    return push_new(p, value, err);
}

static vise_status push_tuple(vise_pickle *p, const uint32_t *values, size_t n, vise_error *err)
{
    void *grown = p->items;
    if (n > VISE_PICKLE_VALUES_MAX * 4 - p->n_items)
        return vise_pickle_bad(p, "the tuples have too many items", err);
    VISE_TRY(vise_grow(&grown, &p->items_capacity, p->n_items + n, sizeof *p->items, err));
    p->items = grown;
    if (n > 0)
        memcpy(p->items + p->n_items, values, n * sizeof *values);
    p->n_items += n;
    return push_new(p, (vise_pickle_value){.kind = VISE_PICKLE_TUPLE, .n = (uint32_t)n, .at = p->n_items - n},
                    err);
}

static vise_status push_fixed_tuple(vise_pickle *p, size_t n, vise_error *err)
{
    uint32_t *values = NULL;
    VISE_TRY(top(p, n, &values, err));
    p->n_stack -= n;
    return push_tuple(p, values, n, err);
}

static vise_status push_empty(vise_pickle *p, vise_pickle_kind kind, vise_error *err)
{
    return push_new(
        p, (vise_pickle_value){.kind = (uint8_t)kind, .ends = {VISE_PICKLE_NONE, VISE_PICKLE_NONE}}, err);
}

/* ---- lists and dicts ----------------------------------------------------------------------------------- */

static vise_status add_entry(vise_pickle *p, uint32_t holder, uint32_t key, uint32_t value, vise_error *err)
{
    void *grown = p->entries;
    if (p->n_entries == VISE_PICKLE_VALUES_MAX * 2)
        return vise_pickle_bad(p, "the lists and dicts have too many entries", err);
    VISE_TRY(vise_grow(&grown, &p->entries_capacity, p->n_entries + 1, sizeof *p->entries, err));
    p->entries = grown;
    const uint32_t at = (uint32_t)p->n_entries++;
    p->entries[at] = (vise_pickle_entry){key, value, VISE_PICKLE_NONE};
    vise_pickle_value *to = &p->values[holder];
    if (to->ends[1] == VISE_PICKLE_NONE)
        to->ends[0] = at;
    else
        p->entries[to->ends[1]].next = at;
    to->ends[1] = at;
    return VISE_OK;
}

/* Adds values to the list or dict below them, which stays on the stack. */
static vise_status add_entries(vise_pickle *p, vise_pickle_kind kind, const uint32_t *values, size_t n,
                               vise_error *err)
{
    uint32_t *holder = NULL;
    const size_t step = kind == VISE_PICKLE_DICT ? 2 : 1;
    VISE_TRY(top(p, 1, &holder, err));
    if (!vise_pickle_is(p, *holder, kind) || n % step != 0)
        return vise_pickle_bad(
            p, step == 2 ? "items are set of what is no dict" : "items are added to what is no list", err);
    for (size_t i = 0; i < n; i += step)
        VISE_TRY(add_entry(p, *holder, step == 2 ? values[i] : VISE_PICKLE_NONE, values[i + step - 1], err));
    return VISE_OK;
}

static vise_status add_top(vise_pickle *p, vise_pickle_kind kind, vise_error *err)
{
    uint32_t *values = NULL;
    const size_t n = kind == VISE_PICKLE_DICT ? 2 : 1;
    VISE_TRY(top(p, n, &values, err));
    p->n_stack -= n;
    return add_entries(p, kind, values, n, err);
}

static vise_status add_marked(vise_pickle *p, vise_pickle_kind kind, vise_error *err)
{
    uint32_t *values = NULL;
    size_t n = 0;
    VISE_TRY(pop_mark(p, &values, &n, err));
    return add_entries(p, kind, values, n, err);
}

/* ---- globals and calls --------------------------------------------------------------------------------- */

static vise_status take_line(vise_pickle *p, const char **line, size_t *n, vise_error *err)
{
    const size_t left = p->length - p->at, max = left < MODULE_MAX ? left : MODULE_MAX;
    const uint8_t *end = memchr(p->bytes + p->at, '\n', max);
    if (end == NULL) {
        p->ran_out = left < MODULE_MAX;
        return vise_pickle_bad(p, "a name without an end", err);
    }
    *line = (const char *)p->bytes + p->at;
    *n = (size_t)(end - p->bytes) - p->at;
    p->at += *n + 1;
    return VISE_OK;
}

static vise_status push_global(vise_pickle *p, const char *module, size_t n_module, const char *name,
                               size_t n_name, vise_error *err)
{
    uint32_t index = 0;
    VISE_TRY(vise_pickle_find_global(p, module, n_module, name, n_name, &index, err));
    return push_new(p, (vise_pickle_value){.kind = VISE_PICKLE_GLOBAL, .n = index}, err);
}

static vise_status take_global(vise_pickle *p, vise_error *err)
{
    const char *module = NULL, *name = NULL;
    size_t n_module = 0, n_name = 0;
    VISE_TRY(take_line(p, &module, &n_module, err));
    VISE_TRY(take_line(p, &name, &n_name, err));
    return push_global(p, module, n_module, name, n_name, err);
}

static vise_status take_stack_global(vise_pickle *p, vise_error *err)
{
    uint32_t *two = NULL;
    VISE_TRY(top(p, 2, &two, err));
    p->n_stack -= 2;
    const vise_pickle_value *module = vise_pickle_at(p, two[0]), *name = vise_pickle_at(p, two[1]);
    if (module->kind != VISE_PICKLE_TEXT || name->kind != VISE_PICKLE_TEXT)
        return vise_pickle_bad(p, "a global whose name is no text", err);
    return push_global(p, (const char *)p->bytes + module->at, module->n, (const char *)p->bytes + name->at,
                       name->n, err);
}

static vise_status reduce(vise_pickle *p, vise_error *err)
{
    uint32_t *two = NULL, result = 0;
    VISE_TRY(top(p, 2, &two, err));
    p->n_stack -= 2;
    VISE_TRY(vise_pickle_call(p, two[0], two[1], &result, err));
    return push(p, result, err);
}

/* The attributes of an object. Of what may have some - the _metadata of a state_dict - nothing is needed. */
static vise_status build(vise_pickle *p, vise_error *err)
{
    uint32_t *two = NULL;
    VISE_TRY(top(p, 2, &two, err));
    p->n_stack--;
    if (!vise_pickle_is(p, two[0], VISE_PICKLE_DICT))
        return vise_pickle_bad(p, "attributes of what is no OrderedDict", err);
    return VISE_OK;
}

static vise_status load_storage(vise_pickle *p, vise_error *err)
{
    uint32_t *one = NULL, result = 0;
    VISE_TRY(top(p, 1, &one, err));
    p->n_stack--;
    VISE_TRY(vise_pickle_load_storage(p, *one, &result, err));
    return push(p, result, err);
}

static vise_status take_protocol(vise_pickle *p, vise_error *err)
{
    uint64_t version = 0;
    VISE_TRY(take_number(p, 1, &version, err));
    if (version < 2 || version > 5)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: pickle: protocol %u is none of 2 to 5; save it with one of them", p->path,
                         (unsigned)version);
    return VISE_OK;
}

/* ---- the loop ------------------------------------------------------------------------------------------ */

static vise_status step_plain(vise_pickle *p, uint8_t code, vise_error *err)
{
    uint64_t number = 0;
    switch (code) {
    case OP_NONE:
        return push_new(p, (vise_pickle_value){.kind = VISE_PICKLE_NULL}, err);
    case OP_NEWTRUE:
    case OP_NEWFALSE:
        return push_new(p, (vise_pickle_value){.kind = VISE_PICKLE_BOOL, .number = code == OP_NEWTRUE}, err);
    case OP_BININT:
        VISE_TRY(take_number(p, 4, &number, err));
        return push_int(p, (int32_t)(uint32_t)number, err);
    case OP_BININT1:
    case OP_BININT2:
        VISE_TRY(take_number(p, code == OP_BININT1 ? 1 : 2, &number, err));
        return push_int(p, (int64_t)number, err);
    case OP_LONG1:
        return push_long(p, 1, err);
    case OP_LONG4:
        return push_long(p, 4, err);
    case OP_BINFLOAT:
        return push_float(p, err);
    case OP_SHORT_BINSTRING:
    case OP_SHORT_BINUNICODE:
        return push_bytes(p, VISE_PICKLE_TEXT, 1, err);
    case OP_BINSTRING:
    case OP_BINUNICODE:
        return push_bytes(p, VISE_PICKLE_TEXT, 4, err);
    case OP_BINUNICODE8:
        return push_bytes(p, VISE_PICKLE_TEXT, 8, err);
    case OP_SHORT_BINBYTES:
        return push_bytes(p, VISE_PICKLE_BYTES, 1, err);
    case OP_BINBYTES:
        return push_bytes(p, VISE_PICKLE_BYTES, 4, err);
    case OP_BINBYTES8:
    case OP_BYTEARRAY8:
        return push_bytes(p, VISE_PICKLE_BYTES, 8, err);
    default:
        return refuse(p, code, err);
    }
}

static vise_status step(vise_pickle *p, uint8_t code, vise_error *err)
{
    uint64_t number = 0;
    uint32_t *values = NULL;
    size_t n = 0;
    switch (code) {
    case OP_PROTO:
        return take_protocol(p, err);
    case OP_FRAME: /* how the writer cut it; says nothing of values */
        return take_number(p, 8, &number, err);
    case OP_MARK:
        return push_mark(p, err);
    case OP_BINPUT:
    case OP_LONG_BINPUT:
        VISE_TRY(take_number(p, code == OP_BINPUT ? 1 : 4, &number, err));
        return put_memo(p, number, err);
    case OP_MEMOIZE:
        return put_memo(p, p->n_memo, err);
    case OP_BINGET:
    case OP_LONG_BINGET:
        VISE_TRY(take_number(p, code == OP_BINGET ? 1 : 4, &number, err));
        return get_memo(p, number, err);
    case OP_EMPTY_TUPLE:
    case OP_TUPLE1:
    case OP_TUPLE2:
    case OP_TUPLE3:
        return push_fixed_tuple(p, code == OP_EMPTY_TUPLE ? 0 : (size_t)(code - OP_TUPLE1 + 1), err);
    case OP_TUPLE:
        VISE_TRY(pop_mark(p, &values, &n, err));
        return push_tuple(p, values, n, err);
    case OP_EMPTY_LIST:
    case OP_EMPTY_SET:
        return push_empty(p, VISE_PICKLE_LIST, err);
    case OP_EMPTY_DICT:
        return push_empty(p, VISE_PICKLE_DICT, err);
    case OP_APPEND:
        return add_top(p, VISE_PICKLE_LIST, err);
    case OP_APPENDS:
    case OP_ADDITEMS:
        return add_marked(p, VISE_PICKLE_LIST, err);
    case OP_SETITEM:
        return add_top(p, VISE_PICKLE_DICT, err);
    case OP_SETITEMS:
        return add_marked(p, VISE_PICKLE_DICT, err);
    case OP_GLOBAL:
        return take_global(p, err);
    case OP_STACK_GLOBAL:
        return take_stack_global(p, err);
    case OP_REDUCE:
        return reduce(p, err);
    case OP_BUILD:
        return build(p, err);
    case OP_BINPERSID:
        return load_storage(p, err);
    default:
        return step_plain(p, code, err);
    }
}

vise_status vise_pickle_read(const char *path, const void *bytes, size_t length, vise_pickle *pickle,
                             vise_error *err)
{
    const uint8_t *code = NULL;
    uint32_t *value = NULL;
    memset(pickle, 0, sizeof *pickle);
    *pickle = (vise_pickle){.path = path, .bytes = bytes, .length = length, .root = VISE_PICKLE_NONE};
    if (length == 0 || *(const uint8_t *)bytes != OP_PROTO) {
        pickle->ran_out = length == 0;
        return vise_pickle_bad(pickle, "there is none", err);
    }
    for (;;) {
        VISE_TRY(take(pickle, 1, &code, err));
        if (*code == OP_STOP)
            break;
        VISE_TRY(step(pickle, *code, err));
    }
    VISE_TRY(top(pickle, 1, &value, err));
    if (pickle->n_stack != 1 || pickle->n_marks != 0)
        return vise_pickle_bad(pickle, "more than one value is left", err);
    pickle->root = *value;
    return VISE_OK;
}

void vise_pickle_deinit(vise_pickle *pickle)
{
    vise_free(pickle->values);
    vise_free(pickle->items);
    vise_free(pickle->entries);
    vise_free(pickle->storages);
    vise_free(pickle->tensors);
    vise_free(pickle->stack);
    vise_free(pickle->marks);
    vise_free(pickle->memo);
    memset(pickle, 0, sizeof *pickle);
}

bool vise_pickle_is_text(const vise_pickle *p, uint32_t value, const char *text)
{
    const vise_pickle_value *v = vise_pickle_at(p, value);
    return v->kind == VISE_PICKLE_TEXT && v->n == strlen(text) && memcmp(p->bytes + v->at, text, v->n) == 0;
}

uint32_t vise_pickle_get(const vise_pickle *p, uint32_t dict, const char *key)
{
    uint32_t found = VISE_PICKLE_NONE; /* what is set last counts */
    for (uint32_t i = vise_pickle_at(p, dict)->ends[0]; i != VISE_PICKLE_NONE; i = p->entries[i].next)
        if (vise_pickle_is_text(p, p->entries[i].key, key))
            found = p->entries[i].value;
    return found;
}
