#include "formats/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC        0x46554747u /* "GGUF" */
#define KEY_MAX      65535u
#define WINDOW_BYTES ((size_t)64 << 10)
#define ARRAY_MAX    ((uint64_t)1 << 30)
#define VALUE_LEAST  13u /* bytes of a value: an empty key, a type, a byte */
#define TENSOR_LEAST 32u /* of a tensor's row: an empty name, one dimension */

static const struct {
    const char *name;
    size_t bytes;
} kinds[VISE_GGUF_KINDS] = {
    [VISE_GGUF_KIND_U8] = {"u8", 1},     [VISE_GGUF_KIND_I8] = {"i8", 1},
    [VISE_GGUF_KIND_U16] = {"u16", 2},   [VISE_GGUF_KIND_I16] = {"i16", 2},
    [VISE_GGUF_KIND_U32] = {"u32", 4},   [VISE_GGUF_KIND_I32] = {"i32", 4},
    [VISE_GGUF_KIND_F32] = {"f32", 4},   [VISE_GGUF_KIND_BOOL] = {"bool", 1},
    [VISE_GGUF_KIND_TEXT] = {"text", 0}, [VISE_GGUF_KIND_ARRAY] = {"array", 0},
    [VISE_GGUF_KIND_U64] = {"u64", 8},   [VISE_GGUF_KIND_I64] = {"i64", 8},
    [VISE_GGUF_KIND_F64] = {"f64", 8},
};

size_t vise_gguf_kind_bytes(vise_gguf_kind kind)
{
    return kinds[kind].bytes;
}

/* ---- reading forward ----------------------------------------------------------------------------------- */

typedef struct reader {
    const vise_st_input *input;
    vise_arena *arena;
    vise_gguf *gguf;
    uint8_t *window;
    size_t at, filled; /* within the window */
    uint64_t next;     /* file offset behind the window */
    vise_sha256 hash;  /* of what the windows held up to `at` */
    size_t hashed;     /* of the window */
} reader;

static uint64_t position(const reader *r)
{
    return r->next - (r->filled - r->at);
}

static uint64_t left(const reader *r)
{
    return r->input->bytes - position(r);
}

static vise_status refill(reader *r, vise_error *err)
{
    vise_sha256_add(&r->hash, r->window + r->hashed, r->filled - r->hashed);
    uint64_t rest = r->input->bytes - r->next;
    size_t n = rest < WINDOW_BYTES ? (size_t)rest : WINDOW_BYTES;
    VISE_TRY(r->input->read_at(r->input->context, r->next, r->window, n, err));
    r->next += n;
    r->at = r->hashed = 0;
    r->filled = n;
    return VISE_OK;
}

/* `what` is what the file ends in. */
static vise_status take(reader *r, void *bytes, uint64_t n, const char *what, vise_error *err)
{
    uint8_t *out = bytes;
    if (n > left(r))
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: the file ends within %s, at byte %" PRIu64 "; it is damaged or incomplete",
                         r->input->path, what, r->input->bytes);
    if (position(r) + n > VISE_GGUF_HEADER_MAX)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: the metadata take more than 1 GiB, which no model needs",
                         r->input->path);
    while (n > 0) {
        if (r->at == r->filled)
            VISE_TRY(refill(r, err));
        size_t part = r->filled - r->at < n ? r->filled - r->at : (size_t)n;
        memcpy(out, r->window + r->at, part);
        out += part;
        r->at += part;
        n -= part;
    }
    return VISE_OK;
}

static vise_status take_u32(reader *r, uint32_t *value, const char *what, vise_error *err)
{
    return take(r, value, sizeof *value, what, err);
}

static vise_status take_u64(reader *r, uint64_t *value, const char *what, vise_error *err)
{
    return take(r, value, sizeof *value, what, err);
}

static vise_status take_text(reader *r, uint64_t max, vise_gguf_text *text, const char *what, vise_error *err)
{
    uint64_t length;
    void *bytes;
    VISE_TRY(take_u64(r, &length, what, err));
    if (length > left(r))
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: %s is said to have %" PRIu64 " bytes, the file has %" PRIu64 " left",
                         r->input->path, what, length, left(r));
    if (length > max)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: %s has %" PRIu64 " bytes, at most %" PRIu64 " are allowed",
                         r->input->path, what, length, max);
    VISE_TRY(vise_arena_take(r->arena, (size_t)length + 1, &bytes, err));
    VISE_TRY(take(r, bytes, length, what, err));
    *text = (vise_gguf_text){bytes, (size_t)length};
    return VISE_OK;
}

