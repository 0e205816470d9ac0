#include "pipeline/gguf_tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "formats/names.h"
#include "formats/source.h"
#include "text/unicode.h"
#include "text/vocab.h"

#define SPACE_MARK    "\xE2\x96\x81" /* U+2581 */
#define SPACE_PATTERN "{\"String\":\" \"}"
#define FILE_MAX      ((size_t)512 << 20)

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

typedef enum role { BOS, EOS, UNK, SEP, PAD, CLS, MASK, ROLES } role;

static const char *const role_names[ROLES] = {"bos", "eos", "unk", "sep", "pad", "cls", "mask"};
static const char *const role_keys[ROLES] = {"bos", "eos", "unknown", "seperator", "padding", "cls", "mask"};

typedef struct maker {
    const vise_gguf *gguf;
    const vise_gguf_text *stored; /* [n] */
    const int32_t *types;         /* [n]; NULL: all are normal */
    size_t n;
    vise_vocab vocab; /* as tokenizer.json spells them; unused ones are left out */
    int64_t ids[ROLES]; /* -1: none */
    bool add_bos, add_eos;
    const char *architecture, *why;
    vise_json_writer *w;
    vise_error *err;
} maker;

static const char *text_at(const maker *m, int64_t id)
{
    return id >= 0 ? m->vocab.tokens[id].text : NULL;
}

static int type_at(const maker *m, size_t id)
{
    return m->types != NULL ? m->types[id] : NORMAL;
}

/* ---- BPE over bytes: how words are cut ------------------------------------------------------------------ */

#define LLAMA3                                                                                                         \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"           \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN2                                                                                                          \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"                \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define TEKKEN                                                                                                         \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"                       \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| "               \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* What tokenizer.json of the models has that llama.cpp's name stands for. */
static const struct cutter {
    const char *names; /* each between spaces */
    const char *regex; /* NULL: that of ByteLevel itself */
    bool digits;       /* one by one, in front of it */
    bool nfc;
    bool whole_words; /* that are tokens, are not taken apart */
    bool bos;         /* in front of texts, unless the file says otherwise */
} cutters[] = {
    {.names = " gpt-2 gpt2 phi-2 roberta-bpe "},
    {.names = " olmo ", .nfc = true},
    {.names = " smollm starcoder refact codeshell ", .digits = true},
    {.names = " llama-bpe llama3 llama-v3 ", .regex = LLAMA3, .whole_words = true, .bos = true},
    {.names = " qwen2 ", .regex = QWEN2, .nfc = true},
    {.names = " tekken ", .regex = TEKKEN, .whole_words = true, .bos = true},
};

static const struct cutter *cutter_of(const char *name)
{
    char between[80];
    snprintf(between, sizeof between, " %.70s ", name);
    for (size_t i = 0; i < sizeof cutters / sizeof *cutters; i++)
        if (strstr(cutters[i].names, between) != NULL)
            return &cutters[i];
    return NULL;
}

/* ---- what the file says ---------------------------------------------------------------------------------- */

static vise_status read_array(const maker *m, const char *key, vise_gguf_kind kind, const void **elements)
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

static vise_status read_ids(maker *m)
{
    for (int r = 0; r < ROLES; r++) {
        char key[64];
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", role_keys[r]);
        m->ids[r] = -1;
        VISE_TRY(vise_gguf_get_int(m->gguf, key, false, 0, (int64_t)m->n - 1, &m->ids[r], m->err));
    }
    return VISE_OK;
}

/* WordPiece: what begins a word has a mark in front here, what goes on has "##" there. */
static size_t spell_word(const maker *m, size_t id, char *spelled, const char **text)
{
    const size_t mark = strlen(SPACE_MARK), length = m->stored[id].length;
    const char *stored = m->stored[id].bytes;
    *text = stored;
    if (type_at(m, id) == CONTROL || type_at(m, id) == UNKNOWN)
        return length;
    if (length > mark && memcmp(stored, SPACE_MARK, mark) == 0) {
        *text = stored + mark;
        return length - mark;
    }
    memcpy(spelled, "##", 2);
    memcpy(spelled + 2, stored, length);
    *text = spelled;
    return length + 2;
}

