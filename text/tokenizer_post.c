/* Post-processors: the special tokens around one text or two. Reading them, and putting them there. */
#include <string.h>

#include "core/json.h"
#include "text/tokenizer_internal.h"

/* ---- reading ----------------------------------------------------------------------------------------- */

static vise_status add_piece(vise_tokenizer_reader *r, vise_template *to, int32_t id, uint8_t type)
{
    if (to->count == VISE_TEMPLATE_MAX)
        return VISE_FAIL(r->err, VISE_EUNSUPPORTED, "%s: a template of more than %d pieces", r->name,
                         VISE_TEMPLATE_MAX);
    to->types[to->count] = type;
    to->ids[to->count++] = id;
    return VISE_OK;
}

static vise_status check_id(vise_tokenizer_reader *r, const char *text, int32_t id)
{
    if (id >= r->tokenizer->vocab.size || r->tokenizer->vocab.tokens[id].text == NULL)
        return VISE_FAIL(r->err, VISE_EFORMAT,
                         "%s: the template's \"%.60s\" has id %ld, but there are %ld tokens", r->name, text,
                         (long)id, (long)r->tokenizer->vocab.size);
    return VISE_OK;
}

/* A special token of a template, which may stand for several ids. */
static vise_status read_special(vise_tokenizer_reader *r, const cJSON *component, const cJSON *piece,
                                uint8_t type, vise_template *to)
{
    const cJSON *entry, *item;
    const char *text;
    int32_t id;

    VISE_TRY(vise_json_text(r->name, piece, "id", true, &text, r->err));
    entry = vise_reader_member(vise_reader_member(component, "special_tokens"), text);
    if (!cJSON_IsArray(vise_reader_member(entry, "ids")))
        return VISE_FAIL(r->err, VISE_EFORMAT,
                         "%s: the template names \"%.60s\", which its special_tokens lack", r->name, text);
    cJSON_ArrayForEach(item, vise_reader_member(entry, "ids"))
    {
        VISE_TRY(vise_reader_id(r, item, text, &id));
        VISE_TRY(check_id(r, text, id));
        VISE_TRY(add_piece(r, to, id, type));
    }
    return VISE_OK;
}

static vise_status read_template(vise_tokenizer_reader *r, const cJSON *component, const char *key,
                                 vise_template *to)
{
    const cJSON *list = vise_reader_member(component, key), *item;
    int64_t type;
    const char *text;

    if (!cJSON_IsArray(list))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: TemplateProcessing needs the list \"%s\"", r->name, key);
    cJSON_ArrayForEach(item, list)
    {
        const cJSON *special = vise_reader_member(item, "SpecialToken");
        const cJSON *sequence = vise_reader_member(item, "Sequence");
        const cJSON *piece = special != NULL ? special : sequence;
        if (!cJSON_IsObject(piece))
            return VISE_FAIL(r->err, VISE_EFORMAT, "%s: a template is made of SpecialToken and Sequence",
                             r->name);
        type = 0;
        VISE_TRY(vise_json_int(r->name, piece, "type_id", false, 0, 255, &type, r->err));
        if (special != NULL) {
            VISE_TRY(read_special(r, component, special, (uint8_t)type, to));
            continue;
        }
        VISE_TRY(vise_json_text(r->name, sequence, "id", true, &text, r->err));
        if (strcmp(text, "A") != 0 && strcmp(text, "B") != 0)
            return VISE_FAIL(r->err, VISE_EFORMAT, "%s: a template's Sequence is \"%.60s\", expected A or B",
                             r->name, text);
        VISE_TRY(
            add_piece(r, to, text[0] == 'A' ? VISE_TEMPLATE_FIRST : VISE_TEMPLATE_SECOND, (uint8_t)type));
    }
    return VISE_OK;
}

/* ["[SEP]", 102] */
static vise_status read_pair(vise_tokenizer_reader *r, const cJSON *component, const char *key, int32_t *id)
{
    const cJSON *list = vise_reader_member(component, key);
    const cJSON *text = cJSON_IsArray(list) ? list->child : NULL;

    if (text == NULL || !cJSON_IsString(text))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: the post-processor needs \"%s\", a token and its id",
                         r->name, key);
    VISE_TRY(vise_reader_id(r, text->next, text->valuestring, id));
    return check_id(r, text->valuestring, *id);
}

/* BERT: [CLS] A [SEP] B [SEP], the second of type 1. RoBERTa: <s> A </s> </s> B </s>. */
static vise_status read_cls_sep(vise_tokenizer_reader *r, const cJSON *component, bool roberta)
{
    vise_tokenizer *t = r->tokenizer;
    uint8_t second = roberta ? 0 : 1;
    int32_t cls, sep;

    VISE_TRY(read_pair(r, component, "cls", &cls));
    VISE_TRY(read_pair(r, component, "sep", &sep));
    for (int turn = 0; turn < 2; turn++) {
        vise_template *to = turn == 0 ? &t->single : &t->pair;
        VISE_TRY(add_piece(r, to, cls, 0));
        VISE_TRY(add_piece(r, to, VISE_TEMPLATE_FIRST, 0));
        VISE_TRY(add_piece(r, to, sep, 0));
    }
    if (roberta)
        VISE_TRY(add_piece(r, &t->pair, sep, 0));
    VISE_TRY(add_piece(r, &t->pair, VISE_TEMPLATE_SECOND, second));
    return add_piece(r, &t->pair, sep, second);
}

