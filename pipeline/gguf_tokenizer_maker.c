#include "pipeline/gguf_tokenizer_maker.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "text/unicode.h"

static const char *const role_keys[VISE_TOKEN_ROLES] = {"bos", "eos", "unknown", "seperator", "padding", "cls", "mask"};

const char *vise_maker_text(const vise_maker *m, int64_t id)
{
    return id >= 0 ? m->vocab.tokens[id].text : NULL;
}

int vise_maker_type(const vise_maker *m, size_t id)
{
    return m->types != NULL ? m->types[id] : VISE_TOKEN_NORMAL;
}
/* ---- what the file says ---------------------------------------------------------------------------------- */

vise_status vise_maker_array(const vise_maker *m, const char *key, vise_gguf_kind kind, const void **elements)
{
    uint64_t n;
    VISE_TRY(vise_gguf_get_array(m->gguf, key, false, kind, elements, &n, m->err));
    if (n > 0 && n < m->n)
        return VISE_FAIL(m->err, VISE_EFORMAT, "%s: \"%s\" has %" PRIu64 " elements for %zu tokens", m->gguf->path, key,
                         n, m->n);
    if (n == 0)
        *elements = NULL;
    return VISE_OK;
}

static vise_status read_ids(vise_maker *m)
{
    for (int r = 0; r < VISE_TOKEN_ROLES; r++) {
        char key[64];
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", role_keys[r]);
        m->ids[r] = -1;
        VISE_TRY(vise_gguf_get_int(m->gguf, key, false, 0, (int64_t)m->n - 1, &m->ids[r], m->err));
    }
    return VISE_OK;
}

/* WordPiece: what begins a word has a mark in front here, what goes on has "##" there. */
static size_t spell_word(const vise_maker *m, size_t id, char *spelled, const char **text)
{
    const size_t mark = strlen(VISE_SPACE_MARK), length = m->stored[id].length;
    const char *stored = m->stored[id].bytes;
    *text = stored;
    if (vise_maker_type(m, id) == VISE_TOKEN_CONTROL || vise_maker_type(m, id) == VISE_TOKEN_UNKNOWN)
        return length;
    if (length > mark && memcmp(stored, VISE_SPACE_MARK, mark) == 0) {
        *text = stored + mark;
        return length - mark;
    }
    memcpy(spelled, "##", 2);
    memcpy(spelled + 2, stored, length);
    *text = spelled;
    return length + 2;
}

static vise_status add_token(vise_maker *m, size_t id, bool words, char *spelled)
{
    const vise_gguf_text *stored = &m->stored[id];
    const int type = vise_maker_type(m, id);
    const char *text = stored->bytes;
    if (type < VISE_TOKEN_NORMAL || type > VISE_TOKEN_BYTE)
        return VISE_FAIL(m->err, VISE_EFORMAT, "%s: token %zu is of type %d; types are 1 to 6", m->gguf->path, id,
                         type);
    if (type == VISE_TOKEN_UNUSED || stored->length == 0)
        return VISE_OK;
    if (strlen(stored->bytes) != stored->length ||
        vise_utf8_valid(stored->bytes, stored->length, NULL) != stored->length)
        return VISE_FAIL(m->err, VISE_EFORMAT, "%s: token %zu is no text in UTF-8", m->gguf->path, id);
    const size_t length = words ? spell_word(m, id, spelled, &text) : stored->length;
    return vise_vocab_add(&m->vocab, m->gguf->path, text, length, (int32_t)id, m->err);
}

