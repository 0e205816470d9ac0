/* Conversations: lists of messages, through the chat template of a model's folder, to the text that the model was
 * trained on; its tokens are those of transformers' apply_chat_template. The template is that of chat_template.jinja,
 * else tokenizer_config.json's chat_template (of several "default", with tools "tool_use"), else chat_template.json's;
 * bos_token and the others come from tokenizer_config.json, else special_tokens_map.json. */
#ifndef VISE_TEXT_CHAT_H
#define VISE_TEXT_CHAT_H

#include <cjson/cJSON.h>

#include "core/buf.h"
#include "core/err.h"

typedef struct vise_chat vise_chat;

#define VISE_CHAT_BYTES_MAX ((size_t)64 << 20) /* enough for the text of one conversation */

/* VISE_EUSAGE, saying what to do, for a folder without a chat template; VISE_EUNSUPPORTED for a template that asks
 * for what is not held (text/jinja.h). */
VISE_MUST_USE vise_status vise_chat_open(const char *folder, vise_chat **out, vise_error *err);
/* The same from the text of a tokenizer_config.json; name opens errors. */
VISE_MUST_USE vise_status vise_chat_open_config(const char *name, const char *config, vise_chat **out,
                                                vise_error *err);
void vise_chat_close(vise_chat *chat);

/* Appends the text of one line of a .jsonl: an object with "messages", and perhaps "tools", "documents" and
 * "chat_template_kwargs", whose members the template sees by their names. name (file and line) opens errors. */
VISE_MUST_USE vise_status vise_chat_render(vise_chat *chat, const char *name, const cJSON *line,
                                           vise_buf *out, vise_error *err);

#endif
