/* sentencepiece's unigrams, as XLM-RoBERTa has them ("t5" to llama.cpp): from sentencepiece.bpe.model, whose ids
 * fairseq moved, or from tokenizer.json, where they are as the model has them. */
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "formats/gguf_meta.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5 };

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

/* A token that is named by its text, or by an object that holds it. */
static const char *token_of(const cJSON *item)
{
    return cJSON_IsString(item) ? item->valuestring : text_of(item, "content");
}

/* ---- the normalizer ------------------------------------------------------------------------------------ */

static int digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* Base64 with padding, as RFC 4648 has it; *n bytes of the arena. */
static vise_status decode(const char *path, const char *text, vise_arena *arena, const char **bytes, size_t *n,
                          vise_error *err)
{
    const size_t length = strlen(text);
    void *block;
    *n = 0;
    VISE_TRY(vise_arena_take(arena, length / 4 * 3 + 1, &block, err));
    char *out = block;
    bool good = length % 4 == 0;
    for (size_t i = 0; good && i < length; i += 4) {
        const bool last = i + 4 == length;
        const int pad = !last || text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            const int digit = (int)k >= 4 - pad ? 0 : digit_of(text[i + k]);
            good = good && digit >= 0;
            bits = bits << 6 | (uint32_t)(digit & 63);
        }
        for (int k = 0; k < 3 - pad; k++)
            out[(*n)++] = (char)(bits >> (16 - 8 * k) & 255);
    }
    *bytes = out;
    if (!good)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: precompiled_charsmap is not base64", path);
    return VISE_OK;
}

/* The precompiled map of a normalizer, alone or in a sequence; NULL: none. */
static const char *map_of(const cJSON *normalizer)
{
    const char *map = text_of(normalizer, "precompiled_charsmap");
    const cJSON *part, *parts = cJSON_GetObjectItemCaseSensitive(normalizer, "normalizers");
    cJSON_ArrayForEach(part, parts)
        map = map != NULL ? map : text_of(part, "precompiled_charsmap");
    return map;
}

/* ---- tokens -------------------------------------------------------------------------------------------- */

/* fairseq's ids: its own four in front, what sentencepiece has behind its first three one further, holes as well. */
static vise_status realign(const vise_gguf_tokenizer *facts, vise_arena *arena, vise_gguf_piece *pieces, size_t n,
                           vise_error *err)
{
    static const vise_gguf_piece first[] = {
        {"<s>", 3, 0.0f, CONTROL}, {"<pad>", 5, 0.0f, CONTROL}, {"</s>", 4, 0.0f, CONTROL},
        {"<unk>", 5, 0.0f, UNKNOWN}};
    for (size_t i = 0; i < n; i++)
        if (i < 4) {
            pieces[i] = first[i];
        } else if (i - 1 < facts->n_pieces) {
            pieces[i] = facts->pieces[i - 1];
            if (pieces[i].type == USER_DEFINED) /* a plain one to the converter */
                pieces[i].type = NORMAL;
        } else {
            const char *hole;
            VISE_TRY(vise_arena_strfmt(arena, &hole, err, "[PAD%zu]", i - 1));
            pieces[i] = (vise_gguf_piece){hole, strlen(hole), -10000.0f, UNUSED};
        }
    return VISE_OK;
}

/* Does a role of tokenizer_config.json, or one of XLM-RoBERTa's own where that is the class, name this token? */
static bool is_special(const cJSON *config, bool usual, const char *text)
{
    static const struct {
        const char *key, *usual;
    } roles[] = {{"bos_token", "<s>"},   {"eos_token", "</s>"},  {"unk_token", "<unk>"}, {"sep_token", "</s>"},
                 {"pad_token", "<pad>"}, {"cls_token", "<s>"}, {"mask_token", "<mask>"}};
    static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t r = 0; r < sizeof roles / sizeof *roles; r++) {
        const char *said = token_of(cJSON_GetObjectItemCaseSensitive(config, roles[r].key));
        said = said == NULL && usual ? roles[r].usual : said;
        if (said != NULL && strcmp(said, text) == 0)
            return true;
    }
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        const cJSON *item, *list = cJSON_GetObjectItemCaseSensitive(config, lists[l]);
        cJSON_ArrayForEach(item, list)
            if (token_of(item) != NULL && strcmp(token_of(item), text) == 0)
                return true;
    }
    return false;
}

