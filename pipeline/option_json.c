#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "pipeline/option.h"
#include "pipeline/option_value.h"

#define KEY_MAX   64
#define LABEL_MAX 512

/* The row's key in a recipe: '-' becomes '_'. */
static const char *key_of(const vise_option *row, char key[KEY_MAX])
{
    size_t i = 0;

    for (; row->name[i] && i + 1 < KEY_MAX; i++)
        key[i] = row->name[i] == '-' ? '_' : row->name[i];
    key[i] = '\0';
    return key;
}

/* ---- from a recipe ---------------------------------------------------------------------------------- */

typedef struct source {
    const char *name, *where, *folder;
    vise_arena *arena;
} source;

static vise_status unknown_key(const vise_options *table, const char *const *known, const char *key,
                               const source *from, vise_error *err)
{
    vise_texts names = {0};
    const char *nearest;
    char text[KEY_MAX];

    for (size_t i = 0; i < table->count; i++)
        VISE_TRY(vise_texts_add(&names, key_of(&table->rows[i], text), from->arena, err));
    for (size_t i = 0; known && known[i]; i++)
        VISE_TRY(vise_texts_add(&names, known[i], from->arena, err));
    nearest = vise_nearest(key, names.items, names.count);
    if (nearest)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: %s%sunknown key \"%.64s\"; did you mean \"%s\"?", from->name,
                         from->where, from->where[0] ? ": " : "", key, nearest);
    return VISE_FAIL(err, VISE_EUSAGE, "%s: %s%sunknown key \"%.64s\"", from->name, from->where,
                     from->where[0] ? ": " : "", key);
}

static vise_status wrong_type(const char *label, const char *meant, vise_error *err)
{
    return VISE_FAIL(err, VISE_EUSAGE, "%s: the value must be %s", label, meant);
}

static vise_status set_text(const vise_option *row, void *values, const char *text, const char *label,
                            const source *from, vise_error *err)
{
    char *joined = NULL;
    vise_status status;

    if (row->type != VISE_OPTION_PATH || text[0] == '/' || text[0] == '\0' || !from->folder ||
        !from->folder[0])
        return vise_option_set(row, values, text, label, from->arena, err);
    VISE_TRY(vise_path_join(from->folder, text, &joined, err));
    status = vise_option_set(row, values, joined, label, from->arena, err);
    vise_free(joined);
    return status;
}

static vise_status set_list(const vise_option *row, void *values, const cJSON *list, const char *label,
                            const source *from, vise_error *err)
{
    const cJSON *item;

    if (!cJSON_IsArray(list))
        return wrong_type(label, "a list of texts", err);
    memset((char *)values + row->offset, 0, sizeof(vise_texts));
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item))
            return wrong_type(label, "a list of texts", err);
        VISE_TRY(vise_option_set(row, values, item->valuestring, label, from->arena, err));
    }
    return VISE_OK;
}

static vise_status set_value(const vise_option *row, void *values, const cJSON *value, const char *label,
                             const source *from, vise_error *err)
{
    switch (row->type) {
    case VISE_OPTION_FLAG:
        if (!cJSON_IsBool(value))
            return wrong_type(label, "true or false", err);
        *(bool *)((char *)values + row->offset) = cJSON_IsTrue(value);
        return VISE_OK;
    case VISE_OPTION_TEXT:
    case VISE_OPTION_PATH:
    case VISE_OPTION_CHOICE:
        if (!cJSON_IsString(value))
            return wrong_type(label, "a text", err);
        return set_text(row, values, value->valuestring, label, from, err);
    case VISE_OPTION_INT:
    case VISE_OPTION_NUMBER:
        if (!cJSON_IsNumber(value))
            return wrong_type(label, row->type == VISE_OPTION_INT ? "a whole number" : "a number", err);
        return vise_option_set_number(row, values, value->valuedouble, label, err);
    case VISE_OPTION_SIZE:
        if (cJSON_IsNumber(value))
            return vise_option_set_number(row, values, value->valuedouble, label, err);
        if (!cJSON_IsString(value))
            return wrong_type(label, "a size: bytes, or a text like \"2GB\"", err);
        return vise_option_set(row, values, value->valuestring, label, from->arena, err);
    case VISE_OPTION_LIST:
        return set_list(row, values, value, label, from, err);
    }
    return VISE_FAIL(err, VISE_EINTERNAL, "%s: a row of no known type", label);
}

