#include "text/chat.h"

#include <stdlib.h>
#include <string.h>

#include "core/event.h"
#include "core/file.h"
#include "core/json.h"
#include "core/mem.h"
#include "text/jinja.h"

#define FILE_BYTES_MAX ((size_t)16 << 20)

struct vise_chat {
    vise_jinja *plain, *tools; /* the same, but where a folder has one for tools */
    cJSON *tokens;             /* bos_token and so on: texts */
};

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* A JSON file of the folder; *json is NULL when it is not there. */
static vise_status load(const char *folder, const char *file, char **path, cJSON **json, vise_error *err)
{
    VISE_TRY(vise_path_join(folder, file, path, err));
    if (vise_path_exists(*path))
        VISE_TRY(vise_json_load(*path, FILE_BYTES_MAX, json, err));
    if (*json != NULL && !cJSON_IsObject(*json))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: not a JSON object", *path);
    return VISE_OK;
}

/* Takes bos_token and the like from one file; a token is a text, or an object with "content". */
static vise_status read_tokens(vise_chat *chat, const cJSON *json, vise_error *err)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const cJSON *token = cJSON_GetObjectItemCaseSensitive(json, names[i]);
        if (cJSON_IsObject(token))
            token = cJSON_GetObjectItemCaseSensitive(token, "content");
        if (!cJSON_IsString(token) || cJSON_GetObjectItemCaseSensitive(chat->tokens, names[i]) != NULL)
            continue;
        if (cJSON_AddStringToObject(chat->tokens, names[i], token->valuestring) == NULL)
            return VISE_FAIL(err, VISE_ERESOURCE, "out of memory");
    }
    return VISE_OK;
}

/* "chat_template": a text, or a list of objects with "name" and "template". path opens errors. */
static vise_status read_template(vise_chat *chat, const char *path, const cJSON *json, vise_error *err)
{
    const cJSON *template = cJSON_GetObjectItemCaseSensitive(json, "chat_template"), *item;

    if (template == NULL || cJSON_IsNull(template))
        return VISE_OK;
    if (cJSON_IsString(template))
        return vise_jinja_parse(path, template->valuestring, strlen(template->valuestring), &chat->plain,
                                err);
    if (!cJSON_IsArray(template))
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: chat_template must be a text, or a list of names and templates", path);
    cJSON_ArrayForEach(item, template)
    {
        const char *name, *text;
        VISE_TRY(vise_json_text(path, item, "name", true, &name, err));
        VISE_TRY(vise_json_text(path, item, "template", true, &text, err));
        if (strcmp(name, "default") == 0 && chat->plain == NULL)
            VISE_TRY(vise_jinja_parse(path, text, strlen(text), &chat->plain, err));
        else if (strcmp(name, "tool_use") == 0 && chat->tools == NULL)
            VISE_TRY(vise_jinja_parse(path, text, strlen(text), &chat->tools, err));
    }
    return VISE_OK;
}

/* chat_template.jinja, which goes before the others. */
static vise_status read_file(vise_chat *chat, const char *folder, vise_error *err)
{
    char *path = NULL, *text = NULL;
    size_t length;
    vise_status status = VISE_OK;

    VISE_TRY(vise_path_join(folder, "chat_template.jinja", &path, err));
    if (vise_path_exists(path))
        status = vise_file_read_all(path, FILE_BYTES_MAX, &text, &length, err);
    if (status == VISE_OK && text != NULL)
        status = vise_jinja_parse(path, text, length, &chat->plain, err);
    vise_free(text);
    vise_free(path);
    return status;
}

static vise_status finish(const vise_chat *chat, const char *folder, vise_error *err)
{
    if (chat->plain == NULL)
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "%s has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json), "
            "so messages have no text. Put the template of the model's family there, or give lines with "
            "\"text\" or \"input_ids\"",
            folder);
    if (vise_jinja_uses_date(chat->plain) && getenv("SOURCE_DATE_EPOCH") == NULL)
        vise_warn("%s: the chat template writes today's date; set SOURCE_DATE_EPOCH for one that stays",
                  folder);
    return VISE_OK;
}

static vise_status read_folder(vise_chat *chat, const char *folder, vise_error *err)
{
    static const struct {
        const char *file;
        bool tokens, template;
    } files[] = {{"tokenizer_config.json", true, true},
                 {"special_tokens_map.json", true, false},
                 {"chat_template.json", false, true}};

    VISE_TRY(read_file(chat, folder, err));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = NULL;
        cJSON *json = NULL;
        vise_status status = load(folder, files[i].file, &path, &json, err);
        if (status == VISE_OK && json != NULL && files[i].tokens)
            status = read_tokens(chat, json, err);
        if (status == VISE_OK && json != NULL && files[i].template && chat->plain == NULL)
            status = read_template(chat, path, json, err);
        cJSON_Delete(json);
        vise_free(path);
        VISE_TRY(status);
    }
    return finish(chat, folder, err);
}

/* The same of what a tokenizer_config.json says. */
static vise_status read_config(vise_chat *chat, const char *name, const char *text, vise_error *err)
{
    cJSON *json = NULL;

    VISE_TRY(vise_json_parse(name, text, strlen(text), &json, err));
    vise_status status = read_tokens(chat, json, err);
    if (status == VISE_OK)
        status = read_template(chat, name, json, err);
    cJSON_Delete(json);
    return status == VISE_OK ? finish(chat, name, err) : status;
}

