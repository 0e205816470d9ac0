#include "core/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/json_scan.h"
#include "core/mem.h"

/* Objects with fewer members are searched for duplicates pair by pair. */
enum { PAIRWISE_MAX = 8 };

/* Integers up to here have a double of their own; 2^53 + 1 reads as 2^53, so beyond it a value may not be what was
 * written. */
#define INTEGER_MAX 9007199254740992.0

/* ---- parsing ----------------------------------------------------------------------------------------------------- */

/* The first member (in order) whose key an earlier member has, or NULL. */
static vise_status find_duplicate(const cJSON *object, const cJSON **duplicate, vise_error *err)
{
    *duplicate = NULL;
    size_t n = 0;
    for (const cJSON *m = object->child; m; m = m->next)
        n++;
    if (n <= PAIRWISE_MAX) {
        for (const cJSON *m = object->child; m; m = m->next)
            for (const cJSON *earlier = object->child; earlier != m; earlier = earlier->next)
                if (strcmp(earlier->string, m->string) == 0) {
                    *duplicate = m;
                    return VISE_OK;
                }
        return VISE_OK;
    }
    /* An open hash table at most half full. */
    size_t slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    void *memory;
    VISE_TRY(vise_calloc(slots, sizeof(const cJSON *), &memory, err));
    const cJSON **table = memory;
    for (const cJSON *m = object->child; m && !*duplicate; m = m->next) {
        size_t slot = (size_t)vise_xxh64(m->string, strlen(m->string), 0) & (slots - 1);
        while (table[slot] && strcmp(table[slot]->string, m->string) != 0)
            slot = (slot + 1) & (slots - 1);
        if (table[slot])
            *duplicate = m;
        table[slot] = m;
    }
    vise_free(memory);
    return VISE_OK;
}

/* Where the search for what cJSON does not check ended: the way from the root, as the number of the child at each
 * level. */
typedef struct finding {
    const cJSON *item; /* NULL: nothing found */
    bool duplicate;    /* of a key; else a number beyond the range of double */
    size_t path[VISE_JSON_DEPTH_MAX];
    size_t depth;
} finding;

/* Depth first without recursion: cJSON knows next and child, the way back is kept here. The scanner bounded the
 * depth. */
static vise_status inspect(const cJSON *root, finding *found, vise_error *err)
{
    const cJSON *stack[VISE_JSON_DEPTH_MAX + 1];
    const cJSON *item = root;
    size_t depth = 0; /* number of containers around item */
    found->item = NULL;
    while (item) {
        if (cJSON_IsObject(item)) {
            const cJSON *duplicate;
            VISE_TRY(find_duplicate(item, &duplicate, err));
            if (duplicate) {
                *found = (finding){.item = duplicate, .duplicate = true, .depth = depth + 1};
                break;
            }
        }
        if (cJSON_IsNumber(item) && !isfinite(item->valuedouble)) {
            *found = (finding){.item = item, .depth = depth};
            break;
        }
        if (item->child) {
            stack[depth++] = item;
            item = item->child;
            continue;
        }
        while (depth > 0 && !item->next)
            item = stack[--depth];
        item = depth > 0 ? item->next : NULL;
    }
    if (!found->item)
        return VISE_OK;
    /* Children count from the containers that are still open. */
    const cJSON *leaf = found->item;
    for (size_t level = found->depth; level > 0; level--) {
        const cJSON *parent = found->duplicate && level == found->depth ? item : stack[level - 1];
        size_t index = 0;
        for (const cJSON *m = parent->child; m != leaf; m = m->next)
            index++;
        found->path[level - 1] = index;
        leaf = parent;
    }
    return VISE_OK;
}

/* Follows the finding's path through the text and reports its line and column. */
static vise_status report(vise_json_scanner *s, const finding *found)
{
    s->at = 0;
    s->depth = 0;
    vise_json_skip_space(s);
    size_t at = s->at;
    for (size_t level = 0; level < found->depth; level++) {
        bool object = vise_json_peek(s) == '{';
        s->at++;
        for (size_t index = 0;; index++) {
            vise_json_skip_space(s);
            at = s->at;
            if (object) {
                VISE_TRY(vise_json_skip_string(s));
                VISE_TRY(vise_json_expect(s, ':', "':'"));
                vise_json_skip_space(s);
            }
            if (index == found->path[level])
                break;
            VISE_TRY(vise_json_skip_value(s));
            VISE_TRY(vise_json_expect(s, ',', "','"));
        }
    }
    if (found->duplicate)
        return vise_json_fail_at(s, at, "the key \"%.100s\" is given twice", found->item->string);
    return vise_json_fail_at(s, s->at, "this number is too large");
}

