#include "text/tokenizer.h"

#include <string.h>

#include "core/file.h"
#include "text/tokenizer_internal.h"

#define FILE_BYTES_MAX ((size_t)256 << 20)

/* ---- opening --------------------------------------------------------------------------------- */

vise_status vise_tokenizer_new(vise_tokenizer **out, vise_error *err)
{
    vise_tokenizer *tokenizer;

    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof *tokenizer, (void **)&tokenizer, err));
    pthread_mutex_init(&tokenizer->lock, NULL);
    vise_char_table(tokenizer->classes);
    vise_flag_table(tokenizer->flags);
    *out = tokenizer;
    return VISE_OK;
}

vise_status vise_tokenizer_from_text(const char *name, const char *text, size_t length, vise_tokenizer **out,
                                     vise_error *err)
{
    vise_tokenizer *tokenizer;
    vise_status status;

    *out = NULL;
    VISE_TRY(vise_tokenizer_new(&tokenizer, err));
    status = vise_tokenizer_parse(tokenizer, name, text, length, err);
    if (status != VISE_OK) {
        vise_tokenizer_close(tokenizer);
        return status;
    }
    *out = tokenizer;
    return VISE_OK;
}

vise_status vise_tokenizer_open(const char *folder, vise_tokenizer **out, vise_error *err)
{
    char *path = NULL, *text = NULL;
    bool found = true;
    size_t length;
    vise_status status;

    *out = NULL;
    if (!vise_path_is_folder(folder))
        return VISE_FAIL(err, VISE_EUSAGE,
                         "%s: not a model folder, so there is no tokenizer.json; text needs one", folder);
    VISE_TRY(vise_path_join(folder, "tokenizer.json", &path, err));
    if (!vise_path_exists(path)) {
        status = vise_tokenizer_from_folder(folder, &found, out, err);
        if (status == VISE_OK && !found)
            status = VISE_FAIL(err, VISE_EUSAGE,
                               "%s: the folder has no tokenizer.json (nor tokenizer.model, vocab.json or vocab.txt); "
                               "text needs one (token ids do not)",
                               folder);
        goto end;
    }
    VISE_TRY_TO(end, vise_file_read_all(path, FILE_BYTES_MAX, &text, &length, err));
    status = vise_tokenizer_from_text(path, text, length, out, err);
end:
    if (status == VISE_OK)
        status = vise_strdup(folder, &(*out)->folder, err);
    if (status != VISE_OK) {
        vise_tokenizer_close(*out);
        *out = NULL;
    }
    vise_free(text);
    vise_free(path);
    return status;
}

vise_status vise_tokenizer_is_in(const char *folder, bool *found, vise_error *err)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"};

    *found = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !*found; i++) {
        char *file;
        VISE_TRY(vise_path_join(folder, names[i], &file, err));
        *found = vise_path_exists(file);
        vise_free(file);
    }
    return VISE_OK;
}

vise_status vise_tokenizer_open_for(const char *path, const char *folder, vise_tokenizer **out,
                                    vise_error *err)
{
    size_t length = strlen(path);
    bool found = true;

    *out = NULL;
    if (length >= 6 && strcmp(path + length - 6, ".jsonl") == 0)
        VISE_TRY(vise_tokenizer_is_in(folder, &found, err));
    return found ? vise_tokenizer_open(folder, out, err) : VISE_OK;
}

vise_status vise_text_scratch_new(vise_text_scratch **out, vise_error *err)
{
    vise_text_scratch *scratch;
    vise_status status;

    *out = NULL;
    VISE_TRY(vise_calloc(1, sizeof *scratch, (void **)&scratch, err));
    vise_buf_init(&scratch->word, SIZE_MAX / 2);
    vise_buf_init(&scratch->normalized[0], SIZE_MAX / 2);
    vise_buf_init(&scratch->normalized[1], SIZE_MAX / 2);
    for (size_t i = 0; i < VISE_STEPS_MAX; i++)
        vise_buf_init(&scratch->step[i], SIZE_MAX / 2);
    VISE_TRY_TO(end, vise_bpe_scratch_new(&scratch->bpe, err));
    VISE_TRY_TO(end, vise_regex_scratch_new(&scratch->regex, err));
    VISE_TRY_TO(end, vise_word_cache_new(&scratch->cache, err));
    *out = scratch;
end:
    if (status != VISE_OK)
        vise_text_scratch_free(scratch);
    return status;
}

