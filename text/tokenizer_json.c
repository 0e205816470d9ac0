/* Reading tokenizer.json: added tokens, normalizer, pre-tokenizer, model, post-processor. */
#include <string.h>

#include "core/event.h"
#include "core/json.h"
#include "text/tokenizer_internal.h"

typedef struct reader {
    vise_tokenizer *tokenizer;
    const char *name;
    vise_error *err;
} reader;

static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    return cJSON_IsNull(item) ? NULL : item;
}

static vise_status unsupported(const reader *r, const char *what, const char *type)
{
    return VISE_FAIL(r->err, VISE_EUNSUPPORTED, "%s: %s \"%.200s\" is not supported", r->name, what, type);
}

/* The type of a component, an object. */
static vise_status type_of(const reader *r, const cJSON *component, const char *what, const char **type)
{
    if (!cJSON_IsObject(component))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: %s must be an object", r->name, what);
    return vise_json_text(r->name, component, "type", true, type, r->err);
}

static vise_status keep_text(const reader *r, const char *text, const char **kept, size_t *length)
{
    *length = strlen(text);
    return vise_arena_strdup(r->tokenizer->arena, text, *length, kept, r->err);
}

/* Calls `each` for a Sequence's members, or for the component itself. Sequences nest as deep as JSON may. */
typedef vise_status (*component_reader)(reader *r, const cJSON *component, const char *type);

static vise_status read_components(reader *r, const cJSON *component, const char *what, const char *list,
                                   component_reader each)
{
    const char *type;
    const cJSON *members, *item;

    if (component == NULL)
        return VISE_OK;
    VISE_TRY(type_of(r, component, what, &type));
    if (strcmp(type, "Sequence") != 0)
        return each(r, component, type);
    members = member(component, list);
    if (!cJSON_IsArray(members))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: the Sequence of a %s needs the list \"%s\"", r->name,
                         what, list);
    cJSON_ArrayForEach(item, members) VISE_TRY(read_components(r, item, what, list, each));
    return VISE_OK;
}

/* ---- model ----------------------------------------------------------------------------------- */

static vise_status read_id(const reader *r, const cJSON *item, const char *what, int32_t *id)
{
    if (!cJSON_IsNumber(item) || item->valuedouble != (double)(int64_t)item->valuedouble ||
        item->valuedouble < 0 || item->valuedouble >= VISE_VOCAB_IDS_MAX)
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: the id of %.60s must be a whole number from 0 to %d",
                         r->name, what, VISE_VOCAB_IDS_MAX - 1);
    *id = (int32_t)item->valuedouble;
    return VISE_OK;
}

static vise_status read_vocab(reader *r, const cJSON *vocab, size_t n_added)
{
    const cJSON *item;
    size_t count = 0;
    int32_t id, highest = -1;

    if (!cJSON_IsObject(vocab))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: the model needs \"vocab\", an object of tokens and ids",
                         r->name);
    cJSON_ArrayForEach(item, vocab)
    {
        VISE_TRY(read_id(r, item, item->string, &id));
        highest = id > highest ? id : highest;
        count++;
    }
    if (count + n_added > VISE_VOCAB_IDS_MAX)
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: %zu tokens are more than the limit of %d", r->name,
                         count + n_added, VISE_VOCAB_IDS_MAX);
    /* Room is made by the highest id: a small file must not ask for much. */
    if (highest > (1 << 20) && (size_t)highest / 4 > count)
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: an id is %ld, but there are only %zu tokens", r->name,
                         (long)highest, count);
    /* Added tokens that are not in the vocabulary get ids behind it. */
    if (highest < (int32_t)count)
        highest = (int32_t)count;
    VISE_TRY(vise_vocab_init(&r->tokenizer->vocab, count + n_added, highest + (int32_t)n_added + 1, r->err));
    cJSON_ArrayForEach(item, vocab)
    {
        VISE_TRY(read_id(r, item, item->string, &id));
        VISE_TRY(
            vise_vocab_add(&r->tokenizer->vocab, r->name, item->string, strlen(item->string), id, r->err));
    }
    return VISE_OK;
}

