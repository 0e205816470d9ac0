/* Folders without tokenizer.json: what transformers makes of their vocabulary files and tokenizer_config.json. The
 * parts around the model are written as those of a tokenizer.json and read by the same reader. */
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "text/sentencepiece.h"
#include "text/tokenizer_internal.h"

#define FILE_BYTES_MAX   ((size_t)64 << 20)
#define CONFIG_BYTES_MAX ((size_t)16 << 20)

typedef struct folder_reader {
    const char *path; /* of the vocabulary, for errors */
    char *text;       /* its bytes */
    size_t length;
    cJSON *config; /* tokenizer_config.json; NULL: none */
    char *config_path;
    cJSON *vocab; /* vocab.json */
    vise_sentencepiece pieces;
} folder_reader;

static void free_reader(folder_reader *f)
{
    vise_free(f->text);
    vise_free(f->config_path);
    cJSON_Delete(f->config);
    cJSON_Delete(f->vocab);
    vise_sentencepiece_deinit(&f->pieces);
}

static vise_status read_config(const char *folder, folder_reader *f, vise_error *err)
{
    VISE_TRY(vise_path_join(folder, "tokenizer_config.json", &f->config_path, err));
    if (!vise_path_exists(f->config_path))
        return VISE_OK;
    VISE_TRY(vise_json_load(f->config_path, CONFIG_BYTES_MAX, &f->config, err));
    if (!cJSON_IsObject(f->config))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: not a JSON object", f->config_path);
    return VISE_OK;
}

/* A token of tokenizer_config.json: a string, or an object with "content". */
static vise_status config_token(const folder_reader *f, const char *key, const char **text, vise_error *err)
{
    const cJSON *item = f->config != NULL ? vise_reader_member(f->config, key) : NULL;

    if (item == NULL)
        return VISE_OK;
    if (cJSON_IsObject(item))
        return vise_json_text(f->config_path, item, "content", true, text, err);
    return vise_json_text(f->config_path, f->config, key, true, text, err);
}

static vise_status config_bool(const folder_reader *f, const char *key, bool *value, vise_error *err)
{
    if (f->config == NULL)
        return VISE_OK;
    return vise_json_bool(f->config_path, f->config, key, false, value, err);
}

static void write_added(vise_json_writer *w, const char *text, int32_t id, bool lstrip)
{
    vise_json_object(w);
    vise_json_key(w, "id");
    vise_json_put_int(w, id);
    vise_json_key(w, "content");
    vise_json_put_text(w, text);
    vise_json_key(w, "special");
    vise_json_put_bool(w, true);
    vise_json_key(w, "lstrip");
    vise_json_put_bool(w, lstrip);
    vise_json_object_end(w);
}

/* ---- BERT's vocab.txt ---------------------------------------------------------------------------------- */

/* The line at *at, without its end; false behind the last. */
static bool next_line(const folder_reader *f, size_t *at, const char **line, size_t *length)
{
    const char *stop;

    if (*at >= f->length)
        return false;
    *line = f->text + *at;
    stop = memchr(*line, '\n', f->length - *at);
    *length = stop != NULL ? (size_t)(stop - *line) : f->length - *at;
    *at += *length + 1;
    if (*length > 0 && (*line)[*length - 1] == '\r')
        (*length)--;
    return true;
}

static vise_status read_lines(vise_tokenizer_reader *r, void *context, size_t n_added)
{
    const folder_reader *f = context;
    vise_wordpiece *piece = &r->tokenizer->wordpiece;
    const char *line, *unk = "[UNK]";
    size_t at = 0, count = 0, length;
    int32_t id = 0;

    while (next_line(f, &at, &line, &length))
        count++;
    if (count > VISE_VOCAB_IDS_MAX)
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: %zu tokens are more than the limit of %d", r->name, count,
                         VISE_VOCAB_IDS_MAX);
    VISE_TRY(vise_reader_make_vocab(r, count, (int32_t)count - 1, n_added));
    for (at = 0; next_line(f, &at, &line, &length); id++) {
        if (vise_utf8_valid(line, length, NULL) < length || memchr(line, '\0', length) != NULL)
            return VISE_FAIL(r->err, VISE_EFORMAT, "%s line %ld: not UTF-8", r->name, (long)id + 1);
        VISE_TRY(vise_vocab_add(&r->tokenizer->vocab, r->name, line, length, id, r->err));
    }
    r->tokenizer->kind = VISE_MODEL_WORDPIECE;
    piece->max_chars = 100;
    VISE_TRY(config_token(f, "unk_token", &unk, r->err));
    VISE_TRY(vise_reader_keep(r, unk, &piece->unk_token, &length));
    return vise_reader_keep(r, "##", &piece->prefix, &piece->prefix_length);
}

