/* The tokenizer's part of GGUF metadata, from tokenizer.json and tokenizer_config.json: which kind it is,
 * tokens with scores and types, merges, special tokens, the chat template; in the order of llama.cpp's
 * converter.
 *
 *   "llama"   BPE with byte fallback (sentencepiece's): scores and types, no merges. Scores of a tokenizer.json are all
 *             -1000, as the converter gives them
 *   "gpt2"    BPE over bytes: types and merges; `pre` names the regular expression that cuts words
 *   "none"    anything else: the model loads, its user brings token ids */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "core/file.h"
#include "core/json.h"
#include "formats/gguf_meta.h"

#define FILE_MAX ((size_t)256 << 20)

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

typedef struct token {
    const char *text; /* NULL: a hole among the ids */
    int32_t type;
} token;

typedef struct vocab {
    cJSON *tokenizer, *config; /* config may be NULL */
    const cJSON *model;
    token *tokens;
    size_t n;
} vocab;

static bool is_true(const cJSON *object, const char *key)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

/* ---- kinds --------------------------------------------------------------------------------------------- */

/* The first pre-tokenizer of the type, alone or in a sequence. */
static const cJSON *find_pre(const cJSON *pre, const char *type)
{
    const char *own = text_of(pre, "type");
    if (own != NULL && strcmp(own, type) == 0)
        return pre;
    const cJSON *part, *list = cJSON_GetObjectItemCaseSensitive(pre, "pretokenizers");
    cJSON_ArrayForEach(part, list)
    {
        own = text_of(part, "type");
        if (own != NULL && strcmp(own, type) == 0)
            return part;
    }
    return NULL;
}

/* Regular expressions by the names that llama.cpp gives them. */
static const struct {
    const char *regex, *name;
} expressions[] = {
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
     "\\s+(?!\\S)|\\s+",
     "llama-bpe"},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
     "\\s+(?!\\S)|\\s+",
     "qwen2"},
};

static const char *pre_name(const cJSON *pre)
{
    const cJSON *split = find_pre(pre, "Split"), *bytes = find_pre(pre, "ByteLevel");
    if (split == NULL)
        return is_true(bytes, "use_regex") || cJSON_GetObjectItemCaseSensitive(bytes, "use_regex") == NULL
                   ? "gpt-2"
                   : NULL;
    const char *regex = text_of(cJSON_GetObjectItemCaseSensitive(split, "pattern"), "Regex");
    for (size_t i = 0; regex != NULL && i < sizeof expressions / sizeof *expressions; i++)
        if (strcmp(regex, expressions[i].regex) == 0)
            return expressions[i].name;
    return NULL;
}

/* ---- tokens -------------------------------------------------------------------------------------------- */

static bool is_byte(const char *text)
{
    unsigned value;
    int length = 0;
    return sscanf(text, "<0x%2X>%n", &value, &length) == 1 && length == 6 && text[6] == '\0';
}

/* The id of an added token; -1: none has the text. */
static int64_t added_id(const vocab *v, const char *text)
{
    const cJSON *item, *added = cJSON_GetObjectItemCaseSensitive(v->tokenizer, "added_tokens");
    cJSON_ArrayForEach(item, added)
    {
        const char *content = text_of(item, "content");
        const cJSON *id = cJSON_GetObjectItemCaseSensitive(item, "id");
        if (content != NULL && strcmp(content, text) == 0 && cJSON_IsNumber(id))
            return id->valueint;
    }
    return -1;
}

/* "bos_token" of tokenizer_config.json: a text or an object with its content. */
static const char *named_token(const vocab *v, const char *role)
{
    char key[32];
    snprintf(key, sizeof key, "%s_token", role);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(v->config, key);
    return cJSON_IsString(item) ? item->valuestring : cJSON_IsObject(item) ? text_of(item, "content") : NULL;
}

static const char *const roles[] = {"bos", "eos", "unk", "sep", "pad", "cls", "mask"};
static const char *const role_keys[] = {"bos", "eos", "unknown", "seperator", "padding", "cls", "mask"};
enum { ROLES = sizeof roles / sizeof *roles };

static vise_status place(vocab *v, const char *path, const cJSON *id, const char *text, int32_t type,
                         vise_error *err)
{
    if (text == NULL || !cJSON_IsNumber(id) || id->valuedouble < 0 ||
        id->valuedouble != (double)id->valueint || id->valueint >= 1 << 24)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: a token has no text, or no id from 0 to 2^24", path);
    const size_t at = (size_t)id->valueint;
    if (at < v->n) /* ids beyond config.json's vocab_size have no row in the embedding */
        v->tokens[at] = (token){text, type};
    return VISE_OK;
}

