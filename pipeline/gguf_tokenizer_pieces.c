/* sentencepiece's BPE as tokenizer.json: what is merged follows from the pieces' scores, as transformers has it. */
#include <stdlib.h>
#include <string.h>

#include "pipeline/gguf_tokenizer_maker.h"
#include "text/unicode.h"

#define MARK "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" VISE_SPACE_MARK "\"}"
#define DECODERS                                                                                                       \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"" VISE_SPACE_MARK           \
    "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}"

/* ---- sentencepiece --------------------------------------------------------------------------------------- */

typedef struct pair {
    float score;
    int32_t piece;
    uint32_t left, bytes; /* of its first part, and in all */
} pair;

/* Best score first; of equals that with the longer parts, as transformers has it. */
static int by_score(const void *a, const void *b)
{
    const pair *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    if (x->left != y->left)
        return x->left < y->left ? 1 : -1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return (x->piece > y->piece) - (x->piece < y->piece);
}

/* Sentencepiece merges the leftmost of equals, which merges in an order cannot tell: but for runs of spaces, where the
 * longer one goes on at the left. */
static bool is_run(const vise_maker *m, const pair *p)
{
    const size_t mark = strlen(VISE_SPACE_MARK);
    const char *text = vise_maker_text(m, p->piece);
    for (size_t at = 0; at < p->bytes; at += mark)
        if (strncmp(text + at, VISE_SPACE_MARK, mark) != 0)
            return false;
    return true;
}

static bool is_normal(const vise_maker *m, const char *text, size_t length)
{
    const int32_t id = vise_vocab_find(&m->vocab, text, length);
    return id >= 0 && vise_maker_type(m, (size_t)id) == VISE_TOKEN_NORMAL;
}

/* Every way in which a piece is made of two. */
static vise_status find_pairs(const vise_maker *m, const float *scores, pair **pairs, size_t *count)
{
    size_t capacity = 0;
    for (size_t id = 0; id < m->n; id++) {
        const vise_vocab_token *token = &m->vocab.tokens[id];
        size_t step;
        if (token->text == NULL || vise_maker_type(m, id) != VISE_TOKEN_NORMAL)
            continue;
        if (!(scores[id] >= -3e38f && scores[id] <= 3e38f))
            return VISE_FAIL(m->err, VISE_EFORMAT, "%s: the score of token %zu is no finite number", m->gguf->path, id);
        (void)vise_utf8_at(token->text, &step);
        for (size_t at = step; at < token->length; at += step) {
            (void)vise_utf8_at(token->text + at, &step);
            if (!is_normal(m, token->text, at) || !is_normal(m, token->text + at, token->length - at))
                continue;
            VISE_TRY(vise_grow((void **)pairs, &capacity, *count + 1, sizeof **pairs, m->err));
            (*pairs)[(*count)++] = (pair){scores[id], (int32_t)id, (uint32_t)at, token->length};
        }
    }
    if (*count > 0)
        qsort(*pairs, *count, sizeof **pairs, by_score);
    return VISE_OK;
}

static vise_status put_sides(vise_maker *m, const char *text, size_t left, size_t length)
{
    char *side;
    vise_json_array(m->w);
    for (int k = 0; k < 2; k++) {
        VISE_TRY(vise_strfmt(&side, m->err, "%.*s", (int)(k == 0 ? left : length - left), k == 0 ? text : text + left));
        vise_json_put_text(m->w, side);
        vise_free(side);
    }
    vise_json_array_end(m->w);
    return VISE_OK;
}

static void put_pieces_around(vise_maker *m, bool prefix)
{
    vise_maker_begin(m, false, true);
    vise_maker_put_raw(m, "normalizer",
                       prefix ? "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
                                "\"" VISE_SPACE_MARK "\"}," MARK "]}"
                              : MARK);
    vise_maker_put_raw(m, "pre_tokenizer", "null");
    vise_json_key(m->w, "post_processor");
    if (m->add_bos || m->add_eos)
        vise_maker_put_template(m, m->add_bos ? m->ids[VISE_TOKEN_BOS] : -1,
                                m->add_eos ? m->ids[VISE_TOKEN_EOS] : -1, m->add_bos ? m->ids[VISE_TOKEN_BOS] : -1);
    else
        vise_json_put_null(m->w);
    vise_maker_put_raw(m, "decoder",
                       prefix ? DECODERS ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}"
                              : DECODERS "]}");
}

vise_status vise_maker_pieces(vise_maker *m)
{
    const void *scores;
    bool prefix = true;
    pair *pairs = NULL;
    size_t count = 0;
    VISE_TRY(vise_maker_tokens(m, false));
    VISE_TRY(vise_maker_array(m, "tokenizer.ggml.scores", VISE_GGUF_KIND_F32, &scores));
    VISE_TRY(vise_gguf_get_bool(m->gguf, "tokenizer.ggml.add_space_prefix", false, &prefix, m->err));
    m->add_bos = true;
    VISE_TRY(vise_maker_flags(m));
    if (scores == NULL) {
        m->why = "it has no scores, which tell what is merged first";
        return VISE_OK;
    }
    vise_status status = find_pairs(m, scores, &pairs, &count);
    for (size_t i = 1; status == VISE_OK && i < count; i++)
        if (pairs[i].score == pairs[i - 1].score && pairs[i].piece != pairs[i - 1].piece &&
            !(is_run(m, &pairs[i]) && is_run(m, &pairs[i - 1])))
            m->why = "several of its tokens have one score, which does not tell what is merged first";
    if (status == VISE_OK && m->why == NULL) {
        put_pieces_around(m, prefix);
        const int64_t unknown = m->ids[VISE_TOKEN_UNK] >= 0 ? m->ids[VISE_TOKEN_UNK] : 0;
        vise_maker_begin_bpe(m, vise_maker_text(m, unknown), true, false);
        for (size_t i = 0; status == VISE_OK && i < count; i++)
            status = put_sides(m, vise_maker_text(m, pairs[i].piece), pairs[i].left, pairs[i].bytes);
        vise_maker_end_bpe(m);
    }
    vise_free(pairs);
    return status;
}