vise_status vise_options_from_json(const vise_options *table, const cJSON *object, const char *const *known,
                                   const char *name, const char *where, const char *folder, vise_arena *arena,
                                   vise_error *err)
{
    source from = {name, where, folder, arena};
    const cJSON *member;

    if (!cJSON_IsObject(object))
        return VISE_FAIL(err, VISE_EUSAGE, "%s: %s must be an object", name,
                         where[0] ? where : "the document");
    cJSON_ArrayForEach(member, object)
    {
        const vise_option *row = NULL;
        const char *key = member->string ? member->string : "";
        char text[KEY_MAX], label[LABEL_MAX];
        bool callers = false;

        for (size_t i = 0; i < table->count && !row; i++)
            if (strcmp(key_of(&table->rows[i], text), key) == 0)
                row = &table->rows[i];
        for (size_t i = 0; known && known[i] && !callers; i++)
            callers = strcmp(known[i], key) == 0;
        if (!row && !callers)
            return unknown_key(table, known, key, &from, err);
        if (!row)
            continue;
        snprintf(label, sizeof label, "%.300s: %s%s%s", name, where, where[0] ? "." : "", text);
        VISE_TRY(set_value(row, table->values, member, label, &from, err));
    }
    return VISE_OK;
}

/* ---- to a recipe ------------------------------------------------------------------------------------ */

static bool text_differs(const char *value, const char *initial)
{
    return value && (!initial || strcmp(value, initial) != 0);
}

/* True if a number differs from its default, which is parsed as it would be typed. */
static bool number_differs(const vise_option *row, const void *place)
{
    union {
        int64_t integer;
        double number;
        uint64_t size;
    } initial;
    vise_option at_zero = *row;

    at_zero.offset = 0;
    if (vise_option_reset(&at_zero, &initial, NULL, NULL) != VISE_OK)
        return true;
    switch (row->type) {
    case VISE_OPTION_INT:
        return *(const int64_t *)place != initial.integer;
    case VISE_OPTION_NUMBER:
        return !isnan(*(const double *)place) && *(const double *)place != initial.number;
    default:
        return *(const uint64_t *)place != initial.size;
    }
}

static void put_list(const vise_texts *texts, vise_json_writer *writer)
{
    vise_json_array(writer);
    for (size_t i = 0; i < texts->count; i++)
        vise_json_put_text(writer, texts->items[i]);
    vise_json_array_end(writer);
}

static void put_row(const vise_option *row, const void *place, vise_json_writer *writer)
{
    char key[KEY_MAX];

    switch (row->type) {
    case VISE_OPTION_FLAG:
        if (*(const bool *)place == vise_option_initial_flag(row))
            return;
        vise_json_key(writer, key_of(row, key));
        vise_json_put_bool(writer, *(const bool *)place);
        return;
    case VISE_OPTION_TEXT:
    case VISE_OPTION_PATH:
    case VISE_OPTION_CHOICE:
        if (!text_differs(*(const char *const *)place, row->initial))
            return;
        vise_json_key(writer, key_of(row, key));
        vise_json_put_text(writer, *(const char *const *)place);
        return;
    case VISE_OPTION_LIST:
        if (((const vise_texts *)place)->count == 0)
            return;
        vise_json_key(writer, key_of(row, key));
        put_list(place, writer);
        return;
    case VISE_OPTION_INT:
    case VISE_OPTION_NUMBER:
    case VISE_OPTION_SIZE:
        break;
    }
    if (!number_differs(row, place))
        return;
    vise_json_key(writer, key_of(row, key));
    if (row->type == VISE_OPTION_INT)
        vise_json_put_int(writer, *(const int64_t *)place);
    else if (row->type == VISE_OPTION_NUMBER)
        vise_json_put_double(writer, *(const double *)place);
    else
        vise_json_put_uint(writer, *(const uint64_t *)place);
}

void vise_options_to_json(const vise_options *table, vise_json_writer *writer)
{
    for (size_t i = 0; i < table->count; i++)
        put_row(&table->rows[i], (const char *)table->values + table->rows[i].offset, writer);
}