vise_status vise_maker_tokens(vise_maker *m, bool words)
{
    const void *stored, *types;
    uint64_t n;
    size_t longest = 0;
    void *spelled;
    VISE_TRY(vise_gguf_get_array(m->gguf, "tokenizer.ggml.tokens", true, VISE_GGUF_KIND_TEXT, &stored, &n, m->err));
    if (n == 0 || n > VISE_VOCAB_IDS_MAX)
        return VISE_FAIL(m->err, VISE_EFORMAT, "%s: a vocabulary has 1 to 2^24 tokens, not %" PRIu64, m->gguf->path, n);
    m->stored = stored;
    m->n = (size_t)n;
    VISE_TRY(vise_maker_array(m, "tokenizer.ggml.token_type", VISE_GGUF_KIND_I32, &types));
    m->types = types;
    VISE_TRY(read_ids(m));
    VISE_TRY(vise_vocab_init(&m->vocab, m->n, (int32_t)m->n, m->err));
    for (size_t id = 0; id < m->n; id++)
        longest = m->stored[id].length > longest ? m->stored[id].length : longest;
    VISE_TRY(vise_calloc(longest + 3, 1, &spelled, m->err));
    vise_status status = VISE_OK;
    for (size_t id = 0; id < m->n && status == VISE_OK; id++)
        status = add_token(m, id, words, spelled);
    vise_free(spelled);
    for (int r = 0; r < VISE_TOKEN_ROLES; r++) /* a role without a token is none */
        if (status == VISE_OK && vise_maker_text(m, m->ids[r]) == NULL)
            m->ids[r] = -1;
    return status;
}

vise_status vise_maker_flags(vise_maker *m)
{
    VISE_TRY(vise_gguf_get_bool(m->gguf, "tokenizer.ggml.add_bos_token", false, &m->add_bos, m->err));
    VISE_TRY(vise_gguf_get_bool(m->gguf, "tokenizer.ggml.add_eos_token", false, &m->add_eos, m->err));
    m->add_bos = m->add_bos && m->ids[VISE_TOKEN_BOS] >= 0;
    m->add_eos = m->add_eos && m->ids[VISE_TOKEN_EOS] >= 0;
    return VISE_OK;
}

/* ---- parts of tokenizer.json ----------------------------------------------------------------------------- */

void vise_maker_put_raw(vise_maker *m, const char *key, const char *json)
{
    vise_json_key(m->w, key);
    vise_json_put_raw(m->w, json);
}

void vise_maker_put_flag(vise_maker *m, const char *key, bool value)
{
    vise_json_key(m->w, key);
    vise_json_put_bool(m->w, value);
}

void vise_maker_put_text(vise_maker *m, const char *key, const char *text)
{
    vise_json_key(m->w, key);
    vise_json_put_text(m->w, text);
}

/* Phi-3's tokens take the white space behind them, which its files do not tell; llama.cpp goes by the name, too. */
static bool takes_space(const vise_maker *m, const char *text)
{
    return strcmp(m->architecture, "phi3") == 0 && strcmp(text, "<unk>") != 0 && strcmp(text, "<s>") != 0 &&
           strcmp(text, "<|endoftext|>") != 0;
}

/* spm: of sentencepiece's vocabularies. */
static void put_added(vise_maker *m, bool roberta, bool spm)
{
    vise_json_key(m->w, "added_tokens");
    vise_json_array(m->w);
    for (size_t id = 0; id < m->n; id++) {
        const int type = vise_maker_type(m, id);
        if (vise_maker_text(m, (int64_t)id) == NULL ||
            (type != VISE_TOKEN_UNKNOWN && type != VISE_TOKEN_CONTROL && type != VISE_TOKEN_USER_DEFINED))
            continue;
        vise_json_object(m->w);
        vise_json_key(m->w, "id");
        vise_json_put_int(m->w, (int64_t)id);
        vise_maker_put_text(m, "content", vise_maker_text(m, (int64_t)id));
        vise_maker_put_flag(m, "single_word", false);
        vise_maker_put_flag(m, "lstrip", roberta && (int64_t)id == m->ids[VISE_TOKEN_MASK]);
        vise_maker_put_flag(m, "rstrip", spm && takes_space(m, vise_maker_text(m, (int64_t)id)));
        vise_maker_put_flag(m, "normalized", false);
        vise_maker_put_flag(m, "special", type != VISE_TOKEN_USER_DEFINED);
        vise_json_object_end(m->w);
    }
    vise_json_array_end(m->w);
}