static vise_status add_token(maker *m, size_t id, bool words, char *spelled)
{
    const vise_gguf_text *stored = &m->stored[id];
    const int type = type_at(m, id);
    const char *text = stored->bytes;
    if (type < NORMAL || type > BYTE)
        return VISE_FAIL(m->err, VISE_EFORMAT, "%s: token %zu is of type %d; types are 1 to 6", m->gguf->path, id,
                         type);
    if (type == UNUSED || stored->length == 0)
        return VISE_OK;
    if (strlen(stored->bytes) != stored->length ||
        vise_utf8_valid(stored->bytes, stored->length, NULL) != stored->length)
        return VISE_FAIL(m->err, VISE_EFORMAT, "%s: token %zu is no text in UTF-8", m->gguf->path, id);
    const size_t length = words ? spell_word(m, id, spelled, &text) : stored->length;
    return vise_vocab_add(&m->vocab, m->gguf->path, text, length, (int32_t)id, m->err);
}

static vise_status read_tokens(maker *m, bool words)
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
    VISE_TRY(read_array(m, "tokenizer.ggml.token_type", VISE_GGUF_KIND_I32, &types));
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
    for (int r = 0; r < ROLES; r++) /* a role without a token is none */
        if (status == VISE_OK && text_at(m, m->ids[r]) == NULL)
            m->ids[r] = -1;
    return status;
}

static vise_status read_flags(maker *m)
{
    VISE_TRY(vise_gguf_get_bool(m->gguf, "tokenizer.ggml.add_bos_token", false, &m->add_bos, m->err));
    VISE_TRY(vise_gguf_get_bool(m->gguf, "tokenizer.ggml.add_eos_token", false, &m->add_eos, m->err));
    m->add_bos = m->add_bos && m->ids[BOS] >= 0;
    m->add_eos = m->add_eos && m->ids[EOS] >= 0;
    return VISE_OK;
}

/* ---- parts of tokenizer.json ----------------------------------------------------------------------------- */

static void put_raw(maker *m, const char *key, const char *json)
{
    vise_json_key(m->w, key);
    vise_json_put_raw(m->w, json);
}

static void put_flag(maker *m, const char *key, bool value)
{
    vise_json_key(m->w, key);
    vise_json_put_bool(m->w, value);
}

static void put_text(maker *m, const char *key, const char *text)
{
    vise_json_key(m->w, key);
    vise_json_put_text(m->w, text);
}

/* Phi-3's tokens take the white space behind them, which its files do not tell; llama.cpp goes by the name, too. */
static bool takes_space(const maker *m, const char *text)
{
    return strcmp(m->architecture, "phi3") == 0 && strcmp(text, "<unk>") != 0 && strcmp(text, "<s>") != 0 &&
           strcmp(text, "<|endoftext|>") != 0;
}

/* spm: of sentencepiece's vocabularies. */
static void put_added(maker *m, bool roberta, bool spm)
{
    vise_json_key(m->w, "added_tokens");
    vise_json_array(m->w);
    for (size_t id = 0; id < m->n; id++) {
        const int type = type_at(m, id);
        if (text_at(m, (int64_t)id) == NULL || (type != UNKNOWN && type != CONTROL && type != USER_DEFINED))
            continue;
        vise_json_object(m->w);
        vise_json_key(m->w, "id");
        vise_json_put_int(m->w, (int64_t)id);
        put_text(m, "content", text_at(m, (int64_t)id));
        put_flag(m, "single_word", false);
        put_flag(m, "lstrip", roberta && (int64_t)id == m->ids[MASK]);
        put_flag(m, "rstrip", spm && takes_space(m, text_at(m, (int64_t)id)));
        put_flag(m, "normalized", false);
        put_flag(m, "special", type != USER_DEFINED);
        vise_json_object_end(m->w);
    }
    vise_json_array_end(m->w);
}

