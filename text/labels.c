#include "text/labels.h"

#include <string.h>

#include "core/file.h"
#include "core/json.h"

#define FILE_BYTES_MAX ((size_t)1 << 30)
#define COLUMNS_MAX    64
#define NONE           SIZE_MAX

static const char *const firsts[] = {"text", "sentence", "content", "sentence1", "premise"};
static const char *const seconds[] = {"text_pair", "sentence2", "hypothesis"};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

typedef struct reader {
    const char *path;
    const char *const *names;
    size_t n_names;
    size_t line;
    vise_labels *labels;
    vise_error *err;
} reader;

void vise_labels_deinit(vise_labels *labels)
{
    vise_free(labels->rows);
    vise_arena_free(labels->arena);
    *labels = (vise_labels){0};
}

/* ---- labels ------------------------------------------------------------------------------------------ */

static vise_status unknown_label(const reader *r, const char *text, size_t length)
{
    char known[200] = "";
    size_t n = 0;

    for (size_t i = 0; i < r->n_names && i < 8 && r->names[i] != NULL; i++) {
        size_t more = strlen(r->names[i]);
        if (n + more + 5 > sizeof known)
            break;
        memcpy(known + n, i > 0 ? ", " : " (", 2);
        memcpy(known + n + 2, r->names[i], more + 1);
        n += 2 + more;
    }
    if (n > 0)
        memcpy(known + n, ")", 2);
    return VISE_FAIL(r->err, VISE_EFORMAT,
                     "%s line %zu: the label \"%.*s\" is unknown; the model's are 0 to %zu%s", r->path,
                     r->line, (int)(length < 60 ? length : 60), text, r->n_names - 1, known);
}

/* A name of id2label, or an id in digits. */
static vise_status find_label(const reader *r, const char *text, size_t length, int32_t *label)
{
    size_t id = 0;

    for (size_t i = 0; i < r->n_names; i++) {
        if (r->names[i] != NULL && strlen(r->names[i]) == length && memcmp(r->names[i], text, length) == 0) {
            *label = (int32_t)i;
            return VISE_OK;
        }
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || i > 8)
            return unknown_label(r, text, length);
        id = id * 10 + (size_t)(text[i] - '0');
    }
    if (length == 0 || id >= r->n_names)
        return unknown_label(r, text, length);
    *label = (int32_t)id;
    return VISE_OK;
}

static vise_status keep(const reader *r, const char *text, size_t length, const char **kept)
{
    if (memchr(text, '\0', length) != NULL)
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s line %zu: the text has a NUL byte", r->path, r->line);
    return vise_arena_strdup(r->labels->arena, text, length, kept, r->err);
}

static vise_status add_row(const reader *r, vise_label_row row)
{
    vise_labels *labels = r->labels;

    VISE_TRY(vise_grow((void **)&labels->rows, &labels->capacity, labels->count + 1, sizeof row, r->err));
    row.line = r->line;
    labels->rows[labels->count++] = row;
    return VISE_OK;
}

/* ---- TSV --------------------------------------------------------------------------------------------- */

typedef struct cell {
    const char *text;
    size_t length;
} cell;

typedef struct columns {
    size_t label, first, second; /* NONE: there is no such column */
    size_t count;
} columns;

static size_t split_line(const char *line, size_t length, cell cells[COLUMNS_MAX])
{
    const char *end = line + length;
    size_t n = 0;

    for (;;) {
        const char *stop = memchr(line, '\t', (size_t)(end - line));
        if (n < COLUMNS_MAX)
            cells[n] = (cell){line, (size_t)((stop != NULL ? stop : end) - line)};
        n++;
        if (stop == NULL)
            return n;
        line = stop + 1;
    }
}

/* The column with one of the names; more than one such column is an error. */
static vise_status find_column(const reader *r, const cell *cells, size_t n, const char *const *names,
                               size_t n_names, size_t *column)
{
    *column = NONE;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n_names; k++) {
            if (cells[i].length != strlen(names[k]) || memcmp(cells[i].text, names[k], cells[i].length) != 0)
                continue;
            if (*column != NONE)
                return VISE_FAIL(r->err, VISE_EFORMAT,
                                 "%s line 1: the columns \"%.*s\" and \"%s\" mean the same; keep one",
                                 r->path, (int)cells[*column].length, cells[*column].text, names[k]);
            *column = i;
        }
    }
    return VISE_OK;
}

static vise_status read_header(const reader *r, const char *line, size_t length, columns *where)
{
    static const char *const label[] = {"label"};
    cell cells[COLUMNS_MAX];

    where->count = split_line(line, length, cells);
    if (where->count > COLUMNS_MAX)
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: %zu columns are more than the limit of %d", r->path,
                         where->count, COLUMNS_MAX);
    VISE_TRY(find_column(r, cells, where->count, label, 1, &where->label));
    VISE_TRY(find_column(r, cells, where->count, firsts, COUNT(firsts), &where->first));
    VISE_TRY(find_column(r, cells, where->count, seconds, COUNT(seconds), &where->second));
    if (where->label == NONE || where->first == NONE)
        return VISE_FAIL(
            r->err, VISE_EFORMAT,
            "%s line 1: there is no column %s; a label file starts with the names of its columns", r->path,
            where->label == NONE ? "label" : "text (or sentence, content)");
    return VISE_OK;
}

