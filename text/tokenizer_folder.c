/* Folders without tokenizer.json: what transformers makes of their vocabulary files and tokenizer_config.json. The
 * parts around the model are written as those of a tokenizer.json and read by the same reader. */
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "text/tokenizer_internal.h"

#define FILE_BYTES_MAX   ((size_t)64 << 20)
#define CONFIG_BYTES_MAX ((size_t)16 << 20)

typedef struct folder_reader {
    const char *path; /* of the vocabulary, for errors */
    char *text;       /* its bytes */
    size_t length;
    cJSON *config; /* tokenizer_config.json; NULL: none */
    char *config_path;
} folder_reader;

static void free_reader(folder_reader *f)
{
    vise_free(f->text);
    vise_free(f->config_path);
    cJSON_Delete(f->config);
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
    folder_reader *f = context;
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
        f->text[line - f->text + (ptrdiff_t)length] = '\0'; /* for the errors; the line is done with */
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

static void write_bert_post(vise_json_writer *w, const char *cls, int32_t cls_id, const char *sep,
                            int32_t sep_id)
{
    vise_json_key(w, "post_processor");
    vise_json_object(w);
    vise_json_key(w, "type");
    vise_json_put_text(w, "TemplateProcessing");
    write_template(w, "single", (const char *const[]){cls, "A", sep}, 3);
    write_template(w, "pair", (const char *const[]){cls, "A", sep, "B", sep}, 5);
    vise_json_key(w, "special_tokens");
    vise_json_object(w);
    for (int i = 0; i < (cls_id == sep_id ? 1 : 2); i++) {
        vise_json_key(w, i == 0 ? cls : sep);
        vise_json_object(w);
        vise_json_key(w, "ids");
        vise_json_array(w);
        vise_json_put_int(w, i == 0 ? cls_id : sep_id);
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
        vise_json_object(w);
        vise_json_key(w, "id");
        vise_json_put_int(w, ids[i]);
        vise_json_key(w, "content");
        vise_json_put_text(w, tokens[i]);
        vise_json_key(w, "special");
        vise_json_put_bool(w, true);
        vise_json_object_end(w);
    }
    vise_json_array_end(w);
    VISE_TRY(write_bert_normal(f, w, err));
    vise_json_key(w, "pre_tokenizer");
    vise_json_put_raw(w, "{\"type\":\"BertPreTokenizer\"}");
    write_bert_post(w, tokens[0], ids[0], tokens[1], ids[1]);
    vise_json_object_end(w);
    return VISE_OK;
}

/* ---- all of them --------------------------------------------------------------------------------------- */

static vise_status build(folder_reader *f, vise_tokenizer **out, vise_error *err)
{
    vise_tokenizer *tokenizer = NULL;
    vise_json_writer writer;
    cJSON *json = NULL;
    vise_buf parts;
    vise_status status;

    vise_buf_init(&parts, CONFIG_BYTES_MAX);
    vise_json_begin(&writer, &parts, 0);
    VISE_TRY_TO(end, write_bert(f, &writer, err));
    VISE_TRY_TO(end, vise_buf_check(&parts, f->path, err));
    VISE_TRY_TO(end, vise_json_parse(f->path, parts.data, parts.length, &json, err));
    VISE_TRY_TO(end, vise_tokenizer_new(&tokenizer, err));
    status = vise_reader_run(&(vise_tokenizer_reader){tokenizer, f->path, err}, json, read_lines, f);
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

vise_status vise_tokenizer_from_folder(const char *folder, bool *found, vise_tokenizer **out, vise_error *err)
{
    folder_reader f = {0};
    char *path = NULL;
    vise_status status;

    *out = NULL;
    VISE_TRY(vise_path_join(folder, "vocab.txt", &path, err));
    *found = vise_path_exists(path);
    if (!*found) {
        vise_free(path);
        return VISE_OK;
    }
    f.path = path;
    VISE_TRY_TO(end, read_config(folder, &f, err));
    VISE_TRY_TO(end, vise_file_read_all(path, FILE_BYTES_MAX, &f.text, &f.length, err));
    status = build(&f, out, err);
end:
    free_reader(&f);
    vise_free(path);
    return status;
}