/* Well-formed UTF-8 without control characters. */
static bool is_printable(const vise_gguf_text *text)
{
    const uint8_t *s = (const uint8_t *)text->bytes, *end = s + text->length;
    while (s < end) {
        int more = *s < 0x80                 ? 0
                   : *s >= 0xc2 && *s < 0xe0 ? 1
                   : *s >= 0xe0 && *s < 0xf0 ? 2
                   : *s >= 0xf0 && *s < 0xf5 ? 3
                                             : -1;
        if (more < 0 || *s < 0x20 || *s == 0x7f || end - s <= more)
            return false;
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
            (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
            return false;
        for (int i = 1; i <= more; i++)
            if ((s[i] & 0xc0) != 0x80)
                return false;
        s += more + 1;
    }
    return true;
}

/* A name of something: neither empty nor unprintable. */
static vise_status take_name(reader *r, uint64_t max, const char **name, const char *what, vise_error *err)
{
    vise_gguf_text text;
    VISE_TRY(take_text(r, max, &text, what, err));
    if (text.length == 0 || !is_printable(&text))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: %s is %s", r->input->path, what,
                         text.length == 0 ? "empty" : "not printable UTF-8");
    *name = text.bytes;
    return VISE_OK;
}

/* ---- values -------------------------------------------------------------------------------------------- */

static vise_status bad_value(const reader *r, const vise_gguf_value *value, const char *what, vise_error *err)
{
    char show[VISE_ST_SHOW_MAX];
    return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" %s", r->input->path, vise_st_show(value->key, show),
                     what);
}

static vise_status take_kind(reader *r, const vise_gguf_value *value, vise_gguf_kind *kind, vise_error *err)
{
    uint32_t number;
    VISE_TRY(take_u32(r, &number, "the type of a value", err));
    if (number >= VISE_GGUF_KINDS)
        return bad_value(r, value, "has a type that the format does not know", err);
    *kind = (vise_gguf_kind)number;
    return VISE_OK;
}

static vise_status take_elements(reader *r, vise_gguf_value *value, vise_error *err)
{
    const size_t size = kinds[value->kind].bytes;
    const size_t least = size > 0 ? size : sizeof(uint64_t);
    void *block;
    if (value->count > ARRAY_MAX || value->count > left(r) / least)
        return bad_value(r, value, "has more elements than the file has room for", err);
    const size_t n = (size_t)value->count;
    VISE_TRY(vise_arena_take(r->arena, n * (size > 0 ? size : sizeof(vise_gguf_text)) + 1, &block, err));
    value->elements = block;
    if (size > 0)
        VISE_TRY(take(r, block, n * size, "a value", err));
    for (size_t i = 0; size == 0 && i < n; i++)
        VISE_TRY(take_text(r, ARRAY_MAX, (vise_gguf_text *)block + i, "a text", err));
    for (size_t i = 0; value->kind == VISE_GGUF_KIND_BOOL && i < n; i++)
        if (((const uint8_t *)block)[i] > 1)
            return bad_value(r, value, "is a bool that is neither 0 nor 1", err);
    return VISE_OK;
}

static vise_status take_value(reader *r, vise_gguf_value *value, vise_error *err)
{
    *value = (vise_gguf_value){.count = 1};
    VISE_TRY(take_name(r, KEY_MAX, &value->key, "a key of the metadata", err));
    VISE_TRY(take_kind(r, value, &value->kind, err));
    if (value->kind == VISE_GGUF_KIND_ARRAY) {
        value->is_array = true;
        VISE_TRY(take_kind(r, value, &value->kind, err));
        if (value->kind == VISE_GGUF_KIND_ARRAY)
            return bad_value(r, value, "is an array of arrays, which no reader takes", err);
        VISE_TRY(take_u64(r, &value->count, "an array", err));
    }
    return take_elements(r, value, err);
}

/* ---- tensors ------------------------------------------------------------------------------------------- */

static vise_status bad_tensor(const reader *r, const vise_gguf_tensor *tensor, const char *what,
                              vise_error *err)
{
    char show[VISE_ST_SHOW_MAX];
    return VISE_FAIL(err, VISE_EFORMAT, "%s: tensor \"%s\" %s", r->input->path,
                     vise_st_show(tensor->name, show), what);
}