static vise_status read_merge(reader *r, const cJSON *item, size_t index, size_t *rank)
{
    const char *left, *right;
    size_t left_length;

    if (cJSON_IsString(item)) {
        left = item->valuestring;
        if (strncmp(left, "#version", 8) == 0)
            return VISE_OK;
        right = strchr(left, ' ');
        if (right == NULL || strchr(right + 1, ' ') != NULL)
            return VISE_FAIL(r->err, VISE_EFORMAT,
                             "%s: merge %zu is \"%.60s\", expected two tokens and one space", r->name, index,
                             left);
        left_length = (size_t)(right - left);
        right++;
    } else {
        const cJSON *second = item->child != NULL ? item->child->next : NULL;
        if (!cJSON_IsArray(item) || second == NULL || second->next != NULL || !cJSON_IsString(item->child) ||
            !cJSON_IsString(second))
            return VISE_FAIL(r->err, VISE_EFORMAT, "%s: merge %zu must be a string or a pair of strings",
                             r->name, index);
        left = item->child->valuestring;
        left_length = strlen(left);
        right = second->valuestring;
    }
    return vise_bpe_add_merge(&r->tokenizer->bpe, r->name, (*rank)++, left, left_length, right, strlen(right),
                              r->err);
}

static vise_status read_merges(reader *r, const cJSON *merges)
{
    const cJSON *item;
    size_t count = 0, index = 0, rank = 0;

    if (!cJSON_IsArray(merges))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: the model needs \"merges\", a list", r->name);
    cJSON_ArrayForEach(item, merges) count++;
    VISE_TRY(vise_bpe_init(&r->tokenizer->bpe, &r->tokenizer->vocab, count, r->err));
    cJSON_ArrayForEach(item, merges) VISE_TRY(read_merge(r, item, index++, &rank));
    return VISE_OK;
}

static vise_status read_model(reader *r, const cJSON *model, size_t n_added)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    vise_bpe *bpe = &r->tokenizer->bpe;
    const char *type = "BPE", *text;
    double dropout = 0.0;
    size_t length;

    if (!cJSON_IsObject(model))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: there is no \"model\"", r->name);
    VISE_TRY(vise_json_text(r->name, model, "type", false, &type, r->err));
    if (strcmp(type, "BPE") != 0)
        return unsupported(r, "the model", type);
    for (size_t i = 0; i < sizeof affixes / sizeof affixes[0]; i++) {
        text = "";
        VISE_TRY(vise_json_text(r->name, model, affixes[i], false, &text, r->err));
        if (text[0] != '\0')
            return unsupported(r, affixes[i], text);
    }
    VISE_TRY(vise_json_double(r->name, model, "dropout", false, 0.0, 1.0, &dropout, r->err));
    if (dropout > 0.0)
        return VISE_FAIL(r->err, VISE_EUNSUPPORTED, "%s: a model with dropout %g tokenizes at random",
                         r->name, dropout);
    VISE_TRY(read_vocab(r, member(model, "vocab"), n_added));
    VISE_TRY(read_merges(r, member(model, "merges")));
    VISE_TRY(vise_json_bool(r->name, model, "fuse_unk", false, &bpe->fuse_unk, r->err));
    VISE_TRY(vise_json_bool(r->name, model, "byte_fallback", false, &bpe->byte_fallback, r->err));
    VISE_TRY(vise_json_bool(r->name, model, "ignore_merges", false, &bpe->ignore_merges, r->err));
    text = NULL;
    VISE_TRY(vise_json_text(r->name, model, "unk_token", false, &text, r->err));
    if (text != NULL)
        VISE_TRY(keep_text(r, text, &bpe->unk_token, &length));
    return VISE_OK;
}

/* ---- normalizers ----------------------------------------------------------------------------- */

