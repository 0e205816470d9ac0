#include "formats/zip.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/json_scan.h"

#define ENTRIES_MAX   ((uint64_t)1 << 20)
#define DIRECTORY_MAX ((uint64_t)128 << 20)
#define COMMENT_MAX   65535

#define SIGN_LOCAL   0x04034b50u
#define SIGN_CENTRAL 0x02014b50u
#define SIGN_END     0x06054b50u
#define SIGN_END64   0x06064b50u
#define SIGN_LOCATOR 0x07064b50u

enum { LOCAL_BYTES = 30, CENTRAL_BYTES = 46, END_BYTES = 22, END64_BYTES = 56, LOCATOR_BYTES = 20 };
enum { FLAG_ENCRYPTED = 1, FLAG_SIZES_FOLLOW = 8, EXTRA_ZIP64 = 1 };

typedef struct parser {
    const vise_st_input *input;
    vise_arena *arena;
    vise_error *err;
    uint64_t directory, directory_bytes, count; /* as the end record says */
    vise_zip_entry *entries;
} parser;

/* ---- bytes --------------------------------------------------------------------------------------------- */

static uint32_t get16(const uint8_t *b)
{
    return (uint32_t)(b[0] | b[1] << 8);
}

static uint32_t get32(const uint8_t *b)
{
    return get16(b) | get16(b + 2) << 16;
}

static uint64_t get64(const uint8_t *b)
{
    return get32(b) | (uint64_t)get32(b + 4) << 32;
}

