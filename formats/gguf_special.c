/* Special tokens, whether texts get them, and the chat template. What the converter makes of post-processors is
 * coarse - the first and the last token of a template - and kept: runtimes go by it. */
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "formats/gguf_meta.h"

#define FILE_MAX ((size_t)256 << 20)

typedef enum role { BOS, EOS, UNK, SEP, PAD, CLS, MASK, EOT, EOM, ROLES } role;

static const char *const roles[ROLES] = {"bos", "eos", "unk", "sep", "pad", "cls", "mask", "eot", "eom"};
/* llama.cpp takes its first token from "bos", whatever it is called. */
static const char *const role_keys[ROLES] = {"bos", "eos", "unknown", "seperator", "padding",
                                             NULL,  "mask", "eot",    "eom"};

/* A token as tokenizer_config.json or a template names it. */
typedef struct named {
    const char *text; /* NULL: not named, or by something that is no text */
    bool plain;       /* named by the text itself and not by an object that holds it */
    bool any;         /* something stands there */
} named;

typedef struct adding {
    role order[ROLES]; /* as they were found */
    size_t n;
    bool known[ROLES], value[ROLES];
} adding;

typedef struct special {
    const vise_gguf_special *files;
    named tokens[ROLES];
    bool wanted[ROLES];
    adding add;
} special;

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static bool is_same(const named *token, const char *text)
{
    return token->plain && text != NULL && strcmp(token->text, text) == 0;
}

static void set_add(adding *add, role r, bool value, bool replace)
{
    if (!add->known[r])
        add->order[add->n++] = r;
    else if (!replace)
        return;
    add->known[r] = true;
    add->value[r] = value;
}

static named name_of(const char *text)
{
    return (named){.text = text, .plain = text != NULL, .any = text != NULL && text[0] != '\0'};
}

/* ---- post-processors ----------------------------------------------------------------------------------- */

static const char *special_at(const cJSON *list, int index)
{
    return text_of(cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(list, index), "SpecialToken"), "id");
}

static const char *sequence_at(const cJSON *list, int index)
{
    return text_of(cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(list, index), "Sequence"), "id");
}

/* "A [sep] [eos] B", behind and before what stands around one text: is there a token between the two? */
static void read_pair(special *s, const cJSON *pair, const char *first, const char *last)
{
    int start = 0, end = cJSON_GetArraySize(pair);
    const char *front = special_at(pair, 0), *back = special_at(pair, end - 1);
    if (end == 0)
        return;
    if (first != NULL && front != NULL && strcmp(front, first) == 0)
        start++;
    if (last != NULL && back != NULL && strcmp(back, last) == 0)
        end--;
    if (end - start < 1)
        return;
    const char *a = sequence_at(pair, start), *b = sequence_at(pair, end - 1);
    start++, end--;
    if (a == NULL || b == NULL || strcmp(a, "A") != 0 || strcmp(b, "B") != 0 || end <= start)
        return;
    const char *between = special_at(pair, start), *next = end - start == 2 ? special_at(pair, start + 1) : NULL;
    bool add = between != NULL && last == NULL &&
               (is_same(&s->tokens[SEP], between) || is_same(&s->tokens[EOS], between));
    add = add || is_same(&s->tokens[SEP], next) || is_same(&s->tokens[EOS], next);
    set_add(&s->add, SEP, add, true);
    if (add && !s->tokens[SEP].any && s->files->config != NULL)
        s->tokens[SEP] = s->tokens[EOS];
}

static void read_template(special *s, const cJSON *processor)
{
    const cJSON *single = cJSON_GetObjectItemCaseSensitive(processor, "single");
    const int n = cJSON_GetArraySize(single);
    const bool config = s->files->config != NULL;
    const char *first = n > 1 ? special_at(single, 0) : NULL, *last = n > 1 ? special_at(single, n - 1) : NULL;
    if (first != NULL) {
        if (!config) {
            s->tokens[BOS] = name_of(first);
        } else if (!is_same(&s->tokens[BOS], first) && !is_same(&s->tokens[CLS], first)) {
            if (!s->tokens[BOS].any)
                s->tokens[BOS] = name_of(first);
            if (!s->tokens[CLS].any)
                s->tokens[CLS] = name_of(first);
        }
        set_add(&s->add, BOS, is_same(&s->tokens[BOS], first) || is_same(&s->tokens[CLS], first), true);
    }
    if (last != NULL) {
        if (config && !is_same(&s->tokens[EOS], last)) {
            const role kept = !s->wanted[EOT] ? EOT : EOM;
            if (!s->wanted[kept]) {
                s->wanted[kept] = true;
                s->tokens[kept] = s->tokens[EOS];
            }
        }
        if (!is_same(&s->tokens[EOS], last))
            s->tokens[EOS] = name_of(last);
        set_add(&s->add, EOS, true, true);
    }
    read_pair(s, cJSON_GetObjectItemCaseSensitive(processor, "pair"), first, last);
}

