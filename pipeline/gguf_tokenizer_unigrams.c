/* sentencepiece's unigrams as tokenizer.json, as XLM-RoBERTa's and T5's models have it: transformers reads it; texts
 * are not cut so here. */
#include <math.h>
#include <string.h>

#include "pipeline/gguf_tokenizer_maker.h"

#define METASPACE(scheme)                                                                                              \
    "{\"type\":\"Metaspace\",\"replacement\":\"" VISE_SPACE_MARK "\",\"prepend_scheme\":\"" scheme "\",\"split\":true}"
#define SEQUENCE "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},"

/* The compiled map of characters, in base64 (RFC 4648). */
static vise_status put_map(vise_maker *m)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const void *elements;
    uint64_t n;
    char *text = NULL;
    VISE_TRY(vise_gguf_get_array(m->gguf, "tokenizer.ggml.precompiled_charsmap", false, VISE_GGUF_KIND_U8, &elements,
                                 &n, m->err));
    vise_json_key(m->w, "normalizer");
    if (n == 0) {
        vise_json_put_null(m->w);
        return VISE_OK;
    }
    const unsigned char *bytes = elements;
    VISE_TRY(vise_calloc((size_t)(n + 2) / 3 * 4 + 1, 1, (void **)&text, m->err));
    char *out = text;
    for (uint64_t at = 0; at < n; at += 3) {
        const uint64_t left = n - at;
        const uint32_t bits = (uint32_t)bytes[at] << 16 | (left > 1 ? (uint32_t)bytes[at + 1] << 8 : 0) |
                              (left > 2 ? (uint32_t)bytes[at + 2] : 0);
        for (uint64_t k = 0; k < 4; k++)
            *out++ = k <= left ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    vise_json_object(m->w);
    vise_maker_put_text(m, "type", "Precompiled");
    vise_maker_put_text(m, "precompiled_charsmap", text);
    vise_json_object_end(m->w);
    vise_free(text);
    return VISE_OK;
}

/* A list by ids, with the holes among them; those behind the last token are none. */
static vise_status put_scored(vise_maker *m, const float *scores, int64_t unknown)
{
    size_t n = m->n;
    while (n > 0 && vise_maker_text(m, (int64_t)n - 1) == NULL)
        n--;
    vise_maker_begin_model(m, "Unigram");
    vise_json_key(m->w, "unk_id");
    vise_json_put_int(m->w, unknown);
    vise_json_key(m->w, "vocab");
    vise_json_array(m->w);
    for (size_t id = 0; id < n; id++) {
        if (!isfinite(scores[id]))
            return VISE_FAIL(m->err, VISE_EFORMAT, "%s: the score of token %zu is no finite number", m->gguf->path, id);
        vise_json_array(m->w);
        vise_json_put_text(m->w, m->stored[id].bytes);
        vise_json_put_double(m->w, (double)scores[id]);
        vise_json_array_end(m->w);
    }
    vise_json_array_end(m->w);
    vise_maker_put_flag(m, "byte_fallback", false);
    vise_json_object_end(m->w);
    return VISE_OK;
}

vise_status vise_maker_unigrams(vise_maker *m)
{
    const bool encoder = strcmp(m->architecture, "bert") == 0;
    const void *scores;
    VISE_TRY(vise_maker_tokens(m, false));
    VISE_TRY(vise_maker_array(m, "tokenizer.ggml.scores", VISE_GGUF_KIND_F32, &scores));
    m->add_bos = encoder;
    m->add_eos = true;
    VISE_TRY(vise_maker_flags(m));
    VISE_TRY(vise_gguf_get_bool(m->gguf, "tokenizer.ggml.add_space_prefix", false, &m->space_prefix, m->err));
    VISE_TRY(vise_gguf_get_bool(m->gguf, "tokenizer.ggml.remove_extra_whitespaces", false, &m->clean_up, m->err));
    int64_t unknown = m->ids[VISE_TOKEN_UNK];
    for (size_t id = 0; id < m->n && unknown < 0; id++)
        if (vise_maker_type(m, id) == VISE_TOKEN_UNKNOWN && vise_maker_text(m, (int64_t)id) != NULL)
            unknown = (int64_t)id;
    if (scores == NULL || unknown < 0) {
        m->why = "it lacks scores, or a token for what is unknown";
        return VISE_OK;
    }
    m->ids[VISE_TOKEN_UNK] = unknown;
    m->ids[VISE_TOKEN_CLS] = encoder && m->ids[VISE_TOKEN_CLS] < 0 ? m->ids[VISE_TOKEN_BOS] : m->ids[VISE_TOKEN_CLS];
    m->ids[VISE_TOKEN_SEP] = encoder && m->ids[VISE_TOKEN_SEP] < 0 ? m->ids[VISE_TOKEN_EOS] : m->ids[VISE_TOKEN_SEP];
    const int64_t back = m->add_eos ? m->ids[VISE_TOKEN_EOS] : -1;
    vise_maker_begin(m, encoder, false);
    VISE_TRY(put_map(m));
    vise_maker_put_raw(m, "pre_tokenizer",
                       m->space_prefix ? SEQUENCE METASPACE("always") "]}" : SEQUENCE METASPACE("never") "]}");
    vise_json_key(m->w, "post_processor");
    vise_maker_put_template(m, m->add_bos ? m->ids[VISE_TOKEN_BOS] : -1, back, m->add_bos ? back : -1);
    vise_maker_put_raw(m, "decoder", m->space_prefix ? METASPACE("always") : METASPACE("never"));
    VISE_TRY(put_scored(m, scores, unknown));
    vise_json_object_end(m->w);
    return VISE_OK;
}