/* The id of a token that is a line of its own; -1: none. */
static int32_t line_of(const folder_reader *f, const char *text)
{
    const char *line;
    size_t at = 0, length;

    for (int32_t id = 0; next_line(f, &at, &line, &length); id++)
        if (length == strlen(text) && memcmp(line, text, length) == 0)
            return id;
    return -1;
}

static void write_template(vise_json_writer *w, const char *key, const char *const *pieces, size_t n)
{
    vise_json_key(w, key);
    vise_json_array(w);
    for (size_t i = 0; i < n; i++) {
        bool sequence = pieces[i][1] == '\0' && (pieces[i][0] == 'A' || pieces[i][0] == 'B');
        vise_json_object(w);
        vise_json_key(w, sequence ? "Sequence" : "SpecialToken");
        vise_json_object(w);
        vise_json_key(w, "id");
        vise_json_put_text(w, pieces[i]);
        vise_json_key(w, "type_id");
        vise_json_put_int(w, i >= 3);
        vise_json_object_end(w);
        vise_json_object_end(w);
    }
    vise_json_array_end(w);
}

/* `before` and `behind` may be NULL; BERT's has a form for two texts, too. */
static void write_post(vise_json_writer *w, const char *before, int32_t before_id, const char *behind,
                       int32_t behind_id, bool bert)
{
    const char *single[3];
    size_t n = 0;

    if (before != NULL)
        single[n++] = before;
    single[n++] = "A";
    if (behind != NULL)
        single[n++] = behind;
    vise_json_key(w, "post_processor");
    vise_json_object(w);
    vise_json_key(w, "type");
    vise_json_put_text(w, "TemplateProcessing");
    write_template(w, "single", single, n);
    if (bert)
        write_template(w, "pair", (const char *const[]){before, "A", behind, "B", behind}, 5);
    vise_json_key(w, "special_tokens");
    vise_json_object(w);
    for (int i = before != NULL ? 0 : 1; i < (behind == NULL || before_id == behind_id ? 1 : 2); i++) {
        vise_json_key(w, i == 0 ? before : behind);
        vise_json_object(w);
        vise_json_key(w, "ids");
        vise_json_array(w);
        vise_json_put_int(w, i == 0 ? before_id : behind_id);
        vise_json_array_end(w);
        vise_json_object_end(w);
    }
    vise_json_object_end(w);
    vise_json_object_end(w);
}

static vise_status write_bert_normal(const folder_reader *f, vise_json_writer *w, vise_error *err)
{
    const cJSON *strip = f->config != NULL ? vise_reader_member(f->config, "strip_accents") : NULL;
    bool lower = true, chinese = true;

    VISE_TRY(config_bool(f, "do_lower_case", &lower, err));
    VISE_TRY(config_bool(f, "tokenize_chinese_chars", &chinese, err));
    vise_json_key(w, "normalizer");
    vise_json_object(w);
    vise_json_key(w, "type");
    vise_json_put_text(w, "BertNormalizer");
    vise_json_key(w, "lowercase");
    vise_json_put_bool(w, lower);
    vise_json_key(w, "handle_chinese_chars");
    vise_json_put_bool(w, chinese);
    if (cJSON_IsBool(strip)) {
        vise_json_key(w, "strip_accents");
        vise_json_put_bool(w, cJSON_IsTrue(strip));
    }
    vise_json_object_end(w);
    return VISE_OK;
}