void vise_maker_put_vocab(vise_maker *m)
{
    vise_json_key(m->w, "vocab");
    vise_json_object(m->w);
    for (size_t id = 0; id < m->n; id++)
        if (vise_maker_text(m, (int64_t)id) != NULL) {
            vise_json_key(m->w, vise_maker_text(m, (int64_t)id));
            vise_json_put_int(m->w, (int64_t)id);
        }
    vise_json_object_end(m->w);
}

static void put_piece(vise_maker *m, const char *kind, const char *id, int type)
{
    vise_json_object(m->w);
    vise_json_key(m->w, kind);
    vise_json_object(m->w);
    vise_maker_put_text(m, "id", id);
    vise_json_key(m->w, "type_id");
    vise_json_put_int(m->w, type);
    vise_json_object_end(m->w);
    vise_json_object_end(m->w);
}

static void put_around(vise_maker *m, const char *key, int64_t front, int64_t back, int64_t between, bool pair)
{
    vise_json_key(m->w, key);
    vise_json_array(m->w);
    for (int text = 0; text < 1 + pair; text++) {
        const int64_t before = text == 0 ? front : between;
        if (before >= 0)
            put_piece(m, "SpecialToken", vise_maker_text(m, before), text);
        put_piece(m, "Sequence", text == 0 ? "A" : "B", text);
        if (back >= 0)
            put_piece(m, "SpecialToken", vise_maker_text(m, back), text);
    }
    vise_json_array_end(m->w);
}

void vise_maker_put_template(vise_maker *m, int64_t front, int64_t back, int64_t between)
{
    const int64_t ids[2] = {front, back};
    vise_json_object(m->w);
    vise_maker_put_text(m, "type", "TemplateProcessing");
    put_around(m, "single", front, back, between, false);
    put_around(m, "pair", front, back, between, true);
    vise_json_key(m->w, "special_tokens");
    vise_json_object(m->w);
    for (int i = 0; i < 2; i++) {
        if (ids[i] < 0 || (i == 1 && front == back))
            continue;
        vise_json_key(m->w, vise_maker_text(m, ids[i]));
        vise_json_object(m->w);
        vise_maker_put_text(m, "id", vise_maker_text(m, ids[i]));
        vise_json_key(m->w, "ids");
        vise_json_array(m->w);
        vise_json_put_int(m->w, ids[i]);
        vise_json_array_end(m->w);
        vise_json_key(m->w, "tokens");
        vise_json_array(m->w);
        vise_json_put_text(m->w, vise_maker_text(m, ids[i]));
        vise_json_array_end(m->w);
        vise_json_object_end(m->w);
    }
    vise_json_object_end(m->w);
    vise_json_object_end(m->w);
}

void vise_maker_begin(vise_maker *m, bool roberta, bool spm)
{
    vise_json_object(m->w);
    vise_maker_put_text(m, "version", "1.0");
    vise_maker_put_raw(m, "truncation", "null");
    vise_maker_put_raw(m, "padding", "null");
    put_added(m, roberta, spm);
}

void vise_maker_begin_model(vise_maker *m, const char *type)
{
    vise_json_key(m->w, "model");
    vise_json_object(m->w);
    vise_maker_put_text(m, "type", type);
}

void vise_maker_begin_bpe(vise_maker *m, const char *unk, bool fallback, bool whole_words)
{
    vise_maker_begin_model(m, "BPE");
    vise_maker_put_raw(m, "dropout", "null");
    if (unk != NULL)
        vise_maker_put_text(m, "unk_token", unk);
    else
        vise_maker_put_raw(m, "unk_token", "null");
    vise_maker_put_raw(m, "continuing_subword_prefix", "null");
    vise_maker_put_raw(m, "end_of_word_suffix", "null");
    vise_maker_put_flag(m, "fuse_unk", fallback);
    vise_maker_put_flag(m, "byte_fallback", fallback);
    vise_maker_put_flag(m, "ignore_merges", whole_words);
    vise_maker_put_vocab(m);
    vise_json_key(m->w, "merges");
    vise_json_array(m->w);
}

void vise_maker_end_bpe(vise_maker *m)
{
    vise_json_array_end(m->w);
    vise_json_object_end(m->w);
    vise_json_object_end(m->w);
}