static void put_vocab(maker *m)
{
    vise_json_key(m->w, "vocab");
    vise_json_object(m->w);
    for (size_t id = 0; id < m->n; id++)
        if (text_at(m, (int64_t)id) != NULL) {
            vise_json_key(m->w, text_at(m, (int64_t)id));
            vise_json_put_int(m->w, (int64_t)id);
        }
    vise_json_object_end(m->w);
}

static void put_piece(maker *m, const char *kind, const char *id, int type)
{
    vise_json_object(m->w);
    vise_json_key(m->w, kind);
    vise_json_object(m->w);
    put_text(m, "id", id);
    vise_json_key(m->w, "type_id");
    vise_json_put_int(m->w, type);
    vise_json_object_end(m->w);
    vise_json_object_end(m->w);
}

static void put_around(maker *m, const char *key, int64_t front, int64_t back, bool pair, bool bert)
{
    vise_json_key(m->w, key);
    vise_json_array(m->w);
    for (int text = 0; text < 1 + pair; text++) {
        if (front >= 0 && (text == 0 || !bert))
            put_piece(m, "SpecialToken", text_at(m, front), text);
        put_piece(m, "Sequence", text == 0 ? "A" : "B", text);
        if (back >= 0)
            put_piece(m, "SpecialToken", text_at(m, back), text);
    }
    vise_json_array_end(m->w);
}

/* What stands around texts; -1: nothing. */
static void put_template(maker *m, int64_t front, int64_t back, bool bert)
{
    const int64_t ids[2] = {front, back};
    vise_json_object(m->w);
    put_text(m, "type", "TemplateProcessing");
    put_around(m, "single", front, back, false, bert);
    put_around(m, "pair", front, back, true, bert);
    vise_json_key(m->w, "special_tokens");
    vise_json_object(m->w);
    for (int i = 0; i < 2; i++) {
        if (ids[i] < 0 || (i == 1 && front == back))
            continue;
        vise_json_key(m->w, text_at(m, ids[i]));
        vise_json_object(m->w);
        put_text(m, "id", text_at(m, ids[i]));
        vise_json_key(m->w, "ids");
        vise_json_array(m->w);
        vise_json_put_int(m->w, ids[i]);
        vise_json_array_end(m->w);
        vise_json_key(m->w, "tokens");
        vise_json_array(m->w);
        vise_json_put_text(m->w, text_at(m, ids[i]));
        vise_json_array_end(m->w);
        vise_json_object_end(m->w);
    }
    vise_json_object_end(m->w);
    vise_json_object_end(m->w);
}

static void begin(maker *m, bool roberta, bool spm)
{
    vise_json_object(m->w);
    put_text(m, "version", "1.0");
    put_raw(m, "truncation", "null");
    put_raw(m, "padding", "null");
    put_added(m, roberta, spm);
}

static void begin_model(maker *m, const char *type)
{
    vise_json_key(m->w, "model");
    vise_json_object(m->w);
    put_text(m, "type", type);
}

static void begin_bpe(maker *m, const char *unk, bool fallback, bool whole_words)
{
    begin_model(m, "BPE");
    put_raw(m, "dropout", "null");
    if (unk != NULL)
        put_text(m, "unk_token", unk);
    else
        put_raw(m, "unk_token", "null");
    put_raw(m, "continuing_subword_prefix", "null");
    put_raw(m, "end_of_word_suffix", "null");
    put_flag(m, "fuse_unk", fallback);
    put_flag(m, "byte_fallback", fallback);
    put_flag(m, "ignore_merges", whole_words);
    put_vocab(m);
    vise_json_key(m->w, "merges");
    vise_json_array(m->w);
}