static vise_status write_bert(const folder_reader *f, vise_json_writer *w, vise_error *err)
{
    static const char *const keys[] = {"cls_token", "sep_token", "unk_token", "pad_token", "mask_token"};
    const char *tokens[] = {"[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"};
    int32_t ids[5];

    if (f->length == 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: the vocabulary is empty", f->path);
    for (size_t i = 0; i < 5; i++) {
        VISE_TRY(config_token(f, keys[i], &tokens[i], err));
        ids[i] = line_of(f, tokens[i]);
        if (ids[i] < 0 && i < 3)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: the vocabulary lacks the %s \"%.60s\"", f->path, keys[i],
                             tokens[i]);
    }
    vise_json_object(w);
    vise_json_key(w, "added_tokens");
    vise_json_array(w);
    for (size_t i = 0; i < 5; i++) {
        bool again = ids[i] < 0;
        for (size_t k = 0; k < i; k++)
            again = again || ids[k] == ids[i];
        if (again)
            continue;
        write_added(w, tokens[i], ids[i], false);
    }
    vise_json_array_end(w);
    VISE_TRY(write_bert_normal(f, w, err));
    vise_json_key(w, "pre_tokenizer");
    vise_json_put_raw(w, "{\"type\":\"BertPreTokenizer\"}");
    write_post(w, tokens[0], ids[0], tokens[1], ids[1], true);
    vise_json_object_end(w);
    return VISE_OK;
}

/* ---- GPT-2's vocab.json and merges.txt ----------------------------------------------------------------- */

static vise_status read_merge_lines(vise_tokenizer_reader *r, void *context, size_t n_added)
{
    const folder_reader *f = context;
    const char *line, *unk = NULL;
    size_t at = 0, count = 0, rank = 0, length;

    VISE_TRY(vise_reader_vocab(r, f->vocab, n_added));
    while (next_line(f, &at, &line, &length))
        count++;
    VISE_TRY(vise_bpe_init(&r->tokenizer->bpe, &r->tokenizer->vocab, count, r->err));
    at = 0;
    for (size_t number = 1; next_line(f, &at, &line, &length); number++) {
        const char *space = memchr(line, ' ', length);
        if (length == 0 || (length >= 8 && memcmp(line, "#version", 8) == 0))
            continue;
        if (space == NULL || memchr(space + 1, ' ', length - (size_t)(space + 1 - line)) != NULL ||
            memchr(line, '\0', length) != NULL)
            return VISE_FAIL(r->err, VISE_EFORMAT,
                             "%s: line %zu of merges.txt is not two tokens and one space", r->name, number);
        VISE_TRY(vise_bpe_add_merge(&r->tokenizer->bpe, r->name, rank++, line, (size_t)(space - line),
                                    space + 1, length - (size_t)(space + 1 - line), r->err));
    }
    VISE_TRY(config_token(f, "unk_token", &unk, r->err));
    if (unk != NULL && vise_vocab_find(&r->tokenizer->vocab, unk, strlen(unk)) >= 0)
        VISE_TRY(vise_reader_keep(r, unk, &r->tokenizer->bpe.unk_token, &length));
    return VISE_OK;
}

static int32_t id_of(const folder_reader *f, const char *text)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(f->vocab, text);

    return cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble < VISE_VOCAB_IDS_MAX
               ? (int32_t)item->valuedouble
               : -1;
}

/* Whose files they are: GPT-2's (also where nothing is said) or RoBERTa's; others split otherwise. */
static vise_status is_roberta(const folder_reader *f, bool *roberta, vise_error *err)
{
    static const char *const known[] = {"GPT2", "Roberta", "CodeGen"};
    const char *class = "GPT2Tokenizer";

    if (f->config != NULL)
        VISE_TRY(vise_json_text(f->config_path, f->config, "tokenizer_class", false, &class, err));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t n = strlen(known[i]);
        if (strncmp(class, known[i], n) == 0 &&
            (strcmp(class + n, "Tokenizer") == 0 || strcmp(class + n, "TokenizerFast") == 0)) {
            *roberta = i == 1;
            return VISE_OK;
        }
    }
    return VISE_FAIL(err, VISE_EUNSUPPORTED,
                     "%s: vocab.json and merges.txt of a %.60s are not supported; a tokenizer.json would do",
                     f->config_path, class);
}

static void write_roberta_post(vise_json_writer *w, const char *const *tokens, const int32_t *ids)
{
    vise_json_key(w, "post_processor");
    vise_json_object(w);
    vise_json_key(w, "type");
    vise_json_put_text(w, "RobertaProcessing");
    for (int i = 0; i < 2; i++) {
        vise_json_key(w, i == 0 ? "cls" : "sep");
        vise_json_array(w);
        vise_json_put_text(w, tokens[i]);
        vise_json_put_int(w, ids[i]);
        vise_json_array_end(w);
    }
    vise_json_object_end(w);
}

