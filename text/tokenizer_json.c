/* Reading tokenizer.json: the model, and the order of all. */
#include <string.h>

#include "core/json.h"
#include "text/tokenizer_internal.h"

typedef vise_tokenizer_reader reader;

const cJSON *vise_reader_member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    return cJSON_IsNull(item) ? NULL : item;
}

vise_status vise_reader_unsupported(const vise_tokenizer_reader *r, const char *what, const char *type)
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

vise_status vise_reader_keep(const vise_tokenizer_reader *r, const char *text, const char **kept,
                             size_t *length)
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
    members = vise_reader_member(component, list);
    if (!cJSON_IsArray(members))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: the Sequence of a %s needs the list \"%s\"", r->name,
                         what, list);
    cJSON_ArrayForEach(item, members) VISE_TRY(read_components(r, item, what, list, each));
    return VISE_OK;
}

/* ---- model ----------------------------------------------------------------------------------- */

vise_status vise_reader_id(const vise_tokenizer_reader *r, const cJSON *item, const char *what, int32_t *id)
{
    if (!cJSON_IsNumber(item) || item->valuedouble != (double)(int64_t)item->valuedouble ||
        item->valuedouble < 0 || item->valuedouble >= VISE_VOCAB_IDS_MAX)
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: the id of %.60s must be a whole number from 0 to %d",
                         r->name, what, VISE_VOCAB_IDS_MAX - 1);
    *id = (int32_t)item->valuedouble;
    return VISE_OK;
}

vise_status vise_reader_make_vocab(vise_tokenizer_reader *r, size_t count, int32_t highest, size_t n_added)
{
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
    return vise_vocab_init(&r->tokenizer->vocab, count + n_added, highest + (int32_t)n_added + 1, r->err);
}

vise_status vise_reader_vocab(vise_tokenizer_reader *r, const cJSON *vocab, size_t n_added)
{
    const cJSON *item;
    size_t count = 0;
    int32_t id, highest = -1;

    if (!cJSON_IsObject(vocab))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: the model needs \"vocab\", an object of tokens and ids",
                         r->name);
    cJSON_ArrayForEach(item, vocab)
    {
        VISE_TRY(vise_reader_id(r, item, item->string, &id));
        highest = id > highest ? id : highest;
        count++;
    }
    VISE_TRY(vise_reader_make_vocab(r, count, highest, n_added));
    cJSON_ArrayForEach(item, vocab)
    {
        VISE_TRY(vise_reader_id(r, item, item->string, &id));
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

static vise_status read_bpe(reader *r, const cJSON *model, size_t n_added)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    vise_bpe *bpe = &r->tokenizer->bpe;
    const char *text;
    double dropout = 0.0;
    size_t length;

    for (size_t i = 0; i < sizeof affixes / sizeof affixes[0]; i++) {
        text = "";
        VISE_TRY(vise_json_text(r->name, model, affixes[i], false, &text, r->err));
        if (text[0] != '\0')
            return vise_reader_unsupported(r, affixes[i], text);
    }
    VISE_TRY(vise_json_double(r->name, model, "dropout", false, 0.0, 1.0, &dropout, r->err));
    if (dropout > 0.0)
        return VISE_FAIL(r->err, VISE_EUNSUPPORTED, "%s: a model with dropout %g tokenizes at random",
                         r->name, dropout);
    VISE_TRY(vise_reader_vocab(r, vise_reader_member(model, "vocab"), n_added));
    VISE_TRY(read_merges(r, vise_reader_member(model, "merges")));
    VISE_TRY(vise_json_bool(r->name, model, "fuse_unk", false, &bpe->fuse_unk, r->err));
    VISE_TRY(vise_json_bool(r->name, model, "byte_fallback", false, &bpe->byte_fallback, r->err));
    VISE_TRY(vise_json_bool(r->name, model, "ignore_merges", false, &bpe->ignore_merges, r->err));
    text = NULL;
    VISE_TRY(vise_json_text(r->name, model, "unk_token", false, &text, r->err));
    if (text != NULL)
        VISE_TRY(vise_reader_keep(r, text, &bpe->unk_token, &length));
    return VISE_OK;
}