void vise_text_scratch_free(vise_text_scratch *scratch)
{
    if (scratch == NULL)
        return;
    vise_word_cache_free(scratch->cache);
    vise_bpe_scratch_free(scratch->bpe);
    vise_regex_scratch_free(scratch->regex);
    vise_normal_scratch_deinit(&scratch->normal);
    vise_buf_deinit(&scratch->word);
    vise_buf_deinit(&scratch->normalized[0]);
    vise_buf_deinit(&scratch->normalized[1]);
    for (size_t i = 0; i < VISE_STEPS_MAX; i++)
        vise_buf_deinit(&scratch->step[i]);
    vise_free(scratch);
}

void vise_tokenizer_close(vise_tokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    while (tokenizer->resting != NULL) {
        vise_text_scratch *scratch = tokenizer->resting;
        tokenizer->resting = scratch->next;
        vise_text_scratch_free(scratch);
    }
    pthread_mutex_destroy(&tokenizer->lock);
    for (size_t i = 0; i < tokenizer->n_normals; i++)
        vise_normal_deinit(&tokenizer->normals[i]);
    for (size_t i = 0; i < tokenizer->n_steps; i++)
        vise_regex_free(tokenizer->steps[i].regex);
    vise_added_deinit(&tokenizer->raw);
    vise_added_deinit(&tokenizer->normal);
    vise_bpe_deinit(&tokenizer->bpe);
    vise_vocab_deinit(&tokenizer->vocab);
    vise_arena_free(tokenizer->arena);
    vise_free(tokenizer->is_added);
    vise_free(tokenizer->is_special);
    vise_free(tokenizer->folder);
    vise_free(tokenizer->name);
    vise_free(tokenizer->config);
    vise_free(tokenizer);
}

/* Scratch outlives a call, so that its cache of words serves the next text; there is one for each thread
 * at work. */
static vise_status take_scratch(const vise_tokenizer *tokenizer, vise_text_scratch **out, vise_error *err)
{
    vise_tokenizer *shared = (vise_tokenizer *)(uintptr_t)tokenizer;

    pthread_mutex_lock(&shared->lock);
    *out = shared->resting;
    if (*out != NULL)
        shared->resting = (*out)->next;
    pthread_mutex_unlock(&shared->lock);
    if (*out != NULL)
        return VISE_OK;
    return vise_text_scratch_new(out, err);
}

static void give_scratch(const vise_tokenizer *tokenizer, vise_text_scratch *scratch)
{
    vise_tokenizer *shared = (vise_tokenizer *)(uintptr_t)tokenizer;

    pthread_mutex_lock(&shared->lock);
    scratch->next = shared->resting;
    shared->resting = scratch;
    pthread_mutex_unlock(&shared->lock);
}

vise_status vise_normalize(const vise_tokenizer *tokenizer, vise_text_scratch *scratch, const char *text,
                           size_t length, const char **out, size_t *out_length, vise_error *err)
{
    *out = text;
    *out_length = length;
    for (size_t i = 0; i<tokenizer->n_normals && * out_length> 0; i++) {
        vise_buf *buf = &scratch->normalized[i % 2];
        vise_buf_clear(buf);
        VISE_TRY(vise_normal_run(&tokenizer->normals[i], tokenizer->flags, &scratch->normal, scratch->regex,
                                 *out, *out_length, buf, err));
        VISE_TRY(vise_buf_check(buf, "normalized text", err));
        *out = buf->data;
        *out_length = buf->length;
    }
    return VISE_OK;
}

/* ---- walking a text -------------------------------------------------------------------------- */

typedef struct walk {
    const vise_tokenizer *tokenizer;
    vise_text_scratch *scratch;
    vise_ids *ids;
    size_t enough; /* stop once there are so many ids */
    vise_word_encoder encode;
    const void *model;
} walk;