static vise_status read_normal(reader *r, const cJSON *component, const char *type)
{
    vise_tokenizer *t = r->tokenizer;
    vise_normal *normal;
    const char *text = NULL;

    if (t->n_normals == VISE_STEPS_MAX)
        return VISE_FAIL(r->err, VISE_EUNSUPPORTED, "%s: more than %d normalizers", r->name, VISE_STEPS_MAX);
    normal = &t->normals[t->n_normals];
    if (strcmp(type, "Prepend") == 0) {
        normal->kind = VISE_NORMAL_PREPEND;
        VISE_TRY(vise_json_text(r->name, component, "prepend", true, &text, r->err));
        VISE_TRY(keep_text(r, text, &normal->content, &normal->content_length));
        t->prepends = true;
    } else if (strcmp(type, "Replace") == 0) {
        const cJSON *pattern = member(component, "pattern");
        normal->kind = VISE_NORMAL_REPLACE;
        if (!cJSON_IsObject(pattern))
            return VISE_FAIL(r->err, VISE_EFORMAT, "%s: the normalizer Replace needs an object \"pattern\"",
                             r->name);
        if (member(pattern, "Regex") != NULL)
            return unsupported(r, "the normalizer Replace with", "Regex");
        VISE_TRY(vise_json_text(r->name, pattern, "String", true, &text, r->err));
        VISE_TRY(keep_text(r, text, &normal->pattern, &normal->pattern_length));
        if (normal->pattern_length == 0)
            return VISE_FAIL(r->err, VISE_EFORMAT, "%s: the normalizer Replace has an empty pattern",
                             r->name);
        VISE_TRY(vise_json_text(r->name, component, "content", true, &text, r->err));
        VISE_TRY(keep_text(r, text, &normal->content, &normal->content_length));
        if (strcmp(normal->pattern, " ") == 0 && strcmp(normal->content, VISE_MARK) == 0)
            t->marks_space = true;
    } else {
        return unsupported(r, "the normalizer", type);
    }
    t->n_normals++;
    return VISE_OK;
}

/* ---- pre-tokenizers -------------------------------------------------------------------------- */

static vise_status add_step(reader *r, vise_step step)
{
    vise_tokenizer *t = r->tokenizer;

    if (t->n_steps == VISE_STEPS_MAX)
        return VISE_FAIL(r->err, VISE_EUNSUPPORTED, "%s: more than %d pre-tokenizers", r->name,
                         VISE_STEPS_MAX);
    t->steps[t->n_steps++] = step;
    return VISE_OK;
}

static vise_status read_byte_level(reader *r, const cJSON *component)
{
    bool prefix = true, regex = true;

    VISE_TRY(vise_json_bool(r->name, component, "add_prefix_space", true, &prefix, r->err));
    VISE_TRY(vise_json_bool(r->name, component, "use_regex", false, &regex, r->err));
    if (prefix)
        VISE_TRY(add_step(r, (vise_step){.kind = VISE_STEP_PREFIX_SPACE}));
    if (regex)
        VISE_TRY(add_step(r, (vise_step){.kind = VISE_STEP_SPLIT, .split = VISE_SPLIT_GPT2}));
    r->tokenizer->prepends = r->tokenizer->prepends || prefix;
    r->tokenizer->bpe.byte_level = true;
    return VISE_OK;
}

static vise_status read_metaspace(reader *r, const cJSON *component)
{
    static const char *const schemes[] = {"never", "first", "always"};
    const char *replacement, *scheme = "always";
    bool prefix = true, split = true;
    size_t prepend = 0;

    VISE_TRY(vise_json_text(r->name, component, "replacement", true, &replacement, r->err));
    if (strcmp(replacement, VISE_MARK) != 0)
        return unsupported(r, "the pre-tokenizer Metaspace with replacement", replacement);
    VISE_TRY(vise_json_text(r->name, component, "prepend_scheme", false, &scheme, r->err));
    VISE_TRY(vise_json_bool(r->name, component, "add_prefix_space", false, &prefix, r->err));
    VISE_TRY(vise_json_bool(r->name, component, "split", false, &split, r->err));
    while (prepend < 3 && strcmp(scheme, schemes[prepend]) != 0)
        prepend++;
    if (prepend == 3)
        return VISE_FAIL(r->err, VISE_EFORMAT,
                         "%s: prepend_scheme is \"%.60s\", expected always, first or never", r->name, scheme);
    if (!prefix && prepend != VISE_PREPEND_NEVER)
        return VISE_FAIL(r->err, VISE_EFORMAT,
                         "%s: Metaspace's add_prefix_space contradicts its prepend_scheme", r->name);
    VISE_TRY(add_step(r, (vise_step){.kind = VISE_STEP_MARK_SPACES, .prepend = (vise_prepend)prepend}));
    if (split)
        VISE_TRY(add_step(r, (vise_step){.kind = VISE_STEP_SPLIT, .split = VISE_SPLIT_MARK}));
    r->tokenizer->prepends = r->tokenizer->prepends || prepend != VISE_PREPEND_NEVER;
    r->tokenizer->marks_space = true;
    return VISE_OK;
}