static void end_bpe(maker *m)
{
    vise_json_array_end(m->w);
    vise_json_object_end(m->w);
    vise_json_object_end(m->w);
}

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
static bool is_run(const maker *m, const pair *p)
{
    const size_t mark = strlen(SPACE_MARK);
    const char *text = text_at(m, p->piece);
    for (size_t at = 0; at < p->bytes; at += mark)
        if (strncmp(text + at, SPACE_MARK, mark) != 0)
            return false;
    return true;
}

static bool is_normal(const maker *m, const char *text, size_t length)
{
    const int32_t id = vise_vocab_find(&m->vocab, text, length);
    return id >= 0 && type_at(m, (size_t)id) == NORMAL;
}

/* Every way in which a piece is made of two. */
static vise_status find_pairs(const maker *m, const float *scores, pair **pairs, size_t *count)
{
    size_t capacity = 0;
    for (size_t id = 0; id < m->n; id++) {
        const vise_vocab_token *token = &m->vocab.tokens[id];
        size_t step;
        if (token->text == NULL || type_at(m, id) != NORMAL)
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

static vise_status put_sides(maker *m, const char *text, size_t left, size_t length)
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

static void put_pieces_around(maker *m, bool prefix)
{
    const char *mark = "{\"type\":\"Replace\",\"pattern\":" SPACE_PATTERN ",\"content\":\"" SPACE_MARK "\"}";
    begin(m, false, true);
    if (prefix)
        put_raw(m, "normalizer",
                "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" SPACE_MARK
                "\"},{\"type\":\"Replace\",\"pattern\":" SPACE_PATTERN ",\"content\":\"" SPACE_MARK "\"}]}");
    else
        put_raw(m, "normalizer", mark);
    put_raw(m, "pre_tokenizer", "null");
    vise_json_key(m->w, "post_processor");
    if (m->add_bos || m->add_eos)
        put_template(m, m->add_bos ? m->ids[BOS] : -1, m->add_eos ? m->ids[EOS] : -1, false);
    else
        vise_json_put_null(m->w);
    put_raw(m, "decoder",
            prefix ? "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"" SPACE_MARK
                     "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\","
                     "\"content\":\" \",\"start\":1,\"stop\":0}]}"
                   : "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"" SPACE_MARK
                     "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]}");
}

static vise_status make_pieces(maker *m)
{
    const void *scores;
    bool prefix = true;
    pair *pairs = NULL;
    size_t count = 0;
    VISE_TRY(read_tokens(m, false));
    VISE_TRY(read_array(m, "tokenizer.ggml.scores", VISE_GGUF_KIND_F32, &scores));
    VISE_TRY(vise_gguf_get_bool(m->gguf, "tokenizer.ggml.add_space_prefix", false, &prefix, m->err));
    m->add_bos = true;
    VISE_TRY(read_flags(m));
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
        begin_bpe(m, text_at(m, m->ids[UNK] >= 0 ? m->ids[UNK] : 0), true, false);
        for (size_t i = 0; status == VISE_OK && i < count; i++)
            status = put_sides(m, text_at(m, pairs[i].piece), pairs[i].left, pairs[i].bytes);
        end_bpe(m);
    }
    vise_free(pairs);
    return status;
}

/* ---- BPE over bytes -------------------------------------------------------------------------------------- */

static vise_status put_merges(maker *m)
{
    const void *elements;
    uint64_t n;
    VISE_TRY(vise_gguf_get_array(m->gguf, "tokenizer.ggml.merges", true, VISE_GGUF_KIND_TEXT, &elements, &n, m->err));
    const vise_gguf_text *merges = elements;
    for (uint64_t i = 0; i < n; i++) {
        const char *text = merges[i].bytes, *space = strchr(text, ' ');
        const size_t left = space != NULL ? (size_t)(space - text) : 0;
        if (strlen(text) != merges[i].length || left == 0 || strchr(space + 1, ' ') != NULL ||
            vise_vocab_find(&m->vocab, text, left) < 0 || vise_vocab_find(&m->vocab, space + 1, strlen(space + 1)) < 0)
            return VISE_FAIL(m->err, VISE_EFORMAT, "%s: merge %" PRIu64 " is not of two tokens and one space",
                             m->gguf->path, i);
        vise_json_put_text(m->w, text);
    }
    return VISE_OK;
}

static void put_split(maker *m, const struct cutter *cutter, bool prefix)
{
    vise_json_key(m->w, "pre_tokenizer");
    vise_json_object(m->w);
    put_text(m, "type", "Sequence");
    vise_json_key(m->w, "pretokenizers");
    vise_json_array(m->w);
    if (cutter->digits)
        vise_json_put_raw(m->w, "{\"type\":\"Digits\",\"individual_digits\":true}");
    if (cutter->regex != NULL) {
        vise_json_object(m->w);
        put_text(m, "type", "Split");
        vise_json_key(m->w, "pattern");
        vise_json_object(m->w);
        put_text(m, "Regex", cutter->regex);
        vise_json_object_end(m->w);
        put_text(m, "behavior", "Isolated");
        put_flag(m, "invert", false);
        vise_json_object_end(m->w);
    }
    vise_json_object(m->w);
    put_text(m, "type", "ByteLevel");
    put_flag(m, "add_prefix_space", prefix);
    put_flag(m, "trim_offsets", true);
    put_flag(m, "use_regex", cutter->regex == NULL);
    vise_json_object_end(m->w);
    vise_json_array_end(m->w);
    vise_json_object_end(m->w);
}

static void put_roberta(maker *m, int64_t front, int64_t back)
{
    const int64_t ids[2] = {back, front};
    vise_json_object(m->w);
    put_text(m, "type", "RobertaProcessing");
    for (int i = 0; i < 2; i++) {
        vise_json_key(m->w, i == 0 ? "sep" : "cls");
        vise_json_array(m->w);
        vise_json_put_text(m->w, text_at(m, ids[i]));
        vise_json_put_int(m->w, ids[i]);
        vise_json_array_end(m->w);
    }
    put_flag(m, "trim_offsets", true);
    put_flag(m, "add_prefix_space", false);
    vise_json_object_end(m->w);
}

static vise_status make_bytes(maker *m)
{
    const char *pre = "default", *level = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
                                          "\"use_regex\":true}";
    bool prefix = false;
    VISE_TRY(vise_gguf_get_text(m->gguf, "tokenizer.ggml.pre", false, &pre, m->err));
    const struct cutter *cutter = cutter_of(pre);
    if (cutter == NULL) {
        m->why = "its way of cutting words (tokenizer.ggml.pre) has no counterpart here";
        return VISE_OK;
    }
    VISE_TRY(read_tokens(m, false));
    VISE_TRY(vise_gguf_get_bool(m->gguf, "tokenizer.ggml.add_space_prefix", false, &prefix, m->err));
    m->add_bos = cutter->bos;
    VISE_TRY(read_flags(m));
    const int64_t front = m->ids[CLS] >= 0 ? m->ids[CLS] : m->ids[BOS],
                  back = m->ids[SEP] >= 0 ? m->ids[SEP] : m->ids[EOS];
    const bool roberta = strcmp(m->architecture, "bert") == 0 && front >= 0 && back >= 0;
    begin(m, roberta, false);
    put_raw(m, "normalizer", cutter->nfc ? "{\"type\":\"NFC\"}" : "null");
    put_split(m, cutter, prefix);
    vise_json_key(m->w, "post_processor");
    if (roberta)
        put_roberta(m, front, back);
    else if (m->add_bos || m->add_eos)
        put_template(m, m->add_bos ? m->ids[BOS] : -1, m->add_eos ? m->ids[EOS] : -1, false);
    else
        vise_json_put_raw(m->w, level);
    put_raw(m, "decoder", level);
    begin_bpe(m, NULL, false, cutter->whole_words);
    VISE_TRY(put_merges(m));
    end_bpe(m);
    return VISE_OK;
}

/* ---- WordPiece ------------------------------------------------------------------------------------------- */

/* A vocabulary with capitals is of a tokenizer that keeps them; "[unused1]" and the like count for neither. */
static bool is_cased(const maker *m)
{
    for (size_t id = 0; id < m->n; id++) {
        const char *text = text_at(m, (int64_t)id);
        if (text == NULL || text[0] == '[' || type_at(m, id) != NORMAL)
            continue;
        for (; *text != '\0'; text++)
            if (*text >= 'A' && *text <= 'Z')
                return true;
    }
    return false;
}

static vise_status make_words(maker *m)
{
    static const char *const usual[ROLES] = {NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};
    VISE_TRY(read_tokens(m, true));
    m->ids[CLS] = m->ids[CLS] >= 0 ? m->ids[CLS] : m->ids[BOS];
    m->ids[SEP] = m->ids[SEP] >= 0 ? m->ids[SEP] : m->ids[EOS];
    for (int r = UNK; r < ROLES; r++)
        if (m->ids[r] < 0)
            m->ids[r] = vise_vocab_find(&m->vocab, usual[r], strlen(usual[r]));
    if (m->ids[CLS] < 0 || m->ids[SEP] < 0 || m->ids[UNK] < 0)
        return VISE_FAIL(m->err, VISE_EFORMAT, "%s: the vocabulary lacks the token that %s", m->gguf->path,
                         m->ids[CLS] < 0   ? "stands in front of texts ([CLS])"
                         : m->ids[SEP] < 0 ? "stands behind texts ([SEP])"
                                           : "stands for what is unknown ([UNK])");
    m->ids[BOS] = m->ids[EOS] = -1;
    begin(m, false, false);
    vise_json_key(m->w, "normalizer");
    vise_json_object(m->w);
    put_text(m, "type", "BertNormalizer");
    put_flag(m, "clean_text", true);
    put_flag(m, "handle_chinese_chars", true);
    put_raw(m, "strip_accents", "null");
    put_flag(m, "lowercase", !is_cased(m));
    vise_json_object_end(m->w);
    put_raw(m, "pre_tokenizer", "{\"type\":\"BertPreTokenizer\"}");
    vise_json_key(m->w, "post_processor");
    put_template(m, m->ids[CLS], m->ids[SEP], true);
    put_raw(m, "decoder", "{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}");
    begin_model(m, "WordPiece");
    put_text(m, "unk_token", text_at(m, m->ids[UNK]));
    put_text(m, "continuing_subword_prefix", "##");
    put_raw(m, "max_input_chars_per_word", "100");
    put_vocab(m);
    vise_json_object_end(m->w);
    vise_json_object_end(m->w);
    return VISE_OK;
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

static vise_status put_config(maker *m, vise_buf *config)
{
    char key[96];
    const char *chat = NULL;
    int64_t context = 0;
    vise_json_writer w;
    m->w = &w;
    vise_json_begin(&w, config, 2);
    vise_json_object(&w);
    put_text(m, "tokenizer_class", "PreTrainedTokenizerFast");
    for (int r = 0; r < ROLES; r++) {
        snprintf(key, sizeof key, "%s_token", role_names[r]);
        if (m->ids[r] >= 0)
            put_text(m, key, text_at(m, m->ids[r]));
    }
    put_flag(m, "clean_up_tokenization_spaces", strcmp(m->architecture, "bert") == 0);
    snprintf(key, sizeof key, "%.48s.context_length", m->architecture);
    VISE_TRY(vise_gguf_get_int(m->gguf, key, false, 1, INT32_MAX, &context, m->err));
    if (context > 0) {
        vise_json_key(&w, "model_max_length");
        vise_json_put_int(&w, context);
    }
    put_raw(m, "model_input_names",
            strcmp(m->architecture, "bert") == 0 ? "[\"input_ids\", \"token_type_ids\", \"attention_mask\"]"
                                                 : "[\"input_ids\", \"attention_mask\"]");
    VISE_TRY(vise_gguf_get_text(m->gguf, "tokenizer.chat_template", false, &chat, m->err));
    if (chat != NULL)
        put_text(m, "chat_template", chat);
    vise_json_object_end(&w);
    vise_buf_add_char(config, '\n');
    return vise_buf_check(config, "tokenizer_config.json", m->err);
}

static vise_status make(maker *m, vise_buf *tokenizer)
{
    static const struct {
        const char *model;
        vise_status (*make)(maker *m);
    } kinds[] = {{"llama", make_pieces}, {"gpt2", make_bytes}, {"bert", make_words}};
    const char *model = "none";
    vise_json_writer w;
    m->architecture = "";
    VISE_TRY(vise_gguf_get_text(m->gguf, "general.architecture", false, &m->architecture, m->err));
    VISE_TRY(vise_gguf_get_text(m->gguf, "tokenizer.ggml.model", false, &model, m->err));
    m->w = &w;
    vise_json_begin(&w, tokenizer, 0);
    m->why = strcmp(model, "none") == 0 || strcmp(model, "no_vocab") == 0 ? "the file has none"
                                                                         : "it is of a kind that is not held here";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].model, model) == 0) {
            m->why = NULL;
            VISE_TRY(kinds[i].make(m));
        }
    return vise_buf_check(tokenizer, "tokenizer.json", m->err);
}