static vise_status read_wordpiece(reader *r, const cJSON *model, size_t n_added)
{
    vise_wordpiece *piece = &r->tokenizer->wordpiece;
    int64_t chars = 100;
    const char *text = "[UNK]";
    size_t length;

    r->tokenizer->kind = VISE_MODEL_WORDPIECE;
    VISE_TRY(vise_reader_vocab(r, vise_reader_member(model, "vocab"), n_added));
    VISE_TRY(vise_json_int(r->name, model, "max_input_chars_per_word", false, 0, INT32_MAX, &chars, r->err));
    piece->max_chars = (size_t)chars;
    VISE_TRY(vise_json_text(r->name, model, "unk_token", false, &text, r->err));
    VISE_TRY(vise_reader_keep(r, text, &piece->unk_token, &length));
    text = "##";
    VISE_TRY(vise_json_text(r->name, model, "continuing_subword_prefix", false, &text, r->err));
    return vise_reader_keep(r, text, &piece->prefix, &piece->prefix_length);
}

static vise_status read_model(reader *r, void *context, size_t n_added)
{
    const cJSON *model = context;
    const char *type = "BPE";

    if (!cJSON_IsObject(model))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: there is no \"model\"", r->name);
    VISE_TRY(vise_json_text(r->name, model, "type", false, &type, r->err));
    if (strcmp(type, "BPE") == 0)
        return read_bpe(r, model, n_added);
    if (strcmp(type, "WordPiece") == 0)
        return read_wordpiece(r, model, n_added);
    return vise_reader_unsupported(r, "the model", type);
}

/* Tables that need all of the vocabulary and the pre-tokenizers. */
static vise_status finish_model(reader *r)
{
    vise_tokenizer *t = r->tokenizer;

    if (t->kind == VISE_MODEL_WORDPIECE) {
        t->wordpiece.vocab = &t->vocab;
        vise_wordpiece_finish(&t->wordpiece);
        t->unk = t->wordpiece.unk;
        if (t->bpe.byte_level) {
            t->bpe.byte_level = false;
            return vise_reader_add_step(r, (vise_step){.kind = VISE_STEP_SPELL_BYTES});
        }
        return VISE_OK;
    }
    VISE_TRY(vise_bpe_finish(&t->bpe, r->err));
    t->unk = t->bpe.unk_token != NULL ? t->bpe.unk : -1;
    /* Where no pre-tokenizer cuts, the merges may still allow it: then words are short and the cache serves. */
    if (!t->spells_bytes && !t->bpe.ignore_merges && vise_bpe_cuts_at_mark(&t->bpe) &&
        t->n_steps < VISE_STEPS_MAX)
        return vise_reader_add_step(r, (vise_step){.kind = VISE_STEP_SPLIT, .split = VISE_SPLIT_WORDS});
    return VISE_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

vise_status vise_reader_run(vise_tokenizer_reader *r, const cJSON *json, vise_model_reader model,
                            void *context)
{
    vise_tokenizer *t = r->tokenizer;
    const cJSON *added = vise_reader_member(json, "added_tokens"), *item;
    size_t n_added = 0;

    if (!cJSON_IsObject(json))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: not a JSON object", r->name);
    t->bos = t->unk = -1;
    VISE_TRY(vise_arena_new(&t->arena, r->err));
    if (added != NULL && !cJSON_IsArray(added))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: added_tokens must be a list", r->name);
    cJSON_ArrayForEach(item, added) n_added++;
    if (n_added > VISE_VOCAB_IDS_MAX)
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: %zu added tokens are too many", r->name, n_added);
    VISE_TRY(model(r, context, n_added));
    VISE_TRY(read_components(r, vise_reader_member(json, "normalizer"), "normalizer", "normalizers",
                             vise_reader_normal));
    VISE_TRY(read_components(r, vise_reader_member(json, "pre_tokenizer"), "pre-tokenizer", "pretokenizers",
                             vise_reader_step));
    VISE_TRY(vise_reader_added(r, added, n_added));
    VISE_TRY(finish_model(r));
    return read_components(r, vise_reader_member(json, "post_processor"), "post-processor", "processors",
                           vise_reader_post);
}

vise_status vise_tokenizer_parse(vise_tokenizer *tokenizer, const char *name, const char *text, size_t length,
                                 vise_error *err)
{
    vise_tokenizer_reader r = {tokenizer, name, err};
    cJSON *json;
    vise_status status;

    VISE_TRY(vise_json_parse(name, text, length, &json, err));
    status = vise_reader_run(&r, json, read_model, cJSON_GetObjectItemCaseSensitive(json, "model"));
    cJSON_Delete(json);
    return status;
}