static vise_status take_shape(reader *r, vise_gguf_tensor *tensor, vise_error *err)
{
    uint32_t ndim;
    VISE_TRY(take_u32(r, &ndim, "a tensor's shape", err));
    if (ndim < 1 || ndim > VISE_GGUF_DIMS_MAX)
        return bad_tensor(r, tensor, "has no 1 to 4 dimensions", err);
    tensor->ndim = (int)ndim;
    tensor->elements = 1;
    for (uint32_t i = 0; i < ndim; i++) {
        uint64_t dim;
        VISE_TRY(take_u64(r, &dim, "a tensor's shape", err));
        if (dim < 1 || dim > INT64_MAX || __builtin_mul_overflow(tensor->elements, dim, &tensor->elements) ||
            tensor->elements > INT64_MAX)
            return bad_tensor(r, tensor, "has a dimension below 1, or more elements than can be counted",
                              err);
        tensor->dims[i] = (int64_t)dim;
    }
    return VISE_OK;
}

/* *end: of the tensors before, from the start of the data; moves behind this one and its padding. */
static vise_status take_tensor(reader *r, vise_gguf_tensor *tensor, uint64_t *end, vise_error *err)
{
    uint32_t id;
    uint64_t offset;
    const uint64_t mask = r->gguf->alignment - 1;
    *tensor = (vise_gguf_tensor){0};
    VISE_TRY(take_name(r, VISE_GGUF_NAME_MAX, &tensor->name, "a tensor's name", err));
    VISE_TRY(take_shape(r, tensor, err));
    VISE_TRY(take_u32(r, &id, "a tensor's type", err));
    tensor->type = vise_gguf_type_of(id);
    if (tensor->type == NULL)
        return bad_tensor(r, tensor, "has a type that the format does not know (any more)", err);
    if (tensor->dims[0] % tensor->type->values != 0)
        return bad_tensor(r, tensor, "has rows that are no whole blocks of its type", err);
    if (__builtin_mul_overflow(tensor->elements / (uint64_t)tensor->type->values,
                               (uint64_t)tensor->type->bytes, &tensor->bytes))
        return bad_tensor(r, tensor, "has more bytes than can be counted", err);
    VISE_TRY(take_u64(r, &offset, "a tensor's offset", err));
    if (offset != *end)
        return bad_tensor(r, tensor,
                          "does not begin where the one before it ends: tensors overlap, leave gaps or are "
                          "out of order",
                          err);
    if (__builtin_add_overflow(offset, tensor->bytes, end) || __builtin_add_overflow(*end, mask, end))
        return bad_tensor(r, tensor, "ends beyond what can be counted", err);
    *end &= ~mask;
    tensor->offset = offset;
    return VISE_OK;
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static vise_status take_alignment(reader *r, vise_error *err)
{
    const vise_gguf_value *value = vise_gguf_find(r->gguf, "general.alignment");
    r->gguf->alignment = 32;
    if (value == NULL)
        return VISE_OK;
    if (value->kind != VISE_GGUF_KIND_U32 || value->is_array)
        return bad_value(r, value, "is no u32", err);
    memcpy(&r->gguf->alignment, value->elements, sizeof r->gguf->alignment);
    if (r->gguf->alignment == 0 || (r->gguf->alignment & (r->gguf->alignment - 1)) != 0)
        return bad_value(r, value, "is no power of two", err);
    return VISE_OK;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* names [n] are sorted in place. */
static vise_status check_unique(const reader *r, const char **names, size_t n, const char *what,
                                vise_error *err)
{
    char show[VISE_ST_SHOW_MAX];
    if (n > 0)
        qsort(names, n, sizeof *names, compare_texts);
    for (size_t i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: the %s \"%s\" is there twice", r->input->path, what,
                             vise_st_show(names[i], show));
    return VISE_OK;
}

static vise_status check_names(const reader *r, vise_error *err)
{
    const vise_gguf *gguf = r->gguf;
    void *block;
    size_t n = gguf->n_values > gguf->n_tensors ? gguf->n_values : gguf->n_tensors;
    VISE_TRY(vise_calloc(n, sizeof(char *), &block, err));
    const char **names = block;
    for (size_t i = 0; i < gguf->n_values; i++)
        names[i] = gguf->values[i].key;
    vise_status status = check_unique(r, names, gguf->n_values, "key", err);
    for (size_t i = 0; i < gguf->n_tensors; i++)
        names[i] = gguf->tensors[i].name;
    if (status == VISE_OK)
        status = check_unique(r, names, gguf->n_tensors, "tensor", err);
    vise_free(block);
    return status;
}

static vise_status take_version(reader *r, vise_error *err)
{
    uint32_t magic = 0, version;
    if (r->input->bytes < sizeof magic)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: has %" PRIu64 " bytes, which is no GGUF file",
                         r->input->path, r->input->bytes);
    VISE_TRY(take_u32(r, &magic, "the magic", err));
    if (magic != MAGIC)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: does not begin with \"GGUF\"; it is no GGUF file, or a damaged one",
                         r->input->path);
    VISE_TRY(take_u32(r, &version, "the version", err));
    if ((version & 0xffffu) == 0 && version != 0)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: is a big-endian GGUF file, which is not supported",
                         r->input->path);
    if (version != 2 && version != 3)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: GGUF version %" PRIu32 " is not known; 2 and 3 are",
                         r->input->path, version);
    return VISE_OK;
}

