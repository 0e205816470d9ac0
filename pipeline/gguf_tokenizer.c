#include "pipeline/gguf_tokenizer.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "formats/names.h"
#include "formats/source.h"
#include "pipeline/gguf_tokenizer_maker.h"

#define FILE_MAX ((size_t)512 << 20)
#define UNIGRAMS "t5"

static const char *const role_names[VISE_TOKEN_ROLES] = {"bos", "eos", "unk", "sep", "pad", "cls", "mask"};

/* ---- WordPiece ------------------------------------------------------------------------------------------- */

/* A vocabulary with capitals is of a tokenizer that keeps them; "[unused1]" and the like count for neither. */
static bool is_cased(const vise_maker *m)
{
    for (size_t id = 0; id < m->n; id++) {
        const char *text = vise_maker_text(m, (int64_t)id);
        if (text == NULL || text[0] == '[' || vise_maker_type(m, id) != VISE_TOKEN_NORMAL)
            continue;
        for (; *text != '\0'; text++)
            if (*text >= 'A' && *text <= 'Z')
                return true;
    }
    return false;
}

static vise_status make_words(vise_maker *m)
{
    static const char *const usual[VISE_TOKEN_ROLES] = {NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};
    VISE_TRY(vise_maker_tokens(m, true));
    m->ids[VISE_TOKEN_CLS] = m->ids[VISE_TOKEN_CLS] >= 0 ? m->ids[VISE_TOKEN_CLS] : m->ids[VISE_TOKEN_BOS];
    m->ids[VISE_TOKEN_SEP] = m->ids[VISE_TOKEN_SEP] >= 0 ? m->ids[VISE_TOKEN_SEP] : m->ids[VISE_TOKEN_EOS];
    for (int r = VISE_TOKEN_UNK; r < VISE_TOKEN_ROLES; r++)
        if (m->ids[r] < 0)
            m->ids[r] = vise_vocab_find(&m->vocab, usual[r], strlen(usual[r]));
    if (m->ids[VISE_TOKEN_CLS] < 0 || m->ids[VISE_TOKEN_SEP] < 0 || m->ids[VISE_TOKEN_UNK] < 0)
        return VISE_FAIL(m->err, VISE_EFORMAT, "%s: the vocabulary lacks the token that %s", m->gguf->path,
                         m->ids[VISE_TOKEN_CLS] < 0   ? "stands in front of texts ([CLS])"
                         : m->ids[VISE_TOKEN_SEP] < 0 ? "stands behind texts ([SEP])"
                                                      : "stands for what is unknown ([UNK])");
    m->ids[VISE_TOKEN_BOS] = m->ids[VISE_TOKEN_EOS] = -1;
    vise_maker_begin(m, false, false);
    vise_json_key(m->w, "normalizer");
    vise_json_object(m->w);
    vise_maker_put_text(m, "type", "BertNormalizer");
    vise_maker_put_flag(m, "clean_text", true);
    vise_maker_put_flag(m, "handle_chinese_chars", true);
    vise_maker_put_raw(m, "strip_accents", "null");
    vise_maker_put_flag(m, "lowercase", !is_cased(m));
    vise_json_object_end(m->w);
    vise_maker_put_raw(m, "pre_tokenizer", "{\"type\":\"BertPreTokenizer\"}");
    vise_json_key(m->w, "post_processor");
    vise_maker_put_template(m, m->ids[VISE_TOKEN_CLS], m->ids[VISE_TOKEN_SEP], -1);
    vise_maker_put_raw(m, "decoder", "{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}");
    vise_maker_begin_model(m, "WordPiece");
    vise_maker_put_text(m, "unk_token", vise_maker_text(m, m->ids[VISE_TOKEN_UNK]));
    vise_maker_put_text(m, "continuing_subword_prefix", "##");
    vise_maker_put_raw(m, "max_input_chars_per_word", "100");
    vise_maker_put_vocab(m);
    vise_json_object_end(m->w);
    vise_json_object_end(m->w);
    return VISE_OK;
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

static vise_status put_config(vise_maker *m, vise_buf *config)
{
    char key[96];
    const char *chat = NULL;
    int64_t context = 0;
    vise_json_writer w;
    m->w = &w;
    vise_json_begin(&w, config, 2);
    vise_json_object(&w);
    vise_maker_put_text(m, "tokenizer_class", "PreTrainedTokenizerFast");
    for (int r = 0; r < VISE_TOKEN_ROLES; r++) {
        snprintf(key, sizeof key, "%s_token", role_names[r]);
        if (m->ids[r] >= 0)
            vise_maker_put_text(m, key, vise_maker_text(m, m->ids[r]));
    }
    vise_maker_put_flag(m, "clean_up_tokenization_spaces", strcmp(m->kind, "bert") == 0 || m->clean_up);
    if (strcmp(m->kind, UNIGRAMS) == 0)
        vise_maker_put_flag(m, "add_prefix_space", m->space_prefix);
    snprintf(key, sizeof key, "%.48s.context_length", m->architecture);
    VISE_TRY(vise_gguf_get_int(m->gguf, key, false, 1, INT32_MAX, &context, m->err));
    if (context > 0) {
        vise_json_key(&w, "model_max_length");
        vise_json_put_int(&w, context);
    }
    vise_maker_put_raw(m, "model_input_names",
                       strcmp(m->architecture, "bert") == 0 ? "[\"input_ids\", \"token_type_ids\", \"attention_mask\"]"
                                                            : "[\"input_ids\", \"attention_mask\"]");
    VISE_TRY(vise_gguf_get_text(m->gguf, "tokenizer.chat_template", false, &chat, m->err));
    if (chat != NULL)
        vise_maker_put_text(m, "chat_template", chat);
    vise_json_object_end(&w);
    vise_buf_add_char(config, '\n');
    return vise_buf_check(config, "tokenizer_config.json", m->err);
}

static vise_status make(vise_maker *m, vise_buf *tokenizer)
{
    static const struct {
        const char *name;
        vise_status (*make)(vise_maker *m);
    } kinds[] = {{"llama", vise_maker_pieces},
                 {"gpt2", vise_maker_bytes},
                 {UNIGRAMS, vise_maker_unigrams},
                 {"bert", make_words}};
    vise_json_writer w;
    m->kind = "none";
    m->architecture = "";
    VISE_TRY(vise_gguf_get_text(m->gguf, "general.architecture", false, &m->architecture, m->err));
    VISE_TRY(vise_gguf_get_text(m->gguf, "tokenizer.ggml.model", false, &m->kind, m->err));
    m->w = &w;
    vise_json_begin(&w, tokenizer, 0);
    m->why = strcmp(m->kind, "none") == 0 || strcmp(m->kind, "no_vocab") == 0 ? "the file has none"
                                                                              : "it is of a kind that is not held here";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, m->kind) == 0) {
            m->why = NULL;
            VISE_TRY(kinds[i].make(m));
        }
    return vise_buf_check(tokenizer, "tokenizer.json", m->err);
}

vise_status vise_gguf_tokenizer_write(const vise_gguf *gguf, vise_buf *tokenizer, vise_buf *config, const char **why,
                                      vise_error *err)
{
    vise_maker m = {.gguf = gguf, .err = err};
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
    const char *why, *kind = "";
    vise_buf text, config;
    vise_buf_init(&text, FILE_MAX);
    vise_buf_init(&config, FILE_MAX);
    vise_status status = vise_gguf_tokenizer_write(gguf, &text, &config, &why, err);
    if (status == VISE_OK && why == NULL)
        status = vise_gguf_get_text(gguf, "tokenizer.ggml.model", true, &kind, err);
    if (strcmp(kind, UNIGRAMS) == 0)
        why = "it is one of unigrams, by which texts are not cut here";
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