static vise_status write_gpt2(const folder_reader *f, vise_json_writer *w, vise_error *err)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token",
                                       "cls_token", "sep_token", "mask_token"};
    const char *gpt2[] = {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL, NULL, NULL, NULL};
    const char *bert[] = {"<s>", "</s>", "<unk>", "<pad>", "<s>", "</s>", "<mask>"};
    const char **tokens = gpt2;
    bool roberta = false, prefix = false;
    int32_t ids[7];

    VISE_TRY(is_roberta(f, &roberta, err));
    if (roberta)
        tokens = bert;
    VISE_TRY(config_bool(f, "add_prefix_space", &prefix, err));
    vise_json_object(w);
    vise_json_key(w, "added_tokens");
    vise_json_array(w);
    for (size_t i = 0; i < 7; i++) {
        bool again = false;
        VISE_TRY(config_token(f, keys[i], &tokens[i], err));
        ids[i] = tokens[i] != NULL ? id_of(f, tokens[i]) : -1;
        for (size_t k = 0; k < i; k++)
            again = again || ids[k] == ids[i];
        if (ids[i] >= 0 && !again)
            write_added(w, tokens[i], ids[i], roberta && i == 6);
    }
    vise_json_array_end(w);
    vise_json_key(w, "pre_tokenizer");
    vise_json_object(w);
    vise_json_key(w, "type");
    vise_json_put_text(w, "ByteLevel");
    vise_json_key(w, "add_prefix_space");
    vise_json_put_bool(w, prefix);
    vise_json_object_end(w);
    if (roberta && (ids[4] < 0 || ids[5] < 0))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: the vocabulary lacks \"%.60s\"", f->path,
                         tokens[ids[4] < 0 ? 4 : 5]);
    if (roberta)
        write_roberta_post(w, tokens + 4, ids + 4);
    vise_json_object_end(w);
    return VISE_OK;
}

/* ---- sentencepiece's tokenizer.model ------------------------------------------------------------------- */

static vise_status read_pieces(vise_tokenizer_reader *r, void *context, size_t n_added)
{
    const folder_reader *f = context;

    return vise_sentencepiece_fill(&f->pieces, r, n_added);
}

static vise_status piece_text(const folder_reader *f, size_t id, char **text, vise_error *err)
{
    const vise_sentence_piece *piece = &f->pieces.pieces[id];

    return vise_strfmt(text, err, "%.*s", (int)piece->length, piece->text);
}

static vise_status write_special_piece(const folder_reader *f, vise_json_writer *w, size_t id,
                                       vise_error *err)
{
    char *text;

    VISE_TRY(piece_text(f, id, &text, err));
    write_added(w, text, (int32_t)id, false);
    vise_free(text);
    return VISE_OK;
}

/* BOS in front (transformers' add_bos_token, on unless it is said otherwise) and EOS behind (off). */
static vise_status write_piece_post(const folder_reader *f, vise_json_writer *w, vise_error *err)
{
    const int64_t ids[2] = {f->pieces.bos, f->pieces.eos};
    bool with[2] = {true, false};
    char *texts[2] = {NULL, NULL};
    vise_status status = VISE_OK;

    VISE_TRY(config_bool(f, "add_bos_token", &with[0], err));
    VISE_TRY(config_bool(f, "add_eos_token", &with[1], err));
    for (int i = 0; i < 2; i++)
        if (with[i] && ids[i] >= 0)
            VISE_TRY_TO(end, piece_text(f, (size_t)ids[i], &texts[i], err));
    if (texts[0] != NULL || texts[1] != NULL)
        write_post(w, texts[0], (int32_t)ids[0], texts[1], (int32_t)ids[1], false);
end:
    vise_free(texts[0]);
    vise_free(texts[1]);
    return status;
}