/* config NULL: `place` is a folder; else a name for it. */
static vise_status open_chat(const char *place, const char *config, vise_chat **out, vise_error *err)
{
    vise_chat *chat;
    vise_status status;

    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof *chat, (void **)&chat, err));
    chat->tokens = cJSON_CreateObject();
    if (chat->tokens == NULL)
        status = VISE_FAIL(err, VISE_ERESOURCE, "out of memory");
    else
        status = config != NULL ? read_config(chat, place, config, err) : read_folder(chat, place, err);
    if (status != VISE_OK) {
        vise_chat_close(chat);
        return status;
    }
    *out = chat;
    return VISE_OK;
}

vise_status vise_chat_open(const char *folder, vise_chat **out, vise_error *err)
{
    return open_chat(folder, NULL, out, err);
}

vise_status vise_chat_open_config(const char *name, const char *config, vise_chat **out, vise_error *err)
{
    return open_chat(name, config, out, err);
}

void vise_chat_close(vise_chat *chat)
{
    if (chat == NULL)
        return;
    vise_jinja_free(chat->plain);
    vise_jinja_free(chat->tools);
    cJSON_Delete(chat->tokens);
    vise_free(chat);
}

/* ---- a conversation --------------------------------------------------------------------------------------------- */

/* A message without its members that are null, as transformers has it, and with its reasoning under the names that
 * templates read. */
static bool tidy_message(cJSON *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    const cJSON *reasoning = NULL;

    for (cJSON *item = message->child, *next; item != NULL; item = next) {
        next = item->next;
        if (cJSON_IsNull(item))
            cJSON_Delete(cJSON_DetachItemViaPointer(message, item));
    }
    for (size_t i = 0; i < 3 && reasoning == NULL; i++)
        reasoning = cJSON_GetObjectItemCaseSensitive(message, names[i]);
    for (size_t i = 0; i < 2 && reasoning != NULL; i++) {
        if (cJSON_GetObjectItemCaseSensitive(message, names[i]) != NULL)
            continue;
        cJSON *copy = cJSON_Duplicate(reasoning, true);
        if (copy == NULL || !cJSON_AddItemToObject(message, names[i], copy)) {
            cJSON_Delete(copy);
            return false;
        }
    }
    return true;
}

/* Adds a copy of item under a name, in place of one that is there. */
static bool put(cJSON *context, const char *name, const cJSON *item)
{
    cJSON *copy = item != NULL ? cJSON_Duplicate(item, true) : cJSON_CreateNull();

    cJSON_DeleteItemFromObjectCaseSensitive(context, name);
    if (copy == NULL || !cJSON_AddItemToObject(context, name, copy)) {
        cJSON_Delete(copy);
        return false;
    }
    return true;
}

static bool fill_context(const vise_chat *chat, const cJSON *line, cJSON *context)
{
    const cJSON *more = cJSON_GetObjectItemCaseSensitive(line, "chat_template_kwargs"), *item;
    bool good = true;

    cJSON_ArrayForEach(item, chat->tokens) good = good && put(context, item->string, item);
    good = good && put(context, "messages", cJSON_GetObjectItemCaseSensitive(line, "messages"));
    good = good && put(context, "tools", cJSON_GetObjectItemCaseSensitive(line, "tools"));
    good = good && put(context, "documents", cJSON_GetObjectItemCaseSensitive(line, "documents"));
    good = good && cJSON_AddFalseToObject(context, "add_generation_prompt") != NULL;
    cJSON_ArrayForEach(item, more) good = good && put(context, item->string, item);
    for (cJSON *message = cJSON_GetObjectItemCaseSensitive(context, "messages")->child;
         good && message != NULL; message = message->next)
        good = tidy_message(message);
    return good;
}

static vise_status check_line(const char *name, const cJSON *line, vise_error *err)
{
    const cJSON *messages = cJSON_GetObjectItemCaseSensitive(line, "messages"), *message;
    const cJSON *more = cJSON_GetObjectItemCaseSensitive(line, "chat_template_kwargs");

    if (more != NULL && !cJSON_IsNull(more) &&
        (!cJSON_IsObject(more) || cJSON_GetObjectItemCaseSensitive(more, "messages") != NULL))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: chat_template_kwargs must be an object without \"messages\"",
                         name);
    if (!cJSON_IsArray(messages) || messages->child == NULL)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: messages must be a list of at least one message", name);
    cJSON_ArrayForEach(message, messages)
    {
        if (!cJSON_IsObject(message))
            return VISE_FAIL(err, VISE_EFORMAT,
                             "%s: a message must be an object with \"role\" and \"content\"", name);
    }
    return VISE_OK;
}

vise_status vise_chat_render(vise_chat *chat, const char *name, const cJSON *line, vise_buf *out,
                             vise_error *err)
{
    const cJSON *tools = cJSON_GetObjectItemCaseSensitive(line, "tools");
    bool with_tools = tools != NULL && !cJSON_IsNull(tools) && chat->tools != NULL;
    vise_error inner = {0};
    cJSON *context;
    vise_status status;

    VISE_TRY(check_line(name, line, err));
    context = cJSON_CreateObject();
    if (context == NULL || !fill_context(chat, line, context))
        status = VISE_FAIL(&inner, VISE_ERESOURCE, "out of memory");
    else
        status = vise_jinja_render(with_tools ? chat->tools : chat->plain, context, out, &inner);
    if (status == VISE_OK)
        status = vise_buf_check(out, name, &inner);
    if (status != VISE_OK)
        status = VISE_FAIL(err, status, "%s: %s%s", name, inner.message,
                           status == VISE_EUNSUPPORTED ? VISE_JINJA_REMEDY : "");
    cJSON_Delete(context);
    return status;
}
