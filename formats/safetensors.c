#include "formats/safetensors.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "formats/st_reader.h"

typedef struct parser {
    vise_st_reader reader;
    vise_arena *arena;
    vise_st_header *header;
    size_t capacity, metadata_capacity; /* of the header's arrays */
} parser;

/* ---- the schema ------------------------------------------------------------------------------- */

#define RANK_MAX 64 /* what the parser stores; vise_source takes fewer and says so */

static vise_status take_pair(parser *p)
{
    int c;
    vise_st_reader *r = &p->reader;
    vise_st_header *header = p->header;
    void *grown = header->metadata;
    VISE_TRY(
        vise_grow(&grown, &p->metadata_capacity, header->n_metadata + 1, sizeof *header->metadata, r->err));
    header->metadata = grown;
    vise_st_pair *pair = &header->metadata[header->n_metadata];
    VISE_TRY(vise_arena_strdup(p->arena, vise_st_text(r), r->text.length, &pair->key, r->err));
    VISE_TRY(vise_st_peek(r, &c));
    if (c != '"') {
        char show[VISE_ST_SHOW_MAX];
        return VISE_FAIL(r->err, VISE_EFORMAT,
                         "%s: __metadata__ \"%s\" is not a text; the format allows texts only",
                         r->input->path, vise_st_show(pair->key, show));
    }
    VISE_TRY(vise_st_take_text(r));
    VISE_TRY(vise_arena_strdup(p->arena, vise_st_text(r), r->text.length, &pair->value, r->err));
    header->n_metadata++;
    return VISE_OK;
}

static vise_status take_metadata(parser *p)
{
    int c;
    vise_st_reader *r = &p->reader;
    VISE_TRY(vise_st_peek(r, &c));
    if (c == 'n')
        return vise_st_take_null(r);
    if (c != '{')
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: __metadata__ is not an object of texts", r->input->path);
    VISE_TRY(vise_st_take(r, &c));
    for (bool first = true, more;; first = false) {
        VISE_TRY(vise_st_next_member(r, first, &more));
        if (!more)
            return VISE_OK;
        VISE_TRY(take_pair(p));
    }
}

static vise_status take_dtype(vise_st_reader *r, vise_dtype *dtype)
{
    int c;
    VISE_TRY(vise_st_peek(r, &c));
    if (c != '"')
        return vise_st_bad_field(r, "dtype", "is not a text");
    VISE_TRY(vise_st_take_text(r));
    if (vise_dtype_from_name(vise_st_text(r), r->text.length, dtype))
        return VISE_OK;
    char tensor[VISE_ST_SHOW_MAX], name[VISE_ST_SHOW_MAX];
    return VISE_FAIL(
        r->err, VISE_EFORMAT,
        "%s: tensor \"%s\": unknown dtype \"%s\"; the format knows F64 F32 F16 BF16, F8, F6 and F4 kinds, "
        "I8 to I64, U8 to U64, C64 and BOOL",
        r->input->path, vise_st_show(r->tensor, tensor), vise_st_show(vise_st_text(r), name));
}

static vise_status take_shape(parser *p, vise_st_tensor *tensor)
{
    uint64_t dims[RANK_MAX];
    void *block;
    VISE_TRY(vise_st_take_integers(&p->reader, "shape", dims, RANK_MAX, &tensor->ndim));
    VISE_TRY(vise_arena_take(p->arena, sizeof(int64_t) * ((size_t)tensor->ndim + 1), &block, p->reader.err));
    int64_t *shape = block;
    for (int i = 0; i < tensor->ndim; i++)
        shape[i] = (int64_t)dims[i];
    tensor->shape = shape;
    return VISE_OK;
}

static vise_status take_offsets(vise_st_reader *r, vise_st_tensor *tensor)
{
    uint64_t offsets[2];
    int n;
    VISE_TRY(vise_st_take_integers(r, "data_offsets", offsets, 2, &n));
    if (n != 2)
        return vise_st_bad_field(r, "data_offsets", "does not hold two numbers");
    tensor->begin = offsets[0];
    tensor->end = offsets[1];
    return VISE_OK;
}