static vise_status write_pieces(const folder_reader *f, vise_json_writer *w, vise_error *err)
{
    vise_json_object(w);
    vise_json_key(w, "added_tokens");
    vise_json_array(w);
    for (size_t i = 0; i < f->pieces.count; i++)
        if (vise_sentencepiece_is_special(&f->pieces, i))
            VISE_TRY(write_special_piece(f, w, i, err));
    vise_json_array_end(w);
    vise_json_key(w, "normalizer");
    vise_json_object(w);
    vise_json_key(w, "type");
    vise_json_put_text(w, "Sequence");
    vise_json_key(w, "normalizers");
    vise_json_array(w);
    if (f->pieces.squeeze)
        vise_json_put_raw(w, "{\"type\":\"" VISE_SQUEEZE_TYPE "\"}");
    if (f->pieces.add_prefix)
        vise_json_put_raw(w, "{\"type\":\"Prepend\",\"prepend\":\"" VISE_MARK "\"}");
    vise_json_put_raw(w,
                      "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" VISE_MARK "\"}");
    vise_json_array_end(w);
    vise_json_object_end(w);
    VISE_TRY(write_piece_post(f, w, err));
    vise_json_object_end(w);
    return VISE_OK;
}

/* ---- all of them --------------------------------------------------------------------------------------- */

typedef vise_status (*part_writer)(const folder_reader *f, vise_json_writer *w, vise_error *err);

static vise_status build(folder_reader *f, part_writer write, vise_model_reader model, vise_tokenizer **out,
                         vise_error *err)
{
    vise_tokenizer *tokenizer = NULL;
    vise_json_writer writer;
    cJSON *json = NULL;
    vise_buf parts;
    vise_status status;

    vise_buf_init(&parts, CONFIG_BYTES_MAX);
    vise_json_begin(&writer, &parts, 0);
    VISE_TRY_TO(end, write(f, &writer, err));
    VISE_TRY_TO(end, vise_buf_check(&parts, f->path, err));
    VISE_TRY_TO(end, vise_json_parse(f->path, parts.data, parts.length, &json, err));
    VISE_TRY_TO(end, vise_tokenizer_new(&tokenizer, err));
    status = vise_reader_run(&(vise_tokenizer_reader){tokenizer, f->path, err}, json, model, f);
    if (status == VISE_OK) {
        *out = tokenizer;
        tokenizer = NULL;
    }
end:
    vise_tokenizer_close(tokenizer);
    cJSON_Delete(json);
    vise_buf_deinit(&parts);
    return status;
}

static vise_status build_bert(const char *folder, folder_reader *f, vise_tokenizer **out, vise_error *err)
{
    (void)folder;
    VISE_TRY(vise_file_read_all(f->path, FILE_BYTES_MAX, &f->text, &f->length, err));
    return build(f, write_bert, read_lines, out, err);
}

static vise_status build_pieces(const char *folder, folder_reader *f, vise_tokenizer **out, vise_error *err)
{
    (void)folder;
    VISE_TRY(vise_file_read_all(f->path, FILE_BYTES_MAX, &f->text, &f->length, err));
    VISE_TRY(vise_sentencepiece_read(f->path, f->text, f->length, &f->pieces, err));
    return build(f, write_pieces, read_pieces, out, err);
}

static vise_status build_gpt2(const char *folder, folder_reader *f, vise_tokenizer **out, vise_error *err)
{
    char *merges;
    vise_status status;

    VISE_TRY(vise_json_load(f->path, FILE_BYTES_MAX, &f->vocab, err));
    VISE_TRY(vise_path_join(folder, "merges.txt", &merges, err));
    status = vise_file_read_all(merges, FILE_BYTES_MAX, &f->text, &f->length, err);
    if (status == VISE_OK)
        status = build(f, write_gpt2, read_merge_lines, out, err);
    vise_free(merges);
    return status;
}

vise_status vise_tokenizer_from_folder(const char *folder, bool *found, vise_tokenizer **out, vise_error *err)
{
    static const struct {
        const char *file;
        vise_status (*build)(const char *folder, folder_reader *f, vise_tokenizer **out, vise_error *err);
    } kinds[] = {{"tokenizer.model", build_pieces}, {"vocab.json", build_gpt2}, {"vocab.txt", build_bert}};
    vise_status status = VISE_OK;

    *out = NULL;
    *found = false;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && !*found; i++) {
        folder_reader f = {0};
        char *path;
        VISE_TRY(vise_path_join(folder, kinds[i].file, &path, err));
        f.path = path;
        *found = vise_path_exists(path);
        if (*found)
            status = read_config(folder, &f, err);
        if (*found && status == VISE_OK)
            status = kinds[i].build(folder, &f, out, err);
        free_reader(&f);
        vise_free(path);
    }
    return status;
}