static vise_status read_split(reader *r, const cJSON *component)
{
    const cJSON *pattern = member(component, "pattern");
    const char *regex, *behavior;
    bool invert = false;
    vise_split split;

    if (!cJSON_IsObject(pattern))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: the pre-tokenizer Split needs an object \"pattern\"",
                         r->name);
    if (member(pattern, "String") != NULL)
        return unsupported(r, "the pre-tokenizer Split by", "String");
    VISE_TRY(vise_json_text(r->name, pattern, "Regex", true, &regex, r->err));
    VISE_TRY(vise_json_text(r->name, component, "behavior", true, &behavior, r->err));
    VISE_TRY(vise_json_bool(r->name, component, "invert", false, &invert, r->err));
    if (!vise_split_from_regex(regex, &split))
        return unsupported(r, "the pre-tokenizer Split by", regex);
    /* The known expressions match every character: isolated matches, and removed gaps, are the same
     * pieces. */
    if (strcmp(behavior, "Isolated") != 0 && !(strcmp(behavior, "Removed") == 0 && invert))
        return unsupported(r, "the pre-tokenizer Split with behavior", behavior);
    return add_step(r, (vise_step){.kind = VISE_STEP_SPLIT, .split = split});
}

static vise_status read_step(reader *r, const cJSON *component, const char *type)
{
    if (r->tokenizer->bpe.byte_level)
        return unsupported(r, "behind ByteLevel, the pre-tokenizer", type);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(r, component);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(r, component);
    if (strcmp(type, "Split") == 0)
        return read_split(r, component);
    return unsupported(r, "the pre-tokenizer", type);
}

/* ---- added tokens ---------------------------------------------------------------------------- */

/* The id as the library gives it: the vocabulary's, else the next one behind everything. The id that the
 * file states is not asked, only compared. */
static vise_status add_token(reader *r, const char *text, int32_t stated, size_t in_model, int32_t *next,
                             int32_t *id)
{
    vise_vocab *vocab = &r->tokenizer->vocab;

    *id = vise_vocab_find(vocab, text, strlen(text));
    if (*id < 0) {
        *id = *next >= (int32_t)in_model ? *next : (int32_t)in_model;
        /* The library would give two tokens one id where the vocabulary has holes; what that means is
         * anyone's guess. */
        VISE_TRY(vise_vocab_add(vocab, r->name, text, strlen(text), *id, r->err));
    }
    if (*id >= *next)
        *next = *id + 1;
    if (*id != stated)
        vise_warn("%s: added token \"%.60s\" is stated to have id %ld, but has %ld", r->name, text,
                  (long)stated, (long)*id);
    return VISE_OK;
}

typedef struct added_lists {
    vise_added_token *raw, *normal;
    size_t n_raw, n_normal;
} added_lists;