vise_status vise_reader_post(vise_tokenizer_reader *r, const cJSON *component, const char *type)
{
    vise_tokenizer *t = r->tokenizer;

    if (strcmp(type, "ByteLevel") == 0)
        return VISE_OK;
    if (t->single.count > 0)
        return vise_reader_unsupported(r, "behind another, the post-processor", type);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        VISE_TRY(read_cls_sep(r, component, type[0] == 'R'));
    } else if (strcmp(type, "TemplateProcessing") == 0) {
        VISE_TRY(read_template(r, component, "single", &t->single));
        if (vise_reader_member(component, "pair") != NULL)
            VISE_TRY(read_template(r, component, "pair", &t->pair));
    } else {
        return vise_reader_unsupported(r, "the post-processor", type);
    }
    if (t->single.count > 0 && t->single.ids[0] >= 0)
        t->bos = t->single.ids[0];
    if (t->bos >= 0 && t->single.count > 1 && t->single.ids[1] >= 0)
        return VISE_FAIL(r->err, VISE_EUNSUPPORTED, "%s: more than one token is put in front of a text",
                         r->name);
    return VISE_OK;
}

/* ---- use --------------------------------------------------------------------------------------------- */

void vise_encoding_deinit(vise_encoding *encoding)
{
    vise_ids_deinit(&encoding->ids);
    vise_free(encoding->types);
    *encoding = (vise_encoding){0};
}

/* How much of each text fits into `room` tokens: the longer one gives way first. */
static void share(size_t room, size_t *first, size_t *second)
{
    bool swap = *first > *second;
    size_t *shorter = swap ? second : first, *longer = swap ? first : second;

    if (*first + *second <= room)
        return;
    *longer = *shorter > room ? *shorter : (*shorter > room - *shorter ? *shorter : room - *shorter);
    if (*shorter + *longer > room) {
        *shorter = room / 2;
        *longer = room / 2 + room % 2;
    }
}

static vise_status add_span(vise_encoding *out, size_t *capacity, const int32_t *ids, size_t count,
                            uint8_t type, vise_error *err)
{
    size_t before = out->ids.count;

    VISE_TRY(vise_ids_append(&out->ids, ids, count, err));
    VISE_TRY(vise_grow((void **)&out->types, capacity, before + count + 1, sizeof *out->types, err));
    memset(out->types + before, type, count);
    return VISE_OK;
}

static vise_status wrap(const vise_tokenizer *tokenizer, const vise_ids *first, const vise_ids *second,
                        size_t max_length, vise_encoding *out, vise_error *err)
{
    static const vise_template bare = {{VISE_TEMPLATE_FIRST, VISE_TEMPLATE_SECOND}, {0, 0}, 2};
    const vise_template *form =
        second->count > 0 || second->ids != NULL ? &tokenizer->pair : &tokenizer->single;
    size_t capacity = 0, special = 0, counts[2] = {first->count, second->count};

    if (form->count == 0)
        form = &bare;
    for (size_t i = 0; i < form->count; i++)
        special += form->ids[i] >= 0;
    if (max_length > 0 && max_length <= special)
        return VISE_FAIL(err, VISE_EUSAGE, "%zu tokens have no room for a text beside %zu special ones",
                         max_length, special);
    if (max_length > 0) {
        out->truncated = counts[0] + counts[1] > max_length - special;
        share(max_length - special, &counts[0], &counts[1]);
    }
    for (size_t i = 0; i < form->count; i++) {
        int32_t id = form->ids[i];
        const vise_ids *text = id == VISE_TEMPLATE_FIRST ? first : second;
        size_t count = id == VISE_TEMPLATE_FIRST ? counts[0] : counts[1];
        VISE_TRY(
            add_span(out, &capacity, id >= 0 ? &id : text->ids, id >= 0 ? 1 : count, form->types[i], err));
    }
    out->ids.invalid_utf8 = first->invalid_utf8 + second->invalid_utf8;
    return VISE_OK;
}

vise_status vise_tokenize_pair(const vise_tokenizer *tokenizer, const char *first, const char *second,
                               size_t max_length, vise_encoding *out, vise_error *err)
{
    vise_ids ids[2] = {{0}, {0}};
    vise_status status;

    *out = (vise_encoding){0};
    VISE_TRY_TO(end, vise_tokenize(tokenizer, first, strlen(first), &ids[0], err));
    if (second != NULL) {
        VISE_TRY_TO(end, vise_ids_reserve(&ids[1], 1, err)); /* an empty second text is one, too */
        VISE_TRY_TO(end, vise_tokenize(tokenizer, second, strlen(second), &ids[1], err));
    }
    status = wrap(tokenizer, &ids[0], &ids[1], max_length, out, err);
end:
    vise_ids_deinit(&ids[0]);
    vise_ids_deinit(&ids[1]);
    if (status != VISE_OK)
        vise_encoding_deinit(out);
    return status;
}