static vise_status read_tokens(vocab *v, const char *path, bool fallback, vise_error *err)
{
    const cJSON *item, *table = cJSON_GetObjectItemCaseSensitive(v->model, "vocab");
    cJSON_ArrayForEach(item, table)
        VISE_TRY(place(v, path, item, item->string, fallback && is_byte(item->string) ? BYTE : NORMAL, err));
    const cJSON *added = cJSON_GetObjectItemCaseSensitive(v->tokenizer, "added_tokens");
    cJSON_ArrayForEach(item, added)
    {
        const char *text = text_of(item, "content");
        const bool in_vocab =
            fallback && text != NULL && cJSON_GetObjectItemCaseSensitive(table, text) != NULL;
        if (!in_vocab)
            VISE_TRY(place(v, path, cJSON_GetObjectItemCaseSensitive(item, "id"), text,
                           is_true(item, "special") ? CONTROL : USER_DEFINED, err));
    }
    for (size_t r = 0; fallback && r < ROLES; r++) {
        const char *text = named_token(v, roles[r]);
        const int64_t id = text != NULL ? added_id(v, text) : -1;
        if (id >= 0 && (size_t)id < v->n)
            v->tokens[id].type = CONTROL;
    }
    return VISE_OK;
}

static vise_status put_tokens(const vocab *v, bool scores, vise_gguf_values *values, vise_error *err)
{
    void *types_block, *scores_block;
    VISE_TRY(vise_calloc(v->n, sizeof(int32_t), &types_block, err));
    vise_status status = vise_calloc(v->n, sizeof(float), &scores_block, err);
    if (status != VISE_OK) {
        vise_free(types_block);
        return status;
    }
    int32_t *types = types_block;
    float *levels = scores_block;
    vise_gguf_put_array(values, "tokenizer.ggml.tokens", VISE_GGUF_KIND_TEXT, v->n, NULL);
    for (size_t i = 0; i < v->n; i++) {
        char hole[32];
        snprintf(hole, sizeof hole, "[PAD%zu]", i);
        const char *text = v->tokens[i].text ? v->tokens[i].text : hole;
        vise_gguf_add_text(values, text, strlen(text));
        types[i] = v->tokens[i].text ? v->tokens[i].type : UNUSED;
        levels[i] = v->tokens[i].text ? -1000.0f : -10000.0f;
    }
    if (scores)
        vise_gguf_put_array(values, "tokenizer.ggml.scores", VISE_GGUF_KIND_F32, v->n, levels);
    vise_gguf_put_array(values, "tokenizer.ggml.token_type", VISE_GGUF_KIND_I32, v->n, types);
    vise_free(scores_block);
    vise_free(types_block);
    return VISE_OK;
}

static vise_status put_merges(const vocab *v, const char *path, vise_gguf_values *values, vise_error *err)
{
    const cJSON *item, *merges = cJSON_GetObjectItemCaseSensitive(v->model, "merges");
    vise_buf pair;
    vise_status status = VISE_OK;
    vise_buf_init(&pair, 1 << 20);
    vise_gguf_put_array(values, "tokenizer.ggml.merges", VISE_GGUF_KIND_TEXT,
                        (uint64_t)cJSON_GetArraySize(merges), NULL);
    cJSON_ArrayForEach(item, merges)
    {
        const cJSON *left = cJSON_GetArrayItem(item, 0), *right = cJSON_GetArrayItem(item, 1);
        vise_buf_clear(&pair);
        if (cJSON_IsString(item))
            vise_buf_add_text(&pair, item->valuestring);
        else if (cJSON_IsString(left) && cJSON_IsString(right))
            vise_buf_addf(&pair, "%s %s", left->valuestring, right->valuestring);
        else
            VISE_TRY_TO(done, VISE_FAIL(err, VISE_EFORMAT, "%s: a merge is no pair of texts", path));
        VISE_TRY_TO(done, vise_buf_check(&pair, path, err));
        vise_gguf_add_text(values, pair.data, pair.length);
    }
done:
    vise_buf_deinit(&pair);
    return status;
}

/* ---- special tokens ------------------------------------------------------------------------------------ */

static void put_special(const vocab *v, const cJSON *model_config, vise_gguf_values *values)
{
    char key[64];
    for (int from_config = 0; from_config < 2; from_config++)
        for (size_t r = 0; r < ROLES; r++) {
            const char *text = named_token(v, roles[r]);
            const int64_t by_text = text != NULL ? added_id(v, text) : -1;
            snprintf(key, sizeof key, "%s_token_id", roles[r]);
            const cJSON *id = cJSON_GetObjectItemCaseSensitive(model_config, key);
            snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", role_keys[r]);
            if (!from_config && by_text >= 0)
                vise_gguf_put_u32(values, key, (uint32_t)by_text);
            if (from_config && by_text < 0 && cJSON_IsNumber(id) && id->valueint >= 0)
                vise_gguf_put_u32(values, key, (uint32_t)id->valueint);
        }
}