static vise_status read_added(reader *r, const cJSON *item, bool special_turn, size_t in_model, int32_t *next,
                              added_lists *lists)
{
    vise_added_token token = {0};
    vise_tokenizer *t = r->tokenizer;
    const char *text;
    bool special = false, normalized = false;
    int32_t stated, id;

    if (!cJSON_IsObject(item))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: added_tokens must be a list of objects", r->name);
    VISE_TRY(vise_json_text(r->name, item, "content", true, &text, r->err));
    VISE_TRY(read_id(r, member(item, "id"), text, &stated));
    VISE_TRY(vise_json_bool(r->name, item, "special", false, &special, r->err));
    VISE_TRY(vise_json_bool(r->name, item, "normalized", false, &normalized, r->err));
    VISE_TRY(vise_json_bool(r->name, item, "single_word", false, &token.single_word, r->err));
    VISE_TRY(vise_json_bool(r->name, item, "lstrip", false, &token.lstrip, r->err));
    VISE_TRY(vise_json_bool(r->name, item, "rstrip", false, &token.rstrip, r->err));
    if (text[0] == '\0')
        return VISE_OK;
    if (special_turn) { /* ids are given in file order, in the first of the two turns */
        VISE_TRY(add_token(r, text, stated, in_model, next, &id));
        if (t->is_added[id])
            return VISE_FAIL(r->err, VISE_EFORMAT, "%s: added token \"%.60s\" is given twice", r->name, text);
        t->is_added[id] = true;
    }
    if (special != special_turn)
        return VISE_OK;
    token.id = vise_vocab_find(&t->vocab, text, strlen(text));
    token.text = t->vocab.tokens[token.id].text;
    token.length = t->vocab.tokens[token.id].length;
    if (normalized)
        lists->normal[lists->n_normal++] = token;
    else
        lists->raw[lists->n_raw++] = token;
    return VISE_OK;
}

/* Normalized added tokens are looked for in normalized text by their normalized texts. */
static vise_status normalize_tokens(reader *r, added_lists *lists)
{
    vise_buf buffers[2];
    vise_status status = VISE_OK;

    vise_buf_init(&buffers[0], SIZE_MAX / 2);
    vise_buf_init(&buffers[1], SIZE_MAX / 2);
    for (size_t i = 0; i < lists->n_normal; i++) {
        vise_added_token *token = &lists->normal[i];
        const char *text;
        VISE_TRY_TO(end, vise_normalize(r->tokenizer, buffers, token->text, token->length, &text,
                                        &token->length, r->err));
        VISE_TRY_TO(end, vise_arena_strdup(r->tokenizer->arena, text, token->length, &token->text, r->err));
    }
end:
    vise_buf_deinit(&buffers[0]);
    vise_buf_deinit(&buffers[1]);
    return status;
}

static vise_status read_all_added(reader *r, const cJSON *list, size_t n)
{
    vise_tokenizer *t = r->tokenizer;
    added_lists lists = {0};
    const cJSON *item;
    size_t in_model = t->vocab.count;
    int32_t next = 0;
    vise_status status;

    VISE_TRY(vise_calloc((size_t)t->vocab.limit, sizeof *t->is_added, (void **)&t->is_added, r->err));
    VISE_TRY_TO(end, vise_calloc(n, sizeof *lists.raw, (void **)&lists.raw, r->err));
    VISE_TRY_TO(end, vise_calloc(n, sizeof *lists.normal, (void **)&lists.normal, r->err));
    for (int turn = 0; turn < 2; turn++) {
        cJSON_ArrayForEach(item, list)
            VISE_TRY_TO(end, read_added(r, item, turn == 0, in_model, &next, &lists));
    }
    VISE_TRY_TO(end, normalize_tokens(r, &lists));
    t->raw.tokens = lists.raw;
    lists.raw = NULL;
    VISE_TRY_TO(end, vise_added_init(&t->raw, t->raw.tokens, lists.n_raw, r->err));
    t->normal.tokens = lists.normal;
    lists.normal = NULL;
    VISE_TRY_TO(end, vise_added_init(&t->normal, t->normal.tokens, lists.n_normal, r->err));
end:
    vise_free(lists.raw);
    vise_free(lists.normal);
    return status;
}

/* ---- post-processors ------------------------------------------------------------------------- */

