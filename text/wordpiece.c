#include "text/wordpiece.h"

#include <string.h>

#include "text/unicode.h"

void vise_wordpiece_finish(vise_wordpiece *model)
{
    const vise_vocab *vocab = model->vocab;

    model->unk = vise_vocab_find(vocab, model->unk_token, strlen(model->unk_token));
    model->longest = 0;
    for (int32_t id = 0; id < vocab->size; id++)
        if (vocab->tokens[id].text != NULL && vocab->tokens[id].length > model->longest)
            model->longest = vocab->tokens[id].length;
}

static vise_status unknown(const vise_wordpiece *model, vise_ids *out, vise_error *err)
{
    if (model->unk < 0)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "the text has a word that the vocabulary cannot spell, and it lacks unk_token "
                         "\"%.60s\", too",
                         model->unk_token);
    out->count = 0;
    return vise_ids_add(out, model->unk, err);
}

vise_status vise_wordpiece_encode(const vise_wordpiece *model, vise_buf *room, const char *word,
                                  size_t length, vise_ids *out, vise_error *err)
{
    size_t chars = 0, start = 0;

    out->count = 0;
    for (size_t i = 0; i < length; i++)
        chars += ((unsigned char)word[i] & 0xc0) != 0x80;
    if (chars > model->max_chars)
        return unknown(model, out, err);
    /* The prefix is written in front of the rest, over what is done. */
    vise_buf_clear(room);
    vise_buf_add(room, model->prefix, model->prefix_length);
    vise_buf_add(room, word, length);
    VISE_TRY(vise_buf_check(room, "a word", err));
    while (start < length) {
        size_t front = start > 0 ? model->prefix_length : 0;
        char *text = room->data + model->prefix_length + start - front;
        size_t n = length - start + front;
        int32_t id = -1;
        if (n > model->longest) {
            n = model->longest;
            while (n > front && ((unsigned char)text[n] & 0xc0) == 0x80)
                n--;
        }
        if (start > 0)
            memcpy(text, model->prefix, front);
        while (n > front && (id = vise_vocab_find(model->vocab, text, n)) < 0)
            n = vise_utf8_last(text, n);
        if (id < 0)
            return unknown(model, out, err);
        VISE_TRY(vise_ids_add(out, id, err));
        start += n - front;
    }
    return VISE_OK;
}