/* The entry of the tensor whose name was taken as text. */
static vise_status take_tensor(parser *p)
{
    int c;
    vise_st_reader *r = &p->reader;
    vise_st_header *header = p->header;
    vise_st_tensor tensor = {0};
    VISE_TRY(vise_arena_strdup(p->arena, vise_st_text(r), r->text.length, &tensor.name, r->err));
    r->tensor = tensor.name;
    VISE_TRY(vise_st_take(r, &c));
    if (c != '{')
        return vise_st_bad_field(r, "entry", "is not an object");

    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    bool seen[3] = {false};
    for (bool first = true, more;; first = false) {
        VISE_TRY(vise_st_next_member(r, first, &more));
        if (!more)
            break;
        int field = 0;
        while (field < 3 && strcmp(vise_st_text(r), fields[field]) != 0)
            field++;
        if (field < 3 && seen[field])
            return vise_st_bad_field(r, fields[field], "is given twice");
        if (field < 3)
            seen[field] = true;
        VISE_TRY(field == 0   ? take_dtype(r, &tensor.dtype)
                 : field == 1 ? take_shape(p, &tensor)
                 : field == 2 ? take_offsets(r, &tensor)
                              : vise_st_skip(r)); /* unknown members are tolerated, as the reference does */
    }
    for (int field = 0; field < 3; field++)
        if (!seen[field])
            return vise_st_bad_field(r, fields[field], "is missing");
    r->tensor = NULL;

    void *grown = header->tensors;
    VISE_TRY(vise_grow(&grown, &p->capacity, header->n_tensors + 1, sizeof *header->tensors, r->err));
    header->tensors = grown;
    header->tensors[header->n_tensors++] = tensor;
    return VISE_OK;
}

static vise_status take_header(parser *p)
{
    int c;
    vise_st_reader *r = &p->reader;
    VISE_TRY(vise_st_take(r, &c));
    if (c != '{')
        return vise_st_bad_json(r, c == VISE_ST_END ? "there is nothing" : "it does not begin with '{'");
    bool metadata_seen = false;
    for (bool first = true, more;; first = false) {
        VISE_TRY(vise_st_next_member(r, first, &more));
        if (!more)
            break;
        if (strcmp(vise_st_text(r), "__metadata__") != 0) {
            VISE_TRY(take_tensor(p));
            continue;
        }
        if (metadata_seen)
            return VISE_FAIL(r->err, VISE_EFORMAT, "%s: __metadata__ is given twice", r->input->path);
        metadata_seen = true;
        VISE_TRY(take_metadata(p));
    }
    VISE_TRY(vise_st_take(r, &c));
    return c == VISE_ST_END ? VISE_OK : vise_st_bad_json(r, "something follows the closing '}'");
}

