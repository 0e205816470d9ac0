#include "text/choices.h"

#include <string.h>

#include "core/file.h"
#include "core/json.h"

#define FILE_BYTES_MAX ((size_t)1 << 30)

static const char *const contexts[] = {"ctx", "context", "query", "question", "prompt"};
static const char *const lists[] = {"endings", "choices"};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

void vise_choices_deinit(vise_choices *choices)
{
    vise_free(choices->rows);
    vise_arena_free(choices->arena);
    *choices = (vise_choices){0};
}

/* The member under one of the keys, which `known` lists; two of them are an error. */
static vise_status find(const char *name, const cJSON *json, const char *const *keys, size_t n_keys,
                        const char *known, const cJSON **member, vise_error *err)
{
    const char *there = NULL;

    for (size_t i = 0; i < n_keys; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, keys[i]);
        if (item == NULL)
            continue;
        if (there != NULL)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" and \"%s\" mean the same; keep one", name, there,
                             keys[i]);
        there = keys[i];
        *member = item;
    }
    if (there == NULL)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: there is no %s", name, known);
    return VISE_OK;
}

static vise_status read_endings(vise_choices *choices, const char *name, const cJSON *list,
                                vise_choice_row *row, vise_error *err)
{
    const cJSON *item;
    void *memory = NULL;
    size_t n = 0;

    if (!cJSON_IsArray(list))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: the endings are no list of texts", name);
    cJSON_ArrayForEach(item, list) n++;
    if (n < 2 || n > VISE_ENDINGS_MAX)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: %zu ending%s; there must be 2 to %d", name, n,
                         n == 1 ? "" : "s", VISE_ENDINGS_MAX);
    VISE_TRY(vise_arena_take(choices->arena, n * sizeof *row->endings, &memory, err));
    row->endings = memory;
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item) || item->valuestring[0] == '\0')
            return VISE_FAIL(err, VISE_EFORMAT, "%s: ending %zu is no text, or an empty one", name,
                             row->n_endings);
        VISE_TRY(vise_arena_strdup(choices->arena, item->valuestring, strlen(item->valuestring),
                                   &row->endings[row->n_endings], err));
        row->n_endings++;
    }
    return VISE_OK;
}

static vise_status read_label(const char *name, const cJSON *json, vise_choice_row *row, vise_error *err)
{
    const cJSON *label = cJSON_GetObjectItemCaseSensitive(json, "label");
    int64_t id = 0;

    if (!cJSON_IsString(label)) {
        VISE_TRY(vise_json_int(name, json, "label", true, 0, (int64_t)row->n_endings - 1, &id, err));
    } else {
        const char *digits = label->valuestring;
        for (; *digits >= '0' && *digits <= '9' && id <= VISE_ENDINGS_MAX; digits++)
            id = id * 10 + (*digits - '0');
        if (*digits != '\0' || label->valuestring[0] == '\0' || id >= (int64_t)row->n_endings)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: the label \"%.60s\" is none of the endings 0 to %zu",
                             name, label->valuestring, row->n_endings - 1);
    }
    row->label = (int32_t)id;
    return VISE_OK;
}

static vise_status add_object(vise_choices *choices, const char *name, size_t line, const cJSON *json,
                              vise_error *err)
{
    const cJSON *context = NULL, *list = NULL;
    vise_choice_row row = {.line = line};

    if (!cJSON_IsObject(json))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: not a JSON object", name);
    VISE_TRY(find(name, json, contexts, COUNT(contexts), "ctx, context, query, question or prompt", &context,
                  err));
    VISE_TRY(find(name, json, lists, COUNT(lists), "endings or choices", &list, err));
    if (!cJSON_IsString(context))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: the context is no text", name);
    VISE_TRY(read_endings(choices, name, list, &row, err));
    VISE_TRY(read_label(name, json, &row, err));
    VISE_TRY(vise_arena_strdup(choices->arena, context->valuestring, strlen(context->valuestring),
                               &row.context, err));
    VISE_TRY(vise_grow((void **)&choices->rows, &choices->capacity, choices->count + 1, sizeof row, err));
    choices->rows[choices->count++] = row;
    return VISE_OK;
}

static vise_status read_object(vise_choices *choices, const char *path, size_t number, const char *line,
                               size_t length, vise_error *err)
{
    cJSON *json = NULL;
    char *name;
    vise_status status;

    VISE_TRY(vise_strfmt(&name, err, "%s line %zu", path, number));
    status = vise_json_parse(name, line, length, &json, err);
    if (status == VISE_OK)
        status = add_object(choices, name, number, json, err);
    cJSON_Delete(json);
    vise_free(name);
    return status;
}

static vise_status read_lines(vise_choices *choices, const char *path, const char *text, size_t length,
                              vise_error *err)
{
    const char *end = text + length;

    for (size_t number = 1; text < end; number++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((stop != NULL ? stop : end) - text);
        if (strspn(text, " \t\r") < n)
            VISE_TRY(read_object(choices, path, number, text, n, err));
        text += n + 1;
    }
    if (choices->count == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: there are no contexts with endings", path);
    return VISE_OK;
}

vise_status vise_choices_load(const char *path, vise_choices *choices, vise_error *err)
{
    const size_t n = strlen(path), suffix = strlen(".jsonl");
    char *text = NULL;
    size_t length;
    vise_status status;

    *choices = (vise_choices){0};
    if (n < suffix || strcmp(path + n - suffix, ".jsonl") != 0)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: choices are read from .jsonl files", path);
    VISE_TRY_TO(end, vise_arena_new(&choices->arena, err));
    VISE_TRY_TO(end, vise_file_read_all(path, FILE_BYTES_MAX, &text, &length, err));
    status = read_lines(choices, path, text, length, err);
end:
    vise_free(text);
    if (status != VISE_OK)
        vise_choices_deinit(choices);
    return status;
}