vise_status vise_gguf_tokenizer_write(const vise_gguf *gguf, vise_buf *tokenizer, vise_buf *config, const char **why,
                                      vise_error *err)
{
    maker m = {.gguf = gguf, .err = err};
    vise_status status = make(&m, tokenizer);
    if (status == VISE_OK && m.why == NULL && config != NULL)
        status = put_config(&m, config);
    *why = m.why;
    vise_vocab_deinit(&m.vocab);
    return status;
}

/* may_lack: *out is NULL where no tokenizer can be made. */
static vise_status from_gguf(const char *model, const vise_gguf *gguf, bool may_lack, vise_tokenizer **out,
                             vise_error *err)
{
    const char *why;
    vise_buf text, config;
    vise_buf_init(&text, FILE_MAX);
    vise_buf_init(&config, FILE_MAX);
    vise_status status = vise_gguf_tokenizer_write(gguf, &text, &config, &why, err);
    if (status == VISE_OK && why != NULL && !may_lack)
        status = VISE_FAIL(err, VISE_EUSAGE, "%s: no tokenizer can be made of the metadata: %s; text needs one", model,
                           why);
    if (status == VISE_OK && why == NULL)
        status = vise_tokenizer_from_text(model, text.data, text.length, out, err);
    if (status == VISE_OK && *out != NULL)
        status = vise_tokenizer_keep_config(*out, model, config.data, err);
    if (status != VISE_OK) {
        vise_tokenizer_close(*out);
        *out = NULL;
    }
    vise_buf_deinit(&config);
    vise_buf_deinit(&text);
    return status;
}

vise_status vise_model_tokenizer(const char *model, const char *text, vise_tokenizer **out, vise_error *err)
{
    vise_source *source;
    bool found = true;
    *out = NULL;
    if (vise_path_is_folder(model))
        VISE_TRY(vise_tokenizer_is_in(model, &found, err));
    else
        found = !vise_ends_with(model, ".gguf");
    if (!found) { /* a GGUF file, alone or in a folder */
        VISE_TRY(vise_source_open(model, &source, err));
        const vise_gguf *gguf = vise_source_gguf(source);
        const bool ids = text != NULL && vise_ends_with(text, ".jsonl");
        vise_status status = gguf != NULL ? from_gguf(model, gguf, ids, out, err) : VISE_OK;
        vise_source_close(source);
        if (gguf != NULL)
            return status;
    }
    return text != NULL ? vise_tokenizer_open_for(text, model, out, err) : vise_tokenizer_open(model, out, err);
}