uint32_t vise_crc32(const void *bytes, size_t n)
{
    /* Of the 16 half bytes, with the polynomial 0xEDB88320. */
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    const uint8_t *b = bytes;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        crc ^= b[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static vise_status read_at(const parser *p, uint64_t offset, void *bytes, size_t n)
{
    return p->input->read_at(p->input->context, offset, bytes, n, p->err);
}

static vise_status damaged(const parser *p, const char *what)
{
    return VISE_FAIL(p->err, VISE_EFORMAT,
                     "%s: zip: %s; the file is damaged or cut, download or copy it again", p->input->path,
                     what);
}

static vise_status bad_entry(const parser *p, vise_status status, const char *name, const char *what)
{
    char show[VISE_ST_SHOW_MAX];
    return VISE_FAIL(p->err, status, "%s: zip: entry \"%s\" %s", p->input->path, vise_st_show(name, show),
                     what);
}

/* ---- the end ------------------------------------------------------------------------------------------- */

/* The end record is the last thing of the file but for its comment, whose length it tells. */
static vise_status find_end(const parser *p, uint64_t *end, uint8_t record[END_BYTES])
{
    const uint64_t bytes = p->input->bytes;
    const size_t n = bytes < END_BYTES + COMMENT_MAX ? (size_t)bytes : END_BYTES + COMMENT_MAX;
    if (n < END_BYTES)
        return damaged(p, "it is too short for an archive");
    void *block;
    VISE_TRY(vise_alloc(n, &block, p->err));
    const uint8_t *tail = block;
    vise_status status = read_at(p, bytes - n, block, n);
    bool found = false;
    for (size_t at = n - END_BYTES + 1; status == VISE_OK && !found && at-- > 0;)
        if (get32(tail + at) == SIGN_END && at + END_BYTES + get16(tail + at + 20) == n) {
            memcpy(record, tail + at, END_BYTES);
            *end = bytes - n + at;
            found = true;
        }
    vise_free(block);
    if (status == VISE_OK && !found)
        status = damaged(p, "there is no directory at its end");
    return status;
}

/* A 32-bit field of the end record beside its 64-bit one. */
static bool agrees(uint64_t narrow, uint64_t all_ones, uint64_t wide)
{
    return narrow == all_ones || narrow == wide;
}

static vise_status take_end(parser *p)
{
    uint8_t record[END_BYTES] = {0}, locator[LOCATOR_BYTES], wide[END64_BYTES];
    uint64_t end = 0;
    VISE_TRY(find_end(p, &end, record));
    uint64_t disk = get16(record + 4), directory_disk = get16(record + 6), here = get16(record + 8);
    p->count = get16(record + 10);
    p->directory_bytes = get32(record + 12);
    p->directory = get32(record + 16);

    bool zip64 = false;
    if (end >= LOCATOR_BYTES) {
        VISE_TRY(read_at(p, end - LOCATOR_BYTES, locator, sizeof locator));
        zip64 = get32(locator) == SIGN_LOCATOR;
    }
    if (zip64) {
        const uint64_t at = get64(locator + 8);
        if (end < LOCATOR_BYTES + END64_BYTES || at > end - LOCATOR_BYTES - END64_BYTES)
            return damaged(p, "the ZIP64 end record lies beyond the end");
        VISE_TRY(read_at(p, at, wide, sizeof wide));
        if (get32(wide) != SIGN_END64 || get64(wide + 4) != end - LOCATOR_BYTES - at - 12)
            return damaged(p, "the ZIP64 end record is not where its locator says");
        if (!agrees(here, 0xFFFF, get64(wide + 24)) || !agrees(p->count, 0xFFFF, get64(wide + 32)) ||
            !agrees(p->directory_bytes, 0xFFFFFFFFu, get64(wide + 40)) ||
            !agrees(p->directory, 0xFFFFFFFFu, get64(wide + 48)))
            return damaged(p, "its two end records contradict each other");
        disk = get32(wide + 16);
        directory_disk = get32(wide + 20);
        here = get64(wide + 24);
        p->count = get64(wide + 32);
        p->directory_bytes = get64(wide + 40);
        p->directory = get64(wide + 48);
        end = at;
    }
    if (disk != 0 || directory_disk != 0 || here != p->count)
        return VISE_FAIL(p->err, VISE_EUNSUPPORTED,
                         "%s: zip: is one file of an archive in several; join them first", p->input->path);
    if (p->directory > end || p->directory_bytes != end - p->directory)
        return damaged(p, "the directory does not end where the end record begins");
    if (p->directory_bytes > DIRECTORY_MAX || p->count > ENTRIES_MAX ||
        p->count > p->directory_bytes / CENTRAL_BYTES)
        return damaged(p, "the directory is larger, or has more entries, than can be");
    return VISE_OK;
}

/* ---- entries ------------------------------------------------------------------------------------------- */

static bool is_utf8(const char *text, size_t length)
{
    while (length > 0) {
        size_t n = vise_utf8_length(text, length);
        if (n == 0 || *text == '\0')
            return false;
        text += n;
        length -= n;
    }
    return true;
}

/* A relative path that stays inside: no empty part but a folder's last, no "." or "..", no backslash or colon. */
static bool is_inside(const char *name)
{
    if (*name == '\0' || strpbrk(name, "\\:") != NULL)
        return false;
    for (const char *part = name; *part != '\0';) {
        const size_t n = strcspn(part, "/");
        if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part += n + (part[n] == '/');
    }
    return true;
}

/* What 32 bits do not hold stands in the ZIP64 extra field, in this order. */
static bool take_zip64(const uint8_t *extra, size_t n, uint64_t *plain, uint64_t *stored, uint64_t *header)
{
    uint64_t *wanted[3];
    size_t count = 0;
    if (*plain == 0xFFFFFFFFu)
        wanted[count++] = plain;
    if (*stored == 0xFFFFFFFFu)
        wanted[count++] = stored;
    if (header != NULL && *header == 0xFFFFFFFFu)
        wanted[count++] = header;
    for (size_t at = 0; count > 0 && n - at >= 4;) {
        const size_t size = get16(extra + at + 2);
        if (size > n - at - 4)
            return false;
        if (get16(extra + at) == EXTRA_ZIP64) {
            if (size < count * 8)
                return false;
            for (size_t i = 0; i < count; i++)
                *wanted[i] = get64(extra + at + 4 + i * 8);
            return true;
        }
        at += 4 + size;
    }
    return count == 0;
}

static vise_status take_central(parser *p, const uint8_t *b, size_t left, vise_zip_entry *entry,
                                size_t *taken)
{
    if (left < CENTRAL_BYTES || get32(b) != SIGN_CENTRAL)
        return damaged(p, "the directory breaks off");
    const uint32_t flags = get16(b + 8), method = get16(b + 10), name = get16(b + 28), extra = get16(b + 30);
    const size_t all = CENTRAL_BYTES + (size_t)name + extra + get16(b + 32);
    if (left < all)
        return damaged(p, "the directory breaks off");
    if (!is_utf8((const char *)b + CENTRAL_BYTES, name))
        return damaged(p, "the name of an entry is no UTF-8");
    VISE_TRY(vise_arena_strdup(p->arena, (const char *)b + CENTRAL_BYTES, name, &entry->name, p->err));
    if (!is_inside(entry->name))
        return bad_entry(p, VISE_EFORMAT, entry->name,
                         "has a name that leads outside; torch writes none such");
    if (flags & FLAG_ENCRYPTED)
        return bad_entry(p, VISE_EUNSUPPORTED, entry->name, "is encrypted");
    entry->method = method;
    entry->stored_bytes = get32(b + 20);
    entry->crc = get32(b + 16);
    entry->bytes = get32(b + 24);
    entry->header = get32(b + 42);
    if (!take_zip64(b + CENTRAL_BYTES + name, extra, &entry->bytes, &entry->stored_bytes, &entry->header))
        return bad_entry(p, VISE_EFORMAT, entry->name, "has a broken ZIP64 field");
    if (method == 0 && entry->stored_bytes != entry->bytes)
        return bad_entry(p, VISE_EFORMAT, entry->name, "is stored in more or fewer bytes than it has");
    if (get16(b + 34) != 0)
        return bad_entry(p, VISE_EUNSUPPORTED, entry->name, "lies in another file of the archive");
    *taken = all;
    return VISE_OK;
}

/* The local header of an entry says where its data begin, and must say the same as the directory. */
static vise_status take_local(parser *p, vise_zip_entry *entry)
{
    uint8_t b[LOCAL_BYTES];
    const size_t length = strlen(entry->name);
    const uint64_t end = p->directory;
    if (end < LOCAL_BYTES || entry->header > end - LOCAL_BYTES)
        return bad_entry(p, VISE_EFORMAT, entry->name, "lies beyond the directory");
    VISE_TRY(read_at(p, entry->header, b, sizeof b));
    const uint32_t flags = get16(b + 6), method = get16(b + 8), name = get16(b + 26), extra = get16(b + 28);
    if (get32(b) != SIGN_LOCAL)
        return bad_entry(p, VISE_EFORMAT, entry->name, "is not where the directory says");
    entry->offset = entry->header + LOCAL_BYTES + name + extra;
    if (entry->offset > end || entry->stored_bytes > end - entry->offset)
        return bad_entry(p, VISE_EFORMAT, entry->name, "reaches into the directory");

    void *block;
    vise_status status = VISE_OK;
    VISE_TRY(vise_alloc((size_t)name + extra + 1, &block, p->err));
    const uint8_t *rest = block;
    VISE_TRY_TO(done, read_at(p, entry->header + LOCAL_BYTES, block, (size_t)name + extra));
    uint64_t stored = get32(b + 18), plain = get32(b + 22);
    const bool wide = take_zip64(rest + name, extra, &plain, &stored, NULL);
    const bool sizes =
        wide && stored == entry->stored_bytes && plain == entry->bytes && get32(b + 14) == entry->crc;
    if (name != length || memcmp(rest, entry->name, length) != 0 || method != entry->method ||
        (flags & FLAG_ENCRYPTED) || (!sizes && !(flags & FLAG_SIZES_FOLLOW)))
        status = bad_entry(p, VISE_EFORMAT, entry->name, "has a local header that contradicts the directory");
done:
    vise_free(block);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const vise_zip_entry *)a)->name, ((const vise_zip_entry *)b)->name);
}