/* What the post-processor's template puts first and last; tokenizer_config.json has the last word. */
static void put_added(const vocab *v, vise_gguf_values *values)
{
    const cJSON *post = cJSON_GetObjectItemCaseSensitive(v->tokenizer, "post_processor");
    const cJSON *part, *parts = cJSON_GetObjectItemCaseSensitive(post, "processors");
    cJSON_ArrayForEach(part, parts) if (text_of(part, "type") != NULL &&
                                        strcmp(text_of(part, "type"), "TemplateProcessing") == 0) post = part;
    const cJSON *single = cJSON_GetObjectItemCaseSensitive(post, "single");
    const int n = cJSON_GetArraySize(single);
    const bool ends[2] = {
        n > 1 && cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(single, 0), "SpecialToken") != NULL,
        n > 1 && cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(single, n - 1), "SpecialToken") != NULL,
    };
    for (int r = 0; r < 2; r++) {
        char key[48];
        snprintf(key, sizeof key, "add_%s_token", roles[r]);
        const cJSON *said = cJSON_GetObjectItemCaseSensitive(v->config, key);
        snprintf(key, sizeof key, "tokenizer.ggml.add_%s_token", roles[r]);
        if (cJSON_IsBool(said) || ends[r])
            vise_gguf_put_bool(values, key, cJSON_IsBool(said) ? cJSON_IsTrue(said) : true);
    }
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static vise_status describe(vocab *v, const char *path, const cJSON *model_config, vise_gguf_values *values,
                            vise_error *err)
{
    const cJSON *pre = cJSON_GetObjectItemCaseSensitive(v->tokenizer, "pre_tokenizer");
    const char *type = text_of(v->model, "type");
    const bool bpe = type != NULL && strcmp(type, "BPE") == 0,
               fallback = bpe && is_true(v->model, "byte_fallback");
    const char *kind = fallback ? "llama" : bpe && find_pre(pre, "ByteLevel") != NULL ? "gpt2" : "none";
    vise_gguf_put_text(values, "tokenizer.ggml.model", kind);
    if (strcmp(kind, "none") == 0) {
        vise_warn("%s: GGUF has no name for such a tokenizer; the vocabulary is left out", path);
        return VISE_OK;
    }
    const char *name = fallback ? "default" : pre_name(pre);
    if (name == NULL)
        vise_warn("%s: llama.cpp has no name for its regular expression that is known here; it will cut "
                  "words by its "
                  "default, and ids may differ",
                  path);
    vise_gguf_put_text(values, "tokenizer.ggml.pre", name != NULL ? name : "default");
    VISE_TRY(read_tokens(v, path, fallback, err));
    VISE_TRY(put_tokens(v, fallback, values, err));
    if (!fallback)
        VISE_TRY(put_merges(v, path, values, err));
    put_special(v, model_config, values);
    put_added(v, values);
    const char *template = text_of(v->config, "chat_template");
    if (template != NULL)
        vise_gguf_put_text(values, "tokenizer.chat_template", template);
    return VISE_OK;
}

vise_status vise_gguf_describe_vocab(const vise_source *source, vise_gguf_values *values, vise_error *err)
{
    vise_status status = VISE_OK;
    vocab v = {0};
    char *path = NULL, *config_path = NULL;
    const cJSON *model_config = vise_source_config(source);
    int64_t n = 0;
    void *block;
    VISE_TRY_TO(done, vise_path_join(vise_source_path(source), "tokenizer.json", &path, err));
    if (!vise_path_exists(path)) {
        vise_warn("%s: is not there; the GGUF file gets no vocabulary", path);
        vise_gguf_put_text(values, "tokenizer.ggml.model", "none");
        goto done;
    }
    VISE_TRY_TO(done, vise_json_load(path, FILE_MAX, &v.tokenizer, err));
    VISE_TRY_TO(done, vise_path_join(vise_source_path(source), "tokenizer_config.json", &config_path, err));
    if (vise_path_exists(config_path))
        VISE_TRY_TO(done, vise_json_load(config_path, FILE_MAX, &v.config, err));
    v.model = cJSON_GetObjectItemCaseSensitive(v.tokenizer, "model");
    VISE_TRY_TO(done, vise_json_int(vise_source_config_path(source), model_config, "vocab_size", true, 1,
                                    1 << 24, &n, err));
    VISE_TRY_TO(done, vise_calloc((size_t)n, sizeof *v.tokens, &block, err));
    v.tokens = block;
    v.n = (size_t)n;
    VISE_TRY_TO(done, describe(&v, path, model_config, values, err));
done:
    vise_free(v.tokens);
    cJSON_Delete(v.config);
    cJSON_Delete(v.tokenizer);
    vise_free(config_path);
    vise_free(path);
    return status;
}