/* The ids of the special tokens in front of the text; there may be one in all. */
static vise_status read_template_token(reader *r, const cJSON *component, const cJSON *piece)
{
    vise_tokenizer *t = r->tokenizer;
    const cJSON *entry, *item;
    const char *name;
    int32_t id;

    VISE_TRY(vise_json_text(r->name, piece, "id", true, &name, r->err));
    entry = member(member(component, "special_tokens"), name);
    if (!cJSON_IsArray(member(entry, "ids")))
        return VISE_FAIL(r->err, VISE_EFORMAT,
                         "%s: the template names \"%.60s\", which its special_tokens lack", r->name, name);
    cJSON_ArrayForEach(item, member(entry, "ids"))
    {
        VISE_TRY(read_id(r, item, name, &id));
        if (id >= t->vocab.size)
            return VISE_FAIL(r->err, VISE_EFORMAT,
                             "%s: the template's \"%.60s\" has id %ld, but there are %ld tokens", r->name,
                             name, (long)id, (long)t->vocab.size);
        if (t->bos >= 0)
            return VISE_FAIL(r->err, VISE_EUNSUPPORTED, "%s: more than one token is put in front of a text",
                             r->name);
        t->bos = id;
    }
    return VISE_OK;
}

static vise_status read_post(reader *r, const cJSON *component, const char *type)
{
    const cJSON *single = member(component, "single"), *item;

    if (strcmp(type, "ByteLevel") == 0)
        return VISE_OK;
    if (strcmp(type, "TemplateProcessing") != 0)
        return unsupported(r, "the post-processor", type);
    if (!cJSON_IsArray(single))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: TemplateProcessing needs the list \"single\"", r->name);
    cJSON_ArrayForEach(item, single)
    {
        const cJSON *piece = member(item, "SpecialToken");
        if (member(item, "Sequence") != NULL)
            break;
        if (!cJSON_IsObject(piece))
            return VISE_FAIL(r->err, VISE_EFORMAT, "%s: a template is made of SpecialToken and Sequence",
                             r->name);
        VISE_TRY(read_template_token(r, component, piece));
    }
    return VISE_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static vise_status read_tokenizer(reader *r, const cJSON *json)
{
    vise_tokenizer *t = r->tokenizer;
    const cJSON *added = member(json, "added_tokens"), *item;
    size_t n_added = 0;

    t->bos = -1;
    VISE_TRY(vise_arena_new(&t->arena, r->err));
    if (added != NULL && !cJSON_IsArray(added))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: added_tokens must be a list", r->name);
    cJSON_ArrayForEach(item, added) n_added++;
    if (n_added > VISE_VOCAB_IDS_MAX)
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: %zu added tokens are too many", r->name, n_added);
    VISE_TRY(read_model(r, member(json, "model"), n_added));
    VISE_TRY(read_components(r, member(json, "normalizer"), "normalizer", "normalizers", read_normal));
    VISE_TRY(read_components(r, member(json, "pre_tokenizer"), "pre-tokenizer", "pretokenizers", read_step));
    VISE_TRY(read_all_added(r, added, n_added));
    VISE_TRY(vise_bpe_finish(&t->bpe, r->err));
    VISE_TRY(read_components(r, member(json, "post_processor"), "post-processor", "processors", read_post));
    /* Where no pre-tokenizer cuts, the merges may still allow it: then words are short and the cache
     * serves. */
    if (!t->bpe.byte_level && !t->bpe.ignore_merges && vise_bpe_cuts_at_mark(&t->bpe) &&
        t->n_steps < VISE_STEPS_MAX)
        VISE_TRY(add_step(r, (vise_step){.kind = VISE_STEP_SPLIT, .split = VISE_SPLIT_WORDS}));
    return VISE_OK;
}

vise_status vise_tokenizer_parse(vise_tokenizer *tokenizer, const char *name, const char *text, size_t length,
                                 vise_error *err)
{
    reader r = {tokenizer, name, err};
    cJSON *json;
    vise_status status;

    VISE_TRY(vise_json_parse(name, text, length, &json, err));
    if (cJSON_IsObject(json))
        status = read_tokenizer(&r, json);
    else
        status = VISE_FAIL(err, VISE_EFORMAT, "%s: not a JSON object", name);
    cJSON_Delete(json);
    return status;
}