static int by_header(const void *a, const void *b)
{
    const vise_zip_entry *x = a, *y = b;
    return x->header < y->header ? -1 : x->header > y->header;
}

static vise_status check_all(parser *p)
{
    if (p->count == 0)
        return damaged(p, "there is nothing in it");
    const size_t n = (size_t)p->count;
    qsort(p->entries, n, sizeof *p->entries, by_header);
    for (size_t i = 1; i < n; i++)
        if (p->entries[i].header < p->entries[i - 1].offset + p->entries[i - 1].stored_bytes)
            return bad_entry(p, VISE_EFORMAT, p->entries[i].name, "overlaps with another");
    qsort(p->entries, n, sizeof *p->entries, by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(p->entries[i].name, p->entries[i - 1].name) == 0)
            return bad_entry(p, VISE_EFORMAT, p->entries[i].name,
                             "is there twice; readers would disagree on which one is meant");
    return VISE_OK;
}

vise_status vise_zip_parse(const vise_st_input *input, vise_arena *arena, vise_zip *zip, vise_error *err)
{
    parser p = {.input = input, .arena = arena, .err = err};
    void *block = NULL, *entries;
    vise_status status = VISE_OK;
    VISE_TRY(take_end(&p));
    VISE_TRY(vise_arena_take(arena, (size_t)p.count * sizeof *p.entries, &entries, err));
    p.entries = entries;
    VISE_TRY(vise_alloc((size_t)p.directory_bytes, &block, err));
    VISE_TRY_TO(done, read_at(&p, p.directory, block, (size_t)p.directory_bytes));
    size_t at = 0;
    for (uint64_t i = 0; i < p.count; i++) {
        size_t taken = 0;
        VISE_TRY_TO(done, take_central(&p, (const uint8_t *)block + at, (size_t)p.directory_bytes - at,
                                       &p.entries[i], &taken));
        VISE_TRY_TO(done, take_local(&p, &p.entries[i]));
        at += taken;
    }
    if (at != p.directory_bytes)
        VISE_TRY_TO(done, damaged(&p, "the directory has more than its entries"));
    VISE_TRY_TO(done, check_all(&p));
    *zip = (vise_zip){p.entries, (size_t)p.count};
done:
    vise_free(block);
    return status;
}