static vise_status run_steps(walk *w, size_t step, const char *text, size_t length, const char *end,
                             bool first, vise_error *err);

static vise_status encode_bpe(const void *model, void *scratch, const char *word, size_t length,
                              vise_ids *out, vise_error *err)
{
    return vise_bpe_encode(model, ((vise_text_scratch *)scratch)->bpe, word, length, out, err);
}

static vise_status encode_wordpiece(const void *model, void *scratch, const char *word, size_t length,
                                    vise_ids *out, vise_error *err)
{
    return vise_wordpiece_encode(model, &((vise_text_scratch *)scratch)->word, word, length, out, err);
}

static inline vise_status encode_word(walk *w, const char *word, size_t length, const char *end,
                                      vise_error *err)
{
    return vise_word_cache_encode(w->scratch->cache, w->encode, w->model, w->scratch, word, length, end,
                                  w->ids, err);
}

/* A piece of step `step`: a word for the model, or for the next step. */
static inline vise_status run_piece(walk *w, size_t step, const char *text, size_t length, const char *end,
                                    bool first, vise_error *err)
{
    if (step + 1 == w->tokenizer->n_steps)
        return encode_word(w, text, length, end, err);
    return run_steps(w, step + 1, text, length, end, first, err);
}

static vise_status run_split(walk *w, size_t step, const char *text, size_t length, const char *end,
                             bool first, vise_error *err)
{
    vise_split split = w->tokenizer->steps[step].split;

    for (size_t at = 0; at < length && w->ids->count < w->enough;) {
        size_t stop = vise_split_next(split, w->tokenizer->classes, text, length, at);
        VISE_TRY(run_piece(w, step, text + at, stop - at, end, first && at == 0, err));
        at = stop;
    }
    return VISE_OK;
}

static vise_status run_cut(walk *w, size_t step, const char *text, size_t length, const char *end, bool first,
                           vise_error *err)
{
    vise_cut_walk parts = {.cut = &w->tokenizer->steps[step].cut,
                           .classes = w->tokenizer->classes,
                           .flags = w->tokenizer->flags,
                           .regex = w->scratch->regex,
                           .text = text,
                           .length = length};
    size_t start, stop;
    bool more;

    while (w->ids->count < w->enough) {
        VISE_TRY(vise_cut_next(&parts, &more, &start, &stop, err));
        if (!more)
            break;
        VISE_TRY(run_piece(w, step, text + start, stop - start, end, first && start == 0, err));
    }
    return VISE_OK;
}

/* 0: part of a word, 1: white space, 2: punctuation. */
static inline int bert_kind(const vise_tokenizer *t, const char *text, size_t *n)
{
    uint32_t c = vise_utf8_at(text, n);

    if (c < VISE_CHAR_TABLE)
        return t->classes[c] == VISE_CHAR_SPACE ? 1 : (t->flags[c] & VISE_FLAG_PUNCT) != 0 ? 2 : 0;
    return (vise_char_flags(c) & VISE_FLAG_PUNCT) != 0 ? 2 : 0;
}

static vise_status run_bert(walk *w, size_t step, const char *text, size_t length, const char *end,
                            bool first, vise_error *err)
{
    for (size_t at = 0, stop; at < length && w->ids->count < w->enough; at = stop) {
        size_t n;
        int kind = bert_kind(w->tokenizer, text + at, &n);
        stop = at + n;
        if (kind == 1)
            continue;
        while (kind == 0 && stop < length && bert_kind(w->tokenizer, text + stop, &n) == 0)
            stop += n;
        VISE_TRY(run_piece(w, step, text + at, stop - at, end, first && at == 0, err));
    }
    return VISE_OK;
}

static vise_status run_marks(walk *w, size_t step, const char *text, size_t length, bool first,
                             vise_error *err)
{
    vise_prepend prepend = w->tokenizer->steps[step].prepend;
    vise_buf *buf = &w->scratch->step[step];
    bool marked =
        text[0] == ' ' || (length >= VISE_MARK_LENGTH && memcmp(text, VISE_MARK, VISE_MARK_LENGTH) == 0);

    vise_buf_clear(buf);
    if (!marked && (prepend == VISE_PREPEND_ALWAYS || (prepend == VISE_PREPEND_FIRST && first)))
        vise_buf_add(buf, VISE_MARK, VISE_MARK_LENGTH);
    vise_replace_all(buf, text, length, " ", 1, VISE_MARK, VISE_MARK_LENGTH);
    VISE_TRY(vise_buf_check(buf, "pre-tokenized text", err));
    return run_steps(w, step + 1, buf->data, buf->length, buf->data + buf->length, first, err);
}

