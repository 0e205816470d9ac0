#include "text/detokenizer.h"

#include <string.h>

#include "text/tokenizer_internal.h"

#define REPLACEMENT "\xef\xbf\xbd"
#define MARK        0x2581u /* stands for a space */

void vise_detokenizer_init(vise_detokenizer *detokenizer, const vise_tokenizer *tokenizer)
{
    *detokenizer = (vise_detokenizer){.tokenizer = tokenizer};
}

/* The byte that a character of a ByteLevel token stands for; -1: none. */
static int byte_of(uint32_t c)
{
    for (int byte = 0; byte < 0x100; byte++)
        if (vise_byte_to_char((uint8_t)byte) == c)
            return byte;
    return -1;
}

/* "<0x0A>": the byte; -1: no such token. */
static int fallback_byte(const char *text, size_t length)
{
    int byte = 0;

    if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return -1;
        byte = 16 * byte + digit;
    }
    return byte;
}

/* Appends bytes: characters that are whole, and what can be none, go to text. */
static void add_bytes(vise_detokenizer *d, const char *bytes, size_t n, vise_buf *text)
{
    for (size_t i = 0; i < n; i++) {
        size_t bad = 1;
        d->pending[d->n_pending++] = bytes[i];
        while (d->n_pending > 0) {
            size_t good = vise_utf8_valid(d->pending, d->n_pending, &bad);
            if (good > 0)
                vise_buf_add(text, d->pending, good);
            else if (bad < d->n_pending || d->n_pending == sizeof d->pending)
                vise_buf_add_text(text, REPLACEMENT); /* and what is behind it begins anew */
            else
                break; /* all of it may still become a character */
            good = good > 0 ? good : bad;
            memmove(d->pending, d->pending + good, d->n_pending - good);
            d->n_pending -= good;
        }
    }
}

static void add_characters(vise_detokenizer *d, const char *token, size_t length, vise_buf *text)
{
    const vise_tokenizer *t = d->tokenizer;

    for (size_t at = 0, n; at < length; at += n) {
        uint32_t c = vise_utf8_at(token + at, &n);
        int byte = t->spells_bytes ? byte_of(c) : c == MARK && t->marks_space ? ' ' : -1;
        char one = (char)byte;

        if (byte >= 0)
            add_bytes(d, &one, 1, text);
        else
            add_bytes(d, token + at, n, text);
    }
}

vise_status vise_detokenize(vise_detokenizer *d, int32_t id, vise_buf *text, vise_error *err)
{
    const vise_tokenizer *t = d->tokenizer;
    const char *token = vise_tokenizer_token(t, id);
    size_t length;
    int byte;

    if (token == NULL)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "token id %d has no text in the tokenizer; is it the model's own?", id);
    length = t->vocab.tokens[id].length;
    if (t->is_special[id])
        return VISE_OK;
    if (t->is_added[id])
        add_bytes(d, token, length, text);
    else if (t->kind == VISE_MODEL_WORDPIECE) {
        const vise_wordpiece *piece = &t->wordpiece;
        bool goes_on =
            length > piece->prefix_length && memcmp(token, piece->prefix, piece->prefix_length) == 0;
        size_t skip = goes_on ? piece->prefix_length : 0;
        if (!goes_on)
            add_bytes(d, " ", 1, text);
        add_bytes(d, token + skip, length - skip, text);
    } else if (!t->spells_bytes && t->bpe.byte_fallback && (byte = fallback_byte(token, length)) >= 0) {
        char one = (char)byte;
        add_bytes(d, &one, 1, text);
    } else
        add_characters(d, token, length, text);
    return vise_buf_check(text, "generated text", err);
}

void vise_detokenizer_end(vise_detokenizer *d, vise_buf *text)
{
    if (d->n_pending > 0)
        vise_buf_add_text(text, REPLACEMENT);
    d->n_pending = 0;
}