static vise_status read_vocab(const vise_gguf_unigram *files, bool usual, vise_gguf_piece *pieces, size_t n,
                              vise_error *err)
{
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(files->tokenizer, "model");
    const cJSON *item, *added = cJSON_GetObjectItemCaseSensitive(files->tokenizer, "added_tokens");
    const char *unknown = token_of(cJSON_GetObjectItemCaseSensitive(files->config, "unk_token"));
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(model, "unk_id");
    double unknown_id = cJSON_IsNumber(id) ? id->valuedouble : 3.0;
    size_t i = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(model, "vocab"))
    {
        const cJSON *text = cJSON_GetArrayItem(item, 0), *score = cJSON_GetArrayItem(item, 1);
        if (!cJSON_IsString(text) || !cJSON_IsNumber(score))
            return VISE_FAIL(err, VISE_EFORMAT, "%s: token %zu is no text with a score", files->path, i);
        const char *own = text->valuestring;
        pieces[i++] = (vise_gguf_piece){own, strlen(own), (float)score->valuedouble, NORMAL};
    }
    cJSON_ArrayForEach(item, added)
    {
        const char *text = text_of(item, "content");
        id = cJSON_GetObjectItemCaseSensitive(item, "id");
        if (text == NULL || !cJSON_IsNumber(id))
            continue;
        if (unknown != NULL && strcmp(text, unknown) == 0)
            unknown_id = id->valuedouble;
        if (id->valuedouble < 0.0 || id->valuedouble >= (double)i) /* no score, and no place behind the vocabulary */
            continue;
        vise_gguf_piece *piece = &pieces[(size_t)id->valuedouble];
        *piece = (vise_gguf_piece){text, strlen(text), piece->score, USER_DEFINED};
    }
    for (size_t k = 0; k < i && k < n; k++)
        if ((double)k == unknown_id)
            pieces[k].type = UNKNOWN;
        else if (is_special(files->config, usual, pieces[k].text))
            pieces[k].type = CONTROL;
    return VISE_OK;
}

bool vise_gguf_is_unigram(const vise_gguf_unigram *files)
{
    const char *type = text_of(cJSON_GetObjectItemCaseSensitive(files->tokenizer, "model"), "type");
    return files->facts->unigram || (type != NULL && strcmp(type, "Unigram") == 0);
}

vise_status vise_gguf_put_unigram(const vise_gguf_unigram *files, vise_arena *arena, size_t *n,
                                  vise_gguf_values *values, vise_error *err)
{
    const vise_gguf_tokenizer *facts = files->facts;
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(files->tokenizer, "model");
    const int listed = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(model, "vocab"));
    const cJSON *space = cJSON_GetObjectItemCaseSensitive(files->config, "add_prefix_space");
    const cJSON *clean = cJSON_GetObjectItemCaseSensitive(files->config, "clean_up_tokenization_spaces");
    const char *class_name = text_of(files->config, "tokenizer_class"), *map = facts->charsmap;
    const bool own = class_name == NULL || strncmp(class_name, "XLMRoberta", 10) == 0;
    bool front = facts->space_prefix, clean_up = facts->one_space;
    size_t map_bytes = facts->charsmap_bytes;
    void *block;
    *n = facts->unigram ? facts->n_pieces : (size_t)listed;
    *n = *n < files->vocab ? files->vocab : *n;
    if (*n == 0 || *n > 1 << 24)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: a vocabulary has 1 to 2^24 tokens, not %zu", files->path, *n);
    VISE_TRY(vise_arena_take(arena, *n * sizeof(vise_gguf_piece), &block, err));
    vise_gguf_piece *pieces = memset(block, 0, *n * sizeof(vise_gguf_piece));
    if (facts->unigram) {
        VISE_TRY(realign(facts, arena, pieces, *n, err));
    } else {
        const char *text = map_of(cJSON_GetObjectItemCaseSensitive(files->tokenizer, "normalizer"));
        VISE_TRY(read_vocab(files, own, pieces, *n, err));
        VISE_TRY(decode(files->path, text != NULL ? text : "", arena, &map, &map_bytes, err));
        front = cJSON_IsBool(space) ? cJSON_IsTrue(space) : own;
        clean_up = cJSON_IsTrue(clean);
    }
    vise_gguf_put_text(values, "tokenizer.ggml.model", "t5");
    vise_gguf_put_text(values, "tokenizer.ggml.pre", "default");
    VISE_TRY(vise_gguf_put_pieces(pieces, *n, true, values, err));
    vise_gguf_put_bool(values, "tokenizer.ggml.add_space_prefix", front);
    vise_gguf_put_u32(values, "tokenizer.ggml.token_type_count", files->types);
    vise_gguf_put_bool(values, "tokenizer.ggml.remove_extra_whitespaces", clean_up);
    if (map_bytes > 0)
        vise_gguf_put_array(values, "tokenizer.ggml.precompiled_charsmap", VISE_GGUF_KIND_U8, map_bytes, map);
    return VISE_OK;
}