static vise_status check_stored(const parser *p, const vise_zip_entry *entry)
{
    if (entry->method == 0)
        return VISE_OK;
    return bad_entry(
        p, VISE_EUNSUPPORTED, entry->name,
        "is compressed, which torch does not do; unpack the archive and pack it with \"zip -0 -r\"");
}

vise_status vise_zip_check_stored(const vise_st_input *input, const vise_zip *zip, vise_error *err)
{
    const parser p = {.input = input, .err = err};
    for (size_t i = 0; i < zip->n; i++)
        VISE_TRY(check_stored(&p, &zip->entries[i]));
    return VISE_OK;
}

const vise_zip_entry *vise_zip_find(const vise_zip *zip, const char *name)
{
    const vise_zip_entry wanted = {.name = name};
    return zip->n == 0 ? NULL : bsearch(&wanted, zip->entries, zip->n, sizeof wanted, by_name);
}

vise_status vise_zip_read(const vise_st_input *input, const vise_zip_entry *entry, size_t max, char **bytes,
                          vise_error *err)
{
    void *block;
    const parser p = {.input = input, .err = err};
    VISE_TRY(check_stored(&p, entry));
    if (entry->bytes > max)
        return bad_entry(&p, VISE_EFORMAT, entry->name, "is larger than can be");
    const size_t n = (size_t)entry->bytes;
    VISE_TRY(vise_alloc(n + 1, &block, err));
    char *text = block;
    vise_status status = read_at(&p, entry->offset, text, n);
    text[n] = '\0';
    if (status == VISE_OK && entry->crc != 0 && vise_crc32(text, n) != entry->crc)
        status = bad_entry(&p, VISE_EFORMAT, entry->name,
                           "does not have its checksum; the file is damaged, download or copy it again");
    if (status != VISE_OK) {
        vise_free(block);
        return status;
    }
    *bytes = text;
    return VISE_OK;
}