vise_status vise_json_parse(const char *name, const char *text, size_t length, cJSON **out, vise_error *err)
{
    vise_json_scanner s = {.name = name, .text = text, .length = length, .err = err};
    VISE_TRY(vise_json_scan_document(&s));
    cJSON *root = cJSON_ParseWithLength(text, length);
    if (!root) /* the text is valid: nothing else can fail */
        return VISE_FAIL(err, VISE_ERESOURCE, "%s: out of memory for %zu bytes of JSON", name, length);
    finding found;
    vise_status status = inspect(root, &found, err);
    if (status == VISE_OK && found.item)
        status = report(&s, &found);
    if (status != VISE_OK) {
        cJSON_Delete(root);
        return status;
    }
    *out = root;
    return VISE_OK;
}

vise_status vise_json_load(const char *path, size_t max_bytes, cJSON **out, vise_error *err)
{
    char *text = NULL;
    size_t length;
    VISE_TRY(vise_file_read_all(path, max_bytes, &text, &length, err));
    vise_status status = vise_json_parse(path, text, length, out, err);
    vise_free(text);
    return status;
}

/* ---- getters ----------------------------------------------------------------------------------------------------- */

/* A member's value as an error shows it. */
static const char *show(const cJSON *item, char buffer[64])
{
    if (cJSON_IsNumber(item))
        snprintf(buffer, 64, "%.17g", item->valuedouble);
    else if (cJSON_IsString(item))
        snprintf(buffer, 64, "the text \"%.40s\"", item->valuestring);
    else
        snprintf(buffer, 64, "%s", cJSON_IsBool(item)     ? cJSON_IsTrue(item) ? "true" : "false"
                                   : cJSON_IsArray(item)  ? "a list"
                                   : cJSON_IsObject(item) ? "an object"
                                                          : "null");
    return buffer;
}

/* The member, or NULL when it may be absent and is. */
static vise_status find(const char *name, const cJSON *object, const char *key, bool required, const cJSON **item,
                        vise_error *err)
{
    if (!cJSON_IsObject(object))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: an object with \"%s\" is expected", name, key);
    *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (*item && cJSON_IsNull(*item) && !required)
        *item = NULL;
    if (!*item && required)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" is missing", name, key);
    return VISE_OK;
}

vise_status vise_json_int(const char *name, const cJSON *object, const char *key, bool required, int64_t min,
                          int64_t max, int64_t *out, vise_error *err)
{
    const cJSON *item;
    char text[64];
    VISE_TRY(find(name, object, key, required, &item, err));
    if (!item)
        return VISE_OK;
    double value = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    /* Out of range (and NaN) first: only then is the conversion defined. */
    if (!(fabs(value) <= INTEGER_MAX) || value != trunc(value) || (int64_t)value < min || (int64_t)value > max)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" is %s; an integer from %lld to %lld is expected", name, key,
                         show(item, text), (long long)min, (long long)max);
    *out = (int64_t)value;
    return VISE_OK;
}

vise_status vise_json_double(const char *name, const cJSON *object, const char *key, bool required, double min,
                             double max, double *out, vise_error *err)
{
    const cJSON *item;
    char text[64];
    VISE_TRY(find(name, object, key, required, &item, err));
    if (!item)
        return VISE_OK;
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= min && item->valuedouble <= max))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" is %s; a number from %g to %g is expected", name, key,
                         show(item, text), min, max);
    *out = item->valuedouble;
    return VISE_OK;
}

vise_status vise_json_bool(const char *name, const cJSON *object, const char *key, bool required, bool *out,
                           vise_error *err)
{
    const cJSON *item;
    char text[64];
    VISE_TRY(find(name, object, key, required, &item, err));
    if (!item)
        return VISE_OK;
    if (!cJSON_IsBool(item))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" is %s; true or false is expected", name, key,
                         show(item, text));
    *out = cJSON_IsTrue(item);
    return VISE_OK;
}

vise_status vise_json_text(const char *name, const cJSON *object, const char *key, bool required, const char **out,
                           vise_error *err)
{
    const cJSON *item;
    char text[64];
    VISE_TRY(find(name, object, key, required, &item, err));
    if (!item)
        return VISE_OK;
    if (!cJSON_IsString(item))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" is %s; a text is expected", name, key, show(item, text));
    *out = item->valuestring;
    return VISE_OK;
}
