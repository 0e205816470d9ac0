/* BPE over bytes as tokenizer.json. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "pipeline/gguf_tokenizer_maker.h"

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

/* ---- BPE over bytes -------------------------------------------------------------------------------------- */

static vise_status put_merges(vise_maker *m)
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

static void put_split(vise_maker *m, const struct cutter *cutter, bool prefix)
{
    vise_json_key(m->w, "pre_tokenizer");
    vise_json_object(m->w);
    vise_maker_put_text(m, "type", "Sequence");
    vise_json_key(m->w, "pretokenizers");
    vise_json_array(m->w);
    if (cutter->digits)
        vise_json_put_raw(m->w, "{\"type\":\"Digits\",\"individual_digits\":true}");
    if (cutter->regex != NULL) {
        vise_json_object(m->w);
        vise_maker_put_text(m, "type", "Split");
        vise_json_key(m->w, "pattern");
        vise_json_object(m->w);
        vise_maker_put_text(m, "Regex", cutter->regex);
        vise_json_object_end(m->w);
        vise_maker_put_text(m, "behavior", "Isolated");
        vise_maker_put_flag(m, "invert", false);
        vise_json_object_end(m->w);
    }
    vise_json_object(m->w);
    vise_maker_put_text(m, "type", "ByteLevel");
    vise_maker_put_flag(m, "add_prefix_space", prefix);
    vise_maker_put_flag(m, "trim_offsets", true);
    vise_maker_put_flag(m, "use_regex", cutter->regex == NULL);
    vise_json_object_end(m->w);
    vise_json_array_end(m->w);
    vise_json_object_end(m->w);
}

static void put_roberta(vise_maker *m, int64_t front, int64_t back)
{
    const int64_t ids[2] = {back, front};
    vise_json_object(m->w);
    vise_maker_put_text(m, "type", "RobertaProcessing");
    for (int i = 0; i < 2; i++) {
        vise_json_key(m->w, i == 0 ? "sep" : "cls");
        vise_json_array(m->w);
        vise_json_put_text(m->w, vise_maker_text(m, ids[i]));
        vise_json_put_int(m->w, ids[i]);
        vise_json_array_end(m->w);
    }
    vise_maker_put_flag(m, "trim_offsets", true);
    vise_maker_put_flag(m, "add_prefix_space", false);
    vise_json_object_end(m->w);
}

vise_status vise_maker_bytes(vise_maker *m)
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
    VISE_TRY(vise_maker_tokens(m, false));
    VISE_TRY(vise_gguf_get_bool(m->gguf, "tokenizer.ggml.add_space_prefix", false, &prefix, m->err));
    m->add_bos = cutter->bos;
    VISE_TRY(vise_maker_flags(m));
    const int64_t front = m->ids[VISE_TOKEN_CLS] >= 0 ? m->ids[VISE_TOKEN_CLS] : m->ids[VISE_TOKEN_BOS],
                  back = m->ids[VISE_TOKEN_SEP] >= 0 ? m->ids[VISE_TOKEN_SEP] : m->ids[VISE_TOKEN_EOS];
    const bool roberta = strcmp(m->architecture, "bert") == 0 && front >= 0 && back >= 0;
    vise_maker_begin(m, roberta, false);
    vise_maker_put_raw(m, "normalizer", cutter->nfc ? "{\"type\":\"NFC\"}" : "null");
    put_split(m, cutter, prefix);
    vise_json_key(m->w, "post_processor");
    if (roberta)
        put_roberta(m, front, back);
    else if (m->add_bos || m->add_eos)
        vise_maker_put_template(m, m->add_bos ? m->ids[VISE_TOKEN_BOS] : -1,
                                m->add_eos ? m->ids[VISE_TOKEN_EOS] : -1, m->add_bos ? m->ids[VISE_TOKEN_BOS] : -1);
    else
        vise_json_put_raw(m->w, level);
    vise_maker_put_raw(m, "decoder", level);
    vise_maker_begin_bpe(m, NULL, false, cutter->whole_words);
    VISE_TRY(put_merges(m));
    vise_maker_end_bpe(m);
    return VISE_OK;
}