static void read_processor(special *s, const cJSON *processor)
{
    const char *type = text_of(processor, "type");
    if (type == NULL)
        return;
    if (strcmp(type, "ByteLevel") == 0) {
        set_add(&s->add, BOS, false, false);
        set_add(&s->add, EOS, false, false);
    } else if (strcmp(type, "RobertaProcessing") == 0) {
        static const role added[] = {BOS, EOS, SEP}, named_there[] = {CLS, SEP};
        for (size_t i = 0; i < 3; i++)
            set_add(&s->add, added[i], true, true);
        for (size_t i = 0; i < 2 && s->files->config != NULL; i++) {
            const cJSON *pair = cJSON_GetObjectItemCaseSensitive(processor, roles[named_there[i]]);
            const cJSON *text = cJSON_GetArrayItem(pair, 0);
            if (!s->tokens[named_there[i]].any && cJSON_IsString(text))
                s->tokens[named_there[i]] = name_of(text->valuestring);
        }
    } else if (strcmp(type, "TemplateProcessing") == 0) {
        read_template(s, processor);
    }
}

static void read_post_processor(special *s)
{
    const cJSON *post = cJSON_GetObjectItemCaseSensitive(s->files->tokenizer, "post_processor");
    const cJSON *part, *parts = cJSON_GetObjectItemCaseSensitive(post, "processors");
    const bool config = s->files->config != NULL;
    if (config && !s->tokens[BOS].any && s->tokens[CLS].any)
        s->tokens[BOS] = s->tokens[CLS];
    if (config && !s->tokens[EOS].any && s->tokens[SEP].any)
        s->tokens[EOS] = s->tokens[SEP];
    if (!cJSON_IsObject(post))
        return;
    if (parts == NULL)
        read_processor(s, post);
    cJSON_ArrayForEach(part, parts)
        read_processor(s, part);
}

/* ---- ids ----------------------------------------------------------------------------------------------- */

static void read_names(special *s)
{
    for (int r = 0; r < ROLES; r++) {
        char key[32];
        snprintf(key, sizeof key, "%s_token", roles[r]);
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(s->files->config, key);
        if (cJSON_IsString(item))
            s->tokens[r] = name_of(item->valuestring);
        else if (cJSON_IsObject(item))
            s->tokens[r] = (named){.text = text_of(item, "content"), .any = true};
        s->wanted[r] = r < EOT;
    }
}

static int64_t added_id(const cJSON *tokenizer, const char *text)
{
    const cJSON *item, *added = cJSON_GetObjectItemCaseSensitive(tokenizer, "added_tokens");
    cJSON_ArrayForEach(item, added)
    {
        const char *content = text_of(item, "content");
        const cJSON *id = cJSON_GetObjectItemCaseSensitive(item, "id");
        if (content != NULL && strcmp(content, text) == 0)
            return cJSON_IsNumber(id) ? id->valueint : -1;
    }
    return -1;
}

/* The tokenizer's own first, in order of roles, then what config.json adds. */
static void put_ids(const special *s, vise_gguf_values *values)
{
    bool done[ROLES] = {false};
    char key[64];
    for (int from_config = 0; from_config < 2; from_config++)
        for (int r = 0; r < ROLES; r++) {
            int64_t id = -1;
            if (!s->wanted[r] || done[r] || role_keys[r] == NULL)
                continue;
            snprintf(key, sizeof key, "%s_token_id", roles[r]);
            const cJSON *stored = cJSON_GetObjectItemCaseSensitive(s->files->model, key);
            if (stored == NULL || cJSON_IsNull(stored))
                stored = cJSON_GetObjectItemCaseSensitive(s->files->text, key);
            if (from_config && cJSON_IsNumber(stored) && stored->valuedouble == (double)stored->valueint)
                id = stored->valueint;
            else if (!from_config && s->files->config != NULL && s->tokens[r].text != NULL)
                id = added_id(s->files->tokenizer, s->tokens[r].text);
            if (id < 0 || (s->files->n_vocab > 0 && id >= s->files->n_vocab))
                continue;
            snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", role_keys[r]);
            vise_gguf_put_u32(values, key, (uint32_t)id);
            done[r] = true;
        }
}

static void put_added(special *s, vise_gguf_values *values)
{
    char key[64];
    for (int r = 0; r < ROLES && s->files->config != NULL; r++) {
        snprintf(key, sizeof key, "add_%s_token", roles[r]);
        const cJSON *said = cJSON_GetObjectItemCaseSensitive(s->files->config, key);
        if (s->wanted[r] && cJSON_IsBool(said))
            set_add(&s->add, (role)r, cJSON_IsTrue(said), false);
    }
    for (size_t i = 0; i < s->add.n; i++) {
        const role r = s->add.order[i];
        if (r != BOS && r != EOS && r != SEP)
            continue;
        snprintf(key, sizeof key, "tokenizer.ggml.add_%s_token", roles[r]);
        vise_gguf_put_bool(values, key, s->add.value[r] && !(r == BOS && s->files->no_bos));
    }
}

/* ---- the chat template --------------------------------------------------------------------------------- */

/* Several templates: each by its name, a list of the names, and the one called "default" as the template. Returns
 * that, or NULL. */