/* Runs the pre-tokenizers from `step` on over a piece, and the model behind the last. `end` is the end
 * of readable memory; first: the piece stands at the start of the text. */
static vise_status run_steps(walk *w, size_t step, const char *text, size_t length, const char *end,
                             bool first, vise_error *err)
{
    vise_buf *buf = &w->scratch->step[step < VISE_STEPS_MAX ? step : 0];

    if (length == 0)
        return VISE_OK;
    if (step == w->tokenizer->n_steps)
        return encode_word(w, text, length, end, err);
    switch (w->tokenizer->steps[step].kind) {
    case VISE_STEP_SPLIT:
        return run_split(w, step, text, length, end, first, err);
    case VISE_STEP_CUT:
        return run_cut(w, step, text, length, end, first, err);
    case VISE_STEP_BERT:
        return run_bert(w, step, text, length, end, first, err);
    case VISE_STEP_SPELL_BYTES:
        vise_buf_clear(buf);
        for (size_t i = 0; i < length; i++) {
            char spelled[4];
            vise_buf_add(buf, spelled, vise_utf8_put(vise_byte_to_char((uint8_t)text[i]), spelled));
        }
        VISE_TRY(vise_buf_check(buf, "pre-tokenized text", err));
        return run_steps(w, step + 1, buf->data, buf->length, buf->data + buf->length, first, err);
    case VISE_STEP_MARK_SPACES:
        return run_marks(w, step, text, length, first, err);
    case VISE_STEP_PREFIX_SPACE:
        if (text[0] == ' ')
            break;
        vise_buf_clear(buf);
        vise_buf_add_char(buf, ' ');
        vise_buf_add(buf, text, length);
        VISE_TRY(vise_buf_check(buf, "pre-tokenized text", err));
        return run_steps(w, step + 1, buf->data, buf->length, buf->data + buf->length, first, err);
    }
    return run_steps(w, step + 1, text, length, end, first, err);
}

/* What stands between the added tokens of the text as it is. */
static vise_status run_between(walk *w, const char *text, size_t length, bool first, vise_error *err)
{
    vise_added_walk parts;
    vise_added_part part;

    VISE_TRY(vise_normalize(w->tokenizer, w->scratch, text, length, &text, &length, err));
    vise_added_begin(&parts, &w->tokenizer->normal, text, length);
    while (w->ids->count < w->enough && vise_added_next(&parts, &part)) {
        if (part.id >= 0)
            VISE_TRY(vise_ids_add(w->ids, part.id, err));
        else
            VISE_TRY(run_steps(w, 0, text + part.start, part.end - part.start, text + length,
                               first && part.start == 0, err));
    }
    return VISE_OK;
}

static vise_status run_text(walk *w, const char *text, size_t length, vise_error *err)
{
    vise_added_walk parts;
    vise_added_part part;

    vise_added_begin(&parts, &w->tokenizer->raw, text, length);
    while (w->ids->count < w->enough && vise_added_next(&parts, &part)) {
        if (part.id >= 0)
            VISE_TRY(vise_ids_add(w->ids, part.id, err));
        else
            VISE_TRY(run_between(w, text + part.start, part.end - part.start, part.start == 0, err));
    }
    return VISE_OK;
}

/* A copy with U+FFFD for every ill-formed sequence, as Python's errors="replace" has it. */
static vise_status repair(const char *text, size_t length, vise_buf *buf, uint64_t *replaced, vise_error *err)
{
    while (length > 0) {
        size_t bad, good = vise_utf8_valid(text, length, &bad);
        vise_buf_add(buf, text, good);
        if (bad > 0)
            vise_buf_add(buf, "\xef\xbf\xbd", 3);
        *replaced += bad;
        text += good + bad;
        length -= good + bad;
    }
    return vise_buf_check(buf, "text", err);
}