static vise_status parse(reader *r, vise_error *err)
{
    vise_gguf *gguf = r->gguf;
    uint64_t n_tensors, n_values, end = 0;
    void *block;
    VISE_TRY(take_version(r, err));
    VISE_TRY(take_u64(r, &n_tensors, "the header", err));
    VISE_TRY(take_u64(r, &n_values, "the header", err));
    if (n_values > left(r) / VALUE_LEAST || n_tensors > left(r) / TENSOR_LEAST)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: the header counts %" PRIu64 " values and %" PRIu64
                         " tensors, more than the file has room for",
                         r->input->path, n_values, n_tensors);
    VISE_TRY(vise_arena_take(r->arena, (size_t)n_values * sizeof *gguf->values + 1, &block, err));
    gguf->values = block;
    for (; gguf->n_values < n_values; gguf->n_values++)
        VISE_TRY(take_value(r, &gguf->values[gguf->n_values], err));
    VISE_TRY(take_alignment(r, err));
    VISE_TRY(vise_arena_take(r->arena, (size_t)n_tensors * sizeof *gguf->tensors + 1, &block, err));
    gguf->tensors = block;
    for (; gguf->n_tensors < n_tensors; gguf->n_tensors++)
        VISE_TRY(take_tensor(r, &gguf->tensors[gguf->n_tensors], &end, err));
    VISE_TRY(check_names(r, err));

    const uint64_t mask = gguf->alignment - 1;
    gguf->data_start = (position(r) + mask) & ~mask;
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        vise_gguf_tensor *tensor = &gguf->tensors[i];
        uint64_t stop;
        if (__builtin_add_overflow(tensor->offset, gguf->data_start, &tensor->offset) ||
            __builtin_add_overflow(tensor->offset, tensor->bytes, &stop) || stop > r->input->bytes)
            return bad_tensor(r, tensor, "ends behind the file, which is damaged or incomplete", err);
    }
    vise_sha256_add(&r->hash, r->window + r->hashed, r->at - r->hashed);
    vise_sha256_hex(&r->hash, gguf->sha256);
    return VISE_OK;
}

vise_status vise_gguf_parse(const vise_st_input *input, vise_arena *arena, vise_gguf *gguf, vise_error *err)
{
    void *window;
    *gguf = (vise_gguf){.path = input->path};
    VISE_TRY(vise_alloc(WINDOW_BYTES, &window, err));
    reader r = {.input = input, .arena = arena, .gguf = gguf, .window = window};
    vise_sha256_init(&r.hash);
    vise_status status = parse(&r, err);
    vise_free(window);
    return status;
}

/* ---- getters ------------------------------------------------------------------------------------------- */

const vise_gguf_value *vise_gguf_find(const vise_gguf *gguf, const char *key)
{
    for (size_t i = 0; i < gguf->n_values; i++)
        if (strcmp(gguf->values[i].key, key) == 0)
            return &gguf->values[i];
    return NULL;
}