static vise_status read_row(const reader *r, const char *line, size_t length, const columns *where)
{
    cell cells[COLUMNS_MAX];
    vise_label_row row = {0};
    size_t n = split_line(line, length, cells);

    if (n != where->count)
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s line %zu: %zu columns, but the header has %zu", r->path,
                         r->line, n, where->count);
    VISE_TRY(find_label(r, cells[where->label].text, cells[where->label].length, &row.label));
    VISE_TRY(keep(r, cells[where->first].text, cells[where->first].length, &row.first));
    if (where->second != NONE)
        VISE_TRY(keep(r, cells[where->second].text, cells[where->second].length, &row.second));
    return add_row(r, row);
}

/* ---- JSON lines -------------------------------------------------------------------------------------- */

static vise_status find_text(const reader *r, const cJSON *json, const char *name, const char *const *keys,
                             size_t n_keys, const char **text)
{
    const char *there = NULL;

    *text = NULL;
    for (size_t i = 0; i < n_keys; i++) {
        if (cJSON_GetObjectItemCaseSensitive(json, keys[i]) == NULL)
            continue;
        if (there != NULL)
            return VISE_FAIL(r->err, VISE_EFORMAT, "%s: \"%s\" and \"%s\" mean the same; keep one", name,
                             there, keys[i]);
        there = keys[i];
        VISE_TRY(vise_json_text(name, json, keys[i], true, text, r->err));
    }
    return VISE_OK;
}

static vise_status add_object(const reader *r, const char *name, const cJSON *json)
{
    const cJSON *label = cJSON_GetObjectItemCaseSensitive(json, "label");
    const char *first, *second;
    vise_label_row row = {0};
    int64_t id;

    if (!cJSON_IsObject(json))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: not a JSON object", name);
    VISE_TRY(find_text(r, json, name, firsts, COUNT(firsts), &first));
    VISE_TRY(find_text(r, json, name, seconds, COUNT(seconds), &second));
    if (label == NULL || first == NULL)
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: there is no \"%s\"", name,
                         label == NULL ? "label" : "text");
    if (cJSON_IsString(label)) {
        VISE_TRY(find_label(r, label->valuestring, strlen(label->valuestring), &row.label));
    } else {
        VISE_TRY(vise_json_int(name, json, "label", true, 0, (int64_t)r->n_names - 1, &id, r->err));
        row.label = (int32_t)id;
    }
    VISE_TRY(keep(r, first, strlen(first), &row.first));
    if (second != NULL)
        VISE_TRY(keep(r, second, strlen(second), &row.second));
    return add_row(r, row);
}

static vise_status read_object(const reader *r, const char *line, size_t length)
{
    cJSON *json = NULL;
    char *name;
    vise_status status;

    VISE_TRY(vise_strfmt(&name, r->err, "%s line %zu", r->path, r->line));
    status = vise_json_parse(name, line, length, &json, r->err);
    if (status == VISE_OK)
        status = add_object(r, name, json);
    cJSON_Delete(json);
    vise_free(name);
    return status;
}

/* ---- files ------------------------------------------------------------------------------------------- */

static vise_status read_lines(reader *r, const char *text, size_t length, bool tsv)
{
    const char *end = text + length;
    columns where = {0};

    if (tsv && length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3; /* a byte order mark */
    for (r->line = 1; text < end; r->line++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((stop != NULL ? stop : end) - text), used = n;
        if (used > 0 && text[used - 1] == '\r')
            used--;
        if (tsv && r->line == 1)
            VISE_TRY(read_header(r, text, used, &where));
        else if (tsv && used > 0)
            VISE_TRY(read_row(r, text, used, &where));
        else if (!tsv && strspn(text, " \t\r") < n)
            VISE_TRY(read_object(r, text, used));
        text += n + 1;
    }
    if (r->labels->count == 0)
        return VISE_FAIL(r->err, VISE_EUSAGE, "%s: there are no labelled texts", r->path);
    return VISE_OK;
}

static bool ends_in(const char *path, const char *suffix)
{
    size_t length = strlen(path), n = strlen(suffix);

    return length >= n && strcmp(path + length - n, suffix) == 0;
}

vise_status vise_labels_load(const char *path, const char *const *names, size_t n_names, vise_labels *labels,
                             vise_error *err)
{
    reader r = {path, names, n_names, 0, labels, err};
    bool tsv = ends_in(path, ".tsv");
    char *text = NULL;
    size_t length;
    vise_status status;

    *labels = (vise_labels){0};
    if (!tsv && !ends_in(path, ".jsonl"))
        return VISE_FAIL(err, VISE_EUSAGE, "%s: labels are read from .tsv (with a header) or .jsonl files",
                         path);
    if (n_names == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: labels need a model that classifies", path);
    VISE_TRY_TO(end, vise_arena_new(&labels->arena, err));
    VISE_TRY_TO(end, vise_file_read_all(path, FILE_BYTES_MAX, &text, &length, err));
    status = read_lines(&r, text, length, tsv);
end:
    vise_free(text);
    if (status != VISE_OK)
        vise_labels_deinit(labels);
    return status;
}