vise_status vise_tokenize_until(const vise_tokenizer *tokenizer, const char *text, size_t length,
                                size_t enough, vise_ids *ids, vise_error *err)
{
    walk w = {.tokenizer = tokenizer, .ids = ids, .enough = enough};
    vise_buf repaired;
    vise_status status = VISE_OK;

    w.encode = tokenizer->kind == VISE_MODEL_BPE ? encode_bpe : encode_wordpiece;
    w.model = tokenizer->kind == VISE_MODEL_BPE ? (const void *)&tokenizer->bpe : &tokenizer->wordpiece;
    VISE_TRY(take_scratch(tokenizer, &w.scratch, err));
    vise_buf_init(&repaired, SIZE_MAX / 2);
    if (vise_utf8_valid(text, length, NULL) < length) {
        VISE_TRY_TO(end, repair(text, length, &repaired, &ids->invalid_utf8, err));
        text = repaired.data;
        length = repaired.length;
    }
    status = run_text(&w, text, length, err);
end:
    vise_buf_deinit(&repaired);
    give_scratch(tokenizer, w.scratch);
    return status;
}

vise_status vise_tokenize(const vise_tokenizer *tokenizer, const char *text, size_t length, vise_ids *ids,
                          vise_error *err)
{
    return vise_tokenize_until(tokenizer, text, length, SIZE_MAX, ids, err);
}

/* ---- asking ---------------------------------------------------------------------------------- */

int32_t vise_tokenizer_bos(const vise_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t vise_tokenizer_size(const vise_tokenizer *tokenizer)
{
    return tokenizer->vocab.size;
}

const char *vise_tokenizer_folder(const vise_tokenizer *tokenizer)
{
    return tokenizer->folder;
}

vise_status vise_tokenizer_keep_config(vise_tokenizer *tokenizer, const char *name, const char *config, vise_error *err)
{
    vise_free(tokenizer->name);
    vise_free(tokenizer->config);
    tokenizer->name = tokenizer->config = NULL;
    VISE_TRY(vise_strdup(name, &tokenizer->name, err));
    return vise_strdup(config, &tokenizer->config, err);
}

const char *vise_tokenizer_config(const vise_tokenizer *tokenizer, const char **name)
{
    *name = tokenizer->name;
    return tokenizer->config;
}

const char *vise_tokenizer_token(const vise_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && id < tokenizer->vocab.size ? tokenizer->vocab.tokens[id].text : NULL;
}

bool vise_tokenizer_same_tokens(const vise_tokenizer *a, const vise_tokenizer *b, int32_t *id)
{
    int32_t size = a->vocab.size > b->vocab.size ? a->vocab.size : b->vocab.size;

    for (*id = 0; *id < size; (*id)++) {
        const char *left = vise_tokenizer_token(a, *id), *right = vise_tokenizer_token(b, *id);
        if ((left == NULL) != (right == NULL) || (left != NULL && strcmp(left, right) != 0))
            return false;
    }
    return true;
}

bool vise_tokenizer_prepends(const vise_tokenizer *tokenizer)
{
    return tokenizer->prepends;
}

int vise_tokenizer_token_bytes(const vise_tokenizer *tokenizer, int32_t id)
{
    const vise_vocab_token *token;
    int bytes = 0;

    if (vise_tokenizer_token(tokenizer, id) == NULL)
        return -1;
    token = &tokenizer->vocab.tokens[id];
    if (id == tokenizer->unk)
        return -1;
    if (tokenizer->is_added[id])
        return (int)token->length;
    if (tokenizer->loses_text)
        return -1;
    if (!tokenizer->spells_bytes && token->length == 6 && memcmp(token->text, "<0x", 3) == 0)
        return 1;
    for (size_t at = 0, n; at < token->length; at += n) {
        uint32_t c = vise_utf8_at(token->text + at, &n);
        bytes += tokenizer->spells_bytes || (c == 0x2581 && tokenizer->marks_space) ? 1 : (int)n;
    }
    return bytes;
}
