/* The tokenizer's part of GGUF metadata, from the folder's tokenizer files: which kind it is, tokens with scores and
 * types, merges; in the order of llama.cpp's converter. gguf_special.c does what follows them.
 *
 *   "llama"   sentencepiece's BPE: scores and types, no merges. From tokenizer.model; or from a tokenizer.json with
 *             byte fallback, whose scores are all -1000, as the converter gives them
 *   "gpt2"    BPE over bytes: types and merges; `pre` names the regular expression that cuts words
 *   "t5"      sentencepiece's unigrams (gguf_unigram.c)
 *   "bert"    WordPiece: "##ing" becomes "ing", what begins a word gets a mark in front
 *   "none"    anything else: the model loads, its user brings token ids */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/event.h"
#include "core/file.h"
#include "core/json.h"
#include "formats/gguf_meta.h"
#include "formats/names.h"

#define FILE_MAX   ((size_t)256 << 20)
#define SPACE_MARK "\xE2\x96\x81" /* U+2581 */
#define SPACE_BYTE "\xC4\xA0"     /* U+0120, a space where tokens are spelled in bytes */

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

typedef vise_gguf_piece token; /* text NULL: a hole among the ids */

typedef struct vocab {
    const vise_source *source;
    const vise_gguf_family *family;
    const vise_gguf_facts *facts;
    cJSON *tokenizer, *config, *added; /* tokenizer.json, tokenizer_config.json, added_tokens.json; NULL: none */
    cJSON *words;                      /* vocab.json; NULL: none */
    char *lines, *merges;              /* vocab.txt, merges.txt; NULL: none */
    const cJSON *model;                /* of tokenizer.json */
    char *path;                        /* of the file that the tokens come from, for messages */
    token *tokens;
    size_t n;
    vise_gguf_values *values;
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

/* Where the test text tells nothing: the regular expression may be one that is known. */
static const char *pre_by_expression(const cJSON *pre)
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

static void put_pre(const vocab *v)
{
    const char *name = vise_gguf_pre_name(v->facts->tokenizer.ids_sha256);
    if (name == NULL && v->tokenizer != NULL)
        name = pre_by_expression(cJSON_GetObjectItemCaseSensitive(v->tokenizer, "pre_tokenizer"));
    if (name == NULL)
        vise_warn("%s: llama.cpp has no name for its way to cut words that is known here; it will cut them by its "
                  "default, and ids may differ",
                  v->path);
    vise_gguf_put_text(v->values, "tokenizer.ggml.pre", name != NULL ? name : "default");
}

/* ---- tokens -------------------------------------------------------------------------------------------- */

static bool is_byte(const char *text)
{
    unsigned value;
    int length = 0;
    return sscanf(text, "<0x%2X>%n", &value, &length) == 1 && length == 6 && text[6] == '\0';
}

/* Tokens that models use for control without saying so. */
static bool looks_special(const char *text)
{
    return strcmp(text, "<pad>") == 0 || strcmp(text, "<mask>") == 0 || strcmp(text, "<2mass>") == 0 ||
           strcmp(text, "[@BOS@]") == 0 || (vise_starts_with(text, "<|") && vise_ends_with(text, "|>")) ||
           (vise_starts_with(text, "<\xEF\xBD\x9C") && vise_ends_with(text, "\xEF\xBD\x9C>")) ||
           (vise_starts_with(text, "<unused") && vise_ends_with(text, ">"));
}

static token *at_id(vocab *v, const cJSON *id)
{
    const bool fits = cJSON_IsNumber(id) && id->valuedouble >= 0 && id->valuedouble < (double)v->n;
    return fits ? &v->tokens[(size_t)id->valuedouble] : NULL; /* ids beyond have no row in the embedding */
}

static void place(vocab *v, const cJSON *id, const char *text, int32_t type)
{
    token *t = at_id(v, id);
    if (t != NULL && text != NULL)
        *t = (token){text, strlen(text), -1000.0f, type};
}

static token *find_text(vocab *v, const char *text)
{
    const size_t length = strlen(text);
    for (size_t i = 0; i < v->n; i++)
        if (v->tokens[i].length == length && v->tokens[i].text != NULL && memcmp(v->tokens[i].text, text, length) == 0)
            return &v->tokens[i];
    return NULL;
}

/* Tokens that a role of tokenizer_config.json names are for control, listed as added or not. */
static void mark_roles(vocab *v, const char *const *defaults, bool if_listed)
{
    static const char *const roles[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    const cJSON *item, *added = cJSON_GetObjectItemCaseSensitive(v->tokenizer, "added_tokens");
    for (size_t r = 0; r < sizeof roles / sizeof *roles; r++) {
        const cJSON *said = cJSON_GetObjectItemCaseSensitive(v->config, roles[r]);
        const char *text = cJSON_IsString(said) ? said->valuestring : text_of(said, "content");
        bool listed = !if_listed;
        if (text == NULL && defaults != NULL)
            text = defaults[r];
        cJSON_ArrayForEach(item, added)
        {
            const char *content = text_of(item, "content");
            listed = listed || (text != NULL && content != NULL && strcmp(content, text) == 0);
        }
        token *t = text != NULL && listed ? find_text(v, text) : NULL;
        if (t != NULL)
            t->type = CONTROL;
    }
}

/* User-defined tokens are matched before anything else, so their spaces are plain ones. */
static vise_status plain_spaces(token *t, vise_arena *arena, vise_error *err)
{
    const size_t mark = strlen(SPACE_MARK);
    if (t->type != USER_DEFINED || strstr(t->text, SPACE_MARK) == NULL)
        return VISE_OK;
    void *block;
    VISE_TRY(vise_arena_take(arena, t->length + 1, &block, err));
    char *out = block;
    size_t n = 0;
    for (const char *at = t->text; *at != '\0';) {
        const bool space = strncmp(at, SPACE_MARK, mark) == 0;
        out[n++] = space ? ' ' : *at;
        at += space ? mark : 1;
    }
    out[n] = '\0';
    t->text = out;
    t->length = n;
    return VISE_OK;
}

vise_status vise_gguf_put_pieces(const vise_gguf_piece *pieces, size_t n, bool scores, vise_gguf_values *values,
                                 vise_error *err)
{
    void *types_block, *scores_block;
    VISE_TRY(vise_calloc(n + 1, sizeof(int32_t), &types_block, err));
    vise_status status = vise_calloc(n + 1, sizeof(float), &scores_block, err);
    if (status != VISE_OK) {
        vise_free(types_block);
        return status;
    }
    int32_t *types = types_block;
    float *levels = scores_block;
    vise_gguf_put_array(values, "tokenizer.ggml.tokens", VISE_GGUF_KIND_TEXT, n, NULL);
    for (size_t i = 0; i < n; i++) {
        const vise_gguf_piece *t = &pieces[i];
        char hole[32];
        const int length = snprintf(hole, sizeof hole, "[PAD%zu]", i);
        vise_gguf_add_text(values, t->text ? t->text : hole, t->text ? t->length : (size_t)length);
        types[i] = t->text ? t->type : UNUSED;
        levels[i] = t->text ? t->score : -10000.0f;
    }
    if (scores)
        vise_gguf_put_array(values, "tokenizer.ggml.scores", VISE_GGUF_KIND_F32, n, levels);
    vise_gguf_put_array(values, "tokenizer.ggml.token_type", VISE_GGUF_KIND_I32, n, types);
    vise_free(scores_block);
    vise_free(types_block);
    return VISE_OK;
}

static vise_status put_tokens(const vocab *v, bool scores, vise_error *err)
{
    return vise_gguf_put_pieces(v->tokens, v->n, scores, v->values, err);
}

static vise_status size_tokens(vocab *v, size_t n, vise_error *err)
{
    void *block;
    if (n == 0 || n > 1 << 24)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: a vocabulary has 1 to 2^24 tokens, not %zu", v->path, n);
    VISE_TRY(vise_calloc(n, sizeof *v->tokens, &block, err));
    vise_free(v->tokens);
    v->tokens = block;
    v->n = n;
    return VISE_OK;
}

static bool is_encoder(const vise_gguf_family *family)
{
    return family->vocab == VISE_GGUF_VOCAB_WORDS || family->vocab == VISE_GGUF_VOCAB_ROBERTA ||
           family->vocab == VISE_GGUF_VOCAB_UNIGRAM;
}

/* Of tokens, as encoders embed them. */
static uint32_t count_of_types(const vocab *v)
{
    const cJSON *said = cJSON_GetObjectItemCaseSensitive(vise_source_config(v->source), "type_vocab_size");
    if (cJSON_IsNumber(said))
        return (uint32_t)said->valueint;
    return strcmp(v->family->model_type, "distilbert") != 0 ? 2 : 1;
}

static void put_count_of_types(const vocab *v)
{
    vise_gguf_put_u32(v->values, "tokenizer.ggml.token_type_count", count_of_types(v));
}

static vise_status put_special(const vocab *v, int64_t n_vocab, vise_error *err)
{
    const vise_gguf_special special = {
        .tokenizer = v->tokenizer,
        .config = v->config,
        .model = vise_source_config(v->source),
        .text = vise_gguf_text_config(v->source),
        .folder = vise_source_path(v->source),
        .n_vocab = n_vocab,
        .no_bos = v->family->vocab == VISE_GGUF_VOCAB_LLAMA && v->facts->network.vocab == 49152,
    };
    return vise_gguf_put_special(&special, v->values, err);
}

/* ---- BPE over bytes ------------------------------------------------------------------------------------ */

static vise_status add_merge(vise_gguf_values *merges, const cJSON *item, const char *path, vise_error *err)
{
    const cJSON *sides[2] = {cJSON_GetArrayItem(item, 0), cJSON_GetArrayItem(item, 1)};
    if (cJSON_IsString(item)) {
        vise_gguf_add_text(merges, item->valuestring, strlen(item->valuestring));
        return VISE_OK;
    }
    if (!cJSON_IsString(sides[0]) || !cJSON_IsString(sides[1]))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: a merge is no pair of texts", path);
    vise_buf pair;
    vise_buf_init(&pair, 1 << 20);
    for (int side = 0; side < 2; side++) {
        if (side == 1)
            vise_buf_add_char(&pair, ' ');
        for (const char *at = sides[side]->valuestring; *at != '\0'; at++)
            vise_buf_add(&pair, *at == ' ' ? SPACE_BYTE : at, *at == ' ' ? strlen(SPACE_BYTE) : 1);
    }
    vise_status status = vise_buf_check(&pair, path, err);
    if (status == VISE_OK)
        vise_gguf_add_text(merges, pair.data, pair.length);
    vise_buf_deinit(&pair);
    return status;
}

/* Lines of "a b" behind a first line that may be a comment. Counts without `values`. */
static uint64_t each_line(const char *text, vise_gguf_values *values)
{
    uint64_t n = 0;
    bool first = true;
    for (const char *line = text; *line != '\0';) {
        const size_t length = strcspn(line, "\n");
        const char *end = line + length, *space = memchr(line, ' ', length);
        while (end > line && (end[-1] == '\r' || end[-1] == ' '))
            end--;
        if (!(first && *line == '#') && space != NULL && space > line && space + 1 < end &&
            memchr(space + 1, ' ', (size_t)(end - space - 1)) == NULL) {
            if (values != NULL)
                vise_gguf_add_text(values, line, (size_t)(end - line));
            n++;
        }
        first = false;
        line += length + (line[length] == '\n');
    }
    return n;
}

static vise_status put_merges(const vocab *v, vise_error *err)
{
    const cJSON *item, *merges = cJSON_GetObjectItemCaseSensitive(v->model, "merges");
    const int n = cJSON_GetArraySize(merges);
    if (n > 0) {
        vise_gguf_put_array(v->values, "tokenizer.ggml.merges", VISE_GGUF_KIND_TEXT, (uint64_t)n, NULL);
        cJSON_ArrayForEach(item, merges)
            VISE_TRY(add_merge(v->values, item, v->path, err));
    } else { /* even if there are none, as among characters: llama.cpp loads no vocabulary without the key */
        vise_gguf_put_array(v->values, "tokenizer.ggml.merges", VISE_GGUF_KIND_TEXT,
                            v->merges != NULL ? each_line(v->merges, NULL) : 0, NULL);
        if (v->merges != NULL)
            each_line(v->merges, v->values);
    }
    return VISE_OK;
}

static vise_status read_listed(vocab *v, const cJSON *table, vise_arena *arena, vise_error *err)
{
    const cJSON *item, *added = cJSON_GetObjectItemCaseSensitive(v->tokenizer, "added_tokens");
    cJSON_ArrayForEach(item, table)
        place(v, item, item->string, NORMAL);
    cJSON_ArrayForEach(item, added)
    {
        const char *text = text_of(item, "content");
        const cJSON *id = cJSON_GetObjectItemCaseSensitive(item, "id");
        token *t = at_id(v, id);
        if (text == NULL || t == NULL)
            continue;
        place(v, id, text, is_true(item, "special") || looks_special(text) ? CONTROL : USER_DEFINED);
        VISE_TRY(plain_spaces(t, arena, err));
    }
    return VISE_OK;
}

static vise_status describe_bytes(vocab *v, vise_arena *arena, vise_error *err)
{
    static const char *const gpt2[] = {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL, NULL, NULL, NULL};
    const cJSON *table = v->tokenizer != NULL ? cJSON_GetObjectItemCaseSensitive(v->model, "vocab") : v->words;
    VISE_TRY(size_tokens(v, (size_t)v->facts->network.vocab, err));
    vise_gguf_put_text(v->values, "tokenizer.ggml.model", "gpt2");
    put_pre(v);
    VISE_TRY(read_listed(v, table, arena, err));
    mark_roles(v, v->tokenizer == NULL ? gpt2 : NULL, false);
    VISE_TRY(put_tokens(v, false, err));
    VISE_TRY(put_merges(v, err));
    VISE_TRY(put_special(v, 0, err));
    if (is_encoder(v->family))
        put_count_of_types(v);
    return VISE_OK;
}

/* ---- sentencepiece ------------------------------------------------------------------------------------- */

/* tokenizer.json with byte fallback: the vocabulary, and what is added behind it. */
static vise_status describe_fallback(vocab *v, vise_error *err)
{
    const cJSON *item, *table = cJSON_GetObjectItemCaseSensitive(v->model, "vocab");
    const cJSON *added = cJSON_GetObjectItemCaseSensitive(v->tokenizer, "added_tokens");
    double last = 0.0;
    cJSON_ArrayForEach(item, table)
        last = cJSON_IsNumber(item) && item->valuedouble > last ? item->valuedouble : last;
    const double base = last;
    cJSON_ArrayForEach(item, added)
    {
        const cJSON *id = cJSON_GetObjectItemCaseSensitive(item, "id");
        last = cJSON_IsNumber(id) && id->valuedouble > last ? id->valuedouble : last;
    }
    VISE_TRY(size_tokens(v, last < 1 << 24 ? (size_t)last + 1 : SIZE_MAX, err));
    cJSON_ArrayForEach(item, table)
        place(v, item, item->string, is_byte(item->string) ? BYTE : NORMAL);
    cJSON_ArrayForEach(item, added)
    {
        const cJSON *id = cJSON_GetObjectItemCaseSensitive(item, "id");
        if (cJSON_IsNumber(id) && id->valuedouble > base)
            place(v, id, text_of(item, "content"), is_true(item, "special") ? CONTROL : USER_DEFINED);
    }
    mark_roles(v, NULL, true);
    vise_gguf_put_text(v->values, "tokenizer.ggml.model", "llama");
    vise_gguf_put_text(v->values, "tokenizer.ggml.pre", "default");
    VISE_TRY(put_tokens(v, true, err));
    return put_special(v, (int64_t)v->n, err);
}

/* An object by its key, which is an id. */
static const char *id_text(const cJSON *item, cJSON *number)
{
    char *end;
    *number = (cJSON){.type = cJSON_Number, .valuedouble = strtod(item->string, &end)};
    return *end == '\0' ? text_of(item, "content") : NULL;
}

static vise_status read_added_pieces(vocab *v, vise_arena *arena, vise_error *err)
{
    const bool phi3 = v->family->vocab == VISE_GGUF_VOCAB_PHI3;
    const cJSON *item, *decoder = cJSON_GetObjectItemCaseSensitive(v->config, "added_tokens_decoder");
    cJSON_ArrayForEach(item, v->added)
        place(v, item, item->string, USER_DEFINED);
    cJSON_ArrayForEach(item, decoder)
    {
        cJSON id;
        const char *text = id_text(item, &id);
        token *t = at_id(v, &id);
        if (text == NULL || t == NULL)
            continue;
        place(v, &id, text, is_true(item, "special") || (!phi3 && looks_special(text)) ? CONTROL : USER_DEFINED);
        if (!phi3)
            VISE_TRY(plain_spaces(t, arena, err));
    }
    const cJSON *added = phi3 ? cJSON_GetObjectItemCaseSensitive(v->tokenizer, "added_tokens") : NULL;
    cJSON_ArrayForEach(item, added)
        place(v, cJSON_GetObjectItemCaseSensitive(item, "id"), text_of(item, "content"),
              is_true(item, "special") ? CONTROL : USER_DEFINED);
    return VISE_OK;
}

static vise_status describe_pieces(vocab *v, vise_arena *arena, vise_error *err)
{
    const vise_gguf_tokenizer *facts = &v->facts->tokenizer;
    VISE_TRY(size_tokens(v, (size_t)v->facts->network.vocab, err));
    for (size_t i = 0; i < facts->n_pieces && i < v->n; i++) {
        const vise_gguf_piece *piece = &facts->pieces[i];
        /* pieces given by the user are plain ones to the converter */
        v->tokens[i] = (token){piece->text, piece->length, piece->score,
                               piece->type == USER_DEFINED ? NORMAL : piece->type};
    }
    VISE_TRY(read_added_pieces(v, arena, err));
    vise_gguf_put_text(v->values, "tokenizer.ggml.model", "llama");
    vise_gguf_put_text(v->values, "tokenizer.ggml.pre", "default");
    VISE_TRY(put_tokens(v, true, err));
    VISE_TRY(put_special(v, (int64_t)v->n, err));
    if (strcmp(v->family->architecture, "gemma") == 0)
        vise_gguf_put_u32(v->values, "tokenizer.ggml.eot_token_id", 107);
    if (v->family->vocab == VISE_GGUF_VOCAB_LLAMA && v->facts->network.vocab == 32016) /* CodeLlama */
        vise_gguf_put_u32(v->values, "tokenizer.ggml.eot_token_id", 32010);
    if (v->family->vocab == VISE_GGUF_VOCAB_GEMMA)
        vise_gguf_put_bool(v->values, "tokenizer.ggml.add_space_prefix", false);
    return VISE_OK;
}

/* ---- WordPiece ----------------------------------------------------------------------------------------- */

static vise_status spell_words(vocab *v, vise_arena *arena, vise_error *err)
{
    const size_t mark = strlen(SPACE_MARK);
    for (size_t i = 0; i < v->n; i++) {
        token *t = &v->tokens[i];
        char hole[32];
        if (t->text == NULL) { /* holes begin words, too */
            t->length = (size_t)snprintf(hole, sizeof hole, "[PAD%zu]", i);
            t->type = UNUSED;
        } else if (t->type == CONTROL) {
            continue;
        } else if (t->length > 2 && memcmp(t->text, "##", 2) == 0) {
            t->text += 2;
            t->length -= 2;
            continue;
        }
        void *block;
        VISE_TRY(vise_arena_take(arena, mark + t->length + 1, &block, err));
        memcpy(block, SPACE_MARK, mark);
        memcpy((char *)block + mark, t->text != NULL ? t->text : hole, t->length);
        t->text = block;
        t->length += mark;
    }
    return VISE_OK;
}

static vise_status describe_words(vocab *v, vise_arena *arena, vise_error *err)
{
    static const char *const bert[] = {NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};
    VISE_TRY(size_tokens(v, (size_t)v->facts->network.vocab, err));
    size_t n = 0;
    for (const char *line = v->tokenizer == NULL ? v->lines : NULL; line != NULL && *line != '\0'; n++) {
        size_t length = strcspn(line, "\n"), end = length;
        while (end > 0 && line[end - 1] == '\r')
            end--;
        if (n < v->n)
            v->tokens[n] = (token){line, end, 0.0f, NORMAL};
        line += length + (line[length] == '\n');
    }
    if (v->tokenizer != NULL)
        VISE_TRY(read_listed(v, cJSON_GetObjectItemCaseSensitive(v->model, "vocab"), arena, err));
    mark_roles(v, bert, false);
    VISE_TRY(spell_words(v, arena, err));
    put_count_of_types(v);
    vise_gguf_put_text(v->values, "tokenizer.ggml.model", "bert");
    put_pre(v);
    VISE_TRY(put_tokens(v, false, err));
    return put_special(v, (int64_t)v->n, err);
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

/* Without a vocabulary llama.cpp must be told its size, which some families tell anyway. */
static void put_size(const vocab *v)
{
    char key[80];
    for (const vise_gguf_key *k = v->family->keys; *k != VISE_GGUF_KEY_END; k++)
        if (*k == VISE_GGUF_KEY_VOCAB)
            return;
    snprintf(key, sizeof key, "%s.vocab_size", v->family->architecture);
    vise_gguf_put_u32(v->values, key, (uint32_t)v->facts->network.vocab);
}

static vise_status describe(vocab *v, vise_arena *arena, vise_error *err)
{
    const vise_gguf_vocab kind = v->family->vocab;
    const char *type = text_of(v->model, "type"), *class_name = text_of(v->config, "tokenizer_class");
    const cJSON *pre = cJSON_GetObjectItemCaseSensitive(v->tokenizer, "pre_tokenizer");
    const bool bpe = type != NULL && strcmp(type, "BPE") == 0, fallback = bpe && is_true(v->model, "byte_fallback");
    const bool over_bytes = (bpe && !fallback && find_pre(pre, "ByteLevel") != NULL) ||
                            (v->tokenizer == NULL && v->words != NULL && v->merges != NULL);
    const bool words = (type != NULL && strcmp(type, "WordPiece") == 0) || (v->tokenizer == NULL && v->lines != NULL);
    const bool may_have_pieces = kind == VISE_GGUF_VOCAB_LLAMA || kind == VISE_GGUF_VOCAB_PIECES ||
                                 kind == VISE_GGUF_VOCAB_GEMMA || kind == VISE_GGUF_VOCAB_PHI3;
    const bool bytes_first =
        kind == VISE_GGUF_VOCAB_PHI3 && class_name != NULL && strcmp(class_name, "GPT2Tokenizer") == 0;
    const cJSON *space = cJSON_GetObjectItemCaseSensitive(v->config, "add_prefix_space");
    if (kind == VISE_GGUF_VOCAB_LLAMA && cJSON_IsBool(space))
        vise_gguf_put_bool(v->values, "tokenizer.ggml.add_space_prefix", cJSON_IsTrue(space));
    if (may_have_pieces && !bytes_first && v->facts->tokenizer.pieces != NULL)
        return describe_pieces(v, arena, err);
    const vise_gguf_unigram unigram = {.facts = &v->facts->tokenizer,
                                       .tokenizer = v->tokenizer,
                                       .config = v->config,
                                       .path = v->path != NULL ? v->path : vise_source_path(v->source),
                                       .vocab = (size_t)v->facts->network.vocab,
                                       .types = count_of_types(v)};
    if (is_encoder(v->family) && vise_gguf_is_unigram(&unigram)) {
        size_t n;
        VISE_TRY(vise_gguf_put_unigram(&unigram, arena, &n, v->values, err));
        return put_special(v, (int64_t)n, err);
    }
    if (over_bytes)
        return describe_bytes(v, arena, err);
    if (fallback)
        return describe_fallback(v, err);
    if (words)
        return describe_words(v, arena, err);
    if (v->path == NULL)
        vise_warn("%s: has no tokenizer; the GGUF file gets no vocabulary", vise_source_path(v->source));
    else
        vise_warn("%s: GGUF has no name for such a tokenizer; the vocabulary is left out", v->path);
    vise_gguf_put_text(v->values, "tokenizer.ggml.model", "none");
    put_size(v);
    if (is_encoder(v->family))
        put_count_of_types(v); /* llama.cpp loads no encoder without */
    return VISE_OK;
}

/* A file of the folder, as JSON or as text; NULL when it is not there. */
static vise_status load(vocab *v, const char *name, cJSON **json, char **text, vise_error *err)
{
    char *path;
    size_t length;
    VISE_TRY(vise_path_join(vise_source_path(v->source), name, &path, err));
    vise_status status = VISE_OK;
    if (!vise_source_is_folder(v->source) || !vise_path_exists(path)) {
        vise_free(path);
        return VISE_OK;
    }
    status = json != NULL ? vise_json_load(path, FILE_MAX, json, err)
                          : vise_file_read_all(path, FILE_MAX, text, &length, err);
    if (v->path == NULL && strcmp(name, "tokenizer_config.json") != 0)
        v->path = path;
    else
        vise_free(path);
    return status;
}

vise_status vise_gguf_count_tokens(const vise_source *source, int64_t *n, vise_error *err)
{
    char *pieces = NULL;
    vocab v = {.source = source};
    vise_status status = VISE_OK;
    *n = 0;
    VISE_TRY_TO(done, vise_path_join(vise_source_path(source), "tokenizer.model", &pieces, err));
    if (vise_path_exists(pieces))
        goto done;
    VISE_TRY_TO(done, load(&v, "tokenizer.json", &v.tokenizer, NULL, err));
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(v.tokenizer, "model");
    *n = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(model, "vocab")) +
         cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(v.tokenizer, "added_tokens"));
done:
    vise_free(pieces);
    vise_free(v.path);
    cJSON_Delete(v.tokenizer);
    return status;
}

vise_status vise_gguf_describe_vocab(const vise_source *source, const vise_gguf_family *family,
                                     const vise_gguf_facts *facts, vise_gguf_values *values, vise_error *err)
{
    vise_status status = VISE_OK;
    vise_arena *arena = NULL;
    vocab v = {.source = source, .family = family, .facts = facts, .values = values};
    VISE_TRY_TO(done, vise_arena_new(&arena, err));
    VISE_TRY_TO(done, load(&v, "tokenizer_config.json", &v.config, NULL, err));
    VISE_TRY_TO(done, load(&v, "tokenizer.json", &v.tokenizer, NULL, err));
    VISE_TRY_TO(done, load(&v, "added_tokens.json", &v.added, NULL, err));
    VISE_TRY_TO(done, load(&v, "merges.txt", NULL, &v.merges, err));
    if (v.tokenizer == NULL) {
        VISE_TRY_TO(done, load(&v, "vocab.json", &v.words, NULL, err));
        VISE_TRY_TO(done, load(&v, "vocab.txt", NULL, &v.lines, err));
    }
    v.model = cJSON_GetObjectItemCaseSensitive(v.tokenizer, "model");
    VISE_TRY_TO(done, describe(&v, arena, err));
done:
    vise_free(v.tokens);
    vise_free(v.path);
    vise_free(v.lines);
    vise_free(v.merges);
    cJSON_Delete(v.words);
    cJSON_Delete(v.added);
    cJSON_Delete(v.config);
    cJSON_Delete(v.tokenizer);
    vise_arena_free(arena);
    return status;
}
