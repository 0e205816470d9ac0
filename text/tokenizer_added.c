/* Reading tokenizer.json: added tokens. */
#include <string.h>

#include "core/event.h"
#include "core/json.h"
#include "text/tokenizer_internal.h"

/* The id as the library gives it: the vocabulary's, else the next one behind everything. The id that the
 * file states is not asked, only compared. */
static vise_status add_token(vise_tokenizer_reader *r, const char *text, int32_t stated, size_t in_model,
                             int32_t *next, int32_t *id)
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

static vise_status read_added(vise_tokenizer_reader *r, const cJSON *item, bool special_turn, size_t in_model,
                              int32_t *next, added_lists *lists)
{
    vise_added_token token = {0};
    vise_tokenizer *t = r->tokenizer;
    const char *text;
    bool special = false, normalized = false;
    int32_t stated, id;

    if (!cJSON_IsObject(item))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: added_tokens must be a list of objects", r->name);
    VISE_TRY(vise_json_text(r->name, item, "content", true, &text, r->err));
    VISE_TRY(vise_reader_id(r, vise_reader_member(item, "id"), text, &stated));
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
        t->is_special[id] = special;
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
static vise_status normalize_tokens(vise_tokenizer_reader *r, added_lists *lists)
{
    vise_text_scratch *scratch;
    vise_status status = VISE_OK;

    VISE_TRY(vise_text_scratch_new(&scratch, r->err));
    for (size_t i = 0; i < lists->n_normal; i++) {
        vise_added_token *token = &lists->normal[i];
        const char *text;
        VISE_TRY_TO(end, vise_normalize(r->tokenizer, scratch, token->text, token->length, &text,
                                        &token->length, r->err));
        VISE_TRY_TO(end, vise_arena_strdup(r->tokenizer->arena, text, token->length, &token->text, r->err));
    }
end:
    vise_text_scratch_free(scratch);
    return status;
}

vise_status vise_reader_added(vise_tokenizer_reader *r, const cJSON *list, size_t n)
{
    vise_tokenizer *t = r->tokenizer;
    added_lists lists = {0};
    const cJSON *item;
    size_t in_model = t->vocab.count;
    int32_t next = 0;
    vise_status status;

    VISE_TRY(vise_calloc((size_t)t->vocab.limit, sizeof *t->is_added, (void **)&t->is_added, r->err));
    VISE_TRY(vise_calloc((size_t)t->vocab.limit, sizeof *t->is_special, (void **)&t->is_special, r->err));
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