/* The value of a key; NULL in *out when it is missing and need not be there. */
static vise_status get(const vise_gguf *gguf, const char *key, bool required, bool is_array,
                       const vise_gguf_value **out, vise_error *err)
{
    *out = vise_gguf_find(gguf, key);
    if (*out == NULL && required)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: the key \"%s\" is missing", gguf->path, key);
    if (*out != NULL && (*out)->is_array != is_array)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" is %s array", gguf->path, key,
                         is_array ? "no" : "an");
    return VISE_OK;
}

static vise_status wrong_kind(const vise_gguf *gguf, const vise_gguf_value *value, const char *wanted,
                              vise_error *err)
{
    return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" is of type %s where %s is expected", gguf->path,
                     value->key, kinds[value->kind].name, wanted);
}

vise_status vise_gguf_get_int(const vise_gguf *gguf, const char *key, bool required, int64_t min, int64_t max,
                              int64_t *out, vise_error *err)
{
    const vise_gguf_value *value;
    VISE_TRY(get(gguf, key, required, false, &value, err));
    if (value == NULL)
        return VISE_OK;
    uint64_t bits = 0;
    const size_t bytes = kinds[value->kind].bytes;
    memcpy(&bits, value->elements, bytes);
    const int shift = 64 - 8 * (int)bytes;
    int64_t number;
    switch (value->kind) {
    case VISE_GGUF_KIND_U8:
    case VISE_GGUF_KIND_U16:
    case VISE_GGUF_KIND_U32:
    case VISE_GGUF_KIND_U64:
        number = bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
        break;
    case VISE_GGUF_KIND_I8:
    case VISE_GGUF_KIND_I16:
    case VISE_GGUF_KIND_I32:
    case VISE_GGUF_KIND_I64:
        number = (int64_t)(bits << shift) >> shift;
        break;
    default:
        return wrong_kind(gguf, value, "an integer", err);
    }
    if (number < min || number > max)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" is %" PRId64 ", outside %" PRId64 " to %" PRId64,
                         gguf->path, key, number, min, max);
    *out = number;
    return VISE_OK;
}

vise_status vise_gguf_get_float(const vise_gguf *gguf, const char *key, bool required, float *out,
                                vise_error *err)
{
    const vise_gguf_value *value;
    VISE_TRY(get(gguf, key, required, false, &value, err));
    if (value == NULL)
        return VISE_OK;
    if (value->kind == VISE_GGUF_KIND_F32) {
        memcpy(out, value->elements, sizeof *out);
    } else if (value->kind == VISE_GGUF_KIND_F64) {
        double number;
        memcpy(&number, value->elements, sizeof number);
        *out = (float)number;
    } else {
        return wrong_kind(gguf, value, "a float", err);
    }
    if (!(*out - *out == 0.0f))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" is no finite number", gguf->path, key);
    return VISE_OK;
}

vise_status vise_gguf_get_bool(const vise_gguf *gguf, const char *key, bool required, bool *out,
                               vise_error *err)
{
    const vise_gguf_value *value;
    VISE_TRY(get(gguf, key, required, false, &value, err));
    if (value != NULL && value->kind != VISE_GGUF_KIND_BOOL)
        return wrong_kind(gguf, value, "a bool", err);
    if (value != NULL)
        *out = *(const uint8_t *)value->elements != 0;
    return VISE_OK;
}

vise_status vise_gguf_get_text(const vise_gguf *gguf, const char *key, bool required, const char **out,
                               vise_error *err)
{
    const vise_gguf_value *value;
    VISE_TRY(get(gguf, key, required, false, &value, err));
    if (value == NULL)
        return VISE_OK;
    if (value->kind != VISE_GGUF_KIND_TEXT)
        return wrong_kind(gguf, value, "a text", err);
    const vise_gguf_text *text = value->elements;
    if (memchr(text->bytes, 0, text->length) != NULL)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" holds a NUL character", gguf->path, key);
    *out = text->bytes;
    return VISE_OK;
}

vise_status vise_gguf_get_array(const vise_gguf *gguf, const char *key, bool required, vise_gguf_kind kind,
                                const void **elements, uint64_t *count, vise_error *err)
{
    const vise_gguf_value *value;
    *elements = NULL;
    *count = 0;
    VISE_TRY(get(gguf, key, required, true, &value, err));
    if (value == NULL)
        return VISE_OK;
    if (value->kind != kind)
        return wrong_kind(gguf, value, kinds[kind].name, err);
    *elements = value->elements;
    *count = value->count;
    return VISE_OK;
}
