#include "text/lines.h"

#include <string.h>

#include "core/file.h"
#include "core/json.h"

#define FILE_BYTES_MAX ((size_t)1 << 30)

static const char *const keys[] = {"text", "sentence", "content"};

void vise_lines_deinit(vise_lines *lines)
{
    vise_free(lines->rows);
    vise_arena_free(lines->arena);
    *lines = (vise_lines){0};
}

static vise_status add(vise_lines *lines, size_t number, const char *text, size_t length, vise_error *err)
{
    vise_line row = {.number = number};

    VISE_TRY(vise_arena_strdup(lines->arena, text, length, &row.text, err));
    VISE_TRY(vise_grow((void **)&lines->rows, &lines->capacity, lines->count + 1, sizeof row, err));
    lines->rows[lines->count++] = row;
    return VISE_OK;
}

static vise_status add_object(vise_lines *lines, const char *path, size_t number, const char *line,
                              size_t length, vise_error *err)
{
    const char *text = NULL;
    cJSON *json = NULL;
    char *name;
    vise_status status;

    VISE_TRY(vise_strfmt(&name, err, "%s line %zu", path, number));
    VISE_TRY_TO(end, vise_json_parse(name, line, length, &json, err));
    for (size_t i = 0; !text && i < sizeof keys / sizeof keys[0]; i++)
        VISE_TRY_TO(end, vise_json_text(name, json, keys[i], false, &text, err));
    status = text ? add(lines, number, text, strlen(text), err)
                  : VISE_FAIL(err, VISE_EFORMAT, "%s: there is no text, sentence or content", name);
end:
    cJSON_Delete(json);
    vise_free(name);
    return status;
}

static vise_status read_lines(vise_lines *lines, const char *path, bool json, const char *text, size_t length,
                              vise_error *err)
{
    const char *end = text + length;

    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3;
    for (size_t number = 1; text < end; number++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((stop ? stop : end) - text), used = n;
        while (used > 0 && strchr(" \t\r", text[used - 1]) && text[used - 1] != '\0')
            used--;
        if (used > 0 && json)
            VISE_TRY(add_object(lines, path, number, text, n, err));
        else if (used > 0 && memchr(text, '\0', n))
            return VISE_FAIL(err, VISE_EFORMAT, "%s line %zu: the text has a NUL byte", path, number);
        else if (used > 0)
            VISE_TRY(add(lines, number, text, used, err));
        text += n + 1;
    }
    if (lines->count == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: there are no texts", path);
    return VISE_OK;
}

static bool ends_in(const char *path, const char *suffix)
{
    size_t length = strlen(path), n = strlen(suffix);

    return length >= n && strcmp(path + length - n, suffix) == 0;
}

vise_status vise_lines_load(const char *path, vise_lines *lines, vise_error *err)
{
    const bool json = ends_in(path, ".jsonl");
    char *text = NULL;
    size_t length;
    vise_status status;

    *lines = (vise_lines){0};
    if (!json && !ends_in(path, ".txt"))
        return VISE_FAIL(err, VISE_EUSAGE, "%s: texts are read from .txt (one to a line) or .jsonl files",
                         path);
    VISE_TRY_TO(end, vise_arena_new(&lines->arena, err));
    VISE_TRY_TO(end, vise_file_read_all(path, FILE_BYTES_MAX, &text, &length, err));
    status = read_lines(lines, path, json, text, length, err);
end:
    vise_free(text);
    if (status != VISE_OK)
        vise_lines_deinit(lines);
    return status;
}
