/* tokenizer.model: sentencepiece's file (sentencepiece_model.proto), for its BPE models. Two neighbours are merged to
 * the piece of the highest score, the leftmost of equals: merges are ranked by their piece's score. What a model asks
 * of the normalizer beyond white space, and pieces given by the user, are refused.
 */
#include "text/sentencepiece.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/protobuf.h"
#include "text/unicode.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

/* ---- the file ---------------------------------------------------------------------------------------- */

static vise_status broken(const char *name, vise_error *err)
{
    return VISE_FAIL(err, VISE_EFORMAT, "%s: not a sentencepiece model (the protocol buffer is broken)",
                     name);
}

static vise_status read_piece(vise_sentencepiece *model, const vise_protobuf_field *message, vise_error *err)
{
    vise_protobuf fields = vise_protobuf_of(message->bytes, message->length);
    vise_protobuf_field field;
    vise_sentence_piece piece = {.type = NORMAL};
    size_t index = model->count;

    while (vise_protobuf_next(&fields, &field)) {
        if (field.number == 1 && field.wire == 2) {
            piece.text = field.bytes;
            piece.length = field.length;
        } else if (field.number == 2 && field.wire == 5) {
            piece.score = vise_protobuf_float(&field);
        } else if (field.number == 3 && field.wire == 0) {
            piece.type = field.value <= BYTE ? (int)field.value : 0;
        }
    }
    if (fields.broken)
        return broken(model->name, err);
    if (piece.length == 0 || piece.length > INT32_MAX || memchr(piece.text, '\0', piece.length) != NULL ||
        vise_utf8_valid(piece.text, piece.length, NULL) < piece.length)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: the text of piece %zu is empty or not UTF-8", model->name,
                         index);
    if (piece.type < NORMAL || !isfinite(piece.score))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: piece %zu has no valid type or score", model->name, index);
    if (piece.type == USER_DEFINED || piece.type == UNUSED)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: piece %zu \"%.*s\" is %s, which is not supported; a tokenizer.json would do",
                         model->name, index, (int)(piece.length < 60 ? piece.length : 60), piece.text,
                         piece.type == UNUSED ? "marked as unused" : "given by the user");
    if (index == VISE_VOCAB_IDS_MAX)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: more than %d pieces", model->name, VISE_VOCAB_IDS_MAX);
    VISE_TRY(vise_grow((void **)&model->pieces, &model->capacity, index + 1, sizeof piece, err));
    model->pieces[model->count++] = piece;
    return VISE_OK;
}

static vise_status read_trainer(vise_sentencepiece *model, const vise_protobuf_field *message,
                                vise_error *err)
{
    static const char *const types[] = {"of no kind", "Unigram", "BPE", "Word", "Char"};
    vise_protobuf fields = vise_protobuf_of(message->bytes, message->length);
    vise_protobuf_field field;
    uint64_t type = 1;
    bool suffix = false;

    while (vise_protobuf_next(&fields, &field)) {
        if (field.wire != 0)
            continue;
        if (field.number == 3)
            type = field.value;
        else if (field.number == 24)
            suffix = field.value != 0;
        else if (field.number == 35)
            model->byte_fallback = field.value != 0;
        else if (field.number == 41)
            model->bos = (int64_t)field.value;
        else if (field.number == 42)
            model->eos = (int64_t)field.value;
    }
    if (fields.broken)
        return broken(model->name, err);
    if (type != 2)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: the sentencepiece model is %s; BPE is supported",
                         model->name, types[type < 5 ? type : 0]);
    if (suffix)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: treat_whitespace_as_suffix is not supported",
                         model->name);
    model->is_bpe = true;
    return VISE_OK;
}

static vise_status read_normalizer(vise_sentencepiece *model, const vise_protobuf_field *message,
                                   vise_error *err)
{
    vise_protobuf fields = vise_protobuf_of(message->bytes, message->length);
    vise_protobuf_field field;
    bool map = false, escape = true;

    while (vise_protobuf_next(&fields, &field)) {
        if (field.number == 2 && field.wire == 2)
            map = field.length > 0;
        else if (field.number == 3 && field.wire == 0)
            model->add_prefix = field.value != 0;
        else if (field.number == 4 && field.wire == 0)
            model->squeeze = field.value != 0;
        else if (field.number == 5 && field.wire == 0)
            escape = field.value != 0;
    }
    if (fields.broken)
        return broken(model->name, err);
    if (map)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: a normalizer with a table of its own (nmt_nfkc, say) is not supported; a "
                         "tokenizer.json would do",
                         model->name);
    if (!escape)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: escape_whitespaces off is not supported", model->name);
    return VISE_OK;
}