/* ---- the checks of the whole ------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const vise_st_tensor *const *)a)->name, (*(const vise_st_tensor *const *)b)->name);
}

static int by_offset(const void *a, const void *b)
{
    const vise_st_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const vise_st_pair *)a)->key, ((const vise_st_pair *)b)->key);
}

static vise_status check_twice(parser *p)
{
    vise_st_header *header = p->header;
    char show[VISE_ST_SHOW_MAX];
    vise_status status = VISE_OK;
    const vise_st_tensor **sorted = NULL;
    void *block;
    VISE_TRY(vise_calloc(header->n_tensors, sizeof *sorted, &block, p->reader.err));
    sorted = block;
    for (size_t i = 0; i < header->n_tensors; i++)
        sorted[i] = &header->tensors[i];
    if (header->n_tensors > 0)
        qsort(sorted, header->n_tensors, sizeof *sorted, by_name);
    for (size_t i = 1; i < header->n_tensors && status == VISE_OK; i++)
        if (strcmp(sorted[i]->name, sorted[i - 1]->name) == 0)
            status =
                VISE_FAIL(p->reader.err, VISE_EFORMAT,
                          "%s: tensor \"%s\" is given twice; readers would disagree on which one is meant",
                          p->reader.input->path, vise_st_show(sorted[i]->name, show));
    vise_free(block);
    if (header->n_metadata > 0)
        qsort(header->metadata, header->n_metadata, sizeof *header->metadata, by_key);
    for (size_t i = 1; i < header->n_metadata && status == VISE_OK; i++)
        if (strcmp(header->metadata[i].key, header->metadata[i - 1].key) == 0)
            status = VISE_FAIL(p->reader.err, VISE_EFORMAT, "%s: __metadata__ \"%s\" is given twice",
                               p->reader.input->path, vise_st_show(header->metadata[i].key, show));
    return status;
}

static vise_status check_size(parser *p, const vise_st_tensor *tensor)
{
    char show[VISE_ST_SHOW_MAX];
    const vise_dtype_traits *traits = vise_dtype_of(tensor->dtype);
    uint64_t elements = 1, bits = 0;
    bool fits = true;
    for (int i = 0; i < tensor->ndim; i++)
        fits = fits && !__builtin_mul_overflow(elements, (uint64_t)tensor->shape[i], &elements);
    fits = fits && !__builtin_mul_overflow(elements, (uint64_t)traits->bits, &bits);
    if (!fits)
        return VISE_FAIL(p->reader.err, VISE_EFORMAT,
                         "%s: tensor \"%s\": shape overflows: it has more than 2^64 bits",
                         p->reader.input->path, vise_st_show(tensor->name, show));
    if (bits % 8 != 0)
        return VISE_FAIL(p->reader.err, VISE_EFORMAT,
                         "%s: tensor \"%s\": %" PRIu64 " elements of %s (%d bits) do not fill whole bytes",
                         p->reader.input->path, vise_st_show(tensor->name, show), elements, traits->name,
                         traits->bits);
    if (bits / 8 != tensor->end - tensor->begin)
        return VISE_FAIL(p->reader.err, VISE_EFORMAT,
                         "%s: tensor \"%s\": dtype %s and shape make %" PRIu64
                         " bytes, data_offsets %" PRIu64,
                         p->reader.input->path, vise_st_show(tensor->name, show), traits->name, bits / 8,
                         tensor->end - tensor->begin);
    return VISE_OK;
}

static vise_status check_layout(parser *p)
{
    vise_st_header *header = p->header;
    char show[VISE_ST_SHOW_MAX], before[VISE_ST_SHOW_MAX];
    if (header->n_tensors > 0)
        qsort(header->tensors, header->n_tensors, sizeof *header->tensors, by_offset);
    uint64_t end = 0;
    for (size_t i = 0; i < header->n_tensors; i++) {
        const vise_st_tensor *t = &header->tensors[i];
        if (t->end < t->begin)
            return VISE_FAIL(p->reader.err, VISE_EFORMAT,
                             "%s: tensor \"%s\": data_offsets end (%" PRIu64 ") before they begin (%" PRIu64
                             ")",
                             p->reader.input->path, vise_st_show(t->name, show), t->end, t->begin);
        if (t->begin < end)
            return VISE_FAIL(p->reader.err, VISE_EFORMAT,
                             "%s: tensor \"%s\": data_offsets overlap with those of \"%s\" (begin at %" PRIu64
                             ", free from %" PRIu64 ")",
                             p->reader.input->path, vise_st_show(t->name, show),
                             vise_st_show(header->tensors[i - 1].name, before), t->begin, end);
        if (t->begin > end)
            return VISE_FAIL(p->reader.err, VISE_EFORMAT,
                             "%s: tensor \"%s\": data_offsets leave a hole of %" PRIu64
                             " bytes in front of it",
                             p->reader.input->path, vise_st_show(t->name, show), t->begin - end);
        VISE_TRY(check_size(p, t));
        end = t->end;
    }
    uint64_t expected = header->data_start + end; /* both below 2^54 */
    if (p->reader.input->bytes < expected)
        return VISE_FAIL(p->reader.err, VISE_EFORMAT,
                         "%s: truncated: %" PRIu64 " bytes are missing (%" PRIu64 " of %" PRIu64
                         " are there); the download or copy broke off, repeat it",
                         p->reader.input->path, expected - p->reader.input->bytes, p->reader.input->bytes,
                         expected);
    if (p->reader.input->bytes > expected)
        return VISE_FAIL(p->reader.err, VISE_EFORMAT,
                         "%s: %" PRIu64 " bytes follow the last tensor, which the format does not allow; "
                         "the file is damaged or two files were joined",
                         p->reader.input->path, p->reader.input->bytes - expected);
    return VISE_OK;
}

/* ---- what the file may be instead ------------------------------------------------------------- */

/* Files that people take for weights, by their first bytes. */
static const struct {
    const char *magic, *text;
} impostors[] = {
    {"version https://git-lfs",
     "a Git LFS pointer, not the file itself; fetch it with \"git lfs pull\" or download it "
     "again"},
    {"GGUF", "a GGUF file, not safetensors; give it a name that ends in .gguf"},
    {"PK\003\004", "a zip archive, not safetensors; if it is a torch checkpoint, give it a name that ends in .pt"},
    {"\200\002", "a Python pickle, not safetensors; if it is an old torch checkpoint, give it a name that ends in .pt"},
    {"<!DOCTYPE", "an HTML page, not safetensors; the download got an error or log-in page"},
    {"<html", "an HTML page, not safetensors; the download got an error or log-in page"},
};