static const char *put_templates(const cJSON *list, vise_gguf_values *values)
{
    const cJSON *item;
    const char *chosen = NULL;
    uint64_t n = 0;
    char names[16][64];
    cJSON_ArrayForEach(item, list)
    {
        const char *name = text_of(item, "name"), *text = text_of(item, "template");
        if (name == NULL || text == NULL || name[0] == '\0' || n == 16)
            continue;
        if (strcmp(name, "default") == 0) {
            chosen = text;
            continue;
        }
        char key[128], *clean = names[n++];
        snprintf(clean, sizeof names[0], "%s", name);
        for (char *c = clean; *c != '\0'; c++)
            if (!((*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z')))
                *c = '_';
        snprintf(key, sizeof key, "tokenizer.chat_template.%s", clean);
        vise_gguf_put_text(values, key, text);
    }
    if (n > 0)
        vise_gguf_put_array(values, "tokenizer.chat_templates", VISE_GGUF_KIND_TEXT, n, NULL);
    for (uint64_t i = 0; i < n; i++)
        vise_gguf_add_text(values, names[i], strlen(names[i]));
    return chosen;
}

/* Where newer tools put the template: a file of its own, whole or in JSON. */
static vise_status template_file(const char *folder, char **text, vise_error *err)
{
    char *path = NULL;
    cJSON *json = NULL;
    size_t length;
    vise_status status = VISE_OK;
    *text = NULL;
    VISE_TRY(vise_path_join(folder, "chat_template.jinja", &path, err));
    if (vise_path_exists(path)) {
        status = vise_file_read_all(path, FILE_MAX, text, &length, err);
        goto done;
    }
    vise_free(path);
    path = NULL;
    VISE_TRY_TO(done, vise_path_join(folder, "chat_template.json", &path, err));
    if (!vise_path_exists(path))
        goto done;
    VISE_TRY_TO(done, vise_json_load(path, FILE_MAX, &json, err));
    if (text_of(json, "chat_template") != NULL)
        status = vise_strdup(text_of(json, "chat_template"), text, err);
done:
    cJSON_Delete(json);
    vise_free(path);
    return status;
}

static vise_status put_template(const vise_gguf_special *files, vise_gguf_values *values, vise_error *err)
{
    const cJSON *said = cJSON_GetObjectItemCaseSensitive(files->config, "chat_template");
    char *file = NULL;
    if (files->config == NULL)
        return VISE_OK;
    if (said == NULL)
        VISE_TRY(template_file(files->folder, &file, err));
    const char *text = cJSON_IsArray(said)    ? put_templates(said, values)
                       : cJSON_IsString(said) ? said->valuestring
                                              : file;
    if (text != NULL)
        vise_gguf_put_text(values, "tokenizer.chat_template", text);
    vise_free(file);
    return VISE_OK;
}

/* ---- the normalizer ------------------------------------------------------------------------------------ */

typedef struct normalizing {
    const cJSON *lowercase, *strip_accents; /* a bool; NULL: not said */
    bool lower, strip;                      /* by a step of that name */
} normalizing;

static void read_normalizer(const cJSON *normalizer, int depth, normalizing *found)
{
    const cJSON *part, *parts = cJSON_GetObjectItemCaseSensitive(normalizer, "normalizers");
    const char *type = text_of(normalizer, "type");
    if (type == NULL || depth > 8)
        return;
    found->lower = found->lower || strcmp(type, "Lowercase") == 0;
    found->strip = found->strip || strcmp(type, "StripAccents") == 0;
    if (strcmp(type, "BertNormalizer") == 0) {
        found->lowercase = cJSON_GetObjectItemCaseSensitive(normalizer, "lowercase");
        found->strip_accents = cJSON_GetObjectItemCaseSensitive(normalizer, "strip_accents");
    }
    if (strcmp(type, "Sequence") == 0)
        cJSON_ArrayForEach(part, parts)
            read_normalizer(part, depth + 1, found);
}

static void put_normalizer(const vise_gguf_special *files, vise_gguf_values *values)
{
    normalizing found = {0};
    read_normalizer(cJSON_GetObjectItemCaseSensitive(files->tokenizer, "normalizer"), 0, &found);
    if (found.lower || cJSON_IsBool(found.lowercase))
        vise_gguf_put_bool(values, "tokenizer.ggml.normalizer.lowercase",
                           found.lower || cJSON_IsTrue(found.lowercase));
    if (found.strip || cJSON_IsBool(found.strip_accents))
        vise_gguf_put_bool(values, "tokenizer.ggml.normalizer.strip_accents",
                           found.strip || cJSON_IsTrue(found.strip_accents));
}

vise_status vise_gguf_put_special(const vise_gguf_special *files, vise_gguf_values *values, vise_error *err)
{
    special s = {.files = files};
    read_names(&s);
    if (files->tokenizer != NULL)
        read_post_processor(&s);
    put_ids(&s, values);
    put_added(&s, values);
    VISE_TRY(put_template(files, values, err));
    put_normalizer(files, values);
    if (files->no_bos && !s.add.known[BOS])
        vise_gguf_put_bool(values, "tokenizer.ggml.add_bos_token", false);
    return VISE_OK;
}