vise_status vise_sentencepiece_read(const char *name, const char *bytes, size_t length,
                                    vise_sentencepiece *model, vise_error *err)
{
    vise_protobuf fields = vise_protobuf_of(bytes, length);
    vise_protobuf_field field;
    size_t unknowns = 0;

    *model = (vise_sentencepiece){.name = name, .bos = 1, .eos = 2, .add_prefix = true, .squeeze = true};
    while (vise_protobuf_next(&fields, &field)) {
        if (field.wire != 2)
            continue;
        if (field.number == 1)
            VISE_TRY(read_piece(model, &field, err));
        else if (field.number == 2)
            VISE_TRY(read_trainer(model, &field, err));
        else if (field.number == 3)
            VISE_TRY(read_normalizer(model, &field, err));
    }
    if (fields.broken || model->count == 0)
        return broken(name, err);
    if (!model->is_bpe)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: the sentencepiece model is Unigram; BPE is supported",
                         name);
    for (size_t i = 0; i < model->count; i++) {
        if (model->pieces[i].type != UNKNOWN)
            continue;
        model->unk = i;
        unknowns++;
    }
    if (unknowns != 1)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: %zu unknown pieces, expected one", name, unknowns);
    if (model->bos >= (int64_t)model->count || model->eos >= (int64_t)model->count)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: bos_id %lld and eos_id %lld are no pieces; there are %zu",
                         name, (long long)model->bos, (long long)model->eos, model->count);
    return VISE_OK;
}

void vise_sentencepiece_deinit(vise_sentencepiece *model)
{
    vise_free(model->pieces);
    *model = (vise_sentencepiece){0};
}

bool vise_sentencepiece_is_special(const vise_sentencepiece *model, size_t piece)
{
    return model->pieces[piece].type == UNKNOWN || model->pieces[piece].type == CONTROL;
}

/* ---- the model --------------------------------------------------------------------------------------- */

static int by_score(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x < y) - (x > y);
}

/* How many distinct scores are higher than each piece's. */
static vise_status rank_scores(const vise_sentencepiece *model, uint32_t *ranks, vise_error *err)
{
    float *scores;
    size_t distinct = 0;

    VISE_TRY(vise_calloc(model->count, sizeof *scores, (void **)&scores, err));
    for (size_t i = 0; i < model->count; i++)
        scores[i] = model->pieces[i].score + 0.0f; /* one zero */
    qsort(scores, model->count, sizeof *scores, by_score);
    for (size_t i = 0; i < model->count; i++)
        if (i == 0 || scores[i] != scores[distinct - 1])
            scores[distinct++] = scores[i];
    for (size_t i = 0; i < model->count; i++) {
        const float score = model->pieces[i].score + 0.0f;
        const float *found = bsearch(&score, scores, distinct, sizeof *scores, by_score);
        ranks[i] = found != NULL ? (uint32_t)(found - scores) : 0;
    }
    vise_free(scores);
    return VISE_OK;
}

/* Counts the pairs of pieces that together are a piece, and adds their merges to bpe unless that is NULL. */
static size_t each_pair(const vise_sentencepiece *model, const vise_vocab *vocab, const uint32_t *ranks,
                        vise_bpe *bpe)
{
    size_t pairs = 0;

    for (size_t i = 0; i < model->count; i++) {
        const vise_sentence_piece *piece = &model->pieces[i];
        size_t n;
        if (piece->type != NORMAL)
            continue;
        for (size_t at = 0; at < piece->length; at += n) {
            int32_t left, right;
            (void)vise_utf8_at(piece->text + at, &n);
            if (at == 0)
                continue;
            left = vise_vocab_find(vocab, piece->text, at);
            right = vise_vocab_find(vocab, piece->text + at, piece->length - at);
            if (left < 0 || right < 0 || model->pieces[left].type != NORMAL ||
                model->pieces[right].type != NORMAL)
                continue;
            pairs++;
            if (bpe != NULL)
                vise_bpe_put_merge(bpe, left, right, ranks[i], (int32_t)i);
        }
    }
    return pairs;
}

vise_status vise_sentencepiece_fill(const vise_sentencepiece *model, vise_tokenizer_reader *r, size_t n_added)
{
    vise_tokenizer *t = r->tokenizer;
    const vise_sentence_piece *unk = &model->pieces[model->unk];
    uint32_t *ranks;
    vise_status status;

    VISE_TRY(vise_reader_make_vocab(r, model->count, (int32_t)model->count - 1, n_added));
    for (size_t i = 0; i < model->count; i++)
        VISE_TRY(vise_vocab_add(&t->vocab, r->name, model->pieces[i].text, model->pieces[i].length,
                                (int32_t)i, r->err));
    VISE_TRY(vise_calloc(model->count, sizeof *ranks, (void **)&ranks, r->err));
    VISE_TRY_TO(end, rank_scores(model, ranks, r->err));
    VISE_TRY_TO(end, vise_bpe_init(&t->bpe, &t->vocab, each_pair(model, &t->vocab, ranks, NULL), r->err));
    (void)each_pair(model, &t->vocab, ranks, &t->bpe);
    t->bpe.fuse_unk = true;
    t->bpe.byte_fallback = model->byte_fallback;
    VISE_TRY_TO(end,
                vise_arena_strfmt(t->arena, &t->bpe.unk_token, r->err, "%.*s", (int)unk->length, unk->text));
end:
    vise_free(ranks);
    return status;
}