static vise_status check_impostor(const vise_st_input *input, vise_error *err)
{
    uint8_t start[32];
    size_t n = input->bytes < sizeof start ? (size_t)input->bytes : sizeof start;
    if (n == 0)
        return VISE_OK;
    VISE_TRY(input->read_at(input->context, 0, start, n, err));
    for (size_t i = 0; i < sizeof impostors / sizeof *impostors; i++) {
        size_t length = strlen(impostors[i].magic);
        if (n >= length && memcmp(start, impostors[i].magic, length) == 0)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: this is %s", input->path, impostors[i].text);
    }
    return VISE_OK;
}

static vise_status check_length(const vise_st_input *input, uint64_t *header_bytes, vise_error *err)
{
    uint8_t b[8];
    if (input->bytes < 8) {
        VISE_TRY(check_impostor(input, err));
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: %" PRIu64 " bytes are too few for a safetensors file (at least 8); "
                         "the download or copy broke off, repeat it",
                         input->path, input->bytes);
    }
    VISE_TRY(input->read_at(input->context, 0, b, sizeof b, err));
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | b[i];
    if (n > VISE_SAFETENSORS_HEADER_MAX) {
        VISE_TRY(check_impostor(input, err));
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: no safetensors file: the header claims %" PRIu64 " bytes, the format allows %u; a model "
                         "is a folder with config.json, or a file of weights (.safetensors, .gguf, .bin, .pt)",
                         input->path, n, VISE_SAFETENSORS_HEADER_MAX);
    }
    if (n > input->bytes - 8) {
        VISE_TRY(check_impostor(input, err));
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: truncated within its header: %" PRIu64
                         " bytes are missing before the first tensor; "
                         "the download or copy broke off, repeat it",
                         input->path, n - (input->bytes - 8));
    }
    *header_bytes = n;
    return VISE_OK;
}

/* ---- interface -------------------------------------------------------------------------------- */

static vise_status read_file(const void *context, uint64_t offset, void *bytes, size_t n, vise_error *err)
{
    return vise_file_read_at(context, offset, bytes, n, err);
}

vise_st_input vise_st_input_file(const vise_file *file)
{
    return (vise_st_input){file->path, file->bytes, read_file, file};
}

vise_status vise_st_parse(const vise_st_input *input, vise_arena *arena, vise_st_header *header,
                          vise_error *err)
{
    memset(header, 0, sizeof *header);
    uint64_t n = 0;
    VISE_TRY(check_length(input, &n, err));
    header->data_start = 8 + n;

    vise_status status = VISE_OK;
    parser p = {.arena = arena, .header = header};
    VISE_TRY(vise_st_reader_init(&p.reader, input, header->data_start, err));
    VISE_TRY_TO(done, vise_st_check_utf8(&p.reader, header->sha256));
    VISE_TRY_TO(done, take_header(&p));
    VISE_TRY_TO(done, check_twice(&p));
    VISE_TRY_TO(done, check_layout(&p));
done:
    vise_st_reader_deinit(&p.reader);
    if (status != VISE_OK)
        vise_st_header_deinit(header);
    return status;
}

void vise_st_header_deinit(vise_st_header *header)
{
    vise_free(header->tensors);
    vise_free(header->metadata);
    memset(header, 0, sizeof *header);
}

const char *vise_st_metadata(const vise_st_header *header, const char *key)
{
    vise_st_pair wanted = {key, NULL};
    const vise_st_pair *found = header->n_metadata == 0 ? NULL
                                                        : bsearch(&wanted, header->metadata,
                                                                  header->n_metadata, sizeof wanted, by_key);
    return found ? found->value : NULL;
}

const char *vise_st_show(const char *name, char buffer[VISE_ST_SHOW_MAX])
{
    size_t n = 0;
    for (; name[n] && n < VISE_ST_SHOW_MAX - 4; n++)
        buffer[n] = (unsigned char)name[n] < 0x20 || name[n] == 0x7F ? '?' : name[n];
    if (name[n]) { /* cut, but not within a UTF-8 character */
        while (n > 0 && ((unsigned char)name[n] & 0xC0) == 0x80)
            n--;
        memcpy(buffer + n, "...", 3);
        n += 3;
    }
    buffer[n] = '\0';
    return buffer;
}
